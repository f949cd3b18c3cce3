/* azure: Blob Storage by Put Blob (azure_blocks.c: large objects in blocks), with an account key
 * (SharedKey), a SAS or a token (Bearer).
 *
 * Goal: one request an object where all goes well, and no receipt without proof.
 * Invariants:
 *  1. Every Put Blob carries If-None-Match: *, so it never replaces anything, and the CRC-64 of its
 * bytes, which the service checks.
 *  2. A 201 is a receipt only when its CRC-64 is ours, or its Content-MD5 where a server sends that
 * alone (Azurite); else HEAD decides.
 *  3. "Exists" (409, 412, or what a create-only SAS is told) is a receipt only after HEAD; where
 * the SAS may not read, it is the weaker kind.
 *  4. A SAS is appended as it was given. Its sig= is in no error text: no url is.
 *  5. Metadata names are [a-z0-9] only: the service sorts x-ms-* for signing by the rules of a
 * language. Two forms of endpoint: account in the host (production) or as first segment of the path
 * (Azurite, IoT Edge). Rejected: Put Block for small objects (two requests), Content-MD5 (a third
 * of what an upload costs the CPU; the service works it out and stores it by itself), HEAD before
 * PUT (a second request for the common case).
 */
#include "sync/azure.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/ask.h"
#include "sync/drop.h"
#include "sync/listing.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct azure *azure_of(struct remote *remote) {
    return (struct azure *)(void *)remote;
}

static const struct azure *azure_const(const struct remote *remote) {
    return (const struct azure *)(const void *)remote;
}

/* ---- opening ---- */

static bool container_is_valid(const char *name) {
    size_t length = strlen(name);
    return length >= 3 && length <= AZURE_CONTAINER_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length && name[0] != '-' &&
           name[length - 1] != '-' && strstr(name, "--") == NULL;
}

