/* motion: whether a picture differs enough from the last one that did.
 *
 * The picture's luma is averaged over a small grid of cells; a cell has changed when its mean
 * differs by more than MOTION_STEP from that of the last picture that passed. Comparing with that
 * one, not with the previous one, lets slow changes add up until they count. Pure; no allocation.
 */
#ifndef CREEL_INFERENCE_MOTION_H
#define CREEL_INFERENCE_MOTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOTION_COLUMNS 32
#define MOTION_ROWS    24
#define MOTION_STEP    10 /* of 255; above the noise that a cell's mean keeps at night */

struct motion {
    bool known;
    uint8_t cells[MOTION_ROWS][MOTION_COLUMNS]; /* of the last picture that passed */
};

/* True when at least the share `threshold` (0, 1] of the cells has changed, or it is the first
 * picture; that picture is then remembered. `width` and `height` are at least 1. */
bool motion_passes(struct motion *motion, const uint8_t *luma, size_t stride, uint32_t width,
                   uint32_t height, double threshold);

#endif
