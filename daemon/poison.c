/* poison: see poison.h.
 *
 * Invariants: 1. A frame's id is its file's name, and ids are made of the time (UUIDv7), so the
 * order of names is that of age. 2. Only files of that form are counted and removed: what a person
 * puts into the folder stays. 3. `lock` guards the memory; writing is done under `writing`, so that
 * a slow disk holds up only other poison. What is remembered of this run is enough to refuse a
 * caller who sends the same again and again; a restart tries it once more, with what may be a newer
 * worker. */
#include "daemon/poison.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REMEMBERED_MAX = 32, ID_TEXT = HASH_ID_SIZE - 1 };

struct memory {
    uint64_t size; /* 0: none */
    struct frame_hash hash;
    int64_t boot_us;
    char name[64];
};

struct poison {
    pthread_mutex_t writing;
    pthread_mutex_t lock; /* guards what follows */
    struct poison_stats stats;
    struct memory memories[REMEMBERED_MAX]; /* a ring */
    size_t next;
};

/* ---- the folder ---- */

static const char *const endings[] = {".jpg", ".png", ".bin"};

static bool is_ours(const char *name) {
    struct frame_id id;
    char text[HASH_ID_SIZE];
    if (strlen(name) != ID_TEXT + strlen(endings[0])) {
        return false;
    }
    memcpy(text, name, ID_TEXT);
    text[ID_TEXT] = '\0';
    bool known = false;
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        known = known || strcmp(name + ID_TEXT, endings[i]) == 0;
    }
    return known && frame_id_parse(text, &id);
}

static int select_ours(const struct dirent *entry) {
    return is_ours(entry->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static uint64_t size_of(const char *dir, const char *name) {
    char path[FS_PATH_MAX];
    struct stat stat_of;
    return fs_join(path, sizeof(path), dir, name, NULL) == 0 && stat(path, &stat_of) == 0
               ? (uint64_t)stat_of.st_size
               : 0;
}

static void remove_both(const char *dir, const char *name) {
    char path[FS_PATH_MAX], text[64];
    struct err err;
    snprintf(text, sizeof(text), "%.*s.txt", ID_TEXT, name);
    const char *both[] = {name, text};
    for (size_t i = 0; i < ARRAY_LENGTH(both); i++) {
        if (fs_join(path, sizeof(path), dir, both[i], &err) == 0 && fs_unlink(path, &err)) {
            log_err(LOG_LEVEL_WARN, "an old poison frame cannot be removed", &err);
        }
    }
}

/* Counts what is there, and removes what does not fit beside newer ones. A folder that is not there
 * is empty. */
static void take_stock(struct poison *poison) {
    const char *dir = poison->stats.dir;
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, select_ours, by_name);
    uint64_t files = 0, bytes = 0;
    for (int i = count - 1; i >= 0; i--) { /* the newest first */
        uint64_t size = size_of(dir, entries[i]->d_name);
        if (files > 0 && (files == POISON_FILES_MAX || bytes + size > POISON_BYTES_MAX)) {
            remove_both(dir, entries[i]->d_name);
        } else {
            files++;
            bytes += size;
        }
        free(entries[i]);
    }
    free(entries);
    pthread_mutex_lock(&poison->lock);
    poison->stats.files = files;
    poison->stats.bytes = bytes;
    pthread_mutex_unlock(&poison->lock);
}

/* ---- one frame ---- */

static const char *ending_of(const struct frame *frame) {
    static const char jpeg[] = "\xff\xd8\xff", png[] = "\x89PNG";
    uint64_t size = frame->format == FRAME_ENCODED ? frame->record.blob_bytes : 0;
    if (size >= 3 && memcmp(frame->blob, jpeg, 3) == 0) {
        return endings[0];
    }
    return size >= 4 && memcmp(frame->blob, png, 4) == 0 ? endings[1] : endings[2];
}

/* What the bytes are where they do not say it themselves. */
static void describe_format(const struct frame *frame, char *out, size_t size) {
    static const char *const names[] = {[FRAME_ENCODED] = "as they came",
                                        [FRAME_YUV420P] = "yuv420p",
                                        [FRAME_RGB24] = "rgb24",
                                        [FRAME_BGR24] = "bgr24"};
    snprintf(out, size, "%s", names[frame->format]);
    if (frame->format != FRAME_ENCODED) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, ", %ux%u", frame->record.width, frame->record.height);
    }
}

static int describe(const char *dir, const char *id, const struct frame *frame,
                    const struct frame_hash *hash, const char *why, struct err *err) {
    char path[FS_PATH_MAX], name[64], text[4 * ERR_TEXT_MAX], when[CLOCK_RFC3339_SIZE];
    char hex[HASH_HEX_SIZE], format[64];
    describe_format(frame, format, sizeof(format));
    snprintf(name, sizeof(name), "%s.txt", id);
    int size =
        snprintf(text, sizeof(text),
                 "camera: %s\ncaptured: %s\nbytes: %llu, %s\nsha256: %s\nwhat it did: %s\n",
                 frame->record.camera, clock_format_rfc3339(frame->record.captured.utc_us, when),
                 (unsigned long long)frame->record.blob_bytes, format,
                 hash_hex(hash->bytes, sizeof(hash->bytes), hex), why);
    int code = fs_join(path, sizeof(path), dir, name, err);
    return code ? code : fs_write_file_atomic(path, text, (size_t)size, 0640, err);
}

