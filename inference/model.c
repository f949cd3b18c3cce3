/* A model directory, read and checked.
 *
 * Goal: whatever is wrong with a model is told here, by name and line, and never by a crash of
 * Darknet later. Order: model.yaml (keys), names (labels), cfg (validator), weights (exact size,
 * finite numbers), and each file's SHA-256 against model.yaml. The files are read once, in pieces;
 * the same reading hashes and judges them. Paths: file names in model.yaml are names in its
 * directory and nothing else, so that a model cannot reach out of it. */
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/cfg.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include "inference/model_yaml.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PART = 1 << 20, /* bytes of the weights read at a time */
    NAMES_FILE_MAX = 1 << 20,
    DIMENSION_HEADER = 12, /* three ints: major, minor, revision */
};

struct spec { /* model.yaml */
    char name[MODEL_YAML_TEXT_SIZE], version[MODEL_YAML_TEXT_SIZE];
    char cfg[MODEL_YAML_TEXT_SIZE], weights[MODEL_YAML_TEXT_SIZE], names[MODEL_YAML_TEXT_SIZE];
    struct frame_hash cfg_hash, weights_hash, names_hash;
    enum model_resize resize;
    enum model_nms nms_kind;
    double threshold, nms;
};

/* ---- model.yaml ---- */

static int set_file(const char *text, void *out) {
    if (text[0] == '\0' || text[0] == '.' || strchr(text, '/') != NULL) {
        return -1;
    }
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int set_name(const char *text, void *out) {
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20) {
            return -1;
        }
    }
    if (length == 0 || length > FRAME_MODEL_NAME_MAX) {
        return -1;
    }
    memcpy(out, text, length + 1);
    return 0;
}

static int set_hash(const char *text, void *out) {
    struct frame_hash *hash = out;
    return hash_parse_hex(text, hash->bytes, sizeof(hash->bytes)) ? 0 : -1;
}

static int set_resize(const char *text, void *out) {
    enum model_resize *resize = out;
    *resize = strcmp(text, "stretch") == 0 ? MODEL_STRETCH : MODEL_LETTERBOX;
    return strcmp(text, "stretch") == 0 || strcmp(text, "letterbox") == 0 ? 0 : -1;
}

static int set_nms_kind(const char *text, void *out) {
    static const char *const kinds[] = {"greedy", "agnostic", "diou"}; /* enum model_nms */
    enum model_nms *kind = out;
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (strcmp(text, kinds[i]) == 0) {
            *kind = (enum model_nms)i;
            return 0;
        }
    }
    return -1;
}

static int set_fraction(const char *text, void *out) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0 && value < 1)) {
        return -1;
    }
    memcpy(out, &value, sizeof(value));
    return 0;
}

static const struct {
    const char *key;
    int (*set)(const char *text, void *out);
    size_t at; /* in struct spec */
    bool needed;
    const char *expected;
} keys[] = {
    {"name", set_name, offsetof(struct spec, name), true, "1 to 63 characters"},
    {"version", set_name, offsetof(struct spec, version), true, "1 to 63 characters"},
    {"cfg", set_file, offsetof(struct spec, cfg), true, "the name of a file in this directory"},
    {"weights", set_file, offsetof(struct spec, weights), true,
     "the name of a file in this directory"},
    {"names", set_file, offsetof(struct spec, names), true, "the name of a file in this directory"},
    {"sha256.cfg", set_hash, offsetof(struct spec, cfg_hash), true,
     "64 hex digits, as sha256sum prints"},
    {"sha256.weights", set_hash, offsetof(struct spec, weights_hash), true,
     "64 hex digits, as sha256sum prints"},
    {"sha256.names", set_hash, offsetof(struct spec, names_hash), true,
     "64 hex digits, as sha256sum prints"},
    {"resize", set_resize, offsetof(struct spec, resize), false, "letterbox or stretch"},
    {"threshold", set_fraction, offsetof(struct spec, threshold), false,
     "a number between 0 and 1"},
    {"nms", set_fraction, offsetof(struct spec, nms), false, "a number between 0 and 1"},
    {"nms_kind", set_nms_kind, offsetof(struct spec, nms_kind), false, "greedy, agnostic or diou"},
};

