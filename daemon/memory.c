#include "daemon/memory.h"
#include "daemon/base/buf.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_MAX    256
#define NOTE_KEY_MAX 127
#define TAKEN        "taken" /* spaces of the store's state */
#define TRIAGE       "triage"

/* What triage wants remembered, and is not yet in the store. */
struct note {
    char key[NOTE_KEY_MAX + 1];
    size_t size;
    uint8_t bytes[TRIAGE_BYTES_MAX];
};

struct memory {
    struct store *store;
    struct source_memory sources;
    struct triage_memory triage;
    pthread_mutex_t lock; /* of the notes */
    struct note notes[NOTES_MAX];
    size_t note_count;
};

/* ---- files that were taken ---- */

static bool taken_key(const char *camera, const void *key, size_t size, struct buf *out) {
    buf_append(out, camera, strlen(camera) + 1);
    buf_append(out, key, size);
    return !out->failed;
}

static bool taken_has(void *ctx, const char *camera, const void *key, size_t size) {
    struct memory *memory = ctx;
    CLEANUP(buf_finish) struct buf name = BUF_INIT(STORE_STATE_KEY_MAX);
    char value[1];
    size_t length;
    struct err err = {0};
    int code = taken_key(camera, key, size, &name)
                   ? store_state_get(memory->store, TAKEN, name.data, name.len, value,
                                     sizeof(value), &length, &err)
                   : ERR_NOT_FOUND;
    if (code && code != ERR_NOT_FOUND) {
        log_err(LOG_LEVEL_WARN, "cannot tell whether a file was taken before; it is taken", &err);
    }
    return !code;
}

static int taken_add(void *ctx, const char *camera, const void *key, size_t size, struct err *err) {
    struct memory *memory = ctx;
    CLEANUP(buf_finish) struct buf name = BUF_INIT(STORE_STATE_KEY_MAX);
    return taken_key(camera, key, size, &name)
               ? store_state_put(memory->store, TAKEN, name.data, name.len, "1", 1, err)
               : err_set(err, ERR_INVALID, "camera %s: a file's name is too long to remember",
                         camera);
}

static void taken_forget(void *ctx, const char *camera, const void *key, size_t size) {
    struct memory *memory = ctx;
    CLEANUP(buf_finish) struct buf name = BUF_INIT(STORE_STATE_KEY_MAX);
    struct err err;
    if (taken_key(camera, key, size, &name) &&
        store_state_drop(memory->store, TAKEN, name.data, name.len, &err)) {
        log_err(LOG_LEVEL_WARN, "a file that is gone is still remembered", &err);
    }
}

/* ---- what triage has seen ---- */

static struct note *note_find(struct memory *memory, const char *key) {
    for (size_t i = 0; i < memory->note_count; i++) {
        if (strcmp(memory->notes[i].key, key) == 0) {
            return &memory->notes[i];
        }
    }
    return NULL;
}

/* Read from the store when triage first sees a camera, or a day. */
static size_t bytes_get(void *ctx, const char *key, void *out, size_t room) {
    struct memory *memory = ctx;
    size_t size = 0;
    pthread_mutex_lock(&memory->lock);
    const struct note *note = note_find(memory, key);
    if (note && note->size <= room) {
        size = note->size;
        memcpy(out, note->bytes, size);
    }
    pthread_mutex_unlock(&memory->lock);
    if (note ||
        store_state_get(memory->store, TRIAGE, key, strlen(key), out, room, &size, NULL) == 0) {
        return size;
    }
    return 0;
}

static uint64_t count_get(void *ctx, const char *key) {
    uint64_t count = 0;
    return bytes_get(ctx, key, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* What finds no room is noted with its next change. */
static void bytes_put(void *ctx, const char *key, const void *bytes, size_t size) {
    struct memory *memory = ctx;
    pthread_mutex_lock(&memory->lock);
    struct note *note = note_find(memory, key);
    if (!note && memory->note_count < NOTES_MAX) {
        note = &memory->notes[memory->note_count++];
        snprintf(note->key, sizeof(note->key), "%s", key);
    }
    if (note && size <= sizeof(note->bytes)) {
        memcpy(note->bytes, bytes, size);
        note->size = size;
    }
    pthread_mutex_unlock(&memory->lock);
}

static void count_put(void *ctx, const char *key, uint64_t count) {
    bytes_put(ctx, key, &count, sizeof(count));
}

static bool note_take(struct memory *memory, struct note *out) {
    pthread_mutex_lock(&memory->lock);
    bool any = memory->note_count > 0;
    if (any) {
        *out = memory->notes[--memory->note_count];
    }
    pthread_mutex_unlock(&memory->lock);
    return any;
}

/* Unless triage has newer news already. */
static void note_return(struct memory *memory, const struct note *note) {
    pthread_mutex_lock(&memory->lock);
    if (!note_find(memory, note->key) && memory->note_count < NOTES_MAX) {
        memory->notes[memory->note_count++] = *note;
    }
    pthread_mutex_unlock(&memory->lock);
}

void memory_flush(struct memory *memory) {
    struct note note;
    while (note_take(memory, &note)) {
        struct err err;
        if (store_state_put(memory->store, TRIAGE, note.key, strlen(note.key), note.bytes,
                            note.size, &err)) {
            log_err(LOG_LEVEL_WARN, "what triage has seen is not remembered", &err);
            note_return(memory, &note);
            return;
        }
    }
}

/* ---- life cycle ---- */

struct memory *memory_create(struct store *store) {
    struct memory *memory = mem_alloc(sizeof(*memory));
    if (!memory) {
        return NULL;
    }
    pthread_mutex_init(&memory->lock, NULL);
    memory->store = store;
    memory->sources = (struct source_memory){
        .ctx = memory, .has = taken_has, .add = taken_add, .forget = taken_forget};
    memory->triage = (struct triage_memory){.ctx = memory,
                                            .count_get = count_get,
                                            .count_put = count_put,
                                            .bytes_get = bytes_get,
                                            .bytes_put = bytes_put};
    return memory;
}

void memory_destroy(struct memory *memory) {
    if (memory) {
        pthread_mutex_destroy(&memory->lock);
        free(memory);
    }
}

const struct source_memory *memory_of_sources(struct memory *memory) {
    return &memory->sources;
}

const struct triage_memory *memory_of_triage(struct memory *memory) {
    return &memory->triage;
}
