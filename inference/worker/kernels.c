/* The choice of a table, and what the layers that are not replaced run on: take the calls through
 * the linkage table out of the library's inner loops and use the vectors that the machine has, in a
 * page of code. (The library calls a function a float there; that, not the arithmetic, is most of
 * its time.)
 *
 * gemm: blocks of ROWS x 2 vectors of the result live in registers while the depth runs; b is read
 * in order. The body is written once with the compiler's vector types and compiled for each
 * instruction set. */
#include "inference/worker/kernels.h"
#include "inference/worker/kernels_sets.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

#define LANES  8
#define QUAD   4
#define ROWS   4
#define INLINE static inline __attribute__((always_inline))

const struct kernels *kernels_get(size_t i) {
    const struct kernels *found[4];
    size_t count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        found[count++] = &kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found[count++] = &kernels_avx2;
    }
#elif defined(__aarch64__)
    found[count++] = &kernels_neon;
#endif
    found[count++] = &kernels_plain;
    return i < count ? found[i] : NULL;
}

/* aligned(4): Darknet's arrays are aligned for float only */
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
/* of a size that every machine has: gcc takes comparisons of larger ones apart, lane by lane */
typedef float quad __attribute__((vector_size(QUAD * sizeof(float)), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(QUAD * sizeof(int)), aligned(4), may_alias));

