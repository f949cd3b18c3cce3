/* ticket: what stands between a request that waits for its frame's verdict and the pipeline.
 *
 * Both hold it; the last one frees it. Life cycle: webui__ticket_create (the request's hold) ->
 * webui__ticket_park (the pipeline's hold) -> webui__ticket_answer, once -> each hold released:
 * webui__ticket_leave for the request, webui__ticket_release for the other. Thread: see ticket.c.
 */
#ifndef CREEL_WEBUI_TICKET_H
#define CREEL_WEBUI_TICKET_H

#include "daemon/base/hash.h"
#include "webui/http.h"
#include "webui/order.h"
#include <pthread.h>

struct webui__answer {
    int status;       /* 0: none yet */
    bool empty;       /* 200, but nothing was found */
    const char *type; /* of bytes */
    char *bytes;      /* 200: owned */
    size_t size;
    char reason[ERR_TEXT_MAX * 2]; /* 400 and above */
    char frame[HASH_ID_SIZE];      /* wait=stored: the frame that is durable now; else "" */
};

struct webui__ticket {
    struct webui__order order; /* fixed once it is parked */
    struct webui *webui; /* for the other holder: valid under `lock` while there is no answer */

    pthread_mutex_t lock; /* guards what follows */
    unsigned holders;
    struct MHD_Connection *parked;
    bool submitted; /* the request's handler has been here */
    struct webui__answer answer;

    struct webui__ticket *prev, *next; /* in webui->waiting; under its lock */
    bool listed;
    int64_t deadline_boot_us;
};

/* The request holds it from here on, also when it is never parked. NULL: no memory. */
struct webui__ticket *webui__ticket_create(struct webui__request *request);

/* Suspends the request's connection and takes the second hold. False, and no hold: webui stops, and
 * the ticket is answered. */
bool webui__ticket_park(struct webui__request *request);

/* Under ticket->lock. The first answer wins: its bytes are moved in; those of a later one are
 * freed. */
void webui__ticket_answer(struct webui__ticket *ticket, struct webui__answer *answer);

/* The same with a reason, taking and giving back the lock. */
void webui__ticket_refuse(struct webui__ticket *ticket, int status, const char *reason);

void webui__ticket_release(struct webui__ticket *ticket);

#endif
