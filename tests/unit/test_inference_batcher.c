/* batcher: frames that are looked at together give what each gives alone, none waits longer than
 * was allowed, and none suffers for another. The network's process is the real one, or this program
 * again, which knows two kinds of inputs: grey ones, and white ones that end it. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/batcher.h"
#include "inference/image_decode.h"
#include "inference/image_summary.h"
#include "inference/inference.h"
#include "inference/worker_protocol.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEMO_MODEL CREEL_SOURCE_DIR "/inference/models/demo"
#define GALLERY    CREEL_SOURCE_DIR "/webui/screenshots/gallery-light.jpg"
#define SHARE      128.0f /* a verdict's confidence is the number of frames in its batch by this */

enum { BATCH = 4, FRAMES = 6 };

/* How the network misbehaves: the detector's thumb_width. */
enum kind { KIND_HONEST = 900, KIND_DIES_FIRST, KIND_LIES_TOGETHER, KIND_HANGS_FIRST };

/* ---- the network's process ---- */

static int network_main(void) {
    struct worker_start start;
    struct worker_job job;
    if (recv(WORKER_FD_SOCKET, &start, sizeof(start), 0) != (ssize_t)sizeof(start)) {
        return 9;
    }
    const uint8_t *input =
        mmap(NULL, worker_input_size(&start), PROT_READ, MAP_SHARED, WORKER_FD_INPUT, 0);
    struct worker_result *results = mmap(NULL, worker_output_size(&start), PROT_READ | PROT_WRITE,
                                         MAP_SHARED, WORKER_FD_OUTPUT, 0);
    struct worker_hello hello = {.version = WORKER_PROTOCOL_VERSION, .kind = WORKER_READY};
    send(WORKER_FD_SOCKET, &hello, sizeof(hello), 0);
    while (recv(WORKER_FD_SOCKET, &job, sizeof(job), 0) == (ssize_t)sizeof(job)) {
        int count = __builtin_popcountll(job.size);
        if (job.generation == 1 && start.thumb_width == KIND_DIES_FIRST) {
            abort();
        }
        if (job.generation == 1 && start.thumb_width == KIND_HANGS_FIRST) {
            pause();
        }
        for (uint32_t i = 0; i < start.batch; i++) {
            const float *planar = (const void *)(input + worker_planar_at(&start, job.slot + i));
            if ((job.size >> i & 1) != 0 && planar[0] > 0.9f) {
                abort();
            }
            memset(&results[i], 0, sizeof(results[i]));
            results[i].generation = job.generation;
            results[i].detection_count = 1;
            results[i].detections[0] =
                (struct worker_detection){0.1, 0.1, 0.2, 0.2, (float)count / SHARE, 0};
            if (count > 1 && i == 1 && start.thumb_width == KIND_LIES_TOGETHER) {
                results[i].detections[0].x = 7;
            }
        }
        job.kind = WORKER_DONE;
        send(WORKER_FD_SOCKET, &job, sizeof(job), 0);
    }
    _exit(0);
}

static bool is_worker(void) {
    struct stat stat;
    int kind = 0;
    socklen_t size = sizeof(kind);
    return fstat(WORKER_FD_WEIGHTS, &stat) == 0 &&
           getsockopt(WORKER_FD_SOCKET, SOL_SOCKET, SO_TYPE, &kind, &size) == 0 &&
           kind == SOCK_SEQPACKET;
}

/* ---- our side ---- */

static char worker_path[512], self_path[4096];
static struct model *model;
static struct batcher *batcher;
static struct detector_config config;
static struct err err;

static void set_up(void) {
    snprintf(worker_path, sizeof(worker_path), "%s/bin/creel-worker-cpu", CREEL_BUILD_DIR);
    ck_assert_int_gt(readlink("/proc/self/exe", self_path, sizeof(self_path) - 1), 0);
    ck_assert_msg(model_open(DEMO_MODEL, &model, &err) == 0, "%s", err.msg);
    config = (struct detector_config){.worker_path = self_path,
                                      .floor = 0.01,
                                      .device = "cpu",
                                      .thumb_width = KIND_HONEST,
                                      .batch = BATCH,
                                      .batch_wait_ms = 200};
}

static void tear_down(void) {
    batcher_stop(batcher);
    batcher = NULL;
    model_close(model);
}

