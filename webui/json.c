#include "webui/json.h"
#include "webui/query.h"
#include "webui/text.h"
#include "webui/webui.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *webui__json_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

const char *webui__sync_state(const struct store_row *row) {
    if (row->quarantined) {
        return "quarantined";
    }
    if (row->owed > 0) {
        return "pending";
    }
    return row->receipts > 0 ? "done" : "none";
}

static const char *place_name(enum store_place place) {
    static const char *const names[] = {"unknown", "local", "remote", "gone"};
    return (size_t)place < sizeof(names) / sizeof(names[0]) ? names[place] : names[0];
}

/* Sets `key` unless the value is NULL, which it then is for want of memory. */
static int put(json_t *object, const char *key, json_t *value) {
    return value ? json_object_set_new(object, key, value) : -1;
}

static json_t *quality_json(const struct frame_quality *quality) {
    return json_pack("{s:f,s:f,s:f}", "luma_mean", frame_json_rounded((double)quality->luma_mean),
                     "luma_stddev", frame_json_rounded((double)quality->luma_stddev), "sharpness",
                     frame_json_rounded((double)quality->sharpness));
}

static json_t *model_json(const struct frame_record *record) {
    return json_pack("{s:o,s:o,s:o}", "name", frame_json_text(record->model_name), "version",
                     frame_json_text(record->model_version), "sha256",
                     frame_json_hex(record->model.bytes, sizeof(record->model.bytes)));
}

static int put_capture(json_t *frame, const struct frame_record *record) {
    const struct clock_stamp *at = &record->captured;
    bool sure = at->state == CLOCK_SYNCHRONISED;
    return put(frame, "captured", frame_json_time(at->utc_us)) ||
           put(frame, "clock", json_string(sure ? "synchronised" : "unsynchronised")) ||
           put(frame, "boot_us", json_integer(at->boot_us)) ||
           put(frame, "boot_id", frame_json_hex(at->boot_id, sizeof(at->boot_id)));
}

static int put_image(json_t *frame, const struct frame_record *record) {
    char phash[17];
    snprintf(phash, sizeof(phash), "%016llx", (unsigned long long)record->phash);
    return put(frame, "sha256", frame_json_hex(record->blob.bytes, sizeof(record->blob.bytes))) ||
           put(frame, "bytes", json_integer((json_int_t)record->blob_bytes)) ||
           put(frame, "media", json_string(webui__media_type(record->media))) ||
           put(frame, "width", json_integer(record->width)) ||
           put(frame, "height", json_integer(record->height)) ||
           put(frame, "orientation", json_integer(record->orientation)) ||
           put(frame, "masked", json_boolean(record->masked)) ||
           put(frame, "phash", json_string(phash)) ||
           put(frame, "quality", quality_json(&record->quality));
}

static int put_keeping(json_t *frame, const struct store_row *row) {
    return put(frame, "rule", frame_json_text(row->record.rule)) ||
           put(frame, "value", json_real(frame_json_rounded(row->record.value))) ||
           put(frame, "kept", frame_json_time(row->kept_utc_us)) ||
           put(frame, "place", json_string(place_name(row->place))) ||
           put(frame, "pinned", json_boolean(row->pinned)) ||
           put(frame, "label", json_string(webui__label_state_name(row->label_state))) ||
           put(frame, "sync", json_string(webui__sync_state(row))) ||
           put(frame, "receipts", json_integer(row->receipts)) ||
           put(frame, "owed", json_integer(row->owed));
}

json_t *webui_frame_json(const struct store_row *row) {
    const struct frame_record *record = &row->record;
    json_t *frame = json_object();
    int failed = !frame || put(frame, "schema", json_string("creel.frame/1")) ||
                 put(frame, "id", frame_json_id(&record->id)) ||
                 put(frame, "seq", json_integer((json_int_t)row->seq)) ||
                 put(frame, "camera", frame_json_text(record->camera)) ||
                 put(frame, "tier", json_string(webui__tier_name(record->tier))) ||
                 put_capture(frame, record) || put_image(frame, record) ||
                 put(frame, "model", model_json(record)) || put_keeping(frame, row) ||
                 put(frame, "detections", frame_json_detections(record));
    if (failed) {
        json_decref(frame);
        return NULL;
    }
    return frame;
}

/* [from, from + size] within [0, 1], in millionths, rounded so that the sum stays within 1 also in
 * decimals. */
static void clip(double *from, double *size) {
    double start = fmin(fmax(*from, 0), 1), end = fmin(fmax(*from + *size, start), 1);
    *from = frame_json_rounded(start);
    *size = fmax(floor((end - *from) * 1e6 + 1e-3) / 1e6, 0);
}

struct frame_box webui__box_clipped(const struct frame_box *box) {
    struct frame_box clipped = *box;
    clip(&clipped.x, &clipped.w);
    clip(&clipped.y, &clipped.h);
    return clipped;
}

static json_t *entity_json(const struct frame_detection *found) {
    json_t *tag = json_pack("{s:o,s:f}", "value", frame_json_text(found->label), "confidence",
                            frame_json_rounded((double)found->confidence));
    if (found->tag) {
        return json_pack("{s:s,s:{s:o}}", "type", "classification", "classification", "tag", tag);
    }
    struct frame_box box = webui__box_clipped(&found->box);
    json_t *place = json_pack("{s:f,s:f,s:f,s:f}", "l", box.x, "t", box.y, "w", box.w, "h", box.h);
    return json_pack("{s:s,s:{s:o,s:o}}", "type", "entity", "entity", "tag", tag, "box", place);
}

bool webui__detection_asked(const struct frame_detection *found, double threshold,
                            const char *classes) {
    return frame_json_rounded((double)found->confidence) >= threshold &&
           (!classes[0] || webui__list_has(classes, found->label));
}

int webui__lva_format(const struct frame_record *record, double threshold, const char *classes,
                      json_t **out, size_t *count) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        if (!webui__detection_asked(found, threshold, classes)) {
            continue;
        }
        if (json_array_append_new(list, entity_json(found)) != 0) {
            json_decref(list);
            return ERR_NOMEM;
        }
    }
    if (!list) {
        return ERR_NOMEM;
    }
    *count = json_array_size(list);
    if (*count == 0) {
        json_decref(list);
        return 0;
    }
    *out = json_pack("{s:o}", "inferences", list);
    return *out ? 0 : ERR_NOMEM;
}
