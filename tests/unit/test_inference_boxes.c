/* boxes: overlap, decoding and suppression, with numbers worked out by hand, and against plain
 * references on random ones. */
#include "daemon/base/mem.h"
#include "inference/boxes.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>

static struct boxes *boxes;

static void set_up(void) {
    boxes = boxes_create();
}

static void tear_down(void) {
    boxes_destroy(boxes);
}

START_TEST(overlap_by_hand) {
    static const struct {
        struct boxes_item a, b;
        float iou;
    } pairs[] = {
        {{.x = .5f, .y = .5f, .w = .2f, .h = .2f}, {.x = .5f, .y = .5f, .w = .2f, .h = .2f}, 1},
        {{.x = .5f, .y = .5f, .w = .2f, .h = .2f}, {.x = .8f, .y = .5f, .w = .2f, .h = .2f}, 0},
        {{.x = .5f, .y = .5f, .w = .2f, .h = .2f},
         {.x = .7f, .y = .5f, .w = .2f, .h = .2f},
         0}, /* they touch */
        {{.x = .5f, .y = .5f, .w = .2f, .h = .2f},
         {.x = .6f, .y = .5f, .w = .2f, .h = .2f},
         1.0f / 3},
        {{.x = .5f, .y = .5f, .w = .4f, .h = .4f}, {.x = .5f, .y = .5f, .w = .2f, .h = .2f}, .25f},
        {{.x = .5f, .y = .5f, .w = .2f, .h = .2f},
         {.x = .6f, .y = .6f, .w = .2f, .h = .2f},
         1.0f / 7},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        ck_assert_float_eq_tol(boxes_iou(&pairs[i].a, &pairs[i].b), pairs[i].iou, 1e-5f);
        ck_assert_float_eq_tol(boxes_iou(&pairs[i].b, &pairs[i].a), pairs[i].iou, 1e-5f);
    }
}
END_TEST

/* A head of `grid` x 1 cells, one anchor of a quarter of the input, two classes. */
enum { GRID = 8, DEPTH = 7 };
static float output[DEPTH * GRID];

static struct boxes_head make_head(void) {
    for (size_t i = 0; i < DEPTH * GRID; i++) {
        output[i] = -88;
    }
    return (struct boxes_head){.output = output,
                               .scale = 1,
                               .grid_width = GRID,
                               .grid_height = 1,
                               .anchor_count = 1,
                               .class_count = 2,
                               .anchors = {{16, 16}}};
}

/* What the logistic function makes `value` of; 0 and 1 as near as a float can come. */
static float before(float value) {
    return value <= 0 ? -88 : value == 1.0f ? 88 : logf(value / (1 - value));
}

static void put(size_t cell, float x, float y, float objectness, float first, float second) {
    const float values[DEPTH] = {before(x),     before(y),     0, 0, before(objectness),
                                 before(first), before(second)};
    for (size_t i = 0; i < DEPTH; i++) {
        output[i * GRID + cell] = values[i];
    }
}

static const struct image_fit whole = {64, 64, 64, 64};

START_TEST(decoding_by_hand) {
    struct boxes_head head = make_head();
    put(2, 0.5f, 0.25f, 0.8f, 0.5f, 0.9f);
    output[2 * GRID + 2] = logf(2); /* twice the anchor's width */
    boxes_collect(boxes, &head, &whole, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f),
                      2); /* both classes: each has its own list */
    const struct boxes_item *best = boxes_get(boxes, 0), *next = boxes_get(boxes, 1);
    ck_assert_uint_eq(best->class_index, 1);
    ck_assert_float_eq_tol(best->confidence, 0.72f, 1e-6f);
    ck_assert_uint_eq(next->class_index, 0);
    ck_assert_float_eq_tol(next->confidence, 0.40f, 1e-6f);
    ck_assert_float_eq_tol(best->x, 2.5f / 8, 1e-6f);
    ck_assert_float_eq_tol(best->y, 0.25f, 1e-6f);
    ck_assert_float_eq_tol(best->w, 0.5f, 1e-6f);
    ck_assert_float_eq_tol(best->h, 0.25f, 1e-6f);
    ck_assert_ptr_null(boxes_get(boxes, 2));
}
END_TEST

