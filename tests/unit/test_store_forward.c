/* What is left in a file is copied forward so that the file can go: nothing that stays is changed
 * by it, and an index that is made without the file says the same.
 */
#include "store/store_impl.h"
#include "tests/suite.h"
#include "tests/unit/store_opened.h"
#include "tests/unit/store_tidy.h"
#include <errno.h>
#include <fcntl.h>

#define SMALL  1500u /* no page of it can be punched */
#define MIDDLE 14000u

static void setup(void) {
    clock_trust(true);
    case_dir_make_fast(&dir);
    config = case_config(&dir);
    config.segment_bytes = 64u << 10;
}

static void teardown(void) {
    fs_ops_set(NULL);
    case_dir_remove(dir.path);
}

static struct store_row *row_of(uint64_t n) {
    struct frame_id id = id_of(n);
    struct store_row *row = NULL;
    store_frame_get(reader, &id, &row, NULL);
    return row;
}

static bool is_local(uint64_t n) {
    struct store_row *row = row_of(n);
    bool local = row && row->place == STORE_PLACE_LOCAL;
    store_row_destroy(row);
    return local;
}

static void put(uint64_t n, size_t size, double value) {
    struct store_frame frame = case_frame(n, size);
    frame.record.value = value;
    frame.record.tier = TIER_UNANNOTATED;
    struct store_ack ack = case_put_frame(store, frame);
    ck_assert_msg(ack.code == 0, "frame %llu: %s", (unsigned long long)n, ack.err.msg);
}

static void check(uint64_t n, size_t size, double value) {
    struct store_row *row = row_of(n);
    uint8_t *bytes = NULL, *want = case_blob(n, size);
    size_t found = 0;
    struct err err = {0};
    ck_assert_ptr_nonnull(row);
    ck_assert_double_eq(row->record.value, value);
    ck_assert_uint_eq(row->record.detection_count, 3); /* also what is below the index floor */
    int code = store_blob_read(reader, row->record.tier, &row->record.blob, &bytes, &found, &err);
    ck_assert_msg(code == 0, "frame %llu: %s", (unsigned long long)n, err.msg);
    ck_assert_uint_eq(found, size);
    ck_assert_int_eq(memcmp(bytes, want, size), 0);
    free(bytes);
    free(want);
    store_row_destroy(row);
}

/* Some beyond the quota while a file is copied, and nothing went wrong. */
static void check_quota(struct store_stats *stats) {
    store_stats_get(store, stats);
    ck_assert_str_eq(stats->last_error, "");
    pthread_mutex_lock(&store->lock);
    uint64_t bytes = store->disk_bytes;
    pthread_mutex_unlock(&store->lock);
    ck_assert_uint_le(bytes, config.quota_bytes + config.quota_bytes / 16);
}

/* ---- what was said of a frame goes with it ---- */

struct said {
    int place, pinned, label, quarantined;
    unsigned owed;
    char text[STORE_NOTE_MAX + 1];
    bool receipt;
    struct store_receipt of;
    int64_t utc_us, kept_us, gone_us, withdrawn_us;
    int gone, withdrawn;
};

static struct said said_of(uint64_t n) {
    struct said said = {0};
    struct frame_id id = id_of(n);
    struct store_why *why = NULL;
    struct err err = {0};
    ck_assert_msg(store_why_get(reader, &id, &why, &err) == 0, "frame %llu: %s",
                  (unsigned long long)n, err.msg);
    said.place = why->row->place;
    said.pinned = why->row->pinned;
    said.owed = why->row->owed;
    said.quarantined = why->row->quarantined;
    said.label = why->row->label_state;
    said.utc_us = why->row->record.captured.utc_us;
    said.kept_us = why->row->kept_utc_us;
    said.gone = why->gone;
    said.gone_us = why->gone_utc_us;
    snprintf(said.text, sizeof(said.text), "%s", why->label.note);
    said.receipt = store_receipt_get(reader, "cloud", why->row->record.tier, &why->row->record.blob,
                                     &said.of, NULL) == 0;
    for (size_t i = 0; i < why->remote_count; i++) {
        if (why->remotes[i].state == STORE_WHY_WITHDRAWN) {
            said.withdrawn = why->remotes[i].withdrawn;
            said.withdrawn_us = why->remotes[i].utc_us;
        }
    }
    store_why_destroy(why);
    return said;
}

