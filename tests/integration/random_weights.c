/* random_weights: weights for a cfg, so that a network can be compared that nobody has trained
 * here.
 *
 * random_weights CFG WEIGHTS IMAGE
 *     The same numbers each time. Each convolution keeps the size of its input (He et al., Delving
 * Deep into Rectifiers, 2015); the last one before [yolo], [region] or the end is then stretched
 * and moved by what it makes of IMAGE, so that a few boxes and classes are found with all degrees
 * of confidence and most places are empty. CFG must have batch=1. */
#include "daemon/base/buf.h"
#include "daemon/base/fs.h"
#include "inference/image_resize.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <darknet.h>
#pragma GCC diagnostic pop
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(LIB_API)
#define network_run network_predict_ptr
#else
#define network_run network_predict
#endif

static uint32_t seed = 20260101;

static void die(const char *what, const char *which) {
    fprintf(stderr, "random_weights: %s %s\n", what, which);
    exit(2);
}

static float dice(float most) {
    seed = seed * 1664525u + 1013904223u;
    return most * ((float)(seed >> 8) / (float)(1u << 23) - 1.0f);
}

/* A logistic function behind the last one would hide what is to be moved. */
static void fill(layer *l) {
    l->activation = l->activation == LOGISTIC ? LINEAR : l->activation;
    float fan_in = (float)(l->c / l->groups * l->size * l->size);
    for (int i = 0; i < l->nweights; i++) {
        l->weights[i] = dice(sqrtf(6.0f / fan_in));
    }
    for (int i = 0; i < l->n; i++) {
        l->biases[i] = 0;
        if (l->batch_normalize) {
            l->scales[i] = l->rolling_variance[i] = 1;
            l->rolling_mean[i] = 0;
        }
    }
}

static float *picture(const char *path, int width, int height) {
    struct buf bytes = BUF_INIT(FRAME_BLOB_MAX);
    struct image_pixels pixels = {0};
    struct image_fit fit;
    struct err err = {0};
    float *planar = calloc((size_t)width * (size_t)height * 3, sizeof(*planar));
    struct image_resizer *resizer = image_resizer_create((uint32_t)width, (uint32_t)height);
    if (fs_read_file(path, &bytes, &err) != 0 ||
        image_decode((const uint8_t *)bytes.data, bytes.len, &pixels, &err) != 0) {
        die(err.msg, path);
    }
    image_resize(resizer, &pixels, MODEL_LETTERBOX, planar, &fit);
    image_resizer_destroy(resizer);
    image_pixels_finish(&pixels);
    buf_finish(&bytes);
    return planar;
}

/* Gives filter `k` this mean and spread over the picture. */
static void filter_move(layer *l, int k, double mean, double spread) {
    size_t plane = (size_t)l->out_w * (size_t)l->out_h, weights = (size_t)(l->nweights / l->n);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < plane; i++) {
        double value = (double)l->output[(size_t)k * plane + i];
        sum += value;
        squares += value * value;
    }
    double middle = sum / (double)plane;
    double factor = spread / sqrt(fmax(squares / (double)plane - middle * middle, 1e-12));
    for (size_t i = 0; i < weights; i++) {
        l->weights[(size_t)k * weights + i] *= (float)factor;
    }
    l->biases[k] = (float)(mean - middle * factor);
}

/* Of each anchor: x, y, width, height, objectness, classes. */
static void boxes_move(layer *l, int classes, bool shares) {
    for (int k = 0; k < l->n; k++) {
        int which = k % (classes + 5);
        if (which < 4) {
            filter_move(l, k, 0, which < 2 ? 1 : 0.4);
        } else if (which == 4) {
            filter_move(l, k, -2.5, 1.5);
        } else {
            filter_move(l, k, -6, shares ? 4 : 2.5);
        }
    }
}

/* The classes' sums over the picture get a spread of 2. */
static void tags_move(layer *l, const layer *softmax, const float *sums) {
    double sum = 0, squares = 0;
    for (int i = 0; i < softmax->inputs; i++) {
        sum += (double)sums[i];
        squares += (double)sums[i] * (double)sums[i];
    }
    double middle = sum / softmax->inputs;
    double factor = 2 / sqrt(squares / softmax->inputs - middle * middle);
    for (int i = 0; i < l->nweights; i++) {
        l->weights[i] *= (float)factor;
    }
}

static void network_move(network *net) {
    layer *last = NULL;
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if ((l->type == YOLO || l->type == REGION) && last != NULL) {
            boxes_move(last, l->classes, l->type == REGION);
        } else if (l->type == SOFTMAX && last != NULL) {
            tags_move(last, l, net->layers[i - 1].output);
        } else if (l->type == CONVOLUTIONAL) {
            last = l;
        }
    }
}

static void put(FILE *file, const float *values, int count) {
    if (fwrite(values, sizeof(*values), (size_t)count, file) != (size_t)count) {
        die("cannot write", "the weights");
    }
}

static void network_save(const network *net, const char *path) {
    static const int32_t header[5] = {0, 2, 0, 0, 0};
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(header, sizeof(header), 1, file) != 1) {
        die("cannot write", path);
    }
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (l->type != CONVOLUTIONAL) {
            continue;
        }
        put(file, l->biases, l->n);
        if (l->batch_normalize) {
            put(file, l->scales, l->n);
            put(file, l->rolling_mean, l->n);
            put(file, l->rolling_variance, l->n);
        }
        put(file, l->weights, l->nweights);
    }
    if (fclose(file) != 0) {
        die("cannot write", path);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: random_weights CFG WEIGHTS IMAGE\n", stderr);
        return 2;
    }
    network *net = load_network(argv[1], NULL, 0);
    set_batch_network(net, 1);
    for (int i = 0; i < net->n; i++) {
        if (net->layers[i].type == CONVOLUTIONAL) {
            fill(&net->layers[i]);
        }
    }
    float *input = picture(argv[3], net->w, net->h);
    network_run(net, input);
    network_move(net);
    network_save(net, argv[2]);
    free(input);
    return 0;
}
