/* store: opening and closing, and the calls that become meta records. See store.h for the promises
 * and DESIGN in schemas/records.md for the bytes.
 *
 * Opening: guard and lock -> state.db -> index (its positions say what was durable) -> each
 * stream's tail is cut to its last whole record -> the index thread replays what it has not seen ->
 * the writer starts. An index that claims more than the log holds is not believed and is made
 * again. Closing: the queue closes and drains, the writer ends, the index thread applies what is
 * left and ends.
 */
#include "store/store.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "store/store_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define CATCH_UP_MS 500 /* opening waits so long for the index; the rest goes on behind it */
#define SEGMENTS_SHARE                                                                             \
    64 /* a segment is at most this part of the quota, so that a few open ones fit */
#define META_BYTES_MIN   (256u << 10)
#define META_BYTES_LEAST 4096u /* where it is asked for */
#define RESERVE_SHARE    64
#define BLOCK_SLACK      65536u /* what a file system may take beyond a size */

void store__error_note(struct store *store, const struct err *err) {
    pthread_mutex_lock(&store->lock);
    err_text(err, store->stats.last_error, sizeof(store->stats.last_error));
    pthread_mutex_unlock(&store->lock);
}

/* ---- configuration ---- */

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high) {
    return value < low ? low : value > high ? high : value;
}

static int config_set(struct store *store, const struct store_config *config, struct err *err) {
    struct store_config *own = &store->config;
    if (!(config->quota_fraction >= 0 && config->quota_fraction <= 1) ||
        !(config->min_free_fraction >= 0 && config->min_free_fraction < 1)) {
        return err_set(err, ERR_INVALID,
                       "store: quota %g and min_free %g must be parts of the disk, 0 to 1",
                       config->quota_fraction, config->min_free_fraction);
    }
    *own = *config;
    own->dir = own->state_dir = NULL; /* borrowed: not kept */
    own->group_frames =
        (unsigned)clamp(config->group_frames ? config->group_frames : 16, 1, STORE_GROUP_MAX);
    uint64_t wanted = config->segment_bytes ? config->segment_bytes : STORE_SEGMENT_BYTES;
    own->segment_bytes = clamp(wanted, STORE_SEGMENT_MIN, STORE_SEGMENT_MAX);
    return 0;
}

/* Quota and floor need the file system, so they are known once the directory is there. */
static int limits_set(struct store *store, struct err *err) {
    const struct store_config *config = &store->config;
    uint64_t total = 0, available = 0;
    int code = fs_space(store->layout.dir, &total, &available, err);
    if (code) {
        return code;
    }
    store->quota = config->quota_bytes ? config->quota_bytes
                                       : (uint64_t)(config->quota_fraction * (double)total);
    store->min_free = config->min_free_bytes
                          ? config->min_free_bytes
                          : (uint64_t)(config->min_free_fraction * (double)total);
    uint64_t share = store->quota ? store->quota / SEGMENTS_SHARE : UINT64_MAX;
    uint64_t meta = clamp(share, META_BYTES_MIN, STORE_META_BYTES);
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        uint64_t limit = stream < TIER_COUNT ? config->segment_bytes : meta;
        if (stream == STREAM_META && config->meta_bytes) {
            limit = clamp(config->meta_bytes, META_BYTES_LEAST, STORE_META_BYTES);
        }
        if (stream < TIER_COUNT && config->tiers[stream].max_bytes) {
            limit = clamp(config->tiers[stream].max_bytes / 8, STORE_SEGMENT_MIN, limit);
        }
        if (stream < TIER_COUNT) {
            limit = clamp(share, STORE_SEGMENT_MIN, limit);
        }
        store__stream_init(&store->streams[stream], stream, &store->layout, &store->lock, limit);
    }
    store->index_config = (struct index_config){
        .holds = &store->holds,
        .floor = store->config.index_floor,
        .wal_pages = (int)clamp((store->quota ? store->quota : total) / STORE_WAL_SHARE / 4096,
                                STORE_WAL_PAGES_MIN, STORE_WAL_PAGES_MAX)};
    store->index_config.wal_pages_most =
        (int)clamp((store->quota ? store->quota : total) / STORE_WAL_HELD_SHARE / 4096,
                   4 * STORE_WAL_PAGES_MIN, STORE_WAL_HELD_MAX);
    store__ring_init(&store->ring, &store->layout,
                     clamp((store->quota ? store->quota : total) / STORE_RING_SHARE, RING_BYTES_MIN,
                           RING_BYTES_MAX));
    store->writer.reserve_bytes = clamp((store->quota ? store->quota : total) / RESERVE_SHARE,
                                        STORE_RESERVE_MIN, STORE_RESERVE_MAX);
    char path[LAYOUT_PATH_MAX];
    store->writer.reserve_there =
        access(store__file_path(&store->layout, "RESERVE", path), F_OK) == 0;
    return 0;
}

