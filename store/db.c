/* db: see db.h.
 *
 * SQLite allocates through daemon/base/mem.h and calls the system through fs_ops, so the tests that
 * make the Nth call fail, kill the process there or take the power away see its files as they see
 * the log. It has no slot for fsync and fdatasync: the tests put their own in front of libc's.
 */
#include "store/db.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <assert.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what SQLite stands on ---- */

static void *memory_get(int size) {
    return mem_resize(NULL, (size_t)size, 1);
}

static void *memory_resize(void *old, int size) {
    return mem_resize(old, (size_t)size, 1);
}

static int memory_size(void *block) {
    return (int)malloc_usable_size(block);
}

static int memory_roundup(int size) {
    return (size + 7) & ~7;
}

static int memory_init(void *unused) {
    (void)unused;
    return SQLITE_OK;
}

static void memory_shutdown(void *unused) {
    (void)unused;
}

static int call_open(const char *path, int flags, int mode) {
    return fs_ops_get()->open(path, flags, (mode_t)mode);
}

static int call_close(int fd) {
    return fs_ops_get()->close(fd);
}

static ssize_t call_pread(int fd, void *bytes, size_t size, off_t at) {
    return fs_ops_get()->pread(fd, bytes, size, at);
}

static ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t at) {
    return fs_ops_get()->pwrite(fd, bytes, size, at);
}

static int call_ftruncate(int fd, off_t size) {
    return fs_ops_get()->ftruncate(fd, size);
}

static int call_unlink(const char *path) {
    return fs_ops_get()->unlink(path);
}

_Static_assert(sizeof(off_t) == 8, "pread64 and pread are one");

#define CALL(function) ((sqlite3_syscall_ptr)(uintptr_t)(function))

/* Once a process. Where SQLite is in use already (it then refuses to be configured), it stays as it
 * is. */
static void foundation_lay(void) {
    static const sqlite3_mem_methods memory = {
        .xMalloc = memory_get,
        .xFree = free,
        .xRealloc = memory_resize,
        .xSize = memory_size,
        .xRoundup = memory_roundup,
        .xInit = memory_init,
        .xShutdown = memory_shutdown,
    };
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* a lock of all connections around each malloc */
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } calls[] = {
        {"open", CALL(call_open)},           {"close", CALL(call_close)},
        {"pread", CALL(call_pread)},         {"pread64", CALL(call_pread)},
        {"pwrite", CALL(call_pwrite)},       {"pwrite64", CALL(call_pwrite)},
        {"ftruncate", CALL(call_ftruncate)}, {"unlink", CALL(call_unlink)},
    };
    for (size_t i = 0; vfs && i < ARRAY_LENGTH(calls); i++) {
        vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call);
    }
}

int store__db_error(struct db *db, const char *doing, struct err *err) {
    static const struct {
        int sqlite, ours;
    } codes[] = {
        {SQLITE_CORRUPT, ERR_CORRUPT}, {SQLITE_NOTADB, ERR_CORRUPT}, {SQLITE_FULL, ERR_FULL},
        {SQLITE_BUSY, ERR_BUSY},       {SQLITE_LOCKED, ERR_BUSY},    {SQLITE_NOMEM, ERR_NOMEM},
        {SQLITE_SCHEMA, ERR_CORRUPT},  {SQLITE_ERROR, ERR_CORRUPT},  {SQLITE_READONLY, ERR_REFUSED},
    };
    int found = db->handle ? sqlite3_errcode(db->handle) : SQLITE_NOMEM;
    int code = ERR_SYS;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].sqlite == (found & 0xff)) {
            code = codes[i].ours;
        }
    }
    return err_set(err, code, "%s %s: %s", doing, db->path,
                   db->handle ? sqlite3_errmsg(db->handle) : "no memory");
}

int store__db_open(struct db *db, const char *path, enum db_mode mode, const char *const *sql,
                   size_t sql_count, struct err *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    assert(sql_count <= DB_STATEMENTS_MAX);
    pthread_once(&once, foundation_lay);
    memset(db, 0, sizeof(*db));
    db->sql = sql;
    db->sql_count = sql_count;
    snprintf(db->path, sizeof(db->path), "%s", path);
    int flags =
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
        (mode == DB_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    if (sqlite3_open_v2(path, &db->handle, flags, NULL) != SQLITE_OK) {
        int code = store__db_error(db, "cannot open", err);
        store__db_close(db);
        return code;
    }
    sqlite3_busy_timeout(db->handle, DB_BUSY_MS);
    return 0;
}

void store__db_close(struct db *db) {
    for (size_t i = 0; i < db->sql_count; i++) {
        sqlite3_finalize(db->statements[i]);
    }
    sqlite3_close_v2(db->handle);
    memset(db, 0, sizeof(*db));
}

int store__db_exec(struct db *db, const char *sql, struct err *err) {
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return store__db_error(db, "cannot use", err);
    }
    return 0;
}

