/* compact: see compact.h.
 *
 * Goal: an index that is made from the compacted log is the one that is made from the whole log.
 * So every record that stays keeps its lsn, by which the streams are merged, and its place in that
 * order. What goes:
 *   - receipts, quarantines and hashes of tombstones and outbox decisions of blobs that the index
 * does not know any more: every frame of theirs was forgotten, and its file unlinked, durably;
 *   - pins and labels but for each frame's last, and those of frames that are gone;
 *   - a REMOTES that says what the one before it said; FORGETs of files that are gone.
 * Invariants:
 *   1. Only files that lie wholly before the index's position are touched: nobody reads them now.
 *   2. The new file is whole and durable before it takes the first one's name; the others are
 * unlinked after that is durable. Its CHECKPOINT says which they are, so that a crash between the
 * two leaves nothing that would be read twice (stream.c: leftovers).
 *   3. Nothing is begun while a file waits for its unlink, and the directories of the tiers are
 * synced before a FORGET is dropped: a file that came back after a crash would find no grave.
 *   4. An index that did not come as far as the one that was asked is made again (CHECKPOINT's
 * `applied`): SQLite's WAL is not synced at each commit, so a power cut may throw it back.
 *   5. A record that cannot be read ends it: that is for a repair to judge.
 * Rejected: a snapshot of the index's tables as new records. They would all come after the frames
 * of today, and a blob that was removed and kept again would be buried by its old tombstone.
 */
#include "store/compact.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/retain.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_US  6000
#define WRITE_MAX (256u << 10)
#define SYNC_EACH (4u << 20)
#define FILE_MAX  (1u << 30) /* a record's group_at has 32 bits */
#define PAUSE_US  (600 * INT64_C(1000000))

/* ---- what stays ---- */

static int blob_known(struct store *store, int tier, const struct frame_hash *sha, bool *known,
                      struct err *err) {
    int64_t id;
    int code = store__db_number(&store->writer.lookup, LOOKUP_BLOB, &id, err, "nb", tier,
                                sha->bytes, sizeof(sha->bytes));
    *known = !code;
    return code == ERR_NOT_FOUND ? 0 : code;
}

struct words { /* the last of each about a frame */
    int pinned, label;
    int64_t pinned_utc, label_utc;
};

