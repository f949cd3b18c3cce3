/* pipeline: see pipeline.h.
 *
 * Invariants
 * 1. Every frame that enters is settled exactly once: by the worker (rejected, bad, failed), by the
 * keeper (store refused it), by the store's acknowledgement, or where a full or closed queue turned
 * it away.
 * 2. Nothing waits while holding a lock: `lock` guards counters. Triage has a lock of its own; what
 * it wants remembered is noted there and written by pipeline_tick.
 * 3. Draining order is the order of flow: sources quiet, queue closed, workers joined, keep queue
 * closed, keeper joined, store flushed. Sources are stopped last, so that they hear how their last
 * frames ended.
 */
#include "daemon/pipeline.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "daemon/base/queue.h"
#include "daemon/caller.h"
#include "daemon/recent.h"
#include "inference/triage.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAMERAS_MAX                                                                                \
    (SOURCE_CAMERAS_MAX + 64) /* configured ones and names that callers of /score chose */
#define WORKERS_AUTO_MAX    4
#define QUEUE_DEFAULT       8
#define QUEUE_BYTES_DEFAULT (128ull << 20)
#define COMPLAIN_EVERY_MS   60000
#define RETRY_PAUSE_MS      500
#define JPEG_QUALITY        90 /* of frames that came as raw pixels */
#define SHOWN_SIZE          256
/* Frames that wait for pipeline_tick to displace them; beyond it they stay, over their budget. */
#define DISPLACED_MAX 256
/* A frame is held back so much longer than it may be displaced: it is done at the next tick. */
#define DISPLACE_GRACE_US (3 * INT64_C(1000000))
#define NOTES_MAX         256
#define NOTE_KEY_MAX      127

struct worker {
    struct pipeline *pipeline;
    size_t seat; /* in eyes */
    pthread_t thread;
    bool running;
};

/* What triage wants remembered, and is not yet in the store. */
struct note {
    char key[NOTE_KEY_MAX + 1];
    size_t size;
    union {
        uint64_t count;
        uint8_t bytes[TRIAGE_BYTES_MAX];
    } value;
};

/* A frame that has to go for a better one. */
struct displaced {
    struct frame_id id;
    char camera[FRAME_NAME_MAX + 1];
    char rule[FRAME_NAME_MAX + 1]; /* of the better one */
};

struct pipeline {
    const struct config_values *values;
    struct store *store;
    struct queue *queue, *keep;
    struct eyes *eyes;
    struct poison *poison;
    struct watch *watch;
    struct worker workers[PIPELINE_WORKERS_MAX];
    size_t worker_count;
    pthread_t keeper;
    bool keeper_running;
    atomic_bool drained;
    struct source *sources[SOURCE_CAMERAS_MAX];
    size_t source_count;
    char shown[SOURCE_CAMERAS_MAX][SHOWN_SIZE]; /* their addresses, for people */
    struct triage_memory triage_memory;
    pthread_mutex_t triage_lock; /* guards the next three */
    struct triage *triage;
    struct note notes[NOTES_MAX];
    size_t note_count;
    struct recent *recent; /* rejected frames that a rule may still ask for */
    struct source_memory source_memory;
    struct source_sink sink;

    pthread_mutex_t lock; /* guards what follows */
    struct displaced displaced[DISPLACED_MAX];
    size_t displaced_count;
    struct pipeline_stats stats;
    double detect_ms_sum;
    struct pipeline_camera cameras[CAMERAS_MAX];
    size_t camera_count;
    struct log_gate bad_gate, failed_gate, dropped_gate;
};

/* ---- counting: one place where a frame's end is written down ---- */

static struct pipeline_camera *camera_find(struct pipeline *pipeline, const char *name) {
    for (size_t i = 0; i < pipeline->camera_count; i++) {
        if (strcmp(pipeline->cameras[i].name, name) == 0) {
            return &pipeline->cameras[i];
        }
    }
    /* Never of a pushed frame: see stream_known. */
    if (pipeline->camera_count == CAMERAS_MAX) {
        return &pipeline->cameras[CAMERAS_MAX - 1];
    }
    struct pipeline_camera *camera = &pipeline->cameras[pipeline->camera_count++];
    snprintf(camera->name, sizeof(camera->name), "%s", name);
    camera->source = "http";
    return camera;
}

