/* The gallery's server, over real sockets and a real store: every route, and what strangers may
 * try. */
#include "tests/unit/webui_case.h"
#include "webui/json.h"
#include <jansson.h>
#include <zlib.h>

#define HOSTILE "\"><b>&'x"

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static bool cloud;

static int mint_link(void *ctx, const struct store_row *row, int ttl_s, char out[WEBUI_LINK_MAX],
                     const char **kind, struct err *err) {
    (void)ctx;
    (void)row;
    *kind = "azure";
    if (!cloud) {
        return err_set(err, ERR_NOT_FOUND, "not replicated");
    }
    snprintf(out, WEBUI_LINK_MAX, "https://a.example/c/k?sv=2020&sig=x&se=%d", ttl_s);
    return 0;
}

static json_t *status(void *ctx) {
    (void)ctx;
    return json_pack("{s:s,s:{s:i},s:[{s:s,s:s}]}", "version", "0", "store", "disk_bytes", 2048,
                     "cameras", "name", HOSTILE, "source", "demo:");
}

static char *metrics(void *ctx) {
    (void)ctx;
    return strdup("# TYPE creel_store_frames gauge\ncreel_store_frames 1");
}

static int submit(void *ctx, const struct webui_push *push, struct err *err) {
    (void)ctx;
    free(push->bytes);
    return err_set(err, ERR_FULL, "full");
}

static const char *sick, *unready; /* what health says, or NULL */

static int health(void *ctx, bool ready, struct err *err) {
    const char *why = sick ? sick : ready ? unready : NULL;
    (void)ctx;
    return why ? err_set(err, ERR_CRASHED, "%s", why) : 0;
}

static const struct webui_hooks hooks = {.health = health,
                                         .submit_frame = submit,
                                         .mint_link = mint_link,
                                         .status = status,
                                         .metrics = metrics};

static int timeout_s = 1;

static void start_with(const char *password) {
    struct err err = {0};
    uint16_t none = 0;
    store = case_store_open(dir);
    struct webui_config config = {.listen = "127.0.0.1:0", .password = password};
    memset(config.link_key, 9, sizeof(config.link_key));
    config.request_timeout_s = timeout_s;
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
    ck_assert_uint_ne(port, 0);
    ck_assert_uint_eq(none, 0);
}

static void start(void) {
    cloud = false;
    start_with(NULL);
}

static void start_patient(int seconds) {
    timeout_s = seconds;
    start_with(NULL);
}

static void fill(unsigned count) {
    struct err err = {0};
    for (unsigned n = 0; n < count; n++) {
        case_frame_put(store, n, n == 5 ? HOSTILE : "car");
    }
    ck_assert_msg(store_flush(store, &err) == 0, "%s", err.msg);
}

