/* gate: the budgets of a lane, at the one place where something starts. The arithmetic is in
 * budget.c; here are the store's state, the loop's deadlines and what the status says of it. */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <string.h>

#define SPENT_SPACE "sync-spent"
#define HEAD_BYTES  1024 /* of a request beside its body: head, reply, acknowledgements */

static void spent_save(struct lane *lane, bool exact) {
    char text[BUDGET_TEXT_MAX];
    struct err err = {0};
    const char *name = lane->remote->name;
    sync__budget_save(&lane->budget, exact, text);
    uint64_t missed = 0;
    if (store_state_put(lane->sync->store, SPENT_SPACE, name, strlen(name), text, strlen(text),
                        &err) != 0 &&
        log_gate_open(&lane->gate, LANE_LOG_MS, &missed)) {
        log_err(LOG_LEVEL_WARN, "what was spent today could not be noted", &err);
    }
}

int sync__gate_load(struct lane *lane, const struct sync_remote_config *config, struct err *err) {
    char text[BUDGET_TEXT_MAX] = "";
    size_t size = 0;
    int code = store_state_get(lane->sync->store, SPENT_SPACE, config->name, strlen(config->name),
                               text, sizeof text - 1, &size, err);
    if (code != 0 && code != ERR_NOT_FOUND) {
        return code;
    }
    text[code == 0 ? size : 0] = '\0';
    sync__budget_init(&lane->budget, config, text, clock_utc_us());
    return 0;
}

void sync__gate_finish(struct lane *lane) {
    if (lane->spent) {
        spent_save(lane, true);
    }
}

bool sync__gate_open(struct lane *lane, uint64_t bytes, int64_t now_us) {
    struct sync *sync = lane->sync;
    int64_t utc_us = clock_utc_us();
    lane->gate_until_us = 0;
    lane->status.budget_spent = !sync__budget_open(&lane->budget, bytes, utc_us);
    if (lane->status.budget_spent) {
        lane->gate_until_us = now_us + sync__budget_opens_utc_us(utc_us) - utc_us;
        return false;
    }
    lane->status.throttled = lane->porter == NULL && !sync__link_open(&sync->link, now_us, utc_us);
    if (lane->status.throttled) {
        lane->gate_until_us = sync__link_opens_us(&sync->link, now_us, utc_us);
        return false;
    }
    return true;
}

uint64_t sync__gate_charge(struct lane *lane, uint64_t bytes) {
    struct sync *sync = lane->sync;
    lane->status.requests++;
    lane->spent = true;
    if (sync__budget_charge(&lane->budget, bytes, clock_utc_us())) {
        spent_save(lane, false);
    }
    if (lane->porter != NULL) {
        return 0;
    }
    sync__link_charge(&sync->link, bytes + HEAD_BYTES);
    return sync->link.rate == TIMETABLE_NO_LIMIT ? 0 : sync->link.rate;
}

void sync__gate_publish(struct lane *lane, int64_t now_us) {
    struct sync_remote_status *status = &lane->status;
    const struct budget *budget = &lane->budget;
    struct meter meter = sync__meter_now(&lane->meter, now_us);
    status->window = lane->pace.window;
    status->objects_per_s = meter.objects;
    status->bytes_per_s = meter.bytes;
    status->day_requests = budget->spent.day_requests;
    status->day_bytes = budget->spent.day_bytes;
    status->day_budget = budget->config;
    status->month_cost = sync__budget_month_cost(budget, clock_utc_us());
}

int sync_bandwidth_check(const char *text, struct err *err) {
    CLEANUP(mem_free_at) struct timetable *table = mem_alloc(sizeof *table);
    return table == NULL ? err_set(err, ERR_NOMEM, "no memory for a timetable")
                         : sync__timetable_parse(text, table, err);
}
