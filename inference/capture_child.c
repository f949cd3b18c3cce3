/* See capture_child.h.
 *
 * Invariants: 1. A slot is lent once at a time, under a generation that never repeats; a picture in
 * a slot that is not lent, or of another generation, is a lie and ends the process. 2. The size of
 * a picture comes in the packet, which is ours once it was received; the shared memory holds pixels
 * only, and is read once, into memory of ours. 3. Nothing here waits for the process: sending to
 * one that does not listen is its end.
 */
#include "inference/capture_child.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_SIZE ((size_t)(CAPTURE_SLOTS * CAPTURE_SLOT_SIZE))

union packet {
    uint32_t head[2]; /* version, kind */
    struct capture_frame frame;
    struct capture_note note;
};

static void scrub(const void *ctx, char *line) {
    source__url_scrub(ctx, line, PROCESS_LINE_SIZE);
}

static int packet_send(struct capture_child *child, const void *packet, size_t size,
                       struct err *err) {
    ssize_t sent;
    do {
        sent = send(child->socket, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)size) {
        return 0;
    }
    return err_set(err, ERR_CRASHED, "the capture process does not listen: %s", strerror(errno));
}

static int slot_lend(struct capture_child *child, uint32_t slot, struct err *err) {
    struct capture_slot packet = {.version = CAPTURE_PROTOCOL_VERSION,
                                  .kind = CAPTURE_SLOT,
                                  .slot = slot,
                                  .generation = ++child->generation};
    child->lent[slot] = packet.generation;
    return packet_send(child, &packet, sizeof(packet), err);
}

/* ---- birth ---- */

static int ring_make(struct capture_child *child, struct err *err) {
    child->ring_fd = memfd_create("creel-capture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (child->ring_fd < 0 || ftruncate(child->ring_fd, (off_t)RING_SIZE) != 0 ||
        fcntl(child->ring_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        return err_sys(err, errno, "making shared memory for pictures");
    }
    void *ring = mmap(NULL, RING_SIZE, PROT_READ, MAP_SHARED, child->ring_fd, 0);
    if (ring == MAP_FAILED) {
        return err_sys(err, errno, "mapping shared memory for pictures");
    }
    child->ring = ring;
    return 0;
}

static int poll_add(struct capture_child *child, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(child->poll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int wire(const char *program, int file_fd, struct capture_child *child, struct err *err) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        return err_sys(err, errno, "making a socket for the capture process");
    }
    CLEANUP(fd_close_at) int theirs = sockets[1];
    child->socket = sockets[0];
    int code = ring_make(child, err);
    if (code != 0) {
        return code;
    }
    struct process_wiring wiring = {.fds = {theirs, child->ring_fd, file_fd},
                                    .count = file_fd >= 0 ? 3 : 2};
    char *argv[] = {(char *)(uintptr_t)program, NULL};
    code = process_spawn(argv, &wiring, &child->process, err);
    if (code != 0) {
        return code;
    }
    child->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (child->poll_fd < 0 || poll_add(child, child->socket) != 0 ||
        poll_add(child, child->process.noise) != 0) {
        return err_sys(err, errno, "watching the capture process");
    }
    return 0;
}

int capture_child_start(const char *program, const struct capture_start *start, int file_fd,
                        const struct source__url *url, struct capture_child *out, struct err *err) {
    struct capture_child child = CAPTURE_CHILD_NONE;
    child.process.name = "capture";
    child.process.scrub = scrub;
    child.process.scrub_ctx = url;
    int code = wire(program, file_fd, &child, err);
    if (code == 0) {
        code = packet_send(&child, start, sizeof(*start), err);
    }
    for (uint32_t i = 0; i < CAPTURE_SLOTS && code == 0; i++) {
        code = slot_lend(&child, i, err);
    }
    if (code != 0) {
        capture_child_end(&child);
        return code;
    }
    *out = child;
    return 0;
}

/* ---- what it says ---- */

static int lie(struct err *err, const char *what) {
    return err_set(err, ERR_CORRUPT, "the capture process sent %s", what);
}

static int frame_make(const struct capture_child *child, const struct capture_frame *packet,
                      const char *camera, struct frame **out, struct err *err) {
    size_t size = (size_t)packet->size;
    uint8_t *bytes = mem_dup(child->ring + packet->slot * CAPTURE_SLOT_SIZE, size);
    if (bytes == NULL) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory for a picture of %zu bytes", camera,
                       size);
    }
    return packet->raw ? frame_create_raw(camera, FRAME_YUV420P, packet->width, packet->height,
                                          bytes, size, out, err)
                       : frame_create(camera, bytes, size, out, err);
}

