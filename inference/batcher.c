/* A batcher: frames of several detectors, looked at together by one process with the network.
 *
 * Goal: a GPU is asked for many frames at once, and no frame waits long for others.
 *
 * The input memory has two halves of `batch` slots. Detectors put what was prepared into the half
 * that fills; a thread of the batcher sends that half off, lets the other one fill, and hands the
 * verdicts out. A half is sent when it is full, when no frame is being prepared that could still
 * come, or when its first frame has waited batch_wait_ms.
 *
 * Invariants: 1. A slot is written by the detector that was given it, and only while its half
 * fills; it is given again only after the verdict, or after waitpid has seen the child's end.
 * 2. What a child prepared is copied once, and then checked: finite, of a range. 3. A batch that
 * fails (the process died, was too slow, or answered what cannot be) is taken apart: each of its
 * frames gets one more try, alone. So no frame suffers for another, and the second failure is
 * the frame's own (ERR_CRASHED). 4. `lock` guards the halves and is never held while a child or
 * memory is asked.
 *
 * Rejected: halving a failed batch again and again (fewer starts of the process for large batches,
 * but more deaths a poison frame); one half (the device rests while frames are copied). */
#include "inference/batcher.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/detector_choice.h"
#include "inference/detector_kept.h"
#include "inference/detector_reply.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_WAIT_MOST_MS 10000

struct seat { /* of a slot in use; on its detector's stack */
    struct worker_result *result;
    bool present; /* what was prepared is good */
    bool done;
    int code;
    struct err err;
};

struct half {
    struct seat *seats[WORKER_BATCH_MAX];
    uint32_t count, filled; /* slots given; those of them that are written or given up */
    struct timespec due;    /* CLOCK_MONOTONIC: of the first */
};

struct batcher {
    struct kept kept; /* the thread's, once it runs */
    uint32_t batch;
    int wait_ms;
    pthread_t thread;
    bool running;
    atomic_uint_fast64_t batches, timeouts;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct half halves[2];
    uint32_t filling; /* which half */
    int coming;       /* frames being prepared */
    bool closing;
};

/* ---- the thread: questions to the process ---- */

/* One question for the slots whose bits are set, and the checked answers. */
static int slots_ask(struct batcher *batcher, uint32_t side, uint64_t bits, struct err *err) {
    struct kept *kept = &batcher->kept;
    struct half *half = &batcher->halves[side];
    struct worker_job job = {.slot = side * batcher->batch, .size = bits};
    int code = kept_ask(kept, &job, err);
    for (uint32_t i = 0; i < batcher->batch && code == 0; i++) {
        if ((bits >> i & 1) == 0) {
            continue;
        }
        CLEANUP(mem_free_at) struct worker_result *found = mem_alloc(sizeof(*found));
        if (found == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for the verdict of a frame");
        }
        off_t at = (off_t)(i * sizeof(*found));
        if (pread(kept->child.output, found, sizeof(*found), at) != (ssize_t)sizeof(*found)) {
            return err_sys(err, errno, "reading the verdict");
        }
        code = detector_reply_check_found(found, kept->generation, kept->model->class_count, err);
        if (code == 0) {
            struct worker_result *result = half->seats[i]->result;
            result->detection_count = found->detection_count;
            memcpy(result->detections, found->detections, sizeof(result->detections));
            result->detect_ms += found->detect_ms;
        }
    }
    return code;
}

/* A question, and the end of the process where it goes wrong. `tried`: it was asked. */
static int slots_try(struct batcher *batcher, uint32_t side, uint64_t bits, bool *tried,
                     char how[CHILD_LINE_SIZE], struct err *err) {
    int code = kept_ensure(&batcher->kept, err);
    *tried = code == 0;
    code = code != 0 ? code : slots_ask(batcher, side, bits, err);
    if (code == 0) {
        kept_served(&batcher->kept);
        atomic_fetch_add(&batcher->batches, 1);
    } else if (*tried && code != ERR_NOMEM) {
        atomic_fetch_add(&batcher->timeouts, code == ERR_TIMEOUT);
        kept_fail(&batcher->kept, how, CHILD_LINE_SIZE);
    }
    return code;
}

static void seats_answer(struct half *half, uint64_t bits, int code, const struct err *err) {
    for (uint32_t i = 0; i < half->count; i++) {
        if ((bits >> i & 1) != 0) {
            half->seats[i]->code = code;
            half->seats[i]->err = *err;
        }
    }
}

