/* One conformance suite that every remote passes: a directory, Azure Blob (account key; SAS that
 * may read; SAS that may only create) on Azurite, and S3 (path style, virtual host, a user who may
 * only put) on a Ceph RADOS gateway. Real servers, no stand-ins.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/http.h"
#include "sync/remote.h"
#include "sync/sign.h"
#include "sync/sync.h"
#include "tests/contract/sync_case.h"
#include "tests/servers/servers.h"
#include "tests/suite.h"
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char scratch[256];
static int azurite_port, rgw_port;
static char azurite_url[128], rgw_url[128], rgw_name_url[128];
static char sas_read[1024], sas_create[1024];

/* ---- the remotes ---- */

enum kind_of_fixture {
    DIRECTORY,
    AZURE_KEY,
    AZURE_SAS,
    AZURE_CREATE,
    S3_PATH,
    S3_HOST,
    S3_PUT,
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
} fixtures[FIXTURES] = {
    [DIRECTORY] = {"directory", true, false, true},
    [AZURE_KEY] = {"azure-key", true, true, true},
    [AZURE_SAS] = {"azure-sas", true, false, false},
    [AZURE_CREATE] = {"azure-create", false, false, false},
    [S3_PATH] = {"s3-path", true, true, true},
    [S3_HOST] = {"s3-host", true, true, true},
    [S3_PUT] = {"s3-put", false, false, false},
};

static char path_of_directory[300];

static struct sync_remote_config config_of(int fixture) {
    struct sync_remote_config config = {.required = true};
    snprintf(config.name, sizeof config.name, "%s", fixtures[fixture].name);
    config.prefix = fixtures[fixture].name;
    switch (fixture) {
    case DIRECTORY:
        config.kind = SYNC_DIRECTORY;
        snprintf(path_of_directory, sizeof path_of_directory, "%s/remote", scratch);
        config.path = path_of_directory;
        break;
    case S3_PATH:
    case S3_HOST:
    case S3_PUT:
        config.kind = SYNC_S3;
        config.url = fixture == S3_HOST ? rgw_name_url : rgw_url;
        config.virtual_host = fixture == S3_HOST;
        config.bucket = "creel-suite";
        config.access_key = fixture == S3_PUT ? DEVICE_ACCESS_KEY : RGW_ACCESS_KEY;
        config.secret_key = fixture == S3_PUT ? DEVICE_SECRET_KEY : RGW_SECRET_KEY;
        config.create_containers = fixture != S3_PUT;
        break;
    default:
        config.kind = SYNC_AZURE;
        config.url = azurite_url;
        config.account_key = fixture == AZURE_KEY ? AZURITE_KEY : NULL;
        config.sas = fixture == AZURE_SAS ? sas_read : fixture == AZURE_CREATE ? sas_create : NULL;
        config.create_containers = fixture == AZURE_KEY;
        break;
    }
    return config;
}

static struct remote *remote_new(const struct sync_remote_config *config) {
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
    unsigned requests;
};

static void talk_ask(struct http *http, struct talk *talk) {
    struct http_request request = {0};
    ck_assert_uint_le(++talk->requests, REMOTE_STEPS_MAX);
    ck_assert_int_eq(
        talk->remote->ops->request(talk->remote, &talk->put, clock_utc_us(), &request, &talk->err),
        0);
    ck_assert_int_eq(sync__http_start(http, &request, talk, &talk->err), 0);
}

/* All at once, each to its end. */
static void talk_all(struct talk *talks, size_t count) {
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
                open--;
            }
        }
    }
    sync__http_destroy(http);
}

