#include "sync/token.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/address.h"
#include <ctype.h>
#include <expat.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MASKED_MIN 6 /* shorter words may stand in any text */

void sync__token_finish(struct token *token) {
    free(token->id);
    sync__secret_free(token->secret);
    sync__secret_free(token->session);
    *token = (struct token){0};
}

bool sync__token_is_clean(const char *text) {
    size_t length = 0;
    for (; text[length] != '\0'; length++) {
        if (!isgraph((unsigned char)text[length]) || length == TOKEN_TEXT_MAX) {
            return false;
        }
    }
    return length > 0;
}

void sync__token_mask(char *text, const char *secret) {
    size_t length = secret != NULL ? strlen(secret) : 0;
    if (length < MASKED_MIN) {
        return;
    }
    for (char *at = strstr(text, secret); at != NULL; at = strstr(at, secret)) {
        memset(at, '*', length);
    }
}

/* Both parts of a key are wanted, and whatever is there must fit into a header. */
static int token_check(const struct token *token, bool wants_id, const char *secret_name,
                       struct err *err) {
    if (wants_id && token->id == NULL) {
        return err_set(err, ERR_INVALID, "the answer has no AccessKeyId");
    }
    if (token->secret == NULL) {
        return err_set(err, ERR_INVALID, "the answer has no %s", secret_name);
    }
    const char *parts[] = {token->id, token->secret, token->session};
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        if (parts[i] != NULL && !sync__token_is_clean(parts[i])) {
            return err_set(err, ERR_INVALID, "the answer holds a token with odd characters");
        }
    }
    return 0;
}

/* ---- JSON ---- */

/* Strings of a document may be secrets: Jansson frees them as they are. */
static void json_wipe(json_t *value) {
    const char *name;
    json_t *child;
    json_object_foreach(value, name, child) {
        if (json_is_string(child)) {
            explicit_bzero((char *)(uintptr_t)json_string_value(child), json_string_length(child));
        }
    }
    json_decref(value);
}

static json_t *json_read(const char *text, size_t size) {
    json_t *value = text != NULL ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (value != NULL && !json_is_object(value)) {
        json_decref(value);
        value = NULL;
    }
    return value;
}

/* A string that is there and not empty, as an own copy; false when memory ran out. */
static bool json_take(const json_t *value, const char *name, char **out) {
    const char *text = json_string_value(json_object_get(value, name));
    if (text == NULL || *text == '\0') {
        return true;
    }
    *out = mem_strdup(text);
    return *out != NULL;
}

/* Seconds, written as a number or as a string of digits; -1 where they are neither. */
static int64_t json_seconds(const json_t *value, const char *name) {
    const json_t *found = json_object_get(value, name);
    const char *text = json_string_value(found);
    if (json_is_integer(found)) {
        return json_integer_value(found);
    }
    size_t length = text != NULL ? strlen(text) : 0;
    if (length == 0 || length > 18 || strspn(text, "0123456789") != length) {
        return -1;
    }
    return strtoll(text, NULL, 10);
}

static int oauth_life(const json_t *value, struct token *token, struct err *err) {
    int64_t in_s = json_seconds(value, "expires_in"), on_s = json_seconds(value, "expires_on");
    if (in_s > 0) {
        token->life_s = in_s < TOKEN_LIFE_MAX_S ? in_s : TOKEN_LIFE_MAX_S;
        return 0;
    }
    if (in_s < 0 && on_s > 0 && on_s < INT64_MAX / 1000000) {
        token->ends_utc_us = on_s * 1000000;
        return 0;
    }
    return err_set(err, ERR_INVALID, "the answer does not say when the token ends");
}

