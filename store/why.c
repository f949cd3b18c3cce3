/* why: one frame's whole life, for a person who asks. The index says where it stands; the frame's
 * own record in the log says how it was captured before any repair of its clock.
 */
#include "daemon/base/mem.h"
#include "store/reader.h"
#include <stdlib.h>
#include <string.h>

#define REMOTES_MAX ((int)(2 * STORE_REMOTES_MAX))

void store_why_destroy(struct store_why *why) {
    if (why) {
        store_row_destroy(why->row);
        free(why);
    }
}

static void destroy_at(struct store_why **why) {
    store_why_destroy(*why);
}

static int life_read(struct store_reader *reader, const struct frame_id *id, struct store_why *why,
                     int64_t *blob, struct log_position *place, struct err *err) {
    sqlite3_stmt *statement;
    int gone = 0;
    int code =
        store__db_bind(&reader->db, READER_WHY, &statement, err, "b", id->bytes, sizeof(id->bytes));
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (!code) {
        store__db_columns(statement, "iuniiuu", blob, &why->sharing, &gone, &why->gone_utc_us,
                          &why->pinned_utc_us, &place->segment, &place->at);
        why->gone = (enum store_gone)gone;
        sqlite3_reset(statement);
    }
    return code;
}

static int receipts_read(struct store_reader *reader, int64_t blob, struct store_why *why,
                         struct err *err) {
    sqlite3_stmt *statement;
    int code =
        store__db_bind(&reader->db, READER_WHY_RECEIPTS, &statement, err, "in", blob, REMOTES_MAX);
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        struct store_why_remote *remote = &why->remotes[why->remote_count++];
        int declared = 0, required = 0;
        store__db_columns(statement, "tnnnitt", remote->name, sizeof(remote->name), &declared,
                          &required, &remote->receipt_kind, &remote->utc_us, remote->key,
                          sizeof(remote->key), remote->etag, sizeof(remote->etag));
        remote->declared = declared;
        remote->required = required;
        remote->state = STORE_WHY_DONE;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int outbox_read(struct store_reader *reader, int64_t blob, struct store_why *why,
                       struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(&reader->db, READER_WHY_OUTBOX, &statement, err, "in", blob,
                              REMOTES_MAX - (int)why->remote_count);
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        struct store_why_remote *remote = &why->remotes[why->remote_count++];
        int required = 0, state = 0, attempts = 0;
        store__db_columns(statement, "tnnnt", remote->name, sizeof(remote->name), &required, &state,
                          &attempts, remote->reason, sizeof(remote->reason));
        remote->declared = true;
        remote->required = required;
        remote->attempts = (unsigned)attempts;
        remote->state = state == OUTBOX_QUARANTINED ? STORE_WHY_QUARANTINED
                        : state == OUTBOX_HELD      ? STORE_WHY_HELD
                                                    : STORE_WHY_WAITING;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int withdrawn_read(struct store_reader *reader, int64_t blob, struct store_why *why,
                          struct err *err) {
    sqlite3_stmt *statement;
    int code = store__db_bind(&reader->db, READER_WHY_WITHDRAWN, &statement, err, "in", blob,
                              REMOTES_MAX - (int)why->remote_count);
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        struct store_why_remote *remote = &why->remotes[why->remote_count++];
        int declared = 0, required = 0;
        store__db_columns(statement, "tnnni", remote->name, sizeof(remote->name), &declared,
                          &required, &remote->withdrawn, &remote->utc_us);
        remote->declared = declared;
        remote->required = required;
        remote->state = STORE_WHY_WITHDRAWN;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* What the log cannot give is left out: the rest is worth telling. */
static void record_read(struct store_reader *reader, const struct log_position *place,
                        struct store_why *why) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(mem_free_at) uint8_t *payload = NULL;
    CLEANUP(store__record_finish) struct record record = {0};
    struct record_header header;
    const struct layout *layout = &reader->store->layout;
    const struct frame_record *now = &why->row->record;
    store__segment_path(layout, now->tier, place->segment, path);
    if (store__record_read(path, place->segment, layout->uuid, place->at, &header, &payload,
                           NULL) ||
        !store__record_is_frame(header.kind) ||
        store__record_decode(header.kind, payload, header.payload_bytes, &record, NULL) ||
        memcmp(&record.frame.frame.id, &now->id, sizeof(now->id)) != 0) {
        return;
    }
    why->has_record = true;
    why->written = record.frame.frame.captured;
    why->clock_repaired =
        why->written.state != CLOCK_SYNCHRONISED && now->captured.state == CLOCK_SYNCHRONISED;
}

int store_why_get(struct store_reader *reader, const struct frame_id *id, struct store_why **out,
                  struct err *err) {
    CLEANUP(destroy_at) struct store_why *why = mem_alloc(sizeof(*why));
    struct log_position place = {0};
    int64_t blob = 0;
    int code =
        why ? store_frame_get(reader, id, &why->row, err) : err_set(err, ERR_NOMEM, "no memory");
    code = code ? code : life_read(reader, id, why, &blob, &place, err);
    code = code ? code : receipts_read(reader, blob, why, err);
    code = code ? code : outbox_read(reader, blob, why, err);
    code = code ? code : withdrawn_read(reader, blob, why, err);
    if (!code && why->row->label_state) {
        code = store_label_get(reader, id, &why->label, err);
    }
    if (code) {
        return store__reader_seen(reader, code);
    }
    record_read(reader, &place, why);
    *out = TAKE_PTR(why);
    return 0;
}
