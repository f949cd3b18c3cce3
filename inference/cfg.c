/* The parser: lines of `[section]` and `key=value`, '#' and ';' begin a comment, white space means
 * nothing (Darknet removes all of it, also inside a line). Stricter than Darknet where Darknet
 * would crash: text before the first section, a line that is neither, bytes that are not text. One
 * copy of the text is cut up in place; sections and pairs point into it. */
#include "inference/cfg.h"
#include "daemon/base/mem.h"
#include "inference/cfg_keys.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void cfg_destroy(struct cfg *cfg) {
    if (cfg == NULL) {
        return;
    }
    for (size_t i = 0; i < cfg->count; i++) {
        free(cfg->sections[i].pairs);
    }
    free(cfg->sections);
    free(cfg->text);
    free(cfg->name);
    free(cfg);
}

static void cfg_destroy_at(struct cfg **cfg) {
    cfg_destroy(*cfg);
}

/* Removes white space and what follows a '#' or ';', in place. */
static void squeeze(char *line) {
    char *to = line;
    for (const char *from = line; *from != '\0' && *from != '#' && *from != ';'; from++) {
        if (!isspace((unsigned char)*from)) {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static int section_add(struct cfg *cfg, char *line, int number, struct err *err) {
    size_t length = strlen(line);
    if (length < 3 || line[length - 1] != ']') {
        return err_set(err, ERR_INVALID,
                       "%s:%d: expected a section like [convolutional], found \"%.40s\"", cfg->name,
                       number, line);
    }
    if (cfg->count > CFG_LAYERS_MAX) {
        return err_set(err, ERR_INVALID, "%s:%d: more than %d layers", cfg->name, number,
                       CFG_LAYERS_MAX);
    }
    struct cfg_section *sections = mem_resize(cfg->sections, cfg->count + 1, sizeof(*sections));
    if (sections == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", cfg->name);
    }
    cfg->sections = sections;
    line[length - 1] = '\0';
    cfg->sections[cfg->count++] = (struct cfg_section){.type = line + 1, .line = number};
    return 0;
}

static int pair_add(struct cfg *cfg, char *line, int number, struct err *err) {
    char *equals = strchr(line, '=');
    if (equals == NULL || equals == line) {
        return err_set(err, ERR_INVALID, "%s:%d: expected key=value or [section], found \"%.40s\"",
                       cfg->name, number, line);
    }
    *equals = '\0';
    if (cfg->count == 0) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: \"%.40s\" stands before the first section; expected [net]",
                       cfg->name, number, line);
    }
    struct cfg_section *section = &cfg->sections[cfg->count - 1];
    if (section->count == CFG_PAIRS_MAX) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] has more than %d keys", cfg->name, number,
                       section->type, CFG_PAIRS_MAX);
    }
    struct cfg_pair *pairs = mem_resize(section->pairs, section->count + 1, sizeof(*pairs));
    if (pairs == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", cfg->name);
    }
    section->pairs = pairs;
    section->pairs[section->count++] = (struct cfg_pair){line, equals + 1, number};
    return 0;
}

static int check_text(const struct cfg *cfg, size_t size, struct err *err) {
    int line = 1;
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)cfg->text[i];
        if (byte < 0x20 && !isspace(byte)) {
            return err_set(err, ERR_INVALID,
                           "%s:%d: not a text file (byte 0x%02x); expected a Darknet cfg",
                           cfg->name, line, byte);
        }
        line += byte == '\n';
    }
    return 0;
}

static int parse_lines(struct cfg *cfg, struct err *err) {
    char *rest = cfg->text;
    for (int number = 1; rest != NULL; number++) {
        char *line = strsep(&rest, "\n");
        squeeze(line);
        int code = 0;
        if (line[0] == '[') {
            code = section_add(cfg, line, number, err);
        } else if (line[0] != '\0') {
            code = pair_add(cfg, line, number, err);
        }
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

int cfg_parse(const char *text, size_t size, const char *name, struct cfg **out, struct err *err) {
    if (size > CFG_FILE_MAX) {
        return err_set(err, ERR_INVALID, "%s is too large for a cfg (%zu bytes, at most %u)", name,
                       size, CFG_FILE_MAX);
    }
    CLEANUP(cfg_destroy_at) struct cfg *cfg = mem_alloc(sizeof(*cfg));
    if (cfg == NULL || (cfg->name = mem_strdup(name)) == NULL ||
        (cfg->text = mem_array(size + 1, 1)) == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", name);
    }
    memcpy(cfg->text, text, size);
    int code = check_text(cfg, size, err);
    if (code == 0) {
        code = parse_lines(cfg, err);
    }
    if (code != 0) {
        return code;
    }
    if (cfg->count == 0) {
        return err_set(err, ERR_INVALID, "%s:1: the file has no sections; expected [net]", name);
    }
    *out = TAKE_PTR(cfg);
    return 0;
}

const struct cfg_pair *cfg_pair_find(const struct cfg_section *section, const char *key) {
    for (size_t i = 0; i < section->count; i++) {
        if (strcmp(section->pairs[i].key, key) == 0) {
            return &section->pairs[i];
        }
    }
    return NULL;
}

void cfg_write(const struct cfg *cfg, struct buf *out) {
    for (size_t i = 0; i < cfg->count; i++) {
        const struct cfg_section *section = &cfg->sections[i];
        const char *type = i == 0 ? "net" : section->type;
        if (cfg_is_cost(section)) {
            continue;
        }
        buf_printf(out, "[%s]\n", type);
        if (i == 0) {
            buf_puts(out, "batch=1\nsubdivisions=1\n");
        }
        for (size_t k = 0; k < section->count; k++) {
            if (!cfg_key_trains(type, section->pairs[k].key)) {
                buf_printf(out, "%s=%s\n", section->pairs[k].key, section->pairs[k].value);
            }
        }
    }
}
