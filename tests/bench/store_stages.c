/* store_stages: putting many frames, dying, coming back, and making the index again. */
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/bench/store_scale.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS       10
#define SAMPLE_EACH 128 /* frames between two looks at lag and WAL */
#define MIB         1048576.0

struct store_config scale_config(const struct scale *scale) {
    return (struct store_config){.dir = scale->dir, .index_floor = BENCH_INDEX_FLOOR};
}

static void more(double *greatest, double value) {
    *greatest = value > *greatest ? value : *greatest;
}

static double elapsed_ms(int64_t start_us) {
    return (double)(bench_now_us() - start_us) / 1e3;
}

/* ---- putting ---- */

int scale_put(struct store *store, struct scale *scale, uint64_t count, struct bench_acks *acks,
              struct err *err) {
    int code = 0;
    for (uint64_t i = 0; !code && i < count; i++) {
        struct store_frame frame = {0};
        code = bench_frame(scale->next, SCALE_BLOB_BYTES, BENCH_BOTH_TIERS, acks, &frame, err);
        code = code ? code : store_put(store, &frame, err);
        bench_frame_finish(&frame); /* empty where the store took it */
        scale->next += !code;
    }
    return code;
}

static void sample(struct store *store, struct scale *scale) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    more(&scale->result.lag_records, (double)stats.index_lag);
    more(&scale->result.ingest_wal_mib, (double)bench_file_bytes(scale->dir, "index.db-wal") / MIB);
}

/* One part of all frames, until it is indexed. */
static int part_put(struct store *store, struct scale *scale, uint64_t count, double *ack_us,
                    double *index_us, struct err *err) {
    struct bench_acks acks = {0};
    int64_t start = bench_now_us();
    int code = 0;
    for (uint64_t done = 0; !code && done < count; done += SAMPLE_EACH) {
        code = scale_put(store, scale, count - done < SAMPLE_EACH ? count - done : SAMPLE_EACH,
                         &acks, err);
        sample(store, scale);
    }
    code = code ? code : store_flush(store, err);
    if (!code && atomic_load(&acks.failed)) {
        struct store_stats stats;
        store_stats_get(store, &stats);
        code = err_set(err, ERR_FULL, "frames were refused: %s", stats.last_error);
    }
    *ack_us += (double)(atomic_load(&acks.last_us) - start);
    *index_us = (double)(bench_now_us() - start);
    return code;
}

static int parts_put(struct store *store, struct scale *scale, struct err *err) {
    struct scale_result *result = &scale->result;
    uint64_t part = scale->frames / PARTS;
    double ack_us = 0, index_us[PARTS], all_us = 0;
    int code = 0;
    for (int i = 0; !code && i < PARTS; i++) {
        code = part_put(store, scale, part, &ack_us, &index_us[i], err);
        all_us += index_us[i];
    }
    if (!code) {
        result->acked_per_s = (double)(part * PARTS) * 1e6 / ack_us;
        result->indexed_per_s = (double)(part * PARTS) * 1e6 / all_us;
        result->indexed_first_per_s = (double)part * 1e6 / index_us[0];
        result->indexed_last_per_s = (double)part * 1e6 / index_us[PARTS - 1];
    }
    return code;
}

/* ---- a remote, so that pages by sync state have something to tell apart ---- */

static int receipts_put(struct store *store, struct store_reader *reader, struct err *err) {
    struct store_outbox_row rows[STORE_PAGE_MAX];
    size_t done = 0, count = 1;
    int64_t due;
    int code = 0;
    while (!code && count && done < SCALE_RECEIPTS) {
        code = store_outbox_read(reader, SCALE_REMOTE, STORE_OLDEST, STORE_PAGE_MAX, rows, &count,
                                 &due, err);
        CLEANUP(mem_free_at)
        struct store_receipt *receipts = mem_array(STORE_PAGE_MAX, sizeof(*receipts));
        for (size_t i = 0; receipts && !code && i < count; i++) {
            receipts[i] = (struct store_receipt){.blob = rows[i].blob,
                                                 .tier = rows[i].tier,
                                                 .kind = STORE_RECEIPT_STORED,
                                                 .utc_us = bench_frame_utc_us(done + i)};
            snprintf(receipts[i].remote, sizeof(receipts[i].remote), SCALE_REMOTE);
            snprintf(receipts[i].key, sizeof(receipts[i].key), "frames/%zu.jpg", done + i);
        }
        code = code || !receipts ? code : store_receipt_put(store, receipts, count, err);
        done += count;
    }
    return code;
}

