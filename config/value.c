/* value: the text of one value, as people write it, into a number.
 *
 * Every parser takes the whole text or nothing, never rounds silently past its type, and knows
 * nothing of keys. Plain K, M, G, T count in 1024s as in systemd and podman; kB, MB, GB, TB in
 * 1000s as on a disk's label. A duration needs its units: "30" could be seconds to one reader and
 * minutes to the next.
 */
#include "config/inside.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FRACTION_DIGITS_MAX 6 /* 10^6 times the largest unit still fits 64 bits */

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: the order of a duration's parts, and of the search for the unit that fits exactly.
 */
static const struct unit size_units[] = {
    {"TiB", 1ull << 40},
    {"GiB", 1ull << 30},
    {"MiB", 1ull << 20},
    {"KiB", 1ull << 10},
    {"TB", 1000000000000ull},
    {"GB", 1000000000ull},
    {"MB", 1000000ull},
    {"kB", 1000ull},
    {"T", 1ull << 40},
    {"G", 1ull << 30},
    {"M", 1ull << 20},
    {"K", 1ull << 10},
    {"B", 1},
};

static const struct unit duration_units[] = {
    {"w", 604800000ull}, {"d", 86400000ull}, {"h", 3600000ull}, {"m", 60000ull},
    {"min", 60000ull},   {"s", 1000ull},     {"ms", 1ull},
};

bool config__parse_bool(const char *text, bool *out) {
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) {
        return false;
    }
    *out = yes;
    return true;
}

bool config__parse_whole(const char *text, int64_t *out) {
    const char *digits = text + (*text == '-' ? 1 : 0);
    size_t length = strspn(digits, "0123456789");
    if (length == 0 || digits[length] != '\0') {
        return false;
    }
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno == ERANGE) {
        return false;
    }
    *out = value;
    return true;
}

bool config__parse_real(const char *text, double *out) {
    /* strtod alone would take " 1", "0x1p3", "inf" and "nan" as well. */
    if (*text == '\0' || text[strspn(text, "0123456789+-.eE")] != '\0') {
        return false;
    }
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

/* Digits with an optional fraction at `*at`, as whole + part / scale. */
static bool number_scan(const char **at, uint64_t *whole, uint64_t *part, uint64_t *scale) {
    const char *p = *at;
    if (!isdigit((unsigned char)*p)) {
        return false;
    }
    *whole = 0;
    *part = 0;
    *scale = 1;
    for (; isdigit((unsigned char)*p); p++) {
        if (__builtin_mul_overflow(*whole, 10u, whole) ||
            __builtin_add_overflow(*whole, (uint64_t)(*p - '0'), whole)) {
            return false;
        }
    }
    if (*p == '.') {
        p++;
        const char *first = p;
        for (; isdigit((unsigned char)*p) && p - first < FRACTION_DIGITS_MAX; p++) {
            *part = *part * 10 + (uint64_t)(*p - '0');
            *scale *= 10;
        }
        if (p == first || isdigit((unsigned char)*p)) {
            return false;
        }
    }
    *at = p;
    return true;
}

static bool number_times(uint64_t whole, uint64_t part, uint64_t scale, uint64_t factor,
                         uint64_t *out) {
    uint64_t product;
    return !__builtin_mul_overflow(whole, factor, &product) &&
           !__builtin_add_overflow(product, part * factor / scale, out);
}

bool config__parse_size(const char *text, uint64_t *out) {
    uint64_t whole, part, scale, bytes;
    const char *at = text;
    if (!number_scan(&at, &whole, &part, &scale)) {
        return false;
    }
    if (*at == '\0' && scale == 1) {
        at = "B";
    }
    at += *at == ' ' ? 1 : 0;
    for (size_t i = 0; i < ARRAY_LENGTH(size_units); i++) {
        if (strcasecmp(at, size_units[i].name) == 0) {
            if (!number_times(whole, part, scale, size_units[i].factor, &bytes) ||
                bytes > INT64_MAX) {
                return false;
            }
            *out = bytes;
            return true;
        }
    }
    return false;
}

bool config__parse_share(const char *text, double *out) {
    char number[32];
    size_t length = strlen(text);
    if (length < 2 || length >= sizeof(number) || text[length - 1] != '%') {
        return false;
    }
    memcpy(number, text, length - 1);
    number[length - 1] = '\0';
    double percent;
    if (!config__parse_real(number, &percent) || !(percent > 0 && percent <= 100)) {
        return false;
    }
    *out = percent / 100;
    return true;
}

/* One part of a duration, such as "1h"; `*factor` is that of its unit. */
static bool duration_part(const char **at, uint64_t *ms, uint64_t *factor) {
    uint64_t whole, part, scale;
    if (!number_scan(at, &whole, &part, &scale)) {
        return false;
    }
    size_t length = 0;
    while (islower((unsigned char)(*at)[length])) {
        length++;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(duration_units); i++) {
        const struct unit *unit = &duration_units[i];
        if (strlen(unit->name) == length && strncmp(unit->name, *at, length) == 0) {
            *at += length;
            *factor = unit->factor;
            return number_times(whole, part, scale, unit->factor, ms);
        }
    }
    return false;
}

bool config__parse_duration(const char *text, int64_t *out) {
    if (strcmp(text, "0") == 0) {
        *out = 0;
        return true;
    }
    uint64_t total = 0;
    uint64_t last_factor = UINT64_MAX;
    const char *at = text;
    do {
        uint64_t ms, factor;
        if (!duration_part(&at, &ms, &factor) || factor >= last_factor ||
            __builtin_add_overflow(total, ms, &total)) {
            return false;
        }
        last_factor = factor;
        at += at[0] == ' ' && at[1] != '\0' ? 1 : 0;
    } while (*at != '\0');
    if (total > INT64_MAX) {
        return false;
    }
    *out = (int64_t)total;
    return true;
}

bool config_duration_parse(const char *text, int64_t *out_ms) {
    return config__parse_duration(text, out_ms);
}

static bool host_loopback(const char *host) {
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1) {
        return (ntohl(four.s_addr) >> 24) == 127;
    }
    if (inet_pton(AF_INET6, host, &six) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&six);
    }
    return strcmp(host, "localhost") == 0;
}