static void begin(void) {
    ck_assert_msg(batcher_start(&config, model, &batcher, &err) == 0, "%s", err.msg);
}

static struct detector_stats stats(void) {
    struct detector_stats out;
    batcher_stats_get(batcher, &out);
    return out;
}

struct asked { /* one frame that was prepared, as its detector has it */
    float value;
    int fd, code;
    int64_t took_us;
    unsigned together; /* in its batch */
    pthread_t thread;
    struct worker_result result;
    struct err err;
};

static void *ask_main(void *arg) {
    struct asked *asked = arg;
    struct batcher_question question = {.fd = asked->fd, .seen_width = 64, .seen_height = 48};
    int64_t began = clock_boot_us();
    asked->code = batcher_run(batcher, &question, &asked->result, &asked->err);
    asked->took_us = clock_boot_us() - began;
    if (asked->code == 0 && asked->result.detection_count == 1) {
        asked->together = (unsigned)(asked->result.detections[0].confidence * SHARE + 0.5f);
    }
    return NULL;
}

static void ask_begin(struct asked *asked, float value) {
    size_t count = (size_t)model->input_width * model->input_height * 3;
    CLEANUP(mem_free_at) float *planar = mem_array(count, sizeof(float));
    for (size_t i = 0; i < count; i++) {
        planar[i] = value;
    }
    *asked = (struct asked){.value = value, .fd = memfd_create("prepared", MFD_CLOEXEC)};
    ssize_t size = (ssize_t)(count * sizeof(float));
    ck_assert_int_eq(pwrite(asked->fd, planar, (size_t)size, (off_t)WORKER_PLANAR_AT), size);
    ck_assert_int_eq(pthread_create(&asked->thread, NULL, ask_main, asked), 0);
}

static void ask_end(struct asked *asked) {
    pthread_join(asked->thread, NULL);
    close(asked->fd);
}

/* All are expected before the first one comes, so that they go together. */
static void ask_all(struct asked *asked, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        batcher_expect(batcher, 1);
    }
    for (size_t i = 0; i < count; i++) {
        ask_begin(&asked[i], values[i]);
    }
    for (size_t i = 0; i < count; i++) {
        ask_end(&asked[i]);
    }
}

static const float greys[WORKER_BATCH_MAX] = {0};
static struct asked asked[WORKER_BATCH_MAX];

START_TEST(a_full_batch_goes_at_once) {
    config.batch_wait_ms = 10000;
    begin();
    batcher_expect(batcher, 1); /* one that never comes */
    ask_all(asked, greys, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        ck_assert_msg(asked[i].code == 0, "%s", asked[i].err.msg);
        ck_assert_uint_eq(asked[i].together, BATCH);
        ck_assert_int_lt(asked[i].took_us, 8000000);
    }
    ck_assert_uint_eq(stats().batches, 1);
}
END_TEST

START_TEST(nobody_waits_where_none_comes) {
    config.batch_wait_ms = 10000;
    begin();
    ask_all(asked, greys, 1);
    ck_assert_int_eq(asked[0].code, 0);
    ck_assert_int_lt(asked[0].took_us, 8000000);
    ask_all(asked, greys, BATCH - 1);
    ck_assert_uint_eq(asked[0].together, BATCH - 1);
    ck_assert_uint_eq(stats().batches, 2);
}
END_TEST

START_TEST(the_wait_for_others_has_an_end) {
    begin();
    batcher_expect(batcher, 1);
    ask_all(asked, greys, 1);
    ck_assert_int_eq(asked[0].code, 0);
    ck_assert_int_ge(asked[0].took_us, 199000);
    ck_assert_int_lt(asked[0].took_us, 5000000);
    batcher_expect(batcher, -1);
    ask_all(asked, greys, 1);
    ck_assert_int_lt(asked[0].took_us, 199000);
}
END_TEST

START_TEST(more_than_a_batch) {
    begin();
    ask_all(asked, greys, 3 * BATCH + 1);
    for (size_t i = 0; i < 3 * BATCH + 1; i++) {
        ck_assert_msg(asked[i].code == 0, "%s", asked[i].err.msg);
        ck_assert_uint_le(asked[i].together, BATCH);
    }
    ck_assert_uint_le(stats().batches, 3 * BATCH + 1);
}
END_TEST

