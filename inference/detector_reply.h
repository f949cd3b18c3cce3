/* detector_reply: nothing that the worker process wrote is believed before it is checked here.
 * Thread: any, pure. */
#ifndef CREEL_INFERENCE_DETECTOR_REPLY_H
#define CREEL_INFERENCE_DETECTOR_REPLY_H

#include "inference/inference.h"
#include "inference/worker_protocol.h"

/* `result` is the parent's own copy. ERR_CORRUPT names the field and its value. On success the
 * counts are within bounds, every figure is finite and in range, boxes lie in [0, 1], and the text
 * ends. */
int detector_reply_check(struct worker_result *result, uint64_t generation, size_t class_count,
                         struct err *err);

/* The same of a verdict that has detections only. */
int detector_reply_check_found(struct worker_result *result, uint64_t generation,
                               size_t class_count, struct err *err);

/* Moves a checked result with code 0 into the frame; `thumb` has result->thumb_bytes. */
int detector_reply_apply(const struct worker_result *result, const uint8_t *thumb,
                         const struct model *model, struct frame *frame, struct err *err);

#endif
