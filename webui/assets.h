/* assets: the files of webui/assets, embedded in the program.
 *
 * Addresses carry the version (a hash of all of them), so that a browser may keep them for ever.
 * Thread: any.
 */
#ifndef CREEL_WEBUI_ASSETS_H
#define CREEL_WEBUI_ASSETS_H

#include "webui/http.h"

extern const char embed_webui_assets_symbols_svg[], embed_webui_assets_symbols_svg_end[];

/* Eight hex digits; the same for the same assets. */
const char *webui__assets_version(void);

void webui__on_asset(struct webui__request *request);
void webui__on_favicon(struct webui__request *request);

#endif
