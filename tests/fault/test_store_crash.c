/* A child process keeps frames and dies: at its Nth file system call, in the middle of a write, or
 * at any moment. What it had been told is durable came to the parent through a pipe, and must be
 * there.
 * CREEL_FAULT_STEP: every how many-th of SQLite's calls (the log's are always all).
 * CREEL_KILL_ROUNDS: how many processes are killed at any moment.
 * CREEL_SEED: where the moments begin.
 */
#include "tests/fault/store_calls.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include "tests/unit/store_tidy.h"
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define FRAMES_MAX 24000

static atomic_long calls_left;
static int pipe_out = -1;
static bool on_sqlite; /* SQLite's calls are counted, and only those */

/* Dies where the count ends, as SIGKILL does: nothing is flushed, no destructor runs. */
static bool dies(bool sqlite) {
    return sqlite == on_sqlite && atomic_fetch_sub(&calls_left, 1) == 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) {
        pause();
    }
}

static void die_before(bool sqlite) {
    if (dies(sqlite)) {
        die();
    }
}

static int k_open(const char *path, int flags, mode_t mode) {
    die_before(calls_path_is_sqlite(path));
    return fs_ops_real.open(path, flags, mode);
}

static ssize_t k_pwrite(int fd, const void *bytes, size_t size, off_t at) {
    if (dies(calls_fd_is_sqlite(fd))) {
        fs_ops_real.pwrite(fd, bytes, size / 2, at);
        die();
    }
    return fs_ops_real.pwrite(fd, bytes, size, at);
}

/* Tears the group: some parts whole, one in the middle. */
static ssize_t k_pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (dies(calls_fd_is_sqlite(fd))) {
        off_t next = at;
        for (int i = 0; i <= count / 2; i++) {
            size_t size = i == count / 2 ? parts[i].iov_len / 2 : parts[i].iov_len;
            fs_ops_real.pwrite(fd, parts[i].iov_base, size, next);
            next += (off_t)size;
        }
        die();
    }
    return fs_ops_real.pwritev(fd, parts, count, at);
}

static int k_fdatasync(int fd) {
    die_before(calls_datasync_is_sqlite(fd));
    return calls_fdatasync(fd);
}

static int k_fsync(int fd) {
    die_before(calls_fd_is_sqlite(fd));
    return calls_fsync(fd);
}

static int k_fallocate(int fd, int mode, off_t at, off_t size) {
    die_before(calls_fd_is_sqlite(fd));
    return fs_ops_real.fallocate(fd, mode, at, size);
}

static int k_ftruncate(int fd, off_t size) {
    die_before(calls_fd_is_sqlite(fd));
    return fs_ops_real.ftruncate(fd, size);
}

static int k_rename(const char *from, const char *to) {
    die_before(calls_path_is_sqlite(from));
    return fs_ops_real.rename(from, to);
}

static int k_unlink(const char *path) {
    die_before(calls_path_is_sqlite(path));
    return fs_ops_real.unlink(path);
}

static int k_mkdir(const char *path, mode_t mode) {
    die_before(calls_path_is_sqlite(path));
    return fs_ops_real.mkdir(path, mode);
}

static struct fs_ops killing(void) {
    struct fs_ops ops = fs_ops_real;
    ops.open = k_open;
    ops.pwrite = k_pwrite;
    ops.pwritev = k_pwritev;
    ops.fdatasync = k_fdatasync;
    ops.fsync = k_fsync;
    ops.fallocate = k_fallocate;
    ops.ftruncate = k_ftruncate;
    ops.rename = k_rename;
    ops.unlink = k_unlink;
    ops.mkdir = k_mkdir;
    return ops;
}

static size_t size_of(uint64_t n) {
    return n % 3 == 1 ? 40000 : 900;
}

static void tell(uint64_t n) {
    if (write(pipe_out, &n, sizeof(n)) != (ssize_t)sizeof(n)) {
        _exit(3);
    }
}

static void told(void *ctx, const struct store_ack *ack) {
    (void)ctx;
    uint64_t n;
    memcpy(&n, ack->id.bytes + 8, sizeof(n));
    if (ack->code == 0) {
        tell(n);
    }
}

#define RECEIPT_BIT (UINT64_C(1) << 63)

