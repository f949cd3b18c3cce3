/* cloud: what has outlived its ttl leaves a bucket; the bucket's own rules. Never from the daemon.
 */
#include "daemon/base/mem.h"
#include "daemon/cloud.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char cloud_usage[] =
    "usage: creel cloud gc [REMOTE] [--dry-run] [--force] [--json] [--config FILE] [--set "
    "KEY=VALUE]...\n"
    "       creel cloud lifecycle show|apply [REMOTE] [--force] [--json]\n"
    "  gc         removes this device's objects that have outlived their tier's ttl\n"
    "             (sync.remotes.NAME.ttl.annotated, …) from a remote, or from all. Pinned frames "
    "stay. More than a\n"
    "             quarter of the objects goes only with --force (exit 8). Needs the rights to list "
    "and to delete.\n"
    "  lifecycle  the rules by which an S3 bucket removes objects by itself: show tells what "
    "creel's are and should\n"
    "             be, apply sets them (asks first, or --force). Others' rules stay as they are. "
    "They hold for all\n"
    "             devices under the remote's prefix, and know no pins. For Azure: the policy to "
    "set with az.\n";

struct task {
    const struct options *options;
    bool dry_run, force, apply;
};

/* ---- gc ---- */

static void on_expired(void *ctx, const char *key, uint64_t bytes, bool pinned) {
    const struct task *task = ctx;
    if (task->options->json) {
        document_print_taken(json_pack("{s:s,s:I,s:b}", "key", key, "bytes", (json_int_t)bytes,
                                       "pinned", (int)pinned));
    } else if (task->dry_run || pinned) {
        printf("%-8s %s  %.1f kB\n", pinned ? "pinned" : "expired", key, (double)bytes / 1e3);
    }
}

static void gc_print(const struct task *task, const char *remote, const struct sync_gc *out) {
    if (task->options->json) {
        document_print_taken(json_pack(
            "{s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "remote", remote, "dry_run", (int)task->dry_run,
            "objects", (json_int_t)out->objects, "expired", (json_int_t)out->expired,
            "expired_bytes", (json_int_t)out->expired_bytes, "pinned", (json_int_t)out->pinned,
            "removed", (json_int_t)out->removed, "requests", (json_int_t)out->requests));
    } else if (!out->any_ttl) {
        printf("%s: no tier has a ttl (sync.remotes.%s.ttl.annotated, …): nothing to do\n", remote,
               remote);
    } else {
        printf("%s: %" PRIu64 " objects; %" PRIu64 " outlived their ttl (%.1f MB), %" PRIu64
               " of them pinned; %s %" PRIu64 "\n",
               remote, out->objects, out->expired, (double)out->expired_bytes / 1e6, out->pinned,
               task->dry_run ? "would remove" : "removed",
               task->dry_run ? out->expired - out->pinned - out->waiting : out->removed);
    }
}

static int gc_one(struct cloud *cloud, const struct sync_remote_config *remote, void *ctx) {
    const struct task *task = ctx;
    struct sync_gc out;
    struct err err = {0};
    int code = sync_gc(remote, cloud->values->device, &cloud->index, task->dry_run, task->force,
                       on_expired, ctx, &out, &err);
    if (!code || out.removed) {
        gc_print(task, remote->name, &out);
    }
    int status = commands_output_end();
    return code ? commands_fail(&err) : status;
}

/* ---- lifecycle ---- */

static const char *const rule_names[] = {[SYNC_RULE_FOREIGN] = "not creel's, stays",
                                         [SYNC_RULE_SAME] = "as it should be",
                                         [SYNC_RULE_NEW] = "new",
                                         [SYNC_RULE_CHANGED] = "changes",
                                         [SYNC_RULE_DROPPED] = "goes"};

static void on_rule(void *ctx, enum sync_rule rule, const char *id, const char *before,
                    const char *after) {
    const struct task *task = ctx;
    if (task->options->json) {
        document_print_taken(json_pack("{s:s,s:s,s:s?,s:s?}", "rule", id, "state", rule_names[rule],
                                       "before", before, "after", after));
        return;
    }
    printf("%s: %s\n", id, rule_names[rule]);
    if (before && rule != SYNC_RULE_SAME) {
        printf("  %c %s\n", rule == SYNC_RULE_FOREIGN ? ' ' : '-', before);
    }
    if (after) {
        printf("  %c %s\n", rule == SYNC_RULE_SAME ? ' ' : '+', after);
    }
}

