/* fsck that changes something: the index from the log alone, and a damaged store made whole. */
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <dirent.h>
#include <fcntl.h>

#define BLOB   20000u
#define FRAMES 40u

static struct case_dir dir;
static struct store_config config;

static void setup(void) {
    clock_trust(true);
    case_dir_make_fast(&dir);
    config = case_config(&dir);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static struct frame_id id_of(uint64_t n) {
    struct store_frame frame = case_frame(n, 1);
    struct frame_id id = frame.record.id;
    case_frame_free(&frame);
    return id;
}

/* Frames 0 to FRAMES - 1, of which 4 is pinned and 6 removed; owed to one remote. */
static void fill(void) {
    struct store *store = case_open(&config);
    struct store_remote cloud = case_remote("cloud", true);
    struct store_removal done;
    struct frame_id pinned = id_of(4), removed = id_of(6);
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    case_put_many(store, 0, FRAMES, BLOB);
    ck_assert_int_eq(store_pin_set(store, &pinned, true, NULL), 0);
    ck_assert_int_eq(store_remove(store, &removed, 1, true, false, &done, NULL), 0);
    struct store_reader *reader = case_reader(store);
    struct store_outbox_row row;
    size_t count;
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL),
                     0);
    ck_assert_int_eq(case_receipt(store, "cloud", &row, NULL), 0);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}

/* Where frame n's blob begins in its tier's file, by its first bytes. */
static off_t find_blob(uint64_t n, char path[512]) {
    char folder[400];
    snprintf(folder, sizeof(folder), "%s/log/%s", dir.path, n % 2 ? "unannotated" : "annotated");
    DIR *listing = opendir(folder);
    ck_assert_ptr_nonnull(listing);
    uint8_t *blob = case_blob(n, BLOB);
    off_t found = -1;
    for (const struct dirent *entry; found < 0 && (entry = readdir(listing));) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, 512, "%s/%.60s", folder, entry->d_name);
        struct buf bytes = BUF_INIT(64u << 20);
        ck_assert_int_eq(fs_read_file(path, &bytes, NULL), 0);
        const char *at = memmem(bytes.data, bytes.len, blob, 64);
        found = at ? at - bytes.data : -1;
        buf_finish(&bytes);
    }
    closedir(listing);
    free(blob);
    ck_assert_int_ge(found, 0);
    return found;
}

static void spoil(const char *path, off_t at, size_t size) {
    uint8_t junk[512];
    memset(junk, 0x5a, sizeof(junk));
    int fd = open(path, O_RDWR);
    ck_assert_int_eq(pwrite(fd, junk, size, at), (ssize_t)size);
    close(fd);
}

static void drop_index(void) {
    static const char *const names[] = {"index.db", "index.db-wal", "index.db-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", dir.path, names[i]);
        unlink(path);
    }
}

static struct store_repaired repair(void) {
    struct store_repaired out = {0};
    struct err err = {0};
    int code = store_repair(dir.path, 0.25, NULL, NULL, &out, &err);
    ck_assert_msg(code == 0, "repair: %s: %s", err.msg, err.cause);
    case_fsck(&dir, 0);
    return out;
}

/* All frames but `lost` and the removed one are there; `lost` is gone, and says so. */
static void check_all(uint64_t lost, bool known) {
    struct store *store = case_open(&config);
    struct store_reader *reader = case_reader(store);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t n = 0; n < FRAMES; n++) {
        struct frame_id id = id_of(n);
        struct store_row *row = NULL;
        if (n != 6 && n != lost) {
            case_check(reader, n, BLOB);
            continue;
        }
        int code = store_frame_get(reader, &id, &row, NULL);
        ck_assert_int_eq(code, n == 6 || known ? 0 : ERR_NOT_FOUND);
        if (!code) {
            ck_assert_int_eq(row->place, STORE_PLACE_GONE);
        }
        store_row_destroy(row);
    }
    case_put_many(store, 1000, 4, BLOB); /* and it goes on */
    case_check(reader, 1000, BLOB);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}

