/* See view.h. Spans are conservative, because what they are for is privacy: a row of pixels is a
 * strip one high, and whatever part of it the shape covers lies between two crossings of the
 * strip's middle line, or beside an edge within the strip. So the spans are the pairs of crossings,
 * and the columns of each edge's part in the strip, all rounded outwards. (A piece of the shape
 * that does not reach the middle line is bounded by a chain of edges within the strip, whose
 * columns have no gap.) */
#include "inference/view.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 16, NUMBERS_MAX = 2 * VIEW_POINTS_MAX };

bool view_plain(const struct view *view) {
    return view->quarters == 0 && !(view->region.w > 0) && view->ignore.count == 0 &&
           view->privacy.count == 0;
}

uint8_t view_orientation(const struct view *view) {
    static const uint8_t orientations[4] = {1, 6, 3, 8};
    return orientations[view->quarters & 3];
}

/* ---- from text ---- */

/* Numbers up to ';' or the end; 0: something else is there, or too many. */
static size_t numbers_take(const char **at, double out[NUMBERS_MAX]) {
    size_t count = 0;
    for (;;) {
        *at += strspn(*at, " \t,");
        if (**at == '\0' || **at == ';') {
            return count;
        }
        char *end = NULL;
        bool digit = strchr("0123456789.", **at) != NULL; /* strtod also knows "inf" and "-1" */
        double value = strtod(*at, &end);
        if (!digit || end == *at || !(value >= 0 && value <= 1) || count == NUMBERS_MAX) {
            return 0;
        }
        out[count++] = value;
        *at = end;
    }
}

static bool box_fits(const double box[4]) {
    return box[2] > 0 && box[3] > 0 && box[0] + box[2] <= 1 + 1e-9 && box[1] + box[3] <= 1 + 1e-9;
}

/* Whether not all of its points lie on one line. (The signed area would not do: that of a bow tie
 * is zero.) */
static bool has_area(const struct view_shape *shape) {
    const float *origin = shape->points[0];
    for (uint32_t i = 1; i < shape->count; i++) {
        double x = (double)(shape->points[i][0] - origin[0]);
        double y = (double)(shape->points[i][1] - origin[1]);
        for (uint32_t k = i + 1; k < shape->count; k++) {
            double u = (double)(shape->points[k][0] - origin[0]);
            double v = (double)(shape->points[k][1] - origin[1]);
            if (fabs(x * v - u * y) > 0) {
                return true;
            }
        }
    }
    return false;
}

static bool shape_take(const char **at, struct view_shape *out) {
    double numbers[NUMBERS_MAX];
    size_t count = numbers_take(at, numbers);
    *out = (struct view_shape){0};
    if (count == 4 && box_fits(numbers)) {
        float left = (float)numbers[0], top = (float)numbers[1];
        float right = fminf((float)(numbers[0] + numbers[2]), 1);
        float bottom = fminf((float)(numbers[1] + numbers[3]), 1);
        *out = (struct view_shape){4, {{left, top}, {right, top}, {right, bottom}, {left, bottom}}};
        return true;
    }
    if (count < 6 || count % 2 != 0) {
        return false;
    }
    out->count = (uint32_t)(count / 2);
    for (size_t i = 0; i < count; i++) {
        out->points[i / 2][i % 2] = (float)numbers[i];
    }
    return has_area(out);
}

bool view_mask_parse(const char *text, struct view_mask *out) {
    struct view_mask mask = {0};
    for (;;) {
        if (mask.count == VIEW_SHAPES_MAX || !shape_take(&text, &mask.shapes[mask.count])) {
            return false;
        }
        mask.count++;
        if (*text == '\0') {
            *out = mask;
            return true;
        }
        text++;
    }
}

bool view_region_parse(const char *text, struct frame_box *out) {
    double box[NUMBERS_MAX];
    if (numbers_take(&text, box) != 4 || *text != '\0' || !box_fits(box)) {
        return false;
    }
    *out = (struct frame_box){box[0], box[1], fmin(box[2], 1 - box[0]), fmin(box[3], 1 - box[1])};
    return true;
}

/* ---- points and boxes ---- */

