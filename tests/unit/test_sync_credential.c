/* Credentials without a network: what token services answer, which way to a credential is taken,
 * the life of a value, and that no secret gets into an error. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/credential.h"
#include "sync/remote.h"
#include "sync/sign.h"
#include "tests/suite.h"
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define S3C "s3cr3t-s3cr3t"

static void environment_clear(void) {
    static const char *const names[] = {"AZURE_TENANT_ID",
                                        "AZURE_CLIENT_ID",
                                        "AZURE_CLIENT_SECRET",
                                        "AZURE_FEDERATED_TOKEN_FILE",
                                        "AZURE_AUTHORITY_HOST",
                                        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                                        "IDENTITY_ENDPOINT",
                                        "IDENTITY_HEADER",
                                        "IMDS_ENDPOINT",
                                        "AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_ROLE_SESSION_NAME",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ENDPOINT_URL_STS",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        unsetenv(names[i]);
    }
}

/* ---- answers ---- */

#define JSON_KEYS "\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"" S3C "\""
#define XML(inner)                                                                                 \
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>" inner      \
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
#define ENDS "<Expiration>2026-11-21T05:51:41.163107302Z</Expiration>"

static const struct {
    int (*read)(const char *text, size_t size, struct token *out, struct err *err);
    const char *text;
    const char *word; /* NULL: fine */
    int64_t life_s, ends_utc_us;
} answers[] = {
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\",\"expires_in\":3599}", NULL, 3599, 0},
    {sync__token_read_oauth,
     "{\"access_token\":\"" S3C "\",\"expires_in\":\"86399\",\"token_type\":\"bearer\"}", NULL,
     86399, 0},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\",\"expires_on\":\"1700000000\"}", NULL,
     0, INT64_C(1700000000000000)},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\",\"expires_in\":99999999999}", NULL,
     TOKEN_LIFE_MAX_S, 0},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\"}", "when the token ends", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\",\"expires_in\":0}", "when", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\",\"expires_in\":\"soon\"}", "when", 0,
     0},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\",\"expires_in\":\"-5\"}", "when", 0, 0},
    {sync__token_read_oauth, "{\"expires_in\":3599}", "access_token", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":\"\",\"expires_in\":3599}", "access_token", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":7,\"expires_in\":3599}", "access_token", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":\"a b" S3C "\",\"expires_in\":3599}", "odd", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":\"a\\r\\nX: " S3C "\",\"expires_in\":9}", "odd", 0,
     0},
    {sync__token_read_oauth,
     "{\"access_token\":\"" S3C "\",\"expires_in\":9,\"token_type\":\"pop\"}", "another type", 0,
     0},
    {sync__token_read_oauth, "<html>hotel</html>", "no JSON", 0, 0},
    {sync__token_read_oauth, "[]", "no JSON", 0, 0},
    {sync__token_read_oauth, "", "no JSON", 0, 0},
    {sync__token_read_oauth, "{\"access_token\":\"" S3C "\"", "no JSON", 0, 0},
    {sync__token_read_aws,
     "{\"Code\":\"Success\"," JSON_KEYS ",\"Token\":\"t\",\"Expiration\":\"2026-11-21T05:51:41Z\"}",
     NULL, 0, INT64_C(1795240301000000)},
    {sync__token_read_aws, "{" JSON_KEYS ",\"Expiration\":\"2026-11-21T05:51:41Z\"}", NULL, 0,
     INT64_C(1795240301000000)},
    {sync__token_read_aws, "{" JSON_KEYS "}", "when the key ends", 0, 0},
    {sync__token_read_aws, "{" JSON_KEYS ",\"Expiration\":\"tomorrow\"}", "when", 0, 0},
    {sync__token_read_aws, "{\"Code\":\"AssumeRoleUnauthorizedAccess\"}", "AssumeRole", 0, 0},
    {sync__token_read_aws,
     "{\"SecretAccessKey\":\"" S3C "\",\"Expiration\":\"2026-11-21T05:51:41Z\"}", "AccessKeyId", 0,
     0},
    {sync__token_read_aws, "{\"AccessKeyId\":\"AK\",\"Expiration\":\"2026-11-21T05:51:41Z\"}",
     "SecretAccessKey", 0, 0},
    {sync__token_read_sts,
     XML("<AccessKeyId>AK</AccessKeyId><SecretAccessKey>" S3C
         "</SecretAccessKey><SessionToken>t&#x2B;/=</SessionToken>" ENDS),
     NULL, 0, INT64_C(1795240301163107)},
    {sync__token_read_sts,
     XML("<AccessKeyId>AK</AccessKeyId><SecretAccessKey>" S3C "</SecretAccessKey>" ENDS),
     "SessionToken", 0, 0},
    {sync__token_read_sts, XML("<SessionToken>t</SessionToken>" ENDS), "AccessKeyId", 0, 0},
    {sync__token_read_sts, XML("<SessionToken>t</SessionToken>"), "Expiration", 0, 0},
    {sync__token_read_sts, "<!DOCTYPE a [<!ENTITY e \"x\">]>" XML(ENDS), "Expiration", 0, 0},
    {sync__token_read_sts, "<Expiration>2026-11-21T05:51:41Z", "Expiration", 0, 0},
};

