/* credential_azure: account keys, shared access signatures, and tokens of Microsoft Entra ID.
 *
 * Sources: Microsoft, "How to use managed identities for Azure resources on an Azure VM to acquire
 * an access token", "REST endpoint reference" of App Service identities, "Authenticate against
 * Azure resources with Azure Arc-enabled servers", "OAuth 2.0 client credentials flow".
 * Invariants:
 *  1. A token is asked for storage alone, and by one request at a time.
 *  2. The file with the federated token is read anew for each request: others rotate it.
 *  3. Azure Arc may name a file to prove that we may read it: only from its own folder, no larger
 * than its keys are.
 */
#include "daemon/base/buf.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "sync/credential.h"
#include "sync/remote.h"
#include "sync/sign.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOURCE       "https://storage.azure.com/"
#define SCOPE          "https://storage.azure.com/.default"
#define METADATA       "http://169.254.169.254"
#define METADATA_PATH  "/metadata/identity/oauth2/token"
#define AUTHORITY      "https://login.microsoftonline.com"
#define ARC_KEYS       "/var/opt/azcmagent/tokens/"
#define ARC_KEY_MAX    4096
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" /* RFC 7523 2.2 */
#define ID_CHARACTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"

/* ---- keys ---- */

static int key_open(struct credential *credential, const struct sync_remote_config *config,
                    struct err *err) {
    return sync__credential_set(&credential->secret, config->account_key, NULL,
                                "account_key: missing", err);
}

static int secret_load(struct credential *credential, struct token *out, struct err *err) {
    out->secret = mem_strdup(credential->secret);
    return out->secret != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a credential");
}

/* ---- shared access signatures ---- */

static int sas_check(const char *sas, struct err *err) {
    char permissions[32] = "", signature[256];
    if (strpbrk(sas, " \t\r\n") != NULL) {
        return err_set(err, ERR_CONFIG, "sas: holds spaces");
    }
    bool policy = strstr(sas, "si=") != NULL; /* then sp may be in the stored policy */
    bool fine = sync__token_is_clean(sas) && sync__sas_get(sas, "sig", signature, sizeof signature);
    explicit_bzero(signature, sizeof signature);
    if (!fine || (!sync__sas_get(sas, "sp", permissions, sizeof permissions) && !policy)) {
        return err_set(err, ERR_CONFIG, "sas: is no SAS token (it has sv=, sp=, se= and sig=)");
    }
    if (!policy && strpbrk(permissions, "cw") == NULL) {
        return err_set(err, ERR_CONFIG,
                       "sas: sp=%s does not allow to create blobs; it needs c (create)",
                       permissions);
    }
    return 0;
}

/* Without '?' and outer spaces, into `out`. */
static int sas_take(const char *text, char **out, struct err *err) {
    text += strspn(text, "? \t");
    char *copy = mem_strdup(text);
    if (copy == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a credential");
    }
    size_t length = strlen(copy);
    while (length > 0 && isspace((unsigned char)copy[length - 1])) {
        copy[--length] = '\0';
    }
    int code = sas_check(copy, err);
    if (code != 0) {
        sync__secret_free(copy);
        return code;
    }
    *out = copy;
    return 0;
}

static int sas_open(struct credential *credential, const struct sync_remote_config *config,
                    struct err *err) {
    if (!sync__given(config->sas)) {
        return err_set(err, ERR_CONFIG, "sas: missing; give it, or sas_file");
    }
    return sas_take(config->sas, &credential->secret, err);
}

static int sas_file_open(struct credential *credential, const struct sync_remote_config *config,
                         struct err *err) {
    return sync__credential_set(&credential->file, config->sas_file, NULL, "sas_file: missing",
                                err);
}

static int sas_file_load(struct credential *credential, struct token *out, struct err *err) {
    char *text = NULL;
    int code = sync__credential_read(credential, &text, err);
    if (code == 0) {
        code = sas_take(text, &out->secret, err);
        sync__secret_free(text);
    }
    if (code != 0) {
        err_wrap(err, "sas_file");
    }
    return code;
}

/* ---- Entra ID ---- */

