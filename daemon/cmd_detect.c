/* detect: a model on image files, without a daemon and without keeping anything. */
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "inference/draw.h"
#include "inference/frame.h"
#include "inference/inference.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES_MAX = 1 << 20, DIGITS = 6 };

static const char usage[] =
    "usage: creel detect [--model DIR] [--threshold T] [--json] [--draw OUT.jpg] IMAGE...\n"
    "Runs a model on JPEG and PNG files and prints the boxes it finds.\n"
    "  --model DIR      directory with model.yaml; creel's own model where none is given\n"
    "  --threshold T    least confidence, between 0 and 1; the model's own where none is given\n"
    "  --json           one line an image: {\"image\", \"width\", \"height\", \"model\", "
    "\"detections\":\n"
    "                   [{\"class\", \"confidence\", \"box\": {\"x\", \"y\", \"w\", \"h\"}}]}; "
    "boxes are relative to\n"
    "                   the image, x and y the top left corner; \"tag\": true where a "
    "classifier\n"
    "                   speaks of the whole image\n"
    "  --draw OUT.jpg   writes the image with its boxes (one IMAGE only)\n"
    "An image that cannot be read does not stop the others; the exit code is 1 then.\n";

struct job {
    struct model *model;
    struct detector *detector;
    double threshold;
    const char *draw_path; /* NULL: none */
    bool json;
};

/* A file name as JSON text: bytes that are not UTF-8 become '?'. */
static json_t *json_name(const char *text) {
    json_t *name = json_string(text);
    if (name != NULL) {
        return name;
    }
    CLEANUP(mem_free_at) char *copy = mem_strdup(text);
    for (char *at = copy; at != NULL && *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x80 ? *at : '?';
    }
    return json_string(copy != NULL ? copy : "");
}

/* Takes `line`. */
static void print_line(json_t *line) {
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void print_json(const struct job *job, const char *path, const struct frame_record *record) {
    json_t *list = json_array();
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        const struct frame_box *box = &found->box;
        json_t *one = json_pack("{s:o, s:f, s:{s:f, s:f, s:f, s:f}}", "class",
                                json_name(found->label), "confidence", (double)found->confidence,
                                "box", "x", box->x, "y", box->y, "w", box->w, "h", box->h);
        if (found->tag) {
            json_object_set_new(one, "tag", json_true());
        }
        json_array_append_new(list, one);
    }
    print_line(json_pack("{s:o, s:i, s:i, s:o, s:o}", "image", json_name(path), "width",
                         (int)record->width, "height", (int)record->height, "model",
                         json_name(job->model->name), "detections", list));
}

static void print_table(const char *path, const struct frame_record *record) {
    printf("%s: %u x %u, %zu found\n", path, record->width, record->height,
           record->detection_count);
    if (record->detection_count > 0) {
        printf("  %-20s %10s %7s %7s %7s %7s\n", "class", "confidence", "left", "top", "width",
               "height");
    }
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        if (found->tag) {
            printf("  %-20s %10.3f  the whole frame\n", found->label, (double)found->confidence);
            continue;
        }
        printf("  %-20s %10.3f %7.0f %7.0f %7.0f %7.0f\n", found->label, (double)found->confidence,
               found->box.x * record->width, found->box.y * record->height,
               found->box.w * record->width, found->box.h * record->height);
    }
    fflush(stdout);
}

static int draw(const struct job *job, const struct frame *frame, struct err *err) {
    CLEANUP(mem_free_at) uint8_t *jpeg = NULL;
    size_t size = 0;
    int code =
        draw_detections(frame->blob, (size_t)frame->record.blob_bytes, frame->record.detections,
                        frame->record.detection_count, &jpeg, &size, err);
    return code != 0 ? code : fs_write_file_atomic(job->draw_path, jpeg, size, 0644, err);
}

static void frame_destroy_at(struct frame **frame) {
    if (*frame != NULL) {
        frame_destroy(*frame);
    }
}

