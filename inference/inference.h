/* inference: a model, and worker processes that look at frames with it.
 *
 * Darknet ends the process on errors, prints, and leaks; JPEGs come from strangers. So both live in
 * a child process (`creel-worker-cpu` and its kin, see backend.h): bytes go over in a memfd that
 * the child may only read, the reply comes back in another, is copied once and then checked
 * (finite, in range, counts bounded). A death costs one retry of the frame in a fresh child, then
 * the frame is FRAME_BAD with ERR_CRASHED.
 *
 * A `struct detector` is one child and serves one thread at a time; run several for several cores.
 * Life cycle: model_open -> detector_start -> detector_run ... -> detector_stop -> model_close.
 *
 * On a GPU the work is shared: each detector's child, which is for the CPU, decodes and prepares
 * frames, and one process a device, the batcher's, has the network and looks at several at a time.
 * Not: no network, no store, no opinion on what to keep (see triage.h).
 */
#ifndef CREEL_INFERENCE_INFERENCE_H
#define CREEL_INFERENCE_INFERENCE_H

#include "daemon/base/err.h"
#include "inference/backend.h"
#include "inference/frame.h"
#include "schemas/frame.h"
#include <stdatomic.h>
#include <stdbool.h>

#define MODEL_CLASSES_MAX 1024
#define MODEL_FILE_MAX    (1u << 30) /* bytes of a weights file */

enum model_resize { MODEL_LETTERBOX = 0, MODEL_STRETCH = 1 };

/* Which boxes may hide a weaker one. */
enum model_nms {
    MODEL_NMS_GREEDY = 0,   /* of the same class, by IoU */
    MODEL_NMS_AGNOSTIC = 1, /* of any class, by IoU: one box, one class */
    MODEL_NMS_DIOU = 2,     /* of the same class, by DIoU: spares neighbours that overlap */
};

/* A checked model directory (model.yaml): every file is there, hashed, and fits the others. */
struct model {
    char name[FRAME_MODEL_NAME_MAX + 1];
    char version[FRAME_MODEL_NAME_MAX + 1];
    struct frame_hash hash;                     /* see frame_record.model */
    char *cfg_path, *weights_path, *names_path; /* owned, absolute */
    char (*labels)[FRAME_LABEL_MAX + 1];        /* owned, class_count of them */
    size_t class_count;
    enum model_resize resize;
    double threshold; /* default of `creel detect`; 0.25 where model.yaml has none */
    double nms;       /* overlap above which the weaker box goes; 0.45 */
    enum model_nms nms_kind;
    uint32_t input_width, input_height;
    bool tags; /* a classifier: what it finds is of the whole frame */
    struct backend_refusals refusals;
};

/* Reads and checks everything, including the cfg's layers and the exact size of the weights,
 * without Darknet. ERR_INVALID names file, line and what was expected; ERR_NOT_FOUND names the
 * missing file. */
int model_open(const char *dir, struct model **out, struct err *err);
void model_close(struct model *model);

/* Where the model that comes with creel lies: share/creel/models/demo beside this program's bin,
 * the installed share directory, or the source tree of a build. ERR_NOT_FOUND names them. */
int model_default_dir(char *out, size_t size, struct err *err);

struct detector_config {
    const char
        *worker_path; /* NULL: creel-worker-cpu beside this program, then the libexec directory */
    double floor;     /* detections below this confidence are not returned; (0, 1) */
    int timeout_ms;   /* a frame that takes longer costs the child its life; 0: 20,000 */
    int load_timeout_ms;       /* and loading the model; 0: 120,000 */
    const atomic_bool *cancel; /* borrowed; once true, loading ends with ERR_CLOSED; NULL: never */
    uint32_t thumb_width;      /* pixels; 0: 320 */
    /* JPEGs are decoded at a half, a quarter or an eighth of their size where that is still three
     * times what the network takes. It then sees averages where it saw single pixels: measured with
     * two networks, confidences differ by 0.05 on average, at most by 0.6. */
    bool scaled;
    const char *device;  /* "cpu"; "auto" and "cuda:N" choose a worker program that can */
    const char *backend; /* "auto": the first that computes the model rightly; or one by name */
    unsigned batch;      /* frames that the network looks at together, at most 64. 0: 8 on a GPU. On
                            the CPU 0 and 1: each detector's child has the network itself */
    int batch_wait_ms;   /* as long may a frame that is prepared wait for such as are being */
    struct batcher *batcher; /* borrowed: shared; NULL: where one is wanted, the detector has its
                                own */
};

/* The process that has the network of several detectors; none where each has its own. Its detectors
 * are stopped before it. */
struct batcher;
/* How many frames it looks at together with this config; 0: none is wanted, or no program serves,
 * which detector_start then says. */
size_t batcher_wanted(const struct detector_config *config, const struct model *model);
/* Starts the child and waits until it has loaded the model and run it once. */
int batcher_start(const struct detector_config *config, const struct model *model,
                  struct batcher **out, struct err *err);
void batcher_stop(struct batcher *batcher); /* NULL accepted */

struct detector;

/* Starts the child and waits until it has loaded the model and run it once. */
int detector_start(const struct detector_config *config, const struct model *model,
                   struct detector **out, struct err *err);
void detector_stop(struct detector *detector);

/* Fills the record's media, size, orientation, model, phash, quality and detections (all from the
 * floor up, NMS applied as the model says), and the thumbnail. ERR_INVALID: not a decodable
 * image (the frame is to blame). ERR_CRASHED: the child died twice on it. Other codes: the detector
 * is to blame. Blocks until the verdict. */
int detector_run(struct detector *detector, struct frame *frame, struct err *err);

#define DETECTOR_PROGRAM_SIZE 192

struct detector_stats {
    uint64_t frames, bad, restarts, timeouts;
    uint64_t batches; /* of a batcher, whose frames are counted by its detectors */
    int pid;
    char program[DETECTOR_PROGRAM_SIZE]; /* "creel-worker-cpu: darknet … (pjreddie, cpu)" */
};
void detector_stats_get(const struct detector *detector, struct detector_stats *out);
void batcher_stats_get(const struct batcher *batcher, struct detector_stats *out);

/* "creel-worker-cpu: darknet … (pjreddie, cpu)" of the i-th worker program of this build, or why it
 * does not say. False behind the last. */
bool detector_program_describe(size_t i, char *out, size_t size);

/* "darknet 0.0.0+git… (pjreddie, cpu)": what the worker program at this path was built with. */
int detector_backend(const char *worker_path, char *out, size_t size, struct err *err);

#endif
