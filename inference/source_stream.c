/* Cameras and videos: a capture process, kept alive from the thread of its source.
 *
 * States: closed (outside its schedule) -> waiting (for the next try) -> running (a process) ->
 * waiting ...; done (a video that has been played to its end).
 *
 * Invariants: 1. One process is one connection: whatever goes wrong (the camera ends, sends
 * garbage, goes silent, never ends its headers; the process dies or lies) is the end of that
 * process, and of nothing else. 2. Only a picture, or the word that pictures come, moves the
 * deadline; the daemon enforces it with SIGKILL, so that no state of the process can hold the
 * camera. 3. Between two tries lies a wait that doubles, with jitter, so that fifty cameras behind
 * one switch do not come back at once. 4. No text that leaves this file holds the address
 * unredacted.
 *
 * Rejected: to reconnect inside the process, which would have to be trusted to give up, and whose
 * sandbox would have to let it begin anew.
 */
#include "inference/source_kinds.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/capture_child.h"
#include "inference/schedule.h"
#include "inference/source_retry.h"
#include "inference/source_url.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US       INT64_C(1000000)
#define LAUNCH_US       (5 * SECOND_US) /* until a process has read its libraries and sealed itself */
#define GRACE_US        SECOND_US       /* its own deadline comes first, with the better message */
#define LOOK_US         (5 * SECOND_US) /* how often the schedule is looked at */
#define RETRY_FIRST_US  SECOND_US
#define RETRY_MOST_US   (60 * SECOND_US)
#define STEADY_US       (30 * SECOND_US) /* a connection that lasted so long starts the waits anew */
#define CAPTURE_MEMORY  (UINT64_C(1536) << 20)
#define LOG_GATE_MS     60000
#define FPS_MAX         240.0
#define SIDE_MAX        65500u
#define PATH_SIZE       4096
#define TIMEOUT_MOST_MS 3600000
#define RATE_SLACK      1.25 /* clocks differ, and pictures come in bunches: */
#define RATE_BUNCH_S    2.0  /* so many seconds' worth at once */

struct row {
    enum capture_source source;
    const char *prefix; /* of the address, before the rest; "": the rest alone */
};

/* In the order of source__streams. */
static const struct row rows[] = {
    {CAPTURE_FILE, ""},         {CAPTURE_RTSP, "rtsp://"},  {CAPTURE_RTSP, "rtsps://"},
    {CAPTURE_RTMP, "rtmp://"},  {CAPTURE_RTMP, "rtmps://"}, {CAPTURE_HTTP, "http://"},
    {CAPTURE_HTTP, "https://"}, {CAPTURE_SNAPSHOT, ""},     {CAPTURE_DEVICE, ""},
};

struct stream {
    struct source__host *host;
    struct source__url url;
    struct schedule schedule;
    struct capture_start start;
    char program[PATH_SIZE];
    struct capture_child child;
    bool running, done, lost; /* lost: it was said that the camera is */
    uint64_t pictures;        /* of this process */
    int64_t began_us, deadline_us, due_us;
    double credit;     /* frames that may be handed over now */
    int64_t credit_us; /* when it was last reckoned */
    unsigned failures; /* in a row */
    struct log_gate gate;
};

/* ---- checking ---- */

static bool begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static const struct row *row_of(const char *source) {
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (begins(source, source__streams[i].scheme)) {
            return &rows[i];
        }
    }
    return NULL;
}

static int size_parse(const char *text, uint32_t *width, uint32_t *height, struct err *err) {
    int used = 0;
    *width = *height = 0;
    if (text == NULL) {
        return 0;
    }
    if (sscanf(text, "%5ux%5u%n", width, height, &used) != 2 || text[used] != '\0' || *width < 16 ||
        *height < 16 || *width > SIDE_MAX || *height > SIDE_MAX) {
        return err_set(err, ERR_CONFIG, "size '%.20s': expected width and height such as 1280x720",
                       text);
    }
    return 0;
}

