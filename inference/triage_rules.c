/* triage_rules: one table of kinds, and how a rule's settings are read.
 *
 * A kind is a row of `kinds[]` with its tier, its defaults and a function from what the rule sees
 * to a value. The values, all in [0, 1]: unsure        0.8 * nearness + 0.2 * min(n, 5) / 5.
 * Nearness is 1 in the middle of the band from the floor to `confident` and 0 at its ends, of the
 * detection nearest to the middle; n unsure ones. confident     0.10 + 0.25 * min(n, 8) / 8 + 0.25
 * * rarity. Rarity is 1 - the share of its rarest class among the things that this camera showed
 * lately. Evidence stays below 0.60, under a good question. empty-sample  0.10 band          0.20 +
 * 0.60 * nearness to the middle of [from, to) margin        0.30 + 0.60 * (1 - distance from `at` /
 * `within`), of the nearest detection rare          0.40 + 0.40 * (1 - share / below) + 0.10 *
 * confidence, of the rarest detection count         0.40 + 0.40 * min(n, 5) / 5, for n detections
 * too few or too many disagreement  0.50 + 0.40 * (ratio - similar) / (1 - similar), of the closest
 * pair; ratio is the weaker confidence by the stronger flicker       0.60 + 0.30 * the lesser of
 * the confidences before and after novelty       0.20 + 0.70 * distance from the nearest kept frame
 *   sample        0.10
 *   schedule      0.15
 *   trigger       0.90 at the moment asked for; like all frames that are kept for their neighbour,
 *                 less with the distance in time: half of it at the end of the span
 */
#include "inference/triage_parts.h"

#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include "inference/frame.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNSURE_MANY     5
#define CONFIDENT_MANY  8
#define COUNT_MANY      5
#define EMPTY_VALUE     0.10
#define SAMPLE_VALUE    0.10
#define SCHEDULE_VALUE  0.15
#define RARE_SEEN_MIN   100 /* things a camera must have shown before any of them is rare */
#define FNV_OFFSET      UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME       UINT64_C(0x100000001b3)
#define REACH_MAX_MS    60000 /* before: a ring of frames in memory has its bounds */
#define EVENT_AFTER_MAX 600000

/* ---- matching ---- */

static double share_of(size_t count, size_t many) {
    return count >= many ? 1.0 : (double)count / (double)many;
}

static bool match_unsure(const struct triage__scene *scene, double *value) {
    const struct triage__look *look = &scene->look;
    *value = 0.8 * look->nearness + 0.2 * share_of(look->unsure, UNSURE_MANY);
    return look->unsure > 0;
}

static bool match_confident(const struct triage__scene *scene, double *value) {
    const struct triage__look *look = &scene->look;
    *value = 0.10 + 0.25 * share_of(look->counted, CONFIDENT_MANY) + 0.25 * look->rarity;
    return look->counted > 0 && look->unsure == 0;
}

static bool match_empty_sample(const struct triage__scene *scene, double *value) {
    *value = EMPTY_VALUE;
    return scene->look.counted == 0 && scene->look.chance < scene->rule->set.fraction;
}

/* Calls for detections that the rule sees, whatever their confidence; NaN is no detection. */
static const struct frame_detection *seen_next(const struct triage__scene *scene, size_t *at) {
    const struct frame_record *record = scene->record;
    while (*at < record->detection_count) {
        const struct frame_detection *detection = &record->detections[(*at)++];
        if (detection->confidence > 0 && triage__rule_sees(scene->rule, detection->label)) {
            return detection;
        }
    }
    return NULL;
}

static bool match_band(const struct triage__scene *scene, double *value) {
    double from = scene->rule->set.from, to = scene->rule->set.to;
    double half = (to - from) / 2;
    double nearness = -1;
    const struct frame_detection *detection;
    for (size_t at = 0; (detection = seen_next(scene, &at));) {
        if (detection->confidence >= (float)from && detection->confidence < (float)to) {
            double off = fabs(detection->confidence - from - half) / half;
            nearness = fmax(nearness, fmax(1 - off, 0));
        }
    }
    *value = 0.20 + 0.60 * fmax(nearness, 0);
    return nearness >= 0;
}

