/* pace: how many transfers of a remote to have under way, found by trying: a hill climb on goodput.
 *
 * More transfers bring more where latency is the limit, and nothing where the link, the server or
 * this machine is; which of them holds, only a measurement tells, and it changes. So time is cut
 * into epochs of as many ends as the window is wide, and the goodput of one is compared with the
 * best before it:
 *
 *   CLIMB --gained a quarter: double--> CLIMB      CLIMB --twice no gain: back to the best--> HOLD
 *   HOLD --after some epochs: a quarter more--> TRY_MORE    TRY_MORE --gained--> CLIMB, else HOLD
 *   HOLD --or: a quarter less--> TRY_LESS          TRY_LESS --lost nothing: stay there--> HOLD
 *   HOLD --twice far below the best: the road has changed--> CLIMB
 *   any --the server throttles: half--> HOLD
 *
 * Doubling while goodput grows by a quarter, and ending after rounds that do not, is the start-up
 * of BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016), the
 * probing around the plateau is its ProbeBW, and halving is the multiplicative decrease of Chiu and
 * Jain (1989). Unlike a limit by round-trip time (Vegas; Netflix's concurrency-limits) it needs no
 * notion of a request's normal time, which depends on its size. An epoch in which the window was
 * not filled says nothing and is not judged. Memory is bounded elsewhere: SYNC_BYTES_MAX.
 *
 * Pure but for the clock that is passed in (CLOCK_BOOTTIME, microseconds). Thread: one at a time.
 */
#ifndef CREEL_SYNC_PACE_H
#define CREEL_SYNC_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_START 8
#define PACE_MAX   128

enum pace_phase { PACE_CLIMB = 0, PACE_HOLD, PACE_TRY_MORE, PACE_TRY_LESS };

struct pace {
    unsigned window, max;
    enum pace_phase phase;
    bool fixed;
    double best; /* goodput of the plateau, bytes a second */
    unsigned best_window;
    unsigned strikes;  /* epochs of a climb without a gain, one after the other */
    unsigned held;     /* epochs of holding since the last try */
    unsigned patience; /* epochs to hold before the next try */
    bool less_next;    /* which way it tries next */
    unsigned settling; /* ends that still belong to the window before */
    unsigned ends;     /* in this epoch */
    double work;       /* of them */
    int64_t since_us;  /* the epoch's begin; 0: with the next end */
    bool filled;       /* the window was the limit in this epoch */
};

/* `fixed` above 0: that many, for good. */
void sync__pace_init(struct pace *pace, unsigned fixed, unsigned max);

/* There was work for more than the window. */
void sync__pace_filled(struct pace *pace);

/* A transfer of so many bytes ended well. */
void sync__pace_end(struct pace *pace, uint64_t bytes, int64_t now_us);

/* The server asked for less. */
void sync__pace_throttled(struct pace *pace);

#endif
