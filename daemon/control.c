#include "daemon/control.h"
#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Of the reply: how many bytes follow it. The name is the envelope's own: a frame has "bytes" too.
 */
#define ATTACHED_KEY    "attached_bytes"

#define ACCEPT_PAUSE_MS 100 /* without descriptors, accept fails at once, again and again */

struct control {
    char path[108];
    control_handler *handler;
    void *ctx;
    int listener, wake;
    pthread_t thread;
};

/* ---- both ends ---- */

static int address_of(const char *path, struct sockaddr_un *out, struct err *err) {
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(out->sun_path)) {
        return err_set(err, ERR_CONFIG,
                       "control.socket: %s is longer than the %zu bytes a socket may have", path,
                       sizeof(out->sun_path) - 1);
    }
    memcpy(out->sun_path, path, strlen(path) + 1);
    return 0;
}

static int wait_for(int fd, short events, int64_t deadline_us) {
    int64_t left_ms = (deadline_us - clock_boot_us()) / 1000;
    struct pollfd poller = {.fd = fd, .events = events};
    return left_ms > 0 && poll(&poller, 1, (int)left_ms) > 0 ? 0 : -1;
}

static int send_all(int fd, const void *bytes, size_t size, int64_t deadline_us) {
    const char *next = bytes;
    while (size) {
        if (wait_for(fd, POLLOUT, deadline_us)) {
            return -1;
        }
        ssize_t put = send(fd, next, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (put <= 0) {
            return -1;
        }
        next += put;
        size -= (size_t)put;
    }
    return 0;
}

/* Reads until the newline (which is dropped); what came behind it stays in `rest`. */
static int receive_line(int fd, struct buf *line, struct buf *rest, int64_t deadline_us) {
    char chunk[8192];
    while (!line->failed && wait_for(fd, POLLIN, deadline_us) == 0) {
        ssize_t got = recv(fd, chunk, sizeof(chunk), 0);
        if (got <= 0) {
            return -1;
        }
        const char *end = memchr(chunk, '\n', (size_t)got);
        buf_append(line, chunk, end ? (size_t)(end - chunk) : (size_t)got);
        if (end) {
            size_t used = (size_t)(end - chunk) + 1;
            buf_append(rest, chunk + used, (size_t)got - used);
            return line->failed || rest->failed ? -1 : 0;
        }
    }
    return -1;
}

/* ---- the server's end ---- */

static json_t *error_reply(const struct err *err) {
    char why[2 * ERR_TEXT_MAX];
    return json_pack("{s:{s:i,s:s,s:s}}", "error", "code", err->code, "name", err_name(err->code),
                     "message", err_text(err, why, sizeof(why)));
}

static void send_reply(int fd, json_t *reply, const struct control_bytes *bytes,
                       int64_t deadline_us) {
    if (bytes->size) {
        json_object_set_new(reply, ATTACHED_KEY, json_integer((json_int_t)bytes->size));
    }
    CLEANUP(mem_free_at) char *text = json_dumps(reply, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text || send_all(fd, text, strlen(text), deadline_us) ||
        send_all(fd, "\n", 1, deadline_us) || send_all(fd, bytes->data, bytes->size, deadline_us)) {
        log_debug("control: the caller went away", "%s", "");
    }
}

static void serve(struct control *control, int fd) {
    int64_t deadline_us = clock_boot_us() + (int64_t)CONTROL_DEADLINE_MS * 1000;
    struct buf line = BUF_INIT(CONTROL_REQUEST_MAX), rest = BUF_INIT(CONTROL_REQUEST_MAX);
    if (receive_line(fd, &line, &rest, deadline_us) == 0) {
        struct err err = {0};
        struct control_bytes bytes = {0};
        json_t *reply = NULL;
        json_t *request = json_loadb(line.data ? line.data : "", line.len, 0, NULL);
        int code = request ? control->handler(control->ctx, request, &reply, &bytes, &err)
                           : err_set(&err, ERR_INVALID, "the request is not JSON");
        if (code) {
            reply = error_reply(&err);
        }
        if (reply) {
            send_reply(fd, reply, &bytes, deadline_us);
        }
        free(bytes.data);
        json_decref(reply);
        json_decref(request);
    }
    buf_finish(&rest);
    buf_finish(&line);
}

static void *control_main(void *arg) {
    struct control *control = arg;
    for (;;) {
        struct pollfd pollers[] = {{.fd = control->listener, .events = POLLIN},
                                   {.fd = control->wake, .events = POLLIN}};
        if (poll(pollers, 2, -1) < 0 && errno != EINTR) {
            return NULL;
        }
        if (pollers[1].revents) {
            return NULL;
        }
        if (pollers[0].revents & POLLIN) {
            CLEANUP(fd_close_at) int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                serve(control, fd);
            } else {
                clock_sleep_ms(ACCEPT_PAUSE_MS);
            }
        }
    }
}

