/*
 * scene_set - what stands still in the yard: ground, wall, dock doors, and a few props that hide
 * things. Private to this folder. Thread: no state but the caller's.
 */
#ifndef CREEL_INFERENCE_DEMO_SCENE_SET_H
#define CREEL_INFERENCE_DEMO_SCENE_SET_H

#include "inference/demo/scene_paint.h"

/* Heights from the top of the picture, relative to its own height. */
#define SCENE__HORIZON    0.18F
#define SCENE__WALL_FOOT  0.46F
#define SCENE__DEPTH_FAR  0.52F /* where feet stand at depth 0 */
#define SCENE__DEPTH_NEAR 0.96F /* and at depth 1 */

/* Pixels a metre, relative to the height of the picture, where the ground is at height y. */
#define SCENE__METRE_AT(y) (0.28F * ((y)-SCENE__HORIZON))

enum scene__prop_kind {
    SCENE__PROP_BOLLARD,
    SCENE__PROP_CONE,
    SCENE__PROP_PALLETS,
    SCENE__PROP_PLANTER,
    SCENE__PROP_POST,
    SCENE__PROP_COUNT
};

/* Paints the whole backdrop into `layer`; where it stays transparent there is sky. Returns the
 * ground's colour. */
struct scene__rgb scene__set_build(struct scene__layer *layer, const float *tile, uint64_t seed);

/* Half the width and the height, in metres. */
struct scene__point scene__prop_extent(int kind);
void scene__prop_draw(int kind, uint64_t seed, const struct scene__pen *pen);

#endif
