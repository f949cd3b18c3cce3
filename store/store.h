/* store: the drawer where kept frames lie, safe from crashes, power cuts and a full disk.
 *
 * The log (segments and the meta log) is the truth; the SQLite index can be made again from it. One
 * writer thread appends in groups and acknowledges after fdatasync; one index thread follows
 * behind. Readers are separate objects, one a thread, that read SQLite (WAL) and the segments and
 * never block the writer.
 *
 * Life cycle: store_open (takes the directory's lock, recovers) -> put, read, sync rows ->
 * store_close (drains, seals). Durable when: a put, when its ack fires with code 0; a receipt, a
 * removal and a state row, when the call returns 0. Not: no network, no HTTP, no Darknet, no
 * opinion about what is worth keeping beyond record->value. Thread: store_put and the other writing
 * calls from any thread; a reader belongs to one thread at a time.
 */
#ifndef CREEL_STORE_STORE_H
#define CREEL_STORE_STORE_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_REMOTE_NAME_MAX FRAME_NAME_MAX
#define STORE_REMOTES_MAX     16
#define STORE_KEY_MAX         1024 /* bytes of an object's key */
#define STORE_ETAG_MAX        127
#define STORE_REASON_MAX      255
#define STORE_PAGE_MAX        500 /* rows of one page */
#define STORE_CLASSES_MAX     1024

struct store;
struct store_reader;

/* ---- configuration: units in the names, 0 means "no limit" unless said ---- */

struct store_tier_config {
    int64_t max_age_ms;           /* older frames go, unless owed or pinned */
    uint64_t max_bytes;           /* bytes of the tier's segments */
    int64_t keep_after_upload_ms; /* time a replicated frame stays here; negative: until another
                                     limit */
};

struct store_config {
    const char *dir;       /* made if missing */
    const char *state_dir; /* where the store's identity is remembered (mount guard); NULL: none */
    uint64_t quota_bytes;  /* log, index, WAL, meta and thumbnails together; 0: by quota_fraction */
    double quota_fraction; /* of the file system, (0, 1]; used when quota_bytes is 0; 0: no quota */
    uint64_t min_free_bytes; /* free-space floor; 0: by min_free_fraction */
    double min_free_fraction;
    uint64_t segment_bytes; /* 0: 64 MiB */
    uint64_t meta_bytes;    /* of one file of the meta log; 0: 4 MiB, less under a small quota */
    unsigned group_frames;  /* most frames of one group commit; 0: 16 */
    unsigned group_wait_ms; /* longest wait to fill a group */
    int64_t history_max_age_ms; /* frames whose blob is gone are remembered for so long, about */
    bool at_rest;       /* the limits remove nothing by themselves, only through store_gc: for a
                           process that opens the store to look */
    double index_floor; /* detections below this confidence are in the log, not in the index */
    struct store_tier_config tiers[TIER_COUNT];
};

/* ---- life cycle ---- */

/* ERR_BUSY: another process holds the store's lock. ERR_CORRUPT: damaged, run `creel fsck`.
 * ERR_REFUSED: not the store that was last seen here ("not mounted?"). */
int store_open(const struct store_config *config, struct store **out, struct err *err);
void store_close(struct store *store); /* NULL accepted; waits for what was put */

void store_uuid(const struct store *store, struct frame_id *out);

/* Makes the store in `dir` the one that `state_dir` expects (the way out of the mount guard).
 * ERR_NOT_FOUND: there is no store in `dir`. ERR_BUSY: it is open. */
int store_adopt(const char *dir, const char *state_dir, struct err *err);

/* ---- writing ---- */

/* What became of a put. Called once for each accepted put, on the writer thread: be brief. */
struct store_ack {
    int code;       /* 0: durable; else nothing of the frame is visible */
    struct err err; /* set when code is not 0 */
    struct frame_id id;
    uint64_t seq; /* position in the order of keeping, from 1 */
    struct frame_hash blob;
    bool duplicate; /* the tier already had these bytes: the record is new, the blob is shared */
};
typedef void store_ack_fn(void *ctx, const struct store_ack *ack);

