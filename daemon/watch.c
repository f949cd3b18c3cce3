/* watch: see watch.h.
 *
 * Invariants
 * 1. Under `lock` nothing is copied but pointers and one look's record, nothing is encoded, nothing
 * waits: a worker is never held up by a viewer.
 * 2. A picture is counted in `bytes` from before it is made until its last holder lets go of it.
 * 3. A picture's bytes change once, from raw to JPEG, under the picture's own lock, which only
 * viewers take.
 * Rejected: a copy a viewer (memory by viewers), JPEG by the worker (it would cost the next frame's
 * time), reading the frame back from the store (most frames are not kept).
 */
#include "daemon/watch.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define JPEG_QUALITY 80
#define PICTURES     2 /* a camera: the one that was announced may be asked for after the next */

struct picture {
    struct watch *watch;
    uint64_t number;
    atomic_uint holders;
    uint64_t counted;     /* of watch->bytes */
    pthread_mutex_t lock; /* guards the frame: its blob, size, format and media */
    struct frame frame;
};

struct seat {
    char camera[FRAME_NAME_MAX + 1]; /* "": free */
    int64_t seen_boot_us;
    struct watch_look look;
    struct picture *pictures[PICTURES]; /* the latest first; each NULL or held */
};

struct watch {
    atomic_llong wanted_until_boot_us;
    atomic_ullong bytes;
    pthread_mutex_t lock; /* guards what follows */
    uint64_t number;
    struct seat *seats[WATCH_CAMERAS];
    size_t seat_count;
};

struct watch *watch_create(void) {
    struct watch *watch = mem_alloc(sizeof(*watch));
    if (watch) {
        pthread_mutex_init(&watch->lock, NULL);
    }
    return watch;
}

static void picture_release(struct picture *picture) {
    if (!picture || atomic_fetch_sub(&picture->holders, 1) != 1) {
        return;
    }
    atomic_fetch_sub(&picture->watch->bytes, picture->counted);
    pthread_mutex_destroy(&picture->lock);
    free(picture->frame.blob);
    free(picture);
}

void watch_destroy(struct watch *watch) {
    if (!watch) {
        return;
    }
    for (size_t i = 0; i < watch->seat_count; i++) {
        for (size_t j = 0; j < PICTURES; j++) {
            picture_release(watch->seats[i]->pictures[j]);
        }
        free(watch->seats[i]);
    }
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

static bool wanted(struct watch *watch) {
    return atomic_load(&watch->wanted_until_boot_us) > clock_boot_us();
}

void watch_want_for(struct watch *watch, int64_t linger_us) {
    atomic_store(&watch->wanted_until_boot_us, clock_boot_us() + linger_us);
}

void watch_want(struct watch *watch) {
    watch_want_for(watch, WATCH_LINGER_US);
}

uint64_t watch_bytes(const struct watch *watch) {
    return atomic_load(&watch->bytes);
}

/* ---- the workers' side ---- */

/* Under the lock. NULL: not there. */
static struct seat *seat_of(struct watch *watch, const char *camera) {
    for (size_t i = 0; i < watch->seat_count; i++) {
        if (strcmp(watch->seats[i]->camera, camera) == 0) {
            return watch->seats[i];
        }
    }
    return NULL;
}

/* Under the lock. NULL: no memory, or too many cameras. */
static struct seat *seat_make(struct watch *watch, const char *camera) {
    struct seat *seat = seat_of(watch, camera);
    if (seat || watch->seat_count == WATCH_CAMERAS) {
        return seat;
    }
    seat = mem_alloc(sizeof(*seat));
    if (seat) {
        memcpy(seat->camera, camera, strnlen(camera, FRAME_NAME_MAX));
        watch->seats[watch->seat_count++] = seat;
    }
    return seat;
}

/* Whether this camera's turn has come; then it counts as taken. */
static bool turn_take(struct watch *watch, const char *camera) {
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&watch->lock);
    struct seat *seat = seat_make(watch, camera);
    bool due = seat && now - seat->seen_boot_us >= WATCH_EVERY_US;
    if (due) {
        seat->seen_boot_us = now;
    }
    pthread_mutex_unlock(&watch->lock);
    return due;
}

static bool count_in(struct watch *watch, uint64_t size) {
    if (atomic_fetch_add(&watch->bytes, size) + size <= WATCH_BYTES_MAX) {
        return true;
    }
    atomic_fetch_sub(&watch->bytes, size);
    return false;
}

/* A copy of the frame's own bytes, or of its thumbnail where there is no room for them. NULL: of
 * neither. */
