/* requests: what commands and the web pages may ask, answered from the store and, where a daemon
 * runs, its rooms.
 *
 * One table of named requests serves the control socket and, without a daemon, the command's own
 * process: then `pipeline`, `sync` and `webui` are NULL and the store is opened by ask(). Thread: a
 * context belongs to one thread.
 */
#ifndef CREEL_DAEMON_REQUESTS_H
#define CREEL_DAEMON_REQUESTS_H

#include "config/config.h"
#include "daemon/base/err.h"
#include "daemon/control.h"
#include "daemon/pipeline.h"
#include "sync/sync.h"
#include "webui/webui.h"
#include <jansson.h>

#define LINK_TTL_MAX_S (7 * 24 * 3600) /* S3's own bound on presigned URLs */

/* How long the daemon, or a command without one, waits for a store that another process holds. */
#define STORE_WAIT_MS 5000
#define STORE_POLL_MS 50

/* What a request may look at. Borrowed. */
struct rooms {
    const struct config_values *values;
    struct store *store;
    struct store_reader *reader;
    struct pipeline *pipeline;
    struct sync *sync;
    struct webui *webui;
    uint8_t link_key[32];
    int64_t started_boot_us;
};

/* Answers one kind of request: a new reference in *reply, or a code and err. */
typedef int answer_fn(const struct rooms *rooms, const json_t *request, json_t **reply,
                      struct control_bytes *bytes, struct err *err);
/* requests_keep.c: what changes the store. */
answer_fn answer_pin, answer_rm, answer_gc;
answer_fn answer_user_add, answer_user_passwd, answer_user_rm, answer_user_ls, answer_token_add,
    answer_token_rm, answer_token_ls;           /* requests_people.c */
answer_fn answer_why;                           /* requests_why.c */
answer_fn answer_model_use, answer_model_state; /* requests_model.c */
answer_fn answer_recorded;                      /* recorded.c */
/* requests_cloud.c: what the commands for a whole remote ask. */
answer_fn answer_cloud_receipts, answer_cloud_look, answer_cloud_act, answer_cloud_frames;
/* requests_sync.c: what a person decides about uploads. */
answer_fn answer_sync_quarantine, answer_sync_retry, answer_sync_drop, answer_sync_pause,
    answer_sync_backfill;

/* A control_handler with a `struct rooms *` as ctx. The request is {"request": NAME, ...}. */
int requests_handle(void *rooms, const json_t *request, json_t **reply, struct control_bytes *bytes,
                    struct err *err);

/* Asks the running daemon, or opens the store and answers here. Consumes `request`. */
int requests_ask(const struct config_values *values, json_t *request, json_t **reply,
                 struct control_bytes *bytes, struct err *err);

/* The same for many requests in a row: without a daemon, the store is opened once. Begin with the
 * configuration's values in `rooms`, all else zero; close in any case. */
struct requests_session {
    struct rooms rooms; /* with a store: it was opened here */
    bool answered;      /* by a daemon, so it is not to be replaced halfway */
};
int requests_session_ask(struct requests_session *session, json_t *request, json_t **reply,
                         struct control_bytes *bytes, struct err *err);
void requests_session_close(struct requests_session *session);

/* The status document; NULL when memory ran out. New reference. */
json_t *status_json(const struct rooms *rooms);
/* A frame's life as a list of {"at", "what", "detail"}; NULL on no memory. */
json_t *why_life_json(const struct store_why *why);
/* Which model serves, and how the latest change of it goes; NULL when memory ran out. */
json_t *model_state_json(struct eyes *eyes);
/* Prometheus text exposition format of the same; malloc'd, NULL when memory ran out. */
char *status_metrics(const struct rooms *rooms);

/* A link to the row's object at the first configured remote that has it and can make one. `kind`
 * gets the remote's kind ("azure", "s3"). With `sync` (NULL: none runs) its credentials sign, and
 * this may block for 20 s a remote. ERR_NOT_FOUND: nowhere yet; else what the last remote that has
 * it lacks. */
int link_mint(const struct config_values *values, struct sync *sync, struct store_reader *reader,
              const struct store_row *row, int ttl_s, char out[SYNC_LINK_MAX], const char **kind,
              struct err *err);

/* Where links to the remotes lead, "https://a.example http://b.example:9000", for the browser's
 * policy. */
#define LINK_ORIGINS_MAX (SYNC_REMOTES_MAX * SYNC_ORIGIN_MAX)
void link_origins(const struct config_values *values, char out[LINK_ORIGINS_MAX]);

#define LINK_HOST_MAX 256
/* The host of `listen` as others may reach it: this machine's name where it says "every address".
 */
void link_host(const char *listen, char out[LINK_HOST_MAX]);

/* The store's secret for creel's own links; made at first use. */
int link_key_get(struct store *store, uint8_t key[32], struct err *err);

#endif
