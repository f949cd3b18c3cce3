/* reader: single frames, blobs, thumbnails, counters and names. reader_page.c has the pages,
 * reader_outbox.c what sync sees.
 *
 * A blob is read without any lock against removal: the order of removal (tombstone, index, punch)
 * means that bytes which do not match, or a file that is gone, are told from damage by asking the
 * index once more.
 */
#include "store/reader.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_KB       2048
#define PREFIX_HEX_MIN 8u
#define NAMES_MAX      (STORE_CLASSES_MAX + 256)

static const char *const reader_sql[READER_STATEMENTS] = {
    [READER_FRAME_ID] =
        "SELECT " READER_ROW_COLUMNS " FROM frame f" READER_ROW_TABLES "WHERE f.id = ?",
    [READER_FRAME_LAST] = "SELECT id FROM frame ORDER BY utc DESC, seq DESC LIMIT 1",
    [READER_FRAME_OF_BLOB] = "SELECT f.id FROM frame f JOIN blob b ON b.id = f.blob WHERE b.tier IN"
                             " (0, 1) AND b.sha = ? ORDER BY f.seq DESC LIMIT 1",
    [READER_BLOB_PREFIX] = "SELECT sha FROM blob WHERE tier = ? AND sha >= ? AND sha <= ? AND"
                           " refs > 0 ORDER BY sha LIMIT 2",
    [READER_BLOB] = "SELECT local, segment, at FROM blob WHERE tier = ? AND sha = ?",
    [READER_THUMB] = "SELECT segment, at FROM thumb WHERE sha = ?",
    [READER_TIERS] = "SELECT tier, frames, blob_bytes, replicated, evicted FROM tier",
    [READER_REMOTES] = "SELECT id, name, pending, pending_bytes, done, quarantined, done_0, done_1"
                       " FROM remote WHERE active = 1 ORDER BY name",
    [READER_SYNC_COUNTS] = "SELECT coalesce(sum(active * pending), 0), coalesce(sum(done), 0),"
                           " coalesce(sum(active * quarantined), 0) FROM remote",
    [READER_LABEL] = "SELECT l.state, l.utc, l.class, l.note, l.who FROM frame f JOIN label l ON"
                     " l.seq = f.seq WHERE f.id = ?",
    [READER_OLDEST_PENDING] = "SELECT b.kept_utc FROM outbox o JOIN blob b ON b.id = o.blob WHERE"
                              " o.remote = ? AND o.state = 0 ORDER BY o.row LIMIT 1",
    [READER_NAMES] = "SELECT text FROM name WHERE kind = ? ORDER BY text LIMIT ?",
    [READER_REMOTE] = "SELECT id FROM remote WHERE name = ? AND active = 1",
#define OUTBOX_ROWS                                                                                \
    "SELECT o.row, b.sha, b.tier, b.media, b.bytes, b.kept_utc, b.width, b.height, o.value,"       \
    " o.attempts FROM outbox o CROSS JOIN blob b ON b.id = o.blob WHERE o.remote = ? AND o.state"  \
    " = 0 AND o.due <= ? "
    [READER_OUTBOX_OLDEST] = OUTBOX_ROWS "ORDER BY o.row LIMIT ?",
    [READER_OUTBOX_NEWEST] = OUTBOX_ROWS "ORDER BY o.row DESC LIMIT ?",
    [READER_OUTBOX_VALUE] = OUTBOX_ROWS "ORDER BY o.value DESC, o.row DESC LIMIT ?",
    [READER_OUTBOX_NEXT] = "SELECT coalesce(min(due), 0) FROM outbox WHERE remote = ? AND due > ?"
                           " AND due > 0 AND state = 0",
    [READER_QUARANTINE] =
        "SELECT o.row, (SELECT f.id FROM frame f WHERE f.blob = b.id ORDER BY f.seq DESC LIMIT 1),"
        " b.tier, b.sha, b.bytes, b.kept_utc, o.attempts, o.reason FROM outbox o CROSS JOIN blob b"
        " ON b.id = o.blob WHERE o.remote = ? AND o.state = 1 AND o.row > ? ORDER BY o.row LIMIT ?",
    [READER_UNQUEUED] =
        "SELECT b.id, b.tier, b.sha, b.local = 1 AND b.kept_utc >= ?3 AND NOT EXISTS (SELECT 1 FROM"
        " outbox o WHERE o.blob = b.id AND o.remote = ?1) AND NOT EXISTS (SELECT 1 FROM receipt r"
        " WHERE r.blob = b.id AND r.remote = ?1) AND NOT EXISTS (SELECT 1 FROM withdrawn w WHERE"
        " w.blob = b.id AND w.remote = ?1 AND w.action > 4) FROM blob b WHERE b.id > ?2 ORDER BY"
        " b.id LIMIT ?4",
    [READER_RECEIPTS] = "SELECT b.id, b.tier, b.sha, b.media, b.bytes, b.kept_utc, b.local,"
                        " b.pinned, r.kind, r.utc, r.key, r.etag FROM receipt r CROSS JOIN blob b"
                        " ON b.id = r.blob WHERE r.blob > ?2 AND r.remote = ?1 ORDER BY r.blob"
                        " LIMIT ?3",
    [READER_LOOK] = "SELECT b.local, b.pinned > 0, EXISTS (SELECT 1 FROM receipt r WHERE r.blob ="
                    " b.id AND r.remote = ?1), EXISTS (SELECT 1 FROM outbox o WHERE o.blob = b.id"
                    " AND o.remote = ?1) FROM blob b WHERE b.tier = ?2 AND b.sha = ?3",
    [READER_EXPIRY_AGE] =
        "SELECT kept_utc, bytes, replicated, uploaded_utc FROM blob WHERE tier = ?"
        " AND local = 1 AND owed = 0 AND pinned = 0 AND kept_utc < ? AND"
        " kept_clock = 1 ORDER BY kept_utc LIMIT ?",
    [READER_EXPIRY_UPLOADED] = "SELECT kept_utc, bytes, replicated, uploaded_utc FROM blob WHERE"
                               " tier = ? AND local = 1 AND owed = 0 AND pinned = 0 AND"
                               " replicated = 1 AND uploaded_utc < ? ORDER BY uploaded_utc LIMIT ?",
    [READER_EXPIRY_FILES] = "SELECT coalesce(sum(live), 0), coalesce(sum(live_bytes), 0) FROM"
                            " segment WHERE stream = ? AND live > 0 AND newest < ?",
    [READER_WHY_WITHDRAWN] = "SELECT remote.name, remote.active, remote.required, w.action, w.utc"
                             " FROM withdrawn w JOIN remote ON remote.id = w.remote WHERE w.blob ="
                             " ? ORDER BY w.utc LIMIT ?",
    [READER_RECEIPT] =
        "SELECT r.kind, r.key, r.etag, r.utc, remote.name FROM blob b JOIN receipt r ON r.blob ="
        " b.id JOIN remote ON remote.id = r.remote WHERE b.tier = ? AND b.sha = ? AND"
        " (?3 = '' OR remote.name = ?3) ORDER BY remote.active DESC, r.utc DESC LIMIT 1",
    [READER_WHY] =
        "SELECT b.id, b.refs, b.gone_reason, b.gone_utc, f.pinned_utc, f.segment, f.at FROM"
        " frame f JOIN blob b ON b.id = f.blob WHERE f.id = ?",
    [READER_WHY_RECEIPTS] =
        "SELECT remote.name, remote.active, remote.required, r.kind, r.utc, r.key,"
        " r.etag FROM receipt r JOIN remote ON remote.id = r.remote WHERE r.blob"
        " = ? ORDER BY r.utc LIMIT ?",
    [READER_WHY_OUTBOX] = "SELECT remote.name, remote.required, o.state, o.attempts, o.reason FROM"
                          " outbox o JOIN remote ON remote.id = o.remote WHERE o.blob = ? AND"
                          " remote.active = 1 ORDER BY remote.name LIMIT ?",
    [READER_EVENT_REMOTE] = "SELECT remote.id, info.applied, remote.identity FROM remote JOIN info"
                            " WHERE remote.name = ? AND remote.active = 1",
    [READER_EVENT_RECEIPT] = "SELECT b.id FROM blob b JOIN receipt r ON r.blob = b.id WHERE b.tier"
                             " = ? AND b.sha = ? AND r.remote = ? AND r.utc = ?",
    [READER_EVENT_FRAMES] = "SELECT seq, id FROM frame WHERE blob = ? AND seq > ? AND seq <= ?"
                            " ORDER BY seq",
    [READER_EVENT_LABEL] = "SELECT f.seq, f.id FROM frame f JOIN receipt r ON r.blob = f.blob AND"
                           " r.remote = ? WHERE f.id = ? AND f.seq > ? AND f.seq <= ?",
    [READER_EVENT_CLOCK] = "SELECT f.seq, f.id FROM frame f JOIN receipt r ON r.blob = f.blob AND"
                           " r.remote = ? WHERE f.seq > ? AND f.seq <= ? AND f.boot_id = ? AND"
                           " f.utc = f.boot + ? ORDER BY f.seq",
    [READER_EVENT_GONE] =
        "SELECT f.seq, f.id FROM blob b JOIN frame f ON f.blob = b.id WHERE b.tier"
        " = ? AND b.sha = ? AND f.seq > ? AND f.seq <= ? ORDER BY f.seq",
    [READER_EVENT_NEW] = "SELECT f.seq, f.id, r.blob IS NOT NULL FROM frame f LEFT JOIN receipt r"
                         " ON r.blob = f.blob AND r.remote = ? WHERE f.seq > ? ORDER BY f.seq"
                         " LIMIT ?",
};

