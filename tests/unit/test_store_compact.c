/* The meta log compacted: an index made from it is, row by row, the one made from the whole log;
 * what a crash leaves of a compaction is read once; and it happens by itself.
 */
#include "store/store_impl.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <dirent.h>
#include <fcntl.h>

#define ROUNDS 60
#define BATCH  40

static struct case_dir dir;
static struct store_config config;
static uint64_t dice = 88172645463325252u;

static void setup(void) {
    case_dir_make_fast(&dir);
    config = case_config(&dir);
    config.quota_bytes = 24u << 20; /* so that some must leave */
    config.meta_bytes = 64u << 10;
    config.segment_bytes = 64u << 10;
    clock_trust(true);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static uint64_t roll(uint64_t below) {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (dice >> 11) % below;
}

/* ---- what an index says, without the numbers that depend on how it was made ---- */

static const char *const questions[] = {
    "SELECT tier, hex(sha), bytes, local, segment, at, kept_utc, value, refs, pinned, owed,"
    " receipts, replicated, uploaded_utc, gone_reason, gone_utc FROM blob ORDER BY 1, 2",
    "SELECT f.seq, hex(f.id), f.utc, f.tier, f.pinned, f.pinned_utc, f.label_state, f.segment, "
    "f.at,"
    " hex(b.sha) FROM frame f JOIN blob b ON b.id = f.blob ORDER BY 1",
    "SELECT hex(b.sha), b.tier, remote.name, hex(remote.identity), r.kind, r.key, r.etag, r.utc "
    "FROM"
    " receipt r JOIN blob b ON b.id = r.blob JOIN remote ON remote.id = r.remote ORDER BY 1, 2, 3, "
    "4",
    "SELECT hex(b.sha), b.tier, remote.name, hex(remote.identity), o.state, o.value, o.reason FROM"
    " outbox o JOIN blob b ON b.id = o.blob JOIN remote ON remote.id = o.remote ORDER BY 1, 2, 3, "
    "4",
    "SELECT hex(b.sha), b.tier, remote.name, hex(remote.identity), w.action, w.utc FROM withdrawn w"
    " JOIN blob b ON b.id = w.blob JOIN remote ON remote.id = w.remote ORDER BY 1, 2, 3, 4",
    "SELECT seq, state, utc, class, note, who FROM label ORDER BY 1",
    "SELECT name, hex(identity), required, active, pending, pending_bytes, quarantined, done, "
    "done_0,"
    " done_1 FROM remote ORDER BY 1, 2",
    "SELECT tier, frames, blob_bytes, replicated, evicted FROM tier ORDER BY 1",
    "SELECT number, stream, live, live_bytes, frames, record_bytes, newest FROM segment ORDER BY 1",
};

static void ask(sqlite3 *db, const char *question, struct buf *out) {
    sqlite3_stmt *statement = NULL;
    ck_assert_msg(sqlite3_prepare_v2(db, question, -1, &statement, NULL) == SQLITE_OK, "%s: %s",
                  question, sqlite3_errmsg(db));
    while (sqlite3_step(statement) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const unsigned char *text = sqlite3_column_text(statement, i);
            buf_printf(out, "%s|", text ? (const char *)text : "NULL");
        }
        buf_puts(out, "\n");
    }
    sqlite3_finalize(statement);
}

/* Of an index that was made from the log alone, just now. */
static char *index_of_the_log(void) {
    struct buf out = BUF_INIT(64u << 20);
    struct store_rebuilt rebuilt;
    struct err err = {0};
    char path[400];
    size_t size;
    sqlite3 *db = NULL;
    ck_assert_msg(store_rebuild(dir.path, 0.25, NULL, NULL, &rebuilt, &err) == 0, "%s", err.msg);
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    for (size_t i = 0; i < ARRAY_LENGTH(questions); i++) {
        ask(db, questions[i], &out);
    }
    sqlite3_close(db);
    char *text = buf_take(&out, &size);
    ck_assert_ptr_nonnull(text);
    return text;
}

