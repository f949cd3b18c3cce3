#include "daemon/cloud.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- asking ---- */

int cloud_open(const struct config_values *values, struct cloud *out, struct err *err) {
    json_t *reply = NULL;
    *out = (struct cloud){.values = values, .session = {.rooms = {.values = values}}};
    int code =
        cloud_ask(out, json_pack("{s:s,s:[]}", "request", "cloud-look", "blobs"), &reply, err);
    json_decref(reply);
    return code;
}

void cloud_close(struct cloud *cloud) {
    requests_session_close(&cloud->session);
}

int cloud_ask(struct cloud *cloud, json_t *request, json_t **reply, struct err *err) {
    struct control_bytes bytes = {0};
    int code = requests_session_ask(&cloud->session, request, reply, &bytes, err);
    free(bytes.data);
    return code;
}

static json_t *names_json(const struct store_blob_name *names, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        char hex[HASH_HEX_SIZE];
        hash_hex(names[i].blob.bytes, sizeof(names[i].blob.bytes), hex);
        json_array_append_new(list, json_pack("[i,s]", (int)names[i].tier, hex));
    }
    return list;
}

static int malformed(struct err *err) {
    return err_set(err, ERR_INVALID, "the daemon's answer is malformed: is it another version?");
}

static void copy_text(char *out, size_t room, const char *text) {
    snprintf(out, room, "%s", text ? text : "");
}

static int row_of(const json_t *json, const char *remote, struct store_receipt_row *out,
                  struct err *err) {
    const char *hex, *key, *etag;
    int tier, media, kind, local, pinned;
    json_int_t bytes, kept_us, utc_us;
    memset(out, 0, sizeof(*out));
    if (json_unpack((json_t *)json, "[i,s,i,I,I,b,b,i,I,s,s]", &tier, &hex, &media, &bytes,
                    &kept_us, &local, &pinned, &kind, &utc_us, &key, &etag) ||
        tier < 0 || tier >= TIER_COUNT ||
        !hash_parse_hex(hex, out->receipt.blob.bytes, sizeof(out->receipt.blob.bytes))) {
        return malformed(err);
    }
    out->receipt.tier = (enum frame_tier)tier;
    out->receipt.kind = (enum store_receipt_kind)kind;
    out->receipt.utc_us = utc_us;
    copy_text(out->receipt.remote, sizeof(out->receipt.remote), remote);
    copy_text(out->receipt.key, sizeof(out->receipt.key), key);
    copy_text(out->receipt.etag, sizeof(out->receipt.etag), etag);
    out->media = (enum frame_media)media;
    out->blob_bytes = (uint64_t)bytes;
    out->kept_utc_us = kept_us;
    out->local = local;
    out->pinned = pinned;
    return 0;
}

static int ask_receipts(void *ctx, int64_t *after, struct store_receipt_row *rows, size_t limit,
                        size_t *count, struct err *err) {
    struct cloud *cloud = ctx;
    json_t *reply = NULL;
    int code = cloud_ask(cloud,
                         json_pack("{s:s,s:s,s:s,s:I,s:I}", "request", "cloud-receipts", "remote",
                                   cloud->remote->name, "identity", cloud->identity, "after",
                                   (json_int_t)*after, "limit", (json_int_t)limit),
                         &reply, err);
    const json_t *list = json_object_get(reply, "rows");
    size_t found = json_array_size(list);
    if (!code && (!json_is_array(list) || found > limit)) {
        code = malformed(err);
    }
    for (size_t i = 0; !code && i < found; i++) {
        code = row_of(json_array_get(list, i), cloud->remote->name, &rows[i], err);
    }
    if (!code) {
        *after = json_integer_value(json_object_get(reply, "after"));
        *count = found;
    }
    json_decref(reply);
    return code;
}

static int ask_look(void *ctx, const struct store_blob_name *names, size_t count, unsigned *states,
                    struct err *err) {
    struct cloud *cloud = ctx;
    json_t *reply = NULL;
    int code = cloud_ask(cloud,
                         json_pack("{s:s,s:s,s:s,s:o}", "request", "cloud-look", "remote",
                                   cloud->remote->name, "identity", cloud->identity, "blobs",
                                   names_json(names, count)),
                         &reply, err);
    const json_t *list = json_object_get(reply, "states");
    if (!code && json_array_size(list) != count) {
        code = malformed(err);
    }
    for (size_t i = 0; !code && i < count; i++) {
        states[i] = (unsigned)json_integer_value(json_array_get(list, i));
    }
    json_decref(reply);
    return code;
}

static int ask_act(void *ctx, enum store_outbox_action action, const struct store_blob_name *names,
                   size_t count, struct err *err) {
    struct cloud *cloud = ctx;
    json_t *reply = NULL;
    int code = cloud_ask(cloud,
                         json_pack("{s:s,s:s,s:s,s:i,s:o}", "request", "cloud-act", "remote",
                                   cloud->remote->name, "identity", cloud->identity, "action",
                                   (int)action, "blobs", names_json(names, count)),
                         &reply, err);
    json_decref(reply);
    return code;
}

int cloud_use(struct cloud *cloud, const struct sync_remote_config *remote, struct err *err) {
    struct frame_hash identity;
    int code = sync_remote_identity(remote, &identity, err);
    if (code) {
        return code;
    }
    cloud->remote = remote;
    hash_hex(identity.bytes, sizeof(identity.bytes), cloud->identity);
    cloud->index = (struct sync_index){
        .ctx = cloud, .receipts = ask_receipts, .look = ask_look, .act = ask_act};
    return 0;
}

/* ---- commands ---- */

static int each_of(struct cloud *cloud, const char *name, cloud_each_fn *each, void *ctx) {
    const struct sync_config *sync = &cloud->values->sync;
    struct err err = {0};
    int status = EXIT_OK;
    size_t used = 0;
    for (size_t i = 0; i < sync->remote_count; i++) {
        const struct sync_remote_config *remote = &sync->remotes[i];
        if (name && strcmp(name, remote->name) != 0) {
            continue;
        }
        used++;
        int one = cloud_use(cloud, remote, &err) ? commands_fail(&err) : each(cloud, remote, ctx);
        status = one > status ? one : status;
    }
    if (!used) {
        err_set(&err, ERR_NOT_FOUND,
                name ? "no remote is named \"%.40s\" (sync.remotes)"
                     : "no remote is configured%.0s (sync.remotes)",
                name ? name : "");
        return commands_fail(&err);
    }
    return status;
}

int cloud_each(const struct options *options, const char *name, cloud_each_fn *each, void *ctx) {
    struct err err = {0};
    struct config *config = NULL;
    struct cloud cloud = {0};
    if (options_config(options, true, &config, &err)) {
        return commands_fail(&err);
    }
    int status = cloud_open(config_values(config), &cloud, &err) ? commands_fail(&err)
                                                                 : each_of(&cloud, name, each, ctx);
    cloud_close(&cloud);
    config_destroy(config);
    return status;
}
