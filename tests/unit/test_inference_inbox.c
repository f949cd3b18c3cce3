/* Which files of a directory are taken and which passed over, and what becomes of them afterwards.
 */
#include "tests/unit/inbox_case.h"

/* ---- what is taken ---- */

START_TEST(existing_new_and_moved_in_files_are_taken) {
    struct world *world = world_create();
    put_picture(world, "b.jpg", "b");
    put_picture(world, "a.jpg", "a");
    put_picture(world, "c", "c"); /* content decides, not the name */
    world_start(world);
    EVENTUALLY(seen(&world->line) == 3);
    ck_assert_str_eq(world->line.bodies[0], "a");
    ck_assert_str_eq(world->line.bodies[1], "b");
    ck_assert_str_eq(world->line.bodies[2], "c");

    put_picture(world, "new.jpg", "new");
    EVENTUALLY(has_seen(&world->line, "new"));
    put_picture(world, ".half", "moved");
    put_picture(world, "x.tmp", "part");
    put_picture(world, "y.PART", "part");
    put_picture(world, "z~", "part");
    put_picture(world, "~lock", "part");
    rename_in(world, ".half", "moved.jpg");
    EVENTUALLY(has_seen(&world->line, "moved"));
    EVENTUALLY(adds(&world->notes) == 5);
    ck_assert(!has_seen(&world->line, "part"));

    char path[PATH_SIZE];
    const char png[] = "\x89PNG\r\n\x1a\n some chunks \0\0\0\0IEND\xae\x42\x60\x82";
    put_bytes(in_world(world, "p.dat", path), png, sizeof png - 1);
    EVENTUALLY(seen(&world->line) == 6);
    ck_assert_uint_eq(stats(world).frames, 6);
    ck_assert_uint_eq(stats(world).skipped, 0);
    ck_assert_uint_eq(stats(world).errors, 0);
    world_destroy(world);
}
END_TEST

START_TEST(a_restart_takes_nothing_twice_but_a_rewritten_file_again) {
    struct world *world = world_create();
    char name[32];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "f%02d.jpg", i);
        put_picture(world, name, name);
    }
    world_start(world);
    EVENTUALLY(adds(&world->notes) == 20);
    world_stop(world);
    put_picture(world, "late.jpg", "late");
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "late"));
    ck_assert_uint_eq(seen(&world->line), 21);

    put_picture(world, "f05.jpg", "rewritten");
    EVENTUALLY(has_seen(&world->line, "rewritten"));
    EVENTUALLY(adds(&world->notes) == 22);
    world_stop(world);
    put_picture(world, "f06.jpg", "while away");
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "while away"));
    EVENTUALLY(adds(&world->notes) == 23);
    ck_assert_uint_eq(seen(&world->line), 23);
    ck_assert(there(world, "f00.jpg"));
    world_destroy(world);
}
END_TEST

START_TEST(a_file_in_the_air_is_not_taken_again) {
    struct world *world = world_create();
    char path[PATH_SIZE];
    world->line.hold = true;
    world_start(world);
    put_picture(world, "a.jpg", "a");
    EVENTUALLY(held(&world->line) == 1);
    close(open(in_world(world, "a.jpg", path), O_WRONLY | O_CLOEXEC)); /* an event, no change */
    put_picture(world, "b.jpg", "b");
    EVENTUALLY(has_seen(&world->line, "b"));
    settle_held(&world->line, 2);
    EVENTUALLY(adds(&world->notes) == 2);
    close(
        open(in_world(world, "a.jpg", path), O_WRONLY | O_CLOEXEC)); /* nor when it is remembered */
    put_picture(world, "c.jpg", "c");
    EVENTUALLY(has_seen(&world->line, "c"));
    ck_assert_uint_eq(seen(&world->line), 3);
    world_destroy(world);
}
END_TEST

START_TEST(without_memory_each_file_is_taken_once_a_run) {
    struct world *world = world_create();
    world->no_memory = true;
    put_picture(world, "a.jpg", "a");
    world_start(world);
    EVENTUALLY(seen(&world->line) == 1);
    put_picture(world, "b.jpg", "b");
    EVENTUALLY(seen(&world->line) == 2);
    world_stop(world);
    world_start(world);
    EVENTUALLY(seen(&world->line) == 4);
    world_destroy(world);
}
END_TEST

