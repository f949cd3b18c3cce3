#include "webui/share.h"
#include "daemon/base/clock.h"
#include "daemon/base/frame_json.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "webui/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE      "share"
#define FRAMES     "share-frames"
#define ID_SIZE    8
#define TOKEN_SIZE (ID_SIZE + 8 + 32)

void webui__shares_init(struct webui__shares *shares) {
    pthread_mutex_init(&shares->lock, NULL);
}

void webui__shares_finish(struct webui__shares *shares) {
    pthread_mutex_destroy(&shares->lock);
}

/* ---- records ---- */

static bool text_take(const json_t *json, const char *key, char *out, size_t room) {
    const char *text = json_string_value(json_object_get(json, key));
    if (!text || strlen(text) >= room) {
        return false;
    }
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static int64_t number_of(const json_t *json, const char *key) {
    return json_integer_value(json_object_get(json, key));
}

static bool parse(const void *id, size_t id_size, const void *text, size_t size,
                  struct webui__share *out) {
    struct webui__share share = {0};
    json_t *json = json_loadb(text, size, 0, NULL);
    bool right =
        json && id_size == ID_SIZE && text_take(json, "title", share.title, sizeof(share.title)) &&
        text_take(json, "query", share.query, sizeof(share.query)) &&
        text_take(json, "by", share.by, sizeof(share.by)) && number_of(json, "frames") >= 0 &&
        number_of(json, "frames") <= WEBUI__SHARE_FRAMES_MAX;
    if (right) {
        memcpy(share.id, id, ID_SIZE);
        share.frames = (unsigned)number_of(json, "frames");
        share.created_s = number_of(json, "created");
        share.expires_s = number_of(json, "expires");
        share.opened_s = number_of(json, "opened_at");
        share.opened = (uint64_t)number_of(json, "opened");
        share.revoked = json_is_true(json_object_get(json, "revoked"));
        *out = share;
    }
    json_decref(json);
    return right;
}

static int put(struct store *store, const struct webui__share *share, struct err *err) {
    json_t *json = json_pack("{s:s,s:s,s:i,s:s,s:I,s:I,s:I,s:I,s:b}", "title", share->title,
                             "query", share->query, "frames", (int)share->frames, "by", share->by,
                             "created", (json_int_t)share->created_s, "expires",
                             (json_int_t)share->expires_s, "opened", (json_int_t)share->opened,
                             "opened_at", (json_int_t)share->opened_s, "revoked", share->revoked);
    char *text = json ? json_dumps(json, FRAME_JSON_DUMP) : NULL;
    int code = text ? store_state_put(store, SPACE, share->id, ID_SIZE, text, strlen(text), err)
                    : err_set(err, ERR_INVALID, "the share's title or filter is not UTF-8 text");
    free(text);
    json_decref(json);
    return code;
}

static int take_one(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    struct webui__shares *shares = ctx;
    if (shares->count < WEBUI__SHARES_MAX &&
        parse(key, key_size, value, size, &shares->all[shares->count])) {
        shares->count++;
    }
    return 0;
}

int webui__shares_load(struct webui__shares *shares, struct store *store, struct err *err) {
    pthread_mutex_lock(&shares->lock);
    shares->count = 0;
    int code = store_state_each(store, SPACE, take_one, shares, err);
    pthread_mutex_unlock(&shares->lock);
    return code;
}

/* ---- changes ---- */

/* The next one whose count is to be written, copied and marked as written. */
static bool dirty_take(struct webui__shares *shares, struct webui__share *out) {
    bool found = false;
    pthread_mutex_lock(&shares->lock);
    for (size_t i = 0; !found && i < shares->count; i++) {
        if (shares->all[i].dirty) {
            shares->all[i].dirty = false;
            *out = shares->all[i];
            found = true;
        }
    }
    pthread_mutex_unlock(&shares->lock);
    return found;
}

static struct webui__share *find(struct webui__shares *shares, const uint8_t id[ID_SIZE]) {
    for (size_t i = 0; i < shares->count; i++) {
        if (memcmp(shares->all[i].id, id, ID_SIZE) == 0) {
            return &shares->all[i];
        }
    }
    return NULL;
}

static void dirty_again(struct webui__shares *shares, const uint8_t id[ID_SIZE]) {
    pthread_mutex_lock(&shares->lock);
    struct webui__share *share = find(shares, id);
    if (share) {
        share->dirty = true;
    }
    pthread_mutex_unlock(&shares->lock);
}

void webui__shares_flush(struct webui__shares *shares, struct store *store) {
    struct webui__share share;
    struct err err = {0};
    while (dirty_take(shares, &share)) {
        if (put(store, &share, &err)) {
            dirty_again(shares, share.id);
            log_err(LOG_LEVEL_WARN, "how often a share was opened is not written", &err);
            return;
        }
    }
}

/* The longest over of those that are, whose place may be taken; NULL. */
static struct webui__share *place_of_old(struct webui__shares *shares, int64_t now_s) {
    struct webui__share *oldest = NULL;
    for (size_t i = 0; i < shares->count; i++) {
        struct webui__share *share = &shares->all[i];
        bool over = share->revoked || share->expires_s <= now_s;
        if (over && (!oldest || share->expires_s < oldest->expires_s)) {
            oldest = share;
        }
    }
    return oldest;
}

/* The frames first: a share that is there has them. */
static int record(struct store *store, const struct webui__share *share, const struct frame_id *ids,
                  struct err *err) {
    int code = share->frames ? store_state_put(store, FRAMES, share->id, ID_SIZE, ids,
                                               share->frames * sizeof(*ids), err)
                             : 0;
    return code ? code : put(store, share, err);
}

static int forget(struct store *store, const struct webui__share *share, struct err *err) {
    int code = store_state_drop(store, SPACE, share->id, ID_SIZE, err);
    return code || !share->frames ? code : store_state_drop(store, FRAMES, share->id, ID_SIZE, err);
}

int webui__share_frames(struct store *store, const struct webui__share *share,
                        struct frame_id ids[WEBUI__SHARE_FRAMES_MAX], struct err *err) {
    size_t size = 0;
    int code = store_state_get(store, FRAMES, share->id, ID_SIZE, ids,
                               WEBUI__SHARE_FRAMES_MAX * sizeof(*ids), &size, err);
    return !code && size != share->frames * sizeof(*ids)
               ? err_set(err, ERR_CORRUPT, "the frames of a share are not those that were shared")
               : code;
}

int webui__share_add(struct webui__shares *shares, struct store *store, struct webui__share *share,
                     const struct frame_id *ids, struct err *err) {
    _Static_assert(sizeof(*ids) * WEBUI__SHARE_FRAMES_MAX <= STORE_STATE_VALUE_MAX, "one value");
    hash_random(share->id, ID_SIZE);
    pthread_mutex_lock(&shares->lock);
    struct webui__share *place = shares->count < WEBUI__SHARES_MAX
                                     ? &shares->all[shares->count]
                                     : place_of_old(shares, share->created_s);
    int code = place ? record(store, share, ids, err)
                     : err_set(err, ERR_REFUSED, "there are %d shares that are open: revoke one",
                               WEBUI__SHARES_MAX);
    if (!code && place != &shares->all[shares->count]) {
        code = forget(store, place, err);
    }
    if (!code) {
        shares->count += place == &shares->all[shares->count];
        *place = *share;
    }
    pthread_mutex_unlock(&shares->lock);
    return code;
}

int webui__share_revoke(struct webui__shares *shares, struct store *store, const char *id,
                        struct err *err) {
    uint8_t bytes[ID_SIZE];
    if (!hash_parse_hex(id, bytes, sizeof(bytes))) {
        return err_set(err, ERR_NOT_FOUND, "there is no such share");
    }
    pthread_mutex_lock(&shares->lock);
    struct webui__share *share = find(shares, bytes);
    int code = 0;
    if (share) {
        share->revoked = true; /* whatever the disk says: nobody comes in from now on */
        code = put(store, share, err);
    } else {
        code = err_set(err, ERR_NOT_FOUND, "there is no such share");
    }
    pthread_mutex_unlock(&shares->lock);
    return code;
}

/* ---- tokens ---- */

static void sign(const uint8_t key[32], const uint8_t head[ID_SIZE + 8], struct frame_hash *out) {
    uint8_t text[6 + ID_SIZE + 8] = "share\n";
    memcpy(text + 6, head, ID_SIZE + 8);
    hash_hmac_sha256(key, 32, text, sizeof(text), out);
}

void webui__share_token(const uint8_t key[32], const struct webui__share *share,
                        char out[WEBUI__SHARE_TOKEN]) {
    uint8_t bytes[TOKEN_SIZE];
    struct frame_hash mac;
    memcpy(bytes, share->id, ID_SIZE);
    for (int i = 0; i < 8; i++) {
        bytes[ID_SIZE + i] = (uint8_t)((uint64_t)share->expires_s >> (56 - 8 * i));
    }
    sign(key, bytes, &mac);
    memcpy(bytes + ID_SIZE + 8, mac.bytes, sizeof(mac.bytes));
    hash_base64url(bytes, sizeof(bytes), out);
}

static bool token_right(const uint8_t key[32], const char *token, uint8_t bytes[TOKEN_SIZE]) {
    struct frame_hash mac;
    size_t size = 0;
    if (!hash_parse_base64url(token, bytes, TOKEN_SIZE, &size) || size != TOKEN_SIZE) {
        return false;
    }
    sign(key, bytes, &mac);
    return hash_equal(mac.bytes, bytes + ID_SIZE + 8, sizeof(mac.bytes));
}

enum webui__share_state webui__share_find(struct webui__shares *shares, const uint8_t key[32],
                                          const char *token, int64_t now_s, bool count,
                                          struct webui__share *out) {
    uint8_t bytes[TOKEN_SIZE];
    uint64_t expires_s = 0;
    if (!token_right(key, token, bytes)) {
        return SHARE_FORGED;
    }
    for (int i = 0; i < 8; i++) {
        expires_s = expires_s << 8 | bytes[ID_SIZE + i];
    }
    if ((int64_t)expires_s <= now_s) {
        return SHARE_OVER;
    }
    pthread_mutex_lock(&shares->lock);
    struct webui__share *share = find(shares, bytes);
    bool open = share && !share->revoked;
    if (open && count) {
        share->opened++;
        share->opened_s = now_s;
        share->dirty = true;
    }
    if (open) {
        *out = *share;
    }
    pthread_mutex_unlock(&shares->lock);
    return open ? SHARE_OPEN : SHARE_REVOKED;
}

/* ---- lists ---- */

json_t *webui__share_json(const struct webui__share *share, const uint8_t key[32],
                          const char *base) {
    char id[2 * ID_SIZE + 1], token[WEBUI__SHARE_TOKEN], created[CLOCK_RFC3339_SIZE],
        expires[CLOCK_RFC3339_SIZE], opened[CLOCK_RFC3339_SIZE], url[512];
    webui__share_token(key, share, token);
    snprintf(url, sizeof(url), "%.300s/s/%s", base, token);
    return json_pack(
        "{s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:I,s:s*,s:b,s:s}", "id", hash_hex(share->id, ID_SIZE, id),
        "title", share->title, "query", share->query, "frames", (int)share->frames, "by", share->by,
        "created", clock_format_rfc3339(share->created_s * 1000000, created), "expires",
        clock_format_rfc3339(share->expires_s * 1000000, expires), "opened",
        (json_int_t)share->opened, "opened_at",
        share->opened_s ? clock_format_rfc3339(share->opened_s * 1000000, opened) : NULL, "revoked",
        share->revoked, "url", url);
}

static int newest_first(const void *a, const void *b) {
    const struct webui__share *left = a, *right = b;
    return (left->created_s < right->created_s) - (left->created_s > right->created_s);
}

json_t *webui__shares_json(struct webui__shares *shares, const uint8_t key[32], const char *base) {
    CLEANUP(mem_free_at) struct webui__share *all = mem_alloc(sizeof(shares->all));
    json_t *list = json_array();
    if (!all || !list) {
        json_decref(list);
        return NULL;
    }
    pthread_mutex_lock(&shares->lock);
    size_t count = shares->count;
    memcpy(all, shares->all, count * sizeof(*all));
    pthread_mutex_unlock(&shares->lock);
    qsort(all, count, sizeof(*all), newest_first);
    for (size_t i = 0; i < count; i++) {
        if (json_array_append_new(list, webui__share_json(&all[i], key, base)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}