/* ---- opening ---- */

/* The log ends before the index's position: it lost what it had called durable, or was replaced. */
static bool index_is_ahead(struct store *store) {
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        const struct log_position *seen = &store->index.positions[stream];
        const struct stream *files = &store->streams[stream];
        const struct segment *last = files->count ? &files->segments[files->count - 1] : NULL;
        if (stream == STREAM_THUMBS || !seen->segment) {
            continue; /* thumbnails are not synced, so they may be behind */
        }
        if (!last || seen->segment > last->number ||
            (seen->segment == last->number && seen->at > last->end)) {
            return true;
        }
    }
    return false;
}

static void thumbs_rewind(struct store *store) {
    struct log_position *seen = &store->index.positions[STREAM_THUMBS];
    const struct stream *files = &store->streams[STREAM_THUMBS];
    const struct segment *last = files->count ? &files->segments[files->count - 1] : NULL;
    if (!last && seen->segment) {
        *seen = (struct log_position){0};
    } else if (last && (seen->segment > last->number ||
                        (seen->segment == last->number && seen->at > last->end))) {
        *seen = (struct log_position){last->number, last->end};
    }
}

/* The last tombstone in one file of the meta log; 0: none. */
static int tombstone_last(struct store *store, uint64_t number, uint64_t *lsn, struct err *err) {
    CLEANUP(store__scan_close) struct segment_scan scan = SEGMENT_SCAN_INIT;
    char path[LAYOUT_PATH_MAX];
    struct record_at found;
    store__segment_path(&store->layout, STREAM_META, number, path);
    int code = store__scan_open(&scan, path, number, store->layout.uuid, err);
    while (!code) {
        code = store__scan_next(&scan, false, &found, err);
        if (!code && found.header.kind == RECORD_TOMBSTONE) {
            *lsn = found.header.lsn;
        } else if (code == ERR_CORRUPT) {
            code = store__scan_resync(&scan, true, err);
        }
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* A tombstone has a group of its own, begun when all before it was durable. So what the index has
 * not seen and lies before the last one is whole, or was punched because of one: never a torn tail.
 */
static int durable_find(struct store *store, uint64_t *lsn, struct err *err) {
    const struct stream *meta = &store->streams[STREAM_META];
    const struct log_position *seen = &store->index.positions[STREAM_META];
    int code = 0;
    *lsn = 0;
    for (size_t i = meta->count; !code && !*lsn && i-- > 0;) {
        const struct segment *segment = &meta->segments[i];
        if (segment->number < seen->segment ||
            (segment->number == seen->segment && segment->end <= seen->at)) {
            break;
        }
        code = tombstone_last(store, segment->number, lsn, err);
    }
    return code;
}

static int streams_load(struct store *store, struct err *err) {
    struct writer *writer = &store->writer;
    uint64_t last_lsn = store->index.applied;
    writer->next_seq = store->index.next_seq;
    uint64_t durable_lsn = 0;
    static const unsigned order[STREAM_COUNT] = {STREAM_META, STREAM_THUMBS, TIER_ANNOTATED,
                                                 TIER_UNANNOTATED};
    for (size_t i = 0; i < STREAM_COUNT; i++) {
        unsigned stream = order[i];
        struct segment_tail tail;
        int code = store__stream_load(&store->streams[stream], &store->index.positions[stream],
                                      durable_lsn, &tail, err);
        if (!code && stream == STREAM_META) {
            code = durable_find(store, &durable_lsn, err);
        }
        if (code) {
            return code;
        }
        last_lsn = tail.last_lsn > last_lsn ? tail.last_lsn : last_lsn;
        writer->next_seq = tail.next_seq > writer->next_seq ? tail.next_seq : writer->next_seq;
    }
    writer->next_lsn = last_lsn + 1;
    return 0;
}

static int index_settle(struct store *store, struct err *err) {
    bool made;
    int code = 0;
    bool thrown_back = store->index.applied < store->streams[STREAM_META].checkpoint_applied;
    if (index_is_ahead(store) || thrown_back) {
        code = store__index_set_aside(&store->index, err);
        code = code ? code
                    : store__index_open(&store->index, &store->layout, &store->index_config, &made,
                                        err);
        store->stats.index_restarts++;
    }
    code = code ? code : store__index_due_clear(&store->index, err);
    if (!code) {
        thumbs_rewind(store);
        store->written_lsn = store->whole_lsn = store->writer.next_lsn - 1;
        store->applied_lsn = store->index.applied;
        store->last_seq = store->writer.next_seq - 1;
        store->began_empty = store->writer.next_seq == 1;
        store__indexer_share(
            store); /* the remotes of the run before, until this one declares its own */
    }
    return code;
}

static int threads_start(struct store *store, struct err *err) {
    int code = store__indexer_start(store, err);
    if (code) {
        return code;
    }
    store__indexer_wait(store, store->written_lsn, CATCH_UP_MS);
    pthread_mutex_lock(&store->lock);
    bool over = store->index_over;
    pthread_mutex_unlock(&store->lock);
    if (over) {
        return err_set(err, ERR_REFUSED, "%s", store->stats.last_error);
    }
    code = store__keeper_start(store, err);
    return code ? code : store__writer_start(store, err);
}

/* Takes away a file that was made under a larger quota: it might hold all the room that is left. */
static int file_fit(const struct store *store, const char *name, uint64_t bytes, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    struct stat info;
    store__file_path(&store->layout, name, path);
    bool larger = stat(path, &info) == 0 && (uint64_t)info.st_blocks * 512 > bytes + BLOCK_SLACK;
    return larger ? fs_unlink(path, err) : 0;
}

static int open_all(struct store *store, const struct store_config *config, struct err *err) {
    bool made;
    int code = store__layout_open(&store->layout, config->dir, config->state_dir, err);
    code = code ? code : limits_set(store, err);
    code = code || store->bare ? code : store__state_open(store, err);
    code = code
               ? code
               : store__index_open(&store->index, &store->layout, &store->index_config, &made, err);
    code = code ? code : streams_load(store, err);
    code = code ? code : index_settle(store, err);
    if (!store->bare && !store->config.at_rest) {
        code = code ? code : file_fit(store, RING_NAME, store->ring.bytes, err);
        code = code ? code : file_fit(store, RESERVE_NAME, store->writer.reserve_bytes, err);
    }
    if (!code) {
        store__disk_measure(store);
        code = threads_start(store, err);
    }
    return code;
}

static void locks_init(struct store *store) {
    pthread_condattr_t monotonic;
    pthread_cond_t *const conditions[] = {
        &store->queue_grew, &store->queue_shrank, &store->finished,  &store->written,
        &store->applied,    &store->hash_wanted,  &store->hash_done, &store->keeper_bell};
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->retry_lock, NULL);
    pthread_mutex_init(&store->state_lock, NULL);
    store__holds_init(&store->holds);
    pthread_mutex_init(&store->keeper_lock, NULL);
    store__tally_init(&store->tally);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (size_t i = 0; i < ARRAY_LENGTH(conditions); i++) {
        pthread_cond_init(conditions[i], &monotonic);
    }
    pthread_condattr_destroy(&monotonic);
}

static int open_new(const struct store_config *config, bool bare, struct store **out,
                    struct err *err) {
    struct store *store = mem_alloc(sizeof(*store));
    if (!store) {
        return err_set(err, ERR_NOMEM, "no memory to open a store");
    }
    store->layout = (struct layout)LAYOUT_INIT;
    store->compact.scan = (struct segment_scan)SEGMENT_SCAN_INIT;
    store->forward.scan = (struct segment_scan)SEGMENT_SCAN_INIT;
    store->bare = bare;
    store->last = &store->first;
    store->writer.victims_step = STORE_VICTIMS_MAX / 4;
    store->commands_last = &store->commands;
    locks_init(store);
    store->outbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int code = store->outbox_fd < 0 ? err_sys(err, errno, "cannot make an eventfd") : 0;
    code = code ? code : config_set(store, config, err);
    code = code ? code : open_all(store, config, err);
    if (code) {
        store_close(store);
        return code;
    }
    *out = store;
    return 0;
}

int store_open(const struct store_config *config, struct store **out, struct err *err) {
    return open_new(config, false, out, err);
}

int store__open_bare(const char *dir, double index_floor, struct store **out, struct err *err) {
    const struct store_config config = {.dir = dir, .index_floor = index_floor};
    return open_new(&config, true, out, err);
}

void store_close(struct store *store) {
    if (!store) {
        return;
    }
    store__keeper_stop(store);
    store__writer_stop(store);
    store__indexer_stop(store);
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        if (store->streams[stream].lock) {
            store__stream_close(&store->streams[stream]);
        }
    }
    store__ring_close(&store->ring);
    store__group_finish(store);
    store__index_close(&store->index);
    store__db_close(&store->state);
    store__layout_close(&store->layout);
    fd_close_at(&store->outbox_fd);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->retry_lock);
    pthread_mutex_destroy(&store->state_lock);
    store__holds_finish(&store->holds);
    pthread_mutex_destroy(&store->keeper_lock);
    store__tally_finish(&store->tally);
    free(store);
}

