#include "webui/act.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "webui/query.h"
#include "webui/state.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct act;
typedef json_t *act_fn(struct webui *webui, const struct act *act, struct err *err);
typedef int act_one_fn(struct webui *webui, const struct act *act, const struct frame_id *id,
                       struct err *err);

struct act {
    const char *name;
    act_one_fn *one; /* NULL: `run` does all of it */
    struct frame_id frames[WEBUI__ACT_FRAMES_MAX];
    size_t count;
    bool pinned; /* of pin and unpin */
    struct store_label label;
    bool force, dry_run;
};

/* ---- one frame after the other ---- */

static int mark(struct webui *webui, const struct act *act, const struct frame_id *id,
                struct err *err) {
    return store_label_put(webui->store, id, &act->label, err);
}

static int pin(struct webui *webui, const struct act *act, const struct frame_id *id,
               struct err *err) {
    return store_pin_set(webui->store, id, act->pinned, err);
}

json_t *webui__failure_json(const struct frame_id *id, const struct err *err) {
    char name[HASH_ID_SIZE], text[ERR_TEXT_MAX * 2];
    err_text(err, text, sizeof(text));
    return json_pack("{s:s,s:i,s:s}", "frame", frame_id_format(id, name), "status",
                     webui__status_of(err->code), "detail", text);
}

/* Those that cannot be marked are named; the others are. */
static json_t *mark_all(struct webui *webui, const struct act *act, struct err *err) {
    json_t *failed = json_array();
    json_int_t done = 0;
    (void)err;
    for (size_t i = 0; failed && i < act->count; i++) {
        struct err why = {0};
        if (act->one(webui, act, &act->frames[i], &why) == 0) {
            done++;
        } else {
            json_array_append_new(failed, webui__failure_json(&act->frames[i], &why));
        }
    }
    return json_pack("{s:s,s:I,s:o}", "act", act->name, "done", done, "failed", failed);
}

/* All or nothing. */
static json_t *remove_all(struct webui *webui, const struct act *act, struct err *err) {
    struct store_removal removal = {0};
    if (store_remove(webui->store, act->frames, act->count, act->force, act->dry_run, &removal,
                     err) != 0) {
        return NULL;
    }
    return json_pack("{s:s,s:I,s:[],s:I,s:I,s:I,s:I,s:b}", "act", act->name, "done",
                     (json_int_t)(act->dry_run ? 0 : removal.frames), "failed", "frames",
                     (json_int_t)removal.frames, "bytes", (json_int_t)removal.bytes, "pinned",
                     (json_int_t)removal.pinned, "owed", (json_int_t)removal.owed, "dry_run",
                     act->dry_run);
}

/* ---- reading the order ---- */

static const struct {
    const char *name;
    act_fn *run;
    act_one_fn *one;
} acts[] = {
    {"pin", mark_all, pin},       {"unpin", mark_all, pin},     {"remove", remove_all, NULL},
    {"accepted", mark_all, mark}, {"rejected", mark_all, mark}, {"wrong-class", mark_all, mark},
    {"missed", mark_all, mark},   {"wanted", mark_all, mark},   {"none", mark_all, mark},
};

static int text_field(const json_t *body, const char *key, char *out, size_t room,
                      struct err *err) {
    const json_t *value = json_object_get(body, key);
    out[0] = '\0';
    if (!value) {
        return 0;
    }
    if (!json_is_string(value) || json_string_length(value) >= room ||
        strlen(json_string_value(value)) != json_string_length(value)) {
        return err_set(err, ERR_INVALID, "\"%s\" must be a text of at most %zu bytes", key,
                       room - 1);
    }
    snprintf(out, room, "%s", json_string_value(value));
    return 0;
}

int webui__frames_read(const json_t *body, struct frame_id ids[WEBUI__ACT_FRAMES_MAX],
                       size_t *count, struct err *err) {
    const json_t *list = json_object_get(body, "frames");
    size_t wanted = json_array_size(list);
    if (wanted == 0 || wanted > WEBUI__ACT_FRAMES_MAX) {
        return err_set(err, ERR_INVALID, "\"frames\" must be a list of 1 to %d ids of frames",
                       WEBUI__ACT_FRAMES_MAX);
    }
    for (size_t i = 0; i < wanted; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !frame_id_parse(text, &ids[i])) {
            return err_set(err, ERR_INVALID, "\"frames\": %.60s is not the id of a frame",
                           text ? text : "what is no text");
        }
    }
    *count = wanted;
    return 0;
}

static int read_label(const json_t *body, struct act *act, struct err *err) {
    struct store_label *label = &act->label;
    int code = text_field(body, "class", label->class_name, sizeof(label->class_name), err);
    code = code ? code : text_field(body, "note", label->note, sizeof(label->note), err);
    bool classed = label->state == STORE_LABEL_WRONG_CLASS || label->state == STORE_LABEL_MISSED;
    if (!code && label->class_name[0] && !classed) {
        code = err_set(err, ERR_INVALID, "\"class\" goes with wrong-class and missed only");
    }
    label->utc_us = clock_utc_us();
    return code;
}

static int read_act(const json_t *body, struct act *act, act_fn **run, struct err *err) {
    const char *name = json_string_value(json_object_get(body, "act"));
    *run = NULL;
    for (size_t i = 0; name && i < ARRAY_LENGTH(acts); i++) {
        if (strcmp(acts[i].name, name) == 0) {
            act->name = acts[i].name;
            act->one = acts[i].one;
            *run = acts[i].run;
        }
    }
    if (!*run) {
        return err_set(err, ERR_INVALID,
                       "\"act\" must be pin, unpin, remove, accepted, rejected, wrong-class, "
                       "missed, wanted or none");
    }
    act->pinned = strcmp(act->name, "pin") == 0;
    act->force = json_is_true(json_object_get(body, "force"));
    act->dry_run = json_is_true(json_object_get(body, "dry_run"));
    webui__label_state_parse(act->name, &act->label.state);
    int code = webui__frames_read(body, act->frames, &act->count, err);
    return code ? code : read_label(body, act, err);
}

void webui__on_act_headers(struct webui__request *request) {
    const char *type = webui__header(request, "Content-Type");
    size_t size = type ? strcspn(type, "; \t") : 0;
    if (size != strlen(WEBUI__JSON_TYPE) || strncasecmp(type, WEBUI__JSON_TYPE, size) != 0) {
        webui__refuse(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
                      "send Content-Type: " WEBUI__JSON_TYPE);
    }
}

void webui__on_act(struct webui__request *request) {
    struct err err = {0};
    struct act act = {0};
    act_fn *run = NULL;
    json_error_t fault;
    json_t *body = json_loadb(request->body.data ? request->body.data : "", request->body.len,
                              JSON_REJECT_DUPLICATES, &fault);
    int code = json_is_object(body)
                   ? read_act(body, &act, &run, &err)
                   : err_set(&err, ERR_INVALID, "the body must be a JSON object%s%s",
                             body ? "" : ": ", body ? "" : fault.text);
    json_decref(body);
    snprintf(act.label.who, sizeof(act.label.who), "%s", request->who.user);
    json_t *answer = code ? NULL : run(request->webui, &act, &err);
    if (!answer && err.code) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, answer);
}
