/* photos OUT_DIR COUNT PHOTO.jpg...: makes COUNT different JPEGs from the given ones by crop, flip
 * and light, always the same for the same arguments. Prints one path a line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

struct picture {
    unsigned char *pixels; /* RGB */
    int width, height;
};

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static double uniform(uint32_t *state, double low, double high) {
    return low + (high - low) * (next_random(state) & 0xffff) / 65535.0;
}

static int load(const char *path, struct picture *out) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    unsigned char *bytes = malloc((size_t)size);
    int failed = fread(bytes, 1, (size_t)size, file) != (size_t)size;
    fclose(file);
    tjhandle codec = tjInitDecompress();
    int subsampling, colorspace;
    failed = failed || tjDecompressHeader3(codec, bytes, (unsigned long)size, &out->width,
                                           &out->height, &subsampling, &colorspace);
    out->pixels = failed ? NULL : malloc((size_t)out->width * (size_t)out->height * 3);
    failed = failed || tjDecompress2(codec, bytes, (unsigned long)size, out->pixels, out->width, 0,
                                     out->height, TJPF_RGB, 0);
    tjDestroy(codec);
    free(bytes);
    return failed ? -1 : 0;
}

static unsigned char lit(unsigned char value, double gain, double offset) {
    double level = value * gain + offset;
    return (unsigned char)(level < 0 ? 0 : level > 255 ? 255 : level);
}

static struct picture vary(const struct picture *from, uint32_t *state) {
    double share = uniform(state, 0.6, 1.0);
    struct picture to = {.width = (int)(from->width * share),
                         .height = (int)(from->height * share)};
    int left = (int)uniform(state, 0, from->width - to.width);
    int top = (int)uniform(state, 0, from->height - to.height);
    int flip = next_random(state) & 1;
    double gain = uniform(state, 0.45, 1.35), offset = uniform(state, -20, 30);
    to.pixels = malloc((size_t)to.width * (size_t)to.height * 3);
    for (int y = 0; y < to.height; y++) {
        for (int x = 0; x < to.width; x++) {
            int source_x = left + (flip ? to.width - 1 - x : x);
            const unsigned char *in = from->pixels + ((top + y) * from->width + source_x) * 3;
            unsigned char *out = to.pixels + (y * to.width + x) * 3;
            for (int c = 0; c < 3; c++) {
                out[c] = lit(in[c], gain, offset);
            }
        }
    }
    return to;
}

static int save(const char *path, const struct picture *picture) {
    tjhandle codec = tjInitCompress();
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    int failed = tjCompress2(codec, picture->pixels, picture->width, 0, picture->height, TJPF_RGB,
                             &bytes, &size, TJSAMP_420, 85, 0);
    FILE *file = failed ? NULL : fopen(path, "wb");
    failed = !file || fwrite(bytes, 1, size, file) != size || fclose(file);
    tjFree(bytes);
    tjDestroy(codec);
    return failed ? -1 : 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: photos OUT_DIR COUNT PHOTO.jpg...\n");
        return 2;
    }
    int count = atoi(argv[2]);
    uint32_t state = 20261120;
    for (int i = 0; i < count; i++) {
        struct picture photo;
        if (load(argv[3 + i % (argc - 3)], &photo)) {
            return 1;
        }
        struct picture varied = vary(&photo, &state);
        char path[4096];
        snprintf(path, sizeof(path), "%s/photo-%04d.jpg", argv[1], i);
        int failed = save(path, &varied);
        free(varied.pixels);
        free(photo.pixels);
        if (failed) {
            perror(path);
            return 1;
        }
        puts(path);
    }
    return 0;
}
