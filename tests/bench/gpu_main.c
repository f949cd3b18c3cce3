/* bench-gpu: how many frames a second a device looks at in batches, and how long each frame takes,
 * beside Darknet's own loop on the same device, in turns.
 *
 *   bench-gpu [--device cuda:N] [--loop PROGRAM] [--model DIR] [--rounds N] [--json FILE]
 *
 * Host to detections: what is timed begins with the network's input in shared memory, as a child
 * that decodes leaves it, and ends with checked detections. As many threads as two batches have
 * keep asking. Where this build has no worker for a GPU it says so and measures nothing; with
 * --device cpu it shows what the batches themselves cost. tests/bench/gpu.sh builds and runs it. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/batcher.h"
#include "inference/inference.h"
#include "inference/process.h"
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 7, ROUNDS_MAX = 101, TURN_FRAMES = 256, CALLERS_MAX = 2 * WORKER_BATCH_MAX };

static const unsigned batches[] = {1, 2, 4, 8, 16, 32};
enum { CONTESTANTS = ARRAY_LENGTH(batches) };

struct contestant {
    struct batcher *batcher;
    unsigned batch;
    double rate[ROUNDS_MAX], middle_ms[ROUNDS_MAX], late_ms[ROUNDS_MAX]; /* late: 99 of 100 */
};

struct bench {
    const char *device, *loop, *model_dir, *json;
    int rounds, fd; /* fd: of the prepared input */
    struct model *model;
    struct contestant contestants[CONTESTANTS];
    FILE *to, *from; /* of Darknet's loop */
    pid_t pid;
    double loop_rate[ROUNDS_MAX];
};

/* ---- a turn: callers that keep asking ---- */

struct turn {
    const struct bench *bench;
    struct batcher *batcher;
    atomic_int left;
    atomic_int failed;
    double ms[TURN_FRAMES];
};

static void *caller_main(void *arg) {
    struct turn *turn = arg;
    CLEANUP(mem_free_at) struct worker_result *result = mem_alloc(sizeof(*result));
    const struct model *model = turn->bench->model;
    struct batcher_question question = {turn->bench->fd, model->input_width, model->input_height,
                                        NULL};
    for (int i; result != NULL && (i = atomic_fetch_sub(&turn->left, 1)) > 0;) {
        struct err err = {0};
        int64_t began = clock_boot_us();
        batcher_expect(turn->batcher, 1);
        if (batcher_run(turn->batcher, &question, result, &err) != 0) {
            fprintf(stderr, "bench-gpu: %s\n", err.msg);
            atomic_store(&turn->failed, 1);
        }
        turn->ms[i - 1] = (double)(clock_boot_us() - began) / 1e3;
    }
    return NULL;
}

static int compare_doubles(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static int turn_run(const struct bench *bench, struct contestant *one, int round) {
    static struct turn turn;
    pthread_t callers[CALLERS_MAX];
    unsigned count = 0;
    turn.bench = bench;
    turn.batcher = one->batcher;
    atomic_store(&turn.left, TURN_FRAMES);
    int64_t began = clock_boot_us();
    while (count < 2 * one->batch &&
           pthread_create(&callers[count], NULL, caller_main, &turn) == 0) {
        count++;
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(callers[i], NULL);
    }
    double took_ms = (double)(clock_boot_us() - began) / 1e3;
    qsort(turn.ms, TURN_FRAMES, sizeof(*turn.ms), compare_doubles);
    if (round >= 0) {
        one->rate[round] = TURN_FRAMES * 1e3 / took_ms;
        one->middle_ms[round] = turn.ms[TURN_FRAMES / 2];
        one->late_ms[round] = turn.ms[TURN_FRAMES * 99 / 100];
    }
    return atomic_load(&turn.failed) || count == 0 ? -1 : 0;
}

/* ---- Darknet's loop ---- */

static int loop_start(struct bench *bench) {
    int there[2], back[2];
    char width[16], height[16], word[16] = "";
    snprintf(width, sizeof(width), "%u", bench->model->input_width);
    snprintf(height, sizeof(height), "%u", bench->model->input_height);
    if (pipe2(there, O_CLOEXEC) != 0 || pipe2(back, O_CLOEXEC) != 0) {
        return -1;
    }
    bench->pid = fork();
    if (bench->pid == 0) {
        dup2(there[0], STDIN_FILENO);
        dup2(back[1], STDOUT_FILENO);
        execl(bench->loop, bench->loop, bench->model->cfg_path, bench->model->weights_path, width,
              height, bench->device, (char *)NULL);
        perror(bench->loop);
        _exit(127);
    }
    close(there[0]);
    close(back[1]);
    bench->to = fdopen(there[1], "w");
    bench->from = fdopen(back[0], "r");
    return fscanf(bench->from, "%15s", word) == 1 && strcmp(word, "ready") == 0 ? 0 : -1;
}

static int loop_run(struct bench *bench, int round) {
    double ms = 0;
    fprintf(bench->to, "run %d\n", TURN_FRAMES);
    fflush(bench->to);
    if (fscanf(bench->from, "%lf", &ms) != 1 || ms <= 0) {
        fprintf(stderr, "bench-gpu: %s failed\n", bench->loop);
        return -1;
    }
    if (round >= 0) {
        bench->loop_rate[round] = TURN_FRAMES * 1e3 / ms;
    }
    return 0;
}

static void loop_stop(struct bench *bench) {
    if (bench->pid > 0) {
        fclose(bench->to);
        fclose(bench->from);
        waitpid(bench->pid, NULL, 0);
    }
}

/* ---- all of it ---- */

/* The input that all callers give: noise. */
static int input_make(struct bench *bench) {
    size_t count = (size_t)bench->model->input_width * bench->model->input_height * 3;
    CLEANUP(mem_free_at) float *planar = mem_array(count, sizeof(float));
    for (size_t i = 0; planar != NULL && i < count; i++) {
        planar[i] = (float)(i * 2654435761u >> 24 & 255) / 255.0f;
    }
    size_t size = count * sizeof(float);
    bench->fd = memfd_create("prepared", MFD_CLOEXEC);
    bool well =
        planar != NULL && pwrite(bench->fd, planar, size, (off_t)WORKER_PLANAR_AT) == (ssize_t)size;
    return well ? 0 : -1;
}

static int contestants_start(struct bench *bench) {
    bool cpu = strcmp(bench->device, "cpu") == 0;
    for (size_t i = 0; i < CONTESTANTS; i++) {
        struct detector_config config = {.floor = 0.05,
                                         .device = bench->device,
                                         .batch = batches[i] + (cpu && batches[i] == 1),
                                         .batch_wait_ms = 5};
        struct err err = {0};
        bench->contestants[i].batch = config.batch;
        if (batcher_start(&config, bench->model, &bench->contestants[i].batcher, &err) != 0) {
            fprintf(stderr, "bench-gpu: %s\n", err.msg);
            return -1;
        }
    }
    return 0;
}

static double median(const double *values, int count) {
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, (size_t)count * sizeof(*values));
    qsort(sorted, (size_t)count, sizeof(*sorted), compare_doubles);
    return sorted[count / 2];
}

