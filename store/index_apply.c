/* index_apply: what each record of the log means in the tables. See index.h and schemas/records.md.
 *
 * Each function is exact under repetition from an earlier position: the transaction that applied a
 * record also stored the position behind it. Records that speak of something the index no longer
 * knows (a receipt for a forgotten blob) change nothing, so that a rebuild and a life of small
 * steps end in the same tables.
 */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/index.h"
#include <stdlib.h>
#include <string.h>

/* ---- names and models ---- */

static int name_id(struct index *index, enum name_kind kind, const char *text, int64_t *id,
                   struct err *err) {
    size_t slot = (hash_crc32(text, strlen(text)) + (unsigned)kind) % INDEX_NAMES_SLOT;
    if (index->names[slot].kind == (int)kind && strcmp(index->names[slot].text, text) == 0) {
        *id = index->names[slot].id;
        return 0;
    }
    int code = store__db_number(&index->db, IX_NAME_GET, id, err, "nt", (int)kind, text);
    if (code == ERR_NOT_FOUND) {
        code = store__db_run(&index->db, IX_NAME_NEW, err, "nt", (int)kind, text);
        *id = sqlite3_last_insert_rowid(index->db.handle);
    }
    if (!code) {
        index->names[slot].kind = (int)kind;
        index->names[slot].id = *id;
        memcpy(index->names[slot].text, text, strlen(text) + 1);
    }
    return code;
}

static int model_id(struct index *index, const struct frame_record *frame, int64_t *id,
                    struct err *err) {
    int code =
        store__db_number(&index->db, IX_MODEL_GET, id, err, "btt", frame->model.bytes,
                         sizeof(frame->model.bytes), frame->model_name, frame->model_version);
    if (code == ERR_NOT_FOUND) {
        code = store__db_run(&index->db, IX_MODEL_NEW, err, "btt", frame->model.bytes,
                             sizeof(frame->model.bytes), frame->model_name, frame->model_version);
        *id = sqlite3_last_insert_rowid(index->db.handle);
    }
    return code;
}

/* ---- labels of a frame ---- */

struct labelled {
    const struct frame_detection *detections;
    size_t count;
    int64_t utc;
    uint64_t seq;
};

/* One row a label, with its best confidence; or takes them away. The list may be in any order. */
static int labels_change(struct index *index, const struct labelled *frame, bool add,
                         struct err *err) {
    int code = 0;
    for (size_t i = 0; !code && i < frame->count; i++) {
        const struct frame_detection *best = &frame->detections[i];
        bool seen = (double)best->confidence < index->config.floor;
        for (size_t k = 0; !seen && k < frame->count; k++) {
            const struct frame_detection *other = &frame->detections[k];
            seen = k != i && strcmp(other->label, best->label) == 0 &&
                   (other->confidence > best->confidence ||
                    (other->confidence == best->confidence && k < i));
        }
        if (seen || !best->label[0]) {
            continue;
        }
        int64_t label = 0;
        code = name_id(index, NAME_LABEL, best->label, &label, err);
        if (!code && add) {
            code = store__db_run(&index->db, IX_LABEL_NEW, err, "iiud", label, frame->utc,
                                 frame->seq, (double)best->confidence);
        } else if (!code) {
            code =
                store__db_run(&index->db, IX_LABEL_DROP, err, "iiu", label, frame->utc, frame->seq);
        }
    }
    return code;
}

/* The same, from the detections column. */
static int labels_change_packed(struct index *index, const void *packed, size_t size, int64_t utc,
                                uint64_t seq, bool add, struct err *err) {
    CLEANUP(mem_free_at) struct frame_detection *detections = NULL;
    struct labelled frame = {.utc = utc, .seq = seq};
    int code = store__detections_decode(packed, size, &detections, &frame.count, err);
    frame.detections = detections;
    return code ? code : labels_change(index, &frame, add, err);
}

/* ---- blobs and frames ---- */

/* The blob at hand comes to lie in its file, or leaves it. */
static int blob_weigh(struct index *index, int sign, struct err *err) {
    const struct blob_row *blob = &index->blob;
    const struct index_segment more = {.number = blob->segment,
                                       .live = sign,
                                       .live_bytes =
                                           sign * (int64_t)store__record_size(blob->bytes)};
    return store__index_segment_add(index, &more, err);
}

/* The last record of a blob says where it lies: an earlier one was copied forward, or written while
 * the index could not be asked. Frames may have come before it, when their own copy is read first:
 * the file with the first one is gone. */
