/* listing: what lies at a remote under a prefix, in the order of the names, page by page.
 *
 * At most one page is in memory (LISTING_PAGE_MAX entries), whatever lies there. Names come without
 * the remote's own prefix and strictly ascending by their bytes, which is checked: whoever merges a
 * listing with something else may rely on it. Life cycle: open -> next until ERR_NOT_FOUND ->
 * close. Thread: that of the asker.
 */
#ifndef CREEL_SYNC_LISTING_H
#define CREEL_SYNC_LISTING_H

#include "sync/ask.h"
#include <stdbool.h>
#include <stdint.h>

#define LISTING_PAGE_MAX   4096
#define LISTING_PAGE_HTTP  1000       /* what S3 gives at most */
#define LISTING_BYTES_MAX  (8u << 20) /* of a page's reply */
#define LISTING_TEXTS_MAX  (LISTING_PAGE_MAX * (STORE_KEY_MAX + 1u))
#define LISTING_MARKER_MAX 4096

struct listed {
    const char *key; /* borrowed until the next call */
    uint64_t bytes;
    int64_t modified_utc_us;         /* 0: not said */
    char md5[HASH_MD5_SIZE * 2 + 1]; /* hex; "": not said */
    char etag[STORE_ETAG_MAX + 1];   /* as a receipt has it; "": not said */
};

struct listing_entry {
    size_t key, etag; /* in `texts` */
    uint64_t bytes;
    int64_t modified_utc_us;
    char md5[HASH_MD5_SIZE * 2 + 1];
};

struct listing_page {
    enum frame_tier tier;
    char prefix[STORE_KEY_MAX + 1];      /* the remote's own and what was asked for */
    char marker[LISTING_MARKER_MAX + 1]; /* where the next page begins; "": at the start */
    bool more;
    struct buf texts; /* NUL-terminated names, with the remote's prefix, and etags */
    struct listing_entry entries[LISTING_PAGE_MAX];
    size_t count;
};

/* Of a kind. HTTP: `ask` fills the request for the page at page->marker, `read` takes entries,
 * marker and `more` from the reply. Blocking: `list` does both. */
struct listing_ops {
    const char *right; /* what the credential must be allowed */
    void (*ask)(const struct listing_page *page, struct remote_ask *ask);
    int (*read)(struct listing_page *page, const struct http_reply *reply, struct err *err);
    int (*list)(struct remote *remote, struct listing_page *page, struct err *err);
};
extern const struct listing_ops sync__azure_listing, sync__s3_listing, sync__directory_listing;

struct listing;

/* `prefix` without the remote's own. Nothing is asked yet. */
int sync__listing_open(struct asker *asker, enum frame_tier tier, const char *prefix,
                       struct listing **out, struct err *err);
void sync__listing_close(struct listing *listing); /* NULL is accepted */

/* ERR_NOT_FOUND: that was all; also where the container does not exist. ERR_DENIED names the right
 * that is missing. */
int sync__listing_next(struct listing *listing, struct listed *out, struct err *err);

/* The server's time when it gave the last page; 0: not said. */
int64_t sync__listing_server_utc_us(const struct listing *listing);

/* ---- for kinds ---- */

/* The entry to fill next, with its name added; NULL where the page is full or memory ran out. */
struct listing_entry *sync__listing_add(struct listing_page *page, const char *name,
                                        const char *etag);

/* How the elements of an XML reply are told to a kind: those below <`element`>, flat. */
struct listing_fields {
    const char *item; /* "Contents" */
    /* The text of an element inside an item, or (item false) directly below the root. */
    void (*text)(void *ctx, bool item, const char *name, const char *text, bool encoded);
    int (*end)(void *ctx); /* an item is whole; non-zero stops */
    void *ctx;
};
/* ERR_NET: not the document that it should be. */
int sync__listing_parse(const struct buf *body, const char *root,
                        const struct listing_fields *fields, struct err *err);

void sync__listing_decode(char *text, bool plus); /* %41 in place, and + for a space */
/* base64 or hex of an MD5 as hex into `out`; anything else is "". */
void sync__listing_md5(const char *text, char out[HASH_MD5_SIZE * 2 + 1]);

#endif
