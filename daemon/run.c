/* run: the life of the daemon.
 *
 * Start: config, store (lock, recovery), sync, model and workers, pipeline, web, control socket,
 * ready. Loop: signals, a tick a second (watchdog, live line, triage notes). Stop, in the order of
 * flow: what was accepted is settled and durable before anything else ends, so a SIGTERM loses
 * nothing that was acknowledged.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/dataset.h"
#include "daemon/live.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/overlay.h"
#include "daemon/removal.h"
#include "daemon/requests.h"
#include "daemon/viewing.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SYNC_STOP_MS  5000
#define LIVE_DRAIN_MS 15000 /* `--live` waits so long at the end for the last uploads */
#define STUCK_S       30    /* a loop that has not ticked for so long is not alive */
#define SECONDS_MAX   (366L * 24 * 3600)

static const char usage[] =
    "usage: creel run [--config FILE] [--set KEY=VALUE]... [--live] [--seconds N]\n"
    "Runs the daemon in the foreground: cameras in, frames worth keeping out.\n"
    "  --live        show a live line, and a summary at the end\n"
    "  --seconds N   end by itself after N seconds\n"
    "SIGTERM and SIGINT drain what was accepted and end with 0; SIGHUP reloads the "
    "configuration.\n";

struct daemon {
    struct options options;
    struct config *config; /* of the start: the rooms borrow its strings */
    struct config *latest; /* of the last reload that changed something; NULL: none did */
    const struct config_values *values;
    struct control *control;
    struct webui_config web_config;
    char image_origins[LINK_ORIGINS_MAX];
    struct live live;
    struct rooms rooms;         /* the main thread's */
    struct rooms web_rooms;     /* the web server's: fixed before its threads begin */
    struct rooms control_rooms; /* the control thread's: same rooms, own reader */
    char spool_dir[FS_PATH_MAX];
    bool with_live;
    bool limits_held, ages_rest; /* said */
    int64_t end_boot_us;         /* 0: never by itself */
    atomic_llong ticked_boot_us; /* the loop's last tick; 0: not begun */
};

/* ---- what the web server may reach ---- */

static int hook_submit(void *ctx, const struct webui_push *push, struct err *err) {
    const struct daemon *daemon = ctx;
    return pipeline_submit(daemon->web_rooms.pipeline, push, err);
}

static int hook_trigger(void *ctx, const char *camera, unsigned *kept, struct err *err) {
    const struct daemon *daemon = ctx;
    return pipeline_trigger(daemon->web_rooms.pipeline, camera, kept, err);
}

static int hook_draw(void *ctx, const uint8_t *picture, size_t size,
                     const struct frame_detection *detections, size_t count, uint8_t **out,
                     size_t *out_size, struct err *err) {
    (void)ctx;
    return overlay_draw(picture, size, detections, count, out, out_size, err);
}

static int hook_link(void *ctx, const struct store_row *row, int ttl_s, char out[WEBUI_LINK_MAX],
                     const char **kind, struct err *err) {
    const struct daemon *daemon = ctx;
    struct store_reader *reader;
    int code = store_reader_open(daemon->web_rooms.store, &reader, err);
    if (!code) {
        code =
            link_mint(daemon->values, daemon->web_rooms.sync, reader, row, ttl_s, out, kind, err);
        store_reader_close(reader);
    }
    return code;
}

static int eyes_healthy(struct pipeline *pipeline, struct err *err) {
    struct detector_stats seats[EYES_ROWS_MAX];
    size_t count = eyes_stats_get(pipeline_eyes(pipeline), seats), running = 0;
    for (size_t i = 0; i < count; i++) {
        running += seats[i].pid > 0;
    }
    return running ? 0 : err_set(err, ERR_CRASHED, "none of %zu worker processes runs", count);
}

static int hook_health(void *ctx, bool ready, struct err *err) {
    struct daemon *daemon = ctx;
    int64_t ticked = atomic_load(&daemon->ticked_boot_us);
    int64_t silent_s = (clock_boot_us() - ticked) / 1000000;
    if (ticked && silent_s > STUCK_S) {
        return err_set(err, ERR_TIMEOUT, "the daemon's loop has not gone round for %lld s",
                       (long long)silent_s);
    }
    if (ready && !ticked) {
        return err_set(err, ERR_BUSY, "the daemon is starting");
    }
    return ready ? eyes_healthy(daemon->web_rooms.pipeline, err) : 0;
}

