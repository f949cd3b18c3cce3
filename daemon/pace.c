#include "daemon/pace.h"
#include <inttypes.h>
#include <math.h>

const double pace_bounds[PACE_BOUNDS] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.2,
                                         0.35,  0.5,  1,     2,    5,   10};

void pace_times_note(struct pace_times *times, double seconds) {
    size_t at = 0;
    seconds = seconds > 0 ? seconds : 0;
    while (at < PACE_BOUNDS && seconds > pace_bounds[at]) {
        at++;
    }
    times->buckets[at]++;
    times->sum += seconds;
}

uint64_t pace_times_count(const struct pace_times *times) {
    uint64_t count = 0;
    for (size_t i = 0; i <= PACE_BOUNDS; i++) {
        count += times->buckets[i];
    }
    return count;
}

double pace_times_quantile(const struct pace_times *times, double share) {
    double wanted = share * (double)pace_times_count(times), before = 0;
    for (size_t i = 0; i < PACE_BOUNDS && wanted > 0; i++) {
        double here = (double)times->buckets[i], from = i ? pace_bounds[i - 1] : 0;
        if (before + here >= wanted) {
            return from + (pace_bounds[i] - from) * (wanted - before) / here;
        }
        before += here;
    }
    return wanted > 0 ? pace_bounds[PACE_BOUNDS - 1] : 0;
}

json_t *pace_times_json(const struct pace_times *times) {
    json_t *buckets = json_array();
    for (size_t i = 0; i <= PACE_BOUNDS; i++) {
        json_t *bucket = json_pack("{s:I}", "count", (json_int_t)times->buckets[i]);
        if (i < PACE_BOUNDS) {
            json_object_set_new(bucket, "le", json_real(pace_bounds[i]));
        }
        json_array_append_new(buckets, bucket);
    }
    return json_pack("{s:I,s:f,s:f,s:f,s:f,s:o}", "count", (json_int_t)pace_times_count(times),
                     "sum", times->sum, "p50", pace_times_quantile(times, 0.5), "p95",
                     pace_times_quantile(times, 0.95), "p99", pace_times_quantile(times, 0.99),
                     "buckets", buckets);
}

void pace_times_metric(struct buf *out, const char *name, const char *help,
                       const struct pace_times *times) {
    uint64_t count = 0;
    buf_printf(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (size_t i = 0; i < PACE_BOUNDS; i++) {
        count += times->buckets[i];
        buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, pace_bounds[i], count);
    }
    count += times->buckets[PACE_BOUNDS];
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", name,
               count, name, times->sum, name, count);
}

void pace_rate_note(struct pace_rate *rate, uint64_t seen, int64_t now_boot_us) {
    double seconds = (double)(now_boot_us - rate->at_boot_us) / 1e6;
    if (rate->at_boot_us && seconds > 0) {
        double now = (double)(seen - rate->seen) / seconds, share = 1 - exp(-seconds / PACE_OVER_S);
        rate->weight += (1 - rate->weight) * share;
        rate->per_second += (now - rate->per_second) * share / rate->weight;
    }
    rate->seen = seen;
    rate->at_boot_us = now_boot_us;
}
