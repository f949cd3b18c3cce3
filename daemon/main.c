#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/overlay.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "run the daemon"},
    {"status", cmd_status, "what the daemon does, what the store holds, what waits for upload"},
    {"ls", cmd_ls, "list kept frames"},
    {"show", cmd_show, "one frame: detections, why it was kept, where it lies"},
    {"get", cmd_get, "a frame's exact bytes"},
    {"link", cmd_link, "a signed, short-lived link to a frame"},
    {"why", cmd_why, "what became of a frame, and for which reasons"},
    {"pin", cmd_pin, "keep frames whatever the limits say"},
    {"unpin", cmd_unpin, "let them go with the others"},
    {"rm", cmd_rm, "remove frames from this store"},
    {"gc", cmd_gc, "remove what the limits take; --dry-run lists it"},
    {"sync", cmd_sync, "backlog and quarantine of the remotes; pause, retry, backfill, …"},
    {"export", cmd_export, "kept frames as a COCO or YOLO data set"},
    {"fsck", cmd_fsck, "check every byte of the store; --remote: a bucket"},
    {"cloud", cmd_cloud, "remove from a bucket what is too old; its lifecycle rules"},
    {"store", cmd_store, "back up what no log can make again; adopt a replaced disk"},
    {"user", cmd_user, "who may log in at the gallery: add, passwd, rm, ls"},
    {"token", cmd_token, "tokens with scopes for machines: add, rm, ls"},
    {"detect", cmd_detect, "run a model on image files"},
    {"simulate", cmd_simulate, "what other triage rules would have kept of the recorded frames"},
    {"model", cmd_model, "check a model directory; let a running daemon use another model"},
    {"config", cmd_config, "check and show the configuration"},
    {"version", cmd_version, "version and what is built in"},
};

static void print_help(FILE *to) {
    fputs("usage: creel COMMAND [OPTION]...\n\n", to);
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
    }
    fputs("\nAll take --config FILE, --set KEY=VALUE, --help; most take --json.\n"
          "`creel COMMAND --help` has the details, creel(1) the whole manual.\n",
          to);
}

int commands_fail(const struct err *err) {
    static const struct {
        int code, status;
    } statuses[] = {
        {ERR_NOT_FOUND, EXIT_NOT_FOUND}, {ERR_CORRUPT, EXIT_DAMAGED}, {ERR_DENIED, EXIT_DENIED},
        {ERR_REFUSED, EXIT_REFUSED},     {ERR_CONFIG, EXIT_CONFIG},
    };
    char why[2 * ERR_TEXT_MAX];
    fprintf(stderr, "creel: %s\n", err_text(err, why, sizeof(why)));
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        if (statuses[i].code == err->code) {
            return statuses[i].status;
        }
    }
    return EXIT_FAILED;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    if (strcmp(name, OVERLAY_CHILD) == 0) {
        return overlay_child();
    }
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (*name) {
        fprintf(stderr, "creel: no command \"%s\"\n\n", name);
    }
    print_help(stderr);
    return EXIT_USAGE;
}
