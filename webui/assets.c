#include "webui/assets.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

extern const char embed_webui_assets_app_css[], embed_webui_assets_app_css_end[];
extern const char embed_webui_assets_app_js[], embed_webui_assets_app_js_end[];
extern const char embed_webui_assets_auth_js[], embed_webui_assets_auth_js_end[];
extern const char embed_webui_assets_review_js[], embed_webui_assets_review_js_end[];
extern const char embed_webui_assets_bulk_js[], embed_webui_assets_bulk_js_end[];
extern const char embed_webui_assets_live_js[], embed_webui_assets_live_js_end[];
extern const char embed_webui_assets_icon_svg[], embed_webui_assets_icon_svg_end[];

static const struct asset {
    const char *name, *type, *bytes, *end;
} assets[] = {
    {"app.css", "text/css; charset=utf-8", embed_webui_assets_app_css,
     embed_webui_assets_app_css_end},
    {"app.js", "text/javascript; charset=utf-8", embed_webui_assets_app_js,
     embed_webui_assets_app_js_end},
    {"auth.js", "text/javascript; charset=utf-8", embed_webui_assets_auth_js,
     embed_webui_assets_auth_js_end},
    {"review.js", "text/javascript; charset=utf-8", embed_webui_assets_review_js,
     embed_webui_assets_review_js_end},
    {"bulk.js", "text/javascript; charset=utf-8", embed_webui_assets_bulk_js,
     embed_webui_assets_bulk_js_end},
    {"live.js", "text/javascript; charset=utf-8", embed_webui_assets_live_js,
     embed_webui_assets_live_js_end},
    {"icon.svg", "image/svg+xml", embed_webui_assets_icon_svg, embed_webui_assets_icon_svg_end},
};

#define GZIP 16 /* to zlib's window bits: a gzip member and not a zlib stream */

static char version[HASH_HEX_SIZE];

/* Compressed at the first use, for good. Pages are not: what is secret in them (CSRF) would show in
 * their length. */
static struct packed {
    uint8_t *bytes; /* NULL: there was no memory, or nothing to gain */
    size_t size;
} packed[ARRAY_LENGTH(assets)];

static void pack(const struct asset *asset, struct packed *out) {
    uLong size = (uLong)(asset->end - asset->bytes);
    z_stream stream = {.next_in = (z_const Bytef *)asset->bytes, .avail_in = (uInt)size};
    uint8_t *bytes = mem_alloc(size);
    if (!bytes || deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + GZIP, 8,
                               Z_DEFAULT_STRATEGY) != Z_OK) {
        free(bytes);
        return;
    }
    stream.next_out = bytes;
    stream.avail_out = (uInt)size;
    if (deflate(&stream, Z_FINISH) == Z_STREAM_END) {
        *out = (struct packed){bytes, (size_t)stream.total_out};
    } else {
        free(bytes); /* it would be longer */
    }
    deflateEnd(&stream);
}

static void pack_all(void) {
    for (size_t i = 0; i < ARRAY_LENGTH(assets); i++) {
        pack(&assets[i], &packed[i]);
    }
}

static const struct packed *packed_get(struct webui__request *request, size_t i) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *accepted = webui__header(request, "Accept-Encoding");
    pthread_once(&once, pack_all);
    return packed[i].bytes && accepted && strstr(accepted, "gzip") && !strstr(accepted, "gzip;q=0")
               ? &packed[i]
               : NULL;
}

static void make_version(void) {
    struct frame_hash all[ARRAY_LENGTH(assets)], hash;
    for (size_t i = 0; i < ARRAY_LENGTH(assets); i++) {
        hash_sha256(assets[i].bytes, (size_t)(assets[i].end - assets[i].bytes), &all[i]);
    }
    hash_sha256(all, sizeof(all), &hash);
    hash_hex(hash.bytes, 4, version);
}

const char *webui__assets_version(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_version);
    return version;
}

static void reply_asset(struct webui__request *request, const char *name) {
    for (size_t i = 0; i < ARRAY_LENGTH(assets); i++) {
        if (strcmp(assets[i].name, name) != 0) {
            continue;
        }
        const struct packed *small = packed_get(request, i);
        char etag[HASH_HEX_SIZE + 4];
        snprintf(etag, sizeof(etag), "\"%s%s\"", webui__assets_version(), small ? "-z" : "");
        bool versioned = strcmp(webui__arg(request, "v"), webui__assets_version()) == 0;
        webui__set_header(request, "ETag", "%s", etag);
        webui__set_header(request, "Vary", "Accept-Encoding");
        webui__set_header(request, "Cache-Control", "%s",
                          versioned ? "public, max-age=31536000, immutable" : "no-cache");
        if (webui__etag_matches(webui__header(request, "If-None-Match"), etag)) {
            webui__reply_static(request, MHD_HTTP_NOT_MODIFIED, assets[i].type, "", 0);
        } else if (small) {
            webui__set_header(request, "Content-Encoding", "gzip");
            webui__reply_static(request, MHD_HTTP_OK, assets[i].type, small->bytes, small->size);
        } else {
            webui__reply_static(request, MHD_HTTP_OK, assets[i].type, assets[i].bytes,
                                (size_t)(assets[i].end - assets[i].bytes));
        }
        return;
    }
    webui__reply_problem(request, MHD_HTTP_NOT_FOUND, "there is no such asset");
}

void webui__on_asset(struct webui__request *request) {
    reply_asset(request, request->capture);
}

void webui__on_favicon(struct webui__request *request) {
    reply_asset(request, "icon.svg");
}
