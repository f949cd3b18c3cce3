/* index: see index.h.
 *
 * Invariants:
 *   1. A transaction holds whole records only, and the lsn and positions of the last of them.
 *   2. Counters in table tier are what a count over blob and frame would give: every change of a
 * blob row goes through index->blob, and the flush adds what it counts for now and takes what it
 * counted for before.
 *   3. After a rollback everything kept in memory is loaded again.
 * Rejected: triggers for the counters (they run for each statement, three times as slow); one row a
 * detection (five inserts a frame that no query asks for one by one).
 */
#include "store/index.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAL_PAGE_BYTES 4096
#define WAL_WAIT_MS    200
#define CACHE_KB       8192

extern const char embed_schemas_index_sql[];

#define BLOB_COLUMNS                                                                               \
    "tier, sha, bytes, media, width, height, local, segment, at, kept_utc, kept_boot, boot_id, "   \
    "kept_clock, value, refs, pinned, owed, receipts, replicated, uploaded_utc, gone_reason, "     \
    "gone_utc"

/* SUM over the blobs is what table tier must say; used when what "replicated" means has changed. */
const char *const store__index_sql[IX_STATEMENTS] = {
    [IX_INFO_GET] = "SELECT store, applied, next_seq FROM info",
    [IX_INFO_PUT] = "UPDATE info SET applied = ?, next_seq = ?",
    [IX_INFO_NEW] = "INSERT INTO info (id, store, applied, next_seq) VALUES (1, ?, 0, 1)",
    [IX_POSITION_GET] = "SELECT stream, segment, at FROM position",
    [IX_POSITION_PUT] = "INSERT INTO position (stream, segment, at) VALUES (?1, ?2, ?3)"
                        " ON CONFLICT (stream) DO UPDATE SET segment = ?2, at = ?3",
    [IX_TIER_ADD] = "UPDATE tier SET frames = frames + ?, blob_bytes = blob_bytes + ?,"
                    " replicated = replicated + ?, evicted = evicted + ? WHERE tier = ?",
    [IX_TIER_NEW] = "INSERT INTO tier (tier) VALUES (?)",
    [IX_NAME_GET] = "SELECT id FROM name WHERE kind = ? AND text = ?",
    [IX_NAME_NEW] = "INSERT INTO name (kind, text) VALUES (?, ?)",
    [IX_MODEL_GET] = "SELECT id FROM model WHERE hash = ? AND name = ? AND version = ?",
    [IX_MODEL_NEW] = "INSERT INTO model (hash, name, version) VALUES (?, ?, ?)",
    [IX_BLOB_LAST] = "SELECT coalesce(max(id), 0) FROM blob",
    [IX_BLOB_GET] = "SELECT " BLOB_COLUMNS ", id FROM blob WHERE tier = ? AND sha = ?",
    [IX_BLOB_GET_ID] = "SELECT " BLOB_COLUMNS ", id FROM blob WHERE id = ?",
    [IX_BLOB_NEW] = "INSERT INTO blob (" BLOB_COLUMNS ", id)"
                    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [IX_BLOB_PUT] = "UPDATE blob SET (" BLOB_COLUMNS ")"
                    " = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ?",
    [IX_BLOB_DROP] = "DELETE FROM blob WHERE id = ?",
    [IX_FRAME_NEW] =
        "INSERT OR IGNORE INTO frame (seq, id, utc, boot, boot_id, clock, tier, blob, camera, rule,"
        " model, orientation, value, phash, luma_mean, luma_stddev, sharpness, best, detections,"
        " segment, at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [IX_FRAME_BY_ID] = "SELECT seq, blob, pinned FROM frame WHERE id = ?",
    [IX_FRAME_PLACE] = "SELECT seq, segment FROM frame WHERE id = ?",
    [IX_FRAME_PIN] = "UPDATE frame SET pinned = ?, pinned_utc = ? WHERE seq = ?",
    [IX_FRAME_DROP] = "DELETE FROM frame WHERE seq = ?",
    [IX_FRAME_LABEL] = "UPDATE frame SET label_state = ? WHERE seq = ?",
    [IX_FRAME_MOVE] = "UPDATE frame SET segment = ?, at = ? WHERE seq = ?",
    [IX_JUDGEMENT_PUT] = "INSERT OR REPLACE INTO label (seq, state, utc, class, note, who) VALUES "
                         "(?, ?, ?, ?, ?, ?)",
    [IX_JUDGEMENT_DROP] = "DELETE FROM label WHERE seq = ?",
    [IX_FRAMES_OF_SEGMENT] = "SELECT seq, blob, utc, pinned, detections FROM frame"
                             " WHERE segment = ? LIMIT 1",
    [IX_FRAMES_UNSYNCHRONISED] = "SELECT seq, utc, boot, detections FROM frame"
                                 " WHERE clock = 0 AND boot_id = ?",
    [IX_FRAME_RETIME] = "UPDATE frame SET utc = ?, clock = 1 WHERE seq = ?",
    [IX_LABEL_NEW] = "INSERT OR REPLACE INTO frame_label (label, utc, seq, confidence)"
                     " VALUES (?, ?, ?, ?)",
    [IX_LABEL_DROP] = "DELETE FROM frame_label WHERE label = ? AND utc = ? AND seq = ?",
    [IX_REMOTES_RETIRE] = "UPDATE remote SET active = 0",
    [IX_REMOTE_PUT] = "INSERT INTO remote (name, identity, required, trusted, active) VALUES (?, ?,"
                      " ?, ?, 1) ON CONFLICT (name, identity) DO UPDATE SET required ="
                      " excluded.required, trusted = excluded.trusted, active = 1",
    [IX_REMOTE_FIND] = "SELECT id FROM remote WHERE identity = ?"
                       " ORDER BY active DESC, id DESC LIMIT 1",
    [IX_REMOTES_ACTIVE] =
        "SELECT id, required, name, identity, trusted FROM remote WHERE active = 1"
        " ORDER BY id",
    [IX_REMOTE_PENDING] = "UPDATE remote SET pending = pending + ?, pending_bytes = pending_bytes"
                          " + ? WHERE id = ?",
    [IX_REMOTE_QUARANTINED] = "UPDATE remote SET quarantined = quarantined + ? WHERE id = ?",
    [IX_REMOTE_DONE] = "UPDATE remote SET done = done + 1 WHERE id = ?",
    [IX_REMOTE_DONE_0] = "UPDATE remote SET done_0 = done_0 + ? WHERE id = ?",
    [IX_REMOTE_DONE_1] = "UPDATE remote SET done_1 = done_1 + ? WHERE id = ?",
    [IX_REMOTES_DONE_0] = "UPDATE remote SET done_0 = done_0 + ? WHERE id IN"
                          " (SELECT remote FROM receipt WHERE blob = ?)",
    [IX_REMOTES_DONE_1] = "UPDATE remote SET done_1 = done_1 + ? WHERE id IN"
                          " (SELECT remote FROM receipt WHERE blob = ?)",
    [IX_REMOTES_UNDONE] = "UPDATE remote SET done = done - 1 WHERE id IN"
                          " (SELECT remote FROM receipt WHERE blob = ?)",
    [IX_RECEIPT_NEW] = "INSERT OR IGNORE INTO receipt (blob, remote, kind, key, etag, utc)"
                       " VALUES (?, ?, ?, ?, ?, ?)",
    [IX_RECEIPT_HAS] = "SELECT 1 FROM receipt WHERE blob = ? AND remote = ?",
    [IX_RECEIPTS_OF] = "SELECT count(*) FROM receipt WHERE blob = ?",
    [IX_RECEIPTS_PROVEN] = "SELECT count(*) FROM receipt JOIN remote ON remote.id = receipt.remote"
                           " WHERE blob = ?1 AND (kind <> 3 OR trusted = 1) AND"
                           " (?2 = 0 OR (active = 1 AND required = 1))",
    [IX_RECEIPTS_LAST] = "SELECT coalesce(max(utc), 0) FROM receipt WHERE blob = ?",
    [IX_RECEIPTS_DROP] = "DELETE FROM receipt WHERE blob = ?",
    [IX_RECEIPT_DROP] = "DELETE FROM receipt WHERE blob = ? AND remote = ?",
    [IX_REMOTE_UNDONE] = "UPDATE remote SET done = done - 1 WHERE id = ?",
    [IX_WITHDRAWN_PUT] = "INSERT INTO withdrawn (blob, remote, action, utc) VALUES (?, ?, ?, ?) ON"
                         " CONFLICT (blob, remote) DO UPDATE SET action = excluded.action,"
                         " utc = excluded.utc",
    [IX_WITHDRAWN_OFF] = "DELETE FROM withdrawn WHERE blob = ? AND remote = ?",
    [IX_WITHDRAWN_DROP] = "DELETE FROM withdrawn WHERE blob = ?",
    [IX_OUTBOX_NEW] = "INSERT OR IGNORE INTO outbox (remote, blob, state, value, due)"
                      " VALUES (?, ?, ?, ?, ?)",
    [IX_OUTBOX_GET] = "SELECT row, state FROM outbox WHERE blob = ? AND remote = ?",
    [IX_OUTBOX_OF] = "SELECT remote, state FROM outbox WHERE blob = ?",
    [IX_OUTBOX_OWED] = "SELECT count(*) FROM outbox JOIN remote ON remote.id = outbox.remote"
                       " WHERE blob = ? AND active = 1 AND required = 1",
    [IX_OUTBOX_DROP] = "DELETE FROM outbox WHERE row = ?",
    [IX_OUTBOX_DROP_ALL] = "DELETE FROM outbox WHERE blob = ?",
    [IX_OUTBOX_STATE] = "UPDATE outbox SET state = ?, reason = ?, due = 0 WHERE row = ?",
    [IX_OUTBOX_RELEASE] =
        "UPDATE outbox SET state = 0, attempts = 0, due = 0, reason = '' WHERE row = ?",
    [IX_OUTBOX_VALUE] = "UPDATE outbox SET value = ? WHERE blob = ?",
    [IX_OUTBOX_DEFER] =
        "UPDATE outbox SET due = ?, attempts = attempts + 1, reason = ? WHERE blob ="
        " (SELECT id FROM blob WHERE tier = ? AND sha = ?) AND remote ="
        " (SELECT id FROM remote WHERE name = ? AND active = 1)",
    [IX_OUTBOX_DUE_CLEAR] = "UPDATE outbox SET due = 0 WHERE due > 0",
    [IX_OUTBOX_HOLDS_CLEAR] = "UPDATE outbox SET due = 0 WHERE due > 0 AND attempts = 0",
    [IX_OUTBOX_UNHOLD] = "UPDATE outbox SET state = 0 WHERE state = 2 AND blob IN"
                         " (SELECT id FROM blob WHERE kept_clock = 0 AND boot_id = ?)",
    [IX_QUARANTINE_COUNT] = "SELECT coalesce(sum(quarantined), 0) FROM remote WHERE ?1 ="
                            " x'' OR identity = ?1",
    [IX_QUARANTINE_RELEASE] =
        "UPDATE outbox SET state = 0, attempts = 0, due = 0, reason = '' WHERE state = 1 AND remote"
        " IN (SELECT id FROM remote WHERE ?1 = x'' OR identity = ?1)",
    [IX_QUARANTINE_SETTLE] =
        "UPDATE remote SET quarantined = 0, (pending, pending_bytes) = (SELECT count(*),"
        " coalesce(sum(bytes), 0) FROM outbox JOIN blob ON blob.id = outbox.blob WHERE"
        " outbox.remote = remote.id AND state <> 1) WHERE quarantined > 0 AND"
        " (?1 = x'' OR identity = ?1)",
    [IX_BLOB_RETIME] = "UPDATE blob SET kept_utc = CASE WHEN ?1 = 1 THEN kept_boot + ?2 ELSE"
                       " kept_utc END, kept_clock = 1 WHERE kept_clock = 0 AND boot_id = ?3",
    [IX_BLOBS_RECOUNT_OWED] =
        "UPDATE blob SET owed = (SELECT count(*) FROM outbox JOIN remote ON remote.id ="
        " outbox.remote WHERE outbox.blob = blob.id AND active = 1 AND required = 1)"
        " WHERE owed > 0 OR id IN (SELECT blob FROM outbox)",
    [IX_BLOBS_RECOUNT_REPLICATED] =
        "UPDATE blob SET replicated = (SELECT CASE WHEN ?1 = 0 THEN count(*) > 0 ELSE count(*) = ?1"
        " END FROM receipt JOIN remote ON remote.id = receipt.remote WHERE receipt.blob = blob.id "
        "AND"
        " (kind <> 3 OR trusted = 1) AND (?1 = 0 OR (active = 1 AND required = 1))), uploaded_utc ="
        " (SELECT max(utc) FROM receipt WHERE receipt.blob = blob.id) WHERE receipts > 0",
    [IX_TIER_RECOUNT] = "UPDATE tier SET replicated = (SELECT coalesce(sum(refs), 0) FROM blob"
                        " WHERE blob.tier = tier.tier AND replicated = 1)",
    [IX_SEGMENT_NEW] = "INSERT OR IGNORE INTO segment (number, stream) VALUES (?, ?)",
    [IX_SEGMENT_ADD] = "UPDATE segment SET live = live + ?, live_bytes = live_bytes + ?, frames ="
                       " frames + ?, record_bytes = record_bytes + ?, newest = max(newest, ?)"
                       " WHERE number = ?",
    [IX_SEGMENT_GET] = "SELECT 1 FROM segment WHERE number = ? AND stream = ?",
    [IX_SEGMENT_DROP] = "DELETE FROM segment WHERE number = ?",
    [IX_RECLAIM_NEW] = "INSERT INTO reclaim (stream, segment, at, bytes) VALUES (?, ?, ?, ?)",
    [IX_RECLAIM_DROP] = "DELETE FROM reclaim WHERE id <= ?",
    [IX_THUMB_PUT] = "INSERT OR REPLACE INTO thumb (sha, segment, at) VALUES (?, ?, ?)",
    [IX_THUMBS_DROP] = "DELETE FROM thumb WHERE segment <= ?",
};

