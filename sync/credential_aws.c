/* credential_aws: AWS keys: given, of the environment, of a profile, and temporary ones.
 *
 * Sources: AWS, "Use IMDSv2", "Container credential provider", "AssumeRoleWithWebIdentity",
 * "Configuration and credential file settings".
 * Invariants:
 *  1. The metadata service is asked in its second version only: token first.
 *  2. The file with the identity token is read anew for each request: others rotate it.
 *  3. The container's and the machine's service are asked directly, never through a proxy.
 */
#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include "sync/credential.h"
#include "sync/remote.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METADATA       "http://169.254.169.254"
#define ROLES          "/latest/meta-data/iam/security-credentials/"
#define CONTAINER      "http://169.254.170.2"
#define PASS_LIFE      "21600" /* seconds; the most that is allowed */
#define ROLE_NAME_MAX  512
#define DEFAULT_REGION "us-east-1"

/* ---- given keys ---- */

static int pair_set(struct credential *credential, const char *access, const char *secret,
                    const char *session, struct err *err) {
    const char *const texts[] = {access, secret, session};
    char **const fields[] = {&credential->client, &credential->secret, &credential->session};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (!sync__given(texts[i])) {
            continue;
        }
        if (!sync__token_is_clean(texts[i]) || (i == 0 && strchr(texts[i], '/') != NULL)) {
            return err_set(err, ERR_CONFIG, "access_key or secret_key: holds spaces");
        }
        *fields[i] = mem_strdup(texts[i]);
        if (*fields[i] == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for a credential");
        }
    }
    return 0;
}

static int key_open(struct credential *credential, const struct sync_remote_config *config,
                    struct err *err) {
    if (!sync__given(config->access_key)) {
        return err_set(err, ERR_CONFIG, "access_key: missing");
    }
    if (!sync__given(config->secret_key)) {
        return err_set(err, ERR_CONFIG, "secret_key: missing");
    }
    return pair_set(credential, config->access_key, config->secret_key, config->session_token, err);
}

