/* The seal of a worker with a GPU beside that of one without: what the driver needs is left, and
 * no more. No GPU is needed: each question is asked in a process of its own, of /dev/null. */
#include "daemon/base/mem.h"
#include "inference/worker/sandbox.h"
#include "inference/worker_protocol.h"
#include "tests/suite.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_SEALED = 200, DONE = 0 };

static void *nothing(void *unused) {
    return unused;
}

static int open_file(void) {
    int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? DONE : errno;
}

static int open_socket(void) {
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? DONE : errno;
}

static int start_program(void) {
    char *arguments[] = {"true", NULL};
    execv("/bin/true", arguments);
    return errno;
}

static int start_thread(void) {
    pthread_t thread;
    int code = pthread_create(&thread, NULL, nothing, NULL);
    return code == 0 ? pthread_join(thread, NULL) : code;
}

/* What descriptor 0 answers to a driver's question: it is no such device. */
static int ask_driver(void) {
    return ioctl(0, 0xc020462au) == 0 ? DONE : errno;
}

static int ask_terminal(void) {
    return ioctl(0, TIOCSTI, "x") == 0 ? DONE : errno;
}

static atomic_int phase;

/* A thread that was there before the seal is sealed with the others. */
static void *late_socket(void *answer) {
    while (atomic_load(&phase) == 0) {
        usleep(1000);
    }
    *(int *)answer = open_socket();
    return NULL;
}

static const struct {
    const char *what;
    int (*ask)(void);
    int worker, gpu; /* the answer: an errno, or minus a signal */
} questions[] = {
    {"open a file", open_file, -SIGSYS, EACCES},
    {"open a socket", open_socket, -SIGSYS, EACCES},
    {"start a program", start_program, -SIGSYS, -SIGSYS},
    {"start a thread", start_thread, -SIGSYS, DONE},
    {"ask a GPU's driver", ask_driver, EPERM, ENOTTY},
    {"push a key into a terminal", ask_terminal, EPERM, EPERM},
};

static int seal(bool gpu) {
    uint32_t bits = 0;
    struct err err = {0};
    int code = sandbox_limits(0, &err);
    code = code != 0 ? code : gpu ? sandbox_seal_gpu(&bits, &err) : sandbox_seal(&bits, &err);
    return code == 0 && (bits & WORKER_SANDBOX_SECCOMP) != 0 ? 0 : -1;
}

/* An errno, minus a signal, or NOT_SEALED. */
static int answer_of(pid_t pid) {
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

START_TEST(what_is_left) {
    for (int gpu = 0; gpu < 2; gpu++) {
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
            dup2(null, 0);
            _exit(seal(gpu == 1) == 0 ? questions[_i].ask() : NOT_SEALED);
        }
        int answer = answer_of(pid);
        if (answer == NOT_SEALED) {
            return; /* built without libseccomp, or under a sanitizer */
        }
        int expected = gpu == 1 ? questions[_i].gpu : questions[_i].worker;
        ck_assert_msg(answer == expected, "%s (%s): %d, expected %d", questions[_i].what,
                      gpu == 1 ? "gpu" : "worker", answer, expected);
    }
}
END_TEST

START_TEST(threads_are_sealed_too) {
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        pthread_t thread;
        int answer = DONE;
        pthread_create(&thread, NULL, late_socket, &answer);
        if (seal(true) != 0) {
            _exit(NOT_SEALED);
        }
        atomic_store(&phase, 1);
        pthread_join(thread, NULL);
        _exit(answer);
    }
    int answer = answer_of(pid);
    ck_assert(answer == EACCES || answer == NOT_SEALED);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_gpu");
    TCase *tests = tcase_create("seal");
    tcase_add_loop_test(tests, what_is_left, 0, ARRAY_LENGTH(questions));
    tcase_add_test(tests, threads_are_sealed_too);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
