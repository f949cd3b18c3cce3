/* Credentials of S3 that must be fetched, with the whole sync: the services that give out keys are
 * played by the test (web identities: by the gateway's own STS), the storage is real: a Ceph
 * gateway, which checks session tokens.
 */
#include "sync/sign.h"
#include "sync/token.h"
#include "tests/contract/credential_case.h"
#include "tests/suite.h"

#define ROLE_ARN "arn:aws:iam:::role/camera"

static struct token_server provider; /* of identities, for the gateway's STS; of the whole suite */
static char provider_url[128];
static struct token keys; /* of the test that runs */

/* ---- the gateway and who it trusts ---- */

/* The identity provider that the gateway trusts: its two documents. */
static void answer_provider(struct token_server *server, size_t number,
                            const struct token_request *request, struct token_answer *out) {
    char path[400], line[128];
    (void)number;
    out->status = 200;
    if (strstr(request->text, "openid-configuration") != NULL) {
        snprintf(
            out->body, sizeof out->body,
            "{\"issuer\":\"http://127.0.0.1:%d/id\",\"jwks_uri\":\"http://127.0.0.1:%d/keys\"}",
            server->port, server->port);
        return;
    }
    snprintf(path, sizeof path, "%s/identity.pem", key_dir);
    FILE *file = fopen(path, "r");
    size_t used = (size_t)snprintf(
        out->body, sizeof out->body,
        "{\"keys\":[{\"kid\":\"1\",\"kty\":\"RSA\",\"alg\":\"RS256\",\"use\":\"sig\",\"x5c\":[\"");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strstr(line, "CERTIFICATE") == NULL) {
            used += (size_t)snprintf(out->body + used, sizeof out->body - used, "%.*s",
                                     (int)strcspn(line, "\n"), line);
        }
    }
    snprintf(out->body + used, sizeof out->body - used, "\"]}]}");
    if (file != NULL) {
        fclose(file);
    }
}

/* A POST to the gateway; signed with the administrator's key where `service` is given. */
static int gateway_post(const char *service, const char *form, struct http_reply *out) {
    char host[64], url[128], stamp[CLOCK_AMZ_SIZE], payload[HASH_HEX_SIZE];
    char authorization[SIGN_HEADER_MAX];
    struct frame_hash hash;
    int64_t now = clock_utc_us();
    snprintf(host, sizeof host, "127.0.0.1:%d", rgw_port);
    snprintf(url, sizeof url, "http://%s/", host);
    hash_sha256(form, strlen(form), &hash);
    hash_hex(hash.bytes, sizeof hash.bytes, payload);
    const struct sign_field fields[] = {{"content-type", "application/x-www-form-urlencoded"},
                                        {"host", host},
                                        {"x-amz-date", clock_format_amz(now, stamp)}};
    struct sign_aws signing = {.method = "POST",
                               .path = "/",
                               .query = "",
                               .headers = fields,
                               .header_count = ARRAY_LENGTH(fields),
                               .payload = payload,
                               .utc_us = now};
    struct sign_aws_key key = {.access_key = RGW_ACCESS_KEY,
                               .secret_key = RGW_SECRET_KEY,
                               .region = "us-east-1",
                               .service = service};
    struct http_request request = {.method = "POST",
                                   .url = strdup(url),
                                   .body = form,
                                   .body_size = strlen(form),
                                   .direct = true};
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        sync__request_add(&request, fields[i].name, fields[i].value);
    }
    if (service != NULL) {
        ck_assert_int_eq(sync__sign_aws(&signing, &key, authorization, NULL), 0);
        sync__request_add(&request, "authorization", authorization);
    }
    return case_send(request, out);
}

/* The gateway trusts the provider, and has a role for those whom it vouches for. Zero when done. */
static int role_make(void) {
    char thumbprint[64] = "", form[512], command[600];
    struct http_reply reply;
    snprintf(command, sizeof command, "'%s/tests/servers/identity.sh' thumbprint '%s'",
             CREEL_SOURCE_DIR, key_dir);
    FILE *pipe = popen(command, "r");
    bool read = pipe != NULL && fgets(thumbprint, sizeof thumbprint, pipe) != NULL;
    thumbprint[strcspn(thumbprint, "\n")] = '\0';
    if (pipe == NULL || pclose(pipe) != 0 || !read ||
        servers_run("'%s/tests/servers/rgw.sh' role '%s' camera '%s'", CREEL_SOURCE_DIR, rgw_dir,
                    provider_url + strlen("http://")) != 0) {
        return 1;
    }
    snprintf(form, sizeof form,
             "Action=CreateOpenIDConnectProvider&Version=2010-05-08&Url=http%%3A%%2F%%2F127.0.0.1"
             "%%3A%d%%2Fid&ClientIDList.member.1=creel&ThumbprintList.member.1=%s",
             provider.port, thumbprint);
    int status = gateway_post("iam", form, &reply);
    sync__reply_finish(&reply);
    return status == 200 ? 0 : 1;
}

