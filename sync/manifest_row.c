/* manifest_row: an event of a frame as a line of JSON, and the names of parts. Pure. */
#include "daemon/base/frame_json.h"
#include "sync/manifest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- groups of columns; the same ones in each row, so that a table can be made of them ---- */

static json_t *event_json(const struct manifest_row *row) {
    static const char *const names[] = {
        [STORE_EVENT_KEPT] = "kept",       [STORE_EVENT_LABEL] = "label",
        [STORE_EVENT_TIME] = "time",       [STORE_EVENT_LOST] = "lost",
        [STORE_EVENT_EXPIRED] = "expired", [STORE_EVENT_REMOVED] = "removed"};
    return json_pack("{s:s,s:s,s:I,s:o,s:o}", "schema", "creel.frame/1", "event", names[row->event],
                     "row", (json_int_t)row->number, "written", frame_json_time(row->written_us),
                     "store", frame_json_id(row->store));
}

static json_t *capture_json(const struct store_row *frame) {
    static const char *const tiers[TIER_COUNT] = {"annotated", "unannotated"};
    const struct frame_record *record = &frame->record;
    bool sure = record->captured.state == CLOCK_SYNCHRONISED;
    return json_pack("{s:o,s:I,s:o,s:s,s:o,s:s,s:o}", "id", frame_json_id(&record->id), "seq",
                     (json_int_t)frame->seq, "camera", frame_json_text(record->camera), "tier",
                     tiers[record->tier], "captured", frame_json_time(record->captured.utc_us),
                     "clock", sure ? "synchronised" : "unsynchronised", "kept",
                     frame_json_time(frame->kept_utc_us));
}

static json_t *image_json(const struct frame_record *record) {
    static const char *const media[] = {[MEDIA_NONE] = "application/octet-stream",
                                        [MEDIA_JPEG] = "image/jpeg",
                                        [MEDIA_PNG] = "image/png"};
    char phash[17];
    snprintf(phash, sizeof phash, "%016llx", (unsigned long long)record->phash);
    return json_pack("{s:o,s:I,s:s,s:I,s:I,s:i,s:b,s:s,s:{s:f,s:f,s:f}}", "sha256",
                     frame_json_hex(record->blob.bytes, sizeof record->blob.bytes), "bytes",
                     (json_int_t)record->blob_bytes, "media",
                     media[record->media <= MEDIA_PNG ? record->media : 0], "width",
                     (json_int_t)record->width, "height", (json_int_t)record->height, "orientation",
                     (int)record->orientation, "masked", record->masked, "phash", phash, "quality",
                     "luma_mean", frame_json_rounded((double)record->quality.luma_mean),
                     "luma_stddev", frame_json_rounded((double)record->quality.luma_stddev),
                     "sharpness", frame_json_rounded((double)record->quality.sharpness));
}

static json_t *triage_json(const struct frame_record *record) {
    return json_pack("{s:{s:o,s:o,s:o},s:o,s:f}", "model", "name",
                     frame_json_text(record->model_name), "version",
                     frame_json_text(record->model_version), "sha256",
                     frame_json_hex(record->model.bytes, sizeof record->model.bytes), "rule",
                     frame_json_text(record->rule), "value", frame_json_rounded(record->value));
}

static json_t *receipt_json(const struct store_receipt *receipt) {
    static const char *const kinds[] = {[STORE_RECEIPT_STORED] = "stored",
                                        [STORE_RECEIPT_COMPARED] = "compared",
                                        [STORE_RECEIPT_EXISTS] = "exists"};
    if (receipt == NULL) {
        return json_pack("{s:n,s:n}", "key", "receipt");
    }
    return json_pack("{s:o,s:{s:s,s:o,s:o}}", "key", frame_json_text(receipt->key), "receipt",
                     "kind", kinds[receipt->kind], "etag", frame_json_text(receipt->etag), "at",
                     frame_json_time(receipt->utc_us));
}

