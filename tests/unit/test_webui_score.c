/* POST /score over real sockets, against a pipeline that is told what to do: verdicts that come at
 * once, later, never, or after the caller has gone.
 */
#include "tests/unit/webui_case.h"
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#define JPEG     "Content-Type: image/jpeg\r\n"
#define BODY_MAX (1u << 20)

static const uint8_t picture[2000] = {0xff, 0xd8, 0xff, 0xe0, 1, 2, 3};
static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0};

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;

/* ---- the pipeline that does as it is told ---- */

enum behaviour { AT_ONCE, ON_A_THREAD, REFUSE, HOLD };

static struct {
    pthread_mutex_t lock;
    _Atomic enum behaviour behaviour;
    atomic_int code; /* of the verdict, or of the refusal */
    const char *_Atomic reason;
    atomic_bool nothing; /* found */
    atomic_bool stored, kept;
    atomic_int delay_ms;
    /* what it saw */
    atomic_uint frames;
    char camera[64];        /* under the lock */
    struct webui_push push; /* likewise; the pointers in it are stale */
    atomic_size_t size;
    atomic_bool wait_stored, same_bytes;
    /* under the lock; HOLD: verdicts that are owed */
    webui_reply_fn *held[64];
    void *held_ctx[64];
    size_t held_count;
} pipeline = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct verdict {
    webui_reply_fn *reply;
    void *ctx;
};

static void give(webui_reply_fn *reply, void *ctx) {
    struct frame_detection found[] = {
        {{0.1, 0.2, 0.3, 0.4}, 0.9f, 0, false, "car"},
        {{0.7, 0.7, 0.9, 0.9}, 0.4f, 1, false, "dog"},
        {{0.1, 0.1, 0.1, 0.1}, 0.1f, 1, false, "dog"},
    };
    struct webui_reply answer = {
        .code = pipeline.code, .stored = pipeline.stored, .kept = pipeline.kept};
    if (pipeline.code) {
        err_set(&answer.err, pipeline.code, "%s", pipeline.reason);
    }
    answer.record.detections = found;
    answer.picture = picture;
    answer.picture_bytes = sizeof(picture);
    answer.record.detection_count = pipeline.nothing ? 0 : ARRAY_LENGTH(found);
    memset(answer.record.id.bytes, 0x11, sizeof(answer.record.id.bytes));
    reply(ctx, &answer);
    memset(found, 0x5a, sizeof(found)); /* valid during the call only */
}

static void *give_later(void *arg) {
    struct verdict *verdict = arg;
    clock_sleep_ms(pipeline.delay_ms);
    give(verdict->reply, verdict->ctx);
    free(verdict);
    return NULL;
}

static int submit(void *ctx, const struct webui_push *push, struct err *err) {
    (void)ctx;
    webui_reply_fn *reply = push->reply;
    void *reply_ctx = push->reply_ctx;
    pthread_mutex_lock(&pipeline.lock);
    pipeline.frames++;
    pipeline.size = push->size;
    pipeline.wait_stored = push->wait_stored;
    pipeline.same_bytes =
        push->size == sizeof(picture) && memcmp(push->bytes, picture, push->size) == 0;
    snprintf(pipeline.camera, sizeof(pipeline.camera), "%s", push->camera);
    pipeline.push = *push;
    enum behaviour behaviour = pipeline.behaviour;
    if (behaviour == HOLD) {
        ck_assert_uint_lt(pipeline.held_count, ARRAY_LENGTH(pipeline.held));
        pipeline.held[pipeline.held_count] = reply;
        pipeline.held_ctx[pipeline.held_count++] = reply_ctx;
    }
    pthread_mutex_unlock(&pipeline.lock);
    free(push->bytes);
    if (behaviour == REFUSE) {
        return err_set(err, pipeline.code, "%s", pipeline.reason);
    }
    if (behaviour == AT_ONCE) {
        give(reply, reply_ctx);
    } else if (behaviour == ON_A_THREAD) {
        struct verdict *verdict = malloc(sizeof(*verdict));
        *verdict = (struct verdict){reply, reply_ctx};
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, give_later, verdict), 0);
        pthread_detach(thread);
    }
    return 0;
}

static void give_held(void) {
    pthread_mutex_lock(&pipeline.lock);
    for (size_t i = 0; i < pipeline.held_count; i++) {
        give(pipeline.held[i], pipeline.held_ctx[i]);
    }
    pipeline.held_count = 0;
    pthread_mutex_unlock(&pipeline.lock);
}

static void expect_camera(const char *name) {
    pthread_mutex_lock(&pipeline.lock);
    ck_assert_str_eq(pipeline.camera, name);
    pthread_mutex_unlock(&pipeline.lock);
}

