/* The directory source: image files that lie in a directory, and those that appear in it.
 *
 * Goal: every finished image file is looked at once, and is only remembered, moved or deleted after
 * the daemon has said what became of it.
 *
 * One thread does all the work, one small step at a time: a retry that is due, else the next name
 * of a scan and the next inotify event in turns. Each of them ends in consider(name), which may be
 * called any number of times for the same file: it asks what the file is now, whether it is in the
 * air, waits for a retry, or is remembered. So nothing needs to be removed from a list when a file
 * is seen twice, and a scan may be started at any time: after an overflow of the kernel's event
 * queue, when a table of ours is full, when the directory has come back.
 *
 * Memory is bounded, whatever the directory holds: a scan keeps SOURCE__BATCH_MAX names, the events
 * stay in the kernel until they are worked on, at most SOURCE__FLIGHT_MAX frames are in the air,
 * SOURCE__RETRY_MAX files wait for another try. When a bound is reached the thread waits, or a
 * later scan finds the rest.
 *
 * The life of a file:
 *   seen -> passed over (no regular file, too big, no image): counted once a state, not remembered
 *        -> unfinished: tried again after SETTLE_US, or at its CLOSE_WRITE
 *        -> in the air, then
 *           KEPT, REJECTED  -> remembered -> left, moved or deleted -> key forgotten if it is gone
 *           BAD             -> remembered -> left; under `move` into <dir>/failed; never deleted
 *           FAILED, DROPPED -> tried again, with backoff
 *
 * Invariants:
 *  1. A file is moved or deleted only after its key is durable. After a crash between, the next
 *     scan finds it remembered as owed and does what is missing.
 *  2. A frame that is durable in the store but whose key is not is taken again after a crash: a
 *     duplicate, which the store shares, never a loss.
 *  3. While a key cannot be written, its slot stays taken: a memory that fails stops the source
 *     after SOURCE__FLIGHT_MAX frames instead of letting it take the same files for ever.
 *  4. The directory is opened for each step and not held: a file system can be unmounted under us,
 *     and the kernel tells of the directory's end at once (it would not while it is open).
 *
 * Rejected: remembering names only (a rewritten file would be missed), and recursion (another
 * camera may be below; and "done" and "failed" are).
 */
#include "inference/source_kinds.h"

#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "inference/source_files.h"
#include "inference/source_flight.h"
#include "inference/source_retry.h"
#include "inference/source_taken.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SECOND           INT64_C(1000000)
#define SETTLE_US        (2 * SECOND) /* without its end, a younger image is perhaps not finished */
#define CHECK_US         (5 * SECOND) /* is the path still the directory that is watched? */
#define MISSING_US       (1 * SECOND) /* is it back? */
#define NETWORK_SCAN_US  (10 * SECOND) /* inotify is blind to what other hosts write */
#define BRAKE_FIRST_US   (SECOND / 10) /* between files while the daemon keeps failing */
#define BRAKE_LONGEST_US (10 * SECOND)
#define STOP_WAIT_US     (3 * SECOND) /* for frames in the air */
#define EVENT_BYTES      (64u << 10)
#define LOG_GATE_MS      60000
#define FAILED_DIR       "failed"
#define DONE_DIR         "done"

#define WATCH_MASK                                                                                 \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

enum turn { TURN_WORKED, TURN_FULL, TURN_IDLE };

/* Kinds of trouble, each with its own gate to the log. */
enum trouble {
    TROUBLE_SKIPPED,
    TROUBLE_UNREADABLE,
    TROUBLE_BAD,
    TROUBLE_FAILED,
    TROUBLE_MEMORY,
    TROUBLE_AFTER,
    TROUBLE_DIRECTORY,
    TROUBLE_COUNT,
};

