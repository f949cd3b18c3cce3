/* share: galleries for somebody without a login: a signed link to what a filter picks, or to frames
 * by name, with an end.
 *
 * The link's token is base64url of the share's id, its end and an HMAC-SHA256 over both with the
 * link key: one that creel did not sign costs no look at anything. What is behind it (filter,
 * title, who made it, how often it was opened, whether it was revoked) is in the store's state,
 * space "share", the ids of frames by name in "share-frames"; a server works on a copy in memory
 * and writes the counts back every few seconds. Thread: any.
 */
#ifndef CREEL_WEBUI_SHARE_H
#define CREEL_WEBUI_SHARE_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "store/store.h"
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define WEBUI__SHARES_MAX       256
#define WEBUI__SHARE_TITLE_MAX  100
#define WEBUI__SHARE_QUERY_MAX  511
#define WEBUI__SHARE_FRAMES_MAX 250 /* by name: their ids are one value of the store's state */
#define WEBUI__SHARE_TTL_MIN_S  60
#define WEBUI__SHARE_TTL_MAX_S  (90 * 24 * 3600)
#define WEBUI__SHARE_TOKEN      65 /* with the NUL */

struct webui__share {
    uint8_t id[8];
    char title[WEBUI__SHARE_TITLE_MAX + 1];
    char query[WEBUI__SHARE_QUERY_MAX + 1]; /* the filter as in the gallery's address */
    unsigned frames;                        /* by name; 0: those that the filter picks */
    char by[33];                            /* user or token; "": nobody had to log in */
    int64_t created_s, expires_s, opened_s; /* UTC; opened 0: never */
    uint64_t opened;
    bool revoked, dirty;
};

struct webui__shares {
    pthread_mutex_t lock;
    struct webui__share all[WEBUI__SHARES_MAX];
    size_t count;
};

enum webui__share_state { SHARE_OPEN, SHARE_FORGED, SHARE_OVER, SHARE_REVOKED };

void webui__shares_init(struct webui__shares *shares);
void webui__shares_finish(struct webui__shares *shares);
int webui__shares_load(struct webui__shares *shares, struct store *store, struct err *err);
/* Writes the counts that have changed; what cannot be written stays for the next time. */
void webui__shares_flush(struct webui__shares *shares, struct store *store);

/* Durable when it returns 0. ERR_REFUSED: too many that are not over yet. `share` has title, query,
 * frames (so many are in `ids`), by, created_s and expires_s; gets an id. */
int webui__share_add(struct webui__shares *shares, struct store *store, struct webui__share *share,
                     const struct frame_id *ids, struct err *err);
/* The ids of a share of frames by name, share->frames of them. */
int webui__share_frames(struct store *store, const struct webui__share *share,
                        struct frame_id ids[WEBUI__SHARE_FRAMES_MAX], struct err *err);
/* `id` in hex. ERR_NOT_FOUND. Durable when it returns 0. */
int webui__share_revoke(struct webui__shares *shares, struct store *store, const char *id,
                        struct err *err);

void webui__share_token(const uint8_t key[32], const struct webui__share *share,
                        char out[WEBUI__SHARE_TOKEN]);
/* `count`: this is somebody who opens it. */
enum webui__share_state webui__share_find(struct webui__shares *shares, const uint8_t key[32],
                                          const char *token, int64_t now_s, bool count,
                                          struct webui__share *out);

/* The newest first. New reference, NULL on no memory. `base` goes before "/s/…". */
json_t *webui__shares_json(struct webui__shares *shares, const uint8_t key[32], const char *base);
json_t *webui__share_json(const struct webui__share *share, const uint8_t key[32],
                          const char *base);

/* share_pages.c: how long a share may be open, as <option>s. */
void webui__html_share_lives(struct buf *page);

#endif
