/* The text of one value: every type's good and bad forms, and the borders of its range.
 */
#include "config/inside.h"
#include "daemon/base/mem.h"
#include "tests/suite.h"
#include <check.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>

struct number {
    const char *text;
    int64_t value; /* BAD: must be refused */
};

#define BAD INT64_MIN

static const struct number sizes[] = {
    {"0", 0},
    {"1", 1},
    {"4096", 4096},
    {"20GiB", 21474836480},
    {"20 GiB", 21474836480},
    {"512MiB", 536870912},
    {"512M", 536870912},
    {"1.5GB", 1500000000},
    {"1.5GiB", 1610612736},
    {"2kB", 2000},
    {"2KB", 2000},
    {"2KiB", 2048},
    {"2K", 2048},
    {"1TB", 1000000000000},
    {"1tib", 1099511627776},
    {"7B", 7},
    {"0.5KiB", 512},
    {"8388607TiB", 9223370937343148032},
    {"9223372036854775807", INT64_MAX},
    {"9223372036854775808", BAD},
    {"8388608TiB", BAD},
    {"99999999999999999999", BAD},
    {"20000000TiB", BAD},
    {"", BAD},
    {" 1", BAD},
    {"1 ", BAD},
    {"-1", BAD},
    {"+1", BAD},
    {"1.5", BAD},
    {"1.", BAD},
    {".5GiB", BAD},
    {"1..5GiB", BAD},
    {"1,5GiB", BAD},
    {"GiB", BAD},
    {"20 bananas", BAD},
    {"20GiBs", BAD},
    {"20  GiB", BAD},
    {"0x10", BAD},
    {"1e6", BAD},
    {"1.1234567GiB", BAD},
    {"50%", BAD},
    {"20Gb/s", BAD},
};

static const struct number durations[] = {
    {"0", 0},
    {"0s", 0},
    {"1ms", 1},
    {"500ms", 500},
    {"10s", 10000},
    {"60m", 3600000},
    {"60min", 3600000},
    {"1h", 3600000},
    {"30d", 2592000000},
    {"2w", 1209600000},
    {"1h30m", 5400000},
    {"1h 30m", 5400000},
    {"1d12h30m15s250ms", 131415250},
    {"1.5h", 5400000},
    {"0.5s", 500},
    {"106751991167d", 9223372036828800000},
    {"106751991168d", BAD},
    {"9223372036854775807ms", INT64_MAX},
    {"9223372036854775808ms", BAD},
    {"", BAD},
    {"30", BAD},
    {"s", BAD},
    {"-1s", BAD},
    {"1s1m", BAD},
    {"1m1m", BAD},
    {"1m1min", BAD},
    {"1 h", BAD},
    {"1h30", BAD},
    {"1h ", BAD},
    {"1h  30m", BAD},
    {"1y", BAD},
    {"1D", BAD},
    {"1M", BAD},
    {"1sec", BAD},
    {"1h,30m", BAD},
    {"99999999999999999999s", BAD},
};

static const struct number wholes[] = {
    {"0", 0},
    {"-0", 0},
    {"7", 7},
    {"-7", -7},
    {"007", 7},
    {"9223372036854775807", INT64_MAX},
    {"9223372036854775808", BAD},
    {"", BAD},
    {"-", BAD},
    {"+1", BAD},
    {"1 ", BAD},
    {" 1", BAD},
    {"1.0", BAD},
    {"1e3", BAD},
    {"0x10", BAD},
    {"1_000", BAD},
    {"one", BAD},
};

START_TEST(size_texts) {
    const struct number *want = &sizes[_i];
    uint64_t bytes = 77;
    bool fine = config__parse_size(want->text, &bytes);
    ck_assert_msg(fine == (want->value != BAD), "size \"%s\"", want->text);
    ck_assert_msg(bytes == (fine ? (uint64_t)want->value : 77), "size \"%s\" gave %" PRIu64,
                  want->text, bytes);
}
END_TEST

