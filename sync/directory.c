/* directory: a disk or a network share, with the same keys as files.
 *
 * Goal: what a receipt stands for survives a power cut, and a share that is not mounted is noticed
 * before a byte goes to the wrong disk. Invariants:
 *  1. A file appears under its name whole and synced, or not at all: nameless temporary file
 * (O_TMPFILE), write, fsync, link, fsync of the directory. Where the file system has no nameless
 * files: a hidden temporary name.
 *  2. Nothing is ever replaced: link fails where the name is taken; then the bytes are compared by
 * size and SHA-256.
 *  3. Every new directory's entry is synced in its parent before a receipt is given for what is in
 * it.
 *  4. The mark file `.creel-remote` holds a random id, written when creel made use of the directory
 * for the first time, and remembered in the store's state. A remembered mark that is not there, or
 * another, means: not mounted. Not protected against: somebody who writes there on purpose while
 * creel does; names are checked, links are followed. Rejected: rename over the name (replaces),
 * comparing times, one directory a hash prefix (a day's folder holds few thousand files, which
 * ext4, XFS and NTFS index).
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "sync/directory_list.h"
#include "sync/drop.h"
#include "sync/listing.h"
#include "sync/remote.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK_NAME     ".creel-remote"
#define MARK_MAX      256
#define FILE_MODE     0644
#define DIR_MODE      0755
#define COMPARE_BYTES (64u << 10)
#define NAME_PART_MAX 255 /* NAME_MAX of every file system in use */

struct directory {
    struct remote remote;
    char path[FS_PATH_MAX];
    char mark[HASH_ID_SIZE]; /* "" until the guard has seen it */
    char made[FS_PATH_MAX];  /* the directory made or found last: most objects go where the last one
                                went */
};

static struct directory *directory_of(struct remote *remote) {
    return (struct directory *)(void *)remote;
}

static void directory_close(struct remote *remote) {
    free(directory_of(remote));
}

static int directory_open(const struct sync_remote_config *config, struct remote **out,
                          struct err *err) {
    const char *path = config->path;
    if (path == NULL || path[0] == '\0') {
        return err_set(err, ERR_CONFIG, "path: missing");
    }
    size_t length = strlen(path);
    if (path[0] != '/' || length >= FS_PATH_MAX / 2) {
        return err_set(err, ERR_CONFIG, "path: must be absolute and shorter than %d bytes",
                       FS_PATH_MAX / 2);
    }
    while (length > 1 && path[length - 1] == '/') {
        length--;
    }
    struct directory *directory = mem_alloc(sizeof *directory);
    if (directory == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a remote");
    }
    directory->remote.ops = &sync__directory_ops;
    memcpy(directory->path, path, length);
    snprintf(directory->remote.where, sizeof directory->remote.where, "%.255s", directory->path);
    const char *parts[] = {"directory", directory->path};
    sync__identity_set(&directory->remote, parts, ARRAY_LENGTH(parts));
    *out = &directory->remote;
    return 0;
}

/* ---- directories ---- */

/* mkdir -p below the first `root` bytes of `path`, which are there. Every level is synced in its
 * parent, also where it was there already: whoever made it may have been cut off before. `path` is
 * put back as it was. */
static int make_dirs(char *path, size_t root, struct err *err) {
    char *slash = strlen(path) > root ? strrchr(path, '/') : NULL;
    if (slash == NULL) {
        return 0;
    }
    *slash = '\0';
    int code = make_dirs(path, root, err);
    *slash = '/';
    if (code == 0 && fs_ops_get()->mkdir(path, DIR_MODE) != 0 && errno != EEXIST) {
        code = err_sys(err, errno, "cannot make %s", path);
    }
    if (code == 0) {
        *slash = '\0';
        code = fs_sync_dir(path[0] != '\0' ? path : "/", err);
        *slash = '/';
    }
    return code;
}

/* The remote's own directory, the first time. Its parent may not be ours to open; then the file
 * system must do. */
static int make_root(const char *path, struct err *err) {
    char parent[FS_PATH_MAX];
    struct err ignored;
    int code = fs_mkdirs(path, err);
    if (code == 0) {
        memcpy(parent, path, strlen(path) + 1);
        *strrchr(parent, '/') = '\0';
        (void)fs_sync_dir(parent[0] != '\0' ? parent : "/", &ignored);
    }
    return code;
}

