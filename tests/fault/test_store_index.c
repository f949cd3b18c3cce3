/* An index that is damaged, lost or held by others while frames come: it is made again behind the
 * writer, and what was acknowledged meanwhile is there.
 */
#include "store/db.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE      4096
#define WAIT_MS   20000
#define ROUNDS_MS 2

static struct case_dir dir;
static char index_path[320];

static void setup(void) {
    case_dir_make_fast(&dir);
    snprintf(index_path, sizeof(index_path), "%s/index.db", dir.path);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

/* Closing brings the WAL into the database, where it can be damaged. */
static struct store *reopen(struct store *store, const struct store_config *config) {
    store_close(store);
    return case_open(config);
}

static struct store_stats stats_of(struct store *store) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    return stats;
}

/* ---- damage ---- */

enum damage { GARBAGE, HALF, EMPTY, DAMAGES };

static void damage_do(enum damage damage) {
    unsigned char garbage[PAGE];
    struct stat info;
    int fd = open(index_path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &info), 0);
    memset(garbage, 0xa5, sizeof(garbage));
    if (damage == GARBAGE) {
        for (off_t at = PAGE; at < info.st_size; at += PAGE) {
            ck_assert_int_eq(pwrite(fd, garbage, sizeof(garbage), at), PAGE);
        }
    } else {
        ck_assert_int_eq(ftruncate(fd, damage == HALF ? info.st_size / PAGE / 2 * PAGE : 0), 0);
    }
    close(fd);
}

/* A damaged index is found by whoever reads it next; with nobody reading it is nobody's concern. */
static void read_until_restarted(struct store *store, struct store_reader *reader,
                                 uint64_t restarts) {
    struct store_filter all = {0};
    struct store_cursor at = {0};
    for (int64_t left = WAIT_MS; stats_of(store).index_restarts < restarts; left -= ROUNDS_MS) {
        struct store_page *page = NULL;
        ck_assert_int_gt(left, 0);
        if (store_page_read(reader, &all, &at, STORE_PAGE_MAX, 1, &page, NULL) == 0) {
            at = page->more ? page->next : (struct store_cursor){0};
            store_page_destroy(page);
        }
        clock_sleep_ms(ROUNDS_MS);
    }
}

static void wait_whole(struct store *store) {
    for (int64_t left = WAIT_MS; stats_of(store).index_rebuilding; left -= ROUNDS_MS) {
        ck_assert_int_gt(left, 0);
        clock_sleep_ms(ROUNDS_MS);
    }
}

/* ---- frames that keep coming ---- */

struct load {
    struct store *store;
    atomic_bool stop;
    uint64_t next;
};

static void *load_run(void *arg) {
    struct load *load = arg;
    while (!atomic_load(&load->stop)) {
        ck_assert_int_eq(case_put(load->store, load->next, 100).code, 0);
        load->next++;
    }
    return NULL;
}

START_TEST(damage_under_load) {
    struct store_config config = case_config(&dir);
    struct load load = {.store = case_open(&config)};
    pthread_t thread;
    case_put_many(load.store, 0, 3000, 100);
    load.store = reopen(load.store, &config);
    load.next = 3000;
    struct store_reader *reader = case_reader(load.store);
    ck_assert_int_eq(pthread_create(&thread, NULL, load_run, &load), 0);
    clock_sleep_ms(50);
    damage_do((enum damage)_i);
    read_until_restarted(load.store, reader, 1);
    wait_whole(load.store);
    clock_sleep_ms(50);
    atomic_store(&load.stop, true);
    pthread_join(thread, NULL);
    ck_assert_int_eq(store_flush(load.store, NULL), 0);
    ck_assert_uint_gt(load.next, 3010);
    ck_assert_uint_eq(stats_of(load.store).failed, 0);
    for (uint64_t n = 0; n < load.next; n++) {
        case_check(reader, n, 100);
    }
    store_reader_close(reader);
    store_close(load.store);
    ck_assert_uint_eq(case_fsck(&dir, 0).frames, load.next);
}
END_TEST

/* ---- while it is being made again ---- */

enum { MANY = 20000 };