START_TEST(answers_are_read_strictly) {
    struct token token = {0};
    struct err err = {0};
    char text[1024];
    int code = answers[_i].read(answers[_i].text, strlen(answers[_i].text), &token, &err);
    err_text(&err, text, sizeof text);
    if (answers[_i].word != NULL) {
        ck_assert_msg(code != 0 && strstr(text, answers[_i].word) != NULL, "%d: %s", _i, text);
        ck_assert_ptr_null(strstr(text, "s3cr3t"));
        ck_assert_ptr_null(token.secret);
        return;
    }
    ck_assert_msg(code == 0, "%d: %s", _i, text);
    ck_assert_str_eq(token.secret, S3C);
    ck_assert_int_eq(token.life_s, answers[_i].life_s);
    ck_assert_int_eq(token.ends_utc_us, answers[_i].ends_utc_us);
    sync__token_finish(&token);
}
END_TEST

/* Every answer cut off at every byte is no token, and nothing is read beyond it. */
START_TEST(answers_cut_short_are_no_tokens) {
    size_t size = strlen(answers[_i].text);
    for (size_t cut = 0; answers[_i].word == NULL && cut < size; cut++) {
        struct token token = {0};
        char *part = malloc(cut + 1);
        memcpy(part, answers[_i].text, cut);
        ck_assert_int_ne(answers[_i].read(part, cut, &token, NULL), 0);
        ck_assert_ptr_null(token.secret);
        free(part);
    }
}
END_TEST

static const struct {
    const char *text, *code, *message;
} faults[] = {
    {"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS1: no.\\r\\nTrace ID: 7\"}",
     "invalid_client", "AADSTS1: no."},
    {"{\"error\":{\"code\":\"Forbidden\",\"message\":\"go\"}}", "Forbidden", "go"},
    {"{\"Code\":\"X\",\"Message\":\"y\"}", "X", "y"},
    {"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized\n"
     "more</Message></Error></ErrorResponse>",
     "AccessDenied", "Not authorized"},
    {"<html><body>404</body></html>", "", ""},
    {"{\"error\":5}", "", ""},
    {"", "", ""},
};

START_TEST(refusals_are_read) {
    struct token_fault fault;
    sync__token_read_fault(faults[_i].text, strlen(faults[_i].text), &fault);
    ck_assert_str_eq(fault.code, faults[_i].code);
    ck_assert_str_eq(fault.message, faults[_i].message);
}
END_TEST

/* ---- profiles ---- */

#define PAIR "aws_access_key_id=AK\naws_secret_access_key = " S3C "\n"

static const struct {
    const char *text;
    const char *word; /* NULL: fine */
    const char *session;
} profiles[] = {
    {"[camera]\n" PAIR, NULL, NULL},
    {"# mine\n\n[default]\nregion = x\n[camera]\r\n" PAIR "aws_session_token=ST\r\n", NULL, "ST"},
    {"[ camera ]\n  \n; x\n" PAIR "s3 =\n  max_queue = 5\n  odd line\n[other]\naws_access_key_id=B",
     NULL, NULL},
    {"[camera]\n" PAIR "[camera-2]\naws_secret_access_key=other", NULL, NULL},
    {"", "no profile [camera]", NULL},
    {"[cameras]\n" PAIR, "no profile [camera]", NULL},
    {"[camera]\naws_access_key_id=AK\n", "lacks aws_secret_access_key", NULL},
    {"[camera]\naws_secret_access_key=" S3C "\n", "lacks aws_access_key_id", NULL},
    {"[camera]\naws_access_key_id=\n", "line 2: aws_access_key_id is empty", NULL},
    {"[camera]\naws_secret_access_key=a " S3C "\n", "line 2", NULL},
    {"[camera]\n" PAIR PAIR, "line 4: a second aws_access_key_id", NULL},
    {"[camera]\n" PAIR "[camera]\n", "line 4: a second profile camera", NULL},
    {"[camera\n" PAIR, "line 1", NULL},
    {"[]\n" PAIR, "line 1", NULL},
    {"[", "line 1", NULL},
    {"[camera]\n" S3C "\n", "line 2: expected", NULL},
    {PAIR, "line 1: a setting before", NULL},
    {"[camera]\nrole_arn=arn:aws:iam::1:role/x\n", "role_arn", NULL},
    {"[camera]\ncredential_process=/bin/x\n", "credential_process", NULL},
};

