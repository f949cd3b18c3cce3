#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/json.h"
#include "webui/link.h"
#include "webui/mint.h"
#include "webui/pages.h"
#include "webui/query.h"
#include "webui/state.h"
#include "webui/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_PER_PAGE 100
#define HOURS_MAX     72 /* with frames */

/* ---- frames ---- */

static json_t *rows_json(const struct store_page *page) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < page->count; i++) {
        if (json_array_append_new(list, webui_frame_json(&page->rows[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *next_json(const struct store_page *page) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(128);
    if (!page->more) {
        return json_null();
    }
    webui__cursor_write(&text, &page->next);
    return text.failed ? NULL : json_string(text.data);
}

void webui__on_api_frames(struct webui__request *request) {
    struct err err = {0};
    struct webui__query query;
    struct store_page *page = NULL;
    int code = webui__query_read(request, ROWS_PER_PAGE, &query, &err);
    code = code ? code
                : webui__page_read(request->webui, &query.filter, &query.after, query.limit, &page,
                                   &err);
    if (code) {
        webui__reply_err(request, &err);
        return;
    }
    json_t *json = json_pack("{s:o,s:o}", "frames", rows_json(page), "next", next_json(page));
    store_page_destroy(page);
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, json);
}

void webui__on_api_frame(struct webui__request *request) {
    struct store_row *row = webui__frame_named(request);
    if (row) {
        json_t *json = webui_frame_json(row);
        store_row_destroy(row);
        webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, json);
    }
}

static json_t *hours_json(const struct store_hour *hours, size_t count, bool more) {
    char text[CLOCK_RFC3339_SIZE];
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++) {
        json_array_append_new(list, json_pack("{s:s,s:I}", "from",
                                              clock_format_rfc3339(hours[i].utc_us, text), "frames",
                                              (json_int_t)hours[i].frames));
    }
    return json_pack("{s:o,s:b}", "hours", list, "more", more);
}

void webui__on_api_hours(struct webui__request *request) {
    struct err err = {0};
    struct webui__query query;
    struct store_reader *reader = NULL;
    struct store_hour hours[HOURS_MAX];
    size_t count = 0;
    bool more = false;
    int code = webui__query_read(request, 1, &query, &err);
    code = code ? code : webui__reader_take(request->webui, &reader, &err);
    if (!code) {
        code = store_hours_read(reader, &query.filter, hours, HOURS_MAX, &count, &more, &err);
        webui__reader_give(request->webui, reader);
    }
    if (code) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, hours_json(hours, count, more));
}

void webui__on_api_status(struct webui__request *request) {
    const struct webui_hooks *hooks = &request->webui->hooks;
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE,
                      hooks->status ? hooks->status(hooks->ctx) : json_object());
}

/* ---- links ---- */

void webui__origin(struct webui__request *request, char *out, size_t size) {
    const char *host = webui__header(request, "Host");
    bool plain =
        host && host[0] &&
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") ==
            strlen(host);
    snprintf(out, size, "%s%s",
             !plain                 ? ""
             : request->server->tls ? "https://"
                                    : "http://",
             plain ? host : "");
}

static int local_link(struct webui__request *request, const struct store_row *row,
                      int64_t expires_s, char out[WEBUI_LINK_MAX], struct err *err) {
    char path[WEBUI_LINK_MAX], base[300];
    if (row->place != STORE_PLACE_LOCAL) {
        return err_wrap(err, "the frame is no longer on this device, and there is no cloud link");
    }
    int code = webui_local_link(request->webui->link_key, row->record.tier, &row->record.blob,
                                expires_s, path, err);
    if (code == 0) {
        webui__origin(request, base, sizeof(base));
        snprintf(out, WEBUI_LINK_MAX, "%s%.1024s", base, path);
    }
    return code;
}

static json_t *link_json(const char *url, const char *kind, int64_t expires_s, const char *why) {
    char text[CLOCK_RFC3339_SIZE];
    json_t *json = json_pack("{s:s,s:s,s:s}", "url", url, "kind", kind, "expires",
                             clock_format_rfc3339(expires_s * 1000000, text));
    if (json && why[0]) { /* why it is not a cloud link */
        json_object_set_new(json, "note", json_string(why));
    }
    return json;
}

/* A link in the cloud where one could be had, else creel's own. */
static json_t *made_link(struct webui__request *request, struct webui__mint *mint,
                         struct err *err) {
    int64_t expires_s = clock_utc_us() / 1000000 + mint->ttl_s;
    char url[WEBUI_LINK_MAX], why[ERR_TEXT_MAX * 2] = "";
    if (mint->code == 0) {
        return link_json(mint->url, mint->kind, expires_s, "");
    }
    if (mint->code != ERR_NOT_FOUND) {
        err_text(&mint->err, why, sizeof(why));
    }
    *err = mint->err;
    return local_link(request, mint->row, expires_s, url, err) == 0
               ? link_json(url, "local", expires_s, why)
               : NULL;
}

void webui__on_api_link(struct webui__request *request) {
    const char *text = webui__arg(request, "ttl");
    int64_t ttl_s = request->webui->link_ttl_s;
    struct err err = {0};
    if (text[0] &&
        !webui__integer_parse(text, WEBUI__LINK_TTL_MIN_S, WEBUI__LINK_TTL_MAX_S, &ttl_s)) {
        webui__reply_problem(request, MHD_HTTP_BAD_REQUEST, "ttl=%.40s: expected %d to %d seconds",
                             text, WEBUI__LINK_TTL_MIN_S, WEBUI__LINK_TTL_MAX_S);
        return;
    }
    struct webui__mint *mint = webui__mint_result(request);
    if (!mint) {
        struct store_row *row = webui__frame_named(request);
        if (row) {
            webui__mint_put(request, row, (int)ttl_s);
        }
        return;
    }
    json_t *json = made_link(request, mint, &err);
    if (!json && err.code) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, json);
}

/* The picture as it came in, wherever it is: from here, else by way of a link into the cloud. */
void webui__on_original(struct webui__request *request) {
    char path[160], hex[HASH_HEX_SIZE];
    struct webui__mint *mint = webui__mint_result(request);
    if (mint && mint->code == 0) {
        webui__reply_redirect(request, MHD_HTTP_FOUND, mint->url);
        return;
    }
    if (mint) {
        err_wrap(&mint->err, "the picture is no longer on this device");
        webui__reply_err(request, &mint->err);
        return;
    }
    struct store_row *row = webui__frame_named(request);
    if (row && row->place != STORE_PLACE_LOCAL) {
        webui__mint_put(request, row, request->webui->link_ttl_s);
    } else if (row) {
        snprintf(path, sizeof(path), "/blob/%s?tier=%s&download=1",
                 hash_hex(row->record.blob.bytes, sizeof(row->record.blob.bytes), hex),
                 webui__tier_name(row->record.tier));
        store_row_destroy(row);
        webui__reply_redirect(request, MHD_HTTP_FOUND, path);
    }
}
