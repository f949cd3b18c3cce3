/* Which of Darknet's layers ours can stand for, and the loop over both.
 *
 * Not by writing into `layer.forward`: that would be found again by the layer's number only, and
 * the library's loop clears the gradients of each layer, which nobody reads here. The loop is the
 * library's without that.
 *
 * Invariants: 1. A layer is replaced only when every field that changes its result was looked at;
 * whatever else it asks for, the library's own function runs. 2. Each layer writes to `output` of
 * the library's layer, so that both kinds may stand beside each other in any order; but these are
 * put into one memory (layers_plan), unless some layer may read an output that we do not know of.
 */
#include "inference/worker/darknet_layers.h"
#include "daemon/base/mem.h"
#include "inference/worker/layers.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <darknet.h>
#pragma GCC diagnostic pop
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct darknet_layers {
    network *net;
    struct layers_op **ops; /* of each layer; NULL: the library's own function */
    bool *needless;         /* of each layer: nobody reads it */
    size_t replaced;
    float *scratch;
    float *memory;            /* of the outputs; NULL: they are where the library has them */
    float **outputs, *output; /* the library's own of each layer, and of the network */
};

static bool activation_find(ACTIVATION from, enum layers_activation *out) {
    static const struct {
        ACTIVATION darknet;
        enum layers_activation ours;
    } known[] = {{LINEAR, LAYERS_LINEAR},
                 {LEAKY, LAYERS_LEAKY},
                 {RELU, LAYERS_RELU},
                 {LOGISTIC, LAYERS_LOGISTIC}};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (known[i].darknet == from) {
            *out = known[i].ours;
            return true;
        }
    }
    return false;
}

/* ---- what differs between the two libraries ---- */

#if defined(LIB_API)

static bool convolution_is_usual(const layer *l) {
    return !l->binary && !l->xnor && !l->batch_normalize && l->stride_x == l->stride_y &&
           l->dilation <= 1 && !l->deform && !l->antialiasing && !l->assisted_excitation;
}

/* Where the window moves by one, the library's vectors leave out pixels near the left edge; equal
 * to the library is what we promise. */
static bool maxpool_is_usual(const layer *l) {
    return !l->maxpool_depth && !l->antialiasing && l->stride_x == l->stride_y && l->stride > 1;
}

static bool shortcut_is_usual(const layer *l) {
    return l->n == 1 && l->nweights == 0;
}

static bool yolo_is_usual(const layer *l) {
    return !l->new_coords && l->scale_x_y == 1.0f;
}

static void shortcut_factors(const layer *l, float *own, float *other) {
    (void)l;
    *own = *other = 1.0f;
}

static void library_run(network *net, int i, float *input) {
    network_state state = {.input = input, .workspace = net->workspace, .index = i, .net = *net};
    net->layers[i].forward(net->layers[i], state);
}

#else

/* A 1x1 that moves by more than one, or has a border, reads other pixels there than it should; a
 * model that was trained so needs the same again. */
static bool convolution_is_usual(const layer *l) {
    return !l->binary && !l->xnor && (l->size > 1 || (l->stride == 1 && l->pad == 0));
}

static bool maxpool_is_usual(const layer *l) {
    (void)l;
    return true;
}

static bool shortcut_is_usual(const layer *l) {
    (void)l;
    return true;
}

static bool yolo_is_usual(const layer *l) {
    (void)l;
    return true;
}

static void shortcut_factors(const layer *l, float *own, float *other) {
    *own = l->alpha;
    *other = l->beta;
}

static void library_run(network *net, int i, float *input) {
    network state = *net;
    state.input = input;
    state.index = i;
    state.train = 0;
    state.truth = state.delta = NULL;
    net->layers[i].forward(net->layers[i], state);
}

#endif

/* ---- from the library's description to ours ---- */

struct maker {
    const network *net;
    const struct kernels *kernels;
};

/* Each of these: false when the library must run it; otherwise *out, NULL for want of memory. */
typedef bool make_fn(const struct maker *maker, const layer *l, struct layers_op **out);

