/* Sources: real directories with real inotify, a pipeline that may be slow, refuse or settle late,
 * and the demo camera. Waiting is by polling with long limits; nothing depends on how fast this
 * machine is. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/source.h"
#include "tests/suite.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <unistd.h>

#define FRAMES_MAX 4096 /* that one test may see */
#define KEYS_MAX   4096
#define PATH_SIZE  512
#define NOBODY     65534

/* ---- a memory that outlives its source ---- */

struct notes {
    pthread_mutex_t lock;
    uint8_t keys[KEYS_MAX][SOURCE_KEY_MAX];
    size_t sizes[KEYS_MAX]; /* 0: forgotten */
    size_t count;
    int fail_adds; /* this many adds fail */
    unsigned adds, forgets;
    bool closed; /* a call is an error now */
};

static size_t note_find(struct notes *notes, const void *key, size_t size) {
    for (size_t i = 0; i < notes->count; i++) {
        if (notes->sizes[i] == size && memcmp(notes->keys[i], key, size) == 0) {
            return i;
        }
    }
    return notes->count;
}

static bool note_has(void *ctx, const char *camera, const void *key, size_t size) {
    struct notes *notes = ctx;
    (void)camera;
    pthread_mutex_lock(&notes->lock);
    ck_assert(!notes->closed);
    bool found = note_find(notes, key, size) < notes->count;
    pthread_mutex_unlock(&notes->lock);
    return found;
}

static int note_add(void *ctx, const char *camera, const void *key, size_t size, struct err *err) {
    struct notes *notes = ctx;
    int code = 0;
    ck_assert_str_eq(camera, "inbox");
    pthread_mutex_lock(&notes->lock);
    ck_assert(!notes->closed);
    if (notes->fail_adds > 0) {
        notes->fail_adds--;
        code = err_set(err, ERR_FULL, "no room for a key");
    } else {
        ck_assert_uint_lt(notes->count, KEYS_MAX);
        ck_assert_uint_le(size, SOURCE_KEY_MAX);
        memcpy(notes->keys[notes->count], key, size);
        notes->sizes[notes->count++] = size;
        notes->adds++;
    }
    pthread_mutex_unlock(&notes->lock);
    return code;
}

static void note_forget(void *ctx, const char *camera, const void *key, size_t size) {
    struct notes *notes = ctx;
    (void)camera;
    pthread_mutex_lock(&notes->lock);
    ck_assert(!notes->closed);
    size_t at = note_find(notes, key, size);
    ck_assert_uint_lt(at, notes->count);
    notes->sizes[at] = 0;
    notes->forgets++;
    pthread_mutex_unlock(&notes->lock);
}

/* ---- a pipeline ---- */

struct pipeline {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct frame *held[FRAMES_MAX]; /* submitted, not settled */
    size_t held_count, held_most;
    uint64_t held_bytes, held_bytes_most;
    size_t seen;                 /* submitted in all */
    char bodies[FRAMES_MAX][32]; /* what was in the first ones, in order */
    bool hold;                   /* keep frames until settle_held is called */
    size_t room;                 /* submit waits while so many are held; 0: no limit */
    enum frame_outcome outcome;  /* of those that are not held */
    int fail_first;              /* so many FAILED before the outcome above */
};

#define HEAD "\xff\xd8\xff\xe0"
#define TAIL "\xff\xd9"

static enum frame_outcome outcome_next(struct pipeline *line) {
    if (line->fail_first > 0) {
        line->fail_first--;
        return FRAME_FAILED;
    }
    return line->outcome;
}

static void settle(struct frame *frame, enum frame_outcome outcome) {
    struct err err = {0};
    bool fault = outcome == FRAME_BAD || outcome == FRAME_FAILED;
    if (fault) {
        err_set(&err, outcome == FRAME_BAD ? ERR_INVALID : ERR_FULL, "the test says so");
    }
    frame_settle(frame, outcome, fault ? &err : NULL);
}

