/* config: YAML files, drop-ins, environment and flags into every module's config struct, by one key
 * table.
 *
 * Layers, later ones win: defaults, the main file, conf.d beside it (*.yaml by name), CREEL_A__B__C
 * variables, flags (key=value). Each value remembers where it came from (`creel config show
 * --origin`). Errors name file:line:column, the key, what was found, what was expected, and the
 * nearest key for a misspelt one. Secrets are
 * "${ENV}", "file:PATH" or "credential:NAME" (systemd's CREDENTIALS_DIRECTORY) and are never
 * printed. Not: it does not know what the values do beyond type and range. Life cycle: config_load
 * -> read the structs -> config_destroy (frees all strings that the structs borrow).
 */
#ifndef CREEL_CONFIG_CONFIG_H
#define CREEL_CONFIG_CONFIG_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "inference/inference.h"
#include "inference/source.h"
#include "inference/triage.h"
#include "store/store.h"
#include "sync/sync.h"
#include "webui/webui.h"
#include <stdbool.h>

#define CONFIG_DEFAULT_PATH "/etc/creel/creel.yaml"
#define CONFIG_TAGS_MAX     16
#define CONFIG_TAG_MAX      255 /* bytes of a tag's value */
#define CONFIG_PROBLEMS_MAX 64

struct config_tag { /* a fact of the device that goes along with its frames: site: "north" */
    char name[FRAME_NAME_MAX + 1];
    const char *value;
};

struct config_values {
    char device[FRAME_NAME_MAX + 1]; /* "auto": made from the machine id */
    struct config_tag tags[CONFIG_TAGS_MAX];
    size_t tag_count;
    bool clock_trusted; /* device.clock: kernel | trusted, see clock_trust */
    struct source_config cameras[SOURCE_CAMERAS_MAX];
    size_t camera_count;
    const char *model_dir;
    struct detector_config detector;
    unsigned workers;     /* 0: auto */
    unsigned queue;       /* frames waiting for a worker */
    uint64_t queue_bytes; /* of them, as they wait: raw frames are large; 0: 128 MiB */
    struct triage_config triage;
    struct store_config store;
    struct sync_config sync;
    struct webui_config webui;
    const char *control_socket; /* "auto": /run/creel/control.sock with the default configuration
                                   file where /run/creel exists, else <store.dir>/control.sock: the
                                   daemon and its commands find the same, whoever runs them */
    const char *log_level;      /* error | warn | info | debug */
};

struct config;

struct config_source {
    const char *path;         /* main file; NULL: CONFIG_DEFAULT_PATH, which may be missing */
    const char *const *flags; /* "store.dir=/x" */
    size_t flag_count;
    char *const *environment; /* environ, or NULL for none */
    bool without_secrets;     /* for commands that need none: secrets stay NULL, so that they work
                                 where the daemon's variables and credentials are not; what needs a
                                 secret is then not checked */
};

/* All problems found, one a line in `problems` ("file:line:col: key: found …, expected …; did you
 * mean …?"); ERR_CONFIG when there is any. `problems` may be NULL; then err holds the first. */
int config_load(const struct config_source *source, struct config **out, struct buf *problems,
                struct err *err);
void config_destroy(struct config *config);

const struct config_values *config_values(const struct config *config);

/* Every key with its effective value as YAML, "# from file:line" behind each when `origin`; secrets
 * as "***". */
int config_show(const struct config *config, bool origin, struct buf *out, struct err *err);

/* "15m", "1h30m", "7d" or "0", as durations are written in the configuration, in milliseconds;
 * false for anything else. */
bool config_duration_parse(const char *text, int64_t *out_ms);

/* The commented sample (config/creel.yaml), embedded. */
const char *config_sample(void);

/* "2026-11-20", "2026-11-20T08:00:00Z", or a duration back from `now_us` such as 7d; false: none of
 * them. */
bool config_time_parse(const char *text, int64_t now_us, int64_t *utc_us);

/* Compares two loads: writes into `changed` one line a key that differs, "key: reloadable" or "key:
 * needs a restart". Returns how many differ. */
size_t config_diff(const struct config *old, const struct config *now, struct buf *changed);

#endif
