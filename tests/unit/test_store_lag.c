/* How the writer and the callers wait for an index that is behind. */
#include "store/store_impl.h"
#include "tests/suite.h"
#include <string.h>

#define FAR (STORE_LAG_MAX + 10000)

static struct store *store;

static void setup(void) {
    pthread_condattr_t monotonic;
    store = calloc(1, sizeof(*store));
    ck_assert_ptr_nonnull(store);
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->applied, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void teardown(void) {
    pthread_cond_destroy(&store->applied);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static int64_t pace_ms(void) {
    int64_t start = store__monotonic_us();
    store__lag_pace(store);
    return (store__monotonic_us() - start) / 1000;
}

START_TEST(within_the_bound_nobody_waits) {
    store->written_lsn = STORE_LAG_MAX;
    ck_assert_int_lt(pace_ms(), 10);
    store->applied_lsn = 500;
    store->written_lsn += 500;
    ck_assert_int_lt(pace_ms(), 10);
    ck_assert_uint_eq(store->stats.paced, 0);
}
END_TEST

/* An index that does not move slows the writer, and never stops it. */
START_TEST(a_stuck_index_slows) {
    unsigned waited = 0;
    for (int group = 0; group < 100; group++) {
        int64_t took = pace_ms();
        ck_assert_int_lt(took, 2000);
        waited += took >= 15;
        store->written_lsn += group ? 1000 : FAR;
    }
    ck_assert_uint_gt(waited, 60); /* all but those of the slack */
    ck_assert_uint_eq(store->stats.paced, waited);
}
END_TEST

/* Frames come as fast as they may, and the lag falls to its bound all the same. */
START_TEST(a_moving_index_catches_up) {
    store->written_lsn = 4 * STORE_LAG_MAX;
    store->whole_lsn = store->written_lsn;
    uint64_t worst = store->written_lsn;
    unsigned steps = 0;
    while (store->written_lsn - store->applied_lsn > STORE_LAG_MAX) {
        unsigned before = (unsigned)store->stats.paced;
        while (store->stats.paced == before &&
               store->written_lsn - store->applied_lsn > STORE_LAG_MAX) {
            store__lag_pace(store);
            store->written_lsn += 256;
        }
        uint64_t lag = store->written_lsn - store->applied_lsn;
        worst = lag > worst ? lag : worst;
        store->applied_lsn += 20000; /* meanwhile */
        ck_assert_uint_lt(steps++, 200);
    }
    ck_assert_uint_lt(worst, 4 * STORE_LAG_MAX + 20000);
    ck_assert_uint_gt(steps, 30); /* half its pace: it was not stopped to let the index catch up */
}
END_TEST

static void *apply_soon(void *unused) {
    (void)unused;
    for (int i = 0; i < 10; i++) {
        struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&store->lock);
        store->applied_lsn += FAR / 10;
        pthread_cond_broadcast(&store->applied);
        pthread_mutex_unlock(&store->lock);
    }
    return NULL;
}

/* The wait ends as soon as the index has come far enough. */
START_TEST(a_commit_wakes) {
    pthread_t thread;
    store->written_lsn = FAR;
    store__lag_pace(store); /* takes the slack */
    store->written_lsn += 20000;
    ck_assert_int_eq(pthread_create(&thread, NULL, apply_soon, NULL), 0);
    ck_assert_int_lt(pace_ms(), 1000);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(store->stats.paced, 0);
}
END_TEST

START_TEST(an_index_that_is_made_again_is_not_waited_for) {
    struct err err = {0};
    int64_t again = 0, start = store__monotonic_us();
    store->written_lsn = store->whole_lsn = 1000;
    store__lag_settle(store, 1001);
    ck_assert_int_lt(store__monotonic_us() - start, 500000);
    ck_assert(!store__index_whole(store));
    ck_assert(!store__outbox_ready(store, &again));
    ck_assert_int_gt(again, 0);
    ck_assert_int_eq(store__index_behind(store, &err), ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(err.msg, "made again, 1000 records"));
    store->applied_lsn = 1000; /* whole, but without the receipt of a moment ago */
    ck_assert(store__index_whole(store));
    ck_assert(!store__outbox_ready(store, &again));
    store->applied_lsn = 1001;
    ck_assert(store__outbox_ready(store, &again));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_lag");
    TCase *lag = tcase_create("lag");
    tcase_add_checked_fixture(lag, setup, teardown);
    tcase_set_timeout(lag, 60);
    tcase_add_test(lag, within_the_bound_nobody_waits);
    tcase_add_test(lag, a_stuck_index_slows);
    tcase_add_test(lag, a_moving_index_catches_up);
    tcase_add_test(lag, a_commit_wakes);
    tcase_add_test(lag, an_index_that_is_made_again_is_not_waited_for);
    suite_add_tcase(suite, lag);
    return suite_run(suite);
}
