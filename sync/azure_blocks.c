/* azure_blocks: large objects by Put Block and Put Block List.
 *
 *   HEAD --404--> FIND --> PART … --all there--> COMMIT --201--> stored
 *      \--403------------/    \--may not--> PUT        \--409--> HEAD
 *
 * Goal: an interrupted upload costs one block, not the object.
 * Invariants:
 *  1. A block's id holds its number and the MD5 of its bytes, and the service checked their CRC-64
 * when they came in: a block of ours in the uncommitted list is not sent again, and one of another
 * cut is left alone.
 *  2. Put Block List carries If-None-Match: *, the MD5 of the whole and the same properties and
 * metadata as Put Blob.
 *  3. The MD5 of the whole is not checked by the service. So a 201 is a receipt only when each
 * block and the list itself were answered with their own MD5; else HEAD decides.
 *  4. Who may create blobs and not put blocks (a SAS with c and without w) sends one request.
 * Rejected: the commit of a list that was read and not made (somebody else's blocks would get in);
 * Content-MD5 of blocks (not every server answers with it, and only one of the two may be sent).
 */
#include "daemon/base/mem.h"
#include "sync/azure.h"
#include "sync/crc64.h"
#include "sync/xml.h"
#include <stdlib.h>
#include <string.h>

int sync__azure_blocks_begin(struct azure *azure, struct remote_put *put, struct err *err) {
    if (put->step != REMOTE_PUT || put->parts != NULL || put->whole || azure->no_blocks ||
        !sync__parts_wanted(&azure->limits, put->object->size)) {
        return 0;
    }
    put->parts = sync__parts_create(put->object->bytes, put->object->size, &azure->limits);
    if (put->parts == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for an upload in blocks");
    }
    put->step = REMOTE_HEAD;
    put->ahead = true;
    return 0;
}

/* ---- requests ---- */

static int ask_find(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                    struct http_request *out, struct err *err) {
    static const struct sign_field query[] = {{"comp", "blocklist"},
                                              {"blocklisttype", "uncommitted"}};
    static const struct azure_ask ask = {.method = "GET",
                                         .query = query,
                                         .query_count = ARRAY_LENGTH(query),
                                         .reply_max = PARTS_LIST_BODY_MAX};
    return sync__azure_ask(azure, put, now_utc_us, &ask, out, err);
}

static int ask_part(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                    struct http_request *out, struct err *err) {
    const struct parts *parts = put->parts;
    size_t index = sync__parts_next(parts);
    const uint8_t *bytes = put->object->bytes + sync__parts_at(parts, index);
    size_t size = sync__parts_size(parts, index, put->object->size);
    char id[PARTS_BLOCK_ID_SIZE], crc64[CRC64_BASE64_SIZE];
    const struct sign_field query[] = {{"comp", "block"},
                                       {"blockid", sync__parts_block_id(parts, index, id)}};
    const struct sign_field fields[] = {
        {"x-ms-content-crc64", sync__crc64_base64(bytes, size, crc64)}};
    struct azure_ask ask = {.method = "PUT",
                            .query = query,
                            .query_count = ARRAY_LENGTH(query),
                            .fields = fields,
                            .field_count = ARRAY_LENGTH(fields),
                            .body = bytes,
                            .body_size = size};
    return sync__azure_ask(azure, put, now_utc_us, &ask, out, err);
}

static void list_make(struct parts *parts) {
    char id[PARTS_BLOCK_ID_SIZE];
    buf_reset(&parts->body);
    buf_puts(&parts->body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for (size_t i = 0; i < parts->count; i++) {
        buf_printf(&parts->body, "<Uncommitted>%s</Uncommitted>",
                   sync__parts_block_id(parts, i, id));
    }
    buf_puts(&parts->body, "</BlockList>");
}

static void list_md5(const struct parts *parts, char out[HASH_BASE64_SIZE(HASH_MD5_SIZE)]) {
    uint8_t md5[HASH_MD5_SIZE];
    hash_md5(parts->body.data, parts->body.len, md5);
    hash_base64(md5, sizeof md5, out);
}

static int ask_commit(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                      struct http_request *out, struct err *err) {
    static const struct sign_field query[] = {{"comp", "blocklist"}};
    struct azure_facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)], whole[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    size_t count = sync__azure_blob_fields(azure, put->object, &facts, fields);
    list_make(put->parts);
    if (put->parts->body.failed) {
        return err_set(err, ERR_NOMEM, "no memory for a list of blocks");
    }
    list_md5(put->parts, md5);
    fields[count++] = (struct sign_field){"content-md5", md5}; /* of the list */
    hash_base64(sync__object_md5(put->object), HASH_MD5_SIZE, whole);
    fields[count++] = (struct sign_field){"x-ms-blob-content-md5", whole};
    fields[count++] =
        (struct sign_field){"x-ms-blob-content-type", sync__media_type(put->object->media)};
    struct azure_ask ask = {.method = "PUT",
                            .query = query,
                            .query_count = ARRAY_LENGTH(query),
                            .fields = fields,
                            .field_count = count,
                            .body = put->parts->body.data,
                            .body_size = put->parts->body.len};
    return sync__azure_ask(azure, put, now_utc_us, &ask, out, err);
}

