/* remove: what a person keeps and throws away by hand: pins and removals.
 *
 * Both run on the writer thread between groups, with the index where the log is, so that nothing
 * can come between the look and the deed: no frame is acknowledged that rests on a blob which goes,
 * and no blob goes that was pinned a moment before. Invariants:
 *   1. A removal takes all it names or nothing: one refused frame refuses the call.
 *   2. The tombstone is durable before a byte is freed; the pins of what is removed by force go
 * first.
 *   3. Pinned blobs fill at most 1/STORE_PIN_SHARE of the quota (without one: of the disk), so that
 *      pins can never take the room of what the cameras bring.
 * Frames of a tier share a blob with the same bytes: it goes for all of them, and is refused when
 * one of them is pinned.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "store/retain.h"
#include <stdlib.h>
#include <string.h>

#define PINS_AT_ONCE 256 /* unpinned by one step of a removal by force */

/* A frame's blob as the index has it. */
struct held_blob {
    enum frame_tier tier;
    struct frame_hash sha;
    uint64_t bytes, refs;
    int local, pinned_itself;
    int64_t owed, pinned;
};

static int blob_of(struct store *store, const struct frame_id *id, struct held_blob *out,
                   struct err *err) {
    struct db *lookup = &store->writer.lookup;
    sqlite3_stmt *statement;
    int tier = 0;
    int code =
        store__db_bind(lookup, LOOKUP_FRAME, &statement, err, "b", id->bytes, sizeof(id->bytes));
    code = code ? code : store__db_step(lookup, statement, err);
    if (code == ERR_NOT_FOUND) {
        char text[HASH_ID_SIZE];
        return err_set(err, code, "there is no frame %s in the store", frame_id_format(id, text));
    }
    if (!code) {
        bool whole = store__db_columns(statement, "nbuuniin", &tier, out->sha.bytes,
                                       sizeof(out->sha.bytes), &out->bytes, &out->refs, &out->local,
                                       &out->owed, &out->pinned, &out->pinned_itself);
        out->tier = (enum frame_tier)tier;
        sqlite3_reset(statement);
        code = whole ? 0 : err_set(err, ERR_CORRUPT, "%s holds a malformed hash", lookup->path);
    }
    if (code == ERR_CORRUPT) {
        atomic_store(&store->index_suspect, true);
    }
    return code;
}

/* ---- pins ---- */

struct pin {
    const struct frame_id *id;
    bool on;
};

static uint64_t pins_limit(const struct store *store) {
    uint64_t total = 0, available = 0;
    if (!store->quota && fs_space(store->layout.dir, &total, &available, NULL)) {
        return UINT64_MAX;
    }
    return (store->quota ? store->quota : total) / STORE_PIN_SHARE;
}

static int pins_have_room(struct store *store, const struct held_blob *blob, struct err *err) {
    int64_t pinned = 0;
    uint64_t limit = pins_limit(store);
    if (!blob->local || blob->pinned) {
        return 0; /* takes no more room than it has already */
    }
    int code = store__db_number(&store->writer.lookup, LOOKUP_PINNED_BYTES, &pinned, err, "");
    if (!code && (uint64_t)pinned + blob->bytes > limit) {
        code = err_set(err, ERR_FULL,
                       "pinned frames hold %.1f MB, and may hold %.1f MB, 1/%d of the quota: unpin "
                       "others, or raise store.quota",
                       (double)pinned / 1e6, (double)limit / 1e6, STORE_PIN_SHARE);
    }
    return code;
}

static int pin_run(struct store *store, void *arg, struct err *err) {
    const struct pin *pin = arg;
    struct held_blob blob = {0};
    struct record record = {.kind = RECORD_PIN,
                            .pin = {.id = *pin->id, .on = pin->on, .utc_us = clock_utc_us()}};
    int code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    code = code ? code : blob_of(store, pin->id, &blob, err);
    if (code || (blob.pinned_itself != 0) == pin->on) {
        return code;
    }
    code = pin->on ? pins_have_room(store, &blob, err) : 0;
    return code ? code : store__retain_bury(store, &record, 1, err);
}

int store_pin_set(struct store *store, const struct frame_id *id, bool pinned, struct err *err) {
    struct pin pin = {.id = id, .on = pinned};
    return store__writer_call(store, pin_run, &pin, err);
}

/* ---- removals ---- */

struct removal {
    const struct frame_id *ids;
    size_t count;
    bool force, dry_run;
    struct store_removal out;
    struct victims victims;
};

static bool is_victim(const struct victims *victims, const struct held_blob *blob) {
    for (size_t i = 0; i < victims->count; i++) {
        if (victims->tiers[i] == blob->tier &&
            memcmp(&victims->blobs[i], &blob->sha, sizeof(blob->sha)) == 0) {
            return true;
        }
    }
    return false;
}

