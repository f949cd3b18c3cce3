/* inference/demo/scene: the same world for the same arguments, and a truth that holds. */
#include "inference/demo/scene.h"
#include "tests/suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH  320
#define HEIGHT 180
#define BYTES  ((size_t)WIDTH * HEIGHT * 3)

static const enum scene_mode modes[] = {SCENE_CLEAN, SCENE_ROUGH, SCENE_HARD, SCENE_LIVE};

static struct scene *make(uint64_t seed, enum scene_mode mode) {
    struct scene_config config = {.seed = seed, .width = WIDTH, .height = HEIGHT, .mode = mode};
    struct scene *scene = NULL;

    ck_assert_int_eq(scene_create(&config, &scene), 0);
    ck_assert_ptr_nonnull(scene);
    return scene;
}

static uint8_t *picture(void) {
    uint8_t *rgb = malloc(BYTES);

    ck_assert_ptr_nonnull(rgb);
    return rgb;
}

START_TEST(same_arguments_give_the_same_picture) {
    struct scene *one = make(42, modes[_i]);
    struct scene *two = make(42, modes[_i]);
    uint8_t *a = picture();
    uint8_t *b = picture();
    struct scene_truth ta;
    struct scene_truth tb;

    /* `two` comes to the frame from elsewhere in time. */
    scene_render(two, 100000, b, NULL);
    scene_render(two, 3, b, NULL);
    for (uint64_t frame = 50; frame < 56; frame++) {
        memset(&ta, 0x55, sizeof ta);
        memset(&tb, 0xaa, sizeof tb);
        ck_assert_int_eq(scene_render(one, frame, a, &ta), 0);
        ck_assert_int_eq(scene_render(two, frame, b, &tb), 0);
        ck_assert_mem_eq(a, b, BYTES);
        ck_assert_int_eq(ta.count, tb.count);
        for (int i = 0; i < ta.count; i++) {
            ck_assert_int_eq(ta.objects[i].class_index, tb.objects[i].class_index);
            ck_assert_double_eq(ta.objects[i].x, tb.objects[i].x);
            ck_assert_double_eq(ta.objects[i].visible, tb.objects[i].visible);
        }
    }
    free(a);
    free(b);
    scene_destroy(one);
    scene_destroy(two);
}
END_TEST

static void check_object(const struct scene_object *o) {
    ck_assert_int_ge(o->class_index, 0);
    ck_assert_int_lt(o->class_index, SCENE_CLASS_COUNT);
    ck_assert_double_ge(o->x, 0.0);
    ck_assert_double_ge(o->y, 0.0);
    ck_assert_double_gt(o->w, 0.0);
    ck_assert_double_gt(o->h, 0.0);
    ck_assert_double_le(o->x + o->w, 1.0 + 1e-9);
    ck_assert_double_le(o->y + o->h, 1.0 + 1e-9);
    ck_assert_double_gt(o->visible, 0.0);
    ck_assert_double_le(o->visible, 1.0);
}

START_TEST(truth_is_in_range) {
    uint8_t *rgb = picture();
    int seen[SCENE_CLASS_COUNT] = {0};

    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene *scene = make(seed, modes[_i]);
        for (uint64_t frame = 0; frame < 400; frame += 11) {
            struct scene_truth truth;
            scene_render(scene, frame, rgb, &truth);
            ck_assert_int_ge(truth.count, 0);
            ck_assert_int_le(truth.count, SCENE_MAX_OBJECTS);
            ck_assert_double_ge(truth.difficulty, 0.0);
            ck_assert_double_le(truth.difficulty, 1.0);
            for (int i = 0; i < truth.count; i++) {
                check_object(&truth.objects[i]);
                seen[truth.objects[i].class_index]++;
            }
        }
        scene_destroy(scene);
    }
    for (int c = 0; c < SCENE_CLASS_COUNT; c++) {
        ck_assert_msg(seen[c] > 0, "no %s in any frame", scene_class_name(c));
    }
    free(rgb);
}
END_TEST

START_TEST(frames_seeds_and_modes_differ) {
    struct scene *scene = make(7, SCENE_LIVE);
    struct scene *other_seed = make(8, SCENE_LIVE);
    struct scene *other_mode = make(7, SCENE_HARD);
    uint8_t *a = picture();
    uint8_t *b = picture();

    scene_render(scene, 10, a, NULL);
    scene_render(scene, 11, b, NULL);
    ck_assert_mem_ne(a, b, BYTES);
    scene_render(other_seed, 10, b, NULL);
    ck_assert_mem_ne(a, b, BYTES);
    scene_render(other_mode, 10, b, NULL);
    ck_assert_mem_ne(a, b, BYTES);
    free(a);
    free(b);
    scene_destroy(scene);
    scene_destroy(other_seed);
    scene_destroy(other_mode);
}
END_TEST

