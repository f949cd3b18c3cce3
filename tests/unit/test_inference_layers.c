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

/* No two outputs that are needed at the same time overlap, and nothing is wasted without need. */
START_TEST(plans) {
    struct layers_output outputs[60];
    size_t largest = 0, sum = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(outputs); i++) {
        outputs[i] =
            (struct layers_output){.floats = layers_random(5) == 0 ? 0 : layers_random(1000),
                                   .first = i,
                                   .last = i + layers_random((uint32_t)_i + 2)};
        largest = outputs[i].floats > largest ? outputs[i].floats : largest;
        sum += outputs[i].floats + 16;
    }
    size_t total = layers_plan(outputs, ARRAY_LENGTH(outputs));
    ck_assert_uint_ge(total, largest);
    ck_assert_uint_le(total, sum);
    for (size_t i = 0; i < ARRAY_LENGTH(outputs); i++) {
        const struct layers_output *a = &outputs[i];
        ck_assert_uint_eq(a->at % 16, 0);
        ck_assert_uint_le(a->at + a->floats, total);
        for (size_t k = 0; k < i; k++) {
            const struct layers_output *b = &outputs[k];
            bool together = b->last >= a->first;
            ck_assert(!together || a->at >= b->at + b->floats || b->at >= a->at + a->floats);
        }
    }
    if (_i == 0) { /* a chain: each is read by the next one only */
        ck_assert_uint_le(total, 3 * (largest + 16));
    }
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
    tcase_add_loop_test(tests, plans, 0, 12);
    tcase_add_test(tests, no_memory);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
