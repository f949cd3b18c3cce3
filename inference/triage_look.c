/* triage_look: a frame's detections, as a rule sees them.
 *
 * What counts. Detections below `uncertain_floor` are noise, and those of classes that the rule
 * leaves out are not there. One more kind is left out: a detector with per-class suppression often
 * reports a second class on the box of a thing that it knows well ("car" 0.92 and on the same
 * pixels "truck" 0.20). That is the tail of one class distribution, not a second thing that the
 * model wonders about, and counting it would put nearly every sure frame among the unsure ones. So
 * a detection in the band is a shadow, and left out, when a confident one covers it with IoU above
 * SHADOW_IOU and it has less than SHADOW_SHARE of that one's confidence. Above that share the two
 * classes do compete, and it counts.
 *
 * Thresholds are compared as floats: 0.7 in the config and 0.7f from the network are the same
 * border.
 */
#include "inference/triage_parts.h"

#include <math.h>
#include <string.h>

#define SHADOW_IOU    0.7
#define SHADOW_SHARE  0.5F
#define RARITY_MEMORY 2048 /* things remembered before all counts are halved */

double triage__iou(const struct frame_box *a, const struct frame_box *b) {
    double w = fmin(a->x + a->w, b->x + b->w) - fmax(a->x, b->x);
    double h = fmin(a->y + a->h, b->y + b->h) - fmax(a->y, b->y);

    if (!(w > 0) || !(h > 0)) {
        return 0;
    }
    double both = a->w * a->h + b->w * b->h - w * h;
    return both > 0 ? w * h / both : 0;
}

bool triage__is_shadow(const struct frame_record *record, const struct frame_detection *weak,
                       float confident) {
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *strong = &record->detections[i];
        if (strong->confidence >= confident &&
            weak->confidence < SHADOW_SHARE * strong->confidence &&
            triage__iou(&strong->box, &weak->box) > SHADOW_IOU) {
            return true;
        }
    }
    return false;
}

/* 1 in the middle of [floor, confident], 0 at its ends. */
static double nearness_of(const struct triage_config *config, double confidence) {
    double half = (config->confident - config->uncertain_floor) / 2;
    double off = fabs(confidence - config->uncertain_floor - half) / half;

    return off >= 1 ? 0 : 1 - off;
}

double triage__share_of_class(const struct triage__camera *camera, uint16_t class_index) {
    if (camera->class_total == 0) {
        return 0;
    }
    return (double)camera->class_counts[class_index % TRIAGE__RARITY_BUCKETS] / camera->class_total;
}

/* [0, 1) from the id's bits by the finalizer of splitmix64 (Steele, Lea, Flood: "Fast splittable
 * pseudorandom number generators", 2014). An id's first half is mostly time: neighbours must not be
 * sampled together. The salt makes the samples of two rules independent. */
static double chance_of(const struct frame_id *id, uint64_t salt) {
    uint64_t high;
    uint64_t low;

    memcpy(&high, id->bytes, sizeof high);
    memcpy(&low, id->bytes + sizeof high, sizeof low);
    uint64_t z = __builtin_bswap64(high) * UINT64_C(0x9e3779b97f4a7c15) + __builtin_bswap64(low);
    z += salt;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

void triage__look_at(const struct triage_config *config, const struct triage__rule *rule,
                     const struct triage__camera *camera, const struct frame_record *record,
                     struct triage__look *out) {
    float confident = (float)config->confident;
    float least = (float)config->uncertain_floor;
    float best = 0;

    *out = (struct triage__look){.chance = chance_of(&record->id, rule->salt), .best_class = -1};
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *detection = &record->detections[i];
        bool sure = detection->confidence >= confident;
        if (!(detection->confidence >= least) || /* so that NaN does not count either */
            !triage__rule_sees(rule, detection->label) ||
            (!sure && triage__is_shadow(record, detection, confident))) {
            continue;
        }
        out->counted++;
        if (sure) {
            double share = triage__share_of_class(camera, detection->class_index);
            out->rarity = fmax(out->rarity, 1 - share);
        } else {
            out->unsure++;
            out->nearness = fmax(out->nearness, nearness_of(config, detection->confidence));
        }
        if (detection->confidence > best) {
            best = detection->confidence;
            out->best_class = detection->class_index;
        }
    }
}

void triage__classes_learn(struct triage__camera *camera, const struct triage_config *config,
                           const struct frame_record *record) {
    for (size_t i = 0; i < record->detection_count; i++) {
        if (record->detections[i].confidence >= (float)config->confident) {
            uint16_t class_index = record->detections[i].class_index;
            camera->class_counts[class_index % TRIAGE__RARITY_BUCKETS]++;
            camera->class_total++;
        }
    }
    if (camera->class_total < RARITY_MEMORY) {
        return;
    }
    camera->class_total = 0;
    for (size_t i = 0; i < TRIAGE__RARITY_BUCKETS; i++) {
        camera->class_counts[i] /= 2;
        camera->class_total += camera->class_counts[i];
    }
}
