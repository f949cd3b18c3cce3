/* query: which frames a request asks for, and the same as text, so that filters live in the URL.
 *
 * tier, camera, class, min (confidence), rule, sync, label (what a person said), pinned, since,
 * until, order (newest, oldest), after (a cursor), limit. An empty parameter means "any". Thread:
 * any.
 */
#ifndef CREEL_WEBUI_QUERY_H
#define CREEL_WEBUI_QUERY_H

#include "daemon/base/buf.h"
#include "store/store.h"
#include "webui/http.h"

struct webui__query {
    struct store_filter filter;
    struct store_cursor after;
    size_t limit;
};

/* ERR_INVALID names the parameter and what it may be. */
int webui__query_read(struct webui__request *request, size_t limit_default,
                      struct webui__query *out, struct err *err);

/* The same from "tier=annotated&camera=dock". */
int webui__query_parse(const char *text, size_t limit_default, struct webui__query *out,
                       struct err *err);

/* The filter as "tier=annotated&camera=dock", "" when it asks for everything. */
void webui__query_write(struct buf *out, const struct store_filter *filter);
bool webui__query_empty(const struct store_filter *filter);

/* "ID,ID" into at most `most` ids; ERR_INVALID where there is none, or what is no id. */
int webui__ids_parse(const char *text, struct frame_id *ids, size_t most, size_t *count,
                     struct err *err);

/* "1732138508123456-42" */
void webui__cursor_write(struct buf *out, const struct store_cursor *cursor);
bool webui__cursor_parse(const char *text, struct store_cursor *out);

const char *webui__sync_filter_name(enum store_sync_filter sync); /* "" for any */

/* "accepted" …; "none" where nobody has said anything. */
const char *webui__label_state_name(enum store_label_state state);
bool webui__label_state_parse(const char *text, enum store_label_state *out);

#endif
