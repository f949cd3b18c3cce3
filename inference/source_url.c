/* See source_url.h. */
#include "inference/source_url.h"
#include "inference/source.h"
#include <stdio.h>
#include <string.h>

#define MASK "***"

enum { PREFIX_MIN = 3 }; /* bytes of a cut password that are worth hiding */

/* The '@' that ends user and password: the last one of the authority, because a password may itself
 * have one that nobody escaped. NULL: there is none. */
static const char *at_of(const char *authority) {
    const char *at = NULL;
    for (const char *c = authority; *c != '\0' && strchr("/?# \"", *c) == NULL; c++) {
        at = *c == '@' ? c : at;
    }
    return at;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes; false: too long, or a NUL within. */
static bool decode(const char *text, size_t length, char *out, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < length && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            c = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        }
        if (c == '\0' || used + 1 >= size) {
            return false;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

static bool copy(char *out, size_t size, const char *text) {
    return snprintf(out, size, "%s", text) < (int)size;
}

static bool userinfo_take(const char *from, const char *at, struct source__url *out) {
    const char *colon = memchr(from, ':', (size_t)(at - from));
    const char *user_end = colon != NULL ? colon : at;
    const char *password = colon != NULL ? colon + 1 : at;
    return decode(from, (size_t)(user_end - from), out->user, sizeof(out->user)) &&
           decode(password, (size_t)(at - password), out->password, sizeof(out->password)) &&
           snprintf(out->written, sizeof(out->written), "%.*s", (int)(at - password), password) <
               (int)sizeof(out->written);
}

int source__url_parse(const char *text, const char *user, const char *password,
                      struct source__url *out, struct err *err) {
    *out = (struct source__url){0};
    const char *scheme = strstr(text, "://");
    const char *host = scheme != NULL ? scheme + 3 : text;
    const char *at = scheme != NULL ? at_of(host) : NULL;
    bool fits = at == NULL || userinfo_take(host, at, out);
    const char *rest = at != NULL ? at + 1 : host;
    fits = fits && snprintf(out->plain, sizeof(out->plain), "%.*s%s", (int)(host - text), text,
                            rest) < (int)sizeof(out->plain);
    const char *query = strchr(rest, '?');
    fits = fits && (query == NULL || copy(out->query, sizeof(out->query), query + 1));
    if (user != NULL && user[0] != '\0') {
        fits = fits && copy(out->user, sizeof(out->user), user);
    }
    if (password != NULL && password[0] != '\0') {
        fits = fits && copy(out->password, sizeof(out->password), password);
        out->written[0] = '\0';
    }
    if (!fits) {
        return err_set(err, ERR_CONFIG,
                       "the address, its user or its password is too long (%d, %d and %d bytes), "
                       "or has %%00",
                       CAPTURE_URL_SIZE - 1, CAPTURE_USER_SIZE - 1, CAPTURE_SECRET_SIZE - 1);
    }
    if (scheme != NULL && (rest[0] == '\0' || strchr("/?#", rest[0]) != NULL)) {
        return err_set(err, ERR_CONFIG, "the address has no host");
    }
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            return err_set(err, ERR_CONFIG, "the address has a blank or a control character");
        }
    }
    return 0;
}

/* Puts MASK in the place of `length` bytes at `at`; what finds no room any more is cut off. */
static char *mask(char *line, size_t size, char *at, size_t length) {
    size_t head = (size_t)(at - line);
    size_t tail = strlen(at + length);
    size_t room = size - 1 - head;
    size_t width = strlen(MASK) < room ? strlen(MASK) : room;
    tail = tail < room - width ? tail : room - width;
    memmove(at + width, at + length, tail);
    memcpy(at, MASK, width);
    at[width + tail] = '\0';
    return at + width;
}

static void mask_word(char *line, size_t size, const char *word) {
    size_t length = strlen(word);
    if (length == 0) {
        return;
    }
    for (char *at = strstr(line, word); at != NULL; at = strstr(at, word)) {
        at = mask(line, size, at, length);
    }
    size_t end = strlen(line);
    for (size_t part = length - 1; part >= PREFIX_MIN && part < length; part--) {
        if (end >= part && memcmp(line + end - part, word, part) == 0) {
            mask(line, size, line + end - part, part);
            return;
        }
    }
}

static void mask_addresses(char *line, size_t size) {
    for (char *at = strstr(line, "://"); at != NULL; at = strstr(at, "://")) {
        at += 3;
        const char *end = at_of(at);
        if (end != NULL && end > at) {
            at = mask(line, size, at, (size_t)(end - at));
        }
    }
}

void source__url_scrub(const struct source__url *url, char *line, size_t size) {
    mask_word(line, size, url->query);
    mask_word(line, size, url->password);
    mask_word(line, size, url->written);
    mask_addresses(line, size);
}

const char *source_redact(const char *uri, char *out, size_t size) {
    snprintf(out, size, "%s", uri);
    mask_addresses(out, size);
    char *query = strstr(out, "://") != NULL ? strchr(out, '?') : NULL;
    if (query != NULL && query[1] != '\0') {
        mask(out, size, query + 1, strlen(query + 1));
    }
    return out;
}
