/* overlay: boxes drawn on a picture by a process of its own, for sync_config.overlay and /annotate.
 *
 * Thread: any; blocks for as long as drawing takes, at most half a minute.
 */
#ifndef CREEL_DAEMON_OVERLAY_H
#define CREEL_DAEMON_OVERLAY_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stddef.h>
#include <stdint.h>

#define OVERLAY_CHILD "overlay-child" /* as a command: what the daemon starts, and nobody else */

/* A JPEG, malloc'd. ERR_INVALID: it cannot be drawn on. */
int overlay_draw(const uint8_t *bytes, size_t size, const struct frame_detection *detections,
                 size_t count, uint8_t **out, size_t *out_size, struct err *err);

int overlay_child(void); /* an exit status */

#endif
