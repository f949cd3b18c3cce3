#include "webui/removal.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "webui/act.h"
#include "webui/state.h"
#include <string.h>

void webui__removals_init(struct webui__removals *removals) {
    pthread_mutex_init(&removals->lock, NULL);
    pthread_cond_init(&removals->wake, NULL);
}

void webui__removals_finish(struct webui__removals *removals) {
    for (size_t i = 0; i < WEBUI__REMOVALS_MAX; i++) {
        json_decref(removals->all[i].failed);
    }
    pthread_cond_destroy(&removals->wake);
    pthread_mutex_destroy(&removals->lock);
}

/* ---- the thread ---- */

/* The first that waits; under the lock. */
static struct webui__removal *next_of(struct webui__removals *removals) {
    struct webui__removal *next = NULL;
    for (size_t i = 0; i < WEBUI__REMOVALS_MAX; i++) {
        struct webui__removal *removal = &removals->all[i];
        if (removal->id[0] && removal->state == REMOVAL_WAITS &&
            (!next || removal->number < next->number)) {
            next = removal;
        }
    }
    return next;
}

struct telling {
    struct webui__removals *removals;
    struct webui__removal *removal;
    size_t told; /* of this call */
};

static void tell(void *ctx, const struct frame_id *id, const struct err *err) {
    struct telling *telling = ctx;
    pthread_mutex_lock(&telling->removals->lock);
    telling->told++;
    if (err->code) {
        json_array_append_new(telling->removal->failed, webui__failure_json(id, err));
    } else {
        telling->removal->done++;
    }
    pthread_mutex_unlock(&telling->removals->lock);
}

/* Nobody but this thread changes one that runs. */
static void run_some(struct webui *webui, struct webui__removal *removal, size_t from,
                     size_t count) {
    struct telling telling = {.removals = &webui->removals, .removal = removal};
    struct err err = {0};
    const struct webui_hooks *hooks = &webui->hooks;
    if (hooks->remove_everywhere(hooks->ctx, removal->frames + from, count, removal->force, tell,
                                 &telling, &err)) {
        for (size_t i = telling.told; i < count; i++) {
            tell(&telling, &removal->frames[from + i], &err);
        }
    }
}

static void run(struct webui *webui, struct webui__removal *removal) {
    for (size_t at = 0; at < removal->count; at += WEBUI__REMOVAL_AT_ONCE) {
        size_t left = removal->count - at;
        if (atomic_load(&webui->closing)) {
            return;
        }
        run_some(webui, removal, at, left < WEBUI__REMOVAL_AT_ONCE ? left : WEBUI__REMOVAL_AT_ONCE);
    }
}

static void *removals_main(void *arg) {
    struct webui *webui = arg;
    struct webui__removals *removals = &webui->removals;
    pthread_mutex_lock(&removals->lock);
    while (!removals->stop) {
        struct webui__removal *removal = next_of(removals);
        if (!removal) {
            pthread_cond_wait(&removals->wake, &removals->lock);
            continue;
        }
        removal->state = REMOVAL_RUNS;
        pthread_mutex_unlock(&removals->lock);
        run(webui, removal);
        pthread_mutex_lock(&removals->lock);
        removal->state = REMOVAL_DONE;
        removal->ended_boot_us = clock_boot_us();
    }
    pthread_mutex_unlock(&removals->lock);
    return NULL;
}

int webui__removals_start(struct webui *webui, struct err *err) {
    int code = pthread_create(&webui->removals.thread, NULL, removals_main, webui);
    if (code) {
        return err_sys(err, code, "cannot start a thread of the web server");
    }
    webui->removals.running = true;
    return 0;
}

void webui__removals_stop(struct webui *webui) {
    struct webui__removals *removals = &webui->removals;
    if (removals->running) {
        pthread_mutex_lock(&removals->lock);
        removals->stop = true;
        pthread_cond_signal(&removals->wake);
        pthread_mutex_unlock(&removals->lock);
        pthread_join(removals->thread, NULL);
        removals->running = false;
    }
}

/* ---- orders ---- */

/* A free place, or that of the one that was done first; NULL: all of them are to be done, or were a
 * moment ago. Under the lock. */
static struct webui__removal *place_of(struct webui__removals *removals) {
    struct webui__removal *place = NULL;
    for (size_t i = 0; i < WEBUI__REMOVALS_MAX; i++) {
        struct webui__removal *removal = &removals->all[i];
        if (!removal->id[0]) {
            return removal;
        }
        if (removal->state == REMOVAL_DONE &&
            (!place || removal->ended_boot_us < place->ended_boot_us)) {
            place = removal;
        }
    }
    return place;
}

/* A copy: the list goes on growing. Under the lock. */
static json_t *removal_json(const struct webui__removal *removal) {
    static const char *const states[] = {"waits", "runs", "done"};
    return json_pack("{s:s,s:s,s:I,s:I,s:o}", "id", removal->id, "state", states[removal->state],
                     "frames", (json_int_t)removal->count, "done", (json_int_t)removal->done,
                     "failed", json_deep_copy(removal->failed));
}

static int order(struct webui *webui, const struct webui__removal *wanted, json_t **out,
                 struct err *err) {
    struct webui__removals *removals = &webui->removals;
    json_t *failed = json_array();
    uint8_t id[8];
    hash_random(id, sizeof(id));
    pthread_mutex_lock(&removals->lock);
    struct webui__removal *place = place_of(removals);
    if (place && failed) {
        json_decref(place->failed);
        *place = *wanted;
        place->failed = failed;
        place->number = ++removals->number;
        hash_hex(id, sizeof(id), place->id);
        *out = removal_json(place);
        pthread_cond_signal(&removals->wake);
    }
    pthread_mutex_unlock(&removals->lock);
    if (!place || !failed) {
        json_decref(failed);
        return err_set(err, place ? ERR_NOMEM : ERR_BUSY,
                       place ? "no memory to remove frames"
                             : "%d removals wait already: try again when they are done",
                       WEBUI__REMOVALS_MAX);
    }
    return 0;
}

void webui__on_removal_new(struct webui__request *request) {
    struct err err = {0};
    struct webui__removal wanted = {0};
    json_t *answer = NULL;
    json_t *body = json_loadb(request->body.data ? request->body.data : "", request->body.len,
                              JSON_REJECT_DUPLICATES, NULL);
    int code = webui__frames_read(body, wanted.frames, &wanted.count, &err);
    wanted.force = json_is_true(json_object_get(body, "force"));
    json_decref(body);
    if (!code && !request->webui->hooks.remove_everywhere) {
        code = err_set(&err, ERR_NOT_FOUND, "no remote is configured (sync.remotes)");
    }
    code = code ? code : order(request->webui, &wanted, &answer, &err);
    if (code) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_json(request, MHD_HTTP_ACCEPTED, WEBUI__JSON_TYPE, answer);
}

void webui__on_removal(struct webui__request *request) {
    struct webui__removals *removals = &request->webui->removals;
    json_t *answer = NULL;
    bool found = false;
    pthread_mutex_lock(&removals->lock);
    for (size_t i = 0; !found && i < WEBUI__REMOVALS_MAX; i++) {
        found = removals->all[i].id[0] && strcmp(removals->all[i].id, request->capture) == 0;
        answer = found ? removal_json(&removals->all[i]) : NULL;
    }
    pthread_mutex_unlock(&removals->lock);
    if (!found) {
        webui__reply_problem(request, MHD_HTTP_NOT_FOUND, "there is no such removal any more");
        return;
    }
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, answer);
}
