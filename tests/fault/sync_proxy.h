/* sync_proxy: what may go wrong between a device and a storage server, played by one process on the
 * loopback: it takes each request, hands it to the real server and the answer back, and spoils
 * those that its plan names.
 *
 * A plan is one fault, the requests that it leaves alone first, and how many it spoils after them;
 * a process may be killed in the moment in which one was spoiled. What the server itself took (PUT
 * answered 2xx, whatever the client heard of it) is noted by name: that is what "once" is measured
 * with. In tunnel mode bytes go both ways unread, for TLS.
 * Thread: one of its own and one a client; all other calls from the thread that started it.
 */
#ifndef CREEL_TESTS_SYNC_PROXY_H
#define CREEL_TESTS_SYNC_PROXY_H

#include "daemon/base/clock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROXY_CLIENTS_MAX 256
#define PROXY_WRITES_MAX  256
#define PROXY_MESSAGE_MAX (8u << 20)
#define PROXY_REST        (1u << 30) /* as a count: all that follow */

enum proxy_how {
    PROXY_PASS = 0,
    PROXY_REFUSE,        /* nobody listens */
    PROXY_RESET_REQUEST, /* `at` bytes of it reach the server, then both sides are reset */
    PROXY_RESET_REPLY,   /* the server has answered; `at` bytes of that come back, then a reset */
    PROXY_CUT_REPLY,     /* the same, with an orderly end */
    PROXY_STALL_REQUEST, /* nothing is read after `at` bytes */
    PROXY_STALL_REPLY,   /* the server has answered; nothing comes after `at` bytes of that */
    PROXY_LONG_REPLY,    /* the head promises more than comes */
    PROXY_ANSWER,        /* `answer`, and the server hears nothing of the request */
    PROXY_ANSWER_AFTER,  /* the server does as it is asked, and the client gets `answer` */
    PROXY_CHECK_WRONG,   /* the server does as it is asked; what vouches for the bytes is altered */
    PROXY_CHECK_ABSENT,  /* … is left out */
    PROXY_CHECK_LIE,     /* 2xx for other bytes, and the server hears nothing of the request */
    PROXY_BODY_DAMAGED,  /* a byte of the body is another when it reaches the server */
    PROXY_HALF,          /* `at` bytes reach the server; the rest when the plan changes */
    PROXY_NOT_TLS,       /* an answer in clear to whoever begins TLS */
    PROXY_TUNNEL_RESET,  /* a tunnel that is reset after `at` bytes from the server */
};

struct proxy_plan {
    enum proxy_how how;
    bool puts;      /* of objects only: other requests pass */
    int at;         /* negative: so many before the end */
    unsigned skip;  /* requests that pass first */
    unsigned count; /* spoiled after them; PROXY_REST */
    char answer[1024];
    pid_t victim;       /* killed once the fault has been played `kill_at` times; 0: nobody */
    unsigned kill_at;   /* … counted from the beginning of this plan */
    unsigned kill_wait; /* ms after the play */
};

struct proxy_write {
    char path[512];
    unsigned times;
};

struct proxy {
    int port, target;
    bool tunnel;
    pthread_mutex_t lock;
    pthread_t thread;
    int listener;
    int clients[PROXY_CLIENTS_MAX];
    struct proxy_plan plan;
    atomic_uint turn; /* of the plan: who holds on to a client looks at it */
    unsigned seen;    /* requests under this plan */
    atomic_uint requests, played, served;
    atomic_llong played_us; /* when it was played last */
    atomic_bool killed;
    struct proxy_write writes[PROXY_WRITES_MAX];
    size_t write_count;
};

struct proxy_visit {
    struct proxy *proxy;
    int fd;
    size_t slot;
};

struct proxy_message {
    char *bytes; /* malloc'd, a NUL follows */
    size_t size, head;
};

/* ---- sockets ---- */

