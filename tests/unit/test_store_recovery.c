/* What a crash, a bad sector or a careless hand leaves behind, and what opening and fsck make of
 * it. */
#include "store/layout.h"
#include "store/segment.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define BLOB 700

static struct case_dir dir;

static void setup(void) {
    case_dir_make(&dir);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

/* The last file of a stream's folder. */
static void last_file(const char *folder, char *out, size_t room) {
    char path[400], best[256] = "";
    snprintf(path, sizeof(path), "%s/%s", dir.path, folder);
    DIR *listing = opendir(path);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, best) > 0) {
            snprintf(best, sizeof(best), "%s", entry->d_name);
        }
    }
    closedir(listing);
    ck_assert_str_ne(best, "");
    snprintf(out, room, "%s/%s", path, best);
}

static off_t size_of(const char *path) {
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    return info.st_size;
}

static void flip(const char *path, off_t at, unsigned char mask) {
    unsigned char byte;
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= mask;
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void copy_file(const char *from, const char *to) {
    struct buf bytes = BUF_INIT(64u << 20);
    ck_assert_int_eq(fs_read_file(from, &bytes, NULL), 0);
    ck_assert_int_eq(fs_write_file_atomic(to, bytes.data, bytes.len, 0640, NULL), 0);
    buf_finish(&bytes);
}

static void drop_index(void) {
    static const char *const names[] = {"index.db", "index.db-wal", "index.db-shm"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", dir.path, names[i]);
        unlink(path);
    }
}

static void check_frames(const struct store_config *config, uint64_t count) {
    struct store *store = case_open(config);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    for (uint64_t n = 0; n < count; n++) {
        case_check(reader, n * 2, BLOB);
    }
    struct store_counts counts = case_counts(store);
    ck_assert_uint_eq(counts.frames[TIER_ANNOTATED], count);
    store_reader_close(reader);
    store_close(store);
}

#define FRAMES 4

/* FRAMES frames, one a group. `index_before` is the index that has not seen the last one; `before`
 * is where the last group begins. The log is left in `path`, a copy of it in `whole`. */
struct torn {
    char path[700], whole[800], index[400], index_before[500];
    off_t before, end;
    uint8_t *bytes; /* of the whole file */
    struct frame_id uuid;
};

static void torn_prepare(struct torn *torn, const struct store_config *config) {
    struct store *store = case_open(config);
    for (uint64_t n = 0; n + 1 < FRAMES; n++) {
        ck_assert_int_eq(case_put(store, n * 2, BLOB).code, 0);
    }
    store_uuid(store, &torn->uuid);
    store_close(store);
    last_file("log/annotated", torn->path, sizeof(torn->path));
    snprintf(torn->index, sizeof(torn->index), "%s/index.db", dir.path);
    snprintf(torn->index_before, sizeof(torn->index_before), "%s.before", torn->index);
    copy_file(torn->index, torn->index_before);
    torn->before = size_of(torn->path);
    store = case_open(config);
    ck_assert_int_eq(case_put(store, (FRAMES - 1) * 2, BLOB).code, 0);
    store_close(store);
    torn->end = size_of(torn->path);
    ck_assert_int_gt(torn->end, torn->before);
    snprintf(torn->whole, sizeof(torn->whole), "%s/whole", dir.path);
    copy_file(torn->path, torn->whole);
    torn->bytes = malloc((size_t)torn->end);
    int fd = open(torn->path, O_RDONLY);
    ck_assert_int_eq(pread(fd, torn->bytes, (size_t)torn->end, 0), torn->end);
    close(fd);
}

/* Cuts at `cut`; with `zeros` what lies behind is zero instead (its size was durable, its data was
 * not). Is the last frame still whole? Zeros at the very end are padding. */
static bool torn_cut(const struct torn *torn, off_t cut, bool zeros) {
    copy_file(torn->whole, torn->path);
    ck_assert_int_eq(truncate(torn->path, cut), 0);
    ck_assert_int_eq(zeros ? truncate(torn->path, torn->end) : 0, 0);
    off_t last = torn->end;
    while (zeros && last > cut && torn->bytes[last - 1] == 0) {
        last--;
    }
    return cut >= last;
}

/* Every byte, by the function that finds the tail. */
START_TEST(torn_tail_at_every_byte) {
    struct store_config config = case_config(&dir);
    struct torn torn;
    uint64_t number;
    torn_prepare(&torn, &config);
    ck_assert(store__segment_name_parse(TIER_ANNOTATED, strrchr(torn.path, '/') + 1, &number));
    for (off_t cut = torn.before; cut <= torn.end; cut++) {
        struct segment_scan scan = SEGMENT_SCAN_INIT;
        struct segment_tail tail;
        struct err err = {0};
        bool whole = torn_cut(&torn, cut, _i);
        ck_assert_int_eq(store__scan_open(&scan, torn.path, number, torn.uuid.bytes, &err), 0);
        int code = store__segment_tail(&scan, 0, 0, &tail, &err);
        ck_assert_msg(code == 0, "%s", err.msg);
        ck_assert_uint_eq(tail.damaged, 0);
        /* A blob that is whole may stay without its frame: then it is the last whole record. */
        ck_assert_uint_ge(tail.end, (uint64_t)torn.before);
        ck_assert_uint_eq(tail.end == (uint64_t)torn.end, whole);
        ck_assert_uint_eq(tail.next_seq, whole ? FRAMES + 1 : FRAMES);
        store__scan_close(&scan);
    }
    free(torn.bytes);
}
END_TEST

/* Some bytes, by the whole store: fsck before, opening, every frame, fsck after. */
START_TEST(a_torn_store_opens) {
    struct store_config config = case_config(&dir);
    struct torn torn;
    bool zeros = _i & 1, with_index = _i & 2;
    torn_prepare(&torn, &config);
    for (off_t cut = torn.before; cut <= torn.end; cut += (torn.end - torn.before) / 7) {
        bool whole = torn_cut(&torn, cut, zeros);
        drop_index();
        if (with_index) {
            copy_file(torn.index_before, torn.index);
        }
        struct store_fsck fsck = case_fsck(&dir, 0);
        ck_assert_uint_eq(fsck.frames, FRAMES - !whole);
        ck_assert_uint_eq(fsck.damaged, 0);
        check_frames(&config, FRAMES - !whole);
        ck_assert_uint_eq(case_fsck(&dir, 0).torn_tail_bytes, 0);
    }
    free(torn.bytes);
}
END_TEST

/* A power cut may keep the end of the last group and lose its beginning. What is whole behind the
 * hole belongs to the same group, so it is a tear; the same hole in an earlier group is damage. */
START_TEST(a_hole_is_judged_by_its_group) {
    struct store_config config = case_config(&dir);
    struct torn torn = {0};
    struct segment_scan scan = SEGMENT_SCAN_INIT;
    struct segment_tail tail;
    struct record_at found;
    uint64_t number, first = 0, records = 0, end = 0;
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < 100; n++) { /* they gather while the first ones are made durable */
        struct store_frame frame = case_frame(n * 2, BLOB);
        ck_assert_int_eq(store_put(store, &frame, NULL), 0);
    }
    store_uuid(store, &torn.uuid);
    store_close(store);
    last_file("log/annotated", torn.path, sizeof(torn.path));
    ck_assert(store__segment_name_parse(TIER_ANNOTATED, strrchr(torn.path, '/') + 1, &number));
    ck_assert_int_eq(store__scan_open(&scan, torn.path, number, torn.uuid.bytes, NULL), 0);
    while ((records < 6 || !first) && !store__scan_next(&scan, false, &found, NULL)) {
        records = found.header.group_at == first ? records + 1 : 1;
        first = found.header.group_at;
    }
    ck_assert_uint_ge(records, 6); /* a group of several frames, not the first one */
    while (found.header.group_at == first) {
        end = scan.at;
        if (store__scan_next(&scan, false, &found, NULL)) {
            break;
        }
    }
    ck_assert_uint_gt(first, 0);
    uint64_t last = scan.end;
    store__scan_close(&scan);
    flip(torn.path, (off_t)first + 3, 0xff);
    ck_assert_int_eq(store__scan_open(&scan, torn.path, number, torn.uuid.bytes, NULL), 0);
    ck_assert_int_eq(store__segment_tail(&scan, 0, 0, &tail, NULL), 0);
    if (end < last) { /* later groups prove that it was durable */
        ck_assert_uint_eq(tail.damaged, 1);
        ck_assert_uint_eq(tail.end, last);
    }
    scan.end = end;
    ck_assert_int_eq(store__segment_tail(&scan, 0, 0, &tail, NULL), 0);
    ck_assert_uint_eq(tail.damaged, 0);
    ck_assert_uint_eq(tail.end, first);
    /* The index saw it, so it is no tear, and nobody walks there again. */
    ck_assert_int_eq(store__segment_tail(&scan, end, 0, &tail, NULL), 0);
    ck_assert_uint_eq(tail.damaged, 0);
    ck_assert_uint_eq(tail.end, end);
    /* A position where no record begins costs nothing but a walk: it makes no tear either. */
    ck_assert_int_eq(store__segment_tail(&scan, end - 8, 0, &tail, NULL), 0);
    ck_assert_uint_eq(tail.damaged, 1);
    ck_assert_uint_eq(tail.end, end);
    store__scan_close(&scan);
}
END_TEST

