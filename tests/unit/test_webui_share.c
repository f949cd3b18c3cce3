/* Shared galleries: what a guest sees and what not, against a real server with a real store. */
#include "tests/unit/webui_case.h"
#include "webui/access.h"
#include "webui/share.h"
#include <jansson.h>

#define FORM   "Content-Type: application/x-www-form-urlencoded\r\n"
#define FRAMES 12

static char dir[64], admin[128];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static bool cloud;
static int cloud_ttl_s; /* of the last link asked for */

static int mint_link(void *ctx, const struct store_row *row, int ttl_s, char out[WEBUI_LINK_MAX],
                     const char **kind, struct err *err) {
    char hex[HASH_HEX_SIZE];
    (void)ctx;
    if (!cloud) {
        return err_set(err, ERR_NOT_FOUND, "not replicated");
    }
    cloud_ttl_s = ttl_s;
    *kind = "azure";
    /* Longer than a signed link of a user delegation. */
    snprintf(out, WEBUI_LINK_MAX, "https://a.example/c/%s?sig=%0900d",
             hash_hex(row->record.blob.bytes, 32, hex), 7);
    return 0;
}

static const struct webui_hooks hooks = {.mint_link = mint_link};

static void open_web(void) {
    struct err err = {0};
    uint16_t none = 0;
    struct webui_config config = {.listen = "127.0.0.1:0"};
    memset(config.link_key, 9, sizeof(config.link_key));
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
}

static void start(void) {
    struct err err = {0};
    char token[WEBUI_TOKEN_SIZE];
    cloud = false;
    cloud_ttl_s = 0;
    store = case_store_open(dir);
    for (unsigned n = 0; n < FRAMES; n++) {
        case_frame_put(store, n, "car");
    }
    ck_assert_int_eq(store_flush(store, &err), 0);
    ck_assert_int_eq(webui_user_add(store, "anna", WEBUI_ADMIN, "correct horse", &err), 0);
    ck_assert_int_eq(webui_token_add(store, "robot", WEBUI_READ | WEBUI_WRITE, 0, token, &err), 0);
    snprintf(admin, sizeof(admin), "Authorization: Bearer %s\r\n", token);
    open_web();
}

