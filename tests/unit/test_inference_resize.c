/* resize: the fused pass against the plain two-pass resize that Darknet describes, written again
 * here in the most obvious way. (tests/integration/detect_reference.sh compares with the library's
 * own function.) */
#include "daemon/base/mem.h"
#include "inference/image_resize.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>

static const struct {
    uint32_t width, height, net_width, net_height;
    enum model_resize resize;
    uint32_t fit_width, fit_height;
} cases[] = {
    {768, 576, 320, 320, MODEL_LETTERBOX, 320, 240},
    {576, 768, 320, 320, MODEL_LETTERBOX, 240, 320},
    {768, 576, 320, 320, MODEL_STRETCH, 320, 320},
    {640, 360, 224, 128, MODEL_LETTERBOX, 224, 126},
    {320, 320, 320, 320, MODEL_LETTERBOX, 320, 320},
    {50, 40, 320, 320, MODEL_LETTERBOX, 320, 256},
    {773, 511, 416, 416, MODEL_LETTERBOX, 416, 275},
    {2, 2, 32, 32, MODEL_STRETCH, 32, 32},
    {1, 1, 32, 32, MODEL_LETTERBOX, 32, 32},
    {1, 9, 32, 32, MODEL_STRETCH, 32, 32},
    {9, 1, 32, 32, MODEL_STRETCH, 32, 32},
    {3000, 2, 64, 64, MODEL_LETTERBOX, 64, 1},
    {2, 3000, 64, 64, MODEL_LETTERBOX, 1, 64},
};

static double pixel(const struct image_pixels *pixels, uint32_t x, uint32_t y, uint32_t k) {
    return pixels->rgb[((size_t)y * pixels->width + x) * 3 + k] / 255.0;
}

/* Bilinear, corners on corners, in double. */
static double sample(const struct image_pixels *pixels, const struct image_fit *fit, uint32_t x,
                     uint32_t y, uint32_t k) {
    double at_x = fit->width > 1 ? (double)x * (pixels->width - 1) / (fit->width - 1) : 0;
    double at_y = fit->height > 1 ? (double)y * (pixels->height - 1) / (fit->height - 1) : 0;
    at_x = x == fit->width - 1 ? pixels->width - 1 : at_x;
    at_y = y == fit->height - 1 ? pixels->height - 1 : at_y;
    uint32_t left = (uint32_t)at_x, top = (uint32_t)at_y;
    uint32_t right = left + 1 < pixels->width ? left + 1 : left;
    uint32_t under = top + 1 < pixels->height ? top + 1 : top;
    double part_x = at_x - left, part_y = at_y - top;
    double upper =
        (1 - part_x) * pixel(pixels, left, top, k) + part_x * pixel(pixels, right, top, k);
    double lower =
        (1 - part_x) * pixel(pixels, left, under, k) + part_x * pixel(pixels, right, under, k);
    return (1 - part_y) * upper + part_y * lower;
}

START_TEST(equals_the_plain_way) {
    uint32_t net_width = cases[_i].net_width, net_height = cases[_i].net_height;
    struct image_pixels pixels = {.width = cases[_i].width, .height = cases[_i].height};
    size_t count = (size_t)pixels.width * pixels.height * 3, plane = (size_t)net_width * net_height;
    pixels.rgb = mem_alloc(count);
    for (size_t i = 0; i < count; i++) {
        pixels.rgb[i] = (uint8_t)(i * 2654435761u >> 13); /* noise, the hardest picture */
    }
    float *planar = mem_array(plane, 3 * sizeof(*planar));
    struct image_resizer *resizer = image_resizer_create(net_width, net_height);
    struct image_fit fit;
    image_resize(resizer, &pixels, cases[_i].resize, planar, &fit);
    ck_assert_uint_eq(fit.width, cases[_i].fit_width);
    ck_assert_uint_eq(fit.height, cases[_i].fit_height);
    uint32_t left = (net_width - fit.width) / 2, above = (net_height - fit.height) / 2;
    double worst = 0;
    for (uint32_t k = 0; k < 3; k++) {
        for (uint32_t y = 0; y < net_height; y++) {
            for (uint32_t x = 0; x < net_width; x++) {
                bool inside =
                    x >= left && x < left + fit.width && y >= above && y < above + fit.height;
                double expected = inside ? sample(&pixels, &fit, x - left, y - above, k) : 0.5;
                double found = (double)planar[k * plane + (size_t)y * net_width + x];
                worst = fmax(worst, fabs(found - expected));
            }
        }
    }
    /* float places in a picture of 3,000 pixels are good to 2^-12 of a pixel */
    ck_assert_msg(worst < 5e-4, "differs by %g", worst);
    image_resizer_destroy(resizer);
    free(planar);
    free(pixels.rgb);
}
END_TEST

/* One resizer for pictures of all sizes, one after the other: nothing is left from the one before.
 */
START_TEST(nothing_is_left_behind) {
    float first[3 * 32 * 32], again[3 * 32 * 32];
    uint8_t small[4 * 4 * 3], large[90 * 70 * 3];
    for (size_t i = 0; i < sizeof(large); i++) {
        large[i] = (uint8_t)(i * 31);
    }
    for (size_t i = 0; i < sizeof(small); i++) {
        small[i] = (uint8_t)(i * 7);
    }
    struct image_pixels one = {.rgb = small, .width = 4, .height = 4};
    struct image_pixels two = {.rgb = large, .width = 90, .height = 70};
    struct image_resizer *resizer = image_resizer_create(32, 32);
    struct image_fit fit;
    image_resize(resizer, &one, MODEL_LETTERBOX, first, &fit);
    image_resize(resizer, &two, MODEL_LETTERBOX, again, &fit);
    image_resize(resizer, &one, MODEL_LETTERBOX, again, &fit);
    ck_assert_mem_eq(first, again, sizeof(first));
    image_resizer_destroy(resizer);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_resize");
    TCase *tests = tcase_create("resize");
    tcase_add_loop_test(tests, equals_the_plain_way, 0, (int)(sizeof(cases) / sizeof(cases[0])));
    tcase_add_test(tests, nothing_is_left_behind);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
