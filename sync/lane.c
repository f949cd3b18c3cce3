#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_SPACE "remote" /* of the store's state: the marks of directories */

/* ---- opening ---- */

static int mark_get(void *ctx, char *mark, struct err *err) {
    struct lane *lane = ctx;
    size_t size = 0;
    if (atomic_load(&lane->sync->stopping)) {
        return err_set(err, ERR_CLOSED, "creel is stopping");
    }
    int code =
        store_state_get(lane->sync->store, MARK_SPACE, lane->remote->identity.bytes,
                        sizeof lane->remote->identity.bytes, mark, HASH_ID_SIZE - 1, &size, err);
    mark[code == 0 ? size : 0] = '\0';
    return code;
}

static int mark_put(void *ctx, const char *mark, struct err *err) {
    struct lane *lane = ctx;
    if (atomic_load(&lane->sync->stopping)) {
        return err_set(err, ERR_CLOSED, "creel is stopping");
    }
    return store_state_put(lane->sync->store, MARK_SPACE, lane->remote->identity.bytes,
                           sizeof lane->remote->identity.bytes, mark, strlen(mark), err);
}

/* Unfinished uploads: one row of the store's state each, from before its first part to its end. On
 * the loop's thread, which such a row holds up for a moment; an upload is rare, and large. */
static void upload_key(const struct lane *lane, const char *key, struct frame_hash *out) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(STORE_KEY_MAX + 64);
    buf_append(&text, lane->remote->identity.bytes, sizeof lane->remote->identity.bytes);
    buf_puts(&text, key);
    hash_sha256(text.data, text.len, out);
}

static int upload_get(void *ctx, const char *key, char *upload, size_t room, struct err *err) {
    struct lane *lane = ctx;
    struct frame_hash name;
    size_t size = 0;
    upload_key(lane, key, &name);
    int code = store_state_get(lane->sync->store, UPLOAD_SPACE, name.bytes, sizeof name.bytes,
                               upload, room - 1, &size, err);
    upload[code == 0 ? size : 0] = '\0';
    return code;
}

static int upload_put(void *ctx, const char *key, const char *upload, struct err *err) {
    struct lane *lane = ctx;
    struct frame_hash name;
    upload_key(lane, key, &name);
    if (upload[0] == '\0') {
        return store_state_drop(lane->sync->store, UPLOAD_SPACE, name.bytes, sizeof name.bytes,
                                err);
    }
    return store_state_put(lane->sync->store, UPLOAD_SPACE, name.bytes, sizeof name.bytes, upload,
                           strlen(upload), err);
}

int sync__lane_open(struct lane *lane, struct sync *sync, const struct sync_remote_config *config,
                    unsigned share, bool fixed, struct err *err) {
    lane->sync = sync;
    int code = sync__remote_open(config, &lane->remote, err);
    if (code != 0) {
        return code;
    }
    struct remote *remote = lane->remote;
    struct health_limits limits = {.base_ms = sync->config.backoff_base_ms,
                                   .cap_ms = sync->config.backoff_max_ms,
                                   .attempts_max = sync->config.attempts_max,
                                   .bytes_max = sync->config.retry_bytes,
                                   .share = 1};
    bool blocks = remote->ops->store != NULL;
    sync__pace_init(&lane->pace, blocks ? PORTER_WINDOW : fixed ? share : 0, share);
    limits.share = lane->pace.window;
    sync__health_init(&lane->health, &limits);
    remote->memory = (struct remote_memory){.ctx = lane,
                                            .get = mark_get,
                                            .put = mark_put,
                                            .upload_get = upload_get,
                                            .upload_put = upload_put};
    lane->stale = true;
    lane->status.kind = remote->ops->kind;
    lane->status.required = config->required;
    memcpy(lane->status.name, remote->name, sizeof lane->status.name);
    memcpy(lane->status.where, remote->where, sizeof lane->status.where);
    lane->published = lane->status;
    return sync__gate_load(lane, config, err);
}

static void job_destroy(struct job *job) {
    sync__put_finish(&job->put);
    free(job->bytes);
    free(job);
}

void sync__lane_close(struct lane *lane) {
    while (lane->jobs != NULL) {
        struct job *job = lane->jobs;
        lane->jobs = job->next;
        job_destroy(job);
    }
    sync__remote_close(lane->remote);
    lane->remote = NULL;
}

