/* reference: what Darknet's own library says of a picture, and whether `creel detect --json` says
 * the same.
 *
 * reference detect CFG WEIGHTS NAMES letterbox|stretch THRESHOLD JSON IMAGE...
 *     JSON holds the lines of `creel detect --json --threshold (THRESHOLD - BAND)` for the same
 * images. Compares with load_image_color, letterbox_image, network_predict, get_network_boxes and
 * do_nms_sort (a classifier: with what network_predict gives), prints the floats of both and the
 * worst differences. Exit 0: the same classes, confidence within 0.01, boxes within the larger of a
 * pixel and 0.15 % of the side; what lies within BAND of the threshold may differ. reference resize
 * IMAGE WIDTH HEIGHT Compares creel's fused resize with letterbox_image and resize_image, pixel by
 * pixel.
 *
 * load_image_color decodes with OpenCV. Where that is not installed (creel's build gives the
 * library empty stand-ins for it), the picture is decoded with libjpeg-turbo instead, accurate DCT
 * and smooth upsampling, into Darknet's own struct image; build with -DHAVE_OPENCV=1 for the
 * former. Everything behind the decoder is Darknet's. */
#include "daemon/base/buf.h"
#include "daemon/base/fs.h"
#include "inference/image_resize.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <darknet.h>
#pragma GCC diagnostic pop
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

#if defined(LIB_API)
#define network_run network_predict_ptr
#define network_boxes(net, w, h, thresh, fits, n)                                                  \
    get_network_boxes(net, w, h, thresh, .5f, NULL, 1, n, !(fits))
#else /* always takes the picture for letterboxed, so one that fills the input is given its size   \
       */
#define network_run network_predict
#define network_boxes(net, w_, h_, thresh, fits, n)                                                \
    get_network_boxes(net, (fits) ? (net)->w : (w_), (fits) ? (net)->h : (h_), thresh, .5f, NULL,  \
                      1, n)
#endif

#define BAND           0.01f /* of confidence */
#define NMS            0.45f
#define DETECTIONS_MAX 4096

struct found {
    char label[64];
    float confidence;
    float x, y, w, h; /* top left, relative, clipped to the picture */
    bool paired;
};

struct finds {
    struct found items[DETECTIONS_MAX];
    size_t count;
};

struct setting {
    network *net;
    struct buf names; /* each ended by a NUL */
    int classes;
    bool tags; /* a classifier */
    bool stretch;
    float threshold;
};

static void die(const char *what, const char *which) {
    fprintf(stderr, "reference: %s %s\n", what, which);
    exit(2);
}

static void read_bytes(const char *path, struct buf *out) {
    struct err err = {0};
    if (fs_read_file(path, out, &err) != 0) {
        die(err.msg, path);
    }
}

#if defined(HAVE_OPENCV)
static image picture_load(char *path) {
    return load_image_color(path, 0, 0);
}
#else
static image picture_load(char *path) {
    struct buf bytes = BUF_INIT(FRAME_BLOB_MAX);
    int width = 0, height = 0, sampling = 0, colours = 0;
    read_bytes(path, &bytes);
    tjhandle turbo = tjInitDecompress();
    const unsigned char *jpeg = (const unsigned char *)bytes.data;
    if (tjDecompressHeader3(turbo, jpeg, bytes.len, &width, &height, &sampling, &colours) != 0) {
        die(tjGetErrorStr2(turbo), path);
    }
    size_t count = (size_t)width * (size_t)height;
    unsigned char *rgb = malloc(count * 3);
    if (rgb == NULL || tjDecompress2(turbo, jpeg, bytes.len, rgb, width, 0, height, TJPF_RGB,
                                     TJFLAG_ACCURATEDCT) != 0) {
        die(tjGetErrorStr2(turbo), path);
    }
    image picture = make_image(width, height, 3);
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < count; i++) {
            picture.data[k * count + i] = (float)(rgb[3 * i + k] / 255.);
        }
    }
    free(rgb);
    tjDestroy(turbo);
    buf_finish(&bytes);
    return picture;
}
#endif

