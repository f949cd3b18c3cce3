/* model_files: what a worker process needs of a model, as open descriptors.
 * They keep what was checked: a file that is replaced later does not change a running detector. */
#ifndef CREEL_INFERENCE_MODEL_FILES_H
#define CREEL_INFERENCE_MODEL_FILES_H

#include "inference/boxes.h"
#include "inference/inference.h"
#include <stdint.h>

struct model_files {
    int cfg_fd;     /* owned memfd: the cleaned cfg */
    int weights_fd; /* owned, read only */
    uint32_t head_count, layer_count;
    struct boxes_head heads[BOXES_HEADS_MAX];
    uint64_t memory_bytes; /* what Darknet will allocate, about */
};

/* Opens the files and checks again that they are those of `model`. */
int model_files_open(const struct model *model, struct model_files *out, struct err *err);
void model_files_close(struct model_files *files);

#endif
