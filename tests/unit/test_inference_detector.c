/* detector: the real worker with our own model, and a hostile one, which is this program again
 * (hostile_worker.h; all its lies are in fault/test_inference_hostile). */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "inference/detector_child.h"
#include "inference/image_summary.h"
#include "inference/inference.h"
#include "inference/worker_protocol.h"
#include "tests/suite.h"
#include "tests/unit/hostile_worker.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
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

/* ---- our side ---- */

static char worker_path[4096], self_path[4096];
static struct model *model;
static struct detector *detector;
static struct err err;

static void set_up(void) {
    const char *build = getenv("CREEL_BUILD_DIR");
    snprintf(worker_path, sizeof(worker_path), "%s/bin/creel-worker-cpu",
             build != NULL ? build : CREEL_BUILD_DIR);
    ssize_t length = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);
    ck_assert_int_gt(length, 0);
    ck_assert_msg(model_open(DEMO_MODEL, &model, &err) == 0, "%s", err.msg);
}

static void tear_down(void) {
    detector_stop(detector);
    detector = NULL;
    model_close(model);
}

static void start(const char *path, uint32_t thumb_width, int timeout_ms) {
    struct detector_config config = {.worker_path = path,
                                     .floor = 0.05,
                                     .timeout_ms = timeout_ms,
                                     .thumb_width = thumb_width,
                                     .device = "cpu"};
    char text[2 * ERR_TEXT_MAX];
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s",
                  err_text(&err, text, sizeof(text)));
}

static struct frame *frame_of(const void *bytes, size_t size) {
    struct frame *frame = NULL;
    ck_assert_int_eq(frame_create("test", mem_dup(bytes, size), size, &frame, &err), 0);
    return frame;
}

/* Runs and destroys a frame of these bytes. */
static int run(const void *bytes, size_t size) {
    struct frame *frame = frame_of(bytes, size);
    err = (struct err){0};
    int code = detector_run(detector, frame, &err);
    frame_destroy(frame);
    return code;
}

