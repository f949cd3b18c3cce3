/* POST /annotate and /image: pictures with boxes, and Custom Vision's callers. */
#include "tests/unit/score_case.h"

/* ---- pictures with boxes ---- */

static struct case_reply annotate(const char *query) {
    char target[400];
    snprintf(target, sizeof(target), "/annotate%s", query);
    return case_post(port, target, JPEG, picture, sizeof(picture));
}

static void expect_annotate(const char *query, int status, const char *says) {
    struct case_reply reply = annotate(query);
    ck_assert_msg(reply.status == status, "%s: %d\n%s", query, reply.status, reply.raw);
    ck_assert_msg(strstr(reply.body, says) != NULL, "%s", reply.body);
    case_reply_finish(&reply);
}

START_TEST(annotated) {
    char type[512];
    struct case_reply reply = annotate("");
    ck_assert_int_eq(reply.status, 200);
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "image/jpeg");
    ck_assert_str_eq(reply.body, "drawn");
    case_reply_finish(&reply);
    ck_assert(pipeline.push.want_picture && !pipeline.push.wait_stored);
    ck_assert_uint_eq(painter.count, 2);
    expect_annotate("?confidence=0", 200, "drawn");
    ck_assert_uint_eq(painter.count, 3);
    expect_annotate("?object=car", 200, "drawn");
    ck_assert_uint_eq(painter.count, 1);
    expect_annotate("?object=bird", 200, "drawn"); /* nothing to draw: the picture all the same */
    ck_assert_uint_eq(painter.count, 0);
    expect_annotate("?wait=stored", 400, "/score and /image");
    painter.code = ERR_INVALID; /* the pipeline could look at it: not the caller's fault */
    expect_annotate("", 500, "cannot be drawn on");
    unsigned before = painter.drawn;
    pipeline.code = ERR_INVALID;
    pipeline.reason = "a bad picture";
    expect_annotate("", 400, "a bad picture");
    pipeline.code = ERR_FULL;
    pipeline.behaviour = REFUSE;
    expect_annotate("", 503, "a bad picture");
    ck_assert_uint_eq(painter.drawn, before);
    ck_assert(!pipeline.push.wait_stored);
}
END_TEST

static void *annotate_some(void *arg) {
    atomic_uint *counts = arg;
    struct case_reply reply = annotate("");
    counts[reply.status == 200 ? 0 : reply.status == 503 ? 1 : 2]++;
    case_reply_finish(&reply);
    return NULL;
}

/* Few pictures wait to be drawn on; the others are told to come again. Nobody else waits. */
START_TEST(painter_full) {
    pthread_t threads[12];
    atomic_uint counts[3] = {0, 0, 0};
    painter.delay_ms = 400;
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, annotate_some, counts), 0);
    }
    clock_sleep_ms(100);
    ck_assert_uint_eq(count(""), 2);
    ck_assert_uint_eq(painter.drawn, 0);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_ge(counts[0], 4);
    ck_assert_uint_ge(counts[1], 4);
    ck_assert_uint_eq(counts[2], 0);
    ck_assert_uint_eq(painter.drawn, counts[0]);
}
END_TEST

/* Callers that go, and a shutdown, while pictures are drawn and wait for it. */
START_TEST(painter_left) {
    char text[200];
    int size = snprintf(text, sizeof(text),
                        "POST /annotate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JPEG
                        "Content-Length: %zu\r\n\r\n",
                        sizeof(picture));
    int fds[4];
    painter.delay_ms = 1000;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = case_connect(port);
        case_send(fds[i], text, (size_t)size);
        case_send(fds[i], picture, sizeof(picture));
        if (i % 2) {
            close(fds[i]);
        }
    }
    for (int i = 0; pipeline.frames < ARRAY_LENGTH(fds) && i < 2000; i++) {
        clock_sleep_ms(1);
    }
    webui_stop(TAKE_PTR(webui));
    ck_assert_uint_le(painter.drawn, 1);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i += 2) {
        struct case_reply reply = case_receive(fds[i]);
        ck_assert_int_eq(reply.status, 503);
        case_reply_finish(&reply);
        close(fds[i]);
    }
    store_close(store);
    case_remove(dir);
    start_with(NULL); /* for the fixture */
}
END_TEST

/* ---- Custom Vision's callers ---- */

#define FORM "Content-Type: multipart/form-data; boundary=xyz\r\n"

static json_t *image(const char *path, const char *headers, const void *body, size_t size) {
    char type[512];
    struct case_reply reply = case_post(port, path, headers, body, size);
    ck_assert_msg(reply.status == 200, "%s: %s", path, reply.raw);
    ck_assert_str_eq(case_header(&reply, "Content-Type", type), "application/json");
    json_t *json = json_loadb(reply.body, reply.body_size, 0, NULL);
    ck_assert_ptr_nonnull(json);
    case_reply_finish(&reply);
    return json;
}

static size_t predictions(const char *path) {
    json_t *json = image(path, JPEG, picture, sizeof(picture));
    size_t size = json_array_size(json_object_get(json, "predictions"));
    json_decref(json);
    return size;
}

