/* The outbox of a store that is open: remotes, rows, counters. */
#ifndef CREEL_TESTS_STORE_OUTBOX_CASE_H
#define CREEL_TESTS_STORE_OUTBOX_CASE_H

#include "tests/unit/store_opened.h"

#define BLOB 5000

static inline void setup(void) {
    case_dir_make(&dir);
    config = case_config(&dir);
    open_all();
}

static inline void teardown(void) {
    close_all();
    case_fsck(&dir, 0);
    case_dir_remove(dir.path);
}

static inline void declare_as(const char *a, bool a_required, const char *b, bool b_required) {
    struct store_remote remotes[2] = {case_remote(a, a_required)};
    if (b) {
        remotes[1] = case_remote(b, b_required);
    }
    ck_assert_int_eq(store_remotes_set(store, remotes, b ? 2 : 1, NULL), 0);
}

static inline void declare(const char *a, const char *b) {
    declare_as(a, true, b, true);
}

static inline size_t rows_in(const char *remote, enum store_order order,
                             struct store_outbox_row *out, size_t limit) {
    size_t count = 99;
    int64_t next = 0;
    struct err err = {0};
    int code = store_outbox_read(reader, remote, order, limit, out, &count, &next, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
    return count;
}

static inline size_t rows(const char *remote, struct store_outbox_row *out, size_t limit) {
    return rows_in(remote, STORE_OLDEST, out, limit);
}

static inline struct store_remote_counts counts_of(const char *name) {
    struct store_counts counts = case_counts(store);
    for (size_t i = 0; i < counts.remote_count; i++) {
        if (strcmp(counts.remotes[i].name, name) == 0) {
            return counts.remotes[i];
        }
    }
    ck_abort_msg("no counts of %s", name);
}

#endif
