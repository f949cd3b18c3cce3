#include "inference/detector_reply.h"
#include "daemon/base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLACK 1e-9 /* x + w may miss 1 by rounding */

static int lie(struct err *err, const char *field, double value) {
    return err_set(err, ERR_CORRUPT, "the worker process answered %s=%g", field, value);
}

/* Written so that NaN fails. */
static bool within(double value, double low, double high) {
    return value >= low && value <= high;
}

static int check_detection(struct worker_detection *detection, size_t class_count,
                           struct err *err) {
    if (!within((double)detection->confidence, 0, 1)) {
        return lie(err, "confidence", (double)detection->confidence);
    }
    if (detection->class_index >= class_count) {
        return lie(err, "class", (double)detection->class_index);
    }
    if (!within(detection->x, 0, 1) || !within(detection->y, 0, 1)) {
        return lie(err, "box corner", within(detection->x, 0, 1) ? detection->y : detection->x);
    }
    if (!within(detection->w, 0, 1 - detection->x + SLACK) ||
        !within(detection->h, 0, 1 - detection->y + SLACK)) {
        return lie(err, "box size",
                   within(detection->w, 0, 1 - detection->x + SLACK) ? detection->h : detection->w);
    }
    detection->w = fmin(detection->w, 1 - detection->x);
    detection->h = fmin(detection->h, 1 - detection->y);
    return 0;
}

static int check_picture(const struct worker_result *result, struct err *err) {
    if (result->media != MEDIA_JPEG && result->media != MEDIA_PNG) {
        return lie(err, "media", result->media);
    }
    if (result->width == 0 || result->height == 0 ||
        (uint64_t)result->width * result->height > FRAME_PIXELS_MAX) {
        return lie(err, "width*height", (double)result->width * (double)result->height);
    }
    if (result->orientation < 1 || result->orientation > 8) {
        return lie(err, "orientation", result->orientation);
    }
    const struct {
        const char *name;
        double value, high;
    } figures[] = {
        {"luma_mean", (double)result->luma_mean, 1},
        {"luma_stddev", (double)result->luma_stddev, 0.51},
        {"sharpness", (double)result->sharpness, 64},
        {"detect_ms", result->detect_ms, 1e9},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(figures); i++) {
        if (!within(figures[i].value, 0, figures[i].high)) {
            return lie(err, figures[i].name, figures[i].value);
        }
    }
    return 0;
}

/* Cuts the text at its room, and makes it one printable line. */
static void check_text(struct worker_result *result) {
    result->text[sizeof(result->text) - 1] = '\0';
    for (char *at = result->text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) {
            *at = ' ';
        }
    }
}

static int check_found(struct worker_result *result, size_t class_count, struct err *err) {
    if (result->detection_count > FRAME_DETECTIONS_MAX) {
        return lie(err, "detection_count", result->detection_count);
    }
    int code = 0;
    for (size_t i = 0; i < result->detection_count && code == 0; i++) {
        code = check_detection(&result->detections[i], class_count, err);
        if (code == 0 && i > 0 &&
            result->detections[i].confidence > result->detections[i - 1].confidence) {
            code = lie(err, "an order of detections that rises to",
                       (double)result->detections[i].confidence);
        }
    }
    return code;
}

int detector_reply_check_found(struct worker_result *result, uint64_t generation,
                               size_t class_count, struct err *err) {
    if (result->generation != generation) {
        return lie(err, "generation", (double)result->generation);
    }
    if (result->code != 0) {
        return lie(err, "code", result->code);
    }
    if (!within(result->detect_ms, 0, 1e9)) {
        return lie(err, "detect_ms", result->detect_ms);
    }
    return check_found(result, class_count, err);
}

int detector_reply_check(struct worker_result *result, uint64_t generation, size_t class_count,
                         struct err *err) {
    check_text(result);
    if (result->generation != generation) {
        return lie(err, "generation", (double)result->generation);
    }
    if (result->code != 0) {
        bool known = result->code == ERR_INVALID || result->code == ERR_NOMEM;
        return known && result->text[0] != '\0' ? 0 : lie(err, "code", result->code);
    }
    if (result->thumb_bytes > FRAME_THUMB_MAX) {
        return lie(err, "thumb_bytes", result->thumb_bytes);
    }
    if (result->picture_bytes > FRAME_BLOB_MAX) {
        return lie(err, "picture_bytes", result->picture_bytes);
    }
    int code = check_picture(result, err);
    return code == 0 ? check_found(result, class_count, err) : code;
}

static struct frame_detection *detections_make(const struct worker_result *result,
                                               const struct model *model) {
    struct frame_detection *list = mem_array(result->detection_count, sizeof(*list));
    for (size_t i = 0; list != NULL && i < result->detection_count; i++) {
        const struct worker_detection *from = &result->detections[i];
        list[i].box = model->tags ? (struct frame_box){0, 0, 1, 1}
                                  : (struct frame_box){from->x, from->y, from->w, from->h};
        list[i].confidence = from->confidence;
        list[i].class_index = (uint16_t)from->class_index;
        list[i].tag = model->tags;
        memcpy(list[i].label, model->labels[from->class_index], sizeof(list[i].label));
    }
    return list;
}

int detector_reply_apply(const struct worker_result *result, const uint8_t *thumb,
                         const struct model *model, struct frame *frame, struct err *err) {
    CLEANUP(mem_free_at) struct frame_detection *detections = NULL;
    CLEANUP(mem_free_at) uint8_t *thumb_copy = NULL;
    if (result->detection_count > 0) {
        detections = detections_make(result, model);
    }
    if (result->thumb_bytes > 0) {
        thumb_copy = mem_dup(thumb, result->thumb_bytes);
    }
    if ((result->detection_count > 0 && detections == NULL) ||
        (result->thumb_bytes > 0 && thumb_copy == NULL)) {
        return err_set(err, ERR_NOMEM, "no memory for the verdict of a frame");
    }
    struct frame_record *record = &frame->record;
    record->media = (enum frame_media)result->media;
    record->width = result->width;
    record->height = result->height;
    record->orientation = (uint8_t)result->orientation;
    record->phash = result->phash;
    record->quality =
        (struct frame_quality){result->luma_mean, result->luma_stddev, result->sharpness};
    record->model = model->hash;
    memcpy(record->model_name, model->name, sizeof(record->model_name));
    memcpy(record->model_version, model->version, sizeof(record->model_version));
    free(record->detections);
    record->detections = TAKE_PTR(detections);
    record->detection_count = result->detection_count;
    free(frame->thumb);
    frame->thumb = TAKE_PTR(thumb_copy);
    frame->thumb_bytes = result->thumb_bytes;
    frame->detect_ms = result->detect_ms;
    return 0;
}
