/* Signatures against strings and results that the providers publish, and against strings that a
 * server accepted. */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/sign.h"
#include "tests/suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

/* ---- Azure ---- */

static void check_text(const struct sign_azure *request, const char *wanted) {
    struct buf text = BUF_INIT(SIGN_TEXT_MAX);
    sync__sign_azure_text(request, &text);
    ck_assert(!text.failed);
    ck_assert_str_eq(text.data, wanted);
    buf_finish(&text);
}

START_TEST(azure_put_blob) {
    static const struct sign_field headers[] = {
        {"content-type", "text/plain"},     {"x-ms-version", "2025-11-05"},
        {"x-ms-meta-src", "cam 1"},         {"x-ms-date", "Fri, 20 Nov 2026 21:35:08 GMT"},
        {"x-ms-blob-type", "BlockBlob"},    {"content-md5", "PyP+hpDZLiUAD8d92w0vUg=="},
        {"user-agent", "not signed at all"}};
    struct sign_azure request = {.method = "PUT",
                                 .account = "devstoreaccount1",
                                 .path = "/devstoreaccount1/C/a/b.txt",
                                 .headers = headers,
                                 .header_count = ARRAY_LENGTH(headers),
                                 .content_length = 1100};
    check_text(&request, "PUT\n\n\n1100\nPyP+hpDZLiUAD8d92w0vUg==\ntext/plain\n\n\n\n\n\n\n"
                         "x-ms-blob-type:BlockBlob\nx-ms-date:Fri, 20 Nov 2026 21:35:08 GMT\n"
                         "x-ms-meta-src:cam 1\nx-ms-version:2025-11-05\n"
                         "/devstoreaccount1/devstoreaccount1/C/a/b.txt");
}
END_TEST

START_TEST(azure_condition_is_the_tenth_line) {
    static const struct sign_field headers[] = {{"if-none-match", "*"}};
    struct sign_azure request = {.method = "PUT",
                                 .account = "a",
                                 .path = "/c/b",
                                 .headers = headers,
                                 .header_count = 1,
                                 .content_length = 1};
    check_text(&request, "PUT\n\n\n1\n\n\n\n\n\n*\n\n\n/a/c/b");
}
END_TEST

START_TEST(azure_query_is_sorted_and_keeps_empty_values) {
    static const struct sign_field query[] = {
        {"restype", "container"}, {"prefix", ""}, {"comp", "list"}, {"maxresults", "3"}};
    struct sign_azure request = {.method = "GET",
                                 .account = "acct",
                                 .path = "/c",
                                 .query = query,
                                 .query_count = ARRAY_LENGTH(query)};
    check_text(&request, "GET\n\n\n\n\n\n\n\n\n\n\n\n/acct/c\ncomp:list\nmaxresults:3\nprefix:\n"
                         "restype:container");
}
END_TEST

/* HMAC-SHA256 of the text above, worked out with openssl dgst. */
START_TEST(azure_header_is_the_hmac_of_the_text) {
    static const struct sign_field headers[] = {{"if-none-match", "*"}};
    struct sign_azure request = {.method = "PUT",
                                 .account = "a",
                                 .path = "/c/b",
                                 .headers = headers,
                                 .header_count = 1,
                                 .content_length = 1};
    char out[SIGN_HEADER_MAX];
    ck_assert_int_eq(sync__sign_azure(&request, (const uint8_t *)"key", 3, out, NULL), 0);
    ck_assert_str_eq(out, "SharedKey a:t7jmBT6roSt/eW8upoYAIBT8d9iSGoiIbizXRbZLxT8=");
}
END_TEST

