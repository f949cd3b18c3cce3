/* Lines as thick as the picture asks for, and labels in a 5 x 7 font of capitals, digits and a few
 * signs (other characters are a hollow box). Everything is clipped to the picture pixel by pixel:
 * it is drawn once, for a person, so simple is better than fast. */
#include "inference/draw.h"
#include "daemon/base/mem.h"
#include "inference/image_decode.h"
#include "inference/image_summary.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    GLYPH_WIDTH = 5,
    GLYPH_HEIGHT = 7,
    ADVANCE = GLYPH_WIDTH + 1,
    MARGIN = 2, /* around a label, in its own pixels */
    QUALITY = 90,
};

struct glyph {
    char letter;
    uint8_t rows[GLYPH_HEIGHT]; /* five bits each, the left pixel is the highest */
};

static const struct glyph font[] = {
    {'A', {0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11}},
    {'B', {0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e}},
    {'C', {0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e}},
    {'D', {0x1c, 0x12, 0x11, 0x11, 0x11, 0x12, 0x1c}},
    {'E', {0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f}},
    {'F', {0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10}},
    {'G', {0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0f}},
    {'H', {0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11}},
    {'I', {0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e}},
    {'J', {0x07, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c}},
    {'K', {0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11}},
    {'L', {0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f}},
    {'M', {0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11}},
    {'N', {0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11}},
    {'O', {0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e}},
    {'P', {0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10}},
    {'Q', {0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d}},
    {'R', {0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11}},
    {'S', {0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e}},
    {'T', {0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04}},
    {'U', {0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e}},
    {'V', {0x11, 0x11, 0x11, 0x11, 0x11, 0x0a, 0x04}},
    {'W', {0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11}},
    {'X', {0x11, 0x11, 0x0a, 0x04, 0x0a, 0x11, 0x11}},
    {'Y', {0x11, 0x11, 0x0a, 0x04, 0x04, 0x04, 0x04}},
    {'Z', {0x1f, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1f}},
    {'0', {0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e}},
    {'1', {0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e}},
    {'2', {0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f}},
    {'3', {0x1e, 0x01, 0x01, 0x0e, 0x01, 0x01, 0x1e}},
    {'4', {0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02}},
    {'5', {0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e}},
    {'6', {0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e}},
    {'7', {0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08}},
    {'8', {0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e}},
    {'9', {0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c}},
    {' ', {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00}},
    {'.', {0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c}},
    {',', {0x00, 0x00, 0x00, 0x00, 0x0c, 0x04, 0x08}},
    {'-', {0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00}},
    {'_', {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1f}},
    {'%', {0x19, 0x1a, 0x02, 0x04, 0x08, 0x0b, 0x13}},
    {':', {0x00, 0x0c, 0x0c, 0x00, 0x0c, 0x0c, 0x00}},
    {'/', {0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10}},
    {'(', {0x02, 0x04, 0x08, 0x08, 0x08, 0x04, 0x02}},
    {')', {0x08, 0x04, 0x02, 0x02, 0x02, 0x04, 0x08}},
    {'+', {0x00, 0x04, 0x04, 0x1f, 0x04, 0x04, 0x00}},
    {'&', {0x0c, 0x12, 0x14, 0x08, 0x15, 0x12, 0x0d}},
    {'\'', {0x04, 0x04, 0x08, 0x00, 0x00, 0x00, 0x00}},
};

static const uint8_t unknown[GLYPH_HEIGHT] = {0x1f, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1f};

static const uint8_t colours[][3] = {
    {230, 60, 50},  {60, 180, 75},  {0, 130, 200},  {245, 130, 48}, {145, 30, 180},
    {70, 220, 240}, {240, 50, 230}, {210, 245, 60}, {0, 128, 128},  {255, 225, 25},
};

struct canvas {
    uint8_t *rgb;
    long width, height;
};

static void fill(const struct canvas *canvas, long left, long top, long width, long height,
                 const uint8_t *colour) {
    long right = left + width < canvas->width ? left + width : canvas->width;
    long under = top + height < canvas->height ? top + height : canvas->height;
    for (long y = top < 0 ? 0 : top; y < under; y++) {
        for (long x = left < 0 ? 0 : left; x < right; x++) {
            memcpy(canvas->rgb + (y * canvas->width + x) * 3, colour, 3);
        }
    }
}

