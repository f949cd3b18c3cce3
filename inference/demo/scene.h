/*
 * scene - a small rendered world: a loading dock seen by a fixed camera.
 *
 * It draws moving things of SCENE_CLASS_COUNT classes over a textured ground, with changing light
 * and weather, and says exactly what is in the picture. The `demo` source shows it, and the trainer
 * of the embedded model learns from it. It is not a simulator and knows nothing about detectors.
 *
 * Every frame is a pure function of (seed, mode, size, frame number): frames can be asked for in
 * any order and come out the same. Sizes are relative to the height, so another resolution shows
 * the same scene.
 *
 * Life cycle: scene_create, scene_render as often as wanted, scene_destroy.
 * Thread: a scene holds scratch memory, so one thread at a time; different scenes share nothing.
 * Durable: nothing.
 */
#ifndef CREEL_INFERENCE_DEMO_SCENE_H
#define CREEL_INFERENCE_DEMO_SCENE_H

#include <stdbool.h>
#include <stdint.h>

#define SCENE_MIN_SIDE    64
#define SCENE_MAX_SIDE    4096
#define SCENE_MAX_OBJECTS 16

/* The order is the order of the trained model's names file. */
enum scene_class {
    SCENE_PERSON,
    SCENE_BICYCLE,
    SCENE_CAR,
    SCENE_TRUCK,
    SCENE_FORKLIFT,
    SCENE_PARCEL,
    SCENE_CLASS_COUNT
};

enum scene_mode {
    SCENE_CLEAN, /* good light, a few things, little noise */
    SCENE_ROUGH, /* night, fog, rain, blur, crowds, low contrast: the worst that training shows */
    SCENE_HARD,  /* the same ills, worse than in training */
    SCENE_LIVE,  /* from clean to hard, to a quiet yard and back, in SCENE_LIVE_CYCLE frames */
    SCENE_MODE_COUNT
};

/* Two frames a second show a whole cycle in less than a minute. */
#define SCENE_LIVE_CYCLE 96

struct scene_config {
    uint64_t seed;
    int width;  /* pixels, SCENE_MIN_SIDE..SCENE_MAX_SIDE */
    int height; /* likewise */
    enum scene_mode mode;
    bool known_only; /* leave out the things that belong to no class; training does */
};

/* The box is that of the whole thing, also where another hides it, cut at the border of the
 * picture. */
struct scene_object {
    int class_index;   /* enum scene_class */
    double x, y, w, h; /* relative to the picture, from its top left corner, in 0..1 */
    double visible;    /* fraction of the thing's own area that is seen, above 0, at most 1 */
};

struct scene_truth {
    int count;         /* objects below, the farthest first */
    int unknown_count; /* things in sight that belong to no class */
    double difficulty; /* 0 clean .. 1 hard */
    struct scene_object objects[SCENE_MAX_OBJECTS];
};

struct scene;

/* Returns 0, or -EINVAL for a size or mode out of range, or -ENOMEM. Takes some tens of
 * milliseconds. */
int scene_create(const struct scene_config *config, struct scene **out);

/* Accepts NULL. */
void scene_destroy(struct scene *scene);

/* Writes width*height*3 bytes of interleaved RGB; `truth` may be NULL. Returns 0; cannot fail. */
int scene_render(struct scene *scene, uint64_t frame, uint8_t *rgb, struct scene_truth *truth);

/* "person", ...; NULL out of range. */
const char *scene_class_name(int class_index);

#endif
