/* compact: the meta log without what means nothing any more.
 *
 * The meta log outlives every segment, so it would grow for ever: receipts and tombstones of frames
 * that were forgotten long ago. Its closed files are copied, record by record, into one that takes
 * their place. Life cycle: zeroed -> step, again and again -> finish (abandons). Thread: the
 * writer's alone.
 */
#ifndef CREEL_STORE_COMPACT_H
#define CREEL_STORE_COMPACT_H

#include "daemon/base/buf.h"
#include "store/segment.h"
#include <stdbool.h>
#include <stdint.h>

#define COMPACT_NAME "compact.tmp" /* in meta/, until it is whole */

struct store;

struct compact {
    bool running;
    int fd;                  /* of the file that is being made */
    uint64_t first, through; /* the files that it will stand for */
    uint64_t at;             /* its size so far */
    uint64_t checkpoint_at;  /* of its CHECKPOINT */
    uint64_t unsynced;
    struct segment_scan scan; /* of the file at hand */
    struct buf out;           /* not written yet */
    struct buf remotes;       /* payload of the last REMOTES */
    int64_t pause_boot_us;    /* after trouble: not before */
};

/* One slice of work where there is some. Trouble is noted, and costs nothing but the pause. */
void store__compact_step(struct store *store);
/* There is no room for one now. */
void store__compact_put_off(struct store *store);
void store__compact_finish(struct store *store);

#endif
