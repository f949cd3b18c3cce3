/* trigger: POST /trigger on the ingest port: somebody (a door's contact, a light barrier, a person)
 * says that the frames of a camera around this moment are wanted. */
#include "webui/pages.h"
#include "webui/state.h"

void webui__on_trigger(struct webui__request *request) {
    const struct webui_hooks *hooks = &request->webui->hooks;
    const char *camera = webui__arg(request, "camera");
    struct err err = {0};
    unsigned kept = 0;
    if (!webui__name_valid(camera)) {
        webui__reply_problem(request, MHD_HTTP_BAD_REQUEST,
                             "camera= must be a camera's name: a-z, 0-9 and -, at most 32 letters");
        return;
    }
    if (!hooks->trigger) {
        webui__reply_problem(request, MHD_HTTP_NOT_FOUND, "nothing here keeps frames on demand");
        return;
    }
    if (hooks->trigger(hooks->ctx, camera, &kept, &err)) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_json(request, MHD_HTTP_OK, WEBUI__JSON_TYPE,
                      json_pack("{s:s,s:i}", "camera", camera, "frames_before", (int)kept));
}
