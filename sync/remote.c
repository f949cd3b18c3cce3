#include "sync/remote.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/parts.h"
#include "sync/sign.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct remote_ops *const kinds[] = {
    [SYNC_DIRECTORY] = &sync__directory_ops,
    [SYNC_AZURE] = &sync__azure_ops,
    [SYNC_S3] = &sync__s3_ops,
};

/* ---- requests ---- */

void sync__request_finish(struct http_request *request) {
    sync__secret_free(request->url);
    for (size_t i = 0; i < request->line_count; i++) {
        sync__secret_free(request->lines[i]);
    }
    *request = (struct http_request){0};
}

bool sync__request_add(struct http_request *request, const char *name, const char *value) {
    if (request->line_count == HTTP_HEADERS_MAX) {
        return false;
    }
    size_t room = strlen(name) + strlen(value) + 3;
    char *line = mem_alloc(room);
    if (line == NULL) {
        return false;
    }
    snprintf(line, room, "%s: %s", name, value);
    request->lines[request->line_count++] = line;
    return true;
}

/* ---- objects and keys ---- */

void sync__put_finish(struct remote_put *put) {
    sync__parts_destroy(put->parts);
    put->parts = NULL;
}

const char *sync__media_type(enum frame_media media) {
    switch (media) {
    case MEDIA_JPEG:
        return "image/jpeg";
    case MEDIA_PNG:
        return "image/png";
    case MEDIA_NONE:
        break;
    }
    return "application/octet-stream";
}

void sync__object_init(struct remote_object *object, const struct store_outbox_row *row,
                       const char *key, const uint8_t *bytes, size_t size) {
    *object = (struct remote_object){.tier = row->tier,
                                     .media = row->media,
                                     .key = key,
                                     .bytes = bytes,
                                     .size = size,
                                     .sha256 = row->blob,
                                     .width = row->width,
                                     .height = row->height};
}

const uint8_t *sync__object_md5(struct remote_object *object) {
    if (!object->md5_known) {
        hash_md5(object->bytes, object->size, object->md5);
        object->md5_known = true;
    }
    return object->md5;
}

const char *sync__object_crc64(struct remote_object *object) {
    if (object->crc64[0] == '\0') {
        sync__crc64_base64(object->bytes, object->size, object->crc64);
    }
    return object->crc64;
}

