/*
 * scene: who is in the yard, when, and what of it the camera sees. See scene.h.
 *
 * Frames are random access, so nothing may be carried from one to the next. The cast has SLOTS
 * slots; each cuts time into its own periods, and (seed, slot, period) alone says who crosses the
 * yard in that period, how and when. The mood (light, weather, crowd) is likewise a blend of two
 * neighbouring blocks of time.
 *
 * Invariants
 * 1. Nothing is read but the arguments and what scene_create made: no clock, no global.
 * 2. scene_render allocates nothing.
 * 3. An object's box and area come from the pixels that were drawn, before motion blur.
 */
#include "inference/demo/scene.h"
#include "inference/demo/scene_cast.h"
#include "inference/demo/scene_light.h"
#include "inference/demo/scene_paint.h"
#include "inference/demo/scene_set.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS        8
#define PROPS_MAX    6
#define ITEMS_MAX    (SLOTS + PROPS_MAX)
#define BLOCK_FRAMES 48
#define HARDEST      1.3F
#define SMEAR_MAX    0.09F /* of the height */
#define FRAME_MASK   ((UINT64_C(1) << 40) - 1)

_Static_assert(SLOTS <= SCENE_MAX_OBJECTS, "each slot shows at most one object");

/* Live mode's phases, in frames of its cycle. */
enum { LIVE_RISE = 34, LIVE_HARD = 46, LIVE_FALL = 70, LIVE_EASY = 82, LIVE_QUIET = 85 };

struct prop {
    int kind;
    uint64_t seed;
    float x, foot;
};

struct scene {
    struct scene_config config;
    struct scene__layer layer;
    struct scene__rgb ground;
    struct prop props[PROPS_MAX];
    int prop_count;
    int sky_bottom;
    float *tile;
    int8_t *noise;
    uint8_t *backdrop;
    uint8_t *cover;
    uint8_t *owner; /* the item seen at each pixel, from 1 */
    uint8_t *work;
    int *sums;
};

/* Something standing at a place in one frame: an actor, or a prop. */
struct item {
    bool is_prop;
    int kind;
    uint64_t seed;
    struct scene__look look;
    float x, foot; /* relative to the height */
    float facing;
    float path;  /* metres gone */
    float speed; /* heights a frame */
};

/* What was drawn of an item, in pixels. */
struct print {
    int x0, y0, x1, y1; /* inside the picture; x1, y1 are one past the end */
    long area;
};

static const char *const class_names[SCENE_CLASS_COUNT] = {
    [SCENE_PERSON] = "person", [SCENE_BICYCLE] = "bicycle",   [SCENE_CAR] = "car",
    [SCENE_TRUCK] = "truck",   [SCENE_FORKLIFT] = "forklift", [SCENE_PARCEL] = "parcel",
};

const char *scene_class_name(int class_index) {
    return class_index >= 0 && class_index < SCENE_CLASS_COUNT ? class_names[class_index] : NULL;
}

/* --- making a scene --- */

static int take_backdrop(struct scene *s) {
    int width = s->config.width;
    int height = s->config.height;
    struct scene__layer layer = {0};

    if (!scene__layer_begin(&layer, (struct scene__rect){0, 0, width, height})) {
        return -ENOMEM;
    }
    s->ground = scene__set_build(&layer, s->tile, s->config.seed);
    for (int i = 0; i < width * height; i++) {
        const float *px = layer.px + (ptrdiff_t)i * 4;
        s->cover[i] = (uint8_t)(px[3] * 255.0F);
        for (int c = 0; c < 3; c++) {
            s->backdrop[i * 3 + c] = (uint8_t)scene__clamp(px[c], 0.0F, 255.0F);
        }
        if (s->cover[i] != 255) {
            s->sky_bottom = i / width + 1;
        }
    }
    scene__layer_finish(&layer);
    return 0;
}

static void place_props(struct scene *s) {
    struct scene__rng rng = scene__rng_for(s->config.seed, 0x9805, 0, 0);
    float aspect = (float)s->config.width / (float)s->config.height;
    int most =
        s->config.mode == SCENE_ROUGH || s->config.mode == SCENE_HARD ? PROPS_MAX : PROPS_MAX - 2;

    s->prop_count = scene__rng_below(&rng, most + 1);
    for (int i = 0; i < s->prop_count; i++) {
        float depth = scene__rng_range(&rng, -0.1F, 0.95F);
        s->props[i] = (struct prop){
            .kind = scene__rng_below(&rng, SCENE__PROP_COUNT),
            .seed = s->config.seed + (uint64_t)i,
            .x = scene__rng_range(&rng, 0.02F, 0.98F) * aspect,
            .foot = scene__mix(SCENE__DEPTH_FAR, SCENE__DEPTH_NEAR, depth),
        };
    }
}

