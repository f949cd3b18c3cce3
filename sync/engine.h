/* engine: the inside of the sync, shared by its six files.
 *
 *   loop (engine.c): the one thread that knows remotes, rows and transfers; waits in libcurl's poll
 *   lane (lane.c): one remote within the loop: its due rows, its jobs, its health
 *   errand (errand.c): the fetching of a lane's credential, through the loop's own transfers
 *   link (link.c): signed links for callers of other threads
 *   clerk (clerk.c): the thread that writes receipts, deferrals and quarantines into the store,
 * many at once porter (porter.c): a thread for each remote that blocks (a directory), so that a
 * share that hangs stops nobody
 *
 * Invariants:
 *   1. A row is in at most one job of its lane, from reading it until the clerk has written what
 * became of it.
 *   2. A key is made of the row alone, so that every attempt writes the same name.
 *   3. A receipt goes to the clerk only after the verdict stored, compared or exists.
 *   4. A job belongs to one thread at a time and moves through queues: loop -> porter -> loop ->
 * clerk -> loop.
 *   5. Without work the loop waits; it wakes on new rows, sockets, done jobs and deadlines, never
 * to look around.
 *   6. What was refused because of the remote (network, credential) costs no row its attempts for
 * good: only refusals of the row itself, and failures while others succeed, lead to quarantine.
 *   7. Without a credential a lane starts nothing; what is in conversation is parked until there is
 * one, or ends as denied. Other lanes do not notice.
 */
#ifndef CREEL_SYNC_ENGINE_H
#define CREEL_SYNC_ENGINE_H

#include "daemon/base/log.h"
#include "daemon/base/queue.h"
#include "sync/budget.h"
#include "sync/companion.h"
#include "sync/health.h"
#include "sync/http.h"
#include "sync/manifest.h"
#include "sync/pace.h"
#include "sync/remote.h"
#include "sync/sync.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define LANE_ROWS           64  /* due rows read ahead */
#define LANE_BUSY_MAX       256 /* jobs of a lane, those that wait for the clerk included */
#define LANE_REREAD_US      INT64_C(60000000) /* rows are read again after so long in any case */
#define LANE_PAUSE_US       INT64_C(1000000)  /* after the store failed */
#define LANE_LOG_MS         10000 /* at most one warning a lane about single rows in this time */
#define PORTER_WINDOW       4     /* blobs that wait for a porter */
#define CLERK_BATCH_MAX     128   /* receipts of one call to the store */
#define SYNC_BYTES_MAX      (16u << 20) /* of blobs in memory, but each lane may always have one */
#define SYNC_JOBS_MAX       (SYNC_REMOTES_MAX * LANE_BUSY_MAX)
#define SYNC_ATTEMPTS       8
#define ERRAND_PAUSE_US     INT64_C(10000000) /* after a failed renewal, while the old one lasts */
#define LINK_WAIT_S         10
#define UPLOAD_SPACE        "upload" /* of the store's state: unfinished uploads */
#define SYNC_BACKOFF_MS     500
#define SYNC_BACKOFF_CAP_MS 60000

enum job_write { JOB_NOTHING = 0, JOB_RECEIPT, JOB_DEFER, JOB_QUARANTINE };

struct lane;

/* Who a reply is for; the first member of whatever waits for one. */
struct caller {
    void (*reply)(struct caller *caller, const struct http_reply *reply);
};

struct job {
    struct caller caller;
    struct job *next; /* of its lane */
    struct lane *lane;
    struct store_outbox_row row;
    char key[STORE_KEY_MAX + 1];
    bool parcel;                 /* no frame: see parcel.c */
    struct companion *companion; /* of a parcel, else NULL: a part of the manifest */
    bool parked;                 /* in conversation, and waits for the lane's credential */
    uint8_t *bytes;              /* owned; NULL once the conversation is over */
    struct remote_object object;
    struct remote_put put;
    uint64_t sent; /* bytes that went over the wire, in vain perhaps */
    enum remote_verdict verdict;
    struct err err;
    enum job_write write; /* for the clerk */
    int64_t delay_ms;
    char reason[STORE_REASON_MAX + 1];
    int store_code; /* from the clerk */
    struct err store_err;
};

struct porter;

/* The request for a lane's credential. */
struct errand {
    struct caller caller;
    struct lane *lane;
    bool asking;       /* of a lent key; the credential keeps its own */
    unsigned failures; /* in a row */
    struct err err;    /* of the last one */
};

/* The part of the manifest that a lane brings now, or would next. */
struct parcel {
    struct manifests *from; /* NULL: there are none */
    struct manifest_name name;
    bool busy;
    bool with_companions;
    unsigned companions; /* on their way */
    unsigned failures;   /* in a row */
    int64_t retry_at_us; /* not before */
    struct log_gate gate;
};

