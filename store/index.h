/* index: the SQLite index, seen by its only writer. schemas/index.sql has the tables.
 *
 * Records of the log are applied in the order of their lsn inside transactions that also store how
 * far they came, so the index is always a state that the log went through, and applying again from
 * there is exact. Life cycle: open (makes it, or sets a damaged one aside and makes it) -> begin,
 * apply..., commit or rollback -> close. Thread: one (the index thread; before it starts, the one
 * that opens the store). Not: durability. A lost index costs time, never a frame.
 */
#ifndef CREEL_STORE_INDEX_H
#define CREEL_STORE_INDEX_H

#include "store/db.h"
#include "store/hold.h"
#include "store/layout.h"
#include "store/record.h"
#include "store/segment.h"
#include "store/stream.h"

#define INDEX_VERSION    5
#define INDEX_NAMES_SLOT 256
#define INDEX_SEGMENTS   16

enum name_kind { NAME_CAMERA = 1, NAME_LABEL = 2, NAME_RULE = 3 };
enum outbox_state { OUTBOX_DUE = 0, OUTBOX_QUARANTINED = 1, OUTBOX_HELD = 2 };

/* A row of table blob. */
struct blob_row {
    int64_t id; /* 0: none */
    int tier;
    struct frame_hash sha;
    uint64_t bytes;
    int media;
    int64_t width, height;
    int local;
    uint64_t segment, at;
    int64_t kept_utc, kept_boot;
    uint8_t boot_id[16];
    int kept_clock;
    double value;
    int64_t refs, pinned, owed, receipts;
    int replicated;
    int64_t uploaded_utc;
    int gone_reason;
    int64_t gone_utc;
};

struct index_remote {
    int64_t id;
    struct store_remote remote;
};

struct index_tier {
    int64_t frames, blob_bytes, replicated, evicted;
};

struct index_segment { /* a row of table segment, or what it is to grow by */
    uint64_t number;
    int64_t live, live_bytes, frames, record_bytes, newest;
};

struct index_config {
    double floor;        /* detections below are not indexed */
    int wal_pages;       /* of 4 KiB: at so many the WAL is brought into the database */
    int wal_pages_most;  /* at so many somebody keeps it from being brought there */
    struct holds *holds; /* what is not due yet; NULL: all is */
};

struct index {
    struct db db;
    const struct layout *layout;
    struct index_config config;
    uint64_t applied; /* lsn; with what the transaction did so far */
    uint64_t next_seq;
    struct log_position positions[STREAM_COUNT];
    bool in_transaction;

    /* The one blob row at hand, written back when another is wanted. */
    struct blob_row blob, blob_before;
    bool blob_dirty;
    bool blob_stored; /* it has a row already */
    int64_t next_blob;

    struct index_remote remotes[STORE_REMOTES_MAX]; /* active */
    size_t remote_count;
    struct index_tier delta[TIER_COUNT];           /* not yet in table tier */
    struct index_segment segments[INDEX_SEGMENTS]; /* not yet in table segment, by number */
    struct {
        int kind;
        int64_t id;
        char text[FRAME_LABEL_MAX + 1];
    } names[INDEX_NAMES_SLOT];

    int wal_pages, wal_next; /* in the WAL; and at how many it is brought into the database */

    bool remotes_loaded; /* since it was last cleared */
    bool outbox_grew;    /* since it was last cleared: rows became due */
    uint64_t released;   /* rows that the last RELEASE or OUTBOX changed */
};

/* `*made` tells that it was empty and must be filled from the start of the log. */
int store__index_open(struct index *index, const struct layout *layout,
                      const struct index_config *config, bool *made, struct err *err);
void store__index_close(struct index *index);

/* Closes it and renames it to index.db.damaged, in the place of an earlier one. */
int store__index_set_aside(struct index *index, struct err *err);

/* Throws away what was set aside. */
void store__index_aside_drop(const struct layout *layout);

int store__index_begin(struct index *index, struct err *err);
int store__index_commit(struct index *index, struct err *err);
void store__index_rollback(struct index *index);
/* ERR_CORRUPT: the WAL has grown beyond its bound, so the file must be given up for another. */
int store__index_wal_check(const struct index *index, struct err *err);

/* Applies one record of a stream and moves the stream's position to `next`. ERR_INVALID: the record
 * does not have its layout, nothing was done. ERR_CORRUPT: the index is damaged. */
int store__index_apply(struct index *index, unsigned stream, const struct record_at *found,
                       const struct log_position *next, struct err *err);

/* ---- changes that come from no log ---- */

int store__index_defer(struct index *index, const char *remote, int tier,
                       const struct frame_hash *blob, int64_t due_boot_us, const char *reason,
                       struct err *err);
int store__index_reclaimed(struct index *index, int64_t last_id, struct err *err);
int store__index_thumbs_forget(struct index *index, uint64_t up_to_segment, struct err *err);
/* After a boot the old boot's waiting times mean nothing. */
int store__index_due_clear(struct index *index, struct err *err);
/* The same for those that were held back, and were not tried yet. */
int store__index_holds_clear(struct index *index, struct err *err);

