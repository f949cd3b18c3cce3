/* watch: the latest look of each camera, for whoever looks at the live view.
 *
 * While nobody asked for it within WATCH_LINGER_US, watch_see is one atomic load and nothing is
 * held. While somebody does, a worker copies a frame's bytes a few times a second and camera, and
 * never encodes, writes or waits for a viewer: raw pixels become a JPEG on the thread that asks for
 * it. Not: no history, no opinion, no disk. Bounds: WATCH_CAMERAS cameras, the last two pictures of
 * each, WATCH_BYTES_MAX in all; a picture that does not fit is its thumbnail. Thread: any.
 */
#ifndef CREEL_DAEMON_WATCH_H
#define CREEL_DAEMON_WATCH_H

#include "daemon/base/err.h"
#include "inference/frame.h"
#include <stdbool.h>
#include <stdint.h>

#define WATCH_CAMERAS    64
#define WATCH_DETECTIONS 64                    /* of one frame, the most confident ones */
#define WATCH_BYTES_MAX  (96u << 20)           /* of all pictures, also while they are being sent */
#define WATCH_EVERY_US   (200 * INT64_C(1000)) /* between two looks at one camera */
#define WATCH_LINGER_US  (3000 * INT64_C(1000)) /* after the last question */

struct watch;

struct watch *watch_create(void);        /* NULL: no memory */
void watch_destroy(struct watch *watch); /* NULL accepted */

/* Somebody looks: what comes from now on is held. */
void watch_want(struct watch *watch);
/* The same for so long, not WATCH_LINGER_US. */
void watch_want_for(struct watch *watch, int64_t linger_us);

/* A verdict, by a worker; the frame stays the caller's. */
void watch_see(struct watch *watch, const struct frame *frame);

/* Lets go of what nobody looks at any more; about once a second. */
void watch_tick(struct watch *watch);

/* One camera's latest look. record.detections points to `detections`; copies of the look are
 * the caller's to mend. */
struct watch_look {
    uint64_t number; /* counts the looks of all cameras, from 1 */
    struct frame_record record;
    struct frame_detection detections[WATCH_DETECTIONS];
};
bool watch_get(struct watch *watch, const char *camera, struct watch_look *out);

/* The picture of that look, or the camera's latest where it is gone already: an image file that the
 * caller frees; `*media` says which. Blocks for as long as it takes to encode. ERR_NOT_FOUND. */
int watch_picture(struct watch *watch, const char *camera, uint64_t number, uint8_t **bytes,
                  size_t *size, enum frame_media *media, struct err *err);

/* Bytes held now. */
uint64_t watch_bytes(const struct watch *watch);

#endif