/* A frame to keep. The store moves the three heap pointers out on success and frees them itself. */
struct store_frame {
    struct frame_record record; /* record.detections is malloc'd, or NULL */
    uint8_t *blob;              /* malloc'd, record.blob_bytes long */
    uint8_t *thumb;             /* malloc'd JPEG, or NULL */
    size_t thumb_bytes;
    store_ack_fn *on_ack; /* may be NULL */
    void *ctx;
    /* No remote gets its blob before this boot time (of this run; a restart ends it), and until
     * then store_displace takes it; 0: it is due at once. */
    int64_t hold_until_boot_us;
};

/* Hands the frame to the writer; waits while its queue is full. Non-zero: nothing was taken, no ack
 * comes. ERR_INVALID: tier or sizes out of bounds. ERR_CLOSED: closing. */
int store_put(struct store *store, struct store_frame *frame, struct err *err);

/* Waits until everything put before is acknowledged and visible to readers. */
int store_flush(struct store *store, struct err *err);

/* ---- reading ---- */

int store_reader_open(struct store *store, struct store_reader **out, struct err *err);
void store_reader_close(struct store_reader *reader);

enum store_sync_filter {
    STORE_SYNC_ANY = 0,
    STORE_SYNC_PENDING,
    STORE_SYNC_DONE,
    STORE_SYNC_QUARANTINED
};

enum store_label_state { /* what a person said of a frame; numbers of the log */
                         STORE_LABEL_NONE = 0,
                         STORE_LABEL_ACCEPTED = 1, /* the detections are right */
                         STORE_LABEL_REJECTED = 2, /* nothing of it is right, or it is worthless */
                         STORE_LABEL_WRONG_CLASS = 3,
                         STORE_LABEL_MISSED = 4, /* an object that was not detected */
                         STORE_LABEL_WANTED = 5, /* to be labeled by a tool */
                         STORE_LABEL_STATES
};

#define STORE_NOTE_MAX 255

struct store_label {
    enum store_label_state state;         /* NONE takes an earlier word back */
    char class_name[FRAME_LABEL_MAX + 1]; /* WRONG_CLASS, MISSED: the right one; else "" */
    char note[STORE_NOTE_MAX + 1];
    char who[FRAME_NAME_MAX + 1]; /* "": not known */
    int64_t utc_us;
};
struct store_filter { /* zero-initialised: everything, newest first */
    bool by_tier;
    enum frame_tier tier;
    char camera[FRAME_NAME_MAX + 1]; /* "" any */
    char label[FRAME_LABEL_MAX + 1]; /* "" any: frames with such a detection in the index */
    double confidence_min;           /* with label: of that detection; else of the best one */
    int64_t since_us, until_us;      /* UTC, [since, until); 0: open */
    enum store_sync_filter sync;
    bool pinned; /* only these */
    bool by_label_state;
    enum store_label_state label_state; /* NONE: of which nobody has said anything */
    char rule[FRAME_NAME_MAX + 1];      /* "" any: kept by this rule */
    bool oldest_first;
};

/* A position in the order (UTC, seq); stays valid while rows come and go. Zero: from the start. */
struct store_cursor {
    int64_t utc_us;
    uint64_t seq;
};

enum store_place { STORE_PLACE_LOCAL = 1, STORE_PLACE_REMOTE = 2, STORE_PLACE_GONE = 3 };

struct store_row {
    uint64_t seq;
    struct frame_record
        record; /* detections: those in the index for a page, all of them for store_frame_get */
    int64_t
        kept_utc_us; /* when the blob was first kept in its tier; its date is in the object's key */
    enum store_place place;
    bool pinned;
    unsigned receipts; /* remotes that confirmed the blob */
    unsigned owed;     /* required remotes that have not */
    bool quarantined;
    enum store_label_state label_state;
};

struct store_page {
    struct store_row *rows;
    size_t count;
    struct store_cursor next; /* pass as `after` for the following page */
    bool more;
};

/* One keyset page of at most `limit` (<= STORE_PAGE_MAX) rows after `after`. Free with
 * store_page_destroy. It is read in at most `looks` (at least 1) looks of some milliseconds, each
 * at a bounded number of frames: where the filter picks few of many the page may be short, or
 * empty, and still have `more`; go on from `next`. */
int store_page_read(struct store_reader *reader, const struct store_filter *filter,
                    const struct store_cursor *after, size_t limit, unsigned looks,
                    struct store_page **out, struct err *err);
void store_page_destroy(struct store_page *page);

