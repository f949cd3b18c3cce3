/* state.db: its backup, its daily copy, and what happens when it is damaged. */
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include <fcntl.h>
#include <utime.h>

static struct case_dir dir;

static void setup(void) {
    case_dir_make_fast(&dir);
}

static void teardown(void) {
    case_dir_remove(dir.path);
}

static const char *path_of(const char *name) {
    static char path[400];
    snprintf(path, sizeof(path), "%s/%s", dir.path, name);
    return path;
}

static void state_say(struct store *store, const char *value) {
    ck_assert_int_eq(store_state_put(store, "test", "key", 3, value, strlen(value), NULL), 0);
}

static void state_check(struct store *store, const char *wanted) {
    char value[64] = "";
    size_t size = 0;
    ck_assert_int_eq(store_state_get(store, "test", "key", 3, value, sizeof(value), &size, NULL),
                     0);
    ck_assert_msg(size == strlen(wanted) && memcmp(value, wanted, size) == 0, "%.*s", (int)size,
                  value);
}

static void wait_for(const char *name) {
    for (int i = 0; i < 1000 && access(path_of(name), F_OK) < 0; i++) {
        usleep(10000);
    }
    ck_assert_int_eq(access(path_of(name), F_OK), 0);
}

static void damage(void) {
    int fd = open(path_of("state.db"), O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    uint8_t *garbage = case_blob(7, 4096);
    ck_assert_int_eq(pwrite(fd, garbage, 4096, 0), 4096);
    free(garbage);
    close(fd);
}

START_TEST(the_daily_copy_takes_the_place_of_a_damaged_one) {
    struct store_config config = case_config(&dir);
    struct store_stats stats;
    struct store *store = case_open(&config);
    state_say(store, "yesterday");
    store_close(store);
    unlink(path_of("state.db.bak"));
    store = case_open(&config); /* its first upkeep lays the copy */
    wait_for("state.db.bak");
    state_say(store, "today");
    store_close(store);
    damage();
    store = case_open(&config);
    state_check(store, "yesterday");
    store_stats_get(store, &stats);
    ck_assert_ptr_nonnull(strstr(stats.last_error, "state.db was damaged"));
    ck_assert_int_eq(access(path_of("state.db.damaged"), F_OK), 0);
    state_say(store, "on we go");
    store_close(store);
    store = case_open(&config);
    state_check(store, "on we go");
    store_close(store);
    case_fsck(&dir, 0);
}
END_TEST

START_TEST(a_copy_is_made_anew_after_a_day) {
    struct store_config config = case_config(&dir);
    struct stat before, after;
    store_close(case_open(&config));
    struct store *store = case_open(&config);
    wait_for("state.db.bak");
    store_close(store);
    struct utimbuf old = {.actime = time(NULL) - 90000, .modtime = time(NULL) - 90000};
    ck_assert_int_eq(utime(path_of("state.db.bak"), &old), 0);
    ck_assert_int_eq(stat(path_of("state.db.bak"), &before), 0);
    store = case_open(&config);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(stat(path_of("state.db.bak"), &after), 0);
        if (after.st_mtim.tv_sec != before.st_mtim.tv_sec) {
            break;
        }
        usleep(10000);
    }
    ck_assert_int_gt(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    store_close(store);
}
END_TEST

START_TEST(without_a_copy_it_is_said_and_left) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    struct err err = {0};
    store_close(store);
    unlink(path_of("state.db.bak"));
    damage();
    ck_assert_int_eq(store_open(&config, &store, &err), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no copy"));
    ck_assert_int_ne(access(path_of("state.db.damaged"), F_OK), 0);
}
END_TEST

START_TEST(a_backup_is_a_database_of_that_moment) {
    struct store_config config = case_config(&dir);
    struct store *store = case_open(&config);
    CLEANUP(mem_free_at) uint8_t *bytes = NULL;
    size_t size = 0;
    state_say(store, "then");
    ck_assert_int_eq(store_state_backup(store, &bytes, &size, NULL), 0);
    state_say(store, "now");
    store_close(store);
    unlink(path_of("state.db-wal"));
    ck_assert_int_eq(fs_write_file_atomic(path_of("state.db"), bytes, size, 0600, NULL), 0);
    store = case_open(&config);
    state_check(store, "then");
    store_close(store);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_state");
    TCase *tests = tcase_create("state");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, the_daily_copy_takes_the_place_of_a_damaged_one);
    tcase_add_test(tests, a_copy_is_made_anew_after_a_day);
    tcase_add_test(tests, without_a_copy_it_is_said_and_left);
    tcase_add_test(tests, a_backup_is_a_database_of_that_moment);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
