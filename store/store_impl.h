/* store_impl: what is behind the opaque `struct store`, shared by the folder's files.
 *
 * Threads: callers, the hasher (hasher.c: runs ahead of the writer through its queue), the writer
 * (writer.c, group.c, retain.c: the only one that writes the log), the index thread (indexer.c: the
 * only one that writes index.db), the keeper (keeper.c: what nobody waits for) and readers (one
 * connection each). `lock` guards what is marked below and the lists inside the streams; it is
 * never held across I/O.
 */
#ifndef CREEL_STORE_STORE_IMPL_H
#define CREEL_STORE_STORE_IMPL_H

#include "daemon/base/buf.h"
#include "store/compact.h"
#include "store/db.h"
#include "store/forward.h"
#include "store/index.h"
#include "store/layout.h"
#include "store/record.h"
#include "store/ring.h"
#include "store/segment.h"
#include "store/store.h"
#include "store/stream.h"
#include "store/tally.h"
#include <pthread.h>
#include <stdatomic.h>

#define STORE_QUEUE_MAX       128         /* requests that wait for the writer */
#define STORE_QUEUE_BYTES_MAX (64u << 20) /* of blobs in it; one may always wait */
#define STORE_GROUP_MAX       256         /* requests in one group */
#define STORE_COPIES_MAX      128         /* records copied forward in one group */
#define STORE_GROUP_BYTES_MAX (32u << 20) /* a group takes no further frame beyond this */
#define STORE_SEGMENT_BYTES   (64u << 20)
#define STORE_SEGMENT_MIN     (64u << 10)
#define STORE_SEGMENT_MAX     (1024u << 20)
#define STORE_META_BYTES      (4u << 20)
#define STORE_THUMBS_MAX      (256u << 20) /* all thumbnails; quota / 32 where there is a quota */
#define STORE_WAL_PAGES_MIN   256 /* of the index, 4 KiB each; quota / STORE_WAL_SHARE between */
#define STORE_WAL_PAGES_MAX   4096
#define STORE_WAL_SHARE       64
#define STORE_WAL_HELD_SHARE  16 /* of the quota; beyond it the index is given up for another */
#define STORE_WAL_HELD_MAX    (256 << 8) /* 256 MiB */
#define RESERVE_NAME          "RESERVE"
#define STORE_RING_SHARE      256 /* of the quota, RING_BYTES_MIN to RING_BYTES_MAX */
#define STORE_RESERVE_MIN     (1u << 20)
#define STORE_RESERVE_MAX     (8u << 20) /* given up when a full disk must be emptied */
#define STORE_RECENT_MAX      4096       /* blobs written but perhaps not indexed yet */
#define STORE_HELD_BOOTS_MAX  16
#define STORE_VICTIMS_MAX     512 /* blobs removed by one step of retention */
#define STORE_PAST_BOOTS_MAX  16

enum request_kind { REQUEST_PUT, REQUEST_META, REQUEST_COPY, REQUEST_FLUSH, REQUEST_CALL };
enum hash_state { HASH_WANTED, HASH_RUNNING, HASH_DONE };

/* A record to be written as it is. */
struct record_copy {
    enum record_kind kind;
    const void *bytes; /* the payload, borrowed */
    size_t size;
    struct frame_hash sha;
};

/* One thing for the writer to do. A put is the writer's to free; the others lie on the stack of a
 * caller that waits for `done`. */
struct request {
    struct request *next;
    enum request_kind kind;
    struct store_frame frame;     /* PUT */
    const struct record *records; /* META, COPY: for the meta log, borrowed */
    size_t record_count;
    unsigned tier;                    /* COPY: where to */
    const struct record_copy *copies; /* COPY, borrowed; before the records */
    size_t copy_count;
    int (*call)(struct store *store, void *arg, struct err *err); /* CALL, before the group */
    void *arg;                                                    /* CALL, borrowed */
    enum hash_state hashed; /* PUT: frame.record.blob is the blob's; under store->lock */
    bool done;              /* under store->lock */
    int code;
    struct err err;
    uint64_t lsn; /* of its last record, for who wants to wait for the index */
    uint64_t seq; /* PUT */
    bool duplicate;
};

