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
#include "sync/s3.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/ask.h"
#include "sync/drop.h"
#include "sync/listing.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return length >= 3 && length <= S3_BUCKET_MAX &&
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
    const char *region = given(config->region) ? config->region : S3_DEFAULT_REGION;
    if (strlen(region) > S3_REGION_MAX ||
        strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") !=
            strlen(region)) {
        return err_set(err, ERR_CONFIG, "region: \"%.64s\" is no region, such as eu-central-1",
                       region);
    }
    snprintf(s3->bucket, sizeof s3->bucket, "%s", config->bucket);
    snprintf(s3->region, sizeof s3->region, "%s", region);
    return 0;
}

/* How large objects go up, and what every object is given. */
static int properties_set(struct s3 *s3, const struct sync_remote_config *config, struct err *err) {
    const struct {
        const char *key, *value, *allowed;
        char *to;
        size_t room;
    } texts[] = {
        {"storage_class", config->storage_class, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_", s3->storage_class,
         sizeof s3->storage_class},
        {"encryption", config->encryption, "AES256aws:kmd", s3->encryption, sizeof s3->encryption},
        {"kms_key", config->kms_key,
         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/_-", s3->kms_key,
         sizeof s3->kms_key},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        const char *value = given(texts[i].value) ? texts[i].value : "";
        if (strlen(value) >= texts[i].room || strspn(value, texts[i].allowed) != strlen(value)) {
            return err_set(err, ERR_CONFIG, "%s: \"%.64s\" is not of the form that S3 takes",
                           texts[i].key, value);
        }
        snprintf(texts[i].to, texts[i].room, "%s", value);
    }
    if (s3->kms_key[0] != '\0' && strncmp(s3->encryption, "aws:kms", 7) != 0) {
        return err_set(err, ERR_CONFIG, "kms_key: needs encryption: aws:kms");
    }
    if (config->part_bytes > 0 && config->part_bytes < PARTS_BYTES_MIN) {
        return err_set(err, ERR_CONFIG, "part_size: S3 takes no part under 5MiB but the last");
    }
    s3->limits =
        (struct parts_limits){.above = config->parts_above_bytes, .part_bytes = config->part_bytes};
    s3->abandon_after_s = config->abandon_after_s > 0 ? config->abandon_after_s : S3_ABANDON_S;
    return sync__tags_set(config->tags, s3->tags, err);
}

static int endpoint_set(struct s3 *s3, const struct sync_remote_config *config, struct err *err) {
    char made[128], virtual[ADDRESS_HOST_MAX + S3_BUCKET_MAX + ADDRESS_PATH_MAX + 32];
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
    snprintf(remote->origin, sizeof remote->origin, "%s://%s", s3->at.https ? "https" : "http",
             s3->at.authority);
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
        code = properties_set(s3, config, err);
    }
    if (code == 0) {
        code = sync__credential_open(config, &s3->remote.credential, err);
    }
    if (code != 0) {
        s3_close(&s3->remote);
        return code;
    }
    if (s3->aws) {
        s3->condition = S3_CONDITION_HONOURED; /* since August 2024; nothing to find out */
    }
    describe(s3);
    *out = &s3->remote;
    return 0;
}

/* ---- requests ---- */

/* The encoded path of the object, of a `name` with its prefix, or of the bucket alone. */
static int path_make(const struct s3 *s3, const char *key, const char *name, struct buf *out,
                     struct err *err) {
    buf_puts(out, s3->at.path);
    if (!s3->virtual_host) {
        buf_printf(out, "/%s", s3->bucket);
    }
    char made[STORE_KEY_MAX + 1];
    if (key != NULL && name == NULL) {
        int code = sync__remote_name(&s3->remote, key, made, err);
        if (code != 0) {
            return code;
        }
        name = made;
    }
    if (name != NULL) {
        buf_puts(out, "/");
        buf_puts_url(out, name, true);
    } else if (s3->virtual_host) {
        buf_puts(out, "/");
    }
    return out->failed ? err_set(err, ERR_NOMEM, "no memory for a request") : 0;
}

