/* Requests of the commands for a whole remote: its receipts in pages, what is known of blobs, and
 * receipts that are taken back. */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/document.h"
#include "daemon/requests.h"
#include <stdlib.h>
#include <string.h>

#define RECEIPTS_MAX 1000

static int no_memory(struct err *err) {
    return err_set(err, ERR_NOMEM, "no memory for the answer");
}

/* The store must mean the same place by the name as who asks: a changed url or bucket is another
 * remote, and its receipts are no one's business here. */
static int same_place(const struct rooms *rooms, const json_t *request, struct err *err) {
    const char *remote = document_text(request, "remote");
    struct frame_hash asked, known;
    int code = store_remote_identity(rooms->store, remote, &known, err);
    if (code == ERR_NOT_FOUND) {
        return err_set(err, code,
                       "the store knows no remote %s yet: `creel run` makes it known and uploads",
                       remote);
    }
    if (!code &&
        (!hash_parse_hex(document_text(request, "identity"), asked.bytes, sizeof(asked.bytes)) ||
         memcmp(&asked, &known, sizeof(known)) != 0)) {
        code = err_set(err, ERR_REFUSED,
                       "remote %s is another place in this configuration than in the one that "
                       "creel ran with: start (or restart) creel with it first",
                       remote);
    }
    return code;
}

static int names_of(const json_t *request, struct store_blob_name **out, size_t *count,
                    struct err *err) {
    const json_t *list = json_object_get(request, "blobs");
    size_t wanted = json_array_size(list);
    CLEANUP(mem_free_at) struct store_blob_name *names = NULL;
    if (!json_is_array(list) || wanted > STORE_OUTBOX_BATCH) {
        return err_set(err, ERR_INVALID, "blobs: at most %d at once", STORE_OUTBOX_BATCH);
    }
    names = mem_array(wanted + 1, sizeof(*names));
    if (!names) {
        return no_memory(err);
    }
    for (size_t i = 0; i < wanted; i++) {
        const json_t *pair = json_array_get(list, i);
        const char *hex = json_string_value(json_array_get(pair, 1));
        json_int_t tier = json_integer_value(json_array_get(pair, 0));
        if (!hex || tier < 0 || tier >= TIER_COUNT ||
            !hash_parse_hex(hex, names[i].blob.bytes, sizeof(names[i].blob.bytes))) {
            return err_set(err, ERR_INVALID, "blobs: number %zu is not [tier, hash]", i);
        }
        names[i].tier = (enum frame_tier)tier;
    }
    *out = TAKE_PTR(names);
    *count = wanted;
    return 0;
}

static json_t *row_json(const struct store_receipt_row *row) {
    const struct store_receipt *receipt = &row->receipt;
    char hex[HASH_HEX_SIZE];
    hash_hex(receipt->blob.bytes, sizeof(receipt->blob.bytes), hex);
    return json_pack("[i,s,i,I,I,b,b,i,I,s,s]", (int)receipt->tier, hex, (int)row->media,
                     (json_int_t)row->blob_bytes, (json_int_t)row->kept_utc_us, (int)row->local,
                     (int)row->pinned, (int)receipt->kind, (json_int_t)receipt->utc_us,
                     receipt->key, receipt->etag);
}

