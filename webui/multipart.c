/* A form is walked once, from delimiter to delimiter; each is "--boundary" at the start of a line.
 * Parts' headers are bounded, names are compared as they are sent (a browser escapes quotes in
 * them, and the name that is looked for has none). Rejected: libmicrohttpd's post processor, which
 * copies a part in pieces as they arrive; the body is here already, under its own limit. */
#include "webui/multipart.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PART_HEAD_MAX 4096 /* bytes of one part's headers */

/* The next ';' that is not inside quotes, or `end`. */
static const char *semicolon(const char *at, const char *end) {
    bool quoted = false;
    for (; at < end && (quoted || *at != ';'); at++) {
        if (quoted && *at == '\\' && end - at > 1) {
            at++;
        } else if (*at == '"') {
            quoted = !quoted;
        }
    }
    return at;
}

/* The value of `key`= in "type; key=value; key="value"", as it is written between the quotes. */
static bool parameter(const char *text, size_t size, const char *key, const char **value,
                      size_t *value_size) {
    const char *end = text + size;
    size_t key_size = strlen(key);
    for (const char *at = semicolon(text, end); at < end; at = semicolon(at, end)) {
        for (at++; at < end && (*at == ' ' || *at == '\t'); at++) {
        }
        if ((size_t)(end - at) <= key_size || strncasecmp(at, key, key_size) != 0 ||
            at[key_size] != '=') {
            continue;
        }
        at += key_size + 1;
        const char *stop = semicolon(at, end);
        while (stop > at && (stop[-1] == ' ' || stop[-1] == '\t')) {
            stop--;
        }
        bool quoted = stop - at >= 2 && *at == '"' && stop[-1] == '"';
        *value = at + quoted;
        *value_size = (size_t)(stop - at) - 2 * quoted;
        return true;
    }
    return false;
}

bool webui__multipart_boundary(const char *type, char out[WEBUI__BOUNDARY_SIZE]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "'()+_,-./:=? ";
    const char *value = NULL;
    size_t size = 0;
    if (!parameter(type, strlen(type), "boundary", &value, &size) || size == 0 ||
        size >= WEBUI__BOUNDARY_SIZE) {
        return false;
    }
    snprintf(out, WEBUI__BOUNDARY_SIZE, "%.*s", (int)size, value);
    return strspn(out, letters) == size && out[size - 1] != ' ';
}

/* Whether one of the part's header lines gives it this name. */
static bool is_named(const char *head, size_t size, const char *name) {
    static const char field[] = "Content-Disposition:";
    const char *end = head + size;
    for (const char *line = head; line < end;) {
        const char *line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        line_end = line_end ? line_end : end;
        const char *value = NULL;
        size_t value_size = 0;
        if ((size_t)(line_end - line) >= strlen(field) &&
            strncasecmp(line, field, strlen(field)) == 0 &&
            parameter(line, (size_t)(line_end - line), "name", &value, &value_size)) {
            return value_size == strlen(name) && memcmp(value, name, value_size) == 0;
        }
        line = line_end + 2;
    }
    return false;
}

/* Judges the part that begins at `at`, behind its delimiter's boundary; `next` is the delimiter
 * after it. */
static const char *part_read(const char *at, const char *next, const char *name, const char **part,
                             size_t *part_size) {
    /* From that line break on, so that a part without headers has its empty line too. */
    size_t room = (size_t)(next - at) + 2;
    const char *blank = memmem(at, room < PART_HEAD_MAX ? room : PART_HEAD_MAX, "\r\n\r\n", 4);
    if (!blank) {
        return "a part of the form has no end of its headers within 4096 bytes";
    }
    if (blank > at && is_named(at + 2, (size_t)(blank - at) - 2, name)) {
        *part = blank + 4;
        *part_size = *part < next ? (size_t)(next - *part) : 0;
    }
    return NULL;
}

const char *webui__multipart_find(const char *body, size_t size, const char *boundary,
                                  const char *name, const char **part, size_t *part_size) {
    char delimiter[WEBUI__BOUNDARY_SIZE + 4];
    const char *end = body + size;
    size_t length = (size_t)snprintf(delimiter, sizeof(delimiter), "\r\n--%s", boundary);
    bool first = size >= length - 2 && memcmp(body, delimiter + 2, length - 2) == 0;
    const char *at = first ? body : memmem(body, size, delimiter, length);
    if (!at) {
        return "the form has no part: its boundary is not in the body";
    }
    at += first ? length - 2 : length;
    for (;;) {
        if (end - at >= 2 && memcmp(at, "--", 2) == 0) {
            return "the form has no part named imageData";
        }
        for (; at < end && (*at == ' ' || *at == '\t'); at++) {
        }
        const char *next = memmem(at, (size_t)(end - at), delimiter, length);
        if (!next || memcmp(at, "\r\n", 2) != 0) {
            return "the form is cut off: its last boundary is missing";
        }
        *part = NULL;
        const char *fault = part_read(at, next, name, part, part_size);
        if (fault || *part) {
            return fault;
        }
        at = next + length;
    }
}
