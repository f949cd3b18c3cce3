/* sync: what waits for the remotes, and what a person decides about it. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "daemon/progress.h"
#include "daemon/requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_SHOW_MS 500 /* between two pictures */

static const char usage[] =
    "usage: creel sync [--wait] [--timeout SECONDS] [--json]\n"
    "       creel sync quarantine [REMOTE] [--json]\n"
    "       creel sync retry [REMOTE|FRAME]\n"
    "       creel sync drop REMOTE|FRAME [--remote REMOTE] --force [--dry-run]\n"
    "       creel sync pause [REMOTE]\n"
    "       creel sync resume [REMOTE]\n"
    "       creel sync backfill REMOTE [--since TIME]\n"
    "       all with [--config FILE] [--set KEY=VALUE]...\n"
    "Shows what waits for each remote; --wait stays until nothing does.\n"
    "  quarantine  lists what was set aside, with the reason\n"
    "  retry       lets it go again: all, one remote's, or one frame\n"
    "  drop        gives up what is set aside for a remote, or one frame's uploads (at one REMOTE "
    "only):\n"
    "              it is owed no longer, and its bytes here may go with their age\n"
    "  pause       sends nothing new until `resume`, also after a restart\n"
    "  backfill    queues what was kept before a remote was there; TIME is 7d, 2026-11-20 or\n"
    "              2026-11-20T08:00:00Z\n"
    "FRAME is an id, 8 or more hex digits of the hash, or @last.\n"
    "Exit 6 when a backlog or a quarantine is left, 8 when --force is missing.\n";

struct run { /* one call of the command */
    struct options options;
    const struct config *config;
    const char *verb, *what, *timeout, *remote, *since;
    bool wait, force, dry_run;
};

/* Consumes `request`. */
static json_t *ask(const struct run *run, json_t *request, struct err *err) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    requests_ask(config_values(run->config), request, &reply, &bytes, err);
    free(bytes.data);
    return reply;
}

static int failed(const struct err *err) {
    int status = commands_fail(err);
    return err->code == ERR_INVALID ? EXIT_USAGE : status;
}

/* ---- how it stands ---- */

static int left_over(const json_t *status, json_int_t *pending) {
    json_int_t quarantined = 0;
    *pending = 0;
    size_t index;
    json_t *remote;
    json_array_foreach(json_object_get(status, "sync"), index, remote) {
        *pending += document_number(remote, "pending");
        quarantined += document_number(remote, "quarantined");
    }
    return *pending || quarantined ? EXIT_INCOMPLETE : EXIT_OK;
}

/* The status once nothing is pending, at the deadline, or at once without `wait`. NULL: err says
 * why. */
static json_t *status_when_done(const struct run *run, int64_t timeout_us, struct err *err) {
    struct progress progress;
    int64_t deadline_us = clock_boot_us() + timeout_us;
    progress_init(&progress, stderr);
    for (;;) {
        json_int_t pending;
        json_t *status = ask(run, json_pack("{s:s}", "request", "status"), err);
        if (!status || !run->wait) {
            return status;
        }
        if (!json_is_true(json_object_get(status, "daemon"))) {
            json_decref(status);
            err_set(err, ERR_NOT_FOUND, "no daemon runs, so nothing would ever be uploaded");
            return NULL;
        }
        if (!run->options.json) {
            progress_show(&progress, json_object_get(status, "sync"), clock_boot_us());
        }
        left_over(status, &pending);
        if (!pending || clock_boot_us() >= deadline_us) {
            return status;
        }
        json_decref(status);
        clock_sleep_ms(WAIT_SHOW_MS);
    }
}

static int show(const struct run *run) {
    struct err err = {0};
    char *end;
    long timeout_s = strtol(run->timeout, &end, 10);
    if (end == run->timeout || *end || timeout_s < 0) {
        fprintf(stderr, "creel: --timeout takes seconds, not \"%s\"\n", run->timeout);
        return EXIT_USAGE;
    }
    json_t *status = status_when_done(run, (int64_t)timeout_s * 1000000, &err);
    if (!status) {
        int exit_status = commands_fail(&err);
        return run->wait && exit_status == EXIT_NOT_FOUND ? EXIT_NO_DAEMON : exit_status;
    }
    const json_t *sync = json_object_get(status, "sync");
    if (run->options.json) {
        json_dumpf(sync, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        progress_remotes_print(stdout, sync);
    }
    json_int_t pending;
    int exit_status = left_over(status, &pending);
    json_decref(status);
    return commands_output_end() ? EXIT_FAILED : exit_status;
}

/* ---- what was set aside ---- */

static void print_rows(const struct run *run, const json_t *rows) {
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row) {
        if (run->options.json) {
            document_print(row);
        } else {
            printf("%-12s %s  %s  %-11s  %8.1f kB  %s\n", document_text(row, "remote"),
                   document_text(row, "frame"), document_text(row, "kept"),
                   document_text(row, "tier"), (double)document_number(row, "bytes") / 1e3,
                   document_text(row, "reason"));
        }
    }
}