static const struct credential_row entra_rows[] = {
    {"invalid_client", 0, CREDENTIAL_DENIED,
     "client_id and the secret or assertion do not fit, or the secret has ended: make a new one"},
    {"unauthorized_client", 0, CREDENTIAL_DENIED, "client_id is not known in this tenant"},
    {"invalid_grant", 0, CREDENTIAL_DENIED, "the federated token is not accepted"},
    {"invalid_scope", 0, CREDENTIAL_DENIED, "the authority does not serve this storage"},
    {"invalid_request", 0, CREDENTIAL_DENIED, "tenant_id or client_id is wrong"},
    {"invalid_resource", 0, CREDENTIAL_DENIED, "the authority does not serve this storage"},
    {"temporarily_unavailable", 0, CREDENTIAL_RETRY, "it is busy or down"},
    {NULL, 404, CREDENTIAL_DENIED, "there is no such authority or tenant: check token_url"},
};

static void form_put(struct buf *form, const struct sign_field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        buf_printf(form, "%s%s=", form->len > 0 ? "&" : "", fields[i].name);
        buf_puts_url(form, fields[i].value, false);
    }
}

static bool id_is_clean(const char *id) {
    return strspn(id, ID_CHARACTERS) == strlen(id);
}

static int entra_open(struct credential *credential, const struct sync_remote_config *config,
                      struct err *err) {
    const char *url = sync__given(config->token_url) ? config->token_url
                                                     : sync__environment("AZURE_AUTHORITY_HOST");
    int code = sync__credential_set(&credential->tenant, config->tenant_id,
                                    sync__environment("AZURE_TENANT_ID"),
                                    "tenant_id: missing, and AZURE_TENANT_ID is not set", err);
    if (code == 0) {
        code = sync__credential_set(&credential->client, config->client_id,
                                    sync__environment("AZURE_CLIENT_ID"),
                                    "client_id: missing, and AZURE_CLIENT_ID is not set", err);
    }
    if (code == 0 && (!id_is_clean(credential->tenant) || !id_is_clean(credential->client))) {
        code = err_set(err, ERR_CONFIG, "tenant_id and client_id have letters, digits, - and .");
    }
    return code != 0 ? code : sync__credential_at(credential, url != NULL ? url : AUTHORITY, err);
}

/* A grant to `credential` itself, proven by one more field or two. */
static int entra_ask(struct credential *credential, const struct sign_field *proof, size_t count,
                     struct http_request *out, struct err *err) {
    const struct sign_field fields[] = {
        {"grant_type", "client_credentials"}, {"client_id", credential->client}, {"scope", SCOPE}};
    struct buf form = BUF_INIT(TOKEN_TEXT_MAX * 4);
    char path[256];
    size_t length = 0;
    form_put(&form, fields, ARRAY_LENGTH(fields));
    form_put(&form, proof, count);
    char *body = buf_take(&form, &length);
    buf_finish(&form);
    if (body == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a request");
    }
    snprintf(path, sizeof path, "/%.200s/oauth2/v2.0/token", credential->tenant);
    return sync__credential_ask(credential, "POST", path, body, out, err);
}

static enum credential_verdict entra_judge(struct credential *credential,
                                           const struct http_reply *reply, struct token *out,
                                           struct err *err) {
    if (reply->status != 200) {
        return sync__credential_refused(credential, entra_rows, ARRAY_LENGTH(entra_rows), reply,
                                        err);
    }
    return sync__credential_read_as(
        credential, sync__token_read_oauth(reply->body.data, reply->body.len, out, err), err);
}

static int client_secret_open(struct credential *credential,
                              const struct sync_remote_config *config, struct err *err) {
    int code = entra_open(credential, config, err);
    return code != 0
               ? code
               : sync__credential_set(&credential->secret, config->client_secret,
                                      sync__environment("AZURE_CLIENT_SECRET"),
                                      "client_secret: missing, and AZURE_CLIENT_SECRET is not set",
                                      err);
}

static int client_secret_request(struct credential *credential, struct http_request *out,
                                 struct err *err) {
    const struct sign_field proof[] = {{"client_secret", credential->secret}};
    return entra_ask(credential, proof, ARRAY_LENGTH(proof), out, err);
}

static int workload_open(struct credential *credential, const struct sync_remote_config *config,
                         struct err *err) {
    int code = entra_open(credential, config, err);
    return code != 0 ? code
                     : sync__credential_set(
                           &credential->file, config->token_file,
                           sync__environment("AZURE_FEDERATED_TOKEN_FILE"),
                           "token_file: missing, and AZURE_FEDERATED_TOKEN_FILE is not set", err);
}