static bool name_is_valid(const char *name) {
    size_t length = strlen(name);
    return length >= 1 && length <= FRAME_NAME_MAX && isalnum((unsigned char)name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

int sync_key_format(const char *device, const struct store_outbox_row *row,
                    char out[STORE_KEY_MAX + 1], struct err *err) {
    static const char *const tiers[TIER_COUNT] = {"annotated", "unannotated"};
    if (device == NULL || !name_is_valid(device)) {
        return err_set(err, ERR_INVALID,
                       "the device's name must be of the form [a-z0-9][a-z0-9-]*");
    }
    if ((unsigned)row->tier >= TIER_COUNT) {
        return err_set(err, ERR_INVALID, "a frame of no tier has no key");
    }
    char date[CLOCK_DATE_SIZE], hex[HASH_HEX_SIZE], key[STORE_KEY_MAX + 1];
    clock_format_date(row->kept_utc_us, date);
    hash_hex(row->blob.bytes, sizeof row->blob.bytes, hex);
    int length =
        snprintf(key, sizeof key, "frames/tier=%s/device=%s/date=%s/%s.%s", tiers[row->tier],
                 device, date, hex, row->media == MEDIA_PNG ? "png" : "jpg");
    if (length < 0 || (size_t)length >= sizeof key) {
        return err_set(err, ERR_INVALID, "the object's key would be too long");
    }
    memcpy(out, key, (size_t)length + 1);
    return 0;
}

int sync__remote_name(const struct remote *remote, const char *key, char out[STORE_KEY_MAX + 1],
                      struct err *err) {
    if (key[0] == '\0' || strlen(remote->prefix) + strlen(key) > STORE_KEY_MAX) {
        return err_set(err, ERR_INVALID, "an object's name must have 1 to %d bytes", STORE_KEY_MAX);
    }
    snprintf(out, STORE_KEY_MAX + 1, "%s%s", remote->prefix, key);
    return 0;
}

const struct credential_value *sync__credential_sign(const struct remote *remote,
                                                     struct remote_put *put, struct err *err) {
    const struct credential_value *value =
        sync__credential_get(remote->credential, clock_boot_us());
    if (value == NULL) {
        err_set(err, ERR_BUSY, "remote %s: no credential from %s yet", remote->name,
                remote->credential->ops->what);
        return NULL;
    }
    put->generation = remote->credential->generation;
    return value;
}

/* ---- opening ---- */

void sync__identity_set(struct remote *remote, const char *const *parts, size_t count) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(8192);
    for (size_t i = 0; i < count; i++) {
        const char *part = parts[i] != NULL ? parts[i] : "";
        buf_append(&text, part, strlen(part) + 1); /* the NUL ends it */
    }
    hash_sha256(text.data, text.len, &remote->identity);
}

static int prefix_set(struct remote *remote, const char *prefix, struct err *err) {
    if (prefix == NULL) {
        return 0;
    }
    prefix += strspn(prefix, "/");
    size_t length = strlen(prefix);
    while (length > 0 && prefix[length - 1] == '/') {
        length--;
    }
    if (length > REMOTE_PREFIX_MAX) {
        return err_set(err, ERR_CONFIG, "prefix: longer than %d bytes", REMOTE_PREFIX_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        if (iscntrl((unsigned char)prefix[i])) {
            return err_set(err, ERR_CONFIG, "prefix: holds a control character");
        }
    }
    if (length > 0) {
        snprintf(remote->prefix, sizeof remote->prefix, "%.*s/", (int)length, prefix);
    }
    return 0;
}

/* Never in an error's text: it may hold a password. */
static bool proxy_is_valid(const char *proxy) {
    static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};
    for (size_t i = 0; i < ARRAY_LENGTH(schemes); i++) {
        size_t length = strlen(schemes[i]);
        if (strncmp(proxy, schemes[i], length) == 0) {
            return isgraph((unsigned char)proxy[length]) && strpbrk(proxy, " \t\r\n") == NULL;
        }
    }
    return false;
}

static int proxy_set(const struct sync_remote_config *config, struct remote *remote,
                     struct err *err) {
    const char *proxy = config->proxy;
    if (!sync__given(proxy)) {
        return 0;
    }
    bool off = strcmp(proxy, "off") == 0;
    if (!off && !proxy_is_valid(proxy)) {
        return err_set(err, ERR_CONFIG,
                       "proxy: must be off or a url such as http://proxy.example.org:3128 (http, "
                       "https, socks5, socks5h)");
    }
    remote->proxy = mem_strdup(off ? "" : proxy);
    return remote->proxy != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a remote");
}

static int common_set(const struct sync_remote_config *config, struct remote *remote,
                      struct err *err) {
    memcpy(remote->name, config->name, sizeof remote->name);
    remote->name[STORE_REMOTE_NAME_MAX] = '\0';
    if (config->ca_file != NULL && config->ca_file[0] != '\0') {
        remote->ca_file = mem_strdup(config->ca_file);
        if (remote->ca_file == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for a remote");
        }
    }
    int code = proxy_set(config, remote, err);
    if (code == 0 && remote->credential != NULL) {
        /* whoever signs for the one door signs for the other too */
        remote->credential->ca_file = remote->ca_file;
        remote->credential->proxy = remote->proxy;
    }
    return code;
}

int sync__remote_open(const struct sync_remote_config *config, struct remote **out,
                      struct err *err) {
    if (!name_is_valid(config->name)) {
        return err_set(err, ERR_CONFIG, "a remote's name must be of the form [a-z0-9][a-z0-9-]*");
    }
    if ((size_t)config->kind >= ARRAY_LENGTH(kinds) || kinds[config->kind] == NULL) {
        return err_set(err, ERR_CONFIG, "remote %s: type must be azure, s3 or directory",
                       config->name);
    }
    struct remote shared = {0}; /* the kind's open needs the prefix for its identity */
    struct remote *remote = NULL;
    int code = prefix_set(&shared, config->prefix, err);
    if (code == 0) {
        code = kinds[config->kind]->open(config, &remote, err);
    }
    if (code == 0) {
        memcpy(remote->prefix, shared.prefix, sizeof remote->prefix);
        code = common_set(config, remote, err);
    }
    if (code != 0) {
        sync__remote_close(remote);
        err_wrap(err, "remote %s", config->name);
        return code;
    }
    /* The prefix is part of who a remote is, whatever its kind. */
    char hex[HASH_HEX_SIZE];
    hash_hex(remote->identity.bytes, sizeof remote->identity.bytes, hex);
    const char *parts[] = {remote->ops->kind, hex, remote->prefix};
    sync__identity_set(remote, parts, ARRAY_LENGTH(parts));
    *out = remote;
    return 0;
}

void sync__remote_close(struct remote *remote) {
    if (remote != NULL) {
        free(remote->ca_file);
        sync__secret_free(remote->proxy);
        remote->ca_file = remote->proxy = NULL;
        sync__credential_close(remote->credential);
        remote->credential = NULL;
        remote->ops->close(remote);
    }
}

int sync_remote_check(const struct sync_remote_config *config, struct err *err) {
    struct remote *remote = NULL;
    int code = sync__remote_open(config, &remote, err);
    sync__remote_close(remote);
    return code;
}

int sync_link_origin(const struct sync_remote_config *config, char out[SYNC_ORIGIN_MAX],
                     struct err *err) {
    struct remote *remote = NULL;
    int code = sync__remote_open(config, &remote, err);
    if (code == 0) {
        snprintf(out, SYNC_ORIGIN_MAX, "%s", remote->origin);
    }
    sync__remote_close(remote);
    return code;
}

int sync_link_create(const struct sync_remote_config *config, enum frame_tier tier, const char *key,
                     int ttl_s, char out[SYNC_LINK_MAX], struct err *err) {
    if (ttl_s < 1 || ttl_s > SIGN_LINK_TTL_MAX_S) {
        return err_set(err, ERR_INVALID, "a link lives 1 second to 7 days");
    }
    struct remote *remote = NULL;
    int code = sync__remote_open(config, &remote, err);
    if (code != 0) {
        return code;
    }
    CLEANUP(buf_finish) struct buf link = BUF_INIT(SYNC_LINK_MAX - 1);
    if (remote->ops->link == NULL) {
        code = err_set(err, ERR_REFUSED, "remote %s is a %s: no link can be made to it",
                       remote->name, remote->ops->kind);
    } else {
        code = remote->ops->link(remote, tier, key, ttl_s, clock_utc_us(), &link, err);
    }
    if (code == 0 && link.failed) {
        code = err_set(err, ERR_INVALID, "the link would be longer than %d bytes", SYNC_LINK_MAX);
    }
    if (code == 0) {
        memcpy(out, link.data, link.len + 1);
    }
    sync__remote_close(remote);
    return code;
}
