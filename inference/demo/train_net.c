/*
 * The trainer's door to Darknet (see train_net.h), and faster stand-ins for six of its functions.
 *
 * Distributions build the library so that its inner loops call a function for every float. The
 * names in the second half of this file are looked up at run time through the executable first, so
 * defining them here replaces them without touching the library. They do the same arithmetic; only
 * the order of the sums differs. The names are Darknet's, hence no prefix. They cover the layers of
 * the demo's network, not all of Darknet's.
 */
#include "inference/demo/train_net.h"

#include <darknet.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef CREEL_TRAIN_OPENBLAS
#include <cblas.h>
#endif

struct train_net {
    network *darknet;
};

/* Darknet takes names it does not change as char *. */
static char *unconst(const char *text) {
    return (char *)(uintptr_t)text;
}

static void one_thread(void) {
#ifdef CREEL_TRAIN_OPENBLAS
    openblas_set_num_threads(1); /* the order of sums must not depend on the number of cores */
#endif
}

int train_net_open(const char *cfg, const char *weights, struct train_net **out) {
    struct train_net *net = calloc(1, sizeof *net);

    if (net == NULL) {
        return -ENOMEM;
    }
    one_thread();
    net->darknet = load_network(unconst(cfg), unconst(weights), 0);
    if (net->darknet->truths != TRAIN_NET_BOXES * 5) {
        train_net_close(net);
        return -EINVAL;
    }
    net->darknet->policy = CONSTANT; /* the rate is the caller's */
    net->darknet->burn_in = 0;
    *out = net;
    return 0;
}

void train_net_close(struct train_net *net) {
    if (net != NULL) {
        free_network(net->darknet);
        free(net);
    }
}

int train_net_width(const struct train_net *net) {
    return net->darknet->w;
}

int train_net_height(const struct train_net *net) {
    return net->darknet->h;
}

int train_net_batch(const struct train_net *net) {
    return net->darknet->batch;
}

float *train_net_input(struct train_net *net, int b) {
    return net->darknet->input + (ptrdiff_t)b * net->darknet->inputs;
}

float *train_net_truth(struct train_net *net, int b) {
    return net->darknet->truth + (ptrdiff_t)b * net->darknet->truths;
}

double train_net_step(struct train_net *net, float rate) {
    net->darknet->learning_rate = rate;
    return (double)train_network_datum(net->darknet) / net->darknet->batch;
}

void train_net_save(struct train_net *net, const char *path) {
    save_weights(net->darknet, unconst(path));
}

int train_net_find(struct train_net *net, int width, int height, float floor, float nms,
                   struct train_find *out, int max) {
    int boxes = 0;
    int n = 0;

    network_predict(net->darknet, net->darknet->input);
    detection *found = get_network_boxes(net->darknet, width, height, floor, 0.5F, NULL, 1, &boxes);
    int classes = boxes > 0 ? found[0].classes : 0;
    do_nms_sort(found, boxes, classes, nms);
    for (int i = 0; i < boxes * classes && n < max; i++) {
        const detection *d = &found[i / classes];
        double w = (double)d->bbox.w;
        double h = (double)d->bbox.h;
        double x = (double)d->bbox.x - w / 2;
        double y = (double)d->bbox.y - h / 2;
        float score = d->prob[i % classes];
        if (score > floor) {
            out[n++] = (struct train_find){i % classes, score, x, y, x + w, y + h};
        }
    }
    free_detections(found, boxes);
    return n;
}

/* Darknet's header has no prototypes for these. */
void gemm(int ta, int tb, int m, int n, int k, float alpha, float *a, int lda, float *b, int ldb,
          float beta, float *c, int ldc);
void im2col_cpu(float *im, int channels, int height, int width, int ksize, int stride, int pad,
                float *col);
void col2im_cpu(float *col, int channels, int height, int width, int ksize, int stride, int pad,
                float *im);
void activate_array(float *x, const int n, const ACTIVATION a);
void gradient_array(const float *x, const int n, const ACTIVATION a, float *delta);
void variance_cpu(float *x, float *mean, int batch, int filters, int spatial, float *variance);

#ifdef CREEL_TRAIN_OPENBLAS
void gemm(int ta, int tb, int m, int n, int k, float alpha, float *a, int lda, float *b, int ldb,
          float beta, float *c, int ldc) {
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, m, n,
                k, alpha, a, lda, b, ldb, beta, c, ldc);
}
#else
static float dot(const float *a, const float *b, int n) {
    float lane[16] = {0};
    float sum = 0.0F;
    int i = 0;

    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++) {
            lane[j] += a[i + j] * b[i + j];
        }
    }
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    for (int j = 0; j < 16; j++) {
        sum += lane[j];
    }
    return sum;
}

/* Four rows of B at a time, so that a row of C is read and written a quarter as often. */
static void add_rows(const float *f, const float *b, int ldb, int rows, int n, float *restrict c) {
    int r = 0;

    for (; r + 4 <= rows; r += 4, b += (ptrdiff_t)4 * ldb) {
        const float *b1 = b + ldb;
        const float *b2 = b1 + ldb;
        const float *b3 = b2 + ldb;
        for (int j = 0; j < n; j++) {
            c[j] += f[r] * b[j] + f[r + 1] * b1[j] + f[r + 2] * b2[j] + f[r + 3] * b3[j];
        }
    }
    for (; r < rows; r++, b += ldb) {
        for (int j = 0; j < n; j++) {
            c[j] += f[r] * b[j];
        }
    }
}

enum { DEPTH = 64 };

