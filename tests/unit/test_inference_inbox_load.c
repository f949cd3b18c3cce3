/* A directory that comes and goes, loses events, is full, or stands before a slow pipeline. */
#include "tests/unit/inbox_case.h"

/* ---- the directory itself ---- */

START_TEST(a_directory_may_come_late_go_and_come_back) {
    struct world *world = world_create();
    ck_assert_int_eq(rmdir(world->dir), 0);
    world_start(world);
    EVENTUALLY(stats(world).errors == 1);
    ck_assert_ptr_nonnull(strstr(stats(world).last_error, world->dir));
    ck_assert_int_eq(mkdir(world->dir, 0755), 0);
    put_picture(world, "a.jpg", "a");
    EVENTUALLY(has_seen(&world->line, "a"));
    EVENTUALLY(adds(&world->notes) == 1);

    remove_tree(world->dir);
    EVENTUALLY(stats(world).errors == 2);
    ck_assert_int_eq(mkdir(world->dir, 0755), 0);
    put_picture(world, "b.jpg", "b");
    EVENTUALLY(has_seen(&world->line, "b"));

    char away[96];
    snprintf(away, sizeof away, "%s.elsewhere", world->dir);
    ck_assert_int_eq(rename(world->dir, away), 0);
    ck_assert_int_eq(mkdir(world->dir, 0755), 0);
    put_picture(world, "c.jpg", "c");
    EVENTUALLY(has_seen(&world->line, "c"));
    put_picture(world, "d.jpg", "d");
    EVENTUALLY(has_seen(&world->line, "d"));
    world_destroy(world);
}
END_TEST

static unsigned event_queue_bound(void) {
    unsigned bound = 16384;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    if (file) {
        ck_assert_int_eq(fscanf(file, "%u", &bound), 1);
        fclose(file);
    }
    return bound;
}

START_TEST(lost_events_are_made_up_for) {
    struct world *world = world_create();
    char name[32];
    char log[96];
    unsigned bound = event_queue_bound();
    ck_assert_uint_lt(bound, 1000000);
    log_to_file(world, log, sizeof log);
    world->line.hold = true;
    world->line.room = 1;
    world_start(world);
    put_picture(world, "a.jpg", "a");
    put_picture(world, "b.jpg", "b"); /* the source waits in submit with it */
    EVENTUALLY(seen(&world->line) == 2);
    for (unsigned i = 0; i < bound + 1000; i++) { /* more than the kernel remembers */
        put_text(world, i % 2 ? "odd.txt" : "even.txt", "x");
    }
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "z%d.jpg", i);
        put_picture(world, name, name);
    }
    set_hold(&world->line, false);
    settle_held(&world->line, FRAMES_MAX);
    EVENTUALLY(adds(&world->notes) == 7);
    ck_assert_uint_eq(seen(&world->line), 7);
    ck_assert_uint_eq(count_lines(log, "events were lost"), 1);
    world_destroy(world);
}
END_TEST

/* ---- load, stopping ---- */

struct settler {
    struct world *world;
    atomic_bool stop;
};

static void *settle_slowly(void *arg) {
    struct settler *settler = arg;
    struct source_stats counts;
    while (!atomic_load(&settler->stop)) {
        if (settle_held(&settler->world->line, 7) == 0) {
            clock_sleep_ms(1);
        }
        source_stats_get(settler->world->source, &counts);
    }
    return NULL;
}

START_TEST(two_thousand_files_through_a_slow_pipeline) {
    struct world *world = world_create();
    struct settler settler = {.world = world};
    pthread_t thread;
    char name[32];
    world->line.hold = true;
    world->line.room = 100; /* more than the source lets into the air */
    world->after = SOURCE_DELETE;
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "f%04d.jpg", i);
        put_picture(world, name, name);
    }
    world_start(world);
    EVENTUALLY(held(&world->line) == 64);
    ck_assert_int_eq(pthread_create(&thread, NULL, settle_slowly, &settler), 0);
    EVENTUALLY(adds(&world->notes) == 2000);
    atomic_store(&settler.stop, true);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(seen(&world->line), 2000);
    ck_assert_uint_eq(world->line.held_most, 64);
    EVENTUALLY(!there(world, "f1999.jpg"));
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "f%04d.jpg", i);
        ck_assert_str_eq(world->line.bodies[i], name);
    }
    world_destroy(world);
}
END_TEST

