/* index_outbox: remotes, the outbox and receipts in the tables. See index.h.
 *
 * Invariants:
 *   1. A blob has, for a remote, an outbox row or a receipt or neither, never both.
 *   2. remote.pending counts the rows that are due or held, remote.quarantined the others,
 * remote.done its receipts; done_0 and done_1 the frames of those blobs.
 *   3. blob.owed counts its rows of active required remotes: what may not be removed for being old.
 */
#include "store/index.h"
#include <stdio.h>
#include <string.h>

int store__index_remotes_load(struct index *index, struct err *err) {
    sqlite3_stmt *statement;
    index->remote_count = 0;
    int code = store__db_bind(&index->db, IX_REMOTES_ACTIVE, &statement, err, "");
    while (!code && !(code = store__db_step(&index->db, statement, err))) {
        if (index->remote_count < STORE_REMOTES_MAX) {
            struct index_remote *own = &index->remotes[index->remote_count++];
            const unsigned char *name = sqlite3_column_text(statement, 2);
            *own = (struct index_remote){.id = sqlite3_column_int64(statement, 0)};
            own->remote.required = sqlite3_column_int(statement, 1);
            own->remote.trusted = sqlite3_column_int(statement, 4);
            snprintf(own->remote.name, sizeof(own->remote.name), "%s",
                     name ? (const char *)name : "");
            if (sqlite3_column_bytes(statement, 3) == (int)sizeof(own->remote.identity.bytes)) {
                memcpy(own->remote.identity.bytes, sqlite3_column_blob(statement, 3),
                       sizeof(own->remote.identity.bytes));
            }
        }
    }
    index->remotes_loaded = true;
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int64_t required_count(const struct index *index) {
    int64_t required = 0;
    for (size_t i = 0; i < index->remote_count; i++) {
        required += index->remotes[i].remote.required;
    }
    return required;
}

/* ---- queueing ---- */

static int pending_add(struct index *index, int64_t remote, int64_t rows, struct err *err) {
    return store__db_run(&index->db, IX_REMOTE_PENDING, err, "iii", rows,
                         rows * (int64_t)index->blob.bytes, remote);
}

static int queue_for(struct index *index, const struct index_remote *remote, struct err *err) {
    struct blob_row *blob = &index->blob;
    int64_t has = 0;
    if (blob->receipts) {
        int code =
            store__db_number(&index->db, IX_RECEIPT_HAS, &has, err, "ii", blob->id, remote->id);
        if (code != ERR_NOT_FOUND) {
            return code;
        }
    }
    int state = blob->kept_clock ? OUTBOX_DUE : OUTBOX_HELD;
    int64_t due = index->config.holds ? store__holds_until(index->config.holds,
                                                           (enum frame_tier)blob->tier, &blob->sha)
                                      : 0;
    int code = store__db_run(&index->db, IX_OUTBOX_NEW, err, "iindi", remote->id, blob->id, state,
                             blob->value, due);
    if (code || sqlite3_changes(index->db.handle) == 0) {
        return code;
    }
    blob->owed += remote->remote.required;
    index->outbox_grew = index->outbox_grew || state == OUTBOX_DUE;
    return pending_add(index, remote->id, 1, err);
}

int store__index_outbox_queue(struct index *index, struct err *err) {
    int code = 0;
    for (size_t i = 0; !code && i < index->remote_count; i++) {
        code = queue_for(index, &index->remotes[i], err);
    }
    index->blob_dirty = true;
    return code;
}

/* A row leaves the remote's counters. */
static int row_uncount(struct index *index, int64_t remote, int state, struct err *err) {
    return state == OUTBOX_QUARANTINED
               ? store__db_run(&index->db, IX_REMOTE_QUARANTINED, err, "ni", -1, remote)
               : pending_add(index, remote, -1, err);
}

int store__index_outbox_drop(struct index *index, struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(&index->db, IX_OUTBOX_OF, &statement, err, "i", index->blob.id);
    while (!code && !(code = store__db_step(&index->db, statement, err))) {
        int64_t remote = sqlite3_column_int64(statement, 0);
        code = row_uncount(index, remote, sqlite3_column_int(statement, 1), err);
    }
    code = code == ERR_NOT_FOUND ? 0 : code;
    code = code ? code : store__db_run(&index->db, IX_OUTBOX_DROP_ALL, err, "i", index->blob.id);
    if (index->blob.owed) {
        index->blob.owed = 0;
        index->blob_dirty = true;
    }
    return code;
}

int store__index_blob_refresh(struct index *index, struct err *err) {
    struct blob_row *blob = &index->blob;
    int64_t required = required_count(index), proven = 0;
    int code = store__db_number(&index->db, IX_OUTBOX_OWED, &blob->owed, err, "i", blob->id);
    code = code ? code
                : store__db_number(&index->db, IX_RECEIPTS_OF, &blob->receipts, err, "i", blob->id);
    code = code ? code
                : store__db_number(&index->db, IX_RECEIPTS_PROVEN, &proven, err, "ii", blob->id,
                                   required);
    blob->replicated = required == 0 ? proven > 0 : proven == required;
    if (!code && blob->receipts) {
        code =
            store__db_number(&index->db, IX_RECEIPTS_LAST, &blob->uploaded_utc, err, "i", blob->id);
    }
    index->blob_dirty = true;
    return code;
}

/* ---- records ---- */

static bool same_remotes(const struct index *index, const struct index_remote *before,
                         size_t count) {
    if (count != index->remote_count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (before[i].id != index->remotes[i].id ||
            before[i].remote.required != index->remotes[i].remote.required ||
            before[i].remote.trusted != index->remotes[i].remote.trusted) {
            return false;
        }
    }
    return true;
}

/* What "owed" and "replicated" mean has changed for every blob: the one place that scans. */
static int recount(struct index *index, struct err *err) {
    int code = store__index_blob_flush(index, err);
    code = code ? code : store__db_run(&index->db, IX_BLOBS_RECOUNT_OWED, err, "");
    code = code ? code
                : store__db_run(&index->db, IX_BLOBS_RECOUNT_REPLICATED, err, "i",
                                required_count(index));
    code = code ? code : store__db_run(&index->db, IX_TIER_RECOUNT, err, "");
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        index->delta[tier].replicated = 0;
    }
    index->blob = index->blob_before = (struct blob_row){0};
    return code;
}

