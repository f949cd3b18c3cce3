/*
 * train_data - pictures of the scene with their truth, as a detector's network sees them.
 *
 * The pictures are rendered into memory, scaled and letterboxed as Darknet does it (and the daemon
 * too), and kept as bytes. Seeds decide everything; nothing is read from or written to disk.
 * Thread: one at a time. Durable: nothing.
 */
#ifndef CREEL_INFERENCE_DEMO_TRAIN_DATA_H
#define CREEL_INFERENCE_DEMO_TRAIN_DATA_H

#include "inference/demo/scene.h"

#include <stddef.h>

#define SHOT_WIDTH       640
#define SHOT_HEIGHT      360
#define SHOT_MIN_VISIBLE 0.25 /* what is hidden more than this is neither taught nor asked for */

/* One picture: `rgb` is the letterbox's inside, interleaved, fit_w * fit_h * 3 bytes. */
struct shot {
    uint8_t *rgb;
    struct scene_truth truth;
};

struct album {
    int net_w, net_h; /* the network's input */
    int fit_w, fit_h; /* the picture in it */
    int off_x, off_y; /* and where */
    int count;
    struct shot *shots;
};

struct album_plan {
    uint64_t seed; /* scenes have seeds from here on */
    int scenes, per_scene;
    enum scene_mode bad; /* the mode of scenes that are not clean */
    int bad_in_8;        /* so many of 8 */
    bool known_only;
    int net_w, net_h;
};

/* Returns 0 or a negative errno; album_finish accepts a zeroed or failed album. */
int album_init(struct album *album, const struct album_plan *plan);
void album_finish(struct album *album);

/* Planar floats 0..1 of net_w * net_h * 3, the border grey; `mirror` flips left and right, `gain`
 * scales light. */
void album_input(const struct album *album, int index, bool mirror, float gain, float *out);

#endif