static int image_read(const char *path, struct frame **out, struct err *err) {
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(FRAME_BLOB_MAX);
    size_t size = 0;
    int code = fs_read_file(path, &bytes, err);
    if (code == ERR_FULL) {
        return err_set(err, ERR_INVALID, "the file is larger than %u MB", FRAME_BLOB_MAX >> 20);
    }
    if (code != 0) {
        return code;
    }
    if (bytes.len == 0) {
        return err_set(err, ERR_INVALID, "the image is empty (0 bytes)");
    }
    char *taken = buf_take(&bytes, &size);
    if (taken == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the image");
    }
    return frame_create("detect", (uint8_t *)taken, size, out, err);
}

/* `*ours`: the fault is not the image's, so the next one would fail too. */
static int image_run(const struct job *job, const char *path, bool *ours, struct err *err) {
    CLEANUP(frame_destroy_at) struct frame *frame = NULL;
    *ours = false;
    int code = image_read(path, &frame, err);
    if (code != 0) {
        return code;
    }
    code = detector_run(job->detector, frame, err);
    if (code != 0) {
        *ours = code != ERR_INVALID && code != ERR_CRASHED && code != ERR_NOMEM;
        return code;
    }
    if (job->json) {
        print_json(job, path, &frame->record);
    } else {
        print_table(path, &frame->record);
    }
    if (job->draw_path != NULL) {
        code = draw(job, frame, err);
        *ours = code != 0;
    }
    return code;
}

static int images_run(const struct job *job, char **paths, size_t count) {
    int status = EXIT_OK;
    for (size_t i = 0; i < count; i++) {
        struct err err = {0};
        bool ours = false;
        if (image_run(job, paths[i], &ours, &err) == 0) {
            continue;
        }
        if (ours) {
            return commands_fail(&err);
        }
        char text[2 * ERR_TEXT_MAX];
        err_text(&err, text, sizeof(text));
        if (job->json) {
            print_line(
                json_pack("{s:o, s:o}", "image", json_name(paths[i]), "error", json_name(text)));
        }
        fprintf(stderr, "creel: %s: %s\n", paths[i], text);
        status = EXIT_FAILED;
    }
    return status;
}

static bool threshold_parse(const char *text, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out > 0 && *out < 1;
}

static void job_finish(struct job *job) {
    detector_stop(job->detector);
    model_close(job->model);
}

static int job_start(struct job *job, const char *dir, struct err *err) {
    char found[FS_PATH_MAX];
    if (dir == NULL) {
        int code = model_default_dir(found, sizeof(found), err);
        if (code != 0) {
            return code;
        }
        dir = found;
    }
    int code = model_open(dir, &job->model, err);
    if (code != 0) {
        return code;
    }
    struct detector_config config = {.floor = job->threshold > 0 ? job->threshold
                                                                 : job->model->threshold,
                                     .device = "auto",
                                     .batch = 1};
    return detector_start(&config, job->model, &job->detector, err);
}

int cmd_detect(int argc, char **argv) {
    struct options options;
    const char *dir = NULL, *threshold = NULL;
    CLEANUP(job_finish) struct job job = {0};
    const struct option_spec own[] = {
        {"model", NULL, &dir}, {"threshold", NULL, &threshold}, {"draw", NULL, &job.draw_path}};
    bool done = false;
    int status =
        options_parse(argc, argv, usage, own, ARRAY_LENGTH(own), 1, IMAGES_MAX, &options, &done);
    if (done) {
        return status;
    }
    job.json = options.json;
    if (threshold != NULL && !threshold_parse(threshold, &job.threshold)) {
        fprintf(stderr, "creel: --threshold %s: expected a number between 0 and 1\n", threshold);
        return EXIT_USAGE;
    }
    if (job.draw_path != NULL && options.operand_count != 1) {
        fprintf(stderr, "creel: --draw takes one IMAGE, found %zu\n", options.operand_count);
        return EXIT_USAGE;
    }
    struct err err = {0};
    if (job_start(&job, dir, &err) != 0) {
        return commands_fail(&err);
    }
    return images_run(&job, options.operands, options.operand_count);
}
