/* blob: the exact bytes of a frame, and its thumbnail.
 *
 * An address here names content by its hash, so an answer never changes: browsers may keep it for
 * ever. A blob needs the gallery's login or a signed link; a link that is there must be right,
 * whoever else is logged in. The bytes are pictures from strangers: they are served as an image and
 * nothing else (nosniff, sandbox).
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "webui/link.h"
#include "webui/pages.h"
#include "webui/state.h"
#include "webui/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOREVER_S 31536000

static bool read_hash(struct webui__request *request, struct frame_hash *out) {
    if (hash_parse_hex(request->capture, out->bytes, sizeof(out->bytes))) {
        return true;
    }
    webui__reply_problem(request, MHD_HTTP_NOT_FOUND, "expected 64 hex digits of a SHA-256");
    return false;
}

static bool answer_unchanged(struct webui__request *request, const char *etag) {
    if (!webui__etag_matches(webui__header(request, "If-None-Match"), etag)) {
        return false;
    }
    webui__reply_static(request, MHD_HTTP_NOT_MODIFIED, "image/jpeg", "", 0);
    return true;
}

static void set_caching(struct webui__request *request, const char *etag, int64_t seconds) {
    webui__set_header(request, "ETag", "%s", etag);
    webui__set_header(request, "Cache-Control", "private, max-age=%lld%s", (long long)seconds,
                      seconds == FOREVER_S ? ", immutable" : "");
}

/* ---- thumbnails ---- */

static void reply_no_thumb(struct webui__request *request) {
    static const char picture[] =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 320 240\">"
        "<rect width=\"320\" height=\"240\" fill=\"#7f8c8d\" fill-opacity=\".25\"/></svg>";
    webui__reply_static(request, MHD_HTTP_NOT_FOUND, "image/svg+xml", picture, sizeof(picture) - 1);
}

void webui__on_thumb(struct webui__request *request) {
    struct frame_hash hash;
    struct err err = {0};
    struct store_reader *reader = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    char etag[WEBUI__CAPTURE_SIZE + 8];
    if (!read_hash(request, &hash)) {
        return;
    }
    snprintf(etag, sizeof(etag), "\"t-%s\"", request->capture);
    if (answer_unchanged(request, etag)) {
        return;
    }
    int code = webui__reader_take(request->webui, &reader, &err);
    if (!code) {
        code = store_thumb_read(reader, &hash, &bytes, &size, &err);
        webui__reader_give(request->webui, reader);
    }
    if (code == ERR_NOT_FOUND) {
        reply_no_thumb(request);
    } else if (code) {
        webui__reply_err(request, &err);
    } else {
        set_caching(request, etag, FOREVER_S);
        webui__reply_bytes(request, MHD_HTTP_OK, "image/jpeg", bytes, 0, size);
    }
}

/* ---- blobs ---- */

/* Answers and returns false unless the login or the link allows it. `*seconds`: how long it may be
 * kept. */
static bool allowed(struct webui__request *request, enum frame_tier tier,
                    const struct frame_hash *hash, int64_t *seconds) {
    const char *expires = webui__arg(request, "e"), *signature = webui__arg(request, "s");
    *seconds = FOREVER_S;
    if (!expires[0] && !signature[0]) {
        int denied = webui__login_check(request);
        if (denied) {
            webui__reply_problem(request, denied, "%s", request->reason);
        }
        return !denied;
    }
    int64_t now = clock_utc_us() / 1000000, until = 0;
    switch (webui__link_check(request->webui->link_key, tier, hash, expires, signature, now)) {
    case LINK_VALID:
        webui__integer_parse(expires, 0, INT64_MAX, &until);
        *seconds = until - now;
        webui__set_header(request, "Cross-Origin-Resource-Policy", "cross-origin");
        return true;
    case LINK_EXPIRED:
        webui__reply_problem(request, MHD_HTTP_GONE, "this link has expired: ask for a new one");
        return false;
    default:
        webui__reply_problem(request, MHD_HTTP_FORBIDDEN,
                             "this link is not one that this creel has signed");
        return false;
    }
}

/* Moves `bytes` out, whole or the range that was asked for. */
static void reply_range(struct webui__request *request, const char *etag, uint8_t *bytes,
                        size_t size) {
    const char *if_range = webui__header(request, "If-Range");
    const char *header = webui__header(request, "Range");
    bool asked = header && (!if_range || strcmp(if_range, etag) == 0);
    const char *type = webui__media_type(webui__media_sniff(bytes, size));
    uint64_t from = 0, count = size;
    webui__set_header(request, "Accept-Ranges", "bytes");
    switch (asked ? webui__range_parse(header, size, &from, &count) : RANGE_NONE) {
    case RANGE_UNSATISFIABLE:
        free(bytes);
        webui__set_header(request, "Content-Range", "bytes */%zu", size);
        webui__reply_problem(request, MHD_HTTP_RANGE_NOT_SATISFIABLE, "the blob has %zu bytes",
                             size);
        return;
    case RANGE_PART:
        webui__set_header(request, "Content-Range", "bytes %llu-%llu/%zu", (unsigned long long)from,
                          (unsigned long long)(from + count - 1), size);
        webui__reply_bytes(request, MHD_HTTP_PARTIAL_CONTENT, type, bytes, from, count);
        return;
    default:
        webui__reply_bytes(request, MHD_HTTP_OK, type, bytes, 0, size);
    }
}

static int read_blob(struct webui *webui, enum frame_tier tier, const struct frame_hash *hash,
                     uint8_t **bytes, size_t *size, struct err *err) {
    struct store_reader *reader = NULL;
    int code = webui__reader_take(webui, &reader, err);
    if (code == 0) {
        code = store_blob_read(reader, tier, hash, bytes, size, err);
        webui__reader_give(webui, reader);
    }
    return code;
}

void webui__on_blob(struct webui__request *request) {
    struct frame_hash hash;
    enum frame_tier tier;
    struct err err = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    int64_t seconds = 0;
    char etag[WEBUI__CAPTURE_SIZE + 8];
    if (!read_hash(request, &hash)) {
        return;
    }
    if (!webui__tier_parse(webui__arg(request, "tier"), &tier)) {
        webui__reply_problem(request, MHD_HTTP_BAD_REQUEST,
                             "tier= must be annotated or unannotated");
        return;
    }
    if (!allowed(request, tier, &hash, &seconds)) {
        return;
    }
    snprintf(etag, sizeof(etag), "\"%s\"", request->capture);
    if (answer_unchanged(request, etag)) {
        return;
    }
    if (read_blob(request->webui, tier, &hash, &bytes, &size, &err) != 0) {
        webui__reply_err(request, &err);
        return;
    }
    bool png = webui__media_sniff(bytes, size) == MEDIA_PNG;
    set_caching(request, etag, seconds);
    webui__set_header(request, "Content-Security-Policy", "default-src 'none'; sandbox");
    webui__set_header(request, "Content-Disposition", "%s; filename=\"%.16s.%s\"",
                      webui__arg(request, "download")[0] ? "attachment" : "inline",
                      request->capture, png ? "png" : "jpg");
    reply_range(request, etag, bytes, size);
}
