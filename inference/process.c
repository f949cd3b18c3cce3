/* See process.h. posix_spawn and not fork: the daemon has threads and megabytes of mappings. */
#include "inference/process.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(CREEL_LIBEXEC_DIR)
#define CREEL_LIBEXEC_DIR "/usr/libexec/creel"
#endif

extern char **environ;

enum {
    SPARE_FD = 64, /* copies of the child's descriptors start here, out of the way of its own */
    NOISE_PART = 4096,
    NOISE_PARTS = 32, /* of one process_hear; more than a pipe holds */
    ENVIRONMENT_MAX = 16,
    PATH_SIZE = 4096,
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

static void actions_destroy_at(posix_spawn_file_actions_t **actions) {
    posix_spawn_file_actions_destroy(*actions);
}

static void attributes_destroy_at(posix_spawnattr_t **attributes) {
    posix_spawnattr_destroy(*attributes);
}

/* errno-style code of the spawn. The descriptors must lie above those that the child gets. */
static int spawn_wired(char *const *argv, int output, const struct process_wiring *wiring,
                       pid_t *pid) {
    posix_spawn_file_actions_t plan;
    posix_spawnattr_t marks;
    if (posix_spawn_file_actions_init(&plan) != 0 || posix_spawnattr_init(&marks) != 0) {
        return ENOMEM;
    }
    CLEANUP(actions_destroy_at) posix_spawn_file_actions_t *actions = &plan;
    CLEANUP(attributes_destroy_at) posix_spawnattr_t *attributes = &marks;
    int code = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, output, 1);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, output, 2);
    for (size_t i = 0; i < wiring->count && code == 0; i++) {
        code =
            posix_spawn_file_actions_adddup2(actions, wiring->fds[i], PROCESS_FDS_FIRST + (int)i);
    }
    if (code == 0) {
        code = posix_spawn_file_actions_addclosefrom_np(actions,
                                                        PROCESS_FDS_FIRST + (int)wiring->count);
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                             POSIX_SPAWN_SETPGROUP);
    char *environment[ENVIRONMENT_MAX];
    environment_make(environment);
    return code != 0 ? code : posix_spawn(pid, argv[0], actions, attributes, argv, environment);
}

/* Copies the descriptors out of the way, spawns, closes the copies. errno-style code. */
static int spawn_copied(char *const *argv, int output, const struct process_wiring *wiring,
                        pid_t *pid) {
    struct process_wiring copies = {.count = wiring->count};
    int their_output = fcntl(output, F_DUPFD_CLOEXEC, SPARE_FD);
    int code = their_output < 0 ? errno : 0;
    for (size_t i = 0; i < copies.count; i++) {
        copies.fds[i] = code == 0 ? fcntl(wiring->fds[i], F_DUPFD_CLOEXEC, SPARE_FD) : -1;
        code = code == 0 && copies.fds[i] < 0 ? errno : code;
    }
    if (code == 0) {
        code = spawn_wired(argv, their_output, &copies, pid);
    }
    fd_close_at(&their_output);
    for (size_t i = 0; i < copies.count; i++) {
        fd_close_at(&copies.fds[i]);
    }
    return code;
}

int process_spawn(char *const *argv, const struct process_wiring *wiring, struct process *process,
                  struct err *err) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe for %s", argv[0]);
    }
    CLEANUP(fd_close_at) int output = pipes[1];
    process->noise = pipes[0];
    fcntl(process->noise, F_SETFL, O_NONBLOCK);
    int code = spawn_copied(argv, output, wiring, &process->pid);
    return code == 0 ? 0 : err_sys(err, code, "starting the %s program %s", process->name, argv[0]);
}

/* ---- noise ---- */

