#include "daemon/removal.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>

#define LOOKS 2

const char *removal_key(const struct removal_target *target, const char *remote) {
    return json_string_value(json_object_get(json_object_get(target->frame, "keys"), remote));
}

static int frames_find(struct removal *removal, struct err *err) {
    int code = cloud_ask(
        removal->cloud,
        json_pack("{s:s,s:o}", "request", "cloud-frames", "frames", json_incref(removal->names)),
        &removal->reply, err);
    const json_t *frames = json_object_get(removal->reply, "frames");
    size_t count = json_array_size(frames);
    removal->targets = code ? NULL : mem_array(count + 1, sizeof(*removal->targets));
    for (size_t i = 0; !code && removal->targets && i < count; i++) {
        const json_t *frame = json_array_get(frames, i);
        const char *hex = json_string_value(json_object_get(frame, "blob"));
        struct removal_target *target = &removal->targets[removal->count++];
        target->frame = frame;
        target->name.tier = (enum frame_tier)json_integer_value(json_object_get(frame, "tier"));
        if (!hex || (unsigned)target->name.tier >= TIER_COUNT ||
            !hash_parse_hex(hex, target->name.blob.bytes, sizeof(target->name.blob.bytes))) {
            code = err_set(err, ERR_INVALID, "the daemon's answer is malformed");
        }
    }
    return !code && !removal->targets ? err_set(err, ERR_NOMEM, "no memory to remove frames")
                                      : code;
}

static int pins_check(const struct removal *removal, struct err *err) {
    for (size_t i = 0; !removal->force && i < removal->count; i++) {
        const json_t *frame = removal->targets[i].frame;
        if (json_is_true(json_object_get(frame, "pinned"))) {
            return err_set(err, ERR_REFUSED,
                           "frame %s is pinned: nothing was removed; --force removes it all the "
                           "same",
                           json_string_value(json_object_get(frame, "id")));
        }
    }
    return 0;
}

static int here(struct removal *removal, bool dry_run, json_t **out, struct err *err) {
    return cloud_ask(removal->cloud,
                     json_pack("{s:s,s:b,s:b,s:o}", "request", "rm", "force", (int)removal->force,
                               "dry_run", (int)dry_run, "frames", json_incref(removal->names)),
                     out, err);
}

static int rights_check(const struct removal *removal, struct err *err) {
    const struct config_values *values = removal->cloud->values;
    bool wanted[TIER_COUNT] = {false};
    int code = 0;
    for (size_t i = 0; i < removal->count; i++) {
        wanted[removal->targets[i].name.tier] = true;
    }
    for (size_t i = 0; !code && i < values->sync.remote_count; i++) {
        for (int tier = 0; !code && tier < TIER_COUNT; tier++) {
            code = wanted[tier] ? sync_objects_may_remove(&values->sync.remotes[i], values->device,
                                                          (enum frame_tier)tier, err)
                                : 0;
        }
    }
    return code;
}

/* ---- one remote ---- */

static int objects_remove(const struct removal *removal, const struct sync_remote_config *remote,
                          const struct removal_target *targets, size_t count, struct err *err) {
    int code = 0;
    (void)removal;
    for (size_t i = 0; !code && i < count; i++) {
        const char *key = removal_key(&targets[i], remote->name);
        code = key ? sync_objects_remove(remote, targets[i].name.tier, &key, 1, err) : 0;
    }
    return code;
}

/* At most STORE_OUTBOX_BATCH targets. */
static int batch_remove(struct removal *removal, const struct sync_remote_config *remote,
                        const struct removal_target *targets, size_t count, struct err *err) {
    const struct sync_index *index = &removal->cloud->index;
    struct store_blob_name names[STORE_OUTBOX_BATCH];
    unsigned states[STORE_OUTBOX_BATCH], left = 1;
    int code = 0;
    for (size_t i = 0; i < count; i++) {
        names[i] = targets[i].name;
    }
    for (int look = 0; !code && left && look < LOOKS; look++) {
        code = index->act(index->ctx, STORE_OUTBOX_REMOVED, names, count, err);
        code = code ? code : objects_remove(removal, remote, targets, count, err);
        code = code ? code : index->look(index->ctx, names, count, states, err);
        left = 0;
        for (size_t i = 0; !code && i < count; i++) {
            left |= states[i] & STORE_BLOB_RECEIPT;
        }
    }
    return code;
}

