/* gallery: the grid of thumbnails.
 *
 * The first page comes whole from here and works without script: filters are a GET form, the next
 * page is a link. Script follows that link with part=cards and appends what comes, so that a card
 * is written in one place only. One read of the store a page; it has ended before the first byte
 * goes out.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/assets.h"
#include "webui/bulk.h"
#include "webui/html.h"
#include "webui/pages.h"
#include "webui/query.h"
#include "webui/state.h"
#include "webui/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CARDS_PER_PAGE  60
#define BOXES_PER_CARD  12
#define LABELS_PER_CARD 3
#define THUMB_WIDTH     320

/* ---- a card ---- */

struct label_count {
    const char *label;
    uint16_t class_index;
    size_t count;
    double confidence; /* of the surest */
};

/* The first labels in the order of confidence; `*more` is how many other labels there are. */
static size_t top_labels(const struct frame_record *record, struct label_count out[LABELS_PER_CARD],
                         size_t *more) {
    size_t count = 0;
    *more = 0;
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        size_t at = 0;
        while (at < count && strcmp(out[at].label, found->label) != 0) {
            at++;
        }
        if (at == LABELS_PER_CARD) {
            ++*more;
            continue;
        }
        if (at == count) {
            out[count++] = (struct label_count){found->label, found->class_index, 0,
                                                (double)found->confidence};
        }
        out[at].count++;
    }
    return count;
}

static void card_labels(struct buf *page, const struct frame_record *record) {
    struct label_count top[LABELS_PER_CARD];
    size_t more = 0, count = top_labels(record, top, &more);
    buf_puts(page, "<span class=\"labels\">");
    for (size_t i = 0; i < count; i++) {
        buf_printf(page, "<span class=\"label\"><i class=\"dot c%u\"></i>",
                   webui__class_colour(top[i].class_index));
        buf_puts_html(page, top[i].label);
        if (top[i].count > 1) {
            buf_printf(page, " ×%zu", top[i].count);
        }
        buf_printf(page, " <b>%.0f%%</b></span>", top[i].confidence * 100);
    }
    if (more) {
        buf_printf(page, "<span class=\"label\">+%zu</span>", more);
    }
    buf_puts(page, count ? "</span>" : "<span class=\"quiet\">nothing found</span></span>");
}

static void card_image(struct buf *page, const struct frame_record *record) {
    char hex[HASH_HEX_SIZE];
    uint32_t width = 1, height = 1;
    webui__shown_size(record, true, &width, &height);
    buf_printf(page,
               "<span class=\"thumb\"><img src=\"/thumb/%s\" width=\"%d\" height=\"%u\" "
               "loading=\"lazy\" alt=\"\">",
               hash_hex(record->blob.bytes, sizeof(record->blob.bytes), hex), THUMB_WIDTH,
               (unsigned)((uint64_t)THUMB_WIDTH * height / width));
    buf_printf(page,
               "<svg class=\"boxes\" viewBox=\"0 0 %u %u\" preserveAspectRatio=\"xMidYMid slice\" "
               "aria-hidden=\"true\">",
               width, height);
    webui__svg_boxes(page, record, true, false, BOXES_PER_CARD, 0);
    buf_puts(page, "</svg></span>");
}

static void card(struct buf *page, const struct store_row *row, const char *query) {
    const struct frame_record *record = &row->record;
    char id[HASH_ID_SIZE];
    frame_id_format(&record->id, id);
    buf_printf(page, "<li class=\"card%s\" data-frame=\"%s\"><a href=\"/frames/%s%s",
               row->place == STORE_PLACE_LOCAL ? "" : " away", id, id, query[0] ? "?" : "");
    buf_puts_html(page, query);
    buf_puts(page, "\">");
    card_image(page, record);
    buf_puts(page, "<span class=\"corners\">");
    webui__html_tier(page, record->tier);
    webui__html_said(page, row);
    webui__html_sync(page, row);
    buf_puts(page, "</span>");
    card_labels(page, record);
    buf_puts(page, "<span class=\"meta\"><span class=\"camera\">");
    buf_puts_html(page, record->camera);
    buf_puts(page, "</span>");
    webui__html_time(page, record->captured.utc_us);
    buf_puts(page, "</span></a><label class=\"pick\"><input type=\"checkbox\" "
                   "aria-label=\"Select this frame of ");
    buf_puts_html(page, record->camera);
    buf_puts(page, "\"></label></li>");
}

