/* remote: what every kind of remote can do, so that the engine need not know which one it talks to.
 *
 * Bringing one object to one remote is a conversation, `struct remote_put`. Kinds that speak HTTP
 * are pure: they build the next request and judge its reply; somebody else moves the bytes, so that
 * one thread serves many transfers and a test can replay any answer. The kind that writes files
 * blocks, and says so.
 *
 *   PUT --409/412--> HEAD --same--> COMPARED            PUT --2xx with the right checksum--> STORED
 *    | ^               \--may not read--> EXISTS        PUT --2xx without--> HEAD --same--> STORED
 *    | \--CREATE <--no container-- PUT                  any --5xx, network--> RETRY
 *    \--wrong time: adopt the server's, PUT again once  HEAD --other bytes--> CONFLICT
 *
 * A large object goes up in parts. It is looked for first, and its parts after that, so that what a
 * former attempt brought there is not sent again:
 *
 *   HEAD --404--> FIND --> PART, PART, … --> COMMIT --2xx with proof--> STORED     (Azure)
 *                 FIND or SEEK, else BEGIN --> PART, … --> COMMIT (--> ABORT) …     (S3)
 *
 * Keys are given without the configured prefix; a remote puts it in front wherever it names an
 * object, in links too. Life cycle: open -> request and judge, or store -> close. Thread: a remote
 * belongs to one thread at a time.
 */
#ifndef CREEL_SYNC_REMOTE_H
#define CREEL_SYNC_REMOTE_H

#include "daemon/base/buf.h"
#include "daemon/base/hash.h"
#include "sync/crc64.h"
#include "sync/credential.h"
#include "sync/reply.h"
#include "sync/sync.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REMOTE_STEPS_MAX  8 /* requests of one attempt, or since the last part was taken in */
#define HTTP_HEADERS_MAX  24
#define REMOTE_PREFIX_MAX 512
#define REMOTE_SKEW_MIN_US                                                                         \
    (60 * INT64_C(1000000)) /* a clock nearer than this is not why it was refused */

/* ---- a request ---- */

struct http_request {
    const char *method;            /* static */
    char *url;                     /* owned; may hold a SAS: never to be logged */
    char *lines[HTTP_HEADERS_MAX]; /* owned, "name: value" */
    size_t line_count;
    const void *body; /* borrowed until the transfer ended */
    size_t body_size;
    size_t reply_max;    /* bytes of a reply's body to keep; 0: REPLY_BODY_MAX */
    const char *ca_file; /* borrowed; NULL: the system's */
    bool direct;         /* not through the environment's proxy: the host is this machine */
    const char *proxy;   /* borrowed; "": none; NULL: the environment's */
    int connect_ms;      /* 0: the usual time */
    uint64_t rate;       /* bytes a second that it may be sent with; 0: no limit */
};

void sync__request_finish(struct http_request *request); /* wipes: it holds secrets */
/* Takes no ownership; false when memory ran out or there are too many. */
bool sync__request_add(struct http_request *request, const char *name, const char *value);

/* ---- an object on its way ---- */

struct remote_object {
    enum frame_tier tier; /* TIER_NONE: the rest (manifests) */
    enum frame_media media;
    const char *key;      /* without the prefix */
    const uint8_t *bytes; /* borrowed */
    size_t size;
    struct frame_hash sha256;
    uint8_t md5[HASH_MD5_SIZE]; /* see sync__object_md5 */
    bool md5_known;
    char crc64[CRC64_BASE64_SIZE]; /* see sync__object_crc64; "": not worked out yet */
    uint32_t width, height;        /* 0: not an image */
};

/* HASH_MD5_SIZE bytes, worked out at first use while the bytes are there: two thirds of what a
 * small upload costs the CPU, and not every server asks for it. */
const uint8_t *sync__object_md5(struct remote_object *object);
const char *sync__object_crc64(struct remote_object *object); /* likewise; as a header has it */

/* Fills the object from a row of the outbox. */
void sync__object_init(struct remote_object *object, const struct store_outbox_row *row,
                       const char *key, const uint8_t *bytes, size_t size);

enum remote_step {
    REMOTE_PUT = 0,
    REMOTE_HEAD,
    REMOTE_CREATE, /* the container */
    REMOTE_ASK,    /* something that brings no object, see ask.h */
    /* of large objects */
    REMOTE_SEEK,   /* S3: unfinished uploads */
    REMOTE_BEGIN,  /* S3: an upload */
    REMOTE_FIND,   /* the parts that are there */
    REMOTE_PART,   /* the first one that is not */
    REMOTE_COMMIT, /* all of them, put together */
    REMOTE_ABORT,  /* S3: an upload that nobody needs any more */
    REMOTE_STEPS
};

