/* poison: frames that ended their worker process twice, set aside for a person to look at.
 *
 * A folder beside the store's log, <store.dir>/poison: <frame id>.jpg (.png, .bin) with the exact
 * bytes that came in, and <frame id>.txt with where they came from and what they did. Bounded: what
 * does not fit beside newer ones goes. The same bytes again, within an hour, are refused without
 * costing a worker. Not part of the store: nothing in here is indexed, uploaded or counted by the
 * quota. Life cycle: poison_open -> poison_check, poison_add, poison_stats_get -> poison_close.
 * Thread: any.
 */
#ifndef CREEL_DAEMON_POISON_H
#define CREEL_DAEMON_POISON_H

#include "daemon/base/err.h"
#include "daemon/base/fs.h"
#include "inference/frame.h"

#define POISON_FILES_MAX    32          /* frames in the folder */
#define POISON_BYTES_MAX    (64u << 20) /* of their files together; the newest is kept in any case */
#define POISON_REMEMBERED_S 3600        /* how long the same bytes are refused */

struct poison;

/* The folder is made with the first frame that goes there. */
int poison_open(const char *dir, struct poison **out, struct err *err);
void poison_close(struct poison *poison); /* NULL accepted */

/* 0, or ERR_CRASHED: these bytes ended a worker a while ago; names the file. */
int poison_check(struct poison *poison, const struct frame *frame, struct err *err);

/* Sets the frame's bytes aside; `why` is what detector_run said. Those of a camera with privacy
 * masks, which nobody has painted yet, are only refused from now on. Logs where they are, or that
 * they could not be written. Blocks on the disk. */
void poison_add(struct poison *poison, const struct frame *frame, const struct err *why);

struct poison_stats {
    char dir[FS_PATH_MAX];
    uint64_t files, bytes; /* in the folder now */
    uint64_t added;        /* since the start */
    char last[64];         /* name of the newest file of this run; "": none */
};
void poison_stats_get(struct poison *poison, struct poison_stats *out);

#endif
