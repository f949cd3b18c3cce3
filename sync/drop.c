/* drop: see drop.h.
 *
 * S3: DeleteObjects, up to 1,000 names a request, guarded by MD5 and SHA-256 of its body; servers
 * that lack it get one DELETE an object. Azure: one DELETE an object, ASK_WINDOW at once: the
 * service counts and bills a batch as its parts, a batch is not open to every SAS, and each part
 * must be signed all the same. A directory: unlink, and each folder is synced once.
 */
#include "sync/drop.h"
#include "daemon/base/mem.h"
#include "sync/directory_list.h"
#include "sync/listing.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_MAX    ((STORE_KEY_MAX * 6u + 32u) * DROP_MAX)
#define REPLY_MAX   (4u << 20)
#define AZURE_RIGHT "the permission to delete (SAS: sp=d; role: Storage Blob Data Contributor)"
#define S3_RIGHT    "s3:DeleteObject on the bucket and prefix"

int sync__drop(struct asker *asker, enum frame_tier tier, const char *const *keys, size_t count,
               struct err *err) {
    int code = 0;
    for (size_t done = 0; code == 0 && done < count; done += DROP_MAX) {
        size_t step = count - done < DROP_MAX ? count - done : DROP_MAX;
        code = asker->remote->ops->drop(asker, tier, keys + done, step, err);
    }
    return code;
}

/* One DELETE an object. */
static int drop_each(struct asker *asker, enum frame_tier tier, const char *const *keys,
                     size_t count, const char *right, struct err *err) {
    struct remote_ask *asks = mem_array(count, sizeof *asks);
    if (asks == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to remove %zu objects", count);
    }
    for (size_t i = 0; i < count; i++) {
        asks[i] = (struct remote_ask){.method = "DELETE",
                                      .tier = tier,
                                      .key = keys[i],
                                      .absent_ok = true,
                                      .doing = "removing",
                                      .right = right};
    }
    int code = sync__asker_each(asker, asks, count, NULL, NULL, err);
    free(asks);
    return code;
}

int sync__azure_drop(struct asker *asker, enum frame_tier tier, const char *const *keys,
                     size_t count, struct err *err) {
    return drop_each(asker, tier, keys, count, AZURE_RIGHT, err);
}

/* ---- S3 ---- */

