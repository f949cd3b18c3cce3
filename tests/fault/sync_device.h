/* sync_device: a device in a process of its own, so that it can be killed: a store whose frames
 * leave as soon as they may, and the sync on it. Its parent speaks with it line by line.
 *
 *   put A B     keeps the frames from A to before B; answered when they are durable
 *   spoil CALL ERRNO COUNT   a call of the file system fails in the remote's directory (open,
 * pwrite, fsync, mkdir); the COUNT-th time it kills the device (0: never) well        no call fails
 * any more go          the sync starts counts      "PENDING DONE QUARANTINED" and the last error of
 * the sync frames      a line a frame: kind of receipt (0: none), whether its bytes are here, its
 * key reasons     a line a frame that is set aside: why retry       releases what was set aside
 *   quit        everything ends softly
 * Every answer ends with a line of one dot.
 */
#ifndef CREEL_TESTS_SYNC_DEVICE_H
#define CREEL_TESTS_SYNC_DEVICE_H

#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "store/store.h"
#include "sync/sync.h"
#include "tests/servers/servers.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE_FRAMES_MAX 16
#define DEVICE_ANSWER_MAX 32768
#define DEVICE_WAIT_MS    20000

/* ---- both sides ---- */

struct device_place { /* of a remote; empty strings: not given */
    enum sync_kind kind;
    char url[160], prefix[64], ca_file[300], proxy[64];
};

static inline enum frame_tier device_tier(unsigned frame) {
    return frame % 3 == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED;
}

/* CREEL_FAULT_PARTS=1: objects that go up in parts. S3 wants them to be large. */
static inline bool device_parts(void) {
    const char *wanted = getenv("CREEL_FAULT_PARTS");
    return wanted != NULL && wanted[0] == '1';
}

static bool device_large;

static inline size_t device_size(unsigned frame) {
    return (device_large ? 5u << 20 : 9000) + frame * 613 % 9000;
}

