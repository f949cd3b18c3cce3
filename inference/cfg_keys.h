/* cfg_keys: which keys a section of a cfg may have, and which values.
 * Not an interface beyond cfg*.c: see cfg.h. */
#ifndef CREEL_INFERENCE_CFG_KEYS_H
#define CREEL_INFERENCE_CFG_KEYS_H

#include "inference/cfg.h"

/* The one name of a section ("conv" is "convolutional"), or NULL where it is none that creel runs.
 */
const char *cfg_section_canon(const char *type);

/* Every key known and in range; notes in plan->refusals which backend computes a value wrongly. */
int cfg_keys_check(const struct cfg *cfg, const struct cfg_section *section, struct cfg_plan *plan,
                   struct err *err);

/* After cfg_keys_check. */
long cfg_int(const struct cfg_section *section, const char *key, long missing);
double cfg_number(const struct cfg_section *section, const char *key, double missing);

/* [cost], the last section of many classifiers: for training only. */
bool cfg_is_cost(const struct cfg_section *section);

/* A list of numbers; ERR_INVALID where it is none or has more than `room`. */
int cfg_list(const struct cfg *cfg, const struct cfg_section *section, const struct cfg_pair *pair,
             double *out, size_t room, size_t *count, struct err *err);

#endif
