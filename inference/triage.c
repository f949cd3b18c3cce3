/* Triage: one table of rules, one small ledger a camera.
 *
 * Goal: the same frames in the same order give the same verdicts, whatever the machine.
 *
 * A decision has two halves. `look_at` reads the detections once into a `struct look`: how many
 * count, how many of them are unsure, how near the least certain one is to the middle of the band.
 * Then the rules are asked in the configured order; each is a row of `rules[]` with its tier and a
 * function from a look to a value. The first that matches and has budget left wins.
 *
 * What counts. Detections below `uncertain_floor` are noise. One more kind is left out: a detector
 * with per-class suppression often reports a second class on the box of a thing that it knows well
 * ("car" 0.92 and on the same pixels "truck" 0.20). That is the tail of one class distribution, not
 * a second thing that the model wonders about, and counting it would put nearly every sure frame
 * among the unsure ones. So a detection in the band is a shadow, and left out, when a confident one
 * covers it with IoU above SHADOW_IOU and it has less than SHADOW_SHARE of that one's confidence.
 * Above that share the two classes do compete, and it counts.
 *
 * Values, all in [0, 1]:
 *   unsure        0.8 * nearness + 0.2 * min(n, 5) / 5. Nearness is 1 in the middle of the band
 *                 and 0 at its ends, of the detection nearest to the middle; n unsure ones.
 *   confident     0.10 + 0.25 * min(n, 8) / 8 + 0.25 * rarity. Rarity is 1 - the share of its
 *                 rarest class among the things that this camera showed lately. Evidence stays
 *                 below 0.60, under a good question.
 *   empty-sample  0.10
 *
 * Budgets. A window is counted in boot time, which never jumps; a day is a UTC date, because that
 * is what people pay by. Day counts are read from the memory when a camera is first seen or its
 * date changes, and written back every DAY_SAVE_COUNT frames, every DAY_SAVE_US, at a change of
 * date, when a camera is forgotten, and at the end: a crash forgets less than DAY_SAVE_COUNT frames
 * of each, in the camera's favour.
 *
 * Invariants:
 *  1. At most TRIAGE_CAMERAS_MAX ledgers; the one not seen for longest makes room (its counts are
 *     saved first).
 *  2. A frame takes budget only from the rule that keeps it.
 *  3. Thresholds are compared as floats: 0.7 in the config and 0.7f from the network are the same
 *     border.
 */
#include "inference/triage.h"

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/frame.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FLOOR_DEFAULT   0.15
#define SHADOW_IOU      0.7
#define SHADOW_SHARE    0.5F
#define UNSURE_MANY     5
#define CONFIDENT_MANY  8
#define EMPTY_VALUE     0.10
#define DAY_SAVE_COUNT  16
#define DAY_SAVE_US     (10 * INT64_C(1000000))
#define RARITY_BUCKETS  64   /* classes share buckets modulo this: good enough for a rank */
#define RARITY_MEMORY   2048 /* things remembered before all counts are halved */
#define MEMORY_KEY_SIZE 128  /* what struct triage_memory promises, with the NUL */

struct ledger_tier {
    bool kept_any;
    int64_t kept_boot_us; /* of the last frame kept */
    uint64_t day_count;
    uint64_t day_saved; /* what the memory holds */
    int64_t saved_boot_us;
};

struct ledger {
    char camera[FRAME_NAME_MAX + 1];
    char date[CLOCK_DATE_SIZE]; /* "" before the first decision */
    uint64_t seen;              /* value of triage->turn when last used */
    struct ledger_tier tiers[TIER_COUNT];
    uint32_t class_counts[RARITY_BUCKETS];
    uint32_t class_total;
};

struct look {
    size_t counted, unsure;
    double nearness; /* of the unsure detection nearest to the middle of the band */
    double rarity;   /* of the rarest confident class */
    double chance;   /* [0, 1), from the frame's id */
};

struct rule {
    const char *name;
    enum frame_tier tier;
    bool (*match)(const struct triage_config *config, const struct look *look, double *value);
};

struct triage {
    struct triage_config config;
    struct triage_memory memory;
    const struct rule *rules[TRIAGE_RULES_MAX];
    struct ledger *ledgers; /* owned, TRIAGE_CAMERAS_MAX of them */
    size_t ledger_count;
    uint64_t turn;
};

static const char *const tier_names[TIER_COUNT] = {
    [TIER_ANNOTATED] = "annotated",
    [TIER_UNANNOTATED] = "unannotated",
};

/* ---- the rules ---- */