START_TEST(profiles_are_read_strictly) {
    struct token token = {0};
    struct err err = {0};
    const char *text = profiles[_i].text;
    int code = sync__token_read_profile(text, strlen(text), "camera", &token, &err);
    if (profiles[_i].word != NULL) {
        ck_assert_msg(code != 0 && strstr(err.msg, profiles[_i].word) != NULL, "%d: %s", _i,
                      err.msg);
        ck_assert_ptr_null(strstr(err.msg, "s3cr3t"));
        return;
    }
    ck_assert_msg(code == 0, "%d: %s", _i, err.msg);
    ck_assert_str_eq(token.id, "AK");
    ck_assert_str_eq(token.secret, S3C);
    ck_assert_pstr_eq(token.session, profiles[_i].session);
    sync__token_finish(&token);
}
END_TEST

START_TEST(a_binary_file_is_no_profile) {
    struct token token = {0};
    struct err err = {0};
    ck_assert_int_eq(sync__token_read_profile("[camera]\0x", 10, "camera", &token, &err),
                     ERR_CONFIG);
}
END_TEST

/* ---- which way ---- */

#define AZ(...)                                                                                    \
    {                                                                                              \
        .kind = SYNC_AZURE, .name = "cloud", .url = "https://acct.blob.core.windows.net",          \
        __VA_ARGS__                                                                                \
    }
#define S3(...)                                                                                    \
    { .kind = SYNC_S3, .name = "lake", .bucket = "bucket", __VA_ARGS__ }
#define PEOPLE .tenant_id = "t", .client_id = "c"
#define KEYS   .access_key = "AK", .secret_key = S3C

