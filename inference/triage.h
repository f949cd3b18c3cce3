/* triage: which frames are worth keeping, in which tier, why, and how much.
 *
 * Rules are named and ordered; the first that matches and has budget left wins and gives the frame
 * a value in [0, 1], which eviction and upload order go by. A rule is of a kind (below); the name
 * of a kind is also the name of a rule of that kind with its defaults, so that "unsure" needs no
 * configuration. What is decided from is the record alone, and what a camera showed before.
 *
 * Kinds (tier: "seen" is annotated where every detection that counts is sure, else unannotated):
 *   unsure        unannotated  some detection lies between the floor and `confident`
 *   confident     annotated    some detection, and all that count sure
 *   empty-sample  unannotated  nothing found: a share of them
 *   band          seen         some confidence in [from, to)
 *   margin        seen         some confidence within `within` of `at`
 *   rare          seen         a class that this camera seldom shows
 *   count         unannotated  fewer than `min` or more than `max` detections
 *   disagreement  unannotated  two classes in one box, both about as likely
 *   flicker       unannotated  an object there before and after, but not in this frame
 *   novelty       seen         unlike all that was kept of this camera
 *   sample        seen         a random share of all frames
 *   schedule      seen         one frame in each `every` of UTC
 *   trigger       unannotated  somebody asked for the frames around a moment
 * The values that they give are in triage_rules.c, a line each.
 *
 * Budgets: one frame a camera and tier in `budget_per_ms` and so many a day, for all rules; a rule
 * may have its own. In the shortest window that holds for it a frame may be displaced by a better
 * one: until the window's end it should go nowhere. Counted in memory; days are remembered across
 * restarts, and so is what novelty compares with, through `struct triage_memory`. Thread: one at a
 * time (the caller locks). Pure but for the memory; all times are those of the records.
 */
#ifndef CREEL_INFERENCE_TRIAGE_H
#define CREEL_INFERENCE_TRIAGE_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>

#define TRIAGE_RULES_MAX   32
#define TRIAGE_CAMERAS_MAX 256
#define TRIAGE_NAMES_MAX   64   /* names in one of a rule's lists */
#define TRIAGE_RESCUES_MAX 4    /* of one decision */
#define TRIAGE_BYTES_MAX   4096 /* of one value in the memory */

enum triage_kind {                     /* as the configuration numbers them */
                   TRIAGE_BY_NAME = 0, /* the rule's name is the kind's */
                   TRIAGE_UNSURE,
                   TRIAGE_CONFIDENT,
                   TRIAGE_EMPTY_SAMPLE,
                   TRIAGE_BAND,
                   TRIAGE_MARGIN,
                   TRIAGE_RARE,
                   TRIAGE_COUNT,
                   TRIAGE_DISAGREEMENT,
                   TRIAGE_FLICKER,
                   TRIAGE_NOVELTY,
                   TRIAGE_SAMPLE,
                   TRIAGE_SCHEDULE,
                   TRIAGE_TRIGGER,
                   TRIAGE_KINDS
};

enum triage_tier { TRIAGE_TIER_AUTO = 0, TRIAGE_TIER_ANNOTATED, TRIAGE_TIER_UNANNOTATED };

enum triage_each { /* what a rule's own budget is counted for, apart from one another */
                   TRIAGE_EACH_CAMERA = 0,
                   TRIAGE_EACH_CLASS, /* of the most confident detection, over all cameras */
                   TRIAGE_EACH_CAMERA_CLASS,
                   TRIAGE_EACH_RULE, /* one budget for all */
};