static void same(const struct said *a, const struct said *b, uint64_t n) {
    ck_assert_msg(a->place == b->place && a->pinned == b->pinned && a->label == b->label &&
                      strcmp(a->text, b->text) == 0 && a->receipt == b->receipt &&
                      a->quarantined == b->quarantined && a->owed == b->owed &&
                      a->utc_us == b->utc_us && a->kept_us == b->kept_us && a->gone == b->gone &&
                      a->gone_us == b->gone_us && strcmp(a->of.etag, b->of.etag) == 0 &&
                      a->of.utc_us == b->of.utc_us && a->withdrawn == b->withdrawn &&
                      a->withdrawn_us == b->withdrawn_us,
                  "frame %llu: place %d %d, pinned %d %d, label %d %d, receipt %d %d, gone %d %d, "
                  "quarantined %d %d, owed %u %u, withdrawn %d %d",
                  (unsigned long long)n, a->place, b->place, a->pinned, b->pinned, a->label,
                  b->label, a->receipt, b->receipt, a->gone, b->gone, a->quarantined,
                  b->quarantined, a->owed, b->owed, a->withdrawn, b->withdrawn);
}

static void confirm_some(void) {
    struct store_outbox_row rows[200];
    size_t count = 0;
    ck_assert_int_eq(
        store_outbox_read(reader, "cloud", STORE_OLDEST, 200, rows, &count, NULL, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        if (i % 10 == 9) {
            ck_assert_int_eq(store_outbox_quarantine(store, "cloud", rows[i].tier, &rows[i].blob,
                                                     "a test", NULL),
                             0);
        } else if (i % 10 == 6) {
            struct store_blob_name name = {rows[i].tier, rows[i].blob};
            ck_assert_int_eq(
                store_outbox_act(store, "cloud", STORE_OUTBOX_DROP, &name, 1, NULL, NULL), 0);
        } else if (i % 3) {
            ck_assert_int_eq(case_receipt(store, "cloud", &rows[i], NULL), 0);
            if (i % 5 == 0) {
                struct store_blob_name name = {rows[i].tier, rows[i].blob};
                ck_assert_int_eq(
                    store_outbox_act(store, "cloud",
                                     (enum store_outbox_action)(STORE_OUTBOX_LOST + i / 5 % 3),
                                     &name, 1, NULL, NULL),
                    0);
            }
        }
    }
}

static uint64_t quarantined(void) {
    struct store_counts counts = case_counts(store);
    return counts.remotes[0].quarantined;
}

START_TEST(what_was_said_goes_with_it) {
    enum { FRAMES = 300 };
    static struct said before[FRAMES];
    struct store_remote cloud = case_remote("cloud", true);
    open_all();
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    for (uint64_t n = 0; n < FRAMES; n++) {
        put(n, SMALL, 0.5);
    }
    for (uint64_t n = 0; n < FRAMES; n += 11) { /* the same bytes in another frame and file */
        struct store_frame again = case_frame(n, SMALL);
        again.record.id.bytes[0] = 9;
        again.record.tier = TIER_UNANNOTATED;
        ck_assert_int_eq(case_put_frame(store, again).code, 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    confirm_some();
    for (uint64_t n = 0; n < FRAMES; n += 7) {
        struct frame_id id = id_of(n);
        struct store_label label = {.state = STORE_LABEL_REJECTED, .utc_us = CASE_T0 + (int64_t)n};
        snprintf(label.note, sizeof(label.note), "note %llu", (unsigned long long)n);
        ck_assert_int_eq(store_label_put(store, &id, &label, NULL), 0);
        ck_assert_int_eq(store_pin_set(store, &id, n % 2, NULL), 0);
    }
    for (uint64_t n = 1; n < FRAMES; n += 2) {
        struct frame_id id = id_of(n);
        struct store_removal removal;
        store_remove(store, &id, 1, n % 3 == 0, false, &removal, NULL);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t n = 0; n < FRAMES; n++) {
        before[n] = said_of(n);
    }
    uint64_t quarantines = quarantined();
    ck_assert_uint_gt(quarantines, 0);
    for (int i = 0; i < 5; i++) {
        struct err err = {0};
        ck_assert_msg(tidy_oldest(store, TIER_UNANNOTATED, &err) == 0, "%s", err.msg);
    }
    struct store_stats stats;
    store_stats_get(store, &stats);
    ck_assert_uint_eq(stats.forwards, 5);
    for (int life = 0; life < 3; life++) {
        ck_assert_int_eq(store_flush(store, NULL), 0);
        for (uint64_t n = 0; n < FRAMES; n++) {
            struct said after = said_of(n);
            same(&before[n], &after, n);
            if (after.place == STORE_PLACE_LOCAL) {
                check(n, SMALL, 0.5);
            }
        }
        ck_assert_uint_eq(quarantined(), quarantines);
        close_all();
        case_fsck(&dir, 0);
        if (life < 2) {
            drop_index();
            open_all();
            ck_assert_int_eq(store_flush(store, NULL), 0);
        }
    }
}
END_TEST

/* ---- room ---- */

/* One frame in each file is pinned: without copying, no file would ever go. */
START_TEST(pinned_frames_do_not_hold_their_files) {
    enum { FRAMES = 12000 };
    config.quota_bytes = 16u << 20;
    open_all();
    for (uint64_t n = 0; n < FRAMES; n++) {
        put(n, SMALL, 0.5);
        if (n % 25 == 0) {
            struct frame_id id = id_of(n);
            ck_assert_int_eq(store_pin_set(store, &id, true, NULL), 0);
        }
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_stats stats;
    check_quota(&stats);
    ck_assert_uint_gt(stats.forwards, 10);
    for (uint64_t n = 0; n < FRAMES; n += 25) {
        check(n, SMALL, 0.5);
    }
    close_all();
    case_fsck(&dir, 0);
    drop_index();
    open_all();
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t n = 0; n < FRAMES; n += 25) {
        check(n, SMALL, 0.5);
    }
    ck_assert(is_local(FRAMES - 1));
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

static int no_holes(int fd, int mode, off_t at, off_t size) {
    if (mode & FALLOC_FL_PUNCH_HOLE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return fs_ops_real.fallocate(fd, mode, at, size);
}

/* The least valuable leave one by one out of the middle of all files, and the most of the quota
 * still holds frames. */
START_TEST(without_holes_the_quota_is_used) {
    enum { FRAMES = 3000 };
    struct fs_ops ops = fs_ops_real;
    ops.fallocate = no_holes;
    fs_ops_set(&ops);
    config.quota_bytes = 20u << 20;
    config.segment_bytes = 512u << 10;
    open_all();
    for (uint64_t n = 0; n < FRAMES; n++) {
        put(n, MIDDLE, 0.1 + (double)(n * 7919 % 1000) / 10000 + 0.5 * (double)n / FRAMES);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_counts counts = case_counts(store);
    struct store_stats stats;
    check_quota(&stats);
    ck_assert_uint_gt(stats.forwards, 10);
    printf("store, without holes: %.0f %% of the quota are frames\n",
           100.0 * (double)counts.blob_bytes[TIER_UNANNOTATED] / (double)config.quota_bytes);
    ck_assert_uint_gt(counts.blob_bytes[TIER_UNANNOTATED], config.quota_bytes / 5 * 2);
    ck_assert_uint_gt(counts.evicted[TIER_UNANNOTATED], 0);
    uint64_t local, there;
    do { /* upkeep goes on meanwhile */
        local = 0;
        there = case_counts(store).blob_bytes[TIER_UNANNOTATED];
        for (uint64_t n = 0; n < FRAMES; n++) {
            local += is_local(n);
        }
    } while (there != case_counts(store).blob_bytes[TIER_UNANNOTATED]);
    ck_assert_uint_eq(local * MIDDLE, there);
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

/* ---- history ---- */

static int hour_run(struct store *looked, void *arg, struct err *err) {
    (void)arg;
    (void)err;
    looked->writer.history_next_us = 0; /* as if an hour had gone by */
    return 0;
}

START_TEST(history_has_an_age) {
    config.history_max_age_ms = 300;
    open_all();
    for (uint64_t n = 0; n < 200; n++) {
        put(n, SMALL, 0.5);
    }
    struct frame_id ids[200];
    for (uint64_t n = 0; n < 200; n++) {
        ids[n] = id_of(n);
    }
    struct store_removal removal;
    ck_assert_int_eq(store_pin_set(store, &ids[3], true, NULL), 0);
    for (uint64_t n = 0; n < 120; n++) {
        ck_assert_int_eq(store_remove(store, &ids[n], 1, false, false, &removal, NULL),
                         n == 3 ? ERR_REFUSED : 0);
    }
    bool gone = false;
    for (int tries = 0; tries < 100 && !gone; tries++) {
        clock_sleep_ms(50);
        struct store_row *row = row_of(5);
        gone = !row;
        store_row_destroy(row);
        ck_assert_int_eq(store__writer_call(store, hour_run, NULL, NULL), 0);
    }
    ck_assert(gone);
    check(3, SMALL, 0.5);
    for (uint64_t n = 120; n < 200; n++) {
        check(n, SMALL, 0.5);
    }
    close_all();
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_forward");
    TCase *tests = tcase_create("forward");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, what_was_said_goes_with_it);
    tcase_add_test(tests, pinned_frames_do_not_hold_their_files);
    tcase_add_test(tests, without_holes_the_quota_is_used);
    tcase_add_test(tests, history_has_an_age);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