static inline int proxy_connect(int port) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&name, sizeof name) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static inline bool proxy_send(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* The next close is a reset. */
static inline void proxy_hard(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* One more piece; false at the end. */
static inline bool proxy_more(int fd, struct proxy_message *message, size_t limit) {
    if (message->bytes == NULL) {
        message->bytes = malloc(PROXY_MESSAGE_MAX + 1);
    }
    size_t room = (limit < PROXY_MESSAGE_MAX ? limit : PROXY_MESSAGE_MAX) - message->size;
    ssize_t got = room > 0 ? recv(fd, message->bytes + message->size, room, 0) : 0;
    if (got <= 0) {
        return false;
    }
    message->size += (size_t)got;
    message->bytes[message->size] = '\0';
    return true;
}

static inline bool proxy_head(int fd, struct proxy_message *message) {
    while (message->head == 0) {
        if (!proxy_more(fd, message, PROXY_MESSAGE_MAX)) {
            return false;
        }
        const char *end = memmem(message->bytes, message->size, "\r\n\r\n", 4);
        message->head = end != NULL ? (size_t)(end - message->bytes) + 4 : 0;
    }
    return true;
}

static inline char *proxy_field(const struct proxy_message *message, const char *name) {
    char *at = strcasestr(message->bytes, name);
    return at != NULL && at < message->bytes + message->head ? at + strlen(name) : NULL;
}

static inline size_t proxy_length(const struct proxy_message *message) {
    const char *value = proxy_field(message, "\r\ncontent-length:");
    return message->head + (value != NULL ? strtoul(value, NULL, 10) : 0);
}

/* ---- plan ---- */

static inline void proxy_play_noted(struct proxy *proxy) {
    pid_t victim = 0;
    unsigned wait = 0;
    pthread_mutex_lock(&proxy->lock);
    unsigned played = atomic_fetch_add(&proxy->played, 1) + 1;
    atomic_store(&proxy->played_us, clock_boot_us());
    if (proxy->plan.victim != 0 && played >= proxy->plan.kill_at) {
        victim = proxy->plan.victim;
        wait = proxy->plan.kill_wait;
        proxy->plan.victim = 0;
    }
    pthread_mutex_unlock(&proxy->lock);
    if (victim != 0) {
        clock_sleep_ms((int)wait);
        kill(victim, SIGKILL);
        atomic_store(&proxy->killed, true);
    }
}

/* Whether this request is to be spoiled. */
static inline bool proxy_spoils(struct proxy *proxy, const struct proxy_message *request,
                                struct proxy_plan *out) {
    bool is_put = strncmp(request->bytes, "PUT ", 4) == 0 &&
                  memmem(request->bytes, request->head, "/frames/", 8) != NULL;
    pthread_mutex_lock(&proxy->lock);
    *out = proxy->plan;
    bool meant = out->how != PROXY_PASS && (is_put || !out->puts);
    unsigned number = meant ? proxy->seen++ : 0;
    pthread_mutex_unlock(&proxy->lock);
    return meant && number >= out->skip && number - out->skip < out->count;
}

/* Whether a request makes an object: a PUT of its bytes or of the list of its blocks, or the POST
 * that completes it. */
static inline bool proxy_makes(const struct proxy_message *request) {
    size_t line = strcspn(request->bytes, "\r");
    bool whole = memmem(request->bytes, line, "comp=block&", 11) == NULL &&
                 memmem(request->bytes, line, "partNumber=", 11) == NULL;
    bool put = strncmp(request->bytes, "PUT ", 4) == 0;
    bool completes = strncmp(request->bytes, "POST ", 5) == 0 &&
                     memmem(request->bytes, line, "uploadId=", 9) != NULL;
    return memmem(request->bytes, line, "/frames/", 8) != NULL && ((put && whole) || completes);
}

static inline void proxy_note(struct proxy *proxy, const struct proxy_message *request) {
    const char *path = strchr(request->bytes, ' ') + 1;
    size_t length = strcspn(path, " ?");
    if (!proxy_makes(request)) {
        return;
    }
    pthread_mutex_lock(&proxy->lock);
    size_t i = 0;
    while (i < proxy->write_count && (strlen(proxy->writes[i].path) != length ||
                                      memcmp(proxy->writes[i].path, path, length) != 0)) {
        i++;
    }
    if (i == proxy->write_count && i < PROXY_WRITES_MAX) {
        snprintf(proxy->writes[proxy->write_count++].path, sizeof proxy->writes[0].path, "%.*s",
                 (int)length, path);
    }
    proxy->writes[i < PROXY_WRITES_MAX ? i : 0].times++;
    pthread_mutex_unlock(&proxy->lock);
}

/* Until the plan is another, or whoever is at the other end goes. */
static inline void proxy_hold(struct proxy *proxy, int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLRDHUP};
    unsigned turn = atomic_load(&proxy->turn);
    while (atomic_load(&proxy->turn) == turn && poll(&wait, 1, 20) == 0) {
    }
}

/* ---- the server's side ---- */

static inline bool proxy_ask_halves(struct proxy *proxy, int fd, const char *bytes, size_t size,
                                    size_t at) {
    if (at == 0 || at >= size) {
        return proxy_send(fd, bytes, size);
    }
    bool sent = proxy_send(fd, bytes, at);
    proxy_play_noted(proxy);
    proxy_hold(proxy, fd);
    return sent && proxy_send(fd, bytes + at, size - at);
}

/* The whole answer. The connection is asked to end with it, and the client does not hear of that.
 * `at`: where the request is held up; 0: nowhere. */
static inline bool proxy_ask(struct proxy *proxy, const struct proxy_message *request, size_t at,
                             struct proxy_message *reply) {
    static const char ends[] = "Connection: close\r\n";
    const char *line_end = memchr(request->bytes, '\n', request->size);
    size_t line = (size_t)(line_end - request->bytes) + 1;
    int fd = proxy_connect(proxy->target);
    if (fd < 0) {
        return false;
    }
    bool asked = proxy_send(fd, request->bytes, line) && proxy_send(fd, ends, sizeof ends - 1) &&
                 proxy_ask_halves(proxy, fd, request->bytes + line, request->size - line, at);
    while (asked && proxy_more(fd, reply, PROXY_MESSAGE_MAX)) {
    }
    close(fd);
    const char *end = reply->size > 0 ? memmem(reply->bytes, reply->size, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return false;
    }
    reply->head = (size_t)(end - reply->bytes) + 4;
    char *close_field = proxy_field(reply, "\r\nconnection:");
    if (close_field != NULL) { /* renamed: the client keeps its own */
        memcpy(close_field - strlen("connection:"), "x-upstream:", strlen("x-upstream:"));
    }
    atomic_fetch_add(&proxy->served, 1);
    if (strncmp(reply->bytes + 9, "20", 2) == 0) {
        proxy_note(proxy, request);
    }
    return true;
}

/* ---- faults ---- */

static inline size_t proxy_at(const struct proxy_plan *plan, size_t size) {
    size_t at = plan->at < 0 ? (size_t)-plan->at : (size_t)plan->at;
    at = at < size ? at : size - 1;
    return plan->at < 0 ? size - at : at;
}

/* What vouches for the bytes: names of fields, each with its newline. */
static const char *const proxy_vouchers[] = {
    "\r\netag:", "\r\ncontent-md5:", "\r\nx-ms-content-crc64:", "\r\nx-amz-checksum-sha256:"};

static inline void proxy_alter(struct proxy_message *reply, enum proxy_how how) {
    for (size_t i = 0; i < sizeof proxy_vouchers / sizeof proxy_vouchers[0]; i++) {
        char *value = proxy_field(reply, proxy_vouchers[i]);
        if (value == NULL) {
            continue;
        }
        if (how == PROXY_CHECK_ABSENT) {
            value[2 - (long)strlen(proxy_vouchers[i])] = 'z'; /* no name that means anything */
            continue;
        }
        for (value += 1; *value != '\r'; value++) { /* stays base64 and hex */
            *value = *value == '"' || *value == '=' ? *value : *value == 'a' ? 'b' : 'a';
        }
    }
}

static inline void proxy_lie(const struct proxy_message *request, char *out, size_t room) {
    bool azure = proxy_field(request, "\r\nx-ms-version:") != NULL;
    snprintf(out, room,
             "HTTP/1.1 %s\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\n"
             "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Length: 0\r\n\r\n",
             azure ? "201 Created" : "200 OK");
}

/* The head says one body, less of it comes, and the end is orderly. */
static inline void proxy_lengthen(int fd, const struct proxy_message *reply) {
    const char *value = proxy_field(reply, "\r\ncontent-length:");
    const char *end = value != NULL ? strstr(value, "\r\n") : NULL;
    if (end == NULL) {
        proxy_send(fd, reply->bytes, reply->head - 1);
        return;
    }
    proxy_send(fd, reply->bytes, (size_t)(value - reply->bytes));
    proxy_send(fd, " 4096", 5);
    proxy_send(fd, end, reply->size - (size_t)(end - reply->bytes));
}

/* The request as far as it shall go, to a server that then hears no more. */
static inline void proxy_begin(struct proxy *proxy, const struct proxy_message *request,
                               size_t at) {
    int fd = proxy_connect(proxy->target);
    if (fd >= 0) {
        proxy_send(fd, request->bytes, at);
        proxy_hard(fd);
        close(fd);
    }
}

static inline void proxy_reply_part(struct proxy *proxy, int fd, const struct proxy_plan *plan,
                                    const struct proxy_message *reply) {
    proxy_send(fd, reply->bytes, proxy_at(plan, reply->size));
    if (plan->how == PROXY_RESET_REPLY) {
        clock_sleep_ms(2); /* a reset overtakes what was sent just before it */
        proxy_hard(fd);
    } else if (plan->how == PROXY_STALL_REPLY) {
        proxy_play_noted(proxy);
        proxy_hold(proxy, fd);
    }
}

/* True when the connection may go on. */
static inline bool proxy_spoil(struct proxy *proxy, int fd, const struct proxy_plan *plan,
                               struct proxy_message *request) {
    char answer[1024];
    struct proxy_message reply = {0};
    bool lives = false, noted = plan->how == PROXY_STALL_REPLY || plan->how == PROXY_HALF;
    size_t half = plan->how == PROXY_HALF ? (size_t)plan->at : 0;
    switch (plan->how) {
    case PROXY_RESET_REQUEST:
        proxy_begin(proxy, request, proxy_at(plan, request->size));
        proxy_hard(fd);
        break;
    case PROXY_STALL_REQUEST:
        proxy_play_noted(proxy);
        proxy_hold(proxy, fd);
        return false;
    case PROXY_ANSWER:
        lives = proxy_send(fd, plan->answer, strlen(plan->answer));
        break;
    case PROXY_CHECK_LIE:
        proxy_lie(request, answer, sizeof answer);
        lives = proxy_send(fd, answer, strlen(answer));
        break;
    case PROXY_BODY_DAMAGED:
        request->bytes[request->size - 1] ^= 1;
        lives = proxy_ask(proxy, request, half, &reply) && proxy_send(fd, reply.bytes, reply.size);
        break;
    default:
        if (!proxy_ask(proxy, request, half, &reply)) {
            proxy_hard(fd);
        } else if (plan->how == PROXY_ANSWER_AFTER) {
            lives = proxy_send(fd, plan->answer, strlen(plan->answer));
        } else if (plan->how == PROXY_LONG_REPLY) {
            proxy_lengthen(fd, &reply);
        } else if (plan->how == PROXY_CHECK_WRONG || plan->how == PROXY_CHECK_ABSENT) {
            proxy_alter(&reply, plan->how);
            lives = proxy_send(fd, reply.bytes, reply.size);
        } else if (plan->how == PROXY_HALF) {
            lives = proxy_send(fd, reply.bytes, reply.size);
        } else {
            proxy_reply_part(proxy, fd, plan, &reply);
        }
    }
    free(reply.bytes);
    if (!noted) {
        proxy_play_noted(proxy);
    }
    return lives;
}

/* ---- clients ---- */

/* The rest of the request, or as much of it as the fault lets through. False: the client is gone.
 */
static inline bool proxy_body(int fd, struct proxy_message *request, const struct proxy_plan *plan,
                              bool spoils) {
    size_t limit = proxy_length(request);
    bool partly = spoils && plan->at >= 0 &&
                  (plan->how == PROXY_RESET_REQUEST || plan->how == PROXY_STALL_REQUEST);
    if (partly && (size_t)plan->at < limit) {
        limit = (size_t)plan->at;
    }
    while (request->size < limit) {
        if (!proxy_more(fd, request, limit)) {
            return false;
        }
    }
    return true;
}

/* Whoever takes it for a web proxy names the whole address; the server is asked for the path. */
static inline void proxy_path_only(struct proxy_message *request) {
    char *url = strstr(request->bytes, " http://"), *line_end = strchr(request->bytes, '\r');
    char *path = url != NULL && url < line_end ? strchr(url + 8, '/') : NULL;
    if (path != NULL && path < line_end) {
        size_t gone = (size_t)(path - url) - 1;
        memmove(url + 1, path, request->size - (size_t)(path - request->bytes) + 1);
        request->size -= gone;
        request->head -= gone;
    }
}

/* One request; false when the connection is over. */
static inline bool proxy_serve(struct proxy *proxy, int fd) {
    struct proxy_message request = {0}, reply = {0};
    struct proxy_plan plan = {0};
    bool lives = proxy_head(fd, &request), spoils = false;
    if (lives) {
        atomic_fetch_add(&proxy->requests, 1);
        proxy_path_only(&request);
        spoils = proxy_spoils(proxy, &request, &plan);
        lives = proxy_body(fd, &request, &plan, spoils);
    }
    if (lives && spoils) {
        lives = proxy_spoil(proxy, fd, &plan, &request);
    } else if (lives) {
        lives = proxy_ask(proxy, &request, 0, &reply) && proxy_send(fd, reply.bytes, reply.size);
        if (!lives) {
            proxy_hard(fd);
        }
    }
    free(request.bytes);
    free(reply.bytes);
    return lives;
}

/* Bytes both ways, at most `limit` from the server. */
static inline void proxy_tunnel(int fd, int server, size_t limit) {
    char *bytes = malloc(65536);
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    size_t back = 0;
    bool open = bytes != NULL;
    while (open && back < limit && poll(fds, 2, -1) > 0) {
        for (int i = 0; i < 2 && open; i++) {
            if (fds[i].revents == 0) {
                continue;
            }
            size_t room = i == 1 && limit - back < 65536 ? limit - back : 65536;
            ssize_t got = recv(fds[i].fd, bytes, room, 0);
            open = got > 0 && proxy_send(fds[1 - i].fd, bytes, (size_t)got);
            back += i == 1 && got > 0 ? (size_t)got : 0;
        }
    }
    free(bytes);
}

static inline void proxy_tunnel_visit(struct proxy *proxy, int fd) {
    static const char clear[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    char hello[16];
    atomic_fetch_add(&proxy->requests, 1);
    pthread_mutex_lock(&proxy->lock);
    struct proxy_plan plan = proxy->plan;
    pthread_mutex_unlock(&proxy->lock);
    if (plan.how == PROXY_NOT_TLS) {
        if (recv(fd, hello, sizeof hello, MSG_PEEK) > 0) {
            proxy_send(fd, clear, sizeof clear - 1);
            shutdown(fd, SHUT_WR);
            clock_sleep_ms(20);
        }
        proxy_play_noted(proxy);
        return;
    }
    int server = proxy_connect(proxy->target);
    if (server < 0) {
        return;
    }
    bool resets = plan.how == PROXY_TUNNEL_RESET;
    proxy_tunnel(fd, server, resets ? (size_t)plan.at : SIZE_MAX);
    close(server);
    if (resets) {
        proxy_hard(fd);
        proxy_play_noted(proxy);
    }
}

static inline void *proxy_visit_run(void *ctx) {
    struct proxy_visit visit = *(struct proxy_visit *)ctx;
    struct proxy *proxy = visit.proxy;
    free(ctx);
    if (proxy->tunnel) {
        proxy_tunnel_visit(proxy, visit.fd);
    } else {
        while (proxy_serve(proxy, visit.fd)) {
        }
    }
    pthread_mutex_lock(&proxy->lock);
    proxy->clients[visit.slot] = -1;
    close(visit.fd);
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

static inline void proxy_welcome(struct proxy *proxy, int fd) {
    struct proxy_visit *visit = calloc(1, sizeof *visit);
    pthread_t thread;
    size_t slot = 0;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_mutex_lock(&proxy->lock);
    while (slot < PROXY_CLIENTS_MAX && proxy->clients[slot] >= 0) {
        slot++;
    }
    bool taken = visit != NULL && slot < PROXY_CLIENTS_MAX && proxy->plan.how != PROXY_REFUSE;
    if (taken) {
        *visit = (struct proxy_visit){.proxy = proxy, .fd = fd, .slot = slot};
        proxy->clients[slot] = fd;
        taken = pthread_create(&thread, NULL, proxy_visit_run, visit) == 0;
    }
    if (taken) {
        pthread_detach(thread);
    } else {
        close(fd);
        free(visit);
    }
    pthread_mutex_unlock(&proxy->lock);
}

static inline void *proxy_run(void *ctx) {
    struct proxy *proxy = ctx;
    for (;;) {
        pthread_mutex_lock(&proxy->lock);
        int listener = proxy->listener;
        pthread_mutex_unlock(&proxy->lock);
        int fd = listener >= 0 ? accept(listener, NULL, NULL) : -1;
        if (fd >= 0) {
            proxy_welcome(proxy, fd);
        } else {
            clock_sleep_ms(2);
        }
    }
    return NULL;
}

/* ---- life ---- */

static inline void proxy_listen(struct proxy *proxy) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)proxy->port)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    for (int i = 0; bind(fd, (struct sockaddr *)&name, size) != 0; i++) {
        if (errno != EADDRINUSE || i == 500) {
            perror("fault proxy");
            exit(1);
        }
        clock_sleep_ms(10);
    }
    if (listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        perror("fault proxy");
        exit(1);
    }
    proxy->port = ntohs(name.sin_port);
    proxy->listener = fd;
}

