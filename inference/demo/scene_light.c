/* Sky, light, weather, sensor: see scene_light.h. */
#include "inference/demo/scene_light.h"
#include "inference/demo/scene_set.h"

#include <math.h>
#include <string.h>

_Static_assert(sizeof(struct scene__mood) == SCENE__MOOD_FIELDS * sizeof(float), "floats only");

struct scene__mood scene__mood_mix(const struct scene__mood *a, const struct scene__mood *b,
                                   float t) {
    float fa[SCENE__MOOD_FIELDS];
    float fb[SCENE__MOOD_FIELDS];
    struct scene__mood out;

    memcpy(fa, a, sizeof fa);
    memcpy(fb, b, sizeof fb);
    for (size_t i = 0; i < SCENE__MOOD_FIELDS; i++) {
        fa[i] = scene__mix(fa[i], fb[i], t);
    }
    memcpy(&out, fa, sizeof out);
    return out;
}

/* A sum of four uniform numbers is near enough to a normal one; sigma is 32. */
void scene__noise_fill(int8_t *noise, uint64_t seed) {
    struct scene__rng rng = scene__rng_for(seed, 0x9015e, 0, 0);

    for (int i = 0; i < SCENE__NOISE_SIZE; i++) {
        float sum = 0.0F;
        for (int j = 0; j < 4; j++) {
            sum += scene__rng_range(&rng, -1.0F, 1.0F);
        }
        noise[i] = (int8_t)scene__clamp(sum * 27.7F, -127.0F, 127.0F);
    }
}

static uint8_t byte(float v) {
    return (uint8_t)scene__clamp(v + 0.5F, 0.0F, 255.0F);
}

static struct scene__rgb sky_color(const struct scene__mood *mood, float t) {
    static const struct scene__rgb noon[2] = {{108, 158, 212}, {206, 222, 232}};
    static const struct scene__rgb evening[2] = {{118, 122, 168}, {250, 190, 134}};
    struct scene__rgb day = scene__rgb_mix(noon[0], noon[1], t);
    struct scene__rgb dusk = scene__rgb_mix(evening[0], evening[1], t);

    return scene__rgb_mix(day, dusk, mood->dusk);
}

void scene__sky(const struct scene__plate *plate, const struct scene__mood *mood,
                const uint8_t *cover, int bottom) {
    float unit = (float)plate->height;
    float drift = (float)(plate->frame % 100000) * 0.25F;

    for (int y = 0; y < bottom; y++) {
        float fy = (float)y / unit;
        struct scene__rgb clear = sky_color(mood, fy / SCENE__WALL_FOOT * 1.6F);
        struct scene__rgb cloud = scene__rgb_mix(clear, (struct scene__rgb){250, 248, 246}, 0.75F);
        uint8_t *px = plate->rgb + (ptrdiff_t)y * plate->width * 3;
        const uint8_t *mask = cover + (ptrdiff_t)y * plate->width;
        for (int x = 0; x < plate->width; x++, px += 3) {
            if (mask[x] == 255) {
                continue;
            }
            float n = scene__tile_at(plate->tile, (float)x / unit * 60.0F + drift, fy * 220.0F);
            struct scene__rgb c = scene__rgb_mix(clear, cloud, scene__smooth(-0.1F, 0.7F, n));
            float a = 1.0F - (float)mask[x] * (1.0F / 255.0F);
            px[0] = byte((float)px[0] + c.r * a);
            px[1] = byte((float)px[1] + c.g * a);
            px[2] = byte((float)px[2] + c.b * a);
        }
    }
}

/* The light map: a coarse grid of gains, interpolated between its corners. */
struct grid {
    int cell, nx, ny;
    struct scene__rgb gain[SCENE__GRID_MAX + 2][SCENE__GRID_MAX + 2];
};

static struct scene__rgb base_gain(const struct scene__mood *mood) {
    static const struct scene__rgb night = {0.16F, 0.19F, 0.29F};
    static const struct scene__rgb noon = {1.0F, 1.0F, 0.99F};
    static const struct scene__rgb evening = {1.02F, 0.84F, 0.68F};
    struct scene__rgb day = scene__rgb_mix(noon, evening, mood->dusk);

    return scene__rgb_scale(scene__rgb_mix(night, day, mood->day), mood->bright);
}

static void add_glow(struct scene__rgb *gain, const struct scene__glow *glow, float x, float y) {
    float dx = (x - glow->x) / glow->radius;
    float dy = (y - glow->y) / (glow->radius * 0.7F);
    float k = expf(-(dx * dx + dy * dy));

    gain->r += glow->gain.r * k;
    gain->g += glow->gain.g * k;
    gain->b += glow->gain.b * k;
}

static void grid_fill(struct grid *grid, const struct scene__plate *plate,
                      const struct scene__mood *mood, const struct scene__glow *glows, int count) {
    struct scene__rgb base = base_gain(mood);
    float unit = (float)plate->height;
    float mid = (float)plate->width / unit * 0.5F;
    float drift = (float)(plate->frame % 100000) * 0.9F;

    for (int j = 0; j <= grid->ny; j++) {
        for (int i = 0; i <= grid->nx; i++) {
            float x = (float)(i * grid->cell) / unit;
            float y = (float)(j * grid->cell) / unit;
            float n = scene__tile_at(plate->tile, x * 26.0F + drift, y * 60.0F);
            float cloud = 1.0F - 0.22F * mood->day * scene__smooth(0.05F, 0.5F, n);
            float r2 = (x - mid) * (x - mid) + (y - 0.5F) * (y - 0.5F);
            struct scene__rgb *gain = &grid->gain[j][i];
            *gain = scene__rgb_scale(base, cloud * (1.04F - 0.2F * r2));
            for (int g = 0; g < count; g++) {
                add_glow(gain, &glows[g], x, y);
            }
        }
    }
}

