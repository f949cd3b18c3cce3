/* Views: what the text says, which points and pixels a mask has, turning in all ways, and that
 * nothing of a private pixel leaves the worker. */
#include "daemon/base/mem.h"
#include "inference/demo/scene.h"
#include "inference/image_decode.h"
#include "inference/image_summary.h"
#include "inference/image_view.h"
#include "inference/inference.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct err err;

/* ---- text ---- */

START_TEST(masks_from_text) {
    static const struct {
        const char *text;
        uint32_t shapes, points; /* points of the last one; 0 shapes: refused */
    } cases[] = {
        {"0 0 1 0.1", 1, 4},
        {"0,0,1,0.1", 1, 4},
        {" 0.5 0.5 0.6 0.5 0.6 0.7 ", 1, 3},
        {"0 0 1 0.1; 0.5 0.5 0.6 0.5 0.6 0.7", 2, 3},
        {"0 0 1 1", 1, 4},
        {"0 0 1 1 1 0 0 1", 1, 4}, /* a bow tie */
        {"", 0, 0},
        {";", 0, 0},
        {"0 0 1 0.1;", 0, 0},
        {"0 0 1", 0, 0},
        {"0 0 1 0.1 0.2", 0, 0},
        {"0 0 0 0.1", 0, 0},     /* no width */
        {"0.5 0 0.6 0.1", 0, 0}, /* reaches beyond the picture */
        {"0 0 1.1 0.1", 0, 0},
        {"-0.1 0 0.5 0.1", 0, 0},
        {"nan 0 1 0.1", 0, 0},
        {"0 0 inf 0.1", 0, 0},
        {"0 0 1e 0.1", 0, 0},
        {"a", 0, 0},
        {"0 0 0.5 0.5 1 1", 0, 0}, /* a line has no area */
        {"0 0 640 480", 0, 0},     /* pixels are not parts */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct view_mask mask = {.count = 77};
        bool fine = view_mask_parse(cases[i].text, &mask);
        ck_assert_msg(fine == (cases[i].shapes > 0), "'%s'", cases[i].text);
        ck_assert_uint_eq(mask.count, fine ? cases[i].shapes : 77);
        if (fine) {
            ck_assert_uint_eq(mask.shapes[mask.count - 1].count, cases[i].points);
        }
    }
}
END_TEST

START_TEST(bounds_of_masks) {
    char text[2048] = "";
    struct view_mask mask;
    for (int i = 0; i < VIEW_SHAPES_MAX; i++) {
        strcat(text, i ? ";0 0 .5 .5" : "0 0 .5 .5");
    }
    ck_assert(view_mask_parse(text, &mask));
    strcat(text, ";0 0 .5 .5");
    ck_assert(!view_mask_parse(text, &mask));
    text[0] = '\0';
    for (int i = 0; i < VIEW_POINTS_MAX; i++) {
        char point[32];
        snprintf(point, sizeof(point), "%.3f %.3f ", i / 100.0, i % 2 ? 0.2 : 0.9);
        strcat(text, point);
    }
    ck_assert(view_mask_parse(text, &mask));
    strcat(text, "0.5 0.5");
    ck_assert(!view_mask_parse(text, &mask));
    struct frame_box box;
    ck_assert(view_region_parse("0 0.5 1 0.5", &box));
    ck_assert_double_eq_tol(box.y, 0.5, 1e-12);
    ck_assert(!view_region_parse("0 0.5 1 0.5; 0 0 1 1", &box));
    ck_assert(!view_region_parse("0 0.5 1 0.5 0.5 0.5", &box));
}
END_TEST

static struct view_mask mask_of(const char *text) {
    struct view_mask mask;
    ck_assert_msg(view_mask_parse(text, &mask), "%s", text);
    return mask;
}

