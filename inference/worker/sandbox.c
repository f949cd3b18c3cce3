/* Rights are given up in two steps, because Darknet must read files once.
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
#include <sys/prctl.h>
#include <sys/resource.h>
#if defined(HAVE_SECCOMP)
#include <seccomp.h>
#endif

#if defined(CREEL_SANITIZE) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#else
#define UNDER_SANITIZER 0
#endif

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

int sandbox_limits(uint64_t memory_bytes, struct err *err) {
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

static const int deadly[] = {
    SCMP_SYS(socket),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(creat),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
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

static int filter_set(struct err *err) {
    CLEANUP(filter_release_at) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the system call filter");
    }
    int code = add_rules(filter, SCMP_ACT_ALLOW, allowed, ARRAY_LENGTH(allowed));
    if (code == 0) {
        code = add_rules(filter, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_LENGTH(deadly));
    }
    /* memory may be mapped, but never to be executed */
    const uint32_t exec = 4; /* PROT_EXEC */
    if (code == 0) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
    }
    if (code == 0) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
    }
    if (code == 0) {
        code = seccomp_load(filter);
    }
    return code == 0 ? 0 : err_sys(err, -code, "setting the system call filter");
}

#endif

int sandbox_seal(uint32_t *bits, struct err *err) {
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no tracing by the user's other processes; nice to have */
    int code = limit(RLIMIT_NOFILE, 0, "nofile", err);
    if (code != 0) {
        return code;
    }
    *bits |= WORKER_SANDBOX_LIMITS;
#if defined(HAVE_SECCOMP) && !UNDER_SANITIZER
    code = filter_set(err);
    if (code == 0) {
        *bits |= WORKER_SANDBOX_SECCOMP;
    }
#endif
    return code;
}
