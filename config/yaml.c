/* yaml: one file into settings.
 *
 * Two passes over the same bytes. The first reads libyaml's events and stops at too deep a nesting,
 * too many nodes or a second document, before anything of that size is built. The second composes
 * the document, so that anchors and aliases work, and walks it; an alias may lead back to its own
 * parent, so the walk is bounded by the same two maxima.
 *
 * Scalars are read as YAML 1.2's core schema reads them: only true and false are booleans, and
 * `off` is a word. A plain empty value, ~ or null means "as if never said": in a drop-in it takes
 * back what an earlier file said. Rejected: merge keys (<<), which YAML 1.2 dropped; dotted keys
 * ("store.dir:"), a second way to say the same.
 */
#include "config/inside.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define PAIRS_MAX 512 /* keys of one map */

struct reader {
    struct load *load;
    struct origin file; /* line and column are set for each use */
    yaml_document_t document;
    size_t nodes;
    bool too_many; /* said once */
};

static struct origin origin_at(const struct reader *reader, yaml_mark_t mark) {
    struct origin origin = reader->file;
    origin.line = (int)mark.line + 1;
    origin.column = (int)mark.column + 1;
    return origin;
}

static void parser_problem(struct reader *reader, const yaml_parser_t *parser) {
    bool marked = parser->error == YAML_SCANNER_ERROR || parser->error == YAML_PARSER_ERROR ||
                  parser->error == YAML_COMPOSER_ERROR;
    struct origin origin = reader->file;
    if (marked) {
        origin = origin_at(reader, parser->problem_mark);
    }
    const char *problem = parser->problem != NULL ? parser->problem : "out of memory";
    const char *context = parser->context != NULL ? parser->context : "";
    if (parser->error == YAML_READER_ERROR) {
        config__problem(reader->load, &origin, NULL, "not YAML in UTF-8: %s at byte %zu", problem,
                        parser->problem_offset);
    } else {
        config__problem(reader->load, &origin, NULL, "not YAML: %s%s%s", problem,
                        *context != '\0' ? " " : "", context);
    }
}

/* ---- first pass ---- */

/* What one event adds to the bounds; false (after a problem) when one is passed. */
static bool event_allowed(struct reader *reader, const yaml_event_t *event, int *depth,
                          int *documents) {
    struct origin origin = origin_at(reader, event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1) {
            config__problem(reader->load, &origin, NULL, "a second document, expected one a file");
            return false;
        }
        return true;
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        ++*depth;
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        --*depth;
        return true;
    default:
        break;
    }
    if (*depth > CONFIG__NESTING_MAX || ++reader->nodes > CONFIG__NODES_MAX) {
        config__problem(reader->load, &origin, NULL,
                        "nested deeper than %d, or more than %d values", CONFIG__NESTING_MAX,
                        CONFIG__NODES_MAX);
        return false;
    }
    return true;
}

static bool bounds_check(struct reader *reader, const struct buf *text) {
    yaml_parser_t parser;
    int depth = 0, documents = 0;
    bool going = true, fine = true;
    if (!yaml_parser_initialize(&parser)) {
        reader->load->problems.no_memory = true;
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->data, text->len);
    while (going && fine) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            parser_problem(reader, &parser);
            fine = false;
            break;
        }
        going = event.type != YAML_STREAM_END_EVENT;
        fine = event_allowed(reader, &event, &depth, &documents);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    reader->nodes = 0;
    return fine;
}

/* ---- second pass ---- */

static const char *scalar_text(const yaml_node_t *node) {
    return (const char *)node->data.scalar.value;
}

