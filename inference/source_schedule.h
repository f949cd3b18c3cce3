/* source_schedule: the days and hours at which a camera is looked at.
 *
 * "mon-fri 07:00-19:00, sat 08:00-12:00": entries divided by commas, any of which opens; days (one,
 * a span, or "daily") and a span of hours in local time, or days alone for all of them. A span of
 * hours that ends before it begins goes on into the next day: "fri 22:00-06:00" ends on Saturday.
 * Pure. Private to this folder.
 */
#ifndef CREEL_INFERENCE_SOURCE_SCHEDULE_H
#define CREEL_INFERENCE_SOURCE_SCHEDULE_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCE__SCHEDULE_MAX 16

struct source__span {
    uint8_t days;      /* bit 0: Sunday, as tm_wday counts */
    uint16_t from, to; /* minutes of the day; to may be 1440, or less than from */
};

struct source__schedule {
    struct source__span spans[SOURCE__SCHEDULE_MAX];
    size_t count; /* 0: always */
};

/* NULL or empty: always. ERR_CONFIG shows the entry that is wrong. */
int source__schedule_parse(const char *text, struct source__schedule *out, struct err *err);

/* `day` as tm_wday, `minute` of the day. */
bool source__schedule_open(const struct source__schedule *schedule, int day, int minute);

#endif
