/* sync: brings every kept frame to every remote once, and remembers the receipt.
 *
 * One thread, one curl multi handle; it wakes on new outbox rows, sockets and deadlines. For each
 * remote it reads due rows, reads and re-hashes the blob, PUTs it under its fixed key with a
 * create-only precondition, and hands the receipt to the store. Failures defer the row (exponential
 * backoff, full jitter, Retry-After honoured) and open a breaker per remote; what only a person can
 * mend is quarantined with its reason. Life cycle: sync_start (declares the remotes to the store)
 * -> sync_stop (lets running transfers finish until the deadline). Thread: all calls from any
 * thread. Not: no HTTP server, no Darknet; never deletes remotely.
 */
#ifndef CREEL_SYNC_SYNC_H
#define CREEL_SYNC_SYNC_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include "store/store.h"
#include <stdbool.h>

#define SYNC_REMOTES_MAX   STORE_REMOTES_MAX
#define SYNC_TRANSFERS_MAX 256
#define SYNC_LINK_MAX      4096
#define SYNC_ORIGIN_MAX    272 /* "https://", a host name and a port */

enum sync_kind { SYNC_DIRECTORY = 1, SYNC_AZURE, SYNC_S3 };

/* Where a credential comes from. AUTO: what the fields below give, else what the environment does;
 * MANAGED_IDENTITY and INSTANCE ask the machine's own service. */
enum sync_credential {
    SYNC_CREDENTIAL_AUTO = 0,
    SYNC_CREDENTIAL_KEY,               /* azure: connection_string, account_key; s3: access_key */
    SYNC_CREDENTIAL_SAS,               /* azure: sas, sas_file */
    SYNC_CREDENTIAL_CLIENT_SECRET,     /* azure: tenant_id, client_id, client_secret */
    SYNC_CREDENTIAL_WORKLOAD_IDENTITY, /* azure: tenant_id, client_id, token_file */
    SYNC_CREDENTIAL_MANAGED_IDENTITY,  /* azure: client_id where there are several */
    SYNC_CREDENTIAL_ENVIRONMENT,       /* s3: AWS_ACCESS_KEY_ID, … */
    SYNC_CREDENTIAL_PROFILE,           /* s3: profile, credentials_file */
    SYNC_CREDENTIAL_WEB_IDENTITY,      /* s3: role_arn, token_file */
    SYNC_CREDENTIAL_CONTAINER,         /* s3: AWS_CONTAINER_CREDENTIALS_FULL_URI, … */
    SYNC_CREDENTIAL_INSTANCE,          /* s3: the metadata service, version 2 */
};

/* What may be sent to one remote in a day, which ends at midnight UTC, as its bill's does. 0: no
 * limit. What is under way when it is used up still ends. */
struct sync_budget {
    uint64_t day_bytes, day_requests;
};

/* What the remote's owner takes, in any currency; 0: not known. */
struct sync_prices {
    double requests_10k; /* ten thousand write requests */
    double gb_upload;    /* 10^9 bytes sent */
    double gb_month;     /* 10^9 bytes kept for a month */
};

/* Strings are borrowed and must outlive the sync; NULL where not given. Secrets among them are
 * marked. */