static int hook_live(void *ctx, webui_live_fn *each, void *each_ctx, struct err *err) {
    const struct daemon *daemon = ctx;
    return viewing_each(daemon->web_rooms.pipeline, each, each_ctx, err);
}

static int hook_live_picture(void *ctx, const char *camera, uint64_t number, uint8_t **bytes,
                             size_t *size, enum frame_media *media, struct err *err) {
    const struct daemon *daemon = ctx;
    return viewing_picture(daemon->web_rooms.pipeline, camera, number, bytes, size, media, err);
}

/* The web server's threads share no reader with anybody: each look opens its own. */
static bool rooms_borrow(const struct daemon *daemon, struct rooms *out) {
    *out = daemon->web_rooms;
    return store_reader_open(daemon->web_rooms.store, &out->reader, NULL) == 0;
}

static json_t *hook_life(void *ctx, const struct store_why *why) {
    (void)ctx;
    return why_life_json(why);
}

static int hook_uploads(void *ctx, enum webui_uploads what, const json_t *order, json_t **reply,
                        struct err *err) {
    static answer_fn *const answers[] = {[WEBUI_UPLOADS_ASIDE] = answer_sync_quarantine,
                                         [WEBUI_UPLOADS_RETRY] = answer_sync_retry,
                                         [WEBUI_UPLOADS_DROP] = answer_sync_drop};
    const struct daemon *daemon = ctx;
    struct rooms rooms = daemon->web_rooms;
    struct control_bytes none = {0};
    int code = store_reader_open(rooms.store, &rooms.reader, err);
    if (!code) {
        code = answers[what](&rooms, order, reply, &none, err);
        store_reader_close(rooms.reader);
    }
    return code;
}

static json_t *hook_status(void *ctx) {
    struct rooms rooms;
    if (!rooms_borrow(ctx, &rooms)) {
        return NULL;
    }
    json_t *status = status_json(&rooms);
    store_reader_close(rooms.reader);
    return status;
}

static char *hook_metrics(void *ctx) {
    struct rooms rooms;
    if (!rooms_borrow(ctx, &rooms)) {
        return NULL;
    }
    char *text = status_metrics(&rooms);
    store_reader_close(rooms.reader);
    return text;
}

static int hook_remove(void *ctx, const struct frame_id *ids, size_t count, bool force,
                       webui_removed_fn *each, void *each_ctx, struct err *err) {
    const struct daemon *daemon = ctx;
    struct rooms rooms = daemon->web_rooms;
    int code = store_reader_open(rooms.store, &rooms.reader, err);
    if (!code) {
        code = removal_each(&rooms, ids, count, force, each, each_ctx, err);
        store_reader_close(rooms.reader);
    }
    return code;
}

static int hook_dataset_open(void *ctx, const char *format, void **set, struct err *err) {
    const struct daemon *daemon = ctx;
    struct dataset *made = NULL;
    int code = dataset_open(pipeline_eyes(daemon->web_rooms.pipeline), format, &made, err);
    *set = made;
    return code;
}

static const struct webui_dataset_ops dataset_hooks = {
    .open = hook_dataset_open, .add = dataset_add, .file = dataset_file, .close = dataset_close};

/* ---- start ---- */

/* Parts of manifests wait beside the frames that they speak of. */
static int start_sync(struct daemon *daemon, struct err *err) {
    struct sync_config config = daemon->values->sync;
    config.spool_dir = daemon->spool_dir;
    config.overlay = overlay_draw;
    int code = fs_join(daemon->spool_dir, sizeof(daemon->spool_dir), daemon->values->store.dir,
                       "manifests", err);
    return code ? code : sync_start(&config, daemon->rooms.store, &daemon->rooms.sync, err);
}

