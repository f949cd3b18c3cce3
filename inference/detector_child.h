/* detector_child: one worker process, from birth to waitpid.
 *
 * Knows processes, descriptors and packets; not frames. Thread: one at a time. A child_* call that
 * fails leaves the process to child_end, which is safe on a zeroed or ended struct.
 */
#ifndef CREEL_INFERENCE_DETECTOR_CHILD_H
#define CREEL_INFERENCE_DETECTOR_CHILD_H

#include "daemon/base/err.h"
#include "inference/process.h"
#include "inference/worker_protocol.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define CHILD_LINE_SIZE PROCESS_LINE_SIZE

struct child {
    struct process process;
    int socket, output; /* owned */
    char backend[WORKER_BACKEND_SIZE];
    unsigned sandbox; /* enum worker_sandbox */
};

struct child_setup {
    const char *worker_path;
    int input_fd, cfg_fd, weights_fd; /* borrowed */
    int timeout_ms;                   /* until it is ready */
    const atomic_bool *cancel;        /* borrowed: ends the waiting for that; NULL: nothing does */
    struct process_limit *limit;      /* of its noise; borrowed while it lives */
    struct worker_start start;
};

/* Shared memory that we write and a child reads: its size is sealed, and the child's descriptor is
 * read only. Zeroed with both descriptors -1 it may be finished. */
struct child_memory {
    int read_fd, write_fd;
    uint8_t *bytes;
    size_t size;
};
int child_memory_init(struct child_memory *memory, size_t size, struct err *err);
void child_memory_finish(struct child_memory *memory);

/* Starts the process and waits for its hello. ERR_NOT_FOUND: no such program. ERR_INVALID: it says
 * why it cannot serve. ERR_CRASHED: it died. ERR_TIMEOUT. */
int child_start(const struct child_setup *setup, struct child *out, struct err *err);

/* Whether it still lives and is silent, without waiting. */
bool child_idle(struct child *child);

int child_send(struct child *child, const void *message, size_t size, struct err *err);

/* One packet of exactly `size` bytes. ERR_TIMEOUT; ERR_CRASHED: it is gone; ERR_CORRUPT: another
 * size. */
int child_get(struct child *child, void *message, size_t size, int timeout_ms, struct err *err);

/* Kills, waits, closes. Logs at debug what it died of. */
void child_end(struct child *child);

/* Kills and waits, and writes "died of signal 11 (Segmentation fault)" and the like. */
void child_autopsy(struct child *child, char *out, size_t size);

/* What `worker_path --backend` prints. */
int child_ask_backend(const char *worker_path, char *out, size_t size, struct err *err);

#endif
