/* The tables of keys: what they may be, and what one of the backends computes wrongly. A key that
 * is not in it is refused: Darknet would ignore it with a line on stderr, and the network might
 * then compute something else than its author meant. What only training reads is in the table too,
 * and is dropped from the copy that Darknet gets. */
#include "inference/cfg_keys.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    WHOLE,  /* a whole number from low to high */
    NUMBER, /* any number */
    WORD,   /* one of `words`, separated by spaces */
    LIST,   /* numbers, separated by commas */
    ONLY,   /* must be the number `low`: another value is one that the built-in Darknet computes
               wrongly */
    NEVER,  /* refused */
    TRAINS, /* any text; for training only */
};

struct rule {
    const char *section; /* "*": every one */
    const char *key;
    enum kind kind;
    double low, high;
    const char *words; /* WORD: the choices. ONLY, NEVER: why */
};

#define ACTIVATIONS "leaky linear relu logistic tanh elu selu relie ramp hardtan mish swish"
#define IGNORED     "Darknet's library for the CPU ignores it and would compute something else"
#define DETECTORS   "its meaning is not known to every Darknet"

static const struct rule rules[] = {
    {"net", "width", WHOLE, 8, CFG_INPUT_MAX, NULL},
    {"net", "height", WHOLE, 8, CFG_INPUT_MAX, NULL},
    {"net", "channels", ONLY, 3, 3, "creel gives red, green and blue"},
    {"net", "batch", WHOLE, 1, 1 << 20, NULL},
    {"net", "subdivisions", WHOLE, 1, 1 << 20, NULL},
    {"net", "time_steps", ONLY, 1, 1, "recurrent networks are not run"},
    {"net", "inputs", NEVER, 0, 0, "a detector's input is given by width, height and channels"},
    {"net", "steps", LIST, 0, 0, NULL},
    {"net", "scales", LIST, 0, 0, NULL},

    {"convolutional", "filters", WHOLE, 1, CFG_FILTERS_MAX, NULL},
    {"convolutional", "size", WHOLE, 1, 64, NULL},
    {"convolutional", "stride", WHOLE, 1, 64, NULL},
    {"convolutional", "pad", WHOLE, 0, 1, NULL},
    {"convolutional", "padding", WHOLE, 0, 64, NULL},
    {"convolutional", "groups", WHOLE, 1, CFG_FILTERS_MAX, NULL},
    {"convolutional", "batch_normalize", WHOLE, 0, 1, NULL},
    {"convolutional", "activation", WORD, 0, 0, ACTIVATIONS},
    {"convolutional", "binary", ONLY, 0, 0, "binary weights are not run"},
    {"convolutional", "xnor", ONLY, 0, 0, "binary weights are not run"},
    {"convolutional", "flipped", ONLY, 0, 0, "flipped weights are not run"},
    {"convolutional", "dilation", ONLY, 1, 1, IGNORED},
    {"convolutional", "antialiasing", ONLY, 0, 0, IGNORED},
    {"convolutional", "stride_x", NEVER, 0, 0, IGNORED},
    {"convolutional", "stride_y", NEVER, 0, 0, IGNORED},
    {"convolutional", "share_index", NEVER, 0, 0, IGNORED},
    {"convolutional", "dot", TRAINS, 0, 0, NULL},

    {"maxpool", "size", WHOLE, 1, 64, NULL},
    {"maxpool", "stride", WHOLE, 1, 64, NULL},
    {"maxpool", "padding", WHOLE, 0, 63, NULL},
    {"maxpool", "maxpool_depth", ONLY, 0, 0, IGNORED},
    {"maxpool", "antialiasing", ONLY, 0, 0, IGNORED},
    {"maxpool", "stride_x", NEVER, 0, 0, IGNORED},
    {"maxpool", "stride_y", NEVER, 0, 0, IGNORED},

    {"route", "layers", LIST, 0, 0, NULL},
    {"route", "groups", WHOLE, 1, 1024, NULL},
    {"route", "group_id", WHOLE, 0, 1023, NULL},

    {"shortcut", "from", WHOLE, -CFG_LAYERS_MAX, CFG_LAYERS_MAX, NULL},
    {"shortcut", "activation", WORD, 0, 0, ACTIVATIONS},
    {"shortcut", "weights_type", WORD, 0, 0, "none"},
    {"shortcut", "weights_normalization", TRAINS, 0, 0, NULL},
    {"shortcut", "alpha", ONLY, 1, 1, "it is not known to every Darknet"},
    {"shortcut", "beta", ONLY, 1, 1, "it is not known to every Darknet"},

    {"upsample", "stride", WHOLE, 1, 16, NULL},
    {"upsample", "scale", ONLY, 1, 1, "a scaled upsample is not run"},

    {"dropout", "probability", TRAINS, 0, 0, NULL},
    {"dropout", "dropblock", TRAINS, 0, 0, NULL},
    {"dropout", "dropblock_size_rel", TRAINS, 0, 0, NULL},
    {"dropout", "dropblock_size_abs", TRAINS, 0, 0, NULL},

    {"yolo", "mask", LIST, 0, 0, NULL},
    {"yolo", "anchors", LIST, 0, 0, NULL},
    {"yolo", "classes", WHOLE, 1, 1024, NULL},
    {"yolo", "num", WHOLE, 1, 64, NULL},
    {"yolo", "scale_x_y", NUMBER, 0, 0, NULL},
    {"yolo", "new_coords", WHOLE, 0, 1, NULL},
    {"yolo", "embedding_layer", NEVER, 0, 0, IGNORED},
    {"yolo", "map", NEVER, 0, 0, "it names another file"},
    {"yolo", "jitter", NUMBER, 0, 0, NULL},
    {"yolo", "ignore_thresh", NUMBER, 0, 0, NULL},
    {"yolo", "truth_thresh", NUMBER, 0, 0, NULL},

    {"region", "anchors", LIST, 0, 0, NULL},
    {"region", "classes", WHOLE, 1, 1024, NULL},
    {"region", "num", WHOLE, 1, 32, NULL},
    {"region", "coords", ONLY, 4, 4, "a box has four numbers"},
    {"region", "softmax", WHOLE, 0, 1, NULL},
    {"region", "background", ONLY, 0, 0, DETECTORS},
    {"region", "log", ONLY, 0, 0, DETECTORS},
    {"region", "sqrt", ONLY, 0, 0, DETECTORS},
    {"region", "tree", NEVER, 0, 0, "it names another file"},
    {"region", "map", NEVER, 0, 0, "it names another file"},

    {"reorg", "stride", WHOLE, 1, 16, NULL},
    {"reorg", "reverse", ONLY, 0, 0, DETECTORS},
    {"reorg", "flatten", ONLY, 0, 0, DETECTORS},
    {"reorg", "extra", ONLY, 0, 0, DETECTORS},

    {"softmax", "groups", ONLY, 1, 1, "one choice of a class is run"},
    {"softmax", "temperature", ONLY, 1, 1, "another temperature is not run"},
    {"softmax", "spatial", ONLY, 0, 0, "a class for each place is not run"},
    {"softmax", "noloss", WHOLE, 0, 1, NULL},
    {"softmax", "tree", NEVER, 0, 0, "it names another file"},

    {"*", "dontload", ONLY, 0, 0, "every layer's weights must come from the weights file"},
    {"*", "dontloadscales", ONLY, 0, 0, "every layer's weights must come from the weights file"},
    {"*", "numload", ONLY, 0, 0, "every layer's weights must come from the weights file"},
};

