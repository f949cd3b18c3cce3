#include "store/hold.h"
#include "daemon/base/clock.h"
#include <string.h>

void store__holds_init(struct holds *holds) {
    holds->count = 0;
    holds->ended = false;
    pthread_mutex_init(&holds->lock, NULL);
}

void store__holds_finish(struct holds *holds) {
    pthread_mutex_destroy(&holds->lock);
}

static void drop_passed(struct holds *holds) {
    int64_t now = clock_boot_us();
    size_t kept = 0;
    for (size_t i = 0; i < holds->count; i++) {
        if (holds->items[i].until_boot_us > now) {
            holds->items[kept++] = holds->items[i];
        }
    }
    holds->count = kept;
}

void store__holds_add(struct holds *holds, enum frame_tier tier, const struct frame_hash *sha,
                      int64_t until_boot_us) {
    pthread_mutex_lock(&holds->lock);
    drop_passed(holds);
    if (!holds->ended && holds->count < HOLDS_MAX && until_boot_us > clock_boot_us()) {
        size_t at = holds->count++;
        holds->items[at].tier = tier;
        holds->items[at].sha = *sha;
        holds->items[at].until_boot_us = until_boot_us;
    }
    pthread_mutex_unlock(&holds->lock);
}

void store__holds_end(struct holds *holds) {
    pthread_mutex_lock(&holds->lock);
    holds->ended = true;
    holds->count = 0;
    pthread_mutex_unlock(&holds->lock);
}

int64_t store__holds_until(struct holds *holds, enum frame_tier tier,
                           const struct frame_hash *sha) {
    int64_t until = 0;
    pthread_mutex_lock(&holds->lock);
    drop_passed(holds);
    for (size_t i = 0; i < holds->count; i++) {
        if (holds->items[i].tier == tier && memcmp(&holds->items[i].sha, sha, sizeof(*sha)) == 0 &&
            holds->items[i].until_boot_us > until) {
            until = holds->items[i].until_boot_us;
        }
    }
    pthread_mutex_unlock(&holds->lock);
    return until;
}