static void complain(struct log_gate *gate, enum log_level level, const char *text,
                     const char *camera, const struct err *err) {
    uint64_t missed;
    if (log_gate_open(gate, COMPLAIN_EVERY_MS, &missed)) {
        char why[2 * ERR_TEXT_MAX];
        log_line(level, text, "camera=%s reason=\"%s\" not_logged_before=%llu", camera,
                 err ? err_text(err, why, sizeof(why)) : "the queue was full",
                 (unsigned long long)missed);
    }
}

static void note_error(struct pipeline *pipeline, const struct err *err) {
    if (err) {
        err_text(err, pipeline->stats.last_error, sizeof(pipeline->stats.last_error));
    }
}

static void count_locked(struct pipeline *pipeline, const struct frame *frame,
                         enum frame_outcome outcome, const struct err *err) {
    const char *name = frame->record.camera;
    struct pipeline_camera *camera = camera_find(pipeline, name);
    struct pipeline_stats *stats = &pipeline->stats;
    switch (outcome) {
    case FRAME_KEPT:
        stats->kept[frame->record.tier]++;
        stats->kept_bytes += frame->record.blob_bytes;
        camera->kept++;
        return;
    case FRAME_REJECTED:
        stats->rejected++;
        camera->rejected++;
        return;
    case FRAME_BAD:
        stats->bad++;
        camera->bad++;
        complain(&pipeline->bad_gate, LOG_LEVEL_WARN, "frame is no usable image", name, err);
        break;
    case FRAME_DROPPED:
        stats->dropped++;
        camera->dropped++;
        if (!atomic_load(&pipeline->drained)) { /* a closing door is no news */
            complain(&pipeline->dropped_gate, LOG_LEVEL_WARN, "frame dropped", name, err);
        }
        break;
    case FRAME_FAILED:
        stats->failed++;
        camera->failed++;
        complain(&pipeline->failed_gate, LOG_LEVEL_ERROR, "frame not kept", name, err);
        break;
    }
    note_error(pipeline, err);
}

static void settle(struct pipeline *pipeline, struct frame *frame, enum frame_outcome outcome,
                   const struct err *err) {
    pthread_mutex_lock(&pipeline->lock);
    count_locked(pipeline, frame, outcome, err);
    pthread_mutex_unlock(&pipeline->lock);
    frame_settle(frame, outcome, err);
}

static void count_seen(struct pipeline *pipeline, const struct frame *frame, bool over_budget) {
    int64_t late_us = clock_boot_us() - frame->record.captured.boot_us;
    pthread_mutex_lock(&pipeline->lock);
    struct pipeline_camera *camera = camera_find(pipeline, frame->record.camera);
    camera->seen++;
    camera->last_utc_us = frame->record.captured.utc_us;
    camera->latency_ms = (double)late_us / 1e3;
    pipeline->stats.seen++;
    pace_times_note(&pipeline->stats.detect, frame->detect_ms / 1e3);
    if (frame->live) {
        pace_times_note(&pipeline->stats.latency, (double)late_us / 1e6);
    }
    pipeline->stats.over_budget += over_budget;
    pipeline->detect_ms_sum += frame->detect_ms;
    pthread_mutex_unlock(&pipeline->lock);
}

/* ---- keeper: triage's catch into the store ---- */

struct catch {
    struct pipeline *pipeline;
    struct frame *frame;
};

/* The worse frame goes once the better one is durable; not here, on the store's own thread. */
static void displace_later(struct pipeline *pipeline, const struct frame *better) {
    pthread_mutex_lock(&pipeline->lock);
    if (better->displaces && pipeline->displaced_count < DISPLACED_MAX) {
        struct displaced *worse = &pipeline->displaced[pipeline->displaced_count++];
        worse->id = better->displaced;
        memcpy(worse->camera, better->record.camera, sizeof(worse->camera));
        memcpy(worse->rule, better->record.rule, sizeof(worse->rule));
    }
    pthread_mutex_unlock(&pipeline->lock);
}

