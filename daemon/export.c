/* export: see export.h.
 *
 * COCO (cocodataset.org, "Data format", object detection): annotations.json; boxes in pixels,
 * top-left corner and size. The confidence is in `score`, as in COCO's results format.
 * YOLO 1.1 (Darknet): obj.data, obj.names, train.txt and a text file a picture with
 * `class cx cy w h`, relative, centre and size; an empty file is a picture without objects.
 */
#include "daemon/export.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the set ---- */

void export_finish(struct export_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        free(set->images[i].ref);
        free(set->images[i].boxes);
    }
    free(set->images);
    free(set->classes);
    *set = (struct export_set){0};
}

struct export_image *export_add(struct export_set *set) {
    if (set->count == set->room) {
        size_t room = set->room ? 2 * set->room : 256;
        struct export_image *more =
            room > 2 * EXPORT_IMAGES_MAX ? NULL : mem_resize(set->images, room, sizeof(*more));
        if (!more) {
            return NULL;
        }
        set->images = more;
        set->room = room;
    }
    struct export_image *image = &set->images[set->count++];
    *image = (struct export_image){.extension = ".jpg"};
    return image;
}

bool export_clip(struct frame_box *box) {
    double left = fmin(fmax(box->x, 0), 1), right = fmin(fmax(box->x + box->w, 0), 1);
    double top = fmin(fmax(box->y, 0), 1), bottom = fmin(fmax(box->y + box->h, 0), 1);
    *box = (struct frame_box){left, top, right - left, bottom - top};
    return box->w > 0 && box->h > 0;
}

static int by_time(const void *a, const void *b) {
    const struct export_image *one = a, *other = b;
    int order = strcmp(one->captured, other->captured);
    return order ? order : strcmp(one->id, other->id);
}

static int by_bytes(const void *a, const void *b) {
    const struct export_image *one = a, *other = b;
    int order = strcmp(one->sha, other->sha);
    return order ? order : by_time(a, b);
}

/* Of frames with equal bytes the first one stays. */
static void images_unite(struct export_set *set) {
    size_t kept = 0;
    qsort(set->images, set->count, sizeof(set->images[0]), by_bytes);
    for (size_t i = 0; i < set->count; i++) {
        struct export_image *image = &set->images[i];
        if (kept && strcmp(set->images[kept - 1].sha, image->sha) == 0) {
            free(image->ref);
            free(image->boxes);
            continue;
        }
        set->images[kept++] = *image;
    }
    set->count = kept;
    qsort(set->images, set->count, sizeof(set->images[0]), by_time);
}

static int by_label(const void *a, const void *b) {
    return strcmp(a, b);
}

static size_t class_find(const struct export_set *set, const char *label) {
    size_t i = 0;
    while (i < set->class_count && strcmp(set->classes[i], label) != 0) {
        i++;
    }
    return i;
}

/* Labels of other models follow those of this one, by name, so that a number means the same in each
 * export. */
static int classes_add(struct export_set *set, const char *label, struct err *err) {
    if (class_find(set, label) < set->class_count) {
        return 0;
    }
    if (set->class_count == EXPORT_CLASSES_MAX) {
        return err_set(err, ERR_FULL, "the frames have more than %d classes", EXPORT_CLASSES_MAX);
    }
    memcpy(set->classes[set->class_count++], label, strlen(label) + 1);
    return 0;
}

