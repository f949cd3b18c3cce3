/* retain: what leaves the store, and in which order. The writer thread runs it between groups.
 *
 * Order of every removal: tombstone durable in the meta log -> applied to the index (readers now
 * say "gone") -> payload punched, or the file unlinked. A crash anywhere leaves either a blob that
 * is still there, or one that is buried and whose space the table `reclaim` remembers.
 *
 * Invariants:
 *   1. Nothing is chosen while the index is behind what could make a blob stay: what it says about
 * owed, pinned and local is true.
 *   2. Age, keep-after-upload and tier sizes take only what is neither owed nor pinned, and ages
 * count only while the clock is trusted.
 *   3. Quota and floor take replicated blobs first (nothing is lost), then the least valuable, the
 * oldest among equals, never a pinned one, and never one worth more than the frame that wants the
 * room: that one is refused.
 *   4. A step removes at most STORE_VICTIMS_MAX blobs; a slice of upkeep begins no step after half
 * of SLICE_US, and steps are sized to fit in the other half.
 *   5. A limit of a tier takes nothing before the guard (gc.c) has looked at it.
 * Frame records stay in their segment when the payloads are punched: they are the history that the
 * gallery shows. A file in which nothing is alive goes as a whole when history takes more than
 * 1/HISTORY_SHARE of the quota, is past its age, or when nothing else is left to take. Where few
 * are left in a file, or nothing can be punched, forward.c copies them out of it first.
 */
#include "store/retain.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HISTORY_SHARE   16
#define THUMBS_SHARE    32
#define RESERVE_SHARE   128
#define ROOM_STEPS_MAX  4096 /* of one admission: a bound, far beyond what it needs */
#define OVERSTEP_SHARE  16   /* of the quota, while nothing can be chosen */
#define ROOM_SLACK      16 /* a step frees at least 1/ROOM_SLACK of a segment more than was asked */
#define INDEX_SLICE_MS  5  /* for upkeep: another time, then */
#define SLICE_US        14000 /* of upkeep, between two groups; one fdatasync may come on top */
#define VICTIMS_MIN     8
#define LOOK_ROWS       256
#define HISTORY_EACH_US (3600 * INT64_C(1000000))
#define VALUE_ABOVE_ALL 2.0 /* values lie in [0, 1] */

#define FREE_BLOB       "FROM blob WHERE tier = ? AND local = 1 AND owed = 0 AND pinned = 0 "