static void stop(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static json_t *get_json(const char *target) {
    struct case_reply reply = case_get(port, target);
    char type[512];
    ck_assert_msg(reply.status == 200, "%s: %s", target, reply.raw);
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/json");
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    ck_assert_ptr_nonnull(json);
    case_reply_finish(&reply);
    return json;
}

/* Text at a path of keys; the first element of an array on the way. */
static const char *text_at(const json_t *json, const char *key) {
    const char *text = json_string_value(json_object_get(json, key));
    ck_assert_msg(text != NULL, "%s is missing", key);
    return text;
}

static json_t *first_frame(const char *query, char id[64], char sha[80]) {
    char target[256];
    snprintf(target, sizeof(target), "/api/v1/frames?limit=1&%s", query);
    json_t *page = get_json(target);
    json_t *frame = json_array_get(json_object_get(page, "frames"), 0);
    ck_assert_ptr_nonnull(frame);
    snprintf(id, 64, "%s", text_at(frame, "id"));
    snprintf(sha, 80, "%s", text_at(frame, "sha256"));
    return page;
}

/* ---- routes ---- */

START_TEST(empty) {
    struct case_reply reply = case_get(port, "/");
    char value[512];
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "No frame has been kept yet"));
    ck_assert_str_eq(case_header(&reply, "X-Content-Type-Options", value), "nosniff");
    ck_assert_str_eq(case_header(&reply, "Referrer-Policy", value), "same-origin");
    ck_assert_ptr_nonnull(
        strstr(case_header(&reply, "Content-Security-Policy", value), "default-src 'none'"));
    ck_assert_ptr_nonnull(strstr(value, "frame-ancestors 'none'"));
    ck_assert_ptr_null(strstr(value, "unsafe"));
    ck_assert_ptr_null(strstr(reply.body, " style="));
    ck_assert_ptr_null(strstr(reply.body, "<style"));
    case_reply_finish(&reply);
    reply = case_get(port, "/?camera=nobody");
    ck_assert_ptr_nonnull(strstr(reply.body, "No frame matches"));
    case_reply_finish(&reply);
    case_status(port, "GET", "/status", "", 200);
    case_status(port, "GET", "/frames/@last", "", 404);
    json_t *page = get_json("/api/v1/frames");
    ck_assert_uint_eq(json_array_size(json_object_get(page, "frames")), 0);
    ck_assert(json_is_null(json_object_get(page, "next")));
    json_decref(page);
}
END_TEST

/* The same bytes, smaller, for those who ask; each form has its own ETag. */
START_TEST(assets_packed) {
    char value[512];
    struct case_reply plain = case_get(port, "/assets/app.css");
    struct case_reply small =
        case_request(port, "GET", "/assets/app.css", "Accept-Encoding: br, gzip\r\n");
    uint8_t *unpacked = malloc(plain.body_size);
    z_stream stream = {.next_in = (Bytef *)small.body,
                       .avail_in = (uInt)small.body_size,
                       .next_out = unpacked,
                       .avail_out = (uInt)plain.body_size};
    ck_assert_str_eq(case_header(&small, "Content-Encoding", value), "gzip");
    ck_assert_uint_lt(small.body_size * 2, plain.body_size);
    ck_assert_int_eq(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
    ck_assert_int_eq(inflate(&stream, Z_FINISH), Z_STREAM_END);
    ck_assert_mem_eq(unpacked, plain.body, plain.body_size);
    inflateEnd(&stream);
    free(unpacked);
    case_header(&plain, "ETag", value);
    ck_assert_ptr_null(strstr(value, "-z"));
    ck_assert_ptr_nonnull(strstr(small.head, "-z\""));
    case_reply_finish(&plain);
    case_reply_finish(&small);
    plain = case_request(port, "GET", "/assets/app.css", "Accept-Encoding: gzip;q=0\r\n");
    ck_assert_str_eq(case_header(&plain, "Content-Encoding", value), "");
    case_reply_finish(&plain);
}
END_TEST

START_TEST(methods) {
    static const struct {
        const char *method, *target;
        int status;
    } cases[] = {
        {"GET", "/healthz", 200},
        {"GET", "/readyz", 200},
        {"GET", "/favicon.ico", 200},
        {"GET", "/assets/app.css", 200},
        {"GET", "/assets/app.js", 200},
        {"GET", "/assets/icon.svg?v=0", 200},
        {"GET", "/assets/symbols.svg", 404},
        {"GET", "/assets/../webui.c", 404},
        {"GET", "/assets/%2e%2e%2fapp.css", 404},
        {"GET", "/nothing", 404},
        {"GET", "/frames/", 404},
        {"GET", "/frames/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404},
        {"GET", "/frames/nonsense", 400},
        {"GET", "/api/v1/frames/0198aaaa-0000-7000-8000-000000000000", 404},
        {"GET", "/api/v1/frames?limit=0", 400},
        {"GET", "/api/v1/frames?limit=501", 400},
        {"GET", "/api/v1/frames?tier=both", 400},
        {"GET", "/api/v1/frames?min=2", 400},
        {"GET", "/api/v1/frames?after=1", 400},
        {"GET", "/api/v1/frames?since=now", 400},
        {"GET", "/api/v1/frames?sync=maybe", 400},
        {"GET", "/api/v1/frames?order=up", 400},
        {"GET", "/api/v1/frames?camera=../x", 400},
        {"GET", "/api/v1/frames?since=2026-11-20&until=2026-11-21T00:00:00Z", 200},
        {"GET", "/thumb/12", 404},
        {"GET", "/blob/12?tier=annotated", 404},
        {"POST", "/", 405},
        {"DELETE", "/frames/@last", 405},
        {"PUT", "/healthz", 405},
        {"OPTIONS", "/api/v1/frames", 405},
        {"POST", "/nothing", 404},
        {"HEAD", "/", 200},
        {"HEAD", "/nothing", 404},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        case_status(port, cases[i].method, cases[i].target, "", cases[i].status);
    }
    char allow[512];
    struct case_reply reply = case_request(port, "DELETE", "/api/v1/frames/@last/link", "");
    ck_assert_str_eq(case_header(&reply, "Allow", allow), "GET, HEAD, POST");
    case_reply_finish(&reply);
    reply = case_request(port, "HEAD", "/", "");
    ck_assert_uint_eq(reply.body_size, 0);
    ck_assert_int_gt(atoi(case_header(&reply, "Content-Length", allow)), 500);
    case_reply_finish(&reply);
}
END_TEST

START_TEST(problems) {
    char type[512];
    struct case_reply reply = case_get(port, "/api/v1/frames?limit=no");
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/problem+json");
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "status")), 400);
    ck_assert_ptr_nonnull(strstr(text_at(json, "detail"), "limit=no: expected"));
    json_decref(json);
    case_reply_finish(&reply);
    reply = case_request(port, "GET", "/?tier=%3Cscript%3E", "Accept: text/html\r\n");
    ck_assert_int_eq(reply.status, 400);
    ck_assert_ptr_nonnull(strstr(case_header(&reply, "Content-Type", type), "text/html"));
    ck_assert_ptr_null(strstr(reply.body, "<script>"));
    ck_assert_ptr_nonnull(strstr(reply.body, "&lt;script&gt;"));
    case_reply_finish(&reply);
    reply = case_request(port, "GET", "/api/v1/nothing", "Accept: text/html\r\n");
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/problem+json");
    case_reply_finish(&reply);
}
END_TEST

