/* A detector: one worker process, kept alive, asked one frame at a time.
 *
 * States: no child -> (start, back off) -> idle -> asked -> idle, or the child is ended: it died,
 * was too slow, or answered what cannot be. Then the frame gets one more try in a fresh child; the
 * second failure is the frame's end (ERR_CRASHED), and the detector goes on with the next.
 *
 * Invariants: 1. A verdict is used only when its packet's and its memory's generation are this
 * question's, and detector_reply_check accepts our copy of it. 2. The output memory belongs to one
 * child and dies with it, so an old child cannot write into a new one's answer; the input is ours
 * to write and nobody else's (sealed, and the child's descriptor is read only), and is written
 * again only after a verdict, or after waitpid has seen the child's end. Generations never repeat
 * in a detector's life. 3. No child outlives detector_stop. 4. The model's files stay those that
 * were checked: each child gets the same descriptors.
 *
 * Back-off: the first restart is at once; each further death in a row doubles a wait, up to
 * BACKOFF_MOST_MS. A verdict resets it. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/detector_child.h"
#include "inference/detector_reply.h"
#include "inference/image_view.h"
#include "inference/inference.h"
#include "inference/model_files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(F_SEAL_FUTURE_WRITE)
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum {
    TIMEOUT_MS = 20000,
    LOAD_TIMEOUT_MS = 120000, /* a large network on a small machine */
    ALARM_EXTRA_S = 5,        /* the child's own alarm rings after our timeout */
    THUMB_WIDTH = 320,
    THUMB_WIDTH_MAX = 1024,
    TRIES = 2,
    BACKOFF_MS = 100,
    BACKOFF_MOST_MS = 5000,
    INPUT_KEPT = 16 << 20,  /* bytes of the input memory that stay in use between frames */
    OUTPUT_KEPT = 16 << 20, /* likewise of the output */
    PATH_SIZE = 4096,
};

/* Decoded pixels, a progressive JPEG's coefficients, the input, libraries and stacks. */
#define WORKER_MEMORY (1536ull << 20)

struct detector {
    struct model_files files;
    const struct model *model; /* borrowed */
    char *worker_path;         /* owned */
    int input_fd;              /* read only: the child's */
    uint8_t *input;            /* WORKER_INPUT_SIZE, shared */
    size_t input_used;         /* bytes touched since the last trim */
    int input_write_fd;
    int timeout_ms, load_timeout_ms;
    const atomic_bool *cancel; /* borrowed */
    struct worker_start start;
    struct child child;
    struct process_limit limit;
    unsigned deaths; /* in a row */
    int64_t died_us; /* boot time of the last one */
    uint64_t generation;
    struct worker_result result; /* our copy */
    uint8_t thumb[FRAME_THUMB_MAX];
    uint8_t *picture; /* owned; of the verdict, until the frame has it */
    atomic_uint_fast64_t frames, bad, restarts, timeouts;
    atomic_int pid;
    char program[DETECTOR_PROGRAM_SIZE];
};

/* ---- which program ---- */

/* Whether a program of the table may serve: the device asked for, the backend asked for. */
static bool program_wanted(const struct backend_program *program, const char *device,
                           const char *backend) {
    bool cuda = strncmp(device, "cuda", 4) == 0;
    if (strcmp(device, "auto") == 0 && program->cuda && access("/dev/nvidia0", F_OK) != 0) {
        return false;
    }
    if (strcmp(device, "auto") != 0 && program->cuda != cuda) {
        return false;
    }
    return strcmp(backend, "auto") == 0 || strcmp(backend, backend_name(program->backend)) == 0;
}

static int choice_check(const char *device, const char *backend, struct err *err) {
    enum backend known;
    if (strncmp(device, "cuda", 4) != 0 && strcmp(device, "cpu") != 0 &&
        strcmp(device, "auto") != 0) {
        return err_set(err, ERR_INVALID, "device \"%s\": expected auto, cpu or cuda:N", device);
    }
    if (strcmp(backend, "auto") != 0 && !backend_parse(backend, &known)) {
        return err_set(err, ERR_INVALID, "backend \"%s\": expected auto, pjreddie or alexeyab",
                       backend);
    }
    return 0;
}

/* Why no program serves: what it would compute wrongly, or that there is none. */
static int none_serves(const char *why, const char *device, const char *backend, struct err *err) {
    if (why != NULL) {
        return err_set(err, ERR_INVALID, "%s", why);
    }
    bool cuda = strncmp(device, "cuda", 4) == 0;
    return err_set(err, ERR_NOT_FOUND,
                   "device %s, backend %s: the worker program for that (%s) is neither beside this "
                   "program nor in %s%s",
                   device, backend,
                   strcmp(backend, "alexeyab") == 0 && !cuda ? "creel-worker-alexeyab"
                   : cuda                                    ? "creel-worker-cuda"
                                                             : "creel-worker-cpu",
                   process_libexec(), cuda ? "; use device: cpu" : "");
}

