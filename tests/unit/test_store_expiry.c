/* What will go for its age, and when. */
#include "tests/suite.h"
#include "tests/unit/store_opened.h"

#define SIZE   1000u
#define HOUR   (3600 * INT64_C(1000000))
#define DAY_MS (24 * INT64_C(3600000))
#define SPANS  4

static struct store_expiry spans[SPANS];
static struct store_tier_config limits;

static void setup(void) {
    clock_trust(true);
    case_dir_make_fast(&dir);
    config = case_config(&dir);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

/* Asks within an hour, a day, a week and 30 days. */
static void ask(enum frame_tier tier) {
    static const int64_t within_us[SPANS] = {HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR};
    struct err err = {0};
    ck_assert_msg(store_expiry_read(reader, tier, within_us, SPANS, spans, &limits, &err) == 0,
                  "%s", err.msg);
}

static void expect(enum frame_tier tier, uint64_t hour, uint64_t day, uint64_t week,
                   uint64_t month) {
    const uint64_t wanted[SPANS] = {hour, day, week, month};
    ask(tier);
    for (size_t i = 0; i < SPANS; i++) {
        ck_assert_msg(spans[i].blobs == wanted[i], "span %zu: %llu", i,
                      (unsigned long long)spans[i].blobs);
        ck_assert_uint_eq(spans[i].bytes, wanted[i] * SIZE);
        ck_assert(!spans[i].about && !spans[i].more);
    }
}

static void receipt(uint64_t n) {
    struct store_frame frame = case_frame(n, SIZE);
    struct store_receipt receipt = {.remote = "cloud",
                                    .tier = frame.record.tier,
                                    .kind = STORE_RECEIPT_STORED,
                                    .key = "key",
                                    .utc_us = clock_utc_us()};
    hash_sha256(frame.blob, SIZE, &receipt.blob);
    ck_assert_int_eq(store_receipt_put(store, &receipt, 1, NULL), 0);
    case_frame_free(&frame);
}

START_TEST(by_age) {
    config.tiers[TIER_ANNOTATED].max_age_ms = 2 * DAY_MS;
    config.tiers[TIER_UNANNOTATED].max_age_ms = DAY_MS / 48;
    open_all();
    case_put_many(store, 1, 9, SIZE); /* 4 of them annotated */
    ck_assert_int_eq(store_flush(store, NULL), 0);
    expect(TIER_ANNOTATED, 0, 0, 4, 4);
    expect(TIER_UNANNOTATED, 5, 5, 5, 5);
    ck_assert_int_eq(limits.max_age_ms, DAY_MS / 48);
    struct frame_id pinned = id_of(2);
    ck_assert_int_eq(store_pin_set(store, &pinned, true, NULL), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    expect(TIER_ANNOTATED, 0, 0, 3, 3);
    close_all();
}
END_TEST

START_TEST(without_limits) {
    open_all();
    case_put_many(store, 1, 4, SIZE);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    expect(TIER_ANNOTATED, 0, 0, 0, 0);
    close_all();
}
END_TEST

/* What both limits take counts once, where it goes first; what is owed does not go. */
START_TEST(by_upload) {
    struct store_remote cloud = {.name = "cloud", .required = true};
    config.tiers[TIER_UNANNOTATED] =
        (struct store_tier_config){.max_age_ms = 10 * DAY_MS, .keep_after_upload_ms = DAY_MS / 48};
    config.tiers[TIER_ANNOTATED] =
        (struct store_tier_config){.max_age_ms = DAY_MS / 2, .keep_after_upload_ms = 3 * DAY_MS};
    open_all();
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    case_put_many(store, 1, 8, SIZE);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    expect(TIER_UNANNOTATED, 0, 0, 0, 0);
    for (uint64_t n = 1; n <= 6; n++) { /* 7 and 8 stay owed */
        receipt(n);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    expect(TIER_UNANNOTATED, 3, 3, 3, 3);
    expect(TIER_ANNOTATED, 0, 3, 3, 3);
    close_all();
}
END_TEST

START_TEST(more_than_is_looked_at) {
    enum { MANY = 2 * (STORE_EXPIRY_LOOKS + 100) };
    config.tiers[TIER_ANNOTATED].max_age_ms = 2 * DAY_MS;
    config.tiers[TIER_UNANNOTATED].max_age_ms = 2 * DAY_MS;
    open_all();
    case_put_many(store, 1, MANY, SIZE);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ask(TIER_ANNOTATED);
    ck_assert(!spans[0].about && !spans[1].about && !spans[1].blobs);
    ck_assert(spans[2].about && spans[3].about);
    ck_assert_uint_eq(spans[2].blobs, MANY / 2); /* the files are all that old */
    ck_assert_uint_ge(spans[2].bytes, MANY / 2 * SIZE);
    close_all();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store expiry");
    TCase *cases = tcase_create("expiry");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, by_age);
    tcase_add_test(cases, without_limits);
    tcase_add_test(cases, by_upload);
    tcase_add_test(cases, more_than_is_looked_at);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
