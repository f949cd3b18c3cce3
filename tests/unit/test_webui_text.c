/* The pure half of webui: what strangers send as text, links, and frames in the words of others. */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/suite.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/link.h"
#include "webui/prediction.h"
#include "webui/query.h"
#include "webui/text.h"
#include "webui/webui.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(routes) {
    static const struct {
        const char *pattern, *path, *capture; /* NULL: no match */
    } cases[] = {
        {"/", "/", ""},
        {"/", "", NULL},
        {"/", "//", NULL},
        {"/frames/*", "/frames/x", "x"},
        {"/frames/*", "/frames/", NULL},
        {"/frames/*", "/frames/x/", NULL},
        {"/frames/*", "/frames/x/y", NULL},
        {"/frames/*/link", "/frames/@last/link", "@last"},
        {"/frames/*/link", "/frames//link", NULL},
        {"/blob/*", "/blob/..", ".."},
        {"/blob/*", "/blob/../../etc/passwd", NULL},
        {"**/image", "/image", ""},
        {"**/image", "/p/detect/iterations/n/image", ""},
        {"**/image", "//image", ""},
        {"**/image", "/image/image", ""},
        {"**/image", "image", NULL},
        {"**/image", "/image/", NULL},
        {"**/image", "/ximage", NULL},
        {"**/image", "/", NULL},
        {"**/image", "", NULL},
        {"**/a/*", "/a/b/a/c", "c"},
    };
    char capture[WEBUI__CAPTURE_SIZE];
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        bool matched = webui__route_match(cases[i].pattern, cases[i].path, capture);
        ck_assert_msg(matched == (cases[i].capture != NULL), "%s %s", cases[i].pattern,
                      cases[i].path);
        if (matched) {
            ck_assert_str_eq(capture, cases[i].capture);
        }
    }
    char longer[WEBUI__CAPTURE_SIZE + 16] = "/blob/";
    memset(longer + 6, 'a', WEBUI__CAPTURE_SIZE);
    ck_assert(!webui__route_match("/blob/*", longer, capture));
    longer[6 + WEBUI__CAPTURE_SIZE - 1] = '\0';
    ck_assert(webui__route_match("/blob/*", longer, capture));
}
END_TEST

