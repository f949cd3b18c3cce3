/* token: what the services that give out credentials answer, taken apart; and the file in which
 * people keep AWS keys. Pure: no network, no clock, no file.
 *
 * Strict and bounded: an answer that lacks a part, or has one of another form, is no token. Error
 * texts never hold a value. Thread: any.
 */
#ifndef CREEL_SYNC_TOKEN_H
#define CREEL_SYNC_TOKEN_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_TEXT_MAX   16384                 /* bytes of one secret */
#define TOKEN_LIFE_MAX_S (30 * INT64_C(86400)) /* a longer life is taken for this one */
#define TOKEN_FAULT_MAX  200

struct token {           /* what is missing is NULL; zero-initialise */
    char *id;            /* AWS: the access key id */
    char *secret;        /* secret, owned: an access token, or the AWS secret key */
    char *session;       /* secret, owned: AWS session token */
    int64_t life_s;      /* 0: not said */
    int64_t ends_utc_us; /* 0: not said */
};

void sync__token_finish(struct token *token); /* wipes */

/* OAuth 2 (RFC 6749 5.1) and the dialects of Azure's managed identities: access_token, and
 * expires_in or expires_on as numbers or strings. */
int sync__token_read_oauth(const char *text, size_t size, struct token *out, struct err *err);

/* {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}: AWS instances and containers. */
int sync__token_read_aws(const char *text, size_t size, struct token *out, struct err *err);

/* The XML of AWS STS, AssumeRoleWithWebIdentity. */
int sync__token_read_sts(const char *text, size_t size, struct token *out, struct err *err);

/* The keys of one profile in AWS's shared credentials file. ERR_NOT_FOUND: no such profile;
 * ERR_CONFIG names the line. */
int sync__token_read_profile(const char *text, size_t size, const char *profile, struct token *out,
                             struct err *err);

/* What is between <name> and </name>, at the first place, into `out`; false where it is not there
 * or does not fit. For documents whose element names occur once. */
bool sync__token_xml_get(const char *text, size_t size, const char *name, char *out, size_t room);

struct token_fault {               /* how a service says no, in JSON or XML; "" where it does not */
    char code[64];                 /* "invalid_client", "AccessDenied" */
    char message[TOKEN_FAULT_MAX]; /* its first line, printable */
};
void sync__token_read_fault(const char *text, size_t size, struct token_fault *out);

/* Printable ASCII without spaces, 1 to TOKEN_TEXT_MAX bytes: what may stand in a header. */
bool sync__token_is_clean(const char *text);

/* Overwrites every occurrence of `secret` in `text`; NULL and short ones are left alone. */
void sync__token_mask(char *text, const char *secret);

#endif
