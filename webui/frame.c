/* frame: the page of one frame: the picture with its boxes, what was found, and all that is known
 * of it.
 *
 * The boxes of all detections down to the floor are in the page; script shows and hides them by the
 * slider at once.
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/near.h"
#include "webui/pages.h"
#include "webui/query.h"
#include "webui/state.h"
#include "webui/text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* In the order of the gallery that one comes from: who judges the oldest first goes on to newer
 * ones. */
struct neighbours {
    char before[HASH_ID_SIZE], after[HASH_ID_SIZE]; /* ids, "" where there is none */
    bool oldest_first;
};

/* ---- reading ---- */

struct store_row *webui__frame_named(struct webui__request *request) {
    struct err err = {0};
    struct frame_id id;
    struct store_row *row = NULL;
    struct store_reader *reader = NULL;
    int code = webui__reader_take(request->webui, &reader, &err);
    if (!code) {
        code = store_resolve(reader, request->capture, &id, &err);
        code = code ? code : store_frame_get(reader, &id, &row, &err);
        webui__reader_give(request->webui, reader);
    }
    if (code) {
        webui__reply_err(request, &err);
        return NULL;
    }
    return row;
}

static void neighbour(struct webui *webui, const struct store_filter *filter, bool oldest_first,
                      const struct store_row *row, char out[HASH_ID_SIZE]) {
    struct store_filter towards = *filter;
    struct store_cursor here = {.utc_us = row->record.captured.utc_us, .seq = row->seq};
    struct store_page *page = NULL;
    towards.oldest_first = oldest_first;
    out[0] = '\0';
    if (webui__page_read(webui, &towards, &here, 1, &page, NULL) == 0) {
        if (page->count) {
            frame_id_format(&page->rows[0].record.id, out);
        }
        store_page_destroy(page);
    }
}

/* ---- the picture ---- */

/* What the slider starts at: the usual threshold, or lower where nothing would be left to see. */
static double start_threshold(const struct webui *webui, const struct frame_record *record) {
    double best = record->detection_count ? (double)record->detections[0].confidence : 1;
    return fmin(webui->score_threshold, floor(best * 100) / 100);
}

static void step(struct buf *page, const char *id, const char *query, const char *rel,
                 const char *icon, const char *text) {
    if (!id[0]) {
        buf_printf(page,
                   "<span class=\"button plain off\" aria-hidden=\"true\"><svg><use "
                   "href=\"#i-%s\"/></svg></span>",
                   icon);
        return;
    }
    buf_printf(page, "<a class=\"button plain\" rel=\"%s\" href=\"/frames/%s%s", rel, id,
               query[0] ? "?" : "");
    buf_puts_html(page, query);
    buf_printf(page,
               "\" aria-label=\"%s\" title=\"%s\"><svg aria-hidden=\"true\"><use "
               "href=\"#i-%s\"/></svg></a>",
               text, text, icon);
}

static void toolbar(struct buf *page, const struct neighbours *near, const char *query,
                    double threshold) {
    buf_puts(page, "<div class=\"toolbar\"><a class=\"button plain\" id=\"back\" href=\"/");
    buf_puts(page, query[0] ? "?" : "");
    buf_puts_html(page, query);
    buf_puts(page, "\"><svg aria-hidden=\"true\"><use href=\"#i-grid\"/></svg>Frames</a>"
                   "<span class=\"steps\">");
    const char *const names[] = {"Newer frame", "Older frame"};
    step(page, near->before, query, "prev", "left", names[near->oldest_first]);
    step(page, near->after, query, "next", "right", names[!near->oldest_first]);
    buf_printf(
        page,
        "</span><label class=\"slider late\" hidden><span>Confidence from</span><input "
        "type=\"range\" id=\"threshold\" min=\"0\" max=\"1\" step=\"0.01\" value=\"%.2f\">"
        "<output for=\"threshold\">%.0f%%</output></label><button class=\"button plain late\" "
        "type=\"button\" id=\"toggle-boxes\" aria-pressed=\"true\" hidden><svg "
        "aria-hidden=\"true\"><use href=\"#i-box\"/></svg>Boxes</button></div>",
        threshold, threshold * 100);
}