int sync__token_read_oauth(const char *text, size_t size, struct token *out, struct err *err) {
    CLEANUP(sync__token_finish) struct token token = {0};
    json_t *value = json_read(text, size);
    if (value == NULL) {
        return err_set(err, ERR_INVALID, "the answer is no JSON object");
    }
    const char *type = json_string_value(json_object_get(value, "token_type"));
    int code = json_take(value, "access_token", &token.secret)
                   ? oauth_life(value, &token, err)
                   : err_set(err, ERR_NOMEM, "no memory for a token");
    if (code == 0 && type != NULL && strcasecmp(type, "Bearer") != 0) {
        code = err_set(err, ERR_INVALID, "the answer holds a token of another type than Bearer");
    }
    json_wipe(value);
    if (code == 0) {
        code = token_check(&token, false, "access_token", err);
    }
    if (code == 0) {
        *out = token;
        token = (struct token){0};
    }
    return code;
}

static int ends_set(struct token *token, const char *expiration, struct err *err) {
    int64_t ends = expiration != NULL ? clock_parse_rfc3339(expiration) : -1;
    if (ends <= 0) {
        return err_set(err, ERR_INVALID, "the answer does not say when the key ends");
    }
    token->ends_utc_us = ends;
    return 0;
}

int sync__token_read_aws(const char *text, size_t size, struct token *out, struct err *err) {
    CLEANUP(sync__token_finish) struct token token = {0};
    json_t *value = json_read(text, size);
    if (value == NULL) {
        return err_set(err, ERR_INVALID, "the answer is no JSON object");
    }
    const char *status = json_string_value(json_object_get(value, "Code"));
    int code = 0;
    if (status != NULL && strcmp(status, "Success") != 0) {
        code = err_set(err, ERR_INVALID, "the answer says %.40s", status);
    } else if (!json_take(value, "AccessKeyId", &token.id) ||
               !json_take(value, "SecretAccessKey", &token.secret) ||
               !json_take(value, "Token", &token.session)) {
        code = err_set(err, ERR_NOMEM, "no memory for a token");
    } else {
        code = ends_set(&token, json_string_value(json_object_get(value, "Expiration")), err);
    }
    json_wipe(value);
    if (code == 0) {
        code = token_check(&token, true, "SecretAccessKey", err);
    }
    if (code == 0) {
        *out = token;
        token = (struct token){0};
    }
    return code;
}

/* ---- XML ---- */

struct reading {
    XML_Parser parser;
    const char *name;
    char *out;
    size_t room, used;
    bool inside, done, failed;
};

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct reading *reading = ctx;
    (void)attributes;
    reading->failed = reading->failed || reading->inside; /* an element within is no plain text */
    reading->inside = !reading->done && strcmp(name, reading->name) == 0;
}

static void on_end(void *ctx, const XML_Char *name) {
    struct reading *reading = ctx;
    (void)name;
    reading->done = reading->done || reading->inside;
    reading->inside = false;
}

static void on_text(void *ctx, const XML_Char *text, int length) {
    struct reading *reading = ctx;
    if (!reading->inside) {
        return;
    }
    if ((size_t)length >= reading->room - reading->used) {
        reading->failed = true;
        return;
    }
    memcpy(reading->out + reading->used, text, (size_t)length);
    reading->used += (size_t)length;
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public_id, int has_subset) {
    (void)name, (void)system, (void)public_id, (void)has_subset;
    struct reading *reading = ctx;
    reading->failed = true; /* no answer has one; entities could be made to explode */
    XML_StopParser(reading->parser, XML_FALSE);
}

bool sync__token_xml_get(const char *text, size_t size, const char *name, char *out, size_t room) {
    XML_Parser parser = text != NULL && size <= INT_MAX ? XML_ParserCreate(NULL) : NULL;
    if (parser == NULL) {
        return false;
    }
    struct reading reading = {.parser = parser, .name = name, .out = out, .room = room};
    XML_SetUserData(parser, &reading);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    bool whole = XML_Parse(parser, text, (int)size, 1) == XML_STATUS_OK;
    XML_ParserFree(parser);
    out[reading.used] = '\0';
    return whole && reading.done && !reading.failed;
}

static bool xml_take(const char *text, size_t size, const char *name, char **out) {
    char *value = mem_alloc(TOKEN_TEXT_MAX + 1);
    if (value != NULL && sync__token_xml_get(text, size, name, value, TOKEN_TEXT_MAX + 1) &&
        *value != '\0') {
        *out = mem_strdup(value);
    }
    sync__secret_free(value);
    return *out != NULL;
}