static json_t *results_print(const struct bench *bench) {
    json_t *rows = json_array();
    printf("\n%s, %ux%u, %s, host to detections, %d rounds of %d frames, medians\n",
           bench->model->name, bench->model->input_width, bench->model->input_height, bench->device,
           bench->rounds, TURN_FRAMES);
    printf("%-20s %10s %12s %12s\n", "", "frames/s", "ms a frame", "99 of 100");
    if (bench->pid > 0) {
        double rate = median(bench->loop_rate, bench->rounds);
        printf("%-20s %10.1f %12.2f\n", "darknet's loop", rate, 1e3 / rate);
        json_array_append_new(rows, json_pack("{s:s,s:f}", "who", "darknet", "rate", rate));
    }
    for (size_t i = 0; i < CONTESTANTS; i++) {
        const struct contestant *one = &bench->contestants[i];
        double rate = median(one->rate, bench->rounds);
        double middle = median(one->middle_ms, bench->rounds);
        double late = median(one->late_ms, bench->rounds);
        printf("creel, batches of %-2u %10.1f %12.2f %12.2f\n", one->batch, rate, middle, late);
        json_array_append_new(rows, json_pack("{s:s,s:i,s:f,s:f,s:f}", "who", "creel", "batch",
                                              (int)one->batch, "rate", rate, "ms", middle,
                                              "late_ms", late));
    }
    return rows;
}

static int bench_run(struct bench *bench) {
    int code = input_make(bench);
    code = code == 0 ? contestants_start(bench) : code;
    code = code == 0 && bench->loop != NULL ? loop_start(bench) : code;
    for (int round = -1; round < bench->rounds && code == 0; round++) { /* the first one warms */
        code = bench->pid > 0 ? loop_run(bench, round) : 0;
        for (size_t i = 0; i < CONTESTANTS && code == 0; i++) {
            code = turn_run(bench, &bench->contestants[i], round);
        }
    }
    if (code == 0) {
        json_t *rows = results_print(bench);
        code = bench->json != NULL ? json_dump_file(rows, bench->json, JSON_INDENT(2)) : 0;
        json_decref(rows);
    }
    for (size_t i = 0; i < CONTESTANTS; i++) {
        batcher_stop(bench->contestants[i].batcher);
    }
    loop_stop(bench);
    return code;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"device", 1, NULL, 'd'}, {"loop", 1, NULL, 'l'},
                                            {"model", 1, NULL, 'm'},  {"rounds", 1, NULL, 'r'},
                                            {"json", 1, NULL, 'j'},   {0}};
    static struct bench bench = {.device = "cuda:0", .rounds = ROUNDS, .fd = -1};
    char path[4096], found[4096];
    struct err err = {0};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'd':
            bench.device = optarg;
            break;
        case 'l':
            bench.loop = optarg;
            break;
        case 'm':
            bench.model_dir = optarg;
            break;
        case 'r':
            bench.rounds = atoi(optarg);
            break;
        case 'j':
            bench.json = optarg;
            break;
        default:
            bench.rounds = 0;
            break;
        }
    }
    if (optind < argc || bench.rounds < 1 || bench.rounds > ROUNDS_MAX) {
        fprintf(stderr,
                "usage: bench-gpu [--device cuda:N] [--loop PROGRAM] [--model DIR] "
                "[--rounds 1..%d] [--json FILE]\n",
                ROUNDS_MAX);
        return 2;
    }
    if (strncmp(bench.device, "cuda", 4) == 0 &&
        (!process_find("creel-worker-cuda", path, sizeof(path)) ||
         access("/dev/nvidia0", F_OK) != 0)) {
        printf("no worker for a GPU in this build, or no GPU in this machine: nothing measured\n");
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    if (bench.model_dir == NULL && model_default_dir(found, sizeof(found), &err) == 0) {
        bench.model_dir = found;
    }
    if (err.code != 0 || model_open(bench.model_dir, &bench.model, &err) != 0) {
        fprintf(stderr, "bench-gpu: %s\n", err.msg);
        return 1;
    }
    int code = bench_run(&bench);
    model_close(bench.model);
    return code == 0 ? 0 : 1;
}
