/* Pictures from a stranger: thousands of good ones that were cut off, flipped, spliced, swollen or
 * promise what they do not hold. Each is looked at as the worker does, in a process whose death
 * names the picture; some go through a worker, which must outlive them all.
 *
 *   CREEL_PICTURES=N   how many: 1,000 in ctest
 *   CREEL_PICTURE=N    only this one
 *
 * At full size, with a build whose sanitizers see every step beside a buffer:
 *   CREEL_PICTURES=12000 build/asan/tests/test_inference_pictures */
#include "daemon/base/mem.h"
#include "inference/image_decode.h"
#include "inference/image_resize.h"
#include "inference/image_rows.h"
#include "inference/image_summary.h"
#include "inference/inference.h"
#include "tests/fault/pictures.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PICTURES = 1000,
    CHUNK = 200,         /* pictures a process */
    THROUGH_WORKER = 10, /* one in so many */
    SLOW_MS = 10000,     /* no picture of the corpus may take longer, sanitizers included */
    NET_WIDTH = 64,
    NET_HEIGHT = 48,
    CMYK_KIND = 4,
};

/* What the process that looks tells the one that watches. */
struct tally {
    uint64_t at; /* the picture being looked at */
    uint64_t good, bad;
    double slowest_ms;
    uint64_t slowest;
};

static struct err err;

static uint64_t number_of(const char *name, uint64_t fallback) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : fallback;
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* What comes row by row, beside the whole picture. */
struct collector {
    struct image_pixels pixels;
    uint32_t taken;
};

static int collect_begin(void *ctx, uint32_t width, uint32_t height, struct err *why) {
    struct collector *collector = ctx;
    collector->taken = 0;
    return image_pixels_reserve(&collector->pixels, width, height, 3, why);
}

static void collect(void *ctx, const uint8_t *rgb, uint32_t count) {
    struct collector *collector = ctx;
    size_t stride = (size_t)collector->pixels.width * 3;
    memcpy(collector->pixels.rgb + collector->taken * stride, rgb, count * stride);
    collector->taken += count;
}

/* A JPEG that comes in rows is the same as one that comes whole, and what is bad whole is bad in
 * rows. (What TurboJPEG does not know the sampling of, the library under it may; and of several
 * warnings TurboJPEG tells only the last, which may be the harmless one.) */
static void compare_rows(const uint8_t *bytes, size_t size, const struct image_pixels *whole) {
    static struct collector collector;
    const struct image_pixels *pixels = &collector.pixels;
    const struct image_rows rows = {&collector, NULL, collect_begin, collect};
    struct err why = {0};
    if (!image_is_jpeg(bytes, size) || image_rows_jpeg(bytes, size, &rows, &why) != 0) {
        return;
    }
    if (whole == NULL) {
        if (strstr(err.msg, "subsampling") == NULL) {
            fprintf(stderr, "good in rows; whole: %s\n", err.msg);
            _exit(83);
        }
        return;
    }
    if (pixels->width != whole->width || pixels->height != whole->height ||
        collector.taken != whole->height ||
        memcmp(pixels->rgb, whole->rgb, (size_t)whole->width * whole->height * 3) != 0) {
        _exit(84);
    }
}

/* Decodes a copy that ends where its memory ends; a good one is resized and summarised. */
static bool look(const struct picture *picture, struct image_pixels *pixels,
                 struct image_resizer *resizer) {
    static float planar[3 * NET_WIDTH * NET_HEIGHT];
    uint8_t *bytes = mem_dup(picture->bytes, picture->size);
    bool good = image_decode(bytes, picture->size, pixels, &err) == 0;
    compare_rows(bytes, picture->size, good ? pixels : NULL);
    free(bytes);
    if (!good) {
        if (err.msg[0] == '\0') {
            _exit(81); /* refused without a reason */
        }
        return false;
    }
    struct image_summary summary;
    struct image_fit fit;
    if (pixels->width == 0 || pixels->height == 0 ||
        (uint64_t)pixels->width * pixels->height > FRAME_PIXELS_MAX ||
        image_summarise(pixels, 320, &summary, &err) != 0) {
        _exit(82);
    }
    image_resize(resizer, pixels, MODEL_LETTERBOX, planar, &fit);
    image_summary_finish(&summary);
    return true;
}

static _Noreturn void looker(struct tally *tally, uint64_t first, uint64_t end) {
    struct image_pixels pixels = {0};
    struct image_resizer *resizer = image_resizer_create(NET_WIDTH, NET_HEIGHT);
    struct picture *picture = mem_alloc(sizeof(*picture));
    for (uint64_t number = first; number < end; number++) {
        picture_make(picture, number);
        tally->at = number;
        double began = now_ms();
        *(look(picture, &pixels, resizer) ? &tally->good : &tally->bad) += 1;
        double took = now_ms() - began;
        if (took > tally->slowest_ms) {
            tally->slowest_ms = took;
            tally->slowest = number;
        }
    }
    free(picture);
    image_pixels_finish(&pixels);
    image_resizer_destroy(resizer);
    exit(0); /* a leak would show now */
}

