/* What the tests of triage share: a memory that outlives a triage, and frames in a line. */
#ifndef CREEL_TESTS_TRIAGE_CASE_H
#define CREEL_TESTS_TRIAGE_CASE_H

#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "inference/triage.h"
#include "tests/suite.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOON       INT64_C(1795262400000000) /* 2026-11-21T12:00:00Z */
#define SECOND     INT64_C(1000000)
#define DAY        (86400 * SECOND)
#define THINGS_MAX 24

struct memory_value {
    char key[128];
    size_t size;
    uint8_t bytes[TRIAGE_BYTES_MAX];
};

struct memory {
    struct memory_value values[256];
    size_t count;
};

static inline struct memory_value *memory_find(struct memory *memory, const char *key) {
    for (size_t i = 0; i < memory->count; i++) {
        if (strcmp(memory->values[i].key, key) == 0) {
            return &memory->values[i];
        }
    }
    return NULL;
}

static inline size_t memory_get(void *ctx, const char *key, void *out, size_t room) {
    const struct memory_value *value = memory_find(ctx, key);
    if (!value) {
        return 0;
    }
    ck_assert_uint_le(value->size, room);
    memcpy(out, value->bytes, value->size);
    return value->size;
}

static inline void memory_put(void *ctx, const char *key, const void *bytes, size_t size) {
    struct memory *memory = ctx;
    struct memory_value *value = memory_find(memory, key);
    ck_assert_uint_lt(strlen(key), 128);
    ck_assert_uint_le(size, TRIAGE_BYTES_MAX);
    if (!value) {
        ck_assert_uint_lt(memory->count, ARRAY_LENGTH(memory->values));
        value = &memory->values[memory->count++];
        snprintf(value->key, sizeof(value->key), "%s", key);
    }
    memcpy(value->bytes, bytes, size);
    value->size = size;
}

static inline uint64_t memory_count_get(void *ctx, const char *key) {
    uint64_t count = 0;
    return memory_get(ctx, key, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static inline void memory_count_put(void *ctx, const char *key, uint64_t count) {
    memory_put(ctx, key, &count, sizeof(count));
}

static inline struct triage *triage_begin(const struct triage_config *config,
                                          struct memory *memory) {
    struct triage_memory slots = {.ctx = memory,
                                  .count_get = memory_count_get,
                                  .count_put = memory_count_put,
                                  .bytes_get = memory_get,
                                  .bytes_put = memory_put};
    struct triage *triage = NULL;
    struct err err = {0};
    ck_assert_msg(triage_create(config, memory ? &slots : NULL, &triage, &err) == 0, "%s", err.msg);
    return triage;
}

struct thing {
    float confidence;
    const char *label; /* its first letter is its class */
    struct frame_box box;
};

/* A frame with its detections; `at_us` is its boot time, and its time of day counted from noon. */
struct line {
    struct frame_record record;
    struct frame_detection detections[THINGS_MAX];
};

static inline const struct frame_record *line_set(struct line *line, const char *camera,
                                                  int64_t at_us, const struct thing *things,
                                                  size_t count) {
    *line = (struct line){0};
    ck_assert_uint_le(count, THINGS_MAX);
    snprintf(line->record.camera, sizeof(line->record.camera), "%s", camera);
    line->record.captured.utc_us = NOON + at_us;
    line->record.captured.boot_us = at_us;
    frame_id_create(NOON + at_us, &line->record.id);
    line->record.detections = line->detections;
    line->record.detection_count = count;
    for (size_t i = 0; i < count; i++) {
        line->detections[i].confidence = things[i].confidence;
        line->detections[i].class_index = (uint16_t)things[i].label[0];
        line->detections[i].box = things[i].box;
        snprintf(line->detections[i].label, FRAME_LABEL_MAX + 1, "%s", things[i].label);
    }
    return &line->record;
}

static inline struct triage_verdict look(struct triage *triage, const char *camera, int64_t at_us,
                                         const struct thing *things, size_t count) {
    struct triage_verdict verdict;
    struct line line;
    triage_decide(triage, line_set(&line, camera, at_us, things, count), &verdict);
    ck_assert(verdict.value >= 0 && verdict.value <= 1);
    ck_assert_int_eq(verdict.keep, verdict.tier != TIER_NONE);
    ck_assert(!(verdict.keep && verdict.over_budget));
    return verdict;
}

/* A configuration with one rule of its own, named "mine". */
static inline struct triage_config mine(struct triage_rule_config rule) {
    struct triage_config config = {.confident = 0.60, .uncertain_floor = 0.15};
    snprintf(rule.name, sizeof(rule.name), "mine");
    snprintf(config.rules[0], sizeof(config.rules[0]), "mine");
    config.rule_count = 1;
    config.defined[0] = rule;
    config.defined_count = 1;
    return config;
}

#endif
