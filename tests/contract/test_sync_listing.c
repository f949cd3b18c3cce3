/* One conformance suite of listing that every remote passes: a directory, Azurite, a Ceph RADOS
 * gateway. The objects are written by requests of the same kind that list, so signing a query, a
 * body and odd names is tried both ways.
 */
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "sync/directory_list.h"
#include "sync/listing.h"
#include "tests/contract/sync_case.h"
#include "tests/servers/servers.h"
#include "tests/suite.h"
#include <malloc.h>
#include <stdio.h>
#include <sys/stat.h>

#define MANY 6000

enum fixture { DIRECTORY, AZURE, S3, FIXTURES };

static char scratch[256], disk[300], azurite_url[128], rgw_url[128], sas_create[1024];

static struct sync_remote_config config_of(int fixture, const char *prefix) {
    struct sync_remote_config config = {.prefix = prefix, .path = disk, .bucket = "listing"};
    config.kind = fixture == DIRECTORY ? SYNC_DIRECTORY : fixture == AZURE ? SYNC_AZURE : SYNC_S3;
    config.url = fixture == S3 ? rgw_url : azurite_url;
    config.account_key = fixture == AZURE ? AZURITE_KEY : NULL;
    config.access_key = fixture == S3 ? RGW_ACCESS_KEY : NULL;
    config.secret_key = fixture == S3 ? RGW_SECRET_KEY : NULL;
    config.containers[TIER_ANNOTATED] = "listing";
    snprintf(config.name, sizeof config.name, "r");
    return config;
}

static struct asker *asker_new(int fixture, const char *prefix) {
    struct sync_remote_config config = config_of(fixture, prefix);
    struct asker *asker = NULL;
    struct err err = {0};
    char text[1024];
    int code = sync__asker_open(&config, &asker, &err);
    ck_assert_msg(code == 0, "%s", err_text(&err, text, sizeof text));
    return asker;
}

#define ck_code(code, wanted, err)                                                                 \
    do {                                                                                           \
        char text_[1024];                                                                          \
        int code_ = (code);                                                                        \
        ck_assert_msg(code_ == (wanted), "%d, not %d: %s", code_, (wanted),                        \
                      err_text(&(err), text_, sizeof text_));                                      \
    } while (0)

static void file_write(struct asker *asker, const char *key, size_t size) {
    char path[2048], name[STORE_KEY_MAX + 1];
    ck_assert_int_eq(sync__remote_name(asker->remote, key, name, NULL), 0);
    snprintf(path, sizeof path, "%s/%s", disk, name);
    *strrchr(path, '/') = '\0';
    ck_assert_int_eq(fs_mkdirs(path, NULL), 0);
    path[strlen(path)] = '/';
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < size; i++) {
        fputc('x', file);
    }
    fclose(file);
}

static const char bytes[64] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";

/* Object i gets i % 60 + 1 bytes. */
static void put_all(int fixture, const char *prefix, char (*keys)[200], size_t count) {
    struct asker *asker = asker_new(fixture, prefix);
    struct remote_ask *asks = calloc(count, sizeof *asks);
    struct err err = {0};
    for (size_t i = 0; i < count; i++) {
        asks[i] = (struct remote_ask){.method = "PUT",
                                      .key = keys[i],
                                      .body = bytes,
                                      .body_size = i % 60 + 1,
                                      .doing = "putting"};
        sync__ask_header(&asks[i], "content-type", "text/plain");
        if (fixture == AZURE) {
            sync__ask_header(&asks[i], "x-ms-blob-type", "BlockBlob");
        }
        if (fixture == DIRECTORY) {
            file_write(asker, keys[i], i % 60 + 1);
        }
    }
    if (fixture != DIRECTORY) {
        ck_code(sync__asker_each(asker, asks, count, NULL, NULL, &err), 0, err);
    }
    free(asks);
    sync__asker_close(asker);
}

static int by_key(const void *a, const void *b) {
    return strcmp(a, b);
}

