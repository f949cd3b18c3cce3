/* store_calls: what the store's fault layers share: which calls are SQLite's, and SQLite's syncs.
 *
 * SQLite's other system calls come through fs_ops (store/db.c), but it has no slot for fsync and
 * fdatasync. The two functions here stand before libc's, for SQLite as for us, and go through the
 * table as well; a layer that wants the real thing calls calls_fdatasync or calls_fsync. One file
 * of a test program includes this header. Thread: any.
 */
#ifndef CREEL_TESTS_STORE_CALLS_H
#define CREEL_TESTS_STORE_CALLS_H

#include "daemon/base/fs.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS_FDS_MAX 4096

static inline int calls_fdatasync(int fd) {
    return (int)syscall(SYS_fdatasync, fd);
}

static inline int calls_fsync(int fd) {
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    const struct fs_ops *ops = fs_ops_get();
    return ops == &fs_ops_real ? calls_fdatasync(fd) : ops->fdatasync(fd);
}

int fsync(int fd) {
    const struct fs_ops *ops = fs_ops_get();
    return ops == &fs_ops_real ? calls_fsync(fd) : ops->fsync(fd);
}

/* index.db, state.db, and their -wal, -shm and -journal. */
static inline bool calls_path_is_sqlite(const char *path) {
    const char *name = strrchr(path, '/');
    return strstr(name ? name : path, ".db") != NULL;
}

/* By the name behind the descriptor, so that nothing has to be remembered. */
static inline bool calls_fd_is_sqlite(int fd) {
    char link[64], path[FS_PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size > 0 ? size : 0] = '\0';
    return calls_path_is_sqlite(path);
}

/* SQLite syncs directories with fdatasync, we with fsync. */
static inline bool calls_datasync_is_sqlite(int fd) {
    struct stat info;
    return calls_fd_is_sqlite(fd) || (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode));
}

/* A number from the environment: how much of a campaign to run. */
static inline long calls_number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : otherwise;
}

#endif
