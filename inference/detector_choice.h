/* detector_choice: which worker program looks at frames, on which device, and whether several
 * frames at once. Thread: any. Private to this folder.
 */
#ifndef CREEL_INFERENCE_DETECTOR_CHOICE_H
#define CREEL_INFERENCE_DETECTOR_CHOICE_H

#include "inference/inference.h"
#include "inference/worker_protocol.h"

#define DETECTOR_PATH_SIZE 4096

struct detector_choice {
    char path[DETECTOR_PATH_SIZE];
    char device[WORKER_DEVICE_SIZE];
};

/* The first program that is here, is wanted and computes this model rightly. ERR_NOT_FOUND,
 * ERR_INVALID: why none does. */
int detector_choose(const struct detector_config *config, const struct model *model,
                    struct detector_choice *out, struct err *err);

/* How many frames that program is to look at together; 0: frames are looked at by whole workers. */
size_t detector_choice_batch(const struct detector_config *config,
                             const struct detector_choice *choice);

/* Turns it into the choice of a program that prepares frames for it: one for the CPU. */
void detector_choice_prepares(struct detector_choice *choice);

#endif
