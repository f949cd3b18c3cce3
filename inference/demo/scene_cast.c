/* Drawing of people, vehicles and things: see scene_cast.h. */
#include "inference/demo/scene_cast.h"

#include <math.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct scene__rgb ink = {34, 36, 42};
static const struct scene__rgb steel = {150, 156, 164};
static const struct scene__rgb glass = {96, 130, 150};
static const struct scene__rgb lamp = {255, 240, 190};
static const struct scene__rgb brake = {214, 52, 44};
static const struct scene__rgb vest = {240, 148, 30};
static const struct scene__rgb lime = {196, 226, 52};
static const struct scene__rgb tape = {218, 190, 140};

static const struct scene__rgb paints[] = {
    {196, 52, 46}, {44, 92, 160},  {232, 232, 228}, {58, 62, 70},   {172, 176, 180},
    {46, 120, 96}, {226, 172, 60}, {120, 42, 60},   {92, 148, 196}, {206, 108, 60},
};
static const struct scene__rgb clothes[] = {
    {42, 60, 96},   {178, 60, 58},  {70, 110, 78}, {108, 92, 132}, {226, 214, 190},
    {58, 132, 150}, {150, 104, 66}, {64, 64, 72},  {212, 170, 74}, {214, 122, 130},
};
static const struct scene__rgb skins[] = {
    {236, 196, 168}, {208, 156, 120}, {158, 108, 78}, {104, 70, 52}};
static const struct scene__rgb hairs[] = {
    {44, 34, 30}, {96, 62, 38}, {190, 150, 92}, {150, 150, 150}};
static const struct scene__rgb cartons[] = {
    {190, 142, 92}, {172, 124, 76}, {206, 164, 116}, {156, 116, 78}};

/* What a drawing needs: its pen, its own random stream, and how far it has come. */
struct act {
    const struct scene__pen *pen;
    const struct scene__look *look;
    struct scene__rng rng;
    float path;
};

static struct scene__rgb faded(const struct act *act, struct scene__rgb c) {
    return scene__rgb_mix(c, act->look->tint, act->look->fade);
}

static struct scene__rgb pick(struct act *act, const struct scene__rgb *list, int count) {
    struct scene__rgb c = list[scene__rng_below(&act->rng, count)];

    c = scene__rgb_scale(c, scene__rng_range(&act->rng, 0.9F, 1.06F));
    return faded(act, c);
}

static struct scene__point at(float x, float y) {
    return (struct scene__point){x, y};
}

static void wheel(const struct act *act, float x, float radius) {
    float turn = act->path / radius;

    scene__disc(act->pen, x, radius, radius, radius, ink, 0.2F);
    scene__disc(act->pen, x, radius, radius * 0.55F, radius * 0.55F, steel, 0.3F);
    for (int i = 0; i < 3; i++) {
        float a = turn + (float)i * 2.0944F;
        struct scene__point hub = at(x, radius);
        struct scene__point rim = at(x + 0.5F * radius * sinf(a), radius + 0.5F * radius * cosf(a));
        scene__limb(act->pen, hub, rim, radius * 0.07F, ink);
    }
}

/* Thigh and shin, or upper arm and forearm, from `from` with two angles off the vertical. */
static struct scene__point joint(const struct act *act, struct scene__point from, float length,
                                 float a1, float a2, float radius, struct scene__rgb color) {
    struct scene__point knee = at(from.x + length * sinf(a1), from.y - length * cosf(a1));
    struct scene__point foot = at(knee.x + length * sinf(a2), knee.y - length * cosf(a2));

    scene__limb(act->pen, from, knee, radius, color);
    scene__limb(act->pen, knee, foot, radius * 0.85F, color);
    return foot;
}

struct outfit {
    struct scene__rgb skin, hair, coat, legs, hat;
    bool has_vest, has_hat;
};

static struct outfit outfit_for(struct act *act) {
    struct outfit o;

