/* eyes: see eyes.h.
 *
 * Goal: another model without a frame lost and without a moment in which nobody looks.
 *
 * Invariants
 * 1. A seat always has a living `detector` object; it is exchanged only while its thread is not
 * looking, under `lock`, by whoever comes first: the changer when the seat rests, the seat's own
 * thread between two frames. What goes is stopped by the changer, outside the lock.
 * 2. At most one detector more than seats exists, so that a change costs the memory of one child
 * (and where the seats share a batcher, on a GPU, that of a second one).
 * 3. A model outlives its batcher, and that its detectors: the old ones are closed when no seat has
 * them any more.
 * 4. One change at a time, on one thread; `lock` guards everything here and is never held while
 * anything blocks.
 *
 * Once a detector with the new model has served, its model is good: a seat that cannot get one
 * (want of memory) keeps the old detector and is tried again, and both models serve in the
 * meantime. Rejected: all new detectors first and one switch (twice the memory, which small
 * machines lack); going back when a later seat fails (the old model may then fail to start as
 * well). */
#include "daemon/eyes.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEAT_RETRY_S 2

struct seat {
    struct detector *detector;
    struct detector *next;    /* takes the seat when its thread is between two frames */
    struct detector *retired; /* sat there until then; the changer's to stop */
    bool looking;
    struct detector_stats before; /* of those that sat here earlier */
};

struct eyes {
    struct detector_config config;
    atomic_bool cancel; /* of loading */
    size_t count;
    pthread_t changer;
    bool changer_runs;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t moved; /* a wish, an exchanged seat, the end */
    struct seat seats[EYES_SEATS_MAX];
    struct model *model, *coming;             /* coming: of a change that is not done */
    struct batcher *batcher, *coming_batcher; /* likewise; NULL: each seat has the network itself */
    char dir[FS_PATH_MAX];                    /* of `model` */
    uint64_t wished;                          /* number of the latest wish */
    char wish[FS_PATH_MAX];                   /* "": the directory of the present model again */
    struct eyes_change change;                /* the one at work, or the last that ended */
    bool closing;
};

const char *eyes_state_name(enum eyes_state state) {
    static const char *const names[] = {"none", "waiting",   "loading", "switching",
                                        "done", "unchanged", "refused"};
    return names[state];
}

/* ---- seats ---- */

static void stats_add(struct detector_stats *sum, const struct detector_stats *more) {
    sum->frames += more->frames;
    sum->bad += more->bad;
    sum->restarts += more->restarts;
    sum->timeouts += more->timeouts;
}

/* With the lock held. */
static void seat_exchange(struct eyes *eyes, struct seat *seat) {
    if (seat->looking || !seat->next) {
        return;
    }
    struct detector_stats stats;
    detector_stats_get(seat->detector, &stats);
    stats_add(&seat->before, &stats);
    seat->retired = seat->detector;
    seat->detector = TAKE_PTR(seat->next);
    pthread_cond_broadcast(&eyes->moved);
}

int eyes_look(struct eyes *eyes, size_t number, struct frame *frame, struct err *err) {
    struct seat *seat = &eyes->seats[number];
    pthread_mutex_lock(&eyes->lock);
    seat->looking = true;
    struct detector *detector = seat->detector;
    pthread_mutex_unlock(&eyes->lock);
    int code = detector_run(detector, frame, err);
    pthread_mutex_lock(&eyes->lock);
    seat->looking = false;
    seat_exchange(eyes, seat);
    pthread_mutex_unlock(&eyes->lock);
    return code;
}

/* Takes `fresh`; returns when it sits and its forerunner has ended. */
static void seat_give(struct eyes *eyes, struct seat *seat, struct detector *fresh) {
    pthread_mutex_lock(&eyes->lock);
    seat->next = fresh;
    seat_exchange(eyes, seat);
    while (!seat->retired) {
        pthread_cond_wait(&eyes->moved, &eyes->lock);
    }
    struct detector *retired = TAKE_PTR(seat->retired);
    pthread_mutex_unlock(&eyes->lock);
    detector_stop(retired);
}

