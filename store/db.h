/* db: SQLite as the store uses it: one connection a thread, statements made once and kept, errors
 * as ours.
 *
 * A `struct db` has a fixed table of SQL texts; a statement is compiled at its first use. Binding
 * and columns go by short format texts instead of ten calls a row. Thread: one at a time
 * (connections are opened without SQLite's mutex).
 */
#ifndef CREEL_STORE_DB_H
#define CREEL_STORE_DB_H

#include "daemon/base/err.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DB_STATEMENTS_MAX 96
#define DB_BUSY_MS        2000 /* a lock of another connection is waited for so long */

struct db {
    sqlite3 *handle;
    const char *const *sql; /* borrowed, `sql_count` texts */
    size_t sql_count;
    sqlite3_stmt *statements[DB_STATEMENTS_MAX];
    char path[512];
};

enum db_mode { DB_READ, DB_WRITE };

int store__db_open(struct db *db, const char *path, enum db_mode mode, const char *const *sql,
                   size_t sql_count, struct err *err);
void store__db_close(struct db *db); /* accepts a zeroed one */

int store__db_exec(struct db *db, const char *sql, struct err *err);

/* The statement number `which`, reset and with its values bound: i int64_t, u uint64_t, n int, d
 * double, t const char *, b const void * and size_t. Borrowed texts and bytes must stay until the
 * statement is reset. */
int store__db_bind(struct db *db, unsigned which, sqlite3_stmt **out, struct err *err,
                   const char *format, ...);

/* 0: a row is there; ERR_NOT_FOUND: no more (and the statement is reset). */
int store__db_step(struct db *db, sqlite3_stmt *statement, struct err *err);

/* Bind and run to the end; no rows wanted. */
int store__db_run(struct db *db, unsigned which, struct err *err, const char *format, ...);

/* Bind, and one number of the first row (0 if NULL). ERR_NOT_FOUND: no row. */
int store__db_number(struct db *db, unsigned which, int64_t *out, struct err *err,
                     const char *format, ...);

/* Reads columns from 0 on into pointers: i int64_t *, u uint64_t *, n int *, d double *, f float *,
 * t char * and size_t (size with NUL), b void * and size_t (exact; false if the size differs). */
bool store__db_columns(sqlite3_stmt *statement, const char *format, ...);

/* Pages written, also before their transaction ended, since it was last asked to count `again`. */
int store__db_pages_written(struct db *db, bool again);

/* The error of the last call on `db` as ours: CORRUPT and NOTADB are ERR_CORRUPT, FULL is ERR_FULL,
 * BUSY and LOCKED ERR_BUSY, READONLY (also: it was left in the middle of a change, which only a
 * writer can undo) ERR_REFUSED. */
int store__db_error(struct db *db, const char *doing, struct err *err);

#endif
