/* See frame.h. */
#include "inference/frame.h"

#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "inference/image_raw.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool is_lower_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool frame_name_valid(const char *name) {
    if (!name || !is_lower_or_digit(name[0])) {
        return false;
    }
    size_t len = 1;
    while (is_lower_or_digit(name[len]) || name[len] == '-') {
        if (++len > FRAME_NAME_MAX) {
            return false;
        }
    }
    return name[len] == '\0';
}

static int check_arguments(const char *camera, const uint8_t *blob, size_t size, struct err *err) {
    if (!frame_name_valid(camera)) {
        return err_set(err, ERR_INVALID,
                       "camera name '%.40s': a name is 1 to %d of a-z, 0-9 and '-', and does not "
                       "start with '-'",
                       camera ? camera : "", FRAME_NAME_MAX);
    }
    if (!blob || size == 0) {
        return err_set(err, ERR_INVALID, "camera %s: the frame is empty", camera);
    }
    if (size > FRAME_BLOB_MAX) {
        return err_set(err, ERR_INVALID, "camera %s: the frame has %zu bytes, at most %u are taken",
                       camera, size, FRAME_BLOB_MAX);
    }
    return 0;
}

int frame_create(const char *camera, uint8_t *blob, size_t size, struct frame **out,
                 struct err *err) {
    CLEANUP(mem_free_at) uint8_t *owned = blob;

    int code = check_arguments(camera, blob, size, err);
    if (code) {
        return code;
    }
    struct frame *frame = mem_alloc(sizeof *frame);
    if (!frame) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory for a frame", camera);
    }
    clock_stamp_now(&frame->record.captured);
    frame_id_create(frame->record.captured.utc_us, &frame->record.id);
    memcpy(frame->record.camera, camera, strlen(camera) + 1);
    frame->record.orientation = 1;
    frame->record.tier = TIER_NONE;
    frame->record.blob_bytes = size;
    frame->blob = TAKE_PTR(owned);
    *out = frame;
    return 0;
}

size_t frame_raw_size(enum frame_format format, uint32_t width, uint32_t height) {
    if (width == 0 || height == 0 || width > FRAME_RAW_SIDE_MAX || height > FRAME_RAW_SIDE_MAX) {
        return 0;
    }
    size_t pixels = (size_t)width * height;
    size_t size = 0;
    if (format == FRAME_YUV420P) {
        size = pixels + 2 * ((size_t)(width + 1) / 2) * ((height + 1) / 2);
    } else if (format == FRAME_RGB24 || format == FRAME_BGR24) {
        size = 3 * pixels;
    }
    return pixels <= FRAME_PIXELS_MAX && size <= FRAME_BLOB_MAX ? size : 0;
}

int frame_create_raw(const char *camera, enum frame_format format, uint32_t width, uint32_t height,
                     uint8_t *bytes, size_t size, struct frame **out, struct err *err) {
    static const char *const names[] = {"encoded", "yuv420p", "rgb24", "bgr24"};
    CLEANUP(mem_free_at) uint8_t *owned = bytes;

    size_t expected = frame_raw_size(format, width, height);
    if (expected == 0) {
        return err_set(err, ERR_INVALID,
                       "camera %.40s: raw pixels of %u x %u; expected 1 to %d a side, at most %u "
                       "bytes",
                       camera ? camera : "", width, height, FRAME_RAW_SIDE_MAX, FRAME_BLOB_MAX);
    }
    if (size != expected) {
        return err_set(err, ERR_INVALID,
                       "camera %.40s: %zu bytes of %s pixels; %u x %u of them are %zu bytes",
                       camera ? camera : "", size, names[format], width, height, expected);
    }
    int code = frame_create(camera, TAKE_PTR(owned), size, out, err);
    if (code == 0) {
        (*out)->format = format;
        (*out)->record.width = width;
        (*out)->record.height = height;
    }
    return code;
}

static struct image_raw raw_of(const struct frame *frame) {
    return (struct image_raw){.format = frame->format,
                              .width = frame->record.width,
                              .height = frame->record.height,
                              .bytes = frame->blob};
}

void frame_range_expand(struct frame *frame) {
    assert(frame->format == FRAME_YUV420P);
    size_t luma = (size_t)frame->record.width * frame->record.height;
    image_range_expand(frame->blob, luma, frame->blob + luma,
                       (size_t)frame->record.blob_bytes - luma);
}

int frame_encode(struct frame *frame, int quality, struct err *err) {
    if (frame->format == FRAME_ENCODED) {
        return 0;
    }
    struct image_raw raw = raw_of(frame);
    uint8_t *jpeg = NULL;
    size_t size = 0;
    int code = image_raw_encode(&raw, quality, &jpeg, &size, err);
    if (code == 0 && size > FRAME_BLOB_MAX) {
        free(jpeg);
        code = err_set(err, ERR_INVALID, "camera %s: the frame has %zu bytes as a JPEG",
                       frame->record.camera, size);
    }
    if (code != 0) {
        return code;
    }
    free(frame->blob);
    frame->blob = jpeg;
    frame->record.blob_bytes = size;
    frame->record.media = MEDIA_JPEG;
    frame->format = FRAME_ENCODED;
    return 0;
}

void frame_detected(const struct frame *frame) {
    const struct frame_origin *origin = &frame->origin;

    if (origin->on_detected) {
        origin->on_detected(origin->ctx, origin->token, frame);
    }
}

void frame_settle(struct frame *frame, enum frame_outcome outcome, const struct err *err) {
    assert(frame);
    assert(outcome >= FRAME_KEPT && outcome <= FRAME_FAILED);
    struct frame_origin origin = frame->origin;

    /* Cleared first: an origin that hands the frame on by mistake cannot be told twice. */
    frame->origin = (struct frame_origin){0};
    if (origin.on_settled) {
        origin.on_settled(origin.ctx, origin.token, frame, outcome, err);
    }
    frame_destroy(frame);
}

void frame_destroy(struct frame *frame) {
    if (!frame) {
        return;
    }
    free(frame->record.detections);
    free(frame->blob);
    free(frame->thumb);
    free(frame);
}
