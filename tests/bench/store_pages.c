/* store_pages: the gallery's questions. Each filter has a statement of its own in the store, and
 * each may meet frames that it does not match on its way, so each is asked apart: for the first
 * page, and for one that lies behind nine tenths of all frames. */
#include "daemon/base/mem.h"
#include "tests/bench/store_scale.h"
#include <stdlib.h>

#define ROWS       60
#define REPEATS    7
#define PATIENCE   500.0 /* ms: a slower page is not asked again */
#define DEEP_TIMES 10    /* the deep page lies behind all but a tenth */

static const struct {
    const char *name;
    struct store_filter filter;
    bool window; /* an hour in the middle */
} questions[] = {
    {"all", {0}, false},
    {"oldest first", {.oldest_first = true}, false},
    {"an hour", {0}, true},
    {"tier", {.by_tier = true, .tier = TIER_ANNOTATED}, false},
    {"camera", {.camera = "cam-3"}, false},
    {"camera that is not there", {.camera = "cam-none"}, false},
    {"tier, camera", {.by_tier = true, .tier = TIER_ANNOTATED, .camera = "cam-3"}, false},
    {"label, common", {.label = "class-00"}, false},
    {"label, rare", {.label = "class-79"}, false},
    {"camera, label, common", {.camera = "cam-3", .label = "class-00"}, false},
    {"camera, label, rare", {.camera = "cam-3", .label = "class-79"}, false},
    {"label at 0.94", {.label = "class-00", .confidence_min = 0.94}, false},
    {"confidence 0.9", {.confidence_min = 0.9}, false},
    {"confidence 0.949 (1 in 130)", {.confidence_min = 0.949}, false},
    {"confidence 0.99 (none)", {.confidence_min = 0.99}, false},
    {"tier, camera, label, confidence",
     {.by_tier = true,
      .tier = TIER_ANNOTATED,
      .camera = "cam-3",
      .label = "class-40",
      .confidence_min = 0.8},
     false},
    {"pending", {.sync = STORE_SYNC_PENDING}, false},
    {"done (the oldest 1000)", {.sync = STORE_SYNC_DONE}, false},
    {"quarantined (20 old ones)", {.sync = STORE_SYNC_QUARANTINED}, false},
    {"camera, quarantined", {.sync = STORE_SYNC_QUARANTINED, .camera = "cam-3"}, false},
    {"label, pending", {.sync = STORE_SYNC_PENDING, .label = "class-10"}, false},
};

_Static_assert(ARRAY_LENGTH(questions) <= SCALE_FILTERS_MAX, "room for every filter");

struct asked {
    double cold_ms, ms; /* the first time, and the median of the others */
    size_t rows;
};

static int page_time(struct store_reader *reader, const struct store_filter *filter,
                     const struct store_cursor *after, struct asked *out, struct err *err) {
    double times[REPEATS];
    size_t count = 0;
    int code = 0;
    do {
        struct store_page *page = NULL;
        int64_t start = bench_now_us();
        code = store_page_read(reader, filter, after, ROWS, 1, &page, err);
        times[count++] = (double)(bench_now_us() - start) / 1e3;
        out->rows = page ? page->count : 0;
        store_page_destroy(page);
    } while (!code && count < REPEATS && times[count - 1] < PATIENCE);
    out->cold_ms = times[0];
    out->ms = count > 1 ? bench_median(times + 1, count - 1) : times[0];
    return code;
}

static int question_ask(struct store_reader *reader, const struct scale *scale, size_t which,
                        struct scale_page *out, struct err *err) {
    struct store_filter filter = questions[which].filter;
    uint64_t tenth = scale->frames / DEEP_TIMES;
    uint64_t at = filter.oldest_first ? scale->frames - tenth : tenth;
    struct asked first = {0}, deep = {0};
    if (questions[which].window) {
        at = scale->frames / 2;
        filter.since_us = bench_frame_utc_us(at - 1800);
        filter.until_us = bench_frame_utc_us(at + 1800);
    }
    struct store_cursor after = {.utc_us = bench_frame_utc_us(at), .seq = at + 1};
    int code = page_time(reader, &filter, NULL, &first, err);
    code = code ? code : page_time(reader, &filter, &after, &deep, err);
    *out = (struct scale_page){.name = questions[which].name,
                               .first_ms = first.ms,
                               .deep_ms = deep.ms,
                               .cold_ms = first.cold_ms,
                               .first_rows = first.rows,
                               .deep_rows = deep.rows};
    return code;
}

static void pages_sum(struct scale *scale) {
    double first[SCALE_FILTERS_MAX], deep[SCALE_FILTERS_MAX], cold[SCALE_FILTERS_MAX];
    size_t count = scale->page_count;
    for (size_t i = 0; i < count; i++) {
        first[i] = scale->pages[i].first_ms;
        deep[i] = scale->pages[i].deep_ms;
        cold[i] = scale->pages[i].cold_ms;
    }
    scale->result.first_median_ms = bench_median(first, count);
    scale->result.first_worst_ms = bench_greatest(first, count);
    scale->result.deep_median_ms = bench_median(deep, count);
    scale->result.deep_worst_ms = bench_greatest(deep, count);
    scale->result.cold_worst_ms = bench_greatest(cold, count);
}

static int names_read(struct store_reader *reader, struct err *err) {
    char **cameras = NULL, **labels = NULL;
    int code = store_names_read(reader, &cameras, &labels, err);
    free(cameras);
    free(labels);
    return code;
}

static int counts_time(struct store_reader *reader, struct scale_result *result, struct err *err) {
    double counts_ms[REPEATS], names_ms[REPEATS];
    int code = 0;
    for (size_t i = 0; !code && i < REPEATS; i++) {
        struct store_counts counts;
        int64_t start = bench_now_us();
        code = store_counts_read(reader, &counts, err);
        int64_t between = bench_now_us();
        code = code ? code : names_read(reader, err);
        counts_ms[i] = (double)(between - start) / 1e3;
        names_ms[i] = (double)(bench_now_us() - between) / 1e3;
    }
    result->counts_ms = code ? 0 : bench_median(counts_ms, REPEATS);
    result->names_ms = code ? 0 : bench_median(names_ms, REPEATS);
    return code;
}

int scale_pages(void *shared, struct err *err) {
    struct scale *scale = shared;
    struct store_config config = scale_config(scale);
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    int code = store_open(&config, &store, err);
    code = code ? code : store_reader_open(store, &reader, err);
    for (size_t i = 0; !code && i < ARRAY_LENGTH(questions); i++) {
        code = question_ask(reader, scale, i, &scale->pages[i], err);
        scale->page_count = i + 1;
    }
    code = code ? code : counts_time(reader, &scale->result, err);
    pages_sum(scale);
    scale->result.reading_mib = bench_memory_mib("VmRSS");
    store_reader_close(reader);
    store_close(store);
    return code;
}
