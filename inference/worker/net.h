/* net: a Darknet network, behind the only file that includes Darknet's header.
 *
 * One network a process; the library keeps global state and ends the process on many errors
 * (net_fatal_set says where its last words go), so this belongs into the worker process and nowhere
 * else. Life cycle: net_load once -> (net_run -> net_heads_of each) ...; the end of the process
 * frees it. Thread: one.
 */
#ifndef CREEL_INFERENCE_WORKER_NET_H
#define CREEL_INFERENCE_WORKER_NET_H

#include "daemon/base/err.h"
#include "inference/boxes.h"
#include "inference/worker_protocol.h"
#include <stddef.h>
#include <stdint.h>

struct net_heads {
    size_t count;
    struct boxes_head items[BOXES_HEADS_MAX]; /* outputs: of one input */
};

/* Called with one line when the library gives up; must not return. */
typedef void net_fatal_fn(const char *text);
void net_fatal_set(net_fatal_fn *fatal);

/* The files must have been checked: the library does not. `start` is what the check made of the
 * cfg, and the device. ERR_INVALID where the library reads the cfg differently, or is known to
 * compute a layer wrongly. */
int net_load(const char *cfg_path, const char *weights_path, const struct worker_start *start,
             struct err *err);

/* Looks at `count` inputs, one behind the other (each: channels planes of height * width), at most
 * as many as start->batch; the memory has room for as many. They must stay until the last
 * net_heads_of: a library without batches (pjreddie's, and our layers on the CPU, where they gain
 * nothing) runs all but the first one there. */
int net_run(float *inputs, size_t count, struct err *err);

/* Where the numbers of the i-th input are, until the next call of either. */
const struct net_heads *net_heads_of(size_t i);

/* "pjreddie, cpu" and the like: what this program was built with. */
const char *net_backend(void);

#endif
