/* store_scale: the stages of the part that asks what many frames cost. Each stage runs in a child
 * of its own (bench_child) on the directory that the stage before left, and fills its fields of the
 * result, which lies in shared memory.
 */
#ifndef CREEL_TESTS_BENCH_STORE_SCALE_H
#define CREEL_TESTS_BENCH_STORE_SCALE_H

#include "tests/bench/store_bench.h"

#define SCALE_BLOB_BYTES  256
#define SCALE_EVICT       10000
#define SCALE_REMOTE      "bench"
#define SCALE_RECEIPTS    1000 /* of the oldest frames */
#define SCALE_QUARANTINED 20   /* of those after them */
#define SCALE_FILTERS_MAX 32

struct scale_result { /* all doubles: one table in store_scale.c prints and names them */
    double acked_per_s, indexed_per_s, indexed_first_per_s, indexed_last_per_s, lag_records;
    double ingest_peak_mib, ingest_wal_mib, index_mib, disk_mib;
    double open_ms, ready_ms;
    double first_median_ms, first_worst_ms, deep_median_ms, deep_worst_ms, cold_worst_ms;
    double counts_ms, names_ms, reading_mib;
    double readers_wal_half_mib, readers_wal_mib, readers_indexed_per_s, readers_pages_per_s,
        readers_peak_mib;
    double rebuild_open_ms, rebuild_s, rebuild_per_s, rebuild_peak_mib;
    double evicted, evict_s, evict_slice_ms, evict_ack_median_ms, evict_ack_worst_ms,
        evict_peak_mib;
};

struct scale_page { /* one filter */
    const char *name;
    double first_ms, deep_ms, cold_ms;
    size_t first_rows, deep_rows;
};

struct scale {
    char dir[BENCH_PATH_MAX];
    uint64_t frames; /* of this size */
    uint64_t next;   /* frame to put */
    struct bench_acks burst;
    struct scale_page pages[SCALE_FILTERS_MAX];
    size_t page_count;
    struct scale_result result;
};

struct store_config scale_config(const struct scale *scale);
/* Puts frames scale->next and on. Does not wait for their acknowledgements. */
int scale_put(struct store *store, struct scale *scale, uint64_t count, struct bench_acks *acks,
              struct err *err);

/* bench_child_fn each; `shared` is a struct scale. */
int scale_ingest(void *shared, struct err *err);
int scale_burst(void *shared, struct err *err);  /* puts until it is killed; counts in burst */
int scale_reopen(void *shared, struct err *err); /* after the kill */
int scale_pages(void *shared, struct err *err);
int scale_readers(void *shared, struct err *err); /* ingest under readers that never pause */
int scale_rebuild(void *shared, struct err *err); /* without index.db */
int scale_evict(void *shared, struct err *err);

#endif
