/* auth: who sent a request, and whether they may do what it asks.
 *
 * A request is known by web.password (Basic), ingest.token, a token with scopes, or the cookie of a
 * session, in this order. On loopback nobody needs any, as long as there is no password, token or
 * user. Looking takes the scope read, a change write, the ingest server ingest. What a browser
 * sends by itself (a cookie) is never enough for a change: it takes the session's CSRF token too.
 * No page of another origin may post at all, by what the browser says of where a request comes from
 * (Origin, Sec-Fetch-Site): that is what stands before web.password, which a browser that was told
 * it once sends by itself as well, and before a log-in in somebody else's name. Basic is for
 * web.password alone: a user's password costs a scrypt, which no request but a log-in may ask for.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/form.h"
#include "webui/state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define USER      WEBUI_PASSWORD_USER
#define LOGIN_MAX 512 /* bytes of "user:password" */
#define FORM_TYPE "application/x-www-form-urlencoded"
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

bool webui__secret_right(const struct webui__gate *gate, const char *text, size_t size) {
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
    bool right = webui__secret_right(gate, colon + 1, size - user - 1);
    explicit_bzero(login, sizeof(login));
    return known && right;
}

static bool login_right(const struct webui__gate *gate, const char *header) {
    if (!header || (!gate->basic && !gate->bearer)) {
        return false;
    }
    if (strncasecmp(header, "Basic ", 6) == 0) {
        return basic_right(gate, header + 6);
    }
    return gate->bearer && strncasecmp(header, "Bearer ", 7) == 0 &&
           webui__secret_right(gate, header + 7, strlen(header + 7));
}

/* Callers of Custom Vision have a header of their own for what is a token here. */
static bool key_right(const struct webui__gate *gate, const char *header) {
    return gate->bearer && header && webui__secret_right(gate, header, strlen(header));
}

static int deny(struct webui__request *request, int status, const char *reason) {
    snprintf(request->reason, sizeof(request->reason), "%s", reason);
    return status;
}

/* ---- who it is ---- */

const char *webui__cookie_name(const struct webui__request *request) {
    return request->server->tls ? "__Host-creel" : "creel";
}

const char *webui__cookie(struct webui__request *request) {
    return MHD_lookup_connection_value(request->connection, MHD_COOKIE_KIND,
                                       webui__cookie_name(request));
}

static bool token_right(struct webui__request *request, const char *header) {
    return header && strncasecmp(header, "Bearer ", 7) == 0 &&
           webui__token_find(&request->webui->access, header + 7, clock_utc_us() / 1000000,
                             &request->who);
}

static bool session_right(struct webui__request *request) {
    const char *cookie = request->server->gate.people ? webui__cookie(request) : NULL;
    return cookie &&
           webui__session_find(&request->webui->access, cookie, clock_boot_us(), &request->who);
}

/* Fills request->who. What a request sends itself comes before what a browser adds to it. */
static bool identify(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    const char *login = webui__header(request, "Authorization");
    if (login_right(gate, login) || key_right(gate, webui__header(request, "Prediction-Key"))) {
        request->who = (struct webui__who){.scopes = WEBUI_READ | WEBUI_WRITE | WEBUI_INGEST};
        snprintf(request->who.user, sizeof(request->who.user), "%s", gate->basic ? USER : "");
        return true;
    }
    return token_right(request, login) || session_right(request);
}

static bool login_needed(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    return !gate->loopback || gate->basic || gate->bearer ||
           (gate->people && webui__access_people(&request->webui->access));
}

/* ---- what it may ---- */

static enum MHD_Result add_arg(void *cls, enum MHD_ValueKind kind, const char *name,
                               const char *value) {
    struct buf *out = cls;
    (void)kind;
    buf_puts(out, strchr(out->data, '?') ? "&" : "?");
    buf_puts_url(out, name, false);
    if (value) {
        buf_puts(out, "=");
        buf_puts_url(out, value, false);
    }
    return MHD_YES;
}

