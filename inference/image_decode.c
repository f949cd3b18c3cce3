/* Decoding over libjpeg-turbo and libpng's simplified interface.
 *
 * What is refused, and why here: more pixels than FRAME_PIXELS_MAX (the memory of the worker is
 * bounded by it); a JPEG that the library could only finish by guessing (it warns, and paints the
 * rest grey: such a frame would be kept as evidence of nothing). Bytes between markers are the one
 * harmless warning, common from cheap cameras; it is forgiven when the end of the image is there.
 * Progressive JPEGs of thousands of scans are stopped by the library's own limit. */
#include "inference/image_decode.h"
#include "daemon/base/mem.h"
#include "inference/image_bmp.h"
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum { KEEP_ROOM = 32 << 20 }; /* bytes of pixels kept between frames */

void image_pixels_finish(struct image_pixels *pixels) {
    free(pixels->rgb);
    *pixels = (struct image_pixels){0};
}

int image_size_check(uint64_t width, uint64_t height, struct err *err) {
    if (width == 0 || height == 0) {
        return err_set(err, ERR_INVALID, "the image has no pixels (%llu x %llu)",
                       (unsigned long long)width, (unsigned long long)height);
    }
    if (width > FRAME_PIXELS_MAX || height > FRAME_PIXELS_MAX ||
        width * height > FRAME_PIXELS_MAX) {
        return err_set(
            err, ERR_INVALID,
            "the image is too large (%llu x %llu pixels); at most %u megapixels are looked at",
            (unsigned long long)width, (unsigned long long)height, FRAME_PIXELS_MAX / 1000000);
    }
    return 0;
}

int image_pixels_reserve(struct image_pixels *out, uint64_t width, uint64_t height,
                         unsigned channels, struct err *err) {
    int code = image_size_check(width, height, err);
    if (code != 0) {
        return code;
    }
    size_t need = (size_t)(width * height) * channels;
    if (need > out->room || out->room > KEEP_ROOM) {
        free(out->rgb);
        out->rgb = malloc(need); /* every byte of it is written by the decoder */
        out->room = out->rgb != NULL ? need : 0;
    }
    if (out->rgb == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for an image of %llu x %llu pixels",
                       (unsigned long long)width, (unsigned long long)height);
    }
    out->width = (uint32_t)width;
    out->height = (uint32_t)height;
    return 0;
}

static void turbo_destroy_at(tjhandle *turbo) {
    if (*turbo != NULL) {
        tjDestroy(*turbo);
    }
}

/* Judges what the library said while it decoded. */
static int jpeg_verdict(tjhandle turbo, const uint8_t *bytes, size_t size, struct err *err) {
    const char *text = tjGetErrorStr2(turbo);
    if (tjGetErrorCode(turbo) == TJERR_WARNING && strstr(text, "extraneous bytes") != NULL &&
        image_jpeg_has_end(bytes, size)) {
        return 0;
    }
    return err_set(err, ERR_INVALID, "damaged or cut off JPEG (%zu bytes): %s", size, text);
}

/* In place. Adobe's CMYK is stored inverted, so that a colour is its ink times the black. */
static void cmyk_to_rgb(uint8_t *pixels, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = pixels + 4 * i;
        unsigned ink[3] = {from[0], from[1], from[2]};
        unsigned black = from[3];
        for (size_t k = 0; k < 3; k++) {
            pixels[3 * i + k] = (uint8_t)((ink[k] * black + 127) / 255);
        }
    }
}

static int decode_jpeg(const uint8_t *bytes, size_t size, struct image_pixels *out,
                       struct err *err) {
    CLEANUP(turbo_destroy_at) tjhandle turbo = tjInitDecompress();
    if (turbo == NULL) {
        return err_set(err, ERR_NOMEM, "libjpeg-turbo does not start: %s", tjGetErrorStr2(NULL));
    }
    int width = 0, height = 0, sampling = 0, colours = 0;
    if (tjDecompressHeader3(turbo, bytes, size, &width, &height, &sampling, &colours) != 0 &&
        (tjGetErrorCode(turbo) != TJERR_WARNING || width <= 0)) {
        return err_set(err, ERR_INVALID, "damaged JPEG (%zu bytes): %s", size,
                       tjGetErrorStr2(turbo));
    }
    bool cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    int code = image_pixels_reserve(out, width < 0 ? 0 : (uint64_t)width,
                                    height < 0 ? 0 : (uint64_t)height, cmyk ? 4 : 3, err);
    if (code != 0) {
        return code;
    }
    if (tjDecompress2(turbo, bytes, size, out->rgb, width, 0, height, cmyk ? TJPF_CMYK : TJPF_RGB,
                      TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
        code = jpeg_verdict(turbo, bytes, size, err);
    }
    if (code == 0 && cmyk) {
        cmyk_to_rgb(out->rgb, (size_t)width * (size_t)height);
    }
    out->media = MEDIA_JPEG;
    out->orientation = image_jpeg_orientation(bytes, size);
    return code;
}

static void png_free_at(png_image *png) {
    png_image_free(png);
}

static int decode_png(const uint8_t *bytes, size_t size, struct image_pixels *out,
                      struct err *err) {
    CLEANUP(png_free_at) png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&png, bytes, size)) {
        return err_set(err, ERR_INVALID, "damaged PNG (%zu bytes): %s", size, png.message);
    }
    int code = image_pixels_reserve(out, png.width, png.height, 3, err);
    if (code != 0) {
        return code;
    }
    png.format = PNG_FORMAT_RGB;
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* 16 bits are as bright as 8, as everywhere else */
    const png_color white = {255, 255, 255};
    if (!png_image_finish_read(&png, &white, out->rgb, 0, NULL)) {
        return err_set(err, ERR_INVALID, "damaged or cut off PNG (%zu bytes): %s", size,
                       png.message);
    }
    out->media = MEDIA_PNG;
    out->orientation = 1;
    return 0;
}

bool image_is_jpeg(const uint8_t *bytes, size_t size) {
    return size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

int image_decode(const uint8_t *bytes, size_t size, struct image_pixels *out, struct err *err) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size == 0) {
        return err_set(err, ERR_INVALID, "the image is empty (0 bytes)");
    }
    if (image_is_jpeg(bytes, size)) {
        return decode_jpeg(bytes, size, out, err);
    }
    if (size >= sizeof(png) && memcmp(bytes, png, sizeof(png)) == 0) {
        return decode_png(bytes, size, out, err);
    }
    if (size >= 2 && bytes[0] == 'B' && bytes[1] == 'M') {
        return image_bmp_decode(bytes, size, out, err);
    }
    uint8_t head[4] = {0};
    memcpy(head, bytes, size < sizeof(head) ? size : sizeof(head));
    return err_set(err, ERR_INVALID,
                   "neither JPEG, PNG nor BMP (%zu bytes, the first are %02x %02x %02x %02x)", size,
                   head[0], head[1], head[2], head[3]);
}
