/* source_url: a camera's address, apart from what nobody else may see of it.
 *
 * Pure. Private to this folder, but for source_redact (source.h), which is implemented here.
 */
#ifndef CREEL_INFERENCE_SOURCE_URL_H
#define CREEL_INFERENCE_SOURCE_URL_H

#include "daemon/base/err.h"
#include "inference/capture_protocol.h"
#include <stddef.h>

struct source__url {
    char plain[CAPTURE_URL_SIZE];       /* without user and password */
    char user[CAPTURE_USER_SIZE];       /* decoded */
    char password[CAPTURE_SECRET_SIZE]; /* decoded */
    char written[CAPTURE_SECRET_SIZE];  /* the password as the address had it */
    char query[CAPTURE_URL_SIZE];       /* what follows '?', which may hold a password too */
};

/* Takes "scheme://user:password@host:port/path?query" apart. `user` and `password` (NULL or empty:
 * those of the address) come from the configuration. ERR_CONFIG says what is wrong, and shows
 * nothing of the address. */
int source__url_parse(const char *text, const char *user, const char *password,
                      struct source__url *out, struct err *err);

/* In place, at most `size` bytes with the NUL: the password, the query and whatever stands before
 * an
 * '@' in an address become "***"; so does the beginning of the password at the end of the line,
 * which may have been cut there. */
void source__url_scrub(const struct source__url *url, char *line, size_t size);

#endif