static const char *const trouble_texts[TROUBLE_COUNT] = {
    [TROUBLE_SKIPPED] = "file passed over",
    [TROUBLE_UNREADABLE] = "file cannot be read, will be tried again",
    [TROUBLE_BAD] = "file is no image that can be decoded",
    [TROUBLE_FAILED] = "frame was not kept, its file will be taken again",
    [TROUBLE_MEMORY] = "cannot remember what was taken, will be tried again",
    [TROUBLE_AFTER] = "file is kept but could not be moved or deleted",
    [TROUBLE_DIRECTORY] = "directory cannot be watched, trying again",
};

struct directory {
    struct source__host *host;
    const char *path;
    struct source__flight *flight; /* owned until close */
    struct source__taken *taken;   /* owned */

    int inotify_fd; /* owned */
    int watch;      /* -1: none */
    dev_t device;   /* of what is watched */
    ino_t inode;
    bool network;
    bool mourned; /* its absence has been reported */
    int64_t check_us;

    struct source__batch batch;
    char cursor[NAME_MAX + 1]; /* the last name worked on */
    bool scanning;
    bool event_turn; /* events and a scan go in turns: a backlog must not keep new files waiting,
                        nor fill the kernel's queue with the events of our own renames */
    int64_t scan_due_us; /* INT64_MAX: none wanted */

    struct source__retries retries;

    int64_t next_take_us; /* pace: fps, and the brake */
    int64_t brake_us;
    int64_t stop_us; /* when stopping gives up; 0: not stopping */

    struct log_gate gates[TROUBLE_COUNT];
    size_t events_len, events_at;
    char events[EVENT_BYTES] __attribute__((aligned(__alignof__(struct inotify_event))));
};

