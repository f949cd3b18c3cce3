/* export: kept frames as a data set for training tools, from what ls and show say of them.
 *
 * The formats are pure: the same frames give the same bytes, in whatever order they came. Boxes are
 * the model's own words, so what is exported is a draft to be corrected. Thread: one.
 */
#ifndef CREEL_DAEMON_EXPORT_H
#define CREEL_DAEMON_EXPORT_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT_IMAGES_MAX  1000000
#define EXPORT_CLASSES_MAX 4096
#define EXPORT_TEXT_MAX    (1u << 30) /* of one file */
#define EXPORT_NAME_MAX    128

struct export_box {
    struct frame_box at; /* relative, within the picture */
    double confidence;
    char label[FRAME_LABEL_MAX + 1];
    size_t class_index; /* in export_set.classes */
};

struct export_image {
    char id[40], captured[32], sha[65];
    int64_t width, height;
    const char *extension; /* static, with its dot */
    char *ref;             /* owned: where its bytes lie; NULL: beside the labels */
    struct export_box *boxes;
    size_t box_count;
};

struct export_set {
    struct export_image *images;
    size_t count, room;
    char (*classes)[FRAME_LABEL_MAX + 1]; /* the model's, then what else occurs, by name */
    size_t class_count;
};

void export_finish(struct export_set *set);
/* A zeroed image at the end; NULL when memory ran out or there are too many. */
struct export_image *export_add(struct export_set *set);

/* Order by time and id, one image for equal bytes, classes numbered. `names` are the model's. */
int export_settle(struct export_set *set, const char (*names)[FRAME_LABEL_MAX + 1],
                  size_t name_count, struct err *err);

/* A box that reaches over the picture's edge is cut there; false: nothing of it is left. */
bool export_clip(struct frame_box *box);

struct export_format {
    const char *name;
    const char *image_dir; /* where copies of the pictures go, in the data set's folder */
    /* The files beside the pictures: how many, and one's name in the data set's folder and text. */
    size_t (*files)(const struct export_set *set);
    int (*file)(const struct export_set *set, size_t index, char name[EXPORT_NAME_MAX],
                struct buf *out, struct err *err);
};

/* NULL: no such format. */
const struct export_format *export_format_find(const char *name);

/* Writes all files but the pictures into `dir`. */
int export_write_files(const struct export_format *format, const struct export_set *set,
                       const char *dir, struct err *err);

/* A new file; not synced, which is for the caller to do once. */
int export_write(const char *dir, const char *name, const void *bytes, size_t size,
                 struct err *err);

#endif