static size_t held(void) {
    pthread_mutex_lock(&pipeline.lock);
    size_t count = pipeline.held_count;
    pthread_mutex_unlock(&pipeline.lock);
    return count;
}

/* ---- fixture ---- */

/* ---- the one who draws ---- */

static struct {
    atomic_int delay_ms, code;
    atomic_uint drawn;
    atomic_size_t count;
} painter;

static int draw(void *ctx, const uint8_t *bytes, size_t size,
                const struct frame_detection *detections, size_t count, uint8_t **out,
                size_t *out_size, struct err *err) {
    (void)ctx;
    ck_assert_uint_eq(size, sizeof(picture));
    ck_assert_mem_eq(bytes, picture, size);
    ck_assert(count == 0 || strcmp(detections[0].label, "car") == 0);
    clock_sleep_ms(painter.delay_ms);
    painter.count = count;
    painter.drawn++;
    if (painter.code) {
        return err_set(err, painter.code, "it cannot be drawn on");
    }
    *out = (uint8_t *)strdup("drawn");
    *out_size = 5;
    return 0;
}

static const struct webui_hooks hooks = {.submit_frame = submit, .draw = draw};

static void start_as(const char *token, uint32_t body_max, int timeout_s) {
    struct err err = {0};
    uint16_t none = 0;
    store = case_store_open(dir);
    struct webui_config config = {.ingest_listen = "127.0.0.1:0",
                                  .ingest_token = token,
                                  .body_max_bytes = body_max,
                                  .request_timeout_s = timeout_s};
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &none, &port);
}

static void start_with(const char *token) {
    start_as(token, BODY_MAX, 1);
}

static void start(void) {
    start_with(NULL);
}

static void stop(void) {
    webui_stop(webui);
    webui = NULL;
    give_held(); /* nobody is there any more: must touch nothing */
    store_close(store);
    case_remove(dir);
}

static struct case_reply score(const char *query, const char *headers) {
    char target[400];
    snprintf(target, sizeof(target), "/score%s", query);
    return case_post(port, target, headers, picture, sizeof(picture));
}

static void expect(const char *query, const char *headers, const void *body, size_t size,
                   int status, const char *says) {
    char target[400], type[512];
    snprintf(target, sizeof(target), "/score%s", query);
    struct case_reply reply = case_post(port, target, headers, body, size);
    ck_assert_msg(reply.status == status, "%s: %d\n%s", query, reply.status, reply.raw);
    ck_assert_msg(strstr(reply.body, says) != NULL, "%s", reply.body);
    if (status >= 400) {
        ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/problem+json");
    }
    case_reply_finish(&reply);
}

static size_t count(const char *query) {
    struct case_reply reply = score(query, JPEG);
    size_t found = 0;
    if (reply.status != 204) {
        ck_assert_msg(reply.status == 200, "%s", reply.raw);
        json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
        found = json_array_size(json_object_get(json, "inferences"));
        ck_assert_uint_gt(found, 0);
        json_decref(json);
    } else {
        ck_assert_uint_eq(reply.body_size, 0);
    }
    case_reply_finish(&reply);
    return found;
}

/* ---- the answers ---- */

START_TEST(found) {
    char type[512];
    for (int round = 0; round < 2; round++) {
        pipeline.behaviour = round ? ON_A_THREAD : AT_ONCE;
        pipeline.delay_ms = 30;
        struct case_reply reply = score("", JPEG);
        ck_assert_int_eq(reply.status, 200);
        ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/json");
        ck_assert_str_eq(case_header(&reply, "creel-frame", type), "");
        static const char expected[] =
            "{\"inferences\":["
            "{\"type\":\"entity\",\"entity\":{\"tag\":{\"value\":\"car\",\"confidence\":0.9},"
            "\"box\":{\"l\":0.1,\"t\":0.2,\"w\":0.3,\"h\":0.4}}},"
            "{\"type\":\"entity\",\"entity\":{\"tag\":{\"value\":\"dog\",\"confidence\":0.4},"
            "\"box\":{\"l\":0.7,\"t\":0.7,\"w\":0.3,\"h\":0.3}}}]}";
        ck_assert_uint_eq(reply.body_size, strlen(expected));
        ck_assert_str_eq(reply.body, expected);
        case_reply_finish(&reply);
        ck_assert(pipeline.same_bytes);
        expect_camera("http");
    }
}
END_TEST

