/* status: one document for `creel status`, the status page and, flattened, Prometheus. */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "daemon/requests.h"
#include "daemon/watch.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_MAX (1u << 20)

#define HOUR_US     (3600 * INT64_C(1000000))

static const char *const tier_names[TIER_COUNT] = {"annotated", "unannotated"};

static json_t *number(uint64_t value) {
    return json_integer((json_int_t)value);
}

/* Frames that ended their worker twice. */
static json_t *poison_json(struct pipeline *pipeline) {
    CLEANUP(mem_free_at) struct poison_stats *stats = mem_alloc(sizeof(*stats));
    if (!stats) {
        return json_null();
    }
    poison_stats_get(pipeline_poison(pipeline), stats);
    return json_pack("{s:s,s:o,s:o,s:o,s:s}", "dir", stats->dir, "files", number(stats->files),
                     "bytes", number(stats->bytes), "added", number(stats->added), "last",
                     stats->last);
}

static json_t *pipeline_json(struct pipeline *pipeline) {
    struct pipeline_stats stats;
    pipeline_stats_get(pipeline, &stats);
    json_t *workers = json_array();
    for (size_t i = 0; i < stats.worker_count; i++) {
        const struct detector_stats *worker = &stats.workers[i];
        json_array_append_new(workers, json_pack("{s:i,s:s,s:o,s:o,s:o,s:o,s:o}", "pid",
                                                 worker->pid, "program", worker->program, "frames",
                                                 number(worker->frames), "bad", number(worker->bad),
                                                 "restarts", number(worker->restarts), "timeouts",
                                                 number(worker->timeouts), "batches",
                                                 number(worker->batches)));
    }
    json_t *out = json_pack(
        "{s:o,s:{s:o,s:o},s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:f,s:o,s:o,s:s,s:o,s:o}", "frames_seen",
        number(stats.seen), "kept", "annotated", number(stats.kept[TIER_ANNOTATED]), "unannotated",
        number(stats.kept[TIER_UNANNOTATED]), "kept_bytes", number(stats.kept_bytes), "rescued",
        number(stats.rescued), "displaced", number(stats.displaced), "rejected",
        number(stats.rejected), "over_budget", number(stats.over_budget), "bad", number(stats.bad),
        "dropped", number(stats.dropped), "failed", number(stats.failed), "detect_ms_mean",
        stats.detect_ms_mean, "queued", number(stats.queued), "queue_bound",
        number(stats.queue_bound), "last_error", stats.last_error, "workers", workers, "poison",
        poison_json(pipeline));
    json_object_set_new(out, "frames_per_second", json_real(stats.rate.per_second));
    json_object_set_new(out, "detect", pace_times_json(&stats.detect));
    json_object_set_new(out, "latency", pace_times_json(&stats.latency));
    return out;
}

static json_t *cameras_json(struct pipeline *pipeline) {
    json_t *list = json_array();
    const size_t room = TALLY_CAMERAS_MAX;
    CLEANUP(mem_free_at) struct pipeline_camera *cameras = mem_array(room, sizeof(*cameras));
    size_t count = cameras ? pipeline_cameras_get(pipeline, cameras, room) : 0;
    for (size_t i = 0; i < count; i++) {
        const struct pipeline_camera *camera = &cameras[i];
        char last[CLOCK_RFC3339_SIZE] = "";
        if (camera->last_utc_us) {
            clock_format_rfc3339(camera->last_utc_us, last);
        }
        json_array_append_new(
            list,
            json_pack("{s:s,s:s,s:f,s:f,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:s}", "name",
                      camera->name, "source", camera->source, "frames_per_second",
                      camera->rate.per_second, "latency_ms", camera->latency_ms, "frames_seen",
                      number(camera->seen), "kept", number(camera->kept), "rejected",
                      number(camera->rejected), "bad", number(camera->bad), "dropped",
                      number(camera->dropped), "failed", number(camera->failed), "skipped",
                      number(camera->from.skipped), "errors", number(camera->from.errors),
                      "last_frame", last, "last_error", camera->from.last_error));
    }
    return list;
}

