/* retain: what retain.c (the rules) shares with remove.c (by hand) and gc.c (the plan and the
 * guard).
 *
 * Thread: the writer's alone.
 */
#ifndef CREEL_STORE_RETAIN_H
#define CREEL_STORE_RETAIN_H

#include "store/store_impl.h"

#define RETAIN_WAIT_MS 1000 /* for room: the frame is refused when the index does not come up */

enum lookup {
    LOOKUP_LOCAL,
    LOOKUP_AGE,
    LOOKUP_UPLOADED,
    LOOKUP_OLDEST,
    LOOKUP_REPLICATED,
    LOOKUP_VALUE,
    LOOKUP_DEAD,
    LOOKUP_RECLAIM,
    LOOKUP_HELD,
    LOOKUP_FRAME,
    LOOKUP_PINNED_BYTES,
    LOOKUP_PINNED_FRAMES,
    LOOKUP_BLOB,
    LOOKUP_WORDS,
    LOOKUP_META_POSITION,
    LOOKUP_UNLINKS,
    LOOKUP_SEGMENTS,
    LOOKUP_PLACE,
    LOOKUP_STANDING,
    LOOKUP_STAYS,
    LOOKUP_SURVIVORS,
    LOOKUP_RECEIPTS,
    LOOKUP_QUARANTINES,
    LOOKUP_UNDUE,
    LOOKUP_WITHDRAWN,
    LOOKUP_LABEL,
    LOOKUP_COUNT,
};

struct victims {
    size_t count;
    uint64_t bytes, frames;
    enum frame_tier tiers[STORE_VICTIMS_MAX];
    struct frame_hash blobs[STORE_VICTIMS_MAX];
};

/* Waits until the index is where the log is, and opens it for the writer. ERR_BUSY: not in time, or
 * it is being made again. */
int store__retain_ready(struct store *store, int wait_ms, struct err *err);
/* Opens the index for the writer, whether it is where the log is or not. */
int store__retain_lookup(struct store *store, struct err *err);
/* Meta records that free something, durable; on a full disk the reserve makes room for them. */
int store__retain_write(struct store *store, const struct record *records, size_t count,
                        struct err *err);
/* The same, and in the index. */
int store__retain_bury(struct store *store, const struct record *records, size_t count,
                       struct err *err);
/* Tombstones, index, and the space back. */
int store__retain_evict(struct store *store, const struct victims *victims,
                        enum tombstone_reason reason, struct err *err);

/* ---- the rules, a slice at a time ---- */

/* How many bytes too many there would be under quota and floor with `more`; 0: it fits. Any thread.
 */
uint64_t store__retain_excess(struct store *store, uint64_t more);
/* One slice of all that is due, quota and floor too. `*more`: it may have left something. */
int store__retain_slice(struct store *store, bool *more, struct err *err);

/* ---- gc.c: the guard ---- */

enum guard { GUARD_UNKNOWN = 0, GUARD_WEIGHING, GUARD_OPEN, GUARD_HELD };

/* Decides, once, whether the tier limits may remove; leaves it unknown while the clock is not
 * trusted, and to the keeper where the limits are new. */
int store__guard_judge(struct store *store, struct err *err);

#endif
