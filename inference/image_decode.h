/* image_decode: JPEG, PNG and BMP bytes from strangers into RGB pixels.
 *
 * The header's dimensions are judged before a pixel is allocated. A JPEG that ends early is an
 * error, never a picture with a grey rest. PNG: 16 bits become 8, transparency is laid over white.
 * The pixels are as stored: the EXIF orientation is read, not applied. Life cycle: zero-initialise,
 * image_decode any number of times (the buffer is reused), image_pixels_finish. Thread: any; a
 * struct image_pixels belongs to one.
 */
#ifndef CREEL_INFERENCE_IMAGE_DECODE_H
#define CREEL_INFERENCE_IMAGE_DECODE_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_pixels {
    uint8_t *rgb; /* owned; width * height * 3, rows without gaps */
    size_t room;  /* bytes allocated */
    uint32_t width, height;
    enum frame_media media; /* MEDIA_NONE: a BMP, which is not stored as it is */
    uint8_t orientation;    /* EXIF 1..8; 1 where there is none */
};

/* ERR_INVALID: neither JPEG, PNG nor BMP, damaged, cut off, or more than FRAME_PIXELS_MAX pixels.
 */
int image_decode(const uint8_t *bytes, size_t size, struct image_pixels *out, struct err *err);
void image_pixels_finish(struct image_pixels *pixels);
/* ERR_INVALID: no pixels, or more than FRAME_PIXELS_MAX. */
int image_size_check(uint64_t width, uint64_t height, struct err *err);
bool image_is_jpeg(const uint8_t *bytes, size_t size); /* by its first bytes */
/* Room for width * height * `channels` bytes in out->rgb, and the sides. ERR_INVALID: none, or more
 * than FRAME_PIXELS_MAX. */
int image_pixels_reserve(struct image_pixels *out, uint64_t width, uint64_t height,
                         unsigned channels, struct err *err);

/* Orientation of a JPEG's EXIF block (JEITA CP-3451, tag 0x0112): 1..8, and 1 when there is none or
 * it is malformed. */
uint8_t image_jpeg_orientation(const uint8_t *bytes, size_t size);

/* Whether an end-of-image marker follows the start of the scan data. */
bool image_jpeg_has_end(const uint8_t *bytes, size_t size);

#endif
