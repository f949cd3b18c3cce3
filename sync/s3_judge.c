#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "sync/s3.h"
#include <string.h>

static const struct judge_row rows[] = {
    {"SignatureDoesNotMatch", 0, REMOTE_DENIED, "the secret key is wrong"},
    {"InvalidAccessKeyId", 0, REMOTE_DENIED, "the access key is not known there"},
    {"AccessDenied", 0, REMOTE_DENIED, "the key lacks s3:PutObject on this bucket and prefix"},
    {"ExpiredToken", 0, REMOTE_DENIED, "the session token has ended"},
    {"TokenRefreshRequired", 0, REMOTE_DENIED, "the session token has ended"},
    {"InvalidToken", 0, REMOTE_DENIED, "the session token is wrong"},
    {"RequestTimeTooSkewed", 0, REMOTE_DENIED, "this machine's clock is wrong"},
    {"RequestExpired", 0, REMOTE_DENIED, "this machine's clock is wrong"},
    {"NoSuchBucket", 0, REMOTE_DENIED,
     "the bucket does not exist: make it, or set create_containers: true"},
    {"BucketAlreadyExists", 0, REMOTE_DENIED, "somebody else has a bucket of this name"},
    {"InvalidBucketName", 0, REMOTE_DENIED, "the server does not accept the bucket's name"},
    {"PermanentRedirect", 0, REMOTE_DENIED,
     "the bucket is in another region or at another endpoint"},
    {"AuthorizationHeaderMalformed", 0, REMOTE_DENIED, "the region is wrong"},
    {"IllegalLocationConstraintException", 0, REMOTE_DENIED, "the region is wrong"},
    {"QuotaExceeded", 0, REMOTE_DENIED, "the bucket's or the user's quota is used up"},
    {"NotImplemented", 501, REMOTE_DENIED,
     "this server lacks something that creel relies on (If-None-Match on PutObject)"},
    {"NoSuchUpload", 0, REMOTE_RETRY, "the upload ended before its time"},
    {"InvalidPart", 0, REMOTE_RETRY, "the server lost a part"},
    {"InvalidPartOrder", 0, REMOTE_RETRY, "the server does not know its parts"},
    {"RequestTimeout", 0, REMOTE_RETRY, "the server waited too long for us"},
    {"BadDigest", 0, REMOTE_RETRY, "the bytes were damaged on the way"},
    {"XAmzContentSHA256Mismatch", 0, REMOTE_RETRY, "the bytes were damaged on the way"},
    {"ConditionalRequestConflict", 0, REMOTE_RETRY, "another writer has this name right now"},
    {"OperationAborted", 0, REMOTE_RETRY, "another operation is under way"},
    {"SlowDown", 0, REMOTE_RETRY, "the server asks us to slow down"},
    {"EntityTooLarge", 0, REMOTE_REFUSED, "the object is too large for one request"},
    {"KeyTooLongError", 0, REMOTE_REFUSED, "the object's name is too long"},
};

/* "Who are you?", and not "you may not": there may be a newer key. */
static bool says_unknown(const struct http_reply *reply) {
    static const char *const codes[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken",
                                        "InvalidAccessKeyId", "SignatureDoesNotMatch"};
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        if (strcmp(reply->error_code, codes[i]) == 0) {
            return true;
        }
    }
    return reply->status == 401;
}

bool sync__s3_doubts(struct s3 *s3, struct remote_put *put, const struct http_reply *reply) {
    return (reply->status == 403 && sync__judge_skew(&s3->remote, put, reply)) ||
           (says_unknown(reply) && sync__judge_renew(&s3->remote, put));
}

