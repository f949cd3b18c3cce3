/* sync_case: what sync's suites share: noise to send, and a GET that goes another way than the code
 * under test. */
#ifndef CREEL_TESTS_SYNC_CASE_H
#define CREEL_TESTS_SYNC_CASE_H

#include "daemon/base/clock.h"
#include "sync/http.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define CASE_WAIT_MS 20000

static inline uint8_t *case_noise(size_t size, unsigned seed) {
    uint8_t *bytes = malloc(size);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

/* Moves the request in. The status; the reply is the caller's to finish. */
static inline int case_send(struct http_request request, struct http_reply *out) {
    struct http *http = NULL;
    struct http_done done;
    ck_assert_int_eq(sync__http_create(NULL, &http, NULL), 0);
    ck_assert_int_eq(sync__http_start(http, &request, NULL, NULL), 0);
    int64_t until = clock_boot_us() + CASE_WAIT_MS * INT64_C(1000);
    while (!sync__http_next_done(http, &done)) {
        ck_assert_int_lt(clock_boot_us(), until);
        ck_assert_int_eq(sync__http_wait(http, NULL, 0, 100, NULL), 0);
    }
    sync__http_destroy(http);
    int status = done.reply.status;
    *out = done.reply;
    return status;
}

static inline int case_get_over(const char *url, const char *ca_file, struct http_reply *out) {
    struct http_request request = {.method = "GET",
                                   .url = strdup(url),
                                   .reply_max = 32u << 20,
                                   .direct = true,
                                   .ca_file = ca_file};
    return case_send(request, out);
}

static inline int case_get(const char *url, struct http_reply *out) {
    return case_get_over(url, NULL, out);
}

#endif