/* ---- the end of a conversation ---- */

static void bytes_free(struct job *job) {
    if (job->bytes != NULL) {
        job->lane->sync->bytes -= job->object.size;
        free(job->bytes);
        job->bytes = NULL;
    }
}

void sync__lane_log_breaker(const struct lane *lane, bool opened, const struct err *err) {
    char text[ERR_TEXT_MAX * 2];
    if (opened) {
        log_warn("remote does not take frames; they wait here", "remote=%s error=\"%s\"",
                 lane->remote->name, err_text(err, text, sizeof text));
    } else {
        log_info("remote takes frames again", "remote=%s", lane->remote->name);
    }
}

static void end_retry(struct job *job, int64_t now_us) {
    struct lane *lane = job->lane;
    const struct err *err = &job->err;
    if (err->code == ERR_CLOSED) {
        return; /* we cut it off ourselves */
    }
    bool throttled = err->http_status == 429 || err->http_status == 503;
    if (throttled) {
        sync__pace_throttled(&lane->pace);
        sync__health_share(&lane->health, lane->pace.window);
        throttled = lane->pace.fixed; /* or it would be cut twice */
    }
    bool opened =
        sync__health_failure(&lane->health, throttled, err->retry_after_ms, now_us, sync__random());
    if (opened) {
        sync__lane_log_breaker(lane, true, err);
    }
    /* A large object that comes nearer with each attempt is no poison, however bad the link. */
    uint64_t kept = job->put.kept_bytes, lost = job->sent > kept ? job->sent - kept : 0;
    bool to_blame = kept == 0 && sync__health_row_failed(&lane->health, job->row.row);
    if (!to_blame && sync__health_row_cost(&lane->health, job->row.row, lost)) {
        to_blame = true;
        err_wrap(&job->err, "it cost sync.retry_bytes without arriving, while others did");
    }
    job->write = to_blame ? JOB_QUARANTINE : JOB_DEFER;
    job->delay_ms = sync__backoff_ms(lane->health.limits.base_ms, lane->health.limits.cap_ms,
                                     job->row.attempts, sync__random());
    if (job->delay_ms < err->retry_after_ms) {
        job->delay_ms = err->retry_after_ms;
    }
    lane->status.failures++;
}

static void end_refused(struct job *job) {
    struct lane *lane = job->lane;
    bool done = sync__health_row_refused(&lane->health, job->row.row);
    job->write = done ? JOB_QUARANTINE : JOB_DEFER;
    job->delay_ms = sync__backoff_ms(lane->health.limits.base_ms, lane->health.limits.cap_ms,
                                     job->row.attempts, sync__random());
    lane->status.failures++;
}

static void end_denied(struct job *job, int64_t now_us) {
    struct lane *lane = job->lane;
    if (sync__health_denied(&lane->health, now_us, sync__random())) {
        sync__lane_log_breaker(lane, true, &job->err);
    }
    lane->status.failures++;
}

static void end_receipt(struct job *job) {
    struct lane *lane = job->lane;
    job->write = JOB_RECEIPT;
    int64_t now_us = clock_boot_us();
    sync__meter_add(&lane->meter, job->row.blob_bytes, now_us);
    sync__pace_end(&lane->pace, job->row.blob_bytes, now_us);
    sync__health_share(&lane->health, lane->pace.window);
    if (sync__health_success(&lane->health, job->row.row)) {
        sync__lane_log_breaker(lane, false, NULL);
    }
}

static void note_reason(struct job *job) {
    struct sync_remote_status *status = &job->lane->status;
    err_text(&job->err, job->reason, sizeof job->reason);
    err_text(&job->err, status->last_error, sizeof status->last_error);
}

static void job_end(struct job *job, enum remote_verdict verdict) {
    struct lane *lane = job->lane;
    int64_t now_us = clock_boot_us();
    job->verdict = verdict;
    bytes_free(job);
    sync__put_finish(&job->put);
    lane->running--;
    if (job->parcel) {
        sync__parcel_end(job);
        return;
    }
    switch (verdict) {
    case REMOTE_STORED:
    case REMOTE_COMPARED:
    case REMOTE_EXISTS:
        end_receipt(job);
        break;
    case REMOTE_RETRY:
    case REMOTE_AGAIN:
        end_retry(job, now_us);
        break;
    case REMOTE_REFUSED:
        end_refused(job);
        break;
    case REMOTE_CONFLICT:
        job->write = JOB_QUARANTINE;
        lane->status.failures++;
        break;
    case REMOTE_DENIED:
        end_denied(job, now_us);
        break;
    }
    if (job->write != JOB_RECEIPT) {
        note_reason(job);
    }
    if (job->write == JOB_NOTHING) {
        sync__lane_settle(job);
    } else {
        queue_put(lane->sync->to_clerk, job); /* has room for every job there can be */
    }
}

