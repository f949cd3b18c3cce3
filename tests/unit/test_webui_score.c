/* POST /score: its answers, and callers that go or wait. */
#include "tests/unit/score_case.h"

/* ---- the answers ---- */

START_TEST(found) {
    char type[512];
    for (int round = 0; round < 2; round++) {
        pipeline.behaviour = round ? ON_A_THREAD : AT_ONCE;
        pipeline.delay_ms = 30;
        struct case_reply reply = score("", JPEG);
        ck_assert_int_eq(reply.status, 200);
        ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/json");
        ck_assert_str_eq(case_header(&reply, "creel-frame", type), "");
        static const char expected[] =
            "{\"inferences\":["
            "{\"type\":\"entity\",\"entity\":{\"tag\":{\"value\":\"car\",\"confidence\":0.9},"
            "\"box\":{\"l\":0.1,\"t\":0.2,\"w\":0.3,\"h\":0.4}}},"
            "{\"type\":\"entity\",\"entity\":{\"tag\":{\"value\":\"dog\",\"confidence\":0.4},"
            "\"box\":{\"l\":0.7,\"t\":0.7,\"w\":0.3,\"h\":0.3}}}]}";
        ck_assert_uint_eq(reply.body_size, strlen(expected));
        ck_assert_str_eq(reply.body, expected);
        case_reply_finish(&reply);
        ck_assert(pipeline.same_bytes);
        expect_camera("http");
    }
}
END_TEST

START_TEST(parameters) {
    ck_assert_uint_eq(count("?confidence=0"), 3);
    ck_assert_uint_eq(count("?confidence=0.5"), 1);
    ck_assert_uint_eq(count("?confidence=0.9"), 1);
    ck_assert_uint_eq(count("?confidence=0.95"), 0);
    ck_assert_uint_eq(count("?object=dog"), 1);
    ck_assert_uint_eq(count("?object=bird"), 0);
    ck_assert_uint_eq(count("?object=bird,CAR&confidence=0.1"), 1);
    ck_assert_uint_eq(count("?stream=dock-2&unknown=1"), 2);
    expect_camera("dock-2");
    unsigned before = pipeline.frames;
    expect("?confidence=2", JPEG, picture, sizeof(picture), 400, "confidence=");
    expect("?confidence=high", JPEG, picture, sizeof(picture), 400, "confidence=");
    expect("?stream=../etc", JPEG, picture, sizeof(picture), 400, "stream=");
    expect("?wait=forever", JPEG, picture, sizeof(picture), 400, "wait=");
    ck_assert_uint_eq(pipeline.frames, before);
    pipeline.nothing = true;
    ck_assert_uint_eq(count(""), 0);
}
END_TEST

START_TEST(bodies) {
    uint8_t *large = calloc(1, BODY_MAX + 1);
    memcpy(large, picture, sizeof(picture));
    expect("", JPEG, large, BODY_MAX, 200, "car");
    unsigned before = pipeline.frames;
    expect("", JPEG, large, BODY_MAX + 1, 413, "at most 1048576 are taken here (ingest.body_max");
    expect("", JPEG, "", 0, 400, "empty");
    expect("", JPEG, "GIF89a....", 10, 400, "does not begin like");
    expect("", "Content-Type: image/gif\r\n", picture, sizeof(picture), 415, "image/png");
    expect("", "Content-Type: application/x-www-form-urlencoded\r\n", picture, sizeof(picture), 415,
           "image/jpeg");
    expect("", "", "text", 4, 415, "no JPEG, PNG or BMP");
    ck_assert_uint_eq(pipeline.frames, before);
    expect("", "", picture, sizeof(picture), 200, "car");
    expect("", "Content-Type: application/octet-stream\r\n", png, sizeof(png), 200, "car");
    expect("", "Content-Type: IMAGE/PNG; q=1\r\n", png, sizeof(png), 200, "car");
    free(large);
    case_status(port, "GET", "/score", "", 405);
    case_status(port, "GET", "/", "", 200);
    case_status(port, "GET", "/frames/@last", "", 404);
}
END_TEST

