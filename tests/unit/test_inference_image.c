/* image: bytes to pixels, for good pictures of every kind and for bad ones of every kind;
 * thumbnail, hash and quality; the picture with boxes. */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "inference/draw.h"
#include "inference/image_decode.h"
#include "inference/image_summary.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum { WIDTH = 96, HEIGHT = 64 };

static struct err err;
static struct image_pixels pixels;

static int decode(const uint8_t *bytes, size_t size) {
    err = (struct err){0};
    return image_decode(bytes, size, &pixels, &err);
}

/* A smooth picture with a bright square: red rises to the right, green downwards. */
static uint8_t *paint(uint32_t width, uint32_t height) {
    uint8_t *rgb = mem_array((size_t)width * height, 3);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint8_t *at = rgb + ((size_t)y * width + x) * 3;
            bool square = x > width / 2 && x < width * 3 / 4 && y > height / 4 && y < height / 2;
            at[0] = (uint8_t)(x * 200 / width);
            at[1] = (uint8_t)(y * 200 / height);
            at[2] = square ? 250 : 60;
        }
    }
    return rgb;
}

static size_t make_jpeg(uint8_t **out) {
    uint8_t *rgb = paint(WIDTH, HEIGHT);
    size_t size = 0;
    ck_assert_int_eq(image_encode(rgb, WIDTH, HEIGHT, 92, out, &size, &err), 0);
    free(rgb);
    return size;
}

static size_t make_png(const void *source, uint32_t format, uint32_t width, uint32_t height,
                       uint8_t *out, size_t room) {
    png_image png = {
        .version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = format};
    png_alloc_size_t size = room;
    ck_assert_int_ne(png_image_write_to_memory(&png, out, &size, 0, source, 0, NULL), 0);
    return size;
}

static void near_colour(uint32_t x, uint32_t y, int red, int green, int blue, int slack) {
    const uint8_t *at = pixels.rgb + ((size_t)y * pixels.width + x) * 3;
    ck_assert_msg(
        abs(at[0] - red) <= slack && abs(at[1] - green) <= slack && abs(at[2] - blue) <= slack,
        "(%u, %u) is %d %d %d; expected %d %d %d", x, y, at[0], at[1], at[2], red, green, blue);
}

START_TEST(jpeg_is_read) {
    uint8_t *jpeg = NULL;
    size_t size = make_jpeg(&jpeg);
    ck_assert_int_eq(decode(jpeg, size), 0);
    ck_assert_uint_eq(pixels.width, WIDTH);
    ck_assert_uint_eq(pixels.height, HEIGHT);
    ck_assert_int_eq(pixels.media, MEDIA_JPEG);
    ck_assert_int_eq(pixels.orientation, 1);
    near_colour(10, 50, 20, 156, 60, 8);
    free(jpeg);
}
END_TEST

/* Whatever is missing at the end: an error, never a picture with a grey rest. */
START_TEST(jpeg_cut_anywhere_is_refused) {
    uint8_t *jpeg = NULL;
    size_t size = make_jpeg(&jpeg);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = mem_dup(jpeg, cut + 1); /* its own block, so that reading beyond is seen */
        ck_assert_msg(decode(part, cut) == ERR_INVALID, "cut at %zu of %zu was accepted", cut,
                      size);
        free(part);
    }
    free(jpeg);
}
END_TEST

/* Every byte replaced: decoded or refused, never a crash (run under the sanitizers). */
START_TEST(jpeg_changed_anywhere_is_safe) {
    uint8_t *jpeg = NULL;
    size_t size = make_jpeg(&jpeg);
    static const uint8_t others[] = {0x00, 0xff, 0xd9, 0x80};
    for (size_t i = 0; i < size; i++) {
        uint8_t was = jpeg[i];
        for (size_t k = 0; k < sizeof(others); k++) {
            jpeg[i] = others[k];
            int code = decode(jpeg, size);
            ck_assert(code == 0 || code == ERR_INVALID);
        }
        jpeg[i] = was;
    }
    free(jpeg);
}
END_TEST

START_TEST(jpeg_too_large_is_refused_before_memory) {
    uint8_t *jpeg = NULL;
    size_t size = make_jpeg(&jpeg);
    size_t at = 0;
    for (size_t i = 0; i + 8 < size && at == 0; i++) {
        at = jpeg[i] == 0xff && jpeg[i + 1] == 0xc0 ? i : 0;
    }
    ck_assert_uint_gt(at, 0);
    memcpy(jpeg + at + 5, "\xea\x60\xea\x60", 4); /* 60,000 x 60,000 */
    ck_assert_int_eq(decode(jpeg, size), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "too large (60000 x 60000"));
    free(jpeg);
}
END_TEST

