/* Raw pixels over libjpeg-turbo's planar interface.
 *
 * That interface reads planes whose sides are even (a whole number of 2 x 2 blocks); ours have the
 * picture's own sides. So a picture with an odd side gets a copy of its luma with the last column
 * and row repeated, which is what an encoder does with a border anyway; its chroma planes fit as
 * they are. */
#include "inference/image_raw.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

struct planes {
    const uint8_t *plane[3];
    int stride[3];
    uint8_t *padded; /* owned luma, or NULL */
};

static void planes_finish(struct planes *planes) {
    free(planes->padded);
}

static void turbo_destroy_at(tjhandle *turbo) {
    if (*turbo != NULL) {
        tjDestroy(*turbo);
    }
}

static void turbo_free_at(unsigned char **bytes) {
    tjFree(*bytes);
}

static int luma_pad(const struct image_raw *raw, struct planes *out, struct err *err) {
    size_t width = raw->width, height = raw->height;
    size_t wide = (width + 1) & ~(size_t)1, high = (height + 1) & ~(size_t)1;
    out->padded = mem_array(wide, high);
    if (out->padded == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for an image of %u x %u pixels", raw->width,
                       raw->height);
    }
    for (size_t y = 0; y < high; y++) {
        const uint8_t *from = raw->bytes + (y < height ? y : height - 1) * width;
        uint8_t *to = out->padded + y * wide;
        memcpy(to, from, width);
        to[wide - 1] = from[width - 1];
    }
    out->plane[0] = out->padded;
    out->stride[0] = (int)wide;
    return 0;
}

static int planes_make(const struct image_raw *raw, struct planes *out, struct err *err) {
    size_t luma = (size_t)raw->width * raw->height;
    size_t chroma_width = (raw->width + 1) / 2, chroma_height = (raw->height + 1) / 2;
    *out = (struct planes){
        .plane = {raw->bytes, raw->bytes + luma, raw->bytes + luma + chroma_width * chroma_height},
        .stride = {(int)raw->width, (int)chroma_width, (int)chroma_width},
    };
    return raw->width % 2 != 0 || raw->height % 2 != 0 ? luma_pad(raw, out, err) : 0;
}

static int yuv_pixels(const struct image_raw *raw, struct image_pixels *out, struct err *err) {
    CLEANUP(planes_finish) struct planes planes = {0};
    CLEANUP(turbo_destroy_at) tjhandle turbo = tjInitDecompress();
    if (turbo == NULL) {
        return err_set(err, ERR_NOMEM, "libjpeg-turbo does not start: %s", tjGetErrorStr2(NULL));
    }
    int code = planes_make(raw, &planes, err);
    if (code == 0 && tjDecodeYUVPlanes(turbo, planes.plane, planes.stride, TJSAMP_420, out->rgb,
                                       (int)raw->width, 0, (int)raw->height, TJPF_RGB, 0) != 0) {
        code = err_set(err, ERR_INVALID, "yuv420p of %u x %u pixels cannot be converted: %s",
                       raw->width, raw->height, tjGetErrorStr2(turbo));
    }
    return code;
}

static void swap_pixels(const uint8_t *bgr, uint8_t *rgb, size_t count) {
    for (size_t i = 0; i < count; i++) {
        rgb[3 * i] = bgr[3 * i + 2];
        rgb[3 * i + 1] = bgr[3 * i + 1];
        rgb[3 * i + 2] = bgr[3 * i];
    }
}

int image_raw_pixels(const struct image_raw *raw, struct image_pixels *out, struct err *err) {
    int code = image_pixels_reserve(out, raw->width, raw->height, 3, err);
    if (code == 0 && raw->format == FRAME_YUV420P) {
        code = yuv_pixels(raw, out, err);
    } else if (code == 0 && raw->format == FRAME_BGR24) {
        swap_pixels(raw->bytes, out->rgb, (size_t)raw->width * raw->height);
    } else if (code == 0) {
        memcpy(out->rgb, raw->bytes, (size_t)raw->width * raw->height * 3);
    }
    out->media = MEDIA_JPEG;
    out->orientation = 1;
    return code;
}

static int compress(tjhandle turbo, const struct image_raw *raw, int quality, unsigned char **out,
                    unsigned long *size, struct err *err) {
    int failed;
    if (raw->format == FRAME_YUV420P) {
        CLEANUP(planes_finish) struct planes planes = {0};
        int code = planes_make(raw, &planes, err);
        if (code != 0) {
            return code;
        }
        failed = tjCompressFromYUVPlanes(turbo, planes.plane, (int)raw->width, planes.stride,
                                         (int)raw->height, TJSAMP_420, out, size, quality, 0);
    } else {
        failed = tjCompress2(turbo, raw->bytes, (int)raw->width, 0, (int)raw->height,
                             raw->format == FRAME_BGR24 ? TJPF_BGR : TJPF_RGB, out, size,
                             TJSAMP_420, quality, 0);
    }
    return failed == 0 ? 0
                       : err_set(err, ERR_NOMEM, "%u x %u raw pixels cannot be encoded: %s",
                                 raw->width, raw->height, tjGetErrorStr2(turbo));
}

int image_raw_encode(const struct image_raw *raw, int quality, uint8_t **out, size_t *size,
                     struct err *err) {
    CLEANUP(turbo_free_at) unsigned char *encoded = NULL;
    unsigned long length = 0;
    CLEANUP(turbo_destroy_at) tjhandle turbo = tjInitCompress();
    if (turbo == NULL) {
        return err_set(err, ERR_NOMEM, "libjpeg-turbo does not start: %s", tjGetErrorStr2(NULL));
    }
    int code = compress(turbo, raw, quality, &encoded, &length, err);
    if (code != 0) {
        return code;
    }
    uint8_t *copy = mem_dup(encoded, length);
    if (copy == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a JPEG of %lu bytes", length);
    }
    *out = copy;
    *size = length;
    return 0;
}

/* (value - 16) * 255 / 219 and (value - 128) * 255 / 224 + 128, rounded, within a byte. */
static uint8_t stretched(int value, int middle, int span, int offset) {
    int scaled = (value - middle) * 255;
    int rounded = (scaled >= 0 ? scaled + span / 2 : scaled - span / 2) / span + offset;
    return (uint8_t)(rounded < 0 ? 0 : rounded > 255 ? 255 : rounded);
}

void image_range_expand(uint8_t *luma, size_t luma_size, uint8_t *chroma, size_t chroma_size) {
    uint8_t luma_of[256], chroma_of[256];
    for (int i = 0; i < 256; i++) {
        luma_of[i] = stretched(i, 16, 219, 0);
        chroma_of[i] = stretched(i, 128, 224, 128);
    }
    for (size_t i = 0; i < luma_size; i++) {
        luma[i] = luma_of[luma[i]];
    }
    for (size_t i = 0; i < chroma_size; i++) {
        chroma[i] = chroma_of[chroma[i]];
    }
}