static void submit(void *ctx, struct frame *frame) {
    struct pipeline *line = ctx;
    pthread_mutex_lock(&line->lock);
    if (line->seen < FRAMES_MAX && !frame->live) {
        size_t size = frame->record.blob_bytes < 36 ? frame->record.blob_bytes - 6 : 30;
        memcpy(line->bodies[line->seen], frame->blob + 4, size);
    }
    line->seen++;
    while (line->hold && line->room && line->held_count >= line->room) {
        pthread_cond_wait(&line->freed, &line->lock);
    }
    bool hold = line->hold;
    if (hold) {
        ck_assert_uint_lt(line->held_count, FRAMES_MAX);
        line->held[line->held_count++] = frame;
        line->held_bytes += frame->record.blob_bytes;
        line->held_most = line->held_count > line->held_most ? line->held_count : line->held_most;
        line->held_bytes_most =
            line->held_bytes > line->held_bytes_most ? line->held_bytes : line->held_bytes_most;
    }
    enum frame_outcome outcome = hold ? FRAME_DROPPED : outcome_next(line);
    pthread_mutex_unlock(&line->lock);
    if (!hold) {
        settle(frame, outcome);
    }
}

/* Settles up to `most` held frames, oldest first; returns how many. */
static size_t settle_held(struct pipeline *line, size_t most) {
    size_t done = 0;
    for (; done < most; done++) {
        pthread_mutex_lock(&line->lock);
        struct frame *frame = line->held_count ? line->held[0] : NULL;
        if (frame) {
            line->held_count--;
            line->held_bytes -= frame->record.blob_bytes;
            memmove(line->held, line->held + 1, line->held_count * sizeof *line->held);
            pthread_cond_signal(&line->freed);
        }
        enum frame_outcome outcome = frame ? outcome_next(line) : FRAME_KEPT;
        pthread_mutex_unlock(&line->lock);
        if (!frame) {
            break;
        }
        settle(frame, outcome);
    }
    return done;
}

static size_t seen(struct pipeline *line) {
    pthread_mutex_lock(&line->lock);
    size_t count = line->seen;
    pthread_mutex_unlock(&line->lock);
    return count;
}

static size_t held(struct pipeline *line) {
    pthread_mutex_lock(&line->lock);
    size_t count = line->held_count;
    pthread_mutex_unlock(&line->lock);
    return count;
}

static void set_hold(struct pipeline *line, bool hold) {
    pthread_mutex_lock(&line->lock);
    line->hold = hold;
    pthread_cond_broadcast(&line->freed);
    pthread_mutex_unlock(&line->lock);
}

static unsigned adds(struct notes *notes) {
    pthread_mutex_lock(&notes->lock);
    unsigned count = notes->adds;
    pthread_mutex_unlock(&notes->lock);
    return count;
}

static bool has_seen(struct pipeline *line, const char *body) {
    bool found = false;
    pthread_mutex_lock(&line->lock);
    for (size_t i = 0; i < line->seen && i < FRAMES_MAX; i++) {
        found = found || strcmp(line->bodies[i], body) == 0;
    }
    pthread_mutex_unlock(&line->lock);
    return found;
}

/* Polls `condition` for 30 s; the loop is the macro's, so that the condition may be any expression.
 */
