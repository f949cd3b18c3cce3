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

float layers__slope(enum layers_activation activation); /* of max(x, slope * x) */

#endif