static int environment_open(struct credential *credential, const struct sync_remote_config *config,
                            struct err *err) {
    (void)config;
    const char *access = sync__environment("AWS_ACCESS_KEY_ID");
    const char *secret = sync__environment("AWS_SECRET_ACCESS_KEY");
    if (access == NULL || secret == NULL) {
        return err_set(err, ERR_CONFIG, "%s is not set",
                       access == NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
    }
    return pair_set(credential, access, secret, sync__environment("AWS_SESSION_TOKEN"), err);
}

static int pair_load(struct credential *credential, struct token *out, struct err *err) {
    const char *session = credential->session;
    struct token token = {.id = mem_strdup(credential->client),
                          .secret = mem_strdup(credential->secret),
                          .session = session != NULL ? mem_strdup(session) : NULL};
    bool missing =
        token.id == NULL || token.secret == NULL || (session != NULL && token.session == NULL);
    if (missing) {
        sync__token_finish(&token);
        return err_set(err, ERR_NOMEM, "no memory for a credential");
    }
    *out = token;
    return 0;
}

/* ---- a profile ---- */

static const char *home(void) {
    const char *given = sync__environment("HOME");
    const struct passwd *user = given == NULL ? getpwuid(getuid()) : NULL;
    return given != NULL ? given : user != NULL ? user->pw_dir : "/";
}

static int profile_open(struct credential *credential, const struct sync_remote_config *config,
                        struct err *err) {
    char path[512];
    const char *file = sync__given(config->credentials_file)
                           ? config->credentials_file
                           : sync__environment("AWS_SHARED_CREDENTIALS_FILE");
    const char *profile =
        sync__given(config->profile) ? config->profile : sync__environment("AWS_PROFILE");
    int length = snprintf(path, sizeof path, "%s/.aws/credentials", home());
    if (file == NULL && length >= (int)sizeof path) {
        return err_set(err, ERR_CONFIG, "credentials_file: the home directory's name is too long");
    }
    int code = sync__credential_set(&credential->file, file, path, "", err);
    return code != 0 ? code
                     : sync__credential_set(&credential->profile, profile, "default", "", err);
}

static int profile_load(struct credential *credential, struct token *out, struct err *err) {
    char *text = NULL;
    int code = sync__credential_read(credential, &text, err);
    if (code == 0) {
        code = sync__token_read_profile(text, strlen(text), credential->profile, out, err);
        sync__secret_free(text);
    }
    if (code != 0) {
        err_wrap(err, "credentials file %s", credential->file);
    }
    return code;
}

/* ---- a web identity ---- */

static const struct credential_row web_rows[] = {
    {"ExpiredTokenException", 0, CREDENTIAL_DENIED,
     "the identity token has ended, and nobody put a new one into token_file"},
    {"InvalidIdentityToken", 0, CREDENTIAL_DENIED,
     "the identity token is not accepted: check its issuer and audience in IAM"},
    {"AccessDenied", 0, CREDENTIAL_DENIED,
     "the role's trust policy does not let this identity in (sts:AssumeRoleWithWebIdentity)"},
    {"ValidationError", 0, CREDENTIAL_DENIED, "role_arn is wrong"},
    {"RegionDisabledException", 0, CREDENTIAL_DENIED, "STS is off in this region"},
    {"IDPCommunicationError", 0, CREDENTIAL_RETRY, "AWS could not reach the identity provider"},
};

static int web_at(struct credential *credential, const struct sync_remote_config *config,
                  struct err *err) {
    char made[128];
    const char *region = sync__given(config->region) ? config->region : DEFAULT_REGION;
    const char *url = sync__given(config->token_url) ? config->token_url
                                                     : sync__environment("AWS_ENDPOINT_URL_STS");
    if (url == NULL && sync__given(config->url)) {
        url = config->url; /* servers that are not Amazon's have STS at the same door */
    }
    snprintf(made, sizeof made, "https://sts.%.64s.amazonaws.com", region);
    return sync__credential_at(credential, url != NULL ? url : made, err);
}

static int web_open(struct credential *credential, const struct sync_remote_config *config,
                    struct err *err) {
    const char *name = sync__environment("AWS_ROLE_SESSION_NAME");
    int code = sync__credential_set(
        &credential->file, config->token_file, sync__environment("AWS_WEB_IDENTITY_TOKEN_FILE"),
        "token_file: missing, and AWS_WEB_IDENTITY_TOKEN_FILE is not set", err);
    if (code == 0) {
        code = sync__credential_set(&credential->role, config->role_arn,
                                    sync__environment("AWS_ROLE_ARN"),
                                    "role_arn: missing, and AWS_ROLE_ARN is not set", err);
    }
    if (code == 0) {
        code = sync__credential_set(&credential->session_name, name, "creel", "", err);
    }
    return code != 0 ? code : web_at(credential, config, err);
}

static int web_request(struct credential *credential, struct http_request *out, struct err *err) {
    struct buf form = BUF_INIT(TOKEN_TEXT_MAX * 4);
    size_t length = 0;
    int code = sync__credential_read(credential, &credential->pass, err);
    if (code == 0 && !sync__token_is_clean(credential->pass)) {
        code = err_set(err, ERR_CONFIG, "%s holds no token, or more than one", credential->file);
    }
    if (code != 0) {
        err_wrap(err, "the identity token (token_file)");
        return code;
    }
    buf_puts(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    buf_puts_url(&form, credential->role, false);
    buf_puts(&form, "&RoleSessionName=");
    buf_puts_url(&form, credential->session_name, false);
    buf_puts(&form, "&WebIdentityToken=");
    buf_puts_url(&form, credential->pass, false);
    char *body = buf_take(&form, &length);
    buf_finish(&form);
    return body == NULL ? err_set(err, ERR_NOMEM, "no memory for a request")
                        : sync__credential_ask(credential, "POST", "/", body, out, err);
}

static enum credential_verdict web_judge(struct credential *credential,
                                         const struct http_reply *reply, struct token *out,
                                         struct err *err) {
    if (reply->status != 200) {
        return sync__credential_refused(credential, web_rows, ARRAY_LENGTH(web_rows), reply, err);
    }
    return sync__credential_read_as(
        credential, sync__token_read_sts(reply->body.data, reply->body.len, out, err), err);
}

/* ---- a container's service ---- */

static const struct credential_row container_rows[] = {
    {NULL, -1, CREDENTIAL_RETRY, "AWS_CONTAINER_CREDENTIALS_* names it"},
    {NULL, 401, CREDENTIAL_DENIED, "AWS_CONTAINER_AUTHORIZATION_TOKEN is not accepted"},
    {NULL, 403, CREDENTIAL_DENIED, "this container has no role, or its token is not accepted"},
    {NULL, 404, CREDENTIAL_DENIED, "this container has no role"},
};

static int container_open(struct credential *credential, const struct sync_remote_config *config,
                          struct err *err) {
    char made[ADDRESS_PATH_MAX + 32];
    const char *path = sync__environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *url = sync__given(config->token_url)
                          ? config->token_url
                          : sync__environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (path != NULL && !sync__given(config->token_url)) {
        snprintf(made, sizeof made, "%s%.*s", CONTAINER, ADDRESS_PATH_MAX, path);
        url = path[0] == '/' ? made : NULL;
    }
    if (url == NULL) {
        return err_set(err, ERR_CONFIG,
                       "credential: container needs AWS_CONTAINER_CREDENTIALS_FULL_URI or "
                       "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (beginning with /)");
    }
    const char *file = sync__environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *pass = sync__environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    int code = file != NULL ? sync__credential_set(&credential->file, file, NULL, "", err) : 0;
    if (code == 0 && file == NULL && pass != NULL) {
        code = sync__credential_set(&credential->secret, pass, NULL, "", err);
    }
    return code != 0 ? code : sync__credential_at(credential, url, err);
}

static int container_request(struct credential *credential, struct http_request *out,
                             struct err *err) {
    const char *pass = credential->secret;
    int code = 0;
    if (credential->file != NULL) {
        code = sync__credential_read(credential, &credential->pass, err);
        pass = credential->pass;
    }
    if (code == 0 && pass != NULL && strpbrk(pass, "\r\n") != NULL) {
        code = err_set(err, ERR_CONFIG, "AWS_CONTAINER_AUTHORIZATION_TOKEN has more than one line");
    }
    if (code == 0) {
        code = sync__credential_ask(credential, "GET", "", NULL, out, err);
    }
    if (code == 0 && pass != NULL && !sync__request_add(out, "authorization", pass)) {
        sync__request_finish(out);
        code = err_set(err, ERR_NOMEM, "no memory for a request");
    }
    return code;
}

static enum credential_verdict container_judge(struct credential *credential,
                                               const struct http_reply *reply, struct token *out,
                                               struct err *err) {
    if (reply->status != 200) {
        return sync__credential_refused(credential, container_rows, ARRAY_LENGTH(container_rows),
                                        reply, err);
    }
    return sync__credential_read_as(
        credential, sync__token_read_aws(reply->body.data, reply->body.len, out, err), err);
}

/* ---- a machine's service ---- */

enum { INSTANCE_PASS = 0, INSTANCE_ROLE, INSTANCE_KEYS };

static const struct credential_row instance_rows[] = {
    {NULL, -1, CREDENTIAL_RETRY, "is this a machine of AWS, and may creel reach its address?"},
    {NULL, 401, CREDENTIAL_RETRY, "the session was not accepted"},
    {NULL, 403, CREDENTIAL_DENIED, "the metadata service is turned off for this machine"},
    {NULL, 404, CREDENTIAL_DENIED, "this machine has no role: give it an instance profile"},
};

static int instance_open(struct credential *credential, const struct sync_remote_config *config,
                         struct err *err) {
    const char *url = sync__given(config->token_url)
                          ? config->token_url
                          : sync__environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    return sync__credential_at(credential, url != NULL ? url : METADATA, err);
}

static int instance_request(struct credential *credential, struct http_request *out,
                            struct err *err) {
    char path[sizeof ROLES + ROLE_NAME_MAX * 3];
    bool first = credential->step == INSTANCE_PASS;
    struct buf name = BUF_INIT(ROLE_NAME_MAX * 3);
    buf_puts_url(&name, credential->step == INSTANCE_KEYS ? credential->name : "", false);
    snprintf(path, sizeof path, "%s%s", ROLES, name.len > 0 ? name.data : "");
    buf_finish(&name);
    int code = sync__credential_ask(credential, first ? "PUT" : "GET",
                                    first ? "/latest/api/token" : path, NULL, out, err);
    bool added = code == 0 &&
                 (first ? sync__request_add(out, "x-aws-ec2-metadata-token-ttl-seconds", PASS_LIFE)
                        : sync__request_add(out, "x-aws-ec2-metadata-token", credential->pass));
    if (code == 0 && !added) {
        sync__request_finish(out);
        code = err_set(err, ERR_NOMEM, "no memory for a request");
    }
    return code;
}

/* The first line of a reply, clean; NULL where it is none. */
static char *line_take(const struct http_reply *reply, size_t max) {
    const char *text = reply->body.data;
    size_t length = text != NULL ? strcspn(text, "\r\n") : 0;
    char *copy = length > 0 && length <= max ? mem_alloc(length + 1) : NULL;
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, text, length);
    if (!sync__token_is_clean(copy)) {
        sync__secret_free(copy);
        return NULL;
    }
    return copy;
}

static enum credential_verdict instance_judge(struct credential *credential,
                                              const struct http_reply *reply, struct token *out,
                                              struct err *err) {
    if (reply->status != 200) {
        return sync__credential_refused(credential, instance_rows, ARRAY_LENGTH(instance_rows),
                                        reply, err);
    }
    if (credential->step == INSTANCE_KEYS) {
        return sync__credential_read_as(
            credential, sync__token_read_aws(reply->body.data, reply->body.len, out, err), err);
    }
    bool first = credential->step == INSTANCE_PASS;
    char *line = line_take(reply, first ? TOKEN_TEXT_MAX : ROLE_NAME_MAX);
    if (line == NULL) {
        err_set(err, ERR_DENIED, "%s at %s: %s", credential->ops->what, credential->at.authority,
                first ? "it gave no session" : "this machine has no role");
        return CREDENTIAL_DENIED;
    }
    if (first) {
        credential->pass = line;
    } else {
        credential->name = line;
    }
    credential->step++;
    return CREDENTIAL_AGAIN;
}

/* ---- the table's rows ---- */

const struct credential_ops sync__aws_key_ops = {
    .what = "access_key", .form = CREDENTIAL_AWS, .open = key_open, .load = pair_load};
const struct credential_ops sync__aws_environment_ops = {.what = "AWS_ACCESS_KEY_ID",
                                                         .form = CREDENTIAL_AWS,
                                                         .open = environment_open,
                                                         .load = pair_load};
const struct credential_ops sync__aws_profile_ops = {
    .what = "the profile", .form = CREDENTIAL_AWS, .open = profile_open, .load = profile_load};
const struct credential_ops sync__aws_web_ops = {.what = "STS (token_file, role_arn)",
                                                 .form = CREDENTIAL_AWS,
                                                 .open = web_open,
                                                 .request = web_request,
                                                 .judge = web_judge};
const struct credential_ops sync__aws_container_ops = {.what = "the container's credential service",
                                                       .form = CREDENTIAL_AWS,
                                                       .open = container_open,
                                                       .request = container_request,
                                                       .judge = container_judge};
const struct credential_ops sync__aws_instance_ops = {.what = "the instance's metadata service",
                                                      .form = CREDENTIAL_AWS,
                                                      .open = instance_open,
                                                      .request = instance_request,
                                                      .judge = instance_judge};