#define EVENTUALLY(condition)                                                                      \
    do {                                                                                           \
        int64_t until_ = clock_boot_us() + 30000000;                                               \
        while (!(condition) && clock_boot_us() < until_) {                                         \
            clock_sleep_ms(2);                                                                     \
        }                                                                                          \
        ck_assert_msg((condition), "never came: %s", #condition);                                  \
    } while (0)

/* ---- one directory with its source ---- */

struct world {
    char dir[64];
    char uri[96];
    char move_to[96];
    struct notes notes;
    struct pipeline line;
    struct source *source;
    enum source_after after;
    double fps;
    bool no_memory, own_target;
};

static struct world *world_create(void) {
    struct world *world = mem_alloc(sizeof *world);
    ck_assert_ptr_nonnull(world);
    snprintf(world->dir, sizeof world->dir, "/tmp/creel-source-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(world->dir));
    snprintf(world->uri, sizeof world->uri, "directory:%s", world->dir);
    snprintf(world->move_to, sizeof world->move_to, "%s.elsewhere", world->dir);
    pthread_mutex_init(&world->notes.lock, NULL);
    pthread_mutex_init(&world->line.lock, NULL);
    pthread_cond_init(&world->line.freed, NULL);
    world->line.outcome = FRAME_KEPT;
    return world;
}

static void world_start(struct world *world) {
    struct source_config config = {.name = "inbox",
                                   .source = world->uri,
                                   .after = world->after,
                                   .fps = world->fps,
                                   .move_to = world->own_target ? world->move_to : NULL};
    struct source_memory memory = {
        .ctx = &world->notes, .has = note_has, .add = note_add, .forget = note_forget};
    struct source_sink sink = {.ctx = &world->line, .submit = submit};
    struct err err = {0};
    world->notes.closed = false;
    ck_assert_msg(
        source_start(&config, world->no_memory ? NULL : &memory, &sink, &world->source, &err) == 0,
        "%s", err.msg);
}

static void world_stop(struct world *world) {
    source_stop(TAKE_PTR(world->source));
    pthread_mutex_lock(&world->notes.lock);
    world->notes.closed = true;
    pthread_mutex_unlock(&world->notes.lock);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void world_destroy(struct world *world) {
    world_stop(world);
    set_hold(&world->line, false);
    settle_held(&world->line, FRAMES_MAX);
    remove_tree(world->dir);
    remove_tree(world->move_to);
    free(world);
}

static char *in_world(const struct world *world, const char *name, char path[PATH_SIZE]) {
    snprintf(path, PATH_SIZE, "%s/%s", world->dir, name);
    return path;
}

static void put_bytes(const char *path, const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

/* What the directory source takes for a JPEG: marker, `body`, end. */
static size_t picture(char *out, size_t size, const char *body) {
    return (size_t)snprintf(out, size, "%s%s%s", HEAD, body, TAIL);
}

static void put_picture(const struct world *world, const char *name, const char *body) {
    char path[PATH_SIZE];
    char bytes[256];
    put_bytes(in_world(world, name, path), bytes, picture(bytes, sizeof bytes, body));
}

static void put_text(const struct world *world, const char *name, const char *text) {
    char path[PATH_SIZE];
    put_bytes(in_world(world, name, path), text, strlen(text));
}

static void rename_in(const struct world *world, const char *from, const char *to) {
    char a[PATH_SIZE];
    char b[PATH_SIZE];
    ck_assert_int_eq(rename(in_world(world, from, a), in_world(world, to, b)), 0);
}

/* So that a file counts as finished whatever is in it. */
static void make_old(const struct world *world, const char *name) {
    char path[PATH_SIZE];
    struct timespec times[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, in_world(world, name, path), times, 0), 0);
}

static bool there(const struct world *world, const char *name) {
    char path[PATH_SIZE];
    return access(in_world(world, name, path), F_OK) == 0;
}

static struct source_stats stats(struct world *world) {
    struct source_stats out;
    source_stats_get(world->source, &out);
    return out;
}

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

static unsigned count_lines(const char *path, const char *with) {
    FILE *file = fopen(path, "r");
    char line[4096];
    unsigned count = 0;
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        count += strstr(line, with) != NULL;
    }
    fclose(file);
    return count;
}

/* This test's process writes its log to a file that goes with the world. */
static void log_to_file(const struct world *world, char *path, size_t size) {
    snprintf(path, size, "%s.elsewhere", world->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    close(fd);
}

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

/* ---- configuration ---- */

START_TEST(bad_sources_are_named) {
    static const struct {
        struct source_config config;
        const char *says; /* NULL: fine */
    } cases[] = {
        {{.name = "a", .source = "demo:"}, NULL},
        {{.name = "a", .source = "demo:17", .fps = 60}, NULL},
        {{.name = "a", .source = "directory:/srv/in"}, NULL},
        {{.name = "a", .source = "directory:/srv/in", .after = SOURCE_MOVE, .move_to = "/srv/x"},
         NULL},
        {{.name = "A", .source = "demo:"}, "camera 'A'"},
        {{.name = "a", .source = NULL}, "no source"},
        {{.name = "a", .source = ""}, "no source"},
        {{.name = "a", .source = "demo"}, "'directory:/absolute/path'"},
        {{.name = "a", .source = "gopher://user:secret@host"}, "'gopher' is of no known kind"},
        {{.name = "a", .source = "/srv/in"}, "known are: 'demo:'"},
        {{.name = "a", .source = "directory:srv/in"}, "absolute path"},
        {{.name = "a", .source = "directory:"}, "absolute path"},
        {{.name = "a", .source = "directory:/srv/in", .move_to = "/srv/x"}, "after: move"},
        {{.name = "a", .source = "directory:/srv/in", .after = SOURCE_MOVE, .move_to = "x"},
         "move_to is 'x'"},
        {{.name = "a", .source = "directory:/srv/in", .after = SOURCE_MOVE, .move_to = "/srv/in"},
         "another directory"},
        {{.name = "a", .source = "directory:/srv/in", .fps = -1}, "fps is -1"},
        {{.name = "a", .source = "demo:", .fps = 61}, "at most 60"},
        {{.name = "a", .source = "demo:seven"}, "'demo:seven'"},
        {{.name = "a", .source = "demo:-7"}, "whole number"},
        {{.name = "a", .source = "demo:99999999999999999999999"}, "whole number"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct err err = {0};
        int code = source_check(&cases[i].config, &err);
        ck_assert_msg(code == (cases[i].says ? ERR_CONFIG : 0), "case %zu: %d %s", i, code,
                      err.msg);
        ck_assert_msg(!cases[i].says || strstr(err.msg, cases[i].says), "case %zu: %s", i, err.msg);
        ck_assert_ptr_null(strstr(err.msg, "secret"));
    }
}
END_TEST

START_TEST(starting_survives_a_lack_of_memory) {
    struct world *world = world_create();
    struct source_config config = {.name = "inbox", .source = world->uri};
    struct source_sink sink = {.ctx = &world->line, .submit = submit};
    struct source *source = NULL;
    int code = ERR_NOMEM;
    for (long n = 0; n < 50 && code; n++) {
        struct err err = {0};
        mem_fail_after(n);
        code = source_start(&config, NULL, &sink, &source, &err);
        mem_fail_after(-1);
        ck_assert_msg(code == 0 || code == ERR_NOMEM, "%d %s", code, err.msg);
    }
    ck_assert_int_eq(code, 0);
    source_stop(source);
    source_stop(NULL);
    world_destroy(world);
}
END_TEST

/* ---- the demo camera ---- */

#define SHOTS_MAX 64

struct album {
    pthread_mutex_t lock;
    uint8_t *blobs[SHOTS_MAX];
    size_t sizes[SHOTS_MAX], count;
    bool all_live;
};

static void album_submit(void *ctx, struct frame *frame) {
    struct album *album = ctx;
    pthread_mutex_lock(&album->lock);
    album->all_live = album->all_live && frame->live;
    if (album->count < SHOTS_MAX) {
        album->blobs[album->count] = mem_dup(frame->blob, frame->record.blob_bytes);
        album->sizes[album->count++] = frame->record.blob_bytes;
    }
    pthread_mutex_unlock(&album->lock);
    frame_settle(frame, FRAME_KEPT, NULL);
}

static size_t shots(struct album *album) {
    pthread_mutex_lock(&album->lock);
    size_t count = album->count;
    pthread_mutex_unlock(&album->lock);
    return count;
}

static int64_t shoot(struct album *album, const char *uri, double fps, size_t count) {
    struct source_config config = {.name = "demo", .source = uri, .fps = fps};
    struct source_sink sink = {.ctx = album, .submit = album_submit};
    struct source *source = NULL;
    struct err err = {0};
    size_t goal = shots(album) + count;
    ck_assert_uint_le(goal, SHOTS_MAX);
    int64_t start = clock_boot_us();
    ck_assert_msg(source_start(&config, NULL, &sink, &source, &err) == 0, "%s", err.msg);
    EVENTUALLY(shots(album) >= goal);
    int64_t took = clock_boot_us() - start;
    source_stop(source);
    return took;
}

static void album_finish(struct album *album) {
    for (size_t i = 0; i < album->count; i++) {
        free(album->blobs[i]);
    }
}

START_TEST(the_demo_camera_sends_different_real_pictures) {
    struct album album = {.lock = PTHREAD_MUTEX_INITIALIZER, .all_live = true};
    tjhandle jpeg = tjInitDecompress();
    CLEANUP(mem_free_at) uint8_t *rgb = mem_alloc(640 * 360 * 3);
    int64_t took = shoot(&album, "demo:", 20, 9);
    ck_assert_int_ge(took, 350000); /* eight periods of 50 ms, less what the first was late */
    size_t first_run = album.count;
    clock_sleep_ms(60); /* within the same period of 50 ms it would render the same moment again */
    shoot(&album, "demo:", 20, 4); /* a restart goes on with other pictures */
    ck_assert(album.all_live);
    for (size_t i = 0; i < album.count; i++) {
        int width = 0;
        int height = 0;
        int sampling = 0;
        ck_assert_int_eq(
            tjDecompressHeader2(jpeg, album.blobs[i], album.sizes[i], &width, &height, &sampling),
            0);
        ck_assert_int_eq(width, 640);
        ck_assert_int_eq(height, 360);
        ck_assert_int_eq(
            tjDecompress2(jpeg, album.blobs[i], album.sizes[i], rgb, 640, 0, 360, TJPF_RGB, 0), 0);
        for (size_t j = 0; j < i; j++) {
            ck_assert_msg(album.sizes[i] != album.sizes[j] ||
                              memcmp(album.blobs[i], album.blobs[j], album.sizes[i]) != 0,
                          "frames %zu and %zu of %zu are the same", i, j, first_run);
        }
    }
    tjDestroy(jpeg);
    album_finish(&album);
}
END_TEST

START_TEST(the_demo_camera_stops_at_once) {
    struct album album = {.lock = PTHREAD_MUTEX_INITIALIZER, .all_live = true};
    struct source_config config = {.name = "demo", .source = "demo:3", .fps = 0.01};
    struct source_sink sink = {.ctx = &album, .submit = album_submit};
    struct source *source = NULL;
    ck_assert_int_eq(source_start(&config, NULL, &sink, &source, NULL), 0);
    EVENTUALLY(shots(&album) == 1);
    int64_t start = clock_boot_us();
    source_stop(source);
    ck_assert_int_lt(clock_boot_us() - start, 5000000); /* the next frame was 100 s away */
    ck_assert_uint_eq(album.count, 1);
    album_finish(&album);
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
        &a_directory_may_come_late_go_and_come_back,
        &lost_events_are_made_up_for,
        &two_thousand_files_through_a_slow_pipeline,
        &large_frames_are_bounded_by_their_bytes,
        &fps_paces_a_directory,
        &frames_may_settle_after_the_stop,
        &a_quiet_source_still_remembers,
        &bad_sources_are_named,
        &starting_survives_a_lack_of_memory,
        &the_demo_camera_sends_different_real_pictures,
        &the_demo_camera_stops_at_once,
    };
    Suite *suite = suite_create("inference/source");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, *tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
