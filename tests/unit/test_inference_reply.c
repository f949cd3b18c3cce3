/* reply: each lie that a worker process could tell, one at a time. */
#include "daemon/base/mem.h"
#include "inference/detector_reply.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 3, GENERATION = 42 };

static struct worker_result result;
static struct err err;

static void honest(void) {
    memset(&result, 0, sizeof(result));
    result.generation = GENERATION;
    result.media = MEDIA_JPEG;
    result.width = 640;
    result.height = 480;
    result.orientation = 1;
    result.luma_mean = 0.5f;
    result.luma_stddev = 0.2f;
    result.sharpness = 0.01f;
    result.detect_ms = 12;
    result.detection_count = 2;
    result.thumb_bytes = 100;
    result.detections[0] = (struct worker_detection){0.1, 0.1, 0.9, 0.5, 0.9f, 2};
    result.detections[1] = (struct worker_detection){0.5, 0.5, 0.1, 0.5, 0.8f, 0};
}

static int check(void) {
    err = (struct err){0};
    return detector_reply_check(&result, GENERATION, CLASSES, &err);
}

START_TEST(honest_is_accepted) {
    ck_assert_msg(check() == 0, "%s", err.msg);
    result.detection_count = 0;
    result.thumb_bytes = 0;
    ck_assert_int_eq(check(), 0);
    result.code = ERR_INVALID;
    memcpy(result.text, "no image", 9);
    result.media = 77; /* nothing of the picture counts then */
    ck_assert_int_eq(check(), 0);
}
END_TEST

static void lie_generation(void) {
    result.generation = 41;
}
static void lie_code(void) {
    result.code = 5;
    memcpy(result.text, "x", 2);
}
static void lie_code_without_text(void) {
    result.code = ERR_INVALID;
}
static void lie_media(void) {
    result.media = 9;
}
static void lie_width(void) {
    result.width = 0;
}
static void lie_pixels(void) {
    result.width = result.height = UINT32_MAX;
}
static void lie_orientation(void) {
    result.orientation = 9;
}
static void lie_orientation_none(void) {
    result.orientation = 0;
}
static void lie_thumb(void) {
    result.thumb_bytes = FRAME_THUMB_MAX + 1;
}
static void lie_count(void) {
    result.detection_count = FRAME_DETECTIONS_MAX + 1;
}
static void lie_count_far(void) {
    result.detection_count = UINT32_MAX;
}
static void lie_class(void) {
    result.detections[1].class_index = CLASSES;
}
static void lie_confidence(void) {
    result.detections[0].confidence = 1.01f;
}
static void lie_confidence_nan(void) {
    result.detections[1].confidence = NAN;
}
static void lie_confidence_negative(void) {
    result.detections[1].confidence = -0.1f;
}
static void lie_order(void) {
    result.detections[1].confidence = 0.95f;
}
static void lie_x(void) {
    result.detections[0].x = -0.01;
}
static void lie_y_nan(void) {
    result.detections[0].y = NAN;
}
static void lie_w(void) {
    result.detections[0].w = 0.95;
}
static void lie_h(void) {
    result.detections[1].h = INFINITY;
}
static void lie_h_negative(void) {
    result.detections[1].h = -1;
}
static void lie_luma(void) {
    result.luma_mean = NAN;
}
static void lie_stddev(void) {
    result.luma_stddev = 2;
}
static void lie_sharpness(void) {
    result.sharpness = -1;
}
static void lie_time(void) {
    result.detect_ms = INFINITY;
}

static void (*const lies[])(void) = {
    lie_generation,
    lie_code,
    lie_code_without_text,
    lie_media,
    lie_width,
    lie_pixels,
    lie_orientation,
    lie_orientation_none,
    lie_thumb,
    lie_count,
    lie_count_far,
    lie_class,
    lie_confidence,
    lie_confidence_nan,
    lie_confidence_negative,
    lie_order,
    lie_x,
    lie_y_nan,
    lie_w,
    lie_h,
    lie_h_negative,
    lie_luma,
    lie_stddev,
    lie_sharpness,
    lie_time,
};

START_TEST(lies_are_refused) {
    lies[_i]();
    ck_assert_msg(check() == ERR_CORRUPT, "lie %d was believed", _i);
    ck_assert_ptr_nonnull(strstr(err.msg, "the worker process answered"));
}
END_TEST

START_TEST(noise_is_never_a_crash) {
    unsigned seed = 1;
    for (int round = 0; round < 2000; round++) {
        honest();
        uint8_t *bytes = (uint8_t *)&result;
        for (int i = 0; i < 8; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[(seed >> 8) % 400] =
                (uint8_t)(seed >> 24); /* the head and the first detections */
        }
        int code = check();
        ck_assert(code == 0 || code == ERR_CORRUPT);
        ck_assert(memchr(result.text, '\0', sizeof(result.text)) != NULL);
        if (code == 0 && result.code == 0) {
            ck_assert(result.detection_count <= FRAME_DETECTIONS_MAX);
            ck_assert(result.detections[0].x + result.detections[0].w <= 1.0 ||
                      result.detection_count == 0);
        }
    }
}
END_TEST

START_TEST(text_is_made_one_line) {
    result.code = ERR_INVALID;
    memset(result.text, '\n', sizeof(result.text)); /* and no end */
    ck_assert_int_eq(check(), 0);
    ck_assert_uint_eq(strlen(result.text), sizeof(result.text) - 1);
    ck_assert_ptr_null(strchr(result.text, '\n'));
}
END_TEST

START_TEST(applied_to_a_frame) {
    char labels[CLASSES][FRAME_LABEL_MAX + 1] = {"cat", "dog", "cow"};
    struct model model = {.name = "m", .version = "1", .labels = labels, .class_count = CLASSES};
    struct frame frame = {0};
    uint8_t thumb[100] = {0xff, 0xd8};
    result.phash = 7;
    ck_assert_int_eq(check(), 0);
    for (int i = 0; i < 2; i++) { /* twice: what was there is freed */
        ck_assert_int_eq(detector_reply_apply(&result, thumb, &model, &frame, &err), 0);
    }
    ck_assert_uint_eq(frame.record.detection_count, 2);
    ck_assert_str_eq(frame.record.detections[0].label, "cow");
    ck_assert_uint_eq(frame.record.detections[1].class_index, 0);
    ck_assert(!frame.record.detections[1].tag);
    ck_assert_uint_eq(frame.record.width, 640);
    ck_assert_uint_eq(frame.record.phash, 7);
    ck_assert_str_eq(frame.record.model_name, "m");
    ck_assert_uint_eq(frame.thumb_bytes, 100);
    model.tags = true; /* a classifier's worker has no say in where */
    ck_assert_int_eq(detector_reply_apply(&result, thumb, &model, &frame, &err), 0);
    ck_assert(frame.record.detections[1].tag && frame.record.detections[1].box.w == 1);
    mem_fail_after(0);
    ck_assert_int_eq(detector_reply_apply(&result, thumb, &model, &frame, &err), ERR_NOMEM);
    mem_fail_after(-1);
    ck_assert_uint_eq(frame.record.detection_count, 2); /* as before */
    free(frame.record.detections);
    free(frame.thumb);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_reply");
    TCase *tests = tcase_create("reply");
    tcase_add_checked_fixture(tests, honest, NULL);
    tcase_add_test(tests, honest_is_accepted);
    tcase_add_loop_test(tests, lies_are_refused, 0, (int)ARRAY_LENGTH(lies));
    tcase_add_test(tests, noise_is_never_a_crash);
    tcase_add_test(tests, text_is_made_one_line);
    tcase_add_test(tests, applied_to_a_frame);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
