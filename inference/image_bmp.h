/* image_bmp: BMP files into pixels; called by image_decode. */
#ifndef CREEL_INFERENCE_IMAGE_BMP_H
#define CREEL_INFERENCE_IMAGE_BMP_H

#include "inference/image_decode.h"

/* out->media becomes MEDIA_NONE: the store does not take such files as they are. ERR_INVALID: not
 * 24 or 32 plain bits a pixel, damaged, cut off, or too large. */
int image_bmp_decode(const uint8_t *bytes, size_t size, struct image_pixels *out, struct err *err);

#endif