/* ---- opening ---- */

static int created(struct index *index, struct err *err) {
    char version[64];
    snprintf(version, sizeof(version), "PRAGMA user_version = %d", INDEX_VERSION);
    int code = store__db_exec(&index->db, "BEGIN IMMEDIATE", err);
    code = code ? code : store__db_exec(&index->db, embed_schemas_index_sql, err);
    code = code ? code
                : store__db_run(&index->db, IX_INFO_NEW, err, "b", index->layout->uuid, (size_t)16);
    for (int tier = 0; !code && tier < TIER_COUNT; tier++) {
        code = store__db_run(&index->db, IX_TIER_NEW, err, "n", tier);
    }
    code = code ? code : store__db_exec(&index->db, version, err);
    return code ? code : store__db_exec(&index->db, "COMMIT", err);
}

static int version_get(struct index *index, int *version, struct err *err) {
    sqlite3_stmt *statement = NULL;
    int code = 0;
    if (sqlite3_prepare_v2(index->db.handle, "PRAGMA user_version", -1, &statement, NULL) ||
        sqlite3_step(statement) != SQLITE_ROW) {
        code = store__db_error(&index->db, "cannot read", err);
    } else {
        *version = sqlite3_column_int(statement, 0);
    }
    sqlite3_finalize(statement);
    return code;
}

