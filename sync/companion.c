/* companion: see companion.h.
 *
 * How far a remote is moves when all companions of a batch are there: a crash makes that batch
 * again, and the create-only uploads find themselves. Bytes are in memory only, so nothing is
 * spooled.
 */
#include "sync/companion.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_US    INT64_C(60000000) /* frames that share a confirmed blob poke nobody */
#define TROUBLE_US INT64_C(10000000)
#define LOG_MS     60000
#define TEXT_MAX   (1u << 20)

struct shelf { /* of one remote */
    struct lane *lane;
    struct store_reader *reader;
    struct store_events_at at; /* behind the batch that is on its way */
    bool ready;
    bool moved; /* `at` is not written down yet */
    struct log_gate gate;

    /* under companions->lock */
    struct companion *items;
    size_t left; /* of them, not there yet */
};

struct companions {
    struct sync *sync;
    struct frame_id store;
    struct shelf shelves[SYNC_REMOTES_MAX];
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock;
    pthread_cond_t wanted;
    bool poked, stopping;
};

bool sync__companion_key(const char *key, const char *folder, const char *extension,
                         char out[STORE_KEY_MAX + 1]) {
    const char *rest = strchr(key, '/'), *dot = strrchr(key, '.');
    if (rest == NULL || dot == NULL || dot < rest || strncmp(key, "frames/", 7) != 0) {
        return false;
    }
    int size =
        snprintf(out, STORE_KEY_MAX + 1, "%s%.*s%s", folder, (int)(dot - rest), rest, extension);
    return size > 0 && size <= STORE_KEY_MAX;
}

static bool is_stopping(struct companions *companions) {
    pthread_mutex_lock(&companions->lock);
    bool stopping = companions->stopping;
    pthread_mutex_unlock(&companions->lock);
    return stopping;
}

/* ---- how far ---- */

static int position_put(const struct shelf *shelf, struct err *err) {
    char text[96];
    const struct remote *remote = shelf->lane->remote;
    int size = snprintf(text, sizeof text, "1 %" PRIu64 " %" PRIu64 " %" PRIu64, shelf->at.lsn,
                        shelf->at.seq, shelf->at.within);
    return store_state_put(shelf->lane->sync->store, COMPANION_SPACE, remote->identity.bytes,
                           sizeof remote->identity.bytes, text, (size_t)size, err);
}

static int position_get(struct shelf *shelf, struct err *err) {
    char text[96] = "";
    size_t size = 0;
    const struct remote *remote = shelf->lane->remote;
    int code = store_state_get(shelf->lane->sync->store, COMPANION_SPACE, remote->identity.bytes,
                               sizeof remote->identity.bytes, text, sizeof text - 1, &size, err);
    if (code != 0) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    return sscanf(text, "1 %" SCNu64 " %" SCNu64 " %" SCNu64, &shelf->at.lsn, &shelf->at.seq,
                  &shelf->at.within) == 3
               ? 0
               : err_set(err, ERR_CORRUPT, "state.db has no readable place of the sidecars of %s",
                         remote->name);
}

/* ---- making them ---- */

static void items_free(struct companion *items) {
    while (items != NULL) {
        struct companion *next = items->next;
        free(items->bytes);
        free(items);
        items = next;
    }
}

static int item_add(struct companion **items, const char *key, const struct companion *kind,
                    uint8_t *bytes, size_t size, struct err *err) {
    struct companion *item = mem_alloc(sizeof *item);
    if (item == NULL) {
        free(bytes);
        return err_set(err, ERR_NOMEM, "no memory for a sidecar");
    }
    memcpy(item->key, key, strlen(key) + 1);
    item->tier = kind->tier;
    item->media = kind->media;
    item->bytes = bytes;
    item->size = size;
    item->next = *items;
    *items = item;
    return 0;
}

static int sidecar_make(const struct companions *companions, const struct store_row *frame,
                        const char *of, struct companion **items, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(TEXT_MAX);
    char key[STORE_KEY_MAX + 1];
    size_t size = 0;
    if (!sync__companion_key(of, "sidecars", ".json", key)) {
        return 0;
    }
    int code = sync__sidecar(&companions->store, frame, of, &text, err);
    const struct companion kind = {.tier = frame->record.tier, .media = MEDIA_NONE};
    uint8_t *bytes = code == 0 ? (uint8_t *)buf_take(&text, &size) : NULL;
    return code != 0 ? code : item_add(items, key, &kind, bytes, size, err);
}

