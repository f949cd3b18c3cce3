/* What a caller of /score and its kin asks for, and a picture out of a form: pure functions. */
#include "daemon/base/mem.h"
#include "tests/suite.h"
#include "webui/multipart.h"
#include "webui/order.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THRESHOLD 0.25

/* ---- the address and the Content-Type ---- */

/* The parameters as "name=value name=value". */
static const char *arg(void *ctx, const char *name) {
    static char value[1024];
    size_t size = strlen(name);
    for (const char *at = ctx; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (length > size && at[size] == '=' && memcmp(at, name, size) == 0) {
            snprintf(value, sizeof(value), "%.*s", (int)(length - size - 1), at + size + 1);
            return value;
        }
        at += length;
    }
    return "";
}

static int read_order(enum webui__door door, const char *query, const char *type,
                      struct webui__order *out, struct err *err) {
    char copy[2048];
    snprintf(copy, sizeof(copy), "%s", query);
    *out = (struct webui__order){.door = 77};
    return webui__order_read(door, THRESHOLD, arg, copy, type, out, err);
}

START_TEST(defaults) {
    struct webui__order order;
    struct err err = {0};
    ck_assert_int_eq(read_order(DOOR_SCORE, "", "image/jpeg", &order, &err), 0);
    ck_assert_int_eq(order.door, DOOR_SCORE);
    ck_assert(order.threshold == THRESHOLD);
    ck_assert_str_eq(order.classes, "");
    ck_assert_str_eq(order.camera, "http");
    ck_assert(!order.wait_stored && !order.unnamed && !order.full_range);
    ck_assert_int_eq(order.pixels, WEBUI_FILE);
    ck_assert_str_eq(order.boundary, "");
}
END_TEST

START_TEST(everything) {
    struct webui__order order;
    struct err err = {0};
    ck_assert_int_eq(read_order(DOOR_SCORE,
                                "confidence=0.5 object=car,dog stream=dock-2 wait=stored "
                                "pixelFormat=yuv420p width=65500 height=1 range=full other=1",
                                "image/x-raw", &order, &err),
                     0);
    ck_assert(order.threshold == 0.5);
    ck_assert_str_eq(order.classes, "car,dog");
    ck_assert_str_eq(order.camera, "dock-2");
    ck_assert(order.wait_stored && order.full_range);
    ck_assert_int_eq(order.pixels, WEBUI_YUV420P);
    ck_assert_uint_eq(order.width, 65500);
    ck_assert_uint_eq(order.height, 1);
    /* who always says the size may send a picture file all the same */
    ck_assert_int_eq(
        read_order(DOOR_SCORE, "pixelFormat=rgb24 width=4 height=4", "image/jpeg", &order, &err),
        0);
    ck_assert_int_eq(order.pixels, WEBUI_FILE);
    ck_assert_uint_eq(order.width, 0);
    /* and who says nothing of the type, but the pixels, sends pixels */
    ck_assert_int_eq(
        read_order(DOOR_SCORE, "pixelFormat=bgr24 width=4 height=4", NULL, &order, &err), 0);
    ck_assert_int_eq(order.pixels, WEBUI_BGR24);
}
END_TEST

#define RAW "pixelFormat=rgb24 width=4 height=4 "

