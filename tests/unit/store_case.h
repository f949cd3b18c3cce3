/* What the tests of the store share: a directory that goes away, frames that can be told apart and
 * made again, and acknowledgements that can be waited for.
 */
#ifndef CREEL_TESTS_STORE_CASE_H
#define CREEL_TESTS_STORE_CASE_H

#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/store.h"
#include <check.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct case_dir {
    char path[256];
};

static inline int case_remove(const char *path, const struct stat *info, int type,
                              struct FTW *where) {
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void case_dir_remove(const char *path) {
    nftw(path, case_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void case_dir_make(struct case_dir *dir) {
    const char *base = getenv("TMPDIR");
    snprintf(dir->path, sizeof(dir->path), "%s/creel-store-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir->path));
}

/* In memory where the host has that: for tests of what a killed process leaves, not of the disk. */
static inline void case_dir_make_fast(struct case_dir *dir) {
    snprintf(dir->path, sizeof(dir->path), "/dev/shm/creel-store-XXXXXX");
    if (!mkdtemp(dir->path)) {
        case_dir_make(dir);
    }
}

static inline struct store_config case_config(const struct case_dir *dir) {
    return (struct store_config){.dir = dir->path, .segment_bytes = 1u << 20, .index_floor = 0.25};
}

static inline struct store *case_open(const struct store_config *config) {
    struct store *store = NULL;
    struct err err = {0};
    int code = store_open(config, &store, &err);
    ck_assert_msg(code == 0, "store_open: %s: %s", err.msg, err.cause);
    return store;
}

static inline struct store_reader *case_reader(struct store *store) {
    struct store_reader *reader = NULL;
    struct err err = {0};
    ck_assert_msg(store_reader_open(store, &reader, &err) == 0, "%s", err.msg);
    return reader;
}

/* The bytes of blob `n`, always the same: `size` of them. */
static inline uint8_t *case_blob(uint64_t n, size_t size) {
    uint8_t *bytes = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(bytes);
    uint64_t state = n * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (uint8_t)state;
    }
    return bytes;
}

#define CASE_T0 INT64_C(1795262400000000) /* 2026-11-21T12:00:00Z */

/* Frame `n`: id, time, value and detections follow from n. Even ones are annotated. */
static inline struct store_frame case_frame(uint64_t n, size_t size) {
    struct store_frame frame = {0};
    struct frame_record *record = &frame.record;
    memset(record->id.bytes, 0, sizeof(record->id.bytes));
    memcpy(record->id.bytes + 8, &n, sizeof(n));
    record->id.bytes[6] = 0x70;
    clock_stamp_now(&record->captured);
    record->captured.utc_us = CASE_T0 + (int64_t)n * 1000000;
    record->captured.state = CLOCK_SYNCHRONISED;
    memset(record->captured.boot_id, 0x5a, 16); /* of another boot: not our clock's time */
    snprintf(record->camera, sizeof(record->camera), "cam%d", (int)(n % 3));
    record->media = MEDIA_JPEG;
    record->width = 640;
    record->height = 480;
    record->orientation = 1;
    record->masked = n % 5 == 4;
    record->blob_bytes = size;
    memset(record->model.bytes, 7, sizeof(record->model.bytes));
    snprintf(record->model_name, sizeof(record->model_name), "demo");
    snprintf(record->model_version, sizeof(record->model_version), "1");
    record->tier = n % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED;
    snprintf(record->rule, sizeof(record->rule), "%s", n % 2 ? "unsure" : "confident");
    record->value = (double)(n % 100) / 100;
    record->phash = n * 31;
    record->quality = (struct frame_quality){0.5f, 0.25f, 12.5f};
    record->detection_count = 3;
    record->detections = calloc(3, sizeof(*record->detections));
    ck_assert_ptr_nonnull(record->detections);
    static const char *const labels[] = {"boat", "gull", "crab", "buoy"};
    for (size_t i = 0; i < 3; i++) {
        struct frame_detection *detection = &record->detections[i];
        detection->box = (struct frame_box){0.1 * (double)i, 0.25, 1.0 / 3, 0.5};
        detection->confidence = i == 2 ? 0.1f : 0.9f - 0.3f * (float)i;
        detection->class_index = (uint16_t)((n + i) % 4);
        detection->tag = i == 1;
        snprintf(detection->label, sizeof(detection->label), "%s", labels[(n + i) % 4]);
    }
    frame.blob = case_blob(n, size);
    return frame;
}

static inline void case_frame_free(struct store_frame *frame) {
    free(frame->record.detections);
    free(frame->blob);
    free(frame->thumb);
}

/* Waits for one acknowledgement. */
struct case_wait {
    pthread_mutex_t lock;
    pthread_cond_t rang;
    bool done;
    struct store_ack ack;
};

static inline void case_rang(void *ctx, const struct store_ack *ack) {
    struct case_wait *wait = ctx;
    pthread_mutex_lock(&wait->lock);
    wait->ack = *ack;
    wait->done = true;
    pthread_cond_signal(&wait->rang);
    pthread_mutex_unlock(&wait->lock);
}

static inline struct store_ack case_put_frame(struct store *store, struct store_frame frame) {
    struct case_wait wait = {.lock = PTHREAD_MUTEX_INITIALIZER, .rang = PTHREAD_COND_INITIALIZER};
    struct err err = {0};
    frame.on_ack = case_rang;
    frame.ctx = &wait;
    ck_assert_msg(store_put(store, &frame, &err) == 0, "store_put: %s", err.msg);
    pthread_mutex_lock(&wait.lock);
    while (!wait.done) {
        pthread_cond_wait(&wait.rang, &wait.lock);
    }
    pthread_mutex_unlock(&wait.lock);
    return wait.ack;
}

static inline struct store_ack case_put(struct store *store, uint64_t n, size_t size) {
    return case_put_frame(store, case_frame(n, size));
}

static inline void case_put_many(struct store *store, uint64_t first, uint64_t count, size_t size) {
    for (uint64_t n = first; n < first + count; n++) {
        struct store_frame frame = case_frame(n, size);
        ck_assert_int_eq(store_put(store, &frame, NULL), 0);
    }
    struct err err = {0};
    ck_assert_msg(store_flush(store, &err) == 0, "store_flush: %s", err.msg);
}

/* Frame `n` is there, whole: record, all detections, and the blob. */
static inline void case_check_valued(struct store_reader *reader, uint64_t n, size_t size,
                                     double value) {
    struct store_frame want = case_frame(n, size);
    want.record.value = value < 0 ? want.record.value : value;
    struct store_row *row = NULL;
    struct err err = {0};
    int code = store_frame_get(reader, &want.record.id, &row, &err);
    ck_assert_msg(code == 0, "frame %llu: %s", (unsigned long long)n, err.msg);
    const struct frame_record *got = &row->record;
    ck_assert_str_eq(got->camera, want.record.camera);
    ck_assert_str_eq(got->rule, want.record.rule);
    ck_assert_str_eq(got->model_name, want.record.model_name);
    ck_assert_int_eq(got->captured.utc_us, want.record.captured.utc_us);
    ck_assert_uint_eq(got->tier, want.record.tier);
    ck_assert_double_eq(got->value, want.record.value);
    ck_assert_uint_eq(got->phash, want.record.phash);
    ck_assert_uint_eq(got->width, want.record.width);
    ck_assert_uint_eq(got->orientation, want.record.orientation);
    ck_assert_int_eq(got->masked, want.record.masked);
    ck_assert_uint_eq(got->detection_count, want.record.detection_count);
    for (size_t i = 0; i < got->detection_count; i++) {
        ck_assert_int_eq(memcmp(&got->detections[i].box, &want.record.detections[i].box,
                                sizeof(struct frame_box)),
                         0);
        ck_assert_str_eq(got->detections[i].label, want.record.detections[i].label);
    }
    uint8_t *bytes = NULL;
    size_t found = 0;
    code = store_blob_read(reader, got->tier, &got->blob, &bytes, &found, &err);
    ck_assert_msg(code == 0, "blob of frame %llu: %s", (unsigned long long)n, err.msg);
    ck_assert_uint_eq(found, size);
    ck_assert_int_eq(memcmp(bytes, want.blob, size), 0);
    free(bytes);
    store_row_destroy(row);
    case_frame_free(&want);
}

/* The same with the value that case_frame gives it. */
static inline void case_check(struct store_reader *reader, uint64_t n, size_t size) {
    case_check_valued(reader, n, size, -1);
}

static inline struct store_fsck case_fsck(const struct case_dir *dir, int expected) {
    struct store_fsck fsck = {0};
    struct err err = {0};
    int code = store_fsck(dir->path, NULL, NULL, &fsck, &err);
    ck_assert_msg(code == expected, "fsck %d, not %d: %s", code, expected, err.msg);
    return fsck;
}

static inline struct store_counts case_counts(struct store *store) {
    struct store_reader *reader = case_reader(store);
    struct store_counts counts;
    struct err err = {0};
    ck_assert_msg(store_counts_read(reader, &counts, &err) == 0, "%s", err.msg);
    store_reader_close(reader);
    return counts;
}

static inline struct store_remote case_remote(const char *name, bool required) {
    struct store_remote remote = {.required = required};
    snprintf(remote.name, sizeof(remote.name), "%s", name);
    hash_sha256(name, strlen(name), &remote.identity);
    return remote;
}

static inline int case_receipt(struct store *store, const char *remote,
                               const struct store_outbox_row *row, struct err *err) {
    struct store_receipt receipt = {.blob = row->blob,
                                    .tier = row->tier,
                                    .kind = STORE_RECEIPT_STORED,
                                    .utc_us = clock_utc_us()};
    snprintf(receipt.remote, sizeof(receipt.remote), "%s", remote);
    snprintf(receipt.key, sizeof(receipt.key), "frames/%llu", (unsigned long long)row->row);
    snprintf(receipt.etag, sizeof(receipt.etag), "\"etag\"");
    return store_receipt_put(store, &receipt, 1, err);
}

#endif
