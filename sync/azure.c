/* azure: Blob Storage by Put Blob, with an account key (SharedKey), a SAS or a token (Bearer).
 *
 * Goal: one request an object where all goes well, and no receipt without proof.
 * Invariants:
 *  1. Every Put Blob carries If-None-Match: *, so it never replaces anything, and Content-MD5,
 * which the service checks.
 *  2. A 201 is a receipt only when its Content-MD5 is ours; else HEAD decides.
 *  3. "Exists" (409, 412, or what a create-only SAS is told) is a receipt only after HEAD; where
 * the SAS may not read, it is the weaker kind.
 *  4. A SAS is appended as it was given. Its sig= is in no error text: no url is.
 *  5. Metadata names are [a-z0-9] only: the service sorts x-ms-* for signing by the rules of a
 * language. Two forms of endpoint: account in the host (production) or as first segment of the path
 * (Azurite, IoT Edge). Rejected: Put Block for small objects (two requests), x-ms-content-crc64
 * (MD5 is stored with the blob and can be compared later), HEAD before PUT (a second request for
 * the common case).
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pinned: Azurite since 3.28 and the service know it, and it is the version our SAS has too. */
#define API_VERSION   "2020-12-06"
#define ACCOUNT_MAX   24 /* letters and digits; Microsoft, "Storage account overview" */
#define CONTAINER_MAX 63 /* Microsoft, "Naming and referencing containers" */
#define CONTAINERS    (TIER_COUNT + 1)
#define REST          TIER_COUNT

struct azure {
    struct remote remote;
    struct address at;
    char account[ACCOUNT_MAX + 1];
    char containers[CONTAINERS][CONTAINER_MAX + 1];
    bool create_containers;
    enum credential_form form;
    uint8_t key[SIGN_AZURE_KEY_MAX]; /* secret; of an account key, decoded */
    size_t key_size;
    struct delegation delegation; /* with a token: the key for links */
    struct buf ask;               /* the body of the request for it */
};

static struct azure *azure_of(struct remote *remote) {
    return (struct azure *)(void *)remote;
}

static const struct azure *azure_const(const struct remote *remote) {
    return (const struct azure *)(const void *)remote;
}

/* ---- opening ---- */

static bool container_is_valid(const char *name) {
    size_t length = strlen(name);
    return length >= 3 && length <= CONTAINER_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length && name[0] != '-' &&
           name[length - 1] != '-' && strstr(name, "--") == NULL;
}

static int containers_set(struct azure *azure, const struct sync_remote_config *config,
                          struct err *err) {
    static const char *const defaults[CONTAINERS] = {"annotated", "unannotated", "creel"};
    for (size_t i = 0; i < CONTAINERS; i++) {
        const char *name = i == REST ? config->container_rest : config->containers[i];
        if (name == NULL || name[0] == '\0') {
            name = defaults[i];
        }
        if (!container_is_valid(name)) {
            return err_set(
                err, ERR_CONFIG,
                "containers: \"%s\" is no container name: 3 to 63 of a-z, 0-9 and single -", name);
        }
        snprintf(azure->containers[i], sizeof azure->containers[i], "%s", name);
    }
    return 0;
}

static bool account_is_valid(const char *account, size_t length) {
    if (length < 3 || length > ACCOUNT_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!islower((unsigned char)account[i]) && !isdigit((unsigned char)account[i])) {
            return false;
        }
    }
    return true;
}

/* From the config, else the path's first segment where the host has none, else the host's first
 * label. */
static int account_set(struct azure *azure, const char *given, struct err *err) {
    const char *account = given;
    if (account == NULL || account[0] == '\0') {
        account =
            azure->at.by_number ? azure->at.path + (azure->at.path[0] == '/') : azure->at.host;
    }
    size_t length = strcspn(account, "./");
    if (!account_is_valid(account, length) || (given != NULL && account[length] != '\0')) {
        return err_set(err, ERR_CONFIG, "account: not in the url, set it (3 to 24 of a-z and 0-9)");
    }
    memcpy(azure->account, account, length);
    azure->account[length] = '\0';
    if (azure->at.path[0] != '\0' && strcmp(azure->at.path + 1, azure->account) != 0) {
        return err_set(err, ERR_CONFIG,
                       "url: must be the account's endpoint; containers have their own key");
    }
    return 0;
}

