/* Snapshot URLs: a camera's still picture, asked for again and again, through libcurl.
 *
 * The only file of this folder that knows curl. One easy handle lives as long as the process, so
 * that the connection, and with it the authentication, is kept from one picture to the next. Any
 * fault ends the reader: the daemon waits longer from one to the next and starts another.
 *
 * Pictures are asked for at fixed times from the start on: a slow answer delays no later one, and
 * those whose time is over are left out.
 */
#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include "inference/capture/capture.h"
#include <curl/curl.h>
#include <netdb.h>

enum { REDIRECTS_MAX = 3, HEADERS_MAX = 64 << 10 };

struct snapshot {
    struct capture *capture;
    struct buf body;
    size_t header_bytes;
};

static size_t on_body(char *bytes, size_t one, size_t size, void *ctx) {
    struct snapshot *self = ctx;
    (void)one;
    buf_append(&self->body, bytes, size);
    return self->body.failed ? 0 : size;
}

static size_t on_header(char *bytes, size_t one, size_t size, void *ctx) {
    struct snapshot *self = ctx;
    (void)bytes, (void)one;
    self->header_bytes += size;
    return self->header_bytes > HEADERS_MAX ? 0 : size;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    struct snapshot *self = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return capture_over(self->capture);
}

static void set_up(CURL *curl, struct snapshot *self) {
    const struct capture_start *start = &self->capture->start;
    curl_easy_setopt(curl, CURLOPT_URL, start->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_UNRESTRICTED_AUTH, 0L); /* another host gets no password */
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)start->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, (long)start->tls_verify);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, start->tls_verify ? 2L : 0L);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)CAPTURE_SLOT_SIZE);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, self);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, self);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, self);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    if (start->user[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST));
        curl_easy_setopt(curl, CURLOPT_USERNAME, start->user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, start->password);
    }
}

static int fetch(CURL *curl, struct snapshot *self, struct err *err) {
    buf_reset(&self->body);
    self->header_bytes = 0;
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        return self->body.len > 0
                   ? picture_put_encoded(self->capture, (const uint8_t *)self->body.data,
                                         self->body.len, err)
                   : err_set(err, ERR_INVALID, "the answer is empty");
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_HTTP_RETURNED_ERROR) {
        return err_set(err, status == 401 || status == 403 ? ERR_DENIED : ERR_NET,
                       "the camera answers %ld", status);
    }
    if (self->body.failed || self->header_bytes > HEADERS_MAX) {
        return err_set(err, ERR_INVALID, "the answer is too large");
    }
    return err_set(err, code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_NET,
                   "asking for a picture failed: %s", curl_easy_strerror(code));
}

int snapshot_prepare(struct err *err) {
    if (curl_global_init(CURL_GLOBAL_ALL) != 0) {
        return err_set(err, ERR_NOMEM, "libcurl does not start");
    }
    struct addrinfo *known = NULL; /* so that the C library has read what it reads once */
    if (getaddrinfo("localhost", NULL, NULL, &known) == 0) {
        freeaddrinfo(known);
    }
    return 0;
}

int snapshot_read(struct capture *capture, struct err *err) {
    struct snapshot self = {.capture = capture, .body = BUF_INIT(CAPTURE_SLOT_SIZE)};
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for libcurl");
    }
    set_up(curl, &self);
    int64_t period = (int64_t)(1e6 / (capture->start.fps > 0 ? capture->start.fps : 1));
    int64_t next = capture_now_us();
    int code = 0;
    while (code == 0 && !capture_sleep(capture, next - capture_now_us())) {
        code = fetch(curl, &self, err);
        int64_t late = capture_now_us() - next;
        next += (late / period + 1) * period;
    }
    curl_easy_cleanup(curl);
    buf_finish(&self.body);
    return code;
}
