/* One directory that is a camera, with real inotify, and a pipeline behind it that may be slow,
 * refuse or settle late. Waiting is by polling with long limits; nothing depends on how fast this
 * machine is. */
#ifndef CREEL_TESTS_UNIT_INBOX_CASE_H
#define CREEL_TESTS_UNIT_INBOX_CASE_H

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

static inline size_t note_find(struct notes *notes, const void *key, size_t size) {
    for (size_t i = 0; i < notes->count; i++) {
        if (notes->sizes[i] == size && memcmp(notes->keys[i], key, size) == 0) {
            return i;
        }
    }
    return notes->count;
}

static inline bool note_has(void *ctx, const char *camera, const void *key, size_t size) {
    struct notes *notes = ctx;
    (void)camera;
    pthread_mutex_lock(&notes->lock);
    ck_assert(!notes->closed);
    bool found = note_find(notes, key, size) < notes->count;
    pthread_mutex_unlock(&notes->lock);
    return found;
}

static inline int note_add(void *ctx, const char *camera, const void *key, size_t size,
                           struct err *err) {
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

static inline void note_forget(void *ctx, const char *camera, const void *key, size_t size) {
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

static inline enum frame_outcome outcome_next(struct pipeline *line) {
    if (line->fail_first > 0) {
        line->fail_first--;
        return FRAME_FAILED;
    }
    return line->outcome;
}

static inline void settle(struct frame *frame, enum frame_outcome outcome) {
    struct err err = {0};
    bool fault = outcome == FRAME_BAD || outcome == FRAME_FAILED;
    if (fault) {
        err_set(&err, outcome == FRAME_BAD ? ERR_INVALID : ERR_FULL, "the test says so");
    }
    frame_settle(frame, outcome, fault ? &err : NULL);
}

static inline void submit(void *ctx, struct frame *frame) {
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
static inline size_t settle_held(struct pipeline *line, size_t most) {
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

static inline size_t seen(struct pipeline *line) {
    pthread_mutex_lock(&line->lock);
    size_t count = line->seen;
    pthread_mutex_unlock(&line->lock);
    return count;
}

static inline size_t held(struct pipeline *line) {
    pthread_mutex_lock(&line->lock);
    size_t count = line->held_count;
    pthread_mutex_unlock(&line->lock);
    return count;
}

static inline void set_hold(struct pipeline *line, bool hold) {
    pthread_mutex_lock(&line->lock);
    line->hold = hold;
    pthread_cond_broadcast(&line->freed);
    pthread_mutex_unlock(&line->lock);
}

static inline unsigned adds(struct notes *notes) {
    pthread_mutex_lock(&notes->lock);
    unsigned count = notes->adds;
    pthread_mutex_unlock(&notes->lock);
    return count;
}

static inline bool has_seen(struct pipeline *line, const char *body) {
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

static inline struct world *world_create(void) {
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

static inline void world_start(struct world *world) {
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

static inline void world_stop(struct world *world) {
    source_stop(TAKE_PTR(world->source));
    pthread_mutex_lock(&world->notes.lock);
    world->notes.closed = true;
    pthread_mutex_unlock(&world->notes.lock);
}

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void remove_tree(const char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void world_destroy(struct world *world) {
    world_stop(world);
    set_hold(&world->line, false);
    settle_held(&world->line, FRAMES_MAX);
    remove_tree(world->dir);
    remove_tree(world->move_to);
    free(world);
}

static inline char *in_world(const struct world *world, const char *name, char path[PATH_SIZE]) {
    snprintf(path, PATH_SIZE, "%s/%s", world->dir, name);
    return path;
}

static inline void put_bytes(const char *path, const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

/* What the directory source takes for a JPEG: marker, `body`, end. */
static inline size_t picture(char *out, size_t size, const char *body) {
    return (size_t)snprintf(out, size, "%s%s%s", HEAD, body, TAIL);
}

static inline void put_picture(const struct world *world, const char *name, const char *body) {
    char path[PATH_SIZE];
    char bytes[256];
    put_bytes(in_world(world, name, path), bytes, picture(bytes, sizeof bytes, body));
}

static inline void put_text(const struct world *world, const char *name, const char *text) {
    char path[PATH_SIZE];
    put_bytes(in_world(world, name, path), text, strlen(text));
}

static inline void rename_in(const struct world *world, const char *from, const char *to) {
    char a[PATH_SIZE];
    char b[PATH_SIZE];
    ck_assert_int_eq(rename(in_world(world, from, a), in_world(world, to, b)), 0);
}

/* So that a file counts as finished whatever is in it. */
static inline void make_old(const struct world *world, const char *name) {
    char path[PATH_SIZE];
    struct timespec times[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, in_world(world, name, path), times, 0), 0);
}

static inline bool there(const struct world *world, const char *name) {
    char path[PATH_SIZE];
    return access(in_world(world, name, path), F_OK) == 0;
}

static inline struct source_stats stats(struct world *world) {
    struct source_stats out;
    source_stats_get(world->source, &out);
    return out;
}

/* ---- what is logged ---- */

static inline unsigned count_lines(const char *path, const char *with) {
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
static inline void log_to_file(const struct world *world, char *path, size_t size) {
    snprintf(path, size, "%s.elsewhere", world->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    close(fd);
}

/* ---- a suite of them ---- */

static inline int inbox_suite_run(const char *name, const TTest *const *const *tests,
                                  size_t count) {
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    for (size_t i = 0; i < count; i++) {
        tcase_add_test(tcase, *tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}

#endif
