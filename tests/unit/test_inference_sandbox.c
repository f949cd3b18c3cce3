/* What a sealed process can still do, and what it dies of: each question is asked by a child of its
 * own. Under a sanitizer, and without libseccomp, there is no filter to ask. */
#include "daemon/base/mem.h"
#include "inference/worker/sandbox.h"
#include "inference/worker_protocol.h"
#include "tests/suite.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum profile { WORKER, FILM, NETWORK };
enum { DIES = 1000, NO_FILTER = 200, FINE = 0 };

static int code_of(long result) {
    return result < 0 ? errno : FINE;
}

static int read_hosts(void) {
    return code_of(open("/etc/hosts", O_RDONLY));
}

static int read_passwd(void) {
    return code_of(open("/etc/passwd", O_RDONLY));
}

static int read_itself(void) {
    return code_of(open("/proc/self/environ", O_RDONLY));
}

static int write_file(void) {
    return code_of(open("/tmp/creel-sandbox", O_WRONLY | O_CREAT, 0600));
}

static int truncate_file(void) {
    return code_of(open("/etc/hosts", O_RDONLY | O_TRUNC));
}

static int socket_internet(void) {
    return code_of(socket(AF_INET6, SOCK_STREAM, 0));
}

static int socket_local(void) {
    return code_of(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int socket_packets(void) {
    return code_of(socket(AF_PACKET, SOCK_RAW, 0));
}

static int map_code(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : FINE;
}

static int make_process(void) {
    return code_of(fork());
}

static int run_program(void) {
    char *none[] = {NULL};
    return code_of(execve("/bin/true", none, none));
}

static int kill_other(void) {
    return code_of(kill(1, 0));
}

static int trace_other(void) {
    return code_of(ptrace(PTRACE_ATTACH, 1, NULL, NULL));
}

static int push_terminal(void) {
    return code_of(ioctl(0, TIOCSTI, "x"));
}

static void *thread_main(void *arg) {
    return arg;
}

static int make_thread(void) {
    pthread_t thread;
    int code = pthread_create(&thread, NULL, thread_main, NULL);
    return code != 0 ? code : pthread_join(thread, NULL);
}

struct question {
    const char *name;
    int (*ask)(void);
    int worker, film, network; /* errno, FINE, or DIES */
};

static const struct question questions[] = {
    {"read /etc/hosts", read_hosts, DIES, DIES, FINE},
    {"read /etc/passwd", read_passwd, DIES, DIES, EACCES},
    {"read its environment", read_itself, DIES, DIES, EACCES},
    {"write a file", write_file, DIES, DIES, EPERM},
    {"truncate a file", truncate_file, DIES, DIES, EPERM},
    {"an internet socket", socket_internet, DIES, DIES, FINE},
    {"a local socket", socket_local, DIES, DIES, EPERM},
    {"a packet socket", socket_packets, DIES, DIES, EPERM},
    {"map memory to execute", map_code, EPERM, EPERM, EPERM},
    {"another process", make_process, DIES, DIES, EPERM},
    {"another program", run_program, DIES, DIES, DIES},
    {"kill", kill_other, DIES, DIES, DIES},
    {"ptrace", trace_other, DIES, DIES, DIES},
    {"push into a terminal", push_terminal, EPERM, EPERM, EPERM},
    {"a thread", make_thread, DIES, DIES, FINE},
};

static int seal(enum profile profile, uint32_t *bits) {
    int code = sandbox_limits(0, NULL);
    if (code != 0) {
        return code;
    }
    return profile == WORKER ? sandbox_seal(bits, NULL)
                             : sandbox_seal_capture(profile == NETWORK, bits, NULL);
}

static _Noreturn void child_main(const struct question *question, enum profile profile) {
    uint32_t bits = 0;
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || seal(profile, &bits) != 0) {
        _exit(NO_FILTER + 1);
    }
    if ((bits & WORKER_SANDBOX_SECCOMP) == 0) {
        _exit(NO_FILTER);
    }
    int code = question->ask();
    /* Without Landlock a capture process may read what its user may. */
    bool unconfined = profile == NETWORK && (bits & WORKER_SANDBOX_FILES) == 0;
    _exit(unconfined && question->network == EACCES ? EACCES : code);
}

/* errno, FINE, DIES or NO_FILTER. */
static int answer(const struct question *question, enum profile profile) {
    int status = 0;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        child_main(question, profile);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        ck_assert_int_eq(WTERMSIG(status), SIGSYS);
        return DIES;
    }
    return WEXITSTATUS(status);
}

START_TEST(what_is_not_needed_is_refused) {
    const struct question *question = &questions[_i];
    const int expected[] = {question->worker, question->film, question->network};
    static const char *const names[] = {"worker", "film", "network"};
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        int got = answer(question, (enum profile)i);
        ck_assert_msg(got == expected[i] || got == NO_FILTER, "%s, %s: %d, expected %d",
                      question->name, names[i], got, expected[i]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference sandbox");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, what_is_not_needed_is_refused, 0, ARRAY_LENGTH(questions));
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
