/* state: the inside of `struct webui`: what all its handlers reach.
 *
 * Thread: the fields that change are atomic or have a lock of their own; the rest is fixed at
 * start.
 */
#ifndef CREEL_WEBUI_STATE_H
#define CREEL_WEBUI_STATE_H

#include "daemon/base/queue.h"
#include "webui/access.h"
#include "webui/http.h"
#include "webui/removal.h"
#include "webui/share.h"
#include "webui/webui.h"
#include <pthread.h>
#include <stdatomic.h>

#define WEBUI__WEB_THREADS    4
#define WEBUI__INGEST_THREADS 2
#define WEBUI__READERS_MAX    (WEBUI__WEB_THREADS + WEBUI__INGEST_THREADS)
#define WEBUI__CONNECTIONS    512 /* of each server */

/* Readers of the store, opened when first needed; one for each thread that could want one. */
struct webui__readers {
    pthread_mutex_t lock;
    struct store_reader *idle[WEBUI__READERS_MAX];
    size_t idle_count;
};

/* The names for the gallery's filters, asked of the store at most every few seconds. */
struct webui__names {
    pthread_mutex_t lock;
    char **cameras, **labels, **rules; /* owned: a block each */
    int64_t read_boot_us;
};

/* Tickets of callers that wait for their frame's verdict (ticket.c). */
struct webui__waiting {
    pthread_mutex_t lock;
    struct webui__ticket *first;
    bool closed;
};

/* The thread that draws (paint.c), where hooks.draw is given. */
struct webui__paint {
    struct queue *queue;
    pthread_t thread;
    bool running;
};

/* Who follows the live view (live.c). */
#define WEBUI__VIEWERS 16
struct webui__viewers {
    pthread_mutex_t lock;
    struct webui__viewer *first;
    size_t count;
    bool closed;
};

/* A part of a page as it was last made. */
struct webui__made {
    pthread_mutex_t lock;
    struct buf text;
    int64_t made_boot_us;
};

struct webui__score_counts {
    atomic_ullong frames, found, empty, failed, waiting;
};

struct webui {
    struct store *store;
    struct webui_hooks hooks;
    uint8_t link_key[32];
    int link_ttl_s;
    double score_threshold;
    char
        ingest_shown[300]; /* "127.0.0.1:8081", for the page of an empty store; "": not listening */
    struct webui__server web, ingest;
    struct webui__access access;
    struct webui__shares shares;
    struct webui__removals removals;
    struct webui__readers readers;
    struct webui__names names;
    struct webui__waiting waiting;
    struct webui__viewers viewers;
    struct webui__made charts, expiry; /* chart.c, expiry.c */
    char *alerts;                      /* owned; "person,dog" */
    char *policy;                      /* owned; the Content-Security-Policy */
    struct webui__paint paint;
    struct webui__aside aside[ASIDE_KINDS];
    struct webui__score_counts scored;
    atomic_uint exports;      /* data sets that are being sent */
    atomic_ullong body_bytes; /* reserved, of WEBUI__BODIES_MAX */
    atomic_bool closing;
    pthread_t sweeper;
    bool sweeping;
    pthread_mutex_t sweep_lock;
    pthread_cond_t sweep_wake;
    bool sweep_stop;
};

/* readers.c. Never waits for another reader: there are as many as threads. */
int webui__reader_take(struct webui *webui, struct store_reader **out, struct err *err);
void webui__reader_give(struct webui *webui, struct store_reader *reader);
void webui__readers_finish(struct webui *webui);

/* Whole reads through a borrowed reader, so that no read outlives the call. */
int webui__page_read(struct webui *webui, const struct store_filter *filter,
                     const struct store_cursor *after, size_t limit, struct store_page **out,
                     struct err *err);
int webui__counts_read(struct webui *webui, struct store_counts *out, struct err *err);

/* NULL-terminated arrays. */
struct webui__names_now {
    char *const *cameras, *const *labels, *const *rules;
};
/* Calls `use` with the cached names, under the cache's lock. */
void webui__names_use(struct webui *webui,
                      void (*use)(void *ctx, const struct webui__names_now *names), void *ctx);

/* ticket.c: answers overdue callers; with `closing`, all of them, and no more may wait. */
void webui__waiting_sweep(struct webui *webui, bool closing);

/* live.c: has the viewers' next event made; with `closing`, their streams end and no more begin. */
void webui__viewers_sweep(struct webui *webui, bool closing);

/* The route tables. */
extern const struct webui__route webui__web_routes[], webui__ingest_routes[];
extern const size_t webui__web_route_count, webui__ingest_route_count;

#endif
