/* image_view: a camera's view (view.h) upon pixels: turning them, and painting privacy black.
 *
 * Thread: any; pixels belong to one.
 */
#ifndef CREEL_INFERENCE_IMAGE_VIEW_H
#define CREEL_INFERENCE_IMAGE_VIEW_H

#include "daemon/base/err.h"
#include "inference/frame.h"
#include "inference/image_decode.h"
#include "inference/view.h"

/* Makes the pixels upright as an EXIF orientation (1..8) asks; width and height may change places,
 * out->orientation becomes 1. `spare` is the memory of a second picture; the two change places. */
int image_turn(struct image_pixels *pixels, uint8_t orientation, struct image_pixels *spare,
               struct err *err);

/* Every pixel that the mask touches becomes black. */
void image_blacken(struct image_pixels *pixels, const struct view_mask *mask);

/* Turns and masks raw pixels, in the frame; notes in the record that they are masked. ERR_NOMEM;
 * the frame is then as before. */
int image_view_raw(struct frame *frame, const struct view *view, struct err *err);

#endif