enum remote_verdict {
    REMOTE_AGAIN = 0, /* the conversation goes on: ask for the next request */
    REMOTE_STORED,    /* a receipt: stored by us, checksum confirmed */
    REMOTE_COMPARED,  /* a receipt: was there, and is the same */
    REMOTE_EXISTS,   /* a weaker receipt: something is there under this name, and may not be read */
    REMOTE_RETRY,    /* the network or the server: later */
    REMOTE_REFUSED,  /* the server will not have this object; later, but not for ever */
    REMOTE_CONFLICT, /* other bytes lie under this name: a person must look */
    REMOTE_DENIED, /* the remote as a whole refuses us: a person must act, no object is to blame */
};

struct parts;

/* Zero-initialise, then set `object`; in the end sync__put_finish. */
struct remote_put {
    struct remote_object *object; /* borrowed */
    enum remote_step step;
    unsigned steps;              /* requests so far, or since the last part was taken in */
    int64_t signed_utc_us;       /* our time when the last request was built */
    bool accepted;               /* a PUT was answered 2xx, but without proof */
    bool mismatch;               /* … and with a checksum that is not ours */
    bool created;                /* the container was made in this conversation */
    bool skewed;                 /* the server's time was adopted in this conversation */
    bool renewed;                /* the credential was refused and renewed in this conversation */
    unsigned generation;         /* of the credential that the last request was signed with */
    struct parts *parts;         /* owned; of a large object once it is cut up */
    bool whole;                  /* in one request, however large */
    bool looked;                 /* for what is there, before anything was sent; */
    bool probing;                /* S3: stored, and sent again to see what the server makes of it */
    bool ahead;                  /* … and that HEAD is under way */
    enum remote_verdict pending; /* what it ends with when ABORT was answered */
    uint64_t kept_bytes;         /* of parts that were sent and are there now */
    char etag[STORE_ETAG_MAX + 1];
};

void sync__put_finish(struct remote_put *put);

/* ---- a remote ---- */

/* What a remote remembers across restarts: a directory, which one it is; S3, which uploads it
 * began. NULL slots: nothing. */
struct remote_memory {
    void *ctx;
    /* The mark remembered for this remote into `mark` (HASH_ID_SIZE); ERR_NOT_FOUND: none yet. */
    int (*get)(void *ctx, char *mark, struct err *err);
    int (*put)(void *ctx, const char *mark, struct err *err); /* durable when it returns 0 */
    /* The name of the unfinished upload of an object, "" for none; `room` counts the NUL. */
    int (*upload_get)(void *ctx, const char *key, char *upload, size_t room, struct err *err);
    int (*upload_put)(void *ctx, const char *key, const char *upload, struct err *err);
};

struct remote_ops;
struct remote_ask;
struct asker;
struct listing_ops;

struct remote { /* first member of each kind's own struct */
    const struct remote_ops *ops;
    char name[STORE_REMOTE_NAME_MAX + 1];
    char where[256];                    /* for people: endpoint and container, or path; no secret */
    char origin[SYNC_ORIGIN_MAX];       /* of its links, "https://host:port"; "": makes none */
    char prefix[REMOTE_PREFIX_MAX + 2]; /* "" or with one slash at its end */
    char *ca_file;                      /* owned; NULL: the system's */
    char *proxy;     /* secret, owned: for every request; "": none; NULL: the environment's */
    int64_t skew_us; /* the server's clock minus ours, 0 until it had to be measured */
    struct frame_hash identity;
    struct remote_memory memory;
    struct credential *credential; /* owned; NULL: needs none */
};

struct remote_ops {
    const char *kind;

    /* Checks the fields and makes a remote of them. Never blocks, no network. ERR_CONFIG says which
     * key is wrong. */
    int (*open)(const struct sync_remote_config *config, struct remote **out, struct err *err);

    /* Wipes the secrets. A half-built remote is accepted. Never blocks. */
    void (*close)(struct remote *remote);

    /* HTTP kinds, else NULL: the next request of the conversation, signed for `now_utc_us` by our
     * clock, with the credential's present value: ERR_BUSY where there is none. Never blocks; may
     * be called again for the same step (each time signed anew). */
    int (*request)(struct remote *remote, struct remote_put *put, int64_t now_utc_us,
                   struct http_request *out, struct err *err);

