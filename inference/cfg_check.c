/* The validator: a walk over the sections that carries the shape of the image, as Darknet's own
 * parser does, but asks before each step what Darknet assumes.
 *
 * Invariants of the walk: `now` is what the last layer made, and never empty; plan->layers[0 ..
 * layer_count) are the layers before; every size is a uint64_t below limits that keep sums from
 * overflowing (a layer's outputs and weights are compared with CFG_MEMORY_MAX before they are
 * added). Formulas: Darknet's make_*_layer and load_weights_upto. A convolution has a bias a
 * filter, with batch normalisation three more figures a filter, and channels / groups * filters *
 * size^2 weights. */
#include "inference/cfg.h"
#include "inference/cfg_walk.h"
#include <math.h>
#include <string.h>

enum { CHANNELS_MAX = 1 << 20, SIDE_MAX = 1 << 14 };

static uint64_t area(const struct cfg_shape *shape) {
    return (uint64_t)shape->width * shape->height * shape->channels;
}

int cfg__step(struct walk *walk, uint64_t width, uint64_t height, uint64_t channels,
              unsigned copies, uint64_t weights, struct err *err) {
    if (width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX ||
        channels > CHANNELS_MAX) {
        return err_set(
            err, ERR_INVALID,
            "%s:%d: [%s] would make %llu x %llu x %llu; expected 1 to %d on a side and at most "
            "%d channels",
            WHERE(walk), (unsigned long long)width, (unsigned long long)height,
            (unsigned long long)channels, SIDE_MAX, CHANNELS_MAX);
    }
    walk->now = (struct cfg_shape){(uint32_t)width, (uint32_t)height, (uint32_t)channels,
                                   walk->section->line};
    uint64_t floats = area(&walk->now) * copies + 2 * weights;
    walk->plan->weights += weights;
    walk->plan->memory_bytes += floats * sizeof(float);
    if (floats > CFG_MEMORY_MAX || walk->work * sizeof(float) > CFG_MEMORY_MAX ||
        walk->plan->memory_bytes + walk->work * sizeof(float) > CFG_MEMORY_MAX) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] the network needs more than %llu MB up to here", WHERE(walk),
                       (unsigned long long)(CFG_MEMORY_MAX >> 20));
    }
    return 0;
}

static int walk_convolutional(struct walk *walk, struct err *err) {
    const struct cfg_section *section = walk->section;
    uint64_t filters = (uint64_t)cfg_int(section, "filters", 1);
    uint64_t size = (uint64_t)cfg_int(section, "size", 1);
    uint64_t stride = (uint64_t)cfg_int(section, "stride", 1);
    uint64_t groups = (uint64_t)cfg_int(section, "groups", 1);
    uint64_t padding =
        cfg_int(section, "pad", 0) != 0 ? size / 2 : (uint64_t)cfg_int(section, "padding", 0);
    bool norm = cfg_int(section, "batch_normalize", 0) != 0;
    if (walk->now.channels % groups != 0 || filters % groups != 0) {
        return err_set(
            err, ERR_INVALID,
            "%s:%d: [%s] groups=%llu divides neither or only one of %u channels and %llu "
            "filters",
            WHERE(walk), (unsigned long long)groups, walk->now.channels,
            (unsigned long long)filters);
    }
    if (walk->now.width + 2 * padding < size || walk->now.height + 2 * padding < size) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] size=%llu is larger than its input of %u x %u", WHERE(walk),
                       (unsigned long long)size, walk->now.width, walk->now.height);
    }
    uint64_t width = (walk->now.width + 2 * padding - size) / stride + 1;
    uint64_t height = (walk->now.height + 2 * padding - size) / stride + 1;
    uint64_t depth = walk->now.channels / groups * size * size;
    uint64_t work = depth * width * height;
    walk->work = work > walk->work ? work : walk->work;
    return cfg__step(walk, width, height, filters, norm ? 4 : 2,
                     filters * depth + filters * (norm ? 4 : 1), err);
}

static int walk_maxpool(struct walk *walk, struct err *err) {
    uint64_t stride = (uint64_t)cfg_int(walk->section, "stride", 1);
    uint64_t size = (uint64_t)cfg_int(walk->section, "size", (long)stride);
    uint64_t padding = (uint64_t)cfg_int(walk->section, "padding", (long)size - 1);
    if (walk->now.width + padding < size || walk->now.height + padding < size) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] size=%llu is larger than its input of %u x %u", WHERE(walk),
                       (unsigned long long)size, walk->now.width, walk->now.height);
    }
    return cfg__step(walk, (walk->now.width + padding - size) / stride + 1,
                     (walk->now.height + padding - size) / stride + 1, walk->now.channels, 3, 0,
                     err);
}

