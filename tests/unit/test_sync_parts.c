/* Large objects, replayed: how they are cut, which answers make a part or a whole count, and above
 * all which do not; and what becomes of a server that does not know If-None-Match.
 */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/crc64.h"
#include "sync/parts.h"
#include "sync/remote.h"
#include "sync/xml.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NOW   INT64_C(1790000000000000)
#define PART  PARTS_BYTES_MIN
#define SIZE  (PART + 1000)
#define PARTS 2

static uint8_t *bytes;
static struct remote_object object;
static char upload[64]; /* what the memory holds */

static void setup(void) {
    struct store_outbox_row row = {.tier = TIER_ANNOTATED, .media = MEDIA_JPEG};
    bytes = malloc(SIZE);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t)(i * 31 >> 3);
    }
    hash_sha256(bytes, SIZE, &row.blob);
    sync__object_init(&object, &row, "frames/device=d-1/x.jpg", bytes, SIZE);
    upload[0] = '\0';
}

static void teardown(void) {
    free(bytes);
}

static int recall(void *ctx, const char *key, char *out, size_t room, struct err *err) {
    (void)ctx, (void)key, (void)err;
    snprintf(out, room, "%s", upload);
    return 0;
}

static int remember(void *ctx, const char *key, const char *name, struct err *err) {
    (void)ctx, (void)key, (void)err;
    snprintf(upload, sizeof upload, "%s", name);
    return 0;
}

static struct remote *remote_new(enum sync_kind kind) {
    struct sync_remote_config config = {
        .name = "cloud",
        .kind = kind,
        .url = kind == SYNC_S3 ? "https://s3.example" : "https://acct.blob.core.windows.net",
        .account_key = kind == SYNC_AZURE ? "a2V5" : NULL,
        .bucket = "bucket",
        .access_key = kind == SYNC_S3 ? "AK" : NULL,
        .secret_key = kind == SYNC_S3 ? "secret" : NULL,
        .prefix = "p",
        .parts_above_bytes = PART,
        .part_bytes = PART,
        .access_tier = "cool",
        .storage_class = "STANDARD_IA",
        .encryption = "AES256",
        .tags = "site=north,use=a b"};
    struct remote *remote = NULL;
    struct err err = {0};
    ck_assert_msg(sync__remote_open(&config, &remote, &err) == 0, "%s", err.msg);
    remote->memory = (struct remote_memory){.upload_get = recall, .upload_put = remember};
    return remote;
}

static const char *line_of(const struct http_request *request, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < request->line_count; i++) {
        if (strncasecmp(request->lines[i], name, length) == 0 && request->lines[i][length] == ':') {
            return request->lines[i] + length + 2;
        }
    }
    return NULL;
}

/* The next request must be this one. */
static struct http_request ask(struct remote *remote, struct remote_put *put, const char *method,
                               const char *word) {
    struct http_request request = {0};
    struct err err = {0};
    ck_assert_msg(remote->ops->request(remote, put, NOW, &request, &err) == 0, "%s", err.msg);
    ck_assert_str_eq(request.method, method);
    ck_assert_msg(strstr(request.url, word) != NULL, "%s is not in %s", word, request.url);
    return request;
}

static void expect(struct remote *remote, struct remote_put *put, const char *method,
                   const char *word) {
    struct http_request request = ask(remote, put, method, word);
    sync__request_finish(&request);
}

static enum remote_verdict answer(struct remote *remote, struct remote_put *put, int status,
                                  const char *line, const char *body) {
    struct http_reply reply;
    struct err err = {0};
    sync__reply_init(&reply, PARTS_LIST_BODY_MAX);
    reply.status = status;
    if (line != NULL) {
        sync__reply_line(&reply, line, strlen(line));
    }
    if (status == 0) {
        err_set(&reply.fault, ERR_NET, "no connection");
    }
    if (body != NULL) {
        buf_puts(&reply.body, body);
    }
    sync__reply_settle(&reply, NOW);
    enum remote_verdict verdict = remote->ops->judge(remote, put, &reply, &err);
    sync__reply_finish(&reply);
    return verdict;
}

