/* What a person pins and removes: bounds, refusals, what stays after a crash, a rebuild and a put
 * of the same bytes. */
#include "tests/suite.h"
#include "tests/unit/store_opened.h"

#define BLOB  60000u
#define QUOTA (24u << 20)

static void setup(void) {
    clock_trust(true);
    case_dir_make_fast(&dir);
    config = case_config(&dir);
    config.quota_bytes = QUOTA;
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static struct store_row *row_of(uint64_t n) {
    struct frame_id id = id_of(n);
    struct store_row *row = NULL;
    struct err err = {0};
    ck_assert_msg(store_frame_get(reader, &id, &row, &err) == 0, "frame %llu: %s",
                  (unsigned long long)n, err.msg);
    return row;
}

static int place_of(uint64_t n) {
    struct store_row *row = row_of(n);
    int place = (int)row->place;
    store_row_destroy(row);
    return place;
}

static bool pinned(uint64_t n) {
    struct store_row *row = row_of(n);
    bool is = row->pinned;
    store_row_destroy(row);
    return is;
}

static void again_from_the_log(void) {
    char path[400];
    close_all();
    case_fsck(&dir, 0);
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    ck_assert_int_eq(unlink(path), 0);
    open_all();
    ck_assert_int_eq(store_flush(store, NULL), 0);
}

START_TEST(pins_have_a_bound) {
    struct err err = {0};
    open_all();
    case_put_many(store, 0, 150, BLOB);
    uint64_t count = 0;
    int code = 0;
    while (count < 150) {
        struct frame_id id = id_of(count);
        code = store_pin_set(store, &id, true, &err);
        if (code) {
            break;
        }
        count++;
    }
    ck_assert_int_eq(code, ERR_FULL);
    ck_assert_ptr_nonnull(strstr(err.msg, "unpin"));
    ck_assert_uint_eq(count, QUOTA / STORE_PIN_SHARE / BLOB);
    struct frame_id first = id_of(0), refused = id_of(count), none = id_of(999);
    ck_assert_int_eq(store_pin_set(store, &first, true, &err), 0); /* is pinned: no more room */
    ck_assert_int_eq(store_pin_set(store, &first, false, &err), 0);
    ck_assert_int_eq(store_pin_set(store, &refused, true, &err), 0);
    ck_assert_int_eq(store_pin_set(store, &none, true, &err), ERR_NOT_FOUND);
    again_from_the_log();
    ck_assert(!pinned(0));
    ck_assert(pinned(1));
    ck_assert(pinned(count));
    close_all();
}
END_TEST

START_TEST(what_is_removed_is_gone) {
    struct store_removal done;
    struct frame_id ids[] = {id_of(4), id_of(6), id_of(4)};
    open_all();
    case_put_many(store, 0, 10, BLOB);
    ck_assert_int_eq(store_remove(store, ids, 3, false, true, &done, NULL), 0);
    ck_assert_uint_eq(done.frames, 2);
    ck_assert_uint_eq(done.bytes, 2 * BLOB);
    ck_assert_int_eq(place_of(4), STORE_PLACE_LOCAL); /* it was only asked */
    ck_assert_int_eq(store_remove(store, ids, 3, false, false, &done, NULL), 0);
    ck_assert_uint_eq(done.blobs, 2);
    ck_assert_int_eq(place_of(4), STORE_PLACE_GONE);
    ck_assert_int_eq(place_of(6), STORE_PLACE_GONE);
    case_check(reader, 5, BLOB);
    ck_assert_int_eq(store_remove(store, ids, 1, false, false, &done, NULL), 0);
    ck_assert_uint_eq(done.gone, 1);
    ck_assert_uint_eq(done.blobs, 0);
    again_from_the_log();
    ck_assert_int_eq(place_of(4), STORE_PLACE_GONE);
    case_check(reader, 5, BLOB);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.evicted[TIER_ANNOTATED], 2);
    /* The same bytes once more are a new copy, not a name for what was removed. */
    struct store_frame frame = case_frame(4, BLOB);
    frame.record.id.bytes[0] = 9;
    struct store_ack ack = case_put_frame(store, frame);
    ck_assert_int_eq(ack.code, 0);
    ck_assert(!ack.duplicate);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    case_check(reader, 4, BLOB);
    again_from_the_log();
    case_check(reader, 4, BLOB);
    close_all();
}
END_TEST