    o.skin = faded(act, skins[scene__rng_below(&act->rng, COUNT(skins))]);
    o.hair = faded(act, hairs[scene__rng_below(&act->rng, COUNT(hairs))]);
    o.coat = pick(act, clothes, COUNT(clothes));
    o.legs = scene__rgb_scale(pick(act, clothes, COUNT(clothes)), 0.62F);
    o.has_vest = scene__rng_unit(&act->rng) < 0.4F;
    o.has_hat = scene__rng_unit(&act->rng) < (o.has_vest ? 0.8F : 0.15F);
    o.hat = faded(act, scene__rng_unit(&act->rng) < 0.5F ? lime : paints[2]);
    if (o.has_vest) {
        o.coat = faded(act, scene__rng_unit(&act->rng) < 0.6F ? vest : lime);
    }
    return o;
}

static void head(const struct act *act, const struct outfit *o, float x, float y) {
    scene__disc(act->pen, x - 0.015F, y + 0.03F, 0.12F, 0.125F, o->hair, 0.0F);
    scene__disc(act->pen, x + 0.025F, y - 0.015F, 0.095F, 0.11F, o->skin, 0.2F);
    if (o->has_hat) {
        scene__box(act->pen, x - 0.13F, y + 0.04F, x + 0.12F, y + 0.17F, 0.06F, o->hat, 0.3F);
        scene__box(act->pen, x - 0.12F, y + 0.03F, x + 0.18F, y + 0.07F, 0.02F, o->hat, 0.0F);
    }
}

static void torso(const struct act *act, const struct outfit *o, struct scene__point hip,
                  struct scene__point neck) {
    scene__limb(act->pen, hip, neck, 0.165F, o->coat);
    if (o->has_vest) {
        struct scene__point mid = at((hip.x + neck.x) * 0.5F, (hip.y + neck.y) * 0.5F);
        struct scene__rgb band = {236, 236, 226};
        scene__box(act->pen, mid.x - 0.165F, mid.y - 0.14F, mid.x + 0.165F, mid.y - 0.07F, 0.0F,
                   band, 0.0F);
        scene__box(act->pen, mid.x - 0.165F, mid.y + 0.04F, mid.x + 0.165F, mid.y + 0.11F, 0.0F,
                   band, 0.0F);
    }
}

static void person(struct act *act) {
    struct outfit o = outfit_for(act);
    float tall = scene__rng_range(&act->rng, 0.9F, 1.06F);
    bool carries = scene__rng_unit(&act->rng) < 0.15F;
    struct scene__pen pen = *act->pen;
    pen.scale *= tall;
    struct act scaled = *act;
    scaled.pen = &pen;

    float phase = act->path * 4.0F;
    float swing = 0.55F * sinf(phase);
    float knee_far = swing > 0.0F ? 0.15F : 0.55F * (1.0F + cosf(phase)) * 0.5F + 0.2F;
    float knee_near = swing < 0.0F ? 0.15F : 0.55F * (1.0F - cosf(phase)) * 0.5F + 0.2F;
    float bob = 0.02F * cosf(phase * 2.0F);
    struct scene__point hip = at(0.0F, 0.86F + bob);
    struct scene__point neck = at(0.04F, 1.32F + bob);
    struct scene__rgb far_leg = scene__rgb_scale(o.legs, 0.8F);
    struct scene__rgb far_coat = scene__rgb_scale(o.coat, 0.78F);
    float arm = carries ? 0.9F : -swing;

    joint(&scaled, neck, 0.29F, -arm * (carries ? -1.0F : 1.0F), carries ? 1.4F : 0.3F - arm, 0.06F,
          far_coat);
    struct scene__point foot = joint(&scaled, hip, 0.41F, swing, swing - knee_far, 0.09F, far_leg);
    scene__limb(&pen, foot, at(foot.x + 0.12F, foot.y - 0.01F), 0.05F, ink);
    foot = joint(&scaled, hip, 0.41F, -swing, -swing - knee_near, 0.095F, o.legs);
    scene__limb(&pen, foot, at(foot.x + 0.13F, foot.y - 0.01F), 0.055F, ink);
    torso(&scaled, &o, hip, neck);
    head(&scaled, &o, 0.06F, 1.62F + bob);
    struct scene__point hand =
        joint(&scaled, at(neck.x, neck.y - 0.02F), 0.29F, carries ? 0.5F : swing,
              carries ? 1.5F : swing + 0.35F, 0.065F, scene__rgb_scale(o.coat, 0.9F));
    scene__disc(&pen, hand.x, hand.y, 0.055F, 0.055F, o.skin, 0.0F);
}

