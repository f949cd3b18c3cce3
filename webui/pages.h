/* pages: the handlers of the web server, each in the file named; routes.c has their table.
 *
 * Thread: microhttpd's.
 */
#ifndef CREEL_WEBUI_PAGES_H
#define CREEL_WEBUI_PAGES_H

#include "webui/http.h"

void webui__on_gallery(struct webui__request *request); /* gallery.c */
void webui__on_frame(struct webui__request *request);   /* frame.c */
void webui__on_live(struct webui__request *request);    /* live.c */
void webui__on_live_events(struct webui__request *request);
void webui__on_live_picture(struct webui__request *request);
void webui__on_status(struct webui__request *request);     /* status.c */
void webui__on_api_frames(struct webui__request *request); /* api.c */
void webui__on_api_frame(struct webui__request *request);
void webui__on_api_hours(struct webui__request *request);
void webui__on_api_link(struct webui__request *request);
void webui__on_original(struct webui__request *request);
/* "http://host:port", or https, of this request; "" when the Host header is odd: then a link is
 * relative. */
void webui__origin(struct webui__request *request, char *out, size_t size);
void webui__on_api_status(struct webui__request *request);
void webui__on_thumb(struct webui__request *request); /* blob.c */
void webui__on_blob(struct webui__request *request);
void webui__on_healthz(struct webui__request *request); /* probe.c */
void webui__on_readyz(struct webui__request *request);
void webui__on_metrics(struct webui__request *request);
void webui__on_login_page(struct webui__request *request); /* login.c */
void webui__on_login(struct webui__request *request);
void webui__on_logout(struct webui__request *request);
void webui__on_share(struct webui__request *request); /* share_guest.c */
void webui__on_share_thumb(struct webui__request *request);
void webui__on_share_image(struct webui__request *request);
void webui__on_shares(struct webui__request *request); /* share_pages.c */
void webui__on_share_revoke(struct webui__request *request);
void webui__on_api_shares(struct webui__request *request);
void webui__on_api_share_revoke(struct webui__request *request);
void webui__on_export(struct webui__request *request);  /* export.c */
void webui__on_trigger(struct webui__request *request); /* trigger.c; of the ingest server */

/* The frame that the "*" of the route names (an id, "@last", or 8 or more hex digits of its hash),
 * with all its detections; NULL: answered. Free with store_row_destroy. */
struct store_row *webui__frame_named(struct webui__request *request);

#endif
