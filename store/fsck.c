/* fsck: a read-only check of everything, from the log up.
 *
 * First the meta log (what was buried and forgotten), then each tier: every record's header, every
 * payload's SHA-256 but for what a tombstone names, and each frame and blob against the index as
 * far as the index claims to have come. What lies behind that is not disagreement: the next open
 * brings it in. A bad place is judged by the rule of segment.c: torn tail when nothing whole of a
 * later group follows and the index never saw it, damage otherwise. What must be remembered over
 * the passes lies in a temporary SQLite database that spills to disk, so memory does not grow with
 * the store.
 */
#include "store/fsck.h"
#include "daemon/base/mem.h"
#include "store/store_impl.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_BYTES (1u << 20)

enum {
    TMP_BURY,
    TMP_BURIED,
    TMP_FORGET,
    TMP_FORGOTTEN,
    TMP_BLOB,
    TMP_FRAME,
    TMP_MISSING,
    TMP_MISSING_EACH,
    TMP_BLOBS,
    TMP_STATEMENTS,
};

static const char *const tmp_sql[TMP_STATEMENTS] = {
    [TMP_BURY] = "INSERT INTO buried (tier, sha, lsn, seen) VALUES (?1, ?2, ?3, ?4)"
                 " ON CONFLICT (tier, sha) DO UPDATE SET lsn = max(lsn, ?3), seen = ?4",
    [TMP_BURIED] = "SELECT seen FROM buried WHERE tier = ? AND sha = ? AND lsn > ?",
    [TMP_FORGET] = "INSERT OR IGNORE INTO forgotten (segment) VALUES (?)",
    [TMP_FORGOTTEN] = "SELECT 1 FROM forgotten WHERE segment = ?",
    [TMP_BLOB] = "INSERT OR IGNORE INTO blob (tier, sha) VALUES (?, ?)",
    [TMP_FRAME] = "INSERT OR IGNORE INTO frame (id, tier, sha) VALUES (?, ?, ?)",
    [TMP_MISSING] = "SELECT count(*) FROM frame f WHERE NOT EXISTS (SELECT 1 FROM blob b WHERE"
                    " b.tier = f.tier AND b.sha = f.sha) AND NOT EXISTS (SELECT 1 FROM buried b"
                    " WHERE b.tier = f.tier AND b.sha = f.sha)",
    [TMP_MISSING_EACH] = "SELECT DISTINCT tier, sha FROM frame f WHERE NOT EXISTS (SELECT 1 FROM"
                         " blob b WHERE b.tier = f.tier AND b.sha = f.sha) AND NOT EXISTS (SELECT 1"
                         " FROM buried b WHERE b.tier = f.tier AND b.sha = f.sha)",
    [TMP_BLOBS] = "SELECT count(*) FROM blob",
};

enum {
    IDX_POSITION,
    IDX_APPLIED,
    IDX_FRAME,
    IDX_FRAMES,
    IDX_BLOB,
    IDX_BLOBS,
    IDX_SEGMENT_FRAMES,
    IDX_SEGMENT_BLOBS,
    IDX_COUNTERS,
    IDX_CHECK,
    IDX_VERSION,
    IDX_STATEMENTS,
};

static const char *const idx_sql[IDX_STATEMENTS] = {
    [IDX_POSITION] = "SELECT stream, segment, at FROM position",
    [IDX_APPLIED] = "SELECT applied FROM info",
    [IDX_FRAME] = "SELECT seq FROM frame WHERE id = ?",
    [IDX_FRAMES] = "SELECT count(*) FROM frame",
    [IDX_BLOB] = "SELECT 1 FROM blob WHERE tier = ? AND sha = ? AND local = 1",
    [IDX_BLOBS] = "SELECT count(*) FROM blob WHERE local = 1",
    [IDX_SEGMENT_FRAMES] = "SELECT count(*) FROM frame WHERE segment = ?",
    [IDX_SEGMENT_BLOBS] = "SELECT count(*) FROM blob WHERE segment = ? AND local = 1",
    [IDX_COUNTERS] =
        "SELECT count(*) FROM tier t WHERE (frames, blob_bytes, replicated, evicted) IS NOT (SELECT"
        " coalesce(sum(CASE WHEN local OR receipts THEN refs END), 0), coalesce(sum(CASE WHEN local"
        " THEN bytes END), 0), coalesce(sum(CASE WHEN replicated THEN refs END), 0),"
        " coalesce(sum(CASE WHEN NOT local THEN refs END), 0) FROM blob WHERE blob.tier = t.tier)",
    [IDX_CHECK] = "PRAGMA quick_check(1)",
    [IDX_VERSION] = "PRAGMA user_version",
};

