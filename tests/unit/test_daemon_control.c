/* daemon/control: one request a connection, errors with their codes, bytes behind the reply, rude
 * callers. */
#include "daemon/base/mem.h"
#include "daemon/control.h"
#include "tests/suite.h"
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[] = "/tmp/creel-control-XXXXXX";
static char path[64];
static struct control *control;

#define BYTES 3000000u

static int answer(void *ctx, const json_t *request, json_t **reply, struct control_bytes *bytes,
                  struct err *err) {
    (void)ctx;
    const char *want = json_string_value(json_object_get(request, "request"));
    if (!want) {
        return err_set(err, ERR_INVALID, "no request");
    }
    if (strcmp(want, "refuse") == 0) {
        return err_set(err, ERR_NOT_FOUND, "no frame \"%s\"", "x");
    }
    if (strcmp(want, "bytes") == 0) {
        bytes->data = malloc(BYTES);
        bytes->size = BYTES;
        for (size_t i = 0; i < BYTES; i++) {
            bytes->data[i] = (uint8_t)(i * 7);
        }
    }
    *reply = json_pack("{s:s,s:i}", "echo", want, "bytes", 12345); /* as a frame's document has */
    return 0;
}

static void setup(void) {
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/control.sock", dir);
    struct err err;
    ck_assert_int_eq(control_start(path, answer, NULL, &control, &err), 0);
}

static void teardown(void) {
    control_stop(control);
    ck_assert_int_ne(access(path, F_OK), 0);
    rmdir(dir);
}

static int call(const char *want, json_t **reply, struct control_bytes *bytes, struct err *err) {
    json_t *request = json_pack("{s:s}", "request", want);
    int code = control_call(path, request, reply, bytes, err);
    json_decref(request);
    return code;
}

static int dial(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

START_TEST(replies_and_errors_come_back) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    struct err err = {0};
    ck_assert_int_eq(call("hello", &reply, &bytes, &err), 0);
    ck_assert_str_eq(json_string_value(json_object_get(reply, "echo")), "hello");
    ck_assert_int_eq(json_integer_value(json_object_get(reply, "bytes")), 12345);
    ck_assert_uint_eq(bytes.size, 0);
    json_decref(reply);
    ck_assert_int_eq(call("refuse", &reply, &bytes, &err), ERR_NOT_FOUND);
    ck_assert_str_eq(err.msg, "no frame \"x\"");
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0660);
}
END_TEST

START_TEST(bytes_follow_whole) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    struct err err = {0};
    ck_assert_int_eq(call("bytes", &reply, &bytes, &err), 0);
    ck_assert_uint_eq(bytes.size, BYTES);
    for (size_t i = 0; i < BYTES; i++) {
        if (bytes.data[i] != (uint8_t)(i * 7)) {
            ck_abort_msg("byte %zu differs", i);
        }
    }
    free(bytes.data);
    json_decref(reply);
}
END_TEST

START_TEST(rude_callers_do_no_harm) {
    int gone = dial();
    close(gone);
    int garbage = dial();
    ck_assert_int_eq(write(garbage, "not json\n", 9), 9);
    char text[256] = {0};
    ck_assert_int_gt(read(garbage, text, sizeof(text) - 1), 0);
    ck_assert_ptr_nonnull(strstr(text, "\"invalid\""));
    close(garbage);
    int endless = dial();
    char block[4096];
    memset(block, ' ', sizeof(block));
    ssize_t sent = 0;
    for (ssize_t put; (put = send(endless, block, sizeof(block), MSG_NOSIGNAL)) > 0;) {
        sent += put;
    }
    ck_assert_int_lt(sent, 4 * (ssize_t)CONTROL_REQUEST_MAX + 1000000);
    close(endless);
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    struct err err = {0};
    ck_assert_int_eq(call("still here", &reply, &bytes, &err), 0);
    json_decref(reply);
}
END_TEST

START_TEST(a_second_daemon_is_refused_and_a_dead_one_replaced) {
    struct control *second = NULL;
    struct err err = {0};
    ck_assert_int_eq(control_start(path, answer, NULL, &second, &err), ERR_EXISTS);
    control_stop(control);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    ck_assert_int_eq(call("anybody", &reply, &bytes, &err), ERR_NOT_FOUND);
    ck_assert_int_eq(control_start(path, answer, NULL, &control, &err), 0);
}
END_TEST

/* The umask is the process's: other threads make files while the socket is made. */
START_TEST(the_socket_is_closed_to_others_and_leaves_the_umask) {
    mode_t before = umask(0);
    char other_path[80];
    snprintf(other_path, sizeof(other_path), "%s/other.sock", dir);
    struct control *other = NULL;
    struct err err = {0};
    struct stat info;
    ck_assert_int_eq(control_start(other_path, answer, NULL, &other, &err), 0);
    ck_assert_int_eq(stat(other_path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0660);
    control_stop(other);
    ck_assert_uint_eq(umask(before), 0);
    snprintf(other_path, sizeof(other_path), "%s/none/other.sock", dir);
    ck_assert_int_eq(control_start(other_path, answer, NULL, &other, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "control.socket"));
}
END_TEST

START_TEST(a_path_too_long_names_the_key) {
    char long_path[200];
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    struct control *other = NULL;
    struct err err = {0};
    ck_assert_int_eq(control_start(long_path, answer, NULL, &other, &err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "control.socket"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("control");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, replies_and_errors_come_back);
    tcase_add_test(tcase, bytes_follow_whole);
    tcase_add_test(tcase, rude_callers_do_no_harm);
    tcase_add_test(tcase, a_second_daemon_is_refused_and_a_dead_one_replaced);
    tcase_add_test(tcase, the_socket_is_closed_to_others_and_leaves_the_umask);
    tcase_add_test(tcase, a_path_too_long_names_the_key);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
