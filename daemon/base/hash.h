/* hash: digests and text forms of bytes, over OpenSSL's libcrypto and zlib.
 *
 * Thread: any; no state is shared.
 */
#ifndef CREEL_BASE_HASH_H
#define CREEL_BASE_HASH_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_HEX_SIZE           65 /* SHA-256 in hex and the NUL */
#define HASH_MD5_SIZE           16
#define HASH_ID_SIZE            37 /* "018f…-…" and the NUL (RFC 9562 4) */
#define HASH_BASE64_SIZE(bytes) ((((bytes) + 2) / 3) * 4 + 1)

void hash_sha256(const void *bytes, size_t size, struct frame_hash *out);
void hash_md5(const void *bytes, size_t size, uint8_t out[HASH_MD5_SIZE]);
void hash_hmac_sha256(const void *key, size_t key_size, const void *bytes, size_t size,
                      struct frame_hash *out);
uint32_t hash_crc32(const void *bytes, size_t size); /* zlib's CRC-32 */

/* A SHA-256 fed in pieces. hash_stream_finish frees it; NULL is accepted. */
struct hash_stream *hash_stream_create(void); /* NULL when memory ran out */
void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t size);
void hash_stream_finish(struct hash_stream *stream, struct frame_hash *out);

/* Lower-case hex; `out` has 2 * size + 1 bytes. Returns `out`. */
char *hash_hex(const void *bytes, size_t size, char *out);
/* The reverse, exactly `size` bytes; false if `text` is not 2 * size hex digits and the NUL. */
bool hash_parse_hex(const char *text, void *out, size_t size);

/* Standard base64 with padding (RFC 4648 4); `out` has HASH_BASE64_SIZE(size). Returns `out`. */
char *hash_base64(const void *bytes, size_t size, char *out);
/* At most `room` bytes out; false if it is not base64 or does not fit. White space is not allowed.
 */
bool hash_parse_base64(const char *text, void *out, size_t room, size_t *size);
/* base64url without padding (RFC 4648 5), same sizes. */
char *hash_base64url(const void *bytes, size_t size, char *out);
bool hash_parse_base64url(const char *text, void *out, size_t room, size_t *size);

/* A password's hash by scrypt (RFC 7914) with N = 2^log2n; takes 128 * N * r bytes for the moment.
 * False when that memory is not there or the parameters are none of scrypt's. */
bool hash_scrypt(const char *password, const void *salt, size_t salt_size, unsigned log2n,
                 unsigned r, unsigned p, struct frame_hash *out);

void hash_random(void *out, size_t size); /* from the kernel; never fails (aborts if it would) */
bool hash_equal(const void *a, const void *b, size_t size); /* in constant time */

/* UUIDv7 of a moment (RFC 9562 5.7): 48 bits of ms, the rest random. */
void frame_id_create(int64_t utc_us, struct frame_id *out);
char *frame_id_format(const struct frame_id *id, char out[HASH_ID_SIZE]);
bool frame_id_parse(const char *text, struct frame_id *out);

#endif