static int spec_set(struct spec *spec, const struct model_yaml_entry *entry, const char *path,
                    unsigned *seen, struct err *err) {
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        if (strcmp(entry->key, keys[i].key) != 0) {
            continue;
        }
        *seen |= 1u << i;
        if (keys[i].set(entry->text, (char *)spec + keys[i].at) != 0) {
            return err_set(err, ERR_INVALID, "%s:%d: %s: found \"%.80s\", expected %s", path,
                           entry->line, entry->key, entry->text, keys[i].expected);
        }
        return 0;
    }
    return err_set(
        err, ERR_INVALID,
        "%s:%d: unknown key \"%s\"; known are name, version, cfg, weights, names, sha256 {cfg, "
        "weights, names}, resize, threshold, nms, nms_kind",
        path, entry->line, entry->key);
}

static int read_text(const char *path, size_t max, struct buf *out, struct err *err) {
    out->max = max;
    int code = fs_read_file(path, out, err);
    if (code == ERR_FULL) {
        return err_set(err, ERR_INVALID, "%s is larger than %zu bytes", path, max);
    }
    return code;
}

static int spec_read(const char *path, struct spec *spec, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(0);
    CLEANUP(mem_free_at) struct model_yaml *yaml = mem_alloc(sizeof(*yaml));
    if (yaml == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", path);
    }
    *spec = (struct spec){.threshold = 0.25, .nms = 0.45};
    int code = read_text(path, MODEL_YAML_FILE_MAX, &text, err);
    if (code == 0) {
        code = model_yaml_parse(text.len > 0 ? text.data : "", text.len, path, yaml, err);
    }
    unsigned seen = 0;
    for (size_t i = 0; code == 0 && i < yaml->count; i++) {
        code = spec_set(spec, &yaml->entries[i], path, &seen, err);
    }
    for (size_t i = 0; code == 0 && i < ARRAY_LENGTH(keys); i++) {
        if (keys[i].needed && (seen & 1u << i) == 0) {
            code = err_set(err, ERR_INVALID, "%s: the key %s is missing; expected %s", path,
                           keys[i].key, keys[i].expected);
        }
    }
    return code;
}

static int check_hash(const char *path, const struct frame_hash *found,
                      const struct frame_hash *expected, struct err *err) {
    if (memcmp(found, expected, sizeof(*found)) == 0) {
        return 0;
    }
    char found_hex[HASH_HEX_SIZE], expected_hex[HASH_HEX_SIZE];
    return err_set(err, ERR_INVALID,
                   "%s is not the file that model.yaml names: its SHA-256 is %s, expected %s", path,
                   hash_hex(found->bytes, sizeof(found->bytes), found_hex),
                   hash_hex(expected->bytes, sizeof(expected->bytes), expected_hex));
}

/* ---- names ---- */

static int label_add(struct model *model, const char *line, size_t length, size_t number,
                     struct err *err) {
    const char *path = model->names_path;
    if (length == 0 || length > FRAME_LABEL_MAX) {
        return err_set(err, ERR_INVALID, "%s:%zu: a label of %zu bytes; expected 1 to %d", path,
                       number, length, FRAME_LABEL_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20) {
            return err_set(err, ERR_INVALID, "%s:%zu: a label with the byte 0x%02x; expected text",
                           path, number, (unsigned char)line[i]);
        }
    }
    if (model->class_count == MODEL_CLASSES_MAX) {
        return err_set(err, ERR_INVALID, "%s:%zu: more than %d labels", path, number,
                       MODEL_CLASSES_MAX);
    }
    char(*labels)[FRAME_LABEL_MAX + 1] =
        mem_resize(model->labels, model->class_count + 1, sizeof(*labels));
    if (labels == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the labels of %s", path);
    }
    model->labels = labels;
    char *label = model->labels[model->class_count++];
    memset(label, 0, FRAME_LABEL_MAX + 1);
    memcpy(label, line, length);
    return 0;
}

/* One label a line; white space at the end of a line and empty lines at the end of the file do not
 * count. */
