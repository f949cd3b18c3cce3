#include "sync/engine.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAP_MMAP_BYTES (1 << 20)
#define HEAP_TRIM_BYTES (4 << 20)
#define STOP_GRACE_US   INT64_C(200000) /* for threads that are about to end anyway */

uint64_t sync__random(void) {
    uint64_t value;
    hash_random(&value, sizeof value);
    return value;
}

int sync__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *ctx,
                       struct err *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(thread, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0) {
        return err_sys(err, result, "starting the thread %s", name);
    }
    pthread_setname_np(*thread, name);
    return 0;
}

/* ---- the loop ---- */

static void take_done(struct sync *sync) {
    struct http_done done;
    while (sync__http_next_done(sync->http, &done)) {
        struct caller *caller = done.ctx;
        caller->reply(caller, &done.reply);
        sync__reply_finish(&done.reply);
    }
    for (struct job *job = queue_try_get(sync->carried); job != NULL;
         job = queue_try_get(sync->carried)) {
        sync__lane_carried(job);
    }
    for (struct job *job = queue_try_get(sync->written); job != NULL;
         job = queue_try_get(sync->written)) {
        sync__lane_settle(job);
    }
}

/* The store's signal that rows were added. Reading it clears it; it does not block where nothing is
 * there. */
static void take_signal(struct sync *sync) {
    uint64_t times;
    int fd = store_outbox_fd(sync->store);
    ssize_t got = read(fd, &times, sizeof times);
    for (size_t i = 0; got == (ssize_t)sizeof times && i < sync->lane_count; i++) {
        struct lane *lane = &sync->lanes[i];
        lane->stale = true;
        if (sync->config.order != STORE_OLDEST) {
            lane->row_next = lane->row_count = 0; /* what is new may go before what was read */
        }
    }
}

static int wait_ms(const struct sync *sync) {
    int64_t now_us = clock_boot_us(), first = INT64_MAX;
    for (size_t i = 0; i < sync->lane_count; i++) {
        int64_t at = sync__lane_deadline(&sync->lanes[i], now_us);
        first = at < first ? at : first;
    }
    if (atomic_load(&sync->stopping)) {
        first = atomic_load(&sync->stop_at_us);
    }
    if (first == INT64_MAX) {
        return -1;
    }
    int64_t wait_us = first - now_us;
    return wait_us > 0 ? (int)((wait_us < LANE_REREAD_US ? wait_us : LANE_REREAD_US) / 1000 + 1)
                       : 0;
}

static unsigned running(const struct sync *sync) {
    unsigned count = 0;
    for (size_t i = 0; i < sync->lane_count; i++) {
        count += sync->lanes[i].running;
    }
    return count;
}

static void wait_once(struct sync *sync) {
    int fds[] = {store_outbox_fd(sync->store)};
    struct err err = {0};
    if (sync__http_wait(sync->http, fds, ARRAY_LENGTH(fds), wait_ms(sync), &err) != 0) {
        log_err(LOG_LEVEL_ERROR, "waiting for transfers failed", &err);
        clock_sleep_ms(1000); /* out of memory, in effect: nothing else to wait on */
    }
}

static void publish_all(struct sync *sync) {
    for (size_t i = 0; i < sync->lane_count; i++) {
        sync__lane_publish(&sync->lanes[i]);
    }
}

static void *loop_run(void *ctx) {
    struct sync *sync = ctx;
    while (!atomic_load(&sync->stopping)) {
        take_signal(sync);
        for (size_t i = 0; i < sync->lane_count; i++) {
            sync__lane_fill(&sync->lanes[(sync->turn + i) % sync->lane_count]);
        }
        sync->turn++; /* where the link is short, each may be the first to have it */
        sync__link_serve(sync);
        publish_all(sync);
        wait_once(sync);
        take_done(sync);
    }
    while (running(sync) > 0 && clock_boot_us() < atomic_load(&sync->stop_at_us)) {
        take_signal(sync); /* or the wait would end at once */
        wait_once(sync);
        take_done(sync);
    }
    sync__http_cancel_all(sync->http);
    take_done(sync);
    for (size_t i = 0; i < sync->lane_count; i++) {
        sync__gate_finish(&sync->lanes[i]);
    }
    publish_all(sync);
    return NULL;
}

/* ---- life ---- */

