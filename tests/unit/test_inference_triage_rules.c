/* Triage's kinds of rules: what each keeps, its border, and the value that it gives. */
#include "tests/unit/triage_case.h"

#define HERE                                                                                       \
    { 0.1, 0.1, 0.2, 0.4 }
#define NEARLY                                                                                     \
    { 0.11, 0.1, 0.2, 0.4 } /* IoU with HERE 0.905 */
#define HALF                                                                                       \
    { 0.15, 0.1, 0.2, 0.4 } /* 0.6 */
#define THERE                                                                                      \
    { 0.6, 0.5, 0.2, 0.2 }

struct kind_case {
    const char *what;
    struct triage_rule_config rule;
    struct thing things[4];
    size_t count;
    int tier; /* TIER_NONE: not kept */
    double value;
};

static const struct kind_case kind_cases[] = {
    {"band: below",
     {.kind = TRIAGE_BAND, .from = 0.3, .to = 0.5},
     {{0.299f, "a", HERE}},
     1,
     TIER_NONE,
     0},
    {"band: at from",
     {.kind = TRIAGE_BAND, .from = 0.3, .to = 0.5},
     {{0.3f, "a", HERE}},
     1,
     TIER_UNANNOTATED,
     0.20},
    {"band: middle",
     {.kind = TRIAGE_BAND, .from = 0.3, .to = 0.5},
     {{0.4f, "a", HERE}},
     1,
     TIER_UNANNOTATED,
     0.80},
    {"band: at to",
     {.kind = TRIAGE_BAND, .from = 0.3, .to = 0.5},
     {{0.5f, "a", HERE}},
     1,
     TIER_NONE,
     0},
    {"band: of sure ones",
     {.kind = TRIAGE_BAND, .from = 0.7, .to = 0.9},
     {{0.75f, "a", HERE}},
     1,
     TIER_ANNOTATED,
     0.50},
    {"band: as the tier is set",
     {.kind = TRIAGE_BAND, .from = 0.7, .to = 0.9, .tier = TRIAGE_TIER_UNANNOTATED},
     {{0.75f, "a", HERE}},
     1,
     TIER_UNANNOTATED,
     0.50},
    {"margin: too far", {.kind = TRIAGE_MARGIN}, {{0.66f, "a", HERE}}, 1, TIER_NONE, 0},
    {"margin: at its end", {.kind = TRIAGE_MARGIN}, {{0.65f, "a", HERE}}, 1, TIER_ANNOTATED, 0.30},
    {"margin: below", {.kind = TRIAGE_MARGIN}, {{0.575f, "a", HERE}}, 1, TIER_UNANNOTATED, 0.60},
    {"margin: at",
     {.kind = TRIAGE_MARGIN, .at = 0.8},
     {{0.8f, "a", HERE}},
     1,
     TIER_ANNOTATED,
     0.90},
    {"count: enough",
     {.kind = TRIAGE_COUNT, .min = 2},
     {{0.9f, "a", HERE}, {0.7f, "a", THERE}},
     2,
     TIER_NONE,
     0},
    {"count: one too few",
     {.kind = TRIAGE_COUNT, .min = 2},
     {{0.9f, "a", HERE}, {0.5f, "a", THERE}},
     2,
     TIER_UNANNOTATED,
     0.48},
    {"count: none",
     {.kind = TRIAGE_COUNT, .min = 2},
     {{0, "", {0, 0, 0, 0}}},
     0,
     TIER_UNANNOTATED,
     0.56},
    {"count: too many",
     {.kind = TRIAGE_COUNT, .max = 1},
     {{0.9f, "a", HERE}, {0.7f, "b", THERE}},
     2,
     TIER_UNANNOTATED,
     0.48},
    {"count: of its class",
     {.kind = TRIAGE_COUNT, .max = 1, .classes = "a"},
     {{0.9f, "a", HERE}, {0.7f, "b", THERE}},
     2,
     TIER_NONE,
     0},
    {"count: from lower",
     {.kind = TRIAGE_COUNT, .max = 1, .from = 0.3},
     {{0.9f, "a", HERE}, {0.4f, "b", THERE}},
     2,
     TIER_UNANNOTATED,
     0.48},
    {"disagreement: as likely",
     {.kind = TRIAGE_DISAGREEMENT},
     {{0.5f, "a", HERE}, {0.5f, "b", NEARLY}},
     2,
     TIER_UNANNOTATED,
     0.90},
    {"disagreement: just similar",
     {.kind = TRIAGE_DISAGREEMENT},
     {{0.5f, "a", HERE}, {0.4f, "b", NEARLY}},
     2,
     TIER_UNANNOTATED,
     0.70},
    {"disagreement: not similar",
     {.kind = TRIAGE_DISAGREEMENT},
     {{0.9f, "a", HERE}, {0.5f, "b", NEARLY}},
     2,
     TIER_NONE,
     0},
    {"disagreement: one class",
     {.kind = TRIAGE_DISAGREEMENT},
     {{0.5f, "a", HERE}, {0.5f, "a", NEARLY}},
     2,
     TIER_NONE,
     0},
    {"disagreement: two places",
     {.kind = TRIAGE_DISAGREEMENT},
     {{0.5f, "a", HERE}, {0.5f, "b", HALF}},
     2,
     TIER_NONE,
     0},
    {"disagreement: iou set",
     {.kind = TRIAGE_DISAGREEMENT, .iou = 0.5},
     {{0.5f, "a", HERE}, {0.5f, "b", HALF}},
     2,
     TIER_UNANNOTATED,
     0.90},
    {"disagreement: noise",
     {.kind = TRIAGE_DISAGREEMENT},
     {{0.14f, "a", HERE}, {0.14f, "b", NEARLY}},
     2,
     TIER_NONE,
     0},
    {"classes: another",
     {.kind = TRIAGE_CONFIDENT, .classes = "cat,dog"},
     {{0.9f, "car", HERE}},
     1,
     TIER_NONE,
     0},
    {"classes: the second",
     {.kind = TRIAGE_CONFIDENT, .classes = "cat,dog"},
     {{0.9f, "dog", HERE}},
     1,
     TIER_ANNOTATED,
     0.10 + 0.25 / 8 + 0.25},
    {"classes: no part of a name",
     {.kind = TRIAGE_CONFIDENT, .classes = "cat,dog"},
     {{0.9f, "do", HERE}},
     1,
     TIER_NONE,
     0},
    {"not_classes",
     {.kind = TRIAGE_CONFIDENT, .not_classes = "traffic light"},
     {{0.9f, "traffic light", HERE}},
     1,
     TIER_NONE,
     0},
    {"not_classes: what is left",
     {.kind = TRIAGE_CONFIDENT, .not_classes = "bird"},
     {{0.3f, "bird", HERE}, {0.9f, "dog", THERE}},
     2,
     TIER_ANNOTATED,
     0.10 + 0.25 / 8 + 0.25},
    {"cameras: another",
     {.kind = TRIAGE_CONFIDENT, .cameras = "gate,yard"},
     {{0.9f, "a", HERE}},
     1,
     TIER_NONE,
     0},
    {"cameras: this one",
     {.kind = TRIAGE_UNSURE, .cameras = "gate,dock"},
     {{0.375f, "a", HERE}},
     1,
     TIER_UNANNOTATED,
     0.84},
    {"not_cameras",
     {.kind = TRIAGE_UNSURE, .not_cameras = "dock"},
     {{0.375f, "a", HERE}},
     1,
     TIER_NONE,
     0},
    {"hours: over",
     {.kind = TRIAGE_UNSURE, .hours = "06:00-12:00"},
     {{0.375f, "a", HERE}},
     1,
     TIER_NONE,
     0},
    {"hours: begun",
     {.kind = TRIAGE_UNSURE, .hours = "12:00-13:00"},
     {{0.375f, "a", HERE}},
     1,
     TIER_UNANNOTATED,
     0.84},
    {"hours: over midnight",
     {.kind = TRIAGE_UNSURE, .hours = "22:00-12:01"},
     {{0.375f, "a", HERE}},
     1,
     TIER_UNANNOTATED,
     0.84},
    {"hours: not over midnight",
     {.kind = TRIAGE_UNSURE, .hours = "12:01-06:00"},
     {{0.375f, "a", HERE}},
     1,
     TIER_NONE,
     0},
    {"sample: all",
     {.kind = TRIAGE_SAMPLE, .fraction = 1},
     {{0, "", {0, 0, 0, 0}}},
     0,
     TIER_UNANNOTATED,
     0.10},
    {"trigger: nobody asked", {.kind = TRIAGE_TRIGGER}, {{0.9f, "a", HERE}}, 1, TIER_NONE, 0},
    {"flicker: one frame", {.kind = TRIAGE_FLICKER}, {{0.9f, "a", HERE}}, 1, TIER_NONE, 0},
    {"novelty: the first", {.kind = TRIAGE_NOVELTY}, {{0.9f, "a", HERE}}, 1, TIER_ANNOTATED, 0.90},
};

