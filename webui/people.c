/* people: the records of users and tokens in the store's state, and what commands do with them. */
#include "daemon/base/clock.h"
#include "daemon/base/frame_json.h"
#include "daemon/base/mem.h"
#include "webui/access.h"
#include "webui/json.h"
#include "webui/state.h"
#include "webui/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USERS      "user"
#define TOKENS     "token"
#define DAY_S      86400
#define TOKEN_HEAD "creel_" /* so that a leaked one is recognised */

static const char *const role_names[] = {
    [WEBUI_NOBODY] = "", [WEBUI_VIEWER] = "viewer", [WEBUI_ADMIN] = "admin"};

static const struct {
    const char *name;
    unsigned scope;
} scope_names[] = {{"read", WEBUI_READ}, {"write", WEBUI_WRITE}, {"ingest", WEBUI_INGEST}};

bool webui_role_parse(const char *text, enum webui_role *out) {
    for (size_t i = 1; i < ARRAY_LENGTH(role_names); i++) {
        if (strcmp(role_names[i], text) == 0) {
            *out = (enum webui_role)i;
            return true;
        }
    }
    return false;
}

bool webui_scopes_parse(const char *text, unsigned *out) {
    unsigned scopes = 0;
    size_t size = 0;
    for (const char *at = text;; at += size + 1) {
        unsigned one = 0;
        size = strcspn(at, ",");
        for (size_t i = 0; i < ARRAY_LENGTH(scope_names); i++) {
            if (strlen(scope_names[i].name) == size && memcmp(at, scope_names[i].name, size) == 0) {
                one = scope_names[i].scope;
            }
        }
        scopes |= one;
        if (!one || !at[size]) {
            *out = scopes;
            return one != 0;
        }
    }
}

/* ---- records ---- */

static bool number_at(const json_t *json, const char *key, unsigned min, unsigned max,
                      unsigned *out) {
    const json_t *value = json_object_get(json, key);
    json_int_t number = json_integer_value(value);
    *out = (unsigned)number;
    return json_is_integer(value) && number >= min && number <= max;
}

static bool name_take(const char *name, size_t size, char out[WEBUI_NAME_SIZE]) {
    if (size >= WEBUI_NAME_SIZE) {
        return false;
    }
    memcpy(out, name, size);
    out[size] = '\0';
    return webui__name_valid(out);
}

bool webui__user_parse(const char *name, size_t name_size, const char *text, size_t size,
                       struct webui__user *out) {
    struct webui__user user = {0};
    json_t *json = json_loadb(text, size, 0, NULL);
    bool right =
        json && name_take(name, name_size, user.name) &&
        webui_role_parse(webui__json_text(json, "role"), &user.role) &&
        strcmp(webui__json_text(json, "kdf"), "scrypt") == 0 &&
        number_at(json, "log2n", 10, 20, &user.log2n) && number_at(json, "r", 1, 32, &user.r) &&
        number_at(json, "p", 1, 16, &user.p) &&
        hash_parse_hex(webui__json_text(json, "salt"), user.salt, sizeof(user.salt)) &&
        hash_parse_hex(webui__json_text(json, "hash"), user.hash.bytes, sizeof(user.hash.bytes));
    json_decref(json);
    if (right) {
        *out = user;
    }
    return right;
}

bool webui__token_parse(const void *hash, size_t hash_size, const char *text, size_t size,
                        struct webui__token *out) {
    struct webui__token token = {0};
    json_t *json = json_loadb(text, size, 0, NULL);
    const char *name = webui__json_text(json, "name");
    bool right =
        json && hash_size == sizeof(token.hash.bytes) &&
        name_take(name, strlen(name), token.name) &&
        number_at(json, "scopes", 1, WEBUI_READ | WEBUI_WRITE | WEBUI_INGEST, &token.scopes);
    if (right) {
        memcpy(token.hash.bytes, hash, hash_size);
        token.expires_utc_s = json_integer_value(json_object_get(json, "expires"));
        *out = token;
    }
    json_decref(json);
    return right;
}

