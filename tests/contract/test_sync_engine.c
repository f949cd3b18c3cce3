/* The whole sync on a real store: frames go in, and arrive at a directory, Azurite and a Ceph
 * gateway, whatever happens to the servers meanwhile.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "store/store.h"
#include "sync/sync.h"
#include "tests/contract/engine_case.h"
#include "tests/servers/servers.h"
#include "tests/suite.h"
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- the suite ---- */

START_TEST(every_frame_reaches_every_remote_once) {
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_AZURE);
    remote_add(SYNC_S3);
    start();
    frames_put(150);
    for (size_t i = 0; i < f.config.remote_count; i++) {
        const char *name = f.config.remotes[i].name;
        wait_counted(name, 150);
        struct sync_remote_status status = status_of(name);
        ck_assert_uint_eq(status.uploaded, 150);
        ck_assert_uint_eq(status.already_there, 0);
        ck_assert_uint_eq(status.failures, 0);
        ck_assert(!status.breaker_open);
        /* one request an object, but for the making of containers */
        ck_assert_uint_le(status.requests, 150 + 3 * 8);
        check_arrived(i);
    }
    struct store_counts counts;
    ck_assert_int_eq(store_counts_read(f.reader, &counts, NULL), 0);
    ck_assert_uint_eq(counts.replicated[TIER_ANNOTATED], 50);
    ck_assert_uint_eq(counts.replicated[TIER_UNANNOTATED], 100);
}
END_TEST

/* Reads ahead many times over, to the last row, without waiting for another signal. */
START_TEST(a_backlog_is_read_to_its_end) {
    remote_add(SYNC_AZURE);
    start();
    stop(1000); /* the store knows the remote now, and queues for it */
    for (unsigned round = 1; round <= 4; round++) {
        frames_put(200);
        int64_t before = clock_boot_us();
        start();
        wait_done("azure", round * 200);
        ck_assert_int_lt(clock_boot_us() - before, 30 * 1000000);
        stop(1000);
    }
}
END_TEST

START_TEST(a_restart_goes_on_where_it_was) {
    remote_add(SYNC_AZURE);
    remote_add(SYNC_DIRECTORY);
    start();
    frames_put(200);
    wait_done("azure", 20);
    stop(0); /* what was on its way is cut off; its bytes may have arrived all the same */
    store_stop();
    store_start();
    start();
    wait_done("azure", 200);
    wait_done("disk", 200);
    check_arrived(0);
    check_arrived(1);
    ck_assert_uint_eq(counts_of("azure").quarantined, 0);
}
END_TEST

START_TEST(a_second_store_finds_its_frames_there) {
    remote_add(SYNC_AZURE);
    remote_add(SYNC_DIRECTORY);
    start();
    frames_put(20);
    wait_done("azure", 20);
    wait_done("disk", 20);
    stop(1000);
    store_stop();
    ck_assert_int_eq(servers_run("mv '%s' '%s.old'; mkdir '%s'; mv '%s.old/disk' '%s'", f.dir,
                                 f.dir, f.dir, f.dir, f.dir),
                     0);
    store_start(); /* forgot everything: the remotes did not */
    start();
    f.frames = 0;
    frames_put(20);
    wait_counted("azure", 20);
    wait_counted("disk", 20);
    ck_assert_uint_eq(status_of("azure").already_there, 20);
    ck_assert_uint_eq(status_of("disk").already_there, 20);
    ck_assert_uint_eq(status_of("azure").uploaded, 0);
}
END_TEST

START_TEST(a_server_that_comes_late_gets_everything) {
    char dir[320];
    int port = servers_free_port();
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_AZURE);
    snprintf(f.azure_url, sizeof f.azure_url, "http://127.0.0.1:%d/%s", port, AZURITE_ACCOUNT);
    snprintf(dir, sizeof dir, "%s/late", f.dir);
    start();
    frames_put(60);
    wait_done("disk", 60); /* is not slowed down by the other */
    ck_assert_uint_eq(counts_of("azure").done, 0);
    ck_assert_uint_eq(counts_of("azure").pending, 60);
    wait_error("azure", "no connection");
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (!status_of("azure").breaker_open) {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(10);
    }
    ck_assert_int_eq(servers_azurite(dir, port, ""), 0);
    wait_counted("azure", 60);
    ck_assert_uint_eq(counts_of("azure").quarantined, 0);
    ck_assert(!status_of("azure").breaker_open);
    check_arrived(1);
    ck_assert_int_eq(servers_azurite_stop(dir), 0);
}
END_TEST

/* Azurite loses what it acknowledges while it closes, so it is stopped between two transfers; the
 * gateway below is killed in the middle of them. */
