/* Clocks that lie: a board that boots in 1970, a clock that is called synchronised and jumps a year
 * forward and back, one that was wrong at the start. Nothing leaves before its age, and the times
 * of frames come out right.
 *
 * clock_gettime and adjtimex here stand before libc's for the store and for this test; timeouts
 * (CLOCK_MONOTONIC) keep the real one.
 */
#include "daemon/base/clock.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>

#define S      INT64_C(1000000)
#define HOUR   (3600 * S)
#define DAY    (24 * HOUR)
#define YEAR   (365 * DAY)
#define BLOB   2000
#define FRAMES 10
#define TRUE_0 (INT64_C(1790000000) * S) /* UTC when this boot's time was 0 */

static struct case_dir dir;
static _Atomic int64_t boot_us; /* this boot's time */
static _Atomic int64_t lie_us;  /* what UTC is off by */
static atomic_bool synchronised;

static struct timespec spec(int64_t us) {
    return (struct timespec){.tv_sec = us / S, .tv_nsec = us % S * 1000};
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (id == CLOCK_REALTIME) {
        *now = spec(TRUE_0 + atomic_load(&boot_us) + atomic_load(&lie_us));
    } else if (id == CLOCK_BOOTTIME) {
        *now = spec(atomic_load(&boot_us));
    } else {
        return (int)syscall(SYS_clock_gettime, id, now);
    }
    return 0;
}

int adjtimex(struct timex *state) {
    state->status = atomic_load(&synchronised) ? 0 : STA_UNSYNC;
    return 0;
}

static void passes(int64_t us) {
    atomic_fetch_add(&boot_us, us);
}

static struct store_config config_aged(int64_t age_us) {
    struct store_config config = case_config(&dir);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        config.tiers[tier].max_age_ms = age_us / 1000;
    }
    return config;
}

static void setup(void) {
    case_dir_make_fast(&dir);
    boot_us = 100 * S;
    lie_us = 0;
    synchronised = true;
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

/* A frame captured now, as the clock has it. */
static struct store_ack keep(struct store *store, uint64_t n) {
    struct store_frame frame = case_frame(n, BLOB);
    clock_stamp_now(&frame.record.captured);
    struct store_ack ack = case_put_frame(store, frame);
    ck_assert_int_eq(ack.code, 0);
    passes(S);
    return ack;
}

/* Several rounds of upkeep, at the store's own pace. */
static void upkeep(struct store *store) {
    struct store_gc gc;
    for (int i = 0; i < 3; i++) {
        passes(2 * S);
        ck_assert_int_eq(store_gc(store, false, false, &gc, NULL), 0);
    }
}

static uint64_t here(struct store *store) {
    struct store_reader *reader = case_reader(store);
    struct store_counts counts;
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(store_counts_read(reader, &counts, NULL), 0);
    store_reader_close(reader);
    return counts.frames[0] + counts.frames[1];
}

static int64_t time_of(struct store *store, const struct frame_id *id) {
    struct store_reader *reader = case_reader(store);
    struct store_row *row = NULL;
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(store_frame_get(reader, id, &row, NULL), 0);
    int64_t utc = row->record.captured.utc_us;
    ck_assert_int_eq(row->record.captured.state, CLOCK_SYNCHRONISED);
    store_row_destroy(row);
    store_reader_close(reader);
    return utc;
}

static uint64_t queued(struct store *store) {
    struct store_reader *reader = case_reader(store);
    struct store_outbox_row rows[FRAMES * 4];
    size_t count = 0;
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(
        store_outbox_read(reader, "cloud", STORE_OLDEST, FRAMES * 4, rows, &count, NULL, NULL), 0);
    store_reader_close(reader);
    return count;
}

static void ages_check(struct store *store, bool rest) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    ck_assert_int_eq(stats.ages_rest, rest);
}