/* After a tear the store goes on, and what it then keeps is found again. */
START_TEST(goes_on_after_a_tear) {
    struct store_config config = case_config(&dir);
    char path[700];
    struct store *store = case_open(&config);
    ck_assert_int_eq(case_put(store, 0, BLOB).code, 0);
    ck_assert_int_eq(case_put(store, 2, BLOB).code, 0);
    store_close(store);
    last_file("log/annotated", path, sizeof(path));
    drop_index();
    ck_assert_int_eq(truncate(path, size_of(path) - 5), 0);
    store = case_open(&config);
    struct store_ack ack = case_put(store, 2, BLOB);
    ck_assert_int_eq(ack.code, 0);
    ck_assert_uint_eq(ack.seq, 2);
    store_close(store);
    case_fsck(&dir, 0);
    drop_index();
    check_frames(&config, 2);
}
END_TEST

/* Every byte of a durable record counts: header, payload and padding of a blob and of a frame
 * record. */
START_TEST(fsck_sees_every_flipped_byte) {
    char path[700];
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < 3; n++) {
        ck_assert_int_eq(case_put(store, n * 2, 61).code, 0);
    }
    store_close(store);
    last_file("log/annotated", path, sizeof(path));
    off_t end = size_of(path);
    ck_assert_int_lt(end, 4000);
    for (off_t at = 0; at < end; at++) {
        flip(path, at, 0x10);
        struct store_fsck fsck = case_fsck(&dir, ERR_CORRUPT);
        ck_assert_uint_eq(fsck.damaged, 1);
        ck_assert_uint_eq(fsck.torn_tail_bytes, 0);
        flip(path, at, 0x10);
    }
}
END_TEST