static double share_of(size_t count, size_t many) {
    return count >= many ? 1.0 : (double)count / (double)many;
}

static bool match_unsure(const struct triage_config *config, const struct look *look,
                         double *value) {
    (void)config;
    *value = 0.8 * look->nearness + 0.2 * share_of(look->unsure, UNSURE_MANY);
    return look->unsure > 0;
}

static bool match_confident(const struct triage_config *config, const struct look *look,
                            double *value) {
    (void)config;
    *value = 0.10 + 0.25 * share_of(look->counted, CONFIDENT_MANY) + 0.25 * look->rarity;
    return look->counted > 0 && look->unsure == 0;
}

static bool match_empty_sample(const struct triage_config *config, const struct look *look,
                               double *value) {
    *value = EMPTY_VALUE;
    return look->counted == 0 && look->chance < config->empty_fraction;
}

static const struct rule rules[] = {
    {"unsure", TIER_UNANNOTATED, match_unsure},
    {"confident", TIER_ANNOTATED, match_confident},
    {"empty-sample", TIER_UNANNOTATED, match_empty_sample},
};

static const struct rule *rule_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        if (strcmp(rules[i].name, name) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

/* ---- looking at a frame ---- */

static double box_iou(const struct frame_box *a, const struct frame_box *b) {
    double w = fmin(a->x + a->w, b->x + b->w) - fmax(a->x, b->x);
    double h = fmin(a->y + a->h, b->y + b->h) - fmax(a->y, b->y);

    if (!(w > 0) || !(h > 0)) {
        return 0;
    }
    double both = a->w * a->h + b->w * b->h - w * h;
    return both > 0 ? w * h / both : 0;
}

/* See "What counts" above. */
static bool is_shadow(const struct frame_record *record, const struct frame_detection *weak,
                      float confident) {
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *strong = &record->detections[i];
        if (strong->confidence >= confident &&
            weak->confidence < SHADOW_SHARE * strong->confidence &&
            box_iou(&strong->box, &weak->box) > SHADOW_IOU) {
            return true;
        }
    }
    return false;
}

/* 1 in the middle of [floor, confident], 0 at its ends. */
static double nearness_of(const struct triage_config *config, double confidence) {
    double half = (config->confident - config->uncertain_floor) / 2;
    double off = fabs(confidence - config->uncertain_floor - half) / half;

    return off >= 1 ? 0 : 1 - off;
}

static double rarity_of(const struct ledger *ledger, uint16_t class_index) {
    if (ledger->class_total == 0) {
        return 1;
    }
    return 1 - (double)ledger->class_counts[class_index % RARITY_BUCKETS] / ledger->class_total;
}

/* [0, 1) from the id's bits by the finalizer of splitmix64 (Steele, Lea, Flood: "Fast splittable
 * pseudorandom number generators", 2014). An id's first half is mostly time: neighbours must not be
 * sampled together. */
static double chance_of(const struct frame_id *id) {
    uint64_t high;
    uint64_t low;

    memcpy(&high, id->bytes, sizeof high);
    memcpy(&low, id->bytes + sizeof high, sizeof low);
    uint64_t z = __builtin_bswap64(high) * UINT64_C(0x9e3779b97f4a7c15) + __builtin_bswap64(low);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static void look_at(const struct triage_config *config, const struct ledger *ledger,
                    const struct frame_record *record, struct look *out) {
    float confident = (float)config->confident;
    float least = (float)config->uncertain_floor;

    *out = (struct look){.chance = chance_of(&record->id)};
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *detection = &record->detections[i];
        if (!(detection->confidence >= least)) { /* so that NaN does not count either */
            continue;
        }
        if (detection->confidence >= confident) {
            out->counted++;
            out->rarity = fmax(out->rarity, rarity_of(ledger, detection->class_index));
        } else if (!is_shadow(record, detection, confident)) {
            out->counted++;
            out->unsure++;
            out->nearness = fmax(out->nearness, nearness_of(config, detection->confidence));
        }
    }
}

/* Lets the camera's idea of what is common follow what it shows. */
static void ledger_learn(struct ledger *ledger, const struct triage_config *config,
                         const struct frame_record *record) {
    for (size_t i = 0; i < record->detection_count; i++) {
        if (record->detections[i].confidence >= (float)config->confident) {
            ledger->class_counts[record->detections[i].class_index % RARITY_BUCKETS]++;
            ledger->class_total++;
        }
    }
    if (ledger->class_total < RARITY_MEMORY) {
        return;
    }
    ledger->class_total = 0;
    for (size_t i = 0; i < RARITY_BUCKETS; i++) {
        ledger->class_counts[i] /= 2;
        ledger->class_total += ledger->class_counts[i];
    }
}