static json_t *label_json(const struct store_label *label) {
    static const char *const states[STORE_LABEL_STATES] = {
        [STORE_LABEL_NONE] = NULL,           [STORE_LABEL_ACCEPTED] = "accepted",
        [STORE_LABEL_REJECTED] = "rejected", [STORE_LABEL_WRONG_CLASS] = "wrong-class",
        [STORE_LABEL_MISSED] = "missed",     [STORE_LABEL_WANTED] = "wanted"};
    if (label->state == STORE_LABEL_NONE || label->state >= STORE_LABEL_STATES) {
        return json_pack("{s:n}", "label");
    }
    return json_pack("{s:{s:s,s:o,s:o,s:o,s:o}}", "label", "state", states[label->state], "class",
                     frame_json_text(label->class_name), "note", frame_json_text(label->note),
                     "who", frame_json_text(label->who), "at", frame_json_time(label->utc_us));
}

/* Moves the members over; false when memory ran out. */
static bool join(json_t *row, json_t *more) {
    bool joined = row && more && json_object_update(row, more) == 0;
    json_decref(more);
    return joined;
}

static int line_put(json_t *line, bool whole, struct buf *out, struct err *err) {
    char *text = whole ? json_dumps(line, FRAME_JSON_DUMP) : NULL;
    json_decref(line);
    if (text == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the document of a frame");
    }
    buf_puts(out, text);
    buf_puts(out, "\n");
    free(text);
    return out->failed ? err_set(err, ERR_FULL, "the document of a frame has no room left") : 0;
}

int sync__manifest_row(const struct manifest_row *row, struct buf *out, struct err *err) {
    const struct frame_record *record = &row->frame->record;
    json_t *line = event_json(row);
    bool whole = join(line, capture_json(row->frame)) && join(line, image_json(record)) &&
                 join(line, triage_json(record)) && join(line, receipt_json(row->receipt)) &&
                 join(line, label_json(row->label)) &&
                 json_object_set_new(line, "detections", frame_json_detections(record)) == 0;
    return line_put(line, whole, out, err);
}

int sync__sidecar(const struct frame_id *store, const struct store_row *frame, const char *key,
                  struct buf *out, struct err *err) {
    const struct frame_record *record = &frame->record;
    json_t *line = json_pack("{s:s,s:o}", "schema", "creel.frame/1", "store", frame_json_id(store));
    bool whole = join(line, capture_json(frame)) && join(line, image_json(record)) &&
                 join(line, triage_json(record)) &&
                 json_object_set_new(line, "key", frame_json_text(key)) == 0 &&
                 json_object_set_new(line, "detections", frame_json_detections(record)) == 0;
    return line_put(line, whole, out, err);
}

/* ---- names ---- */

void sync__manifest_name_format(const struct manifest_name *name, char out[MANIFEST_NAME_MAX]) {
    snprintf(out, MANIFEST_NAME_MAX, "%s_part-%s-%012llu-%s.jsonl", name->date, name->store,
             (unsigned long long)name->number, name->sha);
}

bool sync__manifest_name_parse(const char *text, struct manifest_name *out) {
    struct manifest_name name = {0};
    unsigned long long number = 0;
    if (sscanf(text, "%10[0-9-]_part-%8[0-9a-f]-%llu-%8[0-9a-f].jsonl", name.date, name.store,
               &number, name.sha) != 4) {
        return false;
    }
    name.number = number;
    char again[MANIFEST_NAME_MAX];
    sync__manifest_name_format(&name, again);
    if (strcmp(again, text) != 0) {
        return false;
    }
    *out = name;
    return true;
}

int sync__manifest_key(const char *device, const struct manifest_name *name,
                       char out[STORE_KEY_MAX + 1], struct err *err) {
    char file[MANIFEST_NAME_MAX];
    sync__manifest_name_format(name, file);
    const char *part = strchr(file, '_') + 1;
    int size = snprintf(out, STORE_KEY_MAX + 1, "manifests/v1/device=%s/date=%s/%s", device,
                        name->date, part);
    return size < 0 || size > STORE_KEY_MAX
               ? err_set(err, ERR_INVALID, "the name of a part of the manifest is too long")
               : 0;
}
