#include "webui/text.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool webui__route_match(const char *pattern, const char *path, char capture[WEBUI__CAPTURE_SIZE]) {
    capture[0] = '\0';
    if (strncmp(pattern, "**", 2) == 0) {
        while (path && !webui__route_match(pattern + 2, path, capture)) {
            path = path[0] ? strchr(path + 1, '/') : NULL;
        }
        return path != NULL;
    }
    while (*pattern) {
        if (*pattern != '*') {
            if (*pattern++ != *path++) {
                return false;
            }
            continue;
        }
        size_t size = strcspn(path, "/");
        if (size == 0 || size >= WEBUI__CAPTURE_SIZE) {
            return false;
        }
        memcpy(capture, path, size);
        capture[size] = '\0';
        path += size;
        pattern++;
    }
    return *path == '\0';
}

/* The length of the host in "host", "host:port" or "[v6]:port"; 0 when the rest is no port. */
static size_t host_length(const char *text) {
    size_t size = text[0] == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":");
    const char *rest = text + size;
    if (size > strlen(text)) {
        return 0;
    }
    if (*rest == '\0') {
        return size;
    }
    return rest[0] == ':' && rest[1 + strspn(rest + 1, "0123456789")] == '\0' ? size : 0;
}

bool webui__host_allowed(const char *host, const char *listen_host) {
    const char *const allowed[] = {"localhost", "127.0.0.1", "[::1]", listen_host};
    size_t size = host_length(host);
    for (size_t i = 0; size && i < ARRAY_LENGTH(allowed); i++) {
        if (strlen(allowed[i]) == size && strncasecmp(host, allowed[i], size) == 0) {
            return true;
        }
    }
    return false;
}

bool webui__origin_same(const char *origin, const char *host) {
    const char *colon = strstr(origin, "://");
    return colon && strcasecmp(colon + 3, host) == 0;
}

bool webui__sender_allowed(const char *origin, const char *host, const char *site) {
    bool ours = !site || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
    return ours && (!origin || (host && webui__origin_same(origin, host)));
}

static bool digits_parse(const char **text, uint64_t *out) {
    uint64_t value = 0;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (at - *text >= 18) {
            return false;
        }
        value = value * 10 + (uint64_t)(*at - '0');
    }
    bool some = at != *text;
    *text = at;
    *out = value;
    return some;
}

enum webui__range webui__range_parse(const char *header, uint64_t size, uint64_t *from,
                                     uint64_t *count) {
    if (!header || strncasecmp(header, "bytes=", 6) != 0) {
        return RANGE_NONE;
    }
    const char *at = header + 6;
    uint64_t first = 0, last = 0;
    bool has_first = digits_parse(&at, &first);
    if (*at++ != '-') {
        return RANGE_NONE;
    }
    bool has_last = digits_parse(&at, &last);
    if (*at || (!has_first && !has_last) || (has_first && has_last && last < first)) {
        return RANGE_NONE;
    }
    if (!has_first) { /* the last so many bytes */
        if (last == 0 || size == 0) {
            return RANGE_UNSATISFIABLE;
        }
        first = last < size ? size - last : 0;
        last = size - 1;
        has_last = true;
    }
    if (first >= size) {
        return RANGE_UNSATISFIABLE;
    }
    *from = first;
    *count = (has_last && last < size ? last + 1 : size) - first;
    return RANGE_PART;
}

bool webui__etag_matches(const char *header, const char *etag) {
    size_t size = strlen(etag);
    while (header && *header) {
        header += strspn(header, " \t,");
        if (strncmp(header, "W/", 2) == 0) {
            header += 2;
        }
        size_t item = strcspn(header, " \t,");
        if ((item == size && memcmp(header, etag, size) == 0) || (item == 1 && *header == '*')) {
            return true;
        }
        header += item;
    }
    return false;
}

bool webui__number_parse(const char *text, double min, double max, double *out) {
    size_t size = strlen(text);
    if (size == 0 || size > 32 || strspn(text, "0123456789.") != size || strcmp(text, ".") == 0) {
        return false;
    }
    char *end = NULL;
    double value = strtod(text, &end);
    if (*end || value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}

bool webui__integer_parse(const char *text, int64_t min, int64_t max, int64_t *out) {
    uint64_t value = 0;
    if (!digits_parse(&text, &value) || *text || (int64_t)value < min || (int64_t)value > max) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

int64_t webui__time_parse(const char *text) {
    size_t size = strlen(text);
    char full[40];
    if (size >= sizeof(full) - 4) {
        return -1;
    }
    bool local = size >= 16 && text[10] == 'T' && text[size - 1] != 'Z';
    snprintf(full, sizeof(full), "%s%s", text, !local ? "" : size == 16 ? ":00Z" : "Z");
    return clock_parse_rfc3339(full);
}

bool webui__name_valid(const char *name) {
    size_t size = strlen(name);
    return size >= 1 && size <= FRAME_NAME_MAX && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == size;
}

enum frame_media webui__media_sniff(const void *bytes, size_t size) {
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff};
    if (size >= sizeof(png) && memcmp(bytes, png, sizeof(png)) == 0) {
        return MEDIA_PNG;
    }
    return size >= sizeof(jpeg) && memcmp(bytes, jpeg, sizeof(jpeg)) == 0 ? MEDIA_JPEG : MEDIA_NONE;
}

const char *webui__media_type(enum frame_media media) {
    static const char *const types[] = {"application/octet-stream", "image/jpeg", "image/png"};
    return (size_t)media < ARRAY_LENGTH(types) ? types[media] : types[0];
}

static const char *const tier_names[TIER_COUNT] = {"annotated", "unannotated"};

const char *webui__tier_name(enum frame_tier tier) {
    return (size_t)tier < TIER_COUNT ? tier_names[tier] : "none";
}

bool webui__tier_parse(const char *text, enum frame_tier *out) {
    for (size_t i = 0; i < TIER_COUNT; i++) {
        if (strcmp(text, tier_names[i]) == 0) {
            *out = (enum frame_tier)i;
            return true;
        }
    }
    return false;
}

bool webui__list_has(const char *list, const char *item) {
    size_t want = strlen(item);
    for (const char *at = list; *at; at += strspn(at, ",")) {
        size_t size = strcspn(at, ",");
        if (size == want && strncasecmp(at, item, size) == 0) {
            return true;
        }
        at += size;
    }
    return false;
}
