/* group: one group commit, from requests to acknowledgements.
 *
 * Goal: an acknowledgement means durable; a failure means invisible.
 * Order: have each frame hashed (hasher.c) and admit it (this may remove others) -> find duplicates
 * -> begin the streams -> encode -> write -> fdatasync each stream written -> publish -> thumbnails
 * (a cache: not synced, and what fails is not there) -> acknowledge.
 * Invariants:
 *   1. Removal is over before duplicates are looked for: no frame of the group rests on a blob that
 * goes. While the index has not seen the last tombstone, it names no duplicates.
 *   2. Either all streams of a group are published or none: a failed write or fdatasync aborts
 * every stream that the group has begun, and all its requests fail with that code.
 *   3. An lsn is used once, whether its group came through or not. A seq of a failed group is used
 * again. When the disk is full, room is made once and the group tried once more.
 * Rejected: writing over files filled with zeros before (measured, an fdatasync costs a third less,
 * but every byte is written twice: flash wears); O_DIRECT (the index thread would read the log back
 * from the disk); having the kernel begin to write before the fdatasync, or the fdatasyncs of two
 * tiers at the same time (measured, within the noise: it is the hashes that are waited for).
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/store_impl.h"
#include <stdlib.h>
#include <string.h>

#define ARENA_MAX       (STORE_GROUP_BYTES_MAX + (96u << 20))
#define FRAME_FIXED_MAX 1024u /* a frame record without its detections */
#define DETECTION_MAX   96u
#define META_FIXED_MAX  2048u /* any meta record but for the hashes of a tombstone */

/* ---- duplicates ---- */

static struct recent_blob *recent_slot(struct writer *writer, unsigned tier,
                                       const struct frame_hash *sha) {
    size_t slot = (size_t)(sha->bytes[0] | sha->bytes[1] << 8) ^ tier;
    return &writer->recent[slot % STORE_RECENT_MAX];
}

static bool blob_known(struct store *store, unsigned tier, const struct frame_hash *sha) {
    const struct recent_blob *recent = recent_slot(&store->writer, tier, sha);
    pthread_mutex_lock(&store->lock);
    uint64_t applied = store->applied_lsn;
    bool whole = applied >= store->whole_lsn; /* else it names what later records bury */
    pthread_mutex_unlock(&store->lock);
    uint64_t known = applied > store->writer.buried_lsn ? applied : store->writer.buried_lsn;
    if (recent->lsn > known && recent->tier == tier && !memcmp(&recent->sha, sha, sizeof(*sha))) {
        return true;
    }
    return whole && applied >= store->writer.buried_lsn && store__retain_has(store, tier, sha);
}

static void recent_note(struct writer *writer, unsigned tier, const struct frame_hash *sha,
                        uint64_t lsn) {
    *recent_slot(writer, tier, sha) = (struct recent_blob){.lsn = lsn, .tier = tier, .sha = *sha};
}

static void recent_purge(struct writer *writer, uint64_t from_lsn) {
    for (size_t i = 0; i < STORE_RECENT_MAX; i++) {
        if (writer->recent[i].lsn >= from_lsn) {
            writer->recent[i].lsn = 0;
        }
    }
}

/* ---- admission ---- */

static uint64_t frame_bytes_max(const struct request *request) {
    size_t detections = request->frame.record.detection_count;
    return store__record_size(FRAME_FIXED_MAX + detections * DETECTION_MAX);
}

