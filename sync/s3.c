/* s3: any S3 endpoint by PutObject, signed with Signature Version 4.
 *
 * Goal: one request an object where all goes well, and no receipt without proof.
 * Invariants:
 *  1. Every PutObject carries If-None-Match: *, Content-MD5, x-amz-checksum-sha256 and the true
 * payload hash; the server checks at least one of them, whichever it knows.
 *  2. A 200 is a receipt only when its ETag is our MD5 or its checksum our SHA-256; else HEAD
 * decides (an ETag is no MD5 under SSE-KMS: then creel's own metadata is compared).
 *  3. "Exists" (412) is a receipt only after HEAD; where the key may not read, it is the weaker
 * kind.
 *  4. Everything sent that begins with x-amz- is signed.
 * Rejected: libcurl's AWS_SIGV4 (7.88 neither signs every x-amz header nor takes a payload hash),
 * chunked signatures with trailers (strict servers refuse them, and frames fit in memory).
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/address.h"
#include "sync/ask.h"
#include "sync/drop.h"
#include "sync/listing.h"
#include "sync/remote.h"
#include "sync/sign.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_REGION "us-east-1"
#define BUCKET_MAX     63 /* AWS, "Bucket naming rules" */
#define REGION_MAX     63

struct s3 {
    struct remote remote;
    struct address at; /* with the bucket in the host where that is the style */
    char bucket[BUCKET_MAX + 1];
    char region[REGION_MAX + 1];
    bool aws; /* Amazon's own endpoint */
    bool virtual_host;
    bool create_bucket;
    char create_text[256]; /* body of CreateBucket, the same each time */
};

static struct s3 *s3_of(struct remote *remote) {
    return (struct s3 *)(void *)remote;
}

static struct sign_aws_key key_of(const struct s3 *s3, const struct credential_value *value) {
    return (struct sign_aws_key){.access_key = value->id,
                                 .secret_key = value->secret,
                                 .token = value->session,
                                 .region = s3->region,
                                 .service = "s3"};
}

/* ---- opening ---- */

static bool given(const char *text) {
    return text != NULL && text[0] != '\0';
}

static bool bucket_is_valid(const char *bucket) {
    size_t length = strlen(bucket);
    return length >= 3 && length <= BUCKET_MAX &&
           strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") == length &&
           isalnum((unsigned char)bucket[0]) && isalnum((unsigned char)bucket[length - 1]) &&
           strstr(bucket, "..") == NULL;
}

static int names_set(struct s3 *s3, const struct sync_remote_config *config, struct err *err) {
    if (!given(config->bucket)) {
        return err_set(err, ERR_CONFIG, "bucket: missing");
    }
    if (!bucket_is_valid(config->bucket)) {
        return err_set(err, ERR_CONFIG,
                       "bucket: \"%s\" is no bucket name: 3 to 63 of a-z, 0-9, . and -",
                       config->bucket);
    }
    const char *region = given(config->region) ? config->region : DEFAULT_REGION;
    if (strlen(region) > REGION_MAX ||
        strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") !=
            strlen(region)) {
        return err_set(err, ERR_CONFIG, "region: \"%.64s\" is no region, such as eu-central-1",
                       region);
    }
    snprintf(s3->bucket, sizeof s3->bucket, "%s", config->bucket);
    snprintf(s3->region, sizeof s3->region, "%s", region);
    return 0;
}

static int endpoint_set(struct s3 *s3, const struct sync_remote_config *config, struct err *err) {
    char made[128], virtual[ADDRESS_HOST_MAX + BUCKET_MAX + ADDRESS_PATH_MAX + 32];
    snprintf(made, sizeof made, "https://s3.%s.amazonaws.com", s3->region);
    s3->aws = !given(config->url);
    int code = sync__address_parse(s3->aws ? made : config->url, &s3->at, err);
    if (code != 0 || !config->virtual_host) {
        return code;
    }
    if (s3->at.by_number && strcmp(s3->at.host, "localhost") != 0) {
        return err_set(err, ERR_CONFIG, "virtual_host: needs a host name in url, not an address");
    }
    if (s3->at.https && strchr(s3->bucket, '.') != NULL) {
        return err_set(err, ERR_CONFIG,
                       "virtual_host: a certificate does not cover a bucket name with dots");
    }
    snprintf(virtual, sizeof virtual, "%s://%s.%s%s", s3->at.https ? "https" : "http", s3->bucket,
             s3->at.authority, s3->at.path);
    s3->virtual_host = true;
    return sync__address_parse(virtual, &s3->at, err);
}

