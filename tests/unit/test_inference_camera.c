/* What is pure about cameras: addresses and what is hidden of them, schedules, the motion gate, and
 * what the configuration may say. */
#include "daemon/base/mem.h"
#include "inference/motion.h"
#include "inference/schedule.h"
#include "inference/source.h"
#include "inference/source_url.h"
#include "tests/suite.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- addresses ---- */

START_TEST(addresses_are_taken_apart) {
    static const struct {
        const char *text, *plain, *user, *password;
    } rows[] = {
        {"rtsp://host/path", "rtsp://host/path", "", ""},
        {"rtsp://u:p@host:554/path", "rtsp://host:554/path", "u", "p"},
        {"rtsp://u:p%40s%3as@host/", "rtsp://host/", "u", "p@s:s"},
        {"http://u:p@ss@host/a@b?c=d", "http://host/a@b?c=d", "u", "p@ss"},
        {"http://u@host/", "http://host/", "u", ""},
        {"http://:p@host/", "http://host/", "", "p"},
        {"http://u:100%@host/", "http://host/", "u", "100%"},
        {"http://u:a%4@host/", "http://host/", "u", "a%4"},
        {"rtsp://u:p@[2001:db8::1]:554/x", "rtsp://[2001:db8::1]:554/x", "u", "p"},
        {"/dev/video0", "/dev/video0", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct source__url url;
        struct err err = {0};
        ck_assert_msg(source__url_parse(rows[i].text, NULL, NULL, &url, &err) == 0, "%s", err.msg);
        ck_assert_str_eq(url.plain, rows[i].plain);
        ck_assert_str_eq(url.user, rows[i].user);
        ck_assert_str_eq(url.password, rows[i].password);
    }
}
END_TEST

START_TEST(addresses_that_cannot_be) {
    static char longest[CAPTURE_URL_SIZE + 64] = "rtsp://host/";
    memset(longest + 12, 'a', CAPTURE_URL_SIZE);
    static char secret[CAPTURE_SECRET_SIZE + 64] = "rtsp://u:";
    memset(secret + 9, 's', CAPTURE_SECRET_SIZE);
    memcpy(secret + 9 + CAPTURE_SECRET_SIZE, "@h/", 4);
    const char *bad[] = {"rtsp://",       "rtsp://u:p@/x",     "rtsp:///x", "http://ho st/",
                         "http://h/\x01", "http://u:a%00b@h/", longest,     secret};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct source__url url;
        struct err err = {0};
        ck_assert_msg(source__url_parse(bad[i], NULL, NULL, &url, &err) == ERR_CONFIG, "%s",
                      bad[i]);
        ck_assert_msg(strstr(err.msg, "ssss") == NULL && strstr(err.msg, "u:p") == NULL, "%s",
                      err.msg);
    }
}
END_TEST

START_TEST(secrets_are_scrubbed) {
    static const struct {
        const char *line, *scrubbed;
    } rows[] = {
        {"cannot open rtsp://u:p%40ss@host/x: refused", "cannot open rtsp://***@host/x: refused"},
        {"the word p@ss and p%40ss", "the word *** and ***"},
        {"GET /x?token=abc HTTP", "GET /x?*** HTTP"},
        {"Basic p@ssp@ss", "Basic ******"},
        {"cut at p@s", "cut at ***"},
        {"nothing of the kind", "nothing of the kind"},
        {"two: http://a:b@c/ and http://d@e/", "two: http://***@c/ and http://***@e/"},
    };
    struct source__url url;
    ck_assert_int_eq(source__url_parse("rtsp://u:p%40ss@host/x?token=abc", NULL, NULL, &url, NULL),
                     0);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char line[256];
        snprintf(line, sizeof(line), "%s", rows[i].line);
        source__url_scrub(&url, line, sizeof(line));
        ck_assert_str_eq(line, rows[i].scrubbed);
    }
}
END_TEST

/* A mask is longer than a short password: what finds no room is cut off, never written. */
START_TEST(scrubbing_stays_in_its_room) {
    struct source__url url;
    ck_assert_int_eq(source__url_parse("http://h/", "u", "x", &url, NULL), 0);
    for (size_t size = 1; size < 16; size++) {
        char line[24];
        memset(line, '#', sizeof(line));
        memset(line, 'x', size - 1);
        line[size - 1] = '\0';
        source__url_scrub(&url, line, size);
        ck_assert_uint_lt(strlen(line), size);
        ck_assert_int_eq(line[size], '#');
        ck_assert_ptr_null(strchr(line, 'x'));
    }
}
END_TEST

