/* Everything that sync takes apart or puts together without a network: URLs, connection strings,
 * SAS tokens, replies, error documents, keys, and the check of a remote's configuration.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/address.h"
#include "sync/remote.h"
#include "sync/reply.h"
#include "sync/sync.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAS "sv=2022-11-02&sp=rcw&se=2030-01-01T00%3A00%3A00Z&sig=s3cr%2Bt%3D"
#define KEY "c2VjcmV0LWtleQ=="

/* ---- URLs ---- */

START_TEST(good_urls) {
    struct address at;
    ck_assert_int_eq(sync__address_parse("https://Acct.Blob.core.windows.net/", &at, NULL), 0);
    ck_assert(at.https && !at.loopback && !at.by_number);
    ck_assert_str_eq(at.authority, "acct.blob.core.windows.net");
    ck_assert_str_eq(at.path, "");
    ck_assert_int_eq(sync__address_parse("http://127.0.0.1:10000/dev//", &at, NULL), 0);
    ck_assert(!at.https && at.loopback && at.by_number);
    ck_assert_str_eq(at.authority, "127.0.0.1:10000");
    ck_assert_str_eq(at.path, "/dev");
    ck_assert_int_eq(sync__address_parse("https://host:443", &at, NULL), 0);
    ck_assert_str_eq(at.authority, "host"); /* as the Host header will have it */
    ck_assert_int_eq(sync__address_parse("http://[::1]:9000", &at, NULL), 0);
    ck_assert(at.loopback);
    ck_assert_str_eq(at.authority, "[::1]:9000");
    ck_assert_int_eq(sync__address_parse("http://acct.blob.localhost:1", &at, NULL), 0);
    ck_assert(at.loopback && !at.by_number);
}
END_TEST

START_TEST(bad_urls) {
    static const char *const urls[] = {"",
                                       "acct.blob.core.windows.net",
                                       "ftp://host",
                                       "https://",
                                       "https://user:pass@host",
                                       "https://host:0",
                                       "https://host:65536",
                                       "https://host:",
                                       "https://ho st",
                                       "https://host/?sig=secret",
                                       "https://host/#x",
                                       "https://host\r\nX: y"};
    struct address at;
    for (size_t i = 0; i < ARRAY_LENGTH(urls); i++) {
        struct err err = {0};
        ck_assert_msg(sync__address_parse(urls[i], &at, &err) == ERR_CONFIG, "%s", urls[i]);
        ck_assert_ptr_null(strstr(err.msg, "secret"));
        ck_assert_ptr_null(strstr(err.msg, "pass"));
    }
}
END_TEST

/* ---- connection strings and tokens ---- */

START_TEST(connection_strings) {
    struct connection got;
    ck_assert_int_eq(sync__connection_parse("DefaultEndpointsProtocol=https;AccountName=acct;"
                                            "AccountKey=" KEY ";EndpointSuffix=core.windows.net",
                                            &got, NULL),
                     0);
    ck_assert_str_eq(got.account, "acct");
    ck_assert_str_eq(got.key, KEY); /* its = are not taken for the next pair's */
    ck_assert_str_eq(got.endpoint, "https://acct.blob.core.windows.net");
    ck_assert_ptr_null(got.sas);
    sync__connection_finish(&got);
    ck_assert_int_eq(sync__connection_parse(
                         "BlobEndpoint=https://a.example/;SharedAccessSignature=" SAS, &got, NULL),
                     0);
    ck_assert_str_eq(got.sas, SAS);
    ck_assert_str_eq(got.endpoint, "https://a.example/");
    sync__connection_finish(&got);
    ck_assert_int_eq(sync__connection_parse("UseDevelopmentStorage=true;", &got, NULL), 0);
    ck_assert_str_eq(got.account, "devstoreaccount1");
    sync__connection_finish(&got);
    ck_assert_int_eq(sync__connection_parse("AccountName=a;AccountKey", &got, NULL), ERR_CONFIG);
    ck_assert_int_eq(sync__connection_parse("AccountName=acct", &got, NULL), ERR_CONFIG);
    ck_assert_int_eq(sync__connection_parse("AccountKey=" KEY, &got, NULL), ERR_CONFIG);
}
END_TEST

