/* remote_case: every kind of remote on its real server, and conversations with them to their end:
 * what the suites about single remotes share. The including suite's main calls remotes_start before
 * Check forks, and remotes_stop.
 */
#ifndef CREEL_TESTS_REMOTE_CASE_H
#define CREEL_TESTS_REMOTE_CASE_H

#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "sync/parts.h"
#include "sync/remote.h"
#include "sync/sign.h"
#include "sync/sync.h"
#include "tests/contract/sync_case.h"
#include "tests/servers/servers.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static char scratch[256];
static int azurite_port, rgw_port;
static char azurite_dir[300], rgw_dir[300];
static char azurite_url[128], rgw_url[128], rgw_name_url[128];
static char sas_read[1024], sas_write[1024], sas_create[1024];

/* ---- the remotes ---- */

enum kind_of_fixture {
    DIRECTORY,
    AZURE_KEY,
    AZURE_SAS,
    AZURE_CREATE,
    S3_PATH,
    S3_HOST,
    S3_PUT,              /* a user who may only put */
    AZURE_BLOCKS,        /* whatever has more than a byte goes up in blocks */
    AZURE_BLOCKS_WRITE,  /* with a SAS that may write and not read */
    AZURE_BLOCKS_CREATE, /* with one that may put no blocks */
    S3_PARTS,
    S3_PUT_PARTS,
    FIXTURES
};

#define DEVICE_ACCESS_KEY "CREELTESTDEVICEKEY00"
#define DEVICE_SECRET_KEY "device-secret-key-of-forty-characters-00"
#define AUDIT_ACCESS_KEY  "CREELTESTAUDITKEY000"
#define AUDIT_SECRET_KEY  "audit-secret-key-of-forty-characters-000"

static const struct {
    const char *name;
    bool reads;   /* the credential may look at what is there */
    bool links;   /* it can sign links */
    bool creates; /* it can make containers */
    bool parts;   /* what is not tiny goes up in parts */
    bool races;   /* of two that end the upload of one name at once, the server may take both */
} fixtures[FIXTURES] = {
    [DIRECTORY] = {"directory", true, false, true},
    [AZURE_KEY] = {"azure-key", true, true, true},
    [AZURE_SAS] = {"azure-sas", true, false, false},
    [AZURE_CREATE] = {"azure-create", false, false, false},
    [S3_PATH] = {"s3-path", true, true, true},
    [S3_HOST] = {"s3-host", true, true, true},
    [S3_PUT] = {"s3-put", false, false, false},
    [AZURE_BLOCKS] = {"azure-blocks", true, true, true, true},
    [AZURE_BLOCKS_WRITE] = {"azure-blocks-write", false, false, false, true},
    [AZURE_BLOCKS_CREATE] = {"azure-blocks-create", false, false, false, true},
    [S3_PARTS] = {"s3-parts", true, true, true, true, true},
    [S3_PUT_PARTS] = {"s3-put-parts", false, false, false, true},
};

#define CASE_BLOCK_BYTES 100000

static char path_of_directory[300];

static inline const char *sas_of(int fixture) {
    switch (fixture) {
    case AZURE_SAS:
        return sas_read;
    case AZURE_BLOCKS_WRITE:
        return sas_write;
    case AZURE_CREATE:
    case AZURE_BLOCKS_CREATE:
        return sas_create;
    default:
        return NULL;
    }
}

static inline bool is_s3(int fixture) {
    return fixture == S3_PATH || fixture == S3_HOST || fixture == S3_PUT || fixture == S3_PARTS ||
           fixture == S3_PUT_PARTS;
}

static inline bool puts_only(int fixture) {
    return fixture == S3_PUT || fixture == S3_PUT_PARTS;
}

