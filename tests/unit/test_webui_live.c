/* The live view over real sockets: events, pictures, the bound on viewers, and that none of them
 * holds up the shutdown. */
#include "tests/unit/webui_case.h"
#include <jansson.h>
#include <stdatomic.h>

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static atomic_uint asked;
static atomic_ullong number;

static int live(void *ctx, webui_live_fn *each, void *each_ctx, struct err *err) {
    struct frame_detection found[] = {
        {.box = {0.25, 0.5, 0.5, 0.25}, .confidence = 0.9F, .class_index = 3, .label = "per<son"},
        {.box = {0, 0, 0.1, 0.1}, .confidence = 0.8F, .class_index = 1, .label = "car"},
        {.box = {0, 0, 1, 1}, .confidence = 0.1F, .class_index = 1, .label = "faint"},
    };
    const struct frame_record record = {
        .width = 100, .height = 200, .orientation = 6, .detections = found, .detection_count = 3};
    struct webui_live dock = {.camera = "dock",
                              .source = "demo:",
                              .per_second = 12.5,
                              .latency_ms = 80,
                              .seen = 7,
                              .dropped = 2,
                              .number = atomic_load(&number),
                              .record = &record};
    struct webui_live gate = {.camera = "gate", .source = "http"};
    (void)ctx;
    (void)err;
    atomic_fetch_add(&asked, 1);
    each(each_ctx, &dock);
    each(each_ctx, &gate);
    return 0;
}

static int live_picture(void *ctx, const char *camera, uint64_t wanted, uint8_t **bytes,
                        size_t *size, enum frame_media *media, struct err *err) {
    (void)ctx;
    if (strcmp(camera, "dock") != 0) {
        return err_set(err, ERR_NOT_FOUND, "there is no picture yet");
    }
    *bytes = (uint8_t *)strdup(wanted == 5 ? "five" : "other");
    *size = strlen((char *)*bytes);
    *media = MEDIA_JPEG;
    return 0;
}

static void start(void) {
    struct err err = {0};
    uint16_t none = 0;
    const struct webui_hooks hooks = {.live = live, .live_picture = live_picture};
    const struct webui_config config = {
        .listen = "127.0.0.1:0", .alerts = "dog,per<son", .request_timeout_s = 1};
    store = case_store_open(dir);
    atomic_store(&asked, 0);
    atomic_store(&number, 5);
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
}

static void stop(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static int follow(void) {
    static const char text[] = "GET /live/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    int fd = case_connect(port);
    case_send(fd, text, sizeof(text) - 1);
    return fd;
}

/* What has come until `mark` has been seen `times` times. */
static void read_until(int fd, const char *mark, unsigned times, char *out, size_t room) {
    size_t size = 0;
    for (unsigned seen = 0; seen < times;) {
        ssize_t some = recv(fd, out + size, room - 1 - size, 0);
        ck_assert_msg(some > 0, "the stream ended after: %s", out);
        size += (size_t)some;
        out[size] = '\0';
        seen = 0;
        for (const char *at = out; (at = strstr(at, mark)); at++) {
            seen++;
        }
    }
}

START_TEST(page) {
    struct case_reply reply = case_get(port, "/live");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(strstr(reply.body, "data-camera=\"dock\""));
    ck_assert_ptr_nonnull(strstr(reply.body, "/assets/live.js?v="));
    ck_assert_ptr_null(strstr(reply.body, " style="));
    case_reply_finish(&reply);
    case_status(port, "GET", "/assets/live.js", "", 200);
}
END_TEST

START_TEST(events) {
    static char text[1 << 16];
    int fd = follow();
    read_until(fd, "data: ", 1, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "Content-Type: text/event-stream"));
    char *from = strstr(text, "data: ") + 6, *end = strstr(from, "\n\n");
    ck_assert_ptr_nonnull(end);
    json_t *json = json_loadb(from, (size_t)(end - from), 0, NULL);
    json_t *dock = json_array_get(json_object_get(json, "cameras"), 0);
    json_t *look = json_object_get(dock, "look"), *found = json_object_get(look, "found");
    ck_assert_str_eq(json_string_value(json_object_get(dock, "camera")), "dock");
    ck_assert_int_eq(json_integer_value(json_object_get(dock, "dropped")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(look, "number")), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(look, "width")), 200); /* it is turned */
    ck_assert(json_is_true(json_object_get(look, "alert")));
    ck_assert_uint_eq(json_array_size(found), 2); /* one is too faint */
    ck_assert(json_is_true(json_object_get(json_array_get(found, 0), "alert")));
    ck_assert(json_is_false(json_object_get(json_array_get(found, 1), "alert")));
    const char *boxes = json_string_value(json_object_get(look, "boxes"));
    ck_assert_ptr_nonnull(strstr(boxes, "per&lt;son 90%"));
    ck_assert_ptr_null(strstr(boxes, "per<son"));
    json_t *gate = json_array_get(json_object_get(json, "cameras"), 1);
    ck_assert_ptr_null(json_object_get(gate, "look"));
    json_decref(json);

    atomic_store(&number, 6); /* a new look is said before a second is over, and said once */
    read_until(fd, "\"number\":6", 1, text, sizeof(text));
    close(fd);
}
END_TEST