static int remote_remove(struct removal *removal, const struct sync_remote_config *remote,
                         struct err *err) {
    int code = cloud_use(removal->cloud, remote, err);
    for (size_t at = 0; !code && at < removal->count; at += STORE_OUTBOX_BATCH) {
        size_t left = removal->count - at;
        code = batch_remove(removal, remote, removal->targets + at,
                            left < STORE_OUTBOX_BATCH ? left : STORE_OUTBOX_BATCH, err);
    }
    return code;
}

/* ---- all of it ---- */

int removal_run(struct removal *removal, json_t **local, struct err *err) {
    const struct sync_config *sync = &removal->cloud->values->sync;
    if (sync->remote_count == 0) {
        return err_set(err, ERR_NOT_FOUND, "no remote is configured (sync.remotes)");
    }
    int code = frames_find(removal, err);
    code = code ? code : pins_check(removal, err);
    code = code ? code : here(removal, true, local, err);
    code = code || removal->dry_run ? code : rights_check(removal, err);
    if (code || removal->dry_run) {
        return code;
    }
    json_decref(TAKE_PTR(*local));
    code = here(removal, false, local, err);
    for (size_t i = 0; !code && i < sync->remote_count; i++) {
        code = remote_remove(removal, &sync->remotes[i], err);
        if (code) {
            err_wrap(err, "the frames are gone here, and perhaps not everywhere: run it again");
        }
    }
    return code;
}

void removal_finish(struct removal *removal) {
    json_decref(TAKE_PTR(removal->names));
    json_decref(TAKE_PTR(removal->reply));
    free(TAKE_PTR(removal->targets));
}

/* ---- for the web server ---- */

static int run_names(struct cloud *cloud, json_t *names, bool force, bool dry_run,
                     struct err *err) {
    struct removal removal = {.cloud = cloud, .names = names, .force = force, .dry_run = dry_run};
    json_t *local = NULL;
    int code = names ? removal_run(&removal, &local, err)
                     : err_set(err, ERR_NOMEM, "no memory to remove frames");
    json_decref(local);
    removal_finish(&removal);
    return code;
}

static json_t *name_of(const struct frame_id *id) {
    char text[HASH_ID_SIZE];
    return json_string(frame_id_format(id, text));
}

int removal_each(const struct rooms *rooms, const struct frame_id *ids, size_t count, bool force,
                 webui_removed_fn *each, void *ctx, struct err *err) {
    /* With a store in its session, a cloud asks nobody else. */
    struct cloud cloud = {.values = rooms->values, .session.rooms = *rooms};
    CLEANUP(mem_free_at) struct err *said = mem_array(count + 1, sizeof(*said));
    struct err all = {0};
    json_t *names = json_array();
    if (!said || !names) {
        json_decref(names);
        return err_set(err, ERR_NOMEM, "no memory to remove frames");
    }
    for (size_t i = 0; i < count; i++) { /* those that may not go leave the others alone */
        if (!run_names(&cloud, json_pack("[o]", name_of(&ids[i])), force, true, &said[i])) {
            json_array_append_new(names, name_of(&ids[i]));
        }
    }
    if (json_array_size(names)) {
        run_names(&cloud, names, force, false, &all);
    } else {
        json_decref(names);
    }
    for (size_t i = 0; i < count; i++) {
        each(ctx, &ids[i], said[i].code ? &said[i] : &all);
    }
    return 0;
}
