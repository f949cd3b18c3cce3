/* link: signed links with a credential that only the running sync has.
 *
 * A caller of any thread leaves its wish in the sync's one box and waits; the loop serves it when
 * it comes by, which is at once: it is woken. Where a token or a lent key is missing, that is
 * fetched first, through the loop's own transfers, and the wish stays in the box.
 *
 *   EMPTY --caller--> WANTED --loop--> MADE --caller--> EMPTY
 *                        \--caller's time is up--> LEFT --loop--> EMPTY
 * One box and no queue: links are minted on click, and a second caller waits for the first.
 */
#include "daemon/base/clock.h"
#include "sync/engine.h"
#include "sync/sign.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct lane *lane_find(struct sync *sync, const char *name) {
    for (size_t i = 0; i < sync->lane_count; i++) {
        if (strcmp(sync->lanes[i].remote->name, name) == 0) {
            return &sync->lanes[i];
        }
    }
    return NULL;
}

/* ---- the loop's side ---- */

static void on_reply(struct caller *caller, const struct http_reply *reply) {
    struct errand *errand = (struct errand *)(void *)caller;
    struct remote *remote = errand->lane->remote;
    errand->asking = false;
    errand->failures = remote->ops->delegated(remote, reply, &errand->err) != 0;
}

/* The lent key is asked for; false when it could not be. */
static bool delegate(struct lane *lane, int64_t now_utc_us, struct err *err) {
    struct http_request request = {0};
    lane->lending.caller.reply = on_reply;
    lane->lending.lane = lane;
    if (lane->remote->ops->delegate(lane->remote, now_utc_us, &request, err) != 0) {
        return false;
    }
    request.proxy = lane->remote->proxy;
    if (sync__http_start(lane->sync->http, &request, &lane->lending, err) != 0) {
        return false;
    }
    lane->lending.asking = true;
    return true;
}

/* One try a wish: an errand that failed is not begun again for it. */
static bool usable(struct lane *lane, struct link_box *box) {
    const struct credential *credential = lane->remote->credential;
    int64_t now_us = clock_boot_us();
    bool waited = box->waited && credential != NULL && !credential->asking;
    if (waited && sync__credential_get(credential, now_us) == NULL) {
        return false;
    }
    box->waited = true;
    return sync__errand_ready(lane, now_us);
}

/* A link ends with the keys that signed it, where none are lent for it: such that end too soon are
 * fetched anew, once. True while that is under way. */
static bool renews(struct lane *lane, struct link_box *box) {
    struct credential *credential = lane->remote->credential;
    int64_t now_us = clock_boot_us();
    if (credential == NULL || lane->remote->ops->delegate != NULL) {
        return false;
    }
    const struct credential_value *value = sync__credential_get(credential, now_us);
    bool soon = value != NULL && value->ends_us - now_us < (int64_t)box->ttl_s * 1000000;
    if (soon && !box->renewed) {
        box->renewed = true;
        credential->value.renew_us = now_us;
        (void)sync__errand_ready(lane, now_us);
    }
    return box->renewed && credential->asking;
}

static bool settle(struct link_box *box, const struct err *err) {
    box->err = *err;
    box->code =
        err->code != 0 ? err->code : err_set(&box->err, ERR_BUSY, "no credential to sign with yet");
    return true;
}