/* Ends with the process. */
static inline void proxy_start(struct proxy *proxy, int target) {
    *proxy = (struct proxy){.target = target};
    for (size_t i = 0; i < PROXY_CLIENTS_MAX; i++) {
        proxy->clients[i] = -1;
    }
    pthread_mutex_init(&proxy->lock, NULL);
    proxy_listen(proxy);
    if (pthread_create(&proxy->thread, NULL, proxy_run, proxy) != 0) {
        perror("fault proxy");
        exit(1);
    }
}

/* All connections of the moment end, hard. */
static inline void proxy_drop(struct proxy *proxy) {
    pthread_mutex_lock(&proxy->lock);
    for (size_t i = 0; i < PROXY_CLIENTS_MAX; i++) {
        if (proxy->clients[i] >= 0) {
            shutdown(proxy->clients[i], SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&proxy->lock);
}

/* A new plan; the counts of requests and plays begin anew with it. */
static inline void proxy_plan_set(struct proxy *proxy, const struct proxy_plan *plan) {
    pthread_mutex_lock(&proxy->lock);
    proxy->plan = *plan;
    proxy->seen = 0;
    atomic_store(&proxy->played, 0);
    atomic_store(&proxy->killed, false);
    atomic_fetch_add(&proxy->turn, 1);
    if (plan->how == PROXY_REFUSE && proxy->listener >= 0) {
        shutdown(proxy->listener, SHUT_RDWR); /* wakes its thread */
        close(proxy->listener);
        proxy->listener = -1;
    } else if (plan->how != PROXY_REFUSE && proxy->listener < 0) {
        proxy_listen(proxy);
    }
    pthread_mutex_unlock(&proxy->lock);
    if (plan->how == PROXY_REFUSE) {
        proxy_drop(proxy);
    }
}

#endif
