/* inside: what the files of config/ share with one another, and nobody else includes.
 *
 * The way of a value: a layer (yaml.c, layers.c) turns its text into `struct setting`s, one a key,
 * checked against the key table (keys.c) where they are found, so that a fault carries its own
 * file, line and column; a later layer replaces a setting of the same path. fill.c then gives every
 * key of the table its setting or its default and writes it into the module's struct; check.c asks
 * the modules about the whole.
 */
#ifndef CREEL_CONFIG_INSIDE_H
#define CREEL_CONFIG_INSIDE_H

#include "config/config.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG__PATH_MAX     255         /* bytes of "sync.remotes.cloud.containers.annotated" */
#define CONFIG__PARTS_MAX    8           /* components of such a path */
#define CONFIG__TEXT_MAX     4096        /* bytes of one value */
#define CONFIG__FILE_MAX     (1u << 20)  /* bytes of one file */
#define CONFIG__NESTING_MAX  16          /* YAML collections within one another */
#define CONFIG__NODES_MAX    20000       /* YAML nodes of one file, aliases expanded */
#define CONFIG__SETTINGS_MAX 4096        /* keys given in all layers together */
#define CONFIG__DROPINS_MAX  256         /* files in conf.d */
#define CONFIG__SECRET_MAX   (64u << 10) /* bytes of a file that holds a secret */

/* ---- value.c: pure parsing of the text of one value ---- */

bool config__parse_bool(const char *text, bool *out);
bool config__parse_whole(const char *text, int64_t *out);
bool config__parse_real(const char *text, double *out);
bool config__parse_size(const char *text, uint64_t *out);    /* bytes: 20GiB, 1.5GB, 512M, 4096 */
bool config__parse_share(const char *text, double *out);     /* 50% -> 0.5; (0, 1] */
bool config__parse_duration(const char *text, int64_t *out); /* ms: 30d, 1h30m, 500ms, 0 */
bool config__parse_listen(const char *text,
                          bool *loopback); /* 127.0.0.1:8080, [::1]:0, localhost:80 */
bool config__parse_url(const char *text);  /* http:// or https:// and a host */
bool config__name_valid(const char *text); /* [a-z0-9][a-z0-9-]{0,31} */
bool config__text_valid(const char *text); /* not empty, no control characters */
void config__format_size(uint64_t bytes, char *out,
                         size_t size); /* largest unit that fits exactly */
void config__format_duration(int64_t ms, char *out, size_t size);

/* ---- keys.c: the key table ---- */

enum key_type {
    KEY_TEXT,
    KEY_PATH,   /* an absolute path */
    KEY_URL,    /* http or https */
    KEY_LISTEN, /* host:port */
    KEY_NAME,   /* [a-z0-9][a-z0-9-]{0,31} */
    KEY_NAMES,  /* a list of names; kept as "a,b,c" */
    KEY_LABELS, /* the same of a model's classes: any text without commas */
    KEY_DEVICE, /* cpu or cuda:N */
    KEY_BOOL,
    KEY_WHOLE,
    KEY_REAL,
    KEY_SIZE,
    KEY_SIZE_OR_SHARE,
    KEY_DURATION,
    KEY_CHOICE, /* one of `choices`, numbered from `min` */
    KEY_SECRET,
    KEY_REGION, /* a box: "x y w h" */
    KEY_SHAPES, /* a list of boxes and polygons; kept as "x y w h;x y x y x y" */
};

enum key_slot {
    SLOT_NONE, /* read by nobody yet (version) */
    SLOT_TEXT, /* const char * */
    SLOT_NAME, /* char[FRAME_NAME_MAX + 1] */
    SLOT_BOOL,
    SLOT_INT,
    SLOT_UINT, /* unsigned and uint32_t */
    SLOT_I64,
    SLOT_U64,
    SLOT_DOUBLE,
    SLOT_RULES,     /* the triage rules */
    SLOT_TAG,       /* the value of a tag */
    SLOT_DEVICE_ID, /* "auto": made from the machine id */
    SLOT_MODEL_DIR, /* the default: the installed model, or that of the source tree */
    SLOT_STATE_DIR, /* "auto": systemd's state directory where the store is elsewhere */
    SLOT_REGION,    /* struct frame_box */
    SLOT_MASK,      /* struct view_mask */
    SLOT_SOCKET,    /* "auto": by where the configuration and the store are */
};

enum key_group { GROUP_NONE, GROUP_TAG, GROUP_CAMERA, GROUP_RULE, GROUP_REMOTE, GROUP_COUNT };

