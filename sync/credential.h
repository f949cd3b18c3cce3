/* credential: what a remote shows to prove who it is, wherever that comes from: a key of the
 * configuration, a file, or a service that gives out tokens which end.
 *
 * A credential holds at most one value. Whoever signs takes the value that is there; whoever owns
 * the thread makes sure that there is one: where it is missing or near its end, begin it anew, move
 * the requests that it asks for, and hand the replies to judge. So nothing here blocks on the
 * network, and a test can replay any answer.
 *
 *   none --begin--> asking --judge: AGAIN--> asking --judge: READY--> value --near its end-->
 * asking ^                 \--judge: RETRY, DENIED--> none, or the old value while it lasts
 *     \--rejected (a 401 to the value) or its end
 *
 * Ends are kept by CLOCK_BOOTTIME, worked out from the service's own Date where it gives one: a
 * wrong clock on the device neither keeps a dead token nor throws a live one away.
 *
 * Life cycle: open -> begin, request and judge whenever it is due -> close (wipes). Thread: that of
 * its remote.
 */
#ifndef CREEL_SYNC_CREDENTIAL_H
#define CREEL_SYNC_CREDENTIAL_H

#include "daemon/base/err.h"
#include "sync/address.h"
#include "sync/sync.h"
#include "sync/token.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define CREDENTIAL_STEPS_MAX  4                        /* requests for one value */
#define CREDENTIAL_MARGIN_US  (300 * INT64_C(1000000)) /* renewed so long before it ends */
#define CREDENTIAL_LOOK_US    INT64_C(1000000)         /* a file is looked at so often at most */
#define CREDENTIAL_FILE_MAX   (256u << 10)
#define CREDENTIAL_CONNECT_MS 3000 /* to a service that is on this machine or its host */

struct http_request;
struct http_reply;

enum credential_form {
    CREDENTIAL_ACCOUNT_KEY = 1, /* azure: `secret` is base64; signs each request */
    CREDENTIAL_SAS,             /* azure: `secret` is appended to every url */
    CREDENTIAL_BEARER,          /* azure: `secret` goes into the Authorization header */
    CREDENTIAL_AWS,             /* s3: `id`, `secret` and perhaps `session` sign each request */
};

enum credential_verdict {
    CREDENTIAL_AGAIN = 0, /* ask for the next request */
    CREDENTIAL_READY,     /* there is a new value */
    CREDENTIAL_RETRY,     /* the network or the service: later */
    CREDENTIAL_DENIED,    /* a person must act; asked again later all the same */
};

struct credential_value {
    char *id, *secret, *session; /* as in struct token; secret NULL: no value */
    int64_t ends_us;             /* CLOCK_BOOTTIME; INT64_MAX: does not end, or nobody knows */
    int64_t renew_us;
};

struct credential_ops;

struct credential {
    const struct credential_ops *ops;
    struct credential_value value;
    unsigned generation; /* counts values */
    int step;            /* of the provider's conversation; 0: the first request */
    unsigned steps;      /* requests so far */
    bool asking;         /* the owner moves a request; kept by the owner */
    int64_t retry_us;    /* not renewed again before, after a failure; kept by the owner */
    const char *ca_file; /* borrowed from the remote */
    const char *proxy;   /* borrowed from the remote; not for services on this machine */
    char *body;          /* secret, owned: of the request under way */
    size_t body_size;

    /* What a provider keeps, each what it needs; all owned. */
    struct address at; /* of the service */
    int kind;          /* which of its variants */
    char *client, *tenant, *role, *session_name, *profile;
    char *file;    /* that holds the value, or what the service wants to see */
    char *secret;  /* secret: a key or SAS as given; client secret; header that the service wants */
    char *session; /* secret: AWS session token as given */
    char *pass;    /* secret: of the conversation under way */
    char *name;    /* of the conversation under way */
    struct stat seen;  /* the file when it was read */
    int64_t looked_us; /* CLOCK_BOOTTIME of the last look at it */
};

/* One way to come by a credential. Those of a key or a file have `load`, the others `request` and
 * `judge`. */
struct credential_ops {
    const char *what; /* "the managed identity", for errors */
    enum credential_form form;

    /* Takes what it needs from the configuration and the environment. Never blocks: neither file
     * nor network. ERR_CONFIG names the key that is missing or wrong. */
    int (*open)(struct credential *credential, const struct sync_remote_config *config,
                struct err *err);