static bool convolution_make(const struct maker *maker, const layer *l, struct layers_op **out) {
    struct layers_convolution from = {.channels = (size_t)l->c,
                                      .height = (size_t)l->h,
                                      .width = (size_t)l->w,
                                      .filters = (size_t)l->n,
                                      .size = (size_t)l->size,
                                      .stride = (size_t)l->stride,
                                      .pad = (size_t)l->pad,
                                      .groups = (size_t)l->groups,
                                      .weights = l->weights,
                                      .biases = l->biases};
    if (!convolution_is_usual(l) || !activation_find(l->activation, &from.activation) ||
        l->groups < 1 || l->c % l->groups != 0 || l->n % l->groups != 0 ||
        l->out_h != (l->h + 2 * l->pad - l->size) / l->stride + 1 ||
        l->out_w != (l->w + 2 * l->pad - l->size) / l->stride + 1) {
        return false;
    }
    if (l->batch_normalize) {
        from.scales = l->scales;
        from.mean = l->rolling_mean;
        from.variance = l->rolling_variance;
    }
    *out = layers_convolution_create(maker->kernels, &from);
    return true;
}

static bool maxpool_make(const struct maker *maker, const layer *l, struct layers_op **out) {
    struct layers_maxpool from = {.channels = (size_t)l->c,
                                  .height = (size_t)l->h,
                                  .width = (size_t)l->w,
                                  .size = (size_t)l->size,
                                  .stride = (size_t)l->stride,
                                  .border = (size_t)(l->pad / 2),
                                  .out_height = (size_t)l->out_h,
                                  .out_width = (size_t)l->out_w};
    if (!maxpool_is_usual(l) || l->out_c != l->c) {
        return false;
    }
    *out = layers_maxpool_create(maker->kernels, &from);
    return true;
}

static bool upsample_make(const struct maker *maker, const layer *l, struct layers_op **out) {
    if (l->reverse || l->out_w != l->w * l->stride || l->out_h != l->h * l->stride) {
        return false;
    }
    *out = layers_upsample_create(maker->kernels, (size_t)l->c, (size_t)l->h, (size_t)l->w,
                                  (size_t)l->stride, l->scale);
    return true;
}

static bool shortcut_is_ours(const network *net, const layer *l,
                             enum layers_activation *activation) {
    const layer *other = &net->layers[l->index];
    return shortcut_is_usual(l) && activation_find(l->activation, activation) &&
           other->out_w == l->out_w && other->out_h == l->out_h && other->out_c == l->out_c;
}

static bool shortcut_make(const struct maker *maker, const layer *l, struct layers_op **out) {
    const layer *other = &maker->net->layers[l->index];
    enum layers_activation activation;
    if (!shortcut_is_ours(maker->net, l, &activation)) {
        return false;
    }
    float own, others;
    shortcut_factors(l, &own, &others);
    *out = layers_shortcut_create(maker->kernels, (size_t)l->outputs, own, other->output, others,
                                  activation);
    return true;
}

static bool yolo_make(const struct maker *maker, const layer *l, struct layers_op **out) {
    if (!yolo_is_usual(l) || l->outputs != l->w * l->h * l->n * (l->classes + 5)) {
        return false;
    }
    *out = layers_yolo_create(maker->kernels, (size_t)l->n, (size_t)l->classes,
                              (size_t)l->w * (size_t)l->h);
    return true;
}

static make_fn *maker_find(LAYER_TYPE type) {
    static const struct {
        LAYER_TYPE type;
        make_fn *make;
    } makers[] = {{CONVOLUTIONAL, convolution_make},
                  {MAXPOOL, maxpool_make},
                  {UPSAMPLE, upsample_make},
                  {SHORTCUT, shortcut_make},
                  {YOLO, yolo_make}};
    for (size_t i = 0; i < ARRAY_LENGTH(makers); i++) {
        if (makers[i].type == type) {
            return makers[i].make;
        }
    }
    return NULL;
}