START_TEST(hosts) {
    static const char *const right[] = {"localhost",      "LOCALHOST:8080", "127.0.0.1",
                                        "127.0.0.1:9",    "[::1]",          "[::1]:8080",
                                        "127.0.0.2:8080", "localhost:"};
    static const char *const wrong[] = {"",
                                        "evil.example",
                                        "localhost.evil.example",
                                        "127.0.0.1.evil.example:8080",
                                        "localhost:80@evil",
                                        "[::1",
                                        "[::1]x",
                                        "local",
                                        "127.0.0.1:8080x"};
    for (size_t i = 0; i < ARRAY_LENGTH(right); i++) {
        ck_assert_msg(webui__host_allowed(right[i], "127.0.0.2"), "%s", right[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        ck_assert_msg(!webui__host_allowed(wrong[i], "127.0.0.2"), "%s", wrong[i]);
    }
    ck_assert(webui__origin_same("http://localhost:8080", "localhost:8080"));
    ck_assert(!webui__origin_same("http://localhost:8081", "localhost:8080"));
    ck_assert(!webui__origin_same("null", "localhost:8080"));
    ck_assert(!webui__origin_same("http://evil.example", "localhost:8080"));
}
END_TEST

START_TEST(ranges) {
    static const struct {
        const char *header;
        uint64_t size;
        enum webui__range kind;
        uint64_t from, count;
    } cases[] = {
        {NULL, 10, RANGE_NONE, 0, 0},
        {"bytes=0-3", 10, RANGE_PART, 0, 4},
        {"bytes=0-0", 10, RANGE_PART, 0, 1},
        {"bytes=9-", 10, RANGE_PART, 9, 1},
        {"bytes=2-99", 10, RANGE_PART, 2, 8},
        {"bytes=-3", 10, RANGE_PART, 7, 3},
        {"bytes=-99", 10, RANGE_PART, 0, 10},
        {"bytes=-1", 1, RANGE_PART, 0, 1},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-5", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=3-2", 10, RANGE_NONE, 0, 0},
        {"bytes=-", 10, RANGE_NONE, 0, 0},
        {"bytes=0-1,4-5", 10, RANGE_NONE, 0, 0},
        {"bytes=a-b", 10, RANGE_NONE, 0, 0},
        {"items=0-1", 10, RANGE_NONE, 0, 0},
        {"bytes=99999999999999999999-", 10, RANGE_NONE, 0, 0},
        {"bytes=0-99999999999999999999", 10, RANGE_NONE, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t from = 0, count = 0;
        enum webui__range kind = webui__range_parse(cases[i].header, cases[i].size, &from, &count);
        ck_assert_msg(kind == cases[i].kind, "%s", cases[i].header);
        if (kind == RANGE_PART) {
            ck_assert_uint_eq(from, cases[i].from);
            ck_assert_uint_eq(count, cases[i].count);
        }
    }
}
END_TEST

START_TEST(etags) {
    ck_assert(webui__etag_matches("\"a\"", "\"a\""));
    ck_assert(webui__etag_matches("W/\"a\"", "\"a\""));
    ck_assert(webui__etag_matches("\"b\", \"a\"", "\"a\""));
    ck_assert(webui__etag_matches("*", "\"a\""));
    ck_assert(!webui__etag_matches("\"ab\"", "\"a\""));
    ck_assert(!webui__etag_matches("a", "\"a\""));
    ck_assert(!webui__etag_matches("", "\"a\""));
    ck_assert(!webui__etag_matches(NULL, "\"a\""));
}
END_TEST

START_TEST(numbers) {
    double number = 0;
    int64_t integer = 0;
    static const char *const wrong[] = {"",    ".",   "-1",  "+1",   "1e3",  "nan",
                                        "inf", "0x1", "1.5", "0.5 ", "0.1.2"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        ck_assert_msg(!webui__number_parse(wrong[i], 0, 1, &number), "%s", wrong[i]);
    }
    ck_assert(webui__number_parse("0.25", 0, 1, &number));
    ck_assert_double_eq(number, 0.25);
    ck_assert(webui__integer_parse("900", 10, 1000, &integer) && integer == 900);
    ck_assert(!webui__integer_parse("9", 10, 1000, &integer));
    ck_assert(!webui__integer_parse("9223372036854775808", 0, INT64_MAX, &integer));
    ck_assert(!webui__integer_parse("12x", 0, 1000, &integer));
    ck_assert_int_eq(webui__time_parse("2026-11-20T21:35:08Z"), INT64_C(1795210508000000));
    ck_assert_int_eq(webui__time_parse("2026-11-20T21:35:08.120Z"), INT64_C(1795210508120000));
    ck_assert_int_eq(webui__time_parse("2026-11-20T21:35"), INT64_C(1795210500000000));
    ck_assert_int_eq(webui__time_parse("2026-11-20"), INT64_C(1795132800000000));
    ck_assert_int_eq(webui__time_parse("yesterday"), -1);
    ck_assert_int_eq(webui__time_parse("2026-11-20T21:35:08+01:00"), -1);
}
END_TEST

START_TEST(names) {
    ck_assert(webui__name_valid("dock-2"));
    ck_assert(!webui__name_valid(""));
    ck_assert(!webui__name_valid("-a"));
    ck_assert(!webui__name_valid("Dock"));
    ck_assert(!webui__name_valid("a/b"));
    ck_assert(!webui__name_valid("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")); /* 33 */
    ck_assert(webui__list_has("car,dog", "DOG"));
    ck_assert(!webui__list_has("car,dogs", "dog"));
    ck_assert(!webui__list_has("", "dog"));
    ck_assert_int_eq(webui__media_sniff("\xff\xd8\xff\xe0", 4), MEDIA_JPEG);
    ck_assert_int_eq(webui__media_sniff("\x89PNG\r\n\x1a\n", 8), MEDIA_PNG);
    ck_assert_int_eq(webui__media_sniff("\x89PNG", 4), MEDIA_NONE);
    ck_assert_int_eq(webui__media_sniff("", 0), MEDIA_NONE);
    ck_assert_str_eq(webui__media_type((enum frame_media)77), "application/octet-stream");
}
END_TEST

/* ---- links ---- */

static void take_argument(const char *url, const char *name, char *out, size_t size) {
    const char *at = strstr(url, name);
    ck_assert_ptr_nonnull(at);
    at += strlen(name);
    snprintf(out, size, "%.*s", (int)strcspn(at, "&"), at);
}

START_TEST(links) {
    uint8_t key[32] = {1}, other[32] = {2};
    struct frame_hash blob = {{3}}, another = {{4}};
    char url[WEBUI_LINK_MAX], expires[64], signature[64];
    struct err err = {0};
    ck_assert_int_eq(webui_local_link(key, TIER_UNANNOTATED, &blob, 2000, url, &err), 0);
    take_argument(url, "&e=", expires, sizeof(expires));
    take_argument(url, "&s=", signature, sizeof(signature));
    ck_assert_str_eq(expires, "2000");
    ck_assert_int_eq(strncmp(url, "/blob/0300", 10), 0);
    ck_assert_ptr_nonnull(strstr(url, "?tier=unannotated&"));
#define CHECK(key_, tier_, blob_, e_, s_, now_) webui__link_check(key_, tier_, blob_, e_, s_, now_)
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &blob, expires, signature, 1999), LINK_VALID);
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &blob, expires, signature, 2000), LINK_EXPIRED);
    ck_assert_int_eq(CHECK(other, TIER_UNANNOTATED, &blob, expires, signature, 1), LINK_FORGED);
    ck_assert_int_eq(CHECK(key, TIER_ANNOTATED, &blob, expires, signature, 1), LINK_FORGED);
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &another, expires, signature, 1), LINK_FORGED);
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &blob, "2001", signature, 1), LINK_FORGED);
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &blob, expires, "", 1), LINK_FORGED);
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &blob, NULL, NULL, 1), LINK_FORGED);
    signature[0] = signature[0] == 'A' ? 'B' : 'A';
    ck_assert_int_eq(CHECK(key, TIER_UNANNOTATED, &blob, expires, signature, 3000), LINK_FORGED);
    ck_assert_int_eq(webui_local_link(key, TIER_NONE, &blob, 2000, url, &err), ERR_INVALID);
}
END_TEST

