/* Thumbnail, perceptual hash and quality in one reading of the pixels.
 *
 * The thumbnail is the mean of the block of pixels behind each of its own (block borders are whole
 * pixels): rows are summed into one wide row of counters, a vector at a time, and a block of rows
 * is then summed across. Hash and quality look at the thumbnail's luma
 * only, so they cost nothing more.
 *
 * The hash is the usual DCT hash: luma averaged to 32 x 32, its DCT-II, the 8 x 8 lowest
 * frequencies without the first row and column (which carry brightness), one bit each for above
 * their median. Row by row, the first bit is the highest. It stays within a few bits under scaling,
 * recompression and brightness. */
#include "inference/image_summary.h"
#include "daemon/base/mem.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum {
    HASH_GRID = 32,
    HASH_SIDE = 8,
    HASH_BITS = HASH_SIDE * HASH_SIDE,
    THUMB_QUALITY = 80,
    THUMB_QUALITY_LEAST = 20,
    THUMB_TALLEST = 4,  /* heights per width */
    ROWS_AT_ONCE = 257, /* of which the sum fits into 16 bits */
};

static void turbo_free_at(unsigned char **bytes) {
    tjFree(*bytes);
}

int image_encode(const uint8_t *rgb, uint32_t width, uint32_t height, int quality, uint8_t **out,
                 size_t *size, struct err *err) {
    CLEANUP(turbo_free_at) unsigned char *encoded = NULL;
    unsigned long length = 0;
    tjhandle turbo = tjInitCompress();
    if (turbo == NULL) {
        return err_set(err, ERR_NOMEM, "libjpeg-turbo does not start: %s", tjGetErrorStr2(NULL));
    }
    int code = 0;
    if (tjCompress2(turbo, rgb, (int)width, 0, (int)height, TJPF_RGB, &encoded, &length, TJSAMP_420,
                    quality, 0) != 0) {
        code = err_set(err, ERR_INVALID, "an image of %u x %u pixels cannot be encoded: %s", width,
                       height, tjGetErrorStr2(turbo));
    }
    tjDestroy(turbo);
    if (code != 0) {
        return code;
    }
    *out = mem_dup(encoded, length);
    *size = length;
    return *out != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a JPEG of %lu bytes", length);
}

/* Where block `i` of `count` begins in `size`: the last one ends at `size`. */
static size_t block_start(size_t i, size_t count, size_t size) {
    return i * size / count;
}

/* sums[i] = the sum of `rows` bytes, one below the other, `stride` apart. Written in vectors of 8
 * bytes, because the compiler leaves such a loop as it is at the level of optimisation that is
 * usual. */
static void sum_rows(const uint8_t *first, size_t stride, size_t rows, uint16_t *sums) {
    typedef uint8_t bytes __attribute__((vector_size(8)));
    typedef uint16_t words __attribute__((vector_size(16)));
    size_t i = 0;
    for (; i + sizeof(bytes) <= stride; i += sizeof(bytes)) {
        words sum = {0};
        for (size_t y = 0; y < rows; y++) {
            bytes from;
            memcpy(&from, first + y * stride + i, sizeof(from));
            sum += __builtin_convertvector(from, words);
        }
        memcpy(sums + i, &sum, sizeof(sum));
    }
    for (; i < stride; i++) {
        unsigned sum = 0;
        for (size_t y = 0; y < rows; y++) {
            sum += first[y * stride + i];
        }
        sums[i] = (uint16_t)sum;
    }
}

/* Room for the making of a thumbnail. */
struct shrinker {
    uint16_t *sums;   /* 3 a column of the image */
    uint64_t *totals; /* 3 a column of the thumbnail */
    uint32_t *starts; /* where its columns' blocks begin; one more than there are columns */
};

static void shrinker_finish(struct shrinker *shrinker) {
    free(shrinker->sums);
    free(shrinker->totals);
    free(shrinker->starts);
}

static bool shrinker_init(struct shrinker *shrinker, uint32_t width, uint32_t to_width) {
    shrinker->sums = mem_array(width, 3 * sizeof(*shrinker->sums));
    shrinker->totals = mem_array(to_width, 3 * sizeof(*shrinker->totals));
    shrinker->starts = mem_array((size_t)to_width + 1, sizeof(*shrinker->starts));
    for (uint32_t u = 0; shrinker->starts != NULL && u <= to_width; u++) {
        shrinker->starts[u] = (uint32_t)block_start(u, to_width, width);
    }
    return shrinker->sums != NULL && shrinker->totals != NULL && shrinker->starts != NULL;
}

