/* access: the copy of users and tokens, the sessions, and the brake on passwords.
 *
 * Goal: what a stranger sends costs a fixed amount of memory, and of time no more than one password
 * a second.
 *
 * Invariants
 * 1. No secret is kept that a reader of this memory could send: cookies and tokens are here as
 * SHA-256 only.
 * 2. A session is worth what its user is now: it ends when the user goes or gets another password.
 * 3. A wrong name costs the same scrypt as a wrong password.
 * 4. The brake never forgets by being flooded: addresses are thrown into fixed buckets by a keyed
 * hash, and two that share one brake each other.
 *
 * Rejected: signed cookies without a table (no log-out, and a stolen one lives on); sessions in the
 * store (a durable write for each log-in, and a read for each thumbnail).
 */
#include "webui/access.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include <string.h>

#define TRY_EVERY_US      INT64_C(10000000) /* an address: five at once, then one in ten seconds */
#define TRY_BURST         5
#define ALL_EVERY_US      INT64_C(1000000) /* all together */
#define ALL_BURST         20
#define SESSION_IDLE_US   (12 * INT64_C(3600000000))
#define SESSION_LENGTH_US (7 * 24 * INT64_C(3600000000))

void webui__access_init(struct webui__access *access) {
    pthread_mutex_init(&access->lock, NULL);
    hash_random(access->key, sizeof(access->key));
}

void webui__access_finish(struct webui__access *access) {
    pthread_mutex_destroy(&access->lock);
    explicit_bzero(access->users, sizeof(access->users));
    explicit_bzero(access->key, sizeof(access->key));
}

/* ---- the copy ---- */

struct copy {
    struct webui__user users[WEBUI__USERS_MAX];
    struct webui__token tokens[WEBUI__TOKENS_MAX];
    size_t user_count, token_count;
};

static int copy_user(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    struct copy *copy = ctx;
    if (copy->user_count < WEBUI__USERS_MAX &&
        webui__user_parse(key, key_size, value, size, &copy->users[copy->user_count])) {
        copy->user_count++;
    } else {
        log_warn("a user's record is not used", "name=%.*s", (int)key_size, (const char *)key);
    }
    return 0;
}

static int copy_token(void *ctx, const void *key, size_t key_size, const void *value, size_t size) {
    struct copy *copy = ctx;
    if (copy->token_count < WEBUI__TOKENS_MAX &&
        webui__token_parse(key, key_size, value, size, &copy->tokens[copy->token_count])) {
        copy->token_count++;
    }
    return 0;
}

static const struct webui__user *find_user(const struct webui__access *access, const char *name) {
    for (size_t i = 0; i < access->user_count; i++) {
        if (strcmp(access->users[i].name, name) == 0) {
            return &access->users[i];
        }
    }
    return NULL;
}

static bool still_good(const struct webui__access *access, const struct webui__session *session) {
    static const struct frame_hash none;
    const struct webui__user *user = find_user(access, session->user);
    return user ? memcmp(&user->hash, &session->stamp, sizeof(none)) == 0
                : memcmp(&none, &session->stamp, sizeof(none)) == 0;
}

static void sessions_review(struct webui__access *access) {
    for (size_t i = 0; i < WEBUI__SESSIONS_MAX; i++) {
        struct webui__session *session = &access->sessions[i];
        const struct webui__user *user = find_user(access, session->user);
        if (!still_good(access, session)) {
            *session = (struct webui__session){0};
        } else if (user) {
            session->role = user->role;
        }
    }
}

int webui__access_load(struct webui__access *access, struct store *store, struct err *err) {
    CLEANUP(mem_free_at) struct copy *copy = mem_alloc(sizeof(*copy));
    if (!copy) {
        return err_set(err, ERR_NOMEM, "out of memory for the users");
    }
    int code = store_state_each(store, "user", copy_user, copy, err);
    code = code ? code : store_state_each(store, "token", copy_token, copy, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&access->lock);
    memcpy(access->users, copy->users, sizeof(access->users));
    memcpy(access->tokens, copy->tokens, sizeof(access->tokens));
    access->user_count = copy->user_count;
    access->token_count = copy->token_count;
    sessions_review(access);
    pthread_mutex_unlock(&access->lock);
    return 0;
}

bool webui__access_people(struct webui__access *access) {
    pthread_mutex_lock(&access->lock);
    bool some = access->user_count > 0;
    pthread_mutex_unlock(&access->lock);
    return some;
}

/* ---- the brake ---- */

static struct webui__bucket *bucket_of(struct webui__access *access, const void *address,
                                       size_t size) {
    struct frame_hash hash;
    hash_hmac_sha256(access->key, sizeof(access->key), address, size, &hash);
    return &access->buckets[(hash.bytes[0] | (size_t)hash.bytes[1] << 8) % WEBUI__BUCKETS];
}

/* How long until a bucket has a try; takes it when that is now and `take`. */
static int64_t bucket_wait(struct webui__bucket *bucket, int64_t every_us, int burst,
                           int64_t now_us, bool take) {
    int64_t from = bucket->empty_us > now_us ? bucket->empty_us : now_us;
    int64_t wait = from + every_us - (now_us + every_us * burst);
    if (wait <= 0 && take) {
        bucket->empty_us = from + every_us;
    }
    return wait > 0 ? wait : 0;
}

bool webui__try_allowed(struct webui__access *access, const void *address, size_t size,
                        int64_t now_us, int *wait_s) {
    pthread_mutex_lock(&access->lock);
    struct webui__bucket *own = bucket_of(access, address, size);
    int64_t wait = bucket_wait(own, TRY_EVERY_US, TRY_BURST, now_us, false);
    int64_t all = bucket_wait(&access->everybody, ALL_EVERY_US, ALL_BURST, now_us, wait == 0);
    if (wait == 0 && all == 0) {
        bucket_wait(own, TRY_EVERY_US, TRY_BURST, now_us, true);
    }
    pthread_mutex_unlock(&access->lock);
    wait = wait > all ? wait : all;
    *wait_s = (int)((wait + 999999) / 1000000);
    return wait == 0;
}

