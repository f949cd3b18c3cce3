/* What a person decides about rows of the outbox: again, given up, queued after all. A rebuilt
 * index must agree with each of them. */
#include "tests/suite.h"
#include "tests/unit/store_outbox_case.h"

static struct store_blob_name name_of(const struct store_outbox_row *row) {
    return (struct store_blob_name){row->tier, row->blob};
}

static void set_aside(const char *remote, const struct store_outbox_row *row, const char *why) {
    ck_assert_int_eq(store_outbox_quarantine(store, remote, row->tier, &row->blob, why, NULL), 0);
}

START_TEST(the_quarantine_is_listed) {
    struct store_outbox_row out[8];
    struct store_quarantined page[2];
    size_t count = 9;
    declare("cloud", "disk");
    case_put_many(store, 0, 4, BLOB);
    rows("cloud", out, 8);
    for (size_t i = 0; i < 3; i++) {
        set_aside("cloud", &out[i], i == 1 ? "409: other bytes" : "400: no");
    }
    ck_assert_int_eq(store_quarantine_read(reader, "cloud", 0, page, 2, &count, NULL), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(page[1].reason, "409: other bytes");
    ck_assert_int_eq(memcmp(&page[1].blob, &out[1].blob, sizeof(out[1].blob)), 0);
    ck_assert_uint_eq(page[1].blob_bytes, BLOB);
    struct store_frame frame = case_frame(1, BLOB);
    ck_assert_int_eq(memcmp(&page[1].frame, &frame.record.id, sizeof(page[1].frame)), 0);
    case_frame_free(&frame);
    ck_assert_int_eq(store_quarantine_read(reader, "cloud", page[1].row, page, 2, &count, NULL), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(store_quarantine_read(reader, "disk", 0, page, 2, &count, NULL), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(store_quarantine_read(reader, "nobody", 0, page, 2, &count, NULL),
                     ERR_NOT_FOUND);
}
END_TEST

START_TEST(one_row_goes_again) {
    struct store_outbox_row out[8];
    uint64_t changed = 9;
    declare("cloud", NULL);
    case_put_many(store, 0, 3, BLOB);
    rows("cloud", out, 8);
    set_aside("cloud", &out[0], "400");
    set_aside("cloud", &out[1], "400");
    ck_assert_int_eq(
        store_outbox_defer(store, "cloud", out[2].tier, &out[2].blob, 3600000, "503", NULL), 0);
    ck_assert_uint_eq(rows("cloud", out + 3, 4), 0);
    struct store_blob_name names[] = {name_of(&out[1]), name_of(&out[2])};
    ck_assert_int_eq(store_outbox_act(store, "cloud", STORE_OUTBOX_RETRY, names, 2, &changed, NULL),
                     0);
    ck_assert_uint_eq(changed, 2); /* the deferred one too */
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(counts_of("cloud").quarantined, 1);
        ck_assert_uint_eq(counts_of("cloud").pending, 2);
        ck_assert_uint_eq(counts_of("cloud").pending_bytes, 2 * BLOB);
        ck_assert_uint_eq(rows("cloud", out + 3, 4), 2);
        ck_assert_uint_eq(out[3].attempts, 0);
        reopen(without);
    }
    ck_assert_int_eq(store_outbox_act(store, "nobody", STORE_OUTBOX_RETRY, names, 2, NULL, NULL),
                     ERR_NOT_FOUND);
    ck_assert_int_eq(store_outbox_act(store, "cloud", STORE_OUTBOX_RETRY, names, 0, NULL, NULL),
                     ERR_INVALID);
}
END_TEST

static unsigned owed_of(uint64_t n) {
    struct store_frame frame = case_frame(n, BLOB);
    struct store_row *row = NULL;
    ck_assert_int_eq(store_frame_get(reader, &frame.record.id, &row, NULL), 0);
    unsigned owed = row->owed;
    store_row_destroy(row);
    case_frame_free(&frame);
    return owed;
}

START_TEST(what_is_given_up_is_owed_no_longer) {
    struct store_outbox_row out[8];
    uint64_t changed = 9;
    declare("cloud", "disk");
    case_put_many(store, 0, 3, BLOB);
    rows("cloud", out, 8);
    set_aside("cloud", &out[0], "400");
    struct store_blob_name names[] = {name_of(&out[0]), name_of(&out[1])};
    ck_assert_uint_eq(owed_of(0), 2);
    ck_assert_int_eq(store_outbox_act(store, "cloud", STORE_OUTBOX_DROP, names, 2, &changed, NULL),
                     0);
    ck_assert_uint_eq(changed, 2);
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(owed_of(0), 1); /* to the disk, still */
        ck_assert_uint_eq(owed_of(1), 1);
        ck_assert_uint_eq(owed_of(2), 2);
        ck_assert_uint_eq(counts_of("cloud").quarantined, 0);
        ck_assert_uint_eq(counts_of("cloud").pending, 1);
        ck_assert_uint_eq(counts_of("cloud").done, 0); /* given up is not delivered */
        ck_assert_uint_eq(counts_of("disk").pending, 3);
        ck_assert_uint_eq(case_counts(store).replicated[0], 0);
        reopen(without);
    }
    ck_assert_int_eq(store_outbox_act(store, "cloud", STORE_OUTBOX_DROP, names, 2, &changed, NULL),
                     0);
    ck_assert_uint_eq(changed, 0); /* again: nothing left to give up */
    /* and after all */
    ck_assert_int_eq(store_outbox_act(store, "cloud", STORE_OUTBOX_QUEUE, names, 2, &changed, NULL),
                     0);
    ck_assert_uint_eq(changed, 2);
    reopen(true);
    ck_assert_uint_eq(owed_of(0), 2);
    ck_assert_uint_eq(counts_of("cloud").pending, 3);
}
END_TEST

/* All that `since_us` finds, in pages of `limit`; queues it and says how many rows that made. */
static uint64_t backfill(const char *remote, int64_t since_us, size_t limit) {
    struct store_blob_name names[STORE_OUTBOX_BATCH];
    uint64_t all = 0, changed = 0;
    int64_t after = 0;
    bool more = true;
    while (more) {
        size_t count = 0;
        ck_assert_int_eq(store_unqueued_read(reader, remote, since_us, &after, names, limit, &count,
                                             &more, NULL),
                         0);
        ck_assert_uint_le(count, limit);
        if (count) {
            ck_assert_int_eq(
                store_outbox_act(store, remote, STORE_OUTBOX_QUEUE, names, count, &changed, NULL),
                0);
            ck_assert_uint_eq(changed, count);
            all += changed;
        }
    }
    return all;
}

START_TEST(a_new_remote_gets_what_was_there) {
    struct store_outbox_row out[32];
    declare("cloud", NULL);
    case_put_many(store, 0, 10, BLOB);
    rows("cloud", out, 32);
    ck_assert_int_eq(case_receipt(store, "cloud", &out[0], NULL), 0);
    declare("cloud", "disk");
    case_put_many(store, 10, 2, BLOB);
    ck_assert_uint_eq(counts_of("disk").pending, 2); /* from then on */
    ck_assert_uint_eq(backfill("disk", INT64_MAX / 2, 3), 0);
    ck_assert_uint_eq(backfill("disk", 0, 3), 10);
    ck_assert_uint_eq(backfill("disk", 0, 3), 0);    /* resumed: nothing twice */
    ck_assert_uint_eq(backfill("cloud", 0, 256), 0); /* has a receipt or a row for each */
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(counts_of("disk").pending, 12);
        ck_assert_uint_eq(counts_of("disk").pending_bytes, 12 * BLOB);
        ck_assert_uint_eq(counts_of("cloud").pending, 11);
        ck_assert_uint_eq(rows("disk", out, 32), 12);
        ck_assert_uint_eq(owed_of(0), 1);
        ck_assert_uint_eq(owed_of(1), 2);
        reopen(without);
    }
}
END_TEST

