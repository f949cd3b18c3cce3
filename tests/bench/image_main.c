/* bench-image: from a JPEG's bytes to the verdict on it, beside what that cannot be cheaper than.
 *
 *   bench-image [--model DIR] [--size WIDTHxHEIGHT] [--quality N] [--rounds N] [--json FILE]
 *
 * In each round, one after the other: libjpeg-turbo's full decode alone, the network alone, creel's
 * steps one by one in this process, all of them in a row, and the same through a worker process
 * (shared memory and both ways of the socket included). It is no test: nothing passes or fails by a
 * time. tests/bench/image.sh builds and runs it. */
#include "daemon/base/mem.h"
#include "inference/boxes.h"
#include "inference/demo/scene.h"
#include "inference/image_decode.h"
#include "inference/image_resize.h"
#include "inference/image_rows.h"
#include "inference/image_summary.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include "inference/worker/net.h"
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <turbojpeg.h>

#define FLOOR 0.05f

enum { ROUNDS = 41, ROUNDS_MAX = 1001, THUMB_WIDTH = 320, WARM_UP = 3, SEED = 7, SCENE = 3 };

static const char usage[] = "usage: bench-image [--model DIR] [--size WIDTHxHEIGHT] [--quality N]"
                            " [--rounds N] [--json FILE]\n";

enum step {
    STEP_TURBO,    /* libjpeg-turbo alone, full size, RGB */
    STEP_NETWORK,  /* the network alone */
    STEP_DECODE,   /* creel's decoding, with its checks */
    STEP_RESIZE,   /* pixels to the network's input */
    STEP_BOXES,    /* the network's output to boxes */
    STEP_SUMMARY,  /* thumbnail, perceptual hash, quality */
    STEP_PASS,     /* decode, network's input and summary in one pass: what a worker does */
    STEP_VERDICT,  /* that, network and boxes */
    STEP_DETECTOR, /* the same through a worker process */
    STEP_SCALED,   /* likewise, with inference.decode: scaled */
    STEP_COUNT
};

static const char *const names[STEP_COUNT] = {
    [STEP_TURBO] = "libjpeg-turbo, full decode",
    [STEP_NETWORK] = "network",
    [STEP_DECODE] = "creel: decode",
    [STEP_RESIZE] = "creel: network's input",
    [STEP_BOXES] = "creel: boxes",
    [STEP_SUMMARY] = "creel: thumbnail, hash, quality",
    [STEP_PASS] = "creel: these but boxes, in one pass",
    [STEP_VERDICT] = "bytes to verdict, in one process",
    [STEP_DETECTOR] = "bytes to verdict, through a worker",
    [STEP_SCALED] = "likewise, decode: scaled",
};

struct options {
    const char *model, *json;
    int width, height, quality, rounds;
};

struct bench {
    struct options options;
    struct model *model;
    struct detector *detector, *scaled;
    uint8_t *jpeg;
    size_t jpeg_size;
    tjhandle turbo;
    uint8_t *rgb; /* libjpeg-turbo's */
    struct image_pixels pixels;
    struct image_resizer *resizer;
    struct image_shrinker *shrinker;
    struct boxes *boxes;
    float *planar;
    double ms[STEP_COUNT][ROUNDS_MAX];
    size_t found; /* detections */
};

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- steps ---- */

static int turbo_run(struct bench *bench, struct err *err) {
    if (tjDecompress2(bench->turbo, bench->jpeg, bench->jpeg_size, bench->rgb, bench->options.width,
                      0, bench->options.height, TJPF_RGB, 0) != 0) {
        return err_set(err, ERR_INVALID, "libjpeg-turbo: %s", tjGetErrorStr2(bench->turbo));
    }
    return 0;
}

static int network_run(struct bench *bench, struct err *err) {
    return net_run(bench->planar, 1, err);
}

static int decode_run(struct bench *bench, struct err *err) {
    return image_decode(bench->jpeg, bench->jpeg_size, &bench->pixels, err);
}