START_TEST(wrong_orders) {
    static const struct {
        enum webui__door door;
        const char *query, *type;
        int status; /* 0: it is right */
        const char *says;
    } cases[] = {
        {DOOR_SCORE, "confidence=1.01", "image/jpeg", 400, "confidence="},
        {DOOR_SCORE, "confidence=-1", "image/jpeg", 400, "0 to 1"},
        {DOOR_SCORE, "confidence=nan", "image/jpeg", 400, "confidence="},
        {DOOR_SCORE, "stream=Dock", "image/jpeg", 400, "stream="},
        {DOOR_SCORE, "stream=-dock", "image/jpeg", 400, "32 letters"},
        {DOOR_SCORE, "stream=a123456789012345678901234567890123", "image/jpeg", 400, "stream="},
        {DOOR_SCORE, "stream=../../etc", "image/jpeg", 400, "stream="},
        {DOOR_SCORE, "wait=forever", "image/jpeg", 400, "wait="},
        {DOOR_ANNOTATE, "wait=stored", "image/jpeg", 400, "/score and /image"},
        {DOOR_IMAGE, "wait=stored", "image/jpeg", 0, ""},
        {DOOR_SCORE, "pixelFormat=rgb565le width=4 height=4", "image/x-raw", 400, "bgr24"},
        {DOOR_SCORE, "width=4 height=4", "image/x-raw", 400, "pixelFormat="},
        {DOOR_SCORE, "pixelFormat=rgb24 height=4", "image/x-raw", 400, "width="},
        {DOOR_SCORE, "pixelFormat=rgb24 width=4", "image/x-raw", 400, "height="},
        {DOOR_SCORE, "pixelFormat=rgb24 width=0 height=4", "image/x-raw", 400, "width= must"},
        {DOOR_SCORE, "pixelFormat=rgb24 width=4 height=65501", "image/x-raw", 400, "height= must"},
        {DOOR_SCORE, "pixelFormat=rgb24 width=0x4 height=4", "image/x-raw", 400, "width= must"},
        {DOOR_SCORE, RAW "range=tv", "image/x-raw", 400, "range="},
        {DOOR_SCORE, "pixelFormat=rgb24", NULL, 400, "width="},
        {DOOR_SCORE, RAW, "image/x-raw; q=1", 0, ""},
        {DOOR_SCORE, "", "IMAGE/PNG", 0, ""},
        {DOOR_SCORE, "", "image/bmp", 0, ""},
        {DOOR_SCORE, "", "image/x-ms-bmp", 0, ""},
        {DOOR_SCORE, "", "image/gif", 415, "image/x-raw"},
        {DOOR_SCORE, "", "image/jpegx", 415, "image/jpeg"},
        {DOOR_SCORE, "", "image", 415, "image/jpeg"},
        {DOOR_SCORE, "", "application/x-www-form-urlencoded", 415, "image/jpeg"},
        {DOOR_SCORE, "", "multipart/form-data; boundary=b", 415, "/image takes"},
        {DOOR_IMAGE, "", "multipart/form-data; boundary=b", 0, ""},
        {DOOR_IMAGE, "", "multipart/form-data", 400, "boundary="},
        {DOOR_IMAGE, "", "multipart/form-data; boundary=\"\"", 400, "boundary="},
        {DOOR_IMAGE, "", "multipart/mixed; boundary=b", 415, "image/jpeg"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct webui__order order;
        struct err err = {0};
        int code = read_order(cases[i].door, cases[i].query, cases[i].type, &order, &err);
        ck_assert_msg(err.http_status == cases[i].status, "%s %s: %d %s", cases[i].query,
                      cases[i].type ? cases[i].type : "", err.http_status, err.msg);
        ck_assert_int_eq(code, cases[i].status ? ERR_INVALID : 0);
        ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%s: %s", cases[i].query, err.msg);
        ck_assert_int_eq(order.door, cases[i].status ? 77 : cases[i].door); /* only on success */
    }
    char classes[600];
    snprintf(classes, sizeof(classes), "object=%0511d", 0);
    struct webui__order order;
    struct err err = {0};
    ck_assert_int_eq(read_order(DOOR_SCORE, classes, "image/jpeg", &order, &err), 0);
    ck_assert_uint_eq(strlen(order.classes), 511);
    snprintf(classes, sizeof(classes), "object=%0512d", 0);
    ck_assert_int_ne(read_order(DOOR_SCORE, classes, "image/jpeg", &order, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.msg, "object="));
}
END_TEST

/* ---- the body ---- */

START_TEST(bodies) {
    static const char jpeg[] = "\xff\xd8\xff\xe0", gif[] = "GIF89a....";
    struct webui__order file = {.door = DOOR_SCORE};
    struct webui__order unnamed = {.door = DOOR_SCORE, .unnamed = true};
    struct webui__order raw = {.door = DOOR_SCORE, .pixels = WEBUI_RGB24, .width = 1, .height = 1};
    static const struct {
        int order; /* of the three */
        const char *body;
        size_t size;
        int status;
    } cases[] = {
        {0, jpeg, 4, 0},   {0, jpeg, 2, 400}, {0, gif, 10, 400}, {0, "", 0, 400},
        {0, "BM", 2, 0},   {1, "BMP", 3, 0},  {0, "B", 1, 400},  {1, jpeg, 4, 0},
        {1, gif, 10, 415}, {1, "", 0, 400},   {2, gif, 10, 0}, /* daemon's size */
        {2, "", 0, 400},
    };
    const struct webui__order *const orders[] = {&file, &unnamed, &raw};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char body[16];
        struct err err = {0};
        size_t size = cases[i].size;
        memcpy(body, cases[i].body, size);
        int code = webui__order_body(orders[cases[i].order], body, &size, &err);
        ck_assert_int_eq(err.http_status, cases[i].status);
        ck_assert_int_eq(code, cases[i].status ? ERR_INVALID : 0);
        ck_assert_uint_eq(size, cases[i].size);
    }
}
END_TEST