/* Adds the sums of each block of columns to the totals. */
static void add_blocks(struct shrinker *shrinker, size_t to_width) {
    for (size_t u = 0; u < to_width; u++) {
        const uint16_t *at = shrinker->sums + 3 * (size_t)shrinker->starts[u];
        const uint16_t *end = shrinker->sums + 3 * (size_t)shrinker->starts[u + 1];
        uint64_t red = 0, green = 0, blue = 0;
        for (; at < end; at += 3) {
            red += at[0];
            green += at[1];
            blue += at[2];
        }
        shrinker->totals[3 * u] += red;
        shrinker->totals[3 * u + 1] += green;
        shrinker->totals[3 * u + 2] += blue;
    }
}

/* Averages rgb (width x height) into `out` (to_width x to_height, neither larger). */
static void shrink(const struct image_pixels *pixels, struct shrinker *shrinker, uint8_t *out,
                   size_t to_width, size_t to_height) {
    size_t stride = (size_t)pixels->width * 3;
    for (size_t v = 0; v < to_height; v++) {
        size_t first = block_start(v, to_height, pixels->height);
        size_t end = block_start(v + 1, to_height, pixels->height);
        memset(shrinker->totals, 0, to_width * 3 * sizeof(*shrinker->totals));
        for (size_t y = first; y < end;) {
            size_t rows = end - y > ROWS_AT_ONCE ? ROWS_AT_ONCE : end - y;
            sum_rows(pixels->rgb + y * stride, stride, rows, shrinker->sums);
            add_blocks(shrinker, to_width);
            y += rows;
        }
        for (size_t u = 0; u < to_width; u++) {
            double count =
                (double)(shrinker->starts[u + 1] - shrinker->starts[u]) * (double)(end - first);
            for (size_t k = 0; k < 3; k++) {
                *out++ = (uint8_t)((double)shrinker->totals[3 * u + k] / count + 0.5);
            }
        }
    }
}

/* ITU-R BT.601 luma in [0, 1]. */
static void luma_of(const uint8_t *rgb, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = rgb + 3 * i;
        out[i] = (0.299f * (float)at[0] + 0.587f * (float)at[1] + 0.114f * (float)at[2]) / 255.0f;
    }
}

static void quality_of(const float *luma, size_t width, size_t height, struct frame_quality *out) {
    double sum = 0, squares = 0, laplace = 0, laplace_squares = 0;
    for (size_t i = 0; i < width * height; i++) {
        sum += (double)luma[i];
        squares += (double)luma[i] * (double)luma[i];
    }
    double count = (double)(width * height), mean = sum / count;
    double variance = squares / count - mean * mean;
    out->luma_mean = (float)mean;
    out->luma_stddev = (float)sqrt(variance > 0 ? variance : 0);
    out->sharpness = 0;
    if (width < 3 || height < 3) {
        return;
    }
    for (size_t y = 1; y + 1 < height; y++) {
        const float *row = luma + y * width;
        for (size_t x = 1; x + 1 < width; x++) {
            double edge =
                (double)(row[x - 1] + row[x + 1] + row[x - width] + row[x + width] - 4 * row[x]);
            laplace += edge;
            laplace_squares += edge * edge;
        }
    }
    count = (double)((width - 2) * (height - 2));
    variance = laplace_squares / count - (laplace / count) * (laplace / count);
    out->sharpness = (float)(variance > 0 ? variance : 0);
}