START_TEST(points_and_shares) {
    struct view_mask mask = mask_of("0 0 0.5 0.5; 0.5 1 1 1 1 0.5");
    ck_assert(view_mask_has(&mask, 0.25, 0.25));
    ck_assert(!view_mask_has(&mask, 0.6, 0.25));
    ck_assert(view_mask_has(&mask, 0.95, 0.95));
    ck_assert(!view_mask_has(&mask, 0.6, 0.6));
    ck_assert_double_eq_tol(view_mask_share(&mask, &(struct frame_box){0, 0, 1, 1}), 0.375, 0.02);
    ck_assert_double_eq_tol(view_mask_share(&mask, &(struct frame_box){0.25, 0, 0.5, 0.5}), 0.5,
                            0.02);
    ck_assert(view_mask_drops(&mask, &(struct frame_box){0.1, 0.1, 0.2, 0.2}));
    ck_assert(view_mask_drops(&mask, &(struct frame_box){0.3, 0.3, 0.3, 0.3})); /* its centre */
    ck_assert(!view_mask_drops(&mask, &(struct frame_box){0.4, 0.4, 0.4, 0.4}));
    struct view_mask frame = mask_of("0 0 1 0.4; 0 0.6 1 0.4"); /* most of it, not its centre */
    ck_assert(view_mask_drops(&frame, &(struct frame_box){0.2, 0, 0.2, 1}));
    struct view_mask none = {0};
    ck_assert(!view_mask_drops(&none, &(struct frame_box){0, 0, 1, 1}));
}
END_TEST

/* ---- pixels ---- */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t bound) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % bound;
}

/* No point of the shape lies in a pixel that its spans leave out; and they leave out what is more
 * than a pixel away. */
START_TEST(spans_cover_every_pixel_touched) {
    enum { WIDTH = 37, HEIGHT = 23, FINE = 5 };
    for (int round = 0; round < 20; round++) {
        struct view_shape shape = {.count = 3 + random_below(VIEW_POINTS_MAX - 2)};
        for (uint32_t i = 0; i < shape.count; i++) {
            shape.points[i][0] = (float)random_below(101) / 100;
            shape.points[i][1] = (float)random_below(101) / 100;
        }
        struct view_mask mask = {1, {shape}};
        bool painted[HEIGHT][WIDTH] = {0};
        for (uint32_t y = 0; y < HEIGHT; y++) {
            struct view_span spans[VIEW_SPANS_MAX];
            size_t count = view_shape_spans(&shape, WIDTH, HEIGHT, y, spans);
            ck_assert_uint_le(count, VIEW_SPANS_MAX);
            for (size_t i = 0; i < count; i++) {
                ck_assert_uint_lt(spans[i].first, spans[i].end);
                ck_assert_uint_le(spans[i].end, WIDTH);
                for (uint32_t x = spans[i].first; x < spans[i].end; x++) {
                    painted[y][x] = true;
                }
            }
        }
        for (int y = 0; y < HEIGHT * FINE; y++) {
            for (int x = 0; x < WIDTH * FINE; x++) {
                bool in =
                    view_mask_has(&mask, (x + 0.5) / (WIDTH * FINE), (y + 0.5) / (HEIGHT * FINE));
                ck_assert_msg(!in || painted[y / FINE][x / FINE], "round %d: %d %d", round,
                              x / FINE, y / FINE);
            }
        }
    }
}
END_TEST

START_TEST(spans_of_a_box_are_tight) {
    struct view_mask mask = mask_of("0.25 0.25 0.5 0.5");
    for (uint32_t y = 0; y < 8; y++) {
        struct view_span spans[VIEW_SPANS_MAX];
        size_t count = view_shape_spans(&mask.shapes[0], 8, 8, y, spans);
        if (y < 2 || y >= 6) {
            ck_assert_uint_eq(count, 0);
            continue;
        }
        uint32_t first = 8, end = 0;
        for (size_t i = 0; i < count; i++) {
            first = spans[i].first < first ? spans[i].first : first;
            end = spans[i].end > end ? spans[i].end : end;
        }
        ck_assert_uint_eq(first, 2);
        ck_assert_uint_le(end, 7); /* an edge on a pixel's border may take the pixel beside it */
    }
}
END_TEST

