/* credential: the front of all ways to come by a credential, and the life of a value.
 *
 * Invariants:
 *  1. At most one value; it is replaced whole, and what it was is wiped.
 *  2. A failure never takes a value away that has not ended.
 *  3. A rejected value is gone only where another may be had: the last word of a key that a person
 * gave is the server's "no" to it, not our "there is none".
 *  4. No text of an error holds a secret: services' words are masked with all that we know.
 * Rejected: going through every way in turn until one answers, as the vendors' libraries do. It
 * hides a typing error behind another identity, and waits for a metadata service that is not there;
 * creel takes the first way that was offered, says which, and asks a machine's own service only
 * where `credential` names it or the machine's environment does.
 */
#include "sync/credential.h"
#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "sync/remote.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define US_PER_S 1000000

bool sync__given(const char *text) {
    return text != NULL && text[0] != '\0';
}

const char *sync__environment(const char *name) {
    const char *value = getenv(name);
    return sync__given(value) ? value : NULL;
}

/* ---- which way ---- */

static bool key_offered(const struct sync_remote_config *config) {
    return sync__given(config->account_key);
}

static bool sas_offered(const struct sync_remote_config *config) {
    return sync__given(config->sas);
}

static bool sas_file_offered(const struct sync_remote_config *config) {
    return sync__given(config->sas_file);
}

static bool client_secret_offered(const struct sync_remote_config *config) {
    return sync__given(config->client_secret) ||
           (!sync__given(config->token_file) && sync__environment("AZURE_CLIENT_SECRET") != NULL);
}

static bool workload_offered(const struct sync_remote_config *config) {
    return sync__given(config->token_file) ||
           sync__environment("AZURE_FEDERATED_TOKEN_FILE") != NULL;
}

static bool managed_offered(const struct sync_remote_config *config) {
    (void)config;
    return sync__azure_environment_offers_managed();
}

static bool aws_key_offered(const struct sync_remote_config *config) {
    return sync__given(config->access_key) || sync__given(config->secret_key);
}

static bool web_config_offered(const struct sync_remote_config *config) {
    return sync__given(config->token_file) || sync__given(config->role_arn);
}

static bool profile_config_offered(const struct sync_remote_config *config) {
    return sync__given(config->profile) || sync__given(config->credentials_file);
}

static bool aws_environment_offered(const struct sync_remote_config *config) {
    (void)config;
    return sync__environment("AWS_ACCESS_KEY_ID") != NULL ||
           sync__environment("AWS_SECRET_ACCESS_KEY") != NULL;
}

static bool web_environment_offered(const struct sync_remote_config *config) {
    (void)config;
    return sync__environment("AWS_WEB_IDENTITY_TOKEN_FILE") != NULL;
}

static bool profile_environment_offered(const struct sync_remote_config *config) {
    (void)config;
    return sync__environment("AWS_PROFILE") != NULL ||
           sync__environment("AWS_SHARED_CREDENTIALS_FILE") != NULL;
}

static bool container_offered(const struct sync_remote_config *config) {
    (void)config;
    return sync__environment("AWS_CONTAINER_CREDENTIALS_FULL_URI") != NULL ||
           sync__environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != NULL;
}

static bool never_offered(const struct sync_remote_config *config) {
    (void)config;
    return false; /* has to be named */
}