void store_uuid(const struct store *store, struct frame_id *out) {
    memcpy(out->bytes, store->layout.uuid, sizeof(out->bytes));
}

int store_outbox_fd(struct store *store) {
    return store->outbox_fd;
}

void store_stats_get(struct store *store, struct store_stats *out) {
    pthread_mutex_lock(&store->lock);
    *out = store->stats;
    out->index_lag =
        store->written_lsn > store->applied_lsn ? store->written_lsn - store->applied_lsn : 0;
    out->index_rebuilding = store->applied_lsn < store->whole_lsn;
    pthread_mutex_unlock(&store->lock);
}

/* ---- remotes ---- */

int store_remotes_set(struct store *store, const struct store_remote *remotes, size_t count,
                      struct err *err) {
    struct record record = {.kind = RECORD_REMOTES, .remotes = {.count = count}};
    if (count > STORE_REMOTES_MAX) {
        return err_set(err, ERR_INVALID, "%zu remotes are more than %d", count, STORE_REMOTES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        record.remotes.remotes[i] = remotes[i];
        for (size_t k = 0; k < i; k++) {
            if (strcmp(remotes[i].name, remotes[k].name) == 0) {
                return err_set(err, ERR_INVALID, "two remotes are named \"%s\"", remotes[i].name);
            }
        }
    }
    int code = store__meta_put(store, &record, 1, err);
    if (!code) { /* also where the index does not have them yet */
        pthread_mutex_lock(&store->lock);
        store->remote_count = count;
        for (size_t i = 0; i < count; i++) {
            store->remotes[i] = remotes[i];
        }
        pthread_mutex_unlock(&store->lock);
    }
    return code;
}

static int remote_identity(struct store *store, const char *name, struct frame_hash *identity,
                           struct err *err) {
    bool found = false;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; !found && i < store->remote_count; i++) {
        found = strcmp(store->remotes[i].name, name) == 0;
        *identity = store->remotes[i].identity;
    }
    pthread_mutex_unlock(&store->lock);
    return found ? 0 : err_set(err, ERR_NOT_FOUND, "no remote named \"%.40s\" is declared", name);
}

