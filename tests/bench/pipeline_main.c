/* bench-pipeline: a directory of JPEGs to durable frames, beside the same number of workers that
 * are fed the same JPEGs from memory.
 *
 *   bench-pipeline [--model DIR] [--frames N] [--workers N] [--rounds N] [--dir DIR] [--json FILE]
 *
 * In each round, one after the other: the workers alone (decode, network, boxes, thumbnail; a
 * thread each, no source, triage or store), and `creel run` with a directory that holds the frames
 * and deletes each once it is durable. creel's clock runs from the moment a tenth of them is gone,
 * so that its start does not count. It is no test: nothing passes or fails by a time.
 * tests/bench/pipeline.sh builds and runs it. */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "inference/demo/scene.h"
#include "inference/image_summary.h"
#include "inference/inference.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WIDTH = 1920,
    HEIGHT = 1080,
    QUALITY = 75,
    SCENES = 24, /* different pictures; a comment makes the bytes of each frame its own */
    FRAMES = 600,
    WORKERS = 2,
    ROUNDS = 5,
    ROUNDS_MAX = 101,
    WORKERS_MAX = 16,
    THUMB_WIDTH = 320,
    POLL_MS = 5,
    WAIT_MS = 300000,
};

static const char usage[] = "usage: bench-pipeline [--model DIR] [--frames N] [--workers N]"
                            " [--rounds N] [--dir DIR] [--json FILE]\n";

struct bench {
    const char *model_dir, *json, *dir;
    size_t frames, workers;
    int rounds;
    struct model *model;
    struct {
        uint8_t *bytes;
        size_t size;
    } scenes[SCENES];
    char scratch[256];
    double alone[ROUNDS_MAX], whole[ROUNDS_MAX], share[ROUNDS_MAX]; /* frames/s; their ratio */
};

/* ---- the frames ---- */

static int scenes_make(struct bench *bench, struct err *err) {
    struct scene_config world = {.seed = 7, .width = WIDTH, .height = HEIGHT, .mode = SCENE_CLEAN};
    struct scene *scene = NULL;
    uint8_t *rgb = mem_array((size_t)WIDTH * HEIGHT, 3);
    int code = rgb != NULL && scene_create(&world, &scene) == 0
                   ? 0
                   : err_set(err, ERR_NOMEM, "no memory for pictures");
    for (unsigned i = 0; code == 0 && i < SCENES; i++) {
        scene_render(scene, i * 5, rgb, NULL);
        code = image_encode(rgb, WIDTH, HEIGHT, QUALITY, &bench->scenes[i].bytes,
                            &bench->scenes[i].size, err);
    }
    scene_destroy(scene);
    free(rgb);
    return code;
}

/* A scene with a comment behind its start-of-image marker; malloc'd. */
static uint8_t *jpeg_of(const struct bench *bench, size_t number, size_t *size) {
    uint8_t comment[] = {0xff, 0xfe, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0};
    const uint8_t *scene = bench->scenes[number % SCENES].bytes;
    size_t rest = bench->scenes[number % SCENES].size - 2;
    uint8_t *out = mem_array(rest + 2 + sizeof(comment), 1);
    if (out != NULL) {
        memcpy(comment + 4, &number, sizeof(number));
        memcpy(out, scene, 2);
        memcpy(out + 2, comment, sizeof(comment));
        memcpy(out + 2 + sizeof(comment), scene + 2, rest);
        *size = rest + 2 + sizeof(comment);
    }
    return out;
}

/* ---- the workers alone ---- */

struct feeder {
    const struct bench *bench;
    struct detector *detector;
    atomic_size_t *next;
    pthread_t thread;
    int code;
    struct err err;
};

static void *feed(void *arg) {
    struct feeder *feeder = arg;
    for (size_t number; feeder->code == 0 &&
                        (number = atomic_fetch_add(feeder->next, 1)) < feeder->bench->frames;) {
        struct frame *frame = NULL;
        size_t size = 0;
        uint8_t *jpeg = jpeg_of(feeder->bench, number, &size);
        feeder->code = jpeg != NULL ? frame_create("bench", jpeg, size, &frame, &feeder->err)
                                    : err_set(&feeder->err, ERR_NOMEM, "no memory for a frame");
        if (feeder->code == 0) {
            feeder->code = detector_run(feeder->detector, frame, &feeder->err);
        }
        frame_destroy(frame);
    }
    return NULL;
}

