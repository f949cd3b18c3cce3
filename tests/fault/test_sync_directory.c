/* The directory remote under a file system that fails: every call that it makes fails once, in
 * turn. After each: no receipt without durable bytes, no torn file under a name, nothing hidden
 * left behind, and the next try succeeds.
 */
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/remote.h"
#include "tests/servers/servers.h"
#include "tests/suite.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static long calls_left = -1; /* the call that fails; negative: none */
static int fault_errno;
static bool fired, sync_fired;

static bool fails(void) {
    if (calls_left < 0 || calls_left-- > 0) {
        return false;
    }
    fired = true;
    errno = fault_errno;
    return true;
}

static int fault_open(const char *path, int flags, mode_t mode) {
    return fails() ? -1 : fs_ops_real.open(path, flags, mode);
}

static ssize_t fault_pread(int fd, void *bytes, size_t size, off_t at) {
    return fails() ? -1 : fs_ops_real.pread(fd, bytes, size, at);
}

static ssize_t fault_pwrite(int fd, const void *bytes, size_t size, off_t at) {
    if (fails()) {
        (void)!fs_ops_real.pwrite(fd, bytes, size / 2, at); /* half of it arrives */
        return -1;
    }
    return fs_ops_real.pwrite(fd, bytes, size, at);
}

static int fault_fsync(int fd) {
    if (fails()) {
        sync_fired = true;
        return -1;
    }
    return fs_ops_real.fsync(fd);
}

static int fault_mkdir(const char *path, mode_t mode) {
    return fails() ? -1 : fs_ops_real.mkdir(path, mode);
}

static int fault_unlink(const char *path) {
    return fails() ? -1 : fs_ops_real.unlink(path);
}

/* A file system without nameless files, as NFS and FAT are. */
static bool no_tmpfile;

static int plain_open(const char *path, int flags, mode_t mode) {
    if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return fault_open(path, flags, mode);
}

static struct fs_ops ops;
static char scratch[256];
static const char bytes[] = "bytes that must be whole or not there";

static void setup(void) {
    ops = fs_ops_real;
    ops.open = plain_open;
    ops.pread = fault_pread;
    ops.pwrite = fault_pwrite;
    ops.fsync = fault_fsync;
    ops.mkdir = fault_mkdir;
    ops.unlink = fault_unlink;
    servers_scratch(scratch, sizeof scratch);
    fs_ops_set(&ops);
}

static void teardown(void) {
    fs_ops_set(NULL);
    servers_run("rm -rf '%s'", scratch);
}

static enum remote_verdict put(struct remote *remote, const char *key, struct err *err) {
    struct store_outbox_row row = {.tier = TIER_ANNOTATED, .media = MEDIA_JPEG};
    struct remote_object object;
    struct remote_put conversation = {.object = &object};
    hash_sha256(bytes, sizeof bytes, &row.blob);
    sync__object_init(&object, &row, key, (const uint8_t *)bytes, sizeof bytes);
    return remote->ops->store(remote, &conversation, err);
}

static struct remote *remote_new(const char *path) {
    struct sync_remote_config config = {.name = "disk", .kind = SYNC_DIRECTORY, .path = path};
    struct remote *remote = NULL;
    ck_assert_int_eq(sync__remote_open(&config, &remote, NULL), 0);
    return remote;
}