static void defaults_fill(struct sync_config *config) {
    if (config->transfers > SYNC_TRANSFERS_MAX) {
        config->transfers = SYNC_TRANSFERS_MAX;
    }
    if (config->attempts_max <= 0) {
        config->attempts_max = SYNC_ATTEMPTS;
    }
    if (config->backoff_base_ms <= 0) {
        config->backoff_base_ms = SYNC_BACKOFF_MS;
    }
    if (config->backoff_max_ms <= 0) {
        config->backoff_max_ms = SYNC_BACKOFF_CAP_MS;
    }
    if (config->remote_count > SYNC_REMOTES_MAX) {
        config->remote_count = SYNC_REMOTES_MAX;
    }
}

/* Fixed shares: a remote that hangs holds its own transfers and no other's. Without a number each
 * remote finds its own, up to its share of all that there may be. */
static unsigned share_of(const struct sync_config *config) {
    unsigned over_http = 0;
    for (size_t i = 0; i < config->remote_count; i++) {
        over_http += config->remotes[i].kind != SYNC_DIRECTORY;
    }
    unsigned all = config->transfers > 0 ? config->transfers : SYNC_TRANSFERS_MAX;
    unsigned share = over_http > 0 ? all / over_http : 1;
    if (config->transfers == 0 && share > PACE_MAX) {
        share = PACE_MAX;
    }
    return share > 0 ? share : 1;
}

static int same_check(const struct sync *sync, const struct lane *lane, struct err *err) {
    for (const struct lane *other = sync->lanes; other < lane; other++) {
        if (strcmp(other->remote->name, lane->remote->name) == 0) {
            return err_set(err, ERR_CONFIG, "two remotes have the name %s", lane->remote->name);
        }
        if (memcmp(&other->remote->identity, &lane->remote->identity, sizeof(struct frame_hash)) ==
            0) {
            return err_set(err, ERR_CONFIG, "the remotes %s and %s are the same place",
                           other->remote->name, lane->remote->name);
        }
    }
    return 0;
}

static int link_open(struct sync *sync, struct err *err) {
    CLEANUP(mem_free_at) struct timetable *table = mem_alloc(sizeof *table);
    int code = table == NULL ? err_set(err, ERR_NOMEM, "no memory for the sync")
                             : sync__timetable_parse(sync->config.bandwidth, table, err);
    if (code == 0) {
        sync__link_init(&sync->link, table);
    }
    return code;
}

static int lanes_open(struct sync *sync, struct err *err) {
    struct store_remote remotes[SYNC_REMOTES_MAX] = {0};
    const struct sync_config *config = &sync->config;
    for (size_t i = 0; i < config->remote_count; i++) {
        struct lane *lane = &sync->lanes[i];
        int code = sync__lane_open(lane, sync, &config->remotes[i], share_of(config),
                                   config->transfers > 0, err);
        if (code != 0) {
            return code;
        }
        sync->lane_count++;
        code = same_check(sync, lane, err);
        if (code != 0) {
            return code;
        }
        memcpy(remotes[i].name, lane->remote->name, sizeof remotes[i].name);
        remotes[i].identity = lane->remote->identity;
        remotes[i].required = config->remotes[i].required;
        remotes[i].trusted = config->remotes[i].trust_exists;
    }
    return store_remotes_set(sync->store, remotes, sync->lane_count, err);
}

/* A blob and the buffers of its transfer come and go some thousand times a second. Without this
 * each returns its pages to the kernel, which has to clear them again for the next: a tenth of the
 * CPU of an upload. What is kept back instead is bounded, and less than SYNC_BYTES_MAX. */
static void heap_tune(void) {
    mallopt(M_MMAP_THRESHOLD, HEAP_MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, HEAP_TRIM_BYTES);
}

