/* check: what only shows in several values together, with the place of the one to change.
 *
 * Whether a camera's URI or a remote's fields are right is asked of the module whose they are.
 */
#include "config/inside.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* The place of `path`, or of `other` where the first is a default. */
static struct origin place_of(const struct config *config, const char *path, const char *other) {
    const struct setting *setting = config__setting(config, path);
    if (setting == NULL && other != NULL) {
        setting = config__setting(config, other);
    }
    return setting != NULL ? setting->origin : (struct origin){.layer = LAYER_DEFAULT};
}

struct order {
    const char *small, *large;
    size_t small_offset, large_offset; /* of doubles in struct config_values */
    bool may_be_equal;
};

#define FIELD(field) offsetof(struct config_values, field)

static const struct order orders[] = {
    {"inference.floor", "triage.uncertain", FIELD(detector.floor), FIELD(triage.uncertain_floor),
     true},
    {"triage.uncertain", "triage.confident", FIELD(triage.uncertain_floor), FIELD(triage.confident),
     false},
};

static bool check_thresholds(struct load *load) {
    bool fine = true;
    for (size_t i = 0; i < ARRAY_LENGTH(orders); i++) {
        const char *values = (const char *)&load->config->values;
        double small, large;
        memcpy(&small, values + orders[i].small_offset, sizeof(small));
        memcpy(&large, values + orders[i].large_offset, sizeof(large));
        if (small < large || (orders[i].may_be_equal && small <= large)) {
            continue;
        }
        struct origin origin = place_of(load->config, orders[i].large, orders[i].small);
        config__problem(load, &origin, orders[i].large, "found %g, expected %s %s (%g)", large,
                        orders[i].may_be_equal ? "at least" : "more than", orders[i].small, small);
        fine = false;
    }
    return fine;
}

/* The setting at `path`, or the first one below it. */
static struct origin place_below(const struct config *config, const char *path) {
    size_t length = strlen(path);
    for (size_t i = 0; i < config->setting_count; i++) {
        const char *here = config->settings[i].path;
        if (strncmp(here, path, length) == 0 && (here[length] == '\0' || here[length] == '.')) {
            return config->settings[i].origin;
        }
    }
    return place_of(config, "triage.rules", NULL);
}

/* Triage's messages begin with the key that they are about. */
static void check_triage(struct load *load) {
    struct triage *triage = NULL;
    struct err err = {0};
    char why[ERR_TEXT_MAX], path[CONFIG__PATH_MAX + 1];
    if (triage_create(&load->config->values.triage, NULL, &triage, &err) != 0) {
        err_text(&err, why, sizeof(why));
        size_t length = strcspn(why, ": ");
        snprintf(path, sizeof(path), "%.*s", (int)length, why);
        struct origin origin = place_below(load->config, path);
        length += strspn(why + length, ": ");
        config__problem(load, &origin, path, "%s", why + length);
    }
    triage_destroy(triage);
}

static void check_cameras(struct load *load) {
    const struct config_values *values = &load->config->values;
    for (size_t i = 0; i < values->camera_count; i++) {
        char path[CONFIG__PATH_MAX + 1], why[ERR_TEXT_MAX];
        struct err err = {0};
        if (source_check(&values->cameras[i], &err) != 0) {
            snprintf(path, sizeof(path), "cameras.%s.source", values->cameras[i].name);
            struct origin origin = place_of(load->config, path, NULL);
            config__problem(load, &origin, path, "%s", err_text(&err, why, sizeof(why)));
        }
    }
}

static void check_remotes(struct load *load) {
    const struct sync_config *sync = &load->config->values.sync;
    if (sync->backoff_base_ms > sync->backoff_max_ms) {
        struct origin origin = place_of(load->config, "sync.backoff.max", "sync.backoff.base");
        config__problem(load, &origin, "sync.backoff.max", "is less than sync.backoff.base");
    }
    struct err timetable = {0};
    if (sync_bandwidth_check(sync->bandwidth, &timetable) != 0) {
        struct origin origin = place_of(load->config, "sync.bandwidth", NULL);
        config__problem(load, &origin, "sync.bandwidth", "%s", timetable.msg);
    }
    for (size_t i = 0; i < sync->remote_count && !load->config->without_secrets; i++) {
        char path[CONFIG__PATH_MAX + 1], why[ERR_TEXT_MAX];
        struct err err = {0};
        if (sync_remote_check(&sync->remotes[i], &err) != 0) {
            snprintf(path, sizeof(path), "sync.remotes.%s.type", sync->remotes[i].name);
            struct origin origin = place_of(load->config, path, NULL);
            path[strlen(path) - strlen(".type")] = '\0';
            config__problem(load, &origin, path, "%s", err_text(&err, why, sizeof(why)));
        }
    }
}

static void check_door(struct load *load, const char *path, const char *listen, const char *secret,
                       const char *secret_path) {
    bool loopback = true;
    if (listen == NULL || secret != NULL || load->config->without_secrets ||
        !config__parse_listen(listen, &loopback) || loopback) {
        return;
    }
    struct origin origin = place_of(load->config, path, NULL);
    config__problem(load, &origin, path,
                    "%s is open to other machines; set %s, or listen on 127.0.0.1", listen,
                    secret_path);
}

static void check_doors(struct load *load) {
    const struct webui_config *webui = &load->config->values.webui;
    /* Whether the gallery has users stands in the store: it looks for itself when it starts. */
    check_door(load, "ingest.listen", webui->ingest_listen, webui->ingest_token, "ingest.token");
    bool same = webui->listen != NULL && webui->ingest_listen != NULL &&
                strcmp(webui->listen, webui->ingest_listen) == 0;
    if (same && strcmp(strrchr(webui->listen, ':'), ":0") != 0) {
        struct origin origin = place_of(load->config, "ingest.listen", "web.listen");
        config__problem(load, &origin, "ingest.listen", "%s is that of web.listen too",
                        webui->listen);
    }
}

static void check_socket(struct load *load) {
    const char *path = load->config->values.control_socket;
    size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    if (path != NULL && strlen(path) > max) {
        struct origin origin = place_of(load->config, "control.socket", "store.dir");
        config__problem(load, &origin, "control.socket",
                        "%s is longer than the %zu bytes of a socket's path; set a shorter one",
                        path, max);
    }
}

void config__check(struct load *load) {
    if (check_thresholds(load)) {
        check_triage(load);
    }
    check_cameras(load);
    check_remotes(load);
    check_doors(load);
    check_socket(load);
}