START_TEST(sas_tokens) {
    char value[64];
    ck_assert(sync__sas_get("?" SAS, "sp", value, sizeof value));
    ck_assert_str_eq(value, "rcw");
    ck_assert(sync__sas_get(SAS, "se", value, sizeof value));
    ck_assert_str_eq(value, "2030-01-01T00:00:00Z");
    ck_assert(sync__sas_get(SAS, "sig", value, sizeof value));
    ck_assert_str_eq(value, "s3cr+t=");
    ck_assert(!sync__sas_get(SAS, "s", value, sizeof value));
    ck_assert(!sync__sas_get(SAS, "sig", value, 3)); /* does not fit */
    ck_assert(!sync__sas_get("sp=%4", "sp", value, sizeof value));
    ck_assert(!sync__sas_get("sp=%", "sp", value, sizeof value));
}
END_TEST

/* ---- replies ---- */

static void lines(struct http_reply *reply, const char *const *text, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sync__reply_line(reply, text[i], strlen(text[i]));
    }
}

START_TEST(heads) {
    static const char *const text[] = {"HTTP/1.1 100 Continue\r\n",
                                       "ETag: \"of another answer\"\r\n",
                                       "\r\n",
                                       "HTTP/1.1 201 Created\r\n",
                                       "etag: W/\"0x8D\"\r\n",
                                       "Content-MD5:PyP+hpDZLiUAD8d92w0vUg==\r\n",
                                       "Date: Fri, 20 Nov 2026 21:35:08 GMT\r\n",
                                       "Content-Length: 17\r\n",
                                       "no colon here\r\n",
                                       ": no name\r\n"};
    struct http_reply reply;
    sync__reply_init(&reply, 0);
    lines(&reply, text, ARRAY_LENGTH(text));
    ck_assert_str_eq(reply.etag, "0x8D");
    ck_assert_str_eq(reply.md5, "PyP+hpDZLiUAD8d92w0vUg==");
    ck_assert_int_eq(reply.content_length, 17);
    ck_assert_int_eq(reply.date_utc_us, clock_parse_rfc3339("2026-11-20T21:35:08Z"));
    char huge[512];
    memset(huge, 'x', sizeof huge);
    memcpy(huge, "ETag: ", 6);
    sync__reply_line(&reply, huge, sizeof huge); /* too long: as if it had not come */
    ck_assert_str_eq(reply.etag, "0x8D");
    sync__reply_finish(&reply);
}
END_TEST

static void body(struct http_reply *reply, const char *text) {
    sync__reply_init(reply, 0);
    reply->status = 403;
    buf_puts(&reply->body, text);
    sync__reply_settle(reply, 0);
}

