/* capture_child: one capture process (creel-capture), from the daemon's side.
 *
 * Knows processes, packets and slots; not reconnecting. What comes from the process is not trusted:
 * packets are of known sizes, a slot must be lent to be handed back, and a picture is copied once,
 * then its sizes are checked. A capture_child_* call that fails leaves the process to
 * capture_child_end, which is safe on a zeroed or ended struct. Thread: one at a time. Private to
 * this folder.
 */
#ifndef CREEL_INFERENCE_CAPTURE_CHILD_H
#define CREEL_INFERENCE_CAPTURE_CHILD_H

#include "daemon/base/err.h"
#include "inference/capture_protocol.h"
#include "inference/frame.h"
#include "inference/process.h"
#include "inference/source_url.h"
#include <stdbool.h>

struct capture_child {
    struct process process;
    int socket, ring_fd, poll_fd; /* owned; poll_fd is readable when there is something to take */
    const uint8_t *ring;
    uint64_t generation;          /* the last one given out */
    uint64_t lent[CAPTURE_SLOTS]; /* the generation that the process has it with; 0: ours */
    unsigned sandbox;             /* enum worker_sandbox, once it is ready */
};

#define CAPTURE_CHILD_NONE                                                                         \
    { .process = PROCESS_NONE, .socket = -1, .ring_fd = -1, .poll_fd = -1 }

enum capture_event_kind {
    CAPTURE_EVENT_NONE = 0, /* nothing more now */
    CAPTURE_EVENT_NOTE,     /* ready, connected or alive: `note` */
    CAPTURE_EVENT_FRAME,    /* `frame` is the caller's */
    CAPTURE_EVENT_END,      /* the process said why it ends: `note` */
};

struct capture_event {
    enum capture_event_kind kind;
    uint32_t note_kind, value;
    struct frame *frame;
    char text[CAPTURE_TEXT_SIZE]; /* printable, scrubbed */
};

/* `start` is sent as it is; `file_fd` (borrowed) is -1 but for CAPTURE_FILE. `scrub` is borrowed
 * for the child's life. */
int capture_child_start(const char *program, const struct capture_start *start, int file_fd,
                        const struct source__url *scrub, struct capture_child *child,
                        struct err *err);
/* The next thing it said, without waiting. `camera` names the frames. ERR_CRASHED: it is gone (why
 * is in err). ERR_CORRUPT: what it said cannot be. Other codes: we failed to take a frame. */
int capture_child_next(struct capture_child *child, const char *camera, struct capture_event *event,
                       struct err *err);
void capture_child_end(struct capture_child *child);

#endif