/* ---- outputs ---- */

/* Layers that read the output before them and no other, and those whose other ones we know.
 * (AlexeyAB's own [shortcut] remembers where outputs were.) */
static bool reads_known(const network *net, const layer *l) {
    enum layers_activation activation;
    static const LAYER_TYPE known[] = {CONVOLUTIONAL, MAXPOOL, UPSAMPLE, SHORTCUT,  YOLO,
                                       ROUTE,         DROPOUT, AVGPOOL,  CONNECTED, SOFTMAX,
                                       REGION,        COST,    REORG,    BATCHNORM};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (known[i] == l->type) {
            return l->type != SHORTCUT || shortcut_is_ours(net, l, &activation);
        }
    }
    return false;
}

/* The layer whose memory layer i writes to: [dropout] has that of the one before it. */
static int owner(const network *net, int i) {
    while (i > 0 && net->layers[i].output == net->layers[i - 1].output) {
        i--;
    }
    return i;
}

struct reads {
    const network *net;
    struct layers_output *outputs;
    bool *needless;
};

/* `by`: the reading layer's number, or that behind the last layer for who comes after the run. */
static void read_note(struct reads *reads, int from, int by) {
    struct layers_output *output = &reads->outputs[owner(reads->net, from)];
    output->last = output->last > (size_t)by ? output->last : (size_t)by;
    reads->needless[from] = false;
}

/* From the last layer back, so that a layer that nobody reads does not read either. */
static void reads_note(struct reads *reads, const uint32_t *wanted, size_t wanted_count) {
    const network *net = reads->net;
    for (int i = 0; i < net->n; i++) {
        reads->needless[i] = true;
        reads->outputs[i].floats = owner(net, i) == i ? (size_t)net->layers[i].outputs : 0;
        reads->outputs[i].first = (size_t)i;
        reads->outputs[i].last = (size_t)i;
    }
    for (size_t i = 0; i < wanted_count; i++) {
        read_note(reads, (int)wanted[i], net->n);
    }
    for (int i = net->n - 1; i >= 0; i--) {
        const layer *l = &net->layers[i];
        if (reads->needless[i]) {
            reads->outputs[i].floats = 0;
            continue;
        }
        read_note(reads, i, i);
        for (int k = 0; l->type == ROUTE && k < l->n; k++) {
            read_note(reads, l->input_layers[k], i);
        }
        if (l->type == SHORTCUT) {
            read_note(reads, l->index, i);
        }
        if (l->type != ROUTE && i > 0) {
            read_note(reads, i - 1, i);
        }
    }
}

static bool outputs_may_move(const network *net) {
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (!reads_known(net, l) || l->output == NULL || l->batch != 1) {
            return false;
        }
    }
    return true;
}

static int outputs_move(struct darknet_layers *layers, const uint32_t *wanted, size_t wanted_count,
                        struct err *err) {
    network *net = layers->net;
    CLEANUP(mem_free_at)
    struct layers_output *outputs = mem_array((size_t)net->n, sizeof(*outputs));
    layers->outputs = mem_array((size_t)net->n, sizeof(float *));
    if (outputs != NULL && layers->outputs != NULL) {
        reads_note(&(struct reads){net, outputs, layers->needless}, wanted, wanted_count);
        layers->memory = layers_scratch_create(layers_plan(outputs, (size_t)net->n));
    }
    if (layers->memory == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the outputs of the network's layers");
    }
    for (int i = net->n - 1; i >= 0; i--) { /* an owner is found by outputs that did not move yet */
        layer *l = &net->layers[i];
        layers->outputs[i] = l->output;
        l->output = layers->memory + outputs[owner(net, i)].at;
    }
    layers->output = net->output;
    for (int i = 0; i < net->n; i++) {
        net->output = layers->outputs[i] == layers->output ? net->layers[i].output : net->output;
    }
    return 0;
}

