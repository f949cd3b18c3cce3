/* Shapes, noise and blur: see scene_paint.h. */
#include "inference/demo/scene_paint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64: every input gives an unrelated stream, so no state has to be carried from frame to
 * frame. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
 */
static uint64_t mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t next64(struct scene__rng *rng) {
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix64(rng->state);
}

struct scene__rng scene__rng_for(uint64_t seed, uint64_t a, uint64_t b, uint64_t c) {
    const uint64_t step = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t h = mix64(seed + step);

    h = mix64((h ^ a) + step);
    h = mix64((h ^ b) + step);
    h = mix64((h ^ c) + step);
    return (struct scene__rng){.state = h};
}

float scene__rng_unit(struct scene__rng *rng) {
    return (float)(next64(rng) >> 40) * (1.0F / 16777216.0F);
}

float scene__rng_range(struct scene__rng *rng, float low, float high) {
    return low + (high - low) * scene__rng_unit(rng);
}

int scene__rng_below(struct scene__rng *rng, int n) {
    int i = (int)(scene__rng_unit(rng) * (float)n);

    return i < n ? i : n - 1;
}

float scene__mix(float a, float b, float t) {
    return a + (b - a) * t;
}

float scene__clamp(float v, float low, float high) {
    return v < low ? low : (v > high ? high : v);
}

float scene__smooth(float low, float high, float v) {
    float t = scene__clamp((v - low) / (high - low), 0.0F, 1.0F);

    return t * t * (3.0F - 2.0F * t);
}

struct scene__rgb scene__rgb_mix(struct scene__rgb a, struct scene__rgb b, float t) {
    return (struct scene__rgb){scene__mix(a.r, b.r, t), scene__mix(a.g, b.g, t),
                               scene__mix(a.b, b.b, t)};
}

struct scene__rgb scene__rgb_scale(struct scene__rgb a, float k) {
    return (struct scene__rgb){a.r * k, a.g * k, a.b * k};
}

/* Value noise on a lattice of `cells` by `cells` that wraps around. */
static void add_octave(float *tile, uint64_t seed, int cells, float gain) {
    const int side = SCENE__TILE_SIDE;
    const int step = side / cells;

    for (int y = 0; y < side; y++) {
        int cy = y / step;
        float ty = scene__smooth(0.0F, 1.0F, (float)(y % step) / (float)step);
        for (int cx = 0; cx < cells; cx++) {
            float corner[4];
            for (int i = 0; i < 4; i++) {
                uint64_t gx = (uint64_t)((cx + (i & 1)) % cells);
                uint64_t gy = (uint64_t)((cy + (i >> 1)) % cells);
                struct scene__rng rng = scene__rng_for(seed, gx, gy, (uint64_t)cells);
                corner[i] = scene__rng_range(&rng, -1.0F, 1.0F);
            }
            float left = scene__mix(corner[0], corner[2], ty);
            float right = scene__mix(corner[1], corner[3], ty);
            for (int i = 0; i < step; i++) {
                float tx = scene__smooth(0.0F, 1.0F, (float)i / (float)step);
                tile[y * side + cx * step + i] += gain * scene__mix(left, right, tx);
            }
        }
    }
}

void scene__tile_fill(float *tile, uint64_t seed) {
    memset(tile, 0, sizeof *tile * SCENE__TILE_SIDE * SCENE__TILE_SIDE);
    float gain = 0.5F;
    for (int cells = 4; cells <= 128; cells *= 2) {
        add_octave(tile, seed, cells, gain);
        gain *= 0.62F;
    }
}

float scene__tile_at(const float *tile, float u, float v) {
    float fu = floorf(u);
    float fv = floorf(v);
    unsigned mask = SCENE__TILE_SIDE - 1;
    unsigned x = (unsigned)(int)fu & mask;
    unsigned y = (unsigned)(int)fv & mask;
    unsigned x1 = (x + 1) & mask;
    unsigned y1 = (y + 1) & mask;
    float tx = u - fu;
    float top = scene__mix(tile[y * SCENE__TILE_SIDE + x], tile[y * SCENE__TILE_SIDE + x1], tx);
    float low = scene__mix(tile[y1 * SCENE__TILE_SIDE + x], tile[y1 * SCENE__TILE_SIDE + x1], tx);

    return scene__mix(top, low, v - fv);
}