/* A picture of w * h whose pixel (x, y) says where it was. */
static struct image_pixels numbered(uint32_t width, uint32_t height) {
    struct image_pixels pixels = {0};
    ck_assert_int_eq(image_pixels_reserve(&pixels, width, height, 3, &err), 0);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint8_t *at = pixels.rgb + ((size_t)y * width + x) * 3;
            at[0] = (uint8_t)x;
            at[1] = (uint8_t)y;
            at[2] = (uint8_t)(x ^ y);
        }
    }
    pixels.media = MEDIA_PNG;
    return pixels;
}

/* Where the stored pixel (x, y) of w * h is seen, as EXIF tells it: which side of the stored
 * picture is the visual top, and which the visual left. */
static void seen_at(uint8_t orientation, uint32_t width, uint32_t height, uint32_t x, uint32_t y,
                    uint32_t *u, uint32_t *v) {
    uint32_t from_right = width - 1 - x, from_bottom = height - 1 - y;
    const uint32_t places[9][2] = {
        {0, 0},           {x, y}, {from_right, y},  {from_right, from_bottom},
        {x, from_bottom}, {y, x}, {from_bottom, x}, {from_bottom, from_right},
        {y, from_right},
    };
    *u = places[orientation][0];
    *v = places[orientation][1];
}

START_TEST(turning) {
    enum { WIDTH = 70, HEIGHT = 33 };
    uint8_t orientation = (uint8_t)_i;
    struct image_pixels pixels = numbered(WIDTH, HEIGHT), spare = {0};
    ck_assert_int_eq(image_turn(&pixels, orientation, &spare, &err), 0);
    ck_assert_uint_eq(pixels.width, orientation >= 5 ? HEIGHT : WIDTH);
    ck_assert_uint_eq(pixels.height, orientation >= 5 ? WIDTH : HEIGHT);
    ck_assert_int_eq(pixels.orientation, 1);
    ck_assert_int_eq(pixels.media, MEDIA_PNG);
    for (uint32_t y = 0; y < HEIGHT; y++) {
        for (uint32_t x = 0; x < WIDTH; x++) {
            uint32_t u = 0, v = 0;
            seen_at(orientation, WIDTH, HEIGHT, x, y, &u, &v);
            const uint8_t *at = pixels.rgb + ((size_t)v * pixels.width + u) * 3;
            ck_assert_uint_eq(at[0], x);
            ck_assert_uint_eq(at[1], y);
            ck_assert_uint_eq(at[2], (uint8_t)(x ^ y));
        }
    }
    image_pixels_finish(&pixels);
    image_pixels_finish(&spare);
}
END_TEST

/* Raw pixels turned and masked show what a file's pixels turned and masked show. */
START_TEST(raw_views_are_those_of_files) {
    static const enum frame_format formats[] = {FRAME_RGB24, FRAME_YUV420P};
    enum { WIDTH = 31, HEIGHT = 17 };
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        struct view view = {.quarters = 3, .privacy = mask_of("0.2 0.1 0.3 0.4; 1 1 0.5 1 1 0.8")};
        size_t size = frame_raw_size(formats[i], WIDTH, HEIGHT);
        uint8_t *bytes = mem_alloc(size);
        memset(bytes, 200, size);
        struct frame *frame = NULL;
        ck_assert_int_eq(
            frame_create_raw("dock", formats[i], WIDTH, HEIGHT, bytes, size, &frame, &err), 0);
        ck_assert_int_eq(image_view_raw(frame, &view, &err), 0);
        ck_assert_uint_eq(frame->record.width, HEIGHT);
        ck_assert_uint_eq(frame->record.height, WIDTH);
        ck_assert(frame->record.masked);
        size_t channels = formats[i] == FRAME_RGB24 ? 3 : 1;
        for (uint32_t y = 0; y < WIDTH; y++) {
            for (uint32_t x = 0; x < HEIGHT; x++) {
                bool in = view_mask_has(&view.privacy, (x + 0.5) / HEIGHT, (y + 0.5) / WIDTH);
                size_t pixel = (size_t)y * HEIGHT + x;
                ck_assert(!in || frame->blob[pixel * channels] == 0);
                size_t block =
                    (size_t)WIDTH * HEIGHT + (size_t)(y / 2) * ((HEIGHT + 1) / 2) + x / 2;
                ck_assert(!in || channels == 3 || frame->blob[block] == 128);
            }
        }
        ck_assert_uint_eq(frame->blob[(HEIGHT - 1) * channels], 200);
        frame_destroy(frame);
    }
}
END_TEST

