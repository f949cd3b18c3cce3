#include "sync/sign.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAS_VERSION "2020-12-06"

static int by_name(const void *a, const void *b) {
    const struct sign_field *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : strcmp(left->value, right->value);
}

static size_t sorted(const struct sign_field *fields, size_t count, const char *prefix,
                     struct sign_field out[SIGN_FIELDS_MAX]) {
    size_t used = 0;
    for (size_t i = 0; i < count && used < SIGN_FIELDS_MAX; i++) {
        if (strncmp(fields[i].name, prefix, strlen(prefix)) == 0) {
            out[used++] = fields[i];
        }
    }
    qsort(out, used, sizeof out[0], by_name);
    return used;
}

static const char *field_get(const struct sign_field *fields, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return fields[i].value;
        }
    }
    return "";
}

/* ---- Azure ---- */

void sync__sign_azure_text(const struct sign_azure *request, struct buf *out) {
    static const char *const lines[] = {"content-encoding",
                                        "content-language",
                                        "content-length",
                                        "content-md5",
                                        "content-type",
                                        "date",
                                        "if-modified-since",
                                        "if-match",
                                        "if-none-match",
                                        "if-unmodified-since",
                                        "range"};
    buf_printf(out, "%s\n", request->method);
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        if (strcmp(lines[i], "content-length") == 0) {
            if (request->content_length > 0) { /* zero is written as nothing */
                buf_printf(out, "%zu", request->content_length);
            }
        } else {
            buf_puts(out, field_get(request->headers, request->header_count, lines[i]));
        }
        buf_puts(out, "\n");
    }
    struct sign_field fields[SIGN_FIELDS_MAX];
    size_t count = sorted(request->headers, request->header_count, "x-ms-", fields);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s:%s\n", fields[i].name, fields[i].value);
    }
    buf_printf(out, "/%s%s", request->account, request->path);
    count = sorted(request->query, request->query_count, "", fields);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "\n%s:%s", fields[i].name, fields[i].value);
    }
}

int sync__sign_azure(const struct sign_azure *request, const uint8_t *key, size_t key_size,
                     char out[SIGN_HEADER_MAX], struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(SIGN_TEXT_MAX);
    sync__sign_azure_text(request, &text);
    if (text.failed) {
        return err_set(err, ERR_NOMEM, "no memory to sign a request");
    }
    struct frame_hash mac;
    char base64[HASH_BASE64_SIZE(sizeof mac.bytes)];
    hash_hmac_sha256(key, key_size, text.data, text.len, &mac);
    hash_base64(mac.bytes, sizeof mac.bytes, base64);
    snprintf(out, SIGN_HEADER_MAX, "SharedKey %s:%s", request->account, base64);
    return 0;
}

static void expiry_format(int64_t utc_us, char out[CLOCK_RFC3339_SIZE]) {
    clock_format_rfc3339(utc_us, out);
    memcpy(out + 19, "Z", 2); /* whole seconds: the form that every version takes */
}

void sync__sign_azure_sas_text(const struct sign_sas *sas, struct buf *out) {
    char expiry[CLOCK_RFC3339_SIZE];
    expiry_format(sas->expires_utc_us, expiry);
    buf_printf(out, "%s\n\n%s\n/blob/%s/%s", sas->permissions, expiry, sas->account,
               sas->container);
    if (sas->blob != NULL) {
        buf_printf(out, "/%s", sas->blob);
    }
    const struct delegation *lent = sas->delegation;
    if (lent != NULL) { /* then come two users and a correlation id, and no identifier */
        buf_printf(out, "\n%s\n%s\n%s\n%s\n%s\n%s\n\n", lent->object, lent->tenant, lent->start,
                   lent->expiry, lent->service, lent->version);
    }
    /* identifier, ip, protocol, version, resource, snapshot, encryption scope, five response
     * headers */
    buf_printf(out, "\n\n\n%s\n%s\n%s\n\n\n\n\n\n\n", sas->protocol, SAS_VERSION, sas->resource);
}

