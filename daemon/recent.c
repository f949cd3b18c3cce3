#include "daemon/recent.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX  512 /* of all cameras */
#define LATE_FRAMES 4   /* beside those asked for: workers may bring frames late */
#define MS          1000

struct recent {
    pthread_mutex_t lock;             /* guards what follows */
    struct frame *frames[FRAMES_MAX]; /* in the order of putting */
    size_t count;
    uint64_t bytes;
    int64_t reach_ms;
    unsigned last;
};

struct recent *recent_create(void) {
    struct recent *recent = mem_alloc(sizeof(*recent));
    if (recent) {
        pthread_mutex_init(&recent->lock, NULL);
    }
    return recent;
}

static uint64_t bytes_of(const struct frame *frame) {
    return frame->record.blob_bytes + frame->thumb_bytes;
}

static struct frame *take_at(struct recent *recent, size_t at) {
    struct frame *frame = recent->frames[at];
    recent->count--;
    memmove(&recent->frames[at], &recent->frames[at + 1],
            (recent->count - at) * sizeof(struct frame *));
    recent->bytes -= bytes_of(frame);
    return frame;
}

void recent_destroy(struct recent *recent) {
    if (!recent) {
        return;
    }
    while (recent->count) {
        frame_destroy(take_at(recent, recent->count - 1));
    }
    pthread_mutex_destroy(&recent->lock);
    free(recent);
}

static void forget_all(struct recent *recent) {
    while (recent->count) {
        frame_destroy(take_at(recent, recent->count - 1));
    }
}

void recent_reach_set(struct recent *recent, int64_t reach_ms, unsigned frames) {
    pthread_mutex_lock(&recent->lock);
    recent->reach_ms = reach_ms;
    recent->last = frames ? frames + LATE_FRAMES : 0;
    if (!reach_ms && !frames) {
        forget_all(recent);
    }
    pthread_mutex_unlock(&recent->lock);
}

/* Of the camera, what nobody can ask for any more. */
static void forget_old(struct recent *recent, const char *camera, int64_t now_us) {
    unsigned newer = 0;
    for (size_t i = recent->count; i-- > 0;) {
        const struct frame *frame = recent->frames[i];
        if (strcmp(frame->record.camera, camera) != 0) {
            continue;
        }
        bool old = now_us - frame->record.captured.boot_us > recent->reach_ms * MS;
        if (newer >= RECENT_FRAMES_MAX || (newer >= recent->last && old)) {
            frame_destroy(take_at(recent, i));
        } else {
            newer++;
        }
    }
}

/* The frame without its origin; NULL: no memory, and then it is only not remembered. */
static struct frame *detach(struct frame *frame) {
    struct frame *own = mem_dup(frame, sizeof(*frame));
    size_t size = frame->record.detection_count * sizeof(*frame->record.detections);
    if (!own) {
        return NULL;
    }
    own->origin = (struct frame_origin){0};
    own->record.detections = size ? mem_dup(frame->record.detections, size) : NULL;
    if (size && !own->record.detections) {
        free(own);
        return NULL;
    }
    frame->blob = NULL;
    frame->thumb = NULL;
    frame->thumb_bytes = 0;
    return own;
}

void recent_put(struct recent *recent, struct frame *frame) {
    pthread_mutex_lock(&recent->lock);
    bool wanted = (recent->reach_ms || recent->last) && frame->blob &&
                  bytes_of(frame) <= RECENT_BYTES_MAX / 2;
    struct frame *own = wanted ? detach(frame) : NULL;
    if (own) {
        while (recent->count &&
               (recent->count == FRAMES_MAX || recent->bytes + bytes_of(own) > RECENT_BYTES_MAX)) {
            frame_destroy(take_at(recent, 0));
        }
        recent->frames[recent->count++] = own;
        recent->bytes += bytes_of(own);
        forget_old(recent, own->record.camera, own->record.captured.boot_us);
    }
    pthread_mutex_unlock(&recent->lock);
}

struct frame *recent_take(struct recent *recent, const char *camera, int64_t from_us,
                          int64_t to_us) {
    struct frame *found = NULL;
    pthread_mutex_lock(&recent->lock);
    for (size_t i = recent->count; i-- > 0 && !found;) {
        const struct frame_record *record = &recent->frames[i]->record;
        if (record->captured.boot_us >= from_us && record->captured.boot_us <= to_us &&
            strcmp(record->camera, camera) == 0) {
            found = take_at(recent, i);
        }
    }
    pthread_mutex_unlock(&recent->lock);
    return found;
}
