/* Darknet behind one door: pjreddie's (Debian's package) and AlexeyAB's, CPU and CUDA, told apart
 * by what their headers define (LIB_API: AlexeyAB; GPU: given by the build when the library has
 * it).
 *
 * Symbols. The library calls its own functions through the linkage table, so a function of the same
 * name in this program is called instead. Two uses of that:
 * - error, file_error, malloc_error, __assert_fail end the process there, pjreddie's file_error
 * even with success; here they hand their text to the parent first. They do not return and do not
 * jump back: the worker can be had again.
 * - gemm, im2col_cpu, activate_array, fill_cpu, copy_cpu, normalize_cpu are the inner loops of
 * pjreddie's (see kernels.h). These are the only names of ours without a prefix, and they must be
 * those. On the CPU most layers are not the library's anyway (darknet_layers.h).
 *
 * Rejected: get_network_boxes (mixes the two halves of a batch of two, and lays out `detection`
 * differently in each library), load_image_* (hands file names to a shell). */
#include "inference/worker/darknet_layers.h"
#include "inference/worker/kernels.h"
#include "inference/worker/net.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <darknet.h>
#pragma GCC diagnostic pop
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(LIB_API)
#define BACKEND BACKEND_ALEXEYAB
#else
#define BACKEND BACKEND_PJREDDIE
#endif
#if defined(GPU)
#define BACKEND_DEVICE "cuda"
#else
#define BACKEND_DEVICE "cpu"
#endif
#if !defined(CREEL_DARKNET_VERSION)
#define CREEL_DARKNET_VERSION "" /* the build may say which package it was, with a space behind */
#endif

/* Whether the library is given several inputs at once. pjreddie's takes the batch from the cfg,
 * which says one. */
#if defined(GPU) && defined(LIB_API)
#define NET_BATCHES 1
#else
#define NET_BATCHES 0
#endif

static network *net;
static struct net_heads heads; /* of the first input */
static uint32_t batch_most = 1;
static float *inputs_run;
static size_t inputs_count, inputs_at; /* at: whose numbers the outputs are, without batches */
#if !defined(GPU)
static struct darknet_layers *layers;
#endif
static net_fatal_fn *on_fatal;

void net_fatal_set(net_fatal_fn *fatal) {
    on_fatal = fatal;
}

const char *net_backend(void) {
    static char text[64 + sizeof(CREEL_DARKNET_VERSION)];
    snprintf(text, sizeof(text), "darknet " CREEL_DARKNET_VERSION "(%s, " BACKEND_DEVICE ")",
             backend_name(BACKEND));
    return text;
}

static _Noreturn void fatal(const char *what, const char *which) {
    char text[256];
    snprintf(text, sizeof(text), "%s%s", what, which != NULL ? which : "");
    if (on_fatal != NULL) {
        on_fatal(text);
    }
    _exit(3);
}

void __assert_fail(const char *expression, const char *file, unsigned line, const char *function) {
    (void)file;
    (void)line;
    (void)function;
    fatal("assertion failed: ", expression);
}

#if !defined(LIB_API)

void file_error(char *path);
void malloc_error(void);
void gemm(int turn_a, int turn_b, int rows, int columns, int depth, float alpha, float *a, int lda,
          float *b, int ldb, float beta, float *c, int ldc);
void im2col_cpu(float *pixels, int channels, int height, int width, int size, int stride, int pad,
                float *out);
float activate(float value, ACTIVATION kind);
void activate_array(float *values, const int count, const ACTIVATION kind);

void error(const char *text) {
    fatal("Darknet: ", text);
}

void file_error(char *path) {
    fatal("Darknet cannot open ", path);
}

void malloc_error(void) {
    fatal("Darknet: out of memory", NULL);
}

/* Products with a turned matrix (fully connected layers) are small: no blocking. */
static void gemm_turned(bool turn_a, bool turn_b, int rows, int columns, int depth, float alpha,
                        const float *a, int lda, const float *b, int ldb, float *c, int ldc) {
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < columns; j++) {
            float sum = 0;
            for (int k = 0; k < depth; k++) {
                float left = turn_a ? a[(size_t)k * (size_t)lda + (size_t)r]
                                    : a[(size_t)r * (size_t)lda + (size_t)k];
                float right = turn_b ? b[(size_t)j * (size_t)ldb + (size_t)k]
                                     : b[(size_t)k * (size_t)ldb + (size_t)j];
                sum += left * right;
            }
            c[(size_t)r * (size_t)ldc + (size_t)j] += alpha * sum;
        }
    }
}