static void picture(struct buf *page, const struct store_row *row, double threshold) {
    const struct frame_record *record = &row->record;
    char hex[HASH_HEX_SIZE];
    uint32_t width = 1, height = 1;
    bool local = row->place == STORE_PLACE_LOCAL;
    webui__shown_size(record, !local, &width, &height);
    hash_hex(record->blob.bytes, sizeof(record->blob.bytes), hex);
    buf_puts(page, "<figure class=\"picture\"><img id=\"picture\" src=\"");
    buf_printf(page, local ? "/blob/%s?tier=%s" : "/thumb/%s", hex, webui__tier_name(record->tier));
    buf_printf(page, "\" width=\"%u\" height=\"%u\" alt=\"Frame of camera ", width, height);
    buf_puts_html(page, record->camera);
    buf_printf(page,
               "\"><svg class=\"boxes\" id=\"boxes\" viewBox=\"0 0 %u %u\" "
               "preserveAspectRatio=\"xMidYMid meet\" aria-hidden=\"true\">",
               width, height);
    webui__svg_boxes(page, record, !local, true, FRAME_DETECTIONS_MAX, threshold);
    buf_puts(page, "</svg></figure>");
    if (!local) {
        buf_printf(page,
                   "<p class=\"quiet\">The full picture has left this device; this is its "
                   "thumbnail. %s</p>",
                   row->place == STORE_PLACE_REMOTE ? "“Copy link” gives the one in the cloud."
                                                    : "No remote has it.");
    }
}

/* ---- beside it ---- */

static void actions(struct buf *page, const struct store_row *row) {
    char id[HASH_ID_SIZE], hex[HASH_HEX_SIZE];
    frame_id_format(&row->record.id, id);
    buf_printf(
        page,
        "<div class=\"actions\" id=\"link-box\" data-frame=\"%s\"><a class=\"button\" "
        "id=\"copy-link\" href=\"/api/v1/frames/%s/link\"><svg aria-hidden=\"true\"><use "
        "href=\"#i-link\"/></svg>Copy link</a><label><span class=\"hidden\">The link is valid "
        "for</span><select id=\"link-ttl\"><option value=\"900\">15 minutes</option>"
        "<option value=\"3600\">an hour</option><option value=\"86400\">a day</option>"
        "<option value=\"604800\">a week</option></select></label>",
        id, id);
    if (row->place == STORE_PLACE_LOCAL) {
        buf_printf(page,
                   "<a class=\"button plain\" id=\"download\" download "
                   "href=\"/blob/%s?tier=%s&amp;download=1\"><svg aria-hidden=\"true\"><use "
                   "href=\"#i-download\"/></svg>Original</a>",
                   hash_hex(row->record.blob.bytes, sizeof(row->record.blob.bytes), hex),
                   webui__tier_name(row->record.tier));
    } else if (row->place == STORE_PLACE_REMOTE) {
        buf_printf(page,
                   "<a class=\"button plain\" id=\"download\" href=\"/frames/%s/original\"><svg "
                   "aria-hidden=\"true\"><use href=\"#i-cloud\"/></svg>Original in the cloud</a>",
                   id);
    }
    buf_puts(page, "<output id=\"link-said\" role=\"status\"></output><input id=\"link-text\" "
                   "readonly hidden aria-label=\"The link\"></div>");
}

static void detections(struct buf *page, const struct frame_record *record, double threshold) {
    buf_printf(page, "<h2>Detections <span class=\"count\" id=\"shown-count\">%zu</span></h2>",
               record->detection_count);
    if (!record->detection_count) {
        buf_puts(page, "<p class=\"quiet\">The model found nothing, down to its floor.</p>");
        return;
    }
    webui__html_wide_begin(page, "Detections", " tall");
    buf_puts(page, "<table class=\"detections\" id=\"detections\"><thead>"
                   "<tr><th scope=\"col\">Class</th><th scope=\"col\">Confidence</th><th "
                   "scope=\"col\">Box in pixels</th></tr></thead><tbody>");
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        double confidence = (double)found->confidence;
        buf_printf(page,
                   "<tr data-row=\"%zu\" data-confidence=\"%.6f\"%s><td><i class=\"dot c%u\"></i>",
                   i, confidence, confidence < threshold ? " class=\"below\"" : "",
                   webui__class_colour(found->class_index));
        buf_puts_html(page, found->label);
        buf_puts(page, "</td><td class=\"number\">");
        webui__html_bar(page, confidence, "confidence");
        buf_printf(page, " %.1f%%</td><td class=\"number\">", confidence * 100);
        if (found->tag) {
            buf_puts(page, "the whole frame</td></tr>");
            continue;
        }
        buf_printf(page, "%.0f, %.0f · %.0f × %.0f</td></tr>", found->box.x * record->width,
                   found->box.y * record->height, found->box.w * record->width,
                   found->box.h * record->height);
    }
    buf_puts(page, "</tbody></table></div>");
}

static void fact(struct buf *page, const char *name) {
    buf_printf(page, "</dd></div><div><dt>%s</dt><dd>", name);
}