/* Everything that is kept in memory, as the last commit left it. */
static int memory_load(struct index *index, struct err *err) {
    sqlite3_stmt *statement;
    uint8_t uuid[16];
    index->blob = index->blob_before = (struct blob_row){0};
    index->blob_dirty = false;
    memset(index->delta, 0, sizeof(index->delta));
    memset(index->segments, 0, sizeof(index->segments));
    memset(index->names, 0, sizeof(index->names));
    int code = store__db_bind(&index->db, IX_INFO_GET, &statement, err, "");
    code = code ? code : store__db_step(&index->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? ERR_CORRUPT : code;
    }
    bool whole =
        store__db_columns(statement, "buu", uuid, sizeof(uuid), &index->applied, &index->next_seq);
    sqlite3_reset(statement);
    if (!whole || memcmp(uuid, index->layout->uuid, 16) != 0) {
        return err_set(err, ERR_CORRUPT, "%s is the index of another store", index->db.path);
    }
    memset(index->positions, 0, sizeof(index->positions));
    code = store__db_bind(&index->db, IX_POSITION_GET, &statement, err, "");
    while (!code && !(code = store__db_step(&index->db, statement, err))) {
        struct log_position position;
        int stream = 0;
        store__db_columns(statement, "nuu", &stream, &position.segment, &position.at);
        if (stream >= 0 && stream < STREAM_COUNT) {
            index->positions[stream] = position;
        }
    }
    code = code == ERR_NOT_FOUND ? 0 : code;
    int64_t last_blob = 0;
    code = code ? code : store__db_number(&index->db, IX_BLOB_LAST, &last_blob, err, "");
    index->next_blob = last_blob + 1;
    return code ? code : store__index_remotes_load(index, err);
}

