/* image_rows: a JPEG as rows of RGB, handed over while they are still in the cache.
 *
 * The same pixels (where it comes whole), and the same judgement of damage, as image_decode's,
 * without a picture in memory in between. Thread: any.
 */
#ifndef CREEL_INFERENCE_IMAGE_ROWS_H
#define CREEL_INFERENCE_IMAGE_ROWS_H

#include "daemon/base/err.h"
#include <stddef.h>
#include <stdint.h>

struct image_rows {
    void *ctx;
    /* Once, with the picture's size: how small it may come at least. It then comes halved, once to
     * three times, as long as it stays as large as that. NULL: it comes whole. */
    void (*least)(void *ctx, uint32_t width, uint32_t height, uint32_t least[2]);
    /* Once, with the size of what comes, before the first rows; what it returns ends the reading,
     * when it is not 0. */
    int (*begin)(void *ctx, uint32_t width, uint32_t height, struct err *err);
    /* The next `count` rows, from the top, without gaps. */
    void (*take)(void *ctx, const uint8_t *rgb, uint32_t count);
};

/* ERR_INVALID: damaged, cut off, or too large: what was taken before is worth nothing. ERR_REFUSED,
 * with nothing taken: a JPEG in the colours of print, which is for image_decode. */
int image_rows_jpeg(const uint8_t *bytes, size_t size, const struct image_rows *rows,
                    struct err *err);

#endif