static int names_read(struct model *model, const struct spec *spec, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(0);
    int code = read_text(model->names_path, NAMES_FILE_MAX, &text, err);
    if (code != 0) {
        return code;
    }
    struct frame_hash hash;
    hash_sha256(text.data != NULL ? text.data : "", text.len, &hash);
    code = check_hash(model->names_path, &hash, &spec->names_hash, err);
    size_t size = text.len;
    while (size > 0 && strchr(" \t\r\n", text.data[size - 1]) != NULL) {
        size--;
    }
    size_t number = 1;
    for (size_t at = 0; code == 0 && at < size; number++) {
        const char *line = text.data + at;
        const char *end = memchr(line, '\n', size - at);
        size_t length = end != NULL ? (size_t)(end - line) : size - at;
        at += length + 1;
        while (length > 0 && strchr(" \t\r", line[length - 1]) != NULL) {
            length--;
        }
        code = label_add(model, line, length, number, err);
    }
    return code;
}

/* ---- cfg ---- */

static void cfg_destroy_at(struct cfg **cfg) {
    cfg_destroy(*cfg);
}

/* `clean` may be NULL. */
static int cfg_read(const char *path, struct frame_hash *hash, struct cfg_plan *plan,
                    struct buf *clean, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(0);
    CLEANUP(cfg_destroy_at) struct cfg *cfg = NULL;
    int code = read_text(path, CFG_FILE_MAX, &text, err);
    if (code != 0) {
        return code;
    }
    hash_sha256(text.data != NULL ? text.data : "", text.len, hash);
    code = cfg_parse(text.data != NULL ? text.data : "", text.len, path, &cfg, err);
    if (code == 0) {
        code = cfg_check(cfg, plan, err);
    }
    if (code == 0 && clean != NULL) {
        cfg_write(cfg, clean);
        code = clean->failed ? err_set(err, ERR_NOMEM, "no memory for a copy of %s", path) : 0;
    }
    return code;
}

/* ---- weights ---- */

/* The file's header says how long it is itself: the number of images seen takes 8 bytes from
 * version 0.2 on. */
static int weights_size_check(int fd, const char *path, const struct cfg_plan *plan, uint64_t size,
                              size_t *header, struct err *err) {
    int32_t version[3] = {0};
    if (size < DIMENSION_HEADER) {
        return err_set(err, ERR_INVALID, "%s has %llu bytes; expected a Darknet weights file", path,
                       (unsigned long long)size);
    }
    int code = fs_pread_all(fd, version, sizeof(version), 0, path, err);
    if (code != 0) {
        return code;
    }
    bool small = version[0] >= 0 && version[1] >= 0 && version[0] < 1000 && version[1] < 1000;
    *header = DIMENSION_HEADER + (small && version[0] * 10 + version[1] >= 2 ? 8 : 4);
    uint64_t expected = *header + plan->weights * sizeof(float);
    if (size != expected) {
        return err_set(
            err, ERR_INVALID,
            "%s has %llu bytes, and this cfg needs %llu (%llu numbers): it is %s, or belongs to "
            "another cfg",
            path, (unsigned long long)size, (unsigned long long)expected,
            (unsigned long long)plan->weights, size < expected ? "cut off" : "too long");
    }
    return 0;
}

/* Hashes the whole file and looks at every number. */
static int weights_scan(int fd, const char *path, uint64_t size, size_t header,
                        struct frame_hash *hash, struct err *err) {
    CLEANUP(mem_free_at) float *part = mem_alloc(PART);
    struct hash_stream *stream = hash_stream_create();
    int code =
        part != NULL && stream != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory to read %s", path);
    for (uint64_t at = 0; code == 0 && at < size; at += PART) {
        size_t count = size - at < PART ? (size_t)(size - at) : PART;
        code = fs_pread_all(fd, part, count, at, path, err);
        if (code != 0) {
            break;
        }
        hash_stream_add(stream, part, count);
        for (size_t i = at == 0 ? header / sizeof(float) : 0; i < count / sizeof(float); i++) {
            if (!isfinite(part[i])) {
                code = err_set(
                    err, ERR_INVALID,
                    "%s holds what is no number at byte %llu: it is damaged, or no weights file",
                    path, (unsigned long long)(at + i * sizeof(float)));
                break;
            }
        }
    }
    hash_stream_finish(stream, hash);
    return code;
}