/* A blob that was written a moment ago, for finding duplicates before the index knows it. */
struct recent_blob {
    uint64_t lsn; /* 0: free */
    unsigned tier;
    struct frame_hash sha;
};

struct part {          /* of what a group writes to a stream */
    const void *bytes; /* NULL: `at` in the arena */
    size_t at, size;
};

struct group_stream {
    struct buf arena;
    struct part parts[3 * STORE_GROUP_MAX + 1];
    size_t part_count;
    uint64_t planned; /* at most so many bytes */
    uint64_t encoded;
};

struct group {
    struct request *requests[STORE_GROUP_MAX];
    size_t count;
    struct group_stream streams[STREAM_COUNT];
};

/* Which UTC a boot's clock stands for. */
struct clock_evidence {
    bool known;
    uint8_t boot_id[16];
    int64_t offset_us; /* UTC minus boot time */
    bool doubted;      /* the kernel says otherwise: `other_us`, since `other_boot_us` */
    int64_t other_us, other_boot_us;
};

struct held_boot { /* frames of this boot wait for their time */
    uint8_t boot_id[16];
};

struct writer { /* the writer thread's own */
    uint64_t next_lsn, next_seq;
    size_t last_group;              /* requests in the group before */
    struct group group, meta_group; /* the second for records made between and within groups */
    struct recent_blob recent[STORE_RECENT_MAX];
    uint64_t hold_lsn;   /* of the last record that may make an older blob stay */
    uint64_t buried_lsn; /* of the last tombstone: an index before it cannot name duplicates */
    uint64_t said_lsn;   /* of the last record of the meta log */
    struct db lookup;
    unsigned lookup_generation;
    struct clock_evidence evidence;
    struct held_boot held[STORE_HELD_BOOTS_MAX];
    size_t held_count;
    bool held_loaded;
    bool seen_loaded;
    int64_t seen_utc_us;  /* when ages were counted last, as state.db has it; 0: never */
    int64_t rest_boot_us; /* since when ages rest, because it cannot be this time; 0: they do not */
    bool reclaimed;       /* what an earlier run left to give back is given back */
    int64_t upkeep_boot_us;
    int64_t reclaimed_id; /* of table reclaim: those up to it are given back */
    int64_t slice_start_us;
    uint64_t looks_saved;                /* steps towards room before the next look at all files */
    int64_t history_next_us;             /* boot time of the next look for history past its age */
    size_t victims_step;                 /* blobs that a step of retention takes now */
    uint64_t pace_written, pace_applied; /* where the lag passed its bound; 0: it has not */
    bool upkeep_more;                    /* the last slice left something */
    uint64_t overstep;                   /* bytes over the quota that were let in (retain.c) */
    uint64_t reserve_bytes;
    bool reserve_there;
};

struct index_command {
    struct index_command *next;
    int (*run)(struct index *index, const struct index_command *command, struct err *err);
    const char *remote; /* borrowed, as all below */
    int tier;
    const struct frame_hash *blob;
    const char *reason;
    int64_t number;
    bool posted;         /* nobody waits: freed when it is done, or when the index is another */
    unsigned generation; /* posted: of that index */
    bool done;           /* under store->lock */
    int code;
    struct err err;
};

struct store {
    struct layout layout;
    struct store_config config; /* dir and state_dir are not kept */
    uint64_t quota, min_free;   /* effective bytes */
    bool bare;                  /* opened for a repair: no limits, and state.db is left alone */

    pthread_mutex_t lock;
    pthread_cond_t queue_grew, queue_shrank, finished, written, applied;
    pthread_cond_t hash_wanted, hash_done;