START_TEST(a_server_that_goes_away_and_comes_back) {
    char dir[320];
    int port = servers_free_port();
    remote_add(SYNC_AZURE);
    snprintf(f.azure_url, sizeof f.azure_url, "http://127.0.0.1:%d/%s", port, AZURITE_ACCOUNT);
    snprintf(dir, sizeof dir, "%s/restarts", f.dir);
    ck_assert_int_eq(servers_azurite(dir, port, ""), 0);
    start();
    frames_put(50);
    wait_counted("azure", 50);
    ck_assert_int_eq(servers_azurite_stop(dir), 0);
    frames_put(50); /* comes in while it is away */
    clock_sleep_ms(300);
    ck_assert_uint_eq(counts_of("azure").done, 50);
    ck_assert_int_eq(servers_azurite(dir, port, ""), 0);
    wait_done("azure", 100);
    check_arrived(0);
    ck_assert_uint_eq(counts_of("azure").quarantined, 0);
    ck_assert_int_eq(servers_azurite_stop(dir), 0);
}
END_TEST

START_TEST(a_server_that_is_killed_loses_nothing) {
    remote_add(SYNC_S3);
    start();
    frames_put(100);
    for (unsigned round = 1; round <= 3; round++) {
        wait_done("s3", round * 20);
        ck_assert_int_eq(
            servers_run("'%s/tests/servers/rgw.sh' pause '%s'", CREEL_SOURCE_DIR, rgw_dir), 0);
        frames_put(20);
        ck_assert_uint_lt(counts_of("s3").done, f.frames);
        ck_assert_int_eq(servers_run("OWNER_PID=%d '%s/tests/servers/rgw.sh' resume '%s' %d",
                                     getppid(), CREEL_SOURCE_DIR, rgw_dir, rgw_port),
                         0);
    }
    wait_done("s3", 160);
    check_arrived(0);
    ck_assert_uint_eq(counts_of("s3").quarantined, 0);
}
END_TEST

/* Takes connections and never says a word. */
static int silent_server(int *port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, size), 0);
    ck_assert_int_eq(listen(fd, 64), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    *port = ntohs(name.sin_port);
    return fd;
}

START_TEST(a_silent_server_holds_up_nobody) {
    int port = 0, fd = silent_server(&port);
    remote_add(SYNC_AZURE);
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_S3);
    snprintf(f.azure_url, sizeof f.azure_url, "http://127.0.0.1:%d/%s", port, AZURITE_ACCOUNT);
    start();
    frames_put(60);
    wait_done("disk", 60);
    wait_done("s3", 60);
    ck_assert_uint_eq(counts_of("azure").done, 0);
    ck_assert_uint_gt(status_of("azure").running, 0);
    int64_t before = clock_boot_us();
    stop(300); /* and not the end either */
    ck_assert_int_lt(clock_boot_us() - before, 2000 * 1000);
    close(fd);
}
END_TEST

START_TEST(a_wrong_key_waits_for_a_person_and_costs_no_attempts) {
    struct store_outbox_row rows[STORE_PAGE_MAX];
    size_t count = 0;
    int64_t next_due = 0;
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_AZURE)->account_key = "d3Jvbmcga2V5";
    start();
    frames_put(30);
    wait_done("disk", 30);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (status_of("azure").failures < 3) {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(10);
    }
    struct sync_remote_status status = status_of("azure");
    ck_assert(status.breaker_open);
    ck_assert_msg(strstr(status.last_error, "account key") != NULL, "%s", status.last_error);
    ck_assert_int_gt(status.retry_at_utc_us, 0);
    ck_assert_uint_lt(status.requests, 30); /* it did not try each of them */
    ck_assert_uint_eq(counts_of("azure").pending, 30);
    ck_assert_uint_eq(counts_of("azure").quarantined, 0);
    ck_assert_int_eq(store_outbox_read(f.reader, "azure", STORE_OLDEST, STORE_PAGE_MAX, rows,
                                       &count, &next_due, NULL),
                     0);
    ck_assert_uint_eq(count, 30); /* all due, none deferred */
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(rows[i].attempts, 0);
    }
    /* the right key, and all is well */
    stop(1000);
    f.config.remotes[1].account_key = AZURITE_KEY;
    start();
    wait_done("azure", 30);
    check_arrived(1);
}
END_TEST

START_TEST(one_poisoned_object_is_set_aside_and_the_rest_flows) {
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_AZURE);
    /* somebody else's bytes under the name that frame 3 will have */
    uint8_t *blob = case_noise(size_of(3), 4);
    struct store_outbox_row row = {
        .tier = TIER_ANNOTATED, .media = MEDIA_JPEG, .kept_utc_us = clock_utc_us()};
    char key[STORE_KEY_MAX + 1], path[2048];
    hash_sha256(blob, size_of(3), &row.blob);
    free(blob);
    ck_assert_int_eq(sync_key_format("edge-1", &row, key, NULL), 0);
    snprintf(path, sizeof path, "%s/%s/%s", f.disk, f.container, key);
    ck_assert_int_eq(servers_run("mkdir -p \"$(dirname '%s')\" && echo other >'%s'", path, path),
                     0);
    start();
    frames_put(30);
    wait_done("azure", 30);
    wait_done("disk", 29);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (counts_of("disk").quarantined < 1) {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(10);
    }
    wait_error("disk", "other bytes");
    /* the person removes it and releases the frame */
    ck_assert_int_eq(unlink(path), 0);
    uint64_t released = 0;
    ck_assert_int_eq(store_outbox_retry(f.store, "disk", &released, NULL), 0);
    ck_assert_uint_eq(released, 1);
    wait_done("disk", 30);
    check_arrived(0);
}
END_TEST