START_TEST(duration_texts) {
    const struct number *want = &durations[_i];
    int64_t ms = 77;
    bool fine = config__parse_duration(want->text, &ms);
    ck_assert_msg(fine == (want->value != BAD), "duration \"%s\"", want->text);
    ck_assert_msg(ms == (fine ? want->value : 77), "duration \"%s\" gave %" PRId64, want->text, ms);
}
END_TEST

START_TEST(whole_texts) {
    const struct number *want = &wholes[_i];
    int64_t value = 77;
    bool fine = config__parse_whole(want->text, &value);
    ck_assert_msg(fine == (want->value != BAD), "whole \"%s\"", want->text);
    ck_assert_msg(value == (fine ? want->value : 77), "whole \"%s\"", want->text);
}
END_TEST

START_TEST(real_texts) {
    static const char *const bad[] = {"",      " 1",  "1 ",    "inf", "nan", "0x1p3", "1,5",
                                      "1e999", "one", "1.2.3", "--1", "1e",  ".",     "e"};
    double value = 0;
    ck_assert(config__parse_real("0.6", &value) && value > 0.599 && value < 0.601);
    ck_assert(config__parse_real("1e-3", &value) && value > 0.00099 && value < 0.00101);
    ck_assert(config__parse_real("-2", &value) && value < -1.99);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        ck_assert_msg(!config__parse_real(bad[i], &value), "real \"%s\"", bad[i]);
    }
}
END_TEST

START_TEST(share_texts) {
    static const char *const bad[] = {"",
                                      "%",
                                      "0%",
                                      "-5%",
                                      "100.1%",
                                      "50",
                                      "5%%",
                                      "inf%",
                                      "50 %",
                                      "nan%",
                                      "1234567890123456789012345678901%"};
    double share = 0;
    ck_assert(config__parse_share("50%", &share) && share > 0.499 && share < 0.501);
    ck_assert(config__parse_share("100%", &share) && share > 0.999);
    ck_assert(config__parse_share("12.5%", &share) && share > 0.1249 && share < 0.1251);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        ck_assert_msg(!config__parse_share(bad[i], &share), "share \"%s\"", bad[i]);
    }
}
END_TEST

START_TEST(bool_texts) {
    static const char *const bad[] = {"",     "yes",  "no", "on", "off",
                                      "True", "TRUE", "1",  "0",  "true "};
    bool flag = false;
    ck_assert(config__parse_bool("true", &flag) && flag);
    ck_assert(config__parse_bool("false", &flag) && !flag);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        ck_assert_msg(!config__parse_bool(bad[i], &flag), "bool \"%s\"", bad[i]);
    }
}
END_TEST

