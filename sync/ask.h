/* ask: requests to a remote that bring no object: listing, deleting, the rules of a bucket.
 *
 * They are for commands that a person runs, so they have a loop of their own: it moves some
 * requests at once over one curl multi handle, fetches and renews the credential as the engine does
 * (the same providers, the same signatures), adopts the server's clock where it must, and repeats
 * what the network or a busy server spoiled. It blocks. Life cycle: open -> call or each, any
 * number of times -> close. Thread: one at a time; the daemon has none.
 */
#ifndef CREEL_SYNC_ASK_H
#define CREEL_SYNC_ASK_H

#include "sync/http.h"
#include "sync/remote.h"
#include "sync/sign.h"
#include <stdbool.h>
#include <stddef.h>

#define ASK_QUERY_MAX    8
#define ASK_HEADERS_MAX  8
#define ASK_ATTEMPTS_MAX 6     /* of one request */
#define ASK_WINDOW       16    /* requests at once */
#define ASK_WAIT_MS      30000 /* the longest pause between two attempts */

/* Zero-initialise; all texts are borrowed until the reply was judged. */
struct remote_ask {
    const char *method; /* static */
    enum frame_tier tier;
    const char *key;                        /* without the prefix; NULL: the container */
    struct sign_field query[ASK_QUERY_MAX]; /* values decoded; in any order */
    size_t query_count;
    struct sign_field headers[ASK_HEADERS_MAX]; /* besides those that every request has */
    size_t header_count;
    const void *body;
    size_t body_size;
    size_t reply_max;  /* 0: REPLY_BODY_MAX */
    bool absent_ok;    /* 404 of an object is as good as a success */
    const char *doing; /* "listing", for errors */
    const char *right; /* what the credential must be allowed, for errors */

    /* The conversation's own. */
    struct remote_put put;
    struct remote_object object;
    unsigned attempts;
    int64_t start_us; /* boot time before which it waits */
    bool running, over;
};

void sync__ask_query(struct remote_ask *ask, const char *name, const char *value);
void sync__ask_header(struct remote_ask *ask, const char *name, const char *value);

void sync__ask_query_sort(struct remote_ask *ask); /* by name, as AWS signs it */

struct asker {
    struct remote *remote;
    struct http *http; /* NULL for kinds that speak none */
    uint64_t requests;
};

int sync__asker_open(const struct sync_remote_config *config, struct asker **out, struct err *err);
void sync__asker_close(struct asker *asker); /* NULL is accepted */

/* One request to its end. 0: the reply was 2xx (or 404 with absent_ok) and is the caller's to
 * finish. ERR_DENIED names the right that is missing; ERR_NET, ERR_TIMEOUT: in vain
 * ASK_ATTEMPTS_MAX times; ERR_INVALID: refused. */
int sync__asker_call(struct asker *asker, struct remote_ask *ask, struct http_reply *out,
                     struct err *err);

/* All of them, ASK_WINDOW at once. Each that ended well is handed to `done` (may be NULL). The
 * first failure ends the call; what was under way then may or may not have come to pass. */
typedef int asker_done_fn(void *ctx, struct remote_ask *ask, const struct http_reply *reply,
                          struct err *err);
int sync__asker_each(struct asker *asker, struct remote_ask *asks, size_t count,
                     asker_done_fn *done, void *ctx, struct err *err);

#endif