static void acknowledged(void *ctx, const struct store_ack *ack) {
    struct catch *caught = ctx;
    if (!ack->code) {
        caught->frame->record.blob = ack->blob;
        displace_later(caught->pipeline, caught->frame);
    }
    settle(caught->pipeline, caught->frame, ack->code ? FRAME_FAILED : FRAME_KEPT,
           ack->code ? &ack->err : NULL);
    free(caught);
}

static void keep(struct pipeline *pipeline, struct frame *frame) {
    struct err err = {0};
    struct catch *caught = mem_alloc(sizeof(*caught));
    if (!caught) {
        err_set(&err, ERR_NOMEM, "no memory to keep a frame of %s", frame->record.camera);
        settle(pipeline, frame, FRAME_FAILED, &err);
        return;
    }
    *caught = (struct catch){.pipeline = pipeline, .frame = frame};
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
    if (store_put(pipeline->store, &item, &err)) {
        free(item.blob);
        free(item.thumb);
        free(item.record.detections);
        free(caught);
        settle(pipeline, frame, FRAME_FAILED, &err);
    }
}

static void *keeper_main(void *arg) {
    struct pipeline *pipeline = arg;
    for (struct frame *frame; (frame = queue_get(pipeline->keep, -1));) {
        keep(pipeline, frame);
    }
    return NULL;
}

/* ---- workers: what is in it, and is it worth keeping ---- */

static void take_verdict(struct pipeline *pipeline, struct frame *frame,
                         const struct triage_verdict *verdict) {
    frame->record.tier = verdict->tier;
    frame->record.value = verdict->value;
    frame->due_boot_us = verdict->due_boot_us;
    frame->displaces = verdict->displaces;
    frame->displaced = verdict->displaced;
    snprintf(frame->record.rule, sizeof(frame->record.rule), "%s", verdict->rule);
    struct store_outcome outcome = {
        .record = frame->record, .kept = verdict->keep, .over_budget = verdict->over_budget};
    if (frame->format != FRAME_ENCODED) {
        outcome.record.media = MEDIA_NONE; /* its bytes are no file's: how many would be is open */
    }
    store_outcome_note(pipeline->store, &outcome);
}

static void keep_later(struct pipeline *pipeline, struct frame *frame) {
    struct err err = {0};
    if (frame_encode(frame, JPEG_QUALITY, &err)) {
        settle(pipeline, frame, FRAME_FAILED, &err);
    } else if (!queue_try_put(pipeline->keep, frame)) {
        err_set(&err, ERR_FULL, "the store is slower than the frames worth keeping");
        settle(pipeline, frame, FRAME_FAILED, &err);
    }
}

/* Earlier frames of the camera that were rejected, and are wanted now. Returns how many are kept.
 */
static unsigned rescue(struct pipeline *pipeline, const char *camera,
                       const struct triage_verdict *verdict) {
    unsigned kept = 0;
    for (size_t i = 0; i < verdict->rescue_count; i++) {
        const struct triage_rescue *wanted = &verdict->rescues[i];
        for (struct frame *frame;
             (frame = recent_take(pipeline->recent, camera, wanted->from_us, wanted->to_us));) {
            struct triage_verdict again;
            pthread_mutex_lock(&pipeline->triage_lock);
            triage_rescue(pipeline->triage, wanted, &frame->record, &again);
            pthread_mutex_unlock(&pipeline->triage_lock);
            if (!again.keep) {
                frame_destroy(frame); /* its origin has heard of it long ago */
                continue;
            }
            take_verdict(pipeline, frame, &again);
            pthread_mutex_lock(&pipeline->lock);
            pipeline->stats.rescued++;
            pthread_mutex_unlock(&pipeline->lock);
            keep_later(pipeline, frame);
            kept++;
        }
    }
    return kept;
}

static void judge(struct pipeline *pipeline, struct frame *frame) {
    struct triage_verdict verdict;
    if (frame->never_keep) {
        count_seen(pipeline, frame, false);
        frame_detected(frame);
        settle(pipeline, frame, FRAME_REJECTED, NULL);
        return;
    }
    pthread_mutex_lock(&pipeline->triage_lock);
    triage_decide(pipeline->triage, &frame->record, &verdict);
    pthread_mutex_unlock(&pipeline->triage_lock);
    take_verdict(pipeline, frame, &verdict);
    count_seen(pipeline, frame, verdict.over_budget);
    watch_see(pipeline->watch, frame);
    frame_detected(frame);
    rescue(pipeline, frame->record.camera, &verdict);
    if (verdict.keep) {
        keep_later(pipeline, frame);
    } else {
        recent_put(pipeline->recent, frame);
        settle(pipeline, frame, FRAME_REJECTED, NULL);
    }
}

