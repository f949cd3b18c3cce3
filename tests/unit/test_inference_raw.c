/* Raw frames: what is refused, what becomes of their pixels, their JPEG, and that the worker sees
 * in them what it sees in the same pixels as a file. */
#include "daemon/base/mem.h"
#include "inference/demo/scene.h"
#include "inference/image_decode.h"
#include "inference/image_raw.h"
#include "inference/inference.h"
#include "tests/suite.h"
#include <check.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum { WIDTH = 320, HEIGHT = 240 };

static struct err err;

/* Smooth, so that half the colours of yuv420p and a JPEG change little. */
static uint8_t *paint(uint32_t width, uint32_t height, bool bgr) {
    uint8_t *pixels = mem_array((size_t)width * height, 3);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint8_t *at = pixels + ((size_t)y * width + x) * 3;
            at[bgr ? 2 : 0] = (uint8_t)(40 + x * 160 / width);
            at[1] = (uint8_t)(40 + y * 160 / height);
            at[bgr ? 0 : 2] = 90;
        }
    }
    return pixels;
}

/* By the formulas of ITU-R BT.601 in full range (JFIF), a block's mean colour for its chroma. */
static uint8_t *to_yuv(const uint8_t *rgb, uint32_t width, uint32_t height) {
    uint8_t *out = mem_alloc(frame_raw_size(FRAME_YUV420P, width, height));
    uint8_t *luma = out, *blue = luma + (size_t)width * height;
    uint32_t half = (width + 1) / 2;
    uint8_t *red = blue + (size_t)half * ((height + 1) / 2);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            const uint8_t *at = rgb + ((size_t)y * width + x) * 3;
            double light = 0.299 * at[0] + 0.587 * at[1] + 0.114 * at[2];
            luma[(size_t)y * width + x] = (uint8_t)(light + 0.5);
            if (x % 2 == 0 && y % 2 == 0) {
                size_t block = (size_t)(y / 2) * half + x / 2;
                blue[block] = (uint8_t)((at[2] - light) / 1.772 + 128.5);
                red[block] = (uint8_t)((at[0] - light) / 1.402 + 128.5);
            }
        }
    }
    return out;
}

static uint8_t *bytes_of(enum frame_format format, uint32_t width, uint32_t height) {
    uint8_t *rgb = paint(width, height, format == FRAME_BGR24);
    if (format != FRAME_YUV420P) {
        return rgb;
    }
    uint8_t *yuv = to_yuv(rgb, width, height);
    free(rgb);
    return yuv;
}

static struct frame *frame_of(enum frame_format format, uint32_t width, uint32_t height) {
    struct frame *frame = NULL;
    uint8_t *bytes = bytes_of(format, width, height);
    ck_assert_msg(frame_create_raw("dock", format, width, height, bytes,
                                   frame_raw_size(format, width, height), &frame, &err) == 0,
                  "%s", err.msg);
    return frame;
}

/* How far the pixels are from what was painted, at most. */
static int distance(const struct image_pixels *pixels) {
    uint8_t *painted = paint(pixels->width, pixels->height, false);
    int worst = 0;
    for (size_t i = 0; i < (size_t)pixels->width * pixels->height * 3; i++) {
        int far = abs((int)painted[i] - (int)pixels->rgb[i]);
        worst = far > worst ? far : worst;
    }
    free(painted);
    return worst;
}

START_TEST(sizes_are_exact) {
    static const struct {
        enum frame_format format;
        uint32_t width, height;
        size_t size;
    } cases[] = {
        {FRAME_YUV420P, 4, 2, 12},
        {FRAME_YUV420P, 1, 1, 3},
        {FRAME_YUV420P, 5, 3, 15 + 2 * 6},
        {FRAME_YUV420P, 1920, 1080, 3110400},
        {FRAME_RGB24, 5, 3, 45},
        {FRAME_BGR24, 5, 3, 45},
        {FRAME_ENCODED, 4, 2, 0},
        {(enum frame_format)4, 4, 2, 0},
        {FRAME_RGB24, 0, 2, 0},
        {FRAME_RGB24, 2, 0, 0},
        {FRAME_YUV420P, 65500, 600, 58950000},
        {FRAME_YUV420P, 65501, 1, 0},
        {FRAME_RGB24, 65500, 600, 0},   /* more bytes than a frame may have */
        {FRAME_RGB24, 65536, 65537, 0}, /* the product of which is small in 32 bits */
        {FRAME_RGB24, UINT32_MAX, UINT32_MAX, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        ck_assert_uint_eq(frame_raw_size(cases[i].format, cases[i].width, cases[i].height),
                          cases[i].size);
    }
}
END_TEST

START_TEST(creation_refuses_what_does_not_fit) {
    struct frame *frame = NULL;
    ck_assert_int_eq(frame_create_raw("dock", FRAME_RGB24, 4, 4, mem_alloc(47), 47, &frame, &err),
                     ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "47 bytes of rgb24 pixels; 4 x 4 of them are 48 bytes"));
    ck_assert_int_eq(frame_create_raw("dock", FRAME_ENCODED, 4, 4, mem_alloc(48), 48, &frame, &err),
                     ERR_INVALID);
    ck_assert_int_eq(frame_create_raw("Dock!", FRAME_RGB24, 4, 4, mem_alloc(48), 48, &frame, &err),
                     ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "Dock!"));
    ck_assert_int_eq(frame_create_raw("dock", FRAME_RGB24, 4, 4, NULL, 48, &frame, &err),
                     ERR_INVALID);
    ck_assert_ptr_null(frame);
}
END_TEST

