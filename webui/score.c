/* score: the door for pushed frames: POST /score.
 *
 * Goal: thousands may wait for their verdict at the price of a small struct each, and the verdict
 * may come at any time, on any thread, before or after the caller has gone.
 *
 * A ticket stands between a request and the pipeline. Both hold it; the last one frees it. Its
 * states: new       made, the request is not suspended yet parked    `parked` is the suspended
 * connection answered  `status` is set; the connection was woken, or never slept left      the
 * request has ended; a verdict that comes now only frees the ticket
 *
 * Invariants
 * 1. A connection is suspended before `parked` names it, and is resumed by whoever takes it out of
 * `parked`, under the ticket's lock: so exactly once, never before the suspension.
 * 2. `parked` implies that the request lives: microhttpd does not end a suspended connection.
 * 3. The first answer wins: the verdict, a deadline, or the shutdown.
 * 4. After webui_stop has closed `waiting`, every ticket is answered; the pipeline's half then
 * touches the ticket alone. Lock order: waiting.lock, then ticket.lock.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/json.h"
#include "webui/pages.h"
#include "webui/state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WAIT_MAX_US    (120 * INT64_C(1000000))
#define CLASSES_MAX    512 /* bytes of object= */
#define CAMERA_DEFAULT "http"

struct webui__ticket {
    pthread_mutex_t lock;
    unsigned holders;
    struct webui__ticket *prev, *next; /* in waiting; under its lock */
    bool listed;
    int64_t deadline_boot_us;

    /* what the caller wants */
    double threshold;
    char classes[CLASSES_MAX];
    bool wait_stored;

    struct MHD_Connection *parked;
    int status; /* 0: not answered yet */
    char *json; /* 200: the answer, owned */
    char reason[ERR_TEXT_MAX * 2];
    char frame[HASH_ID_SIZE]; /* wait=stored: the frame that is durable now */
};

/* ---- the ticket ---- */

static void ticket_release(struct webui__ticket *ticket) {
    pthread_mutex_lock(&ticket->lock);
    bool last = --ticket->holders == 0;
    pthread_mutex_unlock(&ticket->lock);
    if (last) {
        pthread_mutex_destroy(&ticket->lock);
        free(ticket->json);
        free(ticket);
    }
}

/* Under the ticket's lock. */
static void ticket_wake(struct webui__ticket *ticket) {
    struct MHD_Connection *connection = TAKE_PTR(ticket->parked);
    if (connection) {
        MHD_resume_connection(connection);
    }
}

/* Under the ticket's lock; the first answer wins. */
static void ticket_answer(struct webui__ticket *ticket, int status, const char *reason) {
    if (!ticket->status) {
        ticket->status = status;
        snprintf(ticket->reason, sizeof(ticket->reason), "%s", reason);
        ticket_wake(ticket);
    }
}

