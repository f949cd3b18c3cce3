/* share_pages: where shares are made, listed and revoked; what is behind their links is in
 * share_guest.c.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/form.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/pages.h"
#include "webui/query.h"
#include "webui/share.h"
#include "webui/state.h"
#include "webui/text.h"
#include <stdio.h>
#include <string.h>

#define NO_PAGE 1 /* a filter is read here, no page of frames */

static int64_t now_s(void) {
    return clock_utc_us() / 1000000;
}

/* ---- who makes them ---- */

/* Title, filter and life from `get`; ERR_INVALID says which is wrong. */
static int share_make(struct webui__request *request, const char *title, const char *query_text,
                      const char *frames, const char *ttl, struct webui__share *out,
                      struct err *err) {
    struct webui__share share = {.created_s = now_s()};
    struct frame_id ids[WEBUI__SHARE_FRAMES_MAX];
    size_t count = 0;
    struct webui__query query;
    CLEANUP(buf_finish) struct buf text = BUF_INIT(WEBUI__SHARE_QUERY_MAX);
    int64_t ttl_s = 7 * 24 * 3600;
    if (ttl[0] &&
        !webui__integer_parse(ttl, WEBUI__SHARE_TTL_MIN_S, WEBUI__SHARE_TTL_MAX_S, &ttl_s)) {
        return err_set(err, ERR_INVALID, "ttl=%.40s: expected %d to %d seconds", ttl,
                       WEBUI__SHARE_TTL_MIN_S, WEBUI__SHARE_TTL_MAX_S);
    }
    int code = webui__query_parse(query_text, NO_PAGE, &query, err);
    if (!code && frames[0]) {
        code = webui__ids_parse(frames, ids, WEBUI__SHARE_FRAMES_MAX, &count, err);
    }
    if (code) {
        return code;
    }
    if (!count) {
        webui__query_write(&text, &query.filter);
    }
    if (text.failed) {
        return err_set(err, ERR_INVALID, "the filter is longer than %d bytes",
                       WEBUI__SHARE_QUERY_MAX);
    }
    share.expires_s = share.created_s + ttl_s;
    share.frames = (unsigned)count;
    snprintf(share.title, sizeof(share.title), "%s", title[0] ? title : "Shared frames");
    snprintf(share.query, sizeof(share.query), "%s", text.len ? text.data : "");
    snprintf(share.by, sizeof(share.by), "%s", request->who.user);
    code = webui__share_add(&request->webui->shares, request->webui->store, &share, ids, err);
    if (!code) {
        *out = share;
    }
    return code;
}

static int share_from_form(struct webui__request *request, struct webui__share *out,
                           struct err *err) {
    char title[WEBUI__SHARE_TITLE_MAX + 1], query[WEBUI__SHARE_QUERY_MAX + 1], ttl[24],
        frames[WEBUI__SHARE_FRAMES_MAX * HASH_ID_SIZE];
    const struct {
        const char *name;
        char *out;
        size_t room;
    } fields[] = {{"title", title, sizeof(title)},
                  {"query", query, sizeof(query)},
                  {"frames", frames, sizeof(frames)},
                  {"ttl", ttl, sizeof(ttl)}};
    const char *body = request->body.len ? request->body.data : "";
    char name[16];
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        snprintf(name, sizeof(name), "%s=", fields[i].name);
        if (!webui__form_get(body, request->body.len, fields[i].name, fields[i].out,
                             fields[i].room) &&
            strstr(body, name)) {
            return err_set(err, ERR_INVALID, "%s has at most %zu bytes", fields[i].name,
                           fields[i].room - 1);
        }
    }
    return share_make(request, title, query, frames, ttl, out, err);
}

static void base_of(struct webui__request *request, char out[300]) {
    webui__origin(request, out, 300);
}

void webui__on_api_shares(struct webui__request *request) {
    struct err err = {0};
    struct webui__share share;
    struct webui *webui = request->webui;
    char base[300];
    base_of(request, base);
    if (!request->post) {
        webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE,
                          json_pack("{s:o}", "shares",
                                    webui__shares_json(&webui->shares, webui->link_key, base)));
    } else if (share_from_form(request, &share, &err) != 0) {
        webui__reply_err(request, &err);
    } else {
        webui__reply_json(request, MHD_HTTP_CREATED, WEBUI__JSON_TYPE,
                          webui__share_json(&share, webui->link_key, base));
    }
}

void webui__on_api_share_revoke(struct webui__request *request) {
    struct err err = {0};
    if (webui__share_revoke(&request->webui->shares, request->webui->store, request->capture,
                            &err) != 0) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE,
                      json_pack("{s:s,s:b}", "id", request->capture, "revoked", true));
}

/* ---- their page ---- */

void webui__html_share_lives(struct buf *page) {
    static const struct {
        const char *ttl, *text;
    } lives[] = {{"3600", "an hour"},
                 {"86400", "a day"},
                 {"604800", "a week"},
                 {"2592000", "30 days"},
                 {"7776000", "90 days"}};
    for (size_t i = 0; i < ARRAY_LENGTH(lives); i++) {
        webui__html_option(page, lives[i].ttl, lives[i].text, "604800");
    }
}

