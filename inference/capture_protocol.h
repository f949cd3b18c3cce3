/* capture_protocol: what the daemon and a capture program (creel-capture) say to each other.
 *
 * Packets over a SOCK_SEQPACKET socket; the pictures lie in a memfd of slots that both map. A slot
 * belongs to one side at a time: the daemon lends it with CAPTURE_SLOT and a generation that never
 * repeats, the program hands it back full with CAPTURE_FRAME and the same generation. The program
 * may still write into a slot that it handed back: the daemon copies once, then looks. One process
 * is one connection to one camera: when that ends, so does the process, with CAPTURE_END.
 *
 * Everything here is read by one build of creel on one machine: plain structs.
 */
#ifndef CREEL_INFERENCE_CAPTURE_PROTOCOL_H
#define CREEL_INFERENCE_CAPTURE_PROTOCOL_H

#include "schemas/frame.h"
#include <stdint.h>

#define CAPTURE_PROTOCOL_VERSION 1u

enum capture_fd {
    CAPTURE_FD_SOCKET = 3,
    CAPTURE_FD_RING = 4, /* CAPTURE_SLOTS * CAPTURE_SLOT_SIZE bytes, size sealed */
    CAPTURE_FD_FILE = 5, /* CAPTURE_FILE: the video, read only */
};

#define CAPTURE_SLOTS       3u
#define CAPTURE_SLOT_SIZE   ((uint64_t)FRAME_BLOB_MAX)
#define CAPTURE_URL_SIZE    2048
#define CAPTURE_USER_SIZE   128
#define CAPTURE_SECRET_SIZE 256
#define CAPTURE_TEXT_SIZE   256

enum capture_kind {
    CAPTURE_START = 1, /* to the program: struct capture_start */
    CAPTURE_SLOT,      /* to the program: struct capture_slot */
    CAPTURE_READY,     /* struct capture_note: sealed; `value` has the bits of the sandbox */
    CAPTURE_CONNECTED, /* struct capture_note: a publisher has come (CAPTURE_LISTEN) */
    CAPTURE_ALIVE,     /* struct capture_note: pictures come, but none is due or worth it */
    CAPTURE_FRAME,     /* struct capture_frame */
    CAPTURE_END, /* struct capture_note: the last packet; `value` is 1 for the end of a file */
};

enum capture_source {
    CAPTURE_FILE = 1, /* CAPTURE_FD_FILE */
    CAPTURE_RTSP,
    CAPTURE_RTMP,
    CAPTURE_LISTEN, /* RTMP, waiting for a publisher at the URL's host and port */
    CAPTURE_HTTP,
    CAPTURE_DEVICE, /* V4L2; `url` is its path */
    CAPTURE_SNAPSHOT,
};

struct capture_start {
    uint32_t version, kind;
    uint32_t source;        /* enum capture_source */
    uint32_t width, height; /* pictures larger than this are made to fit; 0: none is */
    uint32_t timeout_ms;
    uint8_t loop; /* CAPTURE_FILE: at its own pace, again and again */
    uint8_t tls_verify;
    uint8_t reserved[6];
    double fps;    /* at most; 0: all */
    double motion; /* share of the picture that must have changed; 0: none */
    uint64_t memory_bytes;
    char url[CAPTURE_URL_SIZE]; /* without user and password */
    char user[CAPTURE_USER_SIZE];
    char password[CAPTURE_SECRET_SIZE];
};

struct capture_slot {
    uint32_t version, kind;
    uint32_t slot, reserved;
    uint64_t generation;
};

struct capture_frame {
    uint32_t version, kind;
    uint32_t slot;
    uint32_t raw;           /* 0: an encoded picture as it came; 1: yuv420p, BT.601, full range */
    uint32_t width, height; /* of raw ones */
    uint64_t generation;
    uint64_t size;
};

struct capture_note {
    uint32_t version, kind;
    uint32_t value;
    uint32_t reserved;
    char text[CAPTURE_TEXT_SIZE];
};

#endif
