/* batcher: what detectors ask of the process that has their network. Thread: any, one question a
 * detector. Private to this folder; its life cycle is in inference.h.
 */
#ifndef CREEL_INFERENCE_BATCHER_H
#define CREEL_INFERENCE_BATCHER_H

#include "inference/inference.h"
#include "inference/worker_protocol.h"

struct batcher_question {
    int fd; /* output memory of a child that prepared: the network's input lies at
               WORKER_PLANAR_AT; borrowed until the answer */
    uint32_t seen_width, seen_height; /* as that child says */
    const struct view *view;          /* borrowed; NULL: none */
};

/* `by` 1: a frame is being prepared, others may wait for it; -1: it will not come. batcher_run is
 * its coming. */
void batcher_expect(struct batcher *batcher, int by);

/* Fills detections and adds to detect_ms of `result`. Blocks until the verdict. ERR_CORRUPT: what
 * was prepared cannot be (whoever did it is to blame). ERR_CRASHED: the frame ended the network's
 * process twice, once alone. Other codes: that process is to blame. */
int batcher_run(struct batcher *batcher, const struct batcher_question *question,
                struct worker_result *result, struct err *err);

#endif
