/* Credentials of Azure that must be fetched, with the whole sync: the services that give out tokens
 * are played by the test, the storage is real: Azurite over TLS, which checks a token's times,
 * issuer and audience.
 */
#include "sync/sign.h"
#include "tests/contract/credential_case.h"
#include "tests/suite.h"

#define STORAGE "https://storage.azure.com"
#define ISSUER  "https://sts.windows.net/tenant/"
#define SECRET  "s3cret-of-the-app"

static char azurite_cert[400];

static void oauth(struct token_answer *out, int ends_s, int says_s) {
    char token[2048];
    jwt(ISSUER, STORAGE, ends_s, token, sizeof token);
    out->status = 200;
    snprintf(out->body, sizeof out->body,
             "{\"token_type\":\"Bearer\",\"expires_in\":%d,\"access_token\":\"%s\"}", says_s,
             token);
}

static void answer_oauth(struct token_server *server, size_t number,
                         const struct token_request *request, struct token_answer *out) {
    (void)request;
    switch (server->mode) {
    case GOOD:
        oauth(out, 3600, 3600);
        break;
    case SHORT:
        oauth(out, 2, 2);
        break;
    case DEAD_FIRST:
        oauth(out, number == 0 ? -60 : 3600, 3600);
        break;
    case DEAD:
        oauth(out, -60, 3600);
        break;
    case BUSY:
        out->status = 503;
        break;
    case GARBAGE:
        out->status = 200;
        snprintf(out->body, sizeof out->body, "<html>log in to the hotel's network</html>");
        break;
    default:
        out->status = 401;
        snprintf(out->body, sizeof out->body,
                 "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid "
                 "client secret provided: %s\\r\\nTrace ID: 1\"}",
                 SECRET);
        break;
    }
}

/* ---- fixtures ---- */

static void setup_azure(void) {
    issuer = (struct token_server){.answer = answer_oauth};
    setup_issuer();
    snprintf(f.azure_url, sizeof f.azure_url, "https://127.0.0.1:%d/%s", azurite_port,
             AZURITE_ACCOUNT);
}

static struct sync_remote_config *azure_add(void) {
    struct sync_remote_config *remote = remote_add(SYNC_AZURE);
    remote->account_key = NULL;
    remote->ca_file = azurite_cert;
    remote->tenant_id = "tenant";
    remote->client_id = "app-1";
    remote->token_url = issuer_url;
    read_as = read_with_key;
    return remote;
}

static struct sync_remote_config *secret_add(void) {
    struct sync_remote_config *remote = azure_add();
    remote->client_secret = SECRET;
    return remote;
}

/* ---- Entra ID ---- */

START_TEST(a_token_is_fetched_once_and_kept) {
    secret_add();
    start();
    clock_sleep_ms(200);
    ck_assert_uint_eq(token_server_count(&issuer), 0); /* nobody needs one yet */
    frames_put(60);
    nothing_lost("azure", 0);
    frames_put(20);
    nothing_lost("azure", 0);
    check_link(0);
    check_link(0);
    ck_assert_uint_eq(token_server_count(&issuer), 1);
    ck_assert_uint_eq(status_of("azure").failures, 0);
    token_server_saw(&issuer, 0, "POST /tenant/oauth2/v2.0/token HTTP/1.1",
                     "content-type: application/x-www-form-urlencoded",
                     "grant_type=client_credentials&client_id=app-1",
                     "&scope=https%3A%2F%2Fstorage.azure.com%2F.default", "&client_secret=" SECRET,
                     NULL);
}
END_TEST

/* Azurite refuses a token whose time is over, so each batch needs one that lives. */
START_TEST(a_token_that_ends_is_renewed_while_frames_flow) {
    secret_add();
    issuer.mode = SHORT;
    start();
    int64_t begun = clock_boot_us();
    for (int batch = 0; batch < 9; batch++) {
        frames_put(10);
        clock_sleep_ms(400);
    }
    nothing_lost("azure", 0);
    ck_assert_uint_ge(token_server_count(&issuer), 2); /* the first, and another */
    ck_assert_uint_le(token_server_count(&issuer), (size_t)(clock_boot_us() - begun) / 500000 + 1);
    wait_counted("azure", 90);
    ck_assert_uint_eq(status_of("azure").uploaded, 90);
}
END_TEST

