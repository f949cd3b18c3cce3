/* Triage: tables of cases for the rules and their borders, budgets, days, and the bounded number of
 * cameras. */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "inference/triage.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOON      INT64_C(1795262400000000) /* 2026-11-21T12:00:00Z */
#define DAY       (86400 * INT64_C(1000000))

#define NOTES_MAX 2048

/* A memory that lives longer than a triage. */
struct notes {
    char keys[NOTES_MAX][128];
    uint64_t counts[NOTES_MAX];
    size_t count;
    unsigned puts;
};

static size_t note_find(struct notes *notes, const char *key) {
    for (size_t i = 0; i < notes->count; i++) {
        if (strcmp(notes->keys[i], key) == 0) {
            return i;
        }
    }
    return notes->count;
}

static uint64_t count_get(void *ctx, const char *key) {
    struct notes *notes = ctx;
    size_t at = note_find(notes, key);
    return at < notes->count ? notes->counts[at] : 0;
}

static void count_put(void *ctx, const char *key, uint64_t count) {
    struct notes *notes = ctx;
    size_t at = note_find(notes, key);
    ck_assert_uint_lt(strlen(key), 128);
    if (at == notes->count) {
        ck_assert_uint_lt(at, NOTES_MAX);
        snprintf(notes->keys[at], sizeof notes->keys[at], "%s", key);
        notes->count++;
    }
    notes->counts[at] = count;
    notes->puts++;
}

static struct triage_config defaults(void) {
    return (struct triage_config){.confident = 0.60,
                                  .empty_fraction = 0,
                                  .rules = {"unsure", "confident", "empty-sample"},
                                  .rule_count = 3};
}

static struct triage *start(const struct triage_config *config, struct notes *notes) {
    struct triage_memory memory = {.ctx = notes, .count_get = count_get, .count_put = count_put};
    struct triage *triage = NULL;
    struct err err = {0};
    ck_assert_msg(triage_create(config, notes ? &memory : NULL, &triage, &err) == 0, "%s", err.msg);
    return triage;
}

struct thing {
    float confidence;
    uint16_t class_index;
    struct frame_box box;
};

#define HERE                                                                                       \
    { 0.1, 0.1, 0.2, 0.4 }
#define NEARLY                                                                                     \
    { 0.11, 0.1, 0.2, 0.4 } /* IoU with HERE 0.905 */
#define HALF                                                                                       \
    { 0.15, 0.1, 0.2, 0.4 } /* 0.6 */
#define THERE                                                                                      \
    { 0.6, 0.5, 0.2, 0.2 }

static void decide(struct triage *triage, const char *camera, int64_t utc_us, int64_t boot_us,
                   const struct thing *things, size_t count, struct triage_verdict *out) {
    struct frame_detection detections[8] = {0};
    struct frame_record record = {.detections = detections, .detection_count = count};
    ck_assert_uint_le(count, 8);
    snprintf(record.camera, sizeof record.camera, "%s", camera);
    record.captured.utc_us = utc_us;
    record.captured.boot_us = boot_us;
    frame_id_create(utc_us, &record.id);
    for (size_t i = 0; i < count; i++) {
        detections[i].confidence = things[i].confidence;
        detections[i].class_index = things[i].class_index;
        detections[i].box = things[i].box;
    }
    triage_decide(triage, &record, out);
}

