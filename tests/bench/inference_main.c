/* inference-bench: one network, one picture, one thread, run by several contestants that take turns
 * in one process: Darknet's library as it is installed, creel's layers on it with each table of
 * kernels that this processor has, and OpenCV's DNN module through a program of its own.
 *
 *   bench-inference [--rounds N] [--opencv PROGRAM] [--start WORKER,MODEL-DIR] [--json FILE]
 *                   NAME=CFG[,WEIGHTS]...
 *
 * Without weights, random ones are made, written down and read by all. The picture is the same
 * noise for all. Before anything is timed, creel's outputs are compared with the library's. Round
 * by round each contestant has its turn of a few runs; the median turn is printed, and the median
 * over the rounds of the library's time by the contestant's. tests/bench/inference.sh builds and
 * runs it. */
#include "daemon/base/mem.h"
#include "inference/inference.h"
#include "inference/worker/darknet_layers.h"
#include "tests/unit/darknet_case.h"
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX      1000
#define CONTESTANTS_MAX 8
#define TURN_MS         40.0 /* about as long as a turn takes */

struct bench;

struct contestant {
    char name[32];
    double (*run)(struct bench *bench, struct contestant *self,
                  int runs); /* ms; negative: failed */
    network *net;            /* creel's: its own, because the outputs are moved together */
    struct darknet_layers *layers;
    FILE *to, *from; /* OpenCV's program */
    pid_t pid;
    int runs; /* of a turn */
    double ms[ROUNDS_MAX];
};

struct bench {
    network *net;
    float *input;
    int rounds;
    const char *opencv;
    struct contestant contestants[CONTESTANTS_MAX];
    size_t count;
    float worst; /* difference between the library's outputs and creel's, relative to 1 and more */
    char weights[64];
};

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 24);
}

/* ---- networks ---- */

static void values_write(FILE *out, int count, float low, float high, uint32_t *state) {
    for (int i = 0; i < count; i++) {
        float value = low + (high - low) * noise(state);
        fwrite(&value, sizeof(value), 1, out);
    }
}

/* A weights file as the library writes it: version, images seen, then each convolution's biases,
 * batch norm and weights. */
static int weights_make(struct bench *bench, const char *cfg) {
    network *net = darknet_load_quietly(cfg, "");
    snprintf(bench->weights, sizeof(bench->weights), "/tmp/creel-bench-weights-XXXXXX");
    int fd = net != NULL ? mkstemp(bench->weights) : -1;
    FILE *out = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (out == NULL) {
        fprintf(stderr, "bench-inference: cannot make weights for %s\n", cfg);
        return -1;
    }
    const int32_t head[] = {0, 2, 0, 0, 0};
    uint32_t state = 7;
    fwrite(head, sizeof(head), 1, out);
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (l->type != CONVOLUTIONAL) {
            continue;
        }
        int depth = l->c / l->groups * l->size * l->size;
        float reach = sqrtf(4.0f / (float)depth);
        values_write(out, l->n, -0.2f, 0.2f, &state);
        if (l->batch_normalize) {
            values_write(out, l->n, 0.8f, 1.2f, &state);
            values_write(out, l->n, -0.2f, 0.2f, &state);
            values_write(out, l->n, 0.5f, 1.5f, &state);
        }
        values_write(out, l->n * depth, -reach, reach, &state);
    }
    darknet_free(net);
    return fclose(out);
}

/* ---- contestants ---- */

static double library_run(struct bench *bench, struct contestant *self, int runs) {
    (void)self;
    double began = now_ms();
    for (int i = 0; i < runs; i++) {
        darknet_predict(bench->net, bench->input);
    }
    return now_ms() - began;
}

static double layers_run(struct bench *bench, struct contestant *self, int runs) {
    double began = now_ms();
    for (int i = 0; i < runs; i++) {
        darknet_layers_predict(self->layers, bench->input);
    }
    return now_ms() - began;
}

static double opencv_run(struct bench *bench, struct contestant *self, int runs) {
    (void)bench;
    double ms;
    fprintf(self->to, "run %d\n", runs);
    fflush(self->to);
    return fscanf(self->from, "%lf", &ms) == 1 ? ms : -1;
}