/* ---- through the worker ---- */

enum { SCENE_WIDTH = 640, SCENE_HEIGHT = 480 };

static struct model *model;
static struct detector *detector;
static uint8_t *scene_rgb;

static void detector_begin(bool scaled) {
    char path[4096];
    const char *build = getenv("CREEL_BUILD_DIR");
    snprintf(path, sizeof(path), "%s/bin/creel-worker-cpu",
             build != NULL ? build : CREEL_BUILD_DIR);
    struct detector_config config = {
        .worker_path = path, .floor = 0.2, .device = "cpu", .scaled = scaled};
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
}

static void worker_start(void) {
    struct scene_config world = {.seed = 7,
                                 .width = SCENE_WIDTH,
                                 .height = SCENE_HEIGHT,
                                 .mode = SCENE_CLEAN,
                                 .known_only = true};
    struct scene *scene = NULL;
    ck_assert_int_eq(model_open(CREEL_SOURCE_DIR "/inference/models/demo", &model, &err), 0);
    detector_begin(false);
    scene_rgb = mem_array((size_t)SCENE_WIDTH * SCENE_HEIGHT, 3);
    ck_assert_int_eq(scene_create(&world, &scene), 0);
    scene_render(scene, 3, scene_rgb, NULL);
    scene_destroy(scene);
}

static void worker_stop(void) {
    detector_stop(detector);
    model_close(model);
    free(scene_rgb);
}

static struct frame *jpeg_of(const uint8_t *rgb, uint32_t width, uint32_t height) {
    uint8_t *jpeg = NULL;
    size_t size = 0;
    struct frame *frame = NULL;
    ck_assert_int_eq(image_encode(rgb, width, height, 95, &jpeg, &size, &err), 0);
    ck_assert_int_eq(frame_create("dock", jpeg, size, &frame, &err), 0);
    return frame;
}

static struct frame *seen_with(struct frame *frame, const struct view *view) {
    frame->view = view;
    ck_assert_msg(detector_run(detector, frame, &err) == 0, "%s", err.msg);
    return frame;
}

static void decode(const uint8_t *bytes, size_t size, struct image_pixels *out) {
    ck_assert_msg(image_decode(bytes, size, out, &err) == 0, "%s", err.msg);
}

static int brightest(const struct image_pixels *pixels, const struct view_mask *mask) {
    int most = 0;
    for (uint32_t y = 0; y < pixels->height; y++) {
        for (uint32_t x = 0; x < pixels->width; x++) {
            const uint8_t *at = pixels->rgb + ((size_t)y * pixels->width + x) * 3;
            int sum = at[0] + at[1] + at[2];
            bool in = view_mask_has(mask, (x + 0.5) / pixels->width, (y + 0.5) / pixels->height);
            most = in && sum > most ? sum : most;
        }
    }
    return most;
}

START_TEST(privacy_leaves_nothing) {
    struct view view = {.privacy = mask_of("0.25 0.25 0.5 0.5; 0 1 0.3 0.8 0.3 1")};
    struct view_mask inner = mask_of("0.28 0.28 0.44 0.44"); /* away from a JPEG's ringing */
    memset(scene_rgb, 255, (size_t)SCENE_WIDTH * SCENE_HEIGHT * 3);
    struct frame *frame = seen_with(jpeg_of(scene_rgb, SCENE_WIDTH, SCENE_HEIGHT), &view);
    struct image_pixels stored = {0}, thumb = {0};
    ck_assert(frame->record.masked);
    ck_assert_int_eq(frame->record.media, MEDIA_JPEG);
    decode(frame->blob, (size_t)frame->record.blob_bytes, &stored);
    decode(frame->thumb, frame->thumb_bytes, &thumb);
    ck_assert_uint_eq(stored.width, SCENE_WIDTH);
    ck_assert_int_le(brightest(&stored, &inner), 30);
    ck_assert_int_le(brightest(&thumb, &inner), 60);
    ck_assert_int_ge(stored.rgb[0], 250);
    ck_assert(frame->record.quality.luma_mean < 0.8f);
    image_pixels_finish(&stored);
    image_pixels_finish(&thumb);
    frame_destroy(frame);
}
END_TEST

