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

static void take_out(struct webui__watches *watches, struct webui__watch *watch) {
    watches->waiting[watch->phase] -= watch->fd >= 0; /* one that was ended is in no ring */
    watch->prev->next = watch->next;
    watch->next->prev = watch->prev;
}

static void put_last(struct webui__watches *watches, struct webui__watch *watch,
                     enum webui__phase phase) {
    struct webui__watch *head = &watches->heads[phase];
    watch->phase = phase;
    watches->waiting[phase]++;
    watch->prev = head->prev;
    watch->next = head;
    watch->prev->next = head->prev = watch;
    watch->deadline_boot_us =
        rounds[phase] ? clock_boot_us() + (int64_t)watches->timeout_s * rounds[phase] * 1000000 : 0;
}

/* microhttpd sees the end and closes; until then it is counted, and keeps its place in no row. */
static void end(struct webui__watches *watches, struct webui__watch *watch) {
    shutdown(watch->fd, SHUT_RDWR);
    take_out(watches, watch);
    watch->fd = -1;
    watch->deadline_boot_us = 0;
    watch->next = watch->prev = watch;
}

/* Without those that were ended, and leave as soon as microhttpd comes to them. */
static size_t live(const struct webui__watches *watches) {
    size_t sum = 0;
    for (size_t i = 0; i < WATCH_PHASES; i++) {
        sum += watches->waiting[i];
    }
    return sum;
}

static void push_out(struct webui__watches *watches) {
    const size_t *waiting = watches->waiting;
    enum webui__phase crowd = waiting[WATCH_BODY] > waiting[WATCH_HEAD] ? WATCH_BODY : WATCH_HEAD;
    if (waiting[crowd]) {
        end(watches, watches->heads[crowd].next);
        atomic_fetch_add(&watches->pushed_out, 1);
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
    watches->count++;
    if (live(watches) >= watches->room) {
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
        take_out(watches, watch);
        put_last(watches, watch, phase);
    }
    pthread_mutex_unlock(&watches->lock);
}

void webui__watch_leave(struct webui__watches *watches, struct webui__watch *watch) {
    if (!watch) {
        return;
    }
    pthread_mutex_lock(&watches->lock);
    take_out(watches, watch);
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
            end(watches, head->next);
            atomic_fetch_add(&watches->cut, 1);
        }
    }
    pthread_mutex_unlock(&watches->lock);
}