START_TEST(people_see_no_password) {
    static const struct {
        const char *uri, *shown;
    } rows[] = {
        {"rtsp://u:p@host/x", "rtsp://***@host/x"},
        {"snapshot:http://h/p.jpg?user=u&pwd=p", "snapshot:http://h/p.jpg?***"},
        {"directory:/srv/what?", "directory:/srv/what?"},
        {"demo:7", "demo:7"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char shown[128];
        ck_assert_str_eq(source_redact(rows[i].uri, shown, sizeof(shown)), rows[i].shown);
    }
}
END_TEST

/* ---- schedules ---- */

enum { SUN, MON, TUE, WED, THU, FRI, SAT };

static bool is_open(const char *text, int day, int hour, int minute) {
    struct schedule schedule;
    struct err err = {0};
    ck_assert_msg(schedule_parse(text, &schedule, &err) == 0, "%s", err.msg);
    return schedule_open(&schedule, day, hour * 60 + minute);
}

START_TEST(schedules_open_and_close) {
    static const char week[] = "mon-fri 07:00-19:00, sat 08:00-12:00";
    ck_assert(is_open(week, MON, 7, 0));
    ck_assert(!is_open(week, MON, 6, 59));
    ck_assert(is_open(week, FRI, 18, 59));
    ck_assert(!is_open(week, FRI, 19, 0));
    ck_assert(is_open(week, SAT, 11, 59));
    ck_assert(!is_open(week, SAT, 12, 0));
    ck_assert(!is_open(week, SUN, 9, 0));
    ck_assert(is_open("fri 22:00-06:00", FRI, 23, 0));
    ck_assert(is_open("fri 22:00-06:00", SAT, 5, 59));
    ck_assert(!is_open("fri 22:00-06:00", SAT, 6, 0));
    ck_assert(!is_open("fri 22:00-06:00", FRI, 5, 0));
    ck_assert(is_open("sat-mon", SUN, 0, 0));
    ck_assert(!is_open("sat-mon", TUE, 0, 0));
    ck_assert(is_open("Daily 00:00-24:00", WED, 23, 59));
    ck_assert(is_open("22:00-06:00", WED, 5, 59)); /* of all days */
    ck_assert(!is_open("22:00-06:00", WED, 21, 59));
    ck_assert(is_open("", THU, 3, 0));
    ck_assert(is_open(NULL, THU, 3, 0));
}
END_TEST

START_TEST(schedules_go_by_the_clock_on_the_wall) {
    const int64_t noon_us = INT64_C(1700049600) * 1000000; /* 2023-11-15T12:00:00Z, a Wednesday */
    struct schedule schedule;
    setenv("TZ", "XXX-05:30", 1); /* where it is 17:30 then */
    tzset();
    ck_assert_int_eq(schedule_parse("wed 17:30-18:00", &schedule, NULL), 0);
    ck_assert(schedule_open_at(&schedule, noon_us));
    ck_assert(!schedule_open_at(&schedule, noon_us - 1000000));
}
END_TEST

START_TEST(schedules_that_cannot_be) {
    static const char *const bad[] = {"monday",
                                      "mon-",
                                      "mon 7-19",
                                      "mon 07:00",
                                      "mon 25:00-26:00",
                                      "mon 07:60-08:00",
                                      "mon 07:00-24:01",
                                      "mon 07:00-07:00",
                                      "mon 07:00-19:00 sat",
                                      "always",
                                      "mon-fry 07:00-08:00"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct schedule schedule;
        struct err err = {0};
        ck_assert_msg(schedule_parse(bad[i], &schedule, &err) == ERR_CONFIG, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(err.msg, "such as"));
    }
}
END_TEST

/* ---- motion ---- */

enum { WIDTH = 320, HEIGHT = 180 };

static void paint(uint8_t *luma, uint8_t value, uint32_t width, uint32_t height) {
    for (uint32_t y = 0; y < height; y++) {
        memset(luma + y * WIDTH, value, width);
    }
}

START_TEST(motion_is_seen) {
    static uint8_t luma[WIDTH * HEIGHT];
    struct motion motion = {0};
    paint(luma, 100, WIDTH, HEIGHT);
    ck_assert(motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.05));
    ck_assert(!motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.05));
    paint(luma, 105, WIDTH, HEIGHT); /* noise */
    ck_assert(!motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.05));
    paint(luma, 200, WIDTH / 8, HEIGHT / 8); /* 1.6 % of the picture */
    ck_assert(!motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.05));
    ck_assert(motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.01));
    ck_assert(!motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.01));
}
END_TEST

START_TEST(slow_changes_add_up) {
    static uint8_t luma[WIDTH * HEIGHT];
    struct motion motion = {0};
    unsigned passed = 0;
    for (int value = 0; value < 200; value++) {
        paint(luma, (uint8_t)value, WIDTH, HEIGHT);
        passed += motion_passes(&motion, luma, WIDTH, WIDTH, HEIGHT, 0.5);
    }
    ck_assert_uint_eq(passed, 1 + 199 / (MOTION_STEP + 1));
}
END_TEST

