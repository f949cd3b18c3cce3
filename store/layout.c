/* layout: see layout.h.
 *
 * The guard looks before anything is made: a store that is not mounted must not be begun anew in
 * the empty mount point, where it would fill the wrong disk. Order of a first open: directory,
 * lock, IDENTITY (atomic and durable), then the memory of it in the state directory; a crash in
 * between leaves a store without a memory, which the next open remembers.
 */
#include "store/layout.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/store.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IDENTITY_TEXT_MAX 128
#define MEMORY_NAME       "store-identity"

static const struct {
    const char *dir, *suffix;
} stream_names[STREAM_COUNT] = {
    [TIER_ANNOTATED] = {"log/annotated", ".seg"},
    [TIER_UNANNOTATED] = {"log/unannotated", ".seg"},
    [STREAM_META] = {"meta", ".log"},
    [STREAM_THUMBS] = {"thumbs", ".seg"},
};

char *store__file_path(const struct layout *layout, const char *name, char *out) {
    snprintf(out, LAYOUT_PATH_MAX, "%s/%s", layout->dir, name);
    return out;
}

char *store__stream_dir(const struct layout *layout, unsigned stream, char *out) {
    return store__file_path(layout, stream_names[stream].dir, out);
}

char *store__segment_path(const struct layout *layout, unsigned stream, uint64_t number,
                          char *out) {
    snprintf(out, LAYOUT_PATH_MAX, "%s/%s/%016llx%s", layout->dir, stream_names[stream].dir,
             (unsigned long long)number, stream_names[stream].suffix);
    return out;
}

bool store__segment_name_parse(unsigned stream, const char *name, uint64_t *number) {
    uint64_t value = 0;
    for (size_t i = 0; i < 16; i++) {
        int digit = name[i];
        if (!isdigit(digit) && !(digit >= 'a' && digit <= 'f')) {
            return false;
        }
        value = value << 4 | (uint64_t)(isdigit(digit) ? digit - '0' : digit - 'a' + 10);
    }
    if (strcmp(name + 16, stream_names[stream].suffix) != 0) {
        return false;
    }
    *number = value;
    return true;
}

/* ---- identity ---- */

static int identity_read(const char *path, uint8_t *uuid, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(IDENTITY_TEXT_MAX);
    int code = fs_read_file(path, &text, err);
    if (code) {
        return code;
    }
    int format = 0, used = 0;
    char id_text[HASH_ID_SIZE] = "";
    struct frame_id id;
    if (!text.len || sscanf(text.data, "creel-store %d %36s%n", &format, id_text, &used) != 2 ||
        !frame_id_parse(id_text, &id) || used + 1 != (int)text.len) {
        return err_set(
            err, ERR_CORRUPT,
            "%s is damaged: restore its one line \"creel-store %d <uuid>\" from a backup", path,
            LAYOUT_FORMAT);
    }
    if (format != LAYOUT_FORMAT) {
        return err_set(err, ERR_REFUSED,
                       "%s is of format %d, this creel knows %d: run a later creel", path, format,
                       LAYOUT_FORMAT);
    }
    memcpy(uuid, id.bytes, 16);
    return 0;
}

static int identity_write(const char *path, const uint8_t *uuid, struct err *err) {
    char text[IDENTITY_TEXT_MAX], id_text[HASH_ID_SIZE];
    struct frame_id id;
    memcpy(id.bytes, uuid, 16);
    int size = snprintf(text, sizeof(text), "creel-store %d %s\n", LAYOUT_FORMAT,
                        frame_id_format(&id, id_text));
    return fs_write_file_atomic(path, text, (size_t)size, 0640, err);
}

static int dir_set(struct layout *layout, const char *dir, struct err *err) {
    size_t size = dir ? strlen(dir) : 0;
    if (size == 0 || size >= sizeof(layout->dir)) {
        return err_set(err, ERR_INVALID, "store.dir \"%.60s\" must have 1 to %d bytes",
                       dir ? dir : "", LAYOUT_DIR_MAX - 1);
    }
    memcpy(layout->dir, dir, size + 1);
    return 0;
}

/* ERR_NOT_FOUND when nothing is remembered yet. */
static int memory_read(const char *state_dir, uint8_t *uuid, struct err *err) {
    char path[FS_PATH_MAX];
    if (!state_dir) {
        return err_set(err, ERR_NOT_FOUND, "no state directory");
    }
    int code = fs_join(path, sizeof(path), state_dir, MEMORY_NAME, err);
    return code ? code : identity_read(path, uuid, err);
}

