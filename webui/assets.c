#include "webui/assets.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <string.h>

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

static char version[HASH_HEX_SIZE];

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
        char etag[HASH_HEX_SIZE + 2];
        snprintf(etag, sizeof(etag), "\"%s\"", webui__assets_version());
        bool versioned = strcmp(webui__arg(request, "v"), webui__assets_version()) == 0;
        webui__set_header(request, "ETag", "%s", etag);
        webui__set_header(request, "Cache-Control", "%s",
                          versioned ? "public, max-age=31536000, immutable" : "no-cache");
        bool known = webui__etag_matches(webui__header(request, "If-None-Match"), etag);
        webui__reply_static(request, known ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, assets[i].type,
                            assets[i].bytes, known ? 0 : (size_t)(assets[i].end - assets[i].bytes));
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
