/* Average precision: see train_score.h. */
#include "inference/demo/train_score.h"

#include <errno.h>
#include <stdlib.h>

#define FLOOR           0.01F
#define NMS             0.45F
#define OVERLAP         0.5
#define SURE            0.5

#define FINDS_A_PICTURE 4096 /* the network's boxes times its classes are fewer */

struct find {
    int image;
    struct train_find at;
};

struct finds {
    struct find *all;
    size_t count, capacity;
};

static int keep(struct finds *finds, const struct find *find) {
    if (finds->count == finds->capacity) {
        size_t capacity = finds->capacity == 0 ? 4096 : finds->capacity * 2;
        struct find *all = realloc(finds->all, capacity * sizeof *all);
        if (all == NULL) {
            return -ENOMEM;
        }
        finds->all = all;
        finds->capacity = capacity;
    }
    finds->all[finds->count++] = *find;
    return 0;
}

static int look(struct train_net *net, const struct album *album, int image,
                struct train_find *work, struct finds *finds) {
    int rc = 0;

    album_input(album, image, false, 1.0F, train_net_input(net, 0));
    int n = train_net_find(net, SHOT_WIDTH, SHOT_HEIGHT, FLOOR, NMS, work, FINDS_A_PICTURE);
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = keep(finds, &(struct find){.image = image, .at = work[i]});
    }
    return rc;
}

/* Best first; equal scores in a fixed order, so that the result does not hang on qsort. */
static int by_score(const void *a, const void *b) {
    const struct find *fa = a;
    const struct find *fb = b;

    if (fa->at.score != fb->at.score) {
        return fa->at.score > fb->at.score ? -1 : 1;
    }
    if (fa->image != fb->image) {
        return fa->image < fb->image ? -1 : 1;
    }
    return fa->at.x0 < fb->at.x0 ? -1 : (fa->at.x0 > fb->at.x0);
}

static double clamp01(double v) {
    return v < 0.0 ? 0.0 : (v > 1.0 ? 1.0 : v);
}

static double overlap(const struct find *f, const struct scene_object *o) {
    double x0 = clamp01(f->at.x0) > o->x ? clamp01(f->at.x0) : o->x;
    double y0 = clamp01(f->at.y0) > o->y ? clamp01(f->at.y0) : o->y;
    double x1 = clamp01(f->at.x1) < o->x + o->w ? clamp01(f->at.x1) : o->x + o->w;
    double y1 = clamp01(f->at.y1) < o->y + o->h ? clamp01(f->at.y1) : o->y + o->h;
    double both = x1 > x0 && y1 > y0 ? (x1 - x0) * (y1 - y0) : 0.0;
    double own = (clamp01(f->at.x1) - clamp01(f->at.x0)) * (clamp01(f->at.y1) - clamp01(f->at.y0));

    return both / (own + o->w * o->h - both + 1e-12);
}

enum verdict { WRONG, RIGHT, IGNORED };

/* `taken` has a bit for each object of each image. */
static enum verdict judge(const struct find *f, const struct scene_truth *truth, unsigned *taken) {
    int best = -1;
    double best_overlap = OVERLAP;
    bool hidden = false;

    for (int i = 0; i < truth->count; i++) {
        const struct scene_object *o = &truth->objects[i];
        double k = o->class_index == f->at.class_index ? overlap(f, o) : 0.0;
        if (k >= OVERLAP && o->visible < SHOT_MIN_VISIBLE) {
            hidden = true;
        } else if (k >= best_overlap && (*taken & (1U << i)) == 0) {
            best = i;
            best_overlap = k;
        }
    }
    if (best >= 0) {
        *taken |= 1U << best;
        return RIGHT;
    }
    return hidden ? IGNORED : WRONG;
}

struct tally {
    long right, wrong, sure_right, sure_wrong;
    double *precision; /* after each find that counts */
    double *recall;
};

/* Going back from the end, precision never falls below what a later point reaches. */
static double area(const struct tally *t) {
    long n = t->right + t->wrong;
    double sum = 0.0;
    double best = 0.0;

    for (long i = n - 1; i >= 0; i--) {
        double from = i > 0 ? t->recall[i - 1] : 0.0;
        best = t->precision[i] > best ? t->precision[i] : best;
        sum += (t->recall[i] - from) * best;
    }
    return sum;
}