static int bind_one(sqlite3_stmt *statement, int at, char kind, va_list *args) {
    switch (kind) {
    case 'i':
        return sqlite3_bind_int64(statement, at, va_arg(*args, int64_t));
    case 'u':
        return sqlite3_bind_int64(statement, at, (int64_t)va_arg(*args, uint64_t));
    case 'n':
        return sqlite3_bind_int(statement, at, va_arg(*args, int));
    case 'd':
        return sqlite3_bind_double(statement, at, va_arg(*args, double));
    case 't':
        return sqlite3_bind_text(statement, at, va_arg(*args, const char *), -1, SQLITE_STATIC);
    case 'b': {
        const void *bytes = va_arg(*args, const void *);
        size_t size = va_arg(*args, size_t);
        return sqlite3_bind_blob64(statement, at, bytes ? bytes : "", size, SQLITE_STATIC);
    }
    default:
        assert(!"unknown bind format");
        return SQLITE_MISUSE;
    }
}

static int bind_all(struct db *db, unsigned which, sqlite3_stmt **out, struct err *err,
                    const char *format, va_list *args) {
    assert(which < db->sql_count);
    if (!db->handle) {
        return err_set(err, ERR_BUSY, "the index is not open now");
    }
    sqlite3_stmt **statement = &db->statements[which];
    if (!*statement && sqlite3_prepare_v3(db->handle, db->sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                          statement, NULL) != SQLITE_OK) {
        return store__db_error(db, "cannot use", err);
    }
    sqlite3_reset(*statement);
    assert((int)strlen(format) == sqlite3_bind_parameter_count(*statement));
    for (int i = 0; format[i]; i++) {
        if (bind_one(*statement, i + 1, format[i], args) != SQLITE_OK) {
            return store__db_error(db, "cannot use", err);
        }
    }
    *out = *statement;
    return 0;
}

int store__db_bind(struct db *db, unsigned which, sqlite3_stmt **out, struct err *err,
                   const char *format, ...) {
    va_list args;
    va_start(args, format);
    int code = bind_all(db, which, out, err, format, &args);
    va_end(args);
    return code;
}

/* Without words for the end of the rows, which is where every change ends. */
static int step_quietly(struct db *db, sqlite3_stmt *statement, struct err *err) {
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        return 0;
    }
    int code = result == SQLITE_DONE ? ERR_NOT_FOUND : store__db_error(db, "cannot use", err);
    sqlite3_reset(statement);
    return code;
}

int store__db_step(struct db *db, sqlite3_stmt *statement, struct err *err) {
    int code = step_quietly(db, statement, err);
    return code == ERR_NOT_FOUND ? err_set(err, code, "no such row in %s", db->path) : code;
}

int store__db_run(struct db *db, unsigned which, struct err *err, const char *format, ...) {
    sqlite3_stmt *statement;
    va_list args;
    va_start(args, format);
    int code = bind_all(db, which, &statement, err, format, &args);
    va_end(args);
    while (!code) {
        code = step_quietly(db, statement, err);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

int store__db_number(struct db *db, unsigned which, int64_t *out, struct err *err,
                     const char *format, ...) {
    sqlite3_stmt *statement;
    va_list args;
    va_start(args, format);
    int code = bind_all(db, which, &statement, err, format, &args);
    va_end(args);
    code = code ? code : store__db_step(db, statement, err);
    if (!code) {
        *out = sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
    }
    return code;
}

int store__db_pages_written(struct db *db, bool again) {
    int written = 0, unused = 0;
    sqlite3_db_status(db->handle, SQLITE_DBSTATUS_CACHE_WRITE, &written, &unused, again);
    return written;
}

static bool column_bytes(sqlite3_stmt *statement, int at, void *out, size_t size) {
    const void *bytes = sqlite3_column_blob(statement, at);
    if (sqlite3_column_bytes(statement, at) != (int)size) {
        return false;
    }
    if (size) {
        memcpy(out, bytes, size);
    }
    return true;
}

static void column_text(sqlite3_stmt *statement, int at, char *out, size_t room) {
    const unsigned char *text = sqlite3_column_text(statement, at);
    snprintf(out, room, "%s", text ? (const char *)text : "");
}

bool store__db_columns(sqlite3_stmt *statement, const char *format, ...) {
    va_list args;
    bool good = true;
    va_start(args, format);
    for (int i = 0; format[i]; i++) {
        void *out = va_arg(args, void *);
        switch (format[i]) {
        case 'i':
            *(int64_t *)out = sqlite3_column_int64(statement, i);
            break;
        case 'u':
            *(uint64_t *)out = (uint64_t)sqlite3_column_int64(statement, i);
            break;
        case 'n':
            *(int *)out = sqlite3_column_int(statement, i);
            break;
        case 'd':
            *(double *)out = sqlite3_column_double(statement, i);
            break;
        case 'f':
            *(float *)out = (float)sqlite3_column_double(statement, i);
            break;
        case 't':
            column_text(statement, i, out, va_arg(args, size_t));
            break;
        case 'b':
            good = column_bytes(statement, i, out, va_arg(args, size_t)) && good;
            break;
        default:
            assert(!"unknown column format");
        }
    }
    va_end(args);
    return good;
}