START_TEST(parameters) {
    ck_assert_uint_eq(count("?confidence=0"), 3);
    ck_assert_uint_eq(count("?confidence=0.5"), 1);
    ck_assert_uint_eq(count("?confidence=0.9"), 1);
    ck_assert_uint_eq(count("?confidence=0.95"), 0);
    ck_assert_uint_eq(count("?object=dog"), 1);
    ck_assert_uint_eq(count("?object=bird"), 0);
    ck_assert_uint_eq(count("?object=bird,CAR&confidence=0.1"), 1);
    ck_assert_uint_eq(count("?stream=dock-2&unknown=1"), 2);
    expect_camera("dock-2");
    unsigned before = pipeline.frames;
    expect("?confidence=2", JPEG, picture, sizeof(picture), 400, "confidence=");
    expect("?confidence=high", JPEG, picture, sizeof(picture), 400, "confidence=");
    expect("?stream=../etc", JPEG, picture, sizeof(picture), 400, "stream=");
    expect("?wait=forever", JPEG, picture, sizeof(picture), 400, "wait=");
    ck_assert_uint_eq(pipeline.frames, before);
    pipeline.nothing = true;
    ck_assert_uint_eq(count(""), 0);
}
END_TEST

START_TEST(bodies) {
    uint8_t *large = calloc(1, BODY_MAX + 1);
    memcpy(large, picture, sizeof(picture));
    expect("", JPEG, large, BODY_MAX, 200, "car");
    unsigned before = pipeline.frames;
    expect("", JPEG, large, BODY_MAX + 1, 413, "at most 1048576 are taken here (ingest.body_max");
    expect("", JPEG, "", 0, 400, "empty");
    expect("", JPEG, "GIF89a....", 10, 400, "does not begin like");
    expect("", "Content-Type: image/gif\r\n", picture, sizeof(picture), 415, "image/png");
    expect("", "Content-Type: application/x-www-form-urlencoded\r\n", picture, sizeof(picture), 415,
           "image/jpeg");
    expect("", "", "text", 4, 415, "no JPEG, PNG or BMP");
    ck_assert_uint_eq(pipeline.frames, before);
    expect("", "", picture, sizeof(picture), 200, "car");
    expect("", "Content-Type: application/octet-stream\r\n", png, sizeof(png), 200, "car");
    expect("", "Content-Type: IMAGE/PNG; q=1\r\n", png, sizeof(png), 200, "car");
    free(large);
    case_status(port, "GET", "/score", "", 405);
    case_status(port, "GET", "/", "", 200);
    case_status(port, "GET", "/frames/@last", "", 404);
}
END_TEST

/* Raw pixels go on with what the address says of them. */
START_TEST(raw_pixels) {
    static const char raw[] = "Content-Type: image/x-raw\r\n";
    const char *size = "?pixelFormat=yuv420p&width=40&height=33";
    expect(size, raw, picture, sizeof(picture), 200, "car");
    ck_assert_int_eq(pipeline.push.pixels, WEBUI_YUV420P);
    ck_assert_uint_eq(pipeline.push.width, 40);
    ck_assert_uint_eq(pipeline.push.height, 33);
    ck_assert(!pipeline.push.full_range);
    ck_assert(pipeline.same_bytes);
    expect("?pixelFormat=bgr24&width=4&height=4&range=full&stream=raw", raw, "GIF", 3, 200, "car");
    ck_assert_int_eq(pipeline.push.pixels, WEBUI_BGR24);
    ck_assert(pipeline.push.full_range);
    expect("", JPEG, picture, sizeof(picture), 200, "car");
    ck_assert_int_eq(pipeline.push.pixels, WEBUI_FILE);
    unsigned before = pipeline.frames;
    expect("", raw, picture, sizeof(picture), 400, "pixelFormat=");
    expect("?pixelFormat=argb&width=4&height=4", raw, picture, sizeof(picture), 400, "yuv420p");
    ck_assert_uint_eq(pipeline.frames, before);
}
END_TEST

/* Bodies whose size is not what was announced. None becomes a frame of other bytes than were meant,
 * and none does harm to the next request. */
