/* broken: every kind of broken cfg and weights that is known to end or to mislead a Darknet, as a
 * model directory with the right hashes. The validator refuses each by file and line with the way
 * out. Then the same files go to the real worker behind the validator's back: whatever becomes of
 * its process, we hear it in time. Prints the table. */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "inference/detector_child.h"
#include "inference/image_view.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include "tests/suite.h"
#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NET  "[net]\nwidth=64\nheight=64\nchannels=3\n"                 /* lines 1 to 4 */
#define CONV "[convolutional]\nfilters=21\nsize=1\nactivation=linear\n" /* 4 lines */
#define YOLO "[yolo]\nmask=0,1,2\nanchors=8,8, 16,16, 32,32\nclasses=2\nnum=3\n"

/* 21 biases and 21 * 3 weights behind a header of 20 bytes. */
enum { NUMBERS = 84, HEADER = 20, WEIGHTS_SIZE = HEADER + 4 * NUMBERS, ROOM = WEIGHTS_SIZE + 64 };

enum weights { GOOD, MISSING, SHORT, LONG, EMPTY, RANDOM, RANDOM_NUMBERS, DIRECTORY, NOT_NUMBERS };

static const struct {
    const char *kind, *cfg; /* cfg: NULL: there is none */
    enum weights weights;
    const char *where; /* what the message must name: file and line */
    const char *way;   /* and the way out */
} table[] = {
    {"cfg missing", NULL, GOOD, "a.cfg", "No such file"},
    {"weights missing", NET CONV YOLO, MISSING, "a.weights", "No such file"},
    {"cfg empty", "", GOOD, "a.cfg:1:", "expected [net]"},
    {"no [net]", CONV YOLO, GOOD, "a.cfg:1:", "expected [net]"},
    {"no size", "[net]\nbatch=1\n" CONV YOLO, GOOD, "a.cfg:1:", "expected width, height"},
    {"unknown layer in the middle", NET "[transformer]\n" CONV YOLO, GOOD,
     "a.cfg:5:", "it runs convolutional"},
    {"filters do not fit [yolo]", NET "[convolutional]\nfilters=20\nactivation=linear\n" YOLO, GOOD,
     "a.cfg:8:", "set filters=21"},
    {"route without layers", NET CONV "[route]\n" YOLO, GOOD, "a.cfg:9:", "expected layers="},
    {"route beyond the layers", NET CONV "[route]\nlayers=7\n" YOLO, GOOD,
     "a.cfg:10:", "expected 0 to 0"},
    {"shortcut without from", NET CONV "[shortcut]\nactivation=linear\n" YOLO, GOOD,
     "a.cfg:9:", "expected from="},
    {"key before the first section", "width=64\n" NET CONV YOLO, GOOD,
     "a.cfg:1:", "expected [net]"},
    {"binary file", NET "\x01\x02\x7f\x45\x4c\x46" CONV, GOOD,
     "a.cfg:5:", "expected a Darknet cfg"},
    {"route too far back", NET CONV "[route]\nlayers=-9\n" YOLO, GOOD,
     "a.cfg:10:", "expected 0 to 0, or -1 to -1"},
    {"stride=0", NET "[convolutional]\nfilters=21\nstride=0\n" YOLO, GOOD,
     "a.cfg:7:", "expected a whole number from 1"},
    {"subdivisions=0", "[net]\nsubdivisions=0\nwidth=64\nheight=64\nchannels=3\n" CONV YOLO, GOOD,
     "a.cfg:2:", "expected a whole number from 1"},
    {"unknown last layer", NET CONV "[yolox]\n", GOOD, "a.cfg:9:", "it runs convolutional"},
    {"steps and scales of other lengths",
     "[net]\nwidth=64\nheight=64\nchannels=3\npolicy=steps\nsteps=1,2,3\nscales=.1\n" CONV YOLO,
     GOOD, "a.cfg:1:", "expected as many"},
    {"width=160000", "[net]\nwidth=160000\nheight=64\nchannels=3\n" CONV YOLO, GOOD,
     "a.cfg:2:", "expected a whole number from 8 to 4096"},
    {"weights cut off", NET CONV YOLO, SHORT, "a.weights has 352 bytes", "cut off"},
    {"weights too long", NET CONV YOLO, LONG, "a.weights has 360 bytes", "too long"},
    {"weights empty", NET CONV YOLO, EMPTY, "a.weights has 0 bytes", "expected"},
    {"weights random", NET CONV YOLO, RANDOM, "a.weights", "belongs to another cfg"},
    {"weights a directory", NET CONV YOLO, DIRECTORY, "a.weights", "not a regular file"},
    {"unknown activation", NET "[convolutional]\nfilters=21\nactivation=mush\n" YOLO, GOOD,
     "a.cfg:7:", "expected one of"},
    {"mask out of range",
     NET CONV "[yolo]\nmask=0,1,9\nanchors=8,8, 16,16, 32,32\nclasses=2\nnum=3\n", GOOD,
     "a.cfg:10:", "expected 0 to 2"},
    {"width not a number", "[net]\nwidth=wide\nheight=64\nchannels=3\n" CONV YOLO, GOOD,
     "a.cfg:2:", "expected a whole number"},
    {"route in groups, beyond them", NET CONV "[route]\nlayers=-1\ngroups=3\ngroup_id=3\n" YOLO,
     GOOD, "a.cfg:9:", "expected a number that divides them, and 0 to 2"},
    {"groups that divide nothing", NET "[convolutional]\nfilters=21\ngroups=2\n" YOLO, GOOD,
     "a.cfg:5:", "groups=2 divides"},
    {"too few anchors", NET CONV "[yolo]\nmask=0,1,2\nanchors=8,8\nclasses=2\nnum=3\n", GOOD,
     "a.cfg:11:", "num=3 asks for 6"},
    {"no anchors", NET CONV "[yolo]\nmask=0,1,2\nclasses=2\nnum=3\n", GOOD,
     "a.cfg:9:", "expected anchors"},
    {"more memory than there is",
     "[net]\nwidth=4096\nheight=4096\nchannels=3\n"
     "[convolutional]\nfilters=65536\nsize=3\npad=1\nactivation=leaky\n" YOLO,
     GOOD, "a.cfg:5:", "needs more than 4096 MB"},
    {"no head", NET CONV, GOOD, "a.cfg", "no [yolo]"},
    {"weights that are not numbers", NET CONV YOLO, NOT_NUMBERS,
     "a.weights holds what is no number", "damaged"},
    {"weights of random numbers", NET CONV YOLO, RANDOM_NUMBERS,
     "a.weights holds what is no number", "damaged"},
    /* what a library for one kind of network loads and computes wrongly */
    {"mish on a library without it", NET "[convolutional]\nfilters=21\nactivation=mish\n" YOLO,
     GOOD, "a.cfg:7:", "pjreddie's Darknet ignores it"},
    {"new_coords=2", NET CONV YOLO "new_coords=2\n", GOOD, "a.cfg:14:", "from 0 to 1"},
    {"scale_x_y=-3", NET CONV YOLO "scale_x_y=-3\n", GOOD, "a.cfg:", "scale_x_y"},
    {"dilation", NET "[convolutional]\nfilters=21\ndilation=2\n" YOLO, GOOD, "a.cfg:7:", "only 1"},
    {"antialiasing", NET "[convolutional]\nfilters=21\nantialiasing=1\n" YOLO, GOOD,
     "a.cfg:7:", "only 0"},
    {"[sam]", NET CONV "[sam]\nfrom=-1\n" YOLO, GOOD, "a.cfg:9:", "it runs"},
    {"[scale_channels]", NET CONV "[scale_channels]\nfrom=-1\n" YOLO, GOOD, "a.cfg:9:", "it runs"},
    {"[Gaussian_yolo]", NET CONV "[Gaussian_yolo]\nclasses=2\n", GOOD, "a.cfg:9:", "it runs"},
};