START_TEST(large_frames_are_bounded_by_their_bytes) {
    struct world *world = world_create();
    char path[PATH_SIZE];
    char name[32];
    const off_t size = 60 << 20;
    world->line.hold = true;
    for (int i = 0; i < 8; i++) { /* sparse, so they cost no disk */
        snprintf(name, sizeof name, "f%d.jpg", i);
        put_text(world, name, HEAD);
        int fd = open(in_world(world, name, path), O_WRONLY | O_CLOEXEC);
        ck_assert_int_eq(pwrite(fd, TAIL, 2, size - 2), 2);
        close(fd);
    }
    world_start(world);
    EVENTUALLY(held(&world->line) == 4);
    clock_sleep_ms(300);
    ck_assert_uint_eq(held(&world->line), 4);
    while (adds(&world->notes) < 8) {
        settle_held(&world->line, 1);
        clock_sleep_ms(1);
    }
    ck_assert_uint_eq(seen(&world->line), 8);
    ck_assert_uint_le(world->line.held_bytes_most, 256 << 20);
    world_destroy(world);
}
END_TEST

START_TEST(fps_paces_a_directory) {
    struct world *world = world_create();
    char name[32];
    world->fps = 20;
    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof name, "f%02d.jpg", i);
        put_picture(world, name, name);
    }
    int64_t start = clock_boot_us();
    world_start(world);
    EVENTUALLY(seen(&world->line) == 11);
    ck_assert_int_ge(clock_boot_us() - start, 490000);
    world_destroy(world);
}
END_TEST

static void *settle_all(void *arg) {
    settle_held(arg, FRAMES_MAX);
    return NULL;
}

START_TEST(frames_may_settle_after_the_stop) {
    struct world *world = world_create();
    pthread_t threads[3];
    char name[32];
    world->after = SOURCE_DELETE;
    world->line.hold = true;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "f%03d.jpg", i);
        put_picture(world, name, name);
    }
    world_start(world);
    EVENTUALLY(held(&world->line) == 64);
    settle_held(&world->line, 10);
    int64_t start = clock_boot_us();
    world_stop(world); /* from here on a call of the memory fails the test */
    ck_assert_int_lt(clock_boot_us() - start, 20000000);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, settle_all, &world->line), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    unsigned before = adds(&world->notes);
    ck_assert_uint_le(before, 200);
    for (int i = 0, left = 0; i < 200; i++) { /* what was not remembered is still there */
        snprintf(name, sizeof name, "f%03d.jpg", i);
        left += there(world, name);
        ck_assert(i < 199 || left == 200 - (int)before);
    }
    set_hold(&world->line, false);
    world_start(world);
    EVENTUALLY(adds(&world->notes) == 200);
    EVENTUALLY(!there(world, "f199.jpg"));
    world_destroy(world);
}
END_TEST

START_TEST(a_quiet_source_still_remembers) {
    struct world *world = world_create();
    char name[32];
    world->line.hold = true;
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "f%d.jpg", i);
        put_picture(world, name, name);
    }
    world_start(world);
    EVENTUALLY(held(&world->line) == 10);
    source_quiesce(world->source);
    clock_sleep_ms(50);
    put_picture(world, "more.jpg", "more");
    clock_sleep_ms(50);
    ck_assert_uint_eq(held(&world->line), 10);
    settle_held(&world->line, 10);
    EVENTUALLY(adds(&world->notes) == 10);
    int64_t start = clock_boot_us();
    world_stop(world);
    ck_assert_int_lt(clock_boot_us() - start, 2000000); /* nothing to wait for */
    set_hold(&world->line, false);
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "more"));
    ck_assert_uint_eq(seen(&world->line), 11);
    world_destroy(world);
}
END_TEST

int main(void) {
    static const TTest *const *const tests[] = {
        &a_directory_may_come_late_go_and_come_back,
        &lost_events_are_made_up_for,
        &two_thousand_files_through_a_slow_pipeline,
        &large_frames_are_bounded_by_their_bytes,
        &fps_paces_a_directory,
        &frames_may_settle_after_the_stop,
        &a_quiet_source_still_remembers,
    };
    return inbox_suite_run("inference/inbox load", tests, ARRAY_LENGTH(tests));
}
