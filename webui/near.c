#include "webui/near.h"
#include "daemon/base/hash.h"
#include "webui/html.h"
#include "webui/state.h"
#include <stdio.h>
#include <string.h>

#define LOOKED_AT   60 /* frames of the camera, in each direction */
#define BESIDE      4  /* of them shown as neighbours, in each direction */
#define TWINS_MAX   8
#define TWIN_BITS   8 /* of the perceptual hash's 64 that may differ in what looks the same */
#define THUMB_WIDTH 160

static struct store_page *look(struct webui *webui, const struct store_row *row, bool newer) {
    struct store_filter filter = {.oldest_first = newer};
    struct store_cursor here = {.utc_us = row->record.captured.utc_us, .seq = row->seq};
    struct store_page *page = NULL;
    snprintf(filter.camera, sizeof(filter.camera), "%s", row->record.camera);
    return webui__page_read(webui, &filter, &here, LOOKED_AT, &page, NULL) == 0 ? page : NULL;
}

static void small_card(struct buf *page, const struct store_row *row, const char *query,
                       bool here) {
    const struct frame_record *record = &row->record;
    char id[HASH_ID_SIZE], hex[HASH_HEX_SIZE];
    uint32_t width = 1, height = 1;
    webui__shown_size(record, true, &width, &height);
    buf_printf(page, "<li><a href=\"/frames/%s%s", frame_id_format(&record->id, id),
               query[0] ? "?" : "");
    buf_puts_html(page, query);
    buf_printf(page,
               "\"%s><img src=\"/thumb/%s\" width=\"%d\" height=\"%u\" loading=\"lazy\" "
               "decoding=\"async\" alt=\"\">",
               here ? " aria-current=\"true\"" : "",
               hash_hex(record->blob.bytes, sizeof(record->blob.bytes), hex), THUMB_WIDTH,
               (unsigned)((uint64_t)THUMB_WIDTH * height / width));
    webui__html_time(page, record->captured.utc_us);
    buf_puts(page, "</a></li>");
}

static void beside(struct buf *page, const struct store_row *row, const struct store_page *newer,
                   const struct store_page *older, const char *query) {
    size_t before = newer && newer->count < BESIDE ? newer->count : newer ? BESIDE : 0;
    size_t after = older && older->count < BESIDE ? older->count : older ? BESIDE : 0;
    buf_puts(page, "<h2>Before and after</h2><ul class=\"strip\">");
    for (size_t i = before; i-- > 0;) {
        small_card(page, &newer->rows[i], query, false);
    }
    small_card(page, row, query, true);
    for (size_t i = 0; i < after; i++) {
        small_card(page, &older->rows[i], query, false);
    }
    buf_puts(page, "</ul>");
}

static bool is_twin(const struct store_row *one, const struct store_row *other) {
    return __builtin_popcountll(one->record.phash ^ other->record.phash) <= TWIN_BITS;
}

/* The nearest in time first. */
static void twins(struct buf *page, const struct store_row *row, const struct store_page *newer,
                  const struct store_page *older, const char *query) {
    const struct store_page *pages[] = {newer, older};
    size_t found = 0;
    for (size_t i = 0; i < 2 * (size_t)LOOKED_AT && found < TWINS_MAX; i++) {
        const struct store_page *from = pages[i % 2];
        if (!from || i / 2 >= from->count || !is_twin(row, &from->rows[i / 2])) {
            continue;
        }
        buf_puts(page, found++ ? "" : "<h2>Nearly the same</h2><ul class=\"strip\" id=\"twins\">");
        small_card(page, &from->rows[i / 2], query, false);
    }
    buf_puts(page, found ? "</ul>" : "");
}

void webui__html_near(struct buf *page, struct webui *webui, const struct store_row *row,
                      const char *query) {
    struct store_page *newer = look(webui, row, true), *older = look(webui, row, false);
    buf_puts(page, "<section class=\"near\" aria-label=\"Frames near this one\">");
    beside(page, row, newer, older, query);
    twins(page, row, newer, older, query);
    buf_puts(page, "</section>");
    store_page_destroy(newer);
    store_page_destroy(older);
}