#define STORE_HOURS_LOOKS 20000 /* frames that are looked at for counts by hour */
struct store_hour {
    int64_t utc_us; /* where it begins */
    uint64_t frames;
};
/* How many frames of each hour pass the filter, for at most `limit` hours in the order of the
 * filter, without those of none. It takes some milliseconds: `*more` where there are further hours,
 * or not all frames could be looked at; an hour that is told is told whole. */
int store_hours_read(struct store_reader *reader, const struct store_filter *filter,
                     struct store_hour *hours, size_t limit, size_t *count, bool *more,
                     struct err *err);

/* One frame with all its detections. Free with store_row_destroy. ERR_NOT_FOUND. */
int store_frame_get(struct store_reader *reader, const struct frame_id *id, struct store_row **out,
                    struct err *err);
void store_row_destroy(struct store_row *row);

enum store_gone { /* numbers of the log's tombstones */
                  STORE_GONE_NOT = 0,
                  STORE_GONE_AGE = 1,
                  STORE_GONE_UPLOADED = 2,
                  STORE_GONE_TIER_BYTES = 3,
                  STORE_GONE_ROOM = 4,
                  STORE_GONE_REMOVED = 5,   /* by hand */
                  STORE_GONE_DAMAGED = 6,   /* found by a repair */
                  STORE_GONE_DISPLACED = 7, /* by a better frame, before it was uploaded */
};

struct store_why_remote { /* what became of the frame's blob at one remote */
    char name[STORE_REMOTE_NAME_MAX + 1];
    bool declared, required; /* in this run's configuration */
    enum {
        STORE_WHY_DONE,
        STORE_WHY_WAITING,
        STORE_WHY_QUARANTINED,
        STORE_WHY_HELD,
        STORE_WHY_WITHDRAWN
    } state;
    int withdrawn;    /* WITHDRAWN: enum store_outbox_action */
    int receipt_kind; /* DONE: enum store_receipt_kind */
    int64_t utc_us;   /* DONE: of the receipt; WITHDRAWN: of its end */
    char key[STORE_KEY_MAX + 1];
    char etag[STORE_ETAG_MAX + 1];
    unsigned attempts; /* of one that is not done */
    char reason[STORE_REASON_MAX + 1];
};

struct store_why { /* a frame's life, as index and log have it */
    struct store_row *row;
    bool has_record;            /* the log still has the frame's record, so the next two hold */
    struct clock_stamp written; /* the capture as first written; differs where it was repaired */
    bool clock_repaired;
    struct store_label label; /* state NONE: nobody has said anything */
    int64_t pinned_utc_us;    /* last pinned or unpinned; 0: never */
    uint64_t sharing;         /* frames of the tier with the same bytes, this one too */
    enum store_gone gone;
    int64_t gone_utc_us;
    struct store_why_remote remotes[2 * STORE_REMOTES_MAX];
    size_t remote_count;
};
/* ERR_NOT_FOUND: not a kept frame. Free with store_why_destroy. */
int store_why_get(struct store_reader *reader, const struct frame_id *id, struct store_why **out,
                  struct err *err);
void store_why_destroy(struct store_why *why);

/* "@last", a frame id, or 8 or more hex digits of a blob's hash. ERR_NOT_FOUND; ERR_INVALID:
 * ambiguous or malformed. */
int store_resolve(struct store_reader *reader, const char *name, struct frame_id *out,
                  struct err *err);

/* The exact bytes, re-hashed: ERR_CORRUPT when they do not match. The caller frees *bytes. */
int store_blob_read(struct store_reader *reader, enum frame_tier tier,
                    const struct frame_hash *blob, uint8_t **bytes, size_t *size, struct err *err);

/* At most `*size` bytes of it from byte `from` on, into the caller's; `*size` is then how many: 0
 * behind the end. Not re-hashed. ERR_INVALID: `from` lies beyond the end. ERR_NOT_FOUND: gone, also
 * while it was read. */
int store_blob_range(struct store_reader *reader, enum frame_tier tier,
                     const struct frame_hash *blob, uint64_t from, void *bytes, size_t *size,
                     struct err *err);

/* A cached thumbnail. ERR_NOT_FOUND: show a placeholder or make it again. The caller frees *bytes.
 */
int store_thumb_read(struct store_reader *reader, const struct frame_hash *blob, uint8_t **bytes,
                     size_t *size, struct err *err);

