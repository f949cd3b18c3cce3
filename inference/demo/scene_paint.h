/*
 * scene_paint - anti-aliased shapes, noise and blur for the scene. Private to this folder.
 *
 * Shapes are signed distance functions sampled once a pixel: edges come out smooth without
 * supersampling, and a frame has few enough shapes for the cost not to matter. Thread: no state but
 * the caller's.
 */
#ifndef CREEL_INFERENCE_DEMO_SCENE_PAINT_H
#define CREEL_INFERENCE_DEMO_SCENE_PAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCENE__POLY_MAX  8
#define SCENE__SMEAR_MAX 4096
#define SCENE__TILE_SIDE 256 /* a power of two: coordinates wrap with a mask */

struct scene__rng {
    uint64_t state;
};

struct scene__rgb {
    float r, g, b; /* 0..255 */
};

struct scene__point {
    float x, y;
};

struct scene__rect {
    int x0, y0, x1, y1; /* x1, y1 are one past the end */
};

/* Premultiplied RGBA, 4 floats a pixel, covering `at` of the picture (and perhaps beyond its
 * border). */
struct scene__layer {
    struct scene__rect at;
    size_t capacity; /* floats */
    float *px;
};

/* Where local metres (x forward, y up, origin on the ground) go on a layer. */
struct scene__pen {
    struct scene__layer *layer;
    float x, y;   /* the origin, in pixels of the picture */
    float scale;  /* pixels a metre */
    float facing; /* 1 to the right, -1 to the left */
};

struct scene__rng scene__rng_for(uint64_t seed, uint64_t a, uint64_t b, uint64_t c);
float scene__rng_unit(struct scene__rng *rng); /* 0 <= u < 1 */
float scene__rng_range(struct scene__rng *rng, float low, float high);
int scene__rng_below(struct scene__rng *rng, int n);

float scene__mix(float a, float b, float t);
float scene__clamp(float v, float low, float high);
float scene__smooth(float low, float high, float v); /* smoothstep */
struct scene__rgb scene__rgb_mix(struct scene__rgb a, struct scene__rgb b, float t);
struct scene__rgb scene__rgb_scale(struct scene__rgb a, float k);

/* Tileable clouds in -1..1, SCENE__TILE_SIDE squared. */
void scene__tile_fill(float *tile, uint64_t seed);
float scene__tile_at(const float *tile, float u, float v);

/* Clears the layer for `at`; returns false when there is no memory. */
bool scene__layer_begin(struct scene__layer *layer, struct scene__rect at);
void scene__layer_finish(struct scene__layer *layer);

/* All lengths in metres; `shade` brightens the top of the shape and darkens its bottom by that
 * fraction. */
void scene__disc(const struct scene__pen *pen, float x, float y, float rx, float ry,
                 struct scene__rgb color, float shade);
void scene__ring(const struct scene__pen *pen, float x, float y, float radius, float thick,
                 struct scene__rgb color);
void scene__limb(const struct scene__pen *pen, struct scene__point a, struct scene__point b,
                 float radius, struct scene__rgb color);
void scene__box(const struct scene__pen *pen, float x0, float y0, float x1, float y1, float round,
                struct scene__rgb color, float shade);
void scene__poly(const struct scene__pen *pen, const struct scene__point *points, int count,
                 float round, struct scene__rgb color, float shade);

/* Smears a layer along x over `length` pixels; a layer wider than SCENE__SMEAR_MAX stays sharp. */
void scene__layer_smear(struct scene__layer *layer, float length);

/* Box blur of an interleaved RGB picture. `work` is as large as the picture, `sums` holds width*3.
 */
void scene__blur(uint8_t *rgb, int width, int height, float radius, uint8_t *work, int *sums);

#endif