static struct remote_object object_of(const char *key, const void *bytes, size_t size) {
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

static struct talk put_one(struct remote *remote, const char *key, const void *bytes, size_t size) {
    struct talk talk = {.remote = remote, .object = object_of(key, bytes, size)};
    talk_all(&talk, 1);
    return talk;
}

#define ck_verdict(talk, wanted)                                                                   \
    ck_assert_msg((talk).verdict == (wanted), "verdict %d, not %d: %s", (talk).verdict, (wanted),  \
                  text_of(&(talk)))

/* ---- reading back, by another way than the one that wrote ---- */

/* Which fixture signs links to what this one wrote. */
static int reader_of(int fixture) {
    static const int readers[FIXTURES] = {
        [AZURE_SAS] = AZURE_KEY, [AZURE_CREATE] = AZURE_KEY, [S3_PUT] = S3_PATH};
    return readers[fixture] != 0 ? readers[fixture] : fixture;
}

static void link_of(int fixture, const char *key, int ttl_s, char out[SYNC_LINK_MAX]) {
    struct sync_remote_config config = config_of(reader_of(fixture));
    struct err err = {0};
    config.prefix = fixtures[fixture].name;
    if (fixture == S3_PUT) {
        config.access_key = AUDIT_ACCESS_KEY;
        config.secret_key = AUDIT_SECRET_KEY;
    }
    int code = sync_link_create(&config, TIER_ANNOTATED, key, ttl_s, out, &err);
    ck_assert_msg(code == 0, "%s %s", err.msg, err.cause);
}

static void check_bytes(int fixture, const char *key, const void *bytes, size_t size) {
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

/* ---- the suite ---- */

START_TEST(stores_and_reads_back) {
    struct sync_remote_config config = config_of(_i);
    struct remote *remote = remote_new(&config);
    static const size_t sizes[] = {1, 4095, 60000, 700000};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        char key[64];
        uint8_t *bytes = case_noise(sizes[i], (unsigned)i + 1);
        snprintf(key, sizeof key, "stores/%zu.jpg", sizes[i]);
        struct talk talk = put_one(remote, key, bytes, sizes[i]);
        ck_verdict(talk, REMOTE_STORED);
        if (_i != DIRECTORY) {
            ck_assert_str_ne(talk.put.etag, "");
            ck_assert_uint_le(talk.requests, 3); /* put, perhaps create and put */
        }
        check_bytes(_i, key, bytes, sizes[i]);
        free(bytes);
    }
    sync__remote_close(remote);
}
END_TEST

START_TEST(a_second_put_is_a_receipt_too) {
    struct sync_remote_config config = config_of(_i);
    struct remote *remote = remote_new(&config);
    uint8_t *bytes = case_noise(5000, 42);
    struct talk talk = put_one(remote, "again/a.jpg", bytes, 5000);
    ck_verdict(talk, REMOTE_STORED);
    talk = put_one(remote, "again/a.jpg", bytes, 5000);
    ck_verdict(talk, fixtures[_i].reads ? REMOTE_COMPARED : REMOTE_EXISTS);
    check_bytes(_i, "again/a.jpg", bytes, 5000);
    free(bytes);
    sync__remote_close(remote);
}
END_TEST

START_TEST(other_bytes_under_the_name_are_found) {
    struct sync_remote_config config = config_of(_i);
    struct remote *remote = remote_new(&config);
    uint8_t *ours = case_noise(3000, 7), *same_size = case_noise(3000, 8);
    struct talk talk = put_one(remote, "conflict/a.jpg", ours, 3000);
    ck_verdict(talk, REMOTE_STORED);
    talk = put_one(remote, "conflict/a.jpg", same_size, 3000);
    ck_verdict(talk, fixtures[_i].reads ? REMOTE_CONFLICT : REMOTE_EXISTS);
    talk = put_one(remote, "conflict/a.jpg", ours, 2999);
    ck_verdict(talk, fixtures[_i].reads ? REMOTE_CONFLICT : REMOTE_EXISTS);
    if (fixtures[_i].reads) {
        ck_assert_ptr_nonnull(strstr(text_of(&talk), "conflict/a.jpg"));
    }
    check_bytes(_i, "conflict/a.jpg", ours, 3000); /* never replaced */
    free(ours);
    free(same_size);
    sync__remote_close(remote);
}
END_TEST

START_TEST(odd_keys_survive) {
    static const char *const keys[] = {"odd/a b.jpg",
                                       "odd/50%.jpg",
                                       "odd/%2e%2e.jpg",
                                       "odd/ünïcode-鱼.jpg",
                                       "odd/a#b?c=d&e.jpg",
                                       "odd/plus+plus.jpg",
                                       "odd/'quoted'(1)!*.jpg",
                                       "odd/~t=1;u,v@w:x$.jpg",
                                       "tier=annotated/device=d-1/date=2026-11-20/x.jpg"};
    struct sync_remote_config config = config_of(_i);
    struct remote *remote = remote_new(&config);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        struct talk talk = put_one(remote, keys[i], keys[i], strlen(keys[i]));
        ck_verdict(talk, REMOTE_STORED);
        check_bytes(_i, keys[i], keys[i], strlen(keys[i]));
    }
    sync__remote_close(remote);
}
END_TEST

