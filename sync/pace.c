#include "sync/pace.h"

#define EPOCH_ENDS_MIN 16
#define EPOCH_MIN_US   INT64_C(20000)
#define OBJECT_WORK    16384.0 /* what an object costs beside its bytes, in bytes */
#define CLIMB_GAIN     1.25
#define TRY_GAIN       1.08
#define TRY_LOSS       0.97
#define CHANGED        0.6 /* of the plateau: the road is another than it was */
#define STRIKES_MAX    2
#define PATIENCE_MIN   6
#define PATIENCE_MAX   48
#define FORGET         0.95 /* of the plateau, each epoch that stays below it */

static void epoch_begin(struct pace *pace, unsigned settling) {
    pace->settling = settling;
    pace->ends = 0;
    pace->work = 0;
    pace->since_us = 0;
    pace->filled = false;
}

static void window_set(struct pace *pace, unsigned window) {
    unsigned before = pace->window;
    pace->window = window < 1 ? 1 : window > pace->max ? pace->max : window;
    epoch_begin(pace, before); /* what is under way was started in the window before */
}

void sync__pace_init(struct pace *pace, unsigned fixed, unsigned max) {
    unsigned start = PACE_START < max ? PACE_START : max;
    *pace = (struct pace){.window = fixed > 0 ? fixed : start,
                          .max = max > 0 ? max : 1,
                          .fixed = fixed > 0,
                          .patience = PATIENCE_MIN};
}

void sync__pace_filled(struct pace *pace) {
    pace->filled = true;
}

static void hold(struct pace *pace, unsigned window) {
    pace->phase = PACE_HOLD;
    pace->strikes = pace->held = 0;
    window_set(pace, window);
}

static void climb_judge(struct pace *pace, double rate) {
    bool first = pace->best <= 0;
    if (first || rate >= pace->best * CLIMB_GAIN) {
        pace->best = rate;
        pace->best_window = pace->window;
        pace->strikes = 0;
        if (pace->window < pace->max) {
            window_set(pace, pace->window * 2);
        } else {
            hold(pace, pace->window);
        }
    } else if (++pace->strikes >= STRIKES_MAX) {
        hold(pace, pace->best_window);
    } else {
        epoch_begin(pace, 0);
    }
}

static void climb(struct pace *pace, double rate) {
    pace->phase = PACE_CLIMB;
    pace->strikes = 0;
    pace->best = rate;
    pace->best_window = pace->window;
    window_set(pace, pace->window * 2);
}

static void hold_judge(struct pace *pace, double rate) {
    pace->strikes = rate < pace->best * CHANGED ? pace->strikes + 1 : 0;
    if (pace->strikes >= STRIKES_MAX) {
        climb(pace, rate);
        return;
    }
    pace->best = rate > pace->best * FORGET ? rate : pace->best * FORGET;
    pace->best_window = pace->window;
    if (++pace->held < pace->patience) {
        epoch_begin(pace, 0);
        return;
    }
    unsigned quarter = pace->window / 4 > 0 ? pace->window / 4 : 1;
    bool less = pace->less_next && pace->window > 1;
    pace->less_next = !pace->less_next;
    pace->phase = less ? PACE_TRY_LESS : PACE_TRY_MORE;
    window_set(pace, less ? pace->window - quarter : pace->window + quarter);
}

static void try_judge(struct pace *pace, double rate) {
    bool more = pace->phase == PACE_TRY_MORE;
    bool gained = more && rate >= pace->best * TRY_GAIN;
    bool cheaper = !more && rate >= pace->best * TRY_LOSS;
    pace->patience = gained || cheaper ? PATIENCE_MIN : pace->patience * 2;
    if (pace->patience > PATIENCE_MAX) {
        pace->patience = PATIENCE_MAX;
    }
    if (gained) {
        climb(pace, rate);
    } else {
        hold(pace, cheaper ? pace->window : pace->best_window);
    }
}

void sync__pace_end(struct pace *pace, uint64_t bytes, int64_t now_us) {
    if (pace->fixed) {
        return;
    }
    if (pace->settling > 0) {
        pace->settling--;
        return;
    }
    if (pace->since_us == 0) {
        pace->since_us = now_us;
        return;
    }
    pace->ends++;
    pace->work += (double)bytes + OBJECT_WORK;
    unsigned wanted = pace->window > EPOCH_ENDS_MIN ? pace->window : EPOCH_ENDS_MIN;
    int64_t took_us = now_us - pace->since_us;
    if (pace->ends < wanted || took_us < EPOCH_MIN_US) {
        return;
    }
    if (!pace->filled) {
        epoch_begin(pace, 0);
        return;
    }
    double rate = pace->work * 1e6 / (double)took_us;
    if (pace->phase == PACE_CLIMB) {
        climb_judge(pace, rate);
    } else if (pace->phase == PACE_HOLD) {
        hold_judge(pace, rate);
    } else {
        try_judge(pace, rate);
    }
}

void sync__pace_throttled(struct pace *pace) {
    if (!pace->fixed && (pace->phase != PACE_HOLD || pace->settling == 0)) { /* once a window */
        pace->best = 0;
        pace->patience = PATIENCE_MAX;
        hold(pace, pace->window / 2);
        pace->best_window = pace->window;
    }
}