START_TEST(gallery) {
    fill(130);
    struct case_reply reply = case_get(port, "/");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "Older frames"));
    ck_assert_ptr_null(strstr(reply.body, "style=\""));
    case_reply_finish(&reply);

    /* The pages together hold every frame once, in order. */
    char target[256] = "/?part=cards";
    unsigned cards = 0, pages = 0;
    char last[80] = "~";
    for (bool more = true; more; pages++) {
        reply = case_get(port, target);
        ck_assert_int_eq(reply.status, 200);
        for (char *at = reply.body; (at = strstr(at, "<time datetime=\"")); at++, cards++) {
            ck_assert_int_lt(strncmp(at + 16, last, 24), 0);
            snprintf(last, sizeof(last), "%.24s", at + 16);
        }
        char *next = strstr(reply.body, "after=");
        more = next != NULL;
        if (more) {
            snprintf(target, sizeof(target), "/?part=cards&%.*s", (int)strcspn(next, "\""), next);
        }
        case_reply_finish(&reply);
    }
    ck_assert_uint_eq(cards, 130);
    ck_assert_uint_eq(pages, 3);

    reply = case_get(port, "/?tier=unannotated&camera=gate&part=cards&limit=500");
    ck_assert_ptr_null(strstr(reply.body, "tier-annotated"));
    ck_assert_ptr_null(strstr(reply.body, ">dock<"));
    ck_assert_ptr_nonnull(strstr(reply.body, "?tier=unannotated&amp;camera=gate"));
    case_reply_finish(&reply);
}
END_TEST