/* The signature as somebody else would compute it: the form of the signed text is a promise. */
START_TEST(link_text) {
    uint8_t key[32];
    memset(key, 7, sizeof(key));
    struct frame_hash blob, mac;
    hash_sha256("x", 1, &blob);
    char text[128], hex[HASH_HEX_SIZE], url[WEBUI_LINK_MAX], base[64];
    snprintf(text, sizeof(text), "annotated\n%s\n123", hash_hex(blob.bytes, 32, hex));
    hash_hmac_sha256(key, 32, text, strlen(text), &mac);
    ck_assert_int_eq(webui_local_link(key, TIER_ANNOTATED, &blob, 123, url, NULL), 0);
    ck_assert_ptr_nonnull(strstr(url, hash_base64url(mac.bytes, 32, base)));
}
END_TEST

/* ---- frames in the words of others ---- */

static struct frame_detection detections[] = {
    {.box = {0.1, 0.2, 0.3, 0.4}, .confidence = 0.87f, .class_index = 2, .label = "car"},
    {.box = {0.9, -0.1, 0.4, 1.3}, .confidence = 0.7f, .class_index = 1, .label = "dog"},
    {.box = {0.333333333, 0.5, 0.666666667, 0.5}, .confidence = 0.25f, .label = "car"},
    {.box = {2, 2, 1, 1}, .confidence = 0.1f, .label = "\"<b>"},
};

