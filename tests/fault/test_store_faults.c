/* The Nth system call of the store fails, for every N until none fires: out of space, an I/O error,
 * a short write, a signal. First the calls of the log, then those of SQLite. Afterwards: what was
 * acknowledged is there byte for byte, what was refused is not there, the store went on by itself,
 * and fsck is clean. A fault under SQLite costs no frame at all: the index can be made again.
 * CREEL_FAULT_STEP: every how many-th of SQLite's calls (1: all; the log's are always all).
 */
#include "tests/fault/store_calls.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <errno.h>

#define BLOB   3000
#define FRAMES 12

enum fault { FAULT_SPACE, FAULT_IO, FAULT_SHORT, FAULT_SIGNAL, FAULT_COUNT };

static atomic_long calls_left; /* the call that brings it to 0 fails */
static atomic_bool fired;
static atomic_bool sync_failed; /* it was an fdatasync: somebody must have been told */
static enum fault fault;
static bool on_sqlite; /* SQLite's calls are counted, and only those */

static bool other_fd(int fd) {
    return calls_fd_is_sqlite(fd) != on_sqlite;
}

static bool other_path(const char *path) {
    return calls_path_is_sqlite(path) != on_sqlite;
}

static bool fails(void) {
    if (atomic_fetch_sub(&calls_left, 1) != 1) {
        return false;
    }
    atomic_store(&fired, true);
    errno = fault == FAULT_SPACE ? ENOSPC : fault == FAULT_IO ? EIO : EINTR;
    return true;
}

/* Calls that a signal or a full disk cannot hit are not counted under that fault. */
static bool fails_unless(bool exempt) {
    return !exempt && fault != FAULT_SHORT && fails();
}

static int f_open(const char *path, int flags, mode_t mode) {
    return fails_unless(other_path(path)) ? -1 : fs_ops_real.open(path, flags, mode);
}

static int f_close(int fd) {
    bool other = other_fd(fd);
    int closed = fs_ops_real.close(fd);
    return fails_unless(other || fault == FAULT_SPACE) ? -1 : closed;
}

static ssize_t f_pread(int fd, void *bytes, size_t size, off_t at) {
    if (fault == FAULT_SHORT && size > 1 && !other_fd(fd) && fails()) {
        size /= 2;
    } else if (fails_unless(other_fd(fd) || fault == FAULT_SPACE)) {
        return -1;
    }
    return fs_ops_real.pread(fd, bytes, size, at);
}

static ssize_t f_pwrite(int fd, const void *bytes, size_t size, off_t at) {
    if (fault == FAULT_SHORT && size > 1 && !other_fd(fd) && fails()) {
        size /= 2;
    } else if (fails_unless(other_fd(fd))) {
        return -1;
    }
    return fs_ops_real.pwrite(fd, bytes, size, at);
}

static ssize_t f_pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (fails_unless(other_fd(fd))) {
        fs_ops_real.pwritev(fd, parts, count > 1 ? count / 2 : count,
                            at); /* and leaves a torn group */
        errno = fault == FAULT_SPACE ? ENOSPC : fault == FAULT_IO ? EIO : EINTR;
        return -1;
    }
    if (fault == FAULT_SHORT && count > 1 && !other_fd(fd) && fails()) {
        count /= 2;
    }
    return fs_ops_real.pwritev(fd, parts, count, at);
}

static int f_fdatasync(int fd) {
    if (fails_unless(calls_datasync_is_sqlite(fd) != on_sqlite || fault == FAULT_SIGNAL)) {
        atomic_store(&sync_failed, !on_sqlite);
        return -1;
    }
    if (fault == FAULT_SPACE && !calls_datasync_is_sqlite(fd)) {
        atomic_store(&sync_failed, false); /* room was made, and the group written again */
    }
    return calls_fdatasync(fd);
}

static int f_fsync(int fd) {
    return fails_unless(other_fd(fd) || fault == FAULT_SIGNAL) ? -1 : calls_fsync(fd);
}

static int f_fallocate(int fd, int mode, off_t at, off_t size) {
    return fails_unless(other_fd(fd)) ? -1 : fs_ops_real.fallocate(fd, mode, at, size);
}

static int f_ftruncate(int fd, off_t size) {
    return fails_unless(other_fd(fd) || fault != FAULT_IO) ? -1 : fs_ops_real.ftruncate(fd, size);
}

static int f_rename(const char *from, const char *to) {
    return fails_unless(on_sqlite || fault == FAULT_SIGNAL) ? -1 : fs_ops_real.rename(from, to);
}

static int f_unlink(const char *path) {
    return fails_unless(other_path(path) || fault != FAULT_IO) ? -1 : fs_ops_real.unlink(path);
}

static int f_mkdir(const char *path, mode_t mode) {
    return fails_unless(on_sqlite || fault == FAULT_SIGNAL) ? -1 : fs_ops_real.mkdir(path, mode);
}

static int f_flock(int fd, int operation) {
    return fails_unless(on_sqlite || fault == FAULT_SPACE) ? -1 : fs_ops_real.flock(fd, operation);
}

static const struct fs_ops failing = {
    .open = f_open,
    .close = f_close,
    .pread = f_pread,
    .pwrite = f_pwrite,
    .pwritev = f_pwritev,
    .fdatasync = f_fdatasync,
    .fsync = f_fsync,
    .fallocate = f_fallocate,
    .ftruncate = f_ftruncate,
    .rename = f_rename,
    .unlink = f_unlink,
    .mkdir = f_mkdir,
    .flock = f_flock,
};

