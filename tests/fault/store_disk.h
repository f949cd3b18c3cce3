/* store_disk: a disk that forgets. It stands under fs_ops and knows, for every file below its root,
 * what a power cut would leave: the bytes that were synced, and the list of what was not.
 *
 * The model is POSIX at its strictest, not one file system: fsync of a file makes its bytes and
 * size durable and not its name; fsync of a directory makes the names in it durable; anything else
 * may be there or not after the cut, in any combination, and a write may be torn into sectors of
 * 512 bytes. What has no bytes of its own is left out: locks, space taken ahead, and SQLite's -shm,
 * which the first opening after a cut makes anew.
 *
 * Life cycle: disk_start(root) -> the store runs -> at moments drawn by its dice, disk calls
 * `on_cut` with the lock held, which builds images with disk_image -> disk_stop. Thread: any.
 */
#ifndef CREEL_TESTS_STORE_DISK_H
#define CREEL_TESTS_STORE_DISK_H

#include "tests/fault/store_calls.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>

#define DISK_SECTOR    512u
#define DISK_FILES_MAX 1024
#define DISK_NAMES_MAX 4096

enum disk_op_kind { DISK_WRITE, DISK_ZERO, DISK_SIZE };

struct disk_op {
    enum disk_op_kind kind;
    uint64_t at, size;
    uint8_t *bytes; /* DISK_WRITE */
};

struct disk_file {
    bool is_dir;
    uint8_t *synced;
    size_t size, room;
    struct disk_op *ops; /* not synced, oldest first */
    size_t count, ops_room;
};

struct disk_name { /* file NULL: the name is gone */
    char path[256];
    int file;
};

struct disk_change { /* of names; not durable yet, oldest first */
    struct disk_name add, drop;
};

struct disk {
    pthread_mutex_t lock;
    char root[256];
    struct disk_file files[DISK_FILES_MAX];
    int file_count;
    struct disk_name names[DISK_NAMES_MAX]; /* durable */
    size_t name_count;
    struct disk_change changes[DISK_NAMES_MAX];
    size_t change_count;
    int open_file[CALLS_FDS_MAX]; /* 0: not ours, else 1 + its file */
    char open_dir[CALLS_FDS_MAX][256];
    uint64_t dice;
    bool lies; /* the mutant: fdatasync of the log says yes and does nothing */
    void (*on_cut)(void *ctx, bool hot);
    void *ctx;
    bool hot; /* a segment has lost its name and nothing was synced since */
};

static struct disk *disk;

static inline uint64_t dice_roll(uint64_t *dice) {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return *dice >> 11;
}

static inline uint64_t dice_start(uint64_t seed) {
    uint64_t dice = seed * 0x9e3779b97f4a7c15u + 0x1234567u;
    dice_roll(&dice);
    return dice ? dice : 1;
}

static inline bool dice_percent(uint64_t *dice, unsigned percent) {
    return dice_roll(dice) % 100 < percent;
}

/* ---- names ---- */

static inline bool disk_has(const char *path) {
    size_t size = strlen(disk->root);
    return strncmp(path, disk->root, size) == 0 && path[size] == '/' && !strstr(path, "-shm");
}

static inline void disk_parent(const char *path, char *out) {
    const char *slash = strrchr(path, '/');
    snprintf(out, 256, "%.*s", (int)(slash - path), path);
}

static inline int names_find(const struct disk_name *names, size_t count, const char *path) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i].path, path) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static inline void names_drop(struct disk_name *names, size_t *count, const char *path, int file) {
    int at = names_find(names, *count, path);
    if (at >= 0 && (file < 0 || names[at].file == file)) {
        names[at] = names[--*count];
    }
}

static inline void names_apply(struct disk_name *names, size_t *count,
                               const struct disk_change *change) {
    if (change->drop.path[0]) {
        names_drop(names, count, change->drop.path, change->drop.file);
    }
    if (change->add.path[0]) {
        names_drop(names, count, change->add.path, -1);
        ck_assert_uint_lt(*count, DISK_NAMES_MAX);
        names[(*count)++] = change->add;
    }
}

/* The file that has this name now; -1: none. */
static inline int disk_find(const char *path) {
    for (size_t i = disk->change_count; i-- > 0;) {
        const struct disk_change *change = &disk->changes[i];
        if (strcmp(change->add.path, path) == 0) {
            return change->add.file;
        }
        if (strcmp(change->drop.path, path) == 0) {
            return -1;
        }
    }
    int at = names_find(disk->names, disk->name_count, path);
    return at < 0 ? -1 : disk->names[at].file;
}

