/* Pictures for training and scoring: see train_data.h. */
#include "inference/demo/train_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Frames of one scene are far enough apart to show other things in another light. */
#define FRAME_STRIDE 37
#define SMALL_WIDTH  448
#define SMALL_HEIGHT 252

/* Darknet's letterbox_image: integers, rounding down; the offset likewise. */
static void fit(struct album *a) {
    if (a->net_w * SHOT_HEIGHT < a->net_h * SHOT_WIDTH) {
        a->fit_w = a->net_w;
        a->fit_h = SHOT_HEIGHT * a->net_w / SHOT_WIDTH;
    } else {
        a->fit_h = a->net_h;
        a->fit_w = SHOT_WIDTH * a->net_h / SHOT_HEIGHT;
    }
    a->off_x = (a->net_w - a->fit_w) / 2;
    a->off_y = (a->net_h - a->fit_h) / 2;
}

/* Darknet's resize_image: the corners of both pictures meet, and there is no averaging over more
 * than 2x2. */
static void shrink(const uint8_t *src, int sw, int sh, uint8_t *dst, int dw, int dh) {
    float kx = (float)(sw - 1) / (float)(dw - 1);
    float ky = (float)(sh - 1) / (float)(dh - 1);

    for (int y = 0; y < dh; y++) {
        int y0 = (int)((float)y * ky);
        int y1 = y0 + 1 < sh ? y0 + 1 : y0;
        float fy = (float)y * ky - (float)y0;
        for (int x = 0; x < dw; x++) {
            int x0 = (int)((float)x * kx);
            int x1 = x0 + 1 < sw ? x0 + 1 : x0;
            float fx = (float)x * kx - (float)x0;
            for (int c = 0; c < 3; c++) {
                float top = (float)src[(y0 * sw + x0) * 3 + c] * (1.0F - fx) +
                            (float)src[(y0 * sw + x1) * 3 + c] * fx;
                float low = (float)src[(y1 * sw + x0) * 3 + c] * (1.0F - fx) +
                            (float)src[(y1 * sw + x1) * 3 + c] * fx;
                *dst++ = (uint8_t)(top * (1.0F - fy) + low * fy + 0.5F);
            }
        }
    }
}

static int take_scene(struct album *a, const struct album_plan *plan, int number, uint8_t *work) {
    /* Small pictures render in half the time, and are a little sharper once scaled: training sees
     * both. */
    bool small = plan->known_only && number % 2 == 1;
    struct scene_config config = {
        .seed = plan->seed + (uint64_t)number,
        .width = small ? SMALL_WIDTH : SHOT_WIDTH,
        .height = small ? SMALL_HEIGHT : SHOT_HEIGHT,
        .mode = number * 5 % 8 < plan->bad_in_8 ? plan->bad : SCENE_CLEAN,
        .known_only = plan->known_only,
    };
    struct scene *scene = NULL;
    int rc = scene_create(&config, &scene);

    for (int i = 0; rc == 0 && i < plan->per_scene; i++) {
        struct shot *shot = &a->shots[a->count];
        shot->rgb = malloc((size_t)a->fit_w * (size_t)a->fit_h * 3);
        if (shot->rgb == NULL) {
            rc = -ENOMEM;
            break;
        }
        scene_render(scene, (uint64_t)(number + i) * FRAME_STRIDE, work, &shot->truth);
        shrink(work, config.width, config.height, shot->rgb, a->fit_w, a->fit_h);
        a->count++;
    }
    scene_destroy(scene);
    return rc;
}

int album_init(struct album *album, const struct album_plan *plan) {
    uint8_t *work = malloc((size_t)SHOT_WIDTH * SHOT_HEIGHT * 3);
    int rc = 0;

    *album = (struct album){.net_w = plan->net_w, .net_h = plan->net_h};
    fit(album);
    album->shots = calloc((size_t)plan->scenes * (size_t)plan->per_scene, sizeof *album->shots);
    if (work == NULL || album->shots == NULL) {
        rc = -ENOMEM;
    }
    for (int i = 0; rc == 0 && i < plan->scenes; i++) {
        rc = take_scene(album, plan, i, work);
    }
    free(work);
    return rc;
}

void album_finish(struct album *album) {
    for (int i = 0; i < album->count; i++) {
        free(album->shots[i].rgb);
    }
    free(album->shots);
    *album = (struct album){0};
}

void album_input(const struct album *album, int index, bool mirror, float gain, float *out) {
    const uint8_t *src = album->shots[index].rgb;
    size_t plane = (size_t)album->net_w * (size_t)album->net_h;
    float scale = gain / 255.0F;

    for (size_t i = 0; i < plane * 3; i++) {
        out[i] = 0.5F;
    }
    for (int y = 0; y < album->fit_h; y++) {
        float *row = out + (ptrdiff_t)(y + album->off_y) * album->net_w + album->off_x;
        for (int x = 0; x < album->fit_w; x++) {
            int to = mirror ? album->fit_w - 1 - x : x;
            for (int c = 0; c < 3; c++) {
                float v = (float)*src++ * scale;
                row[(ptrdiff_t)plane * c + to] = v > 1.0F ? 1.0F : v;
            }
        }
    }
}
