/* http: see http.h for what; here is how.
 *
 * A transfer is one easy handle with its request and reply; it is idle, running or done, and on
 * exactly one of the three lists. Easy handles are used again (their option memory, not their
 * state).
 *
 * Traps of libcurl 7.88 that this file is shaped by:
 *  - A kept-alive connection that died makes libcurl send a request again by itself. Without a seek
 * function that fails (CURLE_SEND_FAIL_REWIND); with one it is a silent second PUT. We allow it and
 * count it (`reply.sent`): with a create-only precondition the worst is a 409 or 412 to our own
 * first try, which HEAD then settles.
 *  - "Expect: 100-continue" costs a round trip: sent empty.
 *  - A connection that ends orderly in the middle of the reply's head is a success to it, with the
 * fields that came: we look for the empty line ourselves.
 *  - Without PATH_AS_IS, "./" and "../" inside a key would be folded.
 * Rejected: FOLLOWLOCATION (would carry the signature or the SAS to another host), a total timeout
 * (a big object on a slow link is no fault; standing still is).
 */
#include "sync/http.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONNECT_MS 10000
#define DEFAULT_STALL_S    30
#define STALL_BYTES        64L
#define WAIT_MAX_MS        60000
#define UPLOAD_BUFFER      (256L * 1024)

struct transfer {
    struct transfer *next, *prev;
    CURL *easy;
    struct curl_slist *lines;
    struct http_request request;
    struct http_reply reply;
    size_t sent;    /* bytes of the body handed to libcurl since its last start */
    bool overflown; /* the reply's body was longer than wanted */
    bool headed;    /* the reply's head came to its end */
    char text[CURL_ERROR_SIZE];
    void *ctx;
};

struct list {
    struct transfer *first, *last;
};

struct http {
    CURLM *multi;
    struct http_limits limits;
    struct list idle, running, done;
    size_t running_count;
};

static void list_add(struct list *list, struct transfer *transfer) {
    transfer->next = NULL;
    transfer->prev = list->last;
    if (list->last != NULL) {
        list->last->next = transfer;
    } else {
        list->first = transfer;
    }
    list->last = transfer;
}

static void list_remove(struct list *list, struct transfer *transfer) {
    if (transfer->prev != NULL) {
        transfer->prev->next = transfer->next;
    } else {
        list->first = transfer->next;
    }
    if (transfer->next != NULL) {
        transfer->next->prev = transfer->prev;
    } else {
        list->last = transfer->prev;
    }
    transfer->next = transfer->prev = NULL;
}

/* ---- life ---- */

static void transfer_reset(struct transfer *transfer) {
    for (struct curl_slist *line = transfer->lines; line != NULL; line = line->next) {
        explicit_bzero(line->data, strlen(line->data)); /* signatures and tokens */
    }
    curl_slist_free_all(transfer->lines);
    transfer->lines = NULL;
    sync__request_finish(&transfer->request);
    sync__reply_finish(&transfer->reply);
    transfer->sent = 0;
    transfer->overflown = transfer->headed = false;
    transfer->text[0] = '\0';
}

static void transfer_destroy(struct transfer *transfer) {
    transfer_reset(transfer);
    curl_easy_cleanup(transfer->easy);
    free(transfer);
}

int sync__http_create(const struct http_limits *limits, struct http **out, struct err *err) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(err, ERR_NOMEM, "libcurl could not be initialised");
    }
    struct http *http = mem_alloc(sizeof *http);
    if (http != NULL) {
        http->limits = limits != NULL ? *limits : (struct http_limits){0};
        http->multi = curl_multi_init();
    }
    if (http == NULL || http->multi == NULL) {
        free(http);
        curl_global_cleanup();
        return err_set(err, ERR_NOMEM, "no memory for transfers");
    }
    struct http_limits *l = &http->limits;
    l->connect_ms = l->connect_ms > 0 ? l->connect_ms : DEFAULT_CONNECT_MS;
    l->stall_s = l->stall_s > 0 ? l->stall_s : DEFAULT_STALL_S;
    l->transfers = l->transfers > 0 ? l->transfers : SYNC_TRANSFERS_MAX;
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)l->transfers);
    curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    *out = http;
    return 0;
}

