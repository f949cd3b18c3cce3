/* triage_novelty: how unlike a frame is to all that was kept of its camera.
 *
 * A frame's print is its perceptual hash (what it looks like) and a small vector of its detections
 * (what is in it, and about where): each detection from the floor up adds its confidence to two of
 * TRIAGE__VECTOR cells, chosen by hashing its class and the quarter of the picture its middle lies
 * in. The distance of two prints is half that of the hashes (bits that differ, of HASH_FAR; two
 * unrelated pictures differ in about 32 of 64) and half that of the vectors (1 - cosine), in [0,
 * 1].
 *
 * A camera's last TRIAGE__PRINTS_MAX kept frames are remembered, and saved every SAVE_EACH of them
 * and when the camera is forgotten: a crash forgets fewer than that. The bytes are those of the
 * prints, oldest first, in this machine's order: a state that moves to another kind of machine is
 * only forgetful.
 */
#include "inference/triage_parts.h"

#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include <math.h>
#include <string.h>

#define HASH_FAR  24.0
#define CELL_UNIT 64.0 /* of a vector's cell, a confidence of 1 */
#define SAVE_EACH 8

_Static_assert(TRIAGE__PRINTS_MAX * sizeof(struct triage__print) <= TRIAGE_BYTES_MAX,
               "a camera's prints fit one value");

/* The finalizer of MurmurHash3 (Appleby, public domain): neighbours must not share cells. */
static uint32_t mixed(uint32_t value) {
    value = (value ^ value >> 16) * UINT32_C(0x85ebca6b);
    value = (value ^ value >> 13) * UINT32_C(0xc2b2ae35);
    return value ^ value >> 16;
}

/* Adds the detection to two cells, so that two kinds of things seldom share both. */
static void cells_add(double cells[TRIAGE__VECTOR], const struct frame_detection *detection) {
    unsigned right = detection->box.x + detection->box.w / 2 >= 0.5;
    unsigned low = detection->box.y + detection->box.h / 2 >= 0.5;
    uint32_t what = mixed(detection->class_index * 4U + right + 2 * low);
    double unit = fmin(detection->confidence, 1) * CELL_UNIT;
    cells[(what & UINT16_MAX) % TRIAGE__VECTOR] += unit;
    cells[(what >> 16) % TRIAGE__VECTOR] += unit;
}

void triage__print_make(const struct frame_record *record, float floor, struct triage__print *out) {
    double cells[TRIAGE__VECTOR] = {0};
    *out = (struct triage__print){.phash = record->phash};
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *detection = &record->detections[i];
        if (detection->confidence >= floor) {
            cells_add(cells, detection);
        }
    }
    for (size_t i = 0; i < TRIAGE__VECTOR; i++) {
        out->vector[i] = (uint8_t)fmin(cells[i], UINT8_MAX);
    }
}

static double vector_distance(const uint8_t *a, const uint8_t *b) {
    double both = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < TRIAGE__VECTOR; i++) {
        both += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    if (aa == 0 || bb == 0) {
        return aa == bb ? 0 : 1;
    }
    return fmin(fmax(1 - both / sqrt(aa * bb), 0), 1);
}

double triage__print_distance(const struct triage__print *a, const struct triage__print *b) {
    double bits = __builtin_popcountll(a->phash ^ b->phash);
    return 0.5 * fmin(bits / HASH_FAR, 1) + 0.5 * vector_distance(a->vector, b->vector);
}

double triage__gallery_distance(const struct triage__gallery *gallery,
                                const struct triage__print *print) {
    double nearest = 1;
    for (size_t i = 0; i < gallery->count; i++) {
        nearest = fmin(nearest, triage__print_distance(&gallery->prints[i], print));
    }
    return nearest;
}

void triage__gallery_add(struct triage__gallery *gallery, const struct triage__print *print,
                         const struct frame_id *id, const struct frame_id *displaced) {
    size_t at = gallery->next;
    for (size_t i = 0; displaced && i < gallery->count; i++) {
        at = memcmp(&gallery->ids[i], displaced, sizeof(*displaced)) == 0 ? i : at;
    }
    if (at == gallery->next) {
        gallery->next = (gallery->next + 1) % TRIAGE__PRINTS_MAX;
        gallery->count += gallery->count < TRIAGE__PRINTS_MAX;
    }
    gallery->prints[at] = *print;
    gallery->ids[at] = *id;
    gallery->unsaved++;
}

static void key_of(const char *camera, struct buf *out) {
    buf_printf(out, "seen/%s", camera);
}

void triage__gallery_load(struct triage__gallery *gallery, const struct triage_memory *memory,
                          const char *camera) {
    CLEANUP(buf_finish) struct buf key = BUF_INIT(TRIAGE__KEY_SIZE);
    key_of(camera, &key);
    *gallery = (struct triage__gallery){0};
    if (!memory->bytes_get || key.failed) {
        return;
    }
    size_t size =
        memory->bytes_get(memory->ctx, key.data, gallery->prints, sizeof(gallery->prints));
    gallery->count = size <= sizeof(gallery->prints) ? size / sizeof(gallery->prints[0]) : 0;
    gallery->next = gallery->count % TRIAGE__PRINTS_MAX;
}

static void save(struct triage__gallery *gallery, const struct triage_memory *memory,
                 const char *camera) {
    struct triage__print ordered[TRIAGE__PRINTS_MAX];
    CLEANUP(buf_finish) struct buf key = BUF_INIT(TRIAGE__KEY_SIZE);
    size_t first = gallery->count < TRIAGE__PRINTS_MAX ? 0 : gallery->next;
    key_of(camera, &key);
    if (key.failed) {
        return;
    }
    for (size_t i = 0; i < gallery->count; i++) {
        ordered[i] = gallery->prints[(first + i) % TRIAGE__PRINTS_MAX];
    }
    memory->bytes_put(memory->ctx, key.data, ordered, gallery->count * sizeof(ordered[0]));
    gallery->unsaved = 0;
}

void triage__gallery_save(struct triage__gallery *gallery, const struct triage_memory *memory,
                          const char *camera, bool now) {
    if (memory->bytes_put && gallery->unsaved >= (now ? 1 : SAVE_EACH)) {
        save(gallery, memory, camera);
    }
}