/* A socket file whose daemon died answers ECONNREFUSED: it may be replaced. */
static int clear_stale(const char *path, const struct sockaddr_un *address, struct err *err) {
    CLEANUP(fd_close_at) int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return err_sys(err, errno, "cannot make a socket");
    }
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0) {
        return err_set(err, ERR_EXISTS, "a creel daemon already listens on %s", path);
    }
    if (errno == ECONNREFUSED) {
        unlink(path);
    }
    return 0;
}

static void open_to_group(const char *path) {
    char room[4096];
    struct group entry, *found = NULL;
    if (getgrnam_r("creel", &entry, room, sizeof(room), &found) == 0 && found &&
        chown(path, (uid_t)-1, found->gr_gid) < 0) {
        log_debug("control socket stays with this user's group", "path=%s", path);
    }
    chmod(path, 0660);
}

static int listen_on(struct control *control, struct err *err) {
    struct sockaddr_un address;
    int code = address_of(control->path, &address, err);
    if (!code) {
        code = clear_stale(control->path, &address, err);
    }
    if (code) {
        return code;
    }
    control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Nobody may connect before open_to_group has decided. The socket's own mode and not the umask,
     * which is the process's: other threads are making files and directories by now. */
    if (control->listener < 0 || fchmod(control->listener, 0600) < 0 ||
        bind(control->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(control->listener, 16) < 0) {
        int saved = errno;
        code = err_sys(err, saved, "cannot listen on the control socket %s (control.socket)",
                       control->path);
        bool no_directory = saved == ENOENT; /* a wrong path, which no restart mends */
        if (no_directory && err) {
            err->code = ERR_CONFIG;
        }
        return no_directory ? ERR_CONFIG : code;
    }
    open_to_group(control->path);
    return 0;
}

static void destroy(struct control *control) {
    fd_close_at(&control->listener);
    fd_close_at(&control->wake);
    free(control);
}

int control_start(const char *path, control_handler *handler, void *ctx, struct control **out,
                  struct err *err) {
    struct control *control = mem_alloc(sizeof(*control));
    if (!control) {
        return err_set(err, ERR_NOMEM, "no memory for the control socket");
    }
    *control = (struct control){.handler = handler, .ctx = ctx, .listener = -1};
    snprintf(control->path, sizeof(control->path), "%s", path);
    control->wake = eventfd(0, EFD_CLOEXEC);
    int code = control->wake < 0 ? err_sys(err, errno, "cannot make an eventfd")
               : strlen(path) >= sizeof(control->path)
                   ? err_set(err, ERR_CONFIG, "control.socket: the path is longer than %zu bytes",
                             sizeof(control->path) - 1)
                   : listen_on(control, err);
    if (!code) {
        int failed = pthread_create(&control->thread, NULL, control_main, control);
        code = failed ? err_sys(err, failed, "cannot start the control thread") : 0;
    }
    if (code) {
        destroy(control);
        return code;
    }
    *out = control;
    return 0;
}

void control_stop(struct control *control) {
    if (!control) {
        return;
    }
    eventfd_write(control->wake, 1);
    pthread_join(control->thread, NULL);
    unlink(control->path);
    destroy(control);
}

/* ---- the command's end ---- */

static int dial(const char *path, int *fd, struct err *err) {
    struct sockaddr_un address;
    int code = address_of(path, &address, err);
    if (code) {
        return code;
    }
    CLEANUP(fd_close_at) int dialled = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (dialled < 0) {
        return err_sys(err, errno, "cannot make a socket");
    }
    if (connect(dialled, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED) {
            return err_set(err, ERR_NOT_FOUND, "no daemon listens on %s", path);
        }
        return err_sys(err, errno,
                       "cannot reach the daemon at %s (are you root, creel, or in group creel?)",
                       path);
    }
    *fd = TAKE_FD(dialled);
    return 0;
}

static int receive_bytes(int fd, const json_t *reply, const struct buf *rest,
                         struct control_bytes *bytes, int64_t deadline_us, struct err *err) {
    size_t size = (size_t)json_integer_value(json_object_get(reply, ATTACHED_KEY));
    if (!size) {
        return 0;
    }
    if (size > FRAME_BLOB_MAX || rest->len > size) {
        return err_set(err, ERR_INVALID, "the daemon announced %zu bytes", size);
    }
    CLEANUP(mem_free_at) uint8_t *data = mem_alloc(size);
    if (!data) {
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", size);
    }
    memcpy(data, rest->data ? rest->data : "", rest->len);
    for (size_t have = rest->len; have < size;) {
        ssize_t got =
            wait_for(fd, POLLIN, deadline_us) ? -1 : recv(fd, data + have, size - have, 0);
        if (got <= 0) {
            return err_set(err, ERR_NET, "the daemon went away in the middle of its answer");
        }
        have += (size_t)got;
    }
    bytes->data = TAKE_PTR(data);
    bytes->size = size;
    return 0;
}

static int error_of_reply(const json_t *reply, struct err *err) {
    const json_t *error = json_object_get(reply, "error");
    if (!error) {
        return 0;
    }
    const char *message = json_string_value(json_object_get(error, "message"));
    int code = (int)json_integer_value(json_object_get(error, "code"));
    return err_set(err, code < 0 ? code : ERR_INVALID, "%s",
                   message ? message : "the daemon refused");
}

int control_call(const char *path, const json_t *request, json_t **reply,
                 struct control_bytes *bytes, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    int code = dial(path, &fd, err);
    if (code) {
        return code;
    }
    int64_t deadline_us = clock_boot_us() + 3 * (int64_t)CONTROL_DEADLINE_MS * 1000;
    CLEANUP(mem_free_at) char *text = json_dumps(request, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text || send_all(fd, text, strlen(text), deadline_us) ||
        send_all(fd, "\n", 1, deadline_us)) {
        return err_set(err, ERR_NET, "the daemon at %s does not take requests", path);
    }
    CLEANUP(buf_finish) struct buf line = BUF_INIT(CONTROL_REPLY_MAX);
    CLEANUP(buf_finish) struct buf rest = BUF_INIT(CONTROL_REPLY_MAX);
    if (receive_line(fd, &line, &rest, deadline_us)) {
        return err_set(err, ERR_NET, "the daemon at %s gave no answer", path);
    }
    json_t *answer = json_loadb(line.data ? line.data : "", line.len, 0, NULL);
    code = answer ? error_of_reply(answer, err)
                  : err_set(err, ERR_INVALID, "the daemon's answer is not JSON");
    if (!code) {
        code = receive_bytes(fd, answer, &rest, bytes, deadline_us, err);
    }
    if (code) {
        json_decref(answer);
        return code;
    }
    *reply = answer;
    return 0;
}