/* Of the file system, and what of it is to be left free. */
static void room_add(json_t *out, const struct store_config *config) {
    uint64_t total = 0, available = 0;
    if (fs_space(config->dir, &total, &available, NULL) == 0) {
        uint64_t floor = config->min_free_bytes
                             ? config->min_free_bytes
                             : (uint64_t)((double)total * config->min_free_fraction);
        json_object_set_new(out, "free_bytes", number(available));
        json_object_set_new(out, "floor_bytes", number(floor));
    }
}

static json_t *store_json(struct store *store, const struct store_config *config,
                          const struct store_counts *counts) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    json_t *out = json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s}", "dir", config->dir, "seq",
                            number(counts->seq), "index_lag", number(stats.index_lag), "disk_bytes",
                            number(counts->disk_bytes), "quota_bytes", number(counts->quota_bytes),
                            "acknowledged", number(stats.acked), "failed", number(stats.failed),
                            "refused_full", number(stats.refused_full), "evicted_frames",
                            number(stats.evicted_frames), "last_error", stats.last_error);
    if (out && stats.limits_held) {
        json_object_set_new(out, "limits_held",
                            json_pack("{s:o,s:o}", "frames", number(stats.limits_held_frames), "of",
                                      number(stats.limits_held_of)));
    }
    if (out) {
        room_add(out, config);
        json_object_set_new(out, "ages_rest", json_boolean(stats.ages_rest));
        json_object_set_new(out, "index_rebuilding", json_boolean(stats.index_rebuilding));
    }
    for (int tier = 0; out && tier < TIER_COUNT; tier++) {
        json_object_set_new(out, tier_names[tier],
                            json_pack("{s:o,s:o,s:o,s:o}", "frames", number(counts->frames[tier]),
                                      "bytes", number(counts->blob_bytes[tier]), "replicated",
                                      number(counts->replicated[tier]), "evicted",
                                      number(counts->evicted[tier])));
    }
    return out;
}

static const struct sync_remote_status *remote_status(const struct sync_status *status,
                                                      const char *name) {
    for (size_t i = 0; i < status->remote_count; i++) {
        if (strcmp(status->remotes[i].name, name) == 0) {
            return &status->remotes[i];
        }
    }
    return NULL;
}

/* How fast it goes, how long it will take, and what it costs. */
static void pace_add(json_t *out, const struct store_remote_counts *counts,
                     const struct sync_remote_status *status) {
    bool known = status->bytes_per_s >= 1 && counts->pending > 0;
    double eta_s = known ? (double)counts->pending_bytes / status->bytes_per_s : 0;
    json_t *pace = json_pack(
        "{s:f,s:f,s:I,s:i,s:b,s:b,s:{s:o,s:o,s:o,s:o}}", "objects_per_second",
        status->objects_per_s, "bytes_per_second", status->bytes_per_s, "eta_seconds",
        (json_int_t)(eta_s < 1e12 ? eta_s + 0.5 : 1e12), "transfers_max", (int)status->window,
        "throttled", status->throttled, "budget_spent", status->budget_spent, "today", "requests",
        number(status->day_requests), "requests_max", number(status->day_budget.day_requests),
        "bytes", number(status->day_bytes), "bytes_max", number(status->day_budget.day_bytes));
    json_object_update(out, pace);
    json_decref(pace);
    if (status->month_cost >= 0) {
        json_object_set_new(out, "month_cost_estimate", json_real(status->month_cost));
    }
}

