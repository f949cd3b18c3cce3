/* buf: a growable byte buffer with a named maximum.
 *
 * The first failure (no memory, maximum reached) sticks in `failed`; later appends do nothing, so a
 * caller may append many times and ask once. `data` is always NUL-terminated when len > 0 (the NUL
 * is not counted). Init with BUF_INIT(max); finish with buf_finish, or take the bytes with
 * buf_take. Thread: one at a time.
 */
#ifndef CREEL_BASE_BUF_H
#define CREEL_BASE_BUF_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* owned; NULL while empty */
    size_t len;
    size_t room; /* bytes allocated */
    size_t max;  /* len never exceeds this */
    bool failed;
};

#define BUF_INIT(max_bytes)                                                                        \
    { .max = (max_bytes) }

void buf_finish(struct buf *buf);
void buf_reset(struct buf *buf); /* len = 0 and failed = false; keeps the memory */
void buf_append(struct buf *buf, const void *bytes, size_t size);
void buf_puts(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *fmt, ...) ERR_PRINTF(2, 3);

/* Appends `text` with & < > " ' escaped for HTML and XML. */
void buf_puts_html(struct buf *buf, const char *text);

/* Appends `text` percent-encoded: all but A-Z a-z 0-9 - . _ ~ and, if keep_slash, '/' (RFC
 * 3986 2.3). */
void buf_puts_url(struct buf *buf, const char *text, bool keep_slash);

/* Moves the bytes out; NULL if an append failed. The caller frees with free(). */
char *buf_take(struct buf *buf, size_t *len);

#endif
