#include "webui/chart.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/html.h"
#include "webui/state.h"
#include <string.h>

#define WIDTH    600.0
#define HEIGHT   120.0
#define GAP      0.15 /* of a bar */
#define AGE_US   (30 * INT64_C(1000000))
#define MINUTE   (60 * INT64_C(1000000))
#define HOUR     (60 * MINUTE)
#define DAY      (24 * HOUR)
#define TEXT_MAX (256u << 10)

void webui__chart_add(struct webui__chart *chart, const struct store_tally *row) {
    int64_t late_us = row->utc_us - chart->from_us;
    size_t at = late_us < 0 ? chart->count : (size_t)(late_us / chart->step_us);
    if (at < chart->count) {
        chart->kept[at] += row->kept;
        chart->over_budget[at] += row->over_budget;
        chart->rejected[at] += row->rejected;
    }
}

/* ---- drawing ---- */

struct sums {
    uint64_t kept, over_budget, rejected;
    uint64_t most_stacked, most_rejected; /* of a bar */
};

static struct sums sums_of(const struct webui__chart *chart) {
    struct sums sums = {0};
    for (size_t i = 0; i < chart->count; i++) {
        uint64_t stacked = chart->kept[i] + chart->over_budget[i];
        sums.kept += chart->kept[i];
        sums.over_budget += chart->over_budget[i];
        sums.rejected += chart->rejected[i];
        sums.most_stacked = stacked > sums.most_stacked ? stacked : sums.most_stacked;
        sums.most_rejected =
            chart->rejected[i] > sums.most_rejected ? chart->rejected[i] : sums.most_rejected;
    }
    return sums;
}

static void bar(struct buf *page, const char *name, double x, double width, double low,
                double high) {
    if (high > low) {
        buf_printf(page,
                   "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
                   name, x, HEIGHT - high, width, high - low);
    }
}

static void bars(struct buf *page, const struct webui__chart *chart, const struct sums *sums) {
    double step = WIDTH / (double)chart->count, scale = HEIGHT / (double)sums->most_stacked;
    for (size_t i = 0; sums->most_stacked && i < chart->count; i++) {
        double x = step * ((double)i + GAP / 2), width = step * (1 - GAP);
        double kept = (double)chart->kept[i] * scale;
        double all = (double)(chart->kept[i] + chart->over_budget[i]) * scale;
        bar(page, "kept", x, width, 0, kept);
        bar(page, "over-budget", x, width, kept, all);
    }
}

static void line(struct buf *page, const struct webui__chart *chart, const struct sums *sums) {
    double step = WIDTH / (double)chart->count;
    if (!sums->most_rejected) {
        return;
    }
    buf_puts(page, "<polyline class=\"rejected\" points=\"");
    for (size_t i = 0; i < chart->count; i++) {
        double share = (double)chart->rejected[i] / (double)sums->most_rejected;
        buf_printf(page, "%.1f,%.1f ", step * ((double)i + 0.5), HEIGHT * (1 - share));
    }
    buf_puts(page, "\"/>");
}

static void key(struct buf *page, const char *name, const char *text, uint64_t count) {
    buf_printf(page,
               "<span class=\"key\"><svg viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect "
               "class=\"%s\" width=\"1\" height=\"1\"/></svg>%s ",
               name, text);
    webui__html_count(page, count);
    buf_puts(page, "</span> ");
}

void webui__chart_write(struct buf *page, const struct webui__chart *chart) {
    struct sums sums = sums_of(chart);
    buf_printf(page,
               "<figure class=\"panel chart\"><h2>%s</h2><svg viewBox=\"0 0 %.0f %.0f\" "
               "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s: bars of frames kept\">",
               chart->title, WIDTH, HEIGHT, chart->title);
    bars(page, chart, &sums);
    line(page, chart, &sums);
    buf_puts(page, "</svg><p class=\"ends\">");
    webui__html_time(page, chart->from_us);
    webui__html_time(page, chart->from_us + (int64_t)chart->count * chart->step_us);
    buf_puts(page, "</p><figcaption>");
    key(page, "kept", "kept", sums.kept);
    key(page, "over-budget", "over budget", sums.over_budget);
    key(page, "rejected", "passed over (own scale)", sums.rejected);
    buf_puts(page, "</figcaption></figure>");
}

