/* One pass from bytes to letterboxed floats.
 *
 * Darknet makes a float image of the whole frame, resizes it across, then down, then copies it into
 * a grey one: three passes over megabytes. Here only the source rows that some output row needs are
 * resized across, into a cache of two rows (output row r reads source rows y and y + 1, and y never
 * goes back), and mixed straight into place; so the image may come row by row. The arithmetic and
 * its order are Darknet's, in float; so are the integer divisions that place the image. The last
 * column and the last row are copied, not mixed, as there. Differs on purpose: an image so thin
 * that Darknet would give it zero rows gets one; and where rounding puts the last row's place just
 * before the last source row, Darknet paints it almost black (it drops the second half of the mix),
 * and here it is that source row. */
#include "inference/image_resize.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>

#define BORDER 0.5f

struct column {        /* how an output column mixes two source pixels */
    uint32_t at, next; /* byte offsets in the row */
    float keep, take;
};

struct image_resizer {
    uint32_t net_width, net_height;
    float unit[256]; /* byte to [0, 1] */
    struct column *columns;
    float *rows[2]; /* each 3 * net_width: planes of one resized source row; even, odd */
    /* the image at hand: */
    struct view_window window;
    struct image_fit fit;
    size_t stride;
    float scale; /* of rows */
    float *planar;
    uint32_t at, next; /* source row that comes, output row that is not made yet */
};

struct image_resizer *image_resizer_create(uint32_t net_width, uint32_t net_height) {
    struct image_resizer *resizer = mem_alloc(sizeof(*resizer));
    if (resizer == NULL) {
        return NULL;
    }
    resizer->net_width = net_width;
    resizer->net_height = net_height;
    for (int i = 0; i < 256; i++) {
        resizer->unit[i] = (float)(i / 255.0);
    }
    resizer->columns = mem_array(net_width, sizeof(*resizer->columns));
    for (int i = 0; i < 2; i++) {
        resizer->rows[i] = mem_array(net_width, 3 * sizeof(float));
    }
    if (resizer->columns == NULL || resizer->rows[0] == NULL || resizer->rows[1] == NULL) {
        image_resizer_destroy(resizer);
        return NULL;
    }
    return resizer;
}

void image_resizer_destroy(struct image_resizer *resizer) {
    if (resizer == NULL) {
        return;
    }
    free(resizer->rows[0]);
    free(resizer->rows[1]);
    free(resizer->columns);
    free(resizer);
}

void image_fit_make(enum model_resize resize, uint32_t width, uint32_t height, uint32_t net_width,
                    uint32_t net_height, struct image_fit *out) {
    *out = (struct image_fit){net_width, net_height, net_width, net_height};
    if (resize == MODEL_STRETCH) {
        return;
    }
    if ((float)net_width / (float)width < (float)net_height / (float)height) {
        out->height = (uint32_t)((uint64_t)height * net_width / width);
    } else {
        out->width = (uint32_t)((uint64_t)width * net_height / height);
    }
    out->width = out->width == 0 ? 1 : out->width;
    out->height = out->height == 0 ? 1 : out->height;
}

static float scale_of(uint32_t from, uint32_t to) {
    return to > 1 ? (float)(from - 1) / (float)(to - 1) : 0.0f;
}

static void plan_columns(struct image_resizer *resizer, uint32_t from, uint32_t to) {
    float scale = scale_of(from, to);
    for (uint32_t c = 0; c < to; c++) {
        float place = (float)c * scale;
        uint32_t left = (uint32_t)place;
        if (c == to - 1 || left + 1 >= from) {
            uint32_t last = (from - 1) * 3;
            resizer->columns[c] = (struct column){last, last, 1.0f, 0.0f};
            continue;
        }
        float part = place - (float)left;
        resizer->columns[c] = (struct column){left * 3, left * 3 + 3, 1.0f - part, part};
    }
}

/* A source row of the window, resized across, into the slot of its number. */
static void row_make(struct image_resizer *resizer, const uint8_t *source, uint32_t y) {
    uint32_t width = resizer->fit.width;
    const float *unit = resizer->unit;
    float *red = resizer->rows[y & 1], *green = red + width, *blue = red + 2 * (size_t)width;
    for (uint32_t c = 0; c < width; c++) {
        struct column column = resizer->columns[c];
        const uint8_t *at = source + column.at, *next = source + column.next;
        red[c] = column.keep * unit[at[0]] + column.take * unit[next[0]];
        green[c] = column.keep * unit[at[1]] + column.take * unit[next[1]];
        blue[c] = column.keep * unit[at[2]] + column.take * unit[next[2]];
    }
}

