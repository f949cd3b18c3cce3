/* layers_case: every kind of layer, on shapes that are hard on vectors, against the obvious way to
 * compute it (in double). Needs no test framework, so that it runs on a borrowed processor as well:
 * tests/checks/neon.sh.
 */
#ifndef CREEL_TESTS_LAYERS_CASE_H
#define CREEL_TESTS_LAYERS_CASE_H

#include "daemon/base/mem.h"
#include "inference/worker/layers.h"
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_TOLERANCE 1e-4 /* of a value, or of one where the value is smaller */
#define LAYERS_GUARD     16   /* floats behind each output that must stay as they are */

static uint32_t layers_seed = 7;

static inline uint32_t layers_random(uint32_t below) {
    layers_seed = layers_seed * 1664525u + 1013904223u;
    return (layers_seed >> 8) % below;
}

static inline float layers_value(void) {
    return (float)layers_random(1u << 24) / (float)(1 << 23) - 1.0f;
}

static inline float *layers_values(size_t count) {
    float *values = mem_array(count, sizeof(*values));
    for (size_t i = 0; values != NULL && i < count; i++) {
        values[i] = layers_value();
    }
    return values;
}

static inline double layers_activate(double value, enum layers_activation activation) {
    switch (activation) {
    case LAYERS_LEAKY:
        return value > 0 ? value : (double)0.1f * value;
    case LAYERS_RELU:
        return value > 0 ? value : 0;
    case LAYERS_LOGISTIC:
        return 1 / (1 + exp(-value));
    default:
        return value;
    }
}

/* Runs `op` (and destroys it) and compares; false, and a line, at the first value that is wrong. */
static inline bool layers_compare(const char *what, struct layers_op *op, const float *input,
                                  const double *expected, size_t count) {
    float *output = mem_array(count + LAYERS_GUARD, sizeof(*output));
    float *scratch = layers_scratch_create(layers_op_scratch(op));
    bool same = output != NULL && scratch != NULL;
    for (size_t i = 0; same && i < count + LAYERS_GUARD; i++) {
        output[i] = 12345.0f;
    }
    if (same) {
        layers_op_run(op, input, output, scratch);
    }
    for (size_t i = 0; same && i < count + LAYERS_GUARD; i++) {
        double want = i < count ? expected[i] : 12345.0;
        double error = fabs((double)output[i] - want);
        same = error <= LAYERS_TOLERANCE * (fabs(want) > 1 ? fabs(want) : 1);
        if (!same) {
            printf("%s: value %zu of %zu is %g, not %g\n", what, i, count, (double)output[i], want);
        }
    }
    free(output);
    free(scratch);
    layers_op_destroy(op);
    return same;
}

static inline double layers_pixel(const struct layers_convolution *is, const float *input,
                                  size_t filter, size_t y, size_t x) {
    size_t channels = is->channels / is->groups, window = is->size * is->size;
    size_t first = filter / (is->filters / is->groups) * channels;
    double sum = 0;
    for (size_t i = 0; i < channels * window; i++) {
        size_t row = y * is->stride + i % window / is->size, column = x * is->stride + i % is->size;
        if (row >= is->pad && row - is->pad < is->height && column >= is->pad &&
            column - is->pad < is->width) {
            size_t plane = (first + i / window) * is->height;
            sum += (double)is->weights[filter * channels * window + i] *
                   (double)input[(plane + row - is->pad) * is->width + column - is->pad];
        }
    }
    if (is->scales != NULL) {
        sum = (sum - (double)is->mean[filter]) / (sqrt((double)is->variance[filter]) + 1e-6) *
              (double)is->scales[filter];
    }
    return layers_activate(sum + (double)is->biases[filter], is->activation);
}

