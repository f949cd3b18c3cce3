/* worker_protocol: what detector and worker process say to each other.
 *
 * Small messages go over a SOCK_SEQPACKET socketpair; one message is one packet and has exactly the
 * size of its struct. The bytes of a frame lie in the input memfd, which the worker can only read;
 * the verdict lies in the output memfd, which the parent copies out once and then checks: nothing
 * in it is believed. Order: the parent sends WORKER_START; the worker answers WORKER_READY or
 * WORKER_FAILED (and ends); then each WORKER_RUN is answered by one WORKER_DONE of the same slot
 * and generation. End of file ends the worker. Not an interface between versions: both programs
 * come from one build, and `version` only says so.
 *
 * Roles: a worker is whole, or the work is shared: one prepares (its output has the network's input
 * behind all else), and another has the network and is given such inputs, several at a time: its
 * input memory has slots for two batches, so that one fills while the other is looked at.
 */
#ifndef CREEL_INFERENCE_WORKER_PROTOCOL_H
#define CREEL_INFERENCE_WORKER_PROTOCOL_H

#include "inference/backend.h"
#include "inference/boxes.h"
#include "inference/view.h"
#include "schemas/frame.h"
#include <stdint.h>

#define WORKER_PROTOCOL_VERSION 2u

/* Descriptors of the worker, besides 0, 1 and 2. */
enum worker_fd {
    WORKER_FD_SOCKET = 3,
    WORKER_FD_INPUT = 4,  /* read only */
    WORKER_FD_OUTPUT = 5, /* read and write, size sealed */
    WORKER_FD_CFG = 6,    /* the model's files, read only */
    WORKER_FD_WEIGHTS = 7,
    WORKER_FD_END = 8, /* first descriptor that the worker must not have */
};

#define WORKER_TEXT_SIZE    256
#define WORKER_BACKEND_SIZE 96
#define WORKER_DEVICE_SIZE  16

enum worker_kind {
    WORKER_START = 1,
    WORKER_READY = 2,
    WORKER_FAILED = 3,
    WORKER_RUN = 4,
    WORKER_DONE = 5,
};

enum worker_sandbox { /* bits of worker_hello.sandbox */
                      WORKER_SANDBOX_LIMITS = 1,
                      WORKER_SANDBOX_SECCOMP = 2,
                      WORKER_SANDBOX_FILES = 4, /* Landlock */
};

enum worker_role {
    WORKER_WHOLE = 0,    /* from a frame's bytes to its detections */
    WORKER_PREPARES = 1, /* from a frame's bytes to the network's input; it loads no model */
    WORKER_NETWORK = 2,  /* from such inputs to detections; it sees no stranger's file */
};

#define WORKER_BATCH_MAX 64 /* inputs that are looked at together; bits of worker_job.size */

struct worker_start {
    uint32_t version, kind;
    uint32_t input_width, input_height, class_count, head_count; /* as the validator read the cfg */
    uint32_t resize;                                             /* enum model_resize */
    uint32_t thumb_width;                                        /* pixels */
    uint32_t alarm_s;      /* the worker ends itself when one frame takes longer */
    uint32_t nms_kind;     /* enum model_nms */
    uint64_t memory_bytes; /* limit of the address space; 0: none */
    double floor, nms;
    char device[WORKER_DEVICE_SIZE];
    uint32_t layer_count; /* without [net] */
    uint32_t scaled;      /* 1: see detector_config */
    uint32_t role;        /* enum worker_role */
    uint32_t batch;       /* WORKER_NETWORK: 1 to WORKER_BATCH_MAX; the others: 0 */
    struct boxes_head heads[BOXES_HEADS_MAX]; /* head_count of them, outputs NULL */
    struct backend_refusals refusals;
};

