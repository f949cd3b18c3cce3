/* simulate: what another triage would have kept, from what the running one has recorded.
 *
 * The recorded frames come from the daemon (or the store, where none runs) and are replayed here,
 * so that the daemon pays for reading them and for nothing else.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "daemon/recorded.h"
#include "daemon/requests.h"
#include "inference/simulate.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: creel simulate --config NEW [--since TIME] [--running FILE] [--json]\n"
    "                      [--set KEY=VALUE]...\n"
    "Replays the recorded frames (what was detected in them, kept and rejected ones) with the "
    "triage\n"
    "of the configuration NEW, and says for each rule and tier what it would have kept and spent\n"
    "beside what was kept, over which time, and what a day like it costs, with the sampling error\n"
    "(95 %). TIME is 7d, 2026-11-20 or 2026-11-20T08:00:00Z; where the record does not reach back "
    "so\n"
    "far, the figures are projected to the number of frames that were seen since.\n"
    "FILE is the configuration of the daemon whose record is read: the installed one where it has\n"
    "the same store, else NEW itself.\n";

struct asked {
    struct options options;
    const char *since, *running;
    int64_t since_us;
    bool simulates_trigger, simulates_novelty;
    json_t *reply; /* to "recorded" */
};

static const char *const tier_names[TIER_COUNT] = {
    [TIER_ANNOTATED] = "annotated",
    [TIER_UNANNOTATED] = "unannotated",
};

/* ---- asking ---- */

static int load(const char *path, const struct options *options, struct config **out,
                struct err *err) {
    struct options wanted = *options;
    wanted.config_path = path;
    return options_config(&wanted, false, out, err);
}

/* Whose daemon is asked. NULL: that of the new configuration itself. */
static int running_config(const struct asked *asked, const struct config *fresh,
                          struct config **out, struct err *err) {
    const struct options none = {0};
    struct err ignored = {0};
    *out = NULL;
    if (asked->running) {
        return load(asked->running, &none, out, err);
    }
    if (!asked->options.config_path || access(CONFIG_DEFAULT_PATH, R_OK) != 0) {
        return 0;
    }
    if (load(CONFIG_DEFAULT_PATH, &none, out, &ignored) == 0 &&
        strcmp(config_values(*out)->store.dir, config_values(fresh)->store.dir) != 0) {
        config_destroy(*out);
        *out = NULL;
    }
    return 0;
}

static int fetch(struct asked *asked, const struct config *fresh, struct recorded *out,
                 struct err *err) {
    struct config *running = NULL;
    struct control_bytes bytes = {0};
    int code = running_config(asked, fresh, &running, err);
    code = code ? code
                : requests_ask(config_values(running ? running : fresh),
                               json_pack("{s:s,s:I}", "request", "recorded", "since_us",
                                         (json_int_t)asked->since_us),
                               &asked->reply, &bytes, err);
    code = code ? code : recorded_read(bytes.data, bytes.size, out, err);
    free(bytes.data);
    config_destroy(running);
    return code;
}

static json_int_t number(const struct asked *asked, const char *key) {
    return json_integer_value(json_object_get(asked->reply, key));
}

/* ---- saying it ---- */

static json_t *figure(double value, double error) {
    json_t *list = json_pack("{s:f}", "value", value);
    json_object_set_new(list, "error", error < 0 ? json_null() : json_real(error));
    return list;
}

static json_t *estimate_json(const struct simulate_estimate *estimate) {
    return json_pack("{s:o,s:o}", "frames", figure(estimate->frames, estimate->frames_error),
                     "bytes", figure(estimate->bytes, estimate->bytes_error));
}

