/* A detector: one worker process, kept alive, asked one frame at a time.
 *
 * States: no child -> (start, back off) -> idle -> asked -> idle, or the child is ended: it died,
 * was too slow, or answered what cannot be. Then the frame gets one more try in a fresh child; the
 * second failure is the frame's end (ERR_CRASHED), and the detector goes on with the next.
 *
 * With a batcher the child only prepares the frame, and the network's verdict comes from there: the
 * seat of the frame waits meanwhile, so that what the child prepared stays until it was copied.
 *
 * Invariants: 1. A verdict is used only when its packet's and its memory's generation are this
 * question's, and detector_reply_check accepts our copy of it. 2. The output memory belongs to one
 * child and dies with it, so an old child cannot write into a new one's answer; the input is ours
 * to write and nobody else's (sealed, and the child's descriptor is read only), and is written
 * again only after a verdict, or after waitpid has seen the child's end. Generations never repeat
 * in a detector's life. 3. No child outlives detector_stop. 4. The model's files stay those that
 * were checked: each child gets the same descriptors. */
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/batcher.h"
#include "inference/detector_choice.h"
#include "inference/detector_kept.h"
#include "inference/detector_reply.h"
#include "inference/image_view.h"
#include "inference/inference.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    THUMB_WIDTH_MAX = 1024,
    TRIES = 2,
    INPUT_KEPT = 16 << 20,  /* bytes of the input memory that stay in use between frames */
    OUTPUT_KEPT = 16 << 20, /* likewise of the output */
};

struct detector {
    struct kept kept;
    size_t input_used;           /* bytes touched since the last trim */
    struct batcher *batcher;     /* what it prepares frames for; NULL: it is whole */
    struct batcher *own;         /* the same where nobody shares it; owned */
    bool expected;               /* the batcher waits for the frame at hand */
    struct worker_result result; /* our copy */
    uint8_t thumb[FRAME_THUMB_MAX];
    uint8_t *picture; /* owned; of the verdict, until the frame has it */
    atomic_uint_fast64_t frames, bad, timeouts;
};

/* ---- shared memory ---- */

static void input_put(struct detector *detector, const struct frame *frame) {
    size_t size = (size_t)frame->record.blob_bytes;
    if (detector->input_used > INPUT_KEPT) {
        /* a hole, so that one huge frame does not hold its memory for ever */
        madvise(detector->kept.input.bytes, detector->input_used, MADV_REMOVE);
        detector->input_used = 0;
    }
    memcpy(detector->kept.input.bytes, frame->blob, size);
    detector->input_used = size > detector->input_used ? size : detector->input_used;
    if (frame->view != NULL) {
        memcpy(detector->kept.input.bytes + WORKER_VIEW_AT, frame->view, sizeof(*frame->view));
    }
}

/* With a batcher the children are for the CPU: what decodes a stranger's file has no device. */
static int set_up(struct detector *detector, const struct detector_config *config,
                  const struct model *model, struct err *err) {
    struct detector_choice choice;
    int code = detector_choose(config, model, &choice, err);
    if (code != 0) {
        return code;
    }
    detector->batcher = config->batcher;
    if (detector->batcher == NULL && detector_choice_batch(config, &choice) > 0) {
        code = batcher_start(config, model, &detector->own, err);
        detector->batcher = detector->own;
    }
    if (code != 0) {
        return code;
    }
    enum worker_role role = WORKER_WHOLE;
    if (detector->batcher != NULL) {
        role = WORKER_PREPARES;
        detector_choice_prepares(&choice);
    }
    return kept_start(&detector->kept, config, model, &choice, role, 0, err);
}

int detector_start(const struct detector_config *config, const struct model *model,
                   struct detector **out, struct err *err) {
    if (!(config->floor > 0 && config->floor < 1) || config->thumb_width > THUMB_WIDTH_MAX ||
        config->timeout_ms < 0 || config->load_timeout_ms < 0) {
        return err_set(err, ERR_INVALID,
                       "detector: floor %g must lie between 0 and 1, thumb_width %u be at most %d, "
                       "timeout_ms %d not negative",
                       config->floor, config->thumb_width, THUMB_WIDTH_MAX, config->timeout_ms);
    }
    struct detector *detector = mem_alloc(sizeof(*detector));
    if (detector == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a detector");
    }
    int code = set_up(detector, config, model, err);
    if (code != 0) {
        detector_stop(detector);
        return code;
    }
    *out = detector;
    return 0;
}

void detector_stop(struct detector *detector) {
    if (detector == NULL) {
        return;
    }
    kept_stop(&detector->kept);
    batcher_stop(detector->own);
    free(detector->picture);
    free(detector);
}

/* ---- a frame ---- */

