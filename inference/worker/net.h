/* net: a Darknet network, behind the only file that includes Darknet's header.
 *
 * One network a process; the library keeps global state and ends the process on many errors
 * (net_fatal_set says where its last words go), so this belongs into the worker process and nowhere
 * else. Life cycle: net_load once -> net_shape_get -> net_predict ...; the end of the process frees
 * it. Thread: one.
 */
#ifndef CREEL_INFERENCE_WORKER_NET_H
#define CREEL_INFERENCE_WORKER_NET_H

#include "daemon/base/err.h"
#include "inference/boxes.h"
#include <stddef.h>
#include <stdint.h>

struct net_shape {
    uint32_t width, height, channels, class_count;
    size_t head_count;
    struct boxes_head heads[BOXES_HEADS_MAX]; /* output is valid after net_predict */
};

/* Called with one line when the library gives up; must not return. */
typedef void net_fatal_fn(const char *text);
void net_fatal_set(net_fatal_fn *fatal);

/* `device`: "cpu", or "cuda:N" where the library was built for it. The files must have been
 * checked: the library does not. */
int net_load(const char *cfg_path, const char *weights_path, const char *device, struct err *err);

const struct net_shape *net_shape_get(void);

/* `input`: channels planes of height * width. Afterwards the heads' outputs are valid until the
 * next call. */
int net_predict(float *input, struct err *err);

/* "pjreddie, cpu" and the like: what this program was built with. */
const char *net_backend(void);

#endif