static int classes_settle(struct export_set *set, const char (*names)[FRAME_LABEL_MAX + 1],
                          size_t name_count, struct err *err) {
    int code = 0;
    set->classes = mem_array(EXPORT_CLASSES_MAX, sizeof(set->classes[0]));
    if (!set->classes) {
        return err_set(err, ERR_NOMEM, "no memory for the classes");
    }
    for (size_t i = 0; !code && i < name_count;
         i++) { /* also one that occurs twice: numbers stay */
        if (i == EXPORT_CLASSES_MAX) {
            return err_set(err, ERR_FULL, "the model has more than %d classes", EXPORT_CLASSES_MAX);
        }
        memcpy(set->classes[set->class_count++], names[i], sizeof(names[i]));
    }
    for (size_t i = 0; !code && i < set->count; i++) {
        for (size_t k = 0; !code && k < set->images[i].box_count; k++) {
            code = classes_add(set, set->images[i].boxes[k].label, err);
        }
    }
    size_t others = set->class_count - name_count;
    qsort(set->classes + name_count, code ? 0 : others, sizeof(set->classes[0]), by_label);
    return code;
}

int export_settle(struct export_set *set, const char (*names)[FRAME_LABEL_MAX + 1],
                  size_t name_count, struct err *err) {
    images_unite(set);
    int code = classes_settle(set, names, name_count, err);
    for (size_t i = 0; !code && i < set->count; i++) {
        for (size_t k = 0; k < set->images[i].box_count; k++) {
            struct export_box *box = &set->images[i].boxes[k];
            box->class_index = class_find(set, box->label);
        }
    }
    return code;
}

/* ---- files ---- */

