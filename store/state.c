/* state: state.db, a small durable map for what no log can make again (users, shares, budgets, what
 * a directory source has taken). synchronous=FULL: a put is durable when it returns.
 *
 * It cannot be rebuilt, so once a day a copy of it is laid beside it. A damaged file is set aside
 * and the copy takes its place, because nobody is there to do it; what is said of it (the store's
 * last error) names the day that is lost. Without a copy, opening fails and says so.
 */
#include "store/state.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "store/store_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char embed_schemas_state_sql[];

#define STATE_SPACE_MAX 64
#define STATE_NAME      "state.db"
#define STATE_COPY      "state.db.bak"
#define STATE_ASIDE     "state.db.damaged"
#define DAY_US          (24 * 3600 * INT64_C(1000000))
#define COPY_RETRY_US   (3600 * INT64_C(1000000)) /* after a copy that could not be written */

static const char *const state_sql[STATE_STATEMENTS] = {
    [STATE_GET] = "SELECT value FROM state WHERE space = ? AND key = ?",
    [STATE_PUT] = "INSERT INTO state (space, key, value) VALUES (?1, ?2, ?3)"
                  " ON CONFLICT (space, key) DO UPDATE SET value = ?3",
    [STATE_DROP] = "DELETE FROM state WHERE space = ? AND key = ?",
    [STATE_LIST] = "SELECT key, value FROM state WHERE space = ? ORDER BY key",
    [STATE_TALLY_ADD] =
        "INSERT INTO tally (span, minute, camera, rule, kept, over_budget, rejected) VALUES"
        " (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (span, minute, camera, rule) DO UPDATE SET kept "
        "="
        " kept + ?5, over_budget = over_budget + ?6, rejected = rejected + ?7",
    [STATE_TALLY_GET] = "SELECT minute, camera, rule, kept, over_budget, rejected FROM tally WHERE"
                        " span = ? AND minute >= ? AND minute < ? ORDER BY minute, camera, rule",
    [STATE_TALLY_DROP] = "DELETE FROM tally WHERE span = ? AND minute > 0 AND minute < ?",
    [STATE_CHECK] = "SELECT count(*) FROM pragma_quick_check(1) WHERE quick_check <> 'ok'",
};

/* ---- opening ---- */

static int damage_check(struct db *db, struct err *err) {
    int64_t problems = 0;
    int code = store__db_number(db, STATE_CHECK, &problems, err, "");
    return code || !problems ? code : err_set(err, ERR_CORRUPT, "%s is damaged", db->path);
}

static int try_open(struct store *store, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    struct db *db = &store->state;
    int code = store__db_open(db, store__file_path(&store->layout, STATE_NAME, path), DB_WRITE,
                              state_sql, STATE_STATEMENTS, err);
    code = code ? code
                : store__db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err);
    code = code ? code : store__db_exec(db, embed_schemas_state_sql, err);
    return code ? code : damage_check(db, err);
}

static int set_aside(struct store *store, struct err *err) {
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char from[LAYOUT_PATH_MAX], to[LAYOUT_PATH_MAX], name[64];
    int code = 0;
    store__db_close(&store->state);
    for (size_t i = 0; !code && i < ARRAY_LENGTH(suffixes); i++) {
        snprintf(name, sizeof(name), STATE_NAME "%s", suffixes[i]);
        store__file_path(&store->layout, name, from);
        snprintf(name, sizeof(name), STATE_ASIDE "%s", suffixes[i]);
        store__file_path(&store->layout, name, to);
        code = access(from, F_OK) == 0 ? fs_rename(from, to, err) : fs_unlink(to, err);
    }
    return code;
}

/* The copy stays where it is until the next day's takes its place. */
static int copy_restore(struct store *store, struct err *err) {
    char copy[LAYOUT_PATH_MAX], path[LAYOUT_PATH_MAX], when[CLOCK_RFC3339_SIZE];
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(STORE_STATE_BACKUP_MAX);
    struct stat info;
    store__file_path(&store->layout, STATE_COPY, copy);
    int code = stat(copy, &info) < 0
                   ? err_set(err, ERR_CORRUPT,
                             "%s is damaged and there is no copy of it yet: restore it from a "
                             "backup, or move it away to start without users, links and budgets",
                             store->state.path)
                   : 0;
    code = code ? code : fs_read_file(copy, &bytes, err);
    code = code ? code : set_aside(store, err);
    code = code ? code
                : fs_write_file_atomic(store__file_path(&store->layout, STATE_NAME, path),
                                       bytes.data, bytes.len, 0600, err);
    code = code ? code : try_open(store, err);
    if (!code) {
        struct err told = {0};
        clock_format_rfc3339((int64_t)info.st_mtim.tv_sec * 1000000, when);
        err_set(&told, ERR_CORRUPT,
                STATE_NAME " was damaged, and the copy of %s took its place: what users, links and"
                           " budgets became since then is lost; the damaged one is " STATE_ASIDE,
                when);
        store__error_note(store, &told);
    }
    return code;
}

int store__state_open(struct store *store, struct err *err) {
    int code = try_open(store, err);
    return code == ERR_CORRUPT ? copy_restore(store, err) : code;
}

/* ---- copies ---- */

