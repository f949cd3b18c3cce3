/* clock: frames that were kept before the clock was right, how their time is mended, and which time
 * the ages of frames are counted in.
 *
 * Every boot has one number that is wanted: UTC minus boot time. It is known when the kernel says
 * that the clock is synchronised, or when a frame with a synchronised stamp of that boot comes.
 * Until then frames are kept with what the clock said and are not queued (index: outbox rows held);
 * a CLOCK record then mends them all at once. Frames of a boot that ended without ever being
 * synchronised cannot be mended: once a later boot is synchronised they are let go with the time
 * they have, rather than kept from the cloud for ever.
 *
 * A clock that is called synchronised can be wrong too (a bad NTP server, a hand, a dead battery
 * behind a proud kernel). Boot time cannot jump, so:
 *   1. The offset of a boot stays the first one that was plausible. Another one is adopted after it
 * has stood for CLOCK_REST_US. Until then frames get the time that the old one gives, and ages are
 * counted in it: a jump and its way back leave no trace.
 *   2. The time at which ages were counted last is remembered in state.db. A start before it, or
 * CLOCK_GAP_US after it, is not plausible: ages rest for CLOCK_REST_US of boot time. A device that
 * was off for so long removes nothing on its first day, which costs nothing.
 * Rejected: to hold frames back while the offset is in doubt. Whoever sets a clock by hand would
 * wait a day for uploads.
 */
#include "daemon/base/clock.h"
#include "store/store_impl.h"
#include <string.h>

#define CLOCK_STEP_US      (300 * INT64_C(1000000))       /* two offsets so near are the same */
#define CLOCK_GAP_US       (7 * 86400 * INT64_C(1000000)) /* a device may be off for so long */
#define CLOCK_REST_US      (86400 * INT64_C(1000000))     /* of boot time */
#define CLOCK_SEEN_EACH_US (3600 * INT64_C(1000000))

static bool same_boot(const uint8_t *a, const uint8_t *b) {
    return memcmp(a, b, 16) == 0;
}

static int64_t apart(int64_t a, int64_t b) {
    return a < b ? b - a : a - b;
}

/* Could it be this time, after what was seen last? */
static bool is_plausible(const struct writer *writer, int64_t utc_us) {
    return !writer->seen_utc_us || (utc_us >= writer->seen_utc_us - CLOCK_STEP_US &&
                                    utc_us <= writer->seen_utc_us + CLOCK_GAP_US);
}

/* Is the stamp's offset to take the place of the one that is known? */
static bool is_better(struct writer *writer, const struct clock_stamp *stamp) {
    struct clock_evidence *evidence = &writer->evidence;
    int64_t offset = stamp->utc_us - stamp->boot_us;
    if (!evidence->known || !same_boot(evidence->boot_id, stamp->boot_id) ||
        apart(offset, evidence->offset_us) <= CLOCK_STEP_US) {
        evidence->doubted = false;
        return true;
    }
    if (is_plausible(writer, stamp->utc_us) &&
        !is_plausible(writer, stamp->boot_us + evidence->offset_us)) {
        return true;
    }
    if (!evidence->doubted || apart(offset, evidence->other_us) > CLOCK_STEP_US) {
        evidence->doubted = true;
        evidence->other_us = offset;
        evidence->other_boot_us = stamp->boot_us;
    }
    return stamp->boot_us - evidence->other_boot_us >= CLOCK_REST_US;
}

static void evidence_note(struct writer *writer, const struct clock_stamp *stamp) {
    if (stamp->state == CLOCK_SYNCHRONISED && is_better(writer, stamp)) {
        writer->evidence =
            (struct clock_evidence){.known = true, .offset_us = stamp->utc_us - stamp->boot_us};
        memcpy(writer->evidence.boot_id, stamp->boot_id, sizeof(stamp->boot_id));
    }
}

static bool evidence_for(const struct writer *writer, const uint8_t *boot_id) {
    return writer->evidence.known && same_boot(writer->evidence.boot_id, boot_id);
}

static void held_note(struct writer *writer, const uint8_t *boot_id) {
    for (size_t i = 0; i < writer->held_count; i++) {
        if (same_boot(writer->held[i].boot_id, boot_id)) {
            return;
        }
    }
    if (writer->held_count < STORE_HELD_BOOTS_MAX) {
        memcpy(writer->held[writer->held_count++].boot_id, boot_id, 16);
    } else {
        writer->held_loaded = false; /* the index knows them all: ask it again after a repair */
    }
}

/* The time of a stamp as its boot's evidence has it. */
static void stamp_mend(const struct writer *writer, struct clock_stamp *stamp) {
    if (!evidence_for(writer, stamp->boot_id)) {
        return;
    }
    int64_t utc_us = stamp->boot_us + writer->evidence.offset_us;
    if (stamp->state != CLOCK_SYNCHRONISED || apart(utc_us, stamp->utc_us) > CLOCK_STEP_US) {
        stamp->utc_us = utc_us;
    }
    stamp->state = CLOCK_SYNCHRONISED;
}

