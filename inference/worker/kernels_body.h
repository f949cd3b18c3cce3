/* kernels_body: one table of kernels, for the instruction set whose file includes this.
 *
 * Before it: KERNELS_TABLE (the table's name), KERNELS_NAME, KERNELS_ISA (the function attribute),
 * LANES, ROWS, the type `vec`, and over it v_load, v_store, v_store_part (the first n), v_set,
 * v_add, v_mul, v_div, v_fma (a * b + c), v_max and v_min (the second where one is not a number, as
 * x86 does it), v_load_even (every second of 2 * LANES floats) and v_power (2^n from n + 1.5 *
 * 2^23). Loads and stores need no alignment.
 *
 * Why a header and not a file a set: the loops are the same, only the widths differ, and a table
 * written twice is wrong once. Loops over registers have constant bounds and are unrolled by
 * pragma, because -O2 does not do it; `const int` parameters are constants after inlining.
 *
 * Columns that do not fill the last vector: it is moved back until it ends with the row and
 * computes some columns a second time, to the same result. */
#include <math.h>
#include <string.h>

#define KERNEL      static KERNELS_ISA
#define INNER       static inline __attribute__((always_inline)) KERNELS_ISA
#define PANEL       ((size_t)KERNELS_VECTORS * LANES)

#define FIRST_CACHE ((size_t)20 << 10) /* bytes of it for the second matrix of a product */

INNER vec activated(vec value, vec slope) {
    return v_max(v_mul(value, slope), value);
}

/* ---- products ---- */

/* rows x vectors of the result; the last vector begins at column `last`. */
INNER void block(const int rows, const int vectors, const struct kernels_product *p, const float *a,
                 const float *bias, const float *b, float *c, size_t last) {
    vec sum[ROWS][KERNELS_VECTORS];
    size_t at[KERNELS_VECTORS] = {0, LANES, 2 * LANES};
    at[vectors - 1] = last;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            sum[r][v] = p->resume ? v_load(c + (size_t)r * p->c_stride + at[v]) : v_set(bias[r]);
        }
    }
    for (size_t k = 0, depth = p->depth; k < depth; k++, a += rows, b += p->b_stride) {
        vec right[KERNELS_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            right[v] = v_load(b + at[v]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vec left = v_set(a[r]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = v_fma(left, right[v], sum[r][v]);
            }
        }
    }
    vec slope = v_set(p->slope);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            v_store(c + (size_t)r * p->c_stride + at[v], activated(sum[r][v], slope));
        }
    }
}

typedef void block_fn(const struct kernels_product *p, const float *a, const float *bias,
                      const float *b, float *c, size_t last);

#define BLOCK(rows, vectors)                                                                       \
    KERNEL void block_##rows##_##vectors(const struct kernels_product *p, const float *a,          \
                                         const float *bias, const float *b, float *c,              \
                                         size_t last) {                                            \
        block(rows, vectors, p, a, bias, b, c, last);                                              \
    }
