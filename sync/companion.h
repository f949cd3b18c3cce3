/* companion: objects beside a frame's own at a remote, where a tier asks for them: the frame
 * document (sidecars/) and the picture with its boxes drawn (overlays/).
 *
 * They are made from the store's events once the frame's receipt exists, a few at a time, and
 * uploaded create-only; the first one made under a name stays, later corrections are rows of the
 * manifest. Off by default. Life cycle: start -> poke, take, end -> stop -> destroy. Thread: they
 * are made by a thread of this file; take and end are the loop's.
 */
#ifndef CREEL_SYNC_COMPANION_H
#define CREEL_SYNC_COMPANION_H

#include "daemon/base/buf.h"
#include "sync/sync.h"
#include <stdbool.h>

#define COMPANION_SPACE   "companion" /* of the store's state: how far each remote is */
#define COMPANION_BATCH   16          /* frames whose companions are in memory at a time */
#define COMPANION_AT_ONCE 8           /* on their way, of one remote */

struct sync;
struct companions;

struct companion {
    struct companion *next;
    char key[STORE_KEY_MAX + 1];
    enum frame_tier tier; /* its container is the frame's */
    enum frame_media media;
    uint8_t *bytes; /* owned, until it is taken */
    size_t size;
    bool taken; /* a job has the bytes */
};

/* "frames/…/<sha>.jpg" as "<folder>/…/<sha><extension>"; false: not a frame's key. */
bool sync__companion_key(const char *key, const char *folder, const char *extension,
                         char out[STORE_KEY_MAX + 1]);

/* NULL in *out where no tier asks for any. */
int sync__companions_start(struct sync *sync, struct companions **out, struct err *err);
void sync__companions_stop(struct companions *companions); /* NULL is accepted, as below */
void sync__companions_destroy(struct companions *companions);
void sync__companions_poke(struct companions *companions); /* receipts were written; any thread */

/* One that waits, NULL: none does. Its bytes are copied into *bytes for the caller to free. */
struct companion *sync__companions_take(struct companions *companions, size_t lane,
                                        uint8_t **bytes);
bool sync__companions_wait(struct companions *companions, size_t lane);
/* It is there (`done`), or goes back to those that wait. */
void sync__companions_end(struct companions *companions, size_t lane, struct companion *companion,
                          bool done);

#endif