/* The layer that a route or shortcut names: from the front, or counted back from here. */
static int layer_named(struct walk *walk, const struct cfg_pair *pair, double number,
                       const struct cfg_shape **out, struct err *err) {
    double here = (double)walk->plan->layer_count;
    double index = number < 0 ? here + number : number;
    if (number != floor(number) || index < 0 || index >= here) {
        return err_set(
            err, ERR_INVALID,
            "%s:%d: [%s] %s names layer %g; this is layer %zu, so expected 0 to %zu, or -1 to "
            "-%zu",
            walk->cfg->name, pair->line, walk->section->type, pair->key, number,
            walk->plan->layer_count, walk->plan->layer_count - 1, walk->plan->layer_count);
    }
    *out = &walk->plan->layers[(size_t)index];
    return 0;
}

/* With groups=n only one nth of what was joined is taken. */
static int route_step(struct walk *walk, const struct cfg_shape *first, uint64_t channels,
                      struct err *err) {
    uint64_t groups = (uint64_t)cfg_int(walk->section, "groups", 1);
    uint64_t group = (uint64_t)cfg_int(walk->section, "group_id", 0);
    if (channels % groups != 0 || group >= groups) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] groups=%llu, group_id=%llu of %llu channels; expected a number "
                       "that divides them, and 0 to %llu",
                       WHERE(walk), (unsigned long long)groups, (unsigned long long)group,
                       (unsigned long long)channels, (unsigned long long)groups - 1);
    }
    return cfg__step(walk, first->width, first->height, channels / groups, 2, 0, err);
}

static int walk_route(struct walk *walk, struct err *err) {
    const struct cfg_pair *pair = cfg_pair_find(walk->section, "layers");
    double numbers[64];
    size_t count = 0;
    if (pair == NULL || walk->plan->layer_count == 0) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] expected layers=<numbers of layers before it>", WHERE(walk));
    }
    int code = cfg_list(walk->cfg, walk->section, pair, numbers, 64, &count, err);
    uint64_t channels = 0;
    const struct cfg_shape *first = NULL;
    for (size_t i = 0; code == 0 && i < count; i++) {
        const struct cfg_shape *from = NULL;
        code = layer_named(walk, pair, numbers[i], &from, err);
        if (code != 0) {
            return code;
        }
        first = i == 0 ? from : first;
        if (from->width != first->width || from->height != first->height) {
            return err_set(err, ERR_INVALID,
                           "%s:%d: [%s] joins %u x %u with %u x %u; expected one size", WHERE(walk),
                           first->width, first->height, from->width, from->height);
        }
        channels += from->channels;
    }
    return code != 0 ? code : route_step(walk, first, channels, err);
}

static int walk_shortcut(struct walk *walk, struct err *err) {
    const struct cfg_pair *pair = cfg_pair_find(walk->section, "from");
    if (pair == NULL || walk->plan->layer_count == 0) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] expected from=<number of a layer before it>",
                       WHERE(walk));
    }
    const struct cfg_shape *from = NULL;
    int code = layer_named(walk, pair, (double)cfg_int(walk->section, "from", 0), &from, err);
    if (code != 0) {
        return code;
    }
    const struct cfg_shape *now = &walk->now;
    if (from->width != now->width || from->height != now->height ||
        from->channels != now->channels) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] adds %ux%ux%u to %ux%ux%u; expected one shape", WHERE(walk),
                       from->width, from->height, from->channels, now->width, now->height,
                       now->channels);
    }
    return cfg__step(walk, now->width, now->height, now->channels, 2, 0, err);
}

static int walk_upsample(struct walk *walk, struct err *err) {
    uint64_t stride = (uint64_t)cfg_int(walk->section, "stride", 2);
    return cfg__step(walk, walk->now.width * stride, walk->now.height * stride, walk->now.channels,
                     2, 0, err);
}

static int walk_dropout(struct walk *walk, struct err *err) {
    return cfg__step(walk, walk->now.width, walk->now.height, walk->now.channels, 1, 0, err);
}

static int walk_reorg(struct walk *walk, struct err *err) {
    uint64_t stride = (uint64_t)cfg_int(walk->section, "stride", 1);
    const struct cfg_shape *now = &walk->now;
    if (now->width % stride != 0 || now->height % stride != 0 ||
        now->channels % (stride * stride) != 0) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] stride=%llu cannot fold %u x %u x %u; expected sides that it "
                       "divides, and channels that its square divides",
                       WHERE(walk), (unsigned long long)stride, now->width, now->height,
                       now->channels);
    }
    return cfg__step(walk, now->width / stride, now->height / stride,
                     now->channels * stride * stride, 2, 0, err);
}

static int walk_avgpool(struct walk *walk, struct err *err) {
    return cfg__step(walk, 1, 1, walk->now.channels, 2, 0, err);
}