#define BLOCKS(rows) BLOCK(rows, 1) BLOCK(rows, 2) BLOCK(rows, 3)
#define BLOCK_ROW(rows)                                                                            \
    { block_##rows##_1, block_##rows##_2, block_##rows##_3 }

BLOCKS(1)
BLOCKS(2)
BLOCKS(3)
BLOCKS(4)
#if ROWS > 4
BLOCKS(5)
BLOCKS(6)
BLOCKS(7)
BLOCKS(8)
#endif

static block_fn *const blocks[ROWS][KERNELS_VECTORS] = {
    BLOCK_ROW(1), BLOCK_ROW(2), BLOCK_ROW(3), BLOCK_ROW(4),
#if ROWS > 4
    BLOCK_ROW(5), BLOCK_ROW(6), BLOCK_ROW(7), BLOCK_ROW(8),
#endif
};

/* Columns `first` to `end` for all rows: while they are in the first cache, and so that each row of
 * the result is written in long pieces (to be seen by the prefetcher; rows are pages apart). */
KERNEL void columns_run(const struct kernels_product *p, size_t first, size_t end) {
    for (size_t r = 0; r < p->rows; r += ROWS) {
        size_t rows = p->rows - r < ROWS ? p->rows - r : ROWS;
        const float *a = p->a + r * p->a_depth + p->a_first * rows;
        for (size_t j = first; j < end; j += PANEL) {
            size_t at = j, width = end - j < PANEL ? end - j : PANEL;
            if (width < LANES) {
                at = end - LANES;
                width = LANES;
            }
            blocks[rows - 1][(width - 1) / LANES](p, a, p->bias + r, p->b + at,
                                                  p->c + r * p->c_stride + at, width - LANES);
        }
    }
}

KERNEL void product(const struct kernels_product *p) {
    size_t most = FIRST_CACHE / sizeof(float) / p->depth / PANEL * PANEL;
    most = most > PANEL ? most : PANEL;
    for (size_t j = 0; j < p->columns; j += most) {
        size_t end = p->columns - j < most ? p->columns : j + most;
        columns_run(p, end - j < LANES ? end - LANES : j, end);
    }
}

/* ---- unfolding ---- */

/* `count` pixels, `step` apart. Reads and writes whole vectors. */
INNER void pixels_copy(float *to, const float *from, size_t count, size_t step) {
    if (step == 1) {
        for (size_t i = 0; i < count; i += LANES) {
            v_store(to + i, v_load(from + i));
        }
    } else if (step == 2) {
        for (size_t i = 0; i < count; i += LANES) {
            v_store(to + i, v_load_even(from + 2 * i));
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            to[i] = from[i * step];
        }
    }
}

KERNEL void unfold(const struct kernels_plane *from, size_t first_row, size_t row_count,
                   size_t first_column, size_t column_count, float *to, size_t to_stride) {
    struct {
        size_t at, count;
    } runs[PANEL]; /* pieces of rows of the result; at most one a column */
    size_t run_count = 0;
    for (size_t i = 0; i < column_count; run_count++) {
        size_t x = (first_column + i) % from->out_width, y = (first_column + i) / from->out_width;
        size_t count = from->out_width - x;
        runs[run_count].at = (y * from->stride + x) * from->step;
        runs[run_count].count = count < column_count - i ? count : column_count - i;
        i += runs[run_count].count;
    }
    size_t size = from->size, step = from->step, window = size * size;
    size_t x = first_row % size, y = first_row % window / size; /* counted on: divisions are slow */
    const float *plane = from->pixels + first_row / window * from->plane;
    for (size_t r = 0; r < row_count; r++, to += to_stride) {
        const float *pixels = plane + y * from->stride + x;
        float *at = to;
        for (size_t i = 0; i < run_count; at += runs[i++].count) {
            pixels_copy(at, pixels + runs[i].at, runs[i].count, step);
        }
        x = x + 1 < size ? x + 1 : 0;
        y = x > 0 ? y : y + 1 < size ? y + 1 : 0;
        plane += x + y > 0 ? 0 : from->plane;
    }
}

/* ---- depthwise ---- */

#define STRIP 4 /* rows of the result at once: they share the rows that they read */

/* A window moves over planes with a border, or over bare ones: there the pixels left of the first
 * column are moved in as zeros, and those right of the last one. */
enum edges { BORDER = 0, BARE = 1, BARE_LEFT = 2, BARE_RIGHT = 4 };

/* How many columns of the result a window reaches beyond its own, to each side of a bare plane. */
#define REACH(size, step) ((size_t)((step) == 1 ? (size) / 2 : 1))

/* Those pixels of a row that column x of the window needs; `row` is where the middle one begins.
 * With step 2 they are every second one, the even or the odd ones. */
INNER vec pixels_bare(const int size, const int step, const int edges, const float *row, int x) {
    const int off = x - size / 2; /* pixels, and then columns of the result */
    const int by = step == 1 ? off : off < 0 ? (off - 1) / 2 : off / 2;
    const bool odd = step == 2 && off % 2 != 0;
    const float *at = row;
    if (!(by < 0 && (edges & BARE_LEFT)) && !(by > 0 && (edges & BARE_RIGHT))) {
        at += by * step;
    }
    vec pixels = step == 1 ? v_load(at) : odd ? v_load_odd(at) : v_load_even(at);
    if (by < 0 && (edges & BARE_LEFT)) {
        return v_later(pixels, -by);
    }
    return by > 0 && (edges & BARE_RIGHT) ? v_sooner(pixels, by) : pixels;
}

/* LANES pixels of a row, for column x of the window. */
INNER vec pixels_load(const int size, const int step, const int edges, const float *row, int x) {
    if (edges != BORDER) {
        return v_hold(pixels_bare(size, step, edges, row, x)); /* or each row loads them again */
    }
    return v_hold(step == 1 ? v_load(row + x) : v_load_even(row + x));
}

/* rows x LANES of the result. */
INNER void strip(const int rows, const int size, const int step, const int edges,
                 const float *const *from, size_t column, const vec *weights, vec bias, vec slope,
                 vec *out) {
    vec sum[STRIP];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        sum[r] = bias;
    }
#pragma GCC unroll 16
    for (int y = 0; y < (rows - 1) * step + size; y++) {
#pragma GCC unroll 5
        for (int x = 0; x < size; x++) {
            vec pixels = pixels_load(size, step, edges, from[y] + column, x);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                int dy = y - r * step;
                if (dy >= 0 && dy < size) {
                    sum[r] = v_fma(pixels, weights[dy * size + x], sum[r]);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        out[r] = activated(sum[r], slope);
    }
}

struct window {
    const struct kernels_plane *from;
    const float *zeros; /* NULL: the plane has a border */
    vec weights[5 * 5], bias, slope;
};

/* The rows of the plane that `rows` rows of the result from y on are made of. */
INNER void rows_find(const int rows, const int size, const int step, const struct window *window,
                     size_t y, const float **out) {
    const struct kernels_plane *from = window->from;
    const ptrdiff_t above = window->zeros == NULL ? 0 : size / 2;
#pragma GCC unroll 16
    for (int i = 0; i < (rows - 1) * step + size; i++) {
        ptrdiff_t at = (ptrdiff_t)y * step + i - above;
        bool inside = window->zeros == NULL || (at >= 0 && at < (ptrdiff_t)from->height);
        out[i] = inside ? from->pixels + at * (ptrdiff_t)from->stride : window->zeros;
    }
}

INNER void strip_store(const int rows, const vec *out, size_t width, float *to) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        if (width >= LANES) {
            v_store(to + (size_t)r * width, out[r]);
        } else {
            v_store_part(to + (size_t)r * width, out[r], width);
        }
    }
}

