/* health: when to try again: backoff, a breaker and a window per remote, and a bounded memory of
 * rows that make trouble. Pure but for the randomness and the clock that are passed in.
 *
 * Backoff is exponential with full jitter (AWS Architecture Blog, "Exponential Backoff And
 * Jitter"). The breaker opens after HEALTH_FAILURES_MAX failures in a row, or at once when a person
 * must act; then one transfer at a time probes. The window is what additive increase,
 * multiplicative decrease makes of a remote's share of transfers. Thread: one at a time. All times
 * are CLOCK_BOOTTIME in microseconds.
 */
#ifndef CREEL_SYNC_HEALTH_H
#define CREEL_SYNC_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEALTH_FAILURES_MAX 5 /* in a row, before the breaker opens */
#define HEALTH_TROUBLES_MAX                                                                        \
    128 /* rows remembered; the one longest untouched is forgotten first                           \
         */

struct health_limits {
    int base_ms, cap_ms;
    int attempts_max;   /* refusals of one row before quarantine */
    uint64_t bytes_max; /* of one row's attempts; 0: no limit */
    unsigned share;     /* most transfers at once */
};

struct health_trouble {
    uint64_t row;
    unsigned refusals; /* times the server would not have it */
    unsigned
        lone_failures;  /* failures while others succeeded in between: the row may be to blame */
    uint64_t successes; /* of the remote at the last failure */
    uint64_t first;     /* … and when the trouble began */
    uint64_t bytes;     /* sent in vain */
    uint64_t touched;
};

struct health {
    struct health_limits limits;
    unsigned failures; /* in a row */
    unsigned opens;    /* times the breaker opened, or stayed open, without a success */
    bool open;
    int64_t retry_at_us; /* nothing starts before */
    double window;
    uint64_t successes, clock;
    struct health_trouble troubles[HEALTH_TROUBLES_MAX];
    size_t trouble_count;
};

void sync__health_init(struct health *health, const struct health_limits *limits);

/* A delay in [0, min(cap, base * 2^attempts)] ms; `random` is uniform over 64 bits. */
int64_t sync__backoff_ms(int base_ms, int cap_ms, unsigned attempts, uint64_t random);

/* Another share of the transfers. A window that was not made smaller for throttling follows at
 * once.
 */
void sync__health_share(struct health *health, unsigned share);

/* How many more transfers may start now, `running` being under way. */
unsigned sync__health_room(const struct health *health, unsigned running, int64_t now_us);

/* True when this closed an open breaker. Forgets the row's trouble. */
bool sync__health_success(struct health *health, uint64_t row);

/* The network or the server failed. True when this opened the breaker. */
bool sync__health_failure(struct health *health, bool throttled, int retry_after_ms, int64_t now_us,
                          uint64_t random);

/* A person must act. True when this opened the breaker. */
bool sync__health_denied(struct health *health, int64_t now_us, uint64_t random);

/* Notes a refusal of the row, or a failure that may be its own doing; true when it has used up its
 * attempts. */
bool sync__health_row_refused(struct health *health, uint64_t row);
bool sync__health_row_failed(struct health *health, uint64_t row);
/* The same for the bytes that an attempt sent in vain; true when they are too many and others
 * arrived meanwhile. */
bool sync__health_row_cost(struct health *health, uint64_t row, uint64_t bytes);

#endif