static void bicycle_frame(const struct act *act, struct scene__rgb c) {
    const struct scene__pen *pen = act->pen;
    struct scene__point crank = at(0.02F, 0.36F);
    struct scene__point seat = at(-0.2F, 0.88F);
    struct scene__point stem = at(0.42F, 0.86F);

    scene__limb(pen, at(-0.55F, 0.36F), crank, 0.03F, c);
    scene__limb(pen, at(-0.55F, 0.36F), at(-0.17F, 0.8F), 0.028F, c);
    scene__limb(pen, crank, seat, 0.034F, c);
    scene__limb(pen, crank, stem, 0.036F, c);
    scene__limb(pen, at(-0.17F, 0.78F), stem, 0.034F, c);
    scene__limb(pen, at(0.57F, 0.36F), at(0.4F, 0.98F), 0.032F, c);
    scene__limb(pen, at(0.4F, 0.98F), at(0.52F, 1.04F), 0.03F, ink);
    scene__limb(pen, at(-0.3F, 0.91F), at(-0.12F, 0.91F), 0.045F, ink);
}

static void spokes(const struct act *act, float x) {
    float turn = act->path / 0.35F;

    scene__ring(act->pen, x, 0.36F, 0.34F, 0.055F, ink);
    for (int i = 0; i < 4; i++) {
        float a = turn + (float)i * 0.7854F;
        float dx = 0.31F * sinf(a);
        float dy = 0.31F * cosf(a);
        scene__limb(act->pen, at(x - dx, 0.36F - dy), at(x + dx, 0.36F + dy), 0.007F, steel);
    }
}

static void bicycle(struct act *act) {
    struct outfit o = outfit_for(act);
    struct scene__rgb paint = pick(act, paints, COUNT(paints));
    float crank = act->path * 1.3F;
    struct scene__point hip = at(-0.16F, 1.0F);
    struct scene__point neck = at(0.16F, 1.4F);

    o.hat = faded(act, paints[scene__rng_below(&act->rng, COUNT(paints))]);
    o.has_hat = true;
    for (int side = 0; side < 2; side++) {
        float a = crank + (float)side * 3.1416F;
        struct scene__point pedal = at(0.02F + 0.15F * sinf(a), 0.36F + 0.15F * cosf(a));
        struct scene__point knee =
            at((hip.x + pedal.x) * 0.5F + 0.26F, (hip.y + pedal.y) * 0.5F + 0.1F);
        struct scene__rgb leg = scene__rgb_scale(o.legs, side == 0 ? 0.8F : 1.0F);
        scene__limb(act->pen, hip, knee, 0.085F, leg);
        scene__limb(act->pen, knee, pedal, 0.07F, leg);
        scene__limb(act->pen, pedal, at(pedal.x + 0.12F, pedal.y), 0.045F, ink);
        if (side == 0) {
            spokes(act, -0.55F);
            spokes(act, 0.57F);
            bicycle_frame(act, paint);
        }
    }
    torso(act, &o, hip, neck);
    scene__limb(act->pen, at(neck.x, neck.y - 0.05F), at(0.48F, 1.06F), 0.06F,
                scene__rgb_scale(o.coat, 0.88F));
    head(act, &o, 0.24F, 1.68F);
}