static const char *const lookup_sql[LOOKUP_COUNT] = {
    [LOOKUP_LOCAL] = "SELECT 1 FROM blob WHERE tier = ? AND sha = ? AND local = 1",
    [LOOKUP_AGE] = "SELECT tier, sha, bytes, refs " FREE_BLOB
                   "AND kept_utc < ? AND kept_clock = 1 ORDER BY kept_utc LIMIT ?",
    [LOOKUP_UPLOADED] = "SELECT tier, sha, bytes, refs " FREE_BLOB
                        "AND replicated = 1 AND uploaded_utc < ? ORDER BY uploaded_utc LIMIT ?",
    [LOOKUP_OLDEST] = "SELECT tier, sha, bytes, refs " FREE_BLOB "ORDER BY kept_utc LIMIT ?",
    [LOOKUP_REPLICATED] = "SELECT tier, sha, bytes, refs FROM blob WHERE local = 1 AND pinned = 0"
                          " AND replicated = 1 ORDER BY value, kept_utc LIMIT ?",
    [LOOKUP_VALUE] = "SELECT tier, sha, bytes, refs FROM blob WHERE local = 1 AND pinned = 0 AND"
                     " replicated = 0 AND value <= ? ORDER BY value, kept_utc LIMIT ?",
    [LOOKUP_DEAD] =
        "SELECT number, stream, newest FROM segment WHERE live = 0 AND number NOT IN (?, ?) AND "
        "stream < 2"
        " AND newest < ? AND NOT EXISTS (SELECT 1 FROM frame JOIN blob ON blob.id = frame.blob "
        "WHERE frame.segment ="
        " segment.number AND (blob.local = 1 OR frame.pinned = 1)) ORDER BY newest LIMIT 1",
    [LOOKUP_RECLAIM] =
        "SELECT id, stream, segment, at, bytes FROM reclaim WHERE id > ? ORDER BY id LIMIT ?",
    [LOOKUP_FRAME] =
        "SELECT b.tier, b.sha, b.bytes, b.refs, b.local, b.owed, b.pinned, f.pinned FROM"
        " frame f JOIN blob b ON b.id = f.blob WHERE f.id = ?",
    [LOOKUP_PINNED_BYTES] =
        "SELECT coalesce(sum(bytes), 0) FROM blob WHERE local = 1 AND pinned > 0",
    [LOOKUP_PINNED_FRAMES] = "SELECT f.id FROM blob b CROSS JOIN frame f ON f.blob = b.id WHERE"
                             " b.tier = ? AND b.sha = ? AND f.pinned = 1 LIMIT ?",
    [LOOKUP_BLOB] = "SELECT id FROM blob WHERE tier = ? AND sha = ?",
    [LOOKUP_WORDS] = "SELECT f.pinned, f.pinned_utc, f.label_state, coalesce(l.utc, 0) FROM frame f"
                     " LEFT JOIN label l ON l.seq = f.seq WHERE f.id = ?",
    [LOOKUP_META_POSITION] = "SELECT segment FROM position WHERE stream = 2",
    [LOOKUP_UNLINKS] = "SELECT count(*) FROM reclaim WHERE bytes = 0",
    [LOOKUP_SEGMENTS] = "SELECT number, stream, live_bytes + record_bytes, record_bytes, live,"
                        " frames, newest FROM segment ORDER BY number",
    [LOOKUP_PLACE] = "SELECT id, local, segment, at FROM blob WHERE tier = ? AND sha = ?",
    [LOOKUP_STANDING] =
        "SELECT f.seq, f.segment, f.at, f.utc, f.clock, f.pinned, f.pinned_utc, f.label_state, "
        "b.id,"
        " b.sha, b.local, b.kept_utc, b.kept_clock, b.gone_reason, b.gone_utc FROM frame f JOIN"
        " blob b ON b.id = f.blob WHERE f.id = ?",
    [LOOKUP_STAYS] =
        "SELECT (SELECT live FROM segment WHERE number = ?1) + (SELECT count(*) FROM frame f JOIN"
        " blob b ON b.id = f.blob WHERE f.segment = ?1 AND (b.local = 1 OR f.pinned = 1))",
    [LOOKUP_SURVIVORS] =
        "SELECT DISTINCT b.id, b.sha FROM frame f JOIN blob b ON b.id = f.blob WHERE f.segment = ?1"
        " AND b.receipts > 0 AND b.refs > 1 AND EXISTS (SELECT 1 FROM frame o WHERE o.blob = b.id"
        " AND o.segment <> ?1)",
    [LOOKUP_RECEIPTS] = "SELECT remote.identity, r.kind, r.key, r.etag, r.utc FROM receipt r JOIN"
                        " remote ON remote.id = r.remote WHERE r.blob = ?",
    [LOOKUP_QUARANTINES] = "SELECT remote.identity, o.reason FROM outbox o JOIN remote ON"
                           " remote.id = o.remote WHERE o.blob = ? AND o.state = 1",
    [LOOKUP_UNDUE] = "SELECT identity FROM remote WHERE active = 1 AND NOT EXISTS (SELECT 1 FROM"
                     " outbox o WHERE o.blob = ?1 AND o.remote = remote.id) AND NOT EXISTS (SELECT"
                     " 1 FROM receipt r WHERE r.blob = ?1 AND r.remote = remote.id)",
    [LOOKUP_WITHDRAWN] = "SELECT remote.identity, w.action, w.utc FROM withdrawn w JOIN remote ON"
                         " remote.id = w.remote WHERE w.blob = ?",
    [LOOKUP_LABEL] = "SELECT state, utc, class, note, who FROM label WHERE seq = ?",
    [LOOKUP_HELD] = "SELECT DISTINCT boot_id FROM blob WHERE kept_clock = 0 LIMIT ?",
};

/* ---- asking the index ---- */

int store__retain_lookup(struct store *store, struct err *err) {
    struct writer *writer = &store->writer;
    unsigned generation = atomic_load(&store->index_generation);
    if (writer->lookup.handle && writer->lookup_generation == generation) {
        return 0;
    }
    if (generation & 1) {
        return store__index_behind(store, err);
    }
    char path[LAYOUT_PATH_MAX];
    store__db_close(&writer->lookup);
    writer->lookup_generation = generation;
    writer->reclaimed = false; /* a new index holds all that was ever buried */
    writer->reclaimed_id = 0;
    return store__db_open(&writer->lookup, store__file_path(&store->layout, "index.db", path),
                          DB_READ, lookup_sql, LOOKUP_COUNT, err);
}