START_TEST(pinned_and_owed_need_force) {
    struct store_remote cloud = case_remote("cloud", true);
    struct store_removal done = {0};
    struct err err = {0};
    open_all();
    case_put_many(store, 0, 6, BLOB); /* no remote yet: owed to nobody */
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    case_put_many(store, 6, 2, BLOB);
    struct frame_id ids[] = {id_of(0), id_of(2), id_of(6)};
    ck_assert_int_eq(store_pin_set(store, &ids[1], true, NULL), 0);
    ck_assert_int_eq(store_remove(store, ids, 2, false, false, &done, &err), ERR_REFUSED);
    ck_assert_ptr_nonnull(strstr(err.msg, "pinned"));
    ck_assert_int_eq(store_remove(store, &ids[2], 1, false, false, &done, &err), ERR_REFUSED);
    ck_assert_ptr_nonnull(strstr(err.msg, "not yet uploaded"));
    ck_assert_int_eq(store_remove(store, ids, 3, false, true, &done, &err), ERR_REFUSED);
    ck_assert_int_eq(place_of(0), STORE_PLACE_LOCAL); /* all or nothing */
    ck_assert_int_eq(store_remove(store, ids, 3, true, false, &done, &err), 0);
    ck_assert_uint_eq(done.pinned, 1);
    ck_assert_uint_eq(done.owed, 1);
    ck_assert_uint_eq(done.blobs, 3);
    ck_assert_int_eq(place_of(2), STORE_PLACE_GONE);
    ck_assert(!pinned(2));
    ck_assert_uint_eq(case_counts(store).remotes[0].pending, 1);
    again_from_the_log();
    ck_assert(!pinned(2));
    ck_assert_int_eq(place_of(6), STORE_PLACE_GONE);
    ck_assert_uint_eq(case_counts(store).remotes[0].pending, 1);
    struct frame_id none = id_of(777);
    ck_assert_int_eq(store_remove(store, &none, 1, true, false, &done, &err), ERR_NOT_FOUND);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

/* The whole life: kept, uploaded, quarantined, pinned, removed. */
START_TEST(a_life_can_be_told) {
    struct store_remote remotes[] = {case_remote("cloud", true), case_remote("shelf", false)};
    struct store_why *why = NULL;
    struct store_outbox_row row;
    struct store_removal done;
    struct frame_id id = id_of(2), none = id_of(99);
    size_t count;
    open_all();
    ck_assert_int_eq(store_remotes_set(store, remotes, 2, NULL), 0);
    case_put_many(store, 2, 1, BLOB);
    ck_assert_int_eq(store_why_get(reader, &none, &why, NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL),
                     0);
    ck_assert_int_eq(case_receipt(store, "cloud", &row, NULL), 0);
    ck_assert_int_eq(
        store_outbox_quarantine(store, "shelf", row.tier, &row.blob, "no such share", NULL), 0);
    ck_assert_int_eq(store_pin_set(store, &id, true, NULL), 0);
    ck_assert_int_eq(store_why_get(reader, &id, &why, NULL), 0);
    ck_assert(why->has_record);
    ck_assert(!why->clock_repaired);
    ck_assert_uint_eq(why->remote_count, 2);
    ck_assert_str_eq(why->remotes[0].name, "cloud");
    ck_assert_int_eq(why->remotes[0].state, STORE_WHY_DONE);
    ck_assert_int_eq(why->remotes[0].receipt_kind, STORE_RECEIPT_STORED);
    ck_assert_str_eq(why->remotes[0].etag, "\"etag\"");
    ck_assert_int_eq(why->remotes[1].state, STORE_WHY_QUARANTINED);
    ck_assert_str_eq(why->remotes[1].reason, "no such share");
    ck_assert_int_gt(why->pinned_utc_us, 0);
    ck_assert(why->row->pinned);
    ck_assert_int_eq(why->gone, STORE_GONE_NOT);
    store_why_destroy(why);
    ck_assert_int_eq(store_remove(store, &id, 1, true, false, &done, NULL), 0);
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(store_why_get(reader, &id, &why, NULL), 0);
        ck_assert_int_eq(why->gone, STORE_GONE_REMOVED);
        ck_assert_int_gt(why->gone_utc_us, 0);
        ck_assert(!why->row->pinned);
        ck_assert_int_eq(why->row->place, STORE_PLACE_REMOTE);
        store_why_destroy(why);
        again_from_the_log();
    }
    close_all();
}
END_TEST

