/* store_rates: frames a second, side by side with what the disk can do at best and with the obvious
 * way of keeping frames.
 *
 * The machine is shared and its disk is not ours alone, so absolute numbers of different minutes
 * say little. Each round therefore measures all contenders one right after another, each round
 * starting with another one, and what counts is the median over the rounds of the ratio within a
 * round. Frames are made before the clock starts. Contenders: limit  pwritev of a group to a
 * preallocated file, SHA-256 of each frame, one fdatasync a group. No index, no records, no second
 * thread. store  store_put as fast as it takes them (its queue keeps several groups in flight); the
 * clock stops at the last acknowledgement, and again when store_flush returns (indexed). files  one
 * file a frame: SHA-256, temporary file, fsync, rename, fsync of the directory. +row  the same and
 * a durable row (store_peer.c), without which nobody finds the frame again: what an acknowledgement
 * of the store stands for.
 */
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/bench/store_bench.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define BATCH_BYTES (40u << 20) /* of one measurement */
#define BATCH_MAX   1024
#define BATCH_ONE   256 /* frames, where each costs a sync */
#define FILES_MAX   48
#define GROUP_MAX   64

struct cell {
    size_t blob_bytes;
    unsigned group;
    enum bench_tiers tiers;
};

static const struct cell cells[] = {
    {20000, 1, BENCH_ONE_TIER},    {20000, 16, BENCH_ONE_TIER},  {20000, 64, BENCH_ONE_TIER},
    {80000, 1, BENCH_ONE_TIER},    {80000, 16, BENCH_ONE_TIER},  {80000, 64, BENCH_ONE_TIER},
    {300000, 1, BENCH_ONE_TIER},   {300000, 16, BENCH_ONE_TIER}, {300000, 64, BENCH_ONE_TIER},
    {80000, 16, BENCH_BOTH_TIERS}, /* two streams: two fdatasyncs a group */
};

struct run { /* of one cell */
    const struct cell *cell;
    char dir[BENCH_PATH_MAX];
    struct store *store;
    uint64_t next; /* frame */
};

struct batch {
    struct store_frame frames[BATCH_MAX];
    size_t count;
    struct bench_acks acks;
};

struct speed {            /* frames a second */
    double first, second; /* the second for the store: indexed */
};

/* ---- batches ---- */

static size_t batch_size(const struct cell *cell) {
    size_t most = cell->group == 1 ? BATCH_ONE : BATCH_MAX;
    size_t fits = BATCH_BYTES / cell->blob_bytes;
    return fits < most ? fits : most;
}

static void batch_finish(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        bench_frame_finish(&batch->frames[i]);
    }
    batch->count = 0;
}

static int batch_fill(struct run *run, size_t count, struct batch *batch, struct err *err) {
    int code = 0;
    for (size_t i = 0; !code && i < count; i++) {
        code = bench_frame(run->next++, run->cell->blob_bytes, run->cell->tiers, &batch->acks,
                           &batch->frames[i], err);
        batch->count += !code;
    }
    return code;
}

static double per_second(size_t count, int64_t us) {
    return us > 0 ? (double)count * 1e6 / (double)us : 0;
}

/* ---- the limit ---- */

static int limit_group(int fd, const struct batch *batch, size_t from, size_t count, uint64_t at,
                       const char *path, struct err *err) {
    struct iovec parts[GROUP_MAX];
    struct frame_hash hash;
    for (size_t i = 0; i < count; i++) {
        const struct store_frame *frame = &batch->frames[from + i];
        hash_sha256(frame->blob, frame->record.blob_bytes, &hash);
        parts[i] = (struct iovec){frame->blob, frame->record.blob_bytes};
    }
    int code = fs_pwritev_all(fd, parts, (int)count, at, path, err);
    return code ? code : fs_datasync(fd, path, err);
}

static int limit_write(const struct run *run, const struct batch *batch, int fd, const char *path,
                       struct err *err) {
    uint64_t at = 0;
    int code = 0;
    for (size_t from = 0; !code && from < batch->count; from += run->cell->group) {
        size_t left = batch->count - from;
        size_t count = left < run->cell->group ? left : run->cell->group;
        code = limit_group(fd, batch, from, count, at, path, err);
        at += count * run->cell->blob_bytes;
    }
    return code;
}

static int limit_round(struct run *run, struct batch *batch, struct speed *out, struct err *err) {
    char path[FS_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    int code = batch_fill(run, batch_size(run->cell), batch, err);
    code = code ? code : fs_join(path, sizeof(path), run->dir, "limit", err);
    code = code ? code : fs_open(path, O_RDWR | O_CREAT | O_TRUNC, 0640, &fd, err);
    if (code) {
        return code;
    }
    off_t size = (off_t)(batch->count * run->cell->blob_bytes);
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) < 0 || fsync(fd) < 0) {
        return err_sys(err, errno, "cannot preallocate %s", path);
    }
    int64_t start = bench_now_us();
    code = limit_write(run, batch, fd, path, err);
    out->first = per_second(batch->count, bench_now_us() - start);
    int unlinked = fs_unlink(path, code ? NULL : err);
    return code ? code : unlinked;
}

