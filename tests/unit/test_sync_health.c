#include "daemon/base/mem.h"
#include "sync/health.h"
#include "tests/suite.h"
#include <check.h>
#include <stdlib.h>

#define MS 1000

static struct health fresh(void) {
    struct health health;
    struct health_limits limits = {.base_ms = 100, .cap_ms = 5000, .attempts_max = 3, .share = 8};
    sync__health_init(&health, &limits);
    return health;
}

START_TEST(backoff_grows_to_its_cap_and_jitters_fully) {
    ck_assert_int_eq(sync__backoff_ms(100, 5000, 0, 0), 0);
    ck_assert_int_eq(sync__backoff_ms(100, 5000, 0, 100), 100);
    ck_assert_int_eq(sync__backoff_ms(100, 5000, 0, 101), 0);
    ck_assert_int_eq(sync__backoff_ms(100, 5000, 3, 800), 800);
    for (unsigned attempts = 6; attempts < 4000000000u; attempts = attempts * 3 + 1) {
        ck_assert_int_eq(sync__backoff_ms(100, 5000, attempts, 5000), 5000);
        ck_assert_int_le(sync__backoff_ms(100, 5000, attempts, UINT64_MAX), 5000);
    }
}
END_TEST

START_TEST(the_breaker_opens_probes_and_closes) {
    struct health health = fresh();
    int64_t now = 1000000;
    for (int i = 1; i < HEALTH_FAILURES_MAX; i++) {
        ck_assert(!sync__health_failure(&health, false, 0, now, 50));
        ck_assert_uint_eq(sync__health_room(&health, 0, now), 8);
    }
    ck_assert(sync__health_failure(&health, false, 0, now, 50));
    ck_assert_uint_eq(sync__health_room(&health, 0, now), 0);
    int64_t probe = health.retry_at_us;
    ck_assert_int_gt(probe, now);
    ck_assert(!sync__health_failure(&health, false, 0, now + 1, 50)); /* late news */
    ck_assert_int_eq(health.retry_at_us, probe);
    ck_assert_uint_eq(sync__health_room(&health, 0, probe), 1); /* one at a time */
    ck_assert_uint_eq(sync__health_room(&health, 1, probe), 0);
    ck_assert(!sync__health_failure(&health, false, 0, probe, 5000)); /* the probe failed: longer */
    ck_assert_int_gt(health.retry_at_us - probe, probe - now);
    ck_assert(sync__health_success(&health, 1));
    ck_assert_uint_eq(sync__health_room(&health, 0, probe), 8);
    ck_assert(!sync__health_success(&health, 1));
}
END_TEST

START_TEST(a_denial_opens_at_once_and_waits_a_while) {
    struct health health = fresh();
    ck_assert(sync__health_denied(&health, 0, 0));
    ck_assert_int_ge(health.retry_at_us, 1000 * MS);
    ck_assert(!sync__health_denied(&health, 1, 0));
    ck_assert_uint_eq(sync__health_room(&health, 0, 1), 0);
}
END_TEST

START_TEST(retry_after_pauses_without_opening) {
    struct health health = fresh();
    ck_assert(!sync__health_failure(&health, true, 3000, 0, 0));
    ck_assert(!health.open);
    ck_assert_uint_eq(sync__health_room(&health, 0, 2999 * MS), 0);
    ck_assert_uint_eq(sync__health_room(&health, 0, 3000 * MS), 4); /* and slower */
}
END_TEST

START_TEST(throttling_halves_and_success_grows_back) {
    struct health health = fresh();
    for (int i = 0; i < 4; i++) {
        sync__health_failure(&health, true, 0, 0, 0);
        sync__health_success(&health, 1);
    }
    unsigned low = sync__health_room(&health, 0, 0);
    ck_assert_uint_le(low, 2);
    ck_assert_uint_ge(low, 1);
    for (int i = 0; i < 100; i++) {
        sync__health_success(&health, 1);
    }
    ck_assert_uint_eq(sync__health_room(&health, 0, 0), 8);
}
END_TEST

START_TEST(a_refused_row_uses_up_its_attempts) {
    struct health health = fresh();
    ck_assert(!sync__health_row_refused(&health, 7));
    ck_assert(!sync__health_row_refused(&health, 8));
    ck_assert(!sync__health_row_refused(&health, 7));
    ck_assert(sync__health_row_refused(&health, 7));
    sync__health_success(&health, 8); /* forgotten */
    ck_assert(!sync__health_row_refused(&health, 8));
}
END_TEST

START_TEST(an_outage_is_no_rows_fault_but_a_poison_is) {
    struct health health = fresh();
    for (int i = 0; i < 1000; i++) {
        ck_assert(!sync__health_row_failed(&health, 1)); /* nobody succeeds: an outage */
    }
    int failures = 0;
    do {
        sync__health_success(&health, 2); /* others get through */
        failures++;
        ck_assert_int_lt(failures, 100);
    } while (!sync__health_row_failed(&health, 1));
    ck_assert_int_ge(failures, 3);
}
END_TEST

START_TEST(troubles_are_bounded) {
    struct health health = fresh();
    ck_assert(!sync__health_row_refused(&health, 1));
    for (uint64_t row = 100; row < 100 + 3 * HEALTH_TROUBLES_MAX; row++) {
        ck_assert(!sync__health_row_refused(&health, row));
        ck_assert_uint_le(health.trouble_count, HEALTH_TROUBLES_MAX);
    }
    ck_assert(!sync__health_row_refused(&health, 1)); /* was forgotten as the oldest */
    ck_assert(!sync__health_row_refused(&health, 1));
    ck_assert(sync__health_row_refused(&health, 1));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: health");
    TCase *all = tcase_create("all");
    tcase_add_test(all, backoff_grows_to_its_cap_and_jitters_fully);
    tcase_add_test(all, the_breaker_opens_probes_and_closes);
    tcase_add_test(all, a_denial_opens_at_once_and_waits_a_while);
    tcase_add_test(all, retry_after_pauses_without_opening);
    tcase_add_test(all, throttling_halves_and_success_grows_back);
    tcase_add_test(all, a_refused_row_uses_up_its_attempts);
    tcase_add_test(all, an_outage_is_no_rows_fault_but_a_poison_is);
    tcase_add_test(all, troubles_are_bounded);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
