/* Starting, hearing and burying a worker process.
 *
 * Invariants: 1. The process gets the descriptors of worker_protocol.h and no others, and an
 * environment without ours, which may hold secrets. 2. Its stdout and stderr are a pipe that is
 * emptied whenever we wait, so that it never blocks on its own noise. 3. The socket's other end is
 * the child's alone: end of file means it is gone. posix_spawn and not fork: the daemon has threads
 * and megabytes of mappings. */
#include "inference/detector_child.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
    SPARE_FD = 64, /* copies of the child's descriptors start here, out of the way of 3 to 7 */
    NOISE_PART = 4096,
    ASK_TIMEOUT_MS = 10000,
    ENVIRONMENT_MAX = 16,
};

/* What may pass into the child's environment: a prefix of NAME=. */
static const char *const passed[] = {
    "ASAN_OPTIONS=",         "UBSAN_OPTIONS=",   "TSAN_OPTIONS=",    "LD_LIBRARY_PATH=",
    "CUDA_VISIBLE_DEVICES=", "CUDA_CACHE_PATH=", "OMP_NUM_THREADS=",
};

static void environment_make(char **out) {
    size_t count = 0;
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        for (size_t i = 0; i < ARRAY_LENGTH(passed) && count < ENVIRONMENT_MAX - 1; i++) {
            if (strncmp(*at, passed[i], strlen(passed[i])) == 0) {
                out[count++] = *at;
            }
        }
    }
    out[count] = NULL;
}

/* The descriptors that the child gets as 1 and 2, and as 3 and up. */
struct wiring {
    int output;
    int fds[WORKER_FD_END - WORKER_FD_SOCKET];
    size_t count;
};

static void actions_destroy_at(posix_spawn_file_actions_t **actions) {
    posix_spawn_file_actions_destroy(*actions);
}

static void attributes_destroy_at(posix_spawnattr_t **attributes) {
    posix_spawnattr_destroy(*attributes);
}

/* errno-style code of the spawn. `wiring->fds` must lie above WORKER_FD_END. */
static int spawn_wired(const char *path, char **argv, const struct wiring *wiring, pid_t *pid) {
    posix_spawn_file_actions_t plan;
    posix_spawnattr_t marks;
    if (posix_spawn_file_actions_init(&plan) != 0 || posix_spawnattr_init(&marks) != 0) {
        return ENOMEM;
    }
    CLEANUP(actions_destroy_at) posix_spawn_file_actions_t *actions = &plan;
    CLEANUP(attributes_destroy_at) posix_spawnattr_t *attributes = &marks;
    int code = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, wiring->output, 1);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, wiring->output, 2);
    for (size_t i = 0; i < wiring->count && code == 0; i++) {
        code = posix_spawn_file_actions_adddup2(actions, wiring->fds[i], WORKER_FD_SOCKET + (int)i);
    }
    if (code == 0) {
        code = posix_spawn_file_actions_addclosefrom_np(actions,
                                                        WORKER_FD_SOCKET + (int)wiring->count);
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    char *environment[ENVIRONMENT_MAX];
    environment_make(environment);
    return code != 0 ? code : posix_spawn(pid, path, actions, attributes, argv, environment);
}

/* Copies the descriptors out of the way, spawns, closes the copies. */
static int spawn(const char *path, char **argv, const struct wiring *wiring, pid_t *pid,
                 struct err *err) {
    struct wiring copies = {.output = -1, .count = wiring->count};
    int code = 0;
    copies.output = fcntl(wiring->output, F_DUPFD_CLOEXEC, SPARE_FD);
    code = copies.output < 0 ? errno : 0;
    for (size_t i = 0; i < copies.count; i++) {
        copies.fds[i] = code == 0 ? fcntl(wiring->fds[i], F_DUPFD_CLOEXEC, SPARE_FD) : -1;
        code = code == 0 && copies.fds[i] < 0 ? errno : code;
    }
    if (code == 0) {
        code = spawn_wired(path, argv, &copies, pid);
    }
    fd_close_at(&copies.output);
    for (size_t i = 0; i < copies.count; i++) {
        fd_close_at(&copies.fds[i]);
    }
    return code == 0 ? 0 : err_sys(err, code, "starting the worker program %s", path);
}

