/* forward: see forward.h.
 *
 * Goal: a file goes, and everything that stays is read as before; an index that is made without the
 * file is the one that saw it.
 * What stays of a file: the blobs that the index finds there; the records of frames whose blob is
 * local or that are pinned; the records of the others (history) unless they are to go. They are
 * written as they were, BLOB and MOVED, into the open file of their tier, and with them, in the
 * same group, what the meta log had said of them before: receipts, quarantines, who is owed
 * nothing, why a blob is gone, pins, labels. A rebuild meets those words at their first place
 * before it meets the frame, and passes over them.
 *
 * Invariants:
 *   1. A step looks only at an index that has all that was said (said_lsn): what it copies is what
 * counts.
 *   2. Times that were repaired are written repaired: the repair lies before the copy.
 *   3. The file is forgotten only when the index finds nothing in it that stays; what came to stay
 * behind the scan's back (a pin) makes it look again.
 *   4. A record that cannot be read ends it and leaves the file alone.
 * Until the file goes its copies count twice: at most one segment beyond quota and floor.
 * Which file: the one of which the most is waste, when more than half of it is, or when a quarter
 * of all files is (the greedy cleaner of Rosenblum and Ousterhout, "The Design and Implementation
 * of a Log-Structured File System", 1992: below a quarter, each byte freed costs more than three
 * copied).
 */
#include "store/forward.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/retain.h"
#include <stdlib.h>
#include <string.h>

#define FORWARD_BYTES (1u << 20) /* copied by one step, and one record */
#define WASTE_LEAST   8          /* of a file's limit: less is not worth it */
#define WASTE_SHARE   4          /* of all files */
#define LOOKS_MAX     3
#define WORDS_MAX     256                      /* records of one group of the meta log */
#define PAUSE_US      (600 * INT64_C(1000000)) /* after an error */

/* ---- which file ---- */

static uint64_t waste(const struct forward_file *file) {
    return file->allocated > file->needed ? file->allocated - file->needed : 0;
}

/* Of frames that are gone: the pages that punching leaves, or, where those lie among others, their
 * share of the records. */
static uint64_t history(const struct forward_file *file) {
    if (file->frames <= file->live) {
        return 0;
    }
    return file->allocated < file->end / 4
               ? file->allocated
               : file->record_bytes / file->frames * (file->frames - file->live);
}

static bool is_history(const struct forward_file *file) {
    return history(file) > 0 && file->frames - file->live >= file->frames / 4 * 3;
}

static bool is_wasteful(const struct store *store, const struct forward_file *file) {
    const struct forward_file *best = &store->forward.survey.best[FORWARD_WASTE];
    return waste(file) > store->streams[file->tier].limit / WASTE_LEAST &&
           (!best->number || (double)waste(file) * (double)best->allocated >
                                 (double)waste(best) * (double)file->allocated);
}

static void survey_add(struct store *store, const struct forward_file *file, int64_t cutoff_us) {
    struct forward_survey *survey = &store->forward.survey;
    struct forward_file *best = survey->best;
    survey->wasted += waste(file);
    survey->allocated += file->allocated;
    survey->history += history(file);
    if (is_wasteful(store, file)) {
        best[FORWARD_WASTE] = *file;
    }
    if (is_history(file) &&
        (!best[FORWARD_HISTORY].number || file->newest < best[FORWARD_HISTORY].newest)) {
        best[FORWARD_HISTORY] = *file;
    }
    if (!best[FORWARD_AGE].number && history(file) > 0 && file->newest < cutoff_us) {
        best[FORWARD_AGE] = *file;
    }
}

/* Is it a closed file that can be read? */
static bool is_open_to_us(struct store *store, struct forward_file *file) {
    struct segment segment;
    if (file->tier >= TIER_COUNT || file->number == store->forward.bad ||
        store__stream_is_last(&store->streams[file->tier], file->number) ||
        !store__stream_find(&store->streams[file->tier], file->number, &segment)) {
        return false;
    }
    file->allocated = segment.allocated;
    file->end = segment.end;
    return segment.number == file->number;
}