static bool is_null(const yaml_node_t *node) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (strcmp(scalar_text(node), words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *node_kind(const yaml_node_t *node) {
    return node->type == YAML_MAPPING_NODE ? "a map" : "a list";
}

static bool scalar_clean(struct reader *reader, const yaml_node_t *node, const char *path,
                         const struct origin *origin) {
    if (strlen(scalar_text(node)) == node->data.scalar.length &&
        node->data.scalar.length <= CONFIG__TEXT_MAX) {
        return true;
    }
    config__problem(reader->load, origin, path, "a NUL character, or more than %d bytes",
                    CONFIG__TEXT_MAX);
    return false;
}

/* A list becomes one text, its items joined by commas; a faulty item is reported at its own place.
 */
static void take_list(struct reader *reader, const struct key *key, const char *path,
                      const yaml_node_t *node) {
    struct origin origin = origin_at(reader, node->start_mark);
    struct buf joined = BUF_INIT(CONFIG__TEXT_MAX);
    bool fine = true;
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        const yaml_node_t *part = yaml_document_get_node(&reader->document, *item);
        struct origin here = origin_at(reader, part->start_mark);
        if (part->type != YAML_SCALAR_NODE) {
            config__problem(reader->load, &here, path, "found %s, expected a name",
                            node_kind(part));
            fine = false;
        } else if (key->type == KEY_LABELS ? strchr(scalar_text(part), ',') != NULL
                                           : !config__name_valid(scalar_text(part))) {
            config__problem(
                reader->load, &here, path, "found \"%.40s\", expected a %s", scalar_text(part),
                key->type == KEY_LABELS ? "class, without commas" : "name of a-z, 0-9 and -");
            fine = false;
        } else {
            buf_printf(&joined, "%s%s", joined.len > 0 ? "," : "", scalar_text(part));
        }
    }
    if (fine) {
        config__take(reader->load, key, path, joined.data != NULL ? joined.data : "", &origin);
    }
    buf_finish(&joined);
}

/* A list of shapes becomes one text, its items joined by semicolons. */
static void take_shapes(struct reader *reader, const struct key *key, const char *path,
                        const yaml_node_t *node) {
    struct origin origin = origin_at(reader, node->start_mark);
    struct buf joined = BUF_INIT(CONFIG__TEXT_MAX);
    bool fine = true;
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        const yaml_node_t *part = yaml_document_get_node(&reader->document, *item);
        struct origin here = origin_at(reader, part->start_mark);
        struct key_value value;
        if (part->type != YAML_SCALAR_NODE || !config__key_parse(key, scalar_text(part), &value)) {
            config__problem(reader->load, &here, path,
                            "found %.60s, expected a box (x y w h) or a polygon (x y x y x y ...) "
                            "in parts of the picture, each number from 0 to 1",
                            part->type == YAML_SCALAR_NODE ? scalar_text(part) : node_kind(part));
            fine = false;
        } else {
            buf_printf(&joined, "%s%s", joined.len > 0 ? ";" : "", scalar_text(part));
        }
    }
    if (fine && joined.failed) {
        config__problem(reader->load, &origin, path, "is longer than %d bytes", CONFIG__TEXT_MAX);
    } else if (fine && joined.len == 0) {
        config__unset(reader->load, path);
    } else if (fine) {
        config__take(reader->load, key, path, joined.data, &origin);
    }
    buf_finish(&joined);
}

static void take_value(struct reader *reader, const struct key *key, const char *path,
                       const yaml_node_t *node) {
    struct origin origin = origin_at(reader, node->start_mark);
    if (is_null(node)) {
        config__unset(reader->load, path);
    } else if (node->type == YAML_SCALAR_NODE) {
        if (scalar_clean(reader, node, path, &origin)) {
            config__take(reader->load, key, path, scalar_text(node), &origin);
        }
    } else if (node->type == YAML_SEQUENCE_NODE &&
               (key->type == KEY_NAMES || key->type == KEY_LABELS)) {
        take_list(reader, key, path, node);
    } else if (node->type == YAML_SEQUENCE_NODE && key->type == KEY_SHAPES) {
        take_shapes(reader, key, path, node);
    } else {
        struct buf expected = BUF_INIT(512);
        config__key_expected(key, &expected);
        config__problem(reader->load, &origin, path, "found %s, expected %s", node_kind(node),
                        expected.data != NULL ? expected.data : "one value");
        buf_finish(&expected);
    }
}

static void walk_map(struct reader *reader, const yaml_node_t *node, const char *path);

static void take_section(struct reader *reader, const char *path, const yaml_node_t *node) {
    struct origin origin = origin_at(reader, node->start_mark);
    if (is_null(node)) {
        config__unset(reader->load, path);
        return;
    }
    if (node->type != YAML_MAPPING_NODE) {
        config__problem(reader->load, &origin, path, "found %s, expected keys below it, such as %s",
                        node->type == YAML_SCALAR_NODE ? "a single value" : "a list",
                        config__key_below(path)->path);
        return;
    }
    if (config__key_named(path) && node->data.mapping.pairs.start == node->data.mapping.pairs.top) {
        config__problem(reader->load, &origin, path, "is empty, expected keys such as %s",
                        config__key_below(path)->path);
        return;
    }
    walk_map(reader, node, path);
}

/* Is the key at `pair` the repetition of one before it in the same map? */
static bool repeated(struct reader *reader, const yaml_node_t *map, const yaml_node_pair_t *pair,
                     int *first_line) {
    const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
    for (yaml_node_pair_t *at = map->data.mapping.pairs.start; at < pair; at++) {
        const yaml_node_t *other = yaml_document_get_node(&reader->document, at->key);
        if (other->type == YAML_SCALAR_NODE && strcmp(scalar_text(other), scalar_text(key)) == 0) {
            *first_line = (int)other->start_mark.line + 1;
            return true;
        }
    }
    return false;
}