START_TEST(kinds_and_their_borders) {
    for (size_t i = 0; i < ARRAY_LENGTH(kind_cases); i++) {
        const struct kind_case *here = &kind_cases[i];
        struct triage_config config = mine(here->rule);
        struct triage *triage = triage_begin(&config, NULL);
        struct triage_verdict verdict = look(triage, "dock", 0, here->things, here->count);
        ck_assert_msg((int)verdict.tier == here->tier, "%s: tier %d", here->what, verdict.tier);
        ck_assert_msg(!verdict.keep || fabs(verdict.value - here->value) < 1e-5, "%s: value %g",
                      here->what, verdict.value);
        ck_assert_str_eq(verdict.rule, verdict.keep ? "mine" : "");
        triage_destroy(triage);
    }
}
END_TEST

START_TEST(a_kind_is_a_rule_of_its_name) {
    struct triage_config config = {.confident = 0.6, .rule_count = 2};
    snprintf(config.rules[0], sizeof(config.rules[0]), "disagreement");
    snprintf(config.rules[1], sizeof(config.rules[1]), "margin");
    config.defined_count = 1; /* and what is defined under it sets it */
    config.defined[0] = (struct triage_rule_config){.name = "margin", .at = 0.8};
    struct triage *triage = triage_begin(&config, NULL);
    const struct thing pair[] = {{0.5f, "a", HERE}, {0.5f, "b", HERE}};
    const struct thing near[] = {{0.82f, "a", HERE}};
    const struct thing off[] = {{0.6f, "a", HERE}};
    ck_assert_str_eq(look(triage, "dock", 0, pair, 2).rule, "disagreement");
    ck_assert_str_eq(look(triage, "dock", 1, near, 1).rule, "margin");
    ck_assert_str_eq(look(triage, "dock", 2, off, 1).rule, "");
    triage_destroy(triage);
}
END_TEST