START_TEST(a_poison_frame_takes_no_other_with_it) {
    const float values[BATCH] = {0.5f, 1.0f, 0.5f, 0.5f};
    begin();
    ask_all(asked, values, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        ck_assert_msg(asked[i].code == (i == 1 ? ERR_CRASHED : 0), "%zu: %s", i, asked[i].err.msg);
        ck_assert_uint_eq(asked[i].together, i == 1 ? 0 : 1);
    }
    ck_assert_ptr_nonnull(strstr(asked[1].err.msg, "signal 6"));
    ck_assert_uint_le(stats().restarts, 2);
    ask_all(asked, greys, 2);
    ck_assert_uint_eq(asked[1].together, 2);
}
END_TEST

/* What ends the process without being anybody's fault. */
START_TEST(a_death_costs_one_more_try) {
    static const enum kind kinds[] = {KIND_DIES_FIRST, KIND_HANGS_FIRST};
    config.thumb_width = kinds[_i];
    config.timeout_ms = 500;
    begin();
    ask_all(asked, greys, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        ck_assert_msg(asked[i].code == 0, "%s", asked[i].err.msg);
        ck_assert_uint_eq(asked[i].together, 1);
    }
    ck_assert_uint_eq(stats().restarts, 1);
    ck_assert_uint_eq(stats().timeouts, kinds[_i] == KIND_HANGS_FIRST);
}
END_TEST

START_TEST(a_lie_costs_one_more_try) {
    config.thumb_width = KIND_LIES_TOGETHER;
    begin();
    ask_all(asked, greys, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        ck_assert_msg(asked[i].code == 0, "%s", asked[i].err.msg);
        ck_assert(asked[i].result.detections[0].x < 1);
    }
    ck_assert_uint_eq(stats().restarts, 1);
}
END_TEST

START_TEST(what_is_no_picture_is_refused) {
    const float values[BATCH] = {0.5f, NAN, 0.5f, 1e9f};
    begin();
    ask_all(asked, values, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        ck_assert_int_eq(asked[i].code, i % 2 ? ERR_CORRUPT : 0);
    }
    ck_assert_uint_eq(stats().restarts, 0);
}
END_TEST

START_TEST(bounds_of_the_config) {
    config.batch = WORKER_BATCH_MAX + 1;
    ck_assert_int_eq(batcher_start(&config, model, &batcher, &err), ERR_INVALID);
    config.batch = 1;
    ck_assert_uint_eq(batcher_wanted(&config, model), 0);
    config.batch = 2;
    ck_assert_uint_eq(batcher_wanted(&config, model), 2);
    config.device = "cuda:0";
    config.batch = 0;
    ck_assert_uint_eq(batcher_wanted(&config, model), 8);
    config.batch = 1;
    ck_assert_uint_eq(batcher_wanted(&config, model), 1);
}
END_TEST

/* ---- the real processes ---- */

struct looked {
    struct detector *detector;
    struct frame *frame;
    int code;
    pthread_t thread;
    struct err err;
};

static struct view half_view = {.region = {0.25, 0.1, 0.5, 0.8}};

static void *look_main(void *arg) {
    struct looked *looked = arg;
    looked->code = detector_run(looked->detector, looked->frame, &looked->err);
    return NULL;
}

/* A part of the picture of the gallery, so that each is another. */
static struct frame *frame_make(size_t which) {
    CLEANUP(mem_free_at) uint8_t *file = NULL;
    struct image_pixels pixels = {0};
    struct frame *frame = NULL;
    uint8_t *jpeg = NULL;
    size_t size = 0;
    FILE *in = fopen(GALLERY, "rb");
    ck_assert_ptr_nonnull(in);
    file = mem_alloc(1 << 20);
    size = fread(file, 1, 1 << 20, in);
    fclose(in);
    ck_assert_int_eq(image_decode(file, size, &pixels, &err), 0);
    uint32_t rows = pixels.height - (uint32_t)which * pixels.height / (2 * FRAMES);
    ck_assert_int_eq(image_encode(pixels.rgb, pixels.width, rows, 90, &jpeg, &size, &err), 0);
    image_pixels_finish(&pixels);
    ck_assert_int_eq(frame_create("test", jpeg, size, &frame, &err), 0);
    frame->view = which % 2 ? &half_view : NULL;
    return frame;
}

