#include "sync/health.h"
#include <string.h>

#define US_PER_MS       1000
#define DENIED_FLOOR_MS 1000 /* a person is not that fast */
#define LONE_FACTOR     4    /* a network is forgiven more often than a refusal */

void sync__health_init(struct health *health, const struct health_limits *limits) {
    *health = (struct health){.limits = *limits, .window = limits->share};
}

int64_t sync__backoff_ms(int base_ms, int cap_ms, unsigned attempts, uint64_t random) {
    int64_t most = base_ms;
    for (unsigned i = 0; i < attempts && most < cap_ms; i++) {
        most *= 2;
    }
    if (most > cap_ms) {
        most = cap_ms;
    }
    return most > 0 ? (int64_t)(random % ((uint64_t)most + 1)) : 0;
}

unsigned sync__health_room(const struct health *health, unsigned running, int64_t now_us) {
    if (now_us < health->retry_at_us) {
        return 0;
    }
    unsigned most = health->open ? 1 : (unsigned)health->window;
    return running < most ? most - running : 0;
}

void sync__health_share(struct health *health, unsigned share) {
    if (health->window >= health->limits.share || health->window > share) {
        health->window = share;
    }
    health->limits.share = share;
}

static struct health_trouble *trouble_find(struct health *health, uint64_t row) {
    for (size_t i = 0; i < health->trouble_count; i++) {
        if (health->troubles[i].row == row) {
            return &health->troubles[i];
        }
    }
    return NULL;
}

static struct health_trouble *trouble_get(struct health *health, uint64_t row) {
    struct health_trouble *found = trouble_find(health, row);
    if (found == NULL) {
        found = &health->troubles[0];
        if (health->trouble_count < HEALTH_TROUBLES_MAX) {
            found = &health->troubles[health->trouble_count++];
        } else {
            for (size_t i = 1; i < HEALTH_TROUBLES_MAX; i++) {
                if (health->troubles[i].touched < found->touched) {
                    found = &health->troubles[i];
                }
            }
        }
        *found = (struct health_trouble){
            .row = row, .successes = health->successes, .first = health->successes};
    }
    found->touched = ++health->clock;
    return found;
}

bool sync__health_success(struct health *health, uint64_t row) {
    struct health_trouble *trouble = trouble_find(health, row);
    if (trouble != NULL) {
        *trouble = health->troubles[--health->trouble_count];
    }
    bool was_open = health->open;
    health->successes++;
    health->failures = 0;
    health->opens = 0;
    health->open = false;
    if (was_open) {
        health->retry_at_us = 0;
    }
    health->window += 1.0 / health->window;
    if (health->window > health->limits.share) {
        health->window = health->limits.share;
    }
    return was_open;
}

static bool open_until(struct health *health, int64_t wait_ms, int64_t now_us) {
    bool newly = !health->open;
    int64_t until = now_us + wait_ms * US_PER_MS;
    health->open = true;
    health->opens++;
    if (until > health->retry_at_us) {
        health->retry_at_us = until;
    }
    return newly;
}

bool sync__health_failure(struct health *health, bool throttled, int retry_after_ms, int64_t now_us,
                          uint64_t random) {
    health->failures++;
    if (throttled) {
        health->window = health->window / 2 < 1 ? 1 : health->window / 2;
    }
    int64_t wish_us = now_us + (int64_t)retry_after_ms * US_PER_MS;
    if (retry_after_ms > 0 && wish_us > health->retry_at_us) {
        health->retry_at_us = wish_us;
    }
    if (health->open && now_us < health->retry_at_us) {
        return false; /* news from before it opened */
    }
    if (health->failures < HEALTH_FAILURES_MAX && !health->open) {
        return false;
    }
    int64_t wait_ms =
        health->limits.base_ms / 2 +
        sync__backoff_ms(health->limits.base_ms, health->limits.cap_ms, health->opens, random);
    return open_until(health, wait_ms, now_us);
}

bool sync__health_denied(struct health *health, int64_t now_us, uint64_t random) {
    if (health->open && now_us < health->retry_at_us) {
        return false;
    }
    int64_t wait_ms =
        sync__backoff_ms(health->limits.base_ms, health->limits.cap_ms, health->opens + 1, random);
    int64_t floor_ms =
        DENIED_FLOOR_MS < health->limits.cap_ms ? DENIED_FLOOR_MS : health->limits.cap_ms;
    return open_until(health, wait_ms > floor_ms ? wait_ms : floor_ms, now_us);
}

/* A row that is set aside is forgotten: released, it begins anew. */
static bool spent(struct health *health, struct health_trouble *trouble, bool is) {
    if (is) {
        *trouble = health->troubles[--health->trouble_count];
    }
    return is;
}

bool sync__health_row_refused(struct health *health, uint64_t row) {
    struct health_trouble *trouble = trouble_get(health, row);
    trouble->refusals++;
    return spent(health, trouble, trouble->refusals >= (unsigned)health->limits.attempts_max);
}

bool sync__health_row_failed(struct health *health, uint64_t row) {
    struct health_trouble *trouble = trouble_get(health, row);
    if (trouble->successes != health->successes) {
        trouble->lone_failures++;
    }
    trouble->successes = health->successes;
    return spent(health, trouble,
                 trouble->lone_failures >= (unsigned)health->limits.attempts_max * LONE_FACTOR);
}

bool sync__health_row_cost(struct health *health, uint64_t row, uint64_t bytes) {
    struct health_trouble *trouble = trouble_get(health, row);
    trouble->bytes += bytes;
    bool dear = health->limits.bytes_max > 0 && trouble->bytes >= health->limits.bytes_max;
    return spent(health, trouble, dear && health->successes > trouble->first);
}
