/* daemon/base: what every other module leans on, with the borders where it would break. */
#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/base/queue.h"
#include "tests/suite.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(err_wraps_outermost_first) {
    struct err err;
    char text[2 * ERR_TEXT_MAX];
    ck_assert_int_eq(err_sys(&err, ENOSPC, "cannot write %s", "a.seg"), ERR_FULL);
    ck_assert_int_eq(err_wrap(&err, "keeping frame %d", 7), ERR_FULL);
    ck_assert_str_eq(err_text(&err, text, sizeof(text)),
                     "keeping frame 7: cannot write a.seg: No space left on device");
    ck_assert_int_eq(err.sys_errno, ENOSPC);
    ck_assert_str_eq(err_name(ERR_CRASHED), "crashed");
    ck_assert_str_eq(err_name(-99), "unknown");
    ck_assert_int_eq(err_set(NULL, ERR_BUSY, "x"), ERR_BUSY);
}
END_TEST

START_TEST(err_texts_are_clean_utf8) {
    struct err err;
    char text[2 * ERR_TEXT_MAX], small[6];
    err_set(&err, ERR_INVALID, "%s",
            "\xe9t\xc3\xa9 \xed\xa0\x80 \xf0\x9f\x90\x9f \x1b[31m\xe2\x82");
    ck_assert_str_eq(err.msg, "?t\xc3\xa9 ??? \xf0\x9f\x90\x9f ?[31m??");
    err_wrap(&err, "a\xffz");
    ck_assert_str_eq(err_text(&err, text, sizeof(text)),
                     "a?z: ?t\xc3\xa9 ??? \xf0\x9f\x90\x9f ?[31m??");
    err_set(&err, ERR_INVALID, "abcd\xc3\xa9");
    ck_assert_str_eq(err_text(&err, small, sizeof(small)), "abcd?");
}
END_TEST

START_TEST(buf_stops_at_its_maximum) {
    struct buf buf = BUF_INIT(8);
    buf_puts(&buf, "12345678");
    ck_assert(!buf.failed);
    buf_puts(&buf, "9");
    ck_assert(buf.failed);
    buf_puts(&buf, "");
    ck_assert_ptr_null(buf_take(&buf, NULL));
    ck_assert_uint_eq(buf.len, 8);
    buf_finish(&buf);
}
END_TEST

