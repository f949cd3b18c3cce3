/* keeper: what triage wants kept goes into the store, and what a better frame displaces goes out.
 *
 *     worker ─▶ keeper_take ─▶ bounded queue ─▶ thread ─▶ store ─▶ acknowledgement
 *
 * A queue and a thread of its own, so that a slow or full store costs frames (counted, said,
 * retried by files) but never the answer of an inference request. Every frame that it takes it
 * settles. Life cycle: keeper_start -> frames -> keeper_drain (all of them are with the store) ->
 * keeper_destroy. Thread: any.
 */
#ifndef CREEL_DAEMON_KEEPER_H
#define CREEL_DAEMON_KEEPER_H

#include "daemon/base/err.h"
#include "daemon/tally.h"
#include "inference/frame.h"
#include "store/store.h"

#define KEEPER_QUEUE_MAX 32 /* frames between triage and the store */

struct keeper;

/* Borrows both. */
int keeper_start(struct store *store, struct tally *tally, struct keeper **out, struct err *err);
/* No more are taken; returns when the store has been given those that were. */
void keeper_drain(struct keeper *keeper);
void keeper_destroy(struct keeper *keeper); /* after the store's last acknowledgement; NULL: fine */

/* Takes the frame, with triage's verdict in it; encodes what came as raw pixels. Blocks on no disk.
 */
void keeper_take(struct keeper *keeper, struct frame *frame);
/* Removes what better frames displaced, once those are durable; about once a second. Blocks on
 * disk. */
void keeper_tick(struct keeper *keeper);

#endif