START_TEST(what_is_gone_is_not_queued) {
    struct store_blob_name names[STORE_OUTBOX_BATCH];
    struct store_removal removal;
    int64_t after = 0;
    size_t count = 9;
    bool more = true;
    declare("cloud", NULL);
    case_put_many(store, 0, 2, BLOB);
    struct store_frame frame = case_frame(0, BLOB);
    ck_assert_int_eq(store_remove(store, &frame.record.id, 1, true, false, &removal, NULL), 0);
    declare("disk", NULL);
    ck_assert_int_eq(store_unqueued_read(reader, "disk", 0, &after, names, 8, &count, &more, NULL),
                     0);
    ck_assert_uint_eq(count, 1);
    ck_assert(!more);
    names[1].tier = TIER_ANNOTATED;
    names[1].blob = frame.record.blob;
    hash_sha256(frame.blob, BLOB, &names[1].blob);
    uint64_t changed = 9;
    ck_assert_int_eq(store_outbox_act(store, "disk", STORE_OUTBOX_QUEUE, names, 2, &changed, NULL),
                     0);
    ck_assert_uint_eq(changed, 1);
    ck_assert_uint_eq(counts_of("disk").pending, 1);
    case_frame_free(&frame);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_decide");
    TCase *tests = tcase_create("decide");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_quarantine_is_listed);
    tcase_add_test(tests, one_row_goes_again);
    tcase_add_test(tests, what_is_given_up_is_owed_no_longer);
    tcase_add_test(tests, a_new_remote_gets_what_was_there);
    tcase_add_test(tests, what_is_gone_is_not_queued);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
