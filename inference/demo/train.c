/*
 * creel-train-demo: trains and scores the network of the demo, on pictures that the scene renders
 * into memory.
 *
 *     creel-train-demo train --model DIR --out DIR [--seed N] [--iterations N]
 *     creel-train-demo score --model DIR [--out DIR [--seed N] [--iterations N]]
 *
 * `train` reads DIR/demo.cfg, writes demo.cfg, demo.weights and demo.names to the other folder.
 * `score` prints how well the model does on scenes it was not trained on, and writes score.json to
 * --out when that is given. Darknet talks on standard error; tables go to standard output.
 *
 * One seed, one thread and a fixed order of everything: the same machine gives the same weights.
 * Another processor sums in another order, and lands within a hundredth or two of the score.
 */
#include "inference/demo/scene.h"
#include "inference/demo/train_data.h"
#include "inference/demo/train_net.h"
#include "inference/demo/train_score.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 1024
#define BATCH     32
#define WARM_UP   200

/* Seeds of training scenes start at 1, those of the held-out ones far above. */
#define TRAIN_SCENES    1300
#define TRAIN_PER_SCENE 6
#define HELD_SEED       UINT64_C(1000000)
#define HELD_SCENES     120
#define HELD_PER_SCENE  5
#define PEAK_RATE       0.004
#define LAST_RATE       0.00004

/* Darknet prints two lines an iteration to standard output, so the reports have a stream of their
 * own. */
static FILE *report;

static int take_stdout(void) {
    int fd = dup(STDOUT_FILENO);

    report = fd < 0 ? NULL : fdopen(fd, "w");
    return report != NULL && freopen("/dev/null", "w", stdout) != NULL ? 0 : -errno;
}

struct options {
    const char *command;
    const char *model;
    const char *out;
    unsigned seed;
    int iterations;
};

static bool join(char *out, const char *folder, const char *name) {
    int n = snprintf(out, PATH_SIZE, "%s/%s", folder, name);

    if (n < 0 || n >= PATH_SIZE) {
        fprintf(stderr, "creel-train-demo: path too long: %s/%s\n", folder, name);
        return false;
    }
    return true;
}

static FILE *must_open(const char *path, const char *how) {
    FILE *f = fopen(path, how);

    if (f == NULL) {
        fprintf(stderr, "creel-train-demo: %s: %s\n", path, strerror(errno));
    }
    return f;
}

/* Copies the cfg with another batch: Darknet sizes its buffers by it. */
static int copy_cfg(const char *from, const char *to, int batch) {
    char line[256];
    FILE *in = must_open(from, "r");
    FILE *out = in == NULL ? NULL : must_open(to, "w");
    int rc = out == NULL ? -EIO : 0;

    while (rc == 0 && fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, "batch=", 6) == 0) {
            fprintf(out, "batch=%d\n", batch);
        } else {
            fputs(line, out);
        }
    }
    if (in != NULL) {
        fclose(in);
    }
    if (out != NULL && fclose(out) != 0) {
        rc = -EIO;
    }
    return rc;
}

static int write_names(const char *folder) {
    char path[PATH_SIZE];

    if (!join(path, folder, "demo.names")) {
        return -ENAMETOOLONG;
    }
    FILE *f = must_open(path, "w");
    if (f == NULL) {
        return -EIO;
    }
    for (int i = 0; i < SCENE_CLASS_COUNT; i++) {
        fprintf(f, "%s\n", scene_class_name(i));
    }
    return fclose(f) == 0 ? 0 : -EIO;
}

/* Darknet's truth: rows of centre, size and class, relative to the network's input; zeros end the
 * list. */
static void fill_truth(const struct album *a, const struct shot *shot, bool mirror, float *out) {
    memset(out, 0, sizeof *out * TRAIN_NET_BOXES * 5);
    for (int i = 0; i < shot->truth.count; i++) {
        const struct scene_object *o = &shot->truth.objects[i];
        if (o->visible < SHOT_MIN_VISIBLE) {
            continue;
        }
        double cx = o->x + o->w / 2;
        cx = mirror ? 1.0 - cx : cx;
        out[0] = (float)((cx * a->fit_w + a->off_x) / a->net_w);
        out[1] = (float)(((o->y + o->h / 2) * a->fit_h + a->off_y) / a->net_h);
        out[2] = (float)(o->w * a->fit_w / a->net_w);
        out[3] = (float)(o->h * a->fit_h / a->net_h);
        out[4] = (float)o->class_index;
        out += 5;
    }
}

/* A shuffled deck of picture numbers, dealt until empty. */
struct deck {
    int *cards;
    int count, next;
};

static int deal(struct deck *deck) {
    if (deck->next == deck->count) {
        for (int i = deck->count - 1; i > 0; i--) {
            int j = rand() % (i + 1);
            int card = deck->cards[i];
            deck->cards[i] = deck->cards[j];
            deck->cards[j] = card;
        }
        deck->next = 0;
    }
    return deck->cards[deck->next++];
}

