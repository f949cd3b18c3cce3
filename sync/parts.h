/* parts: an object too large for one request: how it is cut, and which of its parts the server has.
 * Pure.
 *
 * The cut follows from the object's size and the config alone, so that an attempt after a restart
 * finds the parts of the one before. A part is known by its MD5, which both clouds check when it
 * comes in and tell when they are asked.
 */
#ifndef CREEL_SYNC_PARTS_H
#define CREEL_SYNC_PARTS_H

#include "daemon/base/buf.h"
#include "daemon/base/hash.h"
#include "store/store.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARTS_MAX           10000      /* of one object; AWS, "Amazon S3 multipart upload limits" */
#define PARTS_BYTES_MIN     (5u << 20) /* of one part that is not the last; the same page */
#define PARTS_BYTES         (8u << 20) /* unless the config says otherwise */
#define PARTS_ABOVE         (16u << 20) /* larger objects go up in parts */
#define PARTS_UPLOAD_MAX    1024        /* bytes of an upload's name as the server gives it */
#define PARTS_ORPHANS_MAX   4           /* uploads that one conversation clears away */
#define PARTS_RESTARTS_MAX  2           /* times that a conversation begins the upload anew */
#define PARTS_TAGS_MAX      2800        /* 10 tags, encoded */
#define PARTS_LIST_BODY_MAX (4u << 20)

struct parts_limits {
    size_t above;      /* objects larger than this go up in parts; 0: PARTS_ABOVE */
    size_t part_bytes; /* 0: PARTS_BYTES */
};

struct part {
    uint8_t md5[HASH_MD5_SIZE];
    bool hashed; /* sha256 is filled in */
    struct frame_hash sha256;
    bool there;                    /* the server has it, and its checksum is ours */
    char etag[STORE_ETAG_MAX + 1]; /* S3: what the end of the upload names it by */
};

struct parts_orphan {
    char key[STORE_KEY_MAX + 1];
    char upload[PARTS_UPLOAD_MAX + 1];
};

struct parts {
    size_t part_bytes, count;
    struct part *all;
    bool unproved; /* one was taken in without a checksum to show for it */
    unsigned restarts;
    char upload[PARTS_UPLOAD_MAX + 1];              /* S3: the upload's name; "": none yet */
    struct parts_orphan orphans[PARTS_ORPHANS_MAX]; /* S3: to be cleared away in the end */
    size_t orphan_count;
    struct buf body; /* of the request that puts them together */
};

/* NULL when memory ran out. */
struct parts *sync__parts_create(const uint8_t *bytes, size_t size,
                                 const struct parts_limits *limits);
void sync__parts_destroy(struct parts *parts); /* NULL is accepted */

bool sync__parts_wanted(const struct parts_limits *limits, size_t size);

/* The first part that is not there; `count` where all are. */
size_t sync__parts_next(const struct parts *parts);
size_t sync__parts_at(const struct parts *parts, size_t index); /* its offset */
size_t sync__parts_size(const struct parts *parts, size_t index, size_t object_size);
/* Worked out once; borrowed. */
const struct frame_hash *sync__parts_sha256(struct parts *parts, size_t index,
                                            const uint8_t *object, size_t object_size);
void sync__parts_forget(struct parts *parts); /* the server has none of them any more */

/* The name of a block: as long as every other one, and for no other bytes than these. */
#define PARTS_BLOCK_ID_SIZE HASH_BASE64_SIZE(48)
char *sync__parts_block_id(const struct parts *parts, size_t index, char out[PARTS_BLOCK_ID_SIZE]);
/* Which of them a name that was read is; `count`: none. */
size_t sync__parts_block_find(const struct parts *parts, const char *id);

/* "name=value,name=value" of the config, as a header has it; NULL: none. ERR_CONFIG. */
int sync__tags_set(const char *text, char out[PARTS_TAGS_MAX + 1], struct err *err);

#endif
