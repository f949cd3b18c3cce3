/* errand: fetches a lane's credential through the loop's own transfers, so that nothing blocks and
 * other lanes do not notice.
 *
 *   idle --due--> asking --READY--> idle, what was parked goes on
 *                   \--fails--> idle; while the old value lasts: a warning, and a pause;
 *                               without one: the breaker opens, what was parked ends as denied
 * Invariants:
 *  1. One request at a time for a lane (single flight).
 *  2. Nothing is fetched for a lane that has nothing to send: due is asked only before a request.
 *  3. A job is parked only while a request is under way, and goes on or ends with its reply.
 */
#include "daemon/base/clock.h"
#include "sync/engine.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Notes the failure; what was parked is the caller's. */
static void failed(struct lane *lane, const struct err *err) {
    struct credential *credential = lane->remote->credential;
    int64_t now_us = clock_boot_us(), wish_us = (int64_t)err->retry_after_ms * 1000;
    const struct credential_value *value = sync__credential_get(credential, now_us);
    struct err *told = &lane->errand.err;
    char text[ERR_TEXT_MAX];
    credential->asking = false;
    *told = *err;
    err_wrap(told, "remote %s", lane->remote->name);
    err_text(told, text, sizeof text);
    if (err->code == ERR_CLOSED) {
        return;
    }
    lane->errand.failures++;
    if (value != NULL) {
        uint64_t missed = 0;
        credential->retry_us = now_us + (wish_us > ERRAND_PAUSE_US ? wish_us : ERRAND_PAUSE_US);
        if (log_gate_open(&lane->gate, LANE_LOG_MS, &missed)) {
            log_warn("a credential could not be renewed; the old one still serves",
                     "remote=%s for_s=%" PRId64 " error=\"%s\"", lane->remote->name,
                     (value->ends_us - now_us) / 1000000, text);
        }
        return;
    }
    lane->status.failures++;
    memcpy(lane->status.last_error, text, sizeof lane->status.last_error);
    if (sync__health_denied(&lane->health, now_us, sync__random())) {
        sync__lane_log_breaker(lane, true, told);
    }
    if (lane->health.retry_at_us < now_us + wish_us) {
        lane->health.retry_at_us = now_us + wish_us;
    }
}

static void step(struct lane *lane, enum credential_verdict verdict, struct http_request *request,
                 struct err *err) {
    struct credential *credential = lane->remote->credential;
    credential->asking = verdict == CREDENTIAL_AGAIN;
    if (verdict == CREDENTIAL_AGAIN) {
        if (sync__http_start(lane->sync->http, request, &lane->errand, err) != 0) {
            failed(lane, err);
        }
    } else if (verdict == CREDENTIAL_READY) {
        credential->retry_us = 0;
        if (lane->errand.failures > 0) {
            log_info("there is a credential again", "remote=%s", lane->remote->name);
        }
        lane->errand.failures = 0;
    } else {
        failed(lane, err);
    }
}

static void on_reply(struct caller *caller, const struct http_reply *reply) {
    struct lane *lane = ((struct errand *)(void *)caller)->lane;
    struct credential *credential = lane->remote->credential;
    struct http_request request = {0};
    struct err err = {0};
    if (reply->status == 0 && reply->fault.code == ERR_CLOSED) {
        failed(lane, &reply->fault);
    } else {
        enum credential_verdict verdict = sync__credential_judge(credential, reply, &request, &err);
        step(lane, verdict, &request, &err);
    }
    if (!credential->asking) {
        bool usable = sync__credential_get(credential, clock_boot_us()) != NULL;
        sync__lane_unpark(lane, usable ? NULL : &lane->errand.err);
    }
}

bool sync__errand_ready(struct lane *lane, int64_t now_us) {
    struct credential *credential = lane->remote->credential;
    if (credential == NULL) {
        return true;
    }
    if (sync__credential_due(credential, now_us)) {
        struct http_request request = {0};
        struct err err = {0};
        lane->errand.caller.reply = on_reply;
        lane->errand.lane = lane;
        enum credential_verdict verdict = sync__credential_begin(credential, &request, &err);
        step(lane, verdict, &request, &err);
    }
    return sync__credential_get(credential, now_us) != NULL;
}
