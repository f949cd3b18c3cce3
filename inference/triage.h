/* triage: which frames are worth keeping, in which tier, why, and how much.
 *
 * Rules are named and ordered; the first that matches and has budget left wins and gives the frame
 * a value in [0, 1]. The names known: "unsure" (some detection between the floor and `confident`:
 * unannotated, value highest nearest to the middle of that band), "confident" (at least one
 * detection and all that count at or above `confident`: annotated), "empty-sample" (nothing found:
 * a small sample into unannotated). Budgets: at most so many frames a camera, tier and window, and
 * a day. Counted in memory, and remembered across restarts through `struct triage_memory` (the
 * day's counts). Thread: one at a time (the caller locks). Pure but for the memory and the clock
 * that is passed in.
 */
#ifndef CREEL_INFERENCE_TRIAGE_H
#define CREEL_INFERENCE_TRIAGE_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>

#define TRIAGE_RULES_MAX   32
#define TRIAGE_CAMERAS_MAX 256

struct triage_config {
    double confident;       /* (0, 1) */
    double uncertain_floor; /* detections below are noise to triage; default 0.15 */
    int64_t budget_per_ms;  /* one frame a camera and tier in this window; 0: no limit */
    uint32_t budget_day;    /* frames a camera, tier and UTC day; 0: no limit */
    double empty_fraction;  /* of empty frames that "empty-sample" would keep; [0, 1] */
    char rules[TRIAGE_RULES_MAX][FRAME_NAME_MAX + 1];
    size_t rule_count;
};

/* How triage sees the past. Either slot may be NULL (then it remembers nothing). */
struct triage_memory {
    void *ctx;
    /* The count stored under `key` (at most 127 bytes), 0 if there is none. */
    uint64_t (*count_get)(void *ctx, const char *key);
    void (*count_put)(void *ctx, const char *key, uint64_t count);
};

struct triage_verdict {
    bool keep;
    enum frame_tier tier; /* TIER_NONE when not kept */
    char rule[FRAME_NAME_MAX +
              1]; /* the rule that kept it, or that would have without the budget; "" : no rule */
    double value;
    bool over_budget;
};

struct triage;
int triage_create(const struct triage_config *config, const struct triage_memory *memory,
                  struct triage **out,
                  struct err *err); /* ERR_CONFIG: an unknown rule, a bad threshold */
void triage_destroy(struct triage *triage);
void triage_decide(struct triage *triage, const struct frame_record *record,
                   struct triage_verdict *out);

#endif
