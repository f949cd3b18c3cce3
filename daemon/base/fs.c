/* fs: see fs.h. Every call that keeps something goes through `table`. */
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int real_open(const char *path, int flags, mode_t mode) {
    return open(path, flags, mode);
}

const struct fs_ops fs_ops_real = {
    .open = real_open,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .pwritev = pwritev,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
    .flock = flock,
};

static const struct fs_ops *table = &fs_ops_real;

void fs_ops_set(const struct fs_ops *ops) {
    table = ops ? ops : &fs_ops_real;
}

const struct fs_ops *fs_ops_get(void) {
    return table;
}

int fs_open(const char *path, int flags, mode_t mode, int *fd, struct err *err) {
    int opened;
    do {
        opened = table->open(path, flags | O_CLOEXEC, mode);
    } while (opened < 0 && errno == EINTR);
    if (opened < 0) {
        return err_sys(err, errno, "cannot open %s", path);
    }
    *fd = opened;
    return 0;
}

/* Linux frees the descriptor even when close fails with EINTR, so it is never repeated. */
int fs_close(int fd, const char *path, struct err *err) {
    if (table->close(fd) < 0 && errno != EINTR) {
        return err_sys(err, errno, "cannot close %s", path);
    }
    return 0;
}

int fs_pread_some(int fd, void *bytes, size_t *size, uint64_t at, const char *path,
                  struct err *err) {
    size_t done = 0;
    while (done < *size) {
        ssize_t got = table->pread(fd, (char *)bytes + done, *size - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "cannot read %s", path);
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *size = done;
    return 0;
}

int fs_pread_all(int fd, void *bytes, size_t size, uint64_t at, const char *path, struct err *err) {
    size_t got = size;
    int code = fs_pread_some(fd, bytes, &got, at, path, err);
    if (!code && got < size) {
        code = err_set(err, ERR_CORRUPT, "%s ends early, at byte %llu", path,
                       (unsigned long long)(at + got));
    }
    return code;
}

int fs_pwrite_all(int fd, const void *bytes, size_t size, uint64_t at, const char *path,
                  struct err *err) {
    const char *next = bytes;
    while (size) {
        ssize_t put = table->pwrite(fd, next, size, (off_t)at);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return err_sys(err, put < 0 ? errno : EIO, "cannot write %s", path);
        }
        next += put;
        at += (uint64_t)put;
        size -= (size_t)put;
    }
    return 0;
}

/* Drops `done` bytes from the front; returns how many parts are finished. */
static int skip_parts(struct iovec *parts, int count, size_t done) {
    int first = 0;
    while (first < count && done >= parts[first].iov_len) {
        done -= parts[first].iov_len;
        first++;
    }
    if (first < count) {
        parts[first].iov_base = (char *)parts[first].iov_base + done;
        parts[first].iov_len -= done;
    }
    return first;
}

int fs_pwritev_all(int fd, struct iovec *parts, int count, uint64_t at, const char *path,
                   struct err *err) {
    int finished = skip_parts(parts, count, 0);
    while (finished < count) {
        int chunk = count - finished < IOV_MAX ? count - finished : IOV_MAX;
        ssize_t put = table->pwritev(fd, parts + finished, chunk, (off_t)at);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return err_sys(err, put < 0 ? errno : EIO, "cannot write %s", path);
        }
        at += (uint64_t)put;
        finished += skip_parts(parts + finished, count - finished, (size_t)put);
    }
    return 0;
}

int fs_datasync(int fd, const char *path, struct err *err) {
    if (table->fdatasync(fd) < 0) {
        return err_sys(err, errno, "cannot make %s durable", path);
    }
    return 0;
}

int fs_sync_dir(const char *dir, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(dir, O_RDONLY | O_DIRECTORY, 0, &fd, err);
    if (code) {
        return code;
    }
    if (table->fsync(fd) < 0) {
        return err_sys(err, errno, "cannot make the directory %s durable", dir);
    }
    return 0;
}

int fs_unlink(const char *path, struct err *err) {
    if (table->unlink(path) < 0 && errno != ENOENT) {
        return err_sys(err, errno, "cannot remove %s", path);
    }
    return 0;
}

int fs_rename(const char *from, const char *to, struct err *err) {
    if (table->rename(from, to) < 0) {
        return err_sys(err, errno, "cannot rename %s to %s", from, to);
    }
    return 0;
}