/* Raw pixels go on with what the address says of them. */
START_TEST(raw_pixels) {
    static const char raw[] = "Content-Type: image/x-raw\r\n";
    const char *size = "?pixelFormat=yuv420p&width=40&height=33";
    expect(size, raw, picture, sizeof(picture), 200, "car");
    ck_assert_int_eq(pipeline.push.pixels, WEBUI_YUV420P);
    ck_assert_uint_eq(pipeline.push.width, 40);
    ck_assert_uint_eq(pipeline.push.height, 33);
    ck_assert(!pipeline.push.full_range);
    ck_assert(pipeline.same_bytes);
    expect("?pixelFormat=bgr24&width=4&height=4&range=full&stream=raw", raw, "GIF", 3, 200, "car");
    ck_assert_int_eq(pipeline.push.pixels, WEBUI_BGR24);
    ck_assert(pipeline.push.full_range);
    expect("", JPEG, picture, sizeof(picture), 200, "car");
    ck_assert_int_eq(pipeline.push.pixels, WEBUI_FILE);
    unsigned before = pipeline.frames;
    expect("", raw, picture, sizeof(picture), 400, "pixelFormat=");
    expect("?pixelFormat=argb&width=4&height=4", raw, picture, sizeof(picture), 400, "yuv420p");
    ck_assert_uint_eq(pipeline.frames, before);
}
END_TEST

/* Bodies whose size is not what was announced. None becomes a frame of other bytes than were meant,
 * and none does harm to the next request. */
START_TEST(lengths) {
    static const struct {
        const char *headers, *body;
        int status; /* 0: whatever, but no success */
        unsigned frames;
    } cases[] = {
        {"Content-Length: -1\r\n", "\xff\xd8\xff\xe0", 400, 0},
        {"Content-Length: 4x\r\n", "\xff\xd8\xff\xe0", 400, 0},
        {"Content-Length: 99999999999999999999999\r\n", "\xff\xd8\xff\xe0", 0, 0},
        {"Content-Length: 4294967300\r\n", "\xff\xd8\xff\xe0", 413, 0},
        {"Content-Length: 4\r\n", "\xff\xd8\xff\xe0 and more than was announced", 200, 1},
        {"Transfer-Encoding: chunked\r\n", "zz\r\n", 400, 0},
        {"Transfer-Encoding: chunked\r\n", "4\r\n\xff\xd8\xff\xe0xxxx\r\n0\r\n\r\n", 400, 0},
        {"Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n\xff\xd8\xff", 0, 0},
        {"Transfer-Encoding: gzip\r\n", "4\r\n\xff\xd8\xff\xe0\r\n0\r\n\r\n", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[400];
        unsigned before = pipeline.frames;
        snprintf(text, sizeof(text),
                 "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG "%s\r\n%s",
                 cases[i].headers, cases[i].body);
        struct case_reply reply = case_exchange(port, text, strlen(text));
        ck_assert_msg(cases[i].status ? reply.status == cases[i].status : reply.status != 200,
                      "%zu: %s%s", i, cases[i].headers, reply.raw);
        ck_assert_msg(pipeline.frames == before + cases[i].frames, "%zu: %s", i, cases[i].headers);
        case_reply_finish(&reply);
    }
    ck_assert_uint_eq(pipeline.size, 4);
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

/* Bodies that are announced and do not come keep nobody out. */
START_TEST(only_announced) {
    static const char begun[] = "POST /score HTTP/1.1\r\nHost: localhost\r\n" JPEG
                                "Transfer-Encoding: chunked\r\n\r\n3\r\n\xff\xd8\xff\r\n";
    int fds[300]; /* BODY_MAX each would be more than WEBUI__BODIES_MAX */
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], begun, sizeof(begun) - 1);
    }
    ck_assert_uint_eq(count(""), 2);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

/* Those that do come share a bound: of eight that need a quarter of it each, some are told to come
 * again. When they are gone, there is room again. */
START_TEST(bodies_together) {
    enum { PIECE = 33 << 20, COUNT = 8 }; /* a buffer of 64 MiB each */
    char begun[200];
    char *piece = calloc(1, PIECE);
    int fds[COUNT];
    unsigned taken = 0, refused = 0;
    stop();
    start_as(NULL, 64u << 20, 20);
    int size = snprintf(begun, sizeof(begun),
                        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
                        "Content-Length: %d\r\n\r\n",
                        PIECE + 4);
    memcpy(piece, picture, 4);
    for (size_t i = 0; i < COUNT; i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], begun, (size_t)size);
        case_send(fds[i], piece, PIECE);
    }
    for (size_t i = 0; i < COUNT; i++) {
        case_send(fds[i], "last", 4);
        struct case_reply reply = case_receive(fds[i]);
        taken += reply.status == 200;
        refused += reply.status == 503 && strstr(reply.body, "too many bodies");
        case_reply_finish(&reply);
        close(fds[i]);
    }
    free(piece);
    ck_assert_uint_ge(taken, 1);
    ck_assert_uint_ge(refused, 1);
    ck_assert_uint_eq(taken + refused, COUNT);
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

/* What is wrong with the request line and the headers is said before a body is asked for, and a
 * body that comes all the same is not kept. */