/* ---- life cycle ---- */

static void pages_finish(struct store_reader *reader) {
    for (size_t i = 0; i < READER_QUERIES; i++) {
        sqlite3_finalize(reader->queries[i].statement);
        reader->queries[i] = (struct reader_query){0};
    }
}

int store__reader_ready(struct store_reader *reader, struct err *err) {
    unsigned generation = atomic_load(&reader->store->index_generation);
    if (reader->db.handle && reader->generation == generation) {
        return 0;
    }
    if (generation & 1) {
        return err_set(err, ERR_BUSY, "the index is being begun anew: ask again");
    }
    char path[LAYOUT_PATH_MAX], pragma[64];
    pages_finish(reader);
    store__db_close(&reader->db);
    reader->generation = generation;
    int code =
        store__db_open(&reader->db, store__file_path(&reader->store->layout, "index.db", path),
                       DB_READ, reader_sql, READER_STATEMENTS, err);
    snprintf(pragma, sizeof(pragma), "PRAGMA cache_size = -%d", CACHE_KB);
    return code ? code : store__db_exec(&reader->db, pragma, err);
}

int store__reader_seen(struct store_reader *reader, int code) {
    bool present = reader->generation == atomic_load(&reader->store->index_generation);
    if (code == ERR_CORRUPT && present) {
        atomic_store(&reader->store->index_suspect, true);
        pthread_mutex_lock(&reader->store->lock);
        pthread_cond_broadcast(&reader->store->written);
        pthread_mutex_unlock(&reader->store->lock);
    }
    return code;
}