static const struct {
    enum frame_format format;
    uint32_t width, height;
} shapes[] = {
    {FRAME_RGB24, 64, 48},   {FRAME_BGR24, 64, 48},   {FRAME_YUV420P, 64, 48},
    {FRAME_RGB24, 33, 17},   {FRAME_BGR24, 33, 17},   {FRAME_YUV420P, 33, 17},
    {FRAME_YUV420P, 33, 18}, {FRAME_YUV420P, 34, 17}, {FRAME_YUV420P, 1, 1},
    {FRAME_RGB24, 1, 1},     {FRAME_YUV420P, 1, 40},  {FRAME_YUV420P, 40, 1},
};

/* The bytes lie at the very end of their memory, so that the sanitizer sees one read too far. */
START_TEST(pixels_are_those_given) {
    struct frame *frame = frame_of(shapes[_i].format, shapes[_i].width, shapes[_i].height);
    struct image_raw raw = {frame->format, frame->record.width, frame->record.height, frame->blob};
    struct image_pixels pixels = {0};
    ck_assert_int_eq(image_raw_pixels(&raw, &pixels, &err), 0);
    ck_assert_uint_eq(pixels.width, shapes[_i].width);
    ck_assert_uint_eq(pixels.height, shapes[_i].height);
    ck_assert_int_eq(pixels.orientation, 1);
    int allowed = shapes[_i].format != FRAME_YUV420P ? 0 : shapes[_i].width < 64 ? 14 : 6;
    ck_assert_int_le(distance(&pixels), allowed);
    image_pixels_finish(&pixels);
    frame_destroy(frame);
}
END_TEST