static int weights_read(const char *path, const struct cfg_plan *plan, struct frame_hash *hash,
                        int *out, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    struct stat stat;
    int code = fs_open(path, O_RDONLY, 0, &fd, err);
    if (code != 0) {
        return code;
    }
    if (fstat(fd, &stat) != 0) {
        return err_sys(err, errno, "looking at %s", path);
    }
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size > MODEL_FILE_MAX) {
        return err_set(err, ERR_INVALID, "%s is not a regular file of at most %u MB", path,
                       MODEL_FILE_MAX >> 20);
    }
    size_t header = 0;
    code = weights_size_check(fd, path, plan, (uint64_t)stat.st_size, &header, err);
    if (code == 0) {
        code = weights_scan(fd, path, (uint64_t)stat.st_size, header, hash, err);
    }
    if (code == 0 && out != NULL) {
        *out = TAKE_FD(fd);
    }
    return code;
}

/* ---- the directory ---- */

void model_close(struct model *model) {
    if (model == NULL) {
        return;
    }
    free(model->cfg_path);
    free(model->weights_path);
    free(model->names_path);
    free(model->labels);
    free(model);
}

static void model_close_at(struct model **model) {
    model_close(*model);
}

static int path_make(const char *dir, const char *name, char **out, struct err *err) {
    char path[FS_PATH_MAX];
    int code = fs_join(path, sizeof(path), dir, name, err);
    if (code != 0) {
        return code;
    }
    *out = mem_strdup(path);
    return *out != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a path");
}

/* The model's own hash: over the three files' hashes. */
static void hash_all(const struct frame_hash *cfg, const struct frame_hash *weights,
                     const struct frame_hash *names, struct frame_hash *out) {
    struct frame_hash all[3] = {*cfg, *weights, *names};
    hash_sha256(all, sizeof(all), out);
}

static int contents_read(struct model *model, const struct spec *spec, struct err *err) {
    CLEANUP(mem_free_at) struct cfg_plan *plan = mem_alloc(sizeof(*plan));
    struct frame_hash hash;
    if (plan == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", model->cfg_path);
    }
    int code = names_read(model, spec, err);
    if (code == 0) {
        code = cfg_read(model->cfg_path, &hash, plan, NULL, err);
    }
    if (code == 0) {
        code = check_hash(model->cfg_path, &hash, &spec->cfg_hash, err);
    }
    if (code == 0 && plan->class_count != model->class_count) {
        code = err_set(err, ERR_INVALID, "%s has %zu labels; the last layers of %s have %u classes",
                       model->names_path, model->class_count, model->cfg_path, plan->class_count);
    }
    if (code == 0) {
        code = weights_read(model->weights_path, plan, &hash, NULL, err);
    }
    if (code == 0) {
        code = check_hash(model->weights_path, &hash, &spec->weights_hash, err);
    }
    const char *why = NULL;
    if (code == 0 && !backend_can(&plan->refusals, &why)) {
        code = err_set(err, ERR_INVALID, "%s", why);
    }
    model->input_width = plan->input_width;
    model->input_height = plan->input_height;
    model->refusals = plan->refusals;
    model->tags = plan->heads[0].kind == BOXES_TAGS;
    hash_all(&spec->cfg_hash, &spec->weights_hash, &spec->names_hash, &model->hash);
    return code;
}

int model_open(const char *dir, struct model **out, struct err *err) {
    CLEANUP(model_close_at) struct model *model = mem_alloc(sizeof(*model));
    CLEANUP(mem_free_at) char *real = realpath(dir, NULL);
    CLEANUP(mem_free_at) struct spec *spec = mem_alloc(sizeof(*spec));
    CLEANUP(mem_free_at) char *path = NULL;
    if (real == NULL) {
        return err_sys(err, errno, "the model directory %s", dir);
    }
    if (model == NULL || spec == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the model %s", dir);
    }
    int code = path_make(real, "model.yaml", &path, err);
    code = code == 0 ? spec_read(path, spec, err) : code;
    code = code == 0 ? path_make(real, spec->cfg, &model->cfg_path, err) : code;
    code = code == 0 ? path_make(real, spec->weights, &model->weights_path, err) : code;
    code = code == 0 ? path_make(real, spec->names, &model->names_path, err) : code;
    code = code == 0 ? contents_read(model, spec, err) : code;
    if (code != 0) {
        return code;
    }
    snprintf(model->name, sizeof(model->name), "%s", spec->name);
    snprintf(model->version, sizeof(model->version), "%s", spec->version);
    model->resize = spec->resize;
    model->threshold = spec->threshold;
    model->nms = spec->nms;
    model->nms_kind = spec->nms_kind;
    *out = TAKE_PTR(model);
    return 0;
}

