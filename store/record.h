/* record: the self-describing records of the log, as bytes and as structs. schemas/records.md draws
 * them.
 *
 * Every record is a header of RECORD_HEADER bytes, the payload, and zeros up to a multiple of 8.
 * Numbers are little endian; nothing is ever copied as a struct. Decoding is strict: a length, an
 * enum or a trailing byte that the layout does not allow is ERR_CORRUPT, a kind or version of a
 * later creel is ERR_REFUSED. Not: no files, no threads. Thread: any; all functions are pure.
 */
#ifndef CREEL_STORE_RECORD_H
#define CREEL_STORE_RECORD_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "schemas/frame.h"
#include "store/store.h"
#include <stdbool.h>
#include <stdint.h>

#define RECORD_HEADER      72u
#define RECORD_VERSION     1u
#define RECORD_PAYLOAD_MAX FRAME_BLOB_MAX
/* Of everything but blobs: 512 detections of at most 38 + 48 bytes, or 1,024 hashes. */
#define RECORD_SMALL_MAX (256u << 10)
#define RECORD_BATCH_MAX 1024u /* hashes in one tombstone */

enum record_kind {
    RECORD_SEGMENT = 1,
    RECORD_BLOB = 2,
    RECORD_FRAME = 3,
    RECORD_THUMB = 4,
    RECORD_REMOTES = 16,
    RECORD_RECEIPT = 17,
    RECORD_TOMBSTONE = 18,
    RECORD_PIN = 19,
    RECORD_QUARANTINE = 20,
    RECORD_RELEASE = 21,
    RECORD_CLOCK = 22,
    RECORD_FORGET = 23,
    RECORD_VOID = 24, /* bytes that a repair took out of use */
    RECORD_MOVED = 25,
    RECORD_LABEL = 26,
    RECORD_CHECKPOINT = 27,
    RECORD_OUTBOX = 28,
};

/* Kept there, or copied forward to there. */
static inline bool store__record_is_frame(unsigned kind) {
    return kind == RECORD_FRAME || kind == RECORD_MOVED;
}

struct record_header {
    uint16_t kind;
    uint16_t version;
    uint32_t payload_bytes;
    uint32_t
        group_at; /* where the group of this record begins in its file: tells a tear from damage */
    uint64_t
        segment;  /* number of the file it was written to: bytes of a recycled block do not pass */
    uint64_t lsn; /* order over all streams, from 1, never used twice */
    struct frame_hash sha; /* of the payload; of a blob it is its name */
};

/* Bytes of header, payload and padding. */
static inline uint64_t store__record_size(uint64_t payload_bytes) {
    return RECORD_HEADER + ((payload_bytes + 7) & ~(uint64_t)7);
}

/* `uuid` (16 bytes, the store's) salts the checksum, so that a payload cannot forge a record. */
void store__header_encode(const struct record_header *header, const uint8_t *uuid,
                          uint8_t out[RECORD_HEADER]);
/* ERR_NOT_FOUND: zeros, nothing was written here. ERR_CORRUPT: not a header. ERR_REFUSED: a later
 * creel's. */
int store__header_decode(const uint8_t in[RECORD_HEADER], const uint8_t *uuid,
                         struct record_header *out, struct err *err);

/* ---- payloads ---- */

struct record_segment {
    uint8_t uuid[16];
    uint8_t stream;
    int64_t utc_us, boot_us;
    uint64_t first_seq; /* the next frame's seq when the file was made */
};

struct record_frame {
    uint64_t seq;
    int64_t kept_utc_us, kept_boot_us;
    enum clock_state kept_state;
    struct frame_record frame; /* detections: owned after decoding, see store__frame_finish */
};

enum tombstone_reason {
    TOMBSTONE_AGE = 1,
    TOMBSTONE_UPLOADED = 2,
    TOMBSTONE_TIER_BYTES = 3,
    TOMBSTONE_QUOTA = 4,
    TOMBSTONE_REMOVED = 5,
    TOMBSTONE_DAMAGED = 6,
    TOMBSTONE_DISPLACED = 7,
};

enum clock_repair { CLOCK_REPAIR_OFFSET = 1, CLOCK_REPAIR_GIVE_UP = 2 };

struct record_remotes {
    struct store_remote remotes[STORE_REMOTES_MAX];
    size_t count;
};
struct record_receipt {
    struct frame_hash identity;
    struct store_receipt receipt; /* remote name empty: the identity says which */
};
struct record_tombstone {
    enum frame_tier tier;
    enum tombstone_reason reason;
    int64_t utc_us;
    size_t count;
    struct frame_hash *blobs; /* owned after decoding */
};
struct record_pin {
    struct frame_id id;
    bool on;
    int64_t utc_us;
};
struct record_quarantine {
    struct frame_hash identity;
    enum frame_tier tier;
    struct frame_hash blob;
    int64_t utc_us;
    char reason[STORE_REASON_MAX + 1];
};
struct record_release {
    bool all;
    struct frame_hash identity;
    int64_t utc_us;
};
struct record_outbox { /* what a person decided about rows of one remote */
    enum store_outbox_action action;
    struct frame_hash identity;
    int64_t utc_us;
    size_t count;
    struct store_blob_name *blobs; /* owned after decoding */
};
struct record_clock {
    uint8_t boot_id[16];
    enum clock_repair repair;
    int64_t offset_us; /* UTC minus boot time */
};
struct record_forget {
    uint8_t stream;
    uint64_t segment;
    int64_t utc_us;
};

struct record_label {
    struct frame_id id;
    struct store_label label;
};
struct record_checkpoint {
    uint64_t through; /* number of the last file that this one stands for */
    int64_t utc_us;
    uint64_t applied; /* lsn that the index had reached, by which what stays was chosen */
};

/* Any record but a blob, decoded. */
struct record {
    enum record_kind kind;
    union {
        struct record_segment segment;
        struct record_frame frame; /* MOVED too */
        struct record_remotes remotes;
        struct record_receipt receipt;
        struct record_tombstone tombstone;
        struct record_pin pin;
        struct record_quarantine quarantine;
        struct record_release release;
        struct record_outbox outbox;
        struct record_clock clock;
        struct record_forget forget;
        struct record_label label;
        struct record_checkpoint checkpoint;
    };
};

/* Appends the payload. A failed append sticks in `out`. Kinds BLOB, THUMB and VOID have no encoder:
 * they are bytes. */
void store__record_encode(const struct record *record, struct buf *out);
/* `*out` owns memory afterwards: finish it. Outputs only on success. */
int store__record_decode(enum record_kind kind, const uint8_t *payload, size_t size,
                         struct record *out, struct err *err);
void store__record_finish(struct record *record);

/* The detections of a frame as bytes (count, then each), as in the frame record and the index.
 * `floor` leaves out what is less confident. */
/* Orientation and whether it is masked, as one byte (index and log alike). */
unsigned store__looks_pack(const struct frame_record *frame);
void store__looks_unpack(unsigned packed, struct frame_record *frame);

void store__detections_encode(const struct frame_detection *detections, size_t count, double floor,
                              struct buf *out);
int store__detections_decode(const uint8_t *bytes, size_t size, struct frame_detection **out,
                             size_t *count, struct err *err);

#endif