START_TEST(azure_sas_has_sixteen_fields) {
    struct sign_sas sas = {.account = "acct",
                           .container = "annotated",
                           .blob = "frames/a b.jpg",
                           .permissions = "r",
                           .resource = "b",
                           .protocol = "https",
                           .expires_utc_us = clock_parse_rfc3339("2026-11-20T21:35:08Z")};
    struct buf text = BUF_INIT(SIGN_TEXT_MAX);
    sync__sign_azure_sas_text(&sas, &text);
    ck_assert_str_eq(text.data,
                     "r\n\n2026-11-20T21:35:08Z\n/blob/acct/annotated/frames/a b.jpg\n\n\n"
                     "https\n2020-12-06\nb\n\n\n\n\n\n\n");
    size_t lines = 1;
    for (const char *c = text.data; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    ck_assert_uint_eq(lines, 16);
    buf_reset(&text);
    sync__sign_azure_sas(&sas, (const uint8_t *)"key", 3, &text);
    ck_assert_ptr_nonnull(
        strstr(text.data, "sv=2020-12-06&sr=b&sp=r&se=2026-11-20T21%3A35%3A08Z&spr=https&sig="));
    ck_assert_ptr_null(strpbrk(strstr(text.data, "sig="), "+/ "));
    buf_finish(&text);
}
END_TEST

/* ---- AWS: the published test suite of Signature Version 4, and the examples of the S3 manual ----
 */

static const struct sign_aws_key suite_key = {
    "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL, "us-east-1", "service"};
static const struct sign_aws_key manual_key = {
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL, "us-east-1", "s3"};
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST                                                                                       \
    { "host", "example.amazonaws.com" }
#define DATE                                                                                       \
    { "x-amz-date", "20150830T123600Z" }

static const struct {
    const char *name, *method, *query;
    struct sign_field headers[8];
    size_t header_count;
    const char *signature;
} vectors[] = {
    {"get-vanilla",
     "GET",
     "",
     {HOST, DATE},
     2,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"post-vanilla",
     "POST",
     "",
     {HOST, DATE},
     2,
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"get-vanilla-query-order-key-case",
     "GET",
     "Param1=value1&Param2=value2",
     {HOST, DATE},
     2,
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"post-header-key-sort",
     "POST",
     "",
     {DATE, {"my-header1", "value1"}, HOST},
     3,
     "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
    {"get-header-value-trim",
     "GET",
     "",
     {HOST, {"my-header1", " value1"}, {"my-header2", " \"a   b   c\""}, DATE},
     4,
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
};

START_TEST(aws_suite) {
    struct sign_aws request = {.method = vectors[_i].method,
                               .path = "/",
                               .query = vectors[_i].query,
                               .headers = vectors[_i].headers,
                               .header_count = vectors[_i].header_count,
                               .payload = EMPTY,
                               .utc_us = clock_parse_rfc3339("2015-08-30T12:36:00Z")};
    char out[SIGN_HEADER_MAX];
    ck_assert_int_eq(sync__sign_aws(&request, &suite_key, out, NULL), 0);
    const char *signature = strstr(out, "Signature=");
    ck_assert_ptr_nonnull(signature);
    ck_assert_msg(strcmp(signature + 10, vectors[_i].signature) == 0, "%s: %s", vectors[_i].name,
                  out);
    ck_assert_ptr_nonnull(
        strstr(out, "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"));
}
END_TEST

START_TEST(aws_manual_get) {
    static const struct sign_field headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                                {"range", "bytes=0-9"},
                                                {"x-amz-content-sha256", EMPTY},
                                                {"x-amz-date", "20130524T000000Z"}};
    struct sign_aws request = {.method = "GET",
                               .path = "/test.txt",
                               .query = "",
                               .headers = headers,
                               .header_count = ARRAY_LENGTH(headers),
                               .payload = EMPTY,
                               .utc_us = clock_parse_rfc3339("2013-05-24T00:00:00Z")};
    char out[SIGN_HEADER_MAX];
    ck_assert_int_eq(sync__sign_aws(&request, &manual_key, out, NULL), 0);
    ck_assert_str_eq(out, "AWS4-HMAC-SHA256 "
                          "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                          "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                          "Signature="
                          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}
END_TEST

START_TEST(aws_manual_put) {
    static const char payload[] =
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    static const struct sign_field headers[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                                {"host", "examplebucket.s3.amazonaws.com"},
                                                {"x-amz-content-sha256", payload},
                                                {"x-amz-date", "20130524T000000Z"},
                                                {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    struct sign_aws request = {.method = "PUT",
                               .path = "/test%24file.text",
                               .query = "",
                               .headers = headers,
                               .header_count = ARRAY_LENGTH(headers),
                               .payload = payload,
                               .utc_us = clock_parse_rfc3339("2013-05-24T00:00:00Z")};
    char out[SIGN_HEADER_MAX];
    ck_assert_int_eq(sync__sign_aws(&request, &manual_key, out, NULL), 0);
    ck_assert_ptr_nonnull(
        strstr(out, "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}
END_TEST

START_TEST(aws_manual_link) {
    struct buf out = BUF_INIT(4096);
    ck_assert_int_eq(sync__sign_aws_link(&manual_key, "examplebucket.s3.amazonaws.com", "/test.txt",
                                         clock_parse_rfc3339("2013-05-24T00:00:00Z"), 86400, &out,
                                         NULL),
                     0);
    ck_assert_str_eq(
        out.data,
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
        "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
        "X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    buf_finish(&out);
}
END_TEST

START_TEST(aws_link_with_a_token_stays_sorted) {
    struct sign_aws_key key = manual_key;
    struct buf out = BUF_INIT(4096);
    key.token = "tok/en+==";
    ck_assert_int_eq(sync__sign_aws_link(&key, "h", "/b/k", 0, 60, &out, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out.data,
                                 "X-Amz-Expires=60&X-Amz-Security-Token=tok%2Fen%2B%3D%3D&"
                                 "X-Amz-SignedHeaders=host&X-Amz-Signature="));
    buf_finish(&out);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: signatures");
    TCase *azure = tcase_create("azure");
    tcase_add_test(azure, azure_put_blob);
    tcase_add_test(azure, azure_condition_is_the_tenth_line);
    tcase_add_test(azure, azure_query_is_sorted_and_keeps_empty_values);
    tcase_add_test(azure, azure_header_is_the_hmac_of_the_text);
    tcase_add_test(azure, azure_sas_has_sixteen_fields);
    suite_add_tcase(suite, azure);
    TCase *aws = tcase_create("aws");
    tcase_add_loop_test(aws, aws_suite, 0, (int)ARRAY_LENGTH(vectors));
    tcase_add_test(aws, aws_manual_get);
    tcase_add_test(aws, aws_manual_put);
    tcase_add_test(aws, aws_manual_link);
    tcase_add_test(aws, aws_link_with_a_token_stays_sorted);
    suite_add_tcase(suite, aws);
    return suite_run(suite);
}