/* Does an earlier frame of the group bring the same bytes to the same tier? */
static bool in_group(const struct group *group, const struct request *wanted) {
    const struct frame_record *frame = &wanted->frame.record;
    for (size_t i = 0; i < group->count && group->requests[i] != wanted; i++) {
        const struct request *other = group->requests[i];
        if (other->kind == REQUEST_PUT && !other->code && other->frame.record.tier == frame->tier &&
            memcmp(&other->frame.record.blob, &frame->blob, sizeof(frame->blob)) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_duplicate(struct store *store, const struct group *group,
                         const struct request *request) {
    const struct frame_record *frame = &request->frame.record;
    return in_group(group, request) || blob_known(store, frame->tier, &frame->blob);
}

static uint64_t request_planned(const struct request *request) {
    uint64_t bytes = frame_bytes_max(request);
    return request->duplicate ? bytes
                              : bytes + store__record_size(request->frame.record.blob_bytes);
}

/* Makes room where the store is full. What fails here fails alone. */
static void admit(struct store *store, const struct group *group, struct request *request,
                  uint64_t planned[TIER_COUNT]) {
    struct frame_record *frame = &request->frame.record;
    store__hasher_finish(store, request);
    request->duplicate = is_duplicate(store, group, request);
    uint64_t bytes = planned[frame->tier] + request_planned(request);
    uint64_t growth = store__stream_growth(&store->streams[frame->tier], bytes);
    request->code = store__retain_room(store, growth, frame->value, &request->err);
    if (!request->code) {
        planned[frame->tier] = bytes;
    }
}

static void admit_all(struct store *store, const struct group *group) {
    uint64_t planned[TIER_COUNT] = {0};
    for (size_t i = 0; i < group->count; i++) {
        if (group->requests[i]->kind == REQUEST_PUT) {
            admit(store, group, group->requests[i], planned);
        }
    }
}

/* ---- encoding ---- */

static void part_add(struct group_stream *to, const void *bytes, size_t at, size_t size) {
    struct part *last = to->part_count ? &to->parts[to->part_count - 1] : NULL;
    if (!bytes && last && !last->bytes && last->at + last->size == at) {
        last->size += size;
        return;
    }
    to->parts[to->part_count++] = (struct part){.bytes = bytes, .at = at, .size = size};
}

static void arena_add(struct group_stream *to, const void *bytes, size_t size) {
    size_t at = to->arena.len;
    if (size) {
        buf_append(&to->arena, bytes, size);
        part_add(to, NULL, at, size);
    }
}

struct payload {
    enum record_kind kind;
    const void *bytes;
    size_t size;
    const struct frame_hash *sha;
    bool in_place; /* the bytes stay where they are until the group is written */
};

static void record_add(struct store *store, struct group *group, unsigned stream,
                       const struct payload *payload) {
    static const uint8_t zeros[8] = {0};
    struct group_stream *to = &group->streams[stream];
    const struct stream *file = &store->streams[stream];
    uint8_t head[RECORD_HEADER];
    struct record_header header = {.kind = (uint16_t)payload->kind,
                                   .version = RECORD_VERSION,
                                   .payload_bytes = (uint32_t)payload->size,
                                   .group_at = (uint32_t)file->group_at,
                                   .segment = store__stream_number(file),
                                   .lsn = store->writer.next_lsn++,
                                   .sha = *payload->sha};
    uint64_t size = store__record_size(payload->size);
    store__header_encode(&header, store->layout.uuid, head);
    arena_add(to, head, sizeof(head));
    if (payload->in_place) {
        part_add(to, payload->bytes, 0, payload->size);
    } else {
        arena_add(to, payload->bytes, payload->size);
    }
    arena_add(to, zeros, (size_t)(size - RECORD_HEADER - payload->size));
    to->encoded += size;
}

static int encode_small(struct store *store, struct group *group, unsigned stream,
                        const struct record *record, struct err *err) {
    CLEANUP(buf_finish) struct buf bytes = BUF_INIT(RECORD_SMALL_MAX);
    struct frame_hash sha;
    store__record_encode(record, &bytes);
    if (bytes.failed || !bytes.len) {
        return err_set(err, ERR_NOMEM, "no memory to encode a record");
    }
    hash_sha256(bytes.data, bytes.len, &sha);
    record_add(store, group, stream,
               &(struct payload){record->kind, bytes.data, bytes.len, &sha, false});
    return 0;
}

static int encode_put(struct store *store, struct group *group, struct request *request,
                      struct err *err) {
    struct writer *writer = &store->writer;
    const struct frame_record *frame = &request->frame.record;
    if (!request->duplicate) {
        recent_note(writer, frame->tier, &frame->blob, writer->next_lsn);
        record_add(store, group, frame->tier,
                   &(struct payload){RECORD_BLOB, request->frame.blob, frame->blob_bytes,
                                     &frame->blob, true});
    }
    if (request->frame.hold_until_boot_us && !request->duplicate) {
        store__holds_add(&store->holds, frame->tier, &frame->blob,
                         request->frame.hold_until_boot_us);
    }
    struct record record = {.kind = RECORD_FRAME,
                            .frame = {.seq = writer->next_seq, .frame = *frame}};
    store__clock_stamp(writer, &record.frame);
    request->seq = writer->next_seq++;
    return encode_small(store, group, frame->tier, &record, err);
}

static int encode_request(struct store *store, struct group *group, struct request *request,
                          struct err *err) {
    int code = request->kind == REQUEST_PUT ? encode_put(store, group, request, err) : 0;
    for (size_t i = 0; i < request->copy_count; i++) {
        const struct record_copy *copy = &request->copies[i];
        record_add(store, group, request->tier,
                   &(struct payload){copy->kind, copy->bytes, copy->size, &copy->sha, true});
    }
    for (size_t i = 0; !code && i < request->record_count; i++) {
        code = encode_small(store, group, STREAM_META, &request->records[i], err);
    }
    request->lsn = store->writer.next_lsn - 1;
    if (request->copy_count || request->record_count) {
        store->writer.said_lsn = request->lsn;
    }
    if (request->duplicate || (request->kind == REQUEST_META && request->record_count &&
                               request->records->kind != RECORD_RECEIPT)) {
        store->writer.hold_lsn = request->lsn;
    }
    return code;
}

/* ---- writing ---- */

static void streams_reset(struct group *group) {
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        struct group_stream *to = &group->streams[stream];
        buf_reset(&to->arena);
        to->arena.max = ARENA_MAX;
        to->part_count = 0;
        to->planned = to->encoded = 0;
    }
}

static uint64_t meta_planned(const struct request *request) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < request->record_count; i++) {
        const struct record *record = &request->records[i];
        size_t hashes = record->kind == RECORD_TOMBSTONE ? record->tombstone.count : 0;
        bytes += store__record_size(META_FIXED_MAX + hashes * sizeof(struct frame_hash));
    }
    return bytes;
}