START_TEST(lists_what_is_there_in_the_order_of_names) {
    static char keys[2345][200], sorted[2345][200];
    char md5[HASH_MD5_SIZE * 2 + 1];
    struct listing *listing = NULL;
    struct listed found;
    struct err err = {0};
    uint8_t digest[HASH_MD5_SIZE];
    const size_t count = ARRAY_LENGTH(keys);
    static const char *const odd[] = {"dir-b", "dir/a",    "dir/b/c",        "dir.",
                                      "a b+c", "a%41&=#?", "\xc3\xbc<&>\"'", "dir0"};
    for (size_t i = 0; i < count; i++) {
        if (i < ARRAY_LENGTH(odd)) {
            snprintf(keys[i], sizeof keys[i], "in/%s", odd[i]);
        } else {
            snprintf(keys[i], sizeof keys[i], "in/date=2026-11-%02zu/%zx.jpg", i % 7 + 1,
                     i * 2654435761u);
        }
    }
    put_all(_i, "order", keys, count);
    put_all(_i, "order", (char[2][200]){"ih", "in0"}, 2); /* before and behind, and not asked for */
    put_all(_i, "orderly", (char[1][200]){"in/x"}, 1);
    memcpy(sorted, keys, sizeof keys);
    qsort(sorted, count, sizeof sorted[0], by_key);

    struct asker *asker = asker_new(_i, "order");
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "in/", &listing, &err), 0, err);
    for (size_t i = 0; i < count; i++) {
        ck_code(sync__listing_next(listing, &found, &err), 0, err);
        ck_assert_str_eq(found.key, sorted[i]);
        size_t at = 0;
        while (strcmp(keys[at], sorted[i]) != 0) {
            at++;
        }
        ck_assert_uint_eq(found.bytes, at % 60 + 1);
        hash_md5(bytes, at % 60 + 1, digest);
        if (_i != DIRECTORY) {
            ck_assert_str_eq(found.md5, hash_hex(digest, sizeof digest, md5));
            ck_assert_str_ne(found.etag, "");
        }
        ck_assert_int_gt(found.modified_utc_us, clock_utc_us() - INT64_C(600000000));
        ck_assert_int_lt(found.modified_utc_us, clock_utc_us() + INT64_C(60000000));
    }
    ck_assert_int_eq(sync__listing_next(listing, &found, &err), ERR_NOT_FOUND);
    ck_assert_int_eq(sync__listing_next(listing, &found, &err), ERR_NOT_FOUND);
    sync__listing_close(listing);
    ck_assert_uint_le(asker->requests, 3);
    sync__asker_close(asker);
}
END_TEST

START_TEST(many_objects_take_no_more_memory_than_a_page) {
    char(*keys)[200] = calloc(MANY, sizeof *keys);
    struct listing *listing = NULL;
    struct listed found;
    struct err err = {0};
    for (size_t i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "many/date=2026-11-20/%064zx.jpg", i * 7919);
    }
    put_all(_i, "p", keys, MANY);
    free(keys);
    struct asker *asker = asker_new(_i, "p");
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "many/", &listing, &err), 0, err);
    size_t seen = 0, most = 0, first = 0;
    while (sync__listing_next(listing, &found, &err) == 0) {
        seen++;
        if (seen % 500 == 1) {
            size_t used = mallinfo2().uordblks + mallinfo2().hblkhd;
            first = first == 0 ? used : first;
            most = used > most ? used : most;
        }
    }
    ck_assert_int_eq(err.code, ERR_NOT_FOUND);
    ck_assert_uint_eq(seen, MANY);
    ck_assert_msg(most < first + (256u << 10), "%zu at the first page, %zu at most", first, most);
    sync__listing_close(listing);
    sync__asker_close(asker);
}
END_TEST