bool webui__user_hash(struct webui__user *user, const char *password) {
    user->log2n = WEBUI_SCRYPT_LOG2N;
    user->r = WEBUI_SCRYPT_R;
    user->p = WEBUI_SCRYPT_P;
    hash_random(user->salt, sizeof(user->salt));
    return hash_scrypt(password, user->salt, sizeof(user->salt), user->log2n, user->r, user->p,
                       &user->hash);
}

static int put(struct store *store, const char *space, const void *key, size_t size, json_t *json,
               struct err *err) {
    char *text = json ? json_dumps(json, FRAME_JSON_DUMP) : NULL;
    int code = text ? store_state_put(store, space, key, size, text, strlen(text), err)
                    : err_set(err, ERR_NOMEM, "no memory for the record");
    free(text);
    json_decref(json);
    return code;
}

/* ---- users ---- */

static int user_get(struct store *store, const char *name, struct webui__user *out,
                    struct err *err) {
    char text[STORE_STATE_VALUE_MAX];
    size_t size = 0;
    if (!webui__name_valid(name)) {
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is no user's name: a-z, 0-9 and -, at most 32 letters, not "
                       "beginning with -",
                       name);
    }
    int code = store_state_get(store, USERS, name, strlen(name), text, sizeof(text), &size, err);
    if (code == ERR_NOT_FOUND) {
        return err_set(err, ERR_NOT_FOUND, "there is no user %s", name);
    }
    return code || webui__user_parse(name, strlen(name), text, size, out)
               ? code
               : err_set(err, ERR_CORRUPT, "the record of user %s is not one", name);
}

static int user_put(struct store *store, struct webui__user *user, const char *password,
                    struct err *err) {
    char salt[2 * sizeof(user->salt) + 1], hash[HASH_HEX_SIZE];
    size_t size = strlen(password);
    if (size < WEBUI_PASSWORD_MIN || size > WEBUI_PASSWORD_MAX) {
        return err_set(err, ERR_INVALID, "a password has %d to %d bytes", WEBUI_PASSWORD_MIN,
                       WEBUI_PASSWORD_MAX);
    }
    if (!webui__user_hash(user, password)) {
        return err_set(err, ERR_NOMEM, "no memory to hash a password (16 MiB)");
    }
    return put(store, USERS, user->name, strlen(user->name),
               json_pack("{s:s,s:s,s:i,s:i,s:i,s:s,s:s}", "role", role_names[user->role], "kdf",
                         "scrypt", "log2n", (int)user->log2n, "r", (int)user->r, "p", (int)user->p,
                         "salt", hash_hex(user->salt, sizeof(user->salt), salt), "hash",
                         hash_hex(user->hash.bytes, sizeof(user->hash.bytes), hash)),
               err);
}

static int count_one(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    (void)key;
    (void)key_size;
    (void)value;
    (void)size;
    ++*(size_t *)ctx;
    return 0;
}

static int room_check(struct store *store, const char *space, size_t max, struct err *err) {
    size_t count = 0;
    int code = store_state_each(store, space, count_one, &count, err);
    return code || count < max
               ? code
               : err_set(err, ERR_FULL, "there are %zu %ss already: remove one", count, space);
}

int webui_user_add(struct store *store, const char *name, enum webui_role role,
                   const char *password, struct err *err) {
    struct webui__user user = {.role = role};
    int code = user_get(store, name, &user, err);
    if (code == 0) {
        return err_set(err, ERR_EXISTS, "there is a user %s already", name);
    }
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    if (strcmp(name, WEBUI_PASSWORD_USER) == 0) {
        return err_set(err, ERR_INVALID,
                       "the user " WEBUI_PASSWORD_USER " is that of web.password");
    }
    code = room_check(store, USERS, WEBUI__USERS_MAX, err);
    snprintf(user.name, sizeof(user.name), "%s", name);
    return code ? code : user_put(store, &user, password, err);
}

int webui_user_passwd(struct store *store, const char *name, const char *password,
                      struct err *err) {
    struct webui__user user;
    int code = user_get(store, name, &user, err);
    return code ? code : user_put(store, &user, password, err);
}

int webui_user_drop(struct store *store, const char *name, struct err *err) {
    struct webui__user user;
    int code = user_get(store, name, &user, err);
    return code && code != ERR_CORRUPT ? code
                                       : store_state_drop(store, USERS, name, strlen(name), err);
}