static void same(const char *before, const char *after) {
    size_t at = 0;
    while (before[at] && before[at] == after[at]) {
        at++;
    }
    size_t line = at;
    while (line && before[line - 1] != '\n') {
        line--;
    }
    ck_assert_msg(!before[at] && !after[at], "before: %.300s\nafter: %.300s", before + line,
                  after + line);
}

/* ---- a history ---- */

static struct frame_id id_of(uint64_t n) {
    struct store_frame frame = case_frame(n, 1);
    struct frame_id id = frame.record.id;
    case_frame_free(&frame);
    return id;
}

static void say(struct store *store, uint64_t n) {
    struct frame_id id = id_of(n);
    struct store_label label = {.state = (enum store_label_state)roll(STORE_LABEL_STATES),
                                .utc_us = CASE_T0 + (int64_t)roll(1000000)};
    store_label_put(store, &id, &label, NULL); /* may be forgotten by now */
    store_pin_set(store, &id, roll(3) == 0, NULL);
}

static void confirm(struct store *store, struct store_reader *reader) {
    struct store_outbox_row rows[BATCH];
    size_t count = 0;
    ck_assert_int_eq(
        store_outbox_read(reader, "cloud", STORE_OLDEST, BATCH, rows, &count, NULL, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        if (roll(20) == 0) {
            store_outbox_quarantine(store, "cloud", rows[i].tier, &rows[i].blob, "a test", NULL);
        } else if (roll(20) == 0) {
            struct store_blob_name name = {rows[i].tier, rows[i].blob};
            store_outbox_act(store, "cloud", (enum store_outbox_action)(1 + roll(6)), &name, 1,
                             NULL, NULL);
        } else if (roll(10)) {
            struct store_blob_name name = {rows[i].tier, rows[i].blob};
            case_receipt(store, "cloud", &rows[i], NULL);
            if (roll(12) == 0) {
                store_outbox_act(store, "cloud",
                                 (enum store_outbox_action)(STORE_OUTBOX_LOST + roll(3)), &name, 1,
                                 NULL, NULL);
            }
        }
    }
    if (roll(10) == 0) {
        store_outbox_retry(store, NULL, NULL, NULL);
    }
}

/* Frames come, are confirmed, judged and removed, and some of the removed ones come again. */
static void live(struct store *store, uint64_t *next, unsigned rounds) {
    struct store_reader *reader = case_reader(store);
    for (unsigned round = 0; round < rounds; round++) {
        for (int i = 0; i < BATCH; i++) {
            uint64_t n = *next > 50 && roll(5) == 0 ? *next - roll(50) : (*next)++;
            struct store_frame frame = case_frame(n, 1000 + n % 7 * 1000);
            memcpy(frame.record.id.bytes, next, 6); /* the bytes come again, not the frame */
            case_put_frame(store, frame);
        }
        ck_assert_int_eq(store_flush(store, NULL), 0);
        say(store, *next - roll(*next < 200 ? *next : 200));
        confirm(store, reader);
        struct frame_id id = id_of(*next - roll(*next < 60 ? *next : 60));
        struct store_removal removal;
        store_remove(store, &id, 1, true, false, &removal, NULL);
    }
    store_reader_close(reader);
}

static uint64_t compactions(struct store *store) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    ck_assert_str_eq(stats.last_error, "");
    return stats.compactions;
}

static int pause_run(struct store *store, void *arg, struct err *err) {
    (void)arg;
    (void)err;
    store->compact.pause_boot_us = INT64_MAX;
    return 0;
}

/* Not by itself: so that there is a before. */
static void hold_off(struct store *store) {
    ck_assert_int_eq(store__writer_call(store, pause_run, NULL, NULL), 0);
}

/* With room, so that nothing else changes meanwhile. */
static void let_it_compact(void) {
    config.quota_bytes *= 2;
    struct store *store = case_open(&config);
    for (int i = 0; i < 1500 && !compactions(store); i++) {
        usleep(10000);
    }
    ck_assert_uint_gt(compactions(store), 0);
    store_close(store);
}

