/* fs: the file system calls that must last, through one table.
 *
 * Whatever creel promises to keep is written through `struct fs_ops`, so that a test can make the
 * Nth call fail, or kill the process there. The helpers below add what every caller wants: EINTR
 * and short reads/writes handled, atomic replacement, directory syncing. Not: sockets, pipes,
 * memfds (those keep nothing). Thread: any; fs_ops_set only while nobody else runs.
 */
#ifndef CREEL_BASE_FS_H
#define CREEL_BASE_FS_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Each slot has the contract of the system call of its name: -1 and errno on failure. */
struct fs_ops {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *bytes, size_t size, off_t at);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t size, off_t at);
    ssize_t (*pwritev)(int fd, const struct iovec *parts, int count, off_t at);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*fallocate)(int fd, int mode, off_t at, off_t size);
    int (*ftruncate)(int fd, off_t size);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*flock)(int fd, int operation);
};

extern const struct fs_ops fs_ops_real;

/* NULL restores fs_ops_real. The table is borrowed and must outlive its use. */
void fs_ops_set(const struct fs_ops *ops);
const struct fs_ops *fs_ops_get(void);

int fs_open(const char *path, int flags, mode_t mode, int *fd,
            struct err *err);                            /* adds O_CLOEXEC */
int fs_close(int fd, const char *path, struct err *err); /* reports what close(2) says */

/* Exactly `size` bytes, or ERR_CORRUPT ("ends early") on a shorter file. */
int fs_pread_all(int fd, void *bytes, size_t size, uint64_t at, const char *path, struct err *err);
/* As much of `*size` bytes as the file has from `at` on; `*size` says how much that was. */
int fs_pread_some(int fd, void *bytes, size_t *size, uint64_t at, const char *path,
                  struct err *err);
int fs_pwrite_all(int fd, const void *bytes, size_t size, uint64_t at, const char *path,
                  struct err *err);

/* Writes all parts in order. `parts` is used as scratch and holds nothing useful afterwards. */
int fs_pwritev_all(int fd, struct iovec *parts, int count, uint64_t at, const char *path,
                   struct err *err);

int fs_datasync(int fd, const char *path, struct err *err);
int fs_sync_dir(const char *dir, struct err *err);
int fs_unlink(const char *path, struct err *err); /* a path that is not there is no error */
int fs_rename(const char *from, const char *to, struct err *err);

/* mkdir -p with 0750 for what it makes; an existing directory is no error. Each directory made is
 * durable when it returns 0: its parent is synced. */
int fs_mkdirs(const char *dir, struct err *err);

/* The whole file into `out` (at most out->max bytes, else ERR_FULL). */
int fs_read_file(const char *path, struct buf *out, struct err *err);

/* Temporary file beside `path`, write, fsync, rename, sync the directory: afterwards the file is
 * there whole, or as it was. Durable when it returns 0. */
int fs_write_file_atomic(const char *path, const void *bytes, size_t size, mode_t mode,
                         struct err *err);

/* Takes an exclusive lock on `path` (made if missing) without waiting; ERR_BUSY when somebody has
 * it. The lock ends when `*fd` is closed. */
int fs_lock(const char *path, int *fd, struct err *err);

/* Bytes of the file system that holds `path`: its size, and what an unprivileged writer may still
 * use. */
int fs_space(const char *path, uint64_t *total, uint64_t *available, struct err *err);

/* Joins with one '/', into `out` of `size`; ERR_INVALID when it does not fit. */
int fs_join(char *out, size_t size, const char *dir, const char *name, struct err *err);

#define FS_PATH_MAX 4096

#endif