struct store_remote_counts {
    char name[STORE_REMOTE_NAME_MAX + 1];
    uint64_t pending, pending_bytes, done, quarantined;
    uint64_t
        tier_done[TIER_COUNT]; /* frames (not blobs) of the tier that this remote has confirmed */
    int64_t oldest_pending_utc_us; /* 0 when none */
};

struct store_counts {
    uint64_t frames[TIER_COUNT];     /* in the index, local or remote */
    uint64_t blob_bytes[TIER_COUNT]; /* local payload bytes */
    uint64_t replicated[TIER_COUNT]; /* frames that every required remote has, or where none is
                                        required any one remote */
    uint64_t evicted[TIER_COUNT];
    uint64_t disk_bytes;  /* what the quota counts */
    uint64_t quota_bytes; /* effective; 0: none */
    uint64_t seq;         /* last acknowledged */
    uint64_t index_lag;   /* acknowledged, not yet in the index */
    struct store_remote_counts remotes[STORE_REMOTES_MAX];
    size_t remote_count;
};
/* Does not scan: counters kept with the index. */
int store_counts_read(struct store_reader *reader, struct store_counts *out, struct err *err);

/* Distinct cameras and labels in the index, for filters: two NULL-terminated arrays, each one
 * malloc'd block with its strings in it. */
int store_names_read(struct store_reader *reader, char ***cameras, char ***labels, struct err *err);
/* The rules likewise. */
int store_rules_read(struct store_reader *reader, char ***rules, struct err *err);

/* ---- the outbox: what sync sees ---- */

struct store_remote {
    char name[STORE_REMOTE_NAME_MAX + 1];
    struct frame_hash
        identity;  /* of kind, endpoint, account or bucket, prefix: a change makes a new remote */
    bool required; /* frames are owed to it */
    bool trusted;  /* its receipts of what could not be compared count as well */
};

/* Declares the remotes of this run, at start. A new identity under a known name starts a new remote
 * (its frames from now on; backfill is another command). Frames kept while no remote was declared
 * are not queued. */
int store_remotes_set(struct store *store, const struct store_remote *remotes, size_t count,
                      struct err *err);

struct store_outbox_row { /* one blob of a tier, for one remote */
    uint64_t row;         /* order of queueing */
    struct frame_hash blob;
    enum frame_tier tier;
    enum frame_media media;
    uint64_t blob_bytes;
    int64_t kept_utc_us; /* its UTC date is the key's date=; never changes once queued */
    uint32_t width, height;
    double value;
    unsigned attempts;
};

enum store_order { STORE_OLDEST = 0, STORE_NEWEST, STORE_VALUE };

/* Up to `limit` rows for `remote` that are due now and not quarantined, in `order`. `*next_due_us`
 * is the boot time at which the next deferred row becomes due, or 0. */
int store_outbox_read(struct store_reader *reader, const char *remote, enum store_order order,
                      size_t limit, struct store_outbox_row *rows, size_t *count,
                      int64_t *next_due_us, struct err *err);

/* An eventfd (borrowed, for poll) that becomes readable when rows were added; read 8 bytes to clear
 * it. */
int store_outbox_fd(struct store *store);

enum store_receipt_kind {
    STORE_RECEIPT_STORED = 1,
    STORE_RECEIPT_COMPARED = 2,
    STORE_RECEIPT_EXISTS = 3 /* settles the row, but frees no local copy unless the remote is
                                declared `trusted` */
};

struct store_receipt {
    char remote[STORE_REMOTE_NAME_MAX + 1];
    struct frame_hash blob;
    enum frame_tier tier;
    enum store_receipt_kind
        kind; /* stored by us; there already and compared; there, not comparable */
    char key[STORE_KEY_MAX + 1];
    char etag[STORE_ETAG_MAX + 1];
    int64_t utc_us;
};

/* Durable in the meta log when it returns; the outbox row is gone afterwards. Receipts of several
 * threads or calls share one fdatasync through the group commit. */
int store_receipt_put(struct store *store, const struct store_receipt *receipts, size_t count,
                      struct err *err);

/* Notes a failed attempt and makes the row wait for `delay_ms`. */
int store_outbox_defer(struct store *store, const char *remote, enum frame_tier tier,
                       const struct frame_hash *blob, int64_t delay_ms, const char *reason,
                       struct err *err);