static void line_log(const struct process *process) {
    struct process_limit *limit = process->limit;
    char title[32];
    snprintf(title, sizeof(title), "%s says", process->name);
    if (limit == NULL || !process->ready) {
        log_debug(title, "pid=%d line=\"%s\"", (int)process->pid, process->line);
        return;
    }
    int64_t now = clock_boot_us();
    if (limit->window_boot_us == 0 ||
        now - limit->window_boot_us > PROCESS_NOISE_WINDOW_S * INT64_C(1000000)) {
        limit->window_boot_us = now;
        limit->said = 0;
    }
    if (limit->said == PROCESS_NOISE_LINES) {
        limit->held++;
        return;
    }
    log_warn(title, "pid=%d line=\"%s\" not_logged_before=%llu", (int)process->pid, process->line,
             (unsigned long long)limit->held);
    limit->said++;
    limit->held = 0;
}

static void line_end(struct process *process) {
    process->line[process->line_length] = '\0';
    process->line_length = 0;
    if (process->line[0] == '\0') {
        return;
    }
    if (process->scrub != NULL) {
        process->scrub(process->scrub_ctx, process->line);
    }
    memcpy(process->last, process->line, sizeof(process->last));
    line_log(process);
}

/* What does not fit a line is left out: a secret that is cut in two would not be recognised. */
static void noise_take(struct process *process, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            line_end(process);
        } else if (process->line_length < sizeof(process->line) - 1) {
            bool plain = (unsigned char)bytes[i] >= 0x20 && (unsigned char)bytes[i] < 0x7f;
            process->line[process->line_length++] = bytes[i] == '"' ? '\'' : plain ? bytes[i] : '?';
        }
    }
}

void process_hear(struct process *process) {
    char part[NOISE_PART];
    for (int i = 0; i < NOISE_PARTS && process->noise >= 0; i++) {
        ssize_t got = read(process->noise, part, sizeof(part));
        if (got > 0) {
            noise_take(process, part, (size_t)got);
        } else if (got == 0) {
            fd_close_at(&process->noise);
            process->noise = -1;
        } else {
            return;
        }
    }
}

void process_forget(struct process *process) {
    process_hear(process);
    line_end(process);
    process->last[0] = '\0';
}

/* ---- death ---- */

void process_autopsy(struct process *process, char *out, size_t size) {
    int status = 0;
    snprintf(out, size, "is gone");
    if (process->pid <= 0) {
        return;
    }
    kill(-process->pid, SIGKILL); /* one that is dead already keeps its own status */
    kill(process->pid, SIGKILL);
    pid_t waited;
    do {
        waited = waitpid(process->pid, &status, 0);
    } while (waited < 0 && errno == EINTR);
    if (waited == process->pid && WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        const char *name =
            number == SIGSYS ? "a system call that its sandbox forbids" : strsignal(number);
        snprintf(out, size, "died of signal %d (%s)", number, name);
    } else if (waited == process->pid && WIFEXITED(status)) {
        snprintf(out, size, "ended with code %d", WEXITSTATUS(status));
    }
    process_hear(process);
    line_end(process);
    size_t used = strlen(out);
    if (process->last[0] != '\0') {
        snprintf(out + used, size - used, "; its last words: %s", process->last);
    }
    log_debug("process ended", "name=%s pid=%d how=\"%s\"", process->name, (int)process->pid, out);
    process->pid = 0;
}

void process_end(struct process *process) {
    char death[PROCESS_LINE_SIZE];
    process_autopsy(process, death, sizeof(death));
    fd_close_at(&process->noise);
    *process = (struct process)PROCESS_NONE;
}

/* ---- which program ---- */

static bool beside_us(const char *name, char *out, size_t size) {
    char self[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0) {
        return false;
    }
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return snprintf(out, size, "%s/%s", self, name) < (int)size && access(out, X_OK) == 0;
}

bool process_find(const char *name, char *out, size_t size) {
    if (beside_us(name, out, size)) {
        return true;
    }
    return snprintf(out, size, "%s/%s", CREEL_LIBEXEC_DIR, name) < (int)size &&
           access(out, X_OK) == 0;
}

const char *process_libexec(void) {
    return CREEL_LIBEXEC_DIR;
}
