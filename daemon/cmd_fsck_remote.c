/* fsck --remote: a bucket against the index, by listing alone; with the daemon running or without.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/cloud.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *name, *text;
    bool fault; /* exit 6 */
} findings[SYNC_FINDINGS] = {
    [SYNC_FOUND_MISSING] = {"missing", "missing", true},
    [SYNC_FOUND_WRONG] = {"wrong", "wrong bytes", true},
    [SYNC_FOUND_ALTERED] = {"altered", "written again", false},
    [SYNC_FOUND_UNRECEIPTED] = {"unreceipted", "no receipt", false},
    [SYNC_FOUND_UNKNOWN] = {"unknown", "unknown", false},
    [SYNC_FOUND_EXPIRED] = {"expired", "expired", false},
};

struct look {
    const struct options *options;
    const char *remote;
    bool repair, force;
};

static void on_found(void *ctx, enum sync_finding finding, const char *key, const char *detail) {
    const struct look *look = ctx;
    if (look->options->json) {
        document_print_taken(json_pack("{s:s,s:s,s:s,s:s}", "remote", look->remote, "finding",
                                       findings[finding].name, "key", key, "detail", detail));
    } else {
        printf("%-13s %s  (%s)\n", findings[finding].text, key, detail);
    }
}

static void summary_json(const struct look *look, const struct sync_fsck *out, bool clean) {
    json_t *counts = json_object();
    for (size_t i = 0; i < SYNC_FINDINGS; i++) {
        json_object_set_new(counts, findings[i].name, json_integer((json_int_t)out->found[i]));
    }
    document_print_taken(
        json_pack("{s:s,s:b,s:I,s:I,s:I,s:I,s:o,s:I,s:I,s:I}", "remote", look->remote, "clean",
                  clean, "objects", (json_int_t)out->objects, "bytes", (json_int_t)out->bytes,
                  "receipts", (json_int_t)out->receipts, "elsewhere", (json_int_t)out->elsewhere,
                  "found", counts, "queued", (json_int_t)out->queued, "lost", (json_int_t)out->lost,
                  "requests", (json_int_t)out->requests));
}

static void summary_print(const struct look *look, const struct sync_fsck *out, bool clean) {
    printf("%s: %" PRIu64 " objects, %.1f MB; %" PRIu64 " receipts compared, %" PRIu64
           " requests\n",
           look->remote, out->objects, (double)out->bytes / 1e6, out->receipts, out->requests);
    for (size_t i = 0; i < SYNC_FINDINGS; i++) {
        if (out->found[i]) {
            printf("  %-13s %" PRIu64 "\n", findings[i].text, out->found[i]);
        }
    }
    if (out->elsewhere) {
        printf("  %" PRIu64
               " receipts are of names that this device does not give: not looked at\n",
               out->elsewhere);
    }
    if (look->repair && (out->queued || out->lost)) {
        printf("  queued again: %" PRIu64 "; lost, neither there nor here: %" PRIu64 "\n",
               out->queued, out->lost);
    }
    if (!look->repair && out->found[SYNC_FOUND_MISSING]) {
        puts("  `creel fsck --remote --repair` uploads again what is missing and still here");
    }
    if (out->found[SYNC_FOUND_WRONG]) {
        puts("  wrong bytes are never overwritten: look who wrote there, and remove them by hand");
    }
    puts(clean ? "  clean" : "");
}

/* What has no manifest, or may not be listed, says nothing. */
static void writers_look(const struct look *look, const struct sync_remote_config *remote,
                         const char *device) {
    struct sync_writer writers[SYNC_WRITERS_MAX];
    size_t count = 0;
    struct err err = {0};
    if (sync_writers(remote, device, clock_utc_us(), writers, &count, &err) || count < 2) {
        return;
    }
    if (!look->options->json) {
        printf("%s: %zu stores write under the device id %s; give each device its own "
               "(device.id):\n",
               remote->name, count, device);
    }
    for (size_t i = 0; i < count; i++) {
        if (look->options->json) {
            document_print_taken(json_pack(
                "{s:s,s:s,s:s,s:s,s:I}", "remote", remote->name, "finding", "two-stores", "store",
                writers[i].store, "last", writers[i].last, "parts", (json_int_t)writers[i].parts));
        } else {
            printf("  store %s, last on %s\n", writers[i].store, writers[i].last);
        }
    }
}

static int check_one(struct cloud *cloud, const struct sync_remote_config *remote, void *ctx) {
    struct look *look = ctx;
    struct sync_fsck out;
    struct err err = {0};
    look->remote = remote->name;
    int code = sync_fsck(remote, cloud->values->device, &cloud->index, look->repair, look->force,
                         on_found, look, &out, &err);
    bool mended = look->repair && !code && !out.lost && !out.found[SYNC_FOUND_WRONG];
    bool faults = out.found[SYNC_FOUND_MISSING] || out.found[SYNC_FOUND_WRONG];
    if (!code || code == ERR_REFUSED) {
        writers_look(look, remote, cloud->values->device);
        (look->options->json ? summary_json : summary_print)(look, &out, !faults);
    }
    int status = commands_output_end();
    if (code) {
        return commands_fail(&err);
    }
    return status ? status : faults && !mended ? EXIT_INCOMPLETE : EXIT_OK;
}

int cmd_fsck_remote(const struct options *options, bool repair, bool force) {
    struct look look = {.options = options, .repair = repair, .force = force};
    return cloud_each(options, options->operand_count ? options->operands[0] : NULL, check_one,
                      &look);
}
