/* The store from its public door: keep, read back, pages, counters, reopening, the guard. */
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <fcntl.h>
#include <poll.h>

#define BLOB 9000

static struct case_dir dir;

static void setup(void) {
    case_dir_make(&dir);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

START_TEST(keeps_and_reads_back) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct store_ack ack = case_put(store, 1, BLOB);
    ck_assert_int_eq(ack.code, 0);
    ck_assert_uint_eq(ack.seq, 1);
    ck_assert(!ack.duplicate);
    ck_assert_uint_eq(case_put(store, 2, BLOB).seq, 2);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    case_check(reader, 1, BLOB);
    case_check(reader, 2, BLOB);
    struct frame_id id;
    ck_assert_int_eq(store_resolve(reader, "@last", &id, NULL), 0);
    store_reader_close(reader);
    store_close(store);
    struct store_fsck fsck = case_fsck(&dir, 0);
    ck_assert_uint_eq(fsck.frames, 2);
    ck_assert_uint_eq(fsck.blobs, 2);
}
END_TEST

START_TEST(same_bytes_are_stored_once_a_tier) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    for (unsigned round = 0; round < 2; round++) { /* in flight, and known to the index */
        struct store_frame first = case_frame(100 + round, BLOB);
        struct store_frame again = case_frame(200 + round, BLOB);
        struct store_frame other = case_frame(301 + round, BLOB);
        for (size_t i = 0; i < BLOB; i++) {
            again.blob[i] = other.blob[i] = first.blob[i];
        }
        first.record.tier = again.record.tier = TIER_ANNOTATED;
        other.record.tier = TIER_UNANNOTATED;
        ck_assert(!case_put_frame(store, first).duplicate);
        if (round) {
            ck_assert_int_eq(store_flush(store, NULL), 0);
        }
        ck_assert(case_put_frame(store, again).duplicate);
        ck_assert(!case_put_frame(store, other).duplicate);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.frames[TIER_ANNOTATED], 4);
    ck_assert_uint_eq(counts.frames[TIER_UNANNOTATED], 2);
    ck_assert_uint_eq(counts.blob_bytes[TIER_ANNOTATED], 2 * BLOB);
    store_close(store);
    struct store_fsck fsck = case_fsck(&dir, 0);
    ck_assert_uint_eq(fsck.blobs, 4);
}
END_TEST

START_TEST(survives_reopening) {
    struct store_config config = case_config(&dir);
    for (uint64_t round = 0; round < 4; round++) {
        struct store *store = case_open(&config);
        struct store_reader *reader = case_reader(store);
        for (uint64_t n = 0; n < round * 10; n++) {
            case_check(reader, n, BLOB);
        }
        store_reader_close(reader);
        case_put_many(store, round * 10, 10, BLOB);
        ck_assert_uint_eq(case_counts(store).seq, (round + 1) * 10);
        store_close(store);
        case_fsck(&dir, 0);
    }
}
END_TEST

