#include "webui/watch.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How many times timeout_s a phase may take. */
static const int rounds[WATCH_PHASES] = {[WATCH_HEAD] = 2, [WATCH_BODY] = 8, [WATCH_TOLD] = 0};

void webui__watches_init(struct webui__watches *watches, size_t room, int timeout_s) {
    *watches = (struct webui__watches){.room = room, .timeout_s = timeout_s};
    pthread_mutex_init(&watches->lock, NULL);
    for (size_t i = 0; i < WATCH_PHASES; i++) {
        watches->heads[i].next = watches->heads[i].prev = &watches->heads[i];
    }
}

void webui__watches_finish(struct webui__watches *watches) {
    pthread_mutex_destroy(&watches->lock);
}

/* ---- under the lock ---- */

static void take_out(struct webui__watch *watch) {
    watch->prev->next = watch->next;
    watch->next->prev = watch->prev;
}

static void put_last(struct webui__watches *watches, struct webui__watch *watch,
                     enum webui__phase phase) {
    struct webui__watch *head = &watches->heads[phase];
    watch->phase = phase;
    watch->prev = head->prev;
    watch->next = head;
    watch->prev->next = head->prev = watch;
    watch->deadline_boot_us =
        rounds[phase] ? clock_boot_us() + (int64_t)watches->timeout_s * rounds[phase] * 1000000 : 0;
}

/* microhttpd sees the end and closes; until then it is counted, and keeps its place in no row. */
static void end(struct webui__watch *watch) {
    shutdown(watch->fd, SHUT_RDWR);
    watch->fd = -1;
    watch->deadline_boot_us = 0;
    take_out(watch);
    watch->next = watch->prev = watch;
}

static void push_out(struct webui__watches *watches) {
    for (enum webui__phase phase = WATCH_HEAD; phase < WATCH_TOLD; phase++) {
        struct webui__watch *first = watches->heads[phase].next;
        if (first != &watches->heads[phase]) {
            end(first);
            atomic_fetch_add(&watches->pushed_out, 1);
            return;
        }
    }
}

/* ---- a connection's way ---- */

struct webui__watch *webui__watch_enter(struct webui__watches *watches, int fd) {
    struct webui__watch *watch = mem_alloc(sizeof(*watch));
    if (!watch) {
        return NULL;
    }
    watch->fd = fd;
    pthread_mutex_lock(&watches->lock);
    if (++watches->count > watches->room) {
        push_out(watches);
    }
    put_last(watches, watch, WATCH_HEAD);
    pthread_mutex_unlock(&watches->lock);
    return watch;
}

void webui__watch_move(struct webui__watches *watches, struct webui__watch *watch,
                       enum webui__phase phase) {
    if (!watch) {
        return;
    }
    pthread_mutex_lock(&watches->lock);
    if (watch->fd >= 0) {
        take_out(watch);
        put_last(watches, watch, phase);
    }
    pthread_mutex_unlock(&watches->lock);
}

void webui__watch_leave(struct webui__watches *watches, struct webui__watch *watch) {
    if (!watch) {
        return;
    }
    pthread_mutex_lock(&watches->lock);
    take_out(watch);
    watches->count--;
    pthread_mutex_unlock(&watches->lock);
    free(watch);
}

/* A ring's deadlines only grow, since all in it have the same time. */
void webui__watches_sweep(struct webui__watches *watches) {
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&watches->lock);
    for (enum webui__phase phase = WATCH_HEAD; phase < WATCH_TOLD; phase++) {
        struct webui__watch *head = &watches->heads[phase];
        while (head->next != head && head->next->deadline_boot_us < now) {
            end(head->next);
            atomic_fetch_add(&watches->cut, 1);
        }
    }
    pthread_mutex_unlock(&watches->lock);
}