bool config__parse_listen(const char *text, bool *loopback) {
    char host[256];
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (colon == NULL || !config__parse_whole(colon + 1, &port) || port < 0 || port > 65535) {
        return false;
    }
    bool bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
    const char *from = text + (bracketed ? 1 : 0);
    const char *to = colon - (bracketed ? 1 : 0);
    if (to <= from || (size_t)(to - from) >= sizeof(host)) {
        return false;
    }
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    struct in6_addr six;
    struct in_addr four;
    bool valid = bracketed ? inet_pton(AF_INET6, host, &six) == 1
                           : inet_pton(AF_INET, host, &four) == 1 || strcmp(host, "localhost") == 0;
    if (valid) {
        *loopback = host_loopback(host);
    }
    return valid;
}

bool config__parse_url(const char *text) {
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : NULL;
    return host != NULL && isgraph((unsigned char)*host) && strchr("/?#:", *host) == NULL &&
           strchr(host, ' ') == NULL && config__text_valid(text);
}

bool config__name_valid(const char *text) {
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return length > 0 && length <= FRAME_NAME_MAX && text[length] == '\0' && text[0] != '-';
}

bool config__text_valid(const char *text) {
    size_t length = 0;
    for (; text[length] != '\0'; length++) {
        unsigned char c = (unsigned char)text[length];
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return length > 0 && length <= CONFIG__TEXT_MAX;
}

static void format_exact(const struct unit *units, size_t count, uint64_t value, char *out,
                         size_t size) {
    for (size_t i = 0; i < count; i++) {
        if (value >= units[i].factor && value % units[i].factor == 0) {
            snprintf(out, size, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
            return;
        }
    }
    snprintf(out, size, "%" PRIu64, value);
}

void config__format_size(uint64_t bytes, char *out, size_t size) {
    format_exact(size_units, ARRAY_LENGTH(size_units), bytes, out, size);
}

bool config_time_parse(const char *text, int64_t now_us, int64_t *utc_us) {
    int64_t back_ms = 0, at_us = clock_parse_rfc3339(text);
    if (at_us < 0 && config__parse_duration(text, &back_ms) && back_ms <= INT64_MAX / 1000) {
        at_us = now_us - back_ms * 1000;
    }
    if (at_us < 0) {
        return false;
    }
    *utc_us = at_us;
    return true;
}

void config__format_duration(int64_t ms, char *out, size_t size) {
    format_exact(duration_units, ARRAY_LENGTH(duration_units), (uint64_t)ms, out, size);
}
