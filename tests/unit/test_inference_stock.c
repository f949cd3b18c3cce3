/* The layers of ours against the library's own, in one process and on the same network: every
 * layer's output, for the demo's model and for networks of random shape and weights. (The worker's
 * darknet.c, which takes the place of some of the library's functions, is not linked.) */
#include "daemon/base/mem.h"
#include "inference/worker/darknet_layers.h"
#include "tests/suite.h"
#include "tests/unit/darknet_case.h"
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOLERANCE          1e-3f /* of a value, or of one where the value is smaller */
#define NETWORK_LAYERS_MAX 64
#define NETWORKS           20 /* CREEL_NETWORKS: more */

/* free_network forgets some of the library's own memory. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0";
}

static uint32_t seed;

static int below(int count) {
    seed = seed * 1664525u + 1013904223u;
    return (int)((seed >> 8) % (uint32_t)count);
}

static float between(float low, float high) {
    return low + (high - low) * (float)below(1 << 24) / (float)(1 << 24);
}

static void fill(float *values, int count, float low, float high) {
    for (int i = 0; values != NULL && i < count; i++) {
        values[i] = between(low, high);
    }
}

/* ---- networks of random shape ---- */

struct draft {
    FILE *out;
    int width, height, channels; /* of the last layer */
    int count;
    int widths[32], heights[32], depths[32];
};

static void layer_note(struct draft *draft) {
    draft->widths[draft->count] = draft->width;
    draft->heights[draft->count] = draft->height;
    draft->depths[draft->count] = draft->channels;
    draft->count++;
}

static void convolution_draw(struct draft *draft) {
    static const char *const activations[] = {"leaky", "linear", "relu", "logistic", "elu", "tanh"};
    int size = 1 + below(5), stride = 1 + below(2), groups = 1, filters = 1 + below(40);
    if (below(3) == 0) {
        groups = draft->channels;
        filters = groups * (1 + below(2));
    } else if (draft->channels % 2 == 0 && below(4) == 0) {
        groups = 2;
        filters += filters % 2;
    }
    int pad = below(3) == 0 && draft->width >= size && draft->height >= size ? 0 : size / 2;
    if (draft->width + 2 * pad < size || draft->height + 2 * pad < size) {
        size = 1;
        pad = 0;
    }
    fprintf(draft->out,
            "[convolutional]\nbatch_normalize=%d\nfilters=%d\nsize=%d\nstride=%d\npadding=%d\n"
            "groups=%d\nactivation=%s\n\n",
            below(2), filters, size, stride, pad, groups, activations[below(6)]);
    draft->width = (draft->width + 2 * pad - size) / stride + 1;
    draft->height = (draft->height + 2 * pad - size) / stride + 1;
    draft->channels = filters;
    layer_note(draft);
}

static void maxpool_draw(struct draft *draft) {
    int size = 1 + below(9), stride = 1 + below(3);
    fprintf(draft->out, "[maxpool]\nsize=%d\nstride=%d\n\n", size, stride);
    draft->width = (draft->width - 1) / stride + 1;
    draft->height = (draft->height - 1) / stride + 1;
    layer_note(draft);
}

static void upsample_draw(struct draft *draft) {
    if (draft->width * draft->height > 1000) {
        return;
    }
    fprintf(draft->out, "[upsample]\nstride=2\n\n");
    draft->width *= 2;
    draft->height *= 2;
    layer_note(draft);
}

/* An earlier layer of the same size, or -1. */
static int earlier(const struct draft *draft, bool same_depth) {
    int first = draft->count > 1 ? below(draft->count - 1) : 0;
    for (int i = first; i < draft->count - 1; i++) {
        if (draft->widths[i] == draft->width && draft->heights[i] == draft->height &&
            (!same_depth || draft->depths[i] == draft->channels)) {
            return i;
        }
    }
    return -1;
}

static void shortcut_draw(struct draft *draft) {
    int from = earlier(draft, below(2) == 0); /* another depth is the library's own */
    if (from >= 0) {
        fprintf(draft->out, "[dropout]\nprobability=.2\n\n");
        layer_note(draft);
        fprintf(draft->out, "[shortcut]\nfrom=%d\nactivation=%s\n\n", from,
                below(2) ? "linear" : "leaky");
        layer_note(draft);
    }
}

static void route_draw(struct draft *draft) {
    int from = earlier(draft, false);
    if (from >= 0) {
        fprintf(draft->out, "[route]\nlayers=%d, -1\n\n", from);
        draft->channels += draft->depths[from];
        layer_note(draft);
    }
}

static void yolo_draw(struct draft *draft) {
    fprintf(draft->out,
            "[convolutional]\nfilters=24\nsize=1\nstride=1\npad=1\nactivation=linear\n\n"
            "[yolo]\nmask=0,1,2\nanchors=1,2, 3,4, 5,6\nclasses=3\nnum=3\n");
}

static void network_draw(FILE *out) {
    static void (*const kinds[])(struct draft *) = {
        convolution_draw, convolution_draw, convolution_draw, maxpool_draw,
        upsample_draw,    shortcut_draw,    route_draw};
    struct draft draft = {
        .out = out, .width = 8 + below(70), .height = 8 + below(40), .channels = 3};
    fprintf(out, "[net]\nbatch=1\nsubdivisions=1\nwidth=%d\nheight=%d\nchannels=3\n\n", draft.width,
            draft.height);
    convolution_draw(&draft);
    while (draft.count < 12) {
        kinds[below((int)ARRAY_LENGTH(kinds))](&draft);
    }
    yolo_draw(&draft);
}