static void put_delegation(struct buf *out, const struct delegation *lent) {
    const struct sign_field fields[] = {{"skoid", lent->object}, {"sktid", lent->tenant},
                                        {"skt", lent->start},    {"ske", lent->expiry},
                                        {"sks", lent->service},  {"skv", lent->version}};
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        buf_printf(out, "&%s=", fields[i].name);
        buf_puts_url(out, fields[i].value, false);
    }
}

void sync__sign_azure_sas(const struct sign_sas *sas, const uint8_t *key, size_t key_size,
                          struct buf *out) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(SIGN_TEXT_MAX);
    sync__sign_azure_sas_text(sas, &text);
    if (text.failed) {
        out->failed = true;
        return;
    }
    struct frame_hash mac;
    char base64[HASH_BASE64_SIZE(sizeof mac.bytes)], expiry[CLOCK_RFC3339_SIZE];
    hash_hmac_sha256(key, key_size, text.data, text.len, &mac);
    hash_base64(mac.bytes, sizeof mac.bytes, base64);
    expiry_format(sas->expires_utc_us, expiry);
    buf_printf(out, "sv=%s&sr=%s&sp=%s&se=", SAS_VERSION, sas->resource, sas->permissions);
    buf_puts_url(out, expiry, false);
    if (sas->protocol[0] != '\0') {
        buf_printf(out, "&spr=%s", sas->protocol);
    }
    if (sas->delegation != NULL) {
        put_delegation(out, sas->delegation);
    }
    buf_puts(out, "&sig=");
    buf_puts_url(out, base64, false);
}

/* ---- AWS ---- */

/* Outer spaces go, inner runs become one. */
static void put_trimmed(struct buf *out, const char *value) {
    bool gap = false, begun = false;
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == ' ' || *c == '\t') {
            gap = begun;
            continue;
        }
        if (gap) {
            buf_puts(out, " ");
            gap = false;
        }
        buf_append(out, c, 1);
        begun = true;
    }
}

static void put_names(struct buf *out, const struct sign_field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(fields[i].name, fields[i - 1].name) != 0) {
            buf_printf(out, "%s%s", i > 0 ? ";" : "", fields[i].name);
        }
    }
}

static void put_headers(struct buf *out, const struct sign_field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(fields[i].name, fields[i - 1].name) == 0) {
            buf_puts(out, ","); /* a name that comes twice is one line */
        } else {
            buf_printf(out, "%s%s:", i > 0 ? "\n" : "", fields[i].name);
        }
        put_trimmed(out, fields[i].value);
    }
    buf_puts(out, "\n");
}

void sync__sign_aws_canonical(const struct sign_aws *request, struct buf *out) {
    struct sign_field fields[SIGN_FIELDS_MAX];
    size_t count = sorted(request->headers, request->header_count, "", fields);
    buf_printf(out, "%s\n%s\n%s\n", request->method, request->path[0] != '\0' ? request->path : "/",
               request->query);
    put_headers(out, fields, count);
    buf_puts(out, "\n");
    put_names(out, fields, count);
    buf_printf(out, "\n%s", request->payload);
}

static void mac_next(struct frame_hash *key, const char *text) {
    struct frame_hash next;
    hash_hmac_sha256(key->bytes, sizeof key->bytes, text, strlen(text), &next);
    *key = next;
}

static void signing_key(const struct sign_aws_key *key, const char *date, struct frame_hash *out) {
    char first[512];
    int length = snprintf(first, sizeof first, "AWS4%s", key->secret_key);
    size_t size = length < (int)sizeof first ? (size_t)length : sizeof first - 1;
    hash_hmac_sha256(first, size, date, strlen(date), out);
    explicit_bzero(first, sizeof first);
    mac_next(out, key->region);
    mac_next(out, key->service);
    mac_next(out, "aws4_request");
}