START_TEST(a_file_that_grows_is_taken_once_and_whole) {
    struct world *world = world_create();
    char path[PATH_SIZE];
    put_picture(world, "first.jpg", "first");
    int before = open(in_world(world, "before.jpg", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ck_assert_int_eq(write(before, HEAD "slow", 8), 8);
    int empty = open(in_world(world, "empty.jpg", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "first"));
    int after = open(in_world(world, "after.jpg", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ck_assert_int_eq(write(after, HEAD "lat", 7), 7);
    clock_sleep_ms(300);
    ck_assert_uint_eq(seen(&world->line), 1);
    ck_assert_int_eq(write(before, "er" TAIL, 4), 4);
    ck_assert_int_eq(write(after, "er" TAIL, 4), 4);
    ck_assert_int_eq(write(empty, HEAD "filled" TAIL, 12), 12);
    close(before);
    close(after);
    close(empty);
    EVENTUALLY(adds(&world->notes) == 4);
    ck_assert(has_seen(&world->line, "slower"));
    ck_assert(has_seen(&world->line, "later"));
    ck_assert(has_seen(&world->line, "filled"));
    ck_assert_uint_eq(seen(&world->line), 4);
    ck_assert_uint_eq(stats(world).skipped, 0);
    world_destroy(world);
}
END_TEST

START_TEST(a_truncated_file_is_handed_on_in_the_end) {
    struct world *world = world_create();
    world->line.outcome = FRAME_BAD;
    put_text(world, "old.jpg", HEAD "an old stump");
    make_old(world, "old.jpg");
    world_start(world);
    EVENTUALLY(adds(&world->notes) == 1);
    put_text(world, "new.jpg", HEAD "a new stump"); /* after SETTLE_US */
    EVENTUALLY(adds(&world->notes) == 2);
    struct source_stats counts = stats(world);
    ck_assert_uint_eq(counts.errors, 2);
    ck_assert_ptr_nonnull(strstr(counts.last_error, "new.jpg"));
    ck_assert_ptr_nonnull(strstr(counts.last_error, "the test says so"));
    world_destroy(world);
}
END_TEST

/* ---- what is passed over ---- */

START_TEST(text_files_are_counted_once_and_logged_seldom) {
    struct world *world = world_create();
    char name[32];
    char log[96];
    char path[PATH_SIZE];
    log_to_file(world, log, sizeof log);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "note-%03d.jpg", i);
        put_text(world, name, "no picture at all");
    }
    put_text(world, "empty.jpg", "");
    make_old(world, "empty.jpg");
    put_text(world, "big.jpg", HEAD);
    ck_assert_int_eq(truncate(in_world(world, "big.jpg", path), (off_t)FRAME_BLOB_MAX + 1), 0);
    ck_assert_int_eq(symlink("/etc/hostname", in_world(world, "link.jpg", path)), 0);
    ck_assert_int_eq(mkfifo(in_world(world, "pipe.jpg", path), 0600), 0);
    ck_assert_int_eq(mkdir(in_world(world, "folder.jpg", path), 0700), 0);
    put_picture(world, "z.jpg", "real");
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "real"));
    EVENTUALLY(stats(world).skipped == 304);

    /* another look counts none of them again */
    world_stop(world);
    world_start(world);
    EVENTUALLY(stats(world).skipped == 304);
    char moved[96];
    snprintf(moved, sizeof moved, "%s.moved", world->dir);
    ck_assert_int_eq(rename(world->dir, moved), 0);
    EVENTUALLY(stats(world).errors == 1);
    ck_assert_int_eq(rename(moved, world->dir), 0);
    put_picture(world, "zz.jpg", "after");
    EVENTUALLY(has_seen(&world->line, "after"));
    ck_assert_uint_eq(stats(world).skipped, 304);
    ck_assert_uint_eq(seen(&world->line), 2);
    ck_assert_uint_eq(count_lines(log, "passed over"), 2); /* one a run */
    world_destroy(world);
}
END_TEST

START_TEST(an_unreadable_file_is_named_and_taken_when_it_may_be) {
    if (getuid() == 0) {
        ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
        ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
    }
    struct world *world = world_create();
    char path[PATH_SIZE];
    put_picture(world, "secret.jpg", "secret");
    put_picture(world, "plain.jpg", "plain");
    ck_assert_int_eq(chmod(in_world(world, "secret.jpg", path), 0), 0);
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "plain"));
    EVENTUALLY(stats(world).errors >= 1);
    ck_assert_ptr_nonnull(strstr(stats(world).last_error, "secret.jpg"));
    ck_assert_ptr_nonnull(strstr(stats(world).last_error, "readable"));
    ck_assert_int_eq(chmod(path, 0644), 0);
    EVENTUALLY(has_seen(&world->line, "secret"));
    EVENTUALLY(adds(&world->notes) == 2);
    world_destroy(world);
}
END_TEST