/* ---- noise ---- */

static void noise_take(struct child *child, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != '\n' && child->line_length < sizeof(child->line) - 1) {
            bool plain = (unsigned char)bytes[i] >= 0x20 && (unsigned char)bytes[i] < 0x7f;
            child->line[child->line_length++] = plain ? bytes[i] : '?';
            continue;
        }
        child->line[child->line_length] = '\0';
        if (child->line_length > 0) {
            memcpy(child->last, child->line, child->line_length + 1);
            log_debug("worker says", "pid=%d line=\"%s\"", (int)child->pid, child->line);
        }
        child->line_length = 0;
    }
}

/* Empties the pipe without waiting; closes it at its end. */
static void noise_drain(struct child *child) {
    char part[NOISE_PART];
    while (child->noise >= 0) {
        ssize_t got = read(child->noise, part, sizeof(part));
        if (got > 0) {
            noise_take(child, part, (size_t)got);
        } else if (got == 0) {
            fd_close_at(&child->noise);
            child->noise = -1;
        } else {
            return;
        }
    }
}

/* ---- messages ---- */

bool child_idle(struct child *child) {
    noise_drain(child);
    struct pollfd polled = {.fd = child->socket, .events = POLLIN};
    return child->pid > 0 && poll(&polled, 1, 0) == 0;
}

int child_send(struct child *child, const void *message, size_t size, struct err *err) {
    ssize_t sent;
    do {
        sent = send(child->socket, message, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)size) {
        return 0;
    }
    return err_set(err, ERR_CRASHED, "the worker process does not listen: %s", strerror(errno));
}

static int packet_take(struct child *child, void *message, size_t size, struct err *err) {
    ssize_t got;
    do {
        got = recv(child->socket, message, size, MSG_TRUNC | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got == (ssize_t)size) {
        return 0;
    }
    if (got <= 0) {
        return err_set(err, ERR_CRASHED, "the worker process is gone");
    }
    return err_set(err, ERR_CORRUPT, "the worker process sent a message of %zd bytes; expected %zu",
                   got, size);
}

int child_get(struct child *child, void *message, size_t size, int timeout_ms, struct err *err) {
    int64_t end = clock_boot_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        struct pollfd polled[2] = {{.fd = child->socket, .events = POLLIN},
                                   {.fd = child->noise, .events = POLLIN}};
        int64_t left = (end - clock_boot_us() + 999) / 1000;
        int ready = poll(polled, 2, left > 0 ? (int)left : 0);
        if (ready < 0 && errno != EINTR) {
            return err_sys(err, errno, "waiting for the worker process");
        }
        if (ready > 0 && polled[1].revents != 0) {
            noise_drain(child);
        }
        if (ready > 0 && polled[0].revents != 0) {
            return packet_take(child, message, size, err);
        }
        if (left <= 0) {
            return err_set(err, ERR_TIMEOUT, "the worker process did not answer within %d ms",
                           timeout_ms);
        }
    }
}

/* ---- birth ---- */

