/* hold: blobs that no remote may have yet, because a better frame may take their place.
 *
 * In memory alone and bounded: after a restart, or where there is no room, a blob is simply due.
 * The index gives its rows of the outbox the time until which it is held; displacing (remove.c)
 * asks whether it still is, so what may have been uploaded is never displaced. Thread: any.
 */
#ifndef CREEL_STORE_HOLD_H
#define CREEL_STORE_HOLD_H

#include "schemas/frame.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOLDS_MAX 1024

struct holds {
    pthread_mutex_t lock;
    struct {
        enum frame_tier tier;
        struct frame_hash sha;
        int64_t until_boot_us;
    } items[HOLDS_MAX];
    size_t count;
    bool ended; /* nothing is held any more */
};

void store__holds_init(struct holds *holds);
void store__holds_finish(struct holds *holds);
void store__holds_add(struct holds *holds, enum frame_tier tier, const struct frame_hash *sha,
                      int64_t until_boot_us);
void store__holds_end(struct holds *holds);
/* Until when the blob is held, boot time; 0: it is not, or no longer. */
int64_t store__holds_until(struct holds *holds, enum frame_tier tier, const struct frame_hash *sha);

#endif
