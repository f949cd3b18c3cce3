/* config_case: a folder of its own with configuration files in it, and one load of them.
 */
#ifndef CREEL_TESTS_CONFIG_CASE_H
#define CREEL_TESTS_CONFIG_CASE_H

#include "config/config.h"
#include "tests/suite.h"
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CASE_FLAGS_MAX 12

static struct {
    char dir[64];
    char main_path[96];
    char *environment[CASE_FLAGS_MAX + 1];
    const char *flags[CASE_FLAGS_MAX];
    size_t flag_count;
    bool without_secrets;
    struct config *config;
    struct buf problems;
    struct err err;
} box;

static inline void case_begin(void) {
    memset(&box, 0, sizeof(box));
    snprintf(box.dir, sizeof(box.dir), "/tmp/creel-config-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(box.dir));
    snprintf(box.main_path, sizeof(box.main_path), "%s/creel.yaml", box.dir);
    box.problems = (struct buf)BUF_INIT(1u << 20);
}

static inline int case_remove(const char *path, const struct stat *status, int kind,
                              struct FTW *where) {
    (void)status, (void)kind, (void)where;
    return remove(path);
}

static inline void case_end(void) {
    config_destroy(box.config);
    buf_finish(&box.problems);
    nftw(box.dir, case_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Writes `name` in the case's folder, readable for its owner only. */
static inline void case_write_bytes(const char *name, const char *bytes, size_t size) {
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", box.dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fchmod(fileno(file), 0600), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void case_write(const char *name, const char *text) {
    case_write_bytes(name, text, strlen(text));
}

static inline int case_load(const char *yaml) {
    if (yaml != NULL) {
        case_write("creel.yaml", yaml);
    }
    struct config_source source = {.path = box.main_path,
                                   .flags = box.flags,
                                   .flag_count = box.flag_count,
                                   .environment = box.environment,
                                   .without_secrets = box.without_secrets};
    config_destroy(box.config);
    box.config = NULL;
    buf_reset(&box.problems);
    memset(&box.err, 0, sizeof(box.err));
    return config_load(&source, &box.config, &box.problems, &box.err);
}

static inline const char *case_problems(void) {
    return box.problems.len > 0 ? box.problems.data : "";
}

/* Loads what must be right. */
static inline const struct config_values *case_values(const char *yaml) {
    int rc = case_load(yaml);
    ck_assert_msg(rc == 0, "expected no problem, found: %s", case_problems());
    return config_values(box.config);
}

/* Loads what must be wrong in exactly this way; the folder's name is left out of `expected`. */
static inline void case_wrong(const char *yaml, const char *expected) {
    char line[2048];
    int rc = case_load(yaml);
    ck_assert_msg(rc == ERR_CONFIG, "expected \"%s\", found code %d", expected, rc);
    ck_assert_ptr_null(box.config);
    const char *found = case_problems();
    if (strncmp(found, box.dir, strlen(box.dir)) == 0) {
        found += strlen(box.dir) + 1;
    }
    snprintf(line, sizeof(line), "%s\n", expected);
    ck_assert_str_eq(found, line);
}

static inline int case_run(Suite *suite) {
    return suite_run(suite);
}

#endif
