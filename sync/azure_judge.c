#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/azure.h"
#include <string.h>

static const struct judge_row rows[] = {
    {"AuthenticationFailed", 0, REMOTE_DENIED,
     "the account key, the SAS or the token is wrong or has ended"},
    {"AuthorizationFailure", 0, REMOTE_DENIED,
     "the account key, the SAS or the token is wrong, or the account's firewall keeps this device "
     "out"},
    {"AuthorizationPermissionMismatch", 0, REMOTE_DENIED,
     "the credential lacks the permission to create blobs (SAS: sp=c; role: Storage Blob Data "
     "Contributor)"},
    {"AuthorizationProtocolMismatch", 0, REMOTE_DENIED,
     "the SAS is for https only: use an https url"},
    {"AuthorizationResourceTypeMismatch", 0, REMOTE_DENIED,
     "the account SAS lacks objects (srt=o)"},
    {"AuthorizationServiceMismatch", 0, REMOTE_DENIED, "the account SAS is not for blobs (ss=b)"},
    {"AuthorizationSourceIPMismatch", 0, REMOTE_DENIED, "the SAS is for other IP addresses (sip)"},
    {"InvalidAuthenticationInfo", 0, REMOTE_DENIED,
     "the account key, the SAS or the token is not accepted (a token must be for "
     "https://storage.azure.com/ and of the account's tenant)"},
    {"InsufficientAccountPermissions", 0, REMOTE_DENIED, "the credential may not write here"},
    {"KeyBasedAuthenticationNotPermitted", 0, REMOTE_DENIED,
     "the account refuses account keys: use a token or a user-delegation SAS"},
    {"AccountIsDisabled", 0, REMOTE_DENIED, "the account is disabled"},
    {"ContainerDisabled", 0, REMOTE_DENIED, "the container is disabled"},
    {"ContainerNotFound", 0, REMOTE_DENIED,
     "the container does not exist: make it, or set create_containers: true"},
    {"ResourceNotFound", 0, REMOTE_DENIED, "no such account or container: check url and account"},
    {"ContainerBeingDeleted", 0, REMOTE_RETRY, "the container is being deleted"},
    {"Md5Mismatch", 0, REMOTE_RETRY, "the bytes were damaged on the way"},
    {"Crc64Mismatch", 0, REMOTE_RETRY, "the bytes were damaged on the way"},
    {"ServerBusy", 0, REMOTE_RETRY, "the account is over its limits"},
    {"OperationTimedOut", 0, REMOTE_RETRY, "the service timed out"},
    {"InternalError", 0, REMOTE_RETRY, "the service has a fault"},
    {"RequestBodyTooLarge", 0, REMOTE_REFUSED, "the object is too large for one request"},
};

static const char *const exists_codes[] = {"BlobAlreadyExists", "ConditionNotMet",
                                           "UnauthorizedBlobOverwrite", "BlobImmutableDueToPolicy"};

/* The SAS grants c and not w, and nobody can narrow it further: a stored policy or a delegated user
 * may grant less than sp says, and then "mismatch" may mean just that. */
static bool create_only(const struct azure *azure) {
    char permissions[32] = "";
    const char *sas = azure->form == CREDENTIAL_SAS ? azure->remote.credential->value.secret : NULL;
    return sas != NULL && sync__sas_get(sas, "sp", permissions, sizeof permissions) &&
           strchr(permissions, 'c') != NULL && strchr(permissions, 'w') == NULL &&
           strstr(sas, "skoid=") == NULL && strstr(sas, "si=") == NULL;
}

bool sync__azure_says_exists(const struct azure *azure, const struct http_reply *reply) {
    for (size_t i = 0; i < ARRAY_LENGTH(exists_codes); i++) {
        if (strcmp(reply->error_code, exists_codes[i]) == 0) {
            return true;
        }
    }
    /* A create-only SAS is told so in place of "exists" where the server checks rights first. */
    return reply->status == 412 ||
           (strcmp(reply->error_code, "AuthorizationPermissionMismatch") == 0 &&
            create_only(azure));
}

/* "Who are you?", and not "you may not": there may be a newer token or SAS. */
static bool says_unknown(const struct http_reply *reply) {
    return reply->status == 401 ||
           (reply->status == 403 && strcmp(reply->error_code, "AuthenticationFailed") == 0);
}

static void explain(const struct azure *azure, const struct remote_put *put, struct err *err) {
    const char *secret = azure->remote.credential->value.secret;
    char expiry[64];
    if (azure->form == CREDENTIAL_BEARER) {
        err_wrap(err, "with a token of %s", azure->remote.credential->ops->what);
    }
    if (azure->form != CREDENTIAL_SAS || secret == NULL ||
        !sync__sas_get(secret, "se", expiry, sizeof expiry)) {
        return;
    }
    int64_t ends = clock_parse_rfc3339(expiry);
    if (ends >= 0 && ends < put->signed_utc_us) {
        err_wrap(err, "the SAS ended at %s, make a new one", expiry);
    }
}

bool sync__azure_doubts(struct azure *azure, struct remote_put *put,
                        const struct http_reply *reply) {
    return (reply->status == 403 && sync__judge_skew(&azure->remote, put, reply)) ||
           (says_unknown(reply) && sync__judge_renew(&azure->remote, put));
}