static int key_set(struct azure *azure, const char *base64, struct err *err) {
    if (!hash_parse_base64(base64, azure->key, sizeof azure->key, &azure->key_size) ||
        azure->key_size == 0) {
        azure->key_size = 0;
        return err_set(err, ERR_CONFIG, "account_key: is not base64; copy it whole, with its ==");
    }
    return 0;
}

static bool given(const char *text) {
    return text != NULL && text[0] != '\0';
}

static int secrecy_check(const struct azure *azure, struct err *err) {
    if (azure->form == CREDENTIAL_ACCOUNT_KEY || azure->at.https || azure->at.loopback) {
        return 0;
    }
    return err_set(err, ERR_CONFIG, "%s would be readable on the way; use an https url",
                   azure->form == CREDENTIAL_SAS ? "sas:" : "the token");
}

/* What the connection string says counts as if it had been given itself. */
static int credential_set(struct azure *azure, const struct sync_remote_config *config,
                          const struct connection *connection, struct err *err) {
    struct sync_remote_config merged = *config;
    if (given(config->account_key) + given(config->sas) + given(config->connection_string) +
            given(config->sas_file) + given(config->client_secret) >
        1) {
        return err_set(err, ERR_CONFIG,
                       "give one of connection_string, account_key, sas, sas_file and "
                       "client_secret, not several");
    }
    merged.account_key = given(config->account_key) ? config->account_key : connection->key;
    merged.sas = given(config->sas) ? config->sas : connection->sas;
    int code = sync__credential_open(&merged, &azure->remote.credential, err);
    if (code != 0) {
        return code;
    }
    azure->form = azure->remote.credential->ops->form;
    if (azure->form == CREDENTIAL_ACCOUNT_KEY) {
        code = key_set(azure, merged.account_key, err);
    }
    return code != 0 ? code : secrecy_check(azure, err);
}

static int endpoint_set(struct azure *azure, const struct sync_remote_config *config,
                        const struct connection *connection, struct err *err) {
    char url[128];
    const char *endpoint = given(config->url) ? config->url : connection->endpoint;
    if (endpoint == NULL && given(config->account) && strlen(config->account) <= ACCOUNT_MAX) {
        snprintf(url, sizeof url, "https://%s.blob.core.windows.net", config->account);
        endpoint = url;
    }
    if (endpoint == NULL) {
        return err_set(err, ERR_CONFIG,
                       "url: missing; it is the account's endpoint, such as "
                       "https://ACCOUNT.blob.core.windows.net");
    }
    int code = sync__address_parse(endpoint, &azure->at, err);
    if (code != 0) {
        return code;
    }
    return account_set(azure, given(config->account) ? config->account : connection->account, err);
}

static void describe(struct azure *azure) {
    struct remote *remote = &azure->remote;
    snprintf(remote->where, sizeof remote->where, "%.70s%.32s (%s, %s)", azure->at.authority,
             azure->at.path, azure->containers[TIER_ANNOTATED],
             azure->containers[TIER_UNANNOTATED]);
    const char *parts[] = {"azure",
                           azure->at.authority,
                           azure->at.path,
                           azure->account,
                           azure->containers[TIER_ANNOTATED],
                           azure->containers[TIER_UNANNOTATED],
                           azure->containers[REST]};
    sync__identity_set(remote, parts, ARRAY_LENGTH(parts));
}

static void azure_close(struct remote *remote) {
    struct azure *azure = azure_of(remote);
    sync__credential_close(remote->credential);
    explicit_bzero(azure->key, sizeof azure->key);
    sync__delegation_finish(&azure->delegation);
    buf_finish(&azure->ask);
    free(azure);
}

static int azure_open(const struct sync_remote_config *config, struct remote **out,
                      struct err *err) {
    struct azure *azure = mem_alloc(sizeof *azure);
    if (azure == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a remote");
    }
    azure->remote.ops = &sync__azure_ops;
    azure->create_containers = config->create_containers;
    struct connection connection = {0};
    int code = 0;
    if (given(config->connection_string)) {
        code = sync__connection_parse(config->connection_string, &connection, err);
    }
    if (code == 0) {
        code = endpoint_set(azure, config, &connection, err);
    }
    if (code == 0) {
        code = credential_set(azure, config, &connection, err);
    }
    if (code == 0) {
        code = containers_set(azure, config, err);
    }
    sync__connection_finish(&connection);
    if (code != 0) {
        azure_close(&azure->remote);
        return code;
    }
    describe(azure);
    *out = &azure->remote;
    return 0;
}

/* ---- requests ---- */

