/* The Content-Security-Policy: what a browser may load beside what comes from here. */
#include "tests/unit/webui_case.h"
#include "webui/policy.h"

#define BEFORE "default-src 'none'; img-src 'self'"
#define AFTER                                                                                      \
    "; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri "     \
    "'none'; frame-ancestors 'none'"

START_TEST(pictures_from_the_remotes) {
    static const struct {
        const char *origins, *expected;
    } cases[] = {
        {NULL, BEFORE AFTER},
        {"", BEFORE AFTER},
        {"https://acct.blob.core.windows.net", BEFORE " https://acct.blob.core.windows.net" AFTER},
        {" http://127.0.0.1:10000  https://s3.example ",
         BEFORE " http://127.0.0.1:10000 https://s3.example" AFTER},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *policy = NULL;
        ck_assert_int_eq(webui__policy_make(cases[i].origins, &policy, NULL), 0);
        ck_assert_str_eq(policy, cases[i].expected);
        free(policy);
    }
}
END_TEST

START_TEST(what_is_no_origin) {
    static const char *const bad[] = {"*",
                                      "https:",
                                      "https://",
                                      "https://*.example",
                                      "data:",
                                      "'unsafe-inline'",
                                      "https://a.example;script-src",
                                      "https://a.example,https://b.example",
                                      "https://a.example/path",
                                      "ftp://a.example",
                                      "https://a.example 'unsafe-inline'"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char *policy = NULL;
        struct err err = {0};
        ck_assert_msg(webui__policy_make(bad[i], &policy, &err) == ERR_CONFIG, "%s", bad[i]);
        ck_assert_ptr_null(policy);
        ck_assert_ptr_nonnull(strstr(err.msg, "origin"));
    }
    char *policy = NULL;
    char *many = calloc(1, 8000);
    for (int i = 0; i < 200; i++) {
        strcat(many, "https://some.host.example ");
    }
    ck_assert_int_eq(webui__policy_make(many, &policy, NULL), ERR_CONFIG);
    free(many);
}
END_TEST

/* On a page, an answer and a refusal. */
START_TEST(it_goes_out_with_everything) {
    char dir[64], value[512];
    uint16_t port = 0, none = 0;
    struct err err = {0};
    struct webui *webui = NULL;
    struct webui_hooks hooks = {0};
    struct store *store = case_store_open(dir);
    struct webui_config config = {.listen = "127.0.0.1:0",
                                  .image_origins = "https://acct.blob.core.windows.net"};
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
    static const char *const targets[] = {"/", "/api/v1/frames", "/assets/app.js", "/nothing"};
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        struct case_reply reply = case_get(port, targets[i]);
        ck_assert_str_eq(case_header(&reply, "Content-Security-Policy", value),
                         BEFORE " https://acct.blob.core.windows.net" AFTER);
        ck_assert_str_eq(case_header(&reply, "X-Content-Type-Options", value), "nosniff");
        ck_assert_str_eq(case_header(&reply, "Referrer-Policy", value), "same-origin");
        ck_assert_str_eq(case_header(&reply, "X-Frame-Options", value), "DENY");
        case_reply_finish(&reply);
    }
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui policy");
    TCase *tcase = tcase_create("policy");
    tcase_add_test(tcase, pictures_from_the_remotes);
    tcase_add_test(tcase, what_is_no_origin);
    tcase_add_test(tcase, it_goes_out_with_everything);
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
