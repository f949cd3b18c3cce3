/* Rights are given up in two steps, because Darknet must read files once.
 *
 * Three profiles: the worker's (arithmetic on what it has already), that of a worker with a GPU
 * (which also speaks with the driver behind the descriptors that it has), and the capture
 * program's, which may add to the first a network and the few files that names and certificates are
 * looked up in. What none adds is refused alike. A filter holds for every thread, also those that a
 * library has started by then.
 *
 * The filter allows by name and refuses the rest with EPERM, so that a C library that tries
 * something new and harmless gets an error it can handle; what only an intruder would want
 * (sockets, files, programs, other processes) kills instead, and the parent sees the signal. Under
 * a sanitizer the address space is not bounded and no filter is set: their shadow memory and
 * reports need both. */
#include "inference/worker/sandbox.h"
#include "daemon/base/mem.h"
#include "inference/worker_protocol.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(HAVE_SECCOMP)
#include <seccomp.h>
#endif

#if defined(CREEL_SANITIZE) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#else
#define UNDER_SANITIZER 0
#endif

enum sandbox_rights { SANDBOX_CAPTURE = 1, SANDBOX_NETWORK = 2, SANDBOX_GPU = 4 };

enum { NETWORK_FDS = 64 };

static int limit(__rlimit_resource_t what, uint64_t value, const char *name, struct err *err) {
    struct rlimit limits;
    if (getrlimit(what, &limits) != 0) {
        return err_sys(err, errno, "reading the limit %s", name);
    }
    if (limits.rlim_max == RLIM_INFINITY || limits.rlim_max > value) {
        limits.rlim_max = value;
    }
    limits.rlim_cur = limits.rlim_max;
    return setrlimit(what, &limits) == 0 ? 0 : err_sys(err, errno, "setting the limit %s", name);
}

/* When the machine runs out of memory, the kernel shall end the worker, which can be had again,
 * and not the daemon. Nice to have: where /proc is not, the kernel chooses. */
static void offer_to_the_killer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t put = write(fd, "1000", 4);
        (void)put;
        close(fd);
    }
}

int sandbox_limits(uint64_t memory_bytes, struct err *err) {
    offer_to_the_killer();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return err_sys(err, errno, "giving up new privileges");
    }
    int code = limit(RLIMIT_CORE, 0, "core", err);
    if (code == 0) {
        code = limit(RLIMIT_FSIZE, 0, "fsize", err);
    }
    if (code == 0 && memory_bytes != 0 && !UNDER_SANITIZER) {
        code = limit(RLIMIT_AS, memory_bytes, "as", err);
    }
    return code;
}

#if defined(HAVE_SECCOMP) && !UNDER_SANITIZER

static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(setitimer),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getrandom),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

static const int deadly_without_network[] = {
    SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind),   SCMP_SYS(open),
    SCMP_SYS(openat), SCMP_SYS(clone),   SCMP_SYS(clone3),
};

static const int deadly[] = {
    SCMP_SYS(openat2),
    SCMP_SYS(creat),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(kill),
    SCMP_SYS(bpf),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(mount),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(keyctl),
};

static void filter_release_at(scmp_filter_ctx *filter) {
    seccomp_release(*filter);
}

/* A call that this architecture lacks is no error: then nobody can make it. */
static int add_rules(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int code = calls[i] < 0 ? 0 : seccomp_rule_add(filter, action, calls[i], 0);
        if (code < 0) {
            return code;
        }
    }
    return 0;
}

/* memory may be mapped, but never to be executed */
static int add_memory_rules(scmp_filter_ctx filter) {
    const uint32_t exec = 4; /* PROT_EXEC */
    int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
    return code != 0 ? code
                     : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                        SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
}

/* ---- what a capture program may do besides ---- */

