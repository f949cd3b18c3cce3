/*
 * train_score - how well a network finds what is in an album: average precision at an overlap of
 * one half.
 *
 * AP is the area under precision over recall with all points interpolated (PASCAL VOC from 2010
 * on), mAP its mean over the classes. Things hidden more than SHOT_MIN_VISIBLE are neither asked
 * for nor counted as wrong when found. Thread: one at a time.
 */
#ifndef CREEL_INFERENCE_DEMO_TRAIN_SCORE_H
#define CREEL_INFERENCE_DEMO_TRAIN_SCORE_H

#include "inference/demo/train_data.h"
#include "inference/demo/train_net.h"

struct score {
    int images, objects;
    int per_class[SCENE_CLASS_COUNT];
    double ap[SCENE_CLASS_COUNT];
    double map;
    double precision, recall; /* of what scores at least one half */
    double sure;              /* fraction of pictures whose best score is at least 0.8 */
    double unsure;            /* fraction whose best score lies between 0.2 and 0.6 */
};

/* The network must have been loaded with batch 1. Returns 0 or -ENOMEM. */
int score_album(struct train_net *net, const struct album *album, struct score *out);

#endif
