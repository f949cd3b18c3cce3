/* http: one request from its first byte to its last.
 *
 * Goal: whatever a stranger sends costs a bounded amount of memory and time, and gets one clear
 * answer.
 *
 * A request is made when its request line is known (webui__on_uri), admitted when its headers are
 * (admit: bounds, host, login, route, method, size of the body), collects its body (which may hold
 * its CSRF token), is handled once, and is freed when microhttpd is done with it
 * (webui__on_completed), answered or not.
 *
 * Invariants
 * 1. A handler runs only on an admitted request whose body is complete.
 * 2. A refusal is sent after the body was read and thrown away, so that a client in the middle of
 * sending reads an answer and not a reset; unless it waits for "100 Continue", or announced more
 * than we care to read.
 * 3. What request bodies hold together never exceeds WEBUI__BODIES_MAX: memory is counted before it
 * is taken, and taken as bytes arrive, so that what is only announced keeps nobody out.
 * 4. Each request is answered at most once; the first reply wins.
 *
 * How long it may take, and who goes when there are too many: watch.h. Rejected: a thread a
 * connection with blocking timeouts (10,000 idle ones).
 */
#include "webui/http.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/state.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_STEP (64u << 10) /* bytes that are counted at first */

/* ---- connections ---- */

static void watch_move(struct webui__server *server, struct MHD_Connection *connection,
                       enum webui__phase phase) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    webui__watch_move(&server->watches, info ? info->socket_context : NULL, phase);
}

void webui__on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what) {
    struct webui__server *server = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = info ? webui__watch_enter(&server->watches, info->connect_fd) : NULL;
    } else {
        webui__watch_leave(&server->watches, *context);
    }
}

/* ---- admission ---- */

void webui__refuse(struct webui__request *request, int status, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(request->reason, sizeof(request->reason), fmt, args);
    va_end(args);
    request->refusal = status;
}

static void find_route(struct webui__request *request, const char *method) {
    const struct webui__server *server = request->server;
    request->head = strcmp(method, "HEAD") == 0;
    request->post = strcmp(method, "POST") == 0;
    unsigned wanted = request->post                                 ? METHOD_POST
                      : request->head || strcmp(method, "GET") == 0 ? METHOD_GET
                                                                    : 0;
    for (size_t i = 0; i < server->route_count; i++) {
        const struct webui__route *route = &server->routes[i];
        if (!webui__route_match(route->pattern, request->path, request->capture)) {
            continue;
        }
        request->route = route;
        if (!(route->methods & wanted)) {
            webui__set_header(request, "Allow", "%s%s",
                              route->methods & METHOD_GET ? "GET, HEAD" : "",
                              !(route->methods & METHOD_POST) ? ""
                              : route->methods & METHOD_GET   ? ", POST"
                                                              : "POST");
            webui__refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "%.16s is not served here", method);
        }
        return;
    }
    webui__refuse(request, MHD_HTTP_NOT_FOUND, "there is nothing at this address");
}

/* The announced size of the body, -1 when none was. */
static int64_t announced(struct webui__request *request) {
    const char *text = webui__header(request, "Content-Length");
    int64_t size = 0;
    return text && webui__integer_parse(text, 0, INT64_MAX, &size) ? size : -1;
}

/* The way out for a body that is too large. */
static const char *more(const struct webui__request *request) {
    return request->server->body_option ? request->server->body_option : "";
}

/* Counts what the body's buffer will have taken when `more` bytes are added: both double. */
static bool reserve(struct webui__request *request, size_t more) {
    uint64_t need = (uint64_t)request->body.len + more + 1;
    uint64_t want = request->reserved ? request->reserved : BODY_STEP;
    while (want < need) {
        want *= 2;
    }
    uint64_t add = want - request->reserved;
    if (add && atomic_fetch_add(&request->webui->body_bytes, add) + add > WEBUI__BODIES_MAX) {
        atomic_fetch_sub(&request->webui->body_bytes, add);
        webui__refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE,
                      "too many bodies are being received at once: try again in a moment");
        return false;
    }
    request->reserved = want;
    return true;
}

static void body_drop(struct webui__request *request) {
    buf_finish(&request->body);
    atomic_fetch_sub(&request->webui->body_bytes, request->reserved);
    request->reserved = 0;
}