/* Chooses program and device: the first that is here, is wanted and computes this model rightly;
 * those for CUDA before the others. */
static int program_choose(const struct detector_config *config, const struct model *model,
                          char *path, size_t size, struct worker_start *start, struct err *err) {
    const char *device = config->device != NULL ? config->device : "auto";
    const char *backend = config->backend != NULL ? config->backend : "auto";
    const char *why = NULL;
    int code = choice_check(device, backend, err);
    if (code != 0) {
        return code;
    }
    if (config->worker_path != NULL) {
        snprintf(start->device, sizeof(start->device), "%s",
                 strcmp(device, "auto") == 0 ? "cpu" : device);
        snprintf(path, size, "%s", config->worker_path);
        return 0;
    }
    for (int cuda = 1; cuda >= 0; cuda--) {
        const struct backend_program *program;
        for (size_t i = 0; (program = backend_program_at(i)) != NULL; i++) {
            if (program->cuda != (cuda == 1) || !program_wanted(program, device, backend) ||
                !process_find(program->name, path, size)) {
                continue;
            }
            if (model->refusals.why[program->backend][0] == '\0') {
                const char *automatic = program->cuda ? "cuda:0" : "cpu";
                snprintf(start->device, sizeof(start->device), "%s",
                         strcmp(device, "auto") == 0 ? automatic : device);
                return 0;
            }
            why = model->refusals.why[program->backend];
        }
    }
    return none_serves(why, device, backend, err);
}

/* ---- shared memory ---- */

