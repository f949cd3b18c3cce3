/* poison: what is set aside is there byte for byte with its reason; the folder stays within its
 * bounds, old ones first; the same bytes are known again; what is not ours is left alone. */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/poison.h"
#include "tests/suite.h"
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[] = "/tmp/creel-poison-XXXXXX";
static char dir[64];
static struct poison *poison;
static struct err err, why;

static void set_up(void) {
    memcpy(root + sizeof(root) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(dir, sizeof(dir), "%s/store/poison", root);
    err_set(&why, ERR_CRASHED, "the frame ended the worker process 2 times");
    ck_assert_int_eq(poison_open(dir, &poison, &err), 0);
}

static void tear_down(void) {
    char command[128];
    poison_close(poison);
    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* `size` bytes that begin with `head` and are like those of no other `number`. */
static struct frame *frame_of(const char *head, size_t size, unsigned number) {
    struct frame *frame = NULL;
    uint8_t *bytes = mem_array(size, 1);
    memcpy(bytes + size - sizeof(number), &number, sizeof(number));
    memcpy(bytes, head, strlen(head));
    ck_assert_int_eq(frame_create("dock", bytes, size, &frame, &err), 0);
    return frame;
}

static void add(const char *head, size_t size, unsigned number, char name[64]) {
    char id[HASH_ID_SIZE];
    struct frame *frame = frame_of(head, size, number);
    poison_add(poison, frame, &why);
    if (name) {
        snprintf(name, 64, "%s", frame_id_format(&frame->record.id, id));
    }
    frame_destroy(frame);
}

static struct poison_stats stats(void) {
    struct poison_stats out;
    poison_stats_get(poison, &out);
    return out;
}

static bool there(const char *name, const char *ending) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s%s", dir, name, ending);
    return access(path, R_OK) == 0;
}

START_TEST(set_aside_whole_and_with_its_reason) {
    char name[64], path[256];
    ck_assert_uint_eq(stats().files, 0);
    ck_assert_int_ne(access(dir, F_OK), 0);
    add("\xff\xd8\xff\xe0", 1000, 1, name);
    add("\x89PNG", 500, 2, NULL);
    add("raw", 500, 3, NULL);
    ck_assert_uint_eq(stats().files, 3);
    ck_assert_uint_eq(stats().bytes, 2000);
    ck_assert_uint_eq(stats().added, 3);
    ck_assert_ptr_nonnull(strstr(stats().last, ".bin"));
    struct buf text = BUF_INIT(4096);
    snprintf(path, sizeof(path), "%s/%s.jpg", dir, name);
    ck_assert_int_eq(fs_read_file(path, &text, &err), 0);
    ck_assert_uint_eq(text.len, 1000);
    ck_assert_mem_eq(text.data, "\xff\xd8\xff\xe0", 4);
    buf_finish(&text);
    text = (struct buf)BUF_INIT(4096);
    snprintf(path, sizeof(path), "%s/%s.txt", dir, name);
    ck_assert_int_eq(fs_read_file(path, &text, &err), 0);
    ck_assert_ptr_nonnull(strstr(text.data, "camera: dock\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "bytes: 1000, as they came\n"));
    ck_assert_ptr_nonnull(strstr(text.data, "2 times"));
    buf_finish(&text);
}
END_TEST

START_TEST(raw_pixels_say_what_they_are) {
    char name[HASH_ID_SIZE], path[256];
    struct frame *frame = NULL;
    struct buf text = BUF_INIT(4096);
    uint8_t *rgb = mem_array(4 * 2, 3);
    memcpy(rgb, "\xff\xd8\xff", 3);
    ck_assert_int_eq(frame_create_raw("dock", FRAME_RGB24, 4, 2, rgb, 24, &frame, &err), 0);
    poison_add(poison, frame, &why);
    ck_assert_ptr_nonnull(strstr(stats().last, ".bin"));
    snprintf(path, sizeof(path), "%s/%s.txt", dir, frame_id_format(&frame->record.id, name));
    ck_assert_int_eq(fs_read_file(path, &text, &err), 0);
    ck_assert_ptr_nonnull(strstr(text.data, "bytes: 24, rgb24, 4x2\n"));
    buf_finish(&text);
    frame_destroy(frame);
}
END_TEST

START_TEST(known_again) {
    add("poison", 100, 1, NULL);
    struct frame *same = frame_of("poison", 100, 1), *other = frame_of("poison", 100, 2),
                 *longer = frame_of("poison", 101, 1);
    ck_assert_int_eq(poison_check(poison, same, &err), ERR_CRASHED);
    ck_assert_ptr_nonnull(strstr(err.msg, dir));
    ck_assert_int_eq(poison_check(poison, other, &err), 0);
    ck_assert_int_eq(poison_check(poison, longer, &err), 0);
    poison_close(poison); /* a restart counts what is there, and tries it once more */
    poison = NULL;
    ck_assert_int_eq(poison_open(dir, &poison, &err), 0);
    ck_assert_uint_eq(stats().files, 1);
    ck_assert_uint_eq(stats().added, 0);
    ck_assert_int_eq(poison_check(poison, same, &err), 0);
    frame_destroy(same);
    frame_destroy(other);
    frame_destroy(longer);
}
END_TEST

/* What has not been masked is not written anywhere. */
START_TEST(private_bytes_stay_out) {
    struct view view = {.privacy = {.count = 1}};
    struct frame *frame = frame_of("\xff\xd8\xff\xe0", 100, 1);
    frame->view = &view;
    poison_add(poison, frame, &why);
    ck_assert_int_ne(access(dir, F_OK), 0);
    ck_assert_uint_eq(stats().added, 1);
    ck_assert_int_eq(poison_check(poison, frame, &err), ERR_CRASHED);
    frame_destroy(frame);
}
END_TEST

START_TEST(never_more_than_the_bounds) {
    char first[64], path[256];
    add("first", 100, 0, first);
    snprintf(path, sizeof(path), "%s/notes-of-a-person.txt", dir);
    ck_assert_int_eq(fs_write_file_atomic(path, "x", 1, 0600, &err), 0);
    for (unsigned i = 1; i <= POISON_FILES_MAX; i++) {
        usleep(1500); /* ids are ordered by the millisecond */
        add("more", 100, i, NULL);
    }
    ck_assert_uint_eq(stats().files, POISON_FILES_MAX);
    ck_assert(!there(first, ".bin") && !there(first, ".txt"));
    usleep(1500);
    char large[64], larger[64];
    add("large", POISON_BYTES_MAX / 2 + 1, 1, large);
    usleep(1500);
    add("large", POISON_BYTES_MAX / 2 + 1, 2, larger);
    ck_assert_uint_le(stats().bytes, POISON_BYTES_MAX);
    ck_assert(!there(large, ".bin") && there(larger, ".bin"));
    ck_assert_int_eq(access(path, R_OK), 0);
}
END_TEST

START_TEST(a_disk_that_takes_nothing_is_survived) {
    struct frame *frame = frame_of("poison", 100, 1);
    snprintf(dir, sizeof(dir), "/proc/creel/poison");
    poison_close(poison);
    poison = NULL;
    ck_assert_int_eq(poison_open(dir, &poison, &err), 0);
    poison_add(poison, frame, &why);
    ck_assert_uint_eq(stats().added, 1);
    ck_assert_uint_eq(stats().files, 0);
    ck_assert_int_eq(poison_check(poison, frame, &err), ERR_CRASHED);
    frame_destroy(frame);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("daemon_poison");
    TCase *tests = tcase_create("poison");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, set_aside_whole_and_with_its_reason);
    tcase_add_test(tests, raw_pixels_say_what_they_are);
    tcase_add_test(tests, known_again);
    tcase_add_test(tests, private_bytes_stay_out);
    tcase_add_test(tests, never_more_than_the_bounds);
    tcase_add_test(tests, a_disk_that_takes_nothing_is_survived);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