struct fsck {
    struct layout layout;
    struct store_fsck out;
    struct db tmp, index;
    bool has_index;
    struct log_position seen[STREAM_COUNT];
    uint64_t frames_matched, blobs_matched;
    pthread_mutex_t lock;
    struct stream streams[STREAM_COUNT];
    uint64_t done, total, reported;
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    const struct fsck_hooks *hooks;
};

static void problem(struct fsck *fsck, const char *format, ...) ERR_PRINTF(2, 3);

static void problem(struct fsck *fsck, const char *format, ...) {
    va_list args;
    if (fsck->out.first_problem[0]) {
        return;
    }
    va_start(args, format);
    vsnprintf(fsck->out.first_problem, sizeof(fsck->out.first_problem), format, args);
    va_end(args);
}

static void progress_add(struct fsck *fsck, uint64_t bytes) {
    fsck->done += bytes;
    if (fsck->progress && fsck->done - fsck->reported >= PROGRESS_BYTES) {
        fsck->reported = fsck->done;
        fsck->progress(fsck->ctx, fsck->done, fsck->total);
    }
}

/* ---- the index ---- */

static int positions_read(struct fsck *fsck, struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(&fsck->index, IDX_POSITION, &statement, err, "");
    while (!code && !(code = store__db_step(&fsck->index, statement, err))) {
        int stream = sqlite3_column_int(statement, 0);
        if (stream >= 0 && stream < STREAM_COUNT) {
            fsck->seen[stream].segment = (uint64_t)sqlite3_column_int64(statement, 1);
            fsck->seen[stream].at = (uint64_t)sqlite3_column_int64(statement, 2);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int pages_check(struct fsck *fsck, struct err *err) {
    sqlite3_stmt *statement;
    char text[256];
    int code = store__db_bind(&fsck->index, IDX_CHECK, &statement, err, "");
    code = code ? code : store__db_step(&fsck->index, statement, err);
    if (!code) {
        store__db_columns(statement, "t", text, sizeof(text));
        sqlite3_reset(statement);
        if (strcmp(text, "ok") != 0) {
            code = err_set(err, ERR_CORRUPT, "index.db: %s", text);
        }
    }
    return code;
}

/* No index, or one of another version, is no damage: the next open makes it. Nor is one that was
 * left in the middle of its making: the next open takes that back, which a look may not. */
static int index_open(struct fsck *fsck, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    int64_t version = 0;
    store__file_path(&fsck->layout, "index.db", path);
    if (access(path, F_OK) != 0) {
        return 0;
    }
    int code = store__db_open(&fsck->index, path, DB_READ, idx_sql, IDX_STATEMENTS, err);
    code = code ? code : store__db_number(&fsck->index, IDX_VERSION, &version, err, "");
    if (!code && version != INDEX_VERSION) {
        return 0;
    }
    code = code ? code : pages_check(fsck, err);
    code = code ? code : positions_read(fsck, err);
    fsck->has_index = !code;
    if (code == ERR_REFUSED) {
        code = 0;
    }
    if (code == ERR_CORRUPT) {
        fsck->out.index_missing++;
        problem(fsck, "the index is damaged; the next open makes it again (%s)", err->msg);
        code = 0;
    }
    return code;
}

/* One that a power cut threw back before the last compaction is made again by the next open. */
static int index_doubt(struct fsck *fsck, struct err *err) {
    int64_t applied = 0;
    int code = fsck->has_index ? store__db_number(&fsck->index, IDX_APPLIED, &applied, err, "") : 0;
    if ((uint64_t)applied < fsck->streams[STREAM_META].checkpoint_applied) {
        fsck->has_index = false;
    }
    return code;
}

static bool index_saw(const struct fsck *fsck, unsigned stream, const struct record_at *found) {
    const struct log_position *seen = &fsck->seen[stream];
    return fsck->has_index && (found->header.segment < seen->segment ||
                               (found->header.segment == seen->segment && found->at < seen->at));
}

static int frame_compare(struct fsck *fsck, const struct record_frame *kept, struct err *err) {
    int64_t seq = 0;
    int code = store__db_number(&fsck->index, IDX_FRAME, &seq, err, "b", kept->frame.id.bytes,
                                sizeof(kept->frame.id.bytes));
    if (code == ERR_NOT_FOUND) {
        fsck->out.index_missing++;
        problem(fsck, "frame %llu is in the log and not in the index",
                (unsigned long long)kept->seq);
        return 0;
    }
    fsck->frames_matched += !code && (uint64_t)seq == kept->seq;
    return code;
}

static int blob_compare(struct fsck *fsck, unsigned tier, const struct frame_hash *sha,
                        struct err *err) {
    int64_t local = 0;
    int code = store__db_number(&fsck->index, IDX_BLOB, &local, err, "nb", (int)tier, sha->bytes,
                                sizeof(sha->bytes));
    if (code == ERR_NOT_FOUND) {
        fsck->out.index_missing++;
        problem(fsck, "a blob of tier %u is in the log and not in the index", tier);
        return 0;
    }
    fsck->blobs_matched += !code;
    return code;
}

/* ---- records ---- */

/* The index may not have come to it yet: then what it still has of the file is no disagreement. */
static int note_forget(struct fsck *fsck, const struct record_at *found, uint64_t segment,
                       struct err *err) {
    int64_t frames = 0, blobs = 0;
    int code = store__db_run(&fsck->tmp, TMP_FORGET, err, "u", segment);
    if (code || !fsck->has_index || !sqlite3_changes(fsck->tmp.handle) ||
        index_saw(fsck, STREAM_META, found)) {
        return code;
    }
    code = store__db_number(&fsck->index, IDX_SEGMENT_FRAMES, &frames, err, "u", segment);
    code =
        code ? code : store__db_number(&fsck->index, IDX_SEGMENT_BLOBS, &blobs, err, "u", segment);
    fsck->frames_matched += (uint64_t)frames;
    fsck->blobs_matched += (uint64_t)blobs;
    return code;
}

static int note_meta(struct fsck *fsck, const struct record_at *found, const struct record *record,
                     struct err *err) {
    int code = 0;
    if (record->kind == RECORD_RECEIPT) {
        fsck->out.receipts++;
    } else if (record->kind == RECORD_FORGET) {
        code = note_forget(fsck, found, record->forget.segment, err);
    } else if (record->kind == RECORD_TOMBSTONE) {
        for (size_t i = 0; !code && i < record->tombstone.count; i++) {
            code = store__db_run(&fsck->tmp, TMP_BURY, err, "nbun", (int)record->tombstone.tier,
                                 record->tombstone.blobs[i].bytes, (size_t)32, found->header.lsn,
                                 (int)index_saw(fsck, STREAM_META, found));
        }
    }
    return code;
}

static int note_frame(struct fsck *fsck, unsigned stream, const struct record_at *found,
                      const struct record_frame *kept, struct err *err) {
    int code = store__db_run(&fsck->tmp, TMP_FRAME, err, "bnb", kept->frame.id.bytes,
                             sizeof(kept->frame.id.bytes), (int)kept->frame.tier,
                             kept->frame.blob.bytes, (size_t)32);
    if (code || sqlite3_changes(fsck->tmp.handle) == 0) {
        return code; /* copied forward, and the file that it came from is there still */
    }
    fsck->out.frames++;
    return index_saw(fsck, stream, found) ? frame_compare(fsck, kept, err) : 0;
}

static int note_blob(struct fsck *fsck, unsigned stream, const struct record_at *found,
                     struct err *err) {
    int code = store__db_run(&fsck->tmp, TMP_BLOB, err, "nb", (int)stream, found->header.sha.bytes,
                             (size_t)32);
    if (code || sqlite3_changes(fsck->tmp.handle) == 0) {
        return code;
    }
    fsck->out.blobs++;
    return index_saw(fsck, stream, found) ? blob_compare(fsck, stream, &found->header.sha, err) : 0;
}

static int place_note(struct fsck *fsck, const struct fsck_place *place, struct err *err) {
    return fsck->hooks->bad ? fsck->hooks->bad(fsck->hooks->ctx, place, err) : 0;
}

static int note_record(struct fsck *fsck, unsigned stream, const struct record_at *found,
                       struct err *err) {
    CLEANUP(store__record_finish) struct record record = {0};
    fsck->out.records++;
    if (found->header.kind == RECORD_BLOB) {
        return note_blob(fsck, stream, found, err);
    }
    if (found->header.kind == RECORD_THUMB || found->header.kind == RECORD_VOID) {
        return 0;
    }
    int code = store__record_decode(found->header.kind, found->payload, found->header.payload_bytes,
                                    &record, err);
    if (code == ERR_CORRUPT) {
        fsck->out.damaged++;
        problem(fsck, "%s", err->msg);
        uint64_t size = store__record_size(found->header.payload_bytes);
        struct fsck_place place = {stream, found->header.segment, found->at, found->at + size,
                                   false};
        return place_note(fsck, &place, err);
    }
    if (!code && store__record_is_frame(record.kind)) {
        code = note_frame(fsck, stream, found, &record.frame, err);
    } else if (!code) {
        code = note_meta(fsck, found, &record, err);
    }
    return code;
}

/* ---- files ---- */

/* A buried blob that the index still calls local, because it has not come to the tombstone. */
static int buried_compare(struct fsck *fsck, unsigned stream, const struct frame_hash *sha,
                          struct err *err) {
    int64_t local;
    int code = store__db_run(&fsck->tmp, TMP_BLOB, err, "nb", (int)stream, sha->bytes, (size_t)32);
    if (code || sqlite3_changes(fsck->tmp.handle) == 0) {
        return code;
    }
    code = store__db_number(&fsck->index, IDX_BLOB, &local, err, "nb", (int)stream, sha->bytes,
                            sizeof(sha->bytes));
    fsck->blobs_matched += !code;
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int is_buried(struct fsck *fsck, unsigned stream, const struct record_at *found,
                     bool *buried, struct err *err) {
    int64_t seen;
    const struct record_header *header = &found->header;
    int code = store__db_number(&fsck->tmp, TMP_BURIED, &seen, err, "nbu", (int)stream,
                                header->sha.bytes, (size_t)32, header->lsn);
    *buried = !code;
    if (!code && !seen && index_saw(fsck, stream, found)) {
        return buried_compare(fsck, stream, &header->sha, err);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* The next record, whole. A buried blob's payload may be a hole, so it is not looked at; `*skip`
 * then. */
static int next_whole(struct fsck *fsck, unsigned stream, struct segment_scan *scan,
                      struct record_at *found, bool *skip, struct err *err) {
    uint64_t at = scan->at;
    *skip = false;
    int code = store__scan_next(scan, false, found, err);
    if (code || found->header.kind != RECORD_BLOB) {
        return code;
    }
    code = is_buried(fsck, stream, found, skip, err);
    if (code || *skip) {
        return code;
    }
    scan->at = at;
    return store__scan_next(scan, true, found, err);
}

/* A bad place: damage is counted and stepped over (0); a torn tail ends the file (ERR_NOT_FOUND).
 */
static int bad_place(struct fsck *fsck, unsigned stream, struct segment_scan *scan,
                     const struct err *why, struct err *err) {
    uint64_t bad = scan->at;
    const struct log_position *seen = &fsck->seen[stream];
    bool trusted = fsck->has_index && (scan->number < seen->segment ||
                                       (scan->number == seen->segment && bad < seen->at));
    int code = store__scan_resync(scan, trusted, err);
    if (!code && !trusted) { /* damage: what is whole of its own group counts as well */
        scan->at = bad;
        code = store__scan_resync(scan, true, err);
    }
    if (code && code != ERR_NOT_FOUND) {
        return code;
    }
    bool torn = code && !trusted;
    struct fsck_place place = {stream, scan->number, bad, code ? scan->end : scan->at, torn};
    if (torn) {
        fsck->out.torn_tail_bytes += scan->end - bad;
    } else {
        fsck->out.damaged++;
        problem(fsck, "%s", why->msg);
    }
    int noted = place_note(fsck, &place, err);
    return noted ? noted : code;
}

static int file_check(struct fsck *fsck, unsigned stream, uint64_t number, struct err *err) {
    CLEANUP(store__scan_close) struct segment_scan scan = SEGMENT_SCAN_INIT;
    char path[LAYOUT_PATH_MAX];
    int64_t forgotten;
    store__segment_path(&fsck->layout, stream, number, path);
    int code = store__db_number(&fsck->tmp, TMP_FORGOTTEN, &forgotten, err, "u", number);
    if (code != ERR_NOT_FOUND) {
        return code; /* it only waits for its unlink */
    }
    code = store__scan_open(&scan, path, number, fsck->layout.uuid, err);
    fsck->out.segments += !code;
    for (uint64_t before = 0; !code;) {
        struct record_at found;
        bool skip;
        code = next_whole(fsck, stream, &scan, &found, &skip, err);
        if (code == ERR_CORRUPT) {
            struct err why = *err;
            code = bad_place(fsck, stream, &scan, &why, err);
        } else if (!code && !skip) {
            code = note_record(fsck, stream, &found, err);
        }
        progress_add(fsck, scan.at - before);
        before = scan.at;
    }
    fsck->out.bytes += scan.end;
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int stream_check(struct fsck *fsck, unsigned stream, struct err *err) {
    struct stream *files = &fsck->streams[stream];
    int code = 0;
    for (size_t i = 0; !code && i < files->count; i++) {
        code = file_check(fsck, stream, files->segments[i].number, err);
    }
    return code;
}

/* ---- all of it ---- */

static int tmp_open(struct fsck *fsck, struct err *err) {
    int code = store__db_open(&fsck->tmp, "", DB_WRITE, tmp_sql, TMP_STATEMENTS, err);
    return code ? code
                : store__db_exec(
                      &fsck->tmp,
                      "CREATE TABLE buried (tier, sha BLOB, lsn, seen, PRIMARY KEY (tier, sha))"
                      " WITHOUT ROWID;"
                      "CREATE TABLE blob (tier, sha BLOB, PRIMARY KEY (tier, sha))"
                      " WITHOUT ROWID;"
                      "CREATE TABLE frame (id BLOB PRIMARY KEY, tier, sha BLOB)"
                      " WITHOUT ROWID;"
                      "CREATE TABLE forgotten (segment INTEGER PRIMARY KEY); BEGIN",
                      err);
}

static int streams_list(struct fsck *fsck, struct err *err) {
    int code = 0;
    for (unsigned stream = 0; !code && stream <= STREAM_META; stream++) {
        struct stream *files = &fsck->streams[stream];
        store__stream_init(files, stream, &fsck->layout, &fsck->lock, 0);
        code = store__stream_list(files, false, err);
        for (size_t i = 0; i < files->count; i++) {
            fsck->total += files->segments[i].end;
        }
    }
    return code;
}

static int missing_tell(struct fsck *fsck, struct err *err) {
    sqlite3_stmt *statement;
    const struct fsck_hooks *hooks = fsck->hooks;
    if (!hooks->missing) {
        return 0;
    }
    int code = store__db_bind(&fsck->tmp, TMP_MISSING_EACH, &statement, err, "");
    while (!code && !(code = store__db_step(&fsck->tmp, statement, err))) {
        struct frame_hash sha;
        int tier = 0;
        store__db_columns(statement, "nb", &tier, sha.bytes, sizeof(sha.bytes));
        code = hooks->missing(hooks->ctx, (enum frame_tier)tier, &sha, err);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int totals_compare(struct fsck *fsck, struct err *err) {
    int64_t missing = 0, frames = 0, blobs = 0, counters = 0;
    int code = store__db_number(&fsck->tmp, TMP_MISSING, &missing, err, "");
    fsck->out.missing_blobs = (uint64_t)missing;
    if (missing) {
        problem(fsck, "%lld frames have no blob, and no tombstone says why", (long long)missing);
    }
    if (code || !fsck->has_index) {
        return code;
    }
    code = store__db_number(&fsck->index, IDX_FRAMES, &frames, err, "");
    code = code ? code : store__db_number(&fsck->index, IDX_BLOBS, &blobs, err, "");
    code = code ? code : store__db_number(&fsck->index, IDX_COUNTERS, &counters, err, "");
    if (code) {
        return code;
    }
    uint64_t extra = (uint64_t)frames - fsck->frames_matched;
    uint64_t extra_blobs = (uint64_t)blobs - fsck->blobs_matched;
    fsck->out.index_extra = extra + extra_blobs + (uint64_t)counters;
    if (fsck->out.index_extra) {
        problem(fsck,
                "the index has %llu frames and %llu blobs that the log does not have, and %lld "
                "wrong counters",
                (unsigned long long)extra, (unsigned long long)extra_blobs, (long long)counters);
    }
    return 0;
}

static int check_all(struct fsck *fsck, const char *dir, struct err *err) {
    int code = store__layout_inspect(&fsck->layout, dir, err);
    code = code ? code : tmp_open(fsck, err);
    code = code ? code : index_open(fsck, err);
    code = code ? code : streams_list(fsck, err);
    code = code ? code : index_doubt(fsck, err);
    code = code ? code : stream_check(fsck, STREAM_META, err);
    for (unsigned tier = 0; !code && tier < TIER_COUNT; tier++) {
        code = stream_check(fsck, tier, err);
    }
    code = code ? code : totals_compare(fsck, err);
    code = code ? code : missing_tell(fsck, err);
    return code || !fsck->hooks->settle
               ? code
               : fsck->hooks->settle(fsck->hooks->ctx, &fsck->layout, &fsck->out, err);
}

int store__fsck(const char *dir, store_progress_fn *progress, void *progress_ctx,
                const struct fsck_hooks *hooks, struct store_fsck *out, struct err *err) {
    struct err own = {0};
    CLEANUP(mem_free_at) struct fsck *fsck = mem_alloc(sizeof(*fsck));
    if (!fsck) {
        return err_set(err, ERR_NOMEM, "no memory to check a store");
    }
    fsck->layout = (struct layout)LAYOUT_INIT;
    fsck->progress = progress;
    fsck->ctx = progress_ctx;
    fsck->hooks = hooks;
    pthread_mutex_init(&fsck->lock, NULL);
    int code = check_all(fsck, dir, &own);
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        free(fsck->streams[stream].segments);
    }
    store__db_close(&fsck->tmp);
    store__db_close(&fsck->index);
    store__layout_close(&fsck->layout);
    pthread_mutex_destroy(&fsck->lock);
    if (code) {
        if (err) {
            *err = own;
        }
        return code;
    }
    *out = fsck->out;
    if (out->first_problem[0]) {
        return err_set(err, ERR_CORRUPT, "%s is damaged: %s", dir, out->first_problem);
    }
    return 0;
}

int store_fsck(const char *dir, void (*progress)(void *ctx, uint64_t done, uint64_t total),
               void *ctx, struct store_fsck *out, struct err *err) {
    const struct fsck_hooks none = {0};
    return store__fsck(dir, progress, ctx, &none, out, err);
}