static inline bool layers_convolution_case(const struct kernels *kernels,
                                           struct layers_convolution is, bool norm) {
    size_t depth = is.channels / is.groups * is.size * is.size;
    size_t height = (is.height + 2 * is.pad - is.size) / is.stride + 1;
    size_t width = (is.width + 2 * is.pad - is.size) / is.stride + 1;
    float *input = layers_values(is.channels * is.height * is.width);
    float *weights = layers_values(is.filters * depth), *biases = layers_values(is.filters);
    float *scales = layers_values(is.filters), *mean = layers_values(is.filters);
    float *variance = layers_values(is.filters);
    double *expected = mem_array(is.filters * height * width, sizeof(*expected));
    for (size_t i = 0; i < is.filters; i++) {
        variance[i] = fabsf(variance[i]) + 0.1f;
    }
    is.weights = weights;
    is.biases = biases;
    is.scales = norm ? scales : NULL;
    is.mean = mean;
    is.variance = variance;
    for (size_t i = 0; i < is.filters * height * width; i++) {
        expected[i] = layers_pixel(&is, input, i / (height * width), i / width % height, i % width);
    }
    char what[160];
    snprintf(what, sizeof(what),
             "%s: convolution of %zux%zux%zu by %zu filters %zux%zu, stride %zu, pad %zu, %zu "
             "groups, activation %d",
             kernels->name, is.channels, is.height, is.width, is.filters, is.size, is.size,
             is.stride, is.pad, is.groups, (int)is.activation);
    bool same = layers_compare(what, layers_convolution_create(kernels, &is), input, expected,
                               is.filters * height * width);
    free(input);
    free(weights);
    free(biases);
    free(scales);
    free(mean);
    free(variance);
    free(expected);
    return same;
}

static inline unsigned layers_convolutions(const struct kernels *kernels, unsigned random_count) {
    static const struct layers_convolution cases[] = {
        /* channels, height, width, filters, size, stride, pad, groups */
        {1, 1, 1, 1, 1, 1, 0, 1, .activation = LAYERS_LEAKY},
        {4, 10, 10, 9, 1, 1, 0, 1, .activation = LAYERS_LEAKY},
        {8, 3, 5, 255, 1, 1, 0, 1, .activation = LAYERS_LINEAR},  /* 15 columns */
        {7, 1, 17, 13, 1, 1, 0, 1, .activation = LAYERS_RELU},    /* a vector and one */
        {5, 7, 7, 15, 1, 1, 0, 1, .activation = LAYERS_LEAKY},    /* a panel and one */
        {600, 4, 5, 3, 1, 1, 0, 1, .activation = LAYERS_LINEAR},  /* deeper than straight ones */
        {3, 33, 31, 8, 3, 2, 1, 1, .activation = LAYERS_LEAKY},   /* first layers */
        {3, 20, 70, 16, 3, 1, 1, 1, .activation = LAYERS_LEAKY},  /* rows longer than a panel */
        {64, 13, 13, 21, 3, 1, 1, 1, .activation = LAYERS_LEAKY}, /* slices of the depth */
        {30, 2, 2, 6, 3, 1, 1, 1, .activation = LAYERS_LEAKY},    /* the same in a result apart */
        {6, 9, 8, 4, 7, 3, 3, 2, .activation = LAYERS_LINEAR},
        {4, 6, 6, 8, 3, 1, 0, 4, .activation = LAYERS_LEAKY}, /* two filters a channel */
        {5, 10, 10, 5, 3, 1, 1, 5, .activation = LAYERS_LEAKY},
        {2, 40, 41, 2, 3, 1, 1, 2, .activation = LAYERS_LOGISTIC},
        {3, 21, 20, 3, 3, 2, 1, 3, .activation = LAYERS_LEAKY},
        {3, 10, 10, 3, 5, 1, 2, 3, .activation = LAYERS_LINEAR},
        {3, 19, 35, 3, 5, 2, 2, 3, .activation = LAYERS_RELU},
        {2, 3, 2, 2, 5, 1, 2, 2, .activation = LAYERS_LEAKY},
        {2, 12, 40, 2, 3, 2, 1, 2, .activation = LAYERS_LEAKY}, /* every second pixel */
        {2, 11, 66, 2, 5, 2, 2, 2, .activation = LAYERS_LEAKY},
        {2, 9, 34, 2, 3, 2, 1, 2, .activation = LAYERS_LEAKY},
        {2, 9, 32, 2, 5, 2, 2, 2, .activation = LAYERS_LEAKY},
        {2, 9, 16, 2, 5, 2, 2, 2, .activation = LAYERS_LEAKY},
        {2, 8, 8, 2, 3, 2, 1, 2, .activation = LAYERS_LEAKY},
        {2, 7, 36, 2, 5, 2, 2, 2, .activation = LAYERS_LEAKY},
        {2, 6, 5, 2, 5, 1, 2, 2, .activation = LAYERS_LEAKY}, /* a vector and less than a window */
        {2, 6, 9, 2, 5, 1, 2, 2, .activation = LAYERS_LEAKY},
        {2, 6, 17, 2, 5, 1, 2, 2, .activation = LAYERS_LEAKY},
        {2, 6, 17, 2, 3, 1, 1, 2, .activation = LAYERS_LEAKY},
        {2, 5, 16, 2, 3, 1, 1, 2, .activation = LAYERS_LEAKY}, /* both edges in one vector */
        {2, 5, 8, 2, 5, 1, 2, 2, .activation = LAYERS_LEAKY},
        {2, 1, 1, 2, 3, 2, 1, 2, .activation = LAYERS_LEAKY},
        {2, 5, 33, 2, 3, 1, 0, 2, .activation = LAYERS_LEAKY},
    };
    unsigned failed = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        failed += !layers_convolution_case(kernels, cases[i], i % 2 == 0);
    }
    for (unsigned i = 0; i < random_count; i++) {
        size_t groups = layers_random(3) == 0 ? 1 + layers_random(6) : 1;
        struct layers_convolution is = {.channels = groups * (1 + layers_random(12)),
                                        .height = 1 + layers_random(30),
                                        .width = 1 + layers_random(60),
                                        .filters = groups * (1 + layers_random(20)),
                                        .size = 1 + layers_random(5),
                                        .stride = 1 + layers_random(3),
                                        .groups = groups,
                                        .activation = (enum layers_activation)layers_random(4)};
        is.pad = layers_random((uint32_t)is.size);
        is.height = is.height < is.size ? is.size : is.height;
        is.width = is.width < is.size ? is.size : is.width;
        failed += !layers_convolution_case(kernels, is, layers_random(2) == 0);
    }
    return failed;
}