static int result_copy(struct detector *detector, struct err *err) {
    ssize_t got =
        pread(detector->kept.child.output, &detector->result, sizeof(detector->result), 0);
    if (got != (ssize_t)sizeof(detector->result)) {
        return err_sys(err, errno, "reading the verdict");
    }
    int code = detector_reply_check(&detector->result, detector->kept.generation,
                                    detector->kept.model->class_count, err);
    size_t size = detector->result.thumb_bytes;
    if (code != 0 || detector->result.code != 0 || size == 0) {
        return code;
    }
    got =
        pread(detector->kept.child.output, detector->thumb, size, (off_t)sizeof(detector->result));
    if (got != (ssize_t)size || size < 2 || detector->thumb[0] != 0xff ||
        detector->thumb[1] != 0xd8) {
        return err_set(err, ERR_CORRUPT, "the worker process answered a thumbnail that is no JPEG");
    }
    return 0;
}

static bool view_changes(const struct frame *frame) {
    const struct view *view = frame->view;
    return frame->format == FRAME_ENCODED && view != NULL &&
           (view->quarters != 0 || view->privacy.count > 0);
}

/* What the bytes say they are; MEDIA_NONE: nothing that is stored as it came. */
static enum frame_media media_of(const struct frame *frame) {
    const uint8_t *bytes = frame->blob;
    bool encoded = frame->format == FRAME_ENCODED && frame->record.blob_bytes >= 4;
    if (encoded && memcmp(bytes, "\xff\xd8\xff", 3) == 0) {
        return MEDIA_JPEG;
    }
    return encoded && memcmp(bytes, "\x89PNG", 4) == 0 ? MEDIA_PNG : MEDIA_NONE;
}

/* A raw frame has the size that was given; a frame that is to be masked has come back masked; one
 * that is stored as it came is no other kind of file, and no other picture takes its place. */
static int fits_question(const struct detector *detector, const struct frame *frame,
                         struct err *err) {
    const struct worker_result *result = &detector->result;
    bool raw = frame->format != FRAME_ENCODED;
    if (raw && (result->width != frame->record.width || result->height != frame->record.height)) {
        return err_set(err, ERR_CORRUPT, "the worker process answered another size than was given");
    }
    enum frame_media media = media_of(frame);
    bool asked = view_changes(frame), picture = result->picture_bytes != 0;
    if (asked ? !picture : picture && (raw || media != MEDIA_NONE)) {
        return err_set(err, ERR_CORRUPT, "the worker process answered %s picture",
                       picture ? "an unasked" : "without a");
    }
    if ((enum frame_media)result->media != (picture ? MEDIA_JPEG : media) &&
        (picture || media != MEDIA_NONE)) {
        return err_set(err, ERR_CORRUPT, "the worker process answered media=%u for another kind",
                       result->media);
    }
    return 0;
}

/* Copies the frame as it may be stored, where the verdict comes with one. */
static int picture_copy(struct detector *detector, struct err *err) {
    size_t size = detector->result.picture_bytes;
    CLEANUP(mem_free_at) uint8_t *picture = mem_alloc(size > 0 ? size : 1);
    if (picture == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a frame of %zu bytes", size);
    }
    if (size == 0) {
        return 0;
    }
    ssize_t got = pread(detector->kept.child.output, picture, size, (off_t)WORKER_PICTURE_AT);
    if (got != (ssize_t)size || size < 2 || picture[0] != 0xff || picture[1] != 0xd8) {
        return err_set(err, ERR_CORRUPT, "the worker process answered a picture that is no JPEG");
    }
    if (size > OUTPUT_KEPT) { /* as for the input */
        fallocate(detector->kept.child.output, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)WORKER_PICTURE_AT, (off_t)size);
    }
    free(detector->picture);
    detector->picture = TAKE_PTR(picture);
    return 0;
}

/* It takes the place of what came in. */
static void picture_take(struct detector *detector, struct frame *frame) {
    free(frame->blob);
    frame->blob = TAKE_PTR(detector->picture);
    frame->record.blob_bytes = detector->result.picture_bytes;
    frame->record.masked = frame->view != NULL && frame->view->privacy.count > 0;
}

/* One question to a living child, and its checked answer in detector->result. */
static int ask(struct detector *detector, const struct frame *frame, struct err *err) {
    struct worker_job job = {.size = frame->record.blob_bytes,
                             .format = (uint32_t)frame->format,
                             .has_view = frame->view != NULL};
    if (frame->format != FRAME_ENCODED) {
        job.width = frame->record.width;
        job.height = frame->record.height;
    }
    int code = kept_ask(&detector->kept, &job, err);
    if (code == 0) {
        code = result_copy(detector, err);
    }
    if (code == 0 && detector->result.code == 0) {
        code = fits_question(detector, frame, err);
        code = code == 0 ? picture_copy(detector, err) : code;
    }
    return code;
}

/* What was prepared goes to the network; its detections become those of detector->result. */
static int network_ask(struct detector *detector, const struct frame *frame, struct err *err) {
    struct batcher_question question = {.fd = detector->kept.child.output,
                                        .seen_width = detector->result.seen_width,
                                        .seen_height = detector->result.seen_height,
                                        .view = frame->view};
    detector->expected = false; /* it has come */
    return batcher_run(detector->batcher, &question, &detector->result, err);
}

