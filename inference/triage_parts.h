/* triage_parts: what the files of triage share with one another, and nobody else includes.
 *
 * A decision: triage.c finds the camera's state, asks each rule (triage_rules.c) in order, and the
 * first that matches and can pay (triage_budget.c) wins. Rules see the detections through
 * triage_look.c, the objects of the last frames through triage_track.c, and what was kept through
 * triage_novelty.c. Thread: as triage.h says.
 */
#ifndef CREEL_INFERENCE_TRIAGE_PARTS_H
#define CREEL_INFERENCE_TRIAGE_PARTS_H

#include "daemon/base/clock.h"
#include "inference/schedule.h"
#include "inference/triage.h"

#define TRIAGE__KEY_SIZE   128 /* what struct triage_memory promises, with the NUL */
#define TRIAGE__PURSES_MAX 1024

/* ---- budgets: triage_budget.c ---- */

enum triage__span { SPAN_PER, SPAN_MINUTE, SPAN_HOUR, SPAN_COUNT };

struct triage__window {
    bool open;
    int64_t since_us; /* boot time of its first frame */
    uint32_t count;
};

#define TRIAGE__HELD_MAX 32

/* Frames of the window that is open, which a better one may displace: the weakest of them, where
 * there are more. */
struct triage__held {
    struct {
        struct frame_id id;
        enum frame_tier tier;
        double value;
    } frames[TRIAGE__HELD_MAX];
    size_t count;
    int64_t since_us; /* of the window that they are in */
};

/* What a rule's own budget has spent, for one camera, class, or both. */
struct triage__purse {
    unsigned rule;
    int class_index; /* -1: for all */
    char camera[FRAME_NAME_MAX + 1];
    uint64_t seen; /* value of triage->turn when last used */
    struct triage__window windows[SPAN_COUNT];
    struct triage__held held; /* of the shortest of the rule's windows */
    int64_t day;              /* since 1970, UTC */
    uint64_t day_count, day_saved;
    int64_t saved_boot_us;
};

/* What all rules together have spent in one tier of a camera. */
struct triage__tier {
    struct triage__window window;
    struct triage__held held;
    uint64_t day_count;
    uint64_t day_saved; /* what the memory holds */
    int64_t saved_boot_us;
};

/* ---- what a camera showed before ---- */

#define TRIAGE__RARITY_BUCKETS 64 /* classes share buckets modulo this: good enough for a rank */

#define TRIAGE__TRACKS_MAX     32
#define TRIAGE__GAP_MAX        8 /* frames an object may be missing and still be the same */

struct triage__track { /* an object, as far as boxes that cover each other tell */
    struct frame_box box;
    uint16_t class_index;
    char label[FRAME_LABEL_MAX + 1];
    float confidence;
    unsigned hits;
    unsigned missed;   /* frames since it was last there */
    int64_t missed_us; /* boot time of the first of them */
};

struct triage__tracks {
    struct triage__track items[TRIAGE__TRACKS_MAX];
    size_t count;
    int64_t last_us;
};

struct triage__comeback { /* an object that was missing in the frames before this one */
    struct triage__track was;
    float confidence; /* now */
    double iou;       /* between where it was and where it is */
};

#define TRIAGE__VECTOR     24
#define TRIAGE__PRINTS_MAX 120 /* of a camera: they fit TRIAGE_BYTES_MAX */

struct triage__print { /* what a frame looks like and what is in it */
    uint64_t phash;
    uint8_t vector[TRIAGE__VECTOR];
};

struct triage__gallery { /* prints of the last frames kept; a ring */
    struct triage__print prints[TRIAGE__PRINTS_MAX];
    struct frame_id ids[TRIAGE__PRINTS_MAX]; /* zero: of an earlier run */
    size_t count, next, unsaved;
};

struct triage__event { /* a moment whose neighbours are wanted */
    bool any;
    int64_t from_us, at_us, until_us; /* boot time; frames may be late in order */
    double value;
};

struct triage__camera {
    char name[FRAME_NAME_MAX + 1];
    char date[CLOCK_DATE_SIZE]; /* "" before the first decision */
    uint64_t seen;              /* value of triage->turn when last used */
    struct triage__tier tiers[TIER_COUNT];
    uint32_t class_counts[TRIAGE__RARITY_BUCKETS];
    uint32_t class_total;
    int64_t slots[TRIAGE_RULES_MAX]; /* of schedules: the last one that was kept, plus 1 */
    struct triage__event events[TRIAGE_RULES_MAX];
    struct triage__tracks *tracks;   /* owned; NULL: no rule needs them, or no memory */
    struct triage__gallery *gallery; /* the same */
};

/* ---- rules: triage_rules.c ---- */

struct triage__names {
    char (*items)[FRAME_LABEL_MAX + 1]; /* owned */
    size_t count;
};