START_TEST(error_documents) {
    struct http_reply reply;
    body(&reply,
         "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>ServerBusy</Code>"
         "<Message>Egress is over the account limit.\nRequestId:1\nTime:2</Message></Error>");
    ck_assert_str_eq(reply.error_code,
                     "ServerBusy"); /* with a byte order mark, as Azure sends it */
    ck_assert_str_eq(reply.message, "Egress is over the account limit.");
    sync__reply_finish(&reply);
    body(&reply,
         "<Error><Code>AuthorizationHeaderMalformed</Code><Message/><Region>eu-west-1</Region>"
         "<Nested><Code>wrong</Code></Nested></Error>");
    ck_assert_str_eq(reply.error_code, "AuthorizationHeaderMalformed");
    ck_assert_str_eq(reply.region, "eu-west-1");
    ck_assert_str_eq(reply.message, "");
    sync__reply_finish(&reply);
    body(&reply, "<html><body>502 Bad Gateway</body>"); /* not XML to the end */
    ck_assert_str_eq(reply.error_code, "");
    sync__reply_finish(&reply);
    body(&reply, "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><Error><Code>&a;</Code></Error>");
    ck_assert_str_eq(reply.error_code, "");
    sync__reply_finish(&reply);
    body(&reply, "<Error><Code>Truncated</Code><Mess"); /* what came before the cut counts */
    ck_assert_str_eq(reply.error_code, "Truncated");
    sync__reply_finish(&reply);
    body(
        &reply,
        "<Error><Message>see https://h/?sig=SECRET&amp;x=1 and Signature=SECRET</Message></Error>");
    ck_assert_ptr_null(strstr(reply.message, "SECRET"));
    ck_assert_ptr_nonnull(strstr(reply.message, "x=1"));
    sync__reply_finish(&reply);
}
END_TEST

START_TEST(retry_after) {
    int64_t now = clock_parse_rfc3339("2026-11-20T21:35:00Z");
    ck_assert_int_eq(sync__retry_after_parse("0", now), 0);
    ck_assert_int_eq(sync__retry_after_parse("7", now), 7000);
    ck_assert_int_eq(sync__retry_after_parse("999999999999", now), REPLY_RETRY_AFTER_MS);
    ck_assert_int_eq(sync__retry_after_parse("Fri, 20 Nov 2026 21:35:08 GMT", now), 8000);
    ck_assert_int_eq(sync__retry_after_parse("Fri, 20 Nov 2026 21:34:08 GMT", now), 0);
    ck_assert_int_eq(sync__retry_after_parse("soon", now), 0);
    ck_assert_int_eq(sync__retry_after_parse("-5", now), 0);
    ck_assert_int_eq(sync__retry_after_parse("5x", now), 0);
    struct http_reply reply; /* a date is a span by the server's own clock, whatever ours says */
    static const char *const text[] = {"Date: Fri, 20 Nov 2026 21:35:08 GMT",
                                       "Retry-After: Fri, 20 Nov 2026 21:35:11 GMT"};
    sync__reply_init(&reply, 0);
    lines(&reply, text, ARRAY_LENGTH(text));
    sync__reply_settle(&reply, 0);
    ck_assert_int_eq(reply.retry_after_ms, 3000);
    sync__reply_finish(&reply);
}
END_TEST

/* ---- keys ---- */

START_TEST(keys) {
    struct store_outbox_row row = {.tier = TIER_UNANNOTATED,
                                   .media = MEDIA_JPEG,
                                   .kept_utc_us = clock_parse_rfc3339("2026-11-20T23:59:59.9Z")};
    char key[STORE_KEY_MAX + 1];
    memset(row.blob.bytes, 0xab, sizeof row.blob.bytes);
    ck_assert_int_eq(sync_key_format("edge-7", &row, key, NULL), 0);
    ck_assert_str_eq(key, "frames/tier=unannotated/device=edge-7/date=2026-11-20/"
                          "abababababababababababababababababababababababababababababababab.jpg");
    row.media = MEDIA_PNG;
    ck_assert_int_eq(sync_key_format("edge-7", &row, key, NULL), 0);
    ck_assert_str_eq(key + strlen(key) - 4, ".png");
    ck_assert_int_eq(sync_key_format("Edge/7", &row, key, NULL), ERR_INVALID);
    ck_assert_int_eq(sync_key_format("", &row, key, NULL), ERR_INVALID);
    row.tier = TIER_NONE;
    ck_assert_int_eq(sync_key_format("edge-7", &row, key, NULL), ERR_INVALID);
}
END_TEST

/* ---- configuration ---- */

struct wrong {
    struct sync_remote_config config;
    const char *word; /* what the message must name; NULL: it is right */
};

