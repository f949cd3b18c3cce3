/* settings: what the layers said so far, and what was wrong with it.
 */
#include "config/inside.h"
#include "daemon/base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_MAX 1024 /* bytes of one line */

/* ---- strings that live as long as the config ---- */

struct config__text {
    struct config__text *next;
    size_t size;
    char bytes[];
};

const char *config__keep(struct load *load, const char *text) {
    size_t size = strlen(text) + 1;
    struct config__text *kept = mem_alloc(sizeof(*kept) + size);
    if (kept == NULL) {
        load->problems.no_memory = true;
        return NULL;
    }
    kept->size = size;
    memcpy(kept->bytes, text, size);
    kept->next = load->config->texts;
    load->config->texts = kept;
    return kept->bytes;
}

void config__texts_free(struct config *config) {
    while (config->texts != NULL) {
        struct config__text *text = config->texts;
        config->texts = text->next;
        explicit_bzero(text->bytes, text->size); /* some of them are secrets */
        free(text);
    }
}

/* ---- settings ---- */

struct setting *config__setting(const struct config *config, const char *path) {
    for (size_t i = 0; i < config->setting_count; i++) {
        if (strcmp(config->settings[i].path, path) == 0) {
            return &config->settings[i];
        }
    }
    return NULL;
}

static struct setting *setting_add(struct load *load) {
    struct config *config = load->config;
    if (config->setting_count == config->setting_room) {
        size_t room = config->setting_room == 0 ? 64 : config->setting_room * 2;
        struct setting *grown = mem_resize(config->settings, room, sizeof(*grown));
        if (grown == NULL) {
            load->problems.no_memory = true;
            return NULL;
        }
        config->settings = grown;
        config->setting_room = room;
    }
    return &config->settings[config->setting_count++];
}

void config__set(struct load *load, const struct key *key, const char *path, const char *text,
                 const struct origin *origin) {
    struct setting next = {.key = key, .origin = *origin};
    next.path = config__keep(load, path);
    next.text = config__keep(load, text);
    next.origin.where = origin->where != NULL ? config__keep(load, origin->where) : NULL;
    struct setting *setting = config__setting(load->config, path);
    if (setting == NULL && load->config->setting_count == CONFIG__SETTINGS_MAX) {
        config__problem(load, origin, path, "more than %d keys in all", CONFIG__SETTINGS_MAX);
        return;
    }
    if (setting == NULL && !load->problems.no_memory) {
        setting = setting_add(load);
    }
    if (setting != NULL && !load->problems.no_memory) {
        *setting = next;
    }
}

void config__unset(struct load *load, const char *path) {
    struct config *config = load->config;
    size_t length = strlen(path);
    size_t kept = 0;
    for (size_t i = 0; i < config->setting_count; i++) {
        const char *here = config->settings[i].path;
        bool below =
            strncmp(here, path, length) == 0 && (here[length] == '\0' || here[length] == '.');
        if (!below) {
            config->settings[kept++] = config->settings[i];
        }
    }
    config->setting_count = kept;
}

/* ---- problems ---- */

void config__origin_format(const struct origin *origin, struct buf *out) {
    switch (origin->layer) {
    case LAYER_FILE:
        buf_puts(out, origin->where);
        if (origin->line > 0) {
            buf_printf(out, ":%d:%d", origin->line, origin->column);
        }
        break;
    case LAYER_ENVIRONMENT:
        buf_printf(out, "environment %s", origin->where);
        break;
    case LAYER_FLAG:
        buf_puts(out, "command line");
        break;
    case LAYER_DEFAULT:
        buf_puts(out, "default");
        break;
    }
}

static void problem_line(struct problems *problems, const char *line) {
    problems->count++;
    if (problems->count == 1) {
        snprintf(problems->first, sizeof(problems->first), "%.*s", (int)sizeof(problems->first) - 1,
                 line);
    }
    if (problems->out == NULL || problems->count > CONFIG_PROBLEMS_MAX) {
        return;
    }
    buf_puts(problems->out, line);
    buf_puts(problems->out, "\n");
}

void config__problem(struct load *load, const struct origin *origin, const char *path,
                     const char *fmt, ...) {
    struct buf line = BUF_INIT(PROBLEM_MAX);
    char text[PROBLEM_MAX / 2];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (origin != NULL) {
        config__origin_format(origin, &line);
        buf_puts(&line, ": ");
    }
    if (path != NULL) {
        buf_printf(&line, "%s: ", path);
    }
    buf_puts(&line, text);
    /* A line too long for the buffer (a path of thousands of bytes) still says what is wrong. */
    problem_line(&load->problems, line.failed ? text : line.data);
    buf_finish(&line);
}

void config__problem_unknown(struct load *load, const struct origin *origin, const char *path) {
    char nearest[CONFIG__PATH_MAX + 1];
    if (config__key_nearest(path, nearest)) {
        config__problem(load, origin, path, "unknown key; did you mean %s?", nearest);
    } else {
        config__problem(load, origin, path, "unknown key; `creel config sample` prints them all");
    }
}

/* The value as a message may show it: short, printable, and nothing of a secret. */
static void found_format(const char *text, char *out, size_t size) {
    size_t used = 0;
    for (; *text != '\0' && used + 4 < size; text++) {
        unsigned char c = (unsigned char)*text;
        out[used++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    snprintf(out + used, size - used, "%s", *text != '\0' ? "..." : "");
}

void config__take(struct load *load, const struct key *key, const char *path, const char *text,
                  const struct origin *origin) {
    struct key_value value;
    if (config__key_parse(key, text, &value)) {
        config__set(load, key, path, text, origin);
        return;
    }
    struct buf expected = BUF_INIT(PROBLEM_MAX);
    config__key_expected(key, &expected);
    const char *wanted = expected.data != NULL ? expected.data : "something else";
    if (key->type == KEY_SECRET) {
        config__problem(load, origin, path,
                        "is empty, too long or has control characters, expected %s", wanted);
    } else {
        struct buf masked = BUF_INIT(CONFIG__TEXT_MAX * 2);
        char found[80];
        config__mask(text, &masked);
        found_format(masked.data != NULL ? masked.data : "", found, sizeof(found));
        config__problem(load, origin, path, "found \"%s\", expected %s", found, wanted);
        buf_finish(&masked);
    }
    buf_finish(&expected);
}