static int quarantine(const struct run *run) {
    struct err err = {0};
    char from[STORE_REMOTE_NAME_MAX + 1] = "";
    json_int_t after = 0;
    size_t count = 0;
    for (bool more = true; more;) {
        json_t *reply = ask(run,
                            json_pack("{s:s,s:s*,s:s,s:I}", "request", "sync-quarantine", "remote",
                                      run->what, "from", from, "after", after),
                            &err);
        if (!reply) {
            return failed(&err);
        }
        const json_t *rows = json_object_get(reply, "rows");
        print_rows(run, rows);
        count += json_array_size(rows);
        more = json_is_true(json_object_get(reply, "more"));
        snprintf(from, sizeof(from), "%s", document_text(reply, "from"));
        after = document_number(reply, "after");
        json_decref(reply);
    }
    return commands_output_end() ? EXIT_FAILED : count ? EXIT_INCOMPLETE : EXIT_OK;
}

static int retry(const struct run *run) {
    struct err err = {0};
    json_t *reply =
        ask(run, json_pack("{s:s,s:s*}", "request", "sync-retry", "what", run->what), &err);
    if (!reply) {
        return failed(&err);
    }
    printf("released %lld\n", document_number(reply, "released"));
    json_decref(reply);
    return commands_output_end();
}

static int drop(const struct run *run) {
    struct err err = {0};
    json_int_t dropped = 0;
    for (bool more = true; more;) {
        json_t *reply =
            ask(run,
                json_pack("{s:s,s:s,s:s*,s:b,s:b}", "request", "sync-drop", "what", run->what,
                          "remote", run->remote, "force", run->force, "dry_run", run->dry_run),
                &err);
        if (!reply) {
            return failed(&err);
        }
        dropped += document_number(reply, run->dry_run ? "found" : "dropped");
        more = json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
    }
    printf("%s %lld\n", run->dry_run ? "would give up" : "gave up", dropped);
    return commands_output_end();
}

/* ---- when it goes ---- */

static int pause_set(const struct run *run) {
    struct err err = {0};
    bool on = strcmp(run->verb, "pause") == 0;
    json_t *reply = ask(
        run, json_pack("{s:s,s:s*,s:b}", "request", "sync-pause", "remote", run->what, "on", on),
        &err);
    if (!reply) {
        return failed(&err);
    }
    printf("%s %s\n", on ? "paused" : "resumed", run->what ? run->what : "all remotes");
    json_decref(reply);
    return commands_output_end();
}

static int backfill(const struct run *run) {
    struct err err = {0};
    struct progress progress;
    json_int_t after = 0, queued = 0;
    progress_init(&progress, stderr);
    for (bool more = true; more;) {
        json_t *reply = ask(run,
                            json_pack("{s:s,s:s,s:s*,s:I}", "request", "sync-backfill", "remote",
                                      run->what, "since", run->since, "after", after),
                            &err);
        if (!reply) {
            if (queued) {
                printf("queued %lld before that; asked again, it goes on from there\n", queued);
            }
            return failed(&err);
        }
        queued += document_number(reply, "queued");
        after = document_number(reply, "after");
        more = json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
        if (more && progress.terminal) {
            fprintf(stderr, "\r\033[Kqueued %lld", queued);
        }
    }
    if (progress.terminal) {
        fputs("\r\033[K", stderr);
    }
    printf("queued %lld\n", queued);
    return commands_output_end();
}

/* ---- the command ---- */

static const struct {
    const char *name;
    size_t operands_min, operands_max;
    int (*run)(const struct run *run);
} verbs[] = {
    {"quarantine", 0, 1, quarantine}, {"retry", 0, 1, retry},      {"drop", 1, 1, drop},
    {"pause", 0, 1, pause_set},       {"resume", 0, 1, pause_set}, {"backfill", 1, 1, backfill},
};

static int (*verb_find(const struct run *run))(const struct run *run) {
    size_t operands = run->options.operand_count;
    if (operands == 0) {
        return show;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        if (strcmp(verbs[i].name, run->verb) == 0 && operands - 1 >= verbs[i].operands_min &&
            operands - 1 <= verbs[i].operands_max) {
            return verbs[i].run;
        }
    }
    return NULL;
}

int cmd_sync(int argc, char **argv) {
    struct run run = {.timeout = "86400"};
    const struct option_spec own[] = {
        {"wait", &run.wait, NULL},     {"timeout", NULL, &run.timeout},
        {"force", &run.force, NULL},   {"dry-run", &run.dry_run, NULL},
        {"remote", NULL, &run.remote}, {"since", NULL, &run.since},
    };
    bool done;
    int status =
        options_parse(argc, argv, usage, own, ARRAY_LENGTH(own), 0, 2, &run.options, &done);
    if (done) {
        return status;
    }
    run.verb = run.options.operand_count > 0 ? run.options.operands[0] : NULL;
    run.what = run.options.operand_count > 1 ? run.options.operands[1] : NULL;
    int (*perform)(const struct run *run) = verb_find(&run);
    if (!perform) {
        fprintf(stderr, "creel: sync does not know that, or an argument is missing: %s\n%s",
                run.verb, usage);
        return EXIT_USAGE;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&run.options, false, &config, &err)) {
        return commands_fail(&err);
    }
    run.config = config;
    status = perform(&run);
    config_destroy(config);
    return status;
}