static void mix_row(const float *top, const float *bottom, float part, float *out, uint32_t width) {
    float keep = 1.0f - part;
    for (uint32_t c = 0; c < width; c++) {
        out[c] = keep * top[c] + part * bottom[c];
    }
}

/* Which source rows output row `r` mixes: `y` and the one below it, or `y` alone. */
struct place {
    uint32_t y;
    float part;
    bool alone;
};

static struct place place_of(const struct image_resizer *resizer, uint32_t r) {
    float place = (float)r * resizer->scale;
    uint32_t y = (uint32_t)place, height = resizer->window.height;
    if (r == resizer->fit.height - 1 || y + 1 >= height) {
        return (struct place){height - 1, 0.0f, true};
    }
    return (struct place){y, place - (float)y, false};
}

static void row_emit(struct image_resizer *resizer, struct place place) {
    const struct image_fit *fit = &resizer->fit;
    const float *top = resizer->rows[place.y & 1];
    const float *bottom = place.alone ? top : resizer->rows[(place.y + 1) & 1];
    size_t plane = (size_t)fit->net_width * fit->net_height;
    size_t left = (fit->net_width - fit->width) / 2, above = (fit->net_height - fit->height) / 2;
    for (size_t k = 0; k < 3; k++) {
        float *out = resizer->planar + k * plane + (above + resizer->next) * fit->net_width + left;
        mix_row(top + k * fit->width, bottom + k * fit->width, place.part, out, fit->width);
    }
    resizer->next++;
}

/* Row `y` of the window: made when the next output row, or one behind it, mixes it. */
static void row_take(struct image_resizer *resizer, const uint8_t *source, uint32_t y) {
    if (resizer->next == resizer->fit.height) {
        return;
    }
    struct place place = place_of(resizer, resizer->next);
    if (y < place.y) {
        return;
    }
    row_make(resizer, source, y);
    while (y == (place.alone ? place.y : place.y + 1)) {
        row_emit(resizer, place);
        if (resizer->next == resizer->fit.height) {
            return;
        }
        place = place_of(resizer, resizer->next);
    }
}

void image_resizer_begin(struct image_resizer *resizer, uint32_t width,
                         const struct view_window *window, enum model_resize resize, float *planar,
                         struct image_fit *fit) {
    uint32_t net_width = resizer->net_width, net_height = resizer->net_height;
    image_fit_make(resize, window->width, window->height, net_width, net_height, fit);
    resizer->window = *window;
    resizer->fit = *fit;
    resizer->stride = (size_t)width * 3;
    resizer->planar = planar;
    resizer->at = resizer->next = 0;
    resizer->scale = scale_of(window->height, fit->height);
    plan_columns(resizer, window->width, fit->width);
    if (fit->width < net_width || fit->height < net_height) {
        for (size_t i = 0; i < (size_t)3 * net_width * net_height; i++) {
            planar[i] = BORDER;
        }
    }
}

void image_resizer_take(struct image_resizer *resizer, const uint8_t *rgb, uint32_t count) {
    const struct view_window *window = &resizer->window;
    for (uint32_t i = 0; i < count; i++, resizer->at++) {
        if (resizer->at >= window->y && resizer->at - window->y < window->height) {
            row_take(resizer, rgb + i * resizer->stride + 3 * (size_t)window->x,
                     resizer->at - window->y);
        }
    }
}

void image_resize_window(struct image_resizer *resizer, const struct image_pixels *pixels,
                         const struct view_window *window, enum model_resize resize, float *planar,
                         struct image_fit *fit) {
    image_resizer_begin(resizer, pixels->width, window, resize, planar, fit);
    image_resizer_take(resizer, pixels->rgb, pixels->height);
}

void image_resize(struct image_resizer *resizer, const struct image_pixels *pixels,
                  enum model_resize resize, float *planar, struct image_fit *fit) {
    struct view_window whole = {0, 0, pixels->width, pixels->height};
    image_resize_window(resizer, pixels, &whole, resize, planar, fit);
}
