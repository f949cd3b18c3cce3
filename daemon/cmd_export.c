/* export: kept frames as a data set.
 *
 * Pages of ls, then get or show a frame, over the control socket or from the store itself; all is
 * written into a folder beside DIR, synced, and renamed, so that DIR is there whole or not at all.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/export.h"
#include "daemon/options.h"
#include "daemon/requests.h"
#include "inference/inference.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE            500
#define THRESHOLD       0.25 /* where the model cannot be asked */
#define FOLDERS_AT_ONCE 16

static const char export_usage[] =
    "usage: creel export coco|yolo --out DIR [--images copy|ref] [--since TIME] [--until TIME]\n"
    "                    [--tier annotated|unannotated] [--camera NAME] [--class LABEL]\n"
    "                    [--label-state STATE] [--confidence MIN] [--remote NAME] [--json]\n"
    "                    [--config FILE] [--set KEY=VALUE]...\n"
    "Writes kept frames as a data set into DIR, which must not exist and appears when it is "
    "whole.\n"
    "TIME is UTC, 2026-11-20 or 2026-11-20T08:00:00Z, or an age: 90m, 12h, 7d, 4w. Boxes are the\n"
    "model's, from MIN on (default: the model's threshold): a draft for a person to correct.\n"
    "copy: the pictures that are still in this store, in DIR. ref: DIR names where a remote has "
    "them.\n";

struct wish {
    const struct export_format *format;
    const char *out, *images, *since, *until, *tier, *camera, *label, *judged, *confidence, *remote;
    bool ref;
    double least;
    char since_text[CLOCK_RFC3339_SIZE], until_text[CLOCK_RFC3339_SIZE];
};

struct job {
    const struct wish *wish;
    const struct options *options;
    struct requests_session session;
    struct export_set set;
    char folder[FS_PATH_MAX]; /* temporary; "" while there is none */
    size_t left_out;          /* frames whose bytes are not where they are looked for */
    size_t pictures, boxes;
};

/* ---- what is wished ---- */

/* "7d" is that long ago; anything else is for ls to judge. */
static const char *time_wished(const char *text, char out[CLOCK_RFC3339_SIZE]) {
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    char *end = NULL;
    long number = text ? strtol(text, &end, 10) : 0;
    for (size_t i = 0; text && i < ARRAY_LENGTH(units); i++) {
        if (end > text && end[0] == units[i].unit && !end[1] && number >= 0 && number < 100000) {
            return clock_format_rfc3339(clock_utc_us() - number * units[i].seconds * 1000000, out);
        }
    }
    return text;
}

static int usage_error(const char *text) {
    fprintf(stderr, "creel: export: %s\n%s", text, export_usage);
    return EXIT_USAGE;
}

static int wish_check(struct wish *wish, const struct options *options) {
    wish->format = export_format_find(options->operands[0]);
    if (!wish->format) {
        return usage_error("the format is coco or yolo");
    }
    if (!wish->out || !*wish->out) {
        return usage_error("--out DIR is needed");
    }
    wish->ref = wish->images && strcmp(wish->images, "ref") == 0;
    if (wish->images && !wish->ref && strcmp(wish->images, "copy") != 0) {
        return usage_error("--images takes copy or ref");
    }
    wish->least = -1;
    if (wish->confidence) {
        char *end;
        wish->least = strtod(wish->confidence, &end);
        if (end == wish->confidence || *end || !(wish->least >= 0 && wish->least <= 1)) {
            return usage_error("--confidence takes a number from 0 to 1");
        }
    }
    wish->since = time_wished(wish->since, wish->since_text);
    wish->until = time_wished(wish->until, wish->until_text);
    return EXIT_OK;
}

/* ---- frames ---- */

static int boxes_take(struct export_image *image, const json_t *frame, double least,
                      struct err *err) {
    const json_t *found = json_object_get(frame, "detections"), *one;
    size_t i;
    image->boxes = mem_array(json_array_size(found) + 1, sizeof(image->boxes[0]));
    if (!image->boxes) {
        return err_set(err, ERR_NOMEM, "no memory for the boxes of a frame");
    }
    json_array_foreach(found, i, one) {
        const json_t *at = json_object_get(one, "box");
        struct export_box box = {.at = {json_number_value(json_object_get(at, "x")),
                                        json_number_value(json_object_get(at, "y")),
                                        json_number_value(json_object_get(at, "w")),
                                        json_number_value(json_object_get(at, "h"))},
                                 .confidence =
                                     json_number_value(json_object_get(one, "confidence"))};
        snprintf(box.label, sizeof(box.label), "%s", document_text(one, "class"));
        bool tag = json_is_true(json_object_get(one, "tag")); /* has no box to learn from */
        if (!tag && box.confidence >= least && export_clip(&box.at)) {
            image->boxes[image->box_count++] = box;
        }
    }
    return 0;
}

