/* hostile: a worker in wrong hands tries everything that the protocol allows it; each lie costs the
 * frame, never us, nothing of it reaches a record, and its process is gone afterwards. The memory
 * is checked by the sanitizers, under which this suite runs as well. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/detector_child.h"
#include "inference/image_view.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include "tests/suite.h"
#include "tests/unit/hostile_worker.h"
#include <check.h>
#include <errno.h>
#include <sys/wait.h>

#define DEMO_MODEL CREEL_SOURCE_DIR "/inference/models/demo"

static char worker_path[4096], self_path[4096], log_path[] = "/tmp/creel-hostile-XXXXXX";
static struct model *model;
static struct detector *detector;
static struct err err;

static void set_up(void) {
    snprintf(worker_path, sizeof(worker_path), "%s/bin/creel-worker-cpu", CREEL_BUILD_DIR);
    ck_assert_int_gt(readlink("/proc/self/exe", self_path, sizeof(self_path) - 1), 0);
    ck_assert_msg(model_open(DEMO_MODEL, &model, &err) == 0, "%s", err.msg);
}

static void tear_down(void) {
    detector_stop(detector);
    detector = NULL;
    model_close(model);
}

static int begin(enum hostile kind, int timeout_ms) {
    struct detector_config config = {.worker_path = self_path,
                                     .floor = 0.05,
                                     .timeout_ms = timeout_ms,
                                     .load_timeout_ms = timeout_ms,
                                     .thumb_width = kind,
                                     .device = "cpu"};
    return detector_start(&config, model, &detector, &err);
}

static struct detector_stats stats(void) {
    struct detector_stats out;
    detector_stats_get(detector, &out);
    return out;
}

/* Whatever the verdict: what is in the frame afterwards is within the documented bounds. */
static void check_frame(const struct frame *frame, int code) {
    const struct frame_record *record = &frame->record;
    ck_assert_uint_eq(record->detection_count, code == 0 ? 1 : 0);
    ck_assert_uint_le(frame->thumb_bytes, FRAME_THUMB_MAX);
    ck_assert(code == 0 || (frame->thumb == NULL && record->width == 0));
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_box *box = &record->detections[i].box;
        ck_assert(box->x >= 0 && box->y >= 0 && box->w >= 0 && box->h >= 0);
        ck_assert(box->x + box->w <= 1 + 1e-9 && box->y + box->h <= 1 + 1e-9);
    }
}

static int run_bytes(const char *bytes) {
    struct frame *frame = NULL;
    size_t size = strlen(bytes);
    ck_assert_int_eq(frame_create("test", mem_dup(bytes, size), size, &frame, &err), 0);
    err = (struct err){0};
    int code = detector_run(detector, frame, &err);
    check_frame(frame, code);
    frame_destroy(frame);
    return code;
}

static int run(void) {
    return run_bytes("frame");
}

static const struct {
    enum hostile kind;
    int timeout_ms;
    const char *said;
    const char *bytes; /* of the frame; NULL: any */
} lies[] = {
    {DIES, 5000, "ended with code 7", NULL},
    {LAST_WORDS, 5000, "last words: free(): invalid pointer", NULL},
    {HANGS, 100, "did not answer within 100 ms", NULL},
    {SPINS, 100, "did not answer within 100 ms", NULL},
    {STOPS_ITSELF, 100, "did not answer within 100 ms", NULL},
    {CLOSES_EARLY, 5000, "is gone", NULL},
    {FLOODS, 5000, "answered another question", NULL},
    {ANSWERS_SHORT, 5000, "a message of", NULL},
    {ANSWERS_LONG, 5000, "a message of", NULL},
    {ANSWERS_OLD_PACKET, 5000, "answered another question", NULL},
    {ANSWERS_OTHER_SLOT, 5000, "answered another question", NULL},
    {ANSWERS_OTHER_KIND, 5000, "answered another question", NULL},
    {ANSWERS_OLD_MEMORY, 5000, "answered generation=", NULL},
    {ANSWERS_COUNT, 5000, "answered detection_count=", NULL},
    {ANSWERS_NAN, 5000, "answered confidence=", NULL},
    {CONFIDENCE_INFINITE, 5000, "answered confidence=inf", NULL},
    {BOX_NAN, 5000, "answered box size=", NULL},
    {BOX_HUGE, 5000, "answered box size=1e+300", NULL},
    {BOX_NEGATIVE, 5000, "answered box corner=-0.1", NULL},
    {BOX_BEYOND, 5000, "answered box size=", NULL},
    {CLASS_BEYOND, 5000, "answered class=", NULL},
    {ORDER_RISES, 5000, "rises to", NULL},
    {THUMB_BEYOND, 5000, "answered thumb_bytes=262145", NULL},
    {THUMB_HUGE, 5000, "answered thumb_bytes=", NULL},
    {THUMB_SHORT, 5000, "a thumbnail that is no JPEG", NULL},
    {THUMB_IS_NO_JPEG, 5000, "a thumbnail that is no JPEG", NULL},
    {SIZE_NONE, 5000, "answered width*height=0", NULL},
    {SIZE_HUGE, 5000, "answered width*height=", NULL},
    {ORIENTATION_NONE, 5000, "answered orientation=0", NULL},
    {SHARPNESS_NAN, 5000, "answered sharpness=", NULL},
    {CODE_UNKNOWN, 5000, "answered code=-4711", NULL},
    {CODE_WITHOUT_TEXT, 5000, "answered code=-3", NULL},
    {MEDIA_OTHER, 5000, "answered media=2 for another kind", "\xff\xd8\xff\xe0"},
    {PICTURE_BEYOND, 5000, "answered picture_bytes=", NULL},
    {PICTURE_GIVEN, 5000, "an unasked picture", "\xff\xd8\xff\xe0"},
    {PICTURE_GIVEN, 5000, "an unasked picture", "\x89PNG"},
    {PICTURE_IS_NO_JPEG, 5000, "a picture that is no JPEG", "BM__"},
};