START_TEST(lengths) {
    static const struct {
        const char *headers, *body;
        int status; /* 0: whatever, but no success */
        unsigned frames;
    } cases[] = {
        {"Content-Length: -1\r\n", "\xff\xd8\xff\xe0", 400, 0},
        {"Content-Length: 4x\r\n", "\xff\xd8\xff\xe0", 400, 0},
        {"Content-Length: 99999999999999999999999\r\n", "\xff\xd8\xff\xe0", 0, 0},
        {"Content-Length: 4294967300\r\n", "\xff\xd8\xff\xe0", 413, 0},
        {"Content-Length: 4\r\n", "\xff\xd8\xff\xe0 and more than was announced", 200, 1},
        {"Transfer-Encoding: chunked\r\n", "zz\r\n", 400, 0},
        {"Transfer-Encoding: chunked\r\n", "4\r\n\xff\xd8\xff\xe0xxxx\r\n0\r\n\r\n", 400, 0},
        {"Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n\xff\xd8\xff", 0, 0},
        {"Transfer-Encoding: gzip\r\n", "4\r\n\xff\xd8\xff\xe0\r\n0\r\n\r\n", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[400];
        unsigned before = pipeline.frames;
        snprintf(text, sizeof(text),
                 "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG "%s\r\n%s",
                 cases[i].headers, cases[i].body);
        struct case_reply reply = case_exchange(port, text, strlen(text));
        ck_assert_msg(cases[i].status ? reply.status == cases[i].status : reply.status != 200,
                      "%zu: %s%s", i, cases[i].headers, reply.raw);
        ck_assert_msg(pipeline.frames == before + cases[i].frames, "%zu: %s", i, cases[i].headers);
        case_reply_finish(&reply);
    }
    ck_assert_uint_eq(pipeline.size, 4);
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

/* Bodies that are announced and do not come keep nobody out. */
START_TEST(only_announced) {
    static const char begun[] = "POST /score HTTP/1.1\r\nHost: localhost\r\n" JPEG
                                "Transfer-Encoding: chunked\r\n\r\n3\r\n\xff\xd8\xff\r\n";
    int fds[300]; /* BODY_MAX each would be more than WEBUI__BODIES_MAX */
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], begun, sizeof(begun) - 1);
    }
    ck_assert_uint_eq(count(""), 2);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

/* Those that do come share a bound: of eight that need a quarter of it each, some are told to come
 * again. When they are gone, there is room again. */
START_TEST(bodies_together) {
    enum { PIECE = 33 << 20, COUNT = 8 }; /* a buffer of 64 MiB each */
    char begun[200];
    char *piece = calloc(1, PIECE);
    int fds[COUNT];
    unsigned taken = 0, refused = 0;
    stop();
    start_as(NULL, 64u << 20, 20);
    int size = snprintf(begun, sizeof(begun),
                        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
                        "Content-Length: %d\r\n\r\n",
                        PIECE + 4);
    memcpy(piece, picture, 4);
    for (size_t i = 0; i < COUNT; i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], begun, (size_t)size);
        case_send(fds[i], piece, PIECE);
    }
    for (size_t i = 0; i < COUNT; i++) {
        case_send(fds[i], "last", 4);
        struct case_reply reply = case_receive(fds[i]);
        taken += reply.status == 200;
        refused += reply.status == 503 && strstr(reply.body, "too many bodies");
        case_reply_finish(&reply);
        close(fds[i]);
    }
    free(piece);
    ck_assert_uint_ge(taken, 1);
    ck_assert_uint_ge(refused, 1);
    ck_assert_uint_eq(taken + refused, COUNT);
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

/* What is wrong with the request line and the headers is said before a body is asked for, and a
 * body that comes all the same is not kept. */
START_TEST(refused_early) {
    static const char ask[] = "POST /score?confidence=2 HTTP/1.1\r\nHost: localhost\r\n" JPEG
                              "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n";
    int fd = case_connect(port);
    char text[64] = "";
    case_send(fd, ask, sizeof(ask) - 1);
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 12);
    ck_assert_int_eq(strncmp(text, "HTTP/1.1 400", 12), 0);
    close(fd);
    expect("?confidence=2", JPEG, picture, sizeof(picture), 400, "confidence=");
    expect("?confidence=2", "Content-Type: image/gif\r\n", picture, 0, 400, "confidence=");
    ck_assert_uint_eq(pipeline.frames, 0);
}
END_TEST

/* Chunks, one of which goes over the limit; and a client that asks first. */
START_TEST(framing) {
    static const char chunked[] =
        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
        "Transfer-Encoding: chunked\r\n\r\n"
        "4\r\n\xff\xd8\xff\xe0\r\n6\r\nabcdef\r\n0\r\n\r\n";
    struct case_reply reply = case_exchange(port, chunked, sizeof(chunked) - 1);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_uint_eq(pipeline.size, 10);
    case_reply_finish(&reply);

    static const char ask[] = "POST /score HTTP/1.1\r\nHost: localhost\r\n" JPEG
                              "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    int fd = case_connect(port);
    case_send(fd, ask, sizeof(ask) - 1);
    char text[64] = "";
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 12);
    ck_assert_int_eq(strncmp(text, "HTTP/1.1 413", 12), 0);
    close(fd);

    fd = case_connect(port);
    static const char over[] =
        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
        "Transfer-Encoding: chunked\r\n\r\n110000\r\n\xff\xd8\xff";
    case_send(fd, over, sizeof(over) - 1);
    char *rest = calloc(1, 0x110000);
    memcpy(rest + 0x110000 - 3, "\r\n0", 3);
    case_send(fd, rest, 0x110000 - 3);
    case_send(fd, "\r\n0\r\n\r\n", 7);
    free(rest);
    reply = case_receive(fd);
    close(fd);
    ck_assert_int_eq(reply.status, 413);
    case_reply_finish(&reply);
}
END_TEST

