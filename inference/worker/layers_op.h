/* layers_op: what the kinds of layers have in common. Only for the layers_*.c files. */
#ifndef CREEL_INFERENCE_WORKER_LAYERS_OP_H
#define CREEL_INFERENCE_WORKER_LAYERS_OP_H

#include "inference/worker/layers.h"

struct layers_op { /* the first member of each kind */
    void (*run)(const struct layers_op *op, const float *input, float *output, float *scratch);
    void (*finish)(struct layers_op *op); /* frees what the kind owns; NULL: nothing */
    const struct kernels *kernels;
    size_t scratch; /* floats */
};

/* Copies one plane into the middle of a larger one. Where the larger one ends, the image is cut. */
struct layers__frame {
    size_t height, width;         /* of the image */
    size_t border;                /* above and left of it */
    size_t out_height, out_width; /* of the larger plane */
    float fill;
};
void layers__frame_copy(const struct layers__frame *frame, const float *image, float *to);

float layers__slope(enum layers_activation activation); /* of max(x, slope * x) */

#endif
