/* What leaves the store, what stays, and in which order: quota, value, pins, ages, uploads,
 * history. */
#include "tests/suite.h"
#include "tests/unit/store_opened.h"
#include <fcntl.h>

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

static int put_valued(uint64_t n, double value) {
    struct store_frame frame = case_frame(n, BLOB);
    frame.record.value = value;
    frame.record.tier = TIER_UNANNOTATED;
    return case_put_frame(store, frame).code;
}

/* 0: the store does not know the frame. */
static int place_of(uint64_t n) {
    struct store_frame want = case_frame(n, 1);
    struct store_row *row = NULL;
    int code = store_frame_get(reader, &want.record.id, &row, NULL);
    int place = code ? 0 : (int)row->place;
    store_row_destroy(row);
    case_frame_free(&want);
    return place;
}

static uint64_t local_count(uint64_t first, uint64_t count) {
    uint64_t local = 0;
    for (uint64_t n = first; n < first + count; n++) {
        local += place_of(n) == STORE_PLACE_LOCAL;
    }
    return local;
}

/* The bytes of the folder as the file system counts them. */
static uint64_t total;
static int add_size(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)path;
    (void)where;
    total += type == FTW_F ? (uint64_t)info->st_blocks * 512 : 0;
    return 0;
}

static void check_quota(void) {
    total = 0;
    nftw(dir.path, add_size, 16, FTW_PHYS);
    ck_assert_uint_le(total, QUOTA + (QUOTA / 16));
}

