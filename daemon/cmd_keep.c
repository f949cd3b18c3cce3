/* pin, unpin, rm, gc: what stays and what goes. */
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "daemon/requests.h"
#include <stdio.h>

static json_t *names_json(const struct options *options) {
    json_t *names = json_array();
    for (size_t i = 0; i < options->operand_count; i++) {
        json_array_append_new(names, json_string(options->operands[i]));
    }
    return names;
}

static long long number(const json_t *reply, const char *key) {
    return json_integer_value(json_object_get(reply, key));
}

/* ---- pin, unpin ---- */

static const char pin_usage[] =
    "usage: creel pin FRAME... [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "       creel unpin FRAME...\n"
    "A pinned frame stays here whatever the limits say. Pinned frames may hold a quarter of the "
    "quota.\n"
    "FRAME is an id, 8 or more hex digits of the hash, or @last.\n";

static int show_pinned(const struct options *options, const json_t *reply,
                       const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    if (options->json) {
        document_print(reply);
        return commands_output_end();
    }
    printf("%s %lld\n", json_is_true(json_object_get(reply, "pinned")) ? "pinned" : "unpinned",
           number(reply, "frames"));
    return commands_output_end();
}

static int pin(int argc, char **argv, bool on) {
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, pin_usage, NULL, 0, 1, STORE_REMOVE_MAX, &options, &done);
    if (done) {
        return status;
    }
    return commands_ask(
        &options, false,
        json_pack("{s:s,s:b,s:o}", "request", "pin", "on", on, "frames", names_json(&options)),
        show_pinned, NULL);
}

int cmd_pin(int argc, char **argv) {
    return pin(argc, argv, true);
}

int cmd_unpin(int argc, char **argv) {
    return pin(argc, argv, false);
}

/* ---- rm ---- */

static const char rm_usage[] =
    "usage: creel rm FRAME... [--remote] [--force] [--dry-run] [--json] [--config FILE] [--set "
    "KEY=VALUE]...\n"
    "Removes the frames' bytes from this store; nothing happens at the remotes, but for:\n"
    "  --remote  removes their objects at every configured remote too (needs the right to delete)\n"
    "Their records stay as history.\n"
    "A pinned frame, or one that a required remote does not have yet, is refused without --force "
    "(exit 8),\n"
    "and then nothing is removed. FRAME is an id, 8 or more hex digits of the hash, or @last.\n";

static int show_removed(const struct options *options, const json_t *reply,
                        const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    if (options->json) {
        document_print(reply);
        return commands_output_end();
    }
    printf("%s %lld frames (%lld blobs, %.1f MB)",
           json_is_true(json_object_get(reply, "dry_run")) ? "would remove" : "removed",
           number(reply, "frames"), number(reply, "blobs"), (double)number(reply, "bytes") / 1e6);
    if (number(reply, "pinned") || number(reply, "owed")) {
        printf("; of the blobs %lld pinned, %lld not yet uploaded", number(reply, "pinned"),
               number(reply, "owed"));
    }
    if (number(reply, "gone")) {
        printf("; %lld were gone already", number(reply, "gone"));
    }
    putchar('\n');
    return commands_output_end();
}

int cmd_rm(int argc, char **argv) {
    bool force = false, dry_run = false, remote = false;
    const struct option_spec own[] = {
        {"force", &force, NULL}, {"dry-run", &dry_run, NULL}, {"remote", &remote, NULL}};
    struct options options;
    bool done;
    int status = options_parse(argc, argv, rm_usage, own, ARRAY_LENGTH(own), 1, STORE_REMOVE_MAX,
                               &options, &done);
    if (done) {
        return status;
    }
    if (remote) {
        return cmd_rm_remote(&options, force, dry_run);
    }
    return commands_ask(&options, false,
                        json_pack("{s:s,s:b,s:b,s:o}", "request", "rm", "force", force, "dry_run",
                                  dry_run, "frames", names_json(&options)),
                        show_removed, NULL);
}

/* ---- gc ---- */

static const char gc_usage[] =
    "usage: creel gc [--dry-run] [--force] [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "Removes what the limits take now; --dry-run only lists it: how much goes by which limit, and "
    "the first frames.\n"
    "Changed limits of the tiers that would remove more than a quarter of the frames wait for "
    "--force (exit 8).\n";

static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "-";
}

static void print_plan(const json_t *reply) {
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(reply, "limits"), index, row) {
        printf("%-18s %-11s  %lld frames, %.1f MB, kept %s to %s\n", text(row, "why"),
               text(row, "tier"), number(row, "frames"), (double)number(row, "bytes") / 1e6,
               text(row, "oldest"), text(row, "newest"));
    }
    json_array_foreach(json_object_get(reply, "frames"), index, row) {
        printf("  %s  %s  %-11s  %.1f kB  %s\n", text(row, "id"), text(row, "kept"),
               text(row, "tier"), (double)number(row, "bytes") / 1e3, text(row, "why"));
    }
    if (!json_array_size(json_object_get(reply, "limits"))) {
        puts("nothing is over a limit");
    }
}

static int show_gc(const struct options *options, const json_t *reply,
                   const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    bool held = json_is_true(json_object_get(reply, "held"));
    bool dry_run = json_is_true(json_object_get(reply, "dry_run"));
    int status = held && !dry_run ? EXIT_REFUSED : EXIT_OK;
    if (options->json) {
        document_print(reply);
        return commands_output_end() ? EXIT_FAILED : status;
    }
    if (dry_run || held) {
        print_plan(reply);
    }
    if (!dry_run) {
        printf("removed %lld of %lld frames, %.1f MB\n", number(reply, "removed_frames"),
               number(reply, "here"), (double)number(reply, "removed_bytes") / 1e6);
    }
    int written = commands_output_end();
    if (held) {
        fputs("creel: the tiers' limits have changed and would remove more than a quarter of the "
              "frames: they wait for `creel gc --force`\n",
              stderr);
    }
    return written ? written : status;
}

int cmd_gc(int argc, char **argv) {
    bool force = false, dry_run = false;
    const struct option_spec own[] = {{"force", &force, NULL}, {"dry-run", &dry_run, NULL}};
    struct options options;
    bool done;
    int status = options_parse(argc, argv, gc_usage, own, ARRAY_LENGTH(own), 0, 0, &options, &done);
    if (done) {
        return status;
    }
    return commands_ask(
        &options, false,
        json_pack("{s:s,s:b,s:b}", "request", "gc", "force", force, "dry_run", dry_run), show_gc,
        NULL);
}
