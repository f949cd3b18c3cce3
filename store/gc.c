/* gc: what the limits would take and why, and the guard before limits that take too much.
 *
 * The plan is made in a temporary table over one snapshot of the index, in the order in which
 * retain.c takes: ages, uploads, sizes of tiers, then quota and floor. It is what would go if
 * nothing else happened; retain.c decides again, blob by blob.
 *
 * The guard: a mistyped max_age must not empty a store before somebody looks. The limits that were
 * in force are remembered in state.db. Others are judged before they take anything: when they would
 * remove more than 1/STORE_GUARD_SHARE of the frames that are here they are held, until store_gc is
 * told to force them. Limits that were accepted once are not judged again: what ages while the
 * daemon is off is not a change of mind. Quota and floor are not held: a full disk does not wait.
 * Weighing reads every row, so it is the keeper's work; the limits wait for it.
 * Invariants: 1. Only the writer takes the guard to GUARD_WEIGHING, only the keeper's round takes
 * it from there. 2. Nothing is accepted in memory before it is accepted in state.db.
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/retain.h"
#include <stdlib.h>
#include <string.h>

#define GUARD_SPACE "gc"
#define GUARD_KEY   "limits"

enum {
    PLAN_AGE,
    PLAN_UPLOADED,
    PLAN_OLDEST,
    PLAN_ROOM,
    PLAN_TIER_BYTES,
    PLAN_BYTES,
    PLAN_FRAMES,
    PLAN_HERE,
    PLAN_ROWS,
    PLAN_ITEMS,
    PLAN_STATEMENTS,
};

#define GOING     "INSERT OR IGNORE INTO going (id, reason, tier, bytes, refs, kept) "
#define FREE_BLOB "tier = ?1 AND local = 1 AND owed = 0 AND pinned = 0 "

static const char *const plan_sql[PLAN_STATEMENTS] = {
    [PLAN_AGE] = GOING "SELECT id, 1, tier, bytes, refs, kept_utc FROM blob WHERE " FREE_BLOB
                       "AND kept_utc < ?2 AND kept_clock = 1",
    [PLAN_UPLOADED] = GOING "SELECT id, 2, tier, bytes, refs, kept_utc FROM blob WHERE " FREE_BLOB
                            "AND replicated = 1 AND uploaded_utc < ?2",
    [PLAN_OLDEST] =
        GOING "SELECT id, 3, tier, bytes, refs, kept_utc FROM (SELECT *, sum(bytes) OVER (ORDER BY"
              " kept_utc, id) - bytes AS before FROM blob WHERE " FREE_BLOB
              "AND id NOT IN (SELECT id FROM going)) WHERE before < ?2",
    [PLAN_ROOM] =
        GOING "SELECT id, 4, tier, bytes, refs, kept_utc FROM (SELECT *, sum(bytes) OVER (ORDER BY"
              " replicated DESC, value, kept_utc, id) - bytes AS before FROM blob WHERE local = 1"
              " AND pinned = 0 AND id NOT IN (SELECT id FROM going)) WHERE before < ?1",
    [PLAN_TIER_BYTES] = "SELECT coalesce(sum(bytes), 0) FROM going WHERE tier = ?",
    [PLAN_BYTES] = "SELECT coalesce(sum(bytes), 0) FROM going",
    [PLAN_FRAMES] = "SELECT coalesce(sum(refs), 0) FROM going",
    [PLAN_HERE] = "SELECT coalesce(sum(refs), 0) FROM blob WHERE local = 1",
    [PLAN_ROWS] = "SELECT tier, reason, sum(refs), count(*), sum(bytes), min(kept), max(kept) FROM"
                  " going GROUP BY tier, reason ORDER BY reason, tier LIMIT ?",
    [PLAN_ITEMS] = "SELECT (SELECT f.id FROM frame f WHERE f.blob = going.id ORDER BY f.seq DESC"
                   " LIMIT 1), tier, reason, bytes, kept FROM going WHERE refs > 0 ORDER BY reason,"
                   " kept, id LIMIT ?",
};

/* ---- the plan ---- */

static int plan_open(struct store *store, struct db *plan, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    int code = store__db_open(plan, store__file_path(&store->layout, "index.db", path), DB_READ,
                              plan_sql, PLAN_STATEMENTS, err);
    return code ? code
                : store__db_exec(plan,
                                 "CREATE TEMP TABLE going (id INTEGER PRIMARY KEY, reason, tier,"
                                 " bytes, refs, kept); BEGIN",
                                 err);
}

struct moment { /* as the writer thread sees it */
    bool ages;  /* count */
    int64_t now_us;
};