/* Frames with the same bytes go together, and the pin of one protects them all. */
START_TEST(shared_bytes_are_one) {
    struct store_removal done;
    open_all();
    case_put_many(store, 2, 1, BLOB);
    struct store_frame twin = case_frame(2, BLOB);
    twin.record.id.bytes[0] = 9;
    struct frame_id twin_id = twin.record.id, id = id_of(2);
    ck_assert(case_put_frame(store, twin).duplicate);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(store_pin_set(store, &twin_id, true, NULL), 0);
    ck_assert_int_eq(store_remove(store, &id, 1, false, false, &done, NULL), ERR_REFUSED);
    ck_assert_int_eq(store_pin_set(store, &twin_id, false, NULL), 0);
    ck_assert_int_eq(store_remove(store, &id, 1, false, false, &done, NULL), 0);
    ck_assert_uint_eq(done.frames, 2);
    ck_assert_uint_eq(done.blobs, 1);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

/* Puts of the same bytes race with removals of them: what was acknowledged after the last removal
 * is there, byte for byte. */
static void *put_twins(void *arg) {
    uint64_t *count = arg;
    for (uint64_t n = 0; n < *count; n++) {
        struct store_frame frame = case_frame(2, BLOB);
        memcpy(frame.record.id.bytes, &n, sizeof(n));
        frame.record.id.bytes[7] = 0x70;
        ck_assert_int_eq(case_put_frame(store, frame).code, 0);
    }
    return NULL;
}

START_TEST(a_removal_between_puts_takes_no_new_frame) {
    uint64_t count = 200;
    pthread_t thread;
    struct store_removal done;
    struct frame_id id = id_of(2);
    open_all();
    case_put_many(store, 2, 1, BLOB);
    ck_assert_int_eq(pthread_create(&thread, NULL, put_twins, &count), 0);
    for (int i = 0; i < 40; i++) {
        struct store_ack ack;
        ck_assert_int_eq(store_remove(store, &id, 1, true, false, &done, NULL), 0);
        struct store_frame frame = case_frame(2, BLOB);
        frame.record.id.bytes[1] = (uint8_t)(i + 1);
        ack = case_put_frame(store, frame);
        ck_assert_int_eq(ack.code, 0);
        uint8_t *bytes = NULL;
        size_t size = 0;
        ck_assert_int_eq(store_flush(store, NULL), 0);
        ck_assert_int_eq(store_blob_read(reader, TIER_ANNOTATED, &ack.blob, &bytes, &size, NULL),
                         0);
        free(bytes);
    }
    pthread_join(thread, NULL);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_remove");
    TCase *tests = tcase_create("by hand");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    const TTest *const all[] = {
        pins_have_a_bound,    what_is_removed_is_gone,
        a_life_can_be_told,   pinned_and_owed_need_force,
        shared_bytes_are_one, a_removal_between_puts_takes_no_new_frame,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