void sync__http_destroy(struct http *http) {
    if (http == NULL) {
        return;
    }
    struct list *lists[] = {&http->running, &http->done, &http->idle};
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        while (lists[i]->first != NULL) {
            struct transfer *transfer = lists[i]->first;
            list_remove(lists[i], transfer);
            if (lists[i] == &http->running) {
                curl_multi_remove_handle(http->multi, transfer->easy);
            }
            transfer_destroy(transfer);
        }
    }
    curl_multi_cleanup(http->multi);
    curl_global_cleanup();
    free(http);
}

/* ---- callbacks ---- */

static size_t on_read(char *out, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    size_t room = size * count, left = transfer->request.body_size - transfer->sent;
    size_t taken = left < room ? left : room;
    if (taken > 0) {
        memcpy(out, (const char *)transfer->request.body + transfer->sent, taken);
    }
    transfer->sent += taken;
    transfer->reply.sent_bytes += taken; /* libcurl's own count begins anew with a replay */
    return taken;
}

static int on_seek(void *ctx, curl_off_t at, int origin) {
    struct transfer *transfer = ctx;
    if (origin != SEEK_SET || at < 0 || (curl_off_t)transfer->request.body_size < at) {
        return CURL_SEEKFUNC_FAIL;
    }
    transfer->sent = (size_t)at;
    transfer->reply.sent++; /* libcurl sends the body again by itself */
    return CURL_SEEKFUNC_OK;
}

static size_t on_head(char *line, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    sync__reply_line(&transfer->reply, line, size * count);
    transfer->headed = line[0] == '\r' || line[0] == '\n'; /* the empty line; another may follow */
    return size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    struct buf *body = &transfer->reply.body;
    if (body->len + size * count > body->max) {
        transfer->overflown = true;
        return 0; /* ends the transfer; the head is enough */
    }
    buf_append(body, bytes, size * count);
    return body->failed ? 0 : size * count;
}

/* ---- starting ---- */

static void set_common(const struct http *http, struct transfer *transfer) {
    CURL *easy = transfer->easy;
    const struct http_request *request = &transfer->request;
    long connect_ms = request->connect_ms > 0 ? request->connect_ms : http->limits.connect_ms;
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->lines);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->text);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)http->limits.stall_s);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "creel/0.1");
    if (request->rate > 0) {
        curl_easy_setopt(easy, CURLOPT_MAX_SEND_SPEED_LARGE, (curl_off_t)request->rate);
    }
    if (request->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
    }
    if (request->proxy != NULL) {
        curl_easy_setopt(easy, CURLOPT_PROXY, request->proxy);
        curl_easy_setopt(easy, CURLOPT_NOPROXY, ""); /* who names a proxy means it */
    } else if (request->direct) {
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
}

static void set_body(struct transfer *transfer) {
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
}

static void set_method(struct transfer *transfer) {
    CURL *easy = transfer->easy;
    const struct http_request *request = &transfer->request;
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(request->method, "PUT") == 0) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_size);
        set_body(transfer);
    } else if (strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
        set_body(transfer);
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        if (strcmp(request->method, "GET") != 0) {
            curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
        }
    }
}

static bool line_add(struct curl_slist **lines, const char *line) {
    struct curl_slist *longer = curl_slist_append(*lines, line);
    if (longer != NULL) {
        *lines = longer;
    }
    return longer != NULL;
}

static bool set_lines(struct transfer *transfer) {
    bool added = line_add(&transfer->lines, "Expect:");
    for (size_t i = 0; i < transfer->request.line_count; i++) {
        added = added && line_add(&transfer->lines, transfer->request.lines[i]);
    }
    return added;
}

