/* notified LOG COMMAND [ARG]...: plays systemd's part of Type=notify: runs COMMAND with
 * NOTIFY_SOCKET set, appends each message it sends to LOG (a line each), passes SIGTERM and SIGHUP
 * on, and ends with its exit status.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t child;

static void pass_on(int signal_number) {
    if (child > 0) {
        kill(child, signal_number);
    }
}

static int listen_on(struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    unlink(address->sun_path);
    struct timeval patience = {.tv_usec = 100000};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(*address)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) {
        perror(address->sun_path);
        exit(1);
    }
    return fd;
}

static void write_down(const char *path, char *message) {
    FILE *log = fopen(path, "a");
    for (char *rest = message, *line; log && (line = strsep(&rest, "\n"));) {
        fprintf(log, "%s\n", line);
    }
    if (log) {
        fclose(log);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: notified LOG COMMAND [ARG]...\n");
        return 2;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s.sock", argv[1]);
    int fd = listen_on(&address);
    child = fork();
    if (child == 0) {
        setenv("NOTIFY_SOCKET", address.sun_path, 1);
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    signal(SIGTERM, pass_on);
    signal(SIGHUP, pass_on);
    for (int status;;) {
        char message[4096] = "";
        if (recv(fd, message, sizeof(message) - 1, 0) > 0) {
            write_down(argv[1], message);
        } else if (waitpid(child, &status, WNOHANG) == child) {
            unlink(address.sun_path);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}