START_TEST(refusals) {
    char after[512];
    static const struct {
        int code, status;
    } cases[] = {{ERR_FULL, 503},  {ERR_CLOSED, 503},  {ERR_TIMEOUT, 503},
                 {ERR_BUSY, 503},  {ERR_INVALID, 400}, {ERR_CRASHED, 500},
                 {ERR_NOMEM, 500}, {ERR_REFUSED, 409}, {ERR_NOT_FOUND, 500}};
    pipeline.reason = "because of \"it\"";
    for (size_t i = 0; i < 2 * ARRAY_LENGTH(cases); i++) {
        size_t at = i / 2;
        pipeline.behaviour = i % 2 ? REFUSE : ON_A_THREAD;
        pipeline.code = cases[at].code;
        struct case_reply reply = score("", JPEG);
        ck_assert_int_eq(reply.status, cases[at].status);
        ck_assert_ptr_nonnull(strstr(reply.body, "because of \\\"it\\\""));
        ck_assert_str_eq(case_header(&reply, "Retry-After", after),
                         cases[at].status == 503 ? "1" : "");
        case_reply_finish(&reply);
    }
}
END_TEST

START_TEST(wait_stored) {
    char id[512];
    pipeline.stored = pipeline.kept = true;
    struct case_reply reply = score("?wait=stored", JPEG);
    ck_assert_int_eq(reply.status, 200);
    ck_assert(pipeline.wait_stored);
    ck_assert_str_eq(case_header(&reply, "creel-frame", id),
                     "11111111-1111-1111-1111-111111111111");
    case_reply_finish(&reply);

    pipeline.nothing = true; /* kept although nothing was found: the id comes all the same */
    reply = score("?wait=stored", JPEG);
    ck_assert_int_eq(reply.status, 204);
    ck_assert_str_eq(case_header(&reply, "creel-frame", id),
                     "11111111-1111-1111-1111-111111111111");
    case_reply_finish(&reply);

    pipeline.nothing = pipeline.stored = pipeline.kept = false; /* not worth keeping */
    reply = score("?wait=stored", JPEG);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_str_eq(case_header(&reply, "creel-frame", id), "");
    case_reply_finish(&reply);

    pipeline.kept = true; /* wanted, and lost */
    expect("?wait=stored", JPEG, picture, sizeof(picture), 503, "not stored");
    expect("", JPEG, picture, sizeof(picture), 200,
           "car"); /* who does not wait does not hear of it */
}
END_TEST

/* ---- pictures with boxes ---- */

static struct case_reply annotate(const char *query) {
    char target[400];
    snprintf(target, sizeof(target), "/annotate%s", query);
    return case_post(port, target, JPEG, picture, sizeof(picture));
}

static void expect_annotate(const char *query, int status, const char *says) {
    struct case_reply reply = annotate(query);
    ck_assert_msg(reply.status == status, "%s: %d\n%s", query, reply.status, reply.raw);
    ck_assert_msg(strstr(reply.body, says) != NULL, "%s", reply.body);
    case_reply_finish(&reply);
}

START_TEST(annotated) {
    char type[512];
    struct case_reply reply = annotate("");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "image/jpeg");
    ck_assert_str_eq(reply.body, "drawn");
    case_reply_finish(&reply);
    ck_assert(pipeline.push.want_picture && !pipeline.push.wait_stored);
    ck_assert_uint_eq(painter.count, 2);
    expect_annotate("?confidence=0", 200, "drawn");
    ck_assert_uint_eq(painter.count, 3);
    expect_annotate("?object=car", 200, "drawn");
    ck_assert_uint_eq(painter.count, 1);
    expect_annotate("?object=bird", 200, "drawn"); /* nothing to draw: the picture all the same */
    ck_assert_uint_eq(painter.count, 0);
    expect_annotate("?wait=stored", 400, "/score and /image");
    painter.code = ERR_INVALID; /* the pipeline could look at it: not the caller's fault */
    expect_annotate("", 500, "cannot be drawn on");
    unsigned before = painter.drawn;
    pipeline.code = ERR_INVALID;
    pipeline.reason = "a bad picture";
    expect_annotate("", 400, "a bad picture");
    pipeline.code = ERR_FULL;
    pipeline.behaviour = REFUSE;
    expect_annotate("", 503, "a bad picture");
    ck_assert_uint_eq(painter.drawn, before);
    ck_assert(!pipeline.push.wait_stored);
}
END_TEST