static int apply_blob(struct index *index, unsigned stream, const struct record_at *found,
                      struct err *err) {
    int code = store__index_blob_use(index, (int)stream, &found->header.sha, err);
    struct blob_row *blob = &index->blob;
    if (!code && blob->local) {
        code = blob_weigh(index, -1, err);
    }
    if (code) {
        return code;
    }
    bool back = !blob->local && blob->refs > 0;
    blob->local = 1;
    blob->bytes = found->header.payload_bytes;
    blob->segment = found->header.segment;
    blob->at = found->at;
    blob->gone_reason = 0;
    blob->gone_utc = 0;
    index->blob_dirty = true;
    code = blob_weigh(index, 1, err);
    return code || !back ? code : store__index_outbox_queue(index, err);
}

static double best_confidence(const struct frame_record *frame) {
    double best = 0;
    for (size_t i = 0; i < frame->detection_count; i++) {
        double confidence = (double)frame->detections[i].confidence;
        best = confidence > best ? confidence : best;
    }
    return best;
}

static int frame_insert(struct index *index, const struct record_frame *kept,
                        const struct record_at *found, bool *inserted, struct err *err) {
    const struct frame_record *frame = &kept->frame;
    CLEANUP(buf_finish) struct buf packed = BUF_INIT(RECORD_SMALL_MAX);
    int64_t camera = 0, rule = 0, model = 0;
    int code = name_id(index, NAME_CAMERA, frame->camera, &camera, err);
    code = code ? code : name_id(index, NAME_RULE, frame->rule, &rule, err);
    code = code ? code : model_id(index, frame, &model, err);
    if (code) {
        return code;
    }
    store__detections_encode(frame->detections, frame->detection_count, index->config.floor,
                             &packed);
    if (packed.failed) {
        return err_set(err, ERR_NOMEM, "no memory for the detections of a frame");
    }
    code = store__db_run(
        &index->db, IX_FRAME_NEW, err, "ubiibnniiiinduddddbuu", kept->seq, frame->id.bytes,
        sizeof(frame->id.bytes), frame->captured.utc_us, frame->captured.boot_us,
        frame->captured.boot_id, sizeof(frame->captured.boot_id), (int)frame->captured.state,
        (int)frame->tier, index->blob.id, camera, rule, model, (int)store__looks_pack(frame),
        frame->value, frame->phash, (double)frame->quality.luma_mean,
        (double)frame->quality.luma_stddev, (double)frame->quality.sharpness,
        best_confidence(frame), packed.data, packed.len, found->header.segment, found->at);
    *inserted = !code && sqlite3_changes(index->db.handle) == 1;
    return code;
}

/* The first frame of a blob says when it was kept and what it is. One that was copied forward comes
 * later than it was, and may have been the first. */
static void blob_adopt(struct blob_row *blob, const struct record_frame *kept, bool moved) {
    if (blob->refs == 0 || (moved && kept->kept_utc_us < blob->kept_utc)) {
        blob->kept_utc = kept->kept_utc_us;
        blob->kept_boot = kept->kept_boot_us;
        blob->kept_clock = kept->kept_state == CLOCK_SYNCHRONISED;
        memcpy(blob->boot_id, kept->frame.captured.boot_id, sizeof(blob->boot_id));
        blob->media = (int)kept->frame.media;
        blob->width = kept->frame.width;
        blob->height = kept->frame.height;
        blob->bytes = kept->frame.blob_bytes;
    }
    blob->refs++;
}

/* A frame's record comes to lie in a file. */
static int frame_weigh(struct index *index, const struct record_at *found, int64_t kept_utc_us,
                       struct err *err) {
    const struct index_segment more = {.number = found->header.segment,
                                       .frames = 1,
                                       .record_bytes =
                                           (int64_t)store__record_size(found->header.payload_bytes),
                                       .newest = kept_utc_us};
    return store__index_segment_add(index, &more, err);
}

