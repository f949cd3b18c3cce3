/* What is sent in vain: libcurl's own replay of a PUT is noted, with its bytes. A listener of the
 * test plays the connection that breaks; nothing is stored on it.
 */
#include "daemon/base/mem.h"
#include "sync/http.h"
#include "tests/servers/servers.h"
#include "tests/suite.h"
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- a listener that breaks connections ---- */

struct breaker {
    int fd, port;
    pthread_t thread;
    atomic_uint taken; /* requests */
    unsigned answered; /* that many are answered 201, the others cut off */
    atomic_bool stopping;
};

static void breaker_answer(int fd) {
    static const char reply[] = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    ssize_t sent = send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL);
    (void)sent;
}

/* Reads one request; false when it is to be cut off. */
static bool breaker_request(struct breaker *breaker, int fd) {
    char text[65536];
    size_t used = 0, head = 0, body = 0;
    for (;;) {
        ssize_t got = recv(fd, text + used, sizeof text - 1 - used, 0);
        if (got <= 0) {
            return false;
        }
        if (head == 0) {
            used += (size_t)got;
            text[used] = '\0';
            char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
            if (end == NULL) {
                continue;
            }
            head = (size_t)(end - text) + 4;
            body = length != NULL ? strtoul(length + 15, NULL, 10) : 0;
            got = (ssize_t)(used - head);
            atomic_fetch_add(&breaker->taken, 1);
        }
        used = 0;
        body -= (size_t)got < body ? (size_t)got : body;
        if (body == 0) {
            return atomic_load(&breaker->taken) <= breaker->answered;
        }
    }
}

static void *breaker_run(void *ctx) {
    struct breaker *breaker = ctx;
    while (!atomic_load(&breaker->stopping)) {
        struct pollfd wait = {.fd = breaker->fd, .events = POLLIN};
        int fd = poll(&wait, 1, 50) == 1 ? accept(breaker->fd, NULL, NULL) : -1;
        while (fd >= 0 && breaker_request(breaker, fd)) {
            breaker_answer(fd);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    return NULL;
}

static void breaker_start(struct breaker *breaker) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    breaker->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(breaker->fd, (struct sockaddr *)&name, size), 0);
    ck_assert_int_eq(listen(breaker->fd, 16), 0);
    ck_assert_int_eq(getsockname(breaker->fd, (struct sockaddr *)&name, &size), 0);
    breaker->port = ntohs(name.sin_port);
    ck_assert_int_eq(pthread_create(&breaker->thread, NULL, breaker_run, breaker), 0);
}

static void breaker_stop(struct breaker *breaker) {
    atomic_store(&breaker->stopping, true);
    pthread_join(breaker->thread, NULL);
    close(breaker->fd);
}

/* ---- the suite ---- */

static struct http_reply send_over(struct http *http, const char *url, const void *bytes,
                                   size_t size) {
    struct http_request request = {
        .method = "PUT", .url = strdup(url), .body = bytes, .body_size = size, .direct = true};
    struct http_done done;
    ck_assert_int_eq(sync__http_start(http, &request, NULL, NULL), 0);
    while (!sync__http_next_done(http, &done)) {
        ck_assert_int_eq(sync__http_wait(http, NULL, 0, 100, NULL), 0);
    }
    return done.reply;
}

/* The first PUT is answered, the second one finds the kept connection closed without an answer. */
START_TEST(a_silent_replay_is_noted) {
    static uint8_t bytes[50000];
    struct breaker breaker = {.answered = 1};
    struct http *http = NULL;
    char url[64];
    breaker_start(&breaker);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/x", breaker.port);
    ck_assert_int_eq(sync__http_create(NULL, &http, NULL), 0);
    struct http_reply reply = send_over(http, url, bytes, sizeof bytes);
    ck_assert_int_eq(reply.status, 201);
    ck_assert_uint_eq(reply.sent, 1);
    ck_assert_uint_eq(reply.sent_bytes, sizeof bytes);
    sync__reply_finish(&reply);
    reply = send_over(http, url, bytes, sizeof bytes);
    ck_assert_int_eq(reply.status, 0);
    ck_assert_uint_eq(reply.sent, 2); /* the server saw it twice, and so do we */
    ck_assert_uint_eq(reply.sent_bytes, 2 * sizeof bytes);
    ck_assert_uint_eq(atomic_load(&breaker.taken), 3);
    sync__reply_finish(&reply);
    sync__http_destroy(http);
    breaker_stop(&breaker);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: bytes in vain");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_silent_replay_is_noted);
    suite_add_tcase(all, tests);
    return all;
}

int main(void) {
    return suite_run(suite());
}
