/* lag: how far the index may fall behind the log, and who waits for it.
 *
 * A frame is acknowledged when the log has it; the index follows. What is acknowledged and not
 * indexed costs no memory (the index thread reads it from the log), but pages, the outbox and
 * retention do not know of it, so the lag has a bound, and nobody waits for the index without one.
 *
 * Invariants:
 *   1. Beyond STORE_LAG_MAX records the writer brings at most half of what the index takes in, so
 * the lag falls again however fast frames come; while the index is made again just as much.
 *   2. An index that does not move slows the writer (PACE_MS a group) and never stops it: the log
 * is the truth, and a slow or locked index costs no frame.
 *   3. `whole_lsn` is how far the log was when the index was opened or begun anew. An index before
 * it has not seen every tombstone and receipt: no frame may come to rest on a blob that it names,
 * nothing is uploaded that it calls pending, and nothing is chosen to leave.
 *   4. `promised_lsn` is the last meta record that a caller was told is durable. The outbox is not
 * read from an index before it, or what was just confirmed would be uploaded again.
 */
#include "daemon/base/clock.h"
#include "store/store_impl.h"

#define PACE_MS         20
#define PACE_SLACK      16384 /* records; the index takes them in steps of at most so many */
#define SETTLE_MS       2000  /* a caller's wait for the index to show what is durable already */
#define OUTBOX_AGAIN_US 200000

static bool is_whole(const struct store *store) { /* under the lock */
    return store->applied_lsn >= store->whole_lsn;
}

bool store__index_whole(struct store *store) {
    pthread_mutex_lock(&store->lock);
    bool whole = is_whole(store);
    pthread_mutex_unlock(&store->lock);
    return whole;
}

bool store__index_follows(struct store *store) {
    pthread_mutex_lock(&store->lock);
    bool follows = is_whole(store) && !store->index_over;
    pthread_mutex_unlock(&store->lock);
    return follows;
}

int store__index_behind(struct store *store, struct err *err) {
    pthread_mutex_lock(&store->lock);
    bool whole = is_whole(store);
    unsigned long long lag =
        store->written_lsn > store->applied_lsn ? store->written_lsn - store->applied_lsn : 0;
    pthread_mutex_unlock(&store->lock);
    return err_set(err, ERR_BUSY,
                   whole ? "the index is %llu records behind the log: try again later"
                         : "the index is being made again, %llu records to go: try again later",
                   lag);
}

/* ---- the writer ---- */

/* Called with the lock. */
static bool may_go_on(struct store *store) {
    struct writer *writer = &store->writer;
    uint64_t written = store->written_lsn, applied = store->applied_lsn;
    if (written <= applied || written - applied <= STORE_LAG_MAX || store->index_over) {
        writer->pace_written = 0;
        return true;
    }
    if (!writer->pace_written || applied < writer->pace_applied) {
        writer->pace_written = written;
        writer->pace_applied = applied;
    }
    return written - writer->pace_written <= (applied - writer->pace_applied) / 2 + PACE_SLACK;
}

void store__lag_pace(struct store *store) {
    int64_t deadline = store__monotonic_us() + PACE_MS * 1000;
    bool in_time = true;
    pthread_mutex_lock(&store->lock);
    while (in_time && !may_go_on(store)) {
        in_time = store__wait_until(store, &store->applied, deadline);
    }
    store->stats.paced += !in_time;
    pthread_mutex_unlock(&store->lock);
}

/* ---- callers ---- */

void store__lag_settle(struct store *store, uint64_t lsn) {
    pthread_mutex_lock(&store->lock);
    bool whole = is_whole(store);
    pthread_mutex_unlock(&store->lock);
    if (whole && store__indexer_wait(store, lsn, SETTLE_MS)) {
        return; /* told, and shown: nothing to promise, and the outbox was readable all the time */
    }
    pthread_mutex_lock(&store->lock);
    store->promised_lsn = lsn > store->promised_lsn ? lsn : store->promised_lsn;
    pthread_mutex_unlock(&store->lock);
}

bool store__outbox_ready(struct store *store, int64_t *again_boot_us) {
    pthread_mutex_lock(&store->lock);
    bool ready = is_whole(store) && store->applied_lsn >= store->promised_lsn;
    pthread_mutex_unlock(&store->lock);
    *again_boot_us = clock_boot_us() + OUTBOX_AGAIN_US;
    return ready;
}
