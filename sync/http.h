/* http: many HTTP transfers on one thread, over one curl multi handle. The only user of libcurl in
 * sync.
 *
 * Requests go in, replies come out in the order in which they end. Connections are kept alive and
 * shared. TLS is always verified, redirects are never followed. Other hosts than this machine are
 * reached through the environment's proxy (http_proxy, https_proxy, no_proxy), or any through the
 * request's own. Life cycle: create -> start, wait, next_done, … -> destroy (cancels what runs).
 * Thread: one, but for sync__http_wake, which any thread may call.
 */
#ifndef CREEL_SYNC_HTTP_H
#define CREEL_SYNC_HTTP_H

#include "daemon/base/err.h"
#include "sync/remote.h"
#include <stdbool.h>
#include <stddef.h>

#define HTTP_WAIT_FDS_MAX 4

struct http_limits {    /* 0: the default */
    int connect_ms;     /* name, TCP and TLS; 10,000 */
    int stall_s;        /* a transfer slower than 64 B/s for so long is ended; 30 */
    unsigned transfers; /* at once; SYNC_TRANSFERS_MAX */
};

struct http;

int sync__http_create(const struct http_limits *limits, struct http **out, struct err *err);
void sync__http_destroy(struct http *http); /* NULL is accepted; no done is reported any more */

/* Moves the request in, also when it fails. Its body must stay until the transfer is done. `ctx`
 * comes back with the reply. ERR_FULL: too many at once. */
int sync__http_start(struct http *http, struct http_request *request, void *ctx, struct err *err);

/* Waits for progress, for one of `fds` to be readable, for a wake or for the time to pass
 * (negative: 60 s), then moves bytes. */
int sync__http_wait(struct http *http, const int *fds, size_t fd_count, int timeout_ms,
                    struct err *err);

struct http_done {
    void *ctx;
    struct http_reply reply; /* finish with sync__reply_finish */
};
bool sync__http_next_done(struct http *http, struct http_done *out);

/* Ends what runs; each comes out of next_done with ERR_CLOSED. */
void sync__http_cancel_all(struct http *http);

size_t sync__http_running(const struct http *http);
void sync__http_wake(struct http *http);

#endif
