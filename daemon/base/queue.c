/* queue: a ring of pointers under one mutex, two conditions (room, items) on CLOCK_MONOTONIC. */
#include "daemon/base/queue.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t room, items;
    size_t bound, first, length;
    uint64_t weight_bound, weight; /* of the items in it */
    uint64_t (*weigh)(const void *item);
    bool closed;
    void *ring[];
};

static uint64_t weight_of_none(const void *item) {
    (void)item;
    return 0;
}

struct queue *queue_create(size_t bound) {
    return queue_create_weighed(bound, 0, weight_of_none);
}

struct queue *queue_create_weighed(size_t bound, uint64_t weight_bound,
                                   uint64_t (*weight)(const void *item)) {
    struct queue *queue = NULL;
    size_t bytes;
    if (bound == 0 || __builtin_mul_overflow(bound, sizeof(void *), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(*queue), &bytes)) {
        return NULL;
    }
    queue = mem_alloc(bytes);
    if (!queue) {
        return NULL;
    }
    queue->bound = bound;
    queue->weight_bound = weight_bound;
    queue->weigh = weight;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->room, &monotonic);
    pthread_cond_init(&queue->items, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return queue;
}

void queue_destroy(struct queue *queue) {
    if (!queue) {
        return;
    }
    pthread_cond_destroy(&queue->items);
    pthread_cond_destroy(&queue->room);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

void queue_close(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->room);
    pthread_cond_broadcast(&queue->items);
    pthread_mutex_unlock(&queue->lock);
}

static bool has_room(const struct queue *queue, const void *item) {
    uint64_t sum;
    return queue->length == 0 ||
           (queue->length < queue->bound &&
            !__builtin_add_overflow(queue->weight, queue->weigh(item), &sum) &&
            sum <= queue->weight_bound);
}

static void push(struct queue *queue, void *item) {
    queue->ring[(queue->first + queue->length) % queue->bound] = item;
    queue->length++;
    queue->weight += queue->weigh(item);
    pthread_cond_signal(&queue->items);
}

static void *pop(struct queue *queue) {
    void *item = queue->ring[queue->first];
    queue->first = (queue->first + 1) % queue->bound;
    queue->length--;
    queue->weight -= queue->weigh(item);
    if (queue->weight_bound > 0) {
        pthread_cond_broadcast(&queue->room); /* a light item may fit where a heavy one waits */
    } else {
        pthread_cond_signal(&queue->room);
    }
    return item;
}

bool queue_put(struct queue *queue, void *item) {
    pthread_mutex_lock(&queue->lock);
    while (!queue->closed && !has_room(queue, item)) {
        pthread_cond_wait(&queue->room, &queue->lock);
    }
    bool taken = !queue->closed;
    if (taken) {
        push(queue, item);
    }
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

bool queue_try_put(struct queue *queue, void *item) {
    pthread_mutex_lock(&queue->lock);
    bool taken = !queue->closed && has_room(queue, item);
    if (taken) {
        push(queue, item);
    }
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

/* Takes the oldest item that may be dropped out of a full ring, closing the gap towards the end. */
static void *take_droppable(struct queue *queue, bool (*may_drop)(const void *item)) {
    for (size_t i = 0; i < queue->length; i++) {
        void *item = queue->ring[(queue->first + i) % queue->bound];
        if (!may_drop(item)) {
            continue;
        }
        for (size_t j = i; j + 1 < queue->length; j++) {
            queue->ring[(queue->first + j) % queue->bound] =
                queue->ring[(queue->first + j + 1) % queue->bound];
        }
        queue->length--;
        queue->weight -= queue->weigh(item);
        return item;
    }
    return NULL;
}

bool queue_put_dropping(struct queue *queue, void *item, bool (*may_drop)(const void *item),
                        void **dropped) {
    *dropped = NULL;
    pthread_mutex_lock(&queue->lock);
    bool room = !queue->closed && has_room(queue, item);
    if (!queue->closed && !room) {
        *dropped = take_droppable(queue, may_drop);
        room = *dropped != NULL && has_room(queue, item);
    }
    if (room) {
        push(queue, item);
    }
    pthread_mutex_unlock(&queue->lock);
    return room;
}

static struct timespec deadline_in(int timeout_ms) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

void *queue_get(struct queue *queue, int timeout_ms) {
    struct timespec deadline = deadline_in(timeout_ms < 0 ? 0 : timeout_ms);
    pthread_mutex_lock(&queue->lock);
    int waited = 0;
    while (!queue->closed && queue->length == 0 && waited != ETIMEDOUT) {
        waited = timeout_ms < 0 ? pthread_cond_wait(&queue->items, &queue->lock)
                                : pthread_cond_timedwait(&queue->items, &queue->lock, &deadline);
    }
    void *item = queue->length ? pop(queue) : NULL;
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void *queue_try_get(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    void *item = queue->length ? pop(queue) : NULL;
    pthread_mutex_unlock(&queue->lock);
    return item;
}

size_t queue_length(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    size_t length = queue->length;
    pthread_mutex_unlock(&queue->lock);
    return length;
}

size_t queue_bound(const struct queue *queue) {
    return queue->bound;
}
