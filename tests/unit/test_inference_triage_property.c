/* Triage's budgets against a model that is too simple to be wrong: the list of all frames kept,
 * counted anew for every question. Random rules, streams and restarts; CREEL_TRIAGE_STREAMS makes
 * it longer. */
#include "tests/unit/triage_case.h"

#define FRAMES  400
#define MINUTE  (60 * SECOND)
#define HOUR    (3600 * SECOND)
#define CAMERAS 3
#define CLASSES 3

static uint64_t state;

/* xorshift64 (Marsaglia 2003). */
static uint64_t roll(uint64_t sides) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % sides;
}

/* A place in the budgets. A frame that displaces another one takes its place: only value and id are
 * its own then. */
struct kept {
    int camera, class_index;
    bool sure;
    int64_t at_us;
    unsigned run;  /* restarts before it */
    bool day_only; /* counts in the purse's day alone */
    double value;
    struct frame_id id;
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

/* Room for `frame` among `frames` in windows that open with their first frame; the place in the
 * list from which on the window that is open lies. */
static bool window_room(const struct model *model, scope_fn *same, const struct kept *frame,
                        int64_t length_us, uint32_t frames, size_t *from) {
    bool open = false;
    int64_t since = 0;
    uint32_t count = 0;
    *from = model->count;
    if (length_us == 0 || frames == 0) {
        return true;
    }
    for (size_t i = 0; i < model->count; i++) {
        const struct kept *old = &model->kept[i];
        if (old->run != model->run || old->day_only || !same(model, old, frame)) {
            continue;
        }
        if (!open || old->at_us - since >= length_us) {
            open = true;
            since = old->at_us;
            count = 0;
            *from = i;
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
        bool counts = !old->day_only || same == same_purse;
        count += counts && same(model, old, frame) &&
                 (NOON + old->at_us) / DAY == (NOON + frame->at_us) / DAY;
    }
    return frames == 0 || count < frames;
}

enum room { ROOM_NONE, ROOM_FREE, ROOM_DISPLACING };

/* `*weakest`: the place that is taken over. */
static enum room model_room(const struct model *model, const struct kept *frame, size_t *weakest) {
    const struct triage_rule_config *rule = &model->config->defined[0];
    const struct {
        scope_fn *same;
        int64_t length_us;
        uint32_t frames;
    } windows[] = {{same_purse, rule->per_ms * 1000, 1},
                   {same_purse, MINUTE, rule->minute},
                   {same_purse, HOUR, rule->hour},
                   {same_tier, model->config->budget_per_ms * 1000, 1}};
    bool own = rule->per_ms || rule->minute || rule->hour;
    bool free = day_room(model, same_tier, frame, model->config->budget_day) &&
                day_room(model, same_purse, frame, rule->day);
    size_t race = 3, from;
    for (size_t i = 0; i < 3; i++) { /* the shortest of its own; ties: the first */
        bool set = windows[i].length_us && windows[i].frames;
        race = set && (race == 3 || windows[i].length_us < windows[race].length_us) ? i : race;
    }
    for (size_t i = own ? 0 : 3; i < (own ? 3 : 4); i++) {
        free = free && window_room(model, windows[i].same, frame, windows[i].length_us,
                                   windows[i].frames, &from);
    }
    if (window_room(model, windows[race].same, frame, windows[race].length_us, windows[race].frames,
                    &from)) {
        return free ? ROOM_FREE : ROOM_NONE;
    }
    *weakest = model->count;
    for (size_t i = from; i < model->count; i++) {
        const struct kept *old = &model->kept[i];
        bool can = !old->day_only && windows[race].same(model, old, frame) &&
                   old->sure == frame->sure && old->run == model->run;
        if (can && (*weakest == model->count || old->value < model->kept[*weakest].value)) {
            *weakest = i;
        }
    }
    bool better = *weakest < model->count && frame->value >= model->kept[*weakest].value + 0.05;
    return better && (own || day_room(model, same_purse, frame, rule->day)) ? ROOM_DISPLACING
                                                                            : ROOM_NONE;
}

static void model_take(struct model *model, const struct kept *frame, enum room room,
                       size_t weakest) {
    const struct triage_rule_config *rule = &model->config->defined[0];
    bool own = rule->per_ms || rule->minute || rule->hour;
    if (room == ROOM_DISPLACING) {
        model->kept[weakest].value = frame->value;
        model->kept[weakest].id = frame->id;
    }
    if (room == ROOM_FREE || (room == ROOM_DISPLACING && !own)) {
        model->kept[model->count] = *frame;
        model->kept[model->count++].day_only = room == ROOM_DISPLACING;
    }
}

static uint32_t maybe(uint32_t most) {
    return roll(2) ? 1 + (uint32_t)roll(most) : 0;
}

static struct triage_config random_config(void) {
    struct triage_config config = mine((struct triage_rule_config){.kind = TRIAGE_BAND,
                                                                   .from = 0.15,
                                                                   .to = 1,
                                                                   .per_ms = maybe(30000),
                                                                   .minute = maybe(5),
                                                                   .hour = maybe(20),
                                                                   .day = maybe(60),
                                                                   .each = (int)roll(4)});
    config.budget_per_ms = maybe(20000);
    config.budget_day = maybe(80);
    return config;
}

/* A frame with one thing in it. */
static const struct frame_record *random_frame(struct line *line, int64_t at_us, struct kept *out) {
    static const char *const cameras[CAMERAS] = {"dock", "gate", "yard"};
    static const char *const labels[CLASSES] = {"ant", "bee", "cat"};
    const struct thing thing = {.confidence = 0.2f + (float)roll(700) / 1000,
                                .label = labels[roll(CLASSES)],
                                .box = {0.1, 0.1, 0.2, 0.2}};
    *out = (struct kept){.camera = (int)roll(CAMERAS),
                         .class_index = thing.label[0],
                         .sure = thing.confidence >= 0.6f,
                         .at_us = at_us};
    const struct frame_record *record = line_set(line, cameras[out->camera], at_us, &thing, 1);
    out->id = record->id;
    return record;
}

static unsigned displacings;

static void one_frame(struct triage *triage, struct model *model, int64_t at_us) {
    const struct triage_rule_config *rule = &model->config->defined[0];
    struct triage_verdict verdict;
    struct line line;
    struct kept frame;
    size_t weakest = 0;
    triage_decide(triage, random_frame(&line, at_us, &frame), &verdict);
    frame.run = model->run;
    frame.value = verdict.value;
    enum room room = model_room(model, &frame, &weakest);
    ck_assert_msg(verdict.keep == (room != ROOM_NONE) && verdict.over_budget == !verdict.keep &&
                      verdict.displaces == (room == ROOM_DISPLACING),
                  "at %lld: kept %d displaces %d, the model says %d (per %lld, %u/min, %u/h, %u/d, "
                  "each %d; general %lld, %u/d)",
                  (long long)at_us, verdict.keep, verdict.displaces, room, (long long)rule->per_ms,
                  rule->minute, rule->hour, rule->day, rule->each,
                  (long long)model->config->budget_per_ms, model->config->budget_day);
    ck_assert_str_eq(verdict.rule, "mine");
    if (verdict.displaces) {
        ck_assert_mem_eq(&verdict.displaced, &model->kept[weakest].id, sizeof(frame.id));
        displacings++;
    }
    ck_assert(!verdict.keep || verdict.due_boot_us == 0 || verdict.due_boot_us > at_us);
    model_take(model, &frame, room, weakest);
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
        one_frame(triage, model, at_us);
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
    ck_assert_uint_gt(displacings, (unsigned)streams);
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