/* True when the wish is settled, by a link or by an error. */
static bool serve(struct lane *lane, struct link_box *box) {
    struct remote *remote = lane->remote;
    int64_t now_utc_us = clock_utc_us();
    struct buf link = BUF_INIT(SYNC_LINK_MAX - 1);
    box->code = ERR_REFUSED;
    if (remote->ops->link == NULL) {
        err_set(&box->err, ERR_REFUSED, "remote %s is a %s: no link can be made to it",
                remote->name, remote->ops->kind);
        return true;
    }
    if (!usable(lane, box)) {
        return !remote->credential->asking && settle(box, &lane->errand.err);
    }
    if (renews(lane, box)) {
        return false;
    }
    bool lent = remote->ops->delegate != NULL &&
                remote->ops->link_due(remote, now_utc_us + (int64_t)box->ttl_s * 1000000);
    if (lent && lane->lending.asking) {
        return false;
    }
    if (lent && !box->tried) {
        box->tried = true;
        return !delegate(lane, now_utc_us, &lane->lending.err) && settle(box, &lane->lending.err);
    }
    if (lent && lane->lending.failures > 0) {
        return settle(box, &lane->lending.err);
    }
    box->code =
        remote->ops->link(remote, box->tier, box->key, box->ttl_s, now_utc_us, &link, &box->err);
    if (box->code == 0 && link.failed) {
        box->code = err_set(&box->err, ERR_INVALID, "the link would be too long");
    }
    snprintf(box->link, sizeof box->link, "%s", box->code == 0 ? link.data : "");
    buf_finish(&link);
    return true;
}

void sync__link_serve(struct sync *sync) {
    struct link_box *box = &sync->box;
    pthread_mutex_lock(&sync->lock);
    bool wanted = box->state == LINK_WANTED;
    if (box->state == LINK_LEFT) {
        box->state = LINK_EMPTY;
        pthread_cond_broadcast(&sync->box_changed);
    }
    pthread_mutex_unlock(&sync->lock);
    if (!wanted || !serve(lane_find(sync, box->remote), box)) {
        return;
    }
    pthread_mutex_lock(&sync->lock);
    box->state = box->state == LINK_LEFT ? LINK_EMPTY : LINK_MADE;
    pthread_cond_broadcast(&sync->box_changed);
    pthread_mutex_unlock(&sync->lock);
}

/* ---- the caller's side ---- */

/* Under the lock; false when the time was up. */
static bool wait_state(struct sync *sync, enum link_state state, const struct timespec *until) {
    int result = 0;
    while (sync->box.state != state && result == 0) {
        result = pthread_cond_timedwait(&sync->box_changed, &sync->lock, until);
    }
    return sync->box.state == state;
}

int sync_link_get(struct sync *sync, const char *remote, enum frame_tier tier, const char *key,
                  int ttl_s, char out[SYNC_LINK_MAX], struct err *err) {
    struct link_box *box = &sync->box;
    struct timespec until;
    if (ttl_s < 1 || ttl_s > SIGN_LINK_TTL_MAX_S) {
        return err_set(err, ERR_INVALID, "a link lives 1 second to 7 days");
    }
    if (strlen(key) > STORE_KEY_MAX) {
        return err_set(err, ERR_INVALID, "an object's name must have 1 to %d bytes", STORE_KEY_MAX);
    }
    if (lane_find(sync, remote) == NULL) {
        return err_set(err, ERR_NOT_FOUND, "there is no remote %s", remote);
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LINK_WAIT_S;
    int code = ERR_TIMEOUT;
    pthread_mutex_lock(&sync->lock);
    if (wait_state(sync, LINK_EMPTY, &until)) {
        *box = (struct link_box){.state = LINK_WANTED, .tier = tier, .ttl_s = ttl_s};
        snprintf(box->remote, sizeof box->remote, "%s", remote);
        snprintf(box->key, sizeof box->key, "%s", key);
        sync__http_wake(sync->http);
        bool made = wait_state(sync, LINK_MADE, &until);
        code = made ? box->code : ERR_TIMEOUT;
        if (code == 0) {
            memcpy(out, box->link, sizeof box->link);
        } else if (made && err != NULL) {
            *err = box->err;
        }
        box->state = made ? LINK_EMPTY : LINK_LEFT;
        pthread_cond_broadcast(&sync->box_changed);
    }
    pthread_mutex_unlock(&sync->lock);
    return code != ERR_TIMEOUT
               ? code
               : err_set(err, ERR_TIMEOUT, "remote %s: no credential to sign a link with yet",
                         remote);
}
