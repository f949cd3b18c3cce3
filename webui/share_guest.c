/* share_guest: what somebody without a login sees behind a share's link.
 *
 * The token is looked at again for each picture, and each picture must be one that the share's
 * filter picks, by the same read of the store as the gallery's (narrowed to that frame's moment),
 * so that no rule is written twice. A picture that is in the cloud is answered by a redirect to a
 * link of a quarter of an hour, or less where the share ends before; the others come from the
 * store. Nothing of it may be kept longer than minutes, or a revocation would be late.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/assets.h"
#include "webui/html.h"
#include "webui/mint.h"
#include "webui/pages.h"
#include "webui/query.h"
#include "webui/share.h"
#include "webui/state.h"
#include "webui/text.h"
#include <stdio.h>
#include <string.h>

#define CARDS_PER_PAGE 60
#define BOXES_PER_CARD 24
#define THUMB_WIDTH    320
#define CLOUD_TTL_S    900
#define MOMENT_MAX     100 /* frames of one microsecond that are looked through */

/* ---- the page ---- */

/* The token in "/s/TOKEN" and "/s/TOKEN/thumb/ID". */
static void token_of(const struct webui__request *request, char out[WEBUI__SHARE_TOKEN]) {
    const char *text = request->path + strlen("/s/");
    size_t size = strcspn(text, "/");
    snprintf(out, WEBUI__SHARE_TOKEN, "%.*s", size < WEBUI__SHARE_TOKEN ? (int)size : 0, text);
}

/* Answers and returns false unless the link is good. */
static bool enter(struct webui__request *request, bool count, struct webui__share *share) {
    char token[WEBUI__SHARE_TOKEN];
    struct webui *webui = request->webui;
    token_of(request, token);
    switch (webui__share_find(&webui->shares, webui->link_key, token, clock_utc_us() / 1000000,
                              count, share)) {
    case SHARE_OPEN:
        return true;
    case SHARE_FORGED:
        webui__reply_problem(request, MHD_HTTP_FORBIDDEN,
                             "this link is not one that this creel has signed");
        return false;
    case SHARE_OVER:
        webui__reply_problem(request, MHD_HTTP_GONE,
                             "this link has ended: ask who gave it to you for a new one");
        return false;
    default:
        webui__reply_problem(request, MHD_HTTP_GONE, "this link was taken back");
        return false;
    }
}

static void guest_begin(struct buf *page, const struct webui__share *share) {
    const char *version = webui__assets_version();
    buf_puts(page, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                   "<meta name=\"color-scheme\" content=\"light dark\">"
                   "<meta name=\"robots\" content=\"noindex\"><title>");
    buf_puts_html(page, share->title);
    buf_printf(page,
               " · creel</title><link rel=\"icon\" type=\"image/svg+xml\" "
               "href=\"/assets/icon.svg?v=%s\"><link rel=\"stylesheet\" "
               "href=\"/assets/app.css?v=%s\"><script src=\"/assets/app.js?v=%s\" defer></script>"
               "</head><body><main id=\"main\"><h1>",
               version, version, version);
    buf_puts_html(page, share->title);
    buf_puts(page, "</h1><p class=\"quiet\">Open until ");
    webui__html_time(page, share->expires_s * 1000000);
    buf_puts(page, ".</p>");
}

static void guest_card(struct buf *page, const char *token, const struct store_row *row) {
    const struct frame_record *record = &row->record;
    uint32_t width = 1, height = 1;
    char id[HASH_ID_SIZE];
    frame_id_format(&record->id, id);
    webui__shown_size(record, true, &width, &height);
    buf_printf(page,
               "<li class=\"card\"><a href=\"/s/%s/image/%s\"><span class=\"thumb\"><img "
               "src=\"/s/%s/thumb/%s\" width=\"%d\" height=\"%u\" loading=\"lazy\" "
               "decoding=\"async\" alt=\"\"><svg class=\"boxes\" viewBox=\"0 0 %u %u\" "
               "preserveAspectRatio=\"xMidYMid slice\" aria-hidden=\"true\">",
               token, id, token, id, THUMB_WIDTH,
               (unsigned)((uint64_t)THUMB_WIDTH * height / width), width, height);
    webui__svg_boxes(page, record, true, false, BOXES_PER_CARD, 0);
    buf_puts(page, "</svg></span><span class=\"meta\"><span class=\"camera\">");
    buf_puts_html(page, record->camera);
    buf_puts(page, "</span>");
    webui__html_time(page, record->captured.utc_us);
    buf_puts(page, "</span></a></li>");
}