int store_remote_identity(struct store *store, const char *remote, struct frame_hash *out,
                          struct err *err) {
    struct frame_hash identity;
    int code = remote_identity(store, remote, &identity, err);
    if (!code) {
        *out = identity;
    }
    return code;
}

/* ---- receipts and quarantine ---- */

static int receipt_record(struct store *store, const struct store_receipt *receipt,
                          struct record *out, struct err *err) {
    *out = (struct record){.kind = RECORD_RECEIPT, .receipt = {.receipt = *receipt}};
    if ((unsigned)receipt->tier >= TIER_COUNT || receipt->kind < STORE_RECEIPT_STORED ||
        receipt->kind > STORE_RECEIPT_EXISTS) {
        return err_set(err, ERR_INVALID, "a receipt of tier %u and kind %d is out of bounds",
                       (unsigned)receipt->tier, (int)receipt->kind);
    }
    return remote_identity(store, receipt->remote, &out->receipt.identity, err);
}

int store_receipt_put(struct store *store, const struct store_receipt *receipts, size_t count,
                      struct err *err) {
    enum { AT_ONCE = 64 };
    CLEANUP(mem_free_at) struct record *records = mem_array(AT_ONCE, sizeof(*records));
    if (!records) {
        return err_set(err, ERR_NOMEM, "no memory for %zu receipts", count);
    }
    int code = 0;
    for (size_t done = 0; !code && done < count; done += AT_ONCE) {
        size_t step = count - done < AT_ONCE ? count - done : AT_ONCE;
        for (size_t i = 0; !code && i < step; i++) {
            code = receipt_record(store, &receipts[done + i], &records[i], err);
        }
        code = code ? code : store__meta_put(store, records, step, err);
    }
    return code;
}