static int threads_start(struct sync *sync, struct err *err) {
    heap_tune();
    const struct http_limits limits = {.transfers = SYNC_TRANSFERS_MAX,
                                       .stall_s = sync->config.stall_s};
    int code = sync__http_create(&limits, &sync->http, err);
    if (code == 0) {
        code = store_reader_open(sync->store, &sync->reader, err);
    }
    sync->to_clerk = queue_create(SYNC_JOBS_MAX);
    sync->written = queue_create(SYNC_JOBS_MAX);
    sync->carried = queue_create(SYNC_JOBS_MAX);
    if (code == 0 && (sync->to_clerk == NULL || sync->written == NULL || sync->carried == NULL)) {
        code = err_set(err, ERR_NOMEM, "no memory for the sync");
    }
    if (code == 0) {
        code =
            sync->config.spool_dir != NULL ? sync__manifests_start(sync, &sync->manifests, err) : 0;
        code = code != 0 ? code : sync__companions_start(sync, &sync->companions, err);
    }
    for (size_t i = 0; i < sync->lane_count; i++) {
        sync->lanes[i].parcel.from = sync->manifests;
        sync->lanes[i].parcel.with_companions = sync->companions != NULL;
    }
    if (code == 0) {
        code = sync__clerk_start(sync, err);
    }
    code = code != 0 ? code : sync_pause_reload(sync, err);
    for (size_t i = 0; code == 0 && i < sync->lane_count; i++) {
        if (sync->lanes[i].remote->ops->store != NULL) {
            code = sync__porter_start(&sync->lanes[i], err);
        }
    }
    if (code == 0) {
        code = sync__thread_start(&sync->loop, "creel-sync", loop_run, sync, err);
        sync->loop_runs = code == 0;
    }
    return code;
}

static void drain(struct queue *queue) {
    while (queue != NULL && queue_try_get(queue) != NULL) { /* the lanes own the jobs */
    }
}

/* False: a porter was left behind in a system call that does not come back; then nothing is freed.
 */
static bool threads_stop(struct sync *sync, int64_t until_us) {
    bool all = true;
    if (sync->loop_runs) {
        sync__http_wake(sync->http);
        pthread_join(sync->loop, NULL);
    }
    sync__clerk_stop(sync);
    sync__manifests_stop(sync->manifests);
    sync__companions_stop(sync->companions);
    for (size_t i = 0; i < sync->lane_count; i++) {
        if (!sync__porter_stop(sync->lanes[i].porter, until_us + STOP_GRACE_US)) {
            log_warn("a directory does not answer; its thread is left behind", "remote=%s",
                     sync->lanes[i].remote->name);
            all = false;
        }
    }
    return all;
}

static void sync_destroy(struct sync *sync) {
    store_reader_close(sync->reader);
    drain(sync->to_clerk);
    drain(sync->written);
    drain(sync->carried);
    queue_destroy(sync->to_clerk);
    queue_destroy(sync->written);
    queue_destroy(sync->carried);
    for (size_t i = 0; i < SYNC_REMOTES_MAX; i++) {
        sync__lane_close(&sync->lanes[i]);
    }
    sync__manifests_destroy(sync->manifests);
    sync__companions_destroy(sync->companions);
    sync__http_destroy(sync->http);
    pthread_cond_destroy(&sync->box_changed);
    pthread_mutex_destroy(&sync->lock);
    free(sync);
}

int sync_start(const struct sync_config *config, struct store *store, struct sync **out,
               struct err *err) {
    struct sync *sync = mem_alloc(sizeof *sync);
    if (sync == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the sync");
    }
    sync->config = *config;
    sync->store = store;
    defaults_fill(&sync->config);
    pthread_mutex_init(&sync->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&sync->box_changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int code = link_open(sync, err);
    code = code != 0 ? code : lanes_open(sync, err);
    if (code == 0 && sync->lane_count > 0) {
        code = threads_start(sync, err);
    }
    if (code != 0) {
        sync_stop(sync, 0);
        return code;
    }
    *out = sync;
    return 0;
}

void sync_stop(struct sync *sync, int deadline_ms) {
    if (sync == NULL) {
        return;
    }
    int64_t until_us = clock_boot_us() + (deadline_ms > 0 ? deadline_ms : 0) * INT64_C(1000);
    atomic_store(&sync->stop_at_us, until_us);
    atomic_store(&sync->stopping, true);
    if (threads_stop(sync, until_us)) {
        sync_destroy(sync);
    } else {
        store_reader_close(sync->reader);
    }
}

void sync_status_get(struct sync *sync, struct sync_status *out) {
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&sync->lock);
    for (size_t i = 0; i < sync->lane_count; i++) {
        out->remotes[i] = sync->lanes[i].published;
    }
    out->remote_count = sync->lane_count;
    pthread_mutex_unlock(&sync->lock);
}