/* A list for each page: what is far away costs a browser nothing, and adding to thousands little.
 */
static void cards(struct buf *page, const struct store_page *rows,
                  const struct store_filter *filter) {
    CLEANUP(buf_finish) struct buf query = BUF_INIT(WEBUI__URI_MAX);
    webui__query_write(&query, filter);
    const char *text = query.len ? query.data : "";
    buf_puts(page, "<ul class=\"grid\">");
    for (size_t i = 0; i < rows->count; i++) {
        card(page, &rows->rows[i], text);
    }
    buf_puts(page, "</ul>");
    if (rows->more) {
        buf_puts(page, "<p class=\"more\"><a class=\"button\" rel=\"next\" href=\"/?");
        buf_puts_html(page, text);
        buf_puts(page, text[0] ? "&amp;after=" : "after=");
        webui__cursor_write(page, &rows->next);
        buf_printf(page, "\">%s frames</a></p>", filter->oldest_first ? "Newer" : "Older");
    }
}

/* ---- the filters ---- */

static void tab(struct buf *page, const struct store_filter *filter, int tier, const char *text,
                uint64_t count) {
    CLEANUP(buf_finish) struct buf query = BUF_INIT(WEBUI__URI_MAX);
    struct store_filter other = *filter;
    other.by_tier = tier >= 0;
    other.tier = tier >= 0 ? (enum frame_tier)tier : TIER_ANNOTATED;
    bool here = filter->by_tier == other.by_tier && (!other.by_tier || filter->tier == other.tier);
    webui__query_write(&query, &other);
    buf_puts(page, "<a href=\"/");
    buf_puts(page, query.len ? "?" : "");
    buf_puts_html(page, query.len ? query.data : "");
    buf_printf(page, "\"%s>%s <span class=\"count\">", here ? " aria-current=\"true\"" : "", text);
    webui__html_count(page, count);
    buf_puts(page, "</span></a>");
}

static void tabs(struct buf *page, const struct store_filter *filter,
                 const struct store_counts *counts) {
    uint64_t sure = counts->frames[TIER_ANNOTATED], unsure = counts->frames[TIER_UNANNOTATED];
    buf_puts(page, "<nav class=\"tabs\" aria-label=\"Tiers\">");
    tab(page, filter, -1, "All", sure + unsure);
    tab(page, filter, TIER_ANNOTATED, "Annotated", sure);
    tab(page, filter, TIER_UNANNOTATED, "Unannotated", unsure);
    buf_puts(page, "</nav>");
}

struct selects {
    struct buf *page;
    const struct store_filter *filter;
};

static void select_of(struct buf *page, const char *name, const char *title, const char *any,
                      char *const *names, const char *chosen) {
    bool known = !chosen[0];
    buf_printf(page, "<label><span>%s</span><select name=\"%s\">", title, name);
    webui__html_option(page, "", any, chosen);
    for (; *names; names++) {
        webui__html_option(page, *names, *names, chosen);
        known = known || strcmp(*names, chosen) == 0;
    }
    if (!known) { /* asked for in the URL, and nothing of it is left */
        webui__html_option(page, chosen, chosen, chosen);
    }
    buf_puts(page, "</select></label>");
}

static void name_selects(void *ctx, const struct webui__names_now *names) {
    const struct selects *selects = ctx;
    select_of(selects->page, "camera", "Camera", "all", names->cameras, selects->filter->camera);
    select_of(selects->page, "class", "Class", "all", names->labels, selects->filter->label);
    select_of(selects->page, "rule", "Rule", "any", names->rules, selects->filter->rule);
}

static void time_field(struct buf *page, const char *name, const char *title, int64_t utc_us) {
    char text[CLOCK_RFC3339_SIZE] = "";
    if (utc_us > 0) {
        clock_format_rfc3339(utc_us, text);
    }
    buf_printf(page,
               "<label><span>%s <span class=\"zone\">(UTC)</span></span><input "
               "type=\"datetime-local\" name=\"%s\" step=\"60\" value=\"%.16s\"></label>",
               title, name, text);
}