static json_t *remote_json(struct store *store, const struct store_remote_counts *counts,
                           const struct sync_remote_status *status) {
    char oldest[CLOCK_RFC3339_SIZE] = "";
    if (counts->oldest_pending_utc_us) {
        clock_format_rfc3339(counts->oldest_pending_utc_us, oldest);
    }
    json_t *out = json_pack("{s:s,s:o,s:o,s:s,s:o,s:o}", "name", counts->name, "pending",
                            number(counts->pending), "pending_bytes", number(counts->pending_bytes),
                            "oldest_pending", oldest, "done", number(counts->done), "quarantined",
                            number(counts->quarantined));
    bool paused = false;
    if (out && sync_pause_get(store, counts->name, &paused, NULL) == 0) {
        json_object_set_new(out, "paused", json_boolean(paused));
    }
    if (out && counts->oldest_pending_utc_us) {
        int64_t age_us = clock_utc_us() - counts->oldest_pending_utc_us;
        json_object_set_new(out, "oldest_pending_seconds",
                            json_integer(age_us > 0 ? age_us / 1000000 : 0));
    }
    if (!out || !status) {
        return out;
    }
    json_t *live =
        json_pack("{s:s,s:s,s:b,s:o,s:o,s:o,s:o,s:o,s:i,s:b,s:s}", "kind", status->kind, "where",
                  status->where, "required", status->required, "uploaded", number(status->uploaded),
                  "uploaded_bytes", number(status->uploaded_bytes), "already_there",
                  number(status->already_there), "failures", number(status->failures), "requests",
                  number(status->requests), "running", (int)status->running, "breaker_open",
                  status->breaker_open, "last_error", status->last_error);
    json_t *manifest =
        json_pack("{s:{s:o,s:o,s:o,s:s}}", "manifest", "rows", number(status->manifest_rows),
                  "parts", number(status->manifest_parts), "waiting",
                  number(status->manifest_waiting), "last_error", status->manifest_error);
    json_object_update(out, manifest);
    json_decref(manifest);
    json_object_update(out, live);
    json_decref(live);
    pace_add(out, counts, status);
    return out;
}

static json_t *sync_json(struct store *store, struct sync *sync,
                         const struct store_counts *counts) {
    CLEANUP(mem_free_at) struct sync_status *status = mem_alloc(sizeof(*status));
    json_t *list = json_array();
    if (!status) {
        return list;
    }
    if (sync) {
        sync_status_get(sync, status);
    }
    for (size_t i = 0; i < counts->remote_count; i++) {
        json_array_append_new(list, remote_json(store, &counts->remotes[i],
                                                remote_status(status, counts->remotes[i].name)));
    }
    return list;
}

/* The sums of one camera and rule; the list is short. */
static json_t *triage_row(json_t *list, const struct store_tally *row) {
    size_t index;
    json_t *known;
    json_array_foreach(list, index, known) {
        if (strcmp(json_string_value(json_object_get(known, "camera")), row->camera) == 0 &&
            strcmp(json_string_value(json_object_get(known, "rule")), row->rule) == 0) {
            return known;
        }
    }
    json_t *added = json_pack("{s:s,s:s}", "camera", row->camera, "rule", row->rule);
    json_array_append_new(list, added);
    return added;
}

static void add_to(json_t *row, const char *key, uint64_t more) {
    json_int_t before = json_integer_value(json_object_get(row, key));
    json_object_set_new(row, key, json_integer(before + (json_int_t)more));
}

static bool triage_add(void *ctx, const struct store_tally *row) {
    json_t *sums = triage_row(ctx, row);
    add_to(sums, "kept", row->kept);
    add_to(sums, "over_budget", row->over_budget);
    add_to(sums, "rejected", row->rejected);
    return true;
}

/* What triage decided in the last hour, by camera and rule. */
static json_t *triage_json(struct store *store) {
    json_t *list = json_array();
    int64_t now = clock_utc_us();
    store_tally_read(store, STORE_SPAN_MINUTE, now - HOUR_US, now + 60000000, triage_add, list,
                     NULL);
    return list;
}

json_t *status_json(const struct rooms *rooms) {
    CLEANUP(mem_free_at) struct store_counts *counts = mem_alloc(sizeof(*counts));
    json_t *out = json_pack("{s:s,s:s,s:b}", "version", CREEL_VERSION, "device",
                            rooms->values->device, "daemon", rooms->pipeline != NULL);
    if (!out || !counts) {
        return out;
    }
    if (rooms->pipeline) {
        int64_t up_s = (clock_boot_us() - rooms->started_boot_us) / 1000000;
        json_object_set_new(out, "uptime_seconds", json_integer(up_s));
        json_object_set_new(out, "model", model_state_json(pipeline_eyes(rooms->pipeline)));
        json_object_set_new(out, "pipeline", pipeline_json(rooms->pipeline));
        json_object_set_new(out, "cameras", cameras_json(rooms->pipeline));
    }
    struct err err;
    if (store_counts_read(rooms->reader, counts, &err)) {
        char why[2 * ERR_TEXT_MAX];
        json_object_set_new(out, "store_error", json_string(err_text(&err, why, sizeof(why))));
        return out;
    }
    json_object_set_new(out, "store", store_json(rooms->store, &rooms->values->store, counts));
    json_object_set_new(out, "triage_last_hour", triage_json(rooms->store));
    json_object_set_new(out, "sync", sync_json(rooms->store, rooms->sync, counts));
    return out;
}

