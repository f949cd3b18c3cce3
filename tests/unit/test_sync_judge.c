/* What each answer leads to, replayed: which receipts there are, and above all which there are not.
 * The same cases run against both clouds where both can answer so.
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/remote.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NOW INT64_C(1790000000000000)

static const uint8_t bytes[] = "the bytes of a frame";
static struct remote_object object;
static char md5[HASH_BASE64_SIZE(16)], md5_hex[33], crc64[CRC64_BASE64_SIZE],
    sha_hex[HASH_HEX_SIZE];

static void setup(void) {
    struct store_outbox_row row = {
        .tier = TIER_ANNOTATED, .media = MEDIA_PNG, .width = 2, .height = 1};
    hash_sha256(bytes, sizeof bytes, &row.blob);
    sync__object_init(&object, &row, "k/x.png", bytes, sizeof bytes);
    hash_base64(sync__object_md5(&object), HASH_MD5_SIZE, md5);
    hash_hex(object.md5, sizeof object.md5, md5_hex);
    sync__crc64_base64(bytes, sizeof bytes, crc64);
    hash_hex(object.sha256.bytes, sizeof object.sha256.bytes, sha_hex);
}

static struct remote *azure_with(const char *key, const char *sas, bool create) {
    struct sync_remote_config config = {.name = "cloud",
                                        .kind = SYNC_AZURE,
                                        .url = "https://acct.blob.core.windows.net",
                                        .account_key = key,
                                        .sas = sas,
                                        .create_containers = create};
    struct remote *remote = NULL;
    ck_assert_int_eq(sync__remote_open(&config, &remote, NULL), 0);
    return remote;
}

static struct remote *azure_new(bool create) {
    return azure_with("c2VjcmV0LWtleQ==", NULL, create);
}

static struct remote *s3_new(bool create) {
    struct sync_remote_config config = {.name = "cloud",
                                        .kind = SYNC_S3,
                                        .bucket = "bucket",
                                        .access_key = "AK",
                                        .secret_key = "secret",
                                        .session_token = "token",
                                        .create_containers = create};
    struct remote *remote = NULL;
    ck_assert_int_eq(sync__remote_open(&config, &remote, NULL), 0);
    return remote;
}

struct answer {
    int status;
    const char *head[6];
    const char *body;
};

static enum remote_verdict answer_with(struct remote *remote, struct remote_put *put,
                                       const struct answer *answer, struct err *err) {
    struct http_reply reply;
    sync__reply_init(&reply, 0);
    reply.status = answer->status;
    for (size_t i = 0; i < ARRAY_LENGTH(answer->head) && answer->head[i] != NULL; i++) {
        sync__reply_line(&reply, answer->head[i], strlen(answer->head[i]));
    }
    if (answer->body != NULL) {
        buf_puts(&reply.body, answer->body);
    }
    sync__reply_settle(&reply, NOW);
    enum remote_verdict verdict = remote->ops->judge(remote, put, &reply, err);
    sync__reply_finish(&reply);
    return verdict;
}

static const char *line_of(const struct http_request *request, const char *name) {
    for (size_t i = 0; i < request->line_count; i++) {
        size_t length = strlen(name);
        if (strncasecmp(request->lines[i], name, length) == 0 && request->lines[i][length] == ':') {
            return request->lines[i] + length + 2;
        }
    }
    return NULL;
}

static struct http_request ask(struct remote *remote, struct remote_put *put) {
    struct http_request request = {0};
    struct err err = {0};
    ck_assert_msg(remote->ops->request(remote, put, NOW, &request, &err) == 0, "%s", err.msg);
    return request;
}

/* ---- requests ---- */

