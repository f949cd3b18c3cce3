/* show: the effective configuration for a person, and the difference of two.
 *
 * What is printed can be read again as a configuration, but for the secrets. The key table's order
 * is the order of the sections, so the printer only has to remember the path before.
 */
#include "config/inside.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <string.h>

void config__mask(const char *text, struct buf *out) {
    while (*text != '\0') {
        const char *scheme = strstr(text, "://");
        const char *signature = strstr(text, "sig=");
        if (scheme == NULL && signature == NULL) {
            buf_puts(out, text);
            return;
        }
        if (signature != NULL && (scheme == NULL || signature < scheme)) {
            buf_append(out, text, (size_t)(signature - text) + 4);
            buf_puts(out, "***");
            text = signature + strcspn(signature, "& ");
            continue;
        }
        const char *host = scheme + 3;
        buf_append(out, text, (size_t)(host - text));
        text = host;
        /* Up to the last @ of the authority: a password may itself have one that nobody escaped. */
        const char *at = NULL;
        for (const char *p = host; *p != '\0' && strchr("/?# ", *p) == NULL; p++) {
            at = *p == '@' ? p : at;
        }
        const char *colon = at != NULL ? memchr(host, ':', (size_t)(at - host)) : NULL;
        if (colon != NULL) {
            buf_append(out, host, (size_t)(colon - host) + 1);
            buf_puts(out, "***");
            text = at;
        }
    }
}

/* ---- YAML ---- */

struct printer {
    const struct config *config;
    struct buf *out;
    bool origin;
    char last[CONFIG__PATH_MAX + 1]; /* path of the line before */
};

/* May it stand without quotes? Only what cannot be anything else in any YAML. */
static bool plain(const char *text) {
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./%-";
    return text[strspn(text, safe)] == '\0' && text[0] != '-' && text[0] != '.' && text[0] != '%' &&
           strcmp(text, "null") != 0;
}

