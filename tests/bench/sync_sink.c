/* The null sink: one thread, epoll, HTTP/1.1 with keep-alive. It understands just enough to take
 * what the contestants send: bodies with a Content-Length; HEAD and GET find nothing. */
#include "tests/bench/sync_bench.h"
#include "tests/servers/servers.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#define HEAD_MAX  16384
#define CONNS_MAX 1024
#define EVENTS    64

struct conn {
    int fd;
    char head[HEAD_MAX];
    size_t got;
    uint64_t body_left; /* of the request under way */
    bool in_body, waits;
    char reply[1024];
    size_t reply_size;
    double due_s;
    struct conn *next; /* in the order of due */
};

struct loop {
    int epoll, delay_ms;
    struct bench_sink *sink;
    struct conn *first, **last; /* replies that wait */
    char scrap[1u << 18];
};

static const char *field(const char *head, const char *name, char *out, size_t room) {
    size_t length = strlen(name);
    out[0] = '\0';
    for (const char *line = strchr(head, '\n'); line != NULL; line = strchr(line, '\n')) {
        line++;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            line += length + 1;
            line += strspn(line, " ");
            size_t size = strcspn(line, "\r\n");
            snprintf(out, room, "%.*s", (int)size, line);
            break;
        }
    }
    return out;
}

static size_t line_add(char *out, size_t room, size_t at, const char *name, const char *value) {
    if (*value != '\0') {
        at += (size_t)snprintf(out + at, room - at, "%s: %s\r\n", name, value);
    }
    return at;
}

