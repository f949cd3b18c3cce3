/* indexer: the thread that brings the log into the index.
 *
 * It reads the same files that recovery reads, by the same code: there is no second path for what
 * was just written, so a crash, a rebuild and a normal day run the same instructions. The writer
 * only says how far the log is durable (written_lsn); the streams are merged by lsn.
 *
 * Invariants:
 *   1. Nothing beyond written_lsn is applied: a group becomes visible whole or not at all.
 *   2. A transaction holds at most RECORDS_MAX records and brings the WAL not much more pages than
 * it is bounded to, so readers and the WAL see bounded steps. Large ones pay: the trees whose keys
 * come in no order have each page written once a transaction.
 *   3. An index that cannot be trusted is set aside and made again, while the writer goes on. So is
 * one whose WAL somebody keeps from being brought into the database.
 * States: catching up, waiting, over (closed, or the log holds what this creel does not know).
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "store/store_impl.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORDS_MAX  16384 /* where so many wait; few that wait are a small transaction */
#define LOOK_EACH    64
#define RETRY_MS     200 /* after a busy or full index */
#define RESTARTS_MAX 3   /* rebuilds without any progress in between */
#define NICENESS     5   /* of this thread alone, on top of the daemon's */

struct cursor { /* in one stream */
    struct segment_scan scan;
    struct log_position at;
    struct record_at next; /* when `has` */
    bool has;
};

struct indexer {
    struct store *store;
    struct cursor cursors[STREAM_COUNT];
    unsigned restarts; /* since the last commit */
};

/* ---- reading the log ---- */

static void cursors_reset(struct indexer *indexer) {
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        struct cursor *cursor = &indexer->cursors[stream];
        cursor->at = indexer->store->index.positions[stream];
        cursor->has = false;
    }
}

static void cursors_close(struct indexer *indexer) {
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        store__scan_close(&indexer->cursors[stream].scan);
    }
}

/* A bad record in what was durable: noted, and stepped over, so that one bad sector costs one
 * frame. */
static int damage_skip(struct indexer *indexer, struct cursor *cursor, const struct err *why) {
    store__error_note(indexer->store, why);
    cursor->scan.at = cursor->at.at;
    struct err err = {0};
    int code = store__scan_resync(&cursor->scan, true, &err);
    if (code == ERR_NOT_FOUND) {
        cursor->at.at = cursor->scan.end;
        return 0;
    }
    cursor->at.at = cursor->scan.at;
    return code;
}

/* Opens the file of `segment` if another one is open. A file that is gone holds nothing. */
static int cursor_open(struct indexer *indexer, struct cursor *cursor, unsigned stream,
                       const struct segment *segment, struct err *err) {
    char path[LAYOUT_PATH_MAX];
    const struct layout *layout = &indexer->store->layout;
    if (cursor->scan.fd >= 0 && cursor->scan.number == segment->number) {
        cursor->scan.end = segment->end;
        return 0;
    }
    store__segment_path(layout, stream, segment->number, path);
    int code = store__scan_open(&cursor->scan, path, segment->number, layout->uuid, err);
    cursor->scan.end = code ? 0 : segment->end;
    return code;
}

static int cursor_read(struct indexer *indexer, struct cursor *cursor, unsigned stream,
                       const struct segment *segment, struct err *err) {
    int code = cursor_open(indexer, cursor, stream, segment, err);
    if (code == ERR_NOT_FOUND) {
        cursor->at = (struct log_position){segment->number + 1, 0};
        return 0;
    }
    if (code) {
        return code;
    }
    cursor->scan.at = cursor->at.at;
    code = store__scan_next(&cursor->scan, false, &cursor->next, err);
    if (code == ERR_CORRUPT) {
        return damage_skip(indexer, cursor, err);
    }
    cursor->has = !code;
    return code;
}