/* ---- the store ---- */

static int store_round(struct run *run, struct batch *batch, struct speed *out, struct err *err) {
    int code = batch_fill(run, batch_size(run->cell), batch, err);
    int64_t start = bench_now_us();
    for (size_t i = 0; !code && i < batch->count; i++) {
        code = store_put(run->store, &batch->frames[i], err);
    }
    code = code ? code : store_flush(run->store, err);
    int64_t end = bench_now_us();
    if (!code && atomic_load(&batch->acks.acked) != batch->count) {
        code = err_set(err, ERR_FULL, "%zu frames were put and %llu acknowledged", batch->count,
                       (unsigned long long)atomic_load(&batch->acks.acked));
    }
    out->first = per_second(batch->count, atomic_load(&batch->acks.last_us) - start);
    out->second = per_second(batch->count, end - start);
    return code;
}

/* ---- one file a frame ---- */

static int file_write(const struct run *run, const struct store_frame *frame, char *path,
                      size_t room, struct err *err) {
    struct frame_hash hash;
    char name[HASH_HEX_SIZE];
    hash_sha256(frame->blob, frame->record.blob_bytes, &hash);
    hash_hex(hash.bytes, sizeof(hash.bytes), name);
    int code = fs_join(path, room, run->dir, name, err);
    return code ? code
                : fs_write_file_atomic(path, frame->blob, frame->record.blob_bytes, 0640, err);
}

/* `peer`: where its row goes; NULL: a bare file. */
static int files_write(struct run *run, struct batch *batch, struct bench_peer *peer, double *out,
                       struct err *err) {
    char path[FS_PATH_MAX];
    size_t count = batch_size(run->cell);
    int code = batch_fill(run, count < FILES_MAX ? count : FILES_MAX, batch, err);
    int64_t start = bench_now_us();
    for (size_t i = 0; !code && i < batch->count; i++) {
        code = file_write(run, &batch->frames[i], path, sizeof(path), err);
        code = code || !peer ? code : bench_peer_put(peer, &batch->frames[i].record, path, err);
    }
    *out = per_second(batch->count, bench_now_us() - start);
    return code; /* the files go with the cell's directory */
}

static int files_round(struct run *run, struct batch *batch, struct speed *out, struct err *err) {
    return files_write(run, batch, NULL, &out->first, err);
}

static int rows_round(struct run *run, struct batch *batch, struct speed *out, struct err *err) {
    struct bench_peer *peer = NULL;
    int code = bench_peer_open(run->dir, &peer, err);
    code = code ? code : files_write(run, batch, peer, &out->first, err);
    bench_peer_close(peer);
    return code;
}

/* ---- rounds ---- */

enum contender { LIMIT, STORE, FILES, ROWS, CONTENDERS };

typedef int round_fn(struct run *run, struct batch *batch, struct speed *out, struct err *err);
static round_fn *const contenders[CONTENDERS] = {
    [LIMIT] = limit_round,
    [STORE] = store_round,
    [FILES] = files_round,
    [ROWS] = rows_round,
};

struct results { /* one number a round */
    double limit[BENCH_ROUNDS_MAX], acked[BENCH_ROUNDS_MAX], indexed[BENCH_ROUNDS_MAX],
        files[BENCH_ROUNDS_MAX], rows[BENCH_ROUNDS_MAX];
    double of_limit[BENCH_ROUNDS_MAX], indexed_of_limit[BENCH_ROUNDS_MAX],
        times_files[BENCH_ROUNDS_MAX], times_rows[BENCH_ROUNDS_MAX];
};

struct cell_run { /* shared with the child that measures */
    struct run run;
    unsigned rounds;
    struct results results;
};

static int contend(struct run *run, enum contender who, struct speed *out, struct err *err) {
    CLEANUP(mem_free_at) struct batch *batch = mem_alloc(sizeof(*batch));
    if (!batch) {
        return err_set(err, ERR_NOMEM, "no memory for a batch of frames");
    }
    int code = contenders[who](run, batch, out, err);
    batch_finish(batch);
    return code;
}

