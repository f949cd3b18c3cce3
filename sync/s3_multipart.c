/* s3_multipart: large objects by CreateMultipartUpload, UploadPart and CompleteMultipartUpload.
 *
 *   HEAD --404--> an upload remembered? --yes--> FIND --> PART … --all there--> COMMIT --> stored
 *                    \--no--> SEEK --one of this name--/ |           \--412--> HEAD
 *                               \--none, may not--> BEGIN                        \--> ABORT
 *
 * Goal: an interrupted upload costs one part, not the object, and leaves nothing that is paid for.
 * Invariants:
 *  1. The upload's name is remembered (state.db) before its first part is sent, and forgotten when
 * it is complete or given up. Where ListParts is allowed, parts that are there with our MD5 or
 * SHA-256 are not sent again; where it is not, they are sent again into the same upload.
 *  2. Each part carries Content-MD5, x-amz-checksum-sha256 and its true payload hash; it counts
 * when its ETag is our MD5 or its checksum ours. Under SSE-KMS an ETag is neither: then HEAD
 * decides in the end.
 *  3. Complete carries If-None-Match: *. Not every server heeds it there, so HEAD comes before the
 * first byte in any case. Who may not look sends the object whole, but to Amazon, which heeds it.
 *  4. A 200 of Complete is a receipt only when its ETag is made of our parts; an <Error> in it is
 * one.
 *  5. Uploads under this device's own folder, as old as abandon_after, are orphans: cleared away,
 * a few a conversation. One of this very name is taken up instead.
 * Rejected: remembering each part (a durable write a part, for the few keys that may not list).
 */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "sync/s3.h"
#include "sync/xml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is remembered ---- */

static void upload_recall(const struct s3 *s3, struct remote_put *put) {
    const struct remote_memory *memory = &s3->remote.memory;
    char *upload = put->parts->upload;
    if (memory->upload_get == NULL || memory->upload_get(memory->ctx, put->object->key, upload,
                                                         PARTS_UPLOAD_MAX + 1, NULL) != 0) {
        upload[0] = '\0';
    }
}

/* A fault of the memory costs a search at the next attempt, or an orphan, and no byte of ours. */
static void upload_remember(const struct s3 *s3, const struct remote_put *put, const char *upload) {
    const struct remote_memory *memory = &s3->remote.memory;
    struct err err = {0};
    if (memory->upload_put != NULL &&
        memory->upload_put(memory->ctx, put->object->key, upload, &err) != 0) {
        log_debug("an unfinished upload is not remembered", "remote=%s error=\"%s\"",
                  s3->remote.name, err.msg);
    }
}

static void orphan_add(struct parts *parts, const char *name, const char *upload) {
    if (parts->orphan_count < PARTS_ORPHANS_MAX) {
        struct parts_orphan *orphan = &parts->orphans[parts->orphan_count++];
        snprintf(orphan->key, sizeof orphan->key, "%s", name);
        snprintf(orphan->upload, sizeof orphan->upload, "%s", upload);
    }
}

/* ---- beginning ---- */

int sync__s3_begin(struct s3 *s3, struct remote_put *put, struct err *err) {
    if (put->step != REMOTE_PUT || put->looked || put->probing) {
        return 0;
    }
    bool large = sync__parts_wanted(&s3->limits, put->object->size) && !put->whole;
    if (large && put->parts == NULL) {
        put->parts = sync__parts_create(put->object->bytes, put->object->size, &s3->limits);
        if (put->parts == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for an upload in parts");
        }
    }
    if (large || s3->condition == S3_CONDITION_IGNORED || s3->condition == S3_CONDITION_REFUSED) {
        put->looked = put->ahead = true;
        put->step = REMOTE_HEAD;
    }
    return 0;
}

static unsigned sweep_bit(const struct remote_put *put) {
    enum frame_tier tier = put->object->tier;
    return 1u << ((unsigned)tier < TIER_COUNT ? (unsigned)tier : TIER_COUNT);
}

