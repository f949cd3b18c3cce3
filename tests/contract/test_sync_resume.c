/* A daemon's sync on a real store, killed in the middle of a large upload, and started again: what
 * the servers have is not sent again, as their own logs say, and the frame has its receipt.
 */
#include "sync/parts.h"
#include "tests/contract/engine_case.h"
#include "tests/suite.h"
#include <signal.h>

#define FRAME_BYTES (11u * PARTS_BYTES_MIN + 12345)
#define PARTS       12u
#define STEPS       8u /* requests after which the process dies: three or four of them no part */

static uint8_t *frame_put(void) {
    struct store_frame frame = {.record = {.media = MEDIA_JPEG,
                                           .width = 640,
                                           .height = 480,
                                           .orientation = 1,
                                           .blob_bytes = FRAME_BYTES,
                                           .tier = TIER_ANNOTATED,
                                           .value = 0.5}};
    struct err err = {0};
    snprintf(frame.record.camera, sizeof frame.record.camera, "dock");
    snprintf(frame.record.rule, sizeof frame.record.rule, "unsure");
    clock_stamp_now(&frame.record.captured);
    frame_id_create(frame.record.captured.utc_us, &frame.record.id);
    frame.blob = case_noise(FRAME_BYTES, 99);
    uint8_t *copy = case_noise(FRAME_BYTES, 99);
    int code = store_put(f.store, &frame, &err);
    ck_assert_msg(code == 0, "%s: %s", err.msg, err.cause);
    ck_assert_int_eq(store_flush(f.store, NULL), 0);
    return copy;
}

static struct sync_remote_config *large_remote(enum sync_kind kind) {
    struct sync_remote_config *remote = remote_add(kind);
    remote->parts_above_bytes = PARTS_BYTES_MIN;
    remote->part_bytes = PARTS_BYTES_MIN;
    return remote;
}

static unsigned parts_logged(enum sync_kind kind) {
    unsigned count = 0;
    char command[1000];
    snprintf(command, sizeof command,
             "grep -F '%s/frames' '%s/%s' | grep -cE 'PUT [^ ]*%s[^ ]* HTTP'", f.container,
             kind == SYNC_S3 ? rgw_dir : azurite_dir,
             kind == SYNC_S3 ? "log/client.admin.log" : "log",
             kind == SYNC_S3 ? "partNumber=" : "comp=block&");
    clock_sleep_ms(200); /* they write behind the answer */
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    ck_assert_int_eq(fscanf(pipe, "%u", &count), 1);
    pclose(pipe);
    return count;
}

/* Never returns: dies when the upload is under way. */
static void run_and_die(enum sync_kind kind) {
    const char *name = large_remote(kind)->name;
    start();
    free(frame_put());
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (status_of(name).requests < STEPS && clock_boot_us() < until) {
        clock_sleep_ms(1);
    }
    raise(SIGKILL);
}

static const enum sync_kind kinds[] = {SYNC_AZURE, SYNC_S3};

START_TEST(a_killed_daemon_goes_on) {
    enum sync_kind kind = kinds[_i];
    int status = 0;
    store_stop(); /* the child's now */
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        store_start();
        run_and_die(kind);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    unsigned before = parts_logged(kind);
    ck_assert_uint_gt(before, 1);
    ck_assert_uint_lt(before, PARTS);

    store_start();
    const struct sync_remote_config *remote = large_remote(kind);
    start();
    wait_done(remote->name, 1);
    unsigned sent = parts_logged(kind) - before;
    printf("%s: %u parts, %u logged when killed, %u sent by the next process\n", remote->name,
           PARTS, before, sent);
    fflush(stdout);
    ck_assert_uint_le(sent, PARTS - before + 1); /* one may have been cut in two */
    ck_assert_uint_ge(sent, PARTS - before);

    uint8_t *wanted = case_noise(FRAME_BYTES, 99);
    char link[SYNC_LINK_MAX];
    struct store_receipt receipt;
    struct frame_hash hash;
    struct http_reply reply;
    hash_sha256(wanted, FRAME_BYTES, &hash);
    ck_assert_int_eq(
        store_receipt_get(f.reader, remote->name, TIER_ANNOTATED, &hash, &receipt, NULL), 0);
    ck_assert_int_eq(receipt.kind, STORE_RECEIPT_STORED);
    ck_assert_int_eq(sync_link_create(remote, TIER_ANNOTATED, receipt.key, 300, link, NULL), 0);
    struct http_request request = {
        .method = "GET", .url = strdup(link), .reply_max = FRAME_BYTES + 1, .direct = true};
    ck_assert_int_eq(case_send(request, &reply), 200);
    ck_assert_uint_eq(reply.body.len, FRAME_BYTES);
    ck_assert_mem_eq(reply.body.data, wanted, FRAME_BYTES);
    sync__reply_finish(&reply);
    free(wanted);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: resumed");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, a_killed_daemon_goes_on, 0, 2);
    suite_add_tcase(all, tests);
    return all;
}

int main(void) {
    setenv("AZURITE_LOG", "1", 1);
    return case_servers_run(suite);
}
