/* proxy_server: an HTTP proxy on threads of the test: CONNECT tunnels, and requests for http urls
 * passed on as they came. Whatever host is asked for, it reaches one port of this machine, as a
 * proxy of another network would know names that nobody here knows.
 */
#ifndef CREEL_TESTS_PROXY_SERVER_H
#define CREEL_TESTS_PROXY_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct proxy_server {
    int fd, port;
    int target;           /* port of 127.0.0.1 that everything leads to */
    const char *password; /* "user:password" in base64 that a client must show; NULL: none */
    int refuses;          /* status for every client; 0: none */
    pthread_t thread;
    atomic_uint tunnels, passed, turned_away;
};

struct proxy_client {
    struct proxy_server *server;
    int fd;
};

static inline int proxy_dial(int port) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&name, sizeof name) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static inline int proxy_write(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t written = send(fd, bytes, size, MSG_NOSIGNAL);
        if (written <= 0) {
            return -1;
        }
        bytes += written;
        size -= (size_t)written;
    }
    return 0;
}

/* Until either side ends. */
static inline void proxy_pump(int a, int b) {
    static _Thread_local char bytes[65536];
    struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0) {
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents == 0) {
                continue;
            }
            ssize_t got = read(fds[i].fd, bytes, sizeof bytes);
            if (got <= 0 || proxy_write(fds[1 - i].fd, bytes, (size_t)got) != 0) {
                return;
            }
        }
    }
}

/* The head and what came with it; 0 where none came. */
static inline size_t proxy_head(int fd, char *out, size_t room) {
    size_t used = 0;
    while (used < room - 1) {
        ssize_t got = read(fd, out + used, room - 1 - used);
        if (got <= 0) {
            return 0;
        }
        used += (size_t)got;
        out[used] = '\0';
        if (strstr(out, "\r\n\r\n") != NULL) {
            return used;
        }
    }
    return 0;
}

static inline int proxy_admits(const struct proxy_server *server, const char *head) {
    char line[256];
    if (server->refuses != 0) {
        return server->refuses;
    }
    if (server->password == NULL) {
        return 200;
    }
    snprintf(line, sizeof line, "proxy-authorization: basic %s\r\n", server->password);
    return strcasestr(head, line) != NULL ? 200 : 407;
}

static inline void proxy_serve(struct proxy_server *server, int fd) {
    char head[16384], answer[256];
    size_t size = proxy_head(fd, head, sizeof head);
    if (size == 0) {
        return;
    }
    int status = proxy_admits(server, head);
    if (status != 200) {
        atomic_fetch_add(&server->turned_away, 1);
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 %d No\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: "
                 "0\r\nConnection: close\r\n\r\n",
                 status);
        proxy_write(fd, answer, strlen(answer));
        return;
    }
    int up = proxy_dial(server->target);
    if (up < 0) {
        return;
    }
    if (strncmp(head, "CONNECT ", 8) == 0) {
        atomic_fetch_add(&server->tunnels, 1);
        snprintf(answer, sizeof answer, "HTTP/1.1 200 Connected\r\n\r\n");
        if (proxy_write(fd, answer, strlen(answer)) == 0) {
            proxy_pump(fd, up);
        }
    } else {
        atomic_fetch_add(&server->passed, 1);
        if (proxy_write(up, head, size) == 0) {
            proxy_pump(fd, up);
        }
    }
    close(up);
}

static inline void *proxy_client_run(void *ctx) {
    struct proxy_client client = *(struct proxy_client *)ctx;
    free(ctx);
    proxy_serve(client.server, client.fd);
    close(client.fd);
    return NULL;
}

static inline void *proxy_run(void *ctx) {
    struct proxy_server *server = ctx;
    for (;;) {
        struct proxy_client *client = malloc(sizeof *client);
        pthread_t thread;
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0 || client == NULL) {
            free(client);
            return NULL;
        }
        *client = (struct proxy_client){.server = server, .fd = fd};
        if (pthread_create(&thread, NULL, proxy_client_run, client) == 0) {
            pthread_detach(thread);
        }
    }
}

/* Ends with the test's process: its threads wait for clients that keep their connections. */
static inline void proxy_server_start(struct proxy_server *server) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server->fd, (struct sockaddr *)&name, size) != 0 || listen(server->fd, 64) != 0 ||
        getsockname(server->fd, (struct sockaddr *)&name, &size) != 0 ||
        pthread_create(&server->thread, NULL, proxy_run, server) != 0) {
        perror("proxy server");
        exit(1);
    }
    server->port = ntohs(name.sin_port);
}

#endif
