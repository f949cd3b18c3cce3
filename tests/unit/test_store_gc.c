/* gc and its guard: what the limits would take and why, and limits that wait for somebody to look.
 */
#include "tests/suite.h"
#include "tests/unit/store_case.h"

#define BLOB   60000u
#define FRAMES 40u

static struct case_dir dir;
static struct store_config config;
static struct store *store;
static struct store_gc gc;

static void setup(void) {
    clock_trust(true);
    case_dir_make_fast(&dir);
    config = case_config(&dir);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static void fill(void) {
    store = case_open(&config);
    case_put_many(store, 0, FRAMES, BLOB);
    store_close(store);
    clock_sleep_ms(50); /* so that all are older than the ages below */
}

static uint64_t here(void) {
    struct store_counts counts = case_counts(store);
    return counts.frames[0] + counts.frames[1];
}

static void run_gc(bool dry_run, bool force) {
    struct err err = {0};
    ck_assert_msg(store_gc(store, dry_run, force, &gc, &err) == 0, "%s", err.msg);
}

/* Upkeep runs once a second. */
static void let_upkeep_run(void) {
    clock_sleep_ms(1500);
    ck_assert_int_eq(store_flush(store, NULL), 0);
}

START_TEST(a_plan_says_what_and_why) {
    fill();
    config.at_rest = true;
    config.tiers[TIER_UNANNOTATED].max_age_ms = 10;
    config.tiers[TIER_ANNOTATED].max_bytes = 10 * BLOB;
    store = case_open(&config);
    struct store_frame pinned = case_frame(3, 1);
    ck_assert_int_eq(store_pin_set(store, &pinned.record.id, true, NULL), 0);
    case_frame_free(&pinned);
    run_gc(true, false);
    ck_assert_uint_eq(gc.here, FRAMES);
    ck_assert_uint_eq(gc.row_count, 2);
    ck_assert_int_eq(gc.rows[0].reason, STORE_GC_AGE);
    ck_assert_int_eq(gc.rows[0].tier, TIER_UNANNOTATED);
    ck_assert_uint_eq(gc.rows[0].frames, FRAMES / 2 - 1); /* not the pinned one */
    ck_assert_uint_eq(gc.rows[0].bytes, (FRAMES / 2 - 1) * BLOB);
    ck_assert_int_eq(gc.rows[1].reason, STORE_GC_TIER_BYTES);
    ck_assert_uint_ge(gc.rows[1].frames, 10);
    ck_assert_uint_lt(gc.rows[1].frames, FRAMES / 2);
    ck_assert_uint_eq(gc.item_count, gc.rows[0].frames + gc.rows[1].frames);
    ck_assert_uint_eq(gc.removed_frames, 0);
    ck_assert(gc.held);
    ck_assert_uint_eq(here(), FRAMES);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(too_much_waits_for_force) {
    struct store_stats stats;
    fill();
    config.tiers[TIER_UNANNOTATED].max_age_ms = 10;
    for (int starts = 0; starts < 2; starts++) { /* held across restarts */
        store = case_open(&config);
        let_upkeep_run();
        ck_assert_uint_eq(here(), FRAMES);
        store_stats_get(store, &stats);
        ck_assert(stats.limits_held);
        ck_assert_uint_eq(stats.limits_held_frames, FRAMES / 2);
        ck_assert_uint_eq(stats.limits_held_of, FRAMES);
        run_gc(false, false);
        ck_assert(gc.held);
        ck_assert_uint_eq(gc.removed_frames, 0);
        store_close(store);
    }
    store = case_open(&config);
    run_gc(false, true);
    ck_assert(!gc.held);
    ck_assert_uint_eq(gc.removed_frames, FRAMES / 2);
    ck_assert_uint_eq(here(), FRAMES / 2);
    store_stats_get(store, &stats);
    ck_assert(!stats.limits_held);
    store_close(store);
    case_fsck(&dir, 0);
    /* Accepted once: in force at the next start, however much it takes then. */
    struct store_config rest = config;
    rest.at_rest = true;
    store = case_open(&rest);
    case_put_many(store, 101, 1, BLOB);
    store_close(store);
    store = case_open(&config);
    for (int tries = 0; here() > FRAMES / 2 && tries < 50; tries++) {
        clock_sleep_ms(100);
    }
    ck_assert_uint_eq(here(), FRAMES / 2);
    store_close(store);
}
END_TEST

START_TEST(a_little_needs_no_force) {
    struct store_stats stats;
    fill();
    config.tiers[TIER_UNANNOTATED].max_bytes = 17 * BLOB; /* 20 are there */
    store = case_open(&config);
    for (int tries = 0; here() == FRAMES && tries < 50; tries++) {
        clock_sleep_ms(100);
    }
    ck_assert_uint_lt(here(), FRAMES);
    store_stats_get(store, &stats);
    ck_assert(!stats.limits_held);
    store_close(store);
    /* The other way out: the old limits again. */
    config.tiers[TIER_UNANNOTATED].max_age_ms = 1;
    store = case_open(&config);
    let_upkeep_run();
    store_stats_get(store, &stats);
    ck_assert(stats.limits_held);
    store_close(store);
    config.tiers[TIER_UNANNOTATED].max_age_ms = 0;
    store = case_open(&config);
    let_upkeep_run();
    store_stats_get(store, &stats);
    ck_assert(!stats.limits_held);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_smaller_quota_is_met_by_gc) {
    config.quota_bytes = 64u << 20;
    fill();
    config.quota_bytes = 3u << 20; /* 2.4 MB of blobs, 1 MB of reserve, the index */
    store = case_open(&config);
    run_gc(true, false);
    ck_assert_uint_ge(gc.row_count, 1);
    ck_assert_int_eq(gc.rows[0].reason, STORE_GC_ROOM);
    ck_assert_uint_eq(here(), FRAMES);
    run_gc(false, false);
    ck_assert_uint_ge(gc.removed_frames, 1);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_le(counts.disk_bytes, counts.quota_bytes);
    struct store_reader *reader = case_reader(store);
    case_check(reader, FRAMES - 1, BLOB); /* the most valuable of all */
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_gc");
    TCase *tests = tcase_create("gc");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    const TTest *const all[] = {a_plan_says_what_and_why, too_much_waits_for_force,
                                a_little_needs_no_force, a_smaller_quota_is_met_by_gc};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
