/* stream: see stream.h.
 *
 * Goal: a failed write never makes anything visible and never spoils what follows.
 * Invariants:
 *   1. segments[i].end moves only in publish, after the group is durable (thumbnails: after it is
 * written).
 *   2. After a failed write or fdatasync the file is cut back to its published end and never
 * appended to again: what a failed fdatasync left in the page cache cannot be trusted (the kernel
 * drops the dirty marks). The next group begins a new file.
 *   3. While an aborted tail could not be cut off, no group begins: it would be taken for whole at
 * the next opening.
 *   4. Space is taken ahead with FALLOC_FL_KEEP_SIZE: the file's size is what was written, so the
 * end is EOF and a copy of the file has no tail of zeros. Closing a file gives the rest back.
 */
#include "store/stream.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/compact.h"
#include "store/record.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

void store__stream_init(struct stream *stream, unsigned id, const struct layout *layout,
                        pthread_mutex_t *lock, uint64_t limit) {
    *stream = (struct stream){.id = id, .layout = layout, .lock = lock, .limit = limit, .fd = -1};
}

static struct segment *last(const struct stream *stream) {
    return stream->count ? &stream->segments[stream->count - 1] : NULL;
}

uint64_t store__stream_number(const struct stream *stream) {
    return last(stream)->number;
}

/* ---- the registry ---- */

static int segments_add(struct stream *stream, const struct segment *segment, struct err *err) {
    struct segment *old = NULL;
    if (stream->count == stream->room) {
        size_t room = stream->room ? stream->room * 2 : 16;
        struct segment *larger = mem_array(room, sizeof(*larger));
        if (!larger) {
            return err_set(err, ERR_NOMEM, "no memory for a list of %zu segments", room);
        }
        if (stream->count) {
            memcpy(larger, stream->segments, stream->count * sizeof(*larger));
        }
        pthread_mutex_lock(stream->lock);
        old = stream->segments;
        stream->segments = larger;
        stream->room = room;
        pthread_mutex_unlock(stream->lock);
    }
    pthread_mutex_lock(stream->lock);
    stream->segments[stream->count++] = *segment;
    stream->allocated += segment->allocated;
    pthread_mutex_unlock(stream->lock);
    free(old);
    return 0;
}

static void segments_drop(struct stream *stream, size_t at) {
    pthread_mutex_lock(stream->lock);
    stream->allocated -= stream->segments[at].allocated;
    stream->count--;
    memmove(&stream->segments[at], &stream->segments[at + 1],
            (stream->count - at) * sizeof(*stream->segments));
    pthread_mutex_unlock(stream->lock);
}

