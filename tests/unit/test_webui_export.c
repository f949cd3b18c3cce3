/* Data sets as the gallery's server sends them: each picture once and as it came in, the files of
 * the format behind them, what has left named; bounds, and downloads that stop in the middle. */
#include "tests/unit/webui_case.h"

#define FRAMES    12
#define TAR_BLOCK 512

static char dir[64];
static struct store *store;
static struct webui *webui;
static uint16_t port;
static int open_sets, files_fail;

/* ---- a format that says what it was told ---- */

struct set {
    char text[8192];
    size_t files;
};

static int set_open(void *ctx, const char *format, void **set, struct err *err) {
    (void)ctx;
    if (strcmp(format, "plain") != 0) {
        return err_set(err, ERR_INVALID, "format=%s: expected plain", format);
    }
    *set = calloc(1, sizeof(struct set));
    open_sets++;
    return 0;
}

static int set_add(void *ctx, const struct frame_record *record, char name[WEBUI_FILE_NAME],
                   struct err *err) {
    struct set *set = ctx;
    char hex[HASH_HEX_SIZE];
    (void)err;
    hash_hex(record->blob.bytes, sizeof(record->blob.bytes), hex);
    snprintf(name, WEBUI_FILE_NAME, "pictures/%s.jpg", hex);
    size_t size = strlen(set->text);
    snprintf(set->text + size, sizeof(set->text) - size, "%s\n", hex);
    return 0;
}

static int set_file(void *ctx, char name[WEBUI_FILE_NAME], char **bytes, size_t *size,
                    struct err *err) {
    struct set *set = ctx;
    *bytes = NULL;
    if (files_fail) {
        return err_set(err, ERR_NOMEM, "no memory for the test");
    }
    if (set->files++ == 0) {
        snprintf(name, WEBUI_FILE_NAME, "list.txt");
        *bytes = strdup(set->text);
        *size = strlen(set->text);
    }
    return 0;
}

static void set_close(void *set) {
    open_sets -= set != NULL;
    free(set);
}

static const struct webui_dataset_ops ops = {set_open, set_add, set_file, set_close};
static const struct webui_hooks hooks = {.dataset = &ops};

static void setup(void) {
    struct err err = {0};
    uint16_t none = 0;
    store = case_store_open(dir);
    struct webui_config config = {.listen = "127.0.0.1:0", .request_timeout_s = 2};
    ck_assert_msg(webui_start(&config, store, &hooks, &webui, &err) == 0, "%s", err.msg);
    webui_ports(webui, &port, &none);
    for (unsigned n = 0; n < FRAMES; n++) {
        case_frame_put(store, n, "car");
    }
    ck_assert_msg(store_flush(store, &err) == 0, "%s", err.msg);
}

static void teardown(void) {
    webui_stop(webui);
    store_close(store);
    case_remove(dir);
    ck_assert_int_eq(open_sets, 0);
}

/* ---- what comes ---- */

/* The body of an answer in chunks, put together; false: it ends too early. */
static bool unchunk(struct case_reply *reply) {
    char *from = reply->body, *to = reply->body, *end = reply->body + reply->body_size;
    for (;;) {
        char *after = NULL;
        size_t size = from < end ? strtoul(from, &after, 16) : 0;
        if (from >= end || after == from || after + 2 + size + 2 > end) {
            return false;
        }
        memmove(to, after + 2, size);
        to += size;
        from = after + 2 + size + 2;
        if (size == 0) {
            reply->body_size = (size_t)(to - reply->body);
            return true;
        }
    }
}

struct contents {
    size_t pictures, files;
    char list[8192], left_out[8192];
};

