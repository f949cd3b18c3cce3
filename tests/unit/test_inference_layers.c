/* layers: each layer with each table of kernels that this processor has, against the obvious way to
 * compute it. */
#include "tests/suite.h"
#include "tests/unit/layers_case.h"
#include <check.h>

START_TEST(layers) {
    const struct kernels *kernels = kernels_get((size_t)_i);
    if (kernels != NULL) {
        ck_assert_uint_eq(layers_check(kernels, 100), 0);
    }
}
END_TEST

START_TEST(tables) {
    size_t count = 0;
    while (kernels_get(count) != NULL) {
        const struct kernels *kernels = kernels_get(count++);
        ck_assert_uint_le(kernels->lanes, KERNELS_LANES_MAX);
        ck_assert_uint_le(kernels->rows, KERNELS_ROWS_MAX);
    }
    ck_assert_uint_ge(count, 1);
    ck_assert_str_eq(kernels_get(count - 1)->name, "plain");
}
END_TEST

START_TEST(no_memory) {
    float weights[9] = {0}, bias = 0;
    struct layers_convolution is = {1, 4, 4, 1, 3, 1, 1, 1, .weights = weights, .biases = &bias};
    struct layers_op *op = NULL;
    for (long i = 0; op == NULL; i++) {
        ck_assert_int_lt(i, 10);
        mem_fail_after(i);
        op = layers_convolution_create(kernels_get(0), &is);
    }
    mem_fail_after(-1);
    layers_op_destroy(op);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_layers");
    TCase *tests = tcase_create("layers");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, layers, 0, 4);
    tcase_add_test(tests, tables);
    tcase_add_test(tests, no_memory);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