static inline bool layers_maxpool_case(const struct kernels *kernels, struct layers_maxpool is) {
    size_t count = is.channels * is.out_height * is.out_width;
    float *input = layers_values(is.channels * is.height * is.width);
    double *expected = mem_array(count, sizeof(*expected));
    for (size_t i = 0; i < count; i++) {
        size_t y = i / is.out_width % is.out_height * is.stride, x = i % is.out_width * is.stride;
        const float *plane = input + i / (is.out_width * is.out_height) * is.height * is.width;
        expected[i] = -(double)FLT_MAX;
        for (size_t k = 0; k < is.size * is.size; k++) {
            size_t row = y + k / is.size, column = x + k % is.size;
            if (row >= is.border && row - is.border < is.height && column >= is.border &&
                column - is.border < is.width) {
                expected[i] = fmax(
                    expected[i], (double)plane[(row - is.border) * is.width + column - is.border]);
            }
        }
    }
    char what[128];
    snprintf(what, sizeof(what), "%s: maxpool of %zux%zux%zu, size %zu, stride %zu, border %zu",
             kernels->name, is.channels, is.height, is.width, is.size, is.stride, is.border);
    bool same = layers_compare(what, layers_maxpool_create(kernels, &is), input, expected, count);
    free(input);
    free(expected);
    return same;
}

static inline unsigned layers_maxpools(const struct kernels *kernels) {
    unsigned failed = 0;
    for (size_t size = 1; size <= 13; size++) {
        for (size_t stride = 1; stride <= 3; stride++) {
            size_t padding = size - 1, side = 1 + layers_random(40);
            struct layers_maxpool is = {.channels = 2,
                                        .height = side,
                                        .width = 1 + layers_random(70),
                                        .size = size,
                                        .stride = stride,
                                        .border = padding / 2};
            is.out_height = (is.height + padding - size) / stride + 1;
            is.out_width = (is.width + padding - size) / stride + 1;
            failed += !layers_maxpool_case(kernels, is);
        }
    }
    return failed;
}