static const struct way {
    enum sync_kind kind;
    enum sync_credential name;
    const struct credential_ops *ops;
    bool (*offered)(const struct sync_remote_config *config);
} ways[] = {
    /* in this order for "auto" */
    {SYNC_AZURE, SYNC_CREDENTIAL_KEY, &sync__account_key_ops, key_offered},
    {SYNC_AZURE, SYNC_CREDENTIAL_SAS, &sync__sas_ops, sas_offered},
    {SYNC_AZURE, SYNC_CREDENTIAL_SAS, &sync__sas_file_ops, sas_file_offered},
    {SYNC_AZURE, SYNC_CREDENTIAL_CLIENT_SECRET, &sync__client_secret_ops, client_secret_offered},
    {SYNC_AZURE, SYNC_CREDENTIAL_WORKLOAD_IDENTITY, &sync__workload_ops, workload_offered},
    {SYNC_AZURE, SYNC_CREDENTIAL_MANAGED_IDENTITY, &sync__managed_ops, managed_offered},
    {SYNC_S3, SYNC_CREDENTIAL_KEY, &sync__aws_key_ops, aws_key_offered},
    {SYNC_S3, SYNC_CREDENTIAL_WEB_IDENTITY, &sync__aws_web_ops, web_config_offered},
    {SYNC_S3, SYNC_CREDENTIAL_PROFILE, &sync__aws_profile_ops, profile_config_offered},
    {SYNC_S3, SYNC_CREDENTIAL_ENVIRONMENT, &sync__aws_environment_ops, aws_environment_offered},
    {SYNC_S3, SYNC_CREDENTIAL_WEB_IDENTITY, &sync__aws_web_ops, web_environment_offered},
    {SYNC_S3, SYNC_CREDENTIAL_PROFILE, &sync__aws_profile_ops, profile_environment_offered},
    {SYNC_S3, SYNC_CREDENTIAL_CONTAINER, &sync__aws_container_ops, container_offered},
    {SYNC_S3, SYNC_CREDENTIAL_INSTANCE, &sync__aws_instance_ops, never_offered},
};

/* Several ways have one name: the one that is offered, else the first. */
static const struct way *way_find(const struct sync_remote_config *config) {
    const struct way *named = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        bool fits = ways[i].kind == config->kind && (config->credential == SYNC_CREDENTIAL_AUTO ||
                                                     ways[i].name == config->credential);
        if (fits && ways[i].offered(config)) {
            return &ways[i];
        }
        if (fits && named == NULL && config->credential != SYNC_CREDENTIAL_AUTO) {
            named = &ways[i];
        }
    }
    return named;
}

static int way_none(const struct sync_remote_config *config, struct err *err) {
    if (config->credential != SYNC_CREDENTIAL_AUTO) {
        return err_set(err, ERR_CONFIG,
                       config->kind == SYNC_AZURE
                           ? "credential: azure has key, sas, client-secret, workload-identity and "
                             "managed-identity"
                           : "credential: s3 has key, environment, profile, web-identity, "
                             "container and instance");
    }
    return err_set(
        err, ERR_CONFIG,
        config->kind == SYNC_AZURE
            ? "no credential: give one of connection_string, account_key, sas, sas_file, "
              "client_secret and token_file, or credential: managed-identity"
            : "no credential: give access_key, profile or token_file, set AWS_ACCESS_KEY_ID, or "
              "credential: instance");
}

/* What is given is there from the start. A file's faults wait until the value is wanted: it may
 * come later, and capture must not wait for it. */
static int load_first(struct credential *credential, struct err *err) {
    if (credential->ops->load == NULL) {
        return 0;
    }
    struct http_request none = {0};
    struct err fault = {0};
    enum credential_verdict verdict = sync__credential_begin(credential, &none, &fault);
    if (verdict == CREDENTIAL_READY || credential->file != NULL) {
        return 0;
    }
    if (err != NULL) {
        *err = fault;
    }
    return fault.code;
}

int sync__credential_open(const struct sync_remote_config *config, struct credential **out,
                          struct err *err) {
    const struct way *way = way_find(config);
    if (way == NULL) {
        return way_none(config, err);
    }
    struct credential *credential = mem_alloc(sizeof *credential);
    if (credential == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a credential");
    }
    credential->ops = way->ops;
    int code = way->ops->open(credential, config, err);
    if (code == 0) {
        code = load_first(credential, err);
    }
    if (code != 0) {
        sync__credential_close(credential);
        return code;
    }
    *out = credential;
    return 0;
}

/* ---- the value ---- */

static void value_wipe(struct credential_value *value) {
    free(value->id);
    sync__secret_free(value->secret);
    sync__secret_free(value->session);
    *value = (struct credential_value){0};
}

static void body_wipe(struct credential *credential) {
    if (credential->body != NULL) {
        explicit_bzero(credential->body, credential->body_size);
        free(credential->body);
    }
    credential->body = NULL;
    credential->body_size = 0;
}