static int apply_frame(struct index *index, const struct record_frame *kept,
                       const struct record_at *found, struct err *err) {
    bool moved = found->header.kind == RECORD_MOVED;
    const struct frame_record *frame = &kept->frame;
    bool inserted = false;
    int code = store__index_blob_use(index, (int)frame->tier, &frame->blob, err);
    code = code ? code : frame_insert(index, kept, found, &inserted, err);
    if (code || !inserted) {
        return code;
    }
    struct blob_row *blob = &index->blob;
    blob_adopt(blob, kept, moved);
    if (frame->value > blob->value) {
        blob->value = frame->value;
        if (blob->owed || blob->refs > 1) {
            code = store__db_run(&index->db, IX_OUTBOX_VALUE, err, "di", blob->value, blob->id);
        }
    }
    index->blob_dirty = true;
    if (!code && blob->local) {
        code = store__index_outbox_queue(index, err);
    }
    code = code ? code : frame_weigh(index, found, kept->kept_utc_us, err);
    struct labelled labelled = {frame->detections, frame->detection_count, frame->captured.utc_us,
                                kept->seq};
    code = code ? code : labels_change(index, &labelled, true, err);
    if (kept->seq >= index->next_seq) {
        index->next_seq = kept->seq + 1;
    }
    return code;
}

/* Copied forward: only its place changes, and a rebuild that has not met the first place takes it
 * for the frame itself. */
static int apply_moved(struct index *index, const struct record_at *found,
                       const struct record_frame *kept, struct err *err) {
    struct index_segment left = {
        .frames = -1, .record_bytes = -(int64_t)store__record_size(found->header.payload_bytes)};
    sqlite3_stmt *statement;
    uint64_t seq = 0;
    int code = store__db_bind(&index->db, IX_FRAME_PLACE, &statement, err, "b",
                              kept->frame.id.bytes, sizeof(kept->frame.id.bytes));
    code = code ? code : store__db_step(&index->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? apply_frame(index, kept, found, err) : code;
    }
    store__db_columns(statement, "uu", &seq, &left.number);
    sqlite3_reset(statement);
    code =
        store__db_run(&index->db, IX_FRAME_MOVE, err, "uuu", found->header.segment, found->at, seq);
    code = code ? code : store__index_segment_add(index, &left, err);
    return code ? code : frame_weigh(index, found, kept->kept_utc_us, err);
}

static int apply_thumb(struct index *index, const struct record_at *found, struct err *err) {
    if (found->header.payload_bytes <= sizeof(struct frame_hash)) {
        return 0; /* a cache: nothing to say */
    }
    return store__db_run(&index->db, IX_THUMB_PUT, err, "buu", found->payload,
                         sizeof(struct frame_hash), found->header.segment, found->at);
}

/* ---- what removes ---- */

static int bury(struct index *index, const struct record_tombstone *tombstone,
                const struct frame_hash *sha, struct err *err) {
    int tier = (int)tombstone->tier;
    int code = store__index_blob_use(index, tier, sha, err);
    struct blob_row *blob = &index->blob;
    if (code || (!blob->local && (!blob->refs || blob->gone_reason))) {
        return code;
    }
    blob->gone_reason = (int)tombstone->reason;
    blob->gone_utc = tombstone->utc_us;
    index->blob_dirty = true;
    if (!blob->local) {
        return 0; /* repair says so of a blob whose record was damaged */
    }
    code = store__db_run(&index->db, IX_RECLAIM_NEW, err, "nuuu", tier, blob->segment,
                         blob->at + RECORD_HEADER, blob->bytes);
    code = code ? code : blob_weigh(index, -1, err);
    blob->local = 0;
    return code ? code : store__index_outbox_drop(index, err);
}

static int apply_tombstone(struct index *index, const struct record_tombstone *tombstone,
                           struct err *err) {
    int code = 0;
    for (size_t i = 0; !code && i < tombstone->count; i++) {
        code = bury(index, tombstone, &tombstone->blobs[i], err);
    }
    return code;
}

/* A blob that no frame speaks of any more leaves with its receipts. */
static int blob_forget(struct index *index, struct err *err) {
    struct blob_row *blob = &index->blob;
    int code = store__index_blob_flush(index, err);
    if (code || blob->refs > 0 || blob->local) {
        return code;
    }
    code = store__index_outbox_drop(index, err);
    code = code ? code : store__db_run(&index->db, IX_REMOTES_UNDONE, err, "i", blob->id);
    code = code ? code : store__db_run(&index->db, IX_RECEIPTS_DROP, err, "i", blob->id);
    code = code ? code : store__db_run(&index->db, IX_WITHDRAWN_DROP, err, "i", blob->id);
    code = code ? code : store__index_blob_flush(index, err);
    code = code ? code : store__db_run(&index->db, IX_BLOB_DROP, err, "i", blob->id);
    index->blob = index->blob_before = (struct blob_row){0};
    return code;
}

