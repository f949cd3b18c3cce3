#include "daemon/base/mem.h"
#include "webui/act.h"
#include "webui/assets.h"
#include "webui/pages.h"
#include "webui/quarantine.h"
#include "webui/removal.h"
#include "webui/state.h"

const struct webui__route webui__web_routes[] = {
    {METHOD_GET, "/", webui__on_gallery, 0, NULL},
    {METHOD_GET, "/frames/*", webui__on_frame, 0, NULL},
    {METHOD_GET, "/frames/*/original", webui__on_original, 0, NULL},
    {METHOD_GET, "/live", webui__on_live, 0, NULL},
    {METHOD_GET, "/live/events", webui__on_live_events, 0, NULL},
    {METHOD_GET, "/live/picture/*", webui__on_live_picture, 0, NULL},
    {METHOD_GET, "/status", webui__on_status, 0, NULL},
    {METHOD_GET | METHOD_POST, "/quarantine", webui__on_quarantine, ROUTE_BODY, NULL},
    {METHOD_GET | METHOD_POST, "/api/v1/quarantine", webui__on_api_quarantine, ROUTE_BODY, NULL},
    {METHOD_GET, "/api/v1/frames", webui__on_api_frames, 0, NULL},
    {METHOD_GET, "/api/v1/frames/*", webui__on_api_frame, 0, NULL},
    {METHOD_GET | METHOD_POST, "/api/v1/frames/*/link", webui__on_api_link, ROUTE_LOOK, NULL},
    {METHOD_POST, "/api/v1/actions", webui__on_act, ROUTE_BODY, webui__on_act_headers},
    {METHOD_POST, "/api/v1/removals", webui__on_removal_new, ROUTE_BODY, webui__on_act_headers},
    {METHOD_GET, "/api/v1/removals/*", webui__on_removal, 0, NULL},
    {METHOD_GET | METHOD_POST, "/export", webui__on_export, ROUTE_BODY | ROUTE_LOOK, NULL},
    {METHOD_GET, "/api/v1/hours", webui__on_api_hours, 0, NULL},
    {METHOD_GET, "/api/v1/status", webui__on_api_status, 0, NULL},
    {METHOD_GET | METHOD_POST, "/login", webui__on_login_page, ROUTE_OPEN | ROUTE_BODY, NULL},
    {METHOD_POST, "/logout", webui__on_logout, ROUTE_BODY | ROUTE_LOOK, NULL},
    {METHOD_GET, "/s/*", webui__on_share, ROUTE_OPEN, NULL},
    {METHOD_GET, "/s/*/thumb/*", webui__on_share_thumb, ROUTE_OPEN, NULL},
    {METHOD_GET, "/s/*/image/*", webui__on_share_image, ROUTE_OPEN, NULL},
    {METHOD_GET | METHOD_POST, "/shares", webui__on_shares, ROUTE_BODY, NULL},
    {METHOD_POST, "/shares/*/revoke", webui__on_share_revoke, ROUTE_BODY, NULL},
    {METHOD_GET | METHOD_POST, "/api/v1/shares", webui__on_api_shares, ROUTE_BODY, NULL},
    {METHOD_POST, "/api/v1/shares/*/revoke", webui__on_api_share_revoke, ROUTE_BODY, NULL},
    {METHOD_GET, "/thumb/*", webui__on_thumb, 0, NULL},
    {METHOD_GET, "/blob/*", webui__on_blob, ROUTE_OPEN,
     NULL}, /* a signed link, or the login: see blob.c */
    {METHOD_GET, "/assets/*", webui__on_asset, ROUTE_OPEN, NULL},
    {METHOD_GET, "/favicon.ico", webui__on_favicon, ROUTE_OPEN, NULL},
    {METHOD_GET, "/healthz", webui__on_healthz, ROUTE_OPEN, NULL},
    {METHOD_GET, "/readyz", webui__on_readyz, ROUTE_OPEN, NULL},
    {METHOD_GET, "/metrics", webui__on_metrics, 0, NULL},
};
const size_t webui__web_route_count = ARRAY_LENGTH(webui__web_routes);
