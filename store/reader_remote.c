/* reader_remote: what who compares a whole remote with the index reads: all receipts, in pages by
 * the blob, and what is known of blobs that somebody names. */
#include "store/reader.h"
#include <string.h>

static int remote_id(struct store_reader *reader, const char *remote, int64_t *id,
                     struct err *err) {
    int code = store__reader_ready(reader, err);
    code = code ? code : store__db_number(&reader->db, READER_REMOTE, id, err, "t", remote);
    return code == ERR_NOT_FOUND
               ? err_set(err, code, "no remote named \"%.40s\" is declared", remote)
               : code;
}

static int row_read(sqlite3_stmt *statement, const char *remote, int64_t *after,
                    struct store_receipt_row *row, struct err *err) {
    struct store_receipt *receipt = &row->receipt;
    int tier = 0, media = 0, local = 0, pinned = 0, kind = 0;
    memset(row, 0, sizeof(*row));
    bool whole = store__db_columns(
        statement, "inbnuinnnitt", after, &tier, receipt->blob.bytes, sizeof(receipt->blob.bytes),
        &media, &row->blob_bytes, &row->kept_utc_us, &local, &pinned, &kind, &receipt->utc_us,
        receipt->key, sizeof(receipt->key), receipt->etag, sizeof(receipt->etag));
    memcpy(receipt->remote, remote, strnlen(remote, STORE_REMOTE_NAME_MAX));
    receipt->tier = (enum frame_tier)tier;
    receipt->kind = (enum store_receipt_kind)kind;
    row->media = (enum frame_media)media;
    row->local = local;
    row->pinned = pinned > 0;
    return whole ? 0 : err_set(err, ERR_CORRUPT, "the index has a hash of a wrong size");
}

int store_receipts_read(struct store_reader *reader, const char *remote, int64_t *after,
                        struct store_receipt_row *rows, size_t limit, size_t *count,
                        struct err *err) {
    sqlite3_stmt *statement;
    int64_t id = 0, at = *after;
    size_t found = 0;
    int code = remote_id(reader, remote, &id, err);
    code = code ? code
                : store__db_bind(&reader->db, READER_RECEIPTS, &statement, err, "iin", id, at,
                                 (int)limit);
    while (!code && found < limit && !(code = store__db_step(&reader->db, statement, err))) {
        code = row_read(statement, remote, &at, &rows[found++], err);
    }
    if (!code) {
        sqlite3_reset(statement);
    }
    code = code == ERR_NOT_FOUND && id ? 0 : code;
    if (!code) {
        *after = at;
        *count = found;
    }
    return store__reader_seen(reader, code);
}

static int look(struct store_reader *reader, int64_t remote, const struct store_blob_name *name,
                unsigned *state, struct err *err) {
    sqlite3_stmt *statement;
    int local = 0, pinned = 0, receipt = 0, queued = 0;
    *state = 0;
    int code = store__db_bind(&reader->db, READER_LOOK, &statement, err, "inb", remote,
                              (int)name->tier, name->blob.bytes, sizeof(name->blob.bytes));
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    store__db_columns(statement, "nnnn", &local, &pinned, &receipt, &queued);
    sqlite3_reset(statement);
    *state = STORE_BLOB_KNOWN | (local ? STORE_BLOB_LOCAL : 0u) |
             (pinned ? STORE_BLOB_PINNED : 0u) | (receipt ? STORE_BLOB_RECEIPT : 0u) |
             (queued ? STORE_BLOB_QUEUED : 0u);
    return 0;
}

int store_blobs_look(struct store_reader *reader, const char *remote,
                     const struct store_blob_name *names, size_t count, unsigned *states,
                     struct err *err) {
    int64_t id = 0;
    int code = remote_id(reader, remote, &id, err);
    for (size_t i = 0; !code && i < count; i++) {
        code = look(reader, id, &names[i], &states[i], err);
    }
    return store__reader_seen(reader, code);
}
