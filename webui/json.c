#include "webui/json.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "webui/text.h"
#include "webui/webui.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

double webui__rounded(double value) {
    return round(value * 1e6) / 1e6;
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

json_t *webui__text_json(const char *text) {
    json_t *value = json_string(text);
    return value ? value : json_string("?");
}

static json_t *hex_json(const void *bytes, size_t size) {
    char hex[HASH_HEX_SIZE];
    return json_string(hash_hex(bytes, size, hex));
}

static json_t *time_json(int64_t utc_us) {
    char text[CLOCK_RFC3339_SIZE];
    return json_string(clock_format_rfc3339(utc_us, text));
}

static json_t *detection_json(const struct frame_detection *found) {
    json_t *box = json_pack("{s:f,s:f,s:f,s:f}", "x", webui__rounded(found->box.x), "y",
                            webui__rounded(found->box.y), "w", webui__rounded(found->box.w), "h",
                            webui__rounded(found->box.h));
    json_t *out = json_pack("{s:o,s:i,s:f,s:o}", "class", webui__text_json(found->label),
                            "class_index", (int)found->class_index, "confidence",
                            webui__rounded((double)found->confidence), "box", box);
    if (found->tag) {
        json_object_set_new(out, "tag", json_true());
    }
    return out;
}

static json_t *detections_json(const struct frame_record *record) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < record->detection_count; i++) {
        if (json_array_append_new(list, detection_json(&record->detections[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *quality_json(const struct frame_quality *quality) {
    return json_pack("{s:f,s:f,s:f}", "luma_mean", webui__rounded((double)quality->luma_mean),
                     "luma_stddev", webui__rounded((double)quality->luma_stddev), "sharpness",
                     webui__rounded((double)quality->sharpness));
}

static json_t *model_json(const struct frame_record *record) {
    return json_pack("{s:o,s:o,s:o}", "name", webui__text_json(record->model_name), "version",
                     webui__text_json(record->model_version), "sha256",
                     hex_json(record->model.bytes, sizeof(record->model.bytes)));
}

static int put_capture(json_t *frame, const struct frame_record *record) {
    const struct clock_stamp *at = &record->captured;
    bool sure = at->state == CLOCK_SYNCHRONISED;
    return put(frame, "captured", time_json(at->utc_us)) ||
           put(frame, "clock", json_string(sure ? "synchronised" : "unsynchronised")) ||
           put(frame, "boot_us", json_integer(at->boot_us)) ||
           put(frame, "boot_id", hex_json(at->boot_id, sizeof(at->boot_id)));
}

static int put_image(json_t *frame, const struct frame_record *record) {
    char phash[17];
    snprintf(phash, sizeof(phash), "%016llx", (unsigned long long)record->phash);
    return put(frame, "sha256", hex_json(record->blob.bytes, sizeof(record->blob.bytes))) ||
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
    return put(frame, "rule", webui__text_json(row->record.rule)) ||
           put(frame, "value", json_real(webui__rounded(row->record.value))) ||
           put(frame, "kept", time_json(row->kept_utc_us)) ||
           put(frame, "place", json_string(place_name(row->place))) ||
           put(frame, "pinned", json_boolean(row->pinned)) ||
           put(frame, "sync", json_string(webui__sync_state(row))) ||
           put(frame, "receipts", json_integer(row->receipts)) ||
           put(frame, "owed", json_integer(row->owed));
}

json_t *webui_frame_json(const struct store_row *row) {
    const struct frame_record *record = &row->record;
    char id[HASH_ID_SIZE];
    json_t *frame = json_object();
    int failed = !frame || put(frame, "schema", json_string("creel.frame/1")) ||
                 put(frame, "id", json_string(frame_id_format(&record->id, id))) ||
                 put(frame, "seq", json_integer((json_int_t)row->seq)) ||
                 put(frame, "camera", webui__text_json(record->camera)) ||
                 put(frame, "tier", json_string(webui__tier_name(record->tier))) ||
                 put_capture(frame, record) || put_image(frame, record) ||
                 put(frame, "model", model_json(record)) || put_keeping(frame, row) ||
                 put(frame, "detections", detections_json(record));
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
    *from = webui__rounded(start);
    *size = fmax(floor((end - *from) * 1e6 + 1e-3) / 1e6, 0);
}

struct frame_box webui__box_clipped(const struct frame_box *box) {
    struct frame_box clipped = *box;
    clip(&clipped.x, &clipped.w);
    clip(&clipped.y, &clipped.h);
    return clipped;
}

static json_t *entity_json(const struct frame_detection *found) {
    json_t *tag = json_pack("{s:o,s:f}", "value", webui__text_json(found->label), "confidence",
                            webui__rounded((double)found->confidence));
    if (found->tag) {
        return json_pack("{s:s,s:{s:o}}", "type", "classification", "classification", "tag", tag);
    }
    struct frame_box box = webui__box_clipped(&found->box);
    json_t *place = json_pack("{s:f,s:f,s:f,s:f}", "l", box.x, "t", box.y, "w", box.w, "h", box.h);
    return json_pack("{s:s,s:{s:o,s:o}}", "type", "entity", "entity", "tag", tag, "box", place);
}

bool webui__detection_asked(const struct frame_detection *found, double threshold,
                            const char *classes) {
    return webui__rounded((double)found->confidence) >= threshold &&
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
