/* reader_outbox: what sync reads. The writing side is in store.c and index_outbox.c. */
#include "daemon/base/clock.h"
#include "store/reader.h"
#include <stdio.h>
#include <string.h>

static int remote_id(struct store_reader *reader, const char *remote, int64_t *id,
                     struct err *err) {
    int code = store__reader_ready(reader, err);
    code = code ? code : store__db_number(&reader->db, READER_REMOTE, id, err, "t", remote);
    return code == ERR_NOT_FOUND
               ? err_set(err, code, "no remote named \"%.40s\" is declared", remote)
               : code;
}

static int row_read(sqlite3_stmt *statement, struct store_outbox_row *row, struct err *err) {
    int tier = 0, media = 0, attempts = 0;
    int64_t width = 0, height = 0;
    bool whole = store__db_columns(statement, "ubnnuiiidn", &row->row, row->blob.bytes,
                                   sizeof(row->blob.bytes), &tier, &media, &row->blob_bytes,
                                   &row->kept_utc_us, &width, &height, &row->value, &attempts);
    row->tier = (enum frame_tier)tier;
    row->media = (enum frame_media)media;
    row->width = (uint32_t)width;
    row->height = (uint32_t)height;
    row->attempts = (unsigned)attempts;
    return whole ? 0 : err_set(err, ERR_CORRUPT, "the index has a hash of a wrong size");
}

int store_outbox_read(struct store_reader *reader, const char *remote, enum store_order order,
                      size_t limit, struct store_outbox_row *rows, size_t *count,
                      int64_t *next_due_us, struct err *err) {
    static const enum reader_statement orders[] = {
        [STORE_OLDEST] = READER_OUTBOX_OLDEST,
        [STORE_NEWEST] = READER_OUTBOX_NEWEST,
        [STORE_VALUE] = READER_OUTBOX_VALUE,
    };
    if ((unsigned)order > STORE_VALUE || limit > INT32_MAX) {
        return err_set(err, ERR_INVALID, "the outbox has no order %d", (int)order);
    }
    int64_t next = 0;
    if (!store__outbox_ready(reader->store, &next)) {
        *count = 0;
        if (next_due_us) {
            *next_due_us = next;
        }
        return 0;
    }
    sqlite3_stmt *statement;
    int64_t id = 0, now = clock_boot_us();
    size_t found = 0;
    int code = remote_id(reader, remote, &id, err);
    code = code ? code
                : store__db_bind(&reader->db, orders[order], &statement, err, "iin", id, now,
                                 (int)limit);
    while (!code && found < limit && !(code = store__db_step(&reader->db, statement, err))) {
        memset(&rows[found], 0, sizeof(rows[found]));
        code = row_read(statement, &rows[found++], err);
    }
    if (!code) {
        sqlite3_reset(statement);
    }
    code = code == ERR_NOT_FOUND && id ? 0 : code;
    code =
        code ? code : store__db_number(&reader->db, READER_OUTBOX_NEXT, &next, err, "ii", id, now);
    if (code) {
        return store__reader_seen(reader, code);
    }
    *count = found;
    if (next_due_us) {
        *next_due_us = next;
    }
    return 0;
}

/* ---- what a person looks at before deciding ---- */

static int quarantined_read(sqlite3_stmt *statement, struct store_quarantined *row,
                            struct err *err) {
    int tier = 0, attempts = 0;
    *row = (struct store_quarantined){0};
    bool whole = store__db_columns(statement, "ubnbuint", &row->row, row->frame.bytes,
                                   sizeof(row->frame.bytes), &tier, row->blob.bytes,
                                   sizeof(row->blob.bytes), &row->blob_bytes, &row->kept_utc_us,
                                   &attempts, row->reason, sizeof(row->reason));
    row->tier = (enum frame_tier)tier;
    row->attempts = (unsigned)attempts;
    return whole ? 0 : err_set(err, ERR_CORRUPT, "the index has a hash of a wrong size");
}

int store_quarantine_read(struct store_reader *reader, const char *remote, uint64_t after,
                          struct store_quarantined *rows, size_t limit, size_t *count,
                          struct err *err) {
    sqlite3_stmt *statement;
    int64_t id = 0;
    size_t found = 0;
    *count = 0;
    int code = remote_id(reader, remote, &id, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_QUARANTINE, &statement, err, "iin", id,
                                 (int64_t)after, (int)limit);
    while (!code && found < limit && !(code = store__db_step(&reader->db, statement, err))) {
        code = quarantined_read(statement, &rows[found++], err);
    }
    if (!code) {
        sqlite3_reset(statement);
    }
    code = code == ERR_NOT_FOUND && id ? 0 : code;
    if (!code) {
        *count = found;
    }
    return store__reader_seen(reader, code);
}

int store_unqueued_read(struct store_reader *reader, const char *remote, int64_t since_us,
                        int64_t *after, struct store_blob_name *names, size_t limit, size_t *count,
                        bool *more, struct err *err) {
    sqlite3_stmt *statement;
    int64_t id = 0, at = *after;
    size_t found = 0, looked = 0;
    int code = remote_id(reader, remote, &id, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_UNQUEUED, &statement, err, "iiin", id, at,
                                 since_us, (int)reader->looks);
    while (!code && found < limit && !(code = store__db_step(&reader->db, statement, err))) {
        int tier = 0, wanted = 0;
        struct frame_hash blob;
        bool whole = store__db_columns(statement, "inbn", &at, &tier, blob.bytes,
                                       sizeof(blob.bytes), &wanted);
        looked++;
        if (!whole) {
            code = err_set(err, ERR_CORRUPT, "the index has a hash of a wrong size");
        } else if (wanted) {
            names[found++] = (struct store_blob_name){(enum frame_tier)tier, blob};
        }
    }
    if (!code) {
        sqlite3_reset(statement);
    }
    bool end = code == ERR_NOT_FOUND && id;
    if (code && !end) {
        return store__reader_seen(reader, code);
    }
    *after = at;
    *count = found;
    *more = !end || looked == reader->looks;
    return 0;
}

int store_receipt_get(struct store_reader *reader, const char *remote, enum frame_tier tier,
                      const struct frame_hash *blob, struct store_receipt *out, struct err *err) {
    sqlite3_stmt *statement;
    struct store_receipt receipt = {.blob = *blob, .tier = tier};
    int kind = 0;
    int code = store__reader_ready(reader, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_RECEIPT, &statement, err, "nbt", (int)tier,
                                 blob->bytes, sizeof(blob->bytes), remote ? remote : "");
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? err_set(err, code, "no remote has confirmed this blob")
                                     : store__reader_seen(reader, code);
    }
    store__db_columns(statement, "nttit", &kind, receipt.key, sizeof(receipt.key), receipt.etag,
                      sizeof(receipt.etag), &receipt.utc_us, receipt.remote,
                      sizeof(receipt.remote));
    sqlite3_reset(statement);
    receipt.kind = (enum store_receipt_kind)kind;
    *out = receipt;
    return 0;
}