/* ---- afterwards ---- */

START_TEST(move_puts_good_and_bad_files_where_they_belong) {
    struct world *world = world_create();
    char path[PATH_SIZE];
    world->after = SOURCE_MOVE;
    world_start(world);
    put_picture(world, "a.jpg", "one");
    EVENTUALLY(there(world, "done/a.jpg"));
    put_picture(world, "a.jpg", "two");
    EVENTUALLY(adds(&world->notes) == 2 && !there(world, "a.jpg"));
    put_picture(world, "a.jpg", "three");
    EVENTUALLY(adds(&world->notes) == 3 && !there(world, "a.jpg"));
    pthread_mutex_lock(&world->line.lock);
    world->line.outcome = FRAME_REJECTED;
    pthread_mutex_unlock(&world->line.lock);
    put_picture(world, "looked-at.jpg", "four");
    EVENTUALLY(there(world, "done/looked-at.jpg"));
    pthread_mutex_lock(&world->line.lock);
    world->line.outcome = FRAME_BAD;
    pthread_mutex_unlock(&world->line.lock);
    put_picture(world, "b.jpg", "bad");
    EVENTUALLY(there(world, "failed/b.jpg"));
    EVENTUALLY(!there(world, "b.jpg"));

    unsigned files = 0;
    snprintf(path, sizeof path, "ls %s/done | wc -l", world->dir);
    FILE *list = popen(path, "r");
    ck_assert_int_eq(fscanf(list, "%u", &files), 1);
    pclose(list);
    ck_assert_uint_eq(files, 4); /* nothing was replaced */
    ck_assert_uint_eq(seen(&world->line), 5);
    world_stop(world);
    ck_assert_uint_eq(world->notes.forgets, 5); /* their keys are of no use any more */
    world_destroy(world);
}
END_TEST

START_TEST(move_goes_to_a_directory_of_ones_own) {
    struct world *world = world_create();
    char path[PATH_SIZE];
    world->after = SOURCE_MOVE;
    world->own_target = true;
    put_picture(world, "a.jpg", "one");
    world_start(world);
    snprintf(path, sizeof path, "%s/a.jpg", world->move_to);
    EVENTUALLY(access(path, F_OK) == 0);
    ck_assert(!there(world, "a.jpg"));
    world_destroy(world);
}
END_TEST

START_TEST(delete_spares_bad_files) {
    struct world *world = world_create();
    world->after = SOURCE_DELETE;
    put_picture(world, "kept.jpg", "kept");
    world_start(world);
    EVENTUALLY(!there(world, "kept.jpg"));
    pthread_mutex_lock(&world->line.lock);
    world->line.outcome = FRAME_REJECTED;
    pthread_mutex_unlock(&world->line.lock);
    put_picture(world, "rejected.jpg", "rejected");
    EVENTUALLY(has_seen(&world->line, "rejected") && !there(world, "rejected.jpg"));
    pthread_mutex_lock(&world->line.lock);
    world->line.outcome = FRAME_BAD;
    pthread_mutex_unlock(&world->line.lock);
    put_picture(world, "bad.jpg", "bad");
    EVENTUALLY(adds(&world->notes) == 3);
    world_stop(world);
    world_start(world); /* remembered: neither deleted nor taken again */
    put_picture(world, "z.jpg", "last");
    EVENTUALLY(has_seen(&world->line, "last"));
    ck_assert(there(world, "bad.jpg"));
    ck_assert_uint_eq(seen(&world->line), 4);
    world_destroy(world);
}
END_TEST

START_TEST(files_left_stay_left_when_the_policy_changes) {
    struct world *world = world_create();
    put_picture(world, "a.jpg", "a");
    world_start(world);
    EVENTUALLY(adds(&world->notes) == 1);
    world_stop(world);
    world->after = SOURCE_DELETE;
    put_picture(world, "b.jpg", "b");
    world_start(world);
    EVENTUALLY(has_seen(&world->line, "b") && !there(world, "b.jpg"));
    ck_assert(there(world, "a.jpg"));
    world_destroy(world);
}
END_TEST

START_TEST(nothing_is_deleted_before_it_is_kept) {
    struct world *world = world_create();
    world->after = SOURCE_DELETE;
    world->line.fail_first = 2;
    put_picture(world, "a.jpg", "a");
    world_start(world);
    EVENTUALLY(seen(&world->line) == 2); /* the first retry */
    ck_assert(there(world, "a.jpg"));
    EVENTUALLY(!there(world, "a.jpg"));
    ck_assert_uint_eq(seen(&world->line), 3);
    ck_assert_uint_eq(adds(&world->notes), 1);
    ck_assert_uint_ge(stats(world).errors, 2);
    world_destroy(world);
}
END_TEST

