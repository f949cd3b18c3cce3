/* store_rates: frames a second, side by side with what the disk can do at best and with the obvious
 * ways of keeping frames.
 *
 * The machine is shared and its disk is not ours alone, so absolute numbers of different minutes
 * say little. Each round therefore measures all contenders one right after another, each round
 * starting with another one, and what counts is the median over the rounds of the ratio within a
 * round. Frames are made before the clock starts. What each contender does is printed above the
 * table (legend). The store's queue keeps several groups in flight, as a source in a hurry does;
 * its clock stops at the last acknowledgement, and again when store_flush returns (indexed).
 *
 * How far the store is ahead of a file a frame is a matter of what a sync costs: a group shares
 * one, so a disk where it is nearly free leaves little to win, and hashing is what is left. So the
 * cost of an fdatasync is measured in the same rounds.
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
#define PROBES      64 /* fdatasyncs of a page */
#define PROBE_BYTES 4096

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

struct speed {
    double per_s;
    double indexed_per_s; /* the store's */
    double sync_us;       /* the limit's: of one fdatasync, on average */
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

static int timed_sync(int fd, const char *path, int64_t *us, struct err *err) {
    int64_t start = bench_now_us();
    int code = fs_datasync(fd, path, err);
    *us += bench_now_us() - start;
    return code;
}

static int limit_group(int fd, const struct batch *batch, size_t from, size_t count, uint64_t at,
                       const char *path, int64_t *sync_us, struct err *err) {
    struct iovec parts[GROUP_MAX];
    struct frame_hash hash;
    for (size_t i = 0; i < count; i++) {
        const struct store_frame *frame = &batch->frames[from + i];
        hash_sha256(frame->blob, frame->record.blob_bytes, &hash);
        parts[i] = (struct iovec){frame->blob, frame->record.blob_bytes};
    }
    int code = fs_pwritev_all(fd, parts, (int)count, at, path, err);
    return code ? code : timed_sync(fd, path, sync_us, err);
}

static int limit_write(const struct run *run, const struct batch *batch, int fd, const char *path,
                       double *sync_us, struct err *err) {
    size_t groups = 0;
    int64_t synced_us = 0;
    uint64_t at = 0;
    int code = 0;
    for (size_t from = 0; !code && from < batch->count; from += run->cell->group) {
        size_t left = batch->count - from;
        size_t count = left < run->cell->group ? left : run->cell->group;
        code = limit_group(fd, batch, from, count, at, path, &synced_us, err);
        at += count * run->cell->blob_bytes;
        groups++;
    }
    *sync_us = groups ? (double)synced_us / (double)groups : 0;
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
    code = limit_write(run, batch, fd, path, &out->sync_us, err);
    out->per_s = per_second(batch->count, bench_now_us() - start);
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
    out->per_s = per_second(batch->count, atomic_load(&batch->acks.last_us) - start);
    out->indexed_per_s = per_second(batch->count, end - start);
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
    return files_write(run, batch, NULL, &out->per_s, err);
}

static int rows_write(struct run *run, enum bench_rows rows, struct batch *batch, double *out,
                      struct err *err) {
    struct bench_peer *peer = NULL;
    int code = bench_peer_open(run->dir, rows, &peer, err);
    code = code ? code : files_write(run, batch, peer, out, err);
    bench_peer_close(peer);
    return code;
}

static int rows_round(struct run *run, struct batch *batch, struct speed *out, struct err *err) {
    return rows_write(run, BENCH_ROWS_NORMAL, batch, &out->per_s, err);
}

static int synced_round(struct run *run, struct batch *batch, struct speed *out, struct err *err) {
    return rows_write(run, BENCH_ROWS_DURABLE, batch, &out->per_s, err);
}

/* ---- rounds ---- */

enum contender { LIMIT, STORE, FILES, ROWS, SYNCED, CONTENDERS };

typedef int round_fn(struct run *run, struct batch *batch, struct speed *out, struct err *err);
static round_fn *const contenders[CONTENDERS] = {
    [LIMIT] = limit_round, [STORE] = store_round,   [FILES] = files_round,
    [ROWS] = rows_round,   [SYNCED] = synced_round,
};

struct results { /* one number a round */
    double per_s[CONTENDERS][BENCH_ROUNDS_MAX];
    double indexed_per_s[BENCH_ROUNDS_MAX], sync_us[BENCH_ROUNDS_MAX];
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
    for (unsigned who = 0; who < CONTENDERS; who++) {
        results->per_s[who][round] = speeds[who].per_s;
    }
    results->indexed_per_s[round] = speeds[STORE].indexed_per_s;
    results->sync_us[round] = speeds[LIMIT].sync_us;
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

/* ---- a row of the table ---- */

static const char *tiers_name(enum bench_tiers tiers) {
    return tiers == BENCH_ONE_TIER ? "one" : "both";
}

/* The median of the ratios, each within its round. */
static double ratio(const double *values, const double *to, size_t rounds) {
    double ratios[BENCH_ROUNDS_MAX];
    for (size_t i = 0; i < rounds; i++) {
        ratios[i] = to[i] > 0 ? values[i] / to[i] : 0;
    }
    return bench_median(ratios, rounds);
}

/* The order of the table, and the keys of the JSON. A share is printed in percent. */
static const struct column {
    const char *key, *title;
    int width, decimals;
    bool share;
} columns[] = {
    {"limit_per_s", "limit", 8, 0, false},
    {"acked_per_s", "acked", 8, 0, false},
    {"indexed_per_s", "indexed", 8, 0, false},
    {"files_per_s", "files", 7, 0, false},
    {"rows_per_s", "+row", 7, 0, false},
    {"synced_per_s", "+synced", 8, 0, false},
    {"acked_of_limit", "acked/limit %", 14, 0, true},
    {"indexed_of_limit", "indexed/limit %", 16, 0, true},
    {"acked_to_files", "acked/files", 12, 1, false},
    {"acked_to_rows", "acked/+row", 11, 1, false},
    {"acked_to_synced", "acked/+synced", 14, 1, false},
    {"indexed_to_rows", "indexed/+row", 13, 1, false},
    {"sync_us", "sync us", 8, 0, false},
};

static json_t *cell_report(const struct cell *cell, const struct results *results, size_t rounds) {
    const double *limit = results->per_s[LIMIT], *acked = results->per_s[STORE];
    const double values[ARRAY_LENGTH(columns)] = {
        bench_median(limit, rounds),
        bench_median(acked, rounds),
        bench_median(results->indexed_per_s, rounds),
        bench_median(results->per_s[FILES], rounds),
        bench_median(results->per_s[ROWS], rounds),
        bench_median(results->per_s[SYNCED], rounds),
        ratio(acked, limit, rounds),
        ratio(results->indexed_per_s, limit, rounds),
        ratio(acked, results->per_s[FILES], rounds),
        ratio(acked, results->per_s[ROWS], rounds),
        ratio(acked, results->per_s[SYNCED], rounds),
        ratio(results->indexed_per_s, results->per_s[ROWS], rounds),
        bench_median(results->sync_us, rounds),
    };
    json_t *row = json_pack("{s:I, s:i, s:s}", "blob_bytes", (json_int_t)cell->blob_bytes,
                            "group_frames", (int)cell->group, "tiers", tiers_name(cell->tiers));
    printf("%3zu KB %6u %5s", cell->blob_bytes / 1000, cell->group, tiers_name(cell->tiers));
    for (size_t i = 0; i < ARRAY_LENGTH(columns); i++) {
        printf("%*.*f", columns[i].width, columns[i].decimals,
               columns[i].share ? values[i] * 100 : values[i]);
        json_object_set_new(row, columns[i].key, json_real(values[i]));
    }
    printf("\n");
    fflush(stdout);
    return row;
}

/* ---- one sync ---- */

/* Of a page behind the last one, in space taken ahead: the least that any durable step costs. */
static int probe_syncs(const char *path, double us[PROBES], struct err *err) {
    static const char page[PROBE_BYTES] = "creel";
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(path, O_RDWR | O_CREAT | O_TRUNC, 0640, &fd, err);
    if (!code && (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, PROBES * PROBE_BYTES) < 0 || fsync(fd))) {
        code = err_sys(err, errno, "cannot preallocate %s", path);
    }
    for (uint64_t i = 0; !code && i < PROBES; i++) {
        int64_t spent = 0;
        code = fs_pwrite_all(fd, page, sizeof(page), i * PROBE_BYTES, path, err);
        code = code ? code : timed_sync(fd, path, &spent, err);
        us[i] = (double)spent;
    }
    return code;
}

static int probe_print(const struct bench_options *options, struct err *err) {
    char dir[BENCH_PATH_MAX], path[FS_PATH_MAX];
    double us[PROBES] = {0};
    int code = bench_dir_make(options, dir, err);
    if (code) {
        return code;
    }
    code = fs_join(path, sizeof(path), dir, "probe", err);
    code = code ? code : probe_syncs(path, us, err);
    bench_dir_remove(dir);
    if (!code) {
        printf("one fdatasync of a page in %s takes %.0f us (median of %d, greatest %.0f)\n\n",
               options->dir, bench_median(us, PROBES), PROBES, bench_greatest(us, PROBES));
    }
    return code;
}

static const char legend[] =
    "limit    each frame's SHA-256, pwritev of the group to a preallocated file, fdatasync; one\n"
    "         after another in one thread: no records, no index\n"
    "acked    store_put as fast as the store takes them, until the last acknowledgement\n"
    "indexed  the same, until the index has them all\n"
    "files    one file a frame: SHA-256, temporary file, write, fsync, rename, fsync of the\n"
    "         directory\n"
    "+row     files, and a row for the frame and each detection at or above the index floor, in\n"
    "         one SQLite transaction a frame: WAL, synchronous=NORMAL (a power cut takes the last\n"
    "         rows)\n"
    "+synced  the same with synchronous=FULL: the row is as durable as the file\n"
    "sync us  one fdatasync of a whole group, in limit\n";

static void head_print(unsigned rounds) {
    printf("%s\nframes/s: medians of %u rounds, all contenders in each; ratios within a round\n"
           "%6s %6s %5s",
           legend, rounds, "blob", "group", "tiers");
    for (size_t i = 0; i < ARRAY_LENGTH(columns); i++) {
        printf("%*s", columns[i].width, columns[i].title);
    }
    printf("\n");
}

/* ---- the table ---- */

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
    code = code ? code : probe_print(options, err);
    head_print(options->rounds);
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