static int sync_states_make(struct store *store, struct err *err) {
    struct store_outbox_row rows[SCALE_QUARANTINED];
    struct store_reader *reader = NULL;
    size_t count = 0;
    int64_t due;
    int code = store_reader_open(store, &reader, err);
    code = code ? code : receipts_put(store, reader, err);
    code = code ? code
                : store_outbox_read(reader, SCALE_REMOTE, STORE_OLDEST, SCALE_QUARANTINED, rows,
                                    &count, &due, err);
    for (size_t i = 0; !code && i < count; i++) {
        code = store_outbox_quarantine(store, SCALE_REMOTE, rows[i].tier, &rows[i].blob,
                                       "the benchmark says so", err);
    }
    store_reader_close(reader);
    return code;
}

static int remote_declare(struct store *store, struct err *err) {
    struct store_remote remote = {.name = SCALE_REMOTE, .required = false};
    hash_sha256(SCALE_REMOTE, strlen(SCALE_REMOTE), &remote.identity);
    return store_remotes_set(store, &remote, 1, err);
}

int scale_ingest(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    int code = store_open(&config, &store, err);
    code = code ? code : remote_declare(store, err);
    code = code ? code : parts_put(store, scale, err);
    scale->result.ingest_peak_mib = bench_memory_mib("VmHWM");
    code = code ? code : sync_states_make(store, err);
    store_close(store);
    scale->result.index_mib = (double)bench_file_bytes(scale->dir, "index.db") / MIB;
    return code;
}

/* ---- dying and coming back ---- */

int scale_burst(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    int code = store_open(&config, &store, err);
    while (!code) {
        code = scale_put(store, scale, 1, &scale->burst, err);
    }
    store_close(store);
    return code;
}

static int counts_check(struct store *store, uint64_t least, struct store_counts *counts,
                        struct err *err) {
    struct store_reader *reader = NULL;
    int code = store_reader_open(store, &reader, err);
    code = code ? code : store_counts_read(reader, counts, err);
    store_reader_close(reader);
    if (!code && counts->seq < least) {
        code = err_set(err, ERR_CORRUPT, "%llu frames were acknowledged and %llu are there",
                       (unsigned long long)least, (unsigned long long)counts->seq);
    }
    return code;
}

int scale_reopen(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    struct store_counts counts;
    uint64_t least = scale->frames / PARTS * PARTS + atomic_load(&scale->burst.acked);
    int64_t start = bench_now_us();
    int code = store_open(&config, &store, err);
    scale->result.open_ms = elapsed_ms(start);
    code = code ? code : store_flush(store, err);
    scale->result.ready_ms = elapsed_ms(start);
    code = code ? code : counts_check(store, least, &counts, err);
    if (!code) {
        scale->result.disk_mib = (double)counts.disk_bytes / MIB;
    }
    store_close(store);
    return code;
}

/* ---- the index from the log alone ---- */

static int index_remove(const struct scale *scale, struct err *err) {
    static const char *const names[] = {"index.db", "index.db-wal", "index.db-shm"};
    char path[FS_PATH_MAX];
    int code = 0;
    for (size_t i = 0; !code && i < ARRAY_LENGTH(names); i++) {
        code = fs_join(path, sizeof(path), scale->dir, names[i], err);
        code = code ? code : fs_unlink(path, err);
    }
    return code;
}

int scale_rebuild(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    struct store_counts counts;
    int code = index_remove(scale, err);
    int64_t start = bench_now_us();
    code = code ? code : store_open(&config, &store, err);
    scale->result.rebuild_open_ms = elapsed_ms(start);
    code = code ? code : store_flush(store, err);
    scale->result.rebuild_s = elapsed_ms(start) / 1e3;
    code = code ? code : counts_check(store, scale->frames / PARTS * PARTS, &counts, err);
    if (!code) {
        uint64_t frames = counts.frames[TIER_ANNOTATED] + counts.frames[TIER_UNANNOTATED];
        scale->result.rebuild_per_s = (double)frames / scale->result.rebuild_s;
    }
    scale->result.rebuild_peak_mib = bench_memory_mib("VmHWM");
    store_close(store);
    return code;
}
