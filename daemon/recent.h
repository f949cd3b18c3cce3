/* recent: the last rejected frames of each camera, whole, for those that a later one makes
 * interesting.
 *
 * Bounded by frames a camera, by how far back triage may ask, and by bytes in all; what does not
 * fit is forgotten, the oldest first. Not: nothing here is durable, and nothing of it was promised
 * to anybody; the frames' origins have heard that they were rejected. Thread: any.
 */
#ifndef CREEL_DAEMON_RECENT_H
#define CREEL_DAEMON_RECENT_H

#include "inference/frame.h"
#include <stdint.h>

#define RECENT_FRAMES_MAX 64          /* of one camera */
#define RECENT_BYTES_MAX  (96u << 20) /* of all their bytes */

struct recent;
struct recent *recent_create(void); /* NULL: no memory */
void recent_destroy(struct recent *recent);

/* How far back to remember: of a camera, the last `frames` frames and those of the last
 * `reach_ms`; both 0: nothing, and what is there is forgotten. */
void recent_reach_set(struct recent *recent, int64_t reach_ms, unsigned frames);

/* Takes the frame's bytes, thumbnail and record over, if they are wanted; the frame itself stays
 * the caller's, who settles it. */
void recent_put(struct recent *recent, struct frame *frame);

/* The newest frame of the camera that was captured from `from_us` to `to_us` of boot time, which
 * then is the caller's and has no origin; NULL: there is none. */
struct frame *recent_take(struct recent *recent, const char *camera, int64_t from_us,
                          int64_t to_us);

#endif