/* How far the WAL has grown; the checkpoint is ours to make (wal_bound). */
static int wal_grew(void *ctx, sqlite3 *handle, const char *name, int pages) {
    (void)handle, (void)name;
    *(int *)ctx = pages;
    return SQLITE_OK;
}

static int try_open(struct index *index, bool *made, struct err *err) {
    char path[LAYOUT_PATH_MAX], pragmas[256];
    int version = 0;
    int code = store__db_open(&index->db, store__file_path(index->layout, "index.db", path),
                              DB_WRITE, store__index_sql, IX_STATEMENTS, err);
    if (code) {
        return code;
    }
    snprintf(pragmas, sizeof(pragmas),
             "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;"
             "PRAGMA cache_size = -%d; PRAGMA journal_size_limit = %d;",
             CACHE_KB, index->config.wal_pages * WAL_PAGE_BYTES);
    code = store__db_exec(&index->db, pragmas, err);
    index->wal_pages = 0;
    index->wal_next = index->config.wal_pages;
    sqlite3_wal_hook(index->db.handle, wal_grew, &index->wal_pages);
    code = code ? code : version_get(index, &version, err);
    *made = !code && version == 0;
    if (*made) {
        code = created(index, err);
    } else if (!code && version != INDEX_VERSION) {
        code = err_set(err, ERR_CORRUPT, "%s has version %d, this creel makes %d", path, version,
                       INDEX_VERSION);
    }
    return code ? code : memory_load(index, err);
}

