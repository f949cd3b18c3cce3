/* Starting, hearing and burying a worker process.
 *
 * Invariants: 1. The process gets the descriptors of worker_protocol.h and no others, and an
 * environment without ours, which may hold secrets. 2. Its noise is taken whenever we wait, so that
 * it never blocks on it. 3. The socket's other end is the child's alone: end of file means it is
 * gone. */
#include "inference/detector_child.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#if !defined(F_SEAL_FUTURE_WRITE)
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { ASK_TIMEOUT_MS = 10000, CANCEL_LOOK_MS = 100 };

/* ---- messages ---- */

bool child_idle(struct child *child) {
    process_hear(&child->process);
    struct pollfd polled = {.fd = child->socket, .events = POLLIN};
    return child->process.pid > 0 && poll(&polled, 1, 0) == 0;
}

int child_send(struct child *child, const void *message, size_t size, struct err *err) {
    ssize_t sent;
    process_forget(&child->process);
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
                                   {.fd = child->process.noise, .events = POLLIN}};
        int64_t left = (end - clock_boot_us() + 999) / 1000;
        int ready = poll(polled, 2, left > 0 ? (int)left : 0);
        if (ready < 0 && errno != EINTR) {
            return err_sys(err, errno, "waiting for the worker process");
        }
        if (ready > 0 && polled[1].revents != 0) {
            process_hear(&child->process);
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

/* ---- memory ---- */

/* Order matters: our writable mapping first, then the seal that forbids all later ones. */
int child_memory_init(struct child_memory *memory, size_t size, struct err *err) {
    int fd = memfd_create("creel-frame", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    memory->write_fd = fd;
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
        return err_sys(err, errno, "making shared memory for frames");
    }
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        return err_sys(err, errno, "mapping shared memory for frames");
    }
    memory->bytes = bytes;
    memory->size = size;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        return err_sys(err, errno, "sealing shared memory for frames");
    }
    fcntl(fd, F_ADD_SEALS,
          F_SEAL_FUTURE_WRITE); /* Linux 5.1; the read-only descriptor holds without it */
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    memory->read_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (memory->read_fd < 0) {
        return err_sys(err, errno, "opening %s for the worker process (is /proc mounted?)", path);
    }
    return 0;
}

void child_memory_finish(struct child_memory *memory) {
    if (memory->bytes != NULL) {
        munmap(memory->bytes, memory->size);
    }
    fd_close_at(&memory->read_fd);
    fd_close_at(&memory->write_fd);
    *memory = (struct child_memory){.read_fd = -1, .write_fd = -1};
}

/* ---- birth ---- */

static int output_make(struct child *child, size_t size, struct err *err) {
    child->output = memfd_create("creel-verdict", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (child->output < 0 || ftruncate(child->output, (off_t)size) != 0 ||
        fcntl(child->output, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        return err_sys(err, errno, "making shared memory for the verdict");
    }
    return 0;
}

/* Waits in pieces, so that a shutdown need not wait for a large model to load. */
static int hello_wait(struct child *child, const struct child_setup *setup,
                      struct worker_hello *hello, struct err *err) {
    int64_t end = clock_boot_us() + (int64_t)setup->timeout_ms * 1000;
    int code;
    do {
        if (setup->cancel != NULL && atomic_load(setup->cancel)) {
            return err_set(err, ERR_CLOSED, "the model was not loaded to its end: creel stops");
        }
        int64_t left = (end - clock_boot_us()) / 1000;
        int piece = left < CANCEL_LOOK_MS ? (int)(left > 0 ? left : 0) : CANCEL_LOOK_MS;
        code = child_get(child, hello, sizeof(*hello), piece, err);
    } while (code == ERR_TIMEOUT && clock_boot_us() < end);
    return code != ERR_TIMEOUT ? code
                               : err_set(err, code,
                                         "the worker process did not answer within %d ms; it was "
                                         "loading the model",
                                         setup->timeout_ms);
}

static int hello_get(struct child *child, const struct child_setup *setup, struct err *err) {
    struct worker_hello hello = {0};
    int code = child_send(child, &setup->start, sizeof(setup->start), err);
    if (code == 0) {
        code = hello_wait(child, setup, &hello, err);
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
    process_forget(&child->process);
    child->process.ready = true;
    child->sandbox = hello.sandbox;
    memcpy(child->backend, hello.backend, sizeof(child->backend));
    return 0;
}

static int child_wire(const struct child_setup *setup, struct child *child, struct err *err) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        return err_sys(err, errno, "making a socket for the worker process");
    }
    CLEANUP(fd_close_at) int their_socket = sockets[1];
    child->socket = sockets[0];
    int code = output_make(child, worker_output_size(&setup->start), err);
    if (code != 0) {
        return code;
    }
    struct process_wiring wiring = {
        .fds = {their_socket, setup->input_fd, child->output, setup->cfg_fd, setup->weights_fd},
        .count = WORKER_FD_END - WORKER_FD_SOCKET,
    };
    char *argv[] = {(char *)(uintptr_t)setup->worker_path, NULL};
    return process_spawn(argv, &wiring, &child->process, err);
}

int child_start(const struct child_setup *setup, struct child *out, struct err *err) {
    struct child child = {.process = {.name = "worker", .noise = -1, .limit = setup->limit},
                          .socket = -1,
                          .output = -1};
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
        code = err_set(err, ERR_CRASHED, "while it loaded the model, the worker process %s", death);
    }
    child_end(&child);
    return code;
}

/* ---- death ---- */

void child_autopsy(struct child *child, char *out, size_t size) {
    process_autopsy(&child->process, out, size);
}

void child_end(struct child *child) {
    process_end(&child->process);
    fd_close_at(&child->socket);
    fd_close_at(&child->output);
    *child = (struct child){.process = PROCESS_NONE, .socket = -1, .output = -1};
}

/* ---- the question ---- */

static void end_at(struct child **child) {
    child_end(*child);
}

int child_ask_backend(const char *worker_path, char *out, size_t size, struct err *err) {
    struct child child = {.process = {.name = "worker", .noise = -1}, .socket = -1, .output = -1};
    CLEANUP(end_at) struct child *asked = &child;
    char *argv[] = {(char *)(uintptr_t)worker_path, (char *)(uintptr_t) "--backend", NULL};
    struct process_wiring wiring = {0};
    int code = process_spawn(argv, &wiring, &asked->process, err);
    if (code != 0) {
        return code;
    }
    int64_t end = clock_boot_us() + (int64_t)ASK_TIMEOUT_MS * 1000;
    while (asked->process.noise >= 0 && clock_boot_us() < end) {
        struct pollfd polled = {.fd = asked->process.noise, .events = POLLIN};
        poll(&polled, 1, 100);
        process_hear(&asked->process);
    }
    if (asked->process.last[0] == '\0') {
        return err_set(err, ERR_INVALID, "%s does not say what it is", worker_path);
    }
    snprintf(out, size, "%s", asked->process.last);
    return 0;
}
