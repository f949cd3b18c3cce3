/* sandbox: what the worker gives up before it looks at a stranger's bytes.
 *
 * sandbox_limits (before the model is loaded): no new privileges, no core file, no file writes,
 * bounded address space. sandbox_seal (after it): no new descriptors at all, and, where libseccomp
 * was compiled in, only the system calls that decoding and arithmetic need; asking for a socket, a
 * file or another program kills. Thread: call both before any other thread exists.
 */
#ifndef CREEL_INFERENCE_WORKER_SANDBOX_H
#define CREEL_INFERENCE_WORKER_SANDBOX_H

#include "daemon/base/err.h"
#include <stdint.h>

/* `memory_bytes` 0: no bound (a GPU driver maps far more than it uses). */
int sandbox_limits(uint64_t memory_bytes, struct err *err);

/* Adds the bits of enum worker_sandbox that are in force to `*bits`. */
int sandbox_seal(uint32_t *bits, struct err *err);

#endif