static size_t segments_at(const struct stream *stream, uint64_t number) {
    size_t low = 0, high = stream->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (stream->segments[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool store__stream_find(struct stream *stream, uint64_t number, struct segment *out) {
    pthread_mutex_lock(stream->lock);
    size_t at = segments_at(stream, number);
    bool found = at < stream->count;
    if (found) {
        *out = stream->segments[at];
    }
    pthread_mutex_unlock(stream->lock);
    return found;
}

static void allocation_note(struct stream *stream, struct segment *segment, int fd) {
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return;
    }
    uint64_t allocated = (uint64_t)info.st_blocks * 512;
    pthread_mutex_lock(stream->lock);
    stream->allocated += allocated - segment->allocated;
    segment->allocated = allocated;
    pthread_mutex_unlock(stream->lock);
}

/* ---- opening ---- */

bool store__stream_is_last(const struct stream *stream, uint64_t number) {
    return stream->count && last(stream)->number == number;
}

static int by_number(const void *a, const void *b) {
    uint64_t left = ((const struct segment *)a)->number,
             right = ((const struct segment *)b)->number;
    return left < right ? -1 : left > right;
}

static void dir_close_at(DIR **dir) {
    if (*dir) {
        closedir(*dir);
    }
}

static int leftovers_drop(struct stream *stream, bool mend, struct err *err);

int store__stream_list(struct stream *stream, bool mend, struct err *err) {
    char dir[LAYOUT_PATH_MAX], path[LAYOUT_PATH_MAX];
    store__stream_dir(stream->layout, stream->id, dir);
    CLEANUP(dir_close_at) DIR *listing = opendir(dir);
    if (!listing) {
        return err_sys(err, errno, "cannot list %s", dir);
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(listing);
        if (!entry) {
            break;
        }
        struct segment segment = {0};
        struct stat info;
        if (!store__segment_name_parse(stream->id, entry->d_name, &segment.number)) {
            continue;
        }
        store__segment_path(stream->layout, stream->id, segment.number, path);
        if (stat(path, &info) < 0) {
            return err_sys(err, errno, "cannot read the size of %s", path);
        }
        segment.end = (uint64_t)info.st_size;
        segment.allocated = (uint64_t)info.st_blocks * 512;
        int code = segments_add(stream, &segment, err);
        if (code) {
            return code;
        }
    }
    if (errno) {
        return err_sys(err, errno, "cannot list %s", dir);
    }
    if (stream->count) {
        qsort(stream->segments, stream->count, sizeof(*stream->segments), by_number);
    }
    return stream->id == STREAM_META ? leftovers_drop(stream, mend, err) : 0;
}

/* Does the file stand for others? out->through is 0 where not, or where it cannot be told. */
static int checkpoint_read(const struct stream *stream, uint64_t number,
                           struct record_checkpoint *out, struct err *err) {
    CLEANUP(store__scan_close) struct segment_scan scan = SEGMENT_SCAN_INIT;
    CLEANUP(store__record_finish) struct record record = {0};
    char path[LAYOUT_PATH_MAX];
    struct record_at found;
    *out = (struct record_checkpoint){0};
    store__segment_path(stream->layout, stream->id, number, path);
    int code = store__scan_open(&scan, path, number, stream->layout->uuid, err);
    code = code ? code : store__scan_next(&scan, false, &found, err);
    code = code ? code : store__scan_next(&scan, false, &found, err);
    if (!code && found.header.kind == RECORD_CHECKPOINT) {
        code = store__record_decode(RECORD_CHECKPOINT, found.payload, found.header.payload_bytes,
                                    &record, err);
        *out = code ? *out : record.checkpoint;
    }
    return code == ERR_NOT_FOUND || code == ERR_CORRUPT ? 0 : code;
}

/* Files that another one stands for already: a compaction was cut short before it unlinked them. */
static int leftovers_drop(struct stream *stream, bool mend, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    int code =
        mend ? fs_unlink(store__file_path(stream->layout, "meta/" COMPACT_NAME, path), err) : 0;
    for (size_t i = 0; !code && i < stream->count; i++) {
        struct record_checkpoint checkpoint;
        code = checkpoint_read(stream, stream->segments[i].number, &checkpoint, err);
        if (checkpoint.through) {
            stream->checkpoint_bytes = stream->segments[i].end;
            stream->checkpoint_applied = checkpoint.applied;
        }
        while (!code && i + 1 < stream->count &&
               stream->segments[i + 1].number <= checkpoint.through) {
            store__segment_path(stream->layout, stream->id, stream->segments[i + 1].number, path);
            code = mend ? fs_unlink(path, err) : 0;
            if (!code) {
                segments_drop(stream, i + 1);
            }
        }
    }
    return code;
}

/* Cuts to the last whole record, durably, so that what follows in the index rests on a durable log.
 */
static int last_settle(struct stream *stream, const struct segment_tail *tail, const char *path,
                       struct err *err) {
    const struct fs_ops *ops = fs_ops_get();
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(path, O_RDWR, 0, &fd, err);
    if (code) {
        return code;
    }
    if (tail->torn && ops->ftruncate(fd, (off_t)tail->end) < 0) {
        return err_sys(err, errno, "cannot cut the torn tail off %s", path);
    }
    code = fs_datasync(fd, path, err);
    if (code) {
        return code;
    }
    last(stream)->end = tail->end;
    if (tail->end < stream->limit) {
        ops->fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)tail->end,
                       (off_t)(stream->limit - tail->end)); /* a wish, not a need */
        stream->opened_boot_us = clock_boot_us();
        allocation_note(stream, last(stream), fd);
        stream->fd = TAKE_FD(fd);
    }
    return 0;
}