static void check_same(const struct frame *alone, const struct frame *together) {
    const struct frame_record *a = &alone->record, *b = &together->record;
    ck_assert_uint_eq(a->detection_count, b->detection_count);
    for (size_t i = 0; i < a->detection_count; i++) {
        const struct frame_detection *left = &a->detections[i], *right = &b->detections[i];
        ck_assert_mem_eq(&left->box, &right->box, sizeof(left->box));
        ck_assert(left->confidence == right->confidence);
        ck_assert_uint_eq(left->class_index, right->class_index);
    }
    ck_assert_uint_eq(a->phash, b->phash);
    ck_assert_uint_eq(a->width, b->width);
    ck_assert_uint_eq(a->height, b->height);
    ck_assert_uint_eq(alone->thumb_bytes, together->thumb_bytes);
    ck_assert_mem_eq(alone->thumb, together->thumb, alone->thumb_bytes);
}

START_TEST(the_same_as_one_by_one) {
    static struct looked looked[FRAMES];
    struct detector *whole = NULL;
    size_t found = 0;
    config.worker_path = worker_path;
    config.thumb_width = 0;
    ck_assert_uint_eq(view_mask_parse("0.3 0.3 0.1 0.1; 0.5 0.5 0.2 0.2", &half_view.ignore), true);
    begin();
    for (size_t i = 0; i < FRAMES; i++) {
        struct detector_config own = config;
        own.batcher = batcher;
        looked[i].frame = frame_make(i);
        ck_assert_msg(detector_start(&own, model, &looked[i].detector, &err) == 0, "%s", err.msg);
    }
    for (size_t i = 0; i < FRAMES; i++) {
        pthread_create(&looked[i].thread, NULL, look_main, &looked[i]);
    }
    for (size_t i = 0; i < FRAMES; i++) {
        pthread_join(looked[i].thread, NULL);
        ck_assert_msg(looked[i].code == 0, "%s", looked[i].err.msg);
    }
    ck_assert_uint_lt(stats().batches, FRAMES + 1);
    config.batch = 0;
    ck_assert_int_eq(detector_start(&config, model, &whole, &err), 0);
    for (size_t i = 0; i < FRAMES; i++) {
        struct frame *alone = frame_make(i);
        ck_assert_msg(detector_run(whole, alone, &err) == 0, "%s", err.msg);
        check_same(alone, looked[i].frame);
        found += alone->record.detection_count;
        frame_destroy(alone);
        frame_destroy(looked[i].frame);
        detector_stop(looked[i].detector);
    }
    ck_assert_uint_gt(found, FRAMES);
    detector_stop(whole);
}
END_TEST

/* A detector by itself has a batcher of its own; what is no picture is told before the network. */
START_TEST(a_detector_alone) {
    struct detector *detector = NULL;
    struct frame *frame = NULL;
    config.worker_path = worker_path;
    config.thumb_width = 0;
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(frame_create("test", mem_dup("text", 4), 4, &frame, &err), 0);
    ck_assert_int_eq(detector_run(detector, frame, &err), ERR_INVALID);
    frame_destroy(frame);
    frame = frame_make(0);
    ck_assert_int_eq(detector_run(detector, frame, &err), 0);
    ck_assert_uint_gt(frame->record.detection_count, 0);
    frame_destroy(frame);
    detector_stop(detector);
}
END_TEST

int main(void) {
    if (is_worker()) {
        return network_main();
    }
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("inference_batcher");
    TCase *tests = tcase_create("batches");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_full_batch_goes_at_once);
    tcase_add_test(tests, nobody_waits_where_none_comes);
    tcase_add_test(tests, the_wait_for_others_has_an_end);
    tcase_add_test(tests, more_than_a_batch);
    tcase_add_test(tests, a_poison_frame_takes_no_other_with_it);
    tcase_add_loop_test(tests, a_death_costs_one_more_try, 0, 2);
    tcase_add_test(tests, a_lie_costs_one_more_try);
    tcase_add_test(tests, what_is_no_picture_is_refused);
    tcase_add_test(tests, bounds_of_the_config);
    tcase_add_test(tests, the_same_as_one_by_one);
    tcase_add_test(tests, a_detector_alone);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