/* A camera's view holds for whatever comes under its name, pushed frames too. */
static const struct view *view_of(const struct pipeline *pipeline, const char *camera) {
    const struct config_values *values = pipeline->values;
    for (size_t i = 0; i < values->camera_count; i++) {
        const struct source_config *config = &values->cameras[i];
        if (strcmp(config->name, camera) == 0) {
            return view_plain(&config->view) ? NULL : &config->view;
        }
    }
    return NULL;
}

/* What ends its worker twice is set aside, and not given to another one for a while. */
static int look(struct worker *worker, struct frame *frame, struct err *err) {
    struct pipeline *pipeline = worker->pipeline;
    int code = poison_check(pipeline->poison, frame, err);
    if (code) {
        return code;
    }
    code = eyes_look(pipeline->eyes, worker->seat, frame, err);
    if (code == ERR_CRASHED && !frame->never_keep) {
        poison_add(pipeline->poison, frame, err);
    }
    return code;
}

static void *worker_main(void *arg) {
    struct worker *worker = arg;
    struct pipeline *pipeline = worker->pipeline;
    for (struct frame *frame; (frame = queue_get(pipeline->queue, -1));) {
        struct err err = {0};
        frame->view = view_of(pipeline, frame->record.camera);
        int code = look(worker, frame, &err);
        if (!code) {
            judge(pipeline, frame);
            continue;
        }
        bool frame_to_blame = code == ERR_INVALID || code == ERR_CRASHED;
        settle(pipeline, frame, frame_to_blame ? FRAME_BAD : FRAME_FAILED, &err);
        if (!frame_to_blame) {
            clock_sleep_ms(
                RETRY_PAUSE_MS); /* a child that cannot start must not be tried in a hot loop */
        }
    }
    return NULL;
}

/* ---- the way in ---- */

static bool is_live(const void *item) {
    return ((const struct frame *)item)->live;
}

static uint64_t bytes_of(const void *item) {
    return ((const struct frame *)item)->record.blob_bytes;
}

static bool enqueue(struct pipeline *pipeline, struct frame *frame) {
    for (;;) {
        void *dropped;
        bool taken = queue_put_dropping(pipeline->queue, frame, is_live, &dropped);
        if (dropped) {
            settle(pipeline, dropped, FRAME_DROPPED, NULL);
        }
        if (taken || !dropped) {
            return taken;
        }
    }
}

static void sink_submit(void *ctx, struct frame *frame) {
    struct pipeline *pipeline = ctx;
    bool taken = frame->live ? enqueue(pipeline, frame) : queue_put(pipeline->queue, frame);
    if (!taken) {
        settle(pipeline, frame, FRAME_DROPPED, NULL);
    }
}

/* Callers choose the names of their streams; each costs a row here, and its state in triage. */
static bool stream_known(struct pipeline *pipeline, const char *camera) {
    pthread_mutex_lock(&pipeline->lock);
    bool known = strcmp(camera_find(pipeline, camera)->name, camera) == 0;
    pthread_mutex_unlock(&pipeline->lock);
    return known;
}

int pipeline_submit(struct pipeline *pipeline, const struct webui_push *push, struct err *err) {
    struct frame *frame;
    int code = caller_frame(push, &frame, err);
    if (code) {
        return code;
    }
    if (!stream_known(pipeline, push->camera)) {
        caller_forget(frame);
        frame_destroy(frame);
        return err_set(
            err, ERR_REFUSED,
            "stream %s: %d cameras and streams have names here already, which is the most; "
            "use one of those, or restart creel to forget the streams",
            push->camera, CAMERAS_MAX);
    }
    if (enqueue(pipeline, frame)) {
        return 0;
    }
    caller_forget(frame); /* it hears it from our return, not from a reply */
    err_set(err, ERR_FULL, "%zu frames are waiting to be looked at; try again",
            queue_length(pipeline->queue));
    settle(pipeline, frame, FRAME_DROPPED, err);
    return ERR_FULL;
}