START_TEST(a_lie_costs_the_frame) {
    ck_assert_msg(begin(lies[_i].kind, lies[_i].timeout_ms) == 0, "%s", err.msg);
    int pid = stats().pid;
    ck_assert_int_eq(run_bytes(lies[_i].bytes != NULL ? lies[_i].bytes : "frame"), ERR_CRASHED);
    ck_assert_msg(strstr(err.msg, lies[_i].said) != NULL, "kind %d: %s", lies[_i].kind, err.msg);
    ck_assert(kill(pid, 0) != 0 && errno == ESRCH);
    ck_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); /* waited for, both of them */
    ck_assert_uint_eq(stats().bad, 1);
    ck_assert_uint_eq(stats().restarts, 1);
}
END_TEST

/* Figures that change while we look: each is taken once, so it is judged as it is used. */
START_TEST(a_verdict_rewritten_meanwhile) {
    ck_assert_int_eq(begin(REWRITES, 5000), 0);
    for (int i = 0; i < 3; i++) {
        int code = run();
        ck_assert_msg(code == 0 || code == ERR_CRASHED, "code %d: %s", code, err.msg);
    }
}
END_TEST

START_TEST(what_it_started_ends_with_it) {
    ck_assert_int_eq(begin(LEAVES_A_CHILD, 2000), 0);
    int groups[2] = {stats().pid, 0};
    for (int i = 0; i < 2; i++) {
        int code = run();
        ck_assert_msg(code == 0 || code == ERR_CRASHED, "code %d: %s", code, err.msg);
        groups[1] = stats().pid != 0 ? stats().pid : groups[1];
    }
    detector_stop(detector);
    detector = NULL;
    for (int i = 0; i < 2; i++) {
        int left = -1;
        for (int k = 0; k < 200 && groups[i] > 0; k++) { /* init may still be burying it */
            left = kill(-groups[i], 0);
            if (left != 0) {
                break;
            }
            clock_sleep_ms(10);
        }
        ck_assert_int_eq(left, -1);
    }
}
END_TEST

