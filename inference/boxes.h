/* boxes: from the numbers of a network's last layers to detections.
 *
 * Decoding and suppression are ours, so that every backend gives the same: one candidate a box and
 * class above the floor, then suppression. Heads are read from the layer before [yolo] and
 * [region], whose numbers all Darknets agree on; what those two make of them differs. Life cycle:
 * boxes_create -> (boxes_reset, boxes_collect for each head, boxes_suppress) ... -> boxes_destroy.
 * Thread: one at a time.
 */
#ifndef CREEL_INFERENCE_BOXES_H
#define CREEL_INFERENCE_BOXES_H

#include "inference/image_resize.h"
#include <stddef.h>
#include <stdint.h>

#define BOXES_ANCHORS_MAX    32   /* of one head */
#define BOXES_HEADS_MAX      8    /* of a network */
#define BOXES_CANDIDATES_MAX 4096 /* most confident ones, before suppression */

enum boxes_kind {
    BOXES_YOLO = 0,       /* [yolo] of v3 and later: each class through the logistic function */
    BOXES_YOLO_READY = 1, /* with new_coords=1 (v4-csp, v7): the layer before has been through it */
    BOXES_REGION = 2,     /* [region] of v2: softmax over the classes */
    BOXES_TAGS = 3,       /* [softmax] of a classifier: probabilities, of the whole frame */
};

/* The input of a [yolo] or [region] layer, planar: for each anchor x, y, w, h, objectness, classes;
 * each a grid of grid_width * grid_height. Or the output of [softmax]: class_count numbers. */
struct boxes_head {
    const float *output;
    enum boxes_kind kind;
    uint32_t layer; /* whose output that is */
    uint32_t grid_width, grid_height;
    uint32_t anchor_count, class_count;
    float scale; /* scale_x_y: how far a centre may reach over its cell; 1: not */
    float anchors[BOXES_ANCHORS_MAX][2]; /* width, height in pixels of the network's input */
};

struct boxes_item { /* centre and size relative to the image; may reach beyond it */
    float x, y, w, h;
    float confidence;
    uint32_t class_index;
};

struct boxes;
struct boxes *boxes_create(void); /* NULL: no memory */
void boxes_destroy(struct boxes *boxes);
void boxes_reset(struct boxes *boxes);

/* How many floats `output` has. */
size_t boxes_head_values(const struct boxes_head *head);

/* Adds the candidates of a head with confidence > floor. Values that are not finite are left out.
 * A tag's box is the whole image. */
void boxes_collect(struct boxes *boxes, const struct boxes_head *head, const struct image_fit *fit,
                   float floor);

/* Drops boxes that overlap a more confident one by more than `nms`; `kind` says which are compared,
 * and how (see enum model_nms). What is left is ordered, most confident first. Returns how many. */
size_t boxes_suppress(struct boxes *boxes, enum model_nms kind, float nms);

const struct boxes_item *boxes_get(const struct boxes *boxes, size_t i); /* borrowed */

float boxes_iou(const struct boxes_item *a, const struct boxes_item *b);

/* IoU less the squared distance of the centres over that of the farthest corners (Zheng et al.,
 * Distance-IoU Loss, 2020, section 3.3). */
float boxes_diou(const struct boxes_item *a, const struct boxes_item *b);

/* Clips to the image. False when nothing of the box lies in it. */
bool boxes_clip(const struct boxes_item *item, struct frame_box *out);

#endif