/* Room for the largest thing at its nearest, so that rendering never allocates. */
static int reserve_layer(struct scene *s) {
    float unit = (float)s->config.height;
    float wide = 0.0F;
    float tall = 0.0F;

    for (int kind = 0; kind < SCENE__KIND_COUNT + SCENE__PROP_COUNT; kind++) {
        bool is_prop = kind >= SCENE__KIND_COUNT;
        int prop = kind - SCENE__KIND_COUNT;
        float depth = is_prop ? 1.0F : scene__kind_depth(kind).y;
        float metre =
            SCENE__METRE_AT(scene__mix(SCENE__DEPTH_FAR, SCENE__DEPTH_NEAR, depth)) * unit;
        struct scene__point e = is_prop ? scene__prop_extent(prop) : scene__kind_extent(kind);
        wide = fmaxf(wide, 2.0F * e.x * metre);
        tall = fmaxf(tall, e.y * metre);
    }
    struct scene__rect most = {0, 0, (int)(wide + 2.0F * SMEAR_MAX * unit) + 8, (int)tall + 8};
    return scene__layer_begin(&s->layer, most) ? 0 : -ENOMEM;
}

static int allocate(struct scene *s) {
    size_t pixels = (size_t)s->config.width * (size_t)s->config.height;

    s->tile = malloc(sizeof *s->tile * SCENE__TILE_SIDE * SCENE__TILE_SIDE);
    s->noise = malloc(SCENE__NOISE_SIZE);
    s->backdrop = malloc(pixels * 3);
    s->cover = malloc(pixels);
    s->owner = malloc(pixels);
    s->work = malloc(pixels * 3);
    s->sums = malloc(sizeof *s->sums * (size_t)s->config.width * 3);
    bool ok = s->tile != NULL && s->noise != NULL && s->backdrop != NULL && s->cover != NULL &&
              s->owner != NULL && s->work != NULL && s->sums != NULL;
    return ok ? reserve_layer(s) : -ENOMEM;
}

static bool config_ok(const struct scene_config *c) {
    return c->width >= SCENE_MIN_SIDE && c->width <= SCENE_MAX_SIDE &&
           c->height >= SCENE_MIN_SIDE && c->height <= SCENE_MAX_SIDE && (int)c->mode >= 0 &&
           c->mode < SCENE_MODE_COUNT;
}

int scene_create(const struct scene_config *config, struct scene **out) {
    if (!config_ok(config)) {
        return -EINVAL;
    }
    struct scene *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->config = *config;
    int rc = allocate(s);
    if (rc == 0) {
        scene__tile_fill(s->tile, config->seed);
        scene__noise_fill(s->noise, config->seed);
        rc = take_backdrop(s);
    }
    if (rc != 0) {
        scene_destroy(s);
        return rc;
    }
    place_props(s);
    *out = s;
    return 0;
}

void scene_destroy(struct scene *scene) {
    if (scene == NULL) {
        return;
    }
    scene__layer_finish(&scene->layer);
    free(scene->tile);
    free(scene->noise);
    free(scene->backdrop);
    free(scene->cover);
    free(scene->owner);
    free(scene->work);
    free(scene->sums);
    free(scene);
}

/* --- mood --- */

/* 0 clean, 1 rough, HARDEST hard: the blend of two moods goes on in a straight line past the
 * second. */
static float difficulty_at(const struct scene *s, int64_t frame) {
    static const float fixed[SCENE_MODE_COUNT] = {
        [SCENE_CLEAN] = 0.0F, [SCENE_ROUGH] = 1.0F, [SCENE_HARD] = HARDEST};

    if (s->config.mode != SCENE_LIVE) {
        return fixed[s->config.mode];
    }
    float t = (float)(frame < 0 ? 0 : frame % SCENE_LIVE_CYCLE);
    float k = scene__smooth(LIVE_RISE, LIVE_HARD, t) - scene__smooth(LIVE_FALL, LIVE_EASY, t);
    return k * HARDEST;
}

static struct scene__mood clean_mood(struct scene__rng *rng) {
    float hour = scene__rng_unit(rng);