int store_reader_open(struct store *store, struct store_reader **out, struct err *err) {
    struct store_reader *reader = mem_alloc(sizeof(*reader));
    if (!reader) {
        return err_set(err, ERR_NOMEM, "no memory for a reader");
    }
    reader->store = store;
    reader->looks = READER_LOOKS;
    reader->tail.scan = (struct segment_scan)SEGMENT_SCAN_INIT;
    int code = store__reader_ready(reader, err);
    if (code) {
        store_reader_close(reader);
        return code;
    }
    *out = reader;
    return 0;
}

void store_reader_close(struct store_reader *reader) {
    if (reader) {
        pages_finish(reader);
        store__scan_close(&reader->tail.scan);
        store__db_close(&reader->db);
        free(reader);
    }
}

/* ---- a row ---- */

int store__row_read(sqlite3_stmt *statement, struct store_row *row, struct log_position *place,
                    struct err *err) {
    struct frame_record *record = &row->record;
    int64_t width = 0, height = 0, receipts = 0, owed = 0;
    int clock = 0, tier = 0, orientation = 0, pinned = 0, media = 0, local = 0, quarantined = 0;
    bool whole = store__db_columns(
        statement, "ubiibnnndufffnbuniiiniittbttn", &row->seq, record->id.bytes,
        sizeof(record->id.bytes), &record->captured.utc_us, &record->captured.boot_us,
        record->captured.boot_id, sizeof(record->captured.boot_id), &clock, &tier, &orientation,
        &record->value, &record->phash, &record->quality.luma_mean, &record->quality.luma_stddev,
        &record->quality.sharpness, &pinned, record->blob.bytes, sizeof(record->blob.bytes),
        &record->blob_bytes, &media, &width, &height, &row->kept_utc_us, &local, &receipts, &owed,
        record->camera, sizeof(record->camera), record->rule, sizeof(record->rule),
        record->model.bytes, sizeof(record->model.bytes), record->model_name,
        sizeof(record->model_name), record->model_version, sizeof(record->model_version),
        &quarantined);
    record->captured.state = clock ? CLOCK_SYNCHRONISED : CLOCK_UNSYNCHRONISED;
    record->tier = (enum frame_tier)tier;
    store__looks_unpack((unsigned)orientation, record);
    record->media = (enum frame_media)media;
    record->width = (uint32_t)width;
    record->height = (uint32_t)height;
    row->pinned = pinned;
    row->receipts = (unsigned)receipts;
    row->owed = (unsigned)owed;
    row->quarantined = quarantined;
    row->place = local ? STORE_PLACE_LOCAL : receipts ? STORE_PLACE_REMOTE : STORE_PLACE_GONE;
    place->segment = (uint64_t)sqlite3_column_int64(statement, 30);
    place->at = (uint64_t)sqlite3_column_int64(statement, 31);
    row->label_state = (enum store_label_state)sqlite3_column_int(statement, 32);
    if (!whole) {
        return err_set(err, ERR_CORRUPT, "the index has a frame whose hashes have a wrong size");
    }
    return store__detections_decode(sqlite3_column_blob(statement, 29),
                                    (size_t)sqlite3_column_bytes(statement, 29),
                                    &record->detections, &record->detection_count, err);
}