/* ---- detectors ---- */

static int start_batcher(struct eyes *eyes, const struct model *model, struct batcher **out,
                         struct err *err) {
    return batcher_wanted(&eyes->config, model) > 0 ? batcher_start(&eyes->config, model, out, err)
                                                    : 0;
}

static int start_detector(struct eyes *eyes, const struct model *model, struct batcher *batcher,
                          struct detector **out, struct err *err) {
    struct detector_config config = eyes->config;
    config.batcher = batcher;
    return detector_start(&config, model, out, err);
}

/* ---- a change ---- */

static void change_note(struct eyes *eyes, enum eyes_state state, const struct err *err) {
    pthread_mutex_lock(&eyes->lock);
    eyes->change.state = state;
    eyes->change.text[0] = '\0';
    if (err) {
        err_text(err, eyes->change.text, sizeof(eyes->change.text));
    }
    pthread_mutex_unlock(&eyes->lock);
}

static void change_refuse(struct eyes *eyes, const char *dir, struct err *err) {
    err_wrap(err, "the model in %s is not taken", dir);
    log_err(LOG_LEVEL_ERROR, "model not changed; the old one goes on", err);
    change_note(eyes, EYES_REFUSED, err);
}

/* All that changes a verdict, and what records say of it. */
static bool same_model(const struct model *a, const struct model *b) {
    return memcmp(&a->hash, &b->hash, sizeof(a->hash)) == 0 && strcmp(a->name, b->name) == 0 &&
           strcmp(a->version, b->version) == 0 && a->resize == b->resize && a->nms == b->nms &&
           a->nms_kind == b->nms_kind && a->threshold == b->threshold;
}

/* Less when the house closes meanwhile. */
static void wait_a_while(struct eyes *eyes) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += SEAT_RETRY_S;
    pthread_mutex_lock(&eyes->lock);
    for (int code = 0; !code && !eyes->closing;) {
        code = pthread_cond_timedwait(&eyes->moved, &eyes->lock, &end);
    }
    pthread_mutex_unlock(&eyes->lock);
}

static bool is_closing(struct eyes *eyes) {
    pthread_mutex_lock(&eyes->lock);
    bool closing = eyes->closing;
    pthread_mutex_unlock(&eyes->lock);
    return closing;
}

/* For a seat after the first: the model is good, so what fails may pass. NULL: the house closes. */
static struct detector *start_patiently(struct eyes *eyes) {
    struct detector *detector = NULL;
    struct err err = {0};
    struct log_gate gate = {0};
    uint64_t missed;
    while (!is_closing(eyes) &&
           start_detector(eyes, eyes->coming, eyes->coming_batcher, &detector, &err)) {
        if (log_gate_open(&gate, 60000, &missed)) {
            log_err(LOG_LEVEL_WARN, "a worker keeps the old model for now", &err);
        }
        change_note(eyes, EYES_SWITCHING, &err);
        wait_a_while(eyes);
    }
    return detector;
}

/* Fills all seats with eyes->coming, beginning with `first`, which is taken. */
static bool switch_seats(struct eyes *eyes, struct detector *first) {
    change_note(eyes, EYES_SWITCHING, NULL);
    for (size_t i = 0; i < eyes->count; i++) {
        struct detector *detector = i ? start_patiently(eyes) : first;
        if (!detector) {
            return false;
        }
        seat_give(eyes, &eyes->seats[i], detector);
    }
    return true;
}

