/* source_flight: the frames of a directory that are on their way, and what became of them.
 *
 * A bounded table shared by the source's thread, which launches frames and works off those that
 * have landed, and by whichever threads settle them. The table outlives its source: each frame in
 * the air holds a reference, so a frame that settles after the source has gone finds memory to
 * write to and nobody to wake. Life cycle: create -> launch, landed, release ... -> close (by the
 * owner; the last frame to land frees it). Thread: the owner's, but for the settling. Private to
 * this folder.
 */
#ifndef CREEL_INFERENCE_SOURCE_FLIGHT_H
#define CREEL_INFERENCE_SOURCE_FLIGHT_H

#include "inference/frame.h"
#include <limits.h>
#include <sys/stat.h>

#define SOURCE__FLIGHT_MAX       64           /* frames in the air, or landed and not worked off */
#define SOURCE__FLIGHT_BYTES_MAX (256u << 20) /* of their blobs, unless it is a single one */

/* One state of one file: a rewritten file is another one. */
struct source__file {
    uint64_t device, inode, size;
    int64_t mtime_ns;
    char name[NAME_MAX + 1];
};

struct source__landed {
    struct source__file file;
    enum frame_outcome outcome;
    struct err err;         /* err.code is 0 where nothing failed */
    int64_t due_boot_us;    /* not to be worked off earlier */
    unsigned postponements; /* the owner's own count */
    uint32_t slot;          /* private */
};

struct source__flight;

struct source__flight *source__flight_create(int wake_fd); /* borrowed, until close */
void source__flight_close(struct source__flight *flight);  /* NULL accepted */

bool source__flight_room(struct source__flight *flight, uint64_t bytes);
bool source__flight_has(struct source__flight *flight, const struct source__file *file);
size_t source__flight_count(struct source__flight *flight);

/* Takes a slot (the caller has asked for room) and makes the table the frame's origin. */
void source__flight_launch(struct source__flight *flight, const struct source__file *file,
                           struct frame *frame);

/* A landed frame that is due, borrowed until it is released or postponed; NULL: none. */
struct source__landed *source__flight_landed(struct source__flight *flight, int64_t now_boot_us);
void source__flight_release(struct source__flight *flight, struct source__landed *landed);
/* When the next one is due; INT64_MAX: none. */
int64_t source__flight_due(struct source__flight *flight);

void source__file_init(struct source__file *file, const char *name, const struct stat *st);
bool source__file_equal(const struct source__file *a, const struct source__file *b);
bool source__file_same(const struct source__file *file, const struct stat *st);

#endif