static const struct {
    const char *type;
    int (*walk)(struct walk *walk, struct err *err);
} layers[] = {
    {"convolutional", walk_convolutional},
    {"maxpool", walk_maxpool},
    {"route", walk_route},
    {"shortcut", walk_shortcut},
    {"upsample", walk_upsample},
    {"dropout", walk_dropout},
    {"reorg", walk_reorg},
    {"avgpool", walk_avgpool},
    {"yolo", cfg__yolo},
    {"region", cfg__region},
    {"softmax", cfg__softmax},
};

static int walk_layer(struct walk *walk, struct err *err) {
    const char *canon = cfg_section_canon(walk->section->type);
    for (size_t i = 0; canon != NULL && i < sizeof(layers) / sizeof(layers[0]); i++) {
        if (strcmp(canon, layers[i].type) != 0) {
            continue;
        }
        int code = cfg_keys_check(walk->cfg, walk->section, walk->plan, err);
        return code != 0 ? code : layers[i].walk(walk, err);
    }
    return err_set(
        err, ERR_INVALID,
        "%s:%d: [%s] is not a layer that creel runs; it runs convolutional, maxpool, route, "
        "shortcut, upsample, dropout, reorg, avgpool, yolo, region and softmax",
        WHERE(walk));
}

static int list_length(const struct walk *walk, const char *key, size_t *count, struct err *err) {
    const struct cfg_pair *pair = cfg_pair_find(walk->section, key);
    *count = 0;
    return pair == NULL ? 0 : cfg_list(walk->cfg, walk->section, pair, NULL, 1024, count, err);
}

static int walk_net(struct walk *walk, struct err *err) {
    const char *canon = cfg_section_canon(walk->section->type);
    if (canon == NULL || strcmp(canon, "net") != 0) {
        return err_set(err, ERR_INVALID, "%s:%d: the first section is [%s]; expected [net]",
                       WHERE(walk));
    }
    int code = cfg_keys_check(walk->cfg, walk->section, walk->plan, err);
    if (code != 0) {
        return code;
    }
    if (cfg_pair_find(walk->section, "width") == NULL ||
        cfg_pair_find(walk->section, "height") == NULL ||
        cfg_pair_find(walk->section, "channels") == NULL) {
        return err_set(err, ERR_INVALID, "%s:%d: [%s] expected width, height and channels=3",
                       WHERE(walk));
    }
    size_t steps = 0, scales = 0;
    code = list_length(walk, "steps", &steps, err);
    code = code == 0 ? list_length(walk, "scales", &scales, err) : code;
    if (code == 0 && steps != scales) {
        code =
            err_set(err, ERR_INVALID, "%s:%d: [%s] has %zu steps and %zu scales; expected as many",
                    WHERE(walk), steps, scales);
    }
    if (code != 0) {
        return code;
    }
    walk->plan->input_width = (uint32_t)cfg_int(walk->section, "width", 0);
    walk->plan->input_height = (uint32_t)cfg_int(walk->section, "height", 0);
    return cfg__step(walk, walk->plan->input_width, walk->plan->input_height, 3, 1, 0, err);
}

static int check_end(const struct cfg *cfg, const struct cfg_plan *plan, struct err *err) {
    size_t end = cfg->count - (cfg_is_cost(&cfg->sections[cfg->count - 1]) ? 1 : 0);
    const struct cfg_section *last = &cfg->sections[end > 0 ? end - 1 : 0];
    if (plan->head_count == 0) {
        return err_set(err, ERR_INVALID,
                       "%s: the network has no [yolo], [region] or [softmax] section, so it finds "
                       "nothing",
                       cfg->name);
    }
    const struct boxes_head *head = &plan->heads[plan->head_count - 1];
    if (head->layer + (head->kind == BOXES_TAGS ? 1 : 2) != plan->layer_count) {
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] is the last section; expected [yolo], [region] or [softmax]",
                       cfg->name, last->line, last->type);
    }
    return 0;
}

int cfg_check(const struct cfg *cfg, struct cfg_plan *plan, struct err *err) {
    struct walk walk = {.cfg = cfg, .plan = plan};
    memset(plan, 0, sizeof(*plan));
    for (size_t i = 0; i < cfg->count; i++) {
        walk.section = &cfg->sections[i];
        if (i > 0 && i + 1 == cfg->count && cfg_is_cost(walk.section)) {
            break; /* left out of the copy, too */
        }
        int code = i == 0 ? walk_net(&walk, err) : walk_layer(&walk, err);
        if (code != 0) {
            return code;
        }
        if (i > 0) {
            plan->layers[plan->layer_count++] = walk.now;
        }
    }
    plan->memory_bytes += walk.work * sizeof(float);
    return check_end(cfg, plan, err);
}