static json_t *row_json(const struct simulate_row *row) {
    json_t *json =
        json_pack("{s:{s:I,s:I},s:{s:I,s:I},s:o,s:o}", "would", "frames",
                  (json_int_t)row->would.frames, "bytes", (json_int_t)row->would.bytes, "kept",
                  "frames", (json_int_t)row->kept.frames, "bytes", (json_int_t)row->kept.bytes,
                  "per_day", estimate_json(&row->day), "asked", estimate_json(&row->asked));
    if (json && row->rule[0]) {
        json_object_set_new(json, "rule", json_string(row->rule));
        json_object_set_new(json, "tier", json_string(tier_names[row->tier]));
    }
    return json;
}

static int print_json(const struct asked *asked, const struct simulate_report *report) {
    char from[CLOCK_RFC3339_SIZE], to[CLOCK_RFC3339_SIZE], since[CLOCK_RFC3339_SIZE];
    bool projected = number(asked, "asked_inputs") > 0;
    json_t *rules = json_array();
    for (size_t i = 0; i < report->row_count; i++) {
        json_array_append_new(rules, row_json(&report->rows[i]));
    }
    json_t *json = json_pack(
        "{s:{s:s,s:s,s:f,s:I,s:I},s:{s:s*,s:I,s:b},s:o,s:o}", "replayed", "from",
        clock_format_rfc3339(report->from_us, from), "to", clock_format_rfc3339(report->to_us, to),
        "seconds", (double)(report->to_us - report->from_us) / 1e6, "inputs",
        (json_int_t)report->inputs, "not_noted", number(asked, "not_noted"), "asked", "since",
        asked->since ? clock_format_rfc3339(asked->since_us, since) : NULL, "inputs",
        projected ? number(asked, "asked_inputs") : (json_int_t)report->inputs, "projected",
        projected, "rules", rules, "total", row_json(&report->total));
    if (!json) {
        fputs("creel: no memory for the answer\n", stderr);
        return EXIT_FAILED;
    }
    document_print_taken(json);
    return commands_output_end();
}

static const char *with_error(double value, double error, double unit, char out[48]) {
    if (error < 0) {
        snprintf(out, 48, "%.1f +- ?", value / unit);
    } else {
        snprintf(out, 48, "%.1f +- %.1f", value / unit, error / unit);
    }
    return out;
}

static void print_row(const struct simulate_row *row, bool projected) {
    char frames[48], bytes[48];
    const struct simulate_estimate *estimate = projected ? &row->asked : &row->day;
    printf("%-20.32s %-12s %8llu %9.1f  %8llu %9.1f   %20s  %20s\n",
           row->rule[0] ? row->rule : "all", row->rule[0] ? tier_names[row->tier] : "",
           (unsigned long long)row->would.frames, (double)row->would.bytes / 1e6,
           (unsigned long long)row->kept.frames, (double)row->kept.bytes / 1e6,
           with_error(estimate->frames, estimate->frames_error, 1, frames),
           with_error(estimate->bytes, estimate->bytes_error, 1e6, bytes));
}

static void print_notes(const struct asked *asked) {
    if (number(asked, "not_noted")) {
        printf("%lld frames came too fast to be recorded.\n",
               (long long)number(asked, "not_noted"));
    }
    if (!number(asked, "ring_frames")) {
        puts("Nothing is recorded of rejected frames: these are only the kept ones.");
    }
    if (asked->simulates_trigger) {
        puts("Triggers are not recorded: rules of kind trigger keep nothing here.");
    }
    if (asked->simulates_novelty) {
        puts("Novelty begins with nothing seen: it keeps more at first than it would.");
    }
}