/* ---- the model that comes with creel ---- */

#if !defined(CREEL_SHARE_DIR)
#define CREEL_SHARE_DIR "/usr/share/creel"
#endif
#if !defined(CREEL_DEMO_MODEL_DIR)
#define CREEL_DEMO_MODEL_DIR CREEL_SHARE_DIR "/models/demo"
#endif

static bool has_model(const char *dir) {
    char path[FS_PATH_MAX];
    return fs_join(path, sizeof(path), dir, "model.yaml", NULL) == 0 && access(path, R_OK) == 0;
}

int model_default_dir(char *out, size_t size, struct err *err) {
    char self[FS_PATH_MAX], beside[FS_PATH_MAX + 64] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length > 0) {
        self[length] = '\0';
        char *slash = strrchr(self, '/');
        *(slash != NULL ? slash : self) = '\0';
        snprintf(beside, sizeof(beside), "%s/../share/creel/models/demo", self);
    }
    const char *places[] = {beside, CREEL_SHARE_DIR "/models/demo", CREEL_DEMO_MODEL_DIR};
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        if (has_model(places[i]) && strlen(places[i]) < size) {
            memcpy(out, places[i], strlen(places[i]) + 1);
            return 0;
        }
    }
    return err_set(
        err, ERR_NOT_FOUND,
        "creel's own model is neither in %s nor in %s; name one with --model or model.dir", beside,
        CREEL_SHARE_DIR "/models/demo");
}

/* ---- for the worker ---- */

/* A sealed memfd with these bytes. */
static int memfd_make(const struct buf *bytes, int *out, struct err *err) {
    CLEANUP(fd_close_at) int fd = memfd_create("creel-cfg", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return err_sys(err, errno, "making shared memory for the cfg");
    }
    int code = fs_pwrite_all(fd, bytes->data, bytes->len, 0, "the copy of the cfg", err);
    if (code == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        code = err_sys(err, errno, "sealing the copy of the cfg");
    }
    if (code == 0) {
        *out = TAKE_FD(fd);
    }
    return code;
}

void model_files_close(struct model_files *files) {
    fd_close_at(&files->cfg_fd);
    fd_close_at(&files->weights_fd);
    files->cfg_fd = files->weights_fd = -1;
}

int model_files_open(const struct model *model, struct model_files *out, struct err *err) {
    CLEANUP(mem_free_at) struct cfg_plan *plan = mem_alloc(sizeof(*plan));
    CLEANUP(buf_finish) struct buf clean = BUF_INIT(2 * CFG_FILE_MAX);
    CLEANUP(buf_finish) struct buf names = BUF_INIT(0);
    CLEANUP(model_files_close) struct model_files files = {.cfg_fd = -1, .weights_fd = -1};
    struct frame_hash cfg_hash, weights_hash, names_hash, all;
    if (plan == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", model->cfg_path);
    }
    int code = cfg_read(model->cfg_path, &cfg_hash, plan, &clean, err);
    if (code == 0) {
        code = weights_read(model->weights_path, plan, &weights_hash, &files.weights_fd, err);
    }
    if (code == 0) {
        code = read_text(model->names_path, NAMES_FILE_MAX, &names, err);
    }
    if (code == 0) {
        hash_sha256(names.data != NULL ? names.data : "", names.len, &names_hash);
        hash_all(&cfg_hash, &weights_hash, &names_hash, &all);
        code = check_hash(model->weights_path, &all, &model->hash, err);
        if (code != 0) {
            code = err_set(err, ERR_INVALID,
                           "the files of the model %s changed since they were checked; "
                           "start again",
                           model->name);
        }
    }
    if (code == 0) {
        code = memfd_make(&clean, &files.cfg_fd, err);
    }
    if (code == 0) {
        code = model_files_mark(&files, &weights_hash, model->weights_path, err);
    }
    if (code != 0) {
        return code;
    }
    out->weights_hash = files.weights_hash;
    out->times = files.times;
    out->cfg_fd = TAKE_FD(files.cfg_fd);
    out->weights_fd = TAKE_FD(files.weights_fd);
    out->head_count = plan->head_count;
    out->layer_count = (uint32_t)plan->layer_count;
    memcpy(out->heads, plan->heads, sizeof(out->heads));
    out->memory_bytes = plan->memory_bytes;
    return 0;
}