struct worker_hello { /* WORKER_READY, WORKER_FAILED */
    uint32_t version, kind;
    uint32_t sandbox;
    uint32_t reserved;
    char backend[WORKER_BACKEND_SIZE];
    char text[WORKER_TEXT_SIZE]; /* WORKER_FAILED: why */
};

struct worker_job { /* WORKER_RUN: size of the frame; WORKER_DONE: bytes used of the output */
    uint32_t version, kind;
    uint32_t slot; /* of the input memory; WORKER_NETWORK: the first of a batch */
    uint32_t reserved;
    uint64_t generation; /* never repeats in the life of a detector */
    uint64_t size; /* WORKER_NETWORK: bit i: slot + i is to be looked at; its verdict is result i */
    uint32_t format;        /* enum frame_format of the input */
    uint32_t width, height; /* of raw pixels; 0 for FRAME_ENCODED */
    uint32_t has_view;      /* 1: struct view lies at WORKER_VIEW_AT of the input */
};

struct worker_detection {
    double x, y, w, h; /* as frame_box */
    float confidence;
    uint32_t class_index;
};

/* The input memfd: the frame's bytes, and behind their room its view. */
#define WORKER_VIEW_AT    FRAME_BLOB_MAX
#define WORKER_INPUT_SIZE (FRAME_BLOB_MAX + sizeof(struct view))

/* The output memfd; `thumb_bytes` of JPEG follow the struct, and `picture_bytes` of JPEG lie at
 * WORKER_PICTURE_AT: the frame as it may be stored, where that is not as it came (turned, masked,
 * or a BMP). */
struct worker_result {
    uint64_t generation;
    int32_t code; /* 0, ERR_INVALID (the frame is to blame), ERR_NOMEM */
    uint32_t media, width, height, orientation;
    uint32_t detection_count, thumb_bytes, picture_bytes;
    uint32_t seen_width, seen_height; /* of what was resized: less where a JPEG was scaled */
    float luma_mean, luma_stddev, sharpness;
    uint64_t phash;
    double detect_ms;
    char text[WORKER_TEXT_SIZE]; /* with a code: why */
    struct worker_detection detections[FRAME_DETECTIONS_MAX];
};

/* WORKER_NETWORK, in the input memory: what an input was made of. */
struct worker_item {
    uint32_t seen_width, seen_height; /* of the picture that was resized */
    uint32_t has_view;
    uint32_t reserved;
    struct view view;
};

#define WORKER_PICTURE_AT  (sizeof(struct worker_result) + FRAME_THUMB_MAX)
#define WORKER_OUTPUT_SIZE (WORKER_PICTURE_AT + FRAME_BLOB_MAX)
#define WORKER_PLANAR_AT   WORKER_OUTPUT_SIZE /* WORKER_PREPARES: the network's input */

/* WORKER_NETWORK: the items of two batches, and behind them, from a page's begin, their inputs. */
#define WORKER_ITEMS_SIZE                                                                          \
    ((2 * WORKER_BATCH_MAX * sizeof(struct worker_item) + 4095) & ~(size_t)4095)

/* Floats of one input of the network. */
static inline size_t worker_planar_count(const struct worker_start *start) {
    return (size_t)start->input_width * start->input_height * 3;
}

static inline size_t worker_planar_at(const struct worker_start *start, uint32_t slot) {
    return WORKER_ITEMS_SIZE + slot * worker_planar_count(start) * sizeof(float);
}

static inline size_t worker_input_size(const struct worker_start *start) {
    return start->role == WORKER_NETWORK ? worker_planar_at(start, 2 * start->batch)
                                         : WORKER_INPUT_SIZE;
}

static inline size_t worker_output_size(const struct worker_start *start) {
    size_t planar = worker_planar_count(start) * sizeof(float);
    return start->role == WORKER_NETWORK    ? start->batch * sizeof(struct worker_result)
           : start->role == WORKER_PREPARES ? WORKER_PLANAR_AT + planar
                                            : WORKER_OUTPUT_SIZE;
}

#endif
