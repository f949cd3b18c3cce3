/* layers: whole layers of a network, one at a time, as fast as the processor allows.
 *
 * A layer is made once from its description (which it copies, batch norm folded into the weights)
 * and then run on planes of floats, channel after channel without gaps. It knows nothing of
 * Darknet: see darknet_layers.c for that. All layers of a network share one scratch memory of the
 * largest size that any of them asks for. Thread: any, with a scratch of its own.
 */
#ifndef CREEL_INFERENCE_WORKER_LAYERS_H
#define CREEL_INFERENCE_WORKER_LAYERS_H

#include "inference/worker/kernels.h"
#include <stdbool.h>
#include <stddef.h>

enum layers_activation { LAYERS_LINEAR, LAYERS_LEAKY, LAYERS_RELU, LAYERS_LOGISTIC };

struct layers_convolution {
    size_t channels, height, width;
    size_t filters, size, stride, pad, groups; /* channels and filters are multiples of groups */
    const float *weights;                      /* filters x (channels / groups) x size x size */
    const float *biases;                       /* of each filter */
    const float *scales, *mean, *variance;     /* batch norm of each filter; NULL: none */
    enum layers_activation activation;
};

struct layers_maxpool {
    size_t channels, height, width;
    size_t size, stride, border; /* the first window begins `border` above and left of the image */
    size_t out_height, out_width;
};

struct layers_op;

/* NULL: no memory. */
struct layers_op *layers_convolution_create(const struct kernels *kernels,
                                            const struct layers_convolution *from);
struct layers_op *layers_maxpool_create(const struct kernels *kernels,
                                        const struct layers_maxpool *from);
struct layers_op *layers_upsample_create(const struct kernels *kernels, size_t channels,
                                         size_t height, size_t width, size_t times, float scale);
/* activation(own_factor * input + other_factor * other); `other` is borrowed as long as it lives */
struct layers_op *layers_shortcut_create(const struct kernels *kernels, size_t count,
                                         float own_factor, const float *other, float other_factor,
                                         enum layers_activation activation);
/* [yolo]: all but widths and heights go through the logistic function. */
struct layers_op *layers_yolo_create(const struct kernels *kernels, size_t anchors, size_t classes,
                                     size_t grid);
void layers_op_destroy(struct layers_op *op);

size_t layers_op_scratch(const struct layers_op *op); /* floats */

/* `input`, `output` and `scratch` do not overlap. */
void layers_op_run(const struct layers_op *op, const float *input, float *output, float *scratch);

/* NULL: no memory; free with free(). Aligned for every vector; in large pages, where it is large.
 */
float *layers_scratch_create(size_t floats);

struct layers_output {
    size_t floats;
    size_t first, last; /* the layer that writes it, and the last one that reads it */
    size_t at;          /* where it was put: floats from the beginning, a multiple of 16 */
};

/* Puts outputs that are never needed at the same time into the same memory. Returns its size in
 * floats. */
size_t layers_plan(struct layers_output *outputs, size_t count);

#endif