/* Claims to live for an hour, and is dead: eight transfers at once are told so. */
START_TEST(a_refused_token_is_renewed_once) {
    secret_add();
    issuer.mode = DEAD_FIRST;
    start();
    frames_put(60);
    nothing_lost("azure", 0);
    ck_assert_uint_eq(token_server_count(&issuer), 2);
    ck_assert_uint_eq(status_of("azure").failures, 0);
    ck_assert(!status_of("azure").breaker_open);
}
END_TEST

START_TEST(tokens_that_are_always_refused_cost_no_frame_its_attempts) {
    secret_add();
    issuer.mode = DEAD;
    start();
    frames_put(40);
    wait_error("azure", "with a token of the authority (client_secret)");
    clock_sleep_ms(800);
    wait_untouched("azure", 40);
    ck_assert(status_of("azure").breaker_open);
    ck_assert_uint_le(token_server_count(&issuer), 12); /* not one a frame */
    token_server_mode(&issuer, GOOD);
    nothing_lost("azure", 0);
}
END_TEST

static const struct {
    int mode;
    const char *words[3];
} refusals[] = {
    {BUSY, {"remote azure", "the authority (client_secret) at 127.0.0.1", "answered 503"}},
    {WRONG_SECRET, {"invalid_client", "make a new one", "AADSTS7000215"}},
    {GARBAGE, {"the authority (client_secret) at", "no JSON", "remote azure"}},
};

START_TEST(an_authority_that_says_no_is_named_and_others_flow) {
    secret_add();
    remote_add(SYNC_DIRECTORY);
    issuer.mode = refusals[_i].mode;
    start();
    frames_put(30);
    wait_done("disk", 30);
    for (size_t i = 0; i < ARRAY_LENGTH(refusals[_i].words); i++) {
        wait_error("azure", refusals[_i].words[i]);
    }
    ck_assert_ptr_null(strstr(status_of("azure").last_error, SECRET));
    wait_untouched("azure", 30);
    ck_assert_uint_eq(status_of("azure").requests, 0); /* nothing went out unsigned */
    ck_assert(status_of("azure").breaker_open);
    size_t asked = token_server_count(&issuer);
    clock_sleep_ms(500);
    ck_assert_uint_le(token_server_count(&issuer), asked + 3); /* no storm */
    token_server_mode(&issuer, GOOD);
    nothing_lost("azure", 0);
    ck_assert(!status_of("azure").breaker_open);
}
END_TEST

START_TEST(an_authority_that_is_not_there_stops_nobody) {
    secret_add()->token_url = "http://127.0.0.1:1";
    remote_add(SYNC_DIRECTORY);
    start();
    frames_put(30);
    wait_done("disk", 30);
    wait_error("azure", "no connection");
    wait_error("azure", "the authority (client_secret) at 127.0.0.1:1");
    struct err err = {0};
    char link[SYNC_LINK_MAX], text[1024];
    ck_assert_int_ne(sync_link_get(f.sync, "azure", TIER_ANNOTATED, "x.jpg", 60, link, &err), 0);
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof text), "the authority"));
    ck_assert_int_eq(sync_link_get(f.sync, "disk", TIER_ANNOTATED, "x.jpg", 60, link, &err),
                     ERR_REFUSED);
    ck_assert_int_eq(sync_link_get(f.sync, "nobody", TIER_ANNOTATED, "x.jpg", 60, link, &err),
                     ERR_NOT_FOUND);
    wait_untouched("azure", 30);
    int64_t before = clock_boot_us();
    stop(5000);
    ck_assert_int_lt(clock_boot_us() - before, 1000 * 1000);
}
END_TEST

