/* text: the pure half of webui: what strangers send as text, read with care.
 *
 * No state, no I/O, no microhttpd. Nothing here trusts its input; every parser says no instead of
 * guessing. Thread: any.
 */
#ifndef CREEL_WEBUI_TEXT_H
#define CREEL_WEBUI_TEXT_H

#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBUI__CAPTURE_SIZE 128

/* Matches a path against a pattern whose "*" stands for one non-empty segment, copied into
 * `capture`; "**" in front stands for any segments, or none. */
bool webui__route_match(const char *pattern, const char *path, char capture[WEBUI__CAPTURE_SIZE]);

/* Whether a Host header names this machine's loopback, or `listen_host`; any port (an ssh tunnel
 * changes it). */
bool webui__host_allowed(const char *host, const char *listen_host);

/* Whether an Origin header ("http://127.0.0.1:8080") has the same host and port as the Host header.
 */
bool webui__origin_same(const char *origin, const char *host);

/* Whether a change may come from where its sender says (Origin, Host and Sec-Fetch-Site, NULL where
 * absent): this site, or nothing that a browser shows. */
bool webui__sender_allowed(const char *origin, const char *host, const char *site);

enum webui__range { RANGE_NONE, RANGE_PART, RANGE_UNSATISFIABLE };
/* One byte range (RFC 9110 14.2) of a body of `size` bytes. Several ranges, or a malformed header,
 * are RANGE_NONE: the whole body is the right answer to them. */
enum webui__range webui__range_parse(const char *header, uint64_t size, uint64_t *from,
                                     uint64_t *count);

/* Whether an If-None-Match header holds `etag` (with its quotes) or "*". Weak tags compare equal
 * (RFC 9110 13.1.2). */
bool webui__etag_matches(const char *header, const char *etag);

/* Plain decimals only: no sign, exponent, hex, inf or nan. */
bool webui__number_parse(const char *text, double min, double max, double *out);
bool webui__integer_parse(const char *text, int64_t min, int64_t max, int64_t *out);

/* RFC 3339 in UTC, a bare date, or what a datetime-local field sends, taken as UTC. -1: none of
 * them. */
int64_t webui__time_parse(const char *text);

/* A camera's name: [a-z0-9][a-z0-9-]{0,31}. */
bool webui__name_valid(const char *name);

/* What the first bytes say; MEDIA_NONE for anything but JPEG and PNG. */
enum frame_media webui__media_sniff(const void *bytes, size_t size);
const char *
webui__media_type(enum frame_media media); /* "image/jpeg"; octet-stream for MEDIA_NONE */

const char *webui__tier_name(enum frame_tier tier); /* "annotated", "unannotated"; "none" */
bool webui__tier_parse(const char *text, enum frame_tier *out);

/* Whether a comma-separated list holds `item`, without regard to ASCII case. */
bool webui__list_has(const char *list, const char *item);

#endif
