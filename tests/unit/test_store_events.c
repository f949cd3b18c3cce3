/* The events of a remote: against random lives of a store with restarts, rebuilds and compactions,
 * each frame is told once, and what was said of it afterwards is told too.
 */
#include "store/store_impl.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"

#define FRAMES 600
#define BLOBS  200 /* so that many frames share one */
#define SIZE   64

static struct case_dir dir;
static struct store_config config;
static struct store *store;
static struct store_reader *reader;
static unsigned seed;

struct told {
    bool there, kept; /* put; told as kept */
    unsigned labels;  /* told */
    unsigned times;   /* told */
    bool label_open;  /* a label was put and not told yet */
};

static struct told frames[FRAMES + 1];
static bool receipts[BLOBS], gone[BLOBS]; /* gone: a receipt was taken back for good */
static struct store_events_at at;

static unsigned any(unsigned below) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 8) % below;
}

static void open_all(void) {
    struct store_remote cloud = {.name = "cloud", .required = true};
    memset(cloud.identity.bytes, 0xc1, sizeof(cloud.identity.bytes));
    store = case_open(&config);
    ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    reader = case_reader(store);
}

static void close_all(void) {
    store_reader_close(reader);
    store_close(store);
}

static void setup(void) {
    clock_trust(true);
    case_dir_make_fast(&dir);
    config = case_config(&dir);
    config.meta_bytes = 16384;
    config.quota_bytes = 64u << 20;
    memset(frames, 0, sizeof(frames));
    memset(receipts, 0, sizeof(receipts));
    memset(gone, 0, sizeof(gone));
    at = (struct store_events_at){0};
    open_all();
}

static void teardown(void) {
    close_all();
    case_dir_remove(dir.path);
}

static struct frame_id id_of(uint64_t n) {
    struct store_frame frame = case_frame(n, SIZE);
    struct frame_id id = frame.record.id;
    case_frame_free(&frame);
    return id;
}

static uint64_t number_of(const struct frame_id *id) {
    uint64_t n;
    memcpy(&n, id->bytes + 8, sizeof(n));
    return n;
}

/* Frame n has the bytes of blob n % BLOBS, and its tier, so that equal bytes are one blob. */
static void put(uint64_t n) {
    struct store_frame frame = case_frame(n, SIZE);
    free(frame.blob);
    frame.blob = case_blob(n % BLOBS, SIZE);
    case_put_frame(store, frame);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    frames[n].there = true;
}

static void confirm(uint64_t blob) {
    struct store_receipt receipt = {.remote = "cloud",
                                    .tier = blob % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED,
                                    .kind = STORE_RECEIPT_STORED,
                                    .utc_us = clock_utc_us()};
    uint8_t *bytes = case_blob(blob, SIZE);
    hash_sha256(bytes, SIZE, &receipt.blob);
    free(bytes);
    snprintf(receipt.key, sizeof(receipt.key), "k%llu", (unsigned long long)blob);
    ck_assert_int_eq(store_receipt_put(store, &receipt, 1, NULL), 0);
}

static void label(uint64_t n) {
    struct frame_id id = id_of(n);
    struct store_label word = {.state = 1 + any(5), .utc_us = clock_utc_us()};
    ck_assert_int_eq(store_label_put(store, &id, &word, NULL), 0);
    frames[n].label_open = frames[n].kept;
}