static int place_check(const struct source_config *config, enum capture_source source,
                       const char *rest, struct err *err) {
    if (source == CAPTURE_FILE && rest[0] != '/') {
        return err_set(err, ERR_CONFIG, "after 'video:' comes the absolute path of a file");
    }
    if (source == CAPTURE_DEVICE && !begins(rest, "/dev/")) {
        return err_set(err, ERR_CONFIG, "after 'v4l2:' comes a device such as /dev/video0");
    }
    if (source == CAPTURE_SNAPSHOT && !begins(rest, "http://") && !begins(rest, "https://")) {
        return err_set(err, ERR_CONFIG,
                       "after 'snapshot:' comes an address with http:// or "
                       "https://");
    }
    if (begins(config->source, "rtsps://") && !config->tls_any) {
        return err_set(err, ERR_CONFIG,
                       "rtsps:// is encrypted, but FFmpeg's library does not check whose "
                       "certificate it is; set tls: any to accept that");
    }
    if (config->loop && source != CAPTURE_FILE) {
        return err_set(err, ERR_CONFIG, "loop is for 'video:'");
    }
    if (config->rtmp == SOURCE_RTMP_LISTEN && !begins(config->source, "rtmp://")) {
        return err_set(err, ERR_CONFIG, "rtmp: listen is for 'rtmp://'");
    }
    return 0;
}

static int numbers_check(const struct source_config *config, struct err *err) {
    if (config->fps > FPS_MAX) {
        return err_set(err, ERR_CONFIG, "fps is %g: at most %g", config->fps, FPS_MAX);
    }
    if (!(config->motion >= 0 && config->motion <= 1)) {
        return err_set(err, ERR_CONFIG, "motion is %g: a share of the picture, 0 to 1",
                       config->motion);
    }
    if (config->timeout_ms < 0 || config->timeout_ms > TIMEOUT_MOST_MS) {
        return err_set(err, ERR_CONFIG, "timeout is %d ms: at most an hour", config->timeout_ms);
    }
    return 0;
}

/* Everything that the configuration says, as the process will get it. */
static int plan(const struct source_config *config, struct stream *out, struct err *err) {
    const struct row *row = row_of(config->source);
    const char *rest = strchr(config->source, ':') + 1;
    const char *address = row->prefix[0] != '\0' ? config->source : rest;
    struct capture_start *start = &out->start;
    int code = place_check(config, row->source, rest, err);
    code = code != 0 ? code : numbers_check(config, err);
    code = code != 0 ? code
                     : source__url_parse(address, config->user, config->password, &out->url, err);
    code = code != 0 ? code : schedule_parse(config->schedule, &out->schedule, err);
    code = code != 0 ? code : size_parse(config->size, &start->width, &start->height, err);
    if (code != 0) {
        return code;
    }
    start->version = CAPTURE_PROTOCOL_VERSION;
    start->kind = CAPTURE_START;
    start->source = config->rtmp == SOURCE_RTMP_LISTEN ? CAPTURE_LISTEN : row->source;
    start->timeout_ms =
        (uint32_t)(config->timeout_ms != 0 ? config->timeout_ms : SOURCE_TIMEOUT_MS);
    start->loop = config->loop;
    start->tls_verify = !config->tls_any;
    start->fps = config->fps;
    start->motion = config->motion;
    start->memory_bytes = CAPTURE_MEMORY;
    memcpy(start->url, out->url.plain, sizeof(start->url));
    memcpy(start->user, out->url.user, sizeof(start->user));
    memcpy(start->password, out->url.password, sizeof(start->password));
    return 0;
}

static int stream_check(const struct source_config *config, const char *rest, struct err *err) {
    (void)rest;
#if defined(HAVE_FFMPEG)
    CLEANUP(mem_free_at) struct stream *planned = mem_alloc(sizeof(*planned));
    if (planned == NULL) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory", config->name);
    }
    int code = plan(config, planned, err);
    if (code != 0) {
        err_wrap(err, "camera %s", config->name);
    }
    return code;
#else
    return err_set(err, ERR_CONFIG,
                   "camera %s: '%.*s' is opened by FFmpeg's libraries, and this creel was built "
                   "without them; 'directory:' and /score work",
                   config->name, (int)strcspn(config->source, ":") + 1, config->source);
#endif
}

/* ---- life ---- */

static int stream_open(struct source__host *host, void **out, struct err *err) {
    CLEANUP(mem_free_at) struct stream *self = mem_alloc(sizeof(*self));
    if (self == NULL) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory", host->config.name);
    }
    self->host = host;
    self->child = (struct capture_child)CAPTURE_CHILD_NONE;
    int code = plan(&host->config, self, err);
    if (code != 0) {
        return code;
    }
    if (host->config.capture_path != NULL) {
        snprintf(self->program, sizeof(self->program), "%s", host->config.capture_path);
    } else if (!process_find("creel-capture", self->program, sizeof(self->program))) {
        return err_set(err, ERR_NOT_FOUND,
                       "camera %s: the program creel-capture is neither beside this program nor "
                       "in %s",
                       host->config.name, process_libexec());
    }
    *out = TAKE_PTR(self);
    return 0;
}

