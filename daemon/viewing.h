/* viewing: what the live view of the web server asks of the pipeline. Thread: any. */
#ifndef CREEL_DAEMON_VIEWING_H
#define CREEL_DAEMON_VIEWING_H

#include "daemon/pipeline.h"

/* As webui_hooks.live and .live_picture. */
int viewing_each(struct pipeline *pipeline, webui_live_fn *each, void *each_ctx, struct err *err);
int viewing_picture(struct pipeline *pipeline, const char *camera, uint64_t number, uint8_t **bytes,
                    size_t *size, enum frame_media *media, struct err *err);

#endif