/* Cards, and in `next` what `after` is for the following page, "" on the last one. */
struct guest_list {
    const char *token;
    struct buf cards, next;
};

static void guest_page(struct buf *page, const struct webui__share *share,
                       const struct guest_list *list) {
    guest_begin(page, share);
    buf_puts(page, list->cards.len ? "<ul class=\"grid\">" : "<p>No frame is in it now.</p><ul>");
    buf_append(page, list->cards.data, list->cards.len);
    buf_puts(page, "</ul>");
    if (list->next.len) {
        buf_printf(page,
                   "<p><a class=\"button\" rel=\"next\" href=\"/s/%s?after=%s\">More frames</a>"
                   "</p>",
                   list->token, list->next.data);
    }
    webui__html_end(page);
    page->failed = page->failed || list->cards.failed;
}

static int filtered_list(struct webui *webui, const struct webui__share *share, const char *after,
                         struct guest_list *list, struct err *err) {
    struct webui__query query;
    struct store_page *rows = NULL;
    int code = webui__query_parse(share->query, CARDS_PER_PAGE, &query, err);
    if (!code && after[0] && !webui__cursor_parse(after, &query.after)) {
        code =
            err_set(err, ERR_INVALID, "after=%.60s: expected the cursor of a page before", after);
    }
    code =
        code ? code : webui__page_read(webui, &query.filter, &query.after, query.limit, &rows, err);
    for (size_t i = 0; !code && i < rows->count; i++) {
        guest_card(&list->cards, list->token, &rows->rows[i]);
    }
    if (!code && rows->more) {
        webui__cursor_write(&list->next, &rows->next);
    }
    store_page_destroy(rows);
    return code;
}