/* A picture twice as wide as high lies in the middle half of a square input. */
START_TEST(letterbox_is_undone) {
    struct boxes_head head = make_head();
    const struct image_fit fit = {64, 64, 64, 32};
    put(3, 1.0f, 0.5f, 0.9f, 0.9f, 0);
    boxes_collect(boxes, &head, &fit, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f), 1);
    const struct boxes_item *item = boxes_get(boxes, 0);
    ck_assert_float_eq_tol(item->x, 0.5f, 1e-6f);
    ck_assert_float_eq_tol(item->y, 0.5f, 1e-6f);
    ck_assert_float_eq_tol(item->w, 0.25f, 1e-6f);
    ck_assert_float_eq_tol(item->h, 0.5f, 1e-6f);
}
END_TEST

/* Boxes a quarter wide, an eighth apart, overlap their neighbour by 1/3, the next but one not at
 * all. */
START_TEST(suppression_is_greedy_and_within_a_class) {
    struct boxes_head head = make_head();
    put(1, 0.5f, 0.5f, 0.9f, 0.9f, 0); /* .81: hides the one beside it */
    put(2, 0.5f, 0.5f, 0.9f, 0.8f, 0); /* .72: hidden, and so hides nobody */
    put(3, 0.5f, 0.5f, 0.9f, 0.7f, 0); /* .63: stays */
    put(4, 0.5f, 0.5f, 0.9f, 0, 0.6f); /* .54: of the other class, stays */
    boxes_collect(boxes, &head, &whole, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.3f), 3);
    ck_assert_float_eq_tol(boxes_get(boxes, 0)->confidence, 0.81f, 1e-6f);
    ck_assert_float_eq_tol(boxes_get(boxes, 1)->confidence, 0.63f, 1e-6f);
    ck_assert_float_eq_tol(boxes_get(boxes, 2)->confidence, 0.54f, 1e-6f);
    boxes_reset(boxes);
    boxes_collect(boxes, &head, &whole, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.4f),
                      4); /* a third is not above .4 */
}
END_TEST

START_TEST(the_floor_is_exclusive) {
    struct boxes_head head = make_head();
    head.kind = BOXES_YOLO_READY; /* no rounding in the way */
    output[1] = output[GRID + 1] = output[2 * GRID + 1] = output[3 * GRID + 1] = 0.5f;
    output[4 * GRID + 1] = 1;
    output[5 * GRID + 1] = 0.5f;
    output[6 * GRID + 1] = 0.25f;
    boxes_collect(boxes, &head, &whole, 0.5f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f), 0);
    boxes_collect(boxes, &head, &whole, 0.25f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f), 1);
}
END_TEST

START_TEST(what_is_no_number_is_left_out) {
    struct boxes_head head = make_head();
    put(0, 0.5f, 0.5f, NAN, 0.9f, 0.9f);
    put(1, 0.5f, 0.5f, 0.9f, NAN, 0.9f);
    put(2, NAN, 0.5f, 0.9f, 0.9f, 0);
    put(3, 0.5f, 0.5f, 0.9f, INFINITY, 0);
    put(4, 0.5f, 0.5f, 0.9f, 0.9f, 0);
    output[4 * GRID + 4] = INFINITY;
    put(6, 0.5f, 0.5f, 0.9f, 0.9f, 0);
    output[5 * GRID + 6] = INFINITY;
    put(5, 0.5f, 0.5f, 0.9f, 0.9f, 0);
    output[2 * GRID + 5] = 1000; /* exp is infinite */
    boxes_collect(boxes, &head, &whole, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f), 1);
    ck_assert_float_eq_tol(boxes_get(boxes, 0)->confidence, 0.81f, 1e-6f);
}
END_TEST

