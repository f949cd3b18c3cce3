/* tally: see tally.h. */
#include "store/tally.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "store/state.h"
#include "store/store_impl.h"
#include <stdio.h>
#include <string.h>

#define MINUTE_US INT64_C(60000000)
#define HOUR      60 /* minutes */

void store__tally_init(struct tally *tally) {
    *tally = (struct tally){0};
    pthread_mutex_init(&tally->lock, NULL);
}

void store__tally_finish(struct tally *tally) {
    pthread_mutex_destroy(&tally->lock);
}

static bool is_free(const struct tally_slot *slot) {
    return !slot->kept && !slot->over_budget && !slot->rejected;
}

/* Its slot, by linear probing; `others` when there is none left. */
static struct tally_slot *slot_for(struct tally *tally, int64_t minute, const char *camera,
                                   const char *rule) {
    size_t start = hash_crc32(camera, strlen(camera)) ^ hash_crc32(rule, strlen(rule)) * 31u ^
                   (size_t)minute * 7u;
    for (size_t i = 0; i < TALLY_SLOTS; i++) {
        struct tally_slot *slot = &tally->slots[(start + i) % TALLY_SLOTS];
        if (is_free(slot)) {
            slot->minute = minute;
            snprintf(slot->camera, sizeof(slot->camera), "%s", camera);
            snprintf(slot->rule, sizeof(slot->rule), "%s", rule);
            return slot;
        }
        if (slot->minute == minute && strcmp(slot->camera, camera) == 0 &&
            strcmp(slot->rule, rule) == 0) {
            return slot;
        }
    }
    tally->others.minute = minute;
    return &tally->others;
}

static void slot_add(struct tally_slot *slot, const struct tally_slot *more) {
    slot->kept += more->kept;
    slot->over_budget += more->over_budget;
    slot->rejected += more->rejected;
}

void store__tally_note(struct tally *tally, const struct store_outcome *outcome) {
    const struct frame_record *frame = &outcome->record;
    const struct tally_slot one = {.kept = outcome->kept,
                                   .over_budget = !outcome->kept && outcome->over_budget,
                                   .rejected = !outcome->kept && !outcome->over_budget};
    bool timed = frame->captured.state == CLOCK_SYNCHRONISED;
    int64_t minute = timed ? frame->captured.utc_us / MINUTE_US : 0;
    pthread_mutex_lock(&tally->lock);
    slot_add(slot_for(tally, minute, frame->camera, frame->rule), &one);
    pthread_mutex_unlock(&tally->lock);
}

/* ---- state.db ---- */

static int slot_put(struct db *state, const struct tally_slot *slot, int span, struct err *err) {
    return store__db_run(state, STATE_TALLY_ADD, err, "nittuuu", span, slot->minute / span * span,
                         slot->camera, slot->rule, slot->kept, slot->over_budget, slot->rejected);
}

static int slots_put(struct db *state, const struct tally *taken, struct err *err) {
    int64_t now = clock_utc_us();
    int code = store__db_exec(state, "BEGIN IMMEDIATE", err);
    if (code) {
        return code;
    }
    for (size_t i = 0; !code && i <= TALLY_SLOTS; i++) {
        const struct tally_slot *slot = i < TALLY_SLOTS ? &taken->slots[i] : &taken->others;
        if (!is_free(slot)) {
            code = slot_put(state, slot, 1, err);
            code = code ? code : slot_put(state, slot, HOUR, err);
        }
    }
    code = code ? code
                : store__db_run(state, STATE_TALLY_DROP, err, "ni", 1,
                                (now - TALLY_MINUTES_US) / MINUTE_US);
    code = code ? code
                : store__db_run(state, STATE_TALLY_DROP, err, "ni", HOUR,
                                (now - TALLY_HOURS_US) / MINUTE_US);
    code = code ? code : store__db_exec(state, "COMMIT", err);
    if (code) {
        store__db_exec(state, "ROLLBACK", NULL);
    }
    return code;
}

/* Moves all that is noted from one to the other. */
static bool slots_move(struct tally *from, struct tally *to) {
    bool any = false;
    for (size_t i = 0; i <= TALLY_SLOTS; i++) {
        struct tally_slot *slot = i < TALLY_SLOTS ? &from->slots[i] : &from->others;
        if (!is_free(slot)) {
            slot_add(i < TALLY_SLOTS ? slot_for(to, slot->minute, slot->camera, slot->rule)
                                     : &to->others,
                     slot);
            to->others.minute = i < TALLY_SLOTS ? to->others.minute : slot->minute;
            *slot = (struct tally_slot){0};
            any = true;
        }
    }
    return any;
}

void store__tally_flush(struct store *store, bool now) {
    struct tally *tally = &store->tally, taken = {0};
    struct err err = {0};
    int64_t boot = clock_boot_us();
    if (!store->state.handle || (!now && boot < tally->flush_boot_us)) {
        return;
    }
    tally->flush_boot_us = boot + TALLY_EACH_US;
    pthread_mutex_lock(&tally->lock);
    bool any = slots_move(tally, &taken);
    pthread_mutex_unlock(&tally->lock);
    if (!any) {
        return;
    }
    pthread_mutex_lock(&store->state_lock);
    int code = slots_put(&store->state, &taken, &err);
    pthread_mutex_unlock(&store->state_lock);
    if (code) {
        store__error_note(store, &err);
        pthread_mutex_lock(&tally->lock);
        slots_move(&taken, tally);
        pthread_mutex_unlock(&tally->lock);
    }
}

/* ---- reading ---- */

int store_tally_read(struct store *store, enum store_span span, int64_t from_us, int64_t to_us,
                     store_tally_fn *each, void *ctx, struct err *err) {
    sqlite3_stmt *statement;
    bool enough = false;
    pthread_mutex_lock(&store->state_lock);
    int code = store__db_bind(&store->state, STATE_TALLY_GET, &statement, err, "nii", (int)span,
                              from_us / MINUTE_US, to_us / MINUTE_US);
    while (!code && !enough && !(code = store__db_step(&store->state, statement, err))) {
        struct store_tally row = {0};
        store__db_columns(statement, "ittuuu", &row.utc_us, row.camera, sizeof(row.camera),
                          row.rule, sizeof(row.rule), &row.kept, &row.over_budget, &row.rejected);
        row.utc_us *= MINUTE_US;
        enough = !each(ctx, &row);
    }
    if (enough) {
        sqlite3_reset(statement);
    }
    pthread_mutex_unlock(&store->state_lock);
    return code == ERR_NOT_FOUND ? 0 : code;
}
