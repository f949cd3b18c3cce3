/* link: creel's own signed links to blobs that are still here (webui_local_link makes them).
 *
 * The signature is HMAC-SHA256 over "tier\nsha256\nexpiry" (hex and decimal as in the URL),
 * base64url. Whoever has such a link may read that one blob until it expires, nothing else. A new
 * link key revokes all of them. Thread: any; pure.
 */
#ifndef CREEL_WEBUI_LINK_H
#define CREEL_WEBUI_LINK_H

#include "schemas/frame.h"
#include <stdint.h>

#define WEBUI__LINK_TTL_MIN_S 10
#define WEBUI__LINK_TTL_MAX_S (7 * 24 * 3600)

enum webui__link { LINK_VALID, LINK_FORGED, LINK_EXPIRED };

/* `expires` and `signature` are the e= and s= of the URL, NULL where absent (forged). Expiry is
 * looked at only when the signature is right. */
enum webui__link webui__link_check(const uint8_t key[32], enum frame_tier tier,
                                   const struct frame_hash *blob, const char *expires,
                                   const char *signature, int64_t now_utc_s);

#endif
