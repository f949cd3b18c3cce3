/* parcel: what is brought beside frames, a sealed part of the manifest, a sidecar, an overlay: a
 * job of the lane like a frame's, but for its end.
 *
 * Parts go one at a time a lane, oldest first, the others a few at a time, in between the frames.
 * It waits while the lane's breaker is open, and its own failures never open that: a credential
 * that may write frames and not manifests still brings frames. Its row is no row of the outbox, so
 * the clerk never sees it.
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "sync/engine.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_CAP_MS 300000
#define LOG_MS       60000

static size_t lane_index(const struct lane *lane) {
    return (size_t)(lane - lane->sync->lanes);
}

static void note_trouble(struct lane *lane, const struct err *err, int64_t now_us) {
    struct parcel *parcel = &lane->parcel;
    int64_t delay_ms = sync__backoff_ms(lane->health.limits.base_ms, RETRY_CAP_MS,
                                        ++parcel->failures, sync__random());
    delay_ms = delay_ms > err->retry_after_ms ? delay_ms : err->retry_after_ms;
    parcel->retry_at_us = now_us + delay_ms * 1000;
    err_text(err, lane->status.manifest_error, sizeof lane->status.manifest_error);
    uint64_t missed = 0;
    if (log_gate_open(&parcel->gate, LOG_MS, &missed)) {
        log_warn("a part of the manifest waits", "remote=%s error=\"%s\" more=%" PRIu64,
                 lane->remote->name, lane->status.manifest_error, missed);
    }
}

/* What is lost or stands in its own way must not hold up the others; its file stays for a person.
 */
static void set_aside(struct lane *lane, const struct manifest_name *name, struct err *err,
                      int64_t now_us) {
    err_wrap(err, "a part of the manifest is set aside in the spool");
    note_trouble(lane, err, now_us);
    sync__manifests_sent(lane->parcel.from, lane_index(lane), name, false);
}

/* Another one's under this name is as good: of frames with the same bytes the first one's stays. */
static void companion_end(struct job *job, int64_t now_us) {
    struct lane *lane = job->lane;
    struct parcel *parcel = &lane->parcel;
    bool done = job->verdict == REMOTE_STORED || job->verdict == REMOTE_COMPARED ||
                job->verdict == REMOTE_EXISTS || job->verdict == REMOTE_CONFLICT;
    parcel->companions--;
    if (done) {
        parcel->failures = 0;
    } else if (job->err.code != ERR_CLOSED) {
        note_trouble(lane, &job->err, now_us);
    }
    sync__companions_end(lane->sync->companions, lane_index(lane), job->companion, done);
    sync__lane_job_drop(job);
}

void sync__parcel_end(struct job *job) {
    struct lane *lane = job->lane;
    struct parcel *parcel = &lane->parcel;
    int64_t now_us = clock_boot_us();
    if (job->companion != NULL) {
        companion_end(job, now_us);
        return;
    }
    parcel->busy = false;
    switch (job->verdict) {
    case REMOTE_STORED:
    case REMOTE_COMPARED:
    case REMOTE_EXISTS: /* under a name with its number and hash: ours */
        parcel->failures = 0;
        parcel->retry_at_us = 0;
        lane->status.manifest_parts++;
        lane->status.manifest_error[0] = '\0';
        sync__manifests_sent(lane->parcel.from, lane_index(lane), &parcel->name, true);
        break;
    case REMOTE_CONFLICT:
        set_aside(lane, &parcel->name, &job->err, now_us);
        break;
    default:
        if (job->err.code != ERR_CLOSED) { /* else we cut it off ourselves */
            note_trouble(lane, &job->err, now_us);
        }
    }
    sync__lane_job_drop(job);
}

/* Zero, or why there is none. */
static int part_load(struct lane *lane, struct job *job, size_t *size, struct err *err) {
    struct parcel *parcel = &lane->parcel;
    struct sync *sync = lane->sync;
    int code = sync__manifest_key(sync->config.device, &parcel->name, job->key, err);
    code = code != 0 ? code
                     : sync__manifests_read(lane->parcel.from, lane_index(lane), &parcel->name,
                                            &job->bytes, size, err);
    if (code == 0) {
        job->row.tier = TIER_NONE;
        job->row.media = MEDIA_NONE;
        job->row.blob_bytes = *size;
        hash_sha256(job->bytes, *size, &job->row.blob);
    }
    return code;
}

static bool companion_start(struct lane *lane) {
    const struct store_outbox_row none = {0};
    struct job *job = sync__lane_job_create(lane, &none);
    struct companion *companion = NULL;
    if (job != NULL) {
        companion = sync__companions_take(lane->sync->companions, lane_index(lane), &job->bytes);
    }
    if (companion == NULL) {
        if (job != NULL) {
            sync__lane_job_drop(job);
        }
        return false;
    }
    job->parcel = true;
    job->companion = companion;
    job->row.tier = companion->tier;
    job->row.media = companion->media;
    job->row.blob_bytes = companion->size;
    hash_sha256(job->bytes, companion->size, &job->row.blob);
    memcpy(job->key, companion->key, sizeof job->key);
    lane->parcel.companions++;
    sync__lane_job_send(job, companion->size);
    return true;
}

static void companions_fill(struct lane *lane, int64_t now_us) {
    while (lane->parcel.companions < COMPANION_AT_ONCE && lane->busy < LANE_BUSY_MAX &&
           now_us >= lane->parcel.retry_at_us && !lane->health.open &&
           sync__health_room(&lane->health, lane->running, now_us) > 0 &&
           sync__companions_wait(lane->sync->companions, lane_index(lane)) &&
           sync__gate_open(lane, 0, now_us) && sync__errand_ready(lane, now_us) &&
           companion_start(lane)) {
    }
}

static void part_fill(struct lane *lane, int64_t now_us) {
    struct parcel *parcel = &lane->parcel;
    if (parcel->busy || now_us < parcel->retry_at_us || lane->health.open ||
        !sync__manifests_offer(lane->parcel.from, lane_index(lane), &parcel->name) ||
        !sync__errand_ready(lane, now_us)) {
        return;
    }
    const struct store_outbox_row none = {0};
    struct err err = {0};
    size_t size = 0;
    struct job *job = sync__lane_job_create(lane, &none);
    if (job == NULL) {
        err_set(&err, ERR_NOMEM, "no memory for a part of the manifest");
        note_trouble(lane, &err, now_us);
        return;
    }
    job->parcel = true;
    int code = part_load(lane, job, &size, &err);
    if (code != 0) {
        sync__lane_job_drop(job);
        if (code == ERR_CORRUPT || code == ERR_NOT_FOUND || code == ERR_INVALID) {
            set_aside(lane, &parcel->name, &err, now_us);
        } else {
            note_trouble(lane, &err, now_us);
        }
        return;
    }
    parcel->busy = true;
    sync__lane_job_send(job, size);
}

void sync__parcel_fill(struct lane *lane, int64_t now_us) {
    part_fill(lane, now_us);
    companions_fill(lane, now_us);
}

int64_t sync__parcel_deadline(const struct lane *lane) {
    struct manifest_name name;
    bool waits = !lane->parcel.busy && !lane->health.open &&
                 sync__manifests_offer(lane->parcel.from, lane_index(lane), &name);
    waits = waits || (lane->parcel.with_companions && !lane->health.open &&
                      lane->parcel.companions < COMPANION_AT_ONCE &&
                      sync__companions_wait(lane->sync->companions, lane_index(lane)));
    return waits ? lane->parcel.retry_at_us : INT64_MAX;
}
