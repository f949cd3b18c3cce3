/* Simulation: the policy that was in force is found again to the frame; errors are as large as they
 * say. */
#include "inference/simulate.h"
#include "tests/unit/triage_case.h"

#define FRAMES 20000

static const struct frame_detection sure_thing = {
    .box = {0.1, 0.1, 0.2, 0.4}, .confidence = 0.9f, .class_index = 'd', .label = "dog"};

/* Frames of two cameras, one each `step_us`, every third with nothing in it. */
static struct frame_record *frames_make(size_t count, int64_t step_us) {
    static const char *const cameras[] = {"dock", "gate"};
    struct frame_record *records = mem_array(count, sizeof(*records));
    ck_assert_ptr_nonnull(records);
    for (size_t i = 0; i < count; i++) {
        struct frame_record *record = &records[i];
        snprintf(record->camera, sizeof(record->camera), "%s", cameras[i % 2]);
        record->captured.boot_us = (int64_t)i * step_us;
        record->captured.utc_us = NOON + record->captured.boot_us;
        frame_id_create(record->captured.utc_us, &record->id);
        record->media = MEDIA_JPEG;
        record->blob_bytes = 1000;
        record->tier = TIER_NONE;
        record->detection_count = i % 3 != 0;
        record->detections = i % 3 ? mem_dup(&sure_thing, sizeof(sure_thing)) : NULL;
    }
    return records;
}

static void frames_free(struct frame_record *records, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(records[i].detections);
    }
    free(records);
}

/* What the policy really did: its verdicts go into the records. */
static uint64_t frames_decide(const struct triage_config *config, struct frame_record *records,
                              size_t count) {
    struct triage *triage = triage_begin(config, NULL);
    uint64_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct triage_verdict verdict;
        triage_decide(triage, &records[i], &verdict);
        records[i].tier = verdict.tier;
        memcpy(records[i].rule, verdict.rule, sizeof(verdict.rule));
        kept += verdict.keep;
    }
    triage_destroy(triage);
    return kept;
}

static struct simulate_report *replay(const struct triage_config *config,
                                      struct frame_record *records, size_t count, double asked) {
    struct simulate_report *report = mem_alloc(sizeof(*report));
    struct err err = {0};
    ck_assert_ptr_nonnull(report);
    struct frame_record *own = mem_dup(records, count * sizeof(*records));
    ck_assert_ptr_nonnull(own);
    ck_assert_msg(simulate_run(config, own, count, asked, report, &err) == 0, "%s", err.msg);
    free(own);
    return report;
}

static struct triage_config policy(void) {
    return (struct triage_config){.confident = 0.6,
                                  .budget_per_ms = 3000,
                                  .budget_day = 400,
                                  .empty_fraction = 0.2,
                                  .rules = {"confident", "empty-sample"},
                                  .rule_count = 2};
}

START_TEST(the_policy_in_force_is_found_again) {
    const struct triage_config config = policy();
    struct frame_record *records = frames_make(FRAMES, SECOND / 5);
    uint64_t kept = frames_decide(&config, records, FRAMES);
    for (size_t i = 0; i + 7 < FRAMES; i += 7) { /* in no order */
        struct frame_record held = records[i];
        records[i] = records[FRAMES - 1 - i / 2];
        records[FRAMES - 1 - i / 2] = held;
    }
    struct simulate_report *report = replay(&config, records, FRAMES, 0);
    ck_assert_uint_eq(report->inputs, FRAMES);
    ck_assert_int_eq(report->from_us, NOON);
    ck_assert_int_eq(report->to_us, NOON + (FRAMES - 1) * SECOND / 5);
    ck_assert_uint_gt(kept, 1000);
    ck_assert_uint_eq(report->row_count, 2);
    for (size_t i = 0; i < report->row_count; i++) {
        const struct simulate_row *row = &report->rows[i];
        ck_assert_uint_gt(row->would.frames, 0);
        ck_assert_uint_eq(row->would.frames, row->kept.frames);
        ck_assert_uint_eq(row->would.bytes, 1000 * row->would.frames);
        ck_assert(row->asked.frames == (double)row->would.frames && row->asked.frames_error == 0);
    }
    ck_assert_uint_eq(report->total.would.frames, kept);
    ck_assert_uint_eq(report->total.kept.frames, kept);
    free(report);
    frames_free(records, FRAMES);
}
END_TEST

