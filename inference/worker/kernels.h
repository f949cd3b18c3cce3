/* kernels: the inner loops where a network spends its time, for the vectors that the machine has.
 *
 * Two layers of them. `struct kernels` is what layers.c builds whole layers from: one table for
 * each instruction set, made from kernels_body.h. The functions below it are the library's own
 * inner loops again, put in their place by symbol in darknet.c, for the layers that are not
 * replaced: same contract, equal within rounding. Thread: any; no state but the choice of
 * instruction set, made on first use.
 */
#ifndef CREEL_INFERENCE_WORKER_KERNELS_H
#define CREEL_INFERENCE_WORKER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#define KERNELS_VECTORS   3  /* wide is a block of results that stays in registers */
#define KERNELS_ROWS_MAX  8  /* high, at most */
#define KERNELS_LANES_MAX 16 /* floats of a vector, at most */
/* Readable floats that must follow the pixels of a kernels_plane. */
#define KERNELS_SLACK (4 * KERNELS_LANES_MAX)

/* c (rows x columns) = activation(bias + a * b), activation(x) = max(x, slope * x): 1 is linear,
 * 0.1 leaky, 0 ReLU. */
struct kernels_product {
    /* In blocks of kernels.rows rows (the last has what is left), each a_depth deep: for each depth
     * the values of its rows side by side. Used are `depth` of them, from a_first on. */
    const float *a;
    size_t a_depth, a_first;
    const float *b; /* depth rows, b_stride apart */
    size_t b_stride;
    float *c;
    size_t c_stride;
    const float *bias;           /* of each row */
    size_t rows, columns, depth; /* columns: kernels.lanes or more */
    bool resume;                 /* add to what is in c, and not to the bias */
    float slope;
};

/* Planes with their border around them already; KERNELS_SLACK readable floats behind the last. */
struct kernels_plane {
    const float *pixels;
    size_t stride, plane; /* from row to row, from plane to plane */
    size_t size, step;    /* the window is size x size and moves by step */
    size_t out_width, out_height;
    size_t height; /* of a bare plane */
};

struct kernels {
    const char *name;
    size_t lanes, rows;

    void (*product)(const struct kernels_product *product);

    /* Rows first_row .. + row_count of the matrix whose product with the weights is the
     * convolution: row (plane * size + dy) * size + dx, a column for each pixel of the result.
     * Writes up to KERNELS_LANES_MAX floats beyond each row, before it writes the next. */
    void (*unfold)(const struct kernels_plane *from, size_t first_row, size_t row_count,
                   size_t first_column, size_t column_count, float *to, size_t to_stride);

    /* `count` rows of `width` floats, exactly those. */
    void (*rows_copy)(float *to, size_t to_stride, const float *from, size_t width, size_t count);

    /* One plane with its own window of weights, of size 3 or 5 and step 1 or 2. Either it has a
     * border (`zeros` NULL), or it is bare: then `height` rows of exactly out_width * step pixels,
     * the result `lanes` wide or at least size / 2 wider, and a row of `zeros` stands for those
     * above and below. */
    void (*depthwise)(const struct kernels_plane *from, const float *zeros, const float *weights,
                      float bias, float slope, float *to);

    /* to[i] = the largest of `size` values: from[i * step] and those after it (readable: slack, and
     * up to a vector is written beyond the end); from[i] and those `stride` after each other. */
    void (*largest_beside)(float *to, const float *from, size_t count, size_t size, size_t step);
    void (*largest_below)(float *to, const float *from, size_t stride, size_t count, size_t size);

    /* to = activation(a_factor * a + b_factor * b) */
    void (*sum)(float *to, const float *a, float a_factor, const float *b, float b_factor,
                float slope, size_t count);

    void (*logistic)(float *to, const float *from, size_t count);
};

/* The i-th table that this machine can run, best first; NULL behind the last. The last is plain C.
 */
const struct kernels *kernels_get(size_t i);

/* c (rows x columns, row stride ldc) += alpha * a (rows x depth, lda) * b (depth x columns, ldb).
 */
void kernels_gemm(int rows, int columns, int depth, float alpha, const float *a, int lda,
                  const float *b, int ldb, float *c, int ldc);

/* Unfolds `channels` planes of height x width into (channels * size * size) rows of output pixels,
 * so that a convolution becomes a product of matrices. Outside the image is zero. */
void kernels_unfold(const float *image, int channels, int height, int width, int size, int stride,
                    int pad, float *out);

void kernels_leaky(float *values, int count);
void kernels_logistic(float *values, int count);

#endif