START_TEST(rules_and_their_borders) {
    static const struct {
        const char *what;
        struct thing things[4];
        size_t count;
        enum frame_tier tier;
        const char *rule;
    } cases[] = {
        {"nothing at all", {{0, 0, HERE}}, 0, TIER_NONE, ""},
        {"only noise", {{0.149f, 0, HERE}}, 1, TIER_NONE, ""},
        {"at the floor", {{0.15f, 0, HERE}}, 1, TIER_UNANNOTATED, "unsure"},
        {"just below confident", {{0.5999f, 0, HERE}}, 1, TIER_UNANNOTATED, "unsure"},
        {"at confident", {{0.60f, 0, HERE}}, 1, TIER_ANNOTATED, "confident"},
        {"noise beside a sure one",
         {{0.9f, 0, HERE}, {0.1f, 1, THERE}},
         2,
         TIER_ANNOTATED,
         "confident"},
        {"one sure, one not", {{0.9f, 0, HERE}, {0.3f, 1, THERE}}, 2, TIER_UNANNOTATED, "unsure"},
        {"a shadow on a sure one",
         {{0.92f, 0, HERE}, {0.2f, 1, NEARLY}},
         2,
         TIER_ANNOTATED,
         "confident"},
        {"a real rival", {{0.9f, 0, HERE}, {0.5f, 1, NEARLY}}, 2, TIER_UNANNOTATED, "unsure"},
        {"half exactly is a rival",
         {{0.8f, 0, HERE}, {0.4f, 1, HERE}},
         2,
         TIER_UNANNOTATED,
         "unsure"},
        {"overlapping, not the same box",
         {{0.92f, 0, HERE}, {0.2f, 1, HALF}},
         2,
         TIER_UNANNOTATED,
         "unsure"},
        {"a shadow needs a sure one",
         {{0.5f, 0, HERE}, {0.2f, 1, HERE}},
         2,
         TIER_UNANNOTATED,
         "unsure"},
        {"not a number", {{NAN, 0, HERE}}, 1, TIER_NONE, ""},
        {"boxes without area",
         {{0.9f, 0, {0.1, 0.1, 0, 0}}, {0.3f, 1, {0.1, 0.1, 0, 0}}},
         2,
         TIER_UNANNOTATED,
         "unsure"},
    };
    struct triage_config config = defaults();
    struct triage *triage = start(&config, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct triage_verdict verdict;
        decide(triage, "dock", NOON, 1000, cases[i].things, cases[i].count, &verdict);
        ck_assert_msg(verdict.tier == cases[i].tier && strcmp(verdict.rule, cases[i].rule) == 0 &&
                          verdict.keep == (cases[i].tier != TIER_NONE),
                      "%s: tier %d rule '%s'", cases[i].what, verdict.tier, verdict.rule);
        ck_assert(!verdict.over_budget);
        ck_assert(verdict.value >= 0 && verdict.value <= 1);
        ck_assert(!verdict.keep || verdict.value > 0);
    }
    triage_destroy(triage);
}
END_TEST

static double value_of(struct triage *triage, const char *camera, const struct thing *things,
                       size_t count) {
    struct triage_verdict verdict;
    decide(triage, camera, NOON, 1000, things, count, &verdict);
    ck_assert(verdict.keep);
    return verdict.value;
}

START_TEST(unsure_is_worth_most_in_the_middle) {
    struct triage_config config = defaults();
    struct triage *triage = start(&config, NULL);
    double floor = value_of(triage, "dock", (struct thing[]){{0.15f, 0, HERE}}, 1);
    double low = value_of(triage, "dock", (struct thing[]){{0.25f, 0, HERE}}, 1);
    double middle = value_of(triage, "dock", (struct thing[]){{0.375f, 0, HERE}}, 1);
    double high = value_of(triage, "dock", (struct thing[]){{0.5f, 0, HERE}}, 1);
    double two = value_of(triage, "dock", (struct thing[]){{0.375f, 0, HERE}, {0.2f, 0, THERE}}, 2);
    ck_assert_double_eq_tol(floor, 0.04, 1e-6);
    ck_assert_double_eq_tol(middle, 0.84, 1e-6);
    ck_assert_double_eq_tol(low, high, 1e-6);
    ck_assert(floor < low && low < middle && middle < two && two <= 1);
    triage_destroy(triage);
}
END_TEST