START_TEST(lva) {
    struct frame_record record = {.detections = detections, .detection_count = 4};
    json_t *json = NULL;
    size_t count = 0;
    ck_assert_int_eq(webui__lva_format(&record, 0.25, "", &json, &count), 0);
    ck_assert_uint_eq(count, 3);
    char *text = json_dumps(json, FRAME_JSON_DUMP);
    static const char expected[] =
        "{\"inferences\":[{\"type\":\"entity\",\"entity\":{\"tag\":{\"value\":\"car\","
        "\"confidence\":0.87},\"box\":{\"l\":0.1,\"t\":0.2,\"w\":0.3,\"h\":0.4}}},";
    ck_assert_msg(strncmp(text, expected, strlen(expected)) == 0, "%s", text);
    free(text);
    size_t index = 0;
    json_t *item = NULL;
    json_array_foreach(json_object_get(json, "inferences"), index, item) {
        double l = 0, t = 0, w = 0, h = 0;
        json_t *entity = json_object_get(item, "entity");
        ck_assert_int_eq(
            json_unpack(entity, "{s:{s:F,s:F,s:F,s:F}}", "box", "l", &l, "t", &t, "w", &w, "h", &h),
            0);
        ck_assert(l >= 0 && t >= 0 && w >= 0 && h >= 0 && l + w <= 1 && t + h <= 1);
    }
    json_decref(json);

    json = NULL;
    ck_assert_int_eq(webui__lva_format(&record, 0.7, "DOG,bird", &json, &count), 0);
    ck_assert_uint_eq(count, 1); /* 0.7f is 0.69999…: it must still count as 0.7 */
    json_decref(json);
    json = NULL;
    ck_assert_int_eq(webui__lva_format(&record, 0.9, "", &json, &count), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert_ptr_null(json);
    ck_assert_int_eq(webui__lva_format(&record, 0, "", &json, &count), 0);
    ck_assert_uint_eq(count, 4);
    json_decref(json);
}
END_TEST

/* Boxes on and over every edge: the sum never leaves 1, in what is printed as in what is computed.
 */
/* A classifier's tags are said of the whole picture: they have no box. */
START_TEST(predicted_tags) {
    struct frame_detection found[] = {
        {{0, 0, 1, 1}, 0.8f, 4, .label = "cat", .tag = true},
        {{0.5, 0.5, 0.7, 0.1}, 0.6f, 2, .label = "dog"},
    };
    struct frame_record record = {.detections = found, .detection_count = ARRAY_LENGTH(found)};
    size_t count = 0;
    json_t *json = webui__prediction_format(&record, 0, "", false, &count);
    json_t *list = json_object_get(json, "predictions");
    ck_assert_uint_eq(count, 2);
    ck_assert(json_is_null(json_object_get(json_array_get(list, 0), "boundingBox")));
    json_t *box = json_object_get(json_array_get(list, 1), "boundingBox");
    ck_assert(json_real_value(json_object_get(box, "width")) == 0.5); /* clipped */
    json_decref(json);
    record.detection_count = 0;
    json = webui__prediction_format(&record, 0, "", false, &count);
    ck_assert_uint_eq(count, 0);
    ck_assert(json_is_array(json_object_get(json, "predictions")));
    json_decref(json);
}
END_TEST

START_TEST(lva_clipping) {
    srand(7);
    for (int i = 0; i < 20000; i++) {
        struct frame_detection found = {.confidence = 0.5f, .label = "x"};
        found.box.x = rand() / (double)RAND_MAX * 1.2 - 0.1;
        found.box.w = i % 3 ? 1 - found.box.x : rand() / (double)RAND_MAX;
        found.box.y = 0.1;
        found.box.h = 0.9;
        struct frame_record record = {.detections = &found, .detection_count = 1};
        json_t *json = NULL;
        size_t count = 0;
        double l = 0, t = 0, w = 0, h = 0;
        ck_assert_int_eq(webui__lva_format(&record, 0, "", &json, &count), 0);
        char *text = json_dumps(json, FRAME_JSON_DUMP);
        json_decref(json);
        json = json_loads(text, 0, NULL);
        free(text);
        json_t *first = json_array_get(json_object_get(json, "inferences"), 0);
        ck_assert_int_eq(json_unpack(json_object_get(first, "entity"), "{s:{s:F,s:F,s:F,s:F}}",
                                     "box", "l", &l, "t", &t, "w", &w, "h", &h),
                         0);
        ck_assert_msg(l >= 0 && w >= 0 && l + w <= 1 && t + h <= 1, "%.17g + %.17g", l, w);
        json_decref(json);
    }
}
END_TEST

/* What a classifier says has no place in the picture. */
START_TEST(tags) {
    struct frame_detection found = {
        .box = {0, 0, 1, 1}, .confidence = 0.75f, .tag = true, .label = "harbour"};
    struct store_row row = {.record = {.detections = &found, .detection_count = 1}};
    json_t *json = NULL;
    size_t count = 0;
    ck_assert_int_eq(webui__lva_format(&row.record, 0.25, "", &json, &count), 0);
    char *text = json_dumps(json, FRAME_JSON_DUMP);
    ck_assert_str_eq(text, "{\"inferences\":[{\"type\":\"classification\",\"classification\":"
                           "{\"tag\":{\"value\":\"harbour\",\"confidence\":0.75}}}]}");
    free(text);
    json_decref(json);
    json = webui_frame_json(&row);
    const json_t *first = json_array_get(json_object_get(json, "detections"), 0);
    ck_assert(json_is_true(json_object_get(first, "tag")));
    json_decref(json);
    struct buf page = BUF_INIT(4096);
    row.record.width = row.record.height = 100;
    webui__svg_boxes(&page, &row.record, true, true, 8, 0.1);
    ck_assert_uint_eq(page.len, 0);
    buf_finish(&page);
}
END_TEST

START_TEST(frame_json) {
    struct store_row row = {.seq = 9, .place = STORE_PLACE_LOCAL, .receipts = 1};
    row.record.detections = detections;
    row.record.detection_count = 4;
    row.record.width = 640;
    row.record.phash = 0xabc;
    row.record.media = MEDIA_PNG;
    snprintf(row.record.camera, sizeof(row.record.camera), "dock");
    snprintf(row.record.model_name, sizeof(row.record.model_name), "not\xffutf-8");
    json_t *json = webui_frame_json(&row);
    ck_assert_ptr_nonnull(json);
    ck_assert_str_eq(json_string_value(json_object_get(json, "schema")), "creel.frame/1");
    ck_assert_str_eq(json_string_value(json_object_get(json, "phash")), "0000000000000abc");
    ck_assert_str_eq(json_string_value(json_object_get(json, "sync")), "done");
    ck_assert_str_eq(json_string_value(json_object_get(json, "media")), "image/png");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(json, "model"), "name")),
                     "?");
    ck_assert_uint_eq(json_array_size(json_object_get(json, "detections")), 4);
    json_decref(json);
    row.owed = 1;
    ck_assert_str_eq(webui__sync_state(&row), "pending");
    row.quarantined = true;
    ck_assert_str_eq(webui__sync_state(&row), "quarantined");
    row = (struct store_row){0};
    ck_assert_str_eq(webui__sync_state(&row), "none");
}
END_TEST

