/* webui: the gallery, the JSON API and the HTTP door for pushed frames (/score).
 *
 * libmicrohttpd with epoll; two listeners with their own ports and authentication: `web` (gallery,
 * /api/v1, links, /metrics) and `ingest` (/score, /annotate, /image). Reads the store through
 * readers of its own; reaches the other rooms only through `struct webui_hooks`. Off loopback
 * neither starts without authentication. Life cycle: webui_start -> webui_stop (running
 * replies finish, waiting callers get 503). Thread: hooks are called on webui's threads and must
 * not block longer than said.
 */
#ifndef CREEL_WEBUI_WEBUI_H
#define CREEL_WEBUI_WEBUI_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include "store/store.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define WEBUI_LINK_MAX 4096

struct webui_config {
    const char *listen;        /* "127.0.0.1:8080"; NULL: no gallery */
    const char *ingest_listen; /* "127.0.0.1:8081"; NULL: no /score */
    bool next_free_port;       /* try the following 20 ports when one is taken */
    uint32_t body_max_bytes;   /* of a pushed frame; 0: 16 MiB */
    int request_timeout_s;     /* a request that makes no progress for so long is ended; 0: 15 */
    int link_ttl_s;            /* default life of a link; 0: 900 */
    double score_threshold;    /* /score answers with detections from here up; 0: 0.25 */
    const char *password;      /* secret: of the user "creel"; NULL: none */
    const char *ingest_token;  /* secret: Bearer token for ingest; NULL: none */
    /* PEM files of a certificate (with those between it and a root) and its key; NULL: plain HTTP.
     * Read at the start, and by webui_certificates_reload. */
    const char *tls_certificate, *tls_key;               /* of the gallery */
    const char *ingest_tls_certificate, *ingest_tls_key; /* of ingest */
    uint8_t link_key[32]; /* secret: signs creel's own links to local blobs */
    /* Where links of mint_link lead, for the browser to show pictures from there:
     * "https://a.example https://b.example:9000"; NULL: nowhere. */
    const char *image_origins;
    const char *alerts; /* "person,dog": classes that stand out in the live view; NULL: none */
};

/* What the bytes of a pushed frame are. Raw pixels are rows without gaps. */
enum webui_pixels {
    WEBUI_FILE = 0, /* an image file; its first bytes say which */
    WEBUI_YUV420P,  /* planes Y, U, V; the sides of U and V are half, rounded up */
    WEBUI_RGB24,
    WEBUI_BGR24,
};

/* The answer to a pushed frame, copied out of the frame on the pipeline's threads. */
struct webui_reply {
    int code; /* 0, or why there is no verdict: ERR_INVALID the image, ERR_FULL busy, … */
    struct err err;
    bool stored;                /* with wait_stored: the store acknowledged it */
    bool kept;                  /* triage wanted it kept */
    struct frame_record record; /* detections: valid during the call only */
    const uint8_t *picture;     /* with want_picture and a verdict: an image file, valid likewise */
    size_t picture_bytes;
};
typedef void webui_reply_fn(void *ctx, const struct webui_reply *reply);

/* A frame that was pushed. */
struct webui_push {
    const char *camera;
    uint8_t *bytes; /* malloc'd, moved in, whatever the hook returns */
    size_t size;
    enum webui_pixels pixels;
    uint32_t width, height; /* of raw pixels */
    bool full_range;        /* yuv420p: Y is 0..255, as in a JPEG; else 16..235, as in video */
    bool wait_stored;       /* reply after the store's acknowledgement */
    bool want_picture;      /* not with wait_stored */
    bool never_keep;        /* looked at, and forgotten: triage does not hear of it */
    webui_reply_fn *reply;
    void *reply_ctx;
};

/* A camera as the live view shows it. */
struct webui_live {
    const char *camera, *source;
    const char *error;             /* the last one of its source; "": none */
    double per_second, latency_ms; /* from capture to verdict, of its latest frame */
    uint64_t seen, kept, dropped, bad;
    int64_t last_utc_us;               /* 0: no frame yet */
    uint64_t number;                   /* of the look; 0: none since somebody looks */
    const struct frame_record *record; /* of the look; NULL: none */
};
typedef void webui_live_fn(void *ctx, const struct webui_live *live);

