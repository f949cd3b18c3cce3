/* image_summary: what is remembered of a picture's looks: a thumbnail, a perceptual hash, quality
 * figures.
 *
 * All three come from one area average of the pixels. Thread: any; a struct image_summary belongs
 * to one.
 */
#ifndef CREEL_INFERENCE_IMAGE_SUMMARY_H
#define CREEL_INFERENCE_IMAGE_SUMMARY_H

#include "daemon/base/err.h"
#include "inference/image_decode.h"
#include "schemas/frame.h"

#define IMAGE_THUMB_WIDTH_MAX 1024

struct image_summary {
    uint8_t *thumb; /* owned JPEG, at most FRAME_THUMB_MAX bytes; NULL where none could be made that
                       small */
    size_t thumb_bytes;
    uint64_t phash;
    struct frame_quality quality;
};

/* `thumb_width` pixels wide, or as wide as the image where that is less; at most four times as
 * high. */
int image_summarise(const struct image_pixels *pixels, uint32_t thumb_width,
                    struct image_summary *out, struct err *err);

/* The same of an image that comes row by row. Life cycle: image_shrinker_create -> (begin, take of
 * all rows from the top, finish) ... -> image_shrinker_destroy. An image that ends early is simply
 * not finished. Thread: one at a time. */
struct image_shrinker;
struct image_shrinker *image_shrinker_create(uint32_t thumb_width); /* NULL: no memory */
void image_shrinker_destroy(struct image_shrinker *shrinker);
int image_shrinker_begin(struct image_shrinker *shrinker, uint32_t width, uint32_t height,
                         struct err *err);
void image_shrinker_take(struct image_shrinker *shrinker, const uint8_t *rgb, uint32_t count);
int image_shrinker_finish(struct image_shrinker *shrinker, struct image_summary *out,
                          struct err *err);

void image_summary_finish(struct image_summary *summary);

/* RGB, rows without gaps, as a JPEG (4:2:0). The caller frees *out with free(). */
int image_encode(const uint8_t *rgb, uint32_t width, uint32_t height, int quality, uint8_t **out,
                 size_t *size, struct err *err);

#endif
