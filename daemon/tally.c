#include "daemon/tally.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPLAIN_EVERY_MS 60000

struct tally {
    pthread_mutex_t lock; /* of all below */
    struct pipeline_stats stats;
    double detect_ms_sum;
    struct pipeline_camera cameras[TALLY_CAMERAS_MAX];
    size_t camera_count;
    bool closed;
    struct log_gate bad_gate, failed_gate, dropped_gate;
};

struct tally *tally_create(void) {
    struct tally *tally = mem_alloc(sizeof(*tally));
    if (tally) {
        pthread_mutex_init(&tally->lock, NULL);
    }
    return tally;
}

void tally_destroy(struct tally *tally) {
    if (tally) {
        pthread_mutex_destroy(&tally->lock);
        free(tally);
    }
}

/* ---- cameras ---- */

static struct pipeline_camera *find(struct tally *tally, const char *name) {
    for (size_t i = 0; i < tally->camera_count; i++) {
        if (strcmp(tally->cameras[i].name, name) == 0) {
            return &tally->cameras[i];
        }
    }
    return NULL;
}

/* With all rows taken, the last one: never for a pushed frame, see tally_stream_add. */
static struct pipeline_camera *row_of(struct tally *tally, const char *name) {
    struct pipeline_camera *camera = find(tally, name);
    if (camera || tally->camera_count == TALLY_CAMERAS_MAX) {
        return camera ? camera : &tally->cameras[TALLY_CAMERAS_MAX - 1];
    }
    camera = &tally->cameras[tally->camera_count++];
    snprintf(camera->name, sizeof(camera->name), "%s", name);
    camera->source = "http";
    return camera;
}

void tally_camera_add(struct tally *tally, const char *camera, const char *source) {
    pthread_mutex_lock(&tally->lock);
    row_of(tally, camera)->source = source;
    pthread_mutex_unlock(&tally->lock);
}

bool tally_stream_add(struct tally *tally, const char *camera) {
    pthread_mutex_lock(&tally->lock);
    bool known = strcmp(row_of(tally, camera)->name, camera) == 0;
    pthread_mutex_unlock(&tally->lock);
    return known;
}

bool tally_has(struct tally *tally, const char *camera) {
    pthread_mutex_lock(&tally->lock);
    bool known = find(tally, camera) != NULL;
    pthread_mutex_unlock(&tally->lock);
    return known;
}

/* ---- counting ---- */

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

static void count(struct tally *tally, const struct frame *frame, enum frame_outcome outcome,
                  const struct err *err) {
    const char *name = frame->record.camera;
    struct pipeline_camera *camera = row_of(tally, name);
    struct pipeline_stats *stats = &tally->stats;
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
        complain(&tally->bad_gate, LOG_LEVEL_WARN, "frame is no usable image", name, err);
        break;
    case FRAME_DROPPED:
        stats->dropped++;
        camera->dropped++;
        if (!tally->closed) {
            complain(&tally->dropped_gate, LOG_LEVEL_WARN, "frame dropped", name, err);
        }
        break;
    case FRAME_FAILED:
        stats->failed++;
        camera->failed++;
        complain(&tally->failed_gate, LOG_LEVEL_ERROR, "frame not kept", name, err);
        break;
    }
    if (err) {
        err_text(err, stats->last_error, sizeof(stats->last_error));
    }
}

void tally_settle(struct tally *tally, struct frame *frame, enum frame_outcome outcome,
                  const struct err *err) {
    pthread_mutex_lock(&tally->lock);
    count(tally, frame, outcome, err);
    pthread_mutex_unlock(&tally->lock);
    frame_settle(frame, outcome, err);
}

void tally_see(struct tally *tally, const struct frame *frame, bool over_budget) {
    int64_t late_us = clock_boot_us() - frame->record.captured.boot_us;
    pthread_mutex_lock(&tally->lock);
    struct pipeline_camera *camera = row_of(tally, frame->record.camera);
    camera->seen++;
    camera->last_utc_us = frame->record.captured.utc_us;
    camera->latency_ms = (double)late_us / 1e3;
    tally->stats.seen++;
    pace_times_note(&tally->stats.detect, frame->detect_ms / 1e3);
    if (frame->live) {
        pace_times_note(&tally->stats.latency, (double)late_us / 1e6);
    }
    tally->stats.over_budget += over_budget;
    tally->detect_ms_sum += frame->detect_ms;
    pthread_mutex_unlock(&tally->lock);
}

void tally_rescue(struct tally *tally) {
    pthread_mutex_lock(&tally->lock);
    tally->stats.rescued++;
    pthread_mutex_unlock(&tally->lock);
}

void tally_displace(struct tally *tally) {
    pthread_mutex_lock(&tally->lock);
    tally->stats.displaced++;
    pthread_mutex_unlock(&tally->lock);
}

void tally_close(struct tally *tally) {
    pthread_mutex_lock(&tally->lock);
    tally->closed = true;
    pthread_mutex_unlock(&tally->lock);
}

void tally_tick(struct tally *tally) {
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&tally->lock);
    pace_rate_note(&tally->stats.rate, tally->stats.seen, now);
    for (size_t i = 0; i < tally->camera_count; i++) {
        pace_rate_note(&tally->cameras[i].rate, tally->cameras[i].seen, now);
    }
    pthread_mutex_unlock(&tally->lock);
}

/* ---- looking in ---- */

void tally_stats_get(struct tally *tally, struct pipeline_stats *out) {
    pthread_mutex_lock(&tally->lock);
    *out = tally->stats;
    out->detect_ms_mean = out->seen ? tally->detect_ms_sum / (double)out->seen : 0;
    pthread_mutex_unlock(&tally->lock);
}

size_t tally_cameras_get(struct tally *tally, struct pipeline_camera *out, size_t room) {
    pthread_mutex_lock(&tally->lock);
    size_t count = tally->camera_count < room ? tally->camera_count : room;
    memcpy(out, tally->cameras, count * sizeof(*out));
    pthread_mutex_unlock(&tally->lock);
    return count;
}