bool store__retain_has(struct store *store, unsigned tier, const struct frame_hash *sha) {
    int64_t found;
    return !store__retain_lookup(store, NULL) &&
           !store__db_number(&store->writer.lookup, LOOKUP_LOCAL, &found, NULL, "nb", (int)tier,
                             sha->bytes, sizeof(sha->bytes));
}

int store__retain_ready(struct store *store, int wait_ms, struct err *err) {
    pthread_mutex_lock(&store->lock);
    uint64_t written = store->written_lsn;
    pthread_mutex_unlock(&store->lock);
    if (!store__index_whole(store) || !store__indexer_wait(store, written, wait_ms)) {
        return store__index_behind(store, err);
    }
    return store__retain_lookup(store, err);
}

/* ---- measures ---- */

static uint64_t file_bytes(const struct layout *layout, const char *name) {
    char path[LAYOUT_PATH_MAX];
    struct stat info;
    return stat(store__file_path(layout, name, path), &info) < 0 ? 0
                                                                 : (uint64_t)info.st_blocks * 512;
}

void store__disk_measure(struct store *store) {
    static const char *const names[] = {"index.db",         "index.db-wal",         "index.db-shm",
                                        "index.db.damaged", "index.db.damaged-wal", RESERVE_NAME,
                                        RING_NAME};
    uint64_t bytes = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        bytes += file_bytes(&store->layout, names[i]);
    }
    pthread_mutex_lock(&store->lock);
    bytes += store->compact_wants;
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        bytes += store->streams[stream].allocated;
    }
    store->disk_bytes = bytes;
    pthread_mutex_unlock(&store->lock);
}

static uint64_t quota_excess(struct store *store, uint64_t more) {
    store__disk_measure(store);
    bool over = store->quota && store->disk_bytes + more > store->quota;
    return over ? store->disk_bytes + more - store->quota : 0;
}

static uint64_t floor_missing(const struct store *store, uint64_t floor, uint64_t more) {
    uint64_t total, available;
    bool under = !fs_space(store->layout.dir, &total, &available, NULL) && available < floor + more;
    return under ? floor + more - available : 0;
}

/* How many bytes too many there would be with `more`; 0: it fits. */
uint64_t store__retain_excess(struct store *store, uint64_t more) {
    uint64_t over = quota_excess(store, more);
    pthread_mutex_lock(&store->lock);
    uint64_t planned = more + store->compact_wants;
    pthread_mutex_unlock(&store->lock);
    uint64_t under = store->min_free ? floor_missing(store, store->min_free, planned) : 0;
    return under > over ? under : over;
}

/* ---- removing ---- */

