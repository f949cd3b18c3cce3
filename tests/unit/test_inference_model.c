/* model: a directory is accepted whole or refused by name: every missing, cut, garbled, exchanged
 * or lying file. */
#include "daemon/base/buf.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 8 * 8 input, one convolution of 6 filters: 6 + 6 * 3 numbers. */
static const char cfg_text[] = "[net]\nwidth=8\nheight=8\nchannels=3\n"
                               "[convolutional]\nfilters=6\nsize=1\nstride=1\nactivation=linear\n"
                               "[yolo]\nmask=0\nanchors=4,4\nclasses=1\nnum=1\n";
enum { NUMBERS = 24, WEIGHTS_SIZE = 20 + NUMBERS * 4 };

static char dir[] = "/tmp/creel-model-XXXXXX";
static uint8_t weights[WEIGHTS_SIZE + 64];
static struct err err;
static struct model *model;

static void put(const char *name, const void *bytes, size_t size) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static void put_text(const char *name, const char *text) {
    put(name, text, strlen(text));
}

static char *hex_of(const char *name, char *out) {
    char path[256];
    uint8_t bytes[4096];
    struct frame_hash hash;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(bytes, 1, sizeof(bytes), file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    hash_sha256(bytes, size, &hash);
    return hash_hex(hash.bytes, sizeof(hash.bytes), out);
}

/* model.yaml for the files as they are now, and `more` lines. */
static void put_yaml(const char *more) {
    char text[2048], cfg[HASH_HEX_SIZE], numbers[HASH_HEX_SIZE], names[HASH_HEX_SIZE];
    snprintf(text, sizeof(text),
             "name: tiny\nversion: \"3\"\ncfg: a.cfg\nweights: a.weights\nnames: a.names\n"
             "sha256:\n  cfg: %s\n  weights: %s\n  names: %s\n%s",
             hex_of("a.cfg", cfg), hex_of("a.weights", numbers), hex_of("a.names", names), more);
    put_text("model.yaml", text);
}

static void set_up(void) {
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    const int32_t version[3] = {0, 2, 0};
    memcpy(weights, version, sizeof(version));
    for (size_t i = 0; i < NUMBERS; i++) {
        float value = (float)i / 100;
        memcpy(weights + 20 + 4 * i, &value, sizeof(value));
    }
    put("a.weights", weights, WEIGHTS_SIZE);
    put_text("a.cfg", cfg_text);
    put_text("a.names", "thing\n");
    put_yaml("");
}

static void tear_down(void) {
    static const char *const names[] = {"model.yaml", "a.cfg", "a.weights", "a.names", "b.weights"};
    char path[256];
    model_close(model);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void refused(int code, const char *said, const char *also) {
    err = (struct err){0};
    int found = model_open(dir, &model, &err);
    ck_assert_msg(found == code, "code %d, expected %d (%s)", found, code, err.msg);
    char text[2 * ERR_TEXT_MAX];
    err_text(&err, text, sizeof(text));
    ck_assert_msg(strstr(text, said) != NULL, "\"%s\" lacks \"%s\"", text, said);
    ck_assert_msg(strstr(text, also) != NULL, "\"%s\" lacks \"%s\"", text, also);
}

START_TEST(good_one) {
    put_yaml("resize: stretch\nthreshold: 0.4\nnms: 0.3\nnms_kind: diou\n");
    ck_assert_msg(model_open(dir, &model, &err) == 0, "%s", err.msg);
    ck_assert_str_eq(model->name, "tiny");
    ck_assert_str_eq(model->version, "3");
    ck_assert_uint_eq(model->class_count, 1);
    ck_assert_str_eq(model->labels[0], "thing");
    ck_assert_int_eq(model->resize, MODEL_STRETCH);
    ck_assert_double_eq(model->threshold, 0.4);
    ck_assert_double_eq(model->nms, 0.3);
    ck_assert_int_eq(model->nms_kind, MODEL_NMS_DIOU);
    ck_assert_uint_eq(model->input_width, 8);
    struct model_files files = {.cfg_fd = -1, .weights_fd = -1};
    ck_assert_msg(model_files_open(model, &files, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(files.head_count, 1);
    char clean[64] = "";
    ck_assert_int_gt(pread(files.cfg_fd, clean, sizeof(clean) - 1, 0), 0);
    ck_assert_ptr_nonnull(strstr(clean, "[net]\nbatch=1\nsubdivisions=1\nwidth=8\n"));
    ck_assert_int_eq(write(files.cfg_fd, "x", 1), -1);
    model_files_close(&files);
}
END_TEST

/* The hash is over the three hashes, so any file changes it; the defaults are the documented ones.
 */
START_TEST(hash_and_defaults) {
    ck_assert_int_eq(model_open(dir, &model, &err), 0);
    struct frame_hash first = model->hash;
    ck_assert_int_eq(model->resize, MODEL_LETTERBOX);
    ck_assert_double_eq(model->threshold, 0.25);
    ck_assert_double_eq(model->nms, 0.45);
    ck_assert_int_eq(model->nms_kind, MODEL_NMS_GREEDY);
    model_close(model);
    put_text("a.names", "other\r\n\n");
    put_yaml("");
    ck_assert_int_eq(model_open(dir, &model, &err), 0);
    ck_assert_str_eq(model->labels[0], "other");
    ck_assert_mem_ne(&model->hash, &first, sizeof(first));
}
END_TEST

START_TEST(missing_files) {
    static const char *const names[] = {"a.cfg", "a.weights", "a.names", "model.yaml"};
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, names[_i]);
    unlink(path);
    refused(ERR_NOT_FOUND, names[_i], "No such file");
    ck_assert_int_eq(model_open("/nonexistent/model", &model, &err), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "/nonexistent/model"));
}
END_TEST

START_TEST(weights_of_another_size) {
    static const size_t sizes[] = {
        0, 5, 19, 20, WEIGHTS_SIZE - 1, WEIGHTS_SIZE - 4, WEIGHTS_SIZE + 1, WEIGHTS_SIZE + 4};
    put("a.weights", weights, sizes[_i]);
    put_yaml("");
    const char *said = sizes[_i] < 12             ? "expected a Darknet weights file"
                       : sizes[_i] < WEIGHTS_SIZE ? "cut off"
                                                  : "too long";
    refused(ERR_INVALID, "a.weights", said);
}
END_TEST

/* Files of version 0.1 have a shorter header. */
START_TEST(weights_of_the_old_form) {
    const int32_t version[3] = {0, 1, 0};
    memmove(weights + 16, weights + 20, NUMBERS * 4);
    memcpy(weights, version, sizeof(version));
    put("a.weights", weights, WEIGHTS_SIZE - 4);
    put_yaml("");
    ck_assert_msg(model_open(dir, &model, &err) == 0, "%s", err.msg);
}
END_TEST

START_TEST(weights_that_are_no_numbers) {
    const float bad = _i == 0 ? NAN : INFINITY;
    memcpy(weights + WEIGHTS_SIZE - 4, &bad, sizeof(bad));
    put("a.weights", weights, WEIGHTS_SIZE);
    put_yaml("");
    refused(ERR_INVALID, "a.weights", "no number at byte 112");
}
END_TEST

START_TEST(other_bytes_than_promised) {
    static const char *const names[] = {"a.cfg", "a.weights", "a.names"};
    char was[HASH_HEX_SIZE], is[HASH_HEX_SIZE];
    hex_of(names[_i], was);
    weights[WEIGHTS_SIZE - 1] ^= 1;
    if (_i == 1) {
        put("a.weights", weights, WEIGHTS_SIZE);
    } else {
        put_text(names[_i],
                 _i == 0 ? "# a comment\n[net]\nwidth=8\nheight=8\nchannels=3\n"
                           "[convolutional]\nfilters=6\nsize=1\nstride=1\nactivation=linear\n"
                           "[yolo]\nmask=0\nanchors=4,4\nclasses=1\nnum=1\n"
                         : "things\n");
    }
    refused(ERR_INVALID, names[_i], was);
    refused(ERR_INVALID, "SHA-256", hex_of(names[_i], is));
}
END_TEST

START_TEST(garbage_cfg) {
    put_text("a.cfg", "garbage");
    put_yaml("");
    refused(ERR_INVALID, "a.cfg:1", "expected key=value");
}
END_TEST

START_TEST(labels) {
    static const struct {
        const char *names, *said;
    } cases[] = {
        {"one\ntwo\n", "has 2 labels; the last layers"},
        {"", "has 0 labels"},
        {"\nthing\n", "a.names:1: a label of 0 bytes"},
        {"a label that is far too long for any thing there is\n", "a label of 51 bytes"},
        {"th\x01ing\n", "byte 0x01"},
    };
    put_text("a.names", cases[_i].names);
    put_yaml("");
    refused(ERR_INVALID, "a.names", cases[_i].said);
}
END_TEST

START_TEST(bad_yaml) {
    static const struct {
        const char *more, *said;
    } cases[] = {
        {"wibble: 1\n", "model.yaml:10: unknown key \"wibble\""},
        {"threshold: 1.5\n",
         "model.yaml:10: threshold: found \"1.5\", expected a number between 0 and 1"},
        {"nms: many\n", "expected a number between"},
        {"resize: crop\n", "expected letterbox or stretch"},
        {"nms_kind: soft\n", "expected greedy, agnostic or diou"},
        {"name: again\n", "name stands twice (first in line 1)"},
        {"list: [1, 2]\n", "found a list"},
        {"deep: {a: {b: c}}\n", "found a mapping"},
        {"a: b: c\n", "not YAML"},
        {"\tx: 1\n", "not YAML"},
    };
    put_yaml(cases[_i].more);
    refused(ERR_INVALID, "model.yaml", cases[_i].said);
}
END_TEST

START_TEST(yaml_of_another_kind) {
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "the key name is missing"},
        {"just text\n", "expected keys and values"},
        {"- a\n- b\n", "found a list"},
        {"name: x\nversion: y\n", "the key cfg is missing"},
        {"name: x\nversion: y\ncfg: ../a.cfg\n", "the name of a file in this directory"},
        {"name: x\nversion: y\ncfg: /etc/passwd\n", "the name of a file in this directory"},
        {"name: x\nversion: y\ncfg: sub/a.cfg\n", "the name of a file in this directory"},
        {"sha256: {cfg: 12}\n", "64 hex digits"},
        {"name: &a x\nversion: *a\n", "an alias"},
        {"name: \"\"\n", "1 to 63 characters"},
    };
    put_text("model.yaml", cases[_i].text);
    refused(ERR_INVALID, "model.yaml", cases[_i].said);
}
END_TEST

