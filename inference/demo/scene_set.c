/* The backdrop: see scene_set.h. Lengths are in heights of the picture, y upwards from its lower
 * border. */
#include "inference/demo/scene_set.h"

#include <math.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct scene__rgb white = {236, 236, 230};
static const struct scene__rgb dark = {46, 48, 54};
static const struct scene__rgb yellow = {236, 186, 48};

static const struct scene__rgb grounds[] = {{112, 112, 114}, {134, 130, 124}, {98, 102, 108},
                                            {144, 138, 128}, {120, 108, 94},  {112, 122, 104}};
static const struct scene__rgb walls[] = {{186, 180, 168}, {148, 160, 172}, {170, 110, 84},
                                          {126, 140, 126}, {204, 196, 176}, {140, 124, 118}};
static const struct scene__rgb doors[] = {
    {92, 116, 140}, {196, 198, 196}, {126, 70, 62}, {86, 112, 94}, {160, 140, 96}};
static const struct scene__rgb leaves[] = {
    {74, 104, 66}, {94, 118, 70}, {62, 92, 74}, {120, 116, 66}};

/* What the painters share; `aspect` is the picture's width in heights. */
struct stage {
    struct scene__layer *layer;
    const float *tile;
    struct scene__rng rng;
    struct scene__pen pen;
    float aspect;
    float wall_top;
    struct scene__rgb ground, wall;
};

static float up(float from_top) {
    return 1.0F - from_top;
}

static struct scene__rgb any(struct scene__rng *rng, const struct scene__rgb *list, int count) {
    struct scene__rgb c = list[scene__rng_below(rng, count)];

    return scene__rgb_scale(c, scene__rng_range(rng, 0.85F, 1.12F));
}

static void put(float *px, struct scene__rgb c) {
    px[0] = c.r;
    px[1] = c.g;
    px[2] = c.b;
    px[3] = 1.0F;
}

/* The ground recedes: a row at distance d shows 1/d of the width, so the grain grows towards the
 * camera. */
static void paint_ground(struct stage *st) {
    int width = st->layer->at.x1;
    int height = st->layer->at.y1;
    float offset = scene__rng_range(&st->rng, 0.0F, 200.0F);
    float rough = scene__rng_range(&st->rng, 0.05F, 0.16F);
    float patchy = scene__rng_range(&st->rng, 0.05F, 0.22F);

    for (int y = (int)(SCENE__WALL_FOOT * (float)height); y < height; y++) {
        float fy = ((float)y + 0.5F) / (float)height;
        float near = fy - SCENE__HORIZON;
        float v = 30.0F / near;
        float light = 0.92F + 0.16F * scene__smooth(SCENE__WALL_FOOT, 1.0F, fy);
        for (int x = 0; x < width; x++) {
            float u = ((float)x / (float)height - st->aspect * 0.5F) / near;
            float grain = scene__tile_at(st->tile, u * 160.0F + offset, v * 9.0F + offset);
            float patch = scene__tile_at(st->tile, u * 14.0F + offset, v * 0.9F);
            float k = light + rough * grain + patchy * scene__clamp(patch, -0.6F, 0.6F);
            put(st->layer->px + ((ptrdiff_t)y * width + x) * 4, scene__rgb_scale(st->ground, k));
        }
    }
}

/* A strip on the ground between two distances and two bearings, both as seen at the near border. */
static void ground_quad(const struct stage *st, float x0, float x1, float y0, float y1,
                        struct scene__rgb c) {
    float full = 1.0F - SCENE__HORIZON;
    float far = (y0 - SCENE__HORIZON) / full;
    float near = (y1 - SCENE__HORIZON) / full;
    float mid = st->aspect * 0.5F;
    struct scene__point p[] = {{mid + x0 * far, up(y0)},
                               {mid + x1 * far, up(y0)},
                               {mid + x1 * near, up(y1)},
                               {mid + x0 * near, up(y1)}};

    scene__poly(&st->pen, p, COUNT(p), 0.0F, c, 0.0F);
}