static void reason_copy(char *out, size_t room, const char *reason) {
    size_t size = reason ? strnlen(reason, room - 1) : 0;
    memcpy(out, reason ? reason : "", size);
    out[size] = '\0';
}

int store_outbox_quarantine(struct store *store, const char *remote, enum frame_tier tier,
                            const struct frame_hash *blob, const char *reason, struct err *err) {
    struct record record = {.kind = RECORD_QUARANTINE,
                            .quarantine = {.tier = tier, .blob = *blob, .utc_us = clock_utc_us()}};
    if ((unsigned)tier >= TIER_COUNT) {
        return err_set(err, ERR_INVALID, "there is no tier %u", (unsigned)tier);
    }
    reason_copy(record.quarantine.reason, sizeof(record.quarantine.reason), reason);
    int code = remote_identity(store, remote, &record.quarantine.identity, err);
    return code ? code : store__meta_put(store, &record, 1, err);
}

int store_outbox_retry(struct store *store, const char *remote, uint64_t *count, struct err *err) {
    struct record record = {.kind = RECORD_RELEASE,
                            .release = {.all = !remote, .utc_us = clock_utc_us()}};
    int code = remote ? remote_identity(store, remote, &record.release.identity, err) : 0;
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->retry_lock);
    code = store__meta_put(store, &record, 1, err);
    if (!code && count) {
        pthread_mutex_lock(&store->lock);
        *count = store->released;
        pthread_mutex_unlock(&store->lock);
    }
    pthread_mutex_unlock(&store->retry_lock);
    return code;
}

int store_outbox_act(struct store *store, const char *remote, enum store_outbox_action action,
                     const struct store_blob_name *blobs, size_t count, uint64_t *changed,
                     struct err *err) {
    CLEANUP(mem_free_at) struct store_blob_name *names = NULL;
    if (!count || count > STORE_OUTBOX_BATCH || action < STORE_OUTBOX_RETRY ||
        action > STORE_OUTBOX_REMOVED) {
        return err_set(err, ERR_INVALID, "the outbox knows no decision %d about %zu blobs",
                       (int)action, count);
    }
    names = mem_dup(blobs, count * sizeof(*names));
    if (!names) {
        return err_set(err, ERR_NOMEM, "no memory for %zu blobs", count);
    }
    struct record record = {
        .kind = RECORD_OUTBOX,
        .outbox = {.action = action, .utc_us = clock_utc_us(), .count = count, .blobs = names}};
    int code = remote_identity(store, remote, &record.outbox.identity, err);
    if (code) {
        return code;
    }
    pthread_mutex_lock(&store->retry_lock);
    code = store__meta_put(store, &record, 1, err);
    if (!code && changed) {
        pthread_mutex_lock(&store->lock);
        *changed = store->released;
        pthread_mutex_unlock(&store->lock);
    }
    pthread_mutex_unlock(&store->retry_lock);
    return code;
}

static int defer_run(struct index *index, const struct index_command *command, struct err *err) {
    return store__index_defer(index, command->remote, command->tier, command->blob, command->number,
                              command->reason, err);
}

int store_outbox_defer(struct store *store, const char *remote, enum frame_tier tier,
                       const struct frame_hash *blob, int64_t delay_ms, const char *reason,
                       struct err *err) {
    struct index_command command = {.run = defer_run,
                                    .remote = remote,
                                    .tier = (int)tier,
                                    .blob = blob,
                                    .reason = reason ? reason : "",
                                    .number =
                                        clock_boot_us() + (delay_ms > 0 ? delay_ms : 0) * 1000};
    return store__indexer_run(store, &command, err);
}

static int holds_end_run(struct index *index, const struct index_command *command,
                         struct err *err) {
    (void)command;
    return store__index_holds_clear(index, err);
}

int store_holds_end(struct store *store, struct err *err) {
    struct index_command command = {.run = holds_end_run};
    store__holds_end(&store->holds);
    return store__indexer_run(store, &command, err);
}