enum remote_verdict sync__s3_parts_look(struct s3 *s3, struct remote_put *put) {
    upload_recall(s3, put);
    bool known = put->parts->upload[0] != '\0';
    put->step = known && (s3->swept & sweep_bit(put)) != 0 ? REMOTE_FIND : REMOTE_SEEK;
    return REMOTE_AGAIN;
}

/* ---- requests ---- */

/* Up to the device: all of its unfinished uploads are ours. A name of another make is only itself.
 */
static void prefix_of(const char *name, char out[STORE_KEY_MAX + 1]) {
    const char *device = strstr(name, "/device=");
    size_t length = device != NULL ? strcspn(device + 1, "/") + 1 : 0;
    snprintf(out, STORE_KEY_MAX + 1, "%.*s",
             (int)(device != NULL ? (size_t)(device - name) + length + 1 : strlen(name)), name);
}

static int ask_seek(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                    struct http_request *out, struct err *err) {
    char name[STORE_KEY_MAX + 1], prefix[STORE_KEY_MAX + 1];
    int code = sync__remote_name(&s3->remote, put->object->key, name, err);
    if (code != 0) {
        return code;
    }
    prefix_of(name, prefix);
    const struct sign_field query[] = {{"prefix", prefix}, {"uploads", ""}};
    struct s3_ask ask = {.method = "GET",
                         .bucket = true,
                         .query = query,
                         .query_count = ARRAY_LENGTH(query),
                         .reply_max = PARTS_LIST_BODY_MAX};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static int ask_begin(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                     struct http_request *out, struct err *err) {
    static const struct sign_field query[] = {{"uploads", ""}};
    struct s3_facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    size_t count = sync__s3_object_fields(s3, put->object, &facts, fields);
    fields[count++] = (struct sign_field){"x-amz-checksum-algorithm", "SHA256"};
    struct s3_ask ask = {.method = "POST",
                         .query = query,
                         .query_count = ARRAY_LENGTH(query),
                         .fields = fields,
                         .field_count = count};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static int ask_find(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                    struct http_request *out, struct err *err) {
    const struct sign_field query[] = {{"uploadId", put->parts->upload}};
    struct s3_ask ask = {.method = "GET",
                         .query = query,
                         .query_count = ARRAY_LENGTH(query),
                         .reply_max = PARTS_LIST_BODY_MAX};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static int ask_part(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                    struct http_request *out, struct err *err) {
    struct parts *parts = put->parts;
    const struct remote_object *object = put->object;
    size_t index = sync__parts_next(parts);
    const struct frame_hash *sha256 = sync__parts_sha256(parts, index, object->bytes, object->size);
    char number[12], md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)], checksum[HASH_BASE64_SIZE(32)];
    snprintf(number, sizeof number, "%zu", index + 1);
    const struct sign_field query[] = {{"partNumber", number}, {"uploadId", parts->upload}};
    const struct sign_field fields[] = {
        {"content-md5", hash_base64(parts->all[index].md5, HASH_MD5_SIZE, md5)},
        {"x-amz-checksum-sha256", hash_base64(sha256->bytes, sizeof sha256->bytes, checksum)}};
    struct s3_ask ask = {.method = "PUT",
                         .query = query,
                         .query_count = ARRAY_LENGTH(query),
                         .fields = fields,
                         .field_count = ARRAY_LENGTH(fields),
                         .body = object->bytes + sync__parts_at(parts, index),
                         .body_size = sync__parts_size(parts, index, object->size),
                         .sha256 = sha256};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static void list_make(struct remote_put *put) {
    struct parts *parts = put->parts;
    char checksum[HASH_BASE64_SIZE(32)];
    buf_reset(&parts->body);
    buf_puts(&parts->body,
             "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (size_t i = 0; i < parts->count; i++) {
        const struct frame_hash *sha256 =
            sync__parts_sha256(parts, i, put->object->bytes, put->object->size);
        buf_printf(&parts->body, "<Part><PartNumber>%zu</PartNumber><ETag>\"", i + 1);
        buf_puts_html(&parts->body, parts->all[i].etag);
        buf_printf(&parts->body, "\"</ETag><ChecksumSHA256>%s</ChecksumSHA256></Part>",
                   hash_base64(sha256->bytes, sizeof sha256->bytes, checksum));
    }
    buf_puts(&parts->body, "</CompleteMultipartUpload>");
}

static int ask_commit(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                      struct http_request *out, struct err *err) {
    const struct sign_field query[] = {{"uploadId", put->parts->upload}};
    const struct sign_field fields[] = {{"content-type", "application/xml"},
                                        {"if-none-match", "*"}};
    list_make(put);
    if (put->parts->body.failed) {
        return err_set(err, ERR_NOMEM, "no memory for a list of parts");
    }
    struct s3_ask ask = {.method = "POST",
                         .query = query,
                         .query_count = ARRAY_LENGTH(query),
                         .fields = fields,
                         .field_count = s3->condition == S3_CONDITION_REFUSED ? 1 : 2,
                         .body = put->parts->body.data,
                         .body_size = put->parts->body.len};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

static int ask_abort(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                     struct http_request *out, struct err *err) {
    const struct parts_orphan *orphan = &put->parts->orphans[put->parts->orphan_count - 1];
    const struct sign_field query[] = {{"uploadId", orphan->upload}};
    struct s3_ask ask = {.method = "DELETE",
                         .name = orphan->key,
                         .query = query,
                         .query_count = ARRAY_LENGTH(query)};
    return sync__s3_ask(s3, put, now_utc_us, &ask, out, err);
}

int sync__s3_parts_request(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                           struct http_request *out, struct err *err) {
    static int (*const asks[REMOTE_STEPS])(struct s3 *, struct remote_put *, int64_t,
                                           struct http_request *, struct err *) = {
        [REMOTE_SEEK] = ask_seek, [REMOTE_BEGIN] = ask_begin,   [REMOTE_FIND] = ask_find,
        [REMOTE_PART] = ask_part, [REMOTE_COMMIT] = ask_commit, [REMOTE_ABORT] = ask_abort};
    return asks[put->step](s3, put, now_utc_us, out, err);
}

/* ---- replies ---- */

static enum remote_verdict go_on(struct remote_put *put) {
    bool all = sync__parts_next(put->parts) == put->parts->count;
    put->step = all ? REMOTE_COMMIT : REMOTE_PART;
    return REMOTE_AGAIN;
}

/* The upload is gone: completed by a Complete whose answer was lost, or cleared away. */
static enum remote_verdict look_again(struct s3 *s3, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (put->parts->restarts++ >= PARTS_RESTARTS_MAX) {
        return sync__s3_judge_other(s3, put, reply, err);
    }
    sync__parts_forget(put->parts);
    upload_remember(s3, put, "");
    put->ahead = true;
    put->step = REMOTE_HEAD;
    return REMOTE_AGAIN;
}

static bool is_closed(const struct http_reply *reply) {
    return reply->status == 401 || reply->status == 403;
}

static bool is_lacking(const struct http_reply *reply) {
    return reply->status == 501 || reply->status == 405 ||
           strcmp(reply->error_code, "NotImplemented") == 0;
}

struct seeking {
    const struct s3 *s3;
    struct remote_put *put;
    char name[STORE_KEY_MAX + 1]; /* of the object, with its prefix */
    char key[STORE_KEY_MAX + 1], upload[PARTS_UPLOAD_MAX + 1];
    int64_t begun_us;
};

static void take_upload(struct seeking *seeking) {
    struct parts *parts = seeking->put->parts;
    int64_t age_us = seeking->put->signed_utc_us - seeking->begun_us;
    bool old = seeking->begun_us > 0 && age_us / 1000000 >= seeking->s3->abandon_after_s;
    bool ours = strcmp(seeking->key, seeking->name) == 0;
    if (ours && parts->upload[0] == '\0') {
        memcpy(parts->upload, seeking->upload, sizeof parts->upload);
    } else if (old && strcmp(seeking->upload, parts->upload) != 0) {
        orphan_add(parts, seeking->key, seeking->upload);
    }
}

static bool on_upload(void *ctx, const char *path, const char *text) {
    struct seeking *seeking = ctx;
    if (strcmp(path, "Upload/Key") == 0) {
        snprintf(seeking->key, sizeof seeking->key, "%s", text);
    } else if (strcmp(path, "Upload/UploadId") == 0) {
        snprintf(seeking->upload, sizeof seeking->upload, "%s", text);
    } else if (strcmp(path, "Upload/Initiated") == 0) {
        seeking->begun_us = clock_parse_rfc3339(text);
    } else if (strcmp(path, "Upload") == 0) {
        take_upload(seeking);
    }
    return true;
}

static enum remote_verdict judge_seek(struct s3 *s3, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        struct seeking seeking = {.s3 = s3, .put = put};
        if (sync__remote_name(&s3->remote, put->object->key, seeking.name, err) != 0) {
            return REMOTE_REFUSED;
        }
        (void)sync__xml_read(reply->body.data, reply->body.len, "ListMultipartUploadsResult",
                             on_upload, &seeking);
    } else if (sync__s3_may_create(s3, put, reply) ||
               (is_closed(reply) && sync__s3_doubts(s3, put, reply))) {
        return REMOTE_AGAIN;
    } else if (!is_closed(reply) && !is_lacking(reply)) {
        return sync__s3_judge_other(s3, put, reply, err);
    }
    s3->swept |= sweep_bit(put);
    put->step = put->parts->upload[0] != '\0' ? REMOTE_FIND : REMOTE_BEGIN;
    return REMOTE_AGAIN;
}

static bool on_begun(void *ctx, const char *path, const char *text) {
    struct parts *parts = ctx;
    if (strcmp(path, "UploadId") == 0 && strlen(text) <= PARTS_UPLOAD_MAX) {
        snprintf(parts->upload, sizeof parts->upload, "%s", text);
    }
    return true;
}

static enum remote_verdict judge_begin(struct s3 *s3, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    if (reply->status == 200 &&
        sync__xml_read(reply->body.data, reply->body.len, "InitiateMultipartUploadResult", on_begun,
                       put->parts) &&
        put->parts->upload[0] != '\0') {
        upload_remember(s3, put, put->parts->upload);
        return go_on(put);
    }
    if (sync__s3_may_create(s3, put, reply)) {
        return REMOTE_AGAIN;
    }
    if (is_lacking(reply)) { /* a server without uploads in parts takes the object whole */
        put->whole = true;
        put->step = REMOTE_PUT;
        return REMOTE_AGAIN;
    }
    return sync__s3_judge_other(s3, put, reply, err);
}

struct finding {
    struct remote_put *put;
    size_t number; /* from 1 */
    uint64_t size;
    char etag[STORE_ETAG_MAX + 1], checksum[HASH_BASE64_SIZE(32)];
};

static void etag_copy(char out[STORE_ETAG_MAX + 1], const char *text) {
    size_t skip = text[0] == '"', length = strlen(text);
    length -= skip + (length > skip && text[length - 1] == '"');
    snprintf(out, STORE_ETAG_MAX + 1, "%.*s", (int)length, text + skip);
}

static void take_part(struct finding *finding) {
    struct parts *parts = finding->put->parts;
    const struct remote_object *object = finding->put->object;
    size_t index = finding->number - 1;
    if (index >= parts->count || finding->size != sync__parts_size(parts, index, object->size)) {
        return;
    }
    struct part *part = &parts->all[index];
    char checksum[HASH_BASE64_SIZE(32)] = "";
    if (finding->checksum[0] != '\0') {
        const struct frame_hash *sha256 =
            sync__parts_sha256(parts, index, object->bytes, object->size);
        hash_base64(sha256->bytes, sizeof sha256->bytes, checksum);
    }
    part->there = sync__s3_etag_same(part->md5, finding->etag) ||
                  (checksum[0] != '\0' && strcmp(checksum, finding->checksum) == 0);
    memcpy(part->etag, finding->etag, sizeof part->etag);
}

static bool on_part(void *ctx, const char *path, const char *text) {
    struct finding *finding = ctx;
    if (strcmp(path, "Part/PartNumber") == 0) {
        finding->number = strtoull(text, NULL, 10);
    } else if (strcmp(path, "Part/Size") == 0) {
        finding->size = strtoull(text, NULL, 10);
    } else if (strcmp(path, "Part/ETag") == 0) {
        etag_copy(finding->etag, text);
    } else if (strcmp(path, "Part/ChecksumSHA256") == 0) {
        snprintf(finding->checksum, sizeof finding->checksum, "%s", text);
    } else if (strcmp(path, "Part") == 0) {
        take_part(finding);
        *finding = (struct finding){.put = finding->put};
    }
    return true;
}

/* A list of more than its first page (1,000 parts) is not read on: those parts are sent again. */
static enum remote_verdict judge_find(struct s3 *s3, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        struct finding finding = {.put = put};
        (void)sync__xml_read(reply->body.data, reply->body.len, "ListPartsResult", on_part,
                             &finding);
        upload_remember(s3, put, put->parts->upload);
        return go_on(put);
    }
    if (is_closed(reply) && sync__s3_doubts(s3, put, reply)) {
        return REMOTE_AGAIN;
    }
    if (is_closed(reply) || is_lacking(reply)) {
        return go_on(put); /* may not list: into the same upload once more */
    }
    if (reply->status == 404 && strcmp(reply->error_code, "NoSuchUpload") == 0) {
        sync__parts_forget(put->parts);
        put->step = REMOTE_BEGIN;
        return REMOTE_AGAIN;
    }
    return sync__s3_judge_other(s3, put, reply, err);
}

static enum remote_verdict judge_part(struct s3 *s3, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        struct parts *parts = put->parts;
        size_t index = sync__parts_next(parts);
        struct part *part = &parts->all[index];
        char checksum[HASH_BASE64_SIZE(32)];
        hash_base64(part->sha256.bytes, sizeof part->sha256.bytes, checksum);
        bool proven =
            sync__s3_etag_same(part->md5, reply->etag) || strcmp(reply->checksum, checksum) == 0;
        if (reply->etag[0] == '\0' || (!proven && reply->checksum[0] != '\0')) {
            put->step = REMOTE_FIND; /* the list may know better */
            return REMOTE_AGAIN;
        }
        memcpy(part->etag, reply->etag, sizeof part->etag);
        part->there = true;
        parts->unproved = parts->unproved || !proven;
        put->kept_bytes += sync__parts_size(parts, index, put->object->size);
        put->steps = 0;
        return go_on(put);
    }
    if (reply->status == 404 && strcmp(reply->error_code, "NoSuchUpload") == 0) {
        return look_again(s3, put, reply, err);
    }
    return sync__s3_judge_other(s3, put, reply, err);
}