START_TEST(a_bad_sector_costs_one_frame) {
    char path[700];
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < 10; n++) {
        ck_assert_int_eq(case_put(store, n * 2, BLOB).code, 0);
    }
    store_close(store);
    last_file("log/annotated", path, sizeof(path));
    off_t middle = size_of(path) / 2;
    flip(path, middle, 0xff);
    drop_index(); /* a rebuild has to step over it */
    store = case_open(&config);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    unsigned good = 0;
    for (uint64_t n = 0; n < 10; n++) {
        struct store_frame want = case_frame(n * 2, BLOB);
        struct store_row *row = NULL;
        uint8_t *bytes = NULL;
        size_t size;
        if (!store_frame_get(reader, &want.record.id, &row, NULL)) {
            int code =
                store_blob_read(reader, TIER_ANNOTATED, &row->record.blob, &bytes, &size, NULL);
            ck_assert(code == 0 || code == ERR_CORRUPT || code == ERR_NOT_FOUND);
            good += code == 0;
        }
        free(bytes);
        store_row_destroy(row);
        case_frame_free(&want);
    }
    ck_assert_uint_eq(good, 9);
    ck_assert_int_eq(case_put(store, 100, BLOB).code, 0);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, ERR_CORRUPT);
}
END_TEST

static unsigned set_aside(void) {
    unsigned count = 0;
    DIR *listing = opendir(dir.path);
    for (struct dirent *entry; (entry = readdir(listing));) {
        count += strncmp(entry->d_name, "index.db.damaged", 16) == 0 &&
                 !strstr(entry->d_name, "-wal") && !strstr(entry->d_name, "-shm");
    }
    closedir(listing);
    return count;
}

START_TEST(an_index_is_made_again) {
    enum { MANY = 60 };
    char path[400];
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < MANY; n++) {
        ck_assert_int_eq(case_put(store, n * 2, BLOB).code, 0);
    }
    store_close(store);
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    if (_i == 0) {
        ck_assert_int_eq(unlink(path), 0);
    } else if (_i == 1) { /* not a database */
        ck_assert_int_eq(fs_write_file_atomic(path, "no database at all", 18, 0640, NULL), 0);
    } else if (_i == 2) { /* cut in half */
        ck_assert_int_eq(truncate(path, size_of(path) / 2 / 4096 * 4096), 0);
    } else if (_i == 3) { /* another store's */
        struct case_dir other;
        char theirs[400];
        case_dir_make(&other);
        struct store_config elsewhere = case_config(&other);
        store_close(case_open(&elsewhere));
        snprintf(theirs, sizeof(theirs), "%s/index.db", other.path);
        copy_file(theirs, path);
        case_dir_remove(other.path);
    } else { /* of an earlier life: it has not seen the last frames, and must catch up */
        char old[500];
        snprintf(old, sizeof(old), "%s.old", path);
        copy_file(path, old);
        store = case_open(&config);
        ck_assert_int_eq(case_put(store, MANY * 2, BLOB).code, 0);
        store_close(store);
        copy_file(old, path);
        check_frames(&config, MANY + 1);
        ck_assert_uint_eq(set_aside(), 0);
        return;
    }
    check_frames(&config, MANY);
    ck_assert_uint_eq(set_aside(), _i == 0 ? 0 : 1);
    case_fsck(&dir, 0);
}
END_TEST

