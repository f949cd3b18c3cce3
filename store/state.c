/* state: state.db, a small durable map for what no log can make again (users, shares, budgets, what
 * a directory source has taken). synchronous=FULL: a put is durable when it returns. It cannot be
 * rebuilt, so a damaged file is never set aside silently: opening fails and says so.
 */
#include "store/store_impl.h"
#include <string.h>

extern const char embed_schemas_state_sql[];

#define STATE_SPACE_MAX 64

enum { STATE_GET, STATE_PUT, STATE_DROP, STATE_STATEMENTS };

static const char *const state_sql[STATE_STATEMENTS] = {
    [STATE_GET] = "SELECT value FROM state WHERE space = ? AND key = ?",
    [STATE_PUT] = "INSERT INTO state (space, key, value) VALUES (?1, ?2, ?3)"
                  " ON CONFLICT (space, key) DO UPDATE SET value = ?3",
    [STATE_DROP] = "DELETE FROM state WHERE space = ? AND key = ?",
};

int store__state_open(struct store *store, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    struct db *db = &store->state;
    int code = store__db_open(db, store__file_path(&store->layout, "state.db", path), DB_WRITE,
                              state_sql, STATE_STATEMENTS, err);
    code = code ? code
                : store__db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err);
    code = code ? code : store__db_exec(db, embed_schemas_state_sql, err);
    if (code == ERR_CORRUPT) {
        return err_wrap(err,
                        "%s is damaged and nothing can make it again: restore it from a backup, "
                        "or move it away to start without users, links and budgets",
                        path);
    }
    return code;
}

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
