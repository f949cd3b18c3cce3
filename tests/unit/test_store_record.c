/* Records as bytes: what encode writes decode reads, and no flipped bit, cut or later version
 * passes. */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/record.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"

static const uint8_t uuid[16] = "0123456789abcdef";

static struct record sample(enum record_kind kind) {
    struct record record = {.kind = kind};
    switch (kind) {
    case RECORD_SEGMENT:
        memcpy(record.segment.uuid, uuid, 16);
        record.segment.stream = 1;
        record.segment.utc_us = -5;
        record.segment.boot_us = INT64_MAX;
        record.segment.first_seq = UINT64_MAX;
        break;
    case RECORD_FRAME: {
        struct store_frame frame = case_frame(41, 100);
        record.frame.seq = 99;
        record.frame.kept_utc_us = 1;
        record.frame.kept_boot_us = 2;
        record.frame.kept_state = CLOCK_SYNCHRONISED;
        record.frame.frame = frame.record;
        free(frame.blob);
        break;
    }
    case RECORD_REMOTES:
        record.remotes.count = 2;
        record.remotes.remotes[0] = case_remote("cloud", true);
        record.remotes.remotes[1] = case_remote("disk", false);
        break;
    case RECORD_RECEIPT:
        record.receipt.receipt.tier = TIER_UNANNOTATED;
        record.receipt.receipt.kind = STORE_RECEIPT_COMPARED;
        memset(record.receipt.receipt.key, 'k', STORE_KEY_MAX);
        memset(record.receipt.receipt.etag, 'e', STORE_ETAG_MAX);
        record.receipt.receipt.utc_us = 7;
        memset(record.receipt.identity.bytes, 1, 32);
        break;
    case RECORD_TOMBSTONE:
        record.tombstone.tier = TIER_UNANNOTATED;
        record.tombstone.reason = TOMBSTONE_QUOTA;
        record.tombstone.count = RECORD_BATCH_MAX;
        record.tombstone.blobs = calloc(RECORD_BATCH_MAX, sizeof(struct frame_hash));
        record.tombstone.blobs[3].bytes[31] = 9;
        break;
    case RECORD_QUARANTINE:
        memset(record.quarantine.reason, 'r', STORE_REASON_MAX);
        break;
    case RECORD_OUTBOX:
        record.outbox.action = STORE_OUTBOX_QUEUE;
        record.outbox.count = STORE_OUTBOX_BATCH;
        record.outbox.blobs = calloc(STORE_OUTBOX_BATCH, sizeof(struct store_blob_name));
        record.outbox.blobs[5].tier = TIER_UNANNOTATED;
        record.outbox.blobs[5].blob.bytes[31] = 9;
        break;
    case RECORD_CLOCK:
        record.clock.repair = CLOCK_REPAIR_OFFSET;
        record.clock.offset_us = -123456789;
        break;
    default:
        break;
    }
    return record;
}

static const enum record_kind kinds[] = {
    RECORD_SEGMENT,    RECORD_FRAME,   RECORD_REMOTES, RECORD_RECEIPT, RECORD_TOMBSTONE, RECORD_PIN,
    RECORD_QUARANTINE, RECORD_RELEASE, RECORD_CLOCK,   RECORD_FORGET,  RECORD_OUTBOX,
};

static void encode(enum record_kind kind, struct buf *out) {
    struct record record = sample(kind);
    store__record_encode(&record, out);
    store__record_finish(&record);
    ck_assert(!out->failed);
}

/* Encoding what was decoded gives the same bytes: nothing was lost on the way. */
START_TEST(every_kind_round_trips) {
    enum record_kind kind = kinds[_i];
    struct buf first = BUF_INIT(RECORD_SMALL_MAX), second = BUF_INIT(RECORD_SMALL_MAX);
    struct record decoded;
    struct err err = {0};
    encode(kind, &first);
    int code = store__record_decode(kind, (uint8_t *)first.data, first.len, &decoded, &err);
    ck_assert_msg(code == 0, "%s", err.msg);
    store__record_encode(&decoded, &second);
    ck_assert_uint_eq(first.len, second.len);
    ck_assert_int_eq(memcmp(first.data, second.data, first.len), 0);
    if (kind == RECORD_FRAME) {
        struct store_frame want = case_frame(41, 100);
        ck_assert_uint_eq(decoded.frame.seq, 99);
        ck_assert_str_eq(decoded.frame.frame.detections[2].label, want.record.detections[2].label);
        ck_assert_double_eq(decoded.frame.frame.detections[1].box.w, 1.0 / 3);
        for (size_t i = 0; i < 3; i++) {
            const struct frame_detection *found = &decoded.frame.frame.detections[i];
            ck_assert(found->tag == (i == 1));
            ck_assert_uint_eq(found->class_index, want.record.detections[i].class_index);
        }
        case_frame_free(&want);
    }
    store__record_finish(&decoded);
    buf_finish(&first);
    buf_finish(&second);
}
END_TEST