void store_row_destroy(struct store_row *row) {
    if (row) {
        free(row->record.detections);
        free(row);
    }
}

/* The index has the detections above its floor; the log has all of them. A log that cannot be read
 * leaves the row as it is: something to show is better than an error. */
static void detections_complete(struct store *store, struct store_row *row,
                                const struct log_position *place) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(mem_free_at) uint8_t *payload = NULL;
    CLEANUP(store__record_finish) struct record record = {0};
    struct record_header header;
    store__segment_path(&store->layout, row->record.tier, place->segment, path);
    if (store__record_read(path, place->segment, store->layout.uuid, place->at, &header, &payload,
                           NULL) ||
        !store__record_is_frame(header.kind) ||
        store__record_decode(header.kind, payload, header.payload_bytes, &record, NULL) ||
        memcmp(&record.frame.frame.id, &row->record.id, sizeof(row->record.id)) != 0) {
        return;
    }
    free(row->record.detections);
    row->record.detections = TAKE_PTR(record.frame.frame.detections);
    row->record.detection_count = record.frame.frame.detection_count;
}

int store_frame_get(struct store_reader *reader, const struct frame_id *id, struct store_row **out,
                    struct err *err) {
    sqlite3_stmt *statement;
    int code = store__reader_ready(reader, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_FRAME_ID, &statement, err, "b", id->bytes,
                                 sizeof(id->bytes));
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? err_set(err, code, "there is no such frame in the store")
                                     : store__reader_seen(reader, code);
    }
    struct store_row *row = mem_alloc(sizeof(*row));
    struct log_position place = {0};
    code = row ? store__row_read(statement, row, &place, err)
               : err_set(err, ERR_NOMEM, "no memory for a frame");
    sqlite3_reset(statement);
    if (code) {
        store_row_destroy(row);
        return store__reader_seen(reader, code);
    }
    detections_complete(reader->store, row, &place);
    *out = row;
    return 0;
}