int store_state_backup(struct store *store, uint8_t **bytes, size_t *size, struct err *err) {
    pthread_mutex_lock(&store->state_lock);
    sqlite3_int64 length = 0;
    int code = damage_check(&store->state, err);
    unsigned char *image = code ? NULL : sqlite3_serialize(store->state.handle, "main", &length, 0);
    pthread_mutex_unlock(&store->state_lock);
    if (!code && !image) {
        code = err_set(err, ERR_NOMEM, "no memory for a copy of %s", store->state.path);
    }
    if (!code && length > STORE_STATE_BACKUP_MAX) {
        code = err_set(err, ERR_FULL,
                       "%s has %lld bytes, too many for a copy: stop the daemon and"
                       " copy the file",
                       store->state.path, (long long)length);
    }
    uint8_t *copy = code ? NULL : mem_alloc((size_t)length + 1);
    if (!code && !copy) {
        code = err_set(err, ERR_NOMEM, "no memory for a copy of %s", store->state.path);
    }
    if (!code) {
        memcpy(copy, image, (size_t)length);
        *bytes = copy;
        *size = (size_t)length;
    }
    sqlite3_free(image);
    return code;
}

static bool copy_is_due(const struct store *store) {
    char path[LAYOUT_PATH_MAX];
    struct stat info;
    if (stat(store__file_path(&store->layout, STATE_COPY, path), &info) < 0) {
        return true;
    }
    int64_t age_us = clock_utc_us() - (int64_t)info.st_mtim.tv_sec * 1000000;
    return age_us >= DAY_US || age_us <= -DAY_US; /* the clock was wrong then, or is now */
}

void store__state_copy_daily(struct store *store) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(mem_free_at) uint8_t *bytes = NULL;
    size_t size = 0;
    struct err err = {0};
    int64_t now = clock_boot_us();
    if (store->bare || store->config.at_rest || now < store->copy_next_us) {
        return;
    }
    store->copy_next_us = now + COPY_RETRY_US;
    if (!copy_is_due(store)) {
        return;
    }
    int code = store_state_backup(store, &bytes, &size, &err);
    code = code ? code
                : fs_write_file_atomic(store__file_path(&store->layout, STATE_COPY, path), bytes,
                                       size, 0600, &err);
    if (code) {
        store__error_note(store, &err);
    }
}

/* ---- the map ---- */

static int bounds_check(const char *space, size_t key_size, size_t size, struct err *err) {
    if (!space || !space[0] || strlen(space) > STATE_SPACE_MAX || key_size > STORE_STATE_KEY_MAX ||
        size > STORE_STATE_VALUE_MAX) {
        return err_set(err, ERR_INVALID,
                       "state of space \"%.64s\" with a key of %zu and a value of %zu bytes is out "
                       "of bounds (%d and %d)",
                       space ? space : "", key_size, size, STORE_STATE_KEY_MAX,
                       STORE_STATE_VALUE_MAX);
    }
    return 0;
}

int store_state_get(struct store *store, const char *space, const void *key, size_t key_size,
                    void *value, size_t room, size_t *size, struct err *err) {
    sqlite3_stmt *statement;
    int code = bounds_check(space, key_size, 0, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->state_lock);
    code = store__db_bind(&store->state, STATE_GET, &statement, err, "tb", space, key, key_size);
    code = code ? code : store__db_step(&store->state, statement, err);
    if (!code) {
        size_t found = (size_t)sqlite3_column_bytes(statement, 0);
        if (found > room) {
            code = err_set(err, ERR_FULL, "a state value of %zu bytes does not fit into %zu", found,
                           room);
        } else {
            *size = found;
            if (found) {
                memcpy(value, sqlite3_column_blob(statement, 0), found);
            }
        }
        sqlite3_reset(statement);
    }
    pthread_mutex_unlock(&store->state_lock);
    return code;
}

int store_state_put(struct store *store, const char *space, const void *key, size_t key_size,
                    const void *value, size_t size, struct err *err) {
    int code = bounds_check(space, key_size, size, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->state_lock);
    code = store__db_run(&store->state, STATE_PUT, err, "tbb", space, key, key_size, value, size);
    pthread_mutex_unlock(&store->state_lock);
    return code;
}

int store_state_drop(struct store *store, const char *space, const void *key, size_t key_size,
                     struct err *err) {
    int code = bounds_check(space, key_size, 0, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->state_lock);
    code = store__db_run(&store->state, STATE_DROP, err, "tb", space, key, key_size);
    pthread_mutex_unlock(&store->state_lock);
    return code;
}

int store_state_each(struct store *store, const char *space, store_state_fn *each, void *ctx,
                     struct err *err) {
    sqlite3_stmt *statement = NULL;
    int code = bounds_check(space, 0, 0, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->state_lock);
    code = store__db_bind(&store->state, STATE_LIST, &statement, err, "t", space);
    code = code ? code : store__db_step(&store->state, statement, err);
    while (!code) {
        code =
            each(ctx, sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0),
                 sqlite3_column_blob(statement, 1), (size_t)sqlite3_column_bytes(statement, 1));
        if (code) {
            sqlite3_reset(statement);
            break;
        }
        code = store__db_step(&store->state, statement, err);
    }
    pthread_mutex_unlock(&store->state_lock);
    return code == ERR_NOT_FOUND ? 0 : code;
}