#define again(remote, put, status, line, body)                                                     \
    ck_assert_int_eq(answer(remote, put, status, line, body), REMOTE_AGAIN)

static char *part_md5(size_t index, char out[33]) {
    uint8_t md5[HASH_MD5_SIZE];
    hash_md5(bytes + index * PART, index == 0 ? PART : SIZE - PART, md5);
    return hash_hex(md5, sizeof md5, out);
}

static const char *etag_line(size_t index) {
    static char line[64];
    char md5[33];
    snprintf(line, sizeof line, "ETag: \"%s\"", part_md5(index, md5));
    return line;
}

static const char *crc_line(size_t index) {
    static char line[64];
    char crc[CRC64_BASE64_SIZE];
    snprintf(line, sizeof line, "x-ms-content-crc64: %s",
             sync__crc64_base64(bytes + index * PART, index == 0 ? PART : SIZE - PART, crc));
    return line;
}

/* What Complete answers when it made the object of our parts. */
static const char *completed(void) {
    static char body[256];
    uint8_t md5s[PARTS * HASH_MD5_SIZE], md5[HASH_MD5_SIZE];
    char hex[33];
    hash_md5(bytes, PART, md5s);
    hash_md5(bytes + PART, SIZE - PART, md5s + HASH_MD5_SIZE);
    hash_md5(md5s, sizeof md5s, md5);
    snprintf(body, sizeof body,
             "<CompleteMultipartUploadResult><ETag>\"%s-2\"</ETag>"
             "</CompleteMultipartUploadResult>",
             hash_hex(md5, sizeof md5, hex));
    return body;
}

static const char begun[] = "<InitiateMultipartUploadResult><Key>x</Key><UploadId>U/1+</UploadId>"
                            "</InitiateMultipartUploadResult>";
static const char no_uploads[] = "<ListMultipartUploadsResult></ListMultipartUploadsResult>";

/* To where the parts are next. */
static void s3_begin(struct remote *remote, struct remote_put *put) {
    expect(remote, put, "HEAD", "/bucket/p/frames/device%3Dd-1/x.jpg");
    again(remote, put, 404, NULL, NULL);
    expect(remote, put, "GET", "/bucket?prefix=p%2Fframes%2Fdevice%3Dd-1%2F&uploads=");
    again(remote, put, 200, NULL, no_uploads);
    expect(remote, put, "POST", "x.jpg?uploads=");
    again(remote, put, 200, NULL, begun);
    ck_assert_str_eq(upload, "U/1+"); /* before the first part */
}

static void s3_parts(struct remote *remote, struct remote_put *put) {
    expect(remote, put, "PUT", "?partNumber=1&uploadId=U%2F1%2B");
    again(remote, put, 200, etag_line(0), NULL);
    expect(remote, put, "PUT", "?partNumber=2&uploadId=U%2F1%2B");
    again(remote, put, 200, etag_line(1), NULL);
}

/* ---- the cut ---- */

START_TEST(parts_cover_the_object) {
    static const size_t sizes[] = {1, PART - 1, PART, PART + 1, 3 * PART};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        uint8_t *all = calloc(1, sizes[i]);
        const struct parts_limits limits = {.part_bytes = PART};
        struct parts *parts = sync__parts_create(all, sizes[i], &limits);
        size_t sum = 0;
        for (size_t part = 0; part < parts->count; part++) {
            char id[PARTS_BLOCK_ID_SIZE];
            ck_assert_uint_eq(sync__parts_at(parts, part), sum);
            sum += sync__parts_size(parts, part, sizes[i]);
            ck_assert_uint_eq(strlen(sync__parts_block_id(parts, part, id)), 64);
            ck_assert_uint_eq(sync__parts_block_find(parts, id), part);
            id[0] = 'A';
            ck_assert_uint_eq(sync__parts_block_find(parts, id), parts->count);
        }
        ck_assert_uint_eq(sum, sizes[i]);
        ck_assert_uint_gt(sync__parts_size(parts, parts->count - 1, sizes[i]), 0);
        sync__parts_destroy(parts);
        free(all);
    }
    ck_assert(!sync__parts_wanted(&(struct parts_limits){.above = 5}, 5));
    ck_assert(sync__parts_wanted(&(struct parts_limits){.above = 5}, 6));
}
END_TEST

