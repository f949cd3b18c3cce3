/* model_files: what a worker process needs of a model, as open descriptors.
 * They keep what was checked: a file that is replaced later does not change a running detector, and
 * one that is written over is noticed. */
#ifndef CREEL_INFERENCE_MODEL_FILES_H
#define CREEL_INFERENCE_MODEL_FILES_H

#include "inference/boxes.h"
#include "inference/inference.h"
#include <stdint.h>

struct model_files_times { /* of the weights, when their hash was last known to be right */
    uint64_t size;
    int64_t changed_s, changed_ns;
};

struct model_files {
    int cfg_fd;     /* owned memfd: the cleaned cfg */
    int weights_fd; /* owned, read only */
    uint32_t head_count, layer_count;
    struct boxes_head heads[BOXES_HEADS_MAX];
    uint64_t memory_bytes; /* what Darknet will allocate, about */
    struct frame_hash weights_hash;
    struct model_files_times times;
};

/* Opens the files and checks again that they are those of `model`. */
int model_files_open(const struct model *model, struct model_files *out, struct err *err);
/* Whether the weights still have the bytes that were checked; hashes them only if they may not.
 * ERR_INVALID says which file was written over. */
int model_files_check(struct model_files *files, const struct model *model, struct err *err);
/* Notes what the weights are, right after they were read. */
int model_files_mark(struct model_files *files, const struct frame_hash *weights, const char *path,
                     struct err *err);
void model_files_close(struct model_files *files);

#endif