/* Each by itself, after they have failed together. */
static void slots_retry(struct batcher *batcher, uint32_t side, uint64_t bits) {
    for (uint32_t i = 0; i < batcher->batch; i++) {
        uint64_t bit = bits & (uint64_t)1 << i;
        if (bit == 0) {
            continue;
        }
        struct err why = {0}, err = {0};
        char how[CHILD_LINE_SIZE] = "";
        bool tried = false;
        int code = slots_try(batcher, side, bit, &tried, how, &why);
        if (code != 0 && tried && code != ERR_NOMEM) {
            code =
                err_set(&err, ERR_CRASHED,
                        "the frame ended the network's process 2 times: %s; it %s", why.msg, how);
        }
        seats_answer(&batcher->halves[side], bit, code, err.code != 0 ? &err : &why);
    }
}

static void half_run(struct batcher *batcher, uint32_t side) {
    struct half *half = &batcher->halves[side];
    struct err err = {0};
    char how[CHILD_LINE_SIZE] = "";
    uint64_t bits = 0;
    bool tried = false;
    for (uint32_t i = 0; i < half->count; i++) {
        bits |= (uint64_t)half->seats[i]->present << i;
    }
    if (bits == 0) {
        return;
    }
    int code = slots_try(batcher, side, bits, &tried, how, &err);
    if (code != 0 && tried && code != ERR_NOMEM) {
        log_debug("a batch failed", "frames=%d why=\"%s\" how=\"%s\"", __builtin_popcountll(bits),
                  err.msg, how);
        slots_retry(batcher, side, bits);
    } else {
        seats_answer(half, bits, code, &err);
    }
}

/* ---- the thread: when ---- */

/* With the lock held: waits until a half is to be sent. False: the end. */
static bool half_wait(struct batcher *batcher) {
    bool late = false;
    for (;;) {
        struct half *half = &batcher->halves[batcher->filling];
        bool whole = half->count > 0 && half->filled == half->count;
        if (whole && (late || half->count == batcher->batch || batcher->coming <= 0)) {
            return true;
        }
        if (half->count == 0 || late) {
            if (batcher->closing && half->count == 0) {
                return false;
            }
            pthread_cond_wait(&batcher->changed, &batcher->lock);
        } else {
            late = pthread_cond_timedwait(&batcher->changed, &batcher->lock, &half->due) != 0;
        }
    }
}

static void *thread_main(void *arg) {
    struct batcher *batcher = arg;
    pthread_mutex_lock(&batcher->lock);
    while (half_wait(batcher)) {
        uint32_t side = batcher->filling;
        struct half *half = &batcher->halves[side];
        batcher->filling = 1 - side;
        pthread_cond_broadcast(&batcher->changed);
        pthread_mutex_unlock(&batcher->lock);
        half_run(batcher, side);
        pthread_mutex_lock(&batcher->lock);
        for (uint32_t i = 0; i < half->count; i++) {
            half->seats[i]->done = true;
        }
        half->count = half->filled = 0;
        pthread_cond_broadcast(&batcher->changed);
    }
    pthread_mutex_unlock(&batcher->lock);
    return NULL;
}

/* ---- detectors ---- */

void batcher_expect(struct batcher *batcher, int by) {
    pthread_mutex_lock(&batcher->lock);
    batcher->coming += by;
    pthread_cond_broadcast(&batcher->changed);
    pthread_mutex_unlock(&batcher->lock);
}

/* With the lock held; blocks while the half that fills is full. Returns the slot. */
static uint32_t slot_take(struct batcher *batcher, struct seat *seat, struct half **taken) {
    while (batcher->halves[batcher->filling].count == batcher->batch) {
        pthread_cond_wait(&batcher->changed, &batcher->lock);
    }
    struct half *half = &batcher->halves[batcher->filling];
    if (half->count == 0) {
        clock_gettime(CLOCK_MONOTONIC, &half->due);
        half->due.tv_sec += batcher->wait_ms / 1000;
        half->due.tv_nsec += batcher->wait_ms % 1000 * 1000000L;
        half->due.tv_sec += half->due.tv_nsec / 1000000000L;
        half->due.tv_nsec %= 1000000000L;
    }
    half->seats[half->count] = seat;
    *taken = half;
    return batcher->filling * batcher->batch + half->count++;
}

/* Written so that what is not a number fails. */
static bool planar_good(const float *values, size_t count) {
    unsigned bad = 0;
    for (size_t i = 0; i < count; i++) {
        bad |= !(values[i] >= -1.0f && values[i] <= 2.0f);
    }
    return bad == 0;
}

