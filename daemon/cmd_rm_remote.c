/* rm --remote: see removal.h. */
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/removal.h"
#include <stdio.h>

static json_t *names_json(const struct options *options) {
    json_t *names = json_array();
    for (size_t i = 0; i < options->operand_count; i++) {
        json_array_append_new(names, json_string(options->operands[i]));
    }
    return names;
}

static void print_plan(const struct removal *removal) {
    const struct sync_config *sync = &removal->cloud->values->sync;
    for (size_t i = 0; i < removal->count; i++) {
        for (size_t k = 0; k < sync->remote_count; k++) {
            const char *key = removal_key(&removal->targets[i], sync->remotes[k].name);
            printf("%s: %s\n", sync->remotes[k].name, key ? key : "-");
        }
    }
}

static int print_done(const struct removal *removal, bool json, json_t *local) {
    size_t remotes = removal->cloud->values->sync.remote_count;
    if (json) {
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

int cmd_rm_remote(const struct options *options, bool force, bool dry_run) {
    struct err err = {0};
    struct config *config = NULL;
    struct cloud cloud = {0};
    struct removal removal = {.cloud = &cloud, .force = force, .dry_run = dry_run};
    json_t *local = NULL;
    if (options_config(options, true, &config, &err)) {
        return commands_fail(&err);
    }
    int code = cloud_open(config_values(config), &cloud, &err);
    removal.names = names_json(options);
    code = code ? code : removal_run(&removal, &local, &err);
    int status = code == ERR_INVALID ? (commands_fail(&err), EXIT_USAGE)
                 : code              ? commands_fail(&err)
                                     : print_done(&removal, options->json, local);
    json_decref(local);
    removal_finish(&removal);
    cloud_close(&cloud);
    config_destroy(config);
    return status;
}