int store__index_apply_remotes(struct index *index, const struct record_remotes *remotes,
                               struct err *err) {
    struct index_remote before[STORE_REMOTES_MAX];
    size_t count = index->remote_count;
    memcpy(before, index->remotes, sizeof(before));
    int code = store__db_run(&index->db, IX_REMOTES_RETIRE, err, "");
    for (size_t i = 0; !code && i < remotes->count; i++) {
        const struct store_remote *remote = &remotes->remotes[i];
        code = store__db_run(&index->db, IX_REMOTE_PUT, err, "tbnn", remote->name,
                             remote->identity.bytes, sizeof(remote->identity.bytes),
                             (int)remote->required, (int)remote->trusted);
    }
    code = code ? code : store__index_remotes_load(index, err);
    index->outbox_grew = true; /* rows of a remote that is active again */
    return code || same_remotes(index, before, count) ? code : recount(index, err);
}

static int remote_find(struct index *index, const struct frame_hash *identity, int64_t *id,
                       struct err *err) {
    return store__db_number(&index->db, IX_REMOTE_FIND, id, err, "b", identity->bytes,
                            sizeof(identity->bytes));
}

/* The outbox row of the blob at hand. ERR_NOT_FOUND: none. */
static int row_find(struct index *index, int64_t remote, int64_t *row, int *state,
                    struct err *err) {
    sqlite3_stmt *statement;
    int code =
        store__db_bind(&index->db, IX_OUTBOX_GET, &statement, err, "ii", index->blob.id, remote);
    code = code ? code : store__db_step(&index->db, statement, err);
    if (!code) {
        store__db_columns(statement, "in", row, state);
        sqlite3_reset(statement);
    }
    return code;
}