static void expect_body(struct webui__request *request) {
    int64_t size = announced(request);
    uint32_t max = request->server->body_max;
    if (size > (int64_t)max) {
        webui__refuse(request, MHD_HTTP_CONTENT_TOO_LARGE,
                      "the body has %lld bytes, at most %u are taken here%s", (long long)size, max,
                      more(request));
        return;
    }
    request->body.max = max;
    reserve(request, 0);
}

static void admit(struct webui__request *request, const char *method) {
    request->path = request->path ? request->path : "";
    find_route(request, method);
    int denied = webui__gate_check(request);
    if (denied) {
        request->refusal = denied;
        return;
    }
    if (request->uri_size > WEBUI__URI_MAX) {
        webui__refuse(request, MHD_HTTP_URI_TOO_LONG, "the address is longer than %d bytes",
                      WEBUI__URI_MAX);
    }
    if (request->uri_nul) {
        webui__refuse(request, MHD_HTTP_BAD_REQUEST, "the address has a NUL in it (%%00)");
    }
    if (atomic_load(&request->webui->closing)) {
        webui__refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, WEBUI__CLOSING);
    }
    if (!request->refusal && request->route->on_headers) {
        request->route->on_headers(request);
    }
    if (!request->refusal && (request->route->flags & ROUTE_BODY)) {
        expect_body(request);
    }
}

/* See invariant 2. */
static bool answer_before_body(struct webui__request *request) {
    const char *expect = webui__header(request, "Expect");
    return request->refusal && ((expect && strcasecmp(expect, "100-continue") == 0) ||
                                announced(request) > (int64_t)WEBUI__DRAIN_MAX);
}

/* ---- microhttpd's callbacks ---- */

void *webui__on_uri(void *cls, const char *uri, struct MHD_Connection *connection) {
    struct webui__server *server = cls;
    (void)connection;
    struct webui__request *request = mem_alloc(sizeof(*request));
    if (request) {
        request->server = server;
        request->webui = server->webui;
        request->uri_size = strlen(uri);
        request->uri_nul = strstr(uri, "%00") != NULL;
        atomic_fetch_add(&server->active, 1);
        atomic_fetch_add(&server->requests, 1);
    }
    return request;
}

static void append(struct webui__request *request, const char *bytes, size_t size) {
    if (request->body.len + size > request->body.max) {
        webui__refuse(request, MHD_HTTP_CONTENT_TOO_LARGE,
                      "the body is longer than the %u bytes that are taken here%s",
                      request->server->body_max, more(request));
    } else if (reserve(request, size)) {
        buf_append(&request->body, bytes, size);
        if (request->body.failed) {
            webui__refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        }
    }
    if (request->refusal) {
        body_drop(request);
    }
}

static enum MHD_Result take_body(struct webui__request *request, const char *bytes, size_t size) {
    if (!request->refusal && (request->route->flags & ROUTE_BODY)) {
        append(request, bytes, size);
        return MHD_YES;
    }
    request->drained += size;
    return request->drained <= WEBUI__DRAIN_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result answer(struct webui__request *request) {
    bool again = request->parked;
    request->parked = false;
    if (!request->refusal && !again) {
        request->refusal = webui__csrf_check(request);
    }
    if (request->refusal) {
        webui__reply_problem(request, request->refusal, "%s", request->reason);
    } else if (request->errand.left) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, WEBUI__CLOSING);
    } else {
        request->route->handle(request);
    }
    if (request->parked && !request->answered) {
        return MHD_YES;
    }
    if (!request->answered) {
        webui__reply_problem(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "there is no answer");
    }
    return request->queued;
}

enum MHD_Result webui__on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context) {
    struct webui__request *request = *context;
    (void)version;
    if (!request) {
        return MHD_NO; /* out of memory in webui__on_uri */
    }
    if (!request->connection) {
        request->connection = connection;
        request->path = url;
        watch_move(cls, connection, WATCH_BODY);
        admit(request, method);
        return answer_before_body(request) ? answer(request) : MHD_YES;
    }
    if (*upload_size) {
        size_t size = *upload_size;
        *upload_size = 0;
        return take_body(request, upload, size);
    }
    watch_move(cls, connection, WATCH_TOLD);
    return answer(request);
}