static long viewers(void) {
    struct case_reply reply = case_get(port, "/metrics");
    const char *name = "\ncreel_live_viewers ";
    const char *at = strstr(reply.body, name);
    ck_assert_ptr_nonnull(at);
    long count = strtol(at + strlen(name), NULL, 10);
    case_reply_finish(&reply);
    return count;
}

/* Looks go on, so that who has gone is found out at the next ones that cannot be sent. */
static void viewers_become(long count) {
    for (int i = 0; i < 200 && viewers() != count; i++) {
        atomic_fetch_add(&number, 1);
        usleep(50000);
    }
    ck_assert_int_eq(viewers(), count);
}

/* A connection that nobody reads from costs no more; a viewer that went is not asked for. */
START_TEST(nobody_looks) {
    int fd = follow();
    static char text[1 << 16];
    read_until(fd, "data: ", 1, text, sizeof(text));
    close(fd);
    viewers_become(0);
    unsigned before = atomic_load(&asked);
    atomic_fetch_add(&number, 1);
    usleep(600000); /* two sweeps */
    ck_assert_uint_le(atomic_load(&asked), before);
}
END_TEST

START_TEST(many_viewers) {
    static char text[1 << 16];
    int fds[16];
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = follow();
        read_until(fds[i], "data: ", 1, text, sizeof(text));
    }
    case_status(port, "GET", "/live/events", "", 503);
    case_status(port, "GET", "/live", "", 200);
    close(fds[0]);
    viewers_become(15);
    fds[0] = follow();
    read_until(fds[0], "data: ", 1, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "200 OK"));
    for (size_t i = 1; i < ARRAY_LENGTH(fds); i++) { /* stop() ends the first one */
        close(fds[i]);
    }
}
END_TEST

START_TEST(pictures) {
    struct case_reply reply = case_get(port, "/live/picture/dock?n=5");
    char type[512];
    ck_assert_int_eq(reply.status, 200);
    ck_assert_str_eq(reply.body, "five");
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "image/jpeg");
    ck_assert_str_eq(case_header(&reply, "Cache-Control", type), "no-store");
    case_reply_finish(&reply);
    case_status(port, "GET", "/live/picture/dock", "", 200);
    case_status(port, "GET", "/live/picture/gate?n=5", "", 404);
    case_status(port, "GET", "/live/picture/dock?n=-5", "", 400);
    case_status(port, "GET", "/live/picture/%2e%2e?n=5", "", 400);
    case_status(port, "HEAD", "/live/events", "", 200);
    case_status(port, "POST", "/live/events", "", 405);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui live");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, page);
    tcase_add_test(tcase, events);
    tcase_add_test(tcase, nobody_looks);
    tcase_add_test(tcase, many_viewers);
    tcase_add_test(tcase, pictures);
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