START_TEST(rare_needs_something_common) {
    struct triage_config config =
        mine((struct triage_rule_config){.kind = TRIAGE_RARE, .below = 0.1});
    struct triage *triage = triage_begin(&config, NULL);
    const struct thing car[] = {{0.9f, "car", HERE}};
    const struct thing owl[] = {{0.5f, "owl", THERE}};
    ck_assert(!look(triage, "dock", 0, owl, 1).keep);
    for (int i = 1; i <= 100; i++) {
        ck_assert(!look(triage, "dock", i, car, 1).keep);
    }
    struct triage_verdict verdict = look(triage, "dock", 101, owl, 1);
    ck_assert(verdict.keep);
    ck_assert_double_eq_tol(verdict.value, 0.40 + 0.40 + 0.10 * 0.5, 1e-6);
    ck_assert(!look(triage, "gate", 102, owl, 1).keep); /* it has shown nothing yet */
    triage_destroy(triage);
}
END_TEST

/* ---- flicker ---- */

static const struct thing dog[] = {{0.9f, "dog", HERE}};
static const struct thing moved[] = {{0.7f, "dog", NEARLY}};
static const struct thing weak[] = {{0.2f, "cat", HERE}};

struct step {
    const struct thing *things; /* NULL: nothing in it */
    int64_t at;
};