static int plan_tier(struct store *store, struct db *plan, int tier, const struct moment *moment,
                     struct err *err) {
    const struct store_tier_config *limits = &store->config.tiers[tier];
    bool ages = moment->ages;
    int64_t now = moment->now_us, going = 0;
    int code = 0;
    if (ages && limits->max_age_ms > 0) {
        code = store__db_run(plan, PLAN_AGE, err, "ni", tier, now - limits->max_age_ms * 1000);
    }
    if (!code && ages && limits->keep_after_upload_ms > 0) {
        code = store__db_run(plan, PLAN_UPLOADED, err, "ni", tier,
                             now - limits->keep_after_upload_ms * 1000);
    }
    code = code ? code : store__db_number(plan, PLAN_TIER_BYTES, &going, err, "n", tier);
    pthread_mutex_lock(&store->lock);
    uint64_t used = store->streams[tier].allocated;
    pthread_mutex_unlock(&store->lock);
    uint64_t stays = used > (uint64_t)going ? used - (uint64_t)going : 0;
    if (!code && limits->max_bytes && stays > limits->max_bytes) {
        code = store__db_run(plan, PLAN_OLDEST, err, "nu", tier, stays - limits->max_bytes);
    }
    return code;
}

static int plan_limits(struct store *store, struct db *plan, const struct moment *moment,
                       struct err *err) {
    int code = plan_open(store, plan, err);
    for (int tier = 0; !code && tier < TIER_COUNT; tier++) {
        code = plan_tier(store, plan, tier, moment, err);
    }
    return code;
}

static int plan_room(struct store *store, struct db *plan, struct err *err) {
    int64_t going = 0;
    uint64_t over = store__retain_excess(store, 0);
    int code = store__db_number(plan, PLAN_BYTES, &going, err, "");
    return code || over <= (uint64_t)going
               ? code
               : store__db_run(plan, PLAN_ROOM, err, "u", over - (uint64_t)going);
}