/* ---- forms ---- */

START_TEST(boundaries) {
    static const struct {
        const char *type, *boundary; /* NULL: none */
    } cases[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"multipart/form-data;BOUNDARY=abc", "abc"},
        {"multipart/form-data; charset=utf-8; boundary=\"a b'c\"", "a b'c"},
        {"multipart/form-data; boundary=abc ; x=y", "abc"},
        {"multipart/form-data; boundary=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4"},
        {"multipart/form-data; x=\"; boundary=no\"; boundary=yes", "yes"},
        {"multipart/form-data", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"abc", NULL},
        {"multipart/form-data; boundary=\"abc \"", NULL},
        {"multipart/form-data; boundary=a\tb", NULL},
        {"multipart/form-data; xboundary=abc", NULL},
        {"multipart/form-data; boundary="
         "1234567890123456789012345678901234567890123456789012345678901234567890",
         "1234567890123456789012345678901234567890123456789012345678901234567890"},
        {"multipart/form-data; boundary="
         "12345678901234567890123456789012345678901234567890123456789012345678901",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char boundary[WEBUI__BOUNDARY_SIZE] = "";
        bool found = webui__multipart_boundary(cases[i].type, boundary);
        ck_assert_msg(found == (cases[i].boundary != NULL), "%s: %s", cases[i].type, boundary);
        if (found) {
            ck_assert_str_eq(boundary, cases[i].boundary);
        }
    }
}
END_TEST

#define NAMED "Content-Disposition: form-data; name=\"imageData\"\r\n"

/* The body lies at the end of a block, so that the sanitizers see a read beyond it. */
static const char *find(const char *body, size_t size, char out[256], size_t *out_size) {
    char *copy = malloc(size ? size : 1);
    const char *part = NULL;
    memcpy(copy, body, size);
    const char *fault = webui__multipart_find(copy, size, "b", "imageData", &part, out_size);
    if (!fault) {
        ck_assert(part >= copy && part + *out_size <= copy + size);
        ck_assert_uint_lt(*out_size, 256);
        memcpy(out, part, *out_size);
        out[*out_size] = '\0';
    }
    free(copy);
    return fault;
}

