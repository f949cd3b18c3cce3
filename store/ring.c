/* ring: see ring.h.
 *
 * The file is a row of blocks of RING_BLOCK bytes. A block has a header with its number, which
 * rises for ever, and notes behind each other; block n lies at n modulo the number of blocks. Each
 * note's checksum covers the number of its block and the store's uuid, so what an earlier round
 * left behind the end of a block is no note. Invariants:
 *   1. A note lies in one block and is never changed; a block that is begun anew is overwritten
 * from its front.
 *   2. After an opening a new block is begun: what a crash tore stays behind in the old one.
 * Rejected: SQLite (a write transaction for every frame of every camera, most of which nobody will
 * ever ask about); the log itself (its segments last as long as frames that were kept).
 */
#include "store/ring.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/record.h"
#include "store/retain.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_MAGIC 0x31425243u /* "CRB1" */
#define BLOCK_HEAD  16u         /* magic u32, zero u32, number u64 */
#define NOTE_HEAD   8u          /* bytes u32, checksum u32 */
#define NOTE_MAX    (RING_BLOCK - BLOCK_HEAD - NOTE_HEAD)

static void put_le(uint8_t *out, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t get_le(const uint8_t *in, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

static uint32_t note_sum(const struct layout *layout, uint64_t block, const uint8_t *note,
                         size_t size) {
    uint8_t salt[24];
    put_le(salt, block, 8);
    memcpy(salt + 8, layout->uuid, 16);
    return hash_crc32(note, size) ^ hash_crc32(salt, sizeof(salt));
}

static uint64_t block_count(uint64_t bytes) {
    return bytes / RING_BLOCK;
}

/* ---- notes as bytes: outcome, then a frame record's payload ---- */

static void outcome_encode(const struct store_outcome *outcome, struct buf *out) {
    struct record record = {.kind = RECORD_FRAME, .frame = {.frame = outcome->record}};
    const char flags[2] = {(char)outcome->kept, (char)outcome->over_budget};
    record.frame.frame.tier = outcome->kept ? outcome->record.tier : TIER_ANNOTATED;
    buf_append(out, flags, sizeof(flags));
    store__record_encode(&record, out);
}

static int outcome_decode(const uint8_t *note, size_t size, struct record *record,
                          struct store_outcome *out, struct err *err) {
    if (size < 2) {
        return err_set(err, ERR_CORRUPT, "a note of %zu bytes says nothing", size);
    }
    int code = store__record_decode(RECORD_FRAME, note + 2, size - 2, record, err);
    if (!code) {
        *out = (struct store_outcome){
            .kept = note[0], .over_budget = note[1], .record = record->frame.frame};
        out->record.tier = out->kept ? out->record.tier : TIER_NONE;
    }
    return code;
}

/* ---- noting ---- */

void store_outcome_note(struct store *store, const struct store_outcome *outcome) {
    struct ring *ring = &store->ring;
    store__tally_note(&store->tally, outcome);
    CLEANUP(buf_finish) struct buf note = BUF_INIT(NOTE_MAX);
    uint8_t size[4];
    outcome_encode(outcome, &note);
    put_le(size, note.len, sizeof(size));
    pthread_mutex_lock(&ring->lock);
    bool fits = !note.failed && note.len &&
                ring->waiting.len + sizeof(size) + note.len <= ring->waiting.max;
    if (fits) {
        buf_append(&ring->waiting, size, sizeof(size));
        buf_append(&ring->waiting, note.data, note.len);
    }
    ring->noted += fits;
    ring->dropped += !fits;
    pthread_mutex_unlock(&ring->lock);
}

/* ---- the file ---- */

void store__ring_init(struct ring *ring, const struct layout *layout, uint64_t bytes) {
    *ring = (struct ring){.layout = layout,
                          .bytes = bytes / RING_BLOCK * RING_BLOCK,
                          .waiting = BUF_INIT(RING_WAITING),
                          .fd = -1};
    pthread_mutex_init(&ring->lock, NULL);
}

/* The greatest number of a block in the file; 0: none. */
static int last_block(const struct ring *ring, int fd, const char *path, uint64_t *last,
                      struct err *err) {
    uint8_t head[BLOCK_HEAD];
    int code = 0;
    *last = 0;
    for (uint64_t i = 0; !code && i < block_count(ring->bytes); i++) {
        code = fs_pread_all(fd, head, sizeof(head), i * RING_BLOCK, path, err);
        uint64_t number = get_le(head + 8, 8);
        if (!code && get_le(head, 4) == BLOCK_MAGIC && number % block_count(ring->bytes) == i &&
            number > *last) {
            *last = number;
        }
    }
    return code;
}

static void block_begin(struct ring *ring, uint64_t number) {
    ring->block = number;
    memset(ring->page, 0, RING_BLOCK);
    put_le(ring->page, BLOCK_MAGIC, 4);
    put_le(ring->page + 8, number, 8);
    ring->used = BLOCK_HEAD;
    ring->clean = 0;
}

/* A file of another size (the quota changed) is begun anew. */
static int file_make(struct ring *ring, int fd, const char *path, struct err *err) {
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return err_sys(err, errno, "cannot read the size of %s", path);
    }
    if ((uint64_t)info.st_size == ring->bytes) {
        return 0;
    }
    const struct fs_ops *ops = fs_ops_get();
    bool made = ops->ftruncate(fd, 0) == 0 &&
                (ops->fallocate(fd, 0, 0, (off_t)ring->bytes) == 0 ||
                 (errno == EOPNOTSUPP && ops->ftruncate(fd, (off_t)ring->bytes) == 0));
    if (!made) {
        return err_sys(err, errno, "cannot take %llu bytes for %s", (unsigned long long)ring->bytes,
                       path);
    }
    return 0;
}

int store__ring_open(struct ring *ring, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    uint64_t last = 0;
    store__file_path(ring->layout, RING_NAME, path);
    int code = fs_open(path, O_RDWR | O_CREAT, 0640, &fd, err);
    code = code ? code : file_make(ring, fd, path, err);
    code = code ? code : last_block(ring, fd, path, &last, err);
    if (!code && !ring->page) {
        ring->page = mem_alloc(RING_BLOCK);
        code = ring->page ? 0 : err_set(err, ERR_NOMEM, "no memory for a block of %s", path);
    }
    if (!code) {
        block_begin(ring, last + 1);
        ring->fd = TAKE_FD(fd);
    }
    return code;
}

static int page_write(struct ring *ring, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    if (ring->clean == ring->used) {
        return 0;
    }
    /* A new block replaces the old one whole, so that nothing of it is taken for a note. */
    size_t size = ring->clean ? ring->used - ring->clean : RING_BLOCK;
    uint64_t at = ring->block % block_count(ring->bytes) * RING_BLOCK + ring->clean;
    int code = fs_pwrite_all(ring->fd, ring->page + ring->clean, size, at,
                             store__file_path(ring->layout, RING_NAME, path), err);
    ring->clean = code ? ring->clean : ring->used;
    return code;
}

static int note_add(struct ring *ring, const uint8_t *note, size_t size, struct err *err) {
    if (ring->used + NOTE_HEAD + size > RING_BLOCK) {
        int code = page_write(ring, err);
        if (code) {
            return code;
        }
        block_begin(ring, ring->block + 1);
    }
    uint8_t *to = ring->page + ring->used;
    put_le(to, size, 4);
    put_le(to + 4, note_sum(ring->layout, ring->block, note, size), 4);
    memcpy(to + NOTE_HEAD, note, size);
    ring->used += NOTE_HEAD + size;
    return 0;
}

int store__ring_flush(struct ring *ring, struct err *err) {
    if (ring->fd < 0) {
        return 0;
    }
    pthread_mutex_lock(&ring->lock);
    struct buf notes = ring->waiting;
    ring->waiting = (struct buf)BUF_INIT(RING_WAITING);
    pthread_mutex_unlock(&ring->lock);
    int code = 0;
    for (size_t at = 0; !code && at < notes.len;) {
        const uint8_t *note = (const uint8_t *)notes.data + at;
        size_t size = (size_t)get_le(note, 4);
        code = note_add(ring, note + 4, size, err);
        at += 4 + size;
    }
    buf_finish(&notes);
    return code ? code : page_write(ring, err);
}

void store__ring_close(struct ring *ring) {
    if (ring->layout) {
        store__ring_flush(ring, NULL);
        buf_finish(&ring->waiting);
        fd_close_at(&ring->fd);
        free(ring->page);
        pthread_mutex_destroy(&ring->lock);
    }
}

void store__ring_keep(struct store *store) {
    struct ring *ring = &store->ring;
    struct err err = {0};
    if (store->bare || store->config.at_rest) {
        return;
    }
    int code = 0;
    if (ring->fd < 0 && !store__retain_excess(store, ring->bytes)) {
        code = store__ring_open(ring, &err);
    }
    code = code ? code : store__ring_flush(ring, &err);
    if (code) {
        store__error_note(store, &err);
    }
}

/* ---- reading ---- */

struct walk {
    const struct layout *layout;
    int fd;
    char path[LAYOUT_PATH_MAX];
    uint64_t blocks;
    uint8_t *page;
    store_outcome_fn *each;
    void *ctx;
    bool stop;
};

/* Notes of a block that somebody writes at the same time end where they do not hold. */
static int block_walk(struct walk *walk, uint64_t number, struct err *err) {
    int code = fs_pread_all(walk->fd, walk->page, RING_BLOCK, number % walk->blocks * RING_BLOCK,
                            walk->path, err);
    if (code || get_le(walk->page, 4) != BLOCK_MAGIC || get_le(walk->page + 8, 8) != number) {
        return code;
    }
    for (size_t at = BLOCK_HEAD; !walk->stop && at + NOTE_HEAD < RING_BLOCK;) {
        const uint8_t *note = walk->page + at + NOTE_HEAD;
        size_t size = (size_t)get_le(walk->page + at, 4);
        if (!size || size > RING_BLOCK - at - NOTE_HEAD ||
            get_le(walk->page + at + 4, 4) != note_sum(walk->layout, number, note, size)) {
            break;
        }
        CLEANUP(store__record_finish) struct record record = {0};
        struct store_outcome outcome;
        if (!outcome_decode(note, size, &record, &outcome, NULL)) {
            walk->stop = !walk->each(walk->ctx, &outcome);
        }
        at += NOTE_HEAD + size;
    }
    return 0;
}

static void page_free_at(uint8_t **page) {
    free(*page);
}

int store_outcomes_read(struct store *store, store_outcome_fn *each, void *ctx, struct err *err) {
    CLEANUP(page_free_at) uint8_t *page = mem_alloc(RING_BLOCK);
    CLEANUP(fd_close_at) int fd = -1;
    struct walk walk = {.layout = &store->layout, .page = page, .each = each, .ctx = ctx};
    struct ring file = {.layout = &store->layout};
    struct stat info;
    uint64_t last = 0;
    store__file_path(&store->layout, RING_NAME, walk.path);
    int code = page ? 0 : err_set(err, ERR_NOMEM, "no memory to read %s", walk.path);
    store__keeper_now(store);
    code = code ? code : fs_open(walk.path, O_RDONLY, 0, &fd, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    if (fstat(fd, &info) < 0 || info.st_size < (off_t)RING_BLOCK) {
        return 0;
    }
    file.bytes = (uint64_t)info.st_size / RING_BLOCK * RING_BLOCK;
    code = last_block(&file, fd, walk.path, &last, err);
    walk.fd = fd;
    walk.blocks = block_count(file.bytes);
    uint64_t first = last >= walk.blocks ? last - walk.blocks + 1 : 1;
    for (uint64_t number = first; !code && !walk.stop && last && number <= last; number++) {
        code = block_walk(&walk, number, err);
    }
    return code;
}

void store_outcome_counts(struct store *store, uint64_t *noted, uint64_t *dropped) {
    pthread_mutex_lock(&store->ring.lock);
    *noted = store->ring.noted;
    *dropped = store->ring.dropped;
    pthread_mutex_unlock(&store->ring.lock);
}
