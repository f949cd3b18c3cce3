/* config: a load from its first file to its last check.
 *
 * Each stage runs only when those before it found nothing, because its messages would be about
 * values that nobody wrote; within a stage everything that is wrong is said at once.
 */
#include "config/config.h"
#include "config/inside.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>

extern const char embed_config_creel_yaml[];

static int load_stages(struct load *load, struct err *err) {
    static void (*const stages[])(struct load *) = {config__read_layers, config__fill,
                                                    config__check};
    struct problems *problems = &load->problems;
    for (size_t i = 0; i < ARRAY_LENGTH(stages); i++) {
        if (problems->count == 0 && !problems->no_memory) {
            stages[i](load);
        }
    }
    if (problems->no_memory) {
        return err_set(err, ERR_NOMEM, "out of memory while reading the configuration");
    }
    if (problems->count > CONFIG_PROBLEMS_MAX && problems->out != NULL) {
        buf_printf(problems->out, "and %zu more\n", problems->count - CONFIG_PROBLEMS_MAX);
    }
    if (problems->count > 1) {
        return err_set(err, ERR_CONFIG, "%s (and %zu more)", problems->first, problems->count - 1);
    }
    if (problems->count == 1) {
        return err_set(err, ERR_CONFIG, "%s", problems->first);
    }
    return 0;
}

int config_load(const struct config_source *source, struct config **out, struct buf *problems,
                struct err *err) {
    struct config *config = mem_alloc(sizeof(*config));
    if (config == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while reading the configuration");
    }
    config->without_secrets = source->without_secrets;
    struct load load = {.config = config, .source = source, .problems = {.out = problems}};
    int rc = load_stages(&load, err);
    if (rc != 0) {
        config_destroy(config);
        return rc;
    }
    *out = config;
    return 0;
}

void config_destroy(struct config *config) {
    if (config == NULL) {
        return;
    }
    config__texts_free(config);
    free(config->settings);
    free(config);
}

const struct config_values *config_values(const struct config *config) {
    return &config->values;
}

const char *config_sample(void) {
    return embed_config_creel_yaml;
}
