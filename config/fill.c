/* fill: settings and defaults into the modules' structs.
 *
 * Every row of the key table is visited in order, those of a group once for each element that the
 * settings name, in the order in which they first appear. A value was checked when it was read, so
 * parsing cannot fail here but for a default that is wrong, which a test finds. Fields are written
 * with memcpy: an enum's own type is the compiler's choice, only its size is known.
 */
#include "config/inside.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNTIME_DIR "/run/creel"
#define SOCKET_NAME "control.sock"

#ifndef CREEL_SHARE_DIR
#define CREEL_SHARE_DIR "/usr/local/share/creel"
#endif
#ifndef CREEL_DEMO_MODEL_DIR
#define CREEL_DEMO_MODEL_DIR "inference/models/demo"
#endif

/* Where a group's elements lie in struct config_values. */
struct group {
    const char *section;
    size_t array, element, name, count, max;
};

static const struct group groups[GROUP_COUNT] = {
    [GROUP_TAG] = {"device.tags", offsetof(struct config_values, tags), sizeof(struct config_tag),
                   offsetof(struct config_tag, name), offsetof(struct config_values, tag_count),
                   CONFIG_TAGS_MAX},
    [GROUP_CAMERA] = {"cameras", offsetof(struct config_values, cameras),
                      sizeof(struct source_config), offsetof(struct source_config, name),
                      offsetof(struct config_values, camera_count), SOURCE_CAMERAS_MAX},
    [GROUP_RULE] = {"triage.define", offsetof(struct config_values, triage.defined),
                    sizeof(struct triage_rule_config), offsetof(struct triage_rule_config, name),
                    offsetof(struct config_values, triage.defined_count), TRIAGE_RULES_MAX},
    [GROUP_REMOTE] = {"sync.remotes", offsetof(struct config_values, sync.remotes),
                      sizeof(struct sync_remote_config), offsetof(struct sync_remote_config, name),
                      offsetof(struct config_values, sync.remote_count), SYNC_REMOTES_MAX},
};

/* One value on its way into its field. */
struct cell {
    struct load *load;
    const struct key *key;
    char *base; /* struct config_values, or the group's element */
    const char *text;
    struct key_value value;
    const struct setting *setting; /* NULL: the default */
};

static void put(const struct cell *cell, const void *bytes, size_t size) {
    memcpy(cell->base + cell->key->offset, bytes, size);
}

static void put_pointer(const struct cell *cell, const char *text) {
    put(cell, &text, sizeof(text));
}

static int64_t whole_of(const struct cell *cell) {
    bool divided = cell->key->divide > 1 && !cell->value.is_word;
    return divided ? cell->value.whole / cell->key->divide : cell->value.whole;
}

static void fill_none(const struct cell *cell) {
    (void)cell;
}

static void fill_text(const struct cell *cell) {
    put_pointer(cell, cell->value.is_word ? NULL : cell->text);
}

static void fill_name(const struct cell *cell) {
    char name[FRAME_NAME_MAX + 1] = "";
    snprintf(name, sizeof(name), "%s", cell->text);
    put(cell, name, sizeof(name));
}

static void fill_bool(const struct cell *cell) {
    bool flag = cell->key->type == KEY_BOOL ? cell->value.flag : cell->value.whole != 0;
    put(cell, &flag, sizeof(flag));
}

static void fill_int(const struct cell *cell) {
    int number = (int)whole_of(cell);
    put(cell, &number, sizeof(number));
}

static void fill_i64(const struct cell *cell) {
    int64_t number = whole_of(cell);
    put(cell, &number, sizeof(number));
}

static void fill_u64(const struct cell *cell) {
    uint64_t number = cell->value.is_share ? 0 : (uint64_t)whole_of(cell);
    double share = cell->value.is_share ? cell->value.real : 0;
    put(cell, &number, sizeof(number));
    if (cell->key->type == KEY_SIZE_OR_SHARE) {
        memcpy(cell->base + cell->key->share_offset, &share, sizeof(share));
    }
}

static void fill_double(const struct cell *cell) {
    double number = cell->value.is_word ? (double)cell->value.whole : cell->value.real;
    put(cell, &number, sizeof(number));
}

