#include "daemon/base/err.h"
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 character at `text` (RFC 3629, section 4), 0 when there is none. */
static size_t utf8_length(const unsigned char *text) {
    static const struct {
        unsigned char first, last; /* of the first byte */
        unsigned char low, high;   /* of the second */
        size_t length;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (text[0] < 0x80) {
        return 1;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last) {
            continue;
        }
        bool good = text[1] >= forms[i].low && text[1] <= forms[i].high;
        for (size_t k = 2; good && k < forms[i].length; k++) {
            good = text[k] >= 0x80 && text[k] <= 0xbf;
        }
        return good ? forms[i].length : 0;
    }
    return 0;
}

/* File names and peers put any bytes into a text, and a full buffer cuts a character in two; but it
 * ends up in JSON and on terminals. */
static void clean(char *text) {
    while (*text) {
        size_t length = utf8_length((const unsigned char *)text);
        bool control = ((unsigned char)*text < 0x20 && *text != '\n') || *text == 0x7f;
        if (length == 0 || control) {
            *text = '?';
            length = 1;
        }
        text += length;
    }
}

static void set_text(struct err *err, int code, const char *fmt, va_list args) {
    *err = (struct err){.code = code};
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    clean(err->msg);
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
    clean(err->cause);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    clean(err->msg);
    return err->code;
}

const char *err_text(const struct err *err, char *out, unsigned long size) {
    snprintf(out, size, "%s%s%s", err->msg, err->cause[0] ? ": " : "", err->cause);
    clean(out);
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