START_TEST(what_is_not_there_is_an_empty_list) {
    struct listing *listing = NULL;
    struct listed found;
    struct err err = {0};
    struct asker *asker = asker_new(_i, "nobody");
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "frames/", &listing, &err), 0, err);
    ck_code(sync__listing_next(listing, &found, &err), ERR_NOT_FOUND, err);
    sync__listing_close(listing);
    sync__asker_close(asker);
    struct sync_remote_config config = config_of(_i, "nobody");
    config.containers[TIER_ANNOTATED] = "no-such-container";
    config.bucket = "no-such-bucket";
    ck_code(sync__asker_open(&config, &asker, &err), 0, err);
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "frames/", &listing, &err), 0, err);
    ck_code(sync__listing_next(listing, &found, &err), ERR_NOT_FOUND, err);
    sync__listing_close(listing);
    sync__asker_close(asker);
}
END_TEST

static int list_with(const struct sync_remote_config *config, struct err *err) {
    struct asker *asker = NULL;
    struct listing *listing = NULL;
    struct listed found;
    ck_code(sync__asker_open(config, &asker, err), 0, *err);
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "", &listing, err), 0, *err);
    int code = sync__listing_next(listing, &found, err);
    sync__listing_close(listing);
    sync__asker_close(asker);
    return code;
}

static bool says(const struct err *err, const char *word) {
    char text[1024];
    return strstr(err_text(err, text, sizeof text), word) != NULL;
}

START_TEST(the_right_that_is_missing_is_named) {
    struct sync_remote_config config = config_of(AZURE, NULL);
    struct err err = {0};
    config.account_key = NULL;
    config.sas = sas_create;
    ck_code(list_with(&config, &err), ERR_DENIED, err);
    ck_assert(says(&err, "sp=l"));
    ck_assert(!says(&err, "sig=") || says(&err, "sig=*"));
}
END_TEST

START_TEST(a_wrong_key_is_not_a_missing_right) {
    struct sync_remote_config config = config_of(S3, NULL);
    struct err err = {0};
    config.secret_key = "wrong";
    ck_code(list_with(&config, &err), ERR_DENIED, err);
    ck_assert(says(&err, "secret key is wrong"));
    ck_assert(!says(&err, "ListBucket"));
    config = config_of(AZURE, NULL);
    config.account_key = "d3Jvbmc=";
    ck_code(list_with(&config, &err), ERR_DENIED, err);
    ck_assert(!says(&err, "sp=l"));
}
END_TEST

START_TEST(a_wrong_clock_is_corrected) {
    struct asker *asker = asker_new(S3, NULL);
    struct listing *listing = NULL;
    struct listed found;
    struct err err = {0};
    asker->remote->skew_us = -INT64_C(3600000000);
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "order/in/", &listing, &err), 0, err);
    ck_code(sync__listing_next(listing, &found, &err), 0, err);
    ck_assert_int_lt(llabs(sync__listing_server_utc_us(listing) - clock_utc_us()), 10000000);
    sync__listing_close(listing);
    sync__asker_close(asker);
}
END_TEST

START_TEST(an_unmounted_directory_is_not_an_empty_one) {
    struct sync_remote_config config = config_of(DIRECTORY, NULL);
    struct err err = {0};
    char path[400];
    snprintf(path, sizeof path, "%s/elsewhere", scratch);
    config.path = path;
    ck_code(list_with(&config, &err), ERR_DENIED, err);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    ck_code(list_with(&config, &err), ERR_DENIED, err);
    ck_assert(says(&err, "not mounted"));
}
END_TEST

START_TEST(more_empty_folders_than_a_page_hide_nothing) {
    struct asker *asker = asker_new(DIRECTORY, "empty");
    struct listing *listing = NULL;
    struct listed found;
    struct err err = {0};
    char path[400];
    file_write(asker, "z/last", 3);
    for (size_t i = 0; i < LISTING_PAGE_MAX + 100; i++) {
        snprintf(path, sizeof path, "%s/empty/%06zu", disk, i);
        ck_assert_int_eq(mkdir(path, 0755), 0);
    }
    ck_code(sync__listing_open(asker, TIER_ANNOTATED, "", &listing, &err), 0, err);
    ck_code(sync__listing_next(listing, &found, &err), 0, err);
    ck_assert_str_eq(found.key, "z/last");
    ck_code(sync__listing_next(listing, &found, &err), ERR_NOT_FOUND, err);
    sync__listing_close(listing);
    sync__asker_close(asker);
}
END_TEST