struct sync_remote_config {
    char name[STORE_REMOTE_NAME_MAX + 1];
    enum sync_kind kind;
    bool required;
    struct sync_budget budget;
    struct sync_prices prices;
    const char *path;                   /* directory: absolute */
    const char *url;                    /* azure: account endpoint; s3: endpoint, NULL: AWS */
    const char *prefix;                 /* a folder before every key, "PREFIX/key"; NULL: none */
    const char *containers[TIER_COUNT]; /* azure; NULL: the tier's name */
    const char *container_rest;         /* azure; NULL: "creel" */
    const char *account;                /* azure; NULL: from the url or the connection string */
    const char *connection_string;      /* azure, secret */
    const char *account_key;            /* azure, secret, base64 */
    const char *sas;                    /* azure, secret: the token with or without '?' */
    enum sync_credential credential;
    const char *sas_file;              /* azure: holds a SAS, read again when it changes */
    const char *tenant_id, *client_id; /* azure; NULL: AZURE_TENANT_ID, AZURE_CLIENT_ID */
    const char *client_secret;         /* azure, secret; NULL: AZURE_CLIENT_SECRET */
    const char *token_file;            /* azure, s3: holds the token of another authority; NULL:
                                          AZURE_FEDERATED_TOKEN_FILE, AWS_WEB_IDENTITY_TOKEN_FILE */
    const char *token_url; /* azure, s3: the service that gives tokens; NULL: the cloud's own */
    const char *profile;   /* s3; NULL: AWS_PROFILE, "default" */
    const char *credentials_file; /* s3; NULL: AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials */
    const char *role_arn;         /* s3; NULL: AWS_ROLE_ARN */
    bool create_containers;       /* azure, s3: make what is missing */
    const char *bucket;           /* s3 */
    const char *region;           /* s3; NULL: us-east-1 */
    const char *access_key;       /* s3; NULL: from AWS_ACCESS_KEY_ID */
    const char *secret_key;       /* s3, secret */
    const char *session_token;    /* s3, secret */
    bool virtual_host;            /* s3: bucket in the host name; false: path style */
    bool trust_exists;            /* the weaker receipt frees local space as well */
    int64_t ttl_ms[TIER_COUNT];   /* objects older than this go with `creel cloud gc`; 0: never */
    const char *ca_file;          /* PEM; NULL: the system's */
    const char *proxy; /* azure, s3, may hold a secret: http, https, socks5 or socks5h url; "off":
                          none; NULL: the environment's, which this machine itself is spared */
    bool manifest;     /* write one there */
    uint64_t parts_above_bytes; /* azure, s3: a larger object goes up in parts; 0: 16 MiB */
    uint64_t part_bytes;        /* azure, s3: of one; s3: at least 5 MiB; 0: 8 MiB */
    int64_t abandon_after_s;    /* s3: age at which unfinished uploads of ours go; 0: 7 days */
    const char *access_tier;    /* azure: Hot, Cool, Cold or Archive; NULL: the account's */
    const char *tags;           /* azure, s3: "name=value,name=value"; needs a right of its own */
    const char *storage_class;  /* s3: such as STANDARD_IA; NULL: the bucket's */
    const char *encryption;     /* s3: AES256 or aws:kms; NULL: the bucket's */
    const char *kms_key;        /* s3, with aws:kms; NULL: the account's own */
};

struct sync_config {
    const char *device; /* device id of the keys */
    enum store_order order;
    unsigned transfers;  /* at once, over all remotes; 0: as many as bring more, see sync/pace.h */
    int attempts_max;    /* of a row that the server keeps refusing, before quarantine; 0: 8 */
    int backoff_base_ms; /* 0: 500 */
    int backoff_max_ms;  /* 0: 60,000 */
    int stall_s;         /* a transfer that stands still for so long is ended; 0: 30 */
    const char *bandwidth;     /* of the link, for all remotes but directories: a timetable, see
                                  sync/timetable.h; NULL, "off": no limit */
    uint64_t retry_bytes;      /* that one object may cost without arriving while others do; 0: no
                                  limit */
    bool sidecars[TIER_COUNT]; /* beside each frame of the tier, its document */
    bool overlays[TIER_COUNT]; /* and the picture with its boxes */
    /* Draws them: a JPEG, malloc'd. Called on a thread of the sync's own, may take its time. NULL:
     * no overlays are made. */
    int (*overlay)(const uint8_t *bytes, size_t size, const struct frame_detection *detections,
                   size_t count, uint8_t **out, size_t *out_size, struct err *err);
    const char *spool_dir;  /* where parts of manifests wait; NULL: none are written */
    unsigned manifest_rows; /* most rows of a part; 0: 10,000 */
    int manifest_age_ms;    /* a part is sealed when its oldest row is so old; 0: 300,000 */
    struct sync_remote_config remotes[SYNC_REMOTES_MAX];
    size_t remote_count;
};

struct sync;
int sync_start(const struct sync_config *config, struct store *store, struct sync **out,
               struct err *err);
void sync_stop(struct sync *sync, int deadline_ms);

struct sync_remote_status {
    char name[STORE_REMOTE_NAME_MAX + 1];
    const char *kind; /* "directory", "azure", "s3" */
    char where[256];  /* endpoint and container or path, no secret */
    bool required;
    uint64_t uploaded, uploaded_bytes, already_there, failures, requests;
    unsigned running;
    bool breaker_open, paused;
    bool throttled;                    /* waits for the bandwidth */
    bool budget_spent;                 /* waits for midnight UTC */
    unsigned window;                   /* transfers that it may have at once now */
    double objects_per_s, bytes_per_s; /* a mean of the last seconds, confirmed only */
    uint64_t day_requests, day_bytes;  /* since midnight UTC, also before a restart */
    struct sync_budget day_budget;
    double month_cost;       /* what this month will have cost at this rate; negative: no prices */
    int64_t retry_at_utc_us; /* 0: now */
    char last_error[ERR_TEXT_MAX];
    uint64_t manifest_rows;    /* written since the start */
    uint64_t manifest_parts;   /* brought there since the start */
    uint64_t manifest_waiting; /* parts that are sealed and not there yet */
    char manifest_error[ERR_TEXT_MAX];
};
struct sync_status {
    struct sync_remote_status remotes[SYNC_REMOTES_MAX];
    size_t remote_count;
};
void sync_status_get(struct sync *sync, struct sync_status *out);