int store__forward_look(struct store *store, int64_t cutoff_us, struct err *err) {
    struct forward_survey *survey = &store->forward.survey;
    sqlite3_stmt *statement;
    *survey = (struct forward_survey){0};
    int code = store__db_bind(&store->writer.lookup, LOOKUP_SEGMENTS, &statement, err, "");
    while (!code && !(code = store__db_step(&store->writer.lookup, statement, err))) {
        struct forward_file file = {0};
        store__db_columns(statement, "unuuuui", &file.number, &file.tier, &file.needed,
                          &file.record_bytes, &file.live, &file.frames, &file.newest);
        survey->rows++;
        if (is_open_to_us(store, &file)) {
            survey_add(store, &file, cutoff_us);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static bool is_worth(const struct forward_survey *survey, enum forward_cause cause) {
    const struct forward_file *best = &survey->best[cause];
    bool much = survey->wasted > survey->allocated / WASTE_SHARE;
    return best->number &&
           (cause != FORWARD_WASTE || waste(best) > best->allocated / (much ? WASTE_SHARE : 2));
}

/* Begins, or begins again, at the file's start. */
static int rewind_to_start(struct store *store, struct err *err) {
    struct forward *forward = &store->forward;
    struct segment segment = {0};
    char path[LAYOUT_PATH_MAX];
    store__segment_path(&store->layout, forward->tier, forward->number, path);
    forward->looks++;
    int code = store__scan_open(&forward->scan, path, forward->number, store->layout.uuid, err);
    if (!code && store__stream_find(&store->streams[forward->tier], forward->number, &segment)) {
        forward->scan.end = segment.end;
    }
    forward->running = !code;
    return code;
}

int store__forward_pick(struct store *store, enum forward_cause cause, bool keep_history,
                        struct err *err) {
    struct forward *forward = &store->forward;
    struct forward_file file = forward->survey.best[cause];
    if (forward->running || clock_boot_us() < forward->pause_boot_us ||
        !is_worth(&forward->survey, cause) || !is_open_to_us(store, &file)) {
        return ERR_NOT_FOUND;
    }
    forward->tier = (unsigned)file.tier;
    forward->number = file.number;
    forward->history = keep_history;
    forward->looks = 0;
    forward->survey.best[cause].number = 0;
    return rewind_to_start(store, err);
}

/* ---- what one step writes ---- */

struct batch {
    struct record_copy copies[STORE_COPIES_MAX];
    void *payloads[STORE_COPIES_MAX]; /* owned */
    size_t copy_count;
    uint64_t bytes;
    struct record *records; /* owned; what they point at is not */
    size_t record_count, record_room;
    struct frame_hash gone[STORE_COPIES_MAX]; /* that tombstones among the records name */
    size_t gone_count;
    struct store_blob_name undue[3 * STORE_COPIES_MAX]; /* that outbox records among them name */
    size_t undue_count;
};

static void batch_destroy(struct batch *batch) {
    if (!batch) {
        return;
    }
    for (size_t i = 0; i < batch->copy_count; i++) {
        free(batch->payloads[i]);
    }
    free(batch->records);
    free(batch);
}
static inline void batch_destroy_at(struct batch **batch) {
    batch_destroy(*batch);
}

/* What is said of a blob means something only behind its frame: the two are not parted. */
static bool is_full(const struct store *store, const struct batch *batch) {
    uint64_t most = store->streams[store->forward.tier].limit / 4;
    bool much = batch->copy_count >= STORE_COPIES_MAX - 1 ||
                batch->bytes >= (most < FORWARD_BYTES ? most : FORWARD_BYTES);
    bool ends_with_blob =
        batch->copy_count && batch->copies[batch->copy_count - 1].kind == RECORD_BLOB;
    return batch->copy_count == STORE_COPIES_MAX || (much && !ends_with_blob);
}

static void copy_add(struct batch *batch, enum record_kind kind, void *payload, size_t size) {
    struct record_copy *copy = &batch->copies[batch->copy_count];
    *copy = (struct record_copy){.kind = kind, .bytes = payload, .size = size};
    hash_sha256(payload, size, &copy->sha);
    batch->payloads[batch->copy_count++] = payload;
    batch->bytes += size;
}

static int say(struct batch *batch, const struct record *record, struct err *err) {
    if (batch->record_count == batch->record_room) {
        size_t room = batch->record_room ? batch->record_room * 2 : 64;
        struct record *larger = mem_resize(batch->records, room, sizeof(*larger));
        if (!larger) {
            return err_set(err, ERR_NOMEM, "no memory to copy frames forward");
        }
        batch->records = larger;
        batch->record_room = room;
    }
    batch->records[batch->record_count++] = *record;
    return 0;
}

/* ---- what was said of them ---- */

struct owner { /* of the words: a blob, by its row */
    int64_t id;
    enum frame_tier tier;
    struct frame_hash sha;
};

static int say_receipts(struct store *store, struct batch *batch, const struct owner *blob,
                        struct err *err) {
    struct db *lookup = &store->writer.lookup;
    sqlite3_stmt *statement;
    int code = store__db_bind(lookup, LOOKUP_RECEIPTS, &statement, err, "i", blob->id);
    while (!code && !(code = store__db_step(lookup, statement, err))) {
        struct record record = {.kind = RECORD_RECEIPT};
        struct store_receipt *receipt = &record.receipt.receipt;
        int kind = 0;
        receipt->tier = blob->tier;
        receipt->blob = blob->sha;
        store__db_columns(statement, "bntti", record.receipt.identity.bytes, sizeof(blob->sha),
                          &kind, receipt->key, sizeof(receipt->key), receipt->etag,
                          sizeof(receipt->etag), &receipt->utc_us);
        receipt->kind = (enum store_receipt_kind)kind;
        code = say(batch, &record, err);
        if (code) {
            sqlite3_reset(statement);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int say_quarantines(struct store *store, struct batch *batch, const struct owner *blob,
                           struct err *err) {
    struct db *lookup = &store->writer.lookup;
    sqlite3_stmt *statement;
    int code = store__db_bind(lookup, LOOKUP_QUARANTINES, &statement, err, "i", blob->id);
    while (!code && !(code = store__db_step(lookup, statement, err))) {
        struct record record = {
            .kind = RECORD_QUARANTINE,
            .quarantine = {.tier = blob->tier, .blob = blob->sha, .utc_us = clock_utc_us()}};
        store__db_columns(statement, "bt", record.quarantine.identity.bytes, sizeof(blob->sha),
                          record.quarantine.reason, sizeof(record.quarantine.reason));
        code = say(batch, &record, err);
        if (code) {
            sqlite3_reset(statement);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* A rebuild that meets the copy queues it for every remote of its day. Those that are owed nothing
 * of it (given up, or not there when it was kept) are told so again. */
static int say_undue(struct store *store, struct batch *batch, const struct owner *blob,
                     struct err *err) {
    struct db *lookup = &store->writer.lookup;
    struct store_blob_name *name = &batch->undue[batch->undue_count++];
    *name = (struct store_blob_name){blob->tier, blob->sha};
    sqlite3_stmt *statement;
    int code = store__db_bind(lookup, LOOKUP_UNDUE, &statement, err, "i", blob->id);
    while (!code && !(code = store__db_step(lookup, statement, err))) {
        struct record record = {
            .kind = RECORD_OUTBOX,
            .outbox = {
                .action = STORE_OUTBOX_DROP, .utc_us = clock_utc_us(), .count = 1, .blobs = name}};
        store__db_columns(statement, "b", record.outbox.identity.bytes, sizeof(blob->sha));
        code = say(batch, &record, err);
        if (code) {
            sqlite3_reset(statement);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* Receipts that were taken back. */
static int say_withdrawn(struct store *store, struct batch *batch, const struct owner *blob,
                         struct err *err) {
    struct db *lookup = &store->writer.lookup;
    struct store_blob_name *name = &batch->undue[batch->undue_count++];
    *name = (struct store_blob_name){blob->tier, blob->sha};
    sqlite3_stmt *statement;
    int code = store__db_bind(lookup, LOOKUP_WITHDRAWN, &statement, err, "i", blob->id);
    while (!code && !(code = store__db_step(lookup, statement, err))) {
        struct record record = {.kind = RECORD_OUTBOX, .outbox = {.count = 1, .blobs = name}};
        int action = 0;
        store__db_columns(statement, "bni", record.outbox.identity.bytes, sizeof(blob->sha),
                          &action, &record.outbox.utc_us);
        record.outbox.action = (enum store_outbox_action)action;
        code = say(batch, &record, err);
        if (code) {
            sqlite3_reset(statement);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int say_gone(struct batch *batch, const struct owner *blob, int reason, int64_t utc_us,
                    struct err *err) {
    struct frame_hash *sha = &batch->gone[batch->gone_count++];
    *sha = blob->sha;
    const struct record record = {.kind = RECORD_TOMBSTONE,
                                  .tombstone = {.tier = blob->tier,
                                                .reason = (enum tombstone_reason)reason,
                                                .utc_us = utc_us,
                                                .count = 1,
                                                .blobs = sha}};
    return say(batch, &record, err);
}

static int say_label(struct store *store, struct batch *batch, const struct frame_id *id,
                     uint64_t seq, struct err *err) {
    struct db *lookup = &store->writer.lookup;
    struct record record = {.kind = RECORD_LABEL, .label = {.id = *id}};
    struct store_label *label = &record.label.label;
    sqlite3_stmt *statement;
    int state = 0;
    int code = store__db_bind(lookup, LOOKUP_LABEL, &statement, err, "u", seq);
    code = code ? code : store__db_step(lookup, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    store__db_columns(statement, "nittt", &state, &label->utc_us, label->class_name,
                      sizeof(label->class_name), label->note, sizeof(label->note), label->who,
                      sizeof(label->who));
    sqlite3_reset(statement);
    label->state = (enum store_label_state)state;
    return say(batch, &record, err);
}

/* ---- a blob ---- */

static int blob_forward(struct store *store, struct batch *batch, const struct record_at *found,
                        struct err *err) {
    const struct forward *forward = &store->forward;
    struct db *lookup = &store->writer.lookup;
    struct owner blob = {.tier = (enum frame_tier)forward->tier, .sha = found->header.sha};
    struct log_position place = {0};
    sqlite3_stmt *statement;
    int local = 0;
    int code = store__db_bind(lookup, LOOKUP_PLACE, &statement, err, "nb", (int)blob.tier,
                              blob.sha.bytes, sizeof(blob.sha.bytes));
    code = code ? code : store__db_step(lookup, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    store__db_columns(statement, "inuu", &blob.id, &local, &place.segment, &place.at);
    sqlite3_reset(statement);
    if (!local || place.segment != forward->number || place.at != found->at) {
        return 0;
    }
    struct record_header header;
    uint8_t *payload = NULL;
    code = store__record_read(forward->scan.path, forward->number, store->layout.uuid, found->at,
                              &header, &payload, err);
    if (code) {
        return code;
    }
    copy_add(batch, RECORD_BLOB, payload, header.payload_bytes);
    code = say_quarantines(store, batch, &blob, err);
    return code ? code : say_undue(store, batch, &blob, err);
}

/* ---- a frame ---- */

struct standing { /* of a frame, in the index */
    uint64_t seq, segment, at;
    int64_t utc, pinned_utc, blob_utc, gone_utc;
    int clock, pinned, label_state, local, blob_clock, gone_reason;
    struct owner blob;
};

static int standing_read(struct store *store, const struct frame_id *id, struct standing *out,
                         struct err *err) {
    struct db *lookup = &store->writer.lookup;
    sqlite3_stmt *statement;
    int code =
        store__db_bind(lookup, LOOKUP_STANDING, &statement, err, "b", id->bytes, sizeof(id->bytes));
    code = code ? code : store__db_step(lookup, statement, err);
    if (!code) {
        store__db_columns(statement, "uuuinninibninni", &out->seq, &out->segment, &out->at,
                          &out->utc, &out->clock, &out->pinned, &out->pinned_utc, &out->label_state,
                          &out->blob.id, out->blob.sha.bytes, sizeof(out->blob.sha.bytes),
                          &out->local, &out->blob_utc, &out->blob_clock, &out->gone_reason,
                          &out->gone_utc);
        out->blob.tier = (enum frame_tier)store->forward.tier;
        sqlite3_reset(statement);
    }
    return code;
}

/* The repairs of its times lie before the copy in the meta log, so the copy has them. */
static void times_mend(struct record_frame *kept, const struct standing *now) {
    struct clock_stamp *captured = &kept->frame.captured;
    if (now->clock && captured->state != CLOCK_SYNCHRONISED) {
        captured->utc_us = now->utc;
        captured->state = CLOCK_SYNCHRONISED;
    }
    if (now->blob_clock && kept->kept_state != CLOCK_SYNCHRONISED) {
        kept->kept_utc_us = now->blob_utc;
        kept->kept_state = CLOCK_SYNCHRONISED;
    }
}

static int frame_say(struct store *store, struct batch *batch, const struct frame_id *id,
                     const struct standing *now, struct err *err) {
    int code = say_receipts(store, batch, &now->blob, err);
    if (!code && now->local) {
        code = say_undue(store, batch, &now->blob, err);
    }
    code = code ? code : say_withdrawn(store, batch, &now->blob, err);
    if (!code && !now->local && now->gone_reason) {
        code = say_gone(batch, &now->blob, now->gone_reason, now->gone_utc, err);
    }
    if (!code && now->pinned) {
        const struct record pin = {.kind = RECORD_PIN,
                                   .pin = {.id = *id, .on = true, .utc_us = now->pinned_utc}};
        code = say(batch, &pin, err);
    }
    return code || !now->label_state ? code : say_label(store, batch, id, now->seq, err);
}

static int frame_forward(struct store *store, struct batch *batch, const struct record_at *found,
                         struct err *err) {
    CLEANUP(store__record_finish) struct record record = {0};
    const struct forward *forward = &store->forward;
    struct standing now = {0};
    int code = store__record_decode(found->header.kind, found->payload, found->header.payload_bytes,
                                    &record, err);
    const struct frame_id *id = &record.frame.frame.id;
    code = code ? code : standing_read(store, id, &now, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    bool here = now.segment == forward->number && now.at == found->at;
    bool remembered = forward->history && record.frame.kept_utc_us > forward->horizon_us;
    if (!here || !(now.local || now.pinned || remembered)) {
        return 0;
    }
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(RECORD_SMALL_MAX);
    size_t size = 0;
    times_mend(&record.frame, &now);
    record.kind = RECORD_MOVED;
    store__record_encode(&record, &bytes);
    void *payload = buf_take(&bytes, &size);
    if (!payload) {
        return err_set(err, ERR_NOMEM, "no memory to copy a frame forward");
    }
    copy_add(batch, RECORD_MOVED, payload, size);
    return frame_say(store, batch, id, &now, err);
}

/* ---- a step ---- */

static int batch_fill(struct store *store, struct batch *batch, bool *over, struct err *err) {
    int code = 0;
    while (!code && !is_full(store, batch)) {
        struct record_at found;
        code = store__scan_next(&store->forward.scan, false, &found, err);
        if (code == ERR_NOT_FOUND) {
            *over = true;
            return 0;
        }
        if (!code && found.header.kind == RECORD_BLOB) {
            code = blob_forward(store, batch, &found, err);
        } else if (!code && store__record_is_frame(found.header.kind)) {
            code = frame_forward(store, batch, &found, err);
        }
    }
    return code;
}

/* The receipts of blobs that are known beyond the file: it may hold the first frame of theirs, and
 * without that they would have come before all that is left. */
static int survivors_say(struct store *store, struct batch *batch, unsigned tier, uint64_t number,
                         struct err *err) {
    struct db *lookup = &store->writer.lookup;
    struct owner blob = {.tier = (enum frame_tier)tier};
    sqlite3_stmt *statement;
    int code = store__db_bind(lookup, LOOKUP_SURVIVORS, &statement, err, "u", number);
    while (!code && !(code = store__db_step(lookup, statement, err))) {
        store__db_columns(statement, "ib", &blob.id, blob.sha.bytes, sizeof(blob.sha.bytes));
        code = say_receipts(store, batch, &blob, err);
        if (!code && batch->record_count >= WORDS_MAX) {
            code = store__retain_write(store, batch->records, batch->record_count, err);
            batch->record_count = 0;
        }
        if (code) {
            sqlite3_reset(statement);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

int store__forward_forget(struct store *store, unsigned tier, uint64_t number, struct err *err) {
    CLEANUP(batch_destroy_at) struct batch *batch = mem_alloc(sizeof(*batch));
    const struct record forget = {
        .kind = RECORD_FORGET,
        .forget = {.stream = (uint8_t)tier, .segment = number, .utc_us = clock_utc_us()}};
    if (!batch) {
        return err_set(err, ERR_NOMEM, "no memory to forget a file");
    }
    int code = survivors_say(store, batch, tier, number, err);
    code = code ? code : say(batch, &forget, err);
    return code ? code : store__retain_write(store, batch->records, batch->record_count, err);
}

/* The index has what was copied: the file goes, unless something of it stays after all. */
static int settle(struct store *store, struct err *err) {
    struct forward *forward = &store->forward;
    int64_t stays = 0;
    int code =
        store__db_number(&store->writer.lookup, LOOKUP_STAYS, &stays, err, "u", forward->number);
    store__scan_close(&forward->scan);
    if (!code && stays && forward->looks < LOOKS_MAX) {
        return rewind_to_start(store, err);
    }
    if (!code && stays) {
        return err_set(err, ERR_CORRUPT,
                       "%lld records of %s cannot be copied forward: run `creel fsck`",
                       (long long)stays, forward->scan.path);
    }
    forward->running = false;
    code = code ? code : store__forward_forget(store, forward->tier, forward->number, err);
    pthread_mutex_lock(&store->lock);
    store->stats.forwards += !code;
    pthread_mutex_unlock(&store->lock);
    return code;
}

static int copy_on(struct store *store, struct err *err) {
    CLEANUP(batch_destroy_at) struct batch *batch = mem_alloc(sizeof(*batch));
    struct forward *forward = &store->forward;
    bool over = false;
    if (!batch) {
        return err_set(err, ERR_NOMEM, "no memory to copy frames forward");
    }
    int code = batch_fill(store, batch, &over, err);
    if (!code && batch->copy_count) {
        code = store__group_copy(store, forward->tier, batch->copies, batch->copy_count,
                                 batch->records, batch->record_count, err);
        pthread_mutex_lock(&store->lock);
        store->stats.forwarded_bytes += code ? 0 : batch->bytes;
        pthread_mutex_unlock(&store->lock);
    }
    return code || !over || batch->copy_count ? code : settle(store, err);
}

int store__forward_step(struct store *store, int wait_ms, struct err *err) {
    struct forward *forward = &store->forward;
    if (!store__index_whole(store) ||
        !store__indexer_wait(store, store->writer.said_lsn, wait_ms)) {
        return store__index_behind(store, err);
    }
    int code = store__retain_lookup(store, err);
    code = code ? code : copy_on(store, err);
    if (code && code != ERR_BUSY) {
        forward->bad = code == ERR_CORRUPT ? forward->number : forward->bad;
        forward->pause_boot_us = clock_boot_us() + PAUSE_US;
        store__forward_finish(store);
    }
    return code;
}

void store__forward_finish(struct store *store) {
    store__scan_close(&store->forward.scan);
    store->forward.running = false;
}