START_TEST(requests_never_replace_and_carry_checksums) {
    struct remote *remotes[] = {azure_new(false), s3_new(false)};
    for (size_t i = 0; i < ARRAY_LENGTH(remotes); i++) {
        struct remote_put put = {.object = &object};
        struct http_request request = ask(remotes[i], &put);
        ck_assert_str_eq(request.method, "PUT");
        ck_assert_str_eq(line_of(&request, "if-none-match"), "*");
        bool azure = i == 0;
        ck_assert_str_eq(line_of(&request, azure ? "x-ms-content-crc64" : "content-md5"),
                         azure ? crc64 : md5);
        ck_assert(!azure || line_of(&request, "content-md5") == NULL); /* one of them, not both */
        ck_assert_str_eq(line_of(&request, "content-type"), "image/png");
        ck_assert_ptr_eq(request.body, bytes);
        ck_assert_uint_eq(request.body_size, sizeof bytes);
        ck_assert_ptr_nonnull(line_of(&request, "authorization"));
        ck_assert_ptr_null(strstr(request.url, "secret"));
        sync__request_finish(&request);
        sync__remote_close(remotes[i]);
    }
}
END_TEST

START_TEST(azure_request) {
    struct remote *remote = azure_new(true);
    struct remote_put put = {.object = &object};
    struct http_request request = ask(remote, &put);
    ck_assert_str_eq(request.url, "https://acct.blob.core.windows.net/annotated/k/x.png");
    ck_assert_str_eq(line_of(&request, "x-ms-blob-type"), "BlockBlob");
    ck_assert_str_eq(line_of(&request, "x-ms-meta-sha256"), sha_hex);
    ck_assert_str_eq(line_of(&request, "x-ms-meta-width"), "2");
    sync__request_finish(&request);
    put.step = REMOTE_CREATE;
    request = ask(remote, &put);
    ck_assert_str_eq(request.url, "https://acct.blob.core.windows.net/annotated?restype=container");
    ck_assert_uint_eq(request.body_size, 0);
    sync__request_finish(&request);
    sync__remote_close(remote);
    remote = azure_with(NULL, "?sv=1&sp=c&sig=a%2Bb%3D", false); /* appended as it was given */
    put.step = REMOTE_PUT;
    request = ask(remote, &put);
    ck_assert_str_eq(request.url, "https://acct.blob.core.windows.net/annotated/k/x.png"
                                  "?sv=1&sp=c&sig=a%2Bb%3D");
    ck_assert_ptr_null(line_of(&request, "authorization"));
    sync__request_finish(&request);
    sync__remote_close(remote);
}
END_TEST

START_TEST(s3_request) {
    struct remote *remote = s3_new(true);
    struct remote_put put = {.object = &object};
    struct http_request request = ask(remote, &put);
    ck_assert_str_eq(request.url, "https://s3.us-east-1.amazonaws.com/bucket/k/x.png");
    ck_assert_str_eq(line_of(&request, "x-amz-content-sha256"), sha_hex);
    ck_assert_str_eq(line_of(&request, "x-amz-security-token"), "token");
    const char *authorization = line_of(&request, "authorization");
    static const char *const signed_names[] = {"host", "if-none-match", "x-amz-meta-sha256",
                                               "x-amz-checksum-sha256", "x-amz-security-token"};
    for (size_t i = 0; i < ARRAY_LENGTH(signed_names); i++) {
        ck_assert_ptr_nonnull(strstr(authorization, signed_names[i]));
    }
    sync__request_finish(&request);
    sync__remote_close(remote);
}
END_TEST

/* ---- receipts ---- */

START_TEST(a_success_with_our_checksum_is_a_receipt) {
    char head[64];
    struct remote *remote = azure_new(false);
    struct remote_put put = {.object = &object};
    snprintf(head, sizeof head, "Content-MD5: %s", md5);
    struct answer answer = {201, {head, "ETag: \"0x1\""}, NULL};
    ck_assert_int_eq(answer_with(remote, &put, &answer, NULL), REMOTE_STORED);
    ck_assert_str_eq(put.etag, "0x1");
    put = (struct remote_put){.object = &object};
    snprintf(head, sizeof head, "x-ms-content-crc64: %s", crc64);
    answer = (struct answer){201, {head}, NULL};
    ck_assert_int_eq(answer_with(remote, &put, &answer, NULL), REMOTE_STORED);
    sync__remote_close(remote);
    remote = s3_new(false);
    put = (struct remote_put){.object = &object};
    snprintf(head, sizeof head, "ETag: \"%s\"", md5_hex);
    answer = (struct answer){200, {head}, NULL};
    ck_assert_int_eq(answer_with(remote, &put, &answer, NULL), REMOTE_STORED);
    sync__remote_close(remote);
}
END_TEST