START_TEST(bytes_between_markers_are_forgiven) {
    uint8_t *jpeg = NULL;
    size_t size = make_jpeg(&jpeg);
    uint8_t *longer = mem_alloc(size + 4);
    memcpy(longer, jpeg, size - 2);
    memcpy(longer + size - 2, "\x11\x22\x33\x44\xff\xd9", 6); /* before the end marker */
    ck_assert_msg(decode(longer, size + 4) == 0, "%s", err.msg);
    free(longer);
    free(jpeg);
}
END_TEST

START_TEST(other_colours_of_jpeg) {
    static const struct {
        int format, sampling;
    } kinds[] = {{TJPF_GRAY, TJSAMP_GRAY}, {TJPF_CMYK, TJSAMP_444}};
    uint8_t source[16 * 16 * 4];
    /* ink as Adobe stores it, inverted: red = 200 * 128 / 255 */
    for (size_t i = 0; i < sizeof(source); i += 4) {
        memcpy(source + i, (uint8_t[]){200, 100, 50, 128}, 4);
    }
    tjhandle turbo = tjInitCompress();
    unsigned char *jpeg = NULL;
    unsigned long size = 0;
    ck_assert_int_eq(tjCompress2(turbo, source, 16, 0, 16, kinds[_i].format, &jpeg, &size,
                                 kinds[_i].sampling, 95, 0),
                     0);
    ck_assert_msg(decode(jpeg, size) == 0, "%s", err.msg);
    ck_assert_uint_eq(pixels.width, 16);
    if (kinds[_i].format == TJPF_CMYK) {
        near_colour(8, 8, 100, 50, 25, 6);
    } else {
        const uint8_t *at = pixels.rgb;
        ck_assert(at[0] == at[1] && at[1] == at[2]);
    }
    tjFree(jpeg);
    tjDestroy(turbo);
}
END_TEST

START_TEST(png_is_read) {
    uint8_t *rgb = paint(WIDTH, HEIGHT), *png = mem_alloc(1 << 16);
    size_t size = make_png(rgb, PNG_FORMAT_RGB, WIDTH, HEIGHT, png, 1 << 16);
    ck_assert_msg(decode(png, size) == 0, "%s", err.msg);
    ck_assert_int_eq(pixels.media, MEDIA_PNG);
    ck_assert_mem_eq(pixels.rgb, rgb, (size_t)WIDTH * HEIGHT * 3);
    for (size_t cut = 0; cut < size; cut += 7) {
        uint8_t *part = mem_dup(png, cut + 1);
        int code = decode(part, cut);
        ck_assert_msg(code == ERR_INVALID || cut + 12 >= size, "cut at %zu of %zu was accepted",
                      cut, size);
        free(part);
    }
    free(png);
    free(rgb);
}
END_TEST

START_TEST(png_of_other_depths) {
    uint8_t png[4096];
    /* 16 bits with alpha: one opaque pixel and one that is not there at all (white shows) */
    uint16_t deep[2][4] = {{0xffff, 0, 0, 0xffff}, {0, 0, 0, 0}};
    size_t size = make_png(deep, PNG_FORMAT_LINEAR_RGB_ALPHA, 2, 1, png, sizeof(png));
    ck_assert_msg(decode(png, size) == 0, "%s", err.msg);
    near_colour(0, 0, 255, 0, 0, 1);
    near_colour(1, 0, 255, 255, 255, 1);
    uint8_t grey[4] = {0, 80, 160, 255};
    size = make_png(grey, PNG_FORMAT_GRAY, 2, 2, png, sizeof(png));
    ck_assert_msg(decode(png, size) == 0, "%s", err.msg);
    near_colour(1, 0, 80, 80, 80, 0);
    uint8_t clear[8] = {10, 20, 30, 255, 10, 20, 30, 0};
    size = make_png(clear, PNG_FORMAT_RGBA, 2, 1, png, sizeof(png));
    ck_assert_msg(decode(png, size) == 0, "%s", err.msg);
    near_colour(0, 0, 10, 20, 30, 0);
    near_colour(1, 0, 255, 255, 255, 0);
}
END_TEST

START_TEST(png_too_large_is_refused_before_memory) {
    uint8_t png[4096], grey[4] = {0};
    size_t size = make_png(grey, PNG_FORMAT_GRAY, 2, 2, png, sizeof(png));
    memcpy(png + 16, "\x00\x00\xff\xff\x00\x00\xff\xff", 8); /* 65,535 x 65,535 */
    uint32_t sum = hash_crc32(png + 12, 17);
    for (int i = 0; i < 4; i++) {
        png[29 + i] = (uint8_t)(sum >> (24 - 8 * i));
    }
    ck_assert_int_eq(decode(png, size), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "too large (65535 x 65535"));
}
END_TEST

