/* Pages with every combination of filters, in looks so short that each page is made of many,
 * against the same rows picked one by one; labels; and blobs by range.
 */
#include "store/reader.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"

#define FRAMES 400
#define BLOB   300

static struct case_dir dir;
static struct store *store;
static struct store_reader *reader;

static void pin_and_label(uint64_t n, const struct frame_id *id) {
    struct store_label label = {.state = (enum store_label_state)(1 + n % 5), .utc_us = CASE_T0};
    snprintf(label.class_name, sizeof(label.class_name), "heron");
    snprintf(label.note, sizeof(label.note), "frame %u", (unsigned)n);
    if (n % 17 == 0) {
        ck_assert_int_eq(store_pin_set(store, id, true, NULL), 0);
    }
    if (n % 11 == 0) {
        ck_assert_int_eq(store_label_put(store, id, &label, NULL), 0);
    }
}

/* A third is confirmed, some are quarantined, the rest waits. */
static void sync_states(void) {
    struct store_outbox_row rows[FRAMES];
    size_t count = 0;
    ck_assert_int_eq(
        store_outbox_read(reader, "cloud", STORE_OLDEST, FRAMES, rows, &count, NULL, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        if (i % 3 == 0) {
            ck_assert_int_eq(case_receipt(store, "cloud", &rows[i], NULL), 0);
        } else if (i % 29 == 1) {
            ck_assert_int_eq(store_outbox_quarantine(store, "cloud", rows[i].tier, &rows[i].blob,
                                                     "a test", NULL),
                             0);
        }
    }
}

static void setup(void) {
    struct store_remote cloud = case_remote("cloud", true);
    case_dir_make_fast(&dir);
    struct store_config config = case_config(&dir);
    store = case_open(&config);
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    for (uint64_t n = 0; n < FRAMES; n++) {
        struct store_ack ack = case_put(store, n, BLOB);
        ck_assert_int_eq(ack.code, 0);
        ck_assert_int_eq(store_flush(store, NULL), 0);
        pin_and_label(n, &ack.id);
    }
    reader = case_reader(store);
    sync_states();
}

static void teardown(void) {
    store_reader_close(reader);
    store_close(store);
    case_dir_remove(dir.path);
}

/* ---- filters ---- */

static bool sync_fits(const struct store_row *row, enum store_sync_filter sync) {
    switch (sync) {
    case STORE_SYNC_PENDING:
        return row->owed && !row->quarantined;
    case STORE_SYNC_DONE:
        return row->receipts && !row->owed;
    case STORE_SYNC_QUARANTINED:
        return row->quarantined;
    default:
        return true;
    }
}

static double best_of(const struct frame_record *record, const char *label) {
    double best = -1;
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *detection = &record->detections[i];
        bool good = !*label || strcmp(detection->label, label) == 0;
        best = good && (double)detection->confidence > best ? (double)detection->confidence : best;
    }
    return best;
}

static bool fits(const struct store_row *row, const struct store_filter *filter) {
    const struct frame_record *record = &row->record;
    double best = best_of(record, filter->label);
    return (!filter->by_tier || record->tier == filter->tier) &&
           (!filter->camera[0] || strcmp(record->camera, filter->camera) == 0) &&
           (!filter->label[0] || best >= 0) && best >= filter->confidence_min &&
           (!filter->since_us || record->captured.utc_us >= filter->since_us) &&
           (!filter->until_us || record->captured.utc_us < filter->until_us) &&
           (!filter->pinned || row->pinned) &&
           (!filter->by_label_state || row->label_state == filter->label_state) &&
           (!filter->rule[0] || strcmp(record->rule, filter->rule) == 0) &&
           sync_fits(row, filter->sync);
}