static void describe(struct s3 *s3) {
    struct remote *remote = &s3->remote;
    snprintf(remote->where, sizeof remote->where, "%.150s%.30s, bucket %s", s3->at.authority,
             s3->at.path, s3->bucket);
    const char *parts[] = {"s3", s3->at.authority, s3->at.path, s3->bucket};
    sync__identity_set(remote, parts, ARRAY_LENGTH(parts));
}

static void s3_close(struct remote *remote) {
    struct s3 *s3 = s3_of(remote);
    sync__credential_close(remote->credential);
    free(s3);
}

static int s3_open(const struct sync_remote_config *config, struct remote **out, struct err *err) {
    struct s3 *s3 = mem_alloc(sizeof *s3);
    if (s3 == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a remote");
    }
    s3->remote.ops = &sync__s3_ops;
    s3->create_bucket = config->create_containers;
    int code = names_set(s3, config, err);
    if (code == 0) {
        code = endpoint_set(s3, config, err);
    }
    if (code == 0) {
        code = sync__credential_open(config, &s3->remote.credential, err);
    }
    if (code != 0) {
        s3_close(&s3->remote);
        return code;
    }
    describe(s3);
    *out = &s3->remote;
    return 0;
}

/* ---- requests ---- */

/* The encoded path of the object, or of the bucket alone. */
static int path_make(const struct s3 *s3, const char *key, struct buf *out, struct err *err) {
    buf_puts(out, s3->at.path);
    if (!s3->virtual_host) {
        buf_printf(out, "/%s", s3->bucket);
    }
    if (key != NULL) {
        char name[STORE_KEY_MAX + 1];
        int code = sync__remote_name(&s3->remote, key, name, err);
        if (code != 0) {
            return code;
        }
        buf_puts(out, "/");
        buf_puts_url(out, name, true);
    } else if (s3->virtual_host) {
        buf_puts(out, "/");
    }
    return out->failed ? err_set(err, ERR_NOMEM, "no memory for a request") : 0;
}

struct facts { /* texts that headers point to while they are signed */
    char stamp[CLOCK_AMZ_SIZE];
    char payload[HASH_HEX_SIZE];
    char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    char checksum[HASH_BASE64_SIZE(32)];
    char width[12], height[12];
};

static size_t put_fields(const struct remote_object *object, struct facts *facts,
                         struct sign_field *out) {
    hash_base64(object->md5, sizeof object->md5, facts->md5);
    hash_base64(object->sha256.bytes, sizeof object->sha256.bytes, facts->checksum);
    snprintf(facts->width, sizeof facts->width, "%u", object->width);
    snprintf(facts->height, sizeof facts->height, "%u", object->height);
    const struct sign_field fields[] = {
        {"cache-control", "public, max-age=31536000, immutable"},
        {"content-md5", facts->md5},
        {"content-type", sync__media_type(object->media)},
        {"if-none-match", "*"},
        {"x-amz-checksum-sha256", facts->checksum},
        {"x-amz-meta-sha256", facts->payload},
        {"x-amz-meta-width", facts->width},
        {"x-amz-meta-height", facts->height},
    };
    size_t count = ARRAY_LENGTH(fields) - (object->width == 0 || object->height == 0 ? 2 : 0);
    memcpy(out, fields, count * sizeof fields[0]);
    return count;
}

