/* status, sync: how it goes. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "daemon/requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_POLL_MS 500

static json_int_t number(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static json_t *fetch(const struct config *config, const char *name, const char *remote,
                     struct err *err) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    json_t *request = json_pack("{s:s,s:s*}", "request", name, "remote", remote);
    requests_ask(config_values(config), request, &reply, &bytes, err);
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
    printf("model       %s %s (%.12s)\n", text(model, "name"), text(model, "version"),
           text(model, "hash"));
    printf(
        "frames      seen %lld, rejected %lld, bad %lld, dropped %lld, failed %lld; %.1f ms each\n",
        number(pipeline, "frames_seen"), number(pipeline, "rejected"), number(pipeline, "bad"),
        number(pipeline, "dropped"), number(pipeline, "failed"),
        json_real_value(json_object_get(pipeline, "detect_ms_mean")));
    size_t index;
    json_t *camera;
    json_array_foreach(json_object_get(status, "cameras"), index, camera) {
        printf("camera      %-16s seen %lld, kept %lld, errors %lld  %s%s%s\n",
               text(camera, "name"), number(camera, "frames_seen"), number(camera, "kept"),
               number(camera, "errors"), text(camera, "source"),
               *text(camera, "last_error") ? "  last error: " : "", text(camera, "last_error"));
    }
}

static void print_triage(const json_t *status) {
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(status, "triage_last_hour"), index, row) {
        const char *rule = text(row, "rule");
        printf("last hour   %-16s %-16s kept %lld, over budget %lld, not kept %lld\n",
               text(row, "camera"), *rule ? rule : "(no rule)", number(row, "kept"),
               number(row, "over_budget"), number(row, "rejected"));
    }
}

static void print_tier(const json_t *store, const char *tier) {
    const json_t *counts = json_object_get(store, tier);
    printf("%-11s %lld frames, %.1f MB here, %lld replicated, %lld evicted\n", tier,
           number(counts, "frames"), (double)number(counts, "bytes") / 1e6,
           number(counts, "replicated"), number(counts, "evicted"));
}

static void print_remotes(const json_t *status) {
    size_t index;
    json_t *remote;
    json_array_foreach(json_object_get(status, "sync"), index, remote) {
        printf("remote      %-12s done %lld, waiting %lld (%.1f MB), quarantined %lld%s%s%s\n",
               text(remote, "name"), number(remote, "done"), number(remote, "pending"),
               (double)number(remote, "pending_bytes") / 1e6, number(remote, "quarantined"),
               json_is_true(json_object_get(remote, "breaker_open")) ? "; resting after failures"
                                                                     : "",
               *text(remote, "last_error") ? "; last error: " : "", text(remote, "last_error"));
    }
}

static void print_status(const json_t *status) {
    bool running = json_is_true(json_object_get(status, "daemon"));
    printf("creel %s on %s, %s\n", text(status, "version"), text(status, "device"),
           running ? "running" : "no daemon runs");
    if (running) {
        print_pipeline(status);
    }
    print_triage(status);
    const json_t *store = json_object_get(status, "store");
    printf("store       %s: %.1f MB on disk", text(store, "dir"),
           (double)number(store, "disk_bytes") / 1e6);
    if (number(store, "quota_bytes")) {
        printf(" of %.1f MB", (double)number(store, "quota_bytes") / 1e6);
    }
    printf(", index %lld behind%s\n", number(store, "index_lag"),
           json_is_true(json_object_get(store, "index_rebuilding")) ? ", being made again" : "");
    const char *unread = text(status, "store_error"), *fault = text(store, "last_error");
    if (*unread || *fault) {
        printf("store       %s: %s\n", *unread ? "its counts cannot be read" : "last error",
               *unread ? unread : fault);
    }
    const json_t *held = json_object_get(store, "limits_held");
    if (held) {
        printf("limits      wait for `creel gc --force`: they would remove %lld of %lld frames\n",
               number(held, "frames"), number(held, "of"));
    }
    if (json_is_true(json_object_get(store, "ages_rest"))) {
        puts("ages        rest for a day: this cannot be the time, by what was seen before");
    }
    print_tier(store, "annotated");
    print_tier(store, "unannotated");
    print_remotes(status);
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
    json_t *status = fetch(config, "status", NULL, &err);
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

/* ---- sync ---- */

