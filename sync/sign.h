/* sign: the signatures that clouds ask for, as pure functions of what is signed, the key and the
 * time.
 *
 * Azure SharedKey and service SAS: Microsoft, "Authorize with Shared Key", "Create a service SAS".
 * AWS: Signature Version 4, header and query form: AWS, "Signing AWS API requests", "Authenticating
 * Requests (Signature Version 4)". Header names are given in lower case; the path is signed exactly
 * as it is sent. Thread: any.
 */
#ifndef CREEL_SYNC_SIGN_H
#define CREEL_SYNC_SIGN_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "sync/delegation.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGN_FIELDS_MAX     32
#define SIGN_TEXT_MAX       (16u << 10)
#define SIGN_HEADER_MAX     2048
#define SIGN_AZURE_KEY_MAX  256    /* bytes, decoded */
#define SIGN_LINK_TTL_MAX_S 604800 /* AWS's bound for X-Amz-Expires; creel's for every link */

struct sign_field {
    const char *name;  /* lower case */
    const char *value; /* of a query: decoded */
};

/* ---- Azure ---- */

struct sign_azure {
    const char *method;
    const char *account;
    const char
        *path; /* percent-encoded, as sent; path-style endpoints have the account in it too */
    const struct sign_field *headers;
    size_t header_count; /* at most SIGN_FIELDS_MAX; those that count are picked out */
    const struct sign_field *query;
    size_t query_count;
    size_t content_length;
};

/* The string to sign (x-ms-version 2015-02-21 and later). Header names may hold [a-z0-9-] only: the
 * service sorts by the rules of a language and not by bytes, and the two agree for those that creel
 * sends. */
void sync__sign_azure_text(const struct sign_azure *request, struct buf *out);

/* The value of the Authorization header: "SharedKey account:signature". */
int sync__sign_azure(const struct sign_azure *request, const uint8_t *key, size_t key_size,
                     char out[SIGN_HEADER_MAX], struct err *err);

/* A service SAS of version 2020-12-06 for one blob (sr "b") or one container (sr "c"). */
struct sign_sas {
    const char *account;
    const char *container;
    const char *blob; /* not encoded; NULL with resource "c" */
    const char *permissions;
    const char *resource;
    const char *protocol; /* "https", or "" for both */
    int64_t expires_utc_us;
    const struct delegation *delegation; /* signed with its key; NULL: with the account's */
};

/* Appends the query string, encoded and without '?'. */
void sync__sign_azure_sas(const struct sign_sas *sas, const uint8_t *key, size_t key_size,
                          struct buf *out);
void sync__sign_azure_sas_text(const struct sign_sas *sas,
                               struct buf *out); /* the string to sign */

/* ---- AWS ---- */

struct sign_aws_key {
    const char *access_key;
    const char *secret_key; /* secret */
    const char *token;      /* secret; NULL: none */
    const char *region;
    const char *service; /* "s3" */
};

struct sign_aws {
    const char *method;
    const char *path;                 /* encoded once, as sent; "" means "/" */
    const char *query;                /* canonical: encoded and sorted; "" for none */
    const struct sign_field *headers; /* all of them are signed; host and x-amz-date among them */
    size_t header_count;
    const char *payload; /* SHA-256 in hex, or UNSIGNED-PAYLOAD */
    int64_t utc_us;
};

void sync__sign_aws_canonical(const struct sign_aws *request, struct buf *out);

/* The value of the Authorization header. */
int sync__sign_aws(const struct sign_aws *request, const struct sign_aws_key *key,
                   char out[SIGN_HEADER_MAX], struct err *err);

/* Appends the query of a presigned GET of `path` at `host`, without '?'. */
int sync__sign_aws_link(const struct sign_aws_key *key, const char *host, const char *path,
                        int64_t utc_us, int ttl_s, struct buf *out, struct err *err);

#endif