/* AWS, "Checking object integrity": the MD5 of the parts' MD5s, a dash, and how many. */
static bool etag_is_of_parts(const struct parts *parts, const char *etag) {
    CLEANUP(buf_finish) struct buf all = BUF_INIT((size_t)PARTS_MAX * HASH_MD5_SIZE);
    uint8_t md5[HASH_MD5_SIZE];
    char hex[HASH_MD5_SIZE * 2 + 1], wanted[STORE_ETAG_MAX + 1];
    for (size_t i = 0; i < parts->count; i++) {
        buf_append(&all, parts->all[i].md5, HASH_MD5_SIZE);
    }
    if (all.failed) {
        return false;
    }
    hash_md5(all.data, all.len, md5);
    snprintf(wanted, sizeof wanted, "%s-%zu", hash_hex(md5, sizeof md5, hex), parts->count);
    return strcmp(wanted, etag) == 0;
}

static bool on_complete(void *ctx, const char *path, const char *text) {
    struct remote_put *put = ctx;
    if (strcmp(path, "ETag") == 0) {
        etag_copy(put->etag, text);
    }
    return true;
}

/* It answers 200 before it knows, and then says in the body what went wrong. */
static enum remote_verdict judge_completed(struct s3 *s3, struct remote_put *put,
                                           const struct http_reply *reply, struct err *err) {
    put->etag[0] = '\0';
    if (!sync__xml_read(reply->body.data, reply->body.len, "CompleteMultipartUploadResult",
                        on_complete, put)) {
        struct http_reply inner = *reply; /* its body stays the other's */
        sync__reply_read_xml(&inner);
        if (strcmp(inner.error_code, "NoSuchUpload") == 0) {
            return look_again(s3, put, &inner, err);
        }
        inner.status = inner.error_code[0] != '\0' ? 500 : reply->status;
        if (inner.status == 500) {
            return sync__s3_judge_other(s3, put, &inner, err);
        }
    }
    put->parts->upload[0] = '\0'; /* complete: nothing to clear away */
    if (etag_is_of_parts(put->parts, put->etag) && !put->parts->unproved) {
        return REMOTE_STORED;
    }
    put->accepted = true;
    put->step = REMOTE_HEAD;
    return REMOTE_AGAIN;
}