/* A picture that takes the worker a moment. */
static size_t big_jpeg(uint8_t **out) {
    enum { WIDTH = 3000, HEIGHT = 2000 };
    uint8_t *rgb = mem_array(WIDTH * HEIGHT, 3);
    for (size_t i = 0; i < (size_t)WIDTH * HEIGHT * 3; i++) {
        rgb[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    size_t size = 0;
    ck_assert_int_eq(image_encode(rgb, WIDTH, HEIGHT, 90, out, &size, &err), 0);
    free(rgb);
    return size;
}

static struct detector_stats stats(void) {
    struct detector_stats out;
    detector_stats_get(detector, &out);
    return out;
}

START_TEST(real_worker_sees) {
    uint8_t *jpeg = NULL;
    size_t size = big_jpeg(&jpeg);
    start(worker_path, 0, 0);
    struct frame *frame = frame_of(jpeg, size);
    int code = detector_run(detector, frame, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
    ck_assert_uint_eq(frame->record.width, 3000);
    ck_assert_int_eq(frame->record.media, MEDIA_JPEG);
    ck_assert_str_eq(frame->record.model_name, model->name);
    ck_assert_mem_eq(&frame->record.model, &model->hash, sizeof(model->hash));
    ck_assert_uint_gt(frame->thumb_bytes, 100);
    ck_assert(frame->detect_ms > 0);
    for (size_t i = 0; i < frame->record.detection_count; i++) {
        ck_assert(frame->record.detections[i].confidence > 0.05f);
        ck_assert_str_eq(frame->record.detections[i].label,
                         model->labels[frame->record.detections[i].class_index]);
    }
    frame_destroy(frame);
    ck_assert_int_eq(run("text", 4), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "neither JPEG, PNG nor BMP"));
    ck_assert_int_eq(run(jpeg, size / 2), ERR_INVALID);
    ck_assert_int_eq(run(jpeg, size), 0); /* a bad frame harms no other */
    struct detector_stats seen = stats();
    ck_assert_uint_eq(seen.frames, 4);
    ck_assert_uint_eq(seen.bad, 2);
    ck_assert_uint_eq(seen.restarts, 0);
    free(jpeg);
}
END_TEST

/* What the kernel says of the worker's rights. */
START_TEST(real_worker_is_sealed) {
    start(worker_path, 0, 0);
    char path[64], text[8192];
    snprintf(path, sizeof(path), "/proc/%d/status", stats().pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    ck_assert_ptr_nonnull(strstr(text, "NoNewPrivs:\t1"));
#if defined(HAVE_SECCOMP) && !defined(CREEL_SANITIZE)
    ck_assert_ptr_nonnull(strstr(text, "Seccomp:\t2"));
#endif
    snprintf(path, sizeof(path), "/proc/%d/limits", stats().pid);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    ck_assert_ptr_nonnull(strstr(text, "Max open files            0                    0"));
    ck_assert_ptr_nonnull(strstr(text, "Max file size             0                    0"));
}
END_TEST

START_TEST(backend_is_told) {
    char text[128];
    ck_assert_msg(detector_backend(worker_path, text, sizeof(text), &err) == 0, "%s", err.msg);
    ck_assert_ptr_nonnull(strstr(text, "darknet"));
    ck_assert_int_eq(detector_backend("/nonexistent/worker", text, sizeof(text), &err),
                     ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "/nonexistent/worker"));
    ck_assert_int_eq(detector_backend("/bin/true", text, sizeof(text), &err), ERR_INVALID);
}
END_TEST

/* A program that was named all the same says so itself; without a name none is chosen. */
START_TEST(what_would_be_computed_wrongly_is_refused) {
    struct detector_config config = {.worker_path = worker_path, .floor = 0.05, .device = "cpu"};
    for (int i = 0; i < BACKEND_COUNT; i++) {
        snprintf(model->refusals.why[i], BACKEND_WHY_SIZE, "x.cfg:7: %s computes it wrongly",
                 backend_name((enum backend)i));
    }
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_INVALID);
    ck_assert_msg(strstr(err.msg, "computes it wrongly") != NULL, "%s", err.msg);
}
END_TEST

START_TEST(backend_is_known) {
    struct detector_config config = {.worker_path = worker_path, .floor = 0.05};
    const struct backend_program *program = backend_program_at(0);
    struct detector *other = NULL;
    config.backend = backend_name(program->backend);
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
    ck_assert_msg(strstr(stats().program, "creel-worker-cpu: darknet") != NULL, "%s",
                  stats().program);
    ck_assert_msg(strstr(stats().program, config.backend) != NULL, "%s", stats().program);
    config.backend = "yolo";
    ck_assert_int_eq(detector_start(&config, model, &other, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "expected auto, pjreddie or alexeyab"));
}
END_TEST

static void *killer(void *pid) {
    clock_sleep_ms(30);
    kill(*(int *)pid, SIGKILL);
    return NULL;
}

START_TEST(killed_in_the_middle_recovers) {
    uint8_t *jpeg = NULL;
    size_t size = big_jpeg(&jpeg);
    start(worker_path, 0, 0);
    for (int i = 0; i < 3; i++) {
        int pid = stats().pid;
        pthread_t thread;
        ck_assert_int_eq(kill(pid, SIGSTOP), 0); /* so that it is in the middle when it dies */
        ck_assert_int_eq(pthread_create(&thread, NULL, killer, &pid), 0);
        ck_assert_msg(run(jpeg, size) == 0, "%s", err.msg);
        pthread_join(thread, NULL);
    }
    ck_assert_int_eq(run(jpeg, size), 0);
    ck_assert_uint_eq(stats().restarts, 3);
    ck_assert_uint_eq(stats().bad, 0);
    free(jpeg);
}
END_TEST

START_TEST(killed_between_frames_costs_no_try) {
    uint8_t *jpeg = NULL;
    size_t size = big_jpeg(&jpeg);
    start(worker_path, 0, 0);
    kill(stats().pid, SIGKILL);
    clock_sleep_ms(50);
    ck_assert_int_eq(run(jpeg, size), 0);
    ck_assert_uint_eq(stats().restarts, 1);
    free(jpeg);
}
END_TEST

/* What comes back is what a directory acts upon: a frame that no worker saw is not a bad one. */
START_TEST(death_while_loading_is_not_the_frames_fault) {
    char link[] = "/tmp/creel-worker-XXXXXX";
    uint8_t *jpeg = NULL;
    size_t size = big_jpeg(&jpeg);
    int fd = mkstemp(link);
    ck_assert_int_ge(fd, 0);
    close(fd);
    unlink(link);
    ck_assert_int_eq(symlink(worker_path, link), 0);
    start(link, 0, 0);
    kill(stats().pid, SIGKILL);
    clock_sleep_ms(50);
    unlink(link);
    ck_assert_int_eq(symlink("/bin/false", link), 0);
    ck_assert_int_eq(run(jpeg, size), ERR_BUSY);
    ck_assert_int_eq(err.code, ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(err.msg, "while it loaded the model"));
    unlink(link);
    ck_assert_int_eq(symlink(worker_path, link), 0);
    ck_assert_int_eq(run(jpeg, size), 0);
    ck_assert_uint_eq(stats().bad, 0);
    unlink(link);
    free(jpeg);
}
END_TEST

START_TEST(stopped_is_timed_out) {
    uint8_t *jpeg = NULL;
    size_t size = big_jpeg(&jpeg);
    start(worker_path, 0, 3000);
    kill(stats().pid, SIGSTOP);
    ck_assert_msg(run(jpeg, size) == 0, "%s", err.msg);
    ck_assert_uint_eq(stats().timeouts, 1);
    ck_assert_uint_eq(stats().restarts, 1);
    free(jpeg);
}
END_TEST

START_TEST(worker_ends_with_us) {
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t parent = fork();
    if (parent == 0) { /* a daemon that is killed */
        start(worker_path, 0, 0);
        int pid = stats().pid;
        ck_assert_int_eq(write(pipes[1], &pid, sizeof(pid)), sizeof(pid));
        raise(SIGKILL);
    }
    int pid = 0;
    ck_assert_int_eq(read(pipes[0], &pid, sizeof(pid)), sizeof(pid));
    char path[64], state = 'R';
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    for (int i = 0; i < 200 && state != 'Z' && state != 'X'; i++) {
        FILE *file = fopen(path, "r");
        if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
            state = 'X';
        }
        if (file != NULL) {
            fclose(file);
        }
        clock_sleep_ms(20);
    }
    ck_assert_msg(state == 'Z' || state == 'X', "the worker %d lives on (%c)", pid, state);
}
END_TEST