/* A label that tries to break out is text everywhere. */
START_TEST(escaping) {
    char id[64], sha[80], target[300];
    fill(8);
    json_t *page = first_frame("class=%22%3E%3Cb%3E%26%27x", id, sha);
    json_decref(page);
    const char *const targets[] = {"/", "/?class=%22%3E%3Cb%3E%26%27x", "/status", target};
    snprintf(target, sizeof(target), "/frames/%s?class=%%22%%3E%%3Cb%%3E%%26%%27x", id);
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        struct case_reply reply = case_get(port, targets[i]);
        ck_assert_int_eq(reply.status, 200);
        ck_assert_msg(!strstr(reply.body, "><b>&"), "%s", targets[i]);
        ck_assert_msg(strstr(reply.body, "&quot;&gt;&lt;b&gt;&amp;"), "%s", targets[i]);
        case_reply_finish(&reply);
    }
}
END_TEST

START_TEST(frame) {
    char id[64], sha[80], target[200];
    fill(20);
    json_t *page = first_frame("", id, sha);
    json_decref(page);
    snprintf(target, sizeof(target), "/api/v1/frames/%s", id);
    json_t *json = get_json(target);
    ck_assert_str_eq(text_at(json, "sha256"), sha);
    ck_assert_str_eq(text_at(json, "place"), "local");
    ck_assert_uint_eq(json_array_size(json_object_get(json, "detections")), 2);
    json_decref(json);
    snprintf(target, sizeof(target), "/api/v1/frames/%.12s", sha);
    json = get_json(target);
    ck_assert_str_eq(text_at(json, "id"), id);
    json_decref(json);
    struct case_reply reply = case_get(port, "/frames/@last?camera=gate");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "rel=\"next\""));
    ck_assert_ptr_null(strstr(reply.body, "rel=\"prev\"")); /* nothing is newer */
    ck_assert_ptr_nonnull(strstr(reply.body, "viewBox=\"0 0 640 480\""));
    ck_assert_ptr_nonnull(strstr(reply.body, "?camera=gate\""));
    case_reply_finish(&reply);
}
END_TEST

/* ---- blobs ---- */

