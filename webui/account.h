/* account: what the daemon tells of itself (the status document), for a person: remotes, inference,
 * storage, cameras. Thread: any.
 */
#ifndef CREEL_WEBUI_ACCOUNT_H
#define CREEL_WEBUI_ACCOUNT_H

#include "daemon/base/buf.h"

struct webui;
void webui__account_write(struct buf *page, struct webui *webui);

/* expiry.c: a table of what the tiers' limits take within an hour, a day, a week, a month. Asks the
 * store at most twice a minute, however many people look. */
void webui__expiry_write(struct buf *page, struct webui *webui);

#endif
