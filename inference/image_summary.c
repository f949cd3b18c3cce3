/* Thumbnail, perceptual hash and quality in one reading of the pixels.
 *
 * The thumbnail is the mean of the block of pixels behind each of its own (block borders are whole
 * pixels): rows are summed into one wide row of counters, a vector at a time, and a block of rows
 * is then summed across. So the image may come row by row, as the decoder gives it. Hash and
 * quality look at the thumbnail's luma only, so they cost nothing more.
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

struct image_shrinker {
    uint32_t thumb_width; /* wanted */
    uint32_t width, height, to_width, to_height;
    uint8_t *small;   /* the thumbnail's pixels */
    float *luma;      /* likewise */
    uint16_t *sums;   /* 3 a column of the image */
    uint64_t *totals; /* 3 a column of the thumbnail */
    uint32_t *starts; /* where its columns' blocks begin; one more than there are columns */
    uint32_t at;      /* the row that comes */
    uint32_t v;       /* the thumbnail's row in the making */
    uint32_t first, end, summed; /* its block's rows; how many of them are in `sums` */
    size_t room_width, room_to_width, room_pixels;
};

/* sums[i] += the sum of `rows` bytes, one below the other, `stride` apart. Written in vectors,
 * because the compiler leaves such a loop as it is at the level of optimisation that is usual. */
static inline __attribute__((always_inline)) void sum_body(const uint8_t *first, size_t stride,
                                                           size_t rows, uint16_t *sums) {
    typedef uint8_t bytes __attribute__((vector_size(16)));
    typedef uint16_t words __attribute__((vector_size(32)));
    size_t i = 0;
    for (; i + 2 * sizeof(bytes) <= stride; i += 2 * sizeof(bytes)) {
        words sum[2];
        memcpy(sum, sums + i, sizeof(sum));
        for (const uint8_t *at = first + i, *end = at + rows * stride; at < end; at += stride) {
            bytes from[2];
            memcpy(from, at, sizeof(from));
            sum[0] += __builtin_convertvector(from[0], words);
            sum[1] += __builtin_convertvector(from[1], words);
        }
        memcpy(sums + i, sum, sizeof(sum));
    }
    for (; i < stride; i++) {
        unsigned sum = sums[i];
        for (size_t y = 0; y < rows; y++) {
            sum += first[y * stride + i];
        }
        sums[i] = (uint16_t)sum;
    }
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) static void sum_avx2(const uint8_t *first, size_t stride,
                                                     size_t rows, uint16_t *sums) {
    sum_body(first, stride, rows, sums);
}

#endif

static void sum_rows(const uint8_t *first, size_t stride, size_t rows, uint16_t *sums) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        sum_avx2(first, stride, rows, sums);
        return;
    }
#endif
    sum_body(first, stride, rows, sums);
}