START_TEST(odd_prefixes_survive) {
    static const char *const prefixes[] = {"/slashes/", "with space/and=equal", "ü/"};
    for (size_t i = 0; i < ARRAY_LENGTH(prefixes); i++) {
        char link[SYNC_LINK_MAX], prefix[128];
        struct sync_remote_config config = config_of(_i);
        snprintf(prefix, sizeof prefix, "%s%s", prefixes[i], fixtures[_i].name);
        config.prefix = prefix;
        struct remote *remote = remote_new(&config);
        struct talk talk = put_one(remote, "p/x.jpg", "prefix", 6);
        ck_verdict(talk, REMOTE_STORED);
        if (fixtures[_i].links) {
            struct http_reply reply;
            ck_assert_int_eq(sync_link_create(&config, TIER_ANNOTATED, "p/x.jpg", 60, link, NULL),
                             0);
            ck_assert_int_eq(case_get(link, &reply), 200);
            sync__reply_finish(&reply);
        }
        sync__remote_close(remote);
    }
    if (_i == DIRECTORY) { /* outer slashes are no part of a prefix */
        char path[600];
        snprintf(path, sizeof path, "%s/remote/slashes/directory/p/x.jpg", scratch);
        ck_assert_int_eq(access(path, R_OK), 0);
    }
}
END_TEST

START_TEST(racing_puts_of_one_key_make_one_object) {
    struct sync_remote_config config = config_of(_i);
    for (int round = 0; round < 5; round++) {
        struct talk talks[8] = {0};
        char key[64];
        size_t stored = 0;
        uint8_t *bytes = case_noise(20000, (unsigned)round + 100);
        snprintf(key, sizeof key, "race/%d.jpg", round);
        for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) {
            talks[i].remote = remote_new(&config);
            talks[i].object = object_of(key, bytes, 20000);
        }
        talk_all(talks, ARRAY_LENGTH(talks));
        for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) {
            stored += talks[i].verdict == REMOTE_STORED;
            ck_assert_msg(talks[i].verdict == REMOTE_STORED ||
                              talks[i].verdict == REMOTE_COMPARED ||
                              (talks[i].verdict == REMOTE_EXISTS && !fixtures[_i].reads),
                          "verdict %d: %s", talks[i].verdict, text_of(&talks[i]));
            sync__remote_close(talks[i].remote);
        }
        ck_assert_uint_eq(stored, 1);
        check_bytes(_i, key, bytes, 20000);
        free(bytes);
    }
}
END_TEST

static void *store_in_thread(void *ctx) {
    struct talk *talk = ctx;
    talk->put.object = &talk->object;
    talk->verdict = talk->remote->ops->store(talk->remote, &talk->put, &talk->err);
    return NULL;
}

START_TEST(racing_threads_share_a_directory) {
    struct sync_remote_config config = config_of(DIRECTORY);
    char path[400];
    snprintf(path, sizeof path, "%s/new-for-all", scratch);
    config.path = path; /* nobody has made it: its mark is raced for as well */
    struct talk talks[8] = {0};
    pthread_t threads[8];
    size_t stored = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) {
        talks[i].remote = remote_new(&config);
        talks[i].object = object_of("t/x.jpg", path, sizeof path);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, store_in_thread, &talks[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) {
        pthread_join(threads[i], NULL);
        stored += talks[i].verdict == REMOTE_STORED;
        ck_assert_msg(talks[i].verdict == REMOTE_STORED || talks[i].verdict == REMOTE_COMPARED,
                      "%s", text_of(&talks[i]));
        sync__remote_close(talks[i].remote);
    }
    ck_assert_uint_eq(stored, 1);
}
END_TEST