static void conversation_wipe(struct credential *credential) {
    body_wipe(credential);
    sync__secret_free(credential->pass);
    free(credential->name);
    credential->pass = credential->name = NULL;
    credential->step = 0;
    credential->steps = 0;
}

void sync__credential_close(struct credential *credential) {
    if (credential == NULL) {
        return;
    }
    value_wipe(&credential->value);
    conversation_wipe(credential);
    sync__secret_free(credential->secret);
    sync__secret_free(credential->session);
    char *const owned[] = {credential->client,       credential->tenant,  credential->role,
                           credential->session_name, credential->profile, credential->file};
    for (size_t i = 0; i < ARRAY_LENGTH(owned); i++) {
        free(owned[i]);
    }
    free(credential);
}

/* The life that is left: by the service's clock where it said what time it is. */
static int64_t life_of(const struct token *token, int64_t service_utc_us) {
    if (token->life_s > 0) {
        return token->life_s * US_PER_S;
    }
    int64_t now = service_utc_us != 0 ? service_utc_us : clock_utc_us();
    int64_t life = token->ends_utc_us - now;
    return life < TOKEN_LIFE_MAX_S * US_PER_S ? life : TOKEN_LIFE_MAX_S * US_PER_S;
}

/* False when it has ended already. */
static bool value_take(struct credential *credential, struct token *token, int64_t service_utc_us) {
    bool ends = token->life_s > 0 || token->ends_utc_us != 0;
    int64_t life = ends ? life_of(token, service_utc_us) : 0, now_us = clock_boot_us();
    if (ends && life <= 0) {
        sync__token_finish(token);
        return false;
    }
    value_wipe(&credential->value);
    struct credential_value *value = &credential->value;
    *value = (struct credential_value){.id = token->id,
                                       .secret = token->secret,
                                       .session = token->session,
                                       .ends_us = INT64_MAX,
                                       .renew_us = INT64_MAX};
    *token = (struct token){0};
    if (ends) {
        int64_t margin = life / 5 < CREDENTIAL_MARGIN_US ? life / 5 : CREDENTIAL_MARGIN_US;
        value->ends_us = now_us + life;
        value->renew_us = value->ends_us - margin;
    }
    credential->generation++;
    return true;
}

const struct credential_value *sync__credential_get(const struct credential *credential,
                                                    int64_t now_us) {
    const struct credential_value *value = &credential->value;
    return value->secret != NULL && now_us < value->ends_us ? value : NULL;
}

/* True when the file is another than the one that was read; false too where it cannot be seen. */
static bool file_changed(const struct credential *credential) {
    struct stat now;
    const struct stat *seen = &credential->seen;
    return credential->ops->load != NULL && credential->file != NULL &&
           stat(credential->file, &now) == 0 &&
           (now.st_mtim.tv_sec != seen->st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != seen->st_mtim.tv_nsec || now.st_size != seen->st_size ||
            now.st_ino != seen->st_ino || now.st_dev != seen->st_dev);
}

bool sync__credential_due(struct credential *credential, int64_t now_us) {
    const struct credential_value *value = &credential->value;
    if (credential->asking) {
        return false;
    }
    if (value->secret == NULL || now_us >= value->ends_us) {
        return true;
    }
    if (now_us < credential->retry_us) {
        return false;
    }
    if (now_us >= value->renew_us) {
        return true;
    }
    if (now_us - credential->looked_us < CREDENTIAL_LOOK_US) {
        return false;
    }
    credential->looked_us = now_us;
    return file_changed(credential);
}

bool sync__credential_rejected(struct credential *credential, unsigned generation) {
    bool given = credential->ops->load != NULL && credential->file == NULL;
    if (given) {
        return false;
    }
    if (generation != credential->generation) {
        return true; /* there is another already */
    }
    bool renewable = credential->ops->load == NULL || file_changed(credential);
    if (renewable) {
        value_wipe(&credential->value);
    }
    return renewable;
}

/* ---- conversations ---- */

static enum credential_verdict verdict_of(int code) {
    return code == ERR_NOMEM || code == ERR_NET || code == ERR_TIMEOUT || code == ERR_BUSY
               ? CREDENTIAL_RETRY
               : CREDENTIAL_DENIED;
}

