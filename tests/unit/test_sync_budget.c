/* Budgets: the timetable, the link's bucket, a day's and a month's counters across crashes and
 * restarts, and what one object may cost. */
#include "daemon/base/clock.h"
#include "sync/budget.h"
#include "sync/health.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND INT64_C(1000000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)

static int64_t at(const char *text) {
    int64_t utc = clock_parse_rfc3339(text);
    ck_assert_int_gt(utc, 0);
    return utc;
}

static void zone(const char *name) {
    setenv("TZ", name, 1);
    tzset();
}

static struct timetable table_of(const char *text) {
    struct timetable table;
    struct err err = {0};
    int code = sync__timetable_parse(text, &table, &err);
    ck_assert_msg(code == 0, "%s: %s", text, err.msg);
    return table;
}

static uint64_t rate_at(const char *text, const char *when) {
    struct timetable table = table_of(text);
    int64_t until;
    return sync__timetable_rate(&table, at(when), &until);
}

START_TEST(a_timetable_by_the_hour) {
    static const char *const work = "mon-fri 08:00 512KiB/s, 19:00 off";
    zone("UTC");
    /* 2026-11-20 is a Friday */
    ck_assert_uint_eq(rate_at(work, "2026-11-20T07:59:59Z"), TIMETABLE_NO_LIMIT);
    ck_assert_uint_eq(rate_at(work, "2026-11-20T08:00:00Z"), 512 * 1024);
    ck_assert_uint_eq(rate_at(work, "2026-11-20T18:59:59Z"), 512 * 1024);
    ck_assert_uint_eq(rate_at(work, "2026-11-20T19:00:00Z"), TIMETABLE_NO_LIMIT);
    ck_assert_uint_eq(rate_at(work, "2026-11-22T12:00:00Z"), TIMETABLE_NO_LIMIT); /* Sunday */
    ck_assert_uint_eq(rate_at(work, "2026-11-23T08:00:00Z"), 512 * 1024);
    ck_assert_uint_eq(rate_at("256KiB/s", "2026-11-23T08:00:00Z"), 256 * 1024);
    ck_assert_uint_eq(rate_at("off", "2026-11-23T08:00:00Z"), TIMETABLE_NO_LIMIT);
    ck_assert_uint_eq(rate_at("daily 22:00 stop, 06:30 1.5MB/s", "2026-11-23T02:00:00Z"), 0);
    ck_assert_uint_eq(rate_at("daily 22:00 stop, 06:30 1.5MB/s", "2026-11-23T06:30:00Z"), 1500000);
    ck_assert_uint_eq(rate_at("sat-sun 00:00 1MiB/s, mon 00:00 2MiB/s", "2026-11-22T23:59:00Z"),
                      1048576);
    ck_assert_uint_eq(rate_at("sat-sun 00:00 1MiB/s, mon 00:00 2MiB/s", "2026-11-25T23:59:00Z"),
                      2097152);
    ck_assert_uint_eq(rate_at("fri-mon 10:00 1B/s, 11:00 2B/s", "2026-11-22T10:30:00Z"), 1);
}
END_TEST

START_TEST(it_says_when_it_changes) {
    struct timetable table = table_of("mon-fri 08:00 512KiB/s, 19:00 off");
    int64_t until;
    zone("UTC");
    sync__timetable_rate(&table, at("2026-11-20T18:59:30Z"), &until);
    ck_assert_int_eq(until, at("2026-11-20T19:00:00Z"));
    sync__timetable_rate(&table, at("2026-11-20T19:00:00Z"), &until);
    ck_assert_int_eq(until, at("2026-11-23T08:00:00Z")); /* over the week's end */
    zone("Europe/Berlin");                               /* summer time began on 2026-03-29 */
    sync__timetable_rate(&table, at("2026-03-27T20:00:00Z"), &until);
    ck_assert_int_eq(until, at("2026-03-30T06:00:00Z"));
    ck_assert_uint_eq(rate_at("mon-fri 08:00 512KiB/s, 19:00 off", "2026-03-30T06:00:00Z"),
                      512 * 1024);
    table = table_of("1MB/s");
    sync__timetable_rate(&table, at("2026-03-27T20:00:00Z"), &until);
    ck_assert_int_eq(until, INT64_MAX);
    zone("UTC");
}
END_TEST

