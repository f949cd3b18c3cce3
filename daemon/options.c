#include "daemon/options.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPT_OWN = 256, OPT_CONFIG, OPT_SET, OPT_JSON, OPT_HELP };

static int wrong(const char *usage, const char *why, const char *what) {
    fprintf(stderr, "creel: %s%s%s\n%s", why, what ? ": " : "", what ? what : "", usage);
    return EXIT_USAGE;
}

static size_t long_options(const struct option_spec *own, size_t own_count, struct option *out) {
    static const struct option common[] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"set", required_argument, NULL, OPT_SET},
        {"json", no_argument, NULL, OPT_JSON},
        {"help", no_argument, NULL, OPT_HELP},
    };
    size_t count = 0;
    for (; count < ARRAY_LENGTH(common); count++) {
        out[count] = common[count];
    }
    for (size_t i = 0; i < own_count && i < OPTIONS_OWN_MAX; i++) {
        out[count++] = (struct option){own[i].name, own[i].flag ? no_argument : required_argument,
                                       NULL, OPT_OWN};
    }
    out[count] = (struct option){0};
    return count;
}

static bool take_common(int opt, struct options *out) {
    switch (opt) {
    case OPT_CONFIG:
        out->config_path = optarg;
        return true;
    case OPT_JSON:
        out->json = true;
        return true;
    case OPT_SET:
        if (out->set_count == OPTIONS_SETS_MAX || !strchr(optarg, '=')) {
            return false;
        }
        out->sets[out->set_count++] = optarg;
        return true;
    default:
        return false;
    }
}

static void take_own(const struct option_spec *own) {
    if (own->flag) {
        *own->flag = true;
    } else {
        *own->value = optarg;
    }
}

int options_parse(int argc, char **argv, const char *usage, const struct option_spec *own,
                  size_t own_count, size_t operands_min, size_t operands_max, struct options *out,
                  bool *done) {
    struct option table[4 + OPTIONS_OWN_MAX + 1];
    size_t common = long_options(own, own_count, table) - own_count;
    *out = (struct options){0};
    *done = true;
    optind = 0; /* 0, not 1: glibc starts over, also after a call with other arguments */
    opterr = 0;
    int index;
    for (int opt; (opt = getopt_long(argc, argv, "hc:", table, &index)) != -1;) {
        if (opt == OPT_HELP || opt == 'h') {
            fputs(usage, stdout);
            return EXIT_OK;
        }
        if (opt == OPT_OWN) {
            take_own(&own[(size_t)index - common]);
        } else if (!take_common(opt == 'c' ? OPT_CONFIG : opt, out)) {
            return wrong(usage,
                         opt == OPT_SET ? "--set takes KEY=VALUE"
                                        : "not an option, or it lacks its value",
                         opt == OPT_SET ? optarg : argv[optind - 1]);
        }
    }
    out->operands = argv + optind;
    out->operand_count = (size_t)(argc - optind);
    if (out->operand_count < operands_min) {
        return wrong(usage, "an argument is missing", NULL);
    }
    if (out->operand_count > operands_max) {
        return wrong(usage, "one argument too many", argv[optind + (int)operands_max]);
    }
    *done = false;
    return EXIT_OK;
}

int options_config(const struct options *options, bool secrets, struct config **out,
                   struct err *err) {
    struct config_source source = {.path = options->config_path,
                                   .flags = options->sets,
                                   .flag_count = options->set_count,
                                   .environment = environ,
                                   .without_secrets = !secrets};
    struct buf problems = BUF_INIT(64 * 1024);
    int code = config_load(&source, out, &problems, err);
    if (code && problems.len) {
        fputs(problems.data, stderr);
        err_set(err, code,
                "the configuration has errors (see above); `creel config check` shows them");
    }
    buf_finish(&problems);
    return code;
}