START_TEST(a_dropped_frame_is_tried_again) {
    struct world *world = world_create();
    world->line.outcome = FRAME_DROPPED;
    put_picture(world, "a.jpg", "a");
    world_start(world);
    EVENTUALLY(seen(&world->line) >= 1);
    pthread_mutex_lock(&world->line.lock);
    world->line.outcome = FRAME_KEPT;
    pthread_mutex_unlock(&world->line.lock);
    EVENTUALLY(adds(&world->notes) == 1);
    ck_assert_uint_eq(stats(world).errors, 0);
    world_destroy(world);
}
END_TEST

START_TEST(a_newer_file_under_the_name_is_not_deleted_unseen) {
    struct world *world = world_create();
    world->after = SOURCE_DELETE;
    world->line.hold = true;
    put_picture(world, "latest.jpg", "one");
    world_start(world);
    EVENTUALLY(held(&world->line) == 1);
    put_picture(world, ".new", "two");
    rename_in(world, ".new", "latest.jpg");
    EVENTUALLY(held(&world->line) == 2); /* "two" is another file, and taken too */
    settle_held(&world->line, 1);
    EVENTUALLY(adds(&world->notes) == 1);
    clock_sleep_ms(50);
    ck_assert(there(world, "latest.jpg"));
    settle_held(&world->line, 1);
    EVENTUALLY(!there(world, "latest.jpg"));
    world_destroy(world);
}
END_TEST

START_TEST(what_a_crash_left_undone_is_done_later) {
    if (getuid() == 0) {
        ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
        ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
    }
    struct world *world = world_create();
    world->after = SOURCE_DELETE;
    put_picture(world, "a.jpg", "a");
    ck_assert_int_eq(chmod(world->dir, 0555), 0);
    world_start(world);
    EVENTUALLY(stats(world).errors == 1); /* kept and remembered, but it may not be deleted */
    ck_assert_ptr_nonnull(strstr(stats(world).last_error, "a.jpg"));
    ck_assert_uint_eq(adds(&world->notes), 1);
    world_stop(world);
    ck_assert_int_eq(chmod(world->dir, 0755), 0);
    ck_assert(there(world, "a.jpg"));
    put_picture(world, ".creel-aside.b.jpg", "b"); /* as a crash within a deletion leaves it */
    world_start(world);
    EVENTUALLY(!there(world, "a.jpg"));
    EVENTUALLY(has_seen(&world->line, "b") && !there(world, "b.jpg"));
    ck_assert_uint_eq(seen(&world->line), 2);
    ck_assert(!there(world, ".creel-aside.b.jpg"));
    world_destroy(world);
}
END_TEST

START_TEST(a_memory_that_fails_stops_the_taking) {
    struct world *world = world_create();
    char name[32];
    world->notes.fail_adds = 70;
    world->after = SOURCE_DELETE;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "f%03d.jpg", i);
        put_picture(world, name, name);
    }
    world_start(world);
    EVENTUALLY(stats(world).errors >= 64);
    ck_assert_uint_eq(seen(&world->line), 64);
    ck_assert(there(world, "f000.jpg"));
    EVENTUALLY(adds(&world->notes) == 100);
    EVENTUALLY(!there(world, "f099.jpg"));
    ck_assert_uint_eq(seen(&world->line), 100); /* each once */
    world_destroy(world);
}
END_TEST

int main(void) {
    static const TTest *const *const tests[] = {
        &existing_new_and_moved_in_files_are_taken,
        &a_restart_takes_nothing_twice_but_a_rewritten_file_again,
        &a_file_in_the_air_is_not_taken_again,
        &without_memory_each_file_is_taken_once_a_run,
        &a_file_that_grows_is_taken_once_and_whole,
        &a_truncated_file_is_handed_on_in_the_end,
        &text_files_are_counted_once_and_logged_seldom,
        &an_unreadable_file_is_named_and_taken_when_it_may_be,
        &move_puts_good_and_bad_files_where_they_belong,
        &move_goes_to_a_directory_of_ones_own,
        &delete_spares_bad_files,
        &files_left_stay_left_when_the_policy_changes,
        &nothing_is_deleted_before_it_is_kept,
        &a_dropped_frame_is_tried_again,
        &a_newer_file_under_the_name_is_not_deleted_unseen,
        &what_a_crash_left_undone_is_done_later,
        &a_memory_that_fails_stops_the_taking,
    };
    return inbox_suite_run("inference/inbox", tests, ARRAY_LENGTH(tests));
}