START_TEST(an_index_is_the_same) {
    struct store_remote cloud = case_remote("cloud", true);
    uint64_t next = 1;
    for (int life = 0; life < 3; life++) {
        struct store *store = case_open(&config);
        hold_off(store);
        ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
        live(store, &next, ROUNDS);
        store_close(store);
    }
    char *before = index_of_the_log();
    let_it_compact();
    char *after = index_of_the_log();
    same(before, after);
    free(before);
    free(after);
    case_fsck(&dir, 0);
}
END_TEST

/* ---- crashes ---- */

static size_t meta_files(char names[][64], size_t room) {
    char path[400];
    size_t count = 0;
    snprintf(path, sizeof(path), "%s/meta", dir.path);
    DIR *listing = opendir(path);
    for (struct dirent *entry; (entry = readdir(listing)) && count < room;) {
        if (entry->d_name[0] != '.') {
            snprintf(names[count++], 64, "%.63s", entry->d_name);
        }
    }
    closedir(listing);
    return count;
}

static void copy(const char *from, const char *to) {
    struct buf bytes = BUF_INIT(64u << 20);
    ck_assert_int_eq(fs_read_file(from, &bytes, NULL), 0);
    ck_assert_int_eq(fs_write_file_atomic(to, bytes.data, bytes.len, 0640, NULL), 0);
    buf_finish(&bytes);
}

START_TEST(what_a_crash_leaves_is_read_once) {
    static char names[256][64];
    char from[600], to[600], aside[400];
    uint64_t next = 1;
    struct store *store = case_open(&config);
    struct store_remote cloud = case_remote("cloud", true);
    hold_off(store);
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    live(store, &next, 4 * ROUNDS);
    store_close(store);
    size_t count = meta_files(names, 256);
    ck_assert_uint_gt(count, 2);
    snprintf(aside, sizeof(aside), "%s/aside", dir.path);
    ck_assert_int_eq(mkdir(aside, 0750), 0);
    for (size_t i = 0; i < count; i++) {
        snprintf(from, sizeof(from), "%s/meta/%s", dir.path, names[i]);
        snprintf(to, sizeof(to), "%s/%s", aside, names[i]);
        copy(from, to);
    }
    char *before = index_of_the_log();
    let_it_compact();
    /* The files that it had unlinked are back, and an unfinished one lies there. */
    for (size_t i = 0; i < count; i++) {
        snprintf(from, sizeof(from), "%s/%s", aside, names[i]);
        snprintf(to, sizeof(to), "%s/meta/%s", dir.path, names[i]);
        if (access(to, F_OK) < 0) {
            copy(from, to);
        }
    }
    snprintf(to, sizeof(to), "%s/meta/" COMPACT_NAME, dir.path);
    copy(from, to);
    case_fsck(&dir, 0);
    char *after = index_of_the_log();
    same(before, after);
    ck_assert_int_lt(access(to, F_OK), 0);
    ck_assert_uint_lt(meta_files(names, 256), count);
    free(before);
    free(after);
    case_fsck(&dir, 0);
}
END_TEST

/* A power cut throws the index back, and the log that it stood on is compacted: what was left out
 * for the later index is not missed by the earlier one. */
START_TEST(an_index_thrown_back_is_made_again) {
    char from[600], to[600];
    uint64_t next = 1;
    struct store *store = case_open(&config);
    struct store_remote cloud = case_remote("cloud", true);
    hold_off(store);
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    live(store, &next, ROUNDS);
    store_close(store);
    snprintf(from, sizeof(from), "%s/index.db", dir.path);
    snprintf(to, sizeof(to), "%s/aside.db", dir.path);
    copy(from, to);
    store = case_open(&config);
    hold_off(store);
    live(store, &next, 4 * ROUNDS);
    store_close(store);
    let_it_compact();
    char *before = index_of_the_log();
    copy(to, from);
    case_fsck(&dir, 0);
    store = case_open(&config);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    store_close(store);
    case_fsck(&dir, 0);
    char *after = index_of_the_log();
    same(before, after);
    free(before);
    free(after);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_compact");
    TCase *tests = tcase_create("compact");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, an_index_is_the_same);
    tcase_add_test(tests, what_a_crash_leaves_is_read_once);
    tcase_add_test(tests, an_index_thrown_back_is_made_again);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
