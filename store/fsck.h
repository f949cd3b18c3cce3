/* fsck: the check, as the repair uses it. See store.h for what everybody calls.
 *
 * Thread: one. The store's lock is held from the first look to the end of `settle`.
 */
#ifndef CREEL_STORE_FSCK_H
#define CREEL_STORE_FSCK_H

#include "store/layout.h"
#include "store/store.h"

typedef void store_progress_fn(void *ctx, uint64_t done, uint64_t total);

/* [at, end) of a file holds no whole record. */
struct fsck_place {
    unsigned stream;
    uint64_t number, at, end;
    bool torn; /* a torn tail; else damage */
};

struct fsck_hooks { /* any may be NULL; a code ends the check */
    void *ctx;
    int (*bad)(void *ctx, const struct fsck_place *place, struct err *err);
    /* A blob that frames name, that is not here, and no tombstone says why. */
    int (*missing)(void *ctx, enum frame_tier tier, const struct frame_hash *sha, struct err *err);
    int (*settle)(void *ctx, const struct layout *layout, const struct store_fsck *found,
                  struct err *err);
};

int store__fsck(const char *dir, store_progress_fn *progress, void *progress_ctx,
                const struct fsck_hooks *hooks, struct store_fsck *out, struct err *err);

#endif
