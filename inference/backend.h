/* backend: the Darknets that creel knows, and the worker programs built with them.
 *
 * Two libraries have the same names inside, so each gets a program of its own. What the programs of
 * this build are is known when it is built (`creel-worker-x --backend` says it again). Some
 * networks are computed wrongly, and silently, by one of the libraries: cfg_check says so for each.
 * Thread: any, constants only.
 */
#ifndef CREEL_INFERENCE_BACKEND_H
#define CREEL_INFERENCE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

enum backend { BACKEND_PJREDDIE = 0, BACKEND_ALEXEYAB = 1, BACKEND_COUNT };

#define BACKEND_WHY_SIZE 256

/* Why a backend would compute a network wrongly; an empty text where it does not. */
struct backend_refusals {
    char why[BACKEND_COUNT][BACKEND_WHY_SIZE];
};

struct backend_program {
    const char *name; /* of its file */
    enum backend backend;
    bool cuda;
};

/* "pjreddie", "alexeyab": as configured and as `--backend` prints. */
const char *backend_name(enum backend backend);
bool backend_parse(const char *name, enum backend *out);

/* The programs of this build, the one to prefer first (CUDA ones last); NULL behind the last. */
const struct backend_program *backend_program_at(size_t i);

/* Whether a program of this build computes it rightly; if not, why the first one does not. */
bool backend_can(const struct backend_refusals *refusals, const char **why);

#endif