size_t sync__s3_object_fields(const struct s3 *s3, const struct remote_object *object,
                              struct s3_facts *facts, struct sign_field *out) {
    hash_hex(object->sha256.bytes, sizeof object->sha256.bytes, facts->sha256);
    snprintf(facts->width, sizeof facts->width, "%u", object->width);
    snprintf(facts->height, sizeof facts->height, "%u", object->height);
    const struct sign_field fields[] = {
        {"cache-control", "public, max-age=31536000, immutable"},
        {"content-type", sync__media_type(object->media)},
        {"x-amz-meta-sha256", facts->sha256},
        {"x-amz-meta-width", facts->width},
        {"x-amz-meta-height", facts->height},
    };
    const struct sign_field wishes[] = {
        {"x-amz-storage-class", s3->storage_class},
        {"x-amz-server-side-encryption", s3->encryption},
        {"x-amz-server-side-encryption-aws-kms-key-id", s3->kms_key},
        {"x-amz-tagging", s3->tags},
    };
    size_t count = ARRAY_LENGTH(fields) - (object->width == 0 || object->height == 0 ? 2 : 0);
    memcpy(out, fields, count * sizeof fields[0]);
    for (size_t i = 0; i < ARRAY_LENGTH(wishes); i++) {
        if (wishes[i].value[0] != '\0') {
            out[count++] = wishes[i];
        }
    }
    return count;
}

