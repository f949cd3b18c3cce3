#include "daemon/viewing.h"
#include "daemon/base/mem.h"

int viewing_each(struct pipeline *pipeline, webui_live_fn *each, void *each_ctx, struct err *err) {
    struct watch *watch = pipeline_watch(pipeline);
    CLEANUP(mem_free_at)
    struct pipeline_camera *cameras = mem_array(TALLY_CAMERAS_MAX, sizeof(*cameras));
    CLEANUP(mem_free_at) struct watch_look *look = mem_alloc(sizeof(*look));
    if (!cameras || !look) {
        return err_set(err, ERR_NOMEM, "no memory for the live view");
    }
    watch_want(watch);
    size_t count = pipeline_cameras_get(pipeline, cameras, TALLY_CAMERAS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct pipeline_camera *camera = &cameras[i];
        bool seen = watch_get(watch, camera->name, look);
        const struct webui_live live = {.camera = camera->name,
                                        .source = camera->source,
                                        .error = camera->from.last_error,
                                        .per_second = camera->rate.per_second,
                                        .latency_ms = camera->latency_ms,
                                        .seen = camera->seen,
                                        .kept = camera->kept,
                                        .dropped = camera->dropped,
                                        .bad = camera->bad,
                                        .last_utc_us = camera->last_utc_us,
                                        .number = seen ? look->number : 0,
                                        .record = seen ? &look->record : NULL};
        each(each_ctx, &live);
    }
    return 0;
}

int viewing_picture(struct pipeline *pipeline, const char *camera, uint64_t number, uint8_t **bytes,
                    size_t *size, enum frame_media *media, struct err *err) {
    struct watch *watch = pipeline_watch(pipeline);
    watch_want(watch);
    return watch_picture(watch, camera, number, bytes, size, media, err);
}