/* ---- one file ---- */

/* No part may be empty, ".", "..", too long, or hold what is no name. */
static int name_check(const char *name, struct err *err) {
    const char *part = name;
    for (;;) {
        size_t length = strcspn(part, "/");
        bool dots = (length == 1 && part[0] == '.') || (length == 2 && memcmp(part, "..", 2) == 0);
        if (length == 0 || length > NAME_PART_MAX || dots) {
            return err_set(err, ERR_INVALID, "%s cannot be the name of a file", name);
        }
        if (part[length] == '\0') {
            return 0;
        }
        part += length + 1;
    }
}

static int hash_file(int fd, size_t size, const char *path, struct frame_hash *out,
                     struct err *err) {
    struct hash_stream *stream = hash_stream_create();
    uint8_t *bytes = mem_alloc(COMPARE_BYTES);
    int code = stream == NULL || bytes == NULL
                   ? err_set(err, ERR_NOMEM, "no memory to compare %s", path)
                   : 0;
    for (size_t at = 0; code == 0 && at < size;) {
        size_t part = size - at < COMPARE_BYTES ? size - at : COMPARE_BYTES;
        code = fs_pread_all(fd, bytes, part, at, path, err);
        if (code == 0) {
            hash_stream_add(stream, bytes, part);
            at += part;
        }
    }
    struct frame_hash hash = {0};
    hash_stream_finish(stream, &hash);
    free(bytes);
    if (code == 0) {
        *out = hash;
    }
    return code;
}

/* What lies under the name: COMPARED, CONFLICT, or AGAIN where nothing does. */
static enum remote_verdict compare(const struct remote_object *object, const char *path,
                                   struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    struct frame_hash hash;
    struct stat info;
    int code = fs_open(path, O_RDONLY | O_NONBLOCK, 0, &fd, err);
    if (code == ERR_NOT_FOUND) {
        return REMOTE_AGAIN;
    }
    if (code == 0 && fstat(fd, &info) != 0) {
        code = err_sys(err, errno, "looking at %s", path);
    }
    if (code != 0) {
        return REMOTE_RETRY;
    }
    bool same = S_ISREG(info.st_mode) && (uint64_t)info.st_size == object->size;
    if (same) {
        if (hash_file(fd, object->size, path, &hash, err) != 0) {
            return REMOTE_RETRY;
        }
        same = memcmp(&hash, &object->sha256, sizeof hash) == 0;
    }
    if (!same) {
        err_set(err, ERR_EXISTS, "other bytes lie under the name %s (%lld bytes there, %zu here)",
                path, (long long)info.st_size, object->size);
        return REMOTE_CONFLICT;
    }
    /* Whoever wrote it may have been cut off between link and sync: a receipt stands for both. */
    return fs_ops_get()->fsync(fd) == 0 ? REMOTE_COMPARED
                                        : (err_sys(err, errno, "syncing %s", path), REMOTE_RETRY);
}

struct pending { /* a file that has no name yet, or a hidden one */
    int fd;
    char hidden[FS_PATH_MAX]; /* "": it has none */
};

static int pending_open(const char *dir, struct pending *out, struct err *err) {
    out->hidden[0] = '\0';
    int code = fs_open(dir, O_TMPFILE | O_WRONLY, FILE_MODE, &out->fd, err);
    if (code == 0 || (err->sys_errno != EOPNOTSUPP && err->sys_errno != EISDIR &&
                      err->sys_errno != EINVAL && err->sys_errno != ENOENT)) {
        return code;
    }
    struct frame_id id;
    char name[HASH_ID_SIZE], file[HASH_ID_SIZE + 16];
    frame_id_create(clock_utc_us(), &id);
    snprintf(file, sizeof file, ".creel-%s", frame_id_format(&id, name));
    code = fs_join(out->hidden, sizeof out->hidden, dir, file, err);
    if (code == 0) {
        code = fs_open(out->hidden, O_CREAT | O_EXCL | O_WRONLY, FILE_MODE, &out->fd, err);
    }
    return code;
}