/* Sets the row aside until a person releases it; durable. */
int store_outbox_quarantine(struct store *store, const char *remote, enum frame_tier tier,
                            const struct frame_hash *blob, const char *reason, struct err *err);
/* Releases all quarantined rows of the remote (NULL: of all); `*count` is how many. */
int store_outbox_retry(struct store *store, const char *remote, uint64_t *count, struct err *err);

enum store_outbox_action {                         /* numbers of the log */
                           STORE_OUTBOX_RETRY = 1, /* quarantined or deferred: due now, with no
                                                      attempts on its account */
                           STORE_OUTBOX_DROP =
                               2, /* given up: no row, nothing owed to this remote */
                           STORE_OUTBOX_QUEUE =
                               3, /* a row where there is neither a row nor a receipt (backfill) */
                           /* These take a receipt back: */
                           STORE_OUTBOX_LOST = 4, /* the object is not there: a row where the blob
                                                     is here */
                           STORE_OUTBOX_EXPIRED = 5, /* removed there, for its age: no row any more,
                                                        nor by a backfill */
                           STORE_OUTBOX_REMOVED = 6, /* removed there, by hand: the same */
};

#define STORE_OUTBOX_BATCH 256 /* blobs of one decision: one record, one transaction */

struct store_blob_name {
    enum frame_tier tier;
    struct frame_hash blob;
};

/* What a person decides about at most STORE_OUTBOX_BATCH blobs for one declared remote; durable.
 * `*changed` (may be NULL) is for how many it made a difference. */
int store_outbox_act(struct store *store, const char *remote, enum store_outbox_action action,
                     const struct store_blob_name *blobs, size_t count, uint64_t *changed,
                     struct err *err);

struct store_quarantined {
    uint64_t row;          /* pass the last one's as `after` for the following page */
    struct frame_id frame; /* the newest of the blob */
    enum frame_tier tier;
    struct frame_hash blob;
    uint64_t blob_bytes;
    int64_t kept_utc_us;
    unsigned attempts;
    char reason[STORE_REASON_MAX + 1];
};

/* What is set aside for a declared remote, in the order of queueing. */
int store_quarantine_read(struct store_reader *reader, const char *remote, uint64_t after,
                          struct store_quarantined *rows, size_t limit, size_t *count,
                          struct err *err);

/* Blobs that are here, kept at `since_us` or later, and have neither a row nor a receipt for the
 * remote: one look at a bounded number of blobs from `*after` (0: the first) on, which moves
 * forward. `*more`: look again. At most `limit` (<= STORE_PAGE_MAX) names. */
int store_unqueued_read(struct store_reader *reader, const char *remote, int64_t since_us,
                        int64_t *after, struct store_blob_name *names, size_t limit, size_t *count,
                        bool *more, struct err *err);

/* Who a declared remote is. ERR_NOT_FOUND: none of this name is. */
int store_remote_identity(struct store *store, const char *remote, struct frame_hash *out,
                          struct err *err);

struct store_receipt_row { /* a receipt, and what the index knows of its blob */
    struct store_receipt receipt;
    enum frame_media media;
    uint64_t blob_bytes;
    int64_t kept_utc_us; /* its date is the key's */
    bool local, pinned;
};

/* At most `limit` receipts of a declared remote behind `*after` (0: from the first), which moves
 * forward; in no order that means anything. `*count` 0: that was all. */
int store_receipts_read(struct store_reader *reader, const char *remote, int64_t *after,
                        struct store_receipt_row *rows, size_t limit, size_t *count,
                        struct err *err);

enum store_blob_state { /* flags */
                        STORE_BLOB_KNOWN = 1,
                        STORE_BLOB_LOCAL = 2,
                        STORE_BLOB_PINNED = 4,
                        STORE_BLOB_RECEIPT = 8, /* of this remote */
                        STORE_BLOB_QUEUED = 16, /* for it */
};

/* What the index knows of each of the blobs: flags into `states`. */
int store_blobs_look(struct store_reader *reader, const char *remote,
                     const struct store_blob_name *names, size_t count, unsigned *states,
                     struct err *err);

/* Where the blob lies at the remote: the key of its receipt. ERR_NOT_FOUND: no receipt. `remote` ""
 * : any. */