static enum remote_verdict judge_commit(struct s3 *s3, struct remote_put *put,
                                        const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        return judge_completed(s3, put, reply, err);
    }
    if (reply->status == 412) {
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (reply->status == 501 && s3->condition < S3_CONDITION_HONOURED) {
        s3->condition = S3_CONDITION_REFUSED;
        return REMOTE_AGAIN;
    }
    bool lost = strcmp(reply->error_code, "NoSuchUpload") == 0;
    bool spoilt = strncmp(reply->error_code, "InvalidPart", 11) == 0 ||
                  strcmp(reply->error_code, "EntityTooSmall") == 0 ||
                  strcmp(reply->error_code, "ConditionalRequestConflict") == 0;
    if (spoilt) {
        char name[STORE_KEY_MAX + 1];
        if (sync__remote_name(&s3->remote, put->object->key, name, err) == 0) {
            orphan_add(put->parts, name, put->parts->upload);
        }
    }
    return lost || spoilt ? look_again(s3, put, reply, err)
                          : sync__s3_judge_other(s3, put, reply, err);
}

/* Whatever the answer: what could not be cleared away waits for the next sweep. */
static enum remote_verdict judge_abort(struct s3 *s3, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    (void)s3, (void)reply, (void)err;
    put->parts->orphan_count--;
    return put->pending;
}

