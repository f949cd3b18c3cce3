/* One store, opened with a reader beside it, for suites in which each test has that. */
#ifndef CREEL_TESTS_STORE_OPENED_H
#define CREEL_TESTS_STORE_OPENED_H

#include "tests/unit/store_case.h"

static struct case_dir dir;
static struct store *store;
static struct store_reader *reader;
static struct store_config config;

static inline void open_all(void) {
    store = case_open(&config);
    reader = case_reader(store);
}

static inline void close_all(void) {
    store_reader_close(reader);
    store_close(store);
}

static inline void drop_index(void) {
    char path[512];
    snprintf(path, sizeof(path), "%s/index.db", dir.path);
    ck_assert_int_eq(unlink(path), 0);
}

static inline void reopen(bool without_index) {
    close_all();
    if (without_index) {
        drop_index();
    }
    open_all();
    ck_assert_int_eq(store_flush(store, NULL), 0);
}

/* Frames that a test finds by their number. */
static inline struct frame_id id_of(uint64_t n) {
    struct store_frame frame = case_frame(n, 1);
    struct frame_id id = frame.record.id;
    case_frame_free(&frame);
    return id;
}

#endif
