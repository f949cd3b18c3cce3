/* aside: what takes a moment (a password's hash, a link that the cloud is asked about), done on a
 * thread of its own while its request sleeps and the web's threads serve others.
 *
 * A handler is called twice: first it puts the errand, then, woken, it finds what came of it. Each
 * kind has its own threads and its own bounded row, so that a cloud that does not answer keeps
 * nobody from logging in. Life cycle: webui__aside_start -> webui__aside_put -> webui__aside_stop,
 * which lets those that wait go with 503. Thread: put from any of the web's.
 */
#ifndef CREEL_WEBUI_ASIDE_H
#define CREEL_WEBUI_ASIDE_H

#include "daemon/base/err.h"
#include "daemon/base/queue.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct webui;
struct webui__request;

enum webui__aside_kind { ASIDE_PASSWORD, ASIDE_LINK, ASIDE_KINDS };
#define WEBUI__ASIDE_THREADS 3

struct webui__aside {
    struct queue *queue; /* of requests that sleep */
    size_t bound;
    atomic_size_t inside; /* those in the queue and those being worked for */
    pthread_t threads[WEBUI__ASIDE_THREADS];
    size_t thread_count;
};

typedef void webui__work_fn(struct webui *webui, void *ctx);

/* What a request waits for; part of it. */
struct webui__errand {
    webui__work_fn *work; /* NULL: nothing was put */
    void *ctx;            /* owned */
    void (*destroy)(void *ctx);
    bool left; /* creel stops: the work was not done */
};

int webui__aside_start(struct webui *webui, struct err *err);
void webui__aside_stop(struct webui *webui);

/* Has `work` done on `ctx`, which is moved in, and the handler called again; or answers 503. */
void webui__aside_put(struct webui__request *request, enum webui__aside_kind kind,
                      webui__work_fn *work, void *ctx, void (*destroy)(void *ctx));
/* NULL: nothing was put yet. */
void *webui__aside_result(struct webui__request *request);
void webui__errand_finish(struct webui__errand *errand);

#endif