    return (struct scene__mood){
        .day = scene__rng_range(rng, 0.85F, 1.0F),
        .dusk = hour < 0.3F ? scene__rng_range(rng, 0.2F, 0.8F) : 0.0F,
        .bright = scene__rng_range(rng, 0.88F, 1.1F),
        .haze = scene__rng_range(rng, 0.0F, 0.1F),
        .rain = 0.0F,
        .noise = scene__rng_range(rng, 1.5F, 5.0F),
        .blur = scene__rng_range(rng, 0.0F, 0.5F),
        .shutter = scene__rng_range(rng, 0.04F, 0.16F),
        .crowd = 0.36F,
        .fade = scene__rng_range(rng, 0.0F, 0.15F),
        .unknown = 0.04F,
    };
}

/* Three of five ills at their worst, the others by chance: bad weather differs from block to block.
 */
static struct scene__mood rough_mood(struct scene__rng *rng) {
    float ill[5];

    for (int i = 0; i < 5; i++) {
        float u = scene__rng_unit(rng);
        ill[i] = u * u * 0.6F;
    }
    for (int i = 0; i < 3; i++) {
        ill[scene__rng_below(rng, 5)] = scene__rng_range(rng, 0.7F, 1.0F);
    }
    return (struct scene__mood){
        .day = 1.0F - ill[0],
        .dusk = scene__rng_range(rng, 0.0F, 0.6F),
        .bright = scene__rng_range(rng, 0.65F, 1.25F),
        .haze = 0.1F + 0.68F * ill[1],
        .rain = ill[1] > 0.5F ? 0.0F : scene__rng_unit(rng),
        .noise = 5.0F + 25.0F * ill[2],
        .blur = 0.2F + 4.4F * ill[3],
        .shutter = 0.1F + 0.8F * ill[3] * scene__rng_unit(rng),
        .crowd = scene__rng_range(rng, 0.45F, 0.85F),
        .fade = 0.2F + 0.65F * ill[4],
        .unknown = 0.25F,
    };
}

static struct scene__mood block_mood(const struct scene *s, int64_t block, float difficulty) {
    struct scene__rng rng = scene__rng_for(s->config.seed, 0x300d, (uint64_t)block, 0);
    struct scene__mood clean = clean_mood(&rng);
    struct scene__mood rough = rough_mood(&rng);

    struct scene__mood mood = scene__mood_mix(&clean, &rough, difficulty);
    mood.day = fmaxf(mood.day, 0.0F);
    mood.dusk = scene__clamp(mood.dusk, 0.0F, 1.0F);
    mood.haze = fminf(mood.haze, 0.9F);
    mood.fade = fminf(mood.fade, 0.92F);
    mood.crowd = fminf(mood.crowd, 0.9F);
    return mood;
}

static struct scene__mood mood_at(const struct scene *s, int64_t frame) {
    int64_t length = s->config.mode == SCENE_LIVE ? SCENE_LIVE_CYCLE : BLOCK_FRAMES;
    int64_t at = frame < 0 ? 0 : frame;
    float t = (float)(at % length) / (float)length;
    float difficulty = difficulty_at(s, at);
    struct scene__mood now = block_mood(s, at / length, difficulty);
    struct scene__mood next = block_mood(s, at / length + 1, difficulty);

    return scene__mood_mix(&now, &next, scene__smooth(0.88F, 1.0F, t));
}

/* --- cast --- */

/* A period of one slot. */
struct turn {
    int slot;
    int64_t start, length, index;
};

static struct turn turn_at(const struct scene *s, int slot, int64_t frame) {
    struct scene__rng rng = scene__rng_for(s->config.seed, 0x7094, (uint64_t)slot, 0);
    struct turn t = {.slot = slot};

    t.length = 22 + scene__rng_below(&rng, 16);
    int64_t offset = scene__rng_below(&rng, (int)t.length);
    t.index = (frame + offset) / t.length;
    t.start = t.index * t.length - offset;
    return t;
}

/* The yard empties for the quiet phase: nobody comes who could not leave before it. */
static bool meets_quiet(const struct scene *s, const struct turn *t) {
    if (s->config.mode != SCENE_LIVE) {
        return false;
    }
    for (int64_t f = t->start; f < t->start + t->length; f++) {
        if (f >= 0 && f % SCENE_LIVE_CYCLE >= LIVE_QUIET) {
            return true;
        }
    }
    return false;
}