void gemm(int turn_a, int turn_b, int rows, int columns, int depth, float alpha, float *a, int lda,
          float *b, int ldb, float beta, float *c, int ldc) {
    for (int r = 0; r < rows && beta != 1.0f; r++) {
        for (int j = 0; j < columns; j++) {
            c[(size_t)r * (size_t)ldc + (size_t)j] *= beta;
        }
    }
    if (turn_a != 0 || turn_b != 0) {
        gemm_turned(turn_a != 0, turn_b != 0, rows, columns, depth, alpha, a, lda, b, ldb, c, ldc);
        return;
    }
    kernels_gemm(rows, columns, depth, alpha, a, lda, b, ldb, c, ldc);
}

void im2col_cpu(float *pixels, int channels, int height, int width, int size, int stride, int pad,
                float *out) {
    kernels_unfold(pixels, channels, height, width, size, stride, pad, out);
}

void activate_array(float *values, const int count, const ACTIVATION kind) {
    if (kind == LEAKY) {
        kernels_leaky(values, count);
    } else if (kind == LOGISTIC) {
        kernels_logistic(values, count);
    } else if (kind != LINEAR) {
        for (int i = 0; i < count; i++) {
            values[i] = activate(values[i], kind);
        }
    }
}

void fill_cpu(int count, float value, float *to, int step) {
    for (int i = 0; step == 1 && i < count; i++) {
        to[i] = value;
    }
    for (int i = 0; step != 1 && i < count; i++) {
        to[(ptrdiff_t)i * step] = value;
    }
}

void copy_cpu(int count, float *from, int from_step, float *to, int to_step) {
    if (from_step == 1 && to_step == 1) {
        memmove(to, from, (size_t)count * sizeof(*to));
        return;
    }
    for (int i = 0; i < count; i++) {
        to[(ptrdiff_t)i * to_step] = from[(ptrdiff_t)i * from_step];
    }
}

/* As the library: the small number is added to the root, not under it. */
void normalize_cpu(float *values, float *mean, float *variance, int batch, int filters,
                   int spatial) {
    for (int i = 0; i < batch * filters; i++) {
        float middle = mean[i % filters];
        float factor = 1.0f / (sqrtf(variance[i % filters]) + .000001f);
        for (int k = 0; k < spatial; k++, values++) {
            *values = (*values - middle) * factor;
        }
    }
}

static network *load(char *cfg_path, char *weights_path) {
    return load_network(cfg_path, weights_path, 1);
}

#else

#if defined(GPU)
extern int gpu_index;
#endif

void error(const char *text, const char *file, const char *function, int line);
void file_error(const char *path);

void error(const char *text, const char *file, const char *function, int line) {
    (void)file;
    (void)function;
    (void)line;
    fatal("Darknet: ", text);
}

void file_error(const char *path) {
    fatal("Darknet cannot open ", path);
}

static network *load(char *cfg_path, char *weights_path) {
    return load_network_custom(cfg_path, weights_path, 1, NET_BATCHES ? (int)batch_most : 1);
}

#endif

#if defined(GPU)

static int layers_replace(const struct worker_start *start, struct err *err) {
    (void)start;
    (void)err;
    return 0;
}

static void predict(float *input) {
#if defined(LIB_API)
    network_predict_ptr(net, input);
#else
    network_predict(net, input);
#endif
}

#else

static int layers_replace(const struct worker_start *start, struct err *err) {
    uint32_t wanted[BOXES_HEADS_MAX];
    size_t count = 0;
    while (count < start->head_count && count < BOXES_HEADS_MAX) {
        wanted[count] = start->heads[count].layer;
        count++;
    }
    return darknet_layers_create(net, kernels_get(0), wanted, count, &layers, err);
}

static void predict(float *input) {
    darknet_layers_predict(layers, input);
}

#endif