static inline void disk_change(const char *drop, const char *add, int file) {
    ck_assert_uint_lt(disk->change_count, DISK_NAMES_MAX);
    struct disk_change *change = &disk->changes[disk->change_count++];
    *change = (struct disk_change){.add.file = file, .drop.file = file};
    snprintf(change->drop.path, sizeof(change->drop.path), "%s", drop);
    snprintf(change->add.path, sizeof(change->add.path), "%s", add);
}

static inline void disk_sync_names(const char *dir) {
    size_t left = 0;
    for (size_t i = 0; i < disk->change_count; i++) {
        const struct disk_change *change = &disk->changes[i];
        char parent[256];
        disk_parent(change->add.path[0] ? change->add.path : change->drop.path, parent);
        if (strcmp(parent, dir) == 0) {
            names_apply(disk->names, &disk->name_count, change);
        } else {
            disk->changes[left++] = *change;
        }
    }
    disk->change_count = left;
}

/* ---- bytes ---- */

static inline void file_resize(struct disk_file *file, uint64_t size) {
    if (size > file->room) {
        file->room = size * 2;
        file->synced = realloc(file->synced, file->room);
        ck_assert_ptr_nonnull(file->synced);
    }
    if (size > file->size) {
        memset(file->synced + file->size, 0, size - file->size);
    }
    file->size = size;
}

/* Bytes [from, to) of the operation's own. */
static inline void op_apply(struct disk_file *file, const struct disk_op *op, uint64_t from,
                            uint64_t to) {
    if (op->kind == DISK_SIZE) {
        file_resize(file, op->size);
        return;
    }
    uint64_t end = op->at + to;
    if (op->kind == DISK_ZERO) {
        end = end < file->size ? end : file->size;
        if (op->at + from < end) {
            memset(file->synced + op->at + from, 0, end - op->at - from);
        }
        return;
    }
    if (end > file->size) {
        file_resize(file, end);
    }
    memcpy(file->synced + op->at + from, op->bytes + from, to - from);
}

static inline void ops_drop(struct disk_file *file) {
    for (size_t i = 0; i < file->count; i++) {
        free(file->ops[i].bytes);
    }
    file->count = 0;
}

static inline void file_sync(struct disk_file *file) {
    for (size_t i = 0; i < file->count; i++) {
        op_apply(file, &file->ops[i], 0, file->ops[i].size);
    }
    ops_drop(file);
}

static inline void file_op(int fd, enum disk_op_kind kind, const void *bytes, uint64_t at,
                           uint64_t size) {
    int number = fd >= 0 && fd < CALLS_FDS_MAX ? disk->open_file[fd] : 0;
    if (!number) {
        return;
    }
    struct disk_file *file = &disk->files[number - 1];
    if (file->count == file->ops_room) {
        file->ops_room = file->ops_room ? file->ops_room * 2 : 16;
        file->ops = realloc(file->ops, file->ops_room * sizeof(*file->ops));
        ck_assert_ptr_nonnull(file->ops);
    }
    struct disk_op *op = &file->ops[file->count++];
    *op = (struct disk_op){.kind = kind, .at = at, .size = size};
    if (kind == DISK_WRITE) {
        op->bytes = malloc(size ? size : 1);
        ck_assert_ptr_nonnull(op->bytes);
        memcpy(op->bytes, bytes, size);
    }
}

/* ---- what is left after a cut ---- */

struct disk_odds { /* in percent, drawn anew for each image */
    unsigned keep_name, keep_write, tear;
    bool names_in_order; /* as a journal does: what is lost is the end of the list */
};

static inline struct disk_odds disk_odds_draw(uint64_t *dice) {
    static const unsigned chances[] = {0, 10, 50, 90, 100};
    return (struct disk_odds){.keep_name = chances[dice_roll(dice) % 5],
                              .keep_write = chances[dice_roll(dice) % 5],
                              .tear = chances[dice_roll(dice) % 4],
                              .names_in_order = dice_roll(dice) % 2};
}

/* Sectors of the file that the write touches survive or not, each for itself. */
static inline void op_tear(struct disk_file *file, const struct disk_op *op, uint64_t *dice) {
    for (uint64_t from = 0; from < op->size;) {
        uint64_t sector_end = (op->at + from) / DISK_SECTOR * DISK_SECTOR + DISK_SECTOR;
        uint64_t to = sector_end - op->at < op->size ? sector_end - op->at : op->size;
        if (dice_roll(dice) % 2) {
            op_apply(file, op, from, to);
        }
        from = to;
    }
}