START_TEST(blob) {
    char id[64], sha[80], target[200], etag[512], value[512], header[600];
    fill(3);
    json_decref(first_frame("tier=annotated", id, sha));
    snprintf(target, sizeof(target), "/blob/%s?tier=annotated", sha);
    struct case_reply whole = case_get(port, target);
    ck_assert_int_eq(whole.status, 200);
    ck_assert_uint_eq(whole.body_size, CASE_BLOB_BYTES);
    struct frame_hash hash;
    char hex[HASH_HEX_SIZE];
    hash_sha256(whole.body, whole.body_size, &hash);
    ck_assert_str_eq(hash_hex(hash.bytes, 32, hex), sha);
    ck_assert_str_eq(case_header(&whole, "Content-Type", value), "image/jpeg");
    ck_assert_ptr_nonnull(strstr(case_header(&whole, "Cache-Control", value), "immutable"));
    ck_assert_ptr_nonnull(strstr(case_header(&whole, "Content-Security-Policy", value), "sandbox"));
    ck_assert_ptr_nonnull(strstr(case_header(&whole, "Content-Disposition", value), "inline"));
    case_header(&whole, "ETag", etag);

    struct case_reply part = case_request(port, "GET", target, "Range: bytes=100-199\r\n");
    ck_assert_int_eq(part.status, 206);
    ck_assert_uint_eq(part.body_size, 100);
    ck_assert_mem_eq(part.body, whole.body + 100, 100);
    ck_assert_str_eq(case_header(&part, "Content-Range", value), "bytes 100-199/5000");
    case_reply_finish(&part);
    snprintf(header, sizeof(header), "Range: bytes=-5\r\nIf-Range: %s\r\n", etag);
    part = case_request(port, "GET", target, header);
    ck_assert_int_eq(part.status, 206);
    ck_assert_mem_eq(part.body, whole.body + CASE_BLOB_BYTES - 5, 5);
    case_reply_finish(&part);
    case_status(port, "GET", target, "Range: bytes=5-\r\nIf-Range: \"other\"\r\n", 200);
    case_status(port, "GET", target, "Range: bytes=5000-\r\n", 416);
    case_status(port, "GET", target, "Range: bytes=1-2,5-6\r\n", 200);
    snprintf(header, sizeof(header), "If-None-Match: %s\r\n", etag);
    case_status(port, "GET", target, header, 304);
    part = case_request(port, "HEAD", target, "");
    ck_assert_uint_eq(part.body_size, 0);
    ck_assert_str_eq(case_header(&part, "Content-Length", value), "5000");
    case_reply_finish(&part);
    case_reply_finish(&whole);

    snprintf(target, sizeof(target), "/blob/%s?tier=unannotated", sha); /* not in that tier */
    case_status(port, "GET", target, "", 404);
    snprintf(target, sizeof(target), "/blob/%s", sha);
    case_status(port, "GET", target, "", 400);
    snprintf(target, sizeof(target), "/thumb/%s", sha);
    part = case_get(port, target);
    ck_assert_int_eq(part.status, 200);
    ck_assert_uint_eq(part.body_size, 300);
    case_reply_finish(&part);
    memset(target + 7, '0', 64);
    part = case_get(port, target);
    ck_assert_int_eq(part.status, 404);
    ck_assert_str_eq(case_header(&part, "Content-Type", value), "image/svg+xml");
    case_reply_finish(&part);
}
END_TEST

static void get_link(const char *id, const char *query, char url[1024], const char *kind) {
    char target[200];
    snprintf(target, sizeof(target), "/api/v1/frames/%s/link%s", id, query);
    json_t *json = get_json(target);
    snprintf(url, 1024, "%s", text_at(json, "url"));
    ck_assert_str_eq(text_at(json, "kind"), kind);
    ck_assert_uint_eq(strlen(text_at(json, "expires")), 24);
    json_decref(json);
}

START_TEST(signed_link) {
    char id[64], sha[80], url[1024], forged[WEBUI_LINK_MAX];
    fill(3);
    json_decref(first_frame("", id, sha));
    get_link(id, "", url, "local");
    ck_assert_int_eq(strncmp(url, "http://127.0.0.1/blob/", 22), 0);
    const char *path = url + 16;
    case_status(port, "GET", path, "", 200);

    snprintf(forged, sizeof(forged), "%s", path); /* another end */
    *(strstr(forged, "&e=") + 3) = '9';
    case_status(port, "GET", forged, "", 403);
    snprintf(forged, sizeof(forged), "%s", path); /* another blob */
    forged[6] = forged[6] == '0' ? '1' : '0';
    case_status(port, "GET", forged, "", 403);
    snprintf(forged, sizeof(forged), "%s",
             path); /* no signature: refused though the login would do */
    *strstr(forged, "&s=") = '\0';
    case_status(port, "GET", forged, "", 403);

    uint8_t key[32];
    struct frame_hash hash;
    memset(key, 9, sizeof(key));
    hash_parse_hex(sha, hash.bytes, 32);
    enum frame_tier tier = strstr(path, "unannotated") ? TIER_UNANNOTATED : TIER_ANNOTATED;
    int64_t now = clock_utc_us() / 1000000;
    ck_assert_int_eq(webui_local_link(key, tier, &hash, now - 1, forged, NULL), 0);
    case_status(port, "GET", forged, "", 410);

    cloud = true;
    get_link(id, "?ttl=60", url, "azure");
    ck_assert_ptr_nonnull(strstr(url, "se=60"));
    snprintf(forged, sizeof(forged), "/api/v1/frames/%s/link?ttl=604801", id);
    case_status(port, "GET", forged, "", 400);
    snprintf(forged, sizeof(forged), "/api/v1/frames/%s/link", id);
    case_status(port, "POST", forged, "Content-Length: 0\r\n", 200);
    case_status(port, "POST", forged, "Content-Length: 0\r\nOrigin: http://evil.example\r\n", 403);
}
END_TEST