START_TEST(the_oldest_of_equals_leave) {
    enum { FRAMES = 700 };
    open_all();
    for (uint64_t n = 0; n < FRAMES; n++) {
        ck_assert_int_eq(put_valued(n, 0.5), 0); /* never refused: there is always an older one */
        if (n % 50 == 0) {
            check_quota();
        }
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    check_quota();
    uint64_t local = local_count(0, FRAMES);
    ck_assert_uint_gt(local, 150);
    ck_assert_uint_lt(local, QUOTA / BLOB);
    ck_assert_uint_eq(local_count(FRAMES - local, local), local); /* the newest, without a gap */
    ck_assert_int_eq(place_of(FRAMES - local - 1), STORE_PLACE_GONE); /* still to be seen */
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.frames[TIER_UNANNOTATED], local);
    ck_assert_uint_gt(counts.evicted[TIER_UNANNOTATED], 100);
    ck_assert_uint_eq(counts.blob_bytes[TIER_UNANNOTATED], local * BLOB);
    ck_assert_uint_le(counts.disk_bytes, QUOTA);
    struct store_stats stats;
    store_stats_get(store, &stats);
    ck_assert_uint_eq(stats.evicted_frames, FRAMES - local);
    for (uint64_t n = FRAMES - local; n < FRAMES; n++) {
        uint8_t *bytes = NULL;
        size_t size;
        struct store_frame want = case_frame(n, BLOB);
        hash_sha256(want.blob, BLOB, &want.record.blob);
        ck_assert_int_eq(
            store_blob_read(reader, TIER_UNANNOTATED, &want.record.blob, &bytes, &size, NULL), 0);
        ck_assert_int_eq(memcmp(bytes, want.blob, BLOB), 0);
        free(bytes);
        case_frame_free(&want);
    }
    close_all();
    case_fsck(&dir, 0);
    drop_index();
    open_all(); /* made again, the index says the same */
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(local_count(0, FRAMES), local);
    struct store_counts again = case_counts(store);
    ck_assert_int_eq(memcmp(counts.frames, again.frames, sizeof(counts.frames)), 0);
    ck_assert_int_eq(memcmp(counts.evicted, again.evicted, sizeof(counts.evicted)), 0);
    ck_assert_int_eq(memcmp(counts.blob_bytes, again.blob_bytes, sizeof(counts.blob_bytes)), 0);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(value_decides) {
    open_all();
    for (uint64_t n = 0; n < 450; n++) {
        ck_assert_int_eq(put_valued(n, 0.8), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    uint64_t local = local_count(0, 450), refused = 0;
    ck_assert_uint_lt(local, 450); /* it is full */
    /* Each worth less than the one before, so that none may displace another. A few fit into the
     * open segment, and into what history gives up. */
    for (uint64_t n = 1000; n < 1060; n++) {
        int code = put_valued(n, 0.3 - 0.005 * (double)(n - 1000));
        ck_assert(code == 0 || code == ERR_FULL);
        refused += code == ERR_FULL;
        ck_assert_int_eq(store_flush(store, NULL), 0);
        ck_assert_int_eq(place_of(n), code ? 0 : STORE_PLACE_LOCAL);
    }
    ck_assert_uint_gt(refused, 10);
    ck_assert_uint_eq(local_count(0, 450), local); /* nothing better had to go */
    struct store_stats stats;
    store_stats_get(store, &stats);
    ck_assert_uint_eq(stats.refused_full, refused);
    for (uint64_t n = 2000; n < 2100; n++) {
        ck_assert_int_eq(put_valued(n, 0.9), 0);
    }
    for (uint64_t n = 3000; n < 3400; n++) { /* displaces 0.8, then its like, never the better */
        ck_assert_int_eq(put_valued(n, 0.85), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_uint_eq(local_count(2000, 100), 100);
    ck_assert_uint_eq(local_count(1000, 60), 0);
    check_quota();
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(pinned_frames_stay) {
    open_all();
    ck_assert_int_eq(put_valued(7, 0.0), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_frame frame = case_frame(7, 1);
    ck_assert_int_eq(store_pin_set(store, &frame.record.id, true, NULL), 0);
    for (uint64_t n = 100; n < 600; n++) {
        ck_assert_int_eq(put_valued(n, 0.5), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(place_of(7), STORE_PLACE_LOCAL);
    ck_assert_int_eq(store_pin_set(store, &frame.record.id, false, NULL), 0);
    for (uint64_t n = 600; n < 700; n++) {
        ck_assert_int_eq(put_valued(n, 0.5), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_ne(place_of(7), STORE_PLACE_LOCAL);
    case_frame_free(&frame);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

static void receipts_for_all(const char *remote) {
    struct store_outbox_row rows[64];
    size_t count = 1;
    while (count) {
        ck_assert_int_eq(
            store_outbox_read(reader, remote, STORE_OLDEST, 64, rows, &count, NULL, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(case_receipt(store, remote, &rows[i], NULL), 0);
        }
    }
}

START_TEST(what_the_cloud_has_leaves_first) {
    struct store_remote cloud = case_remote("cloud", true);
    open_all();
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    for (uint64_t n = 0; n < 40; n++) {
        ck_assert_int_eq(put_valued(n, 0.9), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    receipts_for_all("cloud");
    uint64_t n = 100;
    while (local_count(0, 40) == 40) {
        ck_assert_int_eq(put_valued(n++, 0.1), 0); /* worth less, and yet it comes in */
        ck_assert_int_eq(store_flush(store, NULL), 0);
        ck_assert_uint_lt(n, 500);
    }
    ck_assert_uint_eq(local_count(100, n - 100), n - 100); /* nothing owed has gone */
    ck_assert_int_eq(place_of(0), STORE_PLACE_REMOTE);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.replicated[TIER_UNANNOTATED], 40);
    ck_assert_uint_eq(counts.frames[TIER_UNANNOTATED], 40 + n - 100);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

static bool becomes(uint64_t n, int place) {
    for (int tries = 0; tries < 100; tries++) {
        if (place_of(n) == place) {
            return true;
        }
        clock_sleep_ms(50);
    }
    return false;
}

START_TEST(ages_spare_what_is_owed) {
    struct store_remote cloud = case_remote("cloud", true);
    config.tiers[TIER_UNANNOTATED].max_age_ms = 300;
    open_all();
    ck_assert_int_eq(put_valued(1, 0.5), 0); /* no remote yet: owed to nobody */
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert(becomes(1, STORE_PLACE_GONE));
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    ck_assert_int_eq(put_valued(2, 0.5), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    clock_sleep_ms(2500);
    ck_assert_int_eq(place_of(2), STORE_PLACE_LOCAL);
    receipts_for_all("cloud");
    ck_assert(becomes(2, STORE_PLACE_REMOTE));
    ck_assert_int_eq(put_valued(2000, 0.5), 0); /* the store goes on */
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(uploaded_frames_leave_after_their_time) {
    struct store_remote cloud = case_remote("cloud", true);
    config.tiers[TIER_UNANNOTATED].keep_after_upload_ms = 500;
    open_all();
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    ck_assert_int_eq(put_valued(1, 0.5), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    receipts_for_all("cloud");
    ck_assert_int_eq(put_valued(2, 0.5), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert(becomes(1, STORE_PLACE_REMOTE));
    ck_assert_int_eq(place_of(2), STORE_PLACE_LOCAL);
    /* The same bytes once more: kept again, and not sent again. */
    ck_assert_int_eq(put_valued(1, 0.5), 0);
    struct store_frame again = case_frame(1, BLOB);
    again.record.id.bytes[0] = 9;
    again.record.tier = TIER_UNANNOTATED;
    struct store_ack ack = case_put_frame(store, again);
    ck_assert_int_eq(ack.code, 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_outbox_row rows[4];
    size_t count;
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 4, rows, &count, NULL, NULL),
                     0);
    ck_assert_uint_eq(count, 1);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

/* Something lies there under the frame's name, and nobody could look whether it is the frame. */
START_TEST(a_receipt_without_proof_frees_nothing) {
    struct store_remote cloud = case_remote("cloud", _i == 0);
    struct store_outbox_row row;
    size_t count = 0;
    config.tiers[TIER_UNANNOTATED].keep_after_upload_ms = 200;
    open_all();
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    ck_assert_int_eq(put_valued(1, 0.5), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL),
                     0);
    ck_assert_uint_eq(count, 1);
    struct store_receipt receipt = {.blob = row.blob,
                                    .tier = row.tier,
                                    .kind = STORE_RECEIPT_EXISTS,
                                    .remote = "cloud",
                                    .key = "frames/1.jpg",
                                    .utc_us = clock_utc_us()};
    ck_assert_int_eq(store_receipt_put(store, &receipt, 1, NULL), 0);
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL),
                     0);
    ck_assert_uint_eq(count, 0); /* and it is not sent again */
    ck_assert_int_eq(put_valued(2, 0.5), 0);
    clock_sleep_ms(1500);
    ck_assert_int_eq(place_of(1), STORE_PLACE_LOCAL);
    ck_assert_uint_eq(case_counts(store).replicated[TIER_UNANNOTATED], 0);
    close_all();
    case_fsck(&dir, 0);
    open_all(); /* the log knows */
    ck_assert_uint_eq(case_counts(store).replicated[TIER_UNANNOTATED], 0);
    cloud.trusted = true;
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    ck_assert_uint_eq(case_counts(store).replicated[TIER_UNANNOTATED], 1);
    ck_assert(becomes(1, STORE_PLACE_REMOTE));
    ck_assert_int_eq(place_of(2), STORE_PLACE_LOCAL);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_tier_has_its_own_size) {
    config.tiers[TIER_UNANNOTATED].max_bytes = 4u << 20;
    open_all();
    for (uint64_t n = 0; n < 150; n++) {
        ck_assert_int_eq(put_valued(n, 0.5), 0);
    }
    for (int tries = 0; tries < 100; tries++) {
        if (case_counts(store).blob_bytes[TIER_UNANNOTATED] < (4u << 20)) {
            break;
        }
        clock_sleep_ms(50);
    }
    ck_assert_uint_lt(case_counts(store).blob_bytes[TIER_UNANNOTATED], 4u << 20);
    ck_assert_int_eq(place_of(149), STORE_PLACE_LOCAL);
    ck_assert_int_ne(place_of(0), STORE_PLACE_LOCAL);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

/* History is bounded: what is long gone is forgotten with its whole file. */
START_TEST(history_is_forgotten_in_the_end) {
    enum { FRAMES = 6000 };
    open_all();
    for (uint64_t n = 0; n < FRAMES; n++) {
        struct store_frame frame = case_frame(n, 14000);
        frame.record.value = 0.5;
        frame.record.tier = TIER_UNANNOTATED;
        ck_assert_int_eq(store_put(store, &frame, NULL), 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    check_quota();
    uint64_t forgotten[2] = {0}; /* of the first half, and of the second */
    for (uint64_t n = 0; n < FRAMES; n++) {
        forgotten[n >= FRAMES / 2] += place_of(n) == 0;
    }
    ck_assert_uint_gt(forgotten[0], FRAMES / 8);
    ck_assert_uint_gt(forgotten[0], 2 * forgotten[1]);
    ck_assert_int_eq(place_of(FRAMES - 1), STORE_PLACE_LOCAL);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_lt(counts.frames[1] + counts.evicted[1], FRAMES);
    close_all();
    case_fsck(&dir, 0);
    drop_index();
    open_all();
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_counts again = case_counts(store);
    ck_assert_int_eq(memcmp(counts.frames, again.frames, sizeof(counts.frames)), 0);
    ck_assert_int_eq(memcmp(counts.evicted, again.evicted, sizeof(counts.evicted)), 0);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_floor_that_cannot_be_had_refuses) {
    config.quota_bytes = 0;
    config.min_free_bytes = UINT64_C(1) << 60;
    open_all();
    struct store_ack ack = case_put_frame(store, case_frame(1, BLOB));
    ck_assert_int_eq(ack.code, ERR_FULL);
    ck_assert_ptr_nonnull(strstr(ack.err.msg, "store.quota"));
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_retain");
    TCase *tests = tcase_create("retention");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    const TTest *const all[] = {
        the_oldest_of_equals_leave,
        value_decides,
        pinned_frames_stay,
        what_the_cloud_has_leaves_first,
        ages_spare_what_is_owed,
        uploaded_frames_leave_after_their_time,
        a_tier_has_its_own_size,
        history_is_forgotten_in_the_end,
        a_floor_that_cannot_be_had_refuses,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    tcase_add_loop_test(tests, a_receipt_without_proof_frees_nothing, 0, 2); /* required, and not */
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
