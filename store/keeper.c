/* keeper: the thread for what no frame waits for: the ring and the tally of what triage decided,
 * the daily copy of state.db, the weighing of new limits. It keeps their time away from the writer.
 *
 * Invariants: 1. keeper_lock is held over one round, so that a reader of the ring may have what was
 * noted written first (store__keeper_now). 2. Nothing here is needed for a frame: what fails is
 * noted, and tried again a second later.
 */
#include "daemon/base/clock.h"
#include "store/store_impl.h"
#include <string.h>

#define TICK_US 1000000

static void round_run(struct store *store, bool last) {
    pthread_mutex_lock(&store->keeper_lock);
    store__ring_keep(store);
    store__tally_flush(store, last);
    if (!last) {
        store__guard_weigh(store);
        store__state_copy_daily(store);
    }
    pthread_mutex_unlock(&store->keeper_lock);
}

static bool rest(struct store *store) {
    int64_t deadline = store__monotonic_us() + TICK_US;
    pthread_mutex_lock(&store->lock);
    while (!store->keeper_closing && !store->keeper_wanted &&
           store__wait_until(store, &store->keeper_bell, deadline)) {
    }
    bool on = !store->keeper_closing;
    store->keeper_wanted = false;
    pthread_mutex_unlock(&store->lock);
    return on;
}

static void *run(void *arg) {
    struct store *store = arg;
    do {
        round_run(store, false);
    } while (rest(store));
    round_run(store, true);
    return NULL;
}

void store__keeper_call(struct store *store) {
    pthread_mutex_lock(&store->lock);
    store->keeper_wanted = true;
    pthread_cond_broadcast(&store->keeper_bell);
    pthread_mutex_unlock(&store->lock);
}

void store__keeper_now(struct store *store) {
    round_run(store, false);
}

int store__keeper_start(struct store *store, struct err *err) {
    if (store->bare || store->config.at_rest) {
        return 0;
    }
    int failed = pthread_create(&store->keeper_thread, NULL, run, store);
    if (failed) {
        return err_sys(err, failed, "cannot start the keeper thread");
    }
    store->keeper_started = true;
    return 0;
}

void store__keeper_stop(struct store *store) {
    if (!store->keeper_started) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    store->keeper_closing = true;
    pthread_cond_broadcast(&store->keeper_bell);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->keeper_thread, NULL);
    store->keeper_started = false;
}