static void switch_to(struct eyes *eyes, struct model *model, struct batcher *batcher,
                      const char *dir, struct detector *first) {
    pthread_mutex_lock(&eyes->lock);
    eyes->coming = model;
    eyes->coming_batcher = batcher;
    pthread_mutex_unlock(&eyes->lock);
    if (!switch_seats(eyes, first)) {
        return;
    }
    pthread_mutex_lock(&eyes->lock);
    struct model *old = eyes->model;
    struct batcher *retired = eyes->batcher;
    eyes->model = TAKE_PTR(eyes->coming);
    eyes->batcher = TAKE_PTR(eyes->coming_batcher);
    snprintf(eyes->dir, sizeof(eyes->dir), "%s", dir);
    pthread_mutex_unlock(&eyes->lock);
    log_info("another model looks now", "model=\"%s\" version=\"%s\" before=\"%s %s\" dir=\"%s\"",
             model->name, model->version, old->name, old->version, dir);
    batcher_stop(retired);
    model_close(old);
    change_note(eyes, EYES_DONE, NULL);
}

static void change_run(struct eyes *eyes, const char *dir) {
    struct model *model = NULL;
    struct batcher *batcher = NULL;
    struct detector *first = NULL;
    struct err err = {0};
    int code = model_open(dir, &model, &err);
    if (!code && same_model(model, eyes->model)) { /* only this thread ever replaces it */
        model_close(model);
        change_note(eyes, EYES_UNCHANGED, NULL);
        return;
    }
    code = code ? code : start_batcher(eyes, model, &batcher, &err);
    code = code ? code : start_detector(eyes, model, batcher, &first, &err);
    if (code) {
        batcher_stop(batcher);
        model_close(model);
        change_refuse(eyes, dir, &err);
        return;
    }
    switch_to(eyes, model, batcher, dir, first);
}

/* With the lock held: makes the wish the change at work. */
static void wish_begin(struct eyes *eyes, char dir[FS_PATH_MAX]) {
    snprintf(dir, FS_PATH_MAX, "%s", eyes->wish[0] ? eyes->wish : eyes->dir);
    eyes->change = (struct eyes_change){.number = eyes->wished, .state = EYES_LOADING};
    memcpy(eyes->change.dir, dir, FS_PATH_MAX);
}

static void *changer_main(void *arg) {
    struct eyes *eyes = arg;
    char dir[FS_PATH_MAX] = "";
    pthread_mutex_lock(&eyes->lock);
    while (!eyes->closing) {
        if (eyes->wished == eyes->change.number) {
            pthread_cond_wait(&eyes->moved, &eyes->lock);
            continue;
        }
        wish_begin(eyes, dir);
        pthread_mutex_unlock(&eyes->lock);
        change_run(eyes, dir);
        pthread_mutex_lock(&eyes->lock);
    }
    pthread_mutex_unlock(&eyes->lock);
    return NULL;
}

int eyes_use(struct eyes *eyes, const char *dir, uint64_t *number, struct err *err) {
    if (dir && (!*dir || strlen(dir) >= FS_PATH_MAX)) {
        return err_set(err, ERR_INVALID, "a model's directory has a path of 1 to %d bytes",
                       FS_PATH_MAX - 1);
    }
    pthread_mutex_lock(&eyes->lock);
    snprintf(eyes->wish, sizeof(eyes->wish), "%s", dir ? dir : "");
    uint64_t wished = ++eyes->wished;
    pthread_cond_broadcast(&eyes->moved);
    pthread_mutex_unlock(&eyes->lock);
    *number = wished;
    return 0;
}

/* ---- life cycle ---- */

static int start_changer(struct eyes *eyes, struct err *err) {
    int failed = pthread_create(&eyes->changer, NULL, changer_main, eyes);
    eyes->changer_runs = !failed;
    return failed ? err_sys(err, failed, "cannot start a thread") : 0;
}