static void paint_marks(struct stage *st) {
    struct scene__rgb mark = scene__rng_unit(&st->rng) < 0.6F ? white : yellow;
    float pitch = scene__rng_range(&st->rng, 0.7F, 1.1F);
    float shift = scene__rng_range(&st->rng, 0.0F, 1.0F);
    float lane = scene__rng_range(&st->rng, 0.62F, 0.74F);

    mark = scene__rgb_mix(mark, st->ground, 0.45F);
    for (int i = -4; i <= 4; i++) {
        float x = ((float)i + shift) * pitch;
        ground_quad(st, x - 0.02F, x + 0.02F, SCENE__WALL_FOOT + 0.02F, lane - 0.03F, mark);
    }
    for (int i = -7; i <= 7; i++) {
        float x = ((float)i + shift) * pitch * 0.6F;
        ground_quad(st, x - 0.17F, x + 0.06F, lane + 0.08F, lane + 0.093F, mark);
    }
    if (scene__rng_unit(&st->rng) < 0.5F) {
        float x = scene__rng_range(&st->rng, -0.8F, 0.4F);
        for (int i = 0; i < 6; i++) {
            ground_quad(st, x, x + 0.35F, 0.84F + 0.022F * (float)i, 0.85F + 0.022F * (float)i,
                        mark);
        }
    }
}

static void paint_wall_face(struct stage *st) {
    const struct scene__pen *pen = &st->pen;
    float foot = up(SCENE__WALL_FOOT);
    int style = scene__rng_below(&st->rng, 3);
    struct scene__rgb seam = scene__rgb_scale(st->wall, 0.9F);

    scene__box(pen, -0.1F, foot, st->aspect + 0.1F, st->wall_top, 0.0F, st->wall, 0.12F);
    if (style == 0) { /* corrugated sheet */
        for (float x = 0.0F; x < st->aspect; x += 0.016F) {
            scene__box(pen, x, foot, x + 0.006F, st->wall_top, 0.0F, seam, 0.12F);
        }
    } else if (style == 1) { /* brick courses */
        for (float y = foot; y < st->wall_top; y += 0.0125F) {
            scene__box(pen, -0.1F, y, st->aspect + 0.1F, y + 0.003F, 0.0F, seam, 0.0F);
        }
    } else { /* panels */
        for (float x = 0.1F; x < st->aspect; x += 0.29F) {
            scene__box(pen, x, foot, x + 0.005F, st->wall_top, 0.0F, seam, 0.0F);
        }
        scene__box(pen, -0.1F, foot + 0.17F, st->aspect + 0.1F, foot + 0.175F, 0.0F, seam, 0.0F);
    }
    scene__box(pen, -0.1F, st->wall_top - 0.018F, st->aspect + 0.1F, st->wall_top + 0.006F, 0.0F,
               scene__rgb_scale(st->wall, 0.72F), 0.0F);
}

static void paint_door(const struct stage *st, float x, struct scene__rgb c, float open) {
    const struct scene__pen *pen = &st->pen;
    float foot = up(SCENE__WALL_FOOT);
    float top = foot + 0.19F;
    float low = foot + 0.19F * open;

    scene__box(pen, x - 0.125F, foot, x + 0.125F, top + 0.02F, 0.004F, dark, 0.0F);
    scene__box(pen, x - 0.107F, foot, x + 0.107F, top, 0.0F, (struct scene__rgb){30, 32, 36}, 0.4F);
    scene__box(pen, x - 0.107F, low, x + 0.107F, top, 0.0F, c, 0.1F);
    for (float y = low; y < top; y += 0.0135F) {
        scene__box(pen, x - 0.107F, y, x + 0.107F, y + 0.003F, 0.0F, scene__rgb_scale(c, 0.82F),
                   0.0F);
    }
    scene__disc(pen, x, top + 0.038F, 0.013F, 0.013F, white, 0.0F);
    scene__box(pen, x - 0.135F, foot, x - 0.12F, foot + 0.045F, 0.002F, yellow, 0.0F);
    scene__box(pen, x + 0.12F, foot, x + 0.135F, foot + 0.045F, 0.002F, yellow, 0.0F);
}