static int list_user(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    struct webui__user user;
    if (!webui__user_parse(key, key_size, value, size, &user)) {
        return 0;
    }
    json_t *json = json_pack("{s:s,s:s}", "name", user.name, "role", role_names[user.role]);
    return json_array_append_new(ctx, json) ? ERR_NOMEM : 0;
}

json_t *webui_users_json(struct store *store, struct err *err) {
    json_t *list = json_array();
    int code = list ? store_state_each(store, USERS, list_user, list, err) : ERR_NOMEM;
    if (code) {
        json_decref(list);
        list = NULL;
    }
    return list;
}

/* ---- tokens ---- */

struct search {
    const char *name;
    struct webui__token token;
    bool found;
};

static int look_at(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    struct search *search = ctx;
    struct webui__token token;
    if (webui__token_parse(key, key_size, value, size, &token) &&
        strcmp(token.name, search->name) == 0) {
        search->token = token;
        search->found = true;
    }
    return 0;
}

static int token_search(struct store *store, struct search *search, struct err *err) {
    if (!webui__name_valid(search->name)) {
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is no token's name: a-z, 0-9 and -, at most 32 letters, not "
                       "beginning with -",
                       search->name);
    }
    return store_state_each(store, TOKENS, look_at, search, err);
}

int webui_token_add(struct store *store, const char *name, unsigned scopes, int days,
                    char out[WEBUI_TOKEN_SIZE], struct err *err) {
    struct search search = {.name = name};
    struct frame_hash secret, hash;
    char text[WEBUI__SECRET_SIZE];
    int code = token_search(store, &search, err);
    code = code ? code : room_check(store, TOKENS, WEBUI__TOKENS_MAX, err);
    if (code) {
        return code;
    }
    if (search.found) {
        return err_set(err, ERR_EXISTS, "there is a token %s already", name);
    }
    hash_random(secret.bytes, sizeof(secret.bytes));
    snprintf(out, WEBUI_TOKEN_SIZE, TOKEN_HEAD "%s",
             hash_base64url(secret.bytes, sizeof(secret.bytes), text));
    hash_sha256(out, strlen(out), &hash);
    int64_t expires = days ? clock_utc_us() / 1000000 + (int64_t)days * DAY_S : 0;
    code = put(store, TOKENS, hash.bytes, sizeof(hash.bytes),
               json_pack("{s:s,s:i,s:I}", "name", name, "scopes", (int)scopes, "expires",
                         (json_int_t)expires),
               err);
    explicit_bzero(&secret, sizeof(secret));
    explicit_bzero(text, sizeof(text));
    return code;
}

int webui_token_drop(struct store *store, const char *name, struct err *err) {
    struct search search = {.name = name};
    int code = token_search(store, &search, err);
    if (code) {
        return code;
    }
    return search.found ? store_state_drop(store, TOKENS, search.token.hash.bytes,
                                           sizeof(search.token.hash.bytes), err)
                        : err_set(err, ERR_NOT_FOUND, "there is no token %s", name);
}

static int list_token(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    struct webui__token token;
    char when[CLOCK_RFC3339_SIZE];
    if (!webui__token_parse(key, key_size, value, size, &token)) {
        return 0;
    }
    json_t *scopes = json_array();
    for (size_t i = 0; i < ARRAY_LENGTH(scope_names); i++) {
        if (token.scopes & scope_names[i].scope) {
            json_array_append_new(scopes, json_string(scope_names[i].name));
        }
    }
    json_t *json = json_pack(
        "{s:s,s:o,s:s*}", "name", token.name, "scopes", scopes, "expires",
        token.expires_utc_s ? clock_format_rfc3339(token.expires_utc_s * 1000000, when) : NULL);
    return json_array_append_new(ctx, json) ? ERR_NOMEM : 0;
}

json_t *webui_tokens_json(struct store *store, struct err *err) {
    json_t *list = json_array();
    int code = list ? store_state_each(store, TOKENS, list_token, list, err) : ERR_NOMEM;
    if (code) {
        json_decref(list);
        list = NULL;
    }
    return list;
}

int webui_access_reload(struct webui *webui, struct err *err) {
    return webui__access_load(&webui->access, webui->store, err);
}