/* ---- the conversation ---- */

static void job_ask(struct job *job) {
    struct lane *lane = job->lane;
    struct remote *remote = lane->remote;
    struct http_request request = {0};
    if (!sync__errand_ready(lane, clock_boot_us())) {
        job->parked = remote->credential->asking;
        if (!job->parked) {
            job->err = lane->errand.err;
            job_end(job, REMOTE_DENIED);
        }
        return;
    }
    if (++job->put.steps > REMOTE_STEPS_MAX) {
        err_set(&job->err, ERR_NET, "remote %s keeps changing its mind about %s", remote->name,
                job->key);
        job_end(job, REMOTE_RETRY);
        return;
    }
    int code = remote->ops->request(remote, &job->put, clock_utc_us(), &request, &job->err);
    if (code != 0) {
        job_end(job, code == ERR_INVALID ? REMOTE_REFUSED : REMOTE_RETRY);
        return;
    }
    request.proxy = remote->proxy;
    request.rate = sync__gate_charge(lane, request.body_size);
    if (sync__http_start(lane->sync->http, &request, job, &job->err) != 0) {
        job_end(job, REMOTE_RETRY);
    }
}

void sync__lane_unpark(struct lane *lane, const struct err *err) {
    for (struct job *job = lane->jobs, *next = NULL; job != NULL; job = next) {
        next = job->next; /* a job that ends may be freed */
        if (!job->parked) {
            continue;
        }
        job->parked = false;
        if (err == NULL) {
            job_ask(job);
            continue;
        }
        job->err = *err;
        job_end(job, err->code == ERR_CLOSED ? REMOTE_RETRY : REMOTE_DENIED);
    }
}

static void job_reply(struct caller *caller, const struct http_reply *reply) {
    struct job *job = (struct job *)(void *)caller;
    struct lane *lane = job->lane;
    if (reply->sent > 1) {
        for (unsigned i = 1; i < reply->sent; i++) { /* libcurl's own replays cost as much */
            sync__gate_charge(lane, job->object.size);
        }
    }
    job->sent += reply->sent_bytes;
    enum remote_verdict verdict =
        lane->remote->ops->judge(lane->remote, &job->put, reply, &job->err);
    if (verdict == REMOTE_AGAIN && !atomic_load(&lane->sync->stopping)) {
        job_ask(job);
        return;
    }
    if (verdict == REMOTE_AGAIN) {
        err_set(&job->err, ERR_CLOSED, "creel is stopping");
    }
    job_end(job, verdict);
}

void sync__lane_carried(struct job *job) {
    job_end(job, job->verdict);
}

static void warn_row(struct lane *lane, const char *text, const struct job *job,
                     const char *reason) {
    uint64_t missed = 0;
    if (log_gate_open(&lane->gate, LANE_LOG_MS, &missed)) {
        log_warn(text, "remote=%s key=%s reason=\"%s\" more=%" PRIu64, lane->remote->name, job->key,
                 reason, missed);
    }
}

static void count_receipt(struct job *job) {
    struct sync_remote_status *status = &job->lane->status;
    if (job->verdict == REMOTE_STORED) {
        status->uploaded++;
        status->uploaded_bytes += job->row.blob_bytes;
    } else {
        status->already_there++;
    }
}

static void job_unlink(struct job *job) {
    struct job **at = &job->lane->jobs;
    while (*at != job) {
        at = &(*at)->next;
    }
    *at = job->next;
    job->lane->busy--;
}

