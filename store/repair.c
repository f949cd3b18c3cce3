/* repair: makes a damaged store one that fsck calls clean, and the index again from the log.
 *
 * Goal: what is whole stays as it is, byte for byte; what is not is named, copied aside, and never
 * again taken for something. Order: check everything (under the lock) -> copy each bad place to
 * `damaged/`, durably -> cut torn tails, lay a VOID record over each damaged place, durably -> make
 * the index again where anything was wrong -> tombstones for the blobs that are lost -> check
 * again. A crash anywhere leaves a store on which the same repair can run again.
 *
 * Invariants:
 *   1. Only bytes that hold no whole record are written over, and only after their copy is durable.
 *   2. After a VOID the old index is never opened again: it might punch where the VOID lies now.
 *   3. state.db is not opened.
 * Rejected: copying the whole records of a damaged file to a new one (twice the space on a disk
 * that may be full, and every position in the index changes).
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/fsck.h"
#include "store/store_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLACES_MAX  65536 /* bad places mended by one run; the rest by the next */
#define MISSING_MAX (1u << 20)
#define COPY_BYTES  (1u << 20)
#define POLL_MS     100
#define OLD_SUFFIX  ".before-rebuild"

static const char *const index_files[] = {"index.db", "index.db-wal", "index.db-shm"};

/* ---- the index ---- */

/* Puts the index out of the way. The log, not it, is the truth, yet it stays until the new one is
 * whole. */
static int index_retire(const struct layout *layout, struct err *err) {
    char from[LAYOUT_PATH_MAX], to[LAYOUT_PATH_MAX + sizeof(OLD_SUFFIX)];
    int code = 0;
    for (size_t i = 0; !code && i < ARRAY_LENGTH(index_files); i++) {
        store__file_path(layout, index_files[i], from);
        snprintf(to, sizeof(to), "%s" OLD_SUFFIX, from);
        code = access(from, F_OK) == 0 ? fs_rename(from, to, err) : fs_unlink(to, err);
    }
    return code;
}

static void index_retired_drop(const struct layout *layout) {
    char path[LAYOUT_PATH_MAX], old[LAYOUT_PATH_MAX + sizeof(OLD_SUFFIX)];
    for (size_t i = 0; i < ARRAY_LENGTH(index_files); i++) {
        snprintf(old, sizeof(old), "%s" OLD_SUFFIX, store__file_path(layout, index_files[i], path));
        fs_unlink(old, NULL);
    }
}

/* Waits until the index thread has all of the log. */
static int catch_up(struct store *store, store_progress_fn *progress, void *ctx, struct err *err) {
    for (;;) {
        pthread_mutex_lock(&store->lock);
        uint64_t done = store->applied_lsn, total = store->written_lsn;
        bool over = store->index_over;
        pthread_mutex_unlock(&store->lock);
        if (done >= total) {
            return 0;
        }
        if (over) {
            return err_set(err, ERR_CORRUPT, "the index cannot be made: %s",
                           store->stats.last_error);
        }
        if (progress) {
            progress(ctx, done, total);
        }
        store__indexer_wait(store, total, POLL_MS);
    }
}

static int counts_get(struct store *store, struct store_rebuilt *out, struct err *err) {
    CLEANUP(mem_free_at) struct store_counts *counts = mem_alloc(sizeof(*counts));
    struct store_reader *reader = NULL;
    int code =
        counts ? store_reader_open(store, &reader, err) : err_set(err, ERR_NOMEM, "no memory");
    code = code ? code : store_counts_read(reader, counts, err);
    if (!code) {
        memcpy(out->frames, counts->frames, sizeof(out->frames));
        out->lsn = store->written_lsn;
    }
    store_reader_close(reader);
    return code;
}

int store_rebuild(const char *dir, double index_floor,
                  void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                  struct store_rebuilt *out, struct err *err) {
    CLEANUP(store__layout_close) struct layout layout = LAYOUT_INIT;
    struct store *store = NULL;
    int code = store__layout_inspect(&layout, dir, err);
    code = code ? code : index_retire(&layout, err);
    store__layout_close(&layout);
    code = code ? code : store__open_bare(dir, index_floor, &store, err);
    code = code ? code : catch_up(store, progress, ctx, err);
    code = code ? code : store_flush(store, err);
    code = code ? code : counts_get(store, out, err);
    store_close(store);
    if (!code) {
        index_retired_drop(&layout);
    }
    return code;
}

/* ---- what the check found ---- */

struct missing {
    enum frame_tier tier;
    struct frame_hash sha;
};

struct repair {
    struct fsck_place *places;
    size_t place_count, place_room;
    struct missing *missing;
    size_t missing_count, missing_room;
    struct store_repaired out;
    bool retired; /* the index */
};

