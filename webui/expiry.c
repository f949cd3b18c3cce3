/* expiry: what the tiers' limits take, and when, as a table; see account.h. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/account.h"
#include "webui/html.h"
#include "webui/state.h"
#include <string.h>

#define AGE_US   (30 * INT64_C(1000000))
#define TEXT_MAX (64u << 10)
#define HOUR_US  (3600 * INT64_C(1000000))
#define SPANS    4

static const int64_t within_us[SPANS] = {HOUR_US, 24 * HOUR_US, 7 * 24 * HOUR_US,
                                         30 * 24 * HOUR_US};

static void put_limit(struct buf *page, const char *name, int64_t ms) {
    json_t *seconds = json_integer(ms / 1000);
    buf_printf(page, "%s ", name);
    webui__html_json(page, "limit_seconds", seconds);
    json_decref(seconds);
}

static void put_limits(struct buf *page, const struct store_tier_config *limits) {
    const char *between = "";
    if (limits->max_age_ms > 0) {
        put_limit(page, "after", limits->max_age_ms);
        between = ", ";
    }
    if (limits->keep_after_upload_ms > 0) {
        buf_puts(page, between);
        put_limit(page, "once uploaded, after", limits->keep_after_upload_ms);
        between = ", ";
    }
    if (limits->max_bytes) {
        buf_printf(page, "%sbeyond ", between);
        webui__html_bytes(page, limits->max_bytes);
        between = ", ";
    }
    buf_puts(page, between[0] ? "" : "only for want of room");
}

static void put_span(struct buf *page, const struct store_expiry *span) {
    buf_puts(page, "<td class=\"number\">");
    if (!span->blobs) {
        buf_puts(page, "–</td>");
        return;
    }
    buf_puts(page, span->about ? "about " : span->more ? "more than " : "");
    webui__html_count(page, span->blobs);
    buf_puts(page, "<br><span class=\"quiet\">");
    webui__html_bytes(page, span->bytes);
    buf_puts(page, "</span></td>");
}

static int put_tier(struct buf *page, struct store_reader *reader, enum frame_tier tier,
                    struct err *err) {
    struct store_expiry spans[SPANS];
    struct store_tier_config limits;
    int code = store_expiry_read(reader, tier, within_us, SPANS, spans, &limits, err);
    if (code) {
        return code;
    }
    buf_printf(page, "<tr><td>%s</td><td>", tier == TIER_ANNOTATED ? "Annotated" : "Unannotated");
    put_limits(page, &limits);
    buf_puts(page, "</td>");
    for (size_t i = 0; i < SPANS; i++) {
        put_span(page, &spans[i]);
    }
    buf_puts(page, "</tr>");
    return 0;
}

static void put_notes(struct buf *page, struct store *store) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    buf_puts(page, "<p class=\"quiet\">Pictures that are here now; their records stay. What a "
                   "remote is still owed and what is pinned stays beyond that. Quota and free "
                   "space take the least valuable first, whenever they must.</p>");
    if (stats.ages_rest) {
        buf_puts(page, "<p class=\"alarm\">Nothing goes for its age now: the clock cannot be "
                       "right.</p>");
    }
    if (stats.limits_held) {
        buf_puts(page, "<p class=\"alarm\">The limits have changed and would take more than a "
                       "quarter: they wait for <code>creel gc --force</code>.</p>");
    }
}

static int make(struct buf *text, struct webui *webui, struct err *err) {
    struct store_reader *reader = NULL;
    int code = webui__reader_take(webui, &reader, err);
    buf_puts(text, "<section class=\"panel broad\" id=\"expiry\"><h2>What expires when</h2>");
    webui__html_wide_begin(text, "What expires when", "");
    buf_puts(text, "<table><thead><tr><th scope=\"col\">Tier</th><th "
                   "scope=\"col\">Goes</th><th scope=\"col\" class=\"number\">Within an hour</th>"
                   "<th scope=\"col\" class=\"number\">A day</th><th scope=\"col\" "
                   "class=\"number\">A week</th><th scope=\"col\" class=\"number\">30 days</th>"
                   "</tr></thead><tbody>");
    for (int tier = 0; !code && tier < TIER_COUNT; tier++) {
        code = put_tier(text, reader, (enum frame_tier)tier, err);
    }
    buf_puts(text, "</tbody></table></div>");
    put_notes(text, webui->store);
    buf_puts(text, "</section>");
    if (reader) {
        webui__reader_give(webui, reader);
    }
    return code;
}

void webui__expiry_write(struct buf *page, struct webui *webui) {
    struct webui__made *made = &webui->expiry;
    int64_t now = clock_boot_us();
    struct err err = {0};
    pthread_mutex_lock(&made->lock);
    if (!made->text.len || now - made->made_boot_us >= AGE_US) {
        buf_finish(&made->text);
        made->text = (struct buf)BUF_INIT(TEXT_MAX);
        made->made_boot_us = now;
        if (make(&made->text, webui, &err) != 0) {
            buf_reset(&made->text);
        }
    }
    if (made->text.len) {
        buf_append(page, made->text.data, made->text.len);
    }
    pthread_mutex_unlock(&made->lock);
}
