/* What machines ask: alive and ready are what the daemon says they are, and the metrics come once.
 */
#include "tests/unit/webui_case.h"
#include <stdatomic.h>

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static atomic_int stuck, blind; /* the daemon's loop; its workers */

static int health(void *ctx, bool ready, struct err *err) {
    (void)ctx;
    if (atomic_load(&stuck)) {
        return err_set(err, ERR_TIMEOUT, "the loop has not gone round");
    }
    return ready && atomic_load(&blind) ? err_set(err, ERR_CRASHED, "no worker runs") : 0;
}

/* A family that the server tells too. */
static char *metrics(void *ctx) {
    (void)ctx;
    return strdup("# HELP creel_http_active Mine\n# TYPE creel_http_active gauge\n"
                  "creel_http_active 7"); /* and no end of the line */
}

static void setup(void) {
    static const struct webui_hooks hooks = {.health = health, .metrics = metrics};
    struct webui_config config = {.listen = "127.0.0.1:0"};
    struct err err = {0};
    uint16_t ingest;
    store = case_store_open(dir);
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &ingest);
    atomic_store(&stuck, 0);
    atomic_store(&blind, 0);
}

static void teardown(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static void expect(const char *path, int status, const char *text) {
    struct case_reply reply = case_get(port, path);
    ck_assert_msg(reply.status == status, "%s: %d", path, reply.status);
    ck_assert_ptr_nonnull(strstr(reply.body, text));
    case_reply_finish(&reply);
}

START_TEST(well) {
    expect("/healthz", 200, "ok\n");
    expect("/readyz", 200, "ready\n");
}
END_TEST

/* To be begun again would not help: it is alive. */
START_TEST(without_a_worker) {
    atomic_store(&blind, 1);
    expect("/healthz", 200, "ok\n");
    expect("/readyz", 503, "no worker runs");
}
END_TEST

START_TEST(loop_stuck) {
    atomic_store(&stuck, 1);
    expect("/healthz", 503, "the loop has not gone round");
    expect("/readyz", 503, "the loop has not gone round");
    atomic_store(&stuck, 0);
    expect("/healthz", 200, "ok\n");
}
END_TEST

START_TEST(a_family_comes_once) {
    struct case_reply reply = case_get(port, "/metrics");
    const char *mark = "# TYPE creel_http_active gauge\n";
    char *first = strstr(reply.body, mark);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(first + 1, mark));
    ck_assert_ptr_nonnull(strstr(reply.body, "creel_http_active 7\n"));
    ck_assert_ptr_null(strstr(reply.body, "creel_http_active{"));
    case_reply_finish(&reply);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui probe");
    TCase *cases = tcase_create("probe");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, well);
    tcase_add_test(cases, without_a_worker);
    tcase_add_test(cases, loop_stuck);
    tcase_add_test(cases, a_family_comes_once);
    suite_add_tcase(suite, cases);
    return case_run(suite);
}
