/* pipeline: see pipeline.h.
 *
 * Invariants
 * 1. Every frame that enters is settled exactly once: by the worker (rejected, bad, failed), by the
 * keeper (kept, or refused by the store), or where a full or closed queue turned it away.
 * 2. Nothing waits for a disk while triage's lock is held: what it wants remembered is noted in
 * memory and written by pipeline_tick.
 * 3. Draining order is the order of flow: sources quiet, queue closed, workers joined, keeper
 * drained, store flushed. Sources are stopped last, so that they hear how their last frames ended.
 */
#include "daemon/pipeline.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "daemon/base/queue.h"
#include "daemon/caller.h"
#include "daemon/keeper.h"
#include "daemon/memory.h"
#include "daemon/recent.h"
#include "daemon/tally.h"
#include "inference/triage.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_AUTO_MAX    4
#define QUEUE_DEFAULT       8
#define QUEUE_BYTES_DEFAULT (128ull << 20)
#define RETRY_PAUSE_MS      500
#define SHOWN_SIZE          256

struct worker {
    struct pipeline *pipeline;
    size_t seat; /* in eyes */
    pthread_t thread;
    bool running;
};

struct pipeline {
    const struct config_values *values;
    struct store *store;
    struct tally *tally;
    struct queue *queue;
    struct keeper *keeper;
    struct memory *memory;
    struct eyes *eyes;
    struct poison *poison;
    struct watch *watch;
    struct worker workers[PIPELINE_WORKERS_MAX];
    size_t worker_count;
    atomic_bool drained;
    struct source *sources[SOURCE_CAMERAS_MAX];
    size_t source_count;
    char shown[SOURCE_CAMERAS_MAX][SHOWN_SIZE]; /* their addresses, for people */
    struct source_sink sink;
    pthread_mutex_t triage_lock;
    struct triage *triage;
    struct recent *recent; /* rejected frames that a rule may still ask for */
};

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
            tally_rescue(pipeline->tally);
            keeper_take(pipeline->keeper, frame);
            kept++;
        }
    }
    return kept;
}

static void judge(struct pipeline *pipeline, struct frame *frame) {
    struct triage_verdict verdict;
    if (frame->never_keep) {
        tally_see(pipeline->tally, frame, false);
        frame_detected(frame);
        tally_settle(pipeline->tally, frame, FRAME_REJECTED, NULL);
        return;
    }
    pthread_mutex_lock(&pipeline->triage_lock);
    triage_decide(pipeline->triage, &frame->record, &verdict);
    pthread_mutex_unlock(&pipeline->triage_lock);
    take_verdict(pipeline, frame, &verdict);
    tally_see(pipeline->tally, frame, verdict.over_budget);
    watch_see(pipeline->watch, frame);
    frame_detected(frame);
    rescue(pipeline, frame->record.camera, &verdict);
    if (verdict.keep) {
        keeper_take(pipeline->keeper, frame);
    } else {
        recent_put(pipeline->recent, frame);
        tally_settle(pipeline->tally, frame, FRAME_REJECTED, NULL);
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
        tally_settle(pipeline->tally, frame, frame_to_blame ? FRAME_BAD : FRAME_FAILED, &err);
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
            tally_settle(pipeline->tally, dropped, FRAME_DROPPED, NULL);
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
        tally_settle(pipeline->tally, frame, FRAME_DROPPED, NULL);
    }
}

int pipeline_submit(struct pipeline *pipeline, const struct webui_push *push, struct err *err) {
    struct frame *frame;
    int code = caller_frame(push, &frame, err);
    if (code) {
        return code;
    }
    /* Callers choose these names; each costs a row in the tally, and its state in triage. */
    if (!tally_stream_add(pipeline->tally, push->camera)) {
        caller_forget(frame);
        frame_destroy(frame);
        return err_set(
            err, ERR_REFUSED,
            "stream %s: %d cameras and streams have names here already, which is the most; "
            "use one of those, or restart creel to forget the streams",
            push->camera, TALLY_CAMERAS_MAX);
    }
    if (enqueue(pipeline, frame)) {
        return 0;
    }
    caller_forget(frame); /* it hears it from our return, not from a reply */
    err_set(err, ERR_FULL, "%zu frames are waiting to be looked at; try again",
            queue_length(pipeline->queue));
    tally_settle(pipeline->tally, frame, FRAME_DROPPED, err);
    return ERR_FULL;
}

