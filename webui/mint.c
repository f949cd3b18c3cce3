#include "webui/mint.h"
#include "daemon/base/mem.h"
#include "webui/state.h"
#include <stdlib.h>

static void mint(struct webui *webui, void *ctx) {
    struct webui__mint *mint = ctx;
    const struct webui_hooks *hooks = &webui->hooks;
    mint->code = hooks->mint_link ? hooks->mint_link(hooks->ctx, mint->row, mint->ttl_s, mint->url,
                                                     &mint->kind, &mint->err)
                                  : err_set(&mint->err, ERR_NOT_FOUND, "there is no remote");
}

static void mint_destroy(void *ctx) {
    struct webui__mint *mint = ctx;
    store_row_destroy(mint->row);
    free(mint);
}

void webui__mint_put(struct webui__request *request, struct store_row *row, int ttl_s) {
    struct webui__mint *wish = mem_alloc(sizeof(*wish));
    if (!wish) {
        store_row_destroy(row);
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    wish->row = row;
    wish->ttl_s = ttl_s;
    wish->kind = "";
    webui__aside_put(request, ASIDE_LINK, mint, wish, mint_destroy);
}

struct webui__mint *webui__mint_result(struct webui__request *request) {
    return webui__aside_result(request);
}