static uint64_t trusted_end(const struct log_position *seen, const struct segment *segment) {
    if (seen->segment == segment->number) {
        return seen->at;
    }
    return seen->segment > segment->number ? segment->end : 0;
}

int store__stream_load(struct stream *stream, const struct log_position *seen, uint64_t durable_lsn,
                       struct segment_tail *tail, struct err *err) {
    int code = store__stream_list(stream, true, err);
    *tail = (struct segment_tail){.next_seq = 1};
    uint64_t torn = 0;
    for (bool settled = false; !code && stream->count && !settled;) {
        char path[LAYOUT_PATH_MAX];
        CLEANUP(store__scan_close) struct segment_scan scan = SEGMENT_SCAN_INIT;
        const struct segment *segment = last(stream);
        store__segment_path(stream->layout, stream->id, segment->number, path);
        code = store__scan_open(&scan, path, segment->number, stream->layout->uuid, err);
        code = code
                   ? code
                   : store__segment_tail(&scan, trusted_end(seen, segment), durable_lsn, tail, err);
        if (code) {
            break;
        }
        settled = tail->end > 0;
        if (settled) {
            code = last_settle(stream, tail, path, err);
        } else { /* its very first group was torn: nothing of it was acknowledged */
            torn += tail->torn;
            code = fs_unlink(path, err);
            segments_drop(stream, stream->count - 1);
        }
    }
    tail->torn += torn;
    return code;
}

/* ---- closing a file ---- */

/* Gives back what was taken ahead. Not needed for safety, so its failure is nobody's concern. */
static void last_close(struct stream *stream) {
    if (stream->fd < 0) {
        return;
    }
    (void)fs_ops_get()->ftruncate(stream->fd, (off_t)last(stream)->end);
    allocation_note(stream, last(stream), stream->fd);
    fs_close(TAKE_FD(stream->fd), "segment", NULL);
}

static int uncut_repair(struct stream *stream, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    if (!stream->uncut) {
        return 0;
    }
    store__segment_path(stream->layout, stream->id, stream->uncut_number, path);
    int code = stream->uncut_end ? fs_open(path, O_RDWR, 0, &fd, err) : fs_unlink(path, err);
    if (!code && fd >= 0 && fs_ops_get()->ftruncate(fd, (off_t)stream->uncut_end) < 0) {
        code = err_sys(err, errno, "cannot cut a failed group off %s", path);
    }
    if (!code && fd >= 0) {
        code = fs_datasync(fd, path, err);
    }
    stream->uncut = code != 0;
    return code;
}

void store__stream_close(struct stream *stream) {
    last_close(stream);
    uncut_repair(stream, NULL);
    free(stream->segments);
    stream->segments = NULL;
    stream->count = stream->room = 0;
}

/* ---- a group ---- */

bool store__stream_is_full(const struct stream *stream, uint64_t bytes, int64_t max_age_us) {
    const struct segment *open = last(stream);
    if (stream->fd < 0 || !open) {
        return true;
    }
    bool old = max_age_us > 0 && clock_boot_us() - stream->opened_boot_us > max_age_us;
    return old || open->end + bytes > stream->limit;
}

uint64_t store__stream_growth(const struct stream *stream, uint64_t bytes) {
    const struct segment *open = last(stream);
    if (stream->fd < 0 || open->end + bytes > stream->limit) {
        return bytes > stream->limit ? bytes : stream->limit;
    }
    return open->end + bytes > open->allocated ? open->end + bytes - open->allocated : 0;
}

