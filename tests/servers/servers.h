/* servers: starts and stops the real servers that suites run against, and a scratch folder for each
 * suite.
 *
 * Included by suites with a main of their own, which start the servers before Check forks. A server
 * that cannot start fails the suite; only CREEL_SKIP_SERVERS=1 makes it skip (exit 77). The scripts
 * beside this file do the work.
 */
#ifndef CREEL_TESTS_SERVERS_H
#define CREEL_TESTS_SERVERS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define AZURITE_ACCOUNT "devstoreaccount1"
/* Published by Microsoft for its emulators; no secret. */
#define AZURITE_KEY                                                                                \
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define RGW_ACCESS_KEY "CREELTESTACCESSKEY00"
#define RGW_SECRET_KEY "creel-test-secret-key-of-forty-characters"

/* A port of the loopback that was free a moment ago. */
static inline int servers_free_port(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        perror("servers: no free port");
        exit(1);
    }
    close(fd);
    return ntohs(name.sin_port);
}

/* Runs a shell command; its exit status. */
__attribute__((format(printf, 1, 2))) static inline int servers_run(const char *fmt, ...) {
    char command[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    fflush(NULL);
    int status = system(command); /* a test's own fixed words */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static inline void servers_need(int status, const char *what) {
    if (status != 0) {
        const char *skip = getenv("CREEL_SKIP_SERVERS");
        printf("%s: %s could not be started\n", skip != NULL ? "skipped" : "failed", what);
        exit(skip != NULL ? 77 : 1);
    }
}

static inline int servers_azurite(const char *dir, int port, const char *tls) {
    return servers_run("OWNER_PID=%d '%s/tests/servers/azurite.sh' start '%s' %d %s", getpid(),
                       CREEL_SOURCE_DIR, dir, port, tls);
}

static inline int servers_azurite_stop(const char *dir) {
    return servers_run("'%s/tests/servers/azurite.sh' stop '%s'", CREEL_SOURCE_DIR, dir);
}

static inline int servers_rgw(const char *dir, int port, int monitor_port) {
    return servers_run("OWNER_PID=%d '%s/tests/servers/rgw.sh' start '%s' %d %d", getpid(),
                       CREEL_SOURCE_DIR, dir, port, monitor_port);
}

static inline int servers_rgw_stop(const char *dir) {
    return servers_run("'%s/tests/servers/rgw.sh' stop '%s'", CREEL_SOURCE_DIR, dir);
}

static inline void servers_scratch(char *out, size_t room) {
    const char *base = getenv("TMPDIR");
    snprintf(out, room, "%s/creel-test-XXXXXX", base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(out) == NULL) {
        perror("servers: no scratch folder");
        exit(1);
    }
}

#endif
