#include "inference/backend.h"
#include "daemon/base/mem.h"
#include <string.h>

/* The build says which library each program is linked with. */
static const struct backend_program programs[] = {
    {"creel-worker-cpu", CREEL_BACKEND_CPU, false},
#if defined(CREEL_BACKEND_ALEXEYAB)
    {"creel-worker-alexeyab", BACKEND_ALEXEYAB, false},
#endif
#if defined(CREEL_BACKEND_CUDA)
    {"creel-worker-cuda", CREEL_BACKEND_CUDA, true},
#endif
};

static const char *const names[BACKEND_COUNT] = {"pjreddie", "alexeyab"};

const char *backend_name(enum backend backend) {
    return names[backend];
}

bool backend_parse(const char *name, enum backend *out) {
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum backend)i;
            return true;
        }
    }
    return false;
}

const struct backend_program *backend_program_at(size_t i) {
    return i < ARRAY_LENGTH(programs) ? &programs[i] : NULL;
}

bool backend_can(const struct backend_refusals *refusals, const char **why) {
    for (size_t i = 0; i < ARRAY_LENGTH(programs); i++) {
        if (refusals->why[programs[i].backend][0] == '\0') {
            return true;
        }
    }
    *why = refusals->why[programs[0].backend];
    return false;
}