int answer_cloud_receipts(const struct rooms *rooms, const json_t *request, json_t **reply,
                          struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    json_int_t limit = json_integer_value(json_object_get(request, "limit"));
    int64_t after = json_integer_value(json_object_get(request, "after"));
    size_t count = 0;
    if (limit < 1 || limit > RECEIPTS_MAX) {
        return err_set(err, ERR_INVALID, "a page has 1 to %d receipts", RECEIPTS_MAX);
    }
    CLEANUP(mem_free_at) struct store_receipt_row *rows = mem_array((size_t)limit, sizeof(*rows));
    int code = rows ? same_place(rooms, request, err) : no_memory(err);
    code = code ? code
                : store_receipts_read(rooms->reader, document_text(request, "remote"), &after, rows,
                                      (size_t)limit, &count, err);
    json_t *list = code ? NULL : json_array();
    for (size_t i = 0; !code && i < count; i++) {
        json_array_append_new(list, row_json(&rows[i]));
    }
    if (!code) {
        *reply = json_pack("{s:I,s:o}", "after", (json_int_t)after, "rows", list);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

static int states_reply(const struct rooms *rooms, const json_t *request,
                        const struct store_blob_name *names, size_t count, json_t **reply,
                        struct err *err) {
    unsigned states[STORE_OUTBOX_BATCH];
    int code = store_blobs_look(rooms->reader, document_text(request, "remote"), names, count,
                                states, err);
    json_t *list = code ? NULL : json_array();
    for (size_t i = 0; !code && i < count; i++) {
        json_array_append_new(list, json_integer((json_int_t)states[i]));
    }
    if (!code) {
        *reply = json_pack("{s:o}", "states", list);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

int answer_cloud_look(const struct rooms *rooms, const json_t *request, json_t **reply,
                      struct control_bytes *bytes, struct err *err) {
    CLEANUP(mem_free_at) struct store_blob_name *names = NULL;
    size_t count = 0;
    (void)bytes;
    int code = names_of(request, &names, &count, err);
    if (!code && !count) { /* is anybody there? */
        *reply = json_pack("{s:[]}", "states");
        return *reply ? 0 : no_memory(err);
    }
    code = code ? code : same_place(rooms, request, err);
    return code ? code : states_reply(rooms, request, names, count, reply, err);
}

int answer_cloud_act(const struct rooms *rooms, const json_t *request, json_t **reply,
                     struct control_bytes *bytes, struct err *err) {
    CLEANUP(mem_free_at) struct store_blob_name *names = NULL;
    json_int_t action = json_integer_value(json_object_get(request, "action"));
    uint64_t changed = 0;
    size_t count = 0;
    (void)bytes;
    if (action < STORE_OUTBOX_LOST || action > STORE_OUTBOX_REMOVED) {
        return err_set(err, ERR_INVALID, "action: %lld takes no receipt back", (long long)action);
    }
    int code = names_of(request, &names, &count, err);
    code = code ? code : same_place(rooms, request, err);
    code = code ? code
                : store_outbox_act(rooms->store, document_text(request, "remote"),
                                   (enum store_outbox_action)action, names, count, &changed, err);
    if (!code) {
        *reply = json_pack("{s:I}", "changed", (json_int_t)changed);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

/* ---- frames by name ---- */

static json_t *frame_json(const struct rooms *rooms, const struct store_row *row) {
    const struct frame_record *frame = &row->record;
    const struct sync_config *sync = &rooms->values->sync;
    char id[HASH_ID_SIZE], hex[HASH_HEX_SIZE], made[STORE_KEY_MAX + 1];
    struct store_outbox_row outbox = {.tier = frame->tier,
                                      .blob = frame->blob,
                                      .media = frame->media,
                                      .kept_utc_us = row->kept_utc_us};
    json_t *keys = json_object();
    for (size_t i = 0; i < sync->remote_count; i++) {
        struct store_receipt receipt;
        const char *key = NULL;
        if (!store_receipt_get(rooms->reader, sync->remotes[i].name, frame->tier, &frame->blob,
                               &receipt, NULL)) {
            key = receipt.key;
        } else if (!sync_key_format(rooms->values->device, &outbox, made, NULL)) {
            key = made; /* what an upload under way, or a removal that was cut off, has left */
        }
        json_object_set_new(keys, sync->remotes[i].name, key ? json_string(key) : json_null());
    }
    frame_id_format(&frame->id, id);
    hash_hex(frame->blob.bytes, sizeof(frame->blob.bytes), hex);
    return json_pack("{s:s,s:i,s:s,s:b,s:o}", "id", id, "tier", (int)frame->tier, "blob", hex,
                     "pinned", (int)row->pinned, "keys", keys);
}

int answer_cloud_frames(const struct rooms *rooms, const json_t *request, json_t **reply,
                        struct control_bytes *bytes, struct err *err) {
    const json_t *names = json_object_get(request, "frames");
    json_t *list = json_array();
    int code = list ? 0 : no_memory(err);
    (void)bytes;
    for (size_t i = 0; !code && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        struct frame_id id;
        struct store_row *row = NULL;
        code = store_resolve(rooms->reader, name ? name : "", &id, err);
        code = code ? code : store_frame_get(rooms->reader, &id, &row, err);
        if (!code) {
            json_array_append_new(list, frame_json(rooms, row));
        }
        store_row_destroy(row);
    }
    if (code) {
        json_decref(list);
        return code;
    }
    *reply = json_pack("{s:o}", "frames", list);
    return *reply ? 0 : no_memory(err);
}