void webui__try_forgive(struct webui__access *access, const void *address, size_t size) {
    pthread_mutex_lock(&access->lock);
    bucket_of(access, address, size)->empty_us = 0;
    pthread_mutex_unlock(&access->lock);
}

/* ---- passwords ---- */

bool webui__password_right(struct webui__access *access, const char *name, const char *password,
                           struct webui__user *out) {
    struct webui__user user = {
        .log2n = WEBUI_SCRYPT_LOG2N, .r = WEBUI_SCRYPT_R, .p = WEBUI_SCRYPT_P};
    struct frame_hash given = {{0}};
    pthread_mutex_lock(&access->lock);
    const struct webui__user *found = find_user(access, name);
    bool known = found != NULL;
    if (found) {
        user = *found;
    }
    pthread_mutex_unlock(&access->lock);
    bool done =
        hash_scrypt(password, user.salt, sizeof(user.salt), user.log2n, user.r, user.p, &given);
    bool right = hash_equal(given.bytes, user.hash.bytes, sizeof(given.bytes));
    explicit_bzero(&given, sizeof(given));
    if (!known || !done || !right) {
        return false;
    }
    *out = user;
    return true;
}

/* ---- sessions ---- */

unsigned webui__role_scopes(enum webui_role role) {
    return role == WEBUI_ADMIN ? WEBUI_READ | WEBUI_WRITE : role == WEBUI_VIEWER ? WEBUI_READ : 0;
}

static bool alive(const struct webui__session *session, int64_t now_us) {
    return session->begun_us && now_us - session->seen_us < SESSION_IDLE_US &&
           now_us - session->begun_us < SESSION_LENGTH_US;
}

static struct webui__session *place_for(struct webui__access *access) {
    struct webui__session *oldest = &access->sessions[0];
    for (size_t i = 0; i < WEBUI__SESSIONS_MAX; i++) {
        if (access->sessions[i].seen_us < oldest->seen_us) {
            oldest = &access->sessions[i];
        }
    }
    return oldest;
}

void webui__session_begin(struct webui__access *access, const char *user, enum webui_role role,
                          const struct frame_hash *stamp, int64_t now_us,
                          char cookie[WEBUI__SECRET_SIZE]) {
    struct frame_hash secret;
    hash_random(secret.bytes, sizeof(secret.bytes));
    hash_base64url(secret.bytes, sizeof(secret.bytes), cookie);
    struct webui__session session = {.role = role, .begun_us = now_us, .seen_us = now_us};
    memcpy(session.user, user, strnlen(user, sizeof(session.user) - 1));
    hash_sha256(cookie, strlen(cookie), &session.hash);
    if (stamp) {
        session.stamp = *stamp;
    }
    pthread_mutex_lock(&access->lock);
    *place_for(access) = session;
    pthread_mutex_unlock(&access->lock);
    explicit_bzero(&secret, sizeof(secret));
}

static struct webui__session *find_session(struct webui__access *access, const char *cookie) {
    struct frame_hash hash;
    hash_sha256(cookie, strlen(cookie), &hash);
    for (size_t i = 0; i < WEBUI__SESSIONS_MAX; i++) {
        struct webui__session *session = &access->sessions[i];
        if (session->begun_us && hash_equal(session->hash.bytes, hash.bytes, sizeof(hash.bytes))) {
            return session;
        }
    }
    return NULL;
}

/* From the cookie alone, so that both end together; not back to it. */
static void csrf_of(const char *cookie, char out[WEBUI__SECRET_SIZE]) {
    struct frame_hash mac;
    hash_hmac_sha256(cookie, strlen(cookie), "csrf", 4, &mac);
    hash_base64url(mac.bytes, sizeof(mac.bytes), out);
}

bool webui__session_find(struct webui__access *access, const char *cookie, int64_t now_us,
                         struct webui__who *out) {
    struct webui__who who = {.session = true};
    pthread_mutex_lock(&access->lock);
    struct webui__session *session = find_session(access, cookie);
    bool good = session && alive(session, now_us);
    if (good) {
        session->seen_us = now_us;
        who.scopes = webui__role_scopes(session->role);
        memcpy(who.user, session->user, sizeof(who.user));
    }
    pthread_mutex_unlock(&access->lock);
    if (good) {
        csrf_of(cookie, who.csrf);
        *out = who;
    }
    return good;
}

void webui__session_end(struct webui__access *access, const char *cookie) {
    pthread_mutex_lock(&access->lock);
    struct webui__session *session = find_session(access, cookie);
    if (session) {
        *session = (struct webui__session){0};
    }
    pthread_mutex_unlock(&access->lock);
}

/* ---- tokens ---- */

bool webui__token_find(struct webui__access *access, const char *text, int64_t now_utc_s,
                       struct webui__who *out) {
    struct frame_hash hash;
    bool found = false;
    hash_sha256(text, strlen(text), &hash);
    pthread_mutex_lock(&access->lock);
    for (size_t i = 0; i < access->token_count; i++) {
        const struct webui__token *token = &access->tokens[i];
        if (hash_equal(token->hash.bytes, hash.bytes, sizeof(hash.bytes)) &&
            (!token->expires_utc_s || now_utc_s < token->expires_utc_s)) {
            *out = (struct webui__who){.scopes = token->scopes};
            memcpy(out->user, token->name, sizeof(out->user));
            found = true;
        }
    }
    pthread_mutex_unlock(&access->lock);
    return found;
}