/* A 2xx alone proves nothing. */
START_TEST(a_success_without_proof_is_looked_at) {
    struct remote *remotes[] = {azure_new(false), s3_new(false)};
    static const struct answer answers[] = {
        {0, {"ETag: \"deadbeef\""}, NULL},
        {0,
         {"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", "ETag: \"00000000000000000000000000000000\""},
         NULL}};
    char length[64], sha_azure[128], sha_s3[128];
    snprintf(length, sizeof length, "Content-Length: %zu", sizeof bytes);
    snprintf(sha_azure, sizeof sha_azure, "x-ms-meta-sha256: %s", sha_hex);
    snprintf(sha_s3, sizeof sha_s3, "x-amz-meta-sha256: %s", sha_hex);
    for (size_t i = 0; i < 4; i++) {
        struct remote *remote = remotes[i % 2];
        struct remote_put put = {.object = &object};
        struct answer answer = answers[i / 2];
        answer.status = i % 2 == 0 ? 201 : 200;
        ck_assert_int_eq(answer_with(remote, &put, &answer, NULL), REMOTE_AGAIN);
        ck_assert_int_eq(put.step, REMOTE_HEAD);
        struct http_request request = ask(remote, &put);
        ck_assert_str_eq(request.method, "HEAD");
        sync__request_finish(&request);
        struct remote_put other = put;
        struct err err = {0};
        struct answer same = {200, {length, i % 2 == 0 ? sha_azure : sha_s3}, NULL};
        ck_assert_int_eq(answer_with(remote, &put, &same, &err), REMOTE_STORED);
        struct answer shorter = {200, {"Content-Length: 3"}, NULL};
        ck_assert_int_eq(answer_with(remote, &other, &shorter, &err), REMOTE_CONFLICT);
    }
    sync__remote_close(remotes[0]);
    sync__remote_close(remotes[1]);
}
END_TEST

/* Another checksum than ours was confirmed: an object whose bytes nobody vouches for is no receipt.
 */