/* What the request at hand will be answered; from its head. */
static void reply_make(struct conn *conn) {
    static const char list[] = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false"
                               "</IsTruncated></ListBucketResult>";
    char md5[128], crc64[128], sha[128];
    size_t at = 0, room = sizeof conn->reply;
    if (strncmp(conn->head, "PUT", 3) == 0) {
        field(conn->head, "x-ms-blob-content-md5", md5, sizeof md5);
        if (md5[0] == '\0') {
            field(conn->head, "content-md5", md5, sizeof md5);
        }
        field(conn->head, "x-ms-content-crc64", crc64, sizeof crc64);
        field(conn->head, "x-amz-checksum-sha256", sha, sizeof sha);
        bool azure = strstr(conn->head, "x-ms-") != NULL;
        at = (size_t)snprintf(conn->reply, room, "HTTP/1.1 %s\r\nContent-Length: 0\r\n",
                              azure ? "201 Created" : "200 OK");
        at = line_add(conn->reply, room, at, "Content-MD5", md5);
        at = line_add(conn->reply, room, at, "x-ms-content-crc64", crc64);
        at = line_add(conn->reply, room, at, "x-amz-checksum-sha256", sha);
        at += (size_t)snprintf(conn->reply + at, room - at, "ETag: \"0x8D\"\r\n\r\n");
    } else if (strncmp(conn->head, "GET", 3) == 0) {
        at = (size_t)snprintf(conn->reply, room,
                              "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"
                              "Content-Length: %zu\r\n\r\n%s",
                              sizeof list - 1, list);
    } else {
        at = (size_t)snprintf(conn->reply, room,
                              "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
    conn->reply_size = at;
}

static void conn_close(struct loop *loop, struct conn *conn) {
    close(conn->fd);
    atomic_fetch_sub(&loop->sink->connections, 1);
    conn->fd = -1;
    if (!conn->waits) {
        free(conn);
    }
}

static void reply_send(struct loop *loop, struct conn *conn) {
    conn->waits = false;
    if (conn->fd < 0) {
        free(conn);
        return;
    }
    if (write(conn->fd, conn->reply, conn->reply_size) != (ssize_t)conn->reply_size) {
        conn_close(loop, conn);
    }
}

static void request_end(struct loop *loop, struct conn *conn) {
    conn->in_body = false;
    atomic_fetch_add(&loop->sink->requests, 1);
    if (loop->delay_ms == 0) {
        reply_send(loop, conn);
        return;
    }
    conn->waits = true;
    conn->due_s = bench_clock_s() + loop->delay_ms / 1000.0;
    conn->next = NULL;
    *loop->last = conn;
    loop->last = &conn->next;
}

static void replies_due(struct loop *loop) {
    double now_s = bench_clock_s();
    while (loop->first != NULL && loop->first->due_s <= now_s) {
        struct conn *conn = loop->first;
        loop->first = conn->next;
        if (loop->first == NULL) {
            loop->last = &loop->first;
        }
        reply_send(loop, conn);
    }
}

/* The head is whole: the rest of what came with it belongs to the body. Nobody pipelines. */
static void head_end(struct loop *loop, struct conn *conn, size_t size) {
    char value[64];
    conn->body_left = strtoull(field(conn->head, "content-length", value, sizeof value), NULL, 10);
    reply_make(conn);
    if (*field(conn->head, "expect", value, sizeof value) != '\0') {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        ssize_t sent = write(conn->fd, go_on, sizeof go_on - 1);
        (void)sent;
    }
    uint64_t with_it = conn->got - size;
    conn->got = 0;
    conn->in_body = true;
    conn->body_left -= with_it < conn->body_left ? with_it : conn->body_left;
    if (conn->body_left == 0) {
        request_end(loop, conn);
    }
}

static void readable(struct loop *loop, struct conn *conn) {
    for (;;) {
        char *into = conn->in_body ? loop->scrap : conn->head + conn->got;
        size_t room = conn->in_body ? sizeof loop->scrap : HEAD_MAX - 1 - conn->got;
        ssize_t got = read(conn->fd, into, room);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got <= 0) {
            conn_close(loop, conn);
            return;
        }
        atomic_fetch_add(&loop->sink->bytes, (uint64_t)got);
        if (conn->in_body) {
            conn->body_left -= (uint64_t)got < conn->body_left ? (uint64_t)got : conn->body_left;
            if (conn->body_left == 0) {
                request_end(loop, conn);
                return;
            }
            continue;
        }
        conn->got += (size_t)got;
        conn->head[conn->got] = '\0';
        char *end = strstr(conn->head, "\r\n\r\n");
        if (end != NULL) {
            head_end(loop, conn, (size_t)(end + 4 - conn->head));
            return;
        }
    }
}

static void conn_accept(struct loop *loop, int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    struct conn *conn = fd >= 0 ? calloc(1, sizeof *conn) : NULL;
    if (conn == NULL) {
        return;
    }
    conn->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event);
    unsigned now = atomic_fetch_add(&loop->sink->connections, 1) + 1;
    if (now > atomic_load(&loop->sink->widest)) {
        atomic_store(&loop->sink->widest, now);
    }
}

void bench_sink_run(int listener, int delay_ms, struct bench_sink *sink) {
    static struct loop loop;
    loop = (struct loop){.delay_ms = delay_ms, .sink = sink, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    loop.last = &loop.first;
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    epoll_ctl(loop.epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        double wait_s = loop.first != NULL ? loop.first->due_s - bench_clock_s() : 3600;
        int count =
            epoll_wait(loop.epoll, events, EVENTS, wait_s > 0 ? (int)(wait_s * 1000) + 1 : 0);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                conn_accept(&loop, listener);
            } else {
                readable(&loop, events[i].data.ptr);
            }
        }
        replies_due(&loop);
    }
}

int bench_sink_start(int delay_ms, struct bench_sink *sink, int *port, pid_t *pid,
                     struct err *err) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) != 0 || listen(fd, CONNS_MAX) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        return err_sys(err, errno, "the sink cannot listen");
    }
    *port = ntohs(name.sin_port);
    fflush(NULL);
    *pid = fork();
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bench_sink_run(fd, delay_ms, sink);
    }
    close(fd);
    return *pid < 0 ? err_sys(err, errno, "the sink cannot start") : 0;
}
