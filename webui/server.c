/* server: one listener: its socket, its microhttpd daemon, and the sweep over its connections.
 *
 * The socket is made here and not by microhttpd, so that a taken port is told from other faults,
 * the next free one can be tried, and port 0 can be asked back.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "webui/http.h"
#include "webui/state.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_TRIED       20
#define CONNECTION_MEMORY (32u << 10) /* bytes of request line and headers of one connection */
#define RETIRED_US        1000000     /* what was accepted when it retired is counted by then */
#define BACKLOG           4096 /* a crowd that is at the door at once; the kernel may take fewer */
#define TLS_PRIORITIES    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

static void free_addresses(struct addrinfo **list) {
    if (*list) {
        freeaddrinfo(*list);
    }
}

/* "host:port", "[v6]:port" or ":port" (every address). */
static int split(const char *listen, char host[256], uint16_t *port, struct err *err) {
    const char *colon = strrchr(listen, ':');
    int64_t number = 0;
    size_t size = colon ? (size_t)(colon - listen) : 0;
    if (!colon || size >= 256 || !webui__integer_parse(colon + 1, 0, 65535, &number)) {
        return err_set(err, ERR_CONFIG,
                       "cannot listen on \"%s\": expected host:port, as in 127.0.0.1:8080", listen);
    }
    memcpy(host, listen, size);
    host[size] = '\0';
    *port = (uint16_t)number;
    return 0;
}

static int resolve(const char *listen, const char *host, struct addrinfo **out, struct err *err) {
    char bare[256];
    size_t size = strlen(host);
    bool v6 = size > 2 && host[0] == '[' && host[size - 1] == ']';
    snprintf(bare, sizeof(bare), "%.*s", (int)(v6 ? size - 2 : size), v6 ? host + 1 : host);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    int code = getaddrinfo(bare[0] ? bare : NULL, "0", &hints, out);
    if (code != 0) {
        return err_set(err, ERR_CONFIG, "cannot listen on \"%s\": %s", listen, gai_strerror(code));
    }
    return 0;
}

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof(v6));
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* A listening socket, or -1 and errno. */
static int listen_at(const struct addrinfo *where, uint16_t port) {
    struct sockaddr_storage address = {0};
    memcpy(&address, where->ai_addr, where->ai_addrlen);
    if (where->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)&address)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)&address)->sin_port = htons(port);
    }
    int fd = socket(where->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, where->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int saved = errno;
        fd_close_at(&fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static uint16_t port_of(int fd) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static int listen_near(const struct webui__server_config *config, const struct addrinfo *where,
                       uint16_t port, int *out, struct err *err) {
    int tries = config->next_free_port && port ? PORTS_TRIED + 1 : 1;
    int saved = EADDRINUSE;
    for (int i = 0; i < tries && port + i <= UINT16_MAX; i++) {
        int fd = listen_at(where, (uint16_t)(port + i));
        if (fd >= 0) {
            *out = fd;
            return 0;
        }
        saved = errno;
        if (saved != EADDRINUSE) {
            break;
        }
    }
    return err_sys(err, saved, "cannot listen on %s (%s.listen names the address)", config->listen,
                   config->name);
}

static int check_gate(const struct webui__server_config *config, struct webui__server *server,
                      struct err *err) {
    struct webui__gate *gate = &server->gate;
    if (webui__gate_init(gate, config->password, config->token) != 0) {
        return err_set(err, ERR_CONFIG, "%s is too long: at most 500 bytes", config->option);
    }
    gate->people = config->people;
    if (gate->loopback || gate->basic || gate->bearer ||
        (gate->people && webui__access_people(&server->webui->access))) {
        return 0;
    }
    return err_set(err, ERR_CONFIG,
                   "%s.listen is %s, which others can reach, and %s is not set: set it%s, or "
                   "listen on 127.0.0.1 and come in through ssh -L",
                   config->name, config->listen, config->option,
                   gate->people ? ", or make a user (creel user add)" : "");
}

/* ---- microhttpd ---- */

static void log_microhttpd(void *cls, const char *fmt, va_list args) {
    struct webui__server *server = cls;
    char text[256];
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    if (pthread_equal(pthread_self(), atomic_load(&server->starter))) {
        memcpy(server->complaint, text, sizeof(text));
    }
    log_debug("microhttpd", "server=%s says=\"%s\"", server->name, text);
}

static int start_daemon(struct webui__server *server, const struct webui__pem *pem, int fd,
                        struct MHD_Daemon **out, struct err *err) {
    union { /* its values are no const pointers */
        const char *in;
        void *out;
    } priorities = {.in = TLS_PRIORITIES};
    struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, pem->certificate},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, pem->key},
                                   {MHD_OPTION_HTTPS_PRIORITIES, 0, priorities.out},
                                   {MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    atomic_store(&server->starter, pthread_self());
    *out = MHD_start_daemon(
        flags | (server->tls ? (unsigned)MHD_USE_TLS : 0u), 0, NULL, NULL, webui__on_request,
        server, MHD_OPTION_EXTERNAL_LOGGER, log_microhttpd, server, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, server->threads, MHD_OPTION_CONNECTION_LIMIT,
        server->connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)server->timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT,
        1, MHD_OPTION_URI_LOG_CALLBACK, webui__on_uri, server, MHD_OPTION_NOTIFY_COMPLETED,
        webui__on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, webui__on_connection, server,
        MHD_OPTION_ARRAY, server->tls ? tls : plain, MHD_OPTION_END);
    if (*out) {
        return 0;
    }
    return server->tls ? err_set(err, ERR_CONFIG, "cannot start TLS with %s and %s (%s.tls): %s",
                                 server->files.certificate, server->files.key, server->name,
                                 server->complaint)
                       : err_set(err, ERR_SYS, "cannot start the threads of the %s server: %s",
                                 server->name, server->complaint);
}

