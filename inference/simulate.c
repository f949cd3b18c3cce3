/* simulate: see simulate.h.
 *
 * Invariants:
 *  1. The rules see the records as the daemon showed them: in the order of capture, each once, and
 *     those that were rejected again when a later one asks for them (at most RESCUE_LOOK back).
 *  2. Boot times of different boots are laid on one line by their UTC, so that windows and events
 *     do not begin anew in the past.
 * The errors: per day by the spread of the pieces' rates (batch means); for another number of
 * inputs by the ratio estimator (frames kept by inputs seen; Cochran, "Sampling Techniques", 6.3),
 * with its finite population correction: nothing is uncertain about what was all replayed.
 */
#include "inference/simulate.h"

#include "daemon/base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define T_95        2.093 /* Student's t for SIMULATE_BLOCKS - 1 degrees of freedom */
#define DAY_US      (86400 * INT64_C(1000000))
#define BOOTS_MAX   1024
#define RESCUE_LOOK 4096 /* records */
#define SIZES_LOOK  256  /* records before and behind */

/* ---- putting the records in order ---- */

static int by_id(const void *a, const void *b) {
    const struct frame_record *one = a, *other = b;
    int order = memcmp(&one->id, &other->id, sizeof(one->id));
    order = order ? order : (one->tier == TIER_NONE) - (other->tier == TIER_NONE);
    return order ? order
                 : (one->detection_count < other->detection_count) -
                       (one->detection_count > other->detection_count);
}

static int by_time(const void *a, const void *b) {
    const struct frame_record *one = a, *other = b;
    int64_t x = one->captured.boot_us, y = other->captured.boot_us;
    return x < y ? -1 : x > y ? 1 : memcmp(&one->id, &other->id, sizeof(one->id));
}

/* The kept one comes first among equals, with the most detections, and stays; it may learn from the
 * others how large its file became, or that it was displaced (a record without any bytes). */
static size_t once_each(struct frame_record *records, size_t count) {
    size_t kept = 0;
    qsort(records, count, sizeof(*records), by_id);
    for (size_t i = 0; i < count; i++) {
        struct frame_record *last = kept ? &records[kept - 1] : NULL;
        if (!last || memcmp(&last->id, &records[i].id, sizeof(last->id)) != 0) {
            records[kept] = records[i];
            kept += records[i].blob_bytes > 0;
        } else if (records[i].blob_bytes == 0) {
            last->tier = TIER_NONE;
        } else if (last->media == MEDIA_NONE && records[i].media != MEDIA_NONE) {
            last->media = records[i].media;
            last->blob_bytes = records[i].blob_bytes;
        }
    }
    return kept;
}

/* Raw pictures that were rejected were never encoded: they count as the mean of the files of their
 * camera, else of all. */
static void guess_sizes(struct frame_record *records, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t files[2] = {0, 0}, bytes[2] = {0, 0};
        if (records[i].media != MEDIA_NONE) {
            continue;
        }
        for (size_t j = i > SIZES_LOOK ? i - SIZES_LOOK : 0; j < count && j < i + SIZES_LOOK; j++) {
            bool own = strcmp(records[i].camera, records[j].camera) == 0;
            if (records[j].media != MEDIA_NONE) {
                files[own]++;
                bytes[own] += records[j].blob_bytes;
            }
        }
        bool own = files[1] > 0;
        records[i].blob_bytes = files[own] ? bytes[own] / files[own] : records[i].blob_bytes;
    }
}

struct boot {
    uint8_t id[16];
    int64_t offset_us; /* UTC less boot time */
};

/* The times of one boot keep their distances, whatever happened to UTC meanwhile. */
static int one_line(struct frame_record *records, size_t count, struct err *err) {
    CLEANUP(mem_free_at) struct boot *boots = mem_array(BOOTS_MAX, sizeof(*boots));
    size_t known = 0;
    if (!boots) {
        return err_set(err, ERR_NOMEM, "no memory to replay %zu frames", count);
    }
    for (size_t i = 0; i < count; i++) {
        struct clock_stamp *captured = &records[i].captured;
        size_t at = 0;
        while (at < known && memcmp(boots[at].id, captured->boot_id, sizeof(boots[at].id)) != 0) {
            at++;
        }
        if (at == known && known < BOOTS_MAX) {
            memcpy(boots[at].id, captured->boot_id, sizeof(boots[at].id));
            boots[known++].offset_us = captured->utc_us - captured->boot_us;
        }
        captured->boot_us = at < known ? captured->boot_us + boots[at].offset_us : captured->utc_us;
    }
    qsort(records, count, sizeof(*records), by_time);
    guess_sizes(records, count);
    return 0;
}

