/* reader: what the reading files share. A reader is one read-only connection with its kept
 * statements.
 *
 * Each call is one short read transaction (or none): a reader never holds the WAL back between
 * calls.
 */
#ifndef CREEL_STORE_READER_H
#define CREEL_STORE_READER_H

#include "store/store_impl.h"

#define READER_QUERIES 24   /* statements of pages that are kept */
#define READER_LOOKS   4000 /* entries of an index that one look of a page goes through */

enum reader_statement {
    READER_FRAME_ID,
    READER_FRAME_LAST,
    READER_FRAME_OF_BLOB,
    READER_BLOB_PREFIX,
    READER_BLOB,
    READER_THUMB,
    READER_TIERS,
    READER_REMOTES,
    READER_SYNC_COUNTS,
    READER_LABEL,
    READER_OLDEST_PENDING,
    READER_NAMES,
    READER_REMOTE,
    READER_OUTBOX_OLDEST,
    READER_OUTBOX_NEWEST,
    READER_OUTBOX_VALUE,
    READER_OUTBOX_NEXT,
    READER_QUARANTINE,
    READER_UNQUEUED,
    READER_RECEIPT,
    READER_WHY,
    READER_WHY_RECEIPTS,
    READER_WHY_OUTBOX,
    READER_EVENT_REMOTE,
    READER_EVENT_RECEIPT,
    READER_EVENT_FRAMES,
    READER_EVENT_LABEL,
    READER_EVENT_CLOCK,
    READER_EVENT_GONE,
    READER_EVENT_NEW,
    READER_WHY_WITHDRAWN,
    READER_RECEIPTS,
    READER_LOOK,
    READER_EXPIRY_AGE,
    READER_EXPIRY_UPLOADED,
    READER_EXPIRY_FILES,
    READER_STATEMENTS,
};

struct reader_query {
    unsigned key;
    sqlite3_stmt *statement; /* NULL: free */
};

struct reader_tail { /* reader_events.c: where it stopped reading the meta log */
    struct segment_scan scan;
    struct store_events_at at;
};

struct store_reader {
    struct store *store;
    struct db db;
    unsigned generation;
    struct reader_query queries[READER_QUERIES]; /* used last first */
    struct reader_tail tail;
    size_t looks; /* READER_LOOKS, less in a test */
};

/* Opens again when the index became another file. Every public call begins with it. */
int store__reader_ready(struct store_reader *reader, struct err *err);

/* A damaged index is reported to the index thread, which makes it again. Returns `code`. */
int store__reader_seen(struct store_reader *reader, int code);

/* The columns that store__row_read expects, and the tables they come from (frame f comes before).
 * The remotes that are declared now count for owed and quarantined; receipts of former ones still
 * say where a blob lies. */
#define READER_ROW_COLUMNS                                                                         \
    "f.seq, f.id, f.utc, f.boot, f.boot_id, f.clock, f.tier, f.orientation, f.value, f.phash,"     \
    " f.luma_mean, f.luma_stddev, f.sharpness, f.pinned, b.sha, b.bytes, b.media, b.width,"        \
    " b.height, b.kept_utc, b.local, b.receipts, b.owed, camera.text, rule.text, model.hash,"      \
    " model.name, model.version, EXISTS (SELECT 1 FROM outbox o JOIN remote ON remote.id ="        \
    " o.remote WHERE o.blob = b.id AND o.state = 1 AND remote.active = 1), f.detections,"          \
    " f.segment, f.at, f.label_state"
#define READER_ROW_TABLES                                                                          \
    " CROSS JOIN blob b ON b.id = f.blob CROSS JOIN name camera ON camera.id = f.camera"           \
    " CROSS JOIN name rule ON rule.id = f.rule CROSS JOIN model ON model.id = f.model "

/* `row` owns its detections afterwards; `place` is where its record lies in the log. */
int store__row_read(sqlite3_stmt *statement, struct store_row *row, struct log_position *place,
                    struct err *err);

#endif