static void gemm_plain(int ta, int m, int n, int k, float alpha, const float *a, int lda,
                       const float *b, int ldb, float *c, int ldc) {
    float factor[DEPTH];

    for (int i = 0; i < m; i++) {
        for (int p = 0; p < k; p += DEPTH) {
            int rows = k - p < DEPTH ? k - p : DEPTH;
            for (int r = 0; r < rows; r++) {
                size_t at = ta ? (size_t)(p + r) * (size_t)lda + (size_t)i
                               : (size_t)i * (size_t)lda + (size_t)(p + r);
                factor[r] = alpha * a[at];
            }
            add_rows(factor, b + (ptrdiff_t)p * ldb, ldb, rows, n, c + (ptrdiff_t)i * ldc);
        }
    }
}

/* Darknet's own layers never ask for both transposed. */
void gemm(int ta, int tb, int m, int n, int k, float alpha, float *a, int lda, float *b, int ldb,
          float beta, float *c, int ldc) {
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n && beta != 1.0F; j++) {
            c[(ptrdiff_t)i * ldc + j] *= beta;
        }
    }
    if (!tb) {
        gemm_plain(ta, m, n, k, alpha, a, lda, b, ldb, c, ldc);
        return;
    }
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            c[(ptrdiff_t)i * ldc + j] +=
                alpha * dot(a + (ptrdiff_t)i * lda, b + (ptrdiff_t)j * ldb, k);
        }
    }
}
#endif

static float squares(const float *x, float mean, int n) {
    float lane[16] = {0};
    float sum = 0.0F;
    int i = 0;

    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++) {
            lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
        }
    }
    for (; i < n; i++) {
        sum += (x[i] - mean) * (x[i] - mean);
    }
    for (int j = 0; j < 16; j++) {
        sum += lane[j];
    }
    return sum;
}

/* The part of an output row whose source lies inside the picture: first..last-1. */
static void inside(int offset, int stride, int width, int out, int *first, int *last) {
    int low = offset < 0 ? (-offset + stride - 1) / stride : 0;
    int high = offset >= width ? 0 : (width - 1 - offset) / stride + 1;

    *first = low < out ? low : out;
    *last = high < out ? high : out;
    if (*last < *first) {
        *last = *first;
    }
}

void im2col_cpu(float *im, int channels, int height, int width, int ksize, int stride, int pad,
                float *col) {
    int out_h = (height + 2 * pad - ksize) / stride + 1;
    int out_w = (width + 2 * pad - ksize) / stride + 1;

    for (int c = 0; c < channels * ksize * ksize; c++) {
        int dx = c % ksize - pad;
        int dy = c / ksize % ksize - pad;
        const float *plane = im + (ptrdiff_t)(c / ksize / ksize) * height * width;
        int first;
        int last;
        inside(dx, stride, width, out_w, &first, &last);
        for (int y = 0; y < out_h; y++, col += out_w) {
            int sy = y * stride + dy;
            if (sy < 0 || sy >= height) {
                memset(col, 0, sizeof *col * (size_t)out_w);
                continue;
            }
            const float *src = plane + (ptrdiff_t)sy * width + dx;
            for (int x = 0; x < first; x++) {
                col[x] = 0.0F;
            }
            for (int x = first; x < last; x++) {
                col[x] = src[x * stride];
            }
            for (int x = last; x < out_w; x++) {
                col[x] = 0.0F;
            }
        }
    }
}

void col2im_cpu(float *col, int channels, int height, int width, int ksize, int stride, int pad,
                float *im) {
    int out_h = (height + 2 * pad - ksize) / stride + 1;
    int out_w = (width + 2 * pad - ksize) / stride + 1;

    for (int c = 0; c < channels * ksize * ksize; c++) {
        int dx = c % ksize - pad;
        int dy = c / ksize % ksize - pad;
        float *plane = im + (ptrdiff_t)(c / ksize / ksize) * height * width;
        int first;
        int last;
        inside(dx, stride, width, out_w, &first, &last);
        for (int y = 0; y < out_h; y++, col += out_w) {
            int sy = y * stride + dy;
            if (sy < 0 || sy >= height) {
                continue;
            }
            float *to = plane + (ptrdiff_t)sy * width + dx;
            for (int x = first; x < last; x++) {
                to[x * stride] += col[x];
            }
        }
    }
}

void activate_array(float *x, const int n, const ACTIVATION a) {
    if (a == LEAKY) {
        for (int i = 0; i < n; i++) {
            x[i] = x[i] > 0.0F ? x[i] : 0.1F * x[i];
        }
    } else if (a == LOGISTIC) {
        for (int i = 0; i < n; i++) {
            x[i] = 1.0F / (1.0F + expf(-x[i]));
        }
    }
    /* LINEAR leaves x as it is; the demo's network has no other. */
}

void gradient_array(const float *x, const int n, const ACTIVATION a, float *delta) {
    if (a == LEAKY) {
        for (int i = 0; i < n; i++) {
            delta[i] *= x[i] > 0.0F ? 1.0F : 0.1F;
        }
    } else if (a == LOGISTIC) {
        for (int i = 0; i < n; i++) {
            delta[i] *= (1.0F - x[i]) * x[i];
        }
    }
}

/* The library's own calls pow() for every float. */
void variance_cpu(float *x, float *mean, int batch, int filters, int spatial, float *variance) {
    float scale = 1.0F / (float)(batch * spatial - 1);

    for (int f = 0; f < filters; f++) {
        float sum = 0.0F;
        for (int b = 0; b < batch; b++) {
            const float *plane = x + ((ptrdiff_t)b * filters + f) * spatial;
            sum += squares(plane, mean[f], spatial);
        }
        variance[f] = sum * scale;
    }
}