/* Of a blob that has a receipt; after LOST there may be another. */
static void take_back(uint64_t blob) {
    static const enum store_outbox_action ways[] = {STORE_OUTBOX_LOST, STORE_OUTBOX_EXPIRED,
                                                    STORE_OUTBOX_REMOVED};
    unsigned way = any(3);
    struct store_blob_name names[2] = {{.tier = blob % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED},
                                       {.tier = blob % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED}};
    uint64_t changed = 0, two[2] = {blob, (blob + 2) % BLOBS};
    for (size_t i = 0; i < 2; i++) { /* one record of two, so that a call may end within it */
        uint8_t *bytes = case_blob(two[i], SIZE);
        hash_sha256(bytes, SIZE, &names[i].blob);
        free(bytes);
    }
    ck_assert_int_eq(store_outbox_act(store, "cloud", ways[way], names, 2, &changed, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        gone[two[i]] = gone[two[i]] || (receipts[two[i]] && way > 0);
        receipts[two[i]] = false;
    }
}

static void hear(const struct store_event *event) {
    uint64_t n = number_of(&event->id);
    ck_assert_uint_le(n, FRAMES);
    struct told *frame = &frames[n];
    ck_assert_msg(frame->there, "frame %llu was never put", (unsigned long long)n);
    ck_assert_msg(receipts[n % BLOBS] || event->kind >= STORE_EVENT_LOST,
                  "frame %llu has no receipt", (unsigned long long)n);
    switch (event->kind) {
    case STORE_EVENT_KEPT:
        ck_assert_msg(!frame->kept, "frame %llu is told twice", (unsigned long long)n);
        frame->kept = true;
        frame->label_open = false;
        break;
    case STORE_EVENT_LABEL:
        frame->label_open = false;
        frame->labels++;
        break;
    case STORE_EVENT_TIME:
        ck_assert_msg(frame->kept, "repaired before it was told");
        frame->times++;
        break;
    case STORE_EVENT_LOST:
    case STORE_EVENT_EXPIRED:
    case STORE_EVENT_REMOVED:
        frame->kept = false;
        frame->label_open = false; /* told with the frame, should it be there again */
        break;
    }
}

/* One call; true: there may be more. */
static bool listen(size_t limit) {
    struct store_event events[64];
    size_t count = 0;
    bool more = false;
    struct err err = {0};
    int code = store_events_read(reader, "cloud", &at, limit, events, &count, &more, &err);
    ck_assert_msg(code == 0, "%s %s", err.msg, err.cause);
    ck_assert_uint_le(count, limit);
    for (size_t i = 0; i < count; i++) {
        hear(&events[i]);
    }
    ck_assert(more || count < limit || limit == 0 || count == limit);
    return more;
}

static void rebuild(void) {
    struct store_rebuilt rebuilt;
    close_all();
    ck_assert_int_eq(store_rebuild(dir.path, 0.25, NULL, NULL, &rebuilt, NULL), 0);
    open_all();
}

static void step(uint64_t *next) {
    unsigned what = any(100);
    uint64_t blob = any(BLOBS);
    if (what < 40 && *next <= FRAMES) {
        put((*next)++);
    } else if (what < 70 && *next > 1) {
        blob = (1 + any((unsigned)*next - 1)) % BLOBS;
        if (!gone[blob]) {
            confirm(blob); /* also once more */
            receipts[blob] = true;
        }
    } else if (what < 73 && *next > BLOBS) {
        take_back(blob);
    } else if (what < 80 && *next > 1) {
        label(1 + any((unsigned)*next - 1));
    } else if (what < 97) {
        listen(1 + any(20));
    } else if (what < 99) {
        close_all();
        open_all();
    } else {
        rebuild();
    }
}

static uint64_t compactions(void) {
    struct store_stats stats;
    store_stats_get(store, &stats);
    return stats.compactions;
}

START_TEST(each_thing_is_told_once) {
    seed = (unsigned)_i * 7919u + 1;
    uint64_t next = 1;
    for (unsigned i = 0; i < 1500; i++) {
        step(&next);
    }
    for (unsigned i = 0; i < 100 && !compactions(); i++) {
        clock_sleep_ms(20);
    }
    while (listen(1 + any(20))) {
    }
    unsigned kept = 0;
    for (uint64_t n = 1; n < next; n++) {
        ck_assert_msg(frames[n].kept == receipts[n % BLOBS], "frame %llu of %llu: told %d",
                      (unsigned long long)n, (unsigned long long)next, frames[n].kept);
        ck_assert_msg(!frames[n].label_open, "a label of frame %llu was not told",
                      (unsigned long long)n);
        kept += frames[n].kept;
    }
    ck_assert_uint_gt(kept, 200);
    struct store_events_at end = at;
    ck_assert(!listen(20)); /* and nothing comes twice */
    ck_assert_uint_eq(at.seq, end.seq);
}
END_TEST

START_TEST(a_compacted_log_is_read_on) {
    for (uint64_t n = 1; n <= 60; n++) {
        put(n);
        confirm(n);
        receipts[n % BLOBS] = true;
    }
    while (listen(7)) {
    }
    struct store_events_at before = at;
    for (int round = 0; round < 200; round++) { /* words that only their last one outlives */
        for (uint64_t n = 1; n <= 5; n++) {
            label(n);
        }
    }
    for (unsigned i = 0; i < 500 && !compactions(); i++) {
        clock_sleep_ms(20);
    }
    ck_assert_uint_gt(compactions(), 0);
    while (listen(3)) {
    }
    for (uint64_t n = 1; n <= 5; n++) {
        ck_assert(!frames[n].label_open);
        ck_assert_uint_ge(frames[n].labels, 1);
    }
    ck_assert_uint_gt(at.lsn, before.lsn);
}
END_TEST

/* A frame whose bytes the remote has already is told at once, also while its time is not known. */
START_TEST(a_repaired_time_is_told) {
    clock_trust(false);
    if (clock_state_now() == CLOCK_SYNCHRONISED) {
        return; /* this host's clock cannot be made to look wrong */
    }
    put(1);
    confirm(1);
    receipts[1] = true;
    for (uint64_t n = 1 + BLOBS; n <= 1 + 2 * BLOBS; n += BLOBS) {
        struct store_frame frame = case_frame(n, SIZE);
        free(frame.blob);
        frame.blob = case_blob(1, SIZE);
        memset(frame.record.captured.boot_id, 0xb0, 16);
        frame.record.captured.boot_us = (int64_t)n * 1000000;
        frame.record.captured.utc_us = (int64_t)n; /* 1970 */
        frame.record.captured.state = CLOCK_UNSYNCHRONISED;
        case_put_frame(store, frame);
        frames[n].there = true;
    }
    ck_assert_int_eq(store_flush(store, NULL), 0);
    while (listen(5)) {
    }
    ck_assert(frames[1 + BLOBS].kept && frames[1 + 2 * BLOBS].kept);
    struct store_frame right = case_frame(4, SIZE);
    memset(right.record.captured.boot_id, 0xb0, 16);
    right.record.captured.boot_us = 10 * 1000000;
    right.record.captured.utc_us = CASE_T0 + 10 * 1000000;
    case_put_frame(store, right);
    for (int tries = 0; tries < 200 && !frames[1 + 2 * BLOBS].times; tries++) {
        ck_assert_int_eq(store_flush(store, NULL), 0);
        clock_sleep_ms(20);
        while (listen(1)) {
        }
    }
    ck_assert_uint_eq(frames[1].times, 0); /* of another boot */
    ck_assert_uint_eq(frames[1 + BLOBS].times, 1);
    ck_assert_uint_eq(frames[1 + 2 * BLOBS].times, 1);
}
END_TEST

START_TEST(a_position_of_another_log_does_not_stick) {
    put(1);
    confirm(1);
    receipts[1] = true;
    at = (struct store_events_at){.lsn = 1u << 30, .seq = 1u << 20};
    while (listen(5)) {
    }
    put(2);
    confirm(2);
    receipts[2] = true;
    while (listen(5)) {
    }
    ck_assert(frames[2].kept);
}
END_TEST

START_TEST(who_is_not_declared_has_no_events) {
    struct store_event events[1];
    size_t count;
    bool more;
    struct err err = {0};
    ck_assert_int_eq(store_events_read(reader, "other", &at, 1, events, &count, &more, &err),
                     ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "other"));
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("store_events");
    TCase *tests = tcase_create("events");
    tcase_set_timeout(tests, 240);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, each_thing_is_told_once, 0, 10);
    tcase_add_test(tests, a_compacted_log_is_read_on);
    tcase_add_test(tests, a_repaired_time_is_told);
    tcase_add_test(tests, a_position_of_another_log_does_not_stick);
    tcase_add_test(tests, who_is_not_declared_has_no_events);
    suite_add_tcase(all, tests);
    return all;
}

int main(void) {
    return suite_run(suite());
}