int sync__token_read_sts(const char *text, size_t size, struct token *out, struct err *err) {
    CLEANUP(sync__token_finish) struct token token = {0};
    char expiration[64];
    if (!sync__token_xml_get(text, size, "Expiration", expiration, sizeof expiration)) {
        return err_set(err, ERR_INVALID,
                       "the answer is no XML of AssumeRoleWithWebIdentity with an Expiration");
    }
    int code = ends_set(&token, expiration, err);
    if (code != 0) {
        return code;
    }
    if (!xml_take(text, size, "SessionToken", &token.session)) {
        return err_set(err, ERR_INVALID, "the answer has no SessionToken");
    }
    (void)xml_take(text, size, "AccessKeyId", &token.id);
    (void)xml_take(text, size, "SecretAccessKey", &token.secret);
    code = token_check(&token, true, "SecretAccessKey", err);
    if (code == 0) {
        *out = token;
        token = (struct token){0};
    }
    return code;
}

/* ---- refusals ---- */

/* The first line, of what can be printed. */
static void line_copy(const char *text, char *out, size_t room) {
    size_t used = 0;
    for (; text != NULL && *text != '\0' && *text != '\n' && *text != '\r'; text++) {
        if (used + 1 < room) {
            out[used++] = isprint((unsigned char)*text) ? *text : '?';
        }
    }
    out[used] = '\0';
}

static const char *first_string(const json_t *value, const char *const *names, size_t count) {
    const char *found = NULL;
    for (size_t i = 0; found == NULL && i < count; i++) {
        found = json_string_value(json_object_get(value, names[i]));
    }
    return found;
}

static void fault_json(const json_t *value, struct token_fault *out) {
    static const char *const codes[] = {"error", "code", "Code"};
    static const char *const messages[] = {"error_description", "message", "Message"};
    const json_t *inner = json_object_get(value, "error");
    value = json_is_object(inner) ? inner : value;
    line_copy(first_string(value, codes, ARRAY_LENGTH(codes)), out->code, sizeof out->code);
    line_copy(first_string(value, messages, ARRAY_LENGTH(messages)), out->message,
              sizeof out->message);
}

void sync__token_read_fault(const char *text, size_t size, struct token_fault *out) {
    char message[1024] = "";
    *out = (struct token_fault){0};
    json_t *value = json_read(text, size);
    if (value != NULL) {
        fault_json(value, out);
        json_wipe(value);
        return;
    }
    if (sync__token_xml_get(text, size, "Code", out->code, sizeof out->code)) {
        (void)sync__token_xml_get(text, size, "Message", message, sizeof message);
        line_copy(message, out->message, sizeof out->message);
    } else {
        out->code[0] = '\0';
    }
}

/* ---- the shared credentials file ---- */

struct line {
    char *name, *value; /* within the line; NULL: a heading, then `name` is the profile */
};

static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        text[--length] = '\0';
    }
    return text;
}

/* False where it is neither a heading nor a setting. */
static bool line_read(char *text, struct line *out) {
    size_t length = strlen(text);
    if (text[0] == '[') {
        bool closed = text[length - 1] == ']';
        text[length - 1] = '\0';
        *out = (struct line){.name = length > 1 ? trim(text + 1) : text};
        return closed && *out->name != '\0' && strpbrk(out->name, "[]") == NULL;
    }
    char *equals = strchr(text, '=');
    if (equals == NULL) {
        return false;
    }
    *equals = '\0';
    *out = (struct line){.name = trim(text), .value = trim(equals + 1)};
    return *out->name != '\0';
}

static const struct {
    const char *name;
    size_t at;
} profile_keys[] = {
    {"aws_access_key_id", offsetof(struct token, id)},
    {"aws_secret_access_key", offsetof(struct token, secret)},
    {"aws_session_token", offsetof(struct token, session)},
};

