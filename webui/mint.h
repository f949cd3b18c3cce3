/* mint: a link into the cloud, made aside (aside.h): the cloud may be asked, and may not answer.
 */
#ifndef CREEL_WEBUI_MINT_H
#define CREEL_WEBUI_MINT_H

#include "store/store.h"
#include "webui/http.h"

struct webui__mint {
    struct store_row *row; /* owned */
    int ttl_s;
    int code; /* of the hook */
    struct err err;
    const char *kind;
    char url[WEBUI_LINK_MAX];
};

/* The row is moved in; the handler is called again, or 503 is answered. */
void webui__mint_put(struct webui__request *request, struct store_row *row, int ttl_s);
/* NULL: nothing was put yet. */
struct webui__mint *webui__mint_result(struct webui__request *request);

#endif
