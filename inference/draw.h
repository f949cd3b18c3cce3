/* draw: boxes and labels on a picture, for people to look at.
 *
 * Not on the frame's way: what is stored is never drawn on. Thread: any.
 */
#ifndef CREEL_INFERENCE_DRAW_H
#define CREEL_INFERENCE_DRAW_H

#include "daemon/base/err.h"
#include "schemas/frame.h"

/* Decodes `bytes`, draws `count` detections, and encodes a JPEG, which the caller frees with
 * free(). */
int draw_detections(const uint8_t *bytes, size_t size, const struct frame_detection *detections,
                    size_t count, uint8_t **out, size_t *out_size, struct err *err);

#endif
