/* cloud_gc: what has outlived its tier's ttl leaves the remote.
 *
 *   listing --> expired? --sorter--> guard --> pinned? --> receipts back (durable) --> objects go
 * Invariants:
 *   1. A name goes only if creel gave it to this device, its day is older than the ttl, and so is
 *      the object itself: what was uploaded late, or again, has its full time.
 *   2. "Now" is the earlier of the server's clock and ours: a clock that jumped ahead removes
 *      nothing.
 *   3. The receipt is taken back, durably, before the object goes; a crash between the two leaves
 *      an object without a receipt, which the next run removes. The other order would leave a
 *      receipt that lies, on the strength of which the last copy here could go.
 *   4. Nothing is changed before the whole listing was seen (the guard), nor before the remote
 *      showed that it lets us remove (a name that is never given is removed first).
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/cloud.h"
#include "sync/drop.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct batch {
    struct cloud_entry entries[CLOUD_BATCH];
    size_t count;
};

struct gc {
    struct asker *asker;
    const struct sync_remote_config *config;
    const char *device;
    const struct sync_index *index;
    struct sorter *expired;
    bool dry_run;
    sync_expired_fn *each;
    void *ctx;
    struct sync_gc *out;
    struct batch batch;
    int64_t ahead_us;
};

/* ---- what has expired ---- */

static int64_t now_of(const struct gc *gc, const struct listing *listing) {
    int64_t server = sync__listing_server_utc_us(listing), ours = clock_utc_us();
    return (server != 0 && server < ours ? server : ours) + gc->ahead_us;
}

static bool has_expired(const struct gc *gc, const struct cloud_entry *entry,
                        const struct listed *listed, int64_t now_utc_us) {
    int64_t limit = now_utc_us - gc->config->ttl_ms[entry->tier] * 1000;
    return sync__cloud_day_utc_us(entry) + CLOUD_DAY_US <= limit &&
           (listed->modified_utc_us == 0 || listed->modified_utc_us < limit);
}

static int gather(struct gc *gc, enum cloud_root root, enum frame_tier tier, struct err *err) {
    char prefix[STORE_KEY_MAX + 1];
    struct listing *listing = NULL;
    struct listed listed;
    sync__cloud_prefix(gc->device, root, tier, prefix);
    int code = sync__listing_open(gc->asker, tier, prefix, &listing, err);
    while (code == 0 && (code = sync__listing_next(listing, &listed, err)) == 0) {
        struct cloud_entry entry;
        gc->out->objects++;
        if (sync__cloud_parse(gc->device, listed.key, &entry) &&
            has_expired(gc, &entry, &listed, now_of(gc, listing))) {
            entry.bytes = listed.bytes;
            gc->out->expired++;
            gc->out->expired_bytes += listed.bytes;
            code = sync__sorter_add(gc->expired, &entry, err);
        }
    }
    sync__listing_close(listing);
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int gather_all(struct gc *gc, struct err *err) {
    int code = 0;
    for (int i = 0; code == 0 && i < (int)CLOUD_ROOTS * (int)TIER_COUNT; i++) {
        enum frame_tier tier = (enum frame_tier)(i % (int)TIER_COUNT);
        if (gc->config->ttl_ms[tier] > 0) {
            gc->out->any_ttl = true;
            code = gather(gc, (enum cloud_root)(i / (int)TIER_COUNT), tier, err);
        }
    }
    return code != 0 ? code : sync__sorter_sort(gc->expired, err);
}

/* ---- removing ---- */

/* Pinned ones stay, and those whose upload may be under way: its receipt would lie. */
static int some_leave_out(struct gc *gc, struct err *err) {
    struct batch *batch = &gc->batch;
    struct store_blob_name names[CLOUD_BATCH];
    unsigned states[CLOUD_BATCH];
    char key[STORE_KEY_MAX + 1];
    size_t left = 0;
    for (size_t i = 0; i < batch->count; i++) {
        names[i] = sync__cloud_blob(&batch->entries[i]);
    }
    int code = gc->index->look(gc->index->ctx, names, batch->count, states, err);
    for (size_t i = 0; code == 0 && i < batch->count; i++) {
        bool pinned = (states[i] & STORE_BLOB_PINNED) != 0;
        bool waiting = !pinned && (states[i] & STORE_BLOB_QUEUED) != 0;
        sync__cloud_format(gc->device, &batch->entries[i], key);
        gc->out->pinned += pinned;
        gc->out->waiting += waiting;
        if (gc->each != NULL && !waiting) {
            gc->each(gc->ctx, key, batch->entries[i].bytes, pinned);
        }
        if (!pinned && !waiting) {
            batch->entries[left] = batch->entries[i];
            batch->entries[left++].local = (states[i] & STORE_BLOB_RECEIPT) != 0;
        }
    }
    batch->count = code == 0 ? left : batch->count;
    return code;
}

static int receipts_withdraw(struct gc *gc, struct err *err) {
    struct batch *batch = &gc->batch;
    struct store_blob_name names[CLOUD_BATCH];
    if (batch->count == 0 || batch->entries[0].root != CLOUD_FRAMES) {
        return 0;
    }
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->entries[i].local) { /* some_leave_out: it has a receipt */
            names[count++] = sync__cloud_blob(&batch->entries[i]);
        }
    }
    return count > 0 ? gc->index->act(gc->index->ctx, STORE_OUTBOX_EXPIRED, names, count, err) : 0;
}