static float clip(float value) {
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

static void finds_add(struct finds *list, const char *label, float confidence, box b) {
    struct found *out = &list->items[list->count];
    float left = clip(b.x - b.w / 2), right = clip(b.x + b.w / 2);
    float top = clip(b.y - b.h / 2), under = clip(b.y + b.h / 2);
    if (list->count == DETECTIONS_MAX || right <= left || under <= top) {
        return;
    }
    *out = (struct found){
        .confidence = confidence, .x = left, .y = top, .w = right - left, .h = under - top};
    snprintf(out->label, sizeof(out->label), "%s", label);
    list->count++;
}

/* The k-th label, or "" */
static const char *label_of(const struct setting *setting, int k) {
    const char *at = setting->names.data, *end = at + setting->names.len;
    for (int i = 0; i < k && at < end; i++) {
        at += strlen(at) + 1;
    }
    return at < end ? at : "";
}

static void labels_read(const char *path, struct setting *setting) {
    setting->names = (struct buf)BUF_INIT(1u << 20);
    read_bytes(path, &setting->names);
    buf_append(&setting->names, "", 1);
    for (size_t i = 0; i < setting->names.len; i++) {
        setting->names.data[i] = setting->names.data[i] == '\n' ? '\0' : setting->names.data[i];
    }
}

static void boxes_theirs(const struct setting *setting, const image *picture, struct finds *out) {
    int count = 0;
    detection *found = network_boxes(setting->net, picture->w, picture->h,
                                     setting->threshold - BAND, setting->stretch, &count);
    do_nms_sort(found, count, setting->classes, NMS);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < setting->classes; k++) {
            if (found[i].prob[k] > 0) {
                finds_add(out, label_of(setting, k), found[i].prob[k], found[i].bbox);
            }
        }
    }
    free_detections(found, count);
}

/* Darknet's way, from file to list. */
static void detect_theirs(const struct setting *setting, char *path, struct finds *out, int *width,
                          int *height) {
    image picture = picture_load(path);
    network *net = setting->net;
    image sized = setting->stretch ? resize_image(picture, net->w, net->h)
                                   : letterbox_image(picture, net->w, net->h);
    const float *said = network_run(net, sized.data);
    out->count = 0;
    for (int k = 0; setting->tags && k < setting->classes; k++) {
        if (said[k] > setting->threshold - BAND) {
            finds_add(out, label_of(setting, k), said[k], (box){.5f, .5f, 1, 1});
        }
    }
    if (!setting->tags) {
        boxes_theirs(setting, &picture, out);
    }
    *width = picture.w;
    *height = picture.h;
    free_image(sized);
    free_image(picture);
}

static float number(const json_t *object, const char *key) {
    return (float)json_number_value(json_object_get(object, key));
}

