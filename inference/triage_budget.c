/* triage_budget: what rules may spend, and what they have spent.
 *
 * Two ledgers. The general one is a camera's and tier's: one frame in `budget_per_ms`, and so many
 * a day, whatever rule keeps them. A rule may have a budget of its own, with a purse for each
 * camera, class, or both, as it asks: then a frame must find room in both, but for the general
 * window, in whose place the rule's own windows (per, minute, hour) are.
 *
 * A window is counted in boot time, which never jumps: it opens with its first frame and is over
 * after its length. Frames of several workers may come slightly out of order, so the distance
 * counts, not its sign. A day is a UTC date, because that is what people pay by. Day counts are
 * read from the memory when a camera or purse is first seen or the date changes, and written back
 * every DAY_SAVE_COUNT frames, every DAY_SAVE_US, at a change of date, when it is forgotten, and at
 * the end: a crash forgets less than DAY_SAVE_COUNT frames of each, in the camera's favour.
 *
 * In the shortest window that holds for a rule (its own, else the general one), what is kept is not
 * final before the window ends: a frame worth DISPLACE_MARGIN more than the weakest of the same
 * tier displaces it, when the window is full. The margin bounds how often that can happen.
 *
 * Invariants:
 *  1. A frame takes budget only from the rule that keeps it, and only when all of it has room; or
 *     it takes the place of the frame that it displaces, in every count that this one is in.
 *  2. At most PURSES_MAX purses; the one not used for longest makes room (its day is saved first).
 */
#include "inference/triage_parts.h"

#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>

#define DISPLACE_MARGIN 0.05
#define DAY_SAVE_COUNT  16
#define DAY_SAVE_US     (10 * INT64_C(1000000))
#define DAY_US          (86400 * INT64_C(1000000))
#define MINUTE_MS       60000
#define HOUR_MS         3600000

static const char *const tier_names[TIER_COUNT] = {
    [TIER_ANNOTATED] = "annotated",
    [TIER_UNANNOTATED] = "unannotated",
};

/* ---- windows ---- */

/* Compared in ms: the product would overflow for windows that only a slip of the pen asks for. */
static bool window_over(const struct triage__window *window, int64_t length_ms, int64_t boot_us) {
    return !window->open || llabs(boot_us - window->since_us) / 1000 >= length_ms;
}

static bool window_left(const struct triage__window *window, int64_t length_ms, uint32_t frames,
                        int64_t boot_us) {
    return length_ms <= 0 || frames == 0 || window_over(window, length_ms, boot_us) ||
           window->count < frames;
}

static void window_take(struct triage__window *window, int64_t length_ms, int64_t boot_us) {
    if (window_over(window, length_ms, boot_us)) {
        *window = (struct triage__window){.open = true, .since_us = boot_us};
    }
    window->count++;
}

/* ---- the general ledger ---- */

static void day_key(const struct triage__camera *camera, enum frame_tier tier, struct buf *out) {
    buf_printf(out, "day/%s/%s/%s", camera->date, camera->name, tier_names[tier]);
}

static void day_save(struct triage *triage, struct triage__camera *camera, enum frame_tier tier) {
    struct triage__tier *sums = &camera->tiers[tier];

    if (!triage->memory.count_put || sums->day_count == sums->day_saved) {
        return;
    }
    CLEANUP(buf_finish) struct buf key = BUF_INIT(TRIAGE__KEY_SIZE);
    day_key(camera, tier, &key);
    if (key.failed) {
        return; /* no memory for a key of 60 bytes: the next frame tries again */
    }
    triage->memory.count_put(triage->memory.ctx, key.data, sums->day_count);
    sums->day_saved = sums->day_count;
}

static void day_load(struct triage *triage, struct triage__camera *camera, enum frame_tier tier) {
    struct triage__tier *sums = &camera->tiers[tier];

    sums->day_count = 0;
    if (triage->memory.count_get && triage->config.budget_day > 0) {
        CLEANUP(buf_finish) struct buf key = BUF_INIT(TRIAGE__KEY_SIZE);
        day_key(camera, tier, &key);
        if (!key.failed) {
            sums->day_count = triage->memory.count_get(triage->memory.ctx, key.data);
        }
    }
    sums->day_saved = sums->day_count;
}

