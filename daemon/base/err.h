/* err: what went wrong, in one caller-owned struct.
 *
 * A function that can fail returns 0 or a negative code from `enum err_code` and fills the `struct
 * err` it was given. The message is set where the fault is found, wrapped with context on the way
 * up, and written to the log once, by whoever stops it. Outputs are written only on success. Every
 * function here accepts a NULL `struct err` (the caller wants the code alone). Texts are UTF-8
 * without control characters, whatever went in: other bytes become '?'. Thread: a `struct
 * err` belongs to one thread at a time. Life cycle: none, it owns no memory.
 */
#ifndef CREEL_BASE_ERR_H
#define CREEL_BASE_ERR_H

#include <stdarg.h>

#define ERR_TEXT_MAX 384

enum err_code {
    ERR_OK = 0,
    ERR_SYS = -1,       /* a system call failed: see sys_errno */
    ERR_NOMEM = -2,     /* out of memory, or a named maximum would be exceeded by an allocation */
    ERR_INVALID = -3,   /* an argument, a file or a message is not of the form it must have */
    ERR_NOT_FOUND = -4, /* the named thing is not there */
    ERR_EXISTS = -5,    /* the thing is already there */
    ERR_CORRUPT = -6,   /* stored bytes do not match their checksum or layout */
    ERR_FULL = -7,      /* a bounded queue, quota or disk has no room */
    ERR_BUSY = -8,      /* somebody else holds it; try later */
    ERR_CLOSED = -9,    /* the object is shutting down */
    ERR_TIMEOUT = -10,  /* a deadline passed */
    ERR_DENIED = -11,   /* a permission or a credential was refused */
    ERR_NET = -12,      /* the network or the peer failed in a way a retry may mend */
    ERR_REFUSED = -13,  /* refused on purpose; needs --force or another state of things */
    ERR_CONFIG = -14,   /* the configuration is wrong */
    ERR_CRASHED = -15,  /* the worker process died on this input */
};

struct err {
    int code;                 /* enum err_code */
    int sys_errno;            /* errno of the failed system call, or 0 */
    int http_status;          /* status of the HTTP reply that caused it, or 0 */
    int retry_after_ms;       /* the peer's wish (Retry-After), or 0 */
    char msg[ERR_TEXT_MAX];   /* outermost text: what was being done, and the way out */
    char cause[ERR_TEXT_MAX]; /* inner texts, outermost first, joined by ": " */
};

#define ERR_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

/* Starts a new fault; returns `code` so that `return err_set(...)` reads as one statement. */
int err_set(struct err *err, int code, const char *fmt, ...) ERR_PRINTF(3, 4);

/* As err_set with ERR_SYS (ENOMEM, ENOENT, EEXIST, EACCES, EPERM, ENOSPC, EDQUOT get their own
 * code);
 * ": strerror" follows the text. `sys_errno` is the errno saved right after the call. */
int err_sys(struct err *err, int sys_errno, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Adds context in front of the present text; the code and the other fields stay. Returns err->code,
 * or ERR_INVALID for a NULL err: pass the code on yourself where err may be NULL. */
int err_wrap(struct err *err, const char *fmt, ...) ERR_PRINTF(2, 3);

/* Writes "msg: cause" into `out` (at most `size` bytes with the NUL) and returns `out`. */
const char *err_text(const struct err *err, char *out, unsigned long size);

/* A short stable name such as "not_found", for JSON and log tails. */
const char *err_name(int code);

#endif