START_TEST(a_frame_noted_twice_counts_once_as_kept) {
    const struct triage_config config = policy();
    struct frame_record *records = frames_make(60, SECOND);
    free(records[2].detections);
    records[2] = records[1]; /* rejected at first, and rescued */
    records[2].detections = NULL;
    records[2].detection_count = 0;
    records[1].tier = TIER_UNANNOTATED;
    snprintf(records[1].rule, sizeof(records[1].rule), "flicker");
    struct simulate_report *report = replay(&config, records, 60, 0);
    ck_assert_uint_eq(report->inputs, 59);
    ck_assert_uint_eq(report->total.kept.frames, 1);
    free(report);
    frames_free(records, 60);
}
END_TEST

START_TEST(raw_pictures_count_as_the_files_they_would_be) {
    struct triage_config config = mine((struct triage_rule_config){.kind = TRIAGE_CONFIDENT});
    struct frame_record *records = frames_make(12, SECOND);
    for (size_t i = 0; i < 12; i += 4) { /* of the dock, all */
        records[i].media = MEDIA_NONE;
        records[i].blob_bytes = 3000000;
        records[i + 1].blob_bytes = 7000; /* of the gate */
    }
    free(records[3].detections);
    records[3] = records[4]; /* the one that was kept is in the index too, as a file */
    records[3].detections = NULL;
    records[3].detection_count = 0;
    records[3].media = MEDIA_JPEG;
    records[3].blob_bytes = 2000;
    records[4].tier = records[3].tier = TIER_ANNOTATED;
    struct simulate_report *report = replay(&config, records, 12, 0);
    ck_assert_uint_eq(report->inputs, 11);
    ck_assert_uint_eq(report->total.kept.bytes, 2000);
    ck_assert_uint_lt(report->total.would.bytes, 3000000);
    ck_assert_uint_gt(report->total.would.bytes, 8 * 1000);
    free(report);
    frames_free(records, 12);
}
END_TEST

START_TEST(frames_are_rescued_as_they_would_have_been) {
    struct triage_config config = mine((struct triage_rule_config){.kind = TRIAGE_FLICKER});
    struct frame_record *records = frames_make(12, SECOND);
    for (size_t i = 0; i < 12; i++) { /* all with the dog, but for one of the dock's */
        snprintf(records[i].camera, sizeof(records[i].camera), "dock");
        if (!records[i].detections) {
            records[i].detections = mem_dup(&sure_thing, sizeof(sure_thing));
        }
        records[i].detection_count = i != 5;
    }
    struct simulate_report *report = replay(&config, records, 12, 0);
    ck_assert_uint_eq(report->total.would.frames, 1);
    ck_assert_str_eq(report->rows[0].rule, "mine");
    ck_assert_int_eq(report->rows[0].tier, TIER_UNANNOTATED);
    free(report);
    frames_free(records, 12);
}
END_TEST

START_TEST(displaced_frames_are_not_kept) {
    struct triage_config config =
        mine((struct triage_rule_config){.kind = TRIAGE_BAND, .from = 0.1, .to = 1, .minute = 1});
    struct frame_record *records = frames_make(6, SECOND);
    for (size_t i = 0; i < 6; i++) { /* values rise */
        records[i].detection_count = i != 0 && i != 3;
        if (records[i].detections) {
            records[i].detections->confidence = 0.2f + 0.05f * (float)i;
        }
        records[i].blob_bytes = 100 + i;
    }
    records[1].tier = records[5].tier = TIER_UNANNOTATED; /* what really was kept */
    free(records[0].detections);
    records[0] = (struct frame_record){.id = records[1].id, .tier = TIER_NONE}; /* displaced */
    records[3].id.bytes[0] ^= 0xff;
    records[3].blob_bytes = 0; /* such a note whose frame is out of the record's reach */
    struct simulate_report *report = replay(&config, records, 6, 0);
    ck_assert_uint_eq(report->inputs, 4);
    ck_assert_uint_eq(report->total.kept.frames, 1);
    ck_assert_uint_eq(report->total.kept.bytes, 105);
    ck_assert_uint_eq(report->total.would.frames, 2); /* the last of each camera */
    ck_assert_uint_eq(report->total.would.bytes, 104 + 105);
    free(report);
    frames_free(records, 6);
}
END_TEST