static int body_make(struct asker *asker, const char *const *keys, size_t count, struct buf *out,
                     struct err *err) {
    char name[STORE_KEY_MAX + 1];
    int code = 0;
    buf_puts(out, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
    for (size_t i = 0; code == 0 && i < count; i++) {
        code = sync__remote_name(asker->remote, keys[i], name, err);
        if (code == 0) {
            buf_puts(out, "<Object><Key>");
            buf_puts_html(out, name);
            buf_puts(out, "</Key></Object>");
        }
    }
    buf_puts(out, "</Delete>");
    return code == 0 && out->failed ? err_set(err, ERR_NOMEM, "no memory to remove objects") : code;
}

struct errors { /* the first of a reply, and how many */
    size_t count;
    bool denied;
    char key[STORE_KEY_MAX + 1], code[64], message[128];
    char first[STORE_KEY_MAX + 256];
};

static void on_text(void *ctx, bool item, const char *name, const char *text, bool encoded) {
    struct errors *errors = ctx;
    (void)encoded;
    if (item && strcmp(name, "Key") == 0) {
        snprintf(errors->key, sizeof errors->key, "%s", text);
    } else if (item && strcmp(name, "Code") == 0) {
        snprintf(errors->code, sizeof errors->code, "%s", text);
    } else if (item && strcmp(name, "Message") == 0) {
        snprintf(errors->message, sizeof errors->message, "%s", text);
    }
}

static int on_error(void *ctx) {
    struct errors *errors = ctx;
    if (strcmp(errors->code, "NoSuchKey") == 0) {
        return 0;
    }
    if (errors->count++ == 0) {
        errors->denied = strcmp(errors->code, "AccessDenied") == 0;
        snprintf(errors->first, sizeof errors->first, "%s: %s %s", errors->key, errors->code,
                 errors->message);
    }
    return 0;
}

static int reply_read(const struct asker *asker, const struct http_reply *reply, struct err *err) {
    struct errors errors = {0};
    const struct listing_fields fields = {
        .item = "Error", .text = on_text, .end = on_error, .ctx = &errors};
    int code = sync__listing_parse(&reply->body, "DeleteResult", &fields, err);
    if (code == 0 && errors.count > 0) {
        code = errors.denied
                   ? err_set(err, ERR_DENIED,
                             "the credential may not do this: removing needs " S3_RIGHT " (%s)",
                             errors.first)
                   : err_set(err, ERR_NET, "%zu objects were not removed: %s", errors.count,
                             errors.first);
        err_wrap(err, "remote %s", asker->remote->name);
    }
    return code;
}

static bool lacks_batches(const struct err *err) {
    return err->http_status == 501 || err->http_status == 405;
}

static int drop_batch(struct asker *asker, const struct buf *body, struct err *err) {
    struct frame_hash sha256;
    uint8_t md5[HASH_MD5_SIZE];
    char sha256_text[HASH_BASE64_SIZE(32)], md5_text[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    struct http_reply reply;
    hash_sha256(body->data, body->len, &sha256);
    hash_md5(body->data, body->len, md5);
    struct remote_ask ask = {.method = "POST",
                             .body = body->data,
                             .body_size = body->len,
                             .reply_max = REPLY_MAX,
                             .doing = "removing",
                             .right = S3_RIGHT};
    sync__ask_query(&ask, "delete", "");
    sync__ask_header(&ask, "content-type", "application/xml");
    sync__ask_header(&ask, "content-md5", hash_base64(md5, sizeof md5, md5_text));
    sync__ask_header(&ask, "x-amz-checksum-sha256",
                     hash_base64(sha256.bytes, sizeof sha256.bytes, sha256_text));
    int code = sync__asker_call(asker, &ask, &reply, err);
    if (code == 0) {
        code = reply_read(asker, &reply, err);
        sync__reply_finish(&reply);
    }
    return code;
}

int sync__s3_drop(struct asker *asker, enum frame_tier tier, const char *const *keys, size_t count,
                  struct err *err) {
    CLEANUP(buf_finish) struct buf body = BUF_INIT(BODY_MAX);
    struct err own = {0};
    err = err != NULL ? err : &own;
    int code = count > 1 ? body_make(asker, keys, count, &body, err) : 0;
    if (count > 1) {
        code = code != 0 ? code : drop_batch(asker, &body, err);
        if (code == 0 || !lacks_batches(err)) {
            return code;
        }
    }
    return drop_each(asker, tier, keys, count, S3_RIGHT, err);
}

/* ---- directory ---- */

static bool same_folder(const char *a, const char *b) {
    size_t length = (size_t)(strrchr(a, '/') - a);
    return strncmp(a, b, length + 1) == 0 && strchr(b + length + 1, '/') == NULL;
}

int sync__directory_all_drop(struct asker *asker, enum frame_tier tier, const char *const *keys,
                             size_t count, struct err *err) {
    int code = 0;
    (void)tier;
    for (size_t i = 0; code == 0 && i < count; i++) {
        code = sync__directory_drop(asker->remote, keys[i], err);
        bool last = i + 1 == count || !same_folder(keys[i], keys[i + 1]);
        code = code == 0 && last ? sync__directory_settle(asker->remote, keys[i], err) : code;
    }
    return code;
}

int sync__drop_try(struct asker *asker, enum frame_tier tier, const char *prefix, struct err *err) {
    char key[STORE_KEY_MAX + 1];
    const char *path = NULL;
    int length = snprintf(key, sizeof key, "%s.creel-may-remove", prefix);
    const char *keys[] = {key};
    if (length < 0 || (size_t)length >= sizeof key) {
        return err_set(err, ERR_INVALID, "a prefix of more than %d bytes", STORE_KEY_MAX);
    }
    if (asker->http != NULL) {
        return sync__drop(asker, tier, keys, 1, err);
    }
    int code = sync__directory_look(asker->remote, &path, err);
    return code == 0 && access(path, W_OK) != 0
               ? err_set(err, ERR_DENIED, "remote %s: removing needs the right to write in %s",
                         asker->remote->name, path)
               : code;
}
