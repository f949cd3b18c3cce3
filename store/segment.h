/* segment: reads one log file record by record, and finds where its last whole record ends.
 *
 * Used by the index thread (behind the writer), by opening (the tail after a crash) and by fsck.
 * Not: it never writes; stream.h appends. Thread: a scan belongs to one thread.
 */
#ifndef CREEL_STORE_SEGMENT_H
#define CREEL_STORE_SEGMENT_H

#include "daemon/base/err.h"
#include "store/record.h"
#include <stdbool.h>
#include <stdint.h>

struct segment_scan {
    int fd; /* owned; -1 when closed */
    char path[512];
    uint64_t number;
    uint8_t uuid[16];
    uint64_t at;  /* of the next header; moved by the caller at will */
    uint64_t end; /* nothing is read from here on; the caller may raise it */
    uint8_t *window;
    uint64_t window_at;
    size_t window_size;
    uint8_t *large; /* payloads that the window cannot hold */
    size_t large_room;
};

#define SEGMENT_SCAN_INIT                                                                          \
    { .fd = -1 }

struct record_at {
    struct record_header header;
    uint64_t at;            /* of the header */
    const uint8_t *payload; /* borrowed until the next call. Not loaded: NULL for a blob; for a
                               thumb its first 32 bytes, the hash of its blob, not checked */
};

/* Opens the file with `end` at its present size. ERR_NOT_FOUND: no such file. */
int store__scan_open(struct segment_scan *scan, const char *path, uint64_t number,
                     const uint8_t *uuid, struct err *err);
void store__scan_close(struct segment_scan *scan);

/* The record at scan->at, and moves behind it. Payloads are loaded and checked against their
 * SHA-256; those of blobs and thumbs only when `with_bytes`. ERR_NOT_FOUND: at the end.
 * ERR_CORRUPT: no whole record here (the scan stays). ERR_REFUSED: written by a later creel. */
int store__scan_next(struct segment_scan *scan, bool with_bytes, struct record_at *out,
                     struct err *err);

/* Looks behind a bad place for the next header whose group began after it, and moves there.
 * ERR_NOT_FOUND: there is none, so the bad place is a torn tail. `any_group` takes every whole
 * header. */
int store__scan_resync(struct segment_scan *scan, bool any_group, struct err *err);

/* The size of a frame, meta, blob or other record may be read at a known place, by its own file
 * opening. The caller frees *payload. ERR_NOT_FOUND: file gone; ERR_CORRUPT: not that record, or
 * damaged. */
int store__record_read(const char *path, uint64_t number, const uint8_t *uuid, uint64_t at,
                       struct record_header *header, uint8_t **payload, struct err *err);

struct segment_tail {
    uint64_t end;      /* behind the last whole record */
    uint64_t torn;     /* bytes behind `end` that are not zero-length */
    uint64_t last_lsn; /* of what was walked; 0: no record */
    uint64_t next_seq; /* at least 1 + the greatest seq of a frame that was walked */
    uint64_t damaged;  /* bad places that are not the tail */
};

/* Walks the file from `trusted` on, or, where no record begins there, all of it. What lies before
 * was durable once (the index saw it): a bad place there is damage, never a tear. A last group of
 * records below `durable_lsn` was durable too, so a payload of it that is not whole has been
 * punched since. */
int store__segment_tail(struct segment_scan *scan, uint64_t trusted, uint64_t durable_lsn,
                        struct segment_tail *out, struct err *err);

#endif
