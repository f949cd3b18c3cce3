/* See source_taken.h.
 *
 * The key leaves out the device number: it may change at a reboot (device mapper, USB, network file
 * systems), and then everything would be taken again. Inode, size, time in ns and name tell two
 * files of one directory apart.
 */
#include "inference/source_taken.h"

#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_SLOTS    65536u                     /* a power of two */
#define SEEN_MAX      (SEEN_SLOTS / 4 * 3)       /* more, and the set is emptied */
#define FORGET_MAX    64                         /* files of one group */
#define FORGET_US     (30 * INT64_C(1000000))    /* the longest a group waits */
#define KEY_HEAD_SIZE (1 + 3 * sizeof(uint64_t)) /* verdict, inode, size, time */

_Static_assert(KEY_HEAD_SIZE + NAME_MAX <= SOURCE_KEY_MAX, "a key fits");

struct key {
    size_t size;
    uint8_t bytes[KEY_HEAD_SIZE + NAME_MAX];
};

struct source__taken {
    const struct source_memory *memory;
    const char *camera, *dir;
    uint64_t *seen; /* owned, SEEN_SLOTS fingerprints, 0 is free */
    size_t seen_count;
    struct key forgets[FORGET_MAX];
    size_t forget_count;
    int64_t forget_due_us;
};

static uint8_t *put_u64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++) {
        *at++ = (uint8_t)(value >> (8 * i));
    }
    return at;
}

static void key_make(struct key *key, const struct source__file *file,
                     enum source__verdict verdict) {
    size_t name_size = strlen(file->name);
    uint8_t *at = key->bytes;

    *at++ = (uint8_t)verdict;
    at = put_u64(at, file->inode);
    at = put_u64(at, file->size);
    at = put_u64(at, (uint64_t)file->mtime_ns);
    memcpy(at, file->name, name_size);
    key->size = KEY_HEAD_SIZE + name_size;
}

struct source__taken *source__taken_create(const struct source_memory *memory, const char *camera,
                                           const char *dir) {
    struct source__taken *taken = mem_alloc(sizeof *taken);

    if (taken && !(taken->seen = mem_array(SEEN_SLOTS, sizeof *taken->seen))) {
        free(taken);
        return NULL;
    }
    if (taken) {
        taken->memory = memory;
        taken->camera = camera;
        taken->dir = dir;
        taken->forget_due_us = INT64_MAX;
    }
    return taken;
}

void source__taken_destroy(struct source__taken *taken) {
    if (!taken) {
        return;
    }
    source__taken_flush(taken);
    free(taken->seen);
    free(taken);
}

/* FNV-1a (Fowler, Noll, Vo), 64 bits; never 0. */
static uint64_t fingerprint(const struct source__file *file) {
    struct key key;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    key_make(&key, file, SOURCE__UNKNOWN);
    for (size_t i = 0; i < key.size; i++) {
        hash = (hash ^ key.bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash ? hash : 1;
}

/* Its slot, or the free one where it would go; there is always one. */
static uint64_t *seen_slot(struct source__taken *taken, uint64_t print) {
    size_t at = (size_t)(print & (SEEN_SLOTS - 1));

    while (taken->seen[at] && taken->seen[at] != print) {
        at = (at + 1) & (SEEN_SLOTS - 1);
    }
    return &taken->seen[at];
}

bool source__taken_notice(struct source__taken *taken, const struct source__file *file) {
    uint64_t print = fingerprint(file);

    if (*seen_slot(taken, print)) {
        return false;
    }
    if (taken->seen_count == SEEN_MAX) {
        memset(taken->seen, 0, SEEN_SLOTS * sizeof *taken->seen);
        taken->seen_count = 0;
    }
    *seen_slot(taken, print) = print;
    taken->seen_count++;
    return true;
}

enum source__verdict source__taken_get(struct source__taken *taken,
                                       const struct source__file *file) {
    static const enum source__verdict verdicts[] = {SOURCE__LEFT, SOURCE__OWED, SOURCE__BAD};
    const struct source_memory *memory = taken->memory;
    struct key key;

    if (!memory->has) {
        return *seen_slot(taken, fingerprint(file)) ? SOURCE__LEFT : SOURCE__UNKNOWN;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(verdicts); i++) {
        key_make(&key, file, verdicts[i]);
        if (memory->has(memory->ctx, taken->camera, key.bytes, key.size)) {
            return verdicts[i];
        }
    }
    return SOURCE__UNKNOWN;
}

int source__taken_add(struct source__taken *taken, const struct source__file *file,
                      enum source__verdict verdict, struct err *err) {
    const struct source_memory *memory = taken->memory;
    struct key key;

    if (!memory->add) {
        source__taken_notice(taken, file);
        return 0;
    }
    key_make(&key, file, verdict);
    return memory->add(memory->ctx, taken->camera, key.bytes, key.size, err);
}

void source__taken_forget(struct source__taken *taken, const struct source__file *file,
                          enum source__verdict verdict) {
    if (!taken->memory->forget) {
        return;
    }
    if (taken->forget_count == 0) {
        taken->forget_due_us = clock_boot_us() + FORGET_US;
    }
    assert(taken->forget_count < FORGET_MAX);
    key_make(&taken->forgets[taken->forget_count++], file, verdict);
    if (taken->forget_count == FORGET_MAX) {
        source__taken_flush(taken);
    }
}

int64_t source__taken_due(const struct source__taken *taken) {
    return taken->forget_due_us;
}

void source__taken_flush(struct source__taken *taken) {
    const struct source_memory *memory = taken->memory;

    /* Without the sync (the directory may be gone) the keys stay: rows too many, but nothing taken
     * twice. */
    if (taken->forget_count > 0 && fs_sync_dir(taken->dir, NULL) == 0) {
        for (size_t i = 0; i < taken->forget_count; i++) {
            const struct key *key = &taken->forgets[i];
            memory->forget(memory->ctx, taken->camera, key->bytes, key->size);
        }
    }
    taken->forget_count = 0;
    taken->forget_due_us = INT64_MAX;
}