struct leaving {
    uint64_t seq;
    int64_t blob;
    int pinned;
};

static int frame_forget(struct index *index, const struct leaving *frame, struct err *err) {
    int code = store__index_blob_use_id(index, frame->blob, err);
    if (!code) {
        index->blob.refs--;
        index->blob.pinned -= frame->pinned;
        index->blob_dirty = true;
        code = blob_forget(index, err);
    }
    code = code ? code : store__db_run(&index->db, IX_JUDGEMENT_DROP, err, "u", frame->seq);
    return code ? code : store__db_run(&index->db, IX_FRAME_DROP, err, "u", frame->seq);
}

/* One frame at a time: the statement is begun again after each change of the table it reads. */
static int forget_next(struct index *index, uint64_t segment, struct err *err) {
    sqlite3_stmt *statement;
    struct leaving frame;
    int64_t utc = 0;
    int code = store__db_bind(&index->db, IX_FRAMES_OF_SEGMENT, &statement, err, "u", segment);
    code = code ? code : store__db_step(&index->db, statement, err);
    if (code) {
        return code;
    }
    store__db_columns(statement, "uiin", &frame.seq, &frame.blob, &utc, &frame.pinned);
    code = labels_change_packed(index, sqlite3_column_blob(statement, 4),
                                (size_t)sqlite3_column_bytes(statement, 4), utc, frame.seq, false,
                                err);
    sqlite3_reset(statement);
    return code ? code : frame_forget(index, &frame, err);
}

static int apply_forget(struct index *index, const struct record_forget *forget, struct err *err) {
    int64_t there = 0;
    int code = store__db_number(&index->db, IX_SEGMENT_GET, &there, err, "un", forget->segment,
                                (int)forget->stream);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    while (!code) {
        code = forget_next(index, forget->segment, err);
    }
    code = code == ERR_NOT_FOUND ? 0 : code;
    code = code ? code : store__db_run(&index->db, IX_SEGMENT_DROP, err, "u", forget->segment);
    return code ? code
                : store__db_run(&index->db, IX_RECLAIM_NEW, err, "nuuu", (int)forget->stream,
                                forget->segment, (uint64_t)0, (uint64_t)0);
}

/* ---- pins and clocks ---- */

static int apply_pin(struct index *index, const struct record_pin *pin, struct err *err) {
    sqlite3_stmt *statement;
    uint64_t seq = 0;
    int64_t blob = 0;
    int pinned = 0;
    int code = store__db_bind(&index->db, IX_FRAME_BY_ID, &statement, err, "b", pin->id.bytes,
                              sizeof(pin->id.bytes));
    code = code ? code : store__db_step(&index->db, statement, err);
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    store__db_columns(statement, "uin", &seq, &blob, &pinned);
    sqlite3_reset(statement);
    if (pinned == (int)pin->on) {
        return 0;
    }
    code = store__db_run(&index->db, IX_FRAME_PIN, err, "niu", (int)pin->on, pin->utc_us, seq);
    code = code ? code : store__index_blob_use_id(index, blob, err);
    if (!code) {
        index->blob.pinned += pin->on ? 1 : -1;
        index->blob_dirty = true;
    }
    return code;
}

static int apply_label(struct index *index, const struct record_label *record, struct err *err) {
    const struct store_label *label = &record->label;
    int64_t seq = 0;
    int code = store__db_number(&index->db, IX_FRAME_BY_ID, &seq, err, "b", record->id.bytes,
                                sizeof(record->id.bytes));
    if (code) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    code = label->state
               ? store__db_run(&index->db, IX_JUDGEMENT_PUT, err, "inittt", seq, (int)label->state,
                               label->utc_us, label->class_name, label->note, label->who)
               : store__db_run(&index->db, IX_JUDGEMENT_DROP, err, "i", seq);
    return code ? code
                : store__db_run(&index->db, IX_FRAME_LABEL, err, "ni", (int)label->state, seq);
}

