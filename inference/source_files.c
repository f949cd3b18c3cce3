/* Names, contents and ways out of a watched directory. See source_files.h.
 *
 * Deleting without loss. Between "this is the file we kept" and unlink(2), a producer may rename a
 * new picture over the name, and unlink would take one that nobody has seen. So a file first gets
 * another name, then it is checked to be the one that was meant, and only then is it unlinked; if
 * it is not, it gets its name back. A crash in between leaves a SOURCE__ASIDE name, which the next
 * start gives back: the file is either remembered (and deleted then) or new (and taken). Moving is
 * the same with the target as the other name.
 *
 * Rejected: locks and leases (producers do not ask for them, and breaking a lease signals the
 * process), and /proc scans for writers (needs rights over other people's processes).
 */
#include "inference/source_files.h"

#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define RENAME_TRIES 100
#define TAIL_BYTES                                                                                 \
    4096 /* in which an image's end is looked for: some writers pad or append a little */

/* ---- names ---- */

static const char *const unfinished_suffixes[] = {"~", ".tmp", ".part", ".partial", ".crdownload"};

bool source__name_ignored(const char *name) {
    size_t len = strlen(name);

    if (name[0] == '.' || name[0] == '~') {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(unfinished_suffixes); i++) {
        size_t tail = strlen(unfinished_suffixes[i]);
        if (len >= tail && strcasecmp(name + len - tail, unfinished_suffixes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void dir_close_at(DIR **dir) {
    if (*dir) {
        closedir(*dir);
    }
}

/* A stream of its own, so that its position is not shared with other readers of dir_fd. */
static DIR *dir_read(int dir_fd) {
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir) {
        fd_close_at(&fd);
    }
    return dir;
}

static void sift_down(char **heap, size_t count, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) {
            return;
        }
        if (child + 1 < count && strcmp(heap[child + 1], heap[child]) > 0) {
            child++;
        }
        if (strcmp(heap[at], heap[child]) >= 0) {
            return;
        }
        char *moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

/* Keeps the smallest names: once the batch is full it is a heap with the largest on top, which
 * gives way. */
static int batch_offer(struct source__batch *batch, const char *name) {
    bool full = batch->count == SOURCE__BATCH_MAX;

    if (full && strcmp(name, batch->names[0]) >= 0) {
        batch->more = true;
        return 0;
    }
    char *copy = mem_strdup(name);
    if (!copy) {
        return ERR_NOMEM;
    }
    if (full) {
        batch->more = true;
        free(batch->names[0]);
        batch->names[0] = copy;
        sift_down(batch->names, SOURCE__BATCH_MAX, 0);
        return 0;
    }
    batch->names[batch->count++] = copy;
    if (batch->count == SOURCE__BATCH_MAX) {
        for (size_t i = SOURCE__BATCH_MAX / 2; i-- > 0;) {
            sift_down(batch->names, SOURCE__BATCH_MAX, i);
        }
    }
    return 0;
}

static int by_name(const void *a, const void *b) {
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

int source__batch_read(struct source__batch *batch, int dir_fd, const char *after,
                       struct err *err) {
    CLEANUP(dir_close_at) DIR *dir = dir_read(dir_fd);
    const struct dirent *entry;

    source__batch_finish(batch);
    if (!dir) {
        return err_sys(err, errno, "cannot list the directory");
    }
    while ((errno = 0, entry = readdir(dir))) {
        if (source__name_ignored(entry->d_name) || strcmp(entry->d_name, after) <= 0) {
            continue;
        }
        if (batch_offer(batch, entry->d_name)) {
            return err_set(err, ERR_NOMEM, "cannot list the directory: no memory");
        }
    }
    if (errno) {
        return err_sys(err, errno, "cannot list the directory");
    }
    qsort(batch->names, batch->count, sizeof *batch->names, by_name);
    return 0;
}

void source__batch_finish(struct source__batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->names[i]);
    }
    batch->count = 0;
    batch->next = 0;
    batch->more = false;
}

/* ---- content ---- */

struct image_kind {
    const char *head, *end;
    size_t head_size, end_size;
};

/* JPEG: SOI and the next marker's first byte; EOI (ITU-T T.81, B.1.1.3). PNG: its signature; the
 * IEND chunk (ISO/IEC 15948, 5.2 and 11.2.5). */
static const struct image_kind image_kinds[] = {
    {"\xff\xd8\xff", "\xff\xd9", 3, 2},
    {"\x89PNG\r\n\x1a\n", "IEND\xae\x42\x60\x82", 8, 8},
};

#define HEAD_BYTES 8

static const struct image_kind *image_kind(const uint8_t *head, size_t size) {
    for (size_t i = 0; i < ARRAY_LENGTH(image_kinds); i++) {
        const struct image_kind *kind = &image_kinds[i];
        if (size >= kind->head_size && memcmp(head, kind->head, kind->head_size) == 0) {
            return kind;
        }
    }
    return NULL;
}

/* Looked for before the whole is read: a large file that is slowly written is asked again and
 * again. */
static bool has_end(int fd, const struct source__file *file, const struct image_kind *kind) {
    uint8_t tail[TAIL_BYTES];
    size_t size = file->size < TAIL_BYTES ? file->size : TAIL_BYTES;

    return fs_pread_all(fd, tail, size, file->size - size, file->name, NULL) == 0 &&
           memmem(tail, size, kind->end, kind->end_size) != NULL;
}

/* Without O_NONBLOCK, a pipe that took the file's name would hang us. */
static enum source__content open_same(int dir_fd, const struct source__file *file, int *fd,
                                      struct err *err) {
    struct stat st;

    *fd = openat(dir_fd, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO)) {
        return SOURCE__GONE;
    }
    if (*fd < 0) {
        int saved = errno;
        err_sys(err, saved, "cannot open %s%s", file->name,
                saved == EACCES ? " (make it readable for the user that creel runs as)" : "");
        return SOURCE__UNREADABLE;
    }
    if (fstat(*fd, &st) || !source__file_same(file, &st)) {
        return SOURCE__GONE;
    }
    return SOURCE__IMAGE;
}

static enum source__content read_whole(int fd, const struct source__file *file, uint8_t **out,
                                       struct err *err) {
    CLEANUP(mem_free_at) uint8_t *bytes = mem_alloc(file->size);
    struct stat st;

    if (!bytes) {
        err_set(err, ERR_NOMEM, "cannot read %s: no memory for %zu bytes", file->name,
                (size_t)file->size);
        return SOURCE__UNREADABLE;
    }
    int code = fs_pread_all(fd, bytes, file->size, 0, file->name, err);
    if (code && code != ERR_CORRUPT) {
        return SOURCE__UNREADABLE;
    }
    if (code || fstat(fd, &st) || !source__file_same(file, &st)) {
        return SOURCE__UNFINISHED;
    }
    *out = TAKE_PTR(bytes);
    return SOURCE__IMAGE;
}

enum source__content source__file_read(int dir_fd, const struct source__file *file, bool complete,
                                       uint8_t **bytes, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    uint8_t head[HEAD_BYTES];

    enum source__content content = open_same(dir_fd, file, &fd, err);
    if (content != SOURCE__IMAGE) {
        return content;
    }
    size_t head_size = file->size < HEAD_BYTES ? file->size : HEAD_BYTES;
    int code = fs_pread_all(fd, head, head_size, 0, file->name, err);
    if (code) {
        return code == ERR_CORRUPT ? SOURCE__UNFINISHED : SOURCE__UNREADABLE;
    }
    const struct image_kind *kind = image_kind(head, head_size);
    if (!kind) {
        return SOURCE__NO_IMAGE;
    }
    if (complete && !has_end(fd, file, kind)) {
        return SOURCE__UNFINISHED;
    }
    return read_whole(fd, file, bytes, err);
}

/* ---- ways out ---- */

/* rename(2) that replaces nothing. File systems without RENAME_NOREPLACE (some network ones) get a
 * check first. */
static int rename_new(int from_fd, const char *from, int to_fd, const char *to) {
    struct stat st;

    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }
    if (fstatat(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(from_fd, from, to_fd, to);
}

static bool is_same(int dir_fd, const char *name, const struct source__file *file) {
    struct stat st;

    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && source__file_same(file, &st);
}

static int gone(const struct source__file *file, struct err *err) {
    return err_set(err, ERR_NOT_FOUND, "%s is no longer the file that was taken", file->name);
}

/* "a.jpg", then "a-<mtime in ms>.jpg", then "a-<mtime>-1.jpg" and so on: names that come again and
 * again do not make each newcomer try all the numbers before it. */
static bool target_name(const struct source__file *file, int turn, char *out, size_t size) {
    const char *dot = strrchr(file->name, '.');
    int stem = dot && dot != file->name ? (int)(dot - file->name) : (int)strlen(file->name);
    long long ms = (long long)(file->mtime_ns / 1000000);
    int len;

    if (turn == 0) {
        len = snprintf(out, size, "%s", file->name);
    } else if (turn == 1) {
        len = snprintf(out, size, "%.*s-%lld%s", stem, file->name, ms, file->name + stem);
    } else {
        len = snprintf(out, size, "%.*s-%lld-%d%s", stem, file->name, ms, turn - 1,
                       file->name + stem);
    }
    return len > 0 && (size_t)len < size;
}

/* Back to its name, or to a numbered one where a newer file has it by now. */
static int give_back(int from_fd, const char *from, int dir_fd, const struct source__file *file) {
    char name[NAME_MAX + 1];
    int code = -1;

    for (int turn = 0; turn < RENAME_TRIES; turn++) {
        if (!target_name(file, turn, name, sizeof name)) {
            return -1;
        }
        code = rename_new(from_fd, from, dir_fd, name);
        if (!code || errno != EEXIST) {
            break;
        }
    }
    return code;
}

static int not_renamed(const struct source__file *file, int sys_errno, struct err *err) {
    bool rights = sys_errno == EACCES || sys_errno == EPERM || sys_errno == EROFS;

    return err_sys(err, sys_errno, "cannot rename %s%s", file->name,
                   rights ? " (let the user that creel runs as write to its directory, or set "
                            "after: leave)"
                          : "");
}

/* Renames the file to `to`, unless it is another one by now: see the opening comment. */
static int displace(int dir_fd, const struct source__file *file, int to_fd, const char *to,
                    struct err *err) {
    if (!is_same(dir_fd, file->name, file)) {
        return gone(file, err);
    }
    if (rename_new(dir_fd, file->name, to_fd, to)) {
        return errno == ENOENT ? gone(file, err) : not_renamed(file, errno, err);
    }
    if (is_same(to_fd, to, file)) {
        return 0;
    }
    if (give_back(to_fd, to, dir_fd, file)) {
        return err_sys(err, errno, "cannot give %s its name back; it is now %s", file->name, to);
    }
    return gone(file, err);
}

int source__file_delete(int dir_fd, const struct source__file *file, struct err *err) {
    char aside[NAME_MAX + sizeof SOURCE__ASIDE];

    snprintf(aside, sizeof aside, SOURCE__ASIDE "%s", file->name);
    if (strlen(aside) > NAME_MAX) {
        /* No room for another name: the check alone must do. */
        if (!is_same(dir_fd, file->name, file)) {
            return gone(file, err);
        }
        memcpy(aside, file->name, sizeof file->name);
    } else {
        int code = displace(dir_fd, file, dir_fd, aside, err);
        if (code == ERR_EXISTS) { /* left by an earlier fault */
            source__asides_restore(dir_fd);
            code = displace(dir_fd, file, dir_fd, aside, err);
        }
        if (code) {
            return code;
        }
    }
    if (unlinkat(dir_fd, aside, 0) && errno != ENOENT) {
        int saved = errno;
        rename_new(dir_fd, aside, dir_fd, file->name);
        return err_sys(err, saved, "cannot delete %s", file->name);
    }
    return 0;
}

static int open_target(int dir_fd, const char *to, int *fd, struct err *err) {
    bool absolute = to[0] == '/';

    if (absolute) {
        int code = fs_mkdirs(to, err);
        if (code) {
            return code;
        }
    } else if (mkdirat(dir_fd, to, 0750) && errno != EEXIST) {
        return err_sys(err, errno, "cannot make the directory %s", to);
    }
    *fd = openat(dir_fd, to, O_PATH | O_DIRECTORY | O_CLOEXEC | (absolute ? 0 : O_NOFOLLOW));
    return *fd < 0 ? err_sys(err, errno, "cannot open the directory %s", to) : 0;
}

int source__file_move(int dir_fd, const struct source__file *file, const char *to,
                      struct err *err) {
    CLEANUP(fd_close_at) int to_fd = -1;
    char name[NAME_MAX + 1];
    struct err why = {0};

    int code = open_target(dir_fd, to, &to_fd, err);
    if (code) {
        return code;
    }
    code = ERR_EXISTS;
    for (int turn = 0; turn < RENAME_TRIES && code == ERR_EXISTS; turn++) {
        if (!target_name(file, turn, name, sizeof name)) {
            return err_set(err, ERR_INVALID,
                           "cannot move %s to %s: no room for a number in its name", file->name,
                           to);
        }
        code = displace(dir_fd, file, to_fd, name, &why);
    }
    if (code && why.sys_errno == EXDEV) {
        return err_set(err, ERR_CONFIG,
                       "cannot move %s to %s: it is on another file system; name a directory on "
                       "the same one",
                       file->name, to);
    }
    if (code && err) {
        *err = why;
        err_wrap(err, "moving to %s", to);
    }
    return code;
}

void source__asides_restore(int dir_fd) {
    CLEANUP(dir_close_at) DIR *dir = dir_read(dir_fd);
    const size_t prefix = strlen(SOURCE__ASIDE);
    const struct dirent *entry;
    struct source__file file;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, SOURCE__ASIDE, prefix) == 0 && entry->d_name[prefix] &&
            fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            source__file_init(&file, entry->d_name + prefix, &st);
            give_back(dir_fd, entry->d_name, dir_fd, &file);
        }
    }
}