/* Asked of what is open: a socket, or a V4L2 device (all of whose requests are of type 'V'). */
static const int allowed_capture[] = {
    SCMP_SYS(fcntl),      SCMP_SYS(newfstatat),  SCMP_SYS(stat),        SCMP_SYS(lstat),
    SCMP_SYS(statx),      SCMP_SYS(pread64),     SCMP_SYS(readv),       SCMP_SYS(select),
    SCMP_SYS(pselect6),   SCMP_SYS(uname),       SCMP_SYS(sysinfo),     SCMP_SYS(getrusage),
    SCMP_SYS(prlimit64),  SCMP_SYS(getrlimit),   SCMP_SYS(getcpu),      SCMP_SYS(time),
    SCMP_SYS(getsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
};

static const int allowed_network[] = {
    SCMP_SYS(connect),       SCMP_SYS(bind),       SCMP_SYS(listen),          SCMP_SYS(accept),
    SCMP_SYS(accept4),       SCMP_SYS(shutdown),   SCMP_SYS(setsockopt),      SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmmsg),      SCMP_SYS(eventfd2),   SCMP_SYS(pipe2),           SCMP_SYS(socketpair),
    SCMP_SYS(access),        SCMP_SYS(faccessat),  SCMP_SYS(faccessat2),      SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),    SCMP_SYS(getdents64), SCMP_SYS(getuid),          SCMP_SYS(geteuid),
    SCMP_SYS(getgid),        SCMP_SYS(getegid),    SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),  SCMP_SYS(epoll_wait),      SCMP_SYS(epoll_pwait),
};

static int add_ioctls(scmp_filter_ctx filter) {
    static const uint32_t requests[] = {0x5421 /* FIONBIO */, 0x541B /* FIONREAD */};
    int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, (uint32_t)'V' << 8));
    for (size_t i = 0; i < ARRAY_LENGTH(requests) && code == 0; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_EQ, requests[i]));
    }
    return code;
}

/* Sockets of the internet, and the one that tells the machine's own addresses; not those of local
 * programs, the daemon's among them. Files to read, as far as files_confine lets them be seen. A
 * thread (curl looks names up in one) is no process; clone3 hides its flags and is said to be
 * unknown, upon which the C library uses clone. */
static int add_network(scmp_filter_ctx filter) {
    static const uint32_t domains[] = {AF_INET, AF_INET6, AF_NETLINK};
    static const uint32_t written = O_ACCMODE | O_CREAT | O_TRUNC;
    int code = add_rules(filter, SCMP_ACT_ALLOW, allowed_network, ARRAY_LENGTH(allowed_network));
    for (size_t i = 0; i < ARRAY_LENGTH(domains) && code == 0; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                SCMP_A0(SCMP_CMP_EQ, domains[i]));
    }
    if (code == 0) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, written, 0));
    }
    if (code == 0) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    }
    return code != 0 ? code : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* ---- what a worker with a GPU may do besides ---- */

static const int allowed_gpu[] = {
    SCMP_SYS(fcntl),   SCMP_SYS(pread64),   SCMP_SYS(pwrite64), SCMP_SYS(newfstatat),
    SCMP_SYS(sysinfo), SCMP_SYS(getrusage), SCMP_SYS(getcpu),   SCMP_SYS(mlock),
    SCMP_SYS(munlock), SCMP_SYS(mincore),   SCMP_SYS(mbind),    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
};

/* NVIDIA's driver numbers its requests with the letter F, its shared memory's from 0 up without
 * one. Threads as for a network. What the driver looks for later (files, devices) is denied, and
 * does not kill: it lives without. */
static int add_gpu(scmp_filter_ctx filter) {
    static const uint32_t kinds[] = {'F', 0};
    static const int denied[] = {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(socket),
                                 SCMP_SYS(connect)};
    int code = add_rules(filter, SCMP_ACT_ALLOW, allowed_gpu, ARRAY_LENGTH(allowed_gpu));
    for (size_t i = 0; i < ARRAY_LENGTH(kinds) && code == 0; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, kinds[i] << 8));
    }
    if (code == 0) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    }
    code = code != 0 ? code : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return code != 0 ? code
                     : add_rules(filter, SCMP_ACT_ERRNO(EACCES), denied, ARRAY_LENGTH(denied));
}

