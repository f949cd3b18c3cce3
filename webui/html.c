#include "webui/html.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/assets.h"
#include "webui/json.h"
#include "webui/query.h"
#include "webui/state.h"
#include "webui/text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COLOURS    10
#define WEAK_BELOW 0.5 /* boxes of less confidence are dashed */

/* ---- the frame of a page ---- */

static void nav_entry(struct buf *page, const char *here, const char *path, const char *text) {
    buf_printf(page, "<a href=\"%s\"%s>%s</a>", path,
               strcmp(here, path) == 0 ? " aria-current=\"page\"" : "", text);
}

void webui__html_begin(struct buf *page, const char *title, const char *here) {
    const char *version = webui__assets_version();
    buf_puts(page, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                   "<meta name=\"color-scheme\" content=\"light dark\"><title>");
    buf_puts_html(page, title);
    buf_printf(
        page,
        " · creel</title><link rel=\"icon\" type=\"image/svg+xml\" href=\"/assets/icon.svg?v=%s\">"
        "<link rel=\"stylesheet\" href=\"/assets/app.css?v=%s\">"
        "<script src=\"/assets/auth.js?v=%s\" defer></script>"
        "<script src=\"/assets/app.js?v=%s\" defer></script>"
        "<script src=\"/assets/review.js?v=%s\" defer></script></head><body>",
        version, version, version, version, version);
    buf_append(page, embed_webui_assets_symbols_svg,
               (size_t)(embed_webui_assets_symbols_svg_end - embed_webui_assets_symbols_svg));
    buf_puts(page, "<a class=\"skip\" href=\"#main\">Skip to the content</a><header class=\"top\">"
                   "<a class=\"brand\" href=\"/\"><svg class=\"logo\" aria-hidden=\"true\">"
                   "<use href=\"#i-creel\"/></svg>creel</a><nav aria-label=\"Pages\">");
    nav_entry(page, here, "/", "Frames");
    nav_entry(page, here, "/live", "Live");
    nav_entry(page, here, "/shares", "Shares");
    nav_entry(page, here, "/status", "Status");
    buf_puts(page, "</nav></header><main id=\"main\">");
}

void webui__html_end(struct buf *page) {
    buf_puts(page, "</main></body></html>\n");
}

/* ---- small pieces ---- */

void webui__html_bytes(struct buf *page, uint64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_LENGTH(units)) {
        value /= 1024;
        unit++;
    }
    buf_printf(page, "%.*f %s", unit == 0 || value >= 100 ? 0 : 1, value, units[unit]);
}

void webui__html_count(struct buf *page, uint64_t count) {
    char digits[24];
    int size = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    for (int i = 0; i < size; i++) {
        if (i && (size - i) % 3 == 0) {
            buf_puts(page, "\u202f");
        }
        buf_append(page, &digits[i], 1);
    }
}

