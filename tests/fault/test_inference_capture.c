/* Capture processes that lie, hang, shout or die, beside an honest one.
 *
 * This program plays the capture process itself: started with a packet socket as descriptor 3, it
 * does what the last part of the camera's address names. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/capture_protocol.h"
#include "inference/source.h"
#include "tests/suite.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 500, WAIT_MS = 30000, SIDE = 32, FRAMES_AFTER = 10, FPS = 50 };

#define SECRET "tell-nobody"
#define RAW    (SIDE * SIDE * 3 / 2)

/* ---- the plays, in the child ---- */

struct stage {
    struct capture_start start;
    uint64_t generations[CAPTURE_SLOTS];
    uint8_t *ring;
};

static void say(const void *packet, size_t size) {
    if (send(CAPTURE_FD_SOCKET, packet, size, MSG_NOSIGNAL) < 0) {
        _exit(0); /* the daemon has had enough */
    }
}

static void note(uint32_t kind, uint32_t value, const char *text) {
    struct capture_note packet = {
        .version = CAPTURE_PROTOCOL_VERSION, .kind = kind, .value = value};
    snprintf(packet.text, sizeof(packet.text), "%s", text);
    say(&packet, sizeof(packet));
}

static struct capture_frame frame_of(const struct stage *stage, uint32_t slot) {
    return (struct capture_frame){.version = CAPTURE_PROTOCOL_VERSION,
                                  .kind = CAPTURE_FRAME,
                                  .slot = slot,
                                  .raw = 1,
                                  .width = SIDE,
                                  .height = SIDE,
                                  .generation = stage->generations[slot],
                                  .size = RAW};
}

static void hand(const struct capture_frame *frame) {
    say(frame, sizeof(*frame));
}

static void wait_for_ever(void) {
    for (;;) {
        pause();
    }
}

static void frames_send(struct stage *stage, unsigned pause_us) {
    for (uint32_t slot = 0;; slot = (slot + 1) % CAPTURE_SLOTS) {
        struct capture_frame frame = frame_of(stage, slot);
        struct capture_slot back;
        memset(stage->ring + slot * CAPTURE_SLOT_SIZE, 128, RAW);
        hand(&frame);
        if (recv(CAPTURE_FD_SOCKET, &back, sizeof(back), 0) != (ssize_t)sizeof(back)) {
            _exit(0);
        }
        stage->generations[back.slot] = back.generation;
        usleep(pause_us);
    }
}

static void play_honest(struct stage *stage) {
    frames_send(stage, 1000000 / FPS);
}

/* Many more than it is asked for. */
static void play_floods(struct stage *stage) {
    frames_send(stage, 500);
}

static void play_quits(struct stage *stage) {
    (void)stage;
    _exit(7);
}

static void play_crashes(struct stage *stage) {
    (void)stage;
    signal(SIGILL, SIG_DFL);
    raise(SIGILL);
}

static void play_silent(struct stage *stage) {
    (void)stage;
}

static void play_stopped(struct stage *stage) {
    (void)stage;
    raise(SIGSTOP);
}

static void play_short(struct stage *stage) {
    (void)stage;
    say("abc", 3);
}

static void play_strange(struct stage *stage) {
    (void)stage;
    note(4711, 0, "");
}

static void play_slot(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 0);
    frame.slot = 4000000000u;
    hand(&frame);
}

static void play_generation(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 0);
    frame.generation += 1000;
    hand(&frame);
}

static void play_twice(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 1);
    hand(&frame);
    hand(&frame);
}

static void play_size(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 0);
    frame.raw = 0;
    frame.size = UINT64_MAX - 5;
    hand(&frame);
}

static void play_empty(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 0);
    frame.raw = 0;
    frame.size = 0;
    hand(&frame);
}

static void play_shape(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 0);
    frame.width = 640;
    hand(&frame);
}

static void play_huge(struct stage *stage) {
    struct capture_frame frame = frame_of(stage, 0);
    frame.width = frame.height = 4294967295u;
    hand(&frame);
}

static void play_shouts(struct stage *stage) {
    static const char noise[4096] = "no end of it";
    (void)stage;
    while (write(2, noise, sizeof(noise)) > 0) {
    }
}

static void play_tells(struct stage *stage) {
    char text[CAPTURE_TEXT_SIZE];
    snprintf(text, sizeof(text), "%s is the word for %s, see rtsp://%s:%s@there/",
             stage->start.password, stage->start.user, stage->start.user, stage->start.password);
    fprintf(stderr, "%s\n", text);
    note(CAPTURE_END, 0, text);
}

