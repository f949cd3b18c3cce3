/* Triage's budgets against a model that is too simple to be wrong: the list of all frames kept,
 * counted anew for every question. Random rules, streams and restarts; CREEL_TRIAGE_STREAMS makes
 * it longer. */
#include "tests/unit/triage_case.h"

#define FRAMES   400
#define MINUTE   (60 * SECOND)
#define HOUR     (3600 * SECOND)
#define CAMERAS  3
#define CLASSES  3
#define NO_CLASS (-1)

static uint64_t state;

/* xorshift64 (Marsaglia 2003). */
static uint64_t roll(uint64_t sides) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % sides;
}

struct kept {
    int camera, class_index;
    bool sure;
    int64_t at_us;
    unsigned run; /* restarts before it */
};

struct model {
    const struct triage_config *config;
    struct kept kept[FRAMES];
    size_t count;
    unsigned run;
};

typedef bool scope_fn(const struct model *model, const struct kept *a, const struct kept *b);

static bool same_tier(const struct model *model, const struct kept *a, const struct kept *b) {
    (void)model;
    return a->camera == b->camera && a->sure == b->sure;
}

static bool same_purse(const struct model *model, const struct kept *a, const struct kept *b) {
    int each = model->config->defined[0].each;
    bool camera = each == TRIAGE_EACH_CAMERA || each == TRIAGE_EACH_CAMERA_CLASS;
    bool class = each == TRIAGE_EACH_CLASS || each == TRIAGE_EACH_CAMERA_CLASS;
    return (!camera || a->camera == b->camera) && (!class || a->class_index == b->class_index);
}

/* Room for `frame` among `frames` in windows that open with their first frame. */
static bool window_room(const struct model *model, scope_fn *same, const struct kept *frame,
                        int64_t length_us, uint32_t frames) {
    bool open = false;
    int64_t since = 0;
    uint32_t count = 0;
    if (length_us == 0 || frames == 0) {
        return true;
    }
    for (size_t i = 0; i < model->count; i++) {
        const struct kept *old = &model->kept[i];
        if (old->run != model->run || !same(model, old, frame)) {
            continue;
        }
        if (!open || old->at_us - since >= length_us) {
            open = true;
            since = old->at_us;
            count = 0;
        }
        count++;
    }
    return !open || frame->at_us - since >= length_us || count < frames;
}

static bool day_room(const struct model *model, scope_fn *same, const struct kept *frame,
                     uint32_t frames) {
    uint32_t count = 0;
    for (size_t i = 0; i < model->count; i++) {
        const struct kept *old = &model->kept[i];
        count +=
            same(model, old, frame) && (NOON + old->at_us) / DAY == (NOON + frame->at_us) / DAY;
    }
    return frames == 0 || count < frames;
}

static bool model_room(const struct model *model, const struct kept *frame) {
    const struct triage_rule_config *rule = &model->config->defined[0];
    bool own = rule->per_ms || rule->minute || rule->hour;
    return day_room(model, same_tier, frame, model->config->budget_day) &&
           day_room(model, same_purse, frame, rule->day) &&
           (own || window_room(model, same_tier, frame, model->config->budget_per_ms * 1000, 1)) &&
           window_room(model, same_purse, frame, rule->per_ms * 1000, 1) &&
           window_room(model, same_purse, frame, MINUTE, rule->minute) &&
           window_room(model, same_purse, frame, HOUR, rule->hour);
}

static uint32_t maybe(uint32_t most) {
    return roll(2) ? 1 + (uint32_t)roll(most) : 0;
}

static struct triage_config random_config(void) {
    struct triage_config config = mine((struct triage_rule_config){.kind = TRIAGE_SAMPLE,
                                                                   .fraction = 1,
                                                                   .per_ms = maybe(30000),
                                                                   .minute = maybe(5),
                                                                   .hour = maybe(20),
                                                                   .day = maybe(60),
                                                                   .each = (int)roll(4)});
    config.budget_per_ms = maybe(20000);
    config.budget_day = maybe(80);
    return config;
}