static void facts_of_keeping(struct buf *page, const struct store_row *row) {
    const struct frame_record *record = &row->record;
    buf_puts(page, "<dl class=\"facts\"><div><dt>Tier</dt><dd>");
    webui__html_tier(page, record->tier);
    fact(page, "Rule");
    buf_puts_html(page, record->rule[0] ? record->rule : "–");
    fact(page, "Value");
    buf_printf(page, "%.3f", record->value);
    fact(page, "Replication");
    webui__html_sync(page, row);
    buf_printf(page, row->receipts ? " at %u %s" : "", row->receipts,
               row->receipts == 1 ? "remote" : "remotes");
    buf_printf(page, row->owed ? ", %u still to confirm" : "", row->owed);
    fact(page, "Place");
    buf_puts(page, row->place == STORE_PLACE_LOCAL    ? "on this device"
                   : row->place == STORE_PLACE_REMOTE ? "at a remote only"
                                                      : "gone");
    buf_puts(page, row->pinned ? ", pinned" : "");
    fact(page, "Kept");
    webui__html_time(page, row->kept_utc_us);
    buf_puts(page, "</dd></div></dl>");
}

static void facts_of_model(struct buf *page, const struct frame_record *record) {
    char hex[HASH_HEX_SIZE];
    buf_puts(page, "<dl class=\"facts\"><div><dt>Model</dt><dd>");
    buf_puts_html(page, record->model_name);
    buf_puts(page, " ");
    buf_puts_html(page, record->model_version);
    fact(page, "Model hash");
    buf_printf(page, "<code>%s</code>",
               hash_hex(record->model.bytes, sizeof(record->model.bytes), hex));
    fact(page, "Clock");
    buf_puts(page, record->captured.state == CLOCK_SYNCHRONISED
                       ? "synchronised"
                       : "not synchronised at capture: the time may be wrong");
    buf_puts(page, "</dd></div></dl>");
}

static void facts_of_picture(struct buf *page, const struct frame_record *record) {
    char text[HASH_HEX_SIZE];
    buf_printf(page, "<dl class=\"facts\"><div><dt>Picture</dt><dd>%u × %u, %s, ", record->width,
               record->height, webui__media_type(record->media));
    webui__html_bytes(page, record->blob_bytes);
    if (record->orientation > 1) {
        buf_printf(page, ", EXIF orientation %u", (unsigned)record->orientation);
    }
    buf_puts(page, record->masked ? ", privacy masks painted black" : "");
    fact(page, "Light");
    buf_printf(page, "mean %.2f, spread %.2f, sharpness %.3g", (double)record->quality.luma_mean,
               (double)record->quality.luma_stddev, (double)record->quality.sharpness);
    fact(page, "Perceptual hash");
    buf_printf(page, "<code>%016" PRIx64 "</code>", record->phash);
    fact(page, "SHA-256");
    buf_printf(page, "<code>%s</code>",
               hash_hex(record->blob.bytes, sizeof(record->blob.bytes), text));
    fact(page, "Frame");
    buf_printf(page, "<code>%s</code></dd></div></dl>", frame_id_format(&record->id, text));
}

/* ---- what became of it ---- */

static json_t *life_read(struct webui *webui, const struct frame_id *id) {
    struct store_reader *reader = NULL;
    struct store_why *why = NULL;
    if (!webui->hooks.life || webui__reader_take(webui, &reader, NULL) != 0) {
        return NULL;
    }
    int code = store_why_get(reader, id, &why, NULL);
    webui__reader_give(webui, reader);
    json_t *life = code ? NULL : webui->hooks.life(webui->hooks.ctx, why);
    store_why_destroy(why);
    return life;
}

static void life_shown(struct buf *page, struct webui *webui, const struct frame_id *id) {
    json_t *life = life_read(webui, id);
    const json_t *event = NULL;
    size_t index = 0;
    if (!life) {
        return;
    }
    buf_puts(page, "<h2>Its life</h2><ol class=\"life\" id=\"life\">");
    json_array_foreach(life, index, event) {
        const char *at = webui__json_text(event, "at");
        int64_t utc_us = at[0] ? clock_parse_rfc3339(at) : -1;
        buf_puts(page, "<li><b>");
        buf_puts_html(page, webui__json_text(event, "what"));
        buf_puts(page, "</b> ");
        if (utc_us >= 0) {
            webui__html_time(page, utc_us);
        }
        buf_puts(page, "<span>");
        buf_puts_html(page, webui__json_text(event, "detail"));
        buf_puts(page, "</span></li>");
    }
    buf_puts(page, "</ol>");
    json_decref(life);
}

/* ---- what a person says of it ---- */

static void class_choice(void *ctx, const struct webui__names_now *names) {
    struct buf *page = ctx;
    for (size_t i = 0; names->labels[i]; i++) {
        webui__html_option(page, names->labels[i], names->labels[i], "");
    }
}