START_TEST(refused_early) {
    static const char ask[] = "POST /score?confidence=2 HTTP/1.1\r\nHost: localhost\r\n" JPEG
                              "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n";
    int fd = case_connect(port);
    char text[64] = "";
    case_send(fd, ask, sizeof(ask) - 1);
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 12);
    ck_assert_int_eq(strncmp(text, "HTTP/1.1 400", 12), 0);
    close(fd);
    expect("?confidence=2", JPEG, picture, sizeof(picture), 400, "confidence=");
    expect("?confidence=2", "Content-Type: image/gif\r\n", picture, 0, 400, "confidence=");
    ck_assert_uint_eq(pipeline.frames, 0);
}
END_TEST

/* Chunks, one of which goes over the limit; and a client that asks first. */
START_TEST(framing) {
    static const char chunked[] =
        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
        "Transfer-Encoding: chunked\r\n\r\n"
        "4\r\n\xff\xd8\xff\xe0\r\n6\r\nabcdef\r\n0\r\n\r\n";
    struct case_reply reply = case_exchange(port, chunked, sizeof(chunked) - 1);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_uint_eq(pipeline.size, 10);
    case_reply_finish(&reply);

    static const char ask[] = "POST /score HTTP/1.1\r\nHost: localhost\r\n" JPEG
                              "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    int fd = case_connect(port);
    case_send(fd, ask, sizeof(ask) - 1);
    char text[64] = "";
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 12);
    ck_assert_int_eq(strncmp(text, "HTTP/1.1 413", 12), 0);
    close(fd);

    fd = case_connect(port);
    static const char over[] =
        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
        "Transfer-Encoding: chunked\r\n\r\n110000\r\n\xff\xd8\xff";
    case_send(fd, over, sizeof(over) - 1);
    char *rest = calloc(1, 0x110000);
    memcpy(rest + 0x110000 - 3, "\r\n0", 3);
    case_send(fd, rest, 0x110000 - 3);
    case_send(fd, "\r\n0\r\n\r\n", 7);
    free(rest);
    reply = case_receive(fd);
    close(fd);
    ck_assert_int_eq(reply.status, 413);
    case_reply_finish(&reply);
}
END_TEST

START_TEST(refusals) {
    char after[512];
    static const struct {
        int code, status;
    } cases[] = {{ERR_FULL, 503},  {ERR_CLOSED, 503},  {ERR_TIMEOUT, 503},
                 {ERR_BUSY, 503},  {ERR_INVALID, 400}, {ERR_CRASHED, 500},
                 {ERR_NOMEM, 500}, {ERR_REFUSED, 409}, {ERR_NOT_FOUND, 500}};
    pipeline.reason = "because of \"it\"";
    for (size_t i = 0; i < 2 * ARRAY_LENGTH(cases); i++) {
        size_t at = i / 2;
        pipeline.behaviour = i % 2 ? REFUSE : ON_A_THREAD;
        pipeline.code = cases[at].code;
        struct case_reply reply = score("", JPEG);
        ck_assert_int_eq(reply.status, cases[at].status);
        ck_assert_ptr_nonnull(strstr(reply.body, "because of \\\"it\\\""));
        ck_assert_str_eq(case_header(&reply, "Retry-After", after),
                         cases[at].status == 503 ? "1" : "");
        case_reply_finish(&reply);
    }
}
END_TEST

START_TEST(wait_stored) {
    char id[512];
    pipeline.stored = pipeline.kept = true;
    struct case_reply reply = score("?wait=stored", JPEG);
    ck_assert_int_eq(reply.status, 200);
    ck_assert(pipeline.wait_stored);
    ck_assert_str_eq(case_header(&reply, "creel-frame", id),
                     "11111111-1111-1111-1111-111111111111");
    case_reply_finish(&reply);

    pipeline.nothing = true; /* kept although nothing was found: the id comes all the same */
    reply = score("?wait=stored", JPEG);
    ck_assert_int_eq(reply.status, 204);
    ck_assert_str_eq(case_header(&reply, "creel-frame", id),
                     "11111111-1111-1111-1111-111111111111");
    case_reply_finish(&reply);

    pipeline.nothing = pipeline.stored = pipeline.kept = false; /* not worth keeping */
    reply = score("?wait=stored", JPEG);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_str_eq(case_header(&reply, "creel-frame", id), "");
    case_reply_finish(&reply);

    pipeline.kept = true; /* wanted, and lost */
    expect("?wait=stored", JPEG, picture, sizeof(picture), 503, "not stored");
    expect("", JPEG, picture, sizeof(picture), 200,
           "car"); /* who does not wait does not hear of it */
}
END_TEST

/* ---- callers that go, and verdicts that come late ---- */