/* A picture that is gone, or cannot be drawn on, has none; that is no reason to wait. */
static int overlay_make(struct shelf *shelf, const struct store_row *frame, const char *of,
                        struct companion **items, struct err *err) {
    const struct sync_config *config = &shelf->lane->sync->config;
    const struct frame_record *record = &frame->record;
    CLEANUP(mem_free_at) uint8_t *bytes = NULL;
    uint8_t *drawn = NULL;
    size_t size = 0, drawn_size = 0;
    char key[STORE_KEY_MAX + 1];
    if (config->overlay == NULL || !sync__companion_key(of, "overlays", ".jpg", key) ||
        store_blob_read(shelf->reader, record->tier, &record->blob, &bytes, &size, NULL) != 0) {
        return 0;
    }
    struct err why = {0};
    if (config->overlay(bytes, size, record->detections, record->detection_count, &drawn,
                        &drawn_size, &why) != 0) {
        uint64_t missed = 0;
        if (log_gate_open(&shelf->gate, LOG_MS, &missed)) {
            log_err(LOG_LEVEL_WARN, "a picture without its overlay", &why);
        }
        return 0;
    }
    const struct companion kind = {.tier = record->tier, .media = MEDIA_JPEG};
    return item_add(items, key, &kind, drawn, drawn_size, err);
}

static int frame_make(struct companions *companions, struct shelf *shelf,
                      const struct store_event *event, struct companion **items, struct err *err) {
    const struct sync_config *config = &companions->sync->config;
    struct store_row *frame = NULL;
    struct store_receipt receipt;
    int code = store_frame_get(shelf->reader, &event->id, &frame, err);
    enum frame_tier tier = code == 0 ? frame->record.tier : TIER_NONE;
    if (code == 0) {
        code = store_receipt_get(shelf->reader, shelf->lane->remote->name, tier,
                                 &frame->record.blob, &receipt, err);
    }
    if (code == 0 && config->sidecars[tier]) {
        code = sidecar_make(companions, frame, receipt.key, items, err);
    }
    if (code == 0 && config->overlays[tier]) {
        code = overlay_make(shelf, frame, receipt.key, items, err);
    }
    store_row_destroy(frame);
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* ---- the thread ---- */

static bool shelf_is_empty(struct companions *companions, struct shelf *shelf) {
    pthread_mutex_lock(&companions->lock);
    bool empty = shelf->left == 0;
    struct companion *there = empty ? shelf->items : NULL;
    shelf->items = empty ? NULL : shelf->items;
    pthread_mutex_unlock(&companions->lock);
    items_free(there);
    return empty;
}

static void shelf_fill(struct companions *companions, struct shelf *shelf,
                       struct companion *items) {
    size_t count = 0;
    for (const struct companion *item = items; item != NULL; item = item->next) {
        count++;
    }
    pthread_mutex_lock(&companions->lock);
    shelf->items = items;
    shelf->left = count;
    pthread_mutex_unlock(&companions->lock);
    sync__http_wake(companions->sync->http);
}

/* One batch; `*more`: at once another. */
static int shelf_step(struct companions *companions, struct shelf *shelf, bool *more,
                      struct err *err) {
    struct store_event events[COMPANION_BATCH];
    struct store_events_at at;
    struct companion *items = NULL;
    size_t count = 0;
    int code = 0;
    *more = false;
    if (!shelf_is_empty(companions, shelf)) {
        return 0; /* the last one's end pokes */
    }
    if (shelf->moved) {
        code = position_put(shelf, err);
        shelf->moved = code != 0;
    }
    at = shelf->at;
    code = code != 0 ? code
                     : store_events_read(shelf->reader, shelf->lane->remote->name, &at,
                                         COMPANION_BATCH, events, &count, more, err);
    for (size_t i = 0; code == 0 && i < count; i++) {
        if (events[i].kind == STORE_EVENT_KEPT) {
            code = frame_make(companions, shelf, &events[i], &items, err);
        }
    }
    if (code != 0) {
        items_free(items);
        return code;
    }
    shelf->at = at;
    shelf->moved = shelf->moved || items != NULL;
    *more = *more && items == NULL;
    shelf_fill(companions, shelf, items);
    return 0;
}

static int shelf_open(struct shelf *shelf, struct err *err) {
    if (shelf->ready) {
        return 0;
    }
    int code = shelf->reader != NULL
                   ? 0
                   : store_reader_open(shelf->lane->sync->store, &shelf->reader, err);
    code = code != 0 ? code : position_get(shelf, err);
    shelf->ready = code == 0;
    return code;
}

static int64_t look_at_all(struct companions *companions) {
    int64_t pause_us = IDLE_US;
    for (size_t i = 0; i < companions->sync->lane_count; i++) {
        struct shelf *shelf = &companions->shelves[i];
        struct err err = {0};
        bool more = false;
        int code = shelf_open(shelf, &err);
        do {
            code = code != 0 ? code : shelf_step(companions, shelf, &more, &err);
        } while (code == 0 && more && !is_stopping(companions));
        uint64_t missed = 0;
        if (code != 0 && code != ERR_NOT_FOUND && code != ERR_BUSY &&
            log_gate_open(&shelf->gate, LOG_MS, &missed)) {
            log_err(LOG_LEVEL_WARN, "sidecars and overlays wait", &err);
        }
        pause_us = code != 0 ? TROUBLE_US : pause_us;
    }
    return pause_us;
}

static void wait_for(struct companions *companions, int64_t until_us) {
    int64_t wait_us = until_us - clock_boot_us();
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nsec = until.tv_nsec + (wait_us > 0 ? wait_us % 1000000 * 1000 : 0);
    until.tv_sec += (wait_us > 0 ? wait_us / 1000000 : 0) + nsec / 1000000000;
    until.tv_nsec = nsec % 1000000000;
    pthread_cond_timedwait(&companions->wanted, &companions->lock, &until);
}

static void *companions_run(void *ctx) {
    struct companions *companions = ctx;
    while (!is_stopping(companions)) {
        int64_t next_us = clock_boot_us() + look_at_all(companions);
        pthread_mutex_lock(&companions->lock);
        while (!companions->stopping && !companions->poked && clock_boot_us() < next_us) {
            wait_for(companions, next_us);
        }
        companions->poked = false;
        pthread_mutex_unlock(&companions->lock);
    }
    return NULL;
}

/* ---- life ---- */

static bool any_wanted(const struct sync_config *config) {
    bool any = false;
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        any = any || config->sidecars[tier] || config->overlays[tier];
    }
    return any;
}