static void paint_wall(struct stage *st) {
    float pitch = scene__rng_range(&st->rng, 0.36F, 0.5F);
    float x = scene__rng_range(&st->rng, 0.05F, 0.3F);
    struct scene__rgb c = any(&st->rng, doors, COUNT(doors));

    paint_wall_face(st);
    for (; x < st->aspect; x += pitch) {
        float u = scene__rng_unit(&st->rng);
        if (u < 0.78F) {
            paint_door(st, x, c, u < 0.14F ? scene__rng_range(&st->rng, 0.2F, 0.9F) : 0.0F);
        }
    }
    scene__box(&st->pen, -0.1F, up(SCENE__WALL_FOOT + 0.012F), st->aspect + 0.1F,
               up(SCENE__WALL_FOOT) + 0.004F, 0.0F, scene__rgb_scale(st->ground, 1.25F), 0.0F);
}

static void paint_trees(struct stage *st, float base, float low, float high) {
    struct scene__rgb c = any(&st->rng, leaves, COUNT(leaves));

    for (float x = -0.05F; x < st->aspect + 0.1F; x += scene__rng_range(&st->rng, 0.05F, 0.16F)) {
        float h = scene__rng_range(&st->rng, low, high);
        struct scene__rgb leaf = scene__rgb_scale(c, scene__rng_range(&st->rng, 0.85F, 1.1F));
        scene__disc(&st->pen, x, base + h * 0.55F, h * 0.42F, h * 0.5F, leaf, 0.4F);
        scene__disc(&st->pen, x + 0.03F, base + h * 0.35F, h * 0.4F, h * 0.4F, leaf, 0.4F);
    }
}

/* An open yard: hedge and fence in place of a building. */
static void paint_fence(struct stage *st) {
    float foot = up(SCENE__WALL_FOOT);
    struct scene__rgb rail = scene__rgb_scale(white, 0.62F);
    struct scene__rgb hill = scene__rgb_mix(any(&st->rng, leaves, COUNT(leaves)), white, 0.3F);

    for (int i = 0; i < 4; i++) {
        scene__disc(&st->pen, st->aspect * scene__rng_unit(&st->rng), foot - 0.02F, 0.6F,
                    scene__rng_range(&st->rng, 0.1F, 0.24F), hill, 0.2F);
    }
    scene__box(&st->pen, -0.1F, foot - 0.01F, st->aspect + 0.1F, foot + 0.06F, 0.0F,
               scene__rgb_scale(hill, 0.8F), 0.3F);
    paint_trees(st, foot - 0.01F, 0.12F, 0.24F);
    for (float x = 0.02F; x < st->aspect; x += 0.09F) {
        scene__box(&st->pen, x, foot, x + 0.008F, foot + 0.1F, 0.0F, rail, 0.0F);
    }
    scene__box(&st->pen, -0.1F, foot + 0.085F, st->aspect + 0.1F, foot + 0.094F, 0.0F, rail, 0.0F);
    scene__box(&st->pen, -0.1F, foot + 0.04F, st->aspect + 0.1F, foot + 0.048F, 0.0F, rail, 0.0F);
}

struct scene__rgb scene__set_build(struct scene__layer *layer, const float *tile, uint64_t seed) {
    float height = (float)layer->at.y1;
    struct stage st = {
        .layer = layer,
        .tile = tile,
        .rng = scene__rng_for(seed, 0x5e7, 0, 0),
        .pen = {.layer = layer, .x = 0.0F, .y = height, .scale = height, .facing = 1.0F},
        .aspect = (float)layer->at.x1 / height,
    };

    st.ground = any(&st.rng, grounds, COUNT(grounds));
    st.wall = any(&st.rng, walls, COUNT(walls));
    st.wall_top = up(scene__rng_range(&st.rng, 0.09F, 0.17F));
    if (scene__rng_unit(&st.rng) < 0.75F) {
        if (scene__rng_unit(&st.rng) < 0.5F) {
            paint_trees(&st, st.wall_top - 0.1F, 0.14F, 0.2F);
        }
        paint_wall(&st);
    } else {
        paint_fence(&st);
    }
    paint_ground(&st);
    paint_marks(&st);
    return st.ground;
}

static void bollard(const struct scene__pen *pen, struct scene__rng *rng) {
    (void)rng;
    scene__box(pen, -0.13F, 0.0F, 0.13F, 1.05F, 0.1F, yellow, 0.2F);
    scene__box(pen, -0.13F, 0.3F, 0.13F, 0.48F, 0.0F, dark, 0.0F);
    scene__box(pen, -0.13F, 0.68F, 0.13F, 0.84F, 0.0F, dark, 0.0F);
}

