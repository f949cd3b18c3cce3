/* commands: what `creel COMMAND` runs, and the exit codes that scripts rely on.
 *
 * Each command gets argv from its own name on and returns an exit code. Text goes to a person,
 * --json to a machine.
 */
#ifndef CREEL_DAEMON_COMMANDS_H
#define CREEL_DAEMON_COMMANDS_H

#include "daemon/base/err.h"
#include "daemon/control.h"
#include "daemon/options.h"
#include <jansson.h>
#include <stdbool.h>

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_NO_DAEMON = 4,
    EXIT_DAMAGED = 5,
    EXIT_INCOMPLETE = 6, /* a backlog or a quarantine is left */
    EXIT_DENIED = 7,
    EXIT_REFUSED = 8, /* needs --force */
    EXIT_CONFIG = 78, /* systemd does not restart on it (sysexits.h, EX_CONFIG) */
};

int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_link(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_pin(int argc, char **argv);
int cmd_unpin(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_sync(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_fsck(int argc, char **argv);
/* The part of fsck that is about a remote. */
int cmd_fsck_remote(const struct options *options, bool repair, bool force);
/* The part of rm that is about remotes. */
int cmd_rm_remote(const struct options *options, bool force, bool dry_run);
int cmd_cloud(int argc, char **argv);
int cmd_store(int argc, char **argv);
int cmd_user(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_detect(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* Prints "creel: <text>" to stderr and returns the exit code that belongs to err->code. */
int commands_fail(const struct err *err);

typedef int commands_show_fn(const struct options *options, const json_t *reply,
                             const struct control_bytes *bytes, void *ctx);
/* Loads the configuration, asks the daemon or the store, and gives the reply to `show`. Consumes
 * `request`; returns an exit code. */
int commands_ask(const struct options *options, bool secrets, json_t *request,
                 commands_show_fn *show, void *ctx);
/* Flushes standard output; EXIT_FAILED, said on stderr, when it could not be written. */
int commands_output_end(void);

#endif
