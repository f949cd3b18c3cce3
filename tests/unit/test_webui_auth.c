/* Users, sessions, CSRF tokens, the brake on passwords and tokens with scopes: against a real
 * server over real sockets, and what strangers forge. */
#include "tests/unit/webui_case.h"
#include "webui/access.h"
#include "webui/form.h"

#define FORM  "Content-Type: application/x-www-form-urlencoded\r\n"
#define PAGE  "Accept: text/html\r\n"
#define ANNA  "correct horse"
#define VERA  "battery staple"
#define OTHER "another horse"

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port, ingest;

static int submit(void *ctx, const struct webui_push *push, struct err *err) {
    (void)ctx;
    free(push->bytes);
    return err_set(err, ERR_FULL, "full");
}

static const struct webui_hooks hooks = {.submit_frame = submit};

static int try_start(const char *listen) {
    struct err err = {0};
    struct webui_config config = {.listen = listen, .ingest_listen = "127.0.0.1:0"};
    int code = webui_start(&config, store, &hooks, &webui, &err);
    ck_assert_msg(!code || strstr(err.msg, "creel user add"), "%s", err.msg);
    return code;
}

/* A record as webui_user_add writes it, but for what a guess of it costs. */
static void user_put(const char *name, const char *role, const char *password) {
    struct err err = {0};
    struct frame_hash hash;
    char hex[HASH_HEX_SIZE], text[512];
    ck_assert(hash_scrypt(password, "0123456789abcdef", 16, 10, 1, 1, &hash));
    int size = snprintf(text, sizeof(text),
                        "{\"role\":\"%s\",\"kdf\":\"scrypt\",\"log2n\":10,\"r\":1,\"p\":1,"
                        "\"salt\":\"30313233343536373839616263646566\",\"hash\":\"%s\"}",
                        role, hash_hex(hash.bytes, 32, hex));
    ck_assert_int_eq(store_state_put(store, "user", name, strlen(name), text, (size_t)size, &err),
                     0);
}

static void start(void) {
    store = case_store_open(dir);
    user_put("anna", "admin", ANNA);
    user_put("vera", "viewer", VERA);
    ck_assert_int_eq(try_start("127.0.0.1:0"), 0);
    webui_ports(webui, &port, &ingest);
}

