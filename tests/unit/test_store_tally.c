/* The tally: every outcome is counted once, by camera, rule, minute and hour, over restarts too,
 * and no flood of names makes it grow.
 */
#include "store/store_impl.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"

#define MINUTE_US INT64_C(60000000)

static struct case_dir dir;
static struct store_config config;
static int64_t base; /* a full hour, lately */

static void setup(void) {
    case_dir_make_fast(&dir);
    config = case_config(&dir);
    base = (clock_utc_us() / MINUTE_US / 60 - 5) * 60 * MINUTE_US;
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static void note(struct store *store, const char *camera, const char *rule, int64_t utc_us,
                 int what) {
    struct store_outcome outcome = {.kept = what == 0, .over_budget = what == 1};
    snprintf(outcome.record.camera, sizeof(outcome.record.camera), "%s", camera);
    snprintf(outcome.record.rule, sizeof(outcome.record.rule), "%s", rule);
    outcome.record.captured.utc_us = utc_us;
    outcome.record.captured.state = utc_us ? CLOCK_SYNCHRONISED : CLOCK_UNSYNCHRONISED;
    outcome.record.tier = what == 0 ? TIER_ANNOTATED : TIER_NONE;
    store_outcome_note(store, &outcome);
}

struct sums {
    struct store_tally rows[64];
    size_t count;
    uint64_t frames;
};

static bool take(void *ctx, const struct store_tally *row) {
    struct sums *sums = ctx;
    if (sums->count < ARRAY_LENGTH(sums->rows)) {
        sums->rows[sums->count] = *row;
    }
    sums->count++;
    sums->frames += row->kept + row->over_budget + row->rejected;
    return true;
}

static struct sums read_all(struct store *store, enum store_span span) {
    static struct sums sums;
    struct err err = {0};
    memset(&sums, 0, sizeof(sums));
    pthread_mutex_lock(&store->keeper_lock); /* what its thread has in hand is written, too */
    store__tally_flush(store, true);
    pthread_mutex_unlock(&store->keeper_lock);
    ck_assert_msg(store_tally_read(store, span, 0, INT64_MAX, take, &sums, &err) == 0, "%s",
                  err.msg);
    return sums;
}

START_TEST(outcomes_are_counted_by_minute_and_hour) {
    struct store *store = case_open(&config);
    for (int minute = 0; minute < 3; minute++) {
        for (int n = 0; n < 10; n++) {
            note(store, "dock", n < 4 ? "unsure" : "", base + minute * MINUTE_US + n,
                 n % 4 ? 2 : 0);
        }
    }
    note(store, "pier", "confident", base + 1, 1);
    struct sums minutes = read_all(store, STORE_SPAN_MINUTE);
    ck_assert_uint_eq(minutes.count, 7); /* dock: two rules in three minutes */
    ck_assert_str_eq(minutes.rows[0].camera, "dock");
    ck_assert_str_eq(minutes.rows[0].rule, "");
    ck_assert_uint_eq(minutes.rows[0].kept, 2); /* n = 4 and 8 */
    ck_assert_uint_eq(minutes.rows[0].rejected, 4);
    ck_assert_int_eq(minutes.rows[0].utc_us, base);
    ck_assert_str_eq(minutes.rows[2].camera, "pier");
    ck_assert_uint_eq(minutes.rows[2].over_budget, 1);
    store_close(store);
    store = case_open(&config);
    note(store, "dock", "unsure", base + 59 * MINUTE_US, 0);
    struct sums hours = read_all(store, STORE_SPAN_HOUR);
    ck_assert_uint_eq(hours.count, 3);
    ck_assert_uint_eq(hours.frames, 32);
    ck_assert_uint_eq(hours.rows[1].kept, 3 + 1);
    ck_assert_int_eq(hours.rows[1].utc_us, base);
    struct sums part = {0};
    ck_assert_int_eq(store_tally_read(store, STORE_SPAN_MINUTE, base + MINUTE_US,
                                      base + 2 * MINUTE_US, take, &part, NULL),
                     0);
    ck_assert_uint_eq(part.count, 2);
    store_close(store);
}
END_TEST

START_TEST(many_names_are_bounded_and_counted) {
    struct store *store = case_open(&config);
    uint64_t noted = 0;
    char name[16];
    for (int n = 0; n < 3000; n++, noted++) {
        snprintf(name, sizeof(name), "cam%d", n % 1000);
        note(store, name, "", base, 2);
    }
    struct sums sums = read_all(store, STORE_SPAN_MINUTE);
    ck_assert_uint_eq(sums.frames, noted);
    ck_assert_uint_le(sums.count, 2 * TALLY_SLOTS + 2); /* the keeper may have come between */
    store_close(store);
}
END_TEST

START_TEST(old_minutes_leave_and_their_hours_stay) {
    struct store *store = case_open(&config);
    int64_t old = base - 5 * 24 * 60 * MINUTE_US;
    note(store, "dock", "", old, 2);
    note(store, "dock", "", 0, 2); /* in no known time */
    struct sums minutes = read_all(store, STORE_SPAN_MINUTE);
    ck_assert_uint_eq(minutes.count, 1);
    ck_assert_int_eq(minutes.rows[0].utc_us, 0);
    struct sums hours = read_all(store, STORE_SPAN_HOUR);
    ck_assert_uint_eq(hours.count, 2);
    ck_assert_int_eq(hours.rows[1].utc_us, old / (60 * MINUTE_US) * (60 * MINUTE_US));
    store_close(store);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_tally");
    TCase *tests = tcase_create("tally");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, outcomes_are_counted_by_minute_and_hour);
    tcase_add_test(tests, many_names_are_bounded_and_counted);
    tcase_add_test(tests, old_minutes_leave_and_their_hours_stay);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