START_TEST(buf_escapes) {
    struct buf buf = BUF_INIT(1000);
    buf_puts_html(&buf, "<a href=\"x\">&'");
    ck_assert_str_eq(buf.data, "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    buf_reset(&buf);
    buf_puts_url(&buf, "a/b c%~\xc3\xa9", true);
    ck_assert_str_eq(buf.data, "a/b%20c%25~%C3%A9");
    buf_reset(&buf);
    buf_puts_url(&buf, "a/b", false);
    ck_assert_str_eq(buf.data, "a%2Fb");
    buf_finish(&buf);
}
END_TEST

START_TEST(allocation_fails_on_demand) {
    mem_fail_after(1);
    void *first = mem_alloc(1), *second = mem_alloc(1), *third = mem_alloc(1);
    mem_fail_after(-1);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(third);
    free(first);
    free(third);
    ck_assert_ptr_null(mem_resize(NULL, (size_t)-1 / 2, 3));
}
END_TEST

/* FIPS 180-4's "abc", RFC 4231 case 2, RFC 1321's "abc", the CRC catalogue's check value. */
START_TEST(digests_match_published_vectors) {
    struct frame_hash hash;
    char hex[HASH_HEX_SIZE];
    hash_sha256("abc", 3, &hash);
    ck_assert_str_eq(hash_hex(hash.bytes, 32, hex),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct hash_stream *stream = hash_stream_create();
    hash_stream_add(stream, "a", 1);
    hash_stream_add(stream, "bc", 2);
    struct frame_hash pieces;
    hash_stream_finish(stream, &pieces);
    ck_assert(hash_equal(&pieces, &hash, sizeof(hash)));
    hash_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, &hash);
    ck_assert_str_eq(hash_hex(hash.bytes, 32, hex),
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t md5[HASH_MD5_SIZE];
    hash_md5("abc", 3, md5);
    ck_assert_str_eq(hash_hex(md5, sizeof(md5), hex), "900150983cd24fb0d6963f7d28e17f72");
    ck_assert_uint_eq(hash_crc32("123456789", 9), 0xcbf43926);
}
END_TEST

START_TEST(base64_both_ways) {
    static const char *const texts[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                        "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    char out[64];
    uint8_t bytes[16];
    size_t size;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        ck_assert_str_eq(hash_base64("foobar", i, out), texts[i]);
        ck_assert(hash_parse_base64(texts[i], bytes, sizeof(bytes), &size));
        ck_assert_uint_eq(size, i);
        ck_assert_mem_eq(bytes, "foobar", i);
    }
    ck_assert(!hash_parse_base64("Zm9", bytes, sizeof(bytes), &size));
    ck_assert(!hash_parse_base64("Z===", bytes, sizeof(bytes), &size));
    ck_assert(!hash_parse_base64("Zm9v\n", bytes, sizeof(bytes), &size));
    ck_assert(!hash_parse_base64("Zm9vYmFy", bytes, 5, &size));
    ck_assert_str_eq(hash_base64url("\xfb\xff", 2, out), "-_8");
    ck_assert(hash_parse_base64url("-_8", bytes, sizeof(bytes), &size));
    ck_assert_mem_eq(bytes, "\xfb\xff", 2);
}
END_TEST

START_TEST(ids_sort_by_time_and_survive_text) {
    struct frame_id early, late, back;
    frame_id_create(1700000000000000, &early);
    frame_id_create(1700000000001000, &late);
    ck_assert_int_lt(memcmp(early.bytes, late.bytes, 16), 0);
    ck_assert_uint_eq(early.bytes[6] >> 4, 7);
    ck_assert_uint_eq(early.bytes[8] >> 6, 2);
    char text[HASH_ID_SIZE];
    frame_id_format(&early, text);
    ck_assert(frame_id_parse(text, &back));
    ck_assert_mem_eq(back.bytes, early.bytes, 16);
    text[8] = 'a';
    ck_assert(!frame_id_parse(text, &back));
    ck_assert(!frame_id_parse("", &back));
    ck_assert(!frame_id_parse("018f", &back));
}
END_TEST

START_TEST(times_as_people_write_them) {
    char text[CLOCK_HTTP_SIZE];
    int64_t when = 1795210508123000; /* 2026-11-20T21:35:08.123Z */
    ck_assert_str_eq(clock_format_rfc3339(when, text), "2026-11-20T21:35:08.123Z");
    ck_assert_str_eq(clock_format_http(when, text), "Fri, 20 Nov 2026 21:35:08 GMT");
    ck_assert_int_eq(clock_parse_http(text), when / 1000000 * 1000000);
    ck_assert_str_eq(clock_format_amz(when, text), "20261120T213508Z");
    ck_assert_str_eq(clock_format_date(when, text), "2026-11-20");
    ck_assert_int_eq(clock_parse_rfc3339("2026-11-20T21:35:08.123Z"), when);
    ck_assert_int_eq(clock_parse_rfc3339("2026-11-20"), 1795132800000000);
    ck_assert_int_eq(clock_parse_rfc3339("2026-11-20T21:35:08"), -1);
    ck_assert_int_eq(clock_parse_http("yesterday"), -1);
    ck_assert_str_eq(clock_format_rfc3339(-1, text), "1969-12-31T23:59:59.999Z");
}
END_TEST

static bool even(const void *item) {
    return (size_t)item % 2 == 0;
}

START_TEST(queue_drops_only_what_may_be_dropped) {
    struct queue *queue = queue_create(3);
    void *dropped;
    for (size_t i = 1; i <= 3; i++) {
        ck_assert(queue_try_put(queue, (void *)i));
    }
    ck_assert(!queue_try_put(queue, (void *)4));
    ck_assert(queue_put_dropping(queue, (void *)5, even, &dropped));
    ck_assert_ptr_eq(dropped, (void *)2);
    ck_assert(!queue_put_dropping(queue, (void *)7, even, &dropped));
    queue_close(queue);
    ck_assert(!queue_put(queue, (void *)9));
    ck_assert_ptr_eq(queue_get(queue, -1), (void *)1);
    ck_assert_ptr_eq(queue_get(queue, -1), (void *)3);
    ck_assert_ptr_eq(queue_get(queue, -1), (void *)5);
    ck_assert_ptr_null(queue_get(queue, -1));
    queue_destroy(queue);
}
END_TEST

static uint64_t itself(const void *item) {
    return (size_t)item;
}

START_TEST(queue_counts_weight) {
    struct queue *queue = queue_create_weighed(4, 100, itself);
    void *dropped;
    ck_assert(queue_try_put(queue, (void *)120)); /* alone, what is too heavy passes */
    ck_assert(!queue_try_put(queue, (void *)1));
    ck_assert_ptr_eq(queue_try_get(queue), (void *)120);
    ck_assert(queue_try_put(queue, (void *)40));
    ck_assert(queue_try_put(queue, (void *)20));
    ck_assert(queue_try_put(queue, (void *)39));
    ck_assert(!queue_try_put(queue, (void *)2));
    ck_assert(queue_try_put(queue, (void *)1));
    /* four items that weigh 100: one that weighs 60 needs the place of two */
    ck_assert(!queue_put_dropping(queue, (void *)60, even, &dropped));
    ck_assert_ptr_eq(dropped, (void *)40);
    ck_assert(queue_put_dropping(queue, (void *)60, even, &dropped));
    ck_assert_ptr_eq(dropped, (void *)20);
    ck_assert_uint_eq(queue_length(queue), 3);
    ck_assert(queue_put_dropping(queue, (void *)41, even, &dropped));
    ck_assert_ptr_eq(dropped, (void *)60);
    ck_assert(!queue_put_dropping(queue, (void *)100, even, &dropped)); /* only odd ones left */
    ck_assert_ptr_null(dropped);
    ck_assert_ptr_eq(queue_try_get(queue), (void *)39);
    ck_assert_ptr_eq(queue_try_get(queue), (void *)1);
    ck_assert_ptr_eq(queue_try_get(queue), (void *)41);
    ck_assert(queue_try_put(queue, (void *)99));
    ck_assert_ptr_eq(queue_try_get(queue), (void *)99);
    queue_destroy(queue);
}
END_TEST

static void *put_heavy(void *queue) {
    return (void *)(size_t)queue_put(queue, (void *)80);
}

/* It waits until there is room for its weight. */
START_TEST(queue_waits_for_weight) {
    struct queue *queue = queue_create_weighed(8, 100, itself);
    pthread_t putter;
    ck_assert(queue_try_put(queue, (void *)50));
    ck_assert(queue_try_put(queue, (void *)30));
    pthread_create(&putter, NULL, put_heavy, queue);
    ck_assert_ptr_eq(queue_get(queue, -1), (void *)50);
    ck_assert_ptr_eq(queue_get(queue, -1), (void *)30);
    ck_assert_ptr_eq(queue_get(queue, 10000), (void *)80);
    void *taken;
    pthread_join(putter, &taken);
    ck_assert_ptr_nonnull(taken);
    queue_destroy(queue);
}
END_TEST

#define MOVED 20000

static void *drain(void *arg) {
    size_t sum = 0;
    for (void *item; (item = queue_get(arg, -1));) {
        sum += (size_t)item;
    }
    return (void *)sum;
}

START_TEST(queue_moves_each_item_once) {
    struct queue *queue = queue_create(7);
    pthread_t getters[3];
    for (size_t i = 0; i < ARRAY_LENGTH(getters); i++) {
        pthread_create(&getters[i], NULL, drain, queue);
    }
    for (size_t i = 1; i <= MOVED; i++) {
        ck_assert(queue_put(queue, (void *)i));
    }
    queue_close(queue);
    size_t sum = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(getters); i++) {
        void *part;
        pthread_join(getters[i], &part);
        sum += (size_t)part;
    }
    ck_assert_uint_eq(sum, (size_t)MOVED * (MOVED + 1) / 2);
    queue_destroy(queue);
}
END_TEST

START_TEST(queue_get_gives_up) {
    struct queue *queue = queue_create(1);
    ck_assert_ptr_null(queue_get(queue, 5));
    queue_destroy(queue);
}
END_TEST

static int fault_countdown;

static ssize_t short_pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (fault_countdown++ % 2) {
        errno = EINTR;
        return -1;
    }
    (void)count;
    return pwrite(fd, parts[0].iov_base, parts[0].iov_len > 2 ? 2 : parts[0].iov_len, at);
}