#define AZ(...)                                                                                    \
    { .name = "cloud", .kind = SYNC_AZURE, __VA_ARGS__ }
#define S3(...)                                                                                    \
    { .name = "cloud", .kind = SYNC_S3, __VA_ARGS__ }
#define DIR(...)                                                                                   \
    { .name = "disk", .kind = SYNC_DIRECTORY, __VA_ARGS__ }
#define URL .url = "https://acct.blob.core.windows.net"

static const struct wrong configs[] = {
    {AZ(URL, .account_key = KEY), NULL},
    {AZ(URL, .sas = "?" SAS), NULL},
    {AZ(.account = "acct", .account_key = KEY), NULL},
    {AZ(.connection_string = "UseDevelopmentStorage=true"), NULL},
    {AZ(.url = "http://edge:11002/acct", .account = "acct", .account_key = KEY), NULL},
    {AZ(URL), "account_key"},
    {AZ(.account_key = KEY), "url"},
    {AZ(URL, .account_key = "not base64!"), "base64"},
    {AZ(URL, .account_key = KEY, .sas = SAS), "one of"},
    {AZ(URL, .sas = "sp=r&sig=x"), "create"},
    {AZ(URL, .sas = "hello"), "SAS token"},
    {AZ(.url = "http://acct.example.com", .account = "acct", .sas = SAS), "https"},
    {AZ(.url = "https://acct.blob.core.windows.net/container", .account_key = KEY), "containers"},
    {AZ(.url = "https://acct.blob.core.windows.net/?" SAS, .account_key = KEY), "sas"},
    {AZ(.url = "https://Bad_Account.example", .account_key = KEY), "account"},
    {AZ(URL, .account_key = KEY, .containers = {"Upper"}), "Upper"},
    {AZ(URL, .account_key = KEY, .containers = {"a--b"}), "a--b"},
    {AZ(URL, .account_key = KEY, .prefix = "a\nb"), "prefix"},
    {S3(.bucket = "bucket", .access_key = "A", .secret_key = "S"), NULL},
    {S3(.bucket = "bucket", .access_key = "A", .secret_key = "S", .virtual_host = true), NULL},
    {S3(.access_key = "A", .secret_key = "S"), "bucket"},
    {S3(.bucket = "Bucket", .access_key = "A", .secret_key = "S"), "Bucket"},
    {S3(.bucket = "bucket", .access_key = "A"), "secret_key"},
    {S3(.bucket = "bucket"), "AWS_ACCESS_KEY_ID"},
    {S3(.bucket = "bucket", .region = "eu west", .access_key = "A", .secret_key = "S"), "region"},
    {S3(.bucket = "b.ucket", .virtual_host = true, .access_key = "A", .secret_key = "S"),
     "virtual_host"},
    {S3(.bucket = "bucket", .url = "http://10.0.0.1:9000", .virtual_host = true, .access_key = "A",
        .secret_key = "S"),
     "virtual_host"},
    {DIR(.path = "/mnt/nas"), NULL},
    {DIR(.path = "mnt/nas"), "absolute"},
    {DIR(.path = NULL), "path"},
    {{.name = "Cloud", .kind = SYNC_DIRECTORY, .path = "/x"}, "name"},
    {{.name = "cloud", .kind = (enum sync_kind)9}, "type"},
};

START_TEST(configurations) {
    const struct wrong *wrong = &configs[_i];
    struct err err = {0};
    char text[1024];
    unsetenv("AWS_ACCESS_KEY_ID");
    int code = sync_remote_check(&wrong->config, &err);
    err_text(&err, text, sizeof text);
    if (wrong->word == NULL) {
        ck_assert_msg(code == 0, "%d: %s", _i, text);
        return;
    }
    ck_assert_msg(code == ERR_CONFIG && strstr(text, wrong->word) != NULL, "%d: %s", _i, text);
    ck_assert_ptr_null(strstr(text, "s3cr"));
    ck_assert_ptr_null(strstr(text, KEY));
}
END_TEST