static struct transfer *transfer_take(struct http *http) {
    struct transfer *transfer = http->idle.first;
    if (transfer != NULL) {
        list_remove(&http->idle, transfer);
        curl_easy_reset(transfer->easy);
        return transfer;
    }
    transfer = mem_alloc(sizeof *transfer);
    if (transfer != NULL) {
        transfer->easy = curl_easy_init();
    }
    if (transfer != NULL && transfer->easy == NULL) {
        free(transfer);
        transfer = NULL;
    }
    return transfer;
}

int sync__http_start(struct http *http, struct http_request *request, void *ctx, struct err *err) {
    struct http_request taken = *request;
    *request = (struct http_request){0};
    if (http->running_count >= http->limits.transfers) {
        sync__request_finish(&taken);
        return err_set(err, ERR_FULL, "too many transfers at once");
    }
    struct transfer *transfer = transfer_take(http);
    if (transfer == NULL) {
        sync__request_finish(&taken);
        return err_set(err, ERR_NOMEM, "no memory for a transfer");
    }
    transfer->request = taken;
    transfer->ctx = ctx;
    sync__reply_init(&transfer->reply, taken.reply_max);
    transfer->reply.sent = 1;
    bool ready = set_lines(transfer);
    set_common(http, transfer);
    set_method(transfer);
    if (!ready || curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK) {
        transfer_destroy(transfer);
        return err_set(err, ERR_NOMEM, "no memory for a transfer");
    }
    list_add(&http->running, transfer);
    http->running_count++;
    return 0;
}

/* ---- ending ---- */

static const struct {
    CURLcode curl;
    int code;
    const char *hint;
} faults[] = {
    {CURLE_COULDNT_RESOLVE_HOST, ERR_NET, "the host's name is not known"},
    {CURLE_COULDNT_RESOLVE_PROXY, ERR_NET, "the proxy's name is not known, or it is no url"},
    {CURLE_COULDNT_CONNECT, ERR_NET, "no connection"},
    {CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT, "nothing moved for too long"},
    {CURLE_PEER_FAILED_VERIFICATION, ERR_DENIED,
     "the server's certificate is not trusted: set ca_file if it has an authority of its own"},
    {CURLE_SSL_CONNECT_ERROR, ERR_NET,
     "TLS could not be agreed on: check that url names the port for https"},
    {CURLE_PROXY, ERR_NET, "the proxy does not let us through"},
    {CURLE_SSL_CACERT_BADFILE, ERR_DENIED, "ca_file cannot be read"},
    {CURLE_GOT_NOTHING, ERR_NET, "the server hung up without an answer"},
    {CURLE_RECV_ERROR, ERR_NET, "the connection broke while reading"},
    {CURLE_SEND_ERROR, ERR_NET, "the connection broke while sending"},
    {CURLE_PARTIAL_FILE, ERR_NET, "the answer ended early"},
    {CURLE_OUT_OF_MEMORY, ERR_NOMEM, "no memory"},
};

/* What the proxy said to CONNECT; libcurl has no code of its own for it. */
static const struct {
    long status;
    int code;
    const char *hint;
} tunnels[] = {
    {407, ERR_DENIED, "the proxy wants a user and a password: put them into proxy"},
    {401, ERR_DENIED, "the proxy wants a user and a password: put them into proxy"},
    {403, ERR_DENIED, "the proxy does not let us through to this host"},
    {0, ERR_NET, "the proxy does not reach the server"},
};

