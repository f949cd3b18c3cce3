/* azure: what the files of the Azure remote share: azure.c (opening, requests, links),
 * azure_judge.c (what answers mean) and azure_blocks.c (objects that go up in blocks). Nobody else
 * includes it.
 */
#ifndef CREEL_SYNC_AZURE_H
#define CREEL_SYNC_AZURE_H

#include "sync/address.h"
#include "sync/parts.h"
#include "sync/remote.h"
#include "sync/sign.h"

/* Pinned: Azurite since 3.28 and the service know it, and it is the version our SAS has too. */
#define AZURE_VERSION       "2020-12-06"
#define AZURE_VERSION_COLD  "2021-12-02" /* the first that knows the tier Cold */
#define AZURE_ACCOUNT_MAX   24 /* letters and digits; Microsoft, "Storage account overview" */
#define AZURE_CONTAINER_MAX 63 /* Microsoft, "Naming and referencing containers" */
#define AZURE_CONTAINERS    (TIER_COUNT + 1)
#define AZURE_REST          TIER_COUNT
#define AZURE_TIER_MAX      15

struct azure {
    struct remote remote;
    struct address at;
    char account[AZURE_ACCOUNT_MAX + 1];
    char containers[AZURE_CONTAINERS][AZURE_CONTAINER_MAX + 1];
    bool create_containers;
    enum credential_form form;
    uint8_t key[SIGN_AZURE_KEY_MAX]; /* secret; of an account key, decoded */
    size_t key_size;
    struct delegation delegation; /* with a token: the key for links */
    struct buf ask;               /* the body of the request for it */
    const char *version;          /* x-ms-version */
    char access_tier[AZURE_TIER_MAX + 1];
    char tags[PARTS_TAGS_MAX + 1]; /* "name=value&…", encoded; "": none */
    struct parts_limits limits;
    bool no_blocks; /* the credential may create blobs and no blocks: everything in one request */
};

struct azure_facts { /* texts that headers point to while they are signed */
    char sha256[HASH_HEX_SIZE];
    char width[12], height[12];
};

/* What a request says, but for date, version and authorization. */
struct azure_ask {
    const char *method;
    bool container; /* of the container itself, not of the blob */
    const struct sign_field *query;
    size_t query_count;
    const struct sign_field *fields; /* SIGN_FIELDS_MAX - 2 at most */
    size_t field_count;
    const void *body; /* borrowed until the transfer ended */
    size_t body_size;
    size_t reply_max;
};

const char *sync__azure_container(const struct azure *azure, enum frame_tier tier);

int sync__azure_ask(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                    const struct azure_ask *ask, struct http_request *out, struct err *err);

/* Condition, properties and metadata of the blob, as Put Blob and Put Block List take them alike.
 */
size_t sync__azure_blob_fields(const struct azure *azure, struct remote_object *object,
                               struct azure_facts *facts, struct sign_field *out);

/* ---- judging ---- */

enum remote_verdict sync__azure_judge(struct remote *remote, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err);

/* What no step knows better: clock, credential, the table of error codes. */
enum remote_verdict sync__azure_judge_other(struct azure *azure, struct remote_put *put,
                                            const struct http_reply *reply, struct err *err);
bool sync__azure_says_exists(const struct azure *azure, const struct http_reply *reply);
/* The refusal may come from our clock or an old credential, and there is a better one: ask again.
 */
bool sync__azure_doubts(struct azure *azure, struct remote_put *put,
                        const struct http_reply *reply);
/* The container is missing and may be made: that is the next step. */
bool sync__azure_may_create(const struct azure *azure, struct remote_put *put,
                            const struct http_reply *reply);

/* ---- blocks ---- */

/* Before the first request: a large object is cut up, and looked for before anything is sent. */
int sync__azure_blocks_begin(struct azure *azure, struct remote_put *put, struct err *err);
int sync__azure_blocks_request(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                               struct http_request *out, struct err *err);
enum remote_verdict sync__azure_blocks_judge(struct azure *azure, struct remote_put *put,
                                             const struct http_reply *reply, struct err *err);

#endif
