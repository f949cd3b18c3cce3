/* darknet_layers: a network of Darknet, run layer by layer with layers of ours.
 *
 * The network stays the library's: its shapes, weights and outputs. What is not replaced is run by
 * the library's own function. Life cycle: darknet_layers_create after the network was loaded and
 * its batch set to one -> darknet_layers_predict ... -> darknet_layers_destroy. Thread: one a
 * network.
 */
#ifndef CREEL_INFERENCE_WORKER_DARKNET_LAYERS_H
#define CREEL_INFERENCE_WORKER_DARKNET_LAYERS_H

#include "daemon/base/err.h"
#include "inference/worker/kernels.h"
#include <stddef.h>
#include <stdint.h>

struct network; /* Darknet's */
struct darknet_layers;

/* `net` is borrowed and must live longer. `wanted` are the layers whose outputs are read after a
 * run: only these can be, they are elsewhere than before (the library's structs say where) until
 * darknet_layers_destroy, and what none of them is made of is not run. NULL: every layer runs and
 * keeps its output. */
int darknet_layers_create(struct network *net, const struct kernels *kernels,
                          const uint32_t *wanted, size_t wanted_count, struct darknet_layers **out,
                          struct err *err);
void darknet_layers_destroy(struct darknet_layers *layers);

/* How many of the network's layers are ours. */
size_t darknet_layers_replaced(const struct darknet_layers *layers);

/* Fills the outputs that are wanted. */
void darknet_layers_predict(struct darknet_layers *layers, float *input);

#endif
