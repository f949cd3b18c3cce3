/* status: how it goes. */
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "daemon/progress.h"
#include "daemon/requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *fetch(const struct config *config, struct err *err) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    requests_ask(config_values(config), json_pack("{s:s}", "request", "status"), &reply, &bytes,
                 err);
    free(bytes.data);
    return reply;
}

/* ---- status ---- */

static const char status_usage[] =
    "usage: creel status [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "Exit 4 when no daemon runs (the store's side is shown all the same).\n";

static void print_pipeline(const json_t *status) {
    const json_t *pipeline = json_object_get(status, "pipeline");
    const json_t *model = json_object_get(status, "model");
    printf("model       %s %s (%.12s)\n", document_text(model, "name"),
           document_text(model, "version"), document_text(model, "hash"));
    printf(
        "frames      seen %lld, rejected %lld, bad %lld, dropped %lld, failed %lld; %.1f ms each\n",
        document_number(pipeline, "frames_seen"), document_number(pipeline, "rejected"),
        document_number(pipeline, "bad"), document_number(pipeline, "dropped"),
        document_number(pipeline, "failed"),
        json_real_value(json_object_get(pipeline, "detect_ms_mean")));
    const json_t *poison = json_object_get(pipeline, "poison");
    if (document_number(poison, "files")) {
        printf("poison      %lld frames that ended a worker are set aside in %s%s%s\n",
               document_number(poison, "files"), document_text(poison, "dir"),
               *document_text(poison, "last") ? ", the latest " : "",
               document_text(poison, "last"));
    }
    size_t index;
    json_t *camera;
    json_array_foreach(json_object_get(status, "cameras"), index, camera) {
        printf("camera      %-16s seen %lld, kept %lld, errors %lld  %s%s%s\n",
               document_text(camera, "name"), document_number(camera, "frames_seen"),
               document_number(camera, "kept"), document_number(camera, "errors"),
               document_text(camera, "source"),
               *document_text(camera, "last_error") ? "  last error: " : "",
               document_text(camera, "last_error"));
    }
}

static void print_triage(const json_t *status) {
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(status, "triage_last_hour"), index, row) {
        const char *rule = document_text(row, "rule");
        printf("last hour   %-16s %-16s kept %lld, over budget %lld, not kept %lld\n",
               document_text(row, "camera"), *rule ? rule : "(no rule)",
               document_number(row, "kept"), document_number(row, "over_budget"),
               document_number(row, "rejected"));
    }
}

static void print_tier(const json_t *store, const char *tier) {
    const json_t *counts = json_object_get(store, tier);
    printf("%-11s %lld frames, %.1f MB here, %lld replicated, %lld evicted\n", tier,
           document_number(counts, "frames"), (double)document_number(counts, "bytes") / 1e6,
           document_number(counts, "replicated"), document_number(counts, "evicted"));
}

static void print_status(const json_t *status) {
    bool running = json_is_true(json_object_get(status, "daemon"));
    printf("creel %s on %s, %s\n", document_text(status, "version"),
           document_text(status, "device"), running ? "running" : "no daemon runs");
    if (running) {
        print_pipeline(status);
    }
    print_triage(status);
    const json_t *store = json_object_get(status, "store");
    printf("store       %s: %.1f MB on disk", document_text(store, "dir"),
           (double)document_number(store, "disk_bytes") / 1e6);
    if (document_number(store, "quota_bytes")) {
        printf(" of %.1f MB", (double)document_number(store, "quota_bytes") / 1e6);
    }
    printf(", index %lld behind%s\n", document_number(store, "index_lag"),
           json_is_true(json_object_get(store, "index_rebuilding")) ? ", being made again" : "");
    const char *unread = document_text(status, "store_error"),
               *fault = document_text(store, "last_error");
    if (*unread || *fault) {
        printf("store       %s: %s\n", *unread ? "its counts cannot be read" : "last error",
               *unread ? unread : fault);
    }
    const json_t *held = json_object_get(store, "limits_held");
    if (held) {
        printf("limits      wait for `creel gc --force`: they would remove %lld of %lld frames\n",
               document_number(held, "frames"), document_number(held, "of"));
    }
    if (json_is_true(json_object_get(store, "ages_rest"))) {
        puts("ages        rest for a day: this cannot be the time, by what was seen before");
    }
    print_tier(store, "annotated");
    print_tier(store, "unannotated");
    progress_remotes_print(stdout, json_object_get(status, "sync"));
}

int cmd_status(int argc, char **argv) {
    struct options options;
    bool done;
    int exit_status = options_parse(argc, argv, status_usage, NULL, 0, 0, 0, &options, &done);
    if (done) {
        return exit_status;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&options, false, &config, &err)) {
        return commands_fail(&err);
    }
    json_t *status = fetch(config, &err);
    if (!status) {
        exit_status = commands_fail(&err);
    } else {
        exit_status = json_is_true(json_object_get(status, "daemon")) ? EXIT_OK : EXIT_NO_DAEMON;
        if (options.json) {
            json_dumpf(status, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
            putchar('\n');
        } else {
            print_status(status);
        }
    }
    json_decref(status);
    config_destroy(config);
    return exit_status;
}