START_TEST(confident_is_worth_more_when_rare) {
    struct triage_config config = defaults();
    struct triage *triage = start(&config, NULL);
    const struct thing car[] = {{0.9f, 2, HERE}};
    const struct thing truck[] = {{0.9f, 3, HERE}};
    const struct thing cars[] = {{0.9f, 2, HERE}, {0.9f, 2, THERE}};
    for (int i = 0; i < 5000; i++) {
        value_of(triage, "dock", car, 1);
    }
    double common = value_of(triage, "dock", car, 1);
    double more = value_of(triage, "dock", cars, 2);
    double rare = value_of(triage, "dock", truck, 1);
    ck_assert(common < more && more < rare && rare <= 0.60 + 1e-9);
    /* what one camera sees is not common for another */
    ck_assert_double_eq_tol(value_of(triage, "gate", car, 1), rare, 0.001);
    triage_destroy(triage);
}
END_TEST

static unsigned empty_kept(double fraction, unsigned frames) {
    struct triage_config config = defaults();
    config.empty_fraction = fraction;
    struct triage *triage = start(&config, NULL);
    unsigned kept = 0;
    for (unsigned i = 0; i < frames; i++) {
        struct triage_verdict verdict;
        decide(triage, "dock", NOON + i * 1000, i, NULL, 0, &verdict);
        kept += verdict.keep;
        if (verdict.keep) {
            ck_assert_int_eq(verdict.tier, TIER_UNANNOTATED);
            ck_assert_str_eq(verdict.rule, "empty-sample");
        }
    }
    triage_destroy(triage);
    return kept;
}

START_TEST(empty_frames_are_sampled) {
    ck_assert_uint_eq(empty_kept(0, 2000), 0);
    ck_assert_uint_eq(empty_kept(1, 2000), 2000);
    unsigned tenth = empty_kept(0.1, 20000); /* sigma is 42 */
    ck_assert_msg(tenth > 1750 && tenth < 2250, "%u of 20000", tenth);
}
END_TEST

START_TEST(sampling_goes_by_the_id_alone) {
    struct triage_config config = defaults();
    config.empty_fraction = 0.5;
    struct triage *one = start(&config, NULL);
    struct triage *two = start(&config, NULL);
    for (int i = 0; i < 200; i++) {
        struct frame_record record = {.camera = "dock"};
        struct triage_verdict a;
        struct triage_verdict b;
        frame_id_create(NOON + i, &record.id);
        record.captured.utc_us = NOON;
        triage_decide(one, &record, &a);
        triage_decide(two, &record, &b);
        triage_decide(two, &record, &b);
        ck_assert_int_eq(a.keep, b.keep);
    }
    triage_destroy(one);
    triage_destroy(two);
}
END_TEST

static const struct thing sure[] = {{0.9f, 0, HERE}};
static const struct thing unsure[] = {{0.3f, 0, HERE}};