static int containers_set(struct azure *azure, const struct sync_remote_config *config,
                          struct err *err) {
    static const char *const defaults[AZURE_CONTAINERS] = {"annotated", "unannotated", "creel"};
    for (size_t i = 0; i < AZURE_CONTAINERS; i++) {
        const char *name = i == AZURE_REST ? config->container_rest : config->containers[i];
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
    if (length < 3 || length > AZURE_ACCOUNT_MAX) {
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

/* How large objects go up, and what every blob is given. */
static int properties_set(struct azure *azure, const struct sync_remote_config *config,
                          struct err *err) {
    static const char *const tiers[] = {"Hot", "Cool", "Cold", "Archive"};
    azure->version = AZURE_VERSION;
    azure->limits =
        (struct parts_limits){.above = config->parts_above_bytes, .part_bytes = config->part_bytes};
    for (size_t i = 0; given(config->access_tier) && i < ARRAY_LENGTH(tiers); i++) {
        if (strcasecmp(config->access_tier, tiers[i]) == 0) {
            snprintf(azure->access_tier, sizeof azure->access_tier, "%s", tiers[i]);
        }
    }
    if (given(config->access_tier) && azure->access_tier[0] == '\0') {
        return err_set(err, ERR_CONFIG,
                       "access_tier: \"%.32s\" is none of hot, cool, cold, archive",
                       config->access_tier);
    }
    if (strcmp(azure->access_tier, "Cold") == 0) {
        azure->version = AZURE_VERSION_COLD;
    }
    return sync__tags_set(config->tags, azure->tags, err);
}

static int endpoint_set(struct azure *azure, const struct sync_remote_config *config,
                        const struct connection *connection, struct err *err) {
    char url[128];
    const char *endpoint = given(config->url) ? config->url : connection->endpoint;
    if (endpoint == NULL && given(config->account) &&
        strlen(config->account) <= AZURE_ACCOUNT_MAX) {
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
    snprintf(remote->origin, sizeof remote->origin, "%s://%s", azure->at.https ? "https" : "http",
             azure->at.authority);
    const char *parts[] = {"azure",
                           azure->at.authority,
                           azure->at.path,
                           azure->account,
                           azure->containers[TIER_ANNOTATED],
                           azure->containers[TIER_UNANNOTATED],
                           azure->containers[AZURE_REST]};
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
    if (code == 0) {
        code = properties_set(azure, config, err);
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

const char *sync__azure_container(const struct azure *azure, enum frame_tier tier) {
    return azure->containers[(unsigned)tier < TIER_COUNT ? (unsigned)tier : AZURE_REST];
}

/* The encoded path of the blob, or of its container alone. */
static int path_make(const struct azure *azure, enum frame_tier tier, const char *key,
                     struct buf *out, struct err *err) {
    buf_printf(out, "%s/%s", azure->at.path, sync__azure_container(azure, tier));
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

static char *url_make(const struct azure *azure, const char *path, const struct sign_field *query,
                      size_t query_count, const char *sas) {
    struct buf url = BUF_INIT(SYNC_LINK_MAX * 2);
    buf_printf(&url, "%s://%s%s", azure->at.https ? "https" : "http", azure->at.authority, path);
    char mark = '?';
    for (size_t i = 0; i < query_count; i++) {
        buf_printf(&url, "%c", mark);
        buf_puts_url(&url, query[i].name, false);
        buf_puts(&url, "=");
        buf_puts_url(&url, query[i].value, false);
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

size_t sync__azure_blob_fields(const struct azure *azure, struct remote_object *object,
                               struct azure_facts *facts, struct sign_field *out) {
    hash_hex(object->sha256.bytes, sizeof object->sha256.bytes, facts->sha256);
    snprintf(facts->width, sizeof facts->width, "%u", object->width);
    snprintf(facts->height, sizeof facts->height, "%u", object->height);
    const struct sign_field fields[] = {
        {"if-none-match", "*"},
        {"x-ms-blob-cache-control", "public, max-age=31536000, immutable"},
        {"x-ms-meta-sha256", facts->sha256},
        {"x-ms-meta-width", facts->width},
        {"x-ms-meta-height", facts->height},
    };
    size_t count = ARRAY_LENGTH(fields) - (object->width == 0 || object->height == 0 ? 2 : 0);
    memcpy(out, fields, count * sizeof fields[0]);
    if (azure->access_tier[0] != '\0') {
        out[count++] = (struct sign_field){"x-ms-access-tier", azure->access_tier};
    }
    if (azure->tags[0] != '\0') {
        out[count++] = (struct sign_field){"x-ms-tags", azure->tags};
    }
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

int sync__azure_ask(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                    const struct azure_ask *ask, struct http_request *out, struct err *err) {
    struct remote *remote = &azure->remote;
    const struct credential_value *value = sync__credential_sign(remote, put, err);
    if (value == NULL) {
        return ERR_BUSY;
    }
    CLEANUP(buf_finish) struct buf path = BUF_INIT(SYNC_LINK_MAX);
    int code =
        path_make(azure, put->object->tier, ask->container ? NULL : put->object->key, &path, err);
    if (code != 0) {
        return code;
    }
    put->signed_utc_us = now_utc_us + remote->skew_us;
    char date[CLOCK_HTTP_SIZE];
    struct sign_field fields[SIGN_FIELDS_MAX];
    for (size_t i = 0; i < ask->field_count; i++) {
        fields[i] = ask->fields[i];
    }
    fields[ask->field_count] =
        (struct sign_field){"x-ms-date", clock_format_http(put->signed_utc_us, date)};
    fields[ask->field_count + 1] = (struct sign_field){"x-ms-version", azure->version};
    struct http_request request = {.method = ask->method,
                                   .ca_file = remote->ca_file,
                                   .direct = azure->at.loopback,
                                   .body = ask->body,
                                   .body_size = ask->body_size,
                                   .reply_max = ask->reply_max};
    struct sign_azure signing = {.method = ask->method,
                                 .account = azure->account,
                                 .path = path.data,
                                 .headers = fields,
                                 .header_count = ask->field_count + 2,
                                 .query = ask->query,
                                 .query_count = ask->query_count,
                                 .content_length = ask->body_size};
    request.url = url_make(azure, path.data, ask->query, ask->query_count,
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

static int azure_ask(struct remote *remote, struct remote_ask *ask, int64_t now_utc_us,
                     struct http_request *out, struct err *err) {
    const struct azure_ask like = {.method = ask->method,
                                   .container = ask->key == NULL,
                                   .query = ask->query,
                                   .query_count = ask->query_count,
                                   .fields = ask->headers,
                                   .field_count = ask->header_count,
                                   .body = ask->body,
                                   .body_size = ask->body_size,
                                   .reply_max = ask->reply_max};
    return sync__azure_ask(azure_of(remote), &ask->put, now_utc_us, &like, out, err);
}

static int ask_put(struct azure *azure, struct remote_put *put, int64_t now_utc_us,
                   struct http_request *out, struct err *err) {
    struct azure_facts facts;
    struct sign_field fields[SIGN_FIELDS_MAX];
    size_t count = sync__azure_blob_fields(azure, put->object, &facts, fields);
    fields[count++] = (struct sign_field){"x-ms-content-crc64", sync__object_crc64(put->object)};
    fields[count++] = (struct sign_field){"content-type", sync__media_type(put->object->media)};
    fields[count++] = (struct sign_field){"x-ms-blob-type", "BlockBlob"};
    struct azure_ask ask = {.method = "PUT",
                            .fields = fields,
                            .field_count = count,
                            .body = put->object->bytes,
                            .body_size = put->object->size};
    return sync__azure_ask(azure, put, now_utc_us, &ask, out, err);
}

static int azure_request(struct remote *remote, struct remote_put *put, int64_t now_utc_us,
                         struct http_request *out, struct err *err) {
    static const struct sign_field create_query[] = {{"restype", "container"}};
    static const struct azure_ask create = {
        .method = "PUT", .container = true, .query = create_query, .query_count = 1};
    static const struct azure_ask head = {.method = "HEAD"};
    struct azure *azure = azure_of(remote);
    int code = sync__azure_blocks_begin(azure, put, err);
    if (code != 0) {
        return code;
    }
    switch (put->step) {
    case REMOTE_PUT:
        return ask_put(azure, put, now_utc_us, out, err);
    case REMOTE_HEAD:
        return sync__azure_ask(azure, put, now_utc_us, &head, out, err);
    case REMOTE_CREATE:
        return sync__azure_ask(azure, put, now_utc_us, &create, out, err);
    default:
        return sync__azure_blocks_request(azure, put, now_utc_us, out, err);
    }
}

static enum remote_verdict azure_judge_ask(struct remote *remote, struct remote_ask *ask,
                                           const struct http_reply *reply, struct err *err) {
    ask->put.step = REMOTE_ASK;
    return sync__azure_judge_other(azure_of(remote), &ask->put, reply, err);
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
                                        {"x-ms-version", azure->version}};
    static const struct sign_field query[] = {{"restype", "service"},
                                              {"comp", "userdelegationkey"}};
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
                      : url_make(azure, path.data, query, ARRAY_LENGTH(query), NULL);
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
                           .container = sync__azure_container(azure, tier),
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
                                           .link_due = azure_link_due,
                                           .delegate = azure_delegate,
                                           .delegated = azure_delegated,
                                           .ask = azure_ask,
                                           .judge_ask = azure_judge_ask,
                                           .listing = &sync__azure_listing,
                                           .drop = sync__azure_drop,
                                           .judge = sync__azure_judge,
                                           .link = azure_link};
