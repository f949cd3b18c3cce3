/* overlay: boxes drawn on a kept picture, by a process of its own.
 *
 * A picture is untrusted bytes, and decoding is where those do harm; the daemon holds the keys of
 * the cloud. So the daemon runs this program once more, with nothing of it but two pipes: limited
 * memory and time, no new privileges, an empty environment. In goes the count of detections, they,
 * and the picture; out comes a JPEG, or nothing.
 */
#include "daemon/overlay.h"
#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include "inference/draw.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_MEMORY (UINT64_C(1) << 30)
#define CHILD_CPU_S  20
#define WAIT_MS      30000
#define OUT_MAX      FRAME_BLOB_MAX

/* ---- the child ---- */

static bool read_all(void *bytes, size_t size) {
    return fread(bytes, 1, size, stdin) == size;
}

static bool confine(void) {
    const struct rlimit memory = {CHILD_MEMORY, CHILD_MEMORY}, cpu = {CHILD_CPU_S, CHILD_CPU_S},
                        none = {0, 0}, files = {3, 3};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
           setrlimit(RLIMIT_AS, &memory) == 0 && setrlimit(RLIMIT_CPU, &cpu) == 0 &&
           setrlimit(RLIMIT_NPROC, &none) == 0 && setrlimit(RLIMIT_FSIZE, &none) == 0 &&
           setrlimit(RLIMIT_CORE, &none) == 0 && setrlimit(RLIMIT_NOFILE, &files) == 0;
}

int overlay_child(void) {
    uint64_t count = 0, size = 0;
    if (!confine() || !read_all(&count, sizeof(count)) || !read_all(&size, sizeof(size)) ||
        count > FRAME_DETECTIONS_MAX || size > FRAME_BLOB_MAX) {
        return 1;
    }
    CLEANUP(mem_free_at)
    struct frame_detection *detections = mem_array(count + 1, sizeof(*detections));
    CLEANUP(mem_free_at) uint8_t *bytes = mem_alloc(size + 1);
    CLEANUP(mem_free_at) uint8_t *drawn = NULL;
    size_t drawn_size = 0;
    struct err err;
    if (!detections || !bytes || !read_all(detections, count * sizeof(*detections)) ||
        !read_all(bytes, size) ||
        draw_detections(bytes, size, detections, count, &drawn, &drawn_size, &err)) {
        return 1;
    }
    return fwrite(drawn, 1, drawn_size, stdout) == drawn_size && fflush(stdout) == 0 ? 0 : 1;
}

/* ---- the daemon ---- */

struct pipes {
    int to[2], from[2];
};

static void pipes_close(struct pipes *pipes) {
    int *ends[] = {&pipes->to[0], &pipes->to[1], &pipes->from[0], &pipes->from[1]};
    for (size_t i = 0; i < ARRAY_LENGTH(ends); i++) {
        fd_close_at(ends[i]);
        *ends[i] = -1;
    }
}

static int child_start(struct pipes *pipes, pid_t *pid, struct err *err) {
    char *argv[] = {(char *)(uintptr_t) "creel", (char *)(uintptr_t)OVERLAY_CHILD, NULL},
         *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    if (pipe2(pipes->to, O_CLOEXEC) < 0 || pipe2(pipes->from, O_CLOEXEC) < 0) {
        return err_sys(err, errno, "cannot make a pipe");
    }
    fcntl(pipes->to[1], F_SETFL, O_NONBLOCK);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes->to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes->from[1], STDOUT_FILENO);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int result = posix_spawn(pid, "/proc/self/exe", &actions, &attr, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    fd_close_at(&pipes->to[0]);
    fd_close_at(&pipes->from[1]);
    pipes->to[0] = pipes->from[1] = -1;
    return result ? err_sys(err, result, "cannot start the process that draws") : 0;
}

/* Sends what is left; closes the end when it is all gone. False: nobody reads any more. */
static bool send_some(struct pipes *pipes, const struct buf *in, size_t *sent) {
    ssize_t got = write(pipes->to[1], in->data + *sent, in->len - *sent);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    *sent += (size_t)got;
    if (*sent == in->len) {
        fd_close_at(&pipes->to[1]);
        pipes->to[1] = -1;
    }
    return true;
}

static int talk(struct pipes *pipes, const struct buf *in, struct buf *out, struct err *err) {
    size_t sent = 0;
    char piece[65536];
    for (;;) {
        struct pollfd fds[2] = {{.fd = pipes->from[0], .events = POLLIN},
                                {.fd = pipes->to[1], .events = POLLOUT}};
        int ready = poll(fds, 2, WAIT_MS);
        if (ready <= 0 && !(ready < 0 && errno == EINTR)) {
            return err_sys(err, ETIMEDOUT, "the process that draws does not answer");
        }
        if (ready > 0 && fds[1].revents && !send_some(pipes, in, &sent)) {
            return err_set(err, ERR_INVALID, "the process that draws ended");
        }
        if (ready > 0 && fds[0].revents) {
            ssize_t got = read(pipes->from[0], piece, sizeof(piece));
            if (got == 0) {
                return 0;
            }
            buf_append(out, piece, got > 0 ? (size_t)got : 0);
            if (out->failed) {
                return err_set(err, ERR_FULL, "an overlay is larger than any frame");
            }
        }
    }
}

static int child_end(pid_t pid, bool kill_it, struct err *err) {
    int status = 0;
    if (kill_it) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(err, ERR_INVALID, "the picture cannot be drawn on");
}

int overlay_draw(const uint8_t *bytes, size_t size, const struct frame_detection *detections,
                 size_t count, uint8_t **out, size_t *out_size, struct err *err) {
    CLEANUP(pipes_close) struct pipes pipes = {{-1, -1}, {-1, -1}};
    CLEANUP(buf_finish) struct buf in = BUF_INIT(FRAME_BLOB_MAX + (1u << 20));
    CLEANUP(buf_finish) struct buf answer = BUF_INIT(OUT_MAX);
    uint64_t head[2] = {count, size};
    pid_t pid;
    buf_append(&in, head, sizeof(head));
    buf_append(&in, detections, count * sizeof(*detections));
    buf_append(&in, bytes, size);
    if (in.failed) {
        return err_set(err, ERR_NOMEM, "no memory for an overlay");
    }
    int code = child_start(&pipes, &pid, err);
    if (code) {
        return code;
    }
    code = talk(&pipes, &in, &answer, err);
    int ended = child_end(pid, code != 0, code ? NULL : err);
    code = code ? code : ended;
    if (!code && answer.len == 0) {
        code = err_set(err, ERR_INVALID, "the picture cannot be drawn on");
    }
    if (!code) {
        *out = (uint8_t *)buf_take(&answer, out_size);
    }
    return code;
}
