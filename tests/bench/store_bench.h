/* store_bench: what the parts of the store's benchmark share.
 *
 * Two parts: rates (store_rates.c: frames a second against the limit of the disk and against one
 * file a frame) and scale (store_scale.c: what ten thousand frames and more cost). It is no test:
 * it passes no judgement and only fails when the store does. Thread: main only, unless said.
 */
#ifndef CREEL_TESTS_BENCH_STORE_BENCH_H
#define CREEL_TESTS_BENCH_STORE_BENCH_H

#include "store/store.h"
#include <jansson.h>
#include <stdatomic.h>

#define BENCH_SIZES_MAX  8
#define BENCH_ROUNDS_MAX 64
#define BENCH_PATH_MAX   512

struct bench_options {
    const char *dir;  /* where the stores are made and removed again */
    const char *json; /* the file that the results are written to */
    uint64_t frames[BENCH_SIZES_MAX];
    size_t frames_count;
    unsigned rounds;
    bool rates, scale;
    bool rebuild; /* in the scale part: the slowest stage of a large store */
};

/* Each prints its table to stdout and returns the same as JSON (owned by the caller). */
int bench_rates(const struct bench_options *options, json_t **out, struct err *err);
int bench_scale(const struct bench_options *options, json_t **out, struct err *err);

/* ---- store_frames.c: frames, and their acknowledgements ---- */

#define BENCH_CAMERAS     8
#define BENCH_LABELS      80
#define BENCH_INDEXED     5 /* detections of a frame at or above the index floor */
#define BENCH_FLOOR       20
#define BENCH_INDEX_FLOOR 0.25
#define BENCH_STEP_US     1000000 /* between one frame and the next, in captured time */

enum bench_tiers { BENCH_ONE_TIER, BENCH_BOTH_TIERS };

/* Counts what comes back. Zero-initialised; ctx of bench_acked. */
struct bench_acks {
    atomic_uint_fast64_t acked, failed;
    atomic_int_fast64_t last_us; /* monotonic, of the last one */
};

void bench_acked(void *ctx, const struct store_ack *ack);

/* Frame `n`: everything follows from n; no two have the same blob. ERR_NOMEM. */
int bench_frame(uint64_t n, size_t blob_bytes, enum bench_tiers tiers, struct bench_acks *acks,
                struct store_frame *out, struct err *err);
void bench_frame_finish(struct store_frame *frame);
int64_t bench_frame_utc_us(uint64_t n);
void bench_label(unsigned label, char out[FRAME_LABEL_MAX + 1]);

/* ---- store_tools.c ---- */

int64_t bench_now_us(void); /* monotonic */
double bench_median(const double *values, size_t count);
double bench_greatest(const double *values, size_t count);

/* A new directory below options->dir; bench_dir_remove takes it away with all it holds. */
int bench_dir_make(const struct bench_options *options, char out[BENCH_PATH_MAX], struct err *err);
void bench_dir_remove(const char *dir);
uint64_t bench_file_bytes(const char *dir, const char *name); /* 0 when it is not there */
double bench_memory_mib(const char *what); /* of this process: "VmRSS", "VmHWM", "RssAnon" */

/* Runs `run` in a child of its own, so that its memory and its death are its own. `shared` is
 * memory that both see (bench_shared). Its error is printed by the child. */
typedef int bench_child_fn(void *shared, struct err *err);
int bench_child(bench_child_fn *run, void *shared, struct err *err);
/* The same, but killed (SIGKILL) as soon as `*count` reaches `enough`. */
int bench_child_killed(bench_child_fn *run, void *shared, const atomic_uint_fast64_t *count,
                       uint64_t enough, struct err *err);
void *bench_shared(size_t size); /* zeroed; NULL when there is none */
void bench_shared_drop(void *shared, size_t size);

/* ---- the peer that keeps rows beside its files ---- */

enum bench_rows {
    BENCH_ROWS_NORMAL, /* synchronous=NORMAL: a power cut takes the last rows */
    BENCH_ROWS_DURABLE /* synchronous=FULL: a row is durable when bench_peer_put returns 0 */
};

struct bench_peer;
int bench_peer_open(const char *dir, enum bench_rows rows, struct bench_peer **out,
                    struct err *err);
/* The frame with its detections at or above BENCH_INDEX_FLOOR, in one transaction. */
int bench_peer_put(struct bench_peer *peer, const struct frame_record *record, const char *path,
                   struct err *err);
void bench_peer_close(struct bench_peer *peer); /* NULL accepted */

#endif
