/* eyes: models change under threads that never stop looking; every verdict names one of the two
 * models, counts outlive the change, and nobody waits for it. The real worker with copies of our
 * own model, so that the sanitizers see the whole of it. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/eyes.h"
#include "inference/image_summary.h"
#include "tests/suite.h"
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEMO_MODEL CREEL_SOURCE_DIR "/inference/models/demo"
enum { SEATS = 2, WAIT_MS = 60000 };

static char root[] = "/tmp/creel-eyes-XXXXXX";
static char first_dir[64], second_dir[64], worker_path[512];
static struct detector_config config;
static struct eyes *eyes;
static uint8_t *jpeg;
static size_t jpeg_size;
static atomic_bool over;
static atomic_uint seen[2], odd;
static struct err err;

/* The demo model's files behind links, under another version. */
static void model_copy(const char *dir, const char *version) {
    static const char *const names[] = {"demo.cfg", "demo.weights", "demo.names"};
    char from[512], to[512], line[512];
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(from, sizeof(from), "%s/%s", DEMO_MODEL, names[i]);
        snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
        ck_assert_int_eq(symlink(from, to), 0);
    }
    snprintf(to, sizeof(to), "%s/model.yaml", dir);
    FILE *in = fopen(DEMO_MODEL "/model.yaml", "r"), *out = fopen(to, "w");
    ck_assert(in != NULL && out != NULL);
    while (fgets(line, sizeof(line), in)) {
        if (strncmp(line, "version:", 8) == 0) {
            snprintf(line, sizeof(line), "version: \"%s\"\n", version);
        }
        fputs(line, out);
    }
    fclose(in);
    fclose(out);
}