START_TEST(an_index_is_made_from_the_log_alone) {
    fill();
    struct store *store = case_open(&config);
    struct store_counts before = case_counts(store);
    ck_assert_int_eq(store_state_put(store, "test", "key", 3, "value", 5, NULL), 0);
    struct store_rebuilt out;
    struct err err = {0};
    ck_assert_int_eq(store_rebuild(dir.path, 0.25, NULL, NULL, &out, &err), ERR_BUSY);
    store_close(store);
    char path[400];
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    spoil(path, 0, 512);
    ck_assert_msg(store_rebuild(dir.path, 0.25, NULL, NULL, &out, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(out.frames[0] + out.frames[1], FRAMES - 1);
    case_fsck(&dir, 0);
    snprintf(path, sizeof(path), "%s/index.db.before-rebuild", dir.path);
    ck_assert_int_ne(access(path, F_OK), 0);
    store = case_open(&config);
    struct store_counts after = case_counts(store);
    ck_assert_int_eq(memcmp(before.frames, after.frames, sizeof(before.frames)), 0);
    ck_assert_int_eq(memcmp(before.blob_bytes, after.blob_bytes, sizeof(before.blob_bytes)), 0);
    ck_assert_uint_eq(before.remotes[0].pending, after.remotes[0].pending);
    ck_assert_uint_eq(after.remotes[0].done, 1);
    char value[8];
    size_t size;
    ck_assert_int_eq(store_state_get(store, "test", "key", 3, value, 8, &size, NULL), 0);
    store_close(store);
    check_all(FRAMES, false);
}
END_TEST

START_TEST(nothing_wrong_changes_nothing) {
    fill();
    struct store_repaired out = repair();
    ck_assert(out.clean);
    ck_assert(!out.index_made);
    check_all(FRAMES, false);
}
END_TEST

/* With the index, and with the log alone. */
START_TEST(a_damaged_payload_costs_one_frame) {
    char path[512];
    fill();
    if (_i) {
        drop_index();
    }
    off_t at = find_blob(11, path);
    spoil(path, at + 5000, 100);
    case_fsck(&dir, ERR_CORRUPT);
    struct store_repaired out = repair();
    ck_assert_uint_eq(out.places, 1);
    ck_assert_uint_eq(out.blobs_gone, 1);
    ck_assert_uint_eq(out.torn_files, 0);
    check_all(11, true);
    char copy[600];
    snprintf(copy, sizeof(copy), "%s/damaged", dir.path);
    ck_assert_int_eq(access(copy, F_OK), 0);
    ck_assert(repair().clean);
}
END_TEST

START_TEST(a_damaged_header_costs_one_frame) {
    char path[512];
    fill();
    if (_i) {
        drop_index();
    }
    off_t at = find_blob(8, path);
    spoil(path, at - 40, 8); /* within the header before it */
    case_fsck(&dir, ERR_CORRUPT);
    struct store_repaired out = repair();
    ck_assert_uint_eq(out.places, 1);
    ck_assert_uint_eq(out.blobs_gone, 1);
    check_all(8, true);
}
END_TEST

START_TEST(a_damaged_frame_record_costs_one_frame) {
    char path[512];
    fill();
    off_t at = find_blob(9, path);
    spoil(path, at + BLOB + 72 + 20, 8);
    case_fsck(&dir, ERR_CORRUPT);
    struct store_repaired out = repair();
    ck_assert_uint_eq(out.places, 1);
    ck_assert_uint_eq(out.blobs_gone, 0);
    check_all(9, false);
}
END_TEST

START_TEST(a_file_without_its_beginning_stays) {
    char path[512];
    fill();
    find_blob(3, path);
    spoil(path, 8, 60);
    case_fsck(&dir, ERR_CORRUPT);
    struct store_repaired out = repair();
    ck_assert_uint_eq(out.places, 1);
    check_all(FRAMES, false);
}
END_TEST

START_TEST(a_torn_tail_is_cut) {
    char path[512];
    fill();
    find_blob(FRAMES - 1, path);
    int fd = open(path, O_RDWR | O_APPEND);
    ck_assert_int_eq(write(fd, "half a record", 13), 13);
    close(fd);
    struct store_fsck found = case_fsck(&dir, 0);
    ck_assert_uint_eq(found.torn_tail_bytes, 13);
    struct store_repaired out = repair();
    ck_assert_uint_eq(out.torn_files, 1);
    ck_assert_uint_eq(out.torn_bytes, 13);
    ck_assert(!out.index_made);
    ck_assert_uint_eq(case_fsck(&dir, 0).torn_tail_bytes, 0);
    check_all(FRAMES, false);
}
END_TEST

/* A tombstone whose blob was punched is lost: the blob looks damaged then, and is said to be gone.
 */
START_TEST(a_damaged_meta_log_is_mended) {
    char folder[400], path[512] = "";
    fill();
    snprintf(folder, sizeof(folder), "%s/meta", dir.path);
    DIR *listing = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%.60s", folder, entry->d_name);
            break;
        }
    }
    closedir(listing);
    spoil(path, 130, 500); /* remotes, pin and more */
    case_fsck(&dir, ERR_CORRUPT);
    struct store_repaired out = repair();
    ck_assert_uint_ge(out.places, 1);
    check_all(FRAMES, false);
}
END_TEST

START_TEST(an_index_that_is_damaged_is_made_again) {
    char path[400];
    fill();
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    spoil(path, 8192, 512);
    case_fsck(&dir, ERR_CORRUPT);
    struct store_repaired out = repair();
    ck_assert(out.index_made);
    ck_assert_uint_eq(out.places, 0);
    check_all(FRAMES, false);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_repair");
    TCase *tests = tcase_create("repair");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, an_index_is_made_from_the_log_alone);
    tcase_add_test(tests, nothing_wrong_changes_nothing);
    tcase_add_loop_test(tests, a_damaged_payload_costs_one_frame, 0, 2);
    tcase_add_loop_test(tests, a_damaged_header_costs_one_frame, 0, 2);
    tcase_add_test(tests, a_damaged_frame_record_costs_one_frame);
    tcase_add_test(tests, a_file_without_its_beginning_stays);
    tcase_add_test(tests, a_torn_tail_is_cut);
    tcase_add_test(tests, a_damaged_meta_log_is_mended);
    tcase_add_test(tests, an_index_that_is_damaged_is_made_again);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
