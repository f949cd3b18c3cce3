/* What a person does to frames through the gallery's server: pins, words, removal, and the filters
 * that find them again. */
#include "tests/unit/webui_case.h"
#include <jansson.h>

#define JSON_HEADER "Content-Type: application/json\r\n"

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;

static json_t *life(void *ctx, const struct store_why *why) {
    (void)ctx;
    return json_pack("[{s:s,s:s,s:s}]", "at", "2026-11-20T21:35:08.000Z", "what",
                     why->row->pinned ? "pinned" : "captured", "detail", "<b>by</b> hand");
}

static const struct webui_hooks hooks = {.life = life};

static char login[120]; /* the header of a token that may change things */

static void setup(void) {
    struct err err = {0};
    uint16_t none = 0;
    char token[WEBUI_TOKEN_SIZE];
    store = case_store_open(dir);
    ck_assert_int_eq(webui_token_add(store, "labeler", WEBUI_READ | WEBUI_WRITE, 1, token, &err),
                     0);
    snprintf(login, sizeof(login), "Authorization: Bearer %s\r\n", token);
    struct webui_config config = {.listen = "127.0.0.1:0", .request_timeout_s = 1};
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
    for (unsigned n = 0; n < 12; n++) {
        case_frame_put(store, n, "car");
    }
    ck_assert_msg(store_flush(store, &err) == 0, "%s", err.msg);
}

static void teardown(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static json_t *frames(const char *query) {
    char target[256];
    snprintf(target, sizeof(target), "/api/v1/frames?%s", query);
    struct case_reply reply = case_get(port, target);
    ck_assert_msg(reply.status == 200, "%s: %s", target, reply.raw);
    json_t *page = json_loadb(reply.body, reply.body_size, 0, NULL);
    json_t *list = json_incref(json_object_get(page, "frames"));
    json_decref(page);
    case_reply_finish(&reply);
    return list;
}

static size_t count(const char *query) {
    json_t *list = frames(query);
    size_t size = json_array_size(list);
    json_decref(list);
    return size;
}

static void id_at(size_t index, char out[64]) {
    json_t *list = frames("");
    snprintf(out, 64, "%s", json_string_value(json_object_get(json_array_get(list, index), "id")));
    json_decref(list);
}

/* NULL where the status is not 200. */
static json_t *act(const char *body, int status) {
    struct case_reply reply = case_post(port, "/api/v1/actions", JSON_HEADER, body, strlen(body));
    ck_assert_msg(reply.status == status, "%s: %d instead of %d\n%s", body, reply.status, status,
                  reply.raw);
    json_t *json = status == 200 ? json_loadb(reply.body, reply.body_size, 0, NULL) : NULL;
    case_reply_finish(&reply);
    return json;
}

static json_int_t act_on(const char *what, const char *id, const char *more) {
    char body[400];
    snprintf(body, sizeof(body), "{\"act\":\"%s\",\"frames\":[\"%s\"]%s}", what, id, more);
    json_t *json = act(body, 200);
    json_int_t done = json_integer_value(json_object_get(json, "done"));
    json_decref(json);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    return done;
}

static void act_as_token(const char *what, const char *id) {
    char body[400], lines[300];
    int size = snprintf(body, sizeof(body), "{\"act\":\"%s\",\"frames\":[\"%s\"]}", what, id);
    snprintf(lines, sizeof(lines), JSON_HEADER "%s", login);
    struct case_reply reply = case_post(port, "/api/v1/actions", lines, body, (size_t)size);
    ck_assert_msg(reply.status == 200, "%s", reply.raw);
    case_reply_finish(&reply);
    ck_assert_int_eq(store_flush(store, NULL), 0);
}

START_TEST(pins_and_words_are_found_again) {
    char one[64], two[64];
    id_at(0, one);
    id_at(1, two);
    ck_assert_uint_eq(count("label=none"), 12);
    ck_assert_int_eq(act_on("pin", one, ""), 1);
    ck_assert_uint_eq(count("pinned=yes"), 1);
    ck_assert_int_eq(act_on("unpin", one, ""), 1);
    ck_assert_uint_eq(count("pinned=yes"), 0);
    ck_assert_int_eq(act_on("wrong-class", two, ",\"class\":\"van\",\"note\":\"seen\""), 1);
    ck_assert_uint_eq(count("label=wrong-class"), 1);
    ck_assert_uint_eq(count("label=none"), 11);
    json_t *list = frames("label=wrong-class");
    const char *said = json_string_value(json_object_get(json_array_get(list, 0), "label"));
    ck_assert_str_eq(said, "wrong-class");
    json_decref(list);

    struct store_reader *reader = NULL;
    struct store_label label;
    struct frame_id id;
    ck_assert(frame_id_parse(two, &id));
    ck_assert_int_eq(store_reader_open(store, &reader, NULL), 0);
    ck_assert_int_eq(store_label_get(reader, &id, &label, NULL), 0);
    ck_assert_str_eq(label.class_name, "van");
    ck_assert_str_eq(label.note, "seen");
    ck_assert_str_eq(label.who, ""); /* nobody had to say who they are */
    act_as_token("missed", two);
    ck_assert_int_eq(store_label_get(reader, &id, &label, NULL), 0);
    ck_assert_str_eq(label.who, "labeler");
    store_reader_close(reader);
    ck_assert_int_eq(act_on("none", two, ""), 1);
    ck_assert_uint_eq(count("label=none"), 12);
}
END_TEST

START_TEST(rules) {
    ck_assert_uint_eq(count("rule=unsure"), 4);
    ck_assert_uint_eq(count("rule=confident"), 8);
    ck_assert_uint_eq(count("rule=confident&camera=dock"), 4);
    ck_assert_uint_eq(count("rule=nobody"), 0);
    case_status(port, "GET", "/?rule=%3Cb%3E", "", 400);
    struct case_reply reply = case_get(port, "/api/v1/hours?rule=unsure");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(
        strstr(reply.body, "{\"hours\":[{\"from\":\"2026-11-20T21:00:00.000Z\",\"frames\":4}],"
                           "\"more\":false}"));
    case_reply_finish(&reply);
    case_status(port, "GET", "/api/v1/hours?rule=%3Cb%3E", "", 400);
}
END_TEST

START_TEST(removal_is_all_or_nothing) {
    char one[64], body[300], target[120];
    id_at(0, one);
    ck_assert_int_eq(act_on("remove", one, ",\"dry_run\":true"), 0);
    ck_assert_int_eq(act_on("pin", one, ""), 1);
    snprintf(body, sizeof(body), "{\"act\":\"remove\",\"frames\":[\"%s\"]}", one);
    act(body, 409);
    ck_assert_int_eq(act_on("remove", one, ",\"force\":true"), 1);
    ck_assert_uint_eq(count(""), 12); /* it stays as history */
    snprintf(target, sizeof(target), "/frames/%s", one);
    struct case_reply reply = case_get(port, target);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "has left this device"));
    case_reply_finish(&reply);
}
END_TEST

