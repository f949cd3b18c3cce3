/* frame_json: the values of a frame as the schema creel.frame/1 writes them, for the API and the
 * manifests alike.
 *
 * All return a new reference, or NULL when memory ran out. In a header, so that only those who
 * write JSON are linked with its library. Thread: any; pure.
 */
#ifndef CREEL_DAEMON_BASE_FRAME_JSON_H
#define CREEL_DAEMON_BASE_FRAME_JSON_H

#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "schemas/frame.h"
#include <jansson.h>
#include <math.h>

#define FRAME_JSON_DUMP (JSON_COMPACT | JSON_REAL_PRECISION(9))

/* Six digits behind the point: floats carry no more, and the rest would be noise in print. */
static inline double frame_json_rounded(double value) {
    return round(value * 1e6) / 1e6;
}

/* Text that is not UTF-8 becomes "?". */
static inline json_t *frame_json_text(const char *text) {
    json_t *value = json_string(text);
    return value ? value : json_string("?");
}

static inline json_t *frame_json_hex(const void *bytes, size_t size) {
    char hex[HASH_HEX_SIZE];
    return json_string(hash_hex(bytes, size, hex));
}

static inline json_t *frame_json_time(int64_t utc_us) {
    char text[CLOCK_RFC3339_SIZE];
    return json_string(clock_format_rfc3339(utc_us, text));
}

static inline json_t *frame_json_id(const struct frame_id *id) {
    char text[HASH_ID_SIZE];
    return json_string(frame_id_format(id, text));
}

static inline json_t *frame_json_detection(const struct frame_detection *found) {
    json_t *out = json_pack(
        "{s:o,s:i,s:f,s:{s:f,s:f,s:f,s:f}}", "class", frame_json_text(found->label), "class_index",
        (int)found->class_index, "confidence", frame_json_rounded((double)found->confidence), "box",
        "x", frame_json_rounded(found->box.x), "y", frame_json_rounded(found->box.y), "w",
        frame_json_rounded(found->box.w), "h", frame_json_rounded(found->box.h));
    if (found->tag) {
        json_object_set_new(out, "tag", json_true());
    }
    return out;
}

static inline json_t *frame_json_detections(const struct frame_record *record) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < record->detection_count; i++) {
        if (json_array_append_new(list, frame_json_detection(&record->detections[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

#endif