static int alone_run(const struct bench *bench, double *rate, struct err *err) {
    const struct detector_config config = {
        .floor = 0.05, .thumb_width = THUMB_WIDTH, .device = "cpu"};
    struct feeder feeders[WORKERS_MAX] = {0};
    atomic_size_t next = 0;
    size_t started = 0;
    int code = 0;
    for (; code == 0 && started < bench->workers; started += code == 0) {
        feeders[started].bench = bench;
        feeders[started].next = &next;
        code = detector_start(&config, bench->model, &feeders[started].detector, err);
    }
    int64_t began = clock_boot_us();
    for (size_t i = 0; i < started && code == 0; i++) {
        if (pthread_create(&feeders[i].thread, NULL, feed, &feeders[i]) != 0) {
            abort(); /* a bench that has no threads has no results */
        }
    }
    for (size_t i = 0; i < started; i++) {
        if (code == 0) {
            pthread_join(feeders[i].thread, NULL);
        }
    }
    *rate = (double)bench->frames * 1e6 / (double)(clock_boot_us() - began);
    for (size_t i = 0; i < started; i++) {
        if (code == 0 && feeders[i].code != 0) {
            *err = feeders[i].err;
            code = feeders[i].code;
        }
        detector_stop(feeders[i].detector);
    }
    return code;
}

/* ---- the whole of creel ---- */

static int file_write(const char *path, const void *bytes, size_t size, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600, &fd, err);
    if (code == 0 && write(fd, bytes, size) != (ssize_t)size) {
        code = err_sys(err, errno, "cannot write %s", path);
    }
    return code;
}

static int inbox_fill(const struct bench *bench, struct err *err) {
    char path[512];
    int code = 0;
    for (size_t i = 0; code == 0 && i < bench->frames; i++) {
        size_t size = 0;
        uint8_t *jpeg = jpeg_of(bench, i, &size);
        snprintf(path, sizeof(path), "%s/inbox/%06zu.jpg", bench->scratch, i);
        code = jpeg != NULL ? file_write(path, jpeg, size, err)
                            : err_set(err, ERR_NOMEM, "no memory for a frame");
        free(jpeg);
    }
    return code;
}