    /* under lock */
    struct request *first, **last;
    size_t queued;
    uint64_t queued_bytes;
    bool closing;       /* no more requests */
    bool writer_busy;   /* with a group: what comes now can be hashed meanwhile */
    bool upkeep_wanted; /* the limits were weighed: the writer need not wait for its tick */
    bool index_closing; /* the writer is done: index what is left and end */
    bool index_over;    /* the index thread does not go on (closed, or cannot) */
    uint64_t written_lsn, applied_lsn, last_seq;
    uint64_t whole_lsn, promised_lsn; /* lag.c */
    struct index_command *commands, **commands_last;
    struct store_stats stats;
    uint64_t disk_bytes;    /* with the next */
    uint64_t compact_wants; /* bytes (compact.c) */
    struct store_remote remotes[STORE_REMOTES_MAX];
    size_t remote_count;
    uint64_t released;

    struct holds holds; /* has its own lock */

    atomic_uint index_generation; /* changes when index.db is another file; odd: between two */
    atomic_bool index_suspect;    /* a reader found it damaged */
    int outbox_fd;

    atomic_int guard;     /* enum guard: may the tier limits remove? */
    bool began_empty;     /* there was no frame when it was opened */
    int64_t guard_now_us; /* while it is WEIGHING: UTC, in which ages count */

    struct stream streams[STREAM_COUNT];
    struct writer writer;
    struct index index;
    struct index_config index_config;
    pthread_t writer_thread, index_thread, hasher_thread;
    pthread_t keeper_thread;
    pthread_mutex_t keeper_lock;
    pthread_cond_t keeper_bell;
    bool keeper_closing, keeper_wanted; /* under lock */
    bool writer_started, index_started, hasher_started, keeper_started;

    struct ring ring;
    struct tally tally;
    int64_t copy_next_us; /* the keeper's: boot time of the next look at the copy of state.db */
    struct compact compact;
    struct forward forward;
    pthread_mutex_t retry_lock; /* one store_outbox_retry or _act at a time */
    pthread_mutex_t state_lock;
    struct db state;
};

/* ---- store.c ---- */

void store__error_note(struct store *store, const struct err *err); /* takes the lock */
/* As store_open, for fsck: no limits, no mount guard, state.db is not opened. */
int store__open_bare(const char *dir, double index_floor, struct store **out, struct err *err);

/* ---- ring.c ---- */

/* The keeper's: has the ring there, and its notes in the file. One that cannot be written
 * costs notes, never a frame. */
void store__ring_keep(struct store *store);

/* ---- state.c ---- */

int store__state_open(struct store *store, struct err *err);
/* The keeper's: lays a copy of state.db beside it when the last is a day old. */
void store__state_copy_daily(struct store *store);

/* ---- keeper.c ---- */

int store__keeper_start(struct store *store, struct err *err);
void store__keeper_stop(struct store *store); /* brings what is left */
void store__keeper_call(struct store *store); /* to a round now. Any thread */
/* What was noted is in the ring's file, and in the tally. Any thread. */
void store__keeper_now(struct store *store);

/* ---- gc.c ---- */

/* The keeper's: weighs what new limits would remove. */
void store__guard_weigh(struct store *store);

/* ---- writer.c ---- */

int store__writer_start(struct store *store, struct err *err);
void store__writer_stop(struct store *store); /* drains */
/* Hands over and waits until the writer is done with it; returns its code. */
int store__request_wait(struct store *store, struct request *request, struct err *err);
/* Durable meta records, from a caller's thread; then waits until the index has them. */
int store__meta_put(struct store *store, const struct record *records, size_t count,
                    struct err *err);
/* Runs `call` on the writer thread between groups, so that no frame comes to rest on what it
 * removes; then waits until the index has what it wrote. */
int store__writer_call(struct store *store, int (*call)(struct store *, void *, struct err *),
                       void *arg, struct err *err);
void store__request_finish(struct store *store, struct request *request);

/* ---- lag.c ---- */

