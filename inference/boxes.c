/* Decoding of [yolo] layers (Redmon and Farhadi, YOLOv3, 2018, section 2.1) and greedy suppression.
 *
 * Invariants: 1. items[0 .. count) is a heap whose root is the least confident while candidates are
 * collected, so that the best BOXES_CANDIDATES_MAX survive whatever the floor is. 2. After
 * boxes_suppress it is ordered by falling confidence; equal ones by class, then place, so that the
 * same frame gives the same list each time. Suppression uses the boxes before they are clipped, as
 * Darknet does. */
#include "inference/boxes.h"
#include "daemon/base/mem.h"
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

static bool decode(const struct boxes_head *head, const struct image_fit *fit, size_t cell,
                   size_t anchor, const float *values, struct boxes_item *out) {
    size_t plane = (size_t)head->grid_width * head->grid_height;
    out->x = ((float)(cell % head->grid_width) + values[0]) / (float)head->grid_width;
    out->y = ((float)(cell / head->grid_width) + values[plane]) / (float)head->grid_height;
    out->w = expf(values[2 * plane]) * head->anchors[anchor][0] / (float)fit->net_width;
    out->h = expf(values[3 * plane]) * head->anchors[anchor][1] / (float)fit->net_height;
    unfit(out, fit);
    return isfinite(out->x) && isfinite(out->y) && isfinite(out->w) && isfinite(out->h);
}

void boxes_collect(struct boxes *boxes, const struct boxes_head *head, const struct image_fit *fit,
                   float floor) {
    size_t plane = (size_t)head->grid_width * head->grid_height;
    size_t depth = (size_t)head->class_count + 5;
    for (size_t anchor = 0; anchor < head->anchor_count; anchor++) {
        const float *base = head->output + anchor * depth * plane;
        for (size_t cell = 0; cell < plane; cell++) {
            float objectness = base[4 * plane + cell];
            /* written so that NaN fails */
            if (!(objectness > floor && objectness <= 1.0f)) {
                continue;
            }
            struct boxes_item item = {0};
            bool decoded = false;
            for (uint32_t k = 0; k < head->class_count; k++) {
                item.confidence = objectness * base[(5 + (size_t)k) * plane + cell];
                if (!(item.confidence > floor && item.confidence <= 1.0f)) {
                    continue;
                }
                if (!decoded && !decode(head, fit, cell, anchor, base + cell, &item)) {
                    break;
                }
                decoded = true;
                item.class_index = k;
                add(boxes, &item);
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

/* Heap sort: the weakest goes last. (qsort of the C library asks the system how much memory there
 * is, which the worker may not.) */
static void order(struct boxes *boxes) {
    for (size_t left = boxes->count; left > 1; left--) {
        swap(&boxes->items[0], &boxes->items[left - 1]);
        sift_down(boxes->items, left - 1);
    }
}

size_t boxes_suppress(struct boxes *boxes, float nms) {
    order(boxes);
    size_t kept = 0;
    for (size_t i = 0; i < boxes->count; i++) {
        const struct boxes_item *item = &boxes->items[i];
        bool hidden = false;
        for (size_t j = 0; j < kept && !hidden; j++) {
            hidden = boxes->items[j].class_index == item->class_index &&
                     boxes_iou(&boxes->items[j], item) > nms;
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