bool scene__layer_begin(struct scene__layer *layer, struct scene__rect at) {
    if (at.x1 <= at.x0 || at.y1 <= at.y0) {
        at.x1 = at.x0;
        at.y1 = at.y0;
    }
    size_t need = (size_t)(at.x1 - at.x0) * (size_t)(at.y1 - at.y0) * 4;
    if (need > layer->capacity) {
        float *px = realloc(layer->px, need * sizeof *px);
        if (px == NULL) {
            return false;
        }
        layer->px = px;
        layer->capacity = need;
    }
    layer->at = at;
    if (need > 0) {
        memset(layer->px, 0, need * sizeof *layer->px);
    }
    return true;
}

void scene__layer_finish(struct scene__layer *layer) {
    free(layer->px);
    *layer = (struct scene__layer){0};
}

/* A shape in pixels of the picture: negative inside, distance to the edge outside. */
struct shape {
    float (*distance)(const struct shape *shape, float x, float y);
    struct scene__point p[SCENE__POLY_MAX];
    int count;
    float rx, ry, round;
    float x0, y0, x1, y1; /* bounds */
};

static float disc_distance(const struct shape *s, float x, float y) {
    float dx = (x - s->p[0].x) / s->rx;
    float dy = (y - s->p[0].y) / s->ry;
    float k = sqrtf(dx * dx + dy * dy);

    return (k - 1.0F) * (s->rx < s->ry ? s->rx : s->ry);
}

static float ring_distance(const struct shape *s, float x, float y) {
    float dx = x - s->p[0].x;
    float dy = y - s->p[0].y;

    return fabsf(sqrtf(dx * dx + dy * dy) - s->rx) - s->ry;
}

static float segment_distance2(struct scene__point a, struct scene__point b, float x, float y) {
    float ex = b.x - a.x;
    float ey = b.y - a.y;
    float px = x - a.x;
    float py = y - a.y;
    float t = scene__clamp((px * ex + py * ey) / (ex * ex + ey * ey + 1e-6F), 0.0F, 1.0F);
    float dx = px - ex * t;
    float dy = py - ey * t;

    return dx * dx + dy * dy;
}

static float limb_distance(const struct shape *s, float x, float y) {
    return sqrtf(segment_distance2(s->p[0], s->p[1], x, y)) - s->round;
}

static float box_distance(const struct shape *s, float x, float y) {
    float dx = fabsf(x - s->p[0].x) - s->rx;
    float dy = fabsf(y - s->p[0].y) - s->ry;
    float ox = dx > 0.0F ? dx : 0.0F;
    float oy = dy > 0.0F ? dy : 0.0F;
    float inside = dx > dy ? dx : dy;

    return (inside < 0.0F ? inside : 0.0F) + sqrtf(ox * ox + oy * oy) - s->round;
}

/* Winding by crossing count, so concave outlines work too. */
static float poly_distance(const struct shape *s, float x, float y) {
    float best = 1e12F;
    bool inside = false;

    for (int i = 0, j = s->count - 1; i < s->count; j = i++) {
        struct scene__point a = s->p[i];
        struct scene__point b = s->p[j];
        float d = segment_distance2(a, b, x, y);
        best = d < best ? d : best;
        if ((a.y > y) != (b.y > y) && x < (b.x - a.x) * (y - a.y) / (b.y - a.y) + a.x) {
            inside = !inside;
        }
    }
    best = sqrtf(best);
    return (inside ? -best : best) - s->round;
}

static int clip_down(float v, int low, int high) {
    float f = scene__clamp(floorf(v), (float)low, (float)high);

    return (int)f;
}

static void fill(struct scene__layer *layer, const struct shape *s, struct scene__rgb color,
                 float shade) {
    const struct scene__rect at = layer->at;
    int x0 = clip_down(s->x0 - 1.0F, at.x0, at.x1);
    int x1 = clip_down(s->x1 + 2.0F, at.x0, at.x1);
    int y0 = clip_down(s->y0 - 1.0F, at.y0, at.y1);
    int y1 = clip_down(s->y1 + 2.0F, at.y0, at.y1);
    float span = s->y1 - s->y0 + 1e-3F;

    for (int y = y0; y < y1; y++) {
        float t = ((float)y - s->y0) / span;
        struct scene__rgb c = scene__rgb_scale(color, 1.0F + shade * (0.5F - t));
        float *row = layer->px + ((ptrdiff_t)(y - at.y0) * (at.x1 - at.x0) - at.x0) * 4;
        for (int x = x0; x < x1; x++) {
            float d = s->distance(s, (float)x + 0.5F, (float)y + 0.5F);
            if (d >= 0.5F) {
                continue;
            }
            float a = d <= -0.5F ? 1.0F : 0.5F - d;
            float *px = row + (ptrdiff_t)x * 4;
            px[0] += (c.r - px[0]) * a;
            px[1] += (c.g - px[1]) * a;
            px[2] += (c.b - px[2]) * a;
            px[3] += (1.0F - px[3]) * a;
        }
    }
}

