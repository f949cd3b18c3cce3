/* The directory source while system calls and allocations fail: whichever one it is, every file is
 * kept in the end, none is deleted before, and none is taken twice without a reason. */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/source.h"
#include "tests/suite.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES    3
#define KEYS_MAX 512
#define FAULTS   40 /* more than one run makes; the test fails if that is not so */
#define WAIT_US  30000000

/* ---- the Nth call of the file system table fails ---- */

static atomic_long calls_left;

static bool must_fail(void) {
    if (atomic_fetch_sub(&calls_left, 1) != 0) {
        return false;
    }
    errno = EIO;
    return true;
}

static int fail_open(const char *path, int flags, mode_t mode) {
    return must_fail() ? -1 : fs_ops_real.open(path, flags, mode);
}

static ssize_t fail_pread(int fd, void *bytes, size_t size, off_t at) {
    return must_fail() ? -1 : fs_ops_real.pread(fd, bytes, size, at);
}

static int fail_fsync(int fd) {
    return must_fail() ? -1 : fs_ops_real.fsync(fd);
}

/* ---- what the source reports to ---- */

struct state {
    pthread_mutex_t lock;
    char dir[64];
    unsigned kept[FILES]; /* by the digit in the picture */
    uint8_t keys[KEYS_MAX][SOURCE_KEY_MAX];
    size_t sizes[KEYS_MAX], key_count;
    unsigned adds;
};

static void name_of(const struct state *state, int i, char *path, size_t size) {
    snprintf(path, size, "%s/f%d.jpg", state->dir, i);
}

static void submit(void *ctx, struct frame *frame) {
    struct state *state = ctx;
    char path[128];
    int which = frame->blob[4] - '0';
    ck_assert(which >= 0 && which < FILES);
    name_of(state, which, path, sizeof path);
    ck_assert_int_eq(access(path, F_OK), 0); /* not deleted before it is kept */
    pthread_mutex_lock(&state->lock);
    state->kept[which]++;
    pthread_mutex_unlock(&state->lock);
    frame_settle(frame, FRAME_KEPT, NULL);
}

static size_t key_find(const struct state *state, const void *key, size_t size) {
    size_t at = 0;
    while (at < state->key_count &&
           (state->sizes[at] != size || memcmp(state->keys[at], key, size) != 0)) {
        at++;
    }
    return at;
}

static bool key_has(void *ctx, const char *camera, const void *key, size_t size) {
    struct state *state = ctx;
    (void)camera;
    return key_find(state, key, size) < state->key_count;
}

static int key_add(void *ctx, const char *camera, const void *key, size_t size, struct err *err) {
    struct state *state = ctx;
    (void)camera;
    (void)err;
    ck_assert_uint_lt(state->key_count, KEYS_MAX);
    memcpy(state->keys[state->key_count], key, size);
    state->sizes[state->key_count++] = size;
    pthread_mutex_lock(&state->lock);
    state->adds++;
    pthread_mutex_unlock(&state->lock);
    return 0;
}

static void key_forget(void *ctx, const char *camera, const void *key, size_t size) {
    struct state *state = ctx;
    (void)camera;
    size_t at = key_find(state, key, size);
    ck_assert_uint_lt(at, state->key_count);
    state->sizes[at] = 0;
}

static bool all_gone(struct state *state) {
    char path[128];
    bool gone = true;
    for (int i = 0; i < FILES; i++) {
        name_of(state, i, path, sizeof path);
        gone = gone && access(path, F_OK) != 0;
    }
    return gone;
}

static void put_files(struct state *state) {
    char path[128];
    memset(state->kept, 0, sizeof state->kept);
    for (int i = 0; i < FILES; i++) {
        name_of(state, i, path, sizeof path);
        FILE *file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fprintf(file, "\xff\xd8\xff\xe0%d\xff\xd9", i);
        fclose(file);
    }
}

static void wait_all_gone(struct state *state, long n) {
    int64_t until = clock_boot_us() + WAIT_US;
    while (!all_gone(state) && clock_boot_us() < until) {
        clock_sleep_ms(1);
    }
    ck_assert_msg(all_gone(state), "files are left after fault %ld", n);
    for (int i = 0; i < FILES; i++) {
        ck_assert_msg(state->kept[i] == 1, "fault %ld: f%d.jpg was taken %u times", n, i,
                      state->kept[i]);
    }
}

/* One life of a source over FILES files, which are to be deleted once kept. */
static void run_once(struct state *state, long n) {
    char uri[96];
    snprintf(uri, sizeof uri, "directory:%s", state->dir);
    struct source_config config = {.name = "inbox", .source = uri, .after = SOURCE_DELETE};
    struct source_memory memory = {
        .ctx = state, .has = key_has, .add = key_add, .forget = key_forget};
    struct source_sink sink = {.ctx = state, .submit = submit};
    struct source *source = NULL;
    struct err err = {0};
    put_files(state);
    int code = source_start(&config, &memory, &sink, &source, &err);
    if (code) { /* only for want of memory: the next start must do */
        ck_assert_int_eq(code, ERR_NOMEM);
        mem_fail_after(-1);
        ck_assert_int_eq(source_start(&config, &memory, &sink, &source, &err), 0);
    }
    wait_all_gone(state, n);
    source_stop(source);
}

static struct state *state_create(void) {
    struct state *state = calloc(1, sizeof *state);
    ck_assert_ptr_nonnull(state);
    pthread_mutex_init(&state->lock, NULL);
    snprintf(state->dir, sizeof state->dir, "/tmp/creel-source-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(state->dir));
    log_set_level(LOG_LEVEL_ERROR);
    return state;
}

static void state_destroy(struct state *state) {
    ck_assert_int_eq(rmdir(state->dir), 0); /* nothing of ours is left behind */
    free(state);
}

START_TEST(any_system_call_may_fail_once) {
    struct state *state = state_create();
    struct fs_ops ops = fs_ops_real;
    ops.open = fail_open;
    ops.pread = fail_pread;
    ops.fsync = fail_fsync;
    fs_ops_set(&ops);
    long n = 0;
    for (;; n++) {
        ck_assert_int_lt(n, FAULTS);
        atomic_store(&calls_left, n);
        run_once(state, n);
        if (atomic_load(&calls_left) >= 0) {
            break; /* it did not fire */
        }
        state->key_count = 0; /* a key that could not be forgotten is no fault here */
    }
    ck_assert_int_ge(n, 2 * FILES);
    fs_ops_set(NULL);
    state_destroy(state);
}
END_TEST

START_TEST(any_allocation_may_fail_once) {
    struct state *state = state_create();
    for (long n = 0; n < FAULTS; n++) {
        mem_fail_after(n);
        run_once(state, n);
        mem_fail_after(-1);
        ck_assert_uint_eq(state->adds, (unsigned)(FILES * (n + 1)));
    }
    state_destroy(state);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference/source");
    TCase *tcase = tcase_create("faults");
    tcase_set_timeout(tcase, 240);
    tcase_add_test(tcase, any_system_call_may_fail_once);
    tcase_add_test(tcase, any_allocation_may_fail_once);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