static void stop(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static json_t *share(const char *body, int status) {
    char lines[256];
    snprintf(lines, sizeof(lines), "%s%s", admin, FORM);
    struct case_reply reply = case_post(port, "/api/v1/shares", lines, body, strlen(body));
    ck_assert_msg(reply.status == status, "%s: %s", body, reply.raw);
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    case_reply_finish(&reply);
    ck_assert_ptr_nonnull(json);
    return json;
}

/* The path of a new share of the camera dock; `id` gets its id. */
static void share_dock(char path[128], char id[32]) {
    json_t *made = share("title=The+dock&query=camera%3Ddock&ttl=3600", 201);
    const char *url = json_string_value(json_object_get(made, "url"));
    ck_assert_int_eq(strncmp(url, "http://127.0.0.1/s/", 19), 0);
    snprintf(path, 128, "%s", strstr(url, "/s/"));
    snprintf(id, 32, "%s", json_string_value(json_object_get(made, "id")));
    ck_assert_str_eq(json_string_value(json_object_get(made, "by")), "robot");
    json_decref(made);
}

static void first_of(const char *camera, char id[64]) {
    char target[64];
    snprintf(target, sizeof(target), "/api/v1/frames?camera=%s&limit=1", camera);
    struct case_reply reply = case_request(port, "GET", target, admin);
    json_t *page = json_loadb(reply.body, reply.body_size, 0, NULL);
    json_t *frame = json_array_get(json_object_get(page, "frames"), 0);
    snprintf(id, 64, "%s", json_string_value(json_object_get(frame, "id")));
    json_decref(page);
    case_reply_finish(&reply);
}

static json_t *listed(size_t at) {
    struct case_reply reply = case_request(port, "GET", "/api/v1/shares", admin);
    ck_assert_int_eq(reply.status, 200);
    json_t *all = json_loadb(reply.body, reply.body_size, 0, NULL);
    json_t *one = json_incref(json_array_get(json_object_get(all, "shares"), at));
    ck_assert_ptr_nonnull(one);
    json_decref(all);
    case_reply_finish(&reply);
    return one;
}

START_TEST(a_guest_sees_what_was_shared) {
    char path[128], id[32], dock[64], gate[64], target[300];
    share_dock(path, id);
    first_of("dock", dock);
    first_of("gate", gate);
    struct case_reply reply = case_get(port, path);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "<h1>The dock</h1>"));
    ck_assert_ptr_nonnull(strstr(reply.body, dock));
    ck_assert_ptr_null(strstr(reply.body, gate));
    ck_assert_ptr_null(strstr(reply.body, "href=\"/status\""));
    case_reply_finish(&reply);
    snprintf(target, sizeof(target), "%s/thumb/%s", path, dock);
    case_status(port, "GET", target, "", 200);
    snprintf(target, sizeof(target), "%s/image/%s", path, dock);
    reply = case_get(port, target);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_uint_eq(reply.body_size, CASE_BLOB_BYTES);
    case_reply_finish(&reply);
    static const char *const kinds[] = {"thumb", "image"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(target, sizeof(target), "%s/%s/%s", path, kinds[i], gate);
        case_status(port, "GET", target, "", 404);
        snprintf(target, sizeof(target), "%s/%s/..", path, kinds[i]);
        case_status(port, "GET", target, "", 404);
        snprintf(target, sizeof(target), "%s/%s/..%%2f..%%2fetc%%2fpasswd", path, kinds[i]);
        case_status(port, "GET", target, "", 401); /* an address of no share's */
    }
    case_status(port, "POST", path, "", 405);
    case_status(port, "GET", "/", "", 401);
    case_status(port, "GET", "/shares", "", 401);
}
END_TEST

START_TEST(what_is_in_the_cloud_comes_from_there) {
    char path[128], id[32], dock[64], target[300], value[512];
    share_dock(path, id);
    first_of("dock", dock);
    cloud = true;
    snprintf(target, sizeof(target), "%s/image/%s", path, dock);
    struct case_reply reply = case_get(port, target);
    ck_assert_msg(reply.status == 302, "%s", reply.raw);
    ck_assert_int_eq(cloud_ttl_s, 900);
    ck_assert_ptr_nonnull(strstr(reply.head, "Location: https://a.example/c/"));
    ck_assert_ptr_nonnull(strstr(reply.head, "00000007\r\n"));
    ck_assert_str_eq(case_header(&reply, "Cache-Control", value), "no-store");
    case_reply_finish(&reply);
}
END_TEST

START_TEST(it_is_counted_and_taken_back) {
    char path[128], id[32], target[300];
    share_dock(path, id);
    case_status(port, "GET", path, "", 200);
    case_status(port, "GET", path, "", 200);
    case_status(port, "HEAD", path, "", 200); /* a preview is nobody who opens it */
    json_t *one = listed(0);
    ck_assert_int_eq(json_integer_value(json_object_get(one, "opened")), 2);
    json_decref(one);
    webui_stop(webui); /* a restart forgets nothing */
    open_web();
    one = listed(0);
    ck_assert_int_eq(json_integer_value(json_object_get(one, "opened")), 2);
    ck_assert(json_is_false(json_object_get(one, "revoked")));
    json_decref(one);
    case_status(port, "GET", path, "", 200);

    snprintf(target, sizeof(target), "/api/v1/shares/%s/revoke", id);
    case_status(port, "POST", target, "", 401);
    case_status(port, "POST", target, admin, 200);
    case_status(port, "POST", "/api/v1/shares/0011223344556677/revoke", admin, 404);
    case_status(port, "POST", "/api/v1/shares/none/revoke", admin, 404);
    case_status(port, "GET", path, "", 410);
    webui_stop(webui);
    open_web();
    case_status(port, "GET", path, "", 410);
}
END_TEST

