/* sync_bench: what the parts of the sync's benchmark share.
 *
 * Each contestant uploads the same frames to the same server in a process of its own, so that its
 * time, its CPU and its memory are its own: creel from its store, the others from files. It is no
 * test: it passes no judgement. Thread: main only, unless said.
 */
#ifndef CREEL_TESTS_BENCH_SYNC_BENCH_H
#define CREEL_TESTS_BENCH_SYNC_BENCH_H

#include "daemon/base/err.h"
#include "sync/sync.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_PATH_MAX 512

struct bench_server {          /* where a contestant sends to */
    enum sync_kind kind;       /* SYNC_AZURE, SYNC_S3 */
    char url[160];             /* azure: with the account */
    const char *account, *key; /* s3: access and secret key */
    char bucket[64];           /* or container */
};

struct bench_work {
    char store[BENCH_PATH_MAX]; /* creel's */
    char files[BENCH_PATH_MAX]; /* the others' */
    uint64_t frames;
    size_t bytes; /* of each */
};

struct bench_result { /* shared between processes */
    double wall_s, cpu_s, memory_mib;
    uint64_t objects, requests;
    unsigned widest; /* most connections at once, as the sink saw it; 0: not known */
    char note[120];
};

/* ---- sync_sink.c ---- */

struct bench_sink {
    atomic_uint_fast64_t requests, bytes;
    atomic_uint connections, widest;
};

/* Accepts every PUT after `delay_ms`, reads it and throws it away; confirms the checksums that came
 * along. Never returns. */
void bench_sink_run(int listener, int delay_ms, struct bench_sink *sink);
/* In a child of its own; `*pid` is its process, which dies with this one. */
int bench_sink_start(int delay_ms, struct bench_sink *sink, int *port, pid_t *pid, struct err *err);

/* ---- the contestants: they fill `out` in the child that runs them ---- */

/* A bare loop over libcurl: reads a file, hashes it, signs, PUTs; `transfers` at once. */
int bench_bare(const struct bench_work *work, const struct bench_server *server, unsigned transfers,
               struct bench_result *out, struct err *err);

int bench_rclone(const struct bench_work *work, const struct bench_server *server,
                 unsigned transfers, bool checks, struct bench_result *out, struct err *err);

/* `transfers` 0: auto. `seconds` 0: until all is done, else stops after so long. */
int bench_creel(const struct bench_work *work, const struct bench_server *server,
                unsigned transfers, double seconds, struct bench_result *out, struct err *err);

/* ---- sync_work.c ---- */

/* Makes store and files of it; everything is queued for the remote "bench". With `receipts` all of
 * it is confirmed already. */
int bench_work_make(const struct bench_work *work, const struct bench_server *server, bool files,
                    bool receipts, struct err *err);
/* How long starting takes when there is nothing to do, and what it costs in the next second. */
int bench_idle(const struct bench_work *work, const struct bench_server *server,
               struct bench_result *out, struct err *err);
void bench_remote(const struct bench_server *server, struct sync_config *out);

/* ---- sync_main.c ---- */

double bench_clock_s(void);    /* monotonic */
double bench_cpu_s(void);      /* of this process */
double bench_memory_mib(void); /* the most it has been since bench_memory_reset */
void bench_memory_reset(void);

#endif