static void fill_batch(struct train_net *net, const struct album *album, struct deck *deck) {
    for (int b = 0; b < train_net_batch(net); b++) {
        int card = deal(deck);
        bool mirror = rand() % 2 == 1;
        float gain = 0.85F + 0.3F * (float)(rand() % 1000) / 1000.0F;
        album_input(album, card, mirror, gain, train_net_input(net, b));
        fill_truth(album, &album->shots[card], mirror, train_net_truth(net, b));
    }
}

/* A linear start, then half a cosine. */
static float rate_at(int i, int iterations) {
    const double pi = 3.14159265358979;

    if (i < WARM_UP) {
        return (float)(PEAK_RATE * (i + 1) / WARM_UP);
    }
    double t = (double)(i - WARM_UP) / (iterations - WARM_UP);
    return (float)(LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1.0 + cos(pi * t)));
}

static double now_s(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void iterate(struct train_net *net, const struct album *album, struct deck *deck,
                    int iterations, const char *weights) {
    double start = now_s();
    double average = 0.0;

    for (int i = 0; i < iterations; i++) {
        fill_batch(net, album, deck);
        float rate = rate_at(i, iterations);
        double loss = train_net_step(net, rate);
        average = i == 0 ? loss : average * 0.98 + loss * 0.02;
        if ((i + 1) % 100 == 0 || i + 1 == iterations) {
            fprintf(report, "iteration %5d  loss %8.4f  rate %.6f  %6.0f s\n", i + 1, average,
                    (double)rate, now_s() - start);
            fflush(report);
        }
        if ((i + 1) % 500 == 0) {
            train_net_save(net, weights);
        }
    }
}

static int train_loaded(struct train_net *net, const struct options *o, const char *weights) {
    struct album album = {0};
    struct deck deck = {0};
    struct album_plan plan = {.seed = 1,
                              .scenes = TRAIN_SCENES,
                              .per_scene = TRAIN_PER_SCENE,
                              .bad = SCENE_ROUGH,
                              .bad_in_8 = 3,
                              .known_only = true,
                              .net_w = train_net_width(net),
                              .net_h = train_net_height(net)};

    fprintf(report, "rendering %d pictures\n", plan.scenes * plan.per_scene);
    fflush(report);
    int rc = album_init(&album, &plan);
    deck.count = deck.next = album.count;
    deck.cards = malloc(sizeof *deck.cards * (size_t)(album.count + 1));
    if (deck.cards == NULL) {
        rc = -ENOMEM;
    }
    if (rc == 0) {
        for (int i = 0; i < deck.count; i++) {
            deck.cards[i] = i;
        }
        iterate(net, &album, &deck, o->iterations, weights);
        train_net_save(net, weights);
    }
    free(deck.cards);
    album_finish(&album);
    return rc;
}

static int train(const struct options *o) {
    char cfg[PATH_SIZE];
    char own[PATH_SIZE];
    char temporary[PATH_SIZE];
    char weights[PATH_SIZE];

    if (!join(cfg, o->model, "demo.cfg") || !join(own, o->out, "demo.cfg") ||
        !join(temporary, o->out, "train.cfg") || !join(weights, o->out, "demo.weights")) {
        return -ENAMETOOLONG;
    }
    int rc = copy_cfg(cfg, temporary, BATCH);
    if (rc == 0 && strcmp(o->model, o->out) != 0) {
        rc = copy_cfg(cfg, own, 1);
    }
    if (rc != 0) {
        return rc;
    }
    srand(o->seed);
    struct train_net *net = NULL;
    rc = train_net_open(temporary, NULL, &net);
    remove(temporary);
    if (rc != 0) {
        return rc;
    }
    rc = train_loaded(net, o, weights);
    train_net_close(net);
    return rc != 0 ? rc : write_names(o->out);
}

static int score_mode(struct train_net *net, bool hard, struct score *score) {
    struct album album = {0};
    struct album_plan plan = {.seed = HELD_SEED + (hard ? 500000 : 0),
                              .scenes = HELD_SCENES,
                              .per_scene = HELD_PER_SCENE,
                              .bad = SCENE_HARD,
                              .bad_in_8 = hard ? 8 : 0,
                              .net_w = train_net_width(net),
                              .net_h = train_net_height(net)};
    int rc = album_init(&album, &plan);

    if (rc == 0) {
        rc = score_album(net, &album, score);
    }
    album_finish(&album);
    return rc;
}

static void print_scores(const struct score *clean, const struct score *hard) {
    fprintf(report, "%-12s %8s %8s %8s %8s\n", "", "clean", "objects", "hard", "objects");
    for (int i = 0; i < SCENE_CLASS_COUNT; i++) {
        fprintf(report, "AP %-9s %8.3f %8d %8.3f %8d\n", scene_class_name(i), clean->ap[i],
                clean->per_class[i], hard->ap[i], hard->per_class[i]);
    }
    fprintf(report, "%-12s %8.3f %8d %8.3f %8d\n", "mAP@0.5", clean->map, clean->objects, hard->map,
            hard->objects);
    fprintf(report, "%-12s %8.3f %8s %8.3f\n", "P at 0.5", clean->precision, "", hard->precision);
    fprintf(report, "%-12s %8.3f %8s %8.3f\n", "R at 0.5", clean->recall, "", hard->recall);
    fprintf(report, "%-12s %8.3f %8s %8.3f\n", "sure", clean->sure, "", hard->sure);
    fprintf(report, "%-12s %8.3f %8s %8.3f\n", "unsure", clean->unsure, "", hard->unsure);
}

static void write_mode(FILE *f, const char *name, const struct score *s) {
    fprintf(f, "  \"%s\": {\"map50\": %.4f, \"precision50\": %.4f, \"recall50\": %.4f, ", name,
            s->map, s->precision, s->recall);
    fprintf(f, "\"images\": %d, \"objects\": %d, \"ap50\": {", s->images, s->objects);
    for (int i = 0; i < SCENE_CLASS_COUNT; i++) {
        fprintf(f, "%s\"%s\": %.4f", i > 0 ? ", " : "", scene_class_name(i), s->ap[i]);
    }
    fprintf(f, "}},\n");
}

static int write_scores(const struct options *o, const struct score *clean,
                        const struct score *hard) {
    char path[PATH_SIZE];

    if (!join(path, o->out, "score.json")) {
        return -ENAMETOOLONG;
    }
    FILE *f = must_open(path, "w");
    if (f == NULL) {
        return -EIO;
    }
    fprintf(f, "{\n");
    write_mode(f, "clean", clean);
    write_mode(f, "hard", hard);
    fprintf(f,
            "  \"held_out\": {\"clean_seed\": %llu, \"hard_seed\": %llu, \"scenes\": %d, "
            "\"per_scene\": %d},\n",
            (unsigned long long)HELD_SEED, (unsigned long long)HELD_SEED + 500000, HELD_SCENES,
            HELD_PER_SCENE);
    fprintf(f,
            "  \"training\": {\"seed\": %u, \"iterations\": %d, \"batch\": %d, \"images\": %d}\n",
            o->seed, o->iterations, BATCH, TRAIN_SCENES * TRAIN_PER_SCENE);
    fprintf(f, "}\n");
    return fclose(f) == 0 ? 0 : -EIO;
}

static int score(const struct options *o) {
    char cfg[PATH_SIZE];
    char weights[PATH_SIZE];
    struct score clean;
    struct score hard;

    if (!join(cfg, o->model, "demo.cfg") || !join(weights, o->model, "demo.weights")) {
        return -ENAMETOOLONG;
    }
    struct train_net *net = NULL;
    int rc = train_net_open(cfg, weights, &net);
    if (rc == 0) {
        rc = score_mode(net, false, &clean);
    }
    if (rc == 0) {
        rc = score_mode(net, true, &hard);
    }
    train_net_close(net);
    if (rc == 0) {
        print_scores(&clean, &hard);
        rc = o->out == NULL ? 0 : write_scores(o, &clean, &hard);
    }
    return rc;
}

static int usage(void) {
    fprintf(stderr,
            "usage: creel-train-demo train --model DIR --out DIR [--seed N] [--iterations N]\n"
            "       creel-train-demo score --model DIR [--out DIR [--seed N] [--iterations N]]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct options *o) {
    if (argc < 2) {
        return false;
    }
    o->command = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--model") == 0) {
            o->model = argv[i + 1];
        } else if (strcmp(argv[i], "--out") == 0) {
            o->out = argv[i + 1];
        } else if (strcmp(argv[i], "--seed") == 0) {
            o->seed = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--iterations") == 0) {
            o->iterations = atoi(argv[i + 1]);
        } else {
            return false;
        }
    }
    bool trains = strcmp(o->command, "train") == 0;
    bool scores = strcmp(o->command, "score") == 0;
    return argc % 2 == 0 && o->model != NULL && o->iterations > WARM_UP &&
           (scores || (trains && o->out != NULL));
}

int main(int argc, char **argv) {
    struct options o = {.seed = 7, .iterations = 5500};

    if (!parse(argc, argv, &o)) {
        return usage();
    }
    if (take_stdout() != 0) {
        return 1;
    }
    int rc = strcmp(o.command, "train") == 0 ? train(&o) : score(&o);
    if (rc != 0) {
        fprintf(stderr, "creel-train-demo: %s\n", strerror(-rc));
    }
    return fclose(report) == 0 && rc == 0 ? 0 : 1;
}