static void set_up(void) {
    uint8_t rgb[64 * 48 * 3];
    for (size_t i = 0; i < sizeof(rgb); i++) {
        rgb[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    memcpy(root + sizeof(root) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(first_dir, sizeof(first_dir), "%s/first", root);
    snprintf(second_dir, sizeof(second_dir), "%s/second", root);
    model_copy(first_dir, "first");
    model_copy(second_dir, "second");
    snprintf(worker_path, sizeof(worker_path), "%s/bin/creel-worker-cpu", CREEL_BUILD_DIR);
    config = (struct detector_config){.worker_path = worker_path, .floor = 0.05, .device = "cpu"};
    ck_assert_int_eq(image_encode(rgb, 64, 48, 90, &jpeg, &jpeg_size, &err), 0);
    struct model *model = NULL;
    ck_assert_msg(model_open(first_dir, &model, &err) == 0, "%s", err.msg);
    int code = eyes_open(&config, SEATS, model, first_dir, &eyes, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
}

/* As on a GPU: the seats prepare frames for one more process. */
static void share_network(void) {
    struct model *model = NULL;
    eyes_close(eyes);
    eyes = NULL;
    config.batch = SEATS;
    config.batch_wait_ms = 10;
    ck_assert_int_eq(model_open(first_dir, &model, &err), 0);
    int code = eyes_open(&config, SEATS, model, first_dir, &eyes, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
}

static void tear_down(void) {
    static const char *const names[] = {"demo.cfg", "demo.weights", "demo.names", "model.yaml", ""};
    char path[512];
    eyes_close(eyes);
    free(jpeg);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", first_dir, names[i]);
        remove(path);
        snprintf(path, sizeof(path), "%s/%s", second_dir, names[i]);
        remove(path);
    }
    rmdir(root);
}

static void *look_on(void *arg) {
    const size_t *seat = arg;
    while (!atomic_load(&over)) {
        struct frame *frame = NULL;
        struct err why = {0};
        int code = frame_create("test", mem_dup(jpeg, jpeg_size), jpeg_size, &frame, &why);
        code = code ? code : eyes_look(eyes, *seat, frame, &why);
        bool first = !code && strcmp(frame->record.model_version, "first") == 0;
        bool second = !code && strcmp(frame->record.model_version, "second") == 0;
        atomic_fetch_add(first || second ? &seen[second] : &odd, 1);
        frame_destroy(frame);
    }
    return NULL;
}

/* Asks for a change and waits for its end. */
static enum eyes_state change_to(const char *dir, struct eyes_change *out) {
    uint64_t number = 0;
    ck_assert_int_eq(eyes_use(eyes, dir, &number, &err), 0);
    int64_t end = clock_boot_us() + (int64_t)WAIT_MS * 1000;
    do {
        clock_sleep_ms(5);
        eyes_change_get(eyes, out);
    } while (out->state < EYES_DONE && clock_boot_us() < end);
    ck_assert_uint_eq(out->number, number);
    return out->state;
}

static uint64_t frames_counted(void) {
    struct detector_stats stats[EYES_ROWS_MAX];
    uint64_t sum = 0;
    ck_assert_uint_eq(eyes_stats_get(eyes, stats), SEATS + (config.batch > 1));
    for (size_t i = 0; i < SEATS; i++) {
        sum += stats[i].frames;
    }
    return sum;
}

START_TEST(changes_while_all_look) {
    static const size_t seats[SEATS] = {0, 1};
    pthread_t threads[SEATS];
    struct eyes_change change;
    struct eyes_model model;
    if (_i == 1) {
        share_network();
    }
    for (size_t i = 0; i < SEATS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, look_on, (void *)(uintptr_t)&seats[i]),
                         0);
    }
    for (int i = 0; i < 4; i++) {
        const char *dir = i % 2 ? first_dir : second_dir;
        ck_assert_msg(change_to(dir, &change) == EYES_DONE, "%s", change.text);
        eyes_model_get(eyes, &model);
        ck_assert_str_eq(model.version, i % 2 ? "first" : "second");
        ck_assert_str_eq(model.dir, dir);
        unsigned before = atomic_load(&seen[!(i % 2)]);
        while (atomic_load(&seen[!(i % 2)]) == before) { /* the new one does look */
            clock_sleep_ms(1);
        }
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < SEATS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(atomic_load(&odd), 0);
    ck_assert_uint_gt(atomic_load(&seen[0]), 0);
    ck_assert_uint_gt(atomic_load(&seen[1]), 0);
    ck_assert_uint_eq(frames_counted(), atomic_load(&seen[0]) + atomic_load(&seen[1]));
}
END_TEST

START_TEST(seats_at_rest_change_too) {
    struct eyes_change change;
    ck_assert_int_eq(change_to(second_dir, &change), EYES_DONE);
    ck_assert_int_eq(change_to(NULL, &change), EYES_UNCHANGED);
    ck_assert_str_eq(change.dir, second_dir);
    ck_assert_int_eq(change_to("/nonexistent", &change), EYES_REFUSED);
    ck_assert_ptr_nonnull(strstr(change.text, "/nonexistent"));
    struct eyes_model model;
    eyes_model_get(eyes, &model);
    ck_assert_str_eq(model.version, "second");
    uint64_t number;
    ck_assert_int_eq(eyes_use(eyes, "", &number, &err), ERR_INVALID);
}
END_TEST

/* A program that is the real worker, but for its fourth start. */
static void put_worker_script(const char *path) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file,
            "#!/bin/sh\nread n <'%s/starts'\necho $((n + 1)) >'%s/starts'\n"
            "[ \"$n\" = 3 ] && exit 1\nexec '%s'\n",
            root, root, worker_path);
    fclose(file);
    ck_assert_int_eq(chmod(path, 0700), 0);
}

static int starts_get(const char *path) {
    int starts = -1;
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%d", &starts), 1);
    fclose(file);
    return starts;
}

/* The first new child serves, the next cannot start: the old one goes on in that seat, until it
 * can. */
START_TEST(a_seat_without_a_child_is_tried_again) {
    char script[64], starts[64];
    struct eyes_change change;
    struct model *model = NULL;
    eyes_close(eyes);
    eyes = NULL;
    snprintf(script, sizeof(script), "%s/worker", root);
    snprintf(starts, sizeof(starts), "%s/starts", root);
    ck_assert_int_eq(fs_write_file_atomic(starts, "0\n", 2, 0600, &err), 0);
    put_worker_script(script);
    config.worker_path = script;
    ck_assert_int_eq(model_open(first_dir, &model, &err), 0);
    ck_assert_int_eq(eyes_open(&config, SEATS, model, first_dir, &eyes, &err), 0);
    ck_assert_msg(change_to(second_dir, &change) == EYES_DONE, "%s", change.text);
    ck_assert_int_eq(starts_get(starts), SEATS + 1 + 2);
    struct frame *frame = NULL;
    for (size_t i = 0; i < SEATS; i++) {
        ck_assert_int_eq(frame_create("test", mem_dup(jpeg, jpeg_size), jpeg_size, &frame, &err),
                         0);
        ck_assert_msg(eyes_look(eyes, i, frame, &err) == 0, "%s", err.msg);
        ck_assert_str_eq(frame->record.model_version, "second");
        frame_destroy(frame);
    }
    unlink(script);
    unlink(starts);
}
END_TEST

START_TEST(a_later_wish_overtakes_and_the_end_waits_for_none) {
    struct eyes_change change;
    uint64_t first, second;
    ck_assert_int_eq(eyes_use(eyes, "/nonexistent/one", &first, &err), 0);
    ck_assert_int_eq(eyes_use(eyes, second_dir, &second, &err), 0);
    ck_assert_uint_gt(second, first);
    eyes_change_get(eyes, &change);
    ck_assert_uint_eq(change.number, second);
    int64_t began = clock_boot_us();
    eyes_close(eyes);
    eyes = NULL;
    ck_assert_int_lt((clock_boot_us() - began) / 1000, 30000);
}
END_TEST

/* A worker that loads for ever, and talks all the while. */
START_TEST(the_end_waits_for_no_loading) {
    char link[64];
    struct eyes_change change;
    uint64_t number;
    struct model *model = NULL;
    eyes_close(eyes);
    eyes = NULL;
    snprintf(link, sizeof(link), "%s/worker", root);
    ck_assert_int_eq(symlink(worker_path, link), 0);
    config.worker_path = link;
    ck_assert_int_eq(model_open(first_dir, &model, &err), 0);
    ck_assert_int_eq(eyes_open(&config, SEATS, model, first_dir, &eyes, &err), 0);
    unlink(link);
    ck_assert_int_eq(symlink("/usr/bin/yes", link), 0);
    ck_assert_int_eq(eyes_use(eyes, second_dir, &number, &err), 0);
    do {
        clock_sleep_ms(10);
        eyes_change_get(eyes, &change);
    } while (change.state == EYES_WAITING);
    clock_sleep_ms(200);
    eyes_change_get(eyes, &change);
    ck_assert_int_eq(change.state, EYES_LOADING);
    int64_t began = clock_boot_us();
    eyes_close(eyes);
    eyes = NULL;
    ck_assert_int_lt((clock_boot_us() - began) / 1000, 10000);
    unlink(link);
}
END_TEST

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("daemon_eyes");
    TCase *tests = tcase_create("eyes");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, changes_while_all_look, 0, 2);
    tcase_add_test(tests, seats_at_rest_change_too);
    tcase_add_test(tests, a_seat_without_a_child_is_tried_again);
    tcase_add_test(tests, a_later_wish_overtakes_and_the_end_waits_for_none);
    tcase_add_test(tests, the_end_waits_for_no_loading);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
