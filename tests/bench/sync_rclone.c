/* rclone (the Debian package), over the same files: its settings go through the environment, so
 * that no configuration of its user's is touched. */
#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/bench/sync_bench.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* With a key rclone 1.60 puts the account before the host's name; with an account SAS it does not.
 * https://learn.microsoft.com/rest/api/storageservices/create-account-sas */
static void account_sas(const struct bench_server *server, char *out, size_t room) {
    char end[CLOCK_RFC3339_SIZE], text[512], sig[HASH_BASE64_SIZE(32)];
    uint8_t key[64];
    size_t key_size = 0;
    struct frame_hash mac;
    CLEANUP(buf_finish) struct buf encoded = BUF_INIT(512);
    clock_format_rfc3339(clock_utc_us() + INT64_C(3600000000), end);
    snprintf(end + 19, sizeof end - 19, "Z"); /* seconds, without a fraction */
    int size = snprintf(text, sizeof text, "%s\nrwdlac\nb\nsco\n\n%s\n\nhttps,http\n2020-08-04\n",
                        server->account, end);
    hash_parse_base64(server->key, key, sizeof key, &key_size);
    hash_hmac_sha256(key, key_size, text, (size_t)size, &mac);
    buf_puts_url(&encoded, hash_base64(mac.bytes, sizeof mac.bytes, sig), false);
    snprintf(out, room, "%s?sv=2020-08-04&ss=b&srt=sco&sp=rwdlac&se=%s&spr=https%%2Chttp&sig=%s",
             server->url, end, encoded.data);
}

static void settings(const struct bench_server *server) {
    setenv("RCLONE_CONFIG", "/dev/null", 1);
    unsetenv("AWS_CA_BUNDLE"); /* its S3 client and its own transport fall out over it */
    if (server->kind == SYNC_AZURE) {
        setenv("RCLONE_CONFIG_BENCH_TYPE", "azureblob", 1);
        char url[1024];
        account_sas(server, url, sizeof url);
        setenv("RCLONE_CONFIG_BENCH_SAS_URL", url, 1);
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