START_TEST(aborted) {
    static const char begun[] = "POST /score HTTP/1.1\r\nHost: localhost\r\n" JPEG
                                "Content-Length: 5000\r\n\r\n\xff\xd8\xff";
    for (int i = 0; i < 20; i++) {
        int fd = case_connect(port);
        case_send(fd, begun, sizeof(begun) - 1);
        close(fd);
    }
    int fd = case_connect(port); /* and one that stops sending, but stays */
    case_send(fd, begun, sizeof(begun) - 1);
    struct case_reply reply = case_receive(fd);
    ck_assert_int_ne(reply.status, 200);
    close(fd);
    case_reply_finish(&reply);
    ck_assert_uint_eq(pipeline.frames, 0);
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

static int begin_score(void) {
    char text[200];
    int size = snprintf(text, sizeof(text),
                        "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
                        "Content-Length: %zu\r\n\r\n",
                        sizeof(picture));
    int fd = case_connect(port);
    case_send(fd, text, (size_t)size);
    case_send(fd, picture, sizeof(picture));
    return fd;
}

static void wait_held(size_t count_wanted) {
    for (int i = 0; held() < count_wanted && i < 2000; i++) {
        clock_sleep_ms(5);
    }
    ck_assert_uint_eq(held(), count_wanted);
}

START_TEST(gone) {
    pipeline.behaviour = HOLD;
    for (int i = 0; i < 20; i++) {
        close(begin_score());
    }
    wait_held(20);
    clock_sleep_ms(50);
    give_held();
    pipeline.behaviour = AT_ONCE;
    ck_assert_uint_eq(count(""), 2);
}
END_TEST

/* Many callers wait while others are served: a wait costs no thread. */
START_TEST(patience) {
    int fds[40];
    pipeline.behaviour = HOLD;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = begin_score();
    }
    wait_held(ARRAY_LENGTH(fds));
    clock_sleep_ms(1500); /* longer than request_timeout_s: waiting is not being slow */
    case_status(port, "GET", "/", "", 200);
    give_held();
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 200);
        case_reply_finish(&reply);
        close(fds[i]);
    }
}
END_TEST

START_TEST(shutdown_answers) {
    int fds[10];
    pipeline.behaviour = HOLD;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = begin_score();
    }
    wait_held(ARRAY_LENGTH(fds));
    int64_t begin = clock_boot_us();
    webui_stop(TAKE_PTR(webui));
    ck_assert_int_lt(clock_boot_us() - begin, 2500000);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 503);
        ck_assert_ptr_nonnull(strstr(reply.body, "shutting down"));
        case_reply_finish(&reply);
        close(fds[i]);
    }
    give_held();
    store_close(store);
    case_remove(dir);
    start_with(NULL); /* for the fixture */
}
END_TEST

static void *push_some(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        if (i % 4 == 3) {
            close(begin_score());
        } else {
            ck_assert_uint_eq(count(""), 2);
        }
    }
    return NULL;
}

START_TEST(many) {
    pthread_t threads[8];
    pipeline.behaviour = ON_A_THREAD;
    pipeline.delay_ms = 3;
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, push_some, NULL), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    clock_sleep_ms(100); /* the detached verdicts */
}
END_TEST

START_TEST(token) {
    stop();
    start_with("t0ken");
    char basic[200], base64[HASH_BASE64_SIZE(64)];
    expect("", JPEG, picture, sizeof(picture), 401, "ingest.token");
    expect("", JPEG "Authorization: Bearer t0kenx\r\n", picture, sizeof(picture), 401, "");
    expect("", JPEG "Authorization: Bearer \r\n", picture, sizeof(picture), 401, "");
    ck_assert_uint_eq(pipeline.frames, 0);
    expect("", JPEG "Authorization: Bearer t0ken\r\n", picture, sizeof(picture), 200, "car");
    expect("", JPEG "Prediction-Key: t0ken\r\n", picture, sizeof(picture), 200, "car");
    expect("", JPEG "Prediction-Key: t0kenx\r\n", picture, sizeof(picture), 401, "");
    snprintf(basic, sizeof(basic), JPEG "Authorization: Basic %s\r\n",
             hash_base64("camera:t0ken", 12, base64));
    expect("", basic, picture, sizeof(picture), 200, "car");
    case_status(port, "GET", "/", "", 200);
}
END_TEST

/* A page of another site may make a browser post here; it must not get a frame in. */
START_TEST(other_sites) {
    expect("", "Origin: http://evil.example\r\n", picture, sizeof(picture), 403, "another site");
    ck_assert_uint_eq(pipeline.frames, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui score");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 90);
    tcase_add_checked_fixture(tcase, start, stop);
    TTest const *const tests[] = {
        only_announced, bodies_together, lengths,          found,    parameters,  bodies,
        raw_pixels,     refused_early,   framing,          refusals, wait_stored, aborted,
        gone,           patience,        shutdown_answers, many,     token,       other_sites};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
