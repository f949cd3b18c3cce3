/* queue: a bounded queue of owned pointers between threads.
 *
 * Moves an item in (put) and out (get); never copies and never frees one. The bound is fixed at
 * create. Close wakes everybody: puts fail at once, gets drain what is left and then fail. Thread:
 * any number of putters and getters; destroy when no other thread uses it and it is empty.
 */
#ifndef CREEL_BASE_QUEUE_H
#define CREEL_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

struct queue *queue_create(size_t bound); /* NULL when memory ran out */
/* Bounded by the sum of `weight` of its items as well: an item has room where the sum stays at most
 * `weight_bound`, or the queue is empty (so that one that is heavier still passes, alone). `weight`
 * is called with the lock held and must always answer the same for an item. */
struct queue *queue_create_weighed(size_t bound, uint64_t weight_bound,
                                   uint64_t (*weight)(const void *item));
void queue_destroy(struct queue *queue);
void queue_close(struct queue *queue);

/* Waits for room; false once closed (the item stays the caller's). */
bool queue_put(struct queue *queue, void *item);
/* Never waits; false when full or closed. */
bool queue_try_put(struct queue *queue, void *item);
/* Never waits: when full, the oldest item for which `may_drop` is true makes room and is moved to
 * `*dropped` (NULL if none was needed). False when closed, or full of items that may not be
 * dropped; false with an item in `*dropped` when that one was too light: call again. */
bool queue_put_dropping(struct queue *queue, void *item, bool (*may_drop)(const void *item),
                        void **dropped);

/* Waits for an item; NULL once closed and empty, or after timeout_ms (negative: no limit). */
void *queue_get(struct queue *queue, int timeout_ms);
void *queue_try_get(struct queue *queue);

size_t queue_length(struct queue *queue);
size_t queue_bound(const struct queue *queue);

#endif