static int output_make(struct child *child, struct err *err) {
    child->output = memfd_create("creel-verdict", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (child->output < 0 || ftruncate(child->output, (off_t)WORKER_OUTPUT_SIZE) != 0 ||
        fcntl(child->output, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        return err_sys(err, errno, "making shared memory for the verdict");
    }
    return 0;
}

static int hello_get(struct child *child, const struct child_setup *setup, struct err *err) {
    struct worker_hello hello = {0};
    int code = child_send(child, &setup->start, sizeof(setup->start), err);
    if (code == 0) {
        code = child_get(child, &hello, sizeof(hello), setup->timeout_ms, err);
    }
    if (code != 0) {
        return code;
    }
    hello.text[sizeof(hello.text) - 1] = '\0';
    hello.backend[sizeof(hello.backend) - 1] = '\0';
    if (hello.version != WORKER_PROTOCOL_VERSION) {
        return err_set(err, ERR_INVALID, "%s is of another version of creel", setup->worker_path);
    }
    if (hello.kind != WORKER_READY) {
        return err_set(err, ERR_INVALID, "the worker process cannot use the model: %s", hello.text);
    }
    child->sandbox = hello.sandbox;
    memcpy(child->backend, hello.backend, sizeof(child->backend));
    return 0;
}

static int child_wire(const struct child_setup *setup, struct child *child, struct err *err) {
    int sockets[2], pipes[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        return err_sys(err, errno, "making a socket for the worker process");
    }
    CLEANUP(fd_close_at) int their_socket = sockets[1];
    child->socket = sockets[0];
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe for the worker process");
    }
    CLEANUP(fd_close_at) int their_noise = pipes[1];
    child->noise = pipes[0];
    fcntl(child->noise, F_SETFL, O_NONBLOCK);
    int code = output_make(child, err);
    if (code != 0) {
        return code;
    }
    struct wiring wiring = {
        .output = their_noise,
        .fds = {their_socket, setup->input_fd, child->output, setup->cfg_fd, setup->weights_fd},
        .count = WORKER_FD_END - WORKER_FD_SOCKET,
    };
    char *argv[] = {(char *)(uintptr_t)setup->worker_path, NULL};
    return spawn(setup->worker_path, argv, &wiring, &child->pid, err);
}

int child_start(const struct child_setup *setup, struct child *out, struct err *err) {
    struct child child = {.socket = -1, .noise = -1, .output = -1};
    int code = child_wire(setup, &child, err);
    if (code == 0) {
        code = hello_get(&child, setup, err);
    }
    if (code == 0) {
        *out = child;
        return 0;
    }
    if (code == ERR_CRASHED) {
        char death[CHILD_LINE_SIZE];
        child_autopsy(&child, death, sizeof(death));
        code = err_set(err, ERR_CRASHED, "the worker process %s while it loaded the model%s%s",
                       death, child.last[0] != '\0' ? "; its last words: " : "", child.last);
    }
    child_end(&child);
    return code;
}

/* ---- death ---- */

void child_autopsy(struct child *child, char *out, size_t size) {
    int status = 0;
    snprintf(out, size, "is gone");
    if (child->pid <= 0) {
        return;
    }
    kill(child->pid, SIGKILL); /* one that is dead already keeps its own status */
    pid_t waited;
    do {
        waited = waitpid(child->pid, &status, 0);
    } while (waited < 0 && errno == EINTR);
    if (waited == child->pid && WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        const char *name =
            number == SIGSYS ? "a system call that its sandbox forbids" : strsignal(number);
        snprintf(out, size, "died of signal %d (%s)", number, name);
    } else if (waited == child->pid && WIFEXITED(status)) {
        snprintf(out, size, "ended with code %d", WEXITSTATUS(status));
    }
    noise_drain(child);
    log_debug("worker ended", "pid=%d how=\"%s\"", (int)child->pid, out);
    child->pid = 0;
}

void child_end(struct child *child) {
    char death[CHILD_LINE_SIZE];
    child_autopsy(child, death, sizeof(death));
    fd_close_at(&child->socket);
    fd_close_at(&child->noise);
    fd_close_at(&child->output);
    *child = (struct child){.socket = -1, .noise = -1, .output = -1};
}

/* ---- the question ---- */

static void end_at(struct child **child) {
    child_end(*child);
}

int child_ask_backend(const char *worker_path, char *out, size_t size, struct err *err) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe for %s", worker_path);
    }
    struct child child = {.socket = -1, .noise = pipes[0], .output = -1};
    CLEANUP(end_at) struct child *asked = &child;
    char *argv[] = {(char *)(uintptr_t)worker_path, (char *)(uintptr_t) "--backend", NULL};
    struct wiring wiring = {.output = pipes[1]};
    int code = spawn(worker_path, argv, &wiring, &asked->pid, err);
    close(pipes[1]);
    if (code != 0) {
        return code;
    }
    fcntl(asked->noise, F_SETFL, O_NONBLOCK);
    int64_t end = clock_boot_us() + (int64_t)ASK_TIMEOUT_MS * 1000;
    while (asked->noise >= 0 && clock_boot_us() < end) {
        struct pollfd polled = {.fd = asked->noise, .events = POLLIN};
        poll(&polled, 1, 100);
        noise_drain(asked);
    }
    if (asked->last[0] == '\0') {
        return err_set(err, ERR_INVALID, "%s does not say what it is", worker_path);
    }
    snprintf(out, size, "%s", asked->last);
    return 0;
}
