/* engine_case: a store with frames, the sync on it, and the proof that every frame arrived byte for
 * byte: what the suites of the whole engine share. The including suite starts the servers.
 */
#ifndef CREEL_TESTS_ENGINE_CASE_H
#define CREEL_TESTS_ENGINE_CASE_H

#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "store/store.h"
#include "sync/sync.h"
#include "tests/contract/sync_case.h"
#include "tests/servers/servers.h"
#include "tests/suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 60000

static char scratch[256];
__attribute__((unused)) static char azurite_dir[300], rgw_dir[300]; /* of the servers it has */
static int azurite_port, rgw_port;

/* ---- a store with frames, in a folder of the test's own ---- */

struct fixture {
    char dir[300], disk[320];
    struct store *store;
    struct store_reader *reader;
    struct sync *sync;
    struct sync_config config;
    char azure_url[128], s3_url[128];
    char container[48];
    unsigned frames;
};

static struct fixture f;

/* Who looks at what arrived may need another credential than who wrote it. */
static void (*read_as)(struct sync_remote_config *remote);

static inline void store_start(void) {
    struct store_config config = {.dir = f.dir, .group_frames = 16, .group_wait_ms = 2};
    struct err err = {0};
    int code = store_open(&config, &f.store, &err);
    ck_assert_msg(code == 0, "%s: %s", err.msg, err.cause);
    ck_assert_int_eq(store_reader_open(f.store, &f.reader, NULL), 0);
}

static inline void store_stop(void) {
    store_reader_close(f.reader);
    store_close(f.store);
}

static inline void setup(void) {
    memset(&f, 0, sizeof f);
    clock_trust(true);
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(f.dir, sizeof f.dir, "%s/store-XXXXXX", scratch);
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    snprintf(f.disk, sizeof f.disk, "%s/disk", f.dir);
    snprintf(f.azure_url, sizeof f.azure_url, "http://127.0.0.1:%d/%s", azurite_port,
             AZURITE_ACCOUNT);
    snprintf(f.s3_url, sizeof f.s3_url, "http://127.0.0.1:%d", rgw_port);
    snprintf(f.container, sizeof f.container, "t-%d", getpid());
    f.config = (struct sync_config){.device = "edge-1",
                                    .transfers = 8,
                                    .attempts_max = 3,
                                    .backoff_base_ms = 50,
                                    .backoff_max_ms = 500};
    store_start();
}

static inline void teardown(void) {
    sync_stop(f.sync, 2000);
    store_stop();
}

static inline struct sync_remote_config *remote_add(enum sync_kind kind) {
    struct sync_remote_config *remote = &f.config.remotes[f.config.remote_count++];
    *remote = (struct sync_remote_config){.kind = kind, .required = true};
    static const char *const names[] = {
        [SYNC_DIRECTORY] = "disk", [SYNC_AZURE] = "azure", [SYNC_S3] = "s3"};
    snprintf(remote->name, sizeof remote->name, "%s", names[kind]);
    remote->create_containers = true;
    remote->path = f.disk;
    remote->prefix = f.container;
    remote->url = kind == SYNC_S3 ? f.s3_url : f.azure_url;
    remote->account_key = kind == SYNC_AZURE ? AZURITE_KEY : NULL;
    remote->bucket = "engine";
    remote->access_key = kind == SYNC_S3 ? RGW_ACCESS_KEY : NULL;
    remote->secret_key = kind == SYNC_S3 ? RGW_SECRET_KEY : NULL;
    return remote;
}

static inline void start(void) {
    struct err err = {0};
    int code = sync_start(&f.config, f.store, &f.sync, &err);
    ck_assert_msg(code == 0, "%s: %s", err.msg, err.cause);
}

static inline void stop(int deadline_ms) {
    sync_stop(f.sync, deadline_ms);
    f.sync = NULL;
}

static inline size_t size_of(unsigned frame) {
    return 20000 + frame * 37 % 40000;
}

static inline void frames_put(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        unsigned number = f.frames++;
        struct store_frame frame = {
            .record = {.media = MEDIA_JPEG,
                       .width = 640,
                       .height = 480,
                       .orientation = 1,
                       .blob_bytes = size_of(number),
                       .tier = number % 3 == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED,
                       .value = 0.5}};
        struct err err = {0};
        snprintf(frame.record.camera, sizeof frame.record.camera, "dock");
        snprintf(frame.record.rule, sizeof frame.record.rule, "unsure");
        clock_stamp_now(&frame.record.captured);
        frame_id_create(frame.record.captured.utc_us, &frame.record.id);
        frame.blob = case_noise(size_of(number), number + 1);
        int code = store_put(f.store, &frame, &err);
        ck_assert_msg(code == 0, "%s: %s", err.msg, err.cause);
    }
    ck_assert_int_eq(store_flush(f.store, NULL), 0);
}