static int words_of(struct store *store, const struct frame_id *id, bool *known,
                    struct words *words, struct err *err) {
    struct db *lookup = &store->writer.lookup;
    sqlite3_stmt *statement;
    int code =
        store__db_bind(lookup, LOOKUP_WORDS, &statement, err, "b", id->bytes, sizeof(id->bytes));
    code = code ? code : store__db_step(lookup, statement, err);
    *known = !code;
    if (!code) {
        store__db_columns(statement, "nini", &words->pinned, &words->pinned_utc, &words->label,
                          &words->label_utc);
        sqlite3_reset(statement);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int pin_stays(struct store *store, const struct record_pin *pin, bool *stays,
                     struct err *err) {
    struct words words = {0};
    int code = words_of(store, &pin->id, stays, &words, err);
    *stays = *stays && words.pinned == (int)pin->on && words.pinned_utc == pin->utc_us;
    return code;
}

static int label_stays(struct store *store, const struct record_label *label, bool *stays,
                       struct err *err) {
    struct words words = {0};
    int code = words_of(store, &label->id, stays, &words, err);
    *stays = *stays && words.label && words.label == (int)label->label.state &&
             words.label_utc == label->label.utc_us;
    return code;
}

/* Leaves the hashes that somebody may still ask for. */
static int tombstone_thin(struct store *store, struct record_tombstone *tombstone, bool *stays,
                          struct err *err) {
    size_t left = 0;
    int code = 0;
    for (size_t i = 0; !code && i < tombstone->count; i++) {
        bool known;
        code = blob_known(store, (int)tombstone->tier, &tombstone->blobs[i], &known, err);
        if (known) {
            tombstone->blobs[left++] = tombstone->blobs[i];
        }
    }
    tombstone->count = left;
    *stays = left > 0;
    return code;
}

static int outbox_thin(struct store *store, struct record_outbox *outbox, bool *stays,
                       struct err *err) {
    size_t left = 0;
    int code = 0;
    for (size_t i = 0; !code && i < outbox->count; i++) {
        bool known;
        code = blob_known(store, (int)outbox->blobs[i].tier, &outbox->blobs[i].blob, &known, err);
        if (known) {
            outbox->blobs[left++] = outbox->blobs[i];
        }
    }
    outbox->count = left;
    *stays = left > 0;
    return code;
}

static bool remotes_stay(struct compact *compact, const struct record_at *found) {
    struct buf *last = &compact->remotes;
    size_t size = found->header.payload_bytes;
    if (last->len == size && size && memcmp(last->data, found->payload, size) == 0) {
        return false;
    }
    buf_reset(last);
    buf_append(last, found->payload, size);
    return true;
}

static bool file_is_there(struct store *store, const struct record_forget *forget) {
    struct segment segment;
    return forget->stream < TIER_COUNT &&
           store__stream_find(&store->streams[forget->stream], forget->segment, &segment) &&
           segment.number == forget->segment;
}

static int record_stays(struct store *store, const struct record_at *found, struct record *record,
                        bool *stays, struct err *err) {
    *stays = true;
    switch (record->kind) {
    case RECORD_RECEIPT:
        return blob_known(store, (int)record->receipt.receipt.tier, &record->receipt.receipt.blob,
                          stays, err);
    case RECORD_QUARANTINE:
        return blob_known(store, (int)record->quarantine.tier, &record->quarantine.blob, stays,
                          err);
    case RECORD_TOMBSTONE:
        return tombstone_thin(store, &record->tombstone, stays, err);
    case RECORD_OUTBOX:
        return outbox_thin(store, &record->outbox, stays, err);
    case RECORD_PIN:
        return pin_stays(store, &record->pin, stays, err);
    case RECORD_LABEL:
        return label_stays(store, &record->label, stays, err);
    case RECORD_REMOTES:
        *stays = remotes_stay(&store->compact, found);
        return 0;
    case RECORD_FORGET:
        *stays = file_is_there(store, &record->forget);
        return 0;
    case RECORD_SEGMENT:
    case RECORD_CHECKPOINT:
    case RECORD_VOID:
        *stays = false;
        return 0;
    default:
        return 0;
    }
}

/* ---- writing ---- */

static char *tmp_path(const struct store *store, char *out) {
    return store__file_path(&store->layout, "meta/" COMPACT_NAME, out);
}

static int out_write(struct store *store, struct err *err) {
    struct compact *compact = &store->compact;
    char path[LAYOUT_PATH_MAX];
    int code = compact->out.failed
                   ? err_set(err, ERR_NOMEM, "no memory to compact the meta log")
                   : fs_pwrite_all(compact->fd, compact->out.data, compact->out.len,
                                   compact->at - compact->out.len, tmp_path(store, path), err);
    compact->unsynced += compact->out.len;
    buf_reset(&compact->out);
    if (!code && compact->unsynced >= SYNC_EACH) {
        code = fs_datasync(compact->fd, path, err);
        compact->unsynced = 0;
    }
    return code;
}

/* A record as it lies at `at`, a group of its own. */
static void record_append(struct store *store, enum record_kind kind, uint64_t lsn, uint64_t at,
                          const void *payload, size_t size, struct buf *out) {
    static const uint8_t zeros[8] = {0};
    uint8_t head[RECORD_HEADER];
    struct record_header header = {.kind = (uint16_t)kind,
                                   .version = RECORD_VERSION,
                                   .payload_bytes = (uint32_t)size,
                                   .group_at = (uint32_t)at,
                                   .segment = store->compact.first,
                                   .lsn = lsn};
    hash_sha256(payload, size, &header.sha);
    store__header_encode(&header, store->layout.uuid, head);
    buf_append(out, head, sizeof(head));
    buf_append(out, payload, size);
    buf_append(out, zeros, (size_t)(store__record_size(size) - RECORD_HEADER - size));
}

static int record_put(struct store *store, enum record_kind kind, uint64_t lsn, const void *payload,
                      size_t size, struct err *err) {
    struct compact *compact = &store->compact;
    uint64_t whole = store__record_size(size);
    if (compact->at + whole > FILE_MAX) {
        return err_set(err, ERR_FULL, "the meta log is too large to be compacted");
    }
    record_append(store, kind, lsn, compact->at, payload, size, &compact->out);
    compact->at += whole;
    return compact->out.len >= WRITE_MAX ? out_write(store, err) : 0;
}

static int encoded_put(struct store *store, const struct record *record, uint64_t lsn,
                       struct err *err) {
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(RECORD_SMALL_MAX);
    store__record_encode(record, &bytes);
    return bytes.failed ? err_set(err, ERR_NOMEM, "no memory to compact the meta log")
                        : record_put(store, record->kind, lsn, bytes.data, bytes.len, err);
}

/* ---- its life ---- */

/* Room for the new file counts as taken while one is planned or made. */
static void want(struct store *store, uint64_t bytes) {
    pthread_mutex_lock(&store->lock);
    store->compact_wants = bytes;
    pthread_mutex_unlock(&store->lock);
}

static void abandon(struct store *store) {
    struct compact *compact = &store->compact;
    char path[LAYOUT_PATH_MAX];
    store__scan_close(&compact->scan);
    buf_finish(&compact->out);
    buf_finish(&compact->remotes);
    if (compact->running) {
        fs_close(TAKE_FD(compact->fd), COMPACT_NAME, NULL);
        fs_unlink(tmp_path(store, path), NULL);
    }
    compact->running = false;
    want(store, 0);
}

/* The files that may be compacted: closed, and before the index's position. */
static uint64_t closed_bytes(struct store *store, uint64_t *through) {
    struct stream *meta = &store->streams[STREAM_META];
    int64_t position = 0;
    uint64_t bytes = 0;
    if (store__db_number(&store->writer.lookup, LOOKUP_META_POSITION, &position, NULL, "")) {
        return 0;
    }
    for (size_t i = 0; i + 1 < meta->count && meta->segments[i].number < (uint64_t)position; i++) {
        bytes += meta->segments[i].end;
        *through = meta->segments[i].number;
    }
    return bytes;
}

static int reclaim_is_empty(struct store *store, bool *empty, struct err *err) {
    int64_t rows = 0;
    int code = store__db_number(&store->writer.lookup, LOOKUP_UNLINKS, &rows, err, "");
    *empty = !rows;
    return code;
}

static int tiers_sync(struct store *store, struct err *err) {
    char dir[LAYOUT_PATH_MAX];
    int code = 0;
    for (unsigned tier = 0; !code && tier < TIER_COUNT; tier++) {
        code = fs_sync_dir(store__stream_dir(&store->layout, tier, dir), err);
    }
    return code;
}

static int begin(struct store *store, uint64_t through, struct err *err) {
    struct compact *compact = &store->compact;
    const struct segment *first = &store->streams[STREAM_META].segments[0];
    char path[LAYOUT_PATH_MAX];
    struct segment_birth birth = {.lsn = first->number,
                                  .first_seq = store->writer.next_seq,
                                  .utc_us = clock_utc_us(),
                                  .boot_us = clock_boot_us()};
    const struct record record = {.kind = RECORD_CHECKPOINT, .checkpoint = {.through = through}};
    *compact = (struct compact){.first = first->number,
                                .through = through,
                                .scan = SEGMENT_SCAN_INIT,
                                .out = BUF_INIT(2 * WRITE_MAX + RECORD_SMALL_MAX),
                                .remotes = BUF_INIT(RECORD_SMALL_MAX),
                                .pause_boot_us = compact->pause_boot_us};
    int code = tiers_sync(store, err);
    code =
        code ? code
             : fs_open(tmp_path(store, path), O_RDWR | O_CREAT | O_TRUNC, 0640, &compact->fd, err);
    compact->running = !code;
    code = code ? code : store__birth_encode(&store->layout, STREAM_META, &birth, &compact->out);
    compact->at = compact->checkpoint_at = compact->out.len;
    code = code ? code : encoded_put(store, &record, first->number, err);
    store__segment_path(&store->layout, STREAM_META, first->number, path);
    return code ? code
                : store__scan_open(&compact->scan, path, first->number, store->layout.uuid, err);
}

/* The CHECKPOINT once more, now that it is known how far the index was asked. */
static int checkpoint_settle(struct store *store, struct err *err) {
    struct compact *compact = &store->compact;
    CLEANUP(buf_finish) struct buf payload = BUF_INIT(RECORD_SMALL_MAX);
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(RECORD_SMALL_MAX);
    char path[LAYOUT_PATH_MAX];
    struct record record = {.kind = RECORD_CHECKPOINT,
                            .checkpoint = {.through = compact->through, .utc_us = clock_utc_us()}};
    pthread_mutex_lock(&store->lock);
    record.checkpoint.applied = store->applied_lsn;
    pthread_mutex_unlock(&store->lock);
    store__record_encode(&record, &payload);
    record_append(store, record.kind, compact->first, compact->checkpoint_at, payload.data,
                  payload.len, &bytes);
    return payload.failed || bytes.failed
               ? err_set(err, ERR_NOMEM, "no memory to compact the meta log")
               : fs_pwrite_all(compact->fd, bytes.data, bytes.len, compact->checkpoint_at,
                               tmp_path(store, path), err);
}

static int end(struct store *store, struct err *err) {
    struct compact *compact = &store->compact;
    char path[LAYOUT_PATH_MAX];
    int code = out_write(store, err);
    code = code ? code : checkpoint_settle(store, err);
    code = code ? code : fs_datasync(compact->fd, tmp_path(store, path), err);
    if (code) {
        return code;
    }
    fs_close(TAKE_FD(compact->fd), path, NULL);
    uint64_t before = store->streams[STREAM_META].allocated;
    code = store__stream_replace(&store->streams[STREAM_META], path, compact->first,
                                 compact->through, compact->at, err);
    compact->running = code != 0;
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->lock);
    store->stats.compactions++;
    store->stats.compacted_bytes += before - store->streams[STREAM_META].allocated;
    pthread_mutex_unlock(&store->lock);
    abandon(store);
    return 0;
}

/* To the next file, or the end. */
static int next_file(struct store *store, struct err *err) {
    struct compact *compact = &store->compact;
    struct segment segment;
    char path[LAYOUT_PATH_MAX];
    if (compact->scan.number >= compact->through ||
        !store__stream_find(&store->streams[STREAM_META], compact->scan.number + 1, &segment)) {
        return end(store, err);
    }
    store__segment_path(&store->layout, STREAM_META, segment.number, path);
    return store__scan_open(&compact->scan, path, segment.number, store->layout.uuid, err);
}

static int copy_next(struct store *store, struct err *err) {
    CLEANUP(store__record_finish) struct record record = {0};
    struct record_at found;
    bool stays = false;
    int code = store__scan_next(&store->compact.scan, true, &found, err);
    if (code == ERR_NOT_FOUND) {
        return next_file(store, err);
    }
    code = code ? code
                : store__record_decode(found.header.kind, found.payload, found.header.payload_bytes,
                                       &record, err);
    code = code ? code : record_stays(store, &found, &record, &stays, err);
    if (code || !stays) {
        return code;
    }
    return record.kind == RECORD_TOMBSTONE
               ? encoded_put(store, &record, found.header.lsn, err)
               : record_put(store, record.kind, found.header.lsn, found.payload,
                            found.header.payload_bytes, err);
}

static int maybe_begin(struct store *store, struct err *err) {
    const struct stream *meta = &store->streams[STREAM_META];
    uint64_t through = 0, bytes = closed_bytes(store, &through);
    uint64_t grown = bytes > meta->checkpoint_bytes ? bytes - meta->checkpoint_bytes : 0;
    bool empty;
    if (grown < 2 * meta->limit || grown < meta->checkpoint_bytes) {
        want(store, 0);
        return 0;
    }
    want(store, bytes);
    int code = reclaim_is_empty(store, &empty, err);
    return code || !empty || store__retain_excess(store, 0) ? code : begin(store, through, err);
}

void store__compact_step(struct store *store) {
    struct compact *compact = &store->compact;
    struct err err = {0};
    int64_t start = store__monotonic_us();
    if (store->bare || store->config.at_rest || clock_boot_us() < compact->pause_boot_us) {
        return;
    }
    int code = compact->running ? 0 : maybe_begin(store, &err);
    while (!code && compact->running && store__monotonic_us() - start < SLICE_US) {
        code = copy_next(store, &err);
    }
    if (code) {
        store__error_note(store, &err);
        store__compact_put_off(store);
    }
}

void store__compact_put_off(struct store *store) {
    abandon(store);
    store->compact.pause_boot_us = clock_boot_us() + PAUSE_US;
}

void store__compact_finish(struct store *store) {
    abandon(store);
}