static int retime_next(struct index *index, const struct record_clock *clock, struct err *err) {
    sqlite3_stmt *statement;
    uint64_t seq = 0;
    int64_t utc = 0, boot = 0;
    int code = store__db_bind(&index->db, IX_FRAMES_UNSYNCHRONISED, &statement, err, "b",
                              clock->boot_id, sizeof(clock->boot_id));
    code = code ? code : store__db_step(&index->db, statement, err);
    if (code) {
        return code;
    }
    store__db_columns(statement, "uii", &seq, &utc, &boot);
    const void *packed = sqlite3_column_blob(statement, 3);
    size_t size = (size_t)sqlite3_column_bytes(statement, 3);
    code = labels_change_packed(index, packed, size, utc, seq, false, err);
    code = code
               ? code
               : labels_change_packed(index, packed, size, boot + clock->offset_us, seq, true, err);
    sqlite3_reset(statement);
    return code ? code
                : store__db_run(&index->db, IX_FRAME_RETIME, err, "iu", boot + clock->offset_us,
                                seq);
}

static int apply_clock(struct index *index, const struct record_clock *clock, struct err *err) {
    int code = store__index_blob_flush(index, err);
    while (!code && clock->repair == CLOCK_REPAIR_OFFSET) {
        code = retime_next(index, clock, err);
    }
    code = code == ERR_NOT_FOUND ? 0 : code;
    code = code ? code
                : store__db_run(&index->db, IX_OUTBOX_UNHOLD, err, "b", clock->boot_id,
                                sizeof(clock->boot_id));
    code = code ? code
                : store__db_run(&index->db, IX_BLOB_RETIME, err, "nib", (int)clock->repair,
                                clock->offset_us, clock->boot_id, sizeof(clock->boot_id));
    index->blob = index->blob_before = (struct blob_row){0}; /* its row has changed under it */
    index->outbox_grew = true;
    return code;
}

static int apply_segment(struct index *index, const struct record_at *found,
                         const struct record_segment *segment, struct err *err) {
    if (segment->first_seq > index->next_seq) {
        index->next_seq = segment->first_seq;
    }
    if (segment->stream >= TIER_COUNT) {
        return 0;
    }
    return store__db_run(&index->db, IX_SEGMENT_NEW, err, "un", found->header.segment,
                         (int)segment->stream);
}

static int apply_decoded(struct index *index, const struct record_at *found,
                         const struct record *record, struct err *err) {
    switch (record->kind) {
    case RECORD_SEGMENT:
        return apply_segment(index, found, &record->segment, err);
    case RECORD_FRAME:
        return apply_frame(index, &record->frame, found, err);
    case RECORD_REMOTES:
        return store__index_apply_remotes(index, &record->remotes, err);
    case RECORD_RECEIPT:
        return store__index_apply_receipt(index, &record->receipt, err);
    case RECORD_TOMBSTONE:
        return apply_tombstone(index, &record->tombstone, err);
    case RECORD_PIN:
        return apply_pin(index, &record->pin, err);
    case RECORD_QUARANTINE:
        return store__index_apply_quarantine(index, &record->quarantine, err);
    case RECORD_RELEASE:
        return store__index_apply_release(index, &record->release, err);
    case RECORD_OUTBOX:
        return store__index_apply_outbox(index, &record->outbox, err);
    case RECORD_CLOCK:
        return apply_clock(index, &record->clock, err);
    case RECORD_FORGET:
        return apply_forget(index, &record->forget, err);
    case RECORD_LABEL:
        return apply_label(index, &record->label, err);
    case RECORD_MOVED:
        return apply_moved(index, found, &record->frame, err);
    case RECORD_BLOB:
    case RECORD_THUMB:
    case RECORD_VOID:
    case RECORD_CHECKPOINT:
        break;
    }
    return 0;
}

int store__index_apply(struct index *index, unsigned stream, const struct record_at *found,
                       const struct log_position *next, struct err *err) {
    CLEANUP(store__record_finish) struct record record = {0};
    int code;
    if (found->header.kind == RECORD_BLOB) {
        code = stream < TIER_COUNT ? apply_blob(index, stream, found, err) : 0;
    } else if (found->header.kind == RECORD_THUMB) {
        code = apply_thumb(index, found, err);
    } else if (found->header.kind == RECORD_VOID) {
        code = 0;
    } else {
        code = store__record_decode(found->header.kind, found->payload, found->header.payload_bytes,
                                    &record, err);
        if (code == ERR_CORRUPT) {
            return ERR_INVALID; /* the record's fault, not the index's */
        }
        code = code ? code : apply_decoded(index, found, &record, err);
    }
    if (!code) {
        index->positions[stream] = *next;
        index->applied = found->header.lsn > index->applied ? found->header.lsn : index->applied;
    }
    return code;
}