static void stop(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static struct case_reply log_in(const char *user, const char *password, const char *to) {
    char body[512];
    int size = snprintf(body, sizeof(body), "user=%s&password=%s&to=%s", user, password, to);
    for (char *at = body; *at; at++) {
        *at = *at == ' ' ? '+' : *at;
    }
    return case_post(port, "/login", FORM, body, (size_t)size);
}

/* The value of a cookie that a reply sets. */
static void cookie_of(const struct case_reply *reply, const char *name, char out[128]) {
    char line[64];
    snprintf(line, sizeof(line), "Set-Cookie: %s=", name);
    const char *at = strstr(reply->head, line);
    ck_assert_msg(at != NULL, "no cookie %s: %s", name, reply->head);
    at += strlen(line);
    snprintf(out, 128, "%.*s", (int)strcspn(at, ";\r"), at);
}

/* Logs in; `header` gets the line that says so, `csrf` the token. */
static void enter(const char *user, const char *password, char header[256], char csrf[128]) {
    char cookie[128];
    struct case_reply reply = log_in(user, password, "/status");
    ck_assert_msg(reply.status == 303, "%s", reply.raw);
    cookie_of(&reply, "creel", cookie);
    cookie_of(&reply, "creel-csrf", csrf);
    snprintf(header, 256, "Cookie: creel=%s\r\n", cookie);
    case_reply_finish(&reply);
}

static void with(char out[512], const char *a, const char *b, const char *c) {
    snprintf(out, 512, "%s%s%s%s", a, b, c, *b ? "\r\n" : "");
}

/* ---- people ---- */

START_TEST(nobody_comes_in_without_a_login) {
    char value[512];
    struct case_reply reply = case_request(port, "GET", "/status", PAGE);
    ck_assert_int_eq(reply.status, 303);
    ck_assert_str_eq(case_header(&reply, "Location", value), "/login?to=/status");
    case_reply_finish(&reply);
    static const char *const closed[] = {"/",
                                         "/status",
                                         "/api/v1/frames",
                                         "/metrics",
                                         "/blob/../../etc/passwd?tier=annotated",
                                         "/thumb/..%2f..%2fetc%2fpasswd"};
    for (size_t i = 0; i < ARRAY_LENGTH(closed); i++) {
        case_status(port, "GET", closed[i], "", 401);
    }
    case_status(port, "GET", "/login", "", 200);
    case_status(port, "GET", "/healthz", "", 200);
    case_status(port, "GET", "/assets/..%2f..%2f..%2fetc%2fpasswd", "", 401);
    case_status(port, "GET", "/assets/..", "", 404);
}
END_TEST

START_TEST(a_login_is_a_cookie) {
    char header[256], csrf[128], forged[256], value[512];
    struct case_reply reply = log_in("anna", ANNA, "/status");
    ck_assert_int_eq(reply.status, 303);
    ck_assert_str_eq(case_header(&reply, "Location", value), "/status");
    const char *line = strstr(reply.head, "Set-Cookie: creel=");
    ck_assert_ptr_nonnull(line);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(line, "\r"), line);
    ck_assert_ptr_nonnull(strstr(value, "; HttpOnly"));
    ck_assert_ptr_nonnull(strstr(value, "; SameSite="));
    ck_assert_ptr_null(strstr(value, "Secure"));
    case_reply_finish(&reply);

    enter("anna", ANNA, header, csrf);
    case_status(port, "GET", "/", header, 200);
    snprintf(forged, sizeof(forged), "%s", header);
    forged[20] = forged[20] == 'A' ? 'B' : 'A';
    case_status(port, "GET", "/", forged, 401);
    case_status(port, "GET", "/", "Cookie: creel=\r\n", 401);
    case_status(port, "GET", "/", "Cookie: creel=anna; creel-csrf=anna\r\n", 401);
    case_status(port, "GET", "/thumb/..%2f..%2fetc%2fpasswd", header, 404);
    case_status(port, "GET", "/blob/..%2f..%2fetc%2fpasswd?tier=annotated", header, 404);
}
END_TEST

START_TEST(where_a_login_leads) {
    static const char *const bad[] = {
        "//evil.example/",  "https://evil.example/", "/%5Cevil.example", "/a%0d%0aX-Evil:+1", "",
        "/%09/evil.example"};
    char value[512];
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct case_reply reply = log_in("anna", ANNA, bad[i]);
        ck_assert_int_eq(reply.status, 303);
        ck_assert_str_eq(case_header(&reply, "Location", value), "/");
        ck_assert_ptr_null(strstr(reply.head, "X-Evil"));
        case_reply_finish(&reply);
    }
    case_status(port, "POST", "/login", "Origin: https://evil.example\r\n", 403);
}
END_TEST

/* What a link of the gallery asked for is where one comes after the log-in, with its filters. */
START_TEST(a_login_keeps_the_filters) {
    static const char asked[] = "/?camera=dock&class=a%26b&after=x%2By";
    char value[512];
    struct case_reply reply = case_request(port, "GET", asked, PAGE);
    ck_assert_int_eq(reply.status, 303);
    ck_assert_str_eq(case_header(&reply, "Location", value),
                     "/login?to=/%3Fcamera%3Ddock%26class%3Da%2526b%26after%3Dx%252By");
    case_reply_finish(&reply);
    reply = case_get(port, value);
    ck_assert_ptr_nonnull(
        strstr(reply.body, "value=\"/?camera=dock&amp;class=a%26b&amp;after=x%2By\""));
    case_reply_finish(&reply);
    reply = log_in("anna", ANNA, strstr(value, "to=") + 3);
    ck_assert_int_eq(reply.status, 303);
    ck_assert_str_eq(case_header(&reply, "Location", value), asked);
    case_reply_finish(&reply);

    char far[1600] = "/?camera=";
    memset(far + strlen(far), 'a', sizeof(far) - strlen(far) - 1);
    reply = case_request(port, "GET", far, PAGE);
    ck_assert_int_eq(reply.status, 303);
    ck_assert_str_eq(case_header(&reply, "Location", value), "/login?to=/");
    case_reply_finish(&reply);
}
END_TEST