int sync__azure_blocks_request(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                               struct http_request *out, struct err *err) {
    if (put->step == REMOTE_FIND) {
        return ask_find(azure, put, now_utc_us, out, err);
    }
    return put->step == REMOTE_PART ? ask_part(azure, put, now_utc_us, out, err)
                                    : ask_commit(azure, put, now_utc_us, out, err);
}

/* ---- replies ---- */

static enum remote_verdict go_on(struct remote_put *put) {
    bool all = sync__parts_next(put->parts) == put->parts->count;
    put->step = all ? REMOTE_COMMIT : REMOTE_PART;
    return REMOTE_AGAIN;
}

static enum remote_verdict go_whole(struct remote_put *put) {
    put->whole = true;
    put->step = REMOTE_PUT;
    return REMOTE_AGAIN;
}

struct finding {
    struct remote_put *put;
    size_t index; /* of the block whose name was read last */
};

static bool on_block(void *ctx, const char *path, const char *text) {
    struct finding *finding = ctx;
    struct parts *parts = finding->put->parts;
    if (strcmp(path, "UncommittedBlocks/Block/Name") == 0) {
        finding->index = sync__parts_block_find(parts, text);
    } else if (strcmp(path, "UncommittedBlocks/Block/Size") == 0 && finding->index < parts->count) {
        size_t size = sync__parts_size(parts, finding->index, finding->put->object->size);
        parts->all[finding->index].there = strtoull(text, NULL, 10) == size;
    }
    return true;
}

static enum remote_verdict judge_find(struct azure *azure, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    bool closed = reply->status == 401 || reply->status == 403;
    if (reply->status == 200) {
        struct finding finding = {.put = put, .index = put->parts->count};
        /* A list that cannot be read, or only in part, costs a few blocks, sent twice. */
        (void)sync__xml_read(reply->body.data, reply->body.len, "BlockList", on_block, &finding);
        return go_on(put);
    }
    if (sync__azure_may_create(azure, put, reply) ||
        (closed && sync__azure_doubts(azure, put, reply))) {
        return REMOTE_AGAIN;
    }
    if (closed || strcmp(reply->error_code, "BlobNotFound") == 0) {
        return go_on(put);
    }
    return sync__azure_judge_other(azure, put, reply, err);
}

static enum remote_verdict judge_part(struct azure *azure, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 201) {
        size_t index = sync__parts_next(put->parts);
        struct part *part = &put->parts->all[index];
        size_t size = sync__parts_size(put->parts, index, put->object->size);
        char crc64[CRC64_BASE64_SIZE];
        sync__crc64_base64(put->object->bytes + sync__parts_at(put->parts, index), size, crc64);
        if (reply->checksum[0] != '\0' && strcmp(reply->checksum, crc64) != 0) {
            return REMOTE_AGAIN; /* once more, as often as steps are left */
        }
        part->there = true;
        put->parts->unproved = put->parts->unproved || reply->checksum[0] == '\0';
        put->kept_bytes += size;
        put->steps = 0;
        return go_on(put);
    }
    if (sync__azure_may_create(azure, put, reply)) {
        return REMOTE_AGAIN;
    }
    if (strcmp(reply->error_code, "AuthorizationPermissionMismatch") == 0) {
        azure->no_blocks = true; /* or it may not create blobs at all: Put Blob will be told */
        return go_whole(put);
    }
    if (strcmp(reply->error_code, "InvalidBlobOrBlock") == 0) {
        return go_whole(put); /* somebody's uncommitted blocks, with names of another length */
    }
    return sync__azure_judge_other(azure, put, reply, err);
}

static enum remote_verdict judge_commit(struct azure *azure, struct remote_put *put,
                                        const struct http_reply *reply, struct err *err) {
    if (reply->status == 201) {
        char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
        list_md5(put->parts, md5);
        memcpy(put->etag, reply->etag, sizeof put->etag);
        if (strcmp(reply->md5, md5) == 0 && !put->parts->unproved) {
            return REMOTE_STORED;
        }
        put->accepted = true;
        put->mismatch = reply->md5[0] != '\0' && strcmp(reply->md5, md5) != 0;
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (sync__azure_says_exists(azure, reply)) {
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if ((strcmp(reply->error_code, "InvalidBlockList") == 0 ||
         strcmp(reply->error_code, "InvalidBlobOrBlock") == 0) &&
        put->parts->restarts++ < PARTS_RESTARTS_MAX) {
        sync__parts_forget(put->parts); /* they ended, a week old, or somebody stored the blob */
        put->step = REMOTE_FIND;
        return REMOTE_AGAIN;
    }
    return sync__azure_judge_other(azure, put, reply, err);
}

enum remote_verdict sync__azure_blocks_judge(struct azure *azure, struct remote_put *put,
                                             const struct http_reply *reply, struct err *err) {
    if (put->step == REMOTE_FIND) {
        return judge_find(azure, put, reply, err);
    }
    return put->step == REMOTE_PART ? judge_part(azure, put, reply, err)
                                    : judge_commit(azure, put, reply, err);
}