static int objects_drop(struct gc *gc, struct err *err) {
    struct batch *batch = &gc->batch;
    char(*texts)[STORE_KEY_MAX + 1] = mem_array(batch->count + 1, sizeof *texts);
    const char *keys[CLOUD_BATCH];
    if (texts == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to remove objects");
    }
    for (size_t i = 0; i < batch->count; i++) {
        sync__cloud_format(gc->device, &batch->entries[i], texts[i]);
        keys[i] = texts[i];
    }
    int code = batch->count == 0 ? 0
                                 : sync__drop(gc->asker, (enum frame_tier)batch->entries[0].tier,
                                              keys, batch->count, err);
    gc->out->removed += code == 0 ? batch->count : 0;
    free(texts);
    return code;
}

/* A batch is of one root and one tier. */
static int flush(struct gc *gc, struct err *err) {
    int code = gc->batch.count > 0 ? some_leave_out(gc, err) : 0;
    if (code == 0 && !gc->dry_run) {
        code = receipts_withdraw(gc, err);
        code = code != 0 ? code : objects_drop(gc, err);
    }
    gc->batch.count = 0;
    return code;
}

static bool same_place(const struct cloud_entry *a, const struct cloud_entry *b) {
    return a->root == b->root && a->tier == b->tier;
}

static int remove_all(struct gc *gc, struct err *err) {
    struct cloud_entry entry;
    struct batch *batch = &gc->batch;
    int code = 0;
    while (code == 0 && (code = sync__sorter_next(gc->expired, &entry, err)) == 0) {
        bool other = batch->count > 0 && !same_place(&entry, &batch->entries[0]);
        code = other || batch->count == CLOUD_BATCH ? flush(gc, err) : 0;
        batch->entries[batch->count++] = entry;
    }
    return code == ERR_NOT_FOUND ? flush(gc, err) : code;
}

static int may_remove(struct gc *gc, struct err *err) {
    char prefix[STORE_KEY_MAX + 1];
    int code = 0;
    for (int tier = 0; code == 0 && tier < TIER_COUNT; tier++) {
        if (gc->config->ttl_ms[tier] > 0) {
            sync__cloud_prefix(gc->device, CLOUD_FRAMES, (enum frame_tier)tier, prefix);
            code = sync__drop_try(gc->asker, (enum frame_tier)tier, prefix, err);
        }
    }
    return code;
}