    /* HTTP kinds, else NULL: what the reply means. Fills `err` for RETRY (with retry_after_ms where
     * the server said so), REFUSED, CONFLICT and DENIED; the text names what is missing. Never
     * blocks. */
    enum remote_verdict (*judge)(struct remote *remote, struct remote_put *put,
                                 const struct http_reply *reply, struct err *err);

    /* Blocking kinds, else NULL: the whole conversation; blocks on the disk. May be repeated at any
     * time, and from several processes at once. Durable when it returns a receipt. */
    enum remote_verdict (*store)(struct remote *remote, struct remote_put *put, struct err *err);

    /* Kinds that must be lent a key before they can sign links, else NULL: whether one that lasts
     * so long is missing; the request for it; and what its reply means (0: there is one). Never
     * block. */
    bool (*link_due)(const struct remote *remote, int64_t until_utc_us);
    int (*delegate)(struct remote *remote, int64_t now_utc_us, struct http_request *out,
                    struct err *err);
    int (*delegated)(struct remote *remote, const struct http_reply *reply, struct err *err);

    /* HTTP kinds, else NULL: a request that brings no object (ask.h), signed like those that do,
     * and what a reply means that is not 2xx. Never block. */
    int (*ask)(struct remote *remote, struct remote_ask *ask, int64_t now_utc_us,
               struct http_request *out, struct err *err);
    enum remote_verdict (*judge_ask)(struct remote *remote, struct remote_ask *ask,
                                     const struct http_reply *reply, struct err *err);

    /* How it is listed (listing.h). */
    const struct listing_ops *listing;

    /* Removes objects of one tier, at most DROP_MAX (drop.h); what is not there is no error.
     * Blocks. */
    int (*drop)(struct asker *asker, enum frame_tier tier, const char *const *keys, size_t count,
                struct err *err);

    /* A read-only link; no network. ERR_REFUSED says what is missing. NULL: never possible. */
    int (*link)(struct remote *remote, enum frame_tier tier, const char *key, int ttl_s,
                int64_t now_utc_us, struct buf *out, struct err *err);
};

extern const struct remote_ops sync__directory_ops;
extern const struct remote_ops sync__azure_ops;
extern const struct remote_ops sync__s3_ops;

/* The kind's open behind a check of what all kinds share. */
int sync__remote_open(const struct sync_remote_config *config, struct remote **out,
                      struct err *err);
void sync__remote_close(struct remote *remote); /* NULL is accepted */

/* Prefix and key as one name; ERR_INVALID where it would be longer than STORE_KEY_MAX. */
int sync__remote_name(const struct remote *remote, const char *key, char out[STORE_KEY_MAX + 1],
                      struct err *err);

/* The value to sign a request of `put` with, which is noted in it; NULL and ERR_BUSY where there is
 * none now. */
const struct credential_value *sync__credential_sign(const struct remote *remote,
                                                     struct remote_put *put, struct err *err);

/* Parts of an identity, each ended so that none can pass for another; NULL counts as "". */
void sync__identity_set(struct remote *remote, const char *const *parts, size_t count);

const char *sync__media_type(enum frame_media media); /* "image/jpeg" */

/* ---- what the HTTP kinds share in judging ---- */

struct judge_row { /* an error code, or a status where code is NULL, and what it means */
    const char *code;
    int status;
    enum remote_verdict verdict;
    const char *hint; /* the way out */
};

/* Table first, by error code; then by status. Fills `err`. */
enum remote_verdict sync__judge_error(const struct remote *remote, const struct remote_put *put,
                                      const struct judge_row *rows, size_t count,
                                      const struct http_reply *reply, struct err *err);

/* True when the refusal may come from our clock, and the server's was adopted: ask again. Once a
 * conversation. */
bool sync__judge_skew(struct remote *remote, struct remote_put *put,
                      const struct http_reply *reply);

/* True when the credential was refused and there is or may be a newer value: ask again once there
 * is. Once a conversation. */
bool sync__judge_renew(struct remote *remote, struct remote_put *put);

/* HEAD's verdict over size and checksums. `md5` is base64 or hex as the cloud writes it, "" where
 * unknown. */
enum remote_verdict sync__judge_same(const struct remote *remote, const struct remote_put *put,
                                     bool md5_known, bool md5_same, const struct http_reply *reply,
                                     struct err *err);

#endif