/* Amazon wants to be told the region, but for its first one; other servers have one only. */
static size_t create_body(const struct s3 *s3, char *out, size_t room) {
    if (!s3->aws || strcmp(s3->region, DEFAULT_REGION) == 0) {
        return 0;
    }
    int length =
        snprintf(out, room,
                 "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                 "<LocationConstraint>%s</LocationConstraint></CreateBucketConfiguration>",
                 s3->region);
    return (size_t)length;
}

static int headers_add(const struct s3 *s3, const struct sign_aws *signing,
                       const struct credential_value *value, struct http_request *out,
                       struct err *err) {
    char authorization[SIGN_HEADER_MAX];
    struct sign_aws_key key = key_of(s3, value);
    int code = sync__sign_aws(signing, &key, authorization, err);
    if (code != 0) {
        return code;
    }
    bool added = sync__request_add(out, "authorization", authorization);
    for (size_t i = 0; i < signing->header_count; i++) {
        added =
            added && sync__request_add(out, signing->headers[i].name, signing->headers[i].value);
    }
    return added ? 0 : err_set(err, ERR_NOMEM, "no memory for a request");
}

static char *url_make(const struct s3 *s3, const char *path, const char *query) {
    struct buf url = BUF_INIT(SYNC_LINK_MAX * 2);
    buf_printf(&url, "%s://%s%s%s%s", s3->at.https ? "https" : "http", s3->at.authority, path,
               query[0] != '\0' ? "?" : "", query);
    size_t length = 0;
    char *made = buf_take(&url, &length);
    buf_finish(&url);
    return made;
}

static size_t fields_make(const struct s3 *s3, struct remote_put *put,
                          const struct credential_value *value, const struct http_request *request,
                          struct facts *facts, struct sign_field *out) {
    struct frame_hash hash;
    if (put->step == REMOTE_PUT) {
        hash = put->object->sha256;
    } else {
        hash_sha256(request->body_size > 0 ? request->body : "", request->body_size, &hash);
    }
    hash_hex(hash.bytes, sizeof hash.bytes, facts->payload);
    size_t count = put->step == REMOTE_PUT ? put_fields(put->object, facts, out) : 0;
    out[count++] = (struct sign_field){"host", s3->at.authority};
    out[count++] = (struct sign_field){"x-amz-content-sha256", facts->payload};
    out[count++] =
        (struct sign_field){"x-amz-date", clock_format_amz(put->signed_utc_us, facts->stamp)};
    if (value->session != NULL) {
        out[count++] = (struct sign_field){"x-amz-security-token", value->session};
    }
    return count;
}

static int s3_request(struct remote *remote, struct remote_put *put, int64_t now_utc_us,
                      struct http_request *out, struct err *err) {
    static const char *const methods[] = {
        [REMOTE_PUT] = "PUT", [REMOTE_HEAD] = "HEAD", [REMOTE_CREATE] = "PUT"};
    struct s3 *s3 = s3_of(remote);
    const struct credential_value *value = sync__credential_sign(remote, put, err);
    if (value == NULL) {
        return ERR_BUSY;
    }
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    bool create = put->step == REMOTE_CREATE;
    int code = path_make(s3, create ? NULL : put->object->key, &path, err);
    if (code != 0) {
        return code;
    }
    put->signed_utc_us = now_utc_us + remote->skew_us;
    struct http_request request = {
        .method = methods[put->step], .ca_file = remote->ca_file, .direct = s3->at.loopback};
    if (put->step == REMOTE_PUT) {
        request.body = put->object->bytes;
        request.body_size = put->object->size;
    } else if (create) {
        request.body = s3->create_text;
        request.body_size = create_body(s3, s3->create_text, sizeof s3->create_text);
    }
    struct facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    struct sign_aws signing = {.method = request.method,
                               .path = path.data,
                               .query = "",
                               .headers = fields,
                               .header_count =
                                   fields_make(s3, put, value, &request, &facts, fields),
                               .payload = facts.payload,
                               .utc_us = put->signed_utc_us};
    request.url = url_make(s3, path.data, "");
    code = request.url == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                               : headers_add(s3, &signing, value, &request, err);
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    *out = request;
    return 0;
}