static void outputs_restore(struct darknet_layers *layers) {
    for (int i = 0; layers->memory != NULL && i < layers->net->n; i++) {
        layers->net->layers[i].output = layers->outputs[i];
        layers->net->output = layers->output;
    }
    free(layers->outputs);
    free(layers->memory);
}

/* ---- life ---- */

static int op_make(struct darknet_layers *layers, const struct kernels *kernels, int i,
                   size_t *scratch, struct err *err) {
    const layer *l = &layers->net->layers[i];
    make_fn *make = maker_find(l->type);
    struct layers_op **op = &layers->ops[i];
    if (layers->needless[i] || make == NULL || l->batch != 1 ||
        !make(&(struct maker){layers->net, kernels}, l, op)) {
        return 0;
    }
    if (*op == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for layer %d of the network", i);
    }
    layers->replaced++;
    *scratch = layers_op_scratch(*op) > *scratch ? layers_op_scratch(*op) : *scratch;
    return 0;
}

static int layers_make(struct darknet_layers *layers, const struct kernels *kernels,
                       struct err *err) {
    size_t scratch = 0;
    int code = 0;
    for (int i = 0; i < layers->net->n && code == 0; i++) {
        code = op_make(layers, kernels, i, &scratch, err);
    }
    if (code == 0) {
        layers->scratch = layers_scratch_create(scratch);
        code = layers->scratch != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for layers");
    }
    return code;
}

int darknet_layers_create(struct network *net, const struct kernels *kernels,
                          const uint32_t *wanted, size_t wanted_count, struct darknet_layers **out,
                          struct err *err) {
    for (size_t i = 0; wanted != NULL && i < wanted_count; i++) {
        if (wanted[i] >= (uint32_t)net->n) {
            return err_set(err, ERR_INVALID, "the network has no layer %u", wanted[i]);
        }
    }
    struct darknet_layers *layers = mem_alloc(sizeof(*layers));
    if (layers == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the network's layers");
    }
    layers->net = net;
    layers->ops = mem_array((size_t)net->n, sizeof(struct layers_op *));
    layers->needless = mem_array((size_t)net->n, sizeof(bool));
    int code = layers->ops != NULL && layers->needless != NULL
                   ? 0
                   : err_set(err, ERR_NOMEM, "no memory for the network's layers");
    if (code == 0 && wanted != NULL && outputs_may_move(net)) {
        code = outputs_move(layers, wanted, wanted_count, err);
    }
    if (code == 0) {
        code = layers_make(layers, kernels, err); /* after the move: some note where another's is */
    }
    if (code != 0) {
        darknet_layers_destroy(layers);
        return code;
    }
    *out = layers;
    return 0;
}

void darknet_layers_destroy(struct darknet_layers *layers) {
    if (layers == NULL) {
        return;
    }
    for (int i = 0; layers->ops != NULL && i < layers->net->n; i++) {
        layers_op_destroy(layers->ops[i]);
    }
    outputs_restore(layers);
    free(layers->needless);
    free(layers->ops);
    free(layers->scratch);
    free(layers);
}

size_t darknet_layers_replaced(const struct darknet_layers *layers) {
    return layers->replaced;
}

/* [route]: the planes of other layers one behind the other. True when it was one that we know. */
static bool route_run(const network *net, const layer *l) {
#if defined(LIB_API)
    if (l->type != ROUTE || l->groups > 1) {
        return false;
    }
#else
    if (l->type != ROUTE) {
        return false;
    }
#endif
    float *to = l->output;
    for (int i = 0; i < l->n; i++) {
        size_t count = (size_t)l->input_sizes[i];
        memcpy(to, net->layers[l->input_layers[i]].output, count * sizeof(*to));
        to += count;
    }
    return true;
}

void darknet_layers_predict(struct darknet_layers *layers, float *input) {
    network *net = layers->net;
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (layers->needless[i]) {
            continue;
        }
        if (layers->ops[i] != NULL) {
            layers_op_run(layers->ops[i], input, l->output, layers->scratch);
        } else if (!route_run(net, l)) {
            library_run(net, i, input);
        }
        input = l->output;
    }
}
