/* detector_kept: a worker process with a model that is started again whenever it ends.
 *
 * The first restart is at once; each further death in a row doubles a wait. Knows no frames (see
 * detector.c, batcher.c). Life cycle: zeroed -> kept_start -> (kept_ensure, then kept_served or
 * kept_fail) ... -> kept_stop, which is safe after a kept_start that failed. Thread: one at a time;
 * `pid` and `restarts` may be read by any. Private to this folder.
 */
#ifndef CREEL_INFERENCE_DETECTOR_KEPT_H
#define CREEL_INFERENCE_DETECTOR_KEPT_H

#include "inference/detector_child.h"
#include "inference/detector_choice.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include <stdatomic.h>

struct kept {
    struct model_files files;
    const struct model *model; /* borrowed */
    struct detector_choice choice;
    struct child_memory input;
    int timeout_ms, load_timeout_ms;
    const atomic_bool *cancel; /* borrowed */
    struct worker_start start;
    struct child child;
    struct process_limit limit;
    unsigned deaths; /* in a row */
    int64_t died_us; /* boot time of the last one */
    uint64_t generation;
    atomic_uint_fast64_t restarts;
    atomic_int pid;
    char program[DETECTOR_PROGRAM_SIZE];
};

/* Starts the program that `choice` names and waits until it is ready. */
int kept_start(struct kept *kept, const struct detector_config *config, const struct model *model,
               const struct detector_choice *choice, enum worker_role role, uint32_t batch,
               struct err *err);
void kept_stop(struct kept *kept);

/* A child that lives, or an error that is no frame's fault. Waits where it died often. */
int kept_ensure(struct kept *kept, struct err *err);
void kept_served(struct kept *kept);
/* Ends the child and notes when; `how` gets what it died of. */
void kept_fail(struct kept *kept, char *how, size_t size);

/* Sends a job, with a new generation, and waits for its answer. The codes of child_get;
 * ERR_CORRUPT: an answer to another question. */
int kept_ask(struct kept *kept, struct worker_job *job, struct err *err);

#endif
