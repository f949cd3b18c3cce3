/* login: the page where people log in and out.
 *
 * Works without script. A wrong name and a wrong password get the same answer after the same time;
 * tries are braked per address and in all (access.c) before a password costs anything. The page
 * that was asked for is where one goes then, if it is a path of ours.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/form.h"
#include "webui/html.h"
#include "webui/pages.h"
#include "webui/state.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A path of this server, and nothing that a browser would take for another one. */
static const char *safe_path(const char *to) {
    bool plain = to[0] == '/' && to[1] != '/' && to[1] != '\\' && strlen(to) < WEBUI__TO_MAX;
    for (const char *at = to; plain && *at; at++) {
        plain = (unsigned char)*at > ' ' && (unsigned char)*at < 0x7f && *at != '\\';
    }
    return plain ? to : "/";
}

/* What a person's network gives them: an IPv4 address, or the first half of an IPv6 one. */
static size_t address_of(struct webui__request *request, uint8_t out[8]) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    memset(out, 0, 8);
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, info->client_addr, sizeof(v4));
        memcpy(out, &v4.sin_addr, 4);
        return 4;
    }
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, info->client_addr, sizeof(v6));
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        memcpy(out, v6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
        return mapped ? 4 : 8;
    }
    return 8;
}

static void set_cookies(struct webui__request *request, const char *cookie, const char *csrf) {
    const char *secure = request->server->tls ? "; Secure" : "";
    const char *gone = cookie[0] ? "" : "; Max-Age=0";
    webui__add_header(request, "Set-Cookie", "%s=%s; Path=/; HttpOnly; SameSite=Lax%s%s",
                      webui__cookie_name(request), cookie, secure, gone);
    webui__add_header(request, "Set-Cookie", "creel-csrf=%s; Path=/; SameSite=Strict%s%s", csrf,
                      secure, gone);
}

/* ---- the page ---- */

static void put_form(struct buf *page, const char *to) {
    buf_puts(page,
             "<form class=\"login\" method=\"post\" action=\"/login\"><p><label for=\"user\">User"
             "</label> <input id=\"user\" name=\"user\" autocomplete=\"username\" "
             "autocapitalize=\"none\" required></p><p><label for=\"password\">Password</label> "
             "<input id=\"password\" name=\"password\" type=\"password\" "
             "autocomplete=\"current-password\" required></p><input type=\"hidden\" name=\"to\" "
             "value=\"");
    buf_puts_html(page, to);
    buf_puts(page, "\"><p><button>Log in</button></p></form>");
}

static void put_out_form(struct buf *page, const struct webui__who *who) {
    buf_puts(page, "<p>You are logged in as <strong>");
    buf_puts_html(page, who->user);
    buf_puts(page, who->scopes & WEBUI_WRITE ? "</strong>, who may change things.</p>"
                                             : "</strong>, who may look.</p>");
    buf_puts(page, "<form method=\"post\" action=\"/logout\">");
    webui__html_hidden(page, "csrf", who->csrf);
    buf_puts(page, "<p><button>Log out</button></p></form>");
}

static void reply_page(struct webui__request *request, int status, const char *to,
                       const char *fault) {
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    webui__html_begin(&page, "Log in", "");
    buf_puts(&page, "<section class=\"notice\"><h1>Log in</h1>");
    if (fault) {
        buf_puts(&page, "<p role=\"alert\">");
        buf_puts_html(&page, fault);
        buf_puts(&page, "</p>");
    }
    if (request->who.session) {
        put_out_form(&page, &request->who);
    } else {
        put_form(&page, to);
    }
    buf_puts(&page, "</section>");
    webui__html_end(&page);
    webui__reply_text(request, status, WEBUI__HTML_TYPE, &page);
}

void webui__on_login_page(struct webui__request *request) {
    if (request->post) {
        webui__on_login(request);
        return;
    }
    reply_page(request, MHD_HTTP_OK, safe_path(webui__arg(request, "to")), NULL);
}

/* ---- in and out ---- */

/* A try, which takes the time of a scrypt. */
struct attempt {
    char user[WEBUI_NAME_SIZE], password[WEBUI_PASSWORD_MAX + 1], to[WEBUI__TO_MAX];
    struct webui__user found;
    bool right;
};