/* ---- who may ---- */

START_TEST(rebinding) {
    static const char evil[] = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    static const char tunnel[] =
        "GET / HTTP/1.1\r\nHost: localhost:9999\r\nConnection: close\r\n\r\n";
    struct case_reply reply = case_exchange(port, evil, strlen(evil));
    ck_assert_int_eq(reply.status, 403);
    case_reply_finish(&reply);
    reply = case_exchange(port, tunnel, strlen(tunnel));
    ck_assert_int_eq(reply.status, 200);
    case_reply_finish(&reply);
}
END_TEST

START_TEST(password) {
    stop();
    start_with("s3cret:word");
    fill(1);
    char login[200], value[512], id[64], sha[80], target[400];
    char base64[HASH_BASE64_SIZE(64)];
    struct case_reply reply = case_get(port, "/");
    ck_assert_int_eq(reply.status, 401);
    ck_assert_int_eq(strncmp(case_header(&reply, "WWW-Authenticate", value), "Basic ", 6), 0);
    case_reply_finish(&reply);
    static const char *const wrong[] = {
        "creel:", "creel:s3cret", "creel:s3cret:wordx", "admin:s3cret:word", "creel", ""};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        snprintf(login, sizeof(login), "Authorization: Basic %s\r\n",
                 hash_base64(wrong[i], strlen(wrong[i]), base64));
        case_status(port, "GET", "/", login, 401);
    }
    case_status(port, "GET", "/", "Authorization: Basic ***\r\n", 401);
    case_status(port, "GET", "/", "Authorization: Bearer s3cret:word\r\n", 401);
    case_status(port, "GET", "/metrics", "", 401);
    case_status(port, "GET", "/nothing", "", 401);
    case_status(port, "GET", "/healthz", "", 200);
    hash_base64("creel:s3cret:word", 17, base64);
    snprintf(login, sizeof(login), "Authorization: Basic %s\r\n", base64);
    case_status(port, "GET", "/", login, 200);

    /* A signed link needs no login, the plain address does. */
    reply = case_request(port, "GET", "/api/v1/frames/@last/link", login);
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    case_status(port, "GET", text_at(json, "url") + 16, "", 200);
    case_reply_finish(&reply);
    json_decref(json);
    reply = case_request(port, "GET", "/api/v1/frames/@last", login);
    json = json_loadb(reply.body, reply.body_size, 0, NULL);
    snprintf(id, sizeof(id), "%s", text_at(json, "tier"));
    snprintf(sha, sizeof(sha), "%s", text_at(json, "sha256"));
    json_decref(json);
    case_reply_finish(&reply);
    snprintf(target, sizeof(target), "/blob/%s?tier=%s", sha, id);
    case_status(port, "GET", target, "", 401);
    case_status(port, "GET", target, login, 200);
}
END_TEST