static uint64_t copies_planned(const struct request *request) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < request->copy_count; i++) {
        bytes += store__record_size(request->copies[i].size);
    }
    return bytes;
}

static void plan(struct store *store, struct group *group) {
    for (size_t i = 0; i < group->count; i++) {
        struct request *request = group->requests[i];
        if (request->kind == REQUEST_PUT && !request->code) {
            request->duplicate = is_duplicate(store, group, request);
            group->streams[request->frame.record.tier].planned += request_planned(request);
        } else if (request->kind != REQUEST_PUT) {
            group->streams[STREAM_META].planned += meta_planned(request);
            group->streams[request->tier].planned += copies_planned(request);
        }
    }
}

static int64_t roll_age_us(const struct store *store, unsigned stream) {
    return stream < TIER_COUNT ? store->config.tiers[stream].max_age_ms * 1000 / 16 : 0;
}

static int begin(struct store *store, unsigned stream, uint64_t bytes, struct err *err) {
    struct writer *writer = &store->writer;
    struct stream *file = &store->streams[stream];
    struct segment_birth birth = {.lsn = writer->next_lsn++,
                                  .first_seq = writer->next_seq,
                                  .utc_us = clock_utc_us(),
                                  .boot_us = clock_boot_us()};
    bool roll = store__stream_is_full(file, bytes, roll_age_us(store, stream));
    return store__stream_begin(file, bytes, roll, &birth, err);
}