/* ---- runs ---- */

static void weights_draw(network *net) {
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (l->type == CONVOLUTIONAL) {
            float reach = 2.0f / sqrtf((float)(l->c / l->groups * l->size * l->size));
            fill(l->weights, l->n * l->c / l->groups * l->size * l->size, -reach, reach);
            fill(l->biases, l->n, -1, 1);
            fill(l->scales, l->n, -1, 2);
            fill(l->rolling_mean, l->n, -1, 1);
            fill(l->rolling_variance, l->n, 0.1f, 2);
        }
    }
}

/* Every layer's output, one behind the other; free with free(). */
static float *outputs_copy(const network *net, size_t *count) {
    *count = 0;
    for (int i = 0; i < net->n; i++) {
        *count += (size_t)net->layers[i].outputs;
    }
    float *copy = mem_array(*count, sizeof(*copy)), *to = copy;
    for (int i = 0; i < net->n; i++) {
        size_t outputs = (size_t)net->layers[i].outputs;
        memcpy(to, net->layers[i].output, outputs * sizeof(*to));
        to += outputs;
    }
    for (int i = 0; i < net->n; i++) { /* so that none is there when the next one runs */
        for (int k = 0; k < net->layers[i].outputs; k++) {
            net->layers[i].output[k] = -777.0f;
        }
    }
    return copy;
}

/* What the worker may want: the ends of the network, and what is before them. */
static size_t wanted_find(const network *net, uint32_t *wanted) {
    size_t count = 0;
    for (int i = 0; i < net->n; i++) {
        if (i + 1 == net->n || net->layers[i].type == YOLO || net->layers[i + 1].type == YOLO) {
            wanted[count++] = (uint32_t)i;
        }
    }
    return count;
}

static bool is_kept(const network *net, int i, bool all) {
    uint32_t wanted[NETWORK_LAYERS_MAX];
    size_t count = wanted_find(net, wanted);
    for (size_t k = 0; k < count; k++) {
        all = all || wanted[k] == (uint32_t)i;
    }
    return all;
}

static void outputs_compare(const network *net, const float *stock, const float *ours, bool all,
                            const char *kernels) {
    for (int i = 0; i < net->n; i++) {
        bool kept = is_kept(net, i, all);
        for (int k = 0; k < net->layers[i].outputs; k++, stock++, ours++) {
            if (!kept) {
                continue;
            }
            float size = fabsf(*stock) > 1 ? fabsf(*stock) : 1;
            if (!(fabsf(*stock - *ours) <=
                  TOLERANCE * size)) { /* an assertion each takes its time */
                ck_abort_msg("%s: layer %d (kind %d), value %d: %g, not %g", kernels, i,
                             (int)net->layers[i].type, k, (double)*ours, (double)*stock);
            }
        }
    }
}

/* The library's own once, ours with every table of kernels. Returns how many layers were ours. */
static size_t network_compare(network *net) {
    size_t count, replaced = 0;
    float *input = mem_array((size_t)net->inputs, sizeof(*input));
    fill(input, net->inputs, 0, 1);
    darknet_predict(net, input);
    float *stock = outputs_copy(net, &count);
    for (size_t i = 0; kernels_get(i / 2) != NULL; i++) {
        struct darknet_layers *layers = NULL;
        struct err err = {0};
        bool all = i % 2 == 0; /* with every output kept, and as the worker does it */
        uint32_t wanted[NETWORK_LAYERS_MAX];
        size_t wanted_count = wanted_find(net, wanted);
        ck_assert_int_eq(darknet_layers_create(net, kernels_get(i / 2), all ? NULL : wanted,
                                               wanted_count, &layers, &err),
                         0);
        replaced = all ? darknet_layers_replaced(layers) : replaced;
        darknet_layers_predict(layers, input);
        float *ours = outputs_copy(net, &count);
        darknet_layers_destroy(layers);
        outputs_compare(net, stock, ours, all, kernels_get(i / 2)->name);
        free(ours);
    }
    free(stock);
    free(input);
    return replaced;
}

START_TEST(random_networks) {
    char path[] = "/tmp/creel-net-XXXXXX";
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "w");
    seed = (uint32_t)_i * 7919u + 1u;
    network_draw(out);
    fclose(out);
    network *net = darknet_load_quietly(path, "");
    unlink(path);
    weights_draw(net);
    ck_assert_uint_ge(network_compare(net), 1);
    darknet_free(net);
}
END_TEST

START_TEST(demo_model) {
    network *net = darknet_load_quietly(CREEL_SOURCE_DIR "/inference/models/demo/demo.cfg",
                                        CREEL_SOURCE_DIR "/inference/models/demo/demo.weights");
    size_t ours = network_compare(net), routes = 0;
    for (int i = 0; i < net->n; i++) {
        routes += net->layers[i].type == ROUTE ? 1 : 0;
    }
    ck_assert_uint_eq(ours, (size_t)net->n - routes); /* none is left to the library */
    darknet_free(net);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_stock");
    TCase *tests = tcase_create("stock");
    tcase_set_timeout(tests, 60);
    const char *networks = getenv("CREEL_NETWORKS");
    tcase_add_loop_test(tests, random_networks, 0, networks != NULL ? atoi(networks) : NETWORKS);
    tcase_add_test(tests, demo_model);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