static int score_class(const struct finds *finds, const struct album *album, int class_index,
                       int objects, struct tally *total, double *ap) {
    struct tally t = {0};
    unsigned *taken = calloc((size_t)album->count, sizeof *taken);

    t.precision = malloc((finds->count + 1) * sizeof *t.precision);
    t.recall = malloc((finds->count + 1) * sizeof *t.recall);
    int rc = taken == NULL || t.precision == NULL || t.recall == NULL ? -ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < finds->count; i++) {
        const struct find *f = &finds->all[i];
        if (f->at.class_index != class_index) {
            continue;
        }
        enum verdict v = judge(f, &album->shots[f->image].truth, &taken[f->image]);
        if (v == IGNORED) {
            continue;
        }
        t.right += v == RIGHT;
        t.wrong += v == WRONG;
        total->sure_right += v == RIGHT && (double)f->at.score >= SURE;
        total->sure_wrong += v == WRONG && (double)f->at.score >= SURE;
        t.precision[t.right + t.wrong - 1] = (double)t.right / (double)(t.right + t.wrong);
        t.recall[t.right + t.wrong - 1] = objects > 0 ? (double)t.right / objects : 0.0;
    }
    *ap = rc == 0 ? area(&t) : 0.0;
    free(t.recall);
    free(t.precision);
    free(taken);
    return rc;
}

static void count_objects(const struct album *album, struct score *out) {
    for (int i = 0; i < album->count; i++) {
        const struct scene_truth *truth = &album->shots[i].truth;
        for (int j = 0; j < truth->count; j++) {
            if (truth->objects[j].visible >= SHOT_MIN_VISIBLE) {
                out->per_class[truth->objects[j].class_index]++;
                out->objects++;
            }
        }
    }
}

/* The finds are sorted, so the first of an image is its best. */
static int confidence(const struct finds *finds, struct score *out) {
    bool *seen = calloc((size_t)out->images, sizeof *seen);
    long sure = 0;
    long unsure = 0;

    if (seen == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < finds->count; i++) {
        const struct find *f = &finds->all[i];
        if (!seen[f->image]) {
            seen[f->image] = true;
            sure += f->at.score >= 0.8F;
            unsure += f->at.score >= 0.2F && f->at.score < 0.6F;
        }
    }
    out->sure = (double)sure / out->images;
    out->unsure = (double)unsure / out->images;
    free(seen);
    return 0;
}

static int score_classes(const struct finds *finds, const struct album *album, struct score *out) {
    struct tally total = {0};
    int rc = 0;

    for (int c = 0; rc == 0 && c < SCENE_CLASS_COUNT; c++) {
        rc = score_class(finds, album, c, out->per_class[c], &total, &out->ap[c]);
        out->map += out->ap[c] / SCENE_CLASS_COUNT;
    }
    long named = total.sure_right + total.sure_wrong;
    out->precision = named > 0 ? (double)total.sure_right / (double)named : 0.0;
    out->recall = out->objects > 0 ? (double)total.sure_right / out->objects : 0.0;
    return rc;
}

int score_album(struct train_net *net, const struct album *album, struct score *out) {
    struct score score = {.images = album->count};
    struct finds finds = {0};
    struct train_find *work = malloc(sizeof *work * FINDS_A_PICTURE);
    int rc = work == NULL ? -ENOMEM : 0;

    count_objects(album, &score);
    for (int i = 0; rc == 0 && i < album->count; i++) {
        rc = look(net, album, i, work, &finds);
    }
    if (rc == 0 && finds.count > 0) {
        qsort(finds.all, finds.count, sizeof finds.all[0], by_score);
    }
    if (rc == 0) {
        rc = confidence(&finds, &score);
    }
    if (rc == 0) {
        rc = score_classes(&finds, album, &score);
    }
    if (rc == 0) {
        *out = score;
    }
    free(finds.all);
    free(work);
    return rc;
}
