/* Invariants
 * 1. A request is suspended before it is in the queue, and is resumed once, by the thread that took
 * it out; microhttpd does not end a suspended connection, so the request lives until then. What the
 * work wrote is seen by the handler: resuming takes and gives microhttpd's lock.
 * 2. `inside` is counted before the request sleeps: a queue that is not closed has room for it.
 */
#include "webui/aside.h"
#include "daemon/base/mem.h"
#include "webui/http.h"
#include "webui/state.h"

static const struct {
    size_t threads, bound;
} kinds[ASIDE_KINDS] = {
    [ASIDE_PASSWORD] = {1, 16}, /* each takes 16 MiB and a core */
    [ASIDE_LINK] = {WEBUI__ASIDE_THREADS, 64},
};

struct seat {
    struct webui *webui;
    struct webui__aside *aside;
};

static void *aside_main(void *arg) {
    struct seat seat = *(struct seat *)arg;
    mem_free_at(&arg);
    for (struct webui__request *request; (request = queue_get(seat.aside->queue, -1));) {
        struct webui__errand *errand = &request->errand;
        errand->left = atomic_load(&seat.webui->closing);
        if (!errand->left) {
            errand->work(seat.webui, errand->ctx);
        }
        atomic_fetch_sub(&seat.aside->inside, 1);
        MHD_resume_connection(request->connection);
    }
    return NULL;
}

static int thread_start(struct webui *webui, struct webui__aside *aside, struct err *err) {
    struct seat *seat = mem_alloc(sizeof(*seat));
    if (!seat) {
        return err_set(err, ERR_NOMEM, "out of memory for the web server");
    }
    *seat = (struct seat){webui, aside};
    int code = pthread_create(&aside->threads[aside->thread_count], NULL, aside_main, seat);
    if (code) {
        mem_free_at(&seat);
        return err_sys(err, code, "cannot start a thread of the web server");
    }
    aside->thread_count++;
    return 0;
}

int webui__aside_start(struct webui *webui, struct err *err) {
    for (size_t kind = 0; kind < ASIDE_KINDS; kind++) {
        struct webui__aside *aside = &webui->aside[kind];
        aside->bound = kinds[kind].bound;
        aside->queue = queue_create(aside->bound);
        int code = aside->queue ? 0 : err_set(err, ERR_NOMEM, "out of memory for the web server");
        while (!code && aside->thread_count < kinds[kind].threads) {
            code = thread_start(webui, aside, err);
        }
        if (code) {
            return code;
        }
    }
    return 0;
}

void webui__aside_stop(struct webui *webui) {
    for (size_t kind = 0; kind < ASIDE_KINDS; kind++) {
        if (webui->aside[kind].queue) {
            queue_close(webui->aside[kind].queue);
        }
    }
    for (size_t kind = 0; kind < ASIDE_KINDS; kind++) {
        struct webui__aside *aside = &webui->aside[kind];
        while (aside->thread_count) {
            pthread_join(aside->threads[--aside->thread_count], NULL);
        }
        queue_destroy(TAKE_PTR(aside->queue));
    }
}

void webui__errand_finish(struct webui__errand *errand) {
    if (errand->work) {
        errand->destroy(errand->ctx);
    }
    *errand = (struct webui__errand){0};
}

void *webui__aside_result(struct webui__request *request) {
    return request->errand.ctx;
}

void webui__aside_put(struct webui__request *request, enum webui__aside_kind kind,
                      webui__work_fn *work, void *ctx, void (*destroy)(void *ctx)) {
    struct webui__aside *aside = &request->webui->aside[kind];
    request->errand = (struct webui__errand){.work = work, .ctx = ctx, .destroy = destroy};
    if (atomic_fetch_add(&aside->inside, 1) >= aside->bound) {
        atomic_fetch_sub(&aside->inside, 1);
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE,
                             "too many wait for this already: try again in a moment");
        return;
    }
    request->parked = true;
    MHD_suspend_connection(request->connection);
    if (!queue_try_put(aside->queue, request)) { /* creel stops */
        request->errand.left = true;
        atomic_fetch_sub(&aside->inside, 1);
        MHD_resume_connection(request->connection);
    }
}
