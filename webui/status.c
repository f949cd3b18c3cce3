/* status: how creel is doing, for a person. The store's counters are shown as tiles; whatever else
 * the daemon tells of itself (the status hook) is shown as it comes, a section each. Script asks
 * again for the part every few seconds.
 */
#include "daemon/base/mem.h"
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
    buf_puts(page, " removed to make room</p></div>");
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

/* ---- the daemon's own account ---- */

struct column {
    const char *key, *title;
    bool number;
};

/* Sections whose best columns are known; any other section is shown as it comes. */
static const struct section {
    const char *key, *title;
    struct column columns[12];
} sections[] = {
    {"cameras",
     "Cameras",
     {{"name", "Camera", false},
      {"source", "Source", false},
      {"frames_seen", "Seen", true},
      {"kept", "Kept", true},
      {"rejected", "Passed over", true},
      {"dropped", "Dropped", true},
      {"bad", "Not an image", true},
      {"failed", "Failed", true},
      {"last_frame", "Last frame", false},
      {"last_error", "Last error", false}}},
    {"sync",
     "Remotes",
     {{"name", "Remote", false},
      {"kind", "Kind", false},
      {"where", "Where", false},
      {"done", "Confirmed", true},
      {"pending", "Waiting", true},
      {"pending_bytes", "Bytes waiting", true},
      {"oldest_pending", "Oldest waiting", false},
      {"failures", "Failures", true},
      {"quarantined", "Set aside", true},
      {"breaker_open", "Held back", false},
      {"last_error", "Last error", false}}},
};

static void table(struct buf *page, const struct section *section, const json_t *list) {
    size_t index = 0;
    json_t *row = NULL;
    buf_printf(page,
               "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"%s\"><table>"
               "<thead><tr>",
               section->title);
    for (const struct column *column = section->columns; column->key; column++) {
        buf_printf(page, "<th scope=\"col\"%s>%s</th>", column->number ? " class=\"number\"" : "",
                   column->title);
    }
    buf_puts(page, "</tr></thead><tbody>");
    json_array_foreach(list, index, row) {
        buf_puts(page, "<tr>");
        for (const struct column *column = section->columns; column->key; column++) {
            const json_t *value = json_object_get(row, column->key);
            buf_printf(page, "<td%s>", column->number ? " class=\"number\"" : "");
            webui__html_json(page, column->key, value);
            buf_puts(page, "</td>");
        }
        buf_puts(page, "</tr>");
    }
    buf_puts(page, "</tbody></table></div>");
}

static void panel(struct buf *page, const char *key, const json_t *value) {
    const struct section *section = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(sections); i++) {
        section = strcmp(sections[i].key, key) == 0 ? &sections[i] : section;
    }
    buf_printf(page, "<section class=\"panel%s\"><h2>",
               section || json_is_array(value) ? " broad" : "");
    buf_puts_html(page, section ? section->title : key);
    buf_puts(page, "</h2>");
    if (section && json_array_size(value)) {
        table(page, section, value);
    } else {
        webui__html_json(page, key, value);
    }
    buf_puts(page, "</section>");
}

static bool is_part(const json_t *value) {
    return json_is_object(value) || json_is_array(value);
}

/* The known sections first, then the others, then the single values. */
static void account(struct buf *page, struct webui *webui) {
    json_t *status = webui->hooks.status ? webui->hooks.status(webui->hooks.ctx) : NULL;
    json_t *value = NULL, *plain = json_object();
    const char *key = NULL;
    json_t *pipeline = json_object_get(status, "pipeline");
    webui__times_write(page, "Time in the worker", json_object_get(pipeline, "detect"));
    webui__times_write(page, "From capture to verdict", json_object_get(pipeline, "latency"));
    json_object_del(pipeline, "detect");
    json_object_del(pipeline, "latency");
    for (size_t i = 0; i < ARRAY_LENGTH(sections); i++) {
        value = json_object_get(status, sections[i].key);
        if (value) {
            panel(page, sections[i].key, value);
            json_object_del(status, sections[i].key);
        }
    }
    json_object_foreach(status, key, value) {
        if (is_part(value)) {
            panel(page, key, value);
        } else {
            json_object_set(plain, key, value);
        }
    }
    if (json_object_size(plain)) {
        panel(page, "creel", plain);
    }
    json_decref(plain);
    json_decref(status);
}

static void part(struct buf *page, struct webui__request *request,
                 const struct store_counts *counts) {
    struct webui *webui = request->webui;
    buf_puts(page, "<div class=\"tiles\">");
    tier_tile(page, counts, TIER_ANNOTATED);
    tier_tile(page, counts, TIER_UNANNOTATED);
    waiting_tile(page, counts);
    disk_tile(page, counts);
    buf_puts(page, "</div>");
    buf_puts(page, "<div class=\"panels\">");
    webui__quarantine_write(page, request);
    account(page, webui);
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
        buf_puts(&page, "</div><div class=\"panels charts\">");
        webui__charts_write(&page, request->webui);
        buf_puts(&page, "</div>");
        webui__html_end(&page);
    }
    webui__reply_text(request, MHD_HTTP_OK, "text/html; charset=utf-8", &page);
}
