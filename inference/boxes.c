/* Decoding of [yolo] layers (Redmon and Farhadi, YOLOv3, 2018, section 2.1), of [region] layers
 * (YOLO9000, 2016, section 2) and of classifiers, and suppression.
 *
 * Invariants: 1. items[0 .. count) is a heap whose root is the least confident while candidates are
 * collected, so that the best BOXES_CANDIDATES_MAX survive whatever the floor is. 2. After
 * boxes_suppress it is ordered by falling confidence; equal ones by class, then place, so that the
 * same frame gives the same list each time. Suppression uses the boxes before they are clipped, as
 * Darknet does. */
#include "inference/boxes.h"
#include "daemon/base/mem.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

struct boxes {
    struct boxes_item items[BOXES_CANDIDATES_MAX];
    size_t count;
};

struct boxes *boxes_create(void) {
    return mem_alloc(sizeof(struct boxes));
}

void boxes_destroy(struct boxes *boxes) {
    free(boxes);
}

void boxes_reset(struct boxes *boxes) {
    boxes->count = 0;
}

static void swap(struct boxes_item *a, struct boxes_item *b) {
    struct boxes_item kept = *a;
    *a = *b;
    *b = kept;
}

/* The order of the heap: less confident; equal ones by class, then place. */
static bool weaker(const struct boxes_item *a, const struct boxes_item *b) {
    if (a->confidence != b->confidence) {
        return a->confidence < b->confidence;
    }
    if (a->class_index != b->class_index) {
        return a->class_index > b->class_index;
    }
    return a->x != b->x ? a->x > b->x : a->y > b->y;
}

static void sift_up(struct boxes_item *items, size_t at) {
    while (at > 0 && weaker(&items[at], &items[(at - 1) / 2])) {
        swap(&items[at], &items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct boxes_item *items, size_t count) {
    size_t at = 0;
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            if (weaker(&items[child], &items[least])) {
                least = child;
            }
        }
        if (least == at) {
            return;
        }
        swap(&items[at], &items[least]);
        at = least;
    }
}

static void add(struct boxes *boxes, const struct boxes_item *item) {
    if (boxes->count < BOXES_CANDIDATES_MAX) {
        boxes->items[boxes->count++] = *item;
        sift_up(boxes->items, boxes->count - 1);
    } else if (weaker(&boxes->items[0], item)) {
        boxes->items[0] = *item;
        sift_down(boxes->items, boxes->count);
    }
}

/* From the network's input to the image that lies in it. */
static void unfit(struct boxes_item *item, const struct image_fit *fit) {
    float width = (float)fit->net_width, height = (float)fit->net_height;
    float inner_width = (float)fit->width, inner_height = (float)fit->height;
    item->x = (item->x - (width - inner_width) / 2 / width) / (inner_width / width);
    item->y = (item->y - (height - inner_height) / 2 / height) / (inner_height / height);
    item->w *= width / inner_width;
    item->h *= height / inner_height;
}

static float logistic(float value) {
    return 1.0f / (1.0f + expf(-value));
}

/* A centre within its cell; scaled about the middle (Bochkovskiy et al., YOLOv4,
 * 2020, 3.4). */
static float centre(const struct boxes_head *head, float value) {
    float inside = head->kind == BOXES_YOLO_READY ? value : logistic(value);
    return head->scale * inside - 0.5f * (head->scale - 1.0f);
}

static float side(const struct boxes_head *head, float value) {
    return head->kind == BOXES_YOLO_READY ? 4.0f * value * value : expf(value);
}

static bool decode(const struct boxes_head *head, const struct image_fit *fit, size_t cell,
                   size_t anchor, const float *values, struct boxes_item *out) {
    size_t plane = (size_t)head->grid_width * head->grid_height;
    float column = (float)(cell % head->grid_width), row = (float)(cell / head->grid_width);
    out->x = (column + centre(head, values[0])) / (float)head->grid_width;
    out->y = (row + centre(head, values[plane])) / (float)head->grid_height;
    out->w = side(head, values[2 * plane]) * head->anchors[anchor][0] / (float)fit->net_width;
    out->h = side(head, values[3 * plane]) * head->anchors[anchor][1] / (float)fit->net_height;
    unfit(out, fit);
    return isfinite(out->x) && isfinite(out->y) && isfinite(out->w) && isfinite(out->h);
}

/* What class k's number is a part of: exp(value - greatest) / total. */
struct share {
    float greatest, total;
};

static struct share share_of(const struct boxes_head *head, const float *classes, size_t plane) {
    struct share share = {.greatest = classes[0]};
    for (size_t k = 1; k < head->class_count; k++) {
        share.greatest = fmaxf(share.greatest, classes[k * plane]);
    }
    for (size_t k = 0; k < head->class_count; k++) {
        share.total += expf(classes[k * plane] - share.greatest);
    }
    return share;
}

/* The candidates of one anchor in one cell, whose objectness is above the floor. */
static void collect_cell(struct boxes *boxes, const struct boxes_head *head,
                         const struct image_fit *fit, float floor, size_t cell, size_t anchor,
                         const float *values, float objectness) {
    size_t plane = (size_t)head->grid_width * head->grid_height;
    const float *classes = values + 5 * plane;
    struct share share = {0};
    struct boxes_item item = {0};
    if (!decode(head, fit, cell, anchor, values, &item)) {
        return;
    }
    if (head->kind == BOXES_REGION) {
        share = share_of(head, classes, plane);
    }
    for (uint32_t k = 0; k < head->class_count; k++) {
        float value = classes[k * plane];
        float likely = head->kind == BOXES_YOLO_READY ? value
                       : head->kind == BOXES_REGION   ? expf(value - share.greatest) / share.total
                                                      : logistic(value);
        item.confidence = objectness * likely;
        item.class_index = k;
        if (item.confidence > floor && item.confidence <= 1.0f && isfinite(value)) {
            add(boxes, &item);
        }
    }
}

