#include "webui/link.h"
#include "daemon/base/hash.h"
#include "webui/text.h"
#include "webui/webui.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPIRY_MAX INT64_C(253402300799) /* the year 9999 */

static void sign(const uint8_t key[32], enum frame_tier tier, const char *hex, int64_t expires,
                 struct frame_hash *out) {
    char text[160];
    int size =
        snprintf(text, sizeof(text), "%s\n%s\n%" PRId64, webui__tier_name(tier), hex, expires);
    hash_hmac_sha256(key, 32, text, (size_t)size, out);
}

int webui_local_link(const uint8_t link_key[32], enum frame_tier tier,
                     const struct frame_hash *blob, int64_t expires_utc_s, char out[WEBUI_LINK_MAX],
                     struct err *err) {
    if ((size_t)tier >= TIER_COUNT || expires_utc_s < 0 || expires_utc_s > EXPIRY_MAX) {
        return err_set(err, ERR_INVALID, "a link needs a tier and an expiry between 1970 and 9999");
    }
    char hex[HASH_HEX_SIZE], text[HASH_BASE64_SIZE(sizeof(struct frame_hash))];
    struct frame_hash mac;
    hash_hex(blob->bytes, sizeof(blob->bytes), hex);
    sign(link_key, tier, hex, expires_utc_s, &mac);
    snprintf(out, WEBUI_LINK_MAX, "/blob/%s?tier=%s&e=%" PRId64 "&s=%s", hex,
             webui__tier_name(tier), expires_utc_s,
             hash_base64url(mac.bytes, sizeof(mac.bytes), text));
    return 0;
}

enum webui__link webui__link_check(const uint8_t key[32], enum frame_tier tier,
                                   const struct frame_hash *blob, const char *expires,
                                   const char *signature, int64_t now_utc_s) {
    int64_t expiry = 0;
    struct frame_hash given, right;
    size_t size = 0;
    if (!expires || !signature || !webui__integer_parse(expires, 0, EXPIRY_MAX, &expiry) ||
        !hash_parse_base64url(signature, given.bytes, sizeof(given.bytes), &size) ||
        size != sizeof(given.bytes)) {
        return LINK_FORGED;
    }
    char hex[HASH_HEX_SIZE];
    sign(key, tier, hash_hex(blob->bytes, sizeof(blob->bytes), hex), expiry, &right);
    if (!hash_equal(given.bytes, right.bytes, sizeof(right.bytes))) {
        return LINK_FORGED;
    }
    return now_utc_s < expiry ? LINK_VALID : LINK_EXPIRED;
}