static int64_t soonest(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- saying what went wrong ---- */

static void report(struct directory *self, enum trouble kind, const char *name, const char *why) {
    uint64_t missed;

    if (log_gate_open(&self->gates[kind], LOG_GATE_MS, &missed)) {
        log_warn(trouble_texts[kind], "camera=%s dir=\"%s\" file=\"%s\" reason=\"%s\" unsaid=%llu",
                 self->host->config.name, self->path, name, why, (unsigned long long)missed);
    }
}

static void fault(struct directory *self, enum trouble kind, const char *name,
                  const struct err *cause) {
    struct err err = *cause;
    char why[2 * ERR_TEXT_MAX];

    report(self, kind, name, err_text(cause, why, sizeof why));
    err_wrap(&err, "%s: %s/%s", trouble_texts[kind], self->path, name);
    source__failed(self->host, &err);
}

/* Counted once for each state of a file, however often a scan comes by. */
static void skip(struct directory *self, const struct source__file *file, const char *why) {
    if (source__taken_notice(self->taken, file)) {
        source__skipped(self->host);
        report(self, TROUBLE_SKIPPED, file->name, why);
    }
}

/* ---- files that wait for another try ---- */

/* Without room in the table, a scan will find the file. */
static void put_off(struct directory *self, const struct source__file *file, int64_t wait_us) {
    int64_t due = clock_boot_us() + wait_us;

    if (!source__retry_put(&self->retries, file, due)) {
        self->scan_due_us = soonest(self->scan_due_us, due);
    }
}

static void try_later(struct directory *self, const struct source__file *file) {
    int64_t due;

    if (!source__retry_later(&self->retries, file, clock_boot_us(), &due)) {
        self->scan_due_us = soonest(self->scan_due_us, due);
    }
}

/* ---- the watch ---- */

static void watch_drop(struct directory *self) {
    if (self->watch >= 0) {
        inotify_rm_watch(self->inotify_fd, self->watch);
    }
    self->watch = -1;
    self->scanning = false;
    self->retries.count = 0; /* the scan after its return finds them */
    self->check_us = 0;
    source__batch_finish(&self->batch);
}

static void watch_lost(struct directory *self, const struct err *err) {
    watch_drop(self);
    self->check_us = clock_boot_us() + MISSING_US;
    if (!self->mourned) {
        self->mourned = true;
        fault(self, TROUBLE_DIRECTORY, "", err);
    }
}

static int open_dir(const struct directory *self) {
    return open(self->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void scan_start(struct directory *self) {
    self->scanning = true;
    self->cursor[0] = '\0';
    self->scan_due_us = INT64_MAX;
    source__batch_finish(&self->batch);
    self->batch.more = true;
}

/* Magic numbers from <linux/magic.h> and the kernel's file systems. */
static bool is_network(int fd) {
    static const unsigned long magics[] = {
        0x6969,     /* NFS */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB 2 */
        0x65735546, /* FUSE: sshfs and its kin */
        0x01021997, /* 9P */
        0x00c36400, /* Ceph */
    };
    struct statfs fs;

    for (size_t i = 0; i < ARRAY_LENGTH(magics) && fstatfs(fd, &fs) == 0; i++) {
        if ((unsigned long)fs.f_type == magics[i]) {
            return true;
        }
    }
    return false;
}

static int watch_add(struct directory *self, struct err *err) {
    self->watch = inotify_add_watch(self->inotify_fd, self->path, WATCH_MASK);
    if (self->watch < 0 && errno == ENOSPC) {
        return err_set(err, ERR_FULL,
                       "cannot watch %s: this user has no inotify watches left; raise "
                       "fs.inotify.max_user_watches (sysctl)",
                       self->path);
    }
    return self->watch < 0 ? err_sys(err, errno, "cannot watch %s", self->path) : 0;
}

/* Watch first, then scan: what appears between is seen twice, never missed. */
static int watch_open(struct directory *self, struct err *err) {
    CLEANUP(fd_close_at) int fd = open_dir(self);
    struct stat before;
    struct stat after;

    if (fd < 0 || fstat(fd, &before)) {
        return err_sys(err, errno, "cannot open the directory %s", self->path);
    }
    int code = watch_add(self, err);
    if (code) {
        return code;
    }
    if (stat(self->path, &after) || before.st_dev != after.st_dev ||
        before.st_ino != after.st_ino) {
        return err_set(err, ERR_BUSY, "the directory %s was replaced just now", self->path);
    }
    self->device = before.st_dev;
    self->inode = before.st_ino;
    self->network = is_network(fd);
    source__asides_restore(fd);
    scan_start(self);
    return 0;
}

/* Finds out that the directory came back, or that the path leads elsewhere by now (a mount over
 * it). */
static void watch_tend(struct directory *self, int64_t now) {
    struct stat st;
    struct err err = {0};

    if (now < self->check_us) {
        return;
    }
    self->check_us = now + CHECK_US;
    if (self->watch >= 0 && stat(self->path, &st) == 0 && st.st_dev == self->device &&
        st.st_ino == self->inode) {
        return;
    }
    watch_drop(self);
    self->check_us = now + CHECK_US;
    if (watch_open(self, &err)) {
        watch_lost(self, &err);
    } else if (self->mourned) {
        self->mourned = false;
        log_info("watched directory is there", "camera=%s dir=\"%s\"", self->host->config.name,
                 self->path);
    }
}

/* ---- files that are done with ---- */

/* Moves or deletes what the verdict says; a file that has changed meanwhile is a new one and stays.
 */
static void put_away(struct directory *self, int dir_fd, const struct source__file *file,
                     enum source__verdict verdict) {
    const struct source_config *config = &self->host->config;
    const char *done = config->move_to ? config->move_to : DONE_DIR;
    struct err err = {0};
    int code;

    if (verdict == SOURCE__OWED && config->after == SOURCE_DELETE) {
        code = source__file_delete(dir_fd, file, &err);
    } else if (verdict == SOURCE__OWED && config->after == SOURCE_MOVE) {
        code = source__file_move(dir_fd, file, done, &err);
    } else if (verdict == SOURCE__BAD && config->after == SOURCE_MOVE) {
        code = source__file_move(dir_fd, file, FAILED_DIR, &err);
    } else {
        return;
    }
    if (code == 0) {
        source__taken_forget(self->taken, file, verdict);
    } else if (code != ERR_NOT_FOUND) {
        fault(self, TROUBLE_AFTER, file->name, &err);
        self->scan_due_us = soonest(self->scan_due_us, clock_boot_us() + SOURCE__RETRY_LONGEST_US);
    }
}

static enum source__verdict verdict_of(const struct directory *self, enum frame_outcome outcome) {
    if (outcome == FRAME_BAD) {
        return SOURCE__BAD;
    }
    return self->host->config.after == SOURCE_LEAVE ? SOURCE__LEFT : SOURCE__OWED;
}

static void land_done(struct directory *self, struct source__landed *landed) {
    enum source__verdict verdict = verdict_of(self, landed->outcome);
    const struct source__file *file = &landed->file;
    struct err err = {0};

    if (source__taken_add(self->taken, file, verdict, &err)) {
        fault(self, TROUBLE_MEMORY, file->name, &err);
        landed->due_boot_us =
            clock_boot_us() + source__backoff(SOURCE__RETRY_FIRST_US, landed->postponements++,
                                              SOURCE__RETRY_LONGEST_US);
        return;
    }
    if (landed->outcome == FRAME_BAD) {
        fault(self, TROUBLE_BAD, file->name, &landed->err);
    } else {
        self->brake_us = 0;
    }
    CLEANUP(fd_close_at) int dir_fd = open_dir(self);
    if (dir_fd >= 0) { /* else the scan after its return finds the file owed */
        put_away(self, dir_fd, file, verdict);
    }
    struct source__retry *retry = source__retry_find(&self->retries, file->name);
    if (retry && source__file_equal(&retry->file, file)) {
        source__retry_drop(&self->retries, retry);
    }
    source__flight_release(self->flight, landed);
}

static void land_again(struct directory *self, struct source__landed *landed) {
    if (landed->outcome == FRAME_FAILED) {
        fault(self, TROUBLE_FAILED, landed->file.name, &landed->err);
    }
    /* A whole flight that fails together counts once. */
    int64_t now = clock_boot_us();
    if (now >= self->next_take_us) {
        self->brake_us =
            self->brake_us ? soonest(2 * self->brake_us, BRAKE_LONGEST_US) : BRAKE_FIRST_US;
        self->next_take_us = now + self->brake_us;
    }
    try_later(self, &landed->file);
    source__flight_release(self->flight, landed);
}

static void land_all(struct directory *self) {
    struct source__landed *landed;

    while ((landed = source__flight_landed(self->flight, clock_boot_us()))) {
        if (landed->outcome == FRAME_FAILED || landed->outcome == FRAME_DROPPED) {
            land_again(self, landed);
        } else {
            land_done(self, landed);
        }
    }
}

/* ---- taking a file ---- */

static void launch(struct directory *self, const struct source__file *file, uint8_t *bytes) {
    struct frame *frame;
    struct err err = {0};

    if (frame_create(self->host->config.name, bytes, file->size, &frame, &err)) {
        fault(self, TROUBLE_UNREADABLE, file->name, &err);
        try_later(self, file);
        return;
    }
    struct source__retry *retry = source__retry_find(&self->retries, file->name);
    if (retry) { /* its count of attempts outlives the flight */
        retry->due_us = INT64_MAX;
        retry->trying = false;
    }
    if (self->host->config.fps > 0) {
        self->next_take_us = clock_boot_us() + (int64_t)(1e6 / self->host->config.fps);
    }
    source__flight_launch(self->flight, file, frame);
    source__submit(self->host, frame);
}

static bool is_young(const struct source__file *file) {
    return llabs(clock_utc_us() - file->mtime_ns / 1000) < SETTLE_US;
}

static void take(struct directory *self, int dir_fd, const struct source__file *file) {
    bool young = is_young(file);
    uint8_t *bytes = NULL;
    struct err err = {0};

    switch (source__file_read(dir_fd, file, young, &bytes, &err)) {
    case SOURCE__IMAGE:
        launch(self, file, bytes);
        break;
    case SOURCE__UNFINISHED:
        put_off(self, file, SETTLE_US);
        break;
    case SOURCE__NO_IMAGE:
        if (file->size == 0 && young) { /* made just now: what is written to it will be told */
            put_off(self, file, SETTLE_US);
        } else {
            skip(self, file, file->size ? "it is neither JPEG nor PNG" : "it is empty");
        }
        break;
    case SOURCE__UNREADABLE:
        fault(self, TROUBLE_UNREADABLE, file->name, &err);
        try_later(self, file);
        break;
    case SOURCE__GONE:
        break;
    }
}

/* False: passed over for good. */
static bool acceptable(struct directory *self, const struct source__file *file,
                       const struct stat *st) {
    if (S_ISDIR(st->st_mode)) { /* "done", "failed", other cameras: ordinary company */
        return false;
    }
    if (!S_ISREG(st->st_mode)) {
        skip(self, file, S_ISLNK(st->st_mode) ? "it is a symbolic link" : "it is no regular file");
        return false;
    }
    if (file->size > FRAME_BLOB_MAX) {
        skip(self, file, "it is larger than the 64 MiB that a frame may have");
        return false;
    }
    return true;
}

static void unseen(struct directory *self, const char *name, int sys_errno) {
    struct err err = {0};

    if (sys_errno != ENOENT) { /* gone is no fault; a directory without the right to search is */
        err_sys(&err, sys_errno, "cannot look at it");
        fault(self, TROUBLE_UNREADABLE, name, &err);
    }
}

/* See the opening comment. TURN_FULL: nothing was done, ask again when there is room. */
static enum turn consider_now(struct directory *self, const char *name) {
    CLEANUP(fd_close_at) int dir_fd = open_dir(self);
    struct source__file file;
    struct stat st;

    if (dir_fd < 0) { /* it has gone, or we have no descriptors left: then a scan makes up for it */
        self->check_us = 0;
        self->scan_due_us = soonest(self->scan_due_us, clock_boot_us() + MISSING_US);
        return TURN_WORKED;
    }
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
        unseen(self, name, errno);
        return TURN_WORKED;
    }
    source__file_init(&file, name, &st);
    if (!acceptable(self, &file, &st) ||
        source__retry_waits(&self->retries, &file, clock_boot_us()) ||
        source__flight_has(self->flight, &file)) {
        return TURN_WORKED;
    }
    enum source__verdict verdict = source__taken_get(self->taken, &file);
    if (verdict != SOURCE__UNKNOWN) {
        put_away(self, dir_fd, &file, verdict);
        return TURN_WORKED;
    }
    if (!source__flight_room(self->flight, file.size)) {
        return TURN_FULL;
    }
    take(self, dir_fd, &file);
    return TURN_WORKED;
}

static enum turn consider(struct directory *self, const char *name) {
    return source__name_ignored(name) ? TURN_WORKED : consider_now(self, name);
}

/* ---- one step ---- */

static enum turn retry_step(struct directory *self, struct source__retry *retry) {
    char name[NAME_MAX + 1];

    memcpy(name, retry->file.name, sizeof name);
    retry->trying = true;
    enum turn turn = consider(self, name);
    retry = source__retry_find(&self->retries, name); /* the table may have moved */
    if (retry && retry->trying && turn == TURN_FULL) {
        retry->trying = false;
    } else if (retry && retry->trying) { /* neither in the air nor put off again: it is done with */
        source__retry_drop(&self->retries, retry);
    }
    return turn;
}

static int scan_fill(struct directory *self, struct err *err) {
    CLEANUP(fd_close_at) int dir_fd = open_dir(self);

    if (dir_fd < 0) {
        return err_sys(err, errno, "cannot open the directory %s", self->path);
    }
    return source__batch_read(&self->batch, dir_fd, self->cursor, err);
}

static enum turn scan_step(struct directory *self) {
    struct source__batch *batch = &self->batch;
    struct err err = {0};

    if (batch->next < batch->count) {
        const char *name = batch->names[batch->next];
        enum turn turn = consider(self, name);
        if (turn != TURN_FULL) {
            memcpy(self->cursor, name, strlen(name) + 1);
            batch->next++;
        }
        return turn;
    }
    if (batch->more) {
        if (scan_fill(self, &err)) {
            watch_lost(self, &err);
        }
        return TURN_WORKED;
    }
    self->scanning = false;
    if (self->network) {
        self->scan_due_us = soonest(self->scan_due_us, clock_boot_us() + NETWORK_SCAN_US);
    }
    return TURN_WORKED;
}

static enum turn event_file(struct directory *self, const struct inotify_event *event) {
    struct source__retry *retry = source__retry_find(&self->retries, event->name);

    if (event->mask & IN_ATTRIB &&
        !retry) { /* rights were changed: only of interest to who waits */
        return TURN_WORKED;
    }
    if (retry && retry->due_us != INT64_MAX) {
        retry->due_us = 0;
    }
    return consider(self, event->name);
}

static enum turn event_handle(struct directory *self, const struct inotify_event *event) {
    if (event->mask & IN_Q_OVERFLOW) {
        log_info("events were lost, looking at all files again", "camera=%s dir=\"%s\"",
                 self->host->config.name, self->path);
        self->scan_due_us = 0;
        return TURN_WORKED;
    }
    if (event->wd != self->watch || self->watch < 0) {
        return TURN_WORKED; /* of a watch that has gone */
    }
    if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) {
        watch_drop(self);
        return TURN_WORKED;
    }
    return event->mask & IN_ISDIR || event->len == 0 ? TURN_WORKED : event_file(self, event);
}

static enum turn event_step(struct directory *self) {
    if (self->events_at >= self->events_len) {
        ssize_t got = read(self->inotify_fd, self->events, sizeof self->events);
        if (got <= 0) {
            return TURN_IDLE;
        }
        self->events_len = (size_t)got;
        self->events_at = 0;
    }
    const void *at = self->events + self->events_at;
    const struct inotify_event *event = at;
    enum turn turn = event_handle(self, event);
    if (turn != TURN_FULL) {
        self->events_at += sizeof *event + event->len;
    }
    return turn;
}

static enum turn step(struct directory *self, int64_t now) {
    struct source__retry *retry = source__retry_next(&self->retries, now);

    if (retry) {
        return retry_step(self, retry);
    }
    if (self->watch >= 0 && !self->scanning && self->scan_due_us <= now) {
        scan_start(self);
        return TURN_WORKED;
    }
    self->event_turn = !self->event_turn;
    if (self->scanning && !self->event_turn) {
        return scan_step(self);
    }
    enum turn turn = event_step(self);
    return turn == TURN_IDLE && self->scanning ? scan_step(self) : turn;
}

/* ---- the thread ---- */

/* Until when there is nothing to do unless something lands, happens in the directory, or the phase
 * changes. */
static int64_t sleep_until(const struct directory *self, enum source__phase phase, enum turn turn) {
    int64_t until = soonest(source__flight_due(self->flight), source__taken_due(self->taken));

    if (phase == SOURCE__STOP) {
        return soonest(until, self->stop_us);
    }
    if (phase != SOURCE__RUN) {
        return until;
    }
    until = soonest(until, self->check_us);
    if (self->next_take_us > clock_boot_us()) {
        return soonest(until, self->next_take_us);
    }
    if (turn == TURN_FULL) { /* what is due has to wait for room anyway */
        return until;
    }
    until = soonest(until, self->watch >= 0 ? self->scan_due_us : INT64_MAX);
    return soonest(until, source__retry_due(&self->retries));
}

/* True: the thread may end. */
static bool stop_done(struct directory *self, int64_t now) {
    if (self->stop_us == 0) {
        self->stop_us = now + STOP_WAIT_US;
    }
    return now >= self->stop_us || source__flight_count(self->flight) == 0;
}

static void directory_run(void *kind) {
    struct directory *self = kind;
    struct source__host *host = self->host;

    for (;;) {
        land_all(self);
        enum source__phase phase = source__phase(host);
        int64_t now = clock_boot_us();
        enum turn turn = TURN_FULL;
        if (phase == SOURCE__STOP && stop_done(self, now)) {
            return;
        }
        if (source__taken_due(self->taken) <= now) {
            source__taken_flush(self->taken);
        }
        if (phase == SOURCE__RUN) {
            watch_tend(self, now);
            turn = now < self->next_take_us ? TURN_FULL : step(self, now);
        }
        if (turn == TURN_WORKED) {
            continue;
        }
        int64_t until = sleep_until(self, phase, turn);
        source__wait(host, turn == TURN_IDLE ? self->inotify_fd : -1,
                     until == INT64_MAX ? -1 : until);
    }
}

static bool is_clean_path(const char *path) {
    return path[0] == '/' && strlen(path) < FS_PATH_MAX;
}

static int directory_check(const struct source_config *config, const char *rest, struct err *err) {
    if (!is_clean_path(rest)) {
        return err_set(err, ERR_CONFIG,
                       "camera %s: source 'directory:%.100s': an absolute path is expected, such "
                       "as directory:/srv/inbox",
                       config->name, rest);
    }
    if (config->after < SOURCE_LEAVE || config->after > SOURCE_DELETE) {
        return err_set(err, ERR_CONFIG, "camera %s: after is leave, move or delete", config->name);
    }
    if (!config->move_to) {
        return 0;
    }
    if (config->after != SOURCE_MOVE) {
        return err_set(err, ERR_CONFIG, "camera %s: move_to has a meaning with after: move only",
                       config->name);
    }
    if (!is_clean_path(config->move_to) || strcmp(config->move_to, rest) == 0) {
        return err_set(err, ERR_CONFIG,
                       "camera %s: move_to is '%.100s': the absolute path of another directory is "
                       "expected",
                       config->name, config->move_to);
    }
    return 0;
}

static void directory_close(void *kind) {
    struct directory *self = kind;

    if (!self) {
        return;
    }
    source__flight_close(self->flight);
    source__taken_destroy(self->taken);
    source__batch_finish(&self->batch);
    fd_close_at(&self->inotify_fd);
    free(self);
}

static void directory_close_at(struct directory **self) {
    directory_close(*self);
}

static int directory_open(struct source__host *host, void **out, struct err *err) {
    CLEANUP(directory_close_at) struct directory *self = mem_alloc(sizeof *self);

    if (!self) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory", host->config.name);
    }
    self->host = host;
    self->path = host->rest;
    self->watch = -1;
    self->scan_due_us = INT64_MAX;
    self->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (self->inotify_fd < 0) {
        return err_sys(err, errno, "camera %s: cannot use inotify%s", host->config.name,
                       errno == EMFILE ? " (raise fs.inotify.max_user_instances)" : "");
    }
    self->flight = source__flight_create(host->wake_fd);
    self->taken = source__taken_create(&host->memory, host->config.name, self->path);
    if (!self->flight || !self->taken) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory", host->config.name);
    }
    *out = TAKE_PTR(self);
    return 0;
}

const struct source_ops source__directory = {
    .scheme = "directory:",
    .form = "'directory:/absolute/path' (image files)",
    .check = directory_check,
    .open = directory_open,
    .run = directory_run,
    .close = directory_close,
};