/* The signature in hex, and the scope that it is for. */
static int aws_signature(const struct sign_aws *request, const struct sign_aws_key *key,
                         char scope[256], char out[HASH_HEX_SIZE], struct err *err) {
    CLEANUP(buf_finish) struct buf canonical = BUF_INIT(SIGN_TEXT_MAX);
    CLEANUP(buf_finish) struct buf text = BUF_INIT(SIGN_TEXT_MAX);
    sync__sign_aws_canonical(request, &canonical);
    if (canonical.failed) {
        return err_set(err, ERR_NOMEM, "no memory to sign a request");
    }
    char stamp[CLOCK_AMZ_SIZE], date[9], hex[HASH_HEX_SIZE];
    clock_format_amz(request->utc_us, stamp);
    memcpy(date, stamp, 8);
    date[8] = '\0';
    struct frame_hash hash, mac;
    hash_sha256(canonical.data, canonical.len, &hash);
    hash_hex(hash.bytes, sizeof hash.bytes, hex);
    snprintf(scope, 256, "%s/%s/%s/aws4_request", date, key->region, key->service);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", stamp, scope, hex);
    if (text.failed) {
        return err_set(err, ERR_NOMEM, "no memory to sign a request");
    }
    signing_key(key, date, &mac);
    hash_hmac_sha256(mac.bytes, sizeof mac.bytes, text.data, text.len, &hash);
    explicit_bzero(&mac, sizeof mac);
    hash_hex(hash.bytes, sizeof hash.bytes, out);
    return 0;
}

int sync__sign_aws(const struct sign_aws *request, const struct sign_aws_key *key,
                   char out[SIGN_HEADER_MAX], struct err *err) {
    char scope[256], signature[HASH_HEX_SIZE];
    int code = aws_signature(request, key, scope, signature, err);
    if (code != 0) {
        return code;
    }
    struct sign_field fields[SIGN_FIELDS_MAX];
    size_t count = sorted(request->headers, request->header_count, "", fields);
    CLEANUP(buf_finish) struct buf names = BUF_INIT(SIGN_HEADER_MAX);
    put_names(&names, fields, count);
    if (names.failed || names.len == 0) {
        return err_set(err, ERR_NOMEM, "no memory to sign a request");
    }
    int length = snprintf(out, SIGN_HEADER_MAX,
                          "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                          key->access_key, scope, names.data, signature);
    return length < SIGN_HEADER_MAX
               ? 0
               : err_set(err, ERR_CONFIG, "the access key is too long to be one");
}

int sync__sign_aws_link(const struct sign_aws_key *key, const char *host, const char *path,
                        int64_t utc_us, int ttl_s, struct buf *out, struct err *err) {
    char stamp[CLOCK_AMZ_SIZE], scope[256], signature[HASH_HEX_SIZE];
    clock_format_amz(utc_us, stamp);
    CLEANUP(buf_finish) struct buf credential = BUF_INIT(SIGN_HEADER_MAX);
    CLEANUP(buf_finish) struct buf query = BUF_INIT(SIGN_TEXT_MAX);
    buf_printf(&credential, "%s/%.8s/%s/%s/aws4_request", key->access_key, stamp, key->region,
               key->service);
    if (credential.failed) {
        return err_set(err, ERR_CONFIG, "the access key is too long to be one");
    }
    buf_puts(&query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
    buf_puts_url(&query, credential.data, false);
    buf_printf(&query, "&X-Amz-Date=%s&X-Amz-Expires=%d", stamp, ttl_s);
    if (key->token != NULL) {
        buf_puts(&query, "&X-Amz-Security-Token=");
        buf_puts_url(&query, key->token, false);
    }
    buf_puts(&query, "&X-Amz-SignedHeaders=host");
    if (query.failed) {
        return err_set(err, ERR_NOMEM, "no memory to sign a link");
    }
    struct sign_field fields[] = {{"host", host}};
    struct sign_aws request = {.method = "GET",
                               .path = path,
                               .query = query.data,
                               .headers = fields,
                               .header_count = 1,
                               .payload = "UNSIGNED-PAYLOAD",
                               .utc_us = utc_us};
    int code = aws_signature(&request, key, scope, signature, err);
    if (code == 0) {
        buf_printf(out, "%s&X-Amz-Signature=%s", query.data, signature);
    }
    return code;
}