static void stream_close(void *kind) {
    struct stream *self = kind;
    if (self != NULL) {
        capture_child_end(&self->child);
        free(self);
    }
}

static int video_open(const struct stream *self, struct err *err) {
    CLEANUP(fd_close_at) int fd = open(self->start.url, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        return err_sys(err, errno, "opening %s", self->start.url);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, ERR_INVALID, "%s is no file", self->start.url);
    }
    return TAKE_FD(fd);
}

/* How long it may be silent. A still picture comes only when its time has come. */
static int64_t patience_us(const struct stream *self) {
    double fps = self->start.fps > 0 ? self->start.fps : 1;
    int64_t period_us = self->start.source == CAPTURE_SNAPSHOT ? (int64_t)(1e6 / fps) : 0;
    return (int64_t)self->start.timeout_ms * 1000 + period_us + GRACE_US;
}

static int begin(struct stream *self, struct err *err) {
    CLEANUP(fd_close_at) int video = -1;
    if (self->start.source == CAPTURE_FILE) {
        video = video_open(self, err);
        if (video < 0) {
            return video;
        }
    }
    int code =
        capture_child_start(self->program, &self->start, video, &self->url, &self->child, err);
    if (code != 0) {
        return code;
    }
    self->running = true;
    self->pictures = 0;
    self->began_us = clock_boot_us();
    self->deadline_us = self->began_us + patience_us(self) + LAUNCH_US;
    return 0;
}

static void end(struct stream *self) {
    capture_child_end(&self->child);
    self->running = false;
}

/* Between a half and all of the wait, so that cameras lost together do not return together. */
static int64_t jittered(int64_t wait_us) {
    uint32_t dice = 0;
    if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) != (ssize_t)sizeof(dice)) {
        dice = (uint32_t)clock_boot_us();
    }
    return wait_us / 2 + (int64_t)((double)(wait_us / 2) * dice / UINT32_MAX);
}

/* Ends the process and plans the next. */
static void lose(struct stream *self, struct err *err) {
    int64_t now = clock_boot_us();
    bool steady = self->running && self->pictures > 0 && now - self->began_us >= STEADY_US;
    uint64_t missed;
    end(self);
    self->failures = steady ? 0 : self->failures;
    int64_t wait_us = jittered(source__backoff(RETRY_FIRST_US, self->failures, RETRY_MOST_US));
    self->failures++;
    self->due_us = now + wait_us;
    source__failed(self->host, err);
    if (log_gate_open(&self->gate, LOG_GATE_MS, &missed)) {
        char why[2 * ERR_TEXT_MAX];
        log_warn("camera lost", "camera=%s reason=\"%s\" next_try_ms=%lld not_logged_before=%llu",
                 self->host->config.name, err_text(err, why, sizeof(why)),
                 (long long)(wait_us / 1000), (unsigned long long)missed);
    }
    self->lost = true;
}

/* ---- events ---- */

static void found(struct stream *self) {
    char shown[CAPTURE_URL_SIZE];
    self->gate = (struct log_gate){0};
    if (self->lost) {
        log_info("camera is back", "camera=%s", self->host->config.name);
    } else {
        log_info("camera connected", "camera=%s source=%s sandbox=%u", self->host->config.name,
                 source_redact(self->host->config.source, shown, sizeof(shown)),
                 self->child.sandbox);
    }
    self->lost = false;
}

/* Whether a live camera has a frame's worth of credit, and takes it. */
static bool credit_take(struct stream *self) {
    double fps = self->start.fps > 0 ? self->start.fps : FPS_MAX;
    double most = 1 + fps * RATE_BUNCH_S;
    int64_t now = clock_boot_us();
    self->credit += (double)(now - self->credit_us) / 1e6 * fps * RATE_SLACK;
    self->credit = self->credit < most ? self->credit : most;
    self->credit_us = now;
    if (self->credit < 1) {
        return false;
    }
    self->credit -= 1;
    return true;
}