struct car_shape {
    float length, deck, roof, cab_rear, cab_front, roof_rear, roof_front;
};

static void car_cabin(const struct act *act, const struct car_shape *s, struct scene__rgb paint) {
    struct scene__point shell[] = {{s->cab_rear, s->deck - 0.05F},
                                   {s->roof_rear, s->roof},
                                   {s->roof_front, s->roof},
                                   {s->cab_front, s->deck - 0.05F}};
    float in = 0.14F;
    float mid = (s->roof_rear + s->roof_front) * 0.5F + 0.1F;
    struct scene__point rear[] = {{s->cab_rear + in + 0.08F, s->deck},
                                  {s->roof_rear + in * 0.6F, s->roof - 0.1F},
                                  {mid - 0.05F, s->roof - 0.1F},
                                  {mid - 0.05F, s->deck}};
    struct scene__point front[] = {{mid + 0.05F, s->deck},
                                   {mid + 0.05F, s->roof - 0.1F},
                                   {s->roof_front - in * 0.4F, s->roof - 0.1F},
                                   {s->cab_front - in - 0.1F, s->deck}};

    scene__poly(act->pen, shell, COUNT(shell), 0.06F, paint, 0.3F);
    scene__poly(act->pen, rear, COUNT(rear), 0.02F, glass, 0.7F);
    scene__poly(act->pen, front, COUNT(front), 0.02F, glass, 0.7F);
}

static void car(struct act *act) {
    static const struct car_shape shapes[] = {
        {4.4F, 0.88F, 1.42F, -1.75F, 1.05F, -1.0F, 0.35F}, /* saloon */
        {3.9F, 0.92F, 1.5F, -1.85F, 1.0F, -1.55F, 0.3F},   /* hatchback */
        {4.5F, 1.02F, 1.68F, -2.1F, 1.1F, -1.9F, 0.5F},    /* estate, off-road */
    };
    const struct car_shape *s = &shapes[scene__rng_below(&act->rng, COUNT(shapes))];
    struct scene__rgb paint = pick(act, paints, COUNT(paints));
    const struct scene__pen *pen = act->pen;
    float half = s->length * 0.5F;
    struct scene__point hull[] = {{-half, 0.38F},          {-half + 0.05F, s->deck},
                                  {s->cab_front, s->deck}, {half - 0.15F, s->deck - 0.16F},
                                  {half, 0.55F},           {half - 0.02F, 0.36F}};

    car_cabin(act, s, paint);
    scene__poly(pen, hull, COUNT(hull), 0.06F, paint, 0.35F);
    scene__box(pen, -half + 0.1F, 0.26F, half - 0.1F, 0.38F, 0.04F, ink, 0.0F);
    scene__box(pen, -half + 0.25F, 0.62F, half - 0.3F, 0.65F, 0.01F, scene__rgb_scale(paint, 0.75F),
               0.0F);
    scene__box(pen, half - 0.2F, 0.58F, half + 0.03F, 0.72F, 0.05F, lamp, 0.0F);
    scene__box(pen, -half - 0.03F, 0.62F, -half + 0.14F, 0.8F, 0.04F, brake, 0.0F);
    wheel(act, -half * 0.62F, 0.33F);
    wheel(act, half * 0.62F, 0.33F);
}

static void truck_cab(const struct act *act, float x, struct scene__rgb paint) {
    const struct scene__pen *pen = act->pen;
    struct scene__point shell[] = {
        {x, 0.45F}, {x, 2.35F}, {x + 1.0F, 2.35F}, {x + 1.5F, 1.4F}, {x + 1.55F, 0.45F}};
    struct scene__point pane[] = {
        {x + 0.45F, 1.4F}, {x + 0.45F, 2.1F}, {x + 0.95F, 2.1F}, {x + 1.3F, 1.4F}};

    scene__poly(pen, shell, COUNT(shell), 0.06F, paint, 0.3F);
    scene__poly(pen, pane, COUNT(pane), 0.03F, glass, 0.7F);
    scene__box(pen, x + 1.38F, 0.7F, x + 1.63F, 0.9F, 0.05F, lamp, 0.0F);
    scene__box(pen, x + 0.42F, 1.1F, x + 0.62F, 1.16F, 0.02F, ink, 0.0F);
}

