/* pipeline: the one way through the house, from sources to the store.
 *
 *     sources, pushed frames ─▶ queue ─▶ workers (detector, triage) ─▶ keep queue ─▶ keeper ─▶
 * store
 *
 * A worker thread owns one detector (a child process). What triage wants kept goes through a second
 * bounded queue to one keeper thread, so that a slow or full store costs frames (counted, said,
 * retried by files) but never the answer of an inference request. Full queue: the oldest frame of a
 * live camera makes room; files wait; a pushed frame gets ERR_FULL. Life cycle: pipeline_start ->
 * frames flow -> pipeline_drain (no new frames, what was accepted is settled) -> pipeline_stop.
 * Thread: any, but start, drain and stop belong to one.
 */
#ifndef CREEL_DAEMON_PIPELINE_H
#define CREEL_DAEMON_PIPELINE_H

#include "config/config.h"
#include "daemon/base/err.h"
#include "daemon/eyes.h"
#include "daemon/pace.h"
#include "daemon/poison.h"
#include "daemon/watch.h"
#include "inference/inference.h"
#include "inference/source.h"
#include "store/store.h"
#include "webui/webui.h"

#define PIPELINE_WORKERS_MAX EYES_SEATS_MAX
#define PIPELINE_KEEP_MAX    32 /* frames between triage and the store */

struct pipeline;

/* `values` and `store` are borrowed until pipeline_stop; `model`, that of values->model_dir, is
 * taken also when this fails. */
int pipeline_start(const struct config_values *values, struct model *model, struct store *store,
                   struct pipeline **out, struct err *err);
void pipeline_drain(struct pipeline *pipeline);
void pipeline_stop(
    struct pipeline *pipeline); /* drains first if that was not done; NULL accepted */

/* As webui_hooks.submit_frame. */
int pipeline_submit(struct pipeline *pipeline, const struct webui_push *push, struct err *err);

/* Replaces the triage rules and budgets. The old ones stay in force when it fails. */
int pipeline_triage_set(struct pipeline *pipeline, const struct triage_config *config,
                        struct err *err);

/* Who looks at the frames: which model, and how to change it. Borrowed. */
struct eyes *pipeline_eyes(struct pipeline *pipeline);
/* What the live view shows. Borrowed. */
struct watch *pipeline_watch(struct pipeline *pipeline);
/* Frames that ended their worker. Borrowed. */
struct poison *pipeline_poison(struct pipeline *pipeline);
/* Somebody wants the frames around this moment (rules of kind trigger): those after it are kept as
 * they come, and `*kept` of those before it are. ERR_NOT_FOUND: no such camera, or no such rule for
 * it. */
int pipeline_trigger(struct pipeline *pipeline, const char *camera, unsigned *kept,
                     struct err *err);

/* Writes what triage wants remembered; call it about once a second. Blocks on disk. */
void pipeline_tick(struct pipeline *pipeline);

struct pipeline_stats {
    uint64_t seen, kept[TIER_COUNT], kept_bytes, rejected, over_budget, bad, dropped, failed;
    uint64_t rescued;          /* of kept: they were rejected at first, and counted so */
    uint64_t displaced;        /* of kept: better ones took their place */
    double detect_ms_mean;     /* of the frames seen so far */
    struct pace_times detect;  /* in the worker */
    struct pace_times latency; /* from capture to verdict, of live cameras */
    struct pace_rate rate;
    size_t queued, queue_bound;
    struct detector_stats workers[EYES_ROWS_MAX];
    size_t worker_count;
    char last_error[ERR_TEXT_MAX];
};
void pipeline_stats_get(struct pipeline *pipeline, struct pipeline_stats *out);

struct pipeline_camera {
    char name[FRAME_NAME_MAX + 1];
    const char *source; /* "http" for pushed frames; else borrowed from the config */
    uint64_t seen, kept, rejected, bad, dropped, failed;
    int64_t last_utc_us; /* capture of its latest frame, 0: none yet */
    double latency_ms;   /* of that frame, from capture to verdict */
    struct pace_rate rate;
    struct source_stats from;
};
/* At most `room` cameras; returns how many. */
size_t pipeline_cameras_get(struct pipeline *pipeline, struct pipeline_camera *out, size_t room);

#endif