int webui__server_start(struct webui__server *server, struct webui *webui,
                        const struct webui__server_config *config, struct err *err) {
    CLEANUP(free_addresses) struct addrinfo *addresses = NULL;
    CLEANUP(fd_close_at) int fd = -1;
    CLEANUP(webui__pem_finish) struct webui__pem pem = {0};
    uint16_t port = 0;
    *server = (struct webui__server){.webui = webui,
                                     .name = config->name,
                                     .routes = config->routes,
                                     .route_count = config->route_count,
                                     .listener = -1,
                                     .timeout_s = config->timeout_s,
                                     .threads = config->threads,
                                     .connections = config->connections,
                                     .body_max = config->body_max,
                                     .body_option = config->body_option};
    int code = split(config->listen, server->gate.host, &port, err);
    code = code ? code : resolve(config->listen, server->gate.host, &addresses, err);
    if (code) {
        return code;
    }
    server->gate.loopback = is_loopback(addresses->ai_addr);
    code = check_gate(config, server, err);
    code =
        code ? code
             : webui__tls_init(&server->files, config->name, config->certificate, config->key, err);
    code = code ? code : webui__pem_read(&server->files, config->name, &pem, err);
    code = code ? code : listen_near(config, addresses, port, &fd, err);
    if (code) {
        webui__tls_finish(&server->files);
        return code;
    }
    server->tls = pem.certificate != NULL;
    server->files.seen = pem.hash;
    webui__watches_init(&server->watches, config->connections - config->connections / 4,
                        config->timeout_s);
    server->port = port_of(fd);
    pthread_mutex_init(&server->swap, NULL);
    code = start_daemon(server, &pem, fd, &server->daemon, err);
    if (code) {
        webui__tls_finish(&server->files);
        pthread_mutex_destroy(&server->swap);
        webui__watches_finish(&server->watches);
        return code;
    }
    TAKE_FD(fd); /* microhttpd's until it is quiesced */
    return 0;
}

