/* rclone (the Debian package), over the same files: its settings go through the environment, so
 * that no configuration of its user's is touched. */
#include "tests/bench/sync_bench.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void settings(const struct bench_server *server) {
    setenv("RCLONE_CONFIG", "/dev/null", 1);
    unsetenv("AWS_CA_BUNDLE"); /* its S3 client and its own transport fall out over it */
    if (server->kind == SYNC_AZURE) {
        setenv("RCLONE_CONFIG_BENCH_TYPE", "azureblob", 1);
        setenv("RCLONE_CONFIG_BENCH_ACCOUNT", server->account, 1);
        setenv("RCLONE_CONFIG_BENCH_KEY", server->key, 1);
        setenv("RCLONE_CONFIG_BENCH_ENDPOINT", server->url, 1);
        return;
    }
    setenv("RCLONE_CONFIG_BENCH_TYPE", "s3", 1);
    setenv("RCLONE_CONFIG_BENCH_PROVIDER", "Other", 1);
    setenv("RCLONE_CONFIG_BENCH_ACCESS_KEY_ID", server->account, 1);
    setenv("RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY", server->key, 1);
    setenv("RCLONE_CONFIG_BENCH_ENDPOINT", server->url, 1);
    setenv("RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE", "true", 1);
}

static void become(const struct bench_work *work, const struct bench_server *server,
                   unsigned transfers, bool checks) {
    char to[160], count[16];
    const char *argv[16] = {"rclone", "copy", "--transfers", count, "--retries", "1", "-q"};
    size_t at = 7;
    settings(server);
    snprintf(to, sizeof to, "bench:%s/rclone-%d", server->bucket, getpid());
    snprintf(count, sizeof count, "%u", transfers);
    if (!checks) { /* the sink has nothing to list and nothing to show */
        argv[at++] = "--no-check-dest";
        argv[at++] = "--s3-no-head";
        argv[at++] = "--s3-no-check-bucket";
    }
    argv[at++] = work->files;
    argv[at++] = to;
    execvp("rclone", (char *const *)argv);
    perror("rclone");
    _exit(127);
}

int bench_rclone(const struct bench_work *work, const struct bench_server *server,
                 unsigned transfers, bool checks, struct bench_result *out, struct err *err) {
    struct rusage usage;
    int status = 0;
    double wall_s = bench_clock_s();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        become(work, server, transfers, checks);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) < 0) {
        return err_sys(err, errno, "rclone could not be run");
    }
    *out = (struct bench_result){
        .wall_s = bench_clock_s() - wall_s,
        .cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
        .memory_mib = (double)usage.ru_maxrss / 1024,
        .objects = work->frames};
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(err, ERR_CRASHED, "rclone failed (wait status 0x%x)%s", (unsigned)status,
                         WIFEXITED(status) && WEXITSTATUS(status) == 127 ? "; is it installed?"
                                                                         : "");
}
