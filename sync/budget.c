#include "sync/budget.h"
#include "daemon/base/clock.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BURST_S            1.0 /* of tokens that may gather */
#define LEASES             64  /* of a day's budget */
#define LEASE_REQUESTS_MIN 16
#define LEASE_REQUESTS_MAX 4096
#define LEASE_BYTES_MIN    (UINT64_C(1) << 20)
#define LEASE_BYTES_MAX    (UINT64_C(256) << 20)
#define DAY_US             INT64_C(86400000000)

/* ---- the link ---- */

void sync__link_init(struct link_budget *link, const struct timetable *table) {
    *link = (struct link_budget){.table = *table, .rate = TIMETABLE_NO_LIMIT};
}

bool sync__link_open(struct link_budget *link, int64_t now_us, int64_t utc_us) {
    int64_t until = 0;
    uint64_t rate = sync__timetable_rate(&link->table, utc_us, &until);
    if (rate != link->rate) {
        link->tokens = 0;
    } else if (rate != TIMETABLE_NO_LIMIT && link->at_us != 0) {
        double most = (double)rate * BURST_S;
        link->tokens += (double)rate * (double)(now_us - link->at_us) / 1e6;
        link->tokens = link->tokens > most ? most : link->tokens;
    }
    link->rate = rate;
    link->until_utc_us = until;
    link->at_us = now_us;
    return rate == TIMETABLE_NO_LIMIT || (rate > 0 && link->tokens >= 0);
}

void sync__link_charge(struct link_budget *link, uint64_t bytes) {
    if (link->rate != TIMETABLE_NO_LIMIT) {
        link->tokens -= (double)bytes;
    }
}

int64_t sync__link_opens_us(const struct link_budget *link, int64_t now_us, int64_t utc_us) {
    int64_t at = INT64_MAX;
    if (link->rate > 0 && link->rate != TIMETABLE_NO_LIMIT && link->tokens < 0) {
        at = link->at_us + (int64_t)(-link->tokens * 1e6 / (double)link->rate) + 1000;
    }
    if (link->until_utc_us != INT64_MAX && link->until_utc_us - utc_us < at - now_us) {
        at = now_us + link->until_utc_us - utc_us;
    }
    return at;
}

/* ---- days and months ---- */

static int64_t day_of(int64_t utc_us) {
    return utc_us / DAY_US;
}

static int64_t month_of(int64_t utc_us) {
    time_t utc_s = (time_t)(utc_us / 1000000);
    struct tm at = {0};
    gmtime_r(&utc_s, &at);
    return (int64_t)(at.tm_year + 1900) * 12 + at.tm_mon;
}

static int64_t month_begins_us(int64_t month) {
    struct tm at = {.tm_year = (int)(month / 12) - 1900, .tm_mon = (int)(month % 12), .tm_mday = 1};
    return (int64_t)timegm(&at) * 1000000;
}

/* A clock that goes back does not give a spent day back. */
static void roll(struct spent *spent, int64_t utc_us) {
    int64_t day = day_of(utc_us);
    if (day <= spent->day) {
        return;
    }
    spent->day = day;
    spent->day_requests = spent->day_bytes = 0;
    int64_t month = month_of(utc_us);
    if (month > spent->month) {
        spent->month = month;
        spent->month_requests = spent->month_bytes = 0;
        spent->since_utc_us = utc_us;
    }
}

void sync__budget_init(struct budget *budget, const struct sync_remote_config *config,
                       const char *text, int64_t utc_us) {
    *budget = (struct budget){.config = config->budget, .prices = config->prices};
    struct spent spent = {0};
    if (text != NULL &&
        sscanf(text,
               "1 %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &spent.day, &spent.month, &spent.since_utc_us, &spent.day_requests, &spent.day_bytes,
               &spent.month_requests, &spent.month_bytes) == 7) {
        budget->spent = spent;
    }
    if (budget->spent.day > day_of(utc_us) + 1) {
        budget->spent = (struct spent){0}; /* written by a clock that was years ahead */
    }
    roll(&budget->spent, utc_us);
    budget->saved = budget->spent;
}