static const char sync_usage[] =
    "usage: creel sync [--wait] [--timeout SECONDS] [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "       creel sync retry [REMOTE]\n"
    "Shows what waits for each remote; --wait stays until nothing does. `retry` releases what was "
    "set aside.\n"
    "Exit 6 when a backlog or a quarantine is left.\n";

static int left_over(const json_t *status, json_int_t *pending) {
    json_int_t quarantined = 0;
    *pending = 0;
    size_t index;
    json_t *remote;
    json_array_foreach(json_object_get(status, "sync"), index, remote) {
        *pending += number(remote, "pending");
        quarantined += number(remote, "quarantined");
    }
    return *pending || quarantined ? EXIT_INCOMPLETE : EXIT_OK;
}

/* The status once nothing is pending, at the deadline, or at once without `wait`. NULL: err says
 * why. */
static json_t *status_when_done(const struct config *config, bool wait, int64_t timeout_us,
                                struct err *err) {
    int64_t deadline_us = clock_boot_us() + timeout_us;
    for (;;) {
        json_t *status = fetch(config, "status", NULL, err);
        if (!status || !wait) {
            return status;
        }
        if (!json_is_true(json_object_get(status, "daemon"))) {
            json_decref(status);
            err_set(err, ERR_NOT_FOUND, "no daemon runs, so nothing would ever be uploaded");
            return NULL;
        }
        json_int_t pending;
        left_over(status, &pending);
        if (!pending || clock_boot_us() >= deadline_us) {
            return status;
        }
        json_decref(status);
        clock_sleep_ms(WAIT_POLL_MS);
    }
}

static int sync_retry(const struct config *config, const char *remote, struct err *err) {
    json_t *reply = fetch(config, "sync-retry", remote, err);
    if (!reply) {
        return commands_fail(err);
    }
    printf("released %lld\n", number(reply, "released"));
    json_decref(reply);
    return EXIT_OK;
}

static int sync_show(const struct config *config, const struct options *options, bool wait,
                     int64_t timeout_us, struct err *err) {
    json_t *status = status_when_done(config, wait, timeout_us, err);
    if (!status) {
        int exit_status = commands_fail(err);
        return wait && exit_status == EXIT_NOT_FOUND ? EXIT_NO_DAEMON : exit_status;
    }
    if (options->json) {
        json_dumpf(json_object_get(status, "sync"), stdout,
                   JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        print_remotes(status);
    }
    json_int_t pending;
    int exit_status = left_over(status, &pending);
    json_decref(status);
    return exit_status;
}

int cmd_sync(int argc, char **argv) {
    bool wait = false;
    const char *timeout = "86400";
    const struct option_spec own[] = {{"wait", &wait, NULL}, {"timeout", NULL, &timeout}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, sync_usage, own, ARRAY_LENGTH(own), 0, 2, &options, &done);
    if (done) {
        return status;
    }
    char *end;
    long timeout_s = strtol(timeout, &end, 10);
    bool retry = options.operand_count && strcmp(options.operands[0], "retry") == 0;
    if ((options.operand_count && !retry) || end == timeout || *end || timeout_s < 0) {
        fprintf(stderr, "creel: sync knows `retry [REMOTE]` and --timeout SECONDS\n%s", sync_usage);
        return EXIT_USAGE;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&options, false, &config, &err)) {
        return commands_fail(&err);
    }
    status = retry
                 ? sync_retry(config, options.operand_count > 1 ? options.operands[1] : NULL, &err)
                 : sync_show(config, &options, wait, (int64_t)timeout_s * 1000000, &err);
    config_destroy(config);
    return status;
}