static int append(struct store *store, const struct group *group, unsigned stream,
                  struct err *err) {
    const struct group_stream *from = &group->streams[stream];
    CLEANUP(mem_free_at) struct iovec *parts = mem_array(from->part_count + 1, sizeof(*parts));
    if (!parts || from->arena.failed) {
        return err_set(err, ERR_NOMEM, "no memory to write a group");
    }
    for (size_t i = 0; i < from->part_count; i++) {
        const struct part *part = &from->parts[i];
        const void *base = part->bytes ? part->bytes : from->arena.data + part->at;
        parts[i] = (struct iovec){.iov_base = (void *)(uintptr_t)base, .iov_len = part->size};
    }
    return store__stream_append(&store->streams[stream], parts, (int)from->part_count,
                                from->encoded, err);
}

static int write_streams(struct store *store, struct group *group, struct err *err) {
    int code = 0;
    for (unsigned stream = 0; !code && stream < STREAM_COUNT; stream++) {
        if (group->streams[stream].planned) {
            code = begin(store, stream, group->streams[stream].planned, err);
        }
    }
    for (size_t i = 0; !code && i < group->count; i++) {
        if (!group->requests[i]->code) {
            code = encode_request(store, group, group->requests[i], err);
        }
    }
    for (unsigned stream = 0; !code && stream < STREAM_COUNT; stream++) {
        if (group->streams[stream].planned) {
            code = append(store, group, stream, err);
        }
    }
    for (unsigned stream = 0; !code && stream < STREAM_COUNT; stream++) {
        if (group->streams[stream].planned) {
            code = store__stream_sync(&store->streams[stream], err);
        }
    }
    return code;
}

static void publish(struct store *store, const struct group *group, bool synced) {
    bool any = false;
    pthread_mutex_lock(&store->lock);
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        if (store->streams[stream].in_group) {
            store__stream_publish(&store->streams[stream]);
            store->stats.syncs += synced;
            store->stats.bytes_written += group->streams[stream].encoded;
            any = true;
        }
    }
    store->stats.groups += any && synced;
    store->written_lsn = store->writer.next_lsn - 1;
    store->last_seq = store->writer.next_seq - 1;
    pthread_cond_broadcast(&store->written);
    pthread_mutex_unlock(&store->lock);
}

/* The requests that were admitted, as one durable step. */
static int commit(struct store *store, struct group *group, struct err *err) {
    struct writer *writer = &store->writer;
    uint64_t first_lsn = writer->next_lsn, first_seq = writer->next_seq;
    streams_reset(group);
    plan(store, group);
    int code = write_streams(store, group, err);
    if (!code) {
        publish(store, group, true);
        return 0;
    }
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        store__stream_abort(&store->streams[stream]);
    }
    recent_purge(writer, first_lsn);
    writer->next_seq = first_seq;
    return code;
}

/* ---- thumbnails ---- */

static bool has_thumb(const struct request *request) {
    return request->kind == REQUEST_PUT && !request->code && request->frame.thumb_bytes;
}

static void thumb_encode(struct store *store, struct group *group, const struct request *request) {
    const struct store_frame *frame = &request->frame;
    size_t size = sizeof(struct frame_hash) + frame->thumb_bytes;
    CLEANUP(mem_free_at) uint8_t *payload = mem_alloc(size);
    struct frame_hash sha;
    if (!payload) {
        return;
    }
    memcpy(payload, frame->record.blob.bytes, sizeof(struct frame_hash));
    memcpy(payload + sizeof(struct frame_hash), frame->thumb, frame->thumb_bytes);
    hash_sha256(payload, size, &sha);
    record_add(store, group, STREAM_THUMBS,
               &(struct payload){RECORD_THUMB, payload, size, &sha, false});
}