/* A command that looks into a store without a daemon holds it for a moment. */
static int open_store(const struct store_config *config, struct store **store, struct err *err) {
    int64_t end_us = clock_boot_us() + STORE_WAIT_MS * INT64_C(1000);
    int code = store_open(config, store, err);
    if (code == ERR_BUSY) {
        log_info("waits for the store", "dir=%s most_ms=%d", config->dir, STORE_WAIT_MS);
    }
    while (code == ERR_BUSY && clock_boot_us() < end_us) {
        clock_sleep_ms(STORE_POLL_MS);
        code = store_open(config, store, err);
    }
    return code;
}

static int start_store(struct daemon *daemon, struct err *err) {
    struct rooms *rooms = &daemon->rooms;
    int code = open_store(&daemon->values->store, &rooms->store, err);
    if (!code) {
        code = store_reader_open(rooms->store, &rooms->reader, err);
    }
    if (!code) {
        code = link_key_get(rooms->store, rooms->link_key, err);
    }
    return code ? code : start_sync(daemon, err);
}

static int start_eyes(struct daemon *daemon, struct err *err) {
    struct model *model = NULL;
    int code = model_open(daemon->values->model_dir, &model, err);
    if (code) {
        err_wrap(err, "model.dir: %s", daemon->values->model_dir);
        return err->code = ERR_CONFIG;
    }
    return pipeline_start(daemon->values, model, daemon->rooms.store, &daemon->rooms.pipeline, err);
}

static int start_doors(struct daemon *daemon, struct err *err) {
    daemon->web_config = daemon->values->webui;
    memcpy(daemon->web_config.link_key, daemon->rooms.link_key, sizeof(daemon->rooms.link_key));
    link_origins(daemon->values, daemon->image_origins);
    daemon->web_config.image_origins = daemon->image_origins;
    struct webui_hooks hooks = {.ctx = daemon,
                                .submit_frame = hook_submit,
                                .trigger = hook_trigger,
                                .draw = hook_draw,
                                .mint_link = hook_link,
                                .life = hook_life,
                                .uploads = hook_uploads,
                                .health = hook_health,
                                .live = hook_live,
                                .live_picture = hook_live_picture,
                                .remove_everywhere =
                                    daemon->values->sync.remote_count ? hook_remove : NULL,
                                .dataset = &dataset_hooks,
                                .status = hook_status,
                                .metrics = hook_metrics};
    daemon->web_rooms = daemon->rooms;
    int code =
        webui_start(&daemon->web_config, daemon->rooms.store, &hooks, &daemon->rooms.webui, err);
    if (code) {
        return code;
    }
    daemon->control_rooms = daemon->rooms;
    daemon->control_rooms.reader = NULL;
    code = store_reader_open(daemon->rooms.store, &daemon->control_rooms.reader, err);
    return code ? code
                : control_start(daemon->values->control_socket, requests_handle,
                                &daemon->control_rooms, &daemon->control, err);
}

static int start(struct daemon *daemon, struct err *err) {
    daemon->rooms.values = daemon->values;
    daemon->rooms.started_boot_us = clock_boot_us();
    int code = start_store(daemon, err);
    if (!code) {
        code = start_eyes(daemon, err);
    }
    return code ? code : start_doors(daemon, err);
}

static void announce(const struct daemon *daemon) {
    uint16_t web, ingest;
    webui_ports(daemon->rooms.webui, &web, &ingest);
    struct eyes_model model;
    eyes_model_get(pipeline_eyes(daemon->rooms.pipeline), &model);
    log_info("creel runs",
             "version=%s device=%s model=%s cameras=%zu remotes=%zu store=%s web=%u ingest=%u",
             CREEL_VERSION, daemon->values->device, model.name, daemon->values->camera_count,
             daemon->values->sync.remote_count, daemon->values->store.dir, web, ingest);
}

/* ---- the loop ---- */

static bool parse_level(const char *name, enum log_level *out) {
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"error", LOG_LEVEL_ERROR},
                  {"warn", LOG_LEVEL_WARN},
                  {"info", LOG_LEVEL_INFO},
                  {"debug", LOG_LEVEL_DEBUG}};
    for (size_t i = 0; i < ARRAY_LENGTH(levels); i++) {
        if (strcmp(levels[i].name, name) == 0) {
            *out = levels[i].level;
            return true;
        }
    }
    return false;
}