/* One that is forgotten altogether is left out. */
static int named_card(struct webui *webui, const struct frame_id *id, struct guest_list *list,
                      struct err *err) {
    struct store_reader *reader = NULL;
    struct store_row *row = NULL;
    int code = webui__reader_take(webui, &reader, err);
    if (!code) {
        code = store_frame_get(reader, id, &row, err);
        webui__reader_give(webui, reader);
    }
    if (row) {
        guest_card(&list->cards, list->token, row);
    }
    store_row_destroy(row);
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* Here the cursor is how many came before. */
static int named_list(struct webui *webui, const struct webui__share *share, const char *after,
                      struct guest_list *list, struct err *err) {
    struct frame_id ids[WEBUI__SHARE_FRAMES_MAX];
    int64_t at = 0;
    int code = webui__share_frames(webui->store, share, ids, err);
    if (!code && after[0] && !webui__integer_parse(after, 0, share->frames, &at)) {
        code =
            err_set(err, ERR_INVALID, "after=%.60s: expected the cursor of a page before", after);
    }
    size_t end =
        (size_t)at + CARDS_PER_PAGE < share->frames ? (size_t)at + CARDS_PER_PAGE : share->frames;
    for (size_t i = (size_t)at; !code && i < end; i++) {
        code = named_card(webui, &ids[i], list, err);
    }
    if (end < share->frames) {
        buf_printf(&list->next, "%zu", end);
    }
    return code;
}

void webui__on_share(struct webui__request *request) {
    struct err err = {0};
    struct webui__share share;
    char token[WEBUI__SHARE_TOKEN];
    const char *after = webui__arg(request, "after");
    struct guest_list list = {
        .token = token, .cards = BUF_INIT(WEBUI__PAGE_MAX), .next = BUF_INIT(64)};
    if (!enter(request, !after[0] && !request->head, &share)) {
        return;
    }
    token_of(request, token);
    int code = share.frames ? named_list(request->webui, &share, after, &list, &err)
                            : filtered_list(request->webui, &share, after, &list, &err);
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    if (code) {
        webui__reply_err(request, &err);
    } else {
        guest_page(&page, &share, &list);
        webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
    }
    buf_finish(&list.cards);
    buf_finish(&list.next);
}

/* ---- its pictures ---- */

static int names(struct webui *webui, const struct webui__share *share, const struct store_row *row,
                 struct err *err) {
    struct frame_id ids[WEBUI__SHARE_FRAMES_MAX];
    int code = webui__share_frames(webui->store, share, ids, err);
    for (size_t i = 0; !code && i < share->frames; i++) {
        if (memcmp(&ids[i], &row->record.id, sizeof(ids[i])) == 0) {
            return 0;
        }
    }
    return code ? code : err_set(err, ERR_NOT_FOUND, "this share has no such frame");
}

static int picks(struct webui *webui, const struct webui__share *share, const struct store_row *row,
                 struct err *err) {
    struct webui__query query;
    struct store_page *rows = NULL;
    int64_t moment = row->record.captured.utc_us;
    bool found = false;
    int code = webui__query_parse(share->query, MOMENT_MAX, &query, err);
    if (!code && query.filter.since_us <= moment &&
        (!query.filter.until_us || moment < query.filter.until_us)) {
        query.filter.since_us = moment;
        query.filter.until_us = moment + 1;
        code = webui__page_read(webui, &query.filter, &query.after, MOMENT_MAX, &rows, err);
    }
    for (size_t i = 0; rows && i < rows->count; i++) {
        found =
            found || memcmp(&rows->rows[i].record.id, &row->record.id, sizeof(row->record.id)) == 0;
    }
    store_page_destroy(rows);
    return code || found ? code : err_set(err, ERR_NOT_FOUND, "this share has no such frame");
}

/* The frame that the address names, if the share has it; NULL: answered. */
static struct store_row *shared_row(struct webui__request *request, struct webui__share *share) {
    struct err err = {0};
    struct frame_id id;
    struct store_reader *reader = NULL;
    struct store_row *row = NULL;
    if (!enter(request, false, share)) {
        return NULL;
    }
    if (!frame_id_parse(request->capture, &id)) {
        webui__reply_problem(request, MHD_HTTP_NOT_FOUND, "expected the id of a frame");
        return NULL;
    }
    int code = webui__reader_take(request->webui, &reader, &err);
    if (!code) {
        code = store_frame_get(reader, &id, &row, &err);
        webui__reader_give(request->webui, reader);
    }
    code = code            ? code
           : share->frames ? names(request->webui, share, row, &err)
                           : picks(request->webui, share, row, &err);
    if (code) {
        store_row_destroy(row);
        webui__reply_err(request, &err);
        return NULL;
    }
    return row;
}

typedef int read_fn(struct store_reader *reader, const struct store_row *row, uint8_t **bytes,
                    size_t *size, struct err *err);

static int read_thumb(struct store_reader *reader, const struct store_row *row, uint8_t **bytes,
                      size_t *size, struct err *err) {
    return store_thumb_read(reader, &row->record.blob, bytes, size, err);
}

static int read_blob(struct store_reader *reader, const struct store_row *row, uint8_t **bytes,
                     size_t *size, struct err *err) {
    return store_blob_read(reader, row->record.tier, &row->record.blob, bytes, size, err);
}

static void reply_picture(struct webui__request *request, const struct store_row *row,
                          read_fn *read) {
    struct err err = {0};
    struct store_reader *reader = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int code = webui__reader_take(request->webui, &reader, &err);
    if (!code) {
        code = read(reader, row, &bytes, &size, &err);
        webui__reader_give(request->webui, reader);
    }
    if (code) {
        webui__reply_err(request, &err);
        return;
    }
    webui__set_header(request, "Cache-Control", "private, max-age=300");
    webui__set_header(request, "Content-Security-Policy", "default-src 'none'; sandbox");
    webui__reply_bytes(request, MHD_HTTP_OK, webui__media_type(webui__media_sniff(bytes, size)),
                       bytes, 0, size);
}

void webui__on_share_thumb(struct webui__request *request) {
    struct webui__share share;
    struct store_row *row = shared_row(request, &share);
    if (row) {
        reply_picture(request, row, read_thumb);
        store_row_destroy(row);
    }
}

void webui__on_share_image(struct webui__request *request) {
    struct webui__share share;
    struct webui__mint *mint = webui__mint_result(request);
    if (mint && mint->code == 0) {
        webui__reply_redirect(request, MHD_HTTP_FOUND, mint->url);
    } else if (mint) {
        reply_picture(request, mint->row, read_blob);
    } else {
        struct store_row *row = shared_row(request, &share);
        int64_t left_s = row ? share.expires_s - clock_utc_us() / 1000000 : 0;
        if (row) {
            webui__mint_put(request, row,
                            left_s < 1             ? 1
                            : left_s < CLOUD_TTL_S ? (int)left_s
                                                   : CLOUD_TTL_S);
        }
    }
}
