/* tls: the certificate and the key of a server, as PEM files.
 *
 * They are read at the start and again when asked (webui_certificates_reload); in memory only for
 * as long as it takes microhttpd to read them. Thread: one at a time.
 */
#ifndef CREEL_WEBUI_TLS_H
#define CREEL_WEBUI_TLS_H

#include "daemon/base/err.h"
#include "daemon/base/hash.h"
#include <stdbool.h>

struct webui__tls {
    char *certificate, *key; /* owned; files; NULL: plain HTTP */
    struct frame_hash seen;  /* of what is served */
};

struct webui__pem {
    char *certificate, *key; /* owned */
    struct frame_hash hash;  /* of both */
};

/* `server` is "web", for errors. Both NULL: plain HTTP. */
int webui__tls_init(struct webui__tls *tls, const char *server, const char *certificate,
                    const char *key, struct err *err);
void webui__tls_finish(struct webui__tls *tls);

int webui__pem_read(const struct webui__tls *tls, const char *server, struct webui__pem *out,
                    struct err *err);
void webui__pem_finish(struct webui__pem *pem); /* wipes the key */

#endif