static const char *container_of(const struct azure *azure, enum frame_tier tier) {
    return azure->containers[(unsigned)tier < TIER_COUNT ? (unsigned)tier : REST];
}

/* The encoded path of the blob, or of its container alone. */
static int path_make(const struct azure *azure, enum frame_tier tier, const char *key,
                     struct buf *out, struct err *err) {
    buf_printf(out, "%s/%s", azure->at.path, container_of(azure, tier));
    if (key != NULL) {
        char name[STORE_KEY_MAX + 1];
        int code = sync__remote_name(&azure->remote, key, name, err);
        if (code != 0) {
            return code;
        }
        buf_puts(out, "/");
        buf_puts_url(out, name, true);
    }
    return out->failed ? err_set(err, ERR_NOMEM, "no memory for a request") : 0;
}

static char *url_make(const struct azure *azure, const char *path, const char *query,
                      const char *sas) {
    struct buf url = BUF_INIT(SYNC_LINK_MAX * 2);
    buf_printf(&url, "%s://%s%s", azure->at.https ? "https" : "http", azure->at.authority, path);
    char mark = '?';
    if (query[0] != '\0') {
        buf_printf(&url, "%c%s", mark, query);
        mark = '&';
    }
    if (sas != NULL) {
        buf_printf(&url, "%c%s", mark, sas);
    }
    size_t length = 0;
    char *made = buf_take(&url, &length);
    buf_finish(&url);
    return made;
}

struct facts { /* texts that headers point to while they are signed */
    char date[CLOCK_HTTP_SIZE];
    char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    char sha256[HASH_HEX_SIZE];
    char width[12], height[12];
};

static size_t put_fields(const struct remote_object *object, struct facts *facts,
                         struct sign_field *out) {
    hash_base64(object->md5, sizeof object->md5, facts->md5);
    hash_hex(object->sha256.bytes, sizeof object->sha256.bytes, facts->sha256);
    snprintf(facts->width, sizeof facts->width, "%u", object->width);
    snprintf(facts->height, sizeof facts->height, "%u", object->height);
    const struct sign_field fields[] = {
        {"content-md5", facts->md5},
        {"content-type", sync__media_type(object->media)},
        {"if-none-match", "*"},
        {"x-ms-blob-cache-control", "public, max-age=31536000, immutable"},
        {"x-ms-blob-type", "BlockBlob"},
        {"x-ms-meta-sha256", facts->sha256},
        {"x-ms-meta-width", facts->width},
        {"x-ms-meta-height", facts->height},
    };
    size_t count = ARRAY_LENGTH(fields) - (object->width == 0 || object->height == 0 ? 2 : 0);
    memcpy(out, fields, count * sizeof fields[0]);
    return count;
}

static int authorization_add(const struct azure *azure, const struct sign_azure *signing,
                             const struct credential_value *value, struct http_request *out,
                             struct err *err) {
    int code = 0;
    bool added = true;
    if (azure->form == CREDENTIAL_ACCOUNT_KEY) {
        char authorization[SIGN_HEADER_MAX];
        code = sync__sign_azure(signing, azure->key, azure->key_size, authorization, err);
        added = code == 0 && sync__request_add(out, "authorization", authorization);
    } else if (azure->form == CREDENTIAL_BEARER) {
        struct buf authorization = BUF_INIT(TOKEN_TEXT_MAX + 16);
        buf_printf(&authorization, "Bearer %s", value->secret);
        added =
            !authorization.failed && sync__request_add(out, "authorization", authorization.data);
        if (authorization.data != NULL) {
            explicit_bzero(authorization.data, authorization.len);
        }
        buf_finish(&authorization);
    }
    return code != 0 || added ? code : err_set(err, ERR_NOMEM, "no memory for a request");
}

static int headers_add(const struct azure *azure, const struct sign_azure *signing,
                       const struct credential_value *value, struct http_request *out,
                       struct err *err) {
    bool added = true;
    for (size_t i = 0; i < signing->header_count; i++) {
        added =
            added && sync__request_add(out, signing->headers[i].name, signing->headers[i].value);
    }
    return added ? authorization_add(azure, signing, value, out, err)
                 : err_set(err, ERR_NOMEM, "no memory for a request");
}

static const char *const methods[] = {
    [REMOTE_PUT] = "PUT", [REMOTE_HEAD] = "HEAD", [REMOTE_CREATE] = "PUT"};