static const struct {
    struct sync_remote_config config;
    const char *environment[4]; /* NAME=value */
    const struct credential_ops *ops;
    const char *word; /* where it is wrong */
} chosen[] = {
    {AZ(.account_key = "a2V5"), {NULL}, &sync__account_key_ops, NULL},
    {AZ(.account_key = "a2V5"), {"AZURE_CLIENT_SECRET=x"}, &sync__account_key_ops, NULL},
    {AZ(.connection_string = "AccountName=acct;AccountKey=a2V5"),
     {NULL},
     &sync__account_key_ops,
     NULL},
    {AZ(.sas = "sp=c&sig=x"), {NULL}, &sync__sas_ops, NULL},
    {AZ(.sas_file = "/nowhere/sas"), {NULL}, &sync__sas_file_ops, NULL},
    {AZ(PEOPLE, .client_secret = S3C), {NULL}, &sync__client_secret_ops, NULL},
    {AZ(),
     {"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_CLIENT_SECRET=" S3C},
     &sync__client_secret_ops,
     NULL},
    {AZ(PEOPLE, .token_file = "/nowhere/token"),
     {"AZURE_CLIENT_SECRET=x"},
     &sync__workload_ops,
     NULL},
    {AZ(),
     {"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_FEDERATED_TOKEN_FILE=/nowhere/x"},
     &sync__workload_ops,
     NULL},
    {AZ(.credential = SYNC_CREDENTIAL_MANAGED_IDENTITY), {NULL}, &sync__managed_ops, NULL},
    {AZ(),
     {"IDENTITY_ENDPOINT=http://127.0.0.1:1/x", "IDENTITY_HEADER=h"},
     &sync__managed_ops,
     NULL},
    {AZ(.credential = SYNC_CREDENTIAL_MANAGED_IDENTITY, .account_key = "a2V5"),
     {NULL},
     &sync__managed_ops,
     NULL},
    {AZ(), {NULL}, NULL, "managed-identity"},
    {AZ(.credential = SYNC_CREDENTIAL_SAS), {NULL}, NULL, "sas: missing"},
    {AZ(.credential = SYNC_CREDENTIAL_KEY), {NULL}, NULL, "account_key: missing"},
    {AZ(.credential = SYNC_CREDENTIAL_PROFILE), {NULL}, NULL, "azure has key"},
    {AZ(.client_secret = S3C), {NULL}, NULL, "tenant_id: missing"},
    {AZ(.tenant_id = "t", .client_secret = S3C), {NULL}, NULL, "client_id: missing"},
    {AZ(.tenant_id = "t/../x", .client_id = "c", .client_secret = S3C), {NULL}, NULL, "tenant_id"},
    {AZ(PEOPLE, .client_secret = S3C, .token_url = "http://login.example"), {NULL}, NULL, "https"},
    {AZ(PEOPLE, .client_secret = S3C, .token_url = "ftp://x"), {NULL}, NULL, "http"},
    {AZ(PEOPLE, .client_secret = S3C, .account_key = "a2V5"), {NULL}, NULL, "give one of"},
    {{.kind = SYNC_AZURE,
      .name = "c",
      .url = "http://edge.example/acct",
      .account = "acct",
      PEOPLE,
      .client_secret = S3C},
     {NULL},
     NULL,
     "readable on the way"},
    {S3(KEYS), {"AWS_ACCESS_KEY_ID=B", "AWS_SECRET_ACCESS_KEY=C"}, &sync__aws_key_ops, NULL},
    {S3(), {"AWS_ACCESS_KEY_ID=B", "AWS_SECRET_ACCESS_KEY=C"}, &sync__aws_environment_ops, NULL},
    {S3(.profile = "camera", .credentials_file = "/nowhere/x"),
     {"AWS_ACCESS_KEY_ID=B", "AWS_SECRET_ACCESS_KEY=C"},
     &sync__aws_profile_ops,
     NULL},
    {S3(), {"AWS_PROFILE=camera", "HOME=/nowhere"}, &sync__aws_profile_ops, NULL},
    {S3(.role_arn = "arn:x", .token_file = "/nowhere/x"), {NULL}, &sync__aws_web_ops, NULL},
    {S3(),
     {"AWS_ROLE_ARN=arn:x", "AWS_WEB_IDENTITY_TOKEN_FILE=/nowhere/x"},
     &sync__aws_web_ops,
     NULL},
    {S3(),
     {"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/x"},
     &sync__aws_container_ops,
     NULL},
    {S3(), {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/x"}, &sync__aws_container_ops, NULL},
    {S3(.credential = SYNC_CREDENTIAL_INSTANCE, KEYS), {NULL}, &sync__aws_instance_ops, NULL},
    {S3(), {NULL}, NULL, "AWS_ACCESS_KEY_ID"},
    {S3(), {"AWS_ACCESS_KEY_ID=B"}, NULL, "AWS_SECRET_ACCESS_KEY is not set"},
    {S3(.access_key = "A"), {NULL}, NULL, "secret_key: missing"},
    {S3(.access_key = "A", .secret_key = "s3cr3t s3cr3t"), {NULL}, NULL, "spaces"},
    {S3(.token_file = "/nowhere/x"), {NULL}, NULL, "role_arn: missing"},
    {S3(.role_arn = "arn:x"), {NULL}, NULL, "token_file: missing"},
    {S3(.credential = SYNC_CREDENTIAL_SAS), {NULL}, NULL, "s3 has key"},
    {S3(.credential = SYNC_CREDENTIAL_CONTAINER), {NULL}, NULL, "AWS_CONTAINER"},
    {S3(), {"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://metadata.example/x"}, NULL, "plain http"},
    {S3(.credential = SYNC_CREDENTIAL_INSTANCE, .token_url = "http://10.0.0.1"),
     {NULL},
     NULL,
     "plain http"},
};

START_TEST(the_right_way_is_taken) {
    struct remote *remote = NULL;
    struct err err = {0};
    char text[1024];
    environment_clear();
    for (size_t i = 0; i < 4 && chosen[_i].environment[i] != NULL; i++) {
        putenv((char *)(uintptr_t)chosen[_i].environment[i]);
    }
    int code = sync__remote_open(&chosen[_i].config, &remote, &err);
    err_text(&err, text, sizeof text);
    if (chosen[_i].word != NULL) {
        ck_assert_msg(code == ERR_CONFIG && strstr(text, chosen[_i].word) != NULL, "%d: %s", _i,
                      text);
        ck_assert_ptr_null(strstr(text, "s3cr3t"));
        return;
    }
    ck_assert_msg(code == 0, "%d: %s", _i, text);
    ck_assert_msg(remote->credential->ops == chosen[_i].ops, "%d: %s", _i,
                  remote->credential->ops->what);
    sync__remote_close(remote);
}
END_TEST

/* ---- the life of a value ---- */

static struct credential *open_one(const struct sync_remote_config *config) {
    struct credential *credential = NULL;
    struct err err = {0};
    environment_clear();
    int code = sync__credential_open(config, &credential, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
    return credential;
}

/* Begins, and plays the reply to the one request. */
static enum credential_verdict play(struct credential *credential, int status, const char *body,
                                    int64_t date_utc_us, struct err *err) {
    struct http_request request = {0};
    struct http_reply reply;
    ck_assert_int_eq(sync__credential_begin(credential, &request, err), CREDENTIAL_AGAIN);
    sync__request_finish(&request);
    sync__reply_init(&reply, 0);
    reply.status = status;
    reply.date_utc_us = date_utc_us;
    buf_puts(&reply.body, body);
    enum credential_verdict verdict = sync__credential_judge(credential, &reply, &request, err);
    sync__request_finish(&request);
    sync__reply_finish(&reply);
    return verdict;
}

static const struct sync_remote_config app = AZ(PEOPLE, .client_secret = S3C);

START_TEST(a_value_is_renewed_before_it_ends) {
    static const struct {
        int life_s, margin_s;
    } lives[] = {{3600, 300}, {86400, 300}, {1000, 200}, {10, 2}};
    for (size_t i = 0; i < ARRAY_LENGTH(lives); i++) {
        struct credential *credential = open_one(&app);
        char body[128];
        int64_t before = clock_boot_us();
        ck_assert(sync__credential_due(credential, before));
        ck_assert_ptr_null(sync__credential_get(credential, before));
        snprintf(body, sizeof body, "{\"access_token\":\"tok\",\"expires_in\":%d}",
                 lives[i].life_s);
        ck_assert_int_eq(play(credential, 200, body, 0, NULL), CREDENTIAL_READY);
        int64_t end = before + lives[i].life_s * INT64_C(1000000);
        int64_t margin = lives[i].margin_s * INT64_C(1000000);
        ck_assert(!sync__credential_due(credential, end - margin - 1));
        ck_assert_str_eq(sync__credential_get(credential, end - 1)->secret, "tok");
        ck_assert(sync__credential_due(credential, end - margin + 1000000));
        ck_assert_ptr_null(sync__credential_get(credential, end + 1000000));
        credential->asking = true; /* one at a time */
        ck_assert(!sync__credential_due(credential, end + 1000000));
        sync__credential_close(credential);
    }
}
END_TEST

/* The machine's clock is a year behind; the service says what time it is. */
START_TEST(an_end_counts_by_the_services_clock) {
    const struct sync_remote_config machine =
        S3(.credential = SYNC_CREDENTIAL_CONTAINER, .token_url = "http://127.0.0.1:1/x");
    static const char body[] = "{" JSON_KEYS ",\"Expiration\":\"2030-01-01T01:00:00Z\"}";
    struct credential *credential = open_one(&machine);
    struct err err = {0};
    int64_t date = clock_parse_rfc3339("2030-01-01T00:00:00Z"), now = clock_boot_us();
    ck_assert_int_eq(play(credential, 200, body, date, &err), CREDENTIAL_READY);
    int64_t left = credential->value.ends_us - now;
    ck_assert_int_ge(left, INT64_C(3600000000));
    ck_assert_int_lt(left, INT64_C(3610000000));
    /* and one that has ended by it is no token, and takes none away */
    date = clock_parse_rfc3339("2030-01-01T01:00:01Z");
    ck_assert_int_eq(play(credential, 200, body, date, &err), CREDENTIAL_RETRY);
    ck_assert_ptr_nonnull(strstr(err.msg, "ended already"));
    ck_assert_ptr_nonnull(sync__credential_get(credential, now));
    ck_assert_uint_eq(credential->generation, 1);
    sync__credential_close(credential);
}
END_TEST

static const struct {
    int status;
    const char *body;
    enum credential_verdict verdict;
    const char *word;
} refusals[] = {
    {401, "{\"error\":\"invalid_client\",\"error_description\":\"wrong: " S3C "\"}",
     CREDENTIAL_DENIED, "make a new one"},
    {400, "{\"error\":\"unauthorized_client\"}", CREDENTIAL_DENIED, "client_id"},
    {400, "{\"error\":\"something_new\",\"error_description\":\"why\"}", CREDENTIAL_DENIED,
     "something_new (why)"},
    {404, "", CREDENTIAL_DENIED, "token_url"},
    {302, "", CREDENTIAL_RETRY, "does not follow"},
    {408, "", CREDENTIAL_RETRY, "busy"},
    {429, "", CREDENTIAL_RETRY, "busy"},
    {500, "<html>" S3C, CREDENTIAL_RETRY, "busy"},
    {503, "{\"error\":\"temporarily_unavailable\"}", CREDENTIAL_RETRY, "busy"},
    {200, "<html>", CREDENTIAL_DENIED, "no JSON"},
    {200, "{\"access_token\":\"" S3C "\"}", CREDENTIAL_DENIED, "when the token ends"},
};

START_TEST(refusals_are_told_apart_and_hold_no_secret) {
    struct credential *credential = open_one(&app);
    struct err err = {0};
    char text[1024];
    ck_assert_int_eq(play(credential, refusals[_i].status, refusals[_i].body, 0, &err),
                     refusals[_i].verdict);
    err_text(&err, text, sizeof text);
    ck_assert_msg(strstr(text, refusals[_i].word) != NULL, "%d: %s", _i, text);
    ck_assert_ptr_nonnull(
        strstr(text, "the authority (client_secret) at login.microsoftonline.com"));
    ck_assert_ptr_null(strstr(text, "s3cr3t"));
    sync__credential_close(credential);
}
END_TEST

/* What the request holds while it is under way is gone afterwards. */
START_TEST(the_body_is_kept_only_while_it_is_sent) {
    struct credential *credential = open_one(&app);
    struct http_request request = {0};
    ck_assert_int_eq(sync__credential_begin(credential, &request, NULL), CREDENTIAL_AGAIN);
    ck_assert_str_eq(request.method, "POST");
    ck_assert_str_eq(request.url, "https://login.microsoftonline.com/t/oauth2/v2.0/token");
    ck_assert_ptr_nonnull(strstr(request.body, S3C));
    ck_assert_ptr_null(strstr(request.url, S3C));
    ck_assert(!request.direct);
    sync__request_finish(&request);
    ck_assert_int_eq(play(credential, 500, "", 0, NULL), CREDENTIAL_RETRY);
    ck_assert_ptr_null(credential->body);
    sync__credential_close(credential);
}
END_TEST

START_TEST(given_ones_are_never_renewed) {
    const struct sync_remote_config given = S3(KEYS, .session_token = "st");
    struct credential *credential = open_one(&given);
    const struct credential_value *value = sync__credential_get(credential, INT64_MAX - 1);
    ck_assert_ptr_nonnull(value);
    ck_assert_str_eq(value->id, "AK");
    ck_assert_str_eq(value->secret, S3C);
    ck_assert_str_eq(value->session, "st");
    ck_assert(!sync__credential_due(credential, INT64_MAX - 1));
    ck_assert(!sync__credential_rejected(credential, credential->generation));
    ck_assert_ptr_nonnull(sync__credential_get(credential, 0));
    sync__credential_close(credential);
}
END_TEST

static void file_write(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

START_TEST(a_file_is_read_again_when_it_is_another) {
    char path[] = "/tmp/creel-credential-XXXXXX";
    close(mkstemp(path));
    file_write(path, " ?sp=c&sig=one \n");
    const struct sync_remote_config config = AZ(.sas_file = path);
    struct credential *credential = open_one(&config);
    struct http_request request = {0};
    struct err err = {0};
    int64_t now = clock_boot_us();
    ck_assert_str_eq(sync__credential_get(credential, now)->secret, "sp=c&sig=one");
    ck_assert(!sync__credential_rejected(credential, 1)); /* the same is no better */
    ck_assert(!sync__credential_due(credential, now + CREDENTIAL_LOOK_US));
    file_write(path, "sp=cw&sig=two");
    ck_assert(!sync__credential_due(credential, now + CREDENTIAL_LOOK_US + 1)); /* just looked */
    ck_assert(sync__credential_due(credential, now + 2 * CREDENTIAL_LOOK_US + 1));
    ck_assert_int_eq(sync__credential_begin(credential, &request, &err), CREDENTIAL_READY);
    ck_assert_str_eq(sync__credential_get(credential, now)->secret, "sp=cw&sig=two");
    file_write(path, "sp=cw&sig=three three");
    ck_assert_int_eq(sync__credential_begin(credential, &request, &err), CREDENTIAL_DENIED);
    ck_assert_ptr_null(strstr(err.cause, "three"));
    ck_assert_str_eq(sync__credential_get(credential, now)->secret, "sp=cw&sig=two");
    file_write(path, "sp=cw&sig=fourfour");
    ck_assert(sync__credential_rejected(credential, 2)); /* there is another */
    ck_assert_ptr_null(sync__credential_get(credential, now));
    ck_assert(sync__credential_due(credential, now));
    unlink(path);
    ck_assert_int_eq(sync__credential_begin(credential, &request, &err), CREDENTIAL_DENIED);
    char text[1024];
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof text), path));
    sync__credential_close(credential);
}
END_TEST

/* Token, role, keys: each step is asked with what the one before gave. */
START_TEST(an_instance_is_asked_in_three_steps) {
    static const struct {
        const char *url, *line, *reply;
    } steps[] = {
        {"http://169.254.169.254/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 21600",
         "pass"},
        {"http://169.254.169.254/latest/meta-data/iam/security-credentials/",
         "x-aws-ec2-metadata-token: pass", "my-role/\nanother"},
        {"http://169.254.169.254/latest/meta-data/iam/security-credentials/my-role%2F",
         "x-aws-ec2-metadata-token: pass",
         "{" JSON_KEYS ",\"Token\":\"t\",\"Expiration\":\"2100-01-01T00:00:00Z\"}"},
    };
    const struct sync_remote_config machine = S3(.credential = SYNC_CREDENTIAL_INSTANCE);
    struct credential *credential = open_one(&machine);
    struct http_request request = {0};
    struct err err = {0};
    enum credential_verdict verdict = sync__credential_begin(credential, &request, &err);
    for (size_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        struct http_reply reply;
        ck_assert_int_eq(verdict, CREDENTIAL_AGAIN);
        ck_assert_str_eq(request.url, steps[i].url);
        ck_assert_str_eq(request.lines[0], steps[i].line);
        ck_assert(request.direct);
        ck_assert_int_eq(request.connect_ms, CREDENTIAL_CONNECT_MS);
        sync__request_finish(&request);
        sync__reply_init(&reply, 0);
        reply.status = 200;
        buf_puts(&reply.body, steps[i].reply);
        verdict = sync__credential_judge(credential, &reply, &request, &err);
        sync__reply_finish(&reply);
    }
    ck_assert_int_eq(verdict, CREDENTIAL_READY);
    ck_assert_str_eq(credential->value.session, "t");
    ck_assert_ptr_null(credential->pass);
    sync__credential_close(credential);
}
END_TEST

/* ---- the remote's part ---- */

START_TEST(a_request_without_a_credential_is_not_built) {
    struct remote *remote = NULL;
    struct remote_object object = {.tier = TIER_ANNOTATED, .key = "a.jpg", .bytes = (uint8_t *)""};
    struct remote_put put = {.object = &object};
    struct http_request request = {0};
    struct err err = {0};
    environment_clear();
    ck_assert_int_eq(sync__remote_open(&app, &remote, NULL), 0);
    ck_assert_int_eq(remote->ops->request(remote, &put, clock_utc_us(), &request, &err), ERR_BUSY);
    ck_assert_int_eq(
        play(remote->credential, 200, "{\"access_token\":\"tok.en\",\"expires_in\":3599}", 0, NULL),
        CREDENTIAL_READY);
    ck_assert_int_eq(remote->ops->request(remote, &put, clock_utc_us(), &request, &err), 0);
    bool bearer = false;
    for (size_t i = 0; i < request.line_count; i++) {
        bearer = bearer || strcmp(request.lines[i], "authorization: Bearer tok.en") == 0;
    }
    ck_assert(bearer);
    ck_assert_uint_eq(put.generation, 1);
    sync__request_finish(&request);
    sync__remote_close(remote);
}
END_TEST

/* One "who are you?" is answered by a newer token, the second one is the last word. */
START_TEST(a_401_renews_once) {
    struct remote *remote = NULL;
    struct remote_object object = {.tier = TIER_ANNOTATED, .key = "a.jpg"};
    struct remote_put put = {.object = &object, .generation = 1}, late = put;
    struct http_reply reply;
    struct err err = {0};
    static const char token[] = "{\"access_token\":\"tok\",\"expires_in\":3599}";
    environment_clear();
    ck_assert_int_eq(sync__remote_open(&app, &remote, NULL), 0);
    ck_assert_int_eq(play(remote->credential, 200, token, 0, NULL), CREDENTIAL_READY);
    sync__reply_init(&reply, 0);
    reply.status = 401;
    ck_assert_int_eq(remote->ops->judge(remote, &put, &reply, &err), REMOTE_AGAIN);
    ck_assert_ptr_null(sync__credential_get(remote->credential, 0));
    ck_assert_int_eq(play(remote->credential, 200, token, 0, NULL), CREDENTIAL_READY);
    /* what was signed with the old one does not cost the new one its life */
    ck_assert_int_eq(remote->ops->judge(remote, &late, &reply, &err), REMOTE_AGAIN);
    ck_assert_ptr_nonnull(sync__credential_get(remote->credential, 0));
    put.generation = 2;
    ck_assert_int_eq(remote->ops->judge(remote, &put, &reply, &err), REMOTE_DENIED);
    ck_assert_ptr_nonnull(strstr(err.msg, "with a token of the authority"));
    /* a look at what is there is no different: "who are you" is not "you may not" */
    put = (struct remote_put){.object = &object, .step = REMOTE_HEAD, .generation = 2};
    ck_assert_int_eq(remote->ops->judge(remote, &put, &reply, &err), REMOTE_AGAIN);
    reply.status = 403;
    ck_assert_int_eq(remote->ops->judge(remote, &put, &reply, &err), REMOTE_EXISTS);
    sync__reply_finish(&reply);
    sync__remote_close(remote);
}
END_TEST

/* ---- lent keys ---- */

#define LENT(value)                                                                                \
    "<?xml "                                                                                       \
    "version=\"1.0\"?><UserDelegationKey><SignedOid>oid</SignedOid><SignedTid>tid</SignedTid>"     \
    "<SignedStart>2026-11-21T05:00:00Z</SignedStart><SignedExpiry>2026-11-28T05:00:00Z"            \
    "</SignedExpiry><SignedService>b</SignedService><SignedVersion>2020-12-06</"                   \
    "SignedVersion>" value "</UserDelegationKey>"

START_TEST(a_lent_key_signs_links) {
    static const char xml[] = LENT("<Value>c2VjcmV0</Value>");
    struct delegation lent = {0};
    struct buf text = BUF_INIT(4096), query = BUF_INIT(4096);
    ck_assert_int_eq(sync__delegation_read(xml, strlen(xml), &lent, NULL), 0);
    ck_assert_uint_eq(lent.key_size, 6);
    int64_t end = clock_parse_rfc3339("2026-11-28T05:00:00Z");
    ck_assert(sync__delegation_lasts(&lent, end));
    ck_assert(!sync__delegation_lasts(&lent, end + 1));
    const struct sign_sas sas = {.account = "acct",
                                 .container = "c",
                                 .blob = "a b.jpg",
                                 .permissions = "r",
                                 .resource = "b",
                                 .protocol = "https",
                                 .expires_utc_us = end,
                                 .delegation = &lent};
    sync__sign_azure_sas_text(&sas, &text);
    /* Microsoft, "Create a user delegation SAS", version 2020-12-06 */
    ck_assert_str_eq(text.data,
                     "r\n\n2026-11-28T05:00:00Z\n/blob/acct/c/a b.jpg\noid\ntid\n"
                     "2026-11-21T05:00:00Z\n2026-11-28T05:00:00Z\nb\n2020-12-06\n\n\n\n\n"
                     "https\n2020-12-06\nb\n\n\n\n\n\n\n");
    sync__sign_azure_sas(&sas, lent.key, lent.key_size, &query);
    ck_assert_ptr_nonnull(strstr(query.data, "&skoid=oid&sktid=tid&skt=2026-11-21T05%3A00%3A00Z"));
    ck_assert_ptr_null(strstr(query.data, "c2VjcmV0"));
    buf_finish(&text);
    buf_finish(&query);
    sync__delegation_finish(&lent);
    ck_assert(!sync__delegation_lasts(&lent, 0));
}
END_TEST

START_TEST(a_lent_key_is_read_strictly) {
    static const char *const wrong[] = {LENT(""),
                                        LENT("<Value>not base64!</Value>"),
                                        LENT("<Value></Value>"),
                                        "<UserDelegationKey/>",
                                        "",
                                        "{}"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct delegation lent = {0};
        struct err err = {0};
        ck_assert_int_eq(sync__delegation_read(wrong[i], strlen(wrong[i]), &lent, &err),
                         ERR_INVALID);
        ck_assert_uint_eq(lent.key_size, 0);
    }
}
END_TEST

START_TEST(secrets_are_masked) {
    char text[] = "a " S3C " b " S3C "c";
    sync__token_mask(text, S3C);
    ck_assert_str_eq(text, "a ************* b *************c");
    char other[] = "abc";
    sync__token_mask(other, "b"); /* too short to be one */
    sync__token_mask(other, NULL);
    ck_assert_str_eq(other, "abc");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: credentials");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, answers_are_read_strictly, 0, ARRAY_LENGTH(answers));
    tcase_add_loop_test(all, answers_cut_short_are_no_tokens, 0, ARRAY_LENGTH(answers));
    tcase_add_loop_test(all, refusals_are_read, 0, ARRAY_LENGTH(faults));
    tcase_add_loop_test(all, profiles_are_read_strictly, 0, ARRAY_LENGTH(profiles));
    tcase_add_test(all, a_binary_file_is_no_profile);
    tcase_add_loop_test(all, the_right_way_is_taken, 0, ARRAY_LENGTH(chosen));
    tcase_add_test(all, a_value_is_renewed_before_it_ends);
    tcase_add_test(all, an_end_counts_by_the_services_clock);
    tcase_add_loop_test(all, refusals_are_told_apart_and_hold_no_secret, 0, ARRAY_LENGTH(refusals));
    tcase_add_test(all, the_body_is_kept_only_while_it_is_sent);
    tcase_add_test(all, given_ones_are_never_renewed);
    tcase_add_test(all, a_file_is_read_again_when_it_is_another);
    tcase_add_test(all, an_instance_is_asked_in_three_steps);
    tcase_add_test(all, a_request_without_a_credential_is_not_built);
    tcase_add_test(all, a_401_renews_once);
    tcase_add_test(all, a_lent_key_signs_links);
    tcase_add_test(all, a_lent_key_is_read_strictly);
    tcase_add_test(all, secrets_are_masked);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
