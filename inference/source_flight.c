/* The table of frames in the air. See source_flight.h.
 *
 * A slot is FREE, IN_AIR (only the settling thread may write to it), or LANDED (only the owner
 * may). The lock guards the states and the sums, not a landed slot's content, so the owner works on
 * it without the lock.
 */
#include "inference/source_flight.h"

#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum slot_state { SLOT_FREE = 0, SLOT_IN_AIR, SLOT_LANDED };

struct source__flight {
    pthread_mutex_t lock;
    int wake_fd;      /* borrowed; -1 once closed */
    unsigned holders; /* the owner and each frame in the air */
    size_t used;
    uint64_t bytes;
    enum slot_state states[SOURCE__FLIGHT_MAX];
    struct source__landed slots[SOURCE__FLIGHT_MAX];
};

void source__file_init(struct source__file *file, const char *name, const struct stat *st) {
    file->device = st->st_dev;
    file->inode = st->st_ino;
    file->size = (uint64_t)st->st_size;
    file->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    size_t len = strnlen(name, NAME_MAX);
    memcpy(file->name, name, len);
    file->name[len] = '\0';
}

bool source__file_same(const struct source__file *file, const struct stat *st) {
    return S_ISREG(st->st_mode) && file->device == st->st_dev && file->inode == st->st_ino &&
           file->size == (uint64_t)st->st_size &&
           file->mtime_ns == (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

bool source__file_equal(const struct source__file *a, const struct source__file *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && strcmp(a->name, b->name) == 0;
}

struct source__flight *source__flight_create(int wake_fd) {
    struct source__flight *flight = mem_alloc(sizeof *flight);

    if (flight) {
        pthread_mutex_init(&flight->lock, NULL);
        flight->wake_fd = wake_fd;
        flight->holders = 1;
        for (uint32_t i = 0; i < SOURCE__FLIGHT_MAX; i++) {
            flight->slots[i].slot = i;
        }
    }
    return flight;
}

/* Called with the lock held; unlocks. */
static void let_go(struct source__flight *flight) {
    bool last = --flight->holders == 0;

    pthread_mutex_unlock(&flight->lock);
    if (last) {
        pthread_mutex_destroy(&flight->lock);
        free(flight);
    }
}

void source__flight_close(struct source__flight *flight) {
    if (!flight) {
        return;
    }
    pthread_mutex_lock(&flight->lock);
    flight->wake_fd = -1;
    let_go(flight);
}

bool source__flight_room(struct source__flight *flight, uint64_t bytes) {
    pthread_mutex_lock(&flight->lock);
    bool room = flight->used == 0 || (flight->used < SOURCE__FLIGHT_MAX &&
                                      flight->bytes + bytes <= SOURCE__FLIGHT_BYTES_MAX);
    pthread_mutex_unlock(&flight->lock);
    return room;
}

bool source__flight_has(struct source__flight *flight, const struct source__file *file) {
    bool found = false;

    pthread_mutex_lock(&flight->lock);
    for (size_t i = 0; i < SOURCE__FLIGHT_MAX && !found; i++) {
        found = flight->states[i] != SLOT_FREE && source__file_equal(&flight->slots[i].file, file);
    }
    pthread_mutex_unlock(&flight->lock);
    return found;
}

size_t source__flight_count(struct source__flight *flight) {
    pthread_mutex_lock(&flight->lock);
    size_t used = flight->used;
    pthread_mutex_unlock(&flight->lock);
    return used;
}

/* On the settling thread. A write to an eventfd does not wait (see source__host.wake_fd), so it may
 * be done under the lock, which keeps the descriptor from being closed meanwhile. */
static void on_settled(void *ctx, uint64_t token, const struct frame *frame,
                       enum frame_outcome outcome, const struct err *err) {
    struct source__flight *flight = ctx;
    struct source__landed *slot = &flight->slots[token];
    const uint64_t one = 1;

    (void)frame;
    pthread_mutex_lock(&flight->lock);
    slot->outcome = outcome;
    slot->err = err ? *err : (struct err){0};
    flight->states[token] = SLOT_LANDED;
    if (flight->wake_fd >= 0) {
        ssize_t put = write(flight->wake_fd, &one, sizeof one);
        (void)put; /* EAGAIN would mean that it is readable already */
    }
    let_go(flight);
}

static size_t free_slot(const struct source__flight *flight) {
    size_t i = 0;

    while (i < SOURCE__FLIGHT_MAX - 1 && flight->states[i] != SLOT_FREE) {
        i++;
    }
    return i;
}

void source__flight_launch(struct source__flight *flight, const struct source__file *file,
                           struct frame *frame) {
    pthread_mutex_lock(&flight->lock);
    size_t i = free_slot(flight);
    flight->slots[i] = (struct source__landed){.file = *file, .slot = (uint32_t)i};
    flight->states[i] = SLOT_IN_AIR;
    flight->used++;
    flight->bytes += file->size;
    flight->holders++;
    pthread_mutex_unlock(&flight->lock);
    frame->origin = (struct frame_origin){.ctx = flight, .token = i, .on_settled = on_settled};
}

struct source__landed *source__flight_landed(struct source__flight *flight, int64_t now_boot_us) {
    struct source__landed *found = NULL;

    pthread_mutex_lock(&flight->lock);
    for (size_t i = 0; i < SOURCE__FLIGHT_MAX && !found; i++) {
        if (flight->states[i] == SLOT_LANDED && flight->slots[i].due_boot_us <= now_boot_us) {
            found = &flight->slots[i];
        }
    }
    pthread_mutex_unlock(&flight->lock);
    return found;
}

int64_t source__flight_due(struct source__flight *flight) {
    int64_t due = INT64_MAX;

    pthread_mutex_lock(&flight->lock);
    for (size_t i = 0; i < SOURCE__FLIGHT_MAX; i++) {
        if (flight->states[i] == SLOT_LANDED && flight->slots[i].due_boot_us < due) {
            due = flight->slots[i].due_boot_us;
        }
    }
    pthread_mutex_unlock(&flight->lock);
    return due;
}

void source__flight_release(struct source__flight *flight, struct source__landed *landed) {
    pthread_mutex_lock(&flight->lock);
    flight->states[landed->slot] = SLOT_FREE;
    flight->used--;
    flight->bytes -= landed->file.size;
    pthread_mutex_unlock(&flight->lock);
}