/* What a profile may say in place of keys, and creel does not do. */
static const char *const indirect[] = {"role_arn", "credential_process", "sso_session",
                                       "sso_start_url"};

struct profile {
    const char *name;
    struct token token;
    bool found, here; /* its heading came; the present line belongs to it */
    bool begun;       /* a heading came */
    const char *asks; /* the first of `indirect` that it has */
};

static int profile_set(struct profile *profile, const struct line *line, size_t number,
                       struct err *err) {
    for (size_t i = 0; i < ARRAY_LENGTH(indirect); i++) {
        if (profile->asks == NULL && strcmp(line->name, indirect[i]) == 0) {
            profile->asks = indirect[i];
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(profile_keys); i++) {
        char **field = (char **)(void *)((char *)&profile->token + profile_keys[i].at);
        if (strcmp(line->name, profile_keys[i].name) != 0) {
            continue;
        }
        if (*field != NULL) {
            return err_set(err, ERR_CONFIG, "line %zu: a second %s in the profile %s", number,
                           line->name, profile->name);
        }
        if (!sync__token_is_clean(line->value)) {
            return err_set(err, ERR_CONFIG, "line %zu: %s is empty or holds spaces", number,
                           line->name);
        }
        *field = mem_strdup(line->value);
        if (*field == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for a profile");
        }
    }
    return 0;
}

static int profile_line(struct profile *profile, char *text, size_t number, struct err *err) {
    struct line line;
    bool nested = text[0] == ' ' || text[0] == '\t'; /* belongs to the setting above: not a key */
    char *trimmed = trim(text);
    if (*trimmed == '\0' || *trimmed == '#' || *trimmed == ';' || (nested && profile->begun)) {
        return 0;
    }
    if (!line_read(trimmed, &line)) {
        return err_set(err, ERR_CONFIG, "line %zu: expected [profile] or name = value", number);
    }
    if (line.value != NULL && !profile->begun) {
        return err_set(err, ERR_CONFIG, "line %zu: a setting before the first [profile]", number);
    }
    if (line.value != NULL) {
        return profile->here ? profile_set(profile, &line, number, err) : 0;
    }
    profile->begun = true;
    profile->here = strcmp(line.name, profile->name) == 0;
    if (profile->here && profile->found) {
        return err_set(err, ERR_CONFIG, "line %zu: a second profile %s", number, profile->name);
    }
    profile->found = profile->found || profile->here;
    return 0;
}

static int profile_end(const struct profile *profile, struct err *err) {
    const struct token *token = &profile->token;
    if (!profile->found) {
        return err_set(err, ERR_NOT_FOUND, "it has no profile [%s]", profile->name);
    }
    if (token->id == NULL && profile->asks != NULL) {
        return err_set(err, ERR_CONFIG,
                       "the profile %s has %s and no keys, which creel does not follow: give it "
                       "aws_access_key_id and aws_secret_access_key",
                       profile->name, profile->asks);
    }
    if (token->id == NULL || token->secret == NULL) {
        return err_set(err, ERR_CONFIG, "the profile %s lacks %s", profile->name,
                       token->id == NULL ? "aws_access_key_id" : "aws_secret_access_key");
    }
    return 0;
}

int sync__token_read_profile(const char *text, size_t size, const char *profile, struct token *out,
                             struct err *err) {
    struct profile reading = {.name = profile};
    char *copy = mem_alloc(size + 1);
    if (copy == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a profile");
    }
    if (size > 0) {
        memcpy(copy, text, size);
    }
    int code =
        memchr(copy, '\0', size) != NULL ? err_set(err, ERR_CONFIG, "it is no text file") : 0;
    char *rest = copy;
    for (size_t number = 1; code == 0 && rest != NULL; number++) {
        code = profile_line(&reading, strsep(&rest, "\n"), number, err);
    }
    if (code == 0) {
        code = profile_end(&reading, err);
    }
    explicit_bzero(copy, size);
    free(copy);
    if (code == 0) {
        *out = reading.token;
    } else {
        sync__token_finish(&reading.token);
    }
    return code;
}
