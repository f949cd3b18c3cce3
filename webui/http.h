/* http: requests, routes and replies; what all the rooms of webui stand on.
 *
 * A server is one listener with its route table. A handler is called once, on one of the server's
 * threads, when the whole request is here and admitted (method, host, login, bounds), and answers
 * through one of webui__reply_*; or it parks the request (ticket.h, aside.h) and is called again
 * when it was woken. Life cycle: webui__server_start -> webui__server_quiesce (no new connections)
 * -> webui__server_stop. Thread: a request belongs to the thread its handler runs on; nothing may
 * keep a pointer to it but the ticket of ticket.c, under that ticket's lock.
 */
#ifndef CREEL_WEBUI_HTTP_H
#define CREEL_WEBUI_HTTP_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "daemon/base/hash.h"
#include "webui/access.h"
#include "webui/aside.h"
#include "webui/text.h"
#include "webui/tls.h"
#include "webui/watch.h"
#include "webui/webui.h"
#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define WEBUI__URI_MAX     4096         /* bytes of path and query */
#define WEBUI__PAGE_MAX    (16u << 20)  /* bytes of one page of HTML or JSON */
#define WEBUI__HEADERS_MAX 8            /* extra headers of a reply */
#define WEBUI__HEADER_MAX  256          /* bytes of such a header's value */
#define WEBUI__TO_MAX      1024         /* bytes of the address that a log-in leads to, with NUL */
#define WEBUI__BODIES_MAX  (256u << 20) /* bytes of request bodies being received, all together */
#define WEBUI__DRAIN_MAX   (64u << 20)  /* bytes of a refused body that are read and thrown away */

#define WEBUI__RETIRED_MAX 4

#define WEBUI__HTML_TYPE   "text/html; charset=utf-8"
#define WEBUI__JSON_TYPE   "application/json"
#define WEBUI__CLOSING     "creel is shutting down" /* the reason of such a 503 */

struct webui__server;
struct webui__request;
struct webui__ticket;
struct store_reader;

typedef void webui__handler(struct webui__request *request);

enum webui__methods { METHOD_GET = 1, METHOD_POST = 2 }; /* GET serves HEAD too */
enum webui__route_flags {
    ROUTE_OPEN = 1, /* needs no login (or sees to it itself) */
    ROUTE_BODY = 2, /* takes a body */
    ROUTE_LOOK = 4, /* a POST that changes nothing of the store: who may read may send it */
};

struct webui__route {
    unsigned methods;
    const char *pattern; /* "*" stands for one segment, "**" for any: see webui__route_match */
    webui__handler *handle;
    unsigned flags;
    webui__handler *on_headers; /* NULL, or judges the headers before the body is taken: it may
                                   webui__refuse */
};

/* Who may talk to a server. */
struct webui__gate {
    bool loopback;      /* the Host header must be ours: a page of another site must not reach us */
    char host[256];     /* the host of the listen address */
    bool basic, bearer; /* there is a password of web.password, a token of ingest.token */
    bool people;        /* users may log in */
    struct frame_hash secret; /* SHA-256 of the password or the token */
};

struct webui__server_config {
    const char *name, *listen;
    const char *option; /* "web.password", for the error that asks for it */
    bool next_free_port;
    int timeout_s;
    uint32_t body_max;
    const char *body_option;       /* " (x raises that)", for who sends more; NULL: nothing does */
    const char *password, *token;  /* borrowed during the call */
    const char *certificate, *key; /* files; NULL: plain HTTP */
    bool people;
    const struct webui__route *routes;
    size_t route_count;
    unsigned threads, connections;
};

/* A microhttpd with a certificate of before, until its connections are gone. */
struct webui__retired {
    struct MHD_Daemon *daemon; /* NULL: a free place */
    int listener;              /* ours to close, after the daemon's end */
    int64_t since_boot_us;
};

struct webui__server {
    struct webui *webui;
    const char *name;
    const struct webui__route *routes;
    size_t route_count;
    struct webui__gate gate;
    bool tls;
    struct webui__tls files;
    _Atomic pthread_t starter; /* the thread that started it, and what microhttpd said last on it */
    char complaint[256];
    pthread_mutex_t swap; /* guards the next two, from webui__server_renew on */
    struct MHD_Daemon *daemon;
    struct webui__retired retired[WEBUI__RETIRED_MAX];
    unsigned threads, connections;
    int listener; /* after quiesce: ours to close */
    uint16_t port;
    int timeout_s;
    uint32_t body_max;
    const char *body_option;
    struct webui__watches watches;
    atomic_uint active; /* requests between their first byte and their end */
    atomic_ullong requests, refused;
};