int store__index_open(struct index *index, const struct layout *layout,
                      const struct index_config *config, bool *made, struct err *err) {
    memset(index, 0, sizeof(*index));
    index->layout = layout;
    index->config = *config;
    int code = try_open(index, made, err);
    if (code == ERR_CORRUPT) {
        code = store__index_set_aside(index, err);
        code = code ? code : try_open(index, made, err);
    }
    if (code) {
        store__index_close(index);
    }
    return code;
}

void store__index_close(struct index *index) {
    store__db_close(&index->db);
    index->in_transaction = false;
}

int store__index_set_aside(struct index *index, struct err *err) {
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char from[LAYOUT_PATH_MAX], to[LAYOUT_PATH_MAX], name[64];
    int code = 0;
    store__index_close(index);
    for (size_t i = 0; !code && i < ARRAY_LENGTH(suffixes); i++) {
        snprintf(name, sizeof(name), "index.db%s", suffixes[i]);
        store__file_path(index->layout, name, from);
        snprintf(name, sizeof(name), "index.db.damaged%s", suffixes[i]);
        store__file_path(index->layout, name, to);
        code = access(from, F_OK) == 0 ? fs_rename(from, to, err) : fs_unlink(to, err);
    }
    return code;
}

void store__index_aside_drop(const struct layout *layout) {
    static const char *const names[] = {"index.db.damaged", "index.db.damaged-wal",
                                        "index.db.damaged-shm"};
    char path[LAYOUT_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        fs_unlink(store__file_path(layout, names[i], path), NULL);
    }
}

/* ---- transactions ---- */

int store__index_begin(struct index *index, struct err *err) {
    int code = store__db_exec(&index->db, "BEGIN IMMEDIATE", err);
    index->in_transaction = !code;
    return code;
}

void store__index_rollback(struct index *index) {
    if (index->in_transaction && index->db.handle) {
        sqlite3_exec(index->db.handle, "ROLLBACK", NULL, NULL, NULL);
        memory_load(index, NULL);
    }
    index->in_transaction = false;
}

/* Readers hold a transaction for one page at most, so the wait for those who began before is short;
 * those who begin meanwhile read past the WAL (https://sqlite.org/c3ref/wal_checkpoint_v2.html). */