START_TEST(large_and_tiny_frames) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    static const size_t sizes[] = {1, 7, 8, 9, 4096, 100000, 3000000, 2};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        ck_assert_int_eq(case_put(store, i, sizes[i]).code, 0);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        case_check(reader, i, sizes[i]);
    }
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(refuses_what_is_out_of_bounds) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct store_frame frame = case_frame(1, 100);
    struct err err = {0};
    frame.record.tier = TIER_NONE;
    ck_assert_int_eq(store_put(store, &frame, &err), ERR_INVALID);
    frame.record.tier = TIER_ANNOTATED;
    frame.record.blob_bytes = 0;
    ck_assert_int_eq(store_put(store, &frame, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(frame.blob); /* still ours */
    case_frame_free(&frame);
    store_close(store);
}
END_TEST

START_TEST(thumbnails_are_a_cache) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct store_frame frame = case_frame(5, BLOB);
    frame.thumb = case_blob(77, 3000);
    frame.thumb_bytes = 3000;
    struct store_ack ack = case_put_frame(store, frame);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    uint8_t *bytes = NULL;
    size_t size = 0;
    ck_assert_int_eq(store_thumb_read(reader, &ack.blob, &bytes, &size, NULL), 0);
    uint8_t *want = case_blob(77, 3000);
    ck_assert_uint_eq(size, 3000);
    ck_assert_int_eq(memcmp(bytes, want, size), 0);
    free(bytes);
    free(want);
    ack.blob.bytes[0] ^= 1;
    ck_assert_int_eq(store_thumb_read(reader, &ack.blob, &bytes, &size, NULL), ERR_NOT_FOUND);
    store_reader_close(reader);
    store_close(store);
    char command[512]; /* losing the cache loses nothing else */
    snprintf(command, sizeof(command), "%s/thumbs", dir.path);
    case_dir_remove(command);
    store = case_open(&config);
    reader = case_reader(store);
    case_check(reader, 5, BLOB);
    ack.blob.bytes[0] ^= 1;
    ck_assert_int_eq(store_thumb_read(reader, &ack.blob, &bytes, &size, NULL), ERR_NOT_FOUND);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

/* ---- pages ---- */

static size_t walk(struct store_reader *reader, const struct store_filter *filter, size_t limit,
                   uint64_t *seqs) {
    struct store_cursor after = {0};
    size_t count = 0;
    for (bool more = true; more;) {
        struct store_page *page = NULL;
        struct err err = {0};
        int code = store_page_read(reader, filter, &after, limit, 1, &page, &err);
        ck_assert_msg(code == 0, "%s", err.msg);
        for (size_t i = 0; i < page->count; i++) {
            seqs[count++] = page->rows[i].seq;
        }
        after = page->next;
        more = page->more;
        ck_assert(!more || page->count == limit);
        store_page_destroy(page);
    }
    return count;
}

static bool wanted(uint64_t n, const struct store_filter *filter) {
    static const char *const labels[] = {"boat", "gull", "crab", "buoy"};
    char camera[8];
    snprintf(camera, sizeof(camera), "cam%d", (int)(n % 3));
    bool good = !filter->by_tier || (n % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED) == filter->tier;
    good = good && (!filter->camera[0] || strcmp(filter->camera, camera) == 0);
    double best = 0.9;
    if (filter->label[0]) {
        best = -1;
        for (size_t i = 0; i < 2; i++) { /* the third is below the index floor */
            if (strcmp(labels[(n + i) % 4], filter->label) == 0) {
                best = 0.9 - 0.3 * (double)i;
            }
        }
        good = good && best > 0;
    }
    int64_t utc = CASE_T0 + (int64_t)n * 1000000;
    good = good && best + 1e-6 >= filter->confidence_min;
    good = good && (!filter->since_us || utc >= filter->since_us);
    return good && (!filter->until_us || utc < filter->until_us);
}

START_TEST(pages_by_every_filter) {
    enum { FRAMES = 120 };
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    case_put_many(store, 0, FRAMES, 200);
    struct store_reader *reader = case_reader(store);
    for (unsigned shape = 0; shape < 128; shape++) {
        struct store_filter filter = {0};
        filter.by_tier = shape & 1;
        filter.tier = TIER_UNANNOTATED;
        snprintf(filter.camera, sizeof(filter.camera), "%s", shape & 2 ? "cam1" : "");
        snprintf(filter.label, sizeof(filter.label), "%s", shape & 4 ? "gull" : "");
        filter.confidence_min = shape & 8 ? 0.7 : 0;
        filter.oldest_first = shape & 16;
        filter.since_us = shape & 32 ? CASE_T0 + 30 * 1000000 : 0;
        filter.until_us = shape & 64 ? CASE_T0 + 100 * 1000000 : 0;
        uint64_t seqs[FRAMES], want[FRAMES];
        size_t count = 0;
        for (uint64_t i = 0; i < FRAMES; i++) {
            uint64_t n = filter.oldest_first ? i : FRAMES - 1 - i;
            if (wanted(n, &filter)) {
                want[count++] = n + 1;
            }
        }
        ck_assert_msg(count > 0, "shape %u tests nothing", shape);
        ck_assert_uint_eq(walk(reader, &filter, 7, seqs), count);
        ck_assert_int_eq(memcmp(seqs, want, count * sizeof(seqs[0])), 0);
    }
    struct store_page *page;
    struct store_filter all = {0};
    ck_assert_int_eq(store_page_read(reader, &all, NULL, STORE_PAGE_MAX + 1, 1, &page, NULL),
                     ERR_INVALID);
    char **cameras, **labels;
    ck_assert_int_eq(store_names_read(reader, &cameras, &labels, NULL), 0);
    ck_assert_str_eq(cameras[0], "cam0");
    ck_assert_str_eq(cameras[2], "cam2");
    ck_assert_ptr_null(cameras[3]);
    ck_assert_str_eq(labels[0], "boat");
    ck_assert_ptr_null(labels[4]);
    free(cameras);
    free(labels);
    store_reader_close(reader);
    store_close(store);
}
END_TEST

START_TEST(pages_stay_in_step_while_frames_come) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    case_put_many(store, 0, 40, 200);
    struct store_reader *reader = case_reader(store);
    struct store_filter filter = {0};
    struct store_page *page = NULL;
    struct store_cursor after = {0};
    uint64_t expected = 40;
    for (uint64_t step = 0; step < 4; step++) {
        ck_assert_int_eq(store_page_read(reader, &filter, &after, 10, 1, &page, NULL), 0);
        for (size_t i = 0; i < page->count; i++) {
            ck_assert_uint_eq(page->rows[i].seq, expected--);
        }
        after = page->next;
        store_page_destroy(page);
        case_put_many(store, 100 + step, 1, 200); /* newer: before the page, so not seen */
    }
    ck_assert_uint_eq(expected, 0);
    store_reader_close(reader);
    store_close(store);
}
END_TEST