enum remote_verdict sync__s3_judge_other(struct s3 *s3, struct remote_put *put,
                                         const struct http_reply *reply, struct err *err) {
    if (sync__s3_doubts(s3, put, reply)) {
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict =
        sync__judge_error(&s3->remote, put, rows, ARRAY_LENGTH(rows), reply, err);
    if (verdict == REMOTE_DENIED && reply->region[0] != '\0' &&
        strcmp(reply->region, s3->region) != 0) {
        err_wrap(err, "set region: %s", reply->region);
    }
    return verdict;
}

static bool etag_is_md5(const char *etag) {
    return strlen(etag) == (size_t)HASH_MD5_SIZE * 2 &&
           strspn(etag, "0123456789abcdef") == (size_t)HASH_MD5_SIZE * 2;
}

bool sync__s3_etag_same(const uint8_t md5[HASH_MD5_SIZE], const char *etag) {
    char hex[HASH_MD5_SIZE * 2 + 1];
    return strcmp(hash_hex(md5, HASH_MD5_SIZE, hex), etag) == 0;
}

/* The first object that was stored is sent a second time: a server that takes it again does not
 * know the condition. */
static enum remote_verdict probe(struct s3 *s3, struct remote_put *put) {
    s3->condition = S3_CONDITION_PROBED;
    put->probing = true;
    return REMOTE_AGAIN;
}

static enum remote_verdict judge_probe(struct s3 *s3, const struct http_reply *reply) {
    s3->condition = reply->status == 412   ? S3_CONDITION_HONOURED
                    : reply->status == 200 ? S3_CONDITION_IGNORED
                                           : S3_CONDITION_UNKNOWN; /* another object tries again */
    if (s3->condition == S3_CONDITION_IGNORED) {
        log_debug("the server ignores If-None-Match: every object is looked for first", "remote=%s",
                  s3->remote.name);
    }
    return REMOTE_STORED;
}

static enum remote_verdict judge_put(struct s3 *s3, struct remote_put *put,
                                     const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        char checksum[HASH_BASE64_SIZE(32)];
        struct remote_object *object = put->object;
        hash_base64(object->sha256.bytes, sizeof object->sha256.bytes, checksum);
        memcpy(put->etag, reply->etag, sizeof put->etag);
        bool confirmed = strcmp(reply->checksum, checksum) == 0;
        s3->confirms = s3->confirms || confirmed;
        if (confirmed || sync__s3_etag_same(sync__object_md5(object), reply->etag)) {
            return s3->condition == S3_CONDITION_UNKNOWN ? probe(s3, put) : REMOTE_STORED;
        }
        put->accepted = true;
        put->mismatch = reply->checksum[0] != '\0';
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (reply->status == 412) {
        s3->condition = S3_CONDITION_HONOURED;
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (reply->status == 501 && s3->condition < S3_CONDITION_HONOURED) {
        s3->condition = S3_CONDITION_REFUSED; /* from now on without, and HEAD first */
        return REMOTE_AGAIN;
    }
    return sync__s3_may_create(s3, put, reply) ? REMOTE_AGAIN
                                               : sync__s3_judge_other(s3, put, reply, err);
}

bool sync__s3_may_create(const struct s3 *s3, struct remote_put *put,
                         const struct http_reply *reply) {
    bool may = reply->status == 404 && strcmp(reply->error_code, "NoSuchBucket") == 0 &&
               s3->create_bucket && !put->created;
    if (may) {
        put->step = REMOTE_CREATE;
    }
    return may;
}

/* Nothing was sent yet: what is not there, or may not be looked at, is sent. A HEAD has no words: a
 * bucket that is missing is told to the next request. */
static enum remote_verdict judge_ahead(struct s3 *s3, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    bool closed = reply->status == 401 || reply->status == 403;
    if (reply->status != 404 && !closed) {
        return sync__s3_judge_other(s3, put, reply, err);
    }
    if (closed && sync__s3_doubts(s3, put, reply)) {
        return REMOTE_AGAIN;
    }
    put->ahead = false;
    if (closed && !s3->aws) {
        put->whole = true; /* PutObject knows the condition, if the server has it at all */
    }
    if (put->parts == NULL || put->whole) {
        put->step = REMOTE_PUT;
        return REMOTE_AGAIN;
    }
    return sync__s3_parts_look(s3, put);
}

static enum remote_verdict judge_head(struct s3 *s3, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        memcpy(put->etag, reply->etag, sizeof put->etag);
        bool same = sync__s3_etag_same(sync__object_md5(put->object), reply->etag);
        /* An ETag that looks like an MD5 but is another may be one of a server-side encryption;
         * creel's own metadata outweighs it. */
        bool known = etag_is_md5(reply->etag) && reply->sha256[0] == '\0';
        return sync__judge_same(&s3->remote, put, known, same, reply, err);
    }
    if (put->ahead) {
        return judge_ahead(s3, put, reply, err);
    }
    if (reply->status == 404) {
        put->step = REMOTE_PUT;
        put->accepted = false;
        err_set(err, ERR_NET, "remote %s: %s was there a moment ago and is not", s3->remote.name,
                put->object->key);
        return REMOTE_RETRY;
    }
    if ((reply->status == 401 || reply->status == 403) && put->mismatch) {
        err_set(err, ERR_EXISTS,
                "remote %s: %s was stored with another checksum, and the key may not read it",
                s3->remote.name, put->object->key);
        return REMOTE_CONFLICT;
    }
    if (reply->status == 401 || reply->status == 403) {
        return REMOTE_EXISTS;
    }
    return sync__s3_judge_other(s3, put, reply, err);
}

static enum remote_verdict judge_create(struct s3 *s3, struct remote_put *put,
                                        const struct http_reply *reply, struct err *err) {
    if (reply->status == 200 || strcmp(reply->error_code, "BucketAlreadyOwnedByYou") == 0) {
        put->created = true;
        put->step = put->parts != NULL && !put->whole ? REMOTE_BEGIN : REMOTE_PUT;
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict = sync__s3_judge_other(s3, put, reply, err);
    if (verdict == REMOTE_DENIED) {
        err_wrap(err, "bucket %s does not exist and could not be made (s3:CreateBucket)",
                 s3->bucket);
    }
    return verdict;
}

enum remote_verdict sync__s3_judge(struct remote *remote, struct remote_put *put,
                                   const struct http_reply *reply, struct err *err) {
    static enum remote_verdict (*const judges[REMOTE_STEPS])(
        struct s3 *, struct remote_put *, const struct http_reply *,
        struct err *) = {[REMOTE_PUT] = judge_put,
                         [REMOTE_HEAD] = judge_head,
                         [REMOTE_CREATE] = judge_create,
                         [REMOTE_SEEK] = sync__s3_parts_judge,
                         [REMOTE_BEGIN] = sync__s3_parts_judge,
                         [REMOTE_FIND] = sync__s3_parts_judge,
                         [REMOTE_PART] = sync__s3_parts_judge,
                         [REMOTE_COMMIT] = sync__s3_parts_judge,
                         [REMOTE_ABORT] = sync__s3_parts_judge};
    struct s3 *s3 = (struct s3 *)(void *)remote;
    if (put->probing) {
        return judge_probe(s3, reply);
    }
    enum remote_verdict verdict = reply->status == 0 && put->step != REMOTE_ABORT
                                      ? sync__judge_error(remote, put, NULL, 0, reply, err)
                                      : judges[put->step](s3, put, reply, err);
    return verdict == REMOTE_AGAIN || verdict == REMOTE_RETRY || put->parts == NULL
               ? verdict
               : sync__s3_parts_end(s3, put, verdict);
}