bool sync__budget_open(struct budget *budget, uint64_t bytes, int64_t utc_us) {
    const struct sync_budget *most = &budget->config;
    roll(&budget->spent, utc_us);
    const struct spent *spent = &budget->spent;
    if (most->day_requests > 0 && spent->day_requests >= most->day_requests) {
        return false;
    }
    return most->day_bytes == 0 || spent->day_bytes == 0 ||
           (spent->day_bytes < most->day_bytes && bytes <= most->day_bytes - spent->day_bytes);
}

bool sync__budget_charge(struct budget *budget, uint64_t bytes, int64_t utc_us) {
    struct spent *spent = &budget->spent;
    roll(spent, utc_us);
    spent->day_requests++;
    spent->day_bytes += bytes;
    spent->month_requests++;
    spent->month_bytes += bytes;
    return spent->day != budget->saved.day || spent->day_requests > budget->saved.day_requests ||
           spent->day_bytes > budget->saved.day_bytes;
}

static uint64_t lease(uint64_t whole, uint64_t least, uint64_t most) {
    uint64_t part = whole / LEASES;
    return whole == 0 || part > most ? most : part < least ? least : part;
}

void sync__budget_save(struct budget *budget, bool exact, char text[BUDGET_TEXT_MAX]) {
    struct spent saved = budget->spent;
    if (!exact) {
        uint64_t requests =
            lease(budget->config.day_requests, LEASE_REQUESTS_MIN, LEASE_REQUESTS_MAX);
        uint64_t bytes = lease(budget->config.day_bytes, LEASE_BYTES_MIN, LEASE_BYTES_MAX);
        saved.day_requests += requests;
        saved.month_requests += requests;
        saved.day_bytes += bytes;
        saved.month_bytes += bytes;
    }
    budget->saved = saved;
    snprintf(text, BUDGET_TEXT_MAX,
             "1 %" PRId64 " %" PRId64 " %" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
             saved.day, saved.month, saved.since_utc_us, saved.day_requests, saved.day_bytes,
             saved.month_requests, saved.month_bytes);
}

int64_t sync__budget_opens_utc_us(int64_t utc_us) {
    return (day_of(utc_us) + 1) * DAY_US;
}

double sync__budget_month_cost(const struct budget *budget, int64_t utc_us) {
    const struct sync_prices *prices = &budget->prices;
    const struct spent *spent = &budget->spent;
    if (prices->requests_10k <= 0 && prices->gb_upload <= 0 && prices->gb_month <= 0) {
        return -1;
    }
    double cost = (double)spent->month_requests / 1e4 * prices->requests_10k +
                  (double)spent->month_bytes / 1e9 * (prices->gb_upload + prices->gb_month);
    double whole = (double)(month_begins_us(spent->month + 1) - month_begins_us(spent->month));
    double counted = (double)(utc_us - spent->since_utc_us);
    double left = (double)(month_begins_us(spent->month + 1) - utc_us);
    if (counted < (double)DAY_US) { /* too short to foretell from: as if it had been a day */
        counted = (double)DAY_US;
    }
    left = left > 0 && left < whole ? left : 0;
    return cost + cost / counted * left;
}

/* ---- rates ---- */

struct meter sync__meter_now(const struct meter *meter, int64_t now_us) {
    double kept = exp(-(double)(now_us - meter->at_us) / 1e6 / METER_TAU_S);
    return (struct meter){meter->objects * kept, meter->bytes * kept, now_us};
}

void sync__meter_add(struct meter *meter, uint64_t bytes, int64_t now_us) {
    *meter = sync__meter_now(meter, now_us);
    meter->objects += 1 / METER_TAU_S;
    meter->bytes += (double)bytes / METER_TAU_S;
}