/* The rows of all pages, in `seqs`. */
static size_t collect(const struct store_filter *filter, size_t limit, unsigned looks,
                      const struct store_filter *also, uint64_t *seqs) {
    struct store_cursor after = {0};
    size_t count = 0;
    for (bool more = true; more;) {
        struct store_page *page = NULL;
        struct err err = {0};
        int code = store_page_read(reader, filter, &after, limit, looks, &page, &err);
        ck_assert_msg(code == 0, "%s", err.msg);
        for (size_t i = 0; i < page->count; i++) {
            ck_assert_uint_lt(count, FRAMES);
            seqs[count] = page->rows[i].seq;
            count += fits(&page->rows[i], also);
        }
        more = page->more;
        after = page->next;
        store_page_destroy(page);
    }
    return count;
}

static void filter_draw(unsigned bits, struct store_filter *out) {
    *out =
        (struct store_filter){.by_tier = bits & 1,
                              .tier = TIER_UNANNOTATED,
                              .confidence_min = bits & 8 ? 0.7 : 0,
                              .sync = (enum store_sync_filter)(bits >> 4 & 3),
                              .pinned = bits & 64,
                              .by_label_state = bits & 128,
                              .label_state = bits % 3 ? STORE_LABEL_WRONG_CLASS : STORE_LABEL_NONE,
                              .oldest_first = bits & 256};
    snprintf(out->camera, sizeof(out->camera), "%s", bits & 2 ? "cam1" : "");
    snprintf(out->label, sizeof(out->label), "%s", bits & 4 ? "gull" : "");
    snprintf(out->rule, sizeof(out->rule), "%s", bits % 5 == 0 ? "unsure" : "");
    if (bits & 512) {
        out->since_us = CASE_T0 + 50 * 1000000;
        out->until_us = CASE_T0 + 350 * 1000000;
    }
}

START_TEST(every_combination_of_filters) {
    static uint64_t wanted[FRAMES], got[FRAMES];
    for (unsigned bits = 0; bits < 1024; bits++) {
        struct store_filter filter, all = {0};
        filter_draw(bits, &filter);
        all.oldest_first = filter.oldest_first;
        reader->looks = READER_LOOKS;
        size_t count = collect(&all, STORE_PAGE_MAX, 1, &filter, wanted);
        reader->looks = 1 + bits % 13;
        size_t found = collect(&filter, 1 + bits % 7, 1 + bits % 3, &all, got);
        ck_assert_msg(found == count && memcmp(got, wanted, count * sizeof(*got)) == 0,
                      "filter %#x: %zu rows, wanted %zu", bits, found, count);
    }
}
END_TEST

/* The hours of a filter hold as many frames as its pages. */
START_TEST(hours_add_up) {
    static uint64_t seqs[FRAMES];
    for (unsigned bits = 0; bits < 1024; bits += 7) {
        struct store_filter filter;
        struct store_hour hours[24];
        size_t count = 99;
        bool more = true;
        uint64_t sum = 0;
        filter_draw(bits, &filter);
        ck_assert_int_eq(store_hours_read(reader, &filter, hours, 24, &count, &more, NULL), 0);
        ck_assert(!more);
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(hours[i].utc_us % INT64_C(3600000000), 0);
            ck_assert_uint_gt(hours[i].frames, 0);
            sum += hours[i].frames;
        }
        ck_assert_uint_eq(sum, collect(&filter, STORE_PAGE_MAX, 1, &filter, seqs));
    }
}
END_TEST

START_TEST(a_look_is_bounded) {
    struct store_filter filter = {.confidence_min = 2};
    struct store_page *page = NULL;
    reader->looks = 10;
    ck_assert_int_eq(store_page_read(reader, &filter, NULL, 5, 1, &page, NULL), 0);
    ck_assert_uint_eq(page->count, 0);
    ck_assert(page->more);
    store_page_destroy(page);
    ck_assert_int_eq(store_page_read(reader, &filter, NULL, 5, FRAMES, &page, NULL), 0);
    ck_assert(!page->more);
    store_page_destroy(page);
}
END_TEST

/* ---- labels ---- */

