/* The outbox: rows, receipts, deferral, quarantine, counters, remotes that change, clocks that are
 * wrong, pins. */
#include "tests/suite.h"
#include "tests/unit/store_outbox_case.h"
#include <poll.h>

START_TEST(rows_flow_to_receipts) {
    struct store_outbox_row out[32];
    case_put_many(store, 1000, 2, BLOB); /* before any remote: not queued */
    declare_as("cloud", true, "disk", false);
    case_put_many(store, 0, 10, BLOB);
    ck_assert_uint_eq(rows("cloud", out, 32), 10);
    ck_assert_uint_eq(rows("disk", out, 4), 4);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts_of("cloud").pending, 10);
    ck_assert_uint_eq(counts_of("cloud").pending_bytes, 10 * BLOB);
    ck_assert_uint_eq(counts.replicated[0] + counts.replicated[1], 0);
    rows("cloud", out, 32);
    ck_assert_uint_lt(out[0].row, out[9].row);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(out[i].blob_bytes, BLOB);
        ck_assert_int_eq(out[i].media, MEDIA_JPEG);
        ck_assert_int_eq(case_receipt(store, "cloud", &out[i], NULL), 0);
        struct store_outbox_row left[32];
        ck_assert_uint_eq(rows("cloud", left, 32), 9 - i); /* gone at once */
    }
    counts = case_counts(store);
    ck_assert_uint_eq(counts_of("cloud").done, 10);
    ck_assert_uint_eq(counts_of("cloud").pending, 0);
    ck_assert_uint_eq(counts_of("cloud").tier_done[0], 5);
    ck_assert_uint_eq(counts_of("disk").pending, 10);
    ck_assert_uint_eq(counts.replicated[0], 5); /* the required one has it */
    ck_assert_uint_eq(counts.replicated[1], 5);
    struct store_receipt receipt;
    ck_assert_int_eq(store_receipt_get(reader, "cloud", out[3].tier, &out[3].blob, &receipt, NULL),
                     0);
    ck_assert_int_eq(receipt.kind, STORE_RECEIPT_STORED);
    ck_assert_str_eq(receipt.etag, "\"etag\"");
    ck_assert_int_eq(store_receipt_get(reader, "", out[3].tier, &out[3].blob, &receipt, NULL), 0);
    ck_assert_int_eq(store_receipt_get(reader, "disk", out[3].tier, &out[3].blob, &receipt, NULL),
                     ERR_NOT_FOUND);
    ck_assert_int_eq(case_receipt(store, "nobody", &out[0], NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(case_receipt(store, "cloud", &out[0], NULL), 0); /* again: harmless */
    ck_assert_uint_eq(case_counts(store).replicated[0], 5);
    for (int without = 0; without < 2; without++) {
        reopen(without);
        counts = case_counts(store);
        ck_assert_uint_eq(counts_of("cloud").done, 10);
        ck_assert_uint_eq(counts_of("disk").pending, 10);
        ck_assert_uint_eq(counts.replicated[0] + counts.replicated[1], 10);
        ck_assert_uint_eq(rows("disk", out, 32), 10);
    }
}
END_TEST

START_TEST(orders_of_the_outbox) {
    struct store_outbox_row out[8];
    declare("cloud", NULL);
    static const uint64_t values[] = {50, 90, 10, 70};
    for (size_t i = 0; i < 4; i++) {
        case_put_many(store, values[i], 1, BLOB); /* frame n has value n / 100 */
    }
    ck_assert_uint_eq(rows_in("cloud", STORE_VALUE, out, 8), 4);
    ck_assert_double_eq(out[0].value, 0.9);
    ck_assert_double_eq(out[3].value, 0.1);
    ck_assert_uint_eq(rows_in("cloud", STORE_NEWEST, out, 2), 2);
    ck_assert_double_eq(out[0].value, 0.7);
    ck_assert_uint_eq(rows("cloud", out, 1), 1);
    ck_assert_double_eq(out[0].value, 0.5);
}
END_TEST

START_TEST(the_eventfd_rings) {
    struct pollfd poller = {.fd = store_outbox_fd(store), .events = POLLIN};
    uint64_t count;
    declare("cloud", NULL);
    ck_assert_int_eq(poll(&poller, 1, 5000), 1); /* it rings for that too, perhaps a little later */
    ck_assert_int_eq(read(poller.fd, &count, sizeof(count)), (int)sizeof(count));
    case_put(store, 1, BLOB);
    ck_assert_int_eq(poll(&poller, 1, 5000), 1);
    ck_assert_int_eq(read(poller.fd, &count, sizeof(count)), (int)sizeof(count));
    struct store_outbox_row out[2];
    ck_assert_uint_eq(rows("cloud", out, 2), 1); /* it rings after the row is there */
}
END_TEST

START_TEST(deferred_rows_wait) {
    struct store_outbox_row out[8];
    size_t count;
    int64_t next = 0;
    declare("cloud", NULL);
    case_put_many(store, 0, 2, BLOB);
    rows("cloud", out, 8);
    int64_t before = clock_boot_us();
    ck_assert_int_eq(
        store_outbox_defer(store, "cloud", out[0].tier, &out[0].blob, 60000, "503", NULL), 0);
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 8, out, &count, &next, NULL),
                     0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_ge(next, before + 60000000);
    ck_assert_int_le(next, before + 120000000);
    ck_assert_int_eq(store_outbox_defer(store, "cloud", out[0].tier, &out[0].blob, 0, "503", NULL),
                     0);
    ck_assert_uint_eq(rows("cloud", out, 8), 1);
    ck_assert_uint_eq(out[0].attempts, 1);
    reopen(false); /* a new boot's clock says nothing about the old one's waiting */
    ck_assert_uint_eq(rows("cloud", out, 8), 2);
    ck_assert_uint_eq(out[0].attempts, 1);
}
END_TEST