static void request_destroy(struct webui__request *request) {
    atomic_fetch_sub(&request->server->active, 1);
    body_drop(request);
    webui__errand_finish(&request->errand);
    free(request->location);
    free(request);
}

void webui__on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why) {
    struct webui__request *request = *context;
    *context = NULL;
    if (!request) {
        return;
    }
    if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        watch_move(cls, connection, WATCH_HEAD);
    }
    webui__ticket_leave(request);
    request_destroy(request);
}

/* ---- what handlers ask ---- */

const char *webui__arg(struct webui__request *request, const char *name) {
    const char *value =
        MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
    return value ? value : "";
}

const char *webui__header(struct webui__request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/* ---- replies ---- */

static void put_header(struct webui__request *request, size_t at, const char *name, const char *fmt,
                       va_list args) {
    if (at < WEBUI__HEADERS_MAX) {
        request->headers[at].name = name;
        vsnprintf(request->headers[at].value, sizeof(request->headers[at].value), fmt, args);
        request->header_count += at == request->header_count;
    }
}

void webui__set_header(struct webui__request *request, const char *name, const char *fmt, ...) {
    size_t at = 0;
    while (at < request->header_count && strcasecmp(request->headers[at].name, name) != 0) {
        at++;
    }
    va_list args;
    va_start(args, fmt);
    put_header(request, at, name, fmt, args);
    va_end(args);
}

void webui__add_header(struct webui__request *request, const char *name, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    put_header(request, request->header_count, name, fmt, args);
    va_end(args);
}

/* Set on every reply unless the handler has set its own; NULL: see policy.h. */
static const struct {
    const char *name, *value;
} default_headers[] = {
    {"Content-Security-Policy", NULL},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    /* Not no-referrer: then a browser sends "Origin: null" with our own forms. */
    {"Referrer-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cache-Control", "no-store"},
};

static void add_headers(struct webui__request *request, struct MHD_Response *response,
                        const char *type) {
    MHD_add_response_header(response, "Content-Type", type);
    for (size_t i = 0; i < request->header_count; i++) {
        MHD_add_response_header(response, request->headers[i].name, request->headers[i].value);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(default_headers); i++) {
        const char *value = default_headers[i].value;
        if (!MHD_get_response_header(response, default_headers[i].name)) {
            MHD_add_response_header(response, default_headers[i].name,
                                    value ? value : request->webui->policy);
        }
    }
    if (request->location) {
        MHD_add_response_header(response, "Location", request->location);
    }
}

/* Takes the response; NULL: out of memory, the connection is closed. */
static void send_response(struct webui__request *request, int status, const char *type,
                          struct MHD_Response *response) {
    request->answered = true;
    request->queued = MHD_NO;
    if (status >= 400) {
        atomic_fetch_add(&request->server->refused, 1);
    }
    if (response) {
        add_headers(request, response, type);
        request->queued = MHD_queue_response(request->connection, (unsigned)status, response);
        MHD_destroy_response(response);
    }
}

void webui__reply_bytes(struct webui__request *request, int status, const char *type, void *bytes,
                        size_t from, size_t size) {
    if (request->answered) {
        free(bytes);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        size, (char *)bytes + from, free, bytes);
    if (!response) {
        free(bytes);
    }
    send_response(request, status, type, response);
}

void webui__reply_static(struct webui__request *request, int status, const char *type,
                         const void *bytes, size_t size) {
    if (!request->answered) {
        union { /* microhttpd takes a non-const pointer that it does not write to */
            const void *in;
            void *out;
        } same = {.in = bytes};
        send_response(request, status, type,
                      MHD_create_response_from_buffer(size, same.out, MHD_RESPMEM_PERSISTENT));
    }
}

void webui__reply_redirect(struct webui__request *request, int status, const char *url) {
    if (request->answered) {
        return;
    }
    static char nothing[1];
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (response && MHD_add_response_header(response, "Location", url) != MHD_YES) {
        MHD_destroy_response(response);
        response = NULL;
    }
    send_response(request, status, "text/plain", response);
}

void webui__reply_stream(struct webui__request *request, const char *type, size_t block,
                         MHD_ContentReaderCallback read, void *ctx,
                         MHD_ContentReaderFreeCallback done) {
    struct MHD_Response *response =
        request->answered
            ? NULL
            : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, block, read, ctx, done);
    if (!response) {
        done(ctx);
    }
    if (!request->answered) {
        send_response(request, MHD_HTTP_OK, type, response);
    }
}

