/* cloud_fsck: a remote against the index, by listing alone.
 *
 *   receipts (any order) --sorter--> by name \
 *                                             merge --> missing, wrong, altered, unknown, …
 *   listing, by name ------------------------/
 * Goal: bounded memory and a request a page, however much there is. Invariants:
 *   1. The receipts are read before the listing begins, so an object of any of them was there
 *      before: its absence means something. What comes meanwhile looks unknown, and is asked for
 *      again before it is said.
 *   2. Before anything is called missing, the index is asked once more: a receipt that was taken
 *      back meanwhile is none.
 *   3. A repair begins only when the whole comparison is done, and is held where it would change
 *      more than a quarter: then it is rather the wrong bucket, or one that was emptied.
 * Rejected: an index over the keys in SQLite (a third of the index's size, for this alone), HEAD an
 * object (a million requests).
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/cloud.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECEIPTS_AT_ONCE 200

struct batch {
    struct cloud_entry entries[CLOUD_BATCH];
    size_t count;
};

struct check {
    struct asker *asker;
    const struct sync_remote_config *config;
    const char *device;
    const struct sync_index *index;
    struct sorter *receipts, *missing;
    bool repair;
    sync_found_fn *found;
    void *ctx;
    struct sync_fsck *out;
    struct batch absent, strange;
    int64_t now_utc_us;
};

static void report(struct check *check, enum sync_finding finding, const char *key,
                   const char *detail) {
    check->out->found[finding]++;
    if (check->found != NULL) {
        check->found(check->ctx, finding, key, detail);
    }
}

static void report_entry(struct check *check, enum sync_finding finding,
                         const struct cloud_entry *entry, const char *detail) {
    char key[STORE_KEY_MAX + 1];
    sync__cloud_format(check->device, entry, key);
    report(check, finding, key, detail);
}

/* ---- the index's side ---- */

static bool entry_of(const char *device, const struct store_receipt_row *row,
                     struct cloud_entry *out) {
    char md5[HASH_MD5_SIZE * 2 + 1];
    if (!sync__cloud_parse(device, row->receipt.key, out) || out->root != CLOUD_FRAMES) {
        return false;
    }
    out->local = row->local;
    out->bytes = row->blob_bytes;
    out->etag = sync__cloud_etag(row->receipt.etag);
    sync__listing_md5(row->receipt.etag, md5); /* of S3's single PUT the ETag is the MD5 */
    out->md5_known = hash_parse_hex(md5, out->md5, sizeof out->md5);
    return true;
}

static int receipts_gather(struct check *check, struct err *err) {
    CLEANUP(mem_free_at)
    struct store_receipt_row *rows = mem_array(RECEIPTS_AT_ONCE, sizeof *rows);
    int64_t after = 0;
    size_t count = 1;
    int code = rows == NULL ? err_set(err, ERR_NOMEM, "no memory to compare") : 0;
    while (code == 0 && count > 0) {
        code =
            check->index->receipts(check->index->ctx, &after, rows, RECEIPTS_AT_ONCE, &count, err);
        for (size_t i = 0; code == 0 && i < count; i++) {
            struct cloud_entry entry;
            if (entry_of(check->device, &rows[i], &entry)) {
                code = sync__sorter_add(check->receipts, &entry, err);
            } else {
                check->out->elsewhere++;
            }
        }
    }
    return code != 0 ? code : sync__sorter_sort(check->receipts, err);
}

/* ---- what one side lacks ---- */

static int look(struct check *check, const struct batch *batch, unsigned states[CLOUD_BATCH],
                struct err *err) {
    struct store_blob_name names[CLOUD_BATCH];
    for (size_t i = 0; i < batch->count; i++) {
        names[i] = sync__cloud_blob(&batch->entries[i]);
    }
    return check->index->look(check->index->ctx, names, batch->count, states, err);
}

static bool has_expired(const struct check *check, const struct cloud_entry *entry) {
    int64_t ttl_ms = check->config->ttl_ms[entry->tier];
    return ttl_ms > 0 && sync__cloud_day_utc_us(entry) + ttl_ms * 1000 < check->now_utc_us;
}

static int absent_flush(struct check *check, struct err *err) {
    unsigned states[CLOUD_BATCH];
    struct batch *batch = &check->absent;
    int code = batch->count > 0 ? look(check, batch, states, err) : 0;
    for (size_t i = 0; code == 0 && i < batch->count; i++) {
        struct cloud_entry *entry = &batch->entries[i];
        bool expired = has_expired(check, entry);
        if ((states[i] & STORE_BLOB_RECEIPT) == 0) {
            continue;
        }
        entry->local = (states[i] & STORE_BLOB_LOCAL) != 0;
        report_entry(check, expired ? SYNC_FOUND_EXPIRED : SYNC_FOUND_MISSING, entry,
                     expired        ? "older than the tier's ttl: removed by the provider's rule"
                     : entry->local ? "its bytes are here"
                                    : "its bytes are not here either");
        if (check->repair) {
            code = sync__sorter_add(check->missing, entry, err);
        }
    }
    batch->count = 0;
    return code;
}