int store_label_get(struct store_reader *reader, const struct frame_id *id, struct store_label *out,
                    struct err *err) {
    sqlite3_stmt *statement;
    int state = 0;
    int code = store__reader_ready(reader, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_LABEL, &statement, err, "b", id->bytes,
                                 sizeof(id->bytes));
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? err_set(err, code, "nobody has labeled this frame")
                                     : store__reader_seen(reader, code);
    }
    struct store_label label = {0};
    store__db_columns(statement, "nittt", &state, &label.utc_us, label.class_name,
                      sizeof(label.class_name), label.note, sizeof(label.note), label.who,
                      sizeof(label.who));
    label.state = (enum store_label_state)state;
    sqlite3_reset(statement);
    *out = label;
    return 0;
}

/* ---- names of frames ---- */

static int id_of(struct store_reader *reader, sqlite3_stmt *statement, struct frame_id *out,
                 struct err *err) {
    int code = store__db_step(&reader->db, statement, err);
    if (!code) {
        bool whole = store__db_columns(statement, "b", out->bytes, sizeof(out->bytes));
        sqlite3_reset(statement);
        code = whole ? 0 : err_set(err, ERR_CORRUPT, "the index has a malformed frame id");
    }
    return code;
}

/* Bytes of a hash that begin with the digits of `name`: all zeros after it, or all ones. */
static bool prefix_bytes(const char *name, uint8_t low[32], uint8_t high[32]) {
    char digits[65];
    size_t size = strlen(name);
    if (size < PREFIX_HEX_MIN || size > 64) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        digits[i] = name[i] >= 'A' && name[i] <= 'F' ? (char)(name[i] + 32) : name[i];
    }
    memset(digits + size, '0', 64 - size);
    digits[64] = '\0';
    if (!hash_parse_hex(digits, low, 32)) {
        return false;
    }
    memset(digits + size, 'f', 64 - size);
    return hash_parse_hex(digits, high, 32);
}

static int blob_by_prefix(struct store_reader *reader, const char *name, struct frame_hash *out,
                          struct err *err) {
    uint8_t low[32], high[32];
    unsigned found = 0;
    if (!prefix_bytes(name, low, high)) {
        return err_set(err, ERR_INVALID,
                       "\"%.70s\" is not a frame's name: give its id, 8 or more hex digits of its "
                       "hash, or @last",
                       name);
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        sqlite3_stmt *statement;
        struct frame_hash sha;
        int code = store__db_bind(&reader->db, READER_BLOB_PREFIX, &statement, err, "nbb", tier,
                                  low, (size_t)32, high, (size_t)32);
        while (!code && !(code = store__db_step(&reader->db, statement, err))) {
            store__db_columns(statement, "b", sha.bytes, sizeof(sha.bytes));
            found += !found || memcmp(&sha, out, sizeof(sha)) != 0;
            *out = sha;
        }
        if (code != ERR_NOT_FOUND) {
            return code;
        }
    }
    if (found > 1) {
        return err_set(err, ERR_INVALID,
                       "\"%.70s\" is the beginning of several hashes: give more digits", name);
    }
    return found ? 0 : err_set(err, ERR_NOT_FOUND, "no frame's hash begins with %.70s", name);
}