void webui__reply_text(struct webui__request *request, int status, const char *type,
                       struct buf *text) {
    size_t size = 0;
    char *bytes = buf_take(text, &size);
    if (!bytes) {
        static const char sorry[] = "out of memory, or the page would be too long\n";
        webui__reply_static(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", sorry,
                            sizeof(sorry) - 1);
        return;
    }
    webui__reply_bytes(request, status, type, bytes, 0, size);
}

void webui__reply_json(struct webui__request *request, int status, const char *type, json_t *json) {
    char *text = json ? json_dumps(json, FRAME_JSON_DUMP) : NULL;
    json_decref(json);
    if (!text) {
        webui__reply_problem(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
        return;
    }
    webui__reply_bytes(request, status, type, text, 0, strlen(text));
}

static void reply_problem_page(struct webui__request *request, int status, const char *title,
                               const char *detail) {
    struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    webui__html_begin(&page, title, "");
    buf_puts(&page, "<section class=\"notice\"><h1>");
    buf_puts_html(&page, title);
    buf_puts(&page, "</h1><p>");
    buf_puts_html(&page, detail);
    buf_puts(&page, "</p><p><a class=\"button\" href=\"/\">To the frames</a></p></section>");
    webui__html_end(&page);
    webui__reply_text(request, status, WEBUI__HTML_TYPE, &page);
    buf_finish(&page);
}

/* A browser that shows the answer itself gets a page, everything else problem+json (RFC 9457). */
bool webui__wants_page(struct webui__request *request) {
    const char *accept = webui__header(request, "Accept");
    return accept && strstr(accept, "text/html") && request->server == &request->webui->web &&
           strncmp(request->path, "/api/", 5) != 0;
}

void webui__reply_problem(struct webui__request *request, int status, const char *fmt, ...) {
    char detail[ERR_TEXT_MAX * 2];
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    const char *title = MHD_get_reason_phrase_for((unsigned)status);
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        webui__set_header(request, "Retry-After", "1");
    }
    if (webui__wants_page(request)) {
        reply_problem_page(request, status, title, detail);
        return;
    }
    json_t *json = json_pack("{s:s,s:s,s:i,s:s}", "type", "about:blank", "title", title, "status",
                             status, "detail", detail);
    if (!json) { /* the text is not UTF-8 */
        json = json_pack("{s:s,s:s,s:i}", "type", "about:blank", "title", title, "status", status);
    }
    char *text = json ? json_dumps(json, FRAME_JSON_DUMP) : NULL;
    json_decref(json);
    webui__reply_bytes(request, text ? status : MHD_HTTP_INTERNAL_SERVER_ERROR,
                       "application/problem+json", text, 0, text ? strlen(text) : 0);
}

int webui__status_of(int code) {
    static const struct {
        int code, status;
    } statuses[] = {
        {ERR_INVALID, MHD_HTTP_BAD_REQUEST},        {ERR_NOT_FOUND, MHD_HTTP_NOT_FOUND},
        {ERR_FULL, MHD_HTTP_SERVICE_UNAVAILABLE},   {ERR_BUSY, MHD_HTTP_SERVICE_UNAVAILABLE},
        {ERR_CLOSED, MHD_HTTP_SERVICE_UNAVAILABLE}, {ERR_TIMEOUT, MHD_HTTP_SERVICE_UNAVAILABLE},
        {ERR_DENIED, MHD_HTTP_FORBIDDEN},           {ERR_REFUSED, MHD_HTTP_CONFLICT},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        if (statuses[i].code == code) {
            return statuses[i].status;
        }
    }
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

void webui__reply_err(struct webui__request *request, const struct err *err) {
    int status = webui__status_of(err->code);
    if (status == MHD_HTTP_INTERNAL_SERVER_ERROR) {
        log_err(LOG_LEVEL_WARN, "a request failed", err);
    }
    char text[ERR_TEXT_MAX * 2];
    webui__reply_problem(request, status, "%s", err_text(err, text, sizeof(text)));
}
