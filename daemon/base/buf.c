#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 256

void buf_finish(struct buf *buf) {
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_reset(struct buf *buf) {
    buf->len = 0;
    buf->failed = false;
}

/* Room for `more` bytes and a NUL. */
static bool reserve(struct buf *buf, size_t more) {
    if (buf->failed || more > buf->max || buf->len > buf->max - more) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + more + 1;
    if (need <= buf->room) {
        return true;
    }
    size_t room = buf->room ? buf->room : ROOM_MIN;
    while (room < need) {
        room = room > SIZE_MAX / 2 ? need : room * 2;
    }
    char *data = mem_resize(buf->data, room, 1);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->room = room;
    return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t size) {
    if (!reserve(buf, size)) {
        return;
    }
    if (size) {
        memcpy(buf->data + buf->len, bytes, size);
    }
    buf->len += size;
    buf->data[buf->len] = '\0';
}

void buf_puts(struct buf *buf, const char *text) {
    buf_append(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (size < 0) {
        buf->failed = true;
    } else if (reserve(buf, (size_t)size)) {
        vsnprintf(buf->data + buf->len, (size_t)size + 1, fmt, again);
        buf->len += (size_t)size;
    }
    va_end(again);
}

void buf_puts_html(struct buf *buf, const char *text) {
    static const char *const escapes[256] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;"};
    for (const char *p = text; *p; p++) {
        const char *escape = escapes[(unsigned char)*p];
        if (escape) {
            buf_puts(buf, escape);
        } else {
            buf_append(buf, p, 1);
        }
    }
}

static bool url_plain(unsigned char c, bool keep_slash) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           strchr("-._~", c) || (keep_slash && c == '/');
}

void buf_puts_url(struct buf *buf, const char *text, bool keep_slash) {
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (url_plain(c, keep_slash)) {
            buf_append(buf, p, 1);
        } else {
            buf_printf(buf, "%%%02X", c);
        }
    }
}

char *buf_take(struct buf *buf, size_t *len) {
    if (buf->failed || !reserve(buf, 0)) {
        return NULL;
    }
    buf->data[buf->len] = '\0';
    if (len) {
        *len = buf->len;
    }
    char *data = buf->data;
    *buf = (struct buf){.max = buf->max};
    return data;
}