int store_receipt_get(struct store_reader *reader, const char *remote, enum frame_tier tier,
                      const struct frame_hash *blob, struct store_receipt *out, struct err *err);

/* ---- events: what became known of frames at one remote ---- */

enum store_event_kind {
    STORE_EVENT_KEPT = 1, /* the frame's bytes are there: its receipt exists */
    STORE_EVENT_LABEL,    /* a person said something of it since */
    STORE_EVENT_TIME,     /* the time of its capture was repaired since */
    /* They are there no longer: */
    STORE_EVENT_LOST,    /* not found there; KEPT again once they are */
    STORE_EVENT_EXPIRED, /* removed there, for their age */
    STORE_EVENT_REMOVED, /* removed there, by hand */
};

struct store_event {
    enum store_event_kind kind;
    uint64_t seq; /* of the frame */
    struct frame_id id;
};

/* A position among the events of one remote; zero: none was read yet. It is good after a crash, a
 * compaction of the log and a rebuild of the index, for the remote of the same identity. */
struct store_events_at {
    uint64_t lsn, seq, within;
};

/* At most `limit` (at least 1) events from `*at` on, which moves behind them; `more`: ask again. A
 * frame is KEPT once (and once more after it was LOST), and all else comes after that. They say
 * that something happened; what the frame is like now, the reading calls tell. A frame whose record
 * was forgotten in the meantime has none. Local removal is no event. ERR_NOT_FOUND: no such remote
 * is declared. */
int store_events_read(struct store_reader *reader, const char *remote, struct store_events_at *at,
                      size_t limit, struct store_event *events, size_t *count, bool *more,
                      struct err *err);

#define STORE_PIN_SHARE  4   /* pinned blobs hold at most this part of the quota */
#define STORE_REMOVE_MAX 256 /* frames of one removal */

/* A pinned frame's blob stays until it is unpinned, whatever the limits say; durable.
 * ERR_NOT_FOUND: no such frame in the index. ERR_FULL: the pins would hold more than their share.
 */
int store_pin_set(struct store *store, const struct frame_id *id, bool pinned, struct err *err);

/* What a person says of a frame, in the place of what was said before; durable. ERR_NOT_FOUND: no
 * such frame in the index. */
int store_label_put(struct store *store, const struct frame_id *id, const struct store_label *label,
                    struct err *err);
/* ERR_NOT_FOUND: nobody has said anything. */
int store_label_get(struct store_reader *reader, const struct frame_id *id, struct store_label *out,
                    struct err *err);

#define STORE_EXPIRY_LOOKS 4000 /* blobs, by tier and limit */

struct store_expiry { /* what goes within a span */
    uint64_t blobs, bytes;
    bool about; /* not all could be looked at: by the ages of the files, with what is owed or pinned
                 */
    bool more;  /* there are more than these */
};
/* What the tier's ages take of what is here now and neither owed nor pinned, within each of `count`
 * (at least 1) spans that grow; and the tier's limits. It takes some milliseconds. What goes for
 * want of room is not foretold. */
int store_expiry_read(struct store_reader *reader, enum frame_tier tier, const int64_t *within_us,
                      size_t count, struct store_expiry *out, struct store_tier_config *limits,
                      struct err *err);

struct store_removal {
    uint64_t frames; /* all that share the blobs */
    uint64_t blobs, bytes;
    uint64_t pinned, owed; /* blobs that only force removes */
    uint64_t gone;         /* named, and no longer here */
};

/* Removes the frames' blobs from this store, and only from it; their records stay as history.
 * Durable when it returns 0. All or nothing: ERR_NOT_FOUND names a frame that is not in the index,
 * ERR_REFUSED (without force) one that is pinned or owed. `dry_run` changes nothing. */
int store_remove(struct store *store, const struct frame_id *ids, size_t count, bool force,
                 bool dry_run, struct store_removal *out, struct err *err);

/* Removes a frame for a better one that is kept now, with its blob; its record stays as history.
 * `*displaced` is false, and nothing has happened, where the blob is not held any longer (it may be
 * on its way to a remote), or is another frame's too, or pinned. Durable when true. Blocks.
 * ERR_NOT_FOUND: no such frame in the index. */
int store_displace(struct store *store, const struct frame_id *id, bool *displaced,
                   struct err *err);

