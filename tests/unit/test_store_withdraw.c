/* Receipts that are taken back: the index, one made anew from the log, and what is counted must
 * agree. */
#include "tests/suite.h"
#include "tests/unit/store_outbox_case.h"

static void all_receipts(const char *remote, size_t count) {
    struct store_outbox_row out[64];
    ck_assert_uint_eq(rows(remote, out, 64), count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(case_receipt(store, remote, &out[i], NULL), 0);
    }
}

static struct store_blob_name blob_of(uint64_t n) {
    struct store_frame frame = case_frame(n, BLOB);
    struct store_blob_name name = {.tier = frame.record.tier};
    hash_sha256(frame.blob, BLOB, &name.blob);
    case_frame_free(&frame);
    return name;
}

static unsigned state_of(uint64_t n) {
    struct store_blob_name name = blob_of(n);
    unsigned state = 99;
    ck_assert_int_eq(store_blobs_look(reader, "cloud", &name, 1, &state, NULL), 0);
    return state;
}

static void withdraw(enum store_outbox_action action, uint64_t n, uint64_t wanted) {
    struct store_blob_name name = blob_of(n);
    uint64_t changed = 99;
    ck_assert_int_eq(store_outbox_act(store, "cloud", action, &name, 1, &changed, NULL), 0);
    ck_assert_uint_eq(changed, wanted);
}

START_TEST(what_is_missing_there_goes_again) {
    declare("cloud", NULL);
    case_put_many(store, 0, 4, BLOB);
    all_receipts("cloud", 4);
    ck_assert_uint_eq(counts_of("cloud").done, 4);
    uint64_t replicated = case_counts(store).replicated[0] + case_counts(store).replicated[1];
    withdraw(STORE_OUTBOX_LOST, 1, 1);
    withdraw(STORE_OUTBOX_LOST, 1, 0); /* no receipt any more */
    for (int without = 0; without < 2; without++) {
        struct store_counts counts = case_counts(store);
        ck_assert_uint_eq(counts_of("cloud").done, 3);
        ck_assert_uint_eq(counts_of("cloud").pending, 1);
        ck_assert_uint_eq(counts_of("cloud").tier_done[0] + counts_of("cloud").tier_done[1], 3);
        ck_assert_uint_eq(counts.replicated[0] + counts.replicated[1], replicated - 1);
        ck_assert_uint_eq(state_of(1), STORE_BLOB_KNOWN | STORE_BLOB_LOCAL | STORE_BLOB_QUEUED);
        ck_assert_uint_eq(state_of(2), STORE_BLOB_KNOWN | STORE_BLOB_LOCAL | STORE_BLOB_RECEIPT);
        reopen(without);
    }
    all_receipts("cloud", 1); /* it arrived again */
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(counts_of("cloud").done, 4);
        ck_assert_uint_eq(counts_of("cloud").pending, 0);
        ck_assert_uint_eq(state_of(1), STORE_BLOB_KNOWN | STORE_BLOB_LOCAL | STORE_BLOB_RECEIPT);
        reopen(without);
    }
}
END_TEST

static struct store_why *why_of(uint64_t n) {
    struct store_frame frame = case_frame(n, BLOB);
    struct store_why *why = NULL;
    ck_assert_int_eq(store_why_get(reader, &frame.record.id, &why, NULL), 0);
    case_frame_free(&frame);
    return why;
}

START_TEST(what_was_removed_there_stays_away) {
    struct store_blob_name names[8];
    int64_t after = 0;
    size_t count = 9;
    bool more = true;
    declare("cloud", NULL);
    case_put_many(store, 0, 4, BLOB);
    all_receipts("cloud", 4);
    withdraw(STORE_OUTBOX_EXPIRED, 0, 1);
    withdraw(STORE_OUTBOX_REMOVED, 1, 1);
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(counts_of("cloud").done, 2);
        ck_assert_uint_eq(counts_of("cloud").pending, 0);
        ck_assert_uint_eq(state_of(0), STORE_BLOB_KNOWN | STORE_BLOB_LOCAL);
        struct store_why *why = why_of(1);
        ck_assert_uint_eq(why->remote_count, 1);
        ck_assert_int_eq(why->remotes[0].state, STORE_WHY_WITHDRAWN);
        ck_assert_int_eq(why->remotes[0].withdrawn, STORE_OUTBOX_REMOVED);
        ck_assert_str_eq(why->remotes[0].name, "cloud");
        ck_assert_int_gt(why->remotes[0].utc_us, 0);
        ck_assert_uint_eq(why->row->owed, 0);
        store_why_destroy(why);
        after = 0;
        ck_assert_int_eq(
            store_unqueued_read(reader, "cloud", 0, &after, names, 8, &count, &more, NULL), 0);
        ck_assert_uint_eq(count, 0); /* a backfill does not bring it back */
        reopen(without);
    }
}
END_TEST