int store_resolve(struct store_reader *reader, const char *name, struct frame_id *out,
                  struct err *err) {
    sqlite3_stmt *statement;
    struct frame_hash sha = {{0}};
    int code = store__reader_ready(reader, err);
    if (code) {
        return code;
    }
    if (strcmp(name, "@last") == 0) {
        code = store__db_bind(&reader->db, READER_FRAME_LAST, &statement, err, "");
        code = code ? code : id_of(reader, statement, out, err);
        return code == ERR_NOT_FOUND ? err_set(err, code, "the store has no frame yet")
                                     : store__reader_seen(reader, code);
    }
    if (frame_id_parse(name, out)) {
        struct store_row *row = NULL;
        code = store_frame_get(reader, out, &row, err);
        store_row_destroy(row);
        return code;
    }
    code = blob_by_prefix(reader, name, &sha, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_FRAME_OF_BLOB, &statement, err, "b", sha.bytes,
                                 sizeof(sha.bytes));
    return store__reader_seen(reader, code ? code : id_of(reader, statement, out, err));
}

/* ---- bytes ---- */

static int blob_place(struct store_reader *reader, enum frame_tier tier,
                      const struct frame_hash *blob, struct log_position *place, struct err *err) {
    sqlite3_stmt *statement;
    int local = 0;
    int code = store__reader_ready(reader, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_BLOB, &statement, err, "nb", (int)tier,
                                 blob->bytes, sizeof(blob->bytes));
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? err_set(err, code, "the store does not know this blob")
                                     : store__reader_seen(reader, code);
    }
    store__db_columns(statement, "nuu", &local, &place->segment, &place->at);
    sqlite3_reset(statement);
    return local ? 0 : err_set(err, ERR_NOT_FOUND, "the blob is no longer in this store");
}

int store_blob_read(struct store_reader *reader, enum frame_tier tier,
                    const struct frame_hash *blob, uint8_t **bytes, size_t *size, struct err *err) {
    if ((unsigned)tier >= TIER_COUNT) {
        return err_set(err, ERR_INVALID, "there is no tier %u", (unsigned)tier);
    }
    for (unsigned tries = 0;; tries++) {
        char path[LAYOUT_PATH_MAX];
        struct log_position place, again;
        struct record_header header;
        const struct layout *layout = &reader->store->layout;
        int code = blob_place(reader, tier, blob, &place, err);
        if (code) {
            return code;
        }
        CLEANUP(mem_free_at) uint8_t *payload = NULL;
        store__segment_path(layout, tier, place.segment, path);
        code =
            store__record_read(path, place.segment, layout->uuid, place.at, &header, &payload, err);
        if (!code && header.kind == RECORD_BLOB && memcmp(&header.sha, blob, sizeof(*blob)) == 0) {
            *bytes = TAKE_PTR(payload);
            *size = header.payload_bytes;
            return 0;
        }
        if (code && code != ERR_CORRUPT && code != ERR_NOT_FOUND) {
            return code;
        }
        struct err gone = {0};
        int now = blob_place(reader, tier, blob, &again, &gone);
        bool moved = !now && (again.segment != place.segment || again.at != place.at);
        if (now == ERR_NOT_FOUND) {
            return err_set(err, now, "%s", gone.msg);
        }
        if (!moved || tries) {
            return err_set(err, ERR_CORRUPT,
                           "a blob at byte %llu of %s is damaged: run `creel fsck`",
                           (unsigned long long)place.at, path);
        }
    }
}