START_TEST(pictures_of_any_size_have_motion) {
    for (uint32_t width = 1; width < 70; width += 3) {
        for (uint32_t height = 1; height < 50; height += 7) {
            CLEANUP(mem_free_at) uint8_t *luma = mem_array(width, height);
            struct motion motion = {0};
            ck_assert(motion_passes(&motion, luma, width, width, height, 1));
            memset(luma, 255, (size_t)width * height);
            ck_assert(motion_passes(&motion, luma, width, width, height, 1));
        }
    }
}
END_TEST

/* ---- configuration ---- */

START_TEST(cameras_are_checked) {
    static const struct {
        struct source_config config;
        const char *expected; /* NULL: fine */
    } rows[] = {
        {{.source = "rtsp://u:p@h/x", .fps = 2, .size = "1280x720", .motion = 0.1}, NULL},
        {{.source = "rtmp://0.0.0.0:1935/live/x", .rtmp = SOURCE_RTMP_LISTEN}, NULL},
        {{.source = "https://h/x", .schedule = "mon-fri 07:00-19:00"}, NULL},
        {{.source = "snapshot:https://h/x.jpg", .user = "u", .password = "p"}, NULL},
        {{.source = "v4l2:/dev/video0"}, NULL},
        {{.source = "video:/srv/film.mp4", .loop = true}, NULL},
        {{.source = "video:film.mp4"}, "absolute path"},
        {{.source = "v4l2:video0"}, "/dev/video0"},
        {{.source = "snapshot:ftp://h/x.jpg"}, "http://"},
        {{.source = "rtsp://"}, "no host"},
        {{.source = "rtsps://h/x", .tls_any = true}, NULL},
        {{.source = "rtsps://h/x"}, "set tls: any"},
        {{.source = "rtsp://h/x", .loop = true}, "loop is for 'video:'"},
        {{.source = "http://h/x", .rtmp = SOURCE_RTMP_LISTEN}, "for 'rtmp://'"},
        {{.source = "rtsp://h/x", .size = "720p"}, "1280x720"},
        {{.source = "rtsp://h/x", .size = "1280x720x3"}, "1280x720"},
        {{.source = "rtsp://h/x", .size = "8x8"}, "1280x720"},
        {{.source = "rtsp://h/x", .motion = 1.5}, "0 to 1"},
        {{.source = "rtsp://h/x", .fps = 1000}, "at most 240"},
        {{.source = "rtsp://h/x", .schedule = "never"}, "such as"},
        {{.source = "demo:", .motion = 0.1}, "motion is for cameras"},
        {{.source = "demo:", .schedule = "mon"}, "schedule is for cameras"},
        {{.source = "directory:/srv", .size = "64x64"}, "size is for cameras"},
        {{.source = "directory:/srv", .user = "u"}, "user and password are for cameras"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct source_config config = rows[i].config;
        struct err err = {0};
        snprintf(config.name, sizeof(config.name), "dock");
        int code = source_check(&config, &err);
#if !defined(HAVE_FFMPEG)
        if (strncmp(config.source, "demo", 4) != 0 && strncmp(config.source, "direc", 5) != 0) {
            ck_assert_int_eq(code, ERR_CONFIG);
            ck_assert_ptr_nonnull(strstr(err.msg, "built without them"));
            continue;
        }
#endif
        char text[2 * ERR_TEXT_MAX];
        err_text(&err, text, sizeof(text));
        ck_assert_msg(code == (rows[i].expected ? ERR_CONFIG : 0), "%s: %s", config.source, text);
        ck_assert_msg(!rows[i].expected || strstr(text, rows[i].expected), "%s: %s", config.source,
                      text);
        ck_assert_msg(!rows[i].expected || strstr(text, "camera dock"), "%s", text);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference camera");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, addresses_are_taken_apart);
    tcase_add_test(tests, addresses_that_cannot_be);
    tcase_add_test(tests, secrets_are_scrubbed);
    tcase_add_test(tests, scrubbing_stays_in_its_room);
    tcase_add_test(tests, people_see_no_password);
    tcase_add_test(tests, schedules_open_and_close);
    tcase_add_test(tests, schedules_go_by_the_clock_on_the_wall);
    tcase_add_test(tests, schedules_that_cannot_be);
    tcase_add_test(tests, motion_is_seen);
    tcase_add_test(tests, slow_changes_add_up);
    tcase_add_test(tests, pictures_of_any_size_have_motion);
    tcase_add_test(tests, cameras_are_checked);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