/* Every shorter and one longer payload is refused, and none crashes or leaks. */
START_TEST(cut_payloads_are_refused) {
    enum record_kind kind = kinds[_i];
    struct buf bytes = BUF_INIT(RECORD_SMALL_MAX);
    encode(kind, &bytes);
    buf_append(&bytes, "", 1);
    size_t whole = bytes.len - 1, step = whole > 4096 ? 61 : 1;
    for (size_t size = 0; size <= bytes.len; size += size + step < whole ? step : 1) {
        struct record decoded;
        uint8_t *copy = mem_dup(bytes.data, size ? size : 1); /* ends where the sanitizer sees it */
        int code = store__record_decode(kind, copy, size, &decoded, NULL);
        ck_assert_int_eq(code, size == whole ? 0 : ERR_CORRUPT);
        if (!code) {
            store__record_finish(&decoded);
        }
        free(copy);
    }
    buf_finish(&bytes);
}
END_TEST

/* Random bytes in place of a payload: an error or a value, never more. */
START_TEST(garbage_payloads_do_no_harm) {
    for (uint64_t n = 0; n < 3000; n++) {
        size_t size = (size_t)(n * 7 % 700);
        uint8_t *bytes = case_blob(n, size);
        struct record decoded;
        if (n % 3 == 0 && size > 2) {
            bytes[1] = bytes[0] = 0;
        }
        if (!store__record_decode(kinds[n % ARRAY_LENGTH(kinds)], bytes, size, &decoded, NULL)) {
            store__record_finish(&decoded);
        }
        struct frame_detection *detections = NULL;
        size_t count;
        if (!store__detections_decode(bytes, size, &detections, &count, NULL)) {
            free(detections);
        }
        free(bytes);
    }
}
END_TEST

static struct record_header header_sample(void) {
    return (struct record_header){.kind = RECORD_BLOB,
                                  .version = RECORD_VERSION,
                                  .payload_bytes = 123456,
                                  .group_at = 4096,
                                  .segment = 0x1122334455667788,
                                  .lsn = 77,
                                  .sha = {{1, 2, 3}}};
}

START_TEST(headers_round_trip_and_every_bit_counts) {
    struct record_header header = header_sample(), back;
    uint8_t bytes[RECORD_HEADER];
    store__header_encode(&header, uuid, bytes);
    ck_assert_int_eq(store__header_decode(bytes, uuid, &back, NULL), 0);
    ck_assert_uint_eq(back.segment, header.segment);
    ck_assert_uint_eq(back.lsn, header.lsn);
    ck_assert_uint_eq(back.payload_bytes, header.payload_bytes);
    ck_assert_uint_eq(back.group_at, header.group_at);
    ck_assert_int_eq(memcmp(&back.sha, &header.sha, 32), 0);
    for (size_t bit = 0; bit < RECORD_HEADER * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(store__header_decode(bytes, uuid, &back, NULL), ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    uint8_t other[16] = {0};
    ck_assert_int_eq(store__header_decode(bytes, other, &back, NULL), ERR_CORRUPT);
    memset(bytes, 0, sizeof(bytes));
    ck_assert_int_eq(store__header_decode(bytes, uuid, &back, NULL), ERR_NOT_FOUND);
}
END_TEST

START_TEST(later_versions_and_kinds_are_refused) {
    struct record_header header = header_sample(), back;
    uint8_t bytes[RECORD_HEADER];
    struct err err = {0};
    header.version = RECORD_VERSION + 1;
    store__header_encode(&header, uuid, bytes);
    ck_assert_int_eq(store__header_decode(bytes, uuid, &back, &err), ERR_REFUSED);
    ck_assert_ptr_nonnull(strstr(err.msg, "later creel"));
    header = header_sample();
    header.kind = 999;
    store__header_encode(&header, uuid, bytes);
    ck_assert_int_eq(store__header_decode(bytes, uuid, &back, &err), ERR_REFUSED);
    struct record record;
    ck_assert_int_eq(store__record_decode(999, bytes, 8, &record, &err), ERR_REFUSED);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_record");
    TCase *tests = tcase_create("bytes");
    tcase_add_loop_test(tests, every_kind_round_trips, 0, ARRAY_LENGTH(kinds));
    tcase_add_loop_test(tests, cut_payloads_are_refused, 0, ARRAY_LENGTH(kinds));
    tcase_add_test(tests, garbage_payloads_do_no_harm);
    tcase_add_test(tests, headers_round_trip_and_every_bit_counts);
    tcase_add_test(tests, later_versions_and_kinds_are_refused);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
