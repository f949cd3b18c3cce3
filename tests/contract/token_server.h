/* token_server: a small HTTP server on a thread of the test, which plays the services that give out
 * tokens. It keeps every request for the test to look at; what it answers is the test's function.
 */
#ifndef CREEL_TESTS_TOKEN_SERVER_H
#define CREEL_TESTS_TOKEN_SERVER_H

#include "daemon/base/mem.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define TOKEN_REQUESTS_MAX 128
#define TOKEN_REQUEST_MAX  16384

struct token_request {
    char text[TOKEN_REQUEST_MAX]; /* head and body as they came */
    const char *body;
};

struct token_answer {
    int status;
    char headers[512]; /* more lines, each with its end */
    char body[8192];
};

struct token_server {
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    struct token_request requests[TOKEN_REQUESTS_MAX];
    size_t count; /* all that came, kept or not */
    /* Called with the number of the request, from 0. */
    void (*answer)(struct token_server *server, size_t number, const struct token_request *request,
                   struct token_answer *out);
    int mode; /* the test's own; changed under the lock */
};

/* The whole request: its head, and as much body as the head says. */
static inline void token_server_read(int fd, struct token_request *out) {
    size_t used = 0, wanted = sizeof out->text - 1;
    while (used < wanted) {
        ssize_t got = read(fd, out->text + used, sizeof out->text - 1 - used);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
        out->text[used] = '\0';
        char *end = strstr(out->text, "\r\n\r\n");
        if (end == NULL) {
            continue;
        }
        const char *length = strcasestr(out->text, "\r\ncontent-length:");
        out->body = end + 4;
        wanted = (size_t)(out->body - out->text) +
                 (length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
    out->text[used] = '\0';
}

static inline void token_server_one(struct token_server *server, int fd) {
    struct token_request *request = calloc(1, sizeof *request);
    struct token_answer *answer = calloc(1, sizeof *answer);
    char head[1024];
    token_server_read(fd, request);
    answer->status = 404;
    pthread_mutex_lock(&server->lock);
    size_t number = server->count++;
    if (number < TOKEN_REQUESTS_MAX) {
        memcpy(server->requests[number].text, request->text, sizeof request->text);
        server->requests[number].body =
            request->body != NULL ? server->requests[number].text + (request->body - request->text)
                                  : "";
    }
    server->answer(server, number, request, answer);
    pthread_mutex_unlock(&server->lock);
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 %d Played\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n",
                        answer->status, strlen(answer->body), answer->headers);
    if (answer->status > 0 && write(fd, head, (size_t)size) == size) {
        ssize_t written = write(fd, answer->body, strlen(answer->body));
        (void)written;
    }
    free(request);
    free(answer);
}

static inline void *token_server_run(void *ctx) {
    struct token_server *server = ctx;
    for (;;) {
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        token_server_one(server, fd);
        close(fd);
    }
}

/* On the port that is set, or on one of the system's choice. */
static inline void token_server_listen(struct token_server *server) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)server->port)};
    socklen_t size = sizeof name;
    int on = 1;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_mutex_init(&server->lock, NULL);
    (void)setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server->fd, (struct sockaddr *)&name, size) != 0 || listen(server->fd, 64) != 0 ||
        getsockname(server->fd, (struct sockaddr *)&name, &size) != 0) {
        perror("token server");
        exit(1);
    }
    server->port = ntohs(name.sin_port);
}

static inline void token_server_start(struct token_server *server) {
    token_server_listen(server);
    if (pthread_create(&server->thread, NULL, token_server_run, server) != 0) {
        perror("token server");
        exit(1);
    }
}

/* For a server of the whole suite: tests are forked, and threads do not come along. */
static inline pid_t token_server_fork(struct token_server *server) {
    token_server_listen(server);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        token_server_run(server);
        _exit(0);
    }
    return pid;
}

static inline void token_server_stop(struct token_server *server) {
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
    pthread_mutex_destroy(&server->lock);
}

static inline size_t token_server_count(struct token_server *server) {
    pthread_mutex_lock(&server->lock);
    size_t count = server->count;
    pthread_mutex_unlock(&server->lock);
    return count;
}

static inline void token_server_mode(struct token_server *server, int mode) {
    pthread_mutex_lock(&server->lock);
    server->mode = mode;
    pthread_mutex_unlock(&server->lock);
}

/* Request `number` holds every one of these words; NULL ends them. */
static inline void token_server_saw(struct token_server *server, size_t number, ...) {
    va_list words;
    va_start(words, number);
    pthread_mutex_lock(&server->lock);
    ck_assert_uint_lt(number, server->count);
    for (const char *word = va_arg(words, const char *); word != NULL;
         word = va_arg(words, const char *)) {
        ck_assert_msg(strcasestr(server->requests[number].text, word) != NULL,
                      "request %zu lacks \"%s\":\n%s", number, word, server->requests[number].text);
    }
    pthread_mutex_unlock(&server->lock);
    va_end(words);
}

#endif
