/* creel-capture: opens one camera for the daemon, with as few rights as that needs.
 *
 * Started by inference/capture_child.c with the descriptors of capture_protocol.h and nothing else:
 * no arguments, an almost empty environment. States: started -> (CAPTURE_START) limits, libraries,
 * seal -> READY -> FRAME, ALIVE ... -> END, and the end of the process. The daemon starts another.
 *
 * Invariants: 1. A stranger's byte is read only after the process is sealed. 2. The address of the
 * camera comes over the socket, never as an argument, and what we write to stderr is scrubbed by
 * the daemon. 3. Nothing here waits without looking whether the daemon still wants it: the end of
 * its socket ends us. 4. That a camera is too slow is judged by the daemon, which needs nothing of
 * us for it; our own deadlines only give the better message. 5. SIGTERM and SIGINT are ignored,
 * because systemd and terminals send them to the whole group: the daemon decides when it is over.
 */
#include "daemon/base/err.h"
#include "inference/capture/capture.h"
#include "inference/worker/sandbox.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ALIVE_EVERY_US = 1000000 };

int64_t capture_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool packet_send(struct capture *capture, const void *packet, size_t size) {
    ssize_t sent;
    do {
        sent = send(CAPTURE_FD_SOCKET, packet, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent != (ssize_t)size) {
        capture->over = true;
    }
    return !capture->over;
}

void capture_note(struct capture *capture, uint32_t kind, uint32_t value, const char *text) {
    struct capture_note note = {.version = CAPTURE_PROTOCOL_VERSION, .kind = kind, .value = value};
    snprintf(note.text, sizeof(note.text), "%s", text);
    packet_send(capture, &note, sizeof(note));
    capture->said_us = capture_now_us();
}

void capture_alive(struct capture *capture) {
    if (capture_now_us() - capture->said_us >= ALIVE_EVERY_US) {
        capture_note(capture, CAPTURE_ALIVE, 0, "");
    }
}

static void slot_take(struct capture *capture, const struct capture_slot *slot) {
    if (slot->version == CAPTURE_PROTOCOL_VERSION && slot->kind == CAPTURE_SLOT &&
        slot->slot < CAPTURE_SLOTS) {
        capture->generations[slot->slot] = slot->generation;
        capture->free[slot->slot] = true;
    }
}

bool capture_over(struct capture *capture) {
    while (!capture->over) {
        struct capture_slot slot;
        ssize_t got = recv(CAPTURE_FD_SOCKET, &slot, sizeof(slot), MSG_DONTWAIT | MSG_TRUNC);
        if (got == (ssize_t)sizeof(slot)) {
            slot_take(capture, &slot);
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return false;
        } else {
            capture->over = true;
        }
    }
    return true;
}

bool capture_sleep(struct capture *capture, int64_t us) {
    int64_t end = capture_now_us() + us;
    while (!capture_over(capture)) {
        int64_t left = end - capture_now_us();
        if (left <= 0) {
            return false;
        }
        struct pollfd polled = {.fd = CAPTURE_FD_SOCKET, .events = POLLIN};
        struct timespec limit = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
        ppoll(&polled, 1, &limit, NULL);
    }
    return true;
}

uint8_t *capture_slot(struct capture *capture, bool wait, uint32_t *slot) {
    while (!capture_over(capture)) {
        for (uint32_t i = 0; i < CAPTURE_SLOTS; i++) {
            if (capture->free[i]) {
                *slot = i;
                return capture->ring + i * CAPTURE_SLOT_SIZE;
            }
        }
        if (!wait) {
            return NULL;
        }
        struct pollfd polled = {.fd = CAPTURE_FD_SOCKET, .events = POLLIN};
        poll(&polled, 1, -1);
    }
    return NULL;
}

void capture_hand(struct capture *capture, struct capture_frame *frame) {
    frame->version = CAPTURE_PROTOCOL_VERSION;
    frame->kind = CAPTURE_FRAME;
    frame->generation = capture->generations[frame->slot];
    capture->free[frame->slot] = false;
    packet_send(capture, frame, sizeof(*frame));
    capture->said_us = capture_now_us();
}

static bool start_get(struct capture_start *start) {
    ssize_t got;
    do {
        got = recv(CAPTURE_FD_SOCKET, start, sizeof(*start), MSG_TRUNC);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(*start) && start->version == CAPTURE_PROTOCOL_VERSION &&
           start->kind == CAPTURE_START;
}

static int set_up(struct capture *capture, struct err *err) {
    const struct capture_start *start = &capture->start;
    void *ring = mmap(NULL, CAPTURE_SLOTS * CAPTURE_SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                      CAPTURE_FD_RING, 0);
    if (ring == MAP_FAILED) {
        return err_sys(err, errno, "mapping the shared memory");
    }
    capture->ring = ring;
    bool network = start->source != CAPTURE_FILE && start->source != CAPTURE_DEVICE;
    uint32_t sandbox = 0;
    int code = sandbox_limits(start->memory_bytes, err);
    code = code != 0 ? code : picture_open(capture, err);
    if (code == 0) {
        code = start->source == CAPTURE_SNAPSHOT ? snapshot_prepare(err)
                                                 : stream_prepare(capture, err);
    }
    code = code != 0 ? code : sandbox_seal_capture(network, &sandbox, err);
    if (code == 0) {
        capture_note(capture, CAPTURE_READY, sandbox, "");
    }
    return code;
}

int main(void) {
    static struct capture capture;
    struct err err = {0};
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (!start_get(&capture.start)) {
        fputs("creel-capture is started by creel; it has no other use.\n", stderr);
        return 2;
    }
    int code = set_up(&capture, &err);
    if (code == 0) {
        code = capture.start.source == CAPTURE_SNAPSHOT ? snapshot_read(&capture, &err)
                                                        : stream_read(&capture, &err);
    }
    char text[2 * ERR_TEXT_MAX] = "";
    if (code != 0) {
        err_text(&err, text, sizeof(text));
    }
    capture_note(&capture, CAPTURE_END, code == 0, text);
    _exit(code == 0 ? 0 : 1); /* the end of the process frees what the libraries hold */
}