static struct scene__point place(const struct scene__pen *pen, float x, float y) {
    return (struct scene__point){pen->x + pen->facing * pen->scale * x, pen->y - pen->scale * y};
}

static void bound_points(struct shape *s, float margin) {
    s->x0 = s->x1 = s->p[0].x;
    s->y0 = s->y1 = s->p[0].y;
    for (int i = 1; i < s->count; i++) {
        s->x0 = fminf(s->x0, s->p[i].x);
        s->x1 = fmaxf(s->x1, s->p[i].x);
        s->y0 = fminf(s->y0, s->p[i].y);
        s->y1 = fmaxf(s->y1, s->p[i].y);
    }
    s->x0 -= margin;
    s->y0 -= margin;
    s->x1 += margin;
    s->y1 += margin;
}

static void bound_center(struct shape *s, float rx, float ry) {
    s->x0 = s->p[0].x - rx;
    s->x1 = s->p[0].x + rx;
    s->y0 = s->p[0].y - ry;
    s->y1 = s->p[0].y + ry;
}

void scene__disc(const struct scene__pen *pen, float x, float y, float rx, float ry,
                 struct scene__rgb color, float shade) {
    struct shape s = {.distance = disc_distance, .count = 1};

    s.p[0] = place(pen, x, y);
    s.rx = rx * pen->scale;
    s.ry = ry * pen->scale;
    bound_center(&s, s.rx, s.ry);
    fill(pen->layer, &s, color, shade);
}

void scene__ring(const struct scene__pen *pen, float x, float y, float radius, float thick,
                 struct scene__rgb color) {
    struct shape s = {.distance = ring_distance, .count = 1};

    s.p[0] = place(pen, x, y);
    s.rx = radius * pen->scale;
    s.ry = fmaxf(thick * pen->scale * 0.5F, 0.5F);
    bound_center(&s, s.rx + s.ry, s.rx + s.ry);
    fill(pen->layer, &s, color, 0.0F);
}

void scene__limb(const struct scene__pen *pen, struct scene__point a, struct scene__point b,
                 float radius, struct scene__rgb color) {
    struct shape s = {.distance = limb_distance, .count = 2};

    s.p[0] = place(pen, a.x, a.y);
    s.p[1] = place(pen, b.x, b.y);
    s.round = fmaxf(radius * pen->scale, 0.5F);
    bound_points(&s, s.round);
    fill(pen->layer, &s, color, 0.0F);
}

void scene__box(const struct scene__pen *pen, float x0, float y0, float x1, float y1, float round,
                struct scene__rgb color, float shade) {
    struct shape s = {.distance = box_distance, .count = 1};

    s.p[0] = place(pen, (x0 + x1) * 0.5F, (y0 + y1) * 0.5F);
    s.round = round * pen->scale;
    s.rx = fmaxf((x1 - x0) * 0.5F * pen->scale - s.round, 0.1F);
    s.ry = fmaxf((y1 - y0) * 0.5F * pen->scale - s.round, 0.1F);
    bound_center(&s, s.rx + s.round, s.ry + s.round);
    fill(pen->layer, &s, color, shade);
}

void scene__poly(const struct scene__pen *pen, const struct scene__point *points, int count,
                 float round, struct scene__rgb color, float shade) {
    struct shape s = {.distance = poly_distance, .count = count};

    for (int i = 0; i < count; i++) {
        s.p[i] = place(pen, points[i].x, points[i].y);
    }
    s.round = round * pen->scale;
    bound_points(&s, s.round);
    fill(pen->layer, &s, color, shade);
}

/* One row of a running mean over `length` pixels: the sum gains one pixel on the right and loses
 * one on the left. */