/* One cell of one row: the gain goes linearly from `a` to `b`. */
static void light_run(uint8_t *px, int n, int cell, struct scene__rgb a, struct scene__rgb b,
                      struct scene__rgb haze, float clear) {
    float step = 1.0F / (float)cell;
    float d[3] = {(b.r - a.r) * step, (b.g - a.g) * step, (b.b - a.b) * step};
    float k[3] = {a.r, a.g, a.b};
    const float add[3] = {haze.r + 0.5F, haze.g + 0.5F, haze.b + 0.5F};

    for (int x = 0; x < n; x++, px += 3) {
        for (int c = 0; c < 3; c++) {
            float v = (float)px[c] * k[c] * clear + add[c];
            px[c] = (uint8_t)(v > 255.0F ? 255.0F : v);
            k[c] += d[c];
        }
    }
}

void scene__light(const struct scene__plate *plate, const struct scene__mood *mood,
                  const struct scene__glow *glows, int count) {
    struct grid grid;
    int longer = plate->width > plate->height ? plate->width : plate->height;
    struct scene__rgb base = base_gain(mood);
    struct scene__rgb air = sky_color(mood, 0.9F);

    air = (struct scene__rgb){air.r * base.r, air.g * base.g, air.b * base.b};
    grid.cell = longer / 48 > 8 ? longer / 48 : 8;
    grid.nx = (plate->width + grid.cell - 1) / grid.cell;
    grid.ny = (plate->height + grid.cell - 1) / grid.cell;
    grid_fill(&grid, plate, mood, glows, count);
    for (int y = 0; y < plate->height; y++) {
        int j = y / grid.cell;
        float t = (float)(y % grid.cell) / (float)grid.cell;
        float near = scene__smooth(SCENE__HORIZON, 1.1F, (float)y / (float)plate->height);
        float haze = mood->haze * (1.0F - 0.6F * near);
        uint8_t *row = plate->rgb + (ptrdiff_t)y * plate->width * 3;
        for (int i = 0; i < grid.nx; i++) {
            int left = plate->width - i * grid.cell;
            light_run(row + (ptrdiff_t)i * grid.cell * 3, left < grid.cell ? left : grid.cell,
                      grid.cell, scene__rgb_mix(grid.gain[j][i], grid.gain[j + 1][i], t),
                      scene__rgb_mix(grid.gain[j][i + 1], grid.gain[j + 1][i + 1], t),
                      scene__rgb_scale(air, haze), 1.0F - haze);
        }
    }
}

static void streak(const struct scene__plate *plate, float x, float y, float length, float alpha) {
    int n = (int)length;

    for (int i = 0; i < n; i++) {
        int px = (int)(x - 0.22F * (float)i);
        int py = (int)y + i;
        if (px < 0 || py < 0 || px >= plate->width || py >= plate->height) {
            continue;
        }
        uint8_t *p = plate->rgb + ((ptrdiff_t)py * plate->width + px) * 3;
        for (int c = 0; c < 3; c++) {
            p[c] = byte((float)p[c] + (205.0F - (float)p[c]) * alpha);
        }
    }
}

void scene__rain(const struct scene__plate *plate, const struct scene__mood *mood) {
    struct scene__rng rng = scene__rng_for(plate->seed, 0x7a19, plate->frame, 0);
    float unit = (float)plate->height;
    int count = (int)(mood->rain * 420.0F);

    for (int i = 0; i < count; i++) {
        float x = scene__rng_range(&rng, 0.0F, (float)plate->width * 1.1F);
        float y = scene__rng_range(&rng, -0.1F, 1.0F) * unit;
        float length = scene__rng_range(&rng, 0.03F, 0.09F) * unit;
        streak(plate, x, y, length,
               scene__rng_range(&rng, 0.1F, 0.28F) * (0.4F + 0.6F * mood->day));
    }
}

/* Each row starts at its own place in the table: a table of noise is as good as new noise, and much
 * cheaper. */
void scene__sensor(const struct scene__plate *plate, float sigma) {
    int stride = plate->width * 3;
    int gain = (int)(sigma * 8.0F); /* the table's sigma is 32: (n * gain) >> 8 */

    for (int y = 0; y < plate->height; y++) {
        struct scene__rng rng = scene__rng_for(plate->seed, 0x5e4, plate->frame, (uint64_t)y);
        const int8_t *noise =
            plate->noise + scene__rng_below(&rng, SCENE__NOISE_SIZE - SCENE__NOISE_RUN);
        uint8_t *px = plate->rgb + (ptrdiff_t)y * stride;
        for (int x = 0; x < stride; x++) {
            int v = px[x] + ((noise[x & (SCENE__NOISE_RUN - 1)] * gain + 128) >> 8);
            px[x] = (uint8_t)(v < 0 ? 0 : (v > 255 ? 255 : v));
        }
    }
}
