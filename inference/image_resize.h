/* image_resize: RGB bytes to the planar floats that a network reads, in one pass.
 *
 * Gives the values of Darknet's letterbox_image and resize_image (bilinear, corners on corners, no
 * antialiasing, a border of 0.5), so that a model sees here what it saw there.
 * Thread: one at a time.
 */
#ifndef CREEL_INFERENCE_IMAGE_RESIZE_H
#define CREEL_INFERENCE_IMAGE_RESIZE_H

#include "daemon/base/err.h"
#include "inference/image_decode.h"
#include "inference/inference.h"
#include "inference/view.h"

/* Where the image lies in the network's input, in pixels of it. */
struct image_fit {
    uint32_t net_width, net_height;
    uint32_t width, height; /* of the resized image: the whole input when stretched */
};

struct image_resizer;
struct image_resizer *image_resizer_create(uint32_t net_width,
                                           uint32_t net_height); /* NULL: no memory */
void image_resizer_destroy(struct image_resizer *resizer);

void image_fit_make(enum model_resize resize, uint32_t width, uint32_t height, uint32_t net_width,
                    uint32_t net_height, struct image_fit *out);

/* Fills `planar` (3 * net_width * net_height floats: red, green, blue planes, in [0, 1]). */
void image_resize(struct image_resizer *resizer, const struct image_pixels *pixels,
                  enum model_resize resize, float *planar, struct image_fit *fit);
/* The same of an image that comes row by row: image_resizer_begin, then image_resizer_take of all
 * its rows from the top. The window lies within the image; `planar` is whole when the last row was
 * taken. */
void image_resizer_begin(struct image_resizer *resizer, uint32_t width,
                         const struct view_window *window, enum model_resize resize, float *planar,
                         struct image_fit *fit);
void image_resizer_take(struct image_resizer *resizer, const uint8_t *rgb, uint32_t count);

/* The same of a part of the image; the window lies within it. */
void image_resize_window(struct image_resizer *resizer, const struct image_pixels *pixels,
                         const struct view_window *window, enum model_resize resize, float *planar,
                         struct image_fit *fit);

#endif
