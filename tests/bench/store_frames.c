#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "tests/bench/store_bench.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T0_US INT64_C(1795262400000000) /* 2026-11-21T12:00:00Z */

/* ---- acknowledgements ---- */

void bench_acked(void *ctx, const struct store_ack *ack) {
    struct bench_acks *acks = ctx;
    atomic_fetch_add(ack->code ? &acks->failed : &acks->acked, 1);
    atomic_store(&acks->last_us, bench_now_us());
}

/* ---- frames ---- */

static uint64_t mix(uint64_t n) { /* spreads neighbours: the finaliser of SplitMix64 */
    n += 0x9e3779b97f4a7c15u;
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
    n = (n ^ n >> 27) * 0x94d049bb133111ebu;
    return n ^ n >> 31;
}

int64_t bench_frame_utc_us(uint64_t n) {
    return T0_US + (int64_t)n * BENCH_STEP_US;
}

void bench_label(unsigned label, char out[FRAME_LABEL_MAX + 1]) {
    snprintf(out, FRAME_LABEL_MAX + 1, "class-%02u", label % BENCH_LABELS);
}

/* A UUIDv7 that follows from n: the time first, so that neighbours lie together as they would. */
static void id_make(uint64_t n, struct frame_id *out) {
    uint64_t ms = (uint64_t)bench_frame_utc_us(n) / 1000, low = mix(n);
    for (size_t i = 0; i < 6; i++) {
        out->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    memcpy(out->bytes + 6, &n, 2);
    memcpy(out->bytes + 8, &low, 8);
    out->bytes[6] = (uint8_t)(0x70 | (out->bytes[6] & 0x0f));
    out->bytes[8] = (uint8_t)(0x80 | (out->bytes[8] & 0x3f));
}

/* Low labels are common and high ones rare, as in the world. */
static unsigned label_pick(uint64_t n) {
    double at = (double)(n >> 11) / (double)(UINT64_C(1) << 53);
    return (unsigned)(at * at * at * BENCH_LABELS);
}

static void detection_make(uint64_t n, size_t i, struct frame_detection *out) {
    uint64_t random = mix(n * 64 + i);
    unsigned label = label_pick(random);
    float spread = (float)(random & 0xffff) / 65536.0f;
    out->box = (struct frame_box){0.02 * (double)i, 0.25, 1.0 / 3, 0.5};
    out->confidence = i < BENCH_INDEXED ? 0.3f + 0.65f * spread : 0.01f + 0.2f * spread;
    out->class_index = (uint16_t)label;
    bench_label(label, out->label);
}

static void record_fill(uint64_t n, size_t blob_bytes, enum bench_tiers tiers,
                        struct frame_record *record) {
    id_make(n, &record->id);
    clock_stamp_now(&record->captured);
    record->captured.utc_us = bench_frame_utc_us(n);
    record->captured.state = CLOCK_SYNCHRONISED;
    memset(record->captured.boot_id, 0x5a, 16); /* of another boot: not our clock's time */
    snprintf(record->camera, sizeof(record->camera), "cam-%u", (unsigned)(n % BENCH_CAMERAS));
    record->media = MEDIA_JPEG;
    record->width = 1280;
    record->height = 720;
    record->orientation = 1;
    record->blob_bytes = blob_bytes;
    memset(record->model.bytes, 7, sizeof(record->model.bytes));
    snprintf(record->model_name, sizeof(record->model_name), "bench");
    snprintf(record->model_version, sizeof(record->model_version), "1");
    record->tier = tiers == BENCH_BOTH_TIERS && mix(n) % 2 ? TIER_ANNOTATED : TIER_UNANNOTATED;
    snprintf(record->rule, sizeof(record->rule), "unsure");
    record->value = (double)(mix(n + 1) % 1000) / 1000;
    record->phash = mix(n + 2);
    record->quality = (struct frame_quality){0.5f, 0.25f, 12.5f};
}

static pthread_once_t noise_once = PTHREAD_ONCE_INIT;
static uint64_t noise[(1u << 20) / 8];

static void noise_fill(void) {
    for (size_t i = 0; i < ARRAY_LENGTH(noise); i++) {
        noise[i] = mix(i);
    }
}

/* Bytes that do not compress, with n in front so that no two blobs are the same. */
static uint8_t *blob_make(uint64_t n, size_t size) {
    pthread_once(&noise_once, noise_fill);
    uint8_t *blob = size <= sizeof(noise) ? malloc(size) : NULL;
    if (blob) {
        memcpy(blob, noise, size);
        memcpy(blob, &n, size < sizeof(n) ? size : sizeof(n));
    }
    return blob;
}

int bench_frame(uint64_t n, size_t blob_bytes, enum bench_tiers tiers, struct bench_acks *acks,
                struct store_frame *out, struct err *err) {
    struct store_frame frame = {.on_ack = acks ? bench_acked : NULL, .ctx = acks};
    record_fill(n, blob_bytes, tiers, &frame.record);
    frame.record.detection_count = BENCH_INDEXED + BENCH_FLOOR;
    frame.record.detections =
        mem_array(frame.record.detection_count, sizeof(*frame.record.detections));
    frame.blob = blob_make(n, blob_bytes);
    if (!frame.blob || !frame.record.detections) {
        bench_frame_finish(&frame);
        return err_set(err, ERR_NOMEM, "no memory for a frame of %zu bytes", blob_bytes);
    }
    for (size_t i = 0; i < frame.record.detection_count; i++) {
        detection_make(n, i, &frame.record.detections[i]);
    }
    *out = frame;
    return 0;
}

void bench_frame_finish(struct store_frame *frame) {
    free(frame->record.detections);
    free(frame->blob);
    *frame = (struct store_frame){0};
}