static int strange_flush(struct check *check, struct err *err) {
    unsigned states[CLOUD_BATCH];
    struct batch *batch = &check->strange;
    int code = batch->count > 0 ? look(check, batch, states, err) : 0;
    for (size_t i = 0; code == 0 && i < batch->count; i++) {
        if (states[i] & STORE_BLOB_RECEIPT) {
            continue; /* it arrived meanwhile */
        }
        bool known = (states[i] & STORE_BLOB_KNOWN) != 0;
        report_entry(check, known ? SYNC_FOUND_UNRECEIPTED : SYNC_FOUND_UNKNOWN, &batch->entries[i],
                     (states[i] & STORE_BLOB_QUEUED) ? "its upload waits, or is under way"
                     : known                         ? "its receipt was taken back"
                                                     : "no frame of this store has these bytes");
    }
    batch->count = 0;
    return code;
}

static int batch_add(struct check *check, struct batch *batch, const struct cloud_entry *entry,
                     int (*flush)(struct check *, struct err *), struct err *err) {
    batch->entries[batch->count++] = *entry;
    return batch->count == CLOUD_BATCH ? flush(check, err) : 0;
}

/* ---- both sides ---- */

static void compare(struct check *check, const struct cloud_entry *receipt,
                    const struct cloud_entry *object) {
    char detail[96];
    bool md5_known = receipt->md5_known && object->md5_known;
    if (receipt->bytes != object->bytes) {
        snprintf(detail, sizeof detail, "%" PRIu64 " bytes there, %" PRIu64 " here", object->bytes,
                 receipt->bytes);
        report_entry(check, SYNC_FOUND_WRONG, object, detail);
    } else if (md5_known && memcmp(receipt->md5, object->md5, sizeof object->md5) != 0) {
        report_entry(check, SYNC_FOUND_WRONG, object, "another MD5 than the receipt's");
    } else if (receipt->etag != 0 && object->etag != 0 && receipt->etag != object->etag) {
        report_entry(check, SYNC_FOUND_ALTERED, object, "written again since the receipt");
    }
}

/* One of the two streams that are merged. */
struct side {
    struct cloud_entry entry;
    bool there;
};