static void attempt_destroy(void *ctx) {
    explicit_bzero(ctx, sizeof(struct attempt));
    free(ctx);
}

/* The user of web.password has no record. */
static void attempt_judge(struct webui *webui, void *ctx) {
    struct attempt *attempt = ctx;
    const struct webui__gate *gate = &webui->web.gate;
    if (strcmp(attempt->user, WEBUI_PASSWORD_USER) == 0 && gate->basic) {
        attempt->found = (struct webui__user){.role = WEBUI_ADMIN};
        snprintf(attempt->found.name, sizeof(attempt->found.name), "%s", attempt->user);
        attempt->right = webui__secret_right(gate, attempt->password, strlen(attempt->password));
        return;
    }
    attempt->right =
        webui__password_right(&webui->access, attempt->user, attempt->password, &attempt->found);
}

static void let_in(struct webui__request *request, const struct webui__user *user, const char *to) {
    static const struct frame_hash none;
    char cookie[WEBUI__SECRET_SIZE];
    struct webui__who who;
    int64_t now = clock_boot_us();
    struct webui__access *access = &request->webui->access;
    bool record = memcmp(&user->hash, &none, sizeof(none)) != 0;
    webui__session_begin(access, user->name, user->role, record ? &user->hash : NULL, now, cookie);
    if (!webui__session_find(access, cookie, now, &who)) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "log in again");
        return;
    }
    set_cookies(request, cookie, who.csrf);
    webui__reply_redirect(request, MHD_HTTP_SEE_OTHER, safe_path(to));
    explicit_bzero(cookie, sizeof(cookie));
}

static void attempt_begin(struct webui__request *request, struct attempt *attempt) {
    uint8_t address[8];
    char text[64];
    int wait_s = 0;
    size_t size = address_of(request, address);
    if (webui__try_allowed(&request->webui->access, address, size, clock_boot_us(), &wait_s)) {
        webui__aside_put(request, ASIDE_PASSWORD, attempt_judge, attempt, attempt_destroy);
        return;
    }
    snprintf(text, sizeof(text), "Too many tries: wait %d seconds.", wait_s);
    webui__set_header(request, "Retry-After", "%d", wait_s);
    reply_page(request, MHD_HTTP_TOO_MANY_REQUESTS, safe_path(attempt->to), text);
    attempt_destroy(attempt);
}

static void attempt_end(struct webui__request *request, const struct attempt *attempt) {
    uint8_t address[8];
    size_t size = address_of(request, address);
    if (!attempt->right) {
        reply_page(request, MHD_HTTP_FORBIDDEN, safe_path(attempt->to),
                   "That is not a user's password.");
        return;
    }
    webui__try_forgive(&request->webui->access, address, size);
    let_in(request, &attempt->found, attempt->to);
}

void webui__on_login(struct webui__request *request) {
    struct attempt *attempt = webui__aside_result(request);
    if (attempt) {
        attempt_end(request, attempt);
        return;
    }
    const char *body = request->body.len ? request->body.data : "";
    attempt = mem_alloc(sizeof(*attempt));
    if (!attempt) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    webui__form_get(body, request->body.len, "to", attempt->to, sizeof(attempt->to));
    bool given =
        webui__form_get(body, request->body.len, "user", attempt->user, sizeof(attempt->user)) &&
        webui__form_get(body, request->body.len, "password", attempt->password,
                        sizeof(attempt->password));
    if (request->body.len) {
        explicit_bzero(request->body.data, request->body.len);
    }
    if (given) {
        attempt_begin(request, attempt);
        return;
    }
    reply_page(request, MHD_HTTP_BAD_REQUEST, safe_path(attempt->to),
               "Give a user and a password.");
    attempt_destroy(attempt);
}

void webui__on_logout(struct webui__request *request) {
    const char *cookie = webui__cookie(request);
    if (cookie) {
        webui__session_end(&request->webui->access, cookie);
    }
    set_cookies(request, "", "");
    webui__reply_redirect(request, MHD_HTTP_SEE_OTHER, "/login");
}