/* Makes cursor->next the stream's next record, if there is one. */
static int cursor_fill(struct indexer *indexer, unsigned stream, struct err *err) {
    struct cursor *cursor = &indexer->cursors[stream];
    struct stream *files = &indexer->store->streams[stream];
    int code = 0;
    while (!code && !cursor->has) {
        struct segment segment;
        if (!store__stream_find(files, cursor->at.segment, &segment)) {
            break;
        }
        if (segment.number != cursor->at.segment) {
            cursor->at = (struct log_position){segment.number, 0};
        }
        if (cursor->at.at < segment.end) {
            code = cursor_read(indexer, cursor, stream, &segment, err);
        } else if (store__stream_find(files, segment.number + 1, &segment)) {
            cursor->at = (struct log_position){segment.number, 0};
        } else {
            break;
        }
    }
    return code;
}

/* The stream whose next record is the oldest; STREAM_COUNT: none up to `limit`. */
static int oldest(struct indexer *indexer, uint64_t limit, unsigned *out, struct err *err) {
    uint64_t least = limit;
    *out = STREAM_COUNT;
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        int code = cursor_fill(indexer, stream, err);
        if (code) {
            return code;
        }
        const struct cursor *cursor = &indexer->cursors[stream];
        if (cursor->has && cursor->next.header.lsn <= least) {
            least = cursor->next.header.lsn;
            *out = stream;
        }
    }
    return 0;
}

/* ---- one transaction ---- */

static int apply_next(struct indexer *indexer, unsigned stream, struct err *err) {
    struct cursor *cursor = &indexer->cursors[stream];
    struct log_position behind = {cursor->at.segment, cursor->scan.at};
    int code = store__index_apply(&indexer->store->index, stream, &cursor->next, &behind, err);
    if (code == ERR_INVALID) { /* whole, but not of its layout: nothing can be made of it */
        store__error_note(indexer->store, err);
        indexer->store->index.positions[stream] = behind;
        code = 0;
    }
    if (!code) {
        cursor->at = behind;
        cursor->has = false;
    }
    return code;
}

static int apply_many(struct indexer *indexer, uint64_t limit, struct err *err) {
    struct index *index = &indexer->store->index;
    int code = 0;
    store__db_pages_written(&index->db, true);
    for (unsigned records = 0; !code && records < RECORDS_MAX; records++) {
        if (records % LOOK_EACH == LOOK_EACH - 1 &&
            store__db_pages_written(&index->db, false) > index->config.wal_pages) {
            break; /* what the cache could not hold is in the WAL already */
        }
        unsigned stream;
        code = oldest(indexer, limit, &stream, err);
        if (!code && stream == STREAM_COUNT) {
            /* All up to the limit is in, or never was: lsns of failed groups are skipped. */
            index->applied = limit;
            break;
        }
        code = code ? code : apply_next(indexer, stream, err);
    }
    return code;
}

static struct index_command *commands_take(struct store *store, uint64_t *limit) {
    pthread_mutex_lock(&store->lock);
    struct index_command *commands = store->commands;
    store->commands = NULL;
    store->commands_last = &store->commands;
    *limit = store->written_lsn;
    pthread_mutex_unlock(&store->lock);
    return commands;
}

static void commands_return(struct store *store, struct index_command *commands, bool done,
                            int code, const struct err *err) {
    pthread_mutex_lock(&store->lock);
    while (commands) {
        struct index_command *next = commands->next;
        if (done && commands->posted) {
            free(commands);
        } else if (done) {
            commands->code = code ? code : commands->code;
            commands->err = code ? *err : commands->err;
            commands->done = true;
        } else {
            commands->next = NULL;
            *store->commands_last = commands;
            store->commands_last = &commands->next;
        }
        commands = next;
    }
    pthread_cond_broadcast(&store->finished);
    pthread_mutex_unlock(&store->lock);
}

void store__indexer_share(struct store *store) {
    struct index *index = &store->index;
    if (!index->remotes_loaded) {
        return;
    }
    index->remotes_loaded = false;
    store->remote_count = index->remote_count;
    for (size_t i = 0; i < index->remote_count; i++) {
        store->remotes[i] = index->remotes[i].remote;
    }
}