static void cannot_read(void) {
    struct sync_remote_config config = config_of(S3_PUT);
    char link[SYNC_LINK_MAX];
    struct err err = {0};
    struct remote *remote = remote_new(&config);
    struct talk talk = put_one(remote, "link/a.jpg", "aaaa", 4);
    ck_verdict(talk, REMOTE_STORED);
    ck_assert_int_eq(sync_link_create(&config, TIER_ANNOTATED, "link/a.jpg", 60, link, NULL), 0);
    ck_assert_int_eq(sync_link_try(&config, link, &err), ERR_DENIED);
    ck_assert_ptr_nonnull(strstr(err.msg, "lacks s3:GetObject"));
    sync__remote_close(remote);
}

START_TEST(a_link_is_for_one_object_and_ends) {
    if (_i == S3_PUT) { /* whoever has a key can sign; only the server knows that it helps nobody */
        cannot_read();
        return;
    }
    if (!fixtures[_i].links) {
        char out[SYNC_LINK_MAX];
        struct err err = {0};
        struct sync_remote_config config = config_of(_i);
        ck_assert_int_eq(sync_link_create(&config, TIER_ANNOTATED, "x.jpg", 60, out, &err),
                         ERR_REFUSED);
        ck_assert_str_ne(err.msg, "");
        return;
    }
    struct sync_remote_config config = config_of(_i);
    struct remote *remote = remote_new(&config);
    struct http_reply reply;
    char link[SYNC_LINK_MAX], other[SYNC_LINK_MAX];
    struct talk talk = put_one(remote, "link/a.jpg", "aaaa", 4);
    ck_verdict(talk, REMOTE_STORED);
    talk = put_one(remote, "link/b.jpg", "bbbb", 4);
    ck_verdict(talk, REMOTE_STORED);

    link_of(_i, "link/a.jpg", 60, link);
    ck_assert_int_eq(case_get(link, &reply), 200);
    ck_assert_mem_eq(reply.body.data, "aaaa", 4);
    sync__reply_finish(&reply);
    ck_assert_int_eq(sync_link_try(&config, link, NULL), 0);

    memcpy(other, link, sizeof other); /* the same signature for another object */
    *strstr(other, "a.jpg") = 'b';
    ck_assert_int_eq(sync_link_try(&config, other, NULL), ERR_DENIED);
    ck_assert_int_eq(case_get(other, &reply), 403);
    sync__reply_finish(&reply);

    char *sign = strcasestr(link, "sig=") != NULL ? strcasestr(link, "sig=") + 4
                                                  : strcasestr(link, "Signature=") + 10;
    *sign = *sign == '1' ? '2' : '1'; /* one digit of the signature */
    ck_assert_int_eq(case_get(link, &reply), 403);
    sync__reply_finish(&reply);

    link_of(_i, "link/a.jpg", 1, link);
    clock_sleep_ms(2200);
    ck_assert_int_eq(case_get(link, &reply), 403);
    sync__reply_finish(&reply);
    sync__remote_close(remote);
}
END_TEST

/* A clock that is an hour wrong costs one request more, once. */
START_TEST(a_wrong_clock_is_corrected) {
    struct sync_remote_config config = config_of(S3_PATH);
    struct remote *remote = remote_new(&config);
    struct talk talk = put_one(remote, "skew/0.jpg", "make the bucket", 15);
    remote->skew_us = INT64_C(3600) * 1000000;
    talk = put_one(remote, "skew/1.jpg", "an hour", 7);
    ck_verdict(talk, REMOTE_STORED);
    ck_assert_uint_eq(talk.requests, 2);
    ck_assert_int_lt(llabs(remote->skew_us), INT64_C(5) * 1000000);
    talk = put_one(remote, "skew/2.jpg", "known now", 9);
    ck_verdict(talk, REMOTE_STORED);
    ck_assert_uint_eq(talk.requests, 1);
    sync__remote_close(remote);
}
END_TEST