static int open_files(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static bool is_receipt(enum remote_verdict verdict) {
    return verdict == REMOTE_STORED || verdict == REMOTE_COMPARED;
}

/* Whole, or not there. */
static bool check_whole(const char *path) {
    char got[sizeof bytes + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ck_assert_int_eq(errno, ENOENT);
        return false;
    }
    ck_assert_int_eq(read(fd, got, sizeof got), (ssize_t)sizeof bytes);
    ck_assert_mem_eq(got, bytes, sizeof bytes);
    close(fd);
    return true;
}

/* One round: false when the fault did not come any more. */
static bool round_run(long call, bool warm) {
    char path[400], file[600];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/%d-%d-%d-%ld", scratch, no_tmpfile, fault_errno, warm, call);
    snprintf(file, sizeof file, "%s/a/b/x.jpg", path);
    struct remote *remote = remote_new(path);
    if (warm) {
        ck_assert_int_eq(put(remote, "a/b/first.jpg", &err), REMOTE_STORED);
    }
    int files = open_files();
    calls_left = call;
    fired = sync_fired = false;
    enum remote_verdict verdict = put(remote, "a/b/x.jpg", &err);
    calls_left = -1;
    bool whole = check_whole(file);
    ck_assert_msg(!is_receipt(verdict) || whole, "call %ld: a receipt for nothing", call);
    ck_assert_msg(!(warm && sync_fired && is_receipt(verdict)),
                  "call %ld: a receipt though a sync failed", call);
    if (!is_receipt(verdict)) {
        ck_assert_msg(fired, "call %ld: %s", call, err.msg);
        ck_assert_str_ne(err.msg, "");
        ck_assert(verdict == REMOTE_RETRY || verdict == REMOTE_DENIED);
    }
    ck_assert_int_eq(open_files(), files);
    bool went_on = fired;
    verdict = put(remote, "a/b/x.jpg", &err);
    ck_assert_msg(is_receipt(verdict), "after call %ld: %s %s", call, err.msg, err.cause);
    ck_assert(check_whole(file));
    sync__remote_close(remote);
    return went_on;
}

static const int errnos[] = {EIO, ENOSPC, EACCES};

START_TEST(each_call_fails_once) {
    for (int warm = 0; warm < 2; warm++) {
        for (no_tmpfile = false;; no_tmpfile = true) {
            fault_errno = errnos[_i];
            long call = 0;
            while (round_run(call, warm)) {
                call++;
                ck_assert_int_lt(call, 200);
            }
            ck_assert_int_gt(call, 5); /* it did make calls */
            if (no_tmpfile) {
                break;
            }
        }
    }
}
END_TEST

START_TEST(nothing_hidden_stays_where_there_are_no_nameless_files) {
    char path[400];
    struct err err = {0};
    no_tmpfile = true;
    fault_errno = EIO;
    snprintf(path, sizeof path, "%s/hidden", scratch);
    struct remote *remote = remote_new(path);
    ck_assert_int_eq(put(remote, "a/first.jpg", &err), REMOTE_STORED);
    for (long call = 0; call < 12; call++) {
        char key[32];
        snprintf(key, sizeof key, "a/%ld.jpg", call);
        calls_left = call;
        (void)put(remote, key, &err);
        calls_left = -1;
        ck_assert_int_eq(put(remote, key, &err) == REMOTE_CONFLICT, 0);
    }
    ck_assert_int_eq(put(remote, "a/last.jpg", &err), REMOTE_STORED);
    /* one may stay where the removal itself was made to fail */
    ck_assert_int_eq(
        servers_run("test $(find '%s' -name '.creel-*' ! -name .creel-remote | wc -l) -le 1", path),
        0);
    sync__remote_close(remote);
}
END_TEST

START_TEST(a_root_that_cannot_be_made_is_named) {
    char link[400], path[420];
    struct err err = {0};
    snprintf(link, sizeof link, "%s/dangling", scratch);
    snprintf(path, sizeof path, "%s/remote", link);
    ck_assert_int_eq(symlink("/nonexistent/place", link), 0);
    struct remote *remote = remote_new(path);
    ck_assert_int_eq(put(remote, "a/x.jpg", &err), REMOTE_RETRY);
    ck_assert_msg(strstr(err.cause, "cannot make the directory") != NULL, "%s: %s", err.msg,
                  err.cause);
    sync__remote_close(remote);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: directory under faults");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, each_call_fails_once, 0, (int)ARRAY_LENGTH(errnos));
    tcase_add_test(all, a_root_that_cannot_be_made_is_named);
    tcase_add_test(all, nothing_hidden_stays_where_there_are_no_nameless_files);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