START_TEST(forged_and_ended) {
    char path[128], id[32], forged[128];
    uint8_t key[32], other[32] = {1};
    struct webui__share ended = {.expires_s = clock_utc_us() / 1000000 - 1};
    char token[WEBUI__SHARE_TOKEN];
    memset(key, 9, sizeof(key));
    share_dock(path, id);
    for (size_t at = 3; at < strlen(path); at += 7) { /* id, end, signature */
        snprintf(forged, sizeof(forged), "%s", path);
        forged[at] = forged[at] == 'A' ? 'B' : 'A';
        case_status(port, "GET", forged, "", 403);
    }
    case_status(port, "GET", "/s/AAAA", "", 403);
    case_status(port, "GET", "/s/..", "", 403);
    case_status(port, "GET", "/s/..%2f..%2fetc%2fpasswd", "", 401);
    webui__share_token(key, &ended, token);
    snprintf(forged, sizeof(forged), "/s/%s", token);
    case_status(port, "GET", forged, "", 410);
    ended.expires_s += 1000; /* signed, and not known: as one that was taken back */
    webui__share_token(key, &ended, token);
    snprintf(forged, sizeof(forged), "/s/%s", token);
    case_status(port, "GET", forged, "", 410);
    webui__share_token(other, &ended, token);
    snprintf(forged, sizeof(forged), "/s/%s", token);
    case_status(port, "GET", forged, "", 403);
}
END_TEST

START_TEST(what_may_not_be_shared) {
    static const char *const wrong[] = {
        "query=tier%3Dnone",
        "ttl=59",
        "ttl=7776001",
        "ttl=x",
        "query=camera%3DNo+Camera",
        "title="
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        json_decref(share(wrong[i], 400));
    }
    json_t *made = share("title=%3Cb%3E&query=after%3D5-5%26limit%3D3%26class%3Dcar", 201);
    ck_assert_str_eq(json_string_value(json_object_get(made, "query")), "class=car");
    char path[128];
    snprintf(path, sizeof(path), "%s",
             strstr(json_string_value(json_object_get(made, "url")), "/s/"));
    json_decref(made);
    struct case_reply reply = case_get(port, path);
    ck_assert_ptr_nonnull(strstr(reply.body, "&lt;b&gt;"));
    ck_assert_ptr_null(strstr(reply.body, "<b>"));
    case_reply_finish(&reply);
    reply = case_request(port, "GET", "/shares?camera=dock", admin);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "value=\"camera=dock\""));
    ck_assert_ptr_nonnull(strstr(reply.body, "Take back"));
    case_reply_finish(&reply);
}
END_TEST