static bool says_yes(const struct task *task, const char *remote, struct err *err) {
    char line[16];
    if (task->force) {
        return true;
    }
    if (!isatty(STDIN_FILENO)) {
        err_set(err, ERR_REFUSED,
                "remote %s: nothing was changed: there is nobody to ask here; --force applies it",
                remote);
        return false;
    }
    fprintf(stderr, "Set these rules for the bucket of %s? [y/N] ", remote);
    if (fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y')) {
        return true;
    }
    err_set(err, ERR_REFUSED, "remote %s: nothing was changed", remote);
    return false;
}

/* Azure's rules are not the data plane's: what there is to do is printed. */
static int policy_print(const struct sync_remote_config *remote, bool apply) {
    CLEANUP(mem_free_at) char *json = NULL;
    struct err err = {0};
    if (sync_lifecycle_policy(remote, &json, &err)) {
        return commands_fail(&err);
    }
    puts(json);
    fprintf(stderr,
            "creel: remote %s: Azure sets such rules through the account's management plane, which "
            "a storage credential\ndoes not reach. Save the policy above as policy.json, add the "
            "rules that the account has already\n(az storage account management-policy show), and "
            "set all of it, for it replaces them:\n  az storage account management-policy create "
            "--account-name ACCOUNT --resource-group GROUP --policy @policy.json\n",
            remote->name);
    int status = commands_output_end();
    return status ? status : apply ? EXIT_REFUSED : EXIT_OK;
}

static int lifecycle_run(const struct task *task, const char *remote,
                         struct sync_lifecycle *lifecycle, struct err *err) {
    bool differs = sync_lifecycle_each(lifecycle, on_rule, (void *)task);
    if (!task->options->json) {
        printf("%s: %s\n", remote, differs ? "differs" : "nothing to change");
    }
    if (!task->apply || !differs) {
        return 0;
    }
    fflush(stdout);
    if (!says_yes(task, remote, err)) {
        return err->code;
    }
    int code = sync_lifecycle_apply(lifecycle, err);
    if (!code && !task->options->json) {
        printf("%s: set\n", remote);
    }
    return code;
}

static int lifecycle_one(const struct config_values *values,
                         const struct sync_remote_config *remote, const struct task *task) {
    struct sync_lifecycle *lifecycle = NULL;
    struct err err = {0};
    (void)values;
    if (remote->kind == SYNC_AZURE) {
        return policy_print(remote, task->apply);
    }
    int code = sync_lifecycle_open(remote, &lifecycle, &err);
    code = code ? code : lifecycle_run(task, remote->name, lifecycle, &err);
    sync_lifecycle_close(lifecycle);
    int status = commands_output_end();
    return code ? commands_fail(&err) : status;
}

/* Needs neither daemon nor store: the rules are between the configuration and the bucket. */
static int lifecycle(const struct options *options, const char *name, const struct task *task) {
    struct err err = {0};
    struct config *config = NULL;
    int status = EXIT_OK;
    size_t used = 0;
    if (options_config(options, true, &config, &err)) {
        return commands_fail(&err);
    }
    const struct config_values *values = config_values(config);
    for (size_t i = 0; i < values->sync.remote_count; i++) {
        const struct sync_remote_config *remote = &values->sync.remotes[i];
        if (name ? strcmp(name, remote->name) == 0 : remote->kind != SYNC_DIRECTORY) {
            int one = lifecycle_one(values, remote, task);
            status = one > status ? one : status;
            used++;
        }
    }
    if (!used) {
        err_set(&err, ERR_NOT_FOUND, "no remote %s%.40s that could have rules (sync.remotes)",
                name ? "is named " : "is configured", name ? name : "");
        status = commands_fail(&err);
    }
    config_destroy(config);
    return status;
}

int cmd_cloud(int argc, char **argv) {
    struct task task = {0};
    const struct option_spec own[] = {{"dry-run", &task.dry_run, NULL},
                                      {"force", &task.force, NULL}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, cloud_usage, own, ARRAY_LENGTH(own), 1, 3, &options, &done);
    if (done) {
        return status;
    }
    char **words = options.operands;
    size_t count = options.operand_count;
    task.options = &options;
    if (strcmp(words[0], "gc") == 0 && count <= 2) {
        return cloud_each(&options, count > 1 ? words[1] : NULL, gc_one, &task);
    }
    if (strcmp(words[0], "lifecycle") == 0 && count >= 2 && !task.dry_run) {
        task.apply = strcmp(words[1], "apply") == 0;
        if (task.apply || strcmp(words[1], "show") == 0) {
            return lifecycle(&options, count > 2 ? words[2] : NULL, &task);
        }
    }
    fputs(cloud_usage, stderr);
    return EXIT_USAGE;
}