/* ---- the ledgers ---- */

static void day_key(const struct ledger *ledger, enum frame_tier tier, struct buf *out) {
    buf_printf(out, "day/%s/%s/%s", ledger->date, ledger->camera, tier_names[tier]);
}

static void day_save(struct triage *triage, struct ledger *ledger, enum frame_tier tier) {
    struct ledger_tier *sums = &ledger->tiers[tier];

    if (!triage->memory.count_put || sums->day_count == sums->day_saved) {
        return;
    }
    CLEANUP(buf_finish) struct buf key = BUF_INIT(MEMORY_KEY_SIZE);
    day_key(ledger, tier, &key);
    if (key.failed) {
        return; /* no memory for a key of 60 bytes: the next frame tries again */
    }
    triage->memory.count_put(triage->memory.ctx, key.data, sums->day_count);
    sums->day_saved = sums->day_count;
}

static void ledger_save(struct triage *triage, struct ledger *ledger) {
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        day_save(triage, ledger, (enum frame_tier)tier);
    }
}

static void day_load(struct triage *triage, struct ledger *ledger, enum frame_tier tier) {
    struct ledger_tier *sums = &ledger->tiers[tier];

    sums->day_count = 0;
    if (triage->memory.count_get && triage->config.budget_day > 0) {
        CLEANUP(buf_finish) struct buf key = BUF_INIT(MEMORY_KEY_SIZE);
        day_key(ledger, tier, &key);
        if (!key.failed) {
            sums->day_count = triage->memory.count_get(triage->memory.ctx, key.data);
        }
    }
    sums->day_saved = sums->day_count;
}

/* Moves the ledger to the frame's UTC date, in either direction: a clock that is set right may go
 * back. */
static void ledger_turn_page(struct triage *triage, struct ledger *ledger, int64_t utc_us) {
    char date[CLOCK_DATE_SIZE];

    clock_format_date(utc_us, date);
    if (strcmp(date, ledger->date) == 0) {
        return;
    }
    ledger_save(triage, ledger);
    memcpy(ledger->date, date, sizeof date);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        day_load(triage, ledger, (enum frame_tier)tier);
    }
}

static struct ledger *ledger_make_room(struct triage *triage) {
    if (triage->ledger_count < TRIAGE_CAMERAS_MAX) {
        return &triage->ledgers[triage->ledger_count++];
    }
    struct ledger *oldest = &triage->ledgers[0];
    for (size_t i = 1; i < triage->ledger_count; i++) {
        if (triage->ledgers[i].seen < oldest->seen) {
            oldest = &triage->ledgers[i];
        }
    }
    ledger_save(triage, oldest);
    return oldest;
}

static struct ledger *ledger_find(struct triage *triage, const char *camera) {
    for (size_t i = 0; i < triage->ledger_count; i++) {
        if (strcmp(triage->ledgers[i].camera, camera) == 0) {
            return &triage->ledgers[i];
        }
    }
    struct ledger *ledger = ledger_make_room(triage);
    *ledger = (struct ledger){0};
    memcpy(ledger->camera, camera, strnlen(camera, FRAME_NAME_MAX));
    return ledger;
}

static bool budget_left(const struct triage_config *config, const struct ledger_tier *sums,
                        int64_t boot_us) {
    if (config->budget_day > 0 && sums->day_count >= config->budget_day) {
        return false;
    }
    /* Frames of several workers may come slightly out of order, so the distance counts, not its
     * sign. Compared in ms: the product would overflow for windows that only a slip of the pen asks
     * for. */
    return config->budget_per_ms <= 0 || !sums->kept_any ||
           llabs(boot_us - sums->kept_boot_us) / 1000 >= config->budget_per_ms;
}

static void budget_take(struct triage *triage, struct ledger *ledger, enum frame_tier tier,
                        int64_t boot_us) {
    struct ledger_tier *sums = &ledger->tiers[tier];

    sums->kept_any = true;
    sums->kept_boot_us = boot_us;
    if (triage->config.budget_day == 0) {
        return;
    }
    sums->day_count++;
    if (sums->day_count - sums->day_saved >= DAY_SAVE_COUNT ||
        llabs(boot_us - sums->saved_boot_us) >= DAY_SAVE_US) {
        day_save(triage, ledger, tier);
        sums->saved_boot_us = boot_us;
    }
}

/* ---- the public face ---- */

static bool is_fraction(double value) {
    return value >= 0 && value <= 1;
}