int store__birth_encode(const struct layout *layout, unsigned stream,
                        const struct segment_birth *birth, struct buf *bytes) {
    struct record record = {.kind = RECORD_SEGMENT,
                            .segment = {.stream = (uint8_t)stream,
                                        .utc_us = birth->utc_us,
                                        .boot_us = birth->boot_us,
                                        .first_seq = birth->first_seq}};
    uint8_t head[RECORD_HEADER] = {0};
    memcpy(record.segment.uuid, layout->uuid, 16);
    buf_append(bytes, head, sizeof(head));
    store__record_encode(&record, bytes);
    if (bytes->failed) {
        return ERR_NOMEM;
    }
    struct record_header header = {.kind = RECORD_SEGMENT,
                                   .version = RECORD_VERSION,
                                   .payload_bytes = (uint32_t)(bytes->len - RECORD_HEADER),
                                   .segment = birth->lsn,
                                   .lsn = birth->lsn};
    hash_sha256(bytes->data + RECORD_HEADER, header.payload_bytes, &header.sha);
    store__header_encode(&header, layout->uuid, (uint8_t *)bytes->data);
    uint64_t size = store__record_size(header.payload_bytes);
    while (bytes->len < size && !bytes->failed) {
        buf_append(bytes, "", 1);
    }
    return bytes->failed ? ERR_NOMEM : 0;
}

static int birth_write(struct stream *stream, int fd, const char *path,
                       const struct segment_birth *birth, struct err *err) {
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(RECORD_HEADER + 128);
    if (store__birth_encode(stream->layout, stream->id, birth, &bytes)) {
        return err_set(err, ERR_NOMEM, "no memory to begin %s", path);
    }
    stream->append_at = bytes.len;
    return fs_pwrite_all(fd, bytes.data, bytes.len, 0, path, err);
}

static int space_take(int fd, uint64_t bytes, const char *path, struct err *err) {
    int failed;
    do {
        failed = fs_ops_get()->fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
    } while (failed < 0 && errno == EINTR);
    if (failed < 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
        return err_sys(err, errno, "cannot take %llu bytes for %s", (unsigned long long)bytes,
                       path);
    }
    return 0;
}

/* A tier that cannot have a whole segment has others removed for it. The meta log is what removes:
 * on a full disk it contents itself with what the group needs. */
static int space_begin(const struct stream *stream, int fd, uint64_t bytes, const char *path,
                       struct err *err) {
    int code = space_take(fd, bytes > stream->limit ? bytes : stream->limit, path, err);
    if (code == ERR_FULL && stream->id == STREAM_META) {
        code = space_take(fd, bytes, path, err);
    }
    return code;
}