static void print_quoted(const char *text, struct buf *out) {
    buf_puts(out, "\"");
    for (; *text != '\0'; text++) {
        buf_printf(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
    }
    buf_puts(out, "\"");
}

static void print_value(const struct key *key, const char *text, struct buf *out) {
    struct buf masked = BUF_INIT(CONFIG__TEXT_MAX * 2);
    if (key->type == KEY_SECRET) {
        buf_puts(out, "\"***\"");
    } else if (key->type == KEY_SHAPES) {
        buf_puts(out, "[\"");
        for (const char *p = text; *p != '\0'; p++) {
            buf_printf(out, "%s", *p == ';' ? "\", \"" : (char[]){*p, '\0'});
        }
        buf_puts(out, "\"]");
    } else if (key->type == KEY_NAMES) {
        buf_puts(out, "[");
        for (const char *p = text; *p != '\0'; p++) {
            buf_printf(out, "%s", *p == ',' ? ", " : (char[]){*p, '\0'});
        }
        buf_puts(out, "]");
    } else {
        /* What follows a '?' in a camera's address is often a password under a name of its own. */
        char address[CONFIG__TEXT_MAX + 8];
        bool source = key->group == GROUP_CAMERA && strcmp(key->path, "cameras.*.source") == 0;
        config__mask(source ? source_redact(text, address, sizeof(address)) : text, &masked);
        const char *shown = masked.data != NULL ? masked.data : "";
        if (plain(shown)) {
            buf_puts(out, shown);
        } else {
            print_quoted(shown, out);
        }
    }
    buf_finish(&masked);
}

/* Prints the lines of the sections that `path` opens after the line before, and its own indentation
 * and name. */
static void print_path(struct printer *printer, const char *path) {
    size_t shared = 0; /* bytes of whole components that both paths have */
    for (size_t i = 0; path[i] != '\0' && path[i] == printer->last[i]; i++) {
        shared = path[i] == '.' ? i + 1 : shared;
    }
    int depth = 0;
    const char *at = path;
    for (;;) {
        size_t length = strcspn(at, ".");
        bool leaf = at[length] == '\0';
        if (leaf || (size_t)(at - path) >= shared) {
            buf_printf(printer->out, "%*s%.*s:%s", depth * 2, "", (int)length, at,
                       leaf ? " " : "\n");
        }
        if (leaf) {
            break;
        }
        at += length + 1;
        depth++;
    }
    snprintf(printer->last, sizeof(printer->last), "%s", path);
}

/* The value in force, where it is not the text that was given ("auto"). */
static const char *effective(const struct config *config, const struct key *key, const char *text) {
    switch (key->slot) {
    case SLOT_DEVICE_ID:
        return config->values.device;
    case SLOT_MODEL_DIR:
        return config->values.model_dir;
    case SLOT_SOCKET:
        return config->values.control_socket;
    default:
        return text;
    }
}

static void print_key(struct printer *printer, const struct key *key, const char *name) {
    char path[CONFIG__PATH_MAX + 1];
    config__key_path(key, name, path);
    const struct setting *setting = config__setting(printer->config, path);
    const char *text = setting != NULL ? setting->text : key->fallback;
    if (text == NULL && key->group != GROUP_NONE) {
        return; /* what a remote or camera does not say is mostly not for its kind */
    }
    print_path(printer, path);
    if (text == NULL) {
        buf_puts(printer->out, "null");
    } else {
        print_value(key, effective(printer->config, key, text), printer->out);
    }
    if (printer->origin && setting != NULL) {
        buf_puts(printer->out, "  # from ");
        config__origin_format(&setting->origin, printer->out);
    } else if (printer->origin) {
        buf_printf(printer->out, "  # default%s",
                   text != NULL && strcmp(text, "auto") == 0 ? " (auto)" : "");
    }
    buf_puts(printer->out, "\n");
}

/* The name of a group's element by its place; NULL behind the last. */
static const char *element(const struct config_values *values, enum key_group group, size_t at) {
    switch (group) {
    case GROUP_TAG:
        return at < values->tag_count ? values->tags[at].name : NULL;
    case GROUP_CAMERA:
        return at < values->camera_count ? values->cameras[at].name : NULL;
    case GROUP_REMOTE:
        return at < values->sync.remote_count ? values->sync.remotes[at].name : NULL;
    default:
        return NULL;
    }
}

/* All keys of a group, which stand together in the table from `first` on. Returns the index behind
 * them. */
static size_t print_group(struct printer *printer, size_t first) {
    enum key_group group = config__keys[first].group;
    size_t end = first;
    while (end < config__key_count && config__keys[end].group == group) {
        end++;
    }
    const char *name;
    for (size_t at = 0; (name = element(&printer->config->values, group, at)) != NULL; at++) {
        for (size_t k = first; k < end; k++) {
            print_key(printer, &config__keys[k], name);
        }
    }
    return end;
}

int config_show(const struct config *config, bool origin, struct buf *out, struct err *err) {
    struct printer printer = {.config = config, .out = out, .origin = origin};
    for (size_t k = 0; k < config__key_count;) {
        if (config__keys[k].group != GROUP_NONE) {
            k = print_group(&printer, k);
        } else {
            print_key(&printer, &config__keys[k++], "");
        }
    }
    if (out->failed) {
        return err_set(err, ERR_NOMEM, "no room to print the configuration");
    }
    return 0;
}

/* ---- difference ---- */

static const char *value_in_force(const struct config *config, const struct key *key,
                                  const char *path) {
    const struct setting *setting = config__setting(config, path);
    if (setting == NULL) {
        return key->fallback;
    }
    return setting->resolved != NULL ? setting->resolved : setting->text;
}

static bool differs(const struct config *old, const struct config *now, const struct key *key,
                    const char *path) {
    const char *before = value_in_force(old, key, path);
    const char *after = value_in_force(now, key, path);
    if (before == NULL || after == NULL) {
        return before != after;
    }
    return strcmp(before, after) != 0;
}

static size_t diff_one(const struct config *old, const struct config *now, const struct key *key,
                       const char *path, struct buf *changed) {
    if (!differs(old, now, key, path)) {
        return 0;
    }
    if (changed != NULL) {
        buf_printf(changed, "%s: %s\n", path, key->reloadable ? "reloadable" : "needs a restart");
    }
    return 1;
}

/* Keys of groups that `config` has settings for; those that `other` has too are skipped when
 * `only_here`. */
static size_t diff_groups(const struct config *config, const struct config *other, bool only_here,
                          struct buf *changed) {
    size_t count = 0;
    for (size_t i = 0; i < config->setting_count; i++) {
        const struct setting *setting = &config->settings[i];
        bool there = config__setting(other, setting->path) != NULL;
        if (setting->key->group != GROUP_NONE && !(only_here && there)) {
            count += diff_one(other, config, setting->key, setting->path, changed);
        }
    }
    return count;
}

size_t config_diff(const struct config *old, const struct config *now, struct buf *changed) {
    size_t count = 0;
    for (size_t k = 0; k < config__key_count; k++) {
        if (config__keys[k].group == GROUP_NONE) {
            count += diff_one(old, now, &config__keys[k], config__keys[k].path, changed);
        }
    }
    count += diff_groups(now, old, false, changed);
    count += diff_groups(old, now, true, changed);
    return count;
}
