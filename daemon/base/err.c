#include "daemon/base/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void set_text(struct err *err, int code, const char *fmt, va_list args) {
    *err = (struct err){.code = code};
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
}

int err_set(struct err *err, int code, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        set_text(err, code, fmt, args);
        va_end(args);
    }
    return code;
}

static int code_of_errno(int sys_errno) {
    static const struct {
        int sys_errno, code;
    } codes[] = {
        {ENOMEM, ERR_NOMEM},  {ENOENT, ERR_NOT_FOUND}, {EEXIST, ERR_EXISTS},
        {EACCES, ERR_DENIED}, {EPERM, ERR_DENIED},     {EROFS, ERR_DENIED},
        {ENOSPC, ERR_FULL},   {EDQUOT, ERR_FULL},      {ETIMEDOUT, ERR_TIMEOUT},
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].sys_errno == sys_errno) {
            return codes[i].code;
        }
    }
    return ERR_SYS;
}

int err_sys(struct err *err, int sys_errno, const char *fmt, ...) {
    int code = code_of_errno(sys_errno);
    if (err) {
        va_list args;
        va_start(args, fmt);
        set_text(err, code, fmt, args);
        va_end(args);
        err->sys_errno = sys_errno;
        snprintf(err->cause, sizeof(err->cause), "%s", strerror(sys_errno));
    }
    return code;
}

int err_wrap(struct err *err, const char *fmt, ...) {
    if (!err) {
        return ERR_INVALID;
    }
    char inner[2 * ERR_TEXT_MAX];
    err_text(err, inner, sizeof(inner));
    snprintf(err->cause, sizeof(err->cause), "%s", inner);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    return err->code;
}

const char *err_text(const struct err *err, char *out, unsigned long size) {
    snprintf(out, size, "%s%s%s", err->msg, err->cause[0] ? ": " : "", err->cause);
    return out;
}

const char *err_name(int code) {
    static const char *const names[] = {
        "ok",   "system", "no_memory", "invalid", "not_found", "exists",  "corrupt", "full",
        "busy", "closed", "timeout",   "denied",  "network",   "refused", "config",  "crashed",
    };
    size_t index = code <= 0 ? (size_t)-code : sizeof(names);
    return index < sizeof(names) / sizeof(names[0]) ? names[index] : "unknown";
}
