/* near: what lies near a frame: the frames before and after it of its camera, and those that look
 * the same.
 *
 * Thread: any.
 */
#ifndef CREEL_WEBUI_NEAR_H
#define CREEL_WEBUI_NEAR_H

#include "daemon/base/buf.h"
#include "store/store.h"

struct webui;

/* Two reads of the store. `query` goes into the links. */
void webui__html_near(struct buf *page, struct webui *webui, const struct store_row *row,
                      const char *query);

#endif
