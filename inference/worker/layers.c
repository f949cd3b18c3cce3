/* What all layers share, and those that need no arithmetic to speak of. */
#include "inference/worker/layers.h"
#include "daemon/base/mem.h"
#include "inference/worker/layers_op.h"
#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT  64
#define LARGE_PAGE ((size_t)2 << 20)

float *layers_scratch_create(size_t floats) {
    if (floats > (SIZE_MAX - LARGE_PAGE) / sizeof(float)) {
        return NULL;
    }
    size_t unit = floats * sizeof(float) > LARGE_PAGE / 2 ? LARGE_PAGE : ALIGNMENT;
    size_t size = (floats * sizeof(float) / unit + 1) * unit;
    float *scratch = aligned_alloc(unit, size);
    if (scratch != NULL) {
        if (unit == LARGE_PAGE) {
            madvise(scratch, size, MADV_HUGEPAGE); /* a wish: planes are pages apart */
        }
        memset(scratch, 0, size); /* what is read beyond an end is a number */
    }
    return scratch;
}

void layers_op_run(const struct layers_op *op, const float *input, float *output, float *scratch) {
    op->run(op, input, output, scratch);
}

size_t layers_op_scratch(const struct layers_op *op) {
    return op->scratch;
}

void layers_op_destroy(struct layers_op *op) {
    if (op != NULL && op->finish != NULL) {
        op->finish(op);
    }
    free(op);
}

float layers__slope(enum layers_activation activation) {
    static const float slopes[] = {[LAYERS_LINEAR] = 1.0f,
                                   [LAYERS_LEAKY] = 0.1f,
                                   [LAYERS_RELU] = 0.0f,
                                   [LAYERS_LOGISTIC] = 1.0f};
    return slopes[activation];
}

static void fill(float *to, size_t count, float value) {
    for (size_t i = 0; i < count; i++) {
        to[i] = value;
    }
}

/* ---- maxpool: the largest of each row's window, then of each column's ---- */

struct maxpool {
    struct layers_op op;
    struct layers_maxpool is;
    size_t rows, columns,
        stride; /* read by all windows; floats from row to row of the first step */
};

static void maxpool_run(const struct layers_op *op, const float *input, float *output,
                        float *scratch) {
    const struct maxpool *pool = (const struct maxpool *)op;
    const struct layers_maxpool *is = &pool->is;
    float *line = scratch, *rows = scratch + pool->columns + KERNELS_SLACK;
    size_t most = pool->columns - is->border; /* of a line's pixels: windows may leave some out */
    size_t width = is->width < most ? is->width : most;
    fill(line, pool->columns, -FLT_MAX);
    for (size_t c = 0; c < is->channels; c++, input += is->height * is->width) {
        for (size_t y = 0; y < pool->rows; y++) {
            float *to = rows + y * pool->stride;
            if (y < is->border || y - is->border >= is->height) {
                fill(to, pool->stride, -FLT_MAX);
                continue;
            }
            memcpy(line + is->border, input + (y - is->border) * is->width, width * sizeof(*line));
            op->kernels->largest_beside(to, line, is->out_width, is->size, is->stride);
        }
        for (size_t y = 0; y < is->out_height; y++, output += is->out_width) {
            op->kernels->largest_below(output, rows + y * is->stride * pool->stride, pool->stride,
                                       is->out_width, is->size);
        }
    }
}

struct layers_op *layers_maxpool_create(const struct kernels *kernels,
                                        const struct layers_maxpool *from) {
    struct maxpool *pool = mem_alloc(sizeof(*pool));
    if (pool == NULL) {
        return NULL;
    }
    pool->is = *from;
    pool->rows = (from->out_height - 1) * from->stride + from->size;
    pool->columns = (from->out_width - 1) * from->stride + from->size;
    pool->stride = (from->out_width + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
    pool->op = (struct layers_op){.run = maxpool_run,
                                  .kernels = kernels,
                                  .scratch = pool->columns + pool->rows * pool->stride +
                                             2 * KERNELS_SLACK};
    return &pool->op;
}

/* ---- upsample ---- */

struct upsample {
    struct layers_op op;
    size_t rows, width, times;
    float scale;
};

static void upsample_run(const struct layers_op *op, const float *input, float *output,
                         float *scratch) {
    const struct upsample *up = (const struct upsample *)op;
    size_t width = up->width * up->times;
    (void)scratch;
    for (size_t y = 0; y < up->rows; y++, input += up->width) {
        for (size_t x = 0; x < up->width; x++) {
            float value = up->scale * input[x];
            for (size_t copy = 0; copy < up->times; copy++) {
                output[x * up->times + copy] = value;
            }
        }
        for (size_t copy = 1; copy < up->times; copy++) {
            memcpy(output + copy * width, output, width * sizeof(*output));
        }
        output += up->times * width;
    }
}

struct layers_op *layers_upsample_create(const struct kernels *kernels, size_t channels,
                                         size_t height, size_t width, size_t times, float scale) {
    struct upsample *up = mem_alloc(sizeof(*up));
    if (up == NULL) {
        return NULL;
    }
    *up = (struct upsample){.op = {.run = upsample_run, .kernels = kernels},
                            .rows = channels * height,
                            .width = width,
                            .times = times,
                            .scale = scale};
    return &up->op;
}

/* ---- shortcut ---- */

struct shortcut {
    struct layers_op op;
    size_t count;
    const float *other;
    float own_factor, other_factor;
    enum layers_activation activation;
};

static void shortcut_run(const struct layers_op *op, const float *input, float *output,
                         float *scratch) {
    const struct shortcut *is = (const struct shortcut *)op;
    (void)scratch;
    op->kernels->sum(output, input, is->own_factor, is->other, is->other_factor,
                     layers__slope(is->activation), is->count);
    if (is->activation == LAYERS_LOGISTIC) {
        op->kernels->logistic(output, output, is->count);
    }
}

struct layers_op *layers_shortcut_create(const struct kernels *kernels, size_t count,
                                         float own_factor, const float *other, float other_factor,
                                         enum layers_activation activation) {
    struct shortcut *is = mem_alloc(sizeof(*is));
    if (is == NULL) {
        return NULL;
    }
    *is = (struct shortcut){.op = {.run = shortcut_run, .kernels = kernels},
                            .count = count,
                            .other = other,
                            .own_factor = own_factor,
                            .other_factor = other_factor,
                            .activation = activation};
    return &is->op;
}

/* ---- yolo ---- */

struct yolo {
    struct layers_op op;
    size_t anchors, classes, grid;
};

static void yolo_run(const struct layers_op *op, const float *input, float *output,
                     float *scratch) {
    const struct yolo *yolo = (const struct yolo *)op;
    (void)scratch;
    for (size_t i = 0; i < yolo->anchors; i++) { /* x, y; width, height; objectness and classes */
        size_t position = 2 * yolo->grid, rest = (1 + yolo->classes) * yolo->grid;
        op->kernels->logistic(output, input, position);
        memcpy(output + position, input + position, position * sizeof(*output));
        op->kernels->logistic(output + 2 * position, input + 2 * position, rest);
        output += 2 * position + rest;
        input += 2 * position + rest;
    }
}

struct layers_op *layers_yolo_create(const struct kernels *kernels, size_t anchors, size_t classes,
                                     size_t grid) {
    struct yolo *yolo = mem_alloc(sizeof(*yolo));
    if (yolo == NULL) {
        return NULL;
    }
    *yolo = (struct yolo){.op = {.run = yolo_run, .kernels = kernels},
                          .anchors = anchors,
                          .classes = classes,
                          .grid = grid};
    return &yolo->op;
}