static int round_run(struct run *run, unsigned round, struct results *results, struct err *err) {
    struct speed speeds[CONTENDERS] = {{0}};
    int code = 0;
    for (unsigned i = 0; !code && i < CONTENDERS; i++) {
        enum contender who = (round + i) % CONTENDERS;
        code = contend(run, who, &speeds[who], err);
    }
    if (code) {
        return code;
    }
    results->limit[round] = speeds[LIMIT].first;
    results->acked[round] = speeds[STORE].first;
    results->indexed[round] = speeds[STORE].second;
    results->files[round] = speeds[FILES].first;
    results->rows[round] = speeds[ROWS].first;
    results->of_limit[round] = speeds[STORE].first / speeds[LIMIT].first;
    results->indexed_of_limit[round] = speeds[STORE].second / speeds[LIMIT].first;
    results->times_files[round] = speeds[STORE].first / speeds[FILES].first;
    results->times_rows[round] = speeds[STORE].first / speeds[ROWS].first;
    return 0;
}

static int rounds_run(struct run *run, unsigned rounds, struct results *results, struct err *err) {
    struct store_config config = {
        .dir = run->dir, .group_frames = run->cell->group, .index_floor = BENCH_INDEX_FLOOR};
    struct speed warm = {0};
    int code = store_open(&config, &run->store, err);
    code = code ? code : contend(run, STORE, &warm, err); /* files made, statements prepared */
    for (unsigned round = 0; !code && round < rounds; round++) {
        code = round_run(run, round, results, err);
    }
    store_close(run->store);
    return code;
}

/* ---- the table ---- */

static const char *tiers_name(enum bench_tiers tiers) {
    return tiers == BENCH_ONE_TIER ? "one" : "both";
}

static json_t *cell_report(const struct cell *cell, const struct results *results, size_t rounds) {
    double limit = bench_median(results->limit, rounds);
    double acked = bench_median(results->acked, rounds);
    double indexed = bench_median(results->indexed, rounds);
    double files = bench_median(results->files, rounds);
    double of_limit = bench_median(results->of_limit, rounds);
    double indexed_of_limit = bench_median(results->indexed_of_limit, rounds);
    double times_files = bench_median(results->times_files, rounds);
    double rows = bench_median(results->rows, rounds);
    double times_rows = bench_median(results->times_rows, rounds);
    printf("%6zu KB %6u %5s %9.0f %9.0f %9.0f %8.0f %8.0f %9.0f %% %11.0f %% %10.1f %10.1f\n",
           cell->blob_bytes / 1000, cell->group, tiers_name(cell->tiers), limit, acked, indexed,
           files, rows, of_limit * 100, indexed_of_limit * 100, times_files, times_rows);
    fflush(stdout);
    return json_pack("{s:I, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "blob_bytes",
                     (json_int_t)cell->blob_bytes, "group_frames", (int)cell->group, "tiers",
                     tiers_name(cell->tiers), "limit_per_s", limit, "acked_per_s", acked,
                     "indexed_per_s", indexed, "files_per_s", files, "acked_of_limit", of_limit,
                     "indexed_of_limit", indexed_of_limit, "acked_to_files", times_files,
                     "rows_per_s", rows, "acked_to_rows", times_rows);
}

/* In a child: an interrupted one leaves its directory for the parent to remove. */
static int cell_child(void *shared, struct err *err) {
    struct cell_run *cell = shared;
    return rounds_run(&cell->run, cell->rounds, &cell->results, err);
}

static int cell_run(const struct bench_options *options, const struct cell *cell,
                    struct cell_run *shared, struct err *err) {
    *shared = (struct cell_run){.run.cell = cell, .rounds = options->rounds};
    int code = bench_dir_make(options, shared->run.dir, err);
    if (!code) {
        code = bench_child(cell_child, shared, err);
        bench_dir_remove(shared->run.dir);
    }
    return code;
}

int bench_rates(const struct bench_options *options, json_t **out, struct err *err) {
    struct cell_run *shared = bench_shared(sizeof(*shared));
    json_t *rows = json_array();
    int code = shared ? 0 : err_set(err, ERR_NOMEM, "no memory for the results");
    printf("frames/s: medians of %u rounds, all contenders in each; ratios within a round\n"
           "%9s %6s %5s %9s %9s %9s %8s %8s %11s %13s %10s %10s\n",
           options->rounds, "blob", "group", "tiers", "limit", "acked", "indexed", "files", "+row",
           "acked/limit", "indexed/limit", "acked/file", "acked/+row");
    for (size_t i = 0; !code && i < ARRAY_LENGTH(cells); i++) {
        code = cell_run(options, &cells[i], shared, err);
        if (!code) {
            json_array_append_new(rows, cell_report(&cells[i], &shared->results, shared->rounds));
        }
    }
    bench_shared_drop(shared, sizeof(*shared));
    if (code) {
        json_decref(rows);
        return code;
    }
    *out = rows;
    return 0;
}