/* What one backend computes wrongly, without a word. */
static const struct limit {
    const char *section, *key;
    enum backend backend;
    const char *wrong; /* these words; NULL: every number but `right` */
    double right;
} limits[] = {
    {"convolutional", "activation", BACKEND_PJREDDIE, "mish swish", 0},
    {"shortcut", "activation", BACKEND_PJREDDIE, "mish swish", 0},
    {"route", "groups", BACKEND_PJREDDIE, NULL, 1},
    {"route", "group_id", BACKEND_PJREDDIE, NULL, 0},
};

/* For training only; the same words whatever the section. */
static const char *const net_trains =
    " batch subdivisions momentum decay learning_rate learning_rate_min burn_in max_batches policy "
    "steps "
    "scales step scale gamma power angle saturation exposure hue aspect max_crop min_crop "
    "max_ratio "
    "min_ratio center clip flip blur gaussian_blur gaussian_noise mixup cutmix mosaic mosaic_bound "
    "letter_box notruth random adam B1 B2 eps seq_scales sgdr_cycle sgdr_mult cycle loss_scale "
    "dynamic_minibatch optimized_memory workspace_size_limit_MB label_smooth_eps resize_step "
    "attention "
    "adversarial_lr augment_speed sequential_subdivisions try_fix_nan weights_reject_freq "
    "equidistant_point ema_alpha use_cuda_graph show_receptive_field ";
