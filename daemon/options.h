/* options: what all commands understand alike.
 *
 * --config FILE, --set KEY=VALUE (repeatable), --json, --help; a command adds its own by a table.
 * Options and operands may be mixed, "--" ends the options (getopt_long(3)).
 */
#ifndef CREEL_DAEMON_OPTIONS_H
#define CREEL_DAEMON_OPTIONS_H

#include "config/config.h"
#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>

#define OPTIONS_SETS_MAX 64
#define OPTIONS_OWN_MAX  16

/* One option of a command. A flag sets *flag; an option with a value sets *value (borrowed from
 * argv). */
struct option_spec {
    const char *name;
    bool *flag;
    const char **value;
};

struct options {
    const char *config_path; /* NULL: the default */
    const char *sets[OPTIONS_SETS_MAX];
    size_t set_count;
    bool json;
    char **operands; /* borrowed from argv */
    size_t operand_count;
};

/* Parses argv[1..]. On --help prints `usage` to stdout and returns EXIT_OK with *done = true; on a
 * wrong option prints why and the usage to stderr and returns EXIT_USAGE with *done = true. */
int options_parse(int argc, char **argv, const char *usage, const struct option_spec *own,
                  size_t own_count, size_t operands_min, size_t operands_max, struct options *out,
                  bool *done);

/* Loads the configuration these options name; every problem goes to stderr, a line each. Without
 * `secrets`, none is looked up, so that a person may look at a store without holding the cloud's
 * keys. */
int options_config(const struct options *options, bool secrets, struct config **out,
                   struct err *err);

#endif