int sync__companions_start(struct sync *sync, struct companions **out, struct err *err) {
    *out = NULL;
    if (!any_wanted(&sync->config)) {
        return 0;
    }
    struct companions *companions = mem_alloc(sizeof *companions);
    if (companions == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for sidecars");
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&companions->wanted, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&companions->lock, NULL);
    companions->sync = sync;
    store_uuid(sync->store, &companions->store);
    for (size_t i = 0; i < sync->lane_count; i++) {
        companions->shelves[i].lane = &sync->lanes[i];
    }
    int code =
        sync__thread_start(&companions->thread, "creel-sidecars", companions_run, companions, err);
    companions->thread_runs = code == 0;
    if (code != 0) {
        sync__companions_destroy(companions);
        return code;
    }
    *out = companions;
    return 0;
}

void sync__companions_stop(struct companions *companions) {
    if (companions == NULL || !companions->thread_runs) {
        return;
    }
    pthread_mutex_lock(&companions->lock);
    companions->stopping = true;
    pthread_cond_signal(&companions->wanted);
    pthread_mutex_unlock(&companions->lock);
    pthread_join(companions->thread, NULL);
    companions->thread_runs = false;
    for (size_t i = 0; i < SYNC_REMOTES_MAX; i++) { /* before the store closes */
        store_reader_close(companions->shelves[i].reader);
        companions->shelves[i].reader = NULL;
    }
}

void sync__companions_destroy(struct companions *companions) {
    if (companions == NULL) {
        return;
    }
    for (size_t i = 0; i < SYNC_REMOTES_MAX; i++) {
        items_free(companions->shelves[i].items);
    }
    pthread_cond_destroy(&companions->wanted);
    pthread_mutex_destroy(&companions->lock);
    free(companions);
}

void sync__companions_poke(struct companions *companions) {
    if (companions == NULL) {
        return;
    }
    pthread_mutex_lock(&companions->lock);
    companions->poked = true;
    pthread_cond_signal(&companions->wanted);
    pthread_mutex_unlock(&companions->lock);
}

/* ---- what the loop asks ---- */

struct companion *sync__companions_take(struct companions *companions, size_t lane,
                                        uint8_t **bytes) {
    if (companions == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&companions->lock);
    struct companion *item = companions->shelves[lane].items;
    while (item != NULL && item->taken) {
        item = item->next;
    }
    if (item != NULL) {
        *bytes = mem_alloc(item->size + 1);
        item->taken = *bytes != NULL;
    }
    pthread_mutex_unlock(&companions->lock);
    if (item == NULL || *bytes == NULL) {
        return NULL;
    }
    memcpy(*bytes, item->bytes, item->size);
    return item;
}

bool sync__companions_wait(struct companions *companions, size_t lane) {
    bool any = false;
    if (companions != NULL) {
        pthread_mutex_lock(&companions->lock);
        for (const struct companion *item = companions->shelves[lane].items; item != NULL;
             item = item->next) {
            any = any || !item->taken;
        }
        pthread_mutex_unlock(&companions->lock);
    }
    return any;
}

void sync__companions_end(struct companions *companions, size_t lane, struct companion *companion,
                          bool done) {
    pthread_mutex_lock(&companions->lock);
    struct shelf *shelf = &companions->shelves[lane];
    companion->taken = done; /* one that is there stays taken */
    shelf->left -= done;
    bool last = shelf->left == 0;
    pthread_mutex_unlock(&companions->lock);
    if (last) {
        sync__companions_poke(companions);
    }
}