/* Common things come more often. */
static int pick_kind(struct scene__rng *rng) {
    static const int deck[] = {SCENE_PERSON,  SCENE_PERSON,   SCENE_PERSON,   SCENE_BICYCLE,
                               SCENE_BICYCLE, SCENE_CAR,      SCENE_CAR,      SCENE_TRUCK,
                               SCENE_TRUCK,   SCENE_FORKLIFT, SCENE_FORKLIFT, SCENE_PARCEL,
                               SCENE_PARCEL,  SCENE_PARCEL};

    return deck[scene__rng_below(rng, (int)(sizeof deck / sizeof deck[0]))];
}

static int pick_unknown(struct scene__rng *rng) {
    return SCENE__UNKNOWN_FIRST + scene__rng_below(rng, SCENE__KIND_COUNT - SCENE__UNKNOWN_FIRST);
}

/* Where a slot's actor is: it crosses the whole picture, and may dawdle in the middle. */
static void place_actor(const struct scene *s, struct item *item, struct scene__rng *rng,
                        const struct turn *turn, int64_t frame) {
    float aspect = (float)s->config.width / (float)s->config.height;
    struct scene__point span = scene__kind_depth(item->kind);
    float lane = ((float)turn->slot + scene__rng_unit(rng)) / (float)SLOTS;
    float depth = scene__mix(span.x, span.y, lane);
    item->foot = scene__mix(SCENE__DEPTH_FAR, SCENE__DEPTH_NEAR, depth);
    float metre = SCENE__METRE_AT(item->foot);
    float margin = scene__kind_extent(item->kind).x * metre;
    float dawdle = scene__rng_range(rng, -0.2F, 0.8F);
    float t = (float)(frame - turn->start) / (float)turn->length;
    float two_pi = 6.2831853F;
    float gone = (t + dawdle * sinf(two_pi * t) / two_pi) * (aspect + 2.0F * margin);

    item->facing = scene__rng_unit(rng) < 0.5F ? 1.0F : -1.0F;
    item->x = item->facing > 0.0F ? gone - margin : aspect + margin - gone;
    item->path = gone / metre;
    item->speed =
        (1.0F + dawdle * cosf(two_pi * t)) * (aspect + 2.0F * margin) / (float)turn->length;
}

static bool cast_slot(const struct scene *s, int slot, int64_t frame, struct item *item) {
    struct turn turn = turn_at(s, slot, frame);
    struct scene__mood mood = mood_at(s, turn.start);
    struct scene__rng rng =
        scene__rng_for(s->config.seed, 0xac7, (uint64_t)slot, (uint64_t)turn.index);

    if (scene__rng_unit(&rng) >= mood.crowd || meets_quiet(s, &turn)) {
        return false;
    }
    bool unknown = scene__rng_unit(&rng) < mood.unknown && !s->config.known_only;
    int known_kind = pick_kind(&rng);
    int unknown_kind = pick_unknown(&rng);
    *item = (struct item){.kind = unknown ? unknown_kind : known_kind};
    place_actor(s, item, &rng, &turn, frame);
    item->look = (struct scene__look){
        .kind = item->kind,
        .seed = rng.state,
        .tint = s->ground,
        .fade = mood.fade * scene__rng_range(&rng, 0.6F, 1.0F),
    };
    return true;
}

static int by_foot(const void *a, const void *b) {
    float fa = ((const struct item *)a)->foot;
    float fb = ((const struct item *)b)->foot;

    return fa < fb ? -1 : (fa > fb ? 1 : 0);
}

static int gather(const struct scene *s, int64_t frame, struct item *items) {
    int count = 0;

    for (int slot = 0; slot < SLOTS; slot++) {
        if (cast_slot(s, slot, frame, &items[count])) {
            count++;
        }
    }
    for (int i = 0; i < s->prop_count; i++) {
        const struct prop *p = &s->props[i];
        items[count++] = (struct item){.is_prop = true,
                                       .kind = p->kind,
                                       .seed = p->seed,
                                       .x = p->x,
                                       .foot = p->foot,
                                       .facing = 1.0F};
    }
    qsort(items, (size_t)count, sizeof items[0], by_foot);
    return count;
}

/* --- drawing --- */

