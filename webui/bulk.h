/* bulk: what the gallery offers to do with many frames: those that are selected, or all that the
 * filter picks. Script carries it out (assets/bulk.js); the links do without.
 *
 * Whoever may not change things sees nothing that does. Thread: any.
 */
#ifndef CREEL_WEBUI_BULK_H
#define CREEL_WEBUI_BULK_H

#include "daemon/base/buf.h"
#include <stdbool.h>

struct webui__bulk {
    bool changes; /* who looks may change things */
    bool exports; /* data sets can be made */
    bool remotes; /* frames can be removed at the remotes, too */
};

/* Links to download and to share what the filter picks; `query` as in the gallery's address. */
void webui__html_whole(struct buf *page, const char *query, const struct webui__bulk *bulk);

/* The bar of the selected frames, and the dialogs. */
void webui__html_bulk(struct buf *page, const struct webui__bulk *bulk);

#endif