static bool shape_has(const struct view_shape *shape, double x, double y) {
    bool inside = false;
    for (uint32_t i = 0; i < shape->count; i++) {
        const float *a = shape->points[i], *b = shape->points[(i + 1) % shape->count];
        double ay = (double)a[1], by = (double)b[1];
        if ((ay > y) != (by > y) &&
            x < (double)a[0] + (y - ay) / (by - ay) * ((double)b[0] - (double)a[0])) {
            inside = !inside;
        }
    }
    return inside;
}

bool view_mask_has(const struct view_mask *mask, double x, double y) {
    for (uint32_t i = 0; i < mask->count; i++) {
        if (shape_has(&mask->shapes[i], x, y)) {
            return true;
        }
    }
    return false;
}

double view_mask_share(const struct view_mask *mask, const struct frame_box *box) {
    int inside = 0;
    for (int v = 0; mask->count > 0 && v < SAMPLES; v++) {
        for (int u = 0; u < SAMPLES; u++) {
            inside += view_mask_has(mask, box->x + box->w * (u + 0.5) / SAMPLES,
                                    box->y + box->h * (v + 0.5) / SAMPLES);
        }
    }
    return (double)inside / (SAMPLES * SAMPLES);
}

bool view_mask_drops(const struct view_mask *mask, const struct frame_box *box) {
    return mask->count > 0 && (view_mask_has(mask, box->x + box->w / 2, box->y + box->h / 2) ||
                               view_mask_share(mask, box) > 0.5);
}

/* ---- pixels ---- */

static bool span_make(double left, double right, uint32_t width, struct view_span *out) {
    double first = floor(left), end = ceil(right);
    end = end <= first ? first + 1 : end; /* an upright edge on a pixel's border */
    first = first < 0 ? 0 : first;
    end = end > width ? width : end;
    *out = (struct view_span){(uint32_t)first, (uint32_t)(end < 0 ? 0 : end)};
    return out->first < out->end;
}

/* The columns of the edge's part between `top` and `bottom`; false where it has none there. */
static bool edge_span(const double a[2], const double b[2], double top, double bottom,
                      uint32_t width, struct view_span *out) {
    double low = fmin(a[1], b[1]), high = fmax(a[1], b[1]);
    if (high <= top || low >= bottom) {
        return false;
    }
    double x[2] = {a[0], b[0]};
    double from = fmax(low, top), to = fmin(high, bottom);
    if (high > low) {
        x[0] = a[0] + (from - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
        x[1] = a[0] + (to - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
    }
    return span_make(fmin(x[0], x[1]), fmax(x[0], x[1]), width, out);
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

size_t view_shape_spans(const struct view_shape *shape, uint32_t width, uint32_t height, uint32_t y,
                        struct view_span out[VIEW_SPANS_MAX]) {
    double crossings[VIEW_POINTS_MAX];
    size_t crossed = 0, count = 0;
    double middle = y + 0.5;
    for (uint32_t i = 0; i < shape->count; i++) {
        const float *p = shape->points[i], *q = shape->points[(i + 1) % shape->count];
        double a[2] = {(double)p[0] * width, (double)p[1] * height};
        double b[2] = {(double)q[0] * width, (double)q[1] * height};
        count += edge_span(a, b, y, (double)y + 1, width, &out[count]);
        if ((a[1] > middle) != (b[1] > middle)) {
            crossings[crossed++] = a[0] + (middle - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
        }
    }
    qsort(crossings, crossed, sizeof(crossings[0]), by_value);
    for (size_t i = 0; i + 1 < crossed; i += 2) {
        count += span_make(crossings[i], crossings[i + 1], width, &out[count]);
    }
    return count;
}

static void window_side(double at, double length, uint32_t size, uint32_t *first, uint32_t *count) {
    double from = floor(at * size), to = ceil((at + length) * size);
    from = from > size - 1 ? size - 1 : from;
    to = to > size ? size : to;
    *first = (uint32_t)from;
    *count = to > from ? (uint32_t)(to - from) : 1;
}

void view_window_make(const struct view *view, uint32_t width, uint32_t height,
                      struct view_window *out) {
    *out = (struct view_window){0, 0, width, height};
    if (view != NULL && view->region.w > 0) {
        window_side(view->region.x, view->region.w, width, &out->x, &out->width);
        window_side(view->region.y, view->region.h, height, &out->y, &out->height);
    }
}