int fs_read_file(const char *path, struct buf *out, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(path, O_RDONLY, 0, &fd, err);
    if (code) {
        return code;
    }
    char chunk[16384];
    uint64_t at = 0;
    for (;;) {
        ssize_t got = table->pread(fd, chunk, sizeof(chunk), (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "cannot read %s", path);
        }
        if (got == 0) {
            return 0;
        }
        bool fits = (size_t)got <= out->max - out->len;
        buf_append(out, chunk, (size_t)got);
        if (out->failed) {
            return fits ? err_set(err, ERR_NOMEM, "no memory to read %s", path)
                        : err_set(err, ERR_FULL, "%s is larger than %zu bytes", path, out->max);
        }
        at += (uint64_t)got;
    }
}

static int write_and_sync(const char *path, const void *bytes, size_t size, mode_t mode,
                          struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(path, O_WRONLY | O_CREAT | O_TRUNC, mode, &fd, err);
    if (!code) {
        code = fs_pwrite_all(fd, bytes, size, 0, path, err);
    }
    if (!code && table->fsync(fd) < 0) {
        code = err_sys(err, errno, "cannot make %s durable", path);
    }
    if (!code) {
        code = fs_close(TAKE_FD(fd), path, err);
    }
    return code;
}

static const char *dir_of(const char *path, char *out, size_t size) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (!slash) {
        snprintf(out, size, ".");
    } else {
        snprintf(out, size, "%.*s", (int)(length ? length : 1), path);
    }
    return out;
}

/* Makes it durable too: what is kept below must not go with the name of a directory above. */
static int dir_make(const char *path, struct err *err) {
    char parent[FS_PATH_MAX];
    struct stat info;
    if (table->mkdir(path, 0750) == 0) {
        return fs_sync_dir(dir_of(path, parent, sizeof(parent)), err);
    }
    if (errno != EEXIST) {
        return err_sys(err, errno, "cannot make the directory %s", path);
    }
    if (stat(path, &info) < 0 || !S_ISDIR(info.st_mode)) {
        return err_sys(err, ENOTDIR, "cannot make the directory %s", path);
    }
    return 0;
}

int fs_mkdirs(const char *dir, struct err *err) {
    char path[FS_PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s", dir);
    if (size <= 0 || (size_t)size >= sizeof(path)) {
        return err_set(err, ERR_INVALID, "cannot make the directory \"%.80s\": bad path", dir);
    }
    for (char *slash = path + 1;; slash++) {
        if (*slash && *slash != '/') {
            continue;
        }
        char kept = *slash;
        *slash = '\0';
        int code = dir_make(path, err);
        if (code) {
            return code;
        }
        *slash = kept;
        if (!kept) {
            return 0;
        }
    }
}

int fs_write_file_atomic(const char *path, const void *bytes, size_t size, mode_t mode,
                         struct err *err) {
    char temporary[FS_PATH_MAX], dir[FS_PATH_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    if (length <= 0 || (size_t)length >= sizeof(temporary)) {
        return err_set(err, ERR_INVALID, "cannot write \"%.80s\": the path is too long", path);
    }
    int code = write_and_sync(temporary, bytes, size, mode, err);
    if (!code) {
        code = fs_rename(temporary, path, err);
    }
    if (code) {
        fs_unlink(temporary, NULL);
        return code;
    }
    return fs_sync_dir(dir_of(path, dir, sizeof(dir)), err);
}

int fs_lock(const char *path, int *fd, struct err *err) {
    CLEANUP(fd_close_at) int lock = -1;
    int code = fs_open(path, O_RDWR | O_CREAT, 0640, &lock, err);
    if (code) {
        return code;
    }
    if (table->flock(lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK) {
            return err_set(err, ERR_BUSY, "%s is held by another process", path);
        }
        return err_sys(err, errno, "cannot lock %s", path);
    }
    *fd = TAKE_FD(lock);
    return 0;
}

int fs_space(const char *path, uint64_t *total, uint64_t *available, struct err *err) {
    struct statvfs info;
    if (statvfs(path, &info) < 0) {
        return err_sys(err, errno, "cannot ask for the free space at %s", path);
    }
    *total = (uint64_t)info.f_blocks * info.f_frsize;
    *available = (uint64_t)info.f_bavail * info.f_frsize;
    return 0;
}

int fs_join(char *out, size_t size, const char *dir, const char *name, struct err *err) {
    size_t length = strlen(dir);
    const char *slash = length && dir[length - 1] == '/' ? "" : "/";
    int written = snprintf(out, size, "%s%s%s", dir, slash, name);
    if (written < 0 || (size_t)written >= size) {
        return err_set(err, ERR_INVALID, "the path %.80s…/%.80s is too long", dir, name);
    }
    return 0;
}