static void flicker_case(const char *what, struct triage_rule_config rule, const struct step *steps,
                         size_t count, int64_t middle) {
    struct triage_config config = mine(rule);
    struct triage *triage = triage_begin(&config, NULL);
    struct triage_verdict verdict = {0};
    for (size_t i = 0; i < count; i++) {
        verdict = look(triage, "dock", steps[i].at, steps[i].things, steps[i].things != NULL);
        ck_assert_msg(!verdict.keep && (i == count - 1 || verdict.rescue_count == 0),
                      "%s: step %zu", what, i);
    }
    ck_assert_msg(verdict.rescue_count == (middle > 0), "%s: %zu rescues", what,
                  verdict.rescue_count);
    if (middle > 0) {
        struct triage_verdict again;
        struct line line;
        ck_assert_int_eq(verdict.rescues[0].from_us, middle);
        ck_assert_int_eq(verdict.rescues[0].to_us, middle);
        triage_rescue(triage, &verdict.rescues[0], line_set(&line, "dock", middle, NULL, 0),
                      &again);
        ck_assert(again.keep && again.tier == TIER_UNANNOTATED);
        ck_assert_str_eq(again.rule, "mine");
        ck_assert_double_eq_tol(again.value, 0.60 + 0.30 * 0.7, 1e-6);
        triage_rescue(triage, &verdict.rescues[0], line_set(&line, "dock", middle + 1, NULL, 0),
                      &again);
        ck_assert(!again.keep);
    }
    triage_destroy(triage);
}

#define FLICKER(what, rule, middle, ...)                                                           \
    flicker_case(what, rule, (const struct step[]){__VA_ARGS__},                                   \
                 ARRAY_LENGTH(((const struct step[]){__VA_ARGS__})), middle)

START_TEST(flicker_names_the_frame_in_the_middle) {
    struct triage_rule_config rule = {.kind = TRIAGE_FLICKER};
    struct triage_rule_config cats = {.kind = TRIAGE_FLICKER, .classes = "cat"};
    FLICKER("there, gone, there", rule, 3, {dog, 1}, {dog, 2}, {NULL, 3}, {moved, 4});
    FLICKER("gone twice", rule, 3, {dog, 1}, {dog, 2}, {NULL, 3}, {NULL, 4}, {moved, 5});
    FLICKER("gone too long", rule, 0, {dog, 1}, {dog, 2}, {NULL, 3}, {NULL, 4}, {NULL, 5},
            {moved, 6});
    FLICKER("seen once before", rule, 0, {dog, 1}, {NULL, 2}, {moved, 3});
    FLICKER("something was there", rule, 0, {dog, 1}, {dog, 2}, {weak, 3}, {moved, 4});
    FLICKER("back as another", rule, 0, {dog, 1}, {dog, 2}, {NULL, 3}, {weak, 4});
    FLICKER("another class is asked for", cats, 0, {dog, 1}, {dog, 2}, {NULL, 3}, {moved, 4});
    FLICKER("a late frame is left out", rule, 4, {dog, 1}, {dog, 2}, {NULL, 4}, {dog, 3},
            {moved, 5});
}
END_TEST

