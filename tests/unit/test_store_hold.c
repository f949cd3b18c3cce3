/* Frames that may yet be displaced: no remote gets them before their time, they go without a trace
 * at the remotes, and what may have been uploaded, is shared or pinned stays. */
#include "daemon/base/clock.h"
#include "tests/suite.h"
#include "tests/unit/store_outbox_case.h"

#define LONG  (3600 * INT64_C(1000000))
#define SHORT (300 * INT64_C(1000))

static struct frame_id put_held(uint64_t n, int64_t for_us) {
    struct store_frame frame = case_frame(n, BLOB);
    frame.hold_until_boot_us = for_us ? clock_boot_us() + for_us : 0;
    struct store_ack ack = case_put_frame(store, frame);
    ck_assert_int_eq(ack.code, 0);
    return ack.id;
}

static bool displaced(const struct frame_id *id) {
    bool done = true;
    struct err err = {0};
    int code = store_displace(store, id, &done, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
    return done;
}

static enum store_gone gone_of(const struct frame_id *id) {
    struct store_why *why = NULL;
    ck_assert_int_eq(store_why_get(reader, id, &why, NULL), 0);
    enum store_gone gone = why->gone;
    store_why_destroy(why);
    return gone;
}

START_TEST(no_remote_gets_it_before_its_time) {
    struct store_outbox_row out[8];
    int64_t next = 0;
    size_t count = 0;
    declare("cloud", NULL);
    int64_t before = clock_boot_us();
    put_held(1, SHORT);
    put_held(2, 0);
    put_held(3, LONG);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (int order = STORE_OLDEST; order <= STORE_VALUE; order++) { /* also when it comes first */
        ck_assert_int_eq(store_outbox_read(reader, "cloud", (enum store_order)order, 1, out, &count,
                                           &next, NULL),
                         0);
        ck_assert(count == 1 || clock_boot_us() > before + SHORT);
    }
    ck_assert_uint_eq(counts_of("cloud").pending, 3);
    ck_assert(next > before);
    clock_sleep_ms(SHORT / 1000 + 50);
    ck_assert_uint_eq(rows("cloud", out, 8), 2);
    reopen(0); /* a restart ends all holds */
    ck_assert_uint_eq(rows("cloud", out, 8), 3);
}
END_TEST

START_TEST(a_displaced_frame_owes_nothing) {
    struct store_outbox_row out[8];
    declare("cloud", NULL);
    struct frame_id worse = put_held(1, LONG), better = put_held(2, LONG);
    ck_assert(displaced(&worse));
    ck_assert(!displaced(&worse)); /* again: it is not here */
    ck_assert_uint_eq(counts_of("cloud").pending, 1);
    ck_assert_int_eq(gone_of(&worse), STORE_GONE_DISPLACED);
    ck_assert_int_eq(gone_of(&better), STORE_GONE_NOT);
    for (int without = 0; without < 2; without++) { /* nor after a restart or a rebuild */
        reopen(without);
        ck_assert_uint_eq(rows("cloud", out, 8), 1);
        ck_assert_int_eq(gone_of(&worse), STORE_GONE_DISPLACED);
        case_check(reader, 2, BLOB);
    }
}
END_TEST

START_TEST(what_must_stay_stays) {
    struct frame_id unknown = {{1}};
    bool done = true;
    declare("cloud", NULL);
    struct frame_id due = put_held(1, 0), over = put_held(2, SHORT), pinned = put_held(3, LONG);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(store_pin_set(store, &pinned, true, NULL), 0);
    clock_sleep_ms(SHORT / 1000 + 50);
    ck_assert(!displaced(&due)); /* it may be on its way to the remote */
    ck_assert(!displaced(&over));
    ck_assert(!displaced(&pinned));
    ck_assert_int_eq(store_displace(store, &unknown, &done, NULL), ERR_NOT_FOUND);
    ck_assert(!done);

    struct frame_id one = put_held(4, LONG); /* two frames, one blob */
    struct store_frame same = case_frame(4, BLOB);
    same.record.id.bytes[15] ^= 1;
    ck_assert(case_put_frame(store, same).duplicate);
    ck_assert(!displaced(&one));
    for (uint64_t n = 1; n <= 4; n++) {
        case_check(reader, n, BLOB);
    }
}
END_TEST

START_TEST(all_is_due_at_the_end) {
    struct store_outbox_row out[8];
    declare("cloud", NULL);
    put_held(1, LONG);
    put_held(2, 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 1);
    ck_assert_int_eq(
        store_outbox_defer(store, "cloud", out[0].tier, &out[0].blob, 3600000, "later", NULL), 0);
    ck_assert_int_eq(store_holds_end(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 1); /* not what was tried and failed */
    struct frame_id late = put_held(3, LONG);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 2);
    ck_assert(!displaced(&late));
}
END_TEST

START_TEST(more_than_can_be_held_are_due) {
    struct store_outbox_row *out = mem_array(STORE_PAGE_MAX * 4, sizeof(*out));
    ck_assert_ptr_nonnull(out);
    declare("cloud", NULL);
    for (uint64_t n = 0; n < 1030; n++) {
        struct store_frame frame = case_frame(n, 200);
        frame.hold_until_boot_us = clock_boot_us() + LONG;
        ck_assert_int_eq(store_put(store, &frame, NULL), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, STORE_PAGE_MAX * 4), 1030 - 1024);
    free(out);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store/hold");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, no_remote_gets_it_before_its_time);
    tcase_add_test(tests, a_displaced_frame_owes_nothing);
    tcase_add_test(tests, what_must_stay_stays);
    tcase_add_test(tests, all_is_due_at_the_end);
    tcase_add_test(tests, more_than_can_be_held_are_due);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
