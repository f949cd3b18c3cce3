/* boxes: from the numbers of [yolo] layers to detections.
 *
 * Decoding and suppression are ours, so that every backend gives the same boxes: one candidate a
 * box and class above the floor, then greedy suppression within each class. Life cycle:
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

/* One [yolo] layer. `output` is planar: for each anchor x, y, w, h, objectness, classes; each a
 * grid of grid_width * grid_height; x, y, objectness and classes are already behind the logistic
 * function. */
struct boxes_head {
    const float *output;
    uint32_t grid_width, grid_height;
    uint32_t anchor_count, class_count;
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

/* Adds the candidates of a head with confidence > floor. Values that are not finite are left out.
 */
void boxes_collect(struct boxes *boxes, const struct boxes_head *head, const struct image_fit *fit,
                   float floor);

/* Drops each box that overlaps a more confident one of its class by more than `nms` (IoU). What is
 * left is ordered, most confident first. Returns how many. */
size_t boxes_suppress(struct boxes *boxes, float nms);

const struct boxes_item *boxes_get(const struct boxes *boxes, size_t i); /* borrowed */

float boxes_iou(const struct boxes_item *a, const struct boxes_item *b);

/* Clips to the image. False when nothing of the box lies in it. */
bool boxes_clip(const struct boxes_item *item, struct frame_box *out);

#endif