static void fault_set(struct transfer *transfer, CURLcode result) {
    int code = ERR_NET;
    const char *hint = "the transfer failed";
    long tunnel = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(faults); i++) {
        if (faults[i].curl == result) {
            code = faults[i].code;
            hint = faults[i].hint;
        }
    }
    curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &tunnel);
    for (size_t i = 0; tunnel >= 300 && i < ARRAY_LENGTH(tunnels); i++) {
        if (tunnels[i].status == tunnel || tunnels[i].status == 0) {
            code = tunnels[i].code;
            hint = tunnels[i].hint;
            break;
        }
    }
    bool safe = result != CURLE_COULDNT_RESOLVE_PROXY; /* else the text may have its password */
    const char *text =
        safe && transfer->text[0] != '\0' ? transfer->text : curl_easy_strerror(result);
    err_set(&transfer->reply.fault, code, "%s: %s", hint, text);
    sync__redact(transfer->reply.fault.msg);
}

static void transfer_end(struct http *http, struct transfer *transfer, CURLcode result) {
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(http->multi, transfer->easy);
    if (result == CURLE_OK && !transfer->headed) {
        result = CURLE_PARTIAL_FILE;
    }
    if (result == CURLE_OK || (transfer->overflown && status >= 300)) {
        transfer->reply.status = (int)status;
        sync__reply_settle(&transfer->reply, clock_utc_us());
    } else {
        fault_set(transfer, result);
    }
    list_remove(&http->running, transfer);
    http->running_count--;
    list_add(&http->done, transfer);
}

static void collect(struct http *http) {
    int left = 0;
    for (CURLMsg *msg = curl_multi_info_read(http->multi, &left); msg != NULL;
         msg = curl_multi_info_read(http->multi, &left)) {
        char *private = NULL;
        CURLcode result = msg->data.result; /* gone with the handle */
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        transfer_end(http, (struct transfer *)(void *)private, result);
    }
}

int sync__http_wait(struct http *http, const int *fds, size_t fd_count, int timeout_ms,
                    struct err *err) {
    struct curl_waitfd extra[HTTP_WAIT_FDS_MAX];
    size_t used = fd_count < HTTP_WAIT_FDS_MAX ? fd_count : HTTP_WAIT_FDS_MAX;
    for (size_t i = 0; i < used; i++) {
        extra[i] = (struct curl_waitfd){.fd = fds[i], .events = CURL_WAIT_POLLIN};
    }
    int running = 0;
    CURLMcode code = curl_multi_perform(http->multi, &running);
    bool pending = http->done.first != NULL;
    if (code == CURLM_OK && !pending) {
        int wait_ms = timeout_ms < 0 || timeout_ms > WAIT_MAX_MS ? WAIT_MAX_MS : timeout_ms;
        if ((size_t)running < http->running_count) {
            wait_ms = 0; /* some ended in perform */
        }
        code = curl_multi_poll(http->multi, extra, (unsigned)used, wait_ms, NULL);
    }
    if (code == CURLM_OK) {
        code = curl_multi_perform(http->multi, &running);
    }
    collect(http);
    return code == CURLM_OK ? 0 : err_set(err, ERR_NET, "libcurl: %s", curl_multi_strerror(code));
}

bool sync__http_next_done(struct http *http, struct http_done *out) {
    struct transfer *transfer = http->done.first;
    if (transfer == NULL) {
        return false;
    }
    list_remove(&http->done, transfer);
    *out = (struct http_done){.ctx = transfer->ctx, .reply = transfer->reply};
    transfer->reply = (struct http_reply){0}; /* its body moved out */
    transfer_reset(transfer);
    list_add(&http->idle, transfer);
    return true;
}

void sync__http_cancel_all(struct http *http) {
    while (http->running.first != NULL) {
        struct transfer *transfer = http->running.first;
        curl_multi_remove_handle(http->multi, transfer->easy);
        err_set(&transfer->reply.fault, ERR_CLOSED, "cancelled: creel is stopping");
        list_remove(&http->running, transfer);
        http->running_count--;
        list_add(&http->done, transfer);
    }
}

size_t sync__http_running(const struct http *http) {
    return http->running_count;
}

void sync__http_wake(struct http *http) {
    curl_multi_wakeup(http->multi);
}