/* Ends before it has read what it was sent: its words must be heard all the same. */
static void play_hasty(struct stage *stage) {
    (void)stage;
    note(CAPTURE_END, 0, "nobody is there");
    _exit(1);
}

/* Says that pictures come, as fast as it can, and never sends one: no fault, but no harm either. */
static void play_chatters(struct stage *stage) {
    (void)stage;
    for (;;) {
        note(CAPTURE_ALIVE, 0, "");
    }
}

struct play {
    const char *name;
    void (*play)(struct stage *stage);
    const char *expected; /* in the camera's last error; NULL: it must not fail */
};

static const struct play plays[] = {
    {"honest", play_honest, NULL},
    {"floods", play_floods, NULL},
    {"quits", play_quits, "ended with code 7"},
    {"crashes", play_crashes, "died of signal 4"},
    {"silent", play_silent, "no picture for 500 ms"},
    {"stopped", play_stopped, "no picture for 500 ms"},
    {"short", play_short, "what is no message"},
    {"strange", play_strange, "what is no message"},
    {"slot", play_slot, "a slot that it does not have"},
    {"generation", play_generation, "a slot that it does not have"},
    {"twice", play_twice, "a slot that it does not have"},
    {"size", play_size, "a size that cannot be"},
    {"empty", play_empty, "a size that cannot be"},
    {"shape", play_shape, "a size that cannot be"},
    {"huge", play_huge, "a size that cannot be"},
    {"shouts", play_shouts, "no picture for 500 ms"},
    {"tells", play_tells, "*** is the word for viewer, see rtsp://***@there/"},
    {"hasty", play_hasty, "nobody is there"},
    {"chatters", play_chatters, NULL},
};