static void cone(const struct scene__pen *pen, struct scene__rng *rng) {
    struct scene__rgb orange = {232, 96, 32};
    struct scene__point body[] = {{-0.17F, 0.05F}, {-0.04F, 0.7F}, {0.04F, 0.7F}, {0.17F, 0.05F}};
    struct scene__point band[] = {{-0.11F, 0.33F}, {-0.08F, 0.48F}, {0.08F, 0.48F}, {0.11F, 0.33F}};

    (void)rng;
    scene__box(pen, -0.24F, 0.0F, 0.24F, 0.07F, 0.02F, orange, 0.0F);
    scene__poly(pen, body, COUNT(body), 0.01F, orange, 0.2F);
    scene__poly(pen, band, COUNT(band), 0.0F, white, 0.0F);
}

static void pallets(const struct scene__pen *pen, struct scene__rng *rng) {
    struct scene__rgb wood = {168, 132, 88};
    int n = 3 + scene__rng_below(rng, 5);

    for (int i = 0; i < n; i++) {
        float y = 0.15F * (float)i;
        float x = scene__rng_range(rng, -0.04F, 0.04F);
        scene__box(pen, x - 0.6F, y, x + 0.6F, y + 0.13F, 0.0F, scene__rgb_scale(wood, 0.45F),
                   0.0F);
        scene__box(pen, x - 0.6F, y + 0.09F, x + 0.6F, y + 0.14F, 0.0F, wood, 0.0F);
        scene__box(pen, x - 0.6F, y, x - 0.48F, y + 0.1F, 0.0F, wood, 0.0F);
        scene__box(pen, x - 0.06F, y, x + 0.06F, y + 0.1F, 0.0F, wood, 0.0F);
        scene__box(pen, x + 0.48F, y, x + 0.6F, y + 0.1F, 0.0F, wood, 0.0F);
    }
}

static void planter(const struct scene__pen *pen, struct scene__rng *rng) {
    struct scene__rgb leaf = any(rng, leaves, COUNT(leaves));

    for (int i = 0; i < 5; i++) {
        float x = -0.4F + 0.2F * (float)i;
        scene__disc(pen, x, 0.72F, 0.24F, scene__rng_range(rng, 0.22F, 0.4F),
                    scene__rgb_scale(leaf, scene__rng_range(rng, 0.85F, 1.15F)), 0.4F);
    }
    scene__box(pen, -0.6F, 0.0F, 0.6F, 0.6F, 0.03F, (struct scene__rgb){150, 146, 140}, 0.25F);
}

static void post(const struct scene__pen *pen, struct scene__rng *rng) {
    struct scene__rgb grey = scene__rgb_scale(white, scene__rng_range(rng, 0.35F, 0.6F));

    scene__box(pen, -0.07F, 0.0F, 0.07F, 4.4F, 0.03F, grey, 0.2F);
    scene__box(pen, -0.14F, 0.0F, 0.14F, 0.3F, 0.02F, scene__rgb_scale(grey, 0.8F), 0.0F);
    scene__box(pen, -0.05F, 4.32F, 0.7F, 4.42F, 0.02F, grey, 0.0F);
    scene__box(pen, 0.4F, 4.25F, 0.75F, 4.34F, 0.03F, (struct scene__rgb){255, 246, 214}, 0.0F);
}

static const struct prop {
    void (*draw)(const struct scene__pen *pen, struct scene__rng *rng);
    struct scene__point extent;
} props[SCENE__PROP_COUNT] = {
    [SCENE__PROP_BOLLARD] = {bollard, {0.2F, 1.1F}},
    [SCENE__PROP_CONE] = {cone, {0.3F, 0.8F}},
    [SCENE__PROP_PALLETS] = {pallets, {0.7F, 1.3F}},
    [SCENE__PROP_PLANTER] = {planter, {0.75F, 1.2F}},
    [SCENE__PROP_POST] = {post, {0.8F, 4.5F}},
};

struct scene__point scene__prop_extent(int kind) {
    return props[kind].extent;
}

void scene__prop_draw(int kind, uint64_t seed, const struct scene__pen *pen) {
    struct scene__rng rng = scene__rng_for(seed, 0x9709, (uint64_t)kind, 0);

    props[kind].draw(pen, &rng);
}