static int choose_one(struct store *store, struct removal *removal, const struct frame_id *id,
                      struct err *err) {
    struct victims *victims = &removal->victims;
    struct held_blob blob = {0};
    char text[HASH_ID_SIZE];
    int code = blob_of(store, id, &blob, err);
    if (code || is_victim(victims, &blob)) {
        return code;
    }
    if (!blob.local) {
        removal->out.gone++;
        return 0;
    }
    if (!removal->force && (blob.pinned || blob.owed)) {
        return err_set(err, ERR_REFUSED,
                       "frame %s is %s: nothing was removed; --force removes it all the same",
                       frame_id_format(id, text),
                       blob.pinned ? "pinned" : "not yet uploaded to every required remote");
    }
    removal->out.pinned += blob.pinned > 0;
    removal->out.owed += blob.owed > 0;
    removal->out.blobs++;
    removal->out.frames += blob.refs;
    removal->out.bytes += blob.bytes;
    victims->tiers[victims->count] = blob.tier;
    victims->blobs[victims->count++] = blob.sha;
    victims->frames += blob.refs;
    victims->bytes += blob.bytes;
    return 0;
}

/* Takes the pins off the frames of one blob. */
static int unpin_all(struct store *store, enum frame_tier tier, const struct frame_hash *sha,
                     struct err *err) {
    struct db *lookup = &store->writer.lookup;
    CLEANUP(mem_free_at) struct record *records = mem_array(PINS_AT_ONCE, sizeof(*records));
    size_t count = records ? PINS_AT_ONCE : 0;
    int code = records ? 0 : err_set(err, ERR_NOMEM, "no memory to unpin frames");
    while (!code && count == PINS_AT_ONCE) {
        sqlite3_stmt *statement;
        count = 0;
        code = store__db_bind(lookup, LOOKUP_PINNED_FRAMES, &statement, err, "nbn", (int)tier,
                              sha->bytes, sizeof(sha->bytes), PINS_AT_ONCE);
        while (!code && !(code = store__db_step(lookup, statement, err))) {
            struct record *record = &records[count++];
            *record = (struct record){.kind = RECORD_PIN, .pin = {.utc_us = clock_utc_us()}};
            store__db_columns(statement, "b", record->pin.id.bytes, sizeof(record->pin.id.bytes));
        }
        code = code == ERR_NOT_FOUND ? 0 : code;
        code = code || !count ? code : store__retain_bury(store, records, count, err);
    }
    return code;
}

static int remove_run(struct store *store, void *arg, struct err *err) {
    struct removal *removal = arg;
    struct victims *victims = &removal->victims;
    int code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    for (size_t i = 0; !code && i < removal->count; i++) {
        code = choose_one(store, removal, &removal->ids[i], err);
    }
    if (code || removal->dry_run || !victims->count) {
        return code;
    }
    for (size_t i = 0; !code && removal->out.pinned && i < victims->count; i++) {
        code = unpin_all(store, victims->tiers[i], &victims->blobs[i], err);
    }
    return code ? code : store__retain_evict(store, victims, TOMBSTONE_REMOVED, err);
}

/* ---- displacing ---- */

struct displacement {
    const struct frame_id *id;
    bool done;
};

static int displace_run(struct store *store, void *arg, struct err *err) {
    struct displacement *displacement = arg;
    struct held_blob blob = {0};
    CLEANUP(mem_free_at) struct victims *victims = mem_alloc(sizeof(*victims));
    int code = victims ? 0 : err_set(err, ERR_NOMEM, "no memory to displace a frame");
    code = code ? code : store__retain_ready(store, RETAIN_WAIT_MS, err);
    code = code ? code : blob_of(store, displacement->id, &blob, err);
    if (code || !blob.local || blob.pinned || blob.refs != 1 ||
        !store__holds_until(&store->holds, blob.tier, &blob.sha)) {
        return code;
    }
    victims->tiers[0] = blob.tier;
    victims->blobs[0] = blob.sha;
    victims->count = 1;
    victims->frames = 1;
    victims->bytes = blob.bytes;
    code = store__retain_evict(store, victims, TOMBSTONE_DISPLACED, err);
    displacement->done = !code;
    return code;
}

int store_displace(struct store *store, const struct frame_id *id, bool *displaced,
                   struct err *err) {
    struct displacement displacement = {.id = id};
    int code = store__writer_call(store, displace_run, &displacement, err);
    *displaced = displacement.done;
    return code;
}

int store_remove(struct store *store, const struct frame_id *ids, size_t count, bool force,
                 bool dry_run, struct store_removal *out, struct err *err) {
    if (count > STORE_REMOVE_MAX) {
        return err_set(err, ERR_INVALID, "%zu frames are more than %d at once", count,
                       STORE_REMOVE_MAX);
    }
    CLEANUP(mem_free_at) struct removal *removal = mem_alloc(sizeof(*removal));
    if (!removal) {
        return err_set(err, ERR_NOMEM, "no memory to remove %zu frames", count);
    }
    removal->ids = ids;
    removal->count = count;
    removal->force = force;
    removal->dry_run = dry_run;
    int code = store__writer_call(store, remove_run, removal, err);
    if (!code) {
        *out = removal->out;
    }
    return code;
}
