/* Turning is done in squares of TILE pixels, so that of the side that is read or written across the
 * rows a cache keeps what it needs. In yuv420p a pair of columns and rows shares its colour: a pair
 * that the mask touches loses it whole. */
#include "inference/image_view.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { TILE = 32 };

struct plane {
    const uint8_t *from;
    uint8_t *to;
    size_t width, height; /* of `from` */
    size_t channels;
};

/* What an orientation does: dest (x, y) is source (x, y), or (y, x), then mirrored (EXIF 2.3, 4.6.4
 * tag 0x0112). */
static bool swaps(uint8_t orientation) {
    return orientation >= 5;
}

static bool mirrors_x(uint8_t orientation) {
    return orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
}

static bool mirrors_y(uint8_t orientation) {
    return orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
}

static void turn_tile(const struct plane *plane, uint8_t orientation, size_t left, size_t top) {
    bool swap = swaps(orientation);
    size_t width = swap ? plane->height : plane->width; /* of the result */
    size_t height = swap ? plane->width : plane->height;
    size_t right = left + TILE < width ? left + TILE : width;
    size_t bottom = top + TILE < height ? top + TILE : height;
    for (size_t y = top; y < bottom; y++) {
        uint8_t *to = plane->to + (y * width + left) * plane->channels;
        for (size_t x = left; x < right; x++) {
            size_t column = swap ? y : x, row = swap ? x : y;
            column = mirrors_x(orientation) ? plane->width - 1 - column : column;
            row = mirrors_y(orientation) ? plane->height - 1 - row : row;
            const uint8_t *from = plane->from + (row * plane->width + column) * plane->channels;
            for (size_t k = 0; k < plane->channels; k++) {
                *to++ = from[k];
            }
        }
    }
}

static void turn(const struct plane *plane, uint8_t orientation) {
    size_t width = swaps(orientation) ? plane->height : plane->width;
    size_t height = swaps(orientation) ? plane->width : plane->height;
    for (size_t top = 0; top < height; top += TILE) {
        for (size_t left = 0; left < width; left += TILE) {
            turn_tile(plane, orientation, left, top);
        }
    }
}

int image_turn(struct image_pixels *pixels, uint8_t orientation, struct image_pixels *spare,
               struct err *err) {
    bool swap = swaps(orientation);
    if (orientation > 1) {
        int code = image_pixels_reserve(spare, swap ? pixels->height : pixels->width,
                                        swap ? pixels->width : pixels->height, 3, err);
        if (code != 0) {
            return code;
        }
        turn(&(struct plane){pixels->rgb, spare->rgb, pixels->width, pixels->height, 3},
             orientation);
        struct image_pixels turned = *spare;
        turned.media = pixels->media;
        *spare = *pixels;
        *pixels = turned;
    }
    pixels->orientation = 1;
    return 0;
}

void image_blacken(struct image_pixels *pixels, const struct view_mask *mask) {
    struct view_span spans[VIEW_SPANS_MAX];
    for (uint32_t i = 0; i < mask->count; i++) {
        for (uint32_t y = 0; y < pixels->height; y++) {
            size_t count =
                view_shape_spans(&mask->shapes[i], pixels->width, pixels->height, y, spans);
            uint8_t *row = pixels->rgb + (size_t)y * pixels->width * 3;
            for (size_t k = 0; k < count; k++) {
                memset(row + 3 * (size_t)spans[k].first, 0,
                       3 * (size_t)(spans[k].end - spans[k].first));
            }
        }
    }
}

/* ---- raw ---- */

struct raw_planes {
    size_t count;
    size_t at[3], width[3], height[3], channels;
};

static struct raw_planes planes_of(enum frame_format format, size_t width, size_t height) {
    size_t half = (width + 1) / 2, low = (height + 1) / 2;
    if (format != FRAME_YUV420P) {
        return (struct raw_planes){1, {0}, {width}, {height}, 3};
    }
    return (struct raw_planes){3,
                               {0, width * height, width * height + half * low},
                               {width, half, half},
                               {height, low, low},
                               1};
}

static void raw_blacken_row(const struct frame *frame, const struct raw_planes *planes, size_t y,
                            struct view_span span) {
    size_t first = span.first, count = span.end - span.first;
    memset(frame->blob + (y * planes->width[0] + first) * planes->channels, 0,
           count * planes->channels);
    for (size_t k = 1; k < planes->count; k++) {
        size_t from = first / 2, to = ((size_t)span.end + 1) / 2;
        memset(frame->blob + planes->at[k] + y / 2 * planes->width[k] + from, 128, to - from);
    }
}

static void raw_blacken(struct frame *frame, const struct view_mask *mask) {
    uint32_t width = frame->record.width, height = frame->record.height;
    struct raw_planes planes = planes_of(frame->format, width, height);
    struct view_span spans[VIEW_SPANS_MAX];
    for (uint32_t i = 0; i < mask->count; i++) {
        for (uint32_t y = 0; y < height; y++) {
            size_t count = view_shape_spans(&mask->shapes[i], width, height, y, spans);
            for (size_t k = 0; k < count; k++) {
                raw_blacken_row(frame, &planes, y, spans[k]);
            }
        }
    }
}

static int raw_turn(struct frame *frame, uint8_t orientation, struct err *err) {
    uint32_t width = frame->record.width, height = frame->record.height;
    struct raw_planes planes = planes_of(frame->format, width, height);
    uint8_t *turned = mem_alloc((size_t)frame->record.blob_bytes);
    if (turned == NULL) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory to turn a frame",
                       frame->record.camera);
    }
    for (size_t k = 0; k < planes.count; k++) {
        turn(&(struct plane){frame->blob + planes.at[k], turned + planes.at[k], planes.width[k],
                             planes.height[k], planes.channels},
             orientation);
    }
    free(frame->blob);
    frame->blob = turned;
    frame->record.width = swaps(orientation) ? height : width;
    frame->record.height = swaps(orientation) ? width : height;
    return 0;
}

int image_view_raw(struct frame *frame, const struct view *view, struct err *err) {
    if (view->quarters != 0) {
        int code = raw_turn(frame, view_orientation(view), err);
        if (code != 0) {
            return code;
        }
    }
    raw_blacken(frame, &view->privacy);
    frame->record.masked = view->privacy.count > 0;
    return 0;
}
