/* neon: the layers with each table of kernels that this processor has. Run by neon.sh on a borrowed
 * one. */
#include "tests/unit/layers_case.h"

int main(void) {
    unsigned failed = 0;
    for (size_t i = 0; kernels_get(i) != NULL; i++) {
        unsigned count = layers_check(kernels_get(i), 60);
        printf("%s: %u failures\n", kernels_get(i)->name, count);
        failed += count;
    }
    if (failed == 0 && strcmp(kernels_get(0)->name, "neon") != 0) {
        printf("not the processor that this was meant for\n");
        failed++;
    }
    return failed != 0;
}