START_TEST(cursors) {
    struct store_cursor cursor = {.utc_us = 1795132800000001, .seq = 42}, back = {0};
    struct buf text = BUF_INIT(128);
    webui__cursor_write(&text, &cursor);
    ck_assert_str_eq(text.data, "1795132800000001-42");
    ck_assert(webui__cursor_parse(text.data, &back));
    ck_assert(back.utc_us == cursor.utc_us && back.seq == cursor.seq);
    buf_finish(&text);
    static const char *const wrong[] = {
        "", "1", "-", "1-", "-1", "1-2-", "1-2 ", "a-1", "1-0", "99999999999999999999999999-1"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        ck_assert_msg(!webui__cursor_parse(wrong[i], &back), "%s", wrong[i]);
    }
}
END_TEST

/* Each orientation's box against the pixel that EXIF says is at the top left. */
START_TEST(orientations) {
    static const char *const corners[] = {/* where a box in the stored top left corner is shown */
                                          "",
                                          "x=\"0.0\" y=\"0.0\" width=\"20.0\" height=\"5.0\"",
                                          "x=\"80.0\" y=\"0.0\" width=\"20.0\" height=\"5.0\"",
                                          "x=\"80.0\" y=\"45.0\" width=\"20.0\" height=\"5.0\"",
                                          "x=\"0.0\" y=\"45.0\" width=\"20.0\" height=\"5.0\"",
                                          "x=\"0.0\" y=\"0.0\" width=\"5.0\" height=\"20.0\"",
                                          "x=\"45.0\" y=\"0.0\" width=\"5.0\" height=\"20.0\"",
                                          "x=\"45.0\" y=\"80.0\" width=\"5.0\" height=\"20.0\"",
                                          "x=\"0.0\" y=\"80.0\" width=\"5.0\" height=\"20.0\""};
    struct frame_detection found = {.box = {0, 0, 0.2, 0.1}, .confidence = 0.9f, .label = "a<b"};
    struct frame_record record = {
        .width = 100, .height = 50, .detections = &found, .detection_count = 1};
    for (uint8_t i = 1; i <= 8; i++) {
        struct buf svg = BUF_INIT(4096);
        record.orientation = i;
        webui__svg_boxes(&svg, &record, false, true, 10, 0.5);
        ck_assert_msg(strstr(svg.data, corners[i]) != NULL, "%u: %s", i, svg.data);
        ck_assert_ptr_nonnull(strstr(svg.data, "a&lt;b 90%"));
        buf_finish(&svg);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui text");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    TTest const *const tests[] = {routes,         hosts, ranges,     etags,   numbers,
                                  names,          links, link_text,  lva,     lva_clipping,
                                  predicted_tags, tags,  frame_json, cursors, orientations};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