static inline struct sync_remote_config config_of(int fixture) {
    struct sync_remote_config config = {.required = true};
    snprintf(config.name, sizeof config.name, "%s", fixtures[fixture].name);
    config.prefix = fixtures[fixture].name;
    config.parts_above_bytes = fixtures[fixture].parts ? 1 : 0;
    switch (fixture) {
    case DIRECTORY:
        config.kind = SYNC_DIRECTORY;
        snprintf(path_of_directory, sizeof path_of_directory, "%s/remote", scratch);
        config.path = path_of_directory;
        break;
    case S3_PATH:
    case S3_HOST:
    case S3_PUT:
    case S3_PARTS:
    case S3_PUT_PARTS:
        config.kind = SYNC_S3;
        config.url = fixture == S3_HOST ? rgw_name_url : rgw_url;
        config.virtual_host = fixture == S3_HOST;
        config.part_bytes = PARTS_BYTES_MIN;
        config.bucket = "creel-suite";
        config.access_key = puts_only(fixture) ? DEVICE_ACCESS_KEY : RGW_ACCESS_KEY;
        config.secret_key = puts_only(fixture) ? DEVICE_SECRET_KEY : RGW_SECRET_KEY;
        config.create_containers = !puts_only(fixture);
        break;
    default:
        config.kind = SYNC_AZURE;
        config.url = azurite_url;
        config.sas = sas_of(fixture);
        config.account_key = config.sas == NULL ? AZURITE_KEY : NULL;
        config.create_containers = config.sas == NULL;
        config.part_bytes = CASE_BLOCK_BYTES;
        break;
    }
    return config;
}

static inline struct remote *remote_new(const struct sync_remote_config *config) {
    struct remote *remote = NULL;
    struct err err = {0};
    int code = sync__remote_open(config, &remote, &err);
    char text[1024];
    ck_assert_msg(code == 0, "%s", err_text(&err, text, sizeof text));
    return remote;
}

/* ---- conversations ---- */

struct talk {
    struct remote *remote;
    struct remote_object object;
    struct remote_put put;
    enum remote_verdict verdict;
    struct err err;
    unsigned requests, parts; /* sent; `parts` of them are parts */
};

static inline void talk_ask(struct http *http, struct talk *talk) {
    struct http_request request = {0};
    ck_assert_uint_le(++talk->put.steps, REMOTE_STEPS_MAX);
    int code =
        talk->remote->ops->request(talk->remote, &talk->put, clock_utc_us(), &request, &talk->err);
    ck_assert_msg(code == 0, "%s", talk->err.msg);
    talk->requests++;
    talk->parts += talk->put.step == REMOTE_PART;
    ck_assert_int_eq(sync__http_start(http, &request, talk, &talk->err), 0);
}

