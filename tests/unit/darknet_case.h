/* darknet_case: the library's own network, for tests and benches that stand beside it; the same
 * calls for pjreddie's and AlexeyAB's.
 */
#ifndef CREEL_TESTS_DARKNET_CASE_H
#define CREEL_TESTS_DARKNET_CASE_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <darknet.h>
#pragma GCC diagnostic pop
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline network *darknet_load(char *cfg, char *weights) {
#if defined(LIB_API)
    return load_network_custom(cfg, weights, 1, 1);
#else
    network *net = load_network(cfg, weights, 1);
    if (net != NULL) {
        set_batch_network(net, 1);
    }
    return net;
#endif
}

/* Without what the library says of every layer. `weights`: may be "". */
static inline network *darknet_load_quietly(const char *cfg, const char *weights) {
    char cfg_path[512], weights_path[512];
    snprintf(cfg_path, sizeof(cfg_path), "%s", cfg);
    snprintf(weights_path, sizeof(weights_path), "%s", weights);
    fflush(stdout);
    int out = dup(STDOUT_FILENO), kept = dup(STDERR_FILENO), nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    network *net = darknet_load(cfg_path, weights_path);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(kept, STDERR_FILENO);
    close(out);
    close(kept);
    close(nothing);
    return net;
}

static inline void darknet_predict(network *net, float *input) {
#if defined(LIB_API)
    network_predict_ptr(net, input);
#else
    network_predict(net, input);
#endif
}

static inline void darknet_free(network *net) {
#if defined(LIB_API)
    free_network_ptr(net);
    free(net);
#else
    free_network(net);
#endif
}

#endif