START_TEST(flicker_does_not_follow_another_camera) {
    struct triage_config config = mine((struct triage_rule_config){.kind = TRIAGE_FLICKER});
    struct triage *triage = triage_begin(&config, NULL);
    look(triage, "dock", 1, dog, 1);
    look(triage, "dock", 2, dog, 1);
    look(triage, "gate", 3, NULL, 0);
    ck_assert_uint_eq(look(triage, "dock", 4, dog, 1).rescue_count, 0);
    unsigned frames;
    ck_assert_int_eq(triage_reach_ms(triage, &frames), 0);
    ck_assert_uint_eq(frames, 2);
    triage_destroy(triage);
}
END_TEST

/* ---- novelty ---- */

static struct triage_verdict look_like(struct triage *triage, int64_t at, uint64_t phash,
                                       const struct thing *things, size_t count) {
    struct triage_verdict verdict;
    struct line line;
    line_set(&line, "dock", at, things, count);
    line.record.phash = phash;
    triage_decide(triage, &line.record, &verdict);
    return verdict;
}

START_TEST(novelty_compares_with_what_was_kept_also_before_a_restart) {
    CLEANUP(mem_free_at) struct memory *memory = mem_alloc(sizeof(*memory));
    struct triage_config config = mine((struct triage_rule_config){.kind = TRIAGE_NOVELTY});
    const struct thing cat[] = {{0.9f, "cat", THERE}};
    struct triage *triage = triage_begin(&config, memory);
    ck_assert(look_like(triage, 1, 0xffff, dog, 1).keep);
    ck_assert(!look_like(triage, 2, 0xffff, dog, 1).keep);
    ck_assert(!look_like(triage, 3, 0xfffe, dog, 1).keep);
    triage_destroy(triage);

    triage = triage_begin(&config, memory);
    ck_assert(!look_like(triage, 4, 0xffff, dog, 1).keep);
    struct triage_verdict other = look_like(triage, 5, 0xffff, cat, 1); /* as like, but a cat */
    ck_assert(other.keep);
    ck_assert_double_eq_tol(other.value, 0.20 + 0.70 * 0.5, 1e-3);
    other = look_like(triage, 6, 0xffff0000ffff0000, dog, 1); /* 32 bits are off */
    ck_assert(other.keep);
    ck_assert(!look_like(triage, 7, 0xffff0000ffff0000, dog, 1).keep);
    triage_destroy(triage);
}
END_TEST

START_TEST(novelty_remembers_the_last_ones) {
    CLEANUP(mem_free_at) struct memory *memory = mem_alloc(sizeof(*memory));
    struct triage_config config =
        mine((struct triage_rule_config){.kind = TRIAGE_NOVELTY, .distance = 0.01});
    struct triage *triage = triage_begin(&config, memory);
    for (uint64_t i = 0; i < 1000; i++) { /* all differ in some bit */
        look_like(triage, (int64_t)i, i, dog, 1);
    }
    triage_destroy(triage);
    triage = triage_begin(&config, memory);
    ck_assert(!look_like(triage, 1001, 999, dog, 1).keep);
    ck_assert(look_like(triage, 1002, UINT64_MAX, dog, 1).keep);
    triage_destroy(triage);
}
END_TEST

/* ---- schedule, sample, events ---- */

START_TEST(schedule_keeps_one_in_each_span) {
    struct triage_config config =
        mine((struct triage_rule_config){.kind = TRIAGE_SCHEDULE, .every_ms = 60000});
    struct triage *triage = triage_begin(&config, NULL);
    unsigned kept = 0;
    for (int64_t s = 0; s < 600; s += 7) {
        kept += look(triage, "dock", s * SECOND, NULL, 0).keep;
    }
    ck_assert_uint_eq(kept, 10);
    ck_assert(look(triage, "gate", 599 * SECOND, NULL, 0).keep);
    triage_destroy(triage);
}
END_TEST