/* Amazon wants to be told the region, but for its first one; other servers have one only. */
static size_t create_body(const struct s3 *s3, char *out, size_t room) {
    if (!s3->aws || strcmp(s3->region, S3_DEFAULT_REGION) == 0) {
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

static void put_query(const struct s3_ask *ask, struct buf *out) {
    for (size_t i = 0; i < ask->query_count; i++) {
        buf_puts(out, i > 0 ? "&" : "");
        buf_puts_url(out, ask->query[i].name, false);
        buf_puts(out, "=");
        buf_puts_url(out, ask->query[i].value, false);
    }
}

struct stamps { /* texts that headers point to while they are signed */
    char date[CLOCK_AMZ_SIZE];
    char payload[HASH_HEX_SIZE];
};

static size_t fields_make(const struct s3 *s3, const struct remote_put *put,
                          const struct credential_value *value, const struct s3_ask *ask,
                          struct stamps *stamps, struct sign_field *out) {
    struct frame_hash hash;
    size_t count = 0;
    if (ask->sha256 != NULL) {
        hash = *ask->sha256;
    } else {
        hash_sha256(ask->body_size > 0 ? ask->body : "", ask->body_size, &hash);
    }
    while (count < ask->field_count) {
        out[count] = ask->fields[count];
        count++;
    }
    hash_hex(hash.bytes, sizeof hash.bytes, stamps->payload);
    out[count++] = (struct sign_field){"host", s3->at.authority};
    out[count++] = (struct sign_field){"x-amz-content-sha256", stamps->payload};
    out[count++] =
        (struct sign_field){"x-amz-date", clock_format_amz(put->signed_utc_us, stamps->date)};
    if (value->session != NULL) {
        out[count++] = (struct sign_field){"x-amz-security-token", value->session};
    }
    return count;
}

int sync__s3_ask(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                 const struct s3_ask *ask, struct http_request *out, struct err *err) {
    struct remote *remote = &s3->remote;
    const struct credential_value *value = sync__credential_sign(remote, put, err);
    if (value == NULL) {
        return ERR_BUSY;
    }
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    CLEANUP(buf_finish) struct buf query = BUF_INIT(SYNC_LINK_MAX);
    int code = path_make(s3, ask->bucket ? NULL : put->object->key, ask->name, &path, err);
    if (code != 0) {
        return code;
    }
    put_query(ask, &query);
    put->signed_utc_us = now_utc_us + remote->skew_us;
    struct http_request request = {.method = ask->method,
                                   .ca_file = remote->ca_file,
                                   .direct = s3->at.loopback,
                                   .body = ask->body,
                                   .body_size = ask->body_size,
                                   .reply_max = ask->reply_max};
    struct stamps stamps;
    struct sign_field fields[SIGN_FIELDS_MAX];
    struct sign_aws signing = {.method = ask->method,
                               .path = path.data,
                               .query = query.len > 0 ? query.data : "",
                               .headers = fields,
                               .header_count = fields_make(s3, put, value, ask, &stamps, fields),
                               .payload = stamps.payload,
                               .utc_us = put->signed_utc_us};
    request.url = query.failed ? NULL : url_make(s3, path.data, signing.query);
    code = request.url == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                               : headers_add(s3, &signing, value, &request, err);
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    *out = request;
    return 0;
}

static int ask_put(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                   struct http_request *out, struct err *err) {
    struct remote_object *object = put->object;
    struct s3_facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)], checksum[HASH_BASE64_SIZE(32)];
    size_t count = sync__s3_object_fields(s3, object, &facts, fields);
    if (!s3->confirms) {
        fields[count++] = (struct sign_field){
            "content-md5", hash_base64(sync__object_md5(object), HASH_MD5_SIZE, md5)};
    }
    fields[count++] = (struct sign_field){
        "x-amz-checksum-sha256",
        hash_base64(object->sha256.bytes, sizeof object->sha256.bytes, checksum)};
    if (s3->condition != S3_CONDITION_REFUSED) {
        fields[count++] = (struct sign_field){"if-none-match", "*"};
    }
    struct s3_ask ask = {.method = "PUT",
                         .fields = fields,
                         .field_count = count,
                         .body = object->bytes,
                         .body_size = object->size,
                         .sha256 = &object->sha256};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static int ask_create(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                      struct http_request *out, struct err *err) {
    struct s3_ask ask = {.method = "PUT",
                         .bucket = true,
                         .body = s3->create_text,
                         .body_size = create_body(s3, s3->create_text, sizeof s3->create_text)};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static int s3_request(struct remote *remote, struct remote_put *put, int64_t now_utc_us,
                      struct http_request *out, struct err *err) {
    static const struct s3_ask head = {.method = "HEAD"};
    struct s3 *s3 = s3_of(remote);
    int code = sync__s3_begin(s3, put, err);
    if (code != 0) {
        return code;
    }
    switch (put->step) {
    case REMOTE_PUT:
        return ask_put(s3, put, now_utc_us, out, err);
    case REMOTE_HEAD:
        return sync__s3_ask(s3, put, now_utc_us, &head, out, err);
    case REMOTE_CREATE:
        return ask_create(s3, put, now_utc_us, out, err);
    default:
        return sync__s3_parts_request(s3, put, now_utc_us, out, err);
    }
}

static int s3_ask(struct remote *remote, struct remote_ask *ask, int64_t now_utc_us,
                  struct http_request *out, struct err *err) {
    sync__ask_query_sort(ask);
    const struct s3_ask like = {.method = ask->method,
                                .bucket = ask->key == NULL,
                                .query = ask->query,
                                .query_count = ask->query_count,
                                .fields = ask->headers,
                                .field_count = ask->header_count,
                                .body = ask->body,
                                .body_size = ask->body_size,
                                .reply_max = ask->reply_max};
    return sync__s3_ask(s3_of(remote), &ask->put, now_utc_us, &like, out, err);
}

static enum remote_verdict s3_judge_ask(struct remote *remote, struct remote_ask *ask,
                                        const struct http_reply *reply, struct err *err) {
    ask->put.step = REMOTE_ASK;
    return sync__s3_judge_other(s3_of(remote), &ask->put, reply, err);
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
    int code = path_make(s3, key, NULL, &path, err);
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
                                        .judge = sync__s3_judge,
                                        .ask = s3_ask,
                                        .judge_ask = s3_judge_ask,
                                        .listing = &sync__s3_listing,
                                        .drop = sync__s3_drop,
                                        .link = s3_link};
