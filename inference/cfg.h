/* cfg: Darknet's network description, read and judged without Darknet.
 *
 * Darknet's parser dies, or computes nonsense silently, on most mistakes (an unknown layer, a
 * weights file of another size, an option of another fork). So creel reads the file itself, works
 * out every layer's shape and the exact size of the weights, says which backends would compute it
 * wrongly, and hands Darknet a cleaned copy: one image at a time, nothing that only
 * training needs. Errors name file:line, the section, and what was expected. Life cycle: cfg_parse
 * -> cfg_check, cfg_write -> cfg_destroy. Thread: any, pure.
 */
#ifndef CREEL_INFERENCE_CFG_H
#define CREEL_INFERENCE_CFG_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "inference/backend.h"
#include "inference/boxes.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CFG_FILE_MAX    (1u << 20) /* bytes */
#define CFG_LAYERS_MAX  1024
#define CFG_PAIRS_MAX   256 /* of a section */
#define CFG_INPUT_MAX   4096
#define CFG_FILTERS_MAX 65536
#define CFG_MEMORY_MAX  (4ull << 30) /* bytes of weights, outputs and work space */

struct cfg_pair {
    const char *key, *value; /* borrowed from the cfg; white space and comments removed */
    int line;
};

struct cfg_section {
    const char *type; /* without brackets */
    int line;
    struct cfg_pair *pairs;
    size_t count;
};

struct cfg {
    char *name; /* for messages */
    char *text; /* what all strings point into */
    struct cfg_section *sections;
    size_t count;
};

/* `name` is what messages call the file. ERR_INVALID names the line. */
int cfg_parse(const char *text, size_t size, const char *name, struct cfg **out, struct err *err);
void cfg_destroy(struct cfg *cfg);

/* The value of a key, or NULL. Of a key given twice the first counts, as in Darknet. */
const struct cfg_pair *cfg_pair_find(const struct cfg_section *section, const char *key);

/* What one layer makes. */
struct cfg_shape {
    uint32_t width, height, channels;
    int line;
};

struct cfg_plan {
    uint32_t input_width, input_height;
    uint32_t class_count, head_count;
    struct boxes_head heads[BOXES_HEADS_MAX]; /* without outputs */
    struct backend_refusals refusals;
    size_t layer_count;
    struct cfg_shape layers[CFG_LAYERS_MAX];
    uint64_t weights;      /* floats in the weights file, behind its header */
    uint64_t memory_bytes; /* estimate of what Darknet allocates for one image */
};

/* Fills `plan` (large: not for the stack). ERR_INVALID: file:line, section, expected. What only one
 * backend computes rightly passes: see plan->refusals. */
int cfg_check(const struct cfg *cfg, struct cfg_plan *plan, struct err *err);

/* Appends the cleaned copy. */
void cfg_write(const struct cfg *cfg, struct buf *out);

/* Whether a key means something to training only. `section` "net", "yolo" ... */
bool cfg_key_trains(const char *section, const char *key);

#endif