static inline void image_file(const struct disk_file *from, const char *path,
                              const struct disk_odds *odds, uint64_t *dice) {
    struct disk_file left = {0};
    file_resize(&left, from->size);
    if (from->size) {
        memcpy(left.synced, from->synced, from->size);
    }
    for (size_t i = 0; i < from->count; i++) {
        const struct disk_op *op = &from->ops[i];
        if (!dice_percent(dice, odds->keep_write)) {
            continue;
        }
        if (op->kind == DISK_WRITE && dice_percent(dice, odds->tear)) {
            op_tear(&left, op, dice);
        } else {
            op_apply(&left, op, 0, op->size);
        }
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd >= 0) { /* else its directory is lost, and it with it */
        ck_assert_int_eq(pwrite(fd, left.synced ? (const void *)left.synced : path, left.size, 0),
                         (ssize_t)left.size);
        close(fd);
    }
    free(left.synced);
}

static inline int by_length(const void *a, const void *b) {
    size_t left = strlen(((const struct disk_name *)a)->path);
    size_t right = strlen(((const struct disk_name *)b)->path);
    return left < right ? -1 : left > right;
}

/* Builds in `to` (an empty directory) what a cut now would leave of the root. The lock is held. */
static inline void disk_image(const char *to, uint64_t *dice) {
    struct disk_odds odds = disk_odds_draw(dice);
    struct disk_name *names = malloc(sizeof(disk->names));
    ck_assert_ptr_nonnull(names);
    size_t count = disk->name_count;
    memcpy(names, disk->names, count * sizeof(*names));
    for (size_t i = 0; i < disk->change_count; i++) {
        if (dice_percent(dice, odds.keep_name)) {
            names_apply(names, &count, &disk->changes[i]);
        } else if (odds.names_in_order) {
            break;
        }
    }
    qsort(names, count, sizeof(*names), by_length); /* directories before what is in them */
    for (size_t i = 0; i < count; i++) {
        char path[512];
        const struct disk_file *file = &disk->files[names[i].file];
        snprintf(path, sizeof(path), "%s%s", to, names[i].path + strlen(disk->root));
        if (file->is_dir) {
            mkdir(path, 0750);
        } else {
            image_file(file, path, &odds, dice);
        }
    }
    free(names);
}

/* ---- the calls ---- */

/* Before each call; a sync is the likeliest moment to show what was promised too early. */
static inline void disk_enter(bool sync) {
    pthread_mutex_lock(&disk->lock);
    if (sync && disk->hot) {
        disk->hot = false;
        disk->on_cut(disk->ctx, true);
    } else if (dice_roll(&disk->dice) % (sync ? 12 : 60) == 0) {
        disk->on_cut(disk->ctx, false);
    }
}

static inline void disk_leave(void) {
    int kept = errno;
    pthread_mutex_unlock(&disk->lock);
    errno = kept;
}

static inline int disk_file_new(const char *path, bool is_dir) {
    ck_assert_int_lt(disk->file_count, DISK_FILES_MAX);
    disk->files[disk->file_count].is_dir = is_dir;
    disk_change("", path, disk->file_count);
    return disk->file_count++;
}

static int d_open(const char *path, int flags, mode_t mode) {
    disk_enter(false);
    int fd = fs_ops_real.open(path, flags, mode);
    if (fd >= 0) {
        ck_assert_int_lt(fd, CALLS_FDS_MAX);
        disk->open_file[fd] = 0;
        snprintf(disk->open_dir[fd], sizeof(disk->open_dir[fd]), "%s", path);
    }
    struct stat info;
    if (fd >= 0 && disk_has(path) && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        int file = disk_find(path);
        file = file < 0 ? disk_file_new(path, false) : file;
        disk->open_file[fd] = 1 + file;
        if (flags & O_TRUNC) {
            file_op(fd, DISK_SIZE, NULL, 0, 0);
        }
    }
    disk_leave();
    return fd;
}

static int d_close(int fd) {
    disk_enter(false);
    if (fd >= 0 && fd < CALLS_FDS_MAX) {
        disk->open_file[fd] = 0;
        disk->open_dir[fd][0] = '\0';
    }
    int closed = fs_ops_real.close(fd);
    disk_leave();
    return closed;
}