/* ---- what sources and triage may remember ---- */

static bool taken_key(const char *camera, const void *key, size_t size, struct buf *out) {
    buf_append(out, camera, strlen(camera) + 1);
    buf_append(out, key, size);
    return !out->failed;
}

static bool taken_has(void *ctx, const char *camera, const void *key, size_t size) {
    struct pipeline *pipeline = ctx;
    struct buf name = BUF_INIT(STORE_STATE_KEY_MAX);
    char value[1];
    size_t length;
    struct err err = {0};
    int code = taken_key(camera, key, size, &name)
                   ? store_state_get(pipeline->store, "taken", name.data, name.len, value,
                                     sizeof(value), &length, &err)
                   : ERR_NOT_FOUND;
    if (code && code != ERR_NOT_FOUND) {
        log_err(LOG_LEVEL_WARN, "cannot tell whether a file was taken before; it is taken", &err);
    }
    buf_finish(&name);
    return !code;
}

static int taken_add(void *ctx, const char *camera, const void *key, size_t size, struct err *err) {
    struct pipeline *pipeline = ctx;
    struct buf name = BUF_INIT(STORE_STATE_KEY_MAX);
    int code =
        taken_key(camera, key, size, &name)
            ? store_state_put(pipeline->store, "taken", name.data, name.len, "1", 1, err)
            : err_set(err, ERR_INVALID, "camera %s: a file's name is too long to remember", camera);
    buf_finish(&name);
    return code;
}

static void taken_forget(void *ctx, const char *camera, const void *key, size_t size) {
    struct pipeline *pipeline = ctx;
    struct buf name = BUF_INIT(STORE_STATE_KEY_MAX);
    struct err err;
    if (taken_key(camera, key, size, &name) &&
        store_state_drop(pipeline->store, "taken", name.data, name.len, &err)) {
        log_err(LOG_LEVEL_WARN, "a file that is gone is still remembered", &err);
    }
    buf_finish(&name);
}

static struct note *note_find(struct pipeline *pipeline, const char *key) {
    for (size_t i = 0; i < pipeline->note_count; i++) {
        if (strcmp(pipeline->notes[i].key, key) == 0) {
            return &pipeline->notes[i];
        }
    }
    return NULL;
}

/* Called by triage, with triage_lock held: when it first sees a camera, or a day. */
static size_t bytes_get(void *ctx, const char *key, void *out, size_t room) {
    struct pipeline *pipeline = ctx;
    const struct note *note = note_find(pipeline, key);
    size_t size = 0;
    if (note && note->size <= room) {
        memcpy(out, &note->value, note->size);
        return note->size;
    }
    return !note && !store_state_get(pipeline->store, "triage", key, strlen(key), out, room, &size,
                                     NULL)
               ? size
               : 0;
}

