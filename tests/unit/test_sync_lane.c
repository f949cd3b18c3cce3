/* Which rows a lane takes in, and when it waits: the parts of the engine that need no server. */
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include "tests/suite.h"
#include <check.h>
#include <stdlib.h>

static struct sync engine;
static struct lane *const lane = &engine.lanes[0];
static struct job jobs[LANE_BUSY_MAX];
static struct store_outbox_row rows[LANE_ROWS + LANE_BUSY_MAX];

static void setup(void) {
    struct health_limits limits = {.base_ms = 100, .cap_ms = 5000, .attempts_max = 3, .share = 8};
    *lane = (struct lane){.sync = &engine};
    sync__health_init(&lane->health, &limits);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        rows[i] = (struct store_outbox_row){.row = i + 1};
    }
}

static void busy(size_t job, uint64_t row) {
    jobs[job] = (struct job){.next = lane->jobs, .row = {.row = row}};
    lane->jobs = &jobs[job];
    lane->busy++;
}

START_TEST(rows_of_jobs_are_left_out) {
    busy(0, 1);
    busy(1, 3);
    sync__lane_rows_take(lane, rows, 5, LANE_ROWS + 2);
    ck_assert_uint_eq(lane->row_count, 3);
    ck_assert_uint_eq(lane->rows[0].row, 2);
    ck_assert_uint_eq(lane->rows[1].row, 4);
    ck_assert_uint_eq(lane->rows[2].row, 5);
    ck_assert(!lane->stale);
}
END_TEST

START_TEST(a_full_read_is_not_the_last) {
    sync__lane_rows_take(lane, rows, LANE_ROWS, LANE_ROWS);
    ck_assert_uint_eq(lane->row_count, LANE_ROWS);
    ck_assert(lane->stale);
}
END_TEST

/* The receipts of ten jobs are in the store, but the jobs are not settled yet: the room that was
 * left for their rows holds other ones, for which the lane has none. They once waited for the next
 * look a minute later. */
START_TEST(rows_beyond_the_lanes_room_are_not_forgotten) {
    for (size_t i = 0; i < 10; i++) {
        busy(i, 1000 + i);
    }
    sync__lane_rows_take(lane, rows, LANE_ROWS + 3, LANE_ROWS + 10);
    ck_assert_uint_eq(lane->row_count, LANE_ROWS);
    ck_assert(lane->stale);
}
END_TEST

START_TEST(a_lane_waits_for_the_right_thing) {
    int64_t now = 5000000;
    lane->read_us = now;
    ck_assert_int_eq(sync__lane_deadline(lane, now), now + LANE_REREAD_US); /* nothing to do */
    lane->next_due_us = now + 70000;
    ck_assert_int_eq(sync__lane_deadline(lane, now), now + 70000); /* a deferred row */
    lane->stale = true;
    ck_assert_int_eq(sync__lane_deadline(lane, now), now); /* work */
    busy(0, 1);
    ck_assert_int_eq(sync__lane_deadline(lane, now),
                     INT64_MAX); /* a full window: a job ends first */
    lane->health.retry_at_us = now + 900000;
    ck_assert_int_eq(sync__lane_deadline(lane, now), now + 900000); /* the breaker */
    lane->read_after_us = now + 1000000;
    ck_assert_int_eq(sync__lane_deadline(lane, now), now + 1000000); /* the store failed */
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: lane");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, rows_of_jobs_are_left_out);
    tcase_add_test(all, a_full_read_is_not_the_last);
    tcase_add_test(all, rows_beyond_the_lanes_room_are_not_forgotten);
    tcase_add_test(all, a_lane_waits_for_the_right_thing);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