static int resize_run(struct bench *bench, struct err *err) {
    struct image_fit fit;
    (void)err;
    image_resize(bench->resizer, &bench->pixels, bench->model->resize, bench->planar, &fit);
    return 0;
}

static int boxes_run(struct bench *bench, struct err *err) {
    const struct net_heads *heads = net_heads_of(0);
    struct image_fit fit;
    (void)err;
    image_fit_make(bench->model->resize, bench->pixels.width, bench->pixels.height,
                   bench->model->input_width, bench->model->input_height, &fit);
    boxes_reset(bench->boxes);
    for (size_t i = 0; i < heads->count; i++) {
        boxes_collect(bench->boxes, &heads->items[i], &fit, FLOOR);
    }
    bench->found = boxes_suppress(bench->boxes, bench->model->nms_kind, (float)bench->model->nms);
    return 0;
}

static int summary_run(struct bench *bench, struct err *err) {
    struct image_summary summary;
    int code = image_summarise(&bench->pixels, THUMB_WIDTH, &summary, err);
    if (code == 0) {
        image_summary_finish(&summary);
    }
    return code;
}

static int pass_begin(void *ctx, uint32_t width, uint32_t height, struct err *err) {
    struct bench *bench = ctx;
    const struct view_window whole = {0, 0, width, height};
    struct image_fit fit;
    image_resizer_begin(bench->resizer, width, &whole, bench->model->resize, bench->planar, &fit);
    return image_shrinker_begin(bench->shrinker, width, height, err);
}

static void pass_take(void *ctx, const uint8_t *rgb, uint32_t count) {
    struct bench *bench = ctx;
    image_resizer_take(bench->resizer, rgb, count);
    image_shrinker_take(bench->shrinker, rgb, count);
}

static int pass_run(struct bench *bench, struct err *err) {
    const struct image_rows rows = {bench, NULL, pass_begin, pass_take};
    struct image_summary summary;
    int code = image_rows_jpeg(bench->jpeg, bench->jpeg_size, &rows, err);
    code = code != 0 ? code : image_shrinker_finish(bench->shrinker, &summary, err);
    if (code == 0) {
        image_summary_finish(&summary);
    }
    return code;
}

static int verdict_run(struct bench *bench, struct err *err) {
    int code = pass_run(bench, err);
    code = code != 0 ? code : network_run(bench, err);
    return code != 0 ? code : boxes_run(bench, err);
}

static int frame_run(struct bench *bench, struct detector *detector, struct err *err) {
    struct frame *frame = NULL;
    int code = frame_create("bench", mem_dup(bench->jpeg, bench->jpeg_size), bench->jpeg_size,
                            &frame, err);
    if (code == 0) {
        code = detector_run(detector, frame, err);
    }
    frame_destroy(frame);
    return code;
}

static int worker_run(struct bench *bench, struct err *err) {
    return frame_run(bench, bench->detector, err);
}

static int scaled_run(struct bench *bench, struct err *err) {
    return frame_run(bench, bench->scaled, err);
}

static int (*const steps[STEP_COUNT])(struct bench *, struct err *) = {
    [STEP_TURBO] = turbo_run,   [STEP_NETWORK] = network_run, [STEP_DECODE] = decode_run,
    [STEP_RESIZE] = resize_run, [STEP_BOXES] = boxes_run,     [STEP_SUMMARY] = summary_run,
    [STEP_PASS] = pass_run,     [STEP_VERDICT] = verdict_run, [STEP_DETECTOR] = worker_run,
    [STEP_SCALED] = scaled_run,
};

/* A round the other way round each time: what runs behind what has warmed which cache. */
static int rounds_run(struct bench *bench, struct err *err) {
    for (int round = -WARM_UP; round < bench->options.rounds; round++) {
        for (int i = 0; i < STEP_COUNT; i++) {
            int step = round % 2 == 0 || round < 0 ? i : STEP_COUNT - 1 - i;
            double began = now_ms();
            int code = steps[step](bench, err);
            if (code != 0) {
                return code;
            }
            if (round >= 0) {
                bench->ms[step][round] = now_ms() - began;
            }
        }
    }
    return 0;
}