static void truck_cargo(struct act *act, float rear, float front, float top) {
    struct scene__rgb hull = pick(act, paints, COUNT(paints));
    struct scene__rgb sign = pick(act, paints, COUNT(paints));
    const struct scene__pen *pen = act->pen;
    float span = front - rear;

    hull = scene__rgb_mix(hull, faded(act, (struct scene__rgb){228, 228, 222}), 0.6F);
    scene__box(pen, rear, 0.7F, front, top, 0.05F, hull, 0.2F);
    scene__box(pen, rear, 0.7F, front, 0.86F, 0.02F, scene__rgb_scale(hull, 0.7F), 0.0F);
    for (int i = 1; i < 6; i++) {
        float x = rear + span * (float)i / 6.0F;
        scene__box(pen, x - 0.015F, 0.86F, x + 0.015F, top - 0.08F, 0.0F,
                   scene__rgb_scale(hull, 0.88F), 0.0F);
    }
    scene__box(pen, rear + span * 0.2F, 1.45F, rear + span * 0.8F, 1.95F, 0.1F, sign, 0.1F);
    scene__disc(pen, rear + span * 0.32F, 1.7F, 0.17F, 0.17F, hull, 0.0F);
}

static void truck(struct act *act) {
    float half = scene__rng_range(&act->rng, 2.6F, 3.1F);
    float top = scene__rng_range(&act->rng, 2.5F, 2.95F);
    struct scene__rgb paint = pick(act, paints, COUNT(paints));
    bool van = scene__rng_unit(&act->rng) < 0.3F;

    scene__box(act->pen, -half, 0.42F, half - 0.2F, 0.66F, 0.04F, ink, 0.0F);
    if (van) {
        scene__box(act->pen, -half, 0.5F, half - 1.45F, 2.4F, 0.14F, paint, 0.25F);
        scene__box(act->pen, -half + 0.2F, 1.25F, half - 1.7F, 1.32F, 0.0F,
                   scene__rgb_scale(paint, 0.8F), 0.0F);
    } else {
        truck_cargo(act, -half, half - 1.75F, top);
    }
    truck_cab(act, half - 1.6F, paint);
    scene__box(act->pen, -half - 0.03F, 0.56F, -half + 0.12F, 0.84F, 0.02F, brake, 0.0F);
    wheel(act, -half * 0.66F, 0.46F);
    if (!van) {
        wheel(act, -half * 0.66F + 0.98F, 0.46F);
    }
    wheel(act, half - 0.95F, 0.46F);
}

static void forklift_mast(const struct act *act, float x, float lift) {
    const struct scene__pen *pen = act->pen;

    scene__box(pen, x, 0.12F, x + 0.12F, 2.2F, 0.02F, ink, 0.0F);
    scene__box(pen, x + 0.17F, 0.12F, x + 0.24F, 2.2F, 0.02F, scene__rgb_scale(steel, 0.6F), 0.0F);
    scene__box(pen, x + 0.2F, lift, x + 0.3F, lift + 0.55F, 0.0F, ink, 0.0F);
    scene__box(pen, x + 0.25F, lift, x + 1.15F, lift + 0.08F, 0.0F, ink, 0.0F);
}

static void carton(struct act *act, float x, float y, float w, float h) {
    struct scene__rgb c = pick(act, cartons, COUNT(cartons));
    const struct scene__pen *pen = act->pen;
    float mid = x + w * 0.5F;

    scene__box(pen, x, y, x + w, y + h, 0.015F, c, 0.3F);
    scene__box(pen, mid - w * 0.07F, y + h * 0.45F, mid + w * 0.07F, y + h, 0.0F, faded(act, tape),
               0.0F);
    scene__box(pen, x + w * 0.08F, y + h * 0.12F, x + w * 0.34F, y + h * 0.34F, 0.0F,
               faded(act, (struct scene__rgb){240, 240, 232}), 0.0F);
}

