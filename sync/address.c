#include "sync/address.h"
#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The account that every Azurite and storage emulator knows; published in Microsoft's
 * documentation. */
#define EMULATOR_ACCOUNT  "devstoreaccount1"
#define EMULATOR_ENDPOINT "http://127.0.0.1:10000/devstoreaccount1"
#define EMULATOR_KEY                                                                               \
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

void sync__secret_free(char *secret) {
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        free(secret);
    }
}

/* ---- URLs ---- */

static bool is_number(const char *host) {
    if (host[0] == '[') {
        return true;
    }
    return host[0] != '\0' && strspn(host, "0123456789.") == strlen(host);
}

static bool is_localhost(const char *host) {
    size_t length = strlen(host);
    return strcmp(host, "localhost") == 0 ||
           (length > 10 && strcmp(host + length - 10, ".localhost") == 0);
}

static bool is_loopback(const char *host) {
    return is_localhost(host) || strcmp(host, "[::1]") == 0 ||
           (is_number(host) && strncmp(host, "127.", 4) == 0);
}

static bool is_link_local(const char *host) {
    static const char *const begins[] = {"[fe8", "[fe9", "[fea", "[feb", "[fd00:ec2::"};
    for (size_t i = 0; i < ARRAY_LENGTH(begins); i++) {
        if (strncmp(host, begins[i], strlen(begins[i])) == 0) {
            return true;
        }
    }
    return is_number(host) && strncmp(host, "169.254.", 8) == 0;
}

static bool host_is_clean(const char *host, size_t length) {
    static const char bracketed[] = "0123456789abcdefABCDEF:.%";
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        return strspn(host + 1, bracketed) == length - 2;
    }
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)host[i]) && strchr("-._", host[i]) == NULL) {
            return false;
        }
    }
    return length > 0;
}

/* The host ends at the last ':' that is not inside brackets. */
static int split_port(const char *text, size_t length, size_t *host_length, unsigned *port) {
    size_t end = length;
    while (end > 0 && isdigit((unsigned char)text[end - 1])) {
        end--;
    }
    *port = 0;
    *host_length = length;
    if (end == 0 || text[end - 1] != ':') {
        return 0;
    }
    for (size_t i = end; i < length; i++) {
        *port = *port * 10 + (unsigned)(text[i] - '0');
        if (*port > 65535) {
            return ERR_INVALID;
        }
    }
    *host_length = end - 1;
    return length > end && *port > 0 ? 0 : ERR_INVALID;
}

static int parse_path(const char *path, struct address *out, struct err *err) {
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/') {
        length--;
    }
    if (length > ADDRESS_PATH_MAX) {
        return err_set(err, ERR_CONFIG, "the url's path is longer than %d bytes", ADDRESS_PATH_MAX);
    }
    memcpy(out->path, path, length);
    out->path[length] = '\0';
    return 0;
}

static int parse_authority(const char *text, size_t length, struct address *out, struct err *err) {
    size_t host_length = 0;
    unsigned port = 0;
    if (split_port(text, length, &host_length, &port) != 0 || host_length > ADDRESS_HOST_MAX ||
        !host_is_clean(text, host_length)) {
        return err_set(err, ERR_CONFIG, "the url needs a host, and a port below 65536 if any");
    }
    for (size_t i = 0; i < host_length; i++) {
        out->host[i] = (char)tolower((unsigned char)text[i]);
    }
    out->host[host_length] = '\0';
    if (port == 0 || port == (out->https ? 443u : 80u)) {
        snprintf(out->authority, sizeof out->authority, "%s", out->host);
    } else {
        snprintf(out->authority, sizeof out->authority, "%s:%u", out->host, port);
    }
    out->loopback = is_loopback(out->host);
    out->link_local = is_link_local(out->host);
    out->by_number = is_number(out->host) || strcmp(out->host, "localhost") == 0;
    return 0;
}

int sync__address_parse(const char *url, struct address *out, struct err *err) {
    struct address address = {0};
    const char *rest = NULL;
    if (strncasecmp(url, "https://", 8) == 0) {
        address.https = true;
        rest = url + 8;
    } else if (strncasecmp(url, "http://", 7) == 0) {
        rest = url + 7;
    } else {
        return err_set(err, ERR_CONFIG, "the url must begin with https:// or http://");
    }
    if (strpbrk(rest, "?#") != NULL) {
        return err_set(err, ERR_CONFIG,
                       "the url must not have a query; a SAS token belongs under its own key, sas");
    }
    for (const char *c = rest; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            return err_set(err, ERR_CONFIG, "the url must not have spaces");
        }
    }
    size_t length = strcspn(rest, "/");
    int code = parse_authority(rest, length, &address, err);
    if (code == 0) {
        code = parse_path(rest + length, &address, err);
    }
    if (code == 0) {
        *out = address;
    }
    return code;
}