/* Gives the file its name; ERR_EXISTS where it is taken. */
static int pending_name(const struct pending *pending, const char *path, struct err *err) {
    char self[64];
    int result;
    if (pending->hidden[0] == '\0') {
        snprintf(self, sizeof self, "/proc/self/fd/%d", pending->fd);
        result = linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    } else {
        result = link(pending->hidden, path);
        if (result != 0 &&
            (errno == EPERM || errno == EOPNOTSUPP)) { /* FAT, some shares: no links */
            result = renameat2(AT_FDCWD, pending->hidden, AT_FDCWD, path, RENAME_NOREPLACE);
        }
    }
    return result == 0 ? 0 : err_sys(err, errno, "naming %s", path);
}

/* ERR_EXISTS: the name is taken, by something that is durable there. */
static int write_new(const void *bytes, size_t size, const char *dir, const char *path,
                     struct err *err) {
    struct pending pending = {.fd = -1};
    int code = pending_open(dir, &pending, err);
    if (code == 0) {
        code = fs_pwrite_all(pending.fd, bytes, size, 0, path, err);
    }
    if (code == 0 && fs_ops_get()->fsync(pending.fd) != 0) {
        code = err_sys(err, errno, "syncing %s", path);
    }
    if (code == 0) {
        code = pending_name(&pending, path, err);
    }
    if (pending.hidden[0] != '\0') {
        struct err ignored;
        (void)fs_unlink(pending.hidden, &ignored);
    }
    fd_close_at(&pending.fd);
    if (code == 0 || code == ERR_EXISTS) {
        int synced = fs_sync_dir(dir, err);
        return synced != 0 ? synced : code;
    }
    return code;
}

/* ---- the mount guard ---- */

static int mark_read(const char *path, char mark[HASH_ID_SIZE], struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(MARK_MAX);
    struct frame_id id;
    int code = fs_read_file(path, &text, err);
    if (code != 0) {
        return code;
    }
    size_t length = text.len > 0 ? strcspn(text.data, " \t\r\n") : 0;
    if (length != HASH_ID_SIZE - 1) {
        return err_set(err, ERR_CORRUPT, "%s is not a mark that creel wrote", path);
    }
    memcpy(mark, text.data, length);
    mark[length] = '\0';
    return frame_id_parse(mark, &id)
               ? 0
               : err_set(err, ERR_CORRUPT, "%s is not a mark that creel wrote", path);
}

/* Two devices may come at once: the first one's mark stays, and is then read by both. */
static int mark_write(const char *dir, const char *path, struct err *err) {
    struct frame_id id;
    char text[HASH_ID_SIZE], line[HASH_ID_SIZE + 1];
    frame_id_create(clock_utc_us(), &id);
    int length = snprintf(line, sizeof line, "%s\n", frame_id_format(&id, text));
    int code = write_new(line, (size_t)length, dir, path, err);
    return code == ERR_EXISTS ? 0 : code;
}