/* ---- counting ---- */

struct replay {
    struct triage *triage;
    struct frame_record *records;
    size_t count;
    uint16_t *taken; /* by the new rules: its row, from 1; 0: not */
    size_t now;      /* so many were shown */
    struct simulate_report *report;
    uint64_t block_inputs[SIMULATE_BLOCKS];
    int64_t from_us, length_us; /* on the one line */
};

/* NULL: more rules than there are. */
static struct simulate_row *row_of(struct simulate_report *report, const char *rule,
                                   enum frame_tier tier) {
    for (size_t i = 0; i < report->row_count; i++) {
        if (report->rows[i].tier == tier && strcmp(report->rows[i].rule, rule) == 0) {
            return &report->rows[i];
        }
    }
    if (report->row_count == SIMULATE_ROWS_MAX) {
        return NULL;
    }
    struct simulate_row *row = &report->rows[report->row_count++];
    *row = (struct simulate_row){.tier = tier};
    memcpy(row->rule, rule, strlen(rule) + 1);
    return row;
}

static void add(struct simulate_sum *sum, const struct frame_record *record) {
    sum->frames++;
    sum->bytes += record->blob_bytes;
}

static void subtract(struct simulate_sum *sum, const struct frame_record *record) {
    sum->frames--;
    sum->bytes -= record->blob_bytes;
}

static size_t block_of(const struct replay *replay, const struct frame_record *record) {
    double share = replay->length_us > 0 ? (double)(record->captured.boot_us - replay->from_us) /
                                               (double)replay->length_us
                                         : 0;
    size_t block = (size_t)(share * SIMULATE_BLOCKS);
    return block < SIMULATE_BLOCKS ? block : SIMULATE_BLOCKS - 1;
}

/* A better one of the same window takes its place. */
static void give_back(struct replay *replay, const struct frame_id *id) {
    for (size_t i = replay->now; i-- > 0;) {
        const struct frame_record *record = &replay->records[i];
        if (!replay->taken[i] || memcmp(&record->id, id, sizeof(*id)) != 0) {
            continue;
        }
        struct simulate_row *row = &replay->report->rows[replay->taken[i] - 1];
        struct simulate_row *total = &replay->report->total;
        size_t block = block_of(replay, record);
        subtract(&row->would, record);
        subtract(&row->blocks[block], record);
        subtract(&total->would, record);
        subtract(&total->blocks[block], record);
        replay->taken[i] = 0;
        return;
    }
}

static void take(struct replay *replay, size_t at, const struct triage_verdict *verdict) {
    const struct frame_record *record = &replay->records[at];
    struct simulate_row *row = row_of(replay->report, verdict->rule, verdict->tier);
    struct simulate_row *total = &replay->report->total;
    size_t block = block_of(replay, record);
    if (!row) {
        return; /* more rules than there can be */
    }
    if (verdict->displaces) {
        give_back(replay, &verdict->displaced);
    }
    replay->taken[at] = (uint16_t)(row - replay->report->rows + 1);
    add(&row->would, record);
    add(&row->blocks[block], record);
    add(&total->would, record);
    add(&total->blocks[block], record);
}

static void rescue(struct replay *replay, size_t from, const struct triage_rescue *wanted) {
    size_t least = from > RESCUE_LOOK ? from - RESCUE_LOOK : 0;
    for (size_t i = from; i-- > least;) {
        const struct frame_record *record = &replay->records[i];
        struct triage_verdict verdict;
        if (record->captured.boot_us < wanted->from_us) {
            return;
        }
        if (replay->taken[i] || record->captured.boot_us > wanted->to_us ||
            strcmp(record->camera, replay->records[from].camera) != 0) {
            continue;
        }
        triage_rescue(replay->triage, wanted, record, &verdict);
        if (verdict.keep) {
            take(replay, i, &verdict);
        }
    }
}

static void go(struct replay *replay) {
    struct simulate_report *report = replay->report;
    for (size_t i = 0; i < replay->count; i++) {
        const struct frame_record *record = &replay->records[i];
        struct triage_verdict verdict;
        replay->now = i + 1;
        triage_decide(replay->triage, record, &verdict);
        if (verdict.keep) {
            take(replay, i, &verdict);
        }
        for (size_t r = 0; r < verdict.rescue_count; r++) {
            rescue(replay, i, &verdict.rescues[r]);
        }
        replay->block_inputs[block_of(replay, record)]++;
        if (record->tier != TIER_NONE) {
            struct simulate_row *row = row_of(report, record->rule, record->tier);
            if (row) {
                add(&row->kept, record);
            }
            add(&report->total.kept, record);
        }
    }
}