static char dir[] = "/tmp/creel-broken-XXXXXX", worker_path[4096];
static struct model *model;
static struct model_files good; /* what the worker is told: as of the cfg without a fault */
static struct err err;

static const char *path_of(const char *name) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void put(const char *name, const void *bytes, size_t size) {
    FILE *file = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* The size of what is written; `bytes` has ROOM. */
static size_t weights_make(enum weights kind, uint8_t *bytes) {
    static const size_t sizes[] = {
        [SHORT] = WEIGHTS_SIZE - 4, [LONG] = WEIGHTS_SIZE + 4, [EMPTY] = 0};
    const int32_t version[3] = {0, 2, 0};
    uint32_t seed = 4711;
    size_t random_from = kind == RANDOM ? 0 : kind == RANDOM_NUMBERS ? HEADER : ROOM;
    memset(bytes, 0, ROOM);
    memcpy(bytes, version, sizeof(version));
    for (size_t i = random_from; i < ROOM; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    if (kind == NOT_NUMBERS || kind == RANDOM_NUMBERS) { /* 84 random ones may all be finite */
        const float none = NAN;
        memcpy(bytes + WEIGHTS_SIZE - 4, &none, sizeof(none));
    }
    return kind == SHORT || kind == LONG || kind == EMPTY ? sizes[kind] : WEIGHTS_SIZE;
}

static void hash_of(const void *bytes, size_t size, char *hex) {
    struct frame_hash hash;
    hash_sha256(bytes, size, &hash);
    hash_hex(hash.bytes, sizeof(hash.bytes), hex);
}

/* Files as the row says, and a model.yaml that agrees with them. */
static void put_model(const char *cfg, enum weights kind) {
    static const char names[] = "one\ntwo\n";
    uint8_t weights[ROOM];
    char cfg_hex[HASH_HEX_SIZE], weights_hex[HASH_HEX_SIZE], names_hex[HASH_HEX_SIZE], yaml[1024];
    size_t size = weights_make(kind, weights);
    if (cfg != NULL) {
        put("a.cfg", cfg, strlen(cfg));
    }
    if (kind == DIRECTORY) {
        ck_assert_int_eq(mkdir(path_of("a.weights"), 0700), 0);
    } else if (kind != MISSING) {
        put("a.weights", weights, size);
    }
    put("a.names", names, sizeof(names) - 1);
    hash_of(cfg != NULL ? cfg : "", cfg != NULL ? strlen(cfg) : 0, cfg_hex);
    hash_of(weights, size, weights_hex);
    hash_of(names, sizeof(names) - 1, names_hex);
    int length = snprintf(yaml, sizeof(yaml),
                          "name: broken\nversion: \"1\"\ncfg: a.cfg\nweights: a.weights\n"
                          "names: a.names\nsha256: {cfg: %s, weights: %s, names: %s}\n",
                          cfg_hex, weights_hex, names_hex);
    put("model.yaml", yaml, (size_t)length);
}

static void set_up(void) {
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(worker_path, sizeof(worker_path), "%s/bin/creel-worker-cpu", CREEL_BUILD_DIR);
    put_model(NET CONV YOLO, GOOD);
    ck_assert_msg(model_open(dir, &model, &err) == 0, "%s", err.msg);
    ck_assert_msg(model_files_open(model, &good, &err) == 0, "%s", err.msg);
    model_files_close(&good);
    model_close(model);
    model = NULL;
    remove(path_of("a.cfg"));
    remove(path_of("a.weights"));
}

static void tear_down(void) {
    static const char *const names[] = {"model.yaml", "a.cfg", "a.weights", "a.names", ""};
    model_close(model);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        remove(path_of(names[i]));
    }
}

static bool have_alexeyab(void) {
    const struct backend_program *program;
    for (size_t i = 0; (program = backend_program_at(i)) != NULL; i++) {
        if (program->backend == BACKEND_ALEXEYAB) {
            return true;
        }
    }
    return false;
}

/* The files as they are, to the worker; what became of that, in words. */
static const char *behind_the_validator(void) {
    static char said[2 * ERR_TEXT_MAX];
    int input = memfd_create("input", MFD_CLOEXEC);
    int cfg = open(path_of("a.cfg"), O_RDONLY | O_CLOEXEC);
    int weights = open(path_of("a.weights"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(ftruncate(input, WORKER_INPUT_SIZE), 0);
    int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct child_setup setup = {
        .worker_path = worker_path,
        .input_fd = input,
        .cfg_fd = cfg >= 0 ? cfg : none,
        .weights_fd = weights >= 0 ? weights : none,
        .timeout_ms = 20000,
        .start = {.version = WORKER_PROTOCOL_VERSION,
                  .kind = WORKER_START,
                  .input_width = 64,
                  .input_height = 64,
                  .class_count = 2,
                  .head_count = good.head_count,
                  .layer_count = good.layer_count,
                  .thumb_width = 320,
                  .memory_bytes = 2048ull << 20,
                  .device = "cpu"},
    };
    memcpy(setup.start.heads, good.heads, sizeof(good.heads));
    struct child child;
    err = (struct err){0};
    int code = child_start(&setup, &child, &err);
    ck_assert_msg(code == 0 || code == ERR_INVALID || code == ERR_CRASHED, "code %d: %s", code,
                  err.msg);
    if (code == 0) {
        child_end(&child);
    }
    close(input);
    close(cfg);
    close(weights);
    close(none);
    return code == 0 ? "loads, and knows nothing of it" : err_text(&err, said, sizeof(said));
}

START_TEST(refused_by_name_and_survived) {
    char text[2 * ERR_TEXT_MAX];
    put_model(table[_i].cfg, table[_i].weights);
    int code = model_open(dir, &model, &err);
    if (strstr(table[_i].cfg != NULL ? table[_i].cfg : "", "mish") != NULL && have_alexeyab()) {
        ck_assert_msg(code == 0, "%s: %s", table[_i].kind, err.msg);
        return;
    }
    err_text(&err, text, sizeof(text));
    ck_assert_msg(code == ERR_INVALID || code == ERR_NOT_FOUND, "%s: code %d", table[_i].kind,
                  code);
    ck_assert_msg(strstr(text, table[_i].where) != NULL, "%s: \"%s\" lacks \"%s\"", table[_i].kind,
                  text, table[_i].where);
    ck_assert_msg(strstr(text, table[_i].way) != NULL, "%s: \"%s\" lacks \"%s\"", table[_i].kind,
                  text, table[_i].way);
    const char *worker = behind_the_validator();
    const char *name = strstr(text, "a.");
    printf("%2d %-36s %s\n   %-36s worker: %s\n", _i + 1, table[_i].kind,
           name != NULL ? name : text, "", worker);
}
END_TEST

/* The same without a fault is taken, so that the rows are refused for theirs. */
START_TEST(the_same_without_a_fault) {
    put_model(NET CONV YOLO, GOOD);
    ck_assert_msg(model_open(dir, &model, &err) == 0, "%s", err.msg);
    struct detector *detector = NULL;
    struct detector_config config = {.worker_path = worker_path, .floor = 0.05, .device = "cpu"};
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
    detector_stop(detector);
    ck_assert_str_eq(behind_the_validator(), "loads, and knows nothing of it");
}
END_TEST

/* Weights that are numbers and make the network give none: only a run shows it. */
START_TEST(numbers_that_make_none) {
    uint8_t weights[ROOM];
    const float huge = 3e38f;
    put_model(NET CONV YOLO, GOOD);
    size_t size = weights_make(GOOD, weights);
    for (size_t i = HEADER; i < size; i += sizeof(huge)) {
        memcpy(weights + i, &huge, sizeof(huge));
    }
    put("a.weights", weights, size);
    ck_assert_ptr_nonnull(strstr(behind_the_validator(), "not numbers"));
}
END_TEST

/* A worker that has to be started again must not begin with other weights than were checked. */
START_TEST(weights_written_over_while_it_runs) {
    uint8_t weights[ROOM];
    struct detector *detector = NULL;
    struct detector_stats stats;
    struct frame *frame = NULL;
    struct detector_config config = {.worker_path = worker_path, .floor = 0.05, .device = "cpu"};
    put_model(NET CONV YOLO, GOOD);
    ck_assert_msg(model_open(dir, &model, &err) == 0, "%s", err.msg);
    ck_assert_msg(detector_start(&config, model, &detector, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(frame_create("test", mem_dup("text", 4), 4, &frame, &err), 0);
    size_t size = weights_make(GOOD, weights);
    const struct {
        float first; /* of the numbers; the size stays */
        int code;
        const char *said;
    } steps[] = {{0, ERR_INVALID, "neither JPEG"},
                 {1, ERR_BUSY, "were written over since they were checked"},
                 {0, ERR_INVALID, "neither JPEG"}}; /* put back */
    for (size_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        clock_sleep_ms(20); /* the kernel's times are coarse */
        memcpy(weights + HEADER, &steps[i].first, sizeof(steps[i].first));
        put("a.weights", weights, size);
        detector_stats_get(detector, &stats);
        if (stats.pid > 0) {
            kill(stats.pid, SIGKILL);
        }
        clock_sleep_ms(50);
        ck_assert_int_eq(detector_run(detector, frame, &err), steps[i].code);
        ck_assert_msg(strstr(err.msg, steps[i].said) != NULL, "%s", err.msg);
    }
    frame_destroy(frame);
    detector_stop(detector);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_broken");
    TCase *tests = tcase_create("broken");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, refused_by_name_and_survived, 0, (int)ARRAY_LENGTH(table));
    tcase_add_test(tests, the_same_without_a_fault);
    tcase_add_test(tests, numbers_that_make_none);
    tcase_add_test(tests, weights_written_over_while_it_runs);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
