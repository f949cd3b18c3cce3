/* Sorting in bounded memory: few records, more than one run, equal keys, twice over. */
#include "sync/sorter.h"
#include "tests/suite.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct item {
    uint8_t key[4];
    uint32_t value;
};

static void add_all(struct sorter *sorter, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = i * 2654435761u;
        struct item item = {
            {(uint8_t)(key >> 24), (uint8_t)(key >> 16), (uint8_t)(key >> 8), (uint8_t)key}, i};
        ck_assert_int_eq(sync__sorter_add(sorter, &item, NULL), 0);
    }
    ck_assert_int_eq(sync__sorter_sort(sorter, NULL), 0);
}

static void check_all(struct sorter *sorter, uint32_t count) {
    struct item item, before = {0};
    struct err err = {0};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_int_eq(sync__sorter_next(sorter, &item, &err), 0);
        ck_assert(i == 0 || memcmp(before.key, item.key, sizeof item.key) < 0);
        before = item;
        sum += item.value;
    }
    ck_assert_uint_eq(sum, (uint64_t)count * (count - (count > 0)) / 2);
    ck_assert_int_eq(sync__sorter_next(sorter, &item, &err), ERR_NOT_FOUND);
    ck_assert_uint_eq(sync__sorter_count(sorter), count);
}

static const uint32_t counts[] = {
    0, 1, 1000, SORTER_RUN - 1, SORTER_RUN, SORTER_RUN + 1, 5 * SORTER_RUN + 17};

START_TEST(comes_out_in_order_twice) {
    struct sorter *sorter = NULL;
    ck_assert_int_eq(sync__sorter_create(sizeof(struct item), 4, &sorter, NULL), 0);
    add_all(sorter, counts[_i]);
    check_all(sorter, counts[_i]);
    sync__sorter_rewind(sorter);
    check_all(sorter, counts[_i]);
    sync__sorter_destroy(sorter);
}
END_TEST

START_TEST(a_full_disk_is_said) {
    struct sorter *sorter = NULL;
    struct err err = {0};
    struct item item = {{0}, 0};
    int code = 0;
    setenv("TMPDIR", "/nowhere", 1);
    ck_assert_int_eq(sync__sorter_create(sizeof item, 4, &sorter, NULL), 0);
    for (uint32_t i = 0; code == 0 && i <= SORTER_RUN; i++) {
        code = sync__sorter_add(sorter, &item, &err);
    }
    ck_assert_int_eq(code, ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "TMPDIR"));
    sync__sorter_destroy(sorter);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: sorter");
    TCase *tests = tcase_create("sorter");
    tcase_add_loop_test(tests, comes_out_in_order_twice, 0,
                        (int)(sizeof counts / sizeof counts[0]));
    tcase_add_test(tests, a_full_disk_is_said);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