START_TEST(hostile_worker_costs_only_the_frame) {
    static const struct {
        enum hostile kind;
        const char *said;
    } cases[] = {
        {DIES, "ended with code 7"},
        {ANSWERS_NAN, "answered confidence="},
        {ANSWERS_COUNT, "answered detection_count="},
        {ANSWERS_OLD_PACKET, "answered another question"},
        {ANSWERS_OLD_MEMORY, "answered generation="},
        {ANSWERS_SHORT, "a message of"},
        {THUMB_IS_NO_JPEG, "a thumbnail that is no JPEG"},
    };
    start(self_path, cases[_i].kind, 5000);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(run("frame", 5), ERR_CRASHED);
        ck_assert_msg(strstr(err.msg, cases[_i].said) != NULL, "%s", err.msg);
    }
    ck_assert_uint_eq(stats().restarts, 3);
    ck_assert_uint_eq(stats().bad, 2);
}
END_TEST

START_TEST(hanging_worker_is_timed_out_twice) {
    start(self_path, HANGS, 200);
    int64_t began = clock_boot_us();
    ck_assert_int_eq(run("frame", 5), ERR_CRASHED);
    ck_assert_ptr_nonnull(strstr(err.msg, "did not answer within 200 ms"));
    ck_assert_int_lt((clock_boot_us() - began) / 1000, 5000);
    ck_assert_uint_eq(stats().timeouts, 2);
}
END_TEST

START_TEST(poison_is_counted_and_the_others_pass) {
    start(self_path, DIES_ON_POISON, 5000);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(run("good", 4), 0);
        ck_assert_int_eq(run("bad P", 5), ERR_CRASHED);
        ck_assert_ptr_nonnull(strstr(err.msg, "signal 6"));
    }
    ck_assert_int_eq(run("good", 4), 0);
    ck_assert_uint_eq(stats().bad, 3);
    ck_assert_uint_eq(stats().frames, 7);
    ck_assert_uint_eq(stats().restarts, 6);
}
END_TEST

START_TEST(an_extra_answer_is_never_taken_for_the_next) {
    start(self_path, ANSWERS_TWICE, 5000);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(run("frame", 5) == 0, "%s", err.msg);
    }
    ck_assert_uint_eq(stats().bad, 0);
}
END_TEST

START_TEST(noise_does_not_block) {
    start(self_path, NOISY, 20000);
    ck_assert_msg(run("frame", 5) == 0, "%s", err.msg);
    ck_assert_uint_eq(stats().timeouts, 0);
}
END_TEST

START_TEST(input_is_read_only_and_secrets_stay_here) {
    setenv("CREEL_TEST_SECRET", "key", 1);
    int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might */
    ck_assert_int_ge(leak, 0);
    start(self_path, WRITES_INPUT, 0);
    detector_stop(detector);
    detector = NULL;
    start(self_path, SEES_SECRETS, 0);
    ck_assert_int_eq(run("frame", 5), 0);
    close(leak);
}
END_TEST

