/* writer: the queue before the writer thread, and its loop. hasher.c runs ahead in the queue,
 * group.c writes, retain.c removes.
 *
 * Invariants:
 *   1. The queue holds at most STORE_QUEUE_MAX requests and STORE_QUEUE_BYTES_MAX bytes (one larger
 * frame may wait alone); callers wait outside the lock's critical work, on `queue_shrank`.
 *   2. Requests are done in the order they came; a flush is done when all before it are.
 *   3. Each request is finished exactly once: acknowledged (PUT) or marked done (others).
 * A group is what has gathered while the group before was made durable: waiting for more is only
 * worth it when frames come in parallel, so group_wait_ms applies only after a group of more than
 * one.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "store/store_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_US 1000000 /* upkeep runs at least so often */

int64_t store__monotonic_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool store__wait_until(struct store *store, pthread_cond_t *condition, int64_t deadline_us) {
    struct timespec deadline = {.tv_sec = deadline_us / 1000000,
                                .tv_nsec = deadline_us % 1000000 * 1000};
    return pthread_cond_timedwait(condition, &store->lock, &deadline) != ETIMEDOUT;
}

/* ---- callers' side ---- */

static uint64_t request_bytes(const struct request *request) {
    return request->kind == REQUEST_PUT
               ? request->frame.record.blob_bytes + request->frame.thumb_bytes
               : 0;
}

static bool has_room(const struct store *store, uint64_t bytes) {
    return store->queued == 0 || (store->queued < STORE_QUEUE_MAX &&
                                  store->queued_bytes + bytes <= STORE_QUEUE_BYTES_MAX);
}

/* Called with the lock; waits for room. */
static int enqueue(struct store *store, struct request *request, struct err *err) {
    uint64_t bytes = request_bytes(request);
    while (!store->closing && !has_room(store, bytes)) {
        pthread_cond_wait(&store->queue_shrank, &store->lock);
    }
    if (store->closing) {
        return err_set(err, ERR_CLOSED, "the store is closing");
    }
    request->next = NULL;
    request->done = false;
    *store->last = request;
    store->last = &request->next;
    store->queued++;
    store->queued_bytes += bytes;
    pthread_cond_signal(store->writer_busy ? &store->hash_wanted : &store->queue_grew);
    return 0;
}

static bool record_valid(const struct store_frame *frame) {
    const struct frame_record *record = &frame->record;
    return (unsigned)record->tier < TIER_COUNT && record->blob_bytes > 0 &&
           record->blob_bytes <= FRAME_BLOB_MAX && frame->blob &&
           record->detection_count <= FRAME_DETECTIONS_MAX &&
           (record->detections || !record->detection_count) &&
           frame->thumb_bytes <= FRAME_THUMB_MAX && (frame->thumb || !frame->thumb_bytes) &&
           (unsigned)record->media <= MEDIA_PNG;
}

int store_put(struct store *store, struct store_frame *frame, struct err *err) {
    if (!record_valid(frame)) {
        return err_set(err, ERR_INVALID,
                       "a frame of tier %u with %llu bytes, %zu detections and a thumbnail of %zu "
                       "bytes is out of bounds",
                       (unsigned)frame->record.tier, (unsigned long long)frame->record.blob_bytes,
                       frame->record.detection_count, frame->thumb_bytes);
    }
    CLEANUP(mem_free_at) struct request *request = mem_alloc(sizeof(*request));
    if (!request) {
        return err_set(err, ERR_NOMEM, "no memory to hand a frame to the writer");
    }
    request->kind = REQUEST_PUT;
    request->frame = *frame;
    pthread_mutex_lock(&store->lock);
    int code = enqueue(store, request, err);
    store->stats.puts += !code;
    pthread_mutex_unlock(&store->lock);
    if (code) {
        return code;
    }
    TAKE_PTR(request);
    frame->record.detections = NULL;
    frame->blob = frame->thumb = NULL;
    return 0;
}

