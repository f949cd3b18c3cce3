/*
 * scene_cast - what can be seen in the scene's yard, each drawn from the side in its own metres.
 * Private to this folder. Thread: no state but the caller's.
 */
#ifndef CREEL_INFERENCE_DEMO_SCENE_CAST_H
#define CREEL_INFERENCE_DEMO_SCENE_CAST_H

#include "inference/demo/scene.h"
#include "inference/demo/scene_paint.h"

/* Kinds after the classes: things that belong to none. */
enum scene__kind {
    SCENE__DOG = SCENE_CLASS_COUNT,
    SCENE__BARREL,
    SCENE__BALLOON,
    SCENE__KIND_COUNT,
    SCENE__UNKNOWN_FIRST = SCENE__DOG
};

/* How one individual looks; drawn once from its own random stream, the same in all its frames. */
struct scene__look {
    int kind;
    uint64_t seed;
    struct scene__rgb tint; /* the ground's colour, and how far clothes and paint fade into it */
    float fade;
};

/* Half the length and the height of the largest individual of a kind, in metres, with some air. */
struct scene__point scene__kind_extent(int kind);

/* The part of the yard a kind uses: 0 at the back wall, 1 at the front. */
struct scene__point scene__kind_depth(int kind);

/* `path` is the distance it has gone, in metres: wheels and legs turn with it. */
void scene__look_draw(const struct scene__look *look, const struct scene__pen *pen, float path);

/* Whether it has head lamps. */
bool scene__kind_has_lamps(int kind);

#endif