/* Nothing will displace anything any more: what is held back is due now, and what is put from here
 * on at once. For a shutdown that still uploads. */
int store_holds_end(struct store *store, struct err *err);

/* ---- the ledger: what triage decided, of rejected frames too ---- */

struct store_outcome {
    struct frame_record record; /* what it decided from; rule: the one that won, or would have but
                                   for its budget; tier NONE where it was rejected */
    bool kept, over_budget;
};

/* Notes it in a ring of bounded size, without waiting for the disk; what cannot be noted is
 * counted. `outcome` stays the caller's. */
void store_outcome_note(struct store *store, const struct store_outcome *outcome);

/* false: enough. The outcome is borrowed for the call. */
typedef bool store_outcome_fn(void *ctx, const struct store_outcome *outcome);

/* All that the ring still has, oldest first. */
int store_outcomes_read(struct store *store, store_outcome_fn *each, void *ctx, struct err *err);

/* How many, by camera and rule. The sums of minutes stay for two days, those of hours for a year.
 */
enum store_span { STORE_SPAN_MINUTE = 1, STORE_SPAN_HOUR = 60 };
struct store_tally {
    int64_t utc_us; /* where the span begins; 0: the clock was not synchronised */
    char camera[FRAME_NAME_MAX + 1];
    char rule[FRAME_NAME_MAX + 1];        /* empty: no rule wanted them */
    uint64_t kept, over_budget, rejected; /* frames */
};
/* false: enough. */
typedef bool store_tally_fn(void *ctx, const struct store_tally *row);

/* Spans that begin at `from_us` or later and before `to_us`, by time, camera and rule, but for what
 * was noted in the last ten seconds. `each` must not call the store. */
int store_tally_read(struct store *store, enum store_span span, int64_t from_us, int64_t to_us,
                     store_tally_fn *each, void *ctx, struct err *err);

void store_outcome_counts(struct store *store, uint64_t *noted, uint64_t *dropped);

/* ---- state.db: what no log can make again ---- */

/* A small durable map. `space` names the user of it ("taken", "link", "triage"). */
#define STORE_STATE_KEY_MAX   512
#define STORE_STATE_VALUE_MAX 4096
int store_state_get(struct store *store, const char *space, const void *key, size_t key_size,
                    void *value, size_t room, size_t *size, struct err *err); /* ERR_NOT_FOUND */
int store_state_put(struct store *store, const char *space, const void *key, size_t key_size,
                    const void *value, size_t size, struct err *err);
/* A key that is not there is no error. */
int store_state_drop(struct store *store, const char *space, const void *key, size_t key_size,
                     struct err *err);

/* Calls `each` for every pair of the space in the order of its keys, with bytes that are valid
 * during the call. It must not call the store; what it returns other than 0 ends the walk and is
 * returned. */
typedef int store_state_fn(void *ctx, const void *key, size_t key_size, const void *value,
                           size_t size);
int store_state_each(struct store *store, const char *space, store_state_fn *each, void *ctx,
                     struct err *err);

#define STORE_STATE_BACKUP_MAX FRAME_BLOB_MAX
/* The whole of state.db as it is now, as the bytes of a SQLite file, checked. The caller frees
 * *bytes. ERR_CORRUPT: it is damaged. ERR_FULL: larger than STORE_STATE_BACKUP_MAX. */
int store_state_backup(struct store *store, uint8_t **bytes, size_t *size, struct err *err);

/* ---- upkeep ---- */

/* A snapshot of what the threads count; cheap. */
#define STORE_LAG_MAX                                                                              \
    131072 /* records; beyond it the writer is slowed to half the index's pace                     \
            */

struct store_stats {
    uint64_t puts, acked, failed, duplicates, groups, syncs, bytes_written;
    uint64_t refused_full; /* of failed: no room */
    uint64_t evicted_frames, evicted_bytes;
    uint64_t slices, slice_longest_us;     /* of retention, between the writer's groups */
    uint64_t compactions, compacted_bytes; /* of the meta log; given back */
    uint64_t forwards, forwarded_bytes;    /* files emptied by copying what was left; copied */
    uint64_t index_restarts;
    uint64_t index_lag;
    bool index_rebuilding; /* it is not whole yet: index_lag records to go */
    uint64_t paced;        /* groups that waited for the index in vain, beyond STORE_LAG_MAX */
    /* The configured tier limits would remove more than 1/STORE_GUARD_SHARE of the frames here, and
     * wait for store_gc with force: so many frames, of so many. */
    bool limits_held;
    bool ages_rest; /* the clock is not plausible: nothing is removed for its age */
    uint64_t limits_held_frames, limits_held_of;
    char last_error[ERR_TEXT_MAX];
};
void store_stats_get(struct store *store, struct store_stats *out);