START_TEST(predicted) {
    json_t *json = image("/image", JPEG, picture, sizeof(picture));
    const char *tag = NULL, *id = NULL, *project = NULL, *iteration = NULL, *created = NULL;
    double probability = 0, left = 0, top = 0, width = 0, height = 0;
    json_t *list = json_object_get(json, "predictions");
    ck_assert_uint_eq(json_array_size(list), 3); /* all of them: the caller chooses */
    ck_assert_int_eq(json_unpack(json, "{s:s,s:s,s:s,s:s,s:o!}", "id", &id, "project", &project,
                                 "iteration", &iteration, "created", &created, "predictions",
                                 &list),
                     0);
    ck_assert_str_eq(id, "11111111-1111-1111-1111-111111111111");
    ck_assert_uint_eq(strlen(project), 36);
    ck_assert_int_eq(project[14], '8');
    ck_assert_uint_eq(strlen(iteration), 36);
    ck_assert_str_ne(project, iteration);
    ck_assert_str_eq(created, "1970-01-01T00:00:00.000Z");
    ck_assert_int_eq(json_unpack(json_array_get(list, 0), "{s:f,s:s,s:s,s:{s:f,s:f,s:f,s:f!}!}",
                                 "probability", &probability, "tagId", &id, "tagName", &tag,
                                 "boundingBox", "left", &left, "top", &top, "width", &width,
                                 "height", &height),
                     0);
    ck_assert_str_eq(tag, "car");
    ck_assert(probability == 0.9 && left == 0.1 && top == 0.2 && width == 0.3 && height == 0.4);
    /* a tag keeps its id, and shares it with no other */
    char car[64];
    const char *dogs[2] = {NULL, NULL};
    snprintf(car, sizeof(car), "%s", id);
    for (size_t i = 0; i < 2; i++) {
        json_unpack(json_array_get(list, i + 1), "{s:s}", "tagId", &dogs[i]);
    }
    ck_assert_str_eq(dogs[0], dogs[1]);
    ck_assert_str_ne(dogs[0], car);
    json_decref(json);
    ck_assert_uint_eq(predictions("/image?confidence=0.5"), 1);
    ck_assert_uint_eq(predictions("/image?object=dog"), 2);
    ck_assert_uint_eq(predictions("/image?object=bird"), 0); /* 200 with an empty list */
    ck_assert(!pipeline.push.never_keep);
}
END_TEST

START_TEST(prediction_paths) {
    static const struct {
        const char *path;
        bool whole, forgotten;
    } cases[] = {
        {"/p/image", false, false},
        {"/image/nostore", false, true},
        {"/p/image/nostore", false, true},
        {"/p/detect/iterations/n/image", false, false},
        {"/p/detect/iterations/n/image/nostore", false, true},
        {"/p/classify/iterations/n/image", true, false},
        {"/customvision/v3.0/Prediction/p/classify/iterations/n/image/nostore", true, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *json = image(cases[i].path, JPEG, picture, sizeof(picture));
        json_t *list = json_object_get(json, "predictions");
        ck_assert_uint_eq(json_array_size(list), cases[i].whole ? 2 : 3); /* once a class */
        ck_assert_int_eq(json_is_null(json_object_get(json_array_get(list, 0), "boundingBox")),
                         cases[i].whole);
        ck_assert(pipeline.push.never_keep == cases[i].forgotten);
        json_decref(json);
    }
    unsigned before = pipeline.frames;
    static const char address[] = "{\"url\": \"http://169.254.169.254/metadata\"}";
    static const char *const refused[] = {"/url", "/url/nostore", "/p/detect/iterations/n/url"};
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        struct case_reply reply = case_post(port, refused[i], "Content-Type: application/json\r\n",
                                            address, sizeof(address) - 1);
        ck_assert_int_eq(reply.status, 501);
        ck_assert_ptr_nonnull(strstr(reply.body, "send the picture's bytes to /image"));
        case_reply_finish(&reply);
    }
    case_status(port, "GET", "/image", "", 405);
    case_status(port, "POST", "/imagex", "", 404);
    ck_assert_uint_eq(pipeline.frames, before);
}
END_TEST

static size_t form(char out[3000], const char *name, const char *end) {
    int size = snprintf(out, 3000,
                        "--xyz\r\nContent-Disposition: form-data; name=\"%s\"; "
                        "filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n",
                        name);
    memcpy(out + size, picture, sizeof(picture));
    memcpy(out + size + sizeof(picture), end, strlen(end));
    return (size_t)size + sizeof(picture) + strlen(end);
}

START_TEST(forms) {
    char body[3000];
    size_t size = form(body, "imageData", "\r\n--xyz--\r\n");
    json_decref(image("/image", FORM, body, size));
    ck_assert(pipeline.same_bytes);
    unsigned before = pipeline.frames;
    static const struct {
        const char *path, *name, *end;
        int status;
        const char *says;
    } cases[] = {
        {"/image", "imageData", "\r\n--xy", 400, "cut off"},
        {"/image", "file", "\r\n--xyz--\r\n", 400, "imageData"},
        {"/score", "imageData", "\r\n--xyz--\r\n", 415, "/image takes"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size = form(body, cases[i].name, cases[i].end);
        struct case_reply reply = case_post(port, cases[i].path, FORM, body, size);
        ck_assert_int_eq(reply.status, cases[i].status);
        ck_assert_msg(strstr(reply.body, cases[i].says) != NULL, "%s", reply.body);
        case_reply_finish(&reply);
    }
    ck_assert_uint_eq(pipeline.frames, before);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui image");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 90);
    tcase_add_checked_fixture(tcase, start, stop);
    TTest const *const tests[] = {predicted, prediction_paths, forms,
                                  annotated, painter_full,     painter_left};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