START_TEST(a_federated_token_is_read_anew) {
    struct sync_remote_config *remote = azure_add();
    remote->token_file = token_path;
    issuer.mode = SHORT;
    start();
    frames_put(5);
    wait_error("azure", token_path); /* the file is not there yet: named, not fatal */
    write_file(token_path, "assertion.number.one\n");
    wait_done("azure", 5);
    size_t first = token_server_count(&issuer);
    write_file(token_path, "assertion.number.two\n");
    clock_sleep_ms(1700); /* past the time to renew, of two seconds */
    frames_put(5);
    nothing_lost("azure", 0);
    token_server_saw(&issuer, 0, "client_assertion=assertion.number.one",
                     "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type",
                     NULL);
    token_server_saw(&issuer, first, "client_assertion=assertion.number.two", NULL);
}
END_TEST

START_TEST(a_managed_identity_of_a_machine) {
    struct sync_remote_config *remote = azure_add();
    remote->credential = SYNC_CREDENTIAL_MANAGED_IDENTITY;
    start();
    frames_put(20);
    nothing_lost("azure", 0);
    ck_assert_uint_eq(token_server_count(&issuer), 1);
    token_server_saw(&issuer, 0,
                     "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A"
                     "%2F%2Fstorage.azure.com%2F&client_id=app-1 HTTP/1.1",
                     "metadata: true", NULL);
}
END_TEST

START_TEST(a_managed_identity_of_an_app_service) {
    struct sync_remote_config *remote = azure_add();
    char url[160];
    snprintf(url, sizeof url, "%s/msi/token", issuer_url);
    setenv("IDENTITY_ENDPOINT", url, 1);
    setenv("IDENTITY_HEADER", "header-of-the-app", 1);
    remote->token_url = remote->client_id = NULL;
    start(); /* found by the environment alone */
    frames_put(20);
    nothing_lost("azure", 0);
    token_server_saw(&issuer, 0, "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2F",
                     "x-identity-header: header-of-the-app", NULL);
}
END_TEST

static void answer_arc(struct token_server *server, size_t number,
                       const struct token_request *request, struct token_answer *out) {
    if (strcasestr(request->text, "authorization: Basic proof-of-arc\r\n") != NULL) {
        oauth(out, 3600, 3600);
        return;
    }
    (void)number;
    out->status = 401;
    snprintf(out->headers, sizeof out->headers, "WWW-Authenticate: Basic realm=%s\r\n",
             server->mode == GOOD ? "/var/opt/azcmagent/tokens/creel-test.key" : "/etc/passwd");
}

START_TEST(a_managed_identity_of_arc_shows_its_key_and_no_other_file) {
    struct sync_remote_config *remote = azure_add();
    char url[160];
    bool may = geteuid() == 0 && access("/var/opt/azcmagent", F_OK) != 0;
    snprintf(url, sizeof url, "%s/arc", issuer_url);
    setenv("IDENTITY_ENDPOINT", url, 1);
    setenv("IMDS_ENDPOINT", issuer_url, 1);
    remote->token_url = remote->client_id = NULL;
    issuer.answer = answer_arc;
    issuer.mode = 1;
    start();
    frames_put(5);
    wait_error("azure", "names a file outside /var/opt/azcmagent/tokens/");
    if (may) { /* the folder is Arc's own: made only where there is no Arc */
        ck_assert_int_eq(servers_run("mkdir -p /var/opt/azcmagent/tokens"), 0);
        write_file("/var/opt/azcmagent/tokens/creel-test.key", "proof-of-arc");
        token_server_mode(&issuer, GOOD);
        wait_done("azure", 5);
        ck_assert_int_eq(unlink("/var/opt/azcmagent/tokens/creel-test.key"), 0);
        ck_assert_int_eq(rmdir("/var/opt/azcmagent/tokens"), 0);
        ck_assert_int_eq(rmdir("/var/opt/azcmagent"), 0);
        nothing_lost("azure", 0);
    }
}
END_TEST

/* ---- a SAS in a file ---- */