int store__request_wait(struct store *store, struct request *request, struct err *err) {
    pthread_mutex_lock(&store->lock);
    int code = enqueue(store, request, err);
    while (!code && !request->done) {
        pthread_cond_wait(&store->finished, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    if (!code && request->code && err) {
        *err = request->err;
    }
    return code ? code : request->code;
}

int store__meta_put(struct store *store, const struct record *records, size_t count,
                    struct err *err) {
    struct request request = {.kind = REQUEST_META, .records = records, .record_count = count};
    int code = store__request_wait(store, &request, err);
    if (!code) {
        store__lag_settle(store, request.lsn);
    }
    return code;
}

int store__writer_call(struct store *store, int (*call)(struct store *, void *, struct err *),
                       void *arg, struct err *err) {
    struct request request = {.kind = REQUEST_CALL, .call = call, .arg = arg};
    int code = store__request_wait(store, &request, err);
    if (!code) {
        store__lag_settle(store, request.lsn);
    }
    return code;
}

int store_flush(struct store *store, struct err *err) {
    struct request request = {.kind = REQUEST_FLUSH};
    int code = store__request_wait(store, &request, err);
    if (!code && !store__indexer_wait(store, request.lsn, -1)) {
        code = err_set(err, ERR_CLOSED, "the index does not follow any more");
    }
    return code;
}

/* ---- the writer's side ---- */

static void put_finish(struct store *store, struct request *request) {
    struct store_frame *frame = &request->frame;
    struct store_ack ack = {.code = request->code,
                            .id = frame->record.id,
                            .seq = request->seq,
                            .blob = frame->record.blob,
                            .duplicate = request->duplicate};
    if (request->code) {
        ack.err = request->err;
    }
    pthread_mutex_lock(&store->lock);
    store->stats.acked += !request->code;
    store->stats.failed += request->code != 0;
    store->stats.duplicates += !request->code && request->duplicate;
    store->stats.refused_full += request->code == ERR_FULL;
    pthread_mutex_unlock(&store->lock);
    if (frame->on_ack) {
        frame->on_ack(frame->ctx, &ack);
    }
    free(frame->record.detections);
    free(frame->blob);
    free(frame->thumb);
    free(request);
}

void store__request_finish(struct store *store, struct request *request) {
    if (request->kind == REQUEST_PUT) {
        put_finish(store, request);
        return;
    }
    pthread_mutex_lock(&store->lock);
    request->done = true;
    pthread_cond_broadcast(&store->finished);
    pthread_mutex_unlock(&store->lock);
}

/* Waits for the first request, and a little for more where that paid last time. */
static void gather(struct store *store, int64_t wait_us) {
    int64_t deadline = store__monotonic_us() + wait_us;
    while (!store->first && !store->closing && !store->upkeep_wanted &&
           store__wait_until(store, &store->queue_grew, deadline)) {
    }
    int64_t patience = (int64_t)store->config.group_wait_ms * 1000;
    if (!store->first || !patience || store->writer.last_group < 2) {
        return;
    }
    deadline = store__monotonic_us() + patience;
    while (store->queued < store->config.group_frames && !store->closing &&
           store__wait_until(store, &store->queue_grew, deadline)) {
    }
}

/* Up to a group of requests, as a list; NULL after wait_us, or when closing and empty (`*over`). */
static struct request *take(struct store *store, int64_t wait_us, bool *over) {
    pthread_mutex_lock(&store->lock);
    store->writer_busy = false;
    gather(store, wait_us);
    struct request *list = store->first, **end = &store->first;
    uint64_t bytes = 0;
    size_t count = 0;
    while (*end && count < store->config.group_frames && bytes < STORE_GROUP_BYTES_MAX) {
        bytes += request_bytes(*end);
        count++;
        end = &(*end)->next;
    }
    store->first = *end;
    *end = NULL;
    if (!store->first) {
        store->last = &store->first;
    }
    store->queued -= count;
    store->queued_bytes -= bytes;
    *over = !list && store->closing;
    store->writer_busy = true;
    if (count) {
        pthread_cond_broadcast(&store->queue_shrank);
    }
    pthread_mutex_unlock(&store->lock);
    store->writer.last_group = count;
    return count ? list : NULL;
}

static bool upkeep_due(struct store *store) {
    pthread_mutex_lock(&store->lock);
    bool wanted = store->upkeep_wanted;
    store->upkeep_wanted = false;
    pthread_mutex_unlock(&store->lock);
    return wanted || store->writer.upkeep_more ||
           clock_boot_us() - store->writer.upkeep_boot_us >= TICK_US;
}

static void *run(void *arg) {
    struct store *store = arg;
    struct writer *writer = &store->writer;
    store__retain_reserve(store);
    for (bool over = false; !over;) {
        int64_t now = clock_boot_us();
        int64_t wait = writer->upkeep_more ? 0 : writer->upkeep_boot_us + TICK_US - now;
        struct request *list = take(store, wait > 0 ? wait : 0, &over);
        if (list) {
            store__lag_pace(store);
            store__group_run(store, list);
        }
        if (upkeep_due(store)) {
            store__retain_upkeep(store);
        } else {
            store__clock_repair(store);
        }
    }
    store__clock_repair(store);
    store__retain_finish(store);
    return NULL;
}

int store__writer_start(struct store *store, struct err *err) {
    int code = store__hasher_start(store, err);
    if (code) {
        return code;
    }
    int failed = pthread_create(&store->writer_thread, NULL, run, store);
    if (failed) {
        return err_sys(err, failed, "cannot start the writer thread");
    }
    store->writer_started = true;
    return 0;
}

void store__writer_stop(struct store *store) {
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_broadcast(&store->queue_grew);
    pthread_cond_broadcast(&store->queue_shrank);
    pthread_mutex_unlock(&store->lock);
    if (store->writer_started) {
        pthread_join(store->writer_thread, NULL);
        store->writer_started = false;
    }
    store__hasher_stop(store);
}
