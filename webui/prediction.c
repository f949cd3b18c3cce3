#include "webui/prediction.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "webui/json.h"
#include <stdio.h>
#include <string.h>

/* The first bytes of a hash as a UUID of version 8 (RFC 9562 5.8). */
static json_t *uuid_json(const struct frame_hash *hash) {
    struct frame_id id;
    char text[HASH_ID_SIZE];
    memcpy(id.bytes, hash->bytes, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x80);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return json_string(frame_id_format(&id, text));
}

static json_t *name_json(const struct frame_record *record, const char *label) {
    char text[FRAME_MODEL_NAME_MAX + FRAME_LABEL_MAX + 2];
    struct frame_hash hash;
    int size = snprintf(text, sizeof(text), "%s\n%s", record->model_name, label);
    hash_sha256(text, (size_t)size, &hash);
    return uuid_json(&hash);
}

static json_t *box_json(const struct frame_detection *found) {
    struct frame_box box = webui__box_clipped(&found->box);
    return json_pack("{s:f,s:f,s:f,s:f}", "left", box.x, "top", box.y, "width", box.w, "height",
                     box.h);
}

static json_t *one_json(const struct frame_record *record, const struct frame_detection *found,
                        bool whole_picture) {
    return json_pack("{s:f,s:o,s:o,s:o}", "probability",
                     frame_json_rounded((double)found->confidence), "tagId",
                     name_json(record, found->label), "tagName", frame_json_text(found->label),
                     "boundingBox", whole_picture || found->tag ? json_null() : box_json(found));
}

/* Whether a detection before `index` is of the same class: those come the most certain first. */
static bool seen_before(const struct frame_record *record, size_t index) {
    for (size_t i = 0; i < index; i++) {
        if (record->detections[i].class_index == record->detections[index].class_index) {
            return true;
        }
    }
    return false;
}

static json_t *list_json(const struct frame_record *record, double threshold, const char *classes,
                         bool whole_picture) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        if (!webui__detection_asked(found, threshold, classes) ||
            (whole_picture && seen_before(record, i))) {
            continue;
        }
        if (json_array_append_new(list, one_json(record, found, whole_picture)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *webui__prediction_format(const struct frame_record *record, double threshold,
                                 const char *classes, bool whole_picture, size_t *count) {
    char id[HASH_ID_SIZE], created[CLOCK_RFC3339_SIZE];
    json_t *list = list_json(record, threshold, classes, whole_picture);
    *count = json_array_size(list);
    return json_pack("{s:s,s:o,s:o,s:s,s:o}", "id", frame_id_format(&record->id, id), "project",
                     name_json(record, ""), "iteration", uuid_json(&record->model), "created",
                     clock_format_rfc3339(record->captured.utc_us, created), "predictions", list);
}
