/* chart: what triage decided over hours and days, as small pictures made here (inline SVG).
 *
 * The store's tally is read at most twice a minute, however many people look. Thread: any.
 */
#ifndef CREEL_WEBUI_CHART_H
#define CREEL_WEBUI_CHART_H

#include "daemon/base/buf.h"
#include "store/store.h"
#include <jansson.h>
#include <stdint.h>

#define WEBUI__CHART_BARS 60 /* most bars of one chart */

/* Frames over one span of time, in `count` bars of `step_us` from `from_us` on. */
struct webui__chart {
    const char *title;
    int64_t from_us, step_us;
    size_t count;
    uint64_t kept[WEBUI__CHART_BARS], over_budget[WEBUI__CHART_BARS], rejected[WEBUI__CHART_BARS];
};

/* Adds a row of the tally to the bar that it falls into; rows outside are left out. */
void webui__chart_add(struct webui__chart *chart, const struct store_tally *row);

/* A figure: bars of kept frames, with what the budget turned away stacked on them, on a scale of
 * their own; rejected frames, which are many more, as a line over them on its own scale. What it
 * shows is said in words too. */
void webui__chart_write(struct buf *page, const struct webui__chart *chart);

/* A histogram as the status document has it: {"count", "p50", "p95", "p99", "buckets": [{"le",
 * "count"}, ...]} in seconds. Nothing where it is none. */
void webui__times_write(struct buf *page, const char *title, const json_t *times);

struct webui;
/* The charts of the status page. */
void webui__charts_write(struct buf *page, struct webui *webui);

#endif