/* Luma averaged onto the hash's grid; an image smaller than the grid repeats its pixels. */
static void hash_grid(const float *luma, size_t width, size_t height, double *grid) {
    for (size_t v = 0; v < HASH_GRID; v++) {
        size_t top = block_start(v, HASH_GRID, height),
               under = block_start(v + 1, HASH_GRID, height);
        under = under > top ? under : top + 1;
        for (size_t u = 0; u < HASH_GRID; u++) {
            size_t left = block_start(u, HASH_GRID, width);
            size_t right = block_start(u + 1, HASH_GRID, width);
            right = right > left ? right : left + 1;
            double sum = 0;
            for (size_t y = top; y < under; y++) {
                for (size_t x = left; x < right; x++) {
                    sum += (double)luma[y * width + x];
                }
            }
            grid[v * HASH_GRID + u] = sum / (double)((under - top) * (right - left));
        }
    }
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static uint64_t hash_of(const float *luma, size_t width, size_t height) {
    double grid[HASH_GRID * HASH_GRID], across[HASH_GRID * HASH_SIDE];
    double wave[HASH_SIDE][HASH_GRID], found[HASH_BITS], sorted[HASH_BITS];
    hash_grid(luma, width, height, grid);
    for (int f = 0; f < HASH_SIDE; f++) {
        for (int i = 0; i < HASH_GRID; i++) {
            wave[f][i] = cos(M_PI / HASH_GRID * (i + 0.5) * (f + 1));
        }
    }
    for (int y = 0; y < HASH_GRID; y++) {
        for (int f = 0; f < HASH_SIDE; f++) {
            double sum = 0;
            for (int x = 0; x < HASH_GRID; x++) {
                sum += grid[y * HASH_GRID + x] * wave[f][x];
            }
            across[y * HASH_SIDE + f] = sum;
        }
    }
    for (int i = 0; i < HASH_BITS; i++) {
        found[i] = 0;
        for (int y = 0; y < HASH_GRID; y++) {
            found[i] += across[y * HASH_SIDE + i % HASH_SIDE] * wave[i / HASH_SIDE][y];
        }
    }
    memcpy(sorted, found, sizeof(sorted));
    qsort(sorted, HASH_BITS, sizeof(sorted[0]), by_value);
    double median = (sorted[HASH_BITS / 2 - 1] + sorted[HASH_BITS / 2]) / 2;
    uint64_t hash = 0;
    for (int i = 0; i < HASH_BITS; i++) {
        hash = hash << 1 | (found[i] > median);
    }
    return hash;
}

/* Lowers the quality until the thumbnail fits; leaves it out when it never does. */
static int thumb_encode(const uint8_t *rgb, uint32_t width, uint32_t height,
                        struct image_summary *out, struct err *err) {
    for (int quality = THUMB_QUALITY; quality >= THUMB_QUALITY_LEAST; quality -= 20) {
        int code = image_encode(rgb, width, height, quality, &out->thumb, &out->thumb_bytes, err);
        if (code != 0 || out->thumb_bytes <= FRAME_THUMB_MAX) {
            return code;
        }
        free(out->thumb);
        out->thumb = NULL;
        out->thumb_bytes = 0;
    }
    return 0;
}

int image_summarise(const struct image_pixels *pixels, uint32_t thumb_width,
                    struct image_summary *out, struct err *err) {
    assert(thumb_width > 0 && thumb_width <= IMAGE_THUMB_WIDTH_MAX);
    uint32_t width = pixels->width < thumb_width ? pixels->width : thumb_width;
    uint64_t height = (uint64_t)pixels->height * width / pixels->width;
    height = height == 0 ? 1 : height;
    height = height > (uint64_t)width * THUMB_TALLEST ? (uint64_t)width * THUMB_TALLEST : height;
    size_t count = (size_t)width * (size_t)height;

    CLEANUP(mem_free_at) uint8_t *small = mem_array(count, 3);
    CLEANUP(mem_free_at) float *luma = mem_array(count, sizeof(*luma));
    CLEANUP(shrinker_finish) struct shrinker shrinker = {0};
    if (small == NULL || luma == NULL || !shrinker_init(&shrinker, pixels->width, width)) {
        return err_set(err, ERR_NOMEM, "no memory for a thumbnail of %u pixels across", width);
    }
    shrink(pixels, &shrinker, small, width, (size_t)height);
    luma_of(small, count, luma);
    *out = (struct image_summary){.phash = hash_of(luma, width, (size_t)height)};
    quality_of(luma, width, (size_t)height, &out->quality);
    return thumb_encode(small, width, (uint32_t)height, out, err);
}

void image_summary_finish(struct image_summary *summary) {
    free(summary->thumb);
    *summary = (struct image_summary){0};
}