/* All at once, each to its end. */
static inline void talk_all(struct talk *talks, size_t count) {
    struct http *http = NULL;
    size_t open = 0;
    ck_assert_int_eq(sync__http_create(NULL, &http, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        talks[i].put.object = &talks[i].object;
        if (talks[i].remote->ops->store != NULL) {
            talks[i].verdict =
                talks[i].remote->ops->store(talks[i].remote, &talks[i].put, &talks[i].err);
        } else {
            talk_ask(http, &talks[i]);
            open++;
        }
    }
    int64_t until = clock_boot_us() + CASE_WAIT_MS * INT64_C(1000);
    while (open > 0) {
        struct http_done done;
        ck_assert_int_lt(clock_boot_us(), until);
        ck_assert_int_eq(sync__http_wait(http, NULL, 0, 100, NULL), 0);
        while (sync__http_next_done(http, &done)) {
            struct talk *talk = done.ctx;
            talk->verdict =
                talk->remote->ops->judge(talk->remote, &talk->put, &done.reply, &talk->err);
            sync__reply_finish(&done.reply);
            if (talk->verdict == REMOTE_AGAIN) {
                talk_ask(http, talk);
            } else {
                sync__put_finish(&talk->put);
                open--;
            }
        }
    }
    sync__http_destroy(http);
}

static inline struct remote_object object_of(const char *key, const void *bytes, size_t size) {
    struct store_outbox_row row = {
        .tier = TIER_ANNOTATED, .media = MEDIA_JPEG, .width = 640, .height = 480};
    struct remote_object object;
    hash_sha256(bytes, size, &row.blob);
    sync__object_init(&object, &row, key, bytes, size);
    return object;
}

static const char *text_of(const struct talk *talk) {
    static char text[1024];
    return err_text(&talk->err, text, sizeof text);
}

static inline struct talk put_one(struct remote *remote, const char *key, const void *bytes,
                                  size_t size) {
    struct talk talk = {.remote = remote, .object = object_of(key, bytes, size)};
    talk_all(&talk, 1);
    return talk;
}

#define ck_verdict(talk, wanted)                                                                   \
    ck_assert_msg((talk).verdict == (wanted), "verdict %d, not %d: %s", (talk).verdict, (wanted),  \
                  text_of(&(talk)))

/* ---- reading back, by another way than the one that wrote ---- */

/* Which fixture signs links to what this one wrote. */
static inline int reader_of(int fixture) {
    return sas_of(fixture) != NULL ? AZURE_KEY : puts_only(fixture) ? S3_PATH : fixture;
}

static inline void link_of(int fixture, const char *key, int ttl_s, char out[SYNC_LINK_MAX]) {
    struct sync_remote_config config = config_of(reader_of(fixture));
    struct err err = {0};
    config.prefix = fixtures[fixture].name;
    if (puts_only(fixture)) {
        config.access_key = AUDIT_ACCESS_KEY;
        config.secret_key = AUDIT_SECRET_KEY;
    }
    int code = sync_link_create(&config, TIER_ANNOTATED, key, ttl_s, out, &err);
    ck_assert_msg(code == 0, "%s %s", err.msg, err.cause);
}

static inline void check_bytes(int fixture, const char *key, const void *bytes, size_t size) {
    if (fixture == DIRECTORY) {
        char path[1024];
        struct buf text = BUF_INIT(1u << 20);
        snprintf(path, sizeof path, "%s/remote/%s/%s", scratch, fixtures[fixture].name, key);
        ck_assert_int_eq(fs_read_file(path, &text, NULL), 0);
        ck_assert_uint_eq(text.len, size);
        ck_assert_mem_eq(text.data, bytes, size);
        buf_finish(&text);
        return;
    }
    char link[SYNC_LINK_MAX];
    struct http_reply reply;
    link_of(fixture, key, 60, link);
    ck_assert_int_eq(case_get(link, &reply), 200);
    ck_assert_uint_eq(reply.body.len, size);
    ck_assert_mem_eq(reply.body.data, bytes, size);
    sync__reply_finish(&reply);
}

/* ---- the servers ---- */

static inline void make_sas(const char *permissions, char *out, size_t room) {
    uint8_t key[SIGN_AZURE_KEY_MAX];
    size_t key_size = 0;
    struct buf text = BUF_INIT(room - 1);
    struct sign_sas sas = {.account = AZURITE_ACCOUNT,
                           .container = "annotated",
                           .permissions = permissions,
                           .resource = "c",
                           .protocol = "",
                           .expires_utc_us = clock_utc_us() + INT64_C(3600) * 1000000};
    if (!hash_parse_base64(AZURITE_KEY, key, sizeof key, &key_size)) {
        exit(1);
    }
    sync__sign_azure_sas(&sas, key, key_size, &text);
    snprintf(out, room, "?%s", text.data);
    buf_finish(&text);
}

static inline void remotes_start(void) {
    servers_scratch(scratch, sizeof scratch);
    snprintf(azurite_dir, sizeof azurite_dir, "%s/azurite", scratch);
    snprintf(rgw_dir, sizeof rgw_dir, "%s/rgw", scratch);
    azurite_port = servers_free_port();
    rgw_port = servers_free_port();
    servers_need(servers_azurite(azurite_dir, azurite_port, ""), "azurite");
    servers_need(servers_rgw(rgw_dir, rgw_port, servers_free_port()), "the S3 server");
    servers_need(
        servers_run("'%s/tests/servers/rgw.sh' user '%s' %d device '%s' '%s' s3:PutObject "
                    "'creel-suite/s3-put*/*' 'creel-suite/slashes/s3-put*/*' "
                    "'creel-suite/with space/and=equals3-put*/*' 'creel-suite/ü/s3-put*/*'",
                    CREEL_SOURCE_DIR, rgw_dir, rgw_port, DEVICE_ACCESS_KEY, DEVICE_SECRET_KEY),
        "the S3 server's user");
    servers_need(servers_run("'%s/tests/servers/rgw.sh' auditor '%s' auditor '%s' '%s'",
                             CREEL_SOURCE_DIR, rgw_dir, AUDIT_ACCESS_KEY, AUDIT_SECRET_KEY),
                 "the S3 server's other user");
    snprintf(azurite_url, sizeof azurite_url, "http://127.0.0.1:%d/%s", azurite_port,
             AZURITE_ACCOUNT);
    snprintf(rgw_url, sizeof rgw_url, "http://127.0.0.1:%d", rgw_port);
    snprintf(rgw_name_url, sizeof rgw_name_url, "http://localhost:%d", rgw_port);
    make_sas("rcw", sas_read, sizeof sas_read);
    make_sas("cw", sas_write, sizeof sas_write);
    make_sas("c", sas_create, sizeof sas_create);
}

static inline void remotes_stop(void) {
    servers_azurite_stop(azurite_dir);
    servers_rgw_stop(rgw_dir);
    servers_run("rm -rf '%s'", scratch);
}

#endif
