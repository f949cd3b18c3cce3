/* pipeline: the one way through the house, from sources to the store.
 *
 *     sources, pushed frames ─▶ queue ─▶ workers (detector, triage) ─▶ keeper ─▶ store
 *
 * A worker thread owns one detector (a child process). Full queue: the oldest frame of a live
 * camera makes room; files wait; a pushed frame gets ERR_FULL. Life cycle: pipeline_start ->
 * frames flow -> pipeline_drain (no new frames, what was accepted is settled) -> pipeline_stop.
 * Thread: any, but start, drain and stop belong to one.
 */
#ifndef CREEL_DAEMON_PIPELINE_H
#define CREEL_DAEMON_PIPELINE_H

#include "config/config.h"
#include "daemon/base/err.h"
#include "daemon/eyes.h"
#include "daemon/poison.h"
#include "daemon/tally.h"
#include "daemon/watch.h"
#include "inference/inference.h"
#include "inference/source.h"
#include "store/store.h"
#include "webui/webui.h"

#define PIPELINE_WORKERS_MAX EYES_SEATS_MAX

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

void pipeline_stats_get(struct pipeline *pipeline, struct pipeline_stats *out);

/* At most `room` cameras; returns how many. */
size_t pipeline_cameras_get(struct pipeline *pipeline, struct pipeline_camera *out, size_t room);

#endif