int eyes_open(const struct detector_config *config, size_t count, struct model *model,
              const char *dir, struct eyes **out, struct err *err) {
    struct eyes *eyes = mem_alloc(sizeof(*eyes));
    if (!eyes) {
        model_close(model);
        return err_set(err, ERR_NOMEM, "no memory for the workers");
    }
    eyes->config = *config;
    eyes->config.cancel = &eyes->cancel;
    eyes->model = model;
    snprintf(eyes->dir, sizeof(eyes->dir), "%s", dir);
    pthread_mutex_init(&eyes->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&eyes->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    int code = start_batcher(eyes, model, &eyes->batcher, err);
    for (; !code && eyes->count < count && eyes->count < EYES_SEATS_MAX; eyes->count += !code) {
        code = start_detector(eyes, model, eyes->batcher, &eyes->seats[eyes->count].detector, err);
    }
    code = code ? code : start_changer(eyes, err);
    if (code) {
        eyes_close(eyes);
        return code;
    }
    *out = eyes;
    return 0;
}

void eyes_close(struct eyes *eyes) {
    if (!eyes) {
        return;
    }
    atomic_store(&eyes->cancel, true);
    pthread_mutex_lock(&eyes->lock);
    eyes->closing = true;
    pthread_cond_broadcast(&eyes->moved);
    pthread_mutex_unlock(&eyes->lock);
    if (eyes->changer_runs) {
        pthread_join(eyes->changer, NULL);
    }
    for (size_t i = 0; i < eyes->count; i++) {
        detector_stop(eyes->seats[i].detector);
    }
    batcher_stop(eyes->coming_batcher);
    batcher_stop(eyes->batcher);
    model_close(eyes->coming);
    model_close(eyes->model);
    pthread_cond_destroy(&eyes->moved);
    pthread_mutex_destroy(&eyes->lock);
    free(eyes);
}

/* ---- looking in ---- */

void eyes_change_get(struct eyes *eyes, struct eyes_change *out) {
    pthread_mutex_lock(&eyes->lock);
    *out = eyes->change;
    if (eyes->wished != out->number) {
        out->number = eyes->wished;
        out->state = EYES_WAITING;
        out->text[0] = '\0';
        snprintf(out->dir, sizeof(out->dir), "%s", eyes->wish[0] ? eyes->wish : eyes->dir);
    }
    pthread_mutex_unlock(&eyes->lock);
}

void eyes_model_get(struct eyes *eyes, struct eyes_model *out) {
    pthread_mutex_lock(&eyes->lock);
    const struct model *model = eyes->model;
    *out = (struct eyes_model){.hash = model->hash,
                               .input_width = model->input_width,
                               .input_height = model->input_height,
                               .class_count = model->class_count};
    memcpy(out->name, model->name, sizeof(out->name));
    memcpy(out->version, model->version, sizeof(out->version));
    memcpy(out->dir, eyes->dir, sizeof(out->dir));
    pthread_mutex_unlock(&eyes->lock);
}

int eyes_labels_get(struct eyes *eyes, char (**labels)[FRAME_LABEL_MAX + 1], size_t *count,
                    double *threshold, struct err *err) {
    pthread_mutex_lock(&eyes->lock);
    const struct model *model = eyes->model;
    char(*copy)[FRAME_LABEL_MAX + 1] = mem_array(model->class_count + 1, sizeof(*copy));
    if (copy && model->class_count) {
        memcpy(copy, model->labels, model->class_count * sizeof(*copy));
    }
    *count = model->class_count;
    *threshold = model->threshold;
    pthread_mutex_unlock(&eyes->lock);
    *labels = copy;
    return copy ? 0 : err_set(err, ERR_NOMEM, "no memory for the labels of the model");
}

size_t eyes_stats_get(struct eyes *eyes, struct detector_stats out[EYES_ROWS_MAX]) {
    pthread_mutex_lock(&eyes->lock);
    for (size_t i = 0; i < eyes->count; i++) {
        detector_stats_get(eyes->seats[i].detector, &out[i]);
        stats_add(&out[i], &eyes->seats[i].before);
    }
    size_t count = eyes->count;
    if (eyes->batcher) {
        batcher_stats_get(eyes->batcher, &out[count++]);
    }
    pthread_mutex_unlock(&eyes->lock);
    return count;
}