static void smear_row(float *row, int width, int half, float *work) {
    float sum[4] = {0};
    float scale = 1.0F / (float)(2 * half + 1);

    memcpy(work, row, sizeof *row * 4 * (size_t)width);
    for (int x = 0; x < half && x < width; x++) {
        for (int c = 0; c < 4; c++) {
            sum[c] += work[x * 4 + c];
        }
    }
    for (int x = 0; x < width; x++) {
        for (int c = 0; c < 4; c++) {
            sum[c] += x + half < width ? work[(x + half) * 4 + c] : 0.0F;
            sum[c] -= x - half - 1 >= 0 ? work[(x - half - 1) * 4 + c] : 0.0F;
            row[x * 4 + c] = sum[c] * scale;
        }
    }
}

void scene__layer_smear(struct scene__layer *layer, float length) {
    float work[SCENE__SMEAR_MAX * 4];
    int width = layer->at.x1 - layer->at.x0;
    int half = (int)(length * 0.5F + 0.5F);

    if (half < 1 || width > SCENE__SMEAR_MAX) {
        return;
    }
    for (int y = 0; y < layer->at.y1 - layer->at.y0; y++) {
        smear_row(layer->px + (ptrdiff_t)y * width * 4, width, half, work);
    }
}

/* A box whose ends count by the fraction of the radius: the blur can grow smoothly with time. */
struct box_kernel {
    int whole;
    float part, scale;
};

static struct box_kernel kernel_for(float radius) {
    struct box_kernel k = {.whole = (int)radius};

    k.part = radius - (float)k.whole;
    k.scale = 1.0F / (2.0F * radius + 1.0F);
    return k;
}

static int edge(int i, int n) {
    return i < 0 ? 0 : (i >= n ? n - 1 : i);
}

/* The window around x: its mean goes to dst, then it moves on by one pixel. */
static void blur_step(const uint8_t *left, const uint8_t *right, const uint8_t *leaves,
                      uint8_t *dst, int sum[3], struct box_kernel k) {
    for (int c = 0; c < 3; c++) {
        float ends = k.part * (float)(left[c] + right[c]);
        dst[c] = (uint8_t)(((float)sum[c] + ends) * k.scale);
        sum[c] += right[c] - leaves[c];
    }
}

static void blur_row(const uint8_t *src, uint8_t *dst, int width, struct box_kernel k) {
    int sum[3] = {0};
    int reach = k.whole + 1;
    int safe = width - reach; /* from `reach` up to here the window lies inside the row */

    for (int i = -k.whole; i <= k.whole; i++) {
        for (int c = 0; c < 3; c++) {
            sum[c] += src[edge(i, width) * 3 + c];
        }
    }
    for (int x = 0; x < width; x++) {
        if (x >= reach && x < safe) {
            const uint8_t *px = src + (ptrdiff_t)x * 3;
            blur_step(px - reach * 3, px + reach * 3, px - k.whole * 3, dst + x * 3, sum, k);
        } else {
            blur_step(src + edge(x - reach, width) * 3, src + edge(x + reach, width) * 3,
                      src + edge(x - k.whole, width) * 3, dst + x * 3, sum, k);
        }
    }
}

static void blur_columns(const uint8_t *src, uint8_t *dst, int width, int height,
                         struct box_kernel k, int *sum) {
    size_t stride = (size_t)width * 3;

    memset(sum, 0, stride * sizeof *sum);
    for (int i = -k.whole; i <= k.whole; i++) {
        const uint8_t *row = src + (size_t)edge(i, height) * stride;
        for (size_t x = 0; x < stride; x++) {
            sum[x] += row[x];
        }
    }
    for (int y = 0; y < height; y++) {
        const uint8_t *above = src + (size_t)edge(y - k.whole - 1, height) * stride;
        const uint8_t *below = src + (size_t)edge(y + k.whole + 1, height) * stride;
        const uint8_t *leaves = src + (size_t)edge(y - k.whole, height) * stride;
        uint8_t *out = dst + (size_t)y * stride;
        for (size_t x = 0; x < stride; x++) {
            float ends = k.part * (float)(above[x] + below[x]);
            out[x] = (uint8_t)(((float)sum[x] + ends) * k.scale);
            sum[x] += below[x] - leaves[x];
        }
    }
}

void scene__blur(uint8_t *rgb, int width, int height, float radius, uint8_t *work, int *sums) {
    struct box_kernel k = kernel_for(radius);
    size_t stride = (size_t)width * 3;

    if (radius < 0.05F) {
        return;
    }
    for (int y = 0; y < height; y++) {
        blur_row(rgb + (size_t)y * stride, work + (size_t)y * stride, width, k);
    }
    blur_columns(work, rgb, width, height, k, sums);
}