START_TEST(window_budget_is_per_camera_and_tier) {
    struct triage_config config = defaults();
    config.budget_per_ms = 10000;
    struct triage *triage = start(&config, NULL);
    static const struct {
        const char *camera;
        const struct thing *things;
        int64_t boot_us;
        bool keep;
    } cases[] = {
        {"dock", sure, 1000000, true},     {"dock", sure, 1000001, false},
        {"dock", unsure, 1000002, true},   {"gate", sure, 1000003, true},
        {"dock", sure, 10999999, false},   {"dock", sure, 11000000, true},
        {"dock", sure, 10990000, false}, /* a little late in order */
        {"dock", unsure, 11000001, false}, {"dock", unsure, 11000002, true},
        {"dock", sure, 30000000, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct triage_verdict verdict;
        decide(triage, cases[i].camera, NOON, cases[i].boot_us, cases[i].things, 1, &verdict);
        ck_assert_msg(verdict.keep == cases[i].keep, "case %zu", i);
        ck_assert_int_eq(verdict.over_budget, !cases[i].keep);
        ck_assert_int_eq(verdict.tier == TIER_NONE, !cases[i].keep);
        ck_assert_str_eq(verdict.rule, cases[i].things == sure ? "confident" : "unsure");
    }
    triage_destroy(triage);
}
END_TEST

static unsigned kept_of(struct triage *triage, const char *camera, int64_t utc_us,
                        unsigned frames) {
    unsigned kept = 0;
    for (unsigned i = 0; i < frames; i++) {
        struct triage_verdict verdict;
        decide(triage, camera, utc_us, 1000 + i, sure, 1, &verdict);
        kept += verdict.keep;
    }
    return kept;
}

START_TEST(day_budget_survives_a_restart_and_ends_with_the_day) {
    CLEANUP(mem_free_at) struct notes *notes = mem_alloc(sizeof *notes);
    struct triage_config config = defaults();
    config.budget_day = 50;
    struct triage *triage = start(&config, notes);
    ck_assert_uint_eq(kept_of(triage, "dock", NOON, 30), 30);
    triage_destroy(triage);
    ck_assert_uint_eq(count_get(notes, "day/2026-11-21/dock/annotated"), 30);

    triage = start(&config, notes);
    ck_assert_uint_eq(kept_of(triage, "dock", NOON, 30), 20);
    ck_assert_uint_eq(kept_of(triage, "gate", NOON, 60), 50);
    ck_assert_uint_eq(kept_of(triage, "dock", NOON + DAY / 2 - 1, 10), 0); /* 23:59:59.999999 */
    ck_assert_uint_eq(kept_of(triage, "dock", NOON + DAY / 2, 60), 50);    /* 00:00 */
    ck_assert_uint_eq(kept_of(triage, "dock", NOON, 10), 0); /* a clock that was set back */
    triage_destroy(triage);
    ck_assert_uint_eq(count_get(notes, "day/2026-11-22/dock/annotated"), 50);
    ck_assert_uint_eq(count_get(notes, "day/2026-11-22/dock/unannotated"), 0);
}
END_TEST

START_TEST(a_crash_forgets_little_and_saving_is_rare) {
    CLEANUP(mem_free_at) struct notes *notes = mem_alloc(sizeof *notes);
    struct triage_config config = defaults();
    config.budget_day = 100000;
    struct triage *triage = start(&config, notes);
    kept_of(triage, "dock", NOON, 1000);
    uint64_t saved = count_get(notes, "day/2026-11-21/dock/annotated");
    ck_assert_uint_gt(saved, 1000 - 16);
    ck_assert_uint_lt(notes->puts, 100);
    triage_destroy(triage);
}
END_TEST

START_TEST(without_memory_the_day_is_counted_all_the_same) {
    struct triage_config config = defaults();
    config.budget_day = 5;
    struct triage *triage = start(&config, NULL);
    ck_assert_uint_eq(kept_of(triage, "dock", NOON, 20), 5);
    ck_assert_uint_eq(kept_of(triage, "dock", NOON + DAY, 20), 5);
    triage_destroy(triage);
}
END_TEST

START_TEST(the_camera_not_seen_for_longest_makes_room) {
    CLEANUP(mem_free_at) struct notes *notes = mem_alloc(sizeof *notes);
    struct triage_config config = defaults();
    config.budget_day = 10;
    config.budget_per_ms = 0;
    struct triage *triage = start(&config, notes);
    char name[FRAME_NAME_MAX + 1];
    kept_of(triage, "first", NOON, 4);
    kept_of(triage, "second", NOON, 4);
    for (int i = 0; i < TRIAGE_CAMERAS_MAX - 2; i++) {
        snprintf(name, sizeof name, "cam-%d", i);
        kept_of(triage, name, NOON, 1);
    }
    kept_of(triage, "first", NOON, 1); /* seen again: "second" is the oldest now */
    unsigned puts = notes->puts;
    kept_of(triage, "one-too-many", NOON, 1);
    ck_assert_uint_gt(notes->puts, puts);
    ck_assert_uint_eq(count_get(notes, "day/2026-11-21/second/annotated"), 4);
    /* what was forgotten comes back from the memory */
    ck_assert_uint_eq(kept_of(triage, "second", NOON, 20), 6);
    ck_assert_uint_eq(kept_of(triage, "first", NOON, 20), 5);
    triage_destroy(triage);
}
END_TEST

START_TEST(order_of_rules_is_the_users) {
    struct triage_config config = defaults();
    config.empty_fraction = 1;
    config.rule_count = 1;
    snprintf(config.rules[0], sizeof config.rules[0], "confident");
    struct triage *triage = start(&config, NULL);
    struct triage_verdict verdict;
    decide(triage, "dock", NOON, 1, unsure, 1, &verdict);
    ck_assert(!verdict.keep && !verdict.over_budget);
    ck_assert_str_eq(verdict.rule, "");
    decide(triage, "dock", NOON, 1, NULL, 0, &verdict);
    ck_assert(!verdict.keep);
    decide(triage, "dock", NOON, 1, sure, 1, &verdict);
    ck_assert(verdict.keep);
    triage_destroy(triage);

    config.rule_count = 0;
    triage = start(&config, NULL);
    decide(triage, "dock", NOON, 1, sure, 1, &verdict);
    ck_assert(!verdict.keep);
    triage_destroy(triage);
}
END_TEST

static void bad_config(struct triage_config config, const char *says) {
    struct triage *triage = NULL;
    struct err err = {0};
    ck_assert_int_eq(triage_create(&config, NULL, &triage, &err), ERR_CONFIG);
    ck_assert_msg(strstr(err.msg, says) != NULL, "'%s' lacks '%s'", err.msg, says);
    ck_assert_ptr_null(triage);
}

START_TEST(bad_configs_are_named) {
    struct triage_config config = defaults();
    config.confident = 0;
    bad_config(config, "triage.confident");
    config.confident = 1;
    bad_config(config, "triage.confident");
    config.confident = NAN;
    bad_config(config, "triage.confident");
    config = defaults();
    config.uncertain_floor = 0.6;
    bad_config(config, "uncertain_floor");
    config.uncertain_floor = -0.1;
    bad_config(config, "uncertain_floor");
    config = defaults();
    config.empty_fraction = 1.01;
    bad_config(config, "empty_fraction");
    config = defaults();
    config.budget_per_ms = -1;
    bad_config(config, "budget.per");
    config = defaults();
    snprintf(config.rules[1], sizeof config.rules[1], "confidant");
    bad_config(config, "'confidant'; known are: unsure, confident, empty-sample");
    config = defaults();
    snprintf(config.rules[2], sizeof config.rules[2], "unsure");
    bad_config(config, "twice");
    config = defaults();
    config.rule_count = TRIAGE_RULES_MAX + 1;
    bad_config(config, "at most");
}
END_TEST

START_TEST(no_memory_is_an_error) {
    struct triage_config config = defaults();
    struct triage *triage = NULL;
    for (long n = 0; n < 2; n++) {
        mem_fail_after(n);
        ck_assert_int_eq(triage_create(&config, NULL, &triage, NULL), ERR_NOMEM);
        mem_fail_after(-1);
    }
    triage_destroy(NULL);
}
END_TEST

int main(void) {
    static const TTest *const *const tests[] = {
        &rules_and_their_borders,
        &unsure_is_worth_most_in_the_middle,
        &confident_is_worth_more_when_rare,
        &empty_frames_are_sampled,
        &sampling_goes_by_the_id_alone,
        &window_budget_is_per_camera_and_tier,
        &day_budget_survives_a_restart_and_ends_with_the_day,
        &a_crash_forgets_little_and_saving_is_rare,
        &without_memory_the_day_is_counted_all_the_same,
        &the_camera_not_seen_for_longest_makes_room,
        &order_of_rules_is_the_users,
        &bad_configs_are_named,
        &no_memory_is_an_error,
    };
    Suite *suite = suite_create("inference/triage");
    TCase *tcase = tcase_create("all");
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, *tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