static void apply_level(const struct config_values *values) {
    enum log_level level;
    if (values->log_level && parse_level(values->log_level, &level)) {
        log_set_level(level);
    }
}

/* The model that the configuration names now; where it still names the same, that one's files
 * again: they may be others. The change goes on behind our back, and eyes say how it ended. */
static void reload_model(struct daemon *daemon, const struct config *before,
                         const struct config *fresh) {
    const char *dir = config_values(fresh)->model_dir;
    bool same = strcmp(dir, config_values(before)->model_dir) == 0;
    uint64_t number;
    struct err err = {0};
    if (eyes_use(pipeline_eyes(daemon->rooms.pipeline), same ? NULL : dir, &number, &err)) {
        log_err(LOG_LEVEL_ERROR, "model not changed", &err);
    }
}

/* What may change while running (triage, the model, log.level) changes; for the rest the log names
 * the key. Compared with what was read last, not with the start: a change that is taken back is one
 * too. */
static void reload(struct daemon *daemon) {
    notify_reloading();
    struct err err = {0};
    struct config *fresh = NULL;
    struct buf changed = BUF_INIT(64 * 1024);
    int code = options_config(&daemon->options, true, &fresh, &err);
    const struct config *before = daemon->latest ? daemon->latest : daemon->config;
    size_t count = code ? 0 : config_diff(before, fresh, &changed);
    if (!code && count) {
        apply_level(config_values(fresh));
        code = pipeline_triage_set(daemon->rooms.pipeline, &config_values(fresh)->triage, &err);
    }
    if (code) {
        log_err(LOG_LEVEL_ERROR, "configuration not reloaded; the old one stays in force", &err);
    } else {
        log_info("configuration reloaded", "changed_keys=%zu", count);
        reload_model(daemon, before, fresh);
        config_destroy(daemon->latest);
        daemon->latest = TAKE_PTR(fresh);
    }
    if (webui_certificates_reload(daemon->rooms.webui, &err)) {
        log_err(LOG_LEVEL_ERROR, "certificates not changed; the old ones stay in use", &err);
    }
    char *rest = changed.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));) {
        if (*line) {
            log_info("configuration changed", "%s", line);
        }
    }
    buf_finish(&changed);
    config_destroy(fresh);
    notify_ready();
}

static int open_signals(struct err *err) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? err_sys(err, errno, "cannot watch for signals") : fd;
}

static int open_tick(struct err *err) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec every = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};
    if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0) {
        int saved = errno;
        fd_close_at(&fd);
        return err_sys(err, saved, "cannot make a timer");
    }
    return fd;
}

/* Threads and children inherit the mask, so a Ctrl-C at the terminal ends nothing but the loop
 * below. */
static void block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Cloud keys must not end up in a core file. (PR_SET_DUMPABLE would also close /proc/self/fd to us,
 * which the workers' read-only memory is opened through.) */
static void forbid_core(void) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

/* True when it is time to end. */
static bool handle_signal(struct daemon *daemon, int fd) {
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGHUP) {
            log_info("stopping", "signal=%s", strsignal((int)info.ssi_signo));
            return true;
        }
        reload(daemon);
    }
    return false;
}

/* Says once that the tiers' limits remove nothing until somebody has looked. */
static void watch_limits(struct daemon *daemon) {
    struct store_stats stats;
    store_stats_get(daemon->rooms.store, &stats);
    if (stats.limits_held && !daemon->limits_held) {
        log_warn(
            "the tiers' limits have changed and would remove more than a quarter of the frames:"
            " they wait for `creel gc --force`",
            "frames=%" PRIu64 " of=%" PRIu64, stats.limits_held_frames, stats.limits_held_of);
    }
    if (stats.ages_rest && !daemon->ages_rest) {
        log_warn("this cannot be the time, by what was seen before: no frame is removed for its age"
                 " until it has stood for a day",
                 "%s", "");
    }
    daemon->limits_held = stats.limits_held;
    daemon->ages_rest = stats.ages_rest;
}

