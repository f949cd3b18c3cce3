/* creel-worker-cpu: looks at frames for the daemon, with as few rights as that needs.
 *
 * Started by inference/detector.c with the descriptors of worker_protocol.h and nothing else: no
 * arguments that matter, an almost empty environment. States: started -> (WORKER_START) limits,
 * model, one run on grey, seal -> READY -> RUN, DONE, RUN, DONE ... -> end of file. A failure
 * before READY is told once (WORKER_FAILED); later ones are told in the result or are the end of
 * the process: the parent starts another.
 *
 * Its role (worker_protocol.h) says what of that it does: all; only what comes before the network;
 * or only the network, on batches.
 *
 * Invariants: 1. A stranger's byte is read only after sandbox_seal. 2. The input is mapped
 * read-only, and copied nowhere before the decoder. 3. Every result is written whole before DONE is
 * sent. 4. SIGTERM and SIGINT are ignored, because systemd and terminals send them to the whole
 * group: the parent decides when it is over. 5. A frame that takes alarm_s ends the process even
 * when the parent is gone (the parent's death alone is seen as end of file; a death signal would
 * follow the thread that started the process, not the daemon). */
#include "daemon/base/err.h"
#include "daemon/base/mem.h"
#include "inference/boxes.h"
#include "inference/image_decode.h"
#include "inference/image_raw.h"
#include "inference/image_resize.h"
#include "inference/image_rows.h"
#include "inference/image_summary.h"
#include "inference/image_view.h"
#include "inference/worker/net.h"
#include "inference/worker/sandbox.h"
#include "inference/worker_protocol.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The library takes names of files; these are WORKER_FD_CFG and WORKER_FD_WEIGHTS. */
#define MODEL_CFG     "/proc/self/fd/6"
#define MODEL_WEIGHTS "/proc/self/fd/7"

enum { PICTURE_QUALITY = 90 }; /* of a frame that is not stored as it came */

/* What a network's input was made of. */
struct seen {
    const struct view *view;   /* NULL: none */
    uint32_t width, height;    /* pixels as they came to us: maybe scaled */
    struct view_window window; /* what the network sees of them */
    struct image_fit fit;      /* where that lies in its input */
};

struct worker {
    struct worker_start start;
    const uint8_t *input;              /* worker_input_size bytes */
    struct worker_result *result;      /* in the output memfd, the thumbnail behind it */
    float *planar;                     /* the network's input, or a batch of them */
    struct image_pixels pixels, spare; /* spare: of image_turn */
    bool stored_so;                    /* the frame may be stored as it came */
    struct image_resizer *resizer;
    struct image_shrinker *shrinker;
    struct seen seen; /* of the frame at hand */
    struct boxes *boxes;
    uint32_t sandbox;
};