/* What a camera at two frames a second shows in its first minute, whatever the seed. */
START_TEST(a_live_minute_has_easy_hard_and_empty_frames) {
    struct scene *scene = make((uint64_t)_i + 1, SCENE_LIVE);
    uint8_t *rgb = picture();
    int easy = 0;
    int hard = 0;
    int empty = 0;
    int busy = 0;

    for (uint64_t frame = 0; frame < 120; frame++) {
        struct scene_truth truth;
        scene_render(scene, frame, rgb, &truth);
        easy += truth.difficulty < 0.1;
        hard += truth.difficulty > 0.9;
        empty += truth.count == 0 && truth.unknown_count == 0;
        busy += truth.count > 0;
    }
    ck_assert_int_ge(easy, 20);
    ck_assert_int_ge(hard, 10);
    ck_assert_int_ge(empty, 5);
    ck_assert_int_ge(busy, 20);
    free(rgb);
    scene_destroy(scene);
}
END_TEST

START_TEST(known_only_leaves_out_the_unknown) {
    uint8_t *rgb = picture();
    int unknown = 0;

    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (int known_only = 0; known_only < 2; known_only++) {
            struct scene_config config = {.seed = seed,
                                          .width = WIDTH,
                                          .height = HEIGHT,
                                          .mode = SCENE_HARD,
                                          .known_only = known_only == 1};
            struct scene *scene = NULL;
            ck_assert_int_eq(scene_create(&config, &scene), 0);
            for (uint64_t frame = 0; frame < 200; frame += 20) {
                struct scene_truth truth;
                scene_render(scene, frame, rgb, &truth);
                if (known_only == 1) {
                    ck_assert_int_eq(truth.unknown_count, 0);
                } else {
                    unknown += truth.unknown_count;
                }
            }
            scene_destroy(scene);
        }
    }
    ck_assert_int_gt(unknown, 0);
    free(rgb);
}
END_TEST

START_TEST(any_size_and_any_frame_number_render) {
    static const int sizes[][2] = {{64, 64},  {65, 241},  {640, 64},
                                   {64, 640}, {641, 361}, {1280, 96}};
    const uint64_t frames[] = {0, 1, UINT64_C(1) << 33, UINT64_MAX - 1, UINT64_MAX};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct scene_config config = {
            .seed = UINT64_MAX, .width = sizes[i][0], .height = sizes[i][1], .mode = SCENE_HARD};
        struct scene *scene = NULL;
        uint8_t *rgb = malloc((size_t)config.width * (size_t)config.height * 3);
        ck_assert_ptr_nonnull(rgb);
        ck_assert_int_eq(scene_create(&config, &scene), 0);
        for (size_t j = 0; j < sizeof frames / sizeof frames[0]; j++) {
            struct scene_truth truth;
            ck_assert_int_eq(scene_render(scene, frames[j], rgb, &truth), 0);
            for (int k = 0; k < truth.count; k++) {
                check_object(&truth.objects[k]);
            }
        }
        free(rgb);
        scene_destroy(scene);
    }
}
END_TEST

START_TEST(bad_configurations_are_refused) {
    static const struct scene_config bad[] = {
        {.width = SCENE_MIN_SIDE - 1, .height = 100},
        {.width = 100, .height = SCENE_MAX_SIDE + 1},
        {.width = 0, .height = 0},
        {.width = -640, .height = -360},
        {.width = 100, .height = 100, .mode = SCENE_MODE_COUNT},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct scene *scene = NULL;
        ck_assert_int_eq(scene_create(&bad[i], &scene), -EINVAL);
        ck_assert_ptr_null(scene);
    }
    scene_destroy(NULL);
}
END_TEST

START_TEST(classes_have_names) {
    ck_assert_str_eq(scene_class_name(SCENE_PERSON), "person");
    ck_assert_str_eq(scene_class_name(SCENE_PARCEL), "parcel");
    for (int c = 0; c < SCENE_CLASS_COUNT; c++) {
        ck_assert_ptr_nonnull(scene_class_name(c));
    }
    ck_assert_ptr_null(scene_class_name(-1));
    ck_assert_ptr_null(scene_class_name(SCENE_CLASS_COUNT));
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("scene");
    TCase *tc = tcase_create("scene");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, same_arguments_give_the_same_picture, 0, SCENE_MODE_COUNT);
    tcase_add_loop_test(tc, truth_is_in_range, 0, SCENE_MODE_COUNT);
    tcase_add_test(tc, frames_seeds_and_modes_differ);
    tcase_add_loop_test(tc, a_live_minute_has_easy_hard_and_empty_frames, 0, 5);
    tcase_add_test(tc, known_only_leaves_out_the_unknown);
    tcase_add_test(tc, any_size_and_any_frame_number_render);
    tcase_add_test(tc, bad_configurations_are_refused);
    tcase_add_test(tc, classes_have_names);
    suite_add_tcase(s, tc);
    return s;
}

int main(void) {
    return suite_run(suite());
}