/* What became of one frame of a removal; err->code 0: it is gone everywhere. */
typedef void webui_removed_fn(void *ctx, const struct frame_id *id, const struct err *err);

#define WEBUI_FILE_NAME  128   /* of a file in a data set, with the NUL */
#define WEBUI_EXPORT_MAX 20000 /* frames of a data set */

/* Makes data sets as `creel export` writes them. A set belongs to one thread at a time. */
struct webui_dataset_ops {
    /* `ctx` is the hooks'. ERR_INVALID: no such format. Never waits for long. */
    int (*open)(void *ctx, const char *format, void **set, struct err *err);
    /* At most WEBUI_EXPORT_MAX. `name` gets where its picture goes; "": one with the same bytes is
     * there already. */
    int (*add)(void *set, const struct frame_record *record, char name[WEBUI_FILE_NAME],
               struct err *err);
    /* The files beside the pictures, one a call: *bytes (malloc'd) is NULL after the last one.
     * Nothing may be added after the first call. */
    int (*file)(void *set, char name[WEBUI_FILE_NAME], char **bytes, size_t *size, struct err *err);
    void (*close)(void *set); /* NULL accepted */
};

/* About uploads that were set aside. */
enum webui_uploads { WEBUI_UPLOADS_ASIDE, WEBUI_UPLOADS_RETRY, WEBUI_UPLOADS_DROP };

struct webui_hooks {
    void *ctx;
    /* Calls push->reply once, on any thread, unless it returns non-zero. Never waits: ERR_FULL when
     * the queue has no room (503 + Retry-After). ERR_INVALID: the pixels do not fit their size;
     * ERR_REFUSED: too many cameras. */
    int (*submit_frame)(void *ctx, const struct webui_push *push, struct err *err);
    /* Wants the frames of the camera around this moment; `*kept` of those before it are. May be
     * NULL. ERR_NOT_FOUND: no such camera, or no rule for it. */
    int (*trigger)(void *ctx, const char *camera, unsigned *kept, struct err *err);
    /* A JPEG (malloc'd) of a picture with boxes drawn. Blocks for as long as that takes. NULL: no
     * /annotate. */
    int (*draw)(void *ctx, const uint8_t *picture, size_t size,
                const struct frame_detection *detections, size_t count, uint8_t **out,
                size_t *out_size, struct err *err);
    /* A link to the frame's object in the cloud; may wait for it. ERR_NOT_FOUND: not replicated,
     * ERR_REFUSED: no link possible. */
    int (*mint_link)(void *ctx, const struct store_row *row, int ttl_s, char out[WEBUI_LINK_MAX],
                     const char **kind, struct err *err);
    /* A frame's life as a list of {"at", "what", "detail"} (a new reference), NULL when memory ran
     * out. May be NULL. */
    json_t *(*life)(void *ctx, const struct store_why *why);
    /* Calls `each` for every camera, and has looks held for some seconds more. ERR_NOMEM. NULL: no
     * live view. */
    int (*live)(void *ctx, webui_live_fn *each, void *each_ctx, struct err *err);
    /* The picture of that look, or a later one: an image file (malloc'd). ERR_NOT_FOUND. Blocks for
     * as long as it takes to encode. */
    int (*live_picture)(void *ctx, const char *camera, uint64_t number, uint8_t **bytes,
                        size_t *size, enum frame_media *media, struct err *err);
    /* Removes frames here and at all remotes; calls `each` for every one of them before it returns
     * 0. Blocks for as long as the remotes take: called on a thread of its own. An err of
     * ERR_DENIED names the right that is missing. NULL: frames can be removed here alone. */
    int (*remove_everywhere)(void *ctx, const struct frame_id *ids, size_t count, bool force,
                             webui_removed_fn *each, void *each_ctx, struct err *err);
    const struct webui_dataset_ops *dataset; /* NULL: no export */
    /* Lists them, has them tried again, or gives them up: the orders and replies of `creel sync
     * quarantine`, `retry` and `drop`. ERR_NOT_FOUND; ERR_REFUSED: only with force. Takes a second
     * at most. May be NULL. */
    int (*uploads)(void *ctx, enum webui_uploads what, const json_t *order, json_t **reply,
                   struct err *err);
    /* Whether the daemon is alive and, with `ready`, does its work: 0, or err says what does not.
     * NULL: nothing to ask. */
    int (*health)(void *ctx, bool ready, struct err *err);
    /* The status document (a new reference); NULL when memory ran out. */
    json_t *(*status)(void *ctx);
    /* Prometheus text (malloc'd) of everything outside webui; NULL when memory ran out. */
    char *(*metrics)(void *ctx);
};

