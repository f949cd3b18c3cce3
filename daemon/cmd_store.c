/* store: backup (of what no log can make again) and adopt (the way out of the mount guard). */
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/requests.h"
#include "store/store.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char store_usage[] =
    "usage: creel store backup FILE [--force] [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "       creel store adopt\n"
    "  backup  writes state.db (users, shares, budgets, the link key: what no log can make again) "
    "as it is\n"
    "          now to FILE; with the daemon running and without. To restore: stop the daemon and "
    "copy it to\n"
    "          state.db in store.dir. An existing FILE needs --force.\n"
    "  adopt   makes the store in store.dir the one that this machine expects there, after a disk "
    "was\n"
    "          replaced on purpose. The daemon must be stopped.\n";

static int show_backup(const struct options *options, const json_t *reply,
                       const struct control_bytes *bytes, void *ctx) {
    const char *path = ctx;
    struct err err = {0};
    (void)reply;
    if (fs_write_file_atomic(path, bytes->data, bytes->size, 0600, &err)) {
        return commands_fail(&err);
    }
    if (options->json) {
        json_t *out = json_pack("{s:s,s:I}", "file", path, "bytes", (json_int_t)bytes->size);
        document_print_taken(out);
    } else {
        printf("%s: %zu bytes\n", path, bytes->size);
    }
    return commands_output_end();
}

static int backup(const struct options *options, const char *path, bool force) {
    struct err err = {0};
    if (!force && access(path, F_OK) == 0) {
        err_set(&err, ERR_REFUSED, "%s is there already: nothing was written; --force replaces it",
                path);
        return commands_fail(&err);
    }
    char own[FS_PATH_MAX];
    snprintf(own, sizeof(own), "%s", path);
    return commands_ask(options, false, json_pack("{s:s}", "request", "state-backup"), show_backup,
                        own);
}

static int adopt(const struct options *options) {
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(options, false, &config, &err)) {
        return commands_fail(&err);
    }
    const struct store_config *store = &config_values(config)->store;
    int code = store_adopt(store->dir, store->state_dir, &err);
    int status = code ? commands_fail(&err) : EXIT_OK;
    if (code == ERR_BUSY) {
        fputs("creel: stop the daemon first (systemctl stop creel)\n", stderr);
        status = EXIT_NO_DAEMON;
    }
    if (!code) {
        printf("the store in %s is the one expected there now\n", store->dir);
        status = commands_output_end();
    }
    config_destroy(config);
    return status;
}

int cmd_store(int argc, char **argv) {
    bool force = false;
    const struct option_spec own[] = {{"force", &force, NULL}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, store_usage, own, ARRAY_LENGTH(own), 1, 2, &options, &done);
    if (done) {
        return status;
    }
    if (strcmp(options.operands[0], "backup") == 0 && options.operand_count == 2) {
        return backup(&options, options.operands[1], force);
    }
    if (strcmp(options.operands[0], "adopt") == 0 && options.operand_count == 1) {
        return adopt(&options);
    }
    fputs(store_usage, stderr);
    return EXIT_USAGE;
}