/* Keys that the gateway's STS gave out to a bearer of the provider's token: they are real, and so
 * is their session token. */
static void keys_get(const char *role, struct token *out) {
    char identity[2048];
    struct buf form = BUF_INIT(8192);
    struct http_reply reply;
    jwt(provider_url, "creel", 3600, identity, sizeof identity);
    buf_puts(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=test"
                    "&RoleArn=");
    buf_puts_url(&form, role, false);
    buf_printf(&form, "&WebIdentityToken=%s", identity);
    ck_assert_int_eq(gateway_post(NULL, form.data, &reply), 200);
    ck_assert_int_eq(sync__token_read_sts(reply.body.data, reply.body.len, out, NULL), 0);
    sync__reply_finish(&reply);
    buf_finish(&form);
}

/* ---- what the issuer answers ---- */

/* Keys in the form that instances and containers get them. */
static void answer_keys(struct token_answer *out, int seconds, bool damaged) {
    char expiration[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(clock_utc_us() + seconds * INT64_C(1000000), expiration);
    out->status = 200;
    snprintf(out->body, sizeof out->body,
             "{\"Code\":\"Success\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"%s%s\",\"Token\":"
             "\"%s\",\"Expiration\":\"%s\"}",
             keys.id, keys.secret, damaged ? "damaged" : "", keys.session, expiration);
}

static void answer_container(struct token_server *server, size_t number,
                             const struct token_request *request, struct token_answer *out) {
    (void)server, (void)number;
    out->status = 401;
    if (strcasestr(request->text, "authorization: Basic of-the-container\r\n") != NULL) {
        answer_keys(out, 3600, false);
    }
}

/* ---- fixtures ---- */

static void setup_s3(void) {
    char mark[400];
    issuer = (struct token_server){.answer = answer_container};
    setup_issuer();
    snprintf(mark, sizeof mark, "%s/role", scratch); /* tests are processes: one of them is first */
    if (access(mark, F_OK) != 0) {
        ck_assert_int_eq(role_make(), 0);
        ck_assert_int_eq(servers_run("'%s/tests/servers/rgw.sh' role '%s' writer '%s' s3:PutObject "
                                     "'of-the-role/put-only/*'",
                                     CREEL_SOURCE_DIR, rgw_dir, provider_url + strlen("http://")),
                         0);
        write_file(mark, "made");
    }
    keys_get(ROLE_ARN, &keys);
}

static void teardown_s3(void) {
    teardown_issuer();
    sync__token_finish(&keys);
}

static void read_with_session(struct sync_remote_config *remote) {
    remote->credential = SYNC_CREDENTIAL_KEY;
    remote->access_key = keys.id;
    remote->secret_key = keys.secret;
    remote->session_token = keys.session;
}

static struct sync_remote_config *s3_add(enum sync_credential credential) {
    struct sync_remote_config *remote = remote_add(SYNC_S3);
    remote->credential = credential;
    remote->access_key = remote->secret_key = NULL;
    remote->token_url = issuer_url;
    remote->bucket = "of-the-role";
    read_as = read_with_session;
    return remote;
}

START_TEST(a_web_identity_becomes_a_role) {
    char identity[2048];
    struct sync_remote_config *remote = s3_add(SYNC_CREDENTIAL_AUTO);
    remote->token_url = NULL; /* the gateway's own STS */
    remote->role_arn = ROLE_ARN;
    remote->token_file = token_path;
    jwt(provider_url, "creel", -60, identity, sizeof identity);
    write_file(token_path, identity);
    start();
    frames_put(30);
    wait_error("s3", "STS (token_file, role_arn) at 127.0.0.1"); /* the identity has ended */
    wait_untouched("s3", 30);
    ck_assert_ptr_null(strstr(status_of("s3").last_error, identity));
    jwt(provider_url, "creel", 3600, identity, sizeof identity);
    write_file(token_path, identity);
    nothing_lost("s3", 0);
}
END_TEST

static void answer_instance(struct token_server *server, size_t number,
                            const struct token_request *request, struct token_answer *out) {
    if (strncmp(request->text, "PUT /latest/api/token ", 22) == 0) {
        out->status = 200;
        snprintf(out->body, sizeof out->body, "session-%zu", number);
    } else if (strcasestr(request->text, "x-aws-ec2-metadata-token: session-") == NULL) {
        out->status = 401;
    } else if (strstr(request->text, "security-credentials/ ") != NULL) {
        out->status = 200;
        snprintf(out->body, sizeof out->body, "camera role");
        out->body[6] = '-';
    } else if (strstr(request->text, "security-credentials/camera-role ") != NULL) {
        answer_keys(out, server->mode == SHORT ? 1 : 3600,
                    server->mode == DEAD_FIRST && number < 3);
    }
}

START_TEST(keys_of_an_instance_are_renewed_while_frames_flow) {
    issuer.answer = answer_instance;
    issuer.mode = SHORT;
    s3_add(SYNC_CREDENTIAL_INSTANCE);
    start();
    for (int batch = 0; batch < 8; batch++) {
        frames_put(10);
        clock_sleep_ms(300);
    }
    nothing_lost("s3", 0);
    size_t asked = token_server_count(&issuer);
    ck_assert_uint_ge(asked, 9); /* three requests each time */
    ck_assert_uint_le(asked, 24);
    /* a link would end with its keys: such that last longer are asked for, in vain at first */
    struct err err = {0};
    char link[SYNC_LINK_MAX];
    ck_assert_int_eq(sync_link_get(f.sync, "s3", TIER_ANNOTATED, "x.jpg", 60, link, &err),
                     ERR_REFUSED);
    ck_assert_ptr_nonnull(strstr(err.msg, "give a shorter --ttl"));
    token_server_mode(&issuer, GOOD);
    check_link(0);
    check_link(0);
    ck_assert_uint_ge(token_server_count(&issuer), asked + 6);
    ck_assert_uint_le(token_server_count(&issuer), asked + 9); /* one more was under way */
    ck_assert_uint_eq(status_of("s3").failures, 0);
    token_server_saw(&issuer, 0, "PUT /latest/api/token HTTP/1.1",
                     "x-aws-ec2-metadata-token-ttl-seconds: 21600", "content-length: 0", NULL);
    token_server_saw(&issuer, 2, "x-aws-ec2-metadata-token: session-0", NULL);
}
END_TEST

START_TEST(a_refused_session_is_renewed_once) {
    issuer.answer = answer_instance;
    issuer.mode = DEAD_FIRST;
    s3_add(SYNC_CREDENTIAL_INSTANCE);
    start();
    frames_put(40);
    nothing_lost("s3", 0);
    ck_assert_uint_eq(token_server_count(&issuer), 6);
    ck_assert_uint_eq(status_of("s3").failures, 0);
}
END_TEST

START_TEST(keys_of_a_container) {
    char url[160];
    issuer.answer = answer_container;
    snprintf(url, sizeof url, "%s/v2/credentials", issuer_url);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic of-the-container", 1);
    s3_add(SYNC_CREDENTIAL_AUTO)->token_url = NULL;
    start();
    frames_put(20);
    nothing_lost("s3", 0);
    ck_assert_uint_eq(token_server_count(&issuer), 1);
    token_server_saw(&issuer, 0, "GET /v2/credentials HTTP/1.1", NULL);
}
END_TEST

START_TEST(keys_of_the_environment) {
    setenv("AWS_ACCESS_KEY_ID", keys.id, 1);
    setenv("AWS_SECRET_ACCESS_KEY", keys.secret, 1);
    setenv("AWS_SESSION_TOKEN", keys.session, 1);
    s3_add(SYNC_CREDENTIAL_AUTO);
    start();
    frames_put(20);
    nothing_lost("s3", 0);
    ck_assert_uint_eq(token_server_count(&issuer), 0);
}
END_TEST

START_TEST(a_profile_may_be_mended_while_frames_wait) {
    struct sync_remote_config *remote = s3_add(SYNC_CREDENTIAL_AUTO);
    remote->credentials_file = token_path;
    remote->profile = "camera";
    remote->bucket = "of-the-profile";
    read_as = read_with_key;
    write_file(token_path, "[default]\naws_access_key_id = NOBODY\n");
    start();
    frames_put(20);
    wait_error("s3", "it has no profile [camera]");
    write_file(token_path, "[camera]\naws_access_key_id = " RGW_ACCESS_KEY
                           "\naws_secret_access_key = not-the-right-one\n");
    wait_error("s3", "403"); /* a gateway with an STS does not say what is wrong with a key */
    wait_untouched("s3", 20);
    write_file(token_path, "[camera]\naws_access_key_id = " RGW_ACCESS_KEY
                           "\naws_secret_access_key = " RGW_SECRET_KEY "\n");
    nothing_lost("s3", 0);
}
END_TEST

static enum store_receipt_kind kind_of_receipt(unsigned number) {
    struct store_receipt receipt;
    struct frame_hash hash;
    uint8_t *bytes = case_noise(size_of(number), number + 1);
    enum frame_tier tier = number % 3 == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED;
    hash_sha256(bytes, size_of(number), &hash);
    free(bytes);
    ck_assert_int_eq(store_receipt_get(f.reader, "s3", tier, &hash, &receipt, NULL), 0);
    return receipt.kind;
}

/* What a device needs and no more: to put objects under its own prefix. */
START_TEST(the_right_to_put_is_enough) {
    struct sync_remote_config *remote = s3_add(SYNC_CREDENTIAL_KEY);
    struct token writer = {0};
    keys_get("arn:aws:iam:::role/writer", &writer);
    read_with_session(remote);
    remote->prefix = "put-only";
    start(); /* the bucket is made by somebody who may */
    frames_put(1);
    wait_done("s3", 1);
    stop(1000);
    remote->access_key = writer.id;
    remote->secret_key = writer.secret;
    remote->session_token = writer.session;
    remote->create_containers = false;
    manifest_add(remote);
    start();
    frames_put(29);
    nothing_lost("s3", 0);
    wait_parts("s3", 3);
    ck_assert_uint_eq(status_of("s3").uploaded, 29);
    ck_assert_int_eq(kind_of_receipt(1), STORE_RECEIPT_STORED);
    stop(1000);
    remote->prefix = "not-its-own";
    remote->manifest = false;
    start();
    frames_put(1);
    wait_error("s3", "the key lacks s3:PutObject");
    wait_untouched("s3", 1);
    stop(1000);
    /* a store that forgot: what is there may not be looked at, so the receipt is the weaker one */
    store_stop();
    ck_assert_int_eq(servers_run("mv '%s' '%s.old'; mkdir '%s'", f.dir, f.dir, f.dir), 0);
    store_start();
    f.frames = 0;
    remote->prefix = "put-only";
    start();
    frames_put(30);
    wait_counted("s3", 30);
    ck_assert_uint_eq(status_of("s3").already_there, 30);
    ck_assert_uint_eq(counts_of("s3").quarantined, 0);
    ck_assert_int_eq(kind_of_receipt(0), STORE_RECEIPT_EXISTS);
    sync__token_finish(&writer);
}
END_TEST

/* ---- main ---- */

static Suite *suite(void) {
    Suite *all = suite_create("sync: credentials of S3");
    TCase *s3 = tcase_create("s3");
    tcase_set_timeout(s3, 90);
    tcase_add_checked_fixture(s3, setup_s3, teardown_s3);
    tcase_add_test(s3, a_web_identity_becomes_a_role);
    tcase_add_test(s3, keys_of_an_instance_are_renewed_while_frames_flow);
    tcase_add_test(s3, a_refused_session_is_renewed_once);
    tcase_add_test(s3, keys_of_a_container);
    tcase_add_test(s3, keys_of_the_environment);
    tcase_add_test(s3, a_profile_may_be_mended_while_frames_wait);
    tcase_add_test(s3, the_right_to_put_is_enough);
    suite_add_tcase(all, s3);
    return all;
}

int main(void) {
    servers_scratch(scratch, sizeof scratch);
    snprintf(rgw_dir, sizeof rgw_dir, "%s/rgw", scratch);
    snprintf(key_dir, sizeof key_dir, "%s", scratch);
    setenv("RGW_STS", "1", 1);
    rgw_port = servers_free_port();
    servers_need(servers_run("'%s/tests/servers/identity.sh' make '%s'", CREEL_SOURCE_DIR, key_dir),
                 "openssl");
    servers_need(servers_rgw(rgw_dir, rgw_port, servers_free_port()), "the S3 server");
    provider.answer = answer_provider;
    pid_t pid = token_server_fork(&provider);
    snprintf(provider_url, sizeof provider_url, "http://127.0.0.1:%d/id", provider.port);
    int failed = suite_run(suite());
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    servers_rgw_stop(rgw_dir);
    servers_run("rm -rf '%s'", scratch);
    return failed;
}