static int frame_take(struct job *job, const json_t *frame, struct err *err) {
    struct export_image *image = export_add(&job->set);
    if (!image) {
        return err_set(err, ERR_FULL, "there are too many frames for one data set; narrow --since");
    }
    snprintf(image->id, sizeof(image->id), "%s", document_text(frame, "id"));
    snprintf(image->captured, sizeof(image->captured), "%s", document_text(frame, "captured"));
    snprintf(image->sha, sizeof(image->sha), "%s", document_text(frame, "sha256"));
    image->width = json_integer_value(json_object_get(frame, "width"));
    image->height = json_integer_value(json_object_get(frame, "height"));
    image->extension = strcmp(document_text(frame, "media"), "image/png") == 0 ? ".png" : ".jpg";
    return boxes_take(image, frame, job->wish->least, err);
}

static int page_take(struct job *job, const json_t *reply, struct err *err) {
    size_t i;
    const json_t *frame;
    json_array_foreach(json_object_get(reply, "frames"), i, frame) {
        if (!job->wish->ref && strcmp(document_text(frame, "place"), "local") != 0) {
            job->left_out++;
            continue;
        }
        int code = frame_take(job, frame, err);
        if (code) {
            return code;
        }
    }
    return 0;
}

static int frames_gather(struct job *job, struct err *err) {
    const struct wish *wish = job->wish;
    char after[64] = "";
    for (;;) {
        json_t *reply = NULL;
        struct control_bytes bytes = {0};
        json_t *request = json_pack(
            "{s:s,s:i,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*}", "request", "ls", "limit", PAGE, "tier",
            wish->tier, "camera", wish->camera, "class", wish->label, "since", wish->since, "until",
            wish->until, "label-state", wish->judged, "after", *after ? after : NULL);
        int code = requests_session_ask(&job->session, request, &reply, &bytes, err);
        code = code ? code : page_take(job, reply, err);
        bool more = json_is_true(json_object_get(reply, "more"));
        snprintf(after, sizeof(after), "%s", document_text(reply, "next"));
        json_decref(reply);
        free(bytes.data);
        if (code || !more) {
            return code;
        }
    }
}

/* ---- where a remote has a picture ---- */

static const struct sync_remote_config *remote_named(const struct config_values *values,
                                                     const char *name) {
    for (size_t i = 0; i < values->sync.remote_count; i++) {
        if (strcmp(values->sync.remotes[i].name, name) == 0) {
            return &values->sync.remotes[i];
        }
    }
    return NULL;
}

static void url_put(struct buf *out, const char *base, const char *folder, const char *prefix,
                    const char *key) {
    size_t length = strlen(base);
    while (length && base[length - 1] == '/') {
        length--;
    }
    buf_append(out, base, length);
    const char *const parts[] = {folder, prefix, key};
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        size_t size = parts[i] ? strlen(parts[i]) : 0;
        while (size && parts[i][size - 1] == '/') {
            size--;
        }
        if (size) {
            buf_puts(out, "/");
            buf_append(out, parts[i], size);
        }
    }
}

/* The tier is in the key: "frames/tier=annotated/…" */
static const char *container_of(const struct sync_remote_config *remote, const char *key) {
    bool annotated = strncmp(key, "frames/tier=annotated/", 22) == 0;
    const char *given = remote->containers[annotated ? TIER_ANNOTATED : TIER_UNANNOTATED];
    return given ? given : annotated ? "annotated" : "unannotated";
}

