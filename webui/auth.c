#include "daemon/base/mem.h"
#include "webui/http.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define USER      "creel"
#define LOGIN_MAX 512 /* bytes of "user:password" */
#define REALM     "Basic realm=\"creel\", charset=\"UTF-8\""

int webui__gate_init(struct webui__gate *gate, const char *password, const char *token) {
    gate->basic = password && password[0];
    gate->bearer = token && token[0];
    const char *secret = gate->basic ? password : gate->bearer ? token : "";
    if (strlen(secret) + sizeof(USER) > LOGIN_MAX) {
        return ERR_CONFIG;
    }
    hash_sha256(secret, strlen(secret), &gate->secret);
    return 0;
}

static bool secret_right(const struct webui__gate *gate, const char *text, size_t size) {
    struct frame_hash hash;
    hash_sha256(text, size, &hash);
    return hash_equal(hash.bytes, gate->secret.bytes, sizeof(hash.bytes));
}

/* "Basic base64(user:password)". The gallery wants the user by its name; pushers may send any,
 * since what they have is a token. */
static bool basic_right(const struct webui__gate *gate, const char *text) {
    char login[LOGIN_MAX];
    size_t size = 0;
    if (!hash_parse_base64(text, login, sizeof(login), &size)) {
        return false;
    }
    const char *colon = memchr(login, ':', size);
    if (!colon) {
        return false;
    }
    size_t user = (size_t)(colon - login);
    bool known = gate->bearer || (user == strlen(USER) && memcmp(login, USER, user) == 0);
    bool right = secret_right(gate, colon + 1, size - user - 1);
    explicit_bzero(login, sizeof(login));
    return known && right;
}

static bool login_right(const struct webui__gate *gate, const char *header) {
    if (!header) {
        return false;
    }
    if (strncasecmp(header, "Basic ", 6) == 0) {
        return basic_right(gate, header + 6);
    }
    return gate->bearer && strncasecmp(header, "Bearer ", 7) == 0 &&
           secret_right(gate, header + 7, strlen(header + 7));
}

/* Callers of Custom Vision have a header of their own for what is a token here. */
static bool key_right(const struct webui__gate *gate, const char *header) {
    return gate->bearer && header && secret_right(gate, header, strlen(header));
}

static int deny(struct webui__request *request, int status, const char *reason) {
    snprintf(request->reason, sizeof(request->reason), "%s", reason);
    return status;
}

int webui__gate_check(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    const char *host = webui__header(request, "Host");
    const char *origin = webui__header(request, "Origin");
    if (gate->loopback && host && !webui__host_allowed(host, gate->host)) {
        return deny(request, MHD_HTTP_FORBIDDEN,
                    "this server listens on loopback and answers only to localhost, 127.0.0.1, "
                    "[::1] and its listen address as Host");
    }
    if (request->post && origin && (!host || !webui__origin_same(origin, host))) {
        return deny(request, MHD_HTTP_FORBIDDEN, "a page of another site may not post here");
    }
    return request->route && (request->route->flags & ROUTE_OPEN) ? 0 : webui__login_check(request);
}

int webui__login_check(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    if ((!gate->basic && !gate->bearer) ||
        login_right(gate, webui__header(request, "Authorization")) ||
        key_right(gate, webui__header(request, "Prediction-Key"))) {
        return 0;
    }
    webui__set_header(request, "WWW-Authenticate", "%s", gate->basic ? REALM : "Bearer");
    return deny(request, MHD_HTTP_UNAUTHORIZED,
                gate->basic ? "log in as user creel with the password of web.password"
                            : "send the token of ingest.token: Authorization: Bearer …");
}