static inline struct store_remote_counts counts_of(const char *remote) {
    struct store_counts counts;
    ck_assert_int_eq(store_counts_read(f.reader, &counts, NULL), 0);
    for (size_t i = 0; i < counts.remote_count; i++) {
        if (strcmp(counts.remotes[i].name, remote) == 0) {
            return counts.remotes[i];
        }
    }
    ck_abort_msg("the store knows no remote %s", remote);
}

static inline struct sync_remote_status status_of(const char *remote) {
    struct sync_status status;
    sync_status_get(f.sync, &status);
    for (size_t i = 0; i < status.remote_count; i++) {
        if (strcmp(status.remotes[i].name, remote) == 0) {
            return status.remotes[i];
        }
    }
    ck_abort_msg("the sync knows no remote %s", remote);
}

static inline void wait_done(const char *remote, uint64_t done) {
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    for (;;) {
        struct store_remote_counts counts = counts_of(remote);
        if (counts.done >= done) {
            return;
        }
        struct sync_remote_status status = status_of(remote);
        ck_assert_msg(clock_boot_us() < until, "%s: %llu of %llu, %llu quarantined, last: %s",
                      remote, (unsigned long long)counts.done, (unsigned long long)done,
                      (unsigned long long)counts.quarantined, status.last_error);
        clock_sleep_ms(10);
    }
}

/* The store knows of a receipt a moment before the sync hears that it does. */
static inline void wait_counted(const char *remote, uint64_t receipts) {
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    wait_done(remote, receipts);
    while (status_of(remote).uploaded + status_of(remote).already_there < receipts) {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(10);
    }
}

static inline void wait_error(const char *remote, const char *word) {
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (strstr(status_of(remote).last_error, word) == NULL) {
        ck_assert_msg(clock_boot_us() < until, "\"%s\" is not in: %s", word,
                      status_of(remote).last_error);
        clock_sleep_ms(10);
    }
}

/* Every frame has a receipt of this remote, and lies there byte for byte. */
static inline void check_arrived(size_t index) {
    const struct sync_remote_config *remote = &f.config.remotes[index];
    for (unsigned number = 0; number < f.frames; number++) {
        enum frame_tier tier = number % 3 == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED;
        uint8_t *wanted = case_noise(size_of(number), number + 1);
        struct store_receipt receipt;
        struct frame_hash hash;
        struct err err = {0};
        hash_sha256(wanted, size_of(number), &hash);
        int code = store_receipt_get(f.reader, remote->name, tier, &hash, &receipt, &err);
        ck_assert_msg(code == 0, "frame %u at %s: %s", number, remote->name, err.msg);
        if (remote->kind == SYNC_DIRECTORY) {
            char path[2048];
            struct buf got = BUF_INIT(1u << 20);
            snprintf(path, sizeof path, "%s/%s/%s", remote->path, remote->prefix, receipt.key);
            ck_assert_int_eq(fs_read_file(path, &got, NULL), 0);
            ck_assert_uint_eq(got.len, size_of(number));
            ck_assert_mem_eq(got.data, wanted, got.len);
            buf_finish(&got);
        } else {
            char link[SYNC_LINK_MAX];
            struct http_reply reply;
            struct sync_remote_config reader = *remote;
            if (read_as != NULL) {
                read_as(&reader);
            }
            ck_assert_int_eq(sync_link_create(&reader, tier, receipt.key, 300, link, NULL), 0);
            ck_assert_int_eq(case_get_over(link, remote->ca_file, &reply), 200);
            ck_assert_uint_eq(reply.body.len, size_of(number));
            ck_assert_mem_eq(reply.body.data, wanted, reply.body.len);
            sync__reply_finish(&reply);
        }
        free(wanted);
    }
}

/* Runs a suite beside both servers. */
static inline int case_servers_run(Suite *(*suite)(void)) {
    servers_scratch(scratch, sizeof scratch);
    snprintf(azurite_dir, sizeof azurite_dir, "%s/azurite", scratch);
    snprintf(rgw_dir, sizeof rgw_dir, "%s/rgw", scratch);
    azurite_port = servers_free_port();
    rgw_port = servers_free_port();
    servers_need(servers_azurite(azurite_dir, azurite_port, ""), "azurite");
    servers_need(servers_rgw(rgw_dir, rgw_port, servers_free_port()), "the S3 server");
    int failed = suite_run(suite());
    servers_azurite_stop(azurite_dir);
    servers_rgw_stop(rgw_dir);
    servers_run("rm -rf '%s'", scratch);
    return failed;
}

#endif