static bool tick(struct daemon *daemon, int fd) {
    uint64_t ticks;
    if (read(fd, &ticks, sizeof(ticks)) < 0) {
        return false;
    }
    notify_alive();
    atomic_store(&daemon->ticked_boot_us, clock_boot_us());
    pipeline_tick(daemon->rooms.pipeline);
    watch_limits(daemon);
    if (daemon->with_live) {
        live_line(&daemon->live, &daemon->rooms);
    }
    return daemon->end_boot_us && clock_boot_us() >= daemon->end_boot_us;
}

static int loop(struct daemon *daemon, struct err *err) {
    CLEANUP(fd_close_at) int signals = open_signals(err);
    if (signals < 0) {
        return signals;
    }
    CLEANUP(fd_close_at) int timer = open_tick(err);
    if (timer < 0) {
        return timer;
    }
    atomic_store(&daemon->ticked_boot_us, clock_boot_us());
    notify_ready();
    for (;;) {
        struct pollfd pollers[] = {{.fd = signals, .events = POLLIN},
                                   {.fd = timer, .events = POLLIN}};
        if (poll(pollers, 2, -1) < 0 && errno != EINTR) {
            return err_sys(err, errno, "cannot wait");
        }
        bool end = (pollers[0].revents && handle_signal(daemon, signals)) ||
                   (pollers[1].revents && tick(daemon, timer));
        if (end) {
            return 0;
        }
    }
}

/* ---- stop ---- */

static void stop(struct daemon *daemon, bool ended_well) {
    struct rooms *rooms = &daemon->rooms;
    notify_stopping();
    if (rooms->pipeline) {
        pipeline_drain(rooms->pipeline);
    }
    if (ended_well && daemon->with_live) {
        live_wait_uploads(rooms, LIVE_DRAIN_MS);
        live_summary(&daemon->live, rooms);
    }
    control_stop(daemon->control);
    store_reader_close(daemon->control_rooms.reader);
    webui_stop(rooms->webui);
    pipeline_stop(rooms->pipeline);
    if (rooms->sync) {
        sync_stop(rooms->sync, SYNC_STOP_MS);
    }
    store_reader_close(rooms->reader);
    if (rooms->store) {
        store_close(rooms->store);
    }
    config_destroy(daemon->latest);
    config_destroy(daemon->config);
}

static int parse_seconds(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long seconds = strtol(text, &end, 10);
    if (errno || end == text || *end || seconds < 1 || seconds > SECONDS_MAX) {
        fprintf(stderr, "creel: --seconds takes a whole number from 1 to %ld, not \"%s\"\n",
                SECONDS_MAX, text);
        return EXIT_USAGE;
    }
    *out = (int64_t)seconds * 1000000;
    return EXIT_OK;
}

int cmd_run(int argc, char **argv) {
    struct daemon daemon = {0};
    const char *seconds = NULL;
    const struct option_spec own[] = {{"live", &daemon.with_live, NULL},
                                      {"seconds", NULL, &seconds}};
    bool done;
    int status =
        options_parse(argc, argv, usage, own, ARRAY_LENGTH(own), 0, 0, &daemon.options, &done);
    if (done) {
        return status;
    }
    int64_t run_us = 0;
    if (seconds && (status = parse_seconds(seconds, &run_us)) != EXIT_OK) {
        return status;
    }
    struct err err = {0};
    if (options_config(&daemon.options, true, &daemon.config, &err)) {
        return commands_fail(&err);
    }
    daemon.values = config_values(daemon.config);
    forbid_core();
    apply_level(daemon.values);
    clock_trust(daemon.values->clock_trusted);
    block_signals();
    int code = start(&daemon, &err);
    if (!code) {
        announce(&daemon);
        live_start(&daemon.live, &daemon.rooms);
        daemon.end_boot_us = run_us ? clock_boot_us() + run_us : 0;
        code = loop(&daemon, &err);
    }
    stop(&daemon, !code);
    return code ? commands_fail(&err) : EXIT_OK;
}