static void expect_denied(struct sync_remote_config *config, const char *word) {
    struct remote *remote = remote_new(config);
    struct talk talk = put_one(remote, "denied/x.jpg", "x", 1);
    ck_verdict(talk, REMOTE_DENIED);
    ck_assert_int_eq(talk.err.code, ERR_DENIED);
    ck_assert_msg(strstr(text_of(&talk), word) != NULL, "\"%s\" is not in: %s", word,
                  text_of(&talk));
    ck_assert_ptr_null(strstr(text_of(&talk), "sig="));
    sync__remote_close(remote);
}

START_TEST(a_wrong_key_is_named) {
    struct sync_remote_config config = config_of(AZURE_KEY);
    config.account_key = "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkgd3Jvbmcga2V5";
    expect_denied(&config, "account key");
    config = config_of(S3_PATH);
    config.secret_key = "wrong";
    expect_denied(&config, "secret key is wrong");
    config = config_of(S3_PATH);
    config.access_key = "NOBODY";
    expect_denied(&config, "access key is not known");
    char tampered[1024];
    snprintf(tampered, sizeof tampered, "%s", sas_read);
    char *sign = strstr(tampered, "sig=") + 4;
    *sign = *sign == 'A' ? 'B' : 'A';
    config = config_of(AZURE_SAS);
    config.sas = tampered;
    expect_denied(&config, "SAS");
}
END_TEST

START_TEST(a_missing_container_is_named) {
    struct sync_remote_config config = config_of(AZURE_KEY);
    config.containers[TIER_ANNOTATED] = "nobody-made-this";
    config.create_containers = false;
    expect_denied(&config, "create_containers");
    config = config_of(S3_PATH);
    config.bucket = "nobody-made-this";
    config.create_containers = false;
    expect_denied(&config, "create_containers");
}
END_TEST

START_TEST(a_missing_container_is_made) {
    struct sync_remote_config config = config_of(_i);
    char name[64];
    snprintf(name, sizeof name, "fresh-%s", fixtures[_i].name);
    if (!fixtures[_i].creates || _i == DIRECTORY) {
        return;
    }
    config.containers[TIER_ANNOTATED] = name;
    config.bucket = name;
    struct remote *remote = remote_new(&config);
    struct talk talks[4] = {0};
    char keys[4][16];
    for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) { /* all of them find it missing */
        snprintf(keys[i], sizeof keys[i], "m/%zu.jpg", i);
        talks[i] = (struct talk){.remote = remote, .object = object_of(keys[i], keys[i], 4)};
    }
    talk_all(talks, ARRAY_LENGTH(talks));
    for (size_t i = 0; i < ARRAY_LENGTH(talks); i++) {
        ck_verdict(talks[i], REMOTE_STORED);
    }
    sync__remote_close(remote);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_retried) {
    struct sync_remote_config configs[] = {config_of(AZURE_KEY), config_of(S3_PATH)};
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/%s", servers_free_port(), AZURITE_ACCOUNT);
    configs[0].url = url;
    configs[1].url = url;
    for (size_t i = 0; i < ARRAY_LENGTH(configs); i++) {
        struct remote *remote = remote_new(&configs[i]);
        struct talk talk = put_one(remote, "down/x.jpg", "x", 1);
        ck_verdict(talk, REMOTE_RETRY);
        ck_assert_ptr_nonnull(strstr(text_of(&talk), "no connection"));
        sync__remote_close(remote);
    }
}
END_TEST

/* ---- what only one of them has ---- */

START_TEST(azure_host_style_signs_the_account_once) {
    struct sync_remote_config config = config_of(AZURE_KEY);
    char url[128];
    snprintf(url, sizeof url, "http://%s.blob.localhost:%d", AZURITE_ACCOUNT, azurite_port);
    config.url = url;
    struct remote *remote = remote_new(&config);
    struct talk talk = put_one(remote, "host/x y.jpg", "host style", 10);
    ck_verdict(talk, REMOTE_STORED);
    check_bytes(AZURE_KEY, "host/x y.jpg", "host style", 10);
    sync__remote_close(remote);
}
END_TEST