START_TEST(samples_of_two_rules_are_independent) {
    struct triage_config config = {.confident = 0.6, .rule_count = 1, .defined_count = 1};
    unsigned kept[2] = {0, 0}, both = 0;
    struct triage *triages[2];
    for (int i = 0; i < 2; i++) {
        config.defined[0] = (struct triage_rule_config){.kind = TRIAGE_SAMPLE, .fraction = 0.2};
        snprintf(config.defined[0].name, sizeof(config.defined[0].name), "rule-%d", i);
        snprintf(config.rules[0], sizeof(config.rules[0]), "rule-%d", i);
        triages[i] = triage_begin(&config, NULL);
    }
    for (int i = 0; i < 10000; i++) {
        struct triage_verdict one, two;
        struct line line;
        line_set(&line, "dock", i, NULL, 0);
        triage_decide(triages[0], &line.record, &one);
        triage_decide(triages[1], &line.record, &two);
        kept[0] += one.keep;
        kept[1] += two.keep;
        both += one.keep && two.keep;
    }
    ck_assert_msg(kept[0] > 1800 && kept[0] < 2200, "%u of 10000", kept[0]); /* sigma is 40 */
    ck_assert_msg(kept[1] > 1800 && kept[1] < 2200, "%u of 10000", kept[1]);
    ck_assert_msg(both > 300 && both < 500, "%u in both", both); /* 400, sigma 20 */
    triage_destroy(triages[0]);
    triage_destroy(triages[1]);
}
END_TEST

START_TEST(a_trigger_wants_what_is_around_it) {
    struct triage_config config =
        mine((struct triage_rule_config){.kind = TRIAGE_TRIGGER, .cameras = "dock"});
    struct triage *triage = triage_begin(&config, NULL);
    struct triage_verdict verdict;
    struct err err = {0};
    struct line line;
    ck_assert(!look(triage, "dock", 9 * SECOND, dog, 1).keep);
    ck_assert_int_eq(triage_trigger(triage, "gate", 10 * SECOND, NOON, &verdict, &err),
                     ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "camera gate"));
    ck_assert_int_eq(triage_trigger(triage, "dock", 10 * SECOND, NOON, &verdict, &err), 0);
    ck_assert_uint_eq(verdict.rescue_count, 1);
    struct triage_rescue rescue = verdict.rescues[0];
    ck_assert_int_eq(rescue.from_us, 8 * SECOND);
    ck_assert_int_eq(rescue.to_us, 10 * SECOND);
    triage_rescue(triage, &rescue, line_set(&line, "dock", 9 * SECOND, dog, 1), &verdict);
    ck_assert(verdict.keep);
    ck_assert_double_eq_tol(verdict.value, 0.90 * 0.75, 1e-6);
    verdict = look(triage, "dock", 10 * SECOND, NULL, 0);
    ck_assert_double_eq_tol(verdict.value, 0.90, 1e-6);
    ck_assert(verdict.keep && verdict.tier == TIER_UNANNOTATED);
    ck_assert(look(triage, "dock", 19 * SECOND / 2, NULL, 0).keep); /* was still being looked at */
    ck_assert_double_eq_tol(look(triage, "dock", 12 * SECOND, NULL, 0).value, 0.45, 1e-6);
    ck_assert(!look(triage, "dock", 12 * SECOND + 1, NULL, 0).keep);
    ck_assert(!look(triage, "gate", 11 * SECOND, NULL, 0).keep);
    triage_destroy(triage);
}
END_TEST