    /* The value from where it lies. May read one small local file, and blocks as long as that
     * does. May be repeated. ERR_NOT_FOUND, ERR_CONFIG, ERR_DENIED, ERR_SYS name the file. */
    int (*load)(struct credential *credential, struct token *out, struct err *err);

    /* The next request of the conversation, at credential->step. May read one small local file (the
     * federated token), else never blocks; may be repeated. Errors as load's. */
    int (*request)(struct credential *credential, struct http_request *out, struct err *err);

    /* What the reply means; fills `out` for READY, `err` for RETRY (ERR_NET, ERR_TIMEOUT) and
     * DENIED (ERR_DENIED). Never blocks, but for one small local file. */
    enum credential_verdict (*judge)(struct credential *credential, const struct http_reply *reply,
                                     struct token *out, struct err *err);
};

/* By config->credential; "auto" takes the first way that is offered, configuration before
 * environment. What is given is a value at once; a file that is missing or wrong may come later.
 * ERR_CONFIG says what is missing. */
int sync__credential_open(const struct sync_remote_config *config, struct credential **out,
                          struct err *err);
void sync__credential_close(struct credential *credential); /* wipes; NULL is accepted */

/* The value, or NULL where there is none or it has ended. */
const struct credential_value *sync__credential_get(const struct credential *credential,
                                                    int64_t now_us);

/* True when a new value should be begun: none, ended, near its end, or its file is another. Never
 * while one is under way. */
bool sync__credential_due(struct credential *credential, int64_t now_us);

/* Begins a new value. READY: it is there at once. AGAIN: `out` is to be sent, and its reply judged.
 * RETRY and DENIED fill `err`. */
enum credential_verdict sync__credential_begin(struct credential *credential,
                                               struct http_request *out, struct err *err);

/* The same for what follows a reply; AGAIN: `out` is the next request. */
enum credential_verdict sync__credential_judge(struct credential *credential,
                                               const struct http_reply *reply,
                                               struct http_request *out, struct err *err);

/* The server refused the value of this generation. True when there is or may be a better one: then
 * the refused one is gone. */
bool sync__credential_rejected(struct credential *credential, unsigned generation);

/* ---- for providers ---- */

extern const struct credential_ops sync__account_key_ops, sync__sas_ops, sync__sas_file_ops,
    sync__client_secret_ops, sync__workload_ops, sync__managed_ops;
extern const struct credential_ops sync__aws_key_ops, sync__aws_environment_ops,
    sync__aws_profile_ops, sync__aws_web_ops, sync__aws_container_ops, sync__aws_instance_ops;

/* Which of the managed identity's endpoints is there; set when it is opened. */
bool sync__azure_environment_offers_managed(void);

const char *sync__environment(const char *name); /* NULL where not set or empty */
bool sync__given(const char *text);              /* neither NULL nor "" */

/* An own copy of the first that is given into `*field`; ERR_CONFIG with `missing` where none is. */
int sync__credential_set(char **field, const char *first, const char *second, const char *missing,
                         struct err *err);

/* Parses the service's url. It carries secrets: https, or http on this machine or to a metadata
 * service (link-local). */
int sync__credential_at(struct credential *credential, const char *url, struct err *err);

/* A whole file without outer white space, at most CREDENTIAL_FILE_MAX bytes; the caller frees with
 * sync__secret_free. Remembers in credential->seen what it saw. */
int sync__credential_read(struct credential *credential, char **out, struct err *err);

/* `suffix` follows the url's path. `form`: the body of a POST, moved in; NULL: none. */
int sync__credential_ask(struct credential *credential, const char *method, const char *suffix,
                         char *form, struct http_request *out, struct err *err);

struct credential_row { /* a code, or a status where code is NULL, and what it means */
    const char *code;
    int status;
    enum credential_verdict verdict;
    const char *hint; /* the way out */
};

/* Any reply but a good one: table first, then 408, 429 and 5xx are RETRY, the rest is DENIED. The
 * service's own words are in the text, secrets masked. */
enum credential_verdict sync__credential_refused(const struct credential *credential,
                                                 const struct credential_row *rows, size_t count,
                                                 const struct http_reply *reply, struct err *err);

/* A good reply whose text was read with `code`. */
enum credential_verdict sync__credential_read_as(const struct credential *credential, int code,
                                                 struct err *err);

#endif