/* `count` rows (1 .. ROWS) by two vectors. */
INLINE void block(int count, int depth, const float *a, size_t lda, const float *b, size_t ldb,
                  float alpha, float *c, size_t ldc) {
    vector sum[ROWS][2];
#pragma GCC unroll 4
    for (int r = 0; r < count; r++) {
        sum[r][0] = sum[r][1] = (vector){0};
    }
    for (int k = 0; k < depth; k++) {
        const float *row = b + (size_t)k * ldb;
        vector first = *(const vector *)(const void *)row;
        vector second = *(const vector *)(const void *)(row + LANES);
#pragma GCC unroll 4
        for (int r = 0; r < count; r++) {
            float factor = a[(size_t)r * lda + (size_t)k];
            sum[r][0] += factor * first;
            sum[r][1] += factor * second;
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < count; r++) {
        vector *out = (vector *)(void *)(c + (size_t)r * ldc);
        out[0] += alpha * sum[r][0];
        out = (vector *)(void *)(c + (size_t)r * ldc + LANES);
        out[0] += alpha * sum[r][1];
    }
}

/* The columns that do not fill two vectors. */
INLINE void edge(int count, int columns, int depth, const float *a, size_t lda, const float *b,
                 size_t ldb, float alpha, float *c, size_t ldc) {
    for (int r = 0; r < count; r++) {
        float sum[2 * LANES] = {0};
        for (int k = 0; k < depth; k++) {
            float factor = a[(size_t)r * lda + (size_t)k];
            for (int j = 0; j < columns; j++) {
                sum[j] += factor * b[(size_t)k * ldb + (size_t)j];
            }
        }
        for (int j = 0; j < columns; j++) {
            c[(size_t)r * ldc + (size_t)j] += alpha * sum[j];
        }
    }
}

INLINE void gemm_body(int rows, int columns, int depth, float alpha, const float *a, size_t lda,
                      const float *b, size_t ldb, float *c, size_t ldc) {
    int whole = columns - columns % (2 * LANES);
    for (int r = 0; r < rows; r += ROWS) {
        int count = rows - r < ROWS ? rows - r : ROWS;
        const float *left = a + (size_t)r * lda;
        float *out = c + (size_t)r * ldc;
        for (int j = 0; j < whole; j += 2 * LANES) {
            if (count == ROWS) { /* a constant, so that the sums stay in registers */
                block(ROWS, depth, left, lda, b + j, ldb, alpha, out + j, ldc);
                continue;
            }
            for (int i = 0; i < count; i++) {
                block(1, depth, left + (size_t)i * lda, lda, b + j, ldb, alpha,
                      out + (size_t)i * ldc + j, ldc);
            }
        }
        if (whole < columns) {
            edge(count, columns - whole, depth, left, lda, b + whole, ldb, alpha, out + whole, ldc);
        }
    }
}

typedef void gemm_fn(int rows, int columns, int depth, float alpha, const float *a, size_t lda,
                     const float *b, size_t ldb, float *c, size_t ldc);

static void gemm_plain(int rows, int columns, int depth, float alpha, const float *a, size_t lda,
                       const float *b, size_t ldb, float *c, size_t ldc) {
    gemm_body(rows, columns, depth, alpha, a, lda, b, ldb, c, ldc);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void gemm_avx2(int rows, int columns, int depth,
                                                          float alpha, const float *a, size_t lda,
                                                          const float *b, size_t ldb, float *c,
                                                          size_t ldc) {
    gemm_body(rows, columns, depth, alpha, a, lda, b, ldb, c, ldc);
}

static gemm_fn *gemm_choose(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? gemm_avx2 : gemm_plain;
}
#else
static gemm_fn *gemm_choose(void) {
    return gemm_plain;
}
#endif

void kernels_gemm(int rows, int columns, int depth, float alpha, const float *a, int lda,
                  const float *b, int ldb, float *c, int ldc) {
    static gemm_fn *chosen; /* every thread would choose the same */
    gemm_fn *gemm = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (gemm == NULL) {
        gemm = gemm_choose();
        __atomic_store_n(&chosen, gemm, __ATOMIC_RELAXED);
    }
    gemm(rows, columns, depth, alpha, a, (size_t)lda, b, (size_t)ldb, c, (size_t)ldc);
}

/* One row of output pixels: the input pixels x0, x0 + stride, ... where they lie inside. */
static void unfold_row(const float *row, int width, int x0, int stride, int columns, float *out) {
    int first = x0 < 0 ? (-x0 + stride - 1) / stride : 0;
    int end = x0 < width ? (width - 1 - x0) / stride + 1 : 0;
    first = first < columns ? first : columns;
    end = end < columns ? end : columns;
    end = end > first ? end : first;
    memset(out, 0, (size_t)first * sizeof(*out));
    if (stride == 1) {
        memcpy(out + first, row + x0 + first, (size_t)(end - first) * sizeof(*out));
    } else {
        for (int x = first; x < end; x++) {
            out[x] = row[x0 + x * stride];
        }
    }
    memset(out + end, 0, (size_t)(columns - end) * sizeof(*out));
}

void kernels_unfold(const float *image, int channels, int height, int width, int size, int stride,
                    int pad, float *out) {
    int out_height = (height + 2 * pad - size) / stride + 1;
    int out_width = (width + 2 * pad - size) / stride + 1;
    for (int c = 0; c < channels * size * size; c++) {
        const float *plane = image + (size_t)(c / (size * size)) * (size_t)height * (size_t)width;
        int offset_y = c / size % size - pad, offset_x = c % size - pad;
        for (int y = 0; y < out_height; y++, out += out_width) {
            int source = y * stride + offset_y;
            if (source < 0 || source >= height) {
                memset(out, 0, (size_t)out_width * sizeof(*out));
                continue;
            }
            unfold_row(plane + (size_t)source * (size_t)width, width, offset_x, stride, out_width,
                       out);
        }
    }
}

void kernels_leaky(float *values, int count) {
    int whole = count - count % QUAD;
    for (int i = 0; i < whole; i += QUAD) {
        quad *at = (quad *)(void *)(values + i);
        mask above = (mask)(*at > 0.0f); /* all bits of a lane, or none: no branch for each float */
        quad slope = 0.1f * *at;
        *at = (quad)(((mask)*at & above) | ((mask)slope & ~above));
    }
    for (int i = whole; i < count; i++) {
        values[i] = values[i] > 0 ? values[i] : 0.1f * values[i];
    }
}

void kernels_logistic(float *values, int count) {
    for (int i = 0; i < count; i++) {
        values[i] = 1.0f / (1.0f + expf(-values[i]));
    }
}
