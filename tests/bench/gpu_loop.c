/* gpu-loop: Darknet's own way to look at pictures, one after the other, in a program of its own:
 * two builds of Darknet cannot share one.
 *
 *   bench-gpu-loop CFG WEIGHTS WIDTH HEIGHT DEVICE
 *
 * Says "ready", then answers each "run N" with the wall time of N pictures in ms, from the floats
 * in the host's memory to detections. bench-gpu starts it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <darknet.h>
#pragma GCC diagnostic pop
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void picture_look(network *net, float *input) {
    int count = 0;
    network_predict_ptr(net, input);
    detection *found = get_network_boxes(net, net->w, net->h, 0.05f, 0.5f, NULL, 1, &count, 1);
    do_nms_sort(found, count, net->layers[net->n - 1].classes, 0.45f);
    free_detections(found, count);
}

int main(int argc, char **argv) {
    int runs, device = 0;
    if (argc != 6) {
        fprintf(stderr, "usage: bench-gpu-loop CFG WEIGHTS WIDTH HEIGHT DEVICE\n");
        return 2;
    }
    FILE *out = fdopen(dup(STDOUT_FILENO), "w"); /* Darknet prints: not there */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    sscanf(argv[5], "cuda:%d", &device);
#if defined(GPU)
    cuda_set_device(device);
#endif
    network *net = load_network_custom(argv[1], argv[2], 1, 1);
    size_t count = 3 * strtoul(argv[3], NULL, 10) * strtoul(argv[4], NULL, 10);
    float *input = calloc(count, sizeof(*input));
    if (net == NULL || input == NULL || out == NULL) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        input[i] = (float)(i * 2654435761u >> 24 & 255) / 255.0f;
    }
    fprintf(out, "ready\n");
    fflush(out);
    while (scanf(" run %d", &runs) == 1) {
        double began = now_ms();
        for (int i = 0; i < runs; i++) {
            picture_look(net, input);
        }
        fprintf(out, "%f\n", now_ms() - began);
        fflush(out);
    }
    free(input);
    return 0;
}