void sync__lane_settle(struct job *job) {
    struct lane *lane = job->lane;
    bool gone =
        job->write != JOB_RECEIPT && job->store_code == ERR_NOT_FOUND; /* evicted meanwhile */
    if (job->store_code != 0 && !gone) {
        warn_row(lane, "the store did not take what became of an upload", job, job->store_err.msg);
        lane->read_after_us = clock_boot_us() + LANE_PAUSE_US;
    } else if (job->write == JOB_RECEIPT) {
        count_receipt(job);
    } else if (job->write == JOB_QUARANTINE) {
        warn_row(lane, "frame set aside; creel sync retry releases it", job, job->reason);
    }
    if (job->write != JOB_RECEIPT || job->store_code != 0) {
        lane->stale = true; /* the row comes again, now or later */
    }
    job_unlink(job);
    job_destroy(job);
}

/* ---- rows ---- */

static bool is_busy(const struct lane *lane, uint64_t row) {
    for (const struct job *job = lane->jobs; job != NULL; job = job->next) {
        if (job->row.row == row) {
            return true;
        }
    }
    return false;
}

void sync__lane_rows_take(struct lane *lane, const struct store_outbox_row *rows, size_t count,
                          size_t limit) {
    lane->row_next = lane->row_count = 0;
    lane->stale = count == limit;
    for (size_t i = 0; i < count; i++) {
        if (is_busy(lane, rows[i].row)) {
            continue;
        }
        if (lane->row_count == LANE_ROWS) { /* rows of busy jobs are gone already: more came */
            lane->stale = true;
            return;
        }
        lane->rows[lane->row_count++] = rows[i];
    }
}

/* Rows that are in jobs are still in the outbox, so as many more are read. */
static void rows_read(struct lane *lane, int64_t now_us) {
    struct store_outbox_row rows[LANE_ROWS + LANE_BUSY_MAX];
    size_t limit = LANE_ROWS + lane->busy, count = 0;
    struct err err = {0};
    lane->row_next = lane->row_count = 0;
    lane->read_us = now_us;
    lane->next_due_us = 0;
    int code = store_outbox_read(lane->sync->reader, lane->remote->name, lane->sync->config.order,
                                 limit, rows, &count, &lane->next_due_us, &err);
    if (code != 0) {
        uint64_t missed = 0;
        if (log_gate_open(&lane->gate, LANE_LOG_MS, &missed)) {
            log_err(LOG_LEVEL_WARN, "the outbox could not be read", &err);
        }
        lane->read_after_us = now_us + LANE_PAUSE_US;
        return;
    }
    sync__lane_rows_take(lane, rows, count, limit);
}

static bool rows_wanted(const struct lane *lane, int64_t now_us) {
    return lane->stale || (lane->next_due_us != 0 && now_us >= lane->next_due_us) ||
           now_us - lane->read_us >= LANE_REREAD_US;
}

static const struct store_outbox_row *row_next(struct lane *lane, int64_t now_us) {
    if (lane->row_next == lane->row_count && now_us >= lane->read_after_us &&
        rows_wanted(lane, now_us)) {
        rows_read(lane, now_us);
    }
    return lane->row_next < lane->row_count ? &lane->rows[lane->row_next] : NULL;
}

/* ---- starting ---- */

struct job *sync__lane_job_create(struct lane *lane, const struct store_outbox_row *row) {
    struct job *job = mem_alloc(sizeof *job);
    if (job != NULL) {
        job->caller.reply = job_reply;
        job->lane = lane;
        job->row = *row;
        job->next = lane->jobs;
        lane->jobs = job;
        lane->busy++;
    }
    return job;
}

void sync__lane_job_send(struct job *job, size_t size) {
    struct lane *lane = job->lane;
    lane->sync->bytes += size;
    sync__object_init(&job->object, &job->row, job->key, job->bytes, size);
    job->put.object = &job->object;
    lane->running++;
    if (lane->porter != NULL) {
        sync__gate_charge(lane, size);
        sync__porter_give(lane->porter, job);
    } else {
        job_ask(job);
    }
}

void sync__lane_job_drop(struct job *job) {
    job_unlink(job);
    job_destroy(job);
}

/* The blob is not as it should be: no remote can help, a person may. */
static void job_set_aside(struct job *job) {
    err_wrap(&job->err, "the store cannot give the frame");
    note_reason(job);
    job->write = JOB_QUARANTINE;
    job->lane->status.failures++;
    queue_put(job->lane->sync->to_clerk, job);
}