static int verdict_take(struct detector *detector, struct frame *frame, struct err *err) {
    const struct worker_result *result = &detector->result;
    kept_served(&detector->kept);
    atomic_fetch_add(&detector->frames, 1);
    if (result->code == ERR_INVALID) {
        atomic_fetch_add(&detector->bad, 1);
    }
    if (result->code != 0) {
        return err_set(err, result->code, "%s", result->text);
    }
    int code = detector_reply_apply(result, detector->thumb, detector->kept.model, frame, err);
    if (code == 0 && result->picture_bytes > 0) {
        picture_take(detector, frame);
    }
    return code;
}

static void crashed_count(struct detector *detector, int code) {
    if (code == ERR_CRASHED) {
        atomic_fetch_add(&detector->frames, 1);
        atomic_fetch_add(&detector->bad, 1);
    }
}

static int run_tries(struct detector *detector, struct frame *frame, struct err *err) {
    struct err why = {0};
    char how[CHILD_LINE_SIZE] = "";
    for (int i = 0; i < TRIES; i++) {
        int code = kept_ensure(&detector->kept, err);
        if (code != 0) {
            return code;
        }
        code = ask(detector, frame, &why);
        bool prepared = code == 0 && detector->result.code == 0;
        if (prepared && detector->batcher != NULL) {
            code = network_ask(detector, frame, &why);
        }
        bool starved = code == 0 && detector->result.code == ERR_NOMEM && i + 1 < TRIES;
        if (code == 0 && !starved) {
            return verdict_take(detector, frame, err);
        }
        if (code == ERR_NOMEM || (prepared && code != ERR_CORRUPT)) { /* ours, or the network's */
            crashed_count(detector, code);
            return err_set(err, code, "%s", why.msg);
        }
        if (code == ERR_TIMEOUT) {
            atomic_fetch_add(&detector->timeouts, 1);
        }
        kept_fail(&detector->kept, how, sizeof(how));
    }
    crashed_count(detector, ERR_CRASHED);
    return err_set(err, ERR_CRASHED, "the frame ended the worker process %d times: %s; it %s",
                   TRIES, why.msg, how);
}

int detector_run(struct detector *detector, struct frame *frame, struct err *err) {
    if (frame->record.blob_bytes == 0 || frame->record.blob_bytes > FRAME_BLOB_MAX) {
        return err_set(err, ERR_INVALID, "a frame of %llu bytes; expected 1 to %u",
                       (unsigned long long)frame->record.blob_bytes, FRAME_BLOB_MAX);
    }
    if (frame->format != FRAME_ENCODED && frame->view != NULL && !frame->viewed) {
        int code = image_view_raw(frame, frame->view, err);
        if (code != 0) {
            return code;
        }
        frame->viewed = true;
    }
    input_put(detector, frame);
    if (detector->batcher != NULL) {
        detector->expected = true;
        batcher_expect(detector->batcher, 1);
    }
    int code = run_tries(detector, frame, err);
    if (detector->expected) {
        detector->expected = false;
        batcher_expect(detector->batcher, -1);
    }
    return code;
}

void detector_stats_get(const struct detector *detector, struct detector_stats *out) {
    *out = (struct detector_stats){
        .frames = atomic_load(&detector->frames),
        .bad = atomic_load(&detector->bad),
        .restarts = atomic_load(&detector->kept.restarts),
        .timeouts = atomic_load(&detector->timeouts),
        .pid = atomic_load(&detector->kept.pid),
    };
    memcpy(out->program, detector->kept.program, sizeof(out->program));
}

int detector_backend(const char *worker_path, char *out, size_t size, struct err *err) {
    char path[DETECTOR_PATH_SIZE];
    if (worker_path == NULL) {
        if (!process_find("creel-worker-cpu", path, sizeof(path))) {
            return err_set(
                err, ERR_NOT_FOUND,
                "the worker program creel-worker-cpu is neither beside this program nor in %s",
                process_libexec());
        }
        worker_path = path;
    }
    return child_ask_backend(worker_path, out, size, err);
}

bool detector_program_describe(size_t i, char *out, size_t size) {
    const struct backend_program *program = backend_program_at(i);
    char path[DETECTOR_PATH_SIZE], backend[WORKER_BACKEND_SIZE], why[2 * ERR_TEXT_MAX];
    struct err err = {0};
    if (program == NULL) {
        return false;
    }
    if (!process_find(program->name, path, sizeof(path))) {
        snprintf(out, size, "%s: not installed", program->name);
    } else if (child_ask_backend(path, backend, sizeof(backend), &err) != 0) {
        snprintf(out, size, "%s: %s", program->name, err_text(&err, why, sizeof(why)));
    } else {
        snprintf(out, size, "%s: %s", program->name, backend);
    }
    return true;
}
