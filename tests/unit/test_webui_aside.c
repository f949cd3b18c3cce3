/* What takes a moment keeps nobody waiting but its own caller: links that a cloud does not answer
 * for, and passwords. */
#include "tests/unit/webui_case.h"
#include <pthread.h>
#include <stdatomic.h>

#define CALLERS 80 /* more than may wait for a link */
#define FORM    "Content-Type: application/x-www-form-urlencoded\r\n"

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool silent; /* the cloud does not answer */
static atomic_int asked;

static int mint_link(void *ctx, const struct store_row *row, int ttl_s, char out[WEBUI_LINK_MAX],
                     const char **kind, struct err *err) {
    (void)ctx;
    (void)row;
    (void)err;
    atomic_fetch_add(&asked, 1);
    pthread_mutex_lock(&lock);
    while (silent) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    *kind = "azure";
    snprintf(out, WEBUI_LINK_MAX, "https://a.example/c/k?se=%d", ttl_s);
    return 0;
}

static void say(bool nothing) {
    pthread_mutex_lock(&lock);
    silent = nothing;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static const struct webui_hooks hooks = {.mint_link = mint_link};

static void setup(void) {
    struct err err = {0};
    uint16_t none = 0;
    store = case_store_open(dir);
    struct webui_config config = {.listen = "127.0.0.1:0"};
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
    case_frame_put(store, 1, "car");
    ck_assert_int_eq(store_flush(store, &err), 0);
    atomic_store(&asked, 0);
}

static void teardown(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
}

static int ask_for_link(void) {
    static const char text[] =
        "GET /api/v1/frames/@last/link?ttl=77 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Connection: close\r\n\r\n";
    int fd = case_connect(port);
    case_send(fd, text, sizeof(text) - 1);
    return fd;
}

static int64_t gallery_us(void) {
    int64_t begin = clock_boot_us();
    for (int i = 0; i < 12; i++) { /* on each of the server's threads */
        case_status(port, "GET", "/", "", 200);
    }
    return clock_boot_us() - begin;
}

static void wait_for(int count) {
    for (int i = 0; i < 2000 && atomic_load(&asked) < count; i++) {
        usleep(1000);
    }
    ck_assert_int_ge(atomic_load(&asked), count);
}

/* Until so many have an answer. */
static void wait_answered(const int *fds, int count) {
    int answered = 0;
    for (int i = 0; i < 10000 && answered < count; i++) {
        answered = 0;
        for (int k = 0; k < CALLERS; k++) {
            char byte;
            answered += recv(fds[k], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
        }
        usleep(1000);
    }
    ck_assert_int_eq(answered, count);
}

START_TEST(a_silent_cloud) {
    int fds[CALLERS], status[600] = {0};
    say(true);
    for (int i = 0; i < CALLERS; i++) {
        fds[i] = ask_for_link();
    }
    wait_for(3);
    ck_assert_int_lt(gallery_us(), 5 * 1000000);
    wait_answered(fds, CALLERS - 64);
    ck_assert_int_eq(atomic_load(&asked), 3);
    say(false);
    for (int i = 0; i < CALLERS; i++) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert(reply.status > 0 && reply.status < 600);
        status[reply.status]++;
        if (reply.status == 200) {
            ck_assert_ptr_nonnull(strstr(reply.body, "https://a.example/c/k?se=77"));
        } else {
            ck_assert_ptr_nonnull(strstr(reply.head, "Retry-After: 1"));
        }
        case_reply_finish(&reply);
        close(fds[i]);
    }
    ck_assert_msg(status[200] == 64 && status[503] == CALLERS - 64, "%d answered, %d refused",
                  status[200], status[503]);
}
END_TEST

static void *stop_main(void *arg) {
    (void)arg;
    webui_stop(webui);
    return NULL;
}

/* Those at work end it; those in the row are told. */
START_TEST(a_stop_lets_them_go) {
    enum { WAITING = 10 };
    int fds[WAITING], status[600] = {0};
    pthread_t stopper;
    say(true);
    for (int i = 0; i < WAITING; i++) {
        fds[i] = ask_for_link();
    }
    wait_for(3);
    usleep(200000);
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_main, NULL), 0);
    usleep(200000);
    say(false);
    pthread_join(stopper, NULL);
    webui = NULL;
    for (int i = 0; i < WAITING; i++) {
        struct case_reply reply = case_receive(fds[i]);
        status[reply.status]++;
        case_reply_finish(&reply);
        close(fds[i]);
    }
    ck_assert_msg(status[200] == 3 && status[503] == WAITING - 3, "%d answered, %d told",
                  status[200], status[503]);
}
END_TEST

/* With what a real password costs. */
START_TEST(passwords_keep_nobody) {
    static const char form[] = "user=anna&password=wrong+horse";
    enum { TRIES = 3 };
    int fds[TRIES];
    char *text = NULL;
    struct err err = {0};
    ck_assert_int_eq(webui_user_add(store, "anna", WEBUI_ADMIN, "correct horse", &err), 0);
    ck_assert_int_eq(webui_access_reload(webui, &err), 0);
    int size = asprintf(&text,
                        "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" FORM
                        "Content-Length: %zu\r\n\r\n%s",
                        strlen(form), form);
    int64_t begin = clock_boot_us();
    case_status(port, "GET", "/healthz", "", 200);
    for (int i = 0; i < TRIES; i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], text, (size_t)size);
    }
    int64_t slowest = 0;
    for (int i = 0; i < 12; i++) {
        int64_t from = clock_boot_us();
        case_status(port, "GET", "/healthz", "", 200);
        slowest = clock_boot_us() - from > slowest ? clock_boot_us() - from : slowest;
    }
    for (int i = 0; i < TRIES; i++) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 403);
        case_reply_finish(&reply);
        close(fds[i]);
    }
    int64_t all = clock_boot_us() - begin;
    ck_assert_msg(slowest * 2 < all, "a page took %lld us, the passwords %lld us",
                  (long long)slowest, (long long)all);
    free(text);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui aside");
    TCase *tcase = tcase_create("aside");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_silent_cloud);
    tcase_add_test(tcase, a_stop_lets_them_go);
    tcase_add_test(tcase, passwords_keep_nobody);
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