static size_t count_in(const struct frame *frame, const struct view_mask *mask) {
    size_t count = 0;
    for (size_t i = 0; i < frame->record.detection_count; i++) {
        count += view_mask_drops(mask, &frame->record.detections[i].box);
    }
    return count;
}

START_TEST(ignored_detections_are_dropped) {
    struct frame *all = seen_with(jpeg_of(scene_rgb, SCENE_WIDTH, SCENE_HEIGHT), NULL);
    ck_assert_uint_gt(all->record.detection_count, 0);
    struct frame_box box = all->record.detections[0].box;
    struct view view = {.ignore = {.count = 1, .shapes = {{.count = 4}}}};
    float left = (float)box.x, top = (float)box.y;
    float right = (float)fmin(1, box.x + box.w), bottom = (float)fmin(1, box.y + box.h);
    const float corners[4][2] = {{left, top}, {right, top}, {right, bottom}, {left, bottom}};
    memcpy(view.ignore.shapes[0].points, corners, sizeof(corners));
    size_t within = count_in(all, &view.ignore);
    ck_assert_uint_ge(within, 1);
    struct frame *rest = seen_with(jpeg_of(scene_rgb, SCENE_WIDTH, SCENE_HEIGHT), &view);
    ck_assert_uint_eq(rest->record.detection_count, all->record.detection_count - within);
    ck_assert_uint_eq(count_in(rest, &view.ignore), 0);
    ck_assert(!rest->record.masked);
    ck_assert_uint_eq(rest->record.blob_bytes, all->record.blob_bytes); /* kept as it came */
    ck_assert_mem_eq(rest->blob, all->blob, (size_t)all->record.blob_bytes);
    frame_destroy(all);
    frame_destroy(rest);
}
END_TEST

/* The strongest thing seen in a small picture is found again where that picture lies in a large
 * grey one, when the region is that place. */
START_TEST(region_is_mapped_back) {
    enum { WIDE = 1280, HIGH = 960, LEFT = 400, TOP = 300 };
    uint8_t *large = mem_array((size_t)WIDE * HIGH, 3);
    memset(large, 128, (size_t)WIDE * HIGH * 3);
    for (size_t y = 0; y < SCENE_HEIGHT; y++) {
        memcpy(large + ((y + TOP) * WIDE + LEFT) * 3, scene_rgb + y * SCENE_WIDTH * 3,
               (size_t)SCENE_WIDTH * 3);
    }
    struct view view = {.region = {(double)LEFT / WIDE, (double)TOP / HIGH,
                                   (double)SCENE_WIDTH / WIDE, (double)SCENE_HEIGHT / HIGH}};
    struct frame *small = seen_with(jpeg_of(scene_rgb, SCENE_WIDTH, SCENE_HEIGHT), NULL);
    struct frame *found = seen_with(jpeg_of(large, WIDE, HIGH), &view);
    ck_assert_uint_gt(small->record.detection_count, 0);
    ck_assert_uint_gt(found->record.detection_count, 0);
    const struct frame_detection *one = small->record.detections, *two = found->record.detections;
    ck_assert_uint_eq(one->class_index, two->class_index);
    ck_assert_float_eq_tol(one->confidence, two->confidence, 0.1f);
    ck_assert_double_eq_tol((one->box.x * SCENE_WIDTH + LEFT) / WIDE, two->box.x, 0.01);
    ck_assert_double_eq_tol((one->box.y * SCENE_HEIGHT + TOP) / HIGH, two->box.y, 0.01);
    ck_assert_double_eq_tol(one->box.w * SCENE_WIDTH / WIDE, two->box.w, 0.01);
    ck_assert_double_eq_tol(one->box.h * SCENE_HEIGHT / HIGH, two->box.h, 0.01);
    frame_destroy(small);
    frame_destroy(found);
    free(large);
}
END_TEST

/* A camera that hangs on its side: once turned, its pictures are those of an upright one, as file
 * and as raw pixels. */