static int check_config(const struct triage_config *config, struct err *err) {
    if (!(config->confident > 0 && config->confident < 1)) {
        return err_set(err, ERR_CONFIG, "triage.confident is %g: it lies between 0 and 1",
                       config->confident);
    }
    if (!(config->uncertain_floor > 0 && config->uncertain_floor < config->confident)) {
        return err_set(err, ERR_CONFIG,
                       "triage.uncertain_floor is %g: it lies between 0 and triage.confident (%g)",
                       config->uncertain_floor, config->confident);
    }
    if (!is_fraction(config->empty_fraction)) {
        return err_set(err, ERR_CONFIG, "triage.empty_fraction is %g: it lies from 0 to 1",
                       config->empty_fraction);
    }
    if (config->budget_per_ms < 0) {
        return err_set(err, ERR_CONFIG, "triage.budget.per is negative: 0 means no limit");
    }
    if (config->rule_count > TRIAGE_RULES_MAX) {
        return err_set(err, ERR_CONFIG, "triage.rules has %zu rules, at most %d are taken",
                       config->rule_count, TRIAGE_RULES_MAX);
    }
    return 0;
}

static int unknown_rule(const char *name, struct err *err) {
    CLEANUP(buf_finish) struct buf known = BUF_INIT(ERR_TEXT_MAX);

    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        buf_printf(&known, "%s%s", i ? ", " : "", rules[i].name);
    }
    return err_set(err, ERR_CONFIG, "triage.rules: there is no rule '%.*s'; known are: %s",
                   FRAME_NAME_MAX, name, known.data ? known.data : "");
}

static int bind_rules(struct triage *triage, struct err *err) {
    for (size_t i = 0; i < triage->config.rule_count; i++) {
        char *name = triage->config.rules[i];
        name[FRAME_NAME_MAX] = '\0';
        triage->rules[i] = rule_find(name);
        if (!triage->rules[i]) {
            return unknown_rule(name, err);
        }
        for (size_t j = 0; j < i; j++) {
            if (triage->rules[j] == triage->rules[i]) {
                return err_set(err, ERR_CONFIG, "triage.rules names '%s' twice", name);
            }
        }
    }
    return 0;
}

int triage_create(const struct triage_config *config, const struct triage_memory *memory,
                  struct triage **out, struct err *err) {
    struct triage *triage = mem_alloc(sizeof *triage);

    if (!triage || !(triage->ledgers = mem_array(TRIAGE_CAMERAS_MAX, sizeof *triage->ledgers))) {
        triage_destroy(triage);
        return err_set(err, ERR_NOMEM, "triage: no memory");
    }
    triage->config = *config;
    if (memory) {
        triage->memory = *memory;
    }
    if (triage->config.uncertain_floor == 0) {
        triage->config.uncertain_floor = FLOOR_DEFAULT;
    }
    int code = check_config(&triage->config, err);
    if (!code) {
        code = bind_rules(triage, err);
    }
    if (code) {
        triage_destroy(triage);
        return code;
    }
    *out = triage;
    return 0;
}

void triage_destroy(struct triage *triage) {
    if (!triage) {
        return;
    }
    for (size_t i = 0; i < triage->ledger_count; i++) {
        ledger_save(triage, &triage->ledgers[i]);
    }
    free(triage->ledgers);
    free(triage);
}

void triage_decide(struct triage *triage, const struct frame_record *record,
                   struct triage_verdict *out) {
    struct ledger *ledger = ledger_find(triage, record->camera);
    struct look look;

    *out = (struct triage_verdict){.tier = TIER_NONE};
    ledger->seen = ++triage->turn;
    ledger_turn_page(triage, ledger, record->captured.utc_us);
    look_at(&triage->config, ledger, record, &look);
    ledger_learn(ledger, &triage->config, record);

    for (size_t i = 0; i < triage->config.rule_count; i++) {
        const struct rule *rule = triage->rules[i];
        double value = 0;
        if (!rule->match(&triage->config, &look, &value)) {
            continue;
        }
        bool left =
            budget_left(&triage->config, &ledger->tiers[rule->tier], record->captured.boot_us);
        if (left || !out->over_budget) { /* without budget, the first that matched is named */
            memcpy(out->rule, rule->name, strlen(rule->name) + 1);
            out->value = value;
        }
        if (left) {
            out->keep = true;
            out->over_budget = false;
            out->tier = rule->tier;
            budget_take(triage, ledger, rule->tier, record->captured.boot_us);
            return;
        }
        out->over_budget = true;
    }
}
