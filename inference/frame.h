/* frame: one picture on its way from a source to the store.
 *
 * A source creates it with the bytes that came in; the detector fills the record; triage sets tier,
 * rule and value; the daemon moves blob and thumbnail into the store. Whoever ends its way calls
 * frame_settle once, which tells the origin what became of it, and frame_destroy frees it. Thread:
 * one owner at a time; it moves through queues.
 */
#ifndef CREEL_INFERENCE_FRAME_H
#define CREEL_INFERENCE_FRAME_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>

enum frame_outcome {
    FRAME_KEPT = 1, /* durable in the store */
    FRAME_REJECTED, /* looked at, not worth keeping */
    FRAME_BAD,      /* not an image that can be decoded: err says why */
    FRAME_DROPPED,  /* never looked at: a full queue, or the shutdown */
    FRAME_FAILED, /* worth keeping, but not kept (disk, store), or the detector failed: err says why
                   */
};

struct frame;

/* What an origin may hear of its frame. Both may be NULL, both are called on another thread than
 * the origin's and must be brief. */
struct frame_origin {
    void *ctx;
    uint64_t token; /* the origin's own name for this frame */
    /* The verdict is in frame->record, triage has decided; the store has not acknowledged yet. */
    void (*on_detected)(void *ctx, uint64_t token, const struct frame *frame);
    /* The end: called exactly once for each frame that was submitted. err is NULL where nothing
     * failed. */
    void (*on_settled)(void *ctx, uint64_t token, const struct frame *frame,
                       enum frame_outcome outcome, const struct err *err);
};

struct frame {
    struct frame_record record; /* record.detections is owned by the frame */
    uint8_t *blob;              /* owned; record.blob_bytes long */
    uint8_t *thumb;             /* owned JPEG, or NULL */
    size_t thumb_bytes;
    bool live;        /* from a camera that will not wait: may be dropped when the queue is full */
    double detect_ms; /* time in the worker: decode, network, boxes */
    struct frame_origin origin;
};

/* Takes `blob` (malloc'd, `size` bytes) also when it fails. Fills id, captured, camera and
 * blob_bytes. ERR_INVALID: the camera's name, an empty blob, or more than FRAME_BLOB_MAX. */
int frame_create(const char *camera, uint8_t *blob, size_t size, struct frame **out,
                 struct err *err);
void frame_detected(const struct frame *frame);
/* Tells the origin and destroys the frame. */
void frame_settle(struct frame *frame, enum frame_outcome outcome, const struct err *err);
void frame_destroy(struct frame *frame);

bool frame_name_valid(const char *name); /* [a-z0-9][a-z0-9-]{0,31} */

#endif