static int memory_write(const char *state_dir, const uint8_t *uuid, struct err *err) {
    char path[FS_PATH_MAX];
    int code = fs_mkdirs(state_dir, err);
    code = code ? code : fs_join(path, sizeof(path), state_dir, MEMORY_NAME, err);
    return code ? code : identity_write(path, uuid, err);
}

/* What is there against what was last seen; `*is_new`: neither. Makes nothing. */
static int guard_check(struct layout *layout, const char *state_dir, bool *is_new, bool *remembered,
                       struct err *err) {
    char path[LAYOUT_PATH_MAX];
    uint8_t seen[16];
    int memory = memory_read(state_dir, seen, err);
    if (memory && memory != ERR_NOT_FOUND) {
        return memory;
    }
    int here = identity_read(store__file_path(layout, "IDENTITY", path), layout->uuid, err);
    if (here && here != ERR_NOT_FOUND) {
        return here;
    }
    *remembered = !memory;
    *is_new = here == ERR_NOT_FOUND;
    if (!memory && (here || memcmp(seen, layout->uuid, 16) != 0)) {
        return err_set(err, ERR_REFUSED,
                       "%s %s the store that was last seen here: not mounted? Mount it, or take "
                       "this one with `creel store adopt`",
                       layout->dir, here ? "is empty, not" : "is not");
    }
    if (here && access(store__file_path(layout, "log", path), F_OK) == 0) {
        return err_set(err, ERR_CORRUPT,
                       "%s has a log but no IDENTITY: restore that file from a backup",
                       layout->dir);
    }
    return 0;
}

static int identity_create(struct layout *layout, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    struct frame_id id;
    hash_random(id.bytes, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40); /* UUIDv4, RFC 9562 5.4 */
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    memcpy(layout->uuid, id.bytes, 16);
    return identity_write(store__file_path(layout, "IDENTITY", path), layout->uuid, err);
}

static int dirs_make(const struct layout *layout, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        int code = fs_mkdirs(store__stream_dir(layout, stream, path), err);
        if (code) {
            return code;
        }
    }
    int code = fs_sync_dir(store__file_path(layout, "log", path), err);
    return code ? code : fs_sync_dir(layout->dir, err);
}

static int lock_take(struct layout *layout, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    int code = fs_lock(store__file_path(layout, "LOCK", path), &layout->lock, err);
    if (code == ERR_BUSY) {
        return err_set(err, ERR_BUSY,
                       "the store in %s is open in another process: stop it, or talk to the daemon",
                       layout->dir);
    }
    return code;
}

int store__layout_open(struct layout *layout, const char *dir, const char *state_dir,
                       struct err *err) {
    bool is_new = false, remembered = false;
    int code = dir_set(layout, dir, err);
    code = code ? code : guard_check(layout, state_dir, &is_new, &remembered, err);
    code = code ? code : fs_mkdirs(layout->dir, err);
    code = code ? code : lock_take(layout, err);
    /* Again under the lock: another process may just have begun the store. */
    code = code ? code : guard_check(layout, state_dir, &is_new, &remembered, err);
    if (!code && is_new) {
        code = identity_create(layout, err);
    }
    if (!code && state_dir && !remembered) {
        code = memory_write(state_dir, layout->uuid, err);
    }
    code = code ? code : dirs_make(layout, err);
    if (code) {
        store__layout_close(layout);
    }
    return code;
}

int store__layout_inspect(struct layout *layout, const char *dir, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    int code = dir_set(layout, dir, err);
    code =
        code ? code : identity_read(store__file_path(layout, "IDENTITY", path), layout->uuid, err);
    if (code == ERR_NOT_FOUND) {
        return err_set(err, ERR_NOT_FOUND, "there is no store in %s", layout->dir);
    }
    code = code ? code : lock_take(layout, err);
    if (code) {
        store__layout_close(layout);
    }
    return code;
}

void store__layout_close(struct layout *layout) {
    if (layout->lock >= 0) {
        fs_close(TAKE_FD(layout->lock), "LOCK", NULL);
    }
}

int store_adopt(const char *dir, const char *state_dir, struct err *err) {
    CLEANUP(store__layout_close) struct layout layout = LAYOUT_INIT;
    int code = store__layout_inspect(&layout, dir, err);
    return code ? code : memory_write(state_dir, layout.uuid, err);
}
