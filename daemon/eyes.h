/* eyes: the workers' detectors, and the change from one model to another while frames flow.
 *
 * A seat is one worker thread's place; in it sits a detector, which is a child process with a
 * model. eyes_use asks for a change: a thread of eyes checks the new model, starts a detector with
 * it beside those that serve, and once that one has run the network puts it into the first seat;
 * then the other seats, one after the other. A frame is looked at by whoever sits there when it
 * comes, and its record names that model; no frame waits for the change. A model that is refused
 * changes nothing. On a GPU the seats' children prepare frames and one more process looks at them
 * in batches (see inference.h). Not: no opinion on frames, no queue. Life cycle: eyes_open ->
 * eyes_look (one thread a seat), eyes_use, eyes_*_get -> eyes_close, when nobody looks any more.
 * Thread: any.
 */
#ifndef CREEL_DAEMON_EYES_H
#define CREEL_DAEMON_EYES_H

#include "daemon/base/err.h"
#include "daemon/base/fs.h"
#include "inference/inference.h"

#define EYES_SEATS_MAX 16
#define EYES_ROWS_MAX  (EYES_SEATS_MAX + 1)

struct eyes;

/* Starts `count` detectors (1 to EYES_SEATS_MAX). What `config` points to is borrowed until
 * eyes_close; `model`, from the directory `dir`, is taken also when this fails. Blocks until all
 * have loaded it. */
int eyes_open(const struct detector_config *config, size_t count, struct model *model,
              const char *dir, struct eyes **out, struct err *err);
void eyes_close(struct eyes *eyes); /* NULL accepted; a change that is loading is given up */

/* As detector_run, with whoever sits there. Blocks until the verdict. */
int eyes_look(struct eyes *eyes, size_t seat, struct frame *frame, struct err *err);

/* Asks for the model in `dir`; NULL: looks again at the directory of the present one, in case its
 * files are others now. Returns at once, with the number of the change; how it ends is logged and
 * is in eyes_change_get. A wish that has not begun is overtaken by a later one. */
int eyes_use(struct eyes *eyes, const char *dir, uint64_t *number, struct err *err);

enum eyes_state {
    EYES_NONE = 0,  /* no change was asked for */
    EYES_WAITING,   /* another change comes first */
    EYES_LOADING,   /* the new model is being checked and started */
    EYES_SWITCHING, /* it serves in some seats; `text` says why not in all, if something failed */
    EYES_DONE,
    EYES_UNCHANGED, /* it was the model that serves already */
    EYES_REFUSED,   /* `text` says why; the old one serves */
};
const char *eyes_state_name(enum eyes_state state);

struct eyes_change { /* the latest that was asked for */
    uint64_t number;
    enum eyes_state state;
    char dir[FS_PATH_MAX];
    char text[2 * ERR_TEXT_MAX];
};
void eyes_change_get(struct eyes *eyes, struct eyes_change *out);

struct eyes_model { /* the one that serves; the old one until a change is done */
    char name[FRAME_MODEL_NAME_MAX + 1];
    char version[FRAME_MODEL_NAME_MAX + 1];
    char dir[FS_PATH_MAX];
    struct frame_hash hash;
    uint32_t input_width, input_height;
    size_t class_count;
};
void eyes_model_get(struct eyes *eyes, struct eyes_model *out);

/* The labels of the model that serves, in the order of its classes (malloc'd: the caller frees
 * *labels), and its threshold. ERR_NOMEM. */
int eyes_labels_get(struct eyes *eyes, char (**labels)[FRAME_LABEL_MAX + 1], size_t *count,
                    double *threshold, struct err *err);

/* One row a seat, over all detectors that ever sat there, and one for the process of their batches
 * where there is one; returns how many. */
size_t eyes_stats_get(struct eyes *eyes, struct detector_stats out[EYES_ROWS_MAX]);

#endif