static int azure_request(struct remote *remote, struct remote_put *put, int64_t now_utc_us,
                         struct http_request *out, struct err *err) {
    static const struct sign_field create_query[] = {{"restype", "container"}};
    struct azure *azure = azure_of(remote);
    bool create = put->step == REMOTE_CREATE;
    const struct credential_value *value = sync__credential_sign(remote, put, err);
    if (value == NULL) {
        return ERR_BUSY;
    }
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    int code = path_make(azure, put->object->tier, create ? NULL : put->object->key, &path, err);
    if (code != 0) {
        return code;
    }
    put->signed_utc_us = now_utc_us + remote->skew_us;
    struct facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    size_t count = put->step == REMOTE_PUT ? put_fields(put->object, &facts, fields) : 0;
    fields[count++] =
        (struct sign_field){"x-ms-date", clock_format_http(put->signed_utc_us, facts.date)};
    fields[count++] = (struct sign_field){"x-ms-version", API_VERSION};
    struct http_request request = {
        .method = methods[put->step], .ca_file = remote->ca_file, .direct = azure->at.loopback};
    if (put->step == REMOTE_PUT) {
        request.body = put->object->bytes;
        request.body_size = put->object->size;
    }
    struct sign_azure signing = {.method = request.method,
                                 .account = azure->account,
                                 .path = path.data,
                                 .headers = fields,
                                 .header_count = count,
                                 .query = create_query,
                                 .query_count = create ? ARRAY_LENGTH(create_query) : 0,
                                 .content_length = request.body_size};
    request.url = url_make(azure, path.data, create ? "restype=container" : "",
                           azure->form == CREDENTIAL_SAS ? value->secret : NULL);
    code = request.url == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                               : headers_add(azure, &signing, value, &request, err);
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    *out = request;
    return 0;
}

static size_t ask_fields(const struct azure *azure, struct remote_ask *ask, int64_t now_utc_us,
                         char date[CLOCK_HTTP_SIZE], struct sign_field *out) {
    ask->put.signed_utc_us = now_utc_us + azure->remote.skew_us;
    memcpy(out, ask->headers, ask->header_count * sizeof out[0]);
    size_t count = ask->header_count;
    out[count++] =
        (struct sign_field){"x-ms-date", clock_format_http(ask->put.signed_utc_us, date)};
    out[count++] = (struct sign_field){"x-ms-version", API_VERSION};
    return count;
}

static int azure_ask(struct remote *remote, struct remote_ask *ask, int64_t now_utc_us,
                     struct http_request *out, struct err *err) {
    struct azure *azure = azure_of(remote);
    char date[CLOCK_HTTP_SIZE];
    struct sign_field fields[SIGN_FIELDS_MAX];
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX), query = BUF_INIT(SYNC_LINK_MAX);
    const struct credential_value *value = sync__credential_sign(remote, &ask->put, err);
    int code = value == NULL ? ERR_BUSY : path_make(azure, ask->tier, ask->key, &path, err);
    if (code != 0) {
        return code;
    }
    sync__ask_query_text(ask, &query);
    struct sign_azure signing = {.method = ask->method,
                                 .account = azure->account,
                                 .path = path.data,
                                 .headers = fields,
                                 .header_count = ask_fields(azure, ask, now_utc_us, date, fields),
                                 .query = ask->query,
                                 .query_count = ask->query_count,
                                 .content_length = ask->body_size};
    struct http_request request = {
        .method = ask->method,
        .url = query.failed ? NULL
                            : url_make(azure, path.data, query.len > 0 ? query.data : "",
                                       azure->form == CREDENTIAL_SAS ? value->secret : NULL),
        .body = ask->body,
        .body_size = ask->body_size,
        .reply_max = ask->reply_max,
        .ca_file = remote->ca_file,
        .direct = azure->at.loopback};
    code = request.url == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                               : headers_add(azure, &signing, value, &request, err);
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    *out = request;
    return 0;
}

/* ---- replies ---- */

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