static int run(struct gc *gc, bool force, struct err *err) {
    int code = gather_all(gc, err);
    bool much = gc->out->expired * SYNC_GUARD_SHARE > gc->out->objects;
    if (code != 0 || gc->out->expired == 0) {
        return code;
    }
    if (much && !force && !gc->dry_run) {
        return err_set(err, ERR_REFUSED,
                       "remote %s: %" PRIu64 " of %" PRIu64
                       " objects have outlived their ttl, more than a quarter: nothing was "
                       "removed; look with --dry-run, --force removes them",
                       gc->asker->remote->name, gc->out->expired, gc->out->objects);
    }
    code = gc->dry_run ? 0 : may_remove(gc, err);
    return code != 0 ? code : remove_all(gc, err);
}

int sync__gc_ahead(const struct sync_remote_config *config, const char *device,
                   const struct sync_index *index, bool dry_run, bool force,
                   sync_expired_fn *expired, void *ctx, int64_t ahead_us, struct sync_gc *out,
                   struct err *err) {
    CLEANUP(mem_free_at) struct gc *gc = mem_alloc(sizeof *gc);
    *out = (struct sync_gc){0};
    if (gc == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to remove objects");
    }
    *gc = (struct gc){.config = config,
                      .device = device,
                      .index = index,
                      .dry_run = dry_run,
                      .each = expired,
                      .ctx = ctx,
                      .out = out,
                      .ahead_us = ahead_us};
    int code = sync__asker_open(config, &gc->asker, err);
    code = code != 0
               ? code
               : sync__sorter_create(sizeof(struct cloud_entry), CLOUD_KEY, &gc->expired, err);
    code = code != 0 ? code : run(gc, force, err);
    out->requests = gc->asker != NULL ? gc->asker->requests : 0;
    sync__sorter_destroy(gc->expired);
    sync__asker_close(gc->asker);
    return code;
}

int sync_gc(const struct sync_remote_config *config, const char *device,
            const struct sync_index *index, bool dry_run, bool force, sync_expired_fn *expired,
            void *ctx, struct sync_gc *out, struct err *err) {
    return sync__gc_ahead(config, device, index, dry_run, force, expired, ctx, 0, out, err);
}

/* ---- by name ---- */

/* "frames/…/<sha>.jpg" as "sidecars/…/<sha>.json" or "overlays/…/<sha>.jpg". */
static bool companion(const char *key, const char *root, const char *ending,
                      char out[STORE_KEY_MAX + 1]) {
    static const char frames[] = "frames";
    const char *dot = strrchr(key, '.');
    if (strncmp(key, frames, sizeof frames - 1) != 0 || dot == NULL) {
        return false;
    }
    int length =
        snprintf(out, STORE_KEY_MAX + 1, "%s%.*s%s", root,
                 (int)(dot - key - (long)sizeof frames + 1), key + sizeof frames - 1, ending);
    return length > 0 && length <= STORE_KEY_MAX;
}

int sync_objects_remove(const struct sync_remote_config *config, enum frame_tier tier,
                        const char *const *keys, size_t count, struct err *err) {
    struct asker *asker = NULL;
    char sidecar[STORE_KEY_MAX + 1], overlay[STORE_KEY_MAX + 1];
    int code = sync__asker_open(config, &asker, err);
    for (size_t i = 0; code == 0 && i < count; i++) {
        const char *all[3] = {keys[i]};
        size_t used = 1;
        if (companion(keys[i], "sidecars", ".json", sidecar)) {
            all[used++] = sidecar;
        }
        if (companion(keys[i], "overlays", ".jpg", overlay)) {
            all[used++] = overlay;
        }
        code = sync__drop(asker, tier, all, used, err);
    }
    sync__asker_close(asker);
    return code;
}

int sync_objects_may_remove(const struct sync_remote_config *config, const char *device,
                            enum frame_tier tier, struct err *err) {
    struct asker *asker = NULL;
    char prefix[STORE_KEY_MAX + 1];
    sync__cloud_prefix(device, CLOUD_FRAMES, tier, prefix);
    int code = sync__asker_open(config, &asker, err);
    code = code != 0 ? code : sync__drop_try(asker, tier, prefix, err);
    sync__asker_close(asker);
    return code;
}