/* The writer's, before a group: waits a little where the index is too far behind. */
void store__lag_pace(struct store *store);
/* Waits until the index shows a durable meta record, but not for long. */
void store__lag_settle(struct store *store, uint64_t lsn);
/* Has the index seen all that was there when it was opened or begun anew? */
bool store__index_whole(struct store *store);
/* Is it so, and does the index thread go on? */
bool store__index_follows(struct store *store);
/* Sets and returns the error for who needs an index that is not behind: ERR_BUSY. */
int store__index_behind(struct store *store, struct err *err);
/* May the outbox be read? Else, when to ask again. */
bool store__outbox_ready(struct store *store, int64_t *again_boot_us);

/* ---- hasher.c ---- */

int store__hasher_start(struct store *store, struct err *err);
void store__hasher_stop(struct store *store);
/* Makes frame.record.blob of a PUT that was taken from the queue; the writer thread only. */
void store__hasher_finish(struct store *store, struct request *request);

/* ---- group.c: the writer thread only ---- */

void store__group_run(struct store *store, struct request *first);
/* Durable meta records, at once; also while a group is being admitted. */
int store__group_meta(struct store *store, const struct record *records, size_t count,
                      struct err *err);
/* The same, with records for a tier before them: at most STORE_COPIES_MAX, and not more bytes than
 * its files hold. */
int store__group_copy(struct store *store, unsigned tier, const struct record_copy *copies,
                      size_t copy_count, const struct record *records, size_t record_count,
                      struct err *err);
void store__group_finish(struct store *store);

/* ---- retain.c: the writer thread only ---- */

/* Is the blob in the index, and local? Errors of the index count as no. */
bool store__retain_has(struct store *store, unsigned tier, const struct frame_hash *sha);
/* Makes `bytes` more fit under quota and floor for a frame of `value`. ERR_FULL: cannot. */
int store__retain_room(struct store *store, uint64_t bytes, double value, struct err *err);
/* The disk itself said that it is full: removes what a group of at most `value` may displace. */
int store__retain_emergency(struct store *store, double value, struct err *err);
/* One slice of what is due: ages, uploads, tier sizes, thumbnails, space to give back, clock
 * repairs. */
void store__retain_upkeep(struct store *store);
void store__retain_reserve(struct store *store);
void store__retain_finish(struct store *store);
void store__disk_measure(struct store *store);

/* ---- clock.c ---- */

/* Sets the record's capture time right where it can be, and says when it is kept. */
void store__clock_stamp(struct writer *writer, struct record_frame *kept);
bool store__clock_trusted(const struct writer *writer);
/* UTC now, in which ages are counted. */
int64_t store__clock_utc_us(const struct writer *writer);
/* May ages remove anything now? */
int store__clock_ages(struct store *store, bool *count, struct err *err);
/* Writes the repairs that are possible now. */
void store__clock_repair(struct store *store);

/* ---- indexer.c ---- */

int store__indexer_start(struct store *store, struct err *err);
/* The remotes that the index calls active become those that names are looked up in. Called with the
 * lock. */
void store__indexer_share(struct store *store);
void store__indexer_stop(struct store *store); /* applies what is left */
/* Waits until the index has `lsn`; false: not within timeout_ms (negative: no limit), or it never
 * will. */
bool store__indexer_wait(struct store *store, uint64_t lsn, int timeout_ms);
/* Runs on the index thread in its next transaction, if that is of the same index; nobody waits.
 * What there is no memory for is not done. */
void store__indexer_post(struct store *store,
                         int (*what)(struct index *, const struct index_command *, struct err *),
                         int64_t number);
/* Runs on the index thread in its next transaction; waits for the commit. */
int store__indexer_run(struct store *store, struct index_command *command, struct err *err);

/* Waits on `condition` with store->lock held until `deadline_us` of CLOCK_MONOTONIC; false: time is
 * up. */
bool store__wait_until(struct store *store, pthread_cond_t *condition, int64_t deadline_us);
int64_t store__monotonic_us(void);

#endif