static enum credential_verdict ask(struct credential *credential, struct http_request *out,
                                   struct err *err) {
    body_wipe(credential);
    if (++credential->steps > CREDENTIAL_STEPS_MAX) {
        conversation_wipe(credential);
        err_set(err, ERR_NET, "%s keeps asking for more", credential->ops->what);
        return CREDENTIAL_RETRY;
    }
    int code = credential->ops->request(credential, out, err);
    if (code != 0) {
        conversation_wipe(credential);
        return verdict_of(code);
    }
    out->ca_file = credential->ca_file;
    out->proxy = out->direct ? NULL : credential->proxy;
    return CREDENTIAL_AGAIN;
}

enum credential_verdict sync__credential_begin(struct credential *credential,
                                               struct http_request *out, struct err *err) {
    conversation_wipe(credential);
    if (credential->ops->load == NULL) {
        return ask(credential, out, err);
    }
    CLEANUP(sync__token_finish) struct token token = {0};
    int code = credential->ops->load(credential, &token, err);
    if (code != 0) {
        return verdict_of(code);
    }
    (void)value_take(credential, &token, 0);
    return CREDENTIAL_READY;
}

enum credential_verdict sync__credential_judge(struct credential *credential,
                                               const struct http_reply *reply,
                                               struct http_request *out, struct err *err) {
    CLEANUP(sync__token_finish) struct token token = {0};
    enum credential_verdict verdict = credential->ops->judge(credential, reply, &token, err);
    if (verdict == CREDENTIAL_AGAIN) {
        return ask(credential, out, err);
    }
    conversation_wipe(credential);
    if (verdict == CREDENTIAL_READY && !value_take(credential, &token, reply->date_utc_us)) {
        err_set(err, ERR_NET, "%s gave a token that has ended already", credential->ops->what);
        verdict = CREDENTIAL_RETRY;
    }
    return verdict;
}

/* ---- for providers ---- */

int sync__credential_set(char **field, const char *first, const char *second, const char *missing,
                         struct err *err) {
    const char *text = sync__given(first) ? first : second;
    if (!sync__given(text)) {
        return err_set(err, ERR_CONFIG, "%s", missing);
    }
    *field = mem_strdup(text);
    return *field != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a credential");
}

int sync__credential_at(struct credential *credential, const char *url, struct err *err) {
    int code = sync__address_parse(url, &credential->at, err);
    if (code != 0) {
        err_wrap(err, "the address of %s", credential->ops->what);
        return code;
    }
    const struct address *at = &credential->at;
    if (!at->https && !at->loopback && !at->link_local) {
        return err_set(err, ERR_CONFIG, "%s would be asked over plain http at %s: use https",
                       credential->ops->what, at->authority);
    }
    return 0;
}

int sync__credential_read(struct credential *credential, char **out, struct err *err) {
    struct buf text = BUF_INIT(CREDENTIAL_FILE_MAX);
    struct stat seen = {0};
    (void)stat(credential->file, &seen); /* before reading: a later change is seen as one */
    int code = fs_read_file(credential->file, &text, err);
    if (code == ERR_FULL) {
        code = err_set(err, ERR_CONFIG, "%s is too large for %s", credential->file,
                       credential->ops->what);
    }
    if (code == 0) {
        size_t begin = 0, end = text.len;
        while (begin < end && isspace((unsigned char)text.data[begin])) {
            begin++;
        }
        while (end > begin && isspace((unsigned char)text.data[end - 1])) {
            end--;
        }
        char *copy = mem_alloc(end - begin + 1);
        if (copy == NULL) {
            code = err_set(err, ERR_NOMEM, "no memory for %s", credential->ops->what);
        } else {
            memcpy(copy, end > begin ? text.data + begin : "", end - begin);
            *out = copy;
            credential->seen = seen;
        }
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len);
    }
    buf_finish(&text);
    return code;
}

