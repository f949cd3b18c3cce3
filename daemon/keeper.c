#include "daemon/keeper.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "daemon/base/queue.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define JPEG_QUALITY 90 /* of frames that came as raw pixels */
/* Frames that wait for keeper_tick to displace them; beyond it they stay, over their budget. */
#define DISPLACED_MAX 256
/* A frame is held back so much longer than it may be displaced: it is done at the next tick. */
#define DISPLACE_GRACE_US (3 * INT64_C(1000000))

/* A frame that has to go for a better one. */
struct displaced {
    struct frame_id id;
    char camera[FRAME_NAME_MAX + 1];
    char rule[FRAME_NAME_MAX + 1]; /* of the better one */
};

struct keeper {
    struct store *store;
    struct tally *tally;
    struct queue *queue;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of what follows */
    struct displaced displaced[DISPLACED_MAX];
    size_t displaced_count;
};

struct catch {
    struct keeper *keeper;
    struct frame *frame;
};

/* ---- into the store ---- */

/* The worse frame goes once the better one is durable; not here, on the store's own thread. */
static void displace_later(struct keeper *keeper, const struct frame *better) {
    pthread_mutex_lock(&keeper->lock);
    if (better->displaces && keeper->displaced_count < DISPLACED_MAX) {
        struct displaced *worse = &keeper->displaced[keeper->displaced_count++];
        worse->id = better->displaced;
        memcpy(worse->camera, better->record.camera, sizeof(worse->camera));
        memcpy(worse->rule, better->record.rule, sizeof(worse->rule));
    }
    pthread_mutex_unlock(&keeper->lock);
}

static void acknowledged(void *ctx, const struct store_ack *ack) {
    struct catch *caught = ctx;
    if (!ack->code) {
        caught->frame->record.blob = ack->blob;
        displace_later(caught->keeper, caught->frame);
    }
    tally_settle(caught->keeper->tally, caught->frame, ack->code ? FRAME_FAILED : FRAME_KEPT,
                 ack->code ? &ack->err : NULL);
    free(caught);
}

static void put(struct keeper *keeper, struct frame *frame) {
    struct err err = {0};
    struct catch *caught = mem_alloc(sizeof(*caught));
    if (!caught) {
        err_set(&err, ERR_NOMEM, "no memory to keep a frame of %s", frame->record.camera);
        tally_settle(keeper->tally, frame, FRAME_FAILED, &err);
        return;
    }
    *caught = (struct catch){.keeper = keeper, .frame = frame};
    struct store_frame item = {.record = frame->record,
                               .blob = frame->blob,
                               .thumb = frame->thumb,
                               .thumb_bytes = frame->thumb_bytes,
                               .on_ack = acknowledged,
                               .ctx = caught};
    if (frame->due_boot_us) {
        item.hold_until_boot_us = frame->due_boot_us + DISPLACE_GRACE_US;
    }
    /* From here on the store owns the three; the acknowledgement may come before store_put returns.
     */
    frame->blob = NULL;
    frame->thumb = NULL;
    frame->record.detections = NULL;
    frame->record.detection_count = 0;
    if (store_put(keeper->store, &item, &err)) {
        free(item.blob);
        free(item.thumb);
        free(item.record.detections);
        free(caught);
        tally_settle(keeper->tally, frame, FRAME_FAILED, &err);
    }
}

static void *keeper_main(void *arg) {
    struct keeper *keeper = arg;
    for (struct frame *frame; (frame = queue_get(keeper->queue, -1));) {
        put(keeper, frame);
    }
    return NULL;
}

void keeper_take(struct keeper *keeper, struct frame *frame) {
    struct err err = {0};
    if (frame_encode(frame, JPEG_QUALITY, &err)) {
        tally_settle(keeper->tally, frame, FRAME_FAILED, &err);
    } else if (!queue_try_put(keeper->queue, frame)) {
        err_set(&err, ERR_FULL, "the store is slower than the frames worth keeping");
        tally_settle(keeper->tally, frame, FRAME_FAILED, &err);
    }
}

/* ---- out of it ---- */

/* Noted as an outcome without a picture: simulation takes it for that. */
static void note_displaced(struct keeper *keeper, const struct displaced *worse) {
    struct store_outcome outcome = {.record = {.id = worse->id, .orientation = 1},
                                    .over_budget = true};
    outcome.record.tier = TIER_NONE;
    clock_stamp_now(&outcome.record.captured);
    memcpy(outcome.record.camera, worse->camera, sizeof(worse->camera));
    memcpy(outcome.record.rule, worse->rule, sizeof(worse->rule));
    store_outcome_note(keeper->store, &outcome);
}

static bool displaced_take(struct keeper *keeper, struct displaced *out) {
    pthread_mutex_lock(&keeper->lock);
    bool any = keeper->displaced_count > 0;
    if (any) {
        *out = keeper->displaced[--keeper->displaced_count];
    }
    pthread_mutex_unlock(&keeper->lock);
    return any;
}

void keeper_tick(struct keeper *keeper) {
    struct displaced worse;
    while (displaced_take(keeper, &worse)) {
        struct err err = {0};
        bool done = false;
        int code = store_displace(keeper->store, &worse.id, &done, &err);
        if (done) {
            note_displaced(keeper, &worse);
            tally_displace(keeper->tally);
        }
        if (code && code != ERR_NOT_FOUND) {
            log_err(LOG_LEVEL_WARN, "a frame that a better one displaces stays", &err);
            return;
        }
    }
}

/* ---- life cycle ---- */

int keeper_start(struct store *store, struct tally *tally, struct keeper **out, struct err *err) {
    struct keeper *keeper = mem_alloc(sizeof(*keeper));
    struct queue *queue = keeper ? queue_create(KEEPER_QUEUE_MAX) : NULL;
    if (!queue) {
        free(keeper);
        return err_set(err, ERR_NOMEM, "no memory for what is kept");
    }
    keeper->store = store;
    keeper->tally = tally;
    keeper->queue = queue;
    pthread_mutex_init(&keeper->lock, NULL);
    int failed = pthread_create(&keeper->thread, NULL, keeper_main, keeper);
    if (failed) {
        keeper_destroy(keeper);
        return err_sys(err, failed, "cannot start a thread");
    }
    keeper->running = true;
    *out = keeper;
    return 0;
}

void keeper_drain(struct keeper *keeper) {
    queue_close(keeper->queue);
    if (keeper->running) {
        pthread_join(keeper->thread, NULL);
        keeper->running = false;
    }
}

void keeper_destroy(struct keeper *keeper) {
    if (keeper) {
        queue_destroy(keeper->queue);
        pthread_mutex_destroy(&keeper->lock);
        free(keeper);
    }
}
