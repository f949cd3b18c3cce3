/* store_scale: what ten thousand frames and more cost, stage by stage. See store_scale.h. */
#include "tests/bench/store_scale.h"
#include "daemon/base/mem.h"
#include <malloc.h>
#include <stdio.h>

#define BURST_MIN   500 /* acknowledged frames before the kill, */
#define BURST_SHARE 100 /* and this share of what is there */

struct metric {
    const char *name, *text;
    size_t at; /* in struct scale_result */
    int decimals;
};

#define METRIC(field, text_, decimals_)                                                            \
    { #field, text_, offsetof(struct scale_result, field), decimals_ }

static const struct metric metrics[] = {
    METRIC(acked_per_s, "acknowledged frames/s", 0),
    METRIC(indexed_per_s, "indexed frames/s, all", 0),
    METRIC(indexed_first_per_s, "  first tenth", 0),
    METRIC(indexed_last_per_s, "  last tenth", 0),
    METRIC(lag_records, "greatest index lag, records", 0),
    METRIC(ingest_peak_mib, "peak memory while putting, MiB", 1),
    METRIC(ingest_wal_mib, "greatest WAL while putting, MiB", 1),
    METRIC(index_mib, "index.db, MiB", 1),
    METRIC(disk_mib, "store on disk, MiB", 1),
    METRIC(open_ms, "open after kill -9, ms", 1),
    METRIC(ready_ms, "  until the index is up, ms", 1),
    METRIC(first_median_ms, "first page, median of filters, ms", 2),
    METRIC(first_worst_ms, "  worst filter, ms", 2),
    METRIC(deep_median_ms, "deep page, median of filters, ms", 2),
    METRIC(deep_worst_ms, "  worst filter, ms", 2),
    METRIC(cold_worst_ms, "first use of a filter, worst, ms", 2),
    METRIC(counts_ms, "counts, ms", 3),
    METRIC(names_ms, "names of cameras and labels, ms", 3),
    METRIC(reading_mib, "memory after all pages, MiB", 1),
    METRIC(readers_wal_half_mib, "WAL under endless readers, at half, MiB", 1),
    METRIC(readers_wal_mib, "  greatest, MiB", 1),
    METRIC(readers_indexed_per_s, "  indexed frames/s", 0),
    METRIC(readers_pages_per_s, "  pages/s", 0),
    METRIC(readers_peak_mib, "  peak memory, MiB", 1),
    METRIC(rebuild_open_ms, "rebuild: until open, ms", 0),
    METRIC(rebuild_s, "rebuild: until complete, s", 2),
    METRIC(rebuild_per_s, "  frames/s", 0),
    METRIC(rebuild_peak_mib, "  peak memory, MiB", 1),
    METRIC(evicted, "eviction: frames", 0),
    METRIC(evict_s, "  time, s", 2),
    METRIC(evict_slice_ms, "  longest slice of retention, ms", 1),
    METRIC(evict_ack_median_ms, "  put to ack meanwhile, median, ms", 2),
    METRIC(evict_ack_worst_ms, "  put to ack meanwhile, worst, ms", 2),
    METRIC(evict_peak_mib, "  peak memory, MiB", 1),
};

static double metric_get(const struct scale_result *result, const struct metric *metric) {
    return *(const double *)(const void *)((const char *)result + metric->at);
}

/* ---- running ---- */

static int stage_run(const char *name, bench_child_fn *run, struct scale *scale, struct err *err) {
    uint64_t burst = BURST_MIN + scale->frames / BURST_SHARE;
    int64_t start = bench_now_us();
    int code = run == scale_burst ? bench_child_killed(run, scale, &scale->burst.acked, burst, err)
                                  : bench_child(run, scale, err);
    if (code) {
        err_wrap(err, "%s at %llu frames", name, (unsigned long long)scale->frames);
        return code;
    }
    fprintf(stderr, "bench-store: %llu frames: %s took %.1f s\n", (unsigned long long)scale->frames,
            name, (double)(bench_now_us() - start) / 1e6);
    return 0;
}

static int stages_run(struct scale *scale, bool rebuild, struct err *err) {
    static const struct {
        const char *name;
        bench_child_fn *run;
    } stages[] = {
        {"ingest", scale_ingest}, {"kill", scale_burst},      {"reopen", scale_reopen},
        {"pages", scale_pages},   {"readers", scale_readers}, {"rebuild", scale_rebuild},
        {"evict", scale_evict},
    };
    int code = 0;
    for (size_t i = 0; !code && i < ARRAY_LENGTH(stages); i++) {
        if (rebuild || stages[i].run != scale_rebuild) {
            code = stage_run(stages[i].name, stages[i].run, scale, err);
        }
    }
    return code;
}

static int size_run(const struct bench_options *options, struct scale *scale, struct err *err) {
    int code = bench_dir_make(options, scale->dir, err);
    if (!code) {
        code = stages_run(scale, options->rebuild, err);
        bench_dir_remove(scale->dir);
    }
    return code;
}

/* ---- reporting ---- */

static void table_print(const struct scale *scales, size_t count) {
    printf("\n%-42s", "frames");
    for (size_t k = 0; k < count; k++) {
        printf("%14llu", (unsigned long long)scales[k].frames);
    }
    printf("\n");
    for (size_t i = 0; i < ARRAY_LENGTH(metrics); i++) {
        printf("%-42s", metrics[i].text);
        for (size_t k = 0; k < count; k++) {
            printf("%14.*f", metrics[i].decimals, metric_get(&scales[k].result, &metrics[i]));
        }
        printf("\n");
    }
}

static void pages_print(const struct scale *scale) {
    printf("\npages at %llu frames%15s%10s%10s%8s%8s\n", (unsigned long long)scale->frames,
           "first ms", "deep ms", "cold ms", "rows", "rows");
    for (size_t i = 0; i < scale->page_count; i++) {
        const struct scale_page *page = &scale->pages[i];
        printf("  %-32s%8.2f%10.2f%10.2f%8zu%8zu\n", page->name, page->first_ms, page->deep_ms,
               page->cold_ms, page->first_rows, page->deep_rows);
    }
}

static json_t *scale_json(const struct scale *scale) {
    json_t *row = json_pack("{s:I}", "frames", (json_int_t)scale->frames);
    json_t *pages = json_array();
    for (size_t i = 0; i < ARRAY_LENGTH(metrics); i++) {
        json_object_set_new(row, metrics[i].name,
                            json_real(metric_get(&scale->result, &metrics[i])));
    }
    for (size_t i = 0; i < scale->page_count; i++) {
        const struct scale_page *page = &scale->pages[i];
        json_array_append_new(pages, json_pack("{s:s, s:f, s:f, s:f, s:I, s:I}", "filter",
                                               page->name, "first_ms", page->first_ms, "deep_ms",
                                               page->deep_ms, "cold_ms", page->cold_ms,
                                               "first_rows", (json_int_t)page->first_rows,
                                               "deep_rows", (json_int_t)page->deep_rows));
    }
    json_object_set_new(row, "pages", pages);
    return row;
}

static json_t *report(const struct scale *scales, size_t count) {
    json_t *rows = json_array();
    table_print(scales, count);
    for (size_t k = 0; k < count; k++) {
        json_array_append_new(rows, scale_json(&scales[k]));
        pages_print(&scales[k]);
    }
    if (count > 1) {
        const struct scale_result *first = &scales[0].result, *last = &scales[count - 1].result;
        printf("\nindexed frames/s in the last tenth, most frames to fewest: %.2f\n",
               last->indexed_last_per_s / first->indexed_last_per_s);
    }
    return rows;
}

int bench_scale(const struct bench_options *options, json_t **out, struct err *err) {
    size_t room = BENCH_SIZES_MAX * sizeof(struct scale);
    struct scale *scales = bench_shared(room);
    int code = scales ? 0 : err_set(err, ERR_NOMEM, "no memory for the results");
    malloc_trim(0); /* what the children start with counts as theirs */
    for (size_t i = 0; !code && i < options->frames_count; i++) {
        scales[i].frames = options->frames[i];
        code = size_run(options, &scales[i], err);
    }
    if (!code) {
        *out = report(scales, options->frames_count);
    }
    bench_shared_drop(scales, room);
    return code;
}