static int frame_take(struct capture_child *child, const struct capture_frame *packet,
                      const char *camera, struct capture_event *event, struct err *err) {
    if (packet->slot >= CAPTURE_SLOTS || child->lent[packet->slot] == 0 ||
        child->lent[packet->slot] != packet->generation) {
        return lie(err, "a picture in a slot that it does not have");
    }
    child->lent[packet->slot] = 0;
    if (packet->size == 0 || packet->size > CAPTURE_SLOT_SIZE || packet->raw > 1 ||
        (packet->raw == 1 &&
         packet->size != frame_raw_size(FRAME_YUV420P, packet->width, packet->height))) {
        return lie(err, "a picture of a size that cannot be");
    }
    struct frame *frame = NULL;
    int code = frame_make(child, packet, camera, &frame, err);
    slot_lend(child, packet->slot, NULL); /* one that has ended is heard of after its last words */
    if (code != 0) {
        return code;
    }
    event->kind = CAPTURE_EVENT_FRAME;
    event->frame = frame;
    return 0;
}

static int note_take(struct capture_child *child, const struct capture_note *note,
                     struct capture_event *event) {
    event->kind = note->kind == CAPTURE_END ? CAPTURE_EVENT_END : CAPTURE_EVENT_NOTE;
    event->note_kind = note->kind;
    event->value = note->value;
    memcpy(event->text, note->text, sizeof(event->text));
    event->text[sizeof(event->text) - 1] = '\0';
    for (char *c = event->text; *c != '\0'; c++) {
        *c = *c >= ' ' && *c <= '~' ? *c : '?';
    }
    source__url_scrub(child->process.scrub_ctx, event->text, sizeof(event->text));
    if (note->kind == CAPTURE_READY) {
        child->sandbox = note->value;
    }
    return 0;
}

static int gone(struct capture_child *child, struct err *err) {
    char death[2 * PROCESS_LINE_SIZE];
    process_autopsy(&child->process, death, sizeof(death));
    return err_set(err, ERR_CRASHED, "the capture process %s", death);
}

/* A process that ended before it had read all of ours makes the kernel say so once, before it hands
 * over what the process had said. */
static ssize_t packet_take(struct capture_child *child, union packet *packet) {
    ssize_t got;
    do {
        got = recv(child->socket, packet, sizeof(*packet), MSG_DONTWAIT | MSG_TRUNC);
    } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    return got;
}

int capture_child_next(struct capture_child *child, const char *camera, struct capture_event *event,
                       struct err *err) {
    union packet packet;
    *event = (struct capture_event){.kind = CAPTURE_EVENT_NONE};
    process_hear(&child->process);
    ssize_t got = packet_take(child, &packet);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return 0;
    }
    if (got <= 0) {
        return gone(child, err);
    }
    if ((size_t)got < sizeof(packet.head) || packet.head[0] != CAPTURE_PROTOCOL_VERSION) {
        return lie(err, "what is no message");
    }
    uint32_t kind = packet.head[1];
    if (kind == CAPTURE_FRAME && (size_t)got == sizeof(packet.frame)) {
        return frame_take(child, &packet.frame, camera, event, err);
    }
    if (kind >= CAPTURE_READY && kind <= CAPTURE_END && kind != CAPTURE_FRAME &&
        (size_t)got == sizeof(packet.note)) {
        return note_take(child, &packet.note, event);
    }
    return lie(err, "what is no message");
}

void capture_child_end(struct capture_child *child) {
    process_end(&child->process);
    fd_close_at(&child->socket);
    fd_close_at(&child->poll_fd);
    fd_close_at(&child->ring_fd);
    if (child->ring != NULL) {
        munmap((void *)(uintptr_t)child->ring, RING_SIZE);
    }
    *child = (struct capture_child)CAPTURE_CHILD_NONE;
}