/* More candidates than there is room: the best survive, in order. */
START_TEST(the_best_survive) {
    enum { SIDE = 80 }; /* 6,400 cells, each its own place */
    float *values = mem_array(6 * SIDE * SIDE, sizeof(*values));
    struct boxes_head head = {.output = values,
                              .grid_width = SIDE,
                              .grid_height = SIDE,
                              .anchor_count = 1,
                              .class_count = 1,
                              .scale = 1,
                              .anchors = {{0.1f, 0.1f}}};
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        size_t mixed = i * 2654435761u % (SIDE * SIDE);
        values[4 * SIDE * SIDE + i] = before(0.5f + 0.4f * (float)mixed / (SIDE * SIDE));
        values[5 * SIDE * SIDE + i] = 88;
    }
    boxes_collect(boxes, &head, &whole, 0.1f);
    size_t count = boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f);
    ck_assert_uint_eq(count, BOXES_CANDIDATES_MAX);
    ck_assert_float_ge(boxes_get(boxes, 0)->confidence, 0.8999f);
    for (size_t i = 1; i < count; i++) {
        ck_assert_float_le(boxes_get(boxes, i)->confidence, boxes_get(boxes, i - 1)->confidence);
    }
    float least = 0.5f + 0.4f * (float)(SIDE * SIDE - BOXES_CANDIDATES_MAX) / (SIDE * SIDE);
    ck_assert_float_ge(boxes_get(boxes, count - 1)->confidence, least - 1e-3f);
    free(values);
}
END_TEST

/* ---- against plain references: no planes, no heap, doubles ---- */

enum { CELLS = 5, ANCHORS = 3, CLASSES = 4, VALUES = ANCHORS * (CLASSES + 5) * CELLS * CELLS };

static unsigned seed;

static float dice(float low, float high) {
    seed = seed * 1664525u + 1013904223u;
    return low + (high - low) * (float)(seed >> 8) / (float)(1u << 24);
}

static const float sizes[ANCHORS][2] = {{20, 30}, {60, 25}, {90, 90}};

static struct boxes_head random_head(enum boxes_kind kind, float scale, float *values) {
    struct boxes_head head = {.output = values,
                              .kind = kind,
                              .scale = scale,
                              .grid_width = CELLS,
                              .grid_height = CELLS,
                              .anchor_count = ANCHORS,
                              .class_count = CLASSES};
    for (size_t i = 0; i < VALUES; i++) {
        bool side = i / (CELLS * CELLS) % (CLASSES + 5) / 2 == 1;
        values[i] = kind == BOXES_YOLO_READY ? dice(0, 1) : side ? dice(-.5f, .5f) : dice(-3, 3);
    }
    for (size_t i = 0; i < ANCHORS; i++) {
        head.anchors[i][0] = sizes[i][0];
        head.anchors[i][1] = sizes[i][1];
    }
    return head;
}

static double sigmoid(double value) {
    return 1 / (1 + exp(-value));
}

/* Box and confidence as the papers have it. */
static void plain_decode(const struct boxes_head *head, size_t anchor, size_t cell, size_t k,
                         double out[5]) {
    double v[5 + CLASSES], total = 0;
    for (size_t i = 0; i < 5 + CLASSES; i++) {
        v[i] = (double)head->output[(anchor * (5 + CLASSES) + i) * CELLS * CELLS + cell];
        total += i < 5 ? 0 : exp(v[i]);
    }
    bool ready = head->kind == BOXES_YOLO_READY;
    double scale = (double)head->scale;
    double x = ready ? v[0] : sigmoid(v[0]), y = ready ? v[1] : sigmoid(v[1]);
    out[0] = ((double)(cell % CELLS) + 0.5 + (x - 0.5) * scale) / CELLS;
    out[1] = ((double)(cell / CELLS) + 0.5 + (y - 0.5) * scale) / CELLS;
    out[2] = (ready ? pow(2 * v[2], 2) : exp(v[2])) * (double)head->anchors[anchor][0] / 64;
    out[3] = (ready ? pow(2 * v[3], 2) : exp(v[3])) * (double)head->anchors[anchor][1] / 64;
    double likely = head->kind == BOXES_REGION ? exp(v[5 + k]) / total
                    : ready                    ? v[5 + k]
                                               : sigmoid(v[5 + k]);
    out[4] = (ready ? v[4] : sigmoid(v[4])) * likely;
}

/* The candidate of that class whose box is this one. */
static bool has_item(size_t count, size_t k, const double plain[5]) {
    for (size_t i = 0; i < count; i++) {
        const struct boxes_item *item = boxes_get(boxes, i);
        const double ours[5] = {(double)item->x, (double)item->y, (double)item->w, (double)item->h,
                                (double)item->confidence};
        bool same = item->class_index == k;
        for (size_t n = 0; n < 5; n++) {
            same = same && fabs(ours[n] - plain[n]) < 1e-5 * fmax(1, fabs(plain[n]));
        }
        if (same) {
            return true;
        }
    }
    return false;
}

