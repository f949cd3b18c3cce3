/* The ingest server over real sockets, and a pipeline behind it that is told what to do: verdicts
 * that come at once, later, never, or after the caller has gone.
 */
#ifndef CREEL_TESTS_UNIT_SCORE_CASE_H
#define CREEL_TESTS_UNIT_SCORE_CASE_H

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

static inline void give(webui_reply_fn *reply, void *ctx) {
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

static inline void *give_later(void *arg) {
    struct verdict *verdict = arg;
    clock_sleep_ms(pipeline.delay_ms);
    give(verdict->reply, verdict->ctx);
    free(verdict);
    return NULL;
}

static inline int submit(void *ctx, const struct webui_push *push, struct err *err) {
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

static inline void give_held(void) {
    pthread_mutex_lock(&pipeline.lock);
    for (size_t i = 0; i < pipeline.held_count; i++) {
        give(pipeline.held[i], pipeline.held_ctx[i]);
    }
    pipeline.held_count = 0;
    pthread_mutex_unlock(&pipeline.lock);
}

static inline void expect_camera(const char *name) {
    pthread_mutex_lock(&pipeline.lock);
    ck_assert_str_eq(pipeline.camera, name);
    pthread_mutex_unlock(&pipeline.lock);
}

static inline size_t held(void) {
    pthread_mutex_lock(&pipeline.lock);
    size_t count = pipeline.held_count;
    pthread_mutex_unlock(&pipeline.lock);
    return count;
}

/* ---- the one who draws ---- */

static struct {
    atomic_int delay_ms, code;
    atomic_uint drawn;
    atomic_size_t count;
} painter;

static inline int draw(void *ctx, const uint8_t *bytes, size_t size,
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

static inline void start_as(const char *token, uint32_t body_max, int timeout_s) {
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

static inline void start_with(const char *token) {
    start_as(token, BODY_MAX, 1);
}

static inline void start(void) {
    start_with(NULL);
}

static inline void stop(void) {
    webui_stop(webui);
    webui = NULL;
    give_held(); /* nobody is there any more: must touch nothing */
    store_close(store);
    case_remove(dir);
}

static inline struct case_reply score(const char *query, const char *headers) {
    char target[400];
    snprintf(target, sizeof(target), "/score%s", query);
    return case_post(port, target, headers, picture, sizeof(picture));
}

static inline void expect(const char *query, const char *headers, const void *body, size_t size,
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

static inline size_t count(const char *query) {
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

#endif
