/* store_peer: what people do without a store: a file a frame, and a row in SQLite to find it by.
 *
 * One transaction a frame, as each frame is acknowledged by itself, and WAL. With
 * synchronous=NORMAL, as most would have it, no row is synced and a power cut takes the last ones;
 * with FULL each is durable, as what the store acknowledges is. Both are measured, each with a
 * database of its own.
 */
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "tests/bench/store_bench.h"
#include <sqlite3.h>
#include <stdlib.h>

struct bench_peer {
    sqlite3 *db;
    sqlite3_stmt *begin, *frame, *detection, *commit;
};

static const struct {
    const char *name, *pragmas;
} databases[] = {
    [BENCH_ROWS_NORMAL] = {"peer-normal.db",
                           "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"},
    [BENCH_ROWS_DURABLE] = {"peer-durable.db",
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"},
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS frame (id BLOB PRIMARY KEY, utc, camera, tier, value, path);"
    "CREATE INDEX IF NOT EXISTS frame_utc ON frame (utc);"
    "CREATE TABLE IF NOT EXISTS detection (frame, label, confidence, x, y, w, h);"
    "CREATE INDEX IF NOT EXISTS detection_frame ON detection (frame);";

static int failed(const struct bench_peer *peer, struct err *err) {
    return err_set(err, ERR_SYS, "the peer's database: %s", sqlite3_errmsg(peer->db));
}

static bool prepare(struct bench_peer *peer, const char *sql, sqlite3_stmt **out) {
    return sqlite3_prepare_v2(peer->db, sql, -1, out, NULL) == SQLITE_OK;
}

int bench_peer_open(const char *dir, enum bench_rows rows, struct bench_peer **out,
                    struct err *err) {
    char path[FS_PATH_MAX];
    struct bench_peer *peer = mem_alloc(sizeof(*peer));
    int code = peer ? fs_join(path, sizeof(path), dir, databases[rows].name, err)
                    : err_set(err, ERR_NOMEM, "no memory for the peer");
    if (code) {
        bench_peer_close(peer);
        return code;
    }
    *out = peer;
    bool ready =
        sqlite3_open(path, &peer->db) == SQLITE_OK &&
        sqlite3_exec(peer->db, databases[rows].pragmas, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(peer->db, schema, NULL, NULL, NULL) == SQLITE_OK &&
        prepare(peer, "BEGIN", &peer->begin) &&
        prepare(peer, "INSERT OR REPLACE INTO frame VALUES (?, ?, ?, ?, ?, ?)", &peer->frame) &&
        prepare(peer, "INSERT INTO detection VALUES (?, ?, ?, ?, ?, ?, ?)", &peer->detection) &&
        prepare(peer, "COMMIT", &peer->commit);
    return ready ? 0 : failed(peer, err);
}

static bool run(sqlite3_stmt *statement) {
    bool done = sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_reset(statement);
    return done;
}

static bool detection_put(struct bench_peer *peer, const struct frame_record *record,
                          const struct frame_detection *detection) {
    const double box[] = {detection->box.x, detection->box.y, detection->box.w, detection->box.h};
    sqlite3_stmt *row = peer->detection;
    sqlite3_bind_blob(row, 1, record->id.bytes, sizeof(record->id.bytes), SQLITE_STATIC);
    sqlite3_bind_text(row, 2, detection->label, -1, SQLITE_STATIC);
    sqlite3_bind_double(row, 3, (double)detection->confidence);
    for (int i = 0; i < 4; i++) {
        sqlite3_bind_double(row, 4 + i, box[i]);
    }
    return run(row);
}

int bench_peer_put(struct bench_peer *peer, const struct frame_record *record, const char *path,
                   struct err *err) {
    sqlite3_stmt *row = peer->frame;
    sqlite3_bind_blob(row, 1, record->id.bytes, sizeof(record->id.bytes), SQLITE_STATIC);
    sqlite3_bind_int64(row, 2, record->captured.utc_us);
    sqlite3_bind_text(row, 3, record->camera, -1, SQLITE_STATIC);
    sqlite3_bind_int(row, 4, (int)record->tier);
    sqlite3_bind_double(row, 5, record->value);
    sqlite3_bind_text(row, 6, path, -1, SQLITE_STATIC);
    bool done = run(peer->begin) && run(row);
    for (size_t i = 0; done && i < record->detection_count; i++) {
        const struct frame_detection *detection = &record->detections[i];
        done = (double)detection->confidence < BENCH_INDEX_FLOOR ||
               detection_put(peer, record, detection);
    }
    return done && run(peer->commit) ? 0 : failed(peer, err);
}

void bench_peer_close(struct bench_peer *peer) {
    if (peer) {
        sqlite3_finalize(peer->begin);
        sqlite3_finalize(peer->frame);
        sqlite3_finalize(peer->detection);
        sqlite3_finalize(peer->commit);
        sqlite3_close(peer->db);
        free(peer);
    }
}