struct webui__request {
    struct webui__server *server;
    struct webui *webui;
    struct MHD_Connection *connection; /* NULL until the headers are here */
    const char *path;                  /* unescaped; valid during the request */
    const struct webui__route *route;  /* NULL: unknown */
    char capture[WEBUI__CAPTURE_SIZE]; /* what the "*" of the route took */
    size_t uri_size;
    bool uri_nul; /* the address has an escaped NUL: what follows it would not be seen */
    bool post, head;
    struct buf body;
    uint64_t reserved; /* of WEBUI__BODIES_MAX */
    uint64_t drained;
    struct webui__who who;
    int refusal; /* status decided before the body was read, or 0 */
    char reason[ERR_TEXT_MAX];
    char *location;               /* owned; where a refusal with 303 leads */
    struct webui__ticket *ticket; /* ticket.c */
    struct webui__errand errand;  /* aside.c */
    struct {
        const char *name;
        char value[WEBUI__HEADER_MAX];
    } headers[WEBUI__HEADERS_MAX];
    size_t header_count;
    bool parked; /* suspended by its handler, which will be called again */
    bool answered;
    enum MHD_Result queued;
};

/* ---- server ---- */

int webui__server_start(struct webui__server *server, struct webui *webui,
                        const struct webui__server_config *config, struct err *err);
void webui__server_quiesce(struct webui__server *server);
void webui__server_stop(struct webui__server *server);
/* Reads the certificate's files again; what they are now is for connections from here on. Called by
 * one thread at a time. */
int webui__server_renew(struct webui__server *server, bool *changed, struct err *err);
/* Ends the connections whose deadline is past, and what was renewed when nobody uses it any more.
 */
void webui__server_sweep(struct webui__server *server);

/* microhttpd's callbacks, in http.c. */
void *webui__on_uri(void *server, const char *uri, struct MHD_Connection *connection);
enum MHD_Result webui__on_request(void *server, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request);
void webui__on_completed(void *server, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode why);
void webui__on_connection(void *server, struct MHD_Connection *connection, void **watch,
                          enum MHD_ConnectionNotificationCode what);

/* ---- login (auth.c) ---- */

int webui__gate_init(struct webui__gate *gate, const char *password, const char *token);
/* 0, or the status to refuse with; the reason is in request->reason. */
int webui__gate_check(struct webui__request *request);
/* The login alone, and whether who has logged in may do this: 0, 401, 403, or 303 to the login
 * page. */
int webui__login_check(struct webui__request *request);
/* A change by a session carries its CSRF token, in X-Creel-CSRF or the field csrf of a form: 0 or
 * 403. To be asked when the body is here. */
int webui__csrf_check(struct webui__request *request);
bool webui__secret_right(const struct webui__gate *gate, const char *text, size_t size);
const char *webui__cookie_name(const struct webui__request *request);
const char *webui__cookie(struct webui__request *request); /* NULL when absent */

/* ticket.c: the request ends; its ticket, if it has one, may live on until the verdict comes. */
void webui__ticket_leave(struct webui__request *request);

/* ---- the request ---- */

const char *webui__arg(struct webui__request *request, const char *name);    /* "" when absent */
const char *webui__header(struct webui__request *request, const char *name); /* NULL when absent */

/* Decides, before the body is taken, how the request will be answered. */
void webui__refuse(struct webui__request *request, int status, const char *fmt, ...)
    ERR_PRINTF(3, 4);

/* ---- replies: the first one counts; bytes are moved in ---- */

void webui__set_header(struct webui__request *request, const char *name, const char *fmt, ...)
    ERR_PRINTF(3, 4);
/* Beside one of the same name. */
void webui__add_header(struct webui__request *request, const char *name, const char *fmt, ...)
    ERR_PRINTF(3, 4);
/* Whether a browser asks that shows the answer itself. */
bool webui__wants_page(struct webui__request *request);
/* `bytes` is malloc'd; `from` and `size` name the part that is sent. */
void webui__reply_bytes(struct webui__request *request, int status, const char *type, void *bytes,
                        size_t from, size_t size);
void webui__reply_static(struct webui__request *request, int status, const char *type,
                         const void *bytes, size_t size);
void webui__reply_redirect(struct webui__request *request, int status, const char *url);
void webui__reply_text(struct webui__request *request, int status, const char *type,
                       struct buf *text);
/* An answer without a known end, of what `read` gives; `done` frees `ctx`, also when this fails. */
void webui__reply_stream(struct webui__request *request, const char *type, size_t block,
                         MHD_ContentReaderCallback read, void *ctx,
                         MHD_ContentReaderFreeCallback done);
/* Takes the reference; NULL: out of memory, 500. */
void webui__reply_json(struct webui__request *request, int status, const char *type, json_t *json);
/* problem+json, or a page for a browser that shows the answer itself. */
void webui__reply_problem(struct webui__request *request, int status, const char *fmt, ...)
    ERR_PRINTF(3, 4);
/* The status that says this err_code; 500 for what is nobody else's fault. */
int webui__status_of(int code);
/* The problem that `err` is; an internal fault is logged here. */
void webui__reply_err(struct webui__request *request, const struct err *err);

#endif