static void opencv_stop(struct contestant *self) {
    if (self->pid > 0) {
        fclose(self->to);
        fclose(self->from);
        waitpid(self->pid, NULL, 0);
        self->pid = 0;
    }
}

/* False when the program cannot do it; it has said why. */
static bool opencv_start(struct bench *bench, struct contestant *self, const char *cfg,
                         const char *weights) {
    int there[2], back[2];
    char side[16], word[16] = "";
    snprintf(side, sizeof(side), "%d", bench->net->w);
    if (bench->net->w != bench->net->h || pipe2(there, O_CLOEXEC) != 0 ||
        pipe2(back, O_CLOEXEC) != 0) {
        return false;
    }
    self->pid = fork();
    if (self->pid == 0) {
        dup2(there[0], STDIN_FILENO);
        dup2(back[1], STDOUT_FILENO);
        if (getenv("CREEL_OPENCV_LIBRARIES") != NULL) { /* only there: they are not for Darknet */
            setenv("LD_LIBRARY_PATH", getenv("CREEL_OPENCV_LIBRARIES"), 1);
        }
        execl(bench->opencv, bench->opencv, cfg, weights, side, (char *)NULL);
        perror(bench->opencv);
        _exit(127);
    }
    close(there[0]);
    close(back[1]);
    self->to = fdopen(there[1], "w");
    self->from = fdopen(back[0], "r");
    fwrite(bench->input, sizeof(float), (size_t)bench->net->inputs, self->to);
    fflush(self->to);
    if (fscanf(self->from, "%15s", word) != 1 || strcmp(word, "ready") != 0) {
        opencv_stop(self);
        return false;
    }
    return true;
}

static struct contestant *contestant_add(struct bench *bench, const char *name,
                                         double (*run)(struct bench *, struct contestant *, int)) {
    struct contestant *added = &bench->contestants[bench->count++];
    memset(added, 0, sizeof(*added));
    snprintf(added->name, sizeof(added->name), "%s", name);
    added->run = run;
    return added;
}

/* All [yolo] layers: the library runs them, so creel does here as well (its worker reads the layers
 * before them). */
static size_t heads_find(const network *net, uint32_t *wanted, size_t most) {
    size_t count = 0;
    for (int i = 0; i < net->n && count < most; i++) {
        if (net->layers[i].type == YOLO) {
            wanted[count++] = (uint32_t)i;
        }
    }
    return count;
}

/* The largest difference of any value of any [yolo] layer. */
static float heads_compare(struct bench *bench, struct contestant *ours) {
    float worst = 0;
    darknet_predict(bench->net, bench->input);
    darknet_layers_predict(ours->layers, bench->input);
    for (int i = 0; i < bench->net->n; i++) {
        const layer *l = &bench->net->layers[i];
        const float *left = l->output, *right = ours->net->layers[i].output;
        for (int k = 0; l->type == YOLO && k < l->outputs; k++) {
            float size = fabsf(left[k]) > 1 ? fabsf(left[k]) : 1;
            float difference = fabsf(left[k] - right[k]) / size;
            worst = difference > worst || isnan(difference) ? difference : worst;
        }
    }
    return worst;
}

static int contestants_gather(struct bench *bench, const char *cfg, const char *weights) {
    bench->count = 0;
    bench->worst = 0;
    contestant_add(bench, "darknet", library_run);
    for (size_t i = 0; kernels_get(i) != NULL; i++) {
        char name[32];
        snprintf(name, sizeof(name), "creel %s", kernels_get(i)->name);
        struct contestant *added = contestant_add(bench, name, layers_run);
        struct err err = {0};
        added->net = darknet_load_quietly(cfg, weights);
        uint32_t wanted[8];
        size_t count = heads_find(added->net, wanted, ARRAY_LENGTH(wanted));
        if (darknet_layers_create(added->net, kernels_get(i), wanted, count, &added->layers,
                                  &err) != 0) {
            fprintf(stderr, "bench-inference: %s\n", err.msg);
            return -1;
        }
        float worst = heads_compare(bench, added);
        bench->worst = worst > bench->worst || isnan(worst) ? worst : bench->worst;
    }
    if (bench->opencv != NULL) {
        struct contestant *added = contestant_add(bench, "opencv dnn", opencv_run);
        if (!opencv_start(bench, added, cfg, weights)) {
            bench->count--;
        }
    }
    return 0;
}