START_TEST(resolves_names) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct store_ack ack = case_put(store, 9, BLOB);
    case_put_many(store, 10, 3, BLOB);
    struct store_reader *reader = case_reader(store);
    char hex[HASH_HEX_SIZE], text[HASH_ID_SIZE];
    struct frame_id id;
    hash_hex(ack.blob.bytes, sizeof(ack.blob.bytes), hex);
    ck_assert_int_eq(store_resolve(reader, hex, &id, NULL), 0);
    ck_assert_int_eq(memcmp(&id, &ack.id, sizeof(id)), 0);
    hex[9] = '\0';
    ck_assert_int_eq(store_resolve(reader, hex, &id, NULL), 0);
    ck_assert_int_eq(memcmp(&id, &ack.id, sizeof(id)), 0);
    hex[7] = '\0';
    ck_assert_int_eq(store_resolve(reader, hex, &id, NULL), ERR_INVALID);
    ck_assert_int_eq(store_resolve(reader, frame_id_format(&ack.id, text), &id, NULL), 0);
    ck_assert_int_eq(store_resolve(reader, "00000000", &id, NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(store_resolve(reader, "no such name", &id, NULL), ERR_INVALID);
    ck_assert_int_eq(store_resolve(reader, "@last", &id, NULL), 0);
    store_reader_close(reader);
    store_close(store);
}
END_TEST

/* ---- who may open it ---- */

START_TEST(one_process_at_a_time) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config), *second = NULL;
    struct err err = {0};
    ck_assert_int_eq(store_open(&config, &second, &err), ERR_BUSY);
    ck_assert_ptr_null(second);
    struct store_fsck fsck;
    ck_assert_int_eq(store_fsck(dir.path, NULL, NULL, &fsck, &err), ERR_BUSY);
    store_close(store);
    store_close(case_open(&config));
}
END_TEST

START_TEST(refuses_a_store_that_is_not_mounted) {
    struct case_dir state, other;
    struct store *store = NULL;
    struct err err = {0};
    case_dir_make(&state);
    case_dir_make(&other);
    struct store_config config = case_config(&dir);
    config.state_dir = state.path;
    store_close(case_open(&config));
    config.dir = other.path; /* empty: the mount is missing */
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_REFUSED);
    ck_assert_ptr_nonnull(strstr(err.msg, "creel store adopt"));
    ck_assert_int_eq(rmdir(other.path), 0); /* and nothing was made in it */
    struct store_config elsewhere = config;
    elsewhere.state_dir = NULL;
    store_close(case_open(&elsewhere));
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_REFUSED); /* another store */
    ck_assert_int_eq(store_adopt(other.path, state.path, &err), 0);
    store_close(case_open(&config));
    config.dir = dir.path;
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_REFUSED);
    case_dir_remove(state.path);
    case_dir_remove(other.path);
}
END_TEST