/* Things stand on the ground only if they darken it. */
static void drop_shadow(const struct scene *s, uint8_t *rgb, const struct item *item, float half,
                        float day) {
    int width = s->config.width;
    float unit = (float)s->config.height;
    float cx = item->x * unit + 0.12F * half;
    float cy = item->foot * unit;
    float rx = half * 1.12F + 1.0F;
    float ry = fmaxf(half * 0.2F, 2.0F);
    int x0 = (int)fmaxf(cx - rx, 0.0F);
    int x1 = (int)fminf(cx + rx, (float)width - 1.0F);

    for (int y = (int)(cy - ry); y <= (int)(cy + ry) && y < s->config.height; y++) {
        for (int x = x0; y >= 0 && x <= x1; x++) {
            float dx = ((float)x - cx) / rx;
            float dy = ((float)y - cy) / ry;
            float k = 1.0F - dx * dx - dy * dy;
            if (k <= 0.0F) {
                continue;
            }
            float dim = 1.0F - (0.25F + 0.3F * day) * (k > 0.6F ? 1.0F : k / 0.6F);
            uint8_t *px = rgb + ((ptrdiff_t)y * width + x) * 3;
            for (int c = 0; c < 3; c++) {
                px[c] = (uint8_t)((float)px[c] * dim);
            }
        }
    }
}

static struct scene__rect visible_part(const struct scene *s) {
    struct scene__rect r = s->layer.at;

    r.x0 = r.x0 < 0 ? 0 : r.x0;
    r.y0 = r.y0 < 0 ? 0 : r.y0;
    r.x1 = r.x1 > s->config.width ? s->config.width : r.x1;
    r.y1 = r.y1 > s->config.height ? s->config.height : r.y1;
    return r;
}

static const float *layer_pixel(const struct scene *s, int x, int y) {
    const struct scene__rect *at = &s->layer.at;

    return s->layer.px + ((ptrdiff_t)(y - at->y0) * (at->x1 - at->x0) + (x - at->x0)) * 4;
}

/* Claims the item's pixels, and measures it: the area counts what lies outside the picture too. */
static struct print claim(struct scene *s, int number) {
    struct scene__rect in = visible_part(s);
    const struct scene__rect *at = &s->layer.at;
    struct print print = {.x0 = in.x1, .y0 = in.y1};
    size_t total = (size_t)(at->x1 - at->x0) * (size_t)(at->y1 - at->y0);

    for (size_t i = 0; i < total; i++) {
        print.area += s->layer.px[i * 4 + 3] > 0.5F;
    }
    for (int y = in.y0; y < in.y1; y++) {
        for (int x = in.x0; x < in.x1; x++) {
            if (layer_pixel(s, x, y)[3] <= 0.5F) {
                continue;
            }
            s->owner[(ptrdiff_t)y * s->config.width + x] = (uint8_t)number;
            print.x0 = x < print.x0 ? x : print.x0;
            print.x1 = x + 1 > print.x1 ? x + 1 : print.x1;
            print.y0 = y < print.y0 ? y : print.y0;
            print.y1 = y + 1 > print.y1 ? y + 1 : print.y1;
        }
    }
    return print;
}

static void composite(const struct scene *s, uint8_t *rgb) {
    struct scene__rect in = visible_part(s);

    for (int y = in.y0; y < in.y1; y++) {
        for (int x = in.x0; x < in.x1; x++) {
            const float *px = layer_pixel(s, x, y);
            if (px[3] <= 0.0F) {
                continue;
            }
            uint8_t *to = rgb + ((ptrdiff_t)y * s->config.width + x) * 3;
            for (int c = 0; c < 3; c++) {
                float v = (float)to[c] * (1.0F - px[3]) + px[c];
                to[c] = (uint8_t)scene__clamp(v, 0.0F, 255.0F);
            }
        }
    }
}

static struct print draw_item(struct scene *s, uint8_t *rgb, const struct item *item, int number,
                              const struct scene__mood *mood) {
    float unit = (float)s->config.height;
    float metre = SCENE__METRE_AT(item->foot) * unit;
    struct scene__point extent =
        item->is_prop ? scene__prop_extent(item->kind) : scene__kind_extent(item->kind);
    float smear = fminf(item->speed * mood->shutter, SMEAR_MAX) * unit;
    float half = extent.x * metre + smear;
    struct scene__pen pen = {.layer = &s->layer,
                             .x = item->x * unit,
                             .y = item->foot * unit,
                             .scale = metre,
                             .facing = item->facing};
    struct scene__rect at = {(int)floorf(pen.x - half) - 1, (int)(pen.y - extent.y * metre) - 1,
                             (int)(pen.x + half) + 2, (int)pen.y + 3};
    bool seen = at.x0 < s->config.width && at.x1 > 0;

    if (!seen || !scene__layer_begin(&s->layer, at)) {
        return (struct print){0};
    }
    if (item->is_prop) {
        scene__prop_draw(item->kind, item->seed, &pen);
    } else {
        scene__look_draw(&item->look, &pen, item->path);
    }
    drop_shadow(s, rgb, item, extent.x * metre * 0.85F, mood->day * (1.0F - mood->haze));
    struct print print = claim(s, number);
    scene__layer_smear(&s->layer, smear);
    composite(s, rgb);
    return print;
}

