/* The last rejected frames of each camera: how far back, how many, how large; taken whole, and only
 * once. */
#include "daemon/base/mem.h"
#include "daemon/recent.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)

static int settled;

static void on_settled(void *ctx, uint64_t token, const struct frame *frame,
                       enum frame_outcome outcome, const struct err *err) {
    (void)ctx, (void)token, (void)frame, (void)outcome, (void)err;
    settled++;
}

/* A frame of so many bytes, whose first says when it was captured. */
static struct frame *frame_make(const char *camera, int64_t at_s, size_t size) {
    struct frame *frame = NULL;
    uint8_t *blob = mem_alloc(size);
    ck_assert_ptr_nonnull(blob);
    blob[0] = (uint8_t)at_s;
    ck_assert_int_eq(frame_create(camera, blob, size, &frame, NULL), 0);
    frame->record.captured.boot_us = at_s * SECOND;
    frame->record.detections = mem_alloc(sizeof(*frame->record.detections));
    frame->record.detections->confidence = 0.5f;
    frame->record.detection_count = 1;
    frame->origin.on_settled = on_settled;
    return frame;
}

/* As the pipeline does it: its origin hears of the rejection at once. */
static void reject(struct recent *recent, const char *camera, int64_t at_s, size_t size) {
    struct frame *frame = frame_make(camera, at_s, size);
    recent_put(recent, frame);
    frame_settle(frame, FRAME_REJECTED, NULL);
}

static unsigned count_of(struct recent *recent, const char *camera, int64_t from_s, int64_t to_s) {
    unsigned count = 0;
    for (struct frame *frame;
         (frame = recent_take(recent, camera, from_s * SECOND, to_s * SECOND));) {
        ck_assert_str_eq(frame->record.camera, camera);
        ck_assert_int_eq(frame->blob[0], (uint8_t)(frame->record.captured.boot_us / SECOND));
        ck_assert(frame->record.detection_count == 1 &&
                  frame->record.detections->confidence == 0.5f);
        frame_settle(frame, FRAME_KEPT, NULL); /* nobody is told a second time */
        count++;
    }
    return count;
}

START_TEST(frames_are_taken_whole_and_once) {
    struct recent *recent = recent_create();
    settled = 0;
    recent_reach_set(recent, 10000, 0);
    for (int64_t at = 1; at <= 5; at++) {
        reject(recent, at % 2 ? "dock" : "gate", at, 100);
    }
    ck_assert_int_eq(settled, 5);
    struct frame *frame = recent_take(recent, "dock", 1 * SECOND, 4 * SECOND);
    ck_assert_int_eq(frame->record.captured.boot_us, 3 * SECOND); /* the newest */
    frame_destroy(frame);
    ck_assert_uint_eq(count_of(recent, "dock", 0, 9), 2);
    ck_assert_uint_eq(count_of(recent, "dock", 0, 9), 0);
    ck_assert_uint_eq(count_of(recent, "yard", 0, 9), 0);
    ck_assert_uint_eq(count_of(recent, "gate", 3, 4), 1);
    ck_assert_int_eq(settled, 5);
    recent_destroy(recent);
}
END_TEST

START_TEST(only_as_far_back_as_is_asked_for) {
    struct recent *recent = recent_create();
    reject(recent, "dock", 1, 100);
    ck_assert_uint_eq(count_of(recent, "dock", 0, 99), 0); /* nobody asks for any */
    recent_reach_set(recent, 3000, 0);
    for (int64_t at = 1; at <= 10; at++) {
        reject(recent, "dock", at, 100);
    }
    ck_assert_uint_eq(count_of(recent, "dock", 0, 99), 4);
    recent_reach_set(recent, 0, 2); /* the last ones however old; a few more may come late */
    reject(recent, "gate", 1, 100);
    for (int64_t at = 100; at <= 200; at += 10) {
        reject(recent, "dock", at, 100);
    }
    ck_assert_uint_eq(count_of(recent, "gate", 0, 99), 1);
    unsigned last = count_of(recent, "dock", 0, 999);
    ck_assert(last >= 2 && last <= 8);
    reject(recent, "dock", 300, 100);
    recent_reach_set(recent, 0, 0);
    ck_assert_uint_eq(count_of(recent, "dock", 0, 999), 0);
    recent_destroy(recent);
    recent_destroy(NULL);
}
END_TEST

START_TEST(bounds_hold) {
    struct recent *recent = recent_create();
    recent_reach_set(recent, 3600000, 0);
    for (int64_t at = 0; at < 100; at++) {
        reject(recent, "dock", at, 100);
    }
    ck_assert_uint_eq(count_of(recent, "dock", 36, 99), RECENT_FRAMES_MAX); /* the newest stay */
    for (int64_t at = 0; at < 20; at++) {
        reject(recent, "gate", at, RECENT_BYTES_MAX / 8);
    }
    ck_assert_uint_eq(count_of(recent, "gate", 12, 19), 8);
    ck_assert_uint_eq(count_of(recent, "gate", 0, 19), 0);
    reject(recent, "gate", 30, RECENT_BYTES_MAX / 2 + 1); /* one that is too large for the rest */
    ck_assert_uint_eq(count_of(recent, "gate", 30, 30), 0);
    for (int camera = 0; camera < 20; camera++) {
        char name[FRAME_NAME_MAX + 1];
        snprintf(name, sizeof(name), "cam-%d", camera);
        for (int64_t at = 0; at < 40; at++) {
            reject(recent, name, at, 100);
        }
    }
    ck_assert_uint_eq(count_of(recent, "cam-0", 0, 99), 0); /* the oldest of all made room */
    ck_assert_uint_eq(count_of(recent, "cam-19", 0, 99), 40);
    recent_destroy(recent);
}
END_TEST

START_TEST(no_memory_is_only_forgetful) {
    struct recent *recent = recent_create();
    recent_reach_set(recent, 10000, 0);
    for (long n = 0; n < 2; n++) {
        struct frame *frame = frame_make("dock", 1, 100);
        mem_fail_after(n);
        recent_put(recent, frame);
        mem_fail_after(-1);
        ck_assert_ptr_nonnull(frame->blob);
        frame_destroy(frame);
    }
    ck_assert_uint_eq(count_of(recent, "dock", 0, 9), 0);
    recent_destroy(recent);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("daemon/recent");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, frames_are_taken_whole_and_once);
    tcase_add_test(tests, only_as_far_back_as_is_asked_for);
    tcase_add_test(tests, bounds_hold);
    tcase_add_test(tests, no_memory_is_only_forgetful);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