START_TEST(what_is_missing_there_and_gone_here_is_lost) {
    struct store_removal removal;
    struct store_frame frame = case_frame(2, BLOB);
    declare("cloud", NULL);
    case_put_many(store, 0, 4, BLOB);
    all_receipts("cloud", 4);
    ck_assert_int_eq(store_remove(store, &frame.record.id, 1, false, false, &removal, NULL), 0);
    struct store_why *why = why_of(2);
    ck_assert_int_eq(why->row->place, STORE_PLACE_REMOTE);
    store_why_destroy(why);
    withdraw(STORE_OUTBOX_LOST, 2, 1);
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(counts_of("cloud").pending, 0);
        ck_assert_uint_eq(state_of(2), STORE_BLOB_KNOWN);
        why = why_of(2);
        ck_assert_int_eq(why->row->place, STORE_PLACE_GONE);
        ck_assert_int_eq(why->remotes[0].withdrawn, STORE_OUTBOX_LOST);
        store_why_destroy(why);
        reopen(without);
    }
    /* kept anew, it is an upload like any other */
    struct store_frame again = case_frame(2, BLOB);
    frame_id_create(again.record.captured.utc_us, &again.record.id);
    ck_assert_int_eq(case_put_frame(store, again).code, 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(counts_of("cloud").pending, 1);
    all_receipts("cloud", 1);
    reopen(true);
    why = why_of(2);
    ck_assert_uint_eq(why->remote_count, 1);
    ck_assert_int_eq(why->remotes[0].state, STORE_WHY_DONE);
    store_why_destroy(why);
    case_frame_free(&frame);
}
END_TEST

START_TEST(all_receipts_are_read_in_pages) {
    struct store_receipt_row page[3];
    size_t count = 9, seen = 0;
    int64_t after = 0;
    struct frame_hash identity;
    declare("cloud", "disk");
    case_put_many(store, 0, 8, BLOB);
    all_receipts("cloud", 8);
    do {
        ck_assert_int_eq(store_receipts_read(reader, "cloud", &after, page, 3, &count, NULL), 0);
        for (size_t i = 0; i < count; i++, seen++) {
            struct store_blob_name name = blob_of(seen);
            ck_assert_mem_eq(&page[i].receipt.blob, &name.blob, sizeof(name.blob));
            ck_assert_int_eq(page[i].receipt.tier, name.tier);
            ck_assert_uint_eq(page[i].blob_bytes, BLOB);
            ck_assert(page[i].local && !page[i].pinned);
            ck_assert_str_ne(page[i].receipt.key, "");
        }
    } while (count);
    ck_assert_uint_eq(seen, 8);
    after = 0;
    ck_assert_int_eq(store_receipts_read(reader, "disk", &after, page, 3, &count, NULL), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(store_receipts_read(reader, "nobody", &after, page, 3, &count, NULL),
                     ERR_NOT_FOUND);
    struct store_remote cloud = case_remote("cloud", true);
    ck_assert_int_eq(store_remote_identity(store, "cloud", &identity, NULL), 0);
    ck_assert_mem_eq(&identity, &cloud.identity, sizeof(identity));
    ck_assert_int_eq(store_remote_identity(store, "nobody", &identity, NULL), ERR_NOT_FOUND);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_withdraw");
    TCase *tests = tcase_create("withdraw");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, what_is_missing_there_goes_again);
    tcase_add_test(tests, what_was_removed_there_stays_away);
    tcase_add_test(tests, what_is_missing_there_and_gone_here_is_lost);
    tcase_add_test(tests, all_receipts_are_read_in_pages);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
