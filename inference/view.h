/* view: how the pictures of one camera are looked at, and what of them may be kept.
 *
 * Plain geometry, no pixels. Order: the picture is turned; `privacy` is painted black, for the
 * network, the thumbnail and whatever is stored; the network sees `region` only; detections in
 * `ignore` are dropped. All coordinates are relative to the turned picture, each in [0, 1].
 * Thread: any.
 */
#ifndef CREEL_INFERENCE_VIEW_H
#define CREEL_INFERENCE_VIEW_H

#include "schemas/frame.h"
#include <stdbool.h>

#define VIEW_SHAPES_MAX 16
#define VIEW_POINTS_MAX 24

struct view_shape { /* a polygon; points inside by the even-odd rule */
    uint32_t count;
    float points[VIEW_POINTS_MAX][2]; /* x, y */
};

struct view_mask {
    uint32_t count;
    struct view_shape shapes[VIEW_SHAPES_MAX];
};

struct view {
    uint32_t quarters;       /* turns of 90 degrees, clockwise; 0..3 */
    struct frame_box region; /* w = 0: the whole picture */
    struct view_mask ignore, privacy;
};

/* Whether it changes nothing at all. */
bool view_plain(const struct view *view);
/* The EXIF orientation that turns a picture as the view does. */
uint8_t view_orientation(const struct view *view);

/* "0 0 1 0.1; 0.5 0.5 0.6 0.5 0.6 0.7": shapes between ';', each a box (x y w h) or a polygon of
 * three points or more (x y x y x y ...); blanks or commas between numbers. False: not that, out of
 * [0, 1], without an area, or beyond a bound. */
bool view_mask_parse(const char *text, struct view_mask *out);
/* One box. */
bool view_region_parse(const char *text, struct frame_box *out);

bool view_mask_has(const struct view_mask *mask, double x, double y);
/* The part of the box that lies in the mask, [0, 1], by 16 x 16 samples. */
double view_mask_share(const struct view_mask *mask, const struct frame_box *box);
/* Whether a detection there is to be dropped: its centre or most of its area lies in the mask. */
bool view_mask_drops(const struct view_mask *mask, const struct frame_box *box);

/* Columns of a picture that a shape touches, from `first` up to but not including `end`. */
struct view_span {
    uint32_t first, end;
};
#define VIEW_SPANS_MAX (VIEW_POINTS_MAX + VIEW_POINTS_MAX / 2)

/* The pixels of row `y` that the shape touches, however little, in a picture of width * height.
 * Spans may overlap. Returns how many. */
size_t view_shape_spans(const struct view_shape *shape, uint32_t width, uint32_t height, uint32_t y,
                        struct view_span out[VIEW_SPANS_MAX]);

/* The region in whole pixels, at least one; the whole picture where there is none. */
struct view_window {
    uint32_t x, y, width, height;
};
void view_window_make(const struct view *view, uint32_t width, uint32_t height,
                      struct view_window *out); /* view: NULL accepted */

#endif