static void *annotate_some(void *arg) {
    atomic_uint *counts = arg;
    struct case_reply reply = annotate("");
    counts[reply.status == 200 ? 0 : reply.status == 503 ? 1 : 2]++;
    case_reply_finish(&reply);
    return NULL;
}

/* Few pictures wait to be drawn on; the others are told to come again. Nobody else waits. */
START_TEST(painter_full) {
    pthread_t threads[12];
    atomic_uint counts[3] = {0, 0, 0};
    painter.delay_ms = 400;
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, annotate_some, counts), 0);
    }
    clock_sleep_ms(100);
    ck_assert_uint_eq(count(""), 2);
    ck_assert_uint_eq(painter.drawn, 0);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_ge(counts[0], 4);
    ck_assert_uint_ge(counts[1], 4);
    ck_assert_uint_eq(counts[2], 0);
    ck_assert_uint_eq(painter.drawn, counts[0]);
}
END_TEST

/* Callers that go, and a shutdown, while pictures are drawn and wait for it. */
START_TEST(painter_left) {
    char text[200];
    int size = snprintf(text, sizeof(text),
                        "POST /annotate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
                        "Content-Length: %zu\r\n\r\n",
                        sizeof(picture));
    int fds[4];
    painter.delay_ms = 1000;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], text, (size_t)size);
        case_send(fds[i], picture, sizeof(picture));
        if (i % 2) {
            close(fds[i]);
        }
    }
    for (int i = 0; pipeline.frames < ARRAY_LENGTH(fds) && i < 2000; i++) {
        clock_sleep_ms(1);
    }
    webui_stop(TAKE_PTR(webui));
    ck_assert_uint_le(painter.drawn, 1);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i += 2) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 503);
        case_reply_finish(&reply);
        close(fds[i]);
    }
    store_close(store);
    case_remove(dir);
    start_with(NULL); /* for the fixture */
}
END_TEST

/* ---- Custom Vision's callers ---- */

#define FORM "Content-Type: multipart/form-data; boundary=xyz\r\n"

static json_t *image(const char *path, const char *headers, const void *body, size_t size) {
    char type[512];
    struct case_reply reply = case_post(port, path, headers, body, size);
    ck_assert_msg(reply.status == 200, "%s: %s", path, reply.raw);
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/json");
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    ck_assert_ptr_nonnull(json);
    case_reply_finish(&reply);
    return json;
}

static size_t predictions(const char *path) {
    json_t *json = image(path, JPEG, picture, sizeof(picture));
    size_t size = json_array_size(json_object_get(json, "predictions"));
    json_decref(json);
    return size;
}

START_TEST(predicted) {
    json_t *json = image("/image", JPEG, picture, sizeof(picture));
    const char *tag = NULL, *id = NULL, *project = NULL, *iteration = NULL, *created = NULL;
    double probability = 0, left = 0, top = 0, width = 0, height = 0;
    json_t *list = json_object_get(json, "predictions");
    ck_assert_uint_eq(json_array_size(list), 3); /* all of them: the caller chooses */
    ck_assert_int_eq(json_unpack(json, "{s:s,s:s,s:s,s:s,s:o!}", "id", &id, "project", &project,
                                 "iteration", &iteration, "created", &created, "predictions",
                                 &list),
                     0);
    ck_assert_str_eq(id, "11111111-1111-1111-1111-111111111111");
    ck_assert_uint_eq(strlen(project), 36);
    ck_assert_int_eq(project[14], '8');
    ck_assert_uint_eq(strlen(iteration), 36);
    ck_assert_str_ne(project, iteration);
    ck_assert_str_eq(created, "1970-01-01T00:00:00.000Z");
    ck_assert_int_eq(json_unpack(json_array_get(list, 0), "{s:f,s:s,s:s,s:{s:f,s:f,s:f,s:f!}!}",
                                 "probability", &probability, "tagId", &id, "tagName", &tag,
                                 "boundingBox", "left", &left, "top", &top, "width", &width,
                                 "height", &height),
                     0);
    ck_assert_str_eq(tag, "car");
    ck_assert(probability == 0.9 && left == 0.1 && top == 0.2 && width == 0.3 && height == 0.4);
    /* a tag keeps its id, and shares it with no other */
    char car[64];
    const char *dogs[2] = {NULL, NULL};
    snprintf(car, sizeof(car), "%s", id);
    for (size_t i = 0; i < 2; i++) {
        json_unpack(json_array_get(list, i + 1), "{s:s}", "tagId", &dogs[i]);
    }
    ck_assert_str_eq(dogs[0], dogs[1]);
    ck_assert_str_ne(dogs[0], car);
    json_decref(json);
    ck_assert_uint_eq(predictions("/image?confidence=0.5"), 1);
    ck_assert_uint_eq(predictions("/image?object=dog"), 2);
    ck_assert_uint_eq(predictions("/image?object=bird"), 0); /* 200 with an empty list */
    ck_assert(!pipeline.push.never_keep);
}
END_TEST

