#include "daemon/caller.h"
#include "daemon/base/mem.h"
#include <stdlib.h>

#define JPEG_QUALITY 90 /* of raw pixels that are drawn on */

struct caller {
    webui_reply_fn *reply;
    void *ctx;
    bool wait_stored, want_picture, replied;
    struct frame_record record; /* of the verdict, kept until the store has answered */
};

static void reply(struct caller *caller, struct webui_reply *reply, const struct err *err) {
    reply->kept = reply->record.tier != TIER_NONE;
    if (err) {
        reply->code = err->code;
        reply->err = *err;
    }
    caller->replied = true;
    caller->reply(caller->ctx, reply);
}

/* A JPEG of raw pixels, which stay what they are: triage may not want them. */
static int encoded(const struct frame *frame, struct frame **out, struct err *err) {
    const struct frame_record *record = &frame->record;
    uint8_t *bytes = mem_dup(frame->blob, record->blob_bytes);
    if (!bytes) {
        return err_set(err, ERR_NOMEM, "no memory for a picture to draw on");
    }
    int code = frame_create_raw(record->camera, frame->format, record->width, record->height, bytes,
                                record->blob_bytes, out, err);
    return code ? code : frame_encode(*out, JPEG_QUALITY, err);
}

static void reply_verdict(struct caller *caller, const struct frame *frame) {
    struct webui_reply answer = {.record = frame->record};
    struct frame *made = NULL;
    struct err err = {0};
    bool make = caller->want_picture && frame->format != FRAME_ENCODED;
    int code = make ? encoded(frame, &made, &err) : 0;
    const struct frame *shown = make ? made : frame;
    if (caller->want_picture && !code) {
        answer.picture = shown->blob;
        answer.picture_bytes = shown->record.blob_bytes;
    }
    reply(caller, &answer, code ? &err : NULL);
    frame_destroy(made);
}

static void on_detected(void *ctx, uint64_t token, const struct frame *frame) {
    struct caller *caller = ctx;
    (void)token;
    bool will_be_stored = frame->record.tier != TIER_NONE;
    if (!caller->wait_stored || !will_be_stored) {
        reply_verdict(caller, frame);
        return;
    }
    caller->record = frame->record;
    caller->record.detections =
        mem_dup(frame->record.detections,
                frame->record.detection_count * sizeof(*frame->record.detections));
    if (!caller->record.detections) {
        caller->record.detection_count = 0;
    }
}

static void on_settled(void *ctx, uint64_t token, const struct frame *frame,
                       enum frame_outcome outcome, const struct err *err) {
    struct caller *caller = ctx;
    (void)token;
    if (!caller->replied) {
        struct err dropped;
        err_set(&dropped, ERR_FULL, "the frame was dropped before it was looked at");
        bool seen = caller->record.detections != NULL;
        struct webui_reply answer = {.record = seen ? caller->record : frame->record,
                                     .stored = outcome == FRAME_KEPT};
        reply(caller, &answer,
              outcome == FRAME_KEPT || outcome == FRAME_REJECTED ? NULL
              : err                                              ? err
                                                                 : &dropped);
    }
    free(caller->record.detections);
    free(caller);
}

static int frame_of(const struct webui_push *push, struct frame **out, struct err *err) {
    static const enum frame_format formats[] = {[WEBUI_FILE] = FRAME_ENCODED,
                                                [WEBUI_YUV420P] = FRAME_YUV420P,
                                                [WEBUI_RGB24] = FRAME_RGB24,
                                                [WEBUI_BGR24] = FRAME_BGR24};
    if (push->pixels == WEBUI_FILE) {
        return frame_create(push->camera, push->bytes, push->size, out, err);
    }
    int code = frame_create_raw(push->camera, formats[push->pixels], push->width, push->height,
                                push->bytes, push->size, out, err);
    if (!code && push->pixels == WEBUI_YUV420P && !push->full_range) {
        frame_range_expand(*out);
    }
    return code;
}

int caller_frame(const struct webui_push *push, struct frame **out, struct err *err) {
    struct frame *frame;
    int code = frame_of(push, &frame, err);
    if (code) {
        return code;
    }
    frame->never_keep = push->never_keep;
    struct caller *caller = mem_alloc(sizeof(*caller));
    if (!caller) {
        frame_destroy(frame);
        return err_set(err, ERR_NOMEM, "no memory for a pushed frame");
    }
    *caller = (struct caller){.reply = push->reply,
                              .ctx = push->reply_ctx,
                              .wait_stored = push->wait_stored,
                              .want_picture = push->want_picture,
                              .record.tier = TIER_NONE};
    frame->origin =
        (struct frame_origin){.ctx = caller, .on_detected = on_detected, .on_settled = on_settled};
    *out = frame;
    return 0;
}

void caller_forget(struct frame *frame) {
    free(frame->origin.ctx);
    frame->origin = (struct frame_origin){0};
}