START_TEST(quarantine_and_release) {
    struct store_outbox_row out[8];
    uint64_t released = 99;
    declare("cloud", NULL);
    case_put_many(store, 0, 3, BLOB);
    rows("cloud", out, 8);
    ck_assert_int_eq(
        store_outbox_quarantine(store, "cloud", out[1].tier, &out[1].blob, "403: no", NULL), 0);
    ck_assert_int_eq(
        store_outbox_quarantine(store, "cloud", out[1].tier, &out[1].blob, "again", NULL), 0);
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(counts_of("cloud").pending, 2);
        ck_assert_uint_eq(counts_of("cloud").quarantined, 1);
        struct store_filter filter = {.sync = STORE_SYNC_QUARANTINED};
        struct store_page *page = NULL;
        ck_assert_int_eq(store_page_read(reader, &filter, NULL, 10, 1, &page, NULL), 0);
        ck_assert_uint_eq(page->count, 1);
        ck_assert(page->rows[0].quarantined);
        ck_assert_uint_eq(page->rows[0].owed, 1); /* it stays owed */
        store_page_destroy(page);
        filter.sync = STORE_SYNC_PENDING;
        ck_assert_int_eq(store_page_read(reader, &filter, NULL, 10, 1, &page, NULL), 0);
        ck_assert_uint_eq(page->count, 2);
        store_page_destroy(page);
        reopen(without);
    }
    ck_assert_int_eq(store_outbox_retry(store, "cloud", &released, NULL), 0);
    ck_assert_uint_eq(released, 1);
    ck_assert_uint_eq(rows("cloud", out, 8), 3);
    ck_assert_int_eq(store_outbox_retry(store, NULL, &released, NULL), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(store_outbox_retry(store, "nobody", &released, NULL), ERR_NOT_FOUND);
    rows("cloud", out, 8);
    ck_assert_int_eq(case_receipt(store, "cloud", &out[1], NULL), 0);
    struct store_filter done = {.sync = STORE_SYNC_DONE};
    struct store_page *page = NULL;
    ck_assert_int_eq(store_page_read(reader, &done, NULL, 10, 1, &page, NULL), 0);
    ck_assert_uint_eq(page->count, 1);
    ck_assert_uint_eq(page->rows[0].receipts, 1);
    store_page_destroy(page);
}
END_TEST

START_TEST(a_duplicate_is_not_sent_twice) {
    struct store_outbox_row out[8];
    declare("cloud", NULL);
    struct store_frame first = case_frame(2, BLOB), again = case_frame(4, BLOB);
    for (size_t i = 0; i < BLOB; i++) {
        again.blob[i] = first.blob[i];
    }
    case_put_frame(store, first);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 1);
    ck_assert_int_eq(case_receipt(store, "cloud", &out[0], NULL), 0);
    ck_assert(case_put_frame(store, again).duplicate);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 0);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.replicated[TIER_ANNOTATED], 2); /* frames, not blobs */
    ck_assert_uint_eq(counts_of("cloud").done, 1);
    ck_assert_uint_eq(counts_of("cloud").tier_done[TIER_ANNOTATED], 2);
}
END_TEST

START_TEST(a_new_identity_is_a_new_remote) {
    struct store_outbox_row out[8];
    struct store_remote moved = case_remote("cloud", true);
    declare("cloud", NULL);
    case_put_many(store, 0, 2, BLOB);
    rows("cloud", out, 8);
    ck_assert_int_eq(case_receipt(store, "cloud", &out[0], NULL), 0);
    ck_assert_uint_eq(case_counts(store).replicated[out[0].tier], 1);
    moved.identity.bytes[0] ^= 1;
    ck_assert_int_eq(store_remotes_set(store, &moved, 1, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 0); /* from now on */
    ck_assert_uint_eq(case_counts(store).replicated[0], 0);
    case_put_many(store, 10, 1, BLOB);
    ck_assert_uint_eq(rows("cloud", out, 8), 1);
    declare("cloud", NULL); /* back again: its rows and receipts are still known */
    ck_assert_uint_eq(rows("cloud", out, 8), 1);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.replicated[0] + counts.replicated[1], 1);
    struct store_remote twice[2] = {moved, moved};
    ck_assert_int_eq(store_remotes_set(store, twice, 2, NULL), ERR_INVALID);
    reopen(true);
    counts = case_counts(store);
    ck_assert_uint_eq(counts.replicated[0] + counts.replicated[1], 1);
}
END_TEST