static int workload_request(struct credential *credential, struct http_request *out,
                            struct err *err) {
    int code = sync__credential_read(credential, &credential->pass, err);
    if (code == 0 && !sync__token_is_clean(credential->pass)) {
        code = err_set(err, ERR_CONFIG, "%s holds no token, or more than one", credential->file);
    }
    if (code != 0) {
        err_wrap(err, "the federated token (token_file)");
        return code;
    }
    const struct sign_field proof[] = {{"client_assertion_type", ASSERTION_TYPE},
                                       {"client_assertion", credential->pass}};
    return entra_ask(credential, proof, ARRAY_LENGTH(proof), out, err);
}

/* ---- managed identities ---- */

enum managed { METADATA_SERVICE = 0, APP_SERVICE, ARC, MANAGED_COUNT };

/* Which one, by what the machine's environment says. */
static enum managed managed_here(void) {
    if (sync__environment("IDENTITY_ENDPOINT") == NULL) {
        return METADATA_SERVICE;
    }
    if (sync__environment("IDENTITY_HEADER") != NULL) {
        return APP_SERVICE;
    }
    return sync__environment("IMDS_ENDPOINT") != NULL ? ARC : METADATA_SERVICE;
}

bool sync__azure_environment_offers_managed(void) {
    return managed_here() != METADATA_SERVICE;
}

static const struct {
    const char *query; /* behind the endpoint */
    const char *header;
} managed_kinds[MANAGED_COUNT] = {
    [METADATA_SERVICE] = {METADATA_PATH "?api-version=2018-02-01", "metadata"},
    [APP_SERVICE] = {"?api-version=2019-08-01", "x-identity-header"},
    [ARC] = {"?api-version=2019-11-01", "metadata"},
};

static const struct credential_row managed_rows[] = {
    {NULL, -1, CREDENTIAL_RETRY, "is this a machine of Azure, and may creel reach its address?"},
    {NULL, 400, CREDENTIAL_DENIED,
     "this machine has no managed identity, or client_id is not one of its own"},
    {NULL, 403, CREDENTIAL_DENIED, "creel's user may not ask for tokens on this machine"},
    {NULL, 404, CREDENTIAL_RETRY, "the identity is not ready yet, or this machine has none"},
    {NULL, 410, CREDENTIAL_RETRY, "the service is being updated"},
};