/* v3; v4 (its centres reach over the cell); v7 (the logistic function is behind us); v2. */
static const struct {
    enum boxes_kind kind;
    float scale;
} heads[] = {{BOXES_YOLO, 1}, {BOXES_YOLO, 1.05f}, {BOXES_YOLO_READY, 2}, {BOXES_REGION, 1}};

START_TEST(decoding_as_a_plain_reference) {
    static float values[VALUES];
    seed = 7;
    struct boxes_head head = random_head(heads[_i].kind, heads[_i].scale, values);
    ck_assert_uint_eq(boxes_head_values(&head), VALUES);
    boxes_collect(boxes, &head, &whole, 0.1f);
    size_t count = boxes_suppress(boxes, MODEL_NMS_GREEDY, 1), expected = 0;
    for (size_t at = 0; at < (size_t)ANCHORS * CELLS * CELLS * CLASSES; at++) {
        double plain[5];
        size_t cell = at / CLASSES % (CELLS * CELLS), anchor = at / CLASSES / (CELLS * CELLS);
        plain_decode(&head, anchor, cell, at % CLASSES, plain);
        if (plain[4] > 0.1) {
            expected++;
            ck_assert_msg(has_item(count, at % CLASSES, plain), "anchor %zu cell %zu class %zu",
                          anchor, cell, at % CLASSES);
        }
    }
    ck_assert_uint_eq(count, expected);
    ck_assert_uint_gt(count, 20);
}
END_TEST

static double low(float middle, float size) {
    return (double)middle - (double)size / 2;
}

static double high(float middle, float size) {
    return (double)middle + (double)size / 2;
}

static double plain_overlap(const struct boxes_item *a, const struct boxes_item *b, bool distance) {
    double width =
        fmin(high(a->x, a->w), high(b->x, b->w)) - fmax(low(a->x, a->w), low(b->x, b->w));
    double height =
        fmin(high(a->y, a->h), high(b->y, b->h)) - fmax(low(a->y, a->h), low(b->y, b->h));
    double both = width > 0 && height > 0 ? width * height : 0;
    double iou = both / ((double)a->w * (double)a->h + (double)b->w * (double)b->h - both);
    double across =
        fmax(high(a->x, a->w), high(b->x, b->w)) - fmin(low(a->x, a->w), low(b->x, b->w));
    double down = fmax(high(a->y, a->h), high(b->y, b->h)) - fmin(low(a->y, a->h), low(b->y, b->h));
    double apart = pow((double)a->x - (double)b->x, 2) + pow((double)a->y - (double)b->y, 2);
    return distance ? iou - apart / (across * across + down * down) : iou;
}

/* As a person would do it: take the best that is left, strike out what it hides, again. */
static size_t plain_suppress(struct boxes_item *items, size_t count, enum model_nms kind,
                             double nms, struct boxes_item *out) {
    size_t kept = 0;
    for (;;) {
        struct boxes_item *best = NULL;
        for (size_t i = 0; i < count; i++) {
            if (items[i].confidence > 0 &&
                (best == NULL || items[i].confidence > best->confidence)) {
                best = &items[i];
            }
        }
        if (best == NULL) {
            return kept;
        }
        struct boxes_item taken = *best;
        best->confidence = 0;
        out[kept++] = taken;
        for (size_t i = 0; i < count; i++) {
            bool rival = kind == MODEL_NMS_AGNOSTIC || items[i].class_index == taken.class_index;
            if (rival && plain_overlap(&taken, &items[i], kind == MODEL_NMS_DIOU) > nms) {
                items[i].confidence = 0;
            }
        }
    }
}

