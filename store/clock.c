/* clock: frames that were kept before the clock was right, and how their time is mended.
 *
 * Every boot has one number that is wanted: UTC minus boot time. It is known when the kernel says
 * that the clock is synchronised, or when a frame with a synchronised stamp of that boot comes.
 * Until then frames are kept with what the clock said and are not queued (index: outbox rows held);
 * a CLOCK record then mends them all at once. Frames of a boot that ended without ever being
 * synchronised cannot be mended: once a later boot is synchronised they are let go with the time
 * they have, rather than kept from the cloud for ever.
 */
#include "daemon/base/clock.h"
#include "store/store_impl.h"
#include <string.h>

static bool same_boot(const uint8_t *a, const uint8_t *b) {
    return memcmp(a, b, 16) == 0;
}

static void evidence_note(struct writer *writer, const struct clock_stamp *stamp) {
    if (stamp->state != CLOCK_SYNCHRONISED) {
        return;
    }
    writer->evidence.known = true;
    memcpy(writer->evidence.boot_id, stamp->boot_id, sizeof(stamp->boot_id));
    writer->evidence.offset_us = stamp->utc_us - stamp->boot_us;
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

void store__clock_stamp(struct writer *writer, struct record_frame *kept) {
    struct clock_stamp now, *captured = &kept->frame.captured;
    clock_stamp_now(&now);
    evidence_note(writer, captured);
    evidence_note(writer, &now);
    if (captured->state != CLOCK_SYNCHRONISED && evidence_for(writer, captured->boot_id)) {
        captured->utc_us = captured->boot_us + writer->evidence.offset_us;
        captured->state = CLOCK_SYNCHRONISED;
    }
    kept->kept_utc_us = now.utc_us;
    kept->kept_boot_us = now.boot_us;
    kept->kept_state = now.state;
    if (now.state != CLOCK_SYNCHRONISED && evidence_for(writer, now.boot_id)) {
        kept->kept_utc_us = now.boot_us + writer->evidence.offset_us;
        kept->kept_state = CLOCK_SYNCHRONISED;
    } else if (captured->state == CLOCK_SYNCHRONISED) {
        kept->kept_state = CLOCK_SYNCHRONISED;
    }
    if (kept->kept_state != CLOCK_SYNCHRONISED) {
        held_note(writer, captured->boot_id);
    }
}

bool store__clock_trusted(const struct writer *writer) {
    struct clock_stamp now;
    clock_stamp_now(&now);
    return now.state == CLOCK_SYNCHRONISED || evidence_for(writer, now.boot_id);
}

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
