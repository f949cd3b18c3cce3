/* The demo source: a rendered loading dock as a live camera, for people who have none at hand.
 *
 * The schedule is absolute: tick n is due n periods after the start, so that a slow frame delays no
 * later one and errors do not add up; ticks that are already over are left out. The scene is a pure
 * function of the frame number, and the number of tick 0 comes from UTC: a restart goes on where
 * the yard would be by now instead of sending the same frames again.
 */
#include "inference/source_kinds.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/demo/scene.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

#define WIDTH       640
#define HEIGHT      360
#define QUALITY     85
#define FPS_DEFAULT 5.0
#define FPS_MAX     60.0
#define LOG_GATE_MS 60000
#define RGB_BYTES   ((size_t)WIDTH * HEIGHT * 3)

struct demo {
    struct source__host *host;
    struct scene *scene; /* owned */
    uint8_t *rgb;        /* owned, RGB_BYTES */
    tjhandle jpeg;       /* owned */
    struct log_gate gate;
};

static bool parse_seed(const char *text, uint64_t *out) {
    if (!text[0] || text[strspn(text, "0123456789")]) {
        return false;
    }
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return errno == 0;
}

static int demo_check(const struct source_config *config, const char *rest, struct err *err) {
    uint64_t seed;

    if (rest[0] && !parse_seed(rest, &seed)) {
        return err_set(err, ERR_CONFIG,
                       "camera %s: source 'demo:%.40s': after 'demo:' comes nothing or a whole "
                       "number, the seed of the world that is rendered",
                       config->name, rest);
    }
    if (config->fps > FPS_MAX) {
        return err_set(err, ERR_CONFIG, "camera %s: fps is %g: a demo source makes at most %g",
                       config->name, config->fps, FPS_MAX);
    }
    return 0;
}

static void demo_close(void *kind) {
    struct demo *self = kind;

    if (!self) {
        return;
    }
    scene_destroy(self->scene);
    if (self->jpeg) {
        tjDestroy(self->jpeg);
    }
    free(self->rgb);
    free(self);
}

static void demo_close_at(struct demo **self) {
    demo_close(*self);
}

static int demo_open(struct source__host *host, void **out, struct err *err) {
    struct scene_config world = {
        .seed = host->config.seed, .width = WIDTH, .height = HEIGHT, .mode = SCENE_LIVE};
    CLEANUP(demo_close_at) struct demo *self = mem_alloc(sizeof *self);

    if (host->rest[0]) {
        parse_seed(host->rest, &world.seed); /* checked by demo_check */
    }
    if (!self || !(self->rgb = mem_alloc(RGB_BYTES)) || !(self->jpeg = tjInitCompress())) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory for a picture", host->config.name);
    }
    int code = scene_create(&world, &self->scene);
    if (code) {
        return err_sys(err, -code, "camera %s: cannot set up the scene", host->config.name);
    }
    self->host = host;
    *out = TAKE_PTR(self);
    return 0;
}

/* Into malloc'd memory of the right size: a frame frees its blob with free(). */
static int encode(struct demo *self, uint8_t **out, size_t *size, struct err *err) {
    unsigned long len = tjBufSize(WIDTH, HEIGHT, TJSAMP_420);
    CLEANUP(mem_free_at) unsigned char *bytes = mem_alloc(len);

    if (!bytes) {
        return err_set(err, ERR_NOMEM, "no memory for a picture");
    }
    if (tjCompress2(self->jpeg, self->rgb, WIDTH, 0, HEIGHT, TJPF_RGB, &bytes, &len, TJSAMP_420,
                    QUALITY, TJFLAG_NOREALLOC)) {
        return err_set(err, ERR_INVALID, "JPEG: %s", tjGetErrorStr2(self->jpeg));
    }
    unsigned char *fitted = mem_resize(bytes, len, 1);
    if (fitted) {
        bytes = fitted;
    }
    *out = TAKE_PTR(bytes);
    *size = len;
    return 0;
}

static int make_frame(struct demo *self, uint64_t number, struct frame **out, struct err *err) {
    uint8_t *blob = NULL;
    size_t size = 0;

    scene_render(self->scene, number, self->rgb, NULL);
    int code = encode(self, &blob, &size, err);
    if (!code) {
        code = frame_create(self->host->config.name, blob, size, out, err);
    }
    if (!code) {
        (*out)->live = true;
    }
    return code;
}

static void send_frame(struct demo *self, uint64_t number) {
    struct frame *frame;
    struct err err;
    uint64_t missed;

    if (!make_frame(self, number, &frame, &err)) {
        source__submit(self->host, frame);
        return;
    }
    source__failed(self->host, &err);
    if (log_gate_open(&self->gate, LOG_GATE_MS, &missed)) {
        log_err(LOG_LEVEL_WARN, "demo frame lost", &err);
    }
}

static void demo_run(void *kind) {
    struct demo *self = kind;
    struct source__host *host = self->host;
    double fps = host->config.fps > 0 ? host->config.fps : FPS_DEFAULT;
    double period_us = 1e6 / fps;
    uint64_t first = (uint64_t)((double)clock_utc_us() / period_us);
    int64_t start = clock_boot_us();
    uint64_t tick = 0;

    while (source__phase(host) == SOURCE__RUN) {
        int64_t due = start + (int64_t)((double)tick * period_us);
        int64_t late = clock_boot_us() - due;
        if (late < 0) {
            source__wait(host, -1, due);
            continue;
        }
        tick +=
            (uint64_t)((double)late / period_us); /* what is over by a whole period is left out */
        send_frame(self, first + tick);
        tick++;
    }
    while (source__phase(host) != SOURCE__STOP) {
        source__wait(host, -1, -1);
    }
}

const struct source_ops source__demo = {
    .scheme = "demo:",
    .form = "'demo:' or 'demo:SEED' (rendered scenes)",
    .check = demo_check,
    .open = demo_open,
    .run = demo_run,
    .close = demo_close,
};