/* The address that was asked for, written anew: what came is unescaped by now. */
static void remember(struct webui__request *request) {
    static const char page[] = "/login?to=";
    CLEANUP(buf_finish) struct buf asked = BUF_INIT(WEBUI__TO_MAX - 1);
    CLEANUP(buf_finish) struct buf location = BUF_INIT(3 * WEBUI__TO_MAX + sizeof(page));
    buf_puts_url(&asked, request->path, true);
    if (!asked.failed && asked.len) {
        MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, add_arg, &asked);
    }
    buf_puts(&location, page);
    buf_puts_url(&location, asked.failed || !asked.len ? "/" : asked.data, true);
    free(request->location);
    request->location = buf_take(&location, NULL);
}

static int ask_for_login(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    bool people = gate->people && webui__access_people(&request->webui->access);
    if (people && !request->post && webui__wants_page(request)) {
        remember(request);
        return deny(request, MHD_HTTP_SEE_OTHER, "log in first");
    }
    webui__set_header(request, "WWW-Authenticate", "%s", gate->basic && !people ? REALM : "Bearer");
    return deny(request, MHD_HTTP_UNAUTHORIZED,
                people        ? "log in at /login, or send a token: Authorization: Bearer …"
                : gate->basic ? "log in as user creel with the password of web.password"
                              : "send the token of ingest.token: Authorization: Bearer …");
}

int webui__login_check(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    if (!identify(request)) {
        if (login_needed(request)) {
            return ask_for_login(request);
        }
        request->who = (struct webui__who){.scopes = WEBUI_READ | WEBUI_WRITE | WEBUI_INGEST};
    }
    bool look = !request->post || (request->route && (request->route->flags & ROUTE_LOOK));
    unsigned need = !gate->people ? WEBUI_INGEST : look ? WEBUI_READ : WEBUI_WRITE;
    if (request->who.scopes & need) {
        return 0;
    }
    return deny(request, MHD_HTTP_FORBIDDEN,
                need == WEBUI_INGEST  ? "this token is not for ingest"
                : need == WEBUI_WRITE ? "you may look, not change: that takes the role admin, or "
                                        "a token with the scope write"
                                      : "this token is not for reading");
}

int webui__gate_check(struct webui__request *request) {
    const struct webui__gate *gate = &request->server->gate;
    const char *host = webui__header(request, "Host");
    const char *origin = webui__header(request, "Origin");
    const char *site = webui__header(request, "Sec-Fetch-Site");
    if (gate->loopback && host && !webui__host_allowed(host, gate->host)) {
        return deny(request, MHD_HTTP_FORBIDDEN,
                    "this server listens on loopback and answers only to localhost, 127.0.0.1, "
                    "[::1] and its listen address as Host");
    }
    if (request->post && !webui__sender_allowed(origin, host, site)) {
        return deny(request, MHD_HTTP_FORBIDDEN, "a page of another site may not post here");
    }
    if (request->route && (request->route->flags & ROUTE_OPEN)) {
        identify(request);
        return 0;
    }
    return webui__login_check(request);
}

/* ---- changes ---- */

static bool csrf_right(const struct webui__request *request, const char *given) {
    size_t size = strlen(request->who.csrf);
    return given && strlen(given) == size && hash_equal(given, request->who.csrf, size);
}

int webui__csrf_check(struct webui__request *request) {
    char field[WEBUI__SECRET_SIZE];
    const char *type = webui__header(request, "Content-Type");
    if (!request->post || !request->who.session || (request->route->flags & ROUTE_OPEN) ||
        csrf_right(request, webui__header(request, "X-Creel-CSRF"))) {
        return 0;
    }
    bool form =
        type && strncasecmp(type, FORM_TYPE, strlen(FORM_TYPE)) == 0 && request->body.len &&
        webui__form_get(request->body.data, request->body.len, "csrf", field, sizeof(field));
    return form && csrf_right(request, field)
               ? 0
               : deny(request, MHD_HTTP_FORBIDDEN,
                      "the request does not carry the CSRF token of this session: reload the "
                      "page and try again");
}
