#include "daemon/dataset.h"
#include "daemon/base/clock.h"
#include "daemon/base/frame_json.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/export.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 65536 /* a power of two, well above WEBUI_EXPORT_MAX, so that a free one is near */

struct dataset {
    const struct export_format *format;
    struct export_set set;
    char (*labels)[FRAME_LABEL_MAX + 1]; /* of the model */
    size_t label_count, next;
    double least;
    bool settled;
    uint32_t places[PLACES]; /* by the hash of the bytes: 1 + the index of the image; 0: free */
};

int dataset_open(struct eyes *eyes, const char *format, struct dataset **out, struct err *err) {
    struct dataset *set = mem_alloc(sizeof(*set));
    if (!set) {
        return err_set(err, ERR_NOMEM, "no memory for a data set");
    }
    set->format = export_format_find(format);
    int code = set->format
                   ? eyes_labels_get(eyes, &set->labels, &set->label_count, &set->least, err)
                   : err_set(err, ERR_INVALID, "format=%.40s: expected coco or yolo", format);
    if (code) {
        dataset_close(set);
        return code;
    }
    *out = set;
    return 0;
}

void dataset_close(void *dataset) {
    struct dataset *set = dataset;
    if (set) {
        export_finish(&set->set);
        free(set->labels);
        free(set);
    }
}

/* The place of these bytes: taken by an image that has them, or free. */
static uint32_t *place_of(struct dataset *set, const struct frame_hash *blob, const char *sha) {
    uint32_t at = 0;
    memcpy(&at, blob->bytes, sizeof(at));
    for (;; at++) {
        uint32_t *place = &set->places[at % PLACES];
        if (!*place || strcmp(set->set.images[*place - 1].sha, sha) == 0) {
            return place;
        }
    }
}

/* As the command hears of them: through JSON. */
static int boxes_take(const struct dataset *set, struct export_image *image,
                      const struct frame_record *record, struct err *err) {
    image->boxes = mem_array(record->detection_count + 1, sizeof(image->boxes[0]));
    if (!image->boxes) {
        return err_set(err, ERR_NOMEM, "no memory for the boxes of a frame");
    }
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        struct export_box box = {
            .at = {frame_json_rounded(found->box.x), frame_json_rounded(found->box.y),
                   frame_json_rounded(found->box.w), frame_json_rounded(found->box.h)},
            .confidence = frame_json_rounded((double)found->confidence)};
        snprintf(box.label, sizeof(box.label), "%s", found->label);
        if (!found->tag && box.confidence >= set->least && export_clip(&box.at)) {
            image->boxes[image->box_count++] = box;
        }
    }
    return 0;
}

int dataset_add(void *dataset, const struct frame_record *record, char name[WEBUI_FILE_NAME],
                struct err *err) {
    struct dataset *set = dataset;
    char sha[HASH_HEX_SIZE];
    assert(!set->settled);
    hash_hex(record->blob.bytes, sizeof(record->blob.bytes), sha);
    uint32_t *place = place_of(set, &record->blob, sha);
    bool known = *place; /* it is added all the same: export_settle knows which one stays */
    struct export_image *image = set->set.count < WEBUI_EXPORT_MAX ? export_add(&set->set) : NULL;
    if (!image) {
        return err_set(err, ERR_FULL, "a data set has at most %d frames", WEBUI_EXPORT_MAX);
    }
    frame_id_format(&record->id, image->id);
    clock_format_rfc3339(record->captured.utc_us, image->captured);
    snprintf(image->sha, sizeof(image->sha), "%s", sha);
    image->width = record->width;
    image->height = record->height;
    image->extension = record->media == MEDIA_PNG ? ".png" : ".jpg";
    name[0] = '\0';
    if (!known) {
        *place = (uint32_t)set->set.count;
        snprintf(name, WEBUI_FILE_NAME, "%s/%s%s", set->format->image_dir, sha, image->extension);
    }
    return boxes_take(set, image, record, err);
}

static int settle(struct dataset *set, struct err *err) {
    if (set->settled) {
        return 0;
    }
    set->settled = true;
    return export_settle(&set->set, (const char(*)[FRAME_LABEL_MAX + 1]) set->labels,
                         set->label_count, err);
}

int dataset_file(void *dataset, char name[WEBUI_FILE_NAME], char **bytes, size_t *size,
                 struct err *err) {
    struct dataset *set = dataset;
    CLEANUP(buf_finish) struct buf text = BUF_INIT(EXPORT_TEXT_MAX);
    _Static_assert(WEBUI_FILE_NAME == EXPORT_NAME_MAX, "one name");
    *bytes = NULL;
    int code = settle(set, err);
    if (code || set->next == set->format->files(&set->set)) {
        return code;
    }
    code = set->format->file(&set->set, set->next++, name, &text, err);
    if (!code) {
        *size = text.len;
        *bytes = text.len ? buf_take(&text, size) : mem_strdup("");
        code = *bytes ? 0 : err_set(err, ERR_NOMEM, "no memory for %s", name);
    }
    return code;
}
