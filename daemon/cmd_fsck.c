/* fsck: check, scrub, rebuild, repair. All of it on a store that no daemon holds. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "store/store.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SCRUB_MB_MAX 100000.0
#define LINE_EACH_US 5000000

static const char fsck_usage[] =
    "usage: creel fsck [--rebuild | --repair | --scrub RATE] [--json] [--config FILE] [--set "
    "KEY=VALUE]...\n"
    "Reads every record of the store, re-hashes every payload and compares index and log. Changes "
    "nothing, but for:\n"
    "  --rebuild     makes the index again, from the log alone\n"
    "  --repair      drops torn tails, copies damaged records to damaged/ in the store and takes "
    "them out of use,\n"
    "                marks frames whose bytes are lost as gone, makes the index again where it "
    "disagrees\n"
    "  --scrub RATE  the check, at no more than RATE MB/s\n"
    "The daemon must be stopped (exit 4 otherwise). Exit 5 when the store is damaged.\n"
    "\n"
    "       creel fsck --remote [REMOTE] [--repair [--force]]\n"
    "Compares what lies at a remote (at all, without REMOTE) with the index, by listing alone: "
    "what "
    "is missing, has\n"
    "other bytes, or is unknown here. With the daemon running or without. Needs the right to "
    "list.\n"
    "  --repair      takes the receipts of what is missing back, so that it is uploaded again "
    "where its bytes are here\n"
    "  --force       also where more than a quarter is missing (exit 8 otherwise)\n"
    "Exit 6 when something is missing or wrong, 7 when the credential may not list.\n";

/* What one run needs to tell a person how far it is. */
struct meter {
    int64_t started_us, said_us;
    bool terminal;
    bool records;        /* else bytes */
    double bytes_per_us; /* scrub's bound; 0: none */
};

/* On a terminal in place; elsewhere a line now and then. */
static void meter_line(const struct meter *meter, uint64_t done, uint64_t total, double left_s) {
    fputs(meter->terminal ? "\r\033[K" : "", stderr);
    if (meter->records) {
        fprintf(stderr, "%" PRIu64 " of %" PRIu64 " records", done, total);
    } else {
        fprintf(stderr, "%.1f of %.1f MB", (double)done / 1e6, (double)total / 1e6);
    }
    fprintf(stderr, ", about %.0f s left%s", left_s, meter->terminal ? "" : "\n");
}

static void meter_show(void *ctx, uint64_t done, uint64_t total) {
    struct meter *meter = ctx;
    int64_t now_us = clock_boot_us();
    double passed_us = (double)(now_us - meter->started_us);
    double ahead_us = meter->bytes_per_us > 0 ? (double)done / meter->bytes_per_us - passed_us : 0;
    double left_s = done ? passed_us / 1e6 * (double)(total - done) / (double)done : 0;
    int64_t last_us = meter->said_us ? meter->said_us : meter->started_us;
    if (meter->terminal || now_us - last_us >= LINE_EACH_US) {
        meter_line(meter, done, total, left_s);
        meter->said_us = now_us;
    }
    if (ahead_us >= 1000) {
        clock_sleep_ms((int)(ahead_us / 1000));
    }
}

static void meter_end(const struct meter *meter) {
    if (meter->terminal) {
        fputs("\r\033[K", stderr);
    }
}

/* A store that is open elsewhere is, here, a daemon that must be stopped. */
static int fail(const struct err *err) {
    int status = commands_fail(err);
    if (err->code == ERR_BUSY) {
        fputs("creel: fsck needs the store for itself: stop the daemon (systemctl stop creel) and "
              "run it again\n",
              stderr);
        status = EXIT_NO_DAEMON;
    }
    return status;
}

/* ---- check and scrub ---- */

static json_t *check_json(const struct store_fsck *found, bool clean) {
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"segments", found->segments},
        {"records", found->records},
        {"frames", found->frames},
        {"blobs", found->blobs},
        {"receipts", found->receipts},
        {"bytes", found->bytes},
        {"torn_tail_bytes", found->torn_tail_bytes},
        {"damaged", found->damaged},
        {"missing_blobs", found->missing_blobs},
        {"index_missing", found->index_missing},
        {"index_extra", found->index_extra},
    };
    json_t *out = json_pack("{s:b,s:s}", "clean", clean, "first_problem", found->first_problem);
    for (size_t i = 0; i < ARRAY_LENGTH(counts); i++) {
        json_object_set_new(out, counts[i].name, json_integer((json_int_t)counts[i].value));
    }
    return out;
}

static void check_print(const struct store_fsck *found, bool clean) {
    printf("%" PRIu64 " segments, %" PRIu64 " records, %" PRIu64 " frames, %" PRIu64
           " blobs, %" PRIu64 " receipts, %.1f MB read\n",
           found->segments, found->records, found->frames, found->blobs, found->receipts,
           (double)found->bytes / 1e6);
    if (found->torn_tail_bytes) {
        printf("%" PRIu64 " bytes after the last whole record: the next start drops them\n",
               found->torn_tail_bytes);
    }
    if (!clean) {
        printf("damaged records %" PRIu64 ", missing blobs %" PRIu64 ", not in the index %" PRIu64
               ", only in the index %" PRIu64 "\nfirst: %s\n",
               found->damaged, found->missing_blobs, found->index_missing, found->index_extra,
               found->first_problem);
    }
    puts(clean ? "clean" : "damaged");
}