static void other_selects(struct buf *page, const struct store_filter *filter) {
    static const char *const minima[] = {"0.25", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"};
    char chosen[32] = "";
    if (filter->confidence_min > 0) {
        snprintf(chosen, sizeof(chosen), "%g", filter->confidence_min);
    }
    bool known = !chosen[0];
    buf_puts(page, "<label><span>Confidence</span><select name=\"min\">");
    webui__html_option(page, "", "any", chosen);
    for (size_t i = 0; i < ARRAY_LENGTH(minima); i++) {
        char text[24];
        snprintf(text, sizeof(text), "≥ %.0f%%", strtod(minima[i], NULL) * 100);
        webui__html_option(page, minima[i], text, chosen);
        known = known || strcmp(minima[i], chosen) == 0;
    }
    if (!known) {
        webui__html_option(page, chosen, chosen, chosen);
    }
    buf_puts(page, "</select></label><label><span>Replication</span><select name=\"sync\">");
    const char *sync = webui__sync_filter_name(filter->sync);
    webui__html_option(page, "", "any", sync);
    webui__html_option(page, "pending", "waiting", sync);
    webui__html_option(page, "done", "replicated", sync);
    webui__html_option(page, "quarantined", "set aside", sync);
    buf_puts(page, "</select></label>");
}

static void judged_selects(struct buf *page, const struct store_filter *filter) {
    const char *label = filter->by_label_state ? webui__label_state_name(filter->label_state) : "";
    buf_puts(page, "<label><span>Judgement</span><select name=\"label\">");
    webui__html_option(page, "", "any", label);
    webui__html_option(page, "none", "not judged", label);
    webui__html_option(page, "accepted", "right", label);
    webui__html_option(page, "rejected", "wrong", label);
    webui__html_option(page, "wrong-class", "wrong class", label);
    webui__html_option(page, "missed", "missed object", label);
    webui__html_option(page, "wanted", "to be labeled", label);
    buf_puts(page, "</select></label><label><span>Pinned</span><select name=\"pinned\">");
    webui__html_option(page, "", "any", filter->pinned ? "yes" : "");
    webui__html_option(page, "yes", "pinned", filter->pinned ? "yes" : "");
    buf_puts(page, "</select></label>");
}

static void filters(struct buf *page, struct webui *webui, const struct store_filter *filter) {
    struct selects selects = {page, filter};
    buf_puts(page, "<form class=\"filters\" action=\"/\" method=\"get\" "
                   "autocomplete=\"off\" aria-label=\"Filters\">");
    if (filter->by_tier) {
        buf_printf(page, "<input type=\"hidden\" name=\"tier\" value=\"%s\">",
                   webui__tier_name(filter->tier));
    }
    webui__names_use(webui, name_selects, &selects);
    other_selects(page, filter);
    judged_selects(page, filter);
    time_field(page, "since", "From", filter->since_us);
    time_field(page, "until", "To", filter->until_us);
    const char *order = filter->oldest_first ? "oldest" : "";
    buf_puts(page, "<label><span>Order</span><select name=\"order\">");
    webui__html_option(page, "", "newest first", order);
    webui__html_option(page, "oldest", "oldest first", order);
    buf_puts(page,
             "</select></label><button class=\"button apply\" type=\"submit\">Apply</button>");
    buf_puts(page, "</form>");
}

/* ---- nothing to show ---- */

static void first_visit(struct buf *page, const struct webui *webui) {
    buf_puts(page,
             "<section class=\"notice\"><h1>No frame has been kept yet</h1>"
             "<p>creel shows here what its cameras catch and triage finds worth keeping.</p><ol>"
             "<li>Name a camera in the configuration, under <code>cameras:</code>, for example "
             "<code>inbox: {source: \"directory:/srv/inbox\"}</code>, and restart creel. "
             "<code>demo: {source: \"demo:\"}</code> needs no camera at all.</li>");
    if (webui->ingest_shown[0]) {
        buf_puts(page, "<li>Or push a picture:<pre><code>curl -H 'Content-Type: image/jpeg' "
                       "--data-binary @photo.jpg http://");
        buf_puts_html(page, webui->ingest_shown);
        buf_puts(page, "/score</code></pre></li>");
    }
    buf_puts(page, "<li>Frames are seen but none is kept? <a href=\"/status\">The status page</a> "
                   "counts them; <code>triage.confident</code> and <code>triage.budget</code> "
                   "decide.</li></ol></section>");
}

static void nothing(struct buf *page, const struct webui *webui,
                    const struct store_filter *filter) {
    if (webui__query_empty(filter)) {
        first_visit(page, webui);
        return;
    }
    buf_puts(page, "<section class=\"notice\"><h1>No frame matches</h1><p>Nothing that is kept "
                   "passes all of these filters.</p><p><a class=\"button\" href=\"/\">Clear the "
                   "filters</a></p></section>");
}

/* ---- the page ---- */

static void whole_filter(struct buf *page, const struct store_filter *filter,
                         const struct webui__bulk *bulk) {
    CLEANUP(buf_finish) struct buf query = BUF_INIT(WEBUI__URI_MAX);
    webui__query_write(&query, filter);
    buf_puts(page, "<span class=\"whole\">");
    if (!webui__query_empty(filter)) {
        buf_puts(page, "<a class=\"button plain\" id=\"clear\" href=\"/\">"
                       "<svg aria-hidden=\"true\"><use href=\"#i-cross\"/></svg>Clear</a>");
    }
    webui__html_whole(page, query.len ? query.data : "", bulk);
    buf_puts(page, "<button class=\"button plain late\" type=\"button\" id=\"toggle-boxes\" "
                   "aria-pressed=\"true\" hidden><svg aria-hidden=\"true\"><use "
                   "href=\"#i-box\"/></svg>Boxes</button></span>");
}

static void bar(struct buf *page, struct webui *webui, const struct store_filter *filter,
                const struct store_counts *counts, const struct webui__bulk *bulk) {
    buf_puts(page, "<div class=\"bar\">");
    tabs(page, filter, counts);
    buf_printf(page,
               "<input class=\"hidden\" type=\"checkbox\" id=\"filters-on\" "
               "autocomplete=\"off\"><label class=\"button plain filters-on\" "
               "for=\"filters-on\"><svg aria-hidden=\"true\"><use href=\"#i-filter\"/></svg>"
               "Filters%s</label>",
               webui__query_empty(filter) ? "" : " (on)");
    whole_filter(page, filter, bulk);
    filters(page, webui, filter);
    buf_puts(page, "</div>");
}

static void whole_page(struct buf *page, const struct webui__request *request,
                       const struct webui__query *query, const struct store_page *rows,
                       const struct store_counts *counts) {
    const struct store_filter *filter = &query->filter;
    struct webui *webui = request->webui;
    const struct webui__bulk may = {.changes = request->who.scopes & WEBUI_WRITE,
                                    .exports = webui->hooks.dataset != NULL,
                                    .remotes = webui->hooks.remove_everywhere != NULL};
    webui__html_begin(page, "Frames", "/");
    if (rows->count || rows->more || !webui__query_empty(filter)) {
        buf_puts(page, "<h1 class=\"hidden\">Frames</h1>");
        bar(page, webui, filter, counts, &may);
    }
    if (rows->count) {
        buf_puts(page, "<nav class=\"hours late\" id=\"hours\" aria-label=\"Frames by hour\" "
                       "hidden></nav>");
    }
    buf_puts(page, "<p class=\"fresh\" id=\"fresh\" role=\"status\" hidden></p>");
    if (rows->count == 0 && !rows->more) {
        nothing(page, webui, filter);
    } else {
        buf_puts(page, "<div id=\"grid\">");
        cards(page, rows, filter);
        buf_puts(page, "</div>");
        webui__html_bulk(page, &may);
        buf_printf(page, "<script src=\"/assets/bulk.js?v=%s\" defer></script>",
                   webui__assets_version());
    }
    webui__html_end(page);
}

void webui__on_gallery(struct webui__request *request) {
    struct err err = {0};
    struct webui__query query;
    struct store_counts counts = {0};
    struct store_page *rows = NULL;
    bool part = strcmp(webui__arg(request, "part"), "cards") == 0;
    int code = webui__query_read(request, CARDS_PER_PAGE, &query, &err);
    code = code ? code
                : webui__page_read(request->webui, &query.filter, &query.after, query.limit, &rows,
                                   &err);
    if (!code && !part) {
        code = webui__counts_read(request->webui, &counts, &err);
    }
    if (code) {
        store_page_destroy(rows);
        webui__reply_err(request, &err);
        return;
    }
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    if (part) {
        cards(&page, rows, &query.filter);
        buf_puts(&page, "\n");
    } else {
        whole_page(&page, request, &query, rows, &counts);
    }
    store_page_destroy(rows);
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}
