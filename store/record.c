/* record: see record.h and schemas/records.md.
 *
 * Goal: bytes that can be understood, or refused, without anything but themselves.
 * Invariants:
 *   1. What encode writes, decode reads back to the same struct, bit by bit (floats as their IEEE
 * bits).
 *   2. Decode never reads past the payload and never allocates more than the payload can describe.
 *   3. A flipped bit anywhere in header, payload or padding is seen: the CRC covers the header, the
 * SHA-256 in it the payload, and padding must be zero (segment.c looks at that). Each payload has
 * one pair of functions, and `payloads` names the pair of each kind.
 */
#include "store/record.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <stdlib.h>
#include <string.h>

#define MAGIC        0x314c5243u /* "CRL1" */
#define CRC_AT       68u
#define LOOKS_MASKED 0x80u
#define DETECT_MIN   (2u + 4u + 4u * 8u + 1u)

/* ---- little endian, out ---- */

static void put_uint(struct buf *out, uint64_t value, size_t size) {
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    buf_append(out, bytes, size);
}

static void put_u8(struct buf *out, unsigned value) {
    put_uint(out, value, 1);
}

static void put_i64(struct buf *out, int64_t value) {
    put_uint(out, (uint64_t)value, 8);
}

static void put_f64(struct buf *out, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_uint(out, bits, 8);
}

static void put_f32(struct buf *out, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_uint(out, bits, 4);
}

static void put_hash(struct buf *out, const struct frame_hash *hash) {
    buf_append(out, hash->bytes, sizeof(hash->bytes));
}

/* One byte of length; every text here has a maximum below 256. */
static void put_text(struct buf *out, const char *text, size_t max) {
    size_t size = strnlen(text, max);
    put_u8(out, (unsigned)size);
    buf_append(out, text, size);
}

static void put_long_text(struct buf *out, const char *text, size_t max) {
    size_t size = strnlen(text, max);
    put_uint(out, size, 2);
    buf_append(out, text, size);
}

/* ---- little endian, in ---- */

struct input {
    const uint8_t *at;
    size_t left;
    bool failed;  /* sticks; what is read afterwards is zero */
    bool starved; /* failed for want of memory: the bytes may be right */
};

static int input_error(const struct input *in, struct err *err, const char *name, size_t size) {
    if (in->starved) {
        return err_set(err, ERR_NOMEM, "no memory to read %s of %zu bytes", name, size);
    }
    return err_set(err, ERR_CORRUPT, "%s of %zu bytes: not the layout", name, size);
}

static const uint8_t *get_bytes(struct input *in, size_t size) {
    if (in->failed || in->left < size) {
        in->failed = true;
        return NULL;
    }
    const uint8_t *bytes = in->at;
    in->at += size;
    in->left -= size;
    return bytes;
}