/* ---- the result ---- */

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Of a step's rounds: the median and the least. */
struct times {
    double median, least;
};

static struct times times_of(const struct bench *bench, enum step step) {
    double sorted[ROUNDS_MAX];
    size_t count = (size_t)bench->options.rounds;
    memcpy(sorted, bench->ms[step], count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), by_size);
    return (struct times){(sorted[(count - 1) / 2] + sorted[count / 2]) / 2, sorted[0]};
}

static void print_row(const char *name, struct times ms, struct times bare, json_t *out) {
    printf("%-38s %10.3f %8.3f %10.3f %8.3f\n", name, ms.median, ms.median / bare.median, ms.least,
           ms.least / bare.least);
    json_object_set_new(out, name,
                        json_pack("{s:f,s:f,s:f,s:f}", "median_ms", ms.median, "ratio",
                                  ms.median / bare.median, "least_ms", ms.least, "least_ratio",
                                  ms.least / bare.least));
}

static void print(const struct bench *bench, json_t *out) {
    struct utsname machine;
    uname(&machine);
    struct times turbo = times_of(bench, STEP_TURBO), network = times_of(bench, STEP_NETWORK);
    struct times bare = {turbo.median + network.median, turbo.least + network.least};
    printf("JPEG bytes to verdict: %d x %d, quality %d, %zu bytes; model %s (%u x %u), %s\n"
           "%d rounds; %s, %zu detections\n\n"
           "%-38s %10s %8s %10s %8s\n",
           bench->options.width, bench->options.height, bench->options.quality, bench->jpeg_size,
           bench->model->name, bench->model->input_width, bench->model->input_height, net_backend(),
           bench->options.rounds, machine.machine, bench->found, "", "median ms", "ratio",
           "least ms", "ratio");
    for (int i = 0; i < STEP_COUNT; i++) {
        print_row(names[i], times_of(bench, (enum step)i), bare, out);
        if (i == STEP_NETWORK) {
            print_row("sum of the two", bare, bare, out);
        }
    }
    json_object_set_new(out, "what",
                        json_pack("{s:i,s:i,s:i,s:I,s:s,s:s,s:i}", "width", bench->options.width,
                                  "height", bench->options.height, "quality",
                                  bench->options.quality, "bytes", (json_int_t)bench->jpeg_size,
                                  "model", bench->model->name, "backend", net_backend(), "rounds",
                                  bench->options.rounds));
}

/* ---- set-up ---- */

static int picture_make(struct bench *bench, struct err *err) {
    struct scene_config world = {.seed = SEED,
                                 .width = bench->options.width,
                                 .height = bench->options.height,
                                 .mode = SCENE_CLEAN};
    struct scene *scene = NULL;
    bench->rgb = mem_array((size_t)bench->options.width * (size_t)bench->options.height, 3);
    if (bench->rgb == NULL || scene_create(&world, &scene) != 0) {
        return err_set(err, ERR_INVALID, "cannot render %d x %d pixels; a side has %d to %d",
                       bench->options.width, bench->options.height, SCENE_MIN_SIDE, SCENE_MAX_SIDE);
    }
    scene_render(scene, SCENE, bench->rgb, NULL);
    scene_destroy(scene);
    return image_encode(bench->rgb, (uint32_t)bench->options.width, (uint32_t)bench->options.height,
                        bench->options.quality, &bench->jpeg, &bench->jpeg_size, err);
}

static int network_load(const struct model *model, struct err *err) {
    CLEANUP(model_files_close) struct model_files files = {.cfg_fd = -1, .weights_fd = -1};
    struct worker_start start = {.input_width = model->input_width,
                                 .input_height = model->input_height,
                                 .class_count = (uint32_t)model->class_count,
                                 .device = "cpu"};
    int code = model_files_open(model, &files, err);
    if (code != 0) {
        return code;
    }
    start.head_count = files.head_count;
    start.layer_count = files.layer_count;
    memcpy(start.heads, files.heads, sizeof(start.heads));
    char cfg[64], weights[64];
    snprintf(cfg, sizeof(cfg), "/proc/self/fd/%d", files.cfg_fd);
    snprintf(weights, sizeof(weights), "/proc/self/fd/%d", files.weights_fd);
    return net_load(cfg, weights, &start, err);
}