static int next_receipt(struct check *check, enum frame_tier tier, struct side *side,
                        struct err *err) {
    (void)tier;
    int code = sync__sorter_next(check->receipts, &side->entry, err);
    side->there = code == 0;
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int next_object(struct check *check, struct listing *listing, struct side *side,
                       struct err *err) {
    struct listed listed;
    side->there = false;
    for (;;) {
        int code = sync__listing_next(listing, &listed, err);
        if (code != 0) {
            return code == ERR_NOT_FOUND ? 0 : code;
        }
        check->out->objects++;
        check->out->bytes += listed.bytes;
        if (sync__cloud_parse(check->device, listed.key, &side->entry)) {
            break;
        }
        report(check, SYNC_FOUND_UNKNOWN, listed.key, "not a name that creel gives");
    }
    side->entry.bytes = listed.bytes;
    side->entry.etag = sync__cloud_etag(listed.etag);
    side->entry.md5_known = hash_parse_hex(listed.md5, side->entry.md5, sizeof side->entry.md5);
    side->there = true;
    return 0;
}

static int merge(struct check *check, enum frame_tier tier, struct listing *listing,
                 struct side *receipt, struct err *err) {
    struct side object = {.there = false};
    int code = next_object(check, listing, &object, err);
    while (code == 0 && (object.there || (receipt->there && receipt->entry.tier == tier))) {
        bool own = receipt->there && receipt->entry.tier == tier;
        int order = !own            ? 1
                    : !object.there ? -1
                                    : memcmp(&receipt->entry, &object.entry, CLOUD_KEY);
        if (order == 0) {
            compare(check, &receipt->entry, &object.entry);
        } else if (order < 0) {
            code = batch_add(check, &check->absent, &receipt->entry, absent_flush, err);
        } else {
            code = batch_add(check, &check->strange, &object.entry, strange_flush, err);
        }
        check->out->receipts += order <= 0;
        code = code == 0 && order <= 0 ? next_receipt(check, tier, receipt, err) : code;
        code = code == 0 && order >= 0 ? next_object(check, listing, &object, err) : code;
    }
    return code;
}

static int tier_check(struct check *check, enum frame_tier tier, struct side *receipt,
                      struct err *err) {
    char prefix[STORE_KEY_MAX + 1];
    struct listing *listing = NULL;
    sync__cloud_prefix(check->device, CLOUD_FRAMES, tier, prefix);
    int code = sync__listing_open(check->asker, tier, prefix, &listing, err);
    code = code != 0 ? code : merge(check, tier, listing, receipt, err);
    sync__listing_close(listing);
    code = code != 0 ? code : absent_flush(check, err);
    return code != 0 ? code : strange_flush(check, err);
}

/* ---- repair ---- */

struct pile { /* of blobs that one thing is to be said of */
    enum store_outbox_action action;
    struct store_blob_name names[CLOUD_BATCH];
    size_t count;
};

static int withdraw(struct check *check, struct pile *pile, struct err *err) {
    const struct sync_index *index = check->index;
    unsigned states[CLOUD_BATCH];
    size_t count = pile->count;
    int code = count > 0 ? index->act(index->ctx, pile->action, pile->names, count, err) : 0;
    pile->count = 0;
    if (code != 0 || count == 0 || pile->action != STORE_OUTBOX_LOST) {
        return code;
    }
    code = index->look(index->ctx, pile->names, count, states, err);
    for (size_t i = 0; code == 0 && i < count; i++) {
        bool queued = (states[i] & (STORE_BLOB_QUEUED | STORE_BLOB_RECEIPT)) != 0;
        check->out->queued += queued;
        check->out->lost += !queued;
    }
    return code;
}

static int repair_all(struct check *check, struct err *err) {
    struct pile piles[] = {{.action = STORE_OUTBOX_LOST}, {.action = STORE_OUTBOX_EXPIRED}};
    struct cloud_entry entry;
    int code = sync__sorter_sort(check->missing, err);
    while (code == 0 && (code = sync__sorter_next(check->missing, &entry, err)) == 0) {
        struct pile *pile = &piles[has_expired(check, &entry)];
        pile->names[pile->count++] = sync__cloud_blob(&entry);
        code = pile->count == CLOUD_BATCH ? withdraw(check, pile, err) : 0;
    }
    code = code == ERR_NOT_FOUND ? 0 : code;
    code = code != 0 ? code : withdraw(check, &piles[0], err);
    return code != 0 ? code : withdraw(check, &piles[1], err);
}

static int repair(struct check *check, bool force, struct err *err) {
    uint64_t missing = check->out->found[SYNC_FOUND_MISSING];
    if (!force && missing * SYNC_GUARD_SHARE > check->out->receipts) {
        return err_set(err, ERR_REFUSED,
                       "remote %s: %" PRIu64 " of %" PRIu64
                       " objects are missing, more than a quarter: is it the right one? Nothing "
                       "was changed; --force takes their receipts back all the same",
                       check->asker->remote->name, missing, check->out->receipts);
    }
    return repair_all(check, err);
}

static int run(struct check *check, bool force, struct err *err) {
    struct side receipt;
    int code = receipts_gather(check, err);
    code = code != 0 ? code : next_receipt(check, TIER_ANNOTATED, &receipt, err);
    for (int tier = 0; code == 0 && tier < TIER_COUNT; tier++) {
        code = tier_check(check, (enum frame_tier)tier, &receipt, err);
    }
    return code == 0 && check->repair ? repair(check, force, err) : code;
}

int sync_fsck(const struct sync_remote_config *config, const char *device,
              const struct sync_index *index, bool repair_wanted, bool force, sync_found_fn *found,
              void *ctx, struct sync_fsck *out, struct err *err) {
    CLEANUP(mem_free_at) struct check *check = mem_alloc(sizeof *check);
    *out = (struct sync_fsck){0};
    if (check == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to compare");
    }
    *check = (struct check){.config = config,
                            .device = device,
                            .index = index,
                            .repair = repair_wanted,
                            .found = found,
                            .ctx = ctx,
                            .out = out,
                            .now_utc_us = clock_utc_us()};
    int code = sync__asker_open(config, &check->asker, err);
    code = code != 0
               ? code
               : sync__sorter_create(sizeof(struct cloud_entry), CLOUD_KEY, &check->receipts, err);
    code = code != 0
               ? code
               : sync__sorter_create(sizeof(struct cloud_entry), CLOUD_KEY, &check->missing, err);
    code = code != 0 ? code : run(check, force, err);
    out->requests = check->asker != NULL ? check->asker->requests : 0;
    sync__sorter_destroy(check->receipts);
    sync__sorter_destroy(check->missing);
    sync__asker_close(check->asker);
    return code;
}