START_TEST(prediction_paths) {
    static const struct {
        const char *path;
        bool whole, forgotten;
    } cases[] = {
        {"/p/image", false, false},
        {"/image/nostore", false, true},
        {"/p/image/nostore", false, true},
        {"/p/detect/iterations/n/image", false, false},
        {"/p/detect/iterations/n/image/nostore", false, true},
        {"/p/classify/iterations/n/image", true, false},
        {"/customvision/v3.0/Prediction/p/classify/iterations/n/image/nostore", true, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *json = image(cases[i].path, JPEG, picture, sizeof(picture));
        json_t *list = json_object_get(json, "predictions");
        ck_assert_uint_eq(json_array_size(list), cases[i].whole ? 2 : 3); /* once a class */
        ck_assert_int_eq(json_is_null(json_object_get(json_array_get(list, 0), "boundingBox")),
                         cases[i].whole);
        ck_assert(pipeline.push.never_keep == cases[i].forgotten);
        json_decref(json);
    }
    unsigned before = pipeline.frames;
    static const char address[] = "{\"url\": \"http://169.254.169.254/metadata\"}";
    static const char *const refused[] = {"/url", "/url/nostore", "/p/detect/iterations/n/url"};
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        struct case_reply reply = case_post(port, refused[i], "Content-Type: application/json\r\n",
                                            address, sizeof(address) - 1);
        ck_assert_int_eq(reply.status, 501);
        ck_assert_ptr_nonnull(strstr(reply.body, "send the picture's bytes to /image"));
        case_reply_finish(&reply);
    }
    case_status(port, "GET", "/image", "", 405);
    case_status(port, "POST", "/imagex", "", 404);
    ck_assert_uint_eq(pipeline.frames, before);
}
END_TEST

static size_t form(char out[3000], const char *name, const char *end) {
    int size = snprintf(out, 3000,
                        "--xyz\r\nContent-Disposition: form-data; name=\"%s\"; "
                        "filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n",
                        name);
    memcpy(out + size, picture, sizeof(picture));
    memcpy(out + size + sizeof(picture), end, strlen(end));
    return (size_t)size + sizeof(picture) + strlen(end);
}

START_TEST(forms) {
    char body[3000];
    size_t size = form(body, "imageData", "\r\n--xyz--\r\n");
    json_decref(image("/image", FORM, body, size));
    ck_assert(pipeline.same_bytes);
    unsigned before = pipeline.frames;
    static const struct {
        const char *path, *name, *end;
        int status;
        const char *says;
    } cases[] = {
        {"/image", "imageData", "\r\n--xy", 400, "cut off"},
        {"/image", "file", "\r\n--xyz--\r\n", 400, "imageData"},
        {"/score", "imageData", "\r\n--xyz--\r\n", 415, "/image takes"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size = form(body, cases[i].name, cases[i].end);
        struct case_reply reply = case_post(port, cases[i].path, FORM, body, size);
        ck_assert_int_eq(reply.status, cases[i].status);
        ck_assert_msg(strstr(reply.body, cases[i].says) != NULL, "%s", reply.body);
        case_reply_finish(&reply);
    }
    ck_assert_uint_eq(pipeline.frames, before);
}
END_TEST

/* ---- callers that go, and verdicts that come late ---- */

START_TEST(aborted) {
    static const char begun[] = "POST /score HTTP/1.1\r\nHost: localhost\r\n" JPEG
                                "Content-Length: 5000\r\n\r\n\xff\xd8\xff";
    for (int i = 0; i < 20; i++) {
        int fd = case_connect(port);
        case_send(fd, begun, sizeof(begun) - 1);
        close(fd);
    }
    int fd = case_connect(port); /* and one that stops sending, but stays */
    case_send(fd, begun, sizeof(begun) - 1);
    struct case_reply reply = case_receive(fd);
    ck_assert_int_ne(reply.status, 200);
    close(fd);
    case_reply_finish(&reply);
    ck_assert_uint_eq(pipeline.frames, 0);
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

static int begin_score(void) {
    char text[200];
    int size = snprintf(text, sizeof(text),
                        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
                        "Content-Length: %zu\r\n\r\n",
                        sizeof(picture));
    int fd = case_connect(port);
    case_send(fd, text, (size_t)size);
    case_send(fd, picture, sizeof(picture));
    return fd;
}

static void wait_held(size_t count_wanted) {
    for (int i = 0; held() < count_wanted && i < 2000; i++) {
        clock_sleep_ms(5);
    }
    ck_assert_uint_eq(held(), count_wanted);
}

START_TEST(gone) {
    pipeline.behaviour = HOLD;
    for (int i = 0; i < 20; i++) {
        close(begin_score());
    }
    wait_held(20);
    clock_sleep_ms(50);
    give_held();
    pipeline.behaviour = AT_ONCE;
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

/* Many callers wait while others are served: a wait costs no thread. */
START_TEST(patience) {
    int fds[40];
    pipeline.behaviour = HOLD;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = begin_score();
    }
    wait_held(ARRAY_LENGTH(fds));
    clock_sleep_ms(1500); /* longer than request_timeout_s: waiting is not being slow */
    case_status(port, "GET", "/", "", 200);
    give_held();
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 200);
        case_reply_finish(&reply);
        close(fds[i]);
    }
}
END_TEST