/* A receipt for the oldest row, told by the blob's first bytes. */
static void receipt_oldest(struct store *store, struct store_reader *reader) {
    struct store_outbox_row row;
    size_t count = 0;
    store_flush(store, NULL);
    if (!store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL) && count &&
        !case_receipt(store, "cloud", &row, NULL)) {
        uint64_t name;
        memcpy(&name, row.blob.bytes, sizeof(name));
        tell(name | RECEIPT_BIT);
    }
}

/* The child: frames from `first` on, as fast as it can, until it dies or has put `count`. */
static void child(const struct store_config *config, uint64_t first, uint64_t count) {
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    struct store_remote cloud = case_remote("cloud", true);
    if (store_open(config, &store, NULL) || store_reader_open(store, &reader, NULL) ||
        store_remotes_set(store, &cloud, 1, NULL)) {
        _exit(2);
    }
    for (uint64_t n = first; n < first + count; n++) {
        struct store_frame frame = case_frame(n, size_of(n));
        frame.on_ack = told;
        if (store_put(store, &frame, NULL)) {
            _exit(2);
        }
        if (n % 4 == 3) {
            receipt_oldest(store, reader);
        }
        for (enum frame_tier tier = TIER_ANNOTATED; n % 6 == 5 && tier < TIER_COUNT; tier++) {
            if (tidy_oldest(store, tier, NULL)) {
                _exit(2);
            }
        }
    }
    store_reader_close(reader);
    store_close(store);
    _exit(0);
}

struct heard {
    bool frames[FRAMES_MAX];
    uint64_t receipts[FRAMES_MAX];
    size_t receipt_count;
};

/* Runs a child; kills it `kill_us` after its first word if that is not negative. Its exit code, or
 * -1 when it was killed. */
static int run_child(const struct store_config *config, uint64_t first, uint64_t count, long calls,
                     long kill_us, struct heard *heard) {
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(ends[0]);
        pipe_out = ends[1];
        static struct fs_ops ops;
        ops = killing();
        atomic_store(&calls_left, calls);
        fs_ops_set(&ops);
        child(config, first, count);
    }
    close(ends[1]);
    if (kill_us >= 0) {
        struct pollfd first_word = {.fd = ends[0], .events = POLLIN};
        poll(&first_word, 1, 20000);
        usleep((useconds_t)kill_us);
        kill(pid, SIGKILL);
    }
    uint64_t n;
    while (read(ends[0], &n, sizeof(n)) == (ssize_t)sizeof(n)) {
        if (n & RECEIPT_BIT) {
            heard->receipts[heard->receipt_count++ % FRAMES_MAX] = n;
        } else {
            ck_assert_uint_lt(n, FRAMES_MAX);
            heard->frames[n] = true;
        }
    }
    close(ends[0]);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_receipts(struct store_reader *reader, const struct heard *heard) {
    for (size_t i = 0; i < heard->receipt_count && i < FRAMES_MAX; i++) {
        bool found = false;
        for (uint64_t n = 0; !found && n < FRAMES_MAX; n++) {
            if (!heard->frames[n]) {
                continue; /* a receipt is for a frame that was acknowledged before, or nearly so */
            }
            struct store_frame want = case_frame(n, size_of(n));
            struct store_receipt receipt;
            hash_sha256(want.blob, size_of(n), &want.record.blob);
            uint64_t name;
            memcpy(&name, want.record.blob.bytes, sizeof(name));
            if ((name | RECEIPT_BIT) == heard->receipts[i]) {
                ck_assert_int_eq(store_receipt_get(reader, "cloud", want.record.tier,
                                                   &want.record.blob, &receipt, NULL),
                                 0);
                found = true;
            }
            case_frame_free(&want);
        }
        ck_assert_msg(found, "a receipt for a frame that was never acknowledged");
    }
}

/* Everything heard is there, whole; whatever else is there is whole too (fsck). */
static void check(const struct store_config *config, const struct case_dir *dir,
                  const struct heard *heard, uint64_t from, bool receipts) {
    struct store_fsck fsck;
    struct err err = {0};
    int code = store_fsck(dir->path, NULL, NULL, &fsck, &err);
    ck_assert_msg(code == 0 || code == ERR_NOT_FOUND, "%s", err.msg);
    struct store *store = case_open(config);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    for (uint64_t n = from; n < FRAMES_MAX; n++) {
        if (heard->frames[n]) {
            case_check(reader, n, size_of(n));
        }
    }
    if (receipts) {
        check_receipts(reader, heard);
    }
    store_reader_close(reader);
    store_close(store);
    case_fsck(dir, 0);
}