static bool ticket_list(struct webui *webui, struct webui__ticket *ticket) {
    pthread_mutex_lock(&webui->waiting.lock);
    bool open = !webui->waiting.closed;
    if (open) {
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

static void ticket_unlist(struct webui *webui, struct webui__ticket *ticket) {
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

void webui__ticket_leave(struct webui__request *request) {
    struct webui__ticket *ticket = TAKE_PTR(request->ticket);
    if (ticket) {
        ticket_unlist(request->webui, ticket);
        ticket_release(ticket);
    }
}

void webui__waiting_sweep(struct webui *webui, bool closing) {
    int64_t now = clock_boot_us();
    pthread_mutex_lock(&webui->waiting.lock);
    webui->waiting.closed |= closing;
    for (struct webui__ticket *at = webui->waiting.first; at; at = at->next) {
        pthread_mutex_lock(&at->lock);
        if (closing || at->deadline_boot_us < now) {
            ticket_answer(at, MHD_HTTP_SERVICE_UNAVAILABLE,
                          closing ? "creel is shutting down" : "the verdict took too long");
        }
        pthread_mutex_unlock(&at->lock);
    }
    pthread_mutex_unlock(&webui->waiting.lock);
}

/* ---- the verdict ---- */

static int status_of(int code) {
    static const struct {
        int code, status;
    } statuses[] = {
        {ERR_INVALID, MHD_HTTP_BAD_REQUEST},         {ERR_FULL, MHD_HTTP_SERVICE_UNAVAILABLE},
        {ERR_CLOSED, MHD_HTTP_SERVICE_UNAVAILABLE},  {ERR_BUSY, MHD_HTTP_SERVICE_UNAVAILABLE},
        {ERR_TIMEOUT, MHD_HTTP_SERVICE_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        if (statuses[i].code == code) {
            return statuses[i].status;
        }
    }
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

/* The LVA answer as text, NULL when nothing was found. */
static int verdict_text(const struct webui__ticket *ticket, const struct frame_record *record,
                        char **out) {
    json_t *json = NULL;
    size_t count = 0;
    int code = webui__lva_format(record, ticket->threshold, ticket->classes, &json, &count);
    if (code == 0 && json) {
        *out = json_dumps(json, WEBUI__JSON_DUMP);
        code = *out ? 0 : ERR_NOMEM;
    }
    json_decref(json);
    return code;
}

/* The pipeline's half; on its threads. The text is made before the lock is taken. */
static void on_reply(void *ctx, const struct webui_reply *reply) {
    struct webui__ticket *ticket = ctx;
    char reason[ERR_TEXT_MAX * 2] = "out of memory";
    char *json = NULL;
    int code = reply->code;
    if (code) {
        err_text(&reply->err, reason, sizeof(reason));
    } else if (ticket->wait_stored && reply->kept && !reply->stored) {
        code = ERR_BUSY;
        snprintf(reason, sizeof(reason), "the frame was detected, but not stored");
    } else {
        code = verdict_text(ticket, &reply->record, &json);
    }
    int status = code ? status_of(code) : json ? MHD_HTTP_OK : MHD_HTTP_NO_CONTENT;

    pthread_mutex_lock(&ticket->lock);
    if (!ticket->status) {
        ticket->json = TAKE_PTR(json);
        if (ticket->wait_stored && reply->stored && !code) {
            frame_id_format(&reply->record.id, ticket->frame);
        }
        ticket_answer(ticket, status, code ? reason : "");
    }
    pthread_mutex_unlock(&ticket->lock);
    free(json);
    ticket_release(ticket);
}

/* ---- the request ---- */

/* What the Content-Type says of the body: an image we take, "look at the bytes", or neither. */
static bool type_taken(const char *type, bool *sniff) {
    static const char *const taken[] = {"image/jpeg", "image/jpg", "image/png"};
    size_t size = type ? strcspn(type, "; \t") : 0;
    *sniff = size == 0 || (size == 24 && strncasecmp(type, "application/octet-stream", size) == 0);
    for (size_t i = 0; !*sniff && i < ARRAY_LENGTH(taken); i++) {
        if (strlen(taken[i]) == size && strncasecmp(type, taken[i], size) == 0) {
            return true;
        }
    }
    return *sniff;
}

/* Answers and returns false when the body cannot be a frame. */
static bool check_body(struct webui__request *request) {
    const char *type = webui__header(request, "Content-Type");
    bool sniff = false;
    bool taken = type_taken(type, &sniff);
    bool empty = request->body.len == 0;
    enum frame_media media =
        empty ? MEDIA_NONE : webui__media_sniff(request->body.data, request->body.len);
    if (!taken || (sniff && !empty && media == MEDIA_NONE)) {
        webui__set_header(request, "Accept", "image/jpeg, image/png");
        webui__reply_problem(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
                             "send image/jpeg or image/png as Content-Type, not %.80s",
                             taken ? "bytes that are neither" : type);
        return false;
    }
    if (media == MEDIA_NONE) {
        webui__reply_problem(request, MHD_HTTP_BAD_REQUEST,
                             empty ? "the body is empty: send the bytes of a JPEG or PNG"
                                   : "the body does not begin like a JPEG or PNG");
        return false;
    }
    return true;
}

/* Answers and returns false when a parameter is wrong. */
static bool read_parameters(struct webui__request *request, struct webui__ticket *ticket,
                            const char **camera) {
    const char *confidence = webui__arg(request, "confidence");
    const char *classes = webui__arg(request, "object");
    const char *wait = webui__arg(request, "wait");
    *camera = webui__arg(request, "stream");
    *camera = (*camera)[0] ? *camera : CAMERA_DEFAULT;
    ticket->threshold = request->webui->score_threshold;
    ticket->wait_stored = strcmp(wait, "stored") == 0;
    const char *wrong = NULL;
    if (confidence[0] && !webui__number_parse(confidence, 0, 1, &ticket->threshold)) {
        wrong = "confidence= must be a number from 0 to 1";
    } else if (strlen(classes) >= CLASSES_MAX) {
        wrong = "object= is too long: name fewer classes";
    } else if (wait[0] && !ticket->wait_stored) {
        wrong = "wait= can only be \"stored\"";
    } else if (!webui__name_valid(*camera)) {
        wrong = "stream= must be a camera name: a-z, 0-9 and -, at most 32 letters, not beginning "
                "with -";
    }
    if (wrong) {
        webui__reply_problem(request, MHD_HTTP_BAD_REQUEST, "%s", wrong);
        return false;
    }
    snprintf(ticket->classes, sizeof(ticket->classes), "%s", classes);
    return true;
}

/* Suspends the connection and takes the pipeline's hold on the ticket; false when the ticket was
 * answered before (the shutdown came between), and is awake again. */
static bool park(struct webui__request *request, struct webui__ticket *ticket) {
    request->parked = true;
    MHD_suspend_connection(request->connection);
    pthread_mutex_lock(&ticket->lock);
    ticket->parked = request->connection;
    bool asleep = ticket->status == 0;
    if (asleep) {
        ticket->holders++; /* the pipeline's */
    } else {
        ticket_wake(ticket);
    }
    pthread_mutex_unlock(&ticket->lock);
    return asleep;
}

static void submit(struct webui__request *request, struct webui__ticket *ticket,
                   const char *camera) {
    struct webui *webui = request->webui;
    size_t size = 0;
    char *blob = buf_take(&request->body, &size);
    struct err err = {0};
    if (!blob) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    if (!ticket_list(webui, ticket)) {
        free(blob);
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "creel is shutting down");
        return;
    }
    if (!park(request, ticket)) {
        free(blob);
        return;
    }
    /* From here on the ticket may be answered at any moment. The request stays: it is resumed on
     * this thread. */
    atomic_fetch_add(&webui->scored.frames, 1);
    int code = webui->hooks.submit_frame(webui->hooks.ctx, camera, (uint8_t *)blob, size,
                                         ticket->wait_stored, on_reply, ticket, &err);
    if (code) {
        char reason[ERR_TEXT_MAX * 2];
        pthread_mutex_lock(&ticket->lock);
        ticket_answer(ticket, status_of(code), err_text(&err, reason, sizeof(reason)));
        pthread_mutex_unlock(&ticket->lock);
        ticket_release(ticket);
    }
}

/* The request was woken: its ticket is answered, and nobody writes to it any more. */
static void answer(struct webui__request *request, struct webui__ticket *ticket) {
    struct webui__score_counts *counts = &request->webui->scored;
    atomic_ullong *const counter = ticket->status == MHD_HTTP_OK           ? &counts->found
                                   : ticket->status == MHD_HTTP_NO_CONTENT ? &counts->empty
                                                                           : &counts->failed;
    atomic_fetch_add(counter, 1);
    if (ticket->frame[0]) {
        webui__set_header(request, "creel-frame", "%s", ticket->frame);
    }
    if (ticket->status == MHD_HTTP_OK) {
        char *json = TAKE_PTR(ticket->json);
        webui__reply_bytes(request, MHD_HTTP_OK, "application/json", json, 0, strlen(json));
    } else if (ticket->status == MHD_HTTP_NO_CONTENT) {
        webui__reply_static(request, MHD_HTTP_NO_CONTENT, "application/json", "", 0);
    } else {
        webui__reply_problem(request, ticket->status, "%s", ticket->reason);
    }
}

static void on_score(struct webui__request *request) {
    if (request->ticket) {
        pthread_mutex_lock(
            &request->ticket->lock); /* what was written before the wake is seen here */
        pthread_mutex_unlock(&request->ticket->lock);
        answer(request, request->ticket);
        return;
    }
    const char *camera = NULL;
    struct webui__ticket *ticket = mem_alloc(sizeof(*ticket));
    if (!ticket) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    pthread_mutex_init(&ticket->lock, NULL);
    ticket->holders = 1;
    ticket->deadline_boot_us = clock_boot_us() + WAIT_MAX_US;
    request->ticket = ticket; /* freed by webui__ticket_leave in any case */
    if (read_parameters(request, ticket, &camera) && check_body(request)) {
        submit(request, ticket, camera);
    }
}

/* ---- the rest of the server ---- */

static void on_root(struct webui__request *request) {
    static const char text[] =
        "creel takes frames here.\n"
        "\n"
        "POST /score with a JPEG or PNG as the body, Content-Type: image/jpeg or image/png.\n"
        "  200 and JSON: what was found; 204: nothing was found; 400: not an image;\n"
        "  503 with Retry-After: too busy, send it again later.\n"
        "  ?confidence=0.5   report detections from this confidence up\n"
        "  ?object=car,dog   report these classes only\n"
        "  ?stream=dock      the camera's name (a-z 0-9 -), \"http\" by default\n"
        "  ?wait=stored      answer once the frame is durable; header creel-frame has its id\n"
        "\n"
        "POST /trigger?camera=dock keeps that camera's frames around this moment, where a rule of "
        "kind\n"
        "  trigger looks at it; 404: none does.\n"
        "\n"
        "curl -H 'Content-Type: image/jpeg' --data-binary @frame.jpg http://HOST:PORT/score\n";
    webui__reply_static(request, MHD_HTTP_OK, "text/plain; charset=utf-8", text, sizeof(text) - 1);
}

const struct webui__route webui__ingest_routes[] = {
    {METHOD_GET, "/", on_root, ROUTE_OPEN},
    {METHOD_POST, "/score", on_score, ROUTE_BODY},
    {METHOD_POST, "/trigger", webui__on_trigger, 0},
};
const size_t webui__ingest_route_count = ARRAY_LENGTH(webui__ingest_routes);