static int segment_create(struct stream *stream, uint64_t bytes, const struct segment_birth *birth,
                          struct err *err) {
    char path[LAYOUT_PATH_MAX], dir[LAYOUT_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    struct segment segment = {.number = birth->lsn};
    store__segment_path(stream->layout, stream->id, segment.number, path);
    int code = fs_open(path, O_RDWR | O_CREAT | O_EXCL, 0640, &fd, err);
    if (code) {
        return code;
    }
    code = space_begin(stream, fd, bytes, path, err);
    code = code ? code : birth_write(stream, fd, path, birth, err);
    code = code ? code : fs_sync_dir(store__stream_dir(stream->layout, stream->id, dir), err);
    code = code ? code : segments_add(stream, &segment, err);
    if (code) {
        if (fs_unlink(path, NULL)) {
            stream->uncut = true;
            stream->uncut_number = segment.number;
            stream->uncut_end = 0;
        }
        return code;
    }
    allocation_note(stream, last(stream), fd);
    stream->fd = TAKE_FD(fd);
    stream->opened_boot_us = clock_boot_us();
    stream->group_at = 0;
    return 0;
}

int store__stream_begin(struct stream *stream, uint64_t bytes, bool roll,
                        const struct segment_birth *birth, struct err *err) {
    assert(!stream->in_group);
    int code = uncut_repair(stream, err);
    if (code) {
        return code;
    }
    if (!roll && !store__stream_is_full(stream, bytes, 0)) {
        stream->group_at = stream->append_at = last(stream)->end;
    } else {
        last_close(stream);
        code = segment_create(stream, bytes + RECORD_HEADER + 64, birth, err);
    }
    stream->in_group = !code;
    return code;
}

int store__stream_append(struct stream *stream, struct iovec *parts, int count, uint64_t bytes,
                         struct err *err) {
    char path[LAYOUT_PATH_MAX];
    store__segment_path(stream->layout, stream->id, last(stream)->number, path);
    int code = fs_pwritev_all(stream->fd, parts, count, stream->append_at, path, err);
    if (!code) {
        stream->append_at += bytes;
    }
    return code;
}

int store__stream_sync(struct stream *stream, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    store__segment_path(stream->layout, stream->id, last(stream)->number, path);
    return fs_datasync(stream->fd, path, err);
}

void store__stream_publish(struct stream *stream) {
    struct segment *open = last(stream);
    assert(stream->in_group);
    open->end = stream->append_at;
    if (open->end > open->allocated) { /* nothing was taken ahead: it grew by writing */
        uint64_t allocated = (open->end + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        stream->allocated += allocated - open->allocated;
        open->allocated = allocated;
    }
    stream->in_group = false;
}

void store__stream_abort(struct stream *stream) {
    struct segment *open = last(stream);
    if (!stream->in_group) {
        return;
    }
    stream->in_group = false;
    stream->uncut = true;
    stream->uncut_number = open->number;
    stream->uncut_end = open->end;
    fs_close(TAKE_FD(stream->fd), "segment", NULL);
    uncut_repair(stream, NULL);
    if (stream->uncut_end == 0) {
        segments_drop(stream, stream->count - 1);
    }
}

/* ---- giving space back ---- */

int store__stream_punch(struct stream *stream, uint64_t number, uint64_t at, uint64_t bytes,
                        struct err *err) {
    char path[LAYOUT_PATH_MAX];
    CLEANUP(fd_close_at) int fd = -1;
    uint64_t from = (at + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    uint64_t to = (at + bytes) / PAGE_BYTES * PAGE_BYTES;
    size_t found = segments_at(stream, number);
    if (from >= to || found == stream->count || stream->segments[found].number != number) {
        return 0;
    }
    store__segment_path(stream->layout, stream->id, number, path);
    int code = fs_open(path, O_RDWR, 0, &fd, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    if (fs_ops_get()->fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                                (off_t)(to - from)) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            stream->no_holes = true;
            return err_set(err, ERR_REFUSED, "%s lies on a file system without holes", path);
        }
        return err_sys(err, errno, "cannot free a part of %s", path);
    }
    allocation_note(stream, &stream->segments[found], fd);
    return 0;
}

int store__stream_remove(struct stream *stream, uint64_t number, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    store__segment_path(stream->layout, stream->id, number, path);
    size_t found = segments_at(stream, number);
    bool known = found < stream->count && stream->segments[found].number == number;
    assert(!known || found + 1 < stream->count || stream->fd < 0);
    int code = fs_unlink(path, err);
    if (!code && known) {
        segments_drop(stream, found);
    }
    return code;
}

int store__stream_replace(struct stream *stream, const char *path, uint64_t first, uint64_t through,
                          uint64_t size, struct err *err) {
    char to[LAYOUT_PATH_MAX], dir[LAYOUT_PATH_MAX];
    size_t at = segments_at(stream, first);
    assert(at < stream->count && stream->segments[at].number == first);
    store__segment_path(stream->layout, stream->id, first, to);
    int code = fs_rename(path, to, err);
    if (code) {
        return code;
    }
    bool durable = !fs_sync_dir(store__stream_dir(stream->layout, stream->id, dir), NULL);
    while (at + 1 < stream->count && stream->segments[at + 1].number <= through) {
        store__segment_path(stream->layout, stream->id, stream->segments[at + 1].number, to);
        if (durable) { /* else the next opening finds them, and which of the two it is to believe */
            fs_unlink(to, NULL);
        }
        segments_drop(stream, at + 1);
    }
    uint64_t allocated = (size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    pthread_mutex_lock(stream->lock);
    stream->allocated += allocated - stream->segments[at].allocated;
    stream->segments[at] = (struct segment){first, size, allocated};
    stream->checkpoint_bytes = size;
    pthread_mutex_unlock(stream->lock);
    return 0;
}