static uint64_t count_get(void *ctx, const char *key) {
    uint64_t count = 0;
    return bytes_get(ctx, key, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* Called by triage, with triage_lock held. What finds no room here is written with its next
 * change. */
static void bytes_put(void *ctx, const char *key, const void *bytes, size_t size) {
    struct pipeline *pipeline = ctx;
    struct note *note = note_find(pipeline, key);
    if (!note && pipeline->note_count < NOTES_MAX) {
        note = &pipeline->notes[pipeline->note_count++];
        snprintf(note->key, sizeof(note->key), "%s", key);
    }
    if (note && size <= sizeof(note->value)) {
        memcpy(&note->value, bytes, size);
        note->size = size;
    }
}

static void count_put(void *ctx, const char *key, uint64_t count) {
    bytes_put(ctx, key, &count, sizeof(count));
}

/* Noted as an outcome without a picture: simulation takes it for that. */
static void note_displaced(struct pipeline *pipeline, const struct displaced *worse) {
    struct store_outcome outcome = {.record = {.id = worse->id, .orientation = 1},
                                    .over_budget = true};
    outcome.record.tier = TIER_NONE;
    clock_stamp_now(&outcome.record.captured);
    memcpy(outcome.record.camera, worse->camera, sizeof(worse->camera));
    memcpy(outcome.record.rule, worse->rule, sizeof(worse->rule));
    store_outcome_note(pipeline->store, &outcome);
}

/* False: none is left, or the store cannot now. */
static bool displace_one(struct pipeline *pipeline) {
    struct displaced worse;
    struct err err = {0};
    bool done = false;
    pthread_mutex_lock(&pipeline->lock);
    bool any = pipeline->displaced_count > 0;
    if (any) {
        worse = pipeline->displaced[--pipeline->displaced_count];
    }
    pthread_mutex_unlock(&pipeline->lock);
    if (!any) {
        return false;
    }
    int code = store_displace(pipeline->store, &worse.id, &done, &err);
    if (code && code != ERR_NOT_FOUND) {
        log_err(LOG_LEVEL_WARN, "a frame that a better one displaces stays", &err);
    }
    if (done) {
        note_displaced(pipeline, &worse);
        pthread_mutex_lock(&pipeline->lock);
        pipeline->stats.displaced++;
        pthread_mutex_unlock(&pipeline->lock);
    }
    return !code || code == ERR_NOT_FOUND;
}

static void rates_note(struct pipeline *pipeline) {
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&pipeline->lock);
    pace_rate_note(&pipeline->stats.rate, pipeline->stats.seen, now);
    for (size_t i = 0; i < pipeline->camera_count; i++) {
        pace_rate_note(&pipeline->cameras[i].rate, pipeline->cameras[i].seen, now);
    }
    pthread_mutex_unlock(&pipeline->lock);
}

void pipeline_tick(struct pipeline *pipeline) {
    rates_note(pipeline);
    if (pipeline->watch) {
        watch_tick(pipeline->watch);
    }
    while (displace_one(pipeline)) {
    }
    for (;;) {
        struct note note;
        pthread_mutex_lock(&pipeline->triage_lock);
        bool any = pipeline->note_count > 0;
        if (any) {
            note = pipeline->notes[--pipeline->note_count];
        }
        pthread_mutex_unlock(&pipeline->triage_lock);
        if (!any) {
            return;
        }
        struct err err;
        if (store_state_put(pipeline->store, "triage", note.key, strlen(note.key), &note.value,
                            note.size, &err)) {
            log_err(LOG_LEVEL_WARN, "what triage has seen is not remembered", &err);
            pthread_mutex_lock(&pipeline->triage_lock);
            if (!note_find(pipeline, note.key)) { /* else triage has newer news already */
                bytes_put(pipeline, note.key, &note.value, note.size);
            }
            pthread_mutex_unlock(&pipeline->triage_lock);
            return;
        }
    }
}

int pipeline_trigger(struct pipeline *pipeline, const char *camera, unsigned *kept,
                     struct err *err) {
    struct triage_verdict verdict;
    bool known = false;
    pthread_mutex_lock(&pipeline->lock);
    for (size_t i = 0; i < pipeline->camera_count; i++) {
        known = known || strcmp(pipeline->cameras[i].name, camera) == 0;
    }
    pthread_mutex_unlock(&pipeline->lock);
    if (!known) {
        return err_set(err, ERR_NOT_FOUND, "there is no camera %.32s, and no frame of it came in",
                       camera);
    }
    pthread_mutex_lock(&pipeline->triage_lock);
    int code =
        triage_trigger(pipeline->triage, camera, clock_boot_us(), clock_utc_us(), &verdict, err);
    pthread_mutex_unlock(&pipeline->triage_lock);
    if (!code) {
        *kept = rescue(pipeline, camera, &verdict);
        log_info("triggered", "camera=%s frames_before=%u", camera, *kept);
    }
    return code;
}

/* ---- life cycle ---- */

/* With batches each thread waits for the network while others decode: as many more as a batch
 * has. */
static size_t workers_wanted(const struct config_values *values, const struct model *model) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    size_t automatic = online < 1                  ? 1
                       : online > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX
                                                   : (size_t)online;
    automatic += batcher_wanted(&values->detector, model);
    size_t wanted = values->workers ? values->workers : automatic;
    return wanted < PIPELINE_WORKERS_MAX ? wanted : PIPELINE_WORKERS_MAX;
}

