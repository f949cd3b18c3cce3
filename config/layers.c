/* layers: main file, conf.d beside it, environment, flags, in this order; later ones win.
 */
#include "config/inside.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLE_PREFIX "CREEL_"

const char *config__getenv(const struct config_source *source, const char *name) {
    size_t length = strlen(name);
    for (char *const *at = source->environment; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '=') {
            return *at + length + 1;
        }
    }
    return NULL;
}

/* ---- files ---- */

static int is_dropin(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 &&
           strcmp(entry->d_name + length - 5, ".yaml") == 0;
}

/* Byte order, whatever the locale says: the order must not change with the user's language. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_dropins(struct load *load, const char *main_path) {
    char dir[FS_PATH_MAX], path[FS_PATH_MAX];
    const char *slash = strrchr(main_path, '/');
    int length = slash != NULL ? (int)(slash - main_path) : 1;
    snprintf(dir, sizeof(dir), "%.*s/conf.d", length, slash != NULL ? main_path : ".");
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, is_dropin, by_name);
    struct origin origin = {.layer = LAYER_FILE, .where = dir};
    if (count < 0) {
        if (errno != ENOENT && errno != ENOTDIR) {
            config__problem(load, &origin, NULL, "%s", strerror(errno));
        }
        return;
    }
    if (count > CONFIG__DROPINS_MAX) {
        config__problem(load, &origin, NULL, "more than %d files", CONFIG__DROPINS_MAX);
    }
    for (int i = 0; i < count; i++) {
        if (count <= CONFIG__DROPINS_MAX &&
            fs_join(path, sizeof(path), dir, entries[i]->d_name, NULL) == 0) {
            config__read_file(load, path, false);
        }
        free(entries[i]);
    }
    free(entries);
}

/* ---- single values: environment and flags ---- */

/* A list may have blanks behind its commas here, as people type them. */
static void trim_blanks(char *text) {
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        bool drop =
            *from == ' ' && (from == text || from[-1] == ',' || from[1] == ',' || from[1] == '\0');
        if (!drop) {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static void take_one(struct load *load, const char *path, const char *text,
                     const struct origin *origin) {
    const struct key *key = NULL;
    char name[FRAME_NAME_MAX + 1], list[CONFIG__TEXT_MAX + 1];
    enum key_match match = config__key_find(path, &key);
    if (match == MATCH_UNKNOWN) {
        config__problem_unknown(load, origin, path);
    } else if (*text == '\0' || strcmp(text, "null") == 0) {
        config__unset(load, path);
    } else if (match == MATCH_SECTION) {
        config__problem(load, origin, path, "is a section; name one of its keys, such as %s",
                        key->path);
    } else if (strchr(key->path, '*') != NULL && !config__key_name(key, path, name)) {
        config__problem(load, origin, path,
                        "expected a name of a-z, 0-9 and -, at most %d long, for the * of %s",
                        FRAME_NAME_MAX, key->path);
    } else if (key->type == KEY_NAMES && strlen(text) <= CONFIG__TEXT_MAX) {
        snprintf(list, sizeof(list), "%s", text);
        trim_blanks(list);
        config__take(load, key, path, list, origin);
    } else {
        config__take(load, key, path, text, origin);
    }
}

/* "SYNC__REMOTES__FRONT_DOOR__URL" -> "sync.remotes.front-door.url": a single '_' belongs to the
 * key, or stands for the '-' of a name, which variables cannot have. */
static bool variable_path(const char *name, size_t length, char out[CONFIG__PATH_MAX + 1]) {
    const struct key *key = NULL;
    size_t used = 0;
    if (length > CONFIG__PATH_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        bool border = name[i] == '_' && i + 1 < length && name[i + 1] == '_';
        out[used++] = border ? '.' : (char)tolower((unsigned char)name[i]);
        i += border ? 1 : 0;
    }
    out[used] = '\0';
    /* The names' places are only known once the borders are. */
    size_t start = 0;
    for (size_t i = 0; i <= used; i++) {
        if (out[i] != '.' && out[i] != '\0') {
            continue;
        }
        char end = out[i];
        out[i] = '\0';
        bool named = config__key_find(out, &key) != MATCH_UNKNOWN && config__key_named(out);
        for (size_t j = start; named && j < i; j++) {
            out[j] = out[j] == '_' ? '-' : out[j];
        }
        out[i] = end;
        start = i + 1;
    }
    return true;
}

static void read_environment(struct load *load) {
    size_t prefix = strlen(VARIABLE_PREFIX);
    for (char *const *at = load->source->environment; at != NULL && *at != NULL; at++) {
        const char *equals = strchr(*at, '=');
        /* Without a border ("__") it is another program's or another use (CREEL_CLOCK_TRUSTED). */
        const char *border = strstr(*at, "__");
        if (strncmp(*at, VARIABLE_PREFIX, prefix) != 0 || equals == NULL || border == NULL ||
            border > equals) {
            continue;
        }
        char path[CONFIG__PATH_MAX + 1], name[CONFIG__PATH_MAX + 1];
        snprintf(name, sizeof(name), "%.*s", (int)(equals - *at), *at);
        struct origin origin = {.layer = LAYER_ENVIRONMENT, .where = name};
        if (variable_path(*at + prefix, (size_t)(equals - *at) - prefix, path)) {
            take_one(load, path, equals + 1, &origin);
        } else {
            config__problem(load, &origin, NULL, "a name of more than %d bytes", CONFIG__PATH_MAX);
        }
    }
}

static void read_flags(struct load *load) {
    struct origin origin = {.layer = LAYER_FLAG};
    for (size_t i = 0; i < load->source->flag_count; i++) {
        const char *flag = load->source->flags[i];
        const char *equals = strchr(flag, '=');
        char path[CONFIG__PATH_MAX + 1];
        if (equals == NULL || equals == flag || (size_t)(equals - flag) > CONFIG__PATH_MAX) {
            config__problem(load, &origin, NULL,
                            "found \"%.60s\", expected key=value such as store.dir=/srv/creel",
                            flag);
            continue;
        }
        snprintf(path, sizeof(path), "%.*s", (int)(equals - flag), flag);
        take_one(load, path, equals + 1, &origin);
    }
}

void config__read_layers(struct load *load) {
    const char *path = load->source->path != NULL ? load->source->path : CONFIG_DEFAULT_PATH;
    config__read_file(load, path, load->source->path == NULL);
    read_dropins(load, path);
    read_environment(load);
    read_flags(load);
}