/* ---- Prometheus text exposition format 0.0.4 ---- */

struct metric {
    const char *name, *type, *help;
    const char *path[3]; /* in the status document */
    const char *labels;
};

static const struct metric metrics[] = {
    {"creel_uptime_seconds", "gauge", "Time since start", {"uptime_seconds"}, ""},
    {"creel_frames_seen_total", "counter", "Frames looked at", {"pipeline", "frames_seen"}, ""},
    {"creel_frames_kept_total",
     "counter",
     "Frames kept since start",
     {"pipeline", "kept", "annotated"},
     "tier=\"annotated\""},
    {"creel_frames_kept_total",
     NULL,
     NULL,
     {"pipeline", "kept", "unannotated"},
     "tier=\"unannotated\""},
    {"creel_frames_rejected_total",
     "counter",
     "Frames not worth keeping",
     {"pipeline", "rejected"},
     ""},
    {"creel_frames_bad_total",
     "counter",
     "Frames that are no usable image",
     {"pipeline", "bad"},
     ""},
    {"creel_frames_dropped_total",
     "counter",
     "Frames dropped by a full queue",
     {"pipeline", "dropped"},
     ""},
    {"creel_frames_failed_total",
     "counter",
     "Frames worth keeping that were not kept",
     {"pipeline", "failed"},
     ""},
    {"creel_frames_poison_total",
     "counter",
     "Frames that ended their worker twice",
     {"pipeline", "poison", "added"},
     ""},
    {"creel_queue_length", "gauge", "Frames waiting for a worker", {"pipeline", "queued"}, ""},
    {"creel_store_frames",
     "gauge",
     "Frames known to the store",
     {"store", "annotated", "frames"},
     "tier=\"annotated\""},
    {"creel_store_frames", NULL, NULL, {"store", "unannotated", "frames"}, "tier=\"unannotated\""},
    {"creel_store_replicated_frames",
     "gauge",
     "Frames with a receipt",
     {"store", "annotated", "replicated"},
     "tier=\"annotated\""},
    {"creel_store_replicated_frames",
     NULL,
     NULL,
     {"store", "unannotated", "replicated"},
     "tier=\"unannotated\""},
    {"creel_store_disk_bytes", "gauge", "What the quota counts", {"store", "disk_bytes"}, ""},
    {"creel_store_quota_bytes", "gauge", "The quota, 0 for none", {"store", "quota_bytes"}, ""},
    {"creel_store_index_lag_frames",
     "gauge",
     "Acknowledged, not yet in the index",
     {"store", "index_lag"},
     ""},
    {"creel_store_failed_total", "counter", "Puts that failed", {"store", "failed"}, ""},
    {"creel_store_refused_full_total",
     "counter",
     "Puts refused for want of room",
     {"store", "refused_full"},
     ""},
    {"creel_store_evicted_frames_total",
     "counter",
     "Frames evicted",
     {"store", "evicted_frames"},
     ""},
};

static const struct metric remote_metrics[] = {
    {"creel_sync_pending_objects", "gauge", "Objects waiting for upload", {"pending"}, NULL},
    {"creel_sync_pending_bytes", "gauge", "Bytes waiting for upload", {"pending_bytes"}, NULL},
    {"creel_sync_quarantined_objects", "gauge", "Objects set aside", {"quarantined"}, NULL},
    {"creel_sync_uploaded_total", "counter", "Objects uploaded", {"uploaded"}, NULL},
    {"creel_sync_uploaded_bytes_total", "counter", "Bytes uploaded", {"uploaded_bytes"}, NULL},
    {"creel_sync_requests_total", "counter", "Requests sent", {"requests"}, NULL},
    {"creel_sync_bytes_per_second",
     "gauge",
     "Bytes confirmed a second",
     {"bytes_per_second"},
     NULL},
    {"creel_sync_transfers_max", "gauge", "Transfers that may go at once", {"transfers_max"}, NULL},
    {"creel_sync_oldest_pending_seconds",
     "gauge",
     "Age of the oldest that waits",
     {"oldest_pending_seconds"},
     NULL},
    {"creel_sync_day_requests",
     "gauge",
     "Requests since midnight UTC",
     {"today", "requests"},
     NULL},
    {"creel_sync_day_bytes", "gauge", "Bytes sent since midnight UTC", {"today", "bytes"}, NULL},
    {"creel_sync_month_cost",
     "gauge",
     "What this month will have cost by the prices",
     {"month_cost_estimate"},
     NULL},
    {"creel_sync_failures_total", "counter", "Attempts that failed", {"failures"}, NULL},
};