static inline unsigned layers_others(const struct kernels *kernels) {
    enum {
        CHANNELS = 3,
        HEIGHT = 5,
        WIDTH = 21,
        PIXELS = HEIGHT * WIDTH,
        COUNT = CHANNELS * PIXELS
    };
    char what[64];
    unsigned failed = 0;
    float *input = layers_values(COUNT), *other = layers_values(COUNT);
    double *expected = mem_array(COUNT * 9, sizeof(*expected));
    for (size_t i = 0; i < COUNT; i++) {
        expected[i] = layers_activate(0.5 * (double)input[i] + 2 * (double)other[i], LAYERS_LEAKY);
    }
    snprintf(what, sizeof(what), "%s: shortcut", kernels->name);
    failed += !layers_compare(
        what, layers_shortcut_create(kernels, COUNT, 0.5f, other, 2.0f, LAYERS_LEAKY), input,
        expected, COUNT);

    for (size_t i = 0; i < COUNT * 9; i++) {
        size_t x = i % (WIDTH * 3) / 3, y = i / (WIDTH * 3) % (HEIGHT * 3) / 3;
        expected[i] = 1.5 * (double)input[i / (PIXELS * 9) * PIXELS + y * WIDTH + x];
    }
    snprintf(what, sizeof(what), "%s: upsample", kernels->name);
    failed +=
        !layers_compare(what, layers_upsample_create(kernels, CHANNELS, HEIGHT, WIDTH, 3, 1.5f),
                        input, expected, COUNT * 9);

    enum { CLASSES = 2, GRID = 15, EACH = (5 + CLASSES) * GRID, ANCHORS = 3 };
    for (size_t i = 0; i < EACH * ANCHORS; i++) {
        size_t kind = i % EACH / GRID;
        input[i] *= i % 5 == 0 ? 100.0f : 8.0f;
        expected[i] = layers_activate((double)input[i],
                                      kind == 2 || kind == 3 ? LAYERS_LINEAR : LAYERS_LOGISTIC);
    }
    snprintf(what, sizeof(what), "%s: yolo", kernels->name);
    failed += !layers_compare(what, layers_yolo_create(kernels, ANCHORS, CLASSES, GRID), input,
                              expected, EACH * ANCHORS);
    free(input);
    free(other);
    free(expected);
    return failed;
}

/* What is not a number must stay so: a model of such weights is refused by its results. */
static inline unsigned layers_not_numbers(const struct kernels *kernels) {
    enum { COUNT = 40 };
    float input[COUNT], output[COUNT];
    float one = 1.0f, none = 0.0f;
    unsigned failed = 0;
    for (size_t i = 0; i < COUNT; i++) {
        input[i] = NAN;
    }
    for (int activation = LAYERS_LINEAR; activation <= LAYERS_LOGISTIC; activation++) {
        struct layers_convolution is = {1,
                                        1,
                                        COUNT,
                                        1,
                                        1,
                                        1,
                                        0,
                                        1,
                                        .weights = &one,
                                        .biases = &none,
                                        .activation = (enum layers_activation)activation};
        struct layers_op *op = layers_convolution_create(kernels, &is);
        layers_op_run(op, input, output, NULL);
        layers_op_destroy(op);
        for (size_t i = 0; i < COUNT; i++) {
            failed += isnan(output[i]) ? 0 : 1;
        }
    }
    if (failed > 0) {
        printf("%s: %u values became numbers\n", kernels->name, failed);
    }
    return failed;
}

/* All of it; how many went wrong. */
static inline unsigned layers_check(const struct kernels *kernels, unsigned random_count) {
    return layers_convolutions(kernels, random_count) + layers_maxpools(kernels) +
           layers_others(kernels) + layers_not_numbers(kernels);
}

#endif
