/* Frames: names, ownership, one settlement. Leaks and double frees show under the address
 * sanitizer. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/frame.h"
#include "tests/suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

struct heard {
    int detected, settled;
    uint64_t token;
    enum frame_outcome outcome;
    int code;
    uint64_t bytes;
};

static void on_detected(void *ctx, uint64_t token, const struct frame *frame) {
    struct heard *heard = ctx;
    heard->detected++;
    heard->token = token;
    heard->bytes = frame->record.blob_bytes;
}

static void on_settled(void *ctx, uint64_t token, const struct frame *frame,
                       enum frame_outcome outcome, const struct err *err) {
    struct heard *heard = ctx;
    heard->settled++;
    heard->token = token;
    heard->outcome = outcome;
    heard->code = err ? err->code : 0;
    heard->bytes = frame->record.blob_bytes;
}

static uint8_t *some_bytes(size_t size) {
    uint8_t *bytes = mem_alloc(size);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 0xab, size);
    return bytes;
}

START_TEST(names_have_one_form) {
    static const struct {
        const char *name;
        bool valid;
    } cases[] = {
        {"a", true},
        {"dock", true},
        {"0", true},
        {"dock-2", true},
        {"dock-", true},
        {"a2345678901234567890123456789012", true},
        {"a23456789012345678901234567890123", false},
        {"", false},
        {"-dock", false},
        {"Dock", false},
        {"dock_2", false},
        {"dock 2", false},
        {"d\303\266ck", false},
        {"../etc", false},
        {"dock\n", false},
        {NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        ck_assert_msg(frame_name_valid(cases[i].name) == cases[i].valid, "case %zu '%s'", i,
                      cases[i].name ? cases[i].name : "(null)");
    }
}
END_TEST

START_TEST(create_fills_the_record) {
    struct frame *frame = NULL;
    struct err err = {0};
    int64_t before = clock_utc_us();
    ck_assert_int_eq(frame_create("dock", some_bytes(100), 100, &frame, &err), 0);

    ck_assert_str_eq(frame->record.camera, "dock");
    ck_assert_uint_eq(frame->record.blob_bytes, 100);
    ck_assert_int_eq(frame->record.tier, TIER_NONE);
    ck_assert_int_eq(frame->record.orientation, 1);
    ck_assert_int_ge(frame->record.captured.utc_us, before);
    ck_assert_int_gt(frame->record.captured.boot_us, 0);
    ck_assert(!frame->live);

    /* RFC 9562 5.7: 48 bits of ms, version 7, variant 10 */
    const uint8_t *id = frame->record.id.bytes;
    int64_t ms = 0;
    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | id[i];
    }
    ck_assert_int_eq(ms, frame->record.captured.utc_us / 1000);
    ck_assert_int_eq(id[6] >> 4, 7);
    ck_assert_int_eq(id[8] >> 6, 2);
    frame_destroy(frame);
}
END_TEST

START_TEST(create_refuses_and_frees) {
    struct frame *frame = NULL;
    struct err err = {0};
    ck_assert_int_eq(frame_create("Dock!", some_bytes(10), 10, &frame, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "Dock!"));
    ck_assert_int_eq(frame_create("dock", some_bytes(1), 0, &frame, &err), ERR_INVALID);
    ck_assert_int_eq(frame_create("dock", NULL, 10, &frame, &err), ERR_INVALID);
    ck_assert_int_eq(frame_create("dock", some_bytes(10), (size_t)FRAME_BLOB_MAX + 1, &frame, &err),
                     ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "67108865"));

    uint8_t *bytes = some_bytes(10);
    mem_fail_after(0);
    ck_assert_int_eq(frame_create("dock", bytes, 10, &frame, &err), ERR_NOMEM);
    mem_fail_after(-1);
    ck_assert_ptr_null(frame);
}
END_TEST

START_TEST(settle_tells_once_and_frees) {
    struct heard heard = {0};
    struct frame *frame = NULL;
    struct err err = {0};
    ck_assert_int_eq(frame_create("dock", some_bytes(7), 7, &frame, &err), 0);
    frame->record.detections = mem_array(3, sizeof *frame->record.detections);
    frame->record.detection_count = 3;
    frame->thumb = some_bytes(5);
    frame->thumb_bytes = 5;
    frame->origin = (struct frame_origin){
        .ctx = &heard, .token = 42, .on_detected = on_detected, .on_settled = on_settled};

    frame_detected(frame);
    ck_assert_int_eq(heard.detected, 1);
    ck_assert_int_eq(heard.settled, 0);
    err_set(&err, ERR_FULL, "no room");
    frame_settle(frame, FRAME_FAILED, &err);
    ck_assert_int_eq(heard.settled, 1);
    ck_assert_uint_eq(heard.token, 42);
    ck_assert_int_eq(heard.outcome, FRAME_FAILED);
    ck_assert_int_eq(heard.code, ERR_FULL);
    ck_assert_uint_eq(heard.bytes, 7);
}
END_TEST

START_TEST(no_origin_is_fine) {
    struct frame *frame = NULL;
    ck_assert_int_eq(frame_create("dock", some_bytes(7), 7, &frame, NULL), 0);
    frame_detected(frame);
    frame_settle(frame, FRAME_KEPT, NULL);
    frame_destroy(NULL);
}
END_TEST

int main(void) {
    static const TTest *const *const tests[] = {&names_have_one_form, &create_fills_the_record,
                                                &create_refuses_and_frees,
                                                &settle_tells_once_and_frees, &no_origin_is_fine};
    Suite *suite = suite_create("inference/frame");
    TCase *tcase = tcase_create("all");
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, *tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
