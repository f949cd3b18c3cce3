/* frame: one picture on its way from a source to the store.
 *
 * A source creates it with the bytes that came in: a JPEG, PNG or BMP file, or raw pixels. The
 * detector fills the record; triage sets tier, rule and value; frame_encode makes a JPEG of raw
 * pixels that are kept; the daemon moves blob and thumbnail into the store. Whoever ends its way
 * calls frame_settle once, which tells the origin what became of it, and frame_destroy frees it.
 * Thread: one owner at a time; it moves through queues.
 */
#ifndef CREEL_INFERENCE_FRAME_H
#define CREEL_INFERENCE_FRAME_H

#include "daemon/base/err.h"
#include "inference/view.h"
#include "schemas/frame.h"
#include <stdbool.h>

#define FRAME_RAW_SIDE_MAX 65500 /* pixels of width or height: what a JPEG can have */

/* What the blob is. Raw pixels are rows without gaps. */
enum frame_format {
    FRAME_ENCODED = 0, /* an image file; its first bytes say which */
    FRAME_YUV420P,     /* planes Y, U, V; those of U and V have half the size, rounded up; BT.601,
                          full range (0..255), as a JPEG has it: see frame_range_expand */
    FRAME_RGB24,
    FRAME_BGR24,
};

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
    enum frame_format format;   /* of the blob; raw: record.width and height are set from the start,
                                   and record.blob_bytes are the raw bytes until frame_encode */
    const struct view *view;    /* of its camera; borrowed; NULL: looked at and kept as it came */
    bool viewed;                /* raw: the view was applied to the pixels */
    uint8_t *thumb;             /* owned JPEG, or NULL */
    size_t thumb_bytes;
    bool live;        /* from a camera that will not wait: may be dropped when the queue is full */
    bool never_keep;  /* to be looked at and forgotten: neither triage nor the disk hear of it */
    double detect_ms; /* time in the worker: decode, network, boxes */
    int64_t due_boot_us;       /* triage: until then a better frame may displace it; 0: none may */
    bool displaces;            /* and this one displaces an earlier one: */
    struct frame_id displaced; /* which goes when this one is durable */
    struct frame_origin origin;
};

/* Takes `blob` (malloc'd, `size` bytes) also when it fails. Fills id, captured, camera and
 * blob_bytes. ERR_INVALID: the camera's name, an empty blob, or more than FRAME_BLOB_MAX. */
int frame_create(const char *camera, uint8_t *blob, size_t size, struct frame **out,
                 struct err *err);
/* Takes `bytes` (malloc'd, `size` bytes) also when it fails: raw pixels of `format` (not
 * FRAME_ENCODED), width * height of them. ERR_INVALID: what frame_create refuses, a side of 0 or
 * above FRAME_RAW_SIDE_MAX, or a size that is not frame_raw_size's. */
int frame_create_raw(const char *camera, enum frame_format format, uint32_t width, uint32_t height,
                     uint8_t *bytes, size_t size, struct frame **out, struct err *err);
/* Bytes of such a picture; 0 where the format is not raw, a side is 0, or above a bound. */
size_t frame_raw_size(enum frame_format format, uint32_t width, uint32_t height);
/* In place: yuv420p in the range of video (Y 16..235, U and V 16..240; ITU-R BT.601), which is what
 * most decoders of H.264 give, becomes full range. `format` must be FRAME_YUV420P. */
void frame_range_expand(struct frame *frame);
/* In place: raw pixels become a JPEG (4:2:0; yuv420p without a conversion of colours): blob,
 * record.blob_bytes, media and format. A frame that is encoded already stays as it is. ERR_NOMEM;
 * the frame is then as before. Thread: any. */
int frame_encode(struct frame *frame, int quality, struct err *err);
void frame_detected(const struct frame *frame);
/* Tells the origin and destroys the frame. */
void frame_settle(struct frame *frame, enum frame_outcome outcome, const struct err *err);
void frame_destroy(struct frame *frame);

bool frame_name_valid(const char *name); /* [a-z0-9][a-z0-9-]{0,31} */

#endif