static bool match_margin(const struct triage__scene *scene, double *value) {
    double within = scene->rule->set.within;
    float low = (float)(scene->rule->set.at - within), high = (float)(scene->rule->set.at + within);
    double nearest = within;
    bool any = false;
    const struct frame_detection *detection;
    for (size_t at = 0; (detection = seen_next(scene, &at));) {
        if (detection->confidence >= low && detection->confidence <= high) {
            nearest = fmin(nearest, fabs(detection->confidence - scene->rule->set.at));
            any = true;
        }
    }
    *value = 0.30 + 0.60 * (1 - nearest / within);
    return any;
}

static bool match_rare(const struct triage__scene *scene, double *value) {
    double below = scene->rule->set.below, rarest = below, confidence = 0;
    float least = (float)scene->config->uncertain_floor;
    float confident = (float)scene->config->confident;
    const struct frame_detection *detection;
    if (scene->camera->class_total < RARE_SEEN_MIN) {
        return false;
    }
    for (size_t at = 0; (detection = seen_next(scene, &at));) {
        double share = triage__share_of_class(scene->camera, detection->class_index);
        if (detection->confidence >= least && share < rarest &&
            !triage__is_shadow(scene->record, detection, confident)) {
            rarest = share;
            confidence = fmin(detection->confidence, 1);
        }
    }
    *value = 0.40 + 0.40 * (1 - rarest / below) + 0.10 * confidence;
    return rarest < below;
}

static bool match_count(const struct triage__scene *scene, double *value) {
    const struct triage_rule_config *set = &scene->rule->set;
    float confident = (float)scene->config->confident;
    size_t count = 0;
    const struct frame_detection *detection;
    for (size_t at = 0; (detection = seen_next(scene, &at));) {
        count += detection->confidence >= (float)set->from &&
                 (detection->confidence >= confident ||
                  !triage__is_shadow(scene->record, detection, confident));
    }
    size_t off = count < set->min                   ? set->min - count
                 : set->max > 0 && count > set->max ? count - set->max
                                                    : 0;
    *value = 0.40 + 0.40 * share_of(off, COUNT_MANY);
    return off > 0;
}

/* How near two detections are to be the same thing seen as two; below 0: they are not. */
static double disagreement_of(const struct triage__scene *scene, const struct frame_detection *a,
                              const struct frame_detection *b) {
    const struct triage_rule_config *set = &scene->rule->set;
    if (a->class_index == b->class_index || triage__iou(&a->box, &b->box) < set->iou) {
        return -1;
    }
    double ratio = fmin(a->confidence, b->confidence) / fmax(a->confidence, b->confidence);
    return (ratio - set->similar) / (1 - set->similar);
}

static bool match_disagreement(const struct triage__scene *scene, double *value) {
    float least = (float)scene->config->uncertain_floor;
    double closest = -1;
    const struct frame_detection *a, *b;
    for (size_t i = 0; (a = seen_next(scene, &i));) {
        for (size_t j = i; a->confidence >= least && (b = seen_next(scene, &j));) {
            closest =
                b->confidence >= least ? fmax(closest, disagreement_of(scene, a, b)) : closest;
        }
    }
    *value = 0.50 + 0.40 * fmin(fmax(closest, 0), 1);
    return closest >= 0;
}

static bool match_novelty(const struct triage__scene *scene, double *value) {
    struct triage__print print;
    if (!scene->camera->gallery) {
        return false;
    }
    triage__print_make(scene->record, (float)scene->config->uncertain_floor, &print);
    double distance = triage__gallery_distance(scene->camera->gallery, &print);
    *value = 0.20 + 0.70 * distance;
    return distance >= scene->rule->set.distance;
}

static bool match_sample(const struct triage__scene *scene, double *value) {
    *value = SAMPLE_VALUE;
    return scene->look.chance < scene->rule->set.fraction;
}