START_TEST(a_change_needs_its_token) {
    char header[256], csrf[128], lines[512], body[256];
    enter("anna", ANNA, header, csrf);
    case_status(port, "POST", "/logout", header, 403);
    with(lines, header, "X-Creel-CSRF: ", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    case_status(port, "POST", "/logout", lines, 403);
    with(lines, header, "X-Creel-CSRF: ", "");
    case_status(port, "POST", "/logout", lines, 403);
    case_status(port, "GET", "/", header, 200);

    snprintf(lines, sizeof(lines), "%s%s", header, FORM);
    int size = snprintf(body, sizeof(body), "a=b&csrf=%s", csrf);
    struct case_reply reply = case_post(port, "/logout", lines, body, (size_t)size - 1);
    ck_assert_int_eq(reply.status, 403);
    case_reply_finish(&reply);
    reply = case_post(port, "/logout", lines, body, (size_t)size);
    ck_assert_int_eq(reply.status, 303);
    case_reply_finish(&reply);
    case_status(port, "GET", "/", header, 401);

    enter("anna", ANNA, header, csrf);
    with(lines, header, "X-Creel-CSRF: ", csrf);
    case_status(port, "POST", "/logout", lines, 303);
    case_status(port, "GET", "/", header, 401);
}
END_TEST

START_TEST(a_viewer_looks) {
    char header[256], csrf[128], lines[512];
    enter("vera", VERA, header, csrf);
    case_status(port, "GET", "/api/v1/frames", header, 200);
    with(lines, header, "X-Creel-CSRF: ", csrf);
    case_status(port, "POST", "/api/v1/nothing", lines, 403);
    case_status(port, "POST", "/api/v1/frames/@last/link", lines, 404);
    case_status(port, "POST", "/api/v1/frames/@last/link", header, 403);
    enter("anna", ANNA, header, csrf);
    with(lines, header, "X-Creel-CSRF: ", csrf);
    case_status(port, "POST", "/api/v1/nothing", lines, 404);
}
END_TEST

START_TEST(another_password_ends_the_sessions) {
    struct err err = {0};
    char anna[256], vera[256], csrf[128];
    enter("anna", ANNA, anna, csrf);
    enter("vera", VERA, vera, csrf);
    ck_assert_int_eq(webui_user_passwd(store, "anna", OTHER, &err), 0);
    ck_assert_int_eq(webui_access_reload(webui, &err), 0);
    case_status(port, "GET", "/", anna, 401);
    case_status(port, "GET", "/", vera, 200);
    enter("anna", OTHER, anna, csrf);
    ck_assert_int_eq(webui_user_drop(store, "vera", &err), 0);
    ck_assert_int_eq(webui_access_reload(webui, &err), 0);
    case_status(port, "GET", "/", vera, 401);
    case_status(port, "GET", "/", anna, 200);
}
END_TEST

START_TEST(passwords_are_braked) {
    char value[512];
    static const char *const users[] = {"anna", "vera", "anna", "vera", "nobody"};
    for (size_t i = 0; i < ARRAY_LENGTH(users); i++) {
        struct case_reply reply = log_in(users[i], "wrong wrong", "/");
        ck_assert_int_eq(reply.status, 403);
        ck_assert_ptr_null(strstr(reply.head, "Set-Cookie"));
        case_reply_finish(&reply);
    }
    struct case_reply reply = log_in("anna", ANNA, "/");
    ck_assert_int_eq(reply.status, 429);
    ck_assert_int_ge(atoi(case_header(&reply, "Retry-After", value)), 1);
    case_reply_finish(&reply);
}
END_TEST

START_TEST(what_a_user_may_be) {
    struct err err = {0};
    ck_assert_int_eq(webui_user_add(store, "anna", WEBUI_ADMIN, ANNA, &err), ERR_EXISTS);
    ck_assert_int_eq(webui_user_add(store, "Anna", WEBUI_ADMIN, ANNA, &err), ERR_INVALID);
    ck_assert_int_eq(webui_user_add(store, "", WEBUI_ADMIN, ANNA, &err), ERR_INVALID);
    ck_assert_int_eq(webui_user_add(store, "creel", WEBUI_ADMIN, ANNA, &err), ERR_INVALID);
    ck_assert_int_eq(webui_user_add(store, "bo", WEBUI_ADMIN, "short", &err), ERR_INVALID);
    ck_assert_int_eq(webui_user_passwd(store, "bo", ANNA, &err), ERR_NOT_FOUND);
    ck_assert_int_eq(webui_user_drop(store, "bo", &err), ERR_NOT_FOUND);
    json_t *users = webui_users_json(store, &err);
    char *text = json_dumps(users, JSON_COMPACT);
    ck_assert_str_eq(text, "[{\"name\":\"anna\",\"role\":\"admin\"},"
                           "{\"name\":\"vera\",\"role\":\"viewer\"}]");
    free(text);
    json_decref(users);
}
END_TEST

START_TEST(a_password_is_kept_as_scrypt) {
    struct err err = {0};
    char text[STORE_STATE_VALUE_MAX + 1];
    size_t size = 0;
    ck_assert_int_eq(webui_user_passwd(store, "anna", ANNA, &err), 0);
    ck_assert_int_eq(store_state_get(store, "user", "anna", 4, text, sizeof(text) - 1, &size, &err),
                     0);
    text[size] = '\0';
    ck_assert_ptr_nonnull(strstr(text, "scrypt"));
    ck_assert_ptr_null(strstr(text, ANNA));
    /* RFC 7914, section 12: the third vector's first 32 bytes. */
    struct frame_hash hash;
    char hex[HASH_HEX_SIZE];
    ck_assert(hash_scrypt("pleaseletmein", "SodiumChloride", 14, 14, 8, 1, &hash));
    ck_assert_str_eq(hash_hex(hash.bytes, 32, hex),
                     "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2");
    ck_assert(!hash_scrypt("pleaseletmein", "SodiumChloride", 14, 0, 8, 1, &hash));
}
END_TEST

START_TEST(off_loopback_it_wants_a_user) {
    struct err err = {0};
    webui_stop(webui);
    webui = NULL;
    ck_assert_int_eq(try_start("0.0.0.0:0"), 0);
    webui_stop(webui);
    webui = NULL;
    ck_assert_int_eq(webui_user_drop(store, "anna", &err), 0);
    ck_assert_int_eq(webui_user_drop(store, "vera", &err), 0);
    ck_assert_int_eq(try_start("0.0.0.0:0"), ERR_CONFIG);
    ck_assert_int_eq(try_start("127.0.0.1:0"), 0);
    webui_ports(webui, &port, &ingest);
    case_status(port, "GET", "/", "", 200); /* on loopback nobody needs one */
}
END_TEST

/* ---- machines ---- */

static void bearer(char out[128], const char *name, const char *scope) {
    char token[WEBUI_TOKEN_SIZE];
    struct err err = {0};
    unsigned scopes = 0;
    ck_assert(webui_scopes_parse(scope, &scopes));
    ck_assert_msg(webui_token_add(store, name, scopes, 1, token, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(webui_access_reload(webui, &err), 0);
    snprintf(out, 128, "Authorization: Bearer %s\r\n", token);
}

START_TEST(tokens_have_scopes) {
    struct err err = {0};
    char reader[128], writer[128], pusher[128], forged[128], text[WEBUI_TOKEN_SIZE];
    static const char record[] = "{\"name\":\"old\",\"scopes\":7,\"expires\":1}";
    struct frame_hash old;
    bearer(reader, "reader", "read");
    bearer(writer, "writer", "read,write");
    bearer(pusher, "pusher", "ingest");
    case_status(port, "GET", "/api/v1/frames", reader, 200);
    case_status(port, "POST", "/api/v1/nothing", reader, 403);
    case_status(port, "POST", "/api/v1/nothing", writer, 404);
    case_status(port, "GET", "/api/v1/frames", pusher, 403);
    case_status(ingest, "POST", "/score", reader, 403);
    snprintf(forged, sizeof(forged), "%s", reader);
    forged[40] = forged[40] == 'A' ? 'B' : 'A';
    case_status(port, "GET", "/api/v1/frames", forged, 401);
    case_status(port, "GET", "/api/v1/frames", "Authorization: Bearer \r\n", 401);

    hash_sha256("expired", 7, &old);
    ck_assert_int_eq(
        store_state_put(store, "token", old.bytes, 32, record, sizeof(record) - 1, &err), 0);
    ck_assert_int_eq(webui_token_drop(store, "reader", &err), 0);
    ck_assert_int_eq(webui_token_drop(store, "reader", &err), ERR_NOT_FOUND);
    ck_assert_int_eq(webui_access_reload(webui, &err), 0);
    case_status(port, "GET", "/api/v1/frames", reader, 401);
    case_status(port, "GET", "/api/v1/frames", "Authorization: Bearer expired\r\n", 401);
    ck_assert_int_eq(webui_token_add(store, "writer", WEBUI_READ, 0, text, &err), ERR_EXISTS);
    unsigned scopes = 0;
    ck_assert(!webui_scopes_parse("", &scopes) && !webui_scopes_parse("read,", &scopes) &&
              !webui_scopes_parse("all", &scopes));
}
END_TEST

/* ---- the tables alone ---- */

START_TEST(the_brake_is_fair) {
    struct webui__access *access = calloc(1, sizeof(*access));
    int64_t now = INT64_C(1000000000);
    int wait_s = 0;
    webui__access_init(access);
    memset(access->key, 7, sizeof(access->key));
    for (int i = 0; i < 5; i++) {
        ck_assert(webui__try_allowed(access, "\1\2\3\4", 4, now, &wait_s));
    }
    ck_assert(!webui__try_allowed(access, "\1\2\3\4", 4, now, &wait_s));
    ck_assert_int_eq(wait_s, 10);
    ck_assert(webui__try_allowed(access, "\1\2\3\5", 4, now, &wait_s)); /* another address */
    ck_assert(!webui__try_allowed(access, "\1\2\3\4", 4, now + 9000000, &wait_s));
    ck_assert(webui__try_allowed(access, "\1\2\3\4", 4, now + 10000000, &wait_s));
    ck_assert(!webui__try_allowed(access, "\1\2\3\4", 4, now + 10000000, &wait_s));
    webui__try_forgive(access, "\1\2\3\4", 4);
    ck_assert(webui__try_allowed(access, "\1\2\3\4", 4, now + 10000000, &wait_s));
    unsigned allowed = 0;
    for (uint32_t address = 0; address < 10000; address++) { /* a whole network at once */
        allowed += webui__try_allowed(access, &address, 4, now + 60000000, &wait_s);
    }
    ck_assert_uint_eq(allowed, 20);
    webui__access_finish(access);
    free(access);
}
END_TEST

START_TEST(sessions_are_bounded) {
    struct webui__access *access = calloc(1, sizeof(*access));
    char first[WEBUI__SECRET_SIZE], other[WEBUI__SECRET_SIZE];
    struct webui__who who;
    int64_t hour = INT64_C(3600000000), now = hour;
    webui__access_init(access);
    webui__session_begin(access, "creel", WEBUI_ADMIN, NULL, now, first);
    ck_assert(webui__session_find(access, first, now + 11 * hour, &who));
    ck_assert(webui__session_find(access, first, now + 22 * hour, &who));
    ck_assert(!webui__session_find(access, first, now + 35 * hour, &who)); /* idle for too long */
    now = 100 * hour;
    webui__session_begin(access, "creel", WEBUI_ADMIN, NULL, now, first);
    for (int64_t h = 1; h < 168; h++) {
        ck_assert(webui__session_find(access, first, now + h * hour, &who));
    }
    ck_assert(!webui__session_find(access, first, now + 168 * hour, &who)); /* for a week at most */
    now = 400 * hour;
    webui__session_begin(access, "creel", WEBUI_ADMIN, NULL, now, first);
    for (int64_t i = 1; i <= WEBUI__SESSIONS_MAX; i++) {
        webui__session_begin(access, "creel", WEBUI_VIEWER, NULL, now + i, other);
    }
    ck_assert(!webui__session_find(access, first, now, &who));
    ck_assert(webui__session_find(access, other, now, &who));
    ck_assert_uint_eq(who.scopes, WEBUI_READ);
    webui__access_finish(access);
    free(access);
}
END_TEST

START_TEST(forms) {
    static const struct {
        const char *body, *name, *value; /* NULL: not there */
    } cases[] = {
        {"a=b", "a", "b"},
        {"a=b&c=d", "c", "d"},
        {"a=1+2%26%3D", "a", "1 2&="},
        {"a=", "a", ""},
        {"ab=1", "a", NULL},
        {"", "a", NULL},
        {"a", "a", NULL},
        {"a=%", "a", NULL},
        {"a=%4", "a", NULL},
        {"a=%zz", "a", NULL},
        {"a=%00", "a", NULL},
        {"&&a=1&", "a", "1"},
        {"a=1&a=2", "a", "1"},
        {"b=a=1", "a", NULL},
        {"a=12345678", "a", NULL},
        {"a=1234567", "a", "1234567"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char out[8], *body = strdup(cases[i].body); /* on the heap, so that a read beyond is seen */
        bool found = webui__form_get(body, strlen(body), cases[i].name, out, sizeof(out));
        ck_assert_msg(found == (cases[i].value != NULL), "%s", cases[i].body);
        ck_assert_str_eq(out, found ? cases[i].value : "");
        free(body);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui_auth");
    TCase *server = tcase_create("server"), *tables = tcase_create("tables");
    tcase_add_checked_fixture(server, start, stop);
    tcase_set_timeout(server, 60);
    tcase_add_test(server, nobody_comes_in_without_a_login);
    tcase_add_test(server, a_login_is_a_cookie);
    tcase_add_test(server, where_a_login_leads);
    tcase_add_test(server, a_login_keeps_the_filters);
    tcase_add_test(server, a_change_needs_its_token);
    tcase_add_test(server, a_viewer_looks);
    tcase_add_test(server, another_password_ends_the_sessions);
    tcase_add_test(server, passwords_are_braked);
    tcase_add_test(server, what_a_user_may_be);
    tcase_add_test(server, a_password_is_kept_as_scrypt);
    tcase_add_test(server, off_loopback_it_wants_a_user);
    tcase_add_test(server, tokens_have_scopes);
    suite_add_tcase(suite, server);
    tcase_add_test(tables, the_brake_is_fair);
    tcase_add_test(tables, sessions_are_bounded);
    tcase_add_test(tables, forms);
    suite_add_tcase(suite, tables);
    return case_run(suite);
}