bool sync__address_is_loopback(const char *url) {
    char base[ADDRESS_HOST_MAX + 32];
    struct address at;
    const char *host = strstr(url, "://");
    size_t length = host != NULL ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
    if (length == 0 || length >= sizeof base) {
        return false;
    }
    memcpy(base, url, length);
    base[length] = '\0';
    return sync__address_parse(base, &at, NULL) == 0 && at.loopback;
}

/* ---- connection strings ---- */

struct words { /* borrowed pieces of the text */
    char *account, *key, *endpoint, *suffix, *protocol, *sas, *emulator;
};

static const struct {
    const char *name;
    size_t at;
} known_words[] = {
    {"AccountName", offsetof(struct words, account)},
    {"AccountKey", offsetof(struct words, key)},
    {"BlobEndpoint", offsetof(struct words, endpoint)},
    {"EndpointSuffix", offsetof(struct words, suffix)},
    {"DefaultEndpointsProtocol", offsetof(struct words, protocol)},
    {"SharedAccessSignature", offsetof(struct words, sas)},
    {"UseDevelopmentStorage", offsetof(struct words, emulator)},
};

static int take_words(char *text, struct words *words, struct err *err) {
    char *rest = text;
    for (char *word = strsep(&rest, ";"); word != NULL; word = strsep(&rest, ";")) {
        word += strspn(word, " \t\r\n");
        if (*word == '\0') {
            continue;
        }
        char *value = strchr(word, '=');
        if (value == NULL) {
            return err_set(err, ERR_CONFIG,
                           "the connection string must read Name=value;Name=value");
        }
        *value++ = '\0';
        for (size_t i = 0; i < ARRAY_LENGTH(known_words); i++) {
            if (strcasecmp(word, known_words[i].name) == 0) {
                *(char **)(void *)((char *)words + known_words[i].at) = value;
            }
        }
    }
    return 0;
}

static char *endpoint_make(const struct words *words) {
    if (words->endpoint != NULL) {
        return mem_strdup(words->endpoint);
    }
    if (words->account == NULL) {
        return NULL;
    }
    struct buf url = BUF_INIT(ADDRESS_PATH_MAX);
    buf_printf(&url, "%s://%s.blob.%s", words->protocol != NULL ? words->protocol : "https",
               words->account, words->suffix != NULL ? words->suffix : "core.windows.net");
    size_t length = 0;
    char *made = buf_take(&url, &length);
    buf_finish(&url);
    return made;
}

static char *dup_or_null(const char *text) {
    return text != NULL ? mem_strdup(text) : NULL;
}

static int connection_check(const struct words *words, struct err *err) {
    if (words->account == NULL && words->endpoint == NULL) {
        return err_set(err, ERR_CONFIG,
                       "the connection string has neither AccountName nor BlobEndpoint");
    }
    if (words->key == NULL && words->sas == NULL) {
        return err_set(err, ERR_CONFIG,
                       "the connection string has neither AccountKey nor SharedAccessSignature");
    }
    return 0;
}

int sync__connection_parse(const char *text, struct connection *out, struct err *err) {
    size_t size = strlen(text) + 1;
    char *copy = mem_strdup(text);
    if (copy == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the connection string");
    }
    struct words words = {0};
    int code = take_words(copy, &words, err);
    if (code == 0 && words.emulator != NULL && strcasecmp(words.emulator, "true") == 0) {
        static char account[] = EMULATOR_ACCOUNT, key[] = EMULATOR_KEY, url[] = EMULATOR_ENDPOINT;
        words.account = account;
        words.key = key;
        words.endpoint = words.endpoint != NULL ? words.endpoint : url;
    }
    if (code == 0) {
        code = connection_check(&words, err);
    }
    if (code == 0) {
        struct connection made = {.account = dup_or_null(words.account),
                                  .key = dup_or_null(words.key),
                                  .endpoint = endpoint_make(&words),
                                  .sas = dup_or_null(words.sas)};
        *out = made;
    }
    explicit_bzero(copy, size);
    free(copy);
    return code;
}

void sync__connection_finish(struct connection *connection) {
    sync__secret_free(connection->key);
    sync__secret_free(connection->sas);
    free(connection->account);
    free(connection->endpoint);
    *connection = (struct connection){0};
}

/* ---- SAS tokens ---- */

static int hex_digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

static bool decode(const char *text, size_t length, char *out, size_t room) {
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (used + 1 >= room) {
            return false;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

bool sync__sas_get(const char *sas, const char *name, char *out, size_t room) {
    const char *at = sas + (sas[0] == '?');
    size_t name_length = strlen(name);
    while (*at != '\0') {
        size_t length = strcspn(at, "&");
        if (length > name_length && strncmp(at, name, name_length) == 0 && at[name_length] == '=') {
            return decode(at + name_length + 1, length - name_length - 1, out, room);
        }
        at += length + (at[length] == '&');
    }
    return false;
}