static void collect_tags(struct boxes *boxes, const struct boxes_head *head, float floor) {
    for (uint32_t k = 0; k < head->class_count; k++) {
        float likely = head->output[k];
        if (likely > floor && likely <= 1.0f) {
            struct boxes_item item = {0.5f, 0.5f, 1.0f, 1.0f, likely, k};
            add(boxes, &item);
        }
    }
}

size_t boxes_head_values(const struct boxes_head *head) {
    return head->kind == BOXES_TAGS ? head->class_count
                                    : (size_t)head->grid_width * head->grid_height *
                                          head->anchor_count * (head->class_count + 5);
}

void boxes_collect(struct boxes *boxes, const struct boxes_head *head, const struct image_fit *fit,
                   float floor) {
    if (head->kind == BOXES_TAGS) {
        collect_tags(boxes, head, floor);
        return;
    }
    size_t plane = (size_t)head->grid_width * head->grid_height;
    size_t depth = (size_t)head->class_count + 5;
    bool ready = head->kind == BOXES_YOLO_READY;
    /* most cells are empty: they are told by a comparison, without the logistic function */
    float least = ready ? floor : logf(floor / (1.0f - floor)) - 1e-3f;
    for (size_t anchor = 0; anchor < head->anchor_count; anchor++) {
        const float *base = head->output + anchor * depth * plane;
        for (size_t cell = 0; cell < plane; cell++) {
            float value = base[4 * plane + cell];
            if (!(value > least && value <= FLT_MAX)) { /* written so that NaN fails */
                continue;
            }
            float objectness = ready ? value : logistic(value);
            if (objectness > floor && objectness <= 1.0f) {
                collect_cell(boxes, head, fit, floor, cell, anchor, base + cell, objectness);
            }
        }
    }
}

static float overlap(float centre_a, float size_a, float centre_b, float size_b) {
    float low = fmaxf(centre_a - size_a / 2, centre_b - size_b / 2);
    float high = fminf(centre_a + size_a / 2, centre_b + size_b / 2);
    return high - low;
}

float boxes_iou(const struct boxes_item *a, const struct boxes_item *b) {
    float width = overlap(a->x, a->w, b->x, b->w), height = overlap(a->y, a->h, b->y, b->h);
    if (width <= 0 || height <= 0) {
        return 0;
    }
    float both = width * height;
    return both / (a->w * a->h + b->w * b->h - both);
}

static float reach(float centre_a, float size_a, float centre_b, float size_b) {
    float low = fminf(centre_a - size_a / 2, centre_b - size_b / 2);
    float high = fmaxf(centre_a + size_a / 2, centre_b + size_b / 2);
    return high - low;
}

float boxes_diou(const struct boxes_item *a, const struct boxes_item *b) {
    float width = reach(a->x, a->w, b->x, b->w), height = reach(a->y, a->h, b->y, b->h);
    float across = a->x - b->x, down = a->y - b->y;
    float corners = width * width + height * height;
    return boxes_iou(a, b) - (corners > 0 ? (across * across + down * down) / corners : 0);
}

/* Heap sort: the weakest goes last. (qsort of the C library asks the system how much memory there
 * is, which the worker may not.) */
static void order(struct boxes *boxes) {
    for (size_t left = boxes->count; left > 1; left--) {
        swap(&boxes->items[0], &boxes->items[left - 1]);
        sift_down(boxes->items, left - 1);
    }
}

static bool hides(const struct boxes_item *strong, const struct boxes_item *weak,
                  enum model_nms kind, float nms) {
    if (kind != MODEL_NMS_AGNOSTIC && strong->class_index != weak->class_index) {
        return false;
    }
    return (kind == MODEL_NMS_DIOU ? boxes_diou(strong, weak) : boxes_iou(strong, weak)) > nms;
}

size_t boxes_suppress(struct boxes *boxes, enum model_nms kind, float nms) {
    order(boxes);
    size_t kept = 0;
    for (size_t i = 0; i < boxes->count; i++) {
        const struct boxes_item *item = &boxes->items[i];
        bool hidden = false;
        for (size_t j = 0; j < kept && !hidden; j++) {
            hidden = hides(&boxes->items[j], item, kind, nms);
        }
        if (!hidden) {
            boxes->items[kept++] = *item;
        }
    }
    boxes->count = kept;
    return kept;
}

const struct boxes_item *boxes_get(const struct boxes *boxes, size_t i) {
    return i < boxes->count ? &boxes->items[i] : NULL;
}

static double clamp(float value) {
    return value < 0.0f ? 0.0 : value > 1.0f ? 1.0 : (double)value;
}

bool boxes_clip(const struct boxes_item *item, struct frame_box *out) {
    double left = clamp(item->x - item->w / 2), right = clamp(item->x + item->w / 2);
    double top = clamp(item->y - item->h / 2), under = clamp(item->y + item->h / 2);
    if (right <= left || under <= top) {
        return false;
    }
    *out = (struct frame_box){left, top, right - left, under - top};
    return true;
}