/* Adds the sums of each block of columns to the totals, and clears them. */
static void add_blocks(struct image_shrinker *shrinker) {
    for (size_t u = 0; u < shrinker->to_width; u++) {
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
    memset(shrinker->sums, 0, (size_t)shrinker->width * 3 * sizeof(*shrinker->sums));
    shrinker->summed = 0;
}

static void block_begin(struct image_shrinker *shrinker) {
    shrinker->first = (uint32_t)block_start(shrinker->v, shrinker->to_height, shrinker->height);
    shrinker->end = (uint32_t)block_start(shrinker->v + 1, shrinker->to_height, shrinker->height);
    memset(shrinker->totals, 0, (size_t)shrinker->to_width * 3 * sizeof(*shrinker->totals));
}

static void block_end(struct image_shrinker *shrinker) {
    uint8_t *out = shrinker->small + (size_t)shrinker->v * shrinker->to_width * 3;
    add_blocks(shrinker);
    for (size_t u = 0; u < shrinker->to_width; u++) {
        double share = 1.0 / ((double)(shrinker->starts[u + 1] - shrinker->starts[u]) *
                              (double)(shrinker->end - shrinker->first));
        for (size_t k = 0; k < 3; k++) {
            *out++ = (uint8_t)((double)shrinker->totals[3 * u + k] * share + 0.5);
        }
    }
    shrinker->v++;
    block_begin(shrinker);
}

void image_shrinker_take(struct image_shrinker *shrinker, const uint8_t *rgb, uint32_t count) {
    size_t stride = (size_t)shrinker->width * 3;
    while (count > 0 && shrinker->v < shrinker->to_height) {
        uint32_t rows = shrinker->end - shrinker->at;
        rows = rows < count ? rows : count;
        uint32_t room = ROWS_AT_ONCE - shrinker->summed;
        rows = rows < room ? rows : room;
        sum_rows(rgb, stride, rows, shrinker->sums);
        rgb += rows * stride;
        count -= rows;
        shrinker->at += rows;
        shrinker->summed += rows;
        if (shrinker->at == shrinker->end) {
            block_end(shrinker);
        } else if (shrinker->summed == ROWS_AT_ONCE) {
            add_blocks(shrinker);
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

/* ---- life cycle ---- */

struct image_shrinker *image_shrinker_create(uint32_t thumb_width) {
    assert(thumb_width > 0 && thumb_width <= IMAGE_THUMB_WIDTH_MAX);
    struct image_shrinker *shrinker = mem_alloc(sizeof(*shrinker));
    if (shrinker != NULL) {
        shrinker->thumb_width = thumb_width;
    }
    return shrinker;
}

void image_shrinker_destroy(struct image_shrinker *shrinker) {
    if (shrinker != NULL) {
        free(shrinker->small);
        free(shrinker->luma);
        free(shrinker->sums);
        free(shrinker->totals);
        free(shrinker->starts);
        free(shrinker);
    }
}

/* Room that is there already stays: most images of a camera have one size. */
static bool rooms_make(struct image_shrinker *shrinker) {
    size_t width = shrinker->width, to_width = shrinker->to_width;
    size_t pixels = to_width * shrinker->to_height;
    if (width != shrinker->room_width || to_width != shrinker->room_to_width ||
        pixels != shrinker->room_pixels) {
        struct image_shrinker kept = {.thumb_width = shrinker->thumb_width,
                                      .width = shrinker->width,
                                      .height = shrinker->height,
                                      .to_width = shrinker->to_width,
                                      .to_height = shrinker->to_height};
        free(shrinker->small);
        free(shrinker->luma);
        free(shrinker->sums);
        free(shrinker->totals);
        free(shrinker->starts);
        *shrinker = kept;
        shrinker->small = mem_array(pixels, 3);
        shrinker->luma = mem_array(pixels, sizeof(*shrinker->luma));
        shrinker->sums = mem_array(width, 3 * sizeof(*shrinker->sums));
        shrinker->totals = mem_array(to_width, 3 * sizeof(*shrinker->totals));
        shrinker->starts = mem_array(to_width + 1, sizeof(*shrinker->starts));
    }
    bool whole =
        shrinker->small && shrinker->luma && shrinker->sums && shrinker->totals && shrinker->starts;
    shrinker->room_width = whole ? width : 0;
    shrinker->room_to_width = to_width;
    shrinker->room_pixels = pixels;
    return whole;
}

int image_shrinker_begin(struct image_shrinker *shrinker, uint32_t width, uint32_t height,
                         struct err *err) {
    uint32_t to_width = width < shrinker->thumb_width ? width : shrinker->thumb_width;
    uint64_t to_height = (uint64_t)height * to_width / width;
    uint64_t tallest = (uint64_t)to_width * THUMB_TALLEST;
    to_height = to_height == 0 ? 1 : to_height > tallest ? tallest : to_height;
    shrinker->width = width;
    shrinker->height = height;
    shrinker->to_width = to_width;
    shrinker->to_height = (uint32_t)to_height;
    if (!rooms_make(shrinker)) {
        return err_set(err, ERR_NOMEM, "no memory for a thumbnail of %u pixels across", to_width);
    }
    for (uint32_t u = 0; u <= to_width; u++) {
        shrinker->starts[u] = (uint32_t)block_start(u, to_width, width);
    }
    memset(shrinker->sums, 0, (size_t)width * 3 * sizeof(*shrinker->sums));
    shrinker->at = shrinker->v = shrinker->summed = 0;
    block_begin(shrinker);
    return 0;
}

int image_shrinker_finish(struct image_shrinker *shrinker, struct image_summary *out,
                          struct err *err) {
    size_t width = shrinker->to_width, height = shrinker->to_height;
    assert(shrinker->v == height);
    luma_of(shrinker->small, width * height, shrinker->luma);
    *out = (struct image_summary){.phash = hash_of(shrinker->luma, width, height)};
    quality_of(shrinker->luma, width, height, &out->quality);
    return thumb_encode(shrinker->small, shrinker->to_width, shrinker->to_height, out, err);
}

static void shrinker_destroy_at(struct image_shrinker **shrinker) {
    image_shrinker_destroy(*shrinker);
}

int image_summarise(const struct image_pixels *pixels, uint32_t thumb_width,
                    struct image_summary *out, struct err *err) {
    CLEANUP(shrinker_destroy_at)
    struct image_shrinker *shrinker = image_shrinker_create(thumb_width);
    if (shrinker == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a thumbnail");
    }
    int code = image_shrinker_begin(shrinker, pixels->width, pixels->height, err);
    if (code != 0) {
        return code;
    }
    image_shrinker_take(shrinker, pixels->rgb, pixels->height);
    return image_shrinker_finish(shrinker, out, err);
}

void image_summary_finish(struct image_summary *summary) {
    free(summary->thumb);
    *summary = (struct image_summary){0};
}
