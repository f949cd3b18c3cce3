#include "inference/detector_choice.h"
#include "inference/process.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GPU_BATCH = 8 }; /* frames that a GPU looks at together, unless told otherwise */

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
int detector_choose(const struct detector_config *config, const struct model *model,
                    struct detector_choice *out, struct err *err) {
    const char *device = config->device != NULL ? config->device : "auto";
    const char *backend = config->backend != NULL ? config->backend : "auto";
    const char *why = NULL;
    int code = choice_check(device, backend, err);
    if (code != 0) {
        return code;
    }
    if (config->worker_path != NULL) {
        snprintf(out->device, sizeof(out->device), "%s",
                 strcmp(device, "auto") == 0 ? "cpu" : device);
        snprintf(out->path, sizeof(out->path), "%s", config->worker_path);
        return 0;
    }
    for (int cuda = 1; cuda >= 0; cuda--) {
        const struct backend_program *program;
        for (size_t i = 0; (program = backend_program_at(i)) != NULL; i++) {
            if (program->cuda != (cuda == 1) || !program_wanted(program, device, backend) ||
                !process_find(program->name, out->path, sizeof(out->path))) {
                continue;
            }
            if (model->refusals.why[program->backend][0] == '\0') {
                const char *automatic = program->cuda ? "cuda:0" : "cpu";
                snprintf(out->device, sizeof(out->device), "%s",
                         strcmp(device, "auto") == 0 ? automatic : device);
                return 0;
            }
            why = model->refusals.why[program->backend];
        }
    }
    return none_serves(why, device, backend, err);
}

size_t detector_choice_batch(const struct detector_config *config,
                             const struct detector_choice *choice) {
    bool cuda = strncmp(choice->device, "cuda", 4) == 0;
    if (config->batch == 0) {
        return cuda ? GPU_BATCH : 0;
    }
    return cuda || config->batch > 1 ? config->batch : 0;
}

void detector_choice_prepares(struct detector_choice *choice) {
    char path[DETECTOR_PATH_SIZE];
    if (strncmp(choice->device, "cuda", 4) == 0 &&
        process_find("creel-worker-cpu", path, sizeof(path))) {
        memcpy(choice->path, path, sizeof(choice->path));
    }
    snprintf(choice->device, sizeof(choice->device), "cpu");
}