/* The line of creel's output for this image. */
static void detect_ours(const struct setting *setting, const struct buf *json, size_t line,
                        struct finds *out) {
    const char *at = json->data;
    for (size_t i = 0; i < line && at != NULL; i++) {
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    json_t *root = at != NULL ? json_loads(at, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    json_t *list = json_object_get(root, "detections");
    if (!json_is_array(list)) {
        die("creel gave no detections", "");
    }
    out->count = 0;
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        json_t *b = json_object_get(one, "box");
        struct found *to = &out->items[out->count++];
        if ((setting->tags) != json_is_true(json_object_get(one, "tag"))) {
            die("creel takes boxes for tags or tags for boxes", "");
        }
        *to = (struct found){.confidence = number(one, "confidence"),
                             .x = number(b, "x"),
                             .y = number(b, "y"),
                             .w = number(b, "w"),
                             .h = number(b, "h")};
        snprintf(to->label, sizeof(to->label), "%s",
                 json_string_value(json_object_get(one, "class")));
    }
    json_decref(root);
}

static float apart(float a, float b, float so_far) {
    return fmaxf(so_far, fabsf(a - b));
}

/* Largest difference of an edge, in units of what is allowed. */
static float box_error(const struct found *a, const struct found *b, int width, int height) {
    float across = apart(a->x + a->w, b->x + b->w, apart(a->x, b->x, 0));
    float down = apart(a->y + a->h, b->y + b->h, apart(a->y, b->y, 0));
    float allowed_across = fmaxf(1.0f / (float)width, 0.0015f);
    float allowed_down = fmaxf(1.0f / (float)height, 0.0015f);
    return fmaxf(across / allowed_across, down / allowed_down);
}

static struct found *pair_find(struct finds *list, const struct found *one, int width, int height) {
    struct found *best = NULL;
    for (size_t i = 0; i < list->count; i++) {
        struct found *other = &list->items[i];
        if (other->paired || strcmp(other->label, one->label) != 0) {
            continue;
        }
        if (best == NULL ||
            box_error(one, other, width, height) < box_error(one, best, width, height)) {
            best = other;
        }
    }
    return best;
}

struct worst {
    float confidence, edge;
    size_t pairs, wrong;
};

static void say_lonely(const struct finds *list, const char *who, float threshold,
                       struct worst *worst) {
    for (size_t i = 0; i < list->count; i++) {
        const struct found *one = &list->items[i];
        if (!one->paired && one->confidence >= threshold + BAND) {
            printf("  only %s: %s %.6f\n", who, one->label, (double)one->confidence);
            worst->wrong++;
        }
    }
}

/* creel keeps the best ones; Darknet all. */
static void trim(struct finds *theirs, const struct finds *ours) {
    size_t kept = 0;
    for (size_t i = 0; ours->count == FRAME_DETECTIONS_MAX && i < theirs->count; i++) {
        if (theirs->items[i].confidence >= ours->items[ours->count - 1].confidence) {
            theirs->items[kept++] = theirs->items[i];
        }
    }
    theirs->count = ours->count == FRAME_DETECTIONS_MAX ? kept : theirs->count;
}

static void compare(struct finds *theirs, struct finds *ours, float threshold, int width,
                    int height, struct worst *worst) {
    for (size_t i = 0; i < theirs->count; i++) {
        struct found *one = &theirs->items[i];
        struct found *other = pair_find(ours, one, width, height);
        if (other == NULL || box_error(one, other, width, height) > 20) {
            continue;
        }
        one->paired = other->paired = true;
        float confidence = fabsf(one->confidence - other->confidence);
        float edge = box_error(one, other, width, height);
        bool wrong = confidence > 0.01f || edge > 1;
        if (one->confidence >= threshold) {
            printf("  %-14s %.6f %.6f  box %.5f %.5f %.5f %.5f  %.5f %.5f %.5f %.5f%s\n",
                   one->label, (double)one->confidence, (double)other->confidence, (double)one->x,
                   (double)one->y, (double)one->w, (double)one->h, (double)other->x,
                   (double)other->y, (double)other->w, (double)other->h, wrong ? "  DIFFERS" : "");
        }
        worst->pairs++;
        worst->wrong += wrong;
        worst->confidence = fmaxf(worst->confidence, confidence);
        worst->edge = fmaxf(worst->edge, edge);
    }
    bool full = ours->count == FRAME_DETECTIONS_MAX;
    float least = full ? fmaxf(threshold, ours->items[ours->count - 1].confidence) : threshold;
    say_lonely(theirs, "Darknet", least, worst);
    say_lonely(ours, "creel", least, worst);
}

static int main_detect(char **args, int count) {
    static struct finds theirs, ours;
    struct setting setting = {.stretch = strcmp(args[3], "stretch") == 0,
                              .threshold = strtof(args[4], NULL)};
    struct buf json = BUF_INIT(64u << 20);
    struct worst worst = {0};
    setting.net = load_network(args[0], args[1], 1);
    set_batch_network(setting.net, 1);
    labels_read(args[2], &setting);
    const layer *last = &setting.net->layers[setting.net->n - 1];
    last -= last->type == COST ? 1 : 0;
    setting.tags = last->type == SOFTMAX;
    setting.classes = setting.tags ? last->outputs : last->classes;
    read_bytes(args[5], &json);
    for (int i = 6; i < count; i++) {
        int width = 0, height = 0;
        detect_theirs(&setting, args[i], &theirs, &width, &height);
        detect_ours(&setting, &json, (size_t)i - 6, &ours);
        printf("%s\n", args[i]);
        trim(&theirs, &ours);
        compare(&theirs, &ours, setting.threshold, width, height, &worst);
    }
    printf("%d images, %zu pairs, %zu wrong; worst: confidence %.6f (allowed 0.01), box edge %.4f "
           "of what is "
           "allowed\n",
           count - 6, worst.pairs, worst.wrong, (double)worst.confidence, (double)worst.edge);
    buf_finish(&json);
    buf_finish(&setting.names);
    return worst.wrong == 0 && worst.pairs > 0 ? 0 : 1;
}

/* Worst difference but for the last row of the picture, which Darknet at times paints black (see
 * image_resize.c). */
static float resize_error(const image *theirs, const float *ours, const struct image_fit *fit) {
    int last = ((int)fit->net_height - (int)fit->height) / 2 + (int)fit->height - 1;
    float worst = 0;
    for (int k = 0; k < 3; k++) {
        for (int y = 0; y < theirs->h; y++) {
            for (int x = 0; x < theirs->w && y != last; x++) {
                int at = (k * theirs->h + y) * theirs->w + x;
                worst = apart(theirs->data[at], ours[at], worst);
            }
        }
    }
    return worst;
}

static int main_resize(char **args) {
    struct buf bytes = BUF_INIT(FRAME_BLOB_MAX);
    struct image_pixels pixels = {0};
    struct err err = {0};
    int width = atoi(args[1]), height = atoi(args[2]);
    read_bytes(args[0], &bytes);
    if (image_decode((const uint8_t *)bytes.data, bytes.len, &pixels, &err) != 0) {
        die(err.msg, args[0]);
    }
    image picture = picture_load(args[0]);
    struct image_resizer *resizer = image_resizer_create((uint32_t)width, (uint32_t)height);
    float *planar = calloc((size_t)width * (size_t)height * 3, sizeof(*planar)), worst[2];
    for (int i = 0; i < 2; i++) {
        struct image_fit fit;
        image sized =
            i == 0 ? letterbox_image(picture, width, height) : resize_image(picture, width, height);
        image_resize(resizer, &pixels, i == 0 ? MODEL_LETTERBOX : MODEL_STRETCH, planar, &fit);
        worst[i] = resize_error(&sized, planar, &fit);
        free_image(sized);
    }
    printf("%s to %d x %d: letterbox differs by %g, stretch by %g\n", args[0], width, height,
           (double)worst[0], (double)worst[1]);
    image_resizer_destroy(resizer);
    image_pixels_finish(&pixels);
    free_image(picture);
    free(planar);
    buf_finish(&bytes);
    return worst[0] < 1e-4f && worst[1] < 1e-4f ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc >= 9 && strcmp(argv[1], "detect") == 0) {
        return main_detect(argv + 2, argc - 2);
    }
    if (argc == 5 && strcmp(argv[1], "resize") == 0) {
        return main_resize(argv + 2);
    }
    fputs("usage: reference detect CFG WEIGHTS NAMES letterbox|stretch THRESHOLD JSON IMAGE...\n"
          "       reference resize IMAGE WIDTH HEIGHT\n",
          stderr);
    return 2;
}