static char *ref_make(const struct sync_remote_config *remote, const char *key) {
    struct buf out = BUF_INIT(FS_PATH_MAX);
    switch (remote->kind) {
    case SYNC_DIRECTORY:
        url_put(&out, remote->path, NULL, remote->prefix, key);
        break;
    case SYNC_S3:
        url_put(&out, "s3:/", remote->bucket, remote->prefix, key);
        break;
    case SYNC_AZURE:
        url_put(&out, remote->url ? remote->url : "azure:/", container_of(remote, key),
                remote->prefix, key);
        break;
    }
    size_t size;
    char *text = buf_take(&out, &size);
    buf_finish(&out);
    return text;
}

/* NULL in *out: no remote that was asked for has it. */
static int ref_find(struct job *job, const struct export_image *image, char **out,
                    struct err *err) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    int code = requests_session_ask(&job->session,
                                    json_pack("{s:s,s:s}", "request", "show", "frame", image->id),
                                    &reply, &bytes, err);
    size_t i;
    const json_t *replica;
    *out = NULL;
    json_array_foreach(json_object_get(reply, "replicas"), i, replica) {
        const char *name = document_text(replica, "remote");
        const struct sync_remote_config *remote = remote_named(job->session.rooms.values, name);
        bool asked = !job->wish->remote || strcmp(job->wish->remote, name) == 0;
        if (!code && !*out && asked && remote) {
            *out = ref_make(remote, document_text(replica, "key"));
            code = *out ? 0 : err_set(err, ERR_NOMEM, "no memory for the place of a picture");
        }
    }
    json_decref(reply);
    free(bytes.data);
    return code;
}

/* ---- the folder ---- */

static int copy_picture(struct job *job, const struct export_image *image, bool *there,
                        struct err *err) {
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    char name[160];
    int code = requests_session_ask(&job->session,
                                    json_pack("{s:s,s:s}", "request", "get", "frame", image->id),
                                    &reply, &bytes, err);
    *there = !code;
    snprintf(name, sizeof(name), "%s/%s%s", job->wish->format->image_dir, image->sha,
             image->extension);
    code = code == ERR_NOT_FOUND ? 0 /* removed since it was listed */
           : code                ? code
                                 : export_write(job->folder, name, bytes.data, bytes.size, err);
    json_decref(reply);
    free(bytes.data);
    return code;
}

/* Brings each picture, or its place; those that have none leave the set. */
static int pictures_bring(struct job *job, struct err *err) {
    struct export_set *set = &job->set;
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        struct export_image *image = &set->images[i];
        bool there = true;
        int code = job->wish->ref ? ref_find(job, image, &image->ref, err)
                                  : copy_picture(job, image, &there, err);
        if (code) { /* those between were moved: nothing is freed twice */
            memmove(&set->images[kept], image, (set->count - i) * sizeof(*image));
            set->count -= i - kept;
            return code;
        }
        if (!there || (job->wish->ref && !image->ref)) {
            free(image->boxes);
            job->left_out++;
            continue;
        }
        job->boxes += image->box_count;
        set->images[kept++] = *image;
    }
    set->count = job->pictures = kept;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *at) {
    (void)info;
    (void)flag;
    (void)at;
    return remove(path);
}

static void folder_remove(struct job *job) {
    if (job->folder[0]) {
        nftw(job->folder, remove_one, FOLDERS_AT_ONCE, FTW_DEPTH | FTW_PHYS);
    }
}

/* A folder beside DIR, on the same file system. */
static int folder_make(struct job *job, struct err *err) {
    char folder[FS_PATH_MAX], images[FS_PATH_MAX];
    size_t length = strlen(job->wish->out);
    while (length > 1 && job->wish->out[length - 1] == '/') {
        length--;
    }
    if (access(job->wish->out, F_OK) == 0) {
        return err_set(err, ERR_REFUSED, "%s is there already; name a new folder", job->wish->out);
    }
    int size = snprintf(folder, sizeof(folder), "%.*s.creel-%ld", (int)length, job->wish->out,
                        (long)getpid());
    if (size < 0 || (size_t)size >= sizeof(folder)) {
        return err_set(err, ERR_INVALID, "--out: the path is too long");
    }
    if (mkdir(folder, 0755) < 0) {
        return err_sys(err, errno, "cannot make the folder %s", folder);
    }
    memcpy(job->folder, folder, sizeof(folder));
    int code = fs_join(images, sizeof(images), folder, job->wish->format->image_dir, err);
    return !code && mkdir(images, 0755) < 0
               ? err_sys(err, errno, "cannot make the folder %s", images)
               : code;
}