/* ---- time ---- */

static struct store_frame unsynchronised(uint64_t n) {
    struct store_frame frame = case_frame(n, BLOB);
    frame.record.captured.state = CLOCK_UNSYNCHRONISED;
    frame.record.captured.utc_us = (int64_t)n; /* 1970 */
    frame.record.captured.boot_us = 1000000 * (int64_t)n;
    memset(frame.record.captured.boot_id, 0xb0, 16);
    return frame;
}

static int64_t utc_of(uint64_t n, enum clock_state *state) {
    struct store_frame want = case_frame(n, 1);
    struct store_row *row = NULL;
    ck_assert_int_eq(store_frame_get(reader, &want.record.id, &row, NULL), 0);
    int64_t utc = row->record.captured.utc_us;
    *state = row->record.captured.state;
    store_row_destroy(row);
    case_frame_free(&want);
    return utc;
}

START_TEST(a_wrong_clock_is_mended) {
    struct store_outbox_row out[8];
    enum clock_state state;
    if (clock_state_now() == CLOCK_SYNCHRONISED) {
        clock_trust(false);
        if (clock_state_now() == CLOCK_SYNCHRONISED) {
            return; /* this host's clock cannot be made to look wrong */
        }
    }
    declare("cloud", NULL);
    for (uint64_t n = 1; n <= 3; n++) {
        ck_assert_int_eq(case_put_frame(store, unsynchronised(n)).code, 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(rows("cloud", out, 8), 0); /* kept, not queued */
    ck_assert_uint_eq(counts_of("cloud").pending, 3);
    reopen(false);
    ck_assert_uint_eq(rows("cloud", out, 8), 0);
    struct store_frame right = case_frame(4, BLOB);
    memset(right.record.captured.boot_id, 0xb0, 16);
    right.record.captured.boot_us = 10 * 1000000;
    right.record.captured.utc_us = CASE_T0 + 10 * 1000000;
    ck_assert_int_eq(case_put_frame(store, right).code, 0);
    for (int tries = 0; tries < 100 && rows("cloud", out, 8) < 4; tries++) {
        ck_assert_int_eq(store_flush(store, NULL), 0);
        clock_sleep_ms(20);
    }
    for (int without = 0; without < 2; without++) {
        ck_assert_uint_eq(rows("cloud", out, 8), 4);
        for (uint64_t n = 1; n <= 3; n++) {
            ck_assert_int_eq(utc_of(n, &state), CASE_T0 + 1000000 * (int64_t)n);
            ck_assert_int_eq(state, CLOCK_SYNCHRONISED);
        }
        struct store_filter filter = {.since_us = CASE_T0, .until_us = CASE_T0 + 5000000};
        snprintf(filter.label, sizeof(filter.label), "gull");
        struct store_page *page = NULL;
        ck_assert_int_eq(store_page_read(reader, &filter, NULL, 10, 1, &page, NULL), 0);
        ck_assert_uint_eq(page->count, 1); /* the label's order is mended too: frames 1 of 1..3 */
        store_page_destroy(page);
        reopen(without);
    }
    /* From now on this boot's offset is known, so a wrong stamp is right before it is written. */
    ck_assert_int_eq(case_put_frame(store, unsynchronised(5)).code, 0);
}
END_TEST

START_TEST(pins_are_kept) {
    struct store_row *row = NULL;
    struct store_frame frame = case_frame(3, BLOB), none = case_frame(9, BLOB);
    struct frame_id id = frame.record.id;
    ck_assert_int_eq(case_put_frame(store, frame).code, 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(store_pin_set(store, &none.record.id, true, NULL), ERR_NOT_FOUND);
    case_frame_free(&none);
    ck_assert_int_eq(store_pin_set(store, &id, true, NULL), 0);
    ck_assert_int_eq(store_pin_set(store, &id, true, NULL), 0);
    for (int without = 0; without < 2; without++) {
        ck_assert_int_eq(store_frame_get(reader, &id, &row, NULL), 0);
        ck_assert(row->pinned);
        store_row_destroy(row);
        reopen(without);
    }
    ck_assert_int_eq(store_pin_set(store, &id, false, NULL), 0);
    ck_assert_int_eq(store_frame_get(reader, &id, &row, NULL), 0);
    ck_assert(!row->pinned);
    store_row_destroy(row);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_outbox");
    TCase *tests = tcase_create("outbox");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    const TTest *const all[] = {
        rows_flow_to_receipts,
        orders_of_the_outbox,
        the_eventfd_rings,
        deferred_rows_wait,
        quarantine_and_release,
        a_duplicate_is_not_sent_twice,
        a_new_identity_is_a_new_remote,
        a_wrong_clock_is_mended,
        pins_are_kept,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