static void sas_write(int seconds) {
    uint8_t key[SIGN_AZURE_KEY_MAX];
    size_t size = 0;
    struct buf text = BUF_INIT(2048);
    struct sign_sas sas = {.account = AZURITE_ACCOUNT,
                           .container = f.container,
                           .permissions = "c",
                           .resource = "c",
                           .protocol = "https",
                           .expires_utc_us = clock_utc_us() + seconds * INT64_C(1000000)};
    ck_assert(hash_parse_base64(AZURITE_KEY, key, sizeof key, &size));
    sync__sign_azure_sas(&sas, key, size, &text);
    buf_puts(&text, "\n");
    write_file(token_path, text.data);
    buf_finish(&text);
}

START_TEST(a_sas_file_may_come_late_and_change) {
    struct sync_remote_config *remote = azure_add();
    remote->containers[TIER_ANNOTATED] = remote->containers[TIER_UNANNOTATED] = f.container;
    remote->container_rest = f.container;
    remote->account_key = AZURITE_KEY; /* a SAS for a container cannot make it */
    remote->client_id = NULL;
    start();
    frames_put(1);
    wait_done("azure", 1);
    stop(1000);
    remote->account_key = NULL;
    remote->create_containers = false;
    remote->sas_file = token_path;
    manifest_add(remote); /* that a SAS of sp=c may write as well */
    start();
    frames_put(20);
    wait_error("azure", token_path); /* not there yet */
    write_file(token_path, "not-a-SAS");
    wait_error("azure", "is no SAS token");
    sas_write(2);
    wait_done("azure", 21);
    clock_sleep_ms(2500);
    frames_put(20);
    wait_error("azure", "the SAS ended at");
    ck_assert_ptr_null(strstr(status_of("azure").last_error, "sig="));
    sas_write(600); /* and whoever makes them wakes up */
    nothing_lost("azure", 0);
    wait_parts("azure", 2);
    struct err err = {0};
    char link[SYNC_LINK_MAX];
    ck_assert_int_eq(sync_link_get(f.sync, "azure", TIER_ANNOTATED, "x.jpg", 60, link, &err),
                     ERR_REFUSED);
    ck_assert_ptr_nonnull(strstr(err.msg, "needs account_key or a token"));
}
END_TEST

/* ---- main ---- */

static Suite *suite(void) {
    Suite *all = suite_create("sync: credentials of azure");
    TCase *azure = tcase_create("azure");
    tcase_set_timeout(azure, 90);
    tcase_add_checked_fixture(azure, setup_azure, teardown_issuer);
    tcase_add_test(azure, a_token_is_fetched_once_and_kept);
    tcase_add_test(azure, a_token_that_ends_is_renewed_while_frames_flow);
    tcase_add_test(azure, a_refused_token_is_renewed_once);
    tcase_add_test(azure, tokens_that_are_always_refused_cost_no_frame_its_attempts);
    tcase_add_loop_test(azure, an_authority_that_says_no_is_named_and_others_flow, 0,
                        ARRAY_LENGTH(refusals));
    tcase_add_test(azure, an_authority_that_is_not_there_stops_nobody);
    tcase_add_test(azure, a_federated_token_is_read_anew);
    tcase_add_test(azure, a_managed_identity_of_a_machine);
    tcase_add_test(azure, a_managed_identity_of_an_app_service);
    tcase_add_test(azure, a_managed_identity_of_arc_shows_its_key_and_no_other_file);
    tcase_add_test(azure, a_sas_file_may_come_late_and_change);
    suite_add_tcase(all, azure);
    return all;
}

int main(void) {
    servers_scratch(scratch, sizeof scratch);
    snprintf(azurite_dir, sizeof azurite_dir, "%s/azurite", scratch);
    snprintf(key_dir, sizeof key_dir, "%s", scratch);
    snprintf(azurite_cert, sizeof azurite_cert, "%s/cert.pem", azurite_dir);
    azurite_port = servers_free_port();
    servers_need(servers_run("'%s/tests/servers/identity.sh' make '%s'", CREEL_SOURCE_DIR, key_dir),
                 "openssl");
    servers_need(servers_azurite(azurite_dir, azurite_port, "https"), "azurite");
    int failed = suite_run(suite());
    servers_azurite_stop(azurite_dir);
    servers_run("rm -rf '%s'", scratch);
    return failed;
}