enum remote_verdict sync__s3_parts_judge(struct s3 *s3, struct remote_put *put,
                                         const struct http_reply *reply, struct err *err) {
    static enum remote_verdict (*const judges[REMOTE_STEPS])(
        struct s3 *, struct remote_put *, const struct http_reply *, struct err *) = {
        [REMOTE_SEEK] = judge_seek, [REMOTE_BEGIN] = judge_begin,   [REMOTE_FIND] = judge_find,
        [REMOTE_PART] = judge_part, [REMOTE_COMMIT] = judge_commit, [REMOTE_ABORT] = judge_abort};
    return judges[put->step](s3, put, reply, err);
}

/* ---- the end ---- */

enum remote_verdict sync__s3_parts_end(struct s3 *s3, struct remote_put *put,
                                       enum remote_verdict verdict) {
    struct parts *parts = put->parts;
    if (verdict == REMOTE_DENIED) {
        return verdict; /* what is there serves when a person has acted */
    }
    if (put->step != REMOTE_ABORT) {
        char name[STORE_KEY_MAX + 1];
        if (parts->upload[0] == '\0' && !put->accepted && verdict != REMOTE_STORED) {
            upload_recall(s3, put); /* of an attempt that did not hear how it ended */
        }
        if (parts->upload[0] != '\0' &&
            sync__remote_name(&s3->remote, put->object->key, name, NULL) == 0) {
            orphan_add(parts, name, parts->upload);
        }
        upload_remember(s3, put, "");
        put->pending = verdict;
    }
    if (parts->orphan_count == 0) {
        return put->pending;
    }
    put->step = REMOTE_ABORT;
    return REMOTE_AGAIN;
}