START_TEST(listen_texts) {
    static const char *const near[] = {"127.0.0.1:8080", "127.9.9.9:0", "[::1]:8080",
                                       "localhost:80"};
    static const char *const far[] = {"0.0.0.0:65535", "[::]:8080", "192.168.1.4:1"};
    static const char *const bad[] = {"",
                                      "8080",
                                      ":8080",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:-1",
                                      "::1:80",
                                      "[::1]",
                                      "[127.0.0.1]:80",
                                      "host:80",
                                      "1.2.3:80",
                                      "[]:80",
                                      "127.0.0.1:80x"};
    bool loopback = false;
    for (size_t i = 0; i < ARRAY_LENGTH(near); i++) {
        ck_assert_msg(config__parse_listen(near[i], &loopback) && loopback, "%s", near[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(far); i++) {
        ck_assert_msg(config__parse_listen(far[i], &loopback) && !loopback, "%s", far[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        ck_assert_msg(!config__parse_listen(bad[i], &loopback), "%s", bad[i]);
    }
}
END_TEST

START_TEST(url_and_name_texts) {
    ck_assert(config__parse_url("https://a.example/x"));
    ck_assert(config__parse_url("http://127.0.0.1:10000/account"));
    ck_assert(!config__parse_url("ftp://a.example"));
    ck_assert(!config__parse_url("https://"));
    ck_assert(!config__parse_url("https:///x"));
    ck_assert(!config__parse_url("https://a b"));
    ck_assert(!config__parse_url("a.example"));
    ck_assert(config__name_valid("a"));
    ck_assert(config__name_valid("front-door-2"));
    ck_assert(config__name_valid("0123456789abcdef0123456789abcdef"));
    ck_assert(!config__name_valid("0123456789abcdef0123456789abcdef0"));
    ck_assert(!config__name_valid(""));
    ck_assert(!config__name_valid("-a"));
    ck_assert(!config__name_valid("Front"));
    ck_assert(!config__name_valid("a_b"));
    ck_assert(!config__name_valid("a.b"));
    ck_assert(config__text_valid("a b \xc3\xa9"));
    ck_assert(!config__text_valid(""));
    ck_assert(!config__text_valid("a\nb"));
    ck_assert(!config__text_valid("a\x7f"));
}
END_TEST

START_TEST(formats) {
    char text[32];
    int64_t ms;
    uint64_t bytes;
    config__format_size(64u << 20, text, sizeof(text));
    ck_assert_str_eq(text, "64MiB");
    config__format_duration(90 * 1000, text, sizeof(text));
    ck_assert_str_eq(text, "90s");
    for (uint64_t value = 1; value < (1ull << 60); value = value * 3 + 1) {
        config__format_size(value, text, sizeof(text));
        ck_assert(config__parse_size(text, &bytes) && bytes == value);
        config__format_duration((int64_t)value, text, sizeof(text));
        ck_assert_msg(config__parse_duration(text, &ms) && ms == (int64_t)value, "%s", text);
    }
}
END_TEST

START_TEST(nearest_keys) {
    static const struct {
        const char *path, *nearest;
    } cases[] = {
        {"store.quotta", "store.quota"},
        {"storre", "store"},
        {"store.tiers.anotated", "store.tiers.annotated"},
        {"store.tiers.annotated.maxage", "store.tiers.annotated.max_age"},
        {"cameras.dock.sorce", "cameras.dock.source"},
        {"sync.remotes.cloud.acount_key", "sync.remotes.cloud.account_key"},
        {"sync.remotes.cloud.containers.anotated", "sync.remotes.cloud.containers.annotated"},
        {"quota", "store.quota"},
        {"remotes", "sync.remotes"},
        {"source", "cameras.<name>.source"},
        {"zzzzzzzzzzzz", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char nearest[CONFIG__PATH_MAX + 1] = "";
        bool found = config__key_nearest(cases[i].path, nearest);
        ck_assert_msg(found == (cases[i].nearest != NULL), "%s: %s", cases[i].path, nearest);
        ck_assert_str_eq(nearest, found ? cases[i].nearest : "");
    }
}
END_TEST

START_TEST(every_default_parses) {
    for (size_t k = 0; k < config__key_count; k++) {
        const struct key *key = &config__keys[k];
        struct key_value value;
        struct buf expected = BUF_INIT(512);
        ck_assert_msg(key->fallback == NULL || config__key_parse(key, key->fallback, &value),
                      "default of %s", key->path);
        config__key_expected(key, &expected);
        ck_assert_msg(expected.len > 0 && !expected.failed, "expectation of %s", key->path);
        buf_finish(&expected);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config value");
    TCase *tests = tcase_create("value");
    tcase_add_loop_test(tests, size_texts, 0, (int)ARRAY_LENGTH(sizes));
    tcase_add_loop_test(tests, duration_texts, 0, (int)ARRAY_LENGTH(durations));
    tcase_add_loop_test(tests, whole_texts, 0, (int)ARRAY_LENGTH(wholes));
    tcase_add_test(tests, real_texts);
    tcase_add_test(tests, share_texts);
    tcase_add_test(tests, bool_texts);
    tcase_add_test(tests, listen_texts);
    tcase_add_test(tests, url_and_name_texts);
    tcase_add_test(tests, formats);
    tcase_add_test(tests, nearest_keys);
    tcase_add_test(tests, every_default_parses);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