static int list_grow(void **list, size_t *room, size_t count, size_t size, size_t max,
                     struct err *err) {
    if (count < *room) {
        return 0;
    }
    size_t wanted = *room ? *room * 2 : 64;
    void *larger = count < max ? mem_resize(*list, wanted, size) : NULL;
    if (!larger) {
        return err_set(err, ERR_NOMEM, "more than %zu bad places: no memory to remember them",
                       count);
    }
    *list = larger;
    *room = wanted;
    return 0;
}

static int note_place(void *ctx, const struct fsck_place *place, struct err *err) {
    struct repair *repair = ctx;
    void *list = repair->places;
    int code =
        list_grow(&list, &repair->place_room, repair->place_count, sizeof(*place), PLACES_MAX, err);
    repair->places = list;
    if (!code) {
        repair->places[repair->place_count++] = *place;
    }
    return code;
}

static int note_missing(void *ctx, enum frame_tier tier, const struct frame_hash *sha,
                        struct err *err) {
    struct repair *repair = ctx;
    void *list = repair->missing;
    int code = list_grow(&list, &repair->missing_room, repair->missing_count,
                         sizeof(*repair->missing), MISSING_MAX, err);
    repair->missing = list;
    if (!code) {
        repair->missing[repair->missing_count++] = (struct missing){tier, *sha};
    }
    return code;
}

/* ---- mending a place ---- */

static int copy_aside(const struct layout *layout, const struct fsck_place *place, int from,
                      const char *path, struct err *err) {
    char dir[LAYOUT_PATH_MAX], to[LAYOUT_PATH_MAX + 64];
    CLEANUP(fd_close_at) int fd = -1;
    CLEANUP(mem_free_at) uint8_t *bytes = mem_alloc(COPY_BYTES);
    store__file_path(layout, "damaged", dir);
    snprintf(to, sizeof(to), "%s/%u-%016llx-%llu.bin", dir, place->stream,
             (unsigned long long)place->number, (unsigned long long)place->at);
    int code = bytes ? fs_mkdirs(dir, err) : err_set(err, ERR_NOMEM, "no memory to copy %s", path);
    code = code ? code : fs_open(to, O_RDWR | O_CREAT | O_TRUNC, 0640, &fd, err);
    for (uint64_t at = place->at; !code && at < place->end; at += COPY_BYTES) {
        size_t step = (size_t)(place->end - at < COPY_BYTES ? place->end - at : COPY_BYTES);
        code = fs_pread_all(from, bytes, step, at, path, err);
        code = code ? code : fs_pwrite_all(fd, bytes, step, at - place->at, to, err);
    }
    code = code ? code : fs_datasync(fd, to, err);
    return code ? code : fs_sync_dir(dir, err);
}

/* One VOID record over [at, at + bytes), its payload what lies there already. */
static int void_write(const struct layout *layout, uint64_t number, int fd, const char *path,
                      uint64_t at, uint64_t bytes, uint64_t present, struct err *err) {
    uint64_t size = bytes - RECORD_HEADER;
    CLEANUP(mem_free_at) uint8_t *payload = mem_alloc(size ? size : 1);
    uint8_t head[RECORD_HEADER];
    struct record_header header = {.kind = RECORD_VOID,
                                   .version = RECORD_VERSION,
                                   .payload_bytes = (uint32_t)size,
                                   .group_at = (uint32_t)at,
                                   .segment = number,
                                   .lsn = number};
    if (!payload) {
        return err_set(err, ERR_NOMEM, "no memory for a record of %llu bytes in %s",
                       (unsigned long long)size, path);
    }
    uint64_t from = at + RECORD_HEADER;
    uint64_t there = present > from ? present - from : 0; /* at the end the file may grow */
    there = there < size ? there : size;
    int code = there ? fs_pread_all(fd, payload, (size_t)there, from, path, err) : 0;
    hash_sha256(payload, (size_t)size, &header.sha);
    store__header_encode(&header, layout->uuid, head);
    if (!code && there < size) {
        code = fs_pwrite_all(fd, payload + there, (size_t)(size - there), from + there, path, err);
    }
    return code ? code : fs_pwrite_all(fd, head, sizeof(head), at, path, err);
}

/* A file without its first record has no place in the index: that record can be made again. */
static int birth_restore(const struct layout *layout, const struct fsck_place *place, int fd,
                         const char *path, uint64_t *at, struct err *err) {
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(RECORD_HEADER + 128);
    struct segment_birth birth = {
        .lsn = place->number, .first_seq = 1, .utc_us = clock_utc_us(), .boot_us = clock_boot_us()};
    if (store__birth_encode(layout, place->stream, &birth, &bytes)) {
        return err_set(err, ERR_NOMEM, "no memory to begin %s again", path);
    }
    *at += bytes.len;
    return fs_pwrite_all(fd, bytes.data, bytes.len, 0, path, err);
}

