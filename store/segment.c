/* segment: see segment.h.
 *
 * Goal: after a crash, tell the torn tail of the last group from damage in what was durable,
 * exactly. How: each header says where its group began. Groups are made durable one after another,
 * so a tear can only be in the last one. If behind a bad place there is a whole header whose group
 * began after that place, the bad place belongs to an earlier, durable group: damage. Otherwise it
 * is the tear, and all behind it goes. Invariants:
 *   1. A record is given out only when its header's CRC, its file number and (where loaded) its
 * SHA-256 agree.
 *   2. Nothing at or behind scan->end is read: the writer may be there.
 * Rejected: a commit record a group (one more write, and a tear between it and its group to think
 * about); zeroing the tail (a second write of 64 MiB).
 */
#include "store/segment.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WINDOW_MAX  (64u << 10) /* read ahead while records follow closely */
#define WINDOW_JUMP (4u << 10)  /* after a blob was stepped over */
#define RECORD_NEAR (12u << 10) /* a thumbnail's record is smaller, mostly */

int store__scan_open(struct segment_scan *scan, const char *path, uint64_t number,
                     const uint8_t *uuid, struct err *err) {
    store__scan_close(scan);
    if (strlen(path) >= sizeof(scan->path)) {
        return err_set(err, ERR_INVALID, "the path %.80s… is too long", path);
    }
    CLEANUP(fd_close_at) int fd = -1;
    int code = fs_open(path, O_RDONLY, 0, &fd, err);
    if (code) {
        return code;
    }
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return err_sys(err, errno, "cannot read the size of %s", path);
    }
    scan->window = mem_alloc(WINDOW_MAX);
    if (!scan->window) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", path);
    }
    memcpy(scan->path, path, strlen(path) + 1);
    memcpy(scan->uuid, uuid, sizeof(scan->uuid));
    scan->fd = TAKE_FD(fd);
    scan->number = number;
    scan->end = (uint64_t)info.st_size;
    return 0;
}

void store__scan_close(struct segment_scan *scan) {
    fd_close_at(&scan->fd);
    free(scan->window);
    free(scan->large);
    *scan = (struct segment_scan)SEGMENT_SCAN_INIT;
}

/* `size` (at most WINDOW_MAX) bytes at `at`, borrowed until the next call. The caller has checked
 * the end. */
static int window_get(struct segment_scan *scan, uint64_t at, size_t size, const uint8_t **out,
                      struct err *err) {
    uint64_t window_end = scan->window_at + scan->window_size;
    if (at < scan->window_at || at + size > window_end) {
        bool follows = at >= scan->window_at && at <= window_end;
        uint64_t want = follows ? WINDOW_MAX : WINDOW_JUMP;
        want = want > size ? want : size;
        want = want < scan->end - at ? want : scan->end - at;
        scan->window_size = 0;
        int code = fs_pread_all(scan->fd, scan->window, (size_t)want, at, scan->path, err);
        if (code) {
            return code;
        }
        scan->window_at = at;
        scan->window_size = (size_t)want;
    }
    *out = scan->window + (at - scan->window_at);
    return 0;
}

static int large_get(struct segment_scan *scan, uint64_t at, size_t size, const uint8_t **out,
                     struct err *err) {
    if (size > scan->large_room) {
        uint8_t *larger = mem_resize(scan->large, size, 1);
        if (!larger) {
            return err_set(err, ERR_NOMEM, "no memory for a record of %zu bytes", size);
        }
        scan->large = larger;
        scan->large_room = size;
    }
    *out = scan->large;
    return fs_pread_all(scan->fd, scan->large, size, at, scan->path, err);
}

/* Is this a header of the file `number`? `code` is what decoding it said. */
static int header_judge(int code, const struct record_header *header, uint64_t number, uint64_t at,
                        const char *path, struct err *err) {
    if (code == ERR_NOT_FOUND) {
        return err_set(err, ERR_CORRUPT, "%s: zeros at byte %llu", path, (unsigned long long)at);
    }
    if (code) {
        err_wrap(err, "%s at byte %llu", path, (unsigned long long)at);
        return code;
    }
    if (header->segment != number) {
        return err_set(err, ERR_CORRUPT, "%s: the record at byte %llu belongs to another file",
                       path, (unsigned long long)at);
    }
    return 0;
}

static int cut_off(uint64_t at, const char *path, struct err *err) {
    return err_set(err, ERR_CORRUPT, "%s: a header at byte %llu is cut off", path,
                   (unsigned long long)at);
}

static int header_get(struct segment_scan *scan, uint64_t at, struct record_header *out,
                      struct err *err) {
    if (at + RECORD_HEADER > scan->end) {
        return cut_off(at, scan->path, err);
    }
    const uint8_t *bytes;
    int code = window_get(scan, at, RECORD_HEADER, &bytes, err);
    code = code ? code : store__header_decode(bytes, scan->uuid, out, err);
    return header_judge(code, out, scan->number, at, scan->path, err);
}

