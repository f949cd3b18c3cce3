/* Removals at the remotes as the gallery's server takes them: answered at once, done on a thread of
 * their own, told frame by frame; bounded, and not in the way of anybody else. */
#include "tests/unit/webui_case.h"
#include <jansson.h>
#include <pthread.h>

#define JSON_HEADER "Content-Type: application/json\r\n"

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: the network does not answer */
static size_t calls, most;
static int refuse;

/* Every third frame fails; `refuse`: nothing is done at all. */
static int removal(void *ctx, const struct frame_id *ids, size_t count, bool force,
                   webui_removed_fn *each, void *each_ctx, struct err *err) {
    (void)ctx;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    calls++;
    most = count > most ? count : most;
    if (refuse) {
        return err_set(err, ERR_DENIED, "the credential lacks s3:DeleteObject");
    }
    for (size_t i = 0; i < count; i++) {
        struct err why = {0};
        if (i % 3 == 2 && !force) {
            err_set(&why, ERR_REFUSED, "frame %zu is pinned", i);
        }
        each(each_ctx, &ids[i], &why);
    }
    return 0;
}

static const struct webui_hooks hooks = {.remove_everywhere = removal};
static const struct webui_hooks none = {0};

static void begin(const struct webui_hooks *which) {
    struct err err = {0};
    uint16_t ingest = 0;
    calls = most = 0;
    refuse = 0;
    store = case_store_open(dir);
    struct webui_config config = {.listen = "127.0.0.1:0"};
    ck_assert_msg(webui_start(&config, store, which, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &ingest);
}

static void setup(void) {
    begin(&hooks);
}

static void teardown(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static json_t *order(unsigned count, const char *more, int status) {
    char body[8192], id[HASH_ID_SIZE];
    size_t size = (size_t)snprintf(body, sizeof(body), "{\"frames\":[");
    for (unsigned i = 0; i < count; i++) {
        struct frame_id frame;
        frame_id_create(CASE_TIME_US + i, &frame);
        size += (size_t)snprintf(body + size, sizeof(body) - size, "%s\"%s\"", i ? "," : "",
                                 frame_id_format(&frame, id));
    }
    size += (size_t)snprintf(body + size, sizeof(body) - size, "]%s}", more);
    struct case_reply reply = case_post(port, "/api/v1/removals", JSON_HEADER, body, size);
    ck_assert_msg(reply.status == status, "%d instead of %d: %s", reply.status, status, reply.raw);
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    case_reply_finish(&reply);
    ck_assert_ptr_nonnull(json);
    return json;
}

/* Asks until it is in that state. */
static json_t *look(const json_t *order, const char *state) {
    char target[64];
    snprintf(target, sizeof(target), "/api/v1/removals/%s",
             json_string_value(json_object_get(order, "id")));
    for (int i = 0; i < 500; i++) {
        struct case_reply reply = case_get(port, target);
        ck_assert_msg(reply.status == 200, "%s", reply.raw);
        json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
        case_reply_finish(&reply);
        if (strcmp(json_string_value(json_object_get(json, "state")), state) == 0) {
            return json;
        }
        json_decref(json);
        clock_sleep_ms(10);
    }
    ck_abort_msg("never in the state %s", state);
    return NULL;
}

static json_int_t number(const json_t *json, const char *key) {
    return json_integer_value(json_object_get(json, key));
}

START_TEST(each_frame_is_told) {
    json_t *made = order(47, "", 202), *end = look(made, "done");
    const json_t *failed = json_object_get(end, "failed");
    ck_assert_int_eq(number(end, "frames"), 47);
    ck_assert_int_eq(number(end, "done"), 33);
    ck_assert_uint_eq(json_array_size(failed), 14);
    ck_assert_int_eq(number(json_array_get(failed, 0), "status"), 409);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(failed, 0), "detail")),
                     "frame 2 is pinned");
    ck_assert_uint_eq(calls, 3);
    ck_assert_uint_eq(most, 20);
    json_decref(made);
    json_decref(end);
    made = order(47, ",\"force\":true", 202);
    end = look(made, "done");
    ck_assert_int_eq(number(end, "done"), 47);
    json_decref(made);
    json_decref(end);
}
END_TEST

START_TEST(a_missing_right_is_named) {
    refuse = 1;
    json_t *made = order(2, "", 202), *end = look(made, "done");
    const json_t *one = json_array_get(json_object_get(end, "failed"), 1);
    ck_assert_int_eq(number(end, "done"), 0);
    ck_assert_int_eq(number(one, "status"), 403);
    ck_assert_ptr_nonnull(
        strstr(json_string_value(json_object_get(one, "detail")), "s3:DeleteObject"));
    json_decref(made);
    json_decref(end);
}
END_TEST

START_TEST(a_slow_remote_holds_nobody_up) {
    json_t *made[9], *busy;
    pthread_mutex_lock(&gate);
    for (size_t i = 0; i < 8; i++) {
        made[i] = order(1, "", 202);
    }
    json_t *runs = look(made[0], "runs");
    busy = order(1, "", 503);
    case_status(port, "GET", "/", "", 200);
    pthread_mutex_unlock(&gate);
    json_decref(busy);
    json_decref(runs);
    for (size_t i = 0; i < 8; i++) {
        json_decref(look(made[i], "done"));
    }
    /* The one that was done first is forgotten for a new one. */
    made[8] = order(1, "", 202);
    json_decref(look(made[8], "done"));
    char target[64];
    snprintf(target, sizeof(target), "/api/v1/removals/%s",
             json_string_value(json_object_get(made[0], "id")));
    case_status(port, "GET", target, "", 404);
    for (size_t i = 0; i < 9; i++) {
        json_decref(made[i]);
    }
}
END_TEST

START_TEST(bad_orders) {
    static const char *const bodies[] = {
        "", "{}", "[]", "{\"frames\":[]}", "{\"frames\":[\"x\"]}", "{\"frames\":[7]}"};
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++) {
        struct case_reply reply =
            case_post(port, "/api/v1/removals", JSON_HEADER, bodies[i], strlen(bodies[i]));
        ck_assert_msg(reply.status == 400, "%s: %s", bodies[i], reply.raw);
        case_reply_finish(&reply);
    }
    json_decref(order(101, "", 400));
    struct case_reply form = case_post(port, "/api/v1/removals", "", "frames=", 7);
    ck_assert_int_eq(form.status, 415);
    case_reply_finish(&form);
    case_status(port, "GET", "/api/v1/removals/0011223344556677", "", 404);
    ck_assert_uint_eq(calls, 0);
    teardown();
    begin(&none);
    json_decref(order(1, "", 404));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui_removal");
    TCase *tcase = tcase_create("removals");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, each_frame_is_told);
    tcase_add_test(tcase, a_missing_right_is_named);
    tcase_add_test(tcase, a_slow_remote_holds_nobody_up);
    tcase_add_test(tcase, bad_orders);
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