START_TEST(suppression_as_a_plain_reference) {
    static float values[VALUES];
    static struct boxes_item all[VALUES], left[VALUES];
    size_t lengths[3];
    for (int kind = MODEL_NMS_GREEDY; kind <= MODEL_NMS_DIOU; kind++) {
        seed = (unsigned)_i + 1;
        struct boxes_head head = random_head(BOXES_YOLO, 1, values);
        boxes_reset(boxes);
        boxes_collect(boxes, &head, &whole, 0.2f);
        size_t count = boxes_suppress(boxes, MODEL_NMS_GREEDY, 1);
        for (size_t i = 0; i < count; i++) {
            all[i] = *boxes_get(boxes, i);
        }
        size_t expected = plain_suppress(all, count, (enum model_nms)kind, 0.3, left);
        boxes_reset(boxes);
        boxes_collect(boxes, &head, &whole, 0.2f);
        lengths[kind] = boxes_suppress(boxes, (enum model_nms)kind, 0.3f);
        ck_assert_uint_eq(lengths[kind], expected);
        for (size_t i = 0; i < expected; i++) {
            ck_assert_mem_eq(boxes_get(boxes, i), &left[i], sizeof(left[i]));
        }
    }
    ck_assert_uint_lt(lengths[MODEL_NMS_AGNOSTIC], lengths[MODEL_NMS_GREEDY]);
    ck_assert_uint_gt(lengths[MODEL_NMS_DIOU], lengths[MODEL_NMS_GREEDY]);
}
END_TEST

START_TEST(distance_by_hand) {
    const struct boxes_item a = {.x = .5f, .y = .5f, .w = .2f, .h = .2f};
    struct boxes_item b = {.x = .6f, .y = .5f, .w = .2f, .h = .2f};
    ck_assert_float_eq_tol(boxes_diou(&a, &a), 1, 1e-6f);
    /* a third, less .1^2 / (.3^2 + .2^2) */
    ck_assert_float_eq_tol(boxes_diou(&a, &b), 1.0f / 3 - .01f / .13f, 1e-5f);
    b.x = .8f;
    ck_assert_float_eq_tol(boxes_diou(&a, &b), -.09f / .29f, 1e-5f);
}
END_TEST

START_TEST(tags_are_of_the_whole_image) {
    const float likely[] = {0.05f, 0.6f, NAN, 0.3f, INFINITY};
    struct boxes_head head = {.output = likely, .kind = BOXES_TAGS, .class_count = 5};
    const struct image_fit fit = {64, 64, 64, 32}; /* letterboxed: no matter */
    struct frame_box box;
    ck_assert_uint_eq(boxes_head_values(&head), 5);
    boxes_collect(boxes, &head, &fit, 0.1f);
    ck_assert_uint_eq(boxes_suppress(boxes, MODEL_NMS_GREEDY, 0.45f), 2);
    ck_assert_uint_eq(boxes_get(boxes, 0)->class_index, 1);
    ck_assert_uint_eq(boxes_get(boxes, 1)->class_index, 3);
    ck_assert(boxes_clip(boxes_get(boxes, 1), &box));
    ck_assert(box.x == 0 && box.y == 0 && box.w == 1 && box.h == 1);
}
END_TEST

START_TEST(clipping) {
    struct frame_box box;
    struct boxes_item item = {.x = 0.1f, .y = 0.95f, .w = 0.4f, .h = 0.2f};
    ck_assert(boxes_clip(&item, &box));
    ck_assert_double_eq_tol(box.x, 0, 1e-9);
    ck_assert_double_eq_tol(box.w, 0.3, 1e-6);
    ck_assert_double_eq_tol(box.y, 0.85, 1e-6);
    ck_assert_double_eq_tol(box.h, 0.15, 1e-6);
    item = (struct boxes_item){.x = 1.5f, .y = 0.5f, .w = 0.2f, .h = 0.2f};
    ck_assert(!boxes_clip(&item, &box));
    item = (struct boxes_item){.x = 0.5f, .y = 0.5f, .w = 0, .h = 0.2f};
    ck_assert(!boxes_clip(&item, &box));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_boxes");
    TCase *tests = tcase_create("boxes");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, overlap_by_hand);
    tcase_add_test(tests, decoding_by_hand);
    tcase_add_test(tests, letterbox_is_undone);
    tcase_add_test(tests, suppression_is_greedy_and_within_a_class);
    tcase_add_test(tests, the_floor_is_exclusive);
    tcase_add_test(tests, what_is_no_number_is_left_out);
    tcase_add_test(tests, the_best_survive);
    tcase_add_loop_test(tests, decoding_as_a_plain_reference, 0, ARRAY_LENGTH(heads));
    tcase_add_loop_test(tests, suppression_as_a_plain_reference, 0, 20);
    tcase_add_test(tests, distance_by_hand);
    tcase_add_test(tests, tags_are_of_the_whole_image);
    tcase_add_test(tests, clipping);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