static bool padding_clear(const uint8_t *payload, size_t size, size_t padded) {
    for (size_t i = size; i < padded; i++) {
        if (payload[i]) {
            return false;
        }
    }
    return true;
}

static size_t padded_size(const struct record_header *header) {
    return (size_t)(store__record_size(header->payload_bytes) - RECORD_HEADER);
}

/* `bytes` are the payload of the record at `at` and its padding. */
static int payload_judge(const uint8_t *bytes, const struct record_header *header, uint64_t at,
                         const char *path, struct err *err) {
    size_t size = header->payload_bytes;
    struct frame_hash sha;
    hash_sha256(bytes, size, &sha);
    if (memcmp(&sha, &header->sha, sizeof(sha)) != 0 ||
        !padding_clear(bytes, size, padded_size(header))) {
        return err_set(err, ERR_CORRUPT, "%s: the payload at byte %llu does not match its SHA-256",
                       path, (unsigned long long)at);
    }
    return 0;
}

static int payload_get(struct segment_scan *scan, uint64_t at, const struct record_header *header,
                       const uint8_t **out, struct err *err) {
    size_t padded = padded_size(header);
    *out = (const uint8_t *)"";
    int code = 0;
    if (padded) {
        code = padded <= WINDOW_MAX ? window_get(scan, at + RECORD_HEADER, padded, out, err)
                                    : large_get(scan, at + RECORD_HEADER, padded, out, err);
    }
    return code ? code : payload_judge(*out, header, at, scan->path, err);
}

static bool has_bytes(const struct record_header *header) {
    return header->kind == RECORD_BLOB || header->kind == RECORD_THUMB ||
           header->kind == RECORD_VOID;
}

int store__scan_next(struct segment_scan *scan, bool with_bytes, struct record_at *out,
                     struct err *err) {
    if (scan->at >= scan->end) {
        return err_set(err, ERR_NOT_FOUND, "%s ends here", scan->path);
    }
    struct record_header header;
    int code = header_get(scan, scan->at, &header, err);
    if (code) {
        return code;
    }
    uint64_t size = store__record_size(header.payload_bytes);
    bool bytes = has_bytes(&header);
    if (size > scan->end - scan->at || (!bytes && header.payload_bytes > RECORD_SMALL_MAX)) {
        return err_set(err, ERR_CORRUPT, "%s: the record at byte %llu is cut off", scan->path,
                       (unsigned long long)scan->at);
    }
    const uint8_t *payload = NULL;
    if (!bytes || with_bytes) {
        code = payload_get(scan, scan->at, &header, &payload, err);
    } else if (header.kind == RECORD_THUMB && header.payload_bytes >= sizeof(struct frame_hash)) {
        code = window_get(scan, scan->at + RECORD_HEADER, sizeof(struct frame_hash), &payload, err);
    }
    if (!code) {
        *out = (struct record_at){.header = header, .at = scan->at, .payload = payload};
        scan->at += size;
    }
    return code;
}

int store__scan_resync(struct segment_scan *scan, bool any_group, struct err *err) {
    uint64_t bad = scan->at;
    for (uint64_t at = bad + 8; at + RECORD_HEADER <= scan->end; at += 8) {
        struct record_header header;
        int code = header_get(scan, at, &header, NULL);
        if (code == 0 && (any_group || header.group_at > bad)) {
            scan->at = at;
            return 0;
        }
        if (code == ERR_REFUSED) {
            return header_get(scan, at, &header, err);
        }
        if (code && code != ERR_CORRUPT) {
            return header_get(scan, at, &header, err);
        }
    }
    return err_set(err, ERR_NOT_FOUND, "%s: nothing whole behind byte %llu", scan->path,
                   (unsigned long long)bad);
}

/* ---- one record ---- */

/* A page of thumbnails is sixty of these: no window, and one read for what is small. `near` has the
 * header and what follows it, `near_size` bytes in all. */
static int payload_read(int fd, const char *path, uint64_t at, const struct record_header *header,
                        const uint8_t *near, size_t near_size, uint8_t **out, struct err *err) {
    size_t padded = padded_size(header), have = near_size - RECORD_HEADER;
    have = have < padded ? have : padded;
    CLEANUP(mem_free_at) uint8_t *bytes = mem_resize(NULL, padded + 1, 1);
    if (!bytes) {
        return err_set(err, ERR_NOMEM, "no memory for a record of %u bytes", header->payload_bytes);
    }
    memcpy(bytes, near + RECORD_HEADER, have);
    int code = fs_pread_all(fd, bytes + have, padded - have, at + RECORD_HEADER + have, path, err);
    code = code ? code : payload_judge(bytes, header, at, path, err);
    if (!code) {
        *out = TAKE_PTR(bytes);
    }
    return code;
}