static void put_new(struct buf *page, struct webui__request *request,
                    const struct store_filter *filter) {
    CLEANUP(buf_finish) struct buf query = BUF_INIT(WEBUI__SHARE_QUERY_MAX);
    webui__query_write(&query, filter);
    const char *text = query.len && !query.failed ? query.data : "";
    buf_puts(page, "<form method=\"post\" action=\"/shares\" class=\"filters\">");
    webui__html_hidden(page, "csrf", request->who.csrf);
    buf_puts(page, "<label><span>Title</span><input name=\"title\" maxlength=\"100\" required>"
                   "</label><label><span>Open for</span><select name=\"ttl\">");
    webui__html_share_lives(page);
    buf_puts(page, "</select></label><label><span>Filter, as in the gallery's address</span><input "
                   "name=\"query\" maxlength=\"511\" value=\"");
    buf_puts_html(page, text);
    buf_puts(page, "\"></label><button class=\"button\" type=\"submit\">Share</button></form>");
}

static void put_cell(struct buf *page, const char *text) {
    buf_puts(page, "<td>");
    buf_puts_html(page, text);
    buf_puts(page, "</td>");
}

static const char *picked_text(const json_t *share, char *out, size_t room) {
    json_int_t frames = json_integer_value(json_object_get(share, "frames"));
    snprintf(out, room, "%lld chosen %s", (long long)frames, frames == 1 ? "frame" : "frames");
    return frames                                ? out
           : webui__json_text(share, "query")[0] ? webui__json_text(share, "query")
                                                 : "all frames";
}

static void put_row(struct buf *page, struct webui__request *request, const json_t *share,
                    int64_t now) {
    char frames[48];
    bool revoked = json_is_true(json_object_get(share, "revoked"));
    bool over = clock_parse_rfc3339(webui__json_text(share, "expires")) / 1000000 <= now;
    buf_puts(page, "<tr>");
    put_cell(page, webui__json_text(share, "title"));
    put_cell(page, picked_text(share, frames, sizeof(frames)));
    put_cell(page, webui__json_text(share, "by"));
    put_cell(page, webui__json_text(share, "created"));
    put_cell(page, webui__json_text(share, "expires"));
    buf_printf(page, "<td class=\"number\">%lld</td>",
               (long long)json_integer_value(json_object_get(share, "opened")));
    if (revoked || over) {
        put_cell(page, revoked ? "taken back" : "ended");
    } else {
        buf_puts(page, "<td class=\"acts\"><a class=\"button plain\" href=\"");
        buf_puts_html(page, webui__json_text(share, "url"));
        buf_printf(page, "\">Open</a> <form method=\"post\" action=\"/shares/%s/revoke\">",
                   webui__json_text(share, "id"));
        webui__html_hidden(page, "csrf", request->who.csrf);
        buf_puts(page, "<button class=\"button plain\" type=\"submit\">Take back</button></form>"
                       "</td>");
    }
    buf_puts(page, "</tr>");
}

static void put_list(struct buf *page, struct webui__request *request, const json_t *list) {
    size_t i = 0;
    json_t *share = NULL;
    int64_t now = now_s();
    webui__html_wide_begin(page, "Shares", "");
    buf_puts(page, "<table><thead><tr><th scope=\"col\">Title</th><th "
                   "scope=\"col\">Filter</th><th scope=\"col\">Made by</th><th "
                   "scope=\"col\">Made</th><th scope=\"col\">Ends</th><th scope=\"col\">Opened"
                   "</th><th scope=\"col\">Link</th></tr></thead><tbody>");
    json_array_foreach(list, i, share) {
        put_row(page, request, share, now);
    }
    buf_puts(page, "</tbody></table></div>");
}

static void reply_page(struct webui__request *request) {
    struct err err = {0};
    struct webui__query query;
    char base[300];
    if (webui__query_read(request, NO_PAGE, &query, &err) != 0) {
        webui__reply_err(request, &err);
        return;
    }
    base_of(request, base);
    json_t *list = webui__shares_json(&request->webui->shares, request->webui->link_key, base);
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    webui__html_begin(&page, "Shares", "/shares");
    buf_puts(&page, "<h1>Shares</h1><p>Whoever has the link of a share sees the frames that its "
                    "filter picks, and nothing else, until it ends.</p>");
    if (request->who.scopes & WEBUI_WRITE) {
        put_new(&page, request, &query.filter);
    }
    put_list(&page, request, list);
    webui__html_end(&page);
    json_decref(list);
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}

void webui__on_shares(struct webui__request *request) {
    struct err err = {0};
    struct webui__share share;
    if (!request->post) {
        reply_page(request);
    } else if (share_from_form(request, &share, &err) != 0) {
        webui__reply_err(request, &err);
    } else {
        webui__reply_redirect(request, MHD_HTTP_SEE_OTHER, "/shares");
    }
}

void webui__on_share_revoke(struct webui__request *request) {
    struct err err = {0};
    if (webui__share_revoke(&request->webui->shares, request->webui->store, request->capture,
                            &err) != 0) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_redirect(request, MHD_HTTP_SEE_OTHER, "/shares");
}
