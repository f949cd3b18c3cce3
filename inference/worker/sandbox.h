/* sandbox: what the worker gives up before it looks at a stranger's bytes.
 *
 * sandbox_limits (before the model is loaded): no new privileges, no core file, no file writes,
 * bounded address space. sandbox_seal (after it): no new descriptors at all, and, where libseccomp
 * was compiled in, only the system calls that decoding and arithmetic need; asking for a socket, a
 * file or another program kills. sandbox_seal_gpu is the same for a worker whose driver has threads
 * and devices open by then (written to what NVIDIA's driver documents, and not yet run with one).
 * sandbox_seal_capture is the same for a capture program, which also
 * asks questions of what is open and, with `network`, opens sockets and reads the files that names
 * and certificates are looked up in. Thread: sandbox_limits before any other thread exists;
 * the seals hold for all there are.
 */
#ifndef CREEL_INFERENCE_WORKER_SANDBOX_H
#define CREEL_INFERENCE_WORKER_SANDBOX_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stdint.h>

/* `memory_bytes` 0: no bound (a GPU driver maps far more than it uses). */
int sandbox_limits(uint64_t memory_bytes, struct err *err);

/* Adds the bits of enum worker_sandbox that are in force to `*bits`. */
int sandbox_seal(uint32_t *bits, struct err *err);
int sandbox_seal_gpu(uint32_t *bits, struct err *err);
int sandbox_seal_capture(bool network, uint32_t *bits, struct err *err);

#endif