static void fill_rules(const struct cell *cell) {
    struct triage_config *triage = &cell->load->config->values.triage;
    triage->rule_count = 0;
    const char *at = cell->text;
    while (*at != '\0' && triage->rule_count < TRIAGE_RULES_MAX) {
        size_t length = strcspn(at, ",");
        char *rule = triage->rules[triage->rule_count++];
        snprintf(rule, FRAME_NAME_MAX + 1, "%.*s", (int)length, at);
        at += length + (at[length] == ',' ? 1 : 0);
    }
}

static void fill_region(const struct cell *cell) {
    struct frame_box box = {0};
    if (!cell->value.is_word) {
        view_region_parse(cell->text, &box);
    }
    put(cell, &box, sizeof(box));
}

static void fill_mask(const struct cell *cell) {
    struct view_mask mask = {0};
    view_mask_parse(cell->text, &mask);
    put(cell, &mask, sizeof(mask));
}

static void fill_tag(const struct cell *cell) {
    if (strlen(cell->text) > CONFIG_TAG_MAX) {
        config__problem(cell->load, &cell->setting->origin, cell->setting->path,
                        "a tag of more than %d bytes", CONFIG_TAG_MAX);
    }
    const char *text = cell->text;
    memcpy(cell->base + offsetof(struct config_tag, value), &text, sizeof(text));
}

/* A name that stays the same over restarts and says nothing of the machine id itself, which systemd
 * asks to keep to oneself (machine-id(5)). A system without one (a bare root, a container) goes by
 * its host name. */
static void fill_device_id(const struct cell *cell) {
    static const char *const files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};
    struct buf text = BUF_INIT(256);
    struct frame_hash hash;
    char hex[65], name[FRAME_NAME_MAX + 1] = "";
    if (!cell->value.is_word) {
        fill_name(cell);
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        buf_reset(&text);
        if (fs_read_file(files[i], &text, NULL) == 0 && text.len >= 32) {
            break;
        }
    }
    if (text.len < 32) {
        char host[256] = "";
        gethostname(host, sizeof(host) - 1);
        buf_reset(&text);
        buf_printf(&text, "host %s", host);
    }
    buf_puts(&text, " creel device");
    hash_sha256(text.data != NULL ? text.data : "", text.data != NULL ? text.len : 0, &hash);
    snprintf(name, sizeof(name), "cam-%.8s", hash_hex(hash.bytes, sizeof(hash.bytes), hex));
    put(cell, name, sizeof(name));
    buf_finish(&text);
}

/* Where the default model lies nowhere in the system, creel was not installed: it runs from its
 * build folder, and the source tree has the model. */
static void fill_model_dir(const struct cell *cell) {
    const char *places[] = {cell->text, CREEL_SHARE_DIR "/models/demo", CREEL_DEMO_MODEL_DIR};
    const char *dir = cell->text;
    for (size_t i = 0; cell->setting == NULL && i < ARRAY_LENGTH(places); i++) {
        if (access(places[i], R_OK) == 0) {
            dir = places[i];
            break;
        }
    }
    put_pointer(cell, dir);
}

/* The identity of the store is worth remembering elsewhere only where the store itself can be
 * missing. */
static void fill_state_dir(const struct cell *cell) {
    const char *dir = cell->text;
    if (cell->value.is_word) {
        const char *store = cell->load->config->values.store.dir;
        dir = config__getenv(cell->load->source, "STATE_DIRECTORY");
        bool usable = dir != NULL && dir[0] == '/' && strchr(dir, ':') == NULL;
        size_t length = usable ? strlen(dir) : 0;
        bool inside = usable && strncmp(store, dir, length) == 0 &&
                      (store[length] == '\0' || store[length] == '/');
        dir = usable && !inside ? config__keep(cell->load, dir) : NULL;
    }
    put_pointer(cell, dir);
}

static void fill_socket(const struct cell *cell) {
    const char *path = cell->load->source->path;
    bool standard = path == NULL || strcmp(path, CONFIG_DEFAULT_PATH) == 0;
    if (!cell->value.is_word) {
        put_pointer(cell, cell->text);
    } else if (standard && access(RUNTIME_DIR, F_OK) == 0) {
        put_pointer(cell, RUNTIME_DIR "/" SOCKET_NAME);
    } else {
        char joined[FS_PATH_MAX + sizeof(SOCKET_NAME) + 1];
        snprintf(joined, sizeof(joined), "%s/%s", cell->load->config->values.store.dir,
                 SOCKET_NAME);
        put_pointer(cell, config__keep(cell->load, joined));
    }
}