static int print_text(const struct asked *asked, const struct simulate_report *report) {
    char from[CLOCK_RFC3339_SIZE], to[CLOCK_RFC3339_SIZE], since[CLOCK_RFC3339_SIZE];
    bool projected = number(asked, "asked_inputs") > 0;
    double minutes = (double)(report->to_us - report->from_us) / 6e7;
    printf("replayed %llu frames of %.1f %s, %s to %s\n", (unsigned long long)report->inputs,
           minutes < 60 ? minutes : minutes / 60, minutes < 60 ? "minutes" : "hours",
           clock_format_rfc3339(report->from_us, from), clock_format_rfc3339(report->to_us, to));
    if (projected) {
        printf("the record does not reach back to %s: projected to the %lld frames since\n",
               clock_format_rfc3339(asked->since_us, since),
               (long long)number(asked, "asked_inputs"));
    }
    printf("\n%-20s %-12s %18s  %18s   %42s\n", "", "", "would have kept", "was kept",
           projected ? "would, of all since (95 %)" : "would, a day (95 %)");
    printf("%-20s %-12s %8s %9s  %8s %9s   %20s  %20s\n", "RULE", "TIER", "FRAMES", "MB", "FRAMES",
           "MB", "FRAMES", "MB");
    for (size_t i = 0; i < report->row_count; i++) {
        print_row(&report->rows[i], projected);
    }
    print_row(&report->total, projected);
    putchar('\n');
    print_notes(asked);
    return commands_output_end();
}

/* ---- the command ---- */

static void note_kinds(struct asked *asked, const struct triage_config *triage) {
    for (size_t i = 0; i < triage->rule_count; i++) {
        const char *name = triage->rules[i];
        int kind = TRIAGE_BY_NAME;
        for (size_t j = 0; j < triage->defined_count; j++) {
            kind = strcmp(triage->defined[j].name, name) == 0 ? triage->defined[j].kind : kind;
        }
        asked->simulates_trigger = asked->simulates_trigger || kind == TRIAGE_TRIGGER ||
                                   (kind == TRIAGE_BY_NAME && strcmp(name, "trigger") == 0);
        asked->simulates_novelty = asked->simulates_novelty || kind == TRIAGE_NOVELTY ||
                                   (kind == TRIAGE_BY_NAME && strcmp(name, "novelty") == 0);
    }
}

static int simulate(struct asked *asked, const struct config *fresh, struct err *err) {
    CLEANUP(mem_free_at) struct simulate_report *report = mem_alloc(sizeof(*report));
    struct recorded recorded = {0};
    int code = report ? 0 : err_set(err, ERR_NOMEM, "no memory to simulate");
    code = code ? code : fetch(asked, fresh, &recorded, err);
    if (!code && recorded.count == 0) {
        code = err_set(err, ERR_NOT_FOUND,
                       "no frame is recorded since then; `creel status` says"
                       " what the daemon does");
    }
    /* What is merged away keeps its detections: those are freed from this list. */
    CLEANUP(mem_free_at)
    struct frame_record *records =
        code ? NULL : mem_dup(recorded.records, recorded.count * sizeof(*records));
    if (!code && !records) {
        code = err_set(err, ERR_NOMEM, "no memory to simulate");
    }
    note_kinds(asked, &config_values(fresh)->triage);
    code = code ? code
                : simulate_run(&config_values(fresh)->triage, records, recorded.count,
                               (double)number(asked, "asked_inputs"), report, err);
    recorded_finish(&recorded);
    if (code) {
        return commands_fail(err);
    }
    return asked->options.json ? print_json(asked, report) : print_text(asked, report);
}

int cmd_simulate(int argc, char **argv) {
    struct asked asked = {0};
    const struct option_spec own[] = {{"since", NULL, &asked.since},
                                      {"running", NULL, &asked.running}};
    struct config *fresh = NULL;
    struct err err = {0};
    bool done;
    int status =
        options_parse(argc, argv, usage, own, ARRAY_LENGTH(own), 0, 0, &asked.options, &done);
    if (done) {
        return status;
    }
    if (asked.since && !config_time_parse(asked.since, clock_utc_us(), &asked.since_us)) {
        fprintf(stderr, "creel: simulate: --since %s is no time\n%s", asked.since, usage);
        return EXIT_USAGE;
    }
    if (options_config(&asked.options, false, &fresh, &err)) {
        return commands_fail(&err);
    }
    status = simulate(&asked, fresh, &err);
    json_decref(asked.reply);
    config_destroy(fresh);
    return status;
}
