/* delegation: the key that Azure lends to the bearer of a token, to sign links with.
 *
 * Microsoft, "Get User Delegation Key", "Create a user delegation SAS". Pure: requests and replies,
 * no network. A link lives no longer than its key, and the key at most seven days. Thread: one at a
 * time.
 */
#ifndef CREEL_SYNC_DELEGATION_H
#define CREEL_SYNC_DELEGATION_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DELEGATION_LINK_MAX_S (6 * 86400) /* so that a key lasts for more than one link */
#define DELEGATION_KEY_MAX    256         /* bytes, decoded */

struct delegation {  /* zero-initialise; wipe with sync__delegation_finish */
    char object[64]; /* whose token it was; all as the service wrote it */
    char tenant[64];
    char start[40], expiry[40];
    char service[8], version[24];
    uint8_t key[DELEGATION_KEY_MAX]; /* secret */
    size_t key_size;                 /* 0: no key */
    int64_t ends_utc_us;             /* by the server's clock */
};

/* The body of the request: a key from a quarter of an hour ago, for seven days less half an hour.
 */
void sync__delegation_ask(int64_t now_utc_us, struct buf *out);

/* The reply's XML. ERR_INVALID names what is missing. */
int sync__delegation_read(const char *text, size_t size, struct delegation *out, struct err *err);

bool sync__delegation_lasts(const struct delegation *delegation, int64_t until_utc_us);

void sync__delegation_finish(struct delegation *delegation);

#endif
