/* caller: who pushed a frame, from the push to the reply.
 *
 * It travels with the frame as its origin, and frees itself when the frame is settled. Thread: one
 * at a time, as the frame.
 */
#ifndef CREEL_DAEMON_CALLER_H
#define CREEL_DAEMON_CALLER_H

#include "daemon/base/err.h"
#include "inference/frame.h"
#include "webui/webui.h"

/* The frame of a push, whose bytes are taken in any case; push->reply is called once, when there is
 * a verdict (with wait_stored: when the store has answered) or when the frame is settled without.
 * ERR_INVALID, ERR_NOMEM: no reply comes. */
int caller_frame(const struct webui_push *push, struct frame **out, struct err *err);

/* No reply comes, whatever becomes of the frame. */
void caller_forget(struct frame *frame);

#endif