START_TEST(rotation_makes_upright) {
    struct image_pixels side = {0}, spare = {0};
    ck_assert_int_eq(image_pixels_reserve(&side, SCENE_WIDTH, SCENE_HEIGHT, 3, &err), 0);
    memcpy(side.rgb, scene_rgb, (size_t)SCENE_WIDTH * SCENE_HEIGHT * 3);
    ck_assert_int_eq(image_turn(&side, 8, &spare, &err), 0); /* counterclockwise */
    struct view view = {.quarters = 1};
    struct frame *upright = seen_with(jpeg_of(scene_rgb, SCENE_WIDTH, SCENE_HEIGHT), NULL);
    struct frame *file = seen_with(jpeg_of(side.rgb, side.width, side.height), &view);
    struct frame *raw = NULL;
    size_t size = (size_t)SCENE_WIDTH * SCENE_HEIGHT * 3;
    ck_assert_int_eq(frame_create_raw("dock", FRAME_RGB24, side.width, side.height,
                                      mem_dup(side.rgb, size), size, &raw, &err),
                     0);
    seen_with(raw, &view);
    ck_assert_int_eq(frame_encode(raw, 90, &err), 0);
    struct frame *turned[2] = {file, raw};
    for (size_t i = 0; i < 2; i++) {
        struct image_pixels stored = {0};
        decode(turned[i]->blob, (size_t)turned[i]->record.blob_bytes, &stored);
        ck_assert_uint_eq(stored.width, SCENE_WIDTH);
        ck_assert_uint_eq(turned[i]->record.width, SCENE_WIDTH);
        ck_assert_uint_eq(turned[i]->record.height, SCENE_HEIGHT);
        ck_assert_uint_eq(turned[i]->record.orientation, 1);
        ck_assert(!turned[i]->record.masked);
        ck_assert_uint_gt(turned[i]->record.detection_count, 0);
        const struct frame_detection *one = upright->record.detections;
        const struct frame_detection *two = turned[i]->record.detections;
        ck_assert_uint_eq(one->class_index, two->class_index);
        ck_assert_double_eq_tol(one->box.x, two->box.x, 0.02);
        ck_assert_double_eq_tol(one->box.y, two->box.y, 0.02);
        ck_assert_int_le(__builtin_popcountll(upright->record.phash ^ turned[i]->record.phash), 4);
        image_pixels_finish(&stored);
        frame_destroy(turned[i]);
    }
    frame_destroy(upright);
    image_pixels_finish(&side);
    image_pixels_finish(&spare);
}
END_TEST

/* A large JPEG that is decoded smaller: the same size in the record, the same things in about the
 * same places. */
START_TEST(scaled_decode_is_near) {
    enum { WIDE = 1920, HIGH = 1080 };
    struct scene_config world = {
        .seed = 7, .width = WIDE, .height = HIGH, .mode = SCENE_CLEAN, .known_only = true};
    struct scene *scene = NULL;
    uint8_t *rgb = mem_array((size_t)WIDE * HIGH, 3);
    ck_assert_int_eq(scene_create(&world, &scene), 0);
    scene_render(scene, 3, rgb, NULL);
    scene_destroy(scene);
    struct view view = {.region = {0.1, 0.1, 0.8, 0.8}};
    struct frame *full[2] = {seen_with(jpeg_of(rgb, WIDE, HIGH), NULL),
                             seen_with(jpeg_of(rgb, WIDE, HIGH), &view)};
    detector_stop(detector);
    detector_begin(true);
    struct frame *scaled[2] = {seen_with(jpeg_of(rgb, WIDE, HIGH), NULL),
                               seen_with(jpeg_of(rgb, WIDE, HIGH), &view)};
    for (size_t i = 0; i < 2; i++) {
        const struct frame_detection *one = full[i]->record.detections;
        const struct frame_detection *two = scaled[i]->record.detections;
        ck_assert_uint_eq(scaled[i]->record.width, WIDE);
        ck_assert_uint_eq(scaled[i]->record.height, HIGH);
        ck_assert_uint_gt(full[i]->record.detection_count, 0);
        ck_assert_uint_gt(scaled[i]->record.detection_count, 0);
        ck_assert_uint_eq(one->class_index, two->class_index);
        ck_assert_float_eq_tol(one->confidence, two->confidence, 0.1f);
        ck_assert_double_eq_tol(one->box.x, two->box.x, 0.02);
        ck_assert_double_eq_tol(one->box.y, two->box.y, 0.02);
        ck_assert_double_eq_tol(one->box.w, two->box.w, 0.02);
        ck_assert_int_le(__builtin_popcountll(full[i]->record.phash ^ scaled[i]->record.phash), 4);
        ck_assert_uint_ne(scaled[i]->thumb_bytes, full[i]->thumb_bytes); /* it was another way */
        frame_destroy(full[i]);
        frame_destroy(scaled[i]);
    }
    free(rgb);
}
END_TEST

