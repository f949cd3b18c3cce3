/* reader_events: what became known of frames at one remote, each thing once, from a position on.
 *
 * Goal: a position that survives a crash, a compaction and a rebuild of the index, and a list
 * without gap or repetition. So it is made of two numbers that never change: an lsn of the log and
 * a seq of the order of keeping. What is read is the meta log itself, not a table.
 * Invariant: every frame up to `seq` was told if, and only if, its blob's receipt has an lsn of at
 * most `lsn`. Two steps keep it, in one read transaction over an index that ends at lsn X:
 *   A. the records between lsn and X, one by one: a receipt tells the frames of its blob up to seq;
 *   B. once lsn is X, the frames behind seq, one by one: those whose blob has a receipt are told.
 * Rejected: a queue of events in the index: it costs the index thread a row each, also where nobody
 * reads it, and a rebuild fills it again with what was told long ago.
 */
#include "daemon/base/mem.h"
#include "store/reader.h"
#include <string.h>
#include <sys/stat.h>

#define RECORDS_MAX 20000 /* of the meta log that one call goes through */
#define FRAMES_MAX  4000  /* of the index */
#define BLOB_SHIFT  40    /* `within` a record of several blobs: which one, and the seq below */
#define SEQ_MASK    ((UINT64_C(1) << BLOB_SHIFT) - 1)

struct walk {
    struct store_reader *reader;
    int64_t remote; /* row id, good for this transaction */
    struct frame_hash identity;
    uint64_t applied; /* the index ends here */
    struct store_events_at at;
    struct store_event *events;
    size_t limit, count;
    size_t records;
    uint64_t blob; /* of the record at hand, shifted */
    bool more;     /* something is left for another call */
};

/* ---- what a statement finds ---- */

/* Rows (seq, id) of a bound statement become events; the walk goes to `at.within` = the last one's
 * seq. ERR_FULL: the limit was reached. */
