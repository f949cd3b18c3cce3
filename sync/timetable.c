#include "sync/timetable.h"
#include "daemon/base/mem.h"
#include "daemon/base/week.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_MINUTES  1440
#define WEEK_MINUTES (7 * DAY_MINUTES)
#define WORD_MAX     40

/* ---- words ---- */

static bool word_next(const char **at, char *out) {
    *at += strspn(*at, " \t");
    size_t size = strcspn(*at, " \t,");
    if (size == 0 || size >= WORD_MAX) {
        return false;
    }
    memcpy(out, *at, size);
    out[size] = '\0';
    *at += size;
    return true;
}

static bool time_of(const char *word, unsigned *minute) {
    unsigned hour = 0, past = 0;
    int used = 0;
    if (!isdigit((unsigned char)word[0]) || sscanf(word, "%2u:%2u%n", &hour, &past, &used) != 2 ||
        word[used] != '\0' || hour > 23 || past > 59) {
        return false;
    }
    *minute = hour * 60 + past;
    return true;
}

static bool rate_of(const char *word, uint64_t *rate) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"B/s", 1},          {"kB/s", 1e3},        {"MB/s", 1e6},    {"GB/s", 1e9},
                 {"K/s", 1024},       {"KiB/s", 1024},      {"M/s", 1048576}, {"MiB/s", 1048576},
                 {"G/s", 1073741824}, {"GiB/s", 1073741824}};
    if (strcmp(word, "off") == 0 || strcmp(word, "stop") == 0) {
        *rate = word[0] == 'o' ? TIMETABLE_NO_LIMIT : 0;
        return true;
    }
    char *end = NULL;
    double number = isdigit((unsigned char)word[0]) ? strtod(word, &end) : -1;
    for (size_t i = 0; number > 0 && i < ARRAY_LENGTH(units); i++) {
        double bytes = number * units[i].factor;
        if (strcmp(end, units[i].name) == 0 && bytes >= 1 && bytes < 1e15) {
            *rate = (uint64_t)bytes;
            return true;
        }
    }
    return false;
}

/* ---- parsing ---- */

static int wrong(const char *word, const char *wanted, struct err *err) {
    return err_set(err, ERR_CONFIG,
                   "bandwidth: \"%s\" is not %s; it is written as in \"mon-fri 08:00 512KiB/s, "
                   "19:00 off\"",
                   word, wanted);
}

static int by_minute(const void *left, const void *right) {
    const struct timetable_entry *a = left, *b = right;
    return (int)a->minute - (int)b->minute;
}

static int entry_add(struct timetable *table, unsigned set, unsigned minute, uint64_t rate,
                     struct err *err) {
    for (unsigned day = 0; day < 7; day++) { /* from Monday */
        if ((set & 1u << (day + 1) % 7) == 0) {
            continue;
        }
        if (table->count == TIMETABLE_MAX) {
            return err_set(err, ERR_CONFIG, "bandwidth: more than %d changes a week",
                           TIMETABLE_MAX);
        }
        table->entries[table->count++] =
            (struct timetable_entry){(uint16_t)(day * DAY_MINUTES + minute), rate};
    }
    return 0;
}

/* One entry; `*set` are the days that hold until others are named. */
static int entry_parse(const char **at, unsigned *set, struct timetable *table, struct err *err) {
    char word[WORD_MAX] = "";
    unsigned minute = 0;
    uint64_t rate = 0;
    if (!word_next(at, word)) {
        return wrong(*at, "an entry", err);
    }
    unsigned named = week_days_parse(word, strlen(word));
    *set = named != 0 ? named : *set;
    if (named != 0 && !word_next(at, word)) {
        return wrong(word, "followed by a time", err);
    }
    if (time_of(word, &minute) && !word_next(at, word)) {
        return wrong(word, "followed by a rate", err);
    }
    if (!rate_of(word, &rate)) {
        return wrong(word, "a day, a time or a rate", err);
    }
    *at += strspn(*at, " \t");
    return entry_add(table, *set, minute, rate, err);
}

int sync__timetable_parse(const char *text, struct timetable *out, struct err *err) {
    struct timetable table = {.count = 0};
    unsigned set = WEEK_EVERY_DAY;
    if (text == NULL || text[0] == '\0' || strcmp(text, "off") == 0) {
        *out = table;
        return 0;
    }
    for (const char *at = text;; at++) {
        int code = entry_parse(&at, &set, &table, err);
        if (code != 0) {
            return code;
        }
        if (*at == '\0') {
            break;
        }
        if (*at != ',') {
            return wrong(at, "a comma", err);
        }
    }
    qsort(table.entries, table.count, sizeof table.entries[0], by_minute);
    for (size_t i = 1; i < table.count; i++) {
        if (table.entries[i].minute == table.entries[i - 1].minute) {
            return err_set(err, ERR_CONFIG, "bandwidth: two entries for %s %02u:%02u",
                           week_day_name(table.entries[i].minute / DAY_MINUTES + 1),
                           table.entries[i].minute % DAY_MINUTES / 60,
                           table.entries[i].minute % 60u);
        }
    }
    bool differ = false;
    for (size_t i = 1; i < table.count; i++) {
        differ = differ || table.entries[i].rate != table.entries[0].rate;
    }
    table.count = differ ? table.count : 1; /* one rate: nothing ever changes */
    *out = table;
    return 0;
}

/* ---- asking ---- */

/* The instant of a minute of the week, `ahead` minutes after that of `now`. */
static int64_t instant_us(const struct tm *now, unsigned ahead) {
    struct tm at = *now;
    at.tm_min += (int)ahead;
    at.tm_sec = 0;
    at.tm_isdst = -1; /* the offset may be another then */
    return (int64_t)mktime(&at) * 1000000;
}

uint64_t sync__timetable_rate(const struct timetable *table, int64_t utc_us,
                              int64_t *until_utc_us) {
    *until_utc_us = INT64_MAX;
    if (table->count == 0) {
        return TIMETABLE_NO_LIMIT;
    }
    time_t utc_s = (time_t)(utc_us / 1000000);
    struct tm now = {0};
    localtime_r(&utc_s, &now);
    unsigned minute =
        (unsigned)((now.tm_wday + 6) % 7 * DAY_MINUTES + now.tm_hour * 60 + now.tm_min);
    size_t next = 0;
    while (next < table->count && table->entries[next].minute <= minute) {
        next++;
    }
    size_t current = next > 0 ? next - 1 : table->count - 1; /* the last one of the week before */
    if (table->count > 1) {
        unsigned then = table->entries[next % table->count].minute;
        *until_utc_us = instant_us(&now, (then + WEEK_MINUTES - minute) % WEEK_MINUTES);
    }
    return table->entries[current].rate;
}