START_TEST(a_board_that_boots_in_1970) {
    struct store_config config = config_aged(30 * DAY);
    struct store_remote cloud = case_remote("cloud", false);
    struct frame_id ids[FRAMES];
    synchronised = false;
    lie_us = -TRUE_0; /* 1970 */
    struct store *store = case_open(&config);
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    int64_t first = boot_us;
    for (uint64_t n = 0; n < FRAMES; n++) {
        ids[n] = keep(store, n).id;
    }
    upkeep(store);
    ck_assert_uint_eq(queued(store), 0);
    ck_assert_uint_eq(here(store), FRAMES);
    lie_us = 0;
    synchronised = true;
    upkeep(store);
    keep(store, 1000);
    upkeep(store);
    ck_assert_uint_eq(here(store), FRAMES + 1);
    ck_assert_uint_eq(queued(store), FRAMES + 1);
    for (int n = 0; n < FRAMES; n++) {
        ck_assert_int_eq(time_of(store, &ids[n]), TRUE_0 + first + n * S);
    }
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_year_forward_and_back) {
    struct store_config config = config_aged(30 * DAY);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < FRAMES; n++) {
        keep(store, n);
    }
    upkeep(store);
    lie_us = YEAR;
    int64_t then = boot_us;
    struct frame_id id = keep(store, 100).id;
    upkeep(store);
    ck_assert_uint_eq(here(store), FRAMES + 1);
    ck_assert_int_eq(time_of(store, &id), TRUE_0 + then);
    passes(6 * HOUR);
    upkeep(store);
    ck_assert_uint_eq(here(store), FRAMES + 1);
    lie_us = 0;
    upkeep(store);
    passes(3 * HOUR);
    upkeep(store);
    ck_assert_uint_eq(here(store), FRAMES + 1);
    for (int i = 0; i < 7; i++) { /* and what is old still leaves */
        passes(5 * DAY);
        upkeep(store);
    }
    ck_assert_uint_eq(here(store), 0);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_year_back_and_forward) {
    struct store_config config = config_aged(30 * DAY);
    struct store *store = case_open(&config);
    keep(store, 1);
    upkeep(store);
    lie_us = -YEAR;
    int64_t then = boot_us;
    struct frame_id id = keep(store, 2).id;
    upkeep(store);
    ck_assert_int_eq(time_of(store, &id), TRUE_0 + then);
    lie_us = 0;
    upkeep(store);
    ck_assert_uint_eq(here(store), 2);
    store_close(store);
}
END_TEST

START_TEST(a_start_a_year_later_lets_ages_rest) {
    struct store_config config = config_aged(30 * DAY);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < FRAMES; n++) {
        keep(store, n);
    }
    upkeep(store);
    store_close(store);
    lie_us = YEAR; /* wrong from the start of this run */
    store = case_open(&config);
    upkeep(store);
    ages_check(store, true);
    ck_assert_uint_eq(here(store), FRAMES);
    lie_us = 0; /* the right time is plausible, so it is taken at once */
    int64_t then = boot_us;
    struct frame_id id = keep(store, 500).id;
    upkeep(store);
    ages_check(store, false);
    ck_assert_int_eq(time_of(store, &id), TRUE_0 + then);
    ck_assert_uint_eq(here(store), FRAMES + 1);
    store_close(store);
}
END_TEST

START_TEST(a_device_that_was_off_for_a_year_waits_a_day) {
    struct store_config config = config_aged(30 * DAY);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < FRAMES; n++) {
        keep(store, n);
    }
    upkeep(store);
    store_close(store);
    passes(YEAR);
    store = case_open(&config);
    upkeep(store);
    ages_check(store, true);
    ck_assert_uint_eq(here(store), FRAMES);
    passes(25 * HOUR);
    upkeep(store);
    ages_check(store, false);
    ck_assert_uint_eq(here(store), 0);
    store_close(store);
}
END_TEST

START_TEST(another_offset_that_stands_for_a_day_is_taken) {
    struct store_config config = config_aged(30 * DAY);
    struct store *store = case_open(&config);
    keep(store, 1);
    upkeep(store);
    lie_us = 2 * HOUR;
    keep(store, 2);
    passes(25 * HOUR);
    keep(store, 3);
    int64_t then = boot_us;
    struct frame_id id = keep(store, 4).id;
    ck_assert_int_eq(time_of(store, &id), TRUE_0 + 2 * HOUR + then);
    store_close(store);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_clock");
    TCase *tests = tcase_create("clock");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    const TTest *const all[] = {a_board_that_boots_in_1970,
                                a_year_forward_and_back,
                                a_year_back_and_forward,
                                a_start_a_year_later_lets_ages_rest,
                                a_device_that_was_off_for_a_year_waits_a_day,
                                another_offset_that_stands_for_a_day_is_taken};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
