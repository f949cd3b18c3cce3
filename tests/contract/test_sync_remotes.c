/* One conformance suite that every remote passes: a directory, Azure Blob (account key; SAS that
 * may read; SAS that may only create; in blocks) on Azurite, and S3 (path style, virtual host, a
 * user who may only put; in parts) on a Ceph RADOS gateway. Real servers, no stand-ins.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/contract/remote_case.h"
#include "tests/suite.h"
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
            ck_assert_uint_le(talk.requests - talk.parts, 5); /* put, perhaps create and put */
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
        ck_assert_uint_ge(stored, 1);
        ck_assert(stored == 1 || fixtures[_i].races);
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
    if (_i == S3_PUT_PARTS) {
        return; /* the same user */
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
    remotes_start();
    int failed = suite_run(suite());
    remotes_stop();
    return failed;
}
