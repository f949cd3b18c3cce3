/* pace: how long frames take, as a histogram, and how many come a second. Thread: the caller's
 * lock.
 */
#ifndef CREEL_DAEMON_PACE_H
#define CREEL_DAEMON_PACE_H

#include "daemon/base/buf.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_BOUNDS 12

/* Seconds up to which a bucket counts; the last bucket has no bound. */
extern const double pace_bounds[PACE_BOUNDS];

struct pace_times {
    uint64_t buckets[PACE_BOUNDS + 1];
    double sum; /* seconds */
};

void pace_times_note(struct pace_times *times, double seconds);
uint64_t pace_times_count(const struct pace_times *times);
/* The time that `share` (0 to 1) of the frames did not exceed, as far as the buckets tell: between
 * two bounds by a straight line, beyond the last bound that bound. 0: nothing was noted. */
double pace_times_quantile(const struct pace_times *times, double share);
/* {"count", "sum", "p50", "p95", "p99", "buckets": [{"le", "count"}, ...]}: in seconds; each bucket
 * by itself, the last without "le". NULL: no memory. */
json_t *pace_times_json(const struct pace_times *times);
/* A histogram in the Prometheus text format 0.0.4. */
void pace_times_metric(struct buf *out, const char *name, const char *help,
                       const struct pace_times *times);

/* Frames a second over about the last PACE_OVER_S seconds. */
#define PACE_OVER_S 5.0
struct pace_rate {
    double per_second;
    double weight; /* of what was seen so far in that: 0 at first, then towards 1 */
    uint64_t seen;
    int64_t at_boot_us; /* 0: never */
};
/* `seen` is the count so far. To be called about once a second. */
void pace_rate_note(struct pace_rate *rate, uint64_t seen, int64_t now_boot_us);

#endif