/* ---- a histogram ---- */

static double count_of(const json_t *bucket) {
    return json_number_value(json_object_get(bucket, "count"));
}

static double ms_of(const json_t *times, const char *share) {
    return 1e3 * json_number_value(json_object_get(times, share));
}

void webui__times_write(struct buf *page, const char *title, const json_t *times) {
    const json_t *buckets = json_object_get(times, "buckets");
    size_t count = json_array_size(buckets), at;
    json_t *bucket;
    double most = 0;
    json_array_foreach(buckets, at, bucket) {
        most = count_of(bucket) > most ? count_of(bucket) : most;
    }
    if (most <= 0) {
        return;
    }
    buf_printf(page,
               "<figure class=\"panel chart\"><h2>%s</h2><svg viewBox=\"0 0 %.0f %.0f\" "
               "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s: a histogram\">",
               title, WIDTH, HEIGHT, title);
    double step = WIDTH / (double)count;
    json_array_foreach(buckets, at, bucket) {
        bar(page, "kept", step * ((double)at + GAP / 2), step * (1 - GAP), 0,
            HEIGHT * count_of(bucket) / most);
    }
    const json_t *first = json_array_get(buckets, 0), *last = json_array_get(buckets, count - 2);
    buf_printf(page,
               "</svg><p class=\"ends\"><span>to %.0f ms</span><span>over %.0f s</span></p>"
               "<figcaption>half within %.0f ms, 95%% within %.0f ms, 99%% within %.0f ms"
               "</figcaption></figure>",
               ms_of(first, "le"), ms_of(last, "le") / 1e3, ms_of(times, "p50"),
               ms_of(times, "p95"), ms_of(times, "p99"));
}

/* ---- the charts of the status page ---- */

static const struct span {
    const char *title;
    enum store_span span;
    int64_t step_us;
    size_t count;
} spans[] = {
    {"The last hour", STORE_SPAN_MINUTE, 2 * MINUTE, 30},
    {"The last day", STORE_SPAN_HOUR, HOUR, 24},
    {"The last 30 days", STORE_SPAN_HOUR, DAY, 30},
};

static bool add(void *ctx, const struct store_tally *row) {
    webui__chart_add(ctx, row);
    return true;
}

/* The last bar is the one that is under way. */
static void chart_make(struct buf *text, struct store *store, const struct span *span) {
    int64_t now = clock_utc_us(), end_us = (now / span->step_us + 1) * span->step_us;
    struct webui__chart chart = {.title = span->title,
                                 .step_us = span->step_us,
                                 .count = span->count,
                                 .from_us = end_us - (int64_t)span->count * span->step_us};
    struct err err = {0};
    if (store_tally_read(store, span->span, chart.from_us, end_us, add, &chart, &err) == 0) {
        webui__chart_write(text, &chart);
    }
}

void webui__charts_write(struct buf *page, struct webui *webui) {
    struct webui__made *charts = &webui->charts;
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&charts->lock);
    if (!charts->text.len || now - charts->made_boot_us >= AGE_US) {
        buf_finish(&charts->text);
        charts->text = (struct buf)BUF_INIT(TEXT_MAX);
        for (size_t i = 0; i < ARRAY_LENGTH(spans); i++) {
            chart_make(&charts->text, webui->store, &spans[i]);
        }
        charts->made_boot_us = now;
    }
    if (charts->text.len) {
        buf_append(page, charts->text.data, charts->text.len);
    }
    pthread_mutex_unlock(&charts->lock);
}