static void label_check(uint64_t n, enum store_label_state wanted) {
    struct store_frame frame = case_frame(n, BLOB);
    struct store_label label;
    int code = store_label_get(reader, &frame.record.id, &label, NULL);
    ck_assert_int_eq(code, wanted ? 0 : ERR_NOT_FOUND);
    if (!code) {
        ck_assert_int_eq(label.state, wanted);
        ck_assert_str_eq(label.class_name, "heron");
    }
    case_frame_free(&frame);
}

static void label_say(uint64_t n, enum store_label_state state) {
    struct store_frame frame = case_frame(n, BLOB);
    struct store_label label = {.state = state, .utc_us = CASE_T0};
    snprintf(label.class_name, sizeof(label.class_name), "heron");
    ck_assert_int_eq(store_label_put(store, &frame.record.id, &label, NULL), 0);
    case_frame_free(&frame);
}

START_TEST(the_last_word_counts_and_a_rebuild_knows_it) {
    struct frame_id unknown = {{1, 2, 3}};
    struct store_label label = {.state = STORE_LABEL_ACCEPTED};
    ck_assert_int_eq(store_label_put(store, &unknown, &label, NULL), ERR_NOT_FOUND);
    label.state = STORE_LABEL_STATES;
    ck_assert_int_eq(store_label_put(store, &unknown, &label, NULL), ERR_INVALID);
    label_say(1, STORE_LABEL_REJECTED);
    label_say(1, STORE_LABEL_MISSED);
    label_say(2, STORE_LABEL_ACCEPTED);
    label_say(2, STORE_LABEL_NONE);
    store_reader_close(reader);
    store_close(store);
    ck_assert_int_eq(
        store_rebuild(dir.path, 0.25, NULL, NULL, &(struct store_rebuilt){{0}, 0}, NULL), 0);
    struct store_config config = case_config(&dir);
    store = case_open(&config);
    reader = case_reader(store);
    label_check(1, STORE_LABEL_MISSED);
    label_check(2, STORE_LABEL_NONE);
    label_check(22, STORE_LABEL_WRONG_CLASS);
}
END_TEST

/* ---- ranges ---- */

START_TEST(a_blob_by_range) {
    struct store_ack ack = case_put(store, 9000, 100000);
    CLEANUP(mem_free_at) uint8_t *whole = case_blob(9000, 100000);
    uint8_t part[4096];
    struct frame_hash sha = ack.blob;
    size_t size = 0;
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t from = 0; from < 100000; from += size) {
        size = sizeof(part);
        ck_assert_int_eq(store_blob_range(reader, TIER_ANNOTATED, &sha, from, part, &size, NULL),
                         0);
        ck_assert_uint_gt(size, 0);
        ck_assert_int_eq(memcmp(part, whole + from, size), 0);
    }
    size = sizeof(part);
    ck_assert_int_eq(store_blob_range(reader, TIER_ANNOTATED, &sha, 100000, part, &size, NULL), 0);
    ck_assert_uint_eq(size, 0);
    size = 1;
    ck_assert_int_eq(store_blob_range(reader, TIER_ANNOTATED, &sha, 100001, part, &size, NULL),
                     ERR_INVALID);
    struct store_removal removal;
    ck_assert_int_eq(store_remove(store, &ack.id, 1, true, false, &removal, NULL), 0);
    ck_assert_int_eq(store_blob_range(reader, TIER_ANNOTATED, &sha, 0, part, &size, NULL),
                     ERR_NOT_FOUND);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_page");
    TCase *pages = tcase_create("pages");
    tcase_add_checked_fixture(pages, setup, teardown);
    tcase_set_timeout(pages, 120);
    tcase_add_test(pages, every_combination_of_filters);
    tcase_add_test(pages, hours_add_up);
    tcase_add_test(pages, a_look_is_bounded);
    tcase_add_test(pages, the_last_word_counts_and_a_rebuild_knows_it);
    tcase_add_test(pages, a_blob_by_range);
    suite_add_tcase(suite, pages);
    return suite_run(suite);
}
