/* rm --remote: frames leave this store and every configured remote.
 *
 *   may it be? (pins, rights, --force) --> here --> receipts back --> objects
 * Nothing is removed before each remote has shown that it lets us. Here goes first, so that no
 * upload begins anew; one that was under way is looked for at the end, and what it left goes too.
 * Cut off in the middle, the same command does the rest: an object's name follows from the frame.
 */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/cloud.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 2

struct target {
    struct store_blob_name name;
    const json_t *frame; /* borrowed */
};

struct removal {
    const struct options *options;
    struct cloud *cloud;
    bool force, dry_run;
    json_t *reply; /* of cloud-frames */
    struct target *targets;
    size_t count;
};

static const char *key_of(const struct target *target, const char *remote) {
    return json_string_value(json_object_get(json_object_get(target->frame, "keys"), remote));
}

static json_t *names_json(const struct options *options) {
    json_t *names = json_array();
    for (size_t i = 0; i < options->operand_count; i++) {
        json_array_append_new(names, json_string(options->operands[i]));
    }
    return names;
}

static int frames_find(struct removal *removal, struct err *err) {
    int code = cloud_ask(
        removal->cloud,
        json_pack("{s:s,s:o}", "request", "cloud-frames", "frames", names_json(removal->options)),
        &removal->reply, err);
    const json_t *frames = json_object_get(removal->reply, "frames");
    size_t count = json_array_size(frames);
    removal->targets = code ? NULL : mem_array(count + 1, sizeof(*removal->targets));
    for (size_t i = 0; !code && removal->targets && i < count; i++) {
        const json_t *frame = json_array_get(frames, i);
        const char *hex = json_string_value(json_object_get(frame, "blob"));
        struct target *target = &removal->targets[removal->count++];
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
                               "dry_run", (int)dry_run, "frames", names_json(removal->options)),
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
                          const struct target *targets, size_t count, struct err *err) {
    int code = 0;
    (void)removal;
    for (size_t i = 0; !code && i < count; i++) {
        const char *key = key_of(&targets[i], remote->name);
        code = key ? sync_objects_remove(remote, targets[i].name.tier, &key, 1, err) : 0;
    }
    return code;
}

/* At most STORE_OUTBOX_BATCH targets. */
static int batch_remove(struct removal *removal, const struct sync_remote_config *remote,
                        const struct target *targets, size_t count, struct err *err) {
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

/* ---- the command ---- */

static void print_plan(const struct removal *removal) {
    const struct sync_config *sync = &removal->cloud->values->sync;
    for (size_t i = 0; i < removal->count; i++) {
        for (size_t k = 0; k < sync->remote_count; k++) {
            const char *key = key_of(&removal->targets[i], sync->remotes[k].name);
            printf("%s: %s\n", sync->remotes[k].name, key ? key : "-");
        }
    }
}

static int print_done(const struct removal *removal, json_t *local) {
    size_t remotes = removal->cloud->values->sync.remote_count;
    if (removal->options->json) {
        json_object_set_new(local, "remotes", json_integer((json_int_t)remotes));
        json_object_set(local, "objects", json_object_get(removal->reply, "frames"));
        document_print(local);
        return commands_output_end();
    }
    if (removal->dry_run) {
        print_plan(removal);
    }
    printf("%s %lld frames here (%lld were gone already), and the objects of %zu at %zu remotes\n",
           removal->dry_run ? "would remove" : "removed",
           (long long)json_integer_value(json_object_get(local, "frames")),
           (long long)json_integer_value(json_object_get(local, "gone")), removal->count, remotes);
    return commands_output_end();
}

static int run(struct removal *removal, json_t **local, struct err *err) {
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

int cmd_rm_remote(const struct options *options, bool force, bool dry_run) {
    struct err err = {0};
    struct config *config = NULL;
    struct cloud cloud = {0};
    struct removal removal = {
        .options = options, .cloud = &cloud, .force = force, .dry_run = dry_run};
    json_t *local = NULL;
    if (options_config(options, true, &config, &err)) {
        return commands_fail(&err);
    }
    int code = cloud_open(config_values(config), &cloud, &err);
    code = code ? code : run(&removal, &local, &err);
    int status = code == ERR_INVALID ? (commands_fail(&err), EXIT_USAGE)
                 : code              ? commands_fail(&err)
                                     : print_done(&removal, local);
    json_decref(local);
    json_decref(removal.reply);
    free(removal.targets);
    cloud_close(&cloud);
    config_destroy(config);
    return status;
}
