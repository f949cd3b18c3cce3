/* stream: one append-only stream of the log, cut into files (a tier's segments, the meta log, the
 * thumbnails).
 *
 * The writer thread appends a group: begin (which may start a new file), append, sync, and then
 * publish, or abort, which cuts off what was written. Other threads see only what was published.
 * Life cycle: init -> load -> ... -> close. Thread: the writer's alone, but for store__stream_find
 * and store__stream_allocated; `lock` guards what those read and is never held across I/O. Durable
 * when: store__stream_sync returned 0.
 */
#ifndef CREEL_STORE_STREAM_H
#define CREEL_STORE_STREAM_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "store/layout.h"
#include "store/segment.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct segment {
    uint64_t number;
    uint64_t end;       /* behind the last published record */
    uint64_t allocated; /* bytes of disk */
};

struct stream {
    const struct layout *layout;
    pthread_mutex_t *lock;
    unsigned id;
    uint64_t limit;           /* bytes at which a file is full */
    struct segment *segments; /* by number; owned */
    size_t count, room;
    uint64_t allocated; /* over all segments */

    /* The writer's: */
    int fd;            /* of the last segment while it is open; -1 */
    uint64_t group_at; /* where the group begun last starts */
    uint64_t append_at;
    int64_t opened_boot_us;
    bool in_group;
    bool uncut; /* an aborted group lies behind `uncut_end` and could not be cut off yet */
    uint64_t uncut_number, uncut_end;
    bool no_holes;               /* the file system cannot punch */
    uint64_t checkpoint_bytes;   /* meta log: size of the file that stands for several; 0: none */
    uint64_t checkpoint_applied; /* as it was listed: an index before this lsn is worth nothing */
};

/* Where in the log the index was; {0, 0}: nowhere. */
struct log_position {
    uint64_t segment, at;
};

/* What a new file's first record says. */
struct segment_birth {
    uint64_t lsn; /* of that record; also the file's number */
    uint64_t first_seq;
    int64_t utc_us, boot_us;
};

/* The whole first record of a file. ERR_NOMEM. */
int store__birth_encode(const struct layout *layout, unsigned stream,
                        const struct segment_birth *birth, struct buf *bytes);

void store__stream_init(struct stream *stream, unsigned id, const struct layout *layout,
                        pthread_mutex_t *lock, uint64_t limit);

/* Fills the list of files from the directory, but for what a compaction left behind; that is
 * removed when `mend`, else nothing is changed. Load does it too. */
int store__stream_list(struct stream *stream, bool mend, struct err *err);

/* Lists the files, cuts a torn tail off the last one (durably) and goes on in it. `tail` is of the
 * last file that has a record. What has an lsn below `durable_lsn` was durable once. */
int store__stream_load(struct stream *stream, const struct log_position *seen, uint64_t durable_lsn,
                       struct segment_tail *tail, struct err *err);
void store__stream_close(struct stream *stream); /* gives preallocated space back */

/* Would a group of `bytes` need a new file, and how much disk would that take at once? */
bool store__stream_is_full(const struct stream *stream, uint64_t bytes, int64_t max_age_us);
uint64_t store__stream_growth(const struct stream *stream, uint64_t bytes);

/* Starts a group of `bytes`; a new file when the last one is full (or `roll`). */
int store__stream_begin(struct stream *stream, uint64_t bytes, bool roll,
                        const struct segment_birth *birth, struct err *err);
int store__stream_append(struct stream *stream, struct iovec *parts, int count, uint64_t bytes,
                         struct err *err);
int store__stream_sync(struct stream *stream, struct err *err);
void store__stream_publish(struct stream *stream); /* caller holds the lock */
void store__stream_abort(struct stream *stream);

/* The number the open file has (valid between begin and publish or abort). */
uint64_t store__stream_number(const struct stream *stream);

/* Frees the whole pages of a payload. ERR_REFUSED: the file system has no holes. A file that is
 * gone is fine. */
int store__stream_punch(struct stream *stream, uint64_t number, uint64_t at, uint64_t bytes,
                        struct err *err);
/* Unlinks a file that is not the last. One that is gone is fine. */
int store__stream_remove(struct stream *stream, uint64_t number, struct err *err);

/* The file at `path`, whole and durable, of `size` bytes, takes the place of those from `first` to
 * `through`. Non-zero: it did not. */
int store__stream_replace(struct stream *stream, const char *path, uint64_t first, uint64_t through,
                          uint64_t size, struct err *err);

/* Is this the file that is written to, or was last? The writer's. */
bool store__stream_is_last(const struct stream *stream, uint64_t number);

/* The first segment whose number is at least `number`; false: none. Takes the lock. */
bool store__stream_find(struct stream *stream, uint64_t number, struct segment *out);

#endif