static const uint8_t *glyph_get(char letter) {
    for (size_t i = 0; i < ARRAY_LENGTH(font); i++) {
        if (font[i].letter == toupper((unsigned char)letter)) {
            return font[i].rows;
        }
    }
    return unknown;
}

static void letters(const struct canvas *canvas, const char *text, long left, long top, long scale,
                    const uint8_t *colour) {
    for (; *text != '\0'; text++, left += ADVANCE * scale) {
        const uint8_t *rows = glyph_get(*text);
        for (long i = 0; i < GLYPH_WIDTH * GLYPH_HEIGHT; i++) {
            long x = i % GLYPH_WIDTH, y = i / GLYPH_WIDTH;
            if ((rows[y] >> (GLYPH_WIDTH - 1 - x) & 1) != 0) {
                fill(canvas, left + x * scale, top + y * scale, scale, scale, colour);
            }
        }
    }
}

/* `row`: how many labels are already in this corner. */
static void label(const struct canvas *canvas, const struct frame_detection *detection, long left,
                  long top, size_t row, const uint8_t *colour) {
    static const uint8_t black[3] = {0, 0, 0}, white[3] = {255, 255, 255};
    char text[FRAME_LABEL_MAX + 16];
    long scale = canvas->width / 500 < 1 ? 1 : canvas->width / 500;
    snprintf(text, sizeof(text), "%s %.0f%%", detection->label,
             (double)detection->confidence * 100);
    long width = ((long)strlen(text) * ADVANCE - 1 + 2 * MARGIN) * scale;
    long height = (GLYPH_HEIGHT + 2 * MARGIN) * scale;
    /* above the box, or inside where there is no room; never beyond the right edge */
    top = top - height >= 0 ? top - height : top + (long)row * height;
    left = left + width <= canvas->width ? left : canvas->width - width;
    left = left < 0 ? 0 : left;
    bool bright = 3 * colour[0] + 6 * colour[1] + colour[2] > 1400;
    fill(canvas, left, top, width, height, colour);
    letters(canvas, text, left + MARGIN * scale, top + MARGIN * scale, scale,
            bright ? black : white);
}

static void outline(const struct canvas *canvas, const struct frame_detection *detection) {
    const struct frame_box *box = &detection->box;
    const uint8_t *colour = colours[detection->class_index % ARRAY_LENGTH(colours)];
    long left = lround(box->x * (double)canvas->width),
         top = lround(box->y * (double)canvas->height);
    long width = lround(box->w * (double)canvas->width);
    long height = lround(box->h * (double)canvas->height);
    long thick = (canvas->width < canvas->height ? canvas->width : canvas->height) / 250;
    thick = thick < 1 ? 1 : thick;
    fill(canvas, left, top, width, thick, colour);
    fill(canvas, left, top + height - thick, width, thick, colour);
    fill(canvas, left, top, thick, height, colour);
    fill(canvas, left + width - thick, top, thick, height, colour);
    label(canvas, detection, left, top, 0, colour);
}

static void pixels_finish_at(struct image_pixels *pixels) {
    image_pixels_finish(pixels);
}

int draw_detections(const uint8_t *bytes, size_t size, const struct frame_detection *detections,
                    size_t count, uint8_t **out, size_t *out_size, struct err *err) {
    CLEANUP(pixels_finish_at) struct image_pixels pixels = {0};
    int code = image_decode(bytes, size, &pixels, err);
    if (code != 0) {
        return code;
    }
    struct canvas canvas = {pixels.rgb, (long)pixels.width, (long)pixels.height};
    for (size_t i = count; i > 0; i--) { /* the most confident on top */
        const struct frame_detection *detection = &detections[i - 1];
        if (detection->tag) {
            label(&canvas, detection, 0, 0, i - 1,
                  colours[detection->class_index % ARRAY_LENGTH(colours)]);
            continue;
        }
        outline(&canvas, detection);
    }
    return image_encode(pixels.rgb, pixels.width, pixels.height, QUALITY, out, out_size, err);
}