/* A browser that was told web.password sends it by itself, whoever makes it ask. */
START_TEST(password_of_a_browser) {
    static const struct {
        const char *lines;
        int status;
    } posts[] = {{"", 404},
                 {"Origin: http://127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n", 404},
                 {"Sec-Fetch-Site: none\r\n", 404},
                 {"Sec-Fetch-Site: cross-site\r\n", 403},
                 {"Sec-Fetch-Site: same-site\r\n", 403},
                 {"Sec-Fetch-Site: \r\n", 403},
                 {"Origin: http://127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n", 403},
                 {"Origin: https://evil.example\r\n", 403},
                 {"Origin: http://127.0.0.1:1\r\n", 403},
                 {"Origin: http://127.0.0.1.evil.example\r\n", 403},
                 {"Origin: null\r\n", 403},
                 {"Origin: \r\n", 403}};
    char login[100], lines[300], base64[HASH_BASE64_SIZE(64)];
    stop();
    start_with("s3cret:word");
    hash_base64("creel:s3cret:word", 17, base64);
    snprintf(login, sizeof(login), "Authorization: Basic %s\r\n", base64);
    for (size_t i = 0; i < ARRAY_LENGTH(posts); i++) {
        snprintf(lines, sizeof(lines), "%s%s", login, posts[i].lines);
        case_status(port, "POST", "/api/v1/nothing", lines, posts[i].status);
        case_status(port, "GET", "/", lines, 200); /* looking changes nothing */
    }
}
END_TEST

START_TEST(not_started) {
    struct webui *other = NULL;
    struct err err = {0};
    struct webui_config config = {.listen = "0.0.0.0:0"};
    ck_assert_int_eq(webui_start(&config, store, &hooks, &other, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "web.password"));
    ck_assert_ptr_null(other);
    config.password = "x";
    ck_assert_int_eq(webui_start(&config, store, &hooks, &other, &err), 0);
    webui_stop(other);
    config = (struct webui_config){.ingest_listen = "0.0.0.0:0"};
    ck_assert_int_eq(webui_start(&config, store, &hooks, &other, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "ingest.token"));
    config = (struct webui_config){.listen = "nonsense"};
    ck_assert_int_eq(webui_start(&config, store, &hooks, &other, &err), ERR_CONFIG);

    /* A taken port: an error that says so, or the next one. */
    char listen[64];
    snprintf(listen, sizeof(listen), "127.0.0.1:%u", (unsigned)port);
    config = (struct webui_config){.listen = listen};
    ck_assert_int_eq(webui_start(&config, store, &hooks, &other, &err), ERR_SYS);
    char text[2 * ERR_TEXT_MAX];
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof(text)), "Address already in use"));
    uint16_t next = 0, none = 0;
    config.next_free_port = true;
    ck_assert_int_eq(webui_start(&config, store, &hooks, &other, &err), 0);
    webui_ports(other, &next, &none);
    ck_assert_uint_gt(next, port);
    webui_stop(other);
    webui_stop(NULL);
}
END_TEST

/* ---- too much, too slow ---- */

START_TEST(too_long) {
    char *target = malloc(70000);
    memset(target, 'a', 70000);
    target[0] = '/';
    target[5000] = '\0';
    case_status(port, "GET", target, "", 414);
    target[5000] = 'a';
    target[69999] = '\0';
    struct case_reply reply = case_get(port, target); /* more than a connection's memory */
    ck_assert_msg(reply.status == 414 || reply.status == 431 || reply.status == 0, "%d",
                  reply.status);
    case_reply_finish(&reply);
    free(target);
    case_status(port, "GET", "/healthz", "", 200);
}
END_TEST

/* One byte a moment never ends a request, and is never silent for long: it must still be ended
 * (here after two seconds). */
START_TEST(dribble) {
    int fd = case_connect(port);
    int64_t begin = clock_boot_us();
    case_send(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 37);
    char byte = 0;
    bool ended = false;
    while (!ended && clock_boot_us() - begin < 8 * 1000000) {
        ended = send(fd, "x", 1, MSG_NOSIGNAL) < 0 || recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
        clock_sleep_ms(100);
    }
    close(fd);
    ck_assert(ended);
    case_status(port, "GET", "/healthz", "", 200);
}
END_TEST

/* More than the server takes, of each kind that costs nothing to open: whoever comes then is
 * answered at once, since the first of the silent ones goes. */