static int mark_wanted(struct directory *directory, char wanted[HASH_ID_SIZE], struct err *err) {
    const struct remote_memory *memory = &directory->remote.memory;
    wanted[0] = '\0';
    if (directory->mark[0] != '\0') {
        memcpy(wanted, directory->mark, sizeof directory->mark);
        return 0;
    }
    int code = memory->get != NULL ? memory->get(memory->ctx, wanted, err) : ERR_NOT_FOUND;
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* The first time: make the directory and the mark, or adopt the mark that another device left. */
static int mark_first(struct directory *directory, const char *path, char found[HASH_ID_SIZE],
                      struct err *err) {
    int code = make_root(directory->path, err);
    if (code != 0) {
        return code; /* "not found" of the directory is not that of the mark */
    }
    code = mark_read(path, found, err);
    if (code == ERR_NOT_FOUND) {
        code = mark_write(directory->path, path, err);
        if (code == 0) {
            code = mark_read(path, found, err);
        }
    }
    const struct remote_memory *memory = &directory->remote.memory;
    if (code == 0 && memory->put != NULL) {
        code = memory->put(memory->ctx, found, err);
    }
    return code;
}

/* Before each object: mounts come and go while we run. */
static int guard(struct directory *directory, struct err *err) {
    char path[FS_PATH_MAX], wanted[HASH_ID_SIZE], found[HASH_ID_SIZE];
    int code = fs_join(path, sizeof path, directory->path, MARK_NAME, err);
    if (code == 0) {
        code = mark_wanted(directory, wanted, err);
    }
    if (code != 0) {
        return code;
    }
    if (wanted[0] == '\0') {
        code = mark_first(directory, path, found, err);
    } else {
        code = mark_read(path, found, err);
        if (code == ERR_NOT_FOUND || (code == 0 && strcmp(wanted, found) != 0)) {
            return err_set(
                err, ERR_DENIED,
                "%s is not the directory that was used before: not mounted? To use this one "
                "from now on, write %s into %s",
                directory->path, wanted, path);
        }
    }
    if (code == 0) {
        memcpy(directory->mark, found, sizeof directory->mark);
    }
    return code;
}

int sync__directory_look(struct remote *remote, const char **path, struct err *err) {
    struct directory *directory = directory_of(remote);
    char mark[FS_PATH_MAX], wanted[HASH_ID_SIZE], found[HASH_ID_SIZE];
    int code = fs_join(mark, sizeof mark, directory->path, MARK_NAME, err);
    code = code != 0 ? code : mark_wanted(directory, wanted, err);
    code = code != 0 ? code : mark_read(mark, found, err);
    if (code == ERR_NOT_FOUND || (code == 0 && wanted[0] != '\0' && strcmp(wanted, found) != 0)) {
        return err_set(err, ERR_DENIED,
                       "%s is not a directory that creel stores in: not mounted, or nothing was "
                       "ever stored there",
                       directory->path);
    }
    if (code == 0) {
        *path = directory->path;
    }
    return code;
}

/* ---- one object ---- */

static enum remote_verdict verdict_of(int code) {
    return code == ERR_DENIED || code == ERR_FULL       ? REMOTE_DENIED
           : code == ERR_INVALID || code == ERR_CORRUPT ? REMOTE_REFUSED
                                                        : REMOTE_RETRY;
}

/* `path` is the file's; `dir` the same without its last part. */
static enum remote_verdict put_file(struct directory *directory, const struct remote_object *object,
                                    char *dir, const char *path, struct err *err) {
    int code = 0;
    bool known = strcmp(directory->made, dir) == 0;
    directory->made[0] = '\0';
    if (!known) {
        code = make_dirs(dir, strlen(directory->path), err);
    }
    enum remote_verdict verdict = code == 0 ? compare(object, path, err) : verdict_of(code);
    if (verdict == REMOTE_AGAIN) {
        code = write_new(object->bytes, object->size, dir, path, err);
        verdict = code == 0 ? REMOTE_STORED : verdict_of(code);
        if (code == ERR_EXISTS) { /* somebody was faster */
            verdict = compare(object, path, err);
        }
    } else if (verdict == REMOTE_COMPARED && (code = fs_sync_dir(dir, err)) != 0) {
        verdict = verdict_of(code);
    }
    if (verdict == REMOTE_STORED || verdict == REMOTE_COMPARED) {
        memcpy(directory->made, dir, strlen(dir) + 1);
    }
    return verdict == REMOTE_AGAIN ? REMOTE_RETRY : verdict;
}

static enum remote_verdict directory_store(struct remote *remote, struct remote_put *put,
                                           struct err *err) {
    struct directory *directory = directory_of(remote);
    char name[STORE_KEY_MAX + 1], path[FS_PATH_MAX];
    struct err own;
    err = err != NULL ? err : &own;
    *err = (struct err){0};
    put->steps++;
    int code = sync__remote_name(remote, put->object->key, name, err);
    if (code == 0) {
        code = name_check(name, err);
    }
    if (code == 0) {
        code = fs_join(path, sizeof path, directory->path, name, err);
    }
    enum remote_verdict verdict = REMOTE_REFUSED;
    if (code == 0) {
        code = guard(directory, err);
        verdict = code == ERR_CORRUPT ? REMOTE_DENIED : verdict_of(code);
    }
    if (code == 0) {
        char dir[FS_PATH_MAX];
        memcpy(dir, path, strlen(path) + 1);
        *strrchr(dir, '/') = '\0';
        verdict = put_file(directory, put->object, dir, path, err);
    }
    if (verdict == REMOTE_RETRY || verdict == REMOTE_REFUSED || verdict == REMOTE_CONFLICT ||
        verdict == REMOTE_DENIED) {
        err_wrap(err, "remote %s", remote->name);
    }
    return verdict;
}

const struct remote_ops sync__directory_ops = {.kind = "directory",
                                               .open = directory_open,
                                               .close = directory_close,
                                               .store = directory_store,
                                               .listing = &sync__directory_listing,
                                               .drop = sync__directory_all_drop};