static void (*const fillers[])(const struct cell *) = {
    [SLOT_NONE] = fill_none,
    [SLOT_TEXT] = fill_text,
    [SLOT_NAME] = fill_name,
    [SLOT_BOOL] = fill_bool,
    [SLOT_INT] = fill_int,
    [SLOT_UINT] = fill_int,
    [SLOT_I64] = fill_i64,
    [SLOT_U64] = fill_u64,
    [SLOT_DOUBLE] = fill_double,
    [SLOT_RULES] = fill_rules,
    [SLOT_TAG] = fill_tag,
    [SLOT_DEVICE_ID] = fill_device_id,
    [SLOT_STATE_DIR] = fill_state_dir,
    [SLOT_MODEL_DIR] = fill_model_dir,
    [SLOT_REGION] = fill_region,
    [SLOT_MASK] = fill_mask,
    [SLOT_SOCKET] = fill_socket,
};

/* The place of a group's element in the text: that of its first key. */
static const struct setting *first_of(const struct config *config, enum key_group group,
                                      const char *name) {
    char here[FRAME_NAME_MAX + 1];
    for (size_t i = 0; i < config->setting_count; i++) {
        const struct setting *setting = &config->settings[i];
        if (setting->key->group == group && config__key_name(setting->key, setting->path, here) &&
            strcmp(here, name) == 0) {
            return setting;
        }
    }
    return NULL;
}

static void fill_key(struct load *load, const struct key *key, const char *name, void *base) {
    char path[CONFIG__PATH_MAX + 1];
    config__key_path(key, name, path);
    struct setting *setting = config__setting(load->config, path);
    struct cell cell = {.load = load, .key = key, .base = base, .setting = setting};
    cell.text = setting != NULL ? setting->text : key->fallback;
    if (cell.text == NULL) {
        const struct setting *first = first_of(load->config, key->group, name);
        if (key->needed && first != NULL) {
            struct buf expected = BUF_INIT(512);
            config__key_expected(key, &expected);
            config__problem(load, &first->origin, path, "is missing, expected %s",
                            expected.data != NULL ? expected.data : "a value");
            buf_finish(&expected);
        }
        return;
    }
    bool fine = config__key_parse(key, cell.text, &cell.value);
    assert(fine);
    (void)fine;
    if (key->type == KEY_SECRET && setting != NULL) {
        setting->resolved = load->config->without_secrets ? NULL : config__secret(load, setting);
        cell.text = setting->resolved;
    }
    fillers[key->slot](&cell);
}

/* Names the element if it is new. Returns false after a problem. */
static bool element_name(struct load *load, const struct group *group, const char *name,
                         const struct setting *setting) {
    char *values = (char *)&load->config->values;
    size_t count;
    memcpy(&count, values + group->count, sizeof(count));
    char *array = values + group->array;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(array + i * group->element + group->name, name) == 0) {
            return true;
        }
    }
    if (count == group->max) {
        config__problem(load, &setting->origin, setting->path, "more than %zu of %s", group->max,
                        group->section);
        return false;
    }
    snprintf(array + count * group->element + group->name, FRAME_NAME_MAX + 1, "%s", name);
    count++;
    memcpy(values + group->count, &count, sizeof(count));
    return true;
}

static void fill_group(struct load *load, enum key_group which) {
    const struct group *group = &groups[which];
    char *values = (char *)&load->config->values;
    char name[FRAME_NAME_MAX + 1];
    for (size_t i = 0; i < load->config->setting_count; i++) {
        const struct setting *setting = &load->config->settings[i];
        if (setting->key->group == which && config__key_name(setting->key, setting->path, name) &&
            !element_name(load, group, name, setting)) {
            return;
        }
    }
    size_t count;
    memcpy(&count, values + group->count, sizeof(count));
    for (size_t i = 0; i < count; i++) {
        char *element = values + group->array + i * group->element;
        for (size_t k = 0; k < config__key_count; k++) {
            if (config__keys[k].group == which) {
                fill_key(load, &config__keys[k], element + group->name, element);
            }
        }
    }
}

void config__fill(struct load *load) {
    struct config_values *values = &load->config->values;
    for (size_t k = 0; k < config__key_count; k++) {
        if (config__keys[k].group == GROUP_NONE) {
            fill_key(load, &config__keys[k], "", values);
        }
    }
    for (int group = GROUP_NONE + 1; group < GROUP_COUNT; group++) {
        fill_group(load, (enum key_group)group);
    }
    values->sync.device = values->device;
}