static int rows_read(struct db *plan, struct store_gc *out, struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(plan, PLAN_ROWS, &statement, err, "n", STORE_GC_ROWS_MAX);
    while (!code && !(code = store__db_step(plan, statement, err))) {
        struct store_gc_row *row = &out->rows[out->row_count++];
        int tier = 0, reason = 0;
        store__db_columns(statement, "nnuuuii", &tier, &reason, &row->frames, &row->blobs,
                          &row->bytes, &row->oldest_us, &row->newest_us);
        row->tier = (enum frame_tier)tier;
        row->reason = (enum store_gc_reason)reason;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int items_read(struct db *plan, struct store_gc *out, struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(plan, PLAN_ITEMS, &statement, err, "n", STORE_GC_ITEMS_MAX);
    while (!code && !(code = store__db_step(plan, statement, err))) {
        struct store_gc_item *item = &out->items[out->item_count];
        int tier = 0, reason = 0;
        if (store__db_columns(statement, "bnnui", item->id.bytes, sizeof(item->id.bytes), &tier,
                              &reason, &item->bytes, &item->kept_utc_us)) {
            item->tier = (enum frame_tier)tier;
            item->reason = (enum store_gc_reason)reason;
            out->item_count++;
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int plan_read(struct store *store, const struct moment *moment, struct store_gc *out,
                     struct err *err) {
    struct db plan = {0};
    int64_t here = 0;
    int code = plan_limits(store, &plan, moment, err);
    code = code ? code : plan_room(store, &plan, err);
    code = code ? code : store__db_number(&plan, PLAN_HERE, &here, err, "");
    code = code ? code : rows_read(&plan, out, err);
    code = code ? code : items_read(&plan, out, err);
    out->here = (uint64_t)here;
    store__db_close(&plan);
    return code;
}

/* ---- the guard ---- */

struct limits { /* as in state.db; both ends are this machine */
    int64_t values[3 * TIER_COUNT];
};

/* false: there is none, so nothing to guard. */
static bool limits_of(const struct store *store, struct limits *out) {
    bool any = false;
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        const struct store_tier_config *config = &store->config.tiers[tier];
        int64_t *values = &out->values[3 * tier];
        values[0] = config->max_age_ms > 0 ? config->max_age_ms : 0;
        values[1] = (int64_t)config->max_bytes;
        values[2] = config->keep_after_upload_ms > 0 ? config->keep_after_upload_ms : 0;
        any = any || values[0] || values[1] || values[2];
    }
    return any;
}

static bool limits_need_clock(const struct limits *limits) {
    bool need = false;
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        need = need || limits->values[3 * tier] || limits->values[3 * tier + 2];
    }
    return need;
}

static void guard_set(struct store *store, enum guard guard, int64_t going, int64_t here) {
    atomic_store(&store->guard, guard);
    pthread_mutex_lock(&store->lock);
    store->stats.limits_held = guard == GUARD_HELD;
    store->stats.limits_held_frames = (uint64_t)going;
    store->stats.limits_held_of = (uint64_t)here;
    store->upkeep_wanted = guard == GUARD_OPEN;
    pthread_cond_broadcast(&store->queue_grew);
    pthread_mutex_unlock(&store->lock);
}

static int guard_accept(struct store *store, const struct limits *limits, struct err *err) {
    int code = store_state_put(store, GUARD_SPACE, GUARD_KEY, strlen(GUARD_KEY), limits,
                               sizeof(*limits), err);
    if (!code) {
        guard_set(store, GUARD_OPEN, 0, 0);
    }
    return code;
}

static int weigh(struct store *store, int64_t *going, int64_t *here, struct err *err) {
    const struct moment moment = {true, store->guard_now_us};
    struct db plan = {0};
    int code = plan_limits(store, &plan, &moment, err);
    code = code ? code : store__db_number(&plan, PLAN_FRAMES, going, err, "");
    code = code ? code : store__db_number(&plan, PLAN_HERE, here, err, "");
    store__db_close(&plan);
    return code;
}

void store__guard_weigh(struct store *store) {
    struct limits limits;
    struct err err = {0};
    int64_t going = 0, here = 0;
    if (atomic_load(&store->guard) != GUARD_WEIGHING || !limits_of(store, &limits)) {
        return;
    }
    int code = weigh(store, &going, &here, &err);
    if (!code && going > here / STORE_GUARD_SHARE) {
        guard_set(store, GUARD_HELD, going, here);
    } else if (!code) {
        code = guard_accept(store, &limits, &err);
    }
    if (code) {
        store__error_note(store, &err);
        guard_set(store, GUARD_UNKNOWN, 0, 0);
    }
}

int store__guard_judge(struct store *store, struct err *err) {
    struct limits limits, accepted;
    size_t size = 0;
    if (!limits_of(store, &limits) || store->bare) {
        guard_set(store, GUARD_OPEN, 0, 0);
        return 0;
    }
    int code = store_state_get(store, GUARD_SPACE, GUARD_KEY, strlen(GUARD_KEY), &accepted,
                               sizeof(accepted), &size, err);
    if (code && code != ERR_NOT_FOUND && code != ERR_FULL) {
        return code;
    }
    if (!code && size == sizeof(accepted) && memcmp(&accepted, &limits, sizeof(limits)) == 0) {
        guard_set(store, GUARD_OPEN, 0, 0);
        return 0;
    }
    if (store->began_empty) {
        return guard_accept(store, &limits, err);
    }
    bool ages = false;
    code = store__clock_ages(store, &ages, err);
    if (code || (limits_need_clock(&limits) && !ages)) {
        return code; /* ages mean nothing yet */
    }
    store->guard_now_us = store__clock_utc_us(&store->writer);
    atomic_store(&store->guard, GUARD_WEIGHING);
    store__keeper_call(store);
    return 0;
}

/* ---- gc ---- */

struct run {
    bool force, more;
};

static int gc_run(struct store *store, void *arg, struct err *err) {
    struct run *run = arg;
    struct limits limits;
    int code = 0;
    if (run->force && atomic_load(&store->guard) != GUARD_OPEN && limits_of(store, &limits)) {
        code = guard_accept(store, &limits, err);
    }
    return code ? code : store__retain_slice(store, &run->more, err);
}

static int judge_run(struct store *store, void *arg, struct err *err) {
    struct moment *moment = arg;
    int code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    code = code ? code : store__clock_ages(store, &moment->ages, err);
    moment->now_us = store__clock_utc_us(&store->writer);
    return code || atomic_load(&store->guard) != GUARD_UNKNOWN ? code
                                                               : store__guard_judge(store, err);
}

int store_gc(struct store *store, bool dry_run, bool force, struct store_gc *out, struct err *err) {
    struct store_stats before, after;
    memset(out, 0, sizeof(*out));
    store_stats_get(store, &before);
    int code = store_flush(store, err);
    struct moment moment = {0};
    code = code ? code : store__writer_call(store, judge_run, &moment, err);
    store__keeper_now(store);
    code = code ? code : plan_read(store, &moment, out, err);
    struct run run = {.force = force, .more = !dry_run};
    while (!code && run.more) {
        code = store__writer_call(store, gc_run, &run, err);
    }
    if (!code) {
        store_stats_get(store, &after);
        out->held = after.limits_held;
        out->removed_frames = after.evicted_frames - before.evicted_frames;
        out->removed_bytes = after.evicted_bytes - before.evicted_bytes;
    }
    return code;
}
