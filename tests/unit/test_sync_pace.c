/* How many transfers at once: against servers that are played by a few lines of arithmetic, each
 * with a limit of another kind. */
#include "sync/pace.h"
#include "tests/suite.h"
#include <check.h>
#include <stdlib.h>

#define BYTES 60000

/* A server: every transfer takes at least `latency_us`, and all together no more than `per_second`
 * end in a second. `worse` is the share of that which is lost for each transfer beyond 16. */
struct server {
    double latency_us, per_second, worse, noise;
};

struct world {
    struct pace pace;
    struct server server;
    double ends[PACE_MAX * 2]; /* when those under way end */
    unsigned running;
    double now, free_at; /* when the server is next able to end one */
    unsigned seed;
    uint64_t done;
};

static double roll(struct world *world) { /* [-1, 1] */
    world->seed = world->seed * 1664525u + 1013904223u;
    return (double)(world->seed >> 8) / (1 << 23) - 1;
}

static void start(struct world *world) {
    const struct server *server = &world->server;
    double over = world->running > 16 ? (world->running - 16) * server->worse : 0;
    double gap = 1e6 / (server->per_second * (over < 0.9 ? 1 - over : 0.1));
    double end = world->now + server->latency_us * (1 + server->noise * roll(world));
    world->free_at = (world->free_at > world->now ? world->free_at : world->now) + gap;
    world->ends[world->running++] = end > world->free_at ? end : world->free_at;
}

static unsigned next_end(const struct world *world) {
    unsigned first = 0;
    for (unsigned i = 1; i < world->running; i++) {
        first = world->ends[i] < world->ends[first] ? i : first;
    }
    return first;
}

/* With always more to do than the window takes. */
static void live(struct world *world, double seconds) {
    double until = world->now + seconds * 1e6;
    while (world->now < until) {
        while (world->running < world->pace.window) {
            start(world);
        }
        sync__pace_filled(&world->pace);
        unsigned first = next_end(world);
        world->now = world->ends[first];
        world->ends[first] = world->ends[--world->running];
        world->done++;
        sync__pace_end(&world->pace, BYTES, (int64_t)world->now);
    }
}

static struct world world_of(struct server server) {
    struct world world = {.server = server, .now = 1e6, .seed = 7};
    sync__pace_init(&world.pace, 0, PACE_MAX);
    return world;
}

static double rate(struct world *world, double seconds) {
    uint64_t before = world->done;
    live(world, seconds);
    return (double)(world->done - before) / seconds;
}

START_TEST(latency_is_filled) {
    struct world world = world_of((struct server){50000, 100000, 0, 0.05});
    live(&world, 1.5);
    ck_assert_uint_ge(world.pace.window, 32);
    ck_assert_double_ge(rate(&world, 1), 500); /* 8 at once would do 160 */
    live(&world, 20);
    ck_assert_double_ge(rate(&world, 2), 1500);
}
END_TEST

START_TEST(a_full_link_is_left_alone) {
    struct world world = world_of((struct server){20000, 100, 0, 0.05});
    live(&world, 60);
    ck_assert_uint_le(world.pace.window, 24); /* two would do */
    ck_assert_double_ge(rate(&world, 10), 95);
}
END_TEST

START_TEST(what_makes_it_worse_is_taken_back) {
    struct world world = world_of((struct server){4000, 3000, 0.01, 0.05});
    live(&world, 20);
    ck_assert_uint_le(world.pace.window, 32);
    ck_assert_double_ge(rate(&world, 5), 2500);
}
END_TEST

START_TEST(a_change_is_followed) {
    struct world world = world_of((struct server){2000, 2000, 0, 0.05});
    live(&world, 20);
    unsigned near = world.pace.window;
    ck_assert_uint_le(near, 32);
    world.server.latency_us = 80000; /* the route is another now */
    live(&world, 30);
    ck_assert_uint_gt(world.pace.window, near);
    ck_assert_double_ge(rate(&world, 5), 1000);
}
END_TEST

START_TEST(throttling_halves_once_a_window) {
    struct world world = world_of((struct server){50000, 100000, 0, 0.05});
    live(&world, 3);
    unsigned before = world.pace.window;
    for (unsigned i = 0; i < before; i++) {
        sync__pace_throttled(&world.pace);
    }
    ck_assert_uint_eq(world.pace.window, before / 2);
    live(&world, 1);
    ck_assert_uint_le(world.pace.window, before); /* not at once back again */
}
END_TEST

/* One object a second says nothing of how many could go at once. */
START_TEST(what_is_not_full_is_not_judged) {
    struct pace pace;
    sync__pace_init(&pace, 0, PACE_MAX);
    for (int64_t now = 1; now < 1000; now++) {
        sync__pace_end(&pace, BYTES, now * 1000000);
    }
    ck_assert_uint_eq(pace.window, PACE_START);
}
END_TEST

START_TEST(a_number_is_a_number) {
    struct world world = world_of((struct server){50000, 100000, 0, 0});
    sync__pace_init(&world.pace, 12, 12);
    live(&world, 5);
    sync__pace_throttled(&world.pace);
    ck_assert_uint_eq(world.pace.window, 12);
    sync__pace_init(&world.pace, 0, 3); /* and the share is the most */
    live(&world, 5);
    ck_assert_uint_le(world.pace.window, 3);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sync: pace");
    TCase *tests = tcase_create("pace");
    tcase_add_test(tests, latency_is_filled);
    tcase_add_test(tests, a_full_link_is_left_alone);
    tcase_add_test(tests, what_makes_it_worse_is_taken_back);
    tcase_add_test(tests, a_change_is_followed);
    tcase_add_test(tests, throttling_halves_once_a_window);
    tcase_add_test(tests, what_is_not_full_is_not_judged);
    tcase_add_test(tests, a_number_is_a_number);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
