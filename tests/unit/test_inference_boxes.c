/* boxes: overlap, decoding and suppression, with numbers worked out by hand. */
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
        output[i] = 0;
    }
    return (struct boxes_head){.output = output,
                               .grid_width = GRID,
                               .grid_height = 1,
                               .anchor_count = 1,
                               .class_count = 2,
                               .anchors = {{16, 16}}};
}

static void put(size_t cell, float x, float y, float objectness, float first, float second) {
    const float values[DEPTH] = {x, y, 0, 0, objectness, first, second};
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
    ck_assert_uint_eq(boxes_suppress(boxes, 0.45f), 2); /* both classes: each has its own list */
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
    ck_assert_uint_eq(boxes_suppress(boxes, 0.45f), 1);
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
    ck_assert_uint_eq(boxes_suppress(boxes, 0.3f), 3);
    ck_assert_float_eq_tol(boxes_get(boxes, 0)->confidence, 0.81f, 1e-6f);
    ck_assert_float_eq_tol(boxes_get(boxes, 1)->confidence, 0.63f, 1e-6f);
    ck_assert_float_eq_tol(boxes_get(boxes, 2)->confidence, 0.54f, 1e-6f);
    boxes_reset(boxes);
    boxes_collect(boxes, &head, &whole, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, 0.4f), 4); /* a third is not above .4 */
}
END_TEST

START_TEST(the_floor_is_exclusive) {
    struct boxes_head head = make_head();
    put(1, 0.5f, 0.5f, 1.0f, 0.5f, 0.25f);
    boxes_collect(boxes, &head, &whole, 0.5f);
    ck_assert_uint_eq(boxes_suppress(boxes, 0.45f), 0);
    boxes_collect(boxes, &head, &whole, 0.25f);
    ck_assert_uint_eq(boxes_suppress(boxes, 0.45f), 1);
}
END_TEST

START_TEST(what_is_no_number_is_left_out) {
    struct boxes_head head = make_head();
    put(0, 0.5f, 0.5f, NAN, 0.9f, 0.9f);
    put(1, 0.5f, 0.5f, 0.9f, NAN, 0.9f);
    put(2, NAN, 0.5f, 0.9f, 0.9f, 0);
    put(3, 0.5f, 0.5f, 0.9f, INFINITY, 0);
    put(4, 0.5f, 0.5f, 7.0f, 0.9f, 0);
    put(5, 0.5f, 0.5f, 0.9f, 0.9f, 0);
    output[2 * GRID + 5] = 1000; /* exp is infinite */
    boxes_collect(boxes, &head, &whole, 0.3f);
    ck_assert_uint_eq(boxes_suppress(boxes, 0.45f), 1);
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
                              .anchors = {{0.1f, 0.1f}}};
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        size_t mixed = i * 2654435761u % (SIDE * SIDE);
        values[4 * SIDE * SIDE + i] = 0.5f + 0.4f * (float)mixed / (SIDE * SIDE);
        values[5 * SIDE * SIDE + i] = 1;
    }
    boxes_collect(boxes, &head, &whole, 0.1f);
    size_t count = boxes_suppress(boxes, 0.45f);
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
    tcase_add_test(tests, clipping);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