static void containers_make(void) {
    for (int fixture = AZURE; fixture <= S3; fixture++) {
        struct asker *asker = asker_new(fixture, NULL);
        struct remote_ask ask = {.method = "PUT", .doing = "making"};
        struct http_reply reply;
        struct err err = {0};
        if (fixture == AZURE) {
            sync__ask_query(&ask, "restype", "container");
        }
        ck_code(sync__asker_call(asker, &ask, &reply, &err), 0, err);
        sync__reply_finish(&reply);
        sync__asker_close(asker);
    }
}

START_TEST(first) {
    char mark[400], id[HASH_ID_SIZE];
    struct frame_id mark_id;
    containers_make();
    ck_assert_int_eq(mkdir(disk, 0755), 0);
    snprintf(mark, sizeof mark, "%s/.creel-remote", disk);
    frame_id_create(clock_utc_us(), &mark_id);
    FILE *file = fopen(mark, "w");
    fprintf(file, "%s\n", frame_id_format(&mark_id, id));
    fclose(file);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: listing");
    TCase *each = tcase_create("each");
    tcase_set_timeout(each, 180);
    tcase_add_test(each, first);
    tcase_add_loop_test(each, lists_what_is_there_in_the_order_of_names, 0, FIXTURES);
    tcase_add_loop_test(each, many_objects_take_no_more_memory_than_a_page, 0, FIXTURES);
    tcase_add_loop_test(each, what_is_not_there_is_an_empty_list, 0, FIXTURES);
    tcase_add_test(each, the_right_that_is_missing_is_named);
    tcase_add_test(each, a_wrong_key_is_not_a_missing_right);
    tcase_add_test(each, a_wrong_clock_is_corrected);
    tcase_add_test(each, an_unmounted_directory_is_not_an_empty_one);
    tcase_add_test(each, more_empty_folders_than_a_page_hide_nothing);
    suite_add_tcase(all, each);
    return all;
}

static void sas_make(void) {
    uint8_t key[SIGN_AZURE_KEY_MAX];
    size_t size = 0;
    struct buf out = BUF_INIT(sizeof sas_create - 1);
    struct sign_sas sas = {.account = AZURITE_ACCOUNT,
                           .container = "listing",
                           .permissions = "c",
                           .resource = "c",
                           .protocol = "",
                           .expires_utc_us = clock_utc_us() + INT64_C(3600000000)};
    hash_parse_base64(AZURITE_KEY, key, sizeof key, &size);
    sync__sign_azure_sas(&sas, key, size, &out);
    memcpy(sas_create, out.data, out.len + 1);
    buf_finish(&out);
}

int main(void) {
    char azurite_dir[300], rgw_dir[300];
    servers_scratch(scratch, sizeof scratch);
    snprintf(disk, sizeof disk, "%s/disk", scratch);
    snprintf(azurite_dir, sizeof azurite_dir, "%s/azurite", scratch);
    snprintf(rgw_dir, sizeof rgw_dir, "%s/rgw", scratch);
    int azurite_port = servers_free_port(), rgw_port = servers_free_port();
    snprintf(azurite_url, sizeof azurite_url, "http://127.0.0.1:%d/%s", azurite_port,
             AZURITE_ACCOUNT);
    snprintf(rgw_url, sizeof rgw_url, "http://127.0.0.1:%d", rgw_port);
    servers_need(servers_azurite(azurite_dir, azurite_port, ""), "azurite");
    servers_need(servers_rgw(rgw_dir, rgw_port, servers_free_port()), "the S3 server");
    sas_make();
    int failed = suite_run(suite());
    servers_azurite_stop(azurite_dir);
    servers_rgw_stop(rgw_dir);
    servers_run("rm -rf '%s'", scratch);
    return failed;
}