/* ---- rounds ---- */

static int compare_doubles(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static void sorted(const double *values, int count, double *out) {
    memmove(out, values, (size_t)count * sizeof(*out));
    qsort(out, (size_t)count, sizeof(*out), compare_doubles);
}

static int rounds_run(struct bench *bench) {
    for (int round = -1; round < bench->rounds; round++) { /* the first one warms, and sets runs */
        for (size_t i = 0; i < bench->count; i++) {
            struct contestant *one = &bench->contestants[i];
            int runs = round < 0 ? 3 : one->runs;
            double ms = one->run(bench, one, runs);
            if (ms < 0) {
                fprintf(stderr, "bench-inference: %s failed\n", one->name);
                return -1;
            }
            if (round < 0) {
                one->runs = (int)ceil(TURN_MS / (ms / runs + 1e-3));
            } else {
                one->ms[round] = ms / runs;
            }
        }
    }
    return 0;
}

static json_t *results_print(const struct bench *bench, const char *name) {
    json_t *rows = json_array();
    printf("\n%s, %dx%d, one thread, %d rounds; worst difference from the library %.1e\n", name,
           bench->net->w, bench->net->h, bench->rounds, (double)bench->worst);
    printf("%-16s %10s %10s   %s\n", "", "ms", "least ms", "times as fast as the library");
    for (size_t i = 0; i < bench->count; i++) {
        const struct contestant *one = &bench->contestants[i];
        double ms[ROUNDS_MAX], ratios[ROUNDS_MAX];
        for (int r = 0; r < bench->rounds; r++) {
            ratios[r] = bench->contestants[0].ms[r] / one->ms[r];
        }
        sorted(one->ms, bench->rounds, ms);
        sorted(ratios, bench->rounds, ratios);
        int middle = bench->rounds / 2;
        printf("%-16s %10.3f %10.3f   %6.2f [%.2f .. %.2f]\n", one->name, ms[middle], ms[0],
               ratios[middle], ratios[0], ratios[bench->rounds - 1]);
        json_array_append_new(rows, json_pack("{s:s,s:f,s:f,s:f,s:f,s:f}", "who", one->name, "ms",
                                              ms[middle], "least_ms", ms[0], "ratio",
                                              ratios[middle], "ratio_least", ratios[0],
                                              "ratio_most", ratios[bench->rounds - 1]));
    }
    return json_pack("{s:s,s:i,s:i,s:i,s:f,s:o}", "network", name, "width", bench->net->w, "height",
                     bench->net->h, "rounds", bench->rounds, "worst_difference",
                     (double)bench->worst, "results", rows);
}

/* `what`: NAME=CFG[,WEIGHTS] */
static json_t *network_bench(struct bench *bench, const char *what) {
    char name[64], cfg[512], weights[512] = "";
    if (sscanf(what, "%63[^=]=%511[^,],%511s", name, cfg, weights) < 2) {
        fprintf(stderr, "bench-inference: not NAME=CFG[,WEIGHTS]: %s\n", what);
        return NULL;
    }
    bench->weights[0] = '\0';
    if (weights[0] == '\0') {
        if (weights_make(bench, cfg) != 0) {
            return NULL;
        }
        snprintf(weights, sizeof(weights), "%s", bench->weights);
    }
    bench->net = darknet_load_quietly(cfg, weights);
    bench->input = mem_array((size_t)bench->net->inputs, sizeof(float));
    uint32_t state = 1;
    for (int i = 0; i < bench->net->inputs; i++) {
        bench->input[i] = noise(&state);
    }
    json_t *results = NULL;
    if (contestants_gather(bench, cfg, weights) == 0 && rounds_run(bench) == 0) {
        results = results_print(bench, name);
    }
    for (size_t i = 0; i < bench->count; i++) {
        opencv_stop(&bench->contestants[i]);
        darknet_layers_destroy(bench->contestants[i].layers);
        if (bench->contestants[i].net != NULL) {
            darknet_free(bench->contestants[i].net);
        }
    }
    free(bench->input);
    darknet_free(bench->net);
    if (bench->weights[0] != '\0') {
        unlink(bench->weights);
    }
    return results;
}

/* ---- the worker's start ---- */

static double wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double children_ms(void) {
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

static int starts_run(const struct model *model, const char *worker, int rounds, double *wall,
                      double *processor) {
    struct detector_config config = {.worker_path = worker, .floor = 0.05, .device = "cpu"};
    for (int i = 0; i < rounds; i++) {
        struct detector *detector = NULL;
        struct err err = {0};
        double before = children_ms(), began = wall_ms();
        if (detector_start(&config, model, &detector, &err) != 0) {
            fprintf(stderr, "bench-inference: %s\n", err.msg);
            return -1;
        }
        wall[i] = wall_ms() - began;
        detector_stop(detector);
        processor[i] = children_ms() - before;
    }
    return 0;
}

/* `what`: WORKER,MODEL-DIR */
static json_t *start_bench(const char *what, int rounds) {
    char worker[512], dir[512];
    double wall[ROUNDS_MAX], processor[ROUNDS_MAX];
    struct model *model = NULL;
    struct err err = {0};
    if (sscanf(what, "%511[^,],%511s", worker, dir) != 2) {
        fprintf(stderr, "bench-inference: not WORKER,MODEL-DIR: %s\n", what);
        return NULL;
    }
    if (model_open(dir, &model, &err) != 0) {
        fprintf(stderr, "bench-inference: %s\n", err.msg);
        return NULL;
    }
    int code = starts_run(model, worker, rounds, wall, processor);
    json_t *results = NULL;
    if (code == 0) {
        sorted(wall, rounds, wall);
        sorted(processor, rounds, processor);
        printf("\nthe worker's start with %s, %d rounds: %.1f ms (least %.1f), of the processor's "
               "%.1f ms\n",
               model->name, rounds, wall[rounds / 2], wall[0], processor[rounds / 2]);
        results =
            json_pack("{s:s,s:i,s:f,s:f,s:f}", "start", model->name, "rounds", rounds, "ms",
                      wall[rounds / 2], "least_ms", wall[0], "processor_ms", processor[rounds / 2]);
    }
    model_close(model);
    return results;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"rounds", 1, NULL, 'r'},
                                            {"opencv", 1, NULL, 'o'},
                                            {"json", 1, NULL, 'j'},
                                            {"start", 1, NULL, 's'},
                                            {0}};
    static struct bench bench = {.rounds = 15};
    const char *json = NULL, *start = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'r' && atoi(optarg) >= 1 && atoi(optarg) <= ROUNDS_MAX) {
            bench.rounds = atoi(optarg);
        } else if (option == 'o') {
            bench.opencv = optarg;
        } else if (option == 's') {
            start = optarg;
        } else if (option == 'j') {
            json = optarg;
        } else {
            optind = argc;
            break;
        }
    }
    if (optind >= argc) {
        fprintf(stderr,
                "usage: bench-inference [--rounds 1..%d] [--opencv PROGRAM] "
                "[--start WORKER,MODEL-DIR] [--json FILE] "
                "NAME=CFG[,WEIGHTS]...\n",
                ROUNDS_MAX);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    json_t *all = json_array();
    int failed = 0;
    for (int i = optind; i < argc; i++) {
        json_t *results = network_bench(&bench, argv[i]);
        failed |= results == NULL;
        if (results != NULL) {
            json_array_append_new(all, results);
        }
    }
    if (start != NULL) {
        json_t *results = start_bench(start, bench.rounds);
        failed |= results == NULL;
        if (results != NULL) {
            json_array_append_new(all, results);
        }
    }
    if (json != NULL && json_dump_file(all, json, JSON_INDENT(2)) != 0) {
        fprintf(stderr, "bench-inference: cannot write %s\n", json);
        failed = 1;
    }
    json_decref(all);
    return failed;
}