static void committed(struct indexer *indexer) {
    struct store *store = indexer->store;
    indexer->restarts = 0;
    pthread_mutex_lock(&store->lock);
    store->applied_lsn = store->index.applied;
    if (store->applied_lsn >= store->whole_lsn) { /* before, it knows the remotes of former runs */
        store__indexer_share(store);
    }
    store->released = store->index.released;
    pthread_cond_broadcast(&store->applied);
    pthread_mutex_unlock(&store->lock);
    if (store->index.outbox_grew) {
        store->index.outbox_grew = false;
        uint64_t one = 1;
        ssize_t written = write(store->outbox_fd, &one, sizeof(one));
        (void)written; /* full only after 2^64 - 2 of them: it is readable already */
    }
}

static int transact(struct indexer *indexer, struct index_command *commands, uint64_t limit,
                    struct err *err) {
    struct index *index = &indexer->store->index;
    int code = store__index_begin(index, err);
    unsigned generation = atomic_load(&indexer->store->index_generation);
    for (struct index_command *command = commands; !code && command; command = command->next) {
        bool stale = command->posted && command->generation != generation;
        code = command->code = stale ? 0 : command->run(index, command, err);
    }
    code = code ? code : apply_many(indexer, limit, err);
    code = code ? code : store__index_commit(index, err);
    if (code) {
        store__index_rollback(index);
        cursors_reset(indexer);
    }
    return code;
}

/* ---- trouble ---- */

/* Opens what is in the place of the index that was closed. The generation has been odd since: no
 * reader meets a file without tables and calls it damaged. */
static int renew(struct indexer *indexer, struct err *err) {
    struct store *store = indexer->store;
    bool made;
    int code = store__index_open(&store->index, &store->layout, &store->index_config, &made, err);
    if (code) {
        return code;
    }
    cursors_reset(indexer);
    pthread_mutex_lock(&store->lock);
    store->stats.index_restarts++;
    store->applied_lsn = store->index.applied;
    store->whole_lsn = store->written_lsn;
    pthread_mutex_unlock(&store->lock);
    atomic_store(&store->index_suspect, false);
    atomic_fetch_add(&store->index_generation, 1);
    return 0;
}

static int rebuild(struct indexer *indexer, struct err *err) {
    struct store *store = indexer->store;
    bool held = store__index_wal_check(&store->index, NULL) != 0; /* not damaged, only held */
    if (!(atomic_load(&store->index_generation) & 1)) {
        atomic_fetch_add(&store->index_generation, 1);
    }
    int code = store__index_set_aside(&store->index, err);
    if (!code && held) {
        store__index_aside_drop(&store->layout);
    }
    return code ? code : renew(indexer, err);
}

/* 0: try again. Otherwise the thread ends. */
static int recover(struct indexer *indexer, int code, struct err *err) {
    struct store *store = indexer->store;
    store__error_note(store, err);
    pthread_mutex_lock(&store->lock);
    bool closing = store->index_closing;
    pthread_mutex_unlock(&store->lock);
    if (code == ERR_REFUSED || closing) {
        return code;
    }
    if (code == ERR_CORRUPT) {
        if (indexer->restarts++ >= RESTARTS_MAX) {
            return code;
        }
        code = rebuild(indexer, err);
        if (!code) {
            return 0;
        }
        store__error_note(store, err);
    }
    if (code == ERR_FULL) { /* what was set aside has no worth beside the new one */
        store__index_aside_drop(&store->layout);
    }
    clock_sleep_ms(RETRY_MS);
    return 0;
}

static int step(struct indexer *indexer, struct err *err) {
    struct store *store = indexer->store;
    if (!store->index.db.handle) { /* a rebuild could not open it: once more */
        int code = renew(indexer, err);
        if (code) {
            return code;
        }
    }
    if (atomic_exchange(&store->index_suspect, false)) {
        return err_set(err, ERR_CORRUPT, "a reader found index.db damaged");
    }
    uint64_t limit;
    struct index_command *commands = commands_take(store, &limit);
    int code = transact(indexer, commands, limit, err);
    commands_return(store, commands, !code, 0, err);
    if (!code) {
        committed(indexer);
        code = store__index_wal_check(&store->index, err);
    }
    return code;
}

/* ---- the thread ---- */