struct webui;
int webui_start(const struct webui_config *config, struct store *store,
                const struct webui_hooks *hooks, struct webui **out, struct err *err);
void webui_stop(struct webui *webui);

/* Reads the certificates' files again, where they are others by now; connections that are open keep
 * what they have. ERR_CONFIG: what is there cannot be used, and nothing changes. */
int webui_certificates_reload(struct webui *webui, struct err *err);

/* The ports in use, 0 where not listening. */
void webui_ports(const struct webui *webui, uint16_t *web, uint16_t *ingest);

/* JSON of a frame as /api/v1 and `--json` show it (schemas/frame.schema.json). New reference, NULL
 * on no memory. */
json_t *webui_frame_json(const struct store_row *row);

/* "/blob/<sha>?tier=…&e=<unix s>&s=<hmac>" for creel's own link to a local blob. */
int webui_local_link(const uint8_t link_key[32], enum frame_tier tier,
                     const struct frame_hash *blob, int64_t expires_utc_s, char out[WEBUI_LINK_MAX],
                     struct err *err);

/* ---- who may: kept in the store's state, with and without a server ---- */

enum webui_role { WEBUI_NOBODY, WEBUI_VIEWER, WEBUI_ADMIN }; /* looks; changes things too */
enum webui_scope { WEBUI_READ = 1, WEBUI_WRITE = 2, WEBUI_INGEST = 4 };

#define WEBUI_PASSWORD_USER "creel" /* the user of web.password, who is no record */
#define WEBUI_NAME_SIZE     33      /* of a user or a token, with the NUL: as a camera's name */
#define WEBUI_PASSWORD_MIN  8
#define WEBUI_PASSWORD_MAX  256
#define WEBUI_TOKEN_SIZE    64
/* scrypt's parameters for new passwords: 16 MiB, and about a quarter of a second on a small
 * computer (OWASP's password storage cheat sheet gives them as one of its equal choices). */
#define WEBUI_SCRYPT_LOG2N 14
#define WEBUI_SCRYPT_R     8
#define WEBUI_SCRYPT_P     5

bool webui_role_parse(const char *text, enum webui_role *out); /* "viewer", "admin" */
bool webui_scopes_parse(const char *text, unsigned *out);      /* "read,ingest" */

/* ERR_EXISTS, ERR_NOT_FOUND; ERR_INVALID names what is wrong with a name or a password. */
int webui_user_add(struct store *store, const char *name, enum webui_role role,
                   const char *password, struct err *err);
int webui_user_passwd(struct store *store, const char *name, const char *password, struct err *err);
int webui_user_drop(struct store *store, const char *name, struct err *err);
/* [{"name", "role"}]; NULL and err. */
json_t *webui_users_json(struct store *store, struct err *err);

/* A bearer token, shown once in `out`. `days` 0: for ever. */
int webui_token_add(struct store *store, const char *name, unsigned scopes, int days,
                    char out[WEBUI_TOKEN_SIZE], struct err *err);
int webui_token_drop(struct store *store, const char *name, struct err *err);
/* [{"name", "scopes", "expires"}]; NULL and err. */
json_t *webui_tokens_json(struct store *store, struct err *err);

/* A running server looks at the records again. */
int webui_access_reload(struct webui *webui, struct err *err);

#endif