/* One of few frames: a camera, one thing or none, sure or not. */
static struct kept random_frame(int64_t at_us) {
    return (struct kept){.camera = (int)roll(CAMERAS),
                         .class_index = roll(4) ? (int)roll(CLASSES) : NO_CLASS,
                         .sure = roll(2),
                         .at_us = at_us};
}

static struct triage_verdict show(struct triage *triage, struct kept *frame) {
    static const char *const cameras[CAMERAS] = {"dock", "gate", "yard"};
    static const char *const labels[CLASSES] = {"ant", "bee", "cat"};
    const struct thing thing = {.confidence = frame->sure ? 0.9f : 0.3f,
                                .label = frame->class_index < 0 ? "" : labels[frame->class_index],
                                .box = {0.1, 0.1, 0.2, 0.2}};
    frame->sure = frame->sure && frame->class_index >= 0; /* an empty frame is not annotated */
    return look(triage, cameras[frame->camera], frame->at_us, &thing, frame->class_index >= 0);
}

static void one_stream(struct memory *memory) {
    const struct triage_config config = random_config();
    struct model *model = mem_alloc(sizeof(*model));
    struct triage *triage = triage_begin(&config, memory);
    int64_t at_us = (int64_t)roll((uint64_t)DAY);
    int64_t step_us = 1 + (int64_t)roll(3) * 2 * MINUTE / 3;
    ck_assert_ptr_nonnull(model);
    model->config = &config;
    for (unsigned i = 0; i < FRAMES; i++) {
        at_us += 1 + (int64_t)roll((uint64_t)(step_us + 5 * SECOND));
        if (roll(100) == 0) {
            triage_destroy(triage);
            triage = triage_begin(&config, memory);
            model->run++;
        }
        struct kept frame = random_frame(at_us);
        struct triage_verdict verdict = show(triage, &frame);
        frame.run = model->run;
        bool room = model_room(model, &frame);
        ck_assert_msg(
            verdict.keep == room && verdict.over_budget == !room,
            "frame %u: kept %d, the model says %d (per %lld, %u/min, %u/h, %u/d, each %d)", i,
            verdict.keep, room, (long long)config.defined[0].per_ms, config.defined[0].minute,
            config.defined[0].hour, config.defined[0].day, config.defined[0].each);
        ck_assert_str_eq(verdict.rule, "mine");
        if (verdict.keep) {
            model->kept[model->count++] = frame;
        }
    }
    triage_destroy(triage);
    free(model);
}

START_TEST(budgets_are_those_of_the_model) {
    const char *wanted = getenv("CREEL_TRIAGE_STREAMS");
    long streams = wanted ? strtol(wanted, NULL, 10) : 400;
    CLEANUP(mem_free_at) struct memory *memory = mem_alloc(sizeof(*memory));
    for (long i = 0; i < streams; i++) {
        state = 88172645463325252u + (uint64_t)i * 7919u;
        memory->count = 0;
        one_stream(memory);
    }
}
END_TEST

/* ---- any frame through all rules at once: what always holds ---- */

static const struct triage_rule_config everything[] = {
    {.name = "flicker", .kind = TRIAGE_FLICKER, .hour = 30},
    {.name = "trigger", .kind = TRIAGE_TRIGGER},
    {.name = "pairs", .kind = TRIAGE_DISAGREEMENT, .minute = 2, .before_ms = 900},
    {.name = "rare", .kind = TRIAGE_RARE, .below = 0.2, .per_ms = 3000},
    {.name = "crowd", .kind = TRIAGE_COUNT, .max = 5, .after_ms = 1500, .hour = 10},
    {.name = "near", .kind = TRIAGE_MARGIN, .each = TRIAGE_EACH_CLASS, .minute = 1},
    {.name = "empty-sample", .fraction = 0.1},
    {.name = "new", .kind = TRIAGE_NOVELTY, .not_classes = "bee"},
    {.name = "unsure", .kind = TRIAGE_UNSURE, .cameras = "dock,gate"},
    {.name = "confident", .day = 20},
    {.name = "clock", .kind = TRIAGE_SCHEDULE, .every_ms = 30000},
};