int store__record_read(const char *path, uint64_t number, const uint8_t *uuid, uint64_t at,
                       struct record_header *header, uint8_t **payload, struct err *err) {
    CLEANUP(fd_close_at) int fd = -1;
    struct record_header found;
    uint8_t near[RECORD_NEAR];
    size_t size = sizeof(near);
    int code = fs_open(path, O_RDONLY, 0, &fd, err);
    code = code ? code : fs_pread_some(fd, near, &size, at, path, err);
    if (code) {
        return code;
    }
    if (size < RECORD_HEADER) {
        return cut_off(at, path, err);
    }
    code = store__header_decode(near, uuid, &found, err);
    code = header_judge(code, &found, number, at, path, err);
    if (!code && !has_bytes(&found) && found.payload_bytes > RECORD_SMALL_MAX) {
        code = cut_off(at, path, err);
    }
    code = code ? code : payload_read(fd, path, at, &found, near, size, payload, err);
    if (!code) {
        *header = found;
    }
    return code;
}

/* ---- the tail ---- */

static int tail_note(struct segment_tail *tail, const struct record_at *found, uint64_t behind,
                     struct err *err) {
    struct record record;
    tail->end = behind;
    if (found->header.lsn > tail->last_lsn) {
        tail->last_lsn = found->header.lsn;
    }
    if (found->header.kind != RECORD_FRAME && found->header.kind != RECORD_SEGMENT) {
        return 0;
    }
    int code = store__record_decode(found->header.kind, found->payload, found->header.payload_bytes,
                                    &record, err);
    if (code) { /* whole, but of no layout: says nothing */
        return code == ERR_NOMEM ? code : 0;
    }
    uint64_t next = record.kind == RECORD_FRAME ? record.frame.seq + 1 : record.segment.first_seq;
    tail->next_seq = next > tail->next_seq ? next : tail->next_seq;
    store__record_finish(&record);
    return 0;
}

/* Steps over a bad place; ERR_NOT_FOUND when it is the torn tail. */
static int tail_step_over(struct segment_scan *scan, uint64_t trusted, struct segment_tail *tail,
                          struct err *err) {
    uint64_t bad = scan->at;
    int code = store__scan_resync(scan, bad < trusted, err);
    if (code == ERR_NOT_FOUND && bad < trusted) {
        scan->at = trusted < scan->end ? trusted : scan->end;
        tail->end = scan->at;
        code = 0;
    }
    if (!code) {
        tail->damaged++;
    }
    return code;
}

/* The blobs of the last group, which the first walk stepped over: the first bad one ends the file.
 */
static int tail_verify(struct segment_scan *scan, uint64_t from, struct segment_tail *tail,
                       struct err *err) {
    uint64_t end = scan->end;
    scan->end = tail->end;
    scan->at = from;
    struct record_at found;
    int code;
    do {
        code = store__scan_next(scan, true, &found, err);
    } while (!code);
    scan->end = end;
    if (code == ERR_CORRUPT) {
        tail->end = scan->at;
        code = 0;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* What the index saw needs no second look, so opening costs as much as there is behind it. But only
 * where a whole record follows: a position that is none would make a tear of all that lies behind.
 */
static uint64_t tail_begin(struct segment_scan *scan, uint64_t trusted) {
    struct record_header header;
    bool good = trusted == scan->end ||
                (trusted < scan->end && header_get(scan, trusted, &header, NULL) == 0);
    return good ? trusted : 0;
}

int store__segment_tail(struct segment_scan *scan, uint64_t trusted, uint64_t durable_lsn,
                        struct segment_tail *out, struct err *err) {
    struct segment_tail tail = {.next_seq = 1, .end = tail_begin(scan, trusted)};
    uint64_t group_at = 0;
    scan->at = tail.end;
    for (;;) {
        struct record_at found;
        int code = store__scan_next(scan, false, &found, err);
        if (code == ERR_NOT_FOUND) {
            break;
        }
        if (code == ERR_CORRUPT) {
            code = tail_step_over(scan, trusted, &tail, err);
            if (code == ERR_NOT_FOUND) {
                break;
            }
        } else if (!code) {
            group_at = found.header.group_at;
            if (found.at < trusted && trusted < scan->at) { /* a position that is none */
                trusted = scan->at;
            }
            code = tail_note(&tail, &found, scan->at, err);
        }
        if (code) {
            return code;
        }
    }
    uint64_t from = group_at > trusted ? group_at : trusted;
    bool durable = tail.last_lsn < durable_lsn;
    int code = from < tail.end && !durable ? tail_verify(scan, from, &tail, err) : 0;
    if (!code) {
        tail.torn = scan->end - tail.end;
        *out = tail;
    }
    return code;
}