static bool says_exists(const struct azure *azure, const struct http_reply *reply) {
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

static enum remote_verdict judge_other(struct azure *azure, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    bool doubt = reply->status == 403 && sync__judge_skew(&azure->remote, put, reply);
    if (doubt || (says_unknown(reply) && sync__judge_renew(&azure->remote, put))) {
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict =
        sync__judge_error(&azure->remote, put, rows, ARRAY_LENGTH(rows), reply, err);
    if (verdict == REMOTE_DENIED) {
        explain(azure, put, err);
    }
    return verdict;
}

static enum remote_verdict judge_put(struct azure *azure, struct remote_put *put,
                                     const struct http_reply *reply, struct err *err) {
    if (reply->status == 201) {
        char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
        hash_base64(put->object->md5, sizeof put->object->md5, md5);
        memcpy(put->etag, reply->etag, sizeof put->etag);
        if (strcmp(reply->md5, md5) == 0) {
            return REMOTE_STORED;
        }
        put->accepted = true;
        put->mismatch = reply->md5[0] != '\0';
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (says_exists(azure, reply)) {
        put->step = REMOTE_HEAD;
        return REMOTE_AGAIN;
    }
    if (reply->status == 404 && strcmp(reply->error_code, "ContainerNotFound") == 0 &&
        azure->create_containers && !put->created) {
        put->step = REMOTE_CREATE;
        return REMOTE_AGAIN;
    }
    return judge_other(azure, put, reply, err);
}

static enum remote_verdict judge_head(struct azure *azure, struct remote_put *put,
                                      const struct http_reply *reply, struct err *err) {
    if (reply->status == 200) {
        char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
        hash_base64(put->object->md5, sizeof put->object->md5, md5);
        memcpy(put->etag, reply->etag, sizeof put->etag);
        bool known = reply->md5[0] != '\0';
        return sync__judge_same(&azure->remote, put, known, known && strcmp(reply->md5, md5) == 0,
                                reply, err);
    }
    if (reply->status == 404) { /* gone between two requests: begin anew */
        put->step = REMOTE_PUT;
        put->accepted = false;
        err_set(err, ERR_NET, "remote %s: %s was there a moment ago and is not", azure->remote.name,
                put->object->key);
        return REMOTE_RETRY;
    }
    if (azure->form == CREDENTIAL_BEARER && says_unknown(reply)) {
        return judge_other(azure, put, reply, err); /* the token ended in between */
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
    return judge_other(azure, put, reply, err);
}

static enum remote_verdict judge_create(struct azure *azure, struct remote_put *put,
                                        const struct http_reply *reply, struct err *err) {
    if (reply->status == 201 || strcmp(reply->error_code, "ContainerAlreadyExists") == 0) {
        put->created = true;
        put->step = REMOTE_PUT;
        return REMOTE_AGAIN;
    }
    enum remote_verdict verdict = judge_other(azure, put, reply, err);
    if (verdict == REMOTE_DENIED) {
        err_wrap(err, "container %s does not exist and this credential may not make it",
                 container_of(azure, put->object->tier));
    }
    return verdict;
}

static enum remote_verdict azure_judge(struct remote *remote, struct remote_put *put,
                                       const struct http_reply *reply, struct err *err) {
    static enum remote_verdict (*const judges[])(struct azure *, struct remote_put *,
                                                 const struct http_reply *, struct err *) = {
        [REMOTE_PUT] = judge_put, [REMOTE_HEAD] = judge_head, [REMOTE_CREATE] = judge_create};
    if (reply->status == 0) {
        return sync__judge_error(remote, put, NULL, 0, reply, err);
    }
    return judges[put->step](azure_of(remote), put, reply, err);
}

static enum remote_verdict azure_judge_ask(struct remote *remote, struct remote_ask *ask,
                                           const struct http_reply *reply, struct err *err) {
    ask->put.step = REMOTE_ASK;
    return judge_other(azure_of(remote), &ask->put, reply, err);
}

/* ---- links ---- */

static bool azure_link_due(const struct remote *remote, int64_t until_utc_us) {
    const struct azure *azure = azure_const(remote);
    return azure->form == CREDENTIAL_BEARER &&
           !sync__delegation_lasts(&azure->delegation, until_utc_us + remote->skew_us);
}

static int azure_delegate(struct remote *remote, int64_t now_utc_us, struct http_request *out,
                          struct err *err) {
    struct azure *azure = azure_of(remote);
    struct remote_put put = {0};
    char date[CLOCK_HTTP_SIZE];
    const struct credential_value *value = sync__credential_sign(remote, &put, err);
    if (value == NULL) {
        return ERR_BUSY;
    }
    int64_t now = now_utc_us + remote->skew_us;
    buf_finish(&azure->ask);
    azure->ask = (struct buf)BUF_INIT(1024);
    sync__delegation_ask(now, &azure->ask);
    const struct sign_field fields[] = {{"content-type", "application/xml"},
                                        {"x-ms-date", clock_format_http(now, date)},
                                        {"x-ms-version", API_VERSION}};
    struct sign_azure signing = {.headers = fields, .header_count = ARRAY_LENGTH(fields)};
    struct http_request request = {.method = "POST",
                                   .ca_file = remote->ca_file,
                                   .direct = azure->at.loopback,
                                   .body = azure->ask.data,
                                   .body_size = azure->ask.len};
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    buf_printf(&path, "%s/", azure->at.path);
    request.url = path.failed || azure->ask.failed
                      ? NULL
                      : url_make(azure, path.data, "restype=service&comp=userdelegationkey", NULL);
    int code = request.url == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                                   : headers_add(azure, &signing, value, &request, err);
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    *out = request;
    return 0;
}

static int azure_delegated(struct remote *remote, const struct http_reply *reply, struct err *err) {
    struct azure *azure = azure_of(remote);
    int code = ERR_DENIED;
    if (reply->status == 200) {
        code = sync__delegation_read(reply->body.data, reply->body.len, &azure->delegation, err);
    } else if (reply->status == 0) {
        *err = reply->fault;
        code = reply->fault.code;
    } else {
        err_set(err, reply->status < 500 ? ERR_DENIED : ERR_NET,
                "no key to sign links with%s (answered %d %s)",
                reply->status == 403 ? ": the identity needs the role Storage Blob Delegator" : "",
                reply->status, reply->error_code);
    }
    if (code != 0) {
        err_wrap(err, "remote %s", remote->name);
    }
    return code;
}

static int link_may(const struct azure *azure, int64_t expires_utc_us, int ttl_s, struct err *err) {
    const struct remote *remote = &azure->remote;
    if (azure->form == CREDENTIAL_SAS) {
        return err_set(err, ERR_REFUSED,
                       "remote %s has a SAS, which cannot sign links: that needs account_key or a "
                       "token",
                       remote->name);
    }
    if (azure->form == CREDENTIAL_BEARER && ttl_s > DELEGATION_LINK_MAX_S) {
        return err_set(err, ERR_INVALID, "remote %s: a link signed by a token lives at most 6 days",
                       remote->name);
    }
    if (azure->form == CREDENTIAL_BEARER &&
        !sync__delegation_lasts(&azure->delegation, expires_utc_us)) {
        return err_set(err, ERR_REFUSED,
                       "remote %s has a token, which the running sync alone can sign links with",
                       remote->name);
    }
    if (!azure->at.loopback && !azure->at.https) {
        return err_set(err, ERR_REFUSED, "remote %s: links outside this machine need an https url",
                       remote->name);
    }
    return 0;
}

static int azure_link(struct remote *remote, enum frame_tier tier, const char *key, int ttl_s,
                      int64_t now_utc_us, struct buf *out, struct err *err) {
    const struct azure *azure = azure_const(remote);
    int64_t expires_utc_us = now_utc_us + remote->skew_us + (int64_t)ttl_s * 1000000;
    int code = link_may(azure, expires_utc_us, ttl_s, err);
    if (code != 0) {
        return code;
    }
    char name[STORE_KEY_MAX + 1];
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    code = sync__remote_name(remote, key, name, err);
    if (code == 0) {
        code = path_make(azure, tier, key, &path, err);
    }
    if (code != 0) {
        return code;
    }
    bool lent = azure->form == CREDENTIAL_BEARER;
    struct sign_sas sas = {.account = azure->account,
                           .container = container_of(azure, tier),
                           .blob = name,
                           .permissions = "r",
                           .resource = "b",
                           .protocol = azure->at.loopback ? "" : "https",
                           .expires_utc_us = expires_utc_us,
                           .delegation = lent ? &azure->delegation : NULL};
    buf_printf(out, "%s://%s%s?", azure->at.https ? "https" : "http", azure->at.authority,
               path.data);
    sync__sign_azure_sas(&sas, lent ? azure->delegation.key : azure->key,
                         lent ? azure->delegation.key_size : azure->key_size, out);
    return 0;
}

const struct remote_ops sync__azure_ops = {.kind = "azure",
                                           .open = azure_open,
                                           .close = azure_close,
                                           .request = azure_request,
                                           .judge = azure_judge,
                                           .link_due = azure_link_due,
                                           .delegate = azure_delegate,
                                           .delegated = azure_delegated,
                                           .ask = azure_ask,
                                           .judge_ask = azure_judge_ask,
                                           .listing = &sync__azure_listing,
                                           .drop = sync__azure_drop,
                                           .link = azure_link};