/* The machine's own service is meant only where nothing else was named. */
static int managed_open(struct credential *credential, const struct sync_remote_config *config,
                        struct err *err) {
    enum managed kind = sync__given(config->token_url) ? METADATA_SERVICE : managed_here();
    const char *url = kind == METADATA_SERVICE
                          ? sync__environment("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                          : sync__environment("IDENTITY_ENDPOINT");
    if (sync__given(config->token_url)) {
        url = config->token_url;
    }
    const char *header = kind == APP_SERVICE ? sync__environment("IDENTITY_HEADER") : "true";
    const char *client = sync__given(config->client_id) ? config->client_id : NULL;
    credential->kind = (int)kind;
    int code = sync__credential_set(&credential->secret, header, NULL, "", err);
    if (code == 0 && client != NULL) {
        code = sync__credential_set(&credential->client, client, NULL, "", err);
    }
    if (code == 0 && (!sync__token_is_clean(header) || (client != NULL && !id_is_clean(client)))) {
        code = err_set(err, ERR_CONFIG, "client_id or IDENTITY_HEADER holds odd characters");
    }
    return code != 0 ? code : sync__credential_at(credential, url != NULL ? url : METADATA, err);
}

static int managed_request(struct credential *credential, struct http_request *out,
                           struct err *err) {
    struct buf suffix = BUF_INIT(1024);
    buf_printf(&suffix, "%s&resource=", managed_kinds[credential->kind].query);
    buf_puts_url(&suffix, RESOURCE, false);
    if (credential->client != NULL) {
        buf_printf(&suffix, "&client_id=%s", credential->client);
    }
    int code = suffix.failed ? err_set(err, ERR_NOMEM, "no memory for a request")
                             : sync__credential_ask(credential, "GET", suffix.data, NULL, out, err);
    buf_finish(&suffix);
    const char *header = managed_kinds[credential->kind].header;
    bool added = code == 0 && sync__request_add(out, header, credential->secret);
    if (added && credential->pass != NULL) {
        added = sync__request_add(out, "authorization", credential->pass);
    }
    if (code == 0 && !added) {
        sync__request_finish(out);
        code = err_set(err, ERR_NOMEM, "no memory for a request");
    }
    return code;
}

/* "Basic realm=/var/opt/azcmagent/tokens/….key": the file's name, or NULL where it is not one that
 * Arc would name. */
static const char *arc_file(const char *challenge) {
    static const char begin[] = "Basic realm=";
    if (strncasecmp(challenge, begin, sizeof begin - 1) != 0) {
        return NULL;
    }
    const char *path = challenge + sizeof begin - 1;
    size_t length = strlen(path), folder = sizeof ARC_KEYS - 1;
    bool fits = length > folder + 4 && strncmp(path, ARC_KEYS, folder) == 0 &&
                strchr(path + folder, '/') == NULL && strcmp(path + length - 4, ".key") == 0;
    return fits ? path : NULL;
}

/* The proof for the second request. */
static int arc_answer(struct credential *credential, const char *challenge, struct err *err) {
    const char *path = arc_file(challenge);
    if (path == NULL) {
        return err_set(err, ERR_DENIED, "%s names a file outside " ARC_KEYS " to be read",
                       credential->ops->what);
    }
    struct buf text = BUF_INIT(ARC_KEY_MAX), pass = BUF_INIT(ARC_KEY_MAX + 16);
    int code = fs_read_file(path, &text, err);
    if (code == 0) {
        size_t length = strcspn(text.len > 0 ? text.data : "", "\r\n");
        buf_printf(&pass, "Basic %.*s", (int)length, text.len > 0 ? text.data : "");
        credential->pass = buf_take(&pass, &length);
        code = credential->pass == NULL ? err_set(err, ERR_NOMEM, "no memory for a token") : 0;
    } else {
        err_wrap(err, "%s wants to see a file: add creel's user to the group himds",
                 credential->ops->what);
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len);
    }
    buf_finish(&text);
    buf_finish(&pass);
    return code;
}

static enum credential_verdict managed_judge(struct credential *credential,
                                             const struct http_reply *reply, struct token *out,
                                             struct err *err) {
    if (reply->status == 401 && reply->challenge[0] != '\0' && credential->step == 0) {
        credential->step = 1;
        return arc_answer(credential, reply->challenge, err) == 0 ? CREDENTIAL_AGAIN
                                                                  : CREDENTIAL_DENIED;
    }
    if (reply->status != 200) {
        return sync__credential_refused(credential, managed_rows, ARRAY_LENGTH(managed_rows), reply,
                                        err);
    }
    return sync__credential_read_as(
        credential, sync__token_read_oauth(reply->body.data, reply->body.len, out, err), err);
}

/* ---- the table's rows ---- */

const struct credential_ops sync__account_key_ops = {.what = "the account key",
                                                     .form = CREDENTIAL_ACCOUNT_KEY,
                                                     .open = key_open,
                                                     .load = secret_load};
const struct credential_ops sync__sas_ops = {
    .what = "the SAS", .form = CREDENTIAL_SAS, .open = sas_open, .load = secret_load};
const struct credential_ops sync__sas_file_ops = {.what = "the SAS of sas_file",
                                                  .form = CREDENTIAL_SAS,
                                                  .open = sas_file_open,
                                                  .load = sas_file_load};
const struct credential_ops sync__client_secret_ops = {.what = "the authority (client_secret)",
                                                       .form = CREDENTIAL_BEARER,
                                                       .open = client_secret_open,
                                                       .request = client_secret_request,
                                                       .judge = entra_judge};
const struct credential_ops sync__workload_ops = {.what = "the authority (token_file)",
                                                  .form = CREDENTIAL_BEARER,
                                                  .open = workload_open,
                                                  .request = workload_request,
                                                  .judge = entra_judge};
const struct credential_ops sync__managed_ops = {.what = "the managed identity",
                                                 .form = CREDENTIAL_BEARER,
                                                 .open = managed_open,
                                                 .request = managed_request,
                                                 .judge = managed_judge};
