/* removal: removals at the remotes, which take as long as a network does, on a thread of their own.
 *
 * POST /api/v1/removals takes an order and answers at once with its id; GET /api/v1/removals/ID
 * says how far it is and what failed, frame by frame. Orders live in memory: one that a restart cut
 * off is to be given again, and does the rest. Life cycle: start -> orders -> stop, which waits for
 * the call that runs. Thread: any.
 */
#ifndef CREEL_WEBUI_REMOVAL_H
#define CREEL_WEBUI_REMOVAL_H

#include "webui/http.h"

#define WEBUI__REMOVALS_MAX    8   /* the one that was done first makes room */
#define WEBUI__REMOVAL_FRAMES  100 /* of one order */
#define WEBUI__REMOVAL_AT_ONCE 20  /* of one call: an end of the daemon waits for no more */
#define WEBUI__REMOVAL_ID_SIZE 17

struct webui__removal {
    char id[WEBUI__REMOVAL_ID_SIZE]; /* "": free */
    enum { REMOVAL_WAITS, REMOVAL_RUNS, REMOVAL_DONE } state;
    uint64_t number; /* the order in which they came */
    struct frame_id frames[WEBUI__REMOVAL_FRAMES];
    size_t count, done;
    bool force;
    json_t *failed; /* owned: a list */
    int64_t ended_boot_us;
};

struct webui__removals {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct webui__removal all[WEBUI__REMOVALS_MAX];
    uint64_t number;
    pthread_t thread;
    bool running, stop;
};

void webui__removals_init(struct webui__removals *removals);
void webui__removals_finish(struct webui__removals *removals);
int webui__removals_start(struct webui *webui, struct err *err);
void webui__removals_stop(struct webui *webui);

void webui__on_removal_new(struct webui__request *request);
void webui__on_removal(struct webui__request *request);

#endif
