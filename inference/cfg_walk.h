/* cfg_walk: the state of the validator's walk. Not an interface beyond cfg_*.c: see cfg.h. */
#ifndef CREEL_INFERENCE_CFG_WALK_H
#define CREEL_INFERENCE_CFG_WALK_H

#include "inference/cfg_keys.h"

struct walk {
    const struct cfg *cfg;
    const struct cfg_section *section;
    struct cfg_plan *plan;
    struct cfg_shape now;
    uint64_t work; /* floats of the largest work space so far */
};

#define WHERE(walk) (walk)->cfg->name, (walk)->section->line, (walk)->section->type

/* Takes a new shape, and counts `copies` arrays of that many floats and `weights` of the file. */
int cfg__step(struct walk *walk, uint64_t width, uint64_t height, uint64_t channels,
              unsigned copies, uint64_t weights, struct err *err);

/* The layers that give what a network finds (cfg_heads.c). */
int cfg__yolo(struct walk *walk, struct err *err);
int cfg__region(struct walk *walk, struct err *err);
int cfg__softmax(struct walk *walk, struct err *err);

#endif
