/* kernels_sets: the tables that kernels.c chooses from, each in the file of its instruction set. */
#ifndef CREEL_INFERENCE_WORKER_KERNELS_SETS_H
#define CREEL_INFERENCE_WORKER_KERNELS_SETS_H

#include "inference/worker/kernels.h"

#if defined(__x86_64__)
extern const struct kernels kernels_avx512, kernels_avx2;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon;
#endif
extern const struct kernels kernels_plain;

#endif
