/* Convolutions, one of three ways:
 *
 * - straight: 1x1 that moves by one. The image is the second matrix already.
 * - unfolded: all others. Each panel of columns is unfolded from a copy of the image with a border,
 *   SLICE rows at a time, so that it stays in the first cache while all rows of weights pass by it.
 * - depthwise: each channel has one filter, 3x3 or 5x5. No product of matrices would be of use.
 *
 * Invariants: 1. Batch norm is in weights and biases, as Darknet computes it: the small number is
 * added to the root. 2. Columns that two panels share are computed twice, each time from the bias:
 * so a panel is finished before the next one begins. 3. Planes smaller than a vector go through a
 * result of their own with rows as long as a vector. */
#include "daemon/base/mem.h"
#include "inference/worker/layers_op.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 192 /* x 48 floats of panel: 36 KiB of the first cache with AVX-512, 18 with AVX2 */
#define STRAIGHT_MAX                                                                               \
    512 /* deeper ones are unfolded: their columns are too far apart for the cache */

struct convolution {
    struct layers_op op;
    size_t groups, filters, channels; /* the latter of a group */
    size_t depth;                     /* channels * size * size */
    size_t columns;                   /* pixels of a plane of the result */
    size_t height, width, pad;        /* of the image, and of the border around it */
    struct kernels_plane plane;       /* the image with it; pixels: set for each run */
    float *weights, *biases;          /* weights as kernels_product wants them, group after group */
    float slope;
    bool logistic;
};

static void finish(struct layers_op *op) {
    struct convolution *is = (struct convolution *)op;
    free(is->weights);
    free(is->biases);
}

static void activate(const struct convolution *is, float *output) {
    if (is->logistic) {
        is->op.kernels->logistic(output, output, is->groups * is->filters * is->columns);
    }
}

static struct kernels_product product_of(const struct convolution *is, size_t group) {
    return (struct kernels_product){.a = is->weights + group * is->filters * is->depth,
                                    .a_depth = is->depth,
                                    .bias = is->biases + group * is->filters,
                                    .rows = is->filters,
                                    .depth = is->depth,
                                    .columns = is->columns,
                                    .slope = is->slope};
}

static void zero(float *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        to[i] = 0.0f;
    }
}

static void border_clear(const struct convolution *is, float *plane) {
    size_t stride = is->plane.stride;
    zero(plane, is->pad * stride);
    plane += is->pad * stride;
    for (size_t y = 0; y < is->height; y++, plane += stride) {
        zero(plane, is->pad);
        zero(plane + is->pad + is->width, is->pad);
    }
    zero(plane, is->pad * stride);
}

static void image_copy(const struct convolution *is, const float *image, float *plane) {
    size_t stride = is->plane.stride;
    is->op.kernels->rows_copy(plane + is->pad * stride + is->pad, stride, image, is->width,
                              is->height);
}

static void straight_run(const struct layers_op *op, const float *input, float *output,
                         float *scratch) {
    const struct convolution *is = (const struct convolution *)op;
    (void)scratch;
    for (size_t g = 0; g < is->groups; g++) {
        struct kernels_product product = product_of(is, g);
        product.b = input + g * is->channels * is->columns;
        product.b_stride = is->columns;
        product.c = output + g * is->filters * is->columns;
        product.c_stride = is->columns;
        op->kernels->product(&product);
    }
    activate(is, output);
}

/* Columns `first` to `first + count` of one group's result, into `product->c`. */
static void panel_run(const struct convolution *is, struct kernels_product *product, size_t first,
                      size_t count, float *panel) {
    const struct kernels *kernels = is->op.kernels;
    product->b = panel;
    product->b_stride = KERNELS_VECTORS * kernels->lanes;
    product->columns = count > kernels->lanes ? count : kernels->lanes;
    for (size_t k = 0; k < is->depth; k += SLICE) {
        size_t depth = is->depth - k < SLICE ? is->depth - k : SLICE;
        kernels->unfold(&is->plane, k, depth, first, count, panel, product->b_stride);
        product->a_first = k;
        product->depth = depth;
        product->resume = k > 0;
        product->slope = k + depth == is->depth ? is->slope : 1.0f;
        kernels->product(product);
    }
}

static void panels_run(const struct convolution *is, size_t group, float *output, float *panel) {
    size_t lanes = is->op.kernels->lanes, most = KERNELS_VECTORS * lanes;
    struct kernels_product product = product_of(is, group);
    if (is->columns < lanes) {
        float *result = panel + SLICE * most + KERNELS_SLACK;
        product.c = result;
        product.c_stride = lanes;
        panel_run(is, &product, 0, is->columns, panel);
        for (size_t r = 0; r < is->filters; r++) {
            memcpy(output + r * is->columns, result + r * lanes, is->columns * sizeof(*output));
        }
        return;
    }
    product.c_stride = is->columns;
    for (size_t j = 0; j < is->columns; j += most) {
        size_t first = j, count = is->columns - j < most ? is->columns - j : most;
        if (count < lanes) {
            first = is->columns - lanes;
            count = lanes;
        }
        product.c = output + first;
        panel_run(is, &product, first, count, panel);
    }
}

