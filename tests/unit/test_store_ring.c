/* The ring of outcomes: what was noted comes back in order, it goes round, and what a crash or
 * somebody else's bytes left in it is not taken for a note.
 */
#include "store/ring.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <fcntl.h>

static struct case_dir dir;
static struct store_config config;

static void setup(void) {
    case_dir_make_fast(&dir);
    config = case_config(&dir);
    config.quota_bytes = 64u << 20; /* the smallest ring */
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static void note(struct store *store, uint64_t n) {
    struct store_frame frame = case_frame(n, 10);
    struct store_outcome outcome = {
        .record = frame.record, .kept = n % 3 == 0, .over_budget = n % 3 == 1};
    outcome.record.tier = outcome.kept ? frame.record.tier : TIER_NONE;
    store_outcome_note(store, &outcome);
    case_frame_free(&frame);
}

struct seen {
    uint64_t first, last, count;
};

static bool see(void *ctx, const struct store_outcome *outcome) {
    struct seen *seen = ctx;
    uint64_t n;
    memcpy(&n, outcome->record.id.bytes + 8, sizeof(n));
    ck_assert(!seen->count || n == seen->last + 1);
    ck_assert_int_eq(outcome->kept, n % 3 == 0);
    ck_assert_int_eq(outcome->over_budget, n % 3 == 1);
    ck_assert_int_eq(outcome->record.tier == TIER_NONE, !outcome->kept);
    ck_assert_uint_eq(outcome->record.detection_count, 3);
    ck_assert_str_eq(outcome->record.camera, n % 3 == 0 ? "cam0" : n % 3 == 1 ? "cam1" : "cam2");
    seen->first = seen->count ? seen->first : n;
    seen->last = n;
    seen->count++;
    return true;
}

static struct seen look(struct store *store) {
    struct seen seen = {0};
    ck_assert_int_eq(store_outcomes_read(store, see, &seen, NULL), 0);
    return seen;
}

/* The ring is there after the first upkeep, and takes what waits each second. */
static struct store *open_with_ring(void) {
    char path[400];
    struct store *store = case_open(&config);
    snprintf(path, sizeof(path), "%s/" RING_NAME, dir.path);
    for (int i = 0; i < 500 && access(path, F_OK) < 0; i++) {
        usleep(10000);
    }
    ck_assert_int_eq(access(path, F_OK), 0);
    return store;
}

START_TEST(notes_come_back_in_order) {
    struct store *store = open_with_ring();
    for (uint64_t n = 0; n < 50; n++) {
        note(store, n);
    }
    struct seen seen = look(store);
    ck_assert_uint_eq(seen.count, 50);
    store_close(store);
    store = open_with_ring();
    for (uint64_t n = 50; n < 60; n++) {
        note(store, n);
    }
    seen = look(store);
    ck_assert_uint_eq(seen.count, 60);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(it_goes_round) {
    struct store *store = open_with_ring();
    uint64_t n = 0;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 100; i++) {
            note(store, n++);
        }
        look(store);
    }
    struct seen seen = look(store);
    ck_assert_uint_eq(seen.last, n - 1);
    ck_assert_uint_gt(seen.first, 0);
    ck_assert_uint_gt(seen.count, RING_BYTES_MIN / 2 / 400);
    store_close(store);
    store = open_with_ring();
    ck_assert_uint_eq(look(store).last, n - 1);
    store_close(store);
}
END_TEST

START_TEST(too_many_at_once_are_counted) {
    struct store *store = open_with_ring();
    uint64_t noted = 0, dropped = 0;
    for (uint64_t n = 0; n < 3000; n++) {
        note(store, n);
    }
    store_outcome_counts(store, &noted, &dropped);
    ck_assert_uint_eq(noted + dropped, 3000);
    ck_assert_uint_gt(dropped, 0);
    store_close(store);
}
END_TEST

START_TEST(garbage_is_no_note) {
    struct store *store = open_with_ring();
    char path[400];
    for (uint64_t n = 0; n < 20; n++) {
        note(store, n);
    }
    look(store);
    store_close(store);
    snprintf(path, sizeof(path), "%s/" RING_NAME, dir.path);
    for (unsigned at = 0; at < RING_BYTES_MIN; at += 977) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        uint8_t *garbage = case_blob(at, 3);
        ck_assert_int_eq(pwrite(fd, garbage, 3, at), 3);
        free(garbage);
        close(fd);
    }
    store = open_with_ring();
    struct seen seen = look(store);
    ck_assert_uint_le(seen.count, 20);
    store_close(store);
    ck_assert_int_eq(truncate(path, 12345), 0);
    store = open_with_ring();
    look(store);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_ring");
    TCase *tests = tcase_create("ring");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, notes_come_back_in_order);
    tcase_add_test(tests, it_goes_round);
    tcase_add_test(tests, too_many_at_once_are_counted);
    tcase_add_test(tests, garbage_is_no_note);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