struct triage__look { /* one pass over a frame's detections, as one rule sees them */
    size_t counted, unsure;
    double nearness; /* of the unsure detection nearest to the middle of the band */
    double rarity;   /* of the rarest confident class */
    int best_class;  /* of the most confident one that counts; -1: none */
    double chance;   /* [0, 1), from the frame's id and the rule's salt */
};

struct triage__rule;

/* What a rule may look at. */
struct triage__scene {
    const struct triage_config *config;
    const struct triage__rule *rule;
    unsigned number; /* the rule's place in the order */
    const struct triage__camera *camera;
    const struct frame_record *record;
    struct triage__look look;
};

typedef bool triage__match_fn(const struct triage__scene *scene, double *value);

struct triage__rule {
    struct triage_rule_config set; /* defaults filled in; its texts are no longer there */
    enum frame_tier tier;          /* TIER_NONE: by what is seen */
    triage__match_fn *match;
    struct triage__names cameras, not_cameras, classes, not_classes;
    struct schedule hours; /* when it is in force */
    uint64_t salt;
    bool own_window; /* the general one does not apply */
    bool own_budget;
};

int triage__rule_read(const struct triage_config *config, const char *name,
                      struct triage__rule *out, struct err *err);
void triage__rule_finish(struct triage__rule *rule);
bool triage__rule_applies(const struct triage__rule *rule, const char *camera, int64_t utc_us);
bool triage__rule_sees(const struct triage__rule *rule, const char *label);

/* ---- triage_look.c ---- */

double triage__iou(const struct frame_box *a, const struct frame_box *b);
void triage__look_at(const struct triage_config *config, const struct triage__rule *rule,
                     const struct triage__camera *camera, const struct frame_record *record,
                     struct triage__look *out);
/* A weak second class on the box of a sure thing; see triage_look.c. */
bool triage__is_shadow(const struct frame_record *record, const struct frame_detection *weak,
                       float confident);
/* Of the class among what the camera showed lately, [0, 1]; 0 while it has shown nothing. */
double triage__share_of_class(const struct triage__camera *camera, uint16_t class_index);
/* Lets the camera's idea of what is common follow what it shows. */
void triage__classes_learn(struct triage__camera *camera, const struct triage_config *config,
                           const struct frame_record *record);

/* ---- triage_track.c ---- */

/* Takes the next frame in; at most `room` objects are back. A frame older than the last is left
 * out. */
size_t triage__tracks_learn(struct triage__tracks *tracks, const struct triage_config *config,
                            const struct frame_record *record, struct triage__comeback *out,
                            size_t room);

/* ---- triage_novelty.c ---- */

void triage__print_make(const struct frame_record *record, float floor, struct triage__print *out);
double triage__print_distance(const struct triage__print *a, const struct triage__print *b);
/* From the nearest that was kept, [0, 1]; 1 where nothing was. */
double triage__gallery_distance(const struct triage__gallery *gallery,
                                const struct triage__print *print);
/* In the place of `displaced`, if that is there; NULL: of the oldest. */
void triage__gallery_add(struct triage__gallery *gallery, const struct triage__print *print,
                         const struct frame_id *id, const struct frame_id *displaced);
void triage__gallery_load(struct triage__gallery *gallery, const struct triage_memory *memory,
                          const char *camera);
/* Unless `now`, only when enough has come to be saved. */
void triage__gallery_save(struct triage__gallery *gallery, const struct triage_memory *memory,
                          const char *camera, bool now);

/* ---- triage_budget.c ---- */

struct triage__bill { /* one frame that a rule would keep */
    const struct triage__rule *rule;
    unsigned number;
    struct triage__camera *camera;
    enum frame_tier tier;
    int class_index;
    const struct frame_id *id;
    double value;
    int64_t boot_us, utc_us;
    bool event; /* along with another frame: windows of one frame do not apply */
};

/* What there is for it, and what is taken when it is paid. */
struct triage__room {
    bool free;
    bool displaces; /* not free, but a weaker frame of the same window would make room: */
    struct frame_id displaced;
};
struct triage__room triage__budget_room(struct triage *triage, const struct triage__bill *bill);
/* Returns the boot time at which the window ends in which the frame may be displaced; 0: it may
 * not. */
int64_t triage__budget_take(struct triage *triage, const struct triage__bill *bill,
                            const struct triage__room *room);
/* Moves the camera to the frame's UTC date, in either direction. */
void triage__budget_turn_page(struct triage *triage, struct triage__camera *camera, int64_t utc_us);
void triage__budget_save_camera(struct triage *triage, struct triage__camera *camera);
void triage__budget_save_all(struct triage *triage);

/* ---- triage.c ---- */

struct triage {
    struct triage_config config;
    struct triage_memory memory;
    struct triage__rule rules[TRIAGE_RULES_MAX];
    size_t rule_count;
    bool tracks, prints;            /* some rule needs them */
    struct triage__camera *cameras; /* owned, TRIAGE_CAMERAS_MAX of them */
    size_t camera_count;
    struct triage__purse *purses; /* owned; NULL: no rule has a budget of its own */
    size_t purse_count;
    uint64_t turn;
};

#endif