START_TEST(forms) {
    static const struct {
        const char *body, *content; /* content, or what the fault says after a '!' */
    } cases[] = {
        {"--b\r\n" NAMED "\r\nDATA\r\n--b--\r\n", "DATA"},
        {"--b\r\n" NAMED "Content-Type: image/jpeg\r\n\r\nDA\r\n\r\nTA\r\n--b--", "DA\r\n\r\nTA"},
        {"preamble\r\n--b \t\r\n" NAMED "\r\nDATA\r\n--b--", "DATA"},
        {"--b\r\n" NAMED "\r\n\r\n--b--", ""},
        {"--b\r\n" NAMED "\r\n--b--", ""},
        {"--b\r\ncontent-disposition: form-data; filename=\"a;b\"; name=imageData\r\n\r\nDATA\r\n"
         "--b--",
         "DATA"},
        {"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b\r\n" NAMED
         "\r\nDATA\r\n--b--",
         "DATA"},
        {"--b\r\n\r\nno headers\r\n--b\r\n" NAMED "\r\n--x\r\n--b--", "--x"},
        {"--b\r\n" NAMED "\r\nfirst\r\n--b\r\n" NAMED "\r\nsecond\r\n--b--", "first"},
        {"--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"; name=imageData\"\r\n\r\n1"
         "\r\n--b--",
         "!no part named imageData"},
        {"--b\r\nContent-Disposition: form-data; name=\"imagedata\"\r\n\r\n1\r\n--b--",
         "!no part named imageData"},
        {"--b--", "!no part named imageData"},
        {"", "!has no part"},
        {"-", "!has no part"},
        {"DATA", "!has no part"},
        {"x--b\r\n" NAMED "\r\nDATA", "!has no part"},
        {"--b", "!cut off"},
        {"--b\r\n", "!cut off"},
        {"--bc\r\n" NAMED "\r\nDATA\r\n--bc--", "!cut off"},
        {"--b\r\n" NAMED "\r\nDATA", "!cut off"},
        {"--b\r\n" NAMED "\r\nDATA\r\n--", "!cut off"},
        {"--b\r\n" NAMED "\r\n--b\r\n", ""},
        {"--b\r\nContent-Disposition\r\n--b--", "!headers"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char content[256] = "";
        size_t size = 0;
        const char *fault = find(cases[i].body, strlen(cases[i].body), content, &size);
        bool wanted = cases[i].content[0] == '!';
        ck_assert_msg((fault != NULL) == wanted, "%s\n%s", cases[i].body, fault ? fault : content);
        ck_assert_msg(wanted ? strstr(fault, cases[i].content + 1) != NULL
                             : strcmp(content, cases[i].content) == 0,
                      "%s\n%s", cases[i].body, fault ? fault : content);
    }
}
END_TEST

/* A form cut off anywhere, or with a byte changed, is read within its bounds. */
START_TEST(damaged_forms) {
    static const char form[] = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n"
                               "--b\r\n" NAMED "\r\nDATA\r\n--b--\r\n";
    char content[256];
    size_t size = 0;
    for (size_t cut = 0; cut < sizeof(form) - 1; cut++) {
        const char *fault = find(form, cut, content, &size);
        bool enough = cut >= sizeof(form) - 1 - strlen("--\r\n");
        ck_assert_msg(enough == !fault, "%zu: %s", cut, fault ? fault : content);
    }
    for (size_t at = 0; at < sizeof(form) - 1; at++) {
        static const char letters[] = "\0\r\n-:;\"=b\xff";
        for (size_t i = 0; i < sizeof(letters) - 1; i++) {
            char copy[sizeof(form)];
            memcpy(copy, form, sizeof(form));
            copy[at] = letters[i];
            find(copy, sizeof(form) - 1, content, &size);
        }
    }
    char *headers = malloc(20000);
    int length = snprintf(headers, 20000, "--b\r\nX: %04096d\r\n" NAMED "\r\nDATA\r\n--b--", 0);
    const char *fault = find(headers, (size_t)length, content, &size);
    ck_assert_ptr_nonnull(fault);
    ck_assert_ptr_nonnull(strstr(fault, "4096"));
    free(headers);
}
END_TEST

/* The picture is moved to the front of the body. */
START_TEST(form_bodies) {
    struct webui__order order = {.door = DOOR_IMAGE, .boundary = "b"};
    char body[] = "--b\r\n" NAMED "\r\n\xff\xd8\xff\xe0\r\n--b--";
    size_t size = sizeof(body) - 1;
    struct err err = {0};
    ck_assert_int_eq(webui__order_body(&order, body, &size, &err), 0);
    ck_assert_uint_eq(size, 4);
    ck_assert_mem_eq(body, "\xff\xd8\xff\xe0", 4);
    char empty[] = "--b\r\n" NAMED "\r\n\r\n--b--";
    size = sizeof(empty) - 1;
    ck_assert_int_eq(webui__order_body(&order, empty, &size, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "empty"));
    char other[] = "--b\r\nX: y\r\n\r\n1\r\n--b--";
    size = sizeof(other) - 1;
    ck_assert_int_eq(webui__order_body(&order, other, &size, &err), ERR_INVALID);
    ck_assert_int_eq(err.http_status, 400);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui order");
    TCase *tcase = tcase_create("all");
    TTest const *const tests[] = {defaults,   everything, wrong_orders,  bodies,
                                  boundaries, forms,      damaged_forms, form_bodies};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
