/* kernels: the worker's inner loops against the obvious way to write them. The worker's sources are
 * not in the library, so this one is taken in whole. */
#include "inference/worker/kernels.c"

#include "daemon/base/mem.h"
#include "tests/suite.h"
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

static unsigned seed = 7;

static float any(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
}

static float *array(size_t count) {
    float *values = mem_array(count, sizeof(*values));
    for (size_t i = 0; i < count; i++) {
        values[i] = any();
    }
    return values;
}

START_TEST(products) {
    static const int sizes[][3] = {{1, 1, 1},  {4, 16, 8},    {5, 17, 9},
                                   {3, 15, 4}, {8, 400, 27},  {1, 400, 9},
                                   {7, 33, 1}, {64, 100, 64}, {13, 169, 50}};
    int rows = sizes[_i][0], columns = sizes[_i][1], depth = sizes[_i][2];
    float *a = array((size_t)(rows * depth)), *b = array((size_t)(depth * columns));
    float *c = array((size_t)(rows * columns));
    double *expected = mem_array((size_t)(rows * columns), sizeof(*expected));
    for (int i = 0; i < rows * columns; i++) {
        expected[i] = (double)c[i];
        for (int k = 0; k < depth; k++) {
            expected[i] +=
                1.5 * (double)a[i / columns * depth + k] * (double)b[k * columns + i % columns];
        }
    }
    kernels_gemm(rows, columns, depth, 1.5f, a, depth, b, columns, c, columns);
    for (int i = 0; i < rows * columns; i++) {
        ck_assert_double_eq_tol((double)c[i], expected[i], 1e-4);
    }
    /* and the plain variant, whatever this machine has */
    for (int i = 0; i < rows * columns; i++) {
        c[i] = 0;
        expected[i] = 0;
        for (int k = 0; k < depth; k++) {
            expected[i] +=
                (double)a[i / columns * depth + k] * (double)b[k * columns + i % columns];
        }
    }
    gemm_plain(rows, columns, depth, 1, a, (size_t)depth, b, (size_t)columns, c, (size_t)columns);
    for (int i = 0; i < rows * columns; i++) {
        ck_assert_double_eq_tol((double)c[i], expected[i], 1e-4);
    }
    free(a);
    free(b);
    free(c);
    free(expected);
}
END_TEST

START_TEST(unfolding) {
    static const struct {
        int channels, height, width, size, stride, pad;
    } cases[] = {{3, 7, 9, 3, 1, 1}, {2, 8, 8, 3, 2, 1}, {1, 5, 5, 5, 1, 2}, {2, 6, 7, 2, 2, 0},
                 {1, 3, 3, 5, 1, 4}, {1, 9, 4, 3, 3, 0}, {2, 4, 4, 1, 1, 0}, {1, 2, 2, 7, 3, 3}};
    int height = cases[_i].height, width = cases[_i].width, size = cases[_i].size;
    int stride = cases[_i].stride, pad = cases[_i].pad, channels = cases[_i].channels;
    int out_height = (height + 2 * pad - size) / stride + 1,
        out_width = (width + 2 * pad - size) / stride + 1;
    float *image = array((size_t)(channels * height * width));
    size_t count = (size_t)(channels * size * size * out_height * out_width);
    float *out = array(count);
    kernels_unfold(image, channels, height, width, size, stride, pad, out);
    for (size_t i = 0; i < count; i++) {
        int x = (int)i % out_width, y = (int)i / out_width % out_height;
        int row = (int)i / (out_width * out_height);
        int from_x = x * stride - pad + row % size, from_y = y * stride - pad + row / size % size;
        bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
        float expected =
            inside ? image[(row / (size * size) * height + from_y) * width + from_x] : 0;
        ck_assert_float_eq(out[i], expected);
    }
    free(image);
    free(out);
}
END_TEST

START_TEST(activations) {
    float values[] = {-2, -0.0f, 0, 3, -1e-30f, 5, -7, 8, -9, 10, 1e30f};
    enum { COUNT = sizeof(values) / sizeof(values[0]) };
    float leaky[COUNT], logistic[COUNT];
    memcpy(leaky, values, sizeof(values));
    memcpy(logistic, values, sizeof(values));
    kernels_leaky(leaky, COUNT);
    kernels_logistic(logistic, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_float_eq(leaky[i], values[i] > 0 ? values[i] : 0.1f * values[i]);
        ck_assert_float_eq_tol(logistic[i], (float)(1 / (1 + exp(-(double)values[i]))), 1e-6f);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_kernels");
    TCase *tests = tcase_create("kernels");
    tcase_add_loop_test(tests, products, 0, 9);
    tcase_add_loop_test(tests, unfolding, 0, 8);
    tcase_add_test(tests, activations);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