/* A rule's settings; what is 0 has the kind's default, or does not limit. */
struct triage_rule_config {
    char name[FRAME_NAME_MAX + 1];
    int kind; /* enum triage_kind */
    int tier; /* enum triage_tier */
    /* Comma-separated names, borrowed until triage_create returns; NULL: all, or none. */
    const char *cameras, *not_cameras; /* whose frames it looks at */
    const char *classes, *not_classes; /* which detections it sees */
    const char *hours;                 /* when it is in force, see schedule.h; NULL: always */
    double from, to;   /* band: confidences; count: `from` is the least that counts */
    double at, within; /* margin */
    double below;      /* rare: share of the class among the camera's things */
    uint32_t min, max; /* count */
    double iou;        /* disagreement, flicker: how much two boxes cover each other */
    double similar;    /* disagreement: weaker confidence as a share of the stronger */
    uint32_t gap;      /* flicker: frames without it, at most */
    double distance;   /* novelty: from the nearest that was kept, [0, 1] */
    double fraction;   /* sample, empty-sample */
    int64_t every_ms;  /* schedule */
    int64_t before_ms; /* earlier frames that are kept along with one that this rule keeps */
    int64_t after_ms;  /* and later ones */
    int64_t per_ms;    /* its own budgets: one frame in this time, */
    uint32_t minute, hour, day; /* and so many frames */
    int each;                   /* enum triage_each */
};

struct triage_config {
    double confident;       /* (0, 1) */
    double uncertain_floor; /* detections below are noise to triage; default 0.15 */
    int64_t budget_per_ms;  /* one frame a camera and tier in this window; 0: no limit */
    uint32_t budget_day;    /* frames a camera, tier and UTC day; 0: no limit */
    double empty_fraction;  /* of empty frames that "empty-sample" would keep; [0, 1] */
    char rules[TRIAGE_RULES_MAX][FRAME_NAME_MAX + 1];
    size_t rule_count;
    struct triage_rule_config defined[TRIAGE_RULES_MAX];
    size_t defined_count;
};

/* How triage sees the past. Any slot may be NULL (then it remembers nothing of that). */
struct triage_memory {
    void *ctx;
    /* The count stored under `key` (at most 127 bytes), 0 if there is none. */
    uint64_t (*count_get)(void *ctx, const char *key);
    void (*count_put)(void *ctx, const char *key, uint64_t count);
    /* The same for at most TRIAGE_BYTES_MAX bytes; returns how many there are, 0: none. */
    size_t (*bytes_get)(void *ctx, const char *key, void *out, size_t room);
    void (*bytes_put)(void *ctx, const char *key, const void *bytes, size_t size);
};

/* Earlier frames of the same camera that are wanted after all, if the caller still has them. */
struct triage_rescue {
    unsigned rule;          /* triage's own number for it */
    int64_t from_us, to_us; /* of boot time; both included */
    double value;
    bool event; /* they belong to a frame that is kept, and take no window of their own */
};

struct triage_verdict {
    bool keep;
    enum frame_tier tier; /* TIER_NONE when not kept */
    char rule[FRAME_NAME_MAX +
              1]; /* the rule that kept it, or that would have without the budget; "" : no rule */
    double value;
    bool over_budget;
    int64_t due_boot_us;       /* until then it may be displaced; 0: it stays */
    bool displaces;            /* an earlier frame of the same window has to go for it: */
    struct frame_id displaced; /* of the same camera, or of another where the rule's budget is */
    struct triage_rescue rescues[TRIAGE_RESCUES_MAX];
    size_t rescue_count;
};

struct triage;
int triage_create(const struct triage_config *config, const struct triage_memory *memory,
                  struct triage **out,
                  struct err *err); /* ERR_CONFIG: an unknown rule, a bad threshold */
void triage_destroy(struct triage *triage);
void triage_decide(struct triage *triage, const struct frame_record *record,
                   struct triage_verdict *out);

/* How much of the past rescues may ask for, in ms of boot time; 0: there are none, and rejected
 * frames may be forgotten at once. Flicker's frames, however far apart, are among the last
 * `*frames` of a camera. */
int64_t triage_reach_ms(const struct triage *triage, unsigned *frames);

/* May the earlier frame `record` be kept for `rescue`? A verdict without rescues. */
void triage_rescue(struct triage *triage, const struct triage_rescue *rescue,
                   const struct frame_record *record, struct triage_verdict *out);

/* A moment of a camera that somebody wants the frames of, for all trigger rules that look at it.
 * What came before is in `out` as rescues. ERR_NOT_FOUND: no such rule is in force. */
int triage_trigger(struct triage *triage, const char *camera, int64_t boot_us, int64_t utc_us,
                   struct triage_verdict *out, struct err *err);

#endif