START_TEST(azure_over_tls_needs_the_authority) {
    char dir[300], url[128], cert[400];
    int port = servers_free_port();
    snprintf(dir, sizeof dir, "%s/azurite-tls", scratch);
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    ck_assert_int_eq(servers_azurite(dir, port, "https"), 0);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/%s", port, AZURITE_ACCOUNT);
    struct sync_remote_config config = config_of(AZURE_KEY);
    config.url = url;
    expect_denied(&config, "ca_file");
    config.ca_file = cert;
    struct remote *remote = remote_new(&config);
    struct talk talk = put_one(remote, "tls/x.jpg", "over TLS", 8);
    sync__remote_close(remote);
    ck_assert_int_eq(servers_azurite_stop(dir), 0);
    ck_verdict(talk, REMOTE_STORED);
}
END_TEST

static char remembered[HASH_ID_SIZE];

static int memory_get(void *ctx, char *mark, struct err *err) {
    (void)ctx;
    if (remembered[0] == '\0') {
        return err_set(err, ERR_NOT_FOUND, "none");
    }
    memcpy(mark, remembered, sizeof remembered);
    return 0;
}

static int memory_put(void *ctx, const char *mark, struct err *err) {
    (void)ctx, (void)err;
    snprintf(remembered, sizeof remembered, "%s", mark);
    return 0;
}

START_TEST(a_directory_that_is_not_mounted_is_refused) {
    struct sync_remote_config config = config_of(DIRECTORY);
    char path[400], away[400], wanted[HASH_ID_SIZE];
    snprintf(path, sizeof path, "%s/mount", scratch);
    snprintf(away, sizeof away, "%s/unmounted", scratch);
    config.path = path;
    for (int again = 0; again < 2; again++) { /* while it runs, and after a restart */
        struct remote *remote = remote_new(&config);
        remote->memory = (struct remote_memory){.get = memory_get, .put = memory_put};
        struct talk talk = put_one(remote, again ? "m/2.jpg" : "m/1.jpg", "mounted", 7);
        ck_verdict(talk, REMOTE_STORED);
        ck_assert_int_eq(rename(path, away), 0);
        ck_assert_int_eq(again ? mkdir(path, 0755) : 0, 0); /* the empty mount point, or nothing */
        talk = put_one(remote, "m/3.jpg", "not mounted", 11);
        ck_verdict(talk, REMOTE_DENIED);
        ck_assert_ptr_nonnull(strstr(text_of(&talk), "not mounted?"));
        memcpy(wanted, remembered, sizeof wanted);
        ck_assert_ptr_nonnull(strstr(text_of(&talk), wanted)); /* the way out */
        ck_assert_int_eq(again ? rmdir(path) : 0, 0);
        ck_assert_int_eq(rename(away, path), 0);
        talk = put_one(remote, again ? "m/5.jpg" : "m/4.jpg", "back", 4);
        ck_verdict(talk, REMOTE_STORED);
        sync__remote_close(remote);
    }
}
END_TEST

START_TEST(a_directory_takes_no_names_that_lead_out) {
    static const char *const keys[] = {"../out.jpg", "a/../../out.jpg", "a//b.jpg", "a/./b.jpg",
                                       "a/"};
    struct sync_remote_config config = config_of(DIRECTORY);
    struct remote *remote = remote_new(&config);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        struct talk talk = put_one(remote, keys[i], "x", 1);
        ck_verdict(talk, REMOTE_REFUSED);
    }
    sync__remote_close(remote);
}
END_TEST

/* ---- main ---- */