static double seen_fraction(const struct scene *s, const struct print *p, int number) {
    long seen = 0;

    for (int y = p->y0; y < p->y1; y++) {
        const uint8_t *row = s->owner + (ptrdiff_t)y * s->config.width;
        for (int x = p->x0; x < p->x1; x++) {
            seen += row[x] == number;
        }
    }
    return p->area > 0 ? (double)seen / (double)p->area : 0.0;
}

static void report(const struct scene *s, const struct item *items, const struct print *prints,
                   int count, struct scene_truth *truth) {
    double width = s->config.width;
    double height = s->config.height;

    for (int i = 0; i < count; i++) {
        const struct print *p = &prints[i];
        double visible = items[i].is_prop ? 0.0 : seen_fraction(s, p, i + 1);
        if (visible <= 0.0) {
            continue;
        }
        if (items[i].kind >= SCENE__UNKNOWN_FIRST) {
            truth->unknown_count++;
            continue;
        }
        truth->objects[truth->count++] = (struct scene_object){
            .class_index = items[i].kind,
            .x = p->x0 / width,
            .y = p->y0 / height,
            .w = (p->x1 - p->x0) / width,
            .h = (p->y1 - p->y0) / height,
            .visible = visible,
        };
    }
}

/* Lamps along the wall, and the head lamps of what drives, each as strong as it is dark. */
static int gather_glows(const struct scene *s, const struct item *items, int count,
                        const struct scene__mood *mood, struct scene__glow *glows) {
    float aspect = (float)s->config.width / (float)s->config.height;
    float dark = scene__smooth(0.1F, 0.8F, 1.0F - mood->day);
    struct scene__rgb warm = {0.62F * dark, 0.5F * dark, 0.3F * dark};
    int n = 0;

    for (int i = 0; i < count && dark > 0.02F; i++) {
        if (items[i].is_prop || !scene__kind_has_lamps(items[i].kind)) {
            continue;
        }
        float metre = SCENE__METRE_AT(items[i].foot);
        float reach = scene__kind_extent(items[i].kind).x + 0.6F;
        glows[n++] = (struct scene__glow){items[i].x + items[i].facing * reach * metre,
                                          items[i].foot - 0.5F * metre, 0.9F * metre, warm};
    }
    for (float x = 0.2F; x < aspect && n < SCENE__GLOW_MAX && dark > 0.02F; x += 0.55F) {
        glows[n++] = (struct scene__glow){x, 0.4F, 0.24F, warm};
    }
    return n;
}

int scene_render(struct scene *scene, uint64_t frame, uint8_t *rgb, struct scene_truth *truth) {
    struct item items[ITEMS_MAX];
    struct print prints[ITEMS_MAX];
    struct scene__glow glows[SCENE__GLOW_MAX];
    size_t pixels = (size_t)scene->config.width * (size_t)scene->config.height;
    int64_t at = (int64_t)(frame & FRAME_MASK);
    struct scene__mood mood = mood_at(scene, at);
    struct scene__plate plate = {.rgb = rgb,
                                 .width = scene->config.width,
                                 .height = scene->config.height,
                                 .tile = scene->tile,
                                 .noise = scene->noise,
                                 .seed = scene->config.seed,
                                 .frame = frame};
    int count = gather(scene, at, items);

    memcpy(rgb, scene->backdrop, pixels * 3);
    memset(scene->owner, 0, pixels);
    scene__sky(&plate, &mood, scene->cover, scene->sky_bottom);
    for (int i = 0; i < count; i++) {
        prints[i] = draw_item(scene, rgb, &items[i], i + 1, &mood);
    }
    int lamps = gather_glows(scene, items, count, &mood, glows);
    scene__light(&plate, &mood, glows, lamps);
    scene__rain(&plate, &mood);
    scene__blur(rgb, plate.width, plate.height, mood.blur * (float)plate.height / 360.0F,
                scene->work, scene->sums);
    scene__sensor(&plate, mood.noise);
    if (truth != NULL) {
        *truth = (struct scene_truth){.difficulty = (double)(difficulty_at(scene, at) / HARDEST)};
        report(scene, items, prints, count, truth);
    }
    return 0;
}