START_TEST(a_damaged_identity_is_named) {
    struct store_config config = case_config(&dir);
    struct store *store = NULL;
    struct err err = {0};
    char path[512];
    store_close(case_open(&config));
    snprintf(path, sizeof(path), "%s/IDENTITY", dir.path);
    ck_assert_int_eq(fs_write_file_atomic(path, "garbage\n", 8, 0640, NULL), 0);
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.msg, "IDENTITY"));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_CORRUPT);
    const char later[] = "creel-store 9 01234567-89ab-4def-8123-456789abcdef\n";
    ck_assert_int_eq(fs_write_file_atomic(path, later, strlen(later), 0640, NULL), 0);
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_REFUSED);
}
END_TEST

START_TEST(state_is_kept) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    char value[16];
    size_t size = 99;
    ck_assert_int_eq(store_state_get(store, "taken", "k", 1, value, sizeof(value), &size, NULL),
                     ERR_NOT_FOUND);
    ck_assert_int_eq(store_state_put(store, "taken", "k", 1, "one", 3, NULL), 0);
    ck_assert_int_eq(store_state_put(store, "taken", "k", 1, "second", 6, NULL), 0);
    ck_assert_int_eq(store_state_put(store, "link", "k", 1, "", 0, NULL), 0);
    store_close(store);
    store = case_open(&config);
    ck_assert_int_eq(store_state_get(store, "taken", "k", 1, value, sizeof(value), &size, NULL), 0);
    ck_assert_uint_eq(size, 6);
    ck_assert_int_eq(memcmp(value, "second", 6), 0);
    ck_assert_int_eq(store_state_get(store, "taken", "k", 1, value, 5, &size, NULL), ERR_FULL);
    ck_assert_int_eq(store_state_get(store, "link", "k", 1, value, 5, &size, NULL), 0);
    ck_assert_uint_eq(size, 0);
    ck_assert_int_eq(store_state_put(store, "", "k", 1, "", 0, NULL), ERR_INVALID);
    store_close(store);
}
END_TEST

static void *put_some(void *arg) {
    struct store *store = arg;
    static _Atomic uint64_t next;
    for (unsigned i = 0; i < 50; i++) {
        struct store_ack ack = case_put(store, ++next, 3000);
        ck_assert_int_eq(ack.code, 0);
    }
    return NULL;
}

START_TEST(many_threads_share_groups) {
    struct store_config config = case_config(&dir);
    config.group_wait_ms = 2;
    struct store *store = case_open(&config);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_some, store), 0);
    }
    struct store_reader *reader = case_reader(store);
    for (unsigned i = 0; i < 50; i++) {
        struct store_page *page;
        struct store_filter all = {0};
        struct err err = {0};
        ck_assert_msg(store_page_read(reader, &all, NULL, 20, 1, &page, &err) == 0, "%s", err.msg);
        store_page_destroy(page);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t n = 1; n <= 200; n++) {
        case_check(reader, n, 3000);
    }
    struct store_stats stats;
    store_stats_get(store, &stats);
    ck_assert_uint_eq(stats.acked, 200);
    ck_assert_uint_eq(stats.failed, 0);
    ck_assert_uint_lt(stats.groups, 200);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_basic");
    TCase *tests = tcase_create("door");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    const TTest *const all[] = {
        keeps_and_reads_back,
        same_bytes_are_stored_once_a_tier,
        survives_reopening,
        large_and_tiny_frames,
        refuses_what_is_out_of_bounds,
        thumbnails_are_a_cache,
        pages_by_every_filter,
        pages_stay_in_step_while_frames_come,
        resolves_names,
        one_process_at_a_time,
        refuses_a_store_that_is_not_mounted,
        a_damaged_identity_is_named,
        state_is_kept,
        many_threads_share_groups,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