/* Order matters: our writable mapping first, then the seal that forbids all later ones. */
static int input_make(struct detector *detector, struct err *err) {
    int fd = memfd_create("creel-frame", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    detector->input_write_fd = fd;
    if (fd < 0 || ftruncate(fd, WORKER_INPUT_SIZE) != 0) {
        return err_sys(err, errno, "making shared memory for frames");
    }
    void *input = mmap(NULL, WORKER_INPUT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (input == MAP_FAILED) {
        return err_sys(err, errno, "mapping shared memory for frames");
    }
    detector->input = input;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        return err_sys(err, errno, "sealing shared memory for frames");
    }
    fcntl(fd, F_ADD_SEALS,
          F_SEAL_FUTURE_WRITE); /* Linux 5.1; the read-only descriptor holds without it */
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    detector->input_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (detector->input_fd < 0) {
        return err_sys(err, errno, "opening %s for the worker process (is /proc mounted?)", path);
    }
    return 0;
}

static void input_put(struct detector *detector, const struct frame *frame) {
    size_t size = (size_t)frame->record.blob_bytes;
    if (detector->input_used > INPUT_KEPT) {
        /* a hole, so that one huge frame does not hold its memory for ever */
        madvise(detector->input, detector->input_used, MADV_REMOVE);
        detector->input_used = 0;
    }
    memcpy(detector->input, frame->blob, size);
    detector->input_used = size > detector->input_used ? size : detector->input_used;
    if (frame->view != NULL) {
        memcpy(detector->input + WORKER_VIEW_AT, frame->view, sizeof(*frame->view));
    }
}

/* ---- the child ---- */

static int child_begin(struct detector *detector, struct err *err) {
    struct child_setup setup = {
        .worker_path = detector->worker_path,
        .input_fd = detector->input_fd,
        .cfg_fd = detector->files.cfg_fd,
        .weights_fd = detector->files.weights_fd,
        .timeout_ms = detector->load_timeout_ms,
        .cancel = detector->cancel,
        .limit = &detector->limit,
        .start = detector->start,
    };
    int code = model_files_check(&detector->files, detector->model, err);
    code = code == 0 ? child_start(&setup, &detector->child, err) : code;
    atomic_store(&detector->pid, code == 0 ? (int)detector->child.process.pid : 0);
    return code;
}

/* Ends the child and notes when; `how` gets what it died of. */
static void child_fail(struct detector *detector, char *how, size_t size) {
    child_autopsy(&detector->child, how, size);
    child_end(&detector->child);
    atomic_store(&detector->pid, 0);
    detector->deaths++;
    detector->died_us = clock_boot_us();
}

static void back_off(const struct detector *detector) {
    if (detector->deaths < 2) {
        return;
    }
    unsigned shift = detector->deaths - 2 < 8 ? detector->deaths - 2 : 8;
    int64_t wait = (int64_t)BACKOFF_MS << shift;
    wait = wait > BACKOFF_MOST_MS ? BACKOFF_MOST_MS : wait;
    int64_t left = wait - (clock_boot_us() - detector->died_us) / 1000;
    if (left > 0) {
        clock_sleep_ms((int)left);
    }
}

/* A child that lives, or an error that is not the frame's fault: one that died or refused while it
 * loaded (want of memory, an upgrade half done) has not seen the frame, so its code is not told. */
static int child_ensure(struct detector *detector, struct err *err) {
    if (detector->child.process.pid > 0 && child_idle(&detector->child)) {
        return 0;
    }
    if (detector->child.process.pid > 0) {
        char how[CHILD_LINE_SIZE];
        child_fail(detector, how, sizeof(how)); /* it died between two frames: no frame's fault */
    }
    back_off(detector);
    int code = child_begin(detector, err);
    if (code != 0) {
        detector->deaths++;
        detector->died_us = clock_boot_us();
        bool misleading = code == ERR_CRASHED || code == ERR_INVALID;
        if (misleading && err != NULL) {
            err->code = ERR_BUSY;
        }
        return misleading ? ERR_BUSY : code;
    }
    atomic_fetch_add(&detector->restarts, 1);
    return 0;
}

static void start_fill(const struct detector_config *config, const struct detector *detector,
                       struct worker_start *start) {
    const struct model *model = detector->model;
    start->version = WORKER_PROTOCOL_VERSION;
    start->kind = WORKER_START;
    start->input_width = model->input_width;
    start->input_height = model->input_height;
    start->class_count = (uint32_t)model->class_count;
    start->head_count = detector->files.head_count;
    start->resize = (uint32_t)model->resize;
    start->thumb_width = config->thumb_width != 0 ? config->thumb_width : THUMB_WIDTH;
    start->alarm_s = (uint32_t)(detector->timeout_ms / 1000 + ALARM_EXTRA_S);
    bool cpu = strcmp(start->device, "cpu") == 0;
    start->memory_bytes = cpu ? WORKER_MEMORY + 2 * detector->files.memory_bytes : 0;
    start->floor = config->floor;
    start->scaled = config->scaled;
    start->nms = model->nms;
    start->nms_kind = (uint32_t)model->nms_kind;
    start->layer_count = detector->files.layer_count;
    memcpy(start->heads, detector->files.heads, sizeof(start->heads));
    start->refusals = model->refusals;
}

static int set_up(struct detector *detector, const struct detector_config *config,
                  struct err *err) {
    char path[PATH_SIZE];
    int code = program_choose(config, detector->model, path, sizeof(path), &detector->start, err);
    if (code != 0) {
        return code;
    }
    detector->worker_path = mem_strdup(path);
    if (detector->worker_path == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a detector");
    }
    code = model_files_open(detector->model, &detector->files, err);
    if (code == 0) {
        code = input_make(detector, err);
    }
    if (code != 0) {
        return code;
    }
    start_fill(config, detector, &detector->start);
    code = child_begin(detector, err);
    const char *slash = strrchr(path, '/');
    snprintf(detector->program, sizeof(detector->program), "%s: %s",
             slash != NULL ? slash + 1 : path, detector->child.backend);
    return code;
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
    detector->model = model;
    detector->files = (struct model_files){.cfg_fd = -1, .weights_fd = -1};
    detector->child = (struct child){.socket = -1, .process = PROCESS_NONE, .output = -1};
    detector->input_fd = detector->input_write_fd = -1;
    detector->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : TIMEOUT_MS;
    detector->cancel = config->cancel;
    detector->load_timeout_ms =
        config->load_timeout_ms != 0 ? config->load_timeout_ms : LOAD_TIMEOUT_MS;
    int code = set_up(detector, config, err);
    if (code != 0) {
        detector_stop(detector);
        return code;
    }
    log_debug("detector started", "model=%s pid=%d backend=\"%s\" seccomp=%d", model->name,
              (int)detector->child.process.pid, detector->child.backend,
              (detector->child.sandbox & WORKER_SANDBOX_SECCOMP) != 0);
    *out = detector;
    return 0;
}

void detector_stop(struct detector *detector) {
    if (detector == NULL) {
        return;
    }
    child_end(&detector->child);
    model_files_close(&detector->files);
    if (detector->input != NULL) {
        munmap(detector->input, WORKER_INPUT_SIZE);
    }
    fd_close_at(&detector->input_fd);
    fd_close_at(&detector->input_write_fd);
    free(detector->picture);
    free(detector->worker_path);
    free(detector);
}

/* ---- a frame ---- */

static int result_copy(struct detector *detector, struct err *err) {
    ssize_t got = pread(detector->child.output, &detector->result, sizeof(detector->result), 0);
    if (got != (ssize_t)sizeof(detector->result)) {
        return err_sys(err, errno, "reading the verdict");
    }
    int code = detector_reply_check(&detector->result, detector->generation,
                                    detector->model->class_count, err);
    size_t size = detector->result.thumb_bytes;
    if (code != 0 || detector->result.code != 0 || size == 0) {
        return code;
    }
    got = pread(detector->child.output, detector->thumb, size, (off_t)sizeof(detector->result));
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
    ssize_t got = pread(detector->child.output, picture, size, (off_t)WORKER_PICTURE_AT);
    if (got != (ssize_t)size || size < 2 || picture[0] != 0xff || picture[1] != 0xd8) {
        return err_set(err, ERR_CORRUPT, "the worker process answered a picture that is no JPEG");
    }
    if (size > OUTPUT_KEPT) { /* as for the input */
        fallocate(detector->child.output, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
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
    struct worker_job job = {.version = WORKER_PROTOCOL_VERSION,
                             .kind = WORKER_RUN,
                             .size = frame->record.blob_bytes,
                             .format = (uint32_t)frame->format,
                             .has_view = frame->view != NULL};
    if (frame->format != FRAME_ENCODED) {
        job.width = frame->record.width;
        job.height = frame->record.height;
    }
    struct worker_job done = {0};
    job.generation = ++detector->generation;
    int code = child_send(&detector->child, &job, sizeof(job), err);
    if (code == 0) {
        code = child_get(&detector->child, &done, sizeof(done), detector->timeout_ms, err);
    }
    if (code != 0) {
        return code;
    }
    if (done.version != WORKER_PROTOCOL_VERSION || done.kind != WORKER_DONE ||
        done.slot != job.slot || done.generation != job.generation) {
        return err_set(err, ERR_CORRUPT, "the worker process answered another question");
    }
    code = result_copy(detector, err);
    if (code == 0 && detector->result.code == 0) {
        code = fits_question(detector, frame, err);
        code = code == 0 ? picture_copy(detector, err) : code;
    }
    return code;
}

static int verdict_take(struct detector *detector, struct frame *frame, struct err *err) {
    const struct worker_result *result = &detector->result;
    detector->deaths = 0;
    atomic_fetch_add(&detector->frames, 1);
    if (result->code == ERR_INVALID) {
        atomic_fetch_add(&detector->bad, 1);
    }
    if (result->code != 0) {
        return err_set(err, result->code, "%s", result->text);
    }
    int code = detector_reply_apply(result, detector->thumb, detector->model, frame, err);
    if (code == 0 && result->picture_bytes > 0) {
        picture_take(detector, frame);
    }
    return code;
}

int detector_run(struct detector *detector, struct frame *frame, struct err *err) {
    struct err why = {0};
    char how[CHILD_LINE_SIZE] = "";
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
    for (int i = 0; i < TRIES; i++) {
        int code = child_ensure(detector, err);
        if (code != 0) {
            return code;
        }
        code = ask(detector, frame, &why);
        bool starved = code == 0 && detector->result.code == ERR_NOMEM && i + 1 < TRIES;
        if (code == 0 && !starved) {
            return verdict_take(detector, frame, err);
        }
        if (code == ERR_NOMEM) { /* ours, not the worker's */
            return err_set(err, code, "%s", why.msg);
        }
        if (code == ERR_TIMEOUT) {
            atomic_fetch_add(&detector->timeouts, 1);
        }
        child_fail(detector, how, sizeof(how));
    }
    atomic_fetch_add(&detector->frames, 1);
    atomic_fetch_add(&detector->bad, 1);
    return err_set(err, ERR_CRASHED, "the frame ended the worker process %d times: %s; it %s",
                   TRIES, why.msg, how);
}

void detector_stats_get(const struct detector *detector, struct detector_stats *out) {
    *out = (struct detector_stats){
        .frames = atomic_load(&detector->frames),
        .bad = atomic_load(&detector->bad),
        .restarts = atomic_load(&detector->restarts),
        .timeouts = atomic_load(&detector->timeouts),
        .pid = atomic_load(&detector->pid),
    };
    memcpy(out->program, detector->program, sizeof(out->program));
}

int detector_backend(const char *worker_path, char *out, size_t size, struct err *err) {
    char path[PATH_SIZE];
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
    char path[PATH_SIZE], backend[WORKER_BACKEND_SIZE], why[2 * ERR_TEXT_MAX];
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