START_TEST(wrong_timetables_are_named) {
    static const char *const wrong[] = {"mon-fri",        "08:00",
                                        "mon 8h 1MB/s",   "mon-fry 08:00 off",
                                        "24:00 off",      "08:60 off",
                                        "512KiB",         "512",
                                        "-1MB/s",         "0KiB/s",
                                        "1MB/s,",         ",1MB/s",
                                        "08:00 off 9:00", "mon 08:00 off, 08:00 1MB/s",
                                        "off off",        "stop, 1MB/s"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct timetable table = {.count = 77};
        struct err err = {0};
        ck_assert_msg(sync__timetable_parse(wrong[i], &table, &err) == ERR_CONFIG, "%s", wrong[i]);
        ck_assert_ptr_nonnull(strstr(err.msg, "bandwidth"));
        ck_assert_uint_eq(table.count, 77);
    }
}
END_TEST

/* As fast as it may: objects of one size, an hour long. */
static double link_rate(const char *text, uint64_t size, int64_t from, int64_t length) {
    struct timetable table = table_of(text);
    struct link_budget link;
    uint64_t sent = 0;
    int64_t now = 5 * SECOND;
    sync__link_init(&link, &table);
    for (int64_t end = now + length; now < end;) {
        int64_t utc = from + now - 5 * SECOND;
        if (sync__link_open(&link, now, utc)) {
            sync__link_charge(&link, size);
            sent += size;
        } else {
            int64_t next = sync__link_opens_us(&link, now, utc);
            ck_assert_int_gt(next, now); /* never a busy loop */
            now = next;
        }
    }
    return (double)sent * 1e6 / (double)length;
}

START_TEST(the_link_is_held_to_its_rate) {
    zone("UTC");
    int64_t from = at("2026-11-20T12:00:00Z");
    double small = link_rate("100kB/s", 60000, from, HOUR);
    double large = link_rate("100kB/s", 20000000, from, HOUR);
    ck_assert_double_ge(small, 98000);
    ck_assert_double_le(small, 101000);
    ck_assert_double_ge(large, 90000); /* in debt for minutes, and yet */
    ck_assert_double_le(large, 107000);
    /* half an hour of it, and none */
    double half = link_rate("daily 12:00 100kB/s, 12:30 stop", 60000, from, HOUR);
    ck_assert_double_ge(half, 48000);
    ck_assert_double_le(half, 51000);
}
END_TEST

static struct sync_remote_config config_of(uint64_t bytes, uint64_t requests) {
    return (struct sync_remote_config){.budget = {bytes, requests}};
}

START_TEST(a_day_has_its_budget) {
    struct sync_remote_config config = config_of(1000000, 50);
    struct budget budget;
    int64_t now = at("2026-11-20T23:00:00Z");
    sync__budget_init(&budget, &config, "", now);
    unsigned sent = 0;
    while (sync__budget_open(&budget, 60000, now)) {
        sync__budget_charge(&budget, 60000, now);
        ck_assert_uint_lt(++sent, 100);
    }
    ck_assert_uint_eq(sent, 16);                       /* of the bytes */
    ck_assert(sync__budget_open(&budget, 40000, now)); /* what still fits may go */
    ck_assert_int_eq(sync__budget_opens_utc_us(now), at("2026-11-21T00:00:00Z"));
    now += HOUR;
    ck_assert(sync__budget_open(&budget, 60000, now));
    for (sent = 0; sync__budget_open(&budget, 10, now); sent++) {
        sync__budget_charge(&budget, 10, now);
    }
    ck_assert_uint_eq(sent, 50);                                /* of the requests */
    ck_assert(!sync__budget_open(&budget, 10, now - 2 * HOUR)); /* a clock that goes back */
    now += DAY;
    ck_assert(sync__budget_open(&budget, 5000000, now)); /* larger than any day: once a day */
    sync__budget_charge(&budget, 5000000, now);
    ck_assert(!sync__budget_open(&budget, 1, now));
}
END_TEST