/* The check value of this CRC in the catalogue of CRCs (CRC-64/NVME), and every alignment. */
START_TEST(crc64_is_the_published_one) {
    ck_assert_uint_eq(sync__crc64((const uint8_t *)"123456789", 9), UINT64_C(0xAE8B14860A799888));
    uint64_t whole = sync__crc64(bytes, 1003);
    uint8_t shifted[1003 + 8];
    for (size_t i = 0; i < 8; i++) {
        memcpy(shifted + i, bytes, 1003);
        ck_assert_uint_eq(sync__crc64(shifted + i, 1003), whole);
    }
}
END_TEST

static bool count_leaf(void *ctx, const char *path, const char *text) {
    (void)text;
    *(unsigned *)ctx += strcmp(path, "A/B") == 0;
    return true;
}

START_TEST(lists_are_bounded) {
    unsigned found = 0;
    static const char fine[] = "<R><A><B>1</B><C/></A><A><B/></A></R>";
    ck_assert(sync__xml_read(fine, strlen(fine), "R", count_leaf, &found));
    ck_assert_uint_eq(found, 2);
    ck_assert(!sync__xml_read(fine, strlen(fine), "Q", count_leaf, &found));
    ck_assert(!sync__xml_read(fine, strlen(fine) - 1, "R", count_leaf, &found));
    ck_assert(!sync__xml_read("", 0, "R", count_leaf, &found));
    static const char doctype[] = "<!DOCTYPE R [<!ENTITY a \"b\">]><R>&a;</R>";
    ck_assert(!sync__xml_read(doctype, strlen(doctype), "R", count_leaf, &found));
    struct buf deep = BUF_INIT(1u << 20);
    for (int i = 0; i < 40; i++) {
        buf_puts(&deep, "<e>");
    }
    for (int i = 0; i < 40; i++) {
        buf_puts(&deep, "</e>");
    }
    ck_assert(!sync__xml_read(deep.data, deep.len, NULL, count_leaf, &found));
    buf_reset(&deep);
    buf_puts(&deep, "<R>");
    for (int i = 0; i < XML_TEXT_MAX + 1; i++) {
        buf_puts(&deep, "x");
    }
    buf_puts(&deep, "</R>");
    ck_assert(!sync__xml_read(deep.data, deep.len, NULL, count_leaf, &found));
    buf_finish(&deep);
}
END_TEST

/* ---- Azure ---- */

static void azure_begin(struct remote *remote, struct remote_put *put) {
    expect(remote, put, "HEAD", "/annotated/p/frames/device%3Dd-1/x.jpg");
    again(remote, put, 404, "x-ms-error-code: BlobNotFound", NULL);
    expect(remote, put, "GET", "?comp=blocklist&blocklisttype=uncommitted");
    again(remote, put, 404, "x-ms-error-code: BlobNotFound", NULL);
}

static char list_md5[64];

static void azure_commit(struct remote *remote, struct remote_put *put) {
    struct http_request request = ask(remote, put, "PUT", "?comp=blocklist");
    ck_assert_str_eq(line_of(&request, "if-none-match"), "*");
    ck_assert_str_eq(line_of(&request, "x-ms-access-tier"), "Cool");
    ck_assert_str_eq(line_of(&request, "x-ms-tags"), "site=north&use=a%20b");
    ck_assert_str_eq(line_of(&request, "x-ms-blob-content-type"), "image/jpeg");
    ck_assert_ptr_nonnull(line_of(&request, "x-ms-meta-sha256"));
    char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    ck_assert_str_eq(line_of(&request, "x-ms-blob-content-md5"),
                     hash_base64(sync__object_md5(&object), HASH_MD5_SIZE, md5));
    snprintf(list_md5, sizeof list_md5, "Content-MD5: %s", line_of(&request, "content-md5"));
    sync__request_finish(&request);
}