static inline uint8_t *device_bytes(unsigned frame) {
    uint8_t *bytes = malloc(device_size(frame));
    uint32_t seed = frame * 2654435761u + 99;
    for (size_t i = 0; i < device_size(frame); i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

static inline void device_remote(const struct device_place *place,
                                 struct sync_remote_config *remote) {
    bool azure = place->kind == SYNC_AZURE;
    *remote =
        (struct sync_remote_config){.name = "cloud",
                                    .kind = place->kind,
                                    .required = true,
                                    .create_containers = true,
                                    .url = place->url,
                                    .prefix = place->prefix,
                                    .ca_file = place->ca_file[0] != '\0' ? place->ca_file : NULL,
                                    .proxy = place->proxy[0] != '\0' ? place->proxy : NULL,
                                    .parts_above_bytes = !device_parts() ? 0
                                                         : azure         ? 12000
                                                                         : 5u << 20,
                                    .part_bytes = !device_parts() ? 0
                                                  : azure         ? 4000
                                                                  : 5u << 20,
                                    .path = place->kind == SYNC_DIRECTORY ? place->url : NULL,
                                    .account = azure ? AZURITE_ACCOUNT : NULL,
                                    .account_key = azure ? AZURITE_KEY : NULL,
                                    .bucket = "faults",
                                    .access_key = azure ? NULL : RGW_ACCESS_KEY,
                                    .secret_key = azure ? NULL : RGW_SECRET_KEY};
}

/* ---- the device's disk: calls that fail below one directory ---- */

enum disk_call { DISK_OPEN = 0, DISK_PWRITE, DISK_FSYNC, DISK_MKDIR, DISK_CALLS };

#define DISK_FDS_MAX 1024

struct disk_faults {
    char path[160];
    atomic_bool below[DISK_FDS_MAX]; /* descriptors of what lies there */
    atomic_int call, errno_of, kill_at, times;
};

static struct disk_faults disk_faults;

static inline bool disk_fails(enum disk_call call, bool below) {
    int wanted = atomic_load(&disk_faults.errno_of);
    if (wanted == 0 || !below || atomic_load(&disk_faults.call) != (int)call) {
        return false;
    }
    int times = atomic_fetch_add(&disk_faults.times, 1) + 1;
    if (times == atomic_load(&disk_faults.kill_at)) {
        kill(getpid(), SIGKILL);
    }
    errno = wanted;
    return true;
}

static inline bool disk_below(const char *path) {
    size_t length = strlen(disk_faults.path);
    return length > 0 && strncmp(path, disk_faults.path, length) == 0;
}

static inline bool disk_fd_below(int fd) {
    return fd >= 0 && fd < DISK_FDS_MAX && atomic_load(&disk_faults.below[fd]);
}

/* Only what would make something: a disk that fails or is full can be read. */
static inline int disk_open(const char *path, int flags, mode_t mode) {
    bool below = disk_below(path), makes = (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0;
    if (disk_fails(DISK_OPEN, below && makes)) {
        return -1;
    }
    int fd = fs_ops_real.open(path, flags, mode);
    if (fd >= 0 && fd < DISK_FDS_MAX) {
        atomic_store(&disk_faults.below[fd], below);
    }
    return fd;
}

static inline ssize_t disk_pwrite(int fd, const void *bytes, size_t size, off_t at) {
    if (disk_fails(DISK_PWRITE, disk_fd_below(fd))) {
        int failure = errno;
        (void)!fs_ops_real.pwrite(fd, bytes, size / 2, at); /* half of it arrives */
        errno = failure;
        return -1;
    }
    return fs_ops_real.pwrite(fd, bytes, size, at);
}

static inline int disk_fsync(int fd) {
    return disk_fails(DISK_FSYNC, disk_fd_below(fd)) ? -1 : fs_ops_real.fsync(fd);
}

static inline int disk_mkdir(const char *path, mode_t mode) {
    return disk_fails(DISK_MKDIR, disk_below(path)) ? -1 : fs_ops_real.mkdir(path, mode);
}

static inline void disk_watch(const char *path) {
    static struct fs_ops ops;
    snprintf(disk_faults.path, sizeof disk_faults.path, "%s", path);
    ops = fs_ops_real;
    ops.open = disk_open;
    ops.pwrite = disk_pwrite;
    ops.fsync = disk_fsync;
    ops.mkdir = disk_mkdir;
    fs_ops_set(&ops);
}

static inline void disk_spoil(const char *line) {
    static const char *const names[DISK_CALLS] = {"open", "pwrite", "fsync", "mkdir"};
    for (int call = 0; call < DISK_CALLS; call++) {
        size_t length = strlen(names[call]);
        if (strncmp(line, names[call], length) == 0) {
            char *rest = NULL;
            long wanted = strtol(line + length, &rest, 10);
            atomic_store(&disk_faults.times, 0);
            atomic_store(&disk_faults.call, call);
            atomic_store(&disk_faults.kill_at, atoi(rest));
            atomic_store(&disk_faults.errno_of, (int)wanted);
        }
    }
}

/* ---- the device's side ---- */

struct device_life {
    struct store *store;
    struct store_reader *reader;
    struct sync *sync;
    struct sync_config config;
    unsigned frames;
};

static inline void device_must(int code, const char *what, const struct err *err) {
    if (code != 0) {
        fprintf(stderr, "device: %s: %s: %s\n", what, err->msg, err->cause);
        exit(3);
    }
}

static inline void device_put(struct device_life *life, const char *line) {
    char *rest = NULL;
    life->frames = (unsigned)strtoul(line, &rest, 10);
    unsigned end = (unsigned)strtoul(rest, NULL, 10);
    struct err err = {0};
    struct store_gc *gc =
        calloc(1, sizeof *gc); /* the limits are meant, from the first moment on */
    device_must(store_gc(life->store, false, true, gc, &err), "gc", &err);
    free(gc);
    for (; life->frames < end; life->frames++) {
        unsigned number = life->frames;
        struct store_frame frame = {.record = {.media = MEDIA_JPEG,
                                               .width = 640,
                                               .height = 480,
                                               .orientation = 1,
                                               .blob_bytes = device_size(number),
                                               .tier = device_tier(number),
                                               .value = 0.5},
                                    .blob = device_bytes(number)};
        snprintf(frame.record.camera, sizeof frame.record.camera, "dock");
        snprintf(frame.record.rule, sizeof frame.record.rule, "unsure");
        clock_stamp_now(&frame.record.captured);
        frame_id_create(frame.record.captured.utc_us, &frame.record.id);
        device_must(store_put(life->store, &frame, &err), "put", &err);
    }
    device_must(store_flush(life->store, &err), "flush", &err);
}

static inline void device_go(struct device_life *life) {
    struct err err = {0};
    device_must(sync_start(&life->config, life->store, &life->sync, &err), "sync", &err);
}

static inline void device_counts(struct device_life *life) {
    struct store_counts counts;
    struct sync_status status = {0};
    struct err err = {0};
    if (life->sync != NULL) {
        sync_status_get(life->sync, &status);
    }
    device_must(store_counts_read(life->reader, &counts, &err), "counts", &err);
    printf("%llu %llu %llu %s\n", (unsigned long long)counts.remotes[0].pending,
           (unsigned long long)counts.remotes[0].done,
           (unsigned long long)counts.remotes[0].quarantined, status.remotes[0].last_error);
}

static inline void device_frames(struct device_life *life) {
    for (unsigned number = 0; number < DEVICE_FRAMES_MAX; number++) {
        struct frame_hash hash;
        struct store_receipt receipt = {.key = "-"};
        uint8_t *bytes = device_bytes(number), *here = NULL;
        size_t size = 0;
        hash_sha256(bytes, device_size(number), &hash);
        free(bytes);
        if (store_receipt_get(life->reader, "cloud", device_tier(number), &hash, &receipt, NULL)) {
            receipt.kind = 0;
        }
        int code = store_blob_read(life->reader, device_tier(number), &hash, &here, &size, NULL);
        printf("%d %d %s\n", receipt.kind, code == 0, receipt.key);
        free(here);
    }
}

static inline void device_reasons(struct device_life *life) {
    struct store_quarantined *rows = calloc(DEVICE_FRAMES_MAX, sizeof *rows);
    size_t count = 0;
    struct err err = {0};
    device_must(
        store_quarantine_read(life->reader, "cloud", 0, rows, DEVICE_FRAMES_MAX, &count, &err),
        "quarantine", &err);
    for (size_t i = 0; i < count; i++) {
        printf("%s\n", rows[i].reason);
    }
    free(rows);
}

static inline void device_open(struct device_life *life, const char *dir,
                               const struct device_place *place) {
    const struct store_tier_config tier = {.keep_after_upload_ms = 1};
    struct store_config config = {.dir = dir,
                                  .segment_bytes = 64u << 10,
                                  .group_frames = 4,
                                  .group_wait_ms = 1,
                                  .tiers = {tier, tier}};
    struct err err = {0};
    clock_trust(true);
    log_set_level(LOG_LEVEL_ERROR);
    life->config = (struct sync_config){.device = "edge-1",
                                        .transfers = 4,
                                        .attempts_max = 3,
                                        .backoff_base_ms = 20,
                                        .backoff_max_ms = 150,
                                        .stall_s = 1,
                                        .remote_count = 1};
    device_remote(place, &life->config.remotes[0]);
    device_must(store_open(&config, &life->store, &err), "open", &err);
    device_must(store_reader_open(life->store, &life->reader, &err), "reader", &err);
    device_go(life); /* from here on the store knows the remote and queues for it */
    sync_stop(life->sync, 1000);
    life->sync = NULL;
}

static inline bool device_obey(struct device_life *life, const char *line) {
    uint64_t count = 0;
    struct err err = {0};
    if (strncmp(line, "put ", 4) == 0) {
        device_put(life, line + 4);
    } else if (strncmp(line, "spoil ", 6) == 0) {
        disk_spoil(line + 6);
    } else if (strcmp(line, "well\n") == 0) {
        atomic_store(&disk_faults.errno_of, 0);
    } else if (strcmp(line, "go\n") == 0) {
        device_go(life);
    } else if (strcmp(line, "counts\n") == 0) {
        device_counts(life);
    } else if (strcmp(line, "frames\n") == 0) {
        device_frames(life);
    } else if (strcmp(line, "reasons\n") == 0) {
        device_reasons(life);
    } else if (strcmp(line, "retry\n") == 0) {
        device_must(store_outbox_retry(life->store, "cloud", &count, &err), "retry", &err);
    } else {
        sync_stop(life->sync, 2000);
        store_reader_close(life->reader);
        store_close(life->store);
    }
    printf(".\n");
    fflush(stdout);
    return strcmp(line, "quit\n") != 0;
}

/* PROGRAM device DIR KIND URL PREFIX CA-FILE PROXY */
static inline int device_main(char **argv) {
    struct device_life *life = calloc(1, sizeof *life);
    struct device_place place = {.kind = (enum sync_kind)atoi(argv[3])};
    char line[64];
    snprintf(place.url, sizeof place.url, "%s", argv[4]);
    snprintf(place.prefix, sizeof place.prefix, "%s", argv[5]);
    snprintf(place.ca_file, sizeof place.ca_file, "%s", argv[6]);
    snprintf(place.proxy, sizeof place.proxy, "%s", argv[7]);
    device_large = device_parts() && place.kind == SYNC_S3;
    if (place.kind == SYNC_DIRECTORY) {
        disk_watch(place.url);
    }
    device_open(life, argv[2], &place);
    printf(".\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL && device_obey(life, line)) {
    }
    free(life);
    return 0;
}

/* ---- the parent's side ---- */

struct device {
    pid_t pid; /* 0: none */
    int to, from;
    char answer[DEVICE_ANSWER_MAX];
};

/* False: it is dead or too slow. */
static inline bool device_hear(struct device *device) {
    size_t used = 0;
    int64_t until = clock_boot_us() + DEVICE_WAIT_MS * INT64_C(1000);
    while (used + 1 < sizeof device->answer && clock_boot_us() < until) {
        struct pollfd wait = {.fd = device->from, .events = POLLIN};
        if (poll(&wait, 1, 100) <= 0) {
            continue;
        }
        ssize_t got = read(device->from, device->answer + used, sizeof device->answer - 1 - used);
        if (got <= 0) {
            return false;
        }
        used += (size_t)got;
        device->answer[used] = '\0';
        if (used >= 2 && strcmp(device->answer + used - 2, ".\n") == 0 &&
            (used == 2 || device->answer[used - 3] == '\n')) {
            device->answer[used - 2] = '\0';
            return true;
        }
    }
    return false;
}

static inline bool device_ask(struct device *device, const char *line) {
    char text[64];
    int length = snprintf(text, sizeof text, "%s\n", line);
    return write(device->to, text, (size_t)length) == length && device_hear(device);
}

static inline void device_end(struct device *device) {
    if (device->pid != 0) {
        kill(device->pid, SIGKILL);
        waitpid(device->pid, NULL, 0);
        close(device->to);
        close(device->from);
    }
    device->pid = 0;
}

static inline bool device_start(struct device *device, const char *dir,
                                const struct device_place *place) {
    int to[2], from[2];
    char kind[8];
    snprintf(kind, sizeof kind, "%d", place->kind);
    device_end(device);
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) {
        return false;
    }
    device->pid = fork();
    if (device->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl("/proc/self/exe", "creel-device", "device", dir, kind, place->url, place->prefix,
              place->ca_file, place->proxy, NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    device->to = to[1];
    device->from = from[0];
    return device->pid > 0 && device_hear(device);
}

#endif