/* Pausing: nothing new is sent to a paused remote, what is on its way ends. It is kept in the
 * store's state, survives restarts and works without a running sync. `remote` NULL: all of them,
 * also those that are configured later; resuming all forgets every pause. `remotes` are the names
 * of all that are configured. */
int sync_pause_set(struct store *store, const char *remote, const char *const *remotes,
                   size_t count, bool paused, struct err *err);
int sync_pause_get(struct store *store, const char *remote, bool *paused, struct err *err);
/* Makes a running sync read it again. */
int sync_pause_reload(struct sync *sync, struct err *err);

/* A read-only link to one object at one remote, valid for `ttl_s` (at most 7 days for S3, see AWS
 * SigV4 query authentication): Azure service SAS (account key only), S3 presigned URL. ERR_REFUSED:
 * this remote or its credential cannot make links (directory; SAS), the message says what is
 * missing. `key` is the receipt's, without the prefix. Pure: no network. */
int sync_link_create(const struct sync_remote_config *remote, enum frame_tier tier, const char *key,
                     int ttl_s, char out[SYNC_LINK_MAX], struct err *err);

/* Where links of this remote lead, "https://account.blob.core.windows.net"; "": it makes none. No
 * network. */
int sync_link_origin(const struct sync_remote_config *remote, char out[SYNC_ORIGIN_MAX],
                     struct err *err);

/* The same with the credential of the running sync, which may be a token or keys that were fetched;
 * Azure lends a key for them (user-delegation SAS; at most 6 days). May wait for the network, at
 * most 10 s: ERR_TIMEOUT. Other errors as above, and what the credential's service said. */
int sync_link_get(struct sync *sync, const char *remote, enum frame_tier tier, const char *key,
                  int ttl_s, char out[SYNC_LINK_MAX], struct err *err);

/* Whether such a link opens: one byte is fetched with it alone. Whoever can sign need not have the
 * right that the link passes on. ERR_DENIED names the right that is missing; ERR_NOT_FOUND: the
 * object is gone; 0 too where there is no answer: a link may be for somebody in another network.
 * Blocks, at most 10 s. */
int sync_link_try(const struct sync_remote_config *remote, const char *link, struct err *err);

/* Checks a timetable, such as "mon-fri 08:00 512KiB/s, 19:00 off". */
int sync_bandwidth_check(const char *text, struct err *err);

/* Checks a remote's fields against its kind (for `creel config check`); no network. */
int sync_remote_check(const struct sync_remote_config *remote, struct err *err);

/* "frames/tier=annotated/device=<id>/date=2026-11-20/<sha256>.jpg"; ERR_INVALID if it would not
 * fit. */
int sync_key_format(const char *device, const struct store_outbox_row *row,
                    char out[STORE_KEY_MAX + 1], struct err *err);

/* ---- by hand: a whole remote at a time; for commands, never the daemon ----
 *
 * These block, over a small loop of their own, and hold bounded memory whatever lies at the remote.
 * ERR_DENIED names the right that is missing: create-only rights are enough for none of them. They
 * touch nothing but what lies under the remote's prefix in names that creel gives, of one device.
 */

struct sync_index { /* whom they ask about the index; the slots block */
    void *ctx;
    /* As store_receipts_read, store_blobs_look, store_outbox_act, for the remote at hand. */
    int (*receipts)(void *ctx, int64_t *after, struct store_receipt_row *rows, size_t limit,
                    size_t *count, struct err *err);
    int (*look)(void *ctx, const struct store_blob_name *names, size_t count, unsigned *states,
                struct err *err);
    int (*act)(void *ctx, enum store_outbox_action action, const struct store_blob_name *names,
               size_t count, struct err *err);
};

/* Who the remote is, as the store knows it once a sync ran with it. No network. */
int sync_remote_identity(const struct sync_remote_config *remote, struct frame_hash *out,
                         struct err *err);

enum sync_finding {
    SYNC_FOUND_MISSING = 0, /* a receipt, and no object */
    SYNC_FOUND_WRONG,       /* an object of another size or another MD5 */
    SYNC_FOUND_ALTERED,     /* written again since the receipt: another ETag */
    SYNC_FOUND_UNRECEIPTED, /* an object of a known blob, without a receipt: on its way, perhaps */
    SYNC_FOUND_UNKNOWN,     /* an object that the index knows nothing of */
    SYNC_FOUND_EXPIRED,     /* missing, and older than the tier's ttl: the provider's own rule */
    SYNC_FINDINGS
};
typedef void sync_found_fn(void *ctx, enum sync_finding finding, const char *key,
                           const char *detail);

#define SYNC_GUARD_SHARE 4 /* more than 1 of so many is only changed by force */