void store__clock_stamp(struct writer *writer, struct record_frame *kept) {
    struct clock_stamp now, *captured = &kept->frame.captured;
    clock_stamp_now(&now);
    evidence_note(writer, captured);
    evidence_note(writer, &now);
    stamp_mend(writer, captured);
    stamp_mend(writer, &now);
    kept->kept_utc_us = now.utc_us;
    kept->kept_boot_us = now.boot_us;
    kept->kept_state = captured->state == CLOCK_SYNCHRONISED ? CLOCK_SYNCHRONISED : now.state;
    if (kept->kept_state != CLOCK_SYNCHRONISED) {
        held_note(writer, captured->boot_id);
    }
}

bool store__clock_trusted(const struct writer *writer) {
    struct clock_stamp now;
    clock_stamp_now(&now);
    return now.state == CLOCK_SYNCHRONISED || evidence_for(writer, now.boot_id);
}

int64_t store__clock_utc_us(const struct writer *writer) {
    struct clock_stamp now;
    clock_stamp_now(&now);
    stamp_mend(writer, &now);
    return now.utc_us;
}

/* ---- ages ---- */

#define SEEN_SPACE "clock"
#define SEEN_KEY   "seen"

static int seen_load(struct store *store, struct err *err) {
    size_t size = 0;
    int64_t seen = 0;
    int code = store_state_get(store, SEEN_SPACE, SEEN_KEY, strlen(SEEN_KEY), &seen, sizeof(seen),
                               &size, err);
    if (code && code != ERR_NOT_FOUND) {
        return code;
    }
    store->writer.seen_utc_us = !code && size == sizeof(seen) ? seen : 0;
    store->writer.seen_loaded = true;
    return 0;
}

static int seen_put(struct store *store, int64_t now, struct err *err) {
    struct writer *writer = &store->writer;
    if (apart(now, writer->seen_utc_us) < CLOCK_SEEN_EACH_US) {
        return 0;
    }
    int code =
        store_state_put(store, SEEN_SPACE, SEEN_KEY, strlen(SEEN_KEY), &now, sizeof(now), err);
    writer->seen_utc_us = code ? writer->seen_utc_us : now;
    return code;
}

static void rest_note(struct store *store, bool rest) {
    pthread_mutex_lock(&store->lock);
    store->stats.ages_rest = rest;
    pthread_mutex_unlock(&store->lock);
}

int store__clock_ages(struct store *store, bool *count, struct err *err) {
    struct writer *writer = &store->writer;
    struct clock_stamp now;
    *count = false;
    int code = writer->seen_loaded || store->bare ? 0 : seen_load(store, err);
    clock_stamp_now(&now);
    evidence_note(writer, &now);
    if (code || !store__clock_trusted(writer)) {
        return code;
    }
    stamp_mend(writer, &now);
    if (is_plausible(writer, now.utc_us)) {
        writer->rest_boot_us = 0;
    } else if (!writer->rest_boot_us) {
        writer->rest_boot_us = now.boot_us;
    }
    *count = !writer->rest_boot_us || now.boot_us - writer->rest_boot_us >= CLOCK_REST_US;
    rest_note(store, !*count);
    return *count && !store->bare ? seen_put(store, now.utc_us, err) : 0;
}

/* ---- repairs ---- */

/* What can be said now about a boot whose frames wait; false: nothing yet. */
static bool repair_for(const struct writer *writer, const struct clock_stamp *now,
                       const uint8_t *boot_id, struct record *out) {
    bool mend = evidence_for(writer, boot_id);
    bool past = !same_boot(boot_id, now->boot_id) && evidence_for(writer, now->boot_id);
    *out = (struct record){.kind = RECORD_CLOCK,
                           .clock = {.repair = mend ? CLOCK_REPAIR_OFFSET : CLOCK_REPAIR_GIVE_UP,
                                     .offset_us = mend ? writer->evidence.offset_us : 0}};
    memcpy(out->clock.boot_id, boot_id, 16);
    return mend || past;
}

void store__clock_repair(struct store *store) {
    struct writer *writer = &store->writer;
    struct record repairs[STORE_HELD_BOOTS_MAX];
    struct held_boot still[STORE_HELD_BOOTS_MAX];
    size_t count = 0, still_count = 0;
    struct clock_stamp now;
    if (!writer->held_count) {
        return;
    }
    clock_stamp_now(&now);
    evidence_note(writer, &now);
    for (size_t i = 0; i < writer->held_count; i++) {
        if (repair_for(writer, &now, writer->held[i].boot_id, &repairs[count])) {
            count++;
        } else {
            still[still_count++] = writer->held[i];
        }
    }
    struct err err = {0};
    if (!count) {
        return;
    }
    if (store__group_meta(store, repairs, count, &err)) {
        store__error_note(store, &err); /* the next upkeep tries again */
        return;
    }
    memcpy(writer->held, still, sizeof(still[0]) * still_count);
    writer->held_count = still_count;
}
