#include "inference/schedule.h"
#include "daemon/base/week.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DAY_MINUTES = 1440, ENTRY_SIZE = 64 };

static bool hours_parse(const char *text, struct schedule_span *out) {
    unsigned from_hour, from_minute, to_hour, to_minute;
    int used = 0;
    if (sscanf(text, "%2u:%2u-%2u:%2u%n", &from_hour, &from_minute, &to_hour, &to_minute, &used) !=
            4 ||
        text[used] != '\0' || from_hour > 23 || from_minute > 59 || to_minute > 59 ||
        to_hour * 60 + to_minute > DAY_MINUTES) {
        return false;
    }
    out->from = (uint16_t)(from_hour * 60 + from_minute);
    out->to = (uint16_t)(to_hour * 60 + to_minute);
    return out->from != out->to;
}

static bool entry_parse(const char *entry, struct schedule_span *out) {
    *out = (struct schedule_span){.days = WEEK_EVERY_DAY};
    if (hours_parse(entry, out)) {
        return true;
    }
    size_t days = strcspn(entry, " ");
    const char *hours = entry + days + strspn(entry + days, " ");
    *out =
        (struct schedule_span){.days = week_days_parse(entry, days), .from = 0, .to = DAY_MINUTES};
    return out->days != 0 && (*hours == '\0' || hours_parse(hours, out));
}

int schedule_parse(const char *text, struct schedule *out, struct err *err) {
    struct schedule schedule = {0};
    const char *at = text != NULL ? text : "";
    while (*(at += strspn(at, " ,")) != '\0') {
        char entry[ENTRY_SIZE];
        size_t length = strcspn(at, ",");
        const char *next = at + length;
        while (length > 0 && at[length - 1] == ' ') {
            length--;
        }
        snprintf(entry, sizeof(entry), "%.*s", (int)length, at);
        if (schedule.count == SCHEDULE_MAX) {
            return err_set(err, ERR_CONFIG, "the schedule has more than %d entries", SCHEDULE_MAX);
        }
        if (length >= sizeof(entry) || !entry_parse(entry, &schedule.spans[schedule.count++])) {
            return err_set(err, ERR_CONFIG,
                           "schedule entry '%s': expected days and hours such as "
                           "'mon-fri 07:00-19:00', 'sat' or '22:00-06:00'",
                           entry);
        }
        at = next;
    }
    *out = schedule;
    return 0;
}

bool schedule_open(const struct schedule *schedule, int day, int minute) {
    int before = (day + 6) % 7;
    for (size_t i = 0; i < schedule->count; i++) {
        const struct schedule_span *span = &schedule->spans[i];
        bool today = (span->days >> day & 1u) != 0;
        bool yesterday = (span->days >> before & 1u) != 0;
        bool night = span->to < span->from;
        if ((today && minute >= span->from && (night || minute < span->to)) ||
            (yesterday && night && minute < span->to)) {
            return true;
        }
    }
    return schedule->count == 0;
}

bool schedule_open_at(const struct schedule *schedule, int64_t utc_us) {
    time_t now = (time_t)(utc_us / 1000000);
    struct tm local;
    return schedule->count == 0 || localtime_r(&now, &local) == NULL ||
           schedule_open(schedule, local.tm_wday, local.tm_hour * 60 + local.tm_min);
}