int export_write(const char *dir, const char *name, const void *bytes, size_t size,
                 struct err *err) {
    char path[FS_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_join(path, sizeof(path), dir, name, err);
    code = code ? code : fs_open(path, O_WRONLY | O_CREAT | O_EXCL, 0644, &fd, err);
    code = code ? code : fs_pwrite_all(fd, bytes, size, 0, path, err);
    return code ? code : fs_close(TAKE_FD(fd), path, err);
}

int export_write_files(const struct export_format *format, const struct export_set *set,
                       const char *dir, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(EXPORT_TEXT_MAX);
    char name[EXPORT_NAME_MAX];
    size_t count = format->files(set);
    int code = 0;
    for (size_t i = 0; !code && i < count; i++) {
        buf_reset(&text);
        code = format->file(set, i, name, &text, err);
        code = code ? code : export_write(dir, name, text.len ? text.data : "", text.len, err);
    }
    return code;
}

/* What the making of a file ends with. */
static int made(const struct buf *text, const char *name, struct err *err) {
    return text->failed ? err_set(err, ERR_NOMEM, "no memory for %s", name) : 0;
}

static void image_name(const struct export_image *image, const char *folder, struct buf *out) {
    if (image->ref) {
        buf_puts(out, image->ref);
    } else {
        buf_printf(out, "%s/%s%s", folder, image->sha, image->extension);
    }
}

/* ---- COCO ---- */

#define COCO_DUMP (JSON_COMPACT | JSON_REAL_PRECISION(12))

static void puts_json(struct buf *out, json_t *value) {
    char *text = value ? json_dumps(value, COCO_DUMP | JSON_ENCODE_ANY) : NULL;
    if (text) {
        buf_puts(out, text);
    } else {
        out->failed = true;
    }
    free(text);
    json_decref(value);
}

static void coco_image(const struct export_image *image, size_t id, struct buf *out) {
    CLEANUP(buf_finish) struct buf name = BUF_INIT(FS_PATH_MAX);
    image_name(image, "images", &name);
    puts_json(out,
              json_pack("{s:I,s:s,s:I,s:I,s:s,s:s}", "id", (json_int_t)id, "file_name", name.data,
                        "width", (json_int_t)image->width, "height", (json_int_t)image->height,
                        "date_captured", image->captured, "creel_frame", image->id));
}

static void coco_box(const struct export_image *image, const struct export_box *box, size_t id,
                     size_t image_id, struct buf *out) {
    double width = (double)image->width, height = (double)image->height;
    double x = box->at.x * width, y = box->at.y * height, w = box->at.w * width,
           h = box->at.h * height;
    puts_json(out,
              json_pack("{s:I,s:I,s:I,s:[f,f,f,f],s:f,s:i,s:f}", "id", (json_int_t)id, "image_id",
                        (json_int_t)image_id, "category_id", (json_int_t)(box->class_index + 1),
                        "bbox", x, y, w, h, "area", w * h, "iscrowd", 0, "score", box->confidence));
}

static size_t coco_files(const struct export_set *set) {
    (void)set;
    return 1;
}

static int coco_file(const struct export_set *set, size_t index, char name[EXPORT_NAME_MAX],
                     struct buf *out, struct err *err) {
    size_t boxes = 0;
    (void)index;
    snprintf(name, EXPORT_NAME_MAX, "annotations.json");
    buf_puts(out, "{\"info\":{\"description\":\"exported by creel\"},\n\"images\":[");
    for (size_t i = 0; i < set->count; i++) {
        buf_puts(out, i ? ",\n" : "\n");
        coco_image(&set->images[i], i + 1, out);
    }
    buf_puts(out, "],\n\"annotations\":[");
    for (size_t i = 0; i < set->count; i++) {
        for (size_t k = 0; k < set->images[i].box_count; k++) {
            buf_puts(out, boxes ? ",\n" : "\n");
            coco_box(&set->images[i], &set->images[i].boxes[k], ++boxes, i + 1, out);
        }
    }
    buf_puts(out, "],\n\"categories\":[");
    for (size_t i = 0; i < set->class_count; i++) {
        buf_puts(out, i ? ",\n" : "\n");
        puts_json(out, json_pack("{s:I,s:s,s:s}", "id", (json_int_t)(i + 1), "name",
                                 set->classes[i], "supercategory", ""));
    }
    buf_puts(out, "]}\n");
    return made(out, name, err);
}

/* ---- YOLO ---- */

#define YOLO_DIR "obj_train_data"

static void yolo_labels(const struct export_image *image, char name[EXPORT_NAME_MAX],
                        struct buf *out) {
    snprintf(name, EXPORT_NAME_MAX, YOLO_DIR "/%s.txt", image->sha);
    for (size_t i = 0; i < image->box_count; i++) {
        const struct frame_box *at = &image->boxes[i].at;
        buf_printf(out, "%zu %.8f %.8f %.8f %.8f\n", image->boxes[i].class_index, at->x + at->w / 2,
                   at->y + at->h / 2, at->w, at->h);
    }
}

static void yolo_list(const struct export_set *set, struct buf *out) {
    for (size_t i = 0; i < set->count; i++) {
        image_name(&set->images[i], YOLO_DIR, out);
        buf_puts(out, "\n");
    }
}

static void yolo_names(const struct export_set *set, struct buf *out) {
    for (size_t i = 0; i < set->class_count; i++) {
        buf_printf(out, "%s\n", set->classes[i]);
    }
}

static void yolo_data(const struct export_set *set, struct buf *out) {
    buf_printf(out,
               "classes = %zu\ntrain = train.txt\nvalid = train.txt\nnames = obj.names\n"
               "backup = backup/\n",
               set->class_count);
}

static const struct {
    const char *name;
    void (*make)(const struct export_set *set, struct buf *out);
} yolo_lists[] = {{"train.txt", yolo_list}, {"obj.names", yolo_names}, {"obj.data", yolo_data}};

static size_t yolo_files(const struct export_set *set) {
    return set->count + ARRAY_LENGTH(yolo_lists);
}

static int yolo_file(const struct export_set *set, size_t index, char name[EXPORT_NAME_MAX],
                     struct buf *out, struct err *err) {
    if (index < set->count) {
        yolo_labels(&set->images[index], name, out);
    } else {
        snprintf(name, EXPORT_NAME_MAX, "%s", yolo_lists[index - set->count].name);
        yolo_lists[index - set->count].make(set, out);
    }
    return made(out, name, err);
}

/* ---- formats ---- */

const struct export_format *export_format_find(const char *name) {
    static const struct export_format formats[] = {
        {"coco", "images", coco_files, coco_file},
        {"yolo", YOLO_DIR, yolo_files, yolo_file},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}