static bool match_schedule(const struct triage__scene *scene, double *value) {
    int64_t slot = scene->record->captured.utc_us / 1000 / scene->rule->set.every_ms;
    *value = SCHEDULE_VALUE;
    return scene->camera->slots[scene->number] != slot + 1;
}

/* Flicker's frame is an earlier one, a trigger's are those of an event: triage.c has both. */
static bool match_never(const struct triage__scene *scene, double *value) {
    (void)scene;
    *value = 0;
    return false;
}

/* ---- kinds ---- */

struct kind {
    const char *name;
    enum frame_tier tier; /* TIER_NONE: annotated where all that counts is sure */
    triage__match_fn *match;
    struct triage_rule_config defaults;
};

static const struct kind kinds[TRIAGE_KINDS] = {
    [TRIAGE_UNSURE] = {"unsure", TIER_UNANNOTATED, match_unsure, {{0}}},
    [TRIAGE_CONFIDENT] = {"confident", TIER_ANNOTATED, match_confident, {{0}}},
    [TRIAGE_EMPTY_SAMPLE] = {"empty-sample", TIER_UNANNOTATED, match_empty_sample, {{0}}},
    [TRIAGE_BAND] = {"band", TIER_NONE, match_band, {{0}}},
    [TRIAGE_MARGIN] = {"margin", TIER_NONE, match_margin, {.within = 0.05}},
    [TRIAGE_RARE] = {"rare", TIER_NONE, match_rare, {.below = 0.01}},
    [TRIAGE_COUNT] = {"count", TIER_UNANNOTATED, match_count, {{0}}},
    [TRIAGE_DISAGREEMENT] = {"disagreement",
                             TIER_UNANNOTATED,
                             match_disagreement,
                             {.iou = 0.7, .similar = 0.6}},
    [TRIAGE_FLICKER] = {"flicker", TIER_UNANNOTATED, match_never, {.iou = 0.4, .gap = 2}},
    [TRIAGE_NOVELTY] = {"novelty", TIER_NONE, match_novelty, {.distance = 0.35}},
    [TRIAGE_SAMPLE] = {"sample", TIER_NONE, match_sample, {.fraction = 0.001}},
    [TRIAGE_SCHEDULE] = {"schedule", TIER_NONE, match_schedule, {.every_ms = 3600000}},
    [TRIAGE_TRIGGER] = {"trigger",
                        TIER_UNANNOTATED,
                        match_never,
                        {.before_ms = 2000, .after_ms = 2000}},
};

static int kind_find(const char *name) {
    for (int kind = TRIAGE_BY_NAME + 1; kind < TRIAGE_KINDS; kind++) {
        if (strcmp(kinds[kind].name, name) == 0) {
            return kind;
        }
    }
    return TRIAGE_BY_NAME;
}

/* ---- lists of names ---- */

static int names_read(const char *text, const char *rule, const char *key,
                      struct triage__names *out, struct err *err) {
    if (!text || !*text) {
        return 0;
    }
    out->items = mem_array(TRIAGE_NAMES_MAX, sizeof(*out->items));
    if (!out->items) {
        return err_set(err, ERR_NOMEM, "triage: no memory for the rule %s", rule);
    }
    while (*text) {
        size_t length = strcspn(text, ",");
        if (length == 0 || length > FRAME_LABEL_MAX || out->count == TRIAGE_NAMES_MAX) {
            return err_set(err, ERR_CONFIG,
                           "triage.define.%s.%s: at most %d names of 1 to %d bytes", rule, key,
                           TRIAGE_NAMES_MAX, FRAME_LABEL_MAX);
        }
        memcpy(out->items[out->count], text, length);
        out->items[out->count++][length] = '\0';
        text += length + (text[length] == ',');
    }
    return 0;
}