static void make_sas(const char *permissions, char *out, size_t room) {
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

/* First of all: a SAS for a container cannot make it, nor can a user who may only put. */
START_TEST(the_first_container_is_made) {
    struct sync_remote_config config = config_of(AZURE_KEY);
    struct remote *remote = remote_new(&config);
    struct talk talk = put_one(remote, "first.jpg", "first", 5);
    ck_verdict(talk, REMOTE_STORED);
    sync__remote_close(remote);
    config = config_of(S3_PATH);
    remote = remote_new(&config);
    talk = put_one(remote, "first.jpg", "first", 5);
    ck_verdict(talk, REMOTE_STORED);
    sync__remote_close(remote);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: every remote");
    TCase *each = tcase_create("conformance");
    tcase_set_timeout(each, 60);
    tcase_add_test(each, the_first_container_is_made);
    tcase_add_loop_test(each, stores_and_reads_back, 0, FIXTURES);
    tcase_add_loop_test(each, a_second_put_is_a_receipt_too, 0, FIXTURES);
    tcase_add_loop_test(each, other_bytes_under_the_name_are_found, 0, FIXTURES);
    tcase_add_loop_test(each, odd_keys_survive, 0, FIXTURES);
    tcase_add_loop_test(each, odd_prefixes_survive, 0, FIXTURES);
    tcase_add_loop_test(each, racing_puts_of_one_key_make_one_object, 0, FIXTURES);
    tcase_add_loop_test(each, a_link_is_for_one_object_and_ends, 0, FIXTURES);
    tcase_add_loop_test(each, a_missing_container_is_made, 0, FIXTURES);
    suite_add_tcase(all, each);
    TCase *some = tcase_create("some");
    tcase_set_timeout(some, 60);
    tcase_add_test(some, a_wrong_clock_is_corrected);
    tcase_add_test(some, a_wrong_key_is_named);
    tcase_add_test(some, a_missing_container_is_named);
    tcase_add_test(some, a_server_that_is_not_there_is_retried);
    tcase_add_test(some, azure_host_style_signs_the_account_once);
    tcase_add_test(some, azure_over_tls_needs_the_authority);
    tcase_add_test(some, racing_threads_share_a_directory);
    tcase_add_test(some, a_directory_that_is_not_mounted_is_refused);
    tcase_add_test(some, a_directory_takes_no_names_that_lead_out);
    suite_add_tcase(all, some);
    return all;
}

int main(void) {
    char azurite_dir[300], rgw_dir[300];
    servers_scratch(scratch, sizeof scratch);
    snprintf(azurite_dir, sizeof azurite_dir, "%s/azurite", scratch);
    snprintf(rgw_dir, sizeof rgw_dir, "%s/rgw", scratch);
    azurite_port = servers_free_port();
    rgw_port = servers_free_port();
    servers_need(servers_azurite(azurite_dir, azurite_port, ""), "azurite");
    servers_need(servers_rgw(rgw_dir, rgw_port, servers_free_port()), "the S3 server");
    servers_need(servers_run("'%s/tests/servers/rgw.sh' user '%s' %d device '%s' '%s' s3:PutObject "
                             "'creel-suite/s3-put/*' 'creel-suite/slashes/s3-put/*' "
                             "'creel-suite/with space/and=equals3-put/*' 'creel-suite/ü/s3-put/*'",
                             CREEL_SOURCE_DIR, rgw_dir, rgw_port, DEVICE_ACCESS_KEY,
                             DEVICE_SECRET_KEY),
                 "the S3 server's user");
    servers_need(servers_run("'%s/tests/servers/rgw.sh' auditor '%s' auditor '%s' '%s'",
                             CREEL_SOURCE_DIR, rgw_dir, AUDIT_ACCESS_KEY, AUDIT_SECRET_KEY),
                 "the S3 server's other user");
    snprintf(azurite_url, sizeof azurite_url, "http://127.0.0.1:%d/%s", azurite_port,
             AZURITE_ACCOUNT);
    snprintf(rgw_url, sizeof rgw_url, "http://127.0.0.1:%d", rgw_port);
    snprintf(rgw_name_url, sizeof rgw_name_url, "http://localhost:%d", rgw_port);
    make_sas("rcw", sas_read, sizeof sas_read);
    make_sas("c", sas_create, sizeof sas_create);

    int failed = suite_run(suite());
    servers_azurite_stop(azurite_dir);
    servers_rgw_stop(rgw_dir);
    servers_run("rm -rf '%s'", scratch);
    return failed;
}