static int place_void(const struct layout *layout, const struct fsck_place *place, int fd,
                      const char *path, uint64_t present, struct err *err) {
    uint64_t at = place->at, end = place->end;
    int code = at == 0 ? birth_restore(layout, place, fd, path, &at, err) : 0;
    if (end >= present) { /* behind it comes nothing: the file may end where a record does */
        uint64_t least = at + RECORD_HEADER;
        end = end > least ? (end + 7) / 8 * 8 : end > at ? least : end;
    }
    while (!code && at < end) {
        uint64_t step = end - at;
        if (step > RECORD_PAYLOAD_MAX) {
            step = RECORD_PAYLOAD_MAX / 2;
        }
        if (step < RECORD_HEADER) {
            return err_set(err, ERR_CORRUPT, "%s: %llu damaged bytes at %llu are too few to mend",
                           path, (unsigned long long)step, (unsigned long long)at);
        }
        code = void_write(layout, place->number, fd, path, at, step, present, err);
        at += step;
    }
    return code;
}

static int place_mend(struct repair *repair, const struct layout *layout,
                      const struct fsck_place *place, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    store__segment_path(layout, place->stream, place->number, path);
    int code = fs_open(path, O_RDWR, 0, &fd, err);
    off_t present = code ? 0 : lseek(fd, 0, SEEK_END);
    code = code ? code : copy_aside(layout, place, fd, path, err);
    if (!code && place->torn) {
        repair->out.torn_files++;
        repair->out.torn_bytes += place->end - place->at;
        code = fs_ops_get()->ftruncate(fd, (off_t)place->at) < 0
                   ? err_sys(err, errno, "cannot cut the torn tail off %s", path)
                   : 0;
    } else if (!code) {
        repair->out.places++;
        repair->out.place_bytes += place->end - place->at;
        code = place_void(layout, place, fd, path, (uint64_t)present, err);
    }
    return code ? code : fs_datasync(fd, path, err);
}

/* With the lock still held: what was looked at is what is mended. */
static int mend_all(void *ctx, const struct layout *layout, const struct store_fsck *found,
                    struct err *err) {
    struct repair *repair = ctx;
    bool wrong = found->damaged || found->index_missing || found->index_extra;
    int code = 0;
    repair->out.clean = !wrong && !repair->place_count && !repair->missing_count;
    if (wrong) {
        code = index_retire(layout, err);
        repair->retired = repair->out.index_made = true;
    }
    for (size_t i = 0; !code && i < repair->place_count; i++) {
        code = place_mend(repair, layout, &repair->places[i], err);
    }
    return code;
}

/* ---- tombstones ---- */

static int bury_tier(struct store *store, struct repair *repair, enum frame_tier tier,
                     struct err *err) {
    CLEANUP(mem_free_at) struct frame_hash *blobs = mem_array(RECORD_BATCH_MAX, sizeof(*blobs));
    if (!blobs) {
        return err_set(err, ERR_NOMEM, "no memory to mark frames as gone");
    }
    int code = 0;
    for (size_t i = 0; !code && i < repair->missing_count;) {
        struct record record = {.kind = RECORD_TOMBSTONE,
                                .tombstone = {.tier = tier,
                                              .reason = TOMBSTONE_DAMAGED,
                                              .utc_us = clock_utc_us(),
                                              .blobs = blobs}};
        size_t *count = &record.tombstone.count;
        for (; i < repair->missing_count && *count < RECORD_BATCH_MAX; i++) {
            if (repair->missing[i].tier == tier) {
                blobs[(*count)++] = repair->missing[i].sha;
            }
        }
        code = *count ? store__meta_put(store, &record, 1, err) : 0;
        repair->out.blobs_gone += code ? 0 : *count;
    }
    return code;
}

static int index_and_bury(const char *dir, double index_floor, struct repair *repair,
                          store_progress_fn *progress, void *ctx, struct err *err) {
    struct store *store = NULL;
    int code = store__open_bare(dir, index_floor, &store, err);
    code = code ? code : catch_up(store, progress, ctx, err);
    for (unsigned tier = 0; !code && tier < TIER_COUNT; tier++) {
        code = bury_tier(store, repair, tier, err);
    }
    code = code ? code : store_flush(store, err);
    if (!code && repair->retired) {
        index_retired_drop(&store->layout);
    }
    store_close(store);
    return code;
}

int store_repair(const char *dir, double index_floor,
                 void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                 struct store_repaired *out, struct err *err) {
    struct repair repair = {0};
    struct fsck_hooks hooks = {
        .ctx = &repair, .bad = note_place, .missing = note_missing, .settle = mend_all};
    struct store_fsck found = {0};
    int code = store__fsck(dir, progress, ctx, &hooks, &found, err);
    if (code == ERR_CORRUPT && (repair.out.places || repair.missing_count || repair.retired)) {
        code = 0; /* that is what was mended */
    }
    if (!code && !repair.out.clean) {
        code = index_and_bury(dir, index_floor, &repair, progress, ctx, err);
        code = code ? code : store_fsck(dir, progress, ctx, &found, err);
    }
    free(repair.places);
    free(repair.missing);
    *out = repair.out;
    return code;
}
