/* config, version: is what is here right? */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "inference/inference.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- config ---- */

static const char config_usage[] =
    "usage: creel config check  [--config FILE] [--set KEY=VALUE]...\n"
    "       creel config show   [--origin] [--config FILE] [--set KEY=VALUE]...\n"
    "       creel config sample\n"
    "`show` prints the effective value of every key (secrets as ***), with --origin where each "
    "comes from.\n"
    "Exit 78 when the configuration has errors.\n";

static int config_show_all(const struct config *config, bool origin) {
    struct err err = {0};
    struct buf out = BUF_INIT(1u << 20);
    int status = EXIT_OK;
    if (config_show(config, origin, &out, &err)) {
        status = commands_fail(&err);
    } else {
        fputs(out.data ? out.data : "", stdout);
    }
    buf_finish(&out);
    return status;
}

int cmd_config(int argc, char **argv) {
    bool origin = false;
    const struct option_spec own[] = {{"origin", &origin, NULL}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, config_usage, own, ARRAY_LENGTH(own), 1, 1, &options, &done);
    if (done) {
        return status;
    }
    const char *verb = options.operands[0];
    if (strcmp(verb, "sample") == 0) {
        fputs(config_sample(), stdout);
        return EXIT_OK;
    }
    if (strcmp(verb, "check") != 0 && strcmp(verb, "show") != 0) {
        fprintf(stderr, "creel: config knows check, show and sample, not \"%s\"\n%s", verb,
                config_usage);
        return EXIT_USAGE;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&options, true, &config, &err)) {
        return commands_fail(&err);
    }
    if (strcmp(verb, "show") == 0) {
        status = config_show_all(config, origin);
    } else {
        puts("the configuration is good");
    }
    config_destroy(config);
    return status;
}

/* ---- version ---- */

static const char version_usage[] = "usage: creel version [--json]\n";

static const struct {
    const char *name;
    bool in;
} features[] = {
#ifdef HAVE_FFMPEG
    {"ffmpeg", true},
#else
    {"ffmpeg", false},
#endif
#ifdef HAVE_SECCOMP
    {"seccomp", true},
#else
    {"seccomp", false},
#endif
#ifdef HAVE_SYSTEMD
    {"systemd", true},
#else
    {"systemd", false},
#endif
};

int cmd_version(int argc, char **argv) {
    struct options options;
    bool done;
    int status = options_parse(argc, argv, version_usage, NULL, 0, 0, 0, &options, &done);
    if (done) {
        return status;
    }
    char worker[512];
    json_t *in = json_object(), *workers = json_array();
    for (size_t i = 0; detector_program_describe(i, worker, sizeof(worker)); i++) {
        json_array_append_new(workers, json_string(worker));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(features); i++) {
        json_object_set_new(in, features[i].name, json_boolean(features[i].in));
    }
    json_t *all =
        json_pack("{s:s,s:o,s:o}", "version", CREEL_VERSION, "workers", workers, "options", in);
    if (options.json) {
        document_print_taken(all);
        return EXIT_OK;
    }
    printf("creel %s\n", CREEL_VERSION);
    for (size_t i = 0; i < json_array_size(workers); i++) {
        printf("%s\n", json_string_value(json_array_get(workers, i)));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(features); i++) {
        printf("%s: %s\n", features[i].name, features[i].in ? "built in" : "not built in");
    }
    json_decref(all);
    return EXIT_OK;
}
