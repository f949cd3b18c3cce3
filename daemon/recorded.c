#include "daemon/recorded.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST      1024
#define MINUTE_US       (60 * INT64_C(1000000))
#define MINUTES_KEPT_US (47 * 60 * MINUTE_US) /* the store has sums of minutes so far back */

/* ---- entries ---- */

struct entry { /* without padding that would not be set */
    struct frame_record record;
    uint64_t detections;
};

void recorded_put(const struct frame_record *record, struct buf *out) {
    struct entry entry;
    memset(&entry, 0, sizeof(entry));
    entry.record = *record;
    entry.record.detections = NULL;
    entry.detections = record->detection_count;
    buf_append(out, &entry, sizeof(entry));
    if (record->detection_count) {
        buf_append(out, record->detections, record->detection_count * sizeof(*record->detections));
    }
}

static struct frame_record *record_add(struct recorded *recorded, size_t *room) {
    if (recorded->count == *room) {
        size_t wider = *room ? 2 * *room : ROOM_FIRST;
        struct frame_record *more = mem_resize(recorded->records, wider, sizeof(*more));
        if (!more) {
            return NULL;
        }
        recorded->records = more;
        *room = wider;
    }
    return &recorded->records[recorded->count];
}

static int entry_read(const uint8_t *bytes, size_t size, size_t *at, struct frame_record *out,
                      struct err *err) {
    struct entry entry;
    if (size - *at < sizeof(entry)) {
        return err_set(err, ERR_INVALID, "the daemon's recorded frames end in the middle");
    }
    memcpy(&entry, bytes + *at, sizeof(entry));
    *at += sizeof(entry);
    size_t length = (size_t)entry.detections * sizeof(*out->detections);
    if (entry.detections > FRAME_DETECTIONS_MAX || length > size - *at) {
        return err_set(err, ERR_INVALID, "the daemon's recorded frames are of another version");
    }
    *out = entry.record;
    out->detection_count = (size_t)entry.detections;
    out->detections = length ? mem_dup(bytes + *at, length) : NULL;
    *at += length;
    return length && !out->detections ? err_set(err, ERR_NOMEM, "no memory for recorded frames")
                                      : 0;
}

int recorded_read(const uint8_t *bytes, size_t size, struct recorded *out, struct err *err) {
    size_t room = 0;
    int code = 0;
    *out = (struct recorded){0};
    for (size_t at = 0; !code && at < size;) {
        struct frame_record *record = record_add(out, &room);
        code = record ? entry_read(bytes, size, &at, record, err)
                      : err_set(err, ERR_NOMEM, "no memory for recorded frames");
        out->count += !code;
    }
    if (code) {
        recorded_finish(out);
    }
    return code;
}

void recorded_finish(struct recorded *recorded) {
    for (size_t i = 0; i < recorded->count; i++) {
        free(recorded->records[i].detections);
    }
    free(recorded->records);
    *recorded = (struct recorded){0};
}

/* ---- the request ---- */

struct gathering {
    struct buf bytes;
    int64_t since_us;
    int64_t oldest_us; /* of the ring; 0: it is empty */
    uint64_t noted;
};

static bool gather_outcome(void *ctx, const struct store_outcome *outcome) {
    struct gathering *gathering = ctx;
    int64_t utc_us = outcome->record.captured.utc_us;
    gathering->oldest_us = gathering->oldest_us ? gathering->oldest_us : utc_us;
    if (utc_us >= gathering->since_us) {
        recorded_put(&outcome->record, &gathering->bytes);
        gathering->noted++;
    }
    return !gathering->bytes.failed;
}

/* What the ring could not take, of the time that it tells of. */
static int gather_kept(const struct rooms *rooms, struct gathering *gathering, struct err *err) {
    struct store_filter filter = {.oldest_first = true, .since_us = gathering->since_us};
    struct store_cursor after = {0};
    bool more = true;
    int code = 0;
    filter.since_us =
        gathering->oldest_us > filter.since_us ? gathering->oldest_us : filter.since_us;
    while (!code && more && !gathering->bytes.failed) {
        struct store_page *page = NULL;
        code = store_page_read(rooms->reader, &filter, &after, STORE_PAGE_MAX, 1, &page, err);
        for (size_t i = 0; !code && i < page->count; i++) {
            recorded_put(&page->rows[i].record, &gathering->bytes);
        }
        more = !code && page->more;
        after = code ? after : page->next;
        store_page_destroy(page);
    }
    return code;
}

struct sums {
    uint64_t frames;
    int64_t first_us;
};

static bool sum_up(void *ctx, const struct store_tally *row) {
    struct sums *sums = ctx;
    sums->frames += row->kept + row->over_budget + row->rejected;
    sums->first_us = sums->first_us ? sums->first_us : row->utc_us;
    return true;
}

/* How many frames there were since then; 0: no more than are recorded. */
static int asked_inputs(const struct rooms *rooms, const struct gathering *gathering, uint64_t *out,
                        struct err *err) {
    struct sums sums = {0};
    int64_t ago_us = clock_utc_us() - gathering->since_us;
    enum store_span span = ago_us < MINUTES_KEPT_US ? STORE_SPAN_MINUTE : STORE_SPAN_HOUR;
    int code = gathering->since_us > 0 ? store_tally_read(rooms->store, span, gathering->since_us,
                                                          INT64_MAX, sum_up, &sums, err)
                                       : 0;
    int64_t first_end_us = sums.first_us + span * MINUTE_US;
    *out = sums.frames && first_end_us <= gathering->oldest_us ? sums.frames : 0;
    return code;
}

int answer_recorded(const struct rooms *rooms, const json_t *request, json_t **reply,
                    struct control_bytes *bytes, struct err *err) {
    struct gathering gathering = {.bytes = BUF_INIT(RECORDED_BYTES_MAX)};
    uint64_t asked = 0, noted = 0, dropped = 0;
    gathering.since_us = json_integer_value(json_object_get(request, "since_us"));
    int code = store_outcomes_read(rooms->store, gather_outcome, &gathering, err);
    code = code ? code : gather_kept(rooms, &gathering, err);
    code = code ? code : asked_inputs(rooms, &gathering, &asked, err);
    if (!code && gathering.bytes.failed) {
        code = err_set(err, ERR_FULL,
                       "more frames are recorded than one answer holds; ask with a later --since");
    }
    store_outcome_counts(rooms->store, &noted, &dropped);
    *reply = code ? NULL
                  : json_pack("{s:I,s:I,s:I}", "ring_frames", (json_int_t)gathering.noted,
                              "not_noted", (json_int_t)dropped, "asked_inputs", (json_int_t)asked);
    if (!code && !*reply) {
        code = err_set(err, ERR_NOMEM, "no memory for the answer");
    }
    if (!code && gathering.bytes.len) {
        bytes->data = (uint8_t *)buf_take(&gathering.bytes, &bytes->size);
    }
    buf_finish(&gathering.bytes);
    return code;
}