/* A clock that is set right may go back, so a date is another one, not a later one. */
void triage__budget_turn_page(struct triage *triage, struct triage__camera *camera,
                              int64_t utc_us) {
    char date[CLOCK_DATE_SIZE];

    clock_format_date(utc_us, date);
    if (strcmp(date, camera->date) == 0) {
        return;
    }
    triage__budget_save_camera(triage, camera);
    memcpy(camera->date, date, sizeof date);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        day_load(triage, camera, (enum frame_tier)tier);
    }
}

void triage__budget_save_camera(struct triage *triage, struct triage__camera *camera) {
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        day_save(triage, camera, (enum frame_tier)tier);
    }
}

static bool day_is_due(uint64_t count, uint64_t saved, int64_t saved_boot_us, int64_t boot_us) {
    return count - saved >= DAY_SAVE_COUNT || llabs(boot_us - saved_boot_us) >= DAY_SAVE_US;
}

static void tier_take_day(struct triage *triage, const struct triage__bill *bill) {
    struct triage__tier *sums = &bill->camera->tiers[bill->tier];
    if (triage->config.budget_day == 0) {
        return;
    }
    sums->day_count++;
    if (day_is_due(sums->day_count, sums->day_saved, sums->saved_boot_us, bill->boot_us)) {
        day_save(triage, bill->camera, bill->tier);
        sums->saved_boot_us = bill->boot_us;
    }
}

/* ---- purses ---- */

static void purse_save(struct triage *triage, struct triage__purse *purse) {
    if (!triage->memory.count_put || purse->day_count == purse->day_saved) {
        return;
    }
    CLEANUP(buf_finish) struct buf key = BUF_INIT(TRIAGE__KEY_SIZE);
    buf_printf(&key, "spent/%s/%s/%d", triage->rules[purse->rule].set.name, purse->camera,
               purse->class_index);
    if (key.failed) {
        return;
    }
    /* The day goes into the count, so that a key is never a day's: nobody would drop it. */
    triage->memory.count_put(triage->memory.ctx, key.data,
                             (uint64_t)purse->day << 32 | (uint32_t)purse->day_count);
    purse->day_saved = purse->day_count;
}

static void purse_turn_page(struct triage *triage, struct triage__purse *purse, int64_t day) {
    uint64_t known = 0;
    if (purse->day == day) {
        return;
    }
    purse_save(triage, purse);
    purse->day = day;
    CLEANUP(buf_finish) struct buf key = BUF_INIT(TRIAGE__KEY_SIZE);
    buf_printf(&key, "spent/%s/%s/%d", triage->rules[purse->rule].set.name, purse->camera,
               purse->class_index);
    if (triage->memory.count_get && triage->rules[purse->rule].set.day > 0 && !key.failed) {
        known = triage->memory.count_get(triage->memory.ctx, key.data);
    }
    purse->day_count = known >> 32 == (uint64_t)day ? known & UINT32_MAX : 0;
    purse->day_saved = purse->day_count;
}

static struct triage__purse *purse_make_room(struct triage *triage) {
    if (triage->purse_count < TRIAGE__PURSES_MAX) {
        return &triage->purses[triage->purse_count++];
    }
    struct triage__purse *oldest = &triage->purses[0];
    for (size_t i = 1; i < triage->purse_count; i++) {
        if (triage->purses[i].seen < oldest->seen) {
            oldest = &triage->purses[i];
        }
    }
    purse_save(triage, oldest);
    return oldest;
}

