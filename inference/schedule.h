/* schedule: the days and hours at which a camera is looked at, or a rule of triage is in force.
 *
 * "mon-fri 07:00-19:00, sat 08:00-12:00": entries divided by commas, any of which opens; days (one,
 * a span, or "daily") and a span of hours in local time, or one of both: days alone for all of
 * their hours, hours alone for all days. A span of hours that ends before it begins goes on into
 * the next day: "fri 22:00-06:00" ends on Saturday. Pure but for the time zone. Thread: any.
 */
#ifndef CREEL_INFERENCE_SCHEDULE_H
#define CREEL_INFERENCE_SCHEDULE_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_MAX 16

struct schedule_span {
    uint8_t days;      /* bit 0: Sunday, as tm_wday counts */
    uint16_t from, to; /* minutes of the day; to may be 1440, or less than from */
};

struct schedule {
    struct schedule_span spans[SCHEDULE_MAX];
    size_t count; /* 0: always */
};

/* NULL or empty: always. ERR_CONFIG shows the entry that is wrong. */
int schedule_parse(const char *text, struct schedule *out, struct err *err);

/* `day` as tm_wday, `minute` of the day. */
bool schedule_open(const struct schedule *schedule, int day, int minute);
bool schedule_open_at(const struct schedule *schedule, int64_t utc_us);

#endif