static struct heard *heard_new(void) {
    struct heard *heard = calloc(1, sizeof(*heard));
    ck_assert_ptr_nonnull(heard);
    return heard;
}

enum { SHORT_LIFE = 14, ROUND_FRAMES = 1200, STORE_ROUNDS = FRAMES_MAX / ROUND_FRAMES };

/* A life that ends at call `calls`; false when it ended by itself. */
static bool short_life(long calls, size_t *receipts) {
    struct case_dir dir;
    struct heard *heard = heard_new();
    case_dir_make_fast(&dir);
    struct store_config config = case_config(&dir);
    config.segment_bytes = 64u << 10;
    config.meta_bytes = 8192; /* so that it is compacted */
    config.group_frames = 3;
    int code = run_child(&config, 0, SHORT_LIFE, calls, -1, heard);
    ck_assert_int_ne(code, 2);
    check(&config, &dir, heard, 0, true);
    case_dir_remove(dir.path);
    *receipts += heard->receipt_count;
    free(heard);
    return code != 0;
}

START_TEST(dies_at_every_call) {
    unsigned rounds = 0;
    size_t receipts = 0;
    clock_trust(true);
    on_sqlite = false;
    for (long calls = 1; short_life(calls, &receipts); calls++) {
        rounds++;
    }
    ck_assert_uint_gt(rounds, 50);
    ck_assert_uint_gt(receipts, 10);
}
END_TEST

START_TEST(dies_at_calls_of_sqlite) {
    long calls = 1, step = calls_number("CREEL_FAULT_STEP", 31), rounds = 0;
    size_t receipts = 0;
    clock_trust(true);
    on_sqlite = true;
    for (; short_life(calls, &receipts); calls += step) {
        rounds++;
    }
    printf("store, killed at %ld of %ld calls of SQLite: nothing acknowledged lost\n", rounds,
           calls);
    ck_assert_int_gt(calls, 50);
}
END_TEST

struct score {
    unsigned rounds, killed;
    uint64_t acked, receipts;
};

/* One store that dies again and again; what it ever acknowledged must survive all of it. */
static void long_life(unsigned *seed, unsigned rounds, struct score *tally) {
    struct case_dir dir;
    struct heard *heard = heard_new();
    case_dir_make_fast(&dir);
    struct store_config config = case_config(&dir);
    config.segment_bytes = 256u << 10;
    config.meta_bytes = 8192; /* so that it is compacted */
    for (uint64_t round = 0; round < rounds; round++) {
        *seed = *seed * 1103515245u + 12345u;
        long moment = (long)(500 + (*seed >> 8) % 60000); /* after its first acknowledgement */
        tally->killed +=
            run_child(&config, round * ROUND_FRAMES, ROUND_FRAMES, -1, moment, heard) == -1;
        check(&config, &dir, heard, round * ROUND_FRAMES, false);
    }
    check(&config, &dir, heard, 0, false);
    for (size_t n = 0; n < FRAMES_MAX; n++) {
        tally->acked += heard->frames[n];
    }
    tally->receipts += heard->receipt_count;
    tally->rounds += rounds;
    case_dir_remove(dir.path);
    free(heard);
}

START_TEST(dies_at_any_moment) {
    unsigned rounds = (unsigned)calls_number("CREEL_KILL_ROUNDS", 20);
    unsigned first = (unsigned)calls_number("CREEL_SEED", 20261121), seed = first;
    struct score tally = {0};
    clock_trust(true);
    while (tally.rounds < rounds) {
        unsigned left = rounds - tally.rounds;
        long_life(&seed, left < STORE_ROUNDS ? left : STORE_ROUNDS, &tally);
    }
    printf("store, kill -9: %u rounds, %u killed, seed %u, %llu frames and %llu receipts "
           "acknowledged, 0 lost, 0 torn visible\n",
           tally.rounds, tally.killed, first, (unsigned long long)tally.acked,
           (unsigned long long)tally.receipts);
    ck_assert_uint_gt(tally.killed, rounds / 2); /* else it proves nothing */
    ck_assert_uint_gt(tally.acked, 5 * rounds);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_crash");
    TCase *tests = tcase_create("kill");
    tcase_set_timeout(tests, 7200);
    tcase_add_test(tests, dies_at_every_call);
    tcase_add_test(tests, dies_at_calls_of_sqlite);
    tcase_add_test(tests, dies_at_any_moment);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
