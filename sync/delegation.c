#include "sync/delegation.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/token.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MIN_US (60 * INT64_C(1000000))
#define DAY_US (1440 * MIN_US)

static void stamp(int64_t utc_us, char out[CLOCK_RFC3339_SIZE]) {
    clock_format_rfc3339(utc_us, out);
    memcpy(out + 19, "Z", 2); /* whole seconds: the form that every version takes */
}

void sync__delegation_ask(int64_t now_utc_us, struct buf *out) {
    char start[CLOCK_RFC3339_SIZE], expiry[CLOCK_RFC3339_SIZE];
    stamp(now_utc_us - 15 * MIN_US, start); /* their clock may be behind ours */
    stamp(now_utc_us + 7 * DAY_US - 30 * MIN_US, expiry);
    buf_printf(out,
               "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>%s</Start>"
               "<Expiry>%s</Expiry></KeyInfo>",
               start, expiry);
}

static const struct {
    const char *element;
    size_t at, room;
} parts[] = {
#define PART(element, field)                                                                       \
    { element, offsetof(struct delegation, field), sizeof((struct delegation *)0)->field }
    PART("SignedOid", object),    PART("SignedTid", tenant),      PART("SignedStart", start),
    PART("SignedExpiry", expiry), PART("SignedService", service), PART("SignedVersion", version),
#undef PART
};

int sync__delegation_read(const char *text, size_t size, struct delegation *out, struct err *err) {
    struct delegation made = {0};
    char value[HASH_BASE64_SIZE(DELEGATION_KEY_MAX)] = "";
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        char *field = (char *)&made + parts[i].at;
        if (!sync__token_xml_get(text, size, parts[i].element, field, parts[i].room) ||
            !sync__token_is_clean(field)) {
            return err_set(err, ERR_INVALID, "the key that Azure lent has no %s", parts[i].element);
        }
    }
    made.ends_utc_us = clock_parse_rfc3339(made.expiry);
    bool fine = sync__token_xml_get(text, size, "Value", value, sizeof value) &&
                hash_parse_base64(value, made.key, sizeof made.key, &made.key_size) &&
                made.key_size > 0 && made.ends_utc_us > 0;
    explicit_bzero(value, sizeof value);
    if (fine) {
        *out = made;
    }
    explicit_bzero(made.key, sizeof made.key);
    return fine ? 0 : err_set(err, ERR_INVALID, "the key that Azure lent has no Value or end");
}

bool sync__delegation_lasts(const struct delegation *delegation, int64_t until_utc_us) {
    return delegation->key_size > 0 && delegation->ends_utc_us >= until_utc_us;
}

void sync__delegation_finish(struct delegation *delegation) {
    explicit_bzero(delegation, sizeof *delegation);
}
