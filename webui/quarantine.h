/* quarantine: uploads that were set aside because only a person can mend what is wrong with them:
 * listed with their reasons, tried again or given up. The decisions are those of `creel sync`.
 *
 * Thread: microhttpd's.
 */
#ifndef CREEL_WEBUI_QUARANTINE_H
#define CREEL_WEBUI_QUARANTINE_H

#include "webui/http.h"

/* A panel with the first few of them; nothing where none is set aside. */
void webui__quarantine_write(struct buf *page, struct webui__request *request);

void webui__on_quarantine(struct webui__request *request); /* the page, and its forms */
void webui__on_api_quarantine(struct webui__request *request);

#endif