/* An index that knows more than the log is not believed: the log was cut behind its back. */
START_TEST(an_index_ahead_of_the_log_is_not_believed) {
    char path[700];
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    for (uint64_t n = 0; n < 3; n++) {
        ck_assert_int_eq(case_put(store, n * 2, BLOB).code, 0);
    }
    store_close(store);
    last_file("log/annotated", path, sizeof(path));
    ck_assert_int_eq(truncate(path, size_of(path) - 100), 0);
    case_fsck(&dir, ERR_CORRUPT);
    check_frames(&config, 2);
    ck_assert_uint_eq(set_aside(), 1);
    case_fsck(&dir, 0);
}
END_TEST

/* Garbage in the middle of a running index: a reader sees it, the index thread makes it again,
 * capture goes on. */
START_TEST(a_damaged_index_is_made_again_while_running) {
    enum { MANY = 400 };
    char path[400];
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    case_put_many(store, 0, MANY, 64);
    store_close(store);
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    off_t pages = size_of(path) / 4096;
    ck_assert_int_gt(pages, 30);
    for (off_t page = 2; page < pages; page += 1) {
        for (off_t at = 0; at < 64; at++) {
            flip(path, page * 4096 + at, 0xa5);
        }
    }
    struct store *again = NULL;
    struct err err = {0};
    ck_assert_msg(store_open(&config, &again, &err) == 0, "%s", err.msg);
    struct store_reader *reader = case_reader(again);
    struct store_filter all = {0};
    struct store_page *page = NULL;
    int code = ERR_CORRUPT;
    for (int tries = 0; code && tries < 200; tries++) {
        code = store_page_read(reader, &all, NULL, 50, 1, &page, &err);
        if (!code && page->count < 50) {
            store_page_destroy(page);
            code = ERR_BUSY; /* still being made */
        }
        clock_sleep_ms(10);
    }
    ck_assert_int_eq(code, 0);
    store_page_destroy(page);
    ck_assert_int_eq(case_put(again, MANY, 64).code, 0);
    ck_assert_int_eq(store_flush(again, NULL), 0);
    for (uint64_t n = 0; n <= MANY; n++) {
        case_check(reader, n, 64);
    }
    store_reader_close(reader);
    store_close(again);
    ck_assert_uint_ge(set_aside(), 1);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_later_creels_record_is_refused) {
    char path[700];
    struct store_config config = case_config(&dir);
    struct store *store = NULL;
    struct err err = {0};
    store = case_open(&config);
    ck_assert_int_eq(case_put(store, 0, BLOB).code, 0);
    store_close(store);
    last_file("log/annotated", path, sizeof(path));
    struct buf bytes = BUF_INIT(1u << 20);
    ck_assert_int_eq(fs_read_file(path, &bytes, NULL), 0);
    /* The segment's own record, with version 2 and a right checksum: as a later creel would write
     * it. */
    uint8_t salted[68 + 16];
    struct frame_id uuid;
    char text[128] = "";
    snprintf(path, sizeof(path), "%s/IDENTITY", dir.path);
    int fd = open(path, O_RDONLY);
    ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 50);
    close(fd);
    text[14 + 36] = '\0';
    ck_assert(frame_id_parse(text + 14, &uuid));
    bytes.data[6] = 2;
    memcpy(salted, bytes.data, 68);
    memcpy(salted + 68, uuid.bytes, 16);
    uint32_t sum = hash_crc32(salted, sizeof(salted));
    for (size_t i = 0; i < 4; i++) {
        bytes.data[68 + i] = (char)(sum >> (8 * i));
    }
    last_file("log/annotated", path, sizeof(path));
    ck_assert_int_eq(fs_write_file_atomic(path, bytes.data, bytes.len, 0640, NULL), 0);
    buf_finish(&bytes);
    drop_index();
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_REFUSED);
    struct store_fsck fsck;
    ck_assert_int_eq(store_fsck(dir.path, NULL, NULL, &fsck, &err), ERR_REFUSED);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_recovery");
    TCase *tests = tcase_create("recovery");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, torn_tail_at_every_byte, 0, 2);
    tcase_add_loop_test(tests, a_torn_store_opens, 0, 4);
    tcase_add_loop_test(tests, an_index_is_made_again, 0, 5);
    const TTest *const all[] = {
        a_hole_is_judged_by_its_group,
        goes_on_after_a_tear,
        fsck_sees_every_flipped_byte,
        a_bad_sector_costs_one_frame,
        an_index_ahead_of_the_log_is_not_believed,
        a_damaged_index_is_made_again_while_running,
        a_later_creels_record_is_refused,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        tcase_add_test(tests, all[i]);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