static int folder_publish(struct job *job, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    char parent[FS_PATH_MAX];
    snprintf(parent, sizeof(parent), "%s", job->folder);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
    } else {
        memcpy(parent, slash ? "/" : ".", 2);
    }
    int code = fs_open(job->folder, O_RDONLY | O_DIRECTORY, 0, &fd, err);
    if (!code && syncfs(fd) < 0) { /* thousands of files, one wait */
        code = err_sys(err, errno, "cannot sync %s", job->folder);
    }
    code = code ? code : fs_rename(job->folder, job->wish->out, err);
    if (!code) {
        job->folder[0] = '\0';
        code = fs_sync_dir(parent, err);
    }
    return code;
}

/* ---- the command ---- */

static int export_all(struct job *job, const struct model *model, struct err *err) {
    int code = frames_gather(job, err);
    if (!code && job->set.count == 0) {
        code = err_set(err, ERR_NOT_FOUND, "no frame is like that%s",
                       job->left_out ? ", or its bytes are no longer here; try --images ref" : "");
    }
    code = code ? code
                : export_settle(&job->set,
                                model ? (const char(*)[FRAME_LABEL_MAX + 1]) model->labels : NULL,
                                model ? model->class_count : 0, err);
    code = code ? code : folder_make(job, err);
    code = code ? code : pictures_bring(job, err);
    if (!code && job->pictures == 0) {
        code =
            err_set(err, ERR_NOT_FOUND, "no remote%s%s has one of these frames",
                    job->wish->remote ? " named " : "", job->wish->remote ? job->wish->remote : "");
    }
    code = code ? code : export_write_files(job->wish->format, &job->set, job->folder, err);
    return code ? code : folder_publish(job, err);
}

static int tell(const struct job *job) {
    if (job->options->json) {
        printf("{\"pictures\":%zu,\"boxes\":%zu,\"classes\":%zu,\"left_out\":%zu}\n", job->pictures,
               job->boxes, job->set.class_count, job->left_out);
    } else {
        printf("%s: %zu pictures, %zu boxes, %zu classes\n", job->wish->out, job->pictures,
               job->boxes, job->set.class_count);
        if (job->left_out) {
            printf("left out %zu frames that %s\n", job->left_out,
                   job->wish->ref ? "no remote has" : "are no longer here (--images ref has them)");
        }
    }
    return commands_output_end();
}

static int run_export(struct wish *wish, const struct options *options,
                      const struct config_values *values) {
    struct job job = {.wish = wish, .options = options, .session.rooms.values = values};
    struct err err = {0};
    struct model *model = NULL;
    if (wish->remote && !remote_named(values, wish->remote)) {
        err_set(&err, ERR_INVALID, "--remote: no remote has the name \"%.40s\"", wish->remote);
        commands_fail(&err);
        return EXIT_USAGE;
    }
    if (model_open(values->model_dir, &model, &err)) { /* then the frames' own labels must do */
        model = NULL;
    }
    wish->least = wish->least >= 0 ? wish->least : model ? model->threshold : THRESHOLD;
    int code = export_all(&job, model, &err);
    folder_remove(&job);
    int status = code == ERR_INVALID ? (commands_fail(&err), EXIT_USAGE)
                 : code              ? commands_fail(&err)
                                     : tell(&job);
    requests_session_close(&job.session);
    export_finish(&job.set);
    model_close(model);
    return status;
}

int cmd_export(int argc, char **argv) {
    struct wish wish = {0};
    const struct option_spec own[] = {
        {"out", NULL, &wish.out},       {"images", NULL, &wish.images},
        {"since", NULL, &wish.since},   {"until", NULL, &wish.until},
        {"tier", NULL, &wish.tier},     {"camera", NULL, &wish.camera},
        {"class", NULL, &wish.label},   {"label-state", NULL, &wish.judged},
        {"remote", NULL, &wish.remote}, {"confidence", NULL, &wish.confidence}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, export_usage, own, ARRAY_LENGTH(own), 1, 1, &options, &done);
    status = done ? status : wish_check(&wish, &options);
    if (done || status) {
        return status;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&options, false, &config, &err)) {
        return commands_fail(&err);
    }
    status = run_export(&wish, &options, config_values(config));
    config_destroy(config);
    return status;
}
