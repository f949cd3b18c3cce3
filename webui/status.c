/* status: how creel is doing, for a person. The store's counters are shown as tiles, then what was
 * set aside (quarantine.c), and what the daemon tells of itself (account.c). Script asks again for
 * the part every few seconds.
 */
#include "daemon/base/mem.h"
#include "webui/account.h"
#include "webui/chart.h"
#include "webui/html.h"
#include "webui/pages.h"
#include "webui/quarantine.h"
#include "webui/state.h"
#include <string.h>

static void tile_begin(struct buf *page, const char *title) {
    buf_printf(page, "<div class=\"tile\"><h2>%s</h2>", title);
}

static void tier_tile(struct buf *page, const struct store_counts *counts, enum frame_tier tier) {
    uint64_t frames = counts->frames[tier], replicated = counts->replicated[tier];
    tile_begin(page, tier == TIER_ANNOTATED ? "Annotated" : "Unannotated");
    buf_puts(page, "<p class=\"big\">");
    webui__html_count(page, frames);
    buf_printf(page, " <small>%s</small></p><p>", frames == 1 ? "frame" : "frames");
    webui__html_bytes(page, counts->blob_bytes[tier]);
    buf_puts(page, " on this device</p>");
    if (counts->remote_count) {
        webui__html_bar(page, frames ? (double)replicated / (double)frames : 0, "replicated");
        buf_puts(page, "<p class=\"quiet\">");
        webui__html_count(page, replicated);
        buf_puts(page, " replicated</p>");
    }
    buf_puts(page, "</div>");
}

static void disk_tile(struct buf *page, const struct store_counts *counts) {
    tile_begin(page, "Disk");
    buf_puts(page, "<p class=\"big\">");
    webui__html_bytes(page, counts->disk_bytes);
    buf_puts(page, "</p>");
    if (counts->quota_bytes) {
        buf_puts(page, "<p>of a quota of ");
        webui__html_bytes(page, counts->quota_bytes);
        buf_puts(page, "</p>");
        webui__html_bar(page, (double)counts->disk_bytes / (double)counts->quota_bytes, "used");
    } else {
        buf_puts(page, "<p class=\"quiet\">no quota is set</p>");
    }
    uint64_t evicted = counts->evicted[TIER_ANNOTATED] + counts->evicted[TIER_UNANNOTATED];
    buf_puts(page, "<p class=\"quiet\">");
    webui__html_count(page, evicted);
    buf_puts(page, " frames have left this device</p></div>");
}

static void waiting_tile(struct buf *page, const struct store_counts *counts) {
    uint64_t pending = 0, bytes = 0, aside = 0;
    for (size_t i = 0; i < counts->remote_count; i++) {
        pending += counts->remotes[i].pending;
        bytes += counts->remotes[i].pending_bytes;
        aside += counts->remotes[i].quarantined;
    }
    tile_begin(page, "Waiting for a remote");
    if (!counts->remote_count) {
        buf_puts(page,
                 "<p class=\"big\">–</p><p class=\"quiet\">No remote is configured: frames stay "
                 "on this device. Name one under <code>sync.remotes</code>.</p></div>");
        return;
    }
    buf_puts(page, "<p class=\"big\">");
    webui__html_count(page, pending);
    buf_printf(page, " <small>%s</small></p><p>", pending == 1 ? "object" : "objects");
    webui__html_bytes(page, bytes);
    buf_puts(page, "</p>");
    if (aside) {
        buf_puts(page, "<p class=\"alarm\">");
        webui__html_count(page, aside);
        buf_puts(page, " set aside: <a href=\"/quarantine\">see why</a></p>");
    }
    buf_puts(page, "</div>");
}

static void part(struct buf *page, struct webui__request *request,
                 const struct store_counts *counts) {
    buf_puts(page, "<div class=\"tiles\">");
    tier_tile(page, counts, TIER_ANNOTATED);
    tier_tile(page, counts, TIER_UNANNOTATED);
    waiting_tile(page, counts);
    disk_tile(page, counts);
    buf_puts(page, "</div><div class=\"panels charts\">");
    webui__charts_write(page, request->webui);
    buf_puts(page, "</div><div class=\"panels\">");
    webui__quarantine_write(page, request);
    webui__account_write(page, request->webui);
    buf_puts(page, "</div>");
}

void webui__on_status(struct webui__request *request) {
    struct err err = {0};
    struct store_counts counts = {0};
    if (webui__counts_read(request->webui, &counts, &err) != 0) {
        webui__reply_err(request, &err);
        return;
    }
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    if (strcmp(webui__arg(request, "part"), "status") == 0) {
        part(&page, request, &counts);
    } else {
        webui__html_begin(&page, "Status", "/status");
        buf_puts(&page, "<h1>Status</h1><div id=\"status\">");
        part(&page, request, &counts);
        buf_puts(&page, "</div>");
        webui__html_end(&page);
    }
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}
