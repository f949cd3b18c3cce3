#include "webui/tls.h"
#include "daemon/base/buf.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#define PEM_MAX (64u << 10)

int webui__tls_init(struct webui__tls *tls, const char *server, const char *certificate,
                    const char *key, struct err *err) {
    *tls = (struct webui__tls){0};
    if (!certificate && !key) {
        return 0;
    }
    if (!certificate || !key) {
        return err_set(err, ERR_CONFIG, "%s.tls.certificate and %s.tls.key belong together", server,
                       server);
    }
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES) {
        return err_set(err, ERR_CONFIG, "this libmicrohttpd was built without TLS: unset %s.tls",
                       server);
    }
    tls->certificate = mem_strdup(certificate);
    tls->key = mem_strdup(key);
    if (!tls->certificate || !tls->key) {
        webui__tls_finish(tls);
        return err_set(err, ERR_NOMEM, "out of memory for the web server");
    }
    return 0;
}

void webui__tls_finish(struct webui__tls *tls) {
    free(tls->certificate);
    free(tls->key);
    *tls = (struct webui__tls){0};
}

static int read_file(const char *path, char **out, struct err *err) {
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(PEM_MAX);
    size_t size = 0;
    int code = fs_read_file(path, &bytes, err);
    *out = code ? NULL : buf_take(&bytes, &size);
    return code || *out ? code : err_set(err, ERR_CONFIG, "%s is empty", path);
}

static void hash_both(struct webui__pem *pem) {
    struct frame_hash each[2];
    hash_sha256(pem->certificate, strlen(pem->certificate), &each[0]);
    hash_sha256(pem->key, strlen(pem->key), &each[1]);
    hash_sha256(each, sizeof(each), &pem->hash);
}

int webui__pem_read(const struct webui__tls *tls, const char *server, struct webui__pem *out,
                    struct err *err) {
    *out = (struct webui__pem){0};
    if (!tls->certificate) {
        return 0;
    }
    int code = read_file(tls->certificate, &out->certificate, err);
    code = code ? code : read_file(tls->key, &out->key, err);
    if (code) {
        webui__pem_finish(out);
        err_wrap(err, "%s.tls", server);
        return err->code = ERR_CONFIG;
    }
    hash_both(out);
    return 0;
}

void webui__pem_finish(struct webui__pem *pem) {
    if (pem->key) {
        explicit_bzero(pem->key, strlen(pem->key));
    }
    free(pem->key);
    free(pem->certificate);
    *pem = (struct webui__pem){0};
}
