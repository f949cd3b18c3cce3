/* budget: what sending costs: bytes a second over the link, bytes and requests a day at each
 * remote, and what the month will cost.
 *
 * The link is a token bucket in debt: something may start while there are tokens, and is charged
 * whole, so that a large object is followed by the silence that it costs. The spent of a day and a
 * month (both UTC, as bills are) is kept in the store's state. It is written ahead by a lease:
 * after a crash the rest of a lease counts as spent, so that a budget is never exceeded for one.
 * Thread: the loop's, but for the functions that say otherwise.
 */
#ifndef CREEL_SYNC_BUDGET_H
#define CREEL_SYNC_BUDGET_H

#include "store/store.h"
#include "sync/sync.h"
#include "sync/timetable.h"
#include <stdbool.h>
#include <stdint.h>

/* ---- the link ---- */

struct link_budget {
    struct timetable table;
    uint64_t rate;        /* now; TIMETABLE_NO_LIMIT: none */
    int64_t until_utc_us; /* when that may change */
    double tokens;        /* bytes; below 0: to be waited for */
    int64_t at_us;        /* boot time of `tokens` */
};

void sync__link_init(struct link_budget *link, const struct timetable *table);
/* May something start now? */
bool sync__link_open(struct link_budget *link, int64_t now_us, int64_t utc_us);
void sync__link_charge(struct link_budget *link, uint64_t bytes);
/* When it may, in boot time; only where it is not open now. */
int64_t sync__link_opens_us(const struct link_budget *link, int64_t now_us, int64_t utc_us);

/* ---- days and months of one remote ---- */

struct spent {
    int64_t day;          /* days since 1970 */
    int64_t month;        /* months since year 0 */
    int64_t since_utc_us; /* the first of this month that was counted */
    uint64_t day_requests, day_bytes, month_requests, month_bytes;
};

struct budget {
    struct sync_budget config;
    struct sync_prices prices;
    struct spent spent;
    struct spent saved; /* in the store's state; what is spent may grow so far */
};

/* Empty as if nothing was ever spent; `text` as sync__budget_save wrote it is taken in. */
void sync__budget_init(struct budget *budget, const struct sync_remote_config *config,
                       const char *text, int64_t utc_us);
/* May a request with so many bytes start now? What is larger than a whole day's bytes may where
 * nothing else was sent on that day. */
bool sync__budget_open(struct budget *budget, uint64_t bytes, int64_t utc_us);
/* True when the lease is used up, and sync__budget_save's text should be made durable. */
bool sync__budget_charge(struct budget *budget, uint64_t bytes, int64_t utc_us);
#define BUDGET_TEXT_MAX 256
/* With a lease ahead, or, at the end, exactly what was spent. */
void sync__budget_save(struct budget *budget, bool exact, char text[BUDGET_TEXT_MAX]);
/* The next midnight UTC. */
int64_t sync__budget_opens_utc_us(int64_t utc_us);
/* What this month will have cost by the prices at this rate; negative: no prices. */
double sync__budget_month_cost(const struct budget *budget, int64_t utc_us);

/* ---- how fast it goes: a mean that forgets ---- */

#define METER_TAU_S 20.0

struct meter {
    double objects, bytes; /* a second */
    int64_t at_us;
};
void sync__meter_add(struct meter *meter, uint64_t bytes, int64_t now_us);
/* As of now; any thread that has its own copy. */
struct meter sync__meter_now(const struct meter *meter, int64_t now_us);

#endif
