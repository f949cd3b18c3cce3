/* What is held for the live view, and what is not; and how fast it all goes. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/pace.h"
#include "daemon/watch.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct frame *frame_of(const char *camera, size_t bytes) {
    struct err err = {0};
    struct frame *frame = NULL;
    uint8_t *blob = mem_alloc(bytes);
    ck_assert_ptr_nonnull(blob);
    memset(blob, 7, bytes);
    ck_assert_msg(frame_create(camera, blob, bytes, &frame, &err) == 0, "%s", err.msg);
    frame->record.media = MEDIA_JPEG;
    frame->record.width = 640;
    frame->record.height = 480;
    return frame;
}

static void see(struct watch *watch, const char *camera, size_t bytes) {
    struct frame *frame = frame_of(camera, bytes);
    watch_see(watch, frame);
    frame_destroy(frame);
}

START_TEST(costs_nothing_unwatched) {
    struct watch *watch = watch_create();
    static struct watch_look look;
    see(watch, "dock", 1000);
    ck_assert(!watch_get(watch, "dock", &look));
    ck_assert_uint_eq(watch_bytes(watch), 0);
    watch_want(watch);
    see(watch, "dock", 1000);
    ck_assert(watch_get(watch, "dock", &look));
    ck_assert_uint_eq(watch_bytes(watch), 1000);
    ck_assert_uint_eq(look.number, 1);
    see(watch, "dock", 2000); /* too soon after the other */
    ck_assert_uint_eq(watch_bytes(watch), 1000);
    watch_tick(watch);
    ck_assert_uint_eq(watch_bytes(watch), 1000);
    watch_want_for(watch, 50000);
    watch_tick(watch);
    ck_assert_uint_eq(watch_bytes(watch), 1000);
    clock_sleep_ms(60);
    watch_tick(watch);
    ck_assert_uint_eq(watch_bytes(watch), 0);
    ck_assert(!watch_get(watch, "dock", &look));
    watch_destroy(watch);
}
END_TEST

START_TEST(pictures) {
    struct watch *watch = watch_create();
    struct err err = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    enum frame_media media = MEDIA_NONE;
    watch_want(watch);
    ck_assert_int_eq(watch_picture(watch, "dock", 1, &bytes, &size, &media, &err), ERR_NOT_FOUND);
    for (size_t i = 1; i <= 3; i++) {
        see(watch, "dock", 1000 * i);
        clock_sleep_ms(WATCH_EVERY_US / 1000 + 5);
    }
    ck_assert_uint_eq(watch_bytes(watch), 5000);         /* the last two */
    static const size_t sizes[] = {0, 3000, 2000, 3000}; /* the first is gone: the latest */
    for (uint64_t number = 1; number <= 3; number++) {
        ck_assert_int_eq(watch_picture(watch, "dock", number, &bytes, &size, &media, &err), 0);
        ck_assert_uint_eq(size, sizes[number]);
        ck_assert_int_eq(media, MEDIA_JPEG);
        free(bytes);
    }
    watch_destroy(watch);
}
END_TEST

/* Raw pixels are held as they are, and are a JPEG once somebody asks. */
START_TEST(raw_is_encoded_for_the_viewer) {
    struct watch *watch = watch_create();
    struct err err = {0};
    struct frame *frame = NULL;
    uint8_t *bytes = NULL, *pixels = mem_alloc(64 * 48 * 3);
    size_t size = 0;
    enum frame_media media = MEDIA_NONE;
    ck_assert_int_eq(
        frame_create_raw("dock", FRAME_RGB24, 64, 48, pixels, 64 * 48 * 3, &frame, &err), 0);
    watch_want(watch);
    watch_see(watch, frame);
    ck_assert_int_eq(frame->format, FRAME_RGB24);
    ck_assert_uint_eq(watch_bytes(watch), 64 * 48 * 3);
    ck_assert_msg(watch_picture(watch, "dock", 1, &bytes, &size, &media, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(media, MEDIA_JPEG);
    ck_assert(size > 4 && bytes[0] == 0xff && bytes[1] == 0xd8);
    free(bytes);
    frame_destroy(frame);
    watch_destroy(watch);
}
END_TEST

START_TEST(bounded) {
    struct watch *watch = watch_create();
    static struct watch_look look;
    char name[16];
    watch_want(watch);
    for (int i = 0; i < 5; i++) { /* 40 MiB each: two fit, the others have no thumbnail either */
        snprintf(name, sizeof(name), "big-%d", i);
        see(watch, name, 40u << 20);
    }
    ck_assert_uint_eq(watch_bytes(watch), 80u << 20);
    ck_assert(watch_get(watch, "big-1", &look));
    ck_assert(!watch_get(watch, "big-2", &look));
    for (int i = 0; i < WATCH_CAMERAS; i++) {
        snprintf(name, sizeof(name), "small-%d", i);
        see(watch, name, 10);
    }
    ck_assert(watch_get(watch, "small-0", &look));
    ck_assert(!watch_get(watch, "small-63", &look));
    watch_destroy(watch);
}
END_TEST

START_TEST(histogram) {
    struct pace_times times = {0};
    struct buf text = BUF_INIT(8192);
    ck_assert(pace_times_quantile(&times, 0.5) <= 0);
    for (int i = 0; i < 90; i++) {
        pace_times_note(&times, 0.02);
    }
    for (int i = 0; i < 10; i++) {
        pace_times_note(&times, 99);
    }
    ck_assert_uint_eq(pace_times_count(&times), 100);
    ck_assert_double_eq_tol(pace_times_quantile(&times, 0.5), 0.01 + 0.015 * 50 / 90, 1e-9);
    ck_assert_double_eq_tol(pace_times_quantile(&times, 0.95), 10, 1e-9);
    pace_times_metric(&text, "x_seconds", "Y", &times);
    ck_assert_ptr_nonnull(strstr(text.data, "# TYPE x_seconds histogram\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "x_seconds_bucket{le=\"0.01\"} 0\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "x_seconds_bucket{le=\"0.025\"} 90\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "x_seconds_bucket{le=\"10\"} 90\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "x_seconds_bucket{le=\"+Inf\"} 100\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "x_seconds_count 100\n"));
    buf_finish(&text);
}
END_TEST

START_TEST(per_second) {
    struct pace_rate rate = {0};
    pace_rate_note(&rate, 12, 1000000);
    pace_rate_note(&rate, 24, 2000000);
    ck_assert_double_eq_tol(rate.per_second, 12, 0.01); /* no slow start */
    for (int i = 3; i <= 60; i++) {
        pace_rate_note(&rate, (uint64_t)i * 12, i * INT64_C(1000000));
    }
    ck_assert_double_eq_tol(rate.per_second, 12, 0.01);
    for (int i = 61; i <= 120; i++) { /* nothing comes any more */
        pace_rate_note(&rate, 720, i * INT64_C(1000000));
    }
    ck_assert_double_eq_tol(rate.per_second, 0, 0.01);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("daemon_watch");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, costs_nothing_unwatched);
    tcase_add_test(tests, pictures);
    tcase_add_test(tests, raw_is_encoded_for_the_viewer);
    tcase_add_test(tests, bounded);
    tcase_add_test(tests, histogram);
    tcase_add_test(tests, per_second);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
