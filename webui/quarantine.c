/* quarantine: see quarantine.h.
 *
 * The forms work without script. Giving up is asked twice: the first press leads to a page that
 * says how many uploads it is about, the second one carries `force`. What is asked and answered is
 * the daemon's (hooks.uploads), so that this page and `creel sync` cannot disagree.
 */
#include "webui/quarantine.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "webui/form.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/pages.h"
#include "webui/state.h"
#include <inttypes.h>
#include <string.h>

#define FEW   5 /* on the status page */
#define THUMB 64

static uint64_t number_at(const json_t *json, const char *key) {
    json_int_t number = json_integer_value(json_object_get(json, key));
    return number > 0 ? (uint64_t)number : 0;
}

static int ask(struct webui *webui, enum webui_uploads what, json_t *order, json_t **reply,
               struct err *err) {
    const struct webui_hooks *hooks = &webui->hooks;
    int code = !hooks->uploads ? err_set(err, ERR_NOT_FOUND, "nothing here uploads anything")
               : !order        ? err_set(err, ERR_INVALID, "what was sent is not UTF-8 text")
                               : hooks->uploads(hooks->ctx, what, order, reply, err);
    json_decref(order);
    return code;
}

/* ---- a list of them ---- */

/* One button of a form; `frame` "": all that is set aside for the remote. */
static void put_button(struct buf *page, const struct webui__request *request, const char *act,
                       const char *title, const char *remote, const char *frame) {
    buf_puts(page, "<form method=\"post\" action=\"/quarantine\">");
    webui__html_hidden(page, "csrf", request->who.csrf);
    webui__html_hidden(page, "remote", remote);
    webui__html_hidden(page, "frame", frame);
    buf_printf(page, "<button class=\"button plain\" name=\"act\" value=\"%s\">%s</button></form>",
               act, title);
}

static void put_row(struct buf *page, const struct webui__request *request, const json_t *row) {
    const char *remote = webui__json_text(row, "remote"), *frame = webui__json_text(row, "frame");
    buf_printf(page,
               "<tr><td><a href=\"/frames/%s\"><img src=\"/thumb/%s\" width=\"%d\" height=\"%d\" "
               "loading=\"lazy\" alt=\"The frame\"></a></td><td>",
               frame, webui__json_text(row, "sha256"), THUMB, THUMB * 3 / 4);
    buf_puts_html(page, remote);
    buf_puts(page, "</td><td>");
    webui__html_time(page, clock_parse_rfc3339(webui__json_text(row, "kept")));
    buf_puts(page, "</td><td class=\"number\">");
    webui__html_bytes(page, number_at(row, "bytes"));
    buf_puts(page, "</td><td class=\"number\">");
    webui__html_count(page, number_at(row, "attempts"));
    buf_puts(page, "</td><td class=\"reason\">");
    buf_puts_html(page, webui__json_text(row, "reason"));
    buf_puts(page, "</td>");
    if (request->who.scopes & WEBUI_WRITE) {
        buf_puts(page, "<td class=\"decide\">");
        put_button(page, request, "retry", "Retry", remote, frame);
        put_button(page, request, "drop", "Drop", remote, frame);
        buf_puts(page, "</td>");
    }
    buf_puts(page, "</tr>");
}

static void put_rows(struct buf *page, const struct webui__request *request, const json_t *rows,
                     size_t most) {
    webui__html_wide_begin(page, "Set aside", "");
    buf_puts(page, "<table class=\"aside\"><thead><tr><th scope=\"col\">Frame"
                   "</th><th scope=\"col\">Remote</th><th scope=\"col\">Kept</th><th scope=\"col\" "
                   "class=\"number\">Size</th><th scope=\"col\" class=\"number\">Attempts</th><th "
                   "scope=\"col\">Reason</th>");
    buf_puts(page, request->who.scopes & WEBUI_WRITE ? "<th scope=\"col\">Decide</th>" : "");
    buf_puts(page, "</tr></thead><tbody>");
    for (size_t i = 0; i < json_array_size(rows) && i < most; i++) {
        put_row(page, request, json_array_get(rows, i));
    }
    buf_puts(page, "</tbody></table></div>");
}