struct sync_fsck {
    uint64_t objects, bytes; /* that the remote lists */
    uint64_t receipts;       /* that were compared */
    uint64_t elsewhere;      /* receipts of names that this device does not give (any more) */
    uint64_t found[SYNC_FINDINGS];
    uint64_t queued, lost; /* by a repair: to be uploaded again; gone for good */
    uint64_t requests;
};

/* Compares what the remote lists with the receipts: by names, sizes and, where both sides know
 * them, MD5 and ETag; no request an object. `repair` takes the receipts of what is missing back, so
 * that it is uploaded again where its bytes are here. ERR_REFUSED: that would be more than
 * 1/SYNC_GUARD_SHARE of the receipts, and `force` is not given; nothing was changed. */
int sync_fsck(const struct sync_remote_config *remote, const char *device,
              const struct sync_index *index, bool repair, bool force, sync_found_fn *found,
              void *ctx, struct sync_fsck *out, struct err *err);

#define SYNC_WRITERS_MAX  8
#define SYNC_WRITERS_DAYS 7

struct sync_writer {
    char store[9]; /* the first hex digits of its uuid */
    char last[11]; /* UTC day of its last part */
    uint64_t parts;
};

/* The stores that wrote manifests under this device's name in the last days, by listing alone; more
 * than one means that two devices have one id, or that a store was replaced a moment ago. */
int sync_writers(const struct sync_remote_config *remote, const char *device, int64_t now_utc_us,
                 struct sync_writer writers[SYNC_WRITERS_MAX], size_t *count, struct err *err);

/* The rules by which S3 removes objects by itself (Get/PutBucketLifecycleConfiguration), for the
 * tiers that have a ttl; of all devices under the remote's prefix. Rules are told apart by their
 * id: creel's begin with "creel-", and those of other prefixes are foreign too. */
enum sync_rule {
    SYNC_RULE_FOREIGN = 0, /* stays as it is, whatever it says */
    SYNC_RULE_SAME,
    SYNC_RULE_NEW,
    SYNC_RULE_CHANGED,
    SYNC_RULE_DROPPED, /* creel's, of a tier that has no ttl any more */
};
/* `before` and `after` are a line of text each, or NULL. */
typedef void sync_rule_fn(void *ctx, enum sync_rule rule, const char *id, const char *before,
                          const char *after);
struct sync_lifecycle;
/* Reads the bucket's rules and works out what they should be. ERR_REFUSED: this kind of remote has
 * no rules that could be set here. */
int sync_lifecycle_open(const struct sync_remote_config *remote, struct sync_lifecycle **out,
                        struct err *err);
void sync_lifecycle_close(struct sync_lifecycle *lifecycle); /* NULL is accepted */
/* Tells each rule; true where something differs. */
bool sync_lifecycle_each(const struct sync_lifecycle *lifecycle, sync_rule_fn *each, void *ctx);
/* Writes them, reads them back and compares: ERR_CORRUPT where a rule came back otherwise. */
int sync_lifecycle_apply(struct sync_lifecycle *lifecycle, struct err *err);

/* Azure: the management policy (JSON) that does the same, for `az`; the data plane cannot set it.
 * The caller frees *json. ERR_NOT_FOUND: no tier has a ttl. */
int sync_lifecycle_policy(const struct sync_remote_config *remote, char **json, struct err *err);

struct sync_gc {
    uint64_t objects; /* of the tiers that have a ttl, sidecars and overlays too */
    uint64_t expired, expired_bytes;
    uint64_t pinned;  /* of the expired: they stay */
    uint64_t waiting; /* of the expired: an upload of the same bytes waits; they stay this time */
    uint64_t removed; /* 0 in a dry run */
    uint64_t requests;
    bool any_ttl; /* false: no tier of this remote has one, nothing was looked at */
};
typedef void sync_expired_fn(void *ctx, const char *key, uint64_t bytes, bool pinned);

/* Removes what has outlived its tier's ttl: by the date in its name and by when it was written, and
 * by the earlier of the server's clock and ours. Pinned frames stay. Receipts are taken back, and
 * that is durable, before an object goes. ERR_REFUSED: more than 1/SYNC_GUARD_SHARE of the objects
 * would go, and `force` is not given; nothing was removed. */
int sync_gc(const struct sync_remote_config *remote, const char *device,
            const struct sync_index *index, bool dry_run, bool force, sync_expired_fn *expired,
            void *ctx, struct sync_gc *out, struct err *err);

/* Whether objects of the tier may be removed, without removing any: ERR_DENIED names the right. */
int sync_objects_may_remove(const struct sync_remote_config *remote, const char *device,
                            enum frame_tier tier, struct err *err);

/* Removes objects by their keys, and what belongs to them (sidecars, overlays). What is not there
 * is no error. */
int sync_objects_remove(const struct sync_remote_config *remote, enum frame_tier tier,
                        const char *const *keys, size_t count, struct err *err);

#endif
