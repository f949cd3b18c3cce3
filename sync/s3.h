/* s3: what the files of the S3 remote share: s3.c (opening, requests, links), s3_judge.c (what
 * answers mean) and s3_multipart.c (objects that go up in parts). Nobody else includes it.
 */
#ifndef CREEL_SYNC_S3_H
#define CREEL_SYNC_S3_H

#include "sync/address.h"
#include "sync/parts.h"
#include "sync/remote.h"
#include "sync/sign.h"

#define S3_DEFAULT_REGION "us-east-1"
#define S3_BUCKET_MAX     63 /* AWS, "Bucket naming rules" */
#define S3_REGION_MAX     63
#define S3_ABANDON_S      (7 * 86400)

/* What the server makes of If-None-Match: * on PutObject. */
enum s3_condition {
    S3_CONDITION_UNKNOWN = 0,
    S3_CONDITION_PROBED,   /* one conversation is finding out */
    S3_CONDITION_HONOURED, /* 412 */
    S3_CONDITION_IGNORED,  /* replaces: HEAD first */
    S3_CONDITION_REFUSED,  /* 501: HEAD first, and never sent again */
};

struct s3 {
    struct remote remote;
    struct address at; /* with the bucket in the host where that is the style */
    char bucket[S3_BUCKET_MAX + 1];
    char region[S3_REGION_MAX + 1];
    bool aws; /* Amazon's own endpoint */
    bool virtual_host;
    bool create_bucket;
    char create_text[256]; /* body of CreateBucket, the same each time */
    enum s3_condition condition;
    bool confirms; /* its replies have the SHA-256: a Content-MD5 would say nothing more */
    char storage_class[32], encryption[16], kms_key[256];
    char tags[PARTS_TAGS_MAX + 1]; /* encoded */
    struct parts_limits limits;
    int64_t abandon_after_s; /* an unfinished upload of ours as old as this is cleared away */
    unsigned swept;          /* a bit for each tier in which such uploads were looked for */
};

struct s3_facts { /* texts that headers point to while they are signed */
    char sha256[HASH_HEX_SIZE];
    char width[12], height[12];
};

/* What a request says, but for host, date, payload and authorization. */
struct s3_ask {
    const char *method;
    bool bucket;                    /* of the bucket itself */
    const char *name;               /* of another object, with its prefix; NULL: the put's */
    const struct sign_field *query; /* sorted by name; values decoded */
    size_t query_count;
    const struct sign_field *fields; /* SIGN_FIELDS_MAX - 4 at most */
    size_t field_count;
    const void *body; /* borrowed until the transfer ended */
    size_t body_size;
    const struct frame_hash *sha256; /* of the body; NULL: worked out */
    size_t reply_max;
};

int sync__s3_ask(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                 const struct s3_ask *ask, struct http_request *out, struct err *err);

/* Properties and metadata of the object, as PutObject and CreateMultipartUpload take them alike. */
size_t sync__s3_object_fields(const struct s3 *s3, const struct remote_object *object,
                              struct s3_facts *facts, struct sign_field *out);

/* ---- judging ---- */

enum remote_verdict sync__s3_judge(struct remote *remote, struct remote_put *put,
                                   const struct http_reply *reply, struct err *err);
/* What no step knows better: clock, credential, the table of error codes. */
enum remote_verdict sync__s3_judge_other(struct s3 *s3, struct remote_put *put,
                                         const struct http_reply *reply, struct err *err);
/* The refusal may come from our clock or an old credential, and there is a better one: ask again.
 */
bool sync__s3_doubts(struct s3 *s3, struct remote_put *put, const struct http_reply *reply);
/* The bucket is missing and may be made: that is the next step. */
bool sync__s3_may_create(const struct s3 *s3, struct remote_put *put,
                         const struct http_reply *reply);
bool sync__s3_etag_same(const uint8_t md5[HASH_MD5_SIZE], const char *etag);

/* ---- parts ---- */

/* Before the first request: a large object is cut up; that one, and every object where the server
 * lacks the condition, is looked for before anything is sent. */
int sync__s3_begin(struct s3 *s3, struct remote_put *put, struct err *err);
/* It is not there: the next step towards it in parts. */
enum remote_verdict sync__s3_parts_look(struct s3 *s3, struct remote_put *put);
int sync__s3_parts_request(struct s3 *s3, struct remote_put *put, int64_t now_utc_us,
                           struct http_request *out, struct err *err);
enum remote_verdict sync__s3_parts_judge(struct s3 *s3, struct remote_put *put,
                                         const struct http_reply *reply, struct err *err);
/* The conversation is about to end for good: what was begun and is not needed is cleared away
 * first. */
enum remote_verdict sync__s3_parts_end(struct s3 *s3, struct remote_put *put,
                                       enum remote_verdict verdict);

#endif