static int run_check(const struct store_config *store, struct meter *meter, bool json) {
    struct store_fsck found = {0};
    struct err err = {0};
    int code = store_fsck(store->dir, meter_show, meter, &found, &err);
    meter_end(meter);
    if (code && code != ERR_CORRUPT) {
        return fail(&err);
    }
    if (json) {
        document_print_taken(check_json(&found, !code));
    } else {
        check_print(&found, !code);
    }
    if (code && !json) {
        puts("`creel fsck --repair` takes what is damaged out of use and keeps the rest");
    }
    return code ? EXIT_DAMAGED : EXIT_OK;
}

/* ---- rebuild ---- */

static int run_rebuild(const struct store_config *store, struct meter *meter, bool json) {
    struct store_rebuilt made = {0};
    struct err err = {0};
    meter->records = true;
    int code = store_rebuild(store->dir, store->index_floor, meter_show, meter, &made, &err);
    meter_end(meter);
    if (code) {
        return fail(&err);
    }
    double seconds = (double)(clock_boot_us() - meter->started_us) / 1e6;
    if (json) {
        document_print_taken(json_pack("{s:I,s:I,s:I,s:f}", "lsn", (json_int_t)made.lsn,
                                       "annotated", (json_int_t)made.frames[TIER_ANNOTATED],
                                       "unannotated", (json_int_t)made.frames[TIER_UNANNOTATED],
                                       "seconds", seconds));
    } else {
        printf("the index is made again from the log: %" PRIu64 " annotated and %" PRIu64
               " unannotated frames, in %.1f s\n",
               made.frames[TIER_ANNOTATED], made.frames[TIER_UNANNOTATED], seconds);
    }
    return commands_output_end();
}

/* ---- repair ---- */

static void repaired_print(const struct store_repaired *done, const char *dir) {
    if (done->clean) {
        puts("nothing to repair");
        return;
    }
    if (done->torn_files) {
        printf("cut %" PRIu64 " torn tails, %" PRIu64 " bytes\n", done->torn_files,
               done->torn_bytes);
    }
    if (done->places) {
        printf("took %" PRIu64 " damaged places out of use, %" PRIu64 " bytes\n", done->places,
               done->place_bytes);
    }
    if (done->torn_files || done->places) {
        printf("copies of what was there lie in %s/damaged\n", dir);
    }
    if (done->blobs_gone) {
        printf("marked the frames of %" PRIu64 " lost blobs as gone\n", done->blobs_gone);
    }
    if (done->index_made) {
        puts("made the index again");
    }
    puts("clean");
}

static int run_repair(const struct store_config *store, struct meter *meter, bool json) {
    struct store_repaired done = {0};
    struct err err = {0};
    int code = store_repair(store->dir, store->index_floor, meter_show, meter, &done, &err);
    meter_end(meter);
    if (code) {
        return fail(&err);
    }
    if (json) {
        document_print_taken(json_pack(
            "{s:b,s:I,s:I,s:I,s:I,s:I,s:b}", "clean", done.clean, "torn_files",
            (json_int_t)done.torn_files, "torn_bytes", (json_int_t)done.torn_bytes, "damaged",
            (json_int_t)done.places, "damaged_bytes", (json_int_t)done.place_bytes, "blobs_gone",
            (json_int_t)done.blobs_gone, "index_made", done.index_made));
    } else {
        repaired_print(&done, store->dir);
    }
    return commands_output_end();
}

/* ---- the command ---- */

static int rate_parse(const char *text, double *bytes_per_us) {
    char *end;
    double rate = text ? strtod(text, &end) : 0;
    if (text && (end == text || *end || !(rate > 0 && rate <= SCRUB_MB_MAX))) {
        fprintf(stderr, "creel: --scrub takes MB/s above 0, not \"%s\"\n", text);
        return EXIT_USAGE;
    }
    *bytes_per_us = rate; /* 1 MB/s is 1 byte/us */
    return EXIT_OK;
}

int cmd_fsck(int argc, char **argv) {
    bool rebuild = false, repair = false, remote = false, force = false;
    const char *rate = NULL;
    const struct option_spec own[] = {{"rebuild", &rebuild, NULL},
                                      {"repair", &repair, NULL},
                                      {"scrub", NULL, &rate},
                                      {"remote", &remote, NULL},
                                      {"force", &force, NULL}};
    struct options options;
    struct meter meter = {.started_us = clock_boot_us(), .terminal = isatty(STDERR_FILENO)};
    bool done;
    int status =
        options_parse(argc, argv, fsck_usage, own, ARRAY_LENGTH(own), 0, 1, &options, &done);
    if (done) {
        return status;
    }
    if (remote ? rebuild || rate : force || options.operand_count) {
        fprintf(stderr,
                "creel: REMOTE and --force go with --remote, --rebuild and --scrub do not\n%s",
                fsck_usage);
        return EXIT_USAGE;
    }
    if (remote) {
        return cmd_fsck_remote(&options, repair, force);
    }
    if (rebuild + repair + (rate != NULL) > 1) {
        fprintf(stderr, "creel: --rebuild, --repair and --scrub are one at a time\n%s", fsck_usage);
        return EXIT_USAGE;
    }
    status = rate_parse(rate, &meter.bytes_per_us);
    if (status) {
        return status;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&options, false, &config, &err)) {
        return commands_fail(&err);
    }
    const struct store_config *store = &config_values(config)->store;
    status = rebuild  ? run_rebuild(store, &meter, options.json)
             : repair ? run_repair(store, &meter, options.json)
                      : run_check(store, &meter, options.json);
    config_destroy(config);
    return status;
}