static bool names_have(const struct triage__names *names, const char *name) {
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool triage__rule_sees(const struct triage__rule *rule, const char *label) {
    return (!rule->classes.count || names_have(&rule->classes, label)) &&
           !names_have(&rule->not_classes, label);
}

bool triage__rule_applies(const struct triage__rule *rule, const char *camera, int64_t utc_us) {
    return schedule_open_at(&rule->hours, utc_us) &&
           (!rule->cameras.count || names_have(&rule->cameras, camera)) &&
           !names_have(&rule->not_cameras, camera);
}

/* ---- reading a rule ---- */

static void take_default(double *value, double fallback) {
    *value = *value == 0 ? fallback : *value;
}

static void take_defaults(const struct triage_config *config, struct triage_rule_config *set) {
    const struct triage_rule_config *kind = &kinds[set->kind].defaults;
    bool band = set->kind == TRIAGE_BAND, sample = set->kind == TRIAGE_EMPTY_SAMPLE;
    take_default(&set->from, band ? config->uncertain_floor : config->confident);
    take_default(&set->to, config->confident);
    take_default(&set->at, config->confident);
    take_default(&set->within, kind->within);
    take_default(&set->below, kind->below);
    take_default(&set->iou, kind->iou);
    take_default(&set->similar, kind->similar);
    take_default(&set->distance, kind->distance);
    take_default(&set->fraction, sample ? config->empty_fraction : kind->fraction);
    set->gap = set->gap ? set->gap : kind->gap;
    set->every_ms = set->every_ms ? set->every_ms : kind->every_ms;
    set->before_ms = set->before_ms ? set->before_ms : kind->before_ms;
    set->after_ms = set->after_ms ? set->after_ms : kind->after_ms;
}

static bool is_fraction(double value) {
    return value >= 0 && value <= 1;
}

static const struct {
    const char *key;
    size_t offset;
} fractions[] = {
    {"from", offsetof(struct triage_rule_config, from)},
    {"to", offsetof(struct triage_rule_config, to)},
    {"at", offsetof(struct triage_rule_config, at)},
    {"within", offsetof(struct triage_rule_config, within)},
    {"below", offsetof(struct triage_rule_config, below)},
    {"iou", offsetof(struct triage_rule_config, iou)},
    {"similar", offsetof(struct triage_rule_config, similar)},
    {"distance", offsetof(struct triage_rule_config, distance)},
    {"fraction", offsetof(struct triage_rule_config, fraction)},
};

static int check_set(const struct triage_rule_config *set, struct err *err) {
    for (size_t i = 0; i < ARRAY_LENGTH(fractions); i++) {
        double value;
        memcpy(&value, (const char *)set + fractions[i].offset, sizeof(value));
        if (!is_fraction(value)) {
            return err_set(err, ERR_CONFIG, "triage.define.%s.%s is %g: it lies from 0 to 1",
                           set->name, fractions[i].key, value);
        }
    }
    if (set->kind == TRIAGE_BAND && !(set->from < set->to)) {
        return err_set(err, ERR_CONFIG, "triage.define.%s: from (%g) is not below to (%g)",
                       set->name, set->from, set->to);
    }
    if (set->kind == TRIAGE_COUNT &&
        ((!set->min && !set->max) || (set->max && set->min > set->max))) {
        return err_set(err, ERR_CONFIG,
                       "triage.define.%s: a rule that counts needs min, max or both, min not above"
                       " max",
                       set->name);
    }
    if (set->similar >= 1 || set->gap > TRIAGE__GAP_MAX) {
        return err_set(err, ERR_CONFIG, "triage.define.%s: similar is below 1, gap at most %d",
                       set->name, TRIAGE__GAP_MAX);
    }
    if (set->before_ms < 0 || set->before_ms > REACH_MAX_MS || set->after_ms < 0 ||
        set->after_ms > EVENT_AFTER_MAX || set->every_ms < 0 || set->per_ms < 0) {
        return err_set(err, ERR_CONFIG,
                       "triage.define.%s: before is at most %ds, after at most %ds", set->name,
                       REACH_MAX_MS / 1000, EVENT_AFTER_MAX / 1000);
    }
    return 0;
}

static int unknown_rule(const char *name, struct err *err) {
    CLEANUP(buf_finish) struct buf known = BUF_INIT(ERR_TEXT_MAX);

    for (int kind = TRIAGE_BY_NAME + 1; kind < TRIAGE_KINDS; kind++) {
        buf_printf(&known, "%s%s", known.len ? ", " : "", kinds[kind].name);
    }
    return err_set(err, ERR_CONFIG,
                   "triage.rules: there is no rule '%.*s'; known are: %s, and those of"
                   " triage.define",
                   FRAME_NAME_MAX, name, known.data ? known.data : "");
}

static const struct triage_rule_config *defined_find(const struct triage_config *config,
                                                     const char *name) {
    for (size_t i = 0; i < config->defined_count; i++) {
        if (strcmp(config->defined[i].name, name) == 0) {
            return &config->defined[i];
        }
    }
    return NULL;
}

/* Rules named like their kind are not salted: they sample what they always did. */
static uint64_t salt_of(const struct triage__rule *rule) {
    uint64_t salt = FNV_OFFSET;
    if (strcmp(rule->set.name, kinds[rule->set.kind].name) == 0 &&
        rule->set.kind == TRIAGE_EMPTY_SAMPLE) {
        return 0;
    }
    for (const char *at = rule->set.name; *at; at++) {
        salt = (salt ^ (uint8_t)*at) * FNV_PRIME;
    }
    return salt;
}

static int read_lists(const struct triage_rule_config *from, struct triage__rule *out,
                      struct err *err) {
    const struct {
        const char *key, *text;
        struct triage__names *names;
    } lists[] = {{"cameras", from->cameras, &out->cameras},
                 {"not_cameras", from->not_cameras, &out->not_cameras},
                 {"classes", from->classes, &out->classes},
                 {"not_classes", from->not_classes, &out->not_classes}};
    int code = schedule_parse(from->hours, &out->hours, err);
    if (code) {
        err_wrap(err, "triage.define.%s.hours", out->set.name);
    }
    for (size_t i = 0; !code && i < ARRAY_LENGTH(lists); i++) {
        code = names_read(lists[i].text, from->name, lists[i].key, lists[i].names, err);
    }
    return code;
}

int triage__rule_read(const struct triage_config *config, const char *name,
                      struct triage__rule *out, struct err *err) {
    const struct triage_rule_config *defined = defined_find(config, name);
    *out = (struct triage__rule){0};
    if (defined) {
        out->set = *defined;
    }
    snprintf(out->set.name, sizeof(out->set.name), "%.*s", FRAME_NAME_MAX, name);
    out->set.kind = out->set.kind ? out->set.kind : kind_find(name);
    if (out->set.kind <= TRIAGE_BY_NAME || out->set.kind >= TRIAGE_KINDS) {
        return defined ? err_set(err, ERR_CONFIG,
                                 "triage.define.%s.kind is missing, and '%s' is not the name of a"
                                 " kind",
                                 name, name)
                       : unknown_rule(name, err);
    }
    const struct triage_rule_config texts = out->set;
    take_defaults(config, &out->set);
    int code = check_set(&out->set, err);
    code = code ? code : read_lists(&texts, out, err);
    out->set.cameras = out->set.not_cameras = out->set.hours = NULL;
    out->set.classes = out->set.not_classes = NULL;
    out->match = kinds[out->set.kind].match;
    out->tier = out->set.tier == TRIAGE_TIER_ANNOTATED     ? TIER_ANNOTATED
                : out->set.tier == TRIAGE_TIER_UNANNOTATED ? TIER_UNANNOTATED
                                                           : kinds[out->set.kind].tier;
    out->salt = salt_of(out);
    out->own_window = out->set.per_ms || out->set.minute || out->set.hour;
    out->own_budget = out->own_window || out->set.day;
    return code;
}

void triage__rule_finish(struct triage__rule *rule) {
    free(rule->cameras.items);
    free(rule->not_cameras.items);
    free(rule->classes.items);
    free(rule->not_classes.items);
}