static bool wait_for_work(struct store *store) {
    pthread_mutex_lock(&store->lock);
    while (store->applied_lsn >= store->written_lsn && !store->commands && !store->index_closing &&
           !atomic_load(&store->index_suspect)) {
        pthread_cond_wait(&store->written, &store->lock);
    }
    bool more = store->applied_lsn < store->written_lsn || store->commands ||
                (atomic_load(&store->index_suspect) && !store->index_closing);
    pthread_mutex_unlock(&store->lock);
    return more;
}

static void *run(void *arg) {
    struct indexer indexer = {.store = arg};
    struct store *store = indexer.store;
    struct err err = {0};
    int code = 0;
    /* Acknowledgements come first where cores are few: the writer, woken by the disk, must not wait
     * for the index to use up its turn. The lag has its bound (lag.c). Refused, it costs speed. */
    (void)!nice(NICENESS);
    for (unsigned stream = 0; stream < STREAM_COUNT; stream++) {
        indexer.cursors[stream].scan = (struct segment_scan)SEGMENT_SCAN_INIT;
    }
    cursors_reset(&indexer);
    while (!code && wait_for_work(store)) {
        code = step(&indexer, &err);
        if (code) {
            code = recover(&indexer, code, &err);
        }
    }
    cursors_close(&indexer);
    uint64_t limit;
    struct index_command *left;
    pthread_mutex_lock(&store->lock);
    store->index_over = true;
    pthread_cond_broadcast(&store->applied);
    pthread_mutex_unlock(&store->lock);
    left = commands_take(store, &limit);
    err_set(&err, ERR_CLOSED, "the index is closed");
    commands_return(store, left, true, ERR_CLOSED, &err);
    return NULL;
}

int store__indexer_start(struct store *store, struct err *err) {
    int failed = pthread_create(&store->index_thread, NULL, run, store);
    if (failed) {
        return err_sys(err, failed, "cannot start the index thread");
    }
    store->index_started = true;
    return 0;
}

void store__indexer_stop(struct store *store) {
    if (!store->index_started) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    store->index_closing = true;
    pthread_cond_broadcast(&store->written);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->index_thread, NULL);
    store->index_started = false;
}

bool store__indexer_wait(struct store *store, uint64_t lsn, int timeout_ms) {
    int64_t deadline = store__monotonic_us() + (int64_t)timeout_ms * 1000;
    pthread_mutex_lock(&store->lock);
    bool in_time = true;
    while (store->applied_lsn < lsn && !store->index_over && in_time) {
        if (timeout_ms < 0) {
            pthread_cond_wait(&store->applied, &store->lock);
        } else {
            in_time = store__wait_until(store, &store->applied, deadline);
        }
    }
    bool there = store->applied_lsn >= lsn;
    pthread_mutex_unlock(&store->lock);
    return there;
}

/* Called with the lock. */
static void command_add(struct store *store, struct index_command *command) {
    command->next = NULL;
    command->done = false;
    *store->commands_last = command;
    store->commands_last = &command->next;
    pthread_cond_broadcast(&store->written);
}

void store__indexer_post(struct store *store,
                         int (*what)(struct index *, const struct index_command *, struct err *),
                         int64_t number) {
    CLEANUP(mem_free_at) struct index_command *command = mem_alloc(sizeof(*command));
    if (!command) {
        return;
    }
    command->run = what;
    command->number = number;
    command->posted = true;
    command->generation = atomic_load(&store->index_generation);
    pthread_mutex_lock(&store->lock);
    if (!store->index_over) {
        command_add(store, command);
        TAKE_PTR(command);
    }
    pthread_mutex_unlock(&store->lock);
}

int store__indexer_run(struct store *store, struct index_command *command, struct err *err) {
    pthread_mutex_lock(&store->lock);
    if (store->index_over) {
        pthread_mutex_unlock(&store->lock);
        return err_set(err, ERR_CLOSED, "the index is closed");
    }
    command_add(store, command);
    while (!command->done) {
        pthread_cond_wait(&store->finished, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    if (command->code && err) {
        *err = command->err;
    }
    return command->code;
}