/* The path of a key below `parent`; false after a problem. */
static bool child_path(struct reader *reader, const yaml_node_t *key, const char *parent,
                       char out[CONFIG__PATH_MAX + 1], const struct origin *origin) {
    const char *where = *parent != '\0' ? parent : NULL;
    if (key->type != YAML_SCALAR_NODE) {
        config__problem(reader->load, origin, where, "found %s as a key, expected a word",
                        node_kind(key));
        return false;
    }
    const char *name = scalar_text(key);
    if (*name == '\0' || strlen(name) != key->data.scalar.length || !config__text_valid(name)) {
        config__problem(reader->load, origin, where, "an empty or unprintable key");
        return false;
    }
    int length =
        snprintf(out, CONFIG__PATH_MAX + 1, "%s%s%s", parent, *parent != '\0' ? "." : "", name);
    if (length > CONFIG__PATH_MAX) {
        config__problem(reader->load, origin, where, "a key of %zu bytes", strlen(name));
        return false;
    }
    if (strchr(name, '.') != NULL) {
        config__problem(reader->load, origin, out,
                        "a key with a dot; write each part on its own line, indented");
        return false;
    }
    return true;
}

static void walk_pair(struct reader *reader, const yaml_node_t *map, const yaml_node_pair_t *pair,
                      const char *parent) {
    const yaml_node_t *name = yaml_document_get_node(&reader->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
    struct origin origin = origin_at(reader, name->start_mark);
    char path[CONFIG__PATH_MAX + 1];
    const struct key *key = NULL;
    int first_line = 0;
    if (!child_path(reader, name, parent, path, &origin)) {
        return;
    }
    if (repeated(reader, map, pair, &first_line)) {
        config__problem(reader->load, &origin, path, "given twice; first in line %d", first_line);
        return;
    }
    enum key_match match = config__key_find(path, &key);
    if (match == MATCH_UNKNOWN) {
        config__problem_unknown(reader->load, &origin, path);
    } else if (config__key_named(path) && !config__name_valid(scalar_text(name))) {
        config__problem(reader->load, &origin, path,
                        "found \"%.60s\", expected a name of a-z, 0-9 and -, at most 32 long",
                        scalar_text(name));
    } else if (match == MATCH_KEY) {
        take_value(reader, key, path, value);
    } else {
        take_section(reader, path, value);
    }
}

static void walk_map(struct reader *reader, const yaml_node_t *node, const char *path) {
    yaml_node_pair_t *start = node->data.mapping.pairs.start;
    yaml_node_pair_t *top = node->data.mapping.pairs.top;
    size_t pairs = (size_t)(top - start);
    reader->nodes += pairs;
    if (pairs > PAIRS_MAX || reader->nodes > CONFIG__NODES_MAX) {
        struct origin origin = origin_at(reader, node->start_mark);
        if (!reader->too_many) {
            config__problem(reader->load, &origin, *path != '\0' ? path : NULL,
                            "more than %d keys in one map", PAIRS_MAX);
        }
        reader->too_many = true;
        return;
    }
    for (yaml_node_pair_t *pair = start; pair < top; pair++) {
        walk_pair(reader, node, pair, path);
    }
}

static void walk_document(struct reader *reader) {
    const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
    if (root == NULL || is_null(root)) {
        return; /* an empty file, or one of comments only */
    }
    if (root->type != YAML_MAPPING_NODE) {
        struct origin origin = origin_at(reader, root->start_mark);
        config__problem(reader->load, &origin, NULL,
                        "found %s, expected keys such as \"store:\" and \"cameras:\"",
                        root->type == YAML_SCALAR_NODE ? "a single value" : "a list");
        return;
    }
    walk_map(reader, root, "");
}

static void compose(struct reader *reader, const struct buf *text) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        reader->load->problems.no_memory = true;
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->data, text->len);
    if (yaml_parser_load(&parser, &reader->document)) {
        walk_document(reader);
        yaml_document_delete(&reader->document);
    } else {
        parser_problem(reader, &parser);
    }
    yaml_parser_delete(&parser);
}

void config__read_file(struct load *load, const char *path, bool may_be_missing) {
    struct reader reader = {.load = load, .file = {.layer = LAYER_FILE, .where = path}};
    struct buf text = BUF_INIT(CONFIG__FILE_MAX);
    struct err err = {0};
    struct stat status;
    int rc = fs_read_file(path, &text, &err);
    if (rc == ERR_NOT_FOUND && may_be_missing) {
        buf_finish(&text);
        return;
    }
    if (rc != 0) {
        char why[ERR_TEXT_MAX];
        config__problem(load, &reader.file, NULL, "%s",
                        rc == ERR_FULL ? "larger than 1 MiB" : err_text(&err, why, sizeof(why)));
        buf_finish(&text);
        return;
    }
    reader.file.world_readable = stat(path, &status) != 0 || (status.st_mode & S_IROTH) != 0;
    if (text.len > 0 && bounds_check(&reader, &text)) {
        compose(&reader, &text);
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len); /* it may hold secrets */
    }
    buf_finish(&text);
}