static bool on_stage(void) {
    int type = 0;
    socklen_t size = sizeof(type);
    return getsockopt(CAPTURE_FD_SOCKET, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_SEQPACKET;
}

static int perform(void) {
    static struct stage stage;
    if (recv(CAPTURE_FD_SOCKET, &stage.start, sizeof(stage.start), 0) !=
        (ssize_t)sizeof(stage.start)) {
        return 1;
    }
    const char *name = strrchr(stage.start.url, '/') + 1;
    for (uint32_t i = 0; i < CAPTURE_SLOTS && strcmp(name, "hasty") != 0; i++) {
        struct capture_slot slot;
        if (recv(CAPTURE_FD_SOCKET, &slot, sizeof(slot), 0) != (ssize_t)sizeof(slot)) {
            return 1;
        }
        stage.generations[slot.slot] = slot.generation;
    }
    stage.ring = mmap(NULL, CAPTURE_SLOTS * CAPTURE_SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                      CAPTURE_FD_RING, 0);
    note(CAPTURE_READY, 0, "");
    for (size_t i = 0; i < ARRAY_LENGTH(plays); i++) {
        if (strcmp(plays[i].name, name) == 0) {
            plays[i].play(&stage);
        }
    }
    wait_for_ever();
    return 0;
}

/* ---- the audience ---- */

struct camera {
    struct source *source;
    pthread_mutex_t lock;
    unsigned frames;
};

static void on_submit(void *ctx, struct frame *frame) {
    struct camera *camera = ctx;
    ck_assert_int_eq(frame->format, FRAME_YUV420P);
    ck_assert_uint_eq(frame->record.width, SIDE);
    pthread_mutex_lock(&camera->lock);
    camera->frames++;
    pthread_mutex_unlock(&camera->lock);
    frame_settle(frame, FRAME_REJECTED, NULL);
}

static unsigned frames_of(struct camera *camera) {
    pthread_mutex_lock(&camera->lock);
    unsigned frames = camera->frames;
    pthread_mutex_unlock(&camera->lock);
    return frames;
}

static void open_camera(struct camera *camera, const char *name) {
    char uri[128];
    struct err err = {0};
    pthread_mutex_init(&camera->lock, NULL);
    snprintf(uri, sizeof(uri), "rtsp://viewer:" SECRET "@camera/%s", name);
    struct source_config config = {
        .source = uri, .fps = FPS, .timeout_ms = TIMEOUT_MS, .capture_path = "/proc/self/exe"};
    snprintf(config.name, sizeof(config.name), "%s", name);
    struct source_sink sink = {.ctx = camera, .submit = on_submit};
    int code = source_start(&config, NULL, &sink, &camera->source, &err);
    ck_assert_msg(code == 0, "%s: %s", name, err.msg);
}

static bool found_out(struct camera *cameras) {
    for (size_t i = 0; i < ARRAY_LENGTH(plays); i++) {
        struct source_stats stats;
        source_stats_get(cameras[i].source, &stats);
        if (plays[i].expected != NULL && stats.errors == 0) {
            return false;
        }
    }
    return true;
}

START_TEST(liars_harm_nobody) {
    static struct camera cameras[ARRAY_LENGTH(plays)];
    int64_t began = clock_boot_us();
    for (size_t i = 0; i < ARRAY_LENGTH(plays); i++) {
        open_camera(&cameras[i], plays[i].name);
    }
    int64_t end = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (!found_out(cameras) && clock_boot_us() < end) {
        clock_sleep_ms(20);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(plays); i++) {
        struct source_stats stats;
        source_stats_get(cameras[i].source, &stats);
        const char *expected = plays[i].expected != NULL ? plays[i].expected : "";
        ck_assert_msg(strstr(stats.last_error, expected) != NULL, "%s: '%s' lacks '%s'",
                      plays[i].name, stats.last_error, expected);
        ck_assert_msg(strstr(stats.last_error, SECRET) == NULL, "%s", stats.last_error);
        ck_assert_msg(plays[i].expected != NULL || stats.errors == 0, "%s: %s", plays[i].name,
                      stats.last_error);
    }
    unsigned before = frames_of(&cameras[0]);
    end = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (frames_of(&cameras[0]) < before + FRAMES_AFTER && clock_boot_us() < end) {
        clock_sleep_ms(10);
    }
    ck_assert_uint_ge(frames_of(&cameras[0]), before + FRAMES_AFTER);
    struct source_stats flood;
    source_stats_get(cameras[1].source, &flood);
    double most = 2 + FPS * (2 + 1.25 * (double)(clock_boot_us() - began) / 1e6);
    ck_assert_msg(frames_of(&cameras[1]) <= most, "%u frames, at most %g", frames_of(&cameras[1]),
                  most);
    ck_assert_uint_gt(flood.skipped, 0);
    for (size_t i = 0; i < ARRAY_LENGTH(plays); i++) {
        source_quiesce(cameras[i].source);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(plays); i++) {
        source_stop(cameras[i].source);
    }
}
END_TEST

/* Of the day after tomorrow, by the clock of this place: midnight may pass while this runs. */
static const char *other_day(void) {
    static const char *const names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    time_t now = time(NULL);
    struct tm local;
    ck_assert_ptr_nonnull(localtime_r(&now, &local));
    return names[(local.tm_wday + 2) % 7];
}

START_TEST(schedule_opens_and_closes) {
    struct camera closed = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct camera open = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct source_config config = {.name = "dock",
                                   .source = "rtsp://camera/honest",
                                   .fps = FPS,
                                   .schedule = other_day(),
                                   .capture_path = "/proc/self/exe"};
    struct source_sink sink = {.ctx = &closed, .submit = on_submit};
    struct source_stats stats;
    ck_assert_int_eq(source_start(&config, NULL, &sink, &closed.source, NULL), 0);
    config.schedule = "mon-sun 00:00-24:00";
    sink.ctx = &open;
    ck_assert_int_eq(source_start(&config, NULL, &sink, &open.source, NULL), 0);
    int64_t end = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (frames_of(&open) < FRAMES_AFTER && clock_boot_us() < end) {
        clock_sleep_ms(5);
    }
    source_stats_get(closed.source, &stats);
    ck_assert_uint_ge(frames_of(&open), FRAMES_AFTER);
    ck_assert_uint_eq(frames_of(&closed), 0);
    ck_assert_uint_eq(stats.errors, 0);
    source_stop(open.source);
    source_stop(closed.source);
}
END_TEST

START_TEST(program_that_is_missing) {
    struct source *source = NULL;
    struct camera camera = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct source_config config = {
        .name = "dock", .source = "rtsp://camera/x", .capture_path = "/nonexistent/creel-capture"};
    struct source_sink sink = {.ctx = &camera, .submit = on_submit};
    struct source_stats stats = {0};
    ck_assert_int_eq(source_start(&config, NULL, &sink, &source, NULL), 0);
    int64_t end = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (stats.errors == 0 && clock_boot_us() < end) {
        source_stats_get(source, &stats);
        clock_sleep_ms(5);
    }
    ck_assert_msg(strstr(stats.last_error, "/nonexistent/creel-capture") != NULL, "%s",
                  stats.last_error);
    source_stop(source);
}
END_TEST

int main(void) {
    if (on_stage()) {
        return perform();
    }
    log_set_level(LOG_LEVEL_ERROR);
    Suite *suite = suite_create("inference capture");
    TCase *tests = tcase_create("children");
    tcase_set_timeout(tests, 90);
    tcase_add_test(tests, liars_harm_nobody);
    tcase_add_test(tests, schedule_opens_and_closes);
    tcase_add_test(tests, program_that_is_missing);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
