/* reply: what a cloud answered, taken apart: the headers that count, error bodies, Retry-After.
 * Pure.
 *
 * Bounded: a header longer than its field is as if it had not come; of a body at most the request's
 * maximum is kept. Thread: one at a time.
 */
#ifndef CREEL_SYNC_REPLY_H
#define CREEL_SYNC_REPLY_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "store/store.h"
#include <stddef.h>
#include <stdint.h>

#define REPLY_BODY_MAX       (64u << 10)      /* of an error document */
#define REPLY_RETRY_AFTER_MS (60 * 60 * 1000) /* the longest wish that is honoured in one piece */

struct http_reply {
    int status;       /* of HTTP; 0: no answer, then `fault` says why */
    struct err fault; /* ERR_NET, ERR_TIMEOUT; ERR_DENIED: the server's certificate; ERR_CLOSED:
                         cancelled */
    char etag[STORE_ETAG_MAX + 1]; /* without quotes and W/ */
    char md5[32];                  /* Content-MD5 */
    char sha256[65];               /* of creel's own metadata, hex */
    char checksum[65];             /* x-amz-checksum-sha256, x-ms-content-crc64; base64 */
    char error_code[64];           /* x-ms-error-code; filled from the body where there is none */
    char region[64];               /* x-amz-bucket-region, or the body's */
    char message[256];             /* the error's own words: one line, secrets cut out */
    char retry_after[64];
    char transition[64];    /* x-amz-transition-default-minimum-object-size */
    char challenge[256];    /* WWW-Authenticate */
    int64_t content_length; /* -1: not said */
    int64_t date_utc_us;    /* of the Date header; 0: not said */
    int retry_after_ms;     /* 0: not said */
    unsigned sent; /* times the body was begun: more than 1 when libcurl sent it again by itself */
    uint64_t sent_bytes; /* of the body, all times together */
    struct buf body;
};

void sync__reply_init(struct http_reply *reply, size_t body_max);
void sync__reply_finish(struct http_reply *reply);

/* One line of the head as it came, with or without its end; a status line starts anew. */
void sync__reply_line(struct http_reply *reply, const char *line, size_t length);

/* When head and body are there: works out Retry-After and, from the body, the error code. */
void sync__reply_settle(struct http_reply *reply, int64_t now_utc_us);

/* Seconds, or an HTTP date (RFC 9110 10.2.3); 0 where it is neither. */
int sync__retry_after_parse(const char *text, int64_t now_utc_us);

/* <Error><Code/><Message/>…: fills error_code, message and region where they are empty. Not XML: no
 * change. */
void sync__reply_read_xml(struct http_reply *reply);

/* Overwrites the values of sig=, Signature= and the like in place. */
void sync__redact(char *text);

#endif