static int rows_take(struct walk *walk, sqlite3_stmt *statement, enum store_event_kind kind,
                     struct err *err) {
    int code;
    while (!(code = store__db_step(&walk->reader->db, statement, err))) {
        if (walk->count == walk->limit) {
            sqlite3_reset(statement);
            return ERR_FULL;
        }
        struct store_event *event = &walk->events[walk->count];
        event->kind = kind;
        if (!store__db_columns(statement, "ub", &event->seq, event->id.bytes,
                               sizeof(event->id.bytes))) {
            sqlite3_reset(statement);
            return err_set(err, ERR_CORRUPT, "the index has a frame whose id has a wrong size");
        }
        walk->at.within = walk->blob | event->seq;
        walk->count++;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* Only the receipt that counts: a repetition of it tells nothing. */
static int receipt_take(struct walk *walk, const struct record_receipt *record, struct err *err) {
    struct db *db = &walk->reader->db;
    const struct store_receipt *receipt = &record->receipt;
    int64_t blob = 0;
    if (memcmp(&record->identity, &walk->identity, sizeof(walk->identity)) != 0) {
        return 0;
    }
    int code = store__db_number(db, READER_EVENT_RECEIPT, &blob, err, "nbii", (int)receipt->tier,
                                receipt->blob.bytes, sizeof(receipt->blob.bytes), walk->remote,
                                receipt->utc_us);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    sqlite3_stmt *statement;
    code = store__db_bind(db, READER_EVENT_FRAMES, &statement, err, "iuu", blob, walk->at.within,
                          walk->at.seq);
    return code ? code : rows_take(walk, statement, STORE_EVENT_KEPT, err);
}

static int label_take(struct walk *walk, const struct record_label *label, struct err *err) {
    sqlite3_stmt *statement;
    int code =
        store__db_bind(&walk->reader->db, READER_EVENT_LABEL, &statement, err, "ibuu", walk->remote,
                       label->id.bytes, sizeof(label->id.bytes), walk->at.within, walk->at.seq);
    return code ? code : rows_take(walk, statement, STORE_EVENT_LABEL, err);
}

/* Receipts that were taken back. What the frames were told to be there for is there no longer. */
static int outbox_take(struct walk *walk, const struct record_outbox *record, struct err *err) {
    static const enum store_event_kind kinds[] = {STORE_EVENT_LOST, STORE_EVENT_EXPIRED,
                                                  STORE_EVENT_REMOVED};
    unsigned way = (unsigned)record->action - STORE_OUTBOX_QUEUE - 1;
    bool ours = memcmp(&record->identity, &walk->identity, sizeof(walk->identity)) == 0;
    int code = 0;
    for (size_t i = walk->at.within >> BLOB_SHIFT;
         !code && ours && way < ARRAY_LENGTH(kinds) && i < record->count; i++) {
        const struct store_blob_name *blob = &record->blobs[i];
        sqlite3_stmt *statement;
        uint64_t from = walk->at.within >> BLOB_SHIFT == i ? walk->at.within & SEQ_MASK : 0;
        walk->blob = (uint64_t)i << BLOB_SHIFT;
        code = store__db_bind(&walk->reader->db, READER_EVENT_GONE, &statement, err, "nbuu",
                              (int)blob->tier, blob->blob.bytes, sizeof(blob->blob.bytes), from,
                              walk->at.seq);
        code = code ? code : rows_take(walk, statement, kinds[way], err);
    }
    walk->blob = 0;
    return code;
}

/* Frames that were told before their time was repaired. There is no order of frames by boot: this
 * goes through all of them, some at a time, once a boot that began without the time. */
static int clock_take(struct walk *walk, const struct record_clock *clock, struct err *err) {
    if (clock->repair != CLOCK_REPAIR_OFFSET || walk->at.within >= walk->at.seq) {
        return 0;
    }
    sqlite3_stmt *statement;
    uint64_t until = walk->at.within + FRAMES_MAX;
    until = until < walk->at.seq ? until : walk->at.seq;
    int code = store__db_bind(&walk->reader->db, READER_EVENT_CLOCK, &statement, err, "iuubi",
                              walk->remote, walk->at.within, until, clock->boot_id,
                              sizeof(clock->boot_id), clock->offset_us);
    code = code ? code : rows_take(walk, statement, STORE_EVENT_TIME, err);
    if (!code && until < walk->at.seq) {
        walk->at.within = until;
        return ERR_FULL;
    }
    return code;
}

/* ---- A: the meta log ---- */

static int record_take(struct walk *walk, const struct record_at *found, struct err *err) {
    enum record_kind kind = (enum record_kind)found->header.kind;
    if (kind != RECORD_RECEIPT && kind != RECORD_LABEL && kind != RECORD_CLOCK &&
        kind != RECORD_OUTBOX) {
        return 0;
    }
    CLEANUP(store__record_finish) struct record record = {0};
    int code =
        store__record_decode(kind, found->payload, found->header.payload_bytes, &record, err);
    if (code) {
        return code;
    }
    switch (kind) {
    case RECORD_RECEIPT:
        return receipt_take(walk, &record.receipt, err);
    case RECORD_LABEL:
        return label_take(walk, &record.label, err);
    case RECORD_OUTBOX:
        return outbox_take(walk, &record.outbox, err);
    default:
        return clock_take(walk, &record.clock, err);
    }
}

/* ERR_FULL: this record, or the walk, goes on in another call. */
static int record_step(struct walk *walk, const struct record_at *found, struct err *err) {
    struct store_events_at *at = &walk->at;
    uint64_t lsn = found->header.lsn;
    bool half = lsn == at->lsn && at->within;
    if (lsn <= at->lsn && !half) {
        return 0;
    }
    if (++walk->records > RECORDS_MAX) {
        return ERR_FULL;
    }
    at->within = half ? at->within : 0;
    uint64_t before = at->lsn, within = at->within;
    at->lsn = lsn;
    int code = record_take(walk, found, err);
    if (!code) {
        at->within = 0;
    } else if (at->within == within) { /* not even begun */
        at->lsn = before;
        at->within = half ? within : 0;
    }
    return code;
}

/* The file that holds the record behind `lsn`, or the first one there is. */
static bool file_find(struct stream *stream, uint64_t lsn, struct segment *out) {
    bool found = false;
    pthread_mutex_lock(stream->lock);
    for (size_t i = 0; i < stream->count; i++) {
        if (!found || stream->segments[i].number <= lsn) {
            *out = stream->segments[i];
            found = true;
        }
    }
    pthread_mutex_unlock(stream->lock);
    return found;
}

static int file_open(struct walk *walk, const struct segment *file, struct err *err) {
    struct store *store = walk->reader->store;
    char path[LAYOUT_PATH_MAX];
    store__segment_path(&store->layout, STREAM_META, file->number, path);
    return store__scan_open(&walk->reader->tail.scan, path, file->number, store->layout.uuid, err);
}

/* The file of the last call stays open, at the record where that call stopped. It serves again
 * unless another position is asked for, or a compaction put another file in its place. */
static int tail_open(struct walk *walk, bool *there, struct err *err) {
    struct reader_tail *tail = &walk->reader->tail;
    struct stat info;
    struct segment file;
    bool same = tail->scan.fd >= 0 && memcmp(&tail->at, &walk->at, sizeof(tail->at)) == 0 &&
                fstat(tail->scan.fd, &info) == 0 && info.st_nlink > 0;
    *there = same || file_find(&walk->reader->store->streams[STREAM_META], walk->at.lsn, &file);
    return same || !*there ? 0 : file_open(walk, &file, err);
}

/* From where the scan is to the end of its file. */
static int file_walk(struct walk *walk, struct err *err) {
    struct segment_scan *scan = &walk->reader->tail.scan;
    struct record_at found;
    int code;
    while (!(code = store__scan_next(scan, false, &found, err))) {
        bool beyond = found.header.lsn > walk->applied;
        code = beyond || found.header.kind == RECORD_VOID ? 0 : record_step(walk, &found, err);
        if (code || beyond) {
            scan->at = found.at; /* again, next time */
            return code;
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int log_walk(struct walk *walk, struct err *err) {
    struct stream *meta = &walk->reader->store->streams[STREAM_META];
    struct segment_scan *scan = &walk->reader->tail.scan;
    struct segment file;
    bool there;
    int code = tail_open(walk, &there, err);
    while (!code && there) {
        if (store__stream_find(meta, scan->number, &file) && file.number == scan->number) {
            scan->end = file.end;
        }
        code = file_walk(walk, err);
        there = !code && store__stream_find(meta, scan->number + 1, &file) &&
                file.number <= walk->applied;
        code = there ? file_open(walk, &file, err) : code;
    }
    if (code == ERR_FULL) {
        walk->more = true;
    } else if (code == ERR_NOT_FOUND) { /* compacted away at this moment */
        walk->more = true;
        code = ERR_FULL;
    } else if (!code) {
        walk->at.lsn = walk->applied;
        walk->at.within = 0;
    }
    return code;
}

/* ---- B: the frames behind ---- */

static int frames_walk(struct walk *walk, struct err *err) {
    struct db *db = &walk->reader->db;
    sqlite3_stmt *statement;
    int looked = 0;
    int code = store__db_bind(db, READER_EVENT_NEW, &statement, err, "iun", walk->remote,
                              walk->at.seq, FRAMES_MAX);
    while (!code && !(code = store__db_step(db, statement, err))) {
        struct store_event event = {.kind = STORE_EVENT_KEPT};
        int has = 0;
        bool whole = store__db_columns(statement, "ubn", &event.seq, event.id.bytes,
                                       sizeof(event.id.bytes), &has);
        if (!whole || (has && walk->count == walk->limit)) {
            sqlite3_reset(statement);
            walk->more = true;
            return whole ? 0 : err_set(err, ERR_CORRUPT, "the index has an id of a wrong size");
        }
        if (has) {
            walk->events[walk->count++] = event;
        }
        walk->at.seq = event.seq;
        looked++;
    }
    walk->more = looked == FRAMES_MAX;
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* ---- both, in one transaction ---- */

static int remote_find(struct walk *walk, const char *remote, struct err *err) {
    sqlite3_stmt *statement;
    struct db *db = &walk->reader->db;
    int code = store__db_bind(db, READER_EVENT_REMOTE, &statement, err, "t", remote);
    code = code ? code : store__db_step(db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND
                   ? err_set(err, code, "no remote named \"%.40s\" is declared", remote)
                   : code;
    }
    bool whole = store__db_columns(statement, "iub", &walk->remote, &walk->applied,
                                   walk->identity.bytes, sizeof(walk->identity.bytes));
    sqlite3_reset(statement);
    return whole ? 0 : err_set(err, ERR_CORRUPT, "the index has an identity of a wrong size");
}

/* A position behind the end of the log is another log's: an older copy of the store was laid in
 * place. What it says from now on is told. */
static void position_check(struct walk *walk) {
    struct store *store = walk->reader->store;
    pthread_mutex_lock(&store->lock);
    uint64_t written = store->written_lsn, seq = store->last_seq;
    pthread_mutex_unlock(&store->lock);
    if (walk->at.lsn > written) {
        walk->at = (struct store_events_at){.lsn = written,
                                            .seq = walk->at.seq < seq ? walk->at.seq : seq};
    }
}

static int walk_run(struct walk *walk, const char *remote, struct err *err) {
    int code = remote_find(walk, remote, err);
    if (code) {
        return code;
    }
    position_check(walk);
    if (walk->at.lsn > walk->applied) {
        return 0; /* the index is being made again, and has not come so far */
    }
    if (walk->at.lsn == 0 && walk->at.seq == 0) {
        walk->at.lsn = walk->applied; /* no frame was told, so no record before this says more */
    }
    code = log_walk(walk, err);
    code = code ? code : frames_walk(walk, err);
    walk->reader->tail.at = walk->at;
    return code == ERR_FULL ? 0 : code;
}

int store_events_read(struct store_reader *reader, const char *remote, struct store_events_at *at,
                      size_t limit, struct store_event *events, size_t *count, bool *more,
                      struct err *err) {
    struct walk walk = {.reader = reader, .at = *at, .events = events, .limit = limit};
    int code = store__reader_ready(reader, err);
    code = code ? code : store__db_exec(&reader->db, "BEGIN", err);
    if (code) {
        return store__reader_seen(reader, code);
    }
    code = walk_run(&walk, remote, err);
    store__db_exec(&reader->db, "COMMIT", NULL); /* it read only */
    if (code) {
        store__scan_close(&reader->tail.scan);
        return code;
    }
    *at = walk.at;
    *count = walk.count;
    *more = walk.more;
    return 0;
}
