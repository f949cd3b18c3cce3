/* The layers whose numbers are what a network finds: [yolo], [region], [softmax].
 *
 * A head of boxes is read from the layer before it (see boxes.h), so a Darknet that does not know
 * scale_x_y or new_coords computes such a network rightly up to there, and that is enough. */
#include "inference/cfg_walk.h"
#include <math.h>
#include <string.h>

enum { ANCHORS_MAX = 64 };

#define SCALE_MOST 4.0 /* of scale_x_y; networks have 1 to 2 */

struct anchors {
    double sides[2 * ANCHORS_MAX];
    size_t count;
};

/* All anchors of a section, as it gives them. */
static int read_anchors(struct walk *walk, struct anchors *out, struct err *err) {
    const struct cfg_section *section = walk->section;
    size_t given = 0, num = (size_t)cfg_int(section, "num", 1);
    const struct cfg_pair *anchors = cfg_pair_find(section, "anchors");
    double *values = out->sides;
    if (anchors == NULL) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] expected anchors=<%zu pairs>", WHERE(walk),
                       num);
    }
    int code = cfg_list(walk->cfg, section, anchors, values, 2 * ANCHORS_MAX, &given, err);
    if (code != 0) {
        return code;
    }
    if (given != 2 * num) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] anchors has %zu numbers; num=%zu asks for %zu", walk->cfg->name,
                       anchors->line, section->type, given, num, 2 * num);
    }
    for (size_t i = 0; i < given; i++) {
        if (values[i] <= 0 || values[i] > 16 * CFG_INPUT_MAX) {
            return err_set(err, ERR_INVALID, "%s:%d: [%s] anchors has the side %g; expected pixels",
                           walk->cfg->name, anchors->line, section->type, values[i]);
        }
    }
    out->count = num;
    return 0;
}

/* Which of them this head has. */
static int read_mask(struct walk *walk, const struct anchors *anchors, struct boxes_head *head,
                     struct err *err) {
    const struct cfg_section *section = walk->section;
    const struct cfg_pair *mask = cfg_pair_find(section, "mask");
    double values[BOXES_ANCHORS_MAX];
    size_t count = anchors->count;
    int code = mask == NULL
                   ? 0
                   : cfg_list(walk->cfg, section, mask, values, BOXES_ANCHORS_MAX, &count, err);
    if (code == 0 && count > BOXES_ANCHORS_MAX) {
        code = err_set(err, ERR_INVALID, "%s:%d: [%s] more than %d anchors", WHERE(walk),
                       BOXES_ANCHORS_MAX);
    }
    for (size_t i = 0; code == 0 && i < count; i++) {
        double which = mask != NULL ? values[i] : (double)i;
        if (which != floor(which) || which < 0 || which >= (double)anchors->count) {
            return err_set(err, ERR_INVALID, "%s:%d: [%s] mask has %g; expected 0 to %zu (num=%zu)",
                           walk->cfg->name, mask->line, section->type, which, anchors->count - 1,
                           anchors->count);
        }
        head->anchors[i][0] = (float)anchors->sides[2 * (size_t)which];
        head->anchors[i][1] = (float)anchors->sides[2 * (size_t)which + 1];
    }
    head->anchor_count = (uint32_t)count;
    return code;
}

/* Takes the head whose numbers come in `walk->now`, `depth` of them for each anchor. */
static int head_add(struct walk *walk, const struct boxes_head *head, struct err *err) {
    struct cfg_plan *plan = walk->plan;
    size_t needed = (size_t)head->anchor_count * (head->class_count + 5);
    if (head->kind != BOXES_TAGS && walk->now.channels != needed) {
        return err_set(
            err, ERR_INVALID,
            "%s:%d: [%s] gets %u channels; %u anchors and %u classes need %zu: set filters=%zu "
            "in the layer before",
            WHERE(walk), walk->now.channels, head->anchor_count, head->class_count, needed, needed);
    }
    if (plan->head_count == BOXES_HEADS_MAX) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] more than %d such sections", WHERE(walk),
                       BOXES_HEADS_MAX);
    }
    const struct boxes_head *before = plan->head_count > 0 ? &plan->heads[0] : head;
    if (before->class_count != head->class_count) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] classes=%u; the [%s] before has %u",
                       WHERE(walk), head->class_count, walk->section->type, before->class_count);
    }
    if ((before->kind == BOXES_TAGS) != (head->kind == BOXES_TAGS) ||
        (before != head && head->kind == BOXES_TAGS)) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] a network finds boxes or tags; expected one [softmax] or only "
                       "[yolo] and [region]",
                       WHERE(walk));
    }
    plan->class_count = head->class_count;
    plan->heads[plan->head_count++] = *head;
    return cfg__step(walk, walk->now.width, walk->now.height, walk->now.channels, 2, 0, err);
}

/* What [yolo] and [region] have in common. */
static int head_of_boxes(struct walk *walk, struct boxes_head *head, struct err *err) {
    struct anchors anchors;
    head->class_count = (uint32_t)cfg_int(walk->section, "classes", 20);
    head->grid_width = walk->now.width;
    head->grid_height = walk->now.height;
    head->layer = (uint32_t)walk->plan->layer_count - 1; /* of a first layer: refused, see above */
    int code = read_anchors(walk, &anchors, err);
    return code != 0 ? code : read_mask(walk, &anchors, head, err);
}

int cfg__yolo(struct walk *walk, struct err *err) {
    struct boxes_head head = {.scale = (float)cfg_number(walk->section, "scale_x_y", 1)};
    head.kind = cfg_int(walk->section, "new_coords", 0) != 0 ? BOXES_YOLO_READY : BOXES_YOLO;
    if (!(head.scale > 0) || (double)head.scale > SCALE_MOST) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] scale_x_y=%g; expected above 0, at most %g",
                       WHERE(walk), (double)head.scale, SCALE_MOST);
    }
    int code = head_of_boxes(walk, &head, err);
    return code != 0 ? code : head_add(walk, &head, err);
}

int cfg__region(struct walk *walk, struct err *err) {
    struct boxes_head head = {.kind = BOXES_REGION, .scale = 1};
    if (cfg_int(walk->section, "softmax", 0) != 1) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] expected softmax=1; no other is run",
                       WHERE(walk));
    }
    int code = head_of_boxes(walk, &head, err);
    const struct cfg_plan *plan = walk->plan;
    for (size_t i = 0; code == 0 && i < head.anchor_count; i++) { /* given in cells */
        head.anchors[i][0] *= (float)plan->input_width / (float)head.grid_width;
        head.anchors[i][1] *= (float)plan->input_height / (float)head.grid_height;
    }
    return code != 0 ? code : head_add(walk, &head, err);
}

int cfg__softmax(struct walk *walk, struct err *err) {
    struct boxes_head head = {.kind = BOXES_TAGS, .layer = (uint32_t)walk->plan->layer_count};
    uint64_t classes = (uint64_t)walk->now.width * walk->now.height * walk->now.channels;
    if (classes > MODEL_CLASSES_MAX) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] over %llu numbers; expected at most %d classes", WHERE(walk),
                       (unsigned long long)classes, MODEL_CLASSES_MAX);
    }
    head.class_count = (uint32_t)classes;
    return head_add(walk, &head, err);
}
