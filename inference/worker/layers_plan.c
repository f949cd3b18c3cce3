/* Where each layer's output lies in one memory. Outputs of their own would be many times the
 * second cache's size, and every layer would write to memory that is not in it; that costs more
 * than the arithmetic. First fit from the bottom keeps to the few pages that were used last. */
#include "daemon/base/mem.h"
#include "inference/worker/layers.h"
#include <stdlib.h>

#define ALIGNMENT 16 /* floats: a line of the cache, and a vector */

static bool together(const struct layers_output *a, const struct layers_output *b) {
    return a->first <= b->last && b->first <= a->last;
}

size_t layers_plan(struct layers_output *outputs, size_t count) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        struct layers_output *mine = &outputs[i];
        size_t size = (mine->floats + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        mine->at = 0;
        for (size_t k = 0; k < i;) { /* past whatever is in the way, until nothing is */
            const struct layers_output *other = &outputs[k];
            size_t end = other->at + (other->floats + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            bool clash = together(mine, other) && other->at < mine->at + size && mine->at < end;
            mine->at = clash ? end : mine->at;
            k = clash ? 0 : k + 1;
        }
        total = mine->at + size > total ? mine->at + size : total;
    }
    return total;
}
