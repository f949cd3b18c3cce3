/* live: what `creel run --live` shows a person: a line that keeps itself up to date (on a terminal;
 * a line every five seconds elsewhere), and a summary at the end. Thread: main.
 */
#ifndef CREEL_DAEMON_LIVE_H
#define CREEL_DAEMON_LIVE_H

#include "daemon/requests.h"

struct live {
    bool terminal;
    unsigned lines;
    uint64_t kept_before[TIER_COUNT]; /* in the store when this run began */
    int64_t started_boot_us;
};

void live_start(struct live *live, const struct rooms *rooms);
void live_line(struct live *live, const struct rooms *rooms);
/* Waits until no remote has anything pending, or for `deadline_ms`. */
void live_wait_uploads(const struct rooms *rooms, int deadline_ms);
void live_summary(const struct live *live, const struct rooms *rooms);

#endif