void webui__quarantine_write(struct buf *page, struct webui__request *request) {
    json_t *list = NULL;
    struct err err = {0};
    if (ask(request->webui, WEBUI_UPLOADS_ASIDE, json_object(), &list, &err) != 0) {
        return; /* the tiles say what is wrong with the store */
    }
    const json_t *rows = json_object_get(list, "rows");
    if (json_array_size(rows)) {
        buf_puts(page, "<section class=\"panel broad\" id=\"aside\"><h2>Set aside</h2>");
        put_rows(page, request, rows, FEW);
        if (json_array_size(rows) > FEW) {
            buf_puts(page, "<p><a href=\"/quarantine\">All that was set aside</a></p>");
        }
        buf_puts(page, "</section>");
    }
    json_decref(list);
}

/* ---- the page ---- */

static void put_next(struct buf *page, const json_t *list, const char *remote) {
    if (json_is_true(json_object_get(list, "more"))) {
        buf_puts(page, "<p><a class=\"button\" rel=\"next\" href=\"/quarantine?remote=");
        buf_puts_html(page, remote);
        buf_puts(page, "&amp;from=");
        buf_puts_html(page, webui__json_text(list, "from"));
        buf_printf(page, "&amp;after=%" PRIu64 "\">More</a></p>", number_at(list, "after"));
    }
}

/* What is decided about all of a remote's at once. */
static void put_all(struct buf *page, const struct webui__request *request,
                    const struct store_counts *counts) {
    for (size_t i = 0; i < counts->remote_count; i++) {
        const struct store_remote_counts *remote = &counts->remotes[i];
        if (!remote->quarantined) {
            continue;
        }
        buf_puts(page, "<div class=\"decide\"><span>");
        buf_puts_html(page, remote->name);
        buf_puts(page, ": ");
        webui__html_count(page, remote->quarantined);
        buf_puts(page, " set aside</span>");
        if (request->who.scopes & WEBUI_WRITE) {
            put_button(page, request, "retry", "Retry all", remote->name, "");
            put_button(page, request, "drop", "Drop all", remote->name, "");
        }
        buf_puts(page, "</div>");
    }
}

static int list_read(struct webui__request *request, json_t **list, struct err *err) {
    int64_t after = 0;
    const char *text = webui__arg(request, "after");
    if (text[0] && !webui__integer_parse(text, 0, INT64_MAX, &after)) {
        return err_set(err, ERR_INVALID, "after=%.40s: expected the number of a page before", text);
    }
    return ask(request->webui, WEBUI_UPLOADS_ASIDE,
               json_pack("{s:s,s:s,s:I}", "remote", webui__arg(request, "remote"), "from",
                         webui__arg(request, "from"), "after", (json_int_t)after),
               list, err);
}

static void reply_list(struct webui__request *request) {
    struct err err = {0};
    struct store_counts counts = {0};
    json_t *list = NULL;
    int code = webui__counts_read(request->webui, &counts, &err);
    code = code ? code : list_read(request, &list, &err);
    if (code) {
        webui__reply_err(request, &err);
        return;
    }
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    webui__html_begin(&page, "Set aside", "/status");
    buf_puts(&page, "<h1>Set aside</h1><p>Uploads that a remote refused for a reason that only a "
                    "person can mend. Mend it, then retry; what is dropped stays on this device "
                    "until its limits remove it, and never goes to that remote.</p>");
    put_all(&page, request, &counts);
    if (json_array_size(json_object_get(list, "rows"))) {
        put_rows(&page, request, json_object_get(list, "rows"), SIZE_MAX);
        put_next(&page, list, webui__arg(request, "remote"));
    } else {
        buf_puts(&page, "<p class=\"quiet\">Nothing is set aside.</p>");
    }
    webui__html_end(&page);
    json_decref(list);
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}

/* ---- deciding ---- */

struct decision {
    enum webui_uploads what;
    char act[8], remote[STORE_REMOTE_NAME_MAX + 1], frame[80], force[8];
};