enum remote_verdict sync__azure_judge_other(struct azure *azure, struct remote_put *put,
                                            const struct http_reply *reply, struct err *err) {
    if (sync__azure_doubts(azure, put, reply)) {
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict =
        sync__judge_error(&azure->remote, put, rows, ARRAY_LENGTH(rows), reply, err);
    if (verdict == REMOTE_DENIED) {
        explain(azure, put, err);
    }
    return verdict;
}

static bool md5_is_ours(struct remote_object *object, const struct http_reply *reply) {
    char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    return reply->md5[0] != '\0' &&
           strcmp(reply->md5, hash_base64(sync__object_md5(object), HASH_MD5_SIZE, md5)) == 0;
}

/* Which of the two a server answers with is its own choice. */
static bool confirms(struct remote_object *object, const struct http_reply *reply) {
    return reply->checksum[0] != '\0' ? strcmp(reply->checksum, sync__object_crc64(object)) == 0
                                      : md5_is_ours(object, reply);
}

static enum remote_verdict judge_put(struct azure *azure, struct remote_put *put,
                                     const struct http_reply *reply, struct err *err) {
    if (reply->status == 201) {
        memcpy(put->etag, reply->etag, sizeof put->etag);
        if (confirms(put->object, reply)) {
            return REMOTE_STORED;
        }
        put->accepted = true;
        put->mismatch = reply->checksum[0] != '\0' || reply->md5[0] != '\0';
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (sync__azure_says_exists(azure, reply)) {
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    return sync__azure_may_create(azure, put, reply)
               ? REMOTE_AGAIN
               : sync__azure_judge_other(azure, put, reply, err);
}

bool sync__azure_may_create(const struct azure *azure, struct remote_put *put,
                            const struct http_reply *reply) {
    bool may = reply->status == 404 && strcmp(reply->error_code, "ContainerNotFound") == 0 &&
               azure->create_containers && !put->created;
    if (may) {
        put->step = REMOTE_CREATE;
    }
    return may;
}

/* Nothing was sent yet: what is not there, or may not be looked at, is sent. */
static enum remote_verdict judge_ahead(struct azure *azure, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    bool closed = reply->status == 401 || reply->status == 403;
    if (sync__azure_may_create(azure, put, reply)) {
        return REMOTE_AGAIN;
    }
    if (reply->status != 404 && !closed) {
        return sync__azure_judge_other(azure, put, reply, err);
    }
    if (closed && sync__azure_doubts(azure, put, reply)) {
        return REMOTE_AGAIN;
    }
    put->ahead = false;
    put->step = closed ? REMOTE_PART : REMOTE_FIND; /* who may not read may not list either */
    return REMOTE_AGAIN;
}

static enum remote_verdict judge_head(struct azure *azure, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        memcpy(put->etag, reply->etag, sizeof put->etag);
        return sync__judge_same(&azure->remote, put, reply->md5[0] != '\0',
                                md5_is_ours(put->object, reply), reply, err);
    }
    if (put->ahead) {
        return judge_ahead(azure, put, reply, err);
    }
    if (reply->status == 404) { /* gone between two requests: begin anew */
        put->step = REMOTE_PUT;
        put->accepted = false;
        err_set(err, ERR_NET, "remote %s: %s was there a moment ago and is not", azure->remote.name,
                put->object->key);
        return REMOTE_RETRY;
    }
    if (azure->form == CREDENTIAL_BEARER && says_unknown(reply)) {
        return sync__azure_judge_other(azure, put, reply, err); /* the token ended in between */
    }
    if ((reply->status == 401 || reply->status == 403) && put->mismatch) {
        err_set(
            err, ERR_EXISTS,
            "remote %s: %s was stored with another checksum, and the credential may not read it",
            azure->remote.name, put->object->key);
        return REMOTE_CONFLICT;
    }
    if (reply->status == 401 || reply->status == 403) {
        return REMOTE_EXISTS;
    }
    return sync__azure_judge_other(azure, put, reply, err);
}

static enum remote_verdict judge_create(struct azure *azure, struct remote_put *put,
                                        const struct http_reply *reply, struct err *err) {
    if (reply->status == 201 || strcmp(reply->error_code, "ContainerAlreadyExists") == 0) {
        put->created = true;
        put->step = put->parts != NULL && !put->whole ? REMOTE_PART : REMOTE_PUT;
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict = sync__azure_judge_other(azure, put, reply, err);
    if (verdict == REMOTE_DENIED) {
        err_wrap(err, "container %s does not exist and this credential may not make it",
                 sync__azure_container(azure, put->object->tier));
    }
    return verdict;
}

enum remote_verdict sync__azure_judge(struct remote *remote, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    static enum remote_verdict (*const judges[REMOTE_STEPS])(
        struct azure *, struct remote_put *, const struct http_reply *,
        struct err *) = {[REMOTE_PUT] = judge_put,
                         [REMOTE_HEAD] = judge_head,
                         [REMOTE_CREATE] = judge_create,
                         [REMOTE_FIND] = sync__azure_blocks_judge,
                         [REMOTE_PART] = sync__azure_blocks_judge,
                         [REMOTE_COMMIT] = sync__azure_blocks_judge};
    if (reply->status == 0) {
        return sync__judge_error(remote, put, NULL, 0, reply, err);
    }
    return judges[put->step]((struct azure *)(void *)remote, put, reply, err);
}