/* False: the store has a fault that is not this frame's; try later. */
static bool job_begin(struct job *job, int64_t now_us) {
    struct lane *lane = job->lane;
    struct sync *sync = lane->sync;
    size_t size = 0;
    int code = sync_key_format(sync->config.device, &job->row, job->key, &job->err);
    if (code == 0) {
        code = store_blob_read(sync->reader, job->row.tier, &job->row.blob, &job->bytes, &size,
                               &job->err);
    }
    if (code == ERR_NOT_FOUND || code == ERR_CORRUPT || code == ERR_INVALID) {
        job_set_aside(job);
        return true;
    }
    if (code != 0) {
        warn_row(lane, "a frame could not be read for upload", job, job->err.msg);
        lane->read_after_us = now_us + LANE_PAUSE_US;
        lane->stale = true;
        job_unlink(job);
        job_destroy(job);
        return false;
    }
    sync__lane_job_send(job, size);
    return true;
}

static bool may_start(const struct lane *lane, const struct store_outbox_row *row, int64_t now_us) {
    const struct sync *sync = lane->sync;
    bool fits = lane->running == 0 || sync->bytes + row->blob_bytes <= SYNC_BYTES_MAX;
    return fits && lane->busy < LANE_BUSY_MAX &&
           sync__health_room(&lane->health, lane->running, now_us) > 0;
}

void sync__lane_fill(struct lane *lane) {
    int64_t now_us = clock_boot_us();
    if (now_us < lane->read_after_us || atomic_load(&lane->paused)) {
        return;
    }
    if (sync__health_room(&lane->health, lane->running, now_us) == 0) {
        if (lane->row_next < lane->row_count || lane->stale) {
            sync__pace_filled(&lane->pace);
        }
        return;
    }
    if (!sync__gate_open(lane, 0, now_us)) {
        return;
    }
    sync__parcel_fill(lane, now_us);
    for (;;) {
        const struct store_outbox_row *row = row_next(lane, now_us);
        if (row == NULL) {
            return;
        }
        if (!may_start(lane, row, now_us)) {
            sync__pace_filled(&lane->pace);
            return;
        }
        if (!sync__gate_open(lane, row->blob_bytes, now_us) || !sync__errand_ready(lane, now_us)) {
            return;
        }
        struct job *job = sync__lane_job_create(lane, row);
        lane->row_next++;
        if (job == NULL) {
            lane->stale = true;
            lane->read_after_us = now_us + LANE_PAUSE_US;
            return;
        }
        if (!job_begin(job, now_us)) {
            return;
        }
    }
}

int64_t sync__lane_deadline(const struct lane *lane, int64_t now_us) {
    if (atomic_load(&lane->paused)) {
        return INT64_MAX; /* whoever ends the pause wakes the loop */
    }
    if (lane->remote != NULL && lane->remote->credential != NULL &&
        lane->remote->credential->asking &&
        sync__credential_get(lane->remote->credential, now_us) == NULL) {
        return INT64_MAX; /* nothing starts before that reply, and that wakes the loop */
    }
    bool work = lane->row_next < lane->row_count || lane->stale;
    int64_t at = work ? now_us : lane->next_due_us;
    if (at == 0) {
        at = lane->read_us + LANE_REREAD_US;
    }
    int64_t part_us = sync__parcel_deadline(lane);
    at = part_us < at ? part_us : at;
    if (at < lane->health.retry_at_us) {
        at = lane->health.retry_at_us;
    }
    if (at < lane->read_after_us) {
        at = lane->read_after_us;
    }
    if (at < lane->gate_until_us) {
        at = lane->gate_until_us;
    }
    /* Due, and yet nothing was started: a job must end first, and that wakes the loop. */
    return at <= now_us && lane->busy > 0 ? INT64_MAX : at;
}

void sync__lane_publish(struct lane *lane) {
    struct sync_remote_status *status = &lane->status;
    int64_t now_us = clock_boot_us(), wait_us = lane->health.retry_at_us - now_us;
    sync__gate_publish(lane, now_us);
    status->running = lane->running;
    sync__manifests_count(lane->sync->manifests, (size_t)(lane - lane->sync->lanes),
                          &status->manifest_rows, &status->manifest_waiting);
    status->breaker_open = lane->health.open;
    status->paused = atomic_load(&lane->paused);
    status->retry_at_utc_us = wait_us > 0 ? clock_utc_us() + wait_us : 0;
    pthread_mutex_lock(&lane->sync->lock);
    lane->published = *status;
    pthread_mutex_unlock(&lane->sync->lock);
}