static size_t ask_fields(const struct s3 *s3, struct remote_ask *ask, int64_t now_utc_us,
                         const struct credential_value *value, struct facts *facts,
                         struct sign_field *out) {
    struct frame_hash hash;
    ask->put.signed_utc_us = now_utc_us + s3->remote.skew_us;
    hash_sha256(ask->body_size > 0 ? ask->body : "", ask->body_size, &hash);
    hash_hex(hash.bytes, sizeof hash.bytes, facts->payload);
    memcpy(out, ask->headers, ask->header_count * sizeof out[0]);
    size_t count = ask->header_count;
    out[count++] = (struct sign_field){"host", s3->at.authority};
    out[count++] = (struct sign_field){"x-amz-content-sha256", facts->payload};
    out[count++] =
        (struct sign_field){"x-amz-date", clock_format_amz(ask->put.signed_utc_us, facts->stamp)};
    if (value->session != NULL) {
        out[count++] = (struct sign_field){"x-amz-security-token", value->session};
    }
    return count;
}

static int s3_ask(struct remote *remote, struct remote_ask *ask, int64_t now_utc_us,
                  struct http_request *out, struct err *err) {
    struct s3 *s3 = s3_of(remote);
    struct facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX), query = BUF_INIT(SYNC_LINK_MAX);
    const struct credential_value *value = sync__credential_sign(remote, &ask->put, err);
    int code = value == NULL ? ERR_BUSY : path_make(s3, ask->key, &path, err);
    if (code != 0) {
        return code;
    }
    sync__ask_query_text(ask, &query);
    struct sign_aws signing = {.method = ask->method,
                               .path = path.data,
                               .query = query.len > 0 ? query.data : "",
                               .headers = fields,
                               .header_count =
                                   ask_fields(s3, ask, now_utc_us, value, &facts, fields),
                               .payload = facts.payload,
                               .utc_us = ask->put.signed_utc_us};
    struct http_request request = {.method = ask->method,
                                   .url =
                                       query.failed ? NULL : url_make(s3, path.data, signing.query),
                                   .body = ask->body,
                                   .body_size = ask->body_size,
                                   .reply_max = ask->reply_max,
                                   .ca_file = remote->ca_file,
                                   .direct = s3->at.loopback};
    code = request.url == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                               : headers_add(s3, &signing, value, &request, err);
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    *out = request;
    return 0;
}

/* ---- replies ---- */

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

