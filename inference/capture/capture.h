/* capture: what the files of creel-capture share: the line to the daemon, and where pictures go.
 *
 * Life cycle: capture_main.c takes the orders, seals the process and calls one of the readers
 * (stream.c, snapshot.c), which gives its pictures to picture.c. A reader returns when there are no
 * more pictures; why is in `err`. Thread: the only one that calls any of this.
 */
#ifndef CREEL_INFERENCE_CAPTURE_CAPTURE_H
#define CREEL_INFERENCE_CAPTURE_CAPTURE_H

#include "daemon/base/err.h"
#include "inference/capture_protocol.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct AVFrame;

struct capture {
    struct capture_start start;
    uint8_t *ring; /* CAPTURE_SLOTS of CAPTURE_SLOT_SIZE, shared */
    uint64_t generations[CAPTURE_SLOTS];
    bool free[CAPTURE_SLOTS]; /* lent to us and empty */
    bool over;                /* the daemon has gone or wants no more */
    int64_t said_us;          /* when the daemon last heard of us */
    struct picture *picture;
};

/* ---- capture_main.c: the line to the daemon ---- */

int64_t capture_now_us(void);
/* Whether to end: takes the packets that have come. */
bool capture_over(struct capture *capture);
/* As capture_over after at most `us` microseconds; sooner when it is over. */
bool capture_sleep(struct capture *capture, int64_t us);
void capture_note(struct capture *capture, uint32_t kind, uint32_t value, const char *text);
/* "Pictures come": told at most once a second. */
void capture_alive(struct capture *capture);
/* A free slot's memory, and its number; NULL: none is free. With `wait`, waits for one. */
uint8_t *capture_slot(struct capture *capture, bool wait, uint32_t *slot);
/* Hands over slot `frame->slot`; fills version, kind and generation. */
void capture_hand(struct capture *capture, struct capture_frame *frame);

/* ---- picture.c: from what was read to a slot ---- */

int picture_open(struct capture *capture, struct err *err);
/* Whether a picture of this time (seconds; negative: unknown) is due by the rate that is wanted.
 * Call once a picture, before it is put. */
bool picture_due(struct capture *capture, double at);
/* An encoded JPEG or PNG as it came. ERR_INVALID: it is neither, or larger than a slot. */
int picture_put_encoded(struct capture *capture, const uint8_t *bytes, size_t size,
                        struct err *err);
/* A decoded picture of any format. ERR_INVALID: no usable size. */
int picture_put_decoded(struct capture *capture, const struct AVFrame *frame, struct err *err);

/* ---- the readers ---- */

/* What must happen before the process is sealed: libraries that read their files, and a device that
 * is opened. */
int stream_prepare(struct capture *capture, struct err *err);
/* 0: the end of a file. */
int stream_read(struct capture *capture, struct err *err);
int snapshot_prepare(struct err *err);
int snapshot_read(struct capture *capture, struct err *err);

#endif