struct outcome {
    bool opened;
    int acks[FRAMES];
    struct frame_hash receipt; /* of a blob whose receipt was acknowledged */
    enum frame_tier receipt_tier;
    bool receipted;
    bool stated; /* a state row was put */
    bool told;   /* some call said that it failed */
};

static size_t size_of(uint64_t n) {
    return n % 4 == 1 ? 40000 : BLOB;
}

static void receipt_one(struct store *store, struct outcome *out) {
    struct store_reader *reader = NULL;
    struct store_outbox_row row;
    size_t count = 0;
    if (store_reader_open(store, &reader, NULL)) {
        return;
    }
    if (!store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL) && count) {
        out->receipted = case_receipt(store, "cloud", &row, NULL) == 0;
        out->told = out->told || !out->receipted;
        out->receipt = row.blob;
        out->receipt_tier = row.tier;
    }
    store_reader_close(reader);
}

/* A short life: open, frames of both tiers over several segments, a receipt, a flush, close. */
static void live(const struct store_config *config, struct outcome *out) {
    struct store *store = NULL;
    struct store_remote cloud = case_remote("cloud", true);
    if (store_open(config, &store, NULL)) {
        out->told = true;
        return;
    }
    out->opened = true;
    out->told = store_remotes_set(store, &cloud, 1, NULL) != 0;
    for (uint64_t n = 0; n < FRAMES; n++) {
        struct store_frame frame = case_frame(n, size_of(n));
        frame.record.value =
            1 - (double)n / 100; /* none may displace an earlier one when the disk is full */
        out->acks[n] = case_put_frame(store, frame).code;
        out->told = out->told || out->acks[n];
    }
    store_flush(store, NULL);
    receipt_one(store, out);
    out->stated = store_state_put(store, "fault", "key", 3, "value", 5, NULL) == 0;
    struct store_stats stats; /* a compaction that failed costs nobody anything, and is noted */
    store_stats_get(store, &stats);
    out->told = out->told || !out->stated || stats.last_error[0];
    store_close(store);
}

static void check(const struct store_config *config, const struct case_dir *dir,
                  const struct outcome *out) {
    if (out->opened) {
        case_fsck(dir, 0);
    }
    struct store *store = case_open(config);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    for (uint64_t n = 0; n < FRAMES; n++) {
        if (out->opened && out->acks[n] == 0) {
            case_check_valued(reader, n, size_of(n), 1 - (double)n / 100);
            continue;
        }
        struct store_frame want = case_frame(n, 1);
        struct store_row *row = NULL;
        ck_assert_int_eq(store_frame_get(reader, &want.record.id, &row, NULL), ERR_NOT_FOUND);
        case_frame_free(&want);
    }
    struct store_receipt receipt;
    if (out->receipted) {
        ck_assert_int_eq(
            store_receipt_get(reader, "cloud", out->receipt_tier, &out->receipt, &receipt, NULL),
            0);
    }
    char value[8];
    size_t size = 0;
    if (out->stated) {
        ck_assert_int_eq(
            store_state_get(store, "fault", "key", 3, value, sizeof(value), &size, NULL), 0);
        ck_assert_uint_eq(size, 5);
    }
    store_reader_close(reader);
    ck_assert_int_eq(case_put(store, 5000, BLOB).code, 0); /* and it works again */
    store_close(store);
    case_fsck(dir, 0);
}

/* One life with call `n` failing; false when none did. */
static bool round_run(long n) {
    struct case_dir dir;
    struct outcome out = {0};
    case_dir_make_fast(&dir);
    struct store_config config = case_config(&dir);
    config.segment_bytes = 64u << 10;
    config.meta_bytes = 4096; /* so that it is compacted */
    atomic_store(&fired, false);
    atomic_store(&calls_left, n);
    fs_ops_set(&failing);
    live(&config, &out);
    fs_ops_set(NULL);
    bool was = atomic_load(&fired);
    ck_assert_msg(!atomic_exchange(&sync_failed, false) || out.told,
                  "call %ld: an fdatasync failed and nobody was told", n);
    unsigned lost = 0;
    for (unsigned i = 0; out.opened && i < FRAMES; i++) {
        lost += out.acks[i] != 0;
    }
    bool may_cost = !on_sqlite && fault != FAULT_SHORT;
    ck_assert_msg(lost <= may_cost, "one fault at call %ld refused %u frames", n, lost);
    check(&config, &dir, &out);
    case_dir_remove(dir.path);
    return was;
}

START_TEST(every_call_may_fail) {
    long rounds = 0;
    fault = (enum fault)_i;
    on_sqlite = false;
    clock_trust(true);
    for (long n = 1; round_run(n); n++) {
        rounds++;
    }
    ck_assert_int_gt(rounds, fault == FAULT_SHORT ? 20 : 60);
}
END_TEST

START_TEST(every_call_of_sqlite_may_fail) {
    long rounds = 0, calls = 1 + _i, step = calls_number("CREEL_FAULT_STEP", 31);
    fault = (enum fault)_i;
    on_sqlite = true;
    clock_trust(true);
    for (; round_run(calls); calls += step) {
        rounds++;
    }
    printf("store, SQLite's calls, fault %d: %ld of %ld failed, nothing acknowledged lost\n", _i,
           rounds, calls);
    ck_assert_int_gt(calls, 100);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_faults");
    TCase *tests = tcase_create("calls");
    tcase_set_timeout(tests, 1800);
    tcase_add_loop_test(tests, every_call_may_fail, 0, FAULT_COUNT);
    tcase_add_loop_test(tests, every_call_of_sqlite_may_fail, 0, FAULT_COUNT);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