struct key {
    const char *path; /* "sync.remotes.*.url": '*' stands for a name */
    enum key_type type;
    enum key_slot slot;
    enum key_group group;
    size_t offset;        /* in struct config_values, or in the group's element */
    size_t share_offset;  /* of the double, for KEY_SIZE_OR_SHARE */
    const char *fallback; /* the default, as one would write it; NULL: none */
    const char *word;     /* a word that is also accepted: "off", "auto" */
    int64_t word_value;   /* what it means in a numeric slot; NULL in a text slot */
    double min, max;      /* both 0: the type's own range */
    int divide;           /* durations: ms per unit of the slot; 0: 1 */
    bool reloadable;
    bool needed;         /* of a group: an element without it is wrong */
    const char *choices; /* "oldest|newest|value" */
};

/* The parsed form of a value; which member counts follows from the key's type. */
struct key_value {
    bool is_word; /* the key's `word` was given: `whole` has word_value */
    bool is_share;
    bool flag;
    int64_t whole; /* whole numbers, sizes (bytes), durations (ms), choices */
    double real;   /* reals and shares */
};

extern const struct key config__keys[];
extern const size_t config__key_count;

/* What a path is to the table. A bad name in the place of a '*' still matches: the caller reports
 * it. */
enum key_match { MATCH_UNKNOWN, MATCH_SECTION, MATCH_KEY };
enum key_match config__key_find(const char *path, const struct key **key);
/* True when the last component of `path` stands for a '*' of the table. */
bool config__key_named(const char *path);
/* The name in the place of the '*', into `out` of FRAME_NAME_MAX + 1 bytes; false where there is
 * none, or a bad one. */
bool config__key_name(const struct key *key, const char *path, char *out);
/* The key's path with `name` for its '*'. */
void config__key_path(const struct key *key, const char *name, char out[CONFIG__PATH_MAX + 1]);
bool config__key_parse(const struct key *key, const char *text, struct key_value *out);
/* "a size such as 20GiB or a share such as 50%" */
void config__key_expected(const struct key *key, struct buf *out);
/* The nearest path of the table to a misspelt one; false when nothing is near. */
bool config__key_nearest(const char *path, char out[CONFIG__PATH_MAX + 1]);
/* "such as store.dir" for a section: the first key below it. */
const struct key *config__key_below(const char *section);

/* ---- settings.c: what the layers said, and what was wrong with it ---- */

enum config__layer { LAYER_DEFAULT, LAYER_FILE, LAYER_ENVIRONMENT, LAYER_FLAG };

struct origin {
    enum config__layer layer;
    const char *where; /* file or variable; owned by the config; NULL for defaults and flags */
    int line, column;  /* files: from 1 */
    bool world_readable;
};

struct setting {
    const struct key *key;
    const char *path;     /* owned by the config */
    const char *text;     /* as written; lists joined by ',' */
    const char *resolved; /* secrets: what the reference leads to; else NULL */
    struct origin origin;
};

struct config {
    struct config_values values;
    struct setting *settings; /* in the order of first appearance */
    size_t setting_count, setting_room;
    struct config__text *texts; /* every string that values and settings borrow */
    bool without_secrets;
};

struct problems {
    struct buf *out; /* may be NULL */
    char first[ERR_TEXT_MAX];
    size_t count;
    bool no_memory;
};

/* One load in progress. */
struct load {
    struct config *config;
    struct problems problems;
    const struct config_source *source;
};

/* A copy that lives as long as the config; NULL (and noted in problems) when memory ran out. */
const char *config__keep(struct load *load, const char *text);
void config__texts_free(struct config *config);

void config__set(struct load *load, const struct key *key, const char *path, const char *text,
                 const struct origin *origin);
/* Forgets `path` and everything below it: "as if never said". */
void config__unset(struct load *load, const char *path);
struct setting *config__setting(const struct config *config, const char *path);

/* "file:7:3: store.quotta: unknown key"; `path` may be NULL. */
void config__problem(struct load *load, const struct origin *origin, const char *path,
                     const char *fmt, ...) ERR_PRINTF(4, 5);
void config__problem_unknown(struct load *load, const struct origin *origin, const char *path);
void config__origin_format(const struct origin *origin, struct buf *out);

/* Checks `text` against `key` and keeps it, or says what was expected. */
void config__take(struct load *load, const struct key *key, const char *path, const char *text,
                  const struct origin *origin);

/* ---- the stages ---- */

void config__read_file(struct load *load, const char *path, bool may_be_missing); /* yaml.c */
void config__read_layers(struct load *load);                                      /* layers.c */
const char *config__getenv(const struct config_source *source, const char *name); /* layers.c */
/* What the reference in a secret's text leads to; NULL after a problem. secret.c */
const char *config__secret(struct load *load, const struct setting *setting);
void config__fill(struct load *load);  /* fill.c */
void config__check(struct load *load); /* check.c */
/* Copies `text` with passwords in URLs and SAS signatures replaced by ***. show.c */
void config__mask(const char *text, struct buf *out);

#endif