static void bmp_put32(uint8_t *at, uint32_t value) {
    for (size_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

/* A BMP is kept as the JPEG that the worker makes of it. */
START_TEST(bmp_is_kept_as_jpeg) {
    enum { STRIDE = SCENE_WIDTH * 3 };
    size_t size = 54 + (size_t)STRIDE * SCENE_HEIGHT;
    uint8_t *bytes = mem_alloc(size);
    memcpy(bytes, "BM", 2);
    bmp_put32(bytes + 10, 54);
    bmp_put32(bytes + 14, 40);
    bmp_put32(bytes + 18, SCENE_WIDTH);
    bmp_put32(bytes + 22, SCENE_HEIGHT);
    bytes[26] = 1;
    bytes[28] = 24;
    for (size_t y = 0; y < SCENE_HEIGHT; y++) {
        for (size_t x = 0; x < SCENE_WIDTH; x++) {
            const uint8_t *from = scene_rgb + ((SCENE_HEIGHT - 1 - y) * SCENE_WIDTH + x) * 3;
            uint8_t *to = bytes + 54 + y * STRIDE + 3 * x;
            to[0] = from[2];
            to[1] = from[1];
            to[2] = from[0];
        }
    }
    struct frame *frame = NULL;
    ck_assert_int_eq(frame_create("dock", bytes, size, &frame, &err), 0);
    seen_with(frame, NULL);
    struct image_pixels stored = {0};
    ck_assert_int_eq(frame->record.media, MEDIA_JPEG);
    ck_assert_uint_lt(frame->record.blob_bytes, size / 4);
    decode(frame->blob, (size_t)frame->record.blob_bytes, &stored);
    ck_assert_int_eq(stored.media, MEDIA_JPEG);
    double far = 0;
    for (size_t i = 0; i < (size_t)STRIDE * SCENE_HEIGHT; i++) {
        far += abs((int)stored.rgb[i] - (int)scene_rgb[i]);
    }
    ck_assert(far / (STRIDE * SCENE_HEIGHT) < 6);
    image_pixels_finish(&stored);
    frame_destroy(frame);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference/view");
    TCase *plain = tcase_create("plain");
    tcase_set_timeout(plain, 60);
    tcase_add_test(plain, masks_from_text);
    tcase_add_test(plain, bounds_of_masks);
    tcase_add_test(plain, points_and_shares);
    tcase_add_test(plain, spans_cover_every_pixel_touched);
    tcase_add_test(plain, spans_of_a_box_are_tight);
    tcase_add_loop_test(plain, turning, 1, 9);
    tcase_add_test(plain, raw_views_are_those_of_files);
    suite_add_tcase(suite, plain);
    TCase *worker = tcase_create("worker");
    tcase_add_checked_fixture(worker, worker_start, worker_stop);
    tcase_set_timeout(worker, 60);
    tcase_add_test(worker, privacy_leaves_nothing);
    tcase_add_test(worker, ignored_detections_are_dropped);
    tcase_add_test(worker, region_is_mapped_back);
    tcase_add_test(worker, rotation_makes_upright);
    tcase_add_test(worker, scaled_decode_is_near);
    tcase_add_test(worker, bmp_is_kept_as_jpeg);
    suite_add_tcase(suite, worker);
    return suite_run(suite);
}
