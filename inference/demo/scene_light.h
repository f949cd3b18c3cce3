/*
 * scene_light - sky, sun, lamps, weather and the camera's sensor. Private to this folder.
 * Thread: no state but the caller's.
 */
#ifndef CREEL_INFERENCE_DEMO_SCENE_LIGHT_H
#define CREEL_INFERENCE_DEMO_SCENE_LIGHT_H

#include "inference/demo/scene_paint.h"

#define SCENE__GLOW_MAX   32
#define SCENE__NOISE_SIZE 65536
#define SCENE__NOISE_RUN  16384 /* a power of two; a row longer than this repeats itself */
#define SCENE__GRID_MAX   80    /* cells along a side of the light map */

/* How a frame is seen. Blends: every field may be mixed linearly with that of another mood. */
struct scene__mood {
    float day;     /* 0 night .. 1 day */
    float dusk;    /* how orange */
    float bright;  /* exposure, 1 is right */
    float haze;    /* fog, 0..1 */
    float rain;    /* 0..1 */
    float noise;   /* sigma in grey levels */
    float blur;    /* defocus radius in pixels of a picture 360 high */
    float shutter; /* fraction of the frame interval that it stays open: motion blur */
    float crowd;   /* chance that a slot of the cast is taken */
    float fade;    /* how far clothes and paint go towards the ground's colour */
    float unknown; /* chance that what comes belongs to no class */
};

struct scene__glow {
    float x, y, radius; /* relative to the picture's height */
    struct scene__rgb gain;
};

/* A picture in the making. */
struct scene__plate {
    uint8_t *rgb;
    int width, height;
    const float *tile;
    const int8_t *noise;
    uint64_t seed;
    uint64_t frame;
};

#define SCENE__MOOD_FIELDS (sizeof(struct scene__mood) / sizeof(float))
struct scene__mood scene__mood_mix(const struct scene__mood *a, const struct scene__mood *b,
                                   float t);

void scene__noise_fill(int8_t *noise, uint64_t seed);

/* Fills the rows above `bottom` where `cover` (255 opaque) lets the sky through. */
void scene__sky(const struct scene__plate *plate, const struct scene__mood *mood,
                const uint8_t *cover, int bottom);

/* Multiplies the picture by the light of the hour, clouds and lamps, then lays the haze over it. */
void scene__light(const struct scene__plate *plate, const struct scene__mood *mood,
                  const struct scene__glow *glows, int count);

void scene__rain(const struct scene__plate *plate, const struct scene__mood *mood);
void scene__sensor(const struct scene__plate *plate, float sigma);

#endif