/* A file that is replaced between the check and the start of a worker is noticed. */
START_TEST(changed_after_the_check) {
    ck_assert_int_eq(model_open(dir, &model, &err), 0);
    weights[WEIGHTS_SIZE - 1] ^= 1;
    put("a.weights", weights, WEIGHTS_SIZE);
    struct model_files files = {.cfg_fd = -1, .weights_fd = -1};
    ck_assert_int_eq(model_files_open(model, &files, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "changed since they were checked"));
    ck_assert_int_eq(files.cfg_fd, -1);
}
END_TEST

START_TEST(memory_runs_out) {
    int code = ERR_NOMEM;
    for (long calls = 0; code != 0 && calls < 2000; calls++) {
        mem_fail_after(calls);
        code = model_open(dir, &model, &err);
        mem_fail_after(-1);
        /* a buffer that cannot grow is reported as a file that is too large */
        bool told = code == ERR_NOMEM || strstr(err.msg, "is larger than") != NULL;
        ck_assert_msg(code == 0 || told, "code %d after %ld calls: %s", code, calls, err.msg);
    }
    ck_assert_int_eq(code, 0);
}
END_TEST

START_TEST(our_own_model) {
    err = (struct err){0};
    int code = model_open(CREEL_SOURCE_DIR "/inference/models/demo", &model, &err);
    char text[2 * ERR_TEXT_MAX];
    ck_assert_msg(code == 0, "%s", err_text(&err, text, sizeof(text)));
    char found[4096];
    ck_assert_int_eq(model_default_dir(found, sizeof(found), &err), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_model");
    TCase *tests = tcase_create("model");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, good_one);
    tcase_add_test(tests, hash_and_defaults);
    tcase_add_loop_test(tests, missing_files, 0, 4);
    tcase_add_loop_test(tests, weights_of_another_size, 0, 8);
    tcase_add_test(tests, weights_of_the_old_form);
    tcase_add_loop_test(tests, weights_that_are_no_numbers, 0, 2);
    tcase_add_loop_test(tests, other_bytes_than_promised, 0, 3);
    tcase_add_test(tests, garbage_cfg);
    tcase_add_loop_test(tests, labels, 0, 5);
    tcase_add_loop_test(tests, bad_yaml, 0, 10);
    tcase_add_loop_test(tests, yaml_of_another_kind, 0, 10);
    tcase_add_test(tests, changed_after_the_check);
    tcase_add_test(tests, memory_runs_out);
    tcase_add_test(tests, our_own_model);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