START_TEST(a_crash_gives_nothing_back) {
    struct sync_remote_config config = config_of(0, 6400);
    int64_t now = at("2026-11-20T12:00:00Z");
    char text[BUDGET_TEXT_MAX] = "";
    uint64_t sent = 0, lives = 0, writes = 0;
    for (struct budget budget; sent < 6400; lives++) {
        sync__budget_init(&budget, &config, text, now);
        if (!sync__budget_open(&budget, 1, now)) {
            break;
        }
        for (unsigned i = 0; i < 77 && sync__budget_open(&budget, 1, now); i++) { /* then kill -9 */
            sent++;
            if (sync__budget_charge(&budget, 1, now)) {
                sync__budget_save(&budget, false, text);
                writes++;
            }
        }
    }
    ck_assert_uint_le(sent, 6400);
    ck_assert_uint_gt(sent, 2400); /* and does not lose all of it either */
    ck_assert_uint_le(writes, lives * 2);
    struct budget budget;
    sync__budget_init(&budget, &config, NULL, now);
    sync__budget_charge(&budget, 500, now);
    sync__budget_save(&budget, true, text); /* a clean end is exact */
    sync__budget_init(&budget, &config, text, now);
    ck_assert_uint_eq(budget.spent.day_requests, 1);
    ck_assert_uint_eq(budget.spent.day_bytes, 500);
    sync__budget_init(&budget, &config, "nonsense", now);
    ck_assert_uint_eq(budget.spent.day_requests, 0);
    sync__budget_init(&budget, &config, text, now + DAY);
    ck_assert_uint_eq(budget.spent.day_requests, 0);
    ck_assert_uint_eq(budget.spent.month_requests, 1);
    sync__budget_init(&budget, &config, text, now + 30 * DAY);
    ck_assert_uint_eq(budget.spent.month_requests, 0);
}
END_TEST

START_TEST(the_month_is_foretold) {
    struct sync_remote_config config = {0};
    struct budget budget;
    int64_t begin = at("2026-11-01T00:00:00Z");
    sync__budget_init(&budget, &config, NULL, begin);
    ck_assert_double_lt(sync__budget_month_cost(&budget, begin), 0);
    config.prices = (struct sync_prices){.requests_10k = 0.05, .gb_upload = 0.1, .gb_month = 0.02};
    sync__budget_init(&budget, &config, NULL, begin);
    for (unsigned day = 0; day < 10; day++) {
        for (unsigned i = 0; i < 1000; i++) {
            sync__budget_charge(&budget, 1000000, begin + (int64_t)day * DAY);
        }
    }
    /* 10 days of 1,000 requests and 1 GB each: 30 of them */
    double cost = sync__budget_month_cost(&budget, begin + 10 * DAY);
    ck_assert_double_le(fabs(cost - (3 * 0.05 + 30 * 0.12)), 0.01);
}
END_TEST

START_TEST(a_meter_forgets) {
    struct meter meter = {0};
    for (int64_t now = 0; now < 300 * SECOND; now += SECOND / 10) {
        sync__meter_add(&meter, 60000, now + 1);
    }
    struct meter then = sync__meter_now(&meter, 300 * SECOND);
    ck_assert_double_le(fabs(then.objects - 10), 0.5);
    ck_assert_double_le(fabs(then.bytes - 600000), 30000);
    then = sync__meter_now(&meter, 600 * SECOND);
    ck_assert_double_le(then.objects, 0.01);
}
END_TEST

START_TEST(one_object_does_not_eat_the_link) {
    struct health health;
    const struct health_limits limits = {
        .base_ms = 100, .cap_ms = 5000, .attempts_max = 100, .bytes_max = 1000000, .share = 8};
    sync__health_init(&health, &limits);
    for (unsigned i = 0; i < 50; i++) { /* the network is bad for all: no row is to blame */
        ck_assert(!sync__health_row_cost(&health, 1, 60000));
    }
    sync__health_success(&health, 2);
    ck_assert(sync__health_row_cost(&health, 1, 60000));
    ck_assert(!sync__health_row_cost(&health, 1, 60000)); /* released: from the beginning */
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: budget");
    TCase *tests = tcase_create("budget");
    tcase_add_test(tests, a_timetable_by_the_hour);
    tcase_add_test(tests, it_says_when_it_changes);
    tcase_add_test(tests, wrong_timetables_are_named);
    tcase_add_test(tests, the_link_is_held_to_its_rate);
    tcase_add_test(tests, a_day_has_its_budget);
    tcase_add_test(tests, a_crash_gives_nothing_back);
    tcase_add_test(tests, the_month_is_foretold);
    tcase_add_test(tests, a_meter_forgets);
    tcase_add_test(tests, one_object_does_not_eat_the_link);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
