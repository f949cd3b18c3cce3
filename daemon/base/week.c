#include "daemon/base/week.h"
#include <strings.h>

static const char *const names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static int day_of(const char *text) {
    for (int i = 0; i < 7; i++) {
        if (strncasecmp(text, names[i], 3) == 0) {
            return i;
        }
    }
    return -1;
}

uint8_t week_days_parse(const char *text, size_t size) {
    if (size == 5 && strncasecmp(text, "daily", 5) == 0) {
        return WEEK_EVERY_DAY;
    }
    int first = size == 3 || size == 7 ? day_of(text) : -1;
    int last = size == 3 ? first : size == 7 && text[3] == '-' ? day_of(text + 4) : -1;
    if (first < 0 || last < 0) {
        return 0;
    }
    uint8_t days = 0;
    for (int day = first;; day = (day + 1) % 7) {
        days = (uint8_t)(days | 1u << day);
        if (day == last) {
            return days;
        }
    }
}

const char *week_day_name(unsigned day) {
    return names[day % 7];
}
