#include "sync/remote.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const step_names[REMOTE_STEPS] = {
    [REMOTE_PUT] = "storing",
    [REMOTE_HEAD] = "looking at",
    [REMOTE_CREATE] = "making the container for",
    [REMOTE_ASK] = "asking about",
    [REMOTE_SEEK] = "looking for uploads of",
    [REMOTE_BEGIN] = "beginning the upload of",
    [REMOTE_FIND] = "listing the parts of",
    [REMOTE_PART] = "storing a part of",
    [REMOTE_COMMIT] = "putting together",
    [REMOTE_ABORT] = "giving up an upload of",
};

/* By status alone, where the provider's table has nothing better to say. */
static const struct judge_row by_status[] = {
    {NULL, 401, REMOTE_DENIED, "the credential was not accepted"},
    {NULL, 403, REMOTE_DENIED, "the credential was refused, or lacks a permission"},
    {NULL, 404, REMOTE_DENIED,
     "there is nothing at this address: check url and container or bucket"},
    {NULL, 407, REMOTE_DENIED, "the proxy wants a credential"},
    {NULL, 408, REMOTE_RETRY, "the server waited too long for us"},
    {NULL, 429, REMOTE_RETRY, "the server asks us to slow down"},
    {NULL, 500, REMOTE_RETRY, "the server has a fault"},
    {NULL, 502, REMOTE_RETRY, "a gateway has a fault"},
    {NULL, 503, REMOTE_RETRY, "the server is busy"},
    {NULL, 504, REMOTE_RETRY, "a gateway timed out"},
};

static const struct judge_row *row_find(const struct judge_row *rows, size_t count,
                                        const char *code, int status) {
    for (size_t i = 0; i < count; i++) {
        bool code_fits = rows[i].code == NULL || strcmp(rows[i].code, code) == 0;
        bool status_fits = rows[i].status == 0 || rows[i].status == status;
        if (code_fits && status_fits) {
            return &rows[i];
        }
    }
    return NULL;
}

static struct judge_row row_default(int status) {
    struct judge_row row = {.status = status, .verdict = REMOTE_REFUSED, .hint = "refused"};
    if (status >= 500) {
        row.verdict = REMOTE_RETRY;
        row.hint = "the server has a fault";
    } else if (status >= 300 && status < 400) {
        row.verdict = REMOTE_DENIED;
        row.hint = "the server sends us elsewhere, and creel does not follow: check url and region";
    } else if (status < 300) {
        row.verdict = REMOTE_RETRY;
        row.hint = "an answer that makes no sense here";
    }
    return row;
}

static int err_code_of(enum remote_verdict verdict) {
    switch (verdict) {
    case REMOTE_DENIED:
        return ERR_DENIED;
    case REMOTE_CONFLICT:
        return ERR_EXISTS;
    case REMOTE_REFUSED:
        return ERR_INVALID;
    default:
        return ERR_NET;
    }
}

static enum remote_verdict judge_fault(const struct remote *remote, const struct http_reply *reply,
                                       struct err *err) {
    if (err != NULL) {
        *err = reply->fault;
        err_wrap(err, "remote %s", remote->name);
    }
    return reply->fault.code == ERR_DENIED ? REMOTE_DENIED : REMOTE_RETRY;
}

enum remote_verdict sync__judge_error(const struct remote *remote, const struct remote_put *put,
                                      const struct judge_row *rows, size_t count,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 0) {
        return judge_fault(remote, reply, err);
    }
    const struct judge_row *row = row_find(rows, count, reply->error_code, reply->status);
    if (row == NULL) {
        row = row_find(by_status, sizeof by_status / sizeof by_status[0], "", reply->status);
    }
    struct judge_row fallback = row_default(reply->status);
    if (row == NULL) {
        row = &fallback;
    }
    err_set(err, err_code_of(row->verdict), "%s: %s %s was answered %d%s%s%s%s%s", row->hint,
            step_names[put->step], put->object->key, reply->status,
            reply->error_code[0] != '\0' ? " " : "", reply->error_code,
            reply->message[0] != '\0' ? " (" : "", reply->message,
            reply->message[0] != '\0' ? ")" : "");
    err_wrap(err, "remote %s", remote->name);
    if (err != NULL) {
        err->http_status = reply->status;
        err->retry_after_ms = reply->retry_after_ms;
    }
    return row->verdict;
}

bool sync__judge_skew(struct remote *remote, struct remote_put *put,
                      const struct http_reply *reply) {
    if (put->skewed || reply->date_utc_us == 0) {
        return false;
    }
    int64_t off = reply->date_utc_us - put->signed_utc_us; /* by the clock as corrected so far */
    if (llabs(off) < REMOTE_SKEW_MIN_US) {
        return false;
    }
    put->skewed = true;
    remote->skew_us += off;
    return true;
}

bool sync__judge_renew(struct remote *remote, struct remote_put *put) {
    if (remote->credential == NULL) {
        return false;
    }
    bool newer = sync__credential_rejected(remote->credential, put->generation);
    if (!newer || put->renewed) {
        return false; /* a fresh one was refused as well; a later conversation may try another */
    }
    put->renewed = true;
    return true;
}

enum remote_verdict sync__judge_same(const struct remote *remote, const struct remote_put *put,
                                     bool md5_known, bool md5_same, const struct http_reply *reply,
                                     struct err *err) {
    const struct remote_object *object = put->object;
    char hex[HASH_HEX_SIZE];
    hash_hex(object->sha256.bytes, sizeof object->sha256.bytes, hex);
    bool size_known = reply->content_length >= 0;
    bool size_same = size_known && (uint64_t)reply->content_length == object->size;
    bool hash_known = reply->sha256[0] != '\0';
    bool hash_same = hash_known && strcmp(reply->sha256, hex) == 0;
    if ((size_known && !size_same) || (md5_known && !md5_same) || (hash_known && !hash_same)) {
        err_set(err, ERR_EXISTS,
                "other bytes lie under the name %s (%" PRId64 " bytes there, %zu here): "
                "two devices may share one id, or somebody wrote there",
                object->key, reply->content_length, object->size);
        err_wrap(err, "remote %s", remote->name);
        return REMOTE_CONFLICT;
    }
    if (size_same && (md5_same || hash_same)) {
        return put->accepted ? REMOTE_STORED : REMOTE_COMPARED;
    }
    if (put->mismatch) {
        err_set(err, ERR_EXISTS,
                "%s was stored with another checksum, and looking at it tells no better",
                object->key);
        err_wrap(err, "remote %s", remote->name);
        return REMOTE_CONFLICT;
    }
    return REMOTE_EXISTS;
}