START_TEST(what_is_no_image) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *said;
    } things[] = {
        {"", 0, "empty"},
        {"\xff", 1, "neither JPEG, PNG nor BMP"},
        {"GIF89a", 6, "neither JPEG, PNG nor BMP (6 bytes, the first are 47 49 46 38)"},
        {"hello, this is text", 19, "neither"},
        {"\xff\xd8\xff", 3, "no pixels"},
        {"\xff\xd8\xff\xd9", 4, "no pixels"},
        {"\x89PNG\r\n\x1a\n", 8, "damaged PNG"},
    };
    uint8_t *own = mem_dup(things[_i].bytes, things[_i].size + 1);
    ck_assert_int_eq(decode(own, things[_i].size), ERR_INVALID);
    ck_assert_msg(strstr(err.msg, things[_i].said) != NULL, "%s", err.msg);
    free(own);
}
END_TEST

/* A TIFF header and one directory entry, as cameras write it, in both byte orders. */
START_TEST(orientation_is_read) {
    static const char little[] = "\xff\xd8\xff\xe1\x00\x22"
                                 "Exif\0\0"
                                 "II*\0\x08\0\0\0"
                                 "\x01\0"
                                 "\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
                                 "\0\0\0\0"
                                 "\xff\xda\0\x02";
    static const char big[] = "\xff\xd8\xff\xe1\x00\x22"
                              "Exif\0\0"
                              "MM\0*\0\0\0\x08"
                              "\0\x01"
                              "\x01\x12\0\x03\0\0\0\x01\0\x08\0\0"
                              "\0\0\0\0"
                              "\xff\xda\0\x02";
    ck_assert_uint_eq(image_jpeg_orientation((const uint8_t *)little, sizeof(little) - 1), 6);
    ck_assert_uint_eq(image_jpeg_orientation((const uint8_t *)big, sizeof(big) - 1), 8);
    char bad[sizeof(little)];
    for (size_t i = 0; i + 1 < sizeof(little);
         i++) { /* any byte wrong, and any cut: 1 to 8 and no crash */
        memcpy(bad, little, sizeof(little));
        bad[i] = (char)0xff;
        uint8_t found = image_jpeg_orientation((const uint8_t *)bad, sizeof(little) - 1);
        ck_assert(found >= 1 && found <= 8);
        uint8_t *part = mem_dup(little, i + 1);
        found = image_jpeg_orientation(part, i);
        ck_assert(found == 1 || found == 6);
        free(part);
    }
}
END_TEST

START_TEST(orientation_of_a_whole_jpeg) {
    static const char exif[] = "\xff\xe1\x00\x22"
                               "Exif\0\0"
                               "II*\0\x08\0\0\0"
                               "\x01\0"
                               "\x12\x01\x03\0\x01\0\0\0\x03\0\0\0"
                               "\0\0\0\0";
    uint8_t *jpeg = NULL;
    size_t size = make_jpeg(&jpeg), add = sizeof(exif) - 1;
    uint8_t *turned = mem_alloc(size + add);
    memcpy(turned, jpeg, 2);
    memcpy(turned + 2, exif, add);
    memcpy(turned + 2 + add, jpeg + 2, size - 2);
    ck_assert_msg(decode(turned, size + add) == 0, "%s", err.msg);
    ck_assert_int_eq(pixels.orientation, 3);
    ck_assert_uint_eq(pixels.width, WIDTH);
    free(turned);
    free(jpeg);
}
END_TEST

static int bits(uint64_t value) {
    return __builtin_popcountll(value);
}

static void summarise(const uint8_t *rgb, uint32_t width, uint32_t height,
                      struct image_summary *out) {
    struct image_pixels seen = {.rgb = (uint8_t *)(uintptr_t)rgb, .width = width, .height = height};
    ck_assert_int_eq(image_summarise(&seen, 64, out, &err), 0);
}

START_TEST(hash_holds_under_scaling_and_light) {
    struct image_summary one, half, dark, other;
    uint8_t *large = paint(640, 480), *small = paint(320, 240), *dim = paint(640, 480);
    uint8_t *turned = mem_array((size_t)640 * 480, 3);
    for (size_t i = 0; i < (size_t)640 * 480 * 3; i++) {
        dim[i] = (uint8_t)(dim[i] * 3 / 4);
        turned[i] = large[(size_t)640 * 480 * 3 - 1 - i];
    }
    summarise(large, 640, 480, &one);
    summarise(small, 320, 240, &half);
    summarise(dim, 640, 480, &dark);
    summarise(turned, 640, 480, &other);
    ck_assert_int_eq(bits(one.phash), 32); /* a median halves them */
    ck_assert_int_le(bits(one.phash ^ half.phash), 6);
    ck_assert_int_le(bits(one.phash ^ dark.phash), 6);
    ck_assert_int_ge(bits(one.phash ^ other.phash), 16);
    ck_assert(dark.quality.luma_mean < one.quality.luma_mean);
    image_summary_finish(&one);
    image_summary_finish(&half);
    image_summary_finish(&dark);
    image_summary_finish(&other);
    free(large);
    free(small);
    free(dim);
    free(turned);
}
END_TEST

