/* access: who may come in: people with passwords, machines with tokens, sessions, and how often a
 * password may be tried.
 *
 * Users and tokens are kept in the store's state (spaces "user" and "token", JSON); a server looks
 * at a copy in memory, so that a request costs no read of the store. Sessions live in memory alone:
 * a restart asks people to log in again, and a log-out is one. All tables have a fixed size.
 * Thread: any.
 */
#ifndef CREEL_WEBUI_ACCESS_H
#define CREEL_WEBUI_ACCESS_H

#include "daemon/base/err.h"
#include "daemon/base/hash.h"
#include "webui/webui.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define WEBUI__USERS_MAX    64
#define WEBUI__TOKENS_MAX   64
#define WEBUI__SESSIONS_MAX 256 /* the one that was idle the longest makes room */
#define WEBUI__BUCKETS      512
#define WEBUI__SECRET_SIZE  HASH_BASE64_SIZE(sizeof(struct frame_hash)) /* of a cookie's value */

struct webui__user {
    char name[WEBUI_NAME_SIZE];
    enum webui_role role;
    uint8_t salt[16];
    unsigned log2n, r, p; /* of scrypt */
    struct frame_hash hash;
};

struct webui__token {
    char name[WEBUI_NAME_SIZE];
    unsigned scopes;
    struct frame_hash hash;
    int64_t expires_utc_s; /* 0: never */
};

struct webui__session {
    struct frame_hash hash; /* SHA-256 of the cookie */
    char user[WEBUI_NAME_SIZE];
    enum webui_role role;
    struct frame_hash stamp; /* the user's hash at the log-in: another password ends the session */
    int64_t begun_us, seen_us; /* boot clock; begun 0: free */
};

struct webui__bucket {
    int64_t empty_us; /* the boot time at which all of its tries will be back */
};

struct webui__access {
    pthread_mutex_t lock; /* of all below */
    struct webui__user users[WEBUI__USERS_MAX];
    struct webui__token tokens[WEBUI__TOKENS_MAX];
    size_t user_count, token_count;
    struct webui__session sessions[WEBUI__SESSIONS_MAX];
    struct webui__bucket buckets[WEBUI__BUCKETS], everybody;
    uint8_t key[32]; /* random: no stranger knows who shares a bucket with whom */
};

/* Who sent a request, as far as it is known. */
struct webui__who {
    char user[WEBUI_NAME_SIZE]; /* or a token's name; "" when nobody had to log in */
    unsigned scopes;            /* what it may: of enum webui_scope */
    bool session;               /* came with a cookie: a change needs `csrf` */
    char csrf[WEBUI__SECRET_SIZE];
};

void webui__access_init(struct webui__access *access);
void webui__access_finish(struct webui__access *access);
/* Reads users and tokens anew; ends the sessions of those who are gone or have another password. */
int webui__access_load(struct webui__access *access, struct store *store, struct err *err);
bool webui__access_people(struct webui__access *access); /* is there any user? */

/* Whether `address` may try a password now; else *wait_s says when again. Constant time and memory:
 * addresses share a fixed number of buckets. */
bool webui__try_allowed(struct webui__access *access, const void *address, size_t size,
                        int64_t now_us, int *wait_s);
/* A right password: the tries of that address are given back. */
void webui__try_forgive(struct webui__access *access, const void *address, size_t size);

/* Whether this is the user's password; takes as long for a user that is not there. Takes 16 MiB and
 * a core for a moment: to be asked aside (aside.h), where one is tried at a time. */
bool webui__password_right(struct webui__access *access, const char *name, const char *password,
                           struct webui__user *out);

/* `stamp` may be NULL for who has no record (web.password). `cookie` gets the secret. */
void webui__session_begin(struct webui__access *access, const char *user, enum webui_role role,
                          const struct frame_hash *stamp, int64_t now_us,
                          char cookie[WEBUI__SECRET_SIZE]);
bool webui__session_find(struct webui__access *access, const char *cookie, int64_t now_us,
                         struct webui__who *out);
void webui__session_end(struct webui__access *access, const char *cookie);

bool webui__token_find(struct webui__access *access, const char *text, int64_t now_utc_s,
                       struct webui__who *out);

unsigned webui__role_scopes(enum webui_role role);

/* people.c: a record as it is kept; false: not one. */
bool webui__user_parse(const char *name, size_t name_size, const char *json, size_t size,
                       struct webui__user *out);
bool webui__token_parse(const void *hash, size_t hash_size, const char *json, size_t size,
                        struct webui__token *out);
/* Fills salt, parameters and hash. */
bool webui__user_hash(struct webui__user *user, const char *password);

#endif