static int device_select(const char *device, struct err *err) {
#if defined(GPU)
    int index = 0;
    char rest = '\0';
    if (strcmp(device, "cuda") != 0 && sscanf(device, "cuda:%d%c", &index, &rest) != 1) {
        return err_set(err, ERR_INVALID, "this worker was built for CUDA; it has no device \"%s\"",
                       device);
    }
    gpu_index = index;
    cuda_set_device(index);
    return 0;
#else
    if (strcmp(device, "cpu") != 0) {
        return err_set(err, ERR_INVALID,
                       "this worker was built for the CPU; it has no device \"%s\"", device);
    }
    return 0;
#endif
}

/* The library must have read the cfg as the validator did, or what it finds would be nonsense. */
static int shape_check(const struct worker_start *start, struct err *err) {
    if (net->w != (int)start->input_width || net->h != (int)start->input_height || net->c != 3 ||
        net->n != (int)start->layer_count || start->head_count > BOXES_HEADS_MAX) {
        return err_set(err, ERR_INVALID,
                       "Darknet reads the cfg as %dx%dx%d and %d layers; expected %ux%ux3 and %u",
                       net->w, net->h, net->c, net->n, start->input_width, start->input_height,
                       start->layer_count);
    }
    return 0;
}

/* Notes where the numbers are that a head is read from. */
static int head_add(const struct boxes_head *head, struct err *err) {
    const layer *from = head->layer < (uint32_t)net->n ? &net->layers[head->layer] : NULL;
    if (from == NULL || from->output == NULL || (size_t)from->outputs != boxes_head_values(head)) {
        return err_set(err, ERR_INVALID, "Darknet gives layer %u %d numbers; expected %zu",
                       head->layer, from != NULL ? from->outputs : 0, boxes_head_values(head));
    }
    heads.items[heads.count] = *head;
    heads.items[heads.count++].output = from->output;
    return 0;
}

int net_load(const char *cfg_path, const char *weights_path, const struct worker_start *start,
             struct err *err) {
    char cfg[64], weights[64]; /* the library wants to be able to write to its arguments */
    snprintf(cfg, sizeof(cfg), "%s", cfg_path);
    snprintf(weights, sizeof(weights), "%s", weights_path);
    if (start->refusals.why[BACKEND][0] != '\0') {
        return err_set(err, ERR_INVALID, "%s", start->refusals.why[BACKEND]);
    }
    int code = device_select(start->device, err);
    if (code != 0) {
        return code;
    }
    batch_most = start->batch > 0 ? start->batch : 1;
    net = load(cfg, weights);
    if (net == NULL) {
        return err_set(err, ERR_INVALID, "Darknet does not load the network");
    }
    set_batch_network(net, NET_BATCHES ? (int)batch_most : 1);
    code = shape_check(start, err);
    code = code == 0 ? layers_replace(start, err) : code; /* before the outputs are looked up */
    for (size_t i = 0; code == 0 && i < start->head_count; i++) {
        code = head_add(&start->heads[i], err);
    }
    return code;
}

/* A GPU's memory is not ours: what we read comes over. */
static void heads_pull(void) {
#if defined(GPU)
    for (size_t i = 0; i < heads.count; i++) {
        const layer *from = &net->layers[heads.items[i].layer];
        size_t inputs = NET_BATCHES ? batch_most : 1;
        cuda_pull_array(from->output_gpu, from->output, inputs * (size_t)from->outputs);
    }
#endif
}

static void input_run(size_t i) {
    predict(inputs_run + i * (size_t)net->w * (size_t)net->h * (size_t)net->c);
    heads_pull();
    inputs_at = i;
}

/* A batch that is not full costs the time of a full one: another size would have the library look
 * for its algorithms again. */
int net_run(float *inputs, size_t count, struct err *err) {
    if (net == NULL || count == 0 || count > batch_most) {
        return err_set(err, ERR_INVALID, "no network is loaded that looks at %zu inputs", count);
    }
    inputs_run = inputs;
    inputs_count = count;
    input_run(0);
    return 0;
}

/* No copy of a layer's struct and none of the library's own readers: those take the second of two
 * for the mirror image of the first. */
const struct net_heads *net_heads_of(size_t i) {
    static struct net_heads at;
    assert(i < inputs_count);
    if (!NET_BATCHES && i != inputs_at) {
        input_run(i);
    }
    at = heads;
    for (size_t h = 0; NET_BATCHES && h < at.count; h++) {
        at.items[h].output += i * boxes_head_values(&at.items[h]);
    }
    return &at;
}
