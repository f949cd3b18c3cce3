/* address: what people write down to reach a bucket, taken apart: URLs, Azure connection strings,
 * SAS tokens.
 *
 * Pure: no network, no clock. Error texts never hold a value that may be secret (keys, tokens,
 * queries). Thread: any.
 */
#ifndef CREEL_SYNC_ADDRESS_H
#define CREEL_SYNC_ADDRESS_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_HOST_MAX 253 /* RFC 1035 2.3.4 */
#define ADDRESS_PATH_MAX 511

struct address {
    bool https;
    bool loopback;                   /* 127.0.0.0/8, ::1, localhost and names below it */
    bool link_local;                 /* 169.254.0.0/16, fe80::/10, fd00:ec2::: metadata services */
    bool by_number;                  /* the host is an IP address or localhost: no account in it */
    char host[ADDRESS_HOST_MAX + 1]; /* lower case; IPv6 in brackets */
    char authority[ADDRESS_HOST_MAX +
                   8]; /* as the Host header has it: no port where it is the scheme's */
    char path[ADDRESS_PATH_MAX + 1]; /* "" or "/a/b": no slash at the end, as it was written */
};

/* "http[s]://host[:port][/path]". ERR_CONFIG: another scheme, user names, a query or a fragment. */
int sync__address_parse(const char *url, struct address *out, struct err *err);

bool sync__address_is_loopback(const char *url); /* whatever follows the host; false: no url */

/* What an Azure connection string says. All owned; NULL where it says nothing. */
struct connection {
    char *account;
    char *key;      /* secret, base64 */
    char *endpoint; /* of the blob service */
    char *sas;      /* secret */
};

/* "Name=value;Name=value": AccountName, AccountKey, BlobEndpoint, EndpointSuffix,
 * DefaultEndpointsProtocol, SharedAccessSignature, UseDevelopmentStorage; other names are ignored.
 * ERR_CONFIG names what is missing. */
int sync__connection_parse(const char *text, struct connection *out, struct err *err);
void sync__connection_finish(struct connection *connection); /* wipes the secrets */

/* One parameter of a SAS token, percent-decoded, into `out`; false where it is not there or does
 * not fit. */
bool sync__sas_get(const char *sas, const char *name, char *out, size_t room);

/* Overwrites and frees; NULL is accepted. */
void sync__secret_free(char *secret);

#endif