static ssize_t d_pwrite(int fd, const void *bytes, size_t size, off_t at) {
    disk_enter(false);
    ssize_t put = fs_ops_real.pwrite(fd, bytes, size, at);
    if (put > 0) {
        file_op(fd, DISK_WRITE, bytes, (uint64_t)at, (uint64_t)put);
    }
    disk_leave();
    return put;
}

static ssize_t d_pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    disk_enter(false);
    ssize_t put = fs_ops_real.pwritev(fd, parts, count, at);
    uint64_t next = (uint64_t)at, left = put > 0 ? (uint64_t)put : 0;
    for (int i = 0; i < count && left; i++) {
        uint64_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
        file_op(fd, DISK_WRITE, parts[i].iov_base, next, size);
        next += size;
        left -= size;
    }
    disk_leave();
    return put;
}

/* A directory is synced by either call (SQLite takes fdatasync for it). */
static int disk_sync(int fd, bool data) {
    disk_enter(true);
    int number = fd >= 0 && fd < CALLS_FDS_MAX ? disk->open_file[fd] : 0;
    if (disk->lies && data && number && !calls_fd_is_sqlite(fd)) {
        disk_leave();
        return 0;
    }
    if (number) {
        file_sync(&disk->files[number - 1]);
    } else if (fd >= 0 && fd < CALLS_FDS_MAX && disk->open_dir[fd][0]) {
        disk_sync_names(disk->open_dir[fd]);
    }
    disk_leave();
    return 0; /* the real files need no sync: nobody cuts their power */
}

static int d_fdatasync(int fd) {
    return disk_sync(fd, true);
}

static int d_fsync(int fd) {
    return disk_sync(fd, false);
}

static int d_fallocate(int fd, int mode, off_t at, off_t size) {
    disk_enter(false);
    int done = fs_ops_real.fallocate(fd, mode, at, size);
    if (done == 0 && mode & FALLOC_FL_PUNCH_HOLE) {
        file_op(fd, DISK_ZERO, NULL, (uint64_t)at, (uint64_t)size);
    }
    disk_leave();
    return done;
}

static int d_ftruncate(int fd, off_t size) {
    disk_enter(false);
    int done = fs_ops_real.ftruncate(fd, size);
    if (done == 0) {
        file_op(fd, DISK_SIZE, NULL, 0, (uint64_t)size);
    }
    disk_leave();
    return done;
}

static int d_rename(const char *from, const char *to) {
    disk_enter(false);
    int done = fs_ops_real.rename(from, to);
    if (done == 0 && disk_has(from)) {
        disk_change(from, to, disk_find(from));
    }
    disk_leave();
    return done;
}

static int d_unlink(const char *path) {
    disk_enter(false);
    int done = fs_ops_real.unlink(path);
    if (done == 0 && disk_has(path)) {
        disk_change(path, "", disk_find(path));
        disk->hot = disk->hot || strstr(path, ".seg");
    }
    disk_leave();
    return done;
}

static int d_mkdir(const char *path, mode_t mode) {
    disk_enter(false);
    int done = fs_ops_real.mkdir(path, mode);
    if (done == 0 && disk_has(path)) {
        disk_file_new(path, true);
    }
    disk_leave();
    return done;
}

static inline void disk_start(const char *root, uint64_t seed, void (*on_cut)(void *, bool),
                              void *ctx) {
    static struct fs_ops ops;
    ops = fs_ops_real;
    ops.open = d_open;
    ops.close = d_close;
    ops.pwrite = d_pwrite;
    ops.pwritev = d_pwritev;
    ops.fdatasync = d_fdatasync;
    ops.fsync = d_fsync;
    ops.fallocate = d_fallocate;
    ops.ftruncate = d_ftruncate;
    ops.rename = d_rename;
    ops.unlink = d_unlink;
    ops.mkdir = d_mkdir;
    disk = calloc(1, sizeof(*disk));
    ck_assert_ptr_nonnull(disk);
    pthread_mutex_init(&disk->lock, NULL);
    snprintf(disk->root, sizeof(disk->root), "%s", root);
    disk->dice = dice_start(seed);
    disk->on_cut = on_cut;
    disk->ctx = ctx;
    fs_ops_set(&ops);
}

static inline void disk_stop(void) {
    fs_ops_set(NULL);
    for (int i = 0; i < disk->file_count; i++) {
        ops_drop(&disk->files[i]);
        free(disk->files[i].ops);
        free(disk->files[i].synced);
    }
    pthread_mutex_destroy(&disk->lock);
    free(disk);
    disk = NULL;
}

#endif
