/* Charts: each row in its bar, a picture in words and in SVG. */
#include "daemon/base/mem.h"
#include "tests/suite.h"
#include "webui/chart.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct webui__chart chart;

static void add(int64_t utc_us, uint64_t kept, uint64_t over_budget, uint64_t rejected) {
    const struct store_tally row = {
        .utc_us = utc_us, .kept = kept, .over_budget = over_budget, .rejected = rejected};
    webui__chart_add(&chart, &row);
}

static void fresh(void) {
    chart = (struct webui__chart){.title = "T", .from_us = 1000, .step_us = 100, .count = 4};
}

START_TEST(bars) {
    fresh();
    add(999, 1, 1, 1);  /* before */
    add(1400, 1, 1, 1); /* behind */
    add(0, 1, 1, 1);    /* a clock that was not synchronised */
    add(1000, 2, 3, 4);
    add(1099, 10, 0, 0); /* another camera or rule, the same bar */
    add(1399, 5, 0, 0);
    ck_assert_uint_eq(chart.kept[0], 12);
    ck_assert_uint_eq(chart.over_budget[0], 3);
    ck_assert_uint_eq(chart.rejected[0], 4);
    ck_assert_uint_eq(chart.kept[1] + chart.kept[2], 0);
    ck_assert_uint_eq(chart.kept[3], 5);
}
END_TEST

START_TEST(picture) {
    struct buf page = BUF_INIT(1u << 16);
    fresh();
    add(1000, 6, 6, 400);
    add(1100, 6, 0, 800);
    webui__chart_write(&page, &chart);
    /* The highest pile fills the height of 120, half of it each. */
    ck_assert_ptr_nonnull(
        strstr(page.data, "class=\"kept\" x=\"11.2\" y=\"60.0\" width=\"127.5\" height=\"60.0\""));
    ck_assert_ptr_nonnull(strstr(
        page.data, "class=\"over-budget\" x=\"11.2\" y=\"0.0\" width=\"127.5\" height=\"60.0\""));
    ck_assert_ptr_nonnull(strstr(page.data, "points=\"75.0,60.0 225.0,0.0 375.0,120.0 "));
    ck_assert_ptr_null(strstr(page.data, "style="));
    buf_finish(&page);
}
END_TEST

START_TEST(nothing) {
    struct buf page = BUF_INIT(1u << 16);
    fresh();
    webui__chart_write(&page, &chart);
    ck_assert_ptr_null(strstr(page.data, "class=\"kept\" x="));
    ck_assert_ptr_null(strstr(page.data, "polyline"));
    ck_assert_ptr_null(strstr(page.data, "nan"));
    buf_finish(&page);
}
END_TEST

START_TEST(histogram) {
    struct buf page = BUF_INIT(1u << 16);
    json_t *times =
        json_pack("{s:f,s:f,s:f,s:[{s:i,s:f},{s:i,s:f},{s:i}]}", "p50", 0.02, "p95", 0.5, "p99",
                  1.0, "buckets", "count", 5, "le", 0.01, "count", 10, "le", 2.0, "count", 0);
    webui__times_write(&page, "T", NULL);
    ck_assert_uint_eq(page.len, 0);
    webui__times_write(&page, "T", times);
    ck_assert_ptr_nonnull(strstr(page.data, "y=\"60.0\" width=\"170.0\" height=\"60.0\""));
    ck_assert_ptr_nonnull(strstr(page.data, "y=\"0.0\" width=\"170.0\" height=\"120.0\""));
    ck_assert_ptr_nonnull(strstr(page.data, "to 10 ms</span><span>over 2 s<"));
    ck_assert_ptr_nonnull(strstr(page.data, "95% within 500 ms"));
    json_decref(times);
    buf_finish(&page);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui chart");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, bars);
    tcase_add_test(tcase, picture);
    tcase_add_test(tcase, nothing);
    tcase_add_test(tcase, histogram);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