static void forklift(struct act *act) {
    static const struct scene__rgb liveries[] = {{244, 184, 24}, {236, 120, 28}, {206, 46, 40}};
    struct scene__rgb paint = pick(act, liveries, COUNT(liveries));
    struct outfit o = outfit_for(act);
    const struct scene__pen *pen = act->pen;
    float lift = scene__rng_range(&act->rng, 0.1F, 0.5F);
    struct scene__point hull[] = {{-1.2F, 0.42F}, {-1.25F, 1.0F}, {-0.6F, 1.14F},
                                  {-0.3F, 0.62F}, {0.45F, 0.62F}, {0.5F, 0.36F}};

    o.has_hat = true;
    scene__box(pen, -0.42F, 0.8F, -0.28F, 1.45F, 0.05F, ink, 0.0F);
    scene__limb(pen, at(-0.15F, 0.98F), at(0.3F, 0.8F), 0.09F, o.legs);
    torso(act, &o, at(-0.18F, 1.0F), at(-0.1F, 1.36F));
    head(act, &o, -0.06F, 1.66F);
    scene__limb(pen, at(-0.08F, 1.32F), at(0.32F, 1.16F), 0.06F, o.coat);
    scene__poly(pen, hull, COUNT(hull), 0.06F, paint, 0.3F);
    scene__limb(pen, at(0.34F, 1.2F), at(0.44F, 0.62F), 0.035F, ink);
    scene__limb(pen, at(-0.55F, 1.05F), at(-0.48F, 2.08F), 0.045F, ink);
    scene__limb(pen, at(0.42F, 0.62F), at(0.34F, 2.08F), 0.045F, ink);
    scene__box(pen, -0.58F, 2.03F, 0.44F, 2.13F, 0.03F, ink, 0.0F);
    scene__disc(pen, -0.4F, 2.18F, 0.07F, 0.07F, vest, 0.0F);
    forklift_mast(act, 0.52F, lift);
    wheel(act, -0.85F, 0.3F);
    wheel(act, 0.25F, 0.36F);
}

/* Cartons on a low dolly: what the yard is there to move. */
static void parcel(struct act *act) {
    float w = scene__rng_range(&act->rng, 0.75F, 1.1F);
    float h = scene__rng_range(&act->rng, 0.55F, 0.85F);
    bool two = scene__rng_unit(&act->rng) < 0.5F;

    carton(act, -w * 0.5F, 0.2F, w, h);
    if (two) {
        float w2 = w * scene__rng_range(&act->rng, 0.55F, 0.9F);
        carton(act, -w2 * 0.5F + scene__rng_range(&act->rng, -0.1F, 0.1F), 0.2F + h, w2, h * 0.7F);
    }
    scene__box(act->pen, -w * 0.54F, 0.13F, w * 0.54F, 0.21F, 0.02F, ink, 0.0F);
    wheel(act, -w * 0.38F, 0.09F);
    wheel(act, w * 0.38F, 0.09F);
}

static void dog(struct act *act) {
    struct scene__rgb coat = pick(act, hairs, COUNT(hairs));
    const struct scene__pen *pen = act->pen;
    float swing = 0.5F * sinf(act->path * 6.0F);
    struct scene__rgb dark = scene__rgb_scale(coat, 0.75F);

    for (int i = 0; i < 4; i++) {
        float x = i < 2 ? -0.34F : 0.3F;
        float a = (i & 1) == 0 ? swing : -swing;
        joint(act, at(x, 0.45F), 0.22F, a, a * 0.4F, 0.055F, (i & 1) == 0 ? dark : coat);
    }
    scene__limb(pen, at(-0.34F, 0.56F), at(0.3F, 0.58F), 0.16F, coat);
    scene__limb(pen, at(-0.44F, 0.62F), at(-0.64F, 0.86F + 0.05F * swing), 0.04F, dark);
    scene__limb(pen, at(0.36F, 0.64F), at(0.5F, 0.84F), 0.1F, coat);
    scene__limb(pen, at(0.52F, 0.84F), at(0.7F, 0.8F), 0.075F, coat);
    scene__limb(pen, at(0.46F, 0.92F), at(0.42F, 0.78F), 0.045F, dark);
}

