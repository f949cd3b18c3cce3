/* html: the frame of every page, and the small pieces that pages share. Pages work without script.
 *
 * All text goes through buf_puts_html; nothing here writes an inline style or script, which the
 * Content-Security-Policy forbids. Thread: any; a buffer belongs to one.
 */
#ifndef CREEL_WEBUI_HTML_H
#define CREEL_WEBUI_HTML_H

#include "daemon/base/buf.h"
#include "schemas/frame.h"
#include "store/store.h"
#include <jansson.h>
#include <stdint.h>

struct webui;

/* `here` is the path of the navigation entry that is this page, or "". */
void webui__html_begin(struct buf *page, const char *title, const char *here);
void webui__html_end(struct buf *page);

void webui__html_bytes(struct buf *page, uint64_t bytes); /* "1.5 MiB" */
void webui__html_count(struct buf *page, uint64_t count); /* "12 345" with thin spaces */
void webui__html_time(struct buf *page,
                      int64_t utc_us); /* a <time> that script shows in the viewer's zone */
/* A bar filled to `fraction`, whose meaning `label` tells those who do not see it. */
void webui__html_bar(struct buf *page, double fraction, const char *label);
void webui__html_option(struct buf *page, const char *value, const char *text, const char *chosen);

/* A mark (icon and text) of the frame's way to the remotes. */
void webui__html_sync(struct buf *page, const struct store_row *row);
/* Marks of what a person did: pinned it, said something of it; nothing where nobody did. */
void webui__html_said(struct buf *page, const struct store_row *row);
void webui__html_tier(struct buf *page, enum frame_tier tier);

/* A field of a form that nobody sees. */
void webui__html_hidden(struct buf *page, const char *name, const char *value);
/* Opens a <div> for what may be wider than the screen: who has no mouse scrolls what has the focus.
 * `more`: further classes, each after a space. */
void webui__html_wide_begin(struct buf *page, const char *label, const char *more);
/* Any JSON as tables and lists, numbers shown by the unit in their key's name. */
void webui__html_json(struct buf *page, const char *key, const json_t *value);

/* One of the colours c0 .. c9: those of the first ten classes of a model differ. */
unsigned webui__class_colour(uint16_t class_index);

/* The boxes as SVG groups in pixels of the image as a browser shows it: turned by the EXIF
 * orientation unless `as_stored`. At most `limit` of them, those below `threshold` not displayed;
 * with text, and what script finds them by, when `labels`. */
void webui__svg_boxes(struct buf *page, const struct frame_record *record, bool as_stored,
                      bool labels, size_t limit, double threshold);
/* The size at which a browser shows the image. */
void webui__shown_size(const struct frame_record *record, bool as_stored, uint32_t *width,
                       uint32_t *height);

#endif