static void put_metric(struct buf *out, const struct metric *metric, bool head,
                       const json_t *document, const char *labels) {
    const json_t *value = document;
    for (size_t i = 0; i < ARRAY_LENGTH(metric->path) && metric->path[i]; i++) {
        value = json_object_get(value, metric->path[i]);
    }
    if (!json_is_number(value)) {
        return;
    }
    if (head) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                   metric->type);
    }
    buf_printf(out, "%s%s%s%s %.17g\n", metric->name, *labels ? "{" : "", labels,
               *labels ? "}" : "", json_number_value(value));
}

/* What is no single number of the document. */
static void pipeline_metrics(struct buf *out, struct pipeline *pipeline) {
    const size_t room = TALLY_CAMERAS_MAX;
    CLEANUP(mem_free_at) struct pipeline_stats *stats = mem_alloc(sizeof(*stats));
    CLEANUP(mem_free_at) struct pipeline_camera *cameras = mem_array(room, sizeof(*cameras));
    if (!stats || !cameras) {
        return;
    }
    pipeline_stats_get(pipeline, stats);
    pace_times_metric(out, "creel_detect_seconds", "Time of a frame in the worker", &stats->detect);
    pace_times_metric(out, "creel_latency_seconds",
                      "Time from capture to verdict of live cameras' frames", &stats->latency);
    buf_puts(out, "# HELP creel_worker_restarts_total Worker processes begun anew\n"
                  "# TYPE creel_worker_restarts_total counter\n");
    for (size_t i = 0; i < stats->worker_count; i++) {
        buf_printf(out, "creel_worker_restarts_total{worker=\"%zu\"} %" PRIu64 "\n", i,
                   stats->workers[i].restarts);
    }
    buf_printf(out,
               "# HELP creel_live_held_bytes Pictures held for who looks at the live view\n"
               "# TYPE creel_live_held_bytes gauge\ncreel_live_held_bytes %" PRIu64 "\n",
               watch_bytes(pipeline_watch(pipeline)));
    size_t count = pipeline_cameras_get(pipeline, cameras, room);
    buf_puts(out, "# HELP creel_camera_frames_total Frames looked at, by camera\n"
                  "# TYPE creel_camera_frames_total counter\n");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "creel_camera_frames_total{camera=\"%s\"} %" PRIu64 "\n", cameras[i].name,
                   cameras[i].seen);
    }
    buf_puts(out, "# HELP creel_camera_dropped_total Frames dropped by a full queue, by camera\n"
                  "# TYPE creel_camera_dropped_total counter\n");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "creel_camera_dropped_total{camera=\"%s\"} %" PRIu64 "\n", cameras[i].name,
                   cameras[i].dropped);
    }
}

char *status_metrics(const struct rooms *rooms) {
    json_t *status = status_json(rooms);
    if (!status) {
        return NULL;
    }
    struct buf out = BUF_INIT(METRICS_MAX);
    for (size_t i = 0; i < ARRAY_LENGTH(metrics); i++) {
        put_metric(&out, &metrics[i], metrics[i].help != NULL, status, metrics[i].labels);
    }
    const json_t *remotes = json_object_get(status, "sync");
    for (size_t i = 0; i < ARRAY_LENGTH(remote_metrics); i++) {
        for (size_t j = 0; j < json_array_size(remotes); j++) {
            const json_t *remote = json_array_get(remotes, j);
            char labels[64];
            snprintf(labels, sizeof(labels), "remote=\"%s\"",
                     json_string_value(json_object_get(remote, "name")));
            put_metric(&out, &remote_metrics[i], j == 0, remote, labels);
        }
    }
    json_decref(status);
    if (rooms->pipeline) {
        pipeline_metrics(&out, rooms->pipeline);
    }
    char *text = buf_take(&out, NULL);
    buf_finish(&out);
    return text;
}