INNER void strip_run(const int rows, const int size, const int step, const int edges,
                     const struct window *window, const float *const *from, size_t x, float *to) {
    vec out[STRIP];
    strip(rows, size, step, edges, from, x * (size_t)step, window->weights, window->bias,
          window->slope, out);
    strip_store(rows, out, window->from->out_width, to + x);
}

INNER void depthwise_rows(const int rows, const int size, const int step,
                          const struct window *window, size_t y, float *to) {
    size_t width = window->from->out_width;
    const float *from[3 * 2 + 5];
    rows_find(rows, size, step, window, y, from);
    to += y * width;
    if (window->zeros == NULL) {
        for (size_t j = 0; j < width; j += LANES) {
            size_t x = j + LANES > width && width >= LANES ? width - LANES : j;
            strip_run(rows, size, step, BORDER, window, from, x, to);
        }
        return;
    }
    if (width == LANES) {
        strip_run(rows, size, step, BARE | BARE_LEFT | BARE_RIGHT, window, from, 0, to);
        return;
    }
    strip_run(rows, size, step, BARE | BARE_LEFT, window, from, 0, to);
    const size_t last = width - LANES - REACH(size, step); /* further right the row is over */
    for (size_t x = LANES; x + LANES < width; x += LANES) {
        strip_run(rows, size, step, BARE, window, from, x < last ? x : last, to);
    }
    strip_run(rows, size, step, BARE | BARE_RIGHT, window, from, width - LANES, to);
}

INNER void depthwise_plane(const int size, const int step, const struct kernels_plane *from,
                           const float *zeros, const float *weights, float bias, float slope,
                           float *to) {
    struct window window = {
        .from = from, .zeros = zeros, .bias = v_set(bias), .slope = v_set(slope)};
#pragma GCC unroll 25
    for (int i = 0; i < size * size; i++) {
        window.weights[i] = v_set(weights[i]);
    }
    size_t height = from->out_height;
    for (size_t y = 0; height < STRIP && y < height; y++) {
        depthwise_rows(1, size, step, &window, y, to);
    }
    for (size_t y = 0; height >= STRIP && y < height; y += STRIP) {
        depthwise_rows(STRIP, size, step, &window, y + STRIP > height ? height - STRIP : y, to);
    }
}

/* `zeros` NULL: the plane has a border. */
KERNEL void depthwise(const struct kernels_plane *from, const float *zeros, const float *weights,
                      float bias, float slope, float *to) {
    if (from->size == 3 && from->step == 1 && zeros != NULL) {
        depthwise_plane(3, 1, from, zeros, weights, bias, slope, to);
    } else if (from->size == 3 && from->step == 1) {
        depthwise_plane(3, 1, from, NULL, weights, bias, slope, to);
    } else if (from->size == 3 && zeros != NULL) {
        depthwise_plane(3, 2, from, zeros, weights, bias, slope, to);
    } else if (from->size == 3) {
        depthwise_plane(3, 2, from, NULL, weights, bias, slope, to);
    } else if (from->step == 1) {
        depthwise_plane(5, 1, from, zeros, weights, bias, slope, to);
    } else {
        depthwise_plane(5, 2, from, zeros, weights, bias, slope, to);
    }
}

