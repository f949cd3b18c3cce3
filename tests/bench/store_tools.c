#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "tests/bench/store_bench.h"
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILL_POLL_US 500
#define VALUES_MAX   4096

/* ---- numbers ---- */

int64_t bench_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_median(const double *values, size_t count) {
    double sorted[VALUES_MAX];
    size_t used = count < VALUES_MAX ? count : VALUES_MAX;
    if (!used) {
        return 0;
    }
    memcpy(sorted, values, used * sizeof(*values));
    qsort(sorted, used, sizeof(*sorted), by_size);
    return used % 2 ? sorted[used / 2] : (sorted[used / 2 - 1] + sorted[used / 2]) / 2;
}

double bench_greatest(const double *values, size_t count) {
    double greatest = 0;
    for (size_t i = 0; i < count; i++) {
        greatest = values[i] > greatest ? values[i] : greatest;
    }
    return greatest;
}

/* ---- directories and files ---- */

int bench_dir_make(const struct bench_options *options, char out[BENCH_PATH_MAX], struct err *err) {
    int code = fs_join(out, BENCH_PATH_MAX, options->dir, "creel-bench-XXXXXX", err);
    if (!code && !mkdtemp(out)) {
        code = err_sys(err, errno, "cannot make %s: name another folder with --dir", out);
    }
    return code;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

void bench_dir_remove(const char *dir) {
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

uint64_t bench_file_bytes(const char *dir, const char *name) {
    char path[FS_PATH_MAX];
    struct stat info;
    if (fs_join(path, sizeof(path), dir, name, NULL) || stat(path, &info) < 0) {
        return 0;
    }
    return (uint64_t)info.st_size;
}

double bench_memory_mib(const char *what) {
    char line[256];
    double mib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof(line), status)) {
        size_t size = strlen(what);
        if (strncmp(line, what, size) == 0 && line[size] == ':') {
            mib = strtod(line + size + 1, NULL) / 1024;
        }
    }
    if (status) {
        fclose(status);
    }
    return mib;
}

/* ---- children ---- */

void *bench_shared(size_t size) {
    void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? NULL : shared;
}

void bench_shared_drop(void *shared, size_t size) {
    if (shared) {
        munmap(shared, size);
    }
}

static void child_run(bench_child_fn *run, void *shared) {
    struct err err = {0};
    int code = run(shared, &err);
    if (code) {
        char text[2 * ERR_TEXT_MAX];
        fprintf(stderr, "bench-store: %s\n", err_text(&err, text, sizeof(text)));
    }
    _exit(code ? EXIT_FAILURE : EXIT_SUCCESS);
}

static int child_start(bench_child_fn *run, void *shared, pid_t *out, struct err *err) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        child_run(run, shared);
    }
    *out = child;
    return child < 0 ? err_sys(err, errno, "cannot start a child") : 0;
}

int bench_child(bench_child_fn *run, void *shared, struct err *err) {
    pid_t child;
    int status = 0;
    int code = child_start(run, shared, &child, err);
    if (code) {
        return code;
    }
    if (waitpid(child, &status, 0) < 0) {
        return err_sys(err, errno, "cannot wait for a child");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
        return err_set(err, ERR_CRASHED, "a stage failed (wait status 0x%x)", (unsigned)status);
    }
    return 0;
}

int bench_child_killed(bench_child_fn *run, void *shared, const atomic_uint_fast64_t *count,
                       uint64_t enough, struct err *err) {
    pid_t child;
    int status = 0;
    int code = child_start(run, shared, &child, err);
    if (code) {
        return code;
    }
    while (atomic_load(count) < enough && waitpid(child, &status, WNOHANG) == 0) {
        usleep(KILL_POLL_US);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return atomic_load(count) >= enough
               ? 0
               : err_set(err, ERR_CRASHED, "the stage to be killed ended by itself");
}