/* Reads a tar by its own description, and checks each picture against its name. */
static struct contents tar_read(const char *tar, size_t size) {
    struct contents out = {0};
    size_t at = 0;
    while (at + TAR_BLOCK <= size && tar[at]) {
        const char *head = tar + at, *bytes = head + TAR_BLOCK;
        size_t length = strtoul(head + 124, NULL, 8);
        unsigned sum = 0;
        for (size_t i = 0; i < TAR_BLOCK; i++) {
            sum += i >= 148 && i < 156 ? ' ' : (unsigned char)head[i];
        }
        ck_assert_uint_eq(sum, strtoul(head + 148, NULL, 8));
        ck_assert_int_eq(memcmp(head + 257,
                                "ustar\0"
                                "00",
                                8),
                         0);
        ck_assert_uint_le(at + TAR_BLOCK + length, size);
        if (strncmp(head, "pictures/", 9) == 0) {
            struct frame_hash hash;
            char hex[HASH_HEX_SIZE];
            hash_sha256(bytes, length, &hash);
            hash_hex(hash.bytes, sizeof(hash.bytes), hex);
            ck_assert_int_eq(strncmp(head + 9, hex, 64), 0);
            out.pictures++;
        } else {
            char *to = strcmp(head, "left-out.txt") == 0 ? out.left_out : out.list;
            ck_assert_uint_lt(length, sizeof(out.list));
            memcpy(to, bytes, length);
            out.files++;
        }
        at += TAR_BLOCK + (length + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    }
    ck_assert_uint_eq(size - at, 2 * TAR_BLOCK);
    return out;
}

static struct contents take(struct case_reply reply) {
    ck_assert_msg(reply.status == 200, "%s", reply.raw);
    ck_assert(unchunk(&reply));
    struct contents out = tar_read(reply.body, reply.body_size);
    case_reply_finish(&reply);
    return out;
}

static struct case_reply post(const char *body) {
    return case_post(port, "/export", "Content-Type: application/x-www-form-urlencoded\r\n", body,
                     strlen(body));
}

static void id_at(unsigned index, char out[HASH_ID_SIZE]) {
    struct store_reader *reader = NULL;
    struct store_page *page = NULL;
    struct store_filter all = {0};
    struct store_cursor start = {0};
    ck_assert_int_eq(store_reader_open(store, &reader, NULL), 0);
    ck_assert_int_eq(store_page_read(reader, &all, &start, FRAMES, 8, &page, NULL), 0);
    ck_assert_uint_lt(index, page->count);
    frame_id_format(&page->rows[index].record.id, out);
    store_page_destroy(page);
    store_reader_close(reader);
}

START_TEST(all_that_a_filter_picks) {
    char value[512];
    struct case_reply reply = case_get(port, "/export?format=plain");
    ck_assert_str_eq(case_header(&reply, "Content-Type", value), "application/x-tar");
    ck_assert_ptr_nonnull(strstr(case_header(&reply, "Content-Disposition", value),
                                 "attachment; filename=\"creel-plain-2"));
    struct contents all = take(reply);
    ck_assert_uint_eq(all.pictures, FRAMES);
    ck_assert_uint_eq(strlen(all.list), FRAMES * 65);
    ck_assert_str_eq(all.left_out, "");
    struct contents gate = take(case_get(port, "/export?camera=gate&format=plain"));
    ck_assert_uint_eq(gate.pictures, FRAMES / 2);
    struct contents none = take(case_get(port, "/export?camera=nobody&format=plain"));
    ck_assert_uint_eq(none.pictures, 0);
    ck_assert_uint_eq(none.files, 1);
}
END_TEST

START_TEST(frames_by_name) {
    char one[HASH_ID_SIZE], two[HASH_ID_SIZE], body[512];
    struct frame_id gone;
    struct store_removal removal;
    id_at(1, one);
    id_at(4, two);
    ck_assert(frame_id_parse(two, &gone));
    snprintf(body, sizeof(body), "format=plain&frames=%s%%2C%s", one, two);
    ck_assert_uint_eq(take(post(body)).pictures, 2);
    /* What has left is named; so is what never was. */
    ck_assert_int_eq(store_remove(store, &gone, 1, true, false, &removal, NULL), 0);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct contents rest = take(post(body));
    ck_assert_uint_eq(rest.pictures, 1);
    ck_assert_ptr_nonnull(strstr(rest.left_out, two));
    ck_assert_ptr_null(strstr(rest.left_out, one));
    ck_assert_uint_eq(take(case_get(port, "/export?format=plain")).pictures, FRAMES - 1);
}
END_TEST

START_TEST(bad_wishes) {
    static const char *const bodies[] = {
        "format=plain", "format=plain&frames=", "format=plain&frames=nonsense", "frames=", ""};
    case_status(port, "GET", "/export", "", 400);
    case_status(port, "GET", "/export?format=zip", "", 400);
    case_status(port, "GET", "/export?format=plain&camera=No%20Camera", "", 400);
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++) {
        struct case_reply reply = post(bodies[i]);
        ck_assert_msg(reply.status == 400, "%s: %s", bodies[i], reply.raw);
        case_reply_finish(&reply);
    }
    /* One more than may be named. */
    size_t room = 1001 * HASH_ID_SIZE + 100, size = 0;
    char *body = malloc(room), one[HASH_ID_SIZE];
    id_at(0, one);
    size += (size_t)snprintf(body, room, "format=plain&frames=");
    for (int i = 0; i < 1001; i++) {
        size += (size_t)snprintf(body + size, room - size, "%s,", one);
    }
    struct case_reply reply = post(body);
    ck_assert_int_eq(reply.status, 400);
    case_reply_finish(&reply);
    free(body);
}
END_TEST

START_TEST(half_a_set_does_not_look_whole) {
    files_fail = 1;
    struct case_reply reply = case_get(port, "/export?format=plain");
    files_fail = 0;
    ck_assert_int_eq(reply.status, 200);
    ck_assert(!unchunk(&reply));
    case_reply_finish(&reply);
}
END_TEST

START_TEST(so_many_at_once) {
    static const char text[] = "GET /export?format=plain HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    int fds[4];
    /* These read nothing: large enough, a set cannot hide in the kernel's buffers. */
    for (unsigned n = FRAMES; n < 1500; n++) {
        case_frame_put(store, n, "car");
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        char first[16];
        int small = 4096;
        fds[i] = case_connect(port);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
        case_send(fds[i], text, sizeof(text) - 1);
        ck_assert_int_gt(recv(fds[i], first, sizeof(first), 0), 0);
    }
    case_status(port, "GET", "/export?format=plain", "", 503);
    case_status(port, "GET", "/", "", 200);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        close(fds[i]);
    }
    /* They have gone, and there is room again. */
    int status = 503;
    for (int i = 0; i < 200 && status == 503; i++) {
        clock_sleep_ms(20);
        struct case_reply reply = case_get(port, "/export?format=plain&camera=nobody");
        status = reply.status;
        case_reply_finish(&reply);
    }
    ck_assert_int_eq(status, 200);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui_export");
    TCase *tcase = tcase_create("export");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, all_that_a_filter_picks);
    tcase_add_test(tcase, frames_by_name);
    tcase_add_test(tcase, bad_wishes);
    tcase_add_test(tcase, half_a_set_does_not_look_whole);
    tcase_add_test(tcase, so_many_at_once);
    suite_add_tcase(suite, tcase);
    return case_run(suite);
}
