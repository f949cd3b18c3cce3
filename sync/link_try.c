/* link_try: whether a link opens, found out by opening it.
 *
 * Who can sign a link need not have the right that the link passes on: the signature is right, and
 * the server refuses it all the same. One byte is fetched, in the caller's thread, with the link
 * alone and no credential, just as whoever gets it will do.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/http.h"
#include <stdio.h>
#include <string.h>

#define TRY_MS 10000

static const char *const rights[] = {
    [SYNC_AZURE] = "the identity that signs links may not read blobs (role: Storage Blob Data "
                   "Reader, on the container)",
    [SYNC_S3] = "the key that signs links lacks s3:GetObject on this bucket and prefix",
};

static bool says_forbidden(const struct http_reply *reply) {
    static const char *const codes[] = {"AccessDenied", "AuthorizationPermissionMismatch"};
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        if (strcmp(reply->error_code, codes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int judge(const struct sync_remote_config *remote, const struct http_reply *reply,
                 struct err *err) {
    int status = reply->status;
    if (status == 200 || status == 206 || status == 416) { /* 416: an object without bytes */
        return 0;
    }
    if (status == 403 && says_forbidden(reply)) {
        return err_set(err, ERR_DENIED, "remote %s: %s (answered %d %s)", remote->name,
                       rights[remote->kind], status, reply->error_code);
    }
    if (status == 404) {
        return err_set(err, ERR_NOT_FOUND, "remote %s: the object is no longer there",
                       remote->name);
    }
    if (status >= 400 && status < 500) {
        return err_set(err, ERR_DENIED, "remote %s does not take its own link: answered %d %s %s",
                       remote->name, status, reply->error_code, reply->message);
    }
    return 0; /* no answer, or one that says nothing about the link */
}

static int ask(const struct sync_remote_config *remote, const char *link, struct http_request *out,
               struct err *err) {
    struct http_request request = {.method = "GET",
                                   .url = mem_strdup(link),
                                   .ca_file = remote->ca_file,
                                   .direct = sync__address_is_loopback(link)};
    if (remote->proxy != NULL && remote->proxy[0] != '\0') {
        request.proxy = strcmp(remote->proxy, "off") == 0 ? "" : remote->proxy;
    }
    if (request.url == NULL || !sync__request_add(&request, "range", "bytes=0-0")) {
        sync__request_finish(&request);
        return err_set(err, ERR_NOMEM, "no memory for a request");
    }
    *out = request;
    return 0;
}

int sync_link_try(const struct sync_remote_config *remote, const char *link, struct err *err) {
    const struct http_limits limits = {.connect_ms = TRY_MS / 3, .stall_s = TRY_MS / 2000};
    struct http *http = NULL;
    struct http_request request = {0};
    if (remote->kind == SYNC_DIRECTORY) {
        return 0;
    }
    int code = ask(remote, link, &request, err);
    if (code == 0) {
        code = sync__http_create(&limits, &http, err);
    }
    if (code != 0) {
        sync__request_finish(&request);
        return code;
    }
    int64_t until_us = clock_boot_us() + TRY_MS * INT64_C(1000);
    struct http_done done = {0};
    code = sync__http_start(http, &request, NULL, err);
    bool answered = false;
    while (code == 0 && !answered && clock_boot_us() < until_us) {
        code = sync__http_wait(http, NULL, 0, 100, err);
        answered = sync__http_next_done(http, &done);
    }
    if (answered) {
        code = judge(remote, &done.reply, err);
        sync__reply_finish(&done.reply);
    }
    sync__http_destroy(http);
    return code;
}