/* Shown by script; the keys are said with each button. */
static void judgement(struct buf *page, struct webui *webui, const struct store_row *row) {
    static const struct {
        const char *act, *key, *icon, *text;
    } acts[] = {
        {"accepted", "a", "done", "Right"},       {"rejected", "r", "cross", "Wrong"},
        {"wrong-class", "w", "tag", "Class is…"}, {"missed", "m", "box", "Missed…"},
        {"wanted", "l", "tag", "For labeling"},   {"none", "u", "left", "Take back"},
    };
    const char *said = webui__label_state_name(row->label_state);
    buf_puts(page, "<section class=\"judge late\" id=\"judge\" aria-label=\"Judgement\" hidden>"
                   "<div class=\"actions\">");
    for (size_t i = 0; i < ARRAY_LENGTH(acts); i++) {
        bool on = strcmp(said, acts[i].act) == 0 && row->label_state != STORE_LABEL_NONE;
        buf_printf(page,
                   "<button class=\"button plain\" type=\"button\" data-act=\"%s\" "
                   "data-key=\"%s\" aria-keyshortcuts=\"%s\" aria-pressed=\"%s\"><svg "
                   "aria-hidden=\"true\"><use href=\"#i-%s\"/></svg>%s <kbd>%s</kbd></button>",
                   acts[i].act, acts[i].key, acts[i].key, on ? "true" : "false", acts[i].icon,
                   acts[i].text, acts[i].key);
    }
    buf_printf(page,
               "<button class=\"button plain\" type=\"button\" data-act=\"%s\" data-key=\"p\" "
               "aria-keyshortcuts=\"p\" aria-pressed=\"%s\"><svg aria-hidden=\"true\"><use "
               "href=\"#i-pin\"/></svg>Pinned <kbd>p</kbd></button></div>",
               row->pinned ? "unpin" : "pin", row->pinned ? "true" : "false");
    buf_puts(page, "<p class=\"choice\" id=\"choice\" hidden><label><span></span> <select "
                   "id=\"choice-class\"><option value=\"\">choose a class</option>");
    webui__names_use(webui, class_choice, page);
    buf_puts(page, "</select></label></p><p class=\"quiet\"><label><input type=\"checkbox\" "
                   "id=\"judge-on\" checked> go on to the next frame at once</label></p><output "
                   "id=\"judge-said\" role=\"status\"></output></section>");
}

static void side(struct buf *page, struct webui__request *request, const struct store_row *row,
                 double threshold) {
    struct webui *webui = request->webui;
    buf_puts(page, "<aside class=\"side\" aria-label=\"About this frame\"><h1>");
    buf_puts_html(page, row->record.camera);
    buf_puts(page, "</h1><p class=\"when\">");
    webui__html_time(page, row->record.captured.utc_us);
    buf_puts(page, "</p>");
    if (request->who.scopes & WEBUI_WRITE) {
        judgement(page, webui, row);
    }
    actions(page, row);
    detections(page, &row->record, threshold);
    buf_puts(page, "<h2>Kept</h2>");
    facts_of_keeping(page, row);
    buf_puts(page, "<h2>Seen by</h2>");
    facts_of_model(page, &row->record);
    buf_puts(page, "<h2>Picture</h2>");
    facts_of_picture(page, &row->record);
    life_shown(page, webui, &row->record.id);
    buf_puts(page, "</aside>");
}

void webui__on_frame(struct webui__request *request) {
    struct webui *webui = request->webui;
    struct err err = {0};
    struct webui__query query;
    struct neighbours near;
    char id[HASH_ID_SIZE];
    if (webui__query_read(request, 1, &query, &err) != 0) {
        webui__reply_err(request, &err);
        return;
    }
    struct store_row *row = webui__frame_named(request);
    if (!row) {
        return;
    }
    near.oldest_first = query.filter.oldest_first;
    neighbour(webui, &query.filter, !near.oldest_first, row, near.before);
    neighbour(webui, &query.filter, near.oldest_first, row, near.after);
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    CLEANUP(buf_finish) struct buf back = BUF_INIT(WEBUI__URI_MAX);
    webui__query_write(&back, &query.filter);
    double threshold = start_threshold(webui, &row->record);
    webui__html_begin(&page, row->record.camera, "");
    buf_printf(&page, "<div class=\"frame\" data-frame=\"%s\">",
               frame_id_format(&row->record.id, id));
    buf_puts(&page, "<section class=\"stage\" aria-label=\"Picture\">");
    toolbar(&page, &near, back.len ? back.data : "", threshold);
    picture(&page, row, threshold);
    webui__html_near(&page, webui, row, back.len ? back.data : "");
    buf_puts(&page, "</section>");
    side(&page, request, row, threshold);
    buf_puts(&page, "</div>");
    webui__html_end(&page);
    store_row_destroy(row);
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}