static struct triage__purse *purse_of(struct triage *triage, const struct triage__bill *bill) {
    int each = bill->rule->set.each;
    bool by_class = each == TRIAGE_EACH_CLASS || each == TRIAGE_EACH_CAMERA_CLASS;
    bool by_camera = each == TRIAGE_EACH_CAMERA || each == TRIAGE_EACH_CAMERA_CLASS;
    int class_index = by_class ? bill->class_index : -1;
    const char *camera = by_camera ? bill->camera->name : "";
    struct triage__purse *purse = NULL;
    for (size_t i = 0; i < triage->purse_count && !purse; i++) {
        struct triage__purse *here = &triage->purses[i];
        bool same = here->rule == bill->number && here->class_index == class_index &&
                    strcmp(here->camera, camera) == 0;
        purse = same ? here : NULL;
    }
    if (!purse) {
        purse = purse_make_room(triage);
        *purse = (struct triage__purse){
            .rule = bill->number, .class_index = class_index, .day = INT64_MIN};
        memcpy(purse->camera, camera, strlen(camera) + 1);
    }
    purse->seen = triage->turn;
    purse_turn_page(triage, purse, bill->utc_us / DAY_US);
    return purse;
}

static const int64_t span_ms[SPAN_COUNT] = {[SPAN_MINUTE] = MINUTE_MS, [SPAN_HOUR] = HOUR_MS};

static int64_t span_length(const struct triage__rule *rule, int span) {
    return span == SPAN_PER ? rule->set.per_ms : span_ms[span];
}

static uint32_t span_frames(const struct triage__rule *rule, int span) {
    return span == SPAN_MINUTE ? rule->set.minute : span == SPAN_HOUR ? rule->set.hour : 1;
}

static bool purse_day_left(const struct triage__purse *purse, const struct triage__bill *bill) {
    return bill->rule->set.day == 0 || purse->day_count < bill->rule->set.day;
}

static bool purse_left(const struct triage__purse *purse, const struct triage__bill *bill) {
    const struct triage__rule *rule = bill->rule;
    for (int span = bill->event ? SPAN_MINUTE : SPAN_PER; span < SPAN_COUNT; span++) {
        if (!window_left(&purse->windows[span], span_length(rule, span), span_frames(rule, span),
                         bill->boot_us)) {
            return false;
        }
    }
    return purse_day_left(purse, bill);
}

static void purse_take_windows(struct triage__purse *purse, const struct triage__bill *bill) {
    for (int span = bill->event ? SPAN_MINUTE : SPAN_PER; span < SPAN_COUNT; span++) {
        window_take(&purse->windows[span], span_length(bill->rule, span), bill->boot_us);
    }
}

static void purse_take_day(struct triage *triage, struct triage__purse *purse,
                           const struct triage__bill *bill) {
    if (bill->rule->set.day == 0) {
        return;
    }
    purse->day_count++;
    if (day_is_due(purse->day_count, purse->day_saved, purse->saved_boot_us, bill->boot_us)) {
        purse_save(triage, purse);
        purse->saved_boot_us = bill->boot_us;
    }
}

/* ---- the window in which a better frame displaces ---- */

struct race { /* length_ms 0: there is none */
    struct triage__window *window;
    struct triage__held *held;
    int64_t length_ms;
    uint32_t frames;
};

/* What was held in a window that is over is final. */
static void race_sync(struct race *race) {
    if (race->held->since_us != race->window->since_us) {
        race->held->count = 0;
        race->held->since_us = race->window->since_us;
    }
}

/* The shortest window of the rule's own, else the general one. */
static struct race race_of(struct triage *triage, const struct triage__bill *bill,
                           struct triage__purse *purse) {
    struct triage__tier *sums = &bill->camera->tiers[bill->tier];
    struct race race = {&sums->window, &sums->held, triage->config.budget_per_ms, 1};
    for (int span = 0; bill->rule->own_window && span < SPAN_COUNT; span++) {
        int64_t length_ms = span_length(bill->rule, span);
        bool shorter = race.window == &sums->window || length_ms < race.length_ms;
        if (length_ms > 0 && span_frames(bill->rule, span) > 0 && shorter) {
            race = (struct race){&purse->windows[span], &purse->held, length_ms,
                                 span_frames(bill->rule, span)};
        }
    }
    race_sync(&race);
    return race;
}

/* The weakest of the tier; count: there is none. Days are counted by tier, so a frame takes the
 * place of one of its own. */
