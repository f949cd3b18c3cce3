/* simulate: what another triage would have made of frames that were decided already.
 *
 * The recorded inputs (what was detected, not the pictures) are put through the new rules in the
 * order of their capture, from an empty memory. The counts over the recorded time are what would
 * have been; as a guess for other times they have a sampling error, which is estimated from
 * SIMULATE_BLOCKS equal pieces of that time. Pure. Thread: any.
 */
#ifndef CREEL_INFERENCE_SIMULATE_H
#define CREEL_INFERENCE_SIMULATE_H

#include "inference/triage.h"

#define SIMULATE_ROWS_MAX 160
#define SIMULATE_BLOCKS   20

struct simulate_sum {
    uint64_t frames, bytes;
};

struct simulate_estimate { /* errors: half the width of the 95 % interval; negative: not known */
    double frames, frames_error, bytes, bytes_error;
};

struct simulate_row { /* one rule and tier */
    char rule[FRAME_NAME_MAX + 1];
    enum frame_tier tier;
    struct simulate_sum would;      /* by the new rules */
    struct simulate_sum kept;       /* really */
    struct simulate_estimate day;   /* a day like those recorded, by the new rules */
    struct simulate_estimate asked; /* of so many inputs as were asked for */
    struct simulate_sum blocks[SIMULATE_BLOCKS];
};

struct simulate_report {
    struct simulate_row rows[SIMULATE_ROWS_MAX];
    size_t row_count;
    struct simulate_row total;
    int64_t from_us, to_us; /* capture of the first and the last input, UTC */
    uint64_t inputs;        /* different frames */
};

/* `records` is put in order; one that is there twice counts once, as kept if one of them was (tier
 * not NONE). `asked_inputs`: how many frames the time had that the caller asks about; 0: no other
 * time than that recorded. ERR_CONFIG: the rules are wrong. ERR_NOMEM. */
int simulate_run(const struct triage_config *config, struct frame_record *records, size_t count,
                 double asked_inputs, struct simulate_report *out, struct err *err);

#endif