static struct picture *picture_make(struct watch *watch, const struct frame *frame) {
    const uint8_t *bytes = frame->blob;
    size_t size = (size_t)frame->record.blob_bytes;
    bool whole = bytes && count_in(watch, size);
    if (!whole) {
        bytes = frame->thumb;
        size = frame->thumb_bytes;
        if (!bytes || !count_in(watch, size)) {
            return NULL;
        }
    }
    struct picture *picture = mem_alloc(sizeof(*picture));
    uint8_t *copy = picture ? mem_dup(bytes, size) : NULL;
    if (!copy) {
        atomic_fetch_sub(&watch->bytes, size);
        free(picture);
        return NULL;
    }
    picture->watch = watch;
    picture->counted = size;
    atomic_init(&picture->holders, 1);
    pthread_mutex_init(&picture->lock, NULL);
    picture->frame = (struct frame){.blob = copy,
                                    .format = whole ? frame->format : FRAME_ENCODED,
                                    .record = {.width = frame->record.width,
                                               .height = frame->record.height,
                                               .media = whole ? frame->record.media : MEDIA_JPEG,
                                               .blob_bytes = size}};
    return picture;
}

static void look_fill(struct watch_look *look, const struct frame *frame) {
    size_t count = frame->record.detection_count;
    look->record = frame->record;
    look->record.detections = NULL;
    look->record.detection_count = count < WATCH_DETECTIONS ? count : WATCH_DETECTIONS;
    if (look->record.detection_count) {
        memcpy(look->detections, frame->record.detections,
               look->record.detection_count * sizeof(look->detections[0]));
    }
}

void watch_see(struct watch *watch, const struct frame *frame) {
    const char *camera = frame->record.camera;
    if (!wanted(watch) || !turn_take(watch, camera)) {
        return;
    }
    struct picture *picture = picture_make(watch, frame);
    if (!picture) {
        return;
    }
    pthread_mutex_lock(&watch->lock);
    struct seat *seat = seat_of(watch, camera);
    struct picture *old = seat ? seat->pictures[PICTURES - 1] : picture;
    if (seat) {
        memmove(&seat->pictures[1], &seat->pictures[0], (PICTURES - 1) * sizeof(seat->pictures[0]));
        seat->pictures[0] = picture;
        look_fill(&seat->look, frame);
        seat->look.number = picture->number = ++watch->number;
    }
    pthread_mutex_unlock(&watch->lock);
    picture_release(old);
}

void watch_tick(struct watch *watch) {
    struct seat *left[WATCH_CAMERAS];
    size_t count = 0;
    if (wanted(watch)) {
        return;
    }
    pthread_mutex_lock(&watch->lock);
    count = watch->seat_count;
    memcpy(left, watch->seats, count * sizeof(left[0]));
    watch->seat_count = 0;
    pthread_mutex_unlock(&watch->lock);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < PICTURES; j++) {
            picture_release(left[i]->pictures[j]);
        }
        free(left[i]);
    }
}

/* ---- the viewers' side ---- */

bool watch_get(struct watch *watch, const char *camera, struct watch_look *out) {
    pthread_mutex_lock(&watch->lock);
    const struct seat *seat = seat_of(watch, camera);
    bool there = seat && seat->look.number;
    if (there) {
        *out = seat->look;
        out->record.detections = out->detections;
    }
    pthread_mutex_unlock(&watch->lock);
    return there;
}

static struct picture *picture_hold(struct watch *watch, const char *camera, uint64_t number) {
    pthread_mutex_lock(&watch->lock);
    const struct seat *seat = seat_of(watch, camera);
    struct picture *picture = seat ? seat->pictures[0] : NULL;
    for (size_t i = 1; seat && i < PICTURES && seat->pictures[i]; i++) {
        picture = seat->pictures[i]->number == number ? seat->pictures[i] : picture;
    }
    if (picture) {
        atomic_fetch_add(&picture->holders, 1);
    }
    pthread_mutex_unlock(&watch->lock);
    return picture;
}

int watch_picture(struct watch *watch, const char *camera, uint64_t number, uint8_t **bytes,
                  size_t *size, enum frame_media *media, struct err *err) {
    struct picture *picture = picture_hold(watch, camera, number);
    if (!picture) {
        return err_set(err, ERR_NOT_FOUND, "camera %.32s: there is no picture yet", camera);
    }
    pthread_mutex_lock(&picture->lock);
    struct frame *frame = &picture->frame;
    int code = frame_encode(frame, JPEG_QUALITY, err);
    uint8_t *copy = code ? NULL : mem_dup(frame->blob, (size_t)frame->record.blob_bytes);
    if (copy) {
        *bytes = copy;
        *size = (size_t)frame->record.blob_bytes;
        *media = frame->record.media;
    } else if (!code) {
        code = err_set(err, ERR_NOMEM, "no memory for a picture of %.32s", camera);
    }
    pthread_mutex_unlock(&picture->lock);
    picture_release(picture);
    return code;
}