static enum remote_verdict judge_other(struct s3 *s3, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    if (reply->status == 403 && sync__judge_skew(&s3->remote, put, reply)) {
        return REMOTE_AGAIN;
    }
    if (says_unknown(reply) && sync__judge_renew(&s3->remote, put)) {
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

static bool etag_same(const struct remote_object *object, const char *etag) {
    char hex[HASH_MD5_SIZE * 2 + 1];
    return strcmp(hash_hex(object->md5, sizeof object->md5, hex), etag) == 0;
}

static enum remote_verdict judge_put(struct s3 *s3, struct remote_put *put,
                                     const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        char checksum[HASH_BASE64_SIZE(32)];
        const struct remote_object *object = put->object;
        hash_base64(object->sha256.bytes, sizeof object->sha256.bytes, checksum);
        memcpy(put->etag, reply->etag, sizeof put->etag);
        if (etag_same(object, reply->etag) || strcmp(reply->checksum, checksum) == 0) {
            return REMOTE_STORED;
        }
        put->accepted = true;
        put->mismatch = reply->checksum[0] != '\0';
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (reply->status == 412) {
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (reply->status == 404 && strcmp(reply->error_code, "NoSuchBucket") == 0 &&
        s3->create_bucket && !put->created) {
        put->step = REMOTE_CREATE;
        return REMOTE_AGAIN;
    }
    return judge_other(s3, put, reply, err);
}

static enum remote_verdict judge_head(struct s3 *s3, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        memcpy(put->etag, reply->etag, sizeof put->etag);
        bool same = etag_same(put->object, reply->etag);
        /* An ETag that looks like an MD5 but is another may be one of a server-side encryption;
         * creel's own metadata outweighs it. */
        bool known = etag_is_md5(reply->etag) && reply->sha256[0] == '\0';
        return sync__judge_same(&s3->remote, put, known, same, reply, err);
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
    return judge_other(s3, put, reply, err);
}

static enum remote_verdict judge_create(struct s3 *s3, struct remote_put *put,
                                        const struct http_reply *reply, struct err *err) {
    if (reply->status == 200 || strcmp(reply->error_code, "BucketAlreadyOwnedByYou") == 0) {
        put->created = true;
        put->step = REMOTE_PUT;
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict = judge_other(s3, put, reply, err);
    if (verdict == REMOTE_DENIED) {
        err_wrap(err, "bucket %s does not exist and could not be made (s3:CreateBucket)",
                 s3->bucket);
    }
    return verdict;
}

static enum remote_verdict s3_judge(struct remote *remote, struct remote_put *put,
                                    const struct http_reply *reply, struct err *err) {
    static enum remote_verdict (*const judges[])(struct s3 *, struct remote_put *,
                                                 const struct http_reply *, struct err *) = {
        [REMOTE_PUT] = judge_put, [REMOTE_HEAD] = judge_head, [REMOTE_CREATE] = judge_create};
    if (reply->status == 0) {
        return sync__judge_error(remote, put, NULL, 0, reply, err);
    }
    return judges[put->step](s3_of(remote), put, reply, err);
}

static enum remote_verdict s3_judge_ask(struct remote *remote, struct remote_ask *ask,
                                        const struct http_reply *reply, struct err *err) {
    ask->put.step = REMOTE_ASK;
    return judge_other(s3_of(remote), &ask->put, reply, err);
}

/* ---- links ---- */

static int s3_link(struct remote *remote, enum frame_tier tier, const char *key, int ttl_s,
                   int64_t now_utc_us, struct buf *out, struct err *err) {
    const struct s3 *s3 = s3_of(remote);
    (void)tier;
    if (!s3->at.https && !s3->at.loopback) {
        return err_set(err, ERR_REFUSED, "remote %s: links outside this machine need an https url",
                       remote->name);
    }
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    int code = path_make(s3, key, &path, err);
    if (code != 0) {
        return code;
    }
    const struct credential_value *value =
        sync__credential_get(remote->credential, clock_boot_us());
    if (value == NULL) {
        return err_set(err, ERR_REFUSED,
                       "remote %s has keys of %s, which are fetched by the running sync alone: "
                       "links need access_key or a profile",
                       remote->name, remote->credential->ops->what);
    }
    int64_t left_us = value->ends_us == INT64_MAX ? INT64_MAX : value->ends_us - clock_boot_us();
    if (left_us < (int64_t)ttl_s * 1000000) {
        return err_set(err, ERR_REFUSED,
                       "remote %s: the keys of %s end in %" PRId64
                       " s, and a link with them: give a shorter --ttl",
                       remote->name, remote->credential->ops->what, left_us / 1000000);
    }
    struct sign_aws_key signing_key = key_of(s3, value);
    buf_printf(out, "%s://%s%s?", s3->at.https ? "https" : "http", s3->at.authority, path.data);
    return sync__sign_aws_link(&signing_key, s3->at.authority, path.data,
                               now_utc_us + remote->skew_us, ttl_s, out, err);
}

const struct remote_ops sync__s3_ops = {.kind = "s3",
                                        .open = s3_open,
                                        .close = s3_close,
                                        .request = s3_request,
                                        .judge = s3_judge,
                                        .ask = s3_ask,
                                        .judge_ask = s3_judge_ask,
                                        .listing = &sync__s3_listing,
                                        .drop = sync__s3_drop,
                                        .link = s3_link};