static int slot_fill(struct batcher *batcher, uint32_t slot,
                     const struct batcher_question *question, struct err *err) {
    const struct worker_start *start = &batcher->kept.start;
    uint8_t *memory = batcher->kept.input.bytes;
    struct worker_item *item = (struct worker_item *)(void *)memory + slot;
    uint8_t *planar = memory + worker_planar_at(start, slot);
    size_t count = worker_planar_count(start), size = count * sizeof(float);
    if (pread(question->fd, planar, size, (off_t)WORKER_PLANAR_AT) != (ssize_t)size) {
        return err_sys(err, errno, "reading what was prepared");
    }
    uint64_t pixels = (uint64_t)question->seen_width * question->seen_height;
    if (pixels == 0 || pixels > FRAME_PIXELS_MAX || !planar_good((float *)(void *)planar, count)) {
        return err_set(err, ERR_CORRUPT, "the worker process prepared what is no picture");
    }
    item->seen_width = question->seen_width;
    item->seen_height = question->seen_height;
    item->has_view = question->view != NULL;
    if (question->view != NULL) {
        item->view = *question->view;
    }
    return 0;
}

int batcher_run(struct batcher *batcher, const struct batcher_question *question,
                struct worker_result *result, struct err *err) {
    struct seat seat = {.result = result};
    struct half *half;
    pthread_mutex_lock(&batcher->lock);
    uint32_t slot = slot_take(batcher, &seat, &half);
    batcher->coming--;
    pthread_mutex_unlock(&batcher->lock);
    int code = slot_fill(batcher, slot, question, err);
    pthread_mutex_lock(&batcher->lock);
    seat.present = code == 0;
    half->filled++;
    pthread_cond_broadcast(&batcher->changed);
    while (!seat.done) {
        pthread_cond_wait(&batcher->changed, &batcher->lock);
    }
    pthread_mutex_unlock(&batcher->lock);
    if (code == 0 && seat.code != 0) {
        return err_set(err, seat.code, "%s", seat.err.msg);
    }
    return code;
}

/* ---- life cycle ---- */

size_t batcher_wanted(const struct detector_config *config, const struct model *model) {
    struct detector_choice choice;
    struct err err = {0};
    int code = detector_choose(config, model, &choice, &err);
    return code == 0 ? detector_choice_batch(config, &choice) : 0;
}

static void locks_init(struct batcher *batcher) {
    pthread_mutex_init(&batcher->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&batcher->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int set_up(struct batcher *batcher, const struct detector_config *config,
                  const struct model *model, struct err *err) {
    struct detector_choice choice;
    int code = detector_choose(config, model, &choice, err);
    if (code != 0) {
        return code;
    }
    size_t batch = detector_choice_batch(config, &choice);
    if (batch == 0 || batch > WORKER_BATCH_MAX || config->batch_wait_ms < 0 ||
        config->batch_wait_ms > BATCH_WAIT_MOST_MS) {
        return err_set(err, ERR_INVALID,
                       "batcher: batch %u must be 1 to %d (the CPU: 2), batch_wait_ms %d 0 to %d",
                       config->batch, WORKER_BATCH_MAX, config->batch_wait_ms, BATCH_WAIT_MOST_MS);
    }
    batcher->batch = (uint32_t)batch;
    batcher->wait_ms = config->batch_wait_ms;
    code = kept_start(&batcher->kept, config, model, &choice, WORKER_NETWORK, batcher->batch, err);
    if (code != 0) {
        return code;
    }
    int failed = pthread_create(&batcher->thread, NULL, thread_main, batcher);
    batcher->running = failed == 0;
    return failed == 0 ? 0 : err_sys(err, failed, "cannot start a thread");
}

int batcher_start(const struct detector_config *config, const struct model *model,
                  struct batcher **out, struct err *err) {
    struct batcher *batcher = mem_alloc(sizeof(*batcher));
    if (batcher == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a batcher");
    }
    locks_init(batcher);
    int code = set_up(batcher, config, model, err);
    if (code != 0) {
        batcher_stop(batcher);
        return code;
    }
    *out = batcher;
    return 0;
}

void batcher_stop(struct batcher *batcher) {
    if (batcher == NULL) {
        return;
    }
    pthread_mutex_lock(&batcher->lock);
    batcher->closing = true;
    pthread_cond_broadcast(&batcher->changed);
    pthread_mutex_unlock(&batcher->lock);
    if (batcher->running) {
        pthread_join(batcher->thread, NULL);
    }
    kept_stop(&batcher->kept);
    pthread_cond_destroy(&batcher->changed);
    pthread_mutex_destroy(&batcher->lock);
    free(batcher);
}

void batcher_stats_get(const struct batcher *batcher, struct detector_stats *out) {
    *out = (struct detector_stats){
        .restarts = atomic_load(&batcher->kept.restarts),
        .timeouts = atomic_load(&batcher->timeouts),
        .batches = atomic_load(&batcher->batches),
        .pid = atomic_load(&batcher->kept.pid),
    };
    memcpy(out->program, batcher->kept.program, sizeof(out->program));
}
