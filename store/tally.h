/* tally: how many frames triage kept and rejected, by camera, rule and minute.
 *
 * Counting is an addition in memory; the keeper brings the sums to state.db every TALLY_EACH_US.
 * Minutes stay for TALLY_MINUTES_US, hours for TALLY_HOURS_US, so the tables are bounded by cameras
 * and rules. A crash loses what was not brought yet. Thread: any for note; the keeper's for flush.
 */
#ifndef CREEL_STORE_TALLY_H
#define CREEL_STORE_TALLY_H

#include "daemon/base/err.h"
#include "store/store.h"
#include <pthread.h>

#define TALLY_SLOTS      256 /* different ones between two flushes; more are summed up as one */
#define TALLY_EACH_US    (10 * INT64_C(1000000))
#define TALLY_MINUTES_US (48 * 3600 * INT64_C(1000000))
#define TALLY_HOURS_US   (366 * 24 * 3600 * INT64_C(1000000))

struct tally_slot {
    int64_t minute; /* since 1970 UTC; 0: captured while the clock was not synchronised */
    char camera[FRAME_NAME_MAX + 1], rule[FRAME_NAME_MAX + 1];
    uint64_t kept, over_budget, rejected; /* all 0: free */
};

struct tally {
    pthread_mutex_t lock;
    struct tally_slot slots[TALLY_SLOTS];
    struct tally_slot others; /* camera and rule are empty */
    int64_t flush_boot_us;    /* the keeper's: of the next flush */
};

void store__tally_init(struct tally *tally);
void store__tally_note(struct tally *tally, const struct store_outcome *outcome);
/* What was noted so far goes to state.db when it is time, or `now`; what does not is kept for the
 * next time. */
void store__tally_flush(struct store *store, bool now);
void store__tally_finish(struct tally *tally);

#endif
