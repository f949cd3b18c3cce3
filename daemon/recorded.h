/* recorded: what triage decided from, on its way from the store to `creel simulate`.
 *
 * The request "recorded" is answered with JSON (how far back, how many frames the time that was
 * asked for had) and, as its bytes, one entry a frame: its record without what simulation does not
 * need. The bytes never leave the machine nor outlive the request, so they are in its own order.
 */
#ifndef CREEL_DAEMON_RECORDED_H
#define CREEL_DAEMON_RECORDED_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "schemas/frame.h"

#define RECORDED_BYTES_MAX FRAME_BLOB_MAX

void recorded_put(const struct frame_record *record, struct buf *out);

struct recorded { /* frames as they were put, with detections of their own */
    struct frame_record *records;
    size_t count;
};

/* ERR_INVALID: not what recorded_put writes. Free with recorded_finish. */
int recorded_read(const uint8_t *bytes, size_t size, struct recorded *out, struct err *err);
void recorded_finish(struct recorded *recorded);

#endif