/* ---- errors ---- */

enum figure { FIGURE_FRAMES, FIGURE_BYTES };

static double figure_of(const struct simulate_sum *sum, enum figure figure) {
    return (double)(figure == FIGURE_FRAMES ? sum->frames : sum->bytes);
}

static void estimate_day(const struct replay *replay, const struct simulate_row *row,
                         enum figure figure, double *value, double *error) {
    double days = (double)replay->length_us / DAY_US;
    double mean = figure_of(&row->would, figure) / SIMULATE_BLOCKS, squares = 0;
    *value = days > 0 ? figure_of(&row->would, figure) / days : 0;
    *error = -1;
    if (days <= 0 || replay->count < SIMULATE_BLOCKS) {
        return;
    }
    for (size_t b = 0; b < SIMULATE_BLOCKS; b++) {
        double off = figure_of(&row->blocks[b], figure) - mean;
        squares += off * off;
    }
    double sigma = sqrt(squares / (SIMULATE_BLOCKS - 1) / SIMULATE_BLOCKS); /* of the mean */
    *error = T_95 * sigma * SIMULATE_BLOCKS / days;
}

static void estimate_asked(const struct replay *replay, const struct simulate_row *row,
                           double inputs, enum figure figure, double *value, double *error) {
    double count = (double)replay->count, ratio = figure_of(&row->would, figure) / count;
    double squares = 0;
    *value = inputs > count ? ratio * inputs : figure_of(&row->would, figure);
    *error = inputs > count ? -1 : 0;
    if (inputs <= count || replay->count < SIMULATE_BLOCKS) {
        return;
    }
    for (size_t b = 0; b < SIMULATE_BLOCKS; b++) {
        double off = figure_of(&row->blocks[b], figure) - ratio * (double)replay->block_inputs[b];
        squares += off * off;
    }
    double variance = squares * SIMULATE_BLOCKS / (SIMULATE_BLOCKS - 1) / (count * count);
    *error = T_95 * inputs * sqrt(variance * (1 - count / inputs));
}

static void estimate(const struct replay *replay, double inputs, struct simulate_row *row) {
    estimate_day(replay, row, FIGURE_FRAMES, &row->day.frames, &row->day.frames_error);
    estimate_day(replay, row, FIGURE_BYTES, &row->day.bytes, &row->day.bytes_error);
    estimate_asked(replay, row, inputs, FIGURE_FRAMES, &row->asked.frames,
                   &row->asked.frames_error);
    estimate_asked(replay, row, inputs, FIGURE_BYTES, &row->asked.bytes, &row->asked.bytes_error);
}

/* ---- the whole ---- */

static void span_of(struct replay *replay) {
    struct simulate_report *report = replay->report;
    for (size_t i = 0; i < replay->count; i++) {
        int64_t utc_us = replay->records[i].captured.utc_us;
        report->from_us = i == 0 || utc_us < report->from_us ? utc_us : report->from_us;
        report->to_us = i == 0 || utc_us > report->to_us ? utc_us : report->to_us;
    }
    replay->from_us = replay->records[0].captured.boot_us;
    replay->length_us = replay->records[replay->count - 1].captured.boot_us - replay->from_us;
    report->inputs = replay->count;
}

static void triage_free_at(struct triage **triage) {
    triage_destroy(*triage);
}

int simulate_run(const struct triage_config *config, struct frame_record *records, size_t count,
                 double asked_inputs, struct simulate_report *out, struct err *err) {
    CLEANUP(triage_free_at) struct triage *triage = NULL;
    CLEANUP(mem_free_at) uint16_t *taken = mem_array(count ? count : 1, sizeof(*taken));
    *out = (struct simulate_report){0};
    int code = taken ? triage_create(config, NULL, &triage, err)
                     : err_set(err, ERR_NOMEM, "no memory to replay %zu frames", count);
    size_t once = once_each(records, count);
    code = code ? code : one_line(records, once, err);
    if (code || once == 0) {
        return code;
    }
    struct replay replay = {
        .triage = triage, .records = records, .count = once, .taken = taken, .report = out};
    span_of(&replay);
    go(&replay);
    for (size_t i = 0; i < out->row_count; i++) {
        estimate(&replay, asked_inputs, &out->rows[i]);
    }
    estimate(&replay, asked_inputs, &out->total);
    return 0;
}