#define STORE_GUARD_SHARE  4
#define STORE_GC_ROWS_MAX  16
#define STORE_GC_ITEMS_MAX 500

enum store_gc_reason { /* numbers of the log's tombstones */
                       STORE_GC_AGE = 1,
                       STORE_GC_UPLOADED = 2,
                       STORE_GC_TIER_BYTES = 3,
                       STORE_GC_ROOM = 4, /* quota or free-space floor */
};

struct store_gc_row { /* what one limit takes from one tier */
    enum frame_tier tier;
    enum store_gc_reason reason;
    uint64_t frames, blobs, bytes;
    int64_t oldest_us, newest_us; /* kept between */
};

struct store_gc_item {
    struct frame_id id; /* the newest frame of the blob */
    enum frame_tier tier;
    enum store_gc_reason reason;
    uint64_t bytes;
    int64_t kept_utc_us;
};

struct store_gc {
    bool held;     /* the tier limits wait for force, and took nothing */
    uint64_t here; /* frames with their bytes here, before */
    struct store_gc_row rows[STORE_GC_ROWS_MAX];
    size_t row_count;
    struct store_gc_item items[STORE_GC_ITEMS_MAX]; /* the first of them */
    size_t item_count;
    uint64_t removed_frames, removed_bytes; /* 0 in a dry run */
};

/* What the limits take now, and why; unless `dry_run`, takes it, in slices between the writer's
 * groups. A configuration whose tier limits would remove more than 1/STORE_GUARD_SHARE of the
 * frames is held (across restarts): only `force` lets it. */
int store_gc(struct store *store, bool dry_run, bool force, struct store_gc *out, struct err *err);

struct store_fsck {
    uint64_t segments, records, frames, blobs, receipts, bytes;
    uint64_t
        torn_tail_bytes;    /* after the last whole record: dropped at the next open, not damage */
    uint64_t damaged;       /* records whose checksum or layout is wrong before the tail */
    uint64_t missing_blobs; /* frames whose blob is neither here nor said to be gone */
    uint64_t index_missing, index_extra; /* frames that index and log disagree about */
    char first_problem[ERR_TEXT_MAX];
};
/* Read-only check of a store that no daemon holds: every record, every payload's SHA-256, index
 * against log. Returns 0 when clean, ERR_CORRUPT when not (then `out` says what), other codes when
 * it could not look. `progress` may be NULL; called every few megabytes with bytes done and in all.
 */
int store_fsck(const char *dir, void (*progress)(void *ctx, uint64_t done, uint64_t total),
               void *ctx, struct store_fsck *out, struct err *err);

struct store_rebuilt {
    uint64_t frames[TIER_COUNT];
    uint64_t lsn; /* of the last record */
};
/* Makes the index again from the log alone, of a store that no daemon holds; state.db is left
 * alone. The old index is thrown away when the new one is whole. `progress` counts records. */
int store_rebuild(const char *dir, double index_floor,
                  void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                  struct store_rebuilt *out, struct err *err);

struct store_repaired {
    uint64_t torn_files, torn_bytes; /* tails cut off */
    uint64_t places, place_bytes;    /* damaged records taken out of use */
    uint64_t blobs_gone;             /* of them: frames that name them are marked gone */
    bool index_made;                 /* it was not what the log says */
    bool clean;                      /* there was nothing to do */
};
/* Repairs a store that no daemon holds: cuts torn tails, copies damaged records to `damaged/` in
 * the store's directory and takes them out of use, marks frames whose blob is lost as gone
 * (tombstone, reason "damaged"), makes the index again where it disagrees. What is whole is never
 * touched. Ends with a check: ERR_CORRUPT when something is left. ERR_BUSY: the store is open
 * elsewhere. */
int store_repair(const char *dir, double index_floor,
                 void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                 struct store_repaired *out, struct err *err);

#endif