static const char *const layer_trains =
    " onlyforward stopbackward dontsave learning_rate smooth truth clip train burnin_update "
    "train_only_bn keep_delta_gpu random max jitter ignore_thresh truth_thresh absolute iou_thresh "
    "iou_loss iou_normalizer cls_normalizer obj_normalizer delta_normalizer max_delta nms_kind "
    "beta_nms focal_loss objectness_smooth label_smooth_eps counters_per_class resize "
    "map_activation track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm "
    "bias_match rescore thresh classfix object_scale noobject_scale class_scale coord_scale "
    "mask_scale ";

static bool has_word(const char *words, const char *word) {
    size_t length = strlen(word);
    for (const char *at = strstr(words, word); at != NULL && length > 0;
         at = strstr(at + 1, word)) {
        bool begins = at == words || at[-1] == ' ', ends = at[length] == ' ' || at[length] == '\0';
        if (begins && ends) {
            return true;
        }
    }
    return false;
}

const char *cfg_section_canon(const char *type) {
    static const char *const names[][2] = {
        {"net", "net"},
        {"network", "net"},
        {"convolutional", "convolutional"},
        {"conv", "convolutional"},
        {"maxpool", "maxpool"},
        {"max", "maxpool"},
        {"route", "route"},
        {"shortcut", "shortcut"},
        {"upsample", "upsample"},
        {"dropout", "dropout"},
        {"reorg", "reorg"},
        {"avgpool", "avgpool"},
        {"avg", "avgpool"},
        {"yolo", "yolo"},
        {"region", "region"},
        {"softmax", "softmax"},
        {"soft", "softmax"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(type, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return NULL;
}

bool cfg_key_trains(const char *section, const char *key) {
    const char *canon = cfg_section_canon(section);
    if (canon != NULL && strcmp(canon, "net") == 0) {
        return has_word(net_trains, key);
    }
    return has_word(layer_trains, key);
}

static const struct rule *rule_find(const char *canon, const char *key) {
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        bool here = strcmp(rules[i].section, canon) == 0 || rules[i].section[0] == '*';
        if (here && strcmp(rules[i].key, key) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

static bool parse_number(const char *text, double *out) {
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

int cfg_list(const struct cfg *cfg, const struct cfg_section *section, const struct cfg_pair *pair,
             double *out, size_t room, size_t *count, struct err *err) {
    const char *at = pair->value;
    for (*count = 0;; (*count)++) {
        char item[32];
        size_t length = strcspn(at, ",");
        if (length == 0 && *at == '\0' && *count > 0) { /* a comma at the end is usual */
            return 0;
        }
        double value = 0;
        if (length < sizeof(item)) {
            memcpy(item, at, length);
            item[length] = '\0';
        }
        if (length >= sizeof(item) || !parse_number(item, &value) || *count == room) {
            return err_set(err, ERR_INVALID,
                           "%s:%d: [%s] %s: expected at most %zu numbers with commas, "
                           "found \"%.60s\"",
                           cfg->name, pair->line, section->type, pair->key, room, pair->value);
        }
        if (out != NULL) {
            out[*count] = value;
        }
        if (at[length] == '\0') {
            (*count)++;
            return 0;
        }
        at += length + 1;
    }
}

static int bad_value(const struct cfg *cfg, const struct cfg_section *section,
                     const struct cfg_pair *pair, const struct rule *rule, struct err *err) {
    const char *name = cfg->name;
    switch (rule->kind) {
    case WHOLE:
        return err_set(err, ERR_INVALID,
                       "%s:%d: [%s] %s=%.40s: expected a whole number from %.0f to %.0f", name,
                       pair->line, section->type, pair->key, pair->value, rule->low, rule->high);
    case WORD:
        return err_set(err, ERR_INVALID, "%s:%d: [%s] %s=%.40s: expected one of: %s", name,
                       pair->line, section->type, pair->key, pair->value, rule->words);
    case ONLY:
        return err_set(err, ERR_INVALID, "%s:%d: [%s] %s=%.40s: only %.0f can be run (%s)", name,
                       pair->line, section->type, pair->key, pair->value, rule->low, rule->words);
    case NEVER:
        return err_set(err, ERR_INVALID, "%s:%d: [%s] %s cannot be run (%s)", name, pair->line,
                       section->type, pair->key, rule->words);
    default:
        return err_set(err, ERR_INVALID, "%s:%d: [%s] %s=%.40s: expected a number", name,
                       pair->line, section->type, pair->key, pair->value);
    }
}

static bool value_fits(const struct cfg_pair *pair, const struct rule *rule) {
    double value = 0;
    bool number = parse_number(pair->value, &value);
    switch (rule->kind) {
    case WHOLE:
        return number && value == floor(value) && value >= rule->low && value <= rule->high;
    case NUMBER:
        return number;
    case ONLY:
        return number && value == rule->low;
    case WORD:
        return has_word(rule->words, pair->value);
    case NEVER:
        return false;
    default:
        return true;
    }
}

static void limits_note(const struct cfg *cfg, const struct cfg_section *section,
                        const struct cfg_pair *pair, struct cfg_plan *plan) {
    const char *canon = cfg_section_canon(section->type);
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        const struct limit *limit = &limits[i];
        char *why = plan->refusals.why[limit->backend];
        double value = limit->right;
        if (strcmp(limit->section, canon) != 0 || strcmp(limit->key, pair->key) != 0 ||
            why[0] != '\0') {
            continue;
        }
        bool wrong = limit->wrong != NULL
                         ? has_word(limit->wrong, pair->value)
                         : parse_number(pair->value, &value) && value != limit->right;
        if (wrong) {
            snprintf(why, BACKEND_WHY_SIZE,
                     "%.120s:%d: [%s] %s=%.20s: %s's Darknet ignores it and would compute "
                     "something else",
                     cfg->name, pair->line, section->type, pair->key, pair->value,
                     backend_name(limit->backend));
        }
    }
}

int cfg_keys_check(const struct cfg *cfg, const struct cfg_section *section, struct cfg_plan *plan,
                   struct err *err) {
    const char *canon = cfg_section_canon(section->type);
    for (size_t i = 0; i < section->count; i++) {
        const struct cfg_pair *pair = &section->pairs[i];
        const struct rule *rule = rule_find(canon, pair->key);
        if (rule == NULL) {
            if (cfg_key_trains(canon, pair->key)) {
                continue;
            }
            return err_set(
                err, ERR_INVALID,
                "%s:%d: [%s] has the unknown key \"%.40s\": creel cannot tell whether it "
                "changes what the network computes",
                cfg->name, pair->line, section->type, pair->key);
        }
        if (!value_fits(pair, rule)) {
            return bad_value(cfg, section, pair, rule, err);
        }
        limits_note(cfg, section, pair, plan);
        size_t count = 0;
        int code = rule->kind == LIST ? cfg_list(cfg, section, pair, NULL, 1024, &count, err) : 0;
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

long cfg_int(const struct cfg_section *section, const char *key, long missing) {
    const struct cfg_pair *pair = cfg_pair_find(section, key);
    double value = 0;
    if (pair == NULL || !parse_number(pair->value, &value)) {
        return missing;
    }
    return (long)value;
}

double cfg_number(const struct cfg_section *section, const char *key, double missing) {
    const struct cfg_pair *pair = cfg_pair_find(section, key);
    double value = 0;
    return pair != NULL && parse_number(pair->value, &value) ? value : missing;
}

bool cfg_is_cost(const struct cfg_section *section) {
    return strcmp(section->type, "cost") == 0;
}