static int decision_read(const struct webui__request *request, struct decision *out,
                         struct err *err) {
    struct decision decision = {.what = WEBUI_UPLOADS_RETRY};
    const char *body = request->body.len ? request->body.data : "";
    webui__form_get(body, request->body.len, "act", decision.act, sizeof(decision.act));
    webui__form_get(body, request->body.len, "remote", decision.remote, sizeof(decision.remote));
    webui__form_get(body, request->body.len, "frame", decision.frame, sizeof(decision.frame));
    webui__form_get(body, request->body.len, "force", decision.force, sizeof(decision.force));
    bool drop = strcmp(decision.act, "drop") == 0;
    if (!drop && strcmp(decision.act, "retry") != 0) {
        return err_set(err, ERR_INVALID, "act must be retry or drop");
    }
    if (!decision.remote[0]) {
        return err_set(err, ERR_INVALID, "remote must be the name of a remote");
    }
    decision.what = drop ? WEBUI_UPLOADS_DROP : WEBUI_UPLOADS_RETRY;
    *out = decision;
    return 0;
}

/* `count_only` says how many it is about, and changes nothing. */
static int decide(struct webui__request *request, const struct decision *decision, bool count_only,
                  json_t **reply, struct err *err) {
    bool one = decision->frame[0] != '\0';
    json_t *order = json_pack("{s:s,s:s,s:b,s:b}", "what", one ? decision->frame : decision->remote,
                              "remote", one ? decision->remote : "", "force",
                              decision->force[0] != '\0', "dry_run", count_only);
    int code = ask(request->webui, decision->what, order, reply, err);
    if (!code && !count_only) {
        log_info("uploads that were set aside", "act=%s remote=%s frame=%.40s by=%s", decision->act,
                 decision->remote, decision->frame, request->who.user);
    }
    return code;
}

static void reply_sure(struct webui__request *request, const struct decision *decision,
                       uint64_t found) {
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    webui__html_begin(&page, "Drop?", "/status");
    buf_puts(&page, "<h1>Drop ");
    webui__html_count(&page, found);
    buf_printf(&page, " %s?</h1><p>Never to be sent to ", found == 1 ? "upload" : "uploads");
    buf_puts_html(&page, decision->remote);
    buf_puts(&page,
             ". This cannot be taken back here; <code>creel sync backfill</code> queues them "
             "again while they are on this device.</p><form class=\"decide\" method=\"post\" "
             "action=\"/quarantine\">");
    webui__html_hidden(&page, "csrf", request->who.csrf);
    webui__html_hidden(&page, "act", "drop");
    webui__html_hidden(&page, "remote", decision->remote);
    webui__html_hidden(&page, "frame", decision->frame);
    buf_puts(&page, "<button class=\"button danger\" name=\"force\" value=\"yes\">Drop</button> "
                    "<a class=\"button plain\" href=\"/quarantine\">Keep</a></form>");
    webui__html_end(&page);
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}

void webui__on_quarantine(struct webui__request *request) {
    struct err err = {0};
    struct decision decision;
    json_t *reply = NULL;
    if (!request->post) {
        reply_list(request);
        return;
    }
    int code = decision_read(request, &decision, &err);
    bool asks = !code && decision.what == WEBUI_UPLOADS_DROP && !decision.force[0];
    code = code ? code : decide(request, &decision, asks, &reply, &err);
    if (code) {
        webui__reply_err(request, &err);
    } else if (asks) {
        reply_sure(request, &decision, number_at(reply, "found"));
    } else {
        webui__reply_redirect(request, MHD_HTTP_SEE_OTHER, "/quarantine");
    }
    json_decref(reply);
}

/* ---- for machines ---- */

void webui__on_api_quarantine(struct webui__request *request) {
    struct err err = {0};
    struct decision decision;
    json_t *reply = NULL;
    int code;
    if (request->post) {
        code = decision_read(request, &decision, &err);
        code = code ? code : decide(request, &decision, false, &reply, &err);
    } else {
        code = list_read(request, &reply, &err);
    }
    if (code) {
        webui__reply_err(request, &err);
    } else {
        webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE, reply);
    }
}