static int set_up(struct bench *bench, struct err *err) {
    char dir[4096];
    const char *model = bench->options.model;
    int code = model != NULL ? 0 : model_default_dir(dir, sizeof(dir), err);
    code = code != 0 ? code : model_open(model != NULL ? model : dir, &bench->model, err);
    code = code != 0 ? code : picture_make(bench, err);
    if (code != 0) {
        return code;
    }
    struct detector_config config = {
        .floor = (double)FLOOR, .thumb_width = THUMB_WIDTH, .device = "cpu"};
    code = detector_start(&config, bench->model, &bench->detector, err);
    config.scaled = true;
    code = code != 0 ? code : detector_start(&config, bench->model, &bench->scaled, err);
    code = code != 0 ? code : network_load(bench->model, err);
    if (code != 0) {
        return code;
    }
    uint32_t width = bench->model->input_width, height = bench->model->input_height;
    bench->turbo = tjInitDecompress();
    bench->resizer = image_resizer_create(width, height);
    bench->boxes = boxes_create();
    bench->shrinker = image_shrinker_create(THUMB_WIDTH);
    bench->planar = mem_array((size_t)width * height, 3 * sizeof(float));
    return bench->turbo && bench->resizer && bench->shrinker && bench->boxes && bench->planar
               ? 0
               : err_set(err, ERR_NOMEM, "no memory");
}

static void tear_down(struct bench *bench) {
    detector_stop(bench->detector);
    detector_stop(bench->scaled);
    model_close(bench->model);
    image_pixels_finish(&bench->pixels);
    image_resizer_destroy(bench->resizer);
    image_shrinker_destroy(bench->shrinker);
    boxes_destroy(bench->boxes);
    if (bench->turbo != NULL) {
        tjDestroy(bench->turbo);
    }
    free(bench->planar);
    free(bench->jpeg);
    free(bench->rgb);
    free(bench);
}

static bool options_read(int argc, char **argv, struct options *out) {
    static const struct option known[] = {
        {"model", required_argument, NULL, 'm'},   {"size", required_argument, NULL, 's'},
        {"quality", required_argument, NULL, 'q'}, {"rounds", required_argument, NULL, 'r'},
        {"json", required_argument, NULL, 'j'},    {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'm') {
            out->model = optarg;
        } else if (option == 'j') {
            out->json = optarg;
        } else if (option == 'q') {
            out->quality = atoi(optarg);
        } else if (option == 'r') {
            out->rounds = atoi(optarg);
        } else if (option != 's' || sscanf(optarg, "%dx%d", &out->width, &out->height) != 2) {
            return false;
        }
    }
    return optind == argc && out->rounds > 0 && out->rounds <= ROUNDS_MAX && out->quality > 0 &&
           out->quality <= 100;
}

int main(int argc, char **argv) {
    struct err err = {0};
    struct bench *bench = mem_alloc(sizeof(*bench));
    json_t *out = json_object();
    if (bench == NULL || out == NULL) {
        return 1;
    }
    bench->options =
        (struct options){.width = 1920, .height = 1080, .quality = 75, .rounds = ROUNDS};
    if (!options_read(argc, argv, &bench->options)) {
        fputs(usage, stderr);
        free(bench);
        return 2;
    }
    int code = set_up(bench, &err);
    code = code != 0 ? code : rounds_run(bench, &err);
    if (code == 0) {
        print(bench, out);
    }
    if (code == 0 && bench->options.json != NULL &&
        json_dump_file(out, bench->options.json, JSON_INDENT(2)) != 0) {
        code = err_set(&err, ERR_INVALID, "cannot write %s", bench->options.json);
    }
    if (code != 0) {
        char text[2 * ERR_TEXT_MAX];
        fprintf(stderr, "bench-image: %s\n", err_text(&err, text, sizeof(text)));
    }
    json_decref(out);
    tear_down(bench);
    return code != 0;
}