void webui__server_quiesce(struct webui__server *server) {
    if (server->daemon) {
        server->listener = MHD_quiesce_daemon(server->daemon);
    }
}

static void retired_stop(struct webui__retired *retired) {
    if (retired->daemon) {
        MHD_stop_daemon(retired->daemon);
        fd_close_at(&retired->listener);
    }
    *retired = (struct webui__retired){0};
}

void webui__server_stop(struct webui__server *server) {
    if (!server->daemon) {
        return;
    }
    for (size_t i = 0; i < WEBUI__RETIRED_MAX; i++) {
        retired_stop(&server->retired[i]);
    }
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
    webui__tls_finish(&server->files);
    pthread_mutex_destroy(&server->swap);
    fd_close_at(&server->listener);
    server->listener = -1;
    webui__watches_finish(&server->watches);
}

/* ---- another certificate ---- */

static bool is_over(const struct webui__retired *retired) {
    const union MHD_DaemonInfo *info =
        retired->daemon && clock_boot_us() - retired->since_boot_us > RETIRED_US
            ? MHD_get_daemon_info(retired->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
            : NULL;
    return info && info->num_connections == 0;
}

/* The old microhttpd takes no more, and is ended when its last connection is gone (sweep). */
static void replace(struct webui__server *server, struct MHD_Daemon *fresh, size_t place) {
    struct webui__retired retired = {.daemon = server->daemon,
                                     .listener = MHD_quiesce_daemon(server->daemon),
                                     .since_boot_us = clock_boot_us()};
    pthread_mutex_lock(&server->swap);
    server->retired[place] = retired;
    server->daemon = fresh;
    pthread_mutex_unlock(&server->swap);
}

static size_t free_place(struct webui__server *server) {
    size_t place = 0;
    pthread_mutex_lock(&server->swap);
    while (place < WEBUI__RETIRED_MAX && server->retired[place].daemon) {
        place++;
    }
    pthread_mutex_unlock(&server->swap);
    return place;
}

/* The new one is started on the same socket before the old one leaves it, so that nobody finds the
 * door shut, and a file that is no certificate changes nothing. */
int webui__server_renew(struct webui__server *server, bool *changed, struct err *err) {
    CLEANUP(webui__pem_finish) struct webui__pem pem = {0};
    struct MHD_Daemon *fresh = NULL;
    *changed = false;
    int code = server->daemon ? webui__pem_read(&server->files, server->name, &pem, err) : 0;
    if (code || !pem.certificate || memcmp(&pem.hash, &server->files.seen, sizeof(pem.hash)) == 0) {
        return code;
    }
    size_t place = free_place(server);
    if (place == WEBUI__RETIRED_MAX) {
        return err_set(err, ERR_BUSY,
                       "%s.tls: connections of %d certificates before this one are still open; "
                       "reload again later",
                       server->name, WEBUI__RETIRED_MAX);
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    CLEANUP(fd_close_at) int fd = info ? fcntl(info->listen_fd, F_DUPFD_CLOEXEC, 0) : -1;
    code = fd < 0 ? err_sys(err, errno, "%s.tls", server->name)
                  : start_daemon(server, &pem, fd, &fresh, err);
    if (code) {
        return code;
    }
    TAKE_FD(fd);
    replace(server, fresh, place);
    server->files.seen = pem.hash;
    *changed = true;
    return 0;
}

static void sweep_retired(struct webui__server *server) {
    for (size_t i = 0; i < WEBUI__RETIRED_MAX; i++) {
        struct webui__retired over = {0};
        pthread_mutex_lock(&server->swap);
        if (is_over(&server->retired[i])) {
            over = server->retired[i];
            server->retired[i] = (struct webui__retired){0};
        }
        pthread_mutex_unlock(&server->swap);
        retired_stop(&over);
    }
}

void webui__server_sweep(struct webui__server *server) {
    if (server->port) {
        webui__watches_sweep(&server->watches);
        sweep_retired(server);
    }
}