struct lane {
    struct sync *sync;
    struct remote *remote;
    struct errand errand;  /* for the credential */
    struct errand lending; /* for a key to sign links with */
    struct parcel parcel;
    struct porter *porter; /* NULL for kinds that speak HTTP */
    atomic_bool paused;    /* by a person: starts nothing */
    struct health health;
    struct pace pace;
    struct budget budget;
    struct meter meter;
    bool spent;            /* something, in this run */
    int64_t gate_until_us; /* a budget holds it so long; 0: none */
    struct store_outbox_row rows[LANE_ROWS];
    size_t row_next, row_count;
    bool stale;            /* the outbox may hold rows that were not read */
    int64_t read_us;       /* when it was read last */
    int64_t read_after_us; /* not before: the store failed */
    int64_t next_due_us;   /* of the first deferred row; 0: none */
    struct job *jobs;
    unsigned busy;    /* jobs */
    unsigned running; /* jobs in conversation */
    struct log_gate gate;
    struct sync_remote_status status;    /* the loop's own */
    struct sync_remote_status published; /* under sync->lock */
};

/* A link that somebody waits for; see link.c. */
enum link_state { LINK_EMPTY = 0, LINK_WANTED, LINK_MADE, LINK_LEFT };

struct link_box {
    enum link_state state; /* under sync->lock; the rest is the loop's while WANTED */
    char remote[STORE_REMOTE_NAME_MAX + 1], key[STORE_KEY_MAX + 1];
    enum frame_tier tier;
    int ttl_s;
    bool waited;  /* for a credential */
    bool renewed; /* or one that lasts longer was asked for */
    bool tried;   /* a key was asked for */
    int code;
    struct err err;
    char link[SYNC_LINK_MAX];
};

struct sync {
    struct sync_config config; /* defaults filled in */
    struct store *store;
    struct store_reader *reader; /* the loop's */
    struct http *http;
    struct manifests *manifests;   /* NULL: none are written */
    struct companions *companions; /* NULL: no tier asks for any */
    struct lane lanes[SYNC_REMOTES_MAX];
    size_t lane_count;
    struct queue *to_clerk, *written, *carried;
    pthread_t loop, clerk;
    bool loop_runs, clerk_runs;
    atomic_bool stopping;
    atomic_llong stop_at_us;
    pthread_mutex_t lock;
    pthread_cond_t box_changed;
    struct link_box box;
    size_t bytes; /* of blobs in jobs */
    struct link_budget link;
    size_t turn; /* whose it is to begin first */
};

/* ---- lane: all on the loop's thread ---- */

int sync__lane_open(struct lane *lane, struct sync *sync, const struct sync_remote_config *config,
                    unsigned share, bool fixed, struct err *err);
void sync__lane_close(struct lane *lane);
void sync__lane_fill(struct lane *lane);  /* starts what may start */
void sync__lane_carried(struct job *job); /* a porter brought it back */
void sync__lane_settle(struct job *job);  /* the clerk wrote it; frees the job */
/* Takes in what was read from the outbox, at most `limit` rows, but for those that are in jobs;
 * stale when some may be left. */
void sync__lane_rows_take(struct lane *lane, const struct store_outbox_row *rows, size_t count,
                          size_t limit);
int64_t sync__lane_deadline(const struct lane *lane, int64_t now_us); /* INT64_MAX: none */
void sync__lane_publish(struct lane *lane);

void sync__lane_log_breaker(const struct lane *lane, bool opened, const struct err *err);
/* Those that wait for the credential go on; with an `err`, they end with it. */
void sync__lane_unpark(struct lane *lane, const struct err *err);

/* For parcel.c. NULL when memory ran out. */
struct job *sync__lane_job_create(struct lane *lane, const struct store_outbox_row *row);
/* Begins the conversation about job->bytes under job->key. */
void sync__lane_job_send(struct job *job, size_t size);
void sync__lane_job_drop(struct job *job); /* out of the lane, and freed */

/* ---- gate: budgets ---- */

int sync__gate_load(struct lane *lane, const struct sync_remote_config *config, struct err *err);
void sync__gate_finish(struct lane *lane); /* writes down what was spent */
/* May something with so many bytes start? Otherwise lane->gate_until_us says when to ask again. */
bool sync__gate_open(struct lane *lane, uint64_t bytes, int64_t now_us);
/* Counts one request; the rate that it may be sent with, 0: no limit. */
uint64_t sync__gate_charge(struct lane *lane, uint64_t bytes);
void sync__gate_publish(struct lane *lane, int64_t now_us);

/* ---- errand: credentials that must be fetched; on the loop's thread ---- */

/* True when requests of this lane can be signed now. Begins to fetch what is due. False: the
 * credential is asking, and its reply unparks the lane's jobs; or that failed at once, see
 * lane->errand.err. */
bool sync__errand_ready(struct lane *lane, int64_t now_us);

/* ---- link ---- */

void sync__link_serve(struct sync *sync); /* on the loop's thread */

/* ---- clerk ---- */

int sync__clerk_start(struct sync *sync, struct err *err);
void sync__clerk_stop(struct sync *sync); /* writes what it was given, then ends */

/* ---- porter ---- */

int sync__porter_start(struct lane *lane, struct err *err);
void sync__porter_give(struct porter *porter, struct job *job);
/* False: the thread hangs in the file system and was left behind; nothing that it may touch may be
 * freed. */
bool sync__porter_stop(struct porter *porter, int64_t until_us);

/* A thread with all signals blocked: they are main's. */
int sync__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *ctx,
                       struct err *err);

uint64_t sync__random(void);

#endif