/* A cache: not synced, and what fails is simply not there. */
static void thumbs_write(struct store *store, struct group *group) {
    struct group_stream *to = &group->streams[STREAM_THUMBS];
    struct err err = {0};
    streams_reset(group);
    for (size_t i = 0; i < group->count; i++) {
        if (has_thumb(group->requests[i])) {
            to->planned += store__record_size(group->requests[i]->frame.thumb_bytes + 32);
        }
    }
    if (!to->planned || begin(store, STREAM_THUMBS, to->planned, &err)) {
        return;
    }
    for (size_t i = 0; i < group->count; i++) {
        if (has_thumb(group->requests[i])) {
            thumb_encode(store, group, group->requests[i]);
        }
    }
    if (append(store, group, STREAM_THUMBS, &err)) {
        store__stream_abort(&store->streams[STREAM_THUMBS]);
        return;
    }
    publish(store, group, false);
}

/* ---- the group ---- */

static void fail_all(struct group *group, int code, const struct err *err) {
    for (size_t i = 0; i < group->count; i++) {
        struct request *request = group->requests[i];
        if (!request->code && (request->kind == REQUEST_PUT || request->kind == REQUEST_META)) {
            request->code = code;
            request->err = *err;
        }
    }
}

static void finish_all(struct store *store, struct group *group) {
    for (size_t i = 0; i < group->count; i++) {
        struct request *request = group->requests[i];
        if (request->kind == REQUEST_FLUSH || request->kind == REQUEST_CALL) {
            pthread_mutex_lock(&store->lock);
            request->lsn = store->written_lsn;
            pthread_mutex_unlock(&store->lock);
        }
        store__request_finish(store, request);
    }
    group->count = 0;
}

/* Frames that `code` refused together are worth at most this much. */
static double greatest_value(const struct group *group) {
    double value = 0;
    for (size_t i = 0; i < group->count; i++) {
        const struct request *request = group->requests[i];
        if (request->kind == REQUEST_PUT && !request->code && request->frame.record.value > value) {
            value = request->frame.record.value;
        }
    }
    return value;
}

/* A full disk: what quota and floor did not foresee (others fill it too). Each step frees about a
 * segment, and a group may need one for each stream. */
static int commit_or_make_room(struct store *store, struct group *group, struct err *err) {
    int code = commit(store, group, err);
    for (unsigned tries = 0; code == ERR_FULL && tries < STREAM_COUNT; tries++) {
        struct err room = {0};
        if (store__retain_emergency(store, greatest_value(group), &room)) {
            break;
        }
        code = commit(store, group, err);
    }
    return code;
}

void store__group_run(struct store *store, struct request *first) {
    struct group *group = &store->writer.group;
    struct err err = {0};
    for (struct request *request = first; request; request = request->next) {
        group->requests[group->count++] = request;
    }
    for (size_t i = 0; i < group->count; i++) {
        struct request *request = group->requests[i];
        if (request->kind == REQUEST_CALL) {
            request->code = request->call(store, request->arg, &request->err);
        }
    }
    admit_all(store, group);
    int code = commit_or_make_room(store, group, &err);
    if (code) {
        store__error_note(store, &err);
        fail_all(group, code, &err);
    } else {
        thumbs_write(store, group);
    }
    finish_all(store, group);
}

static int commit_one(struct store *store, struct request *request, struct err *err) {
    struct group *group = &store->writer.meta_group;
    group->requests[0] = request;
    group->count = 1;
    int code = commit(store, group, err);
    group->count = 0;
    return code;
}

int store__group_meta(struct store *store, const struct record *records, size_t count,
                      struct err *err) {
    struct request request = {.kind = REQUEST_META, .records = records, .record_count = count};
    return commit_one(store, &request, err);
}

int store__group_copy(struct store *store, unsigned tier, const struct record_copy *copies,
                      size_t copy_count, const struct record *records, size_t record_count,
                      struct err *err) {
    struct request request = {.kind = REQUEST_COPY,
                              .tier = tier,
                              .copies = copies,
                              .copy_count = copy_count,
                              .records = records,
                              .record_count = record_count};
    return commit_one(store, &request, err);
}

void store__group_finish(struct store *store) {
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        buf_finish(&store->writer.group.streams[stream].arena);
        buf_finish(&store->writer.meta_group.streams[stream].arena);
    }
}