START_TEST(shutdown_answers) {
    int fds[10];
    pipeline.behaviour = HOLD;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = begin_score();
    }
    wait_held(ARRAY_LENGTH(fds));
    int64_t begin = clock_boot_us();
    webui_stop(TAKE_PTR(webui));
    ck_assert_int_lt(clock_boot_us() - begin, 2500000);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 503);
        ck_assert_ptr_nonnull(strstr(reply.body, "shutting down"));
        case_reply_finish(&reply);
        close(fds[i]);
    }
    give_held();
    store_close(store);
    case_remove(dir);
    start_with(NULL); /* for the fixture */
}
END_TEST

static void *push_some(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        if (i % 4 == 3) {
            close(begin_score());
        } else {
            ck_assert_uint_eq(count(""), 2);
        }
    }
    return NULL;
}

START_TEST(many) {
    pthread_t threads[8];
    pipeline.behaviour = ON_A_THREAD;
    pipeline.delay_ms = 3;
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, push_some, NULL), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    clock_sleep_ms(100); /* the detached verdicts */
}
END_TEST

START_TEST(token) {
    stop();
    start_with("t0ken");
    char basic[200], base64[HASH_BASE64_SIZE(64)];
    expect("", JPEG, picture, sizeof(picture), 401, "ingest.token");
    expect("", JPEG "Authorization: Bearer t0kenx\r\n", picture, sizeof(picture), 401, "");
    expect("", JPEG "Authorization: Bearer \r\n", picture, sizeof(picture), 401, "");
    ck_assert_uint_eq(pipeline.frames, 0);
    expect("", JPEG "Authorization: Bearer t0ken\r\n", picture, sizeof(picture), 200, "car");
    expect("", JPEG "Prediction-Key: t0ken\r\n", picture, sizeof(picture), 200, "car");
    expect("", JPEG "Prediction-Key: t0kenx\r\n", picture, sizeof(picture), 401, "");
    snprintf(basic, sizeof(basic), JPEG "Authorization: Basic %s\r\n",
             hash_base64("camera:t0ken", 12, base64));
    expect("", basic, picture, sizeof(picture), 200, "car");
    case_status(port, "GET", "/", "", 200);
}
END_TEST

/* A page of another site may make a browser post here; it must not get a frame in. */
START_TEST(other_sites) {
    expect("", "Origin: http://evil.example\r\n", picture, sizeof(picture), 403, "another site");
    ck_assert_uint_eq(pipeline.frames, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui score");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 90);
    tcase_add_checked_fixture(tcase, start, stop);
    TTest const *const tests[] = {only_announced,
                                  bodies_together,
                                  lengths,
                                  predicted,
                                  prediction_paths,
                                  forms,
                                  annotated,
                                  painter_full,
                                  painter_left,
                                  found,
                                  parameters,
                                  bodies,
                                  raw_pixels,
                                  refused_early,
                                  framing,
                                  refusals,
                                  wait_stored,
                                  aborted,
                                  gone,
                                  patience,
                                  shutdown_answers,
                                  many,
                                  token,
                                  other_sites};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