static const struct frame_record *random_line(struct line *line, int64_t at_us) {
    static const char *const cameras[] = {"dock", "gate", "yard"};
    static const char *const labels[] = {"ant", "bee", "cat", "dog"};
    struct thing things[THINGS_MAX];
    size_t count = roll(3) ? roll(4) : roll(THINGS_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        double x = (double)roll(4) / 5, y = (double)roll(4) / 5;
        things[i] = (struct thing){.confidence = (float)roll(1001) / 1000,
                                   .label = labels[roll(4)],
                                   .box = {x, y, 0.1 + (double)roll(10) / 100, 0.2}};
    }
    line_set(line, cameras[roll(3)], at_us, things, count);
    line->record.phash = roll(UINT64_MAX);
    return &line->record;
}

static void check_verdict(const struct triage_verdict *a, const struct triage_verdict *b) {
    ck_assert(a->keep == b->keep && a->tier == b->tier && a->over_budget == b->over_budget);
    ck_assert(a->value >= 0 && a->value <= 1 && a->value == b->value);
    ck_assert_str_eq(a->rule, b->rule);
    ck_assert(a->keep == (a->tier != TIER_NONE) && (!a->keep || a->rule[0]));
    ck_assert(a->rescue_count <= TRIAGE_RESCUES_MAX && a->rescue_count == b->rescue_count);
    for (size_t i = 0; i < a->rescue_count; i++) {
        ck_assert(a->rescues[i].from_us <= a->rescues[i].to_us);
        ck_assert(a->rescues[i].value >= 0 && a->rescues[i].value <= 1);
        ck_assert_int_eq(a->rescues[i].from_us, b->rescues[i].from_us);
    }
}

START_TEST(the_same_frames_give_the_same_verdicts) {
    struct triage_config config = {.confident = 0.6, .budget_per_ms = 700, .budget_day = 300};
    unsigned kept[ARRAY_LENGTH(everything)] = {0};
    config.defined_count = config.rule_count = ARRAY_LENGTH(everything);
    for (size_t i = 0; i < ARRAY_LENGTH(everything); i++) {
        config.defined[i] = everything[i];
        snprintf(config.rules[i], sizeof(config.rules[i]), "%s", everything[i].name);
    }
    struct triage *one = triage_begin(&config, NULL), *two = triage_begin(&config, NULL);
    state = 42;
    int64_t at_us = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct triage_verdict a, b;
        struct line line;
        at_us += (int64_t)roll((uint64_t)SECOND);
        const struct frame_record *record = random_line(&line, at_us - (int64_t)roll(1000));
        if (roll(500) == 0) {
            ck_assert_int_eq(triage_trigger(one, "dock", at_us, NOON + at_us, &a, NULL), 0);
            ck_assert_int_eq(triage_trigger(two, "dock", at_us, NOON + at_us, &b, NULL), 0);
        }
        triage_decide(one, record, &a);
        triage_decide(two, record, &b);
        check_verdict(&a, &b);
        for (size_t r = 0; r < a.rescue_count; r++) {
            struct triage_rescue rescue = a.rescues[r];
            kept[rescue.rule] += rescue.event ? 0 : 1;
        }
        for (size_t r = 0; a.keep && r < ARRAY_LENGTH(everything); r++) {
            kept[r] += strcmp(everything[r].name, a.rule) == 0;
        }
    }
    for (size_t r = 0; r < ARRAY_LENGTH(everything); r++) { /* or the test shows nothing of it */
        ck_assert_msg(kept[r] > 0, "%s kept nothing", everything[r].name);
    }
    triage_destroy(one);
    triage_destroy(two);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference/triage property");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, budgets_are_those_of_the_model);
    tcase_add_test(tcase, the_same_frames_give_the_same_verdicts);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