static int row_settle(struct index *index, int64_t remote, struct err *err) {
    int64_t row = 0;
    int state = 0;
    int code = row_find(index, remote, &row, &state, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    code = row_uncount(index, remote, state, err);
    return code ? code : store__db_run(&index->db, IX_OUTBOX_DROP, err, "i", row);
}

int store__index_apply_receipt(struct index *index, const struct record_receipt *record,
                               struct err *err) {
    const struct store_receipt *receipt = &record->receipt;
    int64_t remote = 0;
    int code = remote_find(index, &record->identity, &remote, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    code = store__index_blob_use(index, (int)receipt->tier, &receipt->blob, err);
    code = code ? code : store__index_blob_flush(index, err);
    if (code || !index->blob_stored) {
        return code;
    }
    struct blob_row *blob = &index->blob;
    code = store__db_run(&index->db, IX_RECEIPT_NEW, err, "iintti", blob->id, remote,
                         (int)receipt->kind, receipt->key, receipt->etag, receipt->utc_us);
    if (!code && sqlite3_changes(index->db.handle) == 1) {
        code = store__db_run(&index->db, IX_REMOTE_DONE, err, "i", remote);
        code =
            code ? code
                 : store__db_run(&index->db,
                                 blob->tier == TIER_ANNOTATED ? IX_REMOTE_DONE_0 : IX_REMOTE_DONE_1,
                                 err, "ii", blob->refs, remote);
    }
    code = code ? code : store__db_run(&index->db, IX_WITHDRAWN_OFF, err, "ii", blob->id, remote);
    code = code ? code : row_settle(index, remote, err);
    return code ? code : store__index_blob_refresh(index, err);
}

int store__index_apply_quarantine(struct index *index, const struct record_quarantine *record,
                                  struct err *err) {
    int64_t remote = 0, row = 0;
    int state = 0;
    int code = remote_find(index, &record->identity, &remote, err);
    code = code ? code : store__index_blob_use(index, (int)record->tier, &record->blob, err);
    code = code ? code : row_find(index, remote, &row, &state, err);
    if (code || state == OUTBOX_QUARANTINED) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    code = row_uncount(index, remote, state, err);
    code = code ? code : store__db_run(&index->db, IX_REMOTE_QUARANTINED, err, "ni", 1, remote);
    return code ? code
                : store__db_run(&index->db, IX_OUTBOX_STATE, err, "nti", OUTBOX_QUARANTINED,
                                record->reason, row);
}

int store__index_apply_release(struct index *index, const struct record_release *release,
                               struct err *err) {
    const void *identity = release->identity.bytes;
    size_t size = release->all ? 0 : sizeof(release->identity.bytes);
    int64_t rows = 0;
    int code = store__index_blob_flush(index, err);
    code = code
               ? code
               : store__db_number(&index->db, IX_QUARANTINE_COUNT, &rows, err, "b", identity, size);
    code = code ? code : store__db_run(&index->db, IX_QUARANTINE_RELEASE, err, "b", identity, size);
    code = code ? code : store__db_run(&index->db, IX_QUARANTINE_SETTLE, err, "b", identity, size);
    if (!code) {
        index->released = (uint64_t)rows;
        index->outbox_grew = true;
    }
    return code;
}

static const struct index_remote *remote_active(const struct index *index,
                                                const struct frame_hash *identity) {
    for (size_t i = 0; i < index->remote_count; i++) {
        if (memcmp(&index->remotes[i].remote.identity, identity, sizeof(*identity)) == 0) {
            return &index->remotes[i];
        }
    }
    return NULL;
}

static int row_release(struct index *index, int64_t remote, struct err *err) {
    int64_t row = 0;
    int state = 0;
    int code = row_find(index, remote, &row, &state, err);
    if (code || state == OUTBOX_HELD) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    code = row_uncount(index, remote, state, err);
    code = code ? code : pending_add(index, remote, 1, err);
    code = code ? code : store__db_run(&index->db, IX_OUTBOX_RELEASE, err, "i", row);
    index->released++;
    index->outbox_grew = true;
    return code;
}

static int row_drop(struct index *index, int64_t remote, struct err *err) {
    int64_t row = 0;
    int state = 0;
    int code = row_find(index, remote, &row, &state, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    code = row_settle(index, remote, err);
    index->released++;
    return code ? code : store__index_blob_refresh(index, err);
}

/* A blob that is not here, or that the remote has, needs no row. */
static int row_queue(struct index *index, const struct index_remote *remote, struct err *err) {
    int64_t row = 0;
    int state = 0;
    if (!index->blob.local) {
        return 0;
    }
    int code = row_find(index, remote->id, &row, &state, err);
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    code = queue_for(index, remote, err);
    index->blob_dirty = true;
    index->released += !code && sqlite3_changes(index->db.handle) > 0;
    return code;
}

static int receipt_drop(struct index *index, int64_t remote, struct err *err) {
    const struct blob_row *blob = &index->blob;
    int code = store__db_run(&index->db, IX_RECEIPT_DROP, err, "ii", blob->id, remote);
    code = code ? code : store__db_run(&index->db, IX_REMOTE_UNDONE, err, "i", remote);
    return code ? code
                : store__db_run(&index->db,
                                blob->tier == TIER_ANNOTATED ? IX_REMOTE_DONE_0 : IX_REMOTE_DONE_1,
                                err, "ii", -blob->refs, remote);
}

/* A receipt is taken back. What was found missing and is still here goes again; what was removed on
 * purpose does not, nor does a backfill bring it back: also where there is no receipt (an upload
 * that waits, or a copy forward that a rebuild meets). */
static int receipt_withdraw(struct index *index, const struct record_outbox *outbox, int64_t remote,
                            const struct index_remote *active, struct err *err) {
    struct blob_row *blob = &index->blob;
    bool again = outbox->action == STORE_OUTBOX_LOST && blob->local;
    int64_t has = 0;
    int code = store__db_number(&index->db, IX_RECEIPT_HAS, &has, err, "ii", blob->id, remote);
    if (code && code != ERR_NOT_FOUND) {
        return code;
    }
    index->released += !code;
    code = has ? receipt_drop(index, remote, err) : 0;
    code = code || again ? code : row_settle(index, remote, err);
    code = code ? code
                : store__db_run(&index->db, IX_WITHDRAWN_PUT, err, "iini", blob->id, remote,
                                (int)outbox->action, outbox->utc_us);
    if (!code && has && active && again) {
        code = queue_for(index, active, err);
    }
    return code ? code : store__index_blob_refresh(index, err);
}

int store__index_apply_outbox(struct index *index, const struct record_outbox *outbox,
                              struct err *err) {
    const struct index_remote *active = remote_active(index, &outbox->identity);
    int64_t remote = 0;
    index->released = 0;
    int code = remote_find(index, &outbox->identity, &remote, err);
    for (size_t i = 0; !code && i < outbox->count; i++) {
        const struct store_blob_name *name = &outbox->blobs[i];
        code = store__index_blob_use(index, (int)name->tier, &name->blob, err);
        code = code ? code : store__index_blob_flush(index, err);
        if (code || !index->blob_stored) {
            continue;
        }
        if (outbox->action >= STORE_OUTBOX_LOST) {
            code = receipt_withdraw(index, outbox, remote, active, err);
        } else if (outbox->action == STORE_OUTBOX_RETRY) {
            code = row_release(index, remote, err);
        } else if (outbox->action == STORE_OUTBOX_DROP) {
            code = row_drop(index, remote, err);
        } else if (active) {
            code = row_queue(index, active, err);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}