int sync__credential_ask(struct credential *credential, const char *method, const char *suffix,
                         char *form, struct http_request *out, struct err *err) {
    const struct address *at = &credential->at;
    struct buf url = BUF_INIT(SYNC_LINK_MAX);
    body_wipe(credential);
    credential->body = form;
    credential->body_size = form != NULL ? strlen(form) : 0;
    buf_printf(&url, "%s://%s%s%s", at->https ? "https" : "http", at->authority, at->path, suffix);
    size_t length = 0;
    *out = (struct http_request){.method = method,
                                 .url = buf_take(&url, &length),
                                 .body = credential->body,
                                 .body_size = credential->body_size,
                                 .direct = at->loopback || at->link_local};
    out->connect_ms = out->direct ? CREDENTIAL_CONNECT_MS : 0;
    buf_finish(&url);
    if (out->url == NULL ||
        (form != NULL &&
         !sync__request_add(out, "content-type", "application/x-www-form-urlencoded"))) {
        sync__request_finish(out);
        return err_set(err, ERR_NOMEM, "no memory for a request");
    }
    return 0;
}

static const struct credential_row *row_find(const struct credential_row *rows, size_t count,
                                             const char *code, int status) {
    for (size_t i = 0; i < count; i++) {
        bool code_fits = rows[i].code == NULL || strcmp(rows[i].code, code) == 0;
        if (code_fits && (rows[i].status == 0 || rows[i].status == status)) {
            return &rows[i];
        }
    }
    return NULL;
}

static void fault_mask(const struct credential *credential, struct token_fault *fault) {
    const char *const secrets[] = {credential->secret, credential->pass, credential->value.secret,
                                   credential->value.session};
    for (size_t i = 0; i < ARRAY_LENGTH(secrets); i++) {
        sync__token_mask(fault->message, secrets[i]);
    }
    sync__redact(fault->message);
}

enum credential_verdict sync__credential_refused(const struct credential *credential,
                                                 const struct credential_row *rows, size_t count,
                                                 const struct http_reply *reply, struct err *err) {
    const char *what = credential->ops->what;
    if (reply->status == 0) {
        const struct credential_row *silent = row_find(rows, count, "", -1);
        if (err != NULL) {
            *err = reply->fault;
        }
        if (silent != NULL && reply->fault.code != ERR_CLOSED) {
            err_wrap(err, "%s at %s does not answer: %s", what, credential->at.authority,
                     silent->hint);
        } else {
            err_wrap(err, "%s at %s", what, credential->at.authority);
        }
        return reply->fault.code == ERR_DENIED ? CREDENTIAL_DENIED : CREDENTIAL_RETRY;
    }
    static const struct credential_row odd = {NULL, 0, CREDENTIAL_RETRY,
                                              "an answer that makes no sense here"};
    static const struct credential_row elsewhere = {
        NULL, 0, CREDENTIAL_RETRY,
        "it sends us elsewhere, and creel does not follow: check token_url, and whether this "
        "network wants a login"};
    static const struct credential_row busy = {NULL, 0, CREDENTIAL_RETRY, "it is busy or down"};
    static const struct credential_row denied = {NULL, 0, CREDENTIAL_DENIED, "refused"};
    struct token_fault fault;
    sync__token_read_fault(reply->body.data, reply->body.len, &fault);
    fault_mask(credential, &fault);
    int status = reply->status;
    const struct credential_row *row = row_find(rows, count, fault.code, status);
    if (row == NULL) {
        bool later = status == 408 || status == 429 || status >= 500;
        row = status < 300 ? &odd : status < 400 ? &elsewhere : later ? &busy : &denied;
    }
    bool told = fault.message[0] != '\0';
    err_set(err, row->verdict == CREDENTIAL_RETRY ? ERR_NET : ERR_DENIED,
            "%s at %s: %s: answered %d%s%s%s%s%s", what, credential->at.authority, row->hint,
            status, fault.code[0] != '\0' ? " " : "", fault.code, told ? " (" : "", fault.message,
            told ? ")" : "");
    if (err != NULL) {
        err->http_status = status;
        err->retry_after_ms = reply->retry_after_ms;
    }
    return row->verdict;
}

enum credential_verdict sync__credential_read_as(const struct credential *credential, int code,
                                                 struct err *err) {
    if (code == 0) {
        return CREDENTIAL_READY;
    }
    err_wrap(err, "%s at %s", credential->ops->what, credential->at.authority);
    return code == ERR_NOMEM ? CREDENTIAL_RETRY : CREDENTIAL_DENIED;
}