/* A BMP is stored as the JPEG that the worker makes of it. */
START_TEST(a_picture_that_was_asked_for) {
    struct frame *frame = NULL;
    ck_assert_int_eq(begin(PICTURE_GIVEN, 5000), 0);
    ck_assert_int_eq(frame_create("test", mem_dup("BM__", 4), 4, &frame, &err), 0);
    ck_assert_msg(detector_run(detector, frame, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(frame->record.blob_bytes, 4);
    ck_assert_mem_eq(frame->blob, "\xff\xd8\xff\xd9", 4);
    frame_destroy(frame);
}
END_TEST

START_TEST(want_of_memory_is_no_crash) {
    ck_assert_int_eq(begin(OUT_OF_MEMORY, 5000), 0);
    ck_assert_int_eq(run(), ERR_NOMEM);
    ck_assert_ptr_nonnull(strstr(err.msg, "no memory"));
    ck_assert_ptr_null(strchr(err.msg, '\n'));
    ck_assert_uint_eq(stats().restarts, 1); /* a fresh one may have more */
    ck_assert_uint_eq(stats().bad, 0);
}
END_TEST

START_TEST(a_start_that_never_ends_or_lies) {
    static const struct {
        enum hostile kind;
        int code;
        const char *said;
    } starts[] = {
        {NEVER_READY, ERR_TIMEOUT, "did not answer within 200 ms"},
        {SPINS_LOADING, ERR_TIMEOUT, "did not answer within 200 ms"},
        {HELLO_SHORT, ERR_CORRUPT, "a message of"},
        {HELLO_OF_ANOTHER, ERR_INVALID, "another version"},
        {FAILS_READY, ERR_INVALID, "xxx"},
        {DIES_LOADING, ERR_CRASHED, "Darknet said something"},
    };
    ck_assert_int_eq(begin(starts[_i].kind, 200), starts[_i].code);
    ck_assert_msg(strstr(err.msg, starts[_i].said) != NULL, "%s", err.msg);
    ck_assert_ptr_null(detector);
    ck_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}
END_TEST

/* Our standard error, which the log goes to, into a file. */
static int log_catch(void) {
    memcpy(log_path + sizeof(log_path) - 7, "XXXXXX", 6);
    int fd = mkstemp(log_path), was = dup(STDERR_FILENO);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    close(fd);
    unlink(log_path);
    return was;
}

/* Undoes log_catch; returns the lines that tell what a worker said. */
static size_t log_lines(int was) {
    char line[4096];
    size_t count = 0;
    FILE *file = fdopen(dup(STDERR_FILENO), "r");
    ck_assert_ptr_nonnull(file);
    rewind(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        count += strstr(line, "worker says") != NULL;
        ck_assert_ptr_null(strchr(line, '\x1b')); /* no colours of a stranger's in our log */
        ck_assert_uint_lt(strlen(line), 1000);
    }
    fclose(file);
    dup2(was, STDERR_FILENO);
    close(was);
    return count;
}

START_TEST(noise_goes_to_the_log_in_measure) {
    static const enum hostile kinds[] = {NOISY, NOISE_UNENDING};
    int was = log_catch();
    int code = begin(kinds[_i], 20000);
    for (int i = 0; i < 3 && code == 0; i++) {
        code = run();
    }
    uint64_t timeouts = detector != NULL ? stats().timeouts : 1;
    size_t lines = log_lines(was);
    ck_assert_msg(code == 0, "%s", err.msg);
    ck_assert_uint_eq(timeouts, 0);
    ck_assert_uint_ge(lines, 1);
    ck_assert_uint_le(lines, 20);
}
END_TEST

/* The real worker: its memory is bounded, and the kernel takes it before the daemon. */
START_TEST(real_worker_in_want_of_memory) {
    char path[64], text[16] = "";
    struct model_files files = {.cfg_fd = -1, .weights_fd = -1};
    int input = memfd_create("input", MFD_CLOEXEC);
    ck_assert_msg(model_files_open(model, &files, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(ftruncate(input, WORKER_INPUT_SIZE), 0);
    struct child_setup setup = {
        .worker_path = worker_path,
        .input_fd = input,
        .cfg_fd = files.cfg_fd,
        .weights_fd = files.weights_fd,
        .timeout_ms = 30000,
        .start = {.version = WORKER_PROTOCOL_VERSION,
                  .kind = WORKER_START,
                  .input_width = model->input_width,
                  .input_height = model->input_height,
                  .class_count = (uint32_t)model->class_count,
                  .head_count = files.head_count,
                  .layer_count = files.layer_count,
                  .thumb_width = 320,
                  .memory_bytes = 48u << 20, /* less than the shared memory */
                  .device = "cpu"},
    };
    memcpy(setup.start.heads, files.heads, sizeof(files.heads));
    struct child child;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    int code = child_start(&setup, &child, &err);
    ck_assert_msg(code == ERR_INVALID || code == ERR_CRASHED, "code %d: %s", code, err.msg);
    printf("with 48 MiB: %s\n", err.msg);
#endif
    setup.start.memory_bytes = 0;
    ck_assert_msg(child_start(&setup, &child, &err) == 0, "%s", err.msg);
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)child.process.pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
    ck_assert_str_eq(text, "1000\n");
    fclose(file);
    child_end(&child);
    close(input);
    model_files_close(&files);
}
END_TEST

int main(void) {
    if (is_worker()) {
        return hostile_main();
    }
    Suite *suite = suite_create("inference_hostile");
    TCase *tests = tcase_create("hostile");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, a_lie_costs_the_frame, 0, (int)ARRAY_LENGTH(lies));
    tcase_add_test(tests, a_verdict_rewritten_meanwhile);
    tcase_add_test(tests, what_it_started_ends_with_it);
    tcase_add_test(tests, a_picture_that_was_asked_for);
    tcase_add_test(tests, want_of_memory_is_no_crash);
    tcase_add_loop_test(tests, a_start_that_never_ends_or_lies, 0, 6);
    tcase_add_loop_test(tests, noise_goes_to_the_log_in_measure, 0, 2);
    tcase_add_test(tests, real_worker_in_want_of_memory);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
