#include "webui/policy.h"
#include "daemon/base/buf.h"
#include "daemon/base/mem.h"
#include <string.h>

#define POLICY_MAX 4096 /* bytes: it goes out with every page */

static bool is_origin(const char *text, size_t size) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-_:[]";
    size_t scheme = strncmp(text, "https://", 8) == 0  ? 8
                    : strncmp(text, "http://", 7) == 0 ? 7
                                                       : 0;
    return scheme && size > scheme && strspn(text + scheme, letters) >= size - scheme;
}

int webui__policy_make(const char *origins, char **out, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(POLICY_MAX);
    buf_puts(&text, "default-src 'none'; img-src 'self'");
    for (const char *at = origins ? origins : ""; *at;) {
        size_t size = strcspn(at, " ");
        if (size && !is_origin(at, size)) {
            return err_set(err, ERR_CONFIG, "\"%.*s\" is no origin, as in https://a.example:9000",
                           (int)size, at);
        }
        buf_puts(&text, size ? " " : "");
        buf_append(&text, at, size);
        at += size + (at[size] != '\0');
    }
    buf_puts(&text,
             "; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
             "base-uri 'none'; frame-ancestors 'none'");
    *out = buf_take(&text, NULL);
    return *out ? 0
                : err_set(err, ERR_CONFIG, "the remotes' addresses make a policy of over %d bytes",
                          POLICY_MAX);
}