static int add_profile(scmp_filter_ctx filter, unsigned rights) {
    int code = 0;
    if ((rights & SANDBOX_GPU) != 0) {
        return add_gpu(filter);
    }
    if ((rights & SANDBOX_CAPTURE) != 0) {
        code = add_rules(filter, SCMP_ACT_ALLOW, allowed_capture, ARRAY_LENGTH(allowed_capture));
        code = code != 0 ? code : add_ioctls(filter);
    }
    if (code == 0 && (rights & SANDBOX_NETWORK) != 0) {
        return add_network(filter);
    }
    return code != 0 ? code
                     : add_rules(filter, SCMP_ACT_KILL_PROCESS, deadly_without_network,
                                 ARRAY_LENGTH(deadly_without_network));
}

static int filter_set(unsigned rights, struct err *err) {
    CLEANUP(filter_release_at) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the system call filter");
    }
    int code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (code == 0) {
        code = add_rules(filter, SCMP_ACT_ALLOW, allowed, ARRAY_LENGTH(allowed));
    }
    if (code == 0) {
        code = add_rules(filter, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_LENGTH(deadly));
    }
    code = code != 0 ? code : add_memory_rules(filter);
    code = code != 0 ? code : add_profile(filter, rights);
    if (code == 0) {
        code = seccomp_load(filter);
    }
    return code == 0 ? 0 : err_sys(err, -code, "setting the system call filter");
}

#endif

/* ---- files: Landlock, where the kernel has it ---- */

/* What the looking up of names and the checking of certificates read. */
static const char *const readable[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/gnutls",
    "/etc/localtime",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/local/share/ca-certificates",
    "/dev/urandom",
    "/proc/sys/crypto",
};

static void file_allow(int ruleset, const char *path) {
    CLEANUP(fd_close_at) int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        return; /* what is not there need not be read */
    }
    struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
                                              .parent_fd = fd};
    if (S_ISDIR(st.st_mode)) {
        rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR;
    }
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/* The rights of Landlock's first version, which Linux has since 5.13. False: this kernel has none,
 * or it is switched off; then the user's own rights are all that bounds what may be read. */
static bool files_confine(void) {
    struct landlock_ruleset_attr handled = {.handled_access_fs =
                                                (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    CLEANUP(fd_close_at)
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
    if (ruleset < 0) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(readable); i++) {
        file_allow(ruleset, readable[i]);
    }
    return syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

static int seal(unsigned rights, uint32_t *bits, struct err *err) {
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no tracing by the user's other processes; nice to have */
    if ((rights & SANDBOX_NETWORK) != 0 && !UNDER_SANITIZER && files_confine()) {
        *bits |= WORKER_SANDBOX_FILES;
    }
    uint64_t descriptors = (rights & SANDBOX_NETWORK) != 0 ? NETWORK_FDS : 0;
    int code = limit(RLIMIT_NOFILE, descriptors, "nofile", err);
    if (code != 0) {
        return code;
    }
    *bits |= WORKER_SANDBOX_LIMITS;
#if defined(HAVE_SECCOMP) && !UNDER_SANITIZER
    code = filter_set(rights, err);
    if (code == 0) {
        *bits |= WORKER_SANDBOX_SECCOMP;
    }
#endif
    return code;
}

int sandbox_seal(uint32_t *bits, struct err *err) {
    return seal(0, bits, err);
}

int sandbox_seal_gpu(uint32_t *bits, struct err *err) {
    return seal(SANDBOX_GPU, bits, err);
}

int sandbox_seal_capture(bool network, uint32_t *bits, struct err *err) {
    return seal(SANDBOX_CAPTURE | (network ? SANDBOX_NETWORK : 0u), bits, err);
}