/* A part of the payload at `place`. ERR_NOT_FOUND: the file is gone. */
static int range_read(struct store_reader *reader, enum frame_tier tier,
                      const struct log_position *place, const struct frame_hash *blob,
                      uint64_t from, void *bytes, size_t *size, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    char path[LAYOUT_PATH_MAX];
    uint8_t head[RECORD_HEADER];
    struct record_header header;
    store__segment_path(&reader->store->layout, tier, place->segment, path);
    int code = fs_open(path, O_RDONLY, 0, &fd, err);
    code = code ? code : fs_pread_all(fd, head, sizeof(head), place->at, path, err);
    code = code ? code : store__header_decode(head, reader->store->layout.uuid, &header, err);
    if (code) {
        return code;
    }
    if (header.kind != RECORD_BLOB || memcmp(&header.sha, blob, sizeof(*blob)) != 0) {
        return err_set(err, ERR_CORRUPT,
                       "at byte %llu of %s lies another record than the index"
                       " says: run `creel fsck`",
                       (unsigned long long)place->at, path);
    }
    if (from > header.payload_bytes) {
        return err_set(err, ERR_INVALID, "the blob has %u bytes, and none from %llu on",
                       header.payload_bytes, (unsigned long long)from);
    }
    uint64_t left = header.payload_bytes - from;
    *size = left < *size ? (size_t)left : *size;
    return fs_pread_all(fd, bytes, *size, place->at + RECORD_HEADER + from, path, err);
}

/* What was read counts only if the blob lies there still: a removal punches behind the index. */
int store_blob_range(struct store_reader *reader, enum frame_tier tier,
                     const struct frame_hash *blob, uint64_t from, void *bytes, size_t *size,
                     struct err *err) {
    size_t wanted = *size;
    if ((unsigned)tier >= TIER_COUNT) {
        return err_set(err, ERR_INVALID, "there is no tier %u", (unsigned)tier);
    }
    for (unsigned tries = 0;; tries++) {
        struct log_position place, again;
        int code = blob_place(reader, tier, blob, &place, err);
        if (code) {
            return code;
        }
        *size = wanted;
        int got = range_read(reader, tier, &place, blob, from, bytes, size, err);
        code = blob_place(reader, tier, blob, &again, got ? NULL : err);
        bool moved = !code && (again.segment != place.segment || again.at != place.at);
        if (code || !moved || tries) {
            return code ? code : got;
        }
    }
}

int store_thumb_read(struct store_reader *reader, const struct frame_hash *blob, uint8_t **bytes,
                     size_t *size, struct err *err) {
    sqlite3_stmt *statement;
    struct log_position place;
    struct record_header header;
    char path[LAYOUT_PATH_MAX];
    CLEANUP(mem_free_at) uint8_t *payload = NULL;
    const struct layout *layout = &reader->store->layout;
    int code = store__reader_ready(reader, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_THUMB, &statement, err, "b", blob->bytes,
                                 sizeof(blob->bytes));
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return store__reader_seen(reader, code);
    }
    store__db_columns(statement, "uu", &place.segment, &place.at);
    sqlite3_reset(statement);
    store__segment_path(layout, STREAM_THUMBS, place.segment, path);
    code = store__record_read(path, place.segment, layout->uuid, place.at, &header, &payload, err);
    if (code || header.kind != RECORD_THUMB || header.payload_bytes <= sizeof(*blob) ||
        memcmp(payload, blob, sizeof(*blob)) != 0) {
        return err_set(err, ERR_NOT_FOUND, "the thumbnail is not in the cache any more");
    }
    *size = header.payload_bytes - sizeof(*blob);
    memmove(payload, payload + sizeof(*blob), *size);
    *bytes = TAKE_PTR(payload);
    return 0;
}

/* ---- counts and names ---- */