/* Damages the index and waits until it is made again, and half of that is done. */
static void begin_rebuild(struct store *store) {
    struct store_reader *reader = case_reader(store);
    damage_do(GARBAGE);
    read_until_restarted(store, reader, 1);
    store_reader_close(reader);
    struct store_stats stats = stats_of(store);
    while (stats.index_rebuilding && stats.index_lag > MANY) {
        clock_sleep_ms(1);
        stats = stats_of(store);
    }
    ck_assert_msg(stats.index_rebuilding, "the machine is too fast for this test");
}

/* The index names the blob as local before it comes to the tombstone: no frame may rest on it. */
START_TEST(no_frame_rests_on_what_a_rebuild_will_bury) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct store_removal removal;
    struct err err = {0};
    struct store_frame first = case_frame(0, 5000);
    struct frame_id id = first.record.id;
    ck_assert_int_eq(case_put_frame(store, first).code, 0);
    case_put_many(store, 1, MANY, 100);
    ck_assert_msg(store_remove(store, &id, 1, false, false, &removal, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(removal.blobs, 1);
    store = reopen(store, &config); /* which has buried nothing itself */
    begin_rebuild(store);
    struct store_frame again = case_frame(0, 5000);
    memset(again.record.id.bytes, 9, sizeof(again.record.id.bytes));
    id = again.record.id;
    struct store_ack ack = case_put_frame(store, again);
    ck_assert_int_eq(ack.code, 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    struct store_row *row = NULL;
    uint8_t *bytes = NULL;
    size_t size;
    ck_assert_int_eq(store_frame_get(reader, &id, &row, &err), 0);
    ck_assert_int_eq(row->place, STORE_PLACE_LOCAL);
    ck_assert_msg(
        store_blob_read(reader, row->record.tier, &row->record.blob, &bytes, &size, &err) == 0,
        "%s", err.msg);
    free(bytes);
    store_row_destroy(row);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

/* Nobody waits for minutes: a receipt is durable, a pin is refused, and nothing is uploaded that
 * the half-made index calls pending. */
START_TEST(callers_do_not_wait_for_a_rebuild) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct store_remote remote = case_remote("cloud", true);
    struct store_outbox_row row;
    struct err err = {0};
    size_t count = 0;
    int64_t due = 0;
    ck_assert_int_eq(store_remotes_set(store, &remote, 1, NULL), 0);
    case_put_many(store, 0, MANY, 100);
    store = reopen(store, &config);
    ck_assert_int_eq(store_remotes_set(store, &remote, 1, NULL), 0);
    struct store_reader *reader = case_reader(store);
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, &due, NULL),
                     0);
    ck_assert_uint_eq(count, 1);
    begin_rebuild(store);
    ck_assert_msg(case_receipt(store, "cloud", &row, &err) == 0, "%s", err.msg);
    struct store_frame frame = case_frame(7, 100);
    ck_assert_int_eq(store_pin_set(store, &frame.record.id, true, &err), ERR_BUSY);
    case_frame_free(&frame);
    struct store_outbox_row early;
    int code = store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &early, &count, &due, &err);
    if (stats_of(store).index_rebuilding) { /* or the machine was slow, and it has ended since */
        ck_assert(code == 0 || code == ERR_BUSY);
        ck_assert_uint_eq(count, 0);
        ck_assert_int_gt(due, clock_boot_us());
    }
    ck_assert_uint_gt(stats_of(store).index_lag, 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    ck_assert_int_eq(
        store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &early, &count, &due, &err), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_ne(memcmp(&early.blob, &row.blob, sizeof(row.blob)), 0);
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

/* A full store whose index is being made again bends its quota, and comes back to it. */
START_TEST(a_full_store_takes_frames_during_a_rebuild) {
    struct store_config config = case_config(&dir);
    config.quota_bytes = 64u << 20;
    struct store *store = case_open(&config);
    case_put_many(store, 0, MANY / 2, 6000);
    ck_assert_uint_gt(stats_of(store).evicted_frames, 0);
    store = reopen(store, &config);
    struct store_reader *reader = case_reader(store);
    damage_do(GARBAGE);
    read_until_restarted(store, reader, 1);
    ck_assert(stats_of(store).index_rebuilding);
    uint64_t n = MANY / 2;
    for (; stats_of(store).index_rebuilding && n < MANY / 2 + 400; n++) {
        ck_assert_int_eq(case_put(store, n, 6000).code, 0);
    }
    ck_assert_uint_gt(n, MANY / 2 + 10);
    ck_assert_uint_eq(stats_of(store).refused_full, 0);
    uint64_t used = UINT64_MAX;
    for (int64_t left = WAIT_MS; used > config.quota_bytes; left -= 100) {
        ck_assert_int_gt(left, 0);
        clock_sleep_ms(100);
        used = case_counts(store).disk_bytes;
    }
    store_reader_close(reader);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

/* ---- a second process ---- */

/* Told to, reads index.db in one transaction that it never ends. */
static void hold_for_ever(int go, int told) {
    static const char *const sql[] = {"SELECT count(*) FROM frame"};
    struct db db = {0};
    int64_t frames = 0;
    char ready = 1;
    if (read(go, &ready, 1) != 1 || store__db_open(&db, index_path, DB_READ, sql, 1, NULL) ||
        store__db_exec(&db, "BEGIN", NULL) || store__db_number(&db, 0, &frames, NULL, "") ||
        write(told, &ready, 1) != 1) {
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

struct holder {
    pid_t pid;
    int go, told;
};

/* Made while this process has no other thread, whose locks it would inherit. */
static struct holder holder_make(void) {
    int go[2], told[2];
    ck_assert_int_eq(pipe(go), 0);
    ck_assert_int_eq(pipe(told), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(go[1]);
        close(told[0]);
        hold_for_ever(go[0], told[1]);
    }
    close(go[0]);
    close(told[1]);
    return (struct holder){pid, go[1], told[0]};
}

static void holder_start(const struct holder *holder) {
    char ready = 1;
    ck_assert_int_eq(write(holder->go, &ready, 1), 1);
    ck_assert_int_eq(read(holder->told, &ready, 1), 1);
}

static void holder_end(struct holder *holder) {
    ck_assert_int_eq(kill(holder->pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(holder->pid, NULL, 0), holder->pid);
    close(holder->go);
    close(holder->told);
}

static off_t wal_bytes(void) {
    char path[340];
    struct stat info;
    snprintf(path, sizeof(path), "%s-wal", index_path);
    return stat(path, &info) < 0 ? 0 : info.st_size;
}

/* The WAL of an index that another process never lets go is bounded: the index is given up for
 * another, and says why. */
START_TEST(a_process_that_never_ends_its_transaction) {
    enum { MOST = 4 << 20, STEP = 200 }; /* the quota's sixteenth, and then its least */
    struct store_config config = case_config(&dir);
    config.quota_bytes = 64u << 20;
    store_close(case_open(&config));
    struct holder holder = holder_make();
    struct store *store = case_open(&config);
    holder_start(&holder);
    off_t greatest = 0;
    uint64_t n = 0;
    for (; stats_of(store).index_restarts == 0; n += STEP) {
        ck_assert_uint_lt(n, 40000);
        case_put_many(store, n, STEP, 100);
        greatest = wal_bytes() > greatest ? wal_bytes() : greatest;
    }
    struct store_stats stats = stats_of(store);
    ck_assert_ptr_nonnull(strstr(stats.last_error, "another process"));
    ck_assert_int_ge(greatest, MOST / 2);
    ck_assert_int_lt(greatest, 3 * MOST);
    for (uint64_t last = n + 4000; n < last; n += STEP) { /* it goes on, and is bounded */
        case_put_many(store, n, STEP, 100);
        ck_assert_int_lt(wal_bytes(), 3 * MOST);
    }
    wait_whole(store);
    ck_assert_uint_eq(stats_of(store).index_restarts, 1); /* the new one is held by nobody */
    struct store_reader *reader = case_reader(store);
    for (uint64_t i = 0; i < n; i++) {
        case_check(reader, i, 100);
    }
    store_reader_close(reader);
    holder_end(&holder);
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_index");
    TCase *index = tcase_create("index");
    tcase_add_checked_fixture(index, setup, teardown);
    tcase_set_timeout(index, 240);
    tcase_add_loop_test(index, damage_under_load, 0, DAMAGES);
    tcase_add_test(index, no_frame_rests_on_what_a_rebuild_will_bury);
    tcase_add_test(index, callers_do_not_wait_for_a_rebuild);
    tcase_add_test(index, a_full_store_takes_frames_during_a_rebuild);
    tcase_add_test(index, a_process_that_never_ends_its_transaction);
    suite_add_tcase(suite, index);
    return suite_run(suite);
}
