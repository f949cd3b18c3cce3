/* What lies between a device and its bucket: TLS and whose certificates it trusts, redirects, and
 * proxies. The storage is real (a Ceph gateway behind an nginx that ends TLS; Azurite over TLS);
 * the proxy is the test's own.
 */
#include "sync/listing.h"
#include "tests/contract/engine_case.h"
#include "tests/contract/proxy_server.h"
#include "tests/contract/token_server.h"
#include "tests/suite.h"

static char front_dir[300], front_ca[400], azurite_ca[400];
static int tls_port, old_port, turn_port, moved_port, elsewhere_port;
static char tls_url[64], old_url[64], turn_url[64], moved_url[64], azurite_tls[128];
static struct token_server elsewhere; /* where redirects lead; of the test that runs */
static struct proxy_server proxy;     /* of the test that runs */
static char proxy_url[96];

static void answer_nothing(struct token_server *server, size_t number,
                           const struct token_request *request, struct token_answer *out) {
    (void)server, (void)number, (void)request;
    out->status = 200;
}

static void setup_network(void) {
    static const char *const variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                            "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < ARRAY_LENGTH(variables); i++) {
        unsetenv(variables[i]);
    }
    setup();
    proxy = (struct proxy_server){.target = tls_port};
    proxy_server_start(&proxy);
    snprintf(proxy_url, sizeof proxy_url, "http://127.0.0.1:%d", proxy.port);
}

/* Straight to the gateway. */
static void read_directly(struct sync_remote_config *remote) {
    remote->url = remote->kind == SYNC_S3 ? f.s3_url : azurite_tls;
    remote->proxy = NULL;
}

static struct sync_remote_config *s3_add(const char *url) {
    struct sync_remote_config *remote = remote_add(SYNC_S3);
    remote->url = url;
    remote->bucket = "network";
    remote->ca_file = front_ca;
    read_as = read_directly;
    return remote;
}

static struct sync_remote_config *azure_add(const char *url) {
    struct sync_remote_config *remote = remote_add(SYNC_AZURE);
    remote->url = url;
    remote->account = AZURITE_ACCOUNT;
    remote->ca_file = azurite_ca;
    read_as = read_directly;
    return remote;
}

static void all_arrive(const char *remote, unsigned frames) {
    start();
    frames_put(frames);
    wait_done(remote, frames);
    check_arrived(0);
    ck_assert_uint_eq(status_of(remote).failures, 0);
}

/* Nothing arrives, nothing is lost, and each word is said. */
static void none_arrives(const char *remote, const char *const *words, size_t count) {
    start();
    frames_put(3);
    for (size_t i = 0; i < count; i++) {
        wait_error(remote, words[i]);
    }
    ck_assert_uint_eq(counts_of(remote).done, 0);
    ck_assert_uint_eq(counts_of(remote).quarantined, 0);
    ck_assert(status_of(remote).breaker_open);
}

/* ---- TLS ---- */

START_TEST(tls_with_an_own_authority) {
    s3_add(tls_url);
    all_arrive("s3", 20);
}
END_TEST

