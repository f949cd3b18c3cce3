/* webui_case: what the tests of webui's servers share: a store with frames in it, and a client that
 * says exactly what it is told to say, byte by byte.
 */
#ifndef CREEL_TESTS_WEBUI_CASE_H
#define CREEL_TESTS_WEBUI_CASE_H

#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/suite.h"
#include "webui/webui.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CASE_BLOB_BYTES 5000
#define CASE_REPLY_MAX  (8u << 20)
#define CASE_TIME_US    INT64_C(1795210508000000) /* 2026-11-20T21:35:08Z */

struct case_reply {
    int status;
    char *head; /* of raw, with its NUL */
    char *body;
    size_t body_size;
    char *raw;
};

/* ---- the store ---- */

static inline void case_remove(const char *dir) {
    char command[256];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

static inline struct store *case_store_open(char dir[64]) {
    struct store *store = NULL;
    struct err err = {0};
    snprintf(dir, 64, "%s/creel-webui-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    struct store_config config = {.dir = dir, .segment_bytes = 4u << 20, .index_floor = 0.1};
    ck_assert_msg(store_open(&config, &store, &err) == 0, "%s: %s", err.msg, err.cause);
    return store;
}

/* Frame number n: its blob begins like a JPEG and differs from all others. */
static inline void case_frame_put(struct store *store, unsigned n, const char *label) {
    struct store_frame frame = {0};
    struct frame_record *record = &frame.record;
    struct err err = {0};
    frame.blob = malloc(CASE_BLOB_BYTES);
    frame.thumb = malloc(300);
    ck_assert(frame.blob && frame.thumb);
    memset(frame.blob, (int)(n % 251), CASE_BLOB_BYTES);
    memset(frame.thumb, (int)(n % 251), 300);
    memcpy(frame.blob, "\xff\xd8\xff\xe0", 4);
    memcpy(frame.blob + 4, &n, sizeof(n));
    memcpy(frame.thumb, "\xff\xd8\xff\xe1", 4);
    frame.thumb_bytes = 300;
    record->captured.utc_us = CASE_TIME_US + (int64_t)n * 1000000;
    record->captured.state = CLOCK_SYNCHRONISED;
    frame_id_create(record->captured.utc_us, &record->id);
    snprintf(record->camera, sizeof(record->camera), n % 2 ? "gate" : "dock");
    record->media = MEDIA_JPEG;
    record->width = 640;
    record->height = 480;
    record->orientation = 1;
    record->blob_bytes = CASE_BLOB_BYTES;
    snprintf(record->model_name, sizeof(record->model_name), "test");
    snprintf(record->model_version, sizeof(record->model_version), "1");
    record->tier = n % 3 ? TIER_ANNOTATED : TIER_UNANNOTATED;
    snprintf(record->rule, sizeof(record->rule), n % 3 ? "confident" : "unsure");
    record->value = 0.5;
    record->detections = calloc(2, sizeof(*record->detections));
    record->detection_count = 2;
    record->detections[0] = (struct frame_detection){{0.1, 0.2, 0.3, 0.4}, 0.9f, 2, false, ""};
    record->detections[1] = (struct frame_detection){{0.5, 0.5, 0.2, 0.2}, 0.3f, 1, false, "dog"};
    snprintf(record->detections[0].label, sizeof(record->detections[0].label), "%s", label);
    ck_assert_msg(store_put(store, &frame, &err) == 0, "%s: %s", err.msg, err.cause);
}

/* ---- the client ---- */

static inline int case_connect(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 20};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* What cannot be sent because the server has closed is no failure of the client's. */
static inline void case_send(int fd, const void *bytes, size_t size) {
    for (size_t sent = 0; sent < size;) {
        ssize_t some = send(fd, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        if (some <= 0) {
            return;
        }
        sent += (size_t)some;
    }
}

/* Reads to the end of the connection. */
static inline struct case_reply case_receive(int fd) {
    struct case_reply reply = {0};
    size_t size = 0, room = 1u << 16;
    reply.raw = malloc(room + 1);
    for (;;) {
        if (size == room) {
            room *= 2;
            ck_assert_uint_le(room, CASE_REPLY_MAX);
            reply.raw = realloc(reply.raw, room + 1);
        }
        ssize_t some = recv(fd, reply.raw + size, room - size, 0);
        if (some <= 0) {
            break;
        }
        size += (size_t)some;
    }
    reply.raw[size] = '\0';
    reply.head = reply.raw;
    char *end = strstr(reply.raw, "\r\n\r\n");
    if (end) {
        *end = '\0';
        reply.body = end + 4;
        reply.body_size = size - (size_t)(reply.body - reply.raw);
        sscanf(reply.head, "HTTP/1.1 %d", &reply.status);
    }
    return reply;
}

static inline struct case_reply case_exchange(uint16_t port, const void *bytes, size_t size) {
    int fd = case_connect(port);
    case_send(fd, bytes, size);
    struct case_reply reply = case_receive(fd);
    close(fd);
    return reply;
}

/* `headers` is "" or lines that end in \r\n. */
static inline struct case_reply case_request(uint16_t port, const char *method, const char *target,
                                             const char *headers) {
    char *text = NULL;
    int size = asprintf(&text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s\r\n",
                        method, target, headers);
    struct case_reply reply = case_exchange(port, text, (size_t)size);
    free(text);
    return reply;
}

static inline struct case_reply case_get(uint16_t port, const char *target) {
    return case_request(port, "GET", target, "");
}

static inline struct case_reply case_post(uint16_t port, const char *target, const char *headers,
                                          const void *body, size_t body_size) {
    char *text = NULL;
    int size = asprintf(&text,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                        "Content-Length: %zu\r\n%s\r\n",
                        target, body_size, headers);
    int fd = case_connect(port);
    case_send(fd, text, (size_t)size);
    case_send(fd, body, body_size);
    struct case_reply reply = case_receive(fd);
    close(fd);
    free(text);
    return reply;
}

static inline void case_reply_finish(struct case_reply *reply) {
    free(reply->raw);
    reply->raw = NULL;
}

/* The value of a header, copied; "" when it is not there. */
static inline const char *case_header(const struct case_reply *reply, const char *name,
                                      char out[512]) {
    out[0] = '\0';
    for (const char *line = strstr(reply->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        size_t size = strlen(name);
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
            const char *value = line + 3 + size;
            value += strspn(value, " ");
            snprintf(out, 512, "%.*s", (int)strcspn(value, "\r"), value);
        }
    }
    return out;
}

static inline void case_status(uint16_t port, const char *method, const char *target,
                               const char *headers, int status) {
    struct case_reply reply = case_request(port, method, target, headers);
    ck_assert_msg(reply.status == status, "%s %.100s: %d instead of %d\n%s", method, target,
                  reply.status, status, reply.raw);
    case_reply_finish(&reply);
}

static inline int case_run(Suite *suite) {
    return suite_run(suite);
}

#endif