static struct frame_hash identity_of(struct sync_remote_config config) {
    struct remote *remote = NULL;
    ck_assert_int_eq(sync__remote_open(&config, &remote, NULL), 0);
    struct frame_hash identity = remote->identity;
    sync__remote_close(remote);
    return identity;
}

/* Another place is another remote; another credential or name is not. */
START_TEST(identities) {
    struct sync_remote_config base = AZ(URL, .account_key = KEY), other = base;
    struct frame_hash one = identity_of(base), two;
    other.account_key = NULL;
    other.sas = SAS;
    snprintf(other.name, sizeof other.name, "renamed");
    two = identity_of(other);
    ck_assert_mem_eq(&one, &two, sizeof one);
    other = base;
    other.prefix = "p";
    two = identity_of(other);
    ck_assert_mem_ne(&one, &two, sizeof one);
    other = base;
    other.containers[TIER_ANNOTATED] = "elsewhere";
    two = identity_of(other);
    ck_assert_mem_ne(&one, &two, sizeof one);
    other = base;
    other.url = "https://acct2.blob.core.windows.net";
    two = identity_of(other);
    ck_assert_mem_ne(&one, &two, sizeof one);
}
END_TEST

START_TEST(links_know_their_limits) {
    struct sync_remote_config remote = AZ(URL, .account_key = KEY);
    char link[SYNC_LINK_MAX];
    ck_assert_int_eq(sync_link_create(&remote, TIER_ANNOTATED, "a b.jpg", 60, link, NULL), 0);
    ck_assert_int_eq(
        strncmp(link, "https://acct.blob.core.windows.net/annotated/a%20b.jpg?sv=", 57), 0);
    ck_assert_ptr_nonnull(strstr(link, "&spr=https&"));
    char origin[SYNC_ORIGIN_MAX];
    ck_assert_int_eq(sync_link_origin(&remote, origin, NULL), 0);
    ck_assert_str_eq(origin, "https://acct.blob.core.windows.net");
    ck_assert_int_eq(sync_link_create(&remote, TIER_ANNOTATED, "k", 0, link, NULL), ERR_INVALID);
    ck_assert_int_eq(sync_link_create(&remote, TIER_ANNOTATED, "k", 604801, link, NULL),
                     ERR_INVALID);
    struct sync_remote_config plain = S3(.url = "http://nas.example:9000", .bucket = "bucket",
                                         .access_key = "A", .secret_key = "S");
    struct err err = {0};
    ck_assert_int_eq(sync_link_create(&plain, TIER_ANNOTATED, "k", 60, link, &err), ERR_REFUSED);
    ck_assert_int_eq(sync_link_origin(&plain, origin, NULL), 0);
    ck_assert_str_eq(origin, "http://nas.example:9000");
    struct sync_remote_config hosted =
        S3(.virtual_host = true, .bucket = "bucket", .region = "eu-central-1", .access_key = "A",
           .secret_key = "S");
    ck_assert_int_eq(sync_link_origin(&hosted, origin, NULL), 0);
    ck_assert_str_eq(origin, "https://bucket.s3.eu-central-1.amazonaws.com");
    ck_assert_ptr_nonnull(strstr(err.msg, "https"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: parsing");
    TCase *all = tcase_create("all");
    tcase_add_test(all, good_urls);
    tcase_add_test(all, bad_urls);
    tcase_add_test(all, connection_strings);
    tcase_add_test(all, sas_tokens);
    tcase_add_test(all, heads);
    tcase_add_test(all, error_documents);
    tcase_add_test(all, retry_after);
    tcase_add_test(all, keys);
    tcase_add_loop_test(all, configurations, 0, (int)ARRAY_LENGTH(configs));
    tcase_add_test(all, identities);
    tcase_add_test(all, links_know_their_limits);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