/* Here while it is here; then by way of a link into the cloud, where there is one. */
START_TEST(the_way_to_the_original) {
    char id[64], target[128], value[512];
    struct frame_id frame;
    struct store_removal removal;
    first_of("dock", id);
    snprintf(target, sizeof(target), "/frames/%s/original", id);
    case_status(port, "GET", target, "", 401);
    struct case_reply reply = case_request(port, "GET", target, admin);
    ck_assert_int_eq(reply.status, 302);
    ck_assert_int_eq(strncmp(case_header(&reply, "Location", value), "/blob/", 6), 0);
    case_reply_finish(&reply);
    ck_assert(frame_id_parse(id, &frame));
    ck_assert_int_eq(store_remove(store, &frame, 1, true, false, &removal, NULL), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    case_status(port, "GET", target, admin, 404);
    cloud = true;
    reply = case_request(port, "GET", target, admin);
    ck_assert_int_eq(reply.status, 302);
    ck_assert_int_eq(strncmp(case_header(&reply, "Location", value), "https://a.example/", 18), 0);
    case_reply_finish(&reply);
    ck_assert_int_eq(cloud_ttl_s, 900);
}
END_TEST

/* Frames by name, whatever their camera; over several pages; not one more. */
START_TEST(frames_by_name) {
    char dock[64], gate[64], body[400], path[128], target[300];
    first_of("dock", dock);
    first_of("gate", gate);
    snprintf(body, sizeof(body), "title=Two&query=camera%%3Dgate&frames=%s%%2C%s", dock, gate);
    json_t *made = share(body, 201);
    ck_assert_int_eq(json_integer_value(json_object_get(made, "frames")), 2);
    ck_assert_str_eq(json_string_value(json_object_get(made, "query")), "");
    snprintf(path, sizeof(path), "%s",
             strstr(json_string_value(json_object_get(made, "url")), "/s/"));
    json_decref(made);
    for (int round = 0; round < 2; round++) {
        struct case_reply reply = case_get(port, path);
        ck_assert_int_eq(reply.status, 200);
        ck_assert_ptr_nonnull(strstr(reply.body, dock));
        ck_assert_ptr_nonnull(strstr(reply.body, gate));
        size_t cards = 0;
        for (const char *at = reply.body; (at = strstr(at, "class=\"card\"")); at++) {
            cards++;
        }
        ck_assert_uint_eq(cards, 2);
        case_reply_finish(&reply);
        snprintf(target, sizeof(target), "%s/image/%s", path, gate);
        case_status(port, "GET", target, "", 200);
        struct case_reply list = case_request(port, "GET", "/api/v1/frames", admin);
        json_t *all = json_loadb(list.body, list.body_size, 0, NULL);
        size_t open = 0;
        for (size_t i = 0; i < FRAMES; i++) {
            const json_t *frame = json_array_get(json_object_get(all, "frames"), i);
            const char *other = json_string_value(json_object_get(frame, "id"));
            snprintf(target, sizeof(target), "%s/image/%s", path, other);
            struct case_reply one = case_get(port, target);
            open += one.status == 200;
            case_reply_finish(&one);
        }
        json_decref(all);
        case_reply_finish(&list);
        ck_assert_uint_eq(open, 2);
        webui_stop(webui); /* it is known after a restart */
        open_web();
    }
    json_decref(share("title=x&frames=nonsense", 400));
    snprintf(body, sizeof(body), "title=x&frames=%s%s", dock, "x");
    json_decref(share(body, 400));
}
END_TEST

START_TEST(pages_of_frames_by_name) {
    char one[64], path[128], target[300];
    size_t room = 252 * 40, size;
    char *body = malloc(room);
    first_of("dock", one);
    size = (size_t)snprintf(body, room, "title=Many&frames=");
    for (int i = 0; i < 250; i++) {
        size += (size_t)snprintf(body + size, room - size, "%s%s", i ? "," : "", one);
    }
    json_t *made = share(body, 201);
    snprintf(path, sizeof(path), "%s",
             strstr(json_string_value(json_object_get(made, "url")), "/s/"));
    json_decref(made);
    struct case_reply reply = case_get(port, path);
    ck_assert_ptr_nonnull(strstr(reply.body, "after=60"));
    case_reply_finish(&reply);
    snprintf(target, sizeof(target), "%s?after=240", path);
    reply = case_get(port, target);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_null(strstr(reply.body, "after="));
    case_reply_finish(&reply);
    snprintf(target, sizeof(target), "%s?after=251", path);
    case_status(port, "GET", target, "", 400);
    snprintf(body + size, room - size, ",%s", one);
    json_decref(share(body, 400));
    free(body);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui_share");
    TCase *server = tcase_create("server");
    tcase_add_checked_fixture(server, start, stop);
    tcase_set_timeout(server, 60);
    tcase_add_test(server, a_guest_sees_what_was_shared);
    tcase_add_test(server, what_is_in_the_cloud_comes_from_there);
    tcase_add_test(server, it_is_counted_and_taken_back);
    tcase_add_test(server, forged_and_ended);
    tcase_add_test(server, what_may_not_be_shared);
    tcase_add_test(server, frames_by_name);
    tcase_add_test(server, the_way_to_the_original);
    tcase_add_test(server, pages_of_frames_by_name);
    suite_add_tcase(suite, server);
    return case_run(suite);
}
