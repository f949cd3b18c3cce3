/* store_pressure: putting frames while readers never pause, and while old frames are being removed.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "tests/bench/store_scale.h"
#include <pthread.h>
#include <unistd.h>

#define READERS      3 /* so that one of them is always in the middle of a page */
#define FRAMES_MIN   2000
#define FRAMES_MAX   20000
#define SAMPLE_EACH  64
#define EVICT_MAX_US 60000000 /* what is not gone by then is reported as it is */
#define ACKS_MAX     4096
#define MIB          1048576.0

/* ---- readers that never pause ---- */

struct endless {
    struct store *store;
    atomic_bool stop;
    atomic_uint_fast64_t pages;
    atomic_int code;
};

static int page_next(struct store_reader *reader, struct store_cursor *cursor) {
    static const struct store_filter all = {0};
    struct store_page *page = NULL;
    int code = store_page_read(reader, &all, cursor, STORE_PAGE_MAX, 1, &page, NULL);
    if (!code) {
        *cursor = page->more ? page->next : (struct store_cursor){0};
        store_page_destroy(page);
    }
    return code;
}

static void *read_on(void *arg) {
    struct endless *endless = arg;
    struct store_reader *reader = NULL;
    struct store_cursor cursor = {0};
    int code = store_reader_open(endless->store, &reader, NULL);
    while (!code && !atomic_load(&endless->stop)) {
        code = page_next(reader, &cursor);
        atomic_fetch_add(&endless->pages, 1);
    }
    atomic_store(&endless->code, code ? code : atomic_load(&endless->code));
    store_reader_close(reader);
    return NULL;
}

static void wal_watch(struct scale *scale, bool first_half) {
    double wal = (double)bench_file_bytes(scale->dir, "index.db-wal") / MIB;
    double *greatest =
        first_half ? &scale->result.readers_wal_half_mib : &scale->result.readers_wal_mib;
    *greatest = wal > *greatest ? wal : *greatest;
}

/* A bounded WAL is as great after all frames as it was after half of them. */
static int put_watched(struct store *store, struct scale *scale, uint64_t count, struct err *err) {
    struct bench_acks acks = {0};
    int code = 0;
    for (uint64_t done = 0; !code && done < count; done += SAMPLE_EACH) {
        code = scale_put(store, scale, SAMPLE_EACH, &acks, err);
        wal_watch(scale, done < count / 2);
    }
    int flushed = store_flush(store, code ? NULL : err); /* acks must not outlive this frame */
    return code ? code : flushed;
}

static int put_under_readers(struct endless *endless, struct scale *scale, struct err *err) {
    uint64_t count = scale->frames / 5;
    count = count < FRAMES_MIN ? FRAMES_MIN : count > FRAMES_MAX ? FRAMES_MAX : count;
    int64_t start = bench_now_us();
    int code = put_watched(endless->store, scale, count, err);
    double seconds = (double)(bench_now_us() - start) / 1e6;
    scale->result.readers_indexed_per_s = (double)count / seconds;
    scale->result.readers_pages_per_s = (double)atomic_load(&endless->pages) / seconds;
    return code;
}

int scale_readers(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct endless endless = {0};
    pthread_t threads[READERS];
    size_t started = 0;
    int code = store_open(&config, &endless.store, err);
    while (!code && started < READERS &&
           pthread_create(&threads[started], NULL, read_on, &endless) == 0) {
        started++;
    }
    code = code ? code : put_under_readers(&endless, scale, err);
    atomic_store(&endless.stop, true);
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    if (!code && atomic_load(&endless.code)) {
        code = err_set(err, atomic_load(&endless.code), "a reader failed: %s",
                       err_name(atomic_load(&endless.code)));
    }
    scale->result.readers_peak_mib = bench_memory_mib("VmHWM");
    store_close(endless.store);
    return code;
}

/* ---- removing by a lowered limit ---- */

static uint64_t evicted(struct store *store) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    return stats.evicted_frames;
}

static uint64_t evict_wanted(const struct scale *scale) {
    return scale->frames / 5 < SCALE_EVICT ? scale->frames / 5 : SCALE_EVICT;
}

/* When the frame was kept before which `count` were. */
static int kept_at(struct store *store, uint64_t count, int64_t *out, struct err *err) {
    struct store_filter filter = {.oldest_first = true};
    struct store_cursor at = {0};
    struct store_reader *reader = NULL;
    int code = store_reader_open(store, &reader, err);
    for (uint64_t seen = 0; !code && seen < count;) {
        struct store_page *page = NULL;
        code = store_page_read(reader, &filter, &at, STORE_PAGE_MAX, 1, &page, err);
        if (!code && page->count == 0) {
            code = err_set(err, ERR_CORRUPT, "%llu frames are there, wanted %llu",
                           (unsigned long long)seen, (unsigned long long)count);
        }
        if (!code) {
            seen += page->count;
            at = page->next;
            *out = page->rows[page->count - 1].kept_utc_us;
        }
        store_page_destroy(page);
    }
    store_reader_close(reader);
    return code;
}

/* A max age that the oldest `count` frames have reached already. */
static int age_for(const struct scale *scale, uint64_t count, int64_t *age_ms, struct err *err) {
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    int64_t kept_us = 0;
    int code = store_open(&config, &store, err);
    code = code ? code : kept_at(store, count, &kept_us, err);
    store_close(store);
    *age_ms = (clock_utc_us() - kept_us) / 1000;
    return code;
}

static void evict_wait(struct store *store, uint64_t wanted, int64_t start) {
    while (evicted(store) < wanted && bench_now_us() - start < EVICT_MAX_US) {
        usleep(1000);
    }
}

/* Puts one frame at a time until as many again are gone; how long each waited for its ack. */
static int evict_beside(struct store *store, struct scale *scale, uint64_t wanted,
                        struct err *err) {
    CLEANUP(mem_free_at) double *waits = mem_array(ACKS_MAX, sizeof(*waits));
    struct bench_acks acks = {0};
    size_t count = 0;
    int64_t begin = bench_now_us();
    int code = waits ? 0 : err_set(err, ERR_NOMEM, "no memory for %d times", ACKS_MAX);
    while (!code && count < ACKS_MAX && evicted(store) < wanted &&
           bench_now_us() - begin < EVICT_MAX_US) {
        int64_t start = bench_now_us();
        code = scale_put(store, scale, 1, &acks, err);
        while (!code && atomic_load(&acks.acked) + atomic_load(&acks.failed) <= count) {
            usleep(50);
        }
        waits[count++] = (double)(atomic_load(&acks.last_us) - start) / 1e3;
    }
    scale->result.evict_ack_median_ms = bench_median(waits, count);
    scale->result.evict_ack_worst_ms = bench_greatest(waits, count);
    return code;
}

int scale_evict(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    struct store_stats stats;
    uint64_t wanted = evict_wanted(scale);
    int64_t age_ms;
    int code = age_for(scale, wanted, &age_ms, err);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        config.tiers[tier].max_age_ms = age_ms;
    }
    code = code ? code : store_open(&config, &store, err);
    int64_t start = bench_now_us();
    if (code) {
        return code;
    }
    evict_wait(store, wanted, start);
    scale->result.evict_s = (double)(bench_now_us() - start) / 1e6;
    scale->result.evicted = (double)evicted(store);
    code = evict_beside(store, scale, evicted(store) + wanted, err);
    store_stats_get(store, &stats);
    scale->result.evict_slice_ms = (double)stats.slice_longest_us / 1e3;
    scale->result.evict_peak_mib = bench_memory_mib("VmHWM");
    store_close(store);
    return code;
}