static void unfolded_run(const struct layers_op *op, const float *input, float *output,
                         float *scratch) {
    struct convolution is = *(const struct convolution *)op;
    float *panel = scratch + is.channels * is.plane.plane + KERNELS_SLACK;
    is.plane.pixels = scratch;
    for (size_t g = 0; g < is.groups; g++) {
        for (size_t c = 0; c < is.channels; c++, input += is.height * is.width) {
            border_clear(&is, scratch + c * is.plane.plane);
            image_copy(&is, input, scratch + c * is.plane.plane);
        }
        panels_run(&is, g, output + g * is.filters * is.columns, panel);
    }
    activate(&is, output);
}

static void depthwise_run(const struct layers_op *op, const float *input, float *output,
                          float *scratch) {
    const struct convolution *is = (const struct convolution *)op;
    struct kernels_plane plane = is->plane;
    plane.pixels = scratch;
    border_clear(is, scratch);
    for (size_t c = 0; c < is->groups; c++) {
        image_copy(is, input + c * is->height * is->width, scratch);
        op->kernels->depthwise(&plane, NULL, is->weights + c * is->depth, is->biases[c], is->slope,
                               output + c * is->columns);
    }
    activate(is, output);
}

static void depthwise_bare_run(const struct layers_op *op, const float *input, float *output,
                               float *scratch) {
    const struct convolution *is = (const struct convolution *)op;
    struct kernels_plane plane = is->plane;
    zero(scratch, is->width);
    plane.stride = is->width;
    plane.height = is->height;
    for (size_t c = 0; c < is->groups; c++) {
        plane.pixels = input + c * is->height * is->width;
        op->kernels->depthwise(&plane, scratch, is->weights + c * is->depth, is->biases[c],
                               is->slope, output + c * is->columns);
    }
    activate(is, output);
}

/* Row r of a group's weights, times `factor`, to where its block of rows has it. */
static void row_pack(const struct convolution *is, const float *from, float factor, size_t r,
                     float *group) {
    size_t most = is->op.kernels->rows, first = r - r % most;
    size_t rows = is->filters - first < most ? is->filters - first : most;
    float *to = group + first * is->depth + (r - first);
    for (size_t k = 0; k < is->depth; k++) {
        to[k * rows] = factor * from[k];
    }
}

static void weights_fold(struct convolution *is, const struct layers_convolution *from) {
    for (size_t i = 0; i < from->filters; i++) {
        float factor = 1.0f, bias = from->biases[i];
        if (from->scales != NULL) {
            factor = from->scales[i] / (sqrtf(from->variance[i]) + .000001f);
            bias -= factor * from->mean[i];
        }
        is->biases[i] = bias;
        row_pack(is, from->weights + i * is->depth, factor, i % is->filters,
                 is->weights + i / is->filters * is->filters * is->depth);
    }
}

/* Chooses the way, and the scratch that it takes. Depthwise planes get a border only where the
 * kernel for bare ones cannot do without. */
static void way_choose(struct convolution *is, const struct layers_convolution *from) {
    const struct kernels *kernels = is->op.kernels;
    if (from->size == 1 && from->stride == 1 && from->pad == 0 && is->columns >= kernels->lanes &&
        is->depth <= STRAIGHT_MAX) {
        is->op.run = straight_run;
    } else if (is->channels == 1 && is->filters == 1 && (from->size == 3 || from->size == 5) &&
               from->stride <= 2) {
        size_t width = is->plane.out_width;
        bool wide = width == kernels->lanes || width >= kernels->lanes + from->pad;
        bool bare = wide && from->width == width * from->stride && from->pad == from->size / 2;
        is->op.run = bare ? depthwise_bare_run : depthwise_run;
        is->op.scratch = is->plane.plane + KERNELS_SLACK;
    } else {
        is->op.run = unfolded_run;
        is->op.scratch = is->channels * is->plane.plane + KERNELS_SLACK +
                         SLICE * KERNELS_VECTORS * kernels->lanes + KERNELS_SLACK +
                         is->filters * kernels->lanes;
    }
}

struct layers_op *layers_convolution_create(const struct kernels *kernels,
                                            const struct layers_convolution *from) {
    struct convolution *is = mem_alloc(sizeof(*is));
    if (is == NULL) {
        return NULL;
    }
    size_t height = from->height + 2 * from->pad, width = from->width + 2 * from->pad;
    is->op.kernels = kernels;
    is->op.finish = finish;
    is->groups = from->groups;
    is->filters = from->filters / from->groups;
    is->channels = from->channels / from->groups;
    is->depth = is->channels * from->size * from->size;
    is->height = from->height;
    is->width = from->width;
    is->pad = from->pad;
    is->plane = (struct kernels_plane){.stride = width,
                                       .plane = height * width,
                                       .size = from->size,
                                       .step = from->stride,
                                       .out_width = (width - from->size) / from->stride + 1,
                                       .out_height = (height - from->size) / from->stride + 1};
    is->columns = is->plane.out_width * is->plane.out_height;
    is->slope = layers__slope(from->activation);
    is->logistic = from->activation == LAYERS_LOGISTIC;
    is->weights = mem_array(from->filters, is->depth * sizeof(float));
    is->biases = mem_array(from->filters, sizeof(float));
    if (is->weights == NULL || is->biases == NULL) {
        layers_op_destroy(&is->op);
        return NULL;
    }
    way_choose(is, from);
    weights_fold(is, from);
    return &is->op;
}
