/*
 * train_net - the one door to Darknet's library for the trainer.
 *
 * Thread: one at a time; the library keeps its own random numbers in rand(). It ends the process
 * when a cfg is wrong.
 */
#ifndef CREEL_INFERENCE_DEMO_TRAIN_NET_H
#define CREEL_INFERENCE_DEMO_TRAIN_NET_H

#include <stddef.h>

#define TRAIN_NET_BOXES 90 /* rows of truth a picture, Darknet's own number */

struct train_net;

/* A box by its corners, relative to the picture; it may reach beyond it. */
struct train_find {
    int class_index;
    float score;
    double x0, y0, x1, y1;
};

/* `weights` may be NULL: fresh ones, drawn with rand(). Returns 0, -ENOMEM, or -EINVAL for a
 * network without truth. */
int train_net_open(const char *cfg, const char *weights, struct train_net **out);
void train_net_close(struct train_net *net);

int train_net_width(const struct train_net *net);
int train_net_height(const struct train_net *net);
int train_net_batch(const struct train_net *net);

/* Where picture `b` of a batch goes: planar floats, and TRAIN_NET_BOXES rows of cx, cy, w, h,
 * class. */
float *train_net_input(struct train_net *net, int b);
float *train_net_truth(struct train_net *net, int b);

/* One step down the slope for the batch in place; returns the mean loss of a picture. */
double train_net_step(struct train_net *net, float rate);
void train_net_save(struct train_net *net, const char *path);

/* Looks at the picture at place 0, which was letterboxed from `width` by `height`; at most `max`
 * finds. */
int train_net_find(struct train_net *net, int width, int height, float floor, float nms,
                   struct train_find *out, int max);

#endif