static int victims_read(struct store *store, sqlite3_stmt *statement, uint64_t enough,
                        struct victims *out, struct err *err) {
    int code = 0;
    out->count = 0;
    out->bytes = out->frames = 0;
    while (out->count < store->writer.victims_step && out->bytes < enough &&
           !(code = store__db_step(&store->writer.lookup, statement, err))) {
        int tier = 0;
        uint64_t bytes = 0, refs = 0;
        if (!store__db_columns(statement, "nbuu", &tier, out->blobs[out->count].bytes,
                               sizeof(out->blobs[0].bytes), &bytes, &refs)) {
            code = err_set(err, ERR_CORRUPT, "%s holds a hash of a wrong size",
                           store->writer.lookup.path);
            break;
        }
        out->tiers[out->count++] = (enum frame_tier)tier;
        out->bytes += bytes;
        out->frames += refs;
    }
    sqlite3_reset(statement);
    if (code == ERR_CORRUPT) {
        atomic_store(&store->index_suspect, true);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* One space of table `reclaim`. What cannot be punched stays until its file is dead. */
static int reclaim_one(struct store *store, unsigned stream, uint64_t segment, uint64_t at,
                       uint64_t bytes, struct err *err) {
    if (stream >= STREAM_COUNT) {
        return 0;
    }
    int code = bytes ? store__stream_punch(&store->streams[stream], segment, at, bytes, err)
                     : store__stream_remove(&store->streams[stream], segment, err);
    return code == ERR_REFUSED ? 0 : code;
}

static int reclaim_run(struct index *index, const struct index_command *command, struct err *err) {
    return store__index_reclaimed(index, command->number, err);
}

/* Gives back what tombstones have freed, until `until_us`. Nobody waits until the index forgets it:
 * what is punched twice after a crash does no harm. */
static int reclaim(struct store *store, int64_t until_us, struct err *err) {
    struct writer *writer = &store->writer;
    sqlite3_stmt *statement;
    int64_t last = 0;
    int rows = 0;
    int code = store__db_bind(&writer->lookup, LOOKUP_RECLAIM, &statement, err, "in",
                              writer->reclaimed_id, STORE_VICTIMS_MAX);
    while (!code && !(code = store__db_step(&writer->lookup, statement, err))) {
        int stream = 0;
        int64_t id = 0;
        uint64_t segment = 0, at = 0, bytes = 0;
        store__db_columns(statement, "inuuu", &id, &stream, &segment, &at, &bytes);
        code = reclaim_one(store, (unsigned)stream, segment, at, bytes, err);
        if (code) {
            sqlite3_reset(statement);
            break;
        }
        last = id;
        rows++;
        if (store__monotonic_us() > until_us) {
            sqlite3_reset(statement);
            break;
        }
    }
    writer->reclaimed = code == ERR_NOT_FOUND && rows < STORE_VICTIMS_MAX;
    if (last) {
        writer->reclaimed_id = last;
        store__indexer_post(store, reclaim_run, last);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static void reserve_give_up(struct store *store) {
    char path[LAYOUT_PATH_MAX];
    fs_unlink(store__file_path(&store->layout, RESERVE_NAME, path), NULL);
    store->writer.reserve_there = false;
}

int store__retain_write(struct store *store, const struct record *records, size_t count,
                        struct err *err) {
    int code = store__group_meta(store, records, count, err);
    if (code == ERR_FULL && store->writer.reserve_there) {
        reserve_give_up(store);
        code = store__group_meta(store, records, count, err);
    }
    if (!code) {
        store->writer.buried_lsn = store->writer.next_lsn - 1;
        store->writer.reclaimed = false;
    }
    return code;
}

int store__retain_bury(struct store *store, const struct record *records, size_t count,
                       struct err *err) {
    int code = store__retain_write(store, records, count, err);
    return code ? code : store__retain_ready(store, RETAIN_WAIT_MS, err);
}

/* The tombstones, durable with one fdatasync. */
static int victims_bury(struct store *store, const struct victims *victims,
                        enum tombstone_reason reason, struct err *err) {
    CLEANUP(mem_free_at) struct frame_hash *blobs = mem_array(victims->count, sizeof(*blobs));
    struct record records[TIER_COUNT];
    size_t count = 0, used = 0;
    if (!blobs) {
        return err_set(err, ERR_NOMEM, "no memory to remove %zu blobs", victims->count);
    }
    for (unsigned tier = 0; tier < TIER_COUNT; tier++) {
        struct record *record = &records[count];
        *record = (struct record){
            .kind = RECORD_TOMBSTONE,
            .tombstone = {
                .tier = tier, .reason = reason, .utc_us = clock_utc_us(), .blobs = blobs + used}};
        for (size_t i = 0; i < victims->count; i++) {
            if (victims->tiers[i] == tier) {
                blobs[used++] = victims->blobs[i];
                record->tombstone.count++;
            }
        }
        count += record->tombstone.count > 0;
    }
    int code = store__retain_write(store, records, count, err);
    if (!code) {
        pthread_mutex_lock(&store->lock);
        store->stats.evicted_frames += victims->frames;
        store->stats.evicted_bytes += victims->bytes;
        pthread_mutex_unlock(&store->lock);
    }
    return code;
}

int store__retain_evict(struct store *store, const struct victims *victims,
                        enum tombstone_reason reason, struct err *err) {
    int code = victims_bury(store, victims, reason, err);
    code = code ? code : store__retain_ready(store, RETAIN_WAIT_MS, err);
    return code ? code : reclaim(store, INT64_MAX, err);
}

static uint64_t open_number(const struct stream *stream) {
    return stream->count ? stream->segments[stream->count - 1].number : 0;
}

/* The oldest file in which nothing is alive and all is older than `cutoff_us`, with its history.
 * ERR_NOT_FOUND: none. */
static int forget_oldest(struct store *store, int64_t cutoff_us, struct err *err) {
    sqlite3_stmt *statement;
    uint64_t number = 0;
    int64_t newest = 0;
    int tier = 0;
    int code = store__db_bind(&store->writer.lookup, LOOKUP_DEAD, &statement, err, "uui",
                              open_number(&store->streams[TIER_ANNOTATED]),
                              open_number(&store->streams[TIER_UNANNOTATED]), cutoff_us);
    code = code ? code : store__db_step(&store->writer.lookup, statement, err);
    if (code) {
        return code;
    }
    store__db_columns(statement, "uni", &number, &tier, &newest);
    sqlite3_reset(statement);
    if (newest > store->forward.horizon_us) {
        store->forward.horizon_us = newest;
    }
    return store__forward_forget(store, (unsigned)tier, number, err);
}

/* History goes, oldest first; what else lies in such a file is copied out of it. */
static int history_shrink(struct store *store, struct err *err) {
    int code = forget_oldest(store, INT64_MAX, err);
    return code == ERR_NOT_FOUND ? store__forward_pick(store, FORWARD_HISTORY, false, err) : code;
}

/* ---- room for a frame ---- */

/* What others hold as well first; then what is worth no more than the frame that wants the room. */
static int room_choose(struct store *store, uint64_t wanted, double value, struct victims *victims,
                       struct err *err) {
    struct db *lookup = &store->writer.lookup;
    uint64_t enough = wanted + store->streams[TIER_ANNOTATED].limit / ROOM_SLACK;
    sqlite3_stmt *statement;
    int code = store__db_bind(lookup, LOOKUP_REPLICATED, &statement, err, "n", STORE_VICTIMS_MAX);
    code = code ? code : victims_read(store, statement, enough, victims, err);
    if (code || victims->count) {
        return code;
    }
    code = store__db_bind(lookup, LOOKUP_VALUE, &statement, err, "dn", value, STORE_VICTIMS_MAX);
    return code ? code : victims_read(store, statement, enough, victims, err);
}

/* The index, where the log is. Where the disk is full it may lack room to follow. */
static int room_ready(struct store *store, uint64_t wanted, struct err *err) {
    int code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    if (code && store->writer.reserve_there && floor_missing(store, store->min_free, wanted)) {
        reserve_give_up(store);
        code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    }
    return code || store->writer.reclaimed ? code : reclaim(store, INT64_MAX, err);
}

static bool history_full(const struct store *store) {
    return store->quota && store->forward.survey.history > store->quota / HISTORY_SHARE;
}

/* The more files there are, the less one step changes of what a look at all of them says. */
static int room_look(struct store *store, struct err *err) {
    if (store->writer.looks_saved > 0) {
        store->writer.looks_saved--;
        return 0;
    }
    int code = store__forward_look(store, INT64_MIN, err);
    store->writer.looks_saved = store->forward.survey.rows / LOOK_ROWS;
    return code;
}

static int tidy_begin(struct store *store, struct err *err) {
    int code = room_look(store, err);
    bool full = history_full(store);
    if (!code) {
        code = full ? history_shrink(store, err) : ERR_NOT_FOUND;
        code = code == ERR_NOT_FOUND ? store__forward_pick(store, FORWARD_WASTE, !full, err) : code;
    }
    if (!code) {
        store->writer.looks_saved = 0;
    }
    return code;
}

/* A step towards room that costs no frame. ERR_NOT_FOUND: there is none. */
static int room_tidy(struct store *store, struct err *err) {
    struct err why = {0};
    int code = store->forward.running ? store__forward_step(store, RETAIN_WAIT_MS, &why)
                                      : tidy_begin(store, &why);
    if (code == ERR_BUSY) {
        return err_set(err, code, "%s", why.msg);
    }
    if (code && code != ERR_NOT_FOUND && code != ERR_FULL) {
        store__error_note(store, &why);
    }
    return code ? ERR_NOT_FOUND : 0;
}

static int room_step(struct store *store, uint64_t wanted, double value, struct err *err) {
    CLEANUP(mem_free_at) struct victims *victims = mem_alloc(sizeof(*victims));
    if (!victims) {
        return err_set(err, ERR_NOMEM, "no memory to choose what leaves");
    }
    bool owing = !store->writer.reclaimed;
    int code = room_ready(store, wanted, err);
    if (code || owing) {
        return code;
    }
    code = room_tidy(store, err);
    if (code == ERR_NOT_FOUND) {
        code = room_choose(store, wanted, value, victims, err);
        if (!code && victims->count) {
            return store__retain_evict(store, victims, TOMBSTONE_QUOTA, err);
        }
        code = code ? code : history_shrink(store, err);
    }
    return code ? code : room_ready(store, wanted, err);
}

/* Nothing can be chosen while the index is made again. The quota is ours to bend meanwhile, by a
 * share of it; the free-space floor is not. Upkeep brings the store back (debt_mend). */
static int overstep(struct store *store, uint64_t bytes, struct err *err) {
    uint64_t over = quota_excess(store, bytes);
    if (over > store->quota / OVERSTEP_SHARE ||
        (store->min_free && floor_missing(store, store->min_free, bytes))) {
        char why[ERR_TEXT_MAX];
        return err_set(err, ERR_FULL, "the store is full, and nothing can be chosen to leave: %s",
                       err_text(err, why, sizeof(why)));
    }
    store->writer.overstep = over > store->writer.overstep ? over : store->writer.overstep;
    return 0;
}

/* Room that is wanted by no frame: where the quota was bent, and for a compaction. */
static int debt_mend(struct store *store, bool *more, struct err *err) {
    struct writer *writer = &store->writer;
    bool owes = writer->overstep || (store->compact_wants && !store->compact.running);
    uint64_t over = owes ? quota_excess(store, 0) : 0;
    int code = over ? room_step(store, over, VALUE_ABOVE_ALL, err) : 0;
    if (code == ERR_NOT_FOUND) { /* what is left is pinned: new frames find no room either */
        over = 0;
        code = 0;
        store__compact_put_off(store);
    }
    writer->overstep = over < writer->overstep ? over : writer->overstep;
    *more = *more || over;
    return code;
}

/* What must leave before `bytes` more fit. */
static uint64_t room_wanted(struct store *store, uint64_t bytes) {
    uint64_t over = store__retain_excess(store, bytes), spared = store->writer.overstep;
    if (!spared || (store->min_free && floor_missing(store, store->min_free, bytes))) {
        return over;
    }
    return over > spared ? over - spared : 0;
}

int store__retain_room(struct store *store, uint64_t bytes, double value, struct err *err) {
    for (unsigned steps = 0; steps < ROOM_STEPS_MAX; steps++) {
        uint64_t over = room_wanted(store, bytes);
        if (!over) {
            return 0;
        }
        int code = room_step(store, over, value, err);
        if (code == ERR_BUSY) {
            return overstep(store, bytes, err);
        }
        if (code == ERR_NOT_FOUND) {
            break;
        }
        if (code) {
            return code;
        }
    }
    return err_set(err, ERR_FULL,
                   "the store is full and holds nothing that is worth less than this frame (%.3f): "
                   "raise store.quota, or free the disk",
                   value);
}

int store__retain_emergency(struct store *store, double value, struct err *err) {
    uint64_t wanted = store->streams[TIER_ANNOTATED].limit;
    int code = room_step(store, wanted, value, err);
    return code == ERR_NOT_FOUND ? err_set(err, ERR_FULL, "the disk is full") : code;
}

/* ---- what is due ---- */

/* The next step takes as many as fit in half a slice, by how long this one took. */
static void step_fit(struct writer *writer, size_t count, int64_t took_us) {
    size_t *step = &writer->victims_step;
    if (took_us > SLICE_US / 2 && *step > VICTIMS_MIN) {
        *step /= 2;
    } else if (count == *step && took_us < SLICE_US / 5 && *step < STORE_VICTIMS_MAX) {
        *step *= 2;
    }
}

/* One step of one rule: the tombstones only. Their space comes back in a later slice, when the
 * index has them; until then nothing more is chosen. `*more`: it may have left something. */
static int slice(struct store *store, sqlite3_stmt *statement, uint64_t enough,
                 enum tombstone_reason reason, bool *more, struct err *err) {
    CLEANUP(mem_free_at) struct victims *victims = mem_alloc(sizeof(*victims));
    if (!victims) {
        return err_set(err, ERR_NOMEM, "no memory to choose what leaves");
    }
    int64_t start = store__monotonic_us();
    int code = victims_read(store, statement, enough, victims, err);
    *more = *more || victims->count;
    code = code || !victims->count ? code : victims_bury(store, victims, reason, err);
    step_fit(&store->writer, victims->count, store__monotonic_us() - start);
    return code;
}

/* Steps that come too late in their slice are left for the next. */
static bool slice_is_over(const struct store *store, bool *more) {
    bool over = store__monotonic_us() - store->writer.slice_start_us > SLICE_US / 2;
    *more = *more || over;
    return over || !store->writer.reclaimed; /* one rule buried something: the next waits */
}

static int tier_ages(struct store *store, int tier, bool *more, struct err *err) {
    const struct store_tier_config *config = &store->config.tiers[tier];
    struct db *lookup = &store->writer.lookup;
    int64_t now = store__clock_utc_us(&store->writer);
    sqlite3_stmt *statement;
    int code = 0;
    if (config->max_age_ms > 0 && !slice_is_over(store, more)) {
        code = store__db_bind(lookup, LOOKUP_AGE, &statement, err, "nin", tier,
                              now - config->max_age_ms * 1000, STORE_VICTIMS_MAX);
        code = code ? code : slice(store, statement, UINT64_MAX, TOMBSTONE_AGE, more, err);
    }
    if (!code && config->keep_after_upload_ms > 0 && !slice_is_over(store, more)) {
        code = store__db_bind(lookup, LOOKUP_UPLOADED, &statement, err, "nin", tier,
                              now - config->keep_after_upload_ms * 1000, STORE_VICTIMS_MAX);
        code = code ? code : slice(store, statement, UINT64_MAX, TOMBSTONE_UPLOADED, more, err);
    }
    return code;
}

static int tier_size(struct store *store, int tier, bool *more, struct err *err) {
    uint64_t limit = store->config.tiers[tier].max_bytes;
    uint64_t used = store->streams[tier].allocated;
    sqlite3_stmt *statement;
    if (!limit || used <= limit || slice_is_over(store, more)) {
        return 0;
    }
    int code = store__db_bind(&store->writer.lookup, LOOKUP_OLDEST, &statement, err, "nn", tier,
                              STORE_VICTIMS_MAX);
    return code ? code : slice(store, statement, used - limit, TOMBSTONE_TIER_BYTES, more, err);
}

static int thumbs_run(struct index *index, const struct index_command *command, struct err *err) {
    return store__index_thumbs_forget(index, (uint64_t)command->number, err);
}

static void thumbs_trim(struct store *store) {
    struct stream *stream = &store->streams[STREAM_THUMBS];
    uint64_t limit = STORE_THUMBS_MAX;
    if (store->quota && store->quota / THUMBS_SHARE < limit) {
        limit = store->quota / THUMBS_SHARE;
    }
    while (stream->count > 1 && stream->allocated > limit) {
        uint64_t number = stream->segments[0].number;
        struct err err = {0};
        store__indexer_post(store, thumbs_run, (int64_t)number);
        if (store__stream_remove(stream, number, &err)) {
            store__error_note(store, &err);
            return;
        }
    }
}

/* Keeps the reserve in place while there is room for it. */
void store__retain_reserve(struct store *store) {
    struct writer *writer = &store->writer;
    char path[LAYOUT_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    if (writer->reserve_there || !writer->reserve_bytes ||
        store__retain_excess(store, writer->reserve_bytes * 2)) {
        return;
    }
    store__file_path(&store->layout, RESERVE_NAME, path);
    if (fs_open(path, O_RDWR | O_CREAT, 0640, &fd, NULL)) {
        return;
    }
    writer->reserve_there =
        fs_ops_get()->fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)writer->reserve_bytes) == 0;
    if (!writer->reserve_there) {
        fs_unlink(path, NULL);
    }
}

static int held_load(struct store *store, struct err *err) {
    struct writer *writer = &store->writer;
    sqlite3_stmt *statement;
    int code =
        store__db_bind(&writer->lookup, LOOKUP_HELD, &statement, err, "n", STORE_HELD_BOOTS_MAX);
    writer->held_count = 0;
    while (!code && !(code = store__db_step(&writer->lookup, statement, err))) {
        if (writer->held_count < STORE_HELD_BOOTS_MAX &&
            store__db_columns(statement, "b", writer->held[writer->held_count].boot_id,
                              (size_t)16)) {
            writer->held_count++;
        }
    }
    writer->held_loaded = code == ERR_NOT_FOUND;
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* Frames whose blob is gone are remembered for so long; looked at once an hour. */
static int history_age(struct store *store, bool *more, struct err *err) {
    struct writer *writer = &store->writer;
    int64_t age_us = store->config.history_max_age_ms * 1000, boot = clock_boot_us();
    if (age_us <= 0 || boot < writer->history_next_us || slice_is_over(store, more)) {
        return 0;
    }
    int64_t cutoff = store__clock_utc_us(writer) - age_us;
    int code = forget_oldest(store, cutoff, err);
    if (code == ERR_NOT_FOUND) {
        code = store__forward_look(store, cutoff, err);
        code = code ? code : store__forward_pick(store, FORWARD_AGE, false, err);
    }
    if (code == ERR_NOT_FOUND) {
        writer->history_next_us = boot + HISTORY_EACH_US;
        return 0;
    }
    *more = *more || !code;
    return code;
}

/* What was begun for room, or for age, is brought to its end. */
static int forward_on(struct store *store, bool *more, struct err *err) {
    if (!store->forward.running || slice_is_over(store, more)) {
        return 0;
    }
    int code = store__forward_step(store, INDEX_SLICE_MS, err);
    *more = true;
    return code == ERR_BUSY ? 0 : code;
}

/* `due`: what the limits of the tiers take as well. */
static int upkeep(struct store *store, bool due, bool *more, struct err *err) {
    struct writer *writer = &store->writer;
    int code = 0;
    if (!writer->reclaimed) { /* what an earlier slice, or run, buried */
        code = reclaim(store, writer->slice_start_us + SLICE_US / 2, err);
        *more = *more || !writer->reclaimed;
    }
    if (!code && !writer->held_loaded) {
        code = held_load(store, err);
    }
    if (!code && atomic_load(&store->guard) == GUARD_UNKNOWN) {
        code = store__guard_judge(store, err);
    }
    due = due && atomic_load(&store->guard) == GUARD_OPEN;
    bool ages = false;
    code = code ? code : store__clock_ages(store, &ages, err);
    for (int tier = 0; !code && due && tier < TIER_COUNT; tier++) {
        code = ages ? tier_ages(store, tier, more, err) : 0;
        code = code ? code : tier_size(store, tier, more, err);
    }
    code = code || !due || !ages ? code : history_age(store, more, err);
    code = code ? code : forward_on(store, more, err);
    return code || !writer->reclaimed ? code : debt_mend(store, more, err);
}

int store__retain_slice(struct store *store, bool *more, struct err *err) {
    *more = false;
    store->writer.slice_start_us = store__monotonic_us();
    int code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    code = code ? code : upkeep(store, true, more, err);
    uint64_t over = code || !store->writer.reclaimed ? 0 : store__retain_excess(store, 0);
    if (over) {
        code = room_step(store, over, VALUE_ABOVE_ALL, err);
        *more = *more || !code;
        code = code == ERR_NOT_FOUND ? 0 : code;
    }
    return code;
}

static void slice_note(struct store *store, int64_t took_us) {
    pthread_mutex_lock(&store->lock);
    store->stats.slices++;
    if ((uint64_t)took_us > store->stats.slice_longest_us) {
        store->stats.slice_longest_us = (uint64_t)took_us;
    }
    pthread_mutex_unlock(&store->lock);
}

/* Frames that the index has not seen do not matter, or limits would rest as long as frames come
 * faster than it takes them in: only what makes a blob stay (another frame with its bytes, a pin,
 * the remotes), and the last tombstones. What was left to do is left for another time. */
static bool upkeep_ready(struct store *store) {
    const struct writer *writer = &store->writer;
    uint64_t lsn = writer->hold_lsn > writer->buried_lsn ? writer->hold_lsn : writer->buried_lsn;
    pthread_mutex_lock(&store->lock);
    lsn = lsn < store->written_lsn ? lsn : store->written_lsn; /* of a group that failed */
    pthread_mutex_unlock(&store->lock);
    return store__index_whole(store) && store__indexer_wait(store, lsn, INDEX_SLICE_MS) &&
           !store__retain_lookup(store, NULL);
}

void store__retain_upkeep(struct store *store) {
    struct writer *writer = &store->writer;
    struct err err = {0};
    bool more = false;
    writer->slice_start_us = store__monotonic_us();
    writer->upkeep_boot_us = clock_boot_us();
    if (upkeep_ready(store)) {
        if (upkeep(store, !store->config.at_rest, &more, &err)) {
            store__error_note(store, &err);
        }
        thumbs_trim(store);
        if (!slice_is_over(store, &more)) {
            store__compact_step(store);
        }
        writer->upkeep_more = more || store->compact.running;
    } else if (!store__index_follows(store)) { /* it may take minutes: at the next tick */
        writer->upkeep_more = false;
    }
    store__clock_repair(store);
    store__retain_reserve(store);
    store__disk_measure(store);
    slice_note(store, store__monotonic_us() - writer->slice_start_us);
}

void store__retain_finish(struct store *store) {
    store__compact_finish(store);
    store__forward_finish(store);
    store__db_close(&store->writer.lookup);
}