START_TEST(neighbours_come_along_with_any_rule) {
    struct triage_config config = mine((struct triage_rule_config){
        .kind = TRIAGE_CONFIDENT, .before_ms = 1000, .after_ms = 3000, .minute = 4});
    struct triage *triage = triage_begin(&config, NULL);
    struct triage_verdict verdict = look(triage, "dock", 10 * SECOND, dog, 1);
    ck_assert(verdict.keep && verdict.rescue_count == 1);
    ck_assert_int_eq(verdict.rescues[0].from_us, 9 * SECOND);
    verdict = look(triage, "dock", 11 * SECOND, NULL, 0);
    ck_assert(verdict.keep && verdict.rescue_count == 0); /* it begins no event of its own */
    ck_assert(look(triage, "dock", 13 * SECOND, NULL, 0).keep);
    ck_assert(!look(triage, "dock", 13 * SECOND + 1, NULL, 0).keep);
    ck_assert(look(triage, "dock", 20 * SECOND, dog, 1).keep);
    verdict = look(triage, "dock", 21 * SECOND, NULL, 0);
    ck_assert(!verdict.keep && verdict.over_budget); /* four in this minute */
    triage_destroy(triage);
}
END_TEST

/* ---- configurations ---- */

static void bad_rule(struct triage_rule_config rule, const char *says) {
    struct triage_config config = mine(rule);
    struct triage *triage = NULL;
    struct err err = {0};
    for (config.rule_count = 0; config.rule_count < 2; config.rule_count++) { /* in force or not */
        ck_assert_int_eq(triage_create(&config, NULL, &triage, &err), ERR_CONFIG);
        char text[2 * ERR_TEXT_MAX];
        err_text(&err, text, sizeof(text));
        ck_assert_msg(strstr(text, says) != NULL, "'%s' lacks '%s'", text, says);
    }
}

START_TEST(bad_rules_are_named) {
    bad_rule((struct triage_rule_config){0}, "triage.define.mine.kind");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_KINDS}, "triage.define.mine.kind");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_COUNT}, "min, max or both");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_COUNT, .min = 3, .max = 2}, "min");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_BAND, .from = 0.5, .to = 0.5}, "not below");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_BAND, .from = 2}, "mine.from is 2");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_SAMPLE, .fraction = NAN}, "mine.fraction");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_FLICKER, .gap = 9}, "gap at most 8");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_UNSURE, .before_ms = 61000}, "before");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_UNSURE, .hours = "6-18"}, "'6-18'");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_UNSURE, .hours = "06:00-25:00"}, "hours");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_UNSURE, .hours = "06:00-06:00"}, "hours");
    bad_rule((struct triage_rule_config){.kind = TRIAGE_UNSURE, .classes = "a,,b"}, "mine.classes");
}
END_TEST

START_TEST(no_memory_is_an_error) {
    struct triage_config config = mine((struct triage_rule_config){
        .kind = TRIAGE_NOVELTY, .classes = "a", .cameras = "dock", .minute = 3});
    struct triage *triage = NULL;
    bool fired = true;
    for (long n = 0; fired; n++) {
        mem_fail_after(n);
        int code = triage_create(&config, NULL, &triage, NULL);
        struct triage_verdict verdict = {0};
        if (!code) {
            verdict = look(triage, "dock", 1, dog, 1); /* without a gallery it keeps nothing */
            triage_destroy(triage);
        }
        fired = mem_fail_after(-1) < 0;
        ck_assert(fired ? code == 0 || code == ERR_NOMEM : verdict.keep);
    }
}
END_TEST

int main(void) {
    setenv("TZ", "UTC0", 1); /* hours are local */
    static const TTest *const *const tests[] = {
        &kinds_and_their_borders,
        &a_kind_is_a_rule_of_its_name,
        &rare_needs_something_common,
        &flicker_names_the_frame_in_the_middle,
        &flicker_does_not_follow_another_camera,
        &novelty_compares_with_what_was_kept_also_before_a_restart,
        &novelty_remembers_the_last_ones,
        &schedule_keeps_one_in_each_span,
        &samples_of_two_rules_are_independent,
        &a_trigger_wants_what_is_around_it,
        &neighbours_come_along_with_any_rule,
        &bad_rules_are_named,
        &no_memory_is_an_error,
    };
    Suite *suite = suite_create("inference/triage rules");
    TCase *tcase = tcase_create("all");
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, *tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