static size_t weakest_of(const struct triage__held *held, enum frame_tier tier) {
    size_t weakest = held->count;
    for (size_t i = 0; i < held->count; i++) {
        if (held->frames[i].tier == tier &&
            (weakest == held->count || held->frames[i].value < held->frames[weakest].value)) {
            weakest = i;
        }
    }
    return weakest;
}

static void held_set(struct triage__held *held, size_t at, const struct triage__bill *bill) {
    held->frames[at].id = *bill->id;
    held->frames[at].tier = bill->tier;
    held->frames[at].value = bill->value;
}

static void held_add(struct triage__held *held, const struct triage__bill *bill) {
    size_t strongest = 0;
    if (held->count < TRIAGE__HELD_MAX) {
        held_set(held, held->count++, bill);
        return;
    }
    for (size_t i = 1; i < held->count; i++) {
        strongest = held->frames[i].value > held->frames[strongest].value ? i : strongest;
    }
    if (bill->value < held->frames[strongest].value) {
        held_set(held, strongest, bill);
    }
}

static bool race_is_full(const struct race *race, const struct triage__bill *bill) {
    return race->length_ms > 0 &&
           !window_left(race->window, race->length_ms, race->frames, bill->boot_us);
}

/* The place in the window is handed over, and with it that in all longer windows and days. Where
 * the window is the general one, the frames may be of two rules: then this one's day must have
 * room. */
static struct triage__room room_by_displacing(const struct race *race,
                                              const struct triage__purse *purse,
                                              const struct triage__bill *bill) {
    struct triage__room room = {0};
    size_t weakest = weakest_of(race->held, bill->tier);
    bool day_left = bill->rule->own_window || !purse || purse_day_left(purse, bill);
    if (day_left && weakest < race->held->count &&
        bill->value >= race->held->frames[weakest].value + DISPLACE_MARGIN) {
        room.displaces = true;
        room.displaced = race->held->frames[weakest].id;
    }
    return room;
}

/* ---- both ---- */

struct triage__room triage__budget_room(struct triage *triage, const struct triage__bill *bill) {
    const struct triage__tier *sums = &bill->camera->tiers[bill->tier];
    struct triage__purse *purse = bill->rule->own_budget ? purse_of(triage, bill) : NULL;
    struct race race = race_of(triage, bill, purse);
    if (!bill->event && race_is_full(&race, bill)) {
        return room_by_displacing(&race, purse, bill);
    }
    bool day_left = triage->config.budget_day == 0 || sums->day_count < triage->config.budget_day;
    return (struct triage__room){.free = day_left && (!purse || purse_left(purse, bill))};
}

static int64_t race_take(struct race *race, const struct triage__bill *bill) {
    race_sync(race); /* the bill may have opened it */
    held_add(race->held, bill);
    return race->window->since_us + race->length_ms * 1000;
}

int64_t triage__budget_take(struct triage *triage, const struct triage__bill *bill,
                            const struct triage__room *room) {
    struct triage__purse *purse = bill->rule->own_budget ? purse_of(triage, bill) : NULL;
    struct race race = race_of(triage, bill, purse);
    bool races = race.length_ms > 0 && !bill->event;
    if (room->displaces) {
        held_set(race.held, weakest_of(race.held, bill->tier), bill);
        if (purse && !bill->rule->own_window) {
            purse_take_day(triage, purse, bill);
        }
        return race.window->since_us + race.length_ms * 1000;
    }
    if (!bill->rule->own_window && races) {
        window_take(race.window, race.length_ms, bill->boot_us);
    }
    tier_take_day(triage, bill);
    if (purse) {
        purse_take_windows(purse, bill);
        purse_take_day(triage, purse, bill);
    }
    return races ? race_take(&race, bill) : 0;
}

void triage__budget_save_all(struct triage *triage) {
    for (size_t i = 0; i < triage->camera_count; i++) {
        triage__budget_save_camera(triage, &triage->cameras[i]);
    }
    for (size_t i = 0; i < triage->purse_count; i++) {
        purse_save(triage, &triage->purses[i]);
    }
}
