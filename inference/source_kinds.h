/* source_kinds: what the kinds of sources share with their front. Private to this folder.
 *
 * The front (source.c) finds the kind by the URI's scheme, owns the thread, the counters and the
 * wake-up; a kind is one `struct source_ops`. A new kind is a file with its table and a row in
 * source.c. Thread: `run` has the source's own thread; the functions below may be called from any.
 */
#ifndef CREEL_INFERENCE_SOURCE_KINDS_H
#define CREEL_INFERENCE_SOURCE_KINDS_H

#include "inference/source.h"
#include <pthread.h>
#include <stdatomic.h>

enum source__phase {
    SOURCE__RUN = 0,
    SOURCE__QUIESCE, /* take nothing more, finish what is on its way */
    SOURCE__STOP,    /* return from run soon */
};

struct source__host {
    struct source_config config; /* strings owned by the front */
    const char *rest;            /* the URI after its scheme */
    struct source_memory memory; /* slots are NULL where the caller gave none */
    struct source_sink sink;
    int wake_fd;          /* eventfd, non-blocking: readable after a change of phase */
    atomic_int phase;     /* enum source__phase; never goes back */
    pthread_mutex_t lock; /* guards stats */
    struct source_stats stats;
};

struct source_ops {
    const char *scheme; /* with its colon */
    const char *form;   /* for messages: how such a URI is written; NULL: as the one before */
    bool captures;      /* creel-capture opens it */
    /* Pure; ERR_CONFIG. `rest` is the URI after the scheme. */
    int (*check)(const struct source_config *config, const char *rest, struct err *err);
    /* May allocate and open, must not wait for a camera. */
    int (*open)(struct source__host *host, void **out, struct err *err);
    /* Returns soon after the phase became SOURCE__STOP; never before. */
    void (*run)(void *kind);
    void (*close)(void *kind); /* after run; NULL accepted */
};

extern const struct source_ops source__demo;
extern const struct source_ops source__directory;
#define SOURCE__STREAMS 9
extern const struct source_ops source__streams[SOURCE__STREAMS];

enum source__phase source__phase(struct source__host *host);
/* Sleeps until the boot clock shows `until_boot_us` (negative: no limit), `other_fd` (or -1) is
 * readable, or wake_fd was written, which it clears. */
void source__wait(struct source__host *host, int other_fd, int64_t until_boot_us);
/* Counts the frame and hands it to the sink. */
void source__submit(struct source__host *host, struct frame *frame);
void source__skipped(struct source__host *host);
/* Counts the fault and keeps its text for the status; logging is the kind's choice. */
void source__failed(struct source__host *host, const struct err *err);

#endif