/* As far as triage's rules may ask for rejected frames. */
static void reach_back(struct pipeline *pipeline) {
    unsigned frames = 0;
    int64_t reach_ms = triage_reach_ms(pipeline->triage, &frames);
    recent_reach_set(pipeline->recent, reach_ms, frames);
}

static int start_thread(pthread_t *thread, void *(*main_fn)(void *), void *arg, bool *running,
                        struct err *err) {
    int failed = pthread_create(thread, NULL, main_fn, arg);
    if (failed) {
        return err_sys(err, failed, "cannot start a thread");
    }
    *running = true;
    return 0;
}

static int start_workers(struct pipeline *pipeline, struct model *model, struct err *err) {
    const struct config_values *values = pipeline->values;
    size_t wanted = workers_wanted(values, model);
    int code = eyes_open(&values->detector, wanted, model, values->model_dir, &pipeline->eyes, err);
    for (size_t i = 0; !code && i < wanted; i++) {
        struct worker *worker = &pipeline->workers[i];
        worker->pipeline = pipeline;
        worker->seat = i;
        pipeline->worker_count++;
        code = start_thread(&worker->thread, worker_main, worker, &worker->running, err);
    }
    if (code) {
        return code;
    }
    return start_thread(&pipeline->keeper, keeper_main, pipeline, &pipeline->keeper_running, err);
}

static int start_sources(struct pipeline *pipeline, struct err *err) {
    const struct config_values *values = pipeline->values;
    for (size_t i = 0; i < values->camera_count; i++) {
        const struct source_config *config = &values->cameras[i];
        pthread_mutex_lock(&pipeline->lock);
        source_redact(config->source, pipeline->shown[i], sizeof(pipeline->shown[i]));
        camera_find(pipeline, config->name)->source = pipeline->shown[i];
        pthread_mutex_unlock(&pipeline->lock);
        int code = source_start(config, &pipeline->source_memory, &pipeline->sink,
                                &pipeline->sources[pipeline->source_count], err);
        if (code) {
            err_wrap(err, "cameras.%s", config->name);
            return code;
        }
        pipeline->source_count++;
    }
    return 0;
}

static int open_poison(struct pipeline *pipeline, struct err *err) {
    char dir[FS_PATH_MAX];
    int code = fs_join(dir, sizeof(dir), pipeline->values->store.dir, "poison", err);
    return code ? code : poison_open(dir, &pipeline->poison, err);
}

static void model_close_at(struct model **model) {
    model_close(*model);
}

int pipeline_start(const struct config_values *values, struct model *taken, struct store *store,
                   struct pipeline **out, struct err *err) {
    CLEANUP(model_close_at) struct model *model = taken;
    struct pipeline *pipeline = mem_alloc(sizeof(*pipeline));
    if (!pipeline) {
        return err_set(err, ERR_NOMEM, "no memory for the pipeline");
    }
    pthread_mutex_init(&pipeline->lock, NULL);
    pthread_mutex_init(&pipeline->triage_lock, NULL);
    pipeline->values = values;
    pipeline->store = store;
    pipeline->triage_memory = (struct triage_memory){.ctx = pipeline,
                                                     .count_get = count_get,
                                                     .count_put = count_put,
                                                     .bytes_get = bytes_get,
                                                     .bytes_put = bytes_put};
    pipeline->source_memory = (struct source_memory){
        .ctx = pipeline, .has = taken_has, .add = taken_add, .forget = taken_forget};
    pipeline->sink = (struct source_sink){.ctx = pipeline, .submit = sink_submit};
    pipeline->queue = queue_create_weighed(
        values->queue ? values->queue : QUEUE_DEFAULT,
        values->queue_bytes ? values->queue_bytes : QUEUE_BYTES_DEFAULT, bytes_of);
    pipeline->keep = queue_create(PIPELINE_KEEP_MAX);
    pipeline->recent = recent_create();
    pipeline->watch = watch_create();
    int code =
        pipeline->queue && pipeline->keep && pipeline->recent && pipeline->watch
            ? triage_create(&values->triage, &pipeline->triage_memory, &pipeline->triage, err)
            : err_set(err, ERR_NOMEM, "no memory for the queues");
    if (!code) {
        reach_back(pipeline);
        code = open_poison(pipeline, err);
    }
    if (!code) {
        code = start_workers(pipeline, TAKE_PTR(model), err);
    }
    if (!code) {
        code = start_sources(pipeline, err);
    }
    if (code) {
        pipeline_stop(pipeline);
        return code;
    }
    *out = pipeline;
    return 0;
}

