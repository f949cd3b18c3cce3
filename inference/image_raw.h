/* image_raw: pixels as cameras and decoders of video hand them over, in the formats of frame.h.
 *
 * Bytes and sizes are trusted to fit together: frame_raw_size says what fits. Thread: any.
 */
#ifndef CREEL_INFERENCE_IMAGE_RAW_H
#define CREEL_INFERENCE_IMAGE_RAW_H

#include "daemon/base/err.h"
#include "inference/frame.h"
#include "inference/image_decode.h"

struct image_raw {
    enum frame_format format; /* not FRAME_ENCODED */
    uint32_t width, height;
    const uint8_t *bytes; /* borrowed; frame_raw_size of them */
};

/* Into RGB. out->media becomes MEDIA_JPEG: as which such a picture would be stored. */
int image_raw_pixels(const struct image_raw *raw, struct image_pixels *out, struct err *err);

/* As a JPEG (4:2:0). The caller frees *out with free(). */
int image_raw_encode(const struct image_raw *raw, int quality, uint8_t **out, size_t *size,
                     struct err *err);

/* In place: range of video to full range (ITU-R BT.601, section 3.5). */
void image_range_expand(uint8_t *luma, size_t luma_size, uint8_t *chroma, size_t chroma_size);

#endif