START_TEST(a_crowd) {
    static const char *const kinds[] = {
        "", "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nuser"};
    enum { CROWD = 600 };
    static int fds[CROWD];
    stop();
    start_patient(60);
    for (size_t kind = 0; kind < ARRAY_LENGTH(kinds); kind++) {
        for (int i = 0; i < CROWD; i++) {
            fds[i] = case_connect(port);
            case_send(fds[i], kinds[kind], strlen(kinds[kind]));
        }
        int64_t begin = clock_boot_us();
        for (int i = 0; i < 20; i++) {
            case_status(port, "GET", "/healthz", "", 200);
        }
        ck_assert_int_lt(clock_boot_us() - begin, 5 * 1000000);
        int ended = 0;
        for (int i = 0; i < CROWD; i++) {
            char byte;
            ended += recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0;
            close(fds[i]);
        }
        ck_assert_int_ge(ended, CROWD - 512);
    }
}
END_TEST

START_TEST(silence) {
    int fd = case_connect(port);
    case_send(fd, "GET / HT", 8);
    struct case_reply reply = case_receive(fd); /* the client waits 20 s at most */
    close(fd);
    ck_assert_int_ne(reply.status, 200);
    case_reply_finish(&reply);
    ck_assert_int_ge(case_connect(port), 0);
}
END_TEST

START_TEST(garbage) {
    static const char *const texts[] = {"\r\n\r\n",
                                        "GET\r\n\r\n",
                                        "GET / HTTP/9.9\r\n\r\n",
                                        "\x16\x03\x01\x02\x00\x01",
                                        "GET / HTTP/1.1\r\n\r\n",
                                        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct case_reply reply = case_exchange(port, texts[i], strlen(texts[i]));
        ck_assert_msg(reply.status == 0 || reply.status >= 400, "%zu: %s", i, reply.raw);
        case_reply_finish(&reply);
    }
    case_status(port, "GET", "/healthz", "", 200);
}
END_TEST

START_TEST(machines) {
    fill(4);
    struct case_reply reply = case_get(port, "/metrics");
    ck_assert_int_eq(reply.status, 200);
    char *family = strstr(reply.body, "# TYPE creel_store_frames ");
    ck_assert_ptr_nonnull(family);
    ck_assert_ptr_null(
        strstr(family + 1, "# TYPE creel_store_frames ")); /* the hook's came first */
    ck_assert_ptr_nonnull(strstr(reply.body, "creel_store_acked_total 4\n"));
    ck_assert_ptr_nonnull(strstr(reply.body, "creel_http_requests_total{server=\"web\"} "));
    case_reply_finish(&reply);
    json_t *json = get_json("/api/v1/status");
    ck_assert_str_eq(text_at(json, "version"), "0");
    json_decref(json);
    reply = case_get(port, "/status?part=status");
    ck_assert_ptr_nonnull(strstr(reply.body, "2.0 KiB"));
    ck_assert_ptr_null(strstr(reply.body, "<html"));
    case_reply_finish(&reply);
}
END_TEST

START_TEST(health_says_why) {
    unready = "no worker runs";
    case_status(port, "GET", "/healthz", "", 200);
    struct case_reply reply = case_get(port, "/readyz");
    ck_assert_int_eq(reply.status, 503);
    ck_assert_ptr_nonnull(strstr(reply.body, "no worker runs"));
    case_reply_finish(&reply);
    sick = "the loop stands";
    case_status(port, "GET", "/healthz", "", 503);
    case_status(port, "GET", "/readyz", "", 503);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui server");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 90);
    tcase_add_checked_fixture(tcase, start, stop);
    TTest const *const tests[] = {empty,       assets_packed, methods,  problems,
                                  gallery,     escaping,      frame,    blob,
                                  signed_link, rebinding,     password, password_of_a_browser,
                                  not_started, too_long,      dribble,  a_crowd,
                                  silence,     garbage,       machines, health_says_why};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