START_TEST(what_start_says) {
    struct detector_config config = {.worker_path = self_path, .floor = 0.05, .device = "cpu"};
    config.thumb_width = FAILS_READY;
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "cannot use the model: xxx"));
    config.thumb_width = DIES_LOADING;
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_CRASHED);
    ck_assert_ptr_nonnull(strstr(err.msg, "signal 6"));
    ck_assert_ptr_nonnull(strstr(err.msg, "Darknet said something"));
    config.worker_path = "/nonexistent/worker";
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "/nonexistent/worker"));
    config.worker_path = NULL;
    config.device = "cuda:0";
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "creel-worker-cuda"));
    config.device = "tpu";
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_INVALID);
    config.device = "cpu";
    config.floor = 1;
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_INVALID);
    config.worker_path = worker_path;
    config.floor = 0.05;
    config.thumb_width = 0;
    config.device = "cuda:0"; /* a worker for the CPU says so itself */
    ck_assert_int_eq(detector_start(&config, model, &detector, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "built for the CPU"));
    detector = NULL;
}
END_TEST

START_TEST(frames_out_of_bounds) {
    start(self_path, HONEST, 0);
    struct frame *frame = frame_of("frame", 5);
    frame->record.blob_bytes = (uint64_t)FRAME_BLOB_MAX + 1;
    ck_assert_int_eq(detector_run(detector, frame, &err), ERR_INVALID);
    frame->record.blob_bytes = 5;
    ck_assert_int_eq(detector_run(detector, frame, &err), 0);
    frame_destroy(frame);
}
END_TEST

/* What the validator would have refused, handed to the real worker all the same: whatever Darknet
 * does with it, the parent gets an error with a reason, and soon. */
START_TEST(broken_cfg_behind_the_validator) {
    static const char *const cfgs[] = {
        "",
        "garbage",
        "[convolutional]\nfilters=1\n",
        "[net]\nbatch=1\n",
        "[net]\nwidth=32\nheight=32\nchannels=3\n[transformer]\n[convolutional]\n",
        "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=20\n[yolo]\n",
        "[net]\nwidth=32\nheight=32\nchannels=3\n[route]\nlayers=5\n",
        "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nstride=0\n",
        "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=255\n",
    };
    int cfg = memfd_create("cfg", MFD_CLOEXEC), input = memfd_create("input", MFD_CLOEXEC);
    int weights = open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t size = strlen(cfgs[_i]);
    ck_assert_int_eq(pwrite(cfg, cfgs[_i], size, 0), (ssize_t)size);
    ck_assert_int_eq(ftruncate(input, FRAME_BLOB_MAX), 0);
    struct child_setup setup = {
        .worker_path = worker_path,
        .input_fd = input,
        .cfg_fd = cfg,
        .weights_fd = weights,
        .timeout_ms = 30000,
        .start = {.version = WORKER_PROTOCOL_VERSION,
                  .kind = WORKER_START,
                  .input_width = 32,
                  .input_height = 32,
                  .class_count = 1,
                  .head_count = 1,
                  .thumb_width = 320,
                  .device = "cpu"},
    };
    struct child child;
    int code = child_start(&setup, &child, &err);
    ck_assert_msg(code == ERR_INVALID || code == ERR_CRASHED, "code %d: %s", code, err.msg);
    ck_assert_msg(strstr(err.msg, "Darknet") != NULL || strstr(err.msg, "died of signal") != NULL ||
                      strstr(err.msg, "assertion") != NULL || strstr(err.msg, "ended with") != NULL,
                  "%s", err.msg);
    close(cfg);
    close(input);
    close(weights);
}
END_TEST

int main(void) {
    if (is_worker()) {
        return hostile_main();
    }
    Suite *suite = suite_create("inference_detector");
    TCase *tests = tcase_create("detector");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, real_worker_sees);
    tcase_add_test(tests, real_worker_is_sealed);
    tcase_add_test(tests, backend_is_told);
    tcase_add_test(tests, what_would_be_computed_wrongly_is_refused);
    tcase_add_test(tests, backend_is_known);
    tcase_add_test(tests, killed_in_the_middle_recovers);
    tcase_add_test(tests, killed_between_frames_costs_no_try);
    tcase_add_test(tests, death_while_loading_is_not_the_frames_fault);
    tcase_add_test(tests, stopped_is_timed_out);
    tcase_add_test(tests, worker_ends_with_us);
    tcase_add_loop_test(tests, hostile_worker_costs_only_the_frame, 0, 7);
    tcase_add_test(tests, hanging_worker_is_timed_out_twice);
    tcase_add_test(tests, poison_is_counted_and_the_others_pass);
    tcase_add_test(tests, an_extra_answer_is_never_taken_for_the_next);
    tcase_add_test(tests, noise_does_not_block);
    tcase_add_test(tests, input_is_read_only_and_secrets_stay_here);
    tcase_add_test(tests, what_start_says);
    tcase_add_test(tests, frames_out_of_bounds);
    tcase_add_loop_test(tests, broken_cfg_behind_the_validator, 0, 9);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