START_TEST(azure_puts_blocks_and_a_list) {
    struct remote *remote = remote_new(SYNC_AZURE);
    struct remote_put put = {.object = &object};
    azure_begin(remote, &put);
    expect(remote, &put, "PUT", "?comp=block&blockid=");
    again(remote, &put, 201, crc_line(0), NULL);
    struct http_request request = ask(remote, &put, "PUT", "?comp=block&blockid=");
    ck_assert_uint_eq(request.body_size, SIZE - PART);
    sync__request_finish(&request);
    again(remote, &put, 201, crc_line(1), NULL);
    ck_assert_uint_eq(put.kept_bytes, SIZE);
    azure_commit(remote, &put);
    ck_assert_int_eq(answer(remote, &put, 201, list_md5, NULL), REMOTE_STORED);
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

START_TEST(azure_takes_up_what_is_there) {
    struct remote *remote = remote_new(SYNC_AZURE);
    struct remote_put put = {.object = &object};
    char body[512], id[PARTS_BLOCK_ID_SIZE];
    expect(remote, &put, "HEAD", "x.jpg");
    again(remote, &put, 404, NULL, NULL);
    /* Ours, of the right size; ours, cut short; somebody else's. */
    snprintf(body, sizeof body,
             "<BlockList><UncommittedBlocks><Block><Name>%s</Name><Size>%u</Size></Block>",
             sync__parts_block_id(put.parts, 0, id), PART);
    snprintf(body + strlen(body), sizeof body - strlen(body),
             "<Block><Name>%s</Name><Size>7</Size></Block><Block><Name>AAAA</Name><Size>7</Size>"
             "</Block></UncommittedBlocks></BlockList>",
             sync__parts_block_id(put.parts, 1, id));
    expect(remote, &put, "GET", "?comp=blocklist");
    again(remote, &put, 200, NULL, body);
    ck_assert(put.parts->all[0].there);
    ck_assert(!put.parts->all[1].there);
    struct http_request request = ask(remote, &put, "PUT", "?comp=block&");
    ck_assert_ptr_eq(request.body, bytes + PART);
    sync__request_finish(&request);
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* A block or a list without its checksum is no proof, and one with another's is not taken. */
START_TEST(azure_without_proof_is_looked_at) {
    for (int part_lacks = 0; part_lacks < 2; part_lacks++) {
        struct remote *remote = remote_new(SYNC_AZURE);
        struct remote_put put = {.object = &object};
        azure_begin(remote, &put);
        expect(remote, &put, "PUT", "comp=block&");
        again(remote, &put, 201, "x-ms-content-crc64: AAAAAAAAAAA=", NULL);
        ck_assert(!put.parts->all[0].there);
        expect(remote, &put, "PUT", "comp=block&");
        again(remote, &put, 201, part_lacks ? NULL : crc_line(0), NULL);
        expect(remote, &put, "PUT", "comp=block&");
        again(remote, &put, 201, crc_line(1), NULL);
        azure_commit(remote, &put);
        again(remote, &put, 201, part_lacks ? list_md5 : "ETag: \"x\"", NULL);
        expect(remote, &put, "HEAD", "x.jpg");
        ck_assert_int_eq(answer(remote, &put, 200, "Content-Length: 3", NULL), REMOTE_CONFLICT);
        sync__put_finish(&put);
        sync__remote_close(remote);
    }
}
END_TEST

START_TEST(azure_that_may_put_no_blocks_sends_one_request) {
    struct remote *remote = remote_new(SYNC_AZURE);
    struct remote_put put = {.object = &object};
    expect(remote, &put, "HEAD", "x.jpg");
    again(remote, &put, 403, "x-ms-error-code: AuthorizationPermissionMismatch", NULL);
    expect(remote, &put, "PUT", "comp=block&");
    again(remote, &put, 403, "x-ms-error-code: AuthorizationPermissionMismatch", NULL);
    struct http_request request = ask(remote, &put, "PUT", "x.jpg");
    ck_assert_uint_eq(request.body_size, SIZE);
    sync__request_finish(&request);
    sync__put_finish(&put);
    put = (struct remote_put){.object = &object};
    request = ask(remote, &put, "PUT", "x.jpg"); /* known now */
    ck_assert_uint_eq(request.body_size, SIZE);
    sync__request_finish(&request);
    sync__remote_close(remote);
}
END_TEST

START_TEST(azure_blocks_that_ended_are_put_again) {
    struct remote *remote = remote_new(SYNC_AZURE);
    struct remote_put put = {.object = &object};
    azure_begin(remote, &put);
    for (unsigned round = 0; round <= PARTS_RESTARTS_MAX; round++) {
        expect(remote, &put, "PUT", "comp=block&");
        again(remote, &put, 201, crc_line(0), NULL);
        expect(remote, &put, "PUT", "comp=block&");
        again(remote, &put, 201, crc_line(1), NULL);
        azure_commit(remote, &put);
        if (round == PARTS_RESTARTS_MAX) {
            break;
        }
        again(remote, &put, 400, "x-ms-error-code: InvalidBlockList", NULL);
        expect(remote, &put, "GET", "?comp=blocklist");
        again(remote, &put, 404, "x-ms-error-code: BlobNotFound", NULL);
    }
    ck_assert_int_eq(answer(remote, &put, 400, "x-ms-error-code: InvalidBlockList", NULL),
                     REMOTE_REFUSED);
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* ---- S3 ---- */

START_TEST(s3_begins_sends_parts_and_completes) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    s3_begin(remote, &put);
    s3_parts(remote, &put);
    struct http_request request = ask(remote, &put, "POST", "x.jpg?uploadId=U%2F1%2B");
    char md5[33];
    ck_assert_str_eq(line_of(&request, "if-none-match"), "*");
    ck_assert_ptr_nonnull(strstr(request.body, part_md5(1, md5)));
    sync__request_finish(&request);
    ck_assert_int_eq(answer(remote, &put, 200, NULL, completed()), REMOTE_STORED);
    ck_assert_str_eq(upload, "");
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

START_TEST(s3_properties_are_of_the_upload) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    expect(remote, &put, "HEAD", "x.jpg");
    again(remote, &put, 404, NULL, NULL);
    expect(remote, &put, "GET", "uploads=");
    again(remote, &put, 403, NULL, NULL); /* it may not list them */
    struct http_request request = ask(remote, &put, "POST", "x.jpg?uploads=");
    ck_assert_str_eq(line_of(&request, "x-amz-storage-class"), "STANDARD_IA");
    ck_assert_str_eq(line_of(&request, "x-amz-server-side-encryption"), "AES256");
    ck_assert_str_eq(line_of(&request, "x-amz-tagging"), "site=north&use=a%20b");
    ck_assert_str_eq(line_of(&request, "x-amz-checksum-algorithm"), "SHA256");
    ck_assert_ptr_nonnull(line_of(&request, "x-amz-meta-sha256"));
    sync__request_finish(&request);
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* Remembered, and listed; or remembered, and not to be listed: into the same upload either way. */
START_TEST(s3_takes_up_what_is_there) {
    for (int lists = 0; lists < 2; lists++) {
        struct remote *remote = remote_new(SYNC_S3);
        struct remote_put put = {.object = &object};
        char body[1024], md5[33];
        snprintf(upload, sizeof upload, "OLD");
        expect(remote, &put, "HEAD", "x.jpg");
        again(remote, &put, 404, NULL, NULL);
        expect(remote, &put, "GET", "uploads=");
        again(remote, &put, lists ? 200 : 403, NULL, lists ? no_uploads : NULL);
        expect(remote, &put, "GET", "x.jpg?uploadId=OLD");
        snprintf(body, sizeof body,
                 "<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>\"%s\"</ETag>"
                 "<Size>%u</Size></Part><Part><PartNumber>2</PartNumber><ETag>\"0\"</ETag>"
                 "<Size>1000</Size></Part></ListPartsResult>",
                 part_md5(0, md5), PART);
        again(remote, &put, lists ? 200 : 403, NULL, lists ? body : NULL);
        expect(remote, &put, "PUT",
               lists ? "?partNumber=2&uploadId=OLD" : "?partNumber=1&uploadId=OLD");
        sync__put_finish(&put);
        sync__remote_close(remote);
    }
}
END_TEST

START_TEST(s3_takes_up_an_upload_it_forgot_and_clears_old_ones) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    static const char uploads[] =
        "<ListMultipartUploadsResult>"
        "<Upload><Key>p/frames/device=d-1/old.jpg</Key><UploadId>A</UploadId>"
        "<Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
        "<Upload><Key>p/frames/device=d-1/x.jpg</Key><UploadId>B</UploadId>"
        "<Initiated>2026-09-20T00:00:00.000Z</Initiated></Upload>"
        "<Upload><Key>p/frames/device=d-1/young.jpg</Key><UploadId>C</UploadId>"
        "<Initiated>2026-09-20T00:00:00.000Z</Initiated></Upload>"
        "</ListMultipartUploadsResult>";
    expect(remote, &put, "HEAD", "x.jpg");
    again(remote, &put, 404, NULL, NULL);
    expect(remote, &put, "GET", "uploads=");
    again(remote, &put, 200, NULL, uploads);
    expect(remote, &put, "GET", "x.jpg?uploadId=B");
    again(remote, &put, 404, NULL, "<Error><Code>NoSuchUpload</Code></Error>");
    expect(remote, &put, "POST", "x.jpg?uploads=");
    again(remote, &put, 200, NULL, begun);
    s3_parts(remote, &put);
    expect(remote, &put, "POST", "uploadId=");
    again(remote, &put, 200, NULL, completed());
    expect(remote, &put, "DELETE", "old.jpg?uploadId=A");
    ck_assert_int_eq(answer(remote, &put, 0, NULL, NULL), REMOTE_STORED); /* whatever it says */
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* 200 and an error in it; 200 and nothing in it; 200 and somebody else's ETag. */
START_TEST(s3_complete_without_proof_is_no_receipt) {
    static const struct {
        const char *body;
        enum remote_verdict wanted;
    } cases[] = {
        {"<Error><Code>InternalError</Code></Error>", REMOTE_RETRY},
        {"", REMOTE_AGAIN},
        {"<CompleteMultipartUploadResult><ETag>\"0-2\"</ETag></CompleteMultipartUploadResult>",
         REMOTE_AGAIN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct remote *remote = remote_new(SYNC_S3);
        struct remote_put put = {.object = &object};
        upload[0] = '\0';
        s3_begin(remote, &put);
        s3_parts(remote, &put);
        expect(remote, &put, "POST", "uploadId=");
        ck_assert_int_eq(answer(remote, &put, 200, NULL, cases[i].body), cases[i].wanted);
        if (cases[i].wanted == REMOTE_AGAIN) {
            expect(remote, &put, "HEAD", "x.jpg");
            ck_assert_int_eq(answer(remote, &put, 200, "Content-Length: 3", NULL), REMOTE_CONFLICT);
        } else {
            ck_assert_str_eq(upload, "U/1+"); /* still worth going on with */
        }
        sync__put_finish(&put);
        sync__remote_close(remote);
    }
}
END_TEST

START_TEST(s3_that_lost_the_race_clears_its_parts_away) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    char sha[160], hex[HASH_HEX_SIZE];
    s3_begin(remote, &put);
    s3_parts(remote, &put);
    expect(remote, &put, "POST", "uploadId=");
    again(remote, &put, 412, NULL, NULL);
    expect(remote, &put, "HEAD", "x.jpg");
    snprintf(sha, sizeof sha, "x-amz-meta-sha256: %s",
             hash_hex(object.sha256.bytes, sizeof object.sha256.bytes, hex));
    again(remote, &put, 200, sha, NULL);
    expect(remote, &put, "DELETE", "x.jpg?uploadId=U%2F1%2B");
    ck_assert_int_eq(answer(remote, &put, 204, NULL, NULL), REMOTE_EXISTS); /* no length was told */
    ck_assert_str_eq(upload, "");
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* The answer to Complete was lost: the upload is gone, and the object there. */
START_TEST(s3_looks_when_its_upload_is_gone) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    s3_begin(remote, &put);
    s3_parts(remote, &put);
    for (unsigned i = 0; i <= PARTS_RESTARTS_MAX; i++) {
        expect(remote, &put, "POST", "uploadId=");
        enum remote_verdict verdict =
            answer(remote, &put, 404, NULL, "<Error><Code>NoSuchUpload</Code></Error>");
        ck_assert_int_eq(verdict, i < PARTS_RESTARTS_MAX ? REMOTE_AGAIN : REMOTE_RETRY);
        if (verdict == REMOTE_RETRY) {
            break;
        }
        expect(remote, &put, "HEAD", "x.jpg");
        again(remote, &put, 404, NULL, NULL);
        expect(remote, &put, "GET", "uploads=");
        again(remote, &put, 200, NULL, no_uploads);
        expect(remote, &put, "POST", "x.jpg?uploads=");
        again(remote, &put, 200, NULL, begun);
        s3_parts(remote, &put);
    }
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* A server that may not heed the condition at the end of an upload must not be given the chance. */
START_TEST(s3_that_may_not_look_sends_one_request) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    expect(remote, &put, "HEAD", "x.jpg");
    again(remote, &put, 403, NULL, NULL);
    struct http_request request = ask(remote, &put, "PUT", "x.jpg");
    ck_assert_uint_eq(request.body_size, SIZE);
    ck_assert_str_eq(line_of(&request, "if-none-match"), "*");
    sync__request_finish(&request);
    sync__put_finish(&put);
    sync__remote_close(remote);
}
END_TEST

/* ---- a server and If-None-Match ---- */

static const char *whole_etag(void) {
    static char line[64];
    char hex[33];
    snprintf(line, sizeof line, "ETag: \"%s\"",
             hash_hex(sync__object_md5(&object), HASH_MD5_SIZE, hex));
    return line;
}

/* The first object is sent twice, by one conversation; then the server is known. */
START_TEST(a_server_is_asked_once_what_it_makes_of_the_condition) {
    static const struct {
        int second; /* what the second PUT is answered */
        const char *next;
    } cases[] = {{412, "PUT"}, {200, "HEAD"}, {503, "PUT"}};
    object.size = 100; /* not large */
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct remote *remote = remote_new(SYNC_S3);
        struct remote_put put = {.object = &object}, other = {.object = &object};
        expect(remote, &put, "PUT", "x.jpg");
        again(remote, &put, 200, whole_etag(), NULL);
        expect(remote, &other, "PUT", "x.jpg");
        ck_assert_int_eq(answer(remote, &other, 200, whole_etag(), NULL), REMOTE_STORED);
        expect(remote, &put, "PUT", "x.jpg");
        ck_assert_int_eq(answer(remote, &put, cases[i].second, NULL, NULL), REMOTE_STORED);
        ck_assert_str_ne(put.etag, "");
        other = (struct remote_put){.object = &object};
        expect(remote, &other, cases[i].next, "x.jpg");
        if (cases[i].second == 200) { /* other bytes are found and not replaced */
            ck_assert_int_eq(answer(remote, &other, 200, "Content-Length: 3", NULL),
                             REMOTE_CONFLICT);
            other = (struct remote_put){.object = &object};
            expect(remote, &other, "HEAD", "x.jpg");
            again(remote, &other, 404, NULL, NULL);
            expect(remote, &other, "PUT", "x.jpg");
        }
        sync__remote_close(remote);
    }
}
END_TEST

START_TEST(a_server_that_refuses_the_condition_is_spared_it) {
    struct remote *remote = remote_new(SYNC_S3);
    struct remote_put put = {.object = &object};
    object.size = 100;
    expect(remote, &put, "PUT", "x.jpg");
    again(remote, &put, 501, NULL, "<Error><Code>NotImplemented</Code></Error>");
    expect(remote, &put, "HEAD", "x.jpg");
    again(remote, &put, 404, NULL, NULL);
    struct http_request request = ask(remote, &put, "PUT", "x.jpg");
    ck_assert_ptr_null(line_of(&request, "if-none-match"));
    sync__request_finish(&request);
    ck_assert_int_eq(answer(remote, &put, 200, whole_etag(), NULL), REMOTE_STORED);
    sync__remote_close(remote);
}
END_TEST

/* ---- the config ---- */

START_TEST(what_the_clouds_do_not_take_is_named) {
    static const struct {
        struct sync_remote_config config;
        const char *word;
    } cases[] = {
        {{.kind = SYNC_AZURE, .access_tier = "warm"}, "access_tier"},
        {{.kind = SYNC_AZURE, .tags = "a"}, "object_tags"},
        {{.kind = SYNC_AZURE, .tags = "a=b=c"}, "object_tags"},
        {{.kind = SYNC_AZURE, .tags = "a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=10,k=11"}, "10 tags"},
        {{.kind = SYNC_S3, .tags = "a=\xc3\xbc"}, "object_tags"},
        {{.kind = SYNC_S3, .storage_class = "standard ia"}, "storage_class"},
        {{.kind = SYNC_S3, .encryption = "rot13"}, "encryption"},
        {{.kind = SYNC_S3, .kms_key = "alias/x"}, "kms_key"},
        {{.kind = SYNC_S3, .part_bytes = 1u << 20}, "part_size"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct sync_remote_config config = cases[i].config;
        struct remote *remote = NULL;
        struct err err = {0};
        snprintf(config.name, sizeof config.name, "cloud");
        config.account = config.kind == SYNC_AZURE ? "acct" : NULL;
        config.account_key = config.kind == SYNC_AZURE ? "a2V5" : NULL;
        config.bucket = "bucket";
        config.access_key = config.secret_key = config.kind == SYNC_S3 ? "k" : NULL;
        ck_assert_int_eq(sync__remote_open(&config, &remote, &err), ERR_CONFIG);
        char text[1024];
        ck_assert_msg(strstr(err_text(&err, text, sizeof text), cases[i].word) != NULL, "%s: %s",
                      cases[i].word, text);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: large objects");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, parts_cover_the_object);
    tcase_add_test(tests, crc64_is_the_published_one);
    tcase_add_test(tests, lists_are_bounded);
    tcase_add_test(tests, azure_puts_blocks_and_a_list);
    tcase_add_test(tests, azure_takes_up_what_is_there);
    tcase_add_test(tests, azure_without_proof_is_looked_at);
    tcase_add_test(tests, azure_that_may_put_no_blocks_sends_one_request);
    tcase_add_test(tests, azure_blocks_that_ended_are_put_again);
    tcase_add_test(tests, s3_begins_sends_parts_and_completes);
    tcase_add_test(tests, s3_properties_are_of_the_upload);
    tcase_add_test(tests, s3_takes_up_what_is_there);
    tcase_add_test(tests, s3_takes_up_an_upload_it_forgot_and_clears_old_ones);
    tcase_add_test(tests, s3_complete_without_proof_is_no_receipt);
    tcase_add_test(tests, s3_that_lost_the_race_clears_its_parts_away);
    tcase_add_test(tests, s3_that_may_not_look_sends_one_request);
    tcase_add_test(tests, s3_looks_when_its_upload_is_gone);
    tcase_add_test(tests, a_server_is_asked_once_what_it_makes_of_the_condition);
    tcase_add_test(tests, a_server_that_refuses_the_condition_is_spared_it);
    tcase_add_test(tests, what_the_clouds_do_not_take_is_named);
    suite_add_tcase(all, tests);
    return all;
}

int main(void) {
    return suite_run(suite());
}