static size_t inbox_count(const struct bench *bench) {
    char path[512];
    size_t count = 0;
    snprintf(path, sizeof(path), "%s/inbox", bench->scratch);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

static int config_write(const struct bench *bench, const char *path, struct err *err) {
    char text[4096];
    int length =
        snprintf(text, sizeof(text),
                 "device: {id: bench, clock: trusted}\n"
                 "cameras: {in: {source: \"directory:%s/inbox\", after: delete}}\n"
                 "model: {dir: \"%s\", device: cpu}\n"
                 "inference: {workers: %zu, thumb_width: %d}\n"
                 "triage: {budget: {per: off, day: off}, empty_fraction: 1.0}\n"
                 "store: {dir: \"%s/store\", quota: 16GiB, min_free: off}\n"
                 "web: {listen: \"off\"}\n"
                 "ingest: {listen: \"off\"}\n",
                 bench->scratch, bench->model_dir, bench->workers, THUMB_WIDTH, bench->scratch);
    return file_write(path, text, (size_t)length, err);
}

/* creel lies beside this program. */
static pid_t creel_start(const struct bench *bench, const char *config) {
    char self[4096], log[512];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 16);
    char *slash = length > 0 ? memrchr(self, '/', (size_t)length) : NULL;
    if (slash == NULL) {
        return -1;
    }
    memcpy(slash, "/creel", sizeof("/creel"));
    snprintf(log, sizeof(log), "%s/log", bench->scratch);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execl(self, "creel", "run", "--config", config, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Until so many are left, or creel ends. */
static bool inbox_wait(const struct bench *bench, pid_t pid, size_t left) {
    int64_t end_us = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (inbox_count(bench) > left) {
        if (waitpid(pid, NULL, WNOHANG) == pid || clock_boot_us() > end_us) {
            return false;
        }
        clock_sleep_ms(POLL_MS);
    }
    return true;
}

static int whole_run(const struct bench *bench, double *rate, struct err *err) {
    char config[512];
    snprintf(config, sizeof(config), "%s/creel.yaml", bench->scratch);
    int code = inbox_fill(bench, err);
    code = code != 0 ? code : config_write(bench, config, err);
    if (code != 0) {
        return code;
    }
    pid_t pid = creel_start(bench, config);
    bool good = inbox_wait(bench, pid, bench->frames - bench->frames / 10);
    size_t left = inbox_count(bench);
    int64_t began = clock_boot_us();
    good = good && inbox_wait(bench, pid, 0);
    *rate = (double)left * 1e6 / (double)(clock_boot_us() - began);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return good ? 0
                : err_set(err, ERR_INVALID, "creel did not keep all: see %s/log", bench->scratch);
}

/* ---- rounds ---- */

static int rounds_run(struct bench *bench, struct err *err) {
    char command[600];
    int code = 0;
    for (int i = 0; code == 0 && i < bench->rounds; i++) {
        snprintf(command, sizeof(command), "rm -rf '%s'/* && mkdir -p '%s/inbox'", bench->scratch,
                 bench->scratch);
        code = system(command) == 0
                   ? 0
                   : err_set(err, ERR_INVALID, "cannot make room in %s", bench->scratch);
        code = code != 0 ? code : alone_run(bench, &bench->alone[i], err);
        code = code != 0 ? code : whole_run(bench, &bench->whole[i], err);
        bench->share[i] = bench->whole[i] / bench->alone[i];
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", bench->scratch);
    return code == 0 && system(command) != 0
               ? err_set(err, ERR_INVALID, "cannot remove %s", bench->scratch)
               : code;
}

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof(*values), by_size);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static int report(struct bench *bench, struct err *err) {
    size_t bytes = 0;
    for (unsigned i = 0; i < SCENES; i++) {
        bytes += bench->scenes[i].size / SCENES;
    }
    double alone = median(bench->alone, bench->rounds), whole = median(bench->whole, bench->rounds);
    double share = median(bench->share, bench->rounds);
    printf("%zu JPEGs of %d x %d, %zu bytes; model %s; %zu workers; %d rounds, medians\n\n"
           "workers fed from memory             %8.1f frames/s\n"
           "creel, directory to durable frames  %8.1f frames/s\n"
           "share, within a round               %8.2f [%.2f..%.2f]\n",
           bench->frames, WIDTH, HEIGHT, bytes, bench->model->name, bench->workers, bench->rounds,
           alone, whole, share, bench->share[0], bench->share[bench->rounds - 1]);
    json_t *out = json_pack("{s:f,s:f,s:f,s:I,s:I,s:i}", "alone_fps", alone, "creel_fps", whole,
                            "share", share, "frames", (json_int_t)bench->frames, "workers",
                            (json_int_t)bench->workers, "rounds", bench->rounds);
    int failed = bench->json != NULL ? json_dump_file(out, bench->json, JSON_INDENT(2)) : 0;
    json_decref(out);
    return failed ? err_set(err, ERR_INVALID, "cannot write %s", bench->json) : 0;
}

static bool options_read(int argc, char **argv, struct bench *out) {
    static const struct option known[] = {
        {"model", required_argument, NULL, 'm'},
        {"frames", required_argument, NULL, 'f'},
        {"workers", required_argument, NULL, 'w'},
        {"rounds", required_argument, NULL, 'r'},
        {"dir", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'm':
            out->model_dir = optarg;
            break;
        case 'f':
            out->frames = strtoul(optarg, NULL, 10);
            break;
        case 'w':
            out->workers = strtoul(optarg, NULL, 10);
            break;
        case 'r':
            out->rounds = atoi(optarg);
            break;
        case 'd':
            out->dir = optarg;
            break;
        case 'j':
            out->json = optarg;
            break;
        default:
            return false;
        }
    }
    return optind == argc && out->frames >= 10 && out->workers > 0 && out->workers <= WORKERS_MAX &&
           out->rounds > 0 && out->rounds <= ROUNDS_MAX;
}

int main(int argc, char **argv) {
    static struct bench bench = {.frames = FRAMES, .workers = WORKERS, .rounds = ROUNDS};
    char model_dir[4096];
    struct err err = {0};
    if (!options_read(argc, argv, &bench)) {
        fputs(usage, stderr);
        return 2;
    }
    const char *base = bench.dir ? bench.dir : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(bench.scratch, sizeof(bench.scratch), "%s/creel-bench-XXXXXX", base);
    int code =
        mkdtemp(bench.scratch) != NULL ? 0 : err_sys(&err, errno, "cannot write to %s", base);
    if (code == 0 && bench.model_dir == NULL) {
        code = model_default_dir(model_dir, sizeof(model_dir), &err);
        bench.model_dir = model_dir;
    }
    code = code != 0 ? code : model_open(bench.model_dir, &bench.model, &err);
    code = code != 0 ? code : scenes_make(&bench, &err);
    code = code != 0 ? code : rounds_run(&bench, &err);
    code = code != 0 ? code : report(&bench, &err);
    if (code != 0) {
        char text[2 * ERR_TEXT_MAX];
        fprintf(stderr, "bench-pipeline: %s\n", err_text(&err, text, sizeof(text)));
    }
    for (unsigned i = 0; i < SCENES; i++) {
        free(bench.scenes[i].bytes);
    }
    model_close(bench.model);
    return code != 0;
}