static bool message_send(const void *message, size_t size) {
    ssize_t sent;
    do {
        sent = send(WORKER_FD_SOCKET, message, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)size;
}

/* False at the end of file, and for anything that is not a message of this kind and size. */
static bool message_get(void *message, size_t size, uint32_t kind) {
    ssize_t got;
    do {
        got = recv(WORKER_FD_SOCKET, message, size, MSG_TRUNC);
    } while (got < 0 && errno == EINTR);
    uint32_t head[2];
    if (got != (ssize_t)size) {
        return false;
    }
    memcpy(head, message, sizeof(head));
    return head[0] == WORKER_PROTOCOL_VERSION && head[1] == kind;
}

static void hello_send(uint32_t kind, uint32_t sandbox, const char *text) {
    struct worker_hello hello = {
        .version = WORKER_PROTOCOL_VERSION, .kind = kind, .sandbox = sandbox};
    snprintf(hello.backend, sizeof(hello.backend), "%s", net_backend());
    snprintf(hello.text, sizeof(hello.text), "%s", text);
    message_send(&hello, sizeof(hello));
}

static _Noreturn void fail(const char *text) {
    hello_send(WORKER_FAILED, 0, text);
    _exit(3);
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void alarm_set(uint32_t seconds) {
    struct itimerval timer = {.it_value = {.tv_sec = (time_t)seconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static int maps_open(struct worker *worker, struct err *err) {
    const struct worker_start *start = &worker->start;
    void *input = mmap(NULL, worker_input_size(start), PROT_READ, MAP_SHARED, WORKER_FD_INPUT, 0);
    void *output = mmap(NULL, worker_output_size(start), PROT_READ | PROT_WRITE, MAP_SHARED,
                        WORKER_FD_OUTPUT, 0);
    if (input == MAP_FAILED || output == MAP_FAILED) {
        return err_sys(err, errno, "mapping the shared memory");
    }
    worker->input = input;
    worker->result = output;
    return 0;
}

/* One run on an even grey: touches the memory, starts the library's threads, and shows weights that
 * are not numbers. */
static int warm_up(struct worker *worker, uint32_t batch, struct err *err) {
    size_t count = batch * worker_planar_count(&worker->start);
    for (size_t i = 0; i < count; i++) {
        worker->planar[i] = 0.5f;
    }
    int code = net_run(worker->planar, batch, err);
    if (code != 0) {
        return code;
    }
    const struct net_heads *heads = net_heads_of(batch - 1);
    for (size_t i = 0; code == 0 && i < heads->count; i++) {
        const struct boxes_head *head = &heads->items[i];
        count = boxes_head_values(head);
        for (size_t k = 0; code == 0 && k < count; k++) {
            if (!isfinite(head->output[k])) {
                code = err_set(err, ERR_INVALID,
                               "the network gives values that are not numbers; are the weights "
                               "those of this cfg?");
            }
        }
    }
    return code;
}

/* What decoding needs; a worker that prepares leaves the network's input where the parent reads
 * it. */
static int eye_make(struct worker *worker, struct err *err) {
    const struct worker_start *start = &worker->start;
    worker->resizer = image_resizer_create(start->input_width, start->input_height);
    worker->shrinker = image_shrinker_create(start->thumb_width);
    if (start->role == WORKER_PREPARES) {
        worker->planar = (float *)(void *)((uint8_t *)worker->result + WORKER_PLANAR_AT);
    }
    return worker->resizer != NULL && worker->shrinker != NULL
               ? 0
               : err_set(err, ERR_NOMEM, "no memory to look at pictures");
}

static int network_make(struct worker *worker, struct err *err) {
    const struct worker_start *start = &worker->start;
    uint32_t batch = start->role == WORKER_NETWORK ? start->batch : 1;
    if (batch == 0 || batch > WORKER_BATCH_MAX) {
        return err_set(err, ERR_INVALID, "a batch of %u; expected 1 to %d", batch,
                       WORKER_BATCH_MAX);
    }
    int code = net_load(MODEL_CFG, MODEL_WEIGHTS, start, err);
    if (code != 0) {
        return code;
    }
    worker->planar = mem_array(batch * worker_planar_count(start), sizeof(float));
    worker->boxes = boxes_create();
    if (worker->planar == NULL || worker->boxes == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the network's input");
    }
    return warm_up(worker, batch, err);
}

static int set_up(struct worker *worker, struct err *err) {
    const struct worker_start *start = &worker->start;
    int code = maps_open(worker, err);
    if (code == 0) {
        code = sandbox_limits(start->memory_bytes, err);
    }
    if (code == 0 && start->role != WORKER_PREPARES) {
        code = network_make(worker, err);
    }
    if (code == 0 && start->role != WORKER_NETWORK) {
        code = eye_make(worker, err);
    }
    close(WORKER_FD_CFG);
    close(WORKER_FD_WEIGHTS);
    if (code != 0) {
        return code;
    }
    return strcmp(start->device, "cpu") == 0 ? sandbox_seal(&worker->sandbox, err)
                                             : sandbox_seal_gpu(&worker->sandbox, err);
}

/* Boxes relative to the window, as boxes of the picture. */
static void put_detections(const struct worker *worker, size_t count, const struct seen *seen,
                           struct worker_result *result) {
    const struct view *view = seen->view;
    const struct view_window *window = &seen->window;
    double width = seen->width, height = seen->height;
    for (size_t i = 0; i < count && result->detection_count < FRAME_DETECTIONS_MAX; i++) {
        const struct boxes_item *item = boxes_get(worker->boxes, i);
        struct frame_box box;
        if (!boxes_clip(item, &box)) {
            continue;
        }
        box = (struct frame_box){(window->x + box.x * window->width) / width,
                                 (window->y + box.y * window->height) / height,
                                 box.w * window->width / width, box.h * window->height / height};
        if (view == NULL || !view_mask_drops(&view->ignore, &box)) {
            result->detections[result->detection_count++] = (struct worker_detection){
                box.x, box.y, box.w, box.h, item->confidence, item->class_index};
        }
    }
}

/* Of the i-th input that the network has looked at. */
static void detect(struct worker *worker, size_t i, const struct seen *seen,
                   struct worker_result *result) {
    const struct net_heads *heads = net_heads_of(i);
    boxes_reset(worker->boxes);
    for (size_t h = 0; h < heads->count; h++) {
        boxes_collect(worker->boxes, &heads->items[h], &seen->fit, (float)worker->start.floor);
    }
    /* tags all have one box, and do not hide each other */
    bool tags = heads->items[0].kind == BOXES_TAGS;
    enum model_nms kind = tags ? MODEL_NMS_GREEDY : (enum model_nms)worker->start.nms_kind;
    size_t count = boxes_suppress(worker->boxes, kind, (float)worker->start.nms);
    put_detections(worker, count, seen, result);
}

static int summarise(struct worker *worker, struct worker_result *result, struct err *err) {
    struct image_summary summary;
    int code = image_shrinker_finish(worker->shrinker, &summary, err);
    if (code != 0) {
        return code;
    }
    result->phash = summary.phash;
    result->luma_mean = summary.quality.luma_mean;
    result->luma_stddev = summary.quality.luma_stddev;
    result->sharpness = summary.quality.sharpness;
    if (summary.thumb != NULL) {
        memcpy(result + 1, summary.thumb, summary.thumb_bytes);
        result->thumb_bytes = (uint32_t)summary.thumb_bytes;
    }
    image_summary_finish(&summary);
    return 0;
}

static int look(struct worker *worker, const struct worker_job *job, struct err *err) {
    if (job->size > FRAME_BLOB_MAX) {
        return err_set(err, ERR_INVALID, "the frame is larger than the shared memory");
    }
    if (job->format == FRAME_ENCODED) {
        return image_decode(worker->input, (size_t)job->size, &worker->pixels, err);
    }
    struct image_raw raw = {.format = (enum frame_format)job->format,
                            .width = job->width,
                            .height = job->height,
                            .bytes = worker->input};
    size_t size = frame_raw_size(raw.format, raw.width, raw.height);
    if (size == 0 || size != job->size) {
        return err_set(err, ERR_INVALID, "%llu bytes are no raw picture of %u x %u pixels",
                       (unsigned long long)job->size, job->width, job->height);
    }
    return image_raw_pixels(&raw, &worker->pixels, err);
}

/* Whether the picture is not stored as it came, even if it could be. */
static bool view_changes(const struct view *view) {
    return view != NULL && (view->quarters != 0 || view->privacy.count > 0);
}

/* What was decoded becomes what may be stored. */
static int view_apply(struct worker *worker, struct err *err) {
    struct image_pixels *pixels = &worker->pixels;
    const struct view *view = worker->seen.view;
    bool changes = view_changes(view);
    worker->stored_so = !changes && pixels->media != MEDIA_NONE;
    if (!worker->stored_so) {
        pixels->media = MEDIA_JPEG;
    }
    if (!changes) {
        return 0;
    }
    int code = image_turn(pixels, pixels->orientation, &worker->spare, err);
    if (code == 0) {
        code = image_turn(pixels, view_orientation(view), &worker->spare, err);
    }
    if (code == 0) {
        image_blacken(pixels, &view->privacy);
    }
    return code;
}

static int picture_put(struct worker *worker, struct err *err) {
    const struct image_pixels *pixels = &worker->pixels;
    CLEANUP(mem_free_at) uint8_t *jpeg = NULL;
    size_t size = 0;
    int code = image_encode(pixels->rgb, pixels->width, pixels->height, PICTURE_QUALITY, &jpeg,
                            &size, err);
    if (code == 0 && size > FRAME_BLOB_MAX) {
        code = err_set(err, ERR_INVALID, "the frame has %zu bytes as a JPEG; at most %u are kept",
                       size, FRAME_BLOB_MAX);
    }
    if (code == 0) {
        memcpy((uint8_t *)worker->result + WORKER_PICTURE_AT, jpeg, size);
        worker->result->picture_bytes = (uint32_t)size;
    }
    return code;
}

/* ---- one pass over the pixels: the network's input and the thumbnail ---- */

/* How small a picture may come: at least three times what the network takes of it, and no smaller
 * than the thumbnail. */
static void pass_least(void *ctx, uint32_t width, uint32_t height, uint32_t least[2]) {
    struct worker *worker = ctx;
    const struct worker_start *start = &worker->start;
    struct view_window window;
    struct image_fit fit;
    worker->pixels.width = least[0] = width;
    worker->pixels.height = least[1] = height;
    if (start->scaled == 0) {
        return;
    }
    view_window_make(worker->seen.view, width, height, &window);
    image_fit_make((enum model_resize)start->resize, window.width, window.height,
                   start->input_width, start->input_height, &fit);
    least[0] = (uint32_t)(3ull * fit.width * width / window.width);
    least[1] = (uint32_t)(3ull * fit.height * height / window.height);
    least[0] = least[0] < start->thumb_width ? start->thumb_width : least[0];
}

static int pass_begin(void *ctx, uint32_t width, uint32_t height, struct err *err) {
    struct worker *worker = ctx;
    worker->seen.width = width;
    worker->seen.height = height;
    view_window_make(worker->seen.view, width, height, &worker->seen.window);
    image_resizer_begin(worker->resizer, width, &worker->seen.window,
                        (enum model_resize)worker->start.resize, worker->planar, &worker->seen.fit);
    return image_shrinker_begin(worker->shrinker, width, height, err);
}

static void pass_take(void *ctx, const uint8_t *rgb, uint32_t count) {
    struct worker *worker = ctx;
    image_resizer_take(worker->resizer, rgb, count);
    image_shrinker_take(worker->shrinker, rgb, count);
}

/* A JPEG that is stored as it came, without a picture in memory. ERR_REFUSED: something else. */
static int pass_rows(struct worker *worker, const struct worker_job *job, struct err *err) {
    const struct image_rows rows = {worker, pass_least, pass_begin, pass_take};
    size_t size = (size_t)job->size;
    if (job->format != FRAME_ENCODED || job->size > FRAME_BLOB_MAX ||
        view_changes(worker->seen.view) || !image_is_jpeg(worker->input, size)) {
        return ERR_REFUSED;
    }
    worker->stored_so = true;
    worker->pixels.media = MEDIA_JPEG;
    worker->pixels.orientation = image_jpeg_orientation(worker->input, size);
    return image_rows_jpeg(worker->input, size, &rows, err);
}

static int pass_whole(struct worker *worker, const struct worker_job *job, struct err *err) {
    int code = look(worker, job, err);
    worker->stored_so = true;
    if (code == 0 && job->format == FRAME_ENCODED) {
        code = view_apply(worker, err);
    }
    if (code == 0) {
        code = pass_begin(worker, worker->pixels.width, worker->pixels.height, err);
    }
    if (code == 0) {
        pass_take(worker, worker->pixels.rgb, worker->pixels.height);
    }
    return code;
}

/* From bytes to everything that is told of them. */
static int examine(struct worker *worker, const struct worker_job *job, struct err *err) {
    struct worker_result *result = worker->result;
    worker->seen.view = job->has_view != 0 ? (const void *)(worker->input + WORKER_VIEW_AT) : NULL;
    int code = pass_rows(worker, job, err);
    if (code == ERR_REFUSED) {
        code = pass_whole(worker, job, err);
    }
    if (code != 0) {
        return code;
    }
    result->media = worker->pixels.media;
    result->width = worker->pixels.width;
    result->height = worker->pixels.height;
    result->orientation = worker->pixels.orientation;
    result->seen_width = worker->seen.width;
    result->seen_height = worker->seen.height;
    if (worker->start.role == WORKER_WHOLE) {
        code = net_run(worker->planar, 1, err);
        if (code != 0) {
            return code;
        }
        detect(worker, 0, &worker->seen, result);
    }
    code = summarise(worker, result, err);
    return code == 0 && !worker->stored_so ? picture_put(worker, err) : code;
}

static void run(struct worker *worker, struct worker_job *job) {
    struct worker_result *result = worker->result;
    struct err err = {0};
    double began = now_ms();
    memset(result, 0, sizeof(*result));
    result->generation = job->generation;
    int code = examine(worker, job, &err);
    if (code != 0) {
        char text[2 * ERR_TEXT_MAX];
        result->detection_count = 0;
        snprintf(result->text, sizeof(result->text), "%s", err_text(&err, text, sizeof(text)));
    }
    result->code = code;
    result->detect_ms = now_ms() - began;
}

/* ---- a batch of what other workers prepared ---- */

static void seen_make(const struct worker_start *start, const struct worker_item *item,
                      struct seen *seen) {
    seen->view = item->has_view != 0 ? &item->view : NULL;
    seen->width = item->seen_width;
    seen->height = item->seen_height;
    view_window_make(seen->view, seen->width, seen->height, &seen->window);
    image_fit_make((enum model_resize)start->resize, seen->window.width, seen->window.height,
                   start->input_width, start->input_height, &seen->fit);
}

/* False: not a question of this protocol, or the network does not run. */
static bool batch_run(struct worker *worker, const struct worker_job *job) {
    const struct worker_start *start = &worker->start;
    const struct worker_item *items = (const void *)worker->input;
    size_t values = worker_planar_count(start), count = 0;
    uint32_t which[WORKER_BATCH_MAX];
    struct err err = {0};
    double began = now_ms();
    for (uint32_t i = 0; job->slot <= start->batch && i < start->batch; i++) {
        if ((job->size >> i & 1) != 0) {
            memcpy(worker->planar + count * values,
                   worker->input + worker_planar_at(start, job->slot + i), values * sizeof(float));
            which[count++] = i;
        }
    }
    if (net_run(worker->planar, count, &err) != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return false;
    }
    for (size_t k = 0; k < count; k++) {
        struct worker_result *result = worker->result + which[k];
        struct seen seen;
        memset(result, 0, sizeof(*result));
        seen_make(start, &items[job->slot + which[k]], &seen);
        detect(worker, k, &seen, result);
        result->generation = job->generation;
        result->detect_ms = now_ms() - began;
    }
    return true;
}

static void batches_serve(struct worker *worker) {
    struct worker_job job;
    while (message_get(&job, sizeof(job), WORKER_RUN)) {
        alarm_set(worker->start.alarm_s);
        bool well = batch_run(worker, &job);
        alarm_set(0);
        job.kind = WORKER_DONE;
        if (!well || !message_send(&job, sizeof(job))) {
            return;
        }
    }
}

static void serve(struct worker *worker) {
    struct worker_job job;
    while (message_get(&job, sizeof(job), WORKER_RUN)) {
        alarm_set(worker->start.alarm_s);
        run(worker, &job);
        alarm_set(0);
        job.kind = WORKER_DONE;
        job.size = sizeof(struct worker_result) + worker->result->thumb_bytes;
        if (!message_send(&job, sizeof(job))) {
            return;
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--backend") == 0) {
        puts(net_backend());
        return 0;
    }
    struct worker worker = {0};
    struct err err = {0};
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (!message_get(&worker.start, sizeof(worker.start), WORKER_START)) {
        fputs("creel-worker is started by creel; it has no other use.\n"
              "usage: creel-worker --backend\n",
              stderr);
        return 2;
    }
    net_fatal_set(fail);
    if (set_up(&worker, &err) != 0) {
        char text[2 * ERR_TEXT_MAX];
        fail(err_text(&err, text, sizeof(text)));
    }
    hello_send(WORKER_READY, worker.sandbox, "");
    if (worker.start.role == WORKER_NETWORK) {
        batches_serve(&worker);
    } else {
        serve(&worker);
    }
    _exit(0); /* the end of the process frees the network better than the library does */
}
