/* One pass from bytes to letterboxed floats.
 *
 * Darknet makes a float image of the whole frame, resizes it across, then down, then copies it into
 * a grey one: three passes over megabytes. Here only the source rows that some output row needs are
 * resized across, into a cache of two rows (output row r reads source rows y and y + 1, and y never
 * goes back), and mixed straight into place. The arithmetic and its order are Darknet's, in float;
 * so are the integer divisions that place the image. The last column and the last row are copied,
 * not mixed, as there. Differs on purpose: an image so thin that Darknet would give it zero rows
 * gets one; and where rounding puts the last row's place just before the last source row, Darknet
 * paints it almost black (it drops the second half of the mix), and here it is that source row. */
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
    float *rows[2];     /* each 3 * net_width: planes of one resized source row */
    uint32_t row_of[2]; /* which source row, UINT32_MAX: none */
    struct view_window window;
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

/* The resized source row `y`, from the cache or made now. */
static const float *row_get(struct image_resizer *resizer, const struct image_pixels *pixels,
                            uint32_t y, uint32_t width) {
    size_t slot = y & 1; /* neighbours never share a slot */
    float *row = resizer->rows[slot];
    if (resizer->row_of[slot] == y) {
        return row;
    }
    resizer->row_of[slot] = y;
    size_t place = (size_t)(resizer->window.y + y) * pixels->width + resizer->window.x;
    const uint8_t *source = pixels->rgb + place * 3;
    const float *unit = resizer->unit;
    float *red = row, *green = row + width, *blue = row + 2 * (size_t)width;
    for (uint32_t c = 0; c < width; c++) {
        struct column column = resizer->columns[c];
        const uint8_t *at = source + column.at, *next = source + column.next;
        red[c] = column.keep * unit[at[0]] + column.take * unit[next[0]];
        green[c] = column.keep * unit[at[1]] + column.take * unit[next[1]];
        blue[c] = column.keep * unit[at[2]] + column.take * unit[next[2]];
    }
    return row;
}

static void mix_row(const float *top, const float *bottom, float part, float *out, uint32_t width) {
    float keep = 1.0f - part;
    for (uint32_t c = 0; c < width; c++) {
        out[c] = keep * top[c] + part * bottom[c];
    }
}

void image_resize(struct image_resizer *resizer, const struct image_pixels *pixels,
                  enum model_resize resize, float *planar, struct image_fit *fit) {
    struct view_window whole = {0, 0, pixels->width, pixels->height};
    image_resize_window(resizer, pixels, &whole, resize, planar, fit);
}

void image_resize_window(struct image_resizer *resizer, const struct image_pixels *pixels,
                         const struct view_window *window, enum model_resize resize, float *planar,
                         struct image_fit *fit) {
    uint32_t net_width = resizer->net_width, net_height = resizer->net_height;
    size_t plane = (size_t)net_width * net_height;
    resizer->window = *window;
    image_fit_make(resize, window->width, window->height, net_width, net_height, fit);
    plan_columns(resizer, window->width, fit->width);
    resizer->row_of[0] = resizer->row_of[1] = UINT32_MAX;
    if (fit->width < net_width || fit->height < net_height) {
        for (size_t i = 0; i < 3 * plane; i++) {
            planar[i] = BORDER;
        }
    }
    size_t left = (net_width - fit->width) / 2, above = (net_height - fit->height) / 2;
    float scale = scale_of(window->height, fit->height);
    for (uint32_t r = 0; r < fit->height; r++) {
        float place = (float)r * scale;
        uint32_t y = (uint32_t)place;
        bool last = r == fit->height - 1 || y + 1 >= window->height;
        y = last ? window->height - 1 : y;
        float part = place - (float)y;
        const float *top = row_get(resizer, pixels, y, fit->width);
        const float *bottom = last ? top : row_get(resizer, pixels, y + 1, fit->width);
        for (size_t k = 0; k < 3; k++) {
            float *out = planar + k * plane + (above + r) * net_width + left;
            mix_row(top + k * fit->width, bottom + k * fit->width, last ? 0.0f : part, out,
                    fit->width);
        }
    }
}
