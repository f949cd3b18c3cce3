/* ticket: thousands may wait for their verdict at the price of a small struct each, and the verdict
 * may come at any time, on any thread, before or after the caller has gone.
 *
 * States: new       made, the request is not suspended yet
 *         parked    `parked` is the suspended connection
 *         answered  `answer.status` is set; the connection was woken, or never slept
 *         left      the request has ended; a verdict that comes now only frees the ticket
 *
 * Invariants
 * 1. A connection is suspended before `parked` names it, and is resumed by whoever takes it out of
 * `parked`, under the ticket's lock: so exactly once, never before the suspension.
 * 2. `parked` implies that the request lives: microhttpd does not end a suspended connection.
 * 3. The first answer wins: the verdict, a deadline, or the shutdown.
 * 4. After webui_stop has closed `waiting`, every ticket is answered; the other holder then touches
 * the ticket alone. Lock order: waiting.lock, then ticket.lock.
 */
#include "webui/ticket.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/state.h"
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MAX_US (120 * INT64_C(1000000))

struct webui__ticket *webui__ticket_create(struct webui__request *request) {
    struct webui__ticket *ticket = mem_alloc(sizeof(*ticket));
    if (ticket) {
        pthread_mutex_init(&ticket->lock, NULL);
        ticket->holders = 1;
        ticket->webui = request->webui;
        request->ticket = ticket; /* webui__ticket_leave frees it in any case */
    }
    return ticket;
}

void webui__ticket_release(struct webui__ticket *ticket) {
    pthread_mutex_lock(&ticket->lock);
    bool last = --ticket->holders == 0;
    pthread_mutex_unlock(&ticket->lock);
    if (last) {
        pthread_mutex_destroy(&ticket->lock);
        free(ticket->answer.bytes);
        free(ticket);
    }
}

/* Under the ticket's lock. */
static void wake(struct webui__ticket *ticket) {
    struct MHD_Connection *connection = TAKE_PTR(ticket->parked);
    if (connection) {
        MHD_resume_connection(connection);
    }
}

void webui__ticket_answer(struct webui__ticket *ticket, struct webui__answer *answer) {
    if (ticket->answer.status) {
        free(TAKE_PTR(answer->bytes));
        return;
    }
    ticket->answer = *answer;
    answer->bytes = NULL;
    wake(ticket);
}

void webui__ticket_refuse(struct webui__ticket *ticket, int status, const char *reason) {
    struct webui__answer answer = {.status = status};
    snprintf(answer.reason, sizeof(answer.reason), "%s", reason);
    pthread_mutex_lock(&ticket->lock);
    webui__ticket_answer(ticket, &answer);
    pthread_mutex_unlock(&ticket->lock);
}

/* ---- the list of those who wait ---- */

static bool enlist(struct webui *webui, struct webui__ticket *ticket) {
    pthread_mutex_lock(&webui->waiting.lock);
    bool open = !webui->waiting.closed;
    if (open) {
        ticket->deadline_boot_us = clock_boot_us() + WAIT_MAX_US;
        ticket->next = webui->waiting.first;
        if (ticket->next) {
            ticket->next->prev = ticket;
        }
        webui->waiting.first = ticket;
        ticket->listed = true;
        atomic_fetch_add(&webui->scored.waiting, 1);
    }
    pthread_mutex_unlock(&webui->waiting.lock);
    return open;
}

static void unlist(struct webui *webui, struct webui__ticket *ticket) {
    pthread_mutex_lock(&webui->waiting.lock);
    if (ticket->listed) {
        struct webui__ticket **before = ticket->prev ? &ticket->prev->next : &webui->waiting.first;
        *before = ticket->next;
        if (ticket->next) {
            ticket->next->prev = ticket->prev;
        }
        ticket->listed = false;
        atomic_fetch_sub(&webui->scored.waiting, 1);
    }
    pthread_mutex_unlock(&webui->waiting.lock);
}

bool webui__ticket_park(struct webui__request *request) {
    struct webui__ticket *ticket = request->ticket;
    if (!enlist(request->webui, ticket)) {
        webui__ticket_refuse(ticket, MHD_HTTP_SERVICE_UNAVAILABLE, WEBUI__CLOSING);
        return false;
    }
    request->parked = true;
    MHD_suspend_connection(request->connection);
    pthread_mutex_lock(&ticket->lock);
    ticket->parked = request->connection;
    bool asleep = ticket->answer.status == 0;
    if (asleep) {
        ticket->holders++;
    } else {
        wake(ticket); /* the shutdown came between */
    }
    pthread_mutex_unlock(&ticket->lock);
    return asleep;
}

void webui__ticket_leave(struct webui__request *request) {
    struct webui__ticket *ticket = TAKE_PTR(request->ticket);
    if (ticket) {
        unlist(request->webui, ticket);
        webui__ticket_release(ticket);
    }
}

void webui__waiting_sweep(struct webui *webui, bool closing) {
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&webui->waiting.lock);
    webui->waiting.closed |= closing;
    for (struct webui__ticket *at = webui->waiting.first; at; at = at->next) {
        if (closing || at->deadline_boot_us < now) {
            webui__ticket_refuse(at, MHD_HTTP_SERVICE_UNAVAILABLE,
                                 closing ? WEBUI__CLOSING : "the verdict took too long");
        }
    }
    pthread_mutex_unlock(&webui->waiting.lock);
}