void pipeline_tick(struct pipeline *pipeline) {
    tally_tick(pipeline->tally);
    watch_tick(pipeline->watch);
    keeper_tick(pipeline->keeper);
    memory_flush(pipeline->memory);
}

int pipeline_trigger(struct pipeline *pipeline, const char *camera, unsigned *kept,
                     struct err *err) {
    struct triage_verdict verdict;
    if (!tally_has(pipeline->tally, camera)) {
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
    return code;
}

static int start_sources(struct pipeline *pipeline, struct err *err) {
    const struct config_values *values = pipeline->values;
    for (size_t i = 0; i < values->camera_count; i++) {
        const struct source_config *config = &values->cameras[i];
        source_redact(config->source, pipeline->shown[i], sizeof(pipeline->shown[i]));
        tally_camera_add(pipeline->tally, config->name, pipeline->shown[i]);
        int code = source_start(config, memory_of_sources(pipeline->memory), &pipeline->sink,
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

/* All that a frame meets on its way, but the workers. */
static int create_parts(struct pipeline *pipeline, struct err *err) {
    const struct config_values *values = pipeline->values;
    pipeline->tally = tally_create();
    pipeline->queue = queue_create_weighed(
        values->queue ? values->queue : QUEUE_DEFAULT,
        values->queue_bytes ? values->queue_bytes : QUEUE_BYTES_DEFAULT, bytes_of);
    pipeline->memory = memory_create(pipeline->store);
    pipeline->recent = recent_create();
    pipeline->watch = watch_create();
    if (!pipeline->tally || !pipeline->queue || !pipeline->memory || !pipeline->recent ||
        !pipeline->watch) {
        return err_set(err, ERR_NOMEM, "no memory for the queues");
    }
    int code = keeper_start(pipeline->store, pipeline->tally, &pipeline->keeper, err);
    if (!code) {
        code = triage_create(&values->triage, memory_of_triage(pipeline->memory), &pipeline->triage,
                             err);
    }
    return code ? code : open_poison(pipeline, err);
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
    pthread_mutex_init(&pipeline->triage_lock, NULL);
    pipeline->values = values;
    pipeline->store = store;
    pipeline->sink = (struct source_sink){.ctx = pipeline, .submit = sink_submit};
    int code = create_parts(pipeline, err);
    if (!code) {
        reach_back(pipeline);
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
    if (atomic_exchange(&pipeline->drained, true) || !pipeline->keeper) {
        return;
    }
    tally_close(pipeline->tally);
    for (size_t i = 0; i < pipeline->source_count; i++) {
        source_quiesce(pipeline->sources[i]);
    }
    queue_close(pipeline->queue);
    for (size_t i = 0; i < pipeline->worker_count; i++) {
        if (pipeline->workers[i].running) {
            pthread_join(pipeline->workers[i].thread, NULL);
            pipeline->workers[i].running = false;
        }
    }
    keeper_drain(pipeline->keeper);
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
    triage_destroy(pipeline->triage); /* notes the day's counts */
    if (pipeline->memory) {
        memory_flush(pipeline->memory);
    }
    memory_destroy(pipeline->memory);
    recent_destroy(pipeline->recent);
    watch_destroy(pipeline->watch);
    keeper_destroy(pipeline->keeper);
    queue_destroy(pipeline->queue);
    tally_destroy(pipeline->tally);
    pthread_mutex_destroy(&pipeline->triage_lock);
    free(pipeline);
}

int pipeline_triage_set(struct pipeline *pipeline, const struct triage_config *config,
                        struct err *err) {
    struct triage *triage;
    int code = triage_create(config, memory_of_triage(pipeline->memory), &triage, err);
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
    tally_stats_get(pipeline->tally, out);
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
    size_t count = tally_cameras_get(pipeline->tally, out, room);
    for (size_t i = 0; i < count && i < pipeline->source_count; i++) {
        source_stats_get(pipeline->sources[i], &out[i].from);
    }
    return count;
}
