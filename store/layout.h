/* layout: where everything lies in the store's directory, whose store it is, and the mount guard.
 *
 *   LOCK                      held by flock while a process has the store open
 *   IDENTITY                  "creel-store <format> <uuid>"
 *   log/<tier>/<number>.seg   frames and their blobs; number: 16 hex digits, the lsn it was begun
 * with meta/<number>.log         what must outlive a segment thumbs/<number>.seg       a cache
 *   index.db, state.db        SQLite
 *
 * Thread: open and adopt by one thread; the path functions by any.
 */
#ifndef CREEL_STORE_LAYOUT_H
#define CREEL_STORE_LAYOUT_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_PATH_MAX 512
#define LAYOUT_DIR_MAX  400 /* of the store's own directory, so that every path in it fits */
#define LAYOUT_FORMAT   1

/* The streams of the log; the first TIER_COUNT are the tiers. */
enum stream_id {
    STREAM_META = TIER_COUNT,
    STREAM_THUMBS,
    STREAM_COUNT,
};

struct layout {
    char dir[LAYOUT_DIR_MAX];
    uint8_t uuid[16];
    int lock; /* -1: not held */
};

#define LAYOUT_INIT                                                                                \
    { .lock = -1 }

/* Checks the guard, makes what is missing (only for a new store), takes the lock. `state_dir` may
 * be NULL. */
int store__layout_open(struct layout *layout, const char *dir, const char *state_dir,
                       struct err *err);
/* Takes the lock and reads the identity; makes and changes nothing. ERR_NOT_FOUND: no store there.
 */
int store__layout_inspect(struct layout *layout, const char *dir, struct err *err);
void store__layout_close(struct layout *layout);

/* All write into `out` of LAYOUT_PATH_MAX and return it; they cannot fail for a dir that open
 * accepted. */
char *store__stream_dir(const struct layout *layout, unsigned stream, char *out);
char *store__segment_path(const struct layout *layout, unsigned stream, uint64_t number, char *out);
char *store__file_path(const struct layout *layout, const char *name, char *out);

/* The number in a segment's file name of that stream; false for another file. */
bool store__segment_name_parse(unsigned stream, const char *name, uint64_t *number);

#endif