KERNEL void rows_copy(float *to, size_t to_stride, const float *from, size_t width, size_t count) {
    for (size_t y = 0; y < count; y++, to += to_stride, from += width) {
        if (width < LANES) {
            for (size_t x = 0; x < width; x++) {
                to[x] = from[x];
            }
            continue;
        }
        for (size_t x = 0; x < width - LANES; x += LANES) {
            v_store(to + x, v_load(from + x));
        }
        v_store(to + width - LANES, v_load(from + width - LANES));
    }
}

/* ---- value by value ---- */

KERNEL void largest_beside(float *to, const float *from, size_t count, size_t size, size_t step) {
    if (step > 2) {
        for (size_t i = 0; i < count; i++) {
            to[i] = from[i * step];
            for (size_t k = 1; k < size; k++) {
                to[i] = from[i * step + k] > to[i] ? from[i * step + k] : to[i];
            }
        }
        return;
    }
    for (size_t i = 0; i < count; i += LANES) {
        const float *at = from + i * step;
        vec largest = step == 1 ? v_load(at) : v_load_even(at);
        for (size_t k = 1; k < size; k++) {
            largest = v_max(step == 1 ? v_load(at + k) : v_load_even(at + k), largest);
        }
        v_store(to + i, largest);
    }
}

KERNEL void largest_below(float *to, const float *from, size_t stride, size_t count, size_t size) {
    for (size_t i = 0; i < count; i += LANES) {
        vec largest = v_load(from + i);
        for (size_t k = 1; k < size; k++) {
            largest = v_max(v_load(from + k * stride + i), largest);
        }
        if (count - i >= LANES) {
            v_store(to + i, largest);
        } else {
            v_store_part(to + i, largest, count - i);
        }
    }
}

KERNEL void sum(float *to, const float *a, float a_factor, const float *b, float b_factor,
                float slope, size_t count) {
    size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vec value = v_fma(v_set(b_factor), v_load(b + i), v_mul(v_set(a_factor), v_load(a + i)));
        v_store(to + i, activated(value, v_set(slope)));
    }
    for (size_t i = whole; i < count; i++) {
        float value = a_factor * a[i] + b_factor * b[i];
        to[i] = value * slope > value ? value * slope : value;
    }
}

/* e^x = 2^n * e^r with |r| <= ln 2 / 2: n comes from adding a number so large that the fraction is
 * lost, e^r from its Taylor polynomial (the seventh term is below 2e-7 of the value). */
INNER vec exponential(vec x) {
    const vec shift = v_set(0x1.8p23f);
    x = v_min(v_set(87.0f), v_max(v_set(-87.0f), x));
    vec shifted = v_fma(x, v_set(1.44269504f), shift);
    vec n = v_add(shifted, v_set(-0x1.8p23f));
    vec r = v_fma(n, v_set(-0.693359375f), x); /* ln 2 in two parts: the first has few digits */
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vec power = v_set(1.0f / 720);
    power = v_fma(power, r, v_set(1.0f / 120));
    power = v_fma(power, r, v_set(1.0f / 24));
    power = v_fma(power, r, v_set(1.0f / 6));
    power = v_fma(power, r, v_set(0.5f));
    power = v_fma(power, r, v_set(1.0f));
    power = v_fma(power, r, v_set(1.0f));
    return v_mul(power, v_power(shifted));
}

KERNEL void logistic(float *to, const float *from, size_t count) {
    const vec one = v_set(1.0f);
    size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vec negative = v_mul(v_set(-1.0f), v_load(from + i));
        v_store(to + i, v_div(one, v_add(one, exponential(negative))));
    }
    for (size_t i = whole; i < count; i++) {
        to[i] = 1.0f / (1.0f + expf(-from[i]));
    }
}

const struct kernels KERNELS_TABLE = {
    .name = KERNELS_NAME,
    .lanes = LANES,
    .rows = ROWS,
    .product = product,
    .unfold = unfold,
    .rows_copy = rows_copy,
    .depthwise = depthwise,
    .largest_beside = largest_beside,
    .largest_below = largest_below,
    .sum = sum,
    .logistic = logistic,
};
