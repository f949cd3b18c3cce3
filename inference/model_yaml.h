/* model_yaml: model.yaml as a flat list of keys ("sha256.cfg") and texts, with their lines.
 * A mapping of scalars, and of mappings of scalars; nothing else is allowed. Thread: any, pure. */
#ifndef CREEL_INFERENCE_MODEL_YAML_H
#define CREEL_INFERENCE_MODEL_YAML_H

#include "daemon/base/err.h"
#include <stddef.h>

#define MODEL_YAML_FILE_MAX  65536 /* bytes */
#define MODEL_YAML_KEYS_MAX  32
#define MODEL_YAML_KEY_SIZE  64
#define MODEL_YAML_TEXT_SIZE 512

struct model_yaml_entry {
    char key[MODEL_YAML_KEY_SIZE];
    char text[MODEL_YAML_TEXT_SIZE];
    int line;
};

struct model_yaml {
    struct model_yaml_entry entries[MODEL_YAML_KEYS_MAX];
    size_t count;
};

/* ERR_INVALID: "name:line:" and what was expected. */
int model_yaml_parse(const char *text, size_t size, const char *name, struct model_yaml *out,
                     struct err *err);

#endif