/* Finds a frame's bytes in the store's files and turns one of them over. */
static void damage(unsigned number) {
    uint8_t *blob = case_noise(size_of(number), number + 1);
    char list[400], path[1024];
    snprintf(list, sizeof list, "find '%s' -type f -size +8k", f.dir);
    FILE *files = popen(list, "r");
    bool done = false;
    while (!done && fgets(path, sizeof path, files) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        int fd = open(path, O_RDWR | O_CLOEXEC);
        struct stat info;
        ck_assert(fd >= 0 && fstat(fd, &info) == 0);
        size_t size = (size_t)info.st_size;
        char *bytes = malloc(size);
        ck_assert_int_eq(pread(fd, bytes, size, 0), (ssize_t)size);
        char *at = memmem(bytes, size, blob, size_of(number));
        if (at != NULL) {
            char turned = (char)~at[100];
            ck_assert_int_eq(pwrite(fd, &turned, 1, at + 100 - bytes), 1);
            done = true;
        }
        free(bytes);
        close(fd);
    }
    pclose(files);
    free(blob);
    ck_assert(done);
}

START_TEST(a_damaged_frame_is_never_uploaded) {
    remote_add(SYNC_DIRECTORY);
    start();
    stop(1000); /* the store knows the remote now, and queues for it */
    frames_put(10);
    damage(5);
    start();
    wait_done("disk", 9);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (counts_of("disk").quarantined < 1) {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(10);
    }
    ck_assert_uint_eq(counts_of("disk").done, 9);
    wait_error("disk", "store");
}
END_TEST

static int64_t cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

START_TEST(nothing_to_do_costs_nothing) {
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_AZURE);
    start();
    frames_put(10);
    wait_done("disk", 10);
    wait_done("azure", 10);
    clock_sleep_ms(200);
    uint64_t requests = status_of("azure").requests;
    int64_t before = cpu_us();
    clock_sleep_ms(2000);
    ck_assert_int_lt(cpu_us() - before, 50 * 1000); /* all threads of the store too */
    ck_assert_uint_eq(status_of("azure").requests, requests);
}
END_TEST

START_TEST(wrong_configurations_do_not_start) {
    struct err err = {0};
    struct sync *sync = NULL;
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_DIRECTORY);
    ck_assert_int_eq(sync_start(&f.config, f.store, &sync, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "name"));
    snprintf(f.config.remotes[1].name, sizeof f.config.remotes[1].name, "disk-2");
    ck_assert_int_eq(sync_start(&f.config, f.store, &sync, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "same place"));
    f.config.remotes[1].path = "relative";
    ck_assert_int_eq(sync_start(&f.config, f.store, &sync, &err), ERR_CONFIG);
    f.config.remote_count = 0;
    start(); /* no remote is no fault */
    struct sync_status status;
    sync_status_get(f.sync, &status);
    ck_assert_uint_eq(status.remote_count, 0);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: engine");
    TCase *engine = tcase_create("engine");
    tcase_set_timeout(engine, 120);
    tcase_add_checked_fixture(engine, setup, teardown);
    tcase_add_test(engine, every_frame_reaches_every_remote_once);
    tcase_add_test(engine, a_backlog_is_read_to_its_end);
    tcase_add_test(engine, a_restart_goes_on_where_it_was);
    tcase_add_test(engine, a_second_store_finds_its_frames_there);
    tcase_add_test(engine, a_server_that_comes_late_gets_everything);
    tcase_add_test(engine, a_server_that_goes_away_and_comes_back);
    tcase_add_test(engine, a_silent_server_holds_up_nobody);
    tcase_add_test(engine, a_wrong_key_waits_for_a_person_and_costs_no_attempts);
    tcase_add_test(engine, one_poisoned_object_is_set_aside_and_the_rest_flows);
    tcase_add_test(engine, a_damaged_frame_is_never_uploaded);
    tcase_add_test(engine, nothing_to_do_costs_nothing);
    tcase_add_test(engine, wrong_configurations_do_not_start);
    tcase_add_test(engine, a_server_that_is_killed_loses_nothing); /* last: the server is shared */
    suite_add_tcase(all, engine);
    return all;
}

int main(void) {
    return case_servers_run(suite);
}