START_TEST(a_reboot_in_between_opens_no_window) {
    struct triage_config config = policy();
    config.rule_count = 1;
    config.budget_per_ms = 60000;
    struct frame_record *records = frames_make(100, SECOND);
    for (size_t i = 50; i < 100; i++) {
        records[i].captured.boot_us -= 50 * SECOND;
        records[i].captured.boot_id[0] = 1;
    }
    struct simulate_report *report = replay(&config, records, 100, 0);
    ck_assert_uint_eq(report->total.would.frames, 4); /* two minutes begun, two cameras */
    free(report);
    frames_free(records, 100);
}
END_TEST

/* How often the interval of a recorded tenth holds what the whole brought. */
START_TEST(the_error_is_what_it_says) {
    struct triage_config config =
        mine((struct triage_rule_config){.kind = TRIAGE_SAMPLE, .fraction = 0.05});
    unsigned held = 0, trials = 60;
    for (unsigned trial = 0; trial < trials; trial++) {
        const size_t all = 10000, recorded = 2000;
        struct frame_record *records = frames_make(all, SECOND);
        struct simulate_report *whole = replay(&config, records, all, 0);
        struct simulate_report *part = replay(&config, records, recorded, (double)all);
        double truth = (double)whole->total.would.frames;
        const struct simulate_estimate *guess = &part->total.asked;
        ck_assert(guess->frames_error > 0 && guess->frames_error < 0.6 * truth);
        held += fabs(guess->frames - truth) <= guess->frames_error;
        ck_assert_double_eq_tol(guess->bytes, 1000 * guess->frames, 1e-3);
        free(whole);
        free(part);
        frames_free(records, all);
    }
    ck_assert_msg(held >= trials * 85 / 100, "%u of %u", held, trials); /* 57 expected, sigma 1.7 */
}
END_TEST

START_TEST(too_few_frames_have_no_error) {
    const struct triage_config config = policy();
    struct frame_record *records = frames_make(5, SECOND);
    struct simulate_report *report = replay(&config, records, 5, 100);
    ck_assert(report->total.day.frames_error < 0 && report->total.asked.frames_error < 0);
    ck_assert(report->total.asked.frames > 0);
    free(report);
    report = replay(&config, records, 1, 0);
    ck_assert(report->total.day.frames == 0 && report->total.day.frames_error < 0);
    free(report);
    frames_free(records, 5);
}
END_TEST

START_TEST(wrong_rules_and_no_memory_are_errors) {
    struct triage_config config = policy();
    struct frame_record *records = frames_make(30, SECOND);
    struct simulate_report *report = mem_alloc(sizeof(*report));
    struct err err = {0};
    long n = 0;
    for (bool fired = true; fired && n < 100; n++) {
        mem_fail_after(n);
        int code = simulate_run(&config, records, 30, 0, report, &err);
        fired = mem_fail_after(-1) < 0;
        ck_assert(code == 0 || (fired && code == ERR_NOMEM));
    }
    ck_assert_int_gt(n, 3);
    snprintf(config.rules[0], sizeof(config.rules[0]), "nothing-like-it");
    ck_assert_int_eq(simulate_run(&config, records, 30, 0, report, &err), ERR_CONFIG);
    free(report);
    frames_free(records, 30);
}
END_TEST

int main(void) {
    static const TTest *const *const tests[] = {
        &the_policy_in_force_is_found_again,
        &a_frame_noted_twice_counts_once_as_kept,
        &raw_pictures_count_as_the_files_they_would_be,
        &frames_are_rescued_as_they_would_have_been,
        &displaced_frames_are_not_kept,
        &a_reboot_in_between_opens_no_window,
        &the_error_is_what_it_says,
        &too_few_frames_have_no_error,
        &wrong_rules_and_no_memory_are_errors,
    };
    Suite *suite = suite_create("inference/simulate");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, *tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