void webui__html_time(struct buf *page, int64_t utc_us) {
    char text[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(utc_us, text);
    buf_printf(page, "<time datetime=\"%s\">%.10s %.8s UTC</time>", text, text, text + 11);
}

void webui__html_bar(struct buf *page, double fraction, const char *label) {
    double filled = 100 * (fraction > 1 ? 1 : fraction > 0 ? fraction : 0);
    buf_printf(page,
               "<svg class=\"measure\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" "
               "role=\"img\" aria-label=\"%s %.0f%%\"><rect width=\"%.2f\" height=\"1\"/></svg>",
               label, filled, filled);
}

void webui__html_option(struct buf *page, const char *value, const char *text, const char *chosen) {
    buf_puts(page, "<option value=\"");
    buf_puts_html(page, value);
    buf_puts(page, strcmp(value, chosen) == 0 ? "\" selected>" : "\">");
    buf_puts_html(page, text);
    buf_puts(page, "</option>");
}

/* What is no longer here comes first: then the others say something else. */
void webui__html_sync(struct buf *page, const struct store_row *row) {
    static const struct {
        const char *state, *text;
    } marks[] = {
        {"cloud", "at a remote only"}, {"gone", "the picture is gone"},
        {"quarantined", "set aside"},  {"pending", "waiting"},
        {"done", "replicated"},        {"none", "only here"},
    };
    const char *state = row->place == STORE_PLACE_REMOTE ? "cloud"
                        : row->place == STORE_PLACE_GONE ? "gone"
                                                         : webui__sync_state(row);
    for (size_t i = 0; i < ARRAY_LENGTH(marks); i++) {
        if (strcmp(marks[i].state, state) == 0) {
            buf_printf(page,
                       "<span class=\"mark sync-%s\" title=\"%s\"><svg aria-hidden=\"true\">"
                       "<use href=\"#i-%s\"/></svg><span>%s</span></span>",
                       state, marks[i].text, state, marks[i].text);
        }
    }
}

static void said_mark(struct buf *page, const char *name, const char *icon, const char *text) {
    buf_printf(page,
               "<span class=\"mark said-%s\" title=\"%s\"><svg aria-hidden=\"true\"><use "
               "href=\"#i-%s\"/></svg><span>%s</span></span>",
               name, text, icon, text);
}

void webui__html_said(struct buf *page, const struct store_row *row) {
    static const struct {
        const char *icon, *text;
    } said[STORE_LABEL_STATES] = {
        [STORE_LABEL_ACCEPTED] = {"done", "judged right"},
        [STORE_LABEL_REJECTED] = {"cross", "judged wrong"},
        [STORE_LABEL_WRONG_CLASS] = {"tag", "wrong class"},
        [STORE_LABEL_MISSED] = {"box", "an object was missed"},
        [STORE_LABEL_WANTED] = {"tag", "to be labeled"},
    };
    buf_puts(page, "<span class=\"said\">");
    if (row->pinned) {
        said_mark(page, "pinned", "pin", "pinned");
    }
    if (row->label_state > STORE_LABEL_NONE && row->label_state < STORE_LABEL_STATES) {
        said_mark(page, webui__label_state_name(row->label_state), said[row->label_state].icon,
                  said[row->label_state].text);
    }
    buf_puts(page, "</span>");
}

void webui__html_tier(struct buf *page, enum frame_tier tier) {
    const char *name = webui__tier_name(tier);
    buf_printf(page, "<span class=\"tier tier-%s\">%s</span>", name, name);
}

/* ---- any JSON ---- */

/* In its greatest unit and the next smaller one, where there is something of that. */
static void duration_text(struct buf *page, uint64_t seconds) {
    static const struct {
        uint64_t seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t unit = 0;
    while (unit + 1 < ARRAY_LENGTH(units) && seconds < units[unit].seconds) {
        unit++;
    }
    buf_printf(page, "%" PRIu64 " %s", seconds / units[unit].seconds, units[unit].name);
    uint64_t rest = seconds % units[unit].seconds;
    if (unit + 1 < ARRAY_LENGTH(units) && rest >= units[unit + 1].seconds) {
        buf_printf(page, " %" PRIu64 " %s", rest / units[unit + 1].seconds, units[unit + 1].name);
    }
}

/* How a number is shown whose key ends so. */
static const struct {
    const char *ending;
    void (*show)(struct buf *page, uint64_t number);
} units[] = {
    {"_bytes", webui__html_bytes},
    {"_seconds", duration_text},
};

static bool ends_with(const char *text, const char *tail) {
    size_t size = strlen(text), want = strlen(tail);
    return size >= want && strcmp(text + size - want, tail) == 0;
}

/* "oldest_pending" as "oldest pending"; seconds are shown as such, and need not be named. */
static void key_text(struct buf *page, const char *key) {
    size_t size = strlen(key) - (ends_with(key, "_seconds") ? strlen("_seconds") : 0);
    for (size_t i = 0; i < size; i++) {
        char one[2] = {key[i] == '_' ? ' ' : key[i], '\0'};
        buf_puts_html(page, one);
    }
}

static void number_text(struct buf *page, const char *key, const json_t *value) {
    double number = json_number_value(value);
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        if (ends_with(key, units[i].ending) && number >= 0) {
            units[i].show(page, (uint64_t)number);
            return;
        }
    }
    if (json_is_integer(value) && number >= 0) {
        webui__html_count(page, (uint64_t)json_integer_value(value));
    } else {
        buf_printf(page, "%.6g", number);
    }
}

static void scalar_text(struct buf *page, const char *key, const json_t *value) {
    const char *text = json_string_value(value);
    int64_t utc_us = text && strlen(text) >= 20 ? clock_parse_rfc3339(text) : -1;
    if (utc_us >= 0) {
        webui__html_time(page, utc_us);
    } else if (text) {
        buf_puts_html(page, text[0] ? text : "–");
    } else if (json_is_number(value)) {
        number_text(page, key, value);
    } else {
        buf_puts(page, json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "–");
    }
}

static bool is_scalar(const json_t *value) {
    return !json_is_object(value) && !json_is_array(value);
}

void webui__html_hidden(struct buf *page, const char *name, const char *value) {
    buf_printf(page, "<input type=\"hidden\" name=\"%s\" value=\"", name);
    buf_puts_html(page, value);
    buf_puts(page, "\">");
}

void webui__html_wide_begin(struct buf *page, const char *label, const char *more) {
    buf_printf(page, "<div class=\"wide%s\" tabindex=\"0\" role=\"group\" aria-label=\"", more);
    buf_puts_html(page, label);
    buf_puts(page, "\">");
}

/* A row of every scalar in the objects; the first object names the columns. */
static void table(struct buf *page, const char *name, const json_t *list) {
    size_t index = 0;
    json_t *row = NULL, *cell = NULL;
    const char *key = NULL;
    webui__html_wide_begin(page, name, "");
    buf_puts(page, "<table><thead><tr>");
    json_object_foreach(json_array_get(list, 0), key, cell) {
        buf_puts(page, "<th scope=\"col\">");
        key_text(page, key);
        buf_puts(page, "</th>");
    }
    buf_puts(page, "</tr></thead><tbody>");
    json_array_foreach(list, index, row) {
        buf_puts(page, "<tr>");
        json_object_foreach(json_array_get(list, 0), key, cell) {
            const json_t *value = json_object_get(row, key);
            buf_printf(page, "<td%s>", json_is_number(value) ? " class=\"number\"" : "");
            if (value && !is_scalar(value)) {
                webui__html_json(page, key, value);
            } else if (value) {
                scalar_text(page, key, value);
            }
            buf_puts(page, "</td>");
        }
        buf_puts(page, "</tr>");
    }
    buf_puts(page, "</tbody></table></div>");
}

static void array(struct buf *page, const char *key, const json_t *list) {
    size_t index = 0;
    json_t *item = NULL;
    if (json_is_object(json_array_get(list, 0))) {
        table(page, key, list);
        return;
    }
    json_array_foreach(list, index, item) {
        buf_puts(page, index ? ", " : "");
        webui__html_json(page, key, item);
    }
    buf_puts(page, json_array_size(list) ? "" : "none");
}

void webui__html_json(struct buf *page, const char *key, const json_t *value) {
    const char *name = NULL;
    json_t *item = NULL;
    if (!value || is_scalar(value)) {
        scalar_text(page, key, value);
        return;
    }
    if (json_is_array(value)) {
        array(page, key, value);
        return;
    }
    buf_puts(page, "<dl class=\"facts\">");
    json_object_foreach((json_t *)value, name, item) {
        buf_printf(page, "<div%s><dt>", is_scalar(item) ? "" : " class=\"nested\"");
        key_text(page, name);
        buf_puts(page, "</dt><dd>");
        webui__html_json(page, name, item);
        buf_puts(page, "</dd></div>");
    }
    buf_puts(page, "</dl>");
}

/* ---- boxes ---- */

unsigned webui__class_colour(uint16_t class_index) {
    return class_index % COLOURS;
}

void webui__shown_size(const struct frame_record *record, bool as_stored, uint32_t *width,
                       uint32_t *height) {
    bool turned = !as_stored && record->orientation >= 5 && record->orientation <= 8;
    *width = turned ? record->height : record->width;
    *height = turned ? record->width : record->height;
    *width = *width ? *width : 1;
    *height = *height ? *height : 1;
}

/* Where a box of the stored image lies once the image is turned: EXIF 2.3 table 6, orientation 1
 * to 8. */
static struct frame_box turned(struct frame_box box, uint8_t orientation) {
    static const struct {
        bool transpose, flip_x, flip_y; /* transposed first */
    } turns[] = {
        {false, false, false}, {false, true, false}, {false, true, true}, {false, false, true},
        {true, false, false},  {true, true, false},  {true, true, true},  {true, false, true},
    };
    size_t at = orientation >= 1 && orientation <= 8 ? orientation - 1u : 0;
    if (turns[at].transpose) {
        box = (struct frame_box){.x = box.y, .y = box.x, .w = box.h, .h = box.w};
    }
    box.x = turns[at].flip_x ? 1 - box.x - box.w : box.x;
    box.y = turns[at].flip_y ? 1 - box.y - box.h : box.y;
    return box;
}

void webui__svg_boxes(struct buf *page, const struct frame_record *record, bool as_stored,
                      bool labels, size_t limit, double threshold) {
    uint32_t width = 1, height = 1;
    webui__shown_size(record, as_stored, &width, &height);
    size_t count = record->detection_count < limit ? record->detection_count : limit;
    for (size_t i = count; i-- > 0;) { /* the surest last: on top */
        const struct frame_detection *found = &record->detections[i];
        if (found->tag) {
            continue; /* nothing to draw: it stands in the list */
        }
        struct frame_box box = turned(found->box, as_stored ? 1 : record->orientation);
        double x = box.x * width, y = box.y * height, confidence = (double)found->confidence;
        buf_printf(page, "<g class=\"box c%u%s\"", webui__class_colour(found->class_index),
                   confidence < WEAK_BELOW ? " weak" : "");
        if (labels) { /* script finds it by these */
            buf_printf(page, " data-row=\"%zu\" data-confidence=\"%.6f\"%s", i, confidence,
                       confidence < threshold ? " display=\"none\"" : "");
        }
        buf_printf(page, "><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", x, y,
                   box.w * width, box.h * height);
        if (labels) {
            buf_printf(page, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\">", x, y, width / 56.0);
            buf_puts_html(page, found->label);
            buf_printf(page, " %.0f%%</text>", confidence * 100);
        }
        buf_puts(page, "</g>");
    }
}