START_TEST(tls_that_nobody_vouches_for) {
    static const char *const words[] = {"is not trusted", "set ca_file"};
    s3_add(tls_url)->ca_file = NULL;
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

START_TEST(tls_of_another_authority) {
    static const char *const words[] = {"is not trusted"};
    s3_add(tls_url)->ca_file = azurite_ca;
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

START_TEST(tls_for_another_name) {
    char url[64];
    static const char *const words[] = {"is not trusted", "localhost"};
    snprintf(url, sizeof url, "https://localhost:%d", tls_port); /* not in the certificate */
    s3_add(url);
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

START_TEST(tls_that_has_ended) {
    static const char *const words[] = {"is not trusted", "expired"};
    s3_add(old_url);
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

START_TEST(an_authority_that_cannot_be_read) {
    static const char *const words[] = {"ca_file cannot be read"};
    s3_add(tls_url)->ca_file = "/nowhere/ca.pem";
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

/* https to a port that speaks plain http: later may be better, so it is not refused for good. */
START_TEST(no_tls_where_it_was_promised) {
    char url[64], text[ERR_TEXT_MAX * 2];
    struct err err = {0};
    snprintf(url, sizeof url, "https://127.0.0.1:%d", rgw_port);
    s3_add(url);
    start();
    frames_put(1);
    wait_error("s3", "TLS could not be agreed on");
    ck_assert_uint_eq(counts_of("s3").quarantined, 0);
    struct sync_remote_config sas = *azure_add("http://storage.example.org");
    sas.account_key = NULL;
    sas.sas = "sv=2020-12-06&sp=c&sig=x";
    ck_assert_int_eq(sync_remote_check(&sas, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof text), "use an https url"));
}
END_TEST

/* ---- redirects ---- */

static void elsewhere_start(void) {
    elsewhere = (struct token_server){.answer = answer_nothing, .port = elsewhere_port};
    token_server_start(&elsewhere);
}

/* A signature or a SAS is for the host that it was made for, and nobody else's business. */
START_TEST(redirects_are_not_followed) {
    static const char *const words[] = {"the server sends us elsewhere", "check url and region",
                                        "answered 307"};
    elsewhere_start();
    s3_add(turn_url);
    none_arrives("s3", words, ARRAY_LENGTH(words));
    ck_assert_uint_eq(token_server_count(&elsewhere), 0);
    token_server_stop(&elsewhere);
}
END_TEST

START_TEST(a_bucket_of_another_region_is_named) {
    static const char *const words[] = {"set region: eu-west-1", "answered 301"};
    elsewhere_start();
    s3_add(moved_url);
    none_arrives("s3", words, ARRAY_LENGTH(words));
    ck_assert_uint_eq(token_server_count(&elsewhere), 0);
    token_server_stop(&elsewhere);
}
END_TEST

START_TEST(redirects_of_azure_are_not_followed) {
    static const char *const words[] = {"the server sends us elsewhere", "answered 307"};
    struct sync_remote_config *remote = azure_add(turn_url);
    elsewhere_start();
    remote->account_key = NULL;
    remote->sas = "sv=2020-12-06&sp=c&sig=c2VjcmV0";
    none_arrives("azure", words, ARRAY_LENGTH(words));
    ck_assert_ptr_null(strstr(status_of("azure").last_error, "c2VjcmV0"));
    ck_assert_uint_eq(token_server_count(&elsewhere), 0);
    token_server_stop(&elsewhere);
}
END_TEST

/* ---- proxies ---- */

/* Nobody but the proxy knows the name. */
START_TEST(the_environment_names_a_proxy) {
    setenv("https_proxy", proxy_url, 1);
    s3_add("https://storage.test");
    all_arrive("s3", 20);
    ck_assert_uint_ge(atomic_load(&proxy.tunnels), 1);
    ck_assert_uint_le(atomic_load(&proxy.tunnels), 8); /* kept alive */
}
END_TEST

START_TEST(the_environment_s_proxy_is_not_for_this_machine) {
    setenv("https_proxy", proxy_url, 1);
    s3_add(tls_url);
    all_arrive("s3", 5);
    ck_assert_uint_eq(atomic_load(&proxy.tunnels), 0);
}
END_TEST

START_TEST(the_environment_spares_a_host) {
    static const char *const words[] = {"the host's name is not known"};
    setenv("https_proxy", proxy_url, 1);
    setenv("no_proxy", "storage.test", 1);
    s3_add("https://storage.test");
    start();
    frames_put(1);
    wait_error("s3", words[0]);
    ck_assert_uint_eq(atomic_load(&proxy.tunnels), 0);
}
END_TEST

START_TEST(a_proxy_of_the_remote_s_own) {
    setenv("no_proxy", "*", 1); /* who names one means it */
    s3_add("https://storage.test")->proxy = proxy_url;
    all_arrive("s3", 20);
    ck_assert_uint_ge(atomic_load(&proxy.tunnels), 1);
}
END_TEST

/* What a person asks of the remote goes the same way as what the daemon brings there. */
START_TEST(commands_take_the_same_proxy) {
    struct sync_remote_config *remote = s3_add("https://storage.test");
    struct asker *asker = NULL;
    struct listing *listing = NULL;
    struct listed found;
    struct err err = {0};
    unsigned count = 0;
    remote->proxy = proxy_url;
    all_arrive("s3", 7);
    stop(1000);
    unsigned tunnels = atomic_load(&proxy.tunnels);
    ck_assert_int_eq(sync__asker_open(remote, &asker, NULL), 0);
    ck_assert_int_eq(sync__listing_open(asker, TIER_ANNOTATED, "frames/", &listing, NULL), 0);
    int code = sync__listing_next(listing, &found, &err);
    while (code == 0) {
        count++;
        code = sync__listing_next(listing, &found, &err);
    }
    ck_assert_msg(code == ERR_NOT_FOUND, "%s: %s", err.msg, err.cause);
    ck_assert_uint_eq(count, 7);
    ck_assert_uint_gt(atomic_load(&proxy.tunnels), tunnels);
    sync__listing_close(listing);
    sync__asker_close(asker);
    start();
}
END_TEST

START_TEST(no_proxy_for_one_remote) {
    setenv("https_proxy", proxy_url, 1);
    s3_add("https://storage.test")->proxy = "off";
    start();
    frames_put(1);
    wait_error("s3", "the host's name is not known");
    ck_assert_uint_eq(atomic_load(&proxy.tunnels), 0);
}
END_TEST

START_TEST(a_proxy_for_plain_http) {
    proxy.target = rgw_port;
    s3_add("http://storage.test")->proxy = proxy_url;
    all_arrive("s3", 20);
    ck_assert_uint_ge(atomic_load(&proxy.passed), 1);
}
END_TEST

START_TEST(a_proxy_that_wants_a_password) {
    static const char *const words[] = {"the proxy wants a user and a password"};
    char url[128];
    struct sync_remote_config *remote = s3_add("https://storage.test");
    proxy.password = "Y2FtZXJhOnMzY3JldA=="; /* camera:s3cret */
    snprintf(url, sizeof url, "http://camera:wrong-s3cret@127.0.0.1:%d", proxy.port);
    remote->proxy = url;
    none_arrives("s3", words, ARRAY_LENGTH(words));
    ck_assert_ptr_null(strstr(status_of("s3").last_error, "s3cret"));
    ck_assert_uint_ge(atomic_load(&proxy.turned_away), 1);
    stop(1000);
    snprintf(url, sizeof url, "http://camera:s3cret@127.0.0.1:%d", proxy.port);
    start();
    wait_done("s3", 3);
    check_arrived(0);
}
END_TEST

/* libcurl repeats what it cannot take apart, with all that is in it. */
START_TEST(a_proxy_s_password_is_in_no_error) {
    static const char *const urls[] = {"http://camera:s3cret@127.0.0.1:99999",
                                       "http://camera:s3cret@[::1",
                                       "http://camera:s3cret@nobody.invalid:3128"};
    s3_add("https://storage.test")->proxy = urls[_i];
    start();
    frames_put(1);
    wait_error("s3", "the proxy's name is not known, or it is no url");
    ck_assert_ptr_null(strstr(status_of("s3").last_error, "s3cret"));
}
END_TEST

START_TEST(a_proxy_that_says_no) {
    static const char *const words[] = {"the proxy does not let us through to this host"};
    proxy.refuses = 403;
    s3_add("https://storage.test")->proxy = proxy_url;
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

START_TEST(a_proxy_that_is_not_there) {
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", servers_free_port());
    s3_add("https://storage.test")->proxy = url;
    start();
    frames_put(1);
    wait_error("s3", "no connection");
    ck_assert_uint_eq(counts_of("s3").quarantined, 0);
}
END_TEST

/* A proxy carries bytes and is trusted with nothing: TLS is checked through it all the same. */
START_TEST(a_proxy_that_listens_in) {
    static const char *const words[] = {"is not trusted"};
    proxy.target = azurite_port; /* which has another name and another authority */
    s3_add("https://storage.test")->proxy = proxy_url;
    none_arrives("s3", words, ARRAY_LENGTH(words));
}
END_TEST

START_TEST(azure_through_a_proxy) {
    proxy.target = azurite_port;
    azure_add(azurite_tls)->proxy = proxy_url; /* this machine, but the remote says so */
    all_arrive("azure", 20);
    ck_assert_uint_ge(atomic_load(&proxy.tunnels), 1);
}
END_TEST

START_TEST(what_is_no_proxy) {
    static const char *const texts[] = {"proxy.example.org:3128", "ftp://proxy", "http://",
                                        "http://user:s3cret@host name", "on"};
    struct sync_remote_config *remote = s3_add("https://storage.test");
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct err err = {0};
        char text[ERR_TEXT_MAX * 2];
        remote->proxy = texts[i];
        ck_assert_int_eq(sync_remote_check(remote, &err), ERR_CONFIG);
        err_text(&err, text, sizeof text);
        ck_assert_ptr_nonnull(strstr(text, "proxy: must be off or a url"));
        ck_assert_ptr_null(strstr(text, "s3cret"));
    }
}
END_TEST

/* ---- main ---- */

static Suite *suite(void) {
    Suite *all = suite_create("sync: the network between");
    TCase *tls = tcase_create("tls"), *turns = tcase_create("redirects");
    TCase *proxies = tcase_create("proxies");
    TCase *const cases[] = {tls, turns, proxies};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        tcase_set_timeout(cases[i], 60);
        tcase_add_checked_fixture(cases[i], setup_network, teardown);
        suite_add_tcase(all, cases[i]);
    }
    tcase_add_test(tls, tls_with_an_own_authority);
    tcase_add_test(tls, tls_that_nobody_vouches_for);
    tcase_add_test(tls, tls_of_another_authority);
    tcase_add_test(tls, tls_for_another_name);
    tcase_add_test(tls, tls_that_has_ended);
    tcase_add_test(tls, an_authority_that_cannot_be_read);
    tcase_add_test(tls, no_tls_where_it_was_promised);
    tcase_add_test(turns, redirects_are_not_followed);
    tcase_add_test(turns, a_bucket_of_another_region_is_named);
    tcase_add_test(turns, redirects_of_azure_are_not_followed);
    tcase_add_test(proxies, the_environment_names_a_proxy);
    tcase_add_test(proxies, the_environment_s_proxy_is_not_for_this_machine);
    tcase_add_test(proxies, the_environment_spares_a_host);
    tcase_add_test(proxies, a_proxy_of_the_remote_s_own);
    tcase_add_test(proxies, commands_take_the_same_proxy);
    tcase_add_test(proxies, no_proxy_for_one_remote);
    tcase_add_test(proxies, a_proxy_for_plain_http);
    tcase_add_test(proxies, a_proxy_that_wants_a_password);
    tcase_add_loop_test(proxies, a_proxy_s_password_is_in_no_error, 0, 3);
    tcase_add_test(proxies, a_proxy_that_says_no);
    tcase_add_test(proxies, a_proxy_that_is_not_there);
    tcase_add_test(proxies, a_proxy_that_listens_in);
    tcase_add_test(proxies, azure_through_a_proxy);
    tcase_add_test(proxies, what_is_no_proxy);
    return all;
}

static void names_set(void) {
    snprintf(azurite_dir, sizeof azurite_dir, "%s/azurite", scratch);
    snprintf(azurite_ca, sizeof azurite_ca, "%s/cert.pem", azurite_dir);
    snprintf(rgw_dir, sizeof rgw_dir, "%s/rgw", scratch);
    snprintf(front_dir, sizeof front_dir, "%s/front", scratch);
    snprintf(front_ca, sizeof front_ca, "%s/ca.pem", front_dir);
    int *const ports[] = {&azurite_port, &rgw_port,   &tls_port,      &old_port,
                          &turn_port,    &moved_port, &elsewhere_port};
    for (size_t i = 0; i < ARRAY_LENGTH(ports); i++) {
        *ports[i] = servers_free_port();
    }
    snprintf(azurite_tls, sizeof azurite_tls, "https://127.0.0.1:%d/%s", azurite_port,
             AZURITE_ACCOUNT);
    snprintf(tls_url, sizeof tls_url, "https://127.0.0.1:%d", tls_port);
    snprintf(old_url, sizeof old_url, "https://127.0.0.1:%d", old_port);
    snprintf(turn_url, sizeof turn_url, "http://127.0.0.1:%d", turn_port);
    snprintf(moved_url, sizeof moved_url, "http://127.0.0.1:%d", moved_port);
}

int main(void) {
    servers_scratch(scratch, sizeof scratch);
    names_set();
    setenv("RGW_DNS_NAME", "storage.test", 1);
    servers_need(servers_azurite(azurite_dir, azurite_port, "https"), "azurite");
    servers_need(servers_rgw(rgw_dir, rgw_port, servers_free_port()), "the S3 server");
    servers_need(
        servers_run("OWNER_PID=%d '%s/tests/servers/front.sh' start '%s' %d %d %d %d %d %d",
                    getpid(), CREEL_SOURCE_DIR, front_dir, rgw_port, elsewhere_port, tls_port,
                    old_port, turn_port, moved_port),
        "nginx");
    int failed = suite_run(suite());
    servers_run("'%s/tests/servers/front.sh' stop '%s'", CREEL_SOURCE_DIR, front_dir);
    servers_azurite_stop(azurite_dir);
    servers_rgw_stop(rgw_dir);
    servers_run("rm -rf '%s'", scratch);
    return failed;
}