static int put(const char *dir, const char *name, const struct frame *frame, struct err *err) {
    char path[FS_PATH_MAX];
    int code = fs_mkdirs(dir, err);
    code = code ? code : fs_join(path, sizeof(path), dir, name, err);
    return code ? code
                : fs_write_file_atomic(path, frame->blob, (size_t)frame->record.blob_bytes, 0640,
                                       err);
}

static void remember(struct poison *poison, const struct frame *frame,
                     const struct frame_hash *hash, const char *name) {
    pthread_mutex_lock(&poison->lock);
    struct memory *memory = &poison->memories[poison->next++ % REMEMBERED_MAX];
    *memory = (struct memory){
        .size = frame->record.blob_bytes, .hash = *hash, .boot_us = clock_boot_us()};
    snprintf(memory->name, sizeof(memory->name), "%s", name);
    poison->stats.added++;
    memcpy(poison->stats.last, memory->name, sizeof(poison->stats.last));
    pthread_mutex_unlock(&poison->lock);
}

void poison_add(struct poison *poison, const struct frame *frame, const struct err *why) {
    struct frame_hash hash;
    struct err err = {0};
    char id[HASH_ID_SIZE], name[64], text[2 * ERR_TEXT_MAX];
    hash_sha256(frame->blob, (size_t)frame->record.blob_bytes, &hash);
    if (frame->format == FRAME_ENCODED && frame->view && frame->view->privacy.count > 0) {
        remember(poison, frame, &hash, "");
        log_warn("a frame ended its worker; it is not set aside, as its camera has privacy masks",
                 "camera=%s", frame->record.camera);
        return;
    }
    snprintf(name, sizeof(name), "%s%s", frame_id_format(&frame->record.id, id), ending_of(frame));
    err_text(why, text, sizeof(text));
    pthread_mutex_lock(&poison->writing);
    int code = put(poison->stats.dir, name, frame, &err);
    code = code ? code : describe(poison->stats.dir, id, frame, &hash, text, &err);
    remember(poison, frame, &hash, code ? "" : name);
    take_stock(poison);
    pthread_mutex_unlock(&poison->writing);
    if (code) {
        log_err(LOG_LEVEL_WARN, "a frame that ended its worker cannot be set aside", &err);
    } else {
        log_warn("a frame ended its worker and is set aside",
                 "camera=%s file=\"%s/%s\" reason=\"%s\"", frame->record.camera, poison->stats.dir,
                 name, text);
    }
}

int poison_check(struct poison *poison, const struct frame *frame, struct err *err) {
    struct frame_hash hash;
    bool hashed = false, known = false;
    char name[64] = "";
    int64_t oldest_us = clock_boot_us() - POISON_REMEMBERED_S * INT64_C(1000000);
    for (size_t i = 0; i < REMEMBERED_MAX && !known; i++) {
        pthread_mutex_lock(&poison->lock);
        struct memory memory = poison->memories[i];
        pthread_mutex_unlock(&poison->lock);
        if (memory.size == 0 || memory.size != frame->record.blob_bytes ||
            memory.boot_us < oldest_us) {
            continue;
        }
        if (!hashed) { /* not before a size fits: hashing every frame would cost its share */
            hash_sha256(frame->blob, (size_t)memory.size, &hash);
            hashed = true;
        }
        known = memcmp(&hash, &memory.hash, sizeof(hash)) == 0;
        memcpy(name, memory.name, sizeof(name));
    }
    return known
               ? err_set(err, ERR_CRASHED, "the same bytes ended the worker process before%s%s%s%s",
                         name[0] ? ": see " : "", name[0] ? poison->stats.dir : "",
                         name[0] ? "/" : "", name)
               : 0;
}

/* ---- life cycle ---- */

int poison_open(const char *dir, struct poison **out, struct err *err) {
    struct poison *poison = mem_alloc(sizeof(*poison));
    if (!poison) {
        return err_set(err, ERR_NOMEM, "no memory to set frames aside");
    }
    if (strlen(dir) >= sizeof(poison->stats.dir)) {
        free(poison);
        return err_set(err, ERR_CONFIG, "the path %s is too long", dir);
    }
    memcpy(poison->stats.dir, dir, strlen(dir) + 1); /* not changed later: read without the lock */
    pthread_mutex_init(&poison->lock, NULL);
    pthread_mutex_init(&poison->writing, NULL);
    take_stock(poison);
    *out = poison;
    return 0;
}

void poison_close(struct poison *poison) {
    if (poison) {
        pthread_mutex_destroy(&poison->writing);
        pthread_mutex_destroy(&poison->lock);
        free(poison);
    }
}

void poison_stats_get(struct poison *poison, struct poison_stats *out) {
    pthread_mutex_lock(&poison->lock);
    *out = poison->stats;
    pthread_mutex_unlock(&poison->lock);
}