START_TEST(a_wrong_checksum_is_not_outweighed_by_a_size) {
    struct remote *remotes[] = {azure_new(false), azure_new(false), s3_new(false)};
    char right[64];
    snprintf(right, sizeof right, "Content-MD5: %s", md5);
    const struct answer answers[] = {
        {201, {"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="}, NULL},
        {201, {"x-ms-content-crc64: AAAAAAAAAAA=", right}, NULL},
        {200, {"x-amz-checksum-sha256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, NULL}};
    char length[64];
    snprintf(length, sizeof length, "Content-Length: %zu", sizeof bytes);
    struct answer size_alone = {200, {length}, NULL};
    for (size_t i = 0; i < ARRAY_LENGTH(answers); i++) {
        struct remote_put put = {.object = &object};
        struct err err = {0};
        ck_assert_int_eq(answer_with(remotes[i], &put, &answers[i], &err), REMOTE_AGAIN);
        ck_assert_int_eq(answer_with(remotes[i], &put, &size_alone, &err), REMOTE_CONFLICT);
        ck_assert_ptr_nonnull(strstr(err.cause, "another checksum"));
        sync__remote_close(remotes[i]);
    }
}
END_TEST

START_TEST(exists_is_compared) {
    struct remote *remotes[] = {azure_new(false), s3_new(false)};
    static const struct answer exists[] = {
        {409, {"x-ms-error-code: BlobAlreadyExists"}, NULL},
        {412, {NULL}, "<Error><Code>PreconditionFailed</Code></Error>"}};
    char length[64], azure_md5[64], s3_etag[64];
    snprintf(length, sizeof length, "Content-Length: %zu", sizeof bytes);
    snprintf(azure_md5, sizeof azure_md5, "Content-MD5: %s", md5);
    snprintf(s3_etag, sizeof s3_etag, "ETag: \"%s\"", md5_hex);
    const struct answer heads[][2] = {
        {{200, {length, azure_md5}, NULL}, {200, {length, s3_etag}, NULL}},
        {{200, {length, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="}, NULL},
         {200, {length, "ETag: \"00000000000000000000000000000000\""}, NULL}},
        {{200, {"Content-Length: 1", azure_md5}, NULL},
         {200, {"Content-Length: 1", s3_etag}, NULL}},
        {{403, {"x-ms-error-code: AuthorizationPermissionMismatch"}, NULL}, {403, {NULL}, NULL}},
        {{404, {"x-ms-error-code: BlobNotFound"}, NULL}, {404, {NULL}, NULL}},
        {{200, {length}, NULL}, {200, {length, "ETag: \"some-kms-thing\""}, NULL}},
        {{503, {NULL}, NULL}, {503, {NULL}, NULL}},
    };
    static const enum remote_verdict wanted[] = {REMOTE_COMPARED, REMOTE_CONFLICT, REMOTE_CONFLICT,
                                                 REMOTE_EXISTS,   REMOTE_RETRY,    REMOTE_EXISTS,
                                                 REMOTE_RETRY};
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < ARRAY_LENGTH(wanted); i++) {
            struct remote_put put = {.object = &object};
            struct err err = {0};
            ck_assert_int_eq(answer_with(remotes[kind], &put, &exists[kind], &err), REMOTE_AGAIN);
            ck_assert_int_eq(put.step, REMOTE_HEAD);
            enum remote_verdict got = answer_with(remotes[kind], &put, &heads[i][kind], &err);
            ck_assert_msg(got == wanted[i], "%s %zu: %d %s", remotes[kind]->ops->kind, i, got,
                          err.msg);
        }
        sync__remote_close(remotes[kind]);
    }
}
END_TEST

/* Only a SAS that certainly grants "create" may take a refusal for "exists". */
START_TEST(a_create_only_sas_is_told_otherwise) {
    static const struct {
        const char *sas;
        enum remote_verdict verdict;
    } cases[] = {{"sp=c&sig=x", REMOTE_AGAIN},
                 {"sp=cw&sig=x", REMOTE_DENIED},
                 {"sp=c&skoid=1&sig=x", REMOTE_DENIED},
                 {"sp=c&si=policy&sig=x", REMOTE_DENIED}};
    static const struct answer answer = {
        403, {"x-ms-error-code: AuthorizationPermissionMismatch"}, NULL};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct remote *remote = azure_with(NULL, cases[i].sas, false);
        struct remote_put put = {.object = &object};
        struct err err = {0};
        ck_assert_int_eq(answer_with(remote, &put, &answer, &err), cases[i].verdict);
        sync__remote_close(remote);
    }
}
END_TEST

/* ---- everything else ---- */

struct other {
    bool s3;
    struct answer answer;
    enum remote_verdict verdict;
    const char *word;
};

static const struct other others[] = {
    {false, {403, {"x-ms-error-code: AuthenticationFailed"}, NULL}, REMOTE_DENIED, "account key"},
    {false,
     {403, {"x-ms-error-code: AuthorizationPermissionMismatch"}, NULL},
     REMOTE_DENIED,
     "sp=c"},
    {false,
     {404, {"x-ms-error-code: ContainerNotFound"}, NULL},
     REMOTE_DENIED,
     "create_containers"},
    {false, {400, {"x-ms-error-code: Md5Mismatch"}, NULL}, REMOTE_RETRY, "damaged"},
    {false,
     {400, {"x-ms-error-code: InvalidHeaderValue"}, NULL},
     REMOTE_REFUSED,
     "InvalidHeaderValue"},
    {false, {413, {"x-ms-error-code: RequestBodyTooLarge"}, NULL}, REMOTE_REFUSED, "too large"},
    {false, {503, {"x-ms-error-code: ServerBusy", "Retry-After: 7"}, NULL}, REMOTE_RETRY, "limits"},
    {false, {500, {NULL}, NULL}, REMOTE_RETRY, "500"},
    {false, {502, {NULL}, "<html>"}, REMOTE_RETRY, "gateway"},
    {false, {429, {NULL}, NULL}, REMOTE_RETRY, "slow down"},
    {false, {408, {NULL}, NULL}, REMOTE_RETRY, "408"},
    {false, {302, {NULL}, NULL}, REMOTE_DENIED, "elsewhere"},
    {false, {200, {NULL}, NULL}, REMOTE_RETRY, "no sense"},
    {true,
     {403, {NULL}, "<Error><Code>SignatureDoesNotMatch</Code></Error>"},
     REMOTE_DENIED,
     "secret key"},
    {true,
     {403, {NULL}, "<Error><Code>AccessDenied</Code></Error>"},
     REMOTE_DENIED,
     "s3:PutObject"},
    {true,
     {404, {NULL}, "<Error><Code>NoSuchBucket</Code></Error>"},
     REMOTE_DENIED,
     "create_containers"},
    {true, {400, {NULL}, "<Error><Code>RequestTimeout</Code></Error>"}, REMOTE_RETRY, "waited"},
    {true, {400, {NULL}, "<Error><Code>BadDigest</Code></Error>"}, REMOTE_RETRY, "damaged"},
    {true,
     {409, {NULL}, "<Error><Code>ConditionalRequestConflict</Code></Error>"},
     REMOTE_RETRY,
     "writer"},
    {true,
     {503, {"Retry-After: 7"}, "<Error><Code>SlowDown</Code></Error>"},
     REMOTE_RETRY,
     "slow down"},
    {true,
     {501, {NULL}, "<Error><Code>NotImplemented</Code></Error>"},
     REMOTE_DENIED,
     "If-None-Match"},
    {true,
     {400,
      {NULL},
      "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"},
     REMOTE_DENIED,
     "set region: eu-west-1"},
    {true,
     {301, {"x-amz-bucket-region: eu-west-1"}, "<Error><Code>PermanentRedirect</Code></Error>"},
     REMOTE_DENIED,
     "set region: eu-west-1"},
    {true,
     {400, {NULL}, "<Error><Code>KeyTooLongError</Code></Error>"},
     REMOTE_REFUSED,
     "too long"},
};

START_TEST(answers) {
    const struct other *other = &others[_i];
    struct remote *remote = other->s3 ? s3_new(false) : azure_new(false);
    struct remote_put put = {.object = &object};
    struct err err = {0};
    char text[1024];
    enum remote_verdict verdict = answer_with(remote, &put, &other->answer, &err);
    err_text(&err, text, sizeof text);
    ck_assert_msg(verdict == other->verdict, "%d: verdict %d: %s", _i, verdict, text);
    ck_assert_msg(strstr(text, other->word) != NULL, "%d: %s", _i, text);
    ck_assert_ptr_nonnull(strstr(text, "cloud"));
    ck_assert_int_eq(err.http_status, other->answer.status);
    if (other->answer.status == 503) {
        ck_assert_int_eq(err.retry_after_ms, 7000);
    }
    sync__remote_close(remote);
}
END_TEST

START_TEST(a_container_is_made_once) {
    struct remote *remotes[] = {azure_new(true), s3_new(true)};
    static const struct answer missing[] = {
        {404, {"x-ms-error-code: ContainerNotFound"}, NULL},
        {404, {NULL}, "<Error><Code>NoSuchBucket</Code></Error>"}};
    static const struct answer made[] = {
        {409, {"x-ms-error-code: ContainerAlreadyExists"}, NULL},
        {409, {NULL}, "<Error><Code>BucketAlreadyOwnedByYou</Code></Error>"}};
    static const struct answer denied = {403, {"x-ms-error-code: AuthorizationFailure"}, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct remote_put put = {.object = &object};
        struct err err = {0};
        ck_assert_int_eq(answer_with(remotes[i], &put, &missing[i], &err), REMOTE_AGAIN);
        ck_assert_int_eq(put.step, REMOTE_CREATE);
        struct remote_put other = put;
        ck_assert_int_eq(answer_with(remotes[i], &put, &made[i], &err), REMOTE_AGAIN);
        ck_assert_int_eq(put.step, REMOTE_PUT);
        ck_assert_int_eq(answer_with(remotes[i], &put, &missing[i], &err), REMOTE_DENIED);
        ck_assert_int_eq(answer_with(remotes[i], &other, &denied, &err), REMOTE_DENIED);
        sync__remote_close(remotes[i]);
    }
}
END_TEST

START_TEST(the_servers_time_is_adopted_once) {
    struct remote *remotes[] = {azure_new(false), s3_new(false)};
    char date[64] = "Date: ";
    clock_format_http(NOW + INT64_C(7200) * 1000000, date + 6);
    const struct answer skewed[] = {
        {403, {"x-ms-error-code: AuthenticationFailed", date}, NULL},
        {403, {date}, "<Error><Code>RequestTimeTooSkewed</Code></Error>"}};
    for (size_t i = 0; i < 2; i++) {
        struct remote_put put = {.object = &object};
        struct err err = {0};
        struct http_request request = ask(remotes[i], &put);
        sync__request_finish(&request);
        ck_assert_int_eq(answer_with(remotes[i], &put, &skewed[i], &err), REMOTE_AGAIN);
        ck_assert_int_eq(put.step, REMOTE_PUT);
        ck_assert_int_eq(remotes[i]->skew_us / 1000000, 7200);
        request = ask(remotes[i], &put);
        sync__request_finish(&request);
        ck_assert_int_eq(put.signed_utc_us, NOW + remotes[i]->skew_us);
        ck_assert_int_eq(answer_with(remotes[i], &put, &skewed[i], &err), REMOTE_DENIED);
        sync__remote_close(remotes[i]);
    }
}
END_TEST

START_TEST(no_answer_is_retried_and_a_bad_certificate_is_not) {
    struct remote *remote = azure_new(false);
    static const struct {
        int code;
        enum remote_verdict verdict;
    } cases[] = {{ERR_NET, REMOTE_RETRY}, {ERR_TIMEOUT, REMOTE_RETRY}, {ERR_DENIED, REMOTE_DENIED}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct remote_put put = {.object = &object};
        struct http_reply reply;
        struct err err = {0};
        sync__reply_init(&reply, 0);
        err_set(&reply.fault, cases[i].code, "what happened");
        ck_assert_int_eq(remote->ops->judge(remote, &put, &reply, &err), cases[i].verdict);
        ck_assert_int_eq(err.code, cases[i].code);
        sync__reply_finish(&reply);
    }
    sync__remote_close(remote);
}
END_TEST

START_TEST(an_ended_sas_says_when) {
    struct remote *remote = azure_with(NULL, "se=2020-01-01T00%3A00%3A00Z&sp=cw&sig=secret", false);
    struct remote_put put = {.object = &object};
    struct err err = {0};
    char text[1024];
    struct http_request request = ask(remote, &put);
    sync__request_finish(&request);
    struct answer answer = {403, {"x-ms-error-code: AuthenticationFailed"}, NULL};
    ck_assert_int_eq(answer_with(remote, &put, &answer, &err), REMOTE_DENIED);
    err_text(&err, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "2020-01-01"));
    ck_assert_ptr_null(strstr(text, "secret"));
    sync__remote_close(remote);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: verdicts");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, requests_never_replace_and_carry_checksums);
    tcase_add_test(all, azure_request);
    tcase_add_test(all, s3_request);
    tcase_add_test(all, a_success_with_our_checksum_is_a_receipt);
    tcase_add_test(all, a_success_without_proof_is_looked_at);
    tcase_add_test(all, a_wrong_checksum_is_not_outweighed_by_a_size);
    tcase_add_test(all, exists_is_compared);
    tcase_add_test(all, a_create_only_sas_is_told_otherwise);
    tcase_add_loop_test(all, answers, 0, (int)ARRAY_LENGTH(others));
    tcase_add_test(all, a_container_is_made_once);
    tcase_add_test(all, the_servers_time_is_adopted_once);
    tcase_add_test(all, no_answer_is_retried_and_a_bad_certificate_is_not);
    tcase_add_test(all, an_ended_sas_says_when);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