void pipeline_drain(struct pipeline *pipeline) {
    if (atomic_exchange(&pipeline->drained, true)) {
        return;
    }
    for (size_t i = 0; i < pipeline->source_count; i++) {
        source_quiesce(pipeline->sources[i]);
    }
    if (pipeline->queue) {
        queue_close(pipeline->queue);
    }
    for (size_t i = 0; i < pipeline->worker_count; i++) {
        if (pipeline->workers[i].running) {
            pthread_join(pipeline->workers[i].thread, NULL);
            pipeline->workers[i].running = false;
        }
    }
    if (pipeline->keep) {
        queue_close(pipeline->keep);
    }
    if (pipeline->keeper_running) {
        pthread_join(pipeline->keeper, NULL);
        pipeline->keeper_running = false;
    }
    pipeline_tick(pipeline);
    struct err err;
    if (store_flush(pipeline->store, &err)) {
        log_err(LOG_LEVEL_ERROR, "the store did not take everything", &err);
    }
    pipeline_tick(pipeline); /* the last acknowledgements may displace something */
    if (store_holds_end(pipeline->store, &err)) {
        log_err(LOG_LEVEL_WARN, "what waited for the end of its window is due after a restart",
                &err);
    }
}

void pipeline_stop(struct pipeline *pipeline) {
    if (!pipeline) {
        return;
    }
    pipeline_drain(pipeline);
    for (size_t i = 0; i < pipeline->source_count; i++) {
        source_stop(pipeline->sources[i]);
    }
    eyes_close(pipeline->eyes);
    poison_close(pipeline->poison);
    triage_destroy(pipeline->triage);
    pipeline_tick(pipeline);
    recent_destroy(pipeline->recent);
    watch_destroy(pipeline->watch);
    queue_destroy(pipeline->keep);
    queue_destroy(pipeline->queue);
    pthread_mutex_destroy(&pipeline->triage_lock);
    pthread_mutex_destroy(&pipeline->lock);
    free(pipeline);
}

int pipeline_triage_set(struct pipeline *pipeline, const struct triage_config *config,
                        struct err *err) {
    struct triage *triage;
    int code = triage_create(config, &pipeline->triage_memory, &triage, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&pipeline->triage_lock);
    triage_destroy(
        pipeline->triage); /* first: it notes the day's counts, which the new one reads */
    pipeline->triage = triage;
    reach_back(pipeline);
    pthread_mutex_unlock(&pipeline->triage_lock);
    return 0;
}

/* ---- looking in ---- */

void pipeline_stats_get(struct pipeline *pipeline, struct pipeline_stats *out) {
    pthread_mutex_lock(&pipeline->lock);
    *out = pipeline->stats;
    out->detect_ms_mean = out->seen ? pipeline->detect_ms_sum / (double)out->seen : 0;
    pthread_mutex_unlock(&pipeline->lock);
    out->queued = queue_length(pipeline->queue);
    out->queue_bound = queue_bound(pipeline->queue);
    out->worker_count = eyes_stats_get(pipeline->eyes, out->workers);
}

struct watch *pipeline_watch(struct pipeline *pipeline) {
    return pipeline->watch;
}

struct poison *pipeline_poison(struct pipeline *pipeline) {
    return pipeline->poison;
}

struct eyes *pipeline_eyes(struct pipeline *pipeline) {
    return pipeline->eyes;
}

size_t pipeline_cameras_get(struct pipeline *pipeline, struct pipeline_camera *out, size_t room) {
    pthread_mutex_lock(&pipeline->lock);
    size_t count = pipeline->camera_count < room ? pipeline->camera_count : room;
    memcpy(out, pipeline->cameras, count * sizeof(*out));
    pthread_mutex_unlock(&pipeline->lock);
    for (size_t i = 0; i < count && i < pipeline->source_count; i++) {
        source_stats_get(pipeline->sources[i], &out[i].from);
    }
    return count;
}