/* ---- shared by the index_*.c files ---- */

enum index_statement {
    IX_INFO_GET,
    IX_INFO_PUT,
    IX_INFO_NEW,
    IX_POSITION_GET,
    IX_POSITION_PUT,
    IX_TIER_ADD,
    IX_TIER_NEW,
    IX_NAME_GET,
    IX_NAME_NEW,
    IX_MODEL_GET,
    IX_MODEL_NEW,
    IX_BLOB_LAST,
    IX_BLOB_GET,
    IX_BLOB_GET_ID,
    IX_BLOB_NEW,
    IX_BLOB_PUT,
    IX_BLOB_DROP,
    IX_FRAME_NEW,
    IX_FRAME_BY_ID,
    IX_FRAME_PLACE,
    IX_FRAME_PIN,
    IX_FRAME_DROP,
    IX_FRAME_LABEL,
    IX_FRAME_MOVE,
    IX_JUDGEMENT_PUT,
    IX_JUDGEMENT_DROP,
    IX_FRAMES_OF_SEGMENT,
    IX_FRAMES_UNSYNCHRONISED,
    IX_FRAME_RETIME,
    IX_LABEL_NEW,
    IX_LABEL_DROP,
    IX_REMOTES_RETIRE,
    IX_REMOTE_PUT,
    IX_REMOTE_FIND,
    IX_REMOTES_ACTIVE,
    IX_REMOTE_PENDING,
    IX_REMOTE_QUARANTINED,
    IX_REMOTE_DONE,
    IX_REMOTE_DONE_0,
    IX_REMOTE_DONE_1,
    IX_REMOTES_DONE_0,
    IX_REMOTES_DONE_1,
    IX_REMOTES_UNDONE,
    IX_RECEIPT_NEW,
    IX_RECEIPT_HAS,
    IX_RECEIPTS_OF,
    IX_RECEIPTS_PROVEN,
    IX_RECEIPTS_LAST,
    IX_RECEIPTS_DROP,
    IX_RECEIPT_DROP,
    IX_REMOTE_UNDONE,
    IX_WITHDRAWN_PUT,
    IX_WITHDRAWN_OFF,
    IX_WITHDRAWN_DROP,
    IX_OUTBOX_NEW,
    IX_OUTBOX_GET,
    IX_OUTBOX_OF,
    IX_OUTBOX_OWED,
    IX_OUTBOX_DROP,
    IX_OUTBOX_DROP_ALL,
    IX_OUTBOX_STATE,
    IX_OUTBOX_RELEASE,
    IX_OUTBOX_VALUE,
    IX_OUTBOX_DEFER,
    IX_OUTBOX_DUE_CLEAR,
    IX_OUTBOX_HOLDS_CLEAR,
    IX_OUTBOX_UNHOLD,
    IX_QUARANTINE_COUNT,
    IX_QUARANTINE_RELEASE,
    IX_QUARANTINE_SETTLE,
    IX_BLOB_RETIME,
    IX_BLOBS_RECOUNT_OWED,
    IX_BLOBS_RECOUNT_REPLICATED,
    IX_TIER_RECOUNT,
    IX_SEGMENT_NEW,
    IX_SEGMENT_ADD,
    IX_SEGMENT_GET,
    IX_SEGMENT_DROP,
    IX_RECLAIM_NEW,
    IX_RECLAIM_DROP,
    IX_THUMB_PUT,
    IX_THUMBS_DROP,
    IX_STATEMENTS,
};
extern const char *const store__index_sql[IX_STATEMENTS];

/* The blob row of (tier, sha) in index->blob, loaded or fresh (id given, not stored). Whoever
 * changes it sets blob_dirty. */
int store__index_blob_use(struct index *index, int tier, const struct frame_hash *sha,
                          struct err *err);
int store__index_blob_use_id(struct index *index, int64_t id, struct err *err);
/* Writes it back and counts the difference. */
int store__index_blob_flush(struct index *index, struct err *err);
/* owed, receipts, replicated of the blob at hand, from the tables. */
int store__index_blob_refresh(struct index *index, struct err *err);
/* Queues the blob at hand for every active remote that has neither a row nor a receipt. */
int store__index_outbox_queue(struct index *index, struct err *err);
/* Takes all outbox rows of the blob at hand away. */
int store__index_outbox_drop(struct index *index, struct err *err);
int store__index_remotes_load(struct index *index, struct err *err);
/* Grows a file's row by `more`; written with the transaction, or when another file's is at hand. */
int store__index_segment_add(struct index *index, const struct index_segment *more,
                             struct err *err);
int store__index_segments_flush(struct index *index, struct err *err);

int store__index_apply_remotes(struct index *index, const struct record_remotes *remotes,
                               struct err *err);
int store__index_apply_receipt(struct index *index, const struct record_receipt *receipt,
                               struct err *err);
int store__index_apply_quarantine(struct index *index, const struct record_quarantine *quarantine,
                                  struct err *err);
int store__index_apply_outbox(struct index *index, const struct record_outbox *outbox,
                              struct err *err);
int store__index_apply_release(struct index *index, const struct record_release *release,
                               struct err *err);

#endif
