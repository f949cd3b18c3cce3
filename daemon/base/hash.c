#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

/* libcrypto's digests fail only when memory ran out or the provider is missing; then nothing here
 * could be trusted. */
static void must(int ok) {
    if (!ok) {
        abort();
    }
}

void hash_sha256(const void *bytes, size_t size, struct frame_hash *out) {
    must(EVP_Digest(bytes, size, out->bytes, NULL, EVP_sha256(), NULL));
}

void hash_md5(const void *bytes, size_t size, uint8_t out[HASH_MD5_SIZE]) {
    must(EVP_Digest(bytes, size, out, NULL, EVP_md5(), NULL));
}

void hash_hmac_sha256(const void *key, size_t key_size, const void *bytes, size_t size,
                      struct frame_hash *out) {
    unsigned int length = sizeof(out->bytes);
    must(HMAC(EVP_sha256(), key, (int)key_size, bytes, size, out->bytes, &length) != NULL);
}

bool hash_scrypt(const char *password, const void *salt, size_t salt_size, unsigned log2n,
                 unsigned r, unsigned p, struct frame_hash *out) {
    uint64_t n = UINT64_C(1) << (log2n & 31);
    uint64_t room = 128 * n * r + 128 * (uint64_t)r * (p + 4) + 4096; /* libcrypto's own bound */
    return EVP_PBE_scrypt(password, strlen(password), salt, salt_size, n, r, p, room, out->bytes,
                          sizeof(out->bytes)) == 1;
}

uint32_t hash_crc32(const void *bytes, size_t size) {
    return (uint32_t)crc32_z(0, bytes, size);
}

struct hash_stream {
    EVP_MD_CTX *context;
};

struct hash_stream *hash_stream_create(void) {
    struct hash_stream *stream = mem_alloc(sizeof(*stream));
    if (!stream) {
        return NULL;
    }
    stream->context = EVP_MD_CTX_new();
    if (!stream->context || !EVP_DigestInit_ex(stream->context, EVP_sha256(), NULL)) {
        hash_stream_finish(stream, NULL);
        return NULL;
    }
    return stream;
}

void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t size) {
    must(EVP_DigestUpdate(stream->context, bytes, size));
}

void hash_stream_finish(struct hash_stream *stream, struct frame_hash *out) {
    if (!stream) {
        return;
    }
    if (out) {
        must(EVP_DigestFinal_ex(stream->context, out->bytes, NULL));
    }
    EVP_MD_CTX_free(stream->context);
    free(stream);
}

char *hash_hex(const void *bytes, size_t size, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[from[i] >> 4];
        out[2 * i + 1] = digits[from[i] & 15];
    }
    out[2 * size] = '\0';
    return out;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hash_parse_hex(const char *text, void *out, size_t size) {
    if (strlen(text) != 2 * size) {
        return false;
    }
    uint8_t *to = out;
    for (size_t i = 0; i < size; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

char *hash_base64(const void *bytes, size_t size, char *out) {
    EVP_EncodeBlock((unsigned char *)out, bytes, (int)size);
    return out;
}

static bool base64_text(const char *text, size_t length) {
    size_t padding = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '=') {
            padding++;
        } else if (padding || !((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                                (c >= '0' && c <= '9') || c == '+' || c == '/')) {
            return false;
        }
    }
    return length % 4 == 0 && padding <= 2;
}

bool hash_parse_base64(const char *text, void *out, size_t room, size_t *size) {
    size_t length = strlen(text);
    if (!base64_text(text, length)) {
        return false;
    }
    CLEANUP(mem_free_at) uint8_t *decoded = mem_alloc(length / 4 * 3 + 1);
    if (!decoded || EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)length) < 0) {
        return false;
    }
    size_t padding = 0;
    while (padding < length && text[length - 1 - padding] == '=') {
        padding++;
    }
    size_t got = length / 4 * 3 - padding;
    if (got > room) {
        return false;
    }
    if (got) {
        memcpy(out, decoded, got);
    }
    *size = got;
    return true;
}

char *hash_base64url(const void *bytes, size_t size, char *out) {
    hash_base64(bytes, size, out);
    for (char *p = out; *p; p++) {
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
        if (*p == '=') {
            *p = '\0';
            break;
        }
    }
    return out;
}

bool hash_parse_base64url(const char *text, void *out, size_t room, size_t *size) {
    size_t length = strlen(text);
    CLEANUP(mem_free_at) char *standard = mem_alloc(length + 4);
    if (!standard || strpbrk(text, "+/=")) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        standard[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }
    while (length % 4) {
        standard[length++] = '=';
    }
    return hash_parse_base64(standard, out, room, size);
}

void hash_random(void *out, size_t size) {
    uint8_t *next = out;
    while (size) {
        ssize_t got = getrandom(next, size, 0);
        if (got < 0) {
            must(errno == EINTR);
            continue;
        }
        next += got;
        size -= (size_t)got;
    }
}

bool hash_equal(const void *a, const void *b, size_t size) {
    return CRYPTO_memcmp(a, b, size) == 0;
}

void frame_id_create(int64_t utc_us, struct frame_id *out) {
    uint64_t ms = utc_us > 0 ? (uint64_t)utc_us / 1000 : 0;
    hash_random(out->bytes, sizeof(out->bytes));
    for (int i = 0; i < 6; i++) {
        out->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    out->bytes[6] = (uint8_t)(0x70 | (out->bytes[6] & 0x0f));
    out->bytes[8] = (uint8_t)(0x80 | (out->bytes[8] & 0x3f));
}

char *frame_id_format(const struct frame_id *id, char out[HASH_ID_SIZE]) {
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    const uint8_t *from = id->bytes;
    char *to = out;
    for (size_t i = 0; i < sizeof(groups); i++) {
        if (i) {
            *to++ = '-';
        }
        hash_hex(from, groups[i], to);
        from += groups[i];
        to += (size_t)groups[i] * 2;
    }
    return out;
}

bool frame_id_parse(const char *text, struct frame_id *out) {
    char digits[33];
    size_t count = 0;
    for (size_t i = 0; text[i]; i++) {
        bool hyphen_place = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen_place != (text[i] == '-') || i >= 36) {
            return false;
        }
        if (!hyphen_place) {
            digits[count++] = text[i];
        }
    }
    digits[count] = '\0';
    return count == 32 && hash_parse_hex(digits, out->bytes, sizeof(out->bytes));
}