static void picture(struct stream *self, struct frame *frame) {
    frame->live = self->start.source != CAPTURE_FILE || self->start.loop;
    if (self->pictures++ == 0) {
        found(self);
    }
    if (frame->live && !credit_take(self)) {
        source__skipped(self->host);
        frame_destroy(frame);
        return;
    }
    source__submit(self->host, frame);
}

static void note(struct stream *self, const struct capture_event *event) {
    bool waits = event->note_kind == CAPTURE_READY && self->start.source == CAPTURE_LISTEN;
    self->deadline_us = waits ? INT64_MAX : clock_boot_us() + patience_us(self);
    if (event->note_kind == CAPTURE_READY) {
        log_debug("capture ready", "camera=%s pid=%d sandbox=%u", self->host->config.name,
                  (int)self->child.process.pid, event->value);
    }
}

/* False: nothing more now, or the process has been ended. */
static bool take(struct stream *self) {
    struct capture_event event;
    struct err err = {0};
    if (capture_child_next(&self->child, self->host->config.name, &event, &err) != 0) {
        lose(self, &err);
        return false;
    }
    switch (event.kind) {
    case CAPTURE_EVENT_NOTE:
        note(self, &event);
        return true;
    case CAPTURE_EVENT_FRAME:
        picture(self, event.frame);
        self->deadline_us = clock_boot_us() + patience_us(self);
        return true;
    case CAPTURE_EVENT_END:
        if (self->start.source == CAPTURE_FILE && event.value == 1) {
            log_info("video ended", "camera=%s pictures=%llu", self->host->config.name,
                     (unsigned long long)self->pictures);
            self->done = true;
            end(self);
        } else {
            const char *said = self->child.process.last;
            err_set(&err, ERR_NET, "%s%s%s", event.text[0] != '\0' ? event.text : "it ended",
                    said[0] != '\0' ? "; " : "", said);
            lose(self, &err);
        }
        return false;
    default:
        return false;
    }
}

static void run_process(struct stream *self) {
    int64_t limit = self->deadline_us;
    if (self->schedule.count > 0 && limit > clock_boot_us() + LOOK_US) {
        limit = clock_boot_us() + LOOK_US;
    }
    source__wait(self->host, self->child.poll_fd, limit == INT64_MAX ? -1 : limit);
    while (source__phase(self->host) == SOURCE__RUN && take(self)) {
    }
    if (self->running && clock_boot_us() >= self->deadline_us) {
        struct err err = {0};
        err_set(&err, ERR_TIMEOUT, "no picture for %u ms", self->start.timeout_ms);
        lose(self, &err);
    }
}

static void step(struct stream *self) {
    struct err err = {0};
    if (self->done) {
        source__wait(self->host, -1, -1);
    } else if (!schedule_open_at(&self->schedule, clock_utc_us())) {
        end(self);
        self->failures = 0;
        self->due_us = 0;
        source__wait(self->host, -1, clock_boot_us() + LOOK_US);
    } else if (self->running) {
        run_process(self);
    } else if (clock_boot_us() < self->due_us) {
        source__wait(self->host, -1, self->due_us);
    } else if (begin(self, &err) != 0) {
        lose(self, &err);
    }
}

static void stream_run(void *kind) {
    struct stream *self = kind;
    while (source__phase(self->host) == SOURCE__RUN) {
        step(self);
    }
    end(self);
    while (source__phase(self->host) != SOURCE__STOP) {
        source__wait(self->host, -1, -1);
    }
}

#define STREAM(scheme_, form_)                                                                     \
    {                                                                                              \
        .scheme = (scheme_), .form = (form_), .captures = true, .check = stream_check,             \
        .open = stream_open, .run = stream_run, .close = stream_close                              \
    }

const struct source_ops source__streams[SOURCE__STREAMS] = {
    STREAM("video:", "'video:PATH'"),
    STREAM("rtsp://", "'rtsp://HOST/PATH'"),
    STREAM("rtsps://", NULL),
    STREAM("rtmp://", "'rtmp://HOST/APP/NAME'"),
    STREAM("rtmps://", NULL),
    STREAM("http://", "'http://HOST/STREAM'"),
    STREAM("https://", NULL),
    STREAM("snapshot:", "'snapshot:http://HOST/PICTURE'"),
    STREAM("v4l2:", "'v4l2:/dev/video0'"),
};