static void wal_bound(struct index *index) {
    if (index->wal_pages < index->wal_next) {
        return;
    }
    sqlite3_busy_timeout(index->db.handle, WAL_WAIT_MS);
    int result =
        sqlite3_wal_checkpoint_v2(index->db.handle, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    sqlite3_busy_timeout(index->db.handle, DB_BUSY_MS);
    index->wal_next = index->config.wal_pages + (result == SQLITE_OK ? 0 : index->wal_pages);
    index->wal_pages = result == SQLITE_OK ? 0 : index->wal_pages;
}

int store__index_wal_check(const struct index *index, struct err *err) {
    if (index->wal_pages < index->config.wal_pages_most) {
        return 0;
    }
    return err_set(err, ERR_CORRUPT,
                   "another process has kept index.db in one transaction while its WAL grew to %d"
                   " MiB: it is made again without that process; end it",
                   (int)((int64_t)index->wal_pages * WAL_PAGE_BYTES >> 20));
}

int store__index_commit(struct index *index, struct err *err) {
    int code = store__index_blob_flush(index, err);
    code = code ? code : store__index_segments_flush(index, err);
    for (int tier = 0; !code && tier < TIER_COUNT; tier++) {
        struct index_tier *delta = &index->delta[tier];
        code = store__db_run(&index->db, IX_TIER_ADD, err, "iiiin", delta->frames,
                             delta->blob_bytes, delta->replicated, delta->evicted, tier);
    }
    for (int stream = 0; !code && stream < STREAM_COUNT; stream++) {
        const struct log_position *position = &index->positions[stream];
        code = store__db_run(&index->db, IX_POSITION_PUT, err, "nuu", stream, position->segment,
                             position->at);
    }
    code = code
               ? code
               : store__db_run(&index->db, IX_INFO_PUT, err, "uu", index->applied, index->next_seq);
    code = code ? code : store__db_exec(&index->db, "COMMIT", err);
    if (!code) {
        memset(index->delta, 0, sizeof(index->delta));
        index->in_transaction = false;
        wal_bound(index);
    }
    return code;
}

/* ---- the blob row at hand ---- */

static int blob_load(struct index *index, sqlite3_stmt *statement, struct err *err) {
    struct blob_row *blob = &index->blob;
    int code = store__db_step(&index->db, statement, err);
    if (code) {
        return code;
    }
    *blob = (struct blob_row){0};
    bool has_boot = sqlite3_column_bytes(statement, 11) == 16;
    bool whole = store__db_columns(statement, "nbuniinuuii", &blob->tier, blob->sha.bytes,
                                   sizeof(blob->sha.bytes), &blob->bytes, &blob->media,
                                   &blob->width, &blob->height, &blob->local, &blob->segment,
                                   &blob->at, &blob->kept_utc, &blob->kept_boot);
    if (has_boot) {
        memcpy(blob->boot_id, sqlite3_column_blob(statement, 11), 16);
    }
    blob->kept_clock = sqlite3_column_int(statement, 12);
    blob->value = sqlite3_column_double(statement, 13);
    int64_t *const counts[] = {&blob->refs, &blob->pinned, &blob->owed, &blob->receipts};
    for (int i = 0; i < 4; i++) {
        *counts[i] = sqlite3_column_int64(statement, 14 + i);
    }
    blob->replicated = sqlite3_column_int(statement, 18);
    blob->uploaded_utc = sqlite3_column_int64(statement, 19);
    blob->gone_reason = sqlite3_column_int(statement, 20);
    blob->gone_utc = sqlite3_column_int64(statement, 21);
    blob->id = sqlite3_column_int64(statement, 22);
    sqlite3_reset(statement);
    if (!whole) {
        return err_set(err, ERR_CORRUPT, "%s: a blob's hash does not have 32 bytes",
                       index->db.path);
    }
    index->blob_before = *blob;
    index->blob_stored = true;
    return 0;
}

int store__index_blob_use_id(struct index *index, int64_t id, struct err *err) {
    if (index->blob.id == id) {
        return 0;
    }
    sqlite3_stmt *statement;
    int code = store__index_blob_flush(index, err);
    code = code ? code : store__db_bind(&index->db, IX_BLOB_GET_ID, &statement, err, "i", id);
    code = code ? code : blob_load(index, statement, err);
    return code == ERR_NOT_FOUND
               ? err_set(err, ERR_CORRUPT, "%s: a frame's blob has no row", index->db.path)
               : code;
}

int store__index_blob_use(struct index *index, int tier, const struct frame_hash *sha,
                          struct err *err) {
    struct blob_row *blob = &index->blob;
    if (blob->id && blob->tier == tier && memcmp(&blob->sha, sha, sizeof(*sha)) == 0) {
        return 0;
    }
    sqlite3_stmt *statement;
    int code = store__index_blob_flush(index, err);
    code = code ? code
                : store__db_bind(&index->db, IX_BLOB_GET, &statement, err, "nb", tier, sha->bytes,
                                 sizeof(sha->bytes));
    code = code ? code : blob_load(index, statement, err);
    if (code == ERR_NOT_FOUND) {
        *blob =
            (struct blob_row){.id = index->next_blob, .tier = tier, .sha = *sha, .kept_clock = 1};
        index->blob_before = *blob;
        index->blob_stored = false;
        code = 0;
    }
    return code;
}

/* What a blob row counts for in table tier. */
static void count(struct index *index, const struct blob_row *blob, int sign) {
    struct index_tier *delta = &index->delta[blob->tier];
    int64_t refs = sign * blob->refs;
    delta->frames += blob->local || blob->receipts ? refs : 0;
    delta->blob_bytes += blob->local ? sign * (int64_t)blob->bytes : 0;
    delta->replicated += blob->replicated ? refs : 0;
    delta->evicted += blob->local ? 0 : refs;
}

int store__index_blob_flush(struct index *index, struct err *err) {
    struct blob_row *blob = &index->blob;
    if (!index->blob_dirty) {
        return 0;
    }
    index->blob_dirty = false;
    int code = store__db_run(
        &index->db, index->blob_stored ? IX_BLOB_PUT : IX_BLOB_NEW, err, "nbuniinuuiibndiiiininii",
        blob->tier, blob->sha.bytes, sizeof(blob->sha.bytes), blob->bytes, blob->media, blob->width,
        blob->height, blob->local, blob->segment, blob->at, blob->kept_utc, blob->kept_boot,
        blob->boot_id, sizeof(blob->boot_id), blob->kept_clock, blob->value, blob->refs,
        blob->pinned, blob->owed, blob->receipts, blob->replicated, blob->uploaded_utc,
        blob->gone_reason, blob->gone_utc, blob->id);
    int64_t more = blob->refs - index->blob_before.refs;
    if (!code && more && index->blob_before.receipts) {
        code = store__db_run(&index->db,
                             blob->tier == TIER_ANNOTATED ? IX_REMOTES_DONE_0 : IX_REMOTES_DONE_1,
                             err, "ii", more, blob->id);
    }
    if (!code) {
        count(index, &index->blob_before, -1);
        count(index, blob, 1);
        index->blob_before = *blob;
        if (!index->blob_stored) {
            index->blob_stored = true;
            index->next_blob++;
        }
    }
    return code;
}

/* ---- files ---- */

static int segment_flush(struct index *index, struct index_segment *slot, struct err *err) {
    int code = slot->number ? store__db_run(&index->db, IX_SEGMENT_ADD, err, "iiiiiu", slot->live,
                                            slot->live_bytes, slot->frames, slot->record_bytes,
                                            slot->newest, slot->number)
                            : 0;
    *slot = (struct index_segment){0};
    return code;
}

int store__index_segments_flush(struct index *index, struct err *err) {
    int code = 0;
    for (size_t i = 0; !code && i < INDEX_SEGMENTS; i++) {
        code = segment_flush(index, &index->segments[i], err);
    }
    return code;
}

int store__index_segment_add(struct index *index, const struct index_segment *more,
                             struct err *err) {
    struct index_segment *slot = &index->segments[more->number % INDEX_SEGMENTS];
    int code = slot->number == more->number ? 0 : segment_flush(index, slot, err);
    slot->number = more->number;
    slot->live += more->live;
    slot->live_bytes += more->live_bytes;
    slot->frames += more->frames;
    slot->record_bytes += more->record_bytes;
    slot->newest = more->newest > slot->newest ? more->newest : slot->newest;
    return code;
}

/* ---- changes that come from no log ---- */

int store__index_defer(struct index *index, const char *remote, int tier,
                       const struct frame_hash *blob, int64_t due_boot_us, const char *reason,
                       struct err *err) {
    return store__db_run(&index->db, IX_OUTBOX_DEFER, err, "itnbt", due_boot_us, reason, tier,
                         blob->bytes, sizeof(blob->bytes), remote);
}

int store__index_reclaimed(struct index *index, int64_t last_id, struct err *err) {
    return store__db_run(&index->db, IX_RECLAIM_DROP, err, "i", last_id);
}

int store__index_thumbs_forget(struct index *index, uint64_t up_to_segment, struct err *err) {
    return store__db_run(&index->db, IX_THUMBS_DROP, err, "u", up_to_segment);
}

int store__index_due_clear(struct index *index, struct err *err) {
    return store__db_run(&index->db, IX_OUTBOX_DUE_CLEAR, err, "");
}

int store__index_holds_clear(struct index *index, struct err *err) {
    index->outbox_grew = true;
    return store__db_run(&index->db, IX_OUTBOX_HOLDS_CLEAR, err, "");
}
