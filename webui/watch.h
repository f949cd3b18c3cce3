/* watch: the connections of one server: how long each may take, and who goes when they are too
 * many.
 *
 * microhttpd ends a connection that is silent for timeout_s. What dribbles is ended here, by its
 * deadline. And when the server is nearly full, a newcomer takes the place of the connection that
 * has been longest where the crowd is: among those that have not sent a whole head (idle ones, slow
 * ones, a browser's spare ones, which it opens again), or, where these are more, among those that
 * are sending a body; so that a crowd of either kind ends its own, not who has just come. Whoever
 * waits for an answer is left alone. Thread: any; a lock of its own.
 */
#ifndef CREEL_WEBUI_WATCH_H
#define CREEL_WEBUI_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum webui__phase {
    WATCH_HEAD, /* nothing, or a part of a request's head, is here */
    WATCH_BODY, /* the head is */
    WATCH_TOLD, /* all of it is: the answer is made, waits, or goes out */
    WATCH_PHASES
};

struct webui__watch {
    struct webui__watch *prev, *next;
    int fd; /* -1: ended by us */
    enum webui__phase phase;
    int64_t deadline_boot_us; /* 0: none; microhttpd's own limit still holds */
};

struct webui__watches {
    pthread_mutex_t lock;
    struct webui__watch heads[WATCH_PHASES]; /* rings, the longest there first */
    size_t waiting[WATCH_PHASES];            /* in each ring */
    size_t count, room;                      /* with more than `room` of them somebody goes */
    int timeout_s;
    atomic_ullong cut, pushed_out; /* ended for being slow; for being idle when others came */
};

void webui__watches_init(struct webui__watches *watches, size_t room, int timeout_s);
void webui__watches_finish(struct webui__watches *watches);

/* NULL: no memory, the connection is not watched. `watch` is freed by leave; NULL is accepted. */
struct webui__watch *webui__watch_enter(struct webui__watches *watches, int fd);
void webui__watch_move(struct webui__watches *watches, struct webui__watch *watch,
                       enum webui__phase phase);
void webui__watch_leave(struct webui__watches *watches, struct webui__watch *watch);

/* Ends the connections whose deadline is past. */
void webui__watches_sweep(struct webui__watches *watches);

#endif