static uint64_t get_uint(struct input *in, size_t size) {
    const uint8_t *bytes = get_bytes(in, size);
    uint64_t value = 0;
    for (size_t i = 0; bytes && i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static uint8_t get_u8(struct input *in) {
    return (uint8_t)get_uint(in, 1);
}

/* A value of an enum or a flag: fails beyond `max`. */
static uint8_t get_choice(struct input *in, unsigned min, unsigned max) {
    uint8_t value = get_u8(in);
    if (value < min || value > max) {
        in->failed = true;
    }
    return value;
}

static int64_t get_i64(struct input *in) {
    return (int64_t)get_uint(in, 8);
}

static double get_f64(struct input *in) {
    uint64_t bits = get_uint(in, 8);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float get_f32(struct input *in) {
    uint32_t bits = (uint32_t)get_uint(in, 4);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void get_array(struct input *in, void *out, size_t size) {
    const uint8_t *bytes = get_bytes(in, size);
    if (bytes) {
        memcpy(out, bytes, size);
    }
}

static void get_text(struct input *in, char *out, size_t max, size_t length_bytes) {
    size_t size = (size_t)get_uint(in, length_bytes);
    if (size > max) {
        in->failed = true;
        return;
    }
    get_array(in, out, size);
    out[in->failed ? 0 : size] = '\0';
}

/* ---- header ---- */

/* The store's uuid is part of what is summed, though not of what is written. */
static uint32_t header_sum(const uint8_t header[RECORD_HEADER], const uint8_t *uuid) {
    uint8_t salted[CRC_AT + 16];
    memcpy(salted, header, CRC_AT);
    memcpy(salted + CRC_AT, uuid, 16);
    return hash_crc32(salted, sizeof(salted));
}

void store__header_encode(const struct record_header *header, const uint8_t *uuid,
                          uint8_t out[RECORD_HEADER]) {
    uint8_t *cursor = out;
    const struct {
        uint64_t value;
        size_t size;
    } fields[] = {{MAGIC, 4},
                  {header->kind, 2},
                  {header->version, 2},
                  {header->payload_bytes, 4},
                  {header->group_at, 4},
                  {header->segment, 8},
                  {header->lsn, 8}};
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        for (size_t byte = 0; byte < fields[i].size; byte++) {
            *cursor++ = (uint8_t)(fields[i].value >> (8 * byte));
        }
    }
    memcpy(cursor, header->sha.bytes, sizeof(header->sha.bytes));
    memset(out + CRC_AT - 4, 0, 4); /* flags: none is defined yet */
    uint32_t sum = header_sum(out, uuid);
    for (size_t byte = 0; byte < 4; byte++) {
        out[CRC_AT + byte] = (uint8_t)(sum >> (8 * byte));
    }
}

static bool all_zero(const uint8_t *bytes, size_t size) {
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static bool kind_known(unsigned kind) {
    return (kind >= RECORD_SEGMENT && kind <= RECORD_THUMB) ||
           (kind >= RECORD_REMOTES && kind <= RECORD_OUTBOX);
}

int store__header_decode(const uint8_t in[RECORD_HEADER], const uint8_t *uuid,
                         struct record_header *out, struct err *err) {
    if (all_zero(in, RECORD_HEADER)) {
        return err_set(err, ERR_NOT_FOUND, "nothing was written here");
    }
    struct input input = {.at = in, .left = RECORD_HEADER};
    uint64_t magic = get_uint(&input, 4);
    struct record_header header = {
        .kind = (uint16_t)get_uint(&input, 2),
        .version = (uint16_t)get_uint(&input, 2),
        .payload_bytes = (uint32_t)get_uint(&input, 4),
        .group_at = (uint32_t)get_uint(&input, 4),
        .segment = get_uint(&input, 8),
        .lsn = get_uint(&input, 8),
    };
    get_array(&input, header.sha.bytes, sizeof(header.sha.bytes));
    uint64_t flags = get_uint(&input, 4);
    if (magic != MAGIC || get_uint(&input, 4) != header_sum(in, uuid)) {
        return err_set(err, ERR_CORRUPT, "not a record of this store, or a damaged one");
    }
    if (header.version != RECORD_VERSION || !kind_known(header.kind) || flags) {
        return err_set(err, ERR_REFUSED,
                       "a record of kind %u, version %u, flags %#x was written by a later creel: "
                       "run that one",
                       header.kind, header.version, (unsigned)flags);
    }
    if (header.payload_bytes > RECORD_PAYLOAD_MAX) {
        return err_set(err, ERR_CORRUPT, "a record claims %u bytes", header.payload_bytes);
    }
    *out = header;
    return 0;
}

/* ---- detections ---- */

#define TAG_BIT 0x8000u /* of the class index */

void store__detections_encode(const struct frame_detection *detections, size_t count, double floor,
                              struct buf *out) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        kept += (double)detections[i].confidence >= floor;
    }
    put_uint(out, kept, 2);
    for (size_t i = 0; i < count; i++) {
        const struct frame_detection *detection = &detections[i];
        if ((double)detection->confidence < floor) {
            continue;
        }
        put_uint(out, detection->class_index | (detection->tag ? TAG_BIT : 0u), 2);
        put_f32(out, detection->confidence);
        put_f64(out, detection->box.x);
        put_f64(out, detection->box.y);
        put_f64(out, detection->box.w);
        put_f64(out, detection->box.h);
        put_text(out, detection->label, FRAME_LABEL_MAX);
    }
}

/* On failure `in->failed` is set and NULL returned; NULL is also right for none. */
static struct frame_detection *get_detections(struct input *in, size_t *count) {
    size_t claimed = (size_t)get_uint(in, 2);
    *count = 0;
    if (claimed > FRAME_DETECTIONS_MAX || claimed * DETECT_MIN > in->left) {
        in->failed = true;
    }
    if (in->failed || claimed == 0) {
        return NULL;
    }
    struct frame_detection *detections = mem_array(claimed, sizeof(*detections));
    for (size_t i = 0; detections && i < claimed; i++) {
        struct frame_detection *detection = &detections[i];
        unsigned index = (unsigned)get_uint(in, 2);
        detection->class_index = (uint16_t)(index & ~TAG_BIT);
        detection->tag = (index & TAG_BIT) != 0;
        detection->confidence = get_f32(in);
        detection->box.x = get_f64(in);
        detection->box.y = get_f64(in);
        detection->box.w = get_f64(in);
        detection->box.h = get_f64(in);
        get_text(in, detection->label, FRAME_LABEL_MAX, 1);
    }
    if (!detections || in->failed) {
        in->starved = !detections;
        in->failed = true;
        free(detections);
        return NULL;
    }
    *count = claimed;
    return detections;
}

int store__detections_decode(const uint8_t *bytes, size_t size, struct frame_detection **out,
                             size_t *count, struct err *err) {
    struct input in = {.at = bytes, .left = size};
    size_t found = 0;
    struct frame_detection *detections = get_detections(&in, &found);
    if (in.failed || in.left) {
        free(detections);
        return input_error(&in, err, "detections", size);
    }
    *out = detections;
    *count = found;
    return 0;
}

unsigned store__looks_pack(const struct frame_record *frame) {
    return frame->orientation | (frame->masked ? LOOKS_MASKED : 0);
}

void store__looks_unpack(unsigned packed, struct frame_record *frame) {
    frame->orientation = (uint8_t)(packed & (LOOKS_MASKED - 1));
    frame->masked = (packed & LOOKS_MASKED) != 0;
}

/* ---- payloads: one pair each ---- */

static void segment_encode(const struct record *record, struct buf *out) {
    const struct record_segment *segment = &record->segment;
    buf_append(out, segment->uuid, sizeof(segment->uuid));
    put_u8(out, segment->stream);
    put_i64(out, segment->utc_us);
    put_i64(out, segment->boot_us);
    put_uint(out, segment->first_seq, 8);
}

static void segment_decode(struct input *in, struct record *record) {
    struct record_segment *segment = &record->segment;
    get_array(in, segment->uuid, sizeof(segment->uuid));
    segment->stream = get_u8(in);
    segment->utc_us = get_i64(in);
    segment->boot_us = get_i64(in);
    segment->first_seq = get_uint(in, 8);
}

static void frame_encode(const struct record *record, struct buf *out) {
    const struct record_frame *kept = &record->frame;
    const struct frame_record *frame = &kept->frame;
    buf_append(out, frame->id.bytes, sizeof(frame->id.bytes));
    put_uint(out, kept->seq, 8);
    put_i64(out, frame->captured.utc_us);
    put_i64(out, frame->captured.boot_us);
    buf_append(out, frame->captured.boot_id, sizeof(frame->captured.boot_id));
    put_u8(out, frame->captured.state);
    put_i64(out, kept->kept_utc_us);
    put_i64(out, kept->kept_boot_us);
    put_u8(out, kept->kept_state);
    put_u8(out, frame->tier);
    put_u8(out, frame->media);
    put_u8(out, store__looks_pack(frame));
    put_uint(out, frame->width, 4);
    put_uint(out, frame->height, 4);
    put_hash(out, &frame->blob);
    put_uint(out, frame->blob_bytes, 8);
    put_hash(out, &frame->model);
    put_f64(out, frame->value);
    put_uint(out, frame->phash, 8);
    put_f32(out, frame->quality.luma_mean);
    put_f32(out, frame->quality.luma_stddev);
    put_f32(out, frame->quality.sharpness);
    put_text(out, frame->camera, FRAME_NAME_MAX);
    put_text(out, frame->rule, FRAME_NAME_MAX);
    put_text(out, frame->model_name, FRAME_MODEL_NAME_MAX);
    put_text(out, frame->model_version, FRAME_MODEL_NAME_MAX);
    store__detections_encode(frame->detections, frame->detection_count, -1, out);
}

static void frame_decode(struct input *in, struct record *record) {
    struct record_frame *kept = &record->frame;
    struct frame_record *frame = &kept->frame;
    get_array(in, frame->id.bytes, sizeof(frame->id.bytes));
    kept->seq = get_uint(in, 8);
    frame->captured.utc_us = get_i64(in);
    frame->captured.boot_us = get_i64(in);
    get_array(in, frame->captured.boot_id, sizeof(frame->captured.boot_id));
    frame->captured.state = get_choice(in, 0, CLOCK_SYNCHRONISED);
    kept->kept_utc_us = get_i64(in);
    kept->kept_boot_us = get_i64(in);
    kept->kept_state = get_choice(in, 0, CLOCK_SYNCHRONISED);
    frame->tier = get_choice(in, 0, TIER_COUNT - 1);
    frame->media = get_choice(in, 0, MEDIA_PNG);
    store__looks_unpack((unsigned)get_u8(in), frame);
    frame->width = (uint32_t)get_uint(in, 4);
    frame->height = (uint32_t)get_uint(in, 4);
    get_array(in, frame->blob.bytes, sizeof(frame->blob.bytes));
    frame->blob_bytes = get_uint(in, 8);
    get_array(in, frame->model.bytes, sizeof(frame->model.bytes));
    frame->value = get_f64(in);
    frame->phash = get_uint(in, 8);
    frame->quality.luma_mean = get_f32(in);
    frame->quality.luma_stddev = get_f32(in);
    frame->quality.sharpness = get_f32(in);
    get_text(in, frame->camera, FRAME_NAME_MAX, 1);
    get_text(in, frame->rule, FRAME_NAME_MAX, 1);
    get_text(in, frame->model_name, FRAME_MODEL_NAME_MAX, 1);
    get_text(in, frame->model_version, FRAME_MODEL_NAME_MAX, 1);
    frame->detections = get_detections(in, &frame->detection_count);
}

static void remotes_encode(const struct record *record, struct buf *out) {
    put_u8(out, (unsigned)record->remotes.count);
    for (size_t i = 0; i < record->remotes.count; i++) {
        const struct store_remote *remote = &record->remotes.remotes[i];
        put_text(out, remote->name, STORE_REMOTE_NAME_MAX);
        put_hash(out, &remote->identity);
        put_u8(out, remote->required | (unsigned)remote->trusted << 1);
    }
}

static void remotes_decode(struct input *in, struct record *record) {
    record->remotes.count = get_choice(in, 0, STORE_REMOTES_MAX);
    for (size_t i = 0; !in->failed && i < record->remotes.count; i++) {
        struct store_remote *remote = &record->remotes.remotes[i];
        get_text(in, remote->name, STORE_REMOTE_NAME_MAX, 1);
        get_array(in, remote->identity.bytes, sizeof(remote->identity.bytes));
        unsigned flags = (unsigned)get_choice(in, 0, 3);
        remote->required = flags & 1;
        remote->trusted = flags >> 1;
    }
}

static void receipt_encode(const struct record *record, struct buf *out) {
    const struct store_receipt *receipt = &record->receipt.receipt;
    put_hash(out, &record->receipt.identity);
    put_u8(out, receipt->tier);
    put_hash(out, &receipt->blob);
    put_u8(out, receipt->kind);
    put_i64(out, receipt->utc_us);
    put_long_text(out, receipt->key, STORE_KEY_MAX);
    put_text(out, receipt->etag, STORE_ETAG_MAX);
}

static void receipt_decode(struct input *in, struct record *record) {
    struct store_receipt *receipt = &record->receipt.receipt;
    get_array(in, record->receipt.identity.bytes, sizeof(record->receipt.identity.bytes));
    receipt->tier = get_choice(in, 0, TIER_COUNT - 1);
    get_array(in, receipt->blob.bytes, sizeof(receipt->blob.bytes));
    receipt->kind = get_choice(in, STORE_RECEIPT_STORED, STORE_RECEIPT_EXISTS);
    receipt->utc_us = get_i64(in);
    get_text(in, receipt->key, STORE_KEY_MAX, 2);
    get_text(in, receipt->etag, STORE_ETAG_MAX, 1);
}

static void tombstone_encode(const struct record *record, struct buf *out) {
    const struct record_tombstone *tombstone = &record->tombstone;
    put_u8(out, tombstone->tier);
    put_u8(out, tombstone->reason);
    put_i64(out, tombstone->utc_us);
    put_uint(out, tombstone->count, 2);
    for (size_t i = 0; i < tombstone->count; i++) {
        put_hash(out, &tombstone->blobs[i]);
    }
}

static void tombstone_decode(struct input *in, struct record *record) {
    struct record_tombstone *tombstone = &record->tombstone;
    tombstone->tier = get_choice(in, 0, TIER_COUNT - 1);
    tombstone->reason = get_choice(in, TOMBSTONE_AGE, TOMBSTONE_DISPLACED);
    tombstone->utc_us = get_i64(in);
    size_t count = (size_t)get_uint(in, 2);
    if (in->failed || count == 0 || count > RECORD_BATCH_MAX || in->left != count * 32) {
        in->failed = true;
        return;
    }
    tombstone->blobs = mem_array(count, sizeof(*tombstone->blobs));
    if (!tombstone->blobs) {
        in->failed = in->starved = true;
        return;
    }
    tombstone->count = count;
    for (size_t i = 0; i < count; i++) {
        get_array(in, tombstone->blobs[i].bytes, sizeof(tombstone->blobs[i].bytes));
    }
}

static void pin_encode(const struct record *record, struct buf *out) {
    buf_append(out, record->pin.id.bytes, sizeof(record->pin.id.bytes));
    put_u8(out, record->pin.on);
    put_i64(out, record->pin.utc_us);
}

static void pin_decode(struct input *in, struct record *record) {
    get_array(in, record->pin.id.bytes, sizeof(record->pin.id.bytes));
    record->pin.on = get_choice(in, 0, 1);
    record->pin.utc_us = get_i64(in);
}

static void quarantine_encode(const struct record *record, struct buf *out) {
    const struct record_quarantine *quarantine = &record->quarantine;
    put_hash(out, &quarantine->identity);
    put_u8(out, quarantine->tier);
    put_hash(out, &quarantine->blob);
    put_i64(out, quarantine->utc_us);
    put_text(out, quarantine->reason, STORE_REASON_MAX);
}

static void quarantine_decode(struct input *in, struct record *record) {
    struct record_quarantine *quarantine = &record->quarantine;
    get_array(in, quarantine->identity.bytes, sizeof(quarantine->identity.bytes));
    quarantine->tier = get_choice(in, 0, TIER_COUNT - 1);
    get_array(in, quarantine->blob.bytes, sizeof(quarantine->blob.bytes));
    quarantine->utc_us = get_i64(in);
    get_text(in, quarantine->reason, STORE_REASON_MAX, 1);
}

static void release_encode(const struct record *record, struct buf *out) {
    put_u8(out, record->release.all);
    put_hash(out, &record->release.identity);
    put_i64(out, record->release.utc_us);
}

static void release_decode(struct input *in, struct record *record) {
    record->release.all = get_choice(in, 0, 1);
    get_array(in, record->release.identity.bytes, sizeof(record->release.identity.bytes));
    record->release.utc_us = get_i64(in);
}

static void outbox_encode(const struct record *record, struct buf *out) {
    const struct record_outbox *outbox = &record->outbox;
    put_u8(out, outbox->action);
    put_hash(out, &outbox->identity);
    put_i64(out, outbox->utc_us);
    put_uint(out, outbox->count, 2);
    for (size_t i = 0; i < outbox->count; i++) {
        put_u8(out, outbox->blobs[i].tier);
        put_hash(out, &outbox->blobs[i].blob);
    }
}

static void outbox_decode(struct input *in, struct record *record) {
    struct record_outbox *outbox = &record->outbox;
    outbox->action = get_choice(in, STORE_OUTBOX_RETRY, STORE_OUTBOX_REMOVED);
    get_array(in, outbox->identity.bytes, sizeof(outbox->identity.bytes));
    outbox->utc_us = get_i64(in);
    size_t count = (size_t)get_uint(in, 2);
    if (in->failed || count == 0 || count > STORE_OUTBOX_BATCH || in->left != count * 33) {
        in->failed = true;
        return;
    }
    outbox->blobs = mem_array(count, sizeof(*outbox->blobs));
    if (!outbox->blobs) {
        in->failed = in->starved = true;
        return;
    }
    outbox->count = count;
    for (size_t i = 0; i < count; i++) {
        outbox->blobs[i].tier = get_choice(in, 0, TIER_COUNT - 1);
        get_array(in, outbox->blobs[i].blob.bytes, sizeof(outbox->blobs[i].blob.bytes));
    }
}

static void clock_encode(const struct record *record, struct buf *out) {
    buf_append(out, record->clock.boot_id, sizeof(record->clock.boot_id));
    put_u8(out, record->clock.repair);
    put_i64(out, record->clock.offset_us);
}

static void clock_decode(struct input *in, struct record *record) {
    get_array(in, record->clock.boot_id, sizeof(record->clock.boot_id));
    record->clock.repair = get_choice(in, CLOCK_REPAIR_OFFSET, CLOCK_REPAIR_GIVE_UP);
    record->clock.offset_us = get_i64(in);
}

static void forget_encode(const struct record *record, struct buf *out) {
    put_u8(out, record->forget.stream);
    put_uint(out, record->forget.segment, 8);
    put_i64(out, record->forget.utc_us);
}

static void forget_decode(struct input *in, struct record *record) {
    record->forget.stream = get_u8(in);
    record->forget.segment = get_uint(in, 8);
    record->forget.utc_us = get_i64(in);
}

static void label_encode(const struct record *record, struct buf *out) {
    const struct store_label *label = &record->label.label;
    buf_append(out, record->label.id.bytes, sizeof(record->label.id.bytes));
    put_u8(out, label->state);
    put_i64(out, label->utc_us);
    put_text(out, label->class_name, FRAME_LABEL_MAX);
    put_text(out, label->note, STORE_NOTE_MAX);
    put_text(out, label->who, FRAME_NAME_MAX);
}

static void label_decode(struct input *in, struct record *record) {
    struct store_label *label = &record->label.label;
    get_array(in, record->label.id.bytes, sizeof(record->label.id.bytes));
    label->state = get_choice(in, STORE_LABEL_NONE, STORE_LABEL_STATES - 1);
    label->utc_us = get_i64(in);
    get_text(in, label->class_name, FRAME_LABEL_MAX, 1);
    get_text(in, label->note, STORE_NOTE_MAX, 1);
    get_text(in, label->who, FRAME_NAME_MAX, 1);
}

static void checkpoint_encode(const struct record *record, struct buf *out) {
    put_uint(out, record->checkpoint.through, 8);
    put_i64(out, record->checkpoint.utc_us);
    put_uint(out, record->checkpoint.applied, 8);
}

static void checkpoint_decode(struct input *in, struct record *record) {
    record->checkpoint.through = get_uint(in, 8);
    record->checkpoint.utc_us = get_i64(in);
    record->checkpoint.applied = get_uint(in, 8);
}

static const struct {
    enum record_kind kind;
    const char *name;
    void (*encode)(const struct record *record, struct buf *out);
    void (*decode)(struct input *in, struct record *record);
} payloads[] = {
    {RECORD_SEGMENT, "segment", segment_encode, segment_decode},
    {RECORD_FRAME, "frame", frame_encode, frame_decode},
    {RECORD_REMOTES, "remotes", remotes_encode, remotes_decode},
    {RECORD_RECEIPT, "receipt", receipt_encode, receipt_decode},
    {RECORD_TOMBSTONE, "tombstone", tombstone_encode, tombstone_decode},
    {RECORD_PIN, "pin", pin_encode, pin_decode},
    {RECORD_QUARANTINE, "quarantine", quarantine_encode, quarantine_decode},
    {RECORD_RELEASE, "release", release_encode, release_decode},
    {RECORD_OUTBOX, "outbox", outbox_encode, outbox_decode},
    {RECORD_CLOCK, "clock", clock_encode, clock_decode},
    {RECORD_FORGET, "forget", forget_encode, forget_decode},
    {RECORD_MOVED, "moved frame", frame_encode, frame_decode},
    {RECORD_LABEL, "label", label_encode, label_decode},
    {RECORD_CHECKPOINT, "checkpoint", checkpoint_encode, checkpoint_decode},
};

void store__record_encode(const struct record *record, struct buf *out) {
    for (size_t i = 0; i < ARRAY_LENGTH(payloads); i++) {
        if (payloads[i].kind == record->kind) {
            payloads[i].encode(record, out);
            return;
        }
    }
    out->failed = true;
}

int store__record_decode(enum record_kind kind, const uint8_t *payload, size_t size,
                         struct record *out, struct err *err) {
    for (size_t i = 0; i < ARRAY_LENGTH(payloads); i++) {
        if (payloads[i].kind != kind) {
            continue;
        }
        struct input in = {.at = payload, .left = size};
        memset(out, 0, sizeof(*out));
        out->kind = kind;
        payloads[i].decode(&in, out);
        if (!in.failed && !in.left) {
            return 0;
        }
        store__record_finish(out);
        return input_error(&in, err, payloads[i].name, size);
    }
    return err_set(err, ERR_REFUSED,
                   "a record of kind %u was written by a later creel: run that one",
                   (unsigned)kind);
}

void store__record_finish(struct record *record) {
    if (store__record_is_frame(record->kind)) {
        free(record->frame.frame.detections);
        record->frame.frame.detections = NULL;
    } else if (record->kind == RECORD_TOMBSTONE) {
        free(record->tombstone.blobs);
        record->tombstone.blobs = NULL;
    } else if (record->kind == RECORD_OUTBOX) {
        free(record->outbox.blobs);
        record->outbox.blobs = NULL;
    }
}