START_TEST(bad_orders) {
    static const char *const bodies[] = {
        "",
        "[]",
        "{",
        "{\"act\":\"pin\"}",
        "{\"act\":\"pin\",\"frames\":[]}",
        "{\"act\":\"pin\",\"frames\":[1]}",
        "{\"act\":\"pin\",\"frames\":[\"@last\"]}",
        "{\"act\":\"burn\",\"frames\":[\"0198aaaa-0000-7000-8000-000000000000\"]}",
        "{\"act\":\"accepted\",\"class\":\"car\",\"frames\":"
        "[\"0198aaaa-0000-7000-8000-000000000000\"]}",
        "{\"act\":\"missed\",\"class\":7,\"frames\":"
        "[\"0198aaaa-0000-7000-8000-000000000000\"]}",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++) {
        act(bodies[i], 400);
    }
    json_t *json =
        act("{\"act\":\"pin\",\"frames\":[\"0198aaaa-0000-7000-8000-000000000000\"]}", 200);
    json_t *failed = json_array_get(json_object_get(json, "failed"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(failed, "status")), 404);
    json_decref(json);
    struct case_reply reply =
        case_post(port, "/api/v1/actions", "Content-Type: text/plain\r\n", "{}", 2);
    ck_assert_int_eq(reply.status, 415);
    case_reply_finish(&reply);
    reply = case_post(port, "/api/v1/actions", JSON_HEADER "Origin: http://elsewhere.example\r\n",
                      "{}", 2);
    ck_assert_int_eq(reply.status, 403);
    case_reply_finish(&reply);
    case_status(port, "GET", "/api/v1/actions", "", 405);
}
END_TEST

/* All test frames have one perceptual hash, so that those of the camera are twins. */
START_TEST(a_frame_has_a_life_and_neighbours) {
    struct case_reply reply = case_get(port, "/frames/@last?label=none");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "<b>captured</b>"));
    ck_assert_ptr_nonnull(strstr(reply.body, "&lt;b&gt;by&lt;/b&gt; hand"));
    ck_assert_ptr_nonnull(strstr(reply.body, "id=\"twins\""));
    ck_assert_ptr_nonnull(strstr(reply.body, "aria-current=\"true\"><img"));
    ck_assert_ptr_nonnull(strstr(reply.body, "data-act=\"accepted\""));
    ck_assert_ptr_nonnull(strstr(reply.body, "?label=none\""));
    case_reply_finish(&reply);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui_act");
    TCase *cases = tcase_create("act");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, pins_and_words_are_found_again);
    tcase_add_test(cases, rules);
    tcase_add_test(cases, removal_is_all_or_nothing);
    tcase_add_test(cases, bad_orders);
    tcase_add_test(cases, a_frame_has_a_life_and_neighbours);
    suite_add_tcase(suite, cases);
    return case_run(suite);
}
