#include "inference/detector_kept.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <string.h>

enum {
    TIMEOUT_MS = 20000,
    LOAD_TIMEOUT_MS = 120000, /* a large network on a small machine */
    ALARM_EXTRA_S = 5,        /* the child's own alarm rings after our timeout */
    THUMB_WIDTH = 320,
    BACKOFF_MS = 100,
    BACKOFF_MOST_MS = 5000,
};

/* Decoded pixels, a progressive JPEG's coefficients, the input, libraries and stacks. */
#define WORKER_MEMORY (1536ull << 20)

/* ---- the child ---- */

static int child_begin(struct kept *kept, struct err *err) {
    struct child_setup setup = {
        .worker_path = kept->choice.path,
        .input_fd = kept->input.read_fd,
        .cfg_fd = kept->files.cfg_fd,
        .weights_fd = kept->files.weights_fd,
        .timeout_ms = kept->load_timeout_ms,
        .cancel = kept->cancel,
        .limit = &kept->limit,
        .start = kept->start,
    };
    int code = model_files_check(&kept->files, kept->model, err);
    code = code == 0 ? child_start(&setup, &kept->child, err) : code;
    atomic_store(&kept->pid, code == 0 ? (int)kept->child.process.pid : 0);
    return code;
}

void kept_fail(struct kept *kept, char *how, size_t size) {
    child_autopsy(&kept->child, how, size);
    child_end(&kept->child);
    atomic_store(&kept->pid, 0);
    kept->deaths++;
    kept->died_us = clock_boot_us();
}

void kept_served(struct kept *kept) {
    kept->deaths = 0;
}

static void back_off(const struct kept *kept) {
    if (kept->deaths < 2) {
        return;
    }
    unsigned shift = kept->deaths - 2 < 8 ? kept->deaths - 2 : 8;
    int64_t wait = (int64_t)BACKOFF_MS << shift;
    wait = wait > BACKOFF_MOST_MS ? BACKOFF_MOST_MS : wait;
    int64_t left = wait - (clock_boot_us() - kept->died_us) / 1000;
    if (left > 0) {
        clock_sleep_ms((int)left);
    }
}

/* One that died or refused while it loaded (want of memory, an upgrade half done) has not seen a
 * frame, so its code is not told. */
int kept_ensure(struct kept *kept, struct err *err) {
    if (kept->child.process.pid > 0 && child_idle(&kept->child)) {
        return 0;
    }
    if (kept->child.process.pid > 0) {
        char how[CHILD_LINE_SIZE];
        kept_fail(kept, how, sizeof(how)); /* it died between two frames: no frame's fault */
    }
    back_off(kept);
    int code = child_begin(kept, err);
    if (code != 0) {
        kept->deaths++;
        kept->died_us = clock_boot_us();
        bool misleading = code == ERR_CRASHED || code == ERR_INVALID;
        if (misleading && err != NULL) {
            err->code = ERR_BUSY;
        }
        return misleading ? ERR_BUSY : code;
    }
    atomic_fetch_add(&kept->restarts, 1);
    return 0;
}

int kept_ask(struct kept *kept, struct worker_job *job, struct err *err) {
    struct worker_job done = {0};
    job->version = WORKER_PROTOCOL_VERSION;
    job->kind = WORKER_RUN;
    job->generation = ++kept->generation;
    int code = child_send(&kept->child, job, sizeof(*job), err);
    if (code == 0) {
        code = child_get(&kept->child, &done, sizeof(done), kept->timeout_ms, err);
    }
    if (code != 0) {
        return code;
    }
    if (done.version != WORKER_PROTOCOL_VERSION || done.kind != WORKER_DONE ||
        done.slot != job->slot || done.generation != job->generation) {
        return err_set(err, ERR_CORRUPT, "the worker process answered another question");
    }
    return 0;
}

/* ---- life cycle ---- */

static void start_fill(struct kept *kept, const struct detector_config *config) {
    const struct model *model = kept->model;
    struct worker_start *start = &kept->start;
    bool prepares = start->role == WORKER_PREPARES;
    start->version = WORKER_PROTOCOL_VERSION;
    start->kind = WORKER_START;
    start->input_width = model->input_width;
    start->input_height = model->input_height;
    start->class_count = (uint32_t)model->class_count;
    start->head_count = prepares ? 0 : kept->files.head_count;
    start->resize = (uint32_t)model->resize;
    start->thumb_width = config->thumb_width != 0 ? config->thumb_width : THUMB_WIDTH;
    start->alarm_s = (uint32_t)(kept->timeout_ms / 1000 + ALARM_EXTRA_S);
    start->floor = config->floor;
    start->scaled = config->scaled;
    start->nms = model->nms;
    start->nms_kind = (uint32_t)model->nms_kind;
    start->layer_count = kept->files.layer_count;
    memcpy(start->heads, kept->files.heads, sizeof(start->heads));
    start->refusals = model->refusals;
    memcpy(start->device, kept->choice.device, sizeof(start->device));
    uint64_t batches = start->role == WORKER_NETWORK ? 2 * worker_input_size(start) : 0;
    bool cpu = strcmp(start->device, "cpu") == 0;
    start->memory_bytes = cpu ? WORKER_MEMORY + 2 * kept->files.memory_bytes + batches : 0;
}

int kept_start(struct kept *kept, const struct detector_config *config, const struct model *model,
               const struct detector_choice *choice, enum worker_role role, uint32_t batch,
               struct err *err) {
    kept->model = model;
    kept->choice = *choice;
    kept->files = (struct model_files){.cfg_fd = -1, .weights_fd = -1};
    kept->child = (struct child){.socket = -1, .process = PROCESS_NONE, .output = -1};
    kept->input = (struct child_memory){.read_fd = -1, .write_fd = -1};
    kept->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : TIMEOUT_MS;
    kept->load_timeout_ms =
        config->load_timeout_ms != 0 ? config->load_timeout_ms : LOAD_TIMEOUT_MS;
    kept->cancel = config->cancel;
    kept->start.role = (uint32_t)role;
    kept->start.batch = batch;
    int code = model_files_open(model, &kept->files, err);
    if (code != 0) {
        return code;
    }
    start_fill(kept, config);
    code = child_memory_init(&kept->input, worker_input_size(&kept->start), err);
    code = code == 0 ? child_begin(kept, err) : code;
    const char *slash = strrchr(choice->path, '/');
    snprintf(kept->program, sizeof(kept->program), "%s: %s",
             slash != NULL ? slash + 1 : choice->path, kept->child.backend);
    if (code == 0) {
        log_debug("detector started", "model=%s role=%u pid=%d backend=\"%s\" seccomp=%d",
                  model->name, (unsigned)role, (int)kept->child.process.pid, kept->child.backend,
                  (kept->child.sandbox & WORKER_SANDBOX_SECCOMP) != 0);
    }
    return code;
}

void kept_stop(struct kept *kept) {
    if (kept->model == NULL) {
        return; /* never started */
    }
    child_end(&kept->child);
    model_files_close(&kept->files);
    child_memory_finish(&kept->input);
}
