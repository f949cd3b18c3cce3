/* ring: what triage decided of the last frames, kept ones and rejected ones, with what it decided
 * from.
 *
 * A file of fixed size, written round and round: enough to say why a frame was not kept, and to ask
 * what another policy would have done. Noting is a copy in memory; the writer thread brings the
 * notes to the file once a second, without a sync of their own. So a crash loses about a second of
 * it, and nothing that was acknowledged depends on it. schemas/records.md has the layout. Thread:
 * any for put; the writer's for open, flush and close; readers use files of their own.
 */
#ifndef CREEL_STORE_RING_H
#define CREEL_STORE_RING_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "store/layout.h"
#include "store/store.h"
#include <pthread.h>

#define RING_NAME      "RING"
#define RING_BLOCK     65536u
#define RING_BYTES_MAX (16u << 20)
#define RING_BYTES_MIN (4u * RING_BLOCK)
#define RING_WAITING   (4u * RING_BLOCK) /* of notes that the writer has not taken yet */

struct ring {
    const struct layout *layout;
    uint64_t bytes; /* of the file; a multiple of RING_BLOCK */

    pthread_mutex_t lock; /* guards the next three */
    struct buf waiting;   /* notes, each after its length (u32) */
    uint64_t noted, dropped;

    /* The writer's: */
    int fd;         /* -1: not there yet */
    uint64_t block; /* number of the block at hand; its place is block % blocks */
    uint8_t *page;  /* its bytes */
    size_t used;    /* of them */
    size_t clean;   /* of them are in the file */
};

void store__ring_init(struct ring *ring, const struct layout *layout, uint64_t bytes);
/* Makes the file where it is missing, and goes on behind what is in it. */
int store__ring_open(struct ring *ring, struct err *err);
int store__ring_flush(struct ring *ring, struct err *err);
void store__ring_close(struct ring *ring); /* flushes */

#endif