static int counts_tiers(struct store_reader *reader, struct store_counts *out, struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(&reader->db, READER_TIERS, &statement, err, "");
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        int tier = sqlite3_column_int(statement, 0);
        uint64_t *const into[] = {out->frames, out->blob_bytes, out->replicated, out->evicted};
        for (int i = 0; tier >= 0 && tier < TIER_COUNT && i < 4; i++) {
            into[i][tier] = (uint64_t)sqlite3_column_int64(statement, i + 1);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int counts_remotes(struct store_reader *reader, struct store_counts *out, struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(&reader->db, READER_REMOTES, &statement, err, "");
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        if (out->remote_count == STORE_REMOTES_MAX) {
            continue;
        }
        struct store_remote_counts *remote = &out->remotes[out->remote_count++];
        int64_t id = 0;
        store__db_columns(statement, "ituuuuuu", &id, remote->name, sizeof(remote->name),
                          &remote->pending, &remote->pending_bytes, &remote->done,
                          &remote->quarantined, &remote->tier_done[0], &remote->tier_done[1]);
        int oldest = store__db_number(&reader->db, READER_OLDEST_PENDING,
                                      &remote->oldest_pending_utc_us, err, "i", id);
        code = oldest == ERR_NOT_FOUND ? 0 : oldest;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

int store_counts_read(struct store_reader *reader, struct store_counts *out, struct err *err) {
    struct store_counts counts = {0};
    struct store *store = reader->store;
    int code = store__reader_ready(reader, err);
    code = code ? code : store__db_exec(&reader->db, "BEGIN", err);
    if (code) {
        return store__reader_seen(reader, code);
    }
    code = counts_tiers(reader, &counts, err);
    code = code ? code : counts_remotes(reader, &counts, err);
    sqlite3_exec(reader->db.handle, "COMMIT", NULL, NULL, NULL);
    pthread_mutex_lock(&store->lock);
    counts.disk_bytes = store->disk_bytes;
    counts.quota_bytes = store->quota;
    counts.seq = store->last_seq;
    counts.index_lag =
        store->written_lsn > store->applied_lsn ? store->written_lsn - store->applied_lsn : 0;
    pthread_mutex_unlock(&store->lock);
    if (!code) {
        *out = counts;
    }
    return store__reader_seen(reader, code);
}

/* Pointers first, then the texts, in one block. */
static char **names_pack(const struct buf *texts, size_t count) {
    size_t pointers = (count + 1) * sizeof(char *);
    char **names = mem_alloc(pointers + texts->len + 1);
    if (!names) {
        return NULL;
    }
    char *at = (char *)names + pointers;
    if (texts->len) {
        memcpy(at, texts->data, texts->len);
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = at;
        at += strlen(at) + 1;
    }
    return names;
}

static int names_read(struct store_reader *reader, enum name_kind kind, char ***out,
                      struct err *err) {
    CLEANUP(buf_finish) struct buf texts = BUF_INIT(NAMES_MAX * (FRAME_LABEL_MAX + 1));
    sqlite3_stmt *statement;
    size_t count = 0;
    int code =
        store__db_bind(&reader->db, READER_NAMES, &statement, err, "nn", (int)kind, NAMES_MAX);
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (text && text[0]) {
            buf_append(&texts, text, strlen(text) + 1);
            count++;
        }
    }
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    *out = texts.failed ? NULL : names_pack(&texts, count);
    return *out ? 0 : err_set(err, ERR_NOMEM, "no memory for %zu names", count);
}

int store_names_read(struct store_reader *reader, char ***cameras, char ***labels,
                     struct err *err) {
    CLEANUP(mem_free_at) char **found_cameras = NULL;
    CLEANUP(mem_free_at) char **found_labels = NULL;
    int code = store__reader_ready(reader, err);
    code = code ? code : names_read(reader, NAME_CAMERA, &found_cameras, err);
    code = code ? code : names_read(reader, NAME_LABEL, &found_labels, err);
    if (!code) {
        *cameras = TAKE_PTR(found_cameras);
        *labels = TAKE_PTR(found_labels);
    }
    return store__reader_seen(reader, code);
}

int store_rules_read(struct store_reader *reader, char ***rules, struct err *err) {
    int code = store__reader_ready(reader, err);
    code = code ? code : names_read(reader, NAME_RULE, rules, err);
    return store__reader_seen(reader, code);
}
