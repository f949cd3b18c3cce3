/* Requests that change what the store keeps: pin, rm, gc. */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/requests.h"
#include <stdlib.h>

static int no_memory(struct err *err) {
    return err_set(err, ERR_NOMEM, "no memory for the answer");
}

/* The ids of the request's "frames", all of them or none. The caller frees *ids. */
static int ids_of(const struct rooms *rooms, const json_t *request, struct frame_id **ids,
                  size_t *count, struct err *err) {
    const json_t *names = json_object_get(request, "frames");
    size_t wanted = json_array_size(names);
    if (!wanted || wanted > STORE_REMOVE_MAX) {
        return err_set(err, ERR_INVALID, "name 1 to %d frames, not %zu", STORE_REMOVE_MAX, wanted);
    }
    CLEANUP(mem_free_at) struct frame_id *found = mem_array(wanted, sizeof(*found));
    if (!found) {
        return no_memory(err);
    }
    for (size_t i = 0; i < wanted; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        int code = store_resolve(rooms->reader, name ? name : "", &found[i], err);
        if (code) {
            return code;
        }
    }
    *ids = TAKE_PTR(found);
    *count = wanted;
    return 0;
}

int answer_pin(const struct rooms *rooms, const json_t *request, json_t **reply,
               struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    CLEANUP(mem_free_at) struct frame_id *ids = NULL;
    bool on = json_is_true(json_object_get(request, "on"));
    size_t count = 0, done = 0;
    int code = ids_of(rooms, request, &ids, &count, err);
    while (!code && done < count) {
        code = store_pin_set(rooms->store, &ids[done], on, err);
        done += !code;
    }
    if (code && done) {
        err_wrap(err, "%zu of %zu frames are done", done, count);
    }
    if (!code) {
        *reply = json_pack("{s:b,s:I}", "pinned", on, "frames", (json_int_t)done);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

int answer_rm(const struct rooms *rooms, const json_t *request, json_t **reply,
              struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    CLEANUP(mem_free_at) struct frame_id *ids = NULL;
    bool dry_run = json_is_true(json_object_get(request, "dry_run"));
    struct store_removal done;
    size_t count = 0;
    int code = ids_of(rooms, request, &ids, &count, err);
    code = code
               ? code
               : store_remove(rooms->store, ids, count,
                              json_is_true(json_object_get(request, "force")), dry_run, &done, err);
    if (!code) {
        *reply = json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "dry_run", dry_run, "frames",
                           (json_int_t)done.frames, "blobs", (json_int_t)done.blobs, "bytes",
                           (json_int_t)done.bytes, "pinned", (json_int_t)done.pinned, "owed",
                           (json_int_t)done.owed, "gone", (json_int_t)done.gone);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

/* ---- gc ---- */

static const char *const tier_names[TIER_COUNT] = {
    [TIER_ANNOTATED] = "annotated", [TIER_UNANNOTATED] = "unannotated"};
static const char *const reason_names[] = {[STORE_GC_AGE] = "max_age",
                                           [STORE_GC_UPLOADED] = "keep_after_upload",
                                           [STORE_GC_TIER_BYTES] = "max_bytes",
                                           [STORE_GC_ROOM] = "quota or min_free"};

static json_t *gc_rows(const struct store_gc *gc) {
    json_t *rows = json_array();
    for (size_t i = 0; i < gc->row_count; i++) {
        const struct store_gc_row *row = &gc->rows[i];
        char oldest[CLOCK_RFC3339_SIZE], newest[CLOCK_RFC3339_SIZE];
        json_array_append_new(
            rows, json_pack("{s:s,s:s,s:I,s:I,s:I,s:s,s:s}", "tier", tier_names[row->tier], "why",
                            reason_names[row->reason], "frames", (json_int_t)row->frames, "blobs",
                            (json_int_t)row->blobs, "bytes", (json_int_t)row->bytes, "oldest",
                            clock_format_rfc3339(row->oldest_us, oldest), "newest",
                            clock_format_rfc3339(row->newest_us, newest)));
    }
    return rows;
}

static json_t *gc_items(const struct store_gc *gc) {
    json_t *items = json_array();
    for (size_t i = 0; i < gc->item_count; i++) {
        const struct store_gc_item *item = &gc->items[i];
        char id[HASH_ID_SIZE], kept[CLOCK_RFC3339_SIZE];
        json_array_append_new(
            items, json_pack("{s:s,s:s,s:s,s:I,s:s}", "id", frame_id_format(&item->id, id), "tier",
                             tier_names[item->tier], "why", reason_names[item->reason], "bytes",
                             (json_int_t)item->bytes, "kept",
                             clock_format_rfc3339(item->kept_utc_us, kept)));
    }
    return items;
}

int answer_gc(const struct rooms *rooms, const json_t *request, json_t **reply,
              struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    bool dry_run = json_is_true(json_object_get(request, "dry_run"));
    bool force = json_is_true(json_object_get(request, "force"));
    CLEANUP(mem_free_at) struct store_gc *gc = mem_alloc(sizeof(*gc));
    int code = gc ? store_gc(rooms->store, dry_run, force, gc, err) : no_memory(err);
    if (!code) {
        *reply = json_pack(
            "{s:b,s:b,s:I,s:I,s:I,s:o,s:o}", "dry_run", dry_run, "held", gc->held, "here",
            (json_int_t)gc->here, "removed_frames", (json_int_t)gc->removed_frames, "removed_bytes",
            (json_int_t)gc->removed_bytes, "limits", gc_rows(gc), "frames", gc_items(gc));
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}
