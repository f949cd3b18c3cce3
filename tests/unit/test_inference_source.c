/* Sources of any kind: what is refused at the start, and the demo camera. */
#include "tests/unit/inbox_case.h"
#include <turbojpeg.h>

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
        &bad_sources_are_named,
        &starting_survives_a_lack_of_memory,
        &the_demo_camera_sends_different_real_pictures,
        &the_demo_camera_stops_at_once,
    };
    return inbox_suite_run("inference/source", tests, ARRAY_LENGTH(tests));
}