START_TEST(none_harms_the_decoder) {
    struct tally *tally =
        mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(tally, MAP_FAILED);
    uint64_t one = number_of("CREEL_PICTURE", UINT64_MAX);
    uint64_t first = one == UINT64_MAX ? 0 : one;
    uint64_t end = one == UINT64_MAX ? number_of("CREEL_PICTURES", PICTURES) : one + 1;
    for (uint64_t at = first; at < end; at += CHUNK) {
        pid_t child = fork();
        if (child == 0) {
            looker(tally, at, end - at < CHUNK ? end : at + CHUNK);
        }
        int status = 0;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "picture %llu ended the process (status %#x): CREEL_PICTURE=%llu repeats it",
                      (unsigned long long)tally->at, (unsigned)status,
                      (unsigned long long)tally->at);
    }
    printf("%llu pictures: %llu looked at, %llu refused; the slowest, number %llu, took %.0f ms\n",
           (unsigned long long)(end - first), (unsigned long long)tally->good,
           (unsigned long long)tally->bad, (unsigned long long)tally->slowest, tally->slowest_ms);
    ck_assert(tally->slowest_ms < SLOW_MS);
    if (one == UINT64_MAX) { /* the mutations neither break everything nor nothing */
        ck_assert_uint_gt(tally->good, (end - first) / 20);
        ck_assert_uint_gt(tally->bad, (end - first) / 4);
    }
    munmap(tally, sizeof(*tally));
}
END_TEST

/* The good ones are good; without this, the rest would show nothing. */
START_TEST(good_ones_are_looked_at) {
    struct picture *picture = mem_alloc(sizeof(*picture));
    for (unsigned kind = 0; kind < PICTURE_KINDS; kind++) {
        struct image_pixels pixels = {0};
        picture_good(picture, kind);
        ck_assert_msg(image_decode(picture->bytes, picture->size, &pixels, &err) == 0,
                      "kind %u: %s", kind, err.msg);
        ck_assert_uint_eq(pixels.width, PICTURE_WIDTH);
        ck_assert_uint_eq(pixels.height, PICTURE_HEIGHT);
        static struct collector collector;
        const struct image_rows rows = {&collector, NULL, collect_begin, collect};
        int code = image_is_jpeg(picture->bytes, picture->size)
                       ? image_rows_jpeg(picture->bytes, picture->size, &rows, &err)
                       : ERR_REFUSED;
        ck_assert_int_eq(code, image_is_jpeg(picture->bytes, picture->size) && kind != CMYK_KIND
                                   ? 0
                                   : ERR_REFUSED);
        image_pixels_finish(&pixels);
        image_pixels_finish(&collector.pixels);
    }
    free(picture);
}
END_TEST

START_TEST(none_ends_a_worker) {
    char path[4096];
    struct model *model = NULL;
    struct detector *detector = NULL;
    const char *build = getenv("CREEL_BUILD_DIR");
    snprintf(path, sizeof(path), "%s/bin/creel-worker-cpu",
             build != NULL ? build : CREEL_BUILD_DIR);
    struct detector_config config = {.worker_path = path, .floor = 0.05, .device = "cpu"};
    ck_assert_int_eq(model_open(CREEL_SOURCE_DIR "/inference/models/demo", &model, &err), 0);
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
    struct picture *picture = mem_alloc(sizeof(*picture));
    uint64_t count = number_of("CREEL_PICTURES", PICTURES), asked = 0;
    for (uint64_t number = 1; number < count; number += THROUGH_WORKER) {
        struct frame *frame = NULL;
        picture_make(picture, number);
        if (picture->size == 0) {
            continue;
        }
        asked++;
        ck_assert_int_eq(frame_create("stranger", mem_dup(picture->bytes, picture->size),
                                      picture->size, &frame, &err),
                         0);
        int code = detector_run(detector, frame, &err);
        ck_assert_msg(code == 0 || code == ERR_INVALID, "picture %llu: %s",
                      (unsigned long long)number, err.msg);
        frame_destroy(frame);
    }
    struct detector_stats stats;
    detector_stats_get(detector, &stats);
    ck_assert_uint_eq(stats.restarts, 0);
    ck_assert_uint_eq(stats.frames, asked);
    detector_stop(detector);
    model_close(model);
    free(picture);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference/pictures");
    TCase *tests = tcase_create("strangers");
    tcase_set_timeout(tests, 7200);
    tcase_add_test(tests, good_ones_are_looked_at);
    tcase_add_test(tests, none_harms_the_decoder);
    tcase_add_test(tests, none_ends_a_worker);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