START_TEST(figures_of_known_pictures) {
    struct image_summary even, chess;
    uint8_t rgb[32 * 32 * 3];
    memset(rgb, 51, sizeof(rgb));
    summarise(rgb, 32, 32, &even);
    ck_assert_float_eq_tol(even.quality.luma_mean, 0.2f, 1e-4f);
    ck_assert_float_eq_tol(even.quality.luma_stddev, 0, 1e-3f);
    ck_assert_float_eq_tol(even.quality.sharpness, 0, 1e-6f);
    for (size_t i = 0; i < 32 * 32; i++) {
        memset(rgb + 3 * i, (i + i / 32) % 2 != 0 ? 255 : 0, 3);
    }
    summarise(rgb, 32, 32, &chess);
    ck_assert_float_eq_tol(chess.quality.luma_mean, 0.5f, 1e-4f);
    ck_assert_float_eq_tol(chess.quality.luma_stddev, 0.5f, 1e-4f);
    ck_assert_float_eq_tol(chess.quality.sharpness, 16.0f, 1e-3f); /* the Laplacian is 4 or -4 */
    image_summary_finish(&even);
    image_summary_finish(&chess);
}
END_TEST

START_TEST(thumbnail_sizes) {
    static const uint32_t sizes[][4] = {/* image, thumbnail of 64 across */
                                        {640, 480, 64, 48}, {64, 48, 64, 48}, {20, 10, 20, 10},
                                        {1, 1, 1, 1},       {1000, 3, 64, 1}, {3, 1000, 3, 12},
                                        {65, 31, 64, 30}};
    uint8_t *rgb = paint(sizes[_i][0], sizes[_i][1]);
    struct image_summary summary;
    summarise(rgb, sizes[_i][0], sizes[_i][1], &summary);
    ck_assert_int_eq(decode(summary.thumb, summary.thumb_bytes), 0);
    ck_assert_uint_eq(pixels.width, sizes[_i][2]);
    ck_assert_uint_eq(pixels.height, sizes[_i][3]);
    image_summary_finish(&summary);
    free(rgb);
}
END_TEST

START_TEST(boxes_are_drawn) {
    const struct frame_detection found[] = {
        {{0.25, 0.5, 0.5, 0.25}, 0.9f, 1, false, "cat"},
        {{0.9, 0.9, 0.1, 0.1}, 0.5f, 3, false, "a very long label that leaves the image \xc3\xa9"},
        {{0, 0, 1, 1}, 0.5f, 4, false, ""},
    };
    uint8_t *jpeg = NULL, *drawn = NULL;
    size_t size = make_jpeg(&jpeg), drawn_size = 0;
    ck_assert_int_eq(draw_detections(jpeg, size, found, 3, &drawn, &drawn_size, &err), 0);
    ck_assert_int_eq(decode(drawn, drawn_size), 0);
    ck_assert_uint_eq(pixels.width, WIDTH);
    near_colour(WIDTH / 2, HEIGHT * 3 / 4 - 1, 60, 180, 75,
                70); /* the lower edge, in the second colour */
    ck_assert_int_eq(draw_detections(jpeg, 20, found, 1, &drawn, &drawn_size, &err), ERR_INVALID);
    free(drawn);
    free(jpeg);
}
END_TEST

static void clean(void) {
    image_pixels_finish(&pixels);
}

int main(void) {
    Suite *suite = suite_create("inference_image");
    TCase *tests = tcase_create("image");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, NULL, clean);
    tcase_add_test(tests, jpeg_is_read);
    tcase_add_test(tests, jpeg_cut_anywhere_is_refused);
    tcase_add_test(tests, jpeg_changed_anywhere_is_safe);
    tcase_add_test(tests, jpeg_too_large_is_refused_before_memory);
    tcase_add_test(tests, bytes_between_markers_are_forgiven);
    tcase_add_loop_test(tests, other_colours_of_jpeg, 0, 2);
    tcase_add_test(tests, png_is_read);
    tcase_add_test(tests, png_of_other_depths);
    tcase_add_test(tests, png_too_large_is_refused_before_memory);
    tcase_add_loop_test(tests, what_is_no_image, 0, 7);
    tcase_add_test(tests, orientation_is_read);
    tcase_add_test(tests, orientation_of_a_whole_jpeg);
    tcase_add_test(tests, hash_holds_under_scaling_and_light);
    tcase_add_test(tests, figures_of_known_pictures);
    tcase_add_loop_test(tests, thumbnail_sizes, 0, 7);
    tcase_add_test(tests, boxes_are_drawn);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
