#include "inference/model_yaml.h"
#include "daemon/base/mem.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    const char *name;
    struct model_yaml *out;
    int depth;                       /* of mappings, 0 to 2 */
    char outer[MODEL_YAML_KEY_SIZE]; /* key of the mapping we are in, at depth 2 */
    char key[MODEL_YAML_KEY_SIZE];   /* key whose value comes next */
    bool has_key;
};

static int line_of(const yaml_event_t *event) {
    return (int)event->start_mark.line + 1;
}

static int copy_text(struct reader *reader, const yaml_event_t *event, char *out, size_t room,
                     struct err *err) {
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (length >= room || strlen(value) != length) {
        return err_set(err, ERR_INVALID, "%s:%d: a text of %zu bytes; expected at most %zu",
                       reader->name, line_of(event), length, room - 1);
    }
    memcpy(out, value, length + 1);
    return 0;
}

static int entry_add(struct reader *reader, const yaml_event_t *event, struct err *err) {
    struct model_yaml *out = reader->out;
    if (out->count == MODEL_YAML_KEYS_MAX) {
        return err_set(err, ERR_INVALID, "%s:%d: more than %d keys", reader->name, line_of(event),
                       MODEL_YAML_KEYS_MAX);
    }
    struct model_yaml_entry entry = {.line = line_of(event)};
    snprintf(entry.key, sizeof(entry.key), "%s%s%s", reader->depth == 2 ? reader->outer : "",
             reader->depth == 2 ? "." : "", reader->key);
    for (size_t i = 0; i < out->count; i++) {
        if (strcmp(out->entries[i].key, entry.key) == 0) {
            return err_set(err, ERR_INVALID, "%s:%d: %s stands twice (first in line %d)",
                           reader->name, entry.line, entry.key, out->entries[i].line);
        }
    }
    int code = copy_text(reader, event, entry.text, sizeof(entry.text), err);
    if (code == 0) {
        out->entries[out->count++] = entry;
        reader->has_key = false;
    }
    return code;
}

static int on_scalar(struct reader *reader, const yaml_event_t *event, struct err *err) {
    if (reader->depth == 0) {
        return err_set(err, ERR_INVALID, "%s:%d: expected keys and values (name: ..., cfg: ...)",
                       reader->name, line_of(event));
    }
    if (reader->has_key) {
        return entry_add(reader, event, err);
    }
    reader->has_key = true;
    return copy_text(reader, event, reader->key, sizeof(reader->key) / 2, err);
}

static int on_mapping(struct reader *reader, const yaml_event_t *event, struct err *err) {
    if (reader->depth == 2 || (reader->depth == 1 && !reader->has_key)) {
        return err_set(err, ERR_INVALID, "%s:%d: expected a text, found a mapping", reader->name,
                       line_of(event));
    }
    reader->depth++;
    reader->has_key = false;
    memcpy(reader->outer, reader->key, sizeof(reader->outer));
    return 0;
}

/* One event; `*done` at the end of the file. */
static int on_event(struct reader *reader, const yaml_event_t *event, bool *done, struct err *err) {
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        *done = true;
        return 0;
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event, err);
    case YAML_MAPPING_START_EVENT:
        return on_mapping(reader, event, err);
    case YAML_MAPPING_END_EVENT:
        reader->depth--;
        return 0;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_ALIAS_EVENT:
        return err_set(err, ERR_INVALID, "%s:%d: expected a text, found a list or an alias",
                       reader->name, line_of(event));
    default:
        return 0;
    }
}

static void parser_delete_at(yaml_parser_t **parser) {
    yaml_parser_delete(*parser);
}

int model_yaml_parse(const char *text, size_t size, const char *name, struct model_yaml *out,
                     struct err *err) {
    struct reader reader = {.name = name, .out = out};
    out->count = 0;
    if (!yaml_parser_initialize(&reader.parser)) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", name);
    }
    CLEANUP(parser_delete_at) yaml_parser_t *parser = &reader.parser;
    yaml_parser_set_input_string(parser, (const unsigned char *)text, size);
    bool done = false;
    int code = 0;
    while (!done && code == 0) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return err_set(err, ERR_INVALID, "%s:%zu: not YAML: %s", name,
                           parser->problem_mark.line + 1,
                           parser->problem != NULL ? parser->problem : "out of memory");
        }
        code = on_event(&reader, &event, &done, err);
        yaml_event_delete(&event);
    }
    return code;
}