static void barrel(struct act *act) {
    struct scene__rgb paint = pick(act, paints, COUNT(paints));
    float turn = act->path / 0.4F;

    scene__disc(act->pen, 0.0F, 0.4F, 0.4F, 0.4F, paint, 0.3F);
    scene__ring(act->pen, 0.0F, 0.4F, 0.34F, 0.05F, scene__rgb_scale(paint, 0.6F));
    scene__disc(act->pen, 0.2F * sinf(turn), 0.4F + 0.2F * cosf(turn), 0.07F, 0.07F, ink, 0.0F);
    scene__limb(act->pen, at(-0.25F * sinf(turn), 0.4F - 0.25F * cosf(turn)),
                at(-0.1F * sinf(turn), 0.4F - 0.1F * cosf(turn)), 0.03F, steel);
}

static void balloon(struct act *act) {
    struct scene__rgb paint = pick(act, paints, COUNT(paints));
    float sway = 0.12F * sinf(act->path * 2.0F);

    scene__limb(act->pen, at(0.0F, 0.5F), at(sway, 1.45F), 0.012F, ink);
    scene__disc(act->pen, sway, 1.85F, 0.36F, 0.43F, paint, 0.4F);
    scene__disc(act->pen, sway + 0.1F, 2.0F, 0.07F, 0.1F,
                scene__rgb_mix(paint, (struct scene__rgb){255, 255, 255}, 0.6F), 0.0F);
}

/* One row a kind; half length and height, then the depths it keeps to. */
static const struct kind {
    void (*draw)(struct act *act);
    struct scene__point extent;
    struct scene__point depth;
    bool lamps;
} kinds[SCENE__KIND_COUNT] = {
    [SCENE_PERSON] = {person, {0.75F, 2.1F}, {0.08F, 1.0F}, false},
    [SCENE_BICYCLE] = {bicycle, {1.1F, 2.1F}, {0.1F, 0.95F}, false},
    [SCENE_CAR] = {car, {2.5F, 1.9F}, {0.12F, 0.72F}, true},
    [SCENE_TRUCK] = {truck, {3.4F, 3.2F}, {0.0F, 0.42F}, true},
    [SCENE_FORKLIFT] = {forklift, {1.9F, 2.5F}, {0.05F, 0.85F}, true},
    [SCENE_PARCEL] = {parcel, {0.8F, 1.9F}, {0.15F, 1.0F}, false},
    [SCENE__DOG] = {dog, {0.95F, 1.2F}, {0.2F, 1.0F}, false},
    [SCENE__BARREL] = {barrel, {0.6F, 1.0F}, {0.1F, 0.9F}, false},
    [SCENE__BALLOON] = {balloon, {0.7F, 2.5F}, {0.1F, 0.9F}, false},
};

struct scene__point scene__kind_extent(int kind) {
    return kinds[kind].extent;
}

struct scene__point scene__kind_depth(int kind) {
    return kinds[kind].depth;
}

bool scene__kind_has_lamps(int kind) {
    return kinds[kind].lamps;
}

void scene__look_draw(const struct scene__look *look, const struct scene__pen *pen, float path) {
    struct act act = {.pen = pen,
                      .look = look,
                      .rng = scene__rng_for(look->seed, (uint64_t)look->kind, 0, 0),
                      .path = path};

    kinds[look->kind].draw(&act);
}