START_TEST(jpeg_shows_what_was_given) {
    struct frame *frame = frame_of(shapes[_i].format, shapes[_i].width, shapes[_i].height);
    struct image_pixels pixels = {0};
    ck_assert_int_eq(frame->record.media, MEDIA_NONE);
    ck_assert_msg(frame_encode(frame, 95, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(frame->format, FRAME_ENCODED);
    ck_assert_int_eq(frame->record.media, MEDIA_JPEG);
    ck_assert_msg(image_decode(frame->blob, (size_t)frame->record.blob_bytes, &pixels, &err) == 0,
                  "%s", err.msg);
    ck_assert_uint_eq(pixels.width, shapes[_i].width);
    ck_assert_uint_eq(pixels.height, shapes[_i].height);
    ck_assert_int_le(distance(&pixels), shapes[_i].width < 64 ? 14 : 8);
    uint8_t *before = frame->blob;
    ck_assert_int_eq(frame_encode(frame, 10, &err), 0); /* is one already */
    ck_assert_ptr_eq(frame->blob, before);
    image_pixels_finish(&pixels);
    frame_destroy(frame);
}
END_TEST

START_TEST(range_of_video_becomes_full) {
    static const uint8_t given[12] = {16, 235, 0, 255, 125, 126, 17, 234, 16, 240, 16, 240};
    static const uint8_t wanted[12] = {0, 255, 0, 255, 127, 128, 1, 254, 0, 255, 0, 255};
    struct frame *frame = NULL;
    ck_assert_int_eq(frame_create_raw("dock", FRAME_YUV420P, 4, 2, mem_dup(given, sizeof(given)),
                                      sizeof(given), &frame, &err),
                     0);
    frame_range_expand(frame);
    ck_assert_mem_eq(frame->blob, wanted, sizeof(wanted));
    frame_destroy(frame);
}
END_TEST

/* ---- through the worker ---- */

static uint8_t *scene_rgb(void) {
    struct scene_config world = {
        .seed = 7, .width = WIDTH, .height = HEIGHT, .mode = SCENE_CLEAN, .known_only = true};
    struct scene *scene = NULL;
    uint8_t *rgb = mem_array((size_t)WIDTH * HEIGHT, 3);
    ck_assert_int_eq(scene_create(&world, &scene), 0);
    scene_render(scene, 3, rgb, NULL);
    scene_destroy(scene);
    return rgb;
}

static struct frame *scene_frame(enum frame_format format) {
    uint8_t *rgb = scene_rgb();
    size_t size = frame_raw_size(format, WIDTH, HEIGHT);
    struct frame *frame = NULL;
    if (format == FRAME_ENCODED) {
        png_image png = {.version = PNG_IMAGE_VERSION,
                         .width = WIDTH,
                         .height = HEIGHT,
                         .format = PNG_FORMAT_RGB};
        png_alloc_size_t room = PNG_IMAGE_PNG_SIZE_MAX(png);
        uint8_t *bytes = mem_alloc(room);
        ck_assert_int_ne(png_image_write_to_memory(&png, bytes, &room, 0, rgb, 0, NULL), 0);
        ck_assert_int_eq(frame_create("dock", bytes, room, &frame, &err), 0);
        free(rgb);
        return frame;
    }
    uint8_t *bytes = rgb;
    if (format == FRAME_BGR24) {
        for (size_t i = 0; i < size; i += 3) {
            uint8_t red = bytes[i];
            bytes[i] = bytes[i + 2];
            bytes[i + 2] = red;
        }
    } else if (format == FRAME_YUV420P) {
        bytes = to_yuv(rgb, WIDTH, HEIGHT);
        free(rgb);
    }
    ck_assert_int_eq(frame_create_raw("dock", format, WIDTH, HEIGHT, bytes, size, &frame, &err), 0);
    return frame;
}

static struct frame *seen(struct detector *detector, enum frame_format format) {
    struct frame *frame = scene_frame(format);
    ck_assert_msg(detector_run(detector, frame, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(frame->record.width, WIDTH);
    ck_assert_uint_eq(frame->record.height, HEIGHT);
    ck_assert_uint_gt(frame->thumb_bytes, 100);
    return frame;
}

static void same_detections(const struct frame *one, const struct frame *two) {
    ck_assert_uint_gt(one->record.detection_count, 0);
    ck_assert_uint_eq(one->record.detection_count, two->record.detection_count);
    for (size_t i = 0; i < one->record.detection_count; i++) {
        ck_assert_mem_eq(&one->record.detections[i], &two->record.detections[i],
                         sizeof(one->record.detections[i]));
    }
    ck_assert_uint_eq(one->record.phash, two->record.phash);
    ck_assert_uint_eq(one->thumb_bytes, two->thumb_bytes);
    ck_assert_mem_eq(one->thumb, two->thumb, one->thumb_bytes);
}

/* The strongest detection is of the same class, and about as strong. */
static void near_detections(const struct frame *one, const struct frame *two) {
    const struct frame_detection *left = one->record.detections, *right = two->record.detections;
    ck_assert_uint_gt(two->record.detection_count, 0);
    ck_assert_uint_eq(left->class_index, right->class_index);
    ck_assert_float_eq_tol(left->confidence, right->confidence, 0.1f);
    ck_assert_double_eq_tol(left->box.x, right->box.x, 0.03);
    ck_assert_double_eq_tol(left->box.y, right->box.y, 0.03);
    ck_assert_int_le(__builtin_popcountll(one->record.phash ^ two->record.phash), 4);
}

START_TEST(worker_sees_the_same_in_every_format) {
    char path[4096];
    const char *build = getenv("CREEL_BUILD_DIR");
    snprintf(path, sizeof(path), "%s/bin/creel-worker-cpu",
             build != NULL ? build : CREEL_BUILD_DIR);
    struct model *model = NULL;
    struct detector *detector = NULL;
    ck_assert_int_eq(model_open(CREEL_SOURCE_DIR "/inference/models/demo", &model, &err), 0);
    struct detector_config config = {.worker_path = path, .floor = 0.05, .device = "cpu"};
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
    struct frame *png = seen(detector, FRAME_ENCODED), *rgb = seen(detector, FRAME_RGB24);
    struct frame *bgr = seen(detector, FRAME_BGR24), *yuv = seen(detector, FRAME_YUV420P);
    same_detections(png, rgb);
    same_detections(png, bgr);
    near_detections(png, yuv);
    frame_destroy(png);
    frame_destroy(rgb);
    frame_destroy(bgr);
    frame_destroy(yuv);
    detector_stop(detector);
    model_close(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference/raw");
    TCase *frames = tcase_create("frames");
    tcase_add_test(frames, sizes_are_exact);
    tcase_add_test(frames, creation_refuses_what_does_not_fit);
    tcase_add_loop_test(frames, pixels_are_those_given, 0, ARRAY_LENGTH(shapes));
    tcase_add_loop_test(frames, jpeg_shows_what_was_given, 0, ARRAY_LENGTH(shapes));
    tcase_add_test(frames, range_of_video_becomes_full);
    suite_add_tcase(suite, frames);
    TCase *worker = tcase_create("worker");
    tcase_set_timeout(worker, 60);
    tcase_add_test(worker, worker_sees_the_same_in_every_format);
    suite_add_tcase(suite, worker);
    return suite_run(suite);
}
