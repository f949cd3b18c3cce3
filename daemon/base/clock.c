#include "daemon/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define US_PER_S 1000000

static int64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

int64_t clock_utc_us(void) {
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_boot_us(void) {
    return read_clock(CLOCK_BOOTTIME);
}

static uint8_t boot_id[16];

/* /proc/sys/kernel/random/boot_id holds a UUID; without /proc all boots look alike, which only
 * means that a wrong time of an earlier boot cannot be repaired. */
static void read_boot_id(void) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    char text[64] = {0};
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    size_t nibble = 0;
    for (ssize_t i = 0; i < got && nibble < 32; i++) {
        char digit[2] = {text[i], 0};
        char *end;
        unsigned long value = strtoul(digit, &end, 16);
        if (end != digit) {
            boot_id[nibble / 2] = (uint8_t)((unsigned)boot_id[nibble / 2] << 4 | (unsigned)value);
            nibble++;
        }
    }
}

static atomic_bool trusted;

void clock_trust(bool trust) {
    atomic_store(&trusted, trust);
}

enum clock_state clock_state_now(void) {
    if (atomic_load(&trusted)) {
        return CLOCK_SYNCHRONISED;
    }
    struct timex state = {0};
    if (adjtimex(&state) < 0) {
        return CLOCK_UNSYNCHRONISED;
    }
    return state.status & STA_UNSYNC ? CLOCK_UNSYNCHRONISED : CLOCK_SYNCHRONISED;
}

void clock_stamp_now(struct clock_stamp *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_boot_id);
    *out = (struct clock_stamp){
        .utc_us = clock_utc_us(), .boot_us = clock_boot_us(), .state = clock_state_now()};
    memcpy(out->boot_id, boot_id, sizeof(boot_id));
}

static struct tm split(int64_t utc_us, int *ms) {
    int64_t seconds = utc_us / US_PER_S;
    int64_t rest = utc_us % US_PER_S;
    if (rest < 0) {
        rest += US_PER_S;
        seconds--;
    }
    *ms = (int)(rest / 1000);
    time_t when = (time_t)seconds;
    struct tm parts;
    gmtime_r(&when, &parts);
    return parts;
}

char *clock_format_rfc3339(int64_t utc_us, char *out) {
    int ms;
    struct tm t = split(utc_us, &ms);
    char text[80];
    snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.tm_year + 1900,
             t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, ms);
    snprintf(out, CLOCK_RFC3339_SIZE, "%.24s", text);
    return out;
}

char *clock_format_http(int64_t utc_us, char *out) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int ms;
    struct tm t = split(utc_us, &ms);
    char text[80];
    snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[t.tm_wday], t.tm_mday,
             months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    snprintf(out, CLOCK_HTTP_SIZE, "%.29s", text);
    return out;
}

char *clock_format_date(int64_t utc_us, char *out) {
    int ms;
    struct tm t = split(utc_us, &ms);
    char text[40];
    snprintf(text, sizeof(text), "%04d-%02d-%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday);
    snprintf(out, CLOCK_DATE_SIZE, "%.10s", text);
    return out;
}

char *clock_format_amz(int64_t utc_us, char *out) {
    int ms;
    struct tm t = split(utc_us, &ms);
    char text[80];
    snprintf(text, sizeof(text), "%04d%02d%02dT%02d%02d%02dZ", t.tm_year + 1900, t.tm_mon + 1,
             t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    snprintf(out, CLOCK_AMZ_SIZE, "%.16s", text);
    return out;
}

int64_t clock_parse_http(const char *text) {
    struct tm t = {0};
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &t);
    if (!end || *end) {
        return -1;
    }
    return (int64_t)timegm(&t) * US_PER_S;
}

int64_t clock_parse_rfc3339(const char *text) {
    struct tm t = {0};
    const char *end = strptime(text, "%Y-%m-%d", &t);
    if (!end) {
        return -1;
    }
    if (!*end) {
        return (int64_t)timegm(&t) * US_PER_S;
    }
    end = strptime(end, "T%H:%M:%S", &t);
    if (!end) {
        return -1;
    }
    int64_t fraction_us = 0;
    if (*end == '.') {
        end++;
        for (int64_t unit = US_PER_S / 10; *end >= '0' && *end <= '9'; end++, unit /= 10) {
            fraction_us += (*end - '0') * unit;
        }
    }
    if (strcmp(end, "Z") != 0) {
        return -1;
    }
    return (int64_t)timegm(&t) * US_PER_S + fraction_us;
}

void clock_sleep_ms(int ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}