static int full_fsync(int fd) {
    (void)fd;
    errno = ENOSPC;
    return -1;
}

/* A fresh folder in `dir`; remove_scratch deletes it with all that is in it. */
static void make_scratch(char dir[32]) {
    strcpy(dir, "/tmp/creel-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void remove_scratch(const char *dir) {
    nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

START_TEST(writes_survive_short_counts_and_signals) {
    char scratch[32], path[128];
    make_scratch(scratch);
    struct err err;
    snprintf(path, sizeof(path), "%s/a/b", scratch);
    ck_assert_int_eq(fs_mkdirs(path, &err), 0);
    ck_assert_int_eq(fs_mkdirs(path, &err), 0);
    snprintf(path, sizeof(path), "%s/a/b/file", scratch);
    int fd;
    ck_assert_int_eq(fs_open(path, O_RDWR | O_CREAT, 0600, &fd, &err), 0);
    struct fs_ops ops = fs_ops_real;
    ops.pwritev = short_pwritev;
    fs_ops_set(&ops);
    struct iovec parts[] = {{"hello ", 6}, {"", 0}, {"world", 5}};
    ck_assert_int_eq(fs_pwritev_all(fd, parts, 3, 0, path, &err), 0);
    fs_ops_set(NULL);
    char back[11];
    ck_assert_int_eq(fs_pread_all(fd, back, 11, 0, path, &err), 0);
    ck_assert_mem_eq(back, "hello world", 11);
    ck_assert_int_eq(fs_pread_all(fd, back, 2, 10, path, &err), ERR_CORRUPT);
    close(fd);
    ck_assert_int_eq(fs_mkdirs(path, &err), ERR_SYS);
    remove_scratch(scratch);
}
END_TEST

START_TEST(atomic_write_leaves_the_old_file_on_failure) {
    char dir[32], path[128];
    make_scratch(dir);
    snprintf(path, sizeof(path), "%s/state", dir);
    struct err err;
    ck_assert_int_eq(fs_write_file_atomic(path, "old", 3, 0600, &err), 0);
    struct fs_ops ops = fs_ops_real;
    ops.fsync = full_fsync;
    fs_ops_set(&ops);
    ck_assert_int_eq(fs_write_file_atomic(path, "new", 3, 0600, &err), ERR_FULL);
    fs_ops_set(NULL);
    struct buf buf = BUF_INIT(3);
    ck_assert_int_eq(fs_read_file(path, &buf, &err), 0);
    ck_assert_str_eq(buf.data, "old");
    buf_finish(&buf);
    buf.max = 2;
    ck_assert_int_eq(fs_read_file(path, &buf, &err), ERR_FULL);
    buf_finish(&buf);
    strcat(path, ".tmp");
    ck_assert_int_ne(access(path, F_OK), 0);
    remove_scratch(dir);
}
END_TEST

START_TEST(lock_has_one_holder) {
    char dir[32], path[128];
    make_scratch(dir);
    snprintf(path, sizeof(path), "%s/LOCK", dir);
    int first = -1, second = -1;
    struct err err;
    ck_assert_int_eq(fs_lock(path, &first, &err), 0);
    ck_assert_int_eq(fs_lock(path, &second, &err), ERR_BUSY);
    close(first);
    ck_assert_int_eq(fs_lock(path, &second, &err), 0);
    close(second);
    remove_scratch(dir);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("base");
    TCase *tcase = tcase_create("all");
    const TTest *const tests[] = {err_wraps_outermost_first,
                                  err_texts_are_clean_utf8,
                                  buf_stops_at_its_maximum,
                                  buf_escapes,
                                  allocation_fails_on_demand,
                                  digests_match_published_vectors,
                                  base64_both_ways,
                                  ids_sort_by_time_and_survive_text,
                                  times_as_people_write_them,
                                  queue_drops_only_what_may_be_dropped,
                                  queue_counts_weight,
                                  queue_waits_for_weight,
                                  queue_moves_each_item_once,
                                  queue_get_gives_up,
                                  writes_survive_short_counts_and_signals,
                                  atomic_write_leaves_the_old_file_on_failure,
                                  lock_has_one_holder};
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
